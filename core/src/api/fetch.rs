//! Fetch, versions 4 to 18: sessions, reads, the long poll, and answers that share the records.
//!
//! Owns a fetch from its arrival to its answer. A fetch that has too little waits on its partitions and is woken by the ones that
//! move, never by a scan; one whose records must come from disk waits for those reads. It takes what room for answers is free and
//! at least one batch: nothing waits for room while it holds some. One of many partitions that waits counts with what it holds, and is
//! answered at once if requests have no room for that. Decides no rule of a partition.

use std::collections::BTreeMap;

use super::connection::Answer;
use super::{Api, Asked, Rooms, Waiting};
use crate::fetch::session::{FetchContext, LOOKED_AT, NO_SESSION, SessionRequest};
use crate::fetch::{FetchAsk, FetchKey, FetchResult, TopicRef};
use crate::ids::{LeaderEpoch, LogId, Offset, PartitionIndex, RequestId, Uuid};
use crate::io::Cx;
use crate::log::{Read, ReadError, ReadId, ReadOutcome, Records};
use crate::mark::Mark;
use crate::mutant::Mutant;
use crate::situation::Situation;
use crate::time::Instant;
use crate::wire::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::wire::{ErrorCode, FetchRequest, FetchResponse, Parts, Str};

/// The first version that names topics by id. KIP-516.
const TOPIC_IDS_SINCE: i16 = 13;
/// The first version that tells who leads instead. KIP-951.
const LEADER_SINCE: i16 = 16;
/// Up to this version a storage error is told as NOT_LEADER_OR_FOLLOWER, which old clients can handle.
const NO_STORAGE_ERROR_UNTIL: i16 = 5;
/// `isolation_level`: committed transactions only.
const READ_COMMITTED: i8 = 1;
/// Up to this version an error of the whole fetch is told of each partition, too.
const PARTITIONS_TOLD_UNTIL: i16 = 12;

/// What a partition of a fetch that waits takes in memory, in bytes, generously.
const WAITING_PARTITION_BYTES: u64 = 512;

/// A fetch in work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchWait {
    asked: Asked,
    context: FetchContext,
    committed_only: bool,
    min_bytes: u64,
    /// May be negative: then nothing that has records can be read.
    max_bytes: i64,
    deadline: Instant,
    slots: Vec<Slot>,
    /// Reads of the disk that have not ended.
    reading: usize,
    /// It waits on its partitions.
    watching: bool,
    /// Where its slots are while it waits.
    places: Places,
}

/// Where the slots of a fetch that waits are, so that each of thousands of partitions finds its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    by_log: BTreeMap<LogId, usize>,
    /// In a session alone.
    by_key: BTreeMap<FetchKey, usize>,
    /// What all of them have that counts towards `min_bytes`.
    readable: u64,
}

/// One partition of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    log: Option<LogId>,
    /// Bytes that it brought when it was last looked at, or may bring from disk.
    bytes: u64,
    /// Bytes that count towards `min_bytes`: as many as were asked for where more is there than whole batches that fit.
    readable: u64,
    /// Its read of the disk.
    reading: Option<ReadId>,
    result: FetchResult,
}

/// What a look at every partition brought.
struct Look {
    bytes: u64,
    /// Something must be told at once: an error, or where the logs diverge.
    urgent: bool,
}

