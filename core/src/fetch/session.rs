//! Fetch sessions: what a fetcher asked before, so that it names only what changes (KIP-227).
//!
//! Owns the cache of sessions and the rule which one gives way to another. Never waits, never reads. The epoch of a session
//! counts its requests: two answers to one request, or one that was lost, are told apart by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{FetchAsk, FetchKey, FetchResult, TopicRef};
use crate::ids::Offset;
use crate::metadata::Topics;
use crate::rng::{Purpose, Rng};
use crate::time::Instant;
use crate::wire::{ErrorCode, Str};

/// "No session".
pub const NO_SESSION: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that asks for no session, and ends the one that is named.
const FINAL_EPOCH: i32 = -1;
/// A session that was used within this time gives way to nobody, and a younger one to no larger one. Kafka's constant.
const EVICTION: Duration = Duration::from_mins(2);

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
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
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

    fn forget(&mut self, key: &FetchKey) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.place);
        }
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
        if !result.records.is_empty() {
            let place = std::mem::replace(&mut cached.place, self.next_place);
            self.next_place += 1;
            let to = cached.place;
            if let Some(key) = self.order.remove(&place) {
                self.order.insert(to, key);
            }
        }
        news
    }
}

/// All sessions of a broker, at most `max.incremental.fetch.session.cache.slots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    slots: usize,
    sessions: BTreeMap<i32, Session>,
    by_use: BTreeSet<(Instant, i32)>,
    /// Those old enough to give way to a larger one.
    evictable: BTreeSet<(usize, i32)>,
    /// How many ids were drawn.
    drawn: u64,
}

impl Sessions {
    /// No sessions yet, and room for `slots`.
    #[must_use]
    pub fn new(slots: usize) -> Sessions {
        Sessions {
            slots,
            sessions: BTreeMap::new(),
            by_use: BTreeSet::new(),
            evictable: BTreeSet::new(),
            drawn: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Applies what a request says of its session and tells what it asks for in all, in the order to serve.
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
        let session = self
            .sessions
            .get_mut(&request.id)
            .ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for (key, ask) in &request.asks {
            session.put(key.detached(), *ask, Offset(-1), Offset(-1));
        }
        for key in &request.forgotten {
            session.forget(key);
        }
        if session.partitions.is_empty() {
            self.remove(request.id);
            return Ok((FetchContext::Sessionless, last_mentions(request.asks)));
        }
        session.epoch = next_epoch(session.epoch);
        let context = FetchContext::Incremental {
            id: request.id,
            epoch: session.epoch,
        };
        let asks = session
            .order
            .values()
            .filter_map(|key| Some((key.clone(), session.partitions.get(key)?.ask)))
            .collect();
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

    /// What the topic of a partition was called when the session of `context` last knew it.
    #[must_use]
    pub fn name_of(&self, context: FetchContext, key: &FetchKey) -> Option<&Str> {
        let FetchContext::Incremental { id, .. } = context else {
            return None;
        };
        let cached = self.sessions.get(&id)?.partitions.get(key)?;
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
        };
        for result in results {
            session.put(
                result.key.detached(),
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

    fn make_room(&mut self, now: Instant, size: usize) -> bool {
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
        session.size = session.partitions.len();
        self.by_use.insert((now, id));
        if now.since(session.created) > EVICTION {
            self.evictable.insert((session.size, id));
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.by_use.remove(&(session.used, id));
            self.evictable.remove(&(session.size, id));
        }
    }

    /// Asserts that the orders name exactly the sessions that there are.
    pub fn check(&self) {
        assert!(
            self.sessions.len() <= self.slots.max(1),
            "more fetch sessions than slots"
        );
        assert_eq!(self.by_use.len(), self.sessions.len());
        assert!(
            self.by_use
                .iter()
                .all(|(used, id)| self.sessions.get(id).is_some_and(|s| s.used == *used))
        );
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
    use crate::ids::{PartitionIndex, Uuid};
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
        let (context, asks) = sessions.open(now, request(id, 2, &[], &[])).unwrap();
        assert_eq!(asks[0].0, key(1));
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
        assert!(sessions.is_empty());
        let id = full(&mut sessions, &rng, now, 1);
        sessions.open(now, request(id, -1, &[], &[])).unwrap();
        assert!(sessions.is_empty());
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
    fn a_partition_named_twice_is_asked_once() {
        let mut sessions = Sessions::new(1);
        let (_, asks) = sessions
            .open(Instant(0), request(0, -1, &[(0, 1), (1, 2), (0, 3)], &[]))
            .unwrap();
        assert_eq!(asks, vec![(key(0), ask(3)), (key(1), ask(2))]);
    }
}
