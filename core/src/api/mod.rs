//! Requests of clients: decode, call, encode; and the order of it all.
//!
//! Owns every request from its arrival to its answer, and what each waits for. One file a request family. Decides
//! no rule of a partition, a group or the metadata: it asks the rooms, which [`Rooms`] holds together for the length of a step.
//!
//! A request that cannot be decoded closes its connection with the reason in the log; one in a version that is not served does
//! too, but for ApiVersions, which is answered so that a newer client can find out (KIP-511).

pub mod api_versions;
mod cluster;
mod config_listing;
pub mod connection;
pub mod connection_quotas;
pub mod create_partitions;
pub mod create_topics;
mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
mod fetch;
pub mod init_producer_id;
mod list_offsets;
mod listing;
pub mod metadata;
mod metadata_listing;
mod offset_for_leader_epoch;
mod produce;
pub mod served;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use connection::{Answer, Begin, Connections, Limits};
use connection_quotas::ConnectionQuotas;

use crate::config::Config;
use crate::controller::{Controller, VersionedRecord};
use crate::event::{Event, Level};
use crate::fetch::session::Sessions;
use crate::ids::{
    ConnId, LeaderEpoch, ListenerId, LogId, NodeId, Offset, PartitionIndex, RequestId, Uuid,
};
use crate::io::{CloseWhy, Cx, Room, Wake};
use crate::log::{LogStore, LogView, ReadId, Sizes};
use crate::mark::Mark;
use crate::metadata::Image;
use crate::partition::{GivenUp, Partitions};
use crate::pending::Pending;
use crate::quorum::Quorum;
use crate::situation::Situation;
use crate::time::Instant;
use crate::wire::{
    ApiKey, DecodeError, EncodeError, ErrorCode, Message, Reader, Request, RequestHeader, Str,
    response_frame,
};

/// At most so many requests begin in one step; the others go on in the next.
const BEGUN_AT_ONCE: usize = 64;
/// At most so many connections are looked at for idleness in one step.
const IDLE_AT_ONCE: usize = 256;
/// Bytes of unanswered requests when `queued.max.request.bytes` is not set.
const REQUEST_BYTES: u64 = 256 << 20;
/// Bytes of unsent answers above which fetches bring one batch only.
const ANSWER_BYTES: u64 = 256 << 20;

/// What the requests of one step work on.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// This node.
    pub node: NodeId,
    /// Its configuration.
    pub config: Config,
    /// The logs.
    pub store: LogStore,
    /// The metadata log.
    pub quorum: Quorum,
    /// Decides on metadata.
    pub controller: Controller,
    /// What committed metadata says.
    pub image: Image,
    /// The partitions of this node.
    pub partitions: Partitions,
}

/// One request: what its answer needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub id: RequestId,
    /// Its connection.
    pub conn: ConnId,
    /// Where the connection came in.
    pub listener: ListenerId,
    /// What is asked.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// The client's number of it.
    pub correlation_id: i32,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Waiting {
    /// For checks of its records, then for the disk.
    Produce(produce::ProduceWait),
    /// For data, or for reads of the disk.
    Fetch(fetch::FetchWait),
    /// For lookups on disk.
    ListOffsets(list_offsets::ListOffsetsWait),
    /// For durable starts.
    DeleteRecords(delete_records::DeleteRecordsWait),
    /// For its turn to tell more.
    Listing(listing::ListingWait),
    /// For the metadata log to commit; the answer is made.
    Commit(Answer),
    /// For the last record of a large creation; the answer is made.
    Creation(Answer),
}

/// A request that changes the metadata and waits until the controller takes the next one.
#[derive(Clone, Debug)]
struct Queued {
    asked: Asked,
    header: RequestHeader,
    body: Reader,
}

/// Who leads a partition, and where a client reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leader {
    id: NodeId,
    epoch: LeaderEpoch,
    endpoint: Option<Endpoint>,
}

/// Where a client reaches a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: Str,
    port: i32,
    rack: Option<Str>,
}

