//! What clients see.

use std::time::Duration;

use super::world::{World, batch};
use crate::event::{Event, Level};
use crate::ids::{ConnId, Uuid};
use crate::io::CloseWhy;
use crate::mark::Mark;
use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use crate::wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::delete_topics_request::DeleteTopicState;
use crate::wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use crate::wire::fetch_response::PartitionData;
use crate::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::metadata_request::MetadataRequestTopic;
use crate::wire::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::produce_response::PartitionProduceResponse;
use crate::wire::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ErrorCode,
    FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, ProduceResponse,
};

pub fn topic_request(name: &str, partitions: i32) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    }
}

pub fn create_topic(world: &mut World, conn: ConnId, name: &str, partitions: i32) -> Uuid {
    let response = world.ask(conn, 7, &topic_request(name, partitions));
    assert_eq!(
        response.topics[0].error_code,
        ErrorCode::NONE,
        "{:?}",
        response.topics
    );
    response.topics[0].topic_id
}

pub fn produce(acks: i16, topic: Uuid, partition: i32, values: &[&'static str]) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            topic_id: topic,
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(batch(values)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn produced(response: &ProduceResponse) -> &PartitionProduceResponse {
    &response.responses[0].partition_responses[0]
}

/// A fetch of partition 0 without a session.
pub fn fetch(topic: Uuid, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1_000_000,
        topics: vec![FetchTopic {
            topic_id: topic,
            partitions: vec![FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1_000_000,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn fetched(response: &FetchResponse) -> &PartitionData {
    &response.responses[0].partitions[0]
}

pub fn bytes(partition: &PartitionData) -> usize {
    partition
        .records
        .as_ref()
        .map_or(0, crate::wire::Parts::len)
}

#[test]
fn what_is_produced_is_fetched() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    for (acks, base) in [(-1, 0), (1, 2)] {
        let response = world.ask(conn, 13, &produce(acks, topic, 0, &["a", "b"]));
        let partition = produced(&response);
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (ErrorCode::NONE, base)
        );
        assert_eq!(partition.log_start_offset, 0);
    }
    let response = world.ask(conn, 17, &fetch(topic, 0));
    let partition = fetched(&response);
    assert_eq!(
        (partition.high_watermark, partition.last_stable_offset),
        (4, 4)
    );
    assert_eq!(bytes(partition), 2 * batch(&["a", "b"]).len());
    let response = world.ask(conn, 17, &fetch(topic, 5));
    assert_eq!(
        fetched(&response).error_code,
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
}

#[test]
fn a_long_poll_is_woken_by_an_append_and_ends_in_time() {
    let mut world = World::ready();
    let (consumer, producer) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, producer, "t", 1);
    let id = world.send(consumer, 17, &fetch(topic, 0));
    world.settle();
    assert!(!world.has_answer(consumer));
    world.ask(producer, 13, &produce(-1, topic, 0, &["a"]));
    let response = world.answer::<FetchRequest>(consumer, id);
    assert_eq!(bytes(fetched(&response)), batch(&["a"]).len());
    assert!(world.marked(Mark::FetchWokenByAppend));

    let id = world.send(consumer, 17, &fetch(topic, 1));
    world.pass(Duration::from_millis(499));
    assert!(!world.has_answer(consumer));
    world.pass(Duration::from_millis(1));
    let response = world.answer::<FetchRequest>(consumer, id);
    assert_eq!(
        (fetched(&response).error_code, bytes(fetched(&response))),
        (ErrorCode::NONE, 0)
    );
    assert!(world.marked(Mark::FetchTimedOut));
}

#[test]
fn an_acks_zero_produce_is_never_answered_and_its_failure_closes() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    world.send(conn, 13, &produce(0, topic, 0, &["a"]));
    world.settle();
    assert!(!world.has_answer(conn) && world.closed(conn).is_none());
    let response = world.ask(conn, 17, &fetch(topic, 0));
    assert_eq!(fetched(&response).high_watermark, 1);
    world.send(conn, 13, &produce(0, topic, 1, &["a"]));
    world.settle();
    assert_eq!(world.closed(conn), Some(&CloseWhy::AcksZeroFailed));
}

#[test]
fn a_produce_that_cannot_be_is_told_why() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let mut told = |version: i16, request: &ProduceRequest| {
        produced(&world.ask(conn, version, request)).error_code
    };
    let unknown = Uuid([5; 16]);
    assert_eq!(
        told(13, &produce(-1, unknown, 0, &["a"])),
        ErrorCode::UNKNOWN_TOPIC_ID
    );
    assert_eq!(
        told(13, &produce(-1, topic, 1, &["a"])),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        told(13, &produce(2, topic, 0, &["a"])),
        ErrorCode::INVALID_REQUIRED_ACKS
    );
    let mut by_name = produce(-1, topic, 0, &["a"]);
    by_name.topic_data[0].name = "nowhere".into();
    assert_eq!(told(12, &by_name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    by_name.topic_data[0].name = "t".into();
    assert_eq!(told(3, &by_name), ErrorCode::NONE);
    let mut damaged = produce(-1, topic, 0, &["a"]);
    let records = damaged.topic_data[0].partition_data[0]
        .records
        .as_mut()
        .unwrap();
    let mut bytes = records.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    *records = bytes.into();
    assert_eq!(told(13, &damaged), ErrorCode::CORRUPT_MESSAGE);
    damaged.topic_data[0].partition_data[0].records = None;
    assert_eq!(told(13, &damaged), ErrorCode::INVALID_RECORD);
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_records_count() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 2);
    let mut request = produce(-1, topic, 0, &["a", "b"]);
    let data = |partition, values| produce(-1, topic, partition, values).topic_data.remove(0);
    let more = data(0, &["c", "d", "e"]).partition_data;
    request.topic_data[0].partition_data.extend(more);
    request.topic_data.push(data(1, &["f"]));
    request.topic_data.push(data(0, &["g"]));
    let answer = world.ask(conn, 13, &request);
    assert_eq!(answer.responses.len(), 1);
    let mut told: Vec<_> = answer.responses[0]
        .partition_responses
        .iter()
        .map(|told| (told.index, told.error_code, told.base_offset))
        .collect();
    told.sort_unstable_by_key(|told| told.0);
    assert_eq!(told, [(0, ErrorCode::NONE, 0), (1, ErrorCode::NONE, 0)]);
    let next = world.ask(conn, 13, &produce(-1, topic, 0, &["h"]));
    assert_eq!(produced(&next).base_offset, 1);
}

#[test]
fn answers_come_in_the_order_of_requests_though_checks_do_not() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let ids: Vec<i32> = ["a", "b", "c"]
        .iter()
        .map(|value| world.send(conn, 13, &produce(-1, topic, 0, &[*value])))
        .collect();
    let last = world.send(conn, 17, &fetch(topic, 0));
    assert_eq!(
        world.waiting.len(),
        3,
        "produce requests overlap, the fetch waits its turn"
    );
    while let Some(check) = world.waiting.pop_back() {
        world.happen(check);
        if world
            .waiting
            .iter()
            .all(|effect| !matches!(effect, crate::io::Effect::Work { .. }))
        {
            break;
        }
    }
    world.settle();
    for (base, id) in ids.into_iter().enumerate() {
        let response = world.answer::<ProduceRequest>(conn, id);
        assert_eq!(produced(&response).base_offset, base as i64);
    }
    let response = world.answer::<FetchRequest>(conn, last);
    assert_eq!(fetched(&response).high_watermark, 3);
}

#[test]
fn a_session_tells_only_what_changed() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 2);
    let mut request = fetch(topic, 0);
    request.session_epoch = 0;
    request.max_wait_ms = 0;
    let mut second = request.topics[0].partitions[0].clone();
    second.partition = 1;
    request.topics[0].partitions.push(second);
    let response = world.ask(conn, 17, &request);
    let session_id = response.session_id;
    assert!(session_id > 0);
    assert_eq!(response.responses[0].partitions.len(), 2);
    let next = |epoch: i32| FetchRequest {
        session_id,
        session_epoch: epoch,
        max_wait_ms: 0,
        min_bytes: 1,
        ..Default::default()
    };
    assert_eq!(world.ask(conn, 17, &next(1)).responses, vec![]);
    assert!(world.marked(Mark::IncrementalFetch));
    world.ask(conn, 13, &produce(-1, topic, 1, &["a"]));
    let response = world.ask(conn, 17, &next(2));
    assert_eq!(response.responses[0].partitions.len(), 1);
    assert_eq!(fetched(&response).partition_index, 1);
    assert_eq!(
        world.ask(conn, 17, &next(2)).error_code,
        ErrorCode::INVALID_FETCH_SESSION_EPOCH
    );
    assert_eq!(
        world.ask(conn, 12, &next(3)).error_code,
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    );
    let mut forget = next(3);
    forget.forgotten_topics_data = vec![ForgottenTopic {
        topic_id: topic,
        partitions: vec![0, 1],
        ..Default::default()
    }];
    let response = world.ask(conn, 17, &forget);
    assert_eq!(
        (response.session_id, response.error_code),
        (0, ErrorCode::NONE)
    );
    assert_eq!(
        world.ask(conn, 17, &next(4)).error_code,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[test]
fn hostile_frames_close_their_connection_and_nothing_else() {
    let mut world = World::ready();
    let good = world.connect();
    let topic = create_topic(&mut world, good, "t", 1);
    let hostile: [&[u8]; 5] = [
        b"",
        b"\0",
        // An API that Kafka does not have.
        b"\x7f\xff\0\0\0\0\0\x01\xff\xff",
        // Metadata that promises 2^31 - 1 topics.
        b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
        // Produce that promises 2^31 - 1 topics.
        b"\0\0\0\x03\0\0\0\x01\xff\xff\xff\xff\0\x01\0\0\0\0\x7f\xff\xff\xff",
    ];
    for frame in hostile {
        let conn = world.connect();
        world.send_raw(conn, frame.to_vec());
        world.settle();
        assert!(world.closed(conn).is_some(), "{frame:?} is let through");
    }
    assert!(world.marked(Mark::FrameRejected));
    let response = world.ask(good, 13, &produce(1, topic, 0, &["a"]));
    assert_eq!(produced(&response).error_code, ErrorCode::NONE);
}

#[test]
fn an_idle_connection_is_closed_even_if_a_request_waits() {
    let mut world = World::with(&[("connections.max.idle.ms", "1000")]);
    let (idle, waits, busy) = (world.connect(), world.connect(), world.connect());
    let topic = create_topic(&mut world, busy, "t", 1);
    let mut request = fetch(topic, 0);
    request.max_wait_ms = 900;
    world.ask_after(busy, &request, Duration::from_millis(900));
    // More than a connection may have unanswered: it is paused, and nobody would see its peer go.
    request.max_wait_ms = i32::MAX;
    for _ in 0..300 {
        world.send(waits, 17, &request);
    }
    assert!(world.paused(waits));
    request.max_wait_ms = 900;
    world.ask_after(busy, &request, Duration::from_millis(900));
    assert_eq!(world.closed(idle), Some(&CloseWhy::Idle));
    assert_eq!(world.closed(waits), None);
    world.ask_after(busy, &request, Duration::from_millis(900));
    assert_eq!(world.closed(waits), Some(&CloseWhy::Idle));
    assert_eq!(world.closed(busy), None);
}

#[test]
fn a_flood_is_paused_and_goes_on() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let ids: Vec<i32> = (0..300)
        .map(|_| world.send(conn, 13, &produce(-1, topic, 0, &["a"])))
        .collect();
    assert!(world.paused(conn));
    world.settle();
    for (base, id) in ids.into_iter().enumerate() {
        let response = world.answer::<ProduceRequest>(conn, id);
        assert_eq!(produced(&response).base_offset, base as i64);
    }
    assert!(!world.paused(conn));
}

#[test]
fn what_a_client_asked_for_is_done_though_it_hung_up() {
    let mut world = World::ready();
    let (conn, other) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, conn, "t", 1);
    world.send(conn, 13, &produce(0, topic, 0, &["a"]));
    world.send(conn, 13, &produce(0, topic, 0, &["b"]));
    world.hang_up(conn);
    world.settle();
    let response = world.ask(other, 17, &fetch(topic, 0));
    assert_eq!(fetched(&response).high_watermark, 2);
    // Kafka takes the next request when the answer to the one before it is sent, and this one cannot be sent.
    let conn = world.connect();
    for value in ["c", "d"] {
        world.send(conn, 13, &produce(1, topic, 0, &[value]));
    }
    world.hang_up(conn);
    world.settle();
    let response = world.ask(other, 17, &fetch(topic, 0));
    assert_eq!(fetched(&response).high_watermark, 3);
}

#[test]
fn the_ends_of_a_log_are_listed() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    world.ask(conn, 13, &produce(-1, topic, 0, &["a", "b"]));
    let mut listed = |version: i16, timestamp: i64| {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = world.ask(conn, version, &request);
        let partition = &response.topics[0].partitions[0];
        (
            partition.error_code,
            partition.offset,
            partition.leader_epoch,
        )
    };
    let none = ErrorCode::NONE;
    assert_eq!(listed(11, -1), (none, 2, 0));
    assert_eq!(listed(1, -1), (none, 2, -1), "version 1 knows no epoch");
    assert_eq!(listed(11, -2), (none, 0, 0));
    assert_eq!(listed(11, -4), (none, 0, 0));
    assert_eq!(listed(11, -5), (none, -1, -1));
    assert_eq!(listed(11, -6), (none, -1, -1));
    assert_eq!(listed(10, -6), (ErrorCode::UNSUPPORTED_VERSION, -1, -1));
    assert_eq!(listed(11, -7), (ErrorCode::UNSUPPORTED_VERSION, -1, -1));
    assert_eq!(listed(11, 0), (none, 0, 0));
    assert_eq!(listed(11, 1_700_000_000_001), (none, -1, -1));
    assert_eq!(listed(11, -3), (none, 0, 0));
}

