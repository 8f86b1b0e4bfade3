//! What clients are told of a partition whose log is offline: KAFKA_STORAGE_ERROR, which makes them look for another leader.

use super::stories::{create_topic, fetch, produce, produced};
use super::world::World;
use crate::event::Event;
use crate::ids::{ConnId, Uuid};
use crate::wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::{
    ApiKey, DeleteRecordsRequest, ErrorCode, FetchRequest, ListOffsetsRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};

const OFFLINE: ErrorCode = ErrorCode::KAFKA_STORAGE_ERROR;

/// A node with a topic `t` whose partition 0 is damaged below what was promised, and whose partition 1 is whole.
fn damaged() -> (World, ConnId, Uuid) {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 2);
    for partition in [0, 1] {
        for value in ["a", "b"] {
            let answer = world.ask(conn, 13, &produce(-1, topic, partition, &[value]));
            assert_eq!(produced(&answer).error_code, ErrorCode::NONE);
        }
    }
    world.rot("t-0/00000000000000000000.log", 65);
    world.restart();
    let offline =
        |event: &Event| matches!(event, Event::PartitionOffline { log, .. } if log == "t-0");
    assert!(world.events.iter().any(offline), "{:?}", world.events);
    let conn = world.connect();
    (world, conn, topic)
}

/// Both partitions in every version that is served: what is said of each.
fn told<R: crate::wire::Request>(
    world: &mut World,
    conn: ConnId,
    api: ApiKey,
    request: impl Fn(i16, i32) -> R,
    code: impl Fn(R::Response) -> ErrorCode,
) -> Vec<(i16, [ErrorCode; 2])> {
    let served = (0..=20).filter(|version| crate::api::served::is_served(false, api, *version));
    served
        .map(|version| {
            let codes = [0, 1]
                .map(|partition| code(world.ask(conn, version, &request(version, partition))));
            (version, codes)
        })
        .collect()
}

fn check(told: Vec<(i16, [ErrorCode; 2])>, wanted: impl Fn(i16) -> ErrorCode) {
    assert!(!told.is_empty());
    for (version, codes) in told {
        assert_eq!(
            codes,
            [wanted(version), ErrorCode::NONE],
            "version {version}"
        );
    }
}

#[test]
fn an_offline_partition_is_a_storage_error_to_producers_and_consumers() {
    let (mut world, conn, topic) = damaged();
    let produces = told::<ProduceRequest>(
        &mut world,
        conn,
        ApiKey::Produce,
        |version, partition| {
            let mut request = produce(-1, topic, partition, &["c"]);
            if version < 13 {
                let named = &mut request.topic_data[0];
                (named.name, named.topic_id) = ("t".into(), Uuid::ZERO);
            }
            request
        },
        |answer| produced(&answer).error_code,
    );
    check(produces, |_| OFFLINE);
    let fetches = told::<FetchRequest>(
        &mut world,
        conn,
        ApiKey::Fetch,
        |version, partition| {
            let mut request = fetch(topic, 0);
            let named = &mut request.topics[0];
            named.partitions[0].partition = partition;
            if version < 13 {
                (named.topic, named.topic_id) = ("t".into(), Uuid::ZERO);
            }
            request
        },
        |answer| answer.responses[0].partitions[0].error_code,
    );
    // Clients of that time do not know the code.
    check(fetches, |version| match version {
        ..=5 => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        6.. => OFFLINE,
    });
}

#[test]
fn an_offline_partition_is_a_storage_error_to_who_asks_for_its_offsets() {
    let (mut world, conn, _) = damaged();
    for timestamp in [-1, -2, 0] {
        let offsets = told::<ListOffsetsRequest>(
            &mut world,
            conn,
            ApiKey::ListOffsets,
            |_, partition_index| ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: "t".into(),
                    partitions: vec![ListOffsetsPartition {
                        partition_index,
                        timestamp,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            },
            |answer| answer.topics[0].partitions[0].error_code,
        );
        check(offsets, |_| OFFLINE);
    }
    let epochs = told::<OffsetForLeaderEpochRequest>(
        &mut world,
        conn,
        ApiKey::OffsetForLeaderEpoch,
        |_, partition| OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![OffsetForLeaderPartition {
                    partition,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
        |answer| answer.topics[0].partitions[0].error_code,
    );
    check(epochs, |_| OFFLINE);
    let deletions = told::<DeleteRecordsRequest>(
        &mut world,
        conn,
        ApiKey::DeleteRecords,
        |_, partition_index| DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "t".into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index,
                    offset: 1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        },
        |answer| answer.topics[0].partitions[0].error_code,
    );
    check(deletions, |_| OFFLINE);
}
