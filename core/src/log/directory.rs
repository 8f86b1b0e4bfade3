//! One log directory: its clock of durability, sync rounds with their frontier records, and its checkpoint files.
//!
//! A round covers what was written when it began; what is written while it is under way joins the next one (group commit). A
//! round writes its frontier record, then syncs it together with every file it touches, once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::event::Level;
use crate::ids::{DirId, FileId, LogId, Lsn, Offset, Uuid};
use crate::io::{Cx, DiskDone, DiskError, DiskOp};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::wire::Parts;

use super::checkpoint::{self, Key, OffsetsWriter};
use super::frontier;
use super::notice::Notice;
use super::partition_log::State;
use super::plan::{CheckpointKind, Then, may, must};
use super::reserve::Reserve;
use super::segment::name;
use super::start::Start;
use super::store::{Continue, LogStore, Timer, Wait};

/// Logs that one sync round takes: what further ones wait for is the next.
const ROUND_OF_LOGS: usize = 500;
/// Logs that are looked at in one piece of long work.
pub(super) const PIECE_OF_LOGS: usize = 500;

/// One of `log.dirs`.
///
/// `durable < every member of outstanding <= lsn`. While `round` is under way no other begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) root: DirId,
    pub(super) path: String,
    /// `directory.id` of its `meta.properties`.
    pub(super) id: Option<Uuid>,
    /// Why it is out of service.
    pub(super) failed: Option<String>,
    pub(super) start: Option<Box<Start>>,
    pub(super) logs: BTreeSet<LogId>,
    /// The last place that was given out.
    pub(super) lsn: Lsn,
    /// Places whose batches are not ready to be synced.
    pub(super) outstanding: BTreeSet<Lsn>,
    /// Everything up to here survives power loss (of loosely flushed logs: what was synced).
    pub(super) durable: Lsn,
    /// The place of the last round that is over.
    pub(super) last_round: Lsn,
    /// Logs with something to sync.
    pub(super) touched: BTreeSet<LogId>,
    pub(super) round: Option<Round>,
    /// The last log that a round took of more than it could: the next begins behind it.
    round_cursor: Option<LogId>,
    /// Files that are closed when the round is over.
    pub(super) close_after_round: Vec<FileId>,
    pub(super) life: u64,
    pub(super) frontier: Option<FrontierFile>,
    pub(super) next_frontier: Option<FrontierFile>,
    pub(super) last_frontier_number: u64,
    /// Files of earlier lives: they go when every log that they speak of is open.
    pub(super) old_frontiers: Vec<u64>,
    /// Files of this life that the next checkpoint of recovery points replaces.
    pub(super) retired_frontiers: Vec<u64>,
    pub(super) checkpoints: BTreeMap<CheckpointKind, Checkpoint>,
    /// The clean-shutdown marker was there at start.
    pub(super) was_clean: bool,
    /// It is stopped cleanly.
    pub(super) stopped: bool,
    /// What a stop must write found no room: it gets no marker.
    pub(super) unclosed: bool,
    pub(super) reserve: Reserve,
}

/// A frontier file in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrontierFile {
    pub(super) number: u64,
    pub(super) file: FileId,
    /// Where the next record goes.
    pub(super) at: u64,
    /// The file and its entry are durable.
    pub(super) ready: bool,
}

/// A sync round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Its own place on the clock, later than every batch in it and than every earlier round.
    pub(super) place: Lsn,
    /// Durable when it is over.
    pub(super) covers: Lsn,
    /// Each log and how far the round syncs it.
    pub(super) logs: Vec<(LogId, Offset)>,
    pub(super) files: Vec<FileId>,
    /// Where its record is in the frontier file.
    pub(super) record_at: u64,
}

