//! One segment of a log: a file of batches and its indexes. Kafka's `LogSegment`.

use crate::ids::{FileId, LogId, Offset};
use crate::io::Name;
use crate::mutant::Mutants;
use crate::rng::{Purpose, Rng};
use crate::time::WallMs;
use crate::wire::Parts;
use crate::wire::batch::{BatchHeader, NO_TIMESTAMP};

use super::config::LogConfig;
use super::index::{MaxTimestamp, SegmentIndex, relative};

/// A write that waits for its file to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueuedWrite {
    pub(super) last: Offset,
    pub(super) position: u32,
    pub(super) data: Parts,
}

/// A segment. The last one of a log is active; the others are rolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Offset that its file is named for; no record in it is below.
    pub(super) base: Offset,
    /// Bytes accepted so far.
    pub(super) size: u32,
    /// Its open file.
    pub(super) file: Option<FileId>,
    /// The file is being created, and these wait for it.
    pub(super) creating: Option<Vec<QueuedWrite>>,
    /// Its directory entry survives power loss.
    pub(super) entry_synced: bool,
    /// Rolled, and its index files and the producer snapshot behind it survive power loss.
    pub(super) sealed: bool,
    /// In memory while it grows; `None`: in its files.
    pub(super) index: Option<SegmentIndex>,
    /// Its batches were read one by one in this life of the node, and its index made from them.
    pub(super) verified: bool,
    /// `None`: not read from disk yet.
    pub(super) max: Option<MaxTimestamp>,
    /// The same without the recent batches that are in memory.
    pub(super) settled: MaxTimestamp,
    /// Timestamp of its first batch; `None` without batches or before it is known.
    pub(super) first_timestamp: Option<i64>,
    /// When it was created or opened.
    pub(super) created: WallMs,
    /// When it was last appended to or opened.
    pub(super) modified: WallMs,
}

impl Segment {
    /// An empty segment whose file is being created as `file`.
    pub(super) fn new(base: Offset, file: FileId, now: WallMs) -> Segment {
        Segment {
            base,
            size: 0,
            file: Some(file),
            creating: Some(Vec::new()),
            entry_synced: false,
            sealed: false,
            index: Some(SegmentIndex::default()),
            verified: false,
            max: Some(MaxTimestamp::default()),
            settled: MaxTimestamp::default(),
            first_timestamp: None,
            created: now,
            modified: now,
        }
    }

    /// How old it may become: `segment.ms`, less a draw of its own below `segment.jitter.ms`, so that segments that began or were
    /// opened together do not all end together.
    pub(super) fn age_max_ms(&self, config: &LogConfig, rng: &Rng, log: LogId) -> i64 {
        let bound = config.segment_jitter_ms.min(config.segment_ms);
        let bound = u64::try_from(bound).unwrap_or(0);
        let nth = u64::try_from(self.base.0).unwrap_or(0);
        let jitter = rng.below(bound, Purpose::SegmentJitter, u64::from(log.0), nth);
        config.segment_ms - i64::try_from(jitter).unwrap_or(0)
    }

    /// Must a new segment begin before a batch of `size` bytes? Kafka's rule.
    pub(super) fn must_roll(
        &self,
        config: &LogConfig,
        age_max_ms: i64,
        size: usize,
        max_timestamp: i64,
        last: Offset,
        now: WallMs,
    ) -> bool {
        let waited = match self.first_timestamp {
            Some(first) if first >= 0 => max_timestamp.saturating_sub(first),
            _ => now.0.saturating_sub(self.created.0),
        };
        let full = self
            .index
            .as_ref()
            .is_some_and(|index| index.is_full(config.segment_index_bytes));
        self.size as usize + size > config.segment_bytes as usize
            || (self.size > 0 && waited > age_max_ms)
            || full
            || relative(self.base, last).is_none()
    }

    /// Takes a batch at the end. `header` carries its final offsets. Returns its position.
    pub(super) fn push(
        &mut self,
        header: &BatchHeader,
        interval: u32,
        now: WallMs,
        mutants: Mutants,
    ) -> u32 {
        let position = self.size;
        self.modified = now;
        self.note(header, position, interval, mutants);
        self.size = self
            .size
            .saturating_add(u32::try_from(header.size()).unwrap_or(u32::MAX));
        position
    }

    /// Takes note of a batch at `position` in the indexes and timestamps.
    pub(super) fn note(
        &mut self,
        header: &BatchHeader,
        position: u32,
        interval: u32,
        mutants: Mutants,
    ) {
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        let max = self.max.get_or_insert_with(MaxTimestamp::default);
        if header.max_timestamp > max.timestamp {
            *max = MaxTimestamp {
                timestamp: header.max_timestamp,
                offset: relative(self.base, header.last_offset()).unwrap_or(0),
            };
        }
        let max = *max;
        if let Some(index) = &mut self.index {
            index.note(self.base, header, position, interval, max, mutants);
        }
    }

    /// The last entry of the time index, which Kafka makes when a segment is rolled or closed.
    pub(super) fn finish_index(&mut self, mutants: Mutants) {
        let max = self.max.unwrap_or_default();
        if let Some(index) = &mut self.index {
            index.note_time(max, mutants);
        }
    }

    /// Forgets the batches from `end` on; `left` are the timestamps and last offsets of recent batches that stay.
    pub(super) fn forget_from(&mut self, end: Offset, left: &[(i64, Offset)]) {
        let base = self.base;
        if let Some(index) = &mut self.index {
            index.truncate(base, end);
        }
        // The index has an entry now and then: what is below the recent batches is known without it.
        let max = self.max.insert(self.settled);
        for &(timestamp, last) in left.iter().filter(|(_, last)| *last >= base) {
            if timestamp > max.timestamp {
                *max = MaxTimestamp {
                    timestamp,
                    offset: relative(base, last).unwrap_or(0),
                };
            }
        }
        if self.size == 0 {
            self.first_timestamp = None;
        }
    }

    /// A batch is no longer among the recent ones.
    pub(super) fn settle(&mut self, timestamp: i64, last: Offset) {
        if timestamp > self.settled.timestamp {
            self.settled = MaxTimestamp {
                timestamp,
                offset: relative(self.base, last).unwrap_or(0),
            };
        }
    }

    /// What retention by time goes by: the greatest timestamp, else when it was last written.
    pub(super) fn largest_timestamp(&self) -> Option<i64> {
        let max = self.max?;
        Some(if max.timestamp > NO_TIMESTAMP {
            max.timestamp
        } else {
            self.modified.0
        })
    }

    /// The name of one of its files.
    pub(super) fn name(&self, suffix: &str) -> Name {
        file_name(self.base, suffix)
    }
}

/// A file's name: the offset in 20 digits, then `suffix` with its dot.
pub(super) fn file_name(offset: Offset, suffix: &str) -> Name {
    name(format!("{:020}{suffix}", offset.0.max(0)))
}

/// A name that is known to fit.
pub(super) fn name(text: impl Into<String>) -> Name {
    Name::new(text).expect("names that the store makes are single path components")
}
