//! ApiVersions, DescribeCluster, Metadata and InitProducerId.

use super::{Pair, name, named};
use crate::client::text;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, InitProducerIdRequest, MetadataRequest, TransactionalId,
};

/// What the cluster says of itself.
pub fn versions_and_cluster(pair: &mut Pair) {
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
    pair.every_version("DescribeCluster of controllers", |_, version| {
        let asked = DescribeClusterRequest::default();
        asked.with_endpoint_type(if version == 0 { 1 } else { 2 })
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
    pair.every_version("Metadata by neither name nor id", |_, version| {
        let neither = MetadataRequestTopic::default().with_name(None);
        of(Some(if version >= 10 {
            vec![neither]
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
    for timeout in [1000, 900_000, 900_001, 0, -1] {
        pair.every_version(
            &format!("InitProducerId of a transactional id and {timeout} ms"),
            |_, _| {
                InitProducerIdRequest::default()
                    .with_transactional_id(Some(TransactionalId(text("tx"))))
                    .with_transaction_timeout_ms(timeout)
            },
        );
    }
    pair.every_version("InitProducerId of an empty transactional id", |_, _| {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(""))))
            .with_transaction_timeout_ms(1000)
    });
    pair.at_controllers();
    for endpoint_type in [1, 2, 3] {
        pair.every_version(
            &format!("a controller's DescribeCluster of endpoints {endpoint_type}"),
            |_, version| {
                DescribeClusterRequest::default()
                    .with_include_cluster_authorized_operations(true)
                    .with_endpoint_type(if version == 0 { 1 } else { endpoint_type })
            },
        );
    }
}
