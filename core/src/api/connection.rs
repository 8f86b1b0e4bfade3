//! Connections: the order of requests and of their answers, and how much of each is held at a time.
//!
//! Owns what a connection has sent that is not answered yet. Requests of a connection begin in order and are answered in
//! order. A request begins when those before it are answered, as on Apache Kafka, with one difference: produce
//! requests begin while earlier produce requests of the connection still wait for the disk, so that one sync can cover all of them.
//! While requests hold more than they may, whoever has one unanswered is paused: each connection then has one at a time, as on Apache
//! Kafka at all times. So everybody has a turn, and requests hold no more than their budget and one frame of each connection.
//! Never decodes a body, never knows what an answer says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::connection_quotas::{Admission, ConnectionQuotas};
use crate::event::Event;
use crate::ids::{ConnId, ListenerId, RequestId};
use crate::io::{CloseWhy, Effect, Effects};
use crate::mark::Mark;
use crate::situation::Situation;
use crate::time::Instant;
use crate::wire::Parts;

/// The API key of produce, the one request that may overlap with others of its kind.
const PRODUCE: i16 = 0;
/// A connection with so many requests unanswered is paused.
const PIPELINED_MAX: usize = 256;
/// A connection with so many bytes of answers that did not reach the operating system begins no further request.
const UNSENT_MAX: u64 = 1024 * 1024;
/// At most so many starved connections are resumed at a time: each may bring a whole frame.
const RESUMED_AT_ONCE: usize = 16;

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With these bytes: a whole frame, length included.
    Frame(Parts),
    /// Without an answer, as produce with acks=0.
    Silent,
    /// With the connection.
    Close(CloseWhy),
}

/// A request that may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Its name from now on.
    pub id: RequestId,
    /// On which connection.
    pub conn: ConnId,
    /// Header and body.
    pub frame: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Running {
    id: RequestId,
    produce: bool,
    bytes: u64,
    answer: Option<Answer>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Connection {
    listener: ListenerId,
    peer: String,
    /// Arrived, not begun, oldest first.
    queued: VecDeque<Bytes>,
    /// Begun, not answered, oldest first, and so by ascending name.
    running: VecDeque<Running>,
    /// Bytes of answers that did not reach the operating system.
    unsent: u64,
    paused: bool,
    /// It has found room and counts; else it waits, paused, for its turn.
    admitted: bool,
    /// Bytes last moved in either direction.
    active: Instant,
    /// When it is looked at next: its place among the checks.
    check_at: Instant,
    /// The peer is gone: what it asked for is done, nobody is told.
    gone: bool,
    /// We close: nothing further begins.
    closing: bool,
}

/// How much connections may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of unanswered requests of all connections; above it each has one at a time. `queued.max.request.bytes`.
    pub request_bytes: u64,
    /// Bytes of unsent answers of all connections; above it fetches bring one batch only.
    pub answer_bytes: u64,
    /// `connections.max.idle.ms`.
    pub idle: Duration,
    /// `socket.request.max.bytes`.
    pub frame_bytes: u32,
    /// Requests that have not begun, of all connections; above it each has one at a time. `queued.max.requests`.
    pub requests: usize,
}