impl Api {
    /// Begins a fetch.
    pub(super) fn begin_fetch(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: FetchRequest,
    ) {
        let session = session_request(asked.version, &request);
        // A client that asks again without an answer has lost it: what that one looks at is due anew.
        if let Some(earlier) = self.session_waits.get(&session.id)
            && let Some(Waiting::Fetch(wait)) = self.requests.get(earlier)
        {
            let keys = wait.slots.iter().map(|slot| &slot.result.key);
            self.sessions.give_back(wait.context, keys);
        }
        let (context, asks) = match self.sessions.open(cx.now.mono, session) {
            Ok(opened) => opened,
            Err(error) => return self.refuse_fetch(cx, asked, error, NO_SESSION),
        };
        // Followers speak of themselves with a node id. None is assigned to a partition of this node yet.
        let follower = request.replica_id.max(request.replica_state.replica_id) >= 0;
        let max_bytes = i64::from(request.max_bytes).min(rooms.config.int("fetch.max.bytes"));
        let min_bytes = i64::from(request.min_bytes).min(max_bytes);
        let mut wait = FetchWait {
            asked,
            context,
            committed_only: request.isolation_level == READ_COMMITTED,
            min_bytes: u64::try_from(min_bytes).unwrap_or(0),
            max_bytes,
            deadline: cx.now.mono + super::millis(request.max_wait_ms),
            slots: Vec::with_capacity(asks.len()),
            reading: 0,
            watching: false,
            places: Places::default(),
        };
        let mut refused = Vec::new();
        for (key, ask) in asks {
            let target = if follower {
                Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
            } else {
                let name = || self.sessions.name_of(context, &key);
                rooms.fetch_target(&key, name)
            };
            match target {
                Ok(log) => {
                    let partition = rooms.partitions.of_mut(log);
                    if let (Some(id), Some(partition)) = (context.session(), partition) {
                        partition.subscribe(id);
                    }
                    wait.slots.push(Slot::new(key, ask, Ok(log)));
                }
                Err(error) => refused.push(Slot::new(key, ask, Err(error))),
            }
        }
        let anything = !wait.slots.is_empty();
        wait.slots.append(&mut refused);
        if !super::is_isolation_level(request.isolation_level)
            && wait.slots.iter().any(|slot| !slot.is_unknown())
        {
            let keys = wait.slots.iter().map(|slot| &slot.result.key);
            self.sessions.give_back(context, keys);
            return self.refuse_isolation_level(cx, asked, &request);
        }
        // What was not looked at has nothing to tell, or has its turn with the next request.
        let (all, due) = context
            .session()
            .map_or((0, 0), |id| self.sessions.partitions_of(id));
        let anything = anything || all > wait.slots.len();
        let look = self.look(rooms, cx, &mut wait);
        let patient =
            request.max_wait_ms > 0 && anything && due == 0 && !self.connections.is_gone(asked.id);
        // A large one waits only if there is room for it: it holds many times its frame.
        let patient = patient && wait.large_bytes() <= self.connections.request_room();
        if wait.reading > 0 {
            self.requests.insert(asked.id, Waiting::Fetch(wait));
        } else if patient && look.bytes < wait.min_bytes && !look.urgent {
            self.await_data(rooms, wait);
        } else {
            self.answer_fetch(rooms, cx, wait);
        }
    }

    /// Reads every partition anew.
    fn look(&mut self, rooms: &mut Rooms, cx: &mut Cx, wait: &mut FetchWait) -> Look {
        let room = self.connections.answer_room();
        let mut left = wait.max_bytes.min(i64::try_from(room).unwrap_or(i64::MAX));
        let mut at_least_one = true;
        let mut look = Look {
            bytes: 0,
            urgent: false,
        };
        for at in 0..wait.slots.len() {
            let slot = &mut wait.slots[at];
            if let Some(log) = slot.log {
                let later = slot.read(rooms, cx, log, left, at_least_one);
                if let Some(read) = later {
                    slot.reading = Some(read);
                    wait.reading += 1;
                    self.reads.insert(read, (wait.asked.id, at));
                }
            }
            let slot = &wait.slots[at];
            look.urgent |= slot.is_urgent();
            look.bytes += slot.readable;
            left = left.saturating_sub_unsigned(slot.bytes).max(0);
            at_least_one &= slot.bytes == 0;
        }
        look
    }

    fn await_data(&mut self, rooms: &mut Rooms, mut wait: FetchWait) {
        self.connections.hold(wait.asked.id, wait.large_bytes());
        let session = wait.context.session();
        if let Some(id) = session {
            self.session_waits.insert(id, wait.asked.id);
        }
        for slot in wait.slots.iter().filter(|_| session.is_none()) {
            if let Some(partition) = slot.log.and_then(|log| rooms.partitions.of_mut(log)) {
                partition.watch(wait.asked.id);
            }
        }
        let places = &mut wait.places;
        for (at, slot) in wait.slots.iter_mut().enumerate() {
            // What was read is read again when there is enough: the fetch holds nothing while it waits.
            slot.result.records = Parts::new();
            places.readable += slot.readable;
            places.by_log.extend(slot.log.map(|log| (log, at)));
            if session.is_some() {
                places.by_key.insert(slot.result.key.clone(), at);
            }
        }
        wait.watching = true;
        self.timers.insert((wait.deadline, wait.asked.id));
        self.requests.insert(wait.asked.id, Waiting::Fetch(wait));
    }

