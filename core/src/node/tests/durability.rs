//! What an answer promises: that it comes no sooner than the disk has it, and that it is there after a crash.

use std::time::Duration;

use bytes::Bytes;

use super::stories::{bytes, create_topic, fetch, fetched, produce, produced, topic_request};
use super::world::{World, batch};
use crate::ids::{ProducerId, Uuid};
use crate::io::{Halt, Input};
use crate::mark::Mark;
use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use crate::wire::{CreateTopicsRequest, ErrorCode, FetchRequest, ProduceRequest};

/// A batch of an idempotent producer.
fn sequenced(topic: Uuid, sequence: i32, value: &'static str) -> ProduceRequest {
    let options = BatchOptions {
        producer_id: ProducerId(7),
        producer_epoch: 0,
        base_sequence: sequence,
        ..Default::default()
    };
    let record = RecordToWrite {
        timestamp: 1_700_000_000_000,
        value: Some(Bytes::from_static(value.as_bytes())),
        ..Default::default()
    };
    let mut request = produce(-1, topic, 0, &[]);
    let records = encode_batch(options, &[record]);
    request.topic_data[0].partition_data[0].records = Some(records);
    request
}

#[test]
fn acks_all_waits_for_the_sync_and_acks_one_for_the_write() {
    let mut world = World::ready();
    let (one, all, consumer) = (world.connect(), world.connect(), world.connect());
    let topic = create_topic(&mut world, one, "t", 1);
    world.hold_syncs = true;
    let first = world.send(one, 13, &produce(1, topic, 0, &["a"]));
    let second = world.send(all, 13, &produce(-1, topic, 0, &["b"]));
    let poll = world.send(consumer, 17, &fetch(topic, 0));
    world.settle();
    let response = world.answer::<ProduceRequest>(one, first);
    assert_eq!(produced(&response).error_code, ErrorCode::NONE);
    assert!(!world.has_answer(all), "nothing is synced");
    assert!(
        !world.has_answer(consumer),
        "nobody reads what a power cut can take back"
    );
    world.hold_syncs = false;
    world.settle();
    let response = world.answer::<ProduceRequest>(all, second);
    assert_eq!(produced(&response).base_offset, 1);
    let response = world.answer::<FetchRequest>(consumer, poll);
    assert_eq!(
        fetched(&response).high_watermark,
        1,
        "the first sync covers the first append"
    );
}

#[test]
fn a_topic_is_there_or_not_only_when_that_is_committed() {
    let mut world = World::ready();
    let (first, again) = (world.connect(), world.connect());
    world.hold_syncs = true;
    let asked = [first, again].map(|conn| world.send(conn, 7, &topic_request("t", 1)));
    world.settle();
    for conn in [first, again] {
        assert!(!world.has_answer(conn), "a power cut can undo the creation");
    }
    world.hold_syncs = false;
    world.settle();
    let mut told = |conn, id| world.answer::<CreateTopicsRequest>(conn, id).topics[0].error_code;
    assert_eq!(told(first, asked[0]), ErrorCode::NONE);
    assert_eq!(told(again, asked[1]), ErrorCode::TOPIC_ALREADY_EXISTS);
}

#[test]
fn a_produce_that_the_disk_keeps_waiting_times_out() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    world.hold_syncs = true;
    let id = world.send(conn, 13, &produce(-1, topic, 0, &["a"]));
    world.settle();
    world.pass(Duration::from_millis(999));
    assert!(!world.has_answer(conn));
    world.pass(Duration::from_millis(1));
    let response = world.answer::<ProduceRequest>(conn, id);
    assert_eq!(produced(&response).error_code, ErrorCode::REQUEST_TIMED_OUT);
    world.hold_syncs = false;
    let response = world.ask(conn, 17, &fetch(topic, 0));
    assert_eq!(
        fetched(&response).high_watermark,
        1,
        "it was appended all the same"
    );
}

