//! The log of one partition on this node. Kafka's `UnifiedLog`.
//!
//! Owns its segments, offsets, recent batches, epochs and producers, and what is known of their durability. Issues nothing: the
//! store does.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::ids::{DirId, FileId, LeaderEpoch, LogId, Lsn, Offset, PartitionIndex, Uuid};
use crate::mutant::{Mutant, Mutants};
use crate::time::Instant;
use crate::wire::Parts;

use super::config::LogConfig;
use super::epochs::Epochs;
use super::frontier;
use super::notice::{LogView, ReadId};
use super::opening::Opening;
use super::plan::CheckpointKind;
use super::producers::{Producers, Undo};
use super::segment::Segment;
use crate::io::Name;

/// What a log is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// So many checkpoints must forget an earlier log of its name; then its directory is made.
    Creating(u32),
    /// It is read back from disk.
    Opening(Box<Opening>),
    /// It serves.
    Online,
    /// It is closed for a clean stop, or about to be.
    Closed,
    /// It cannot serve, and why.
    Offline(String),
    /// It is being removed.
    Deleting,
}

/// How far a batch's write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    UnderWay,
    Done,
    Failed,
}

/// An accepted batch whose write, or an earlier one's, is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    pub(super) base: Offset,
    pub(super) last: Offset,
    pub(super) segment: Offset,
    pub(super) position: u32,
    pub(super) write: Write,
    pub(super) lsn: Option<Lsn>,
    pub(super) mark: frontier::Mark,
    pub(super) undo: Option<Undo>,
}

/// A written batch that is not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsynced {
    pub(super) lsn: Option<Lsn>,
    pub(super) mark: frontier::Mark,
}

/// A recent batch in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HotBatch {
    /// Which one it is of all batches that were appended in this life.
    pub(super) nth: u64,
    pub(super) base: Offset,
    pub(super) last: Offset,
    pub(super) max_timestamp: i64,
    pub(super) epoch: LeaderEpoch,
    pub(super) parts: Parts,
}

/// One partition's log.
///
/// `first_base <= durable_start <= start <= end`, `synced <= written <= end`, `promised <= written`, segments ascend and are not empty while it is online;
/// `in_flight` covers `written..end` without gaps; `hot` covers some offset to `end` without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) id: LogId,
    pub(super) topic: String,
    pub(super) topic_id: Uuid,
    pub(super) partition: PartitionIndex,
    /// Which of the log directories.
    pub(super) dir: usize,
    /// Its own directory.
    pub(super) handle: DirId,
    pub(super) config: LogConfig,
    pub(super) state: State,
    pub(super) start: Offset,
    /// No power cut brings back what is below: it is in the checkpoint of start offsets, or no segment holds it any more.
    pub(super) durable_start: Offset,
    /// No power cut brings back a segment below.
    pub(super) first_base: Offset,
    pub(super) end: Offset,
    pub(super) written: Offset,
    pub(super) synced: Offset,
    /// What was reported as durable: `synced`, or `written` of a loosely flushed log.
    pub(super) promised: Offset,
    pub(super) high_watermark: Offset,
    pub(super) segments: Vec<Segment>,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) unsynced: VecDeque<Unsynced>,
    /// How many of `unsynced` are ready and gone from the directory's clock.
    pub(super) ready_count: usize,
    pub(super) hot: VecDeque<HotBatch>,
    pub(super) epochs: Epochs,
    /// Changes of `epochs` so far.
    pub(super) epochs_version: u64,
    /// The change that is on disk.
    pub(super) epochs_synced: u64,
    /// The lowest start of an epoch that is not on disk.
    pub(super) epochs_pending_from: Option<Offset>,
    pub(super) epochs_writing: bool,
    pub(super) producers: Producers,
    /// What the newest checkpoint of each kind that has come to this log says of it.
    pub(super) checkpointed: [Option<Offset>; CheckpointKind::ALL.len()],
    /// Names of the metadata snapshots, and of what is left of unfinished ones, that were in its directory when it was opened.
    pub(super) checkpoints: Vec<Name>,
    /// Offsets of the producer snapshots in its directory.
    pub(super) snapshots: BTreeSet<Offset>,
    /// The disk was full: appends from here on are lost once all writes are back, and why.
    pub(super) full: Option<String>,
    /// A loosely flushed log must be synced by then.
    pub(super) flush_at: Option<Instant>,
    /// Disk operations under way that use its directory or files, other than sync rounds.
    pub(super) busy: u32,
    /// Its topic's properties are known: before that nothing may be deleted by them.
    pub(super) configured: bool,
    /// It is being deleted, and its directory has its new name.
    pub(super) renamed: bool,
    /// No topic has it: once renamed, its directory stays.
    pub(super) stray: bool,
    /// Its oldest segment is being removed.
    pub(super) removing: bool,
    /// Its oldest segment goes as soon as nobody reads it.
    pub(super) retention_waits: bool,
    /// Its directory could not be made whole: its ids may name nothing.
    pub(super) unmade: bool,
    /// Operations of reads that use its files.
    pub(super) readers: BTreeSet<ReadId>,
}

