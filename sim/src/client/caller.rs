//! A client that makes one call at a time and tells the answer as a line of text: the hand of scripted scenarios.
//!
//! Owns the present call. It never repeats one: a story says itself what happens next.

use std::collections::BTreeMap;

use bytes::Bytes;
use trialog_core::ids::{ProducerId, Uuid};
use trialog_core::wire::batch::{self, BatchOptions, RecordToWrite, encode_batch};
use trialog_core::wire::create_partitions_request::CreatePartitionsTopic;
use trialog_core::wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use trialog_core::wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use trialog_core::wire::delete_topics_request::DeleteTopicState;
use trialog_core::wire::fetch_request::{FetchPartition, FetchTopic};
use trialog_core::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use trialog_core::wire::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use trialog_core::wire::produce_request::{PartitionProduceData, TopicProduceData};
use trialog_core::wire::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    ErrorCode, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};

use super::records;
use super::session::{Happened, Profile, Session};
use super::{Cx, MILLISECOND, SECOND};
use crate::net::ToClient;

/// Who an idempotent batch is from.
pub type Writer = records::Writer;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Create a topic.
    Create {
        /// Its name.
        topic: String,
        /// How many partitions.
        partitions: i32,
        /// Its configuration.
        configs: Vec<(String, String)>,
    },
    /// Delete a topic.
    Delete(String),
    /// Give a topic so many partitions.
    Grow(String, i32),
    /// List all topics.
    List,
    /// Append one batch.
    Produce {
        /// Where.
        tp: (String, i32),
        /// The values.
        values: Vec<String>,
        /// Their timestamps begin here …
        timestamp: i64,
        /// … and go on by so many milliseconds.
        step: i64,
        /// -1, 0 or 1.
        acks: i16,
        /// Of an idempotent producer.
        writer: Option<Writer>,
    },
    /// Read a partition.
    Read {
        /// Which.
        tp: (String, i32),
        /// From where.
        from: i64,
    },
    /// Look up an offset: -2 earliest, -1 latest, -3 greatest timestamp, else the first at or after a time.
    Offset {
        /// Of which partition.
        tp: (String, i32),
        /// What for.
        timestamp: i64,
    },
    /// Delete the records below an offset.
    Trim {
        /// Of which partition.
        tp: (String, i32),
        /// The first that stays.
        offset: i64,
    },
    /// Get a producer id.
    Init,
    /// Where did a leader's epoch end?
    Epoch {
        /// Of which partition.
        tp: (String, i32),
        /// Which epoch.
        epoch: i32,
    },
}

/// The caller.
#[derive(Clone, Debug)]
pub struct Caller {
    session: Session<Call>,
    topics: BTreeMap<String, Uuid>,
    waiting: Option<Call>,
    answer: Option<String>,
}

impl Default for Caller {
    fn default() -> Caller {
        Caller::new()
    }
}

impl Caller {
    /// A caller that has nothing to say.
    #[must_use]
    pub fn new() -> Caller {
        let profile = Profile {
            age: 0,
            request_timeout: 30 * SECOND,
            backoff: 20 * MILLISECOND,
        };
        Caller {
            session: Session::new(profile),
            topics: BTreeMap::new(),
            waiting: None,
            answer: None,
        }
    }

    /// Makes a call as soon as there is a connection.
    pub fn call(&mut self, call: Call) {
        self.waiting = Some(call);
        self.answer = None;
    }

    /// Is there a call that it has not sent yet?
    pub fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Learns the topics that another caller created.
    pub fn learn(&mut self, other: &Caller) {
        self.topics.clone_from(&other.topics);
    }

    /// The answer to the last call, once.
    pub fn answer(&mut self) -> Option<String> {
        self.answer.take()
    }

    pub(super) fn name(&self) -> String {
        "the caller".to_owned()
    }

    pub(super) fn restart(&mut self, cx: &mut Cx<'_>) {
        self.session.restart(cx);
    }

