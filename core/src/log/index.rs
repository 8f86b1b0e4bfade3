//! The sparse indexes of one segment: from offset to position, from timestamp to offset. Kafka's `OffsetIndex` and `TimeIndex`.
//!
//! Owns the rule when an entry is made, the lookups, and the files' bytes. Files: 8 bytes an offset entry (offset less the
//! segment's base, position), 12 bytes a time entry (timestamp, offset less the base), big-endian, no header.

use bytes::{Buf, Bytes};

use crate::ids::Offset;
use crate::mutant::{Mutant, Mutants};
use crate::wire::batch::{BatchHeader, NO_TIMESTAMP};

/// Bytes of an entry of the offset index.
pub(super) const OFFSET_ENTRY: usize = 8;
/// Bytes of an entry of the time index.
pub(super) const TIME_ENTRY: usize = 12;

/// Both indexes of a segment. Offsets are relative to the segment's base and strictly grow, as positions and timestamps do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    offsets: Vec<(u32, u32)>,
    times: Vec<(i64, u32)>,
    /// Bytes of batches since the last entry.
    bytes_since_entry: u64,
}

/// The greatest timestamp of a segment and the last offset of the batch that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaxTimestamp {
    /// In ms; -1: none.
    pub(super) timestamp: i64,
    /// Relative to the segment's base.
    pub(super) offset: u32,
}

impl Default for MaxTimestamp {
    fn default() -> MaxTimestamp {
        MaxTimestamp {
            timestamp: NO_TIMESTAMP,
            offset: 0,
        }
    }
}

/// `offset` relative to `base`, if an index can hold it.
pub(super) fn relative(base: Offset, offset: Offset) -> Option<u32> {
    let delta = offset.0.checked_sub(base.0)?;
    i32::try_from(delta)
        .ok()
        .and_then(|delta| u32::try_from(delta).ok())
}