/// Every connection and every request in work.
#[derive(Clone, Debug)]
pub struct Api {
    connections: Connections,
    sessions: Sessions,
    requests: BTreeMap<RequestId, Waiting>,
    /// Checks of records under way.
    pending: Pending<produce::Checking>,
    /// Produce requests of a connection that have not been appended, oldest first.
    appends: BTreeMap<ConnId, VecDeque<RequestId>>,
    /// At most so many partitions of a produce request are appended to in one go.
    appends_at_once: usize,
    /// Connections whose next request is so large that it is appended in pieces, in turn.
    appending: VecDeque<ConnId>,
    /// Connections whose next append waits until a log is open.
    opening: BTreeMap<LogId, BTreeSet<ConnId>>,
    /// Reads and lookups of the disk, and the place in the request that they are for.
    reads: BTreeMap<ReadId, (RequestId, usize)>,
    /// Waits for commit, by offset of the metadata log.
    commits: BTreeSet<(Offset, RequestId)>,
    /// Requests for the controller, which is busy.
    queue: VecDeque<Queued>,
    /// The request whose creation the controller is busy with.
    creator: Option<RequestId>,
    timers: BTreeSet<(Instant, RequestId)>,
    /// Answers that are put together piece by piece, in turn.
    listings: VecDeque<RequestId>,
    /// Bytes of them.
    listed: u64,
    /// The fetch that waits in each fetch session.
    session_waits: BTreeMap<i32, RequestId>,
    /// The producer ids that this broker may give away.
    producer_ids: init_producer_id::ProducerIds,
    /// Requests begin: the node is ready.
    serving: bool,
}

impl Api {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(config: &Config) -> Api {
        let positive = |name: &str| {
            u64::try_from(config.int(name))
                .ok()
                .filter(|value| *value > 0)
        };
        let limits = Limits {
            request_bytes: positive("queued.max.request.bytes").unwrap_or(REQUEST_BYTES),
            answer_bytes: ANSWER_BYTES,
            idle: positive("connections.max.idle.ms").map_or(Duration::MAX, Duration::from_millis),
            frame_bytes: config.socket_request_max_bytes(),
            requests: usize::try_from(config.int("queued.max.requests")).unwrap_or(usize::MAX),
        };
        let slots = config.int("max.incremental.fetch.session.cache.slots");
        Api {
            connections: Connections::new(limits, ConnectionQuotas::new(config)),
            sessions: Sessions::new(usize::try_from(slots).unwrap_or(0)),
            requests: BTreeMap::new(),
            pending: Pending::new(Room::Api),
            appends: BTreeMap::new(),
            appends_at_once: Sizes::default().appends,
            appending: VecDeque::new(),
            opening: BTreeMap::new(),
            reads: BTreeMap::new(),
            commits: BTreeSet::new(),
            queue: VecDeque::new(),
            creator: None,
            timers: BTreeSet::new(),
            listings: VecDeque::new(),
            listed: 0,
            session_waits: BTreeMap::new(),
            producer_ids: init_producer_id::ProducerIds::default(),
            serving: false,
        }
    }

    /// Appends to at most so many partitions of a request in one go. For the simulator.
    pub fn resize(&mut self, appends_at_once: usize) {
        self.appends_at_once = appends_at_once;
    }

