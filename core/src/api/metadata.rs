//! Metadata: who leads which partition, and where to reach it. Creates topics that are asked for, where that is allowed.
//!
//! Reads the committed image; what is to be created is the controller's to decide.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::controller::{check_topic_name, is_internal_topic};
use crate::ids::{NodeId, Uuid};
use crate::metadata::{Image, Partition, Topic};
use crate::wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::register_broker_record::BrokerEndpoint;
use crate::wire::{
    CreateTopicsRequest, ErrorCode, MetadataRequest, MetadataResponse, RegisterBrokerRecord, Str,
};

/// Every operation on a topic, as bits of Kafka's operation numbers: read, write, create, delete, alter, describe, describe and
/// alter configs. Without authorization everybody may do everything.
const TOPIC_OPERATIONS: i32 = 0xdf8;
/// Every operation on the cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 0x1fa0;

/// From here a missing listener has a code of its own.
const LISTENER_NOT_FOUND_FROM: i16 = 6;
/// Cluster operations are told from here …
const OPERATIONS_FROM: i16 = 8;
/// … to here; then DescribeCluster tells them.
const CLUSTER_OPERATIONS_TO: i16 = 10;
/// From here a topic can be named by its id.
const TOPIC_IDS_FROM: i16 = 12;

/// What the answer depends on besides the request.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The committed metadata.
    pub image: &'a Image,
    /// This node's configuration.
    pub config: &'a Config,
    /// The id of the cluster.
    pub cluster_id: &'a str,
    /// The name of the listener that the client came in at.
    pub listener: &'a str,
}

