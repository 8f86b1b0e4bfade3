//! An admin: creates the topics of the run, then creates, grows, lists and deletes some, and deletes records.
//!
//! Owns what it still has to do; one request at a time. What it was told goes to the judge; an answer that never came
//! leaves the judge in doubt, and it tries again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trialog_core::wire::create_partitions_request::CreatePartitionsTopic;
use trialog_core::wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use trialog_core::wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use trialog_core::wire::delete_topics_request::DeleteTopicState;
use trialog_core::wire::{
    ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, ErrorCode, MetadataRequest,
};

use super::session::{Happened, Profile, Session};
use super::{Cx, MILLISECOND, number_in, topic_name};
use crate::check::{Invariant, TopicNo, TopicRules, TopicState, Tp, next_of_name};
use crate::net::ToClient;

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its number.
    pub topic: TopicNo,
    /// How many partitions.
    pub partitions: i32,
    /// Its configuration.
    pub configs: Vec<(String, String)>,
}

/// One thing to do.
#[derive(Clone, Debug)]
enum Task {
    Create(NewTopic),
    Grow(TopicNo, i32),
    Delete(TopicNo),
    DeleteRecords(Tp, i64),
    List,
}

/// What kind of admin.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Created first, before anything else.
    pub topics: Vec<NewTopic>,
    /// Typical nanoseconds between two tasks.
    pub interval: u64,
    /// Topics whose records it may delete.
    pub trims: Vec<Tp>,
    /// Topics that it deletes at some time.
    pub doomed: Vec<TopicNo>,
    /// Does it create further topics, from this number on?
    pub creates_from: Option<TopicNo>,
}

impl Settings {
    /// A topic that was deleted, once more under its name, with other rules.
    fn reborn(&self, cx: &mut Cx<'_>) -> Option<NewTopic> {
        let doomed = self.doomed.iter().find_map(|doomed| {
            let newest = cx.judge.newest_of_name(*doomed)?;
            (cx.judge.topic(newest) == Some(TopicState::Gone)).then_some((*doomed, newest))
        });
        let (first, newest) = doomed?;
        let old = self.topics.iter().find(|new| new.topic == first)?;
        let configs = match cx.below(2, 8) {
            0 => old.configs.clone(),
            _ => Vec::new(),
        };
        Some(NewTopic {
            topic: next_of_name(newest),
            partitions: old.partitions,
            configs,
        })
    }
}

#[derive(Clone, Debug)]
struct Asked {
    task: Task,
    expected: Vec<(TopicNo, bool, i32)>,
}

/// An admin.
#[derive(Clone, Debug)]
pub struct Admin {
    settings: Settings,
    session: Session<Asked>,
    tasks: VecDeque<Task>,
    /// How often the first task was sent: an earlier attempt may have done it already.
    tried: u32,
    partitions: BTreeMap<TopicNo, i32>,
    created: u32,
    busy: bool,
    next: u64,
    stopped: bool,
    proven: bool,
}

impl Admin {
    /// An admin that starts at once.
    #[must_use]
    pub fn new(settings: Settings, profile: Profile) -> Admin {
        Admin {
            tasks: settings.topics.iter().cloned().map(Task::Create).collect(),
            settings,
            session: Session::new(profile),
            tried: 0,
            partitions: BTreeMap::new(),
            created: 0,
            busy: false,
            next: 0,
            stopped: false,
            proven: false,
        }
    }

    pub(super) fn name(&self) -> String {
        "the admin".to_owned()
    }

    pub(super) fn waits_for(&self) -> String {
        format!(
            "connected: {}, still to do: {:?}",
            self.session.is_up(),
            self.tasks
        )
    }

    pub(super) fn wind_down(&mut self, now: u64) {
        self.stopped = true;
        self.next = now;
        self.tasks.push_back(Task::List);
    }

    pub(super) fn rests(&self) -> bool {
        self.stopped && self.tasks.is_empty() && self.proven
    }

    pub(super) fn restart(&mut self, cx: &mut Cx<'_>) {
        self.session.restart(cx);
        self.busy = false;
    }

    pub(super) fn next_wake(&self) -> u64 {
        let wake = self.session.next_wake();
        match self.session.is_up() && !self.busy && !(self.stopped && self.tasks.is_empty()) {
            true => wake.min(self.next),
            false => wake,
        }
    }

    pub(super) fn happens(&mut self, cx: &mut Cx<'_>, event: Option<ToClient>) {
        for happened in self.session.happens(cx, event) {
            match happened {
                Happened::Up => {}
                Happened::Answer {
                    tag,
                    version,
                    frame,
                } => {
                    self.busy = false;
                    self.answered(cx, &tag, version, frame);
                }
                Happened::Lost(_) => self.busy = false,
            }
        }
        if self.session.is_up() && !self.busy && self.next <= cx.now {
            self.work(cx);
        }
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        if self.tasks.is_empty() && !self.stopped {
            let task = self.choose(cx);
            self.tasks.push_back(task);
        }
        let Some(task) = self.tasks.front().cloned() else {
            return;
        };
        let spread = cx.below(self.settings.interval, 1);
        self.next = match matches!(task, Task::Create(_)) {
            true => cx.now + MILLISECOND,
            false => cx.now + self.settings.interval / 2 + spread,
        };
        self.tried += 1;
        self.send(cx, task);
    }

