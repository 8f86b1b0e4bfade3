//! DeleteRecords, versions 0 to 2: moves the start of a log up (KIP-107).
//!
//! Owns a request from its arrival to its answer: a partition is answered when its new start is durable. Never removes a
//! byte: the log does, when whole segments lie before the start.

use std::collections::{BTreeMap, BTreeSet};

use super::{Api, Asked, Rooms, Waiting};
use crate::controller::is_internal_topic;
use crate::ids::{LogId, Offset, PartitionIndex, RequestId};
use crate::io::Cx;
use crate::situation::Situation;
use crate::time::Instant;
use crate::wire::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use crate::wire::{DeleteRecordsRequest, DeleteRecordsResponse, ErrorCode, Str};

/// "Up to the high watermark".
const HIGH_WATERMARK: i64 = -1;

/// A request that waits for durable starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeleteRecordsWait {
    asked: Asked,
    deadline: Instant,
    response: DeleteRecordsResponse,
    /// Partitions that are not done: their log, and where in the answer they belong.
    open: BTreeSet<(LogId, usize, usize)>,
}

enum Deletion {
    Done(Offset),
    Later(LogId),
}

impl Api {
    /// Begins a request.
    pub(super) fn begin_delete_records(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: DeleteRecordsRequest,
    ) {
        let mut wait = DeleteRecordsWait {
            asked,
            deadline: cx.now.mono + super::millis(request.timeout_ms),
            response: DeleteRecordsResponse::default(),
            open: BTreeSet::new(),
        };
        for (topic, offsets) in last_mentions(request) {
            let mut partitions = Vec::with_capacity(offsets.len());
            for (index, offset) in offsets {
                let deletion = rooms.delete_records(cx, &topic, index, offset, asked.id);
                let (low_watermark, error_code) = match deletion {
                    Ok(Deletion::Done(start)) => (start.0, ErrorCode::NONE),
                    Ok(Deletion::Later(log)) => {
                        let place = (log, wait.response.topics.len(), partitions.len());
                        wait.open.insert(place);
                        (-1, ErrorCode::REQUEST_TIMED_OUT)
                    }
                    Err(error) => (-1, error),
                };
                partitions.push(DeleteRecordsPartitionResult {
                    partition_index: index.0,
                    low_watermark,
                    error_code,
                    ..Default::default()
                });
            }
            wait.response.topics.push(DeleteRecordsTopicResult {
                name: topic,
                partitions,
                ..Default::default()
            });
        }
        if wait.open.is_empty() {
            return self.reply(cx, asked, &wait.response);
        }
        self.timers.insert((wait.deadline, asked.id));
        self.requests.insert(asked.id, Waiting::DeleteRecords(wait));
    }

    /// A partition's start is durable where `request` wanted it, or the partition is lost to it.
    pub(super) fn start_moved(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        request: RequestId,
        log: LogId,
    ) {
        let Some(Waiting::DeleteRecords(wait)) = self.requests.get_mut(&request) else {
            return;
        };
        let outcome = match rooms.partitions.of(log) {
            None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(partition) => partition.usable(None).map(|()| partition.durable_start()),
        };
        while let Some(place) = wait.open.range((log, 0, 0)..).next().copied() {
            let (of, topic, partition) = place;
            if of != log {
                break;
            }
            wait.open.remove(&place);
            let result = &mut wait.response.topics[topic].partitions[partition];
            match outcome {
                Ok(start) => {
                    result.low_watermark = start.0;
                    result.error_code = ErrorCode::NONE;
                }
                Err(error) => result.error_code = error,
            }
        }
        if wait.open.is_empty()
            && let Some(Waiting::DeleteRecords(wait)) = self.requests.remove(&request)
        {
            self.timers.remove(&(wait.deadline, request));
            self.reply(cx, wait.asked, &wait.response);
        }
    }

    /// The client waits no longer: what is not durable is told so.
    pub(super) fn expire_delete_records(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        wait: DeleteRecordsWait,
    ) {
        for (log, _, _) in &wait.open {
            if let Some(partition) = rooms.partitions.of_mut(*log) {
                partition.forget_start(wait.asked.id);
            }
        }
        self.reply(cx, wait.asked, &wait.response);
    }
}

/// The offset that each partition was named with last, as with Kafka.
fn last_mentions(request: DeleteRecordsRequest) -> BTreeMap<Str, BTreeMap<PartitionIndex, i64>> {
    let mut topics: BTreeMap<Str, BTreeMap<PartitionIndex, i64>> = BTreeMap::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let offsets = topics.entry(topic.name.clone()).or_default();
            offsets.insert(PartitionIndex(partition.partition_index), partition.offset);
        }
    }
    topics
}

impl DeleteRecordsWait {
    /// Tells what it waits for.
    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(3);
        out.moment(self.deadline);
        for topic in &self.response.topics {
            out.bytes(topic.name.as_bytes());
        }
        for (_, topic, partition) in &self.open {
            out.count(*topic);
            out.count(*partition);
        }
    }
}

impl Rooms {
    fn delete_records(
        &mut self,
        cx: &mut Cx,
        topic: &Str,
        index: PartitionIndex,
        offset: i64,
        request: RequestId,
    ) -> Result<Deletion, ErrorCode> {
        let log = self.log_of(topic, index)?;
        if is_internal_topic(topic) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        let config = self.view(log)?.config;
        let policy = config.compact && !config.delete;
        let partition = self.partitions.of_mut(log);
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.usable(None)?;
        if policy {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let high_watermark = partition.high_watermark();
        let to = if offset == HIGH_WATERMARK {
            high_watermark
        } else {
            Offset(offset)
        };
        if to < Offset(0) || to > high_watermark {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if to <= partition.durable_start() {
            return Ok(Deletion::Done(partition.durable_start()));
        }
        partition.await_start(to, request);
        if let Err(error) = self.store.delete_records(cx, log, to) {
            partition.forget_start(request);
            return Err(ErrorCode(error.code()));
        }
        Ok(Deletion::Later(log))
    }
}
