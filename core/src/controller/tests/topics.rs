//! Topics that are created, refused and deleted.

use super::*;

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
fn a_large_creation_goes_on_in_pieces_of_one_transaction() {
    let mut world = World::started(&[]);
    world.batches_of(4);
    let few = world.create(vec![topic("few", 3)]);
    assert_eq!(few[0].1, ErrorCode::NONE);
    let at = world.log.len();
    assert_eq!(world.log[at - 1].len(), 4, "what fits one batch is one");
    let many = world.create(vec![topic("a", 5), topic("b", 1)]);
    assert!(many.iter().all(|(_, code, _)| *code == ErrorCode::NONE));
    let ids = |batch: &Vec<MetadataRecord>| batch.iter().map(MetadataRecord::id).collect();
    let batches: Vec<Vec<i16>> = world.log[at..].iter().map(ids).collect();
    assert_eq!(batches, [vec![23, 2, 3, 3], vec![3, 3, 3, 2], vec![3, 24]]);
    world.check();

    // A metadata version without transactions.
    world
        .controller
        .image
        .features
        .insert("metadata.version".into(), 12);
    world.begin_to_create(vec![topic("c", 9)]);
    assert!(!world.controller.is_creating());
    assert_eq!(world.log.last().map(Vec::len), Some(10));
}

#[test]
fn directories_of_later_topics_of_a_request_know_of_the_earlier_ones() {
    let mut world = World::started(&[]);
    world.create(vec![topic("a", 1), topic("b", 1)]);
    let more = |name: &'static str, count| CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: None,
        ..Default::default()
    };
    let request = CreatePartitionsRequest {
        topics: vec![more("a", 2), more("b", 2)],
        timeout_ms: 1000,
        ..Default::default()
    };
    let outcome = world.controller.create_partitions(&request, &world.rng);
    world.append(outcome.records);
    world.check();
    assert!(
        world.controller.replicas.values().all(|count| *count == 2),
        "{:?}",
        world.controller.replicas
    );
}

#[test]
fn long_properties_count_as_many_records() {
    let mut world = World::started(&[]);
    world.batches_of(10);
    let long = CreatableTopicConfig {
        name: "leader.replication.throttled.replicas".into(),
        value: Some(Str::from("1:1,".repeat(7_500) + "1:1")),
        ..Default::default()
    };
    let at = world.log.len();
    let topics = ["a", "b"].map(|name| CreatableTopic {
        configs: vec![long.clone()],
        ..topic(name, 1)
    });
    let told = world.create(topics.to_vec());
    assert!(
        told.iter().all(|(_, code, _)| *code == ErrorCode::NONE),
        "{told:?}"
    );
    let batches: Vec<usize> = world.log[at..].iter().map(Vec::len).collect();
    assert_eq!(batches, [3, 3, 2]);
    world.check();
}
