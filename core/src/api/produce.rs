//! Produce, versions 3 to 13: from the request's slices to appends, and from the clock of durability back to an answer.
//!
//! Owns a produce request from its arrival to its answer: which partitions are still being checked, which wait to be
//! written or committed. Appends of a connection happen in the order of its requests, whatever order the checks end
//! in. Decides no rule of a partition; never answers acks=0 (a failure closes the connection instead: closing is the only way to tell).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::connection::Answer;
use super::{Api, Asked, Rooms, Waiting};
use crate::controller::is_internal_topic;
use crate::ids::{ConnId, LogId, Offset, PartitionIndex, RequestId, Uuid};
use crate::io::{CloseWhy, Cx, Effect, Token};
use crate::log::{Append, Origin};
use crate::mark::Mark;
use crate::mutant::Mutant;
use crate::partition::Acks;
use crate::situation::Situation;
use crate::time::Instant;
use crate::wire::batch::{BatchHeader, Compression};
use crate::wire::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use crate::wire::{ErrorCode, ProduceRequest, ProduceResponse, Str};
use crate::work::{Facts, Job, RecordsFault, RecordsFaultKind, ValidBatch};

/// The client id whose holder may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// The first version in which a batch may be compressed with zstd. KIP-110.
const ZSTD_SINCE: i16 = 7;
/// The first version that tells who leads instead. KIP-951.
const LEADER_SINCE: i16 = 10;

/// A produce request in work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProduceWait {
    asked: Asked,
    acks: Acks,
    deadline: Instant,
    topics: Vec<Topic>,
    slots: Vec<Slot>,
    /// Slots whose records are being checked.
    unchecked: usize,
    /// So many slots had their turn to be appended.
    appended: usize,
    /// The place of each slot that waits for the disk.
    awaiting: BTreeMap<LogId, usize>,
    /// Slots that wait for the disk.
    unacknowledged: usize,
}

/// How the request named a topic, which the answer repeats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Topic {
    name: Str,
    id: Uuid,
}

/// One partition of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    /// Its place in `topics`.
    topic: usize,
    index: PartitionIndex,
    log: Option<LogId>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The records are being checked; this brings what the check found.
    Checking(Token),
    /// What the check said.
    Checked(Box<Result<ValidBatch, RecordsFault>>),
    /// Appended; everything below `end` must be acknowledged.
    Appended { end: Offset, result: Outcome },
    /// Done.
    Done(Outcome),
}

/// What the answer says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    error: ErrorCode,
    base_offset: Offset,
    log_append_time: i64,
    log_start: Offset,
    record_errors: Vec<(i32, String)>,
    message: Option<String>,
}

impl ProduceWait {
    /// A log that is not open yet and that this request goes to.
    fn opening(&self, rooms: &Rooms) -> Option<LogId> {
        let logs = self.slots.iter().filter_map(|slot| slot.log);
        let partitions = logs.filter_map(|log| rooms.partitions.of(log));
        let mut opening = partitions.filter(|partition| partition.is_opening());
        opening.next().map(|partition| partition.log)
    }

    /// Did every slot have its turn to be appended?
    fn is_appended(&self) -> bool {
        self.appended == self.slots.len()
    }

    /// The slot that waits for the disk of `log`.
    fn awaiting_at(&mut self, log: LogId) -> Option<&mut Slot> {
        self.slots.get_mut(*self.awaiting.get(&log)?)
    }

    /// Appends the records of the next slots, `most` at most.
    fn append_further(&mut self, most: usize, rooms: &mut Rooms, cx: &mut Cx) {
        let mut left = most;
        for (at, slot) in self.slots.iter_mut().enumerate().skip(self.appended) {
            if left == 0 {
                return;
            }
            self.appended += 1;
            let (State::Checked(checked), Some(log)) = (&mut slot.state, slot.log) else {
                continue;
            };
            left -= 1;
            let unread = RecordsFault {
                kind: RecordsFaultKind::Corrupt,
                message: String::new(),
                records: Vec::new(),
            };
            let checked = std::mem::replace(checked.as_mut(), Err(unread));
            slot.state = rooms.append(cx, log, checked, self.acks);
            if let State::Appended { end, .. } = slot.state
                && self.acks != Acks::None
                && let Some(partition) = rooms.partitions.of_mut(log)
                && partition.await_acks(self.acks, end, self.asked.id, cx.mutants)
            {
                self.unacknowledged += 1;
                self.awaiting.insert(log, at);
            } else if let State::Appended { result, .. } = &slot.state {
                slot.state = State::Done(result.clone());
            }
        }
    }
}

