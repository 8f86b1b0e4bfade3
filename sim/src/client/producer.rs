//! A producer, plain or idempotent, as the Java client and librdkafka are: batches a partition, requests in flight,
//! retries in order, a delivery timeout, and (idempotent) sequences with an epoch of its own. KIP-98, KIP-360.
//!
//! Owns what it has not settled yet. A batch that it retries keeps its sequence; what times out for good is given up with
//! everything of its partition that was tried, and the epoch is bumped.

use std::collections::{BTreeMap, VecDeque};

use trialog_core::ids::Uuid;
use trialog_core::wire::batch::Compression;
use trialog_core::wire::metadata_request::MetadataRequestTopic;
use trialog_core::wire::produce_request::{PartitionProduceData, TopicProduceData};
use trialog_core::wire::produce_response::PartitionProduceResponse;
use trialog_core::wire::{
    ApiKey, ErrorCode, InitProducerIdRequest, MetadataRequest, ProduceRequest, ProduceResponse,
};

use super::records::{self, Outgoing, Writer};
use super::session::{Happened, Profile, Session};
use super::{Cx, MILLISECOND, SECOND, named, topic_name};
use crate::check::{Invariant, Judge, RecordId, TopicNo, TopicState, Tp};
use crate::net::ToClient;

/// What kind of producer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `acks`: -1, 0 or 1.
    pub acks: i16,
    /// `enable.idempotence`; only with acks -1.
    pub idempotent: bool,
    /// `max.in.flight.requests.per.connection`.
    pub max_in_flight: usize,
    /// Most records of a batch.
    pub records_max: u64,
    /// Most bytes of a value.
    pub value_max: u64,
    /// Typical nanoseconds between two new batches.
    pub interval: u64,
    /// `delivery.timeout.ms`, in nanoseconds.
    pub delivery_timeout: u64,
    /// `retry.backoff.ms`, in nanoseconds.
    pub retry_backoff: u64,
    /// How far back timestamps reach, in milliseconds.
    pub disorder_ms: u64,
    /// `compression.type`.
    pub codec: Compression,
    /// Where it sends.
    pub partitions: Vec<Tp>,
    /// Does it begin a new epoch now and then, while the network still has a copy of what it sent in the last one?
    pub renews: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { not_before: u64 },
    InFlight,
}

#[derive(Clone, Debug)]
struct Batch {
    serial: u64,
    records: Vec<Outgoing>,
    born: u64,
    attempts: u32,
    state: State,
    writer: Option<Writer>,
    /// Its bytes when it was last sent.
    size: usize,
}

