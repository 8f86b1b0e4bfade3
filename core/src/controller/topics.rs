//! CreateTopics and DeleteTopics: which topics may come and go, and the records that say so.
//!
//! Decides nothing about logs on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::creation::Growth;
use super::names::{self, CLUSTER_METADATA};
use super::placement::Placed;
use super::{Controller, Outcome, REQUEST_RECORDS_MAX, Refusal, VersionedRecord};
use crate::config::log::{self, describe_topic};
use crate::ids::{LeaderEpoch, NodeId, Uuid};
use crate::metadata::{Partition, Resource, features};
use crate::rng::{Purpose, Rng};
use crate::wire::create_topics_request::CreatableTopic;
use crate::wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::delete_topics_response::DeletableTopicResult;
use crate::wire::{
    ConfigRecord, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, ErrorCode, MetadataRecord, RemoveTopicRecord, Str, TopicRecord,
};

/// The most partitions that one request may create.
const PARTITIONS_MAX: i64 = 10_000;
/// The longest value of a property, in bytes.
const CONFIG_VALUE_BYTES_MAX: usize = 32_767;
/// From this version the response carries the new topic's properties.
const CONFIGS_FROM: i16 = 5;

/// What comes once, and what comes more often.
type OnceAndMore<'a, T> = (BTreeSet<&'a T>, BTreeSet<&'a T>);

/// A topic that may be created.
struct NewTopic {
    growth: Growth,
    factor: usize,
    configs: BTreeMap<String, String>,
}

impl Controller {
    /// Creates the topics of `request`, all that may be; says of each why not.
    pub fn create_topics(
        &mut self,
        request: &CreateTopicsRequest,
        version: i16,
        rng: &Rng,
    ) -> Outcome<CreateTopicsResponse> {
        let (once, twice) = names_once_and_more(request.topics.iter().map(|topic| &topic.name));
        let wanted: Vec<&CreatableTopic> = request
            .topics
            .iter()
            .filter(|topic| once.contains(&topic.name) && topic.name != CLUSTER_METADATA)
            .collect();
        if timed_out(request.timeout_ms) && !wanted.is_empty() {
            return refused(request, &Refusal::bare(ErrorCode::REQUEST_TIMED_OUT));
        }
        let default_partitions = self.config.int("num.partitions");
        let total: i64 = wanted
            .iter()
            .map(|topic| partitions_asked(topic, default_partitions))
            .sum();
        if total > PARTITIONS_MAX {
            let why = "Excessively large number of partitions per request.";
            return excessive(request, why);
        }
        let mut results = Vec::with_capacity(request.topics.len());
        let mut created: Vec<Growth> = Vec::new();
        let mut placed = BTreeMap::new();
        let mut plain = None;
        // Two new names of one request do not collide with each other, as with Kafka: all are checked before one is created.
        let checked: Vec<_> = wanted
            .into_iter()
            .map(|topic| (topic, self.check_new_name(&topic.name)))
            .collect();
        for (topic, name) in checked {
            match name.and_then(|()| self.new_topic(topic, rng, &mut placed)) {
                Ok(new) => {
                    results.push(self.created(topic, &new, version, &mut plain));
                    created.push(new.growth);
                }
                Err(refusal) => results.push(not_created(&topic.name, &refusal)),
            }
        }
        if created.iter().map(Growth::records).sum::<usize>() > REQUEST_RECORDS_MAX {
            let why = "Unable to perform excessively large batch operation.";
            return excessive(request, why);
        }
        let records = if request.validate_only {
            Vec::new()
        } else {
            self.grow(created)
        };
        let duplicate = Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.");
        results.extend(twice.iter().map(|name| not_created(name, &duplicate)));
        if once.iter().any(|name| *name == CLUSTER_METADATA) {
            let prohibited = Refusal::new(
                ErrorCode::INVALID_REQUEST,
                format!("Creation of internal topic {CLUSTER_METADATA} is prohibited."),
            );
            results.push(not_created(
                &Str::from_static(CLUSTER_METADATA),
                &prohibited,
            ));
        }
        let response = CreateTopicsResponse {
            topics: results,
            ..Default::default()
        };
        Outcome { records, response }
    }

