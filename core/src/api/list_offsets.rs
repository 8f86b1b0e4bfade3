//! ListOffsets, versions 1 to 11: the ends of a log, and offsets by time.
//!
//! Owns a request from its arrival to its answer; some lookups must read from disk. Without tiered storage nothing was ever moved: the
//! timestamps that ask about it find nothing.

use std::collections::BTreeMap;

use super::connection::Answer;
use super::{Api, Asked, Rooms, Waiting};
use crate::ids::{LeaderEpoch, LogId, Offset, PartitionIndex};
use crate::io::Cx;
use crate::log::{FoundTimestamp, LookupOutcome, ReadError, ReadId, TimestampQuery};
use crate::situation::Situation;
use crate::wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::wire::{ErrorCode, ListOffsetsRequest, ListOffsetsResponse, Str};
use crate::work::TimestampTarget;

/// "The end": the last offset that the asker may read, plus one.
const LATEST: i64 = -1;
/// "The start".
const EARLIEST: i64 = -2;
/// "The record with the greatest timestamp". KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// "The start of what is on this disk". KIP-405.
const EARLIEST_LOCAL: i64 = -4;
/// "The last offset in tiered storage". KIP-1005.
const LATEST_TIERED: i64 = -5;
/// "The first offset that is still to be moved there". KIP-1023.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version that each special timestamp may be asked in.
const SINCE: [(i64, i16); 6] = [
    (LATEST, 1),
    (EARLIEST, 1),
    (MAX_TIMESTAMP, 7),
    (EARLIEST_LOCAL, 8),
    (LATEST_TIERED, 9),
    (EARLIEST_PENDING_UPLOAD, 11),
];
/// The first version whose answers have a leader epoch. KIP-320.
const EPOCH_SINCE: i16 = 4;
/// The first version in which OFFSET_NOT_AVAILABLE is known. KIP-207.
const NOT_AVAILABLE_SINCE: i16 = 5;
/// `replica_id` of a consumer.
const CONSUMER: i32 = -1;

/// A request that waits for the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListOffsetsWait {
    asked: Asked,
    response: ListOffsetsResponse,
    /// Lookups that have not ended: where in the answer they belong.
    lookups: BTreeMap<ReadId, Place>,
}

/// A partition of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    topic: usize,
    partition: usize,
    /// What to say if there is no such record.
    nothing: ErrorCode,
}

enum Found {
    Answer(ListOffsetsPartitionResponse),
    Later(ReadId, ErrorCode),
}

impl Api {
    /// Begins a request.
    pub(super) fn begin_list_offsets(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: ListOffsetsRequest,
    ) {
        if !super::is_isolation_level(request.isolation_level) {
            let response = all_failed(request, ErrorCode::UNKNOWN_SERVER_ERROR);
            return self.reply(cx, asked, &response);
        }
        let mut mentions: BTreeMap<(Str, i32), u32> = BTreeMap::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let name = (topic.name.clone(), partition.partition_index);
                *mentions.entry(name).or_default() += 1;
            }
        }
        let mut wait = ListOffsetsWait {
            asked,
            response: ListOffsetsResponse::default(),
            lookups: BTreeMap::new(),
        };
        let mut places: BTreeMap<Str, usize> = BTreeMap::new();
        for topic in request.topics {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            // A topic that is named again goes on where it began.
            let topics = &mut wait.response.topics;
            let place = *places.entry(topic.name.clone()).or_insert(topics.len());
            let before = topics.get(place).map_or(0, |topic| topic.partitions.len());
            for partition in topic.partitions {
                let index = PartitionIndex(partition.partition_index);
                let mentioned = mentions.remove(&(topic.name.clone(), index.0));
                let found = match mentioned {
                    None => continue,
                    Some(1) => rooms.list_offset(
                        cx,
                        asked.version,
                        request.replica_id,
                        &topic.name,
                        index,
                        partition.current_leader_epoch,
                        partition.timestamp,
                    ),
                    Some(_) => Err(ErrorCode::INVALID_REQUEST),
                };
                match found {
                    Ok(Found::Answer(answer)) => answers.push(answer),
                    Ok(Found::Later(read, nothing)) => {
                        let place = Place {
                            topic: place,
                            partition: before + answers.len(),
                            nothing,
                        };
                        wait.lookups.insert(read, place);
                        answers.push(nothing_found(index, ErrorCode::NONE));
                    }
                    Err(error) => answers.push(nothing_found(index, error)),
                }
            }
            match wait.response.topics.get_mut(place) {
                Some(earlier) => earlier.partitions.append(&mut answers),
                None => wait.response.topics.push(ListOffsetsTopicResponse {
                    name: topic.name,
                    partitions: answers,
                    ..Default::default()
                }),
            }
        }
        if wait.lookups.is_empty() {
            return self.reply(cx, asked, &wait.response);
        }
        for read in wait.lookups.keys() {
            self.reads.insert(*read, (asked.id, 0));
        }
        self.requests.insert(asked.id, Waiting::ListOffsets(wait));
    }

    /// The peer is gone: nobody waits for the lookups.
    pub(super) fn abandon_list_offsets(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        wait: ListOffsetsWait,
    ) {
        for read in wait.lookups.into_keys() {
            self.reads.remove(&read);
            rooms.store.give_up_read(cx, read);
        }
        self.connections
            .finish(wait.asked.id, Answer::Silent, cx.out);
    }

    /// A lookup has ended.
    pub fn on_lookup(
        &mut self,
        cx: &mut Cx,
        read: ReadId,
        outcome: Result<Option<FoundTimestamp>, ReadError>,
    ) {
        let Some((id, _)) = self.reads.remove(&read) else {
            return;
        };
        let Some(Waiting::ListOffsets(wait)) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(place) = wait.lookups.remove(&read) else {
            return;
        };
        let topic = &mut wait.response.topics[place.topic];
        let partition = &mut topic.partitions[place.partition];
        let index = PartitionIndex(partition.partition_index);
        *partition = match outcome {
            Ok(Some(record)) => found(wait.asked.version, index, record),
            Ok(None) => nothing_found(index, place.nothing),
            Err(error) => nothing_found(index, ErrorCode(error.code())),
        };
        if wait.lookups.is_empty()
            && let Some(Waiting::ListOffsets(wait)) = self.requests.remove(&id)
        {
            self.reply(cx, wait.asked, &wait.response);
        }
    }
}

