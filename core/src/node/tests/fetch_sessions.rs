//! What fetch sessions tell, and what they cost.

use std::time::Duration;

use super::stories::{create_topic, fetch, fetched, produce, produced};
use super::world::World;
use crate::ids::{ConnId, Uuid};
use crate::wire::delete_topics_request::DeleteTopicState;
use crate::wire::fetch_request::{FetchPartition, ForgottenTopic};
use crate::wire::{DeleteTopicsRequest, ErrorCode, FetchRequest};

fn delete_topic(topic_id: Uuid) -> DeleteTopicsRequest {
    DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            topic_id,
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    }
}

fn next(session_id: i32, session_epoch: i32) -> FetchRequest {
    FetchRequest {
        session_id,
        session_epoch,
        min_bytes: 1,
        max_bytes: 1_000_000,
        ..Default::default()
    }
}

#[test]
fn a_session_knows_a_topic_that_gave_way_to_another_of_its_name() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let opening = FetchRequest {
        session_epoch: 0,
        max_wait_ms: 0,
        ..fetch(topic, 0)
    };
    let id = world.ask(conn, 17, &opening).session_id;
    world.ask(conn, 6, &delete_topic(topic));
    let gone = world.ask(conn, 17, &next(id, 1));
    assert_eq!(
        fetched(&gone).error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    create_topic(&mut world, conn, "t", 1);
    let other = world.ask(conn, 17, &next(id, 2));
    assert_eq!(fetched(&other).error_code, ErrorCode::INCONSISTENT_TOPIC_ID);
    // Without a session nobody remembers the name.
    let unknown = world.ask(conn, 17, &fetch(topic, 0));
    assert_eq!(fetched(&unknown).error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

/// A session over all partitions of a topic, everything in it told, by a request that waits 500 ms.
fn quiet_session(world: &mut World, conn: ConnId, topic: Uuid, partitions: i32) -> (i32, i32) {
    let mut opening = FetchRequest {
        session_epoch: 0,
        max_wait_ms: 0,
        ..fetch(topic, 0)
    };
    let one = opening.topics[0].partitions[0].clone();
    opening.topics[0].partitions = (0..partitions)
        .map(|partition| FetchPartition {
            partition,
            ..one.clone()
        })
        .collect();
    let response = world.ask(conn, 17, &opening);
    let told: usize = response.responses.iter().map(|t| t.partitions.len()).sum();
    assert_eq!(told, partitions.unsigned_abs() as usize);
    let id = response.session_id;
    // Each is looked at once more; a request looks at a thousand.
    let epochs = 1 + (partitions - 1) / 1000;
    for epoch in 1..=epochs {
        assert_eq!(world.ask(conn, 17, &next(id, epoch)).responses, []);
    }
    (id, epochs + 1)
}

fn patient(session_id: i32, session_epoch: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        ..next(session_id, session_epoch)
    }
}

#[test]
fn a_fetch_in_a_session_is_woken_by_whatever_moves_in_it() {
    let mut world = World::ready();
    let (conn, other) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, conn, "t", 3);
    let (id, epoch) = quiet_session(&mut world, conn, topic, 3);
    let waits = world.send(conn, 17, &patient(id, epoch));
    world.settle();
    assert!(!world.has_answer(conn));
    world.ask(other, 13, &produce(-1, topic, 2, &["a"]));
    let response = world.answer::<FetchRequest>(conn, waits);
    assert_eq!(fetched(&response).partition_index, 2);
    // It was not asked for from its new end: it is told again, then it is forgotten and tells nothing.
    let again = world.ask(conn, 17, &patient(id, epoch + 1));
    assert_eq!(fetched(&again).partition_index, 2);
    let mut forgets = patient(id, epoch + 2);
    forgets.forgotten_topics_data = vec![ForgottenTopic {
        topic_id: topic,
        partitions: vec![2],
        ..Default::default()
    }];
    let waits = world.send(conn, 17, &forgets);
    world.ask(other, 13, &produce(-1, topic, 2, &["b"]));
    world.settle();
    assert!(!world.has_answer(conn));
    world.pass(Duration::from_millis(500));
    assert_eq!(
        world.answer::<FetchRequest>(conn, waits).responses,
        Vec::new()
    );
    // A topic that goes away is told to whoever waits for it.
    let waits = world.send(conn, 17, &patient(id, epoch + 3));
    world.settle();
    assert!(!world.has_answer(conn));
    world.ask(other, 6, &delete_topic(topic));
    let response = world.answer::<FetchRequest>(conn, waits);
    assert_eq!(
        fetched(&response).error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn what_a_lost_fetch_looked_at_is_due_for_the_next() {
    let mut world = World::ready();
    let (conn, other) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, conn, "t", 2);
    let (id, epoch) = quiet_session(&mut world, conn, topic, 2);
    let hungry = FetchRequest {
        min_bytes: 100_000,
        ..patient(id, epoch)
    };
    world.send(conn, 17, &hungry);
    world.ask(other, 13, &produce(-1, topic, 1, &["a"]));
    assert!(!world.has_answer(conn), "it wants more than there is");
    // The client asks again over another connection.
    let response = world.ask(other, 17, &patient(id, epoch + 1));
    assert_eq!(fetched(&response).partition_index, 1);
    // The same after it hung up.
    let last = FetchRequest {
        min_bytes: 100_000,
        ..patient(id, epoch + 2)
    };
    let lost = world.connect();
    world.send(lost, 17, &last);
    world.settle();
    world.hang_up(lost);
    let response = world.ask(other, 17, &patient(id, epoch + 3));
    assert_eq!(fetched(&response).partition_index, 1);
}

#[test]
fn a_large_session_has_its_turn_in_pieces() {
    let mut world = World::ready();
    let (conn, other) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, conn, "t", 1100);
    let (id, mut epoch) = quiet_session(&mut world, conn, topic, 1100);
    for index in [0, 600, 1099] {
        world.ask(other, 13, &produce(-1, topic, index, &["a"]));
    }
    let response = world.ask(conn, 17, &patient(id, epoch));
    let told: Vec<i32> = response.responses[0]
        .partitions
        .iter()
        .map(|partition| partition.partition_index)
        .collect();
    assert_eq!(told, [0, 600, 1099]);
    // All of them fail at once: everyone has a turn.
    world.ask(other, 6, &delete_topic(topic));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        epoch += 1;
        let response = world.ask(conn, 17, &patient(id, epoch));
        let told = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions);
        seen.extend(told.map(|partition| partition.partition_index));
    }
    assert_eq!(seen.len(), 1100);
    // Another session in its place: the partitions forget the one that is gone.
    let ends = FetchRequest {
        session_id: id,
        session_epoch: -1,
        ..Default::default()
    };
    world.ask(conn, 17, &ends);
    world.settle();
}

#[test]
fn the_log_start_is_told_with_what_the_log_refuses() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let mut request = produce(-1, topic, 0, &["a"]);
    let good = request.topic_data[0].partition_data[0].records.clone();
    let good = good.expect("records");
    let mut told = |records: bytes::Bytes| {
        request.topic_data[0].partition_data[0].records = Some(records);
        let response = world.ask(conn, 13, &request);
        let partition = produced(&response);
        (partition.error_code, partition.log_start_offset)
    };
    // Not one batch, and a damaged one: refused before the log. A sequence without a producer: by the log.
    let twice = bytes::Bytes::from([&good[..], &good[..]].concat());
    assert_eq!(told(twice), (ErrorCode::INVALID_RECORD, -1));
    let mut damaged = good.to_vec();
    damaged[20] ^= 1;
    assert_eq!(told(damaged.into()), (ErrorCode::CORRUPT_MESSAGE, -1));
    let mut empty = good.to_vec();
    empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
    let crc = crate::wire::batch::checksum(&empty);
    empty[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(told(empty.into()), (ErrorCode::INVALID_RECORD, 0));
}