#[test]
fn a_duplicate_is_answered_as_the_first_time_and_no_sooner() {
    let mut world = World::ready();
    let (first, again) = (world.connect(), world.connect());
    let topic = create_topic(&mut world, first, "t", 1);
    world.ask(first, 13, &produce(-1, topic, 0, &["a"]));
    world.hold_syncs = true;
    let one = world.send(first, 13, &sequenced(topic, 0, "b"));
    world.settle();
    let two = world.send(again, 13, &sequenced(topic, 0, "b"));
    world.settle();
    assert!(world.marked(Mark::DuplicateBatch));
    assert!(!world.has_answer(first) && !world.has_answer(again));
    world.hold_syncs = false;
    world.settle();
    let response = world.answer::<ProduceRequest>(first, one);
    assert_eq!(produced(&response).base_offset, 1);
    let response = world.answer::<ProduceRequest>(again, two);
    assert_eq!(
        (
            produced(&response).error_code,
            produced(&response).base_offset
        ),
        (ErrorCode::NONE, 1)
    );
    let response = world.ask(first, 13, &sequenced(topic, 5, "c"));
    assert_eq!(
        produced(&response).error_code,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
}

#[test]
fn what_was_acknowledged_is_there_in_the_next_life() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 2);
    world.ask(conn, 13, &produce(-1, topic, 0, &["a", "b"]));
    world.ask(conn, 13, &sequenced(topic, 0, "c"));
    for life in 0..2 {
        world.restart();
        let conn = world.connect();
        let response = world.ask(conn, 17, &fetch(topic, 0));
        let partition = fetched(&response);
        assert_eq!(
            (partition.error_code, partition.high_watermark),
            (ErrorCode::NONE, 3)
        );
        assert!(bytes(partition) > batch(&["a", "b"]).len());
        let response = world.ask(conn, 13, &sequenced(topic, 0, "c"));
        assert_eq!(
            produced(&response).base_offset,
            2,
            "life {life} knows the producer"
        );
        assert!(world.marked(Mark::DuplicateBatch));
    }
    assert!(world.marked(Mark::UncleanStart));
}

#[test]
fn a_graceful_stop_answers_what_it_has_and_leaves_a_clean_disk() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    world.hold_syncs = true;
    let id = world.send(conn, 13, &produce(-1, topic, 0, &["a"]));
    world.settle();
    world.step(Input::Shutdown);
    world.hold_syncs = false;
    world.settle();
    assert_eq!(world.halted, Some(Halt::Clean));
    let response = world.answer::<ProduceRequest>(conn, id);
    assert_eq!(produced(&response).error_code, ErrorCode::NONE);
    world.restart();
    assert!(world.marked(Mark::CleanStart));
    let conn = world.connect();
    let response = world.ask(conn, 17, &fetch(topic, 0));
    assert_eq!(fetched(&response).high_watermark, 1);
}

#[test]
fn appends_that_wait_for_the_same_disk_share_a_sync() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 4);
    world.hold_syncs = true;
    world.marks.clear();
    let ids: Vec<i32> = (0..4)
        .map(|p| world.send(conn, 13, &produce(-1, topic, p, &["a"])))
        .collect();
    world.settle();
    world.hold_syncs = false;
    world.settle();
    for id in ids {
        let response = world.answer::<ProduceRequest>(conn, id);
        assert_eq!(produced(&response).error_code, ErrorCode::NONE);
    }
    assert!(world.marked(Mark::GroupCommit));
}

#[test]
fn two_runs_of_the_same_story_are_the_same() {
    let story = || {
        let mut world = World::ready();
        let conn = world.connect();
        let topic = create_topic(&mut world, conn, "t", 2);
        world.ask(conn, 13, &produce(-1, topic, 0, &["a", "b"]));
        world.restart();
        let conn = world.connect();
        world.ask(conn, 13, &produce(1, topic, 1, &["c"]));
        (world.node.digest(), world.marks)
    };
    assert_eq!(story(), story());
}

