//! Which leader epoch began at which offset. Kafka's `LeaderEpochFileCache`; KIP-101, KIP-279.

use crate::ids::{LeaderEpoch, Offset};

/// Epochs and their start offsets; both strictly grow (starts may repeat only while an epoch is empty and the last).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    /// From the checkpoint file, in its order; entries that go back are dropped.
    pub(super) fn from_entries(entries: impl IntoIterator<Item = (LeaderEpoch, Offset)>) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in entries {
            epochs.assign(epoch, start);
        }
        epochs
    }

    /// The entries, oldest first.
    pub(super) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The latest epoch.
    pub(super) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.0)
    }

    /// `epoch` begins at `start`; true if that was news. Entries that contradict it go.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.entries.last().is_some_and(|last| last.0 >= epoch) {
            return false;
        }
        self.entries.retain(|entry| entry.1 < start);
        self.entries.push((epoch, start));
        true
    }

    /// The end of `epoch`, or of the greatest one below it; (-1, -1) if unknown. `end` is the log's end.
    pub(super) fn end_offset(&self, epoch: LeaderEpoch, end: Offset) -> (LeaderEpoch, Offset) {
        let unknown = (LeaderEpoch::NONE, Offset(-1));
        if epoch == LeaderEpoch::NONE {
            return unknown;
        }
        if self.latest() == Some(epoch) {
            return (epoch, end);
        }
        let above = self.entries.partition_point(|entry| entry.0 <= epoch);
        let Some(higher) = self.entries.get(above) else {
            return unknown;
        };
        match above.checked_sub(1) {
            Some(floor) => (self.entries[floor].0, higher.1),
            None => (epoch, higher.1),
        }
    }

    /// The epoch of the record at `offset`.
    pub(super) fn at(&self, offset: Offset) -> LeaderEpoch {
        let after = self.entries.partition_point(|entry| entry.1 <= offset);
        after
            .checked_sub(1)
            .map_or(LeaderEpoch::NONE, |at| self.entries[at].0)
    }

    /// Can a batch at `offset` be of `epoch`? One of the latest known epoch, or behind it, may also be of a later one.
    pub(super) fn allows(&self, offset: Offset, epoch: LeaderEpoch) -> bool {
        let known = self.at(offset);
        if known == LeaderEpoch::NONE || epoch.0 < 0 {
            return true;
        }
        epoch == known || (Some(known) == self.latest() && epoch > known)
    }

    /// The log ends at `end` now. True if anything changed.
    pub(super) fn truncate_end(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.1 < end);
        self.entries.len() != before
    }

    /// The log begins at `start` now. True if anything changed.
    pub(super) fn truncate_start(&mut self, start: Offset) -> bool {
        let after = self.entries.partition_point(|entry| entry.1 <= start);
        let Some(first) = after.checked_sub(1) else {
            return false;
        };
        let changed = first > 0 || self.entries[0].1 != start;
        self.entries.drain(..first);
        self.entries[0].1 = start;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        Epochs::from_entries(entries.iter().map(|e| (LeaderEpoch(e.0), Offset(e.1))))
    }

    #[test]
    fn end_offsets_are_kafkas() {
        let known = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let end = |epoch| {
            let (epoch, offset) = known.end_offset(LeaderEpoch(epoch), Offset(40));
            (epoch.0, offset.0)
        };
        assert_eq!(end(-1), (-1, -1));
        assert_eq!(end(1), (1, 10));
        assert_eq!(end(2), (2, 20));
        assert_eq!(end(3), (2, 20));
        assert_eq!(end(5), (4, 30));
        assert_eq!(end(7), (7, 40));
        assert_eq!(end(8), (-1, -1));
    }

    #[test]
    fn a_batch_is_of_the_epoch_that_its_offset_says() {
        let known = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let allows = |offset, epoch| known.allows(Offset(offset), LeaderEpoch(epoch));
        assert!(allows(5, 1) && allows(5, 9), "nothing is known of it");
        assert!(allows(19, 2) && !allows(19, 1) && !allows(19, 4) && !allows(19, 9));
        assert!(allows(20, 4) && !allows(20, 2));
        assert!(allows(30, 7) && allows(31, 9) && !allows(31, 6));
        assert!(allows(31, -1), "a batch need not say");
    }

    #[test]
    fn truncation_keeps_what_is_still_true() {
        let mut known = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert!(known.truncate_start(Offset(25)));
        assert_eq!(known, epochs(&[(4, 25), (7, 30)]));
        assert!(known.truncate_end(Offset(30)));
        assert_eq!(known, epochs(&[(4, 25)]));
        assert!(!known.truncate_end(Offset(30)));
        assert!(!known.assign(LeaderEpoch(3), Offset(40)));
        assert!(known.assign(LeaderEpoch(9), Offset(25)));
        assert_eq!(known, epochs(&[(9, 25)]));
    }
}