    /// Deletes topics by name (up to version 5) or by name or id.
    pub fn delete_topics(
        &mut self,
        request: &DeleteTopicsRequest,
        version: i16,
    ) -> Outcome<DeleteTopicsResponse> {
        if !self.config.flag("delete.topic.enable") {
            // Before version 3 clients do not know the code that says it.
            let code = if version < 3 {
                ErrorCode::INVALID_REQUEST
            } else {
                ErrorCode::TOPIC_DELETION_DISABLED
            };
            return none_deleted(request, code);
        }
        let ((names, _), (ids, _)) = asked_to_delete(request);
        let nothing_to_find = names.is_empty() && ids.is_empty();
        if timed_out(request.timeout_ms) && !nothing_to_find {
            return none_deleted(request, ErrorCode::REQUEST_TIMED_OUT);
        }
        let (known, mut results) = self.topics_to_delete(request);
        let mut records: Vec<VersionedRecord> = Vec::new();
        for (id, name) in known {
            if records.len() == REQUEST_RECORDS_MAX {
                results.push(DeletableTopicResult {
                    name: Some(name),
                    topic_id: id,
                    error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
                    ..Default::default()
                });
                continue;
            }
            let record = RemoveTopicRecord {
                topic_id: id,
                ..Default::default()
            };
            records.extend(self.write(vec![record.into()]));
            results.push(DeletableTopicResult {
                name: Some(name),
                topic_id: id,
                ..Default::default()
            });
        }
        let response = DeleteTopicsResponse {
            responses: results,
            ..Default::default()
        };
        Outcome { records, response }
    }

    /// A topic that may be created; `extra` counts the replicas in each directory that the request has placed.
    fn new_topic(
        &mut self,
        topic: &CreatableTopic,
        rng: &Rng,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Result<NewTopic, Refusal> {
        let configs = self.new_configs(topic)?;
        let placed = self.place_new(topic, rng, extra)?;
        let factor = placed.first().map_or(0, |placed| placed.replicas.len());
        let id = self.next_topic_id(rng);
        // Nothing that outlives the request may hold its frame.
        let name = topic.name.detached();
        let record = TopicRecord {
            name: name.clone(),
            topic_id: id,
            ..Default::default()
        };
        let mut head = VecDeque::from([record.into()]);
        head.extend(configs.iter().map(|(property, value)| {
            let record = ConfigRecord {
                resource_type: Resource::TOPIC,
                resource_name: name.clone(),
                name: Str::from(property.clone()),
                value: Some(Str::from(value.clone())),
                ..Default::default()
            };
            record.into()
        }));
        let growth = Growth {
            id,
            head,
            next: 0,
            placed: placed.into(),
        };
        Ok(NewTopic {
            growth,
            factor,
            configs,
        })
    }

    fn check_new_name(&self, name: &str) -> Result<(), Refusal> {
        if self.image.topics.id(name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TOPIC_ALREADY_EXISTS,
                format!("Topic '{name}' already exists."),
            ));
        }
        names::check_topic_name(name)
            .map_err(|why| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        let colliding = names::may_collide(name)
            .then(|| self.collisions.get(&names::unified(name))?.first())
            .flatten();
        match colliding {
            Some(other) => Err(Refusal::new(
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                format!("Topic '{name}' collides with existing topic: {other}"),
            )),
            None => Ok(()),
        }
    }

