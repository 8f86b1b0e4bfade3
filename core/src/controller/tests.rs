//! Stories of the controller: requests in, records and responses out, and a model that replays beside it. Writes no log.

mod start;
mod topics;

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
    CreatePartitionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    FeatureLevelRecord,
};

/// A controller and the log that it would have: what was appended is replayed into an image of its own.
struct World {
    controller: Controller,
    committed: Image,
    log: Vec<Vec<MetadataRecord>>,
    rng: Rng,
    /// The most records of one batch.
    batch: usize,
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
            batch: 1_000,
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
                Mutants::NONE,
            )
            .expect("nothing is missing")
        {
            self.append(records);
        }
    }

    /// The node stops and comes back with what the log holds.
    fn restart(&mut self, incarnation: u8) {
        self.controller = Controller::new(&self.controller.config);
        self.controller.resize(self.batch);
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

    /// What is left of a large creation.
    fn create_further(&mut self) {
        while let Some(records) = self.controller.go_on_creating() {
            self.append(records);
        }
    }

    fn batches_of(&mut self, records: usize) {
        self.batch = records;
        self.controller.resize(records);
    }

    fn begin_to_create(&mut self, topics: Vec<CreatableTopic>) -> CreateTopicsResponse {
        let request = CreateTopicsRequest {
            topics,
            ..Default::default()
        };
        let outcome = self.controller.create_topics(&request, 7, &self.rng);
        self.append(outcome.records);
        outcome.response
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<(String, ErrorCode, Option<String>)> {
        let response = self.begin_to_create(topics);
        self.create_further();
        let line = |topic: &crate::wire::create_topics_response::CreatableTopicResult| {
            (
                topic.name.to_string(),
                topic.error_code,
                topic.error_message.as_ref().map(ToString::to_string),
            )
        };
        response.topics.iter().map(line).collect()
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
    /// The node dies when so many pieces of a creation are in the log.
    Cut {
        partitions: i32,
        pieces: usize,
    },
}

const NAMES: [&str; 5] = ["a", "b.c", "b_c", "", "long-name"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NAMES.len(), -2..5, 0..4_usize).prop_map(|(name, partitions, property)| Step::Create { name, partitions, property }),
        2 => (0..NAMES.len()).prop_map(|name| Step::Delete { name }),
        2 => (0..NAMES.len(), 0..9).prop_map(|(name, count)| Step::Grow { name, count }),
        1 => Just(Step::ProducerIds),
        1 => Just(Step::Restart),
        1 => (1..9, 0..6_usize).prop_map(|(partitions, pieces)| Step::Cut { partitions, pieces }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_state_is_the_replay_of_the_log(batch in 1..6_usize, steps in proptest::collection::vec(step(), 1..30)) {
        let mut world = World::started(&[]);
        world.batches_of(batch);
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
                    world.create_further();
                }
                Step::ProducerIds => {
                    let outcome = world.controller.allocate_producer_ids(1, 4);
                    world.append(outcome.records);
                }
                Step::Restart => world.restart(nth as u8 + 2),
                Step::Cut { partitions, pieces } => {
                    world.begin_to_create(vec![topic("cut", partitions)]);
                    for _ in 0..pieces {
                        if let Some(records) = world.controller.go_on_creating() {
                            world.append(records);
                        }
                    }
                    let whole = !world.controller.is_creating();
                    world.restart(nth as u8 + 2);
                    let there = world.committed.topics.by_name("cut").map(|topic| topic.partitions.len() as i32);
                    prop_assert_eq!(there, whole.then_some(partitions));
                    world.delete(&["cut"]);
                }
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