impl Log {
    /// A log that is not open yet.
    pub(super) fn new(
        id: LogId,
        topic: String,
        topic_id: Uuid,
        partition: PartitionIndex,
        dir: usize,
        handle: DirId,
        config: LogConfig,
        state: State,
    ) -> Log {
        Log {
            id,
            topic,
            topic_id,
            partition,
            dir,
            handle,
            config,
            state,
            start: Offset(0),
            durable_start: Offset(0),
            first_base: Offset(0),
            end: Offset(0),
            written: Offset(0),
            synced: Offset(0),
            promised: Offset(0),
            high_watermark: Offset(0),
            segments: Vec::new(),
            in_flight: VecDeque::new(),
            unsynced: VecDeque::new(),
            ready_count: 0,
            hot: VecDeque::new(),
            epochs: Epochs::default(),
            epochs_version: 0,
            epochs_synced: 0,
            epochs_pending_from: None,
            epochs_writing: false,
            producers: Producers::default(),
            checkpointed: [None; CheckpointKind::ALL.len()],
            checkpoints: Vec::new(),
            snapshots: BTreeSet::new(),
            full: None,
            flush_at: None,
            busy: 0,
            configured: false,
            renamed: false,
            stray: false,
            removing: false,
            retention_waits: false,
            unmade: false,
            readers: BTreeSet::new(),
        }
    }

    /// `topic-partition`, the name of its directory.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    pub(super) fn is_online(&self) -> bool {
        matches!(self.state, State::Online)
    }

    pub(super) fn active(&mut self) -> &mut Segment {
        self.segments
            .last_mut()
            .expect("an online log has an active segment")
    }

    /// The place of the segment that would hold `offset`.
    pub(super) fn segment_at(&self, offset: Offset) -> Option<usize> {
        self.segments
            .partition_point(|segment| segment.base <= offset)
            .checked_sub(1)
    }

    pub(super) fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let at = self
            .segments
            .binary_search_by_key(&base, |segment| segment.base)
            .ok()?;
        Some(&mut self.segments[at])
    }

    /// No segment below the first one can come back.
    pub(super) fn settle_first_base(&mut self) {
        if let Some(first) = self.segments.first() {
            self.first_base = first.base;
            self.durable_start = self.durable_start.max(first.base);
        }
    }

    /// Where segment `at` ends.
    pub(super) fn segment_end(&self, at: usize) -> Offset {
        self.segments.get(at + 1).map_or(self.end, |next| next.base)
    }

    /// One past the last record that a sync could make durable now: written, in a file whose entry is durable.
    pub(super) fn ready(&self) -> Offset {
        let unsure = self.segments.iter().find(|segment| !segment.entry_synced);
        unsure.map_or(self.written, |segment| self.written.min(segment.base))
    }

    /// Where recovery may begin: everything below is synced, with its epochs, and but for the segment of the last record below
    /// ([`recovered_from`](Log::recovered_from)) with its indexes and snapshots.
    ///
    /// It never goes back, for once a checkpoint has it, nothing else may prove that what is below was synced.
    pub(super) fn recovery_point(&self, mutants: Mutants) -> Offset {
        let rolled = self.segments.len().saturating_sub(1);
        let unsealed = self.segments[..rolled]
            .iter()
            .position(|segment| !segment.sealed)
            .map_or(self.synced, |at| {
                match mutants.has(Mutant::LowerRecoveryPoint) {
                    false => self.segment_end(at),
                    true => self.segments[at].base,
                }
            });
        let epochs = self.epochs_pending_from.unwrap_or(self.synced);
        self.synced.min(unsealed).min(epochs)
    }

    /// The first segment whose indexes recovery cannot trust, for a recovery point that was read from disk.
    ///
    /// That is the one of the last record below the point: if the point is the base of a segment, the one before may have been
    /// active when the point was noted, and rolled since without its indexes being synced.
    pub(super) fn recovered_from(&self, recovery_point: Offset, mutants: Mutants) -> usize {
        let last = match mutants.has(Mutant::TrustIndexesAtRecoveryPoint) {
            false => Offset(recovery_point.0 - 1),
            true => recovery_point,
        };
        self.segment_at(last).unwrap_or(0)
    }

    /// The producer state at the base of the active segment, as a snapshot holds it, while that segment is empty.
    pub(super) fn state_at_active(&self) -> Option<(Offset, Bytes)> {
        let base = self.segments.last()?.base;
        (base == self.end).then(|| (base, Bytes::from(self.producers.encode())))
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum()
    }

    /// Begins `epoch` at `start`; true if the checkpoint must be written.
    pub(super) fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if !self.epochs.assign(epoch, start) {
            return false;
        }
        self.epochs_changed(start);
        true
    }

    /// The epochs of records at and above `from` are not in the file yet.
    pub(super) fn epochs_changed(&mut self, from: Offset) {
        self.epochs_version += 1;
        let pending = self.epochs_pending_from.map_or(from, |p| p.min(from));
        self.epochs_pending_from = Some(pending);
    }

    pub(super) fn view(&self) -> LogView<'_> {
        LogView {
            topic: &self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
            dir: self.dir,
            config: &self.config,
            start: self.start,
            durable_start: self.durable_start,
            end: self.end,
            written: self.written,
            durable: self.promised,
            high_watermark: self.high_watermark,
            last_epoch: self.epochs.latest().unwrap_or(LeaderEpoch::NONE),
            size_bytes: self.size_bytes(),
            segments: self.segments.len(),
            producers: self.producers.len(),
            online: self.is_online(),
            offline: match &self.state {
                State::Offline(message) => Some(message),
                _ => None,
            },
        }
    }

    /// Files that hold written records from `synced` up to `ready`.
    pub(super) fn files_to_sync(&self, ready: Offset) -> Vec<FileId> {
        let from = self.segment_at(self.synced).unwrap_or(0);
        (from..self.segments.len())
            .filter(|&at| self.segments[at].base < ready && self.segment_end(at) > self.synced)
            .filter_map(|at| self.segments[at].file)
            .collect()
    }
}