impl Batch {
    fn ids(&self) -> Vec<RecordId> {
        self.records.iter().map(|record| record.id).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Lane {
    queue: VecDeque<Batch>,
    epoch: (i64, i16),
    sequence: i32,
    /// The broker has acknowledged a batch of this epoch, so it knows the producer.
    known: bool,
    /// What was acknowledged last.
    last: Option<(Vec<Outgoing>, Writer)>,
    /// What was acknowledged last in the epoch before this one.
    former: Option<(Vec<Outgoing>, Writer)>,
    /// Nothing was acknowledged since the faults ended.
    unproven: bool,
}

#[derive(Clone, Debug)]
enum Tag {
    Produce(Vec<(Tp, u64)>),
    /// A copy of a batch of a former epoch.
    Late(Tp),
    Init,
    Metadata,
}

/// A producer.
#[derive(Clone, Debug)]
pub struct Producer {
    settings: Settings,
    /// Its number for the judge; a restarted process is a new one.
    number: u32,
    session: Session<Tag>,
    id: Option<(i64, i16)>,
    topics: BTreeMap<TopicNo, Uuid>,
    /// Every topic id that it ever heard of: answers may still name one.
    ids: BTreeMap<Uuid, TopicNo>,
    lanes: BTreeMap<Tp, Lane>,
    /// Partitions of deleted topics: a topic that gets the name of one is written instead.
    orphans: Vec<Tp>,
    serial: u64,
    /// The partition of the last request of a client that sends one each.
    turn: Option<Tp>,
    next_batch: u64,
    ask_metadata_at: Option<u64>,
    ask_init_at: u64,
    asking: bool,
    stopped: bool,
    /// The last error that it was answered by, for a report of a stall.
    error: Option<ErrorCode>,
}

impl Producer {
    /// A producer that starts at once.
    #[must_use]
    pub fn new(settings: Settings, profile: Profile, number: u32) -> Producer {
        let lanes = settings
            .partitions
            .iter()
            .map(|tp| (*tp, Lane::default()))
            .collect();
        Producer {
            settings,
            number,
            session: Session::new(profile),
            id: None,
            topics: BTreeMap::new(),
            ids: BTreeMap::new(),
            lanes,
            orphans: Vec::new(),
            serial: 0,
            turn: None,
            next_batch: 0,
            ask_metadata_at: Some(0),
            ask_init_at: 0,
            asking: false,
            stopped: false,
            error: None,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("producer p{}", self.number)
    }

    pub(super) fn waits_for(&self) -> String {
        let lanes: Vec<String> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.unproven || !lane.queue.is_empty())
            .map(|(tp, lane)| format!("{tp}: {} batches", lane.queue.len()))
            .collect();
        format!(
            "connected: {}, producer id: {:?}, last error: {:?}, waits for {}",
            self.session.is_up(),
            self.id,
            self.error,
            lanes.join(", ")
        )
    }

    pub(super) fn rests(&self, judge: &Judge) -> bool {
        let done = |lane: &Lane| lane.queue.is_empty() && !lane.unproven;
        let mut lanes = self.lanes.iter();
        self.stopped && lanes.all(|(tp, lane)| done(lane) || judge.is_rotten(*tp))
    }

    /// One more batch for each partition proves that it can be written; then no new ones.
    pub(super) fn wind_down(&mut self, now: u64) {
        self.stopped = true;
        self.next_batch = now;
        for lane in self.lanes.values_mut() {
            lane.unproven = true;
        }
    }

    pub(super) fn restart(&mut self, cx: &mut Cx<'_>) {
        for lane in self.lanes.values_mut() {
            for batch in lane.queue.drain(..) {
                cx.judge.gave_up(&batch.ids());
            }
            *lane = Lane {
                unproven: lane.unproven,
                ..Lane::default()
            };
        }
        self.session.restart(cx);
        self.id = None;
        self.topics.clear();
        self.ask_metadata_at = Some(0);
        self.asking = false;
        let ordered = self.settings.idempotent || self.settings.max_in_flight == 1;
        let codec = self.settings.codec;
        self.number = cx
            .judge
            .add_producer(self.settings.idempotent, ordered, codec);
    }

    pub(super) fn next_wake(&self) -> u64 {
        let mut wake = self.session.next_wake();
        if self.lanes.is_empty() {
            return wake;
        }
        wake = wake.min(self.next_batch);
        if self.session.is_up() && !self.asking {
            wake = wake.min(self.ask_metadata_at.unwrap_or(u64::MAX));
            if self.settings.idempotent && self.id.is_none() {
                wake = wake.min(self.ask_init_at);
            }
        }
        for batch in self.lanes.values().flat_map(|lane| lane.queue.front()) {
            wake = wake.min(batch.born + self.settings.delivery_timeout);
            if let State::Waiting { not_before } = batch.state
                && self.session.is_up()
                && not_before > 0
            {
                wake = wake.min(not_before);
            }
        }
        wake
    }

    pub(super) fn happens(&mut self, cx: &mut Cx<'_>, event: Option<ToClient>) {
        for happened in self.session.happens(cx, event) {
            match happened {
                Happened::Up => self.ask_metadata_at = Some(cx.now),
                Happened::Answer {
                    tag,
                    version,
                    frame,
                } => self.answered(cx, tag, version, frame),
                Happened::Lost(tags) => self.lost(cx, tags),
            }
        }
        self.adopt(cx);
        self.expire(cx);
        self.make_batches(cx);
        if self.session.is_up() {
            self.ask(cx);
            self.drain(cx);
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>, tags: Vec<Tag>) {
        self.asking = false;
        self.ask_metadata_at = Some(cx.now);
        for tag in tags {
            match tag {
                Tag::Produce(batches) => {
                    for (tp, serial) in batches {
                        self.again(cx.now, tp, serial);
                    }
                }
                Tag::Late(_) | Tag::Init | Tag::Metadata => {}
            }
        }
    }

    fn again(&mut self, now: u64, tp: Tp, serial: u64) {
        let not_before = now + self.settings.retry_backoff;
        if let Some(batch) = self.batch(tp, serial) {
            batch.state = State::Waiting { not_before };
        }
    }

    fn batch(&mut self, tp: Tp, serial: u64) -> Option<&mut Batch> {
        self.lanes
            .get_mut(&tp)?
            .queue
            .iter_mut()
            .find(|batch| batch.serial == serial)
    }

    fn take(&mut self, tp: Tp, serial: u64) -> Option<Batch> {
        let queue = &mut self.lanes.get_mut(&tp)?.queue;
        let at = queue.iter().position(|batch| batch.serial == serial)?;
        queue.remove(at)
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        let late: Vec<Tp> = self
            .lanes
            .iter()
            .filter(|(_, lane)| {
                lane.queue
                    .front()
                    .is_some_and(|batch| batch.born + self.settings.delivery_timeout <= cx.now)
            })
            .map(|(tp, _)| *tp)
            .collect();
        for tp in late {
            self.give_up(cx, tp, false);
        }
    }

    /// Nobody will know what became of what was tried in this partition: a new epoch begins for what was not.
    ///
    /// `refused`: a batch that is not in the queue any more has taken its sequences with it.
    fn give_up(&mut self, cx: &mut Cx<'_>, tp: Tp, refused: bool) {
        let limit = cx.now.saturating_sub(self.settings.delivery_timeout);
        let Some(lane) = self.lanes.get_mut(&tp) else {
            return;
        };
        let (gone, kept): (VecDeque<Batch>, VecDeque<Batch>) = lane
            .queue
            .drain(..)
            .partition(|batch| batch.attempts > 0 || batch.born <= limit);
        lane.queue = kept;
        let tried = refused || gone.iter().any(|batch| batch.attempts > 0);
        for batch in gone {
            cx.judge.gave_up(&batch.ids());
        }
        if tried {
            self.bump_epoch();
        }
    }

    fn make_batches(&mut self, cx: &mut Cx<'_>) {
        if self.next_batch > cx.now || self.lanes.is_empty() {
            return;
        }
        if self.stopped {
            // What was made before may be given up: each partition is written until it was proven that it can be.
            self.next_batch = u64::MAX;
            for tp in self.lanes.keys().copied().collect::<Vec<_>>() {
                if self.lanes[&tp].unproven {
                    self.next_batch = cx.now + SECOND;
                    if self.lanes[&tp].queue.is_empty() {
                        self.make_batch(cx, tp);
                    }
                }
            }
            return;
        }
        let spread = cx.below(self.settings.interval, 1);
        self.next_batch = cx.now + self.settings.interval / 2 + spread;
        if self.settings.renews && cx.below(30, 6) == 0 {
            self.bump_epoch();
        }
        let lanes: Vec<Tp> = self.lanes.keys().copied().collect();
        let nth = cx.below(lanes.len() as u64, 2) as usize;
        if self.lanes[&lanes[nth]].queue.len() < 20 {
            self.make_batch(cx, lanes[nth]);
        }
    }

    fn make_batch(&mut self, cx: &mut Cx<'_>, tp: Tp) {
        // What proves that a partition can be written is small: no limit of a topic stands in its way.
        let (records_max, value_max) = match self.stopped {
            true => (1, 1),
            false => (self.settings.records_max, self.settings.value_max),
        };
        let count = 1 + cx.below(records_max, 3);
        let mut records = Vec::new();
        for _ in 0..count {
            let back = cx.below(self.settings.disorder_ms + 1, 4);
            let timestamp = cx.wall_ms - i64::try_from(back).unwrap_or(0);
            let len = 12 + cx.below(value_max, 5) as usize;
            let id = cx.judge.sends(self.number, tp, timestamp, len);
            records.push(Outgoing { id, timestamp, len });
        }
        self.serial += 1;
        let batch = Batch {
            serial: self.serial,
            records,
            born: cx.now,
            attempts: 0,
            state: State::Waiting { not_before: 0 },
            writer: None,
            size: 0,
        };
        if let Some(lane) = self.lanes.get_mut(&tp) {
            lane.queue.push_back(batch);
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        if self.asking || self.lanes.is_empty() {
            return;
        }
        if self.ask_metadata_at.is_some_and(|at| at <= cx.now) {
            let topics: std::collections::BTreeSet<TopicNo> =
                self.lanes.keys().map(|tp| tp.topic).collect();
            let body = MetadataRequest {
                topics: Some(
                    topics
                        .into_iter()
                        .map(|topic| MetadataRequestTopic {
                            name: Some(topic_name(topic).into()),
                            ..Default::default()
                        })
                        .collect(),
                ),
                allow_auto_topic_creation: self
                    .session
                    .version(ApiKey::Metadata)
                    .is_some_and(|v| v < 4),
                ..Default::default()
            };
            self.ask_metadata_at = None;
            self.asking = self.session.request(cx, &body, Tag::Metadata);
        } else if self.settings.idempotent && self.id.is_none() && self.ask_init_at <= cx.now {
            let body = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: i32::MAX,
                ..Default::default()
            };
            self.asking = self.session.request(cx, &body, Tag::Init);
        }
    }

    /// Sends what may be sent: at most one batch a partition in a request.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        if self.settings.idempotent && self.id.is_none() {
            return;
        }
        while self.session.in_flight() < self.settings.max_in_flight {
            let mut chosen: Vec<(Tp, u64)> = Vec::new();
            for (tp, lane) in &mut self.lanes {
                if !self.topics.contains_key(&tp.topic) {
                    continue;
                }
                if let Some(serial) = sendable(lane, cx.now, self.settings.idempotent) {
                    chosen.push((*tp, serial));
                }
            }
            if chosen.is_empty() {
                return;
            }
            // Some clients batch partitions into one request, others send one each in turn, so that one that fails starves no other.
            if self.number % 2 == 1 {
                let next = chosen.iter().position(|(tp, _)| Some(*tp) > self.turn);
                chosen = vec![chosen[next.unwrap_or(0)]];
                self.turn = chosen.last().map(|(tp, _)| *tp);
            }
            self.send(cx, chosen);
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, chosen: Vec<(Tp, u64)>) {
        let codec = self.settings.codec;
        let mut topics: BTreeMap<TopicNo, Vec<PartitionProduceData>> = BTreeMap::new();
        for (tp, serial) in &chosen {
            self.stamp(*tp, *serial);
            let Some(batch) = self.batch(*tp, *serial) else {
                continue;
            };
            batch.attempts += 1;
            batch.state = State::InFlight;
            cx.judge.attempts(&batch.ids());
            let records = records::batch(&batch.records, batch.writer, codec);
            batch.size = records.len();
            let data = PartitionProduceData {
                index: tp.index,
                records: Some(records),
                ..Default::default()
            };
            topics.entry(tp.topic).or_default().push(data);
        }
        let body = self.produce(topics);
        if self.settings.acks == 0 {
            self.session.request_without_answer(cx, &body);
            for (tp, serial) in chosen {
                if let Some(batch) = self.take(tp, serial) {
                    cx.judge.gave_up(&batch.ids());
                    cx.judge.acknowledged();
                }
                if let Some(lane) = self.lanes.get_mut(&tp) {
                    lane.unproven = false;
                }
            }
        } else {
            self.session.request(cx, &body, Tag::Produce(chosen));
        }
    }

    fn produce(&self, topics: BTreeMap<TopicNo, Vec<PartitionProduceData>>) -> ProduceRequest {
        ProduceRequest {
            acks: self.settings.acks,
            timeout_ms: 10_000,
            topic_data: topics
                .into_iter()
                .map(|(topic, partition_data)| TopicProduceData {
                    name: topic_name(topic).into(),
                    topic_id: self.topics.get(&topic).copied().unwrap_or_default(),
                    partition_data,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    /// The network delivers a copy of a batch of a former epoch, late: the broker has acknowledged the epoch after it.
    fn deliver_late(&mut self, cx: &mut Cx<'_>, tp: Tp) {
        let late = self.lanes.get_mut(&tp).and_then(|lane| lane.former.take());
        let Some((records, writer)) = late.filter(|_| self.session.is_up()) else {
            return;
        };
        let ids: Vec<RecordId> = records.iter().map(|record| record.id).collect();
        cx.judge.attempts(&ids);
        let data = PartitionProduceData {
            index: tp.index,
            records: Some(records::batch(&records, Some(writer), self.settings.codec)),
            ..Default::default()
        };
        let body = self.produce(BTreeMap::from([(tp.topic, vec![data])]));
        self.session.request(cx, &body, Tag::Late(tp));
    }

    /// What an old epoch sent is fenced, KIP-98: it is neither appended nor taken for a duplicate. Its records are looked at before
    /// that, and may be too old for the topic by now.
    fn late_told(&mut self, cx: &mut Cx<'_>, tp: Tp, answer: &ProduceResponse) {
        let told = answer.responses.first();
        let told = told.and_then(|topic| topic.partition_responses.first());
        let error = told.map(|told| told.error_code);
        let fenced = error == Some(ErrorCode::INVALID_PRODUCER_EPOCH)
            || error == Some(ErrorCode::INVALID_TIMESTAMP);
        let later = error.is_some_and(ErrorCode::is_retriable);
        if fenced {
            cx.judge.acknowledged();
        } else if !later && cx.judge.topic(tp.topic) == Some(TopicState::Exists) {
            cx.judge.violate(
                Invariant::Duplicate,
                format!(
                    "{} has begun a new epoch in {tp}, which was acknowledged, and a late batch of the former one was answered by {error:?}",
                    self.name()
                ),
            );
        }
    }

    /// Gives a batch its sequence when it is sent for the first time.
    fn stamp(&mut self, tp: Tp, serial: u64) {
        let Some(id) = self.id.filter(|_| self.settings.idempotent) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&tp) else {
            return;
        };
        let tried = lane.queue.iter().any(|batch| batch.attempts > 0);
        if lane.epoch != id && !tried {
            let last = lane.last.take();
            lane.former = last.filter(|(_, writer)| writer.producer_id == id.0);
            lane.epoch = id;
            lane.sequence = 0;
            lane.known = false;
        }
        let (epoch, sequence) = (lane.epoch, lane.sequence);
        let Some(batch) = lane.queue.iter_mut().find(|batch| batch.serial == serial) else {
            return;
        };
        if batch.writer.is_none() {
            batch.writer = Some(Writer {
                producer_id: epoch.0,
                epoch: epoch.1,
                sequence,
            });
            lane.sequence += i32::try_from(batch.records.len()).unwrap_or(0);
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, tag: Tag, version: i16, frame: bytes::Bytes) {
        match tag {
            Tag::Produce(batches) => {
                let Some(answer) = Session::<Tag>::decode::<ProduceRequest>(cx, version, frame)
                else {
                    return;
                };
                let mut told: BTreeMap<Tp, PartitionProduceResponse> = BTreeMap::new();
                for topic in answer.responses {
                    let number = match version < 13 {
                        true => named(&topic.name, batches.iter().map(|(tp, _)| tp.topic)),
                        false => self.numbered(topic.topic_id),
                    };
                    for partition in topic.partition_responses {
                        if let Some(topic) = number {
                            let index = partition.index;
                            told.insert(Tp { topic, index }, partition);
                        }
                    }
                }
                for (tp, serial) in batches {
                    match told.remove(&tp) {
                        Some(partition) => self.settle(cx, tp, serial, &partition),
                        None => cx.judge.violate(
                            Invariant::Protocol,
                            format!("the answer to a produce leaves out {tp}"),
                        ),
                    }
                }
            }
            Tag::Late(tp) => {
                let answer = Session::<Tag>::decode::<ProduceRequest>(cx, version, frame);
                if let Some(answer) = answer {
                    self.late_told(cx, tp, &answer);
                }
            }
            Tag::Init => {
                self.asking = false;
                let answer = Session::<Tag>::decode::<InitProducerIdRequest>(cx, version, frame);
                match answer {
                    Some(answer) if answer.error_code == ErrorCode::NONE => {
                        cx.judge.producer_id(answer.producer_id);
                        self.id = Some((answer.producer_id, answer.producer_epoch));
                    }
                    Some(_) | None => self.ask_init_at = cx.now + 100 * MILLISECOND,
                }
            }
            Tag::Metadata => {
                self.asking = false;
                self.ask_metadata_at = Some(cx.now + 60 * SECOND);
                if let Some(answer) = Session::<Tag>::decode::<MetadataRequest>(cx, version, frame)
                {
                    let mut missing = false;
                    self.drop_deleted(cx);
                    for topic in answer.topics {
                        let name = topic.name.as_deref().unwrap_or_default();
                        let number = named(name, self.lanes.keys().map(|tp| tp.topic));
                        match number.filter(|_| topic.error_code == ErrorCode::NONE) {
                            Some(number) => {
                                self.topics.insert(number, topic.topic_id);
                                self.ids.entry(topic.topic_id).or_insert(number);
                            }
                            None => missing = true,
                        }
                    }
                    // A topic that came while the question was on its way was not asked for.
                    missing |= self
                        .lanes
                        .keys()
                        .any(|tp| !self.topics.contains_key(&tp.topic));
                    if missing {
                        self.ask_metadata_at = Some(cx.now + 200 * MILLISECOND);
                    }
                }
            }
        }
    }

    /// Topics that somebody deleted are not written any more.
    fn drop_deleted(&mut self, cx: &mut Cx<'_>) {
        let gone: Vec<Tp> = self
            .lanes
            .keys()
            .filter(|tp| {
                matches!(
                    cx.judge.topic(tp.topic),
                    Some(TopicState::Deleting | TopicState::Gone)
                )
            })
            .copied()
            .collect();
        for tp in gone {
            if let Some(lane) = self.lanes.remove(&tp) {
                for batch in lane.queue {
                    cx.judge.gave_up(&batch.ids());
                }
            }
            self.orphans.push(tp);
            // What is still on its way may come to the next topic of that name: it is fenced there.
            self.bump_epoch();
        }
    }

    fn bump_epoch(&mut self) {
        if let Some((id, epoch)) = self.id {
            self.id = epoch.checked_add(1).map(|epoch| (id, epoch));
        }
    }

    /// Writes to the topics that have the names of deleted ones now.
    fn adopt(&mut self, cx: &mut Cx<'_>) {
        if self.stopped || self.orphans.is_empty() {
            return;
        }
        let orphans = std::mem::take(&mut self.orphans);
        for tp in orphans {
            match cx.judge.successor(tp.topic) {
                Some(topic) => {
                    let index = tp.index;
                    self.lanes.insert(Tp { topic, index }, Lane::default());
                    self.ask_metadata_at = Some(cx.now);
                }
                None => self.orphans.push(tp),
            }
        }
    }

    fn numbered(&self, id: Uuid) -> Option<TopicNo> {
        self.ids.get(&id).copied()
    }

    /// A batch is too large if it has more bytes than the topic takes, and only then.
    fn judge_size(&mut self, cx: &mut Cx<'_>, tp: Tp, serial: u64, error: ErrorCode) {
        let rules = cx.judge.rules(tp.topic);
        let (Some(limit), None) = (rules.max_message_bytes, rules.compression) else {
            return;
        };
        if cx.judge.topic(tp.topic) != Some(TopicState::Exists) {
            return;
        }
        let Some(size) = self.batch(tp, serial).map(|batch| batch.size) else {
            return;
        };
        let refused = error == ErrorCode::MESSAGE_TOO_LARGE;
        let taken = error == ErrorCode::NONE;
        if (refused && size <= limit) || (taken && size > limit) {
            cx.judge.violate(
                Invariant::Protocol,
                format!(
                    "a batch of {size} bytes for {tp}, which takes {limit}, was answered by {error}"
                ),
            );
        }
    }

    fn settle(&mut self, cx: &mut Cx<'_>, tp: Tp, serial: u64, told: &PartitionProduceResponse) {
        let error = told.error_code;
        let first = self
            .lanes
            .get(&tp)
            .and_then(|lane| lane.queue.front())
            .is_some_and(|batch| batch.serial == serial);
        self.judge_size(cx, tp, serial, error);
        if error != ErrorCode::NONE {
            self.error = Some(error);
        }
        if error == ErrorCode::NONE || error == ErrorCode::DUPLICATE_SEQUENCE_NUMBER {
            let taken = self.take(tp, serial);
            let sent = taken
                .as_ref()
                .and_then(|batch| Some((batch.records.clone(), batch.writer?)));
            if let Some(batch) = taken {
                if told.log_append_time_ms >= 0 && batch.attempts == 1 {
                    for id in batch.ids() {
                        cx.judge.stamped(id, told.log_append_time_ms);
                    }
                }
                let base = (told.base_offset >= 0).then_some(told.base_offset);
                cx.judge.acked(&batch.ids(), tp, base, self.settings.acks);
            }
            if let Some(lane) = self.lanes.get_mut(&tp) {
                lane.unproven = false;
                lane.known |= first;
                lane.last = sent.or(lane.last.take());
            }
            self.deliver_late(cx, tp);
        } else if error == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            || error == ErrorCode::UNKNOWN_PRODUCER_ID
            || error == ErrorCode::INVALID_PRODUCER_EPOCH
        {
            // In a topic that has the name of a deleted one, a late batch of a former epoch may have been the first that it had.
            let exists = cx.judge.topic(tp.topic) == Some(TopicState::Exists);
            let known = self.lanes.get(&tp).is_some_and(|lane| lane.known);
            if first && known && exists {
                let writer = self.batch(tp, serial).and_then(|batch| batch.writer);
                cx.judge.violate(
                    Invariant::Order,
                    format!(
                        "{} sent {tp} all it owed in order, and {writer:?} was answered by {error}",
                        self.name()
                    ),
                );
            }
            if first {
                // A broker that does not know a producer takes any sequence: a later batch was sooner than the first.
                self.give_up(cx, tp, false);
            } else {
                self.again(cx.now, tp, serial);
            }
        } else if error.is_retriable() {
            if error != ErrorCode::REQUEST_TIMED_OUT {
                // Never later than it was due: partitions that take turns in failing would put it off for ever.
                let soon = cx.now + self.settings.retry_backoff;
                self.ask_metadata_at = Some(self.ask_metadata_at.unwrap_or(soon).min(soon));
            }
            self.again(cx.now, tp, serial);
        } else {
            if let Some(batch) = self.take(tp, serial) {
                cx.judge.refused(&batch.ids());
                self.give_up(cx, tp, true);
            }
        }
    }
}

/// The batch of a lane that may be sent now. An idempotent producer sends nothing new while it repeats something.
fn sendable(lane: &Lane, now: u64, idempotent: bool) -> Option<u64> {
    let repeats = lane
        .queue
        .iter()
        .any(|batch| batch.state == State::InFlight && batch.attempts > 1);
    let (at, batch) = lane
        .queue
        .iter()
        .enumerate()
        .find(|(_, batch)| batch.state != State::InFlight)?;
    let due = match batch.state {
        State::Waiting { not_before } => not_before <= now,
        State::InFlight => false,
    };
    let in_turn = !idempotent || ((!repeats || batch.attempts > 0) && at < 5);
    (due && in_turn).then_some(batch.serial)
}