impl ProduceWait {
    /// Tells what it has come to.
    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(0);
        out.moment(self.deadline);
        out.number(self.acks as i64);
        for slot in &self.slots {
            let topic = &self.topics[slot.topic];
            out.bytes(topic.name.as_bytes());
            out.bytes(&topic.id.0);
            out.number(i64::from(slot.index.0));
            match &slot.state {
                State::Checking(_) => out.number(0),
                State::Checked(checked) => out.number(1 + i64::from(checked.is_ok())),
                State::Appended { end, .. } => {
                    out.number(3);
                    out.number(end.0);
                }
                State::Done(outcome) => {
                    out.number(4);
                    out.number(i64::from(outcome.error.0));
                    out.number(outcome.base_offset.0);
                }
            }
        }
    }
}

impl Outcome {
    fn failed(error: ErrorCode) -> Outcome {
        Outcome {
            error,
            base_offset: Offset(-1),
            log_append_time: -1,
            log_start: Offset(-1),
            record_errors: Vec::new(),
            message: None,
        }
    }

    fn because(error: ErrorCode, message: impl Into<String>) -> Outcome {
        Outcome {
            message: Some(message.into()),
            ..Outcome::failed(error)
        }
    }
}

impl Outcome {
    /// What the check found. Kafka tells the log start only with what its log's validator refuses, not with what comes before that.
    fn refused(fault: RecordsFault, log_start: Offset) -> Outcome {
        let before_the_log = matches!(
            fault.kind,
            RecordsFaultKind::NotOneBatch | RecordsFaultKind::Corrupt | RecordsFaultKind::TooLarge
        );
        Outcome {
            log_start: if before_the_log {
                Offset(-1)
            } else {
                log_start
            },
            record_errors: fault.records,
            ..Outcome::because(ErrorCode(fault.kind.code()), fault.message)
        }
    }
}

/// The records of one partition that are being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checking {
    request: RequestId,
    slot: usize,
}

impl Api {
    /// Begins a produce request: asks for the check of every partition's records.
    pub(super) fn begin_produce(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        client_id: Option<&Str>,
        request: ProduceRequest,
    ) {
        let acks = Acks::from_wire(request.acks);
        let mut wait = ProduceWait {
            asked,
            acks: acks.unwrap_or(Acks::Leader),
            deadline: cx.now.mono + super::millis(request.timeout_ms),
            topics: Vec::with_capacity(request.topic_data.len()),
            slots: Vec::new(),
            unchecked: 0,
            appended: 0,
            awaiting: BTreeMap::new(),
            unacknowledged: 0,
        };
        let unnamed_transaction = request.transactional_id.is_none() && has_transactions(&request);
        let internal_allowed = client_id.is_some_and(|id| *id == ADMIN_CLIENT);
        let mut repeated = repeated(&request);
        let mut places: BTreeMap<Topic, usize> = BTreeMap::new();
        for topic in request.topic_data {
            let (name, id) = (topic.name, topic.topic_id);
            let (topic, partitions) = (Topic { name, id }, topic.partition_data);
            if partitions.is_empty() {
                continue;
            }
            // A topic that is named again goes on where it began.
            let place = *places.entry(topic.clone()).or_insert(wait.topics.len());
            if place == wait.topics.len() {
                wait.topics.push(topic.clone());
            }
            for partition in partitions {
                let index = PartitionIndex(partition.index);
                if names_again(&mut repeated, &topic, index) {
                    continue;
                }
                let target = rooms.produce_target(asked.version, &topic, index, internal_allowed);
                let target = match acks {
                    // Kafka's answer to whoever may not write as some transactional id: to all of the request.
                    _ if unnamed_transaction => {
                        Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
                    }
                    Some(_) => target,
                    None => target.and(Err(ErrorCode::INVALID_REQUIRED_ACKS)),
                };
                let at = (place, index);
                let slot = self.check_records(rooms, cx, &wait, target, at, partition.records);
                wait.unchecked += usize::from(matches!(slot.state, State::Checking(_)));
                wait.slots.push(slot);
            }
        }
        self.requests.insert(asked.id, Waiting::Produce(wait));
        self.appends
            .entry(asked.conn)
            .or_default()
            .push_back(asked.id);
        self.append_in_order(rooms, cx, asked.conn);
    }

