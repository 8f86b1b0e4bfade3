//! The same requests to Apache Kafka and to the broker under test: errors, defaults, offsets and ends must be the same.
#![cfg(not(madsim))]

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResponse;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DescribeClusterRequest, FetchRequest, FetchResponse,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, ProduceResponse, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::Compression;
use std::io::{Read, Write};
use trialog_tests::broker::{self, Kind, Setup};
use trialog_tests::client::{PLAIN, Producer, batch, text};
use trialog_tests::differential::{Pair, Side, named};

/// Runs one test's cases on a fresh pair and fails with every difference.
fn compare(cases: impl FnOnce(&mut Pair)) {
    let (_kafka_home, kafka) = Setup::serve(Kind::Kafka);
    let (_our_home, ours) = Setup::serve(broker::target());
    let mut pair = Pair::new(&kafka, &ours).expect("both answer");
    cases(&mut pair);
    println!(
        "{} requests compared, {} differences",
        pair.compared,
        pair.differences.len()
    );
    assert!(
        pair.compared > 10,
        "only {} requests compared",
        pair.compared
    );
    assert!(
        pair.differences.is_empty(),
        "{} of {} requests:\n  {}",
        pair.differences.len(),
        pair.compared,
        pair.differences.join("\n  ")
    );
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// Three partitions `t` with the same records on both: 4 batches of 5 in partition 0.
fn records(side: &mut Side, sent: &[Bytes]) -> std::io::Result<()> {
    side.client().create_topic("t", 3, &[])?;
    for bytes in sent {
        assert_eq!(side.client().produce("t", 0, -1, bytes.clone())?.0, 0);
    }
    Ok(())
}

fn four_batches() -> Vec<Bytes> {
    (0..4u8)
        .map(|n| {
            std::thread::sleep(std::time::Duration::from_millis(3));
            batch(&vec![vec![b'a' + n; 20]; 5], PLAIN, Compression::None)
        })
        .collect()
}

#[test]
fn versions_and_cluster() {
    compare(|pair| {
        let keys: Vec<i16> = pair.advertised.keys().copied().collect();
        pair.every_version_fixed(
            "ApiVersions",
            |_, _| named(),
            |answer| {
                answer.api_keys.retain(|api| keys.contains(&api.api_key));
                answer.api_keys.sort_by_key(|api| api.api_key);
                // Features that only the group, transaction and share coordinators serve.
                answer
                    .supported_features
                    .retain(|f| ["metadata.version", "kraft.version"].contains(&f.name.as_str()));
                answer
                    .supported_features
                    .sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
                answer
                    .finalized_features
                    .sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            },
        );
        pair.every_version("DescribeCluster", |_, _| DescribeClusterRequest::default());
        pair.every_version("DescribeCluster with operations", |_, _| {
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
        });
        let of = |topics| {
            MetadataRequest::default()
                .with_topics(topics)
                .with_allow_auto_topic_creation(false)
        };
        let topic = |n: &str| vec![MetadataRequestTopic::default().with_name(Some(name(n)))];
        pair.every_version("Metadata of an empty cluster", |_, version| {
            of(if version == 0 { Some(vec![]) } else { None })
        });
        pair.both(|side| side.client().create_topic("meta", 2, &[]));
        pair.every_version("Metadata of all topics", |_, version| {
            of(if version == 0 { Some(vec![]) } else { None })
        });
        pair.every_version("Metadata of no topic", |_, _| of(Some(vec![])));
        pair.every_version("Metadata of one topic", |_, _| of(Some(topic("meta"))));
        // Below version 4 asking creates.
        pair.every_version("Metadata of an unknown topic", |_, version| {
            of(Some(topic(if version < 4 { "meta" } else { "unknown" })))
        });
        pair.every_version("Metadata of an invalid name", |_, version| {
            of(Some(topic(if version < 4 { "meta" } else { "a b" })))
        });
        pair.every_version("Metadata with operations", |_, version| {
            let asked = of(Some(topic("meta")));
            if version >= 8 {
                asked.with_include_topic_authorized_operations(true)
            } else {
                asked
            }
        });
        pair.every_version("Metadata by id", |side, version| {
            let by_id = MetadataRequestTopic::default()
                .with_name(None)
                .with_topic_id(side.id("meta"));
            of(Some(if version >= 12 {
                vec![by_id]
            } else {
                topic("meta")
            }))
        });
        pair.every_version("Metadata by an unknown id", |side, version| {
            let by_id = MetadataRequestTopic::default()
                .with_name(None)
                .with_topic_id(side.id("no such topic"));
            of(Some(if version >= 12 {
                vec![by_id]
            } else {
                topic("meta")
            }))
        });
        pair.both(|side| side.client().init_producer_id().map(drop)); // Kafka fetches its first block of ids
        pair.every_version("InitProducerId", |_, _| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1000)
        });
        pair.every_version("InitProducerId of an empty transactional id", |_, _| {
            InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text(""))))
                .with_transaction_timeout_ms(1000)
        });
    });
}

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

