//! The model of one partition: what stands at which offset, and how far the promises reach.
//!
//! Owns no rule about clients; a lookup's answer is judged here because it is about this list alone.

use std::collections::BTreeMap;

use super::{RecordId, Tp};

/// What a client knows of one partition's log.
///
/// `promised_end` and `deleted_end` never go back; `written_end` falls to it in a power cut.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionModel {
    cells: Vec<Option<RecordId>>,
    /// Everything below survives everything.
    pub(super) promised_end: i64,
    /// Everything below survives a killed process.
    pub(super) written_end: i64,
    /// Everything below may be deleted.
    pub(super) delete_limit: i64,
    /// Everything below is deleted for ever: somebody was told so.
    pub(super) deleted_end: i64,
    /// The first and the last offset that was read of each leader epoch.
    pub(super) epochs: BTreeMap<i32, (i64, i64)>,
    /// Answers to judge again when more is known.
    pub(super) lookups: Vec<Lookup>,
    /// What the fresh consumer read in the end.
    pub(super) final_range: Option<(i64, i64)>,
}

fn cell(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX >> 1)
}

impl PartitionModel {
    /// Sets what stands at `offset` and returns what stood there.
    pub(super) fn put(&mut self, offset: i64, id: RecordId) -> Option<RecordId> {
        let at = cell(offset);
        if self.cells.len() <= at {
            self.cells.resize(at + 1, None);
        }
        let before = self.cells[at];
        if before.is_none() {
            self.cells[at] = Some(id);
        }
        before
    }

    /// Forgets what stands at `end` and beyond, and returns it.
    pub(super) fn cut(&mut self, end: i64) -> Vec<RecordId> {
        let end = cell(end).min(self.cells.len());
        self.cells.drain(end..).flatten().collect()
    }

    /// What stands where, in order, without the holes.
    pub(super) fn known(&self) -> impl Iterator<Item = (i64, RecordId)> {
        (0_i64..)
            .zip(&self.cells)
            .filter_map(|(offset, id)| Some((offset, (*id)?)))
    }
}

/// What a lookup by timestamp asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first record that is not older than this, in milliseconds.
    AtLeast(i64),
    /// A record with the greatest timestamp. KIP-734.
    Greatest,
}

/// A lookup by timestamp and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// In which partition.
    pub tp: Tp,
    /// For what.
    pub target: Target,
    /// The answer: offset and timestamp; `None` if there is no such record.
    pub answer: Option<(i64, i64)>,
    /// How far the log was promised when the request left: records from there on need not be considered.
    pub floor: i64,
    /// Records below may have been deleted when the answer came.
    pub delete_limit: i64,
}

impl Lookup {
    /// Judges the answer against what is known: `(offset, timestamp)` in order of offsets.
    pub(super) fn fault(&self, known: impl Iterator<Item = (i64, i64)>) -> Option<String> {
        let said = match self.answer {
            Some((offset, timestamp)) => format!("offset {offset} with timestamp {timestamp}"),
            None => "no record".to_owned(),
        };
        let complain = |what: String| {
            Some(format!(
                "{}: {:?} was answered by {said}, but {what}",
                self.tp, self.target
            ))
        };
        if let (Target::AtLeast(target), Some((_, timestamp))) = (self.target, self.answer)
            && timestamp < target
        {
            return complain("that is older".to_owned());
        }
        for (offset, timestamp) in known {
            if let Some((_, answered)) = self.answer.filter(|(at, _)| *at == offset) {
                if answered != timestamp {
                    return complain(format!("the record at {offset} has {timestamp}"));
                }
                continue;
            }
            if offset < self.delete_limit {
                continue;
            }
            let overlooked = match (self.target, self.answer) {
                (Target::AtLeast(target), Some((answer, _))) => {
                    offset < answer && timestamp >= target
                }
                (Target::AtLeast(target), None) => offset < self.floor && timestamp >= target,
                (Target::Greatest, Some((_, greatest))) => {
                    offset < self.floor && timestamp > greatest
                }
                (Target::Greatest, None) => offset < self.floor,
            };
            if overlooked {
                return complain(format!("the record at {offset} has {timestamp}"));
            }
        }
        None
    }
}