    fn check_records(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        wait: &ProduceWait,
        target: Result<LogId, ErrorCode>,
        (topic, index): (usize, PartitionIndex),
        records: Option<Bytes>,
    ) -> Slot {
        let state = match (target, records) {
            (Err(error), _) => State::Done(Outcome::failed(error)),
            (Ok(_), None) => State::Done(Outcome::because(
                ErrorCode::INVALID_RECORD,
                "a produce request must have one record batch per partition",
            )),
            (Ok(_), Some(records)) if is_early_zstd(wait.asked.version, &records) => {
                State::Done(Outcome::because(
                    ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
                    "produce requests before version 7 may not use zstd",
                ))
            }
            (Ok(log), Some(records)) => match rooms.view(log) {
                Ok(view) => {
                    let (request, slot) = (wait.asked.id, wait.slots.len());
                    let token = self.pending.wait(Checking { request, slot });
                    let mut rules = view.config.rules(cx.now.wall);
                    // The partitions of a request share the room for what is told of their records.
                    rules.faults_told = (rules.faults_told / (slot + 1)).max(3);
                    let job = Job::Validate { records, rules };
                    cx.out.push(Effect::Work { token, job });
                    State::Checking(token)
                }
                Err(error) => State::Done(Outcome::failed(error)),
            },
        };
        Slot {
            topic,
            index,
            log: target.ok(),
            state,
        }
    }

    /// The check of one partition's records has ended.
    pub fn on_worked(&mut self, rooms: &mut Rooms, cx: &mut Cx, token: Token, facts: Facts) {
        let Facts::Validated(result) = facts else {
            return;
        };
        let Some(checking) = self.pending.complete(token, cx.mutants) else {
            cx.out.mark(Mark::StaleCompletion);
            return;
        };
        let Some(Waiting::Produce(wait)) = self.requests.get_mut(&checking.request) else {
            return;
        };
        let conn = wait.asked.conn;
        if let Some(slot) = wait.slots.get_mut(checking.slot)
            && matches!(slot.state, State::Checking(_))
        {
            slot.state = State::Checked(Box::new(result));
            wait.unchecked -= 1;
        }
        if wait.unchecked == 0 {
            self.append_in_order(rooms, cx, conn);
        }
    }

    /// Appends what is checked, up to the first request of the connection that is not.
    fn append_in_order(&mut self, rooms: &mut Rooms, cx: &mut Cx, conn: ConnId) {
        // A request that goes on in pieces has its turn.
        if self.appending.contains(&conn) {
            return;
        }
        while let Some(queue) = self.appends.get_mut(&conn) {
            let Some(first) = queue.front().copied() else {
                self.appends.remove(&conn);
                return;
            };
            if let Some(Waiting::Produce(wait)) = self.requests.get_mut(&first) {
                if wait.unchecked > 0 {
                    return;
                }
                // A topic that was just created: refusing this batch and taking the next one would break the producer's sequence.
                if wait.appended == 0
                    && let Some(log) = wait.opening(rooms)
                {
                    self.opening.entry(log).or_default().insert(conn);
                    return;
                }
                wait.append_further(self.appends_at_once, rooms, cx);
                if !wait.is_appended() {
                    return self.appending.push_back(conn);
                }
            }
            queue.pop_front();
            if let Some(Waiting::Produce(wait)) = self.requests.remove(&first) {
                self.await_disk(rooms, cx, wait);
            }
        }
    }

    /// Goes on with a request of very many partitions, if there is one: true if there was.
    pub fn go_on_appending(&mut self, rooms: &mut Rooms, cx: &mut Cx) -> bool {
        let Some(conn) = self.appending.pop_front() else {
            return false;
        };
        self.append_in_order(rooms, cx, conn);
        true
    }