    /// The high watermark of a partition has moved, or the partition has failed: a fetch that waits on it may have enough.
    pub(super) fn wake_fetch(&mut self, rooms: &mut Rooms, cx: &mut Cx, id: RequestId, log: LogId) {
        let Some(Waiting::Fetch(wait)) = self.requests.get_mut(&id) else {
            return;
        };
        if !wait.watching {
            return;
        }
        let most = wait.max_bytes;
        let at = wait.places.by_log.get(&log);
        let Some(slot) = at.and_then(|at| wait.slots.get_mut(*at)) else {
            return;
        };
        let before = slot.readable;
        // What must come from disk is not the news that the fetch waits for: it is counted, and read when the wait ends.
        slot.read(rooms, cx, log, most, true);
        slot.result.records = Parts::new();
        let urgent = slot.is_urgent();
        wait.places.readable = wait.places.readable - before + slot.readable;
        if (urgent || wait.places.readable >= wait.min_bytes)
            && let Some(Waiting::Fetch(wait)) = self.requests.remove(&id)
        {
            cx.out.mark(Mark::FetchWokenByAppend);
            self.complete_fetch(rooms, cx, wait);
        }
    }

    /// A partition has moved: it is due in the sessions that it names.
    pub(super) fn mark_sessions(&mut self, rooms: &mut Rooms, log: LogId) -> Vec<(i32, FetchKey)> {
        let Some(partition) = rooms.partitions.of_mut(log) else {
            return Vec::new();
        };
        let sessions: Vec<i32> = partition.sessions().collect();
        let mut due = Vec::with_capacity(sessions.len());
        for id in sessions {
            let (topic_id, topic) = (partition.topic_id, &partition.topic);
            match self.sessions.mark_due(id, topic_id, topic, partition.index) {
                Some(key) => due.push((id, key)),
                None => partition.unsubscribe(id),
            }
        }
        due
    }

    /// A partition has moved: fetches that wait in its sessions may have enough.
    pub(super) fn wake_sessions(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId) {
        for (session, key) in self.mark_sessions(rooms, log) {
            self.wake_in_session(rooms, cx, session, log, key);
        }
    }

    /// The partition `key` is due in `session`: a fetch that waits there looks at it, too.
    pub(super) fn wake_in_session(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        session: i32,
        log: LogId,
        key: FetchKey,
    ) {
        let Some(request) = self.session_waits.get(&session).copied() else {
            return;
        };
        let Some(Waiting::Fetch(wait)) = self.requests.get_mut(&request) else {
            return;
        };
        let Some(ask) = self.sessions.take(session, &key) else {
            return;
        };
        let Places { by_log, by_key, .. } = &mut wait.places;
        match by_key.get(&key).map(|at| (*at, wait.slots.get_mut(*at))) {
            Some((at, Some(slot))) => {
                slot.log = Some(log);
                by_log.insert(log, at);
            }
            Some((_, None)) | None => {
                by_log.insert(log, wait.slots.len());
                by_key.insert(key.clone(), wait.slots.len());
                wait.slots.push(Slot::new(key, ask, Ok(log)));
            }
        }
        self.wake_fetch(rooms, cx, request, log);
    }

    /// Tells partitions of sessions that have left them. Returns how many, a piece at most.
    pub(super) fn retire_sessions(&mut self, rooms: &mut Rooms) -> usize {
        let mut told = 0;
        while told < LOOKED_AT
            && let Some((id, key)) = self.sessions.next_left()
        {
            told += 1;
            let topic = match &key.topic {
                TopicRef::Id(id) => Some(*id),
                TopicRef::Name(name) => rooms.image.topics.id(name),
            };
            let partition = topic.and_then(|topic| rooms.partitions.find_mut(topic, key.partition));
            if let Some(partition) = partition {
                partition.unsubscribe(id);
            }
        }
        told
    }