impl SegmentIndex {
    /// Takes note of a batch at `position`: every `interval` bytes becomes an entry. `max` covers the batch already.
    pub(super) fn note(
        &mut self,
        base: Offset,
        header: &BatchHeader,
        position: u32,
        interval: u32,
        max: MaxTimestamp,
        mutants: Mutants,
    ) {
        if self.bytes_since_entry > u64::from(interval) {
            if let Some(last) = relative(base, header.last_offset()) {
                self.offsets.push((last, position));
            }
            self.note_time(max, mutants);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.size() as u64;
    }

    /// Adds `max` to the time index if it is later than its last entry.
    pub(super) fn note_time(&mut self, max: MaxTimestamp, mutants: Mutants) {
        let last = self.times.last().map_or(NO_TIMESTAMP, |entry| entry.0);
        let offset = max.offset + u32::from(mutants.has(Mutant::TimeIndexLies)) * 1000;
        if max.timestamp > last {
            self.times.push((max.timestamp, offset));
        }
    }

    /// Has either index reached `segment.index.bytes`? The time index keeps its last slot for the roll.
    pub(super) fn is_full(&self, max_bytes: u32) -> bool {
        let max = max_bytes as usize;
        self.offsets.len() >= (max / OFFSET_ENTRY).max(1)
            || self.times.len() + 1 >= (max / TIME_ENTRY).max(2)
    }

    /// A position at or before the batch that holds `offset`.
    pub(super) fn position(&self, base: Offset, offset: Offset) -> u32 {
        let wanted = offset.0.saturating_sub(base.0);
        let after = self
            .offsets
            .partition_point(|entry| i64::from(entry.0) <= wanted);
        after.checked_sub(1).map_or(0, |at| self.offsets[at].1)
    }

    /// An offset at or before the first record whose timestamp is at least `timestamp`.
    pub(super) fn offset_before(&self, base: Offset, timestamp: i64) -> Offset {
        let after = self.times.partition_point(|entry| entry.0 < timestamp);
        after
            .checked_sub(1)
            .map_or(base, |at| Offset(base.0 + i64::from(self.times[at].1)))
    }

    /// The last entry of the offset index: offset and position.
    pub(super) fn last_position(&self, base: Offset) -> Option<(Offset, u32)> {
        let (offset, position) = self.offsets.last()?;
        Some((Offset(base.0 + i64::from(*offset)), *position))
    }

    /// The last entry of the time index.
    pub(super) fn last_time(&self) -> Option<MaxTimestamp> {
        let (timestamp, offset) = *self.times.last()?;
        Some(MaxTimestamp { timestamp, offset })
    }

    /// Forgets entries of batches that end at or above `end`.
    pub(super) fn truncate(&mut self, base: Offset, end: Offset) {
        let keep = |offset: u32| base.0 + i64::from(offset) < end.0;
        self.offsets.retain(|entry| keep(entry.0));
        self.times.retain(|entry| keep(entry.1));
        self.bytes_since_entry = 0;
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> u64 {
        (self.offsets.len() * 8 + self.times.len() * 16) as u64
    }

    /// The `.index` file.
    pub(super) fn encode_offsets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY);
        for (offset, position) in &self.offsets {
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&position.to_be_bytes());
        }
        out
    }

    /// The `.timeindex` file.
    pub(super) fn encode_times(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.times.len() * TIME_ENTRY);
        for (timestamp, offset) in &self.times {
            out.extend_from_slice(&timestamp.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
        }
        out
    }

    /// From both files; `None` if they cannot belong to a segment of `size` bytes and `extent` offsets and must be rebuilt.
    pub(super) fn decode(
        mut offsets: Bytes,
        mut times: Bytes,
        size: u32,
        extent: i64,
    ) -> Option<SegmentIndex> {
        if !offsets.len().is_multiple_of(OFFSET_ENTRY) || !times.len().is_multiple_of(TIME_ENTRY) {
            return None;
        }
        let fits = |offset: u32| i64::from(offset) < extent && offset <= i32::MAX as u32;
        let mut index = SegmentIndex::default();
        while offsets.has_remaining() {
            let entry = (offsets.get_u32(), offsets.get_u32());
            let grows = index
                .offsets
                .last()
                .is_none_or(|last| last.0 < entry.0 && last.1 < entry.1);
            if !grows || entry.1 >= size || !fits(entry.0) {
                return None;
            }
            index.offsets.push(entry);
        }
        while times.has_remaining() {
            let entry = (times.get_i64(), times.get_u32());
            let grows = index
                .times
                .last()
                .is_none_or(|last| last.0 < entry.0 && last.1 <= entry.1);
            if !grows || entry.0 < 0 || !fits(entry.1) {
                return None;
            }
            index.times.push(entry);
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};

    fn header(offset: i64, timestamp: i64) -> BatchHeader {
        let batch = encode_batch(
            BatchOptions::default(),
            &[RecordToWrite {
                timestamp,
                ..RecordToWrite::default()
            }],
        );
        BatchHeader {
            base_offset: Offset(offset),
            ..BatchHeader::decode(&batch).expect("whole")
        }
    }

    fn built() -> SegmentIndex {
        let (base, mut index, mut at) = (Offset(100), SegmentIndex::default(), 0);
        let mut max = MaxTimestamp::default();
        for n in 0..100 {
            let header = header(100 + n, 1_000 + n);
            max = MaxTimestamp {
                timestamp: 1_000 + n,
                offset: n as u32,
            };
            index.note(base, &header, at, 500, max, Mutants::NONE);
            at += header.size() as u32;
        }
        index.note_time(max, Mutants::NONE);
        index
    }

    #[test]
    fn lookups_never_land_behind_the_target() {
        let index = built();
        let size = header(0, 1).size() as i64;
        for n in 0..100 {
            let position = i64::from(index.position(Offset(100), Offset(100 + n)));
            assert!(position <= n * size, "offset {n}");
            assert!(
                n * size - position <= 500 + 2 * size,
                "offset {n} is too far"
            );
            let before = index.offset_before(Offset(100), 1_000 + n);
            assert!(before <= Offset(100 + n));
        }
    }

    #[test]
    fn files_round_trip_and_nonsense_is_refused() {
        let index = built();
        let size = 100 * header(0, 1).size() as u32;
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        let decode = |offsets: &[u8], times: &[u8], size, extent| {
            let (offsets, times) = (offsets.to_vec().into(), times.to_vec().into());
            SegmentIndex::decode(offsets, times, size, extent)
        };
        let back = decode(&offsets, &times, size, 100);
        let mut expected = index.clone();
        expected.bytes_since_entry = 0;
        assert_eq!(back, Some(expected));
        let mut zeros = offsets.clone();
        zeros.extend([0; 16]);
        assert_eq!(decode(&zeros, &times, size, 100), None);
        assert_eq!(decode(&offsets[..7], &times, size, 100), None);
        assert_eq!(decode(&offsets, &times, 10, 100), None);
        assert_eq!(decode(&offsets, &times, size, 99), None);
    }
}