/// All connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    limits: Limits,
    connections: BTreeMap<ConnId, Connection>,
    owners: BTreeMap<RequestId, ConnId>,
    next: u64,
    /// Bytes of unanswered requests.
    held: u64,
    /// Bytes of unsent answers.
    unsent: u64,
    /// Requests that have not begun.
    waiting: usize,
    quotas: ConnectionQuotas,
    /// Those that wait for room, of each listener in the order of their coming.
    unadmitted: BTreeSet<(ListenerId, ConnId)>,
    /// Sent something while `held` or `waiting` was above its limit: paused until there is room, or all of its own is answered.
    starved: BTreeSet<ConnId>,
    /// When to look whether a connection is idle: once a connection, moved when it is looked at.
    checks: BTreeSet<(Instant, ConnId)>,
    /// Connections whose next request might begin.
    ready: BTreeSet<ConnId>,
    /// Whose request began last: the next one is another's, if another is ready.
    turn: ConnId,
}

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits, quotas: ConnectionQuotas) -> Connections {
        Connections {
            limits,
            connections: BTreeMap::new(),
            owners: BTreeMap::new(),
            next: 0,
            held: 0,
            unsent: 0,
            waiting: 0,
            quotas,
            unadmitted: BTreeSet::new(),
            starved: BTreeSet::new(),
            checks: BTreeSet::new(),
            ready: BTreeSet::new(),
            turn: ConnId(0),
        }
    }

    /// A peer connected. There is no authentication on the listeners that this node serves, so that a peer is
    /// trusted from its first byte: frames may be as long as the configuration says.
    pub fn opened(
        &mut self,
        now: Instant,
        conn: ConnId,
        listener: ListenerId,
        peer: String,
        out: &mut Effects,
    ) {
        let connection = Connection {
            listener,
            peer,
            queued: VecDeque::new(),
            running: VecDeque::new(),
            unsent: 0,
            paused: false,
            admitted: false,
            active: now,
            check_at: now + self.limits.idle,
            gone: false,
            closing: false,
        };
        self.connections.insert(conn, connection);
        let before = (listener, ConnId(0))..=(listener, conn);
        let before = self.unadmitted.range(before).count();
        if before == 0 && self.quotas.has_room(listener) {
            self.admit(now, conn, out);
        } else if before < self.quotas.backlog_max() {
            self.unadmitted.insert((listener, conn));
            self.settle(conn, out);
        } else {
            let why = self.quotas.too_many(listener);
            self.refuse(conn, why, out);
        }
        let limit = self.limits.frame_bytes;
        if self.connections.get(&conn).is_some_and(|c| !c.closing) {
            out.push(Effect::FrameLimit { conn, limit });
        }
    }

    /// There is room for it.
    fn admit(&mut self, now: Instant, conn: ConnId, out: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.admitted = true;
        connection.active = now;
        connection.check_at = now + self.limits.idle;
        self.checks.insert((connection.check_at, conn));
        match self.quotas.opened(connection.listener, &connection.peer) {
            Admission::Refused(why) => return self.refuse(conn, why, out),
            Admission::InPlaceOfAnother => self.displace_one(out),
            Admission::Accepted => {}
        }
        self.settle(conn, out);
    }

    /// One has ended: whoever waited longest takes its place.
    fn admit_waiting(&mut self, now: Instant, out: &mut Effects) {
        let has_room = |waits: &&(ListenerId, ConnId)| self.quotas.has_room(waits.0);
        if let Some(next) = self.unadmitted.iter().find(has_room).copied() {
            self.unadmitted.remove(&next);
            self.admit(now, next.1, out);
        }
    }

    fn refuse(&mut self, conn: ConnId, why: CloseWhy, out: &mut Effects) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.close(conn, why, out);
        }
    }

    /// Closes the connection that was idle longest, of those that may be closed.
    fn displace_one(&mut self, out: &mut Effects) {
        let open = |conn: &ConnId| {
            let connection = self.connections.get(conn)?;
            let open = !connection.gone && !connection.closing;
            (open && self.quotas.gives_way(connection.listener)).then_some(*conn)
        };
        if let Some(conn) = self.checks.iter().find_map(|(_, conn)| open(conn)) {
            let (requests, bytes) = self.drop_queued(conn);
            self.held -= bytes;
            self.waiting -= requests;
            if let Some(connection) = self.connections.get(&conn) {
                let why = self.quotas.too_many(connection.listener);
                self.refuse(conn, why, out);
            }
        }
    }

    fn drop_queued(&mut self, conn: ConnId) -> (usize, u64) {
        let connection = self.connections.get_mut(&conn);
        connection.map_or((0, 0), Connection::drop_queued)
    }

    /// A frame arrived.
    pub fn frame(&mut self, now: Instant, conn: ConnId, frame: Bytes, out: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.closing || connection.gone {
            return;
        }
        connection.active = now;
        self.held += frame.len() as u64;
        connection.queued.push_back(frame);
        self.waiting += 1;
        self.ready.insert(conn);
        if self.is_full() {
            self.starved.insert(conn);
        }
        self.settle(conn, out);
    }

    /// Bytes reached the operating system.
    pub fn sent(&mut self, now: Instant, conn: ConnId, bytes: u64, out: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let bytes = bytes.min(connection.unsent);
        connection.unsent -= bytes;
        connection.active = now;
        self.unsent -= bytes;
        self.ready.insert(conn);
        self.settle(conn, out);
    }

    /// The connection has ended. Returns the requests that were begun and are not answered: those that change something go on.
    pub fn closed(&mut self, now: Instant, conn: ConnId, out: &mut Effects) -> Vec<RequestId> {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Vec::new();
        };
        let counted = connection.admitted && !connection.gone;
        connection.gone = true;
        if counted {
            self.quotas.closed(connection.listener, &connection.peer);
        }
        self.unadmitted.remove(&(connection.listener, conn));
        self.unsent -= std::mem::take(&mut connection.unsent);
        self.starved.remove(&conn);
        self.ready.insert(conn);
        let begun = connection.running.iter().map(|running| running.id);
        let begun = begun.collect();
        self.admit_waiting(now, out);
        begun
    }

    /// Nothing that waits on a connection begins any more.
    pub fn drop_waiting(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            let (requests, bytes) = connection.drop_queued();
            self.held -= bytes;
            self.waiting -= requests;
        }
    }

    /// Where a request came in; `None` once it is answered.
    #[must_use]
    pub fn listener_of(&self, request: RequestId) -> Option<ListenerId> {
        let connection = self.connections.get(self.owners.get(&request)?)?;
        Some(connection.listener)
    }

    /// True if nobody waits for the answer: the peer is gone.
    #[must_use]
    pub fn is_gone(&self, request: RequestId) -> bool {
        let conn = self.owners.get(&request);
        conn.is_none_or(|conn| self.connections.get(conn).is_none_or(|c| c.gone))
    }

    /// Bytes that answers may still take before fetches are cut to one batch.
    #[must_use]
    pub fn answer_room(&self) -> u64 {
        self.limits.answer_bytes.saturating_sub(self.unsent)
    }

    /// Bytes that requests may still hold within their budget.
    #[must_use]
    pub fn request_room(&self) -> u64 {
        self.limits.request_bytes.saturating_sub(self.held)
    }

    /// A request in work holds so much more than its frame, until it is answered.
    pub fn hold(&mut self, request: RequestId, bytes: u64) {
        let conn = self.owners.get(&request);
        let connection = conn.and_then(|conn| self.connections.get_mut(conn));
        let running = connection.and_then(|connection| {
            let at = connection.running.binary_search_by_key(&request, |r| r.id);
            connection.running.get_mut(at.ok()?)
        });
        if let Some(running) = running {
            running.bytes += bytes;
            self.held += bytes;
        }
    }

    /// The next request that may begin, of the connections in turn.
    pub fn begin(&mut self, out: &mut Effects) -> Option<Begin> {
        loop {
            let after = (Bound::Excluded(self.turn), Bound::Unbounded);
            let next = self.ready.range(after).next();
            let Some(conn) = next.or(self.ready.first()).copied() else {
                // What has begun waits no more, and made room.
                self.feed(out);
                return None;
            };
            self.turn = conn;
            if let Some(begin) = self.begin_on(conn) {
                return Some(begin);
            }
            self.ready.remove(&conn);
            self.forget_if_done(conn);
        }
    }

    fn begin_on(&mut self, conn: ConnId) -> Option<Begin> {
        let connection = self.connections.get_mut(&conn)?;
        if connection.closing || connection.unsent > UNSENT_MAX {
            return None;
        }
        let produce = api_key(connection.queued.front()?) == Some(PRODUCE);
        // Whatever is no produce runs alone, so the last one speaks for all.
        let overlaps = |last: &Running| last.produce && produce;
        if !connection.running.back().is_none_or(overlaps) {
            return None;
        }
        let frame = connection.queued.pop_front()?;
        self.waiting -= 1;
        let id = RequestId(self.next);
        self.next += 1;
        connection.running.push_back(Running {
            id,
            produce,
            bytes: frame.len() as u64,
            answer: None,
        });
        self.owners.insert(id, conn);
        Some(Begin { id, conn, frame })
    }

    /// A request is done; its answer leaves when those before it have left.
    pub fn finish(&mut self, request: RequestId, answer: Answer, out: &mut Effects) {
        let Some(conn) = self.owners.get(&request).copied() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let at = connection.running.binary_search_by_key(&request, |r| r.id);
        if let Some(running) = at.ok().and_then(|at| connection.running.get_mut(at)) {
            running.answer = Some(answer);
        }
        while let Some(first) = connection.running.pop_front() {
            let Some(answer) = first.answer else {
                connection.running.push_front(first);
                break;
            };
            self.owners.remove(&first.id);
            self.held -= first.bytes;
            match answer {
                Answer::Frame(parts) if !connection.gone && !connection.closing => {
                    let bytes = parts.len() as u64;
                    connection.unsent += bytes;
                    self.unsent += bytes;
                    out.push(Effect::Send { conn, parts });
                }
                Answer::Silent => {}
                // A client that has gone is served until the first answer that cannot be sent, as in Kafka.
                Answer::Frame(_) => {
                    let (requests, bytes) = connection.drop_queued();
                    self.held -= bytes;
                    self.waiting -= requests;
                }
                Answer::Close(why) => {
                    let (requests, bytes) = connection.drop_queued();
                    self.held -= bytes;
                    self.waiting -= requests;
                    connection.close(conn, why, out);
                }
            }
        }
        self.ready.insert(conn);
        self.settle(conn, out);
        self.feed(out);
    }

    /// Pauses or resumes a connection by what it holds.
    fn settle(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.gone || connection.closing {
            return;
        }
        let unanswered = connection.queued.len() + connection.running.len();
        if unanswered == 0 {
            self.starved.remove(&conn);
        }
        let starved = self.starved.contains(&conn);
        // Between the two bounds the connection stays as it is, so that it does not flap.
        let (most, unsent_most) = if connection.paused {
            (PIPELINED_MAX / 2, UNSENT_MAX / 2)
        } else {
            (PIPELINED_MAX, UNSENT_MAX)
        };
        let waits = !connection.admitted;
        let pause = waits || starved || unanswered >= most || connection.unsent > unsent_most;
        if pause == connection.paused {
            return;
        }
        connection.paused = pause;
        if pause {
            out.mark(Mark::ConnectionPaused);
            out.push(Effect::Pause { conn });
        } else {
            out.push(Effect::Resume { conn });
        }
    }

    /// Do requests hold more than they may?
    fn is_full(&self) -> bool {
        self.held > self.limits.request_bytes || self.waiting > self.limits.requests
    }

    /// Lets starved connections go on when there is room again.
    fn feed(&mut self, out: &mut Effects) {
        for _ in 0..RESUMED_AT_ONCE {
            if self.is_full() {
                return;
            }
            let Some(conn) = self.starved.pop_first() else {
                return;
            };
            self.settle(conn, out);
        }
    }

    /// Closes what was idle or stalled for `connections.max.idle.ms`, be a request in work or not, as Kafka does: nobody reads what
    /// a paused peer sends, so that nobody would see it go. At most `most` connections are looked at.
    pub fn check_idle(&mut self, now: Instant, most: usize, out: &mut Effects) {
        for _ in 0..most {
            let Some((due, conn)) = self.checks.first().copied() else {
                break;
            };
            if due > now {
                break;
            }
            self.checks.remove(&(due, conn));
            let Some(connection) = self.connections.get_mut(&conn) else {
                continue;
            };
            if connection.gone || connection.closing {
                continue;
            }
            if now.since(connection.active) < self.limits.idle {
                connection.check_at = connection.active + self.limits.idle;
                self.checks.insert((connection.check_at, conn));
                continue;
            }
            let stalled = connection.unsent > 0;
            let (requests, bytes) = connection.drop_queued();
            self.held -= bytes;
            self.waiting -= requests;
            let why = if stalled {
                CloseWhy::Stalled
            } else {
                CloseWhy::Idle
            };
            connection.close(conn, why, out);
        }
        self.feed(out);
    }

    /// When to call [`Connections::check_idle`].
    #[must_use]
    pub fn next_check(&self) -> Option<Instant> {
        self.checks.first().map(|(due, _)| *due)
    }

    /// Closes every connection that waits for nothing; true once none is left to wait for.
    pub fn close_all(&mut self, out: &mut Effects) {
        self.unadmitted.clear();
        for (conn, connection) in &mut self.connections {
            if !connection.gone && !connection.closing {
                let (requests, bytes) = connection.drop_queued();
                self.held -= bytes;
                self.waiting -= requests;
                connection.close(*conn, CloseWhy::Shutdown, out);
            }
        }
    }

    fn forget_if_done(&mut self, conn: ConnId) {
        let done = self.connections.get(&conn).is_some_and(|connection| {
            connection.gone
                && connection.running.is_empty()
                && (connection.closing || connection.queued.is_empty())
        });
        if done && let Some(connection) = self.connections.remove(&conn) {
            self.checks.remove(&(connection.check_at, conn));
            self.starved.remove(&conn);
        }
    }

    /// Tells what each connection has sent and not been answered.
    pub fn describe(&self, out: &mut Situation) {
        out.count(self.connections.len());
        for (conn, own) in &self.connections {
            out.connection(*conn);
            out.number(i64::from(own.listener.0));
            out.count(own.queued.len());
            own.queued.iter().for_each(|frame| out.bytes(frame));
            for running in &own.running {
                out.request(running.id);
                out.flag(running.produce);
                out.flag(running.answer.is_some());
            }
            out.number(i64::try_from(own.unsent).unwrap_or(i64::MAX));
            out.flag(own.paused);
            out.flag(own.admitted);
            out.flag(own.gone);
            out.flag(own.closing);
            out.moment(own.active);
            out.moment(own.check_at);
        }
    }

    /// Asserts that the sums are the sums.
    pub fn check(&self) {
        let held: usize = self
            .connections
            .values()
            .map(|c| {
                let running: u64 = c.running.iter().map(|r| r.bytes).sum();
                running as usize + c.queued.iter().map(Bytes::len).sum::<usize>()
            })
            .sum();
        assert_eq!(held as u64, self.held, "bytes of unanswered requests");
        let waiting: usize = self.connections.values().map(|c| c.queued.len()).sum();
        assert_eq!(waiting, self.waiting, "requests that have not begun");
        let open = self.connections.values().filter(|c| !c.gone && c.admitted);
        assert_eq!(
            open.count(),
            self.quotas.len(),
            "connections that are counted"
        );
        let unsent: u64 = self.connections.values().map(|c| c.unsent).sum();
        assert_eq!(unsent, self.unsent, "bytes of unsent answers");
        let running: usize = self.connections.values().map(|c| c.running.len()).sum();
        assert_eq!(running, self.owners.len(), "requests in work");
    }
}

impl Connection {
    fn close(&mut self, conn: ConnId, why: CloseWhy, out: &mut Effects) {
        if self.closing {
            return;
        }
        self.closing = true;
        if !self.gone {
            let told = why.clone();
            out.event(Event::ConnectionClosed { conn, why: told });
            out.push(Effect::Close { conn, why });
        }
    }

    /// Drops what has not begun; returns how many requests that were, and their bytes.
    fn drop_queued(&mut self) -> (usize, u64) {
        let dropped = std::mem::take(&mut self.queued);
        let bytes = dropped.iter().map(|frame| frame.len() as u64).sum();
        (dropped.len(), bytes)
    }
}

/// The first field of every request header.
fn api_key(frame: &Bytes) -> Option<i16> {
    let key = frame.first_chunk::<2>()?;
    Some(i16::from_be_bytes(*key))
}