    fn new_configs(&self, topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
        let refuse = |message: String| Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
        let nulls: Vec<&str> = topic
            .configs
            .iter()
            .filter(|config| config.value.is_none())
            .map(|config| config.name.as_str())
            .collect();
        if !nulls.is_empty() {
            return refuse(format!(
                "Null value not supported for topic configs: {}",
                nulls.join(",")
            ));
        }
        if topic.configs.is_empty() {
            // What the broker is configured with holds, whatever it is.
            return Ok(BTreeMap::new());
        }
        let set = topic.configs.iter().filter_map(|config| {
            Some((config.name.to_string(), config.value.as_ref()?.to_string()))
        });
        let configs: BTreeMap<String, String> = set.collect();
        if configs
            .values()
            .any(|value| value.len() > CONFIG_VALUE_BYTES_MAX)
        {
            return refuse(format!(
                "The configuration value cannot be added because it exceeds the maximum value size of {CONFIG_VALUE_BYTES_MAX} bytes."
            ));
        }
        match log::check_topic(&self.config, &configs) {
            Ok(()) => Ok(configs),
            Err(error) => refuse(error.message),
        }
    }

    fn place_new(
        &self,
        topic: &CreatableTopic,
        rng: &Rng,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Result<Vec<Placed>, Refusal> {
        if !topic.assignments.is_empty() {
            return self.place_as_assigned(topic, extra);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            return Err(Refusal::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            return Err(Refusal::new(
                ErrorCode::INVALID_PARTITIONS,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        let or_default = |asked: i64, property: &str| {
            if asked == -1 {
                self.config.int(property)
            } else {
                asked
            }
        };
        let partitions = or_default(i64::from(topic.num_partitions), "num.partitions");
        let factor = or_default(
            i64::from(topic.replication_factor),
            "default.replication.factor",
        );
        // Both are at least 1 and no more than their types hold, by the request or by the property's range.
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let factor = i16::try_from(factor).unwrap_or(i16::MAX);
        let unable = |why: &str| {
            Refusal::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                format!("Unable to replicate the partition {factor} time(s): {why}"),
            )
        };
        let placed = self
            .place(partitions, factor, rng, extra)
            .map_err(|refusal| unable(refusal.message.as_deref().unwrap_or_default()))?;
        if placed
            .iter()
            .any(|placed| self.first_isr(&placed.replicas).is_empty())
        {
            return Err(unable(
                "All brokers are currently fenced or in controlled shutdown.",
            ));
        }
        Ok(placed)
    }

    fn place_as_assigned(
        &self,
        topic: &CreatableTopic,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Result<Vec<Placed>, Refusal> {
        let invalid = |what: &str| {
            Err(Refusal::new(
                ErrorCode::INVALID_REQUEST,
                format!(
                    "A manual partition assignment was specified, but {what} was not set to -1."
                ),
            ))
        };
        let refuse =
            |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        if topic.replication_factor != -1 {
            return invalid("replication factor");
        }
        if topic.num_partitions != -1 {
            return invalid("numPartitions");
        }
        let mut factor = None;
        let mut placed = BTreeMap::new();
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if placed.contains_key(&index) {
                return refuse(format!(
                    "Found multiple manual partition assignments for partition {index}"
                ));
            }
            self.check_replicas(&assignment.broker_ids, factor)?;
            factor = Some(assignment.broker_ids.len());
            if self.first_isr(&assignment.broker_ids).is_empty() {
                return refuse(format!(
                    "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
                ));
            }
            placed.insert(
                index,
                self.in_directories(assignment.broker_ids.clone(), extra),
            );
        }
        if !placed.keys().copied().eq(0..placed.len() as i32) {
            return refuse(
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            );
        }
        Ok(placed.into_values().collect())
    }

    /// The record of a partition in its first epoch. The first replica that is active leads.
    pub(super) fn new_partition(&self, id: Uuid, index: i32, placed: Placed) -> MetadataRecord {
        let isr = self.first_isr(&placed.replicas);
        let partition = Partition {
            leader: isr.first().map_or(NodeId::NONE, |id| NodeId(*id)),
            replicas: placed.replicas,
            directories: placed.directories,
            isr,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader_recovery_state: 0,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        };
        let directories = self.image.metadata_version() >= features::DIRECTORIES_FROM;
        partition.record(id, index, directories).into()
    }

    /// A new id: never one that means something else, never one that is taken.
    fn next_topic_id(&mut self, rng: &Rng) -> Uuid {
        loop {
            let nth = self.topic_ids;
            self.topic_ids += 1;
            // Another start of the node draws from the same key: the offset tells the draws apart.
            let subject = self.image.offset.0.unsigned_abs();
            let id = Uuid::random_from(rng.bits(Purpose::TopicId, subject, nth));
            let reserved = id == Uuid::ZERO || id == Uuid::METADATA_TOPIC;
            if !reserved && self.image.topics.by_id(id).is_none() {
                return id;
            }
        }
    }

    /// The answer about a new topic. `plain` is what all have that set no property of their own.
    fn created(
        &self,
        topic: &CreatableTopic,
        new: &NewTopic,
        version: i16,
        plain: &mut Option<Vec<CreatableTopicConfigs>>,
    ) -> CreatableTopicResult {
        let described = || -> Vec<CreatableTopicConfigs> {
            let cluster = self.image.config(&Resource::all_brokers());
            let own = self.image.config(&Resource::broker(self.config.node_id()));
            let entries = describe_topic(&self.config, own, cluster, &new.configs);
            let configs = entries.into_iter().map(|entry| CreatableTopicConfigs {
                name: Str::from_static(entry.name),
                value: entry.value.map(Str::from),
                read_only: false,
                config_source: entry.source as i8,
                is_sensitive: false,
                ..Default::default()
            });
            configs.collect()
        };
        CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: new.growth.id,
            error_message: None,
            num_partitions: i32::try_from(new.growth.placed.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(new.factor).unwrap_or(i16::MAX),
            configs: Some(if version < CONFIGS_FROM {
                Vec::new()
            } else if new.configs.is_empty() {
                plain.get_or_insert_with(described).clone()
            } else {
                described()
            }),
            ..Default::default()
        }
    }

    /// The topics that `request` names once and that exist, and what to say of the others.
    fn topics_to_delete(
        &self,
        request: &DeleteTopicsRequest,
    ) -> (BTreeMap<Uuid, Str>, Vec<DeletableTopicResult>) {
        let mut results = Vec::new();
        let mut refuse = |name: Option<&Str>, id: Uuid, code: ErrorCode, message: &str| {
            let error_message = Some(Str::from(message.to_owned()));
            results.push(DeletableTopicResult {
                name: name.cloned(),
                topic_id: id,
                error_code: code,
                error_message,
                ..Default::default()
            });
        };
        for topic in &request.topics {
            match &topic.name {
                None if topic.topic_id == Uuid::ZERO => {
                    refuse(
                        None,
                        Uuid::ZERO,
                        ErrorCode::INVALID_REQUEST,
                        "Neither topic name nor id were specified.",
                    );
                }
                Some(name) if topic.topic_id != Uuid::ZERO => {
                    refuse(
                        Some(name),
                        topic.topic_id,
                        ErrorCode::INVALID_REQUEST,
                        "You may not specify both topic name and topic id.",
                    );
                }
                _ => {}
            }
        }
        let ((names, names_twice), (ids, ids_twice)) = asked_to_delete(request);
        for name in names_twice {
            refuse(
                Some(name),
                Uuid::ZERO,
                ErrorCode::INVALID_REQUEST,
                "Duplicate topic name.",
            );
        }
        for id in &ids_twice {
            refuse(
                None,
                **id,
                ErrorCode::INVALID_REQUEST,
                "Duplicate topic id.",
            );
        }
        let mut known = BTreeMap::new();
        for id in ids {
            match self.image.topics.by_id(*id) {
                Some(topic) => {
                    known.insert(*id, topic.name.clone());
                }
                None => refuse(
                    None,
                    *id,
                    ErrorCode::UNKNOWN_TOPIC_ID,
                    "This server does not host this topic ID.",
                ),
            }
        }
        for name in names {
            let Some(topic) = self.image.topics.by_name(name) else {
                refuse(
                    Some(name),
                    Uuid::ZERO,
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    "This server does not host this topic-partition.",
                );
                continue;
            };
            let by_both = known.remove(&topic.id).is_some() || ids_twice.contains(&topic.id);
            if by_both {
                refuse(
                    Some(name),
                    topic.id,
                    ErrorCode::INVALID_REQUEST,
                    "The provided topic name maps to an ID that was already supplied.",
                );
            } else {
                known.insert(topic.id, topic.name.clone());
            }
        }
        (known, results)
    }
}

/// Has a client that waits so long given up before the controller can begin? As with Kafka, whose queue lets nothing begin after its
/// deadline, it does nothing then.
pub(super) fn timed_out(timeout_ms: i32) -> bool {
    timeout_ms <= 0
}

/// The names and the ids of topics that `request` names by one of both alone.
fn asked_to_delete(request: &DeleteTopicsRequest) -> (OnceAndMore<'_, Str>, OnceAndMore<'_, Uuid>) {
    let named = request
        .topics
        .iter()
        .filter(|topic| topic.topic_id == Uuid::ZERO)
        .filter_map(|topic| topic.name.as_ref());
    let by_id = request
        .topics
        .iter()
        .filter(|topic| topic.name.is_none() && topic.topic_id != Uuid::ZERO);
    (
        names_once_and_more(request.topic_names.iter().chain(named)),
        names_once_and_more(by_id.map(|topic| &topic.topic_id)),
    )
}

/// Splits `items` into those that come once and those that come more often, each in order.
pub(super) fn names_once_and_more<'a, T: Ord>(
    items: impl Iterator<Item = &'a T>,
) -> OnceAndMore<'a, T> {
    let (mut once, mut more) = (BTreeSet::new(), BTreeSet::new());
    for item in items {
        if more.contains(item) {
            continue;
        }
        if !once.insert(item) {
            once.remove(item);
            more.insert(item);
        }
    }
    (once, more)
}

fn partitions_asked(topic: &CreatableTopic, default: i64) -> i64 {
    match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => default,
        (0, count) => i64::from(count.max(0)),
        (assigned, _) => assigned as i64,
    }
}

fn not_created(name: &Str, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: refusal.code,
        error_message: refusal.text(),
        ..Default::default()
    }
}

