//! A consumer that assigns itself partitions: fetch sessions or none, long polls, lookups of offsets, seeks.
//!
//! Owns positions. What it reads goes to the judge record by record; it resets its position only when the broker says that
//! it is out of range, and looks up timestamps now and then. KIP-227 (sessions), KIP-79 (lookups), KIP-734.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trialog_core::ids::Uuid;
use trialog_core::wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use trialog_core::wire::fetch_response::PartitionData;
use trialog_core::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use trialog_core::wire::metadata_request::MetadataRequestTopic;
use trialog_core::wire::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use trialog_core::wire::{
    ApiKey, ErrorCode, FetchRequest, ListOffsetsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest,
};

use super::records;
use super::session::{Happened, Profile, Session};
use super::{Cx, MILLISECOND, SECOND, named, topic_name};
use crate::check::{Bounds, Invariant, Judge, Lookup, Poll, Target, TopicNo, TopicState, Tp};
use crate::net::ToClient;

/// What kind of consumer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `fetch.max.wait.ms`.
    pub max_wait_ms: i32,
    /// `fetch.min.bytes`.
    pub min_bytes: i32,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
    /// Does it use fetch sessions?
    pub sessions: bool,
    /// Typical nanoseconds between lookups by timestamp; 0 for none.
    pub lookup_interval: u64,
    /// Typical nanoseconds between seeks to somewhere it has been; 0 for none.
    pub seek_interval: u64,
    /// Nanoseconds between a poll without records and the next.
    pub pause: u64,
    /// What it reads.
    pub partitions: Vec<Tp>,
    /// Reads each partition once from its first offset to its end, for the last word.
    pub verifies: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Must be looked up: from the first offset.
    Unknown,
    At(i64),
}

#[derive(Clone, Debug)]
struct Position {
    place: Place,
    start: i64,
    high_watermark: Option<i64>,
    /// Answered without error since the faults ended.
    heard: bool,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Reset,
    Earliest,
    EarliestLocal,
    Latest,
    /// What tiered storage has, or is to get: there is none.
    Tiered(i64),
    Lookup(Target),
}

#[derive(Clone, Debug)]
enum Tag {
    /// What was asked: partition, offset, and what was promised then.
    Fetch(Vec<(Tp, i64, Bounds)>),
    Offsets(Vec<(Tp, Wanted, Bounds)>),
    /// Where a leader epoch of a partition ends, of which records up to an offset were read.
    EpochEnd(Tp, (i32, i64)),
    Metadata,
}

#[derive(Clone, Debug, Default)]
struct FetchSession {
    id: i32,
    epoch: i32,
    /// What the broker believes to be our positions, with the promise at the time that it was told.
    told: BTreeMap<Tp, i64>,
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    settings: Settings,
    number: u32,
    session: Session<Tag>,
    topics: BTreeMap<TopicNo, Uuid>,
    positions: BTreeMap<Tp, Position>,
    /// Partitions of deleted topics: a topic that gets the name of one is read instead.
    orphans: Vec<Tp>,
    fetch: FetchSession,
    busy: bool,
    not_before: u64,
    ask_metadata_at: Option<u64>,
    next_lookup: u64,
    next_seek: u64,
    turn: usize,
    /// It has just asked where partitions begin: if they cannot tell, the others are read before it asks again.
    reset_last: bool,
    stopped: bool,
}

impl Consumer {
    /// A consumer that starts at once.
    #[must_use]
    pub fn new(settings: Settings, profile: Profile, number: u32) -> Consumer {
        let never = |interval: u64| if interval == 0 { u64::MAX } else { interval };
        Consumer {
            number,
            session: Session::new(profile),
            topics: BTreeMap::new(),
            positions: positions(&settings.partitions),
            orphans: Vec::new(),
            fetch: FetchSession::default(),
            busy: false,
            not_before: 0,
            ask_metadata_at: Some(0),
            next_lookup: never(settings.lookup_interval),
            next_seek: never(settings.seek_interval),
            settings,
            turn: 0,
            reset_last: false,
            stopped: false,
        }
    }

    pub(super) fn name(&self) -> String {
        match self.settings.verifies {
            true => format!("the last reader c{}", self.number),
            false => format!("consumer c{}", self.number),
        }
    }

