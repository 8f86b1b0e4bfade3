//! Creations that take more than one batch of the metadata log: what others see meanwhile, and what is left when the node dies in the middle.

use super::stories::{create_topic, topic_request};
use super::world::World;
use crate::ids::ConnId;
use crate::log::Sizes;
use crate::wire::metadata_request::MetadataRequestTopic;
use crate::wire::{
    CreateTopicsRequest, ErrorCode, InitProducerIdRequest, MetadataRequest, ProduceRequest,
};

/// A node whose batches of metadata hold so many records.
fn batches_of(metadata_records: usize) -> World {
    let sizes = Sizes {
        metadata_records,
        ..Sizes::default()
    };
    World::sized(&[], sizes)
}

/// How many partitions a topic has for who asks now; none if it does not exist.
fn partitions(world: &mut World, conn: ConnId, name: &'static str) -> Option<usize> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let mut answer = world.ask_now(conn, 12, &request);
    let topic = answer.topics.remove(0);
    (topic.error_code == ErrorCode::NONE).then_some(topic.partitions.len())
}

#[test]
fn who_changes_the_metadata_waits_for_a_large_creation_and_nobody_else_does() {
    let mut world = batches_of(2);
    let conns = [(); 4].map(|()| world.connect());
    let old = create_topic(&mut world, conns[0], "old", 1);
    let large = world.send(conns[0], 7, &topic_request("t", 7));
    let again = world.send(conns[1], 7, &topic_request("t", 7));
    let small = world.send(conns[2], 7, &topic_request("s", 1));
    let plain = InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    let ids = world.send(conns[3], 4, &plain);
    let other = world.connect();
    assert_eq!(partitions(&mut world, other, "t"), None);
    let produced =
        world.ask::<ProduceRequest>(other, 13, &super::stories::produce(1, old, 0, &["a"]));
    assert_eq!(
        super::stories::produced(&produced).error_code,
        ErrorCode::NONE
    );
    world.settle();
    let code = |world: &mut World, conn, id| {
        let answer = world.answer::<CreateTopicsRequest>(conn, id);
        answer.topics[0].error_code
    };
    assert_eq!(code(&mut world, conns[0], large), ErrorCode::NONE);
    assert_eq!(
        code(&mut world, conns[1], again),
        ErrorCode::TOPIC_ALREADY_EXISTS
    );
    assert_eq!(code(&mut world, conns[2], small), ErrorCode::NONE);
    let given = world.answer::<InitProducerIdRequest>(conns[3], ids);
    assert_eq!((given.error_code, given.producer_id), (ErrorCode::NONE, 0));
    assert_eq!(partitions(&mut world, other, "t"), Some(7));
}

#[test]
fn a_node_that_dies_in_a_large_creation_has_all_of_it_or_nothing() {
    let mut open = 0;
    for steps in 0.. {
        let mut world = batches_of(2);
        let conn = world.connect();
        create_topic(&mut world, conn, "old", 1);
        let id = world.send(conn, 7, &topic_request("t", 5));
        // The disk is faster than the node: every piece is durable before the next.
        for _ in 0..steps {
            if let Some(effect) = world.waiting.pop_front() {
                world.happen(effect);
            } else if world
                .node
                .next_wakeup()
                .is_some_and(|(due, _)| due <= world.now.mono)
            {
                world.step(crate::io::Input::Wakeup);
            }
        }
        let answered = world.has_answer(conn);
        if answered {
            let answer = world.answer::<CreateTopicsRequest>(conn, id);
            assert_eq!(answer.topics[0].error_code, ErrorCode::NONE);
        }
        open += usize::from(world.node.image().in_transaction());
        world.restart();
        let conn = world.connect();
        let there = partitions(&mut world, conn, "t");
        assert!(there.is_none_or(|count| count == 5), "{there:?}");
        if answered {
            assert_eq!(there, Some(5));
            break;
        }
        assert!(!world.node.image().in_transaction());
        if there.is_none() {
            create_topic(&mut world, conn, "t", 6);
            assert_eq!(partitions(&mut world, conn, "t"), Some(6));
        }
    }
    assert!(open > 5, "{open} deaths left a transaction open");
}
