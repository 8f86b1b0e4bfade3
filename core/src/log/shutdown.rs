//! A clean stop: everything synced, every file in the form that Kafka's tools expect, then the marker that says so.
//!
//! In this order: appends end and what was accepted is synced; each log writes its indexes and producer snapshot; each directory
//! writes its checkpoints, then the marker, then gives up its frontier files. A directory with a log that is offline gets no
//! marker and keeps them.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::event::Level;
use crate::ids::{LogId, Offset};
use crate::io::{Cx, DiskOp};
use crate::mutant::Mutant;

use super::checkpoint;
use super::frontier;
use super::notice::{Notice, ReadError, ReadId};
use super::partition_log::{Log, State};
use super::plan::{CheckpointKind, Then, may, must};
use super::reserve::RESERVE;
use super::segment::{file_name, name};
use super::store::{Continue, LogStore};

/// Logs that are closed in one piece of work.
const CLOSE_PIECE: usize = 64;

/// A stop under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shutdown {
    broker_epoch: i64,
    phase: Phase,
    /// From here on no log was looked at.
    next: LogId,
    /// Logs that had something under way when they were looked at.
    busy: VecDeque<LogId>,
    closing: usize,
    /// Directories with a log that is not closed: they get no marker.
    kept: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Logs,
    Checkpoints,
    Marking,
    Done,
}

impl Shutdown {
    /// A log of directory `dir` cannot be closed.
    pub(super) fn keep(&mut self, dir: usize) {
        self.kept.insert(dir);
    }
}

impl LogStore {
    /// Stops: no append is taken from now on, nothing is read from disk, and what is asked of small files is neither done nor
    /// answered; [`Notice::Stopped`] tells the end. `broker_epoch` goes into the marker (KIP-966), -1
    /// if the node never registered.
    pub fn shutdown(&mut self, cx: &mut Cx<'_>, broker_epoch: i64) {
        if self.shutdown.is_some() {
            return;
        }
        self.timers.clear();
        self.retention_cursor = None;
        // The directories of the logs are closed one after the other: what is read from disk ends now, and no such read begins.
        let reads: Vec<ReadId> = self.cold.reads.keys().copied().collect();
        for read in reads {
            self.fail_read(read, ReadError::Stopping);
        }
        self.cold.forget_all();
        self.shutdown = Some(Shutdown {
            broker_epoch,
            phase: Phase::Logs,
            next: LogId(0),
            busy: VecDeque::new(),
            closing: 0,
            kept: BTreeSet::new(),
        });
        for dir in 0..self.dirs.len() {
            self.give_up_reserve(cx, dir);
            self.try_again(cx, dir);
        }
        self.go_on_shutdown(cx);
    }

    /// Takes the next step of a stop if it can be taken.
    pub(super) fn go_on_shutdown(&mut self, cx: &mut Cx<'_>) {
        let Some(shutdown) = &self.shutdown else {
            return;
        };
        match shutdown.phase {
            Phase::Logs => self.close_more(cx),
            Phase::Checkpoints => self.mark_when_checkpointed(cx),
            Phase::Marking => self.stopped_when_marked(),
            Phase::Done => {}
        }
    }

