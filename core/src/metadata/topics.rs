//! Topics and partitions, by name and by id.
//!
//! Owns the rule by which a change record makes a partition's next state (leader epoch, partition epoch).

use std::collections::BTreeMap;

use crate::ids::{LeaderEpoch, NodeId, Uuid};
use crate::wire::{PartitionChangeRecord, PartitionRecord, Str, TopicRecord};

/// In a change record: the leader stays.
const NO_LEADER_CHANGE: i32 = -2;
/// In a change record: the recovery state stays.
const NO_RECOVERY_CHANGE: i8 = -1;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id, for ever.
    pub id: Uuid,
    /// Its name.
    pub name: Str,
    /// By partition number, from 0 without gaps.
    pub partitions: BTreeMap<i32, Partition>,
}

/// One partition as the controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Every replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The log directory of each replica; see [`Uuid::names_directory`] for those that name none.
    pub directories: Vec<Uuid>,
    /// In sync; never empty unless there are eligible leader replicas.
    pub isr: Vec<i32>,
    /// Leaving in a reassignment.
    pub removing_replicas: Vec<i32>,
    /// Coming in a reassignment.
    pub adding_replicas: Vec<i32>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<i32>,
    /// The last known of them.
    pub last_known_elr: Vec<i32>,
    /// Who leads; [`NodeId::NONE`] if nobody can.
    pub leader: NodeId,
    /// 1 while it recovers from an unclean election, else 0.
    pub leader_recovery_state: i8,
    /// Grows by one with every word about the leader.
    pub leader_epoch: LeaderEpoch,
    /// Grows by one with every change.
    pub partition_epoch: i32,
}

/// Every topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    by_id: BTreeMap<Uuid, Topic>,
    /// The id of each of `by_id`, none more.
    ids: BTreeMap<Str, Uuid>,
}

impl Topics {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// By id.
    #[must_use]
    pub fn by_id(&self, id: Uuid) -> Option<&Topic> {
        self.by_id.get(&id)
    }

    /// By name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.by_id.get(self.ids.get(name)?)
    }

    /// The id of the topic `name`.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.ids.get(name).copied()
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, id: Uuid, partition: i32) -> Option<&Partition> {
        self.by_id.get(&id)?.partitions.get(&partition)
    }

    /// Every topic, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.ids.values().filter_map(|id| self.by_id.get(id))
    }

    /// Every topic whose name comes after `name`, by name.
    pub fn after<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Topic> {
        use std::ops::Bound;
        let range = (Bound::Excluded(name), Bound::Unbounded);
        self.ids
            .range::<str, _>(range)
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// Every partition that comes after `from`, by topic id and number.
    pub fn partitions_after(
        &self,
        from: Option<(Uuid, i32)>,
    ) -> impl Iterator<Item = (Uuid, i32, &Partition)> {
        let (id, index) = from.unwrap_or((Uuid::ZERO, -1));
        self.by_id.range(id..).flat_map(move |(topic_id, topic)| {
            let after = if *topic_id == id { index } else { -1 };
            let partitions = topic.partitions.range(after + 1..);
            partitions.map(move |(number, partition)| (*topic_id, *number, partition))
        })
    }

    pub(super) fn insert(&mut self, topic: Topic) {
        self.ids.insert(topic.name.clone(), topic.id);
        self.by_id.insert(topic.id, topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Topic> {
        let topic = self.by_id.remove(&id)?;
        self.ids.remove(&topic.name);
        Some(topic)
    }

    pub(super) fn topic_mut(&mut self, id: Uuid) -> Option<&mut Topic> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn topics_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.by_id.values_mut()
    }
}

impl Topic {
    /// A topic as its record gives it: without partitions.
    pub(super) fn of(record: TopicRecord) -> Topic {
        Topic {
            id: record.topic_id,
            name: record.name,
            partitions: BTreeMap::new(),
        }
    }
}

impl Partition {
    /// The state that a partition record gives.
    #[must_use]
    pub fn of(record: &PartitionRecord) -> Partition {
        let unassigned = || vec![Uuid::ZERO; record.replicas.len()];
        Partition {
            replicas: record.replicas.clone(),
            directories: if record.directories.is_empty() {
                unassigned()
            } else {
                record.directories.clone()
            },
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: NodeId(record.leader),
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: record.partition_epoch,
        }
    }

    /// The record that gives this state; without directories if the metadata version has no room for them.
    #[must_use]
    pub fn record(
        &self,
        topic_id: Uuid,
        partition_id: i32,
        with_directories: bool,
    ) -> PartitionRecord {
        let unless_empty = |replicas: &Vec<i32>| (!replicas.is_empty()).then(|| replicas.clone());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader.0,
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch,
            directories: if with_directories {
                self.directories.clone()
            } else {
                Vec::new()
            },
            eligible_leader_replicas: unless_empty(&self.elr),
            last_known_elr: unless_empty(&self.last_known_elr),
            ..Default::default()
        }
    }

    /// The log directory of the replica on `node`, if it has one here.
    #[must_use]
    pub fn directory(&self, node: NodeId) -> Option<Uuid> {
        let at = self
            .replicas
            .iter()
            .position(|replica| *replica == node.0)?;
        self.directories.get(at).copied()
    }

    pub(super) fn apply(&mut self, change: &PartitionChangeRecord) {
        let set = |old: &mut Vec<i32>, new: &Option<Vec<i32>>| {
            if let Some(new) = new {
                old.clone_from(new);
            }
        };
        set(&mut self.isr, &change.isr);
        set(&mut self.replicas, &change.replicas);
        set(&mut self.removing_replicas, &change.removing_replicas);
        set(&mut self.adding_replicas, &change.adding_replicas);
        set(&mut self.elr, &change.eligible_leader_replicas);
        set(&mut self.last_known_elr, &change.last_known_elr);
        if let Some(directories) = &change.directories {
            self.directories.clone_from(directories);
        }
        // A new epoch even when the same node stays or nobody leads: whoever led before must not go on as if nothing had happened.
        if change.leader != NO_LEADER_CHANGE {
            self.leader = NodeId(change.leader);
            self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
        if change.leader_recovery_state != NO_RECOVERY_CHANGE {
            self.leader_recovery_state = change.leader_recovery_state;
        }
        self.partition_epoch += 1;
    }
}
