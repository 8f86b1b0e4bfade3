//! The image: everything that committed records say, in one value.
//!
//! Owns the replay. The same records in the same order give the same image, wherever it starts: that is the invariant
//! that checkers hold it to. Never looks at time, disk or configuration.

use std::collections::BTreeMap;
use std::fmt;

use super::features;
use super::transaction::Transaction;
use super::{Delta, Partition, Topic, Topics};
use crate::ids::Uuid;
use crate::ids::{LeaderEpoch, Offset};
use crate::mutant::{Mutant, Mutants};
use crate::wire::{
    AccessControlEntryRecord, BrokerRegistrationChangeRecord, ClientQuotaRecord, ConfigRecord,
    DelegationTokenRecord, F64Bits, FeatureLevelRecord, MetadataRecord, RegisterBrokerRecord,
    RegisterControllerRecord, Str, UserScramCredentialRecord,
};

/// What has properties: Kafka's resource type and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Kafka's number of the type.
    pub kind: i8,
    /// Name of a topic, number of a broker or empty for all brokers, …
    pub name: Str,
}

impl Resource {
    /// The number of topics.
    pub const TOPIC: i8 = 2;
    /// The number of brokers.
    pub const BROKER: i8 = 4;
    /// The number of brokers' loggers.
    pub const BROKER_LOGGER: i8 = 8;
    /// The number of client-metrics subscriptions.
    pub const CLIENT_METRICS: i8 = 16;
    /// The number of groups.
    pub const GROUP: i8 = 32;

    /// A topic.
    #[must_use]
    pub fn topic(name: Str) -> Resource {
        Resource {
            kind: Resource::TOPIC,
            name,
        }
    }

    /// A broker.
    #[must_use]
    pub fn broker(id: i32) -> Resource {
        Resource {
            kind: Resource::BROKER,
            name: Str::from(id.to_string()),
        }
    }

    /// All brokers of the cluster.
    #[must_use]
    pub fn all_brokers() -> Resource {
        Resource {
            kind: Resource::BROKER,
            name: Str::EMPTY,
        }
    }
}

/// A record that cannot follow what came before it: the log is not what a controller wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayError {
    /// The sentence.
    pub message: String,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for ReplayError {}

fn broken(message: impl Into<String>) -> ReplayError {
    ReplayError {
        message: message.into(),
    }
}

/// A quota's entity: types and names, in the order of the record.
pub(super) type QuotaEntity = Vec<(Str, Option<Str>)>;

/// The metadata at one offset of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The last offset that was replayed; -1 before the first.
    pub offset: Offset,
    /// Its leader epoch.
    pub epoch: LeaderEpoch,
    /// Topics and partitions.
    pub topics: Topics,
    /// Finalized features by name, those at level 0 left out.
    pub features: BTreeMap<Str, i16>,
    /// Brokers by id, as they are registered now: the registration with later changes in it.
    pub brokers: BTreeMap<i32, RegisterBrokerRecord>,
    /// Controllers by id.
    pub controllers: BTreeMap<i32, RegisterControllerRecord>,
    /// The properties of each resource that has any.
    pub configs: BTreeMap<Resource, BTreeMap<String, String>>,
    /// The first producer id that no block holds yet.
    pub next_producer_id: i64,
    /// Access control entries by id.
    pub acls: BTreeMap<Uuid, AccessControlEntryRecord>,
    /// SCRAM credentials by user and mechanism.
    pub scram: BTreeMap<(Str, i8), UserScramCredentialRecord>,
    /// Client quotas by entity and key.
    pub quotas: BTreeMap<(QuotaEntity, Str), F64Bits>,
    /// Delegation tokens by id.
    pub tokens: BTreeMap<Str, DelegationTokenRecord>,
    /// A transaction that has not ended (KIP-868): not part of the image before it does.
    transaction: Option<Transaction>,
}

impl Default for Image {
    fn default() -> Image {
        Image {
            offset: Offset(-1),
            epoch: LeaderEpoch::NONE,
            topics: Topics::default(),
            features: BTreeMap::new(),
            brokers: BTreeMap::new(),
            controllers: BTreeMap::new(),
            configs: BTreeMap::new(),
            next_producer_id: 0,
            acls: BTreeMap::new(),
            scram: BTreeMap::new(),
            quotas: BTreeMap::new(),
            tokens: BTreeMap::new(),
            transaction: None,
        }
    }
}

impl Image {
    /// The finalized `metadata.version`; 0 before the first record.
    #[must_use]
    pub fn metadata_version(&self) -> i16 {
        self.features
            .get(features::METADATA_VERSION)
            .copied()
            .unwrap_or(0)
    }