#[test]
fn creating_and_deleting_topics() {
    compare(|pair| {
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
                |answer| {
                    answer
                        .topics
                        .sort_by(|a, b| a.name.0.as_str().cmp(b.name.0.as_str()));
                    for topic in &mut answer.topics {
                        if let Some(configs) = &mut topic.configs {
                            configs.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
                        }
                    }
                },
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
        pair.every_version("DeleteTopics of a topic", |_, version| {
            doomed("there", version)
        });
    });
}

fn produce(
    side: &Side,
    version: i16,
    topic: &str,
    partition: i32,
    acks: i16,
    records: Option<Bytes>,
) -> ProduceRequest {
    let part = PartitionProduceData::default()
        .with_index(partition)
        .with_records(records);
    let named = TopicProduceData::default().with_partition_data(vec![part]);
    let named = if version >= 13 {
        named.with_topic_id(side.id(topic))
    } else {
        named.with_name(name(topic))
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(5000)
        .with_topic_data(vec![named])
}

/// On an error ours says why and where the log starts where Kafka, depending on where in it the error arose, may leave both out; a
/// duplicate is answered by Kafka with the time of the remembered batch even where times are the creator's.
fn says_more(answer: &mut ProduceResponse) {
    for part in answer
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partition_responses)
    {
        part.log_append_time_ms = -1;
        if part.error_code != 0 {
            part.log_start_offset = -1;
            part.error_message = None;
        }
    }
}

/// Kafka cuts a fetch in the middle of a batch, which clients drop, and ours at its end; a partition that is unknown has for Kafka an
/// empty list of aborted transactions and for ours none.
fn whole_batches(answer: &mut FetchResponse) {
    for part in answer
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
    {
        if part.error_code != 0 {
            part.aborted_transactions = None;
        }
        let Some(records) = &mut part.records else {
            continue;
        };
        let mut whole = 0;
        while let Some(length) = records.get(whole + 8..whole + 12) {
            let size = 12 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if whole + size > records.len() {
                break;
            }
            whole += size;
        }
        records.truncate(whole);
    }
}

/// The batch with one byte replaced.
fn with_byte(batch: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] = byte;
    bytes.into()
}

