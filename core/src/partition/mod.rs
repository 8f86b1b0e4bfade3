//! The partitions of this node: who leads them, how far they are safe, and who waits for that.
//!
//! Owns the high watermark of each partition and the lists of requests that wait on it. Never speaks of files: the log's clock of
//! durability and offsets are all it knows. Never answers: it names the requests that may go on, and `api` goes on.

pub mod leader;
pub mod replicas;

use std::collections::BTreeMap;

use crate::ids::{LogId, PartitionIndex, Uuid};

pub use leader::{Acks, GivenUp, Partition};
pub use replicas::Replicas;

/// Every partition that this node has a replica of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    by_log: BTreeMap<LogId, Partition>,
    by_topic: BTreeMap<(Uuid, PartitionIndex), LogId>,
}

impl Partitions {
    /// Adds a partition, or replaces the one with the same log.
    pub fn insert(&mut self, partition: Partition) {
        let place = (partition.topic_id, partition.index);
        self.by_topic.insert(place, partition.log);
        self.by_log.insert(partition.log, partition);
    }

    /// Takes a partition away; who waited on it is in what is returned.
    pub fn remove(&mut self, topic_id: Uuid, index: PartitionIndex) -> Option<Partition> {
        let log = self.by_topic.remove(&(topic_id, index))?;
        self.by_log.remove(&log)
    }

    /// The partition of a log.
    #[must_use]
    pub fn of(&self, log: LogId) -> Option<&Partition> {
        self.by_log.get(&log)
    }

    /// The partition of a log.
    pub fn of_mut(&mut self, log: LogId) -> Option<&mut Partition> {
        self.by_log.get_mut(&log)
    }

    /// The partition of a topic.
    #[must_use]
    pub fn find(&self, topic_id: Uuid, index: PartitionIndex) -> Option<&Partition> {
        self.by_log.get(self.by_topic.get(&(topic_id, index))?)
    }

    /// The partition of a topic.
    pub fn find_mut(&mut self, topic_id: Uuid, index: PartitionIndex) -> Option<&mut Partition> {
        self.by_log.get_mut(self.by_topic.get(&(topic_id, index))?)
    }

    /// All of them, by log.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.by_log.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_log.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_log.is_empty()
    }
}
