//! CreateTopics, CreatePartitions and DeleteTopics.

use super::{Pair, Side, name};
use crate::client::text;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, CreateTopicsResponse};

fn creatable(topic: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn configured(topic: &str, config: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default()
        .with_name(text(config))
        .with_value(value.map(text));
    creatable(topic, 1, 1).with_configs(vec![config])
}

fn assigned(topic: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
    });
    creatable(topic, -1, -1).with_assignments(assignments.collect())
}

/// Brings topics and their configs into one order.
fn in_order(answer: &mut CreateTopicsResponse) {
    answer
        .topics
        .sort_by(|a, b| a.name.0.as_str().cmp(b.name.0.as_str()));
    for topic in &mut answer.topics {
        if let Some(configs) = &mut topic.configs {
            configs.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        }
    }
}

/// Which topics may come, grow and go.
pub fn creating_and_deleting_topics(pair: &mut Pair) {
    pair.both(|side| side.client().create_topic("there", 2, &[]));
    let long = "x".repeat(250);
    let cases: Vec<(&str, Vec<CreatableTopic>)> = vec![
        ("no topic", vec![]),
        ("a topic that exists", vec![creatable("there", 1, 1)]),
        ("an empty name", vec![creatable("", 1, 1)]),
        ("a dot", vec![creatable(".", 1, 1)]),
        ("two dots", vec![creatable("..", 1, 1)]),
        ("a name with a blank", vec![creatable("a b", 1, 1)]),
        ("a long name", vec![creatable(&long, 1, 1)]),
        (
            "an internal name",
            vec![creatable("__cluster_metadata", 1, 1)],
        ),
        ("no partitions", vec![creatable("new", 0, 1)]),
        (
            "partitions below the default's mark",
            vec![creatable("new", -2, 1)],
        ),
        ("no replicas", vec![creatable("new", 1, 0)]),
        (
            "replicas below the default's mark",
            vec![creatable("new", 1, -2)],
        ),
        ("more replicas than brokers", vec![creatable("new", 1, 2)]),
        (
            "the same name twice",
            vec![creatable("new", 1, 1), creatable("new", 1, 1)],
        ),
        (
            "names that collide as metrics",
            vec![creatable("a.b", 1, 1), creatable("a_b", 1, 1)],
        ),
        (
            "an unknown config",
            vec![configured("new", "no.such.config", Some("1"))],
        ),
        (
            "a ratio as Java writes it",
            vec![configured(
                "new",
                "min.cleanable.dirty.ratio",
                Some(" 0x1p-1f"),
            )],
        ),
        (
            "a ratio that is none",
            vec![configured("new", "min.cleanable.dirty.ratio", Some("NaN"))],
        ),
        (
            "a ratio in words",
            vec![configured("new", "min.cleanable.dirty.ratio", Some("inf"))],
        ),
        (
            "a config without a value",
            vec![configured("new", "retention.ms", None)],
        ),
        (
            "a config of a wrong type",
            vec![configured("new", "retention.ms", Some("soon"))],
        ),
        (
            "a config out of bounds",
            vec![configured("new", "segment.bytes", Some("1"))],
        ),
        (
            "a config of a wrong word",
            vec![configured("new", "cleanup.policy", Some("forget"))],
        ),
        (
            "a good config",
            vec![configured("new", "retention.ms", Some("60000"))],
        ),
        (
            "an assignment",
            vec![assigned("new", &[(0, &[1]), (1, &[1])])],
        ),
        (
            "an assignment with a hole",
            vec![assigned("new", &[(0, &[1]), (2, &[1])])],
        ),
        (
            "an assignment to an unknown broker",
            vec![assigned("new", &[(0, &[7])])],
        ),
        (
            "an assignment to nobody",
            vec![assigned("new", &[(0, &[])])],
        ),
        (
            "an assignment twice to one broker",
            vec![assigned("new", &[(0, &[1, 1])])],
        ),
        (
            "an assignment and a count",
            vec![assigned("new", &[(0, &[1])]).with_num_partitions(1)],
        ),
    ];
    for (case, topics) in cases {
        let body = |_: &Side, _: i16| {
            CreateTopicsRequest::default()
                .with_topics(topics.clone())
                .with_timeout_ms(5000)
                .with_validate_only(true)
        };
        pair.every_version_fixed(
            &format!("CreateTopics, validated only, {case}"),
            body,
            in_order,
        );
    }
    let grown = |topic: &str, count, assignments| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name(topic))
            .with_count(count)
            .with_assignments(assignments);
        CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5000)
            .with_validate_only(true)
    };
    let to = |brokers: &[i32]| {
        CreatePartitionsAssignment::default()
            .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
    };
    pair.every_version("CreatePartitions of an unknown topic", |_, _| {
        grown("unknown", 3, None)
    });
    pair.every_version("CreatePartitions to as many", |_, _| {
        grown("there", 2, None)
    });
    pair.every_version("CreatePartitions to fewer", |_, _| grown("there", 1, None));
    pair.every_version("CreatePartitions to none", |_, _| grown("there", 0, None));
    pair.every_version("CreatePartitions to more", |_, _| grown("there", 4, None));
    pair.every_version("CreatePartitions with an assignment", |_, _| {
        grown("there", 3, Some(vec![to(&[1])]))
    });
    pair.every_version("CreatePartitions with too many assignments", |_, _| {
        grown("there", 3, Some(vec![to(&[1]), to(&[1])]))
    });
    pair.every_version("CreatePartitions to an unknown broker", |_, _| {
        grown("there", 3, Some(vec![to(&[9])]))
    });
    let doomed = |topic: &str, version: i16| {
        let asked = DeleteTopicsRequest::default().with_timeout_ms(5000);
        if version >= 6 {
            asked.with_topics(vec![
                DeleteTopicState::default().with_name(Some(name(topic))),
            ])
        } else {
            asked.with_topic_names(vec![name(topic)])
        }
    };
    pair.every_version("DeleteTopics of an unknown topic", |_, version| {
        doomed("unknown", version)
    });
    pair.every_version(
        "DeleteTopics of an unknown id",
        |side, version| match version {
            6.. => DeleteTopicsRequest::default()
                .with_timeout_ms(5000)
                .with_topics(vec![
                    DeleteTopicState::default()
                        .with_name(None)
                        .with_topic_id(side.id("unknown")),
                ]),
            _ => doomed("unknown", version),
        },
    );
    for timeout in [0, -1] {
        pair.every_version_fixed(
            &format!("CreateTopics within {timeout} ms"),
            |_, _| {
                let names = ["late", "there", "twice", "twice", "__cluster_metadata"];
                CreateTopicsRequest::default()
                    .with_topics(names.iter().map(|name| creatable(name, 1, 1)).collect())
                    .with_timeout_ms(timeout)
            },
            in_order,
        );
        pair.every_version_fixed(
            &format!("CreateTopics of nothing but duplicates within {timeout} ms"),
            |_, _| {
                CreateTopicsRequest::default()
                    .with_topics(vec![creatable("twice", 1, 1), creatable("twice", 1, 1)])
                    .with_timeout_ms(timeout)
            },
            in_order,
        );
        pair.every_version(&format!("CreatePartitions within {timeout} ms"), |_, _| {
            grown("there", 4, None)
                .with_validate_only(false)
                .with_timeout_ms(timeout)
        });
        pair.every_version(
            &format!("DeleteTopics within {timeout} ms"),
            |_, version| doomed("there", version).with_timeout_ms(timeout),
        );
    }
    pair.every_version("CreatePartitions of a topic twice", |_, _| {
        let twice = vec![grown("there", 4, None).topics; 2].concat();
        CreatePartitionsRequest::default()
            .with_topics(twice)
            .with_timeout_ms(5000)
    });
    pair.every_version("DeleteTopics of a topic twice", |_, version| {
        let once = doomed("there", version);
        once.clone()
            .with_topics(vec![once.topics.clone(); 2].concat())
            .with_topic_names(vec![once.topic_names.clone(); 2].concat())
    });
    pair.every_version_fixed(
        "CreateTopics, two new names that collide as metrics",
        |_, version| {
            let names = [format!("c.{version}"), format!("c_{version}")];
            CreateTopicsRequest::default()
                .with_topics(names.iter().map(|name| creatable(name, 1, 1)).collect())
                .with_timeout_ms(5000)
        },
        in_order,
    );
    pair.every_version_fixed(
        "CreateTopics, a name that collides with both",
        |_, version| {
            CreateTopicsRequest::default()
                .with_topics(vec![creatable(&format!("c_{version}"), 1, 1)])
                .with_timeout_ms(5000)
        },
        in_order,
    );
    pair.every_version("DeleteTopics of a topic", |_, version| {
        doomed("there", version)
    });
}