#[test]
fn produce_errors_and_offsets() {
    compare(|pair| {
        pair.both(|side| {
            side.client().create_topic("p", 2, &[])?;
            side.client()
                .create_topic("small", 1, &[("max.message.bytes", "200")])?;
            side.client()
                .create_topic("now", 1, &[("message.timestamp.after.max.ms", "1000")])?;
            side.client()
                .create_topic("compacted", 1, &[("cleanup.policy", "compact")])?;
            side.client().create_topic("ids", 1, &[])
        });
        let good = batch(
            &[b"one".to_vec(), b"two".to_vec()],
            PLAIN,
            Compression::None,
        );
        let twice: Bytes = [good.clone(), good.clone()].concat().into();
        let cases: Vec<(&str, &str, i32, i16, Option<Bytes>)> = vec![
            ("acks=-1", "p", 0, -1, Some(good.clone())),
            ("acks=1", "p", 0, 1, Some(good.clone())),
            ("acks=2", "p", 0, 2, Some(good.clone())),
            ("acks=-2", "p", 0, -2, Some(good.clone())),
            ("an unknown partition", "p", 9, -1, Some(good.clone())),
            ("a negative partition", "p", -1, -1, Some(good.clone())),
            ("an unknown topic", "unknown", 0, -1, Some(good.clone())),
            ("empty records", "p", 1, -1, Some(Bytes::new())),
            ("two batches", "p", 1, -1, Some(twice)),
            (
                "half a batch",
                "p",
                1,
                -1,
                Some(good.slice(..good.len() / 2)),
            ),
            ("less than a header", "p", 1, -1, Some(good.slice(..10))),
            (
                "a wrong checksum",
                "p",
                1,
                -1,
                Some(with_byte(&good, 20, good[20] ^ 1)),
            ),
            (
                "a damaged record",
                "p",
                1,
                -1,
                Some(with_byte(&good, good.len() - 2, 0xff)),
            ),
            ("an old magic", "p", 1, -1, Some(with_byte(&good, 16, 1))),
            (
                "an unknown magic",
                "p",
                1,
                -1,
                Some(with_byte(&good, 16, 3)),
            ),
            (
                "a batch too large for its topic",
                "small",
                0,
                -1,
                Some(batch(&[vec![1; 300]], PLAIN, Compression::None)),
            ),
            (
                "no key where one is needed",
                "compacted",
                0,
                -1,
                Some(good.clone()),
            ),
        ];
        for (case, topic, partition, acks, records) in cases {
            pair.every_version_fixed(
                &format!("Produce, {case}"),
                |side, version| produce(side, version, topic, partition, acks, records.clone()),
                says_more,
            );
        }
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let whole = batch(&vec![vec![b'z'; 100]; 20], PLAIN, codec);
            pair.every_version(&format!("Produce, {codec:?}"), |side, version| {
                produce(side, version, "p", 0, -1, Some(whole.clone()))
            });
        }
        let producer = |sequence| Producer {
            id: 4_000_000,
            epoch: 3,
            sequence,
        };
        let send = |pair: &mut Pair, case: &str, producer: Producer, values: usize| {
            let bytes = batch(&vec![b"v".to_vec(); values], producer, Compression::None);
            let newest = |side: &Side, _: i16| produce(side, 12, "ids", 0, -1, Some(bytes.clone()));
            pair.advertised
                .entry(0)
                .and_modify(|range| (range.min, range.max) = (12, 12));
            pair.every_version_fixed(&format!("Produce, {case}"), newest, says_more);
        };
        send(
            pair,
            "a producer that nobody knows starts in its middle",
            producer(7),
            1,
        );
        send(pair, "a gap", producer(20), 1);
        send(pair, "a duplicate", producer(7), 1);
        for n in 8..14 {
            send(pair, "the next sequence", producer(n), 1);
        }
        send(pair, "a duplicate of five batches ago", producer(9), 1);
        send(pair, "a duplicate of six batches ago", producer(8), 1);
        send(pair, "a duplicate of another length", producer(13), 2);
        send(
            pair,
            "a new epoch in its middle",
            Producer {
                epoch: 4,
                ..producer(5)
            },
            1,
        );
        send(
            pair,
            "a new epoch",
            Producer {
                epoch: 4,
                ..producer(0)
            },
            1,
        );
        send(pair, "an old epoch", producer(14), 1);
        send(
            pair,
            "an id without an epoch",
            Producer {
                id: 5,
                epoch: -1,
                sequence: 0,
            },
            1,
        );
        send(
            pair,
            "an id without a sequence",
            Producer {
                id: 5,
                epoch: 0,
                sequence: -1,
            },
            1,
        );
    });
}