    /// The fetch has waited long enough.
    pub(super) fn expire_fetch(&mut self, rooms: &mut Rooms, cx: &mut Cx, wait: FetchWait) {
        cx.out.mark(Mark::FetchTimedOut);
        self.complete_fetch(rooms, cx, wait);
    }

    /// Ends the wait with whatever there is.
    fn complete_fetch(&mut self, rooms: &mut Rooms, cx: &mut Cx, mut wait: FetchWait) {
        self.stop_watching(rooms, &mut wait);
        self.look(rooms, cx, &mut wait);
        if wait.reading > 0 {
            self.requests.insert(wait.asked.id, Waiting::Fetch(wait));
        } else {
            self.answer_fetch(rooms, cx, wait);
        }
    }

    fn stop_watching(&mut self, rooms: &mut Rooms, wait: &mut FetchWait) {
        if !std::mem::take(&mut wait.watching) {
            return;
        }
        self.timers.remove(&(wait.deadline, wait.asked.id));
        let session = wait.context.session();
        if let Some(id) = session
            && self.session_waits.get(&id) == Some(&wait.asked.id)
        {
            self.session_waits.remove(&id);
        }
        for slot in wait.slots.iter().filter(|_| session.is_none()) {
            if let Some(partition) = slot.log.and_then(|log| rooms.partitions.of_mut(log)) {
                partition.unwatch(wait.asked.id);
            }
        }
    }

    /// The peer is gone: nobody waits for the fetch, nor for its reads.
    pub(super) fn abandon_fetch(&mut self, rooms: &mut Rooms, cx: &mut Cx, mut wait: FetchWait) {
        self.stop_watching(rooms, &mut wait);
        for read in wait.slots.iter().filter_map(|slot| slot.reading) {
            self.reads.remove(&read);
            rooms.store.give_up_read(cx, read);
        }
        let keys = wait.slots.iter().map(|slot| &slot.result.key);
        self.sessions.give_back(wait.context, keys);
        self.connections
            .finish(wait.asked.id, Answer::Silent, cx.out);
    }

    /// A read of the disk has ended.
    pub fn on_read(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        read: ReadId,
        outcome: Result<Records, ReadError>,
    ) {
        let Some((id, at)) = self.reads.remove(&read) else {
            return;
        };
        let Some(Waiting::Fetch(wait)) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(slot) = wait.slots.get_mut(at).filter(|slot| slot.reading.is_some()) else {
            return;
        };
        slot.reading = None;
        wait.reading -= 1;
        match outcome {
            Ok(records) => slot.result.records = records.parts,
            Err(error) => slot.fail(ErrorCode(error.code())),
        }
        if wait.reading == 0
            && let Some(Waiting::Fetch(wait)) = self.requests.remove(&id)
        {
            self.answer_fetch(rooms, cx, wait);
        }
    }

    fn answer_fetch(&mut self, rooms: &Rooms, cx: &mut Cx, wait: FetchWait) {
        let asked = wait.asked;
        let all = wait.slots.len();
        let mut results: Vec<FetchResult> =
            wait.slots.into_iter().map(|slot| slot.result).collect();
        let untold = self
            .sessions
            .partitions_of(wait.context.session().unwrap_or(NO_SESSION))
            .0;
        let session = self.sessions.answer(
            cx.now.mono,
            cx.rng,
            wait.context,
            &rooms.image.topics,
            &mut results,
        );
        let session_id = match session {
            Ok(id) => id,
            Err(error) => {
                let keys = results.iter().map(|result| &result.key);
                self.sessions.give_back(wait.context, keys);
                let id = match wait.context {
                    FetchContext::Incremental { id, .. } => id,
                    FetchContext::Sessionless | FetchContext::Full { .. } => NO_SESSION,
                };
                return self.refuse_fetch(cx, asked, error, id);
            }
        };
        if results.len() < all.max(untold) {
            cx.out.mark(Mark::IncrementalFetch);
        }
        let mut response = FetchResponse {
            session_id,
            ..Default::default()
        };
        for result in results {
            let topic = rooms.topic_in_answer(&mut response, &result.key.topic);
            let partition = partition_data(asked.version, wait.committed_only, &result);
            response.responses[topic].partitions.push(partition);
            if asked.version >= LEADER_SINCE {
                rooms.tell_leader(asked, &mut response, topic, &result);
            }
        }
        self.reply(cx, asked, &response);
    }

