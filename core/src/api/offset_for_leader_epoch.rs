//! OffsetForLeaderEpoch, versions 2 to 4: where an epoch of the log ends (KIP-101, KIP-279, KIP-320).
//!
//! Answers at once from the epochs that the log keeps in memory.

use super::{Api, Asked, Rooms};
use crate::ids::{LeaderEpoch, PartitionIndex};
use crate::io::Cx;
use crate::wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::wire::{ErrorCode, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, Str};

impl Api {
    /// Answers a request.
    pub(super) fn offset_for_leader_epoch(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: OffsetForLeaderEpochRequest,
    ) {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = PartitionIndex(partition.partition);
                let known = LeaderEpoch(partition.current_leader_epoch);
                let known = (known != LeaderEpoch::NONE).then_some(known);
                let wanted = LeaderEpoch(partition.leader_epoch);
                let found = rooms.epoch_end(&topic.topic, index, known, wanted);
                EpochEndOffset {
                    partition: index.0,
                    ..found.unwrap_or_else(|error_code| EpochEndOffset {
                        error_code,
                        ..Default::default()
                    })
                }
            });
            OffsetForLeaderTopicResult {
                partitions: partitions.collect(),
                topic: topic.topic.clone(),
                ..Default::default()
            }
        });
        let response = OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..Default::default()
        };
        self.reply(cx, asked, &response);
    }
}

impl Rooms {
    fn epoch_end(
        &self,
        topic: &Str,
        index: PartitionIndex,
        known: Option<LeaderEpoch>,
        wanted: LeaderEpoch,
    ) -> Result<EpochEndOffset, ErrorCode> {
        let log = self.log_of(topic, index)?;
        let partition = self.partitions.of(log);
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.usable(known)?;
        let (epoch, end) = self.store.epoch_end_offset(log, wanted);
        Ok(EpochEndOffset {
            leader_epoch: epoch.0,
            end_offset: end.0,
            ..Default::default()
        })
    }
}