/// What a fetch asks, besides the defaults of [`FetchAsk::default`].
#[derive(Clone)]
struct FetchAsk {
    topic: &'static str,
    partition: i32,
    offset: i64,
    epoch: i32,
    last_fetched_epoch: i32,
    max_bytes: i32,
    partition_max_bytes: i32,
    session: (i32, i32),
    isolation: i8,
}

impl Default for FetchAsk {
    fn default() -> FetchAsk {
        FetchAsk {
            topic: "t",
            partition: 0,
            offset: 0,
            epoch: -1,
            last_fetched_epoch: -1,
            max_bytes: 1 << 20,
            partition_max_bytes: 1 << 20,
            session: (0, -1),
            isolation: 0,
        }
    }
}

fn fetch(side: &Side, version: i16, ask: &FetchAsk) -> FetchRequest {
    let mut part = FetchPartition::default()
        .with_partition(ask.partition)
        .with_fetch_offset(ask.offset)
        .with_partition_max_bytes(ask.partition_max_bytes);
    if version >= 9 {
        part = part.with_current_leader_epoch(ask.epoch);
    }
    if version >= 12 {
        part = part.with_last_fetched_epoch(ask.last_fetched_epoch);
    }
    let topic = FetchTopic::default().with_partitions(vec![part]);
    let topic = if version >= 13 {
        topic.with_topic_id(side.id(ask.topic))
    } else {
        topic.with_topic(name(ask.topic))
    };
    let request = FetchRequest::default()
        .with_max_wait_ms(10)
        .with_min_bytes(1)
        .with_max_bytes(ask.max_bytes)
        .with_isolation_level(ask.isolation)
        .with_topics(vec![topic]);
    let request = if version <= 14 {
        request.with_replica_id(BrokerId(-1))
    } else {
        request
    };
    if version >= 7 {
        request
            .with_session_id(ask.session.0)
            .with_session_epoch(ask.session.1)
    } else {
        request
    }
}

#[test]
fn fetch_answers() {
    let sent = four_batches();
    compare(|pair| {
        pair.both(|side| records(side, &sent));
        let ask = FetchAsk::default;
        let cases = [
            ("from the start", ask()),
            (
                "from the middle of a batch",
                FetchAsk { offset: 7, ..ask() },
            ),
            (
                "from the end",
                FetchAsk {
                    offset: 20,
                    ..ask()
                },
            ),
            (
                "after the end",
                FetchAsk {
                    offset: 21,
                    ..ask()
                },
            ),
            (
                "before the start",
                FetchAsk {
                    offset: -1,
                    ..ask()
                },
            ),
            (
                "an empty partition",
                FetchAsk {
                    partition: 1,
                    ..ask()
                },
            ),
            (
                "an unknown partition",
                FetchAsk {
                    partition: 9,
                    ..ask()
                },
            ),
            (
                "an unknown topic",
                FetchAsk {
                    topic: "unknown",
                    ..ask()
                },
            ),
            (
                "a few bytes of the partition",
                FetchAsk {
                    partition_max_bytes: 300,
                    ..ask()
                },
            ),
            (
                "one byte of the partition",
                FetchAsk {
                    partition_max_bytes: 1,
                    ..ask()
                },
            ),
            (
                "one byte in all",
                FetchAsk {
                    max_bytes: 1,
                    ..ask()
                },
            ),
            (
                "no bytes",
                FetchAsk {
                    max_bytes: 0,
                    ..ask()
                },
            ),
            ("with the leader's epoch", FetchAsk { epoch: 0, ..ask() }),
            (
                "with an epoch of the future",
                FetchAsk { epoch: 5, ..ask() },
            ),
            (
                "with a last fetched epoch",
                FetchAsk {
                    offset: 5,
                    epoch: 0,
                    last_fetched_epoch: 0,
                    ..ask()
                },
            ),
            (
                "with a diverging epoch",
                FetchAsk {
                    offset: 5,
                    epoch: 0,
                    last_fetched_epoch: 4,
                    ..ask()
                },
            ),
            (
                "read committed",
                FetchAsk {
                    isolation: 1,
                    ..ask()
                },
            ),
            (
                "an unknown session",
                FetchAsk {
                    session: (77, 1),
                    ..ask()
                },
            ),
            (
                "a new session",
                FetchAsk {
                    session: (0, 0),
                    ..ask()
                },
            ),
            (
                "an epoch without a session",
                FetchAsk {
                    session: (0, 3),
                    ..ask()
                },
            ),
        ];
        for (case, ask) in cases {
            pair.every_version_fixed(
                &format!("Fetch, {case}"),
                |side, version| fetch(side, version, &ask),
                whole_batches,
            );
        }
    });
}

