//! From the replayed log to a broker that leads: bootstrap records, registrations, unfencing, elections.
//!
//! Goes on in pieces of at most [`STARTUP_RECORDS_MAX`] records, so that a step stays short with many partitions. Decides by the
//! replayed state alone, so a crash in the middle starts over and ends the same.

use super::{Controller, VersionedRecord};
use crate::config::Listener;
use crate::ids::{NodeId, Offset, Uuid};
use crate::metadata::features;
use crate::metadata::{Image, Partition};
use crate::mutant::{Mutant, Mutants};
use crate::wire::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord,
    EndTransactionRecord, FeatureLevelRecord, MetadataRecord, PartitionChangeRecord,
    RegisterBrokerRecord, RegisterControllerRecord, Str, register_broker_record,
    register_controller_record,
};

/// The most records that one piece writes.
pub const STARTUP_RECORDS_MAX: usize = 1_000;

/// Who registers: this node in this life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `node.id`.
    pub node_id: NodeId,
    /// Another in each life.
    pub incarnation: Uuid,
    /// What clients are told, with the ports really bound.
    pub broker_listeners: Vec<Listener>,
    /// The controller's listeners.
    pub controller_listeners: Vec<Listener>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of the log directories that work.
    pub log_dirs: Vec<Uuid>,
}

/// How far the start has come. The order is Kafka's: a broker's old leaderships end before its new registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// Bootstrap records, or the end of what an earlier life left open.
    #[default]
    Activate,
    /// The controller registers.
    RegisterController,
    /// Partitions that this broker led in an earlier life have no leader; looked at up to this partition.
    Resign(Option<(Uuid, i32)>),
    /// The broker registers, fenced.
    RegisterBroker,
    /// The broker has opened its logs and is unfenced.
    Unfence,
    /// Partitions without a leader get one; looked at up to this partition.
    Elect(Option<(Uuid, i32)>),
    /// The broker leads.
    Done,
}

impl Controller {
    /// How far the start has come.
    #[must_use]
    pub fn startup_phase(&self) -> &Startup {
        &self.startup
    }

    /// The records of the next piece of the start, which belong at offset `next` and after; none if a piece has nothing to change, `None` when the
    /// start waits for `logs_open` (this broker has opened all its logs) or has ended. `bootstrap` is what `bootstrap.checkpoint` holds; a directory
    /// without one starts at the latest level, as with Kafka.
    ///
    /// # Errors
    /// The cluster has finalized something that this release lacks: a sentence that names it.
    pub fn startup(
        &mut self,
        me: &Registration,
        bootstrap: &[MetadataRecord],
        next: Offset,
        logs_open: bool,
        mutants: Mutants,
    ) -> Result<Option<Vec<VersionedRecord>>, String> {
        loop {
            let (records, then) = match &self.startup {
                Startup::Activate => (
                    self.activation(bootstrap, mutants)?,
                    Startup::RegisterController,
                ),
                Startup::RegisterController => {
                    (self.controller_registration(me), Startup::Resign(None))
                }
                Startup::Resign(from) => self.resignations(me.node_id, *from),
                Startup::RegisterBroker => {
                    (vec![self.broker_registration(me, next)], Startup::Unfence)
                }
                Startup::Unfence if !logs_open => return Ok(None),
                Startup::Unfence => (self.unfencing(me.node_id), Startup::Elect(None)),
                Startup::Elect(from) => self.elections(*from),
                Startup::Done => return Ok(None),
            };
            self.startup = then;
            let piece = matches!(
                self.startup,
                Startup::Resign(Some(_)) | Startup::Elect(Some(_))
            );
            if piece || !records.is_empty() {
                return Ok(Some(self.write(records)));
            }
        }
    }