/// Answers a request; and which topics are to be created because of it (the answer does not wait for them).
#[must_use]
pub fn handle(request: &MetadataRequest, version: i16, view: View) -> (MetadataResponse, Vec<Str>) {
    let all = request
        .topics
        .as_ref()
        .is_none_or(|topics| topics.is_empty() && version == 0);
    let asked = request.topics.as_deref().unwrap_or_default();
    let impossible = |name: &Option<Str>, id: Uuid| {
        version < TOPIC_IDS_FROM && (name.is_none() || id != Uuid::ZERO)
    };
    if !all
        && asked
            .iter()
            .any(|topic| impossible(&topic.name, topic.topic_id))
    {
        return (invalid(request), Vec::new());
    }
    let mut topics = Vec::new();
    let mut create = Vec::new();
    let operations = if version >= OPERATIONS_FROM && request.include_topic_authorized_operations {
        TOPIC_OPERATIONS
    } else {
        i32::MIN
    };
    let ids: BTreeSet<Uuid> = asked
        .iter()
        .map(|topic| topic.topic_id)
        .filter(|id| *id != Uuid::ZERO)
        .collect();
    if all {
        topics.extend(
            view.image
                .topics
                .iter()
                .map(|topic| view.topic(topic, version, operations)),
        );
    } else if !ids.is_empty() {
        // With one id in it, a request is by ids: names are passed over, as Kafka does.
        for id in ids {
            topics.push(match view.image.topics.by_id(id) {
                Some(topic) => view.topic(topic, version, operations),
                None => MetadataResponseTopic {
                    error_code: ErrorCode::UNKNOWN_TOPIC_ID,
                    name: None,
                    topic_id: id,
                    ..Default::default()
                },
            });
        }
    } else {
        let names: BTreeSet<&Str> = asked
            .iter()
            .filter_map(|topic| topic.name.as_ref())
            .collect();
        let may_create =
            request.allow_auto_topic_creation && view.config.flag("auto.create.topics.enable");
        for name in names {
            if let Some(topic) = view.image.topics.by_name(name) {
                topics.push(view.topic(topic, version, operations));
                continue;
            }
            let valid = check_topic_name(name).is_ok();
            if valid && may_create {
                create.push(name.detached());
            }
            let error_code = if valid {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else {
                ErrorCode::INVALID_TOPIC_EXCEPTION
            };
            topics.push(MetadataResponseTopic {
                error_code,
                name: Some(name.clone()),
                is_internal: is_internal_topic(name),
                topic_authorized_operations: operations,
                ..Default::default()
            });
        }
    }
    let cluster = (OPERATIONS_FROM..=CLUSTER_OPERATIONS_TO).contains(&version)
        && request.include_cluster_authorized_operations;
    let response = MetadataResponse {
        brokers: view.brokers(),
        cluster_id: Some(Str::from(view.cluster_id.to_owned())),
        controller_id: view.any_broker(),
        topics,
        cluster_authorized_operations: if cluster {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    };
    (response, create)
}

/// The request that creates `names` on behalf of clients that asked for their metadata.
#[must_use]
pub fn auto_creation(config: &Config, names: &[Str]) -> CreateTopicsRequest {
    let topics = names.iter().map(|name| {
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        };
        match name.as_str() {
            "__consumer_offsets" => internal(
                config,
                topic,
                "offsets.topic",
                &[
                    ("cleanup.policy", "compact"),
                    ("compression.type", "producer"),
                ],
            ),
            "__transaction_state" => internal(
                config,
                topic,
                "transaction.state.log",
                &[
                    ("cleanup.policy", "compact"),
                    ("compression.type", "uncompressed"),
                    ("unclean.leader.election.enable", "false"),
                ],
            ),
            "__share_group_state" => internal(
                config,
                topic,
                "share.coordinator.state.topic",
                &[
                    ("cleanup.policy", "delete"),
                    ("compression.type", "producer"),
                    ("retention.ms", "-1"),
                ],
            ),
            _ => topic,
        }
    });
    CreateTopicsRequest {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// A topic of the cluster's own, whose shape the broker properties below `prefix` give.
fn internal(
    config: &Config,
    topic: CreatableTopic,
    prefix: &str,
    fixed: &[(&'static str, &'static str)],
) -> CreatableTopic {
    let number = |name: &str| config.int(&format!("{prefix}.{name}"));
    let property = |name: &'static str, value: String| CreatableTopicConfig {
        name: name.into(),
        value: Some(Str::from(value)),
        ..Default::default()
    };
    let mut configs: Vec<_> = fixed
        .iter()
        .map(|(name, value)| property(name, (*value).to_owned()))
        .collect();
    configs.push(property(
        "segment.bytes",
        number("segment.bytes").to_string(),
    ));
    if prefix != "offsets.topic" {
        configs.push(property(
            "min.insync.replicas",
            number("min.isr").to_string(),
        ));
    }
    CreatableTopic {
        num_partitions: i32::try_from(number("num.partitions")).unwrap_or(-1),
        replication_factor: i16::try_from(number("replication.factor")).unwrap_or(-1),
        configs,
        ..topic
    }
}

fn invalid(request: &MetadataRequest) -> MetadataResponse {
    let asked = request.topics.as_deref().unwrap_or_default();
    let refused = asked.iter().map(|topic| MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        // Null cannot be said in every version.
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    });
    MetadataResponse {
        topics: refused.collect(),
        error_code: ErrorCode::INVALID_REQUEST,
        ..Default::default()
    }
}

impl View<'_> {
    /// Where clients of this listener reach `broker`.
    pub(super) fn endpoint<'b>(
        &self,
        broker: &'b RegisterBrokerRecord,
    ) -> Option<&'b BrokerEndpoint> {
        broker
            .end_points
            .iter()
            .find(|endpoint| endpoint.name == self.listener)
    }

    /// One broker that is alive; -1 if none is. Kafka draws one: every broker passes requests on to the controller.
    pub(super) fn any_broker(&self) -> i32 {
        let alive = self.image.brokers.values().find(|broker| !broker.fenced);
        alive.map_or(-1, |broker| broker.broker_id)
    }

    fn brokers(&self) -> Vec<MetadataResponseBroker> {
        let alive = self.image.brokers.values().filter(|broker| !broker.fenced);
        let reached = alive.filter_map(|broker| Some((broker, self.endpoint(broker)?)));
        reached
            .map(|(broker, endpoint)| MetadataResponseBroker {
                node_id: broker.broker_id,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
                ..Default::default()
            })
            .collect()
    }

    fn topic(&self, topic: &Topic, version: i16, operations: i32) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter();
        MetadataResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: is_internal_topic(&topic.name),
            partitions: partitions
                .map(|(index, partition)| self.partition(*index, partition, version))
                .collect(),
            topic_authorized_operations: operations,
            ..Default::default()
        }
    }

    fn partition(
        &self,
        index: i32,
        partition: &Partition,
        version: i16,
    ) -> MetadataResponsePartition {
        // Version 0 leaves out replicas that cannot be reached, and says so by a code.
        let reachable = |ids: &[i32]| -> Vec<i32> {
            let kept = ids
                .iter()
                .copied()
                .filter(|id| version > 0 || self.is_reachable(*id));
            kept.collect()
        };
        let (replicas, isr) = (reachable(&partition.replicas), reachable(&partition.isr));
        let leader = self.image.brokers.get(&partition.leader.0);
        let has_endpoint = leader.is_some_and(|leader| self.endpoint(leader).is_some());
        let error_code = match leader {
            None => ErrorCode::LEADER_NOT_AVAILABLE,
            Some(_) if !has_endpoint && version >= LISTENER_NOT_FOUND_FROM => {
                ErrorCode::LISTENER_NOT_FOUND
            }
            Some(_) if !has_endpoint => ErrorCode::LEADER_NOT_AVAILABLE,
            Some(_)
                if replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len() =>
            {
                ErrorCode::REPLICA_NOT_AVAILABLE
            }
            Some(_) => ErrorCode::NONE,
        };
        let offline = partition
            .replicas
            .iter()
            .copied()
            .filter(|id| self.is_offline(*id, partition));
        MetadataResponsePartition {
            error_code,
            partition_index: index,
            leader_id: if has_endpoint {
                partition.leader.0
            } else {
                NodeId::NONE.0
            },
            leader_epoch: partition.leader_epoch.0,
            offline_replicas: offline.collect(),
            replica_nodes: replicas,
            isr_nodes: isr,
            ..Default::default()
        }
    }

    fn is_reachable(&self, id: i32) -> bool {
        let broker = self.image.brokers.get(&id);
        broker.is_some_and(|broker| !broker.fenced && self.endpoint(broker).is_some())
    }

    fn is_offline(&self, id: i32, partition: &Partition) -> bool {
        if !self.is_reachable(id) {
            return true;
        }
        let online = self
            .image
            .brokers
            .get(&id)
            .map(|broker| broker.log_dirs.as_slice())
            .unwrap_or_default();
        match partition.directory(NodeId(id)) {
            None | Some(Uuid::ZERO) => false,
            Some(directory) => !online.is_empty() && !online.contains(&directory),
        }
    }
}
