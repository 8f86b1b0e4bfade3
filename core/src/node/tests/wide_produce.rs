//! Produce requests of more partitions than one step appends to.

use super::stories::{create_topic, fetch, fetched};
use super::world::{World, batch};
use crate::ids::Uuid;
use crate::io::{DiskOp, Effect, Input};
use crate::log::Sizes;
use crate::wire::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::{ErrorCode, ProduceRequest};

const PARTITIONS: i32 = 7;

fn wide(topic_id: Uuid, acks: i16, value: &'static str) -> ProduceRequest {
    let one = |index| PartitionProduceData {
        index,
        records: Some(batch(&[value])),
        ..Default::default()
    };
    ProduceRequest {
        acks,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            topic_id,
            partition_data: (0..PARTITIONS).map(one).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn two_at_once() -> World {
    let sizes = Sizes {
        appends: 2,
        ..Sizes::default()
    };
    World::sized(&[], sizes)
}

#[test]
fn requests_of_a_connection_are_appended_one_after_the_other() {
    for acks in [-1, 1] {
        let mut world = two_at_once();
        let [conn, other] = [(); 2].map(|()| world.connect());
        let topic = create_topic(&mut world, conn, "t", PARTITIONS);
        let first = world.send(conn, 13, &wide(topic, acks, "a"));
        let second = world.send(conn, 13, &wide(topic, acks, "b"));
        let third = world.send(other, 13, &wide(topic, acks, "c"));
        world.settle();
        for (conn, id) in [(conn, first), (conn, second), (other, third)] {
            let answer = world.answer::<ProduceRequest>(conn, id);
            let told = &answer.responses[0].partition_responses;
            assert_eq!(told.len(), PARTITIONS as usize);
            assert!(told.iter().all(|one| one.error_code == ErrorCode::NONE));
            // Of one connection nothing of the second request stands before anything of the first.
            if id == second {
                assert!(told.iter().all(|one| one.base_offset >= 1));
            }
        }
        for partition in 0..PARTITIONS {
            let mut request = fetch(topic, 0);
            request.topics[0].partitions[0].partition = partition;
            let answer = world.ask(conn, 17, &request);
            assert_eq!(fetched(&answer).high_watermark, 3, "{partition}");
        }
    }
}

#[test]
fn acknowledged_is_only_what_was_appended_to_the_last_partition() {
    let mut world = two_at_once();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", PARTITIONS);
    let id = world.send(conn, 13, &wide(topic, -1, "a"));
    // The disk is faster than the node: each piece is durable before the next is appended.
    while !world.has_answer(conn) {
        match world.waiting.pop_front() {
            Some(effect) => world.happen(effect),
            None => world.step(Input::Wakeup),
        }
    }
    let answer = world.answer::<ProduceRequest>(conn, id);
    let told = &answer.responses[0].partition_responses;
    assert_eq!(told.len(), PARTITIONS as usize);
    assert!(told.iter().all(|one| one.base_offset == 0));
}

#[test]
fn a_client_that_goes_leaves_no_request_half_appended() {
    let mut second = 0;
    for effects in 0..80 {
        let mut world = two_at_once();
        let conn = world.connect();
        let topic = create_topic(&mut world, conn, "t", PARTITIONS);
        // The first is not answered when the client goes: of the second nothing is appended, or all of it.
        world.hold_syncs = true;
        world.send(conn, 13, &wide(topic, -1, "a"));
        world.send(conn, 13, &wide(topic, -1, "b"));
        for _ in 0..effects {
            let sync = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::Disk {
                        op: DiskOp::Sync { .. },
                        ..
                    }
                )
            };
            if let Some(at) = world.waiting.iter().position(|effect| !sync(effect))
                && let Some(effect) = world.waiting.remove(at)
            {
                world.happen(effect);
            } else {
                world.step(Input::Wakeup);
            }
        }
        world.hang_up(conn);
        world.hold_syncs = false;
        world.settle();
        let conn = world.connect();
        let ends: Vec<i64> = (0..PARTITIONS)
            .map(|partition| {
                let mut request = fetch(topic, 0);
                request.topics[0].partitions[0].partition = partition;
                request.max_wait_ms = 0;
                fetched(&world.ask(conn, 17, &request)).high_watermark
            })
            .collect();
        let all = |count: i64| ends.iter().all(|end| *end == count);
        assert!(all(1) || all(2), "after {effects} effects: {ends:?}");
        second += usize::from(all(2));
    }
    assert!(0 < second && second < 80, "{second} times the second, too");
}