    fn activation(
        &self,
        bootstrap: &[MetadataRecord],
        mutants: Mutants,
    ) -> Result<Vec<MetadataRecord>, String> {
        let mut records = Vec::new();
        if self.image.in_transaction() {
            let abort = AbortTransactionRecord {
                reason: Some("Controller failover".into()),
                ..Default::default()
            };
            // What an earlier life began and did not end was never acknowledged, and a part of it is no state that anyone asked for.
            records.push(if mutants.has(Mutant::EndOpenTransaction) {
                EndTransactionRecord::default().into()
            } else {
                MetadataRecord::from(abort)
            });
        }
        if self.image.metadata_version() > 0 {
            refuse_missing(
                &self.image,
                "Start it with a release that does, and downgrade them there: kafka-features.sh downgrade",
            )?;
            return Ok(records);
        }
        let latest = [latest_level().into()];
        let bootstrap = if bootstrap.is_empty() {
            &latest
        } else {
            bootstrap
        };
        let mut image = Image::default();
        for record in bootstrap {
            image
                .apply(record.clone(), &mut Default::default())
                .map_err(|error| format!("bootstrap.checkpoint: {error}"))?;
        }
        if image.metadata_version() == 0 {
            return Err(
                "bootstrap.checkpoint has no metadata.version: format the log directories again"
                    .to_owned(),
            );
        }
        refuse_missing(
            &image,
            "Nothing was started from this directory yet: format it again, with kafka-storage.sh format or trialog format, and",
        )?;
        let in_transaction = image.metadata_version() >= features::TRANSACTIONS_FROM;
        if in_transaction {
            records.push(
                BeginTransactionRecord {
                    name: Some("Bootstrap records".into()),
                    ..Default::default()
                }
                .into(),
            );
        }
        records.extend_from_slice(bootstrap);
        if in_transaction {
            records.push(EndTransactionRecord::default().into());
        }
        Ok(records)
    }

    fn controller_registration(&self, me: &Registration) -> Vec<MetadataRecord> {
        if self.image.metadata_version() < features::CONTROLLER_REGISTRATION_FROM {
            return Vec::new();
        }
        let end_points = me.controller_listeners.iter().map(|listener| {
            register_controller_record::ControllerEndpoint {
                name: Str::from(listener.name.clone()),
                host: Str::from(listener.host.clone()),
                port: listener.port,
                security_protocol: listener.protocol.id(),
                ..Default::default()
            }
        });
        let supported = features::SUPPORTED.iter().map(|feature| {
            register_controller_record::ControllerFeature {
                name: feature.name.into(),
                min_supported_version: feature.min,
                max_supported_version: feature.max,
                ..Default::default()
            }
        });
        let record = RegisterControllerRecord {
            controller_id: me.node_id.0,
            incarnation_id: me.incarnation,
            end_points: end_points.collect(),
            features: supported.collect(),
            ..Default::default()
        };
        vec![record.into()]
    }

    fn broker_registration(&self, me: &Registration, next: Offset) -> MetadataRecord {
        let end_points =
            me.broker_listeners
                .iter()
                .map(|listener| register_broker_record::BrokerEndpoint {
                    name: Str::from(listener.name.clone()),
                    host: Str::from(listener.host.clone()),
                    port: listener.port,
                    security_protocol: listener.protocol.id(),
                    ..Default::default()
                });
        let supported =
            features::SUPPORTED
                .iter()
                .map(|feature| register_broker_record::BrokerFeature {
                    name: feature.name.into(),
                    min_supported_version: feature.min,
                    max_supported_version: feature.max,
                    ..Default::default()
                });
        let directories = self.image.metadata_version() >= features::DIRECTORIES_FROM;
        let record = RegisterBrokerRecord {
            broker_id: me.node_id.0,
            incarnation_id: me.incarnation,
            // The epoch of a broker is the offset of its registration.
            broker_epoch: next.0,
            end_points: end_points.collect(),
            features: supported.collect(),
            rack: me.rack.clone().map(Str::from),
            fenced: true,
            log_dirs: if directories {
                me.log_dirs.clone()
            } else {
                Vec::new()
            },
            ..Default::default()
        };
        record.into()
    }

    fn unfencing(&self, node: NodeId) -> Vec<MetadataRecord> {
        let Some(broker) = self
            .image
            .brokers
            .get(&node.0)
            .filter(|broker| broker.fenced)
        else {
            return Vec::new();
        };
        let change = |fenced: i8, cordoned_log_dirs| BrokerRegistrationChangeRecord {
            broker_id: node.0,
            broker_epoch: broker.broker_epoch,
            fenced,
            cordoned_log_dirs,
            ..Default::default()
        };
        let mut records = vec![change(-1, None).into()];
        if self.image.metadata_version() >= features::CORDONED_DIRECTORIES_FROM {
            records.push(change(0, Some(Vec::new())).into());
        }
        records
    }