    pub(super) fn next_wake(&self) -> u64 {
        match self.waiting.is_some() && self.session.is_up() {
            true => 0,
            false => self.session.next_wake(),
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
                } => self.answer = Some(self.told(cx, &tag, version, frame)),
                Happened::Lost(calls) => {
                    if !calls.is_empty() {
                        self.answer = Some("the connection was lost".to_owned());
                    }
                }
            }
        }
        if self.session.is_up()
            && let Some(call) = self.waiting.take()
        {
            self.send(cx, call);
        }
    }

    fn topic_id(&self, name: &str) -> Uuid {
        self.topics.get(name).copied().unwrap_or_default()
    }

    fn send(&mut self, cx: &mut Cx<'_>, call: Call) {
        match call.clone() {
            Call::Create {
                topic,
                partitions,
                configs,
            } => {
                let configs = configs
                    .into_iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: name.into(),
                        value: Some(value.into()),
                        ..Default::default()
                    })
                    .collect();
                let body = CreateTopicsRequest {
                    topics: vec![CreatableTopic {
                        name: topic.into(),
                        num_partitions: partitions,
                        replication_factor: 1,
                        configs,
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Delete(topic) => {
                let body = DeleteTopicsRequest {
                    topics: vec![DeleteTopicState {
                        name: Some(topic.into()),
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Grow(topic, count) => {
                let body = CreatePartitionsRequest {
                    topics: vec![CreatePartitionsTopic {
                        name: topic.into(),
                        count,
                        assignments: None,
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::List => {
                let body = MetadataRequest {
                    topics: None,
                    allow_auto_topic_creation: false,
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Produce {
                tp,
                values,
                timestamp,
                step,
                acks,
                writer,
            } => {
                let records: Vec<RecordToWrite> = (0..)
                    .zip(values)
                    .map(|(nth, value)| RecordToWrite {
                        timestamp: timestamp + nth * step,
                        value: Some(Bytes::from(value)),
                        ..RecordToWrite::default()
                    })
                    .collect();
                let options = writer.map_or_else(BatchOptions::default, |writer| BatchOptions {
                    producer_id: ProducerId(writer.producer_id),
                    producer_epoch: writer.epoch,
                    base_sequence: writer.sequence,
                    ..BatchOptions::default()
                });
                let body = ProduceRequest {
                    acks,
                    timeout_ms: 10_000,
                    topic_data: vec![TopicProduceData {
                        topic_id: self.topic_id(&tp.0),
                        name: tp.0.into(),
                        partition_data: vec![PartitionProduceData {
                            index: tp.1,
                            records: Some(encode_batch(options, &records)),
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                if acks == 0 {
                    self.session.request_without_answer(cx, &body);
                    self.answer = Some("sent".to_owned());
                } else {
                    self.session.request(cx, &body, call);
                }
            }
            Call::Read { tp, from } => {
                let body = FetchRequest {
                    replica_id: -1,
                    max_wait_ms: 0,
                    max_bytes: 1 << 20,
                    topics: vec![FetchTopic {
                        topic_id: self.topic_id(&tp.0),
                        topic: tp.0.into(),
                        partitions: vec![FetchPartition {
                            partition: tp.1,
                            fetch_offset: from,
                            partition_max_bytes: 1 << 20,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Offset { tp, timestamp } => {
                let body = ListOffsetsRequest {
                    replica_id: -1,
                    topics: vec![ListOffsetsTopic {
                        name: tp.0.into(),
                        partitions: vec![ListOffsetsPartition {
                            partition_index: tp.1,
                            timestamp,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Trim { tp, offset } => {
                let body = DeleteRecordsRequest {
                    topics: vec![DeleteRecordsTopic {
                        name: tp.0.into(),
                        partitions: vec![DeleteRecordsPartition {
                            partition_index: tp.1,
                            offset,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Epoch { tp, epoch } => {
                let body = OffsetForLeaderEpochRequest {
                    replica_id: -1,
                    topics: vec![OffsetForLeaderTopic {
                        topic: tp.0.into(),
                        partitions: vec![OffsetForLeaderPartition {
                            partition: tp.1,
                            current_leader_epoch: -1,
                            leader_epoch: epoch,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
            Call::Init => {
                let body = InitProducerIdRequest {
                    transactional_id: None,
                    transaction_timeout_ms: i32::MAX,
                    ..Default::default()
                };
                self.session.request(cx, &body, call);
            }
        }
    }

    fn told(&mut self, cx: &mut Cx<'_>, call: &Call, version: i16, frame: Bytes) -> String {
        self.read_answer(cx, call, version, frame)
            .unwrap_or_else(|| "an answer that cannot be read".to_owned())
    }

    fn read_answer(
        &mut self,
        cx: &mut Cx<'_>,
        call: &Call,
        version: i16,
        frame: Bytes,
    ) -> Option<String> {
        type S = Session<Call>;
        let or = |error: ErrorCode, good: String| match error {
            ErrorCode::NONE => good,
            error => error.to_string(),
        };
        Some(match call {
            Call::Create { topic, .. } => {
                let answer = S::decode::<CreateTopicsRequest>(cx, version, frame)?;
                let told = answer.topics.first()?;
                if told.error_code == ErrorCode::NONE {
                    self.topics.insert(topic.clone(), told.topic_id);
                }
                or(told.error_code, "created".to_owned())
            }
            Call::Delete(_) => {
                let answer = S::decode::<DeleteTopicsRequest>(cx, version, frame)?;
                or(answer.responses.first()?.error_code, "deleted".to_owned())
            }
            Call::Grow(..) => {
                let answer = S::decode::<CreatePartitionsRequest>(cx, version, frame)?;
                or(answer.results.first()?.error_code, "grown".to_owned())
            }
            Call::List => {
                let answer = S::decode::<MetadataRequest>(cx, version, frame)?;
                let lines: Vec<String> = answer
                    .topics
                    .iter()
                    .map(|topic| {
                        let name = topic.name.as_deref().unwrap_or("?");
                        let count = topic.partitions.len();
                        let good = format!("{name}: {count} partitions");
                        or(topic.error_code, good)
                    })
                    .collect();
                match lines.is_empty() {
                    true => "no topics".to_owned(),
                    false => lines.join("\n"),
                }
            }
            Call::Produce { .. } => {
                let answer = S::decode::<ProduceRequest>(cx, version, frame)?;
                let told = answer.responses.first()?.partition_responses.first()?;
                or(told.error_code, format!("offset {}", told.base_offset))
            }
            Call::Read { from, .. } => {
                let answer = S::decode::<FetchRequest>(cx, version, frame)?;
                if answer.error_code != ErrorCode::NONE {
                    return Some(answer.error_code.to_string());
                }
                let told = answer.responses.first()?.partitions.first()?;
                let block = told.records.as_ref().map(|records| records.to_bytes());
                let mut lines = values(&block.unwrap_or_default(), *from);
                lines.push(format!("high watermark {}", told.high_watermark));
                or(told.error_code, lines.join("\n"))
            }
            Call::Offset { .. } => {
                let answer = S::decode::<ListOffsetsRequest>(cx, version, frame)?;
                let told = answer.topics.first()?.partitions.first()?;
                or(
                    told.error_code,
                    match told.offset {
                        -1 => "none".to_owned(),
                        offset => format!("offset {offset} timestamp {}", told.timestamp),
                    },
                )
            }
            Call::Trim { .. } => {
                let answer = S::decode::<DeleteRecordsRequest>(cx, version, frame)?;
                let told = answer.topics.first()?.partitions.first()?;
                or(told.error_code, format!("begins at {}", told.low_watermark))
            }
            Call::Epoch { .. } => {
                let answer = S::decode::<OffsetForLeaderEpochRequest>(cx, version, frame)?;
                let told = answer.topics.first()?.partitions.first()?;
                let good = format!("epoch {} ends at {}", told.leader_epoch, told.end_offset);
                or(told.error_code, good)
            }
            Call::Init => {
                let answer = S::decode::<InitProducerIdRequest>(cx, version, frame)?;
                let good = format!(
                    "producer id {} epoch {}",
                    answer.producer_id, answer.producer_epoch
                );
                or(answer.error_code, good)
            }
        })
    }
}

/// One line a record from `from` on.
fn values(block: &Bytes, from: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for view in batch::batches(block) {
        match view {
            Ok(view) if view.header.crc == batch::checksum(&view.bytes) => {
                match records::values(&view) {
                    Some(values) => lines.extend(
                        values
                            .into_iter()
                            .filter(|(offset, _)| *offset >= from)
                            .map(|(offset, value)| {
                                format!("{offset} {}", String::from_utf8_lossy(&value))
                            }),
                    ),
                    None => lines.push("records that cannot be read".to_owned()),
                }
            }
            Ok(view) => lines.push(format!("a damaged batch at {}", view.header.base_offset)),
            Err(batch::BatchError::Short { .. }) => {}
            Err(error) => lines.push(format!("no batch: {error:?}")),
        }
    }
    lines
}