/// A checkpoint file. Those of a life are numbered from 1, the one that it found is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// What it may say of logs that are not there: not opened yet, or gone. (Of the others the logs know themselves.)
    pub(super) former: BTreeMap<Key, Former>,
    /// It must be written (again).
    pub(super) dirty: bool,
    pub(super) build: Option<Build>,
    /// The last one that was begun.
    begun: u64,
    /// The one that is being written.
    pub(super) writing: Option<u64>,
    /// The one that is on disk.
    written: u64,
    /// Logs that wait for what is being written.
    pub(super) serves: BTreeSet<LogId>,
    /// Logs that wait for what is written next.
    pub(super) waits: BTreeSet<LogId>,
    /// Frontier files that go when what is being written is there.
    pub(super) retires: Vec<u64>,
}

/// What a checkpoint file may say of a log that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) offset: Offset,
    /// No later file says it.
    pub(super) until: u64,
}

/// A checkpoint that is put together in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Build {
    at: At,
    file: OffsetsWriter,
    /// Some log is synced beyond its recovery point: the frontier must go on saying so.
    lagging: bool,
}

/// How far a checkpoint is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// Logs that are not there, after this one.
    Former(Option<Key>),
    /// Logs that are there, from this one on.
    Logs(LogId),
}

impl Default for At {
    fn default() -> At {
        At::Former(None)
    }
}

impl Checkpoint {
    /// May the file speak of a log that is not there?
    pub(super) fn knows_former(&self, key: &Key) -> bool {
        let known = self.former.get(key);
        known.is_some_and(|former| former.offset > Offset(0) && former.until >= self.written)
    }

    /// The log `key` is gone: what was written of it may be in the file until another is there.
    fn leave(&mut self, key: Key, offset: Offset) {
        let until = self.begun;
        self.former.insert(key, Former { offset, until });
    }
}

impl Directory {
    pub(super) fn new(root: DirId, path: String) -> Directory {
        Directory {
            root,
            path,
            id: None,
            failed: None,
            start: None,
            logs: BTreeSet::new(),
            lsn: Lsn(0),
            outstanding: BTreeSet::new(),
            durable: Lsn(0),
            last_round: Lsn(0),
            touched: BTreeSet::new(),
            round: None,
            round_cursor: None,
            close_after_round: Vec::new(),
            life: 0,
            frontier: None,
            next_frontier: None,
            last_frontier_number: 0,
            old_frontiers: Vec::new(),
            retired_frontiers: Vec::new(),
            checkpoints: CheckpointKind::ALL
                .into_iter()
                .map(|kind| (kind, Checkpoint::default()))
                .collect(),
            was_clean: false,
            stopped: false,
            unclosed: false,
            reserve: Reserve::default(),
        }
    }

    /// The next place on the clock.
    pub(super) fn take_lsn(&mut self) -> Lsn {
        self.lsn = Lsn(self.lsn.0 + 1);
        self.outstanding.insert(self.lsn);
        self.lsn
    }

    /// Every batch up to this place could be synced now.
    fn ready_lsn(&self) -> Lsn {
        self.outstanding
            .first()
            .map_or(self.lsn, |first| Lsn(first.0 - 1))
    }

    /// The logs of the next round, in turn; true if they are all.
    fn take_touched(&mut self) -> (Vec<LogId>, bool) {
        if self.touched.len() <= ROUND_OF_LOGS {
            self.round_cursor = None;
            return (
                std::mem::take(&mut self.touched).into_iter().collect(),
                true,
            );
        }
        let after = self.round_cursor.map_or(LogId(0), |last| LogId(last.0 + 1));
        let behind = self
            .touched
            .range(after..)
            .chain(self.touched.range(..after));
        let taken: Vec<LogId> = behind.take(ROUND_OF_LOGS).copied().collect();
        for id in &taken {
            self.touched.remove(id);
        }
        self.round_cursor = taken.last().copied();
        (taken, false)
    }

    pub(super) fn checkpoint(&mut self, kind: CheckpointKind) -> &mut Checkpoint {
        self.checkpoints.entry(kind).or_default()
    }
}