impl ListOffsetsWait {
    /// Tells what it waits for.
    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(2);
        for topic in &self.response.topics {
            out.bytes(topic.name.as_bytes());
            for partition in &topic.partitions {
                out.number(i64::from(partition.partition_index));
                out.number(partition.offset);
            }
        }
        for place in self.lookups.values() {
            out.count(place.topic);
            out.count(place.partition);
        }
    }
}

impl Rooms {
    #[allow(clippy::too_many_arguments)]
    fn list_offset(
        &mut self,
        cx: &mut Cx,
        version: i16,
        replica_id: i32,
        topic: &Str,
        index: PartitionIndex,
        current_leader_epoch: i32,
        timestamp: i64,
    ) -> Result<Found, ErrorCode> {
        let special = SINCE.iter().find(|(special, _)| *special == timestamp);
        if timestamp < 0 && special.is_none_or(|(_, since)| version < *since) {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let log = self.log_of(topic, index)?;
        let Some(partition) = self.partitions.of(log) else {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        let epoch = LeaderEpoch(current_leader_epoch);
        let epoch = (epoch != LeaderEpoch::NONE).then_some(epoch);
        partition.usable(epoch)?;
        let view = self.view(log)?;
        let consumer = replica_id == CONSUMER;
        let readable = if consumer {
            partition.high_watermark()
        } else {
            view.end
        };
        // The end is not known while the high watermark is below where this leader's epoch began. KIP-207.
        let nothing = if !(consumer && partition.epoch_start() > partition.high_watermark()) {
            ErrorCode::NONE
        } else if version >= NOT_AVAILABLE_SINCE {
            ErrorCode::OFFSET_NOT_AVAILABLE
        } else {
            ErrorCode::LEADER_NOT_AVAILABLE
        };
        let leader_epoch = partition.assignment().leader_epoch;
        let at = |offset: Offset, epoch: Option<LeaderEpoch>| {
            let record = FoundTimestamp {
                timestamp: -1,
                offset,
                epoch: epoch.unwrap_or(LeaderEpoch::NONE),
            };
            Ok(Found::Answer(found(version, index, record)))
        };
        let target = match timestamp {
            LATEST if nothing != ErrorCode::NONE => return Err(nothing),
            LATEST => return at(readable, Some(leader_epoch)),
            EARLIEST | EARLIEST_LOCAL => {
                return at(view.start, Some(self.store.epoch_at(log, view.start)));
            }
            LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return at(Offset(-1), None),
            MAX_TIMESTAMP => TimestampTarget::Max,
            timestamp => TimestampTarget::AtLeast(timestamp),
        };
        let query = TimestampQuery {
            target,
            below: readable,
        };
        self.look_up(cx, log, version, index, query, nothing)
    }

    fn look_up(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        version: i16,
        index: PartitionIndex,
        query: TimestampQuery,
        nothing: ErrorCode,
    ) -> Result<Found, ErrorCode> {
        let outcome = self.store.lookup_timestamp(cx, log, query);
        match outcome.map_err(|error| ErrorCode(error.code()))? {
            LookupOutcome::Ready(Some(record)) => Ok(Found::Answer(found(version, index, record))),
            LookupOutcome::Ready(None) => Ok(Found::Answer(nothing_found(index, nothing))),
            LookupOutcome::Later(read) => Ok(Found::Later(read, nothing)),
        }
    }
}

/// The same error for everything that was asked.
fn all_failed(request: ListOffsetsRequest, error: ErrorCode) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let indexes = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        ListOffsetsTopicResponse {
            name: topic.name,
            partitions: indexes
                .map(|index| nothing_found(PartitionIndex(index), error))
                .collect(),
            ..Default::default()
        }
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn found(
    version: i16,
    index: PartitionIndex,
    record: FoundTimestamp,
) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index.0,
        timestamp: record.timestamp,
        offset: record.offset.0,
        leader_epoch: if version >= EPOCH_SINCE {
            record.epoch.0
        } else {
            -1
        },
        ..Default::default()
    }
}

fn nothing_found(index: PartitionIndex, error_code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index.0,
        error_code,
        ..Default::default()
    }
}
