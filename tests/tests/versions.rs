//! Every version of every API that a node advertises, asked for something real over the public codec: an old version that no
//! client at hand speaks must not break unseen.
//!
//! `TRIALOG_TARGET=kafka` holds Apache Kafka to the same.
#![cfg(not(madsim))]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::Request;
use kafka_protocol::records::Compression;
use trialog_tests::broker::{Kind, Setup, target};
use trialog_tests::client::{Client, PLAIN, batch, produce_request, records_of, text};
use trialog_tests::differential::named;
use uuid::Uuid;

/// From this version Fetch and Produce name topics by id.
const BY_ID: i16 = 13;
/// `retention.ms` of the topics that are created.
const RETENTION: &str = "3600000";
/// Versions of Produce that are advertised for the sake of old clients that ask for the range only, and not served (KAFKA-18659).
const ADVERTISED_ONLY: std::ops::Range<i16> = 0..3;
/// A version that the public codec does not know; ListOffsets 11 is written as 10.
const WRITTEN_AS_BEFORE: (i16, i16) = (2, 11);

/// A connection, what may be asked on it, and what was.
struct Asker {
    client: Client,
    port: i32,
    advertised: BTreeMap<i16, (i16, i16)>,
    asked: BTreeSet<(i16, i16)>,
}

impl Asker {
    /// Asks in each version that is advertised and served.
    fn each<R: Request>(&mut self, body: impl Fn(i16) -> R, mut check: impl FnMut(i16, R::Response))
    where
        R::Response: Debug + Clone,
    {
        let (min, max) = self.advertised[&R::KEY];
        for version in min.max(R::VERSIONS.min)..=max {
            let known = version.min(R::VERSIONS.max);
            assert!(known == version || (R::KEY, version) == WRITTEN_AS_BEFORE);
            let correlation = self.client.send_as(version, known, &body(version));
            let answer = correlation.and_then(|id| self.client.receive::<R>(known, id));
            let answer = answer.unwrap_or_else(|error| {
                panic!("API {} version {version}: {error}", R::KEY);
            });
            println!("API {} version {version}", R::KEY);
            check(version, answer);
            self.asked.insert((R::KEY, version));
        }
    }