#[test]
fn offsets_and_epochs() {
    let sent = four_batches();
    compare(|pair| {
        pair.both(|side| records(side, &sent));
        let at = |topic: &'static str, partition, epoch, timestamp| {
            move |_: &Side, version: i16| {
                let part = ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_timestamp(timestamp);
                let part = if version >= 4 {
                    part.with_current_leader_epoch(epoch)
                } else {
                    part
                };
                let topic = ListOffsetsTopic::default()
                    .with_name(name(topic))
                    .with_partitions(vec![part]);
                ListOffsetsRequest::default()
                    .with_replica_id(BrokerId(-1))
                    .with_topics(vec![topic])
            }
        };
        for special in [-1, -2, -3, -4, -5, -6, -7] {
            pair.every_version(
                &format!("ListOffsets at {special}"),
                at("t", 0, -1, special),
            );
            pair.every_version(
                &format!("ListOffsets of an empty partition at {special}"),
                at("t", 1, -1, special),
            );
        }
        let time = |n: usize| i64::from_be_bytes(sent[n][27..35].try_into().expect("eight bytes"));
        for (case, timestamp) in [
            ("0", 0),
            ("the first record", time(0)),
            ("the third batch", time(2)),
            ("just before it", time(2) - 1),
            ("the last", time(3)),
            ("the future", time(3) + 1_000_000),
        ] {
            pair.every_version(
                &format!("ListOffsets at the time of {case}"),
                at("t", 0, -1, timestamp),
            );
        }
        pair.every_version("ListOffsets of an unknown partition", at("t", 9, -1, -1));
        pair.every_version("ListOffsets of an unknown topic", at("unknown", 0, -1, -1));
        pair.every_version("ListOffsets with the leader's epoch", at("t", 0, 0, -1));
        pair.every_version("ListOffsets with an epoch of the future", at("t", 0, 3, -1));

        let epoch = |topic: &'static str, partition, current, asked| {
            move |_: &Side, version: i16| {
                let part = OffsetForLeaderPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(current)
                    .with_leader_epoch(asked);
                let topic = OffsetForLeaderTopic::default()
                    .with_topic(name(topic))
                    .with_partitions(vec![part]);
                let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
                if version >= 3 {
                    request.with_replica_id(BrokerId(-1))
                } else {
                    request
                }
            }
        };
        pair.every_version("OffsetForLeaderEpoch 0", epoch("t", 0, -1, 0));
        pair.every_version("OffsetForLeaderEpoch of the future", epoch("t", 0, -1, 5));
        pair.every_version("OffsetForLeaderEpoch of the past", epoch("t", 0, -1, -1));
        pair.every_version(
            "OffsetForLeaderEpoch with the leader's epoch",
            epoch("t", 0, 0, 0),
        );
        pair.every_version(
            "OffsetForLeaderEpoch with an epoch of the future",
            epoch("t", 0, 4, 0),
        );
        pair.every_version(
            "OffsetForLeaderEpoch of an empty partition",
            epoch("t", 1, -1, 0),
        );
        pair.every_version(
            "OffsetForLeaderEpoch of an unknown partition",
            epoch("t", 9, -1, 0),
        );
        pair.every_version(
            "OffsetForLeaderEpoch of an unknown topic",
            epoch("unknown", 0, -1, 0),
        );

        let delete = |topic: &'static str, partition, offset| {
            move |_: &Side, _: i16| {
                let part = DeleteRecordsPartition::default()
                    .with_partition_index(partition)
                    .with_offset(offset);
                let topic = DeleteRecordsTopic::default()
                    .with_name(name(topic))
                    .with_partitions(vec![part]);
                DeleteRecordsRequest::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(5000)
            }
        };
        pair.every_version("DeleteRecords after the end", delete("t", 0, 21));
        pair.every_version("DeleteRecords below nothing", delete("t", 0, -2));
        pair.every_version("DeleteRecords of an unknown partition", delete("t", 9, 0));
        pair.every_version("DeleteRecords of an unknown topic", delete("unknown", 0, 0));
        pair.every_version("DeleteRecords of some", delete("t", 0, 7));
        pair.every_version("ListOffsets of the new start", at("t", 0, -1, -2));
        pair.every_version(
            "ListOffsets by time of what is gone",
            at("t", 0, -1, time(0)),
        );
        pair.every_version("Fetch below the new start", |side, version| {
            fetch(
                side,
                version,
                &FetchAsk {
                    offset: 3,
                    ..FetchAsk::default()
                },
            )
        });
        pair.every_version("Fetch at the new start", |side, version| {
            fetch(
                side,
                version,
                &FetchAsk {
                    offset: 7,
                    ..FetchAsk::default()
                },
            )
        });
        pair.every_version("DeleteRecords of less than is gone", delete("t", 0, 2));
        pair.every_version("DeleteRecords of everything", delete("t", 0, -1));
        pair.every_version("ListOffsets of an emptied partition", at("t", 0, -1, -2));
        pair.every_version(
            "OffsetForLeaderEpoch of an emptied partition",
            epoch("t", 0, -1, 0),
        );
    });
}

