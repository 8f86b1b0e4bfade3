//! What fetch sessions tell, and what they cost.

use super::stories::{create_topic, fetch, fetched, produce, produced};
use super::world::World;
use crate::ids::Uuid;
use crate::wire::delete_topics_request::DeleteTopicState;
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