    /// The partitions of a topic and its id; `None` if there is no such topic.
    fn topic(&mut self, topic: &str) -> Option<(usize, Uuid)> {
        let metadata = self.client.metadata().expect("metadata");
        let found = metadata
            .topics
            .into_iter()
            .find(|found| found.name == Some(name(topic)));
        found.map(|found| (found.partitions.len(), found.topic_id))
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// The topic that CreateTopics makes in one version.
fn made(version: i16) -> String {
    format!("made-{version}")
}

#[test]
fn every_version_that_is_advertised_does_its_work() {
    let (_home, broker) = Setup::serve(target());
    let mut client = broker.client();
    let advertised = client.call(3, &named()).expect("versions");
    let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
        (api.api_key, (api.min_version, api.max_version))
    };
    let advertised: BTreeMap<i16, (i16, i16)> = advertised.api_keys.iter().map(range).collect();
    let port = broker
        .bootstrap()
        .rsplit(':')
        .next()
        .expect("a port")
        .parse();
    let mut asker = Asker {
        client,
        port: port.expect("a number"),
        advertised: advertised.clone(),
        asked: BTreeSet::new(),
    };
    asker.each(
        |version| {
            if version >= 3 {
                named()
            } else {
                ApiVersionsRequest::default()
            }
        },
        |_, answer| {
            assert_eq!(answer.error_code, 0);
            assert_eq!(
                answer
                    .api_keys
                    .iter()
                    .map(range)
                    .collect::<BTreeMap<_, _>>(),
                advertised
            );
        },
    );
    create_topics(&mut asker);
    tell_metadata(&mut asker);
    let values = produce(&mut asker);
    fetch(&mut asker, &values);
    tell_offsets(&mut asker, values.len());
    delete_records(&mut asker);
    give_producer_ids(&mut asker);
    delete_topics(&mut asker);
    if target() == Kind::Kafka {
        return; // It advertises more.
    }
    let all = advertised
        .iter()
        .flat_map(|(key, (min, max))| (*min..=*max).map(|v| (*key, v)));
    let all: BTreeSet<(i16, i16)> = all
        .filter(|(key, version)| *key != 0 || !ADVERTISED_ONLY.contains(version))
        .collect();
    assert_eq!(asker.asked, all, "every version of every API was asked for");
}

fn create_topics(asker: &mut Asker) {
    let config = || {
        CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text(RETENTION)))
    };
    asker.each(
        |version| {
            let topic = CreatableTopic::default()
                .with_name(name(&made(version)))
                .with_num_partitions(2)
                .with_replication_factor(1)
                .with_configs(vec![config()]);
            CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(10_000)
        },
        |version, answer| {
            let topic = &answer.topics[0];
            assert_eq!((topic.error_code, &topic.name), (0, &name(&made(version))));
            if version >= 5 {
                assert_eq!((topic.num_partitions, topic.replication_factor), (2, 1));
                let configs = topic.configs.as_deref().expect("configs");
                let retention = configs.iter().find(|c| c.name.as_str() == "retention.ms");
                let value = retention.and_then(|config| config.value.as_deref());
                assert_eq!(value, Some(RETENTION));
            }
            assert_eq!(version >= 7, topic.topic_id != Uuid::nil());
        },
    );
    asker.each(
        |version| {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(&made(2)))
                .with_configuration_keys(Some(vec![text("retention.ms")]));
            let request = DescribeConfigsRequest::default()
                .with_resources(vec![resource])
                .with_include_synonyms(true);
            if version >= 3 {
                request.with_include_documentation(true)
            } else {
                request
            }
        },
        |version, answer| {
            let result = &answer.results[0];
            assert_eq!((result.error_code, result.configs.len()), (0, 1));
            let config = &result.configs[0];
            assert_eq!(config.name.as_str(), "retention.ms");
            assert_eq!(config.value.as_deref(), Some(RETENTION));
            assert_eq!(config.config_source, 1, "the topic's own");
            assert_eq!(config.synonyms[0].value.as_deref(), Some(RETENTION));
            if version >= 3 {
                assert_eq!(config.config_type, 5, "a long");
                assert!(
                    config
                        .documentation
                        .as_ref()
                        .is_some_and(|text| !text.is_empty())
                );
            }
        },
    );
    let mut partitions = 2;
    asker.each(
        |version| {
            let topic = CreatePartitionsTopic::default()
                .with_name(name(&made(7)))
                .with_count(3 + i32::from(version))
                .with_assignments(None);
            CreatePartitionsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(10_000)
        },
        |_, answer| {
            let result = &answer.results[0];
            assert_eq!((result.error_code, &result.name), (0, &name(&made(7))));
            partitions += 1;
        },
    );
    assert_eq!(
        asker.topic(&made(7)).map(|(count, _)| count),
        Some(partitions)
    );
}

fn tell_metadata(asker: &mut Asker) {
    let (_, id) = asker.topic(&made(2)).expect("created");
    let port = asker.port;
    asker.each(
        |_| {
            let topic = MetadataRequestTopic::default().with_name(Some(name(&made(2))));
            MetadataRequest::default().with_topics(Some(vec![topic]))
        },
        |version, answer| {
            let broker = &answer.brokers[0];
            assert_eq!((broker.node_id, broker.port), (BrokerId(1), port));
            assert_eq!(broker.host.as_str(), "127.0.0.1");
            let topic = &answer.topics[0];
            assert_eq!((topic.error_code, &topic.name), (0, &Some(name(&made(2)))));
            assert_eq!(topic.topic_id, if version >= 10 { id } else { Uuid::nil() });
            assert_eq!(topic.partitions.len(), 2);
            for partition in &topic.partitions {
                assert_eq!(
                    (partition.error_code, partition.leader_id),
                    (0, BrokerId(1))
                );
                assert_eq!(partition.replica_nodes, [BrokerId(1)]);
                assert_eq!(partition.isr_nodes, [BrokerId(1)]);
                assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
            }
            if version >= 1 {
                assert_eq!(answer.controller_id, BrokerId(1));
            }
            assert_eq!(version >= 2, answer.cluster_id.is_some());
        },
    );
    asker.each(
        |_| DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
        |_, answer| {
            assert_eq!((answer.error_code, answer.controller_id), (0, BrokerId(1)));
            let broker = &answer.brokers[0];
            assert_eq!((broker.broker_id, broker.port), (BrokerId(1), port));
            assert!(!answer.cluster_id.is_empty());
            assert!(answer.cluster_authorized_operations > 0);
        },
    );
}