    pub(super) fn waits_for(&self) -> String {
        let places: Vec<String> = self
            .positions
            .iter()
            .map(|(tp, position)| {
                format!(
                    "{tp} {:?} of {:?}{}",
                    position.place,
                    position.high_watermark,
                    if position.heard { "" } else { ", silent" }
                )
            })
            .collect();
        format!("connected: {}, {}", self.session.is_up(), places.join("; "))
    }

    pub(super) fn wind_down(&mut self, _now: u64) {
        self.stopped = true;
        self.next_seek = u64::MAX;
        // Progress is judged by time: from now on it lags for no reason of its own.
        self.settings.max_bytes = self.settings.max_bytes.max(1 << 20);
        self.settings.partition_max_bytes = self.settings.partition_max_bytes.max(1 << 20);
        self.settings.min_bytes = 1;
        self.settings.pause = self.settings.pause.min(20 * MILLISECOND);
        for position in self.positions.values_mut() {
            position.heard = false;
        }
        // A session may leave out a partition that has nothing new: ask for all again.
        self.fetch = FetchSession::default();
    }

    /// It has read all that was promised, and heard of every partition since the faults ended.
    pub(super) fn rests(&self, judge: &Judge) -> bool {
        if self.settings.verifies {
            return self.positions.values().all(|position| position.done);
        }
        self.stopped
            && self.positions.iter().all(|(tp, position)| {
                let read = match position.place {
                    Place::Unknown => false,
                    Place::At(at) => at >= judge.promised_end(*tp),
                };
                (read && position.heard) || judge.is_rotten(*tp)
            })
    }

    /// The last reader has read up to the high watermark and waits for records that are known to stand behind it. At the
    /// end of its time that is the end of the log: what was promised beyond is lost, and not late.
    pub(super) fn settle_for_less(&mut self, judge: &mut Judge) {
        for (tp, position) in &mut self.positions {
            if let Place::At(at) = position.place
                && self.settings.verifies
                && !position.done
                && position.high_watermark == Some(at)
                && at < judge.standing_end(*tp)
            {
                position.done = true;
                judge.read_to_end(*tp, position.start, at);
            }
        }
    }

    pub(super) fn restart(&mut self, cx: &mut Cx<'_>) {
        self.session.restart(cx);
        let kept: Vec<Tp> = self.positions.keys().copied().collect();
        self.positions = positions(&kept);
        self.fetch = FetchSession::default();
        self.topics.clear();
        self.busy = false;
        self.ask_metadata_at = Some(0);
    }

