//! How many connections there may be, and what partitions say that are not open yet.

use super::stories::{create_topic, fetch, fetched, produce, produced, topic_request};
use super::world::World;
use crate::io::{CloseWhy, Effect, Input};
use crate::wire::fetch_request::FetchPartition;
use crate::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::metadata_request::MetadataRequestTopic;
use crate::wire::{ErrorCode, ListOffsetsRequest, MetadataRequest};

/// Asks for the end of partition 0 of `t`.
fn end() -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn a_connection_too_many_is_closed_until_another_ends() {
    let mut world = World::with(&[("max.connections.per.ip", "2")]);
    let (first, second) = (world.connect(), world.connect());
    let third = world.connect();
    let limit = CloseWhy::TooManyConnections {
        of: Some("127.0.0.1".to_owned()),
        limit: 2,
    };
    assert_eq!(world.closed(third), Some(&limit));
    create_topic(&mut world, second, "t", 1);
    world.hang_up(first);
    let fourth = world.connect();
    assert_eq!(world.closed(fourth), None);
    create_topic(&mut world, fourth, "u", 1);
}

#[test]
fn a_connection_beyond_the_limit_waits_for_its_turn() {
    let mut world = World::with(&[
        ("listener.name.plaintext.max.connections", "2"),
        ("socket.listen.backlog.size", "2"),
    ]);
    let (first, second) = (world.connect(), world.connect());
    let (third, fourth) = (world.connect(), world.connect());
    assert!(!world.paused(second) && world.paused(third) && world.paused(fourth));
    // More do not wait.
    let fifth = world.connect();
    let (of, limit) = (None, 2);
    let too_many = CloseWhy::TooManyConnections { of, limit };
    assert_eq!(world.closed(fifth), Some(&too_many));
    world.hang_up(fifth);
    assert!(world.paused(third), "it never counted");
    world.hang_up(first);
    assert!(!world.paused(third) && world.paused(fourth));
    create_topic(&mut world, third, "t", 1);
    // One that gives up leaves its place in the line.
    let sixth = world.connect();
    world.hang_up(fourth);
    assert!(world.paused(sixth));
    world.hang_up(third);
    assert!(!world.paused(sixth));
    create_topic(&mut world, sixth, "u", 1);
    let waits = world.connect();
    world.step(Input::Shutdown);
    world.settle();
    assert_eq!(world.closed(waits), Some(&CloseWhy::Shutdown));
}

#[test]
fn whoever_sends_is_paused_while_too_many_requests_wait() {
    let mut world = World::with(&[("queued.max.requests", "2")]);
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let busy = world.connect();
    for _ in 0..3 {
        // A fetch that waits lets no further request of its connection begin.
        world.send(busy, 17, &fetch(topic, 0));
    }
    assert!(!world.paused(busy), "one has begun, two wait");
    world.send(busy, 17, &fetch(topic, 0));
    assert!(world.paused(busy));
    world.ask(conn, 13, &produce(-1, topic, 0, &["a"]));
    world.settle();
    assert!(!world.paused(busy), "they were answered");
}

/// Two connections whose requests wait behind a long poll fill the queue of all, and keep it full.
#[test]
fn who_has_one_request_at_a_time_is_served_though_the_queue_is_full() {
    let mut world = World::with(&[("queued.max.requests", "20")]);
    let honest = world.connect();
    let topic = create_topic(&mut world, honest, "t", 1);
    let (mut request, strangers) = (fetch(topic, 0), [world.connect(), world.connect()]);
    request.max_wait_ms = i32::MAX;
    request.min_bytes = i32::MAX;
    for conn in strangers {
        for _ in 0..15 {
            world.send(conn, 17, &request);
        }
    }
    world.settle();
    assert!(!world.paused(strangers[0]) && world.paused(strangers[1]));
    for _ in 0..3 {
        world.ask(honest, 13, &produce(-1, topic, 0, &["a"]));
        assert!(!world.paused(honest));
    }
    let newcomer = world.connect();
    world.ask(newcomer, 8, &end());
    assert!(!world.paused(newcomer));
    // Who sends a second one before the first is answered waits for that.
    let first = world.send(honest, 13, &produce(-1, topic, 0, &["a"]));
    assert!(world.paused(honest));
    world.settle();
    world.answer::<crate::wire::ProduceRequest>(honest, first);
    assert!(!world.paused(honest));
    // When there is room again, all have it.
    world.hang_up(strangers[0]);
    world.settle();
    assert!(!world.paused(strangers[1]));
}

/// A request that begins waits no more: it makes room by itself, not only when it is answered.
#[test]
fn a_request_that_begins_makes_room() {
    let mut world = World::with(&[("queued.max.requests", "2")]);
    let (conn, other) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, conn, "t", 1);
    let mut request = fetch(topic, 0);
    request.max_wait_ms = 10;
    world.send(conn, 17, &request);
    request.max_wait_ms = i32::MAX;
    world.send(conn, 17, &request);
    for _ in 0..3 {
        world.send(other, 17, &request);
    }
    world.settle();
    assert!(world.paused(other), "three requests wait");
    world.pass(std::time::Duration::from_millis(10));
    assert!(!world.paused(other));
}

