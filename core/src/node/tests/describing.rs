//! DescribeConfigs that takes many steps, and what is told at the listener of the controllers.

use super::stories::{create_topic, topic_request};
use super::world::World;
use crate::ids::{ConnId, ListenerId};
use crate::io::Input;
use crate::metadata::Resource;
use crate::wire::describe_configs_request::DescribeConfigsResource;
use crate::wire::*;

fn of(kind: i8, names: &[Str]) -> DescribeConfigsRequest {
    let resources = names.iter().map(|name| DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.clone(),
        ..Default::default()
    });
    DescribeConfigsRequest {
        resources: resources.collect(),
        ..Default::default()
    }
}

#[test]
fn many_resources_are_described_in_pieces_and_the_same() {
    let mut world = World::ready();
    let conn = world.connect();
    let mut request = topic_request("t", 1);
    let one = request.topics[0].clone();
    request.topics = (0..150)
        .map(|n| create_topics_request::CreatableTopic {
            name: format!("t{n}").into(),
            ..one.clone()
        })
        .collect();
    let names: Vec<Str> = request.topics.iter().map(|t| t.name.clone()).collect();
    world.ask(conn, 7, &request);
    for version in 1..=4 {
        let whole = world.ask(conn, version, &of(Resource::TOPIC, &names));
        assert_eq!(whole.results.len(), 150, "version {version}");
        for (name, result) in names.iter().zip(whole.results) {
            let alone = of(Resource::TOPIC, std::slice::from_ref(name));
            let alone = world.ask_now(conn, version, &alone);
            assert_eq!(alone.results, [result], "version {version}");
        }
    }
}

/// Ten brokers' properties are a piece.
#[test]
fn whoever_asks_meanwhile_is_answered_before_a_large_description() {
    let mut world = World::ready();
    let (many, few) = (world.connect(), world.connect());
    let repeated = of(Resource::BROKER, &vec!["1".into(); 305]);
    let described = world.send(many, 4, &repeated);
    for _ in 0..4 {
        world.ask_now(few, 4, &ApiVersionsRequest::default());
        assert!(!world.has_answer(many));
    }
    // Two descriptions take turns.
    let second = world.send(few, 4, &of(Resource::BROKER, &vec!["1".into(); 25]));
    let mut steps = 0;
    while !world.has_answer(many) {
        assert!(steps <= 8 || world.has_answer(few), "the short one waits");
        world.step(Input::Wakeup);
        steps += 1;
    }
    assert!((20..=30).contains(&steps), "{steps} steps for what is left");
    let whole = world.answer::<DescribeConfigsRequest>(many, described);
    assert_eq!(whole.results.len(), 305);
    let first = &whole.results[0];
    assert!(first.configs.len() > 300);
    assert!(whole.results.iter().all(|result| result == first));
    let other = world.answer::<DescribeConfigsRequest>(few, second);
    assert_eq!(other.results, whole.results[..25]);
}

#[test]
fn a_description_that_nobody_waits_for_ends() {
    let mut world = World::ready();
    let (gone, conn) = (world.connect(), world.connect());
    world.send(gone, 4, &of(Resource::BROKER, &vec!["1".into(); 500]));
    world.hang_up(gone);
    world.step(Input::Wakeup);
    let alone = world.ask_now(conn, 4, &of(Resource::BROKER, &["1".into()]));
    assert_eq!(alone.results.len(), 1);
}

/// Asks as an administrator who was given a controller's address.
fn describe_controllers(world: &mut World, conn: ConnId, version: i16) -> DescribeClusterResponse {
    let request = DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: if version == 0 { 1 } else { 2 },
        ..Default::default()
    };
    world.ask_now(conn, version, &request)
}

#[test]
fn a_controller_tells_of_the_controllers() {
    let mut world = World::ready();
    let conn = world.connect_at(ListenerId(1));
    for version in 1..=2 {
        let told = describe_controllers(&mut world, conn, version);
        assert_eq!(told.error_code, ErrorCode::NONE);
        assert_eq!((told.endpoint_type, told.controller_id), (2, 1));
        assert_eq!(told.cluster_authorized_operations, 0x1fa0);
        assert!(!told.cluster_id.is_empty());
        let brokers = told.brokers.iter();
        let told: Vec<_> = brokers
            .map(|broker| (broker.broker_id, broker.host.as_str(), broker.port))
            .collect();
        assert_eq!(told, [(1, "127.0.0.1", 9093)]);
    }
    let old = describe_controllers(&mut world, conn, 0);
    assert_eq!(old.error_code, ErrorCode::INVALID_REQUEST);
    let codes = [
        (1, ErrorCode::MISMATCHED_ENDPOINT_TYPE),
        (3, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE),
    ];
    for (endpoint_type, code) in codes {
        let request = DescribeClusterRequest {
            endpoint_type,
            ..Default::default()
        };
        let refused = world.ask_now(conn, 1, &request);
        assert_eq!((refused.error_code, refused.brokers.len()), (code, 0));
    }
}

#[test]
fn a_controller_describes_what_a_broker_describes() {
    let mut world = World::ready();
    let broker = world.connect();
    create_topic(&mut world, broker, "t", 1);
    let controller = world.connect_at(ListenerId(1));
    for (kind, name) in [(Resource::BROKER, "1"), (Resource::TOPIC, "t")] {
        let request = of(kind, &[name.into()]);
        let told = world.ask_now(controller, 4, &request);
        assert_eq!(told.results[0].error_code, ErrorCode::NONE);
        assert_eq!(told, world.ask_now(broker, 4, &request));
    }
}
