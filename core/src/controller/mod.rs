//! The controller: pure decisions over the metadata. A request gives records and a response; the state is the replay of the
//! records.
//!
//! It may run ahead of what is committed, so the response to a request must wait until its records are. Never writes to a log,
//! never waits and never answers by itself; KIP-500, KIP-631.

mod creation;
mod directories;
mod names;
mod partitions;
mod placement;
mod producer_ids;
mod startup;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use creation::Creation;
use directories::LostDirectories;
pub use names::{check_topic_name, is_internal_topic};
pub use producer_ids::{PRODUCER_ID_BLOCK, ProducerIdBlock};
pub use startup::{Registration, STARTUP_RECORDS_MAX, Startup};

use crate::config::Config;
use crate::ids::{LeaderEpoch, Offset, Uuid};
use crate::log::Sizes;
use crate::metadata::{Delta, Image, ReplayError, Topic, features};
use crate::mutant::Mutants;
use crate::wire::{ErrorCode, MetadataRecord, Str};

/// The most records that one request may give. As with Kafka.
const REQUEST_RECORDS_MAX: usize = 10_000;

/// At most so many partitions of topics that are gone are forgotten in one piece.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// A record and the version to write it in.
pub type VersionedRecord = (MetadataRecord, i16);

/// What a request came to: records to append as one batch (none if nothing changes), and the response to give when they are
/// committed. A large creation gives its records later ([`Controller::go_on_creating`]), and its response waits for the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<R> {
    /// Already part of the controller's state.
    pub records: Vec<VersionedRecord>,
    /// For the client, once the records are committed.
    pub response: R,
}

/// Why a part of a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: Some(message.into()),
        }
    }

    /// Where Kafka gives a code alone.
    pub(crate) fn bare(code: ErrorCode) -> Refusal {
        Refusal {
            code,
            message: None,
        }
    }

    pub(crate) fn text(&self) -> Option<Str> {
        self.message.clone().map(Str::from)
    }
}

/// The active controller of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// The replay of everything that was written, committed or not.
    image: Image,
    config: Config,
    startup: Startup,
    /// Directories that failed and are not dealt with yet.
    lost: Option<LostDirectories>,
    /// A creation whose records go on in pieces.
    creation: Option<Creation>,
    /// The most records of a creation in one batch.
    batch_records: usize,
    /// How many topic ids were drawn: each gets another number of the keyed randomness.
    topic_ids: u64,
    /// Topics whose names have `.` or `_`, by their name with every `.` as `_`: two such names would share metrics.
    collisions: BTreeMap<String, BTreeSet<Str>>,
    /// How many replicas lie in each log directory.
    replicas: BTreeMap<Uuid, u64>,
    /// Topics that are gone, with the partitions whose replicas are still counted.
    removed: Vec<Topic>,
}

impl Controller {
    /// A controller that has seen no record.
    #[must_use]
    pub fn new(config: &Config) -> Controller {
        Controller {
            image: Image::default(),
            config: config.clone(),
            startup: Startup::default(),
            lost: None,
            creation: None,
            batch_records: Sizes::default().metadata_records,
            topic_ids: 0,
            collisions: BTreeMap::new(),
            replicas: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    /// Writes at most so many records of a creation as one batch. For the simulator.
    pub fn resize(&mut self, batch_records: usize) {
        self.batch_records = batch_records;
    }

    /// True while what was decided earlier still goes on in pieces: no request may change the metadata meanwhile.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_creating() || (self.lost.is_some() && self.startup == Startup::Done)
    }

    /// The state that decisions are taken on: at or ahead of the committed image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Replays a batch of the log that an earlier life wrote.
    ///
    /// # Errors
    /// A record contradicts what came before it.
    pub fn replay(
        &mut self,
        last: Offset,
        epoch: LeaderEpoch,
        records: impl IntoIterator<Item = MetadataRecord>,
        mutants: Mutants,
    ) -> Result<(), ReplayError> {
        let mut delta = Delta::default();
        self.image
            .replay(last, epoch, records, &mut delta, mutants)?;
        self.index(delta);
        Ok(())
    }

    /// Notes that the records of the last outcome were appended, the last of them at `last`.
    pub fn appended(&mut self, last: Offset, epoch: LeaderEpoch) {
        self.image.offset = last;
        self.image.epoch = epoch;
    }

    /// Applies records of our own and gives each its version.
    ///
    /// # Panics
    /// If a record contradicts the state that it was made from: a broken rule of ours.
    fn write(&mut self, records: Vec<MetadataRecord>) -> Vec<VersionedRecord> {
        let metadata_version = self.image.metadata_version();
        let mut delta = Delta::default();
        for record in &records {
            if let Err(error) = self.image.apply(record.clone(), &mut delta) {
                panic!(
                    "the controller wrote a record that cannot follow its state: {error}; {record:?}"
                );
            }
        }
        self.index(delta);
        let version = |record: MetadataRecord| {
            let version = features::record_version(&record, metadata_version);
            (record, version)
        };
        records.into_iter().map(version).collect()
    }

    /// Brings the indexes to the image after `delta`.
    fn index(&mut self, delta: Delta) {
        for topic in &delta.topics_removed {
            let unified = names::unified(&topic.name);
            if let Some(names) = self.collisions.get_mut(&unified) {
                names.remove(&topic.name);
                if names.is_empty() {
                    self.collisions.remove(&unified);
                }
            }
        }
        self.removed.extend(delta.topics_removed);
        for id in &delta.topics_created {
            if let Some(topic) = self
                .image
                .topics
                .by_id(*id)
                .filter(|topic| names::may_collide(&topic.name))
            {
                self.collisions
                    .entry(names::unified(&topic.name))
                    .or_default()
                    .insert(topic.name.clone());
            }
        }
        // A replica never changes its directory here: there are no reassignments and no moves between directories.
        let single = delta.partitions_created.iter();
        let single = single.filter_map(|(id, index)| self.image.topics.partition(*id, *index));
        let in_runs = delta.runs.iter().flat_map(|(id, run)| {
            let topic = self.image.topics.by_id(*id);
            let partitions = topic.map(|topic| topic.partitions.range(run.clone()));
            partitions
                .into_iter()
                .flatten()
                .map(|(_, partition)| partition)
        });
        let mut created: BTreeMap<Uuid, u64> = BTreeMap::new();
        for directory in single.chain(in_runs).flat_map(|new| &new.directories) {
            *created.entry(*directory).or_default() += 1;
        }
        for (directory, more) in created {
            *self.replicas.entry(directory).or_default() += more;
        }
    }

    /// Takes a piece of the replicas of topics that are gone out of the count: true if there were any.
    pub fn forget_removed(&mut self) -> bool {
        let mut forgotten = 0;
        while let Some(topic) = self
            .removed
            .last_mut()
            .filter(|_| forgotten < FORGOTTEN_AT_ONCE)
        {
            forgotten += 1;
            match topic.partitions.pop_first() {
                Some((_, partition)) => {
                    for directory in partition.directories {
                        self.forget_replica(directory);
                    }
                }
                None => {
                    self.removed.pop();
                }
            }
        }
        forgotten > 0
    }

    fn forget_replica(&mut self, directory: Uuid) {
        if let Some(count) = self.replicas.get_mut(&directory) {
            *count -= 1;
            if *count == 0 {
                self.replicas.remove(&directory);
            }
        }
    }
}

#[cfg(test)]
mod tests;