/// Three frames of large fetches that wait would spend the budget for as long as they like.
#[test]
fn who_has_one_request_at_a_time_is_served_though_the_budget_is_spent() {
    let mut world = World::with(&[
        ("socket.request.max.bytes", "200"),
        ("queued.max.request.bytes", "200"),
    ]);
    let honest = world.connect();
    let topic = create_topic(&mut world, honest, "t", 1);
    let mut request = fetch(topic, 0);
    request.max_wait_ms = i32::MAX;
    request.min_bytes = i32::MAX;
    for _ in 0..3 {
        let stranger = world.connect();
        world.send(stranger, 17, &request);
    }
    world.settle();
    for _ in 0..3 {
        world.ask(honest, 13, &produce(-1, topic, 0, &["a"]));
        assert!(!world.paused(honest));
    }
}

/// A fetch that waits holds many times its frame: ten of them would hold gigabytes.
#[test]
fn a_fetch_of_many_partitions_waits_only_if_there_is_room_for_it() {
    let mut world = World::with(&[
        ("socket.request.max.bytes", "1000000"),
        ("queued.max.request.bytes", "1000000"),
    ]);
    let (first, second) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, first, "t", 1);
    let mut request = fetch(topic, 0);
    request.max_wait_ms = 1000;
    let small = request.clone();
    let one = request.topics[0].partitions[0].clone();
    let unknown = (1..1500).map(|partition| FetchPartition {
        partition,
        ..one.clone()
    });
    request.topics[0].partitions.extend(unknown);
    let waits = world.send(first, 17, &request);
    world.settle();
    assert!(!world.has_answer(first));
    world.ask(second, 17, &request);
    // Others wait as ever.
    let waits_too = world.send(second, 17, &small);
    world.settle();
    assert!(!world.has_answer(second));
    world.pass(std::time::Duration::from_secs(1));
    world.answer::<crate::wire::FetchRequest>(first, waits);
    world.answer::<crate::wire::FetchRequest>(second, waits_too);
    // What is answered holds nothing.
    world.send(second, 17, &request);
    world.settle();
    assert!(!world.has_answer(second));
}

#[test]
fn many_topics_are_told_in_pieces_and_the_same() {
    let mut world = World::ready();
    let conn = world.connect();
    let mut names = Vec::new();
    for nth in 0..6 {
        let mut request = topic_request("t", 3);
        let one = request.topics[0].clone();
        request.topics = (0..25)
            .map(|n| crate::wire::create_topics_request::CreatableTopic {
                name: format!("t{nth}-{n}").into(),
                ..one.clone()
            })
            .collect();
        names.extend(request.topics.iter().map(|topic| topic.name.clone()));
        world.ask(conn, 7, &request);
    }
    names.sort_unstable();
    for version in 0..=13 {
        let by_name = |name: &crate::wire::Str| MetadataRequestTopic {
            name: Some(name.clone()),
            ..Default::default()
        };
        let operations = version >= 8;
        let request = |topics| MetadataRequest {
            topics,
            allow_auto_topic_creation: true,
            include_cluster_authorized_operations: operations && version <= 10,
            include_topic_authorized_operations: operations,
            ..Default::default()
        };
        let all = if version == 0 { Some(Vec::new()) } else { None };
        let all = world.ask(conn, version, &request(all));
        let named = names.iter().map(by_name).collect();
        let named = world.ask(conn, version, &request(Some(named)));
        assert_eq!(all, named, "version {version}");
        assert_eq!(all.topics.len(), 150);
    }
}

/// As Kafka answers between the metadata of a new topic and its log.
#[test]
fn a_partition_that_opens_is_not_led_yet() {
    let mut world = World::ready();
    let conn = world.connect();
    let creating = world.send(conn, 7, &topic_request("t", 1));
    // Everything of the new log's directory waits; its metadata record becomes durable.
    let other = world.connect();
    let mut held = Vec::new();
    let topic = loop {
        let metadata = world.ask_now(
            other,
            12,
            &MetadataRequest {
                topics: Some(vec![MetadataRequestTopic {
                    name: Some("t".into()),
                    ..Default::default()
                }]),
                ..Default::default()
            },
        );
        if metadata.topics[0].error_code == ErrorCode::NONE {
            break metadata.topics[0].topic_id;
        }
        let effect = world.waiting.pop_front().expect("the topic comes");
        world.happen(effect);
    };
    held.extend(world.waiting.drain(..));
    assert!(held.iter().any(|e| matches!(e, Effect::Disk { .. })));
    let early = world.ask_now(other, 17, &fetch(topic, 0));
    assert_eq!(
        fetched(&early).error_code,
        ErrorCode::NOT_LEADER_OR_FOLLOWER
    );
    let early = world.ask_now(other, 8, &end());
    assert_eq!(
        early.topics[0].partitions[0].error_code,
        ErrorCode::NOT_LEADER_OR_FOLLOWER
    );
    // A produce waits for the log: refusing it would break its producer's sequence.
    let waits = world.send(other, 13, &produce(-1, topic, 0, &["a"]));
    world.waiting.extend(held);
    world.settle();
    let response = world.answer::<crate::wire::ProduceRequest>(other, waits);
    assert_eq!(produced(&response).error_code, ErrorCode::NONE);
    world.answer::<crate::wire::CreateTopicsRequest>(conn, creating);
    let now = world.ask(other, 8, &end());
    assert_eq!(now.topics[0].partitions[0].offset, 1);
}

/// KIP-207's OFFSET_NOT_AVAILABLE is for a new leader that has not caught up: a restart alone never shows it.
#[test]
fn the_end_is_known_at_once_after_a_crash() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    for acks in [-1, 1] {
        world.ask(conn, 13, &produce(acks, topic, 0, &["a", "b"]));
    }
    world.restart();
    let conn = world.connect();
    let answer = world.ask_now(conn, 8, &end());
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::NONE);
    assert_eq!(partition.offset, 4);
}
