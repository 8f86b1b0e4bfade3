//! Topics and partitions on their way into the metadata: at once if they are few, else in pieces inside a metadata transaction (KIP-868), so
//! that a step stays short and a crash leaves all of them or none.
//!
//! Decides nothing: what may be created, and where, is settled before.

use std::collections::VecDeque;

use super::placement::Placed;
use super::{Controller, VersionedRecord};
use crate::ids::Uuid;
use crate::metadata::features;
use crate::wire::{BeginTransactionRecord, EndTransactionRecord, MetadataRecord};

/// New partitions, and the topic if it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// The topic.
    pub(super) id: Uuid,
    /// The records of a new topic itself and of its properties.
    pub(super) head: VecDeque<MetadataRecord>,
    /// The number of the first of `placed`.
    pub(super) next: i32,
    /// Where the new partitions go.
    pub(super) placed: VecDeque<Placed>,
}

impl Growth {
    /// How many records it gives.
    pub(super) fn records(&self) -> usize {
        self.head.len() + self.placed.len()
    }

    fn weight(&self) -> usize {
        self.head.iter().map(weight).sum::<usize>() + self.placed.len()
    }
}

/// What is still to be written of a creation that takes several batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Creation {
    begun: bool,
    left: VecDeque<Growth>,
}

/// For how many records one counts: a long property for one more with each KiB, so that a batch is bounded in bytes, too.
fn weight(record: &MetadataRecord) -> usize {
    match record {
        MetadataRecord::Config(config) => 1 + config.value.as_ref().map_or(0, |v| v.len() >> 10),
        _ => 1,
    }
}

impl Controller {
    /// Writes what `growths` bring: at once, or from now on in pieces. A metadata version without transactions takes everything at once.
    pub(super) fn grow(&mut self, growths: Vec<Growth>) -> Vec<VersionedRecord> {
        let weight: usize = growths.iter().map(Growth::weight).sum();
        let mut left = VecDeque::from(growths);
        if weight > self.batch_records
            && self.image.metadata_version() >= features::TRANSACTIONS_FROM
        {
            self.creation = Some(Creation { begun: false, left });
            return Vec::new();
        }
        let records = std::iter::from_fn(|| self.next_record(&mut left)).collect();
        self.write(records)
    }

    /// Does a creation go on in pieces?
    #[must_use]
    pub fn is_creating(&self) -> bool {
        self.creation.is_some()
    }

    /// The records of the next piece of a large creation, at least one; `None` if there is none, or no more.
    pub fn go_on_creating(&mut self) -> Option<Vec<VersionedRecord>> {
        let Creation { begun, mut left } = self.creation.take()?;
        let begin = (!begun).then(|| BeginTransactionRecord {
            name: Some("Large creation".into()),
            ..Default::default()
        });
        let mut records: Vec<_> = begin.into_iter().map(MetadataRecord::from).collect();
        let mut heavy = records.len();
        while heavy < self.batch_records {
            let Some(record) = self.next_record(&mut left) else {
                records.push(EndTransactionRecord::default().into());
                return Some(self.write(records));
            };
            heavy += weight(&record);
            records.push(record);
        }
        self.creation = Some(Creation { begun: true, left });
        Some(self.write(records))
    }

    fn next_record(&self, left: &mut VecDeque<Growth>) -> Option<MetadataRecord> {
        while let Some(growth) = left.front_mut() {
            if let Some(record) = growth.head.pop_front() {
                return Some(record);
            }
            if let Some(placed) = growth.placed.pop_front() {
                let record = self.new_partition(growth.id, growth.next, placed);
                growth.next += 1;
                return Some(record);
            }
            left.pop_front();
        }
        None
    }
}