/// Configs in order, without those that the two setups give differently; `only` the names that the broker under test knows.
fn comparable_configs(answer: &mut DescribeConfigsResponse, only: Option<&[String]>) {
    const FREE: &[&str] = &[
        "broker.heartbeat.interval.ms",
        "broker.session.timeout.ms",
        "controller.quorum.voters",
        "listeners",
        "advertised.listeners",
        "log.dirs",
    ];
    for result in &mut answer.results {
        result.configs.retain(|c| {
            !FREE.contains(&c.name.as_str())
                && only.is_none_or(|only| only.iter().any(|n| n == c.name.as_str()))
        });
        result
            .configs
            .sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        for config in &mut result.configs {
            config.synonyms.retain(|s| !FREE.contains(&s.name.as_str()));
        }
    }
}

#[test]
fn configs_and_their_defaults() {
    compare(|pair| {
        pair.both(|side| {
            side.client().create_topic(
                "c",
                1,
                &[
                    ("retention.ms", "60000"),
                    ("cleanup.policy", "compact,delete"),
                ],
            )
        });
        let of = |kind: i8, resource: &'static str, keys: Option<Vec<StrBytes>>, synonyms: bool| {
            move |_: &Side, version: i16| {
                let resource = DescribeConfigsResource::default()
                    .with_resource_type(kind)
                    .with_resource_name(text(resource))
                    .with_configuration_keys(keys.clone());
                let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
                if version >= 1 {
                    request.with_include_synonyms(synonyms)
                } else {
                    request
                }
            }
        };
        let all = |answer: &mut DescribeConfigsResponse| comparable_configs(answer, None);
        pair.every_version_fixed("DescribeConfigs of a topic", of(2, "c", None, false), all);
        pair.every_version_fixed(
            "DescribeConfigs of a topic with synonyms",
            of(2, "c", None, true),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of two names",
            of(
                2,
                "c",
                Some(vec![text("retention.ms"), text("nonsense")]),
                true,
            ),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of no name",
            of(2, "c", Some(vec![]), false),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of an unknown topic",
            of(2, "unknown", None, false),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of an invalid topic",
            of(2, "a b", None, false),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of another broker",
            of(4, "9", None, false),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of no number",
            of(4, "one", None, false),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of the cluster's default",
            of(4, "", None, false),
            all,
        );
        pair.every_version_fixed(
            "DescribeConfigs of an unknown kind",
            of(99, "c", None, false),
            all,
        );
        // A broker has names for what the broker under test does not do yet: of those that it has, all must agree.
        let ours = pair
            .ours
            .client()
            .call(4, &of(4, "1", None, false)(&pair.kafka, 4))
            .expect("the broker's configs");
        let known: Vec<String> = ours
            .results
            .iter()
            .flat_map(|r| &r.configs)
            .map(|c| c.name.to_string())
            .collect();
        assert!(
            known.len() > 20,
            "only {} configs of the broker",
            known.len()
        );
        pair.every_version_fixed(
            "DescribeConfigs of the broker",
            of(4, "1", None, true),
            |answer| comparable_configs(answer, Some(&known)),
        );
    });
}

