//! Fetch sessions: what a fetcher asked before, so that it names only what changes (KIP-227).
//!
//! Owns the cache of sessions and the rule which one gives way to another. Never waits, never reads. The epoch of a session
//! counts its requests: two answers to one request, or one that was lost, are told apart by it.
//!
//! A request costs what has moved, not what its session holds: a partition with nothing to tell leaves the set of those that are due
//! until it moves ([`Sessions::mark_due`]) or is asked for anew. A request takes [`LOOKED_AT`] of them at most; the next takes the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{DetachedKeys, FetchAsk, FetchKey, FetchResult, TopicRef};
use crate::ids::{Offset, PartitionIndex, Uuid};
use crate::metadata::Topics;
use crate::rng::{Purpose, Rng};
use crate::situation::Situation;
use crate::time::Instant;
use crate::wire::{ErrorCode, Str};

/// "No session".
pub const NO_SESSION: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that asks for no session, and ends the one that is named.
const FINAL_EPOCH: i32 = -1;
/// So many partitions of a session are looked at for one request.
pub const LOOKED_AT: usize = 1_000;
/// A session that was used within this time gives way to nobody, and a younger one to no larger one. Kafka's constant.
const EVICTION: Duration = Duration::from_mins(2);
/// The partitions that all sessions together may have. Who asks for more is answered without a session, as when the cache is full.
/// Kafka counts sessions only, each of any size.
const PARTITIONS_HELD: usize = 1_000_000;

/// What a fetch says of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Its id; 0 is none.
    pub id: i32,
    /// Its epoch; 0 asks for a new session, -1 for none.
    pub epoch: i32,
    /// Does the request name topics by id? A session never changes that.
    pub uses_topic_ids: bool,
    /// The partitions that the request names. A later mention of a partition replaces an earlier one.
    pub asks: Vec<(FetchKey, FetchAsk)>,
    /// The partitions to drop.
    pub forgotten: Vec<FetchKey>,
}

/// How a fetch is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchContext {
    /// Everything that was asked, and no session.
    Sessionless,
    /// Everything that was asked, and a new session if there is room.
    Full {
        /// Does the request name topics by id?
        uses_topic_ids: bool,
    },
    /// What changed.
    Incremental {
        /// The session.
        id: i32,
        /// The epoch that it must still have when the answer leaves.
        epoch: i32,
    },
}

