//! Fixed sequences of disk operations: stages that follow each other, operations of one stage side by side.
//!
//! A stage begins when every operation of the one before has completed, so what depends on a completion comes after it. The
//! first failure ends the plan once the operations in flight are back; a step that finds no room may wait for some. Owns no meaning: [`Then`] says who goes on.

use std::collections::VecDeque;

use crate::ids::{LogId, Offset};
use crate::io::{DiskError, DiskOp};

use super::notice::ReadId;

/// One operation of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) op: DiskOp,
    /// A missing or existing entry is fine.
    pub(super) lenient: bool,
}

/// It must succeed.
pub(super) fn must(op: DiskOp) -> Step {
    Step { op, lenient: false }
}

/// It may find its entry missing, or there already.
pub(super) fn may(op: DiskOp) -> Step {
    Step { op, lenient: true }
}

/// Which checkpoint file of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CheckpointKind {
    RecoveryPoints,
    StartOffsets,
    HighWatermarks,
}

impl CheckpointKind {
    pub(super) const ALL: [CheckpointKind; 3] = [
        CheckpointKind::RecoveryPoints,
        CheckpointKind::StartOffsets,
        CheckpointKind::HighWatermarks,
    ];
}

/// Who goes on after a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The file of a directory's reserve is there.
    ReserveCreated,
    /// The reserve has its room.
    ReserveMade,
    /// A directory's first frontier file of this life is there, and its clean marker is gone.
    DirectoryReady,
    /// The next frontier file is there.
    FrontierReady,
    /// A checkpoint file is replaced.
    Checkpointed(CheckpointKind),
    /// The clean-shutdown marker is written.
    MarkedClean,
    /// Frontier files are removed after the marker.
    Stopped,
    /// A log's directory and first files are there.
    Created(LogId),
    /// A segment's file exists.
    SegmentCreated(LogId, Offset),
    /// The entries of a log's directory are durable, of segments up to this base.
    EntriesSynced(LogId, Offset),
    /// A rolled segment's indexes and snapshot are durable.
    Sealed(LogId, Offset),
    /// The rebuilt indexes of a rolled segment are durable.
    IndexRebuilt(LogId, Offset),
    /// The leader epochs are durable, up to this many changes.
    EpochsSynced(LogId, u64),
    /// The files of a log are tidied at its opening.
    Tidied(LogId),
    /// The files of a log's oldest segment have their `.deleted` names.
    SegmentRemoved(LogId),
    /// They are gone.
    SegmentUnlinked(LogId),
    /// The damaged tail of a log is cut at its opening.
    TailCut(LogId),
    /// A log is closed for a clean stop.
    Closed(LogId),
    /// A log's directory has its `-delete` name.
    Renamed(LogId),
    /// The failed tail of a log is gone from its file.
    RolledBack(LogId),
    /// What was under way for a rolled segment that is active again is over.
    GivenUp(LogId),
    /// A file of a log's directory was replaced for another room.
    Replaced(ReadId, LogId),
}

impl Then {
    /// The log whose directory or files the plan uses.
    pub(super) fn log(self) -> Option<LogId> {
        match self {
            Then::Created(log)
            | Then::SegmentCreated(log, _)
            | Then::EntriesSynced(log, _)
            | Then::Sealed(log, _)
            | Then::IndexRebuilt(log, _)
            | Then::EpochsSynced(log, _)
            | Then::Tidied(log)
            | Then::SegmentRemoved(log)
            | Then::SegmentUnlinked(log)
            | Then::TailCut(log)
            | Then::Closed(log)
            | Then::Renamed(log)
            | Then::RolledBack(log)
            | Then::GivenUp(log)
            | Then::Replaced(_, log) => Some(log),
            Then::ReserveCreated
            | Then::ReserveMade
            | Then::DirectoryReady
            | Then::FrontierReady
            | Then::Checkpointed(_)
            | Then::MarkedClean
            | Then::Stopped => None,
        }
    }
}

/// A plan under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Whose log directory, by its place.
    pub(super) dir: usize,
    pub(super) stages: VecDeque<Vec<Step>>,
    /// The stage under way.
    pub(super) stage: Vec<Step>,
    /// Its steps that are out.
    pub(super) outstanding: usize,
    /// Its steps that wait for room.
    pub(super) waiting: usize,
    pub(super) failed: Option<DiskError>,
    pub(super) then: Then,
}