    /// Kafka fails on a level that it does not know, once there is a partition to read.
    fn refuse_isolation_level(&mut self, cx: &mut Cx, asked: Asked, request: &FetchRequest) {
        let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        let told = request
            .topics
            .iter()
            .filter(|_| asked.version <= PARTITIONS_TOLD_UNTIL);
        let responses = told.map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| PartitionData {
                partition_index: partition.partition,
                error_code,
                high_watermark: -1,
                aborted_transactions: Some(Vec::new()),
                records: Some(Parts::new()),
                ..Default::default()
            });
            FetchableTopicResponse {
                topic: topic.topic.clone(),
                partitions: partitions.collect(),
                ..Default::default()
            }
        });
        let response = FetchResponse {
            error_code,
            session_id: request.session_id,
            responses: responses.collect(),
            ..Default::default()
        };
        self.reply(cx, asked, &response);
    }

    fn refuse_fetch(&mut self, cx: &mut Cx, asked: Asked, error_code: ErrorCode, session_id: i32) {
        let response = FetchResponse {
            error_code,
            session_id,
            ..Default::default()
        };
        self.reply(cx, asked, &response);
    }
}

impl FetchWait {
    /// What it holds beside its frame while it waits, if that is worth counting. In a session it never is.
    fn large_bytes(&self) -> u64 {
        let partitions = self.slots.len();
        if partitions > LOOKED_AT {
            partitions as u64 * WAITING_PARTITION_BYTES
        } else {
            0
        }
    }

    /// Tells what it wants and what it has come to.
    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(1);
        out.moment(self.deadline);
        out.session(self.context.session().unwrap_or(NO_SESSION));
        out.number(i64::try_from(self.min_bytes).unwrap_or(i64::MAX));
        out.number(self.max_bytes);
        out.flag(self.committed_only);
        out.flag(self.watching);
        for slot in &self.slots {
            let result = &slot.result;
            result.key.describe(out);
            out.number(result.ask.offset.0);
            out.number(i64::from(result.ask.max_bytes));
            out.number(i64::from(result.error.0));
            out.number(result.high_watermark.0);
            out.count(result.records.len());
            out.flag(slot.reading.is_some());
        }
    }
}

impl Slot {
    fn new(key: FetchKey, ask: FetchAsk, target: Result<LogId, ErrorCode>) -> Slot {
        let error = target.err().unwrap_or(ErrorCode::NONE);
        Slot {
            log: target.ok(),
            bytes: 0,
            readable: 0,
            reading: None,
            result: FetchResult::failed(key, ask, error),
        }
    }

    /// Must it be told at once? What the metadata does not know can wait: it may be about to learn it.
    fn is_urgent(&self) -> bool {
        let failed = self.result.error != ErrorCode::NONE;
        (failed && (self.log.is_some() || !self.is_unknown())) || self.result.diverging.is_some()
    }

    /// Is this a partition that the metadata does not have?
    fn is_unknown(&self) -> bool {
        matches!(
            self.result.error,
            ErrorCode::UNKNOWN_TOPIC_ID | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        )
    }

    fn fail(&mut self, error: ErrorCode) {
        let (key, ask) = (self.result.key.clone(), self.result.ask);
        self.result = FetchResult::failed(key, ask, error);
        (self.bytes, self.readable) = (0, 0);
    }

    /// Reads the partition as it is now. Returns the read of the disk that must end first, if one must; `bytes` then counts as
    /// much as it may bring.
    fn read(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        log: LogId,
        left: i64,
        at_least_one: bool,
    ) -> Option<ReadId> {
        let ask = self.result.ask;
        let max_bytes = left.min(i64::from(ask.max_bytes));
        let wanted = u64::try_from(max_bytes).unwrap_or(0);
        (self.bytes, self.readable) = (0, 0);
        match rooms.fetch_one(cx, log, ask, max_bytes, at_least_one) {
            Err(error) => {
                self.fail(error);
                None
            }
            Ok(found) => {
                self.result.error = ErrorCode::NONE;
                self.result.high_watermark = found.high_watermark;
                self.result.last_stable_offset = found.last_stable_offset;
                self.result.log_start = found.log_start;
                self.result.diverging = found.diverging;
                self.result.records = Parts::new();
                self.result.more = false;
                match found.outcome {
                    ReadOutcome::Ready(records) => {
                        self.bytes = records.parts.len() as u64;
                        let more = records.next < found.high_watermark && found.diverging.is_none();
                        self.result.more = more;
                        self.readable = if more {
                            self.bytes.max(wanted)
                        } else {
                            self.bytes
                        };
                        self.result.records = records.parts;
                        None
                    }
                    ReadOutcome::Later(read) => {
                        self.result.more = true;
                        self.bytes = wanted.max(1);
                        self.readable = self.bytes;
                        Some(read)
                    }
                }
            }
        }
    }
}