#[test]
fn an_epoch_ends_where_the_log_does() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    world.ask(conn, 13, &produce(-1, topic, 0, &["a", "b"]));
    let mut end = |current_leader_epoch: i32, leader_epoch: i32| {
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![OffsetForLeaderPartition {
                    current_leader_epoch,
                    leader_epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = world.ask(conn, 4, &request);
        let partition = &response.topics[0].partitions[0];
        (
            partition.error_code,
            partition.leader_epoch,
            partition.end_offset,
        )
    };
    assert_eq!(end(-1, 0), (ErrorCode::NONE, 0, 2));
    assert_eq!(end(0, 0), (ErrorCode::NONE, 0, 2));
    assert_eq!(end(-1, 5), (ErrorCode::NONE, -1, -1));
    assert_eq!(end(1, 0), (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1));
}

#[test]
fn records_are_deleted_up_to_the_high_watermark() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    world.ask(conn, 13, &produce(-1, topic, 0, &["a", "b"]));
    world.ask(conn, 13, &produce(-1, topic, 0, &["c"]));
    let mut deleted = |offset: i64| {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "t".into(),
                partitions: vec![DeleteRecordsPartition {
                    offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        };
        let response = world.ask(conn, 2, &request);
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_eq!(deleted(1), (ErrorCode::NONE, 1));
    assert_eq!(
        deleted(0),
        (ErrorCode::NONE, 1),
        "the start never goes back"
    );
    assert_eq!(deleted(4), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(deleted(-2), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(deleted(-1), (ErrorCode::NONE, 3));
    let response = world.ask(conn, 17, &fetch(topic, 0));
    assert_eq!(
        fetched(&response).error_code,
        ErrorCode::OFFSET_OUT_OF_RANGE
    );
}

#[test]
fn a_deleted_topic_ends_the_fetches_that_wait_for_it() {
    let mut world = World::ready();
    let (conn, admin) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, admin, "t", 1);
    let id = world.send(conn, 17, &fetch(topic, 0));
    world.settle();
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            topic_id: topic,
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    assert_eq!(
        world.ask(admin, 6, &request).responses[0].error_code,
        ErrorCode::NONE
    );
    let response = world.answer::<FetchRequest>(conn, id);
    assert_eq!(
        fetched(&response).error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let response = world.ask(conn, 17, &fetch(topic, 0));
    assert_eq!(fetched(&response).error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

#[test]
fn a_fetch_of_another_epoch_is_fenced() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let mut request = fetch(topic, 0);
    request.topics[0].partitions[0].current_leader_epoch = 7;
    let response = world.ask(conn, 17, &request);
    assert_eq!(
        fetched(&response).error_code,
        ErrorCode::UNKNOWN_LEADER_EPOCH
    );
}

#[test]
fn a_fetch_does_not_wait_for_more_than_it_can_hold() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    for _ in 0..3 {
        world.ask(conn, 13, &produce(-1, topic, 0, &["a"]));
    }
    let size = i32::try_from(batch(&["a"]).len()).unwrap();
    let mut request = fetch(topic, 0);
    // One batch fits and two do not, but as many bytes as are wanted are there.
    request.min_bytes = size + 1;
    request.topics[0].partitions[0].partition_max_bytes = size + 1;
    let response = world.ask(conn, 17, &request);
    assert_eq!(bytes(fetched(&response)), batch(&["a"]).len());
    // Nor for more than the whole answer may hold.
    let mut request = fetch(topic, 0);
    (request.min_bytes, request.max_bytes) = (10 * size, size);
    let response = world.ask(conn, 17, &request);
    assert_eq!(bytes(fetched(&response)), batch(&["a"]).len());
}

#[test]
fn a_fetch_takes_what_fits_and_at_least_one_batch() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 2);
    let size = batch(&["a"]).len();
    for partition in [0, 0, 0, 1] {
        world.ask(conn, 13, &produce(-1, topic, partition, &["a"]));
    }
    let mut sizes = |max_bytes: i32, partition_max_bytes: i32| {
        let mut request = fetch(topic, 0);
        request.max_bytes = max_bytes;
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        let mut second = request.topics[0].partitions[0].clone();
        second.partition = 1;
        request.topics[0].partitions.push(second);
        let response = world.ask(conn, 17, &request);
        let partitions = &response.responses[0].partitions;
        (bytes(&partitions[0]) / size, bytes(&partitions[1]) / size)
    };
    assert_eq!(sizes(1_000_000, 1_000_000), (3, 1));
    let two = i32::try_from(2 * size).unwrap();
    assert_eq!(sizes(1_000_000, two), (2, 1));
    assert_eq!(sizes(two, 1_000_000), (2, 0));
    assert_eq!(sizes(1, 1), (1, 0));
    assert_eq!(sizes(1_000_000, 0), (1, 0));
}

#[test]
fn a_client_finds_out_what_is_served_and_where() {
    let mut world = World::ready();
    let conn = world.connect();
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let response = world.ask(conn, 4, &request);
    assert_eq!(response.error_code, ErrorCode::NONE);
    let produce = response
        .api_keys
        .iter()
        .find(|api| api.api_key == 0)
        .unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    assert!(
        response.api_keys.iter().all(|api| api.api_key != 11),
        "JoinGroup is not served"
    );
    // ApiVersions 99, correlation id 7: answered in version 0.
    world.send_raw(conn, b"\0\x12\0\x63\0\0\0\x07\xff\xff\0".to_vec());
    let frame = world.raw_answer(conn);
    assert_eq!(&frame[..6], b"\0\0\0\x07\0\x23", "UNSUPPORTED_VERSION");

    create_topic(&mut world, conn, "t", 3);
    let response = world.ask(
        conn,
        13,
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
    );
    assert_eq!(
        (response.brokers.len(), response.brokers[0].port),
        (1, 9092)
    );
    let topic = &response.topics[0];
    assert_eq!(
        (topic.name.as_deref(), topic.partitions.len()),
        (Some("t"), 3)
    );
    assert!(
        topic
            .partitions
            .iter()
            .all(|p| p.leader_id == 1 && p.isr_nodes == [1])
    );
}

#[test]
fn topics_are_created_for_clients_that_ask_for_them() {
    let mut world = World::ready();
    let conn = world.connect();
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("fresh".into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    let first = world.ask(conn, 12, &request);
    assert!(first.topics[0].error_code.is_retriable());
    let second = world.ask(conn, 12, &request);
    assert_eq!(second.topics[0].error_code, ErrorCode::NONE);
    assert_eq!(second.topics[0].partitions[0].leader_id, 1);
}

#[test]
fn producer_ids_differ() {
    let mut world = World::ready();
    let conn = world.connect();
    let request = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let ids: Vec<i64> = (0..3)
        .map(|_| world.ask(conn, 5, &request).producer_id)
        .collect();
    assert_eq!(ids, [0, 1, 2]);
}

#[test]
fn whoever_sends_when_the_budget_is_spent_is_paused() {
    let mut world = World::with(&[
        ("socket.request.max.bytes", "200"),
        ("queued.max.request.bytes", "200"),
    ]);
    let (first, second, third) = (world.connect(), world.connect(), world.connect());
    let topic = create_topic(&mut world, first, "t", 1);
    let one = world.send(first, 13, &produce(-1, topic, 0, &["a"]));
    assert!(!world.paused(first));
    let two = world.send(second, 13, &produce(-1, topic, 0, &["b"]));
    assert!(world.paused(second), "the budget is spent");
    assert!(!world.paused(third), "who sends nothing is left alone");
    world.settle();
    world.answer::<ProduceRequest>(first, one);
    world.answer::<ProduceRequest>(second, two);
    assert!(!world.paused(second));
    assert!(world.marked(Mark::ConnectionPaused));
}

#[test]
fn who_does_not_read_its_answers_gets_no_further_ones_and_is_closed() {
    let mut world = World::with(&[("connections.max.idle.ms", "1000")]);
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let large = "x".repeat(600_000).leak();
    world.ask(conn, 13, &produce(-1, topic, 0, &[large]));
    for _ in 0..5 {
        world.send(conn, 17, &fetch(topic, 0));
        world.settle();
    }
    assert_eq!(
        world.answers(conn),
        2,
        "a mebibyte is unsent: the others wait"
    );
    assert!(world.paused(conn));
    world.pass(Duration::from_millis(1100));
    assert_eq!(world.closed(conn), Some(&CloseWhy::Stalled));
}

#[test]
fn a_time_is_looked_up_above_the_start_of_the_log_only() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    // The first batch has the record that was asked for twice: below the start, and not above.
    let record = |timestamp: i64| RecordToWrite {
        timestamp,
        value: Some(b"v".to_vec().into()),
        ..Default::default()
    };
    let at = 1_700_000_000_000;
    for timestamps in [[at + 5, at], [at, at + 6]] {
        let mut request = produce(-1, topic, 0, &[]);
        let records = timestamps.map(record);
        let records = encode_batch(BatchOptions::default(), &records);
        request.topic_data[0].partition_data[0].records = Some(records);
        let response = world.ask(conn, 13, &request);
        assert_eq!(produced(&response).error_code, ErrorCode::NONE);
    }
    let deletion = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition {
                offset: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    world.ask(conn, 2, &deletion);
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: at + 5,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = world.ask(conn, 11, &request);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.offset, partition.timestamp), (3, at + 6));
}

/// Nothing compacts yet: the log says so once, when such a topic comes.
#[test]
fn a_compacted_topic_is_created_with_a_warning() {
    let mut world = World::ready();
    let conn = world.connect();
    let warnings = |world: &World| {
        let notes = world.events.iter().filter_map(|event| match event {
            Event::Note {
                level: Level::Warn,
                message,
            } => Some(message.clone()),
            _ => None,
        });
        notes.collect::<Vec<_>>()
    };
    create_topic(&mut world, conn, "plain", 2);
    assert!(warnings(&world).is_empty());
    for (name, policy) in [("table", "compact"), ("both", "compact,delete")] {
        let mut request = topic_request(name, 2);
        request.topics[0].configs = vec![CreatableTopicConfig {
            name: "cleanup.policy".into(),
            value: Some(policy.into()),
            ..Default::default()
        }];
        let created = world.ask(conn, 7, &request);
        assert_eq!(created.topics[0].error_code, ErrorCode::NONE);
        let told = warnings(&world);
        let last = told.last().expect("a warning");
        assert!(last.contains(name) && last.contains("compacts nothing"));
    }
    assert_eq!(warnings(&world).len(), 2, "once a topic");
    world.events.clear();
    world.restart();
    assert!(warnings(&world).is_empty(), "an old topic is no news");
}