    fn choose(&mut self, cx: &mut Cx<'_>) -> Task {
        match cx.below(10, 2) {
            0 | 1 if self.created < 6 => {
                if let Some(from) = self.settings.creates_from {
                    self.created += 1;
                    return Task::Create(NewTopic {
                        topic: from + self.created,
                        partitions: 1 + i32::try_from(cx.below(3, 3)).unwrap_or(0),
                        configs: Vec::new(),
                    });
                }
                Task::List
            }
            2 => {
                let topics: Vec<(TopicNo, i32)> = self
                    .partitions
                    .iter()
                    .filter(|(topic, count)| {
                        **count < 5 && cx.judge.topic(**topic) == Some(TopicState::Exists)
                    })
                    .map(|(topic, count)| (*topic, *count))
                    .collect();
                if topics.is_empty() {
                    return Task::List;
                }
                let (topic, count) = topics[cx.below(topics.len() as u64, 4) as usize];
                Task::Grow(topic, count + 1)
            }
            3 | 4 => {
                let doomed = self.settings.doomed.iter();
                let mut candidates: Vec<TopicNo> = doomed
                    .filter_map(|doomed| cx.judge.newest_of_name(*doomed))
                    .collect();
                if let Some(from) = self.settings.creates_from {
                    candidates.extend(from + 1..=from + self.created);
                }
                candidates.retain(|topic| cx.judge.topic(*topic) == Some(TopicState::Exists));
                match candidates.is_empty() {
                    true => Task::List,
                    false => {
                        Task::Delete(candidates[cx.below(candidates.len() as u64, 5) as usize])
                    }
                }
            }
            7 => self.settings.reborn(cx).map_or(Task::List, Task::Create),
            5 | 6 if !self.settings.trims.is_empty() => {
                let nth = cx.below(self.settings.trims.len() as u64, 6) as usize;
                let tp = self.settings.trims[nth];
                let (from, to) = (cx.judge.kept_from(tp), cx.judge.promised_end(tp));
                // Mostly a little, so that something is left to judge.
                let span = u64::try_from((to - from) / 3).unwrap_or(0);
                let offset = from + i64::try_from(cx.below(span + 1, 7)).unwrap_or(0);
                Task::DeleteRecords(tp, offset)
            }
            _ => Task::List,
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, task: Task) {
        let asked = Asked {
            task: task.clone(),
            expected: cx.judge.expected_topics(),
        };
        self.busy = match task {
            Task::Create(new) => {
                let rules = TopicRules::of(&new.configs);
                cx.judge.creating(new.topic, new.partitions, rules);
                let body = CreateTopicsRequest {
                    topics: vec![CreatableTopic {
                        name: topic_name(new.topic).into(),
                        num_partitions: new.partitions,
                        replication_factor: 1,
                        configs: new
                            .configs
                            .iter()
                            .map(|(name, value)| CreatableTopicConfig {
                                name: name.clone().into(),
                                value: Some(value.clone().into()),
                                ..Default::default()
                            })
                            .collect(),
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                self.session.request(cx, &body, asked)
            }
            Task::Grow(topic, count) => {
                cx.judge.growing(topic, count);
                let body = CreatePartitionsRequest {
                    topics: vec![CreatePartitionsTopic {
                        name: topic_name(topic).into(),
                        count,
                        assignments: None,
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                self.session.request(cx, &body, asked)
            }
            Task::Delete(topic) => {
                cx.judge.deleting(topic);
                let by_state = self
                    .session
                    .version(ApiKey::DeleteTopics)
                    .is_some_and(|version| version >= 6);
                let mut body = DeleteTopicsRequest {
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                match by_state {
                    true => body.topics.push(DeleteTopicState {
                        name: Some(topic_name(topic).into()),
                        ..Default::default()
                    }),
                    false => body.topic_names.push(topic_name(topic).into()),
                }
                self.session.request(cx, &body, asked)
            }
            Task::DeleteRecords(tp, offset) => {
                cx.judge.may_delete(tp, offset);
                let body = DeleteRecordsRequest {
                    topics: vec![DeleteRecordsTopic {
                        name: topic_name(tp.topic).into(),
                        partitions: vec![DeleteRecordsPartition {
                            partition_index: tp.index,
                            offset,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                self.session.request(cx, &body, asked)
            }
            Task::List => {
                let body = MetadataRequest {
                    topics: None,
                    allow_auto_topic_creation: self
                        .session
                        .version(ApiKey::Metadata)
                        .is_some_and(|version| version < 4),
                    ..Default::default()
                };
                self.session.request(cx, &body, asked)
            }
        };
    }

    fn answered(&mut self, cx: &mut Cx<'_>, asked: &Asked, version: i16, frame: Bytes) {
        match &asked.task {
            Task::Create(new) => {
                let answer = Session::<Asked>::decode::<CreateTopicsRequest>(cx, version, frame);
                let error = answer.and_then(|answer| Some(answer.topics.first()?.error_code));
                match error {
                    Some(ErrorCode::TOPIC_ALREADY_EXISTS) if self.tried > 1 => {
                        self.created(cx, new)
                    }
                    Some(ErrorCode::NONE) => self.created(cx, new),
                    Some(error) => self.refused(cx, &asked.task, error),
                    None => self.left_out(cx, &asked.task),
                }
            }
            Task::Grow(topic, count) => {
                let answer =
                    Session::<Asked>::decode::<CreatePartitionsRequest>(cx, version, frame);
                let error = answer.and_then(|answer| Some(answer.results.first()?.error_code));
                match error {
                    Some(ErrorCode::INVALID_PARTITIONS) if self.tried > 1 => {
                        self.grown(cx, *topic, *count);
                    }
                    Some(ErrorCode::NONE) => self.grown(cx, *topic, *count),
                    Some(error) => self.refused(cx, &asked.task, error),
                    None => self.left_out(cx, &asked.task),
                }
            }
            Task::Delete(topic) => {
                let answer = Session::<Asked>::decode::<DeleteTopicsRequest>(cx, version, frame);
                let error = answer.and_then(|answer| Some(answer.responses.first()?.error_code));
                match error {
                    Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) if self.tried > 1 => {
                        self.deleted(cx, *topic);
                    }
                    Some(ErrorCode::NONE) => self.deleted(cx, *topic),
                    Some(error) => self.refused(cx, &asked.task, error),
                    None => self.left_out(cx, &asked.task),
                }
            }
            Task::DeleteRecords(tp, offset) => {
                let answer = Session::<Asked>::decode::<DeleteRecordsRequest>(cx, version, frame);
                let told = answer
                    .and_then(|answer| Some(answer.topics.first()?.partitions.first()?.clone()));
                match told {
                    Some(told) if told.error_code == ErrorCode::NONE => {
                        if told.low_watermark < *offset {
                            cx.judge.violate(
                                Invariant::Protocol,
                                format!("records of {tp} below {offset} were deleted, and the log begins at {}", told.low_watermark),
                            );
                        }
                        cx.judge.records_deleted(*tp, told.low_watermark);
                        self.done(cx);
                    }
                    Some(_) if cx.judge.is_rotten(*tp) => self.done(cx),
                    Some(told) => self.refused(cx, &asked.task, told.error_code),
                    None => self.left_out(cx, &asked.task),
                }
            }
            Task::List => {
                if let Some(answer) =
                    Session::<Asked>::decode::<MetadataRequest>(cx, version, frame)
                {
                    let listed = answer
                        .topics
                        .iter()
                        .filter(|topic| topic.error_code == ErrorCode::NONE)
                        .filter_map(|topic| {
                            let name = number_in(topic.name.as_deref()?)?;
                            let number = cx.judge.newest_of_name(name).unwrap_or(name);
                            Some((number, i32::try_from(topic.partitions.len()).ok()?))
                        })
                        .collect();
                    cx.judge.listed("the admin", &listed, &asked.expected);
                    self.tasks.pop_front();
                    self.tried = 0;
                    self.proven |= self.stopped;
                }
            }
        }
    }

    fn created(&mut self, cx: &mut Cx<'_>, new: &NewTopic) {
        self.grown(cx, new.topic, new.partitions);
    }

    fn grown(&mut self, cx: &mut Cx<'_>, topic: TopicNo, partitions: i32) {
        cx.judge.created(topic, partitions);
        self.partitions.insert(topic, partitions);
        self.done(cx);
    }

    fn deleted(&mut self, cx: &mut Cx<'_>, topic: TopicNo) {
        cx.judge.deleted(topic);
        self.partitions.remove(&topic);
        self.done(cx);
        // Some cannot wait to have it again.
        if !self.stopped
            && cx.below(2, 9) == 0
            && let Some(again) = self.settings.reborn(cx)
        {
            self.tasks.push_back(Task::Create(again));
            self.next = cx.now;
        }
    }

    fn done(&mut self, cx: &mut Cx<'_>) {
        cx.judge.acknowledged();
        self.tasks.pop_front();
        self.tried = 0;
    }

    fn left_out(&mut self, cx: &mut Cx<'_>, task: &Task) {
        cx.judge.violate(
            Invariant::Protocol,
            format!("the answer to {task:?} leaves it out"),
        );
    }

    fn refused(&mut self, cx: &mut Cx<'_>, task: &Task, error: ErrorCode) {
        if error.is_retriable() && error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            self.next = cx.now + 100 * MILLISECOND;
            return;
        }
        cx.judge.violate(
            Invariant::Replay,
            format!("{task:?} was answered by {error}"),
        );
    }
}