    /// The connections.
    pub fn connections(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// From now on requests begin.
    pub fn serve(&mut self) {
        self.serving = true;
    }

    /// From now on no request begins; those in work are still answered.
    pub fn pause(&mut self) {
        self.serving = false;
    }

    /// Every connection closes when what it was given has left.
    pub fn stop(&mut self, cx: &mut Cx) {
        self.connections.close_all(cx.out);
    }

    /// A connection has ended. What it only asked ends; what changes something goes on, as it would if the answer were lost, but
    /// for batches behind such an answer.
    pub fn closed(&mut self, rooms: &mut Rooms, cx: &mut Cx, conn: ConnId) {
        let begun = self.connections.closed(cx.now.mono, conn, cx.out);
        self.abandon_produce(cx, conn, &begun);
        for id in begun {
            match self.requests.remove(&id) {
                Some(Waiting::Fetch(wait)) => self.abandon_fetch(rooms, cx, wait),
                Some(Waiting::ListOffsets(wait)) => self.abandon_list_offsets(rooms, cx, wait),
                Some(other) => {
                    self.requests.insert(id, other);
                }
                None => {}
            }
        }
    }

    /// Begins what may begin, up to a share. Returns how many.
    pub fn run(&mut self, rooms: &mut Rooms, cx: &mut Cx) -> usize {
        let mut begun = 0;
        while self.serving && begun < BEGUN_AT_ONCE {
            if !rooms.controller.is_busy()
                && let Some(queued) = self.queue.pop_front()
            {
                self.dispatch(rooms, cx, queued);
            } else if let Some(begin) = self.connections.begin(cx.out) {
                self.begin(rooms, cx, begin);
            } else {
                break;
            }
            begun += 1;
        }
        begun + self.retire_sessions(rooms)
    }

    fn begin(&mut self, rooms: &mut Rooms, cx: &mut Cx, begin: Begin) {
        let mut reader = Reader::new(begin.frame);
        let header = match RequestHeader::decode(&mut reader) {
            Ok(header) => header,
            Err(error) => return self.malformed(cx, begin.id, error),
        };
        let listener = self.connections.listener_of(begin.id);
        let asked = Asked {
            id: begin.id,
            conn: begin.conn,
            listener: listener.unwrap_or_default(),
            api: header.api,
            version: header.version,
            correlation_id: header.correlation_id,
        };
        let request = Queued {
            asked,
            header,
            body: reader,
        };
        if rooms.controller.is_busy() && changes_metadata(asked.api) {
            return self.queue.push_back(request);
        }
        self.dispatch(rooms, cx, request);
    }

    fn dispatch(&mut self, rooms: &mut Rooms, cx: &mut Cx, request: Queued) {
        let Queued {
            asked,
            header,
            body,
        } = request;
        if let Err(error) = self.handle(rooms, cx, asked, &header, body) {
            self.malformed(cx, asked.id, error);
        }
    }

    fn handle(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        header: &RequestHeader,
        mut reader: Reader,
    ) -> Result<(), DecodeError> {
        let controller = rooms.is_controller_listener(asked.listener);
        if !served::is_served(controller, asked.api, asked.version) {
            self.unsupported(cx, asked);
            return Ok(());
        }
        match asked.api {
            ApiKey::Produce => {
                let request = body(&mut reader, asked)?;
                self.begin_produce(rooms, cx, asked, header.client_id.as_ref(), request);
            }
            ApiKey::Fetch => {
                let request = body(&mut reader, asked)?;
                self.begin_fetch(rooms, cx, asked, request);
            }
            ApiKey::ListOffsets => {
                let request = body(&mut reader, asked)?;
                self.begin_list_offsets(rooms, cx, asked, request);
            }
            ApiKey::OffsetForLeaderEpoch => {
                let request = body(&mut reader, asked)?;
                self.offset_for_leader_epoch(rooms, cx, asked, request);
            }
            ApiKey::DeleteRecords => {
                let request = body(&mut reader, asked)?;
                self.begin_delete_records(rooms, cx, asked, request);
            }
            ApiKey::ApiVersions => {
                let request = body(&mut reader, asked)?;
                self.api_versions(rooms, cx, asked, &request);
            }
            ApiKey::Metadata => {
                let request = body(&mut reader, asked)?;
                self.metadata(rooms, cx, asked, request);
            }
            ApiKey::DescribeCluster => {
                let request = body(&mut reader, asked)?;
                self.describe_cluster(rooms, cx, asked, &request);
            }
            ApiKey::DescribeConfigs => {
                let request = body(&mut reader, asked)?;
                self.describe_configs(asked, request);
            }
            ApiKey::CreateTopics => {
                let request = body(&mut reader, asked)?;
                self.create_topics(rooms, cx, asked, &request);
            }
            ApiKey::DeleteTopics => {
                let request = body(&mut reader, asked)?;
                self.delete_topics(rooms, cx, asked, &request);
            }
            ApiKey::CreatePartitions => {
                let request = body(&mut reader, asked)?;
                self.create_partitions(rooms, cx, asked, &request);
            }
            ApiKey::InitProducerId => {
                let request = body(&mut reader, asked)?;
                self.init_producer_id(rooms, cx, asked, &request);
            }
            _ => self.unsupported(cx, asked),
        }
        Ok(())
    }

    fn malformed(&mut self, cx: &mut Cx, id: RequestId, error: DecodeError) {
        cx.out.mark(Mark::FrameRejected);
        let why = CloseWhy::Malformed(error.to_string());
        self.connections.finish(id, Answer::Close(why), cx.out);
    }

    fn unsupported(&mut self, cx: &mut Cx, asked: Asked) {
        if asked.api == ApiKey::ApiVersions {
            return self.unknown_api_versions(cx, asked);
        }
        cx.out.mark(Mark::FrameRejected);
        let why = CloseWhy::Unsupported {
            key: asked.api.code(),
            version: asked.version,
        };
        self.connections
            .finish(asked.id, Answer::Close(why), cx.out);
    }

    /// Answers a request.
    fn reply<M: Message>(&mut self, cx: &mut Cx, asked: Asked, response: &M) {
        let answer = self.encode(cx, asked, asked.version, response);
        self.connections.finish(asked.id, answer, cx.out);
    }

    /// Makes an answer. One that cannot be written is a mistake of ours: the client is told by closing, the operator by the log.
    fn encode<M: Message>(&self, cx: &mut Cx, asked: Asked, version: i16, response: &M) -> Answer {
        match response_frame(asked.api, version, asked.correlation_id, response) {
            Ok(parts) => Answer::Frame(parts),
            Err(error) => self.unwritable(cx, asked, version, &error),
        }
    }

    fn unwritable(&self, cx: &mut Cx, asked: Asked, version: i16, error: &EncodeError) -> Answer {
        let message = format!(
            "an answer to {:?} version {version} cannot be written: {error}",
            asked.api
        );
        debug_assert!(false, "{message}");
        cx.out.event(Event::Note {
            level: Level::Error,
            message: message.clone(),
        });
        Answer::Close(CloseWhy::Malformed(message))
    }

    /// The metadata log is committed up to `offset`, and the image has it.
    pub fn on_committed(&mut self, cx: &mut Cx, offset: Offset) {
        while let Some(&(last, id)) = self.commits.first() {
            if last > offset {
                return;
            }
            self.commits.pop_first();
            if let Some(Waiting::Commit(answer)) = self.requests.remove(&id) {
                self.connections.finish(id, answer, cx.out);
            }
        }
    }

    /// A log is written up to `end`.
    pub fn on_written(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId, end: Offset) {
        let Some(partition) = rooms.partitions.of_mut(log) else {
            return;
        };
        for request in partition.on_written(end) {
            self.acknowledge(rooms, cx, request, log);
        }
    }

    /// A log is durable up to `end`.
    pub fn on_durable(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId, end: Offset) {
        self.on_written(rooms, cx, log, end);
        let Some(partition) = rooms.partitions.of_mut(log) else {
            return;
        };
        if partition.on_durable(end) {
            self.on_high_watermark(rooms, cx, log);
        }
    }

    /// The high watermark of a partition has moved: whoever waited for it goes on.
    pub fn on_high_watermark(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId) {
        let Some(partition) = rooms.partitions.of_mut(log) else {
            return;
        };
        rooms
            .store
            .note_high_watermark(log, partition.high_watermark());
        let committed = partition.committed();
        let fetches: Vec<RequestId> = partition.watchers().collect();
        for request in committed {
            self.acknowledge(rooms, cx, request, log);
        }
        for request in fetches {
            self.wake_fetch(rooms, cx, request, log);
        }
        self.wake_sessions(rooms, cx, log);
    }

    /// Appends to a log from offset `from` on are lost, and why.
    pub fn on_lost(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId, from: Offset, why: &str) {
        let Some(partition) = rooms.partitions.of_mut(log) else {
            return;
        };
        for request in partition.lost(from) {
            self.fail_appends(rooms, cx, request, log, from, why);
        }
    }

    /// A partition has failed, is gone or has another leader: nobody needs to wait for it.
    pub fn on_lost_partition(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        log: LogId,
        given_up: GivenUp,
    ) {
        for request in given_up.waiting {
            self.acknowledge(rooms, cx, request, log);
            self.start_moved(rooms, cx, request, log);
        }
        for request in given_up.fetches {
            self.wake_fetch(rooms, cx, request, log);
        }
        if let Some((topic, topic_id, index)) = given_up.place {
            for session in given_up.sessions {
                let key = self.sessions.mark_due(session, topic_id, &topic, index);
                if let Some(key) = key {
                    self.wake_in_session(rooms, cx, session, log, key);
                }
            }
        }
        self.on_opened(rooms, cx, log);
        self.on_high_watermark(rooms, cx, log);
    }

    /// A log starts at `start` for good.
    pub fn on_start_moved(&mut self, rooms: &mut Rooms, cx: &mut Cx, log: LogId, start: Offset) {
        let Some(partition) = rooms.partitions.of_mut(log) else {
            return;
        };
        let waiting = partition.on_start_moved(start);
        // Fetch sessions are told of the new start with their next answer.
        self.mark_sessions(rooms, log);
        for request in waiting {
            self.start_moved(rooms, cx, request, log);
        }
    }

    /// Ends waits that have lasted long enough, and idle connections.
    pub fn on_wakeup(&mut self, rooms: &mut Rooms, cx: &mut Cx) {
        while let Some(&(due, id)) = self.timers.first() {
            if due > cx.now.mono {
                break;
            }
            self.timers.pop_first();
            match self.requests.remove(&id) {
                Some(Waiting::Produce(wait)) => self.expire_produce(rooms, cx, wait),
                Some(Waiting::Fetch(wait)) => self.expire_fetch(rooms, cx, wait),
                Some(Waiting::DeleteRecords(wait)) => self.expire_delete_records(rooms, cx, wait),
                Some(other) => {
                    self.requests.insert(id, other);
                }
                None => {}
            }
        }
        let now = cx.now.mono;
        self.connections.check_idle(now, IDLE_AT_ONCE, cx.out);
    }

    /// When and why this room wants to be woken.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        let timer = self.timers.first().map(|(due, id)| {
            let wake = match self.requests.get(id) {
                Some(Waiting::Fetch(_)) => Wake::DelayedFetch,
                Some(_) | None => Wake::DelayedProduce,
            };
            (*due, wake)
        });
        let idle = self.connections.next_check();
        let idle = idle.map(|due| (due, Wake::IdleConnections));
        timer.into_iter().chain(idle).min()
    }

    /// Tells what clients have asked for and wait for.
    pub fn describe(&self, out: &mut Situation) {
        self.connections.describe(out);
        out.count(self.requests.len());
        for (id, waiting) in &self.requests {
            out.request(*id);
            match waiting {
                Waiting::Produce(wait) => wait.describe(out),
                Waiting::Fetch(wait) => wait.describe(out),
                Waiting::ListOffsets(wait) => wait.describe(out),
                Waiting::DeleteRecords(wait) => wait.describe(out),
                Waiting::Listing(wait) => wait.describe(out),
                Waiting::Commit(_) => out.number(4),
                Waiting::Creation(_) => out.number(5),
            }
        }
        for (conn, requests) in &self.appends {
            out.connection(*conn);
            requests.iter().for_each(|request| out.request(*request));
        }
        out.count(self.queue.len());
        self.queue
            .iter()
            .for_each(|queued| out.request(queued.asked.id));
        for (offset, request) in &self.commits {
            out.number(offset.0);
            out.request(*request);
        }
        for (due, request) in &self.timers {
            out.moment(*due);
            out.request(*request);
        }
        self.sessions.describe(out);
        for (session, request) in &self.session_waits {
            out.session(*session);
            out.request(*request);
        }
        out.flag(self.serving);
    }

    /// Asserts what must hold whenever a step has ended.
    pub fn check(&self) {
        self.connections.check();
        self.sessions.check();
        let listed = self.requests.values().map(|waiting| match waiting {
            Waiting::Listing(wait) => wait.bytes(),
            _ => 0,
        });
        assert_eq!(listed.sum::<u64>(), self.listed, "bytes of answers in work");
    }
}