impl FetchContext {
    /// The session that the fetch goes on with.
    #[must_use]
    pub fn session(self) -> Option<i32> {
        match self {
            FetchContext::Incremental { id, .. } => Some(id),
            FetchContext::Sessionless | FetchContext::Full { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    uses_topic_ids: bool,
    epoch: i32,
    created: Instant,
    used: Instant,
    /// The size under which the cache counts the session.
    size: usize,
    /// In the order in which they are served: who got records goes to the end.
    order: BTreeMap<u64, FetchKey>,
    partitions: BTreeMap<FetchKey, Cached>,
    next_place: u64,
    /// The places of those to look at next. One that a request in work looks at is not among them, unless it moved since.
    due: BTreeSet<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cached {
    /// What the topic was called when it was last known, of a session that names topics by id.
    name: Option<Str>,
    place: u64,
    ask: FetchAsk,
    high_watermark: Offset,
    log_start: Offset,
}

impl Session {
    fn put(&mut self, key: FetchKey, ask: FetchAsk, high_watermark: Offset, log_start: Offset) {
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.ask = ask;
            self.due.insert(cached.place);
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.due.insert(place);
        self.order.insert(place, key.clone());
        let cached = Cached {
            name: None,
            place,
            ask,
            high_watermark,
            log_start,
        };
        self.partitions.insert(key, cached);
    }

    /// Drops a partition; returns its key if there was one.
    fn forget(&mut self, key: &FetchKey) -> Option<FetchKey> {
        let cached = self.partitions.remove(key)?;
        self.due.remove(&cached.place);
        self.order.remove(&cached.place)
    }

    /// Takes the first of those that are due.
    fn take_due(&mut self) -> Vec<(FetchKey, FetchAsk)> {
        let mut asks = Vec::new();
        while asks.len() < LOOKED_AT
            && let Some(place) = self.due.pop_first()
        {
            if let Some(key) = self.order.get(&place)
                && let Some(cached) = self.partitions.get(key)
            {
                asks.push((key.clone(), cached.ask));
            }
        }
        asks
    }

    /// Learns the names of a topic that was not known before.
    fn learn_name(&mut self, key: &FetchKey, topics: &Topics) {
        if let TopicRef::Id(id) = &key.topic
            && let Some(cached) = self.partitions.get_mut(key)
            && cached.name.is_none()
        {
            cached.name = topics.by_id(*id).map(|topic| topic.name.clone());
        }
    }

    /// Notes what the fetcher is about to learn; false if it learns nothing and the partition can be left out.
    fn note(&mut self, result: &FetchResult) -> bool {
        let Some(cached) = self.partitions.get_mut(&result.key) else {
            return false;
        };
        let failed = result.error != ErrorCode::NONE;
        let news = failed
            || !result.records.is_empty()
            || cached.high_watermark != result.high_watermark
            || cached.log_start != result.log_start
            || result.diverging.is_some();
        // After an error the partition is told again as soon as the error is gone.
        cached.high_watermark = if failed {
            Offset(-1)
        } else {
            result.high_watermark
        };
        cached.log_start = result.log_start;
        // Those that keep failing do not keep the others from their turn.
        let yields = failed && !self.due.is_empty();
        if !result.records.is_empty() || yields {
            let place = std::mem::replace(&mut cached.place, self.next_place);
            self.next_place += 1;
            let to = cached.place;
            if let Some(key) = self.order.remove(&place) {
                self.order.insert(to, key);
            }
            if self.due.remove(&place) {
                self.due.insert(to);
            }
        }
        if !result.is_quiet() {
            self.due.insert(cached.place);
        }
        news
    }
}

/// All sessions of a broker, at most `max.incremental.fetch.session.cache.slots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    slots: usize,
    /// The partitions that they may have together, and those that they have.
    most: usize,
    held: usize,
    sessions: BTreeMap<i32, Session>,
    by_use: BTreeSet<(Instant, i32)>,
    /// Those old enough to give way to a larger one.
    evictable: BTreeSet<(usize, i32)>,
    /// Sessions that are gone, with the partitions that do not know it yet.
    retired: Vec<(i32, Session)>,
    /// Partitions that a session has dropped and that do not know it yet.
    dropped: Vec<(i32, FetchKey)>,
    /// How many partitions `retired` has.
    retired_held: usize,
    /// How many ids were drawn.
    drawn: u64,
}

impl Sessions {
    /// No sessions yet, and room for `slots`.
    #[must_use]
    pub fn new(slots: usize) -> Sessions {
        Sessions {
            slots,
            most: PARTITIONS_HELD,
            held: 0,
            sessions: BTreeMap::new(),
            by_use: BTreeSet::new(),
            evictable: BTreeSet::new(),
            retired: Vec::new(),
            dropped: Vec::new(),
            retired_held: 0,
            drawn: 0,
        }
    }

    /// Applies what a request says of its session and tells what is to be looked at for it, in the order to serve. Of a session, that
    /// goes back with [`Sessions::answer`] or [`Sessions::give_back`].
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH or FETCH_SESSION_TOPIC_ID_ERROR; the session is as before.
    pub fn open(
        &mut self,
        now: Instant,
        request: SessionRequest,
    ) -> Result<(FetchContext, Vec<(FetchKey, FetchAsk)>), ErrorCode> {
        if matches!(request.epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            self.remove(request.id);
            let context = if request.epoch == FINAL_EPOCH {
                FetchContext::Sessionless
            } else {
                FetchContext::Full {
                    uses_topic_ids: request.uses_topic_ids,
                }
            };
            return Ok((context, last_mentions(request.asks)));
        }
        let session = self.sessions.get(&request.id);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        let is_new = |(key, _): &&(FetchKey, FetchAsk)| !session.partitions.contains_key(key);
        if self.is_beyond(request.asks.len())
            && self.is_beyond(request.asks.iter().filter(is_new).count())
        {
            // The fetcher begins anew, and is answered without a session if there is no room for it.
            self.remove(request.id);
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        let session = self.sessions.get_mut(&request.id);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut detached = DetachedKeys::default();
        for (key, ask) in &request.asks {
            session.put(detached.key(key), *ask, Offset(-1), Offset(-1));
        }
        let forgotten = request.forgotten.iter();
        let forgotten = forgotten.filter_map(|key| session.forget(key));
        self.dropped.extend(forgotten.map(|key| (request.id, key)));
        if session.partitions.is_empty() {
            self.remove(request.id);
            return Ok((FetchContext::Sessionless, last_mentions(request.asks)));
        }
        session.epoch = next_epoch(session.epoch);
        let context = FetchContext::Incremental {
            id: request.id,
            epoch: session.epoch,
        };
        let asks = session.take_due();
        self.touch(now, request.id);
        Ok((context, asks))
    }

    /// Settles the session for an answer of `results`, drops from them what the fetcher knows already, and returns the session's id.
    ///
    /// # Errors
    /// INVALID_FETCH_SESSION_EPOCH if the session went on while the answer was made; the answer then carries nothing.
    pub fn answer(
        &mut self,
        now: Instant,
        rng: &Rng,
        context: FetchContext,
        topics: &Topics,
        results: &mut Vec<FetchResult>,
    ) -> Result<i32, ErrorCode> {
        match context {
            FetchContext::Sessionless => Ok(NO_SESSION),
            FetchContext::Full { uses_topic_ids } => {
                if !self.make_room(now, results.len()) {
                    return Ok(NO_SESSION);
                }
                Ok(self.create(now, rng, uses_topic_ids, topics, results))
            }
            FetchContext::Incremental { id, epoch } => {
                let session = self
                    .sessions
                    .get_mut(&id)
                    .filter(|session| session.epoch == epoch)
                    .ok_or(ErrorCode::INVALID_FETCH_SESSION_EPOCH)?;
                for result in &*results {
                    session.learn_name(&result.key, topics);
                }
                results.retain(|result| session.note(result));
                Ok(id)
            }
        }
    }

    /// The partition has moved: it is due in session `id`, under the name that is returned. `None` if the session does not have it.
    pub fn mark_due(
        &mut self,
        id: i32,
        topic_id: Uuid,
        topic: &Str,
        partition: PartitionIndex,
    ) -> Option<FetchKey> {
        let session = self.sessions.get_mut(&id)?;
        let topic = if session.uses_topic_ids {
            TopicRef::Id(topic_id)
        } else {
            TopicRef::Name(topic.clone())
        };
        let key = FetchKey { topic, partition };
        let place = session.partitions.get(&key)?.place;
        session.due.insert(place);
        Some(key)
    }

    /// Takes one partition of a session, as [`Sessions::open`] does with those that are due.
    pub fn take(&mut self, id: i32, key: &FetchKey) -> Option<FetchAsk> {
        let session = self.sessions.get_mut(&id)?;
        let cached = session.partitions.get(key)?;
        session.due.remove(&cached.place);
        Some(cached.ask)
    }

    /// What was taken for a request that is not answered is due again.
    pub fn give_back<'a>(
        &mut self,
        context: FetchContext,
        keys: impl Iterator<Item = &'a FetchKey>,
    ) {
        let session = context.session().and_then(|id| self.sessions.get_mut(&id));
        let Some(session) = session else {
            return;
        };
        for key in keys {
            if let Some(cached) = session.partitions.get(key) {
                session.due.insert(cached.place);
            }
        }
    }

    /// How many partitions a session has, and how many of them are due.
    #[must_use]
    pub fn partitions_of(&self, id: i32) -> (usize, usize) {
        let session = self.sessions.get(&id);
        session.map_or((0, 0), |session| {
            (session.partitions.len(), session.due.len())
        })
    }

    /// A partition that need not tell session `id` of its moves any more.
    pub fn next_left(&mut self) -> Option<(i32, FetchKey)> {
        loop {
            if let Some((id, key)) = self.dropped.pop() {
                let session = self.sessions.get(&id);
                if session.is_some_and(|session| session.partitions.contains_key(&key)) {
                    continue;
                }
                return Some((id, key));
            }
            let (id, session) = self.retired.last_mut()?;
            let id = *id;
            if let Some((place, key)) = session.order.pop_first() {
                self.retired_held -= 1;
                session.partitions.remove(&key);
                session.due.remove(&place);
                self.dropped.push((id, key));
            } else {
                self.retired.pop();
            }
        }
    }

    /// What the topic of a partition was called when the session of `context` last knew it.
    #[must_use]
    pub fn name_of(&self, context: FetchContext, key: &FetchKey) -> Option<&Str> {
        let cached = self
            .sessions
            .get(&context.session()?)?
            .partitions
            .get(key)?;
        cached.name.as_ref()
    }

    fn create(
        &mut self,
        now: Instant,
        rng: &Rng,
        uses_topic_ids: bool,
        topics: &Topics,
        results: &[FetchResult],
    ) -> i32 {
        let id = self.draw_id(rng);
        let mut session = Session {
            uses_topic_ids,
            epoch: next_epoch(INITIAL_EPOCH),
            created: now,
            used: now,
            size: 0,
            order: BTreeMap::new(),
            partitions: BTreeMap::new(),
            next_place: 0,
            due: BTreeSet::new(),
        };
        let mut detached = DetachedKeys::default();
        for result in results {
            session.put(
                detached.key(&result.key),
                result.ask,
                result.high_watermark,
                result.log_start,
            );
            session.learn_name(&result.key, topics);
        }
        self.sessions.insert(id, session);
        self.touch(now, id);
        id
    }

    /// A positive id that no present session has.
    fn draw_id(&mut self, rng: &Rng) -> i32 {
        loop {
            let draw = rng.below(i32::MAX as u64, Purpose::FetchSession, 0, self.drawn);
            self.drawn += 1;
            let id = i32::try_from(draw).unwrap_or(0).max(1);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Partitions that sessions have left, and that do not know it yet. Who ends sessions faster than that is told gets none.
    fn leaving(&self) -> usize {
        self.retired_held + self.dropped.len()
    }

    /// Are so many more partitions more than there may be?
    fn is_beyond(&self, more: usize) -> bool {
        more > 0 && self.held.max(self.leaving()) + more > self.most
    }

    fn make_room(&mut self, now: Instant, size: usize) -> bool {
        if self.leaving() + size > self.most {
            return false;
        }
        while self.held + size > self.most {
            match self.by_use.first() {
                Some(&(used, oldest)) if now.since(used) > EVICTION => self.remove(oldest),
                Some(_) | None => return false,
            }
        }
        if self.sessions.len() < self.slots {
            return true;
        }
        let Some(&(used, oldest)) = self.by_use.first() else {
            return false;
        };
        if now.since(used) > EVICTION {
            self.remove(oldest);
            return true;
        }
        match self.evictable.first() {
            Some(&(smallest, id)) if smallest < size => {
                self.remove(id);
                true
            }
            Some(_) | None => false,
        }
    }

    fn touch(&mut self, now: Instant, id: i32) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.by_use.remove(&(session.used, id));
        self.evictable.remove(&(session.size, id));
        session.used = now;
        self.held -= session.size;
        session.size = session.partitions.len();
        self.held += session.size;
        self.by_use.insert((now, id));
        if now.since(session.created) > EVICTION {
            self.evictable.insert((session.size, id));
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.by_use.remove(&(session.used, id));
            self.evictable.remove(&(session.size, id));
            self.held -= session.size;
            self.retired_held += session.order.len();
            self.retired.push((id, session));
        }
    }

    /// Tells what each session knows, the one that was used first first.
    pub fn describe(&self, out: &mut Situation) {
        out.count(self.sessions.len());
        for (used, id) in &self.by_use {
            let Some(session) = self.sessions.get(id) else {
                continue;
            };
            out.session(*id);
            out.moment(*used);
            out.moment(session.created);
            out.number(i64::from(session.epoch));
            out.flag(session.uses_topic_ids);
            for (place, key) in &session.order {
                key.describe(out);
                out.flag(session.due.contains(place));
                if let Some(cached) = session.partitions.get(key) {
                    out.number(cached.ask.offset.0);
                    out.number(i64::from(cached.ask.max_bytes));
                    out.number(cached.high_watermark.0);
                    out.number(cached.log_start.0);
                }
            }
        }
    }

    /// Asserts that the orders name exactly the sessions that there are.
    pub fn check(&self) {
        assert!(
            self.sessions.len() <= self.slots.max(1),
            "more fetch sessions than slots"
        );
        assert_eq!(self.by_use.len(), self.sessions.len());
        let sizes = self.sessions.values().map(|session| session.size);
        assert_eq!(self.held, sizes.sum::<usize>());
        let left = self.retired.iter().map(|(_, session)| session.order.len());
        assert_eq!(self.retired_held, left.sum::<usize>());
        assert!(
            self.by_use
                .iter()
                .all(|(used, id)| self.sessions.get(id).is_some_and(|s| s.used == *used))
        );
        for session in self.sessions.values() {
            assert_eq!(session.order.len(), session.partitions.len());
            assert!(
                session
                    .due
                    .iter()
                    .all(|place| session.order.contains_key(place))
            );
        }
        assert!(
            self.evictable
                .iter()
                .all(|(size, id)| self.sessions.get(id).is_some_and(|s| s.size == *size))
        );
    }
}

/// The epoch of the next request; 0 is never met again.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// Each partition once, where it was mentioned first, with what was asked last.
fn last_mentions(asks: Vec<(FetchKey, FetchAsk)>) -> Vec<(FetchKey, FetchAsk)> {
    if asks.len() < 2 {
        return asks;
    }
    let mut places = BTreeMap::new();
    let mut once: Vec<(FetchKey, FetchAsk)> = Vec::with_capacity(asks.len());
    for (key, ask) in asks {
        let place = *places.entry(key.clone()).or_insert(once.len());
        match once.get_mut(place) {
            Some(earlier) => earlier.1 = ask,
            None => once.push((key, ask)),
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Parts;

    fn key(partition: i32) -> FetchKey {
        FetchKey {
            topic: TopicRef::Id(Uuid([7; 16])),
            partition: PartitionIndex(partition),
        }
    }

    fn ask(offset: i64) -> FetchAsk {
        FetchAsk {
            offset: Offset(offset),
            max_bytes: 1000,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        }
    }

    fn request(id: i32, epoch: i32, asks: &[(i32, i64)], forgotten: &[i32]) -> SessionRequest {
        SessionRequest {
            id,
            epoch,
            uses_topic_ids: true,
            asks: asks.iter().map(|(p, o)| (key(*p), ask(*o))).collect(),
            forgotten: forgotten.iter().map(|p| key(*p)).collect(),
        }
    }

    fn result(partition: i32, high_watermark: i64, records: &'static [u8]) -> FetchResult {
        FetchResult {
            high_watermark: Offset(high_watermark),
            last_stable_offset: Offset(high_watermark),
            log_start: Offset(0),
            error: ErrorCode::NONE,
            records: Parts::from(bytes::Bytes::from_static(records)),
            ..FetchResult::failed(key(partition), ask(0), ErrorCode::NONE)
        }
    }

    fn full(sessions: &mut Sessions, rng: &Rng, now: Instant, partitions: i32) -> i32 {
        let asks: Vec<_> = (0..partitions).map(|p| (p, 0)).collect();
        let (context, _) = sessions.open(now, request(0, 0, &asks, &[])).unwrap();
        let mut results = (0..partitions).map(|p| result(p, 5, b"")).collect();
        sessions
            .answer(now, rng, context, &Topics::default(), &mut results)
            .unwrap()
    }

    #[test]
    fn an_incremental_answer_tells_only_news() {
        let (mut sessions, rng, now) = (Sessions::new(10), Rng::new([1; 32]), Instant(0));
        let id = full(&mut sessions, &rng, now, 3);
        assert_ne!(id, NO_SESSION);
        let (context, asks) = sessions.open(now, request(id, 1, &[(1, 5)], &[2])).unwrap();
        assert_eq!(asks, vec![(key(0), ask(0)), (key(1), ask(5))]);
        let mut results = vec![result(0, 5, b"x"), result(1, 5, b"")];
        assert_eq!(
            sessions.answer(now, &rng, context, &Topics::default(), &mut results),
            Ok(id)
        );
        assert_eq!(results.len(), 1, "partition 1 has no news");
        // Who got records is served last.
        let moved = sessions.mark_due(id, Uuid([7; 16]), &"t".into(), PartitionIndex(1));
        assert_eq!(moved, Some(key(1)));
        let (context, asks) = sessions.open(now, request(id, 2, &[], &[])).unwrap();
        assert_eq!(asks, vec![(key(1), ask(5)), (key(0), ask(0))]);
        // An error is news, and so is its end.
        let mut results = vec![FetchResult::failed(
            key(0),
            ask(0),
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
        )];
        sessions
            .answer(now, &rng, context, &Topics::default(), &mut results)
            .unwrap();
        assert_eq!(results.len(), 1);
        let (context, _) = sessions.open(now, request(id, 3, &[], &[])).unwrap();
        let mut results = vec![result(0, 5, b"")];
        sessions
            .answer(now, &rng, context, &Topics::default(), &mut results)
            .unwrap();
        assert_eq!(results.len(), 1);
        sessions.check();
    }

    #[test]
    fn a_request_looks_at_what_is_due_and_at_no_more_than_its_share() {
        let (mut sessions, rng, now) = (Sessions::new(10), Rng::new([1; 32]), Instant(0));
        let id = full(&mut sessions, &rng, now, 1500);
        let mut looked_at = Vec::new();
        for epoch in 1..=3 {
            let (context, asks) = sessions.open(now, request(id, epoch, &[], &[])).unwrap();
            looked_at.push(asks.len());
            let quiet = |(key, _): &(FetchKey, FetchAsk)| result(key.partition.0, 5, b"");
            let mut results = asks.iter().map(quiet).collect();
            let topics = Topics::default();
            sessions
                .answer(now, &rng, context, &topics, &mut results)
                .unwrap();
            assert_eq!(results, []);
        }
        assert_eq!(looked_at, [LOOKED_AT, 500, 0]);
        // Asked for anew, moved, or taken for an answer that never left: due again.
        let topic = Uuid([7; 16]);
        sessions
            .mark_due(id, topic, &"t".into(), PartitionIndex(7))
            .unwrap();
        assert_eq!(
            sessions.mark_due(id, topic, &"t".into(), PartitionIndex(1500)),
            None
        );
        let (context, asks) = sessions.open(now, request(id, 4, &[(3, 9)], &[])).unwrap();
        assert_eq!(asks, vec![(key(3), ask(9)), (key(7), ask(0))]);
        sessions.give_back(context, asks.iter().map(|(key, _)| key));
        assert_eq!(sessions.partitions_of(id), (1500, 2));
        assert_eq!(sessions.take(id, &key(3)), Some(ask(9)));
        sessions.check();
        // A session that ends leaves its partitions, each once.
        sessions.open(now, request(id, -1, &[], &[])).unwrap();
        let left = std::iter::from_fn(|| sessions.next_left()).count();
        assert_eq!(left, 1500);
    }

    #[test]
    fn an_epoch_is_good_once() {
        let (mut sessions, rng, now) = (Sessions::new(10), Rng::new([1; 32]), Instant(0));
        let id = full(&mut sessions, &rng, now, 1);
        assert_eq!(
            sessions.open(now, request(id + 1, 1, &[], &[])),
            Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)
        );
        let (first, _) = sessions.open(now, request(id, 1, &[], &[])).unwrap();
        assert_eq!(
            sessions.open(now, request(id, 1, &[], &[])),
            Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH)
        );
        let by_name = SessionRequest {
            uses_topic_ids: false,
            ..request(id, 2, &[], &[])
        };
        assert_eq!(
            sessions.open(now, by_name),
            Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR)
        );
        sessions.open(now, request(id, 2, &[], &[])).unwrap();
        assert_eq!(
            sessions.answer(now, &rng, first, &Topics::default(), &mut Vec::new()),
            Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH)
        );
    }

    #[test]
    fn a_session_without_partitions_ends() {
        let (mut sessions, rng, now) = (Sessions::new(10), Rng::new([1; 32]), Instant(0));
        let id = full(&mut sessions, &rng, now, 1);
        let (context, asks) = sessions.open(now, request(id, 1, &[], &[0])).unwrap();
        assert_eq!((context, asks.len()), (FetchContext::Sessionless, 0));
        assert!(sessions.sessions.is_empty());
        let id = full(&mut sessions, &rng, now, 1);
        sessions.open(now, request(id, -1, &[], &[])).unwrap();
        assert!(sessions.sessions.is_empty());
    }

    #[test]
    fn room_is_made_by_the_stale_and_by_the_smaller() {
        let (mut sessions, rng) = (Sessions::new(2), Rng::new([1; 32]));
        let small = full(&mut sessions, &rng, Instant(0), 1);
        let large = full(&mut sessions, &rng, Instant(1), 3);
        assert_eq!(
            full(&mut sessions, &rng, Instant(2), 9),
            NO_SESSION,
            "both are young"
        );
        // Used again after two minutes, the small one gives way to a larger one, the large one does not to a smaller.
        let later = Instant(0) + Duration::from_secs(121);
        sessions.open(later, request(small, 1, &[], &[])).unwrap();
        sessions.open(later, request(large, 1, &[], &[])).unwrap();
        let third = full(&mut sessions, &rng, later, 2);
        assert_ne!(third, NO_SESSION);
        assert!(sessions.open(later, request(small, 2, &[], &[])).is_err());
        // Unused for two minutes, any gives way.
        let much_later = later + Duration::from_secs(121);
        assert_ne!(full(&mut sessions, &rng, much_later, 1), NO_SESSION);
        sessions.check();
    }

    #[test]
    fn sessions_have_a_bound_of_partitions_together() {
        let (mut sessions, rng, now) = (Sessions::new(100), Rng::new([1; 32]), Instant(0));
        sessions.most = 10;
        assert_eq!(full(&mut sessions, &rng, now, 11), NO_SESSION);
        let first = full(&mut sessions, &rng, now, 6);
        assert_ne!(first, NO_SESSION);
        assert_eq!(full(&mut sessions, &rng, now, 5), NO_SESSION);
        let second = full(&mut sessions, &rng, now, 4);
        assert_ne!(second, NO_SESSION);
        sessions.check();
        // One that grows beyond it ends: its fetcher begins anew, without one.
        let grown = sessions.open(now, request(second, 1, &[(4, 0)], &[]));
        assert_eq!(grown, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        sessions.check();
        let more = request(first, 1, &[(6, 0), (7, 0)], &[]);
        assert!(sessions.open(now, more).is_ok());
        sessions.check();
        assert_eq!(full(&mut sessions, &rng, now, 3), NO_SESSION);
        // What nobody uses gives way.
        let later = now + Duration::from_secs(121);
        assert_ne!(full(&mut sessions, &rng, later, 3), NO_SESSION);
        assert!(!sessions.sessions.contains_key(&first));
        sessions.check();
    }

    /// What a request of version 12 or older asks of `partitions` of a topic, and forgets of it, all behind one name.
    fn by_name(id: i32, epoch: i32, asks: i32, forgotten: i32) -> SessionRequest {
        let topic = TopicRef::Name("n".repeat(32_767).into());
        let key = |partition| FetchKey {
            topic: topic.clone(),
            partition: PartitionIndex(partition),
        };
        SessionRequest {
            uses_topic_ids: false,
            asks: (0..asks).map(|p| (key(p), ask(0))).collect(),
            forgotten: (0..forgotten).map(key).collect(),
            ..request(id, epoch, &[], &[])
        }
    }

    #[test]
    fn partitions_share_the_name_of_their_topic() {
        let (mut sessions, rng, now) = (Sessions::new(1), Rng::new([1; 32]), Instant(0));
        let asked = by_name(0, 0, 1000, 0);
        let asked_name = name(&asked.asks[0].0);
        let (context, asks) = sessions.open(now, asked).unwrap();
        let failed = |(key, ask)| FetchResult::failed(key, ask, ErrorCode::NONE);
        let mut results = asks.into_iter().map(failed).collect();
        let id = sessions.answer(now, &rng, context, &Topics::default(), &mut results);
        let id = id.unwrap();
        // Neither do those that come later have a name each.
        sessions.open(now, by_name(id, 1, 2000, 0)).unwrap();
        let session = &sessions.sessions[&id];
        assert_eq!(session.order.len(), 2000);
        let kept: BTreeSet<*const u8> = session.order.values().map(name).collect();
        let found: BTreeSet<*const u8> = session.partitions.keys().map(name).collect();
        assert_eq!((kept.len(), &kept), (2, &found));
        assert!(!kept.contains(&asked_name), "it would hold the frame alive");
    }

    fn name(key: &FetchKey) -> *const u8 {
        match &key.topic {
            TopicRef::Name(name) => name.as_bytes().as_ptr(),
            TopicRef::Id(id) => id.0.as_ptr(),
        }
    }

    #[test]
    fn what_a_session_never_had_is_not_dropped() {
        let (mut sessions, rng, now) = (Sessions::new(1), Rng::new([1; 32]), Instant(0));
        let id = full(&mut sessions, &rng, now, 2);
        let forgets: Vec<i32> = (1..1000).chain(1..1000).collect();
        sessions.open(now, request(id, 1, &[], &forgets)).unwrap();
        assert_eq!(sessions.dropped.len(), 1);
        assert_eq!(sessions.next_left(), Some((id, key(1))));
        assert_eq!(sessions.next_left(), None);
    }

    #[test]
    fn who_ends_sessions_faster_than_it_is_told_gets_none() {
        let (mut sessions, rng, now) = (Sessions::new(9), Rng::new([1; 32]), Instant(0));
        sessions.most = 10;
        for _ in 0..2 {
            let id = full(&mut sessions, &rng, now, 5);
            sessions.open(now, request(id, -1, &[], &[])).unwrap();
        }
        sessions.check();
        assert_eq!(full(&mut sessions, &rng, now, 1), NO_SESSION);
        while sessions.next_left().is_some() {}
        let id = full(&mut sessions, &rng, now, 10);
        assert_ne!(id, NO_SESSION);
        // The same with partitions that a session drops and takes again.
        let drops: Vec<i32> = (1..10).collect();
        sessions.open(now, request(id, 1, &[], &drops)).unwrap();
        let again = request(id, 2, &[(1, 0), (2, 0)], &[]);
        let refused = sessions.open(now, again);
        assert_eq!(refused, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        sessions.check();
    }

    #[test]
    fn a_partition_named_twice_is_asked_once() {
        let mut sessions = Sessions::new(1);
        let (_, asks) = sessions
            .open(Instant(0), request(0, -1, &[(0, 1), (1, 2), (0, 3)], &[]))
            .unwrap();
        assert_eq!(asks, vec![(key(0), ask(3)), (key(1), ask(2))]);
    }
}