    /// Ends the leaderships of this broker's earlier life.
    fn resignations(
        &self,
        node: NodeId,
        from: Option<(Uuid, i32)>,
    ) -> (Vec<MetadataRecord>, Startup) {
        let (records, last) =
            self.partition_changes(from, |partition| self.stepping_down(node, partition));
        (
            records,
            last.map_or(Startup::RegisterBroker, |last| Startup::Resign(Some(last))),
        )
    }

    /// What changes where `node` can neither lead nor be in sync. The last member of an ISR stays in it.
    pub(super) fn stepping_down(
        &self,
        node: NodeId,
        partition: &Partition,
    ) -> Option<PartitionChangeRecord> {
        let leads = partition.leader == node;
        let leaves = partition.isr.len() > 1 && partition.isr.contains(&node.0);
        if !leads && !leaves {
            return None;
        }
        let others: Vec<i32> = partition
            .isr
            .iter()
            .copied()
            .filter(|id| *id != node.0)
            .collect();
        let heir = partition
            .replicas
            .iter()
            .find(|id| others.contains(id) && self.can_lead(**id, partition));
        Some(PartitionChangeRecord {
            isr: leaves.then_some(others.clone()),
            leader: if leads {
                heir.copied().unwrap_or(-1)
            } else {
                -2
            },
            ..Default::default()
        })
    }

    /// Elects a member of the ISR where nobody leads.
    fn elections(&self, from: Option<(Uuid, i32)>) -> (Vec<MetadataRecord>, Startup) {
        let (records, last) = self.partition_changes(from, |partition| {
            if partition.leader != NodeId::NONE {
                return None;
            }
            let able = |id: &&i32| partition.isr.contains(id) && self.can_lead(**id, partition);
            let leader = *partition.replicas.iter().find(able)?;
            Some(PartitionChangeRecord {
                leader,
                ..Default::default()
            })
        });
        (
            records,
            last.map_or(Startup::Done, |last| Startup::Elect(Some(last))),
        )
    }

    /// Is broker `id` able to lead, with the replica that metadata means? One whose log directory was lost or wiped comes back empty:
    /// it must not lead as if nothing had been there (KIP-858).
    fn can_lead(&self, id: i32, partition: &Partition) -> bool {
        let Some(broker) = self
            .image
            .brokers
            .get(&id)
            .filter(|_| self.image.is_active(id))
        else {
            return false;
        };
        match partition.directory(NodeId(id)) {
            None => false,
            Some(directory) => {
                !directory.names_directory()
                    || broker.log_dirs.is_empty()
                    || broker.log_dirs.contains(&directory)
            }
        }
    }

    /// The changes that `decide` wants of the partitions after `from`, at most a piece of them, and where to go on if there may
    /// be more.
    pub(super) fn partition_changes(
        &self,
        from: Option<(Uuid, i32)>,
        decide: impl Fn(&Partition) -> Option<PartitionChangeRecord>,
    ) -> (Vec<MetadataRecord>, Option<(Uuid, i32)>) {
        let mut records = Vec::new();
        for (looked_at, (topic_id, index, partition)) in
            self.image.topics.partitions_after(from).enumerate()
        {
            if let Some(change) = decide(partition) {
                let change = PartitionChangeRecord {
                    topic_id,
                    partition_id: index,
                    ..change
                };
                records.push(change.into());
            }
            if looked_at + 1 == STARTUP_RECORDS_MAX {
                return (records, Some((topic_id, index)));
            }
        }
        (records, None)
    }
}

/// The level of a cluster that nobody chose one for.
fn latest_level() -> FeatureLevelRecord {
    FeatureLevelRecord {
        name: features::METADATA_VERSION.into(),
        feature_level: features::METADATA_VERSION_MAX,
        ..Default::default()
    }
}

/// A cluster that relies on what this release lacks must not be served by it. `then` says how to come to levels that are served, which
/// follow it as flags.
fn refuse_missing(image: &Image, then: &str) -> Result<(), String> {
    let missing = features::missing(image.features.iter());
    if missing.is_empty() {
        return Ok(());
    }
    let flags: Vec<String> = features::served_instead(image.features.iter())
        .map(|(name, level)| format!("--feature {name}={level}"))
        .collect();
    Err(format!(
        "the cluster has finalized features that this release does not implement: {}. {then} {}",
        missing.join(", "),
        flags.join(" ")
    ))
}
