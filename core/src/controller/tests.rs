//! Stories of the controller: requests in, records and responses out, and a model that replays beside it. Writes no log.

use proptest::prelude::*;

use super::*;
use crate::config::{Listener, SecurityProtocol};
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use crate::wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use crate::wire::delete_topics_request::DeleteTopicState;
use crate::wire::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FeatureLevelRecord,
};

/// A controller and the log that it would have: what was appended is replayed into an image of its own.
struct World {
    controller: Controller,
    committed: Image,
    log: Vec<Vec<MetadataRecord>>,
    rng: Rng,
}

fn bootstrap(features: &[(&'static str, i16)]) -> Vec<MetadataRecord> {
    let level = |(name, feature_level): &(&'static str, i16)| {
        FeatureLevelRecord {
            name: (*name).into(),
            feature_level: *feature_level,
            ..Default::default()
        }
        .into()
    };
    features.iter().map(level).collect()
}

fn me(incarnation: u8) -> Registration {
    let listener = |name: &str, port| Listener {
        name: name.into(),
        host: "127.0.0.1".into(),
        port,
        protocol: SecurityProtocol::Plaintext,
    };
    Registration {
        node_id: NodeId(1),
        incarnation: Uuid([incarnation; 16]),
        broker_listeners: vec![listener("PLAINTEXT", 9092)],
        controller_listeners: vec![listener("CONTROLLER", 9093)],
        rack: None,
        log_dirs: vec![Uuid([101; 16]), Uuid([102; 16])],
    }
}

impl World {
    fn started(overrides: &[(&str, &str)]) -> World {
        let config = Config::single(1, &["/a", "/b"], overrides).expect("valid");
        let mut world = World {
            controller: Controller::new(&config),
            committed: Image::default(),
            log: Vec::new(),
            rng: Rng::new([9; 32]),
        };
        world.start(1);
        world
    }

    fn start(&mut self, incarnation: u8) {
        while let Some(records) = self
            .controller
            .startup(
                &me(incarnation),
                &bootstrap(&[("metadata.version", 30)]),
                self.committed.offset.next(),
                true,
            )
            .expect("nothing is missing")
        {
            self.append(records);
        }
    }

    /// The node stops and comes back with what the log holds.
    fn restart(&mut self, incarnation: u8) {
        self.controller = Controller::new(&self.controller.config);
        let mut next = 0;
        for batch in &self.log {
            next += batch.len() as i64;
            self.controller
                .replay(
                    Offset(next - 1),
                    LeaderEpoch(1),
                    batch.clone(),
                    Mutants::NONE,
                )
                .expect("our own log");
        }
        self.start(incarnation);
    }

    fn append(&mut self, records: Vec<VersionedRecord>) {
        if records.is_empty() {
            return;
        }
        let decoded: Vec<MetadataRecord> = records
            .iter()
            .map(|(record, version)| {
                let value = record
                    .encode_value(*version)
                    .expect("the version has room for it");
                MetadataRecord::decode_value(value)
                    .expect("what was encoded")
                    .0
            })
            .collect();
        let last = Offset(self.committed.offset.0 + decoded.len() as i64);
        self.controller.appended(last, LeaderEpoch(1));
        self.committed
            .replay(
                last,
                LeaderEpoch(1),
                decoded.clone(),
                &mut Delta::default(),
                Mutants::NONE,
            )
            .expect("our own log");
        self.log.push(decoded);
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<(String, ErrorCode, Option<String>)> {
        let request = CreateTopicsRequest {
            topics,
            ..Default::default()
        };
        let outcome = self.controller.create_topics(&request, 7, &self.rng);
        self.append(outcome.records);
        let line = |topic: &crate::wire::create_topics_response::CreatableTopicResult| {
            (
                topic.name.to_string(),
                topic.error_code,
                topic.error_message.as_ref().map(ToString::to_string),
            )
        };
        outcome.response.topics.iter().map(line).collect()
    }

    fn delete(&mut self, names: &[&'static str]) -> Vec<(Option<String>, ErrorCode)> {
        let topics = names.iter().map(|name| DeleteTopicState {
            name: Some((*name).into()),
            ..Default::default()
        });
        let request = DeleteTopicsRequest {
            topics: topics.collect(),
            timeout_ms: 1000,
            ..Default::default()
        };
        let outcome = self.controller.delete_topics(&request, 6);
        self.append(outcome.records);
        let line = |topic: &crate::wire::delete_topics_response::DeletableTopicResult| {
            (
                topic.name.as_ref().map(ToString::to_string),
                topic.error_code,
            )
        };
        outcome.response.responses.iter().map(line).collect()
    }

    fn check(&self) {
        assert_eq!(
            self.controller.image, self.committed,
            "the controller's state is the replay of its records"
        );
        let mut fresh = Controller::new(&self.controller.config);
        let mut next = 0;
        for batch in &self.log {
            next += batch.len() as i64;
            fresh
                .replay(
                    Offset(next - 1),
                    LeaderEpoch(1),
                    batch.clone(),
                    Mutants::NONE,
                )
                .expect("our own log");
        }
        assert_eq!(fresh.image, self.controller.image);
        assert_eq!(fresh.collisions, self.controller.collisions);
        let mut settled = self.controller.clone();
        while settled.forget_removed() {}
        while fresh.forget_removed() {}
        assert_eq!(fresh.replicas, settled.replicas);
        let mut counted = BTreeMap::new();
        for (_, _, partition) in settled.image.topics.partitions_after(None) {
            for directory in &partition.directories {
                *counted.entry(*directory).or_insert(0) += 1;
            }
        }
        assert_eq!(settled.replicas, counted);
    }
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name.to_owned()),
        num_partitions: partitions,
        replication_factor: -1,
        ..Default::default()
    }
}

#[test]
fn a_start_writes_what_kafka_writes() {
    let mut world = World::started(&[]);
    let names = |log: &[Vec<MetadataRecord>]| -> Vec<Vec<i16>> {
        log.iter()
            .map(|batch| batch.iter().map(MetadataRecord::id).collect())
            .collect()
    };
    // Begin, level, end; controller; broker; unfenced, nothing cordoned.
    assert_eq!(
        names(&world.log),
        [vec![23, 12, 24], vec![27], vec![0], vec![17, 17]]
    );
    let broker = &world.committed.brokers[&1];
    assert_eq!(broker.broker_epoch, 4, "the offset of the registration");
    assert!(!broker.fenced);
    world.check();

    world.create(vec![topic("foo", 2)]);
    let before = world.log.len();
    world.restart(2);
    // Controller; leaders end; broker; unfenced; leaders.
    assert_eq!(
        names(&world.log[before..]),
        [vec![27], vec![5, 5], vec![0], vec![17, 17], vec![5, 5]]
    );
    let partition = world
        .committed
        .topics
        .by_name("foo")
        .expect("survives")
        .partitions[&0]
        .clone();
    assert_eq!(
        (partition.leader, partition.leader_epoch, partition.isr),
        (NodeId(1), LeaderEpoch(2), vec![1])
    );
    world.check();
}

#[test]
fn a_start_waits_for_the_logs_and_refuses_levels_that_it_lacks() {
    let config = Config::single(1, &["/a"], &[]).expect("valid");
    let mut controller = Controller::new(&config);
    let plain = bootstrap(&[("metadata.version", 30)]);
    while controller
        .startup(&me(1), &plain, Offset(0), false)
        .expect("nothing is missing")
        .is_some()
    {}
    assert_eq!(*controller.startup_phase(), Startup::Unfence);

    let mut controller = Controller::new(&config);
    let levels = bootstrap(&[
        ("metadata.version", 30),
        ("group.version", 1),
        ("transaction.version", 2),
    ]);
    let refused = controller
        .startup(&me(1), &levels, Offset(0), true)
        .expect_err("levels that are not implemented");
    assert!(
        refused.contains("group.version=1, transaction.version=2"),
        "{refused}"
    );
    assert!(
        refused.ends_with("--feature group.version=0 --feature transaction.version=0"),
        "{refused}"
    );
    let no_level = bootstrap(&[("group.version", 0)]);
    let mut controller = Controller::new(&config);
    let refused = controller
        .startup(&me(1), &no_level, Offset(0), true)
        .expect_err("no metadata.version");
    assert!(refused.contains("format"), "{refused}");
    let mut controller = Controller::new(&config);
    let latest = controller.startup(&me(1), &[], Offset(0), true);
    assert_eq!(
        latest
            .expect("the latest level")
            .map(|records| records.len()),
        Some(3)
    );
}

#[test]
fn a_replica_whose_directory_is_gone_does_not_lead() {
    let mut world = World::started(&[]);
    world.create(vec![topic("t", 2)]);
    let directory = |world: &World, index: i32| {
        let topic = world.committed.topics.by_name("t").expect("created");
        topic.partitions[&index].directories[0]
    };
    let (kept, lost) = (directory(&world, 0), directory(&world, 1));
    assert_ne!(kept, lost);
    world.controller = Controller::new(&world.controller.config);
    let mut next = 0;
    for batch in &world.log {
        next += batch.len() as i64;
        let batch = batch.clone();
        world
            .controller
            .replay(Offset(next - 1), LeaderEpoch(1), batch, Mutants::NONE)
            .expect("our own log");
    }
    let me = Registration {
        log_dirs: vec![kept, Uuid([103; 16])],
        ..me(2)
    };
    while let Some(records) = world
        .controller
        .startup(&me, &[], world.committed.offset.next(), true)
        .expect("fine")
    {
        world.append(records);
    }
    let topic = world.committed.topics.by_name("t").expect("survives");
    assert_eq!(
        (topic.partitions[&0].leader, topic.partitions[&1].leader),
        (NodeId(1), NodeId::NONE)
    );
    assert_eq!(
        topic.partitions[&1].isr,
        [1],
        "the last member stays: its directory may come back"
    );
    world.restart(3);
    let topic = world.committed.topics.by_name("t").expect("survives");
    assert_eq!(topic.partitions[&1].leader, NodeId(1), "it has come back");
}

#[test]
fn a_directory_that_fails_takes_its_partitions_from_the_broker() {
    let mut world = World::started(&[]);
    world.create(vec![topic("t", 4)]);
    assert_eq!(world.controller.go_on_with_directories(), None);
    let (kept, lost) = (Uuid([101; 16]), Uuid([102; 16]));
    world.controller.lose_directories(NodeId(1), vec![kept]);
    while let Some(records) = world.controller.go_on_with_directories() {
        world.append(records);
    }
    assert_eq!(world.committed.brokers[&1].log_dirs, [kept]);
    let topic_state = world.committed.topics.by_name("t").expect("there");
    for partition in topic_state.partitions.values() {
        let leader = if partition.directories == [lost] {
            NodeId::NONE
        } else {
            NodeId(1)
        };
        assert_eq!(
            (partition.leader, partition.isr.as_slice()),
            (leader, &[1][..])
        );
    }
    world.create(vec![topic("u", 3)]);
    let new = world.committed.topics.by_name("u").expect("created");
    assert!(
        new.partitions
            .values()
            .all(|partition| partition.directories == [kept])
    );
    world.check();
    world.restart(2);
    assert!(
        world
            .committed
            .topics
            .by_name("t")
            .expect("there")
            .partitions
            .values()
            .all(|partition| partition.leader == NodeId(1)),
        "it was repaired"
    );
    world.check();
}

#[test]
fn an_open_transaction_is_aborted_and_the_bootstrap_repeated() {
    let config = Config::single(1, &["/a"], &[]).expect("valid");
    let mut controller = Controller::new(&config);
    let begin: MetadataRecord = crate::wire::BeginTransactionRecord::default().into();
    controller
        .replay(Offset(0), LeaderEpoch(1), [begin], Mutants::NONE)
        .expect("an open transaction");
    let records = controller
        .startup(
            &me(1),
            &bootstrap(&[("metadata.version", 30)]),
            Offset(1),
            true,
        )
        .expect("fine")
        .expect("records");
    let ids: Vec<i16> = records.iter().map(|(record, _)| record.id()).collect();
    assert_eq!(ids, [25, 23, 12, 24]);
}

#[test]
fn topics_are_refused_as_kafka_refuses_them() {
    let mut world = World::started(&[("num.partitions", "3")]);
    world.create(vec![topic("exists", 1), topic("a.b", 1)]);
    let config = |name: &'static str, value: Option<&'static str>| CreatableTopicConfig {
        name: name.into(),
        value: value.map(Str::from),
        ..Default::default()
    };
    let assigned = |assignments: &[(i32, &[i32])]| CreatableTopic {
        name: "t".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments
            .iter()
            .map(|(index, ids)| CreatableReplicaAssignment {
                partition_index: *index,
                broker_ids: ids.to_vec(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let cases = [
        (
            topic("exists", 1),
            ErrorCode::TOPIC_ALREADY_EXISTS,
            "Topic 'exists' already exists.",
        ),
        (
            topic("a_b", 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic 'a_b' collides with existing topic: a.b",
        ),
        (
            topic("", 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: the empty string is not allowed",
        ),
        (
            topic("..", 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: '..' is not allowed",
        ),
        (
            topic("ü", 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: 'ü' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            topic("t", 0),
            ErrorCode::INVALID_PARTITIONS,
            "Number of partitions was set to an invalid non-positive value.",
        ),
        (
            CreatableTopic {
                replication_factor: 0,
                ..topic("t", 1)
            },
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            CreatableTopic {
                replication_factor: 2,
                ..topic("t", 1)
            },
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
        (
            CreatableTopic {
                configs: vec![config("no.such", Some("1"))],
                ..topic("t", 1)
            },
            ErrorCode::INVALID_CONFIG,
            "Unknown topic config name: no.such",
        ),
        (
            CreatableTopic {
                configs: vec![config("retention.ms", None)],
                ..topic("t", 1)
            },
            ErrorCode::INVALID_CONFIG,
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            CreatableTopic {
                configs: vec![config("retention.ms", Some("x"))],
                ..topic("t", 1)
            },
            ErrorCode::INVALID_CONFIG,
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            topic("__cluster_metadata", 1),
            ErrorCode::INVALID_REQUEST,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            assigned(&[(0, &[])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            assigned(&[(0, &[2])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes broker 2, but no such broker is registered.",
        ),
        (
            assigned(&[(1, &[1])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned(&[(0, &[1]), (0, &[1])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "Found multiple manual partition assignments for partition 0",
        ),
        (
            CreatableTopic {
                num_partitions: 1,
                ..assigned(&[(0, &[1])])
            },
            ErrorCode::INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
    ];
    let before = world.log.len();
    for (wanted, code, message) in cases {
        let name = wanted.name.to_string();
        assert_eq!(
            world.create(vec![wanted]),
            [(name, code, Some(message.to_owned()))]
        );
    }
    assert_eq!(
        world.create(vec![topic("t", 1), topic("t", 2)]),
        [(
            "t".to_owned(),
            ErrorCode::INVALID_REQUEST,
            Some("Duplicate topic name.".to_owned())
        )]
    );
    let many = world.create(vec![topic("x", 9_999), topic("y", 2)]);
    assert!(
        many.iter()
            .all(|(_, code, _)| *code == ErrorCode::POLICY_VIOLATION)
    );
    // The topic's own record is one too many for the batch.
    let whole = world.create(vec![topic("x", 10_000)]);
    let why = "Unable to perform excessively large batch operation.".to_owned();
    let refused = ("x".to_owned(), ErrorCode::POLICY_VIOLATION, Some(why));
    assert_eq!(whole, [refused]);
    assert_eq!(world.log.len(), before, "nothing was written");
    world.check();
}

#[test]
fn two_new_names_of_one_request_do_not_collide_with_each_other() {
    let mut world = World::started(&[]);
    let codes = |told: Vec<(String, ErrorCode, Option<String>)>| -> Vec<ErrorCode> {
        told.into_iter().map(|(_, code, _)| code).collect()
    };
    let both = world.create(vec![topic("a.b", 1), topic("a_b", 1)]);
    assert_eq!(codes(both), [ErrorCode::NONE, ErrorCode::NONE]);
    // The next one collides with what is there by then.
    let later = world.create(vec![topic("a.b.c", 1), topic("a_b", 1)]);
    assert_eq!(
        codes(later),
        [ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS]
    );
    let third = world.create(vec![topic("a.b_c", 1)]);
    assert_eq!(codes(third), [ErrorCode::INVALID_TOPIC_EXCEPTION]);
}

#[test]
fn a_topic_gets_its_defaults_its_properties_and_both_directories() {
    let mut world = World::started(&[("num.partitions", "3"), ("log.retention.hours", "2")]);
    let wanted = CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: "segment.bytes".into(),
            value: Some("2000000".into()),
            ..Default::default()
        }],
        ..topic("t", -1)
    };
    let request = CreateTopicsRequest {
        topics: vec![wanted],
        ..Default::default()
    };
    let validated = world.controller.create_topics(
        &CreateTopicsRequest {
            validate_only: true,
            ..request.clone()
        },
        7,
        &world.rng,
    );
    assert!(
        validated.records.is_empty() && validated.response.topics[0].error_code == ErrorCode::NONE
    );
    let outcome = world.controller.create_topics(&request, 7, &world.rng);
    let kinds: Vec<i16> = outcome
        .records
        .iter()
        .map(|(record, _)| record.id())
        .collect();
    assert_eq!(kinds, [2, 4, 3, 3, 3], "topic, properties, partitions");
    world.append(outcome.records);
    let result = &outcome.response.topics[0];
    assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
    let configs = result.configs.as_ref().expect("since version 5");
    let find = |name: &str| {
        configs
            .iter()
            .find(|config| config.name == name)
            .map(|config| (config.value.as_ref().map(Str::as_str), config.config_source))
    };
    assert_eq!(find("segment.bytes"), Some((Some("2000000"), 1)));
    assert_eq!(find("retention.ms"), Some((Some("7200000"), 4)));
    assert_eq!(find("cleanup.policy"), Some((Some("delete"), 5)));
    assert_eq!(configs.len(), 33);
    let topic = world
        .committed
        .topics
        .by_id(result.topic_id)
        .expect("created");
    let directories: BTreeSet<Uuid> = topic
        .partitions
        .values()
        .flat_map(|partition| partition.directories.clone())
        .collect();
    assert_eq!(directories.len(), 2);
    world.check();
}

#[test]
fn topics_are_deleted_by_name_or_id() {
    let mut world = World::started(&[]);
    world.create(vec![topic("a", 1), topic("b", 1), topic("c.d", 1)]);
    let b = world.committed.topics.id("b").expect("created");
    let state = |name: Option<&'static str>, topic_id| DeleteTopicState {
        name: name.map(Str::from),
        topic_id,
        ..Default::default()
    };
    let request = DeleteTopicsRequest {
        topics: vec![
            state(Some("a"), Uuid::ZERO),
            state(None, b),
            state(None, Uuid([1; 16])),
            state(Some("gone"), Uuid::ZERO),
            state(None, Uuid::ZERO),
            state(Some("c.d"), Uuid([2; 16])),
        ],
        timeout_ms: 1000,
        ..Default::default()
    };
    let outcome = world.controller.delete_topics(&request, 6);
    world.append(outcome.records);
    let mut codes: Vec<(Option<&str>, ErrorCode)> = outcome
        .response
        .responses
        .iter()
        .map(|r| (r.name.as_ref().map(Str::as_str), r.error_code))
        .collect();
    codes.sort();
    let expected = [
        (None, ErrorCode::INVALID_REQUEST),
        (None, ErrorCode::UNKNOWN_TOPIC_ID),
        (Some("a"), ErrorCode::NONE),
        (Some("b"), ErrorCode::NONE),
        (Some("c.d"), ErrorCode::INVALID_REQUEST),
        (Some("gone"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    assert_eq!(codes, expected);
    assert_eq!(world.committed.topics.len(), 1);
    assert_eq!(
        world.create(vec![topic("c_d", 1)])[0].1,
        ErrorCode::INVALID_TOPIC_EXCEPTION
    );
    world.delete(&["c.d"]);
    assert_eq!(world.create(vec![topic("c_d", 1)])[0].1, ErrorCode::NONE);
    world.check();

    let mut world = World::started(&[("delete.topic.enable", "false")]);
    world.create(vec![topic("a", 1)]);
    assert_eq!(
        world.delete(&["a"]),
        [(Some("a".to_owned()), ErrorCode::TOPIC_DELETION_DISABLED)]
    );
}

#[test]
fn what_was_given_no_time_does_nothing() {
    let mut world = World::started(&[]);
    world.create(vec![topic("a", 1)]);
    let timed_out = (ErrorCode::REQUEST_TIMED_OUT, None);
    for timeout_ms in [0, -1, i32::MIN] {
        let create = |names: &[&'static str]| CreateTopicsRequest {
            topics: names.iter().map(|name| topic(name, 1)).collect(),
            timeout_ms,
            ..Default::default()
        };
        let mut created = |names: &[&'static str]| {
            let outcome = world
                .controller
                .create_topics(&create(names), 7, &world.rng);
            assert!(outcome.records.is_empty());
            let told = outcome.response.topics.into_iter();
            let told: Vec<_> = told.map(|t| (t.error_code, t.error_message)).collect();
            told
        };
        assert_eq!(
            created(&["new", "twice", "twice"]),
            [(); 3].map(|()| timed_out.clone()),
            "everything that was asked for, duplicates too"
        );
        assert_eq!(
            created(&["twice", "twice"])[0].0,
            ErrorCode::INVALID_REQUEST,
            "nothing is left that takes time"
        );

        let grow = |names: &[&'static str]| CreatePartitionsRequest {
            topics: names
                .iter()
                .map(|name| CreatePartitionsTopic {
                    name: (*name).into(),
                    count: 4,
                    ..Default::default()
                })
                .collect(),
            timeout_ms,
            ..Default::default()
        };
        let mut grown = |names: &[&'static str]| {
            let outcome = world.controller.create_partitions(&grow(names), &world.rng);
            assert!(outcome.records.is_empty());
            let told = outcome.response.results.into_iter();
            let told: Vec<_> = told.map(|t| (t.error_code, t.error_message)).collect();
            told
        };
        assert_eq!(grown(&["a", "b", "b"]), [(); 3].map(|()| timed_out.clone()));
        assert_eq!(grown(&["a", "a"])[0].0, ErrorCode::INVALID_REQUEST);

        let state = |name: Option<&'static str>| DeleteTopicState {
            name: name.map(Str::from),
            ..Default::default()
        };
        let mut deleted = |names: &[Option<&'static str>]| {
            let request = DeleteTopicsRequest {
                topics: names.iter().copied().map(state).collect(),
                timeout_ms,
                ..Default::default()
            };
            let outcome = world.controller.delete_topics(&request, 6);
            assert!(outcome.records.is_empty());
            let told = outcome.response.responses.into_iter();
            let told: Vec<_> = told.map(|t| (t.error_code, t.error_message)).collect();
            told
        };
        assert_eq!(
            deleted(&[Some("a"), None]),
            [(); 2].map(|()| timed_out.clone())
        );
        assert_eq!(deleted(&[None])[0].0, ErrorCode::INVALID_REQUEST);
    }
    assert_eq!(world.committed.topics.len(), 1);
    world.check();
}

#[test]
fn partitions_are_added_and_never_taken() {
    let mut world = World::started(&[]);
    world.create(vec![topic("a", 2)]);
    let mut add = |name: &'static str, count: i32, assignments: Option<Vec<Vec<i32>>>| {
        let assignments = assignments.map(|all| {
            all.into_iter()
                .map(|broker_ids| CreatePartitionsAssignment {
                    broker_ids,
                    ..Default::default()
                })
                .collect()
        });
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.into(),
                count,
                assignments,
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        };
        let outcome = world.controller.create_partitions(&request, &world.rng);
        world.append(outcome.records);
        let result = &outcome.response.results[0];
        (
            result.error_code,
            result
                .error_message
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        )
    };
    assert_eq!(
        add("a", 2, None),
        (
            ErrorCode::INVALID_PARTITIONS,
            "Topic already has 2 partition(s).".to_owned()
        )
    );
    assert_eq!(
        add("a", 1, None),
        (
            ErrorCode::INVALID_PARTITIONS,
            "The topic a currently has 2 partition(s); 1 would not be an increase.".to_owned()
        )
    );
    assert_eq!(
        add("none", 1, None),
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new())
    );
    assert_eq!(
        add("a", 4, Some(vec![vec![1]])),
        (
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
                .to_owned()
        )
    );
    assert_eq!(
        add("a", 3, Some(vec![vec![1]])),
        (ErrorCode::NONE, String::new())
    );
    assert_eq!(add("a", 5, None), (ErrorCode::NONE, String::new()));
    assert_eq!(
        world
            .committed
            .topics
            .by_name("a")
            .expect("there")
            .partitions
            .len(),
        5
    );
    world.check();
}

#[test]
fn blocks_of_producer_ids_never_overlap() {
    let mut world = World::started(&[]);
    let first = world.controller.allocate_producer_ids(1, 4);
    world.append(first.records);
    world.restart(2);
    let second = world.controller.allocate_producer_ids(1, 4);
    world.append(second.records);
    assert_eq!((first.response.first, second.response.first), (0, 1000));
    world.check();
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        name: usize,
        partitions: i32,
        property: usize,
    },
    Delete {
        name: usize,
    },
    Grow {
        name: usize,
        count: i32,
    },
    ProducerIds,
    Restart,
}

const NAMES: [&str; 5] = ["a", "b.c", "b_c", "", "long-name"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NAMES.len(), -2..5, 0..4_usize).prop_map(|(name, partitions, property)| Step::Create { name, partitions, property }),
        2 => (0..NAMES.len()).prop_map(|name| Step::Delete { name }),
        2 => (0..NAMES.len(), 0..9).prop_map(|(name, count)| Step::Grow { name, count }),
        1 => Just(Step::ProducerIds),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_state_is_the_replay_of_the_log(steps in proptest::collection::vec(step(), 1..30)) {
        let mut world = World::started(&[]);
        for (nth, step) in steps.into_iter().enumerate() {
            match step {
                Step::Create { name, partitions, property } => {
                    let properties = [("retention.ms", "5"), ("cleanup.policy", "compact"), ("retention.ms", "no"), ("x", "y")];
                    let (key, value) = properties[property];
                    let config = CreatableTopicConfig { name: key.into(), value: Some(value.into()), ..Default::default() };
                    world.create(vec![CreatableTopic { configs: vec![config], ..topic(NAMES[name], partitions) }]);
                }
                Step::Delete { name } => { world.delete(&[NAMES[name]]); }
                Step::Grow { name, count } => {
                    let request = CreatePartitionsRequest { topics: vec![CreatePartitionsTopic { name: NAMES[name].into(), count, ..Default::default() }], timeout_ms: 1000, ..Default::default() };
                    let outcome = world.controller.create_partitions(&request, &world.rng);
                    world.append(outcome.records);
                }
                Step::ProducerIds => {
                    let outcome = world.controller.allocate_producer_ids(1, 4);
                    world.append(outcome.records);
                }
                Step::Restart => world.restart(nth as u8 + 2),
            }
            world.check();
            for topic in world.committed.topics.iter() {
                let numbers: Vec<i32> = topic.partitions.keys().copied().collect();
                prop_assert_eq!(numbers, (0..topic.partitions.len() as i32).collect::<Vec<_>>());
                prop_assert!(topic.partitions.values().all(|partition| partition.leader == NodeId(1) && partition.isr == [1]));
                prop_assert!(topic.id != Uuid::ZERO && topic.id != Uuid::METADATA_TOPIC);
            }
        }
    }
}