    pub(super) fn next_wake(&self) -> u64 {
        let mut wake = self.session.next_wake();
        if self.session.is_up() && !self.busy && !self.positions.is_empty() {
            wake = wake.min(self.not_before);
            wake = wake.min(self.ask_metadata_at.unwrap_or(u64::MAX));
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
                } => {
                    self.busy = false;
                    self.answered(cx, tag, version, frame);
                }
                Happened::Lost(_) => {
                    self.busy = false;
                    self.fetch = FetchSession::default();
                }
            }
        }
        self.adopt(cx);
        if self.session.is_up() && !self.busy && !self.positions.is_empty() {
            self.ask(cx);
        }
    }

    /// Reads the topics that have the names of deleted ones now.
    fn adopt(&mut self, cx: &Cx<'_>) {
        if self.stopped || self.orphans.is_empty() {
            return;
        }
        let orphans = std::mem::take(&mut self.orphans);
        for tp in orphans {
            match cx.judge.successor(tp.topic) {
                Some(topic) => {
                    let index = tp.index;
                    self.positions.extend(positions(&[Tp { topic, index }]));
                    self.ask_metadata_at = Some(cx.now);
                }
                None => self.orphans.push(tp),
            }
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        if self.ask_metadata_at.is_some_and(|at| at <= cx.now) {
            self.ask_metadata(cx);
            return;
        }
        if self.not_before > cx.now {
            return;
        }
        let resets: Vec<(Tp, Wanted)> = self
            .positions
            .iter()
            .filter(|(tp, position)| {
                matches!(position.place, Place::Unknown) && self.topics.contains_key(&tp.topic)
            })
            .map(|(tp, _)| (*tp, Wanted::Reset))
            .collect();
        let placed = |position: &Position| matches!(position.place, Place::At(_)) && !position.done;
        let others = self.reset_last && self.positions.values().any(placed);
        self.reset_last = !resets.is_empty() && !others;
        if self.reset_last {
            self.ask_offsets(cx, resets);
        } else if self.next_lookup <= cx.now {
            let spread = cx.below(self.settings.lookup_interval, 1);
            self.next_lookup = cx.now + self.settings.lookup_interval / 2 + spread;
            self.look_up(cx);
        } else {
            if self.next_seek <= cx.now {
                let spread = cx.below(self.settings.seek_interval, 2);
                self.next_seek = cx.now + self.settings.seek_interval / 2 + spread;
                self.seek(cx);
            }
            self.ask_fetch(cx);
        }
    }

    fn ask_metadata(&mut self, cx: &mut Cx<'_>) {
        let topics: BTreeSet<TopicNo> = self.positions.keys().map(|tp| tp.topic).collect();
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
        self.busy = self.session.request(cx, &body, Tag::Metadata);
    }

    fn seek(&mut self, cx: &mut Cx<'_>) {
        let partitions: Vec<Tp> = self.positions.keys().copied().collect();
        let tp = partitions[cx.below(partitions.len() as u64, 3) as usize];
        let (from, to) = (cx.judge.kept_from(tp), cx.judge.promised_end(tp));
        let span = u64::try_from(to - from).unwrap_or(0);
        let at = from + i64::try_from(cx.below(span + 1, 4)).unwrap_or(0);
        if let Some(position) = self.positions.get_mut(&tp) {
            position.place = Place::At(at);
        }
    }

    fn look_up(&mut self, cx: &mut Cx<'_>) {
        let partitions: Vec<Tp> = self
            .positions
            .keys()
            .filter(|tp| self.topics.contains_key(&tp.topic))
            .copied()
            .collect();
        if partitions.is_empty() {
            return;
        }
        let tp = partitions[cx.below(partitions.len() as u64, 5) as usize];
        let version = self.session.version(ApiKey::ListOffsets).unwrap_or(0);
        let wanted = match cx.below(16, 6) {
            0 | 1 => Wanted::Earliest,
            2 | 3 => Wanted::Latest,
            4 | 5 if version >= 7 => Wanted::Lookup(Target::Greatest),
            6 if version >= 8 => Wanted::EarliestLocal,
            7 if version >= 9 => Wanted::Tiered(-5),
            8 if version >= 11 => Wanted::Tiered(-6),
            9 => return self.ask_epoch_end(cx, tp),
            _ => {
                let lived = u64::try_from(cx.wall_ms - crate::clock::EPOCH_MS).unwrap_or(0);
                let back = cx.below(lived + 10_000, 7);
                let at = cx.wall_ms + 2_000 - i64::try_from(back).unwrap_or(0);
                Wanted::Lookup(Target::AtLeast(at))
            }
        };
        self.ask_offsets(cx, vec![(tp, wanted)]);
    }

    /// Asks where an epoch ends that some record was read in. KIP-101, KIP-320.
    fn ask_epoch_end(&mut self, cx: &mut Cx<'_>, tp: Tp) {
        let epochs = cx.judge.leader_epochs(tp);
        if epochs.is_empty() {
            return;
        }
        let asked = epochs[cx.below(epochs.len() as u64, 9) as usize];
        let body = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: topic_name(tp.topic).into(),
                partitions: vec![OffsetForLeaderPartition {
                    partition: tp.index,
                    current_leader_epoch: -1,
                    leader_epoch: asked.0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.busy = self.session.request(cx, &body, Tag::EpochEnd(tp, asked));
    }

    fn ask_offsets(&mut self, cx: &mut Cx<'_>, wanted: Vec<(Tp, Wanted)>) {
        let mut topics: BTreeMap<TopicNo, Vec<ListOffsetsPartition>> = BTreeMap::new();
        let mut asked = Vec::new();
        for (tp, wanted) in wanted {
            let timestamp = match wanted {
                Wanted::Reset | Wanted::Earliest => -2,
                Wanted::Latest => -1,
                Wanted::EarliestLocal => -4,
                Wanted::Tiered(which) => which,
                Wanted::Lookup(Target::Greatest) => -3,
                Wanted::Lookup(Target::AtLeast(at)) => at,
            };
            topics
                .entry(tp.topic)
                .or_default()
                .push(ListOffsetsPartition {
                    partition_index: tp.index,
                    timestamp,
                    ..Default::default()
                });
            asked.push((tp, wanted, cx.judge.bounds(tp)));
        }
        let body = ListOffsetsRequest {
            replica_id: -1,
            topics: topics
                .into_iter()
                .map(|(topic, partitions)| ListOffsetsTopic {
                    name: topic_name(topic).into(),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        self.busy = self.session.request(cx, &body, Tag::Offsets(asked));
    }

    fn ask_fetch(&mut self, cx: &mut Cx<'_>) {
        let Some(version) = self.session.version(ApiKey::Fetch) else {
            cx.judge.violate(
                Invariant::Protocol,
                "the broker does not offer Fetch".to_owned(),
            );
            return;
        };
        let wanted: BTreeMap<Tp, i64> = self
            .positions
            .iter()
            .filter(|(tp, position)| self.topics.contains_key(&tp.topic) && !position.done)
            .filter_map(|(tp, position)| match position.place {
                Place::At(at) => Some((*tp, at)),
                Place::Unknown => None,
            })
            .collect();
        if wanted.is_empty() {
            self.ask_metadata_at = Some(cx.now + 200 * MILLISECOND);
            self.not_before = cx.now + 200 * MILLISECOND;
            return;
        }
        let sessions = self.settings.sessions && version >= 7;
        let incremental = sessions && self.fetch.id != 0;
        // A small answer holds the first partitions only: each gets its turn to be the first.
        self.turn = self.turn.wrapping_add(1);
        let (early, late): (Vec<_>, Vec<_>) = wanted
            .iter()
            .enumerate()
            .partition(|(nth, _)| *nth < self.turn % wanted.len());
        let mut topics: Vec<(TopicNo, Vec<FetchPartition>)> = Vec::new();
        for (_, (tp, at)) in late.into_iter().chain(early) {
            if !incremental || self.fetch.told.get(tp) != Some(at) {
                if topics.last().is_none_or(|(topic, _)| *topic != tp.topic) {
                    topics.push((tp.topic, Vec::new()));
                }
                if let Some((_, partitions)) = topics.last_mut() {
                    partitions.push(FetchPartition {
                        partition: tp.index,
                        fetch_offset: *at,
                        partition_max_bytes: self.settings.partition_max_bytes,
                        ..Default::default()
                    });
                }
            }
        }
        let mut forgotten: BTreeMap<TopicNo, Vec<i32>> = BTreeMap::new();
        if incremental {
            for tp in self.fetch.told.keys().filter(|tp| !wanted.contains_key(tp)) {
                forgotten.entry(tp.topic).or_default().push(tp.index);
            }
        }
        let asked = wanted
            .iter()
            .map(|(tp, at)| (*tp, *at, cx.judge.bounds(*tp)))
            .collect();
        self.fetch.told = wanted;
        let id = |topic: &TopicNo| self.topics.get(topic).copied().unwrap_or_default();
        let body = FetchRequest {
            replica_id: -1,
            max_wait_ms: self.settings.max_wait_ms,
            min_bytes: self.settings.min_bytes,
            max_bytes: self.settings.max_bytes,
            session_id: if sessions { self.fetch.id } else { 0 },
            session_epoch: if sessions { self.fetch.epoch } else { -1 },
            topics: topics
                .iter()
                .map(|(topic, partitions)| FetchTopic {
                    topic: topic_name(*topic).into(),
                    topic_id: id(topic),
                    partitions: partitions.clone(),
                    ..Default::default()
                })
                .collect(),
            forgotten_topics_data: forgotten
                .iter()
                .map(|(topic, partitions)| ForgottenTopic {
                    topic: topic_name(*topic).into(),
                    topic_id: id(topic),
                    partitions: partitions.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        self.busy = self.session.request(cx, &body, Tag::Fetch(asked));
    }

    fn answered(&mut self, cx: &mut Cx<'_>, tag: Tag, version: i16, frame: Bytes) {
        match tag {
            Tag::Metadata => {
                self.ask_metadata_at = Some(cx.now + 60 * SECOND);
                let answer = Session::<Tag>::decode::<MetadataRequest>(cx, version, frame);
                let mut missing = false;
                self.drop_deleted(cx.judge);
                for topic in answer.map(|answer| answer.topics).unwrap_or_default() {
                    let name = topic.name.as_deref().unwrap_or_default();
                    let number = named(name, self.positions.keys().map(|tp| tp.topic));
                    match number.filter(|_| topic.error_code == ErrorCode::NONE) {
                        Some(number) => {
                            self.topics.insert(number, topic.topic_id);
                        }
                        None => missing = true,
                    }
                }
                // A topic that came while the question was on its way was not asked for.
                let mut read = self.positions.keys();
                missing |= read.any(|tp| !self.topics.contains_key(&tp.topic));
                if missing {
                    self.ask_metadata_at = Some(cx.now + 200 * MILLISECOND);
                }
            }
            Tag::Offsets(asked) => self.offsets_told(cx, &asked, version, frame),
            Tag::EpochEnd(tp, asked) => self.epoch_end_told(cx, tp, asked, version, frame),
            Tag::Fetch(asked) => self.fetched(cx, &asked, version, frame),
        }
    }

    fn drop_deleted(&mut self, judge: &Judge) {
        let orphans = &mut self.orphans;
        self.positions.retain(|tp, _| {
            let deleted = matches!(
                judge.topic(tp.topic),
                Some(TopicState::Deleting | TopicState::Gone)
            );
            if deleted {
                orphans.push(*tp);
            }
            !deleted
        });
    }

    fn epoch_end_told(
        &mut self,
        cx: &mut Cx<'_>,
        tp: Tp,
        asked: (i32, i64),
        version: i16,
        frame: Bytes,
    ) {
        let answer = Session::<Tag>::decode::<OffsetForLeaderEpochRequest>(cx, version, frame);
        let told = answer.and_then(|answer| {
            let topic = answer.topics.into_iter().next()?;
            topic.partitions.into_iter().next()
        });
        let Some(told) = told else {
            cx.judge.violate(
                Invariant::Protocol,
                format!("the answer about the leader epochs of {tp} leaves it out"),
            );
            return;
        };
        if told.error_code != ErrorCode::NONE {
            return self.refused(cx, tp, told.error_code);
        }
        let ends = (told.leader_epoch, told.end_offset);
        cx.judge.epoch_ended(&self.name(), tp, asked, ends);
    }

    fn offsets_told(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &[(Tp, Wanted, Bounds)],
        version: i16,
        frame: Bytes,
    ) {
        let Some(answer) = Session::<Tag>::decode::<ListOffsetsRequest>(cx, version, frame) else {
            return;
        };
        for topic in answer.topics {
            let Some(number) = named(&topic.name, asked.iter().map(|(tp, ..)| tp.topic)) else {
                continue;
            };
            for told in topic.partitions {
                let tp = Tp {
                    topic: number,
                    index: told.partition_index,
                };
                let Some((_, wanted, bounds)) = asked.iter().find(|(asked, _, _)| *asked == tp)
                else {
                    continue;
                };
                if told.error_code != ErrorCode::NONE {
                    self.refused(cx, tp, told.error_code);
                    continue;
                }
                match wanted {
                    Wanted::Reset | Wanted::Earliest | Wanted::EarliestLocal => {
                        cx.judge.begins(&self.name(), tp, told.offset, *bounds);
                        if let Some(position) = self
                            .positions
                            .get_mut(&tp)
                            .filter(|_| *wanted == Wanted::Reset)
                        {
                            position.place = Place::At(told.offset);
                            position.start = told.offset;
                        }
                    }
                    Wanted::Latest => {
                        let lives = cx.judge.topic(tp.topic) == Some(TopicState::Exists);
                        let floor = bounds.promised;
                        if told.offset < floor && lives {
                            cx.judge.violate(
                                Invariant::Lost,
                                format!(
                                    "the latest offset of {tp} is {}, but {floor} was promised",
                                    told.offset
                                ),
                            );
                        }
                        cx.judge.acknowledged();
                    }
                    Wanted::Tiered(which) => {
                        if told.offset != -1 {
                            cx.judge.violate(
                                Invariant::Protocol,
                                format!(
                                    "{which} of {tp} is {}, and nothing is tiered",
                                    told.offset
                                ),
                            );
                        }
                        cx.judge.acknowledged();
                    }
                    Wanted::Lookup(target) => cx.judge.looked_up(Lookup {
                        tp,
                        target: *target,
                        answer: (told.offset >= 0).then_some((told.offset, told.timestamp)),
                        floor: bounds.promised,
                        delete_limit: cx.judge.kept_from(tp),
                    }),
                }
            }
        }
    }

    fn refused(&mut self, cx: &mut Cx<'_>, tp: Tp, error: ErrorCode) {
        if !error.is_retriable() && error != ErrorCode::UNKNOWN_TOPIC_ID {
            cx.judge.violate(
                Invariant::Protocol,
                format!("{} asked for {tp} and was answered by {error}", self.name()),
            );
        }
        self.drop_deleted(cx.judge);
        self.not_before = cx.now + 100 * MILLISECOND;
        self.ask_metadata_at = Some(cx.now + 100 * MILLISECOND);
    }

    fn fetched(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &[(Tp, i64, Bounds)],
        version: i16,
        frame: Bytes,
    ) {
        let Some(answer) = Session::<Tag>::decode::<FetchRequest>(cx, version, frame) else {
            return;
        };
        if answer.error_code != ErrorCode::NONE {
            // The session is gone, or a topic in it: begin a new one.
            self.fetch = FetchSession::default();
            self.ask_metadata_at = Some(cx.now);
            return;
        }
        if self.settings.sessions && version >= 7 {
            let began = self.fetch.id == 0;
            self.fetch.id = answer.session_id;
            self.fetch.epoch = match (answer.session_id, began) {
                (0, _) => 0,
                (_, true) => 1,
                (_, false) => self.fetch.epoch.checked_add(1).unwrap_or(1),
            };
        }
        let mut brought = false;
        for topic in answer.responses {
            let number = match version < 13 {
                true => named(&topic.topic, asked.iter().map(|(tp, ..)| tp.topic)),
                false => self
                    .topics
                    .iter()
                    .find(|(_, id)| **id == topic.topic_id)
                    .map(|(number, _)| *number),
            };
            let Some(number) = number else {
                continue;
            };
            for told in topic.partitions {
                let tp = Tp {
                    topic: number,
                    index: told.partition_index,
                };
                if let Some((_, from, bounds)) = asked.iter().find(|(asked, _, _)| *asked == tp) {
                    brought |= self.partition_told(cx, tp, *from, *bounds, &told);
                }
            }
        }
        if !brought {
            let pause = self.settings.pause;
            self.not_before = self.not_before.max(cx.now + pause);
        }
    }

    /// Takes one partition's answer; true if it brought records.
    fn partition_told(
        &mut self,
        cx: &mut Cx<'_>,
        tp: Tp,
        from: i64,
        bounds: Bounds,
        told: &PartitionData,
    ) -> bool {
        let name = self.name();
        let Some(position) = self.positions.get_mut(&tp) else {
            return false;
        };
        if told.error_code == ErrorCode::OFFSET_OUT_OF_RANGE {
            let kept = cx.judge.kept_from(tp);
            let lives = cx.judge.topic(tp.topic) == Some(TopicState::Exists);
            let floor = bounds.promised;
            if (kept..=floor).contains(&from) && !cx.judge.retains(tp) && lives {
                cx.judge.violate(
                    Invariant::Lost,
                    format!("{name} asked {tp} for {from}, between {kept} and the promised {floor}, and it was out of range"),
                );
            }
            position.place = Place::Unknown;
            return false;
        }
        if told.error_code != ErrorCode::NONE {
            self.refused(cx, tp, told.error_code);
            return false;
        }
        position.heard = true;
        let block = told
            .records
            .as_ref()
            .map(|records| records.to_bytes())
            .unwrap_or_default();
        let records = match records::read(&block, from) {
            Ok(records) => records,
            Err(why) => {
                cx.judge.violate(
                    Invariant::Altered,
                    format!("{name} fetched {tp} from {from}: {why}"),
                );
                return false;
            }
        };
        if let Some(before) = position.high_watermark.replace(told.high_watermark) {
            cx.judge
                .high_watermarks(&name, tp, before, told.high_watermark);
        }
        if told.log_start_offset >= 0 {
            cx.judge.begins(&name, tp, told.log_start_offset, bounds);
        }
        let next = records.last().map_or(from, |record| record.offset + 1);
        position.place = Place::At(next);
        let poll = Poll {
            tp,
            from,
            bounds,
            high_watermark: told.high_watermark,
            records,
        };
        cx.judge.polled(&name, &poll);
        // What was promised while the answer travelled is read too, and what acks=1 answered before its sync is over.
        let caught_up = self.settings.verifies
            && poll.records.is_empty()
            && next >= told.high_watermark.max(cx.judge.standing_end(tp));
        if caught_up {
            position.done = true;
            cx.judge.read_to_end(tp, position.start, next);
        }
        !poll.records.is_empty()
    }
}

fn positions(partitions: &[Tp]) -> BTreeMap<Tp, Position> {
    partitions
        .iter()
        .map(|tp| {
            let position = Position {
                place: Place::Unknown,
                start: 0,
                high_watermark: None,
                heard: false,
                done: false,
            };
            (*tp, position)
        })
        .collect()
}
