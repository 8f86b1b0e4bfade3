//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords.

use super::fetch::{FetchAsk, fetch};
use super::{Pair, Side, four_batches, name, records};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};

/// Where logs begin and end, and what is cut off.
pub fn offsets_and_epochs(pair: &mut Pair) {
    let sent = four_batches();
    pair.both(|side| records(side, &sent));
    let at = |topic: &'static str, partition, epoch, timestamp| {
        move |_: &Side, version: i16| {
            let part = ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_timestamp(timestamp);
            let part = if version >= 4 {
                part.with_current_leader_epoch(epoch)
            } else {
                part
            };
            let topic = ListOffsetsTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![part]);
            ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic])
        }
    };
    for special in [-1, -2, -3, -4, -5, -6, -7] {
        pair.every_version(
            &format!("ListOffsets at {special}"),
            at("t", 0, -1, special),
        );
        pair.every_version(
            &format!("ListOffsets of an empty partition at {special}"),
            at("t", 1, -1, special),
        );
    }
    let time = |n: usize| i64::from_be_bytes(sent[n][27..35].try_into().expect("eight bytes"));
    for (case, timestamp) in [
        ("0", 0),
        ("the first record", time(0)),
        ("the third batch", time(2)),
        ("just before it", time(2) - 1),
        ("the last", time(3)),
        ("the future", time(3) + 1_000_000),
    ] {
        pair.every_version(
            &format!("ListOffsets at the time of {case}"),
            at("t", 0, -1, timestamp),
        );
    }
    pair.every_version("ListOffsets of an unknown partition", at("t", 9, -1, -1));
    pair.every_version("ListOffsets of an unknown topic", at("unknown", 0, -1, -1));
    pair.every_version("ListOffsets with the leader's epoch", at("t", 0, 0, -1));
    pair.every_version("ListOffsets with an epoch of the future", at("t", 0, 3, -1));
    pair.every_version("ListOffsets with an impossible epoch", at("t", 0, -2, -1));

    let asked = at("t", 0, -1, -1);
    let level = |level| {
        move |side: &Side, version: i16| {
            let request = asked(side, version);
            if version >= 2 {
                request.with_isolation_level(level)
            } else {
                request
            }
        }
    };
    pair.every_version("ListOffsets, read committed", level(1));
    pair.every_version("ListOffsets in an unknown isolation", level(2));
    pair.every_version("ListOffsets in a negative isolation", level(-1));
    let twice = |indexes: &'static [i32]| {
        move |side: &Side, version: i16| {
            let topics = indexes
                .iter()
                .flat_map(|index| at("t", *index, -1, -1)(side, version).topics);
            ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(topics.collect())
        }
    };
    // Kafka's answer is in the order of a hash.
    pair.every_version_fixed(
        "ListOffsets of a topic in two places",
        twice(&[0, 1]),
        |answer| {
            for topic in &mut answer.topics {
                topic.partitions.sort_by_key(|part| part.partition_index);
            }
        },
    );
    pair.every_version("ListOffsets of a partition twice", twice(&[0, 0]));

    let epoch = |topic: &'static str, partition, current, asked| {
        move |_: &Side, version: i16| {
            let part = OffsetForLeaderPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(current)
                .with_leader_epoch(asked);
            let topic = OffsetForLeaderTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![part]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            if version >= 3 {
                request.with_replica_id(BrokerId(-1))
            } else {
                request
            }
        }
    };
    pair.every_version("OffsetForLeaderEpoch 0", epoch("t", 0, -1, 0));
    pair.every_version("OffsetForLeaderEpoch of the future", epoch("t", 0, -1, 5));
    pair.every_version("OffsetForLeaderEpoch of the past", epoch("t", 0, -1, -1));
    pair.every_version(
        "OffsetForLeaderEpoch with the leader's epoch",
        epoch("t", 0, 0, 0),
    );
    pair.every_version(
        "OffsetForLeaderEpoch with an epoch of the future",
        epoch("t", 0, 4, 0),
    );
    pair.every_version(
        "OffsetForLeaderEpoch with an impossible epoch",
        epoch("t", 0, -2, 0),
    );
    pair.every_version(
        "OffsetForLeaderEpoch of an empty partition",
        epoch("t", 1, -1, 0),
    );
    pair.every_version(
        "OffsetForLeaderEpoch of an unknown partition",
        epoch("t", 9, -1, 0),
    );
    pair.every_version(
        "OffsetForLeaderEpoch of an unknown topic",
        epoch("unknown", 0, -1, 0),
    );

    let delete = |topic: &'static str, partition, offset| {
        move |_: &Side, _: i16| {
            let part = DeleteRecordsPartition::default()
                .with_partition_index(partition)
                .with_offset(offset);
            let topic = DeleteRecordsTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![part]);
            DeleteRecordsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(5000)
        }
    };
    pair.every_version("DeleteRecords after the end", delete("t", 0, 21));
    pair.every_version("DeleteRecords below nothing", delete("t", 0, -2));
    pair.every_version("DeleteRecords of an unknown partition", delete("t", 9, 0));
    pair.every_version("DeleteRecords of an unknown topic", delete("unknown", 0, 0));
    pair.every_version("DeleteRecords of a partition twice", |side, version| {
        let topics = [21, 2].map(|offset| delete("t", 0, offset)(side, version).topics);
        DeleteRecordsRequest::default()
            .with_topics(topics.concat())
            .with_timeout_ms(5000)
    });
    pair.every_version(
        "OffsetForLeaderEpoch of a partition twice",
        |side, version| {
            let topics = [0, 5].map(|asked| epoch("t", 0, -1, asked)(side, version).topics);
            epoch("t", 0, -1, 0)(side, version).with_topics(topics.concat())
        },
    );
    pair.every_version("DeleteRecords of some", delete("t", 0, 7));
    pair.every_version("ListOffsets of the new start", at("t", 0, -1, -2));
    pair.every_version(
        "ListOffsets by time of what is gone",
        at("t", 0, -1, time(0)),
    );
    pair.every_version("Fetch below the new start", |side, version| {
        fetch(
            side,
            version,
            &FetchAsk {
                offset: 3,
                ..FetchAsk::default()
            },
        )
    });
    pair.every_version("Fetch at the new start", |side, version| {
        fetch(
            side,
            version,
            &FetchAsk {
                offset: 7,
                ..FetchAsk::default()
            },
        )
    });
    pair.every_version("DeleteRecords of less than is gone", delete("t", 0, 2));
    pair.every_version("DeleteRecords of everything", delete("t", 0, -1));
    pair.every_version("ListOffsets of an emptied partition", at("t", 0, -1, -2));
    // Kafka looks into segments that are not gone yet and names a record that was deleted; ours names none that cannot be read.
    pair.every_version_fixed(
        "ListOffsets of the largest time of an emptied partition",
        at("t", 0, -1, -3),
        |answer| {
            let topics = answer.topics.iter_mut();
            for part in topics.flat_map(|topic| &mut topic.partitions) {
                assert!(part.offset < 20, "below the log's start");
                (part.timestamp, part.offset, part.leader_epoch) = (-1, -1, -1);
            }
        },
    );
    pair.every_version(
        "OffsetForLeaderEpoch of an emptied partition",
        epoch("t", 0, -1, 0),
    );
}