impl Rooms {
    /// Appends what the controller decided to the metadata log. Returns the offset that must be committed before it is told: a decision
    /// without records, too, may rest on earlier ones that are not committed yet.
    pub fn append_metadata(&mut self, cx: &mut Cx, records: &[VersionedRecord]) -> Option<Offset> {
        if records.is_empty() {
            let (committed, next) = (self.quorum.high_watermark(), self.quorum.next_offset());
            return (committed < next).then(|| Offset(next.0 - 1));
        }
        let last = self.quorum.append(cx, &mut self.store, records);
        self.controller.appended(last, self.quorum.epoch());
        Some(last)
    }

    /// What can be seen of a log; a partition whose log is gone cannot be used.
    fn view(&self, log: LogId) -> Result<LogView<'_>, ErrorCode> {
        self.store.view(log).ok_or(ErrorCode::KAFKA_STORAGE_ERROR)
    }

    /// The log of a partition that is named by its topic's name.
    fn log_of(&self, topic: &Str, index: PartitionIndex) -> Result<LogId, ErrorCode> {
        let id = self.image.topics.id(topic);
        let id = id.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = self.partitions.find(id, index);
        partition
            .map(|partition| partition.log)
            .ok_or_else(|| self.missing_partition(id, index))
    }

    /// Why this node has no partition of that number.
    fn missing_partition(&self, topic: Uuid, index: PartitionIndex) -> ErrorCode {
        match self.image.topics.partition(topic, index.0) {
            Some(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        }
    }

    fn listener_name(&self, listener: ListenerId) -> Option<&str> {
        let own = self.config.listeners().get(usize::from(listener.0));
        own.map(|own| own.name.as_str())
    }

    /// Do controllers speak on this listener?
    fn is_controller_listener(&self, listener: ListenerId) -> bool {
        let name = self.listener_name(listener);
        name.is_some_and(|name| self.config.is_controller_listener(name))
    }

    /// The epoch under which this broker is registered; -1 if it is not.
    #[must_use]
    pub fn broker_epoch(&self) -> i64 {
        let broker = self.image.brokers.get(&self.node.0);
        broker.map_or(-1, |broker| broker.broker_epoch)
    }

    /// Who leads a partition, for a client that came in at `listener`.
    fn leader_of(
        &self,
        topic: Uuid,
        index: PartitionIndex,
        listener: ListenerId,
    ) -> Option<Leader> {
        let partition = self.image.topics.partition(topic, index.0)?;
        let name = self.listener_name(listener);
        let broker = self.image.brokers.get(&partition.leader.0);
        let broker = broker.filter(|broker| !broker.fenced);
        let endpoint = broker.and_then(|broker| {
            let end_point = broker
                .end_points
                .iter()
                .find(|e| name.is_some_and(|name| e.name == name))?;
            Some(Endpoint {
                host: end_point.host.clone(),
                port: i32::from(end_point.port),
                rack: broker.rack.clone(),
            })
        });
        Some(Leader {
            id: partition.leader,
            epoch: partition.leader_epoch,
            endpoint,
        })
    }
}

/// Is it the controller that decides on such a request?
fn changes_metadata(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::InitProducerId
    )
}

/// Reads a request's body, all of it.
fn body<R: Request>(reader: &mut Reader, asked: Asked) -> Result<R, DecodeError> {
    R::decode(reader, asked.version)
}

/// Is there such an `isolation_level`: read uncommitted or read committed?
fn is_isolation_level(level: i8) -> bool {
    matches!(level, 0 | 1)
}

/// A client's timeout; a negative one is none.
fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