/// One record a version; returns their values.
fn produce(asker: &mut Asker) -> Vec<Bytes> {
    asker.client.create_topic("t", 1, &[]).expect("created");
    let (_, id) = asker.topic("t").expect("created");
    let value = |version: i16| format!("produced in version {version}");
    let mut values = Vec::new();
    asker.each(
        |version| -> ProduceRequest {
            let codec = if version >= 7 {
                Compression::Zstd
            } else {
                Compression::Gzip
            };
            let bytes = batch(&[value(version).into_bytes()], PLAIN, codec);
            let mut request = produce_request("t", 0, -1, bytes);
            if version >= BY_ID {
                let topic = &mut request.topic_data[0];
                (topic.name, topic.topic_id) = (name(""), id);
            }
            request
        },
        |version, answer| {
            let topic = &answer.responses[0];
            if version >= BY_ID {
                assert_eq!(topic.topic_id, id);
            } else {
                assert_eq!(topic.name, name("t"));
            }
            let partition = &topic.partition_responses[0];
            assert_eq!((partition.index, partition.error_code), (0, 0));
            assert_eq!(partition.base_offset, values.len() as i64);
            assert_eq!(partition.log_append_time_ms, -1);
            assert_eq!(
                partition.log_start_offset,
                if version >= 5 { 0 } else { -1 }
            );
            values.push(Bytes::from(value(version)));
        },
    );
    values
}

fn fetch(asker: &mut Asker, values: &[Bytes]) {
    let (_, id) = asker.topic("t").expect("created");
    let end = values.len() as i64;
    let ask = |version: i16, offset: i64| {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_partitions(vec![partition]);
        let topic = if version >= BY_ID {
            topic.with_topic_id(id)
        } else {
            topic.with_topic(name("t"))
        };
        FetchRequest::default()
            .with_max_wait_ms(5000)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic])
    };
    let mut sessions = Vec::new();
    asker.each(
        |version| {
            let request = ask(version, 2);
            if version >= 7 {
                request.with_session_epoch(0)
            } else {
                request
            }
        },
        |version, answer| {
            assert_eq!(answer.error_code, 0);
            let topic = &answer.responses[0];
            if version >= BY_ID {
                assert_eq!(topic.topic_id, id);
            } else {
                assert_eq!(topic.topic, name("t"));
            }
            let partition = &topic.partitions[0];
            assert_eq!((partition.partition_index, partition.error_code), (0, 0));
            assert_eq!(
                (partition.high_watermark, partition.last_stable_offset),
                (end, end)
            );
            assert_eq!(
                partition.log_start_offset,
                if version >= 5 { 0 } else { -1 }
            );
            let records = records_of(partition.records.clone().expect("records")).expect("whole");
            let found: Vec<_> = records
                .iter()
                .map(|record| (record.offset, record.value.clone()))
                .collect();
            let sent = (0..).zip(values).skip(2);
            let sent: Vec<_> = sent
                .map(|(offset, value)| (offset, Some(value.clone())))
                .collect();
            assert_eq!(found, sent);
            assert_eq!(version >= 7, answer.session_id > 0);
            sessions.push((version, answer.session_id));
        },
    );
    for (version, session) in sessions.into_iter().filter(|(version, _)| *version >= 7) {
        let request = ask(version, end)
            .with_session_id(session)
            .with_session_epoch(1);
        let answer = asker
            .client
            .call(version, &request.with_max_wait_ms(0))
            .expect("an answer");
        assert_eq!(
            (answer.error_code, answer.session_id),
            (0, session),
            "version {version}"
        );
        assert!(
            answer.responses.is_empty(),
            "nothing new in version {version}"
        );
    }
}