/// The file of a kind.
pub(super) fn checkpoint_name(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::RecoveryPoints => checkpoint::RECOVERY_POINTS,
        CheckpointKind::StartOffsets => checkpoint::START_OFFSETS,
        CheckpointKind::HighWatermarks => checkpoint::HIGH_WATERMARKS,
    }
}

impl LogStore {
    /// Takes a log's newly ready batches off the clock and starts a round if there is something to sync.
    pub(super) fn advance_ready(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
            return;
        };
        let directory = &mut self.dirs[log.dir];
        let ready = log.ready();
        while let Some(batch) = log.unsynced.get(log.ready_count) {
            if batch.mark.end > ready {
                break;
            }
            log.ready_count += 1;
            if let Some(lsn) = batch.lsn {
                directory.outstanding.remove(&lsn);
            }
        }
        let waiting = log
            .config
            .flush_messages
            .is_some_and(|limit| ready.0 - log.synced.0 >= limit);
        // Kafka: a roll flushes what was rolled. Retention, the recovery point and open files wait for it.
        let next = log
            .segment_at(log.synced)
            .and_then(|at| log.segments.get(at + 1));
        let rolled = next.is_some_and(|next| next.base <= ready);
        let wanted = !log.config.is_loose() || waiting || rolled || self.shutdown.is_some();
        if ready > log.synced && wanted {
            directory.touched.insert(id);
        } else if let (true, Some(ms), None) =
            (ready > log.synced, log.config.flush_ms, log.flush_at)
        {
            let after = u64::try_from(ms).unwrap_or(0);
            log.flush_at = Some(cx.now.mono + std::time::Duration::from_millis(after));
            self.set_timer(cx, after, Timer::Flush(id));
        }
        let dir = self.logs[id.0 as usize].as_ref().map_or(0, |log| log.dir);
        self.begin_round(cx, dir);
    }

    /// `flush.ms` of a loosely flushed log is over.
    pub(super) fn flush_due(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        log.flush_at = None;
        let dir = log.dir;
        if log.ready() > log.synced {
            self.dirs[dir].touched.insert(id);
            self.begin_round(cx, dir);
        }
    }

    /// Starts a sync round unless one is under way or there is nothing to sync.
    pub(super) fn begin_round(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        if directory.failed.is_some()
            || directory.round.is_some()
            || directory.touched.is_empty()
            || directory.frontier.is_none()
        {
            return;
        }
        if let Some(next) = directory.next_frontier.take_if(|next| next.ready) {
            let old = directory.frontier.replace(next);
            if let Some(old) = old {
                directory.retired_frontiers.push(old.number);
                self.issue(cx, Wait::Ignore, DiskOp::Close { file: old.file });
            }
            cx.out.mark(Mark::FrontierRotated);
            self.want_checkpoint(cx, dir, CheckpointKind::RecoveryPoints, None);
        }
        let directory = &mut self.dirs[dir];
        let (taken, whole) = directory.take_touched();
        // What is left is not durable with this round.
        let covers = if whole {
            directory.ready_lsn()
        } else {
            directory.durable
        };
        directory.lsn = Lsn(directory.lsn.0 + 1);
        let mut round = Round {
            place: directory.lsn,
            covers,
            logs: Vec::new(),
            files: Vec::new(),
            record_at: 0,
        };
        let mut record = frontier::Record {
            lsn: round.place,
            durable: directory.last_round,
            logs: Vec::new(),
        };
        for id in taken {
            let Some(log) = self.logs[id.0 as usize].as_deref() else {
                continue;
            };
            let Some(last) = log.ready_count.checked_sub(1) else {
                continue;
            };
            let mark = log.unsynced[last].mark;
            round.logs.push((id, mark.end));
            round.files.extend(log.files_to_sync(mark.end));
            record.logs.push(((log.topic_id, log.partition), mark));
        }
        if round.logs.is_empty() {
            // There may be others behind them.
            return self.begin_round(cx, dir);
        }
        let directory = &mut self.dirs[dir];
        let Some(frontier) = &mut directory.frontier else {
            return;
        };
        let data = Parts::from(frontier::encode(&record));
        round.record_at = frontier.at;
        frontier.at += data.len() as u64;
        let op = DiskOp::Write {
            file: frontier.file,
            at: round.record_at,
            data,
        };
        round.files.push(frontier.file);
        directory.round = Some(round);
        self.issue(cx, Wait::Record(dir), op);
    }

    pub(super) fn on_round_recorded(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        result: Result<DiskDone, DiskError>,
    ) {
        if self.dirs[dir].failed.is_some() {
            return;
        }
        match result {
            Ok(_) => {}
            // Without its record the round's data is as durable; only rot in it would pass for a torn tail.
            Err(DiskError::Full) => {
                self.no_room(cx, dir, DiskError::Full);
                let directory = &mut self.dirs[dir];
                if let (Some(frontier), Some(round)) = (&mut directory.frontier, &directory.round) {
                    frontier.at = round.record_at;
                }
            }
            Err(error) => {
                self.fence(cx, dir, format!("writing the durable frontier: {error}"));
                return;
            }
        }
        let directory = &self.dirs[dir];
        let Some(round) = &directory.round else {
            return;
        };
        let op = DiskOp::Sync {
            root: directory.root,
            files: round.files.clone(),
        };
        self.issue(cx, Wait::Round(dir), op);
    }

    pub(super) fn on_round_synced(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        result: Result<DiskDone, DiskError>,
    ) {
        if self.dirs[dir].failed.is_some() {
            return;
        }
        if let Err(error) = result {
            self.fence(cx, dir, format!("a sync: {error}"));
            return;
        }
        let directory = &mut self.dirs[dir];
        let Some(round) = &mut directory.round else {
            return;
        };
        let logs = std::mem::take(&mut round.logs);
        directory.durable = directory.durable.max(round.covers);
        directory.last_round = round.place;
        if logs.len() > 1 {
            cx.out.mark(Mark::GroupCommit);
        }
        // The round is over when all its logs know: the next one would else name files that a later log of this one closes.
        for (id, end) in logs {
            self.log_synced(cx, id, end);
        }
        self.dirs[dir].round = None;
        for file in std::mem::take(&mut self.dirs[dir].close_after_round) {
            self.issue(cx, Wait::Ignore, DiskOp::Close { file });
        }
        let rotate = self.dirs[dir]
            .frontier
            .is_some_and(|file| file.at > self.config.frontier_bytes);
        if rotate && self.dirs[dir].next_frontier.is_none() && self.shutdown.is_none() {
            self.rotate_frontier(cx, dir);
        }
        self.begin_round(cx, dir);
        self.go_on_shutdown(cx);
    }

    /// Closes a file, when the round is over if it is in one.
    pub(super) fn close_file(&mut self, cx: &mut Cx<'_>, dir: usize, file: FileId) {
        let directory = &mut self.dirs[dir];
        let in_round = directory
            .round
            .as_ref()
            .is_some_and(|round| round.files.contains(&file));
        if in_round {
            directory.close_after_round.push(file);
        } else {
            self.issue(cx, Wait::Ignore, DiskOp::Close { file });
        }
    }

    fn log_synced(&mut self, cx: &mut Cx<'_>, id: LogId, end: Offset) {
        let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
            return;
        };
        if end > log.end || matches!(log.state, State::Offline(_) | State::Deleting) {
            return;
        }
        log.synced = log.synced.max(end);
        while log.unsynced.front().is_some_and(|b| b.mark.end <= end) {
            log.unsynced.pop_front();
            log.ready_count = log.ready_count.saturating_sub(1);
        }
        if log.promised < log.synced {
            log.promised = log.synced;
            if !matches!(log.state, State::Opening(_)) {
                self.notices.push_back(Notice::Durable(id, end));
            }
        }
        self.let_hot_go(id);
        self.close_synced_segments(cx, id);
        self.advance_ready(cx, id);
        self.open_when_synced(cx, id);
    }

    /// Creates the next frontier file; rounds go to it once it is there for certain.
    fn rotate_frontier(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let stages = self.frontier_stages(cx, dir, Vec::new());
        self.begin_plan(cx, dir, stages, Then::FrontierReady);
    }

    /// The stages that make a new frontier file, which becomes `next_frontier`; `first` goes before.
    pub(super) fn frontier_stages(
        &mut self,
        cx: &Cx<'_>,
        dir: usize,
        mut first: Vec<super::plan::Step>,
    ) -> Vec<Vec<super::plan::Step>> {
        let file = self.fresh_file();
        let boot_id = self.boot_id;
        let directory = &mut self.dirs[dir];
        directory.last_frontier_number += 1;
        let number = directory.last_frontier_number;
        directory.next_frontier = Some(FrontierFile {
            number,
            file,
            at: frontier::HEADER_LEN as u64,
            ready: false,
        });
        let root = directory.root;
        let header = frontier::encode_header(directory.life, number, boot_id);
        let file_name = name(frontier::name(number));
        first.push(may(DiskOp::Unlink {
            dir: root,
            name: file_name.clone(),
        }));
        first.push(must(DiskOp::Create {
            dir: root,
            name: file_name,
            file,
        }));
        vec![
            first,
            vec![must(DiskOp::Write {
                file,
                at: 0,
                data: Parts::from(header),
            })],
            // What is in it the first round syncs, which is the first to need it.
            self.sync_dir(cx, root),
        ]
    }

    pub(super) fn on_frontier_ready(&mut self, cx: &mut Cx<'_>, dir: usize) {
        if let Some(file) = &mut self.dirs[dir].next_frontier {
            file.ready = true;
        }
        self.begin_round(cx, dir);
    }

    /// No room for another frontier file: the present one goes on growing.
    pub(super) fn on_no_frontier(&mut self, cx: &mut Cx<'_>, dir: usize) {
        self.dirs[dir].next_frontier = None;
        self.begin_round(cx, dir);
    }

    /// Has a checkpoint file written; `waits` is told when what holds now is on disk.
    pub(super) fn want_checkpoint(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        kind: CheckpointKind,
        waits: Option<LogId>,
    ) {
        let directory = &mut self.dirs[dir];
        if directory.failed.is_some() {
            return;
        }
        let checkpoint = directory.checkpoint(kind);
        checkpoint.waits.extend(waits);
        checkpoint.dirty = true;
        self.build_checkpoints(cx, dir);
    }

    /// Goes on putting together the checkpoint files of a directory that are wanted.
    pub(super) fn build_checkpoints(&mut self, cx: &mut Cx<'_>, dir: usize) {
        for kind in CheckpointKind::ALL {
            self.build_checkpoint(cx, dir, kind);
        }
    }

    fn build_checkpoint(&mut self, cx: &mut Cx<'_>, dir: usize, kind: CheckpointKind) {
        let directory = &mut self.dirs[dir];
        if directory.failed.is_some() {
            return;
        }
        let retired = &mut directory.retired_frontiers;
        let checkpoint = directory.checkpoints.entry(kind).or_default();
        if cx.mutants.has(Mutant::RetireFrontierTooSoon) && kind == CheckpointKind::RecoveryPoints {
            checkpoint.retires.append(retired);
        }
        if checkpoint.writing.is_some() || !(checkpoint.dirty || checkpoint.build.is_some()) {
            return;
        }
        let mut build = checkpoint.build.take().unwrap_or_else(|| {
            checkpoint.dirty = false;
            checkpoint.serves = std::mem::take(&mut checkpoint.waits);
            checkpoint.begun += 1;
            // What is retired from now on may prove more than this file will say.
            if kind == CheckpointKind::RecoveryPoints {
                checkpoint.retires.append(retired);
            }
            Build::default()
        });
        let more = self.add_former(dir, kind, &mut build)
            || self.add_logs(dir, kind, &mut build, cx.mutants);
        let directory = &mut self.dirs[dir];
        let checkpoint = directory.checkpoint(kind);
        if more {
            checkpoint.build = Some(build);
            self.continues.insert(Continue::Checkpoints(dir));
            return;
        }
        checkpoint.writing = Some(checkpoint.begun);
        if build.lagging {
            let kept = std::mem::take(&mut checkpoint.retires);
            directory.retired_frontiers.extend(kept);
        }
        let root = directory.root;
        let file = name(checkpoint_name(kind));
        let stages = self.replacement(cx, dir, root, &file, build.file.finish());
        self.begin_plan(cx, dir, stages, Then::Checkpointed(kind));
    }

    /// Goes over a piece of what an earlier file says of logs that are not there: what is still to be opened stays in the file, what was
    /// replaced is forgotten. True if there may be more.
    fn add_former(&mut self, dir: usize, kind: CheckpointKind, build: &mut Build) -> bool {
        let At::Former(after) = &mut build.at else {
            return false;
        };
        let directory = &mut self.dirs[dir];
        let starts = directory.start.is_some();
        let checkpoint = directory.checkpoint(kind);
        let from = after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = checkpoint.former.range((from, Bound::Unbounded));
        let keys: Vec<Key> = rest
            .take(PIECE_OF_LOGS)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            let Some(former) = checkpoint.former.get_mut(key) else {
                continue;
            };
            if starts {
                former.until = checkpoint.begun;
                build.file.add(&key.0, key.1, former.offset);
            } else if former.until < checkpoint.written {
                checkpoint.former.remove(key);
            }
        }
        let more = keys.len() == PIECE_OF_LOGS;
        build.at = match keys.last() {
            Some(last) if more => At::Former(Some(last.clone())),
            _ => At::Logs(LogId(0)),
        };
        more
    }

    /// Adds the lines of the next logs; true if there may be more.
    fn add_logs(
        &mut self,
        dir: usize,
        kind: CheckpointKind,
        build: &mut Build,
        mutants: Mutants,
    ) -> bool {
        let At::Logs(from) = build.at else {
            return false;
        };
        let logs = self.dirs[dir].logs.range(from..);
        let piece: Vec<LogId> = logs.take(PIECE_OF_LOGS).copied().collect();
        for &id in &piece {
            let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
                continue;
            };
            let offset = match (&log.state, kind) {
                (State::Deleting, _) => None,
                // What went offline was synced as far as it was: the frontier files that prove it may be retired with this file.
                (State::Offline(_), CheckpointKind::RecoveryPoints)
                    if !mutants.has(Mutant::ForgetSyncedWhenOffline) =>
                {
                    let point = log.recovery_point(mutants);
                    build.lagging |= point < log.synced;
                    log.checkpointed[kind as usize].max(Some(point))
                }
                // What is not open keeps what was known of it.
                (State::Opening(_) | State::Offline(_), _) => log.checkpointed[kind as usize],
                (_, CheckpointKind::RecoveryPoints) => {
                    let point = log.recovery_point(mutants);
                    build.lagging |= point < log.synced;
                    Some(point)
                }
                (_, CheckpointKind::StartOffsets) => {
                    // The name of the first segment tells it, once none before it can come back.
                    let named = match mutants.has(Mutant::ForgetStartWhileRemoving) {
                        false => log.first_base,
                        true => log.segments.first().map_or(Offset(0), |s| s.base),
                    };
                    (log.start > named).then_some(log.start)
                }
                (_, CheckpointKind::HighWatermarks) => Some(log.high_watermark),
            };
            if let Some(offset) = offset {
                build.file.add(&log.topic, log.partition, offset);
            }
            if !matches!(log.state, State::Deleting) {
                log.checkpointed[kind as usize] = offset;
            }
        }
        if let Some(last) = piece.last() {
            build.at = At::Logs(LogId(last.0 + 1));
        }
        piece.len() == PIECE_OF_LOGS
    }

    /// A log leaves: what was written of it may be in the checkpoint files until others are there.
    pub(super) fn leave_checkpoints(&mut self, id: LogId) {
        let Some(log) = self.logs[id.0 as usize].as_deref() else {
            return;
        };
        let directory = &mut self.dirs[log.dir];
        for kind in CheckpointKind::ALL {
            let mut written = log.checkpointed[kind as usize];
            if kind == CheckpointKind::StartOffsets {
                // A file that leaves the start out may be on its way only.
                written = written.max(Some(log.start));
            }
            if let Some(offset) = written.filter(|offset| *offset > Offset(0)) {
                let key = (log.topic.clone(), log.partition);
                directory.checkpoint(kind).leave(key, offset);
            }
        }
    }

    pub(super) fn on_checkpointed(&mut self, cx: &mut Cx<'_>, dir: usize, kind: CheckpointKind) {
        let directory = &mut self.dirs[dir];
        let root = directory.root;
        let checkpoint = directory.checkpoint(kind);
        if let Some(written) = checkpoint.writing.take() {
            checkpoint.written = written;
        }
        let served = std::mem::take(&mut checkpoint.serves);
        let retired = std::mem::take(&mut checkpoint.retires);
        for number in retired {
            let op = DiskOp::Unlink {
                dir: root,
                name: name(frontier::name(number)),
            };
            self.issue(cx, Wait::Ignore, op);
        }
        for id in served {
            self.on_checkpoint_served(cx, id, kind);
        }
        self.build_checkpoints(cx, dir);
        self.go_on_shutdown(cx);
    }

    /// No room: tried again when checkpoints are next due.
    pub(super) fn on_not_checkpointed(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        kind: CheckpointKind,
    ) {
        let message = format!(
            "{} is full: {} could not be written",
            self.dirs[dir].path,
            checkpoint_name(kind)
        );
        self.note(cx, Level::Warn, message);
        let checkpoint = self.dirs[dir].checkpoint(kind);
        checkpoint.writing = None;
        let served = std::mem::take(&mut checkpoint.serves);
        checkpoint.waits.extend(served);
        if self.shutdown.is_some() {
            self.go_on_shutdown(cx);
        }
    }

    fn on_checkpoint_served(&mut self, cx: &mut Cx<'_>, id: LogId, kind: CheckpointKind) {
        let Some(log) = self.log_mut(id) else { return };
        if matches!(log.state, State::Creating(_)) {
            self.on_namesake_forgotten(cx, id);
        } else if kind == CheckpointKind::StartOffsets {
            // It may have moved on since the file was put together.
            let said = log.checkpointed[kind as usize].unwrap_or_default();
            log.durable_start = log.durable_start.max(said);
            let start = match cx.mutants.has(Mutant::TellStartBeforeCheckpoint) {
                false => log.durable_start,
                true => log.start,
            };
            self.notices.push_back(Notice::StartMoved(id, start));
            self.apply_retention(cx, id);
        }
    }

    /// The regular writing of all checkpoint files.
    pub(super) fn checkpoints_due(&mut self, cx: &mut Cx<'_>) {
        for dir in 0..self.dirs.len() {
            if self.dirs[dir].frontier.is_none() || self.dirs[dir].failed.is_some() {
                continue;
            }
            for kind in CheckpointKind::ALL {
                self.want_checkpoint(cx, dir, kind, None);
            }
        }
        let every = self.config.checkpoint_interval_ms;
        self.set_timer(cx, every, Timer::Checkpoint);
    }
}