    /// The client has gone. As in Kafka, it is served until the first answer that cannot be sent: what came behind that request
    /// and is not appended yet is dropped, as if it had not arrived. `begun`: its requests that are not answered, in their order.
    pub(super) fn abandon_produce(&mut self, cx: &mut Cx, conn: ConnId, begun: &[RequestId]) {
        let silent = |id: &RequestId| {
            let request = self.requests.get(id);
            matches!(request, Some(Waiting::Produce(wait)) if wait.acks == Acks::None)
        };
        let Some(answered) = begun.iter().find(|id| !silent(id)) else {
            return;
        };
        if cx.mutants.has(Mutant::AppendBehindLostAnswer) {
            return;
        }
        self.connections.drop_waiting(conn);
        let Some(queue) = self.appends.get_mut(&conn) else {
            return;
        };
        // What is appended in part is appended whole.
        let begun = queue.front().is_some_and(|first| {
            let request = self.requests.get(first);
            matches!(request, Some(Waiting::Produce(wait)) if wait.appended > 0)
        });
        let behind = match cx.mutants.has(Mutant::DropRequestInWork) {
            true => 0,
            false => queue
                .partition_point(|id| id <= answered)
                .max(usize::from(begun)),
        };
        for id in queue.split_off(behind) {
            if let Some(Waiting::Produce(wait)) = self.requests.remove(&id) {
                for slot in wait.slots {
                    if let State::Checking(token) = slot.state {
                        self.pending.cancel(token);
                    }
                }
            }
            self.connections.finish(id, Answer::Silent, cx.out);
        }
    }

    /// A log is open, has failed or is gone: appends that waited for that go on.
    pub fn on_opened(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId) {
        for conn in self.opening.remove(&log).unwrap_or_default() {
            self.append_in_order(rooms, cx, conn);
        }
    }

    /// Everything is appended: the answer waits for the disk, or for nothing.
    fn await_disk(&mut self, rooms: &Rooms, cx: &mut Cx, wait: ProduceWait) {
        if wait.unacknowledged == 0 {
            self.answer_produce(rooms, cx, wait);
        } else {
            // What the leader alone acknowledges times out for nobody, as with Kafka: it is appended, and a retry would do it again.
            if wait.acks == Acks::All {
                self.timers.insert((wait.deadline, wait.asked.id));
            }
            self.requests.insert(wait.asked.id, Waiting::Produce(wait));
        }
    }

    /// The log of a partition has moved on: appends that `request` waits for there may be acknowledged.
    pub(super) fn acknowledge(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        request: RequestId,
        log: LogId,
    ) {
        let Some(Waiting::Produce(wait)) = self.requests.get_mut(&request) else {
            return;
        };
        let acks = wait.acks;
        if let Some(slot) = wait.awaiting_at(log)
            && let State::Appended { end, result } = &slot.state
        {
            let settled = match rooms.partitions.of(log) {
                None => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                Some(partition) if partition.usable(None).is_err() => partition.usable(None).err(),
                Some(partition) if partition.is_acknowledged(acks, *end, cx.mutants) => {
                    Some(rooms.enough_replicas_after(log, acks))
                }
                Some(_) => None,
            };
            if let Some(error) = settled {
                let mut result = result.clone();
                result.error = error;
                slot.state = State::Done(result);
                wait.unacknowledged -= 1;
            }
        }
        self.answer_if_acknowledged(rooms, cx, request);
    }

    /// Appends to a log from offset `from` on are lost: whoever waits for them is told.
    pub(super) fn fail_appends(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        request: RequestId,
        log: LogId,
        from: Offset,
        why: &str,
    ) {
        let Some(Waiting::Produce(wait)) = self.requests.get_mut(&request) else {
            return;
        };
        if let Some(slot) = wait.awaiting_at(log)
            && let State::Appended { end, .. } = &slot.state
            && *end > from
        {
            let code = ErrorCode::KAFKA_STORAGE_ERROR;
            slot.state = State::Done(Outcome::because(code, why.to_owned()));
            wait.unacknowledged -= 1;
        }
        self.answer_if_acknowledged(rooms, cx, request);
    }

    fn answer_if_acknowledged(&mut self, rooms: &Rooms, cx: &mut Cx, request: RequestId) {
        if let Some(Waiting::Produce(wait)) = self.requests.get(&request)
            && wait.unacknowledged == 0
            && wait.is_appended()
            && let Some(Waiting::Produce(wait)) = self.requests.remove(&request)
        {
            self.timers.remove(&(wait.deadline, request));
            self.answer_produce(rooms, cx, wait);
        }
    }

    /// The client waits no longer: what is not acknowledged is told so.
    pub(super) fn expire_produce(&mut self, rooms: &mut Rooms, cx: &mut Cx, mut wait: ProduceWait) {
        for slot in &mut wait.slots {
            if let State::Appended { end, result } = &slot.state {
                let partition = slot.log.and_then(|log| rooms.partitions.of_mut(log));
                if let Some(partition) = partition {
                    partition.forget_acks(*end, wait.asked.id);
                }
                let mut result = result.clone();
                result.error = ErrorCode::REQUEST_TIMED_OUT;
                slot.state = State::Done(result);
            }
        }
        self.answer_produce(rooms, cx, wait);
    }