fn excessive(request: &CreateTopicsRequest, why: &str) -> Outcome<CreateTopicsResponse> {
    refused(request, &Refusal::new(ErrorCode::POLICY_VIOLATION, why))
}

/// Every topic of `request` is refused for the same reason.
fn refused(request: &CreateTopicsRequest, refusal: &Refusal) -> Outcome<CreateTopicsResponse> {
    let topics = request
        .topics
        .iter()
        .map(|topic| not_created(&topic.name, refusal))
        .collect();
    Outcome {
        records: Vec::new(),
        response: CreateTopicsResponse {
            topics,
            ..Default::default()
        },
    }
}

/// Every topic of `request` is refused for the same reason.
fn none_deleted(request: &DeleteTopicsRequest, code: ErrorCode) -> Outcome<DeleteTopicsResponse> {
    let refused = |name: Option<Str>, topic_id| DeletableTopicResult {
        name,
        topic_id,
        error_code: code,
        ..Default::default()
    };
    let by_name = request
        .topic_names
        .iter()
        .map(|name| refused(Some(name.clone()), Uuid::ZERO));
    let topics = request
        .topics
        .iter()
        .map(|topic| refused(topic.name.clone(), topic.topic_id));
    let responses = by_name.chain(topics).collect();
    Outcome {
        records: Vec::new(),
        response: DeleteTopicsResponse {
            responses,
            ..Default::default()
        },
    }
}