    /// Closes further logs; what still has something to sync is synced meanwhile, all of it together, and comes again.
    pub(super) fn close_more(&mut self, cx: &mut Cx<'_>) {
        let limit = self.config.concurrency.max(1);
        let mut busy = 0;
        for _ in 0..CLOSE_PIECE {
            let count = self.logs.len();
            let Some(shutdown) = self.shutdown.as_mut().filter(|s| s.closing < limit) else {
                return;
            };
            let fresh = (shutdown.next.0 as usize) < count;
            if !fresh && busy > 0 && busy >= shutdown.busy.len() {
                return;
            }
            let next = if fresh {
                let next = shutdown.next;
                shutdown.next = LogId(next.0 + 1);
                Some(next)
            } else {
                shutdown.busy.pop_front()
            };
            let Some(id) = next else {
                if shutdown.closing == 0 && shutdown.phase == Phase::Logs {
                    self.begin_final_checkpoints(cx);
                }
                return;
            };
            // A directory that failed is closed as it is; some of its logs may not be out of service yet.
            let waits = cx.mutants.has(Mutant::StopWaitsForFailedDirectory);
            let found = self.log(id).filter(|log| {
                let directory = self.dirs.get(log.dir);
                directory.is_none_or(|directory| directory.failed.is_none() || waits)
            });
            match found.map(|log| (&log.state, log)) {
                Some((State::Online, log)) if is_quiet(log) => self.close_log(cx, id),
                Some((State::Online, _)) => {
                    busy += 1;
                    self.settle_log(cx, id);
                    if let Some(shutdown) = &mut self.shutdown {
                        shutdown.busy.push_back(id);
                    }
                }
                Some((State::Creating(_) | State::Opening(_) | State::Offline(_), log)) => {
                    let dir = log.dir;
                    if let Some(shutdown) = &mut self.shutdown {
                        shutdown.keep(dir);
                    }
                }
                Some((State::Closed | State::Deleting, _)) | None => {}
            }
        }
        let shutdown = self.shutdown.as_ref();
        let fresh = shutdown.is_some_and(|s| (s.next.0 as usize) < self.logs.len());
        if fresh || busy < CLOSE_PIECE {
            self.continues.insert(Continue::Close);
        }
    }

    /// Ends what a log has under way.
    fn settle_log(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log(id) else { return };
        let (dir, wanted) = (log.dir, log.ready() > log.synced);
        if wanted {
            self.dirs[dir].touched.insert(id);
            self.begin_round(cx, dir);
        }
    }