    fn answer_produce(&mut self, rooms: &Rooms, cx: &mut Cx, wait: ProduceWait) {
        let asked = wait.asked;
        if wait.acks == Acks::None {
            let failed = wait.slots.iter().any(|slot| {
                !matches!(&slot.state, State::Done(outcome) if outcome.error == ErrorCode::NONE)
            });
            let answer = if failed {
                Answer::Close(CloseWhy::AcksZeroFailed)
            } else {
                Answer::Silent
            };
            self.connections.finish(asked.id, answer, cx.out);
            return;
        }
        let mut response = ProduceResponse {
            responses: wait
                .topics
                .into_iter()
                .map(|topic| TopicProduceResponse {
                    name: topic.name,
                    topic_id: topic.id,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        for slot in wait.slots {
            let State::Done(outcome) = slot.state else {
                continue;
            };
            let mut partition = partition_response(slot.index, outcome);
            if asked.version >= LEADER_SINCE
                && partition.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER
                && let Some(topic) = response.responses.get(slot.topic)
                && let Some(leader) =
                    rooms.leader_in(&topic.name, topic.topic_id, slot.index, asked)
            {
                partition.current_leader = LeaderIdAndEpoch {
                    leader_id: leader.id.0,
                    leader_epoch: leader.epoch.0,
                    ..Default::default()
                };
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
            if let Some(topic) = response.responses.get_mut(slot.topic) {
                topic.partition_responses.push(partition);
            }
        }
        self.reply(cx, asked, &response);
    }
}

fn partition_response(index: PartitionIndex, outcome: Outcome) -> PartitionProduceResponse {
    let record_errors = outcome.record_errors.into_iter();
    PartitionProduceResponse {
        index: index.0,
        error_code: outcome.error,
        base_offset: outcome.base_offset.0,
        log_append_time_ms: outcome.log_append_time,
        log_start_offset: outcome.log_start.0,
        record_errors: record_errors
            .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: Some(Str::from(message)),
                ..Default::default()
            })
            .collect(),
        error_message: outcome.message.map(Str::from),
        ..Default::default()
    }
}

/// How often the partitions are named that are named more than once: as with Kafka, only what they are named with last counts.
type Repeated = BTreeMap<(Topic, PartitionIndex), usize>;

/// Nearly no request names a partition again, so that this finds out first, and without a key for each partition.
fn repeated(request: &ProduceRequest) -> Repeated {
    let mut topics: BTreeMap<(&str, Uuid), usize> = BTreeMap::new();
    let mut named: Vec<(usize, i32)> = Vec::new();
    for topic in &request.topic_data {
        let next = topics.len();
        let place = *topics.entry((&*topic.name, topic.topic_id)).or_insert(next);
        let partitions = topic.partition_data.iter();
        named.extend(partitions.map(|partition| (place, partition.index)));
    }
    named.sort_unstable();
    if named.windows(2).all(|pair| pair[0] != pair[1]) {
        return Repeated::new();
    }
    let mut repeated = Repeated::new();
    for topic in &request.topic_data {
        let (name, id) = (topic.name.clone(), topic.topic_id);
        let topic_key = Topic { name, id };
        for partition in &topic.partition_data {
            let key = (topic_key.clone(), PartitionIndex(partition.index));
            *repeated.entry(key).or_insert(0) += 1;
        }
    }
    repeated
}

/// Is the partition named once more behind this mention?
fn names_again(repeated: &mut Repeated, topic: &Topic, index: PartitionIndex) -> bool {
    if repeated.is_empty() {
        return false;
    }
    let left = repeated.get_mut(&(topic.clone(), index));
    left.is_some_and(|left| {
        *left -= 1;
        *left > 0
    })
}

/// Does a partition's first batch belong to a transaction?
fn has_transactions(request: &ProduceRequest) -> bool {
    let topics = request.topic_data.iter();
    let mut records = topics
        .flat_map(|topic| &topic.partition_data)
        .filter_map(|partition| partition.records.as_ref());
    records.any(|records| {
        let header = BatchHeader::decode(records);
        header.is_ok_and(|header| header.size() <= records.len() && header.is_transactional())
    })
}

/// Is this a batch in a codec that is younger than the request's version? Such records are refused before anything else.
fn is_early_zstd(version: i16, records: &Bytes) -> bool {
    let codec = || BatchHeader::decode(records).ok()?.compression();
    version < ZSTD_SINCE && codec() == Some(Compression::Zstd)
}

impl Rooms {
    /// The log that a produce of `version` to a partition goes to.
    fn produce_target(
        &self,
        version: i16,
        topic: &Topic,
        index: PartitionIndex,
        internal_allowed: bool,
    ) -> Result<LogId, ErrorCode> {
        let named_by_id = version > 12;
        let (known, unknown) = if named_by_id {
            let known = self.image.topics.by_id(topic.id);
            (known, ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            let known = self.image.topics.by_name(&topic.name);
            (known, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let known = known.ok_or(unknown)?;
        if is_internal_topic(&known.name) && !internal_allowed {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        match self.partitions.find(known.id, index) {
            Some(partition) => Ok(partition.log),
            None => Err(self.missing_partition(known.id, index)),
        }
    }

    /// Appends a checked batch, or tells why not.
    fn append(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        checked: Result<ValidBatch, RecordsFault>,
        acks: Acks,
    ) -> State {
        match self.try_append(cx, log, checked, acks) {
            Ok(state) => state,
            Err(outcome) => State::Done(*outcome),
        }
    }

    fn try_append(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        checked: Result<ValidBatch, RecordsFault>,
        acks: Acks,
    ) -> Result<State, Box<Outcome>> {
        let Some(partition) = self.partitions.of(log) else {
            return Err(Box::new(Outcome::failed(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            )));
        };
        // Kafka refuses these before it looks at the partition.
        if let Err(fault) = &checked
            && fault.kind == RecordsFaultKind::NotOneBatch
        {
            return Err(Box::new(Outcome::refused(fault.clone(), Offset(-1))));
        }
        partition
            .usable(None)
            .map_err(|error| Box::new(Outcome::failed(error)))?;
        let log_start = self.view(log).map_or(Offset(-1), |view| view.start);
        if acks == Acks::All && !partition.has_enough_replicas() {
            let mut outcome = Outcome::failed(ErrorCode::NOT_ENOUGH_REPLICAS);
            outcome.log_start = log_start;
            return Err(Box::new(outcome));
        }
        let batch = checked.map_err(|fault| Box::new(Outcome::refused(fault, log_start)))?;
        // There is no transaction log: as with a coordinator that cannot be asked, Kafka's code is one that makes any client try again.
        if batch.header.is_transactional() {
            return Err(Box::new(Outcome::because(
                ErrorCode::NOT_ENOUGH_REPLICAS,
                "no transaction coordinator knows of this partition: there is none",
            )));
        }
        let epoch = partition.assignment().leader_epoch;
        let append = Append {
            batch,
            epoch,
            origin: Origin::Client,
        };
        let appended = self.store.append(cx, log, append);
        let appended = appended.map_err(|error| {
            let code = ErrorCode(error.code());
            let known = !matches!(
                code,
                ErrorCode::KAFKA_STORAGE_ERROR | ErrorCode::RECORD_LIST_TOO_LARGE
            );
            Box::new(Outcome {
                log_start: if known { log_start } else { Offset(-1) },
                ..Outcome::because(code, error.to_string())
            })
        })?;
        if appended.duplicate {
            cx.out.mark(Mark::DuplicateBatch);
        }
        let result = Outcome {
            error: ErrorCode::NONE,
            base_offset: appended.base,
            log_append_time: appended.log_append_time,
            log_start,
            record_errors: Vec::new(),
            message: None,
        };
        Ok(State::Appended {
            end: appended.last.next(),
            result,
        })
    }

    /// Who leads a partition that a produce named by name or, since version 13, by id.
    fn leader_in(
        &self,
        name: &Str,
        id: Uuid,
        index: PartitionIndex,
        asked: Asked,
    ) -> Option<super::Leader> {
        let named = self.image.topics.id(name);
        let id = if asked.version > 12 { Some(id) } else { named };
        self.leader_of(id?, index, asked.listener)
    }

    /// Whether the in-sync set is still large enough when an acks=all append is committed.
    fn enough_replicas_after(&self, log: LogId, acks: Acks) -> ErrorCode {
        let partition = self.partitions.of(log);
        let enough = partition.is_none_or(|partition| partition.has_enough_replicas());
        if acks == Acks::All && !enough {
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        } else {
            ErrorCode::NONE
        }
    }
}