/// What a broker does with bytes that no client should send: the answer's bytes after the correlation id, or how it ended.
fn raw(side: &mut Side, frame: &[u8]) -> Vec<u8> {
    let stream = side.client().stream();
    stream
        .write_all(&(frame.len() as u32).to_be_bytes())
        .and_then(|()| stream.write_all(frame))
        .expect("send");
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(_) => b"closed".to_vec(),
        Ok(()) => {
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut answer).expect("a whole frame");
            answer
        }
    }
}

#[test]
fn unknown_versions_and_keys() {
    let (_kafka_home, kafka) = Setup::serve(Kind::Kafka);
    let (_our_home, ours) = Setup::serve(broker::target());
    // Key, version, correlation id, client id.
    let frames: &[(&str, &[u8])] = &[
        (
            "ApiVersions 99",
            b"\x00\x12\x00\x63\x00\x00\x00\x07\x00\x01x\x00",
        ),
        (
            "Metadata 99",
            b"\x00\x03\x00\x63\x00\x00\x00\x07\x00\x01x\x00",
        ),
        (
            "Produce 2",
            b"\x00\x00\x00\x02\x00\x00\x00\x07\x00\x01x\x00\x00\x00\x00\x00\x00",
        ),
        ("key 999", b"\x03\xe7\x00\x00\x00\x00\x00\x07\x00\x01x"),
        (
            "a negative key",
            b"\xff\xff\x00\x00\x00\x00\x00\x07\x00\x01x",
        ),
        ("a header cut short", b"\x00\x12\x00"),
        (
            "a client id longer than the frame",
            b"\x00\x12\x00\x00\x00\x00\x00\x07\x7f\xffx",
        ),
        (
            "an array longer than the frame",
            b"\x00\x03\x00\x01\x00\x00\x00\x07\x00\x01x\x7f\xff\xff\xff",
        ),
        ("an empty frame", b""),
    ];
    for (case, frame) in frames {
        let mut pair = Pair::new(&kafka, &ours).expect("both answer");
        let (wanted, found) = (raw(&mut pair.kafka, frame), raw(&mut pair.ours, frame));
        // Correlation id and error code; the ranges of ApiVersions are another test's.
        let head = |answer: &[u8]| answer[..answer.len().min(6)].to_vec();
        assert_eq!(head(&found), head(&wanted), "{case}");
    }
}