fn tell_offsets(asker: &mut Asker, count: usize) {
    for (timestamp, offset) in [(-2, 0), (-1, count as i64), (0, 0)] {
        asker.each(
            |_| {
                let partition = ListOffsetsPartition::default()
                    .with_partition_index(0)
                    .with_timestamp(timestamp);
                let topic = ListOffsetsTopic::default()
                    .with_name(name("t"))
                    .with_partitions(vec![partition]);
                ListOffsetsRequest::default()
                    .with_replica_id(BrokerId(-1))
                    .with_topics(vec![topic])
            },
            |version, answer| {
                assert_eq!(answer.topics[0].name, name("t"));
                let partition = &answer.topics[0].partitions[0];
                assert_eq!((partition.error_code, partition.offset), (0, offset));
                assert_eq!(partition.leader_epoch, if version >= 4 { 0 } else { -1 });
                assert_eq!(
                    partition.timestamp > 0,
                    timestamp == 0,
                    "of the record that was found"
                );
            },
        );
    }
    asker.each(
        |version| {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(0)
                .with_leader_epoch(0);
            let topic = OffsetForLeaderTopic::default()
                .with_topic(name("t"))
                .with_partitions(vec![partition]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            if version >= 3 {
                request.with_replica_id(BrokerId(-1))
            } else {
                request
            }
        },
        |_, answer| {
            assert_eq!(answer.topics[0].topic, name("t"));
            let partition = &answer.topics[0].partitions[0];
            assert_eq!((partition.error_code, partition.leader_epoch), (0, 0));
            assert_eq!(partition.end_offset, count as i64);
        },
    );
}

fn delete_records(asker: &mut Asker) {
    let start = |version: i16| i64::from(version) + 1;
    asker.each(
        |version| {
            let partition = DeleteRecordsPartition::default()
                .with_partition_index(0)
                .with_offset(start(version));
            let topic = DeleteRecordsTopic::default()
                .with_name(name("t"))
                .with_partitions(vec![partition]);
            DeleteRecordsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(10_000)
        },
        |version, answer| {
            assert_eq!(answer.topics[0].name, name("t"));
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(
                (partition.error_code, partition.low_watermark),
                (0, start(version))
            );
        },
    );
}

fn give_producer_ids(asker: &mut Asker) {
    asker.client.init_producer_id().expect("an id");
    let mut given = BTreeSet::new();
    asker.each(
        |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1000)
        },
        |_, answer| {
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
            assert!(given.insert(answer.producer_id), "an id of its own");
        },
    );
}

/// Deletes what CreateTopics has made in the version after; by id where that is possible.
fn delete_topics(asker: &mut Asker) {
    let (_, id) = asker.topic(&made(7)).expect("created");
    asker.each(
        |version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
            if version >= 6 {
                request.with_topics(vec![
                    DeleteTopicState::default()
                        .with_name(None)
                        .with_topic_id(id),
                ])
            } else {
                request.with_topic_names(vec![name(&made(version + 1))])
            }
        },
        |version, answer| {
            let topic = &answer.responses[0];
            assert_eq!(
                (topic.error_code, &topic.name),
                (0, &Some(name(&made(version + 1))))
            );
        },
    );
    // A broker may tell of a topic for a moment after it was deleted.
    let until = Instant::now() + Duration::from_secs(10);
    while (2..=7).any(|version| asker.topic(&made(version)).is_some()) {
        assert!(Instant::now() < until, "what was deleted is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}