/// What one partition brought.
struct Found {
    high_watermark: Offset,
    last_stable_offset: Offset,
    log_start: Offset,
    diverging: Option<(LeaderEpoch, Offset)>,
    outcome: ReadOutcome,
}

impl Rooms {
    /// The log that a fetch reads. `name` gives what the session has known a topic by.
    fn fetch_target<'a>(
        &self,
        key: &FetchKey,
        name: impl FnOnce() -> Option<&'a Str>,
    ) -> Result<LogId, ErrorCode> {
        let topics = &self.image.topics;
        let id = match &key.topic {
            TopicRef::Id(id) => match topics.by_id(*id) {
                Some(topic) => topic.id,
                None => return Err(self.vanished(name(), key.partition)),
            },
            TopicRef::Name(name) => topics
                .id(name)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?,
        };
        let partition = self.partitions.find(id, key.partition);
        partition
            .map(|partition| partition.log)
            .ok_or_else(|| self.missing_partition(id, key.partition))
    }

    /// What to say of a partition whose topic id is not known: never was, or has given way to another topic of the same name.
    fn vanished(&self, name: Option<&Str>, index: PartitionIndex) -> ErrorCode {
        let Some(name) = name else {
            return ErrorCode::UNKNOWN_TOPIC_ID;
        };
        let other = self.image.topics.by_name(name);
        match other.and_then(|topic| topic.partitions.get(&index.0)) {
            Some(_) => ErrorCode::INCONSISTENT_TOPIC_ID,
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        }
    }

    fn fetch_one(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        ask: FetchAsk,
        max_bytes: i64,
        at_least_one: bool,
    ) -> Result<Found, ErrorCode> {
        let partition = self
            .partitions
            .of(log)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.usable(ask.current_leader_epoch)?;
        let view = self.view(log)?;
        let mut found = Found {
            high_watermark: partition.high_watermark(),
            last_stable_offset: partition.last_stable_offset(),
            log_start: view.start,
            diverging: None,
            outcome: ReadOutcome::Ready(Records::default()),
        };
        if let Some(epoch) = ask.last_fetched_epoch {
            found.diverging = self.diverges(log, epoch, ask.offset)?;
            if found.diverging.is_some() {
                return Ok(found);
            }
        }
        let below = if cx.mutants.has(Mutant::ServeAboveHighWatermark) {
            view.written
        } else {
            found.high_watermark
        };
        // As with Kafka, a size that nothing can have is an error only where there is something to read.
        if max_bytes < 0 && (view.start..below).contains(&ask.offset) {
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        let read = Read {
            from: ask.offset,
            max_bytes: u32::try_from(max_bytes.max(0)).unwrap_or(u32::MAX),
            below,
            at_least_one,
        };
        let outcome = self.store.read(cx, log, read);
        found.outcome = outcome.map_err(|error| ErrorCode(error.code()))?;
        Ok(found)
    }

    /// Where the log of a client that has a record of `epoch` before `offset` ends being a prefix of ours. KIP-595.
    fn diverges(
        &self,
        log: LogId,
        epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
        let (ours, end) = self.store.epoch_end_offset(log, epoch);
        if ours == LeaderEpoch::NONE || offset < self.view(log)?.start {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        Ok((ours < epoch || end < offset).then_some((ours, end)))
    }

    /// The place of a topic in the answer: the last one if it is the same topic, else a new one.
    fn topic_in_answer(&self, response: &mut FetchResponse, topic: &TopicRef) -> usize {
        let (name, id) = match topic {
            TopicRef::Id(id) => (Str::EMPTY, *id),
            TopicRef::Name(name) => (name.clone(), Uuid::ZERO),
        };
        let same = |last: &FetchableTopicResponse| last.topic == name && last.topic_id == id;
        if !response.responses.last().is_some_and(same) {
            response.responses.push(FetchableTopicResponse {
                topic: name,
                topic_id: id,
                ..Default::default()
            });
        }
        response.responses.len() - 1
    }

    fn tell_leader(
        &self,
        asked: Asked,
        response: &mut FetchResponse,
        topic: usize,
        result: &FetchResult,
    ) {
        let leader_matters = matches!(
            result.error,
            ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH
        );
        let id = match &result.key.topic {
            TopicRef::Id(id) => Some(*id),
            TopicRef::Name(name) => self.image.topics.id(name),
        };
        let leader = id.and_then(|id| self.leader_of(id, result.key.partition, asked.listener));
        let Some(leader) = leader.filter(|_| leader_matters) else {
            return;
        };
        if let Some(partition) = response.responses[topic].partitions.last_mut() {
            partition.current_leader = LeaderIdAndEpoch {
                leader_id: leader.id.0,
                leader_epoch: leader.epoch.0,
                ..Default::default()
            };
        }
        let mut endpoints = response.node_endpoints.iter();
        if let Some(endpoint) = leader.endpoint
            && !endpoints.any(|known| known.node_id == leader.id.0)
        {
            response.node_endpoints.push(NodeEndpoint {
                node_id: leader.id.0,
                host: endpoint.host,
                port: endpoint.port,
                rack: endpoint.rack,
                ..Default::default()
            });
        }
    }
}

fn session_request(version: i16, request: &FetchRequest) -> SessionRequest {
    let by_id = version >= TOPIC_IDS_SINCE;
    let named = |name: &Str, id: Uuid| {
        if by_id {
            TopicRef::Id(id)
        } else {
            TopicRef::Name(name.clone())
        }
    };
    let epoch = |epoch: i32| (epoch >= 0).then_some(LeaderEpoch(epoch));
    let mut asks = Vec::new();
    for topic in &request.topics {
        let name = named(&topic.topic, topic.topic_id);
        asks.extend(topic.partitions.iter().map(|partition| {
            let key = FetchKey {
                topic: name.clone(),
                partition: PartitionIndex(partition.partition),
            };
            let ask = FetchAsk {
                offset: Offset(partition.fetch_offset),
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: epoch(partition.current_leader_epoch),
                last_fetched_epoch: epoch(partition.last_fetched_epoch),
            };
            (key, ask)
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let name = named(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|partition| FetchKey {
            topic: name.clone(),
            partition: PartitionIndex(*partition),
        }));
    }
    SessionRequest {
        id: request.session_id,
        epoch: request.session_epoch,
        uses_topic_ids: by_id,
        asks,
        forgotten,
    }
}

fn partition_data(version: i16, committed_only: bool, result: &FetchResult) -> PartitionData {
    let storage_error = result.error == ErrorCode::KAFKA_STORAGE_ERROR;
    let error_code = if storage_error && version <= NO_STORAGE_ERROR_UNTIL {
        ErrorCode::NOT_LEADER_OR_FOLLOWER
    } else {
        result.error
    };
    let diverging = result.diverging.map(|(epoch, end)| EpochEndOffset {
        epoch: epoch.0,
        end_offset: end.0,
        ..Default::default()
    });
    // Null says "all is committed", an empty list "of these transactions, none was aborted". Kafka leaves the list empty where it
    // refuses a partition before it looks at one.
    let unknown = matches!(
        result.error,
        ErrorCode::UNKNOWN_TOPIC_ID | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let committed = committed_only && result.error == ErrorCode::NONE;
    let aborted = (committed || unknown).then(Vec::new);
    PartitionData {
        partition_index: result.key.partition.0,
        error_code,
        high_watermark: result.high_watermark.0,
        last_stable_offset: result.last_stable_offset.0,
        log_start_offset: result.log_start.0,
        diverging_epoch: diverging.unwrap_or_default(),
        aborted_transactions: aborted,
        records: Some(result.records.clone()),
        ..Default::default()
    }
}
