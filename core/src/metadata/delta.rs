//! What a run of records changed in an [`Image`](super::Image): what a broker acts on.
//!
//! Says where to look, not what was there; only what is gone from the image is carried along.

use std::collections::BTreeSet;

use super::{Resource, Topic};
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

    pub(super) fn remove_topic(&mut self, topic: Topic) {
        self.topics_created.remove(&topic.id);
        self.partitions.retain(|(id, _)| *id != topic.id);
        self.partitions_created.retain(|(id, _)| *id != topic.id);
        self.topics_removed.push(topic);
    }
}