#[test]
fn the_digest_knows_what_waits_and_not_what_it_is_called() {
    let story = |before: usize, wait_ms: u64, values: &'static [&'static str]| {
        let mut world = World::ready();
        // Connections and requests that are over leave names that were used, and nothing else.
        for _ in 0..before {
            let conn = world.connect();
            world.ask(conn, 12, &crate::wire::MetadataRequest::default());
            world.hang_up(conn);
        }
        let conn = world.connect();
        let topic = create_topic(&mut world, conn, "t", 1);
        world.hold_syncs = true;
        world.send(conn, 13, &produce(-1, topic, 0, values));
        world.settle();
        world.pass(Duration::from_millis(wait_ms));
        // Times count from the last step.
        world.connect();
        world.node.digest()
    };
    let one = &["a"];
    assert_eq!(story(0, 5, one), story(3, 5, one));
    assert_ne!(story(0, 5, one), story(0, 6, one), "time has passed");
    assert_ne!(story(0, 5, one), story(0, 5, &["a", "b"]));
}

#[test]
fn a_topic_that_is_being_created_keeps_a_producers_batches_in_order() {
    let mut world = World::ready();
    let (admin, conn) = (world.connect(), world.connect());
    world.hold_syncs = true;
    let request = topic_request("t", 1);
    let created = world.send(admin, 7, &request);
    // The metadata log commits, the partition's directory and files are still on their way.
    for _ in 0..1000 {
        let name = world.node.image().topics.id("t");
        if name.is_some() {
            break;
        }
        let effect = world.waiting.pop_front().expect("the disk has work");
        world.happen(effect);
    }
    let topic = world
        .node
        .image()
        .topics
        .id("t")
        .expect("a committed topic");
    assert!(
        world
            .node
            .partitions()
            .iter()
            .all(|partition| partition.is_opening())
    );
    assert!(!world.has_answer(admin), "told when it can be written");
    let first = world.send(conn, 13, &sequenced(topic, 0, "a"));
    let second = world.send(conn, 13, &sequenced(topic, 1, "b"));
    world.hold_syncs = false;
    world.settle();
    for (base, id) in [(0, first), (1, second)] {
        let response = world.answer::<ProduceRequest>(conn, id);
        let partition = produced(&response);
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (ErrorCode::NONE, base)
        );
    }
    let response = world.answer::<CreateTopicsRequest>(admin, created);
    assert_eq!(response.topics[0].error_code, ErrorCode::NONE);
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let mut world = World::ready();
    let (conn, asking) = (world.connect(), world.connect());
    create_topic(&mut world, conn, "t", 1);
    world.full = true;
    world.send(asking, 7, &topic_request("u", 1));
    world.settle();
    assert!(world.marked(Mark::DiskFull) && !world.has_answer(asking));
    world.step(Input::Shutdown);
    world.settle();
    assert_eq!(world.halted, Some(Halt::Clean), "{:?}", world.events);
    world.full = false;
    world.restart();
    let conn = world.connect();
    let answer = world.ask(conn, 7, &topic_request("t", 1));
    assert_eq!(answer.topics[0].error_code, ErrorCode::TOPIC_ALREADY_EXISTS);
    let answer = world.ask(conn, 7, &topic_request("u", 1));
    assert_eq!(
        answer.topics[0].error_code,
        ErrorCode::NONE,
        "nobody was told of it"
    );
}

/// As with Kafka: what is appended and acknowledged by the leader alone never times out, or a plain producer would send it again.
#[test]
fn what_the_leader_acknowledges_alone_never_times_out() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    for (acks, error) in [(1, ErrorCode::NONE), (-1, ErrorCode::REQUEST_TIMED_OUT)] {
        let mut request = produce(acks, topic, 0, &["a"]);
        request.timeout_ms = 0;
        let answer = world.ask(conn, 13, &request);
        assert_eq!(produced(&answer).error_code, error, "acks={acks}");
    }
}
