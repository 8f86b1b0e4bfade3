//! What a run of records changed in an [`Image`](super::Image): what a broker acts on.
//!
//! Says where to look, not what was there; only what is gone from the image is carried along.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Partition, Resource, Topic};
use crate::ids::Uuid;

/// The changes since it was last taken. A topic that was created and removed in between is in `topics_removed` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Topics that are new.
    pub topics_created: BTreeSet<Uuid>,
    /// Topics that are gone, as they were last.
    pub topics_removed: Vec<Topic>,
    /// Partitions that are new or whose leader, replicas, ISR or epochs changed.
    pub partitions: BTreeSet<(Uuid, i32)>,
    /// Partitions that are new, whatever state they begin in.
    pub partitions_created: BTreeSet<(Uuid, i32)>,
    /// Runs of new partitions that a transaction brought (KIP-868), by topic: in neither of the sets, so that its end is short.
    pub runs: Vec<(Uuid, Range<i32>)>,
    /// Resources whose properties changed.
    pub configs: BTreeSet<Resource>,
    /// Brokers or controllers registered, left, or changed.
    pub cluster: bool,
    /// Feature levels changed.
    pub features: bool,
}

impl Delta {
    /// True if nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }

    pub(super) fn note_run(&mut self, id: Uuid, partitions: &BTreeMap<i32, Partition>) {
        if let (Some((first, _)), Some((last, _))) =
            (partitions.first_key_value(), partitions.last_key_value())
        {
            self.runs.push((id, *first..last.saturating_add(1)));
        }
    }

    pub(super) fn remove_topic(&mut self, topic: Topic) {
        self.topics_created.remove(&topic.id);
        self.partitions.retain(|(id, _)| *id != topic.id);
        self.partitions_created.retain(|(id, _)| *id != topic.id);
        self.runs.retain(|(id, _)| *id != topic.id);
        self.topics_removed.push(topic);
    }
}
