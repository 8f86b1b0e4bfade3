//! A metadata transaction that has not ended (KIP-868): what it has brought so far, which nobody sees before its end.
//!
//! New topics and new partitions wait as what they will be, so that the end of a transaction of thousands of partitions only moves them.
//! Applies nothing itself.

use std::collections::BTreeMap;

use super::{Partition, Topic, Topics};
use crate::ids::Uuid;
use crate::wire::{MetadataRecord, PartitionRecord};

/// What an open transaction has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Topics that it creates, by id.
    pub(super) created: BTreeMap<Uuid, Topic>,
    /// New partitions of topics that are there, by topic.
    pub(super) grown: BTreeMap<Uuid, BTreeMap<i32, Partition>>,
    /// What is applied after those, in order: properties, and from the first record of any other kind on everything.
    pub(super) rest: Vec<MetadataRecord>,
    /// A record of another kind has come.
    mixed: bool,
}

impl Transaction {
    /// Takes the next record; `topics` are those of the image, without the transaction.
    pub(super) fn take(&mut self, record: MetadataRecord, topics: &Topics) {
        if self.mixed {
            return self.rest.push(record);
        }
        match record {
            MetadataRecord::Topic(record) if !self.created.contains_key(&record.topic_id) => {
                self.created.insert(record.topic_id, Topic::of(record));
            }
            MetadataRecord::Partition(record) => match self.place_of(&record, topics) {
                Some(partitions) => {
                    partitions.insert(record.partition_id, Partition::of(&record));
                }
                None => self.then(record.into()),
            },
            // Properties are by name: it is the same before and after their topic.
            MetadataRecord::Config(_) => self.rest.push(record),
            other => self.then(other),
        }
    }

    /// Where a partition belongs that is new; `None` for one that is there, or whose topic is not.
    fn place_of(
        &mut self,
        record: &PartitionRecord,
        topics: &Topics,
    ) -> Option<&mut BTreeMap<i32, Partition>> {
        let id = record.topic_id;
        if let Some(topic) = self.created.get_mut(&id) {
            return Some(&mut topic.partitions);
        }
        let there = topics.by_id(id)?;
        let new = !there.partitions.contains_key(&record.partition_id);
        new.then(|| self.grown.entry(id).or_default())
    }

    fn then(&mut self, record: MetadataRecord) {
        self.mixed = true;
        self.rest.push(record);
    }
}
