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
        return (refused(request, ErrorCode::INVALID_REQUEST), Vec::new());
    }
    let mut topics = Vec::new();
    let mut create = Vec::new();
    let operations = topic_operations(request, version);
    let ids: Vec<Uuid> = once(
        asked
            .iter()
            .map(|topic| topic.topic_id)
            .filter(|id| *id != Uuid::ZERO),
    );
    if ids.is_empty() && asked.iter().any(|topic| topic.name.is_none()) {
        // Neither name nor id: Kafka fails on it.
        let response = refused(request, ErrorCode::UNKNOWN_SERVER_ERROR);
        return (response, Vec::new());
    }
    if all {
        topics.extend(
            view.image
                .topics
                .iter()
                .map(|topic| view.topic(topic, version, operations)),
        );
    } else if !ids.is_empty() {
        // With one id in it, a request is by ids: names are passed over, as Kafka does.
        let (known, unknown): (Vec<Uuid>, Vec<Uuid>) = ids
            .iter()
            .partition(|id| view.image.topics.by_id(**id).is_some());
        topics.extend(unknown.into_iter().map(|topic_id| MetadataResponseTopic {
            error_code: ErrorCode::UNKNOWN_TOPIC_ID,
            name: None,
            topic_id,
            ..Default::default()
        }));
        let known = known
            .into_iter()
            .filter_map(|id| view.image.topics.by_id(id));
        topics.extend(known.map(|topic| view.topic(topic, version, operations)));
    } else {
        let names: Vec<&Str> = once(asked.iter().filter_map(|topic| topic.name.as_ref()));
        let (known, unknown): (Vec<&Str>, Vec<&Str>) = names
            .iter()
            .partition(|name| view.image.topics.id(name).is_some());
        let known = known
            .into_iter()
            .filter_map(|name| view.image.topics.by_name(name));
        topics.extend(known.map(|topic| view.topic(topic, version, operations)));
        let may_create =
            request.allow_auto_topic_creation && view.config.flag("auto.create.topics.enable");
        for name in unknown {
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
    (answer(request, version, view, topics), create)
}

/// The operations that are told with each topic.
fn topic_operations(request: &MetadataRequest, version: i16) -> i32 {
    if version >= OPERATIONS_FROM && request.include_topic_authorized_operations {
        TOPIC_OPERATIONS
    } else {
        i32::MIN
    }
}

/// The next topics by name after `after`: at most so many, and of so many partitions that only the last one goes beyond.
#[must_use]
pub fn topics_after(
    request: &MetadataRequest,
    version: i16,
    view: View,
    after: &str,
    (most, most_partitions): (usize, usize),
) -> Vec<MetadataResponseTopic> {
    let operations = topic_operations(request, version);
    let mut topics = Vec::new();
    let mut partitions = 0;
    for topic in view.image.topics.after(after) {
        if topics.len() == most || partitions >= most_partitions {
            break;
        }
        partitions += topic.partitions.len();
        topics.push(view.topic(topic, version, operations));
    }
    topics
}

/// The answer that tells `topics`.
#[must_use]
pub fn answer(
    request: &MetadataRequest,
    version: i16,
    view: View,
    topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    let cluster = (OPERATIONS_FROM..=CLUSTER_OPERATIONS_TO).contains(&version)
        && request.include_cluster_authorized_operations;
    MetadataResponse {
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
    }
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

/// The items in their order, repeats left out.
fn once<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

/// The whole request fails.
fn refused(request: &MetadataRequest, error_code: ErrorCode) -> MetadataResponse {
    let asked = request.topics.as_deref().unwrap_or_default();
    let topics = asked.iter().map(|topic| MetadataResponseTopic {
        error_code,
        // Null cannot be said in every version.
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    });
    MetadataResponse {
        topics: topics.collect(),
        error_code,
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
        let directory = partition.directory(NodeId(id));
        directory
            .filter(Uuid::names_directory)
            .is_some_and(|directory| !online.is_empty() && !online.contains(&directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::{Controller, Registration};
    use crate::ids::Offset;
    use crate::mutant::Mutants;
    use crate::rng::Rng;
    use crate::wire::metadata_request::MetadataRequestTopic;
    use crate::wire::{DescribeClusterRequest, FeatureLevelRecord};

    /// A cluster of one broker with the topics `t` (two partitions) and `__consumer_offsets`.
    fn controller(config: &Config) -> Controller {
        use crate::config::{Listener, SecurityProtocol};
        let mut controller = Controller::new(config);
        let listener = Listener {
            name: "PLAINTEXT".to_owned(),
            host: "broker".to_owned(),
            port: 9,
            protocol: SecurityProtocol::Plaintext,
        };
        let me = Registration {
            node_id: NodeId(1),
            incarnation: Uuid([1; 16]),
            broker_listeners: vec![listener],
            controller_listeners: Vec::new(),
            rack: Some("r".to_owned()),
            log_dirs: vec![Uuid([2; 16])],
        };
        let level = FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: 30,
            ..Default::default()
        };
        while controller
            .startup(&me, &[level.clone().into()], Offset(0), true, Mutants::NONE)
            .expect("nothing is missing")
            .is_some()
        {}
        let topic = |name: &'static str, num_partitions| CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic("t", 2), topic("__consumer_offsets", 1)],
            ..Default::default()
        };
        let created = controller.create_topics(&request, 7, &Rng::new([3; 32]));
        assert!(
            created
                .response
                .topics
                .iter()
                .all(|topic| topic.error_code == ErrorCode::NONE)
        );
        controller
    }

    fn ask(
        request: &MetadataRequest,
        version: i16,
        overrides: &[(&str, &str)],
        listener: &str,
    ) -> (MetadataResponse, Vec<Str>) {
        let config = Config::single(1, &["/a"], overrides).expect("valid");
        let controller = controller(&config);
        handle(
            request,
            version,
            View {
                image: controller.image(),
                config: &config,
                cluster_id: "c",
                listener,
            },
        )
    }

    fn named(names: &[&'static str], allow_auto_topic_creation: bool) -> MetadataRequest {
        let topics = names.iter().map(|name| MetadataRequestTopic {
            name: Some((*name).into()),
            ..Default::default()
        });
        MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation,
            ..Default::default()
        }
    }

    fn lines(response: &MetadataResponse) -> Vec<String> {
        let line = |topic: &MetadataResponseTopic| {
            format!(
                "{} {:?} {} {}",
                topic.name.as_deref().unwrap_or("-"),
                topic.error_code,
                topic.is_internal,
                topic.partitions.len()
            )
        };
        response.topics.iter().map(line).collect()
    }

    #[test]
    fn topics_are_named_listed_and_created() {
        let (response, create) = ask(
            &named(&["new", "t", "b d", "t", "__consumer_offsets"], true),
            12,
            &[],
            "PLAINTEXT",
        );
        assert_eq!(
            lines(&response),
            [
                "t NONE false 2",
                "__consumer_offsets NONE true 1",
                "new UNKNOWN_TOPIC_OR_PARTITION false 0",
                "b d INVALID_TOPIC_EXCEPTION false 0"
            ]
        );
        assert_eq!(create, ["new"]);
        assert!(
            ask(&named(&["new"], false), 12, &[], "PLAINTEXT")
                .1
                .is_empty()
        );
        assert!(
            ask(
                &named(&["new"], true),
                12,
                &[("auto.create.topics.enable", "false")],
                "PLAINTEXT"
            )
            .1
            .is_empty()
        );
        let all = MetadataRequest {
            topics: None,
            ..named(&[], true)
        };
        assert_eq!(
            lines(&ask(&all, 12, &[], "PLAINTEXT").0),
            ["__consumer_offsets NONE true 1", "t NONE false 2"]
        );
        assert_eq!(
            ask(&named(&[], true), 0, &[], "PLAINTEXT").0.topics.len(),
            2,
            "none is all in version 0"
        );
        assert_eq!(
            ask(&named(&[], true), 1, &[], "PLAINTEXT").0.topics.len(),
            0
        );
        let broker = &response.brokers[0];
        assert_eq!(
            (
                broker.node_id,
                broker.host.as_str(),
                broker.port,
                broker.rack.as_deref()
            ),
            (1, "broker", 9, Some("r"))
        );
        assert_eq!(
            (response.controller_id, response.cluster_id.as_deref()),
            (1, Some("c"))
        );
    }

    #[test]
    fn topics_are_found_by_id_where_there_are_ids() {
        let by_id = |topic_id, name: Option<&'static str>| MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                topic_id,
                name: name.map(Str::from),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let unknown = ask(&by_id(Uuid([9; 16]), None), 12, &[], "PLAINTEXT").0;
        assert_eq!(lines(&unknown), ["- UNKNOWN_TOPIC_ID false 0"]);
        let early = ask(&by_id(Uuid([9; 16]), Some("t")), 11, &[], "PLAINTEXT").0;
        assert_eq!(
            (early.error_code, lines(&early)),
            (
                ErrorCode::INVALID_REQUEST,
                vec!["t INVALID_REQUEST false 0".to_owned()]
            )
        );
        let nameless = ask(&by_id(Uuid::ZERO, None), 10, &[], "PLAINTEXT").0;
        assert_eq!(nameless.error_code, ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn a_listener_that_the_leader_lacks_is_told_as_the_version_can() {
        for (version, code) in [
            (0, ErrorCode::LEADER_NOT_AVAILABLE),
            (5, ErrorCode::LEADER_NOT_AVAILABLE),
            (6, ErrorCode::LISTENER_NOT_FOUND),
        ] {
            let (response, _) = ask(&named(&["t"], false), version, &[], "OTHER");
            let partition = &response.topics[0].partitions[0];
            assert_eq!(
                (
                    partition.error_code,
                    partition.leader_id,
                    partition.offline_replicas.as_slice()
                ),
                (code, -1, &[1][..])
            );
            assert_eq!(partition.replica_nodes.len(), usize::from(version > 0));
            assert!(response.brokers.is_empty());
        }
    }

    #[test]
    fn operations_are_told_when_asked() {
        let asked = MetadataRequest {
            include_topic_authorized_operations: true,
            include_cluster_authorized_operations: true,
            ..named(&["t", "none"], false)
        };
        for (version, topic, cluster) in [
            (7, i32::MIN, i32::MIN),
            (8, 3576, 8096),
            (10, 3576, 8096),
            (11, 3576, i32::MIN),
        ] {
            let response = ask(&asked, version, &[], "PLAINTEXT").0;
            assert!(
                response
                    .topics
                    .iter()
                    .all(|own| own.topic_authorized_operations == topic)
            );
            assert_eq!(response.cluster_authorized_operations, cluster);
        }
    }

    #[test]
    fn the_cluster_is_described() {
        let config = Config::single(1, &["/a"], &[]).expect("valid");
        let controller = controller(&config);
        let view = View {
            image: controller.image(),
            config: &config,
            cluster_id: "c",
            listener: "PLAINTEXT",
        };
        let ask = |endpoint_type, version| {
            super::super::describe_cluster::handle(
                &DescribeClusterRequest {
                    endpoint_type,
                    include_cluster_authorized_operations: true,
                    ..Default::default()
                },
                version,
                view,
            )
        };
        let plain = ask(1, 2);
        assert_eq!(
            (
                plain.controller_id,
                plain.brokers.len(),
                plain.cluster_authorized_operations
            ),
            (1, 1, 8096)
        );
        assert_eq!(ask(2, 1).error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);
        assert_eq!(ask(9, 1).error_code, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE);
        assert_eq!(ask(9, 0).error_code, ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn topics_of_the_clusters_own_get_their_shape() {
        let config =
            Config::single(1, &["/a"], &[("offsets.topic.num.partitions", "7")]).expect("valid");
        let request = auto_creation(
            &config,
            &[
                "__consumer_offsets".into(),
                "__transaction_state".into(),
                "__share_group_state".into(),
                "t".into(),
            ],
        );
        let shapes: Vec<_> = request
            .topics
            .iter()
            .map(|topic| {
                (
                    topic.num_partitions,
                    topic.replication_factor,
                    topic.configs.len(),
                )
            })
            .collect();
        assert_eq!(shapes, [(7, 3, 3), (50, 3, 5), (50, 3, 5), (-1, -1, 0)]);
    }
}