    /// Is a metadata transaction open?
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// The properties of `resource`, empty if it has none.
    #[must_use]
    pub fn config(&self, resource: &Resource) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.configs.get(resource).unwrap_or(&NONE)
    }

    /// Is broker `id` registered and not fenced?
    #[must_use]
    pub fn is_unfenced(&self, id: i32) -> bool {
        self.brokers.get(&id).is_some_and(|broker| !broker.fenced)
    }

    /// Could broker `id` lead: registered, not fenced, not shutting down?
    #[must_use]
    pub fn is_active(&self, id: i32) -> bool {
        self.is_unfenced(id)
            && !self
                .brokers
                .get(&id)
                .is_some_and(|broker| broker.in_controlled_shutdown)
    }

    /// Replays a committed batch whose last record is at `last` and was written in `epoch`.
    ///
    /// # Errors
    /// A record contradicts what came before it; the image must not be used any more.
    pub fn replay(
        &mut self,
        last: Offset,
        epoch: LeaderEpoch,
        records: impl IntoIterator<Item = MetadataRecord>,
        delta: &mut Delta,
        mutants: Mutants,
    ) -> Result<(), ReplayError> {
        for record in records {
            if mutants.has(Mutant::DropMetadataRecordAtReplay)
                && matches!(&record, MetadataRecord::Partition(p) if p.partition_id % 2 == 1)
            {
                continue;
            }
            self.apply(record, delta)?;
        }
        self.offset = last;
        self.epoch = epoch;
        Ok(())
    }

    /// Applies one record, or keeps it until its transaction ends.
    ///
    /// # Errors
    /// The record contradicts what came before it.
    pub fn apply(&mut self, record: MetadataRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        match (record, &mut self.transaction) {
            (MetadataRecord::BeginTransaction(_), Some(_)) => {
                Err(broken("a metadata transaction begins inside another"))
            }
            (MetadataRecord::BeginTransaction(_), open @ None) => {
                *open = Some(Transaction::default());
                Ok(())
            }
            (MetadataRecord::EndTransaction(_), open) => {
                let ended = open
                    .take()
                    .ok_or_else(|| broken("a metadata transaction ends that never began"))?;
                self.end(ended, delta)
            }
            (MetadataRecord::AbortTransaction(_), open) => open
                .take()
                .map(|_| ())
                .ok_or_else(|| broken("a metadata transaction is aborted that never began")),
            (record, Some(open)) => {
                open.take(record, &self.topics);
                Ok(())
            }
            (record, None) => self.apply_now(record, delta),
        }
    }

    fn apply_now(&mut self, record: MetadataRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::Topic(record) => {
                return self.create_topic(Topic::of(record), delta);
            }
            MetadataRecord::RemoveTopic(record) => {
                return self.remove_topic(record.topic_id, delta);
            }
            MetadataRecord::Partition(record) => {
                let (id, index) = (record.topic_id, record.partition_id);
                let topic = self.topics.topic_mut(id).ok_or_else(|| unknown_topic(id))?;
                let before = topic.partitions.insert(index, Partition::of(&record));
                if before.is_none() {
                    delta.partitions_created.insert((id, index));
                }
                delta.partitions.insert((id, index));
            }
            MetadataRecord::PartitionChange(record) => {
                let (id, index) = (record.topic_id, record.partition_id);
                let topic = self.topics.topic_mut(id).ok_or_else(|| unknown_topic(id))?;
                let partition = topic.partitions.get_mut(&index);
                let partition = partition.ok_or_else(|| broken(format!("a record changes partition {index} of topic {id}, which has no such partition")))?;
                partition.apply(&record);
                delta.partitions.insert((id, index));
            }
            MetadataRecord::ClearElr(record) => self.clear_elr(&record.topic_name, delta),
            MetadataRecord::Config(record) => self.set_config(record, delta),
            MetadataRecord::FeatureLevel(record) => self.set_feature(record, delta),
            MetadataRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetadataRecord::RegisterBroker(record) => {
                delta.cluster = true;
                self.brokers.insert(record.broker_id, record);
            }
            MetadataRecord::UnregisterBroker(record) => {
                delta.cluster = true;
                self.broker(record.broker_id, record.broker_epoch)?;
                self.brokers.remove(&record.broker_id);
            }
            MetadataRecord::FenceBroker(record) => {
                delta.cluster = true;
                self.broker(record.id, record.epoch)?.fenced = true;
            }
            MetadataRecord::UnfenceBroker(record) => {
                delta.cluster = true;
                self.broker(record.id, record.epoch)?.fenced = false;
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                return self.change_broker(record, delta);
            }
            MetadataRecord::RegisterController(record) => {
                delta.cluster = true;
                self.controllers.insert(record.controller_id, record);
            }
            MetadataRecord::AccessControlEntry(record) => {
                self.acls.insert(record.id, record);
            }
            MetadataRecord::RemoveAccessControlEntry(record) => {
                self.acls.remove(&record.id);
            }
            MetadataRecord::UserScramCredential(record) => {
                self.scram
                    .insert((record.name.clone(), record.mechanism), record);
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                self.scram.remove(&(record.name, record.mechanism));
            }
            MetadataRecord::DelegationToken(record) => {
                self.tokens.insert(record.token_id.clone(), record);
            }
            MetadataRecord::RemoveDelegationToken(record) => {
                self.tokens.remove(&record.token_id);
            }
            MetadataRecord::ClientQuota(record) => self.set_quota(record),
            MetadataRecord::NoOp(_) | MetadataRecord::ZkMigrationState(_) => {}
            MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {
                return Err(broken("a metadata transaction inside another"));
            }
        }
        Ok(())
    }

    /// Shows what a transaction brought.
    fn end(&mut self, ended: Transaction, delta: &mut Delta) -> Result<(), ReplayError> {
        for topic in ended.created.into_values() {
            delta.note_run(topic.id, &topic.partitions);
            self.create_topic(topic, delta)?;
        }
        for (id, partitions) in ended.grown {
            delta.note_run(id, &partitions);
            let topic = self.topics.topic_mut(id).ok_or_else(|| unknown_topic(id))?;
            topic.partitions.extend(partitions);
        }
        ended
            .rest
            .into_iter()
            .try_for_each(|record| self.apply_now(record, delta))
    }

    fn create_topic(&mut self, topic: Topic, delta: &mut Delta) -> Result<(), ReplayError> {
        if self.topics.id(&topic.name).is_some() {
            return Err(broken(format!(
                "a record creates topic {}, which is there already",
                topic.name
            )));
        }
        delta.topics_created.insert(topic.id);
        self.topics.insert(topic);
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid, delta: &mut Delta) -> Result<(), ReplayError> {
        let topic = self.topics.remove(id).ok_or_else(|| unknown_topic(id))?;
        let resource = Resource::topic(topic.name.clone());
        if self.configs.remove(&resource).is_some() {
            delta.configs.insert(resource);
        }
        delta.remove_topic(topic);
        Ok(())
    }

    /// KIP-966: a change of `min.insync.replicas` makes eligible leader replicas meaningless, of one topic or (no name) of all.
    fn clear_elr(&mut self, topic_name: &str, delta: &mut Delta) {
        for topic in self.topics.topics_mut() {
            if !topic_name.is_empty() && topic.name != topic_name {
                continue;
            }
            for (index, partition) in &mut topic.partitions {
                if partition.elr.is_empty() && partition.last_known_elr.is_empty() {
                    continue;
                }
                partition.elr.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch += 1;
                delta.partitions.insert((topic.id, *index));
            }
        }
    }

    fn set_config(&mut self, record: ConfigRecord, delta: &mut Delta) {
        let resource = Resource {
            kind: record.resource_type,
            name: record.resource_name,
        };
        let properties = self.configs.entry(resource.clone()).or_default();
        match record.value {
            Some(value) => properties.insert(record.name.to_string(), value.to_string()),
            None => properties.remove(record.name.as_str()),
        };
        if properties.is_empty() {
            self.configs.remove(&resource);
        }
        delta.configs.insert(resource);
    }

    fn set_feature(&mut self, record: FeatureLevelRecord, delta: &mut Delta) {
        delta.features = true;
        // The quorum keeps this one itself, in a control record.
        if record.name == features::KRAFT_VERSION {
            return;
        }
        if record.feature_level == 0 {
            self.features.remove(&record.name);
        } else {
            self.features.insert(record.name, record.feature_level);
        }
    }

    fn change_broker(
        &mut self,
        record: BrokerRegistrationChangeRecord,
        delta: &mut Delta,
    ) -> Result<(), ReplayError> {
        delta.cluster = true;
        let broker = self.broker(record.broker_id, record.broker_epoch)?;
        match record.fenced {
            1 => broker.fenced = true,
            -1 => broker.fenced = false,
            _ => {}
        }
        if record.in_controlled_shutdown == 1 {
            broker.in_controlled_shutdown = true;
        }
        if !record.log_dirs.is_empty() {
            broker.log_dirs = record.log_dirs;
        }
        if record.cordoned_log_dirs.is_some() {
            broker.cordoned_log_dirs = record.cordoned_log_dirs;
        }
        Ok(())
    }

    fn set_quota(&mut self, record: ClientQuotaRecord) {
        let entity = record
            .entity
            .into_iter()
            .map(|part| (part.entity_type, part.entity_name));
        let at = (entity.collect(), record.key);
        if record.remove {
            self.quotas.remove(&at);
        } else {
            self.quotas.insert(at, record.value);
        }
    }

    fn broker(&mut self, id: i32, epoch: i64) -> Result<&mut RegisterBrokerRecord, ReplayError> {
        let broker = self
            .brokers
            .get_mut(&id)
            .filter(|broker| broker.broker_epoch == epoch);
        broker.ok_or_else(|| {
            broken(format!(
                "a record names broker {id} at epoch {epoch}, which is not registered"
            ))
        })
    }
}

fn unknown_topic(id: Uuid) -> ReplayError {
    broken(format!("a record names topic {id}, which does not exist"))
}