    fn close_log(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        log.state = State::Closed;
        let (dir, handle, end) = (log.dir, log.handle, log.end);
        let mut files = Vec::new();
        if end > log.snapshots.last().copied().unwrap_or(Offset(0)) {
            let snapshot = Bytes::from(log.producers.encode());
            files.push((file_name(end, ".snapshot"), snapshot));
            log.snapshots.insert(end);
        }
        let mut close: Vec<_> = log
            .segments
            .iter_mut()
            .filter_map(|s| s.file.take())
            .collect();
        close.dedup();
        let active = log.active();
        active.finish_index(cx.mutants);
        if let Some(index) = &active.index {
            let offsets = Bytes::from(index.encode_offsets());
            let times = Bytes::from(index.encode_times());
            files.push((active.name(".index"), offsets));
            files.push((active.name(".timeindex"), times));
        }
        let mut stages = self.new_files(dir, handle, files);
        stages.push(self.sync_dir(cx, handle));
        stages.push(
            close
                .into_iter()
                .map(|file| must(DiskOp::Close { file }))
                .collect(),
        );
        stages.push(vec![must(DiskOp::CloseDir { dir: handle })]);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.closing += 1;
        }
        self.begin_plan(cx, dir, stages, Then::Closed(id));
    }

    pub(super) fn on_closed(&mut self, cx: &mut Cx<'_>, _id: LogId) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.closing -= 1;
        }
        self.go_on_shutdown(cx);
    }

    /// There was no room for what a stop writes: the next start recovers the directory as after a crash.
    pub(super) fn on_not_closed(&mut self, cx: &mut Cx<'_>, dir: usize, then: Then) {
        let message = format!(
            "{} is full: it could not be closed cleanly, and is recovered at the next start",
            self.dirs[dir].path
        );
        if !std::mem::replace(&mut self.dirs[dir].unclosed, true) {
            self.note(cx, Level::Warn, message);
        }
        match then {
            Then::Closed(log) => self.on_closed(cx, log),
            Then::RolledBack(_) | Then::EpochsSynced(..) => self.go_on_shutdown(cx),
            _ => self.on_directory_stopped(dir),
        }
    }

    fn begin_final_checkpoints(&mut self, cx: &mut Cx<'_>) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.phase = Phase::Checkpoints;
        }
        for dir in 0..self.dirs.len() {
            if self.dirs[dir].frontier.is_some() && self.dirs[dir].start.is_none() {
                for kind in CheckpointKind::ALL {
                    self.want_checkpoint(cx, dir, kind, None);
                }
            }
        }
        self.go_on_shutdown(cx);
    }

    fn mark_when_checkpointed(&mut self, cx: &mut Cx<'_>) {
        let busy = self.dirs.iter().any(|directory| {
            directory.failed.is_none()
                && directory
                    .checkpoints
                    .values()
                    .any(|c| c.writing.is_some() || c.build.is_some())
        });
        let Some(shutdown) = self.shutdown.as_mut().filter(|_| !busy) else {
            return;
        };
        shutdown.phase = Phase::Marking;
        let content = checkpoint::encode_clean_shutdown(shutdown.broker_epoch);
        let kept = std::mem::take(&mut shutdown.kept);
        for dir in 0..self.dirs.len() {
            let directory = &mut self.dirs[dir];
            if directory.failed.is_some() {
                continue;
            }
            let whole = !directory.unclosed
                && !kept.contains(&dir)
                && directory.frontier.is_some()
                && directory.start.is_none()
                && directory
                    .checkpoints
                    .values()
                    .all(|c| !c.dirty && c.waits.is_empty());
            if !whole {
                directory.stopped = true;
                continue;
            }
            let root = directory.root;
            let file = name(checkpoint::CLEAN_SHUTDOWN);
            let stages = self.new_file(dir, root, &file, Bytes::from(content.clone()));
            self.begin_plan(cx, dir, stages, Then::MarkedClean);
        }
        self.stopped_when_marked();
    }

    /// The marker is there: the frontier files have served, since the checkpoints say that everything was synced. One sync covers
    /// the marker's name and theirs.
    pub(super) fn on_marked_clean(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        let root = directory.root;
        let mut numbers = std::mem::take(&mut directory.old_frontiers);
        numbers.append(&mut directory.retired_frontiers);
        for checkpoint in directory.checkpoints.values_mut() {
            numbers.append(&mut checkpoint.retires);
        }
        let current = [directory.frontier.take(), directory.next_frontier.take()];
        let mut close = Vec::new();
        for file in current.into_iter().flatten() {
            numbers.push(file.number);
            close.push(must(DiskOp::Close { file: file.file }));
        }
        let unlink = numbers
            .into_iter()
            .map(frontier::name)
            .chain([RESERVE.to_owned()])
            .map(|file| {
                may(DiskOp::Unlink {
                    dir: root,
                    name: name(file),
                })
            })
            .collect();
        let stages = [close, unlink, self.sync_dir(cx, root)];
        self.begin_plan(cx, dir, stages, Then::Stopped);
    }

    pub(super) fn on_directory_stopped(&mut self, dir: usize) {
        self.dirs[dir].stopped = true;
        self.stopped_when_marked();
    }

    fn stopped_when_marked(&mut self) {
        let all = self
            .dirs
            .iter()
            .all(|directory| directory.stopped || directory.failed.is_some());
        if let Some(shutdown) = self.shutdown.as_mut().filter(|_| all)
            && shutdown.phase != Phase::Done
        {
            shutdown.phase = Phase::Done;
            self.notices.push_back(Notice::Stopped);
        }
    }
}

/// Is nothing of the log under way?
fn is_quiet(log: &Log) -> bool {
    log.in_flight.is_empty()
        && log.busy == 0
        && log.full.is_none()
        && log.synced == log.end
        && !log.epochs_writing
        && !log.removing
        && log
            .segments
            .iter()
            .all(|s| s.creating.is_none() && s.entry_synced)
}
