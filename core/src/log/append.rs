//! Appending: producer rules, offsets, rolling, the write, and what its completion makes true.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, LogId, Offset};
use crate::io::{Cx, DiskDone, DiskError, DiskOp};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::wire::Parts;
use crate::wire::batch::{BatchHeader, PREFIX_LEN, prefix};

use super::checkpoint;
use super::config::BATCH_MAX;
use super::directory::Directory;
use super::frontier;
use super::notice::{Append, AppendError, Appended, Notice, Origin, has_producer};
use super::opening::Phase;
use super::partition_log::{HotBatch, InFlight, Log, State, Unsynced, Write};
use super::plan::{Step, Then, may, must};
use super::segment::{QueuedWrite, Segment, file_name, name};
use super::store::{LogStore, Wait};

/// A slice this small is copied out of its frame, which it would otherwise keep in memory.
const COPY_BELOW: usize = 2048;
/// Batches that leave memory in one go, at most.
const TRIM_PIECE: usize = 1000;

impl LogStore {
    /// Appends a batch: it has its offsets when this returns; [`Notice::Written`] and [`Notice::Durable`] follow.
    ///
    /// # Errors
    /// As [`AppendError`] says; nothing has changed then.
    pub fn append(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        append: Append,
    ) -> Result<Appended, AppendError> {
        let Append {
            batch,
            epoch,
            origin,
        } = append;
        self.has_room(id, origin)?;
        let log = self.appendable(id, cx.mutants)?;
        let size = PREFIX_LEN + batch.body.len();
        let limit = log.config.segment_bytes.min(BATCH_MAX);
        if size > limit as usize {
            return Err(AppendError::TooLarge { size, limit });
        }
        if has_producer(&batch.header) {
            let checked = log.producers.check(&batch.header, batch.marker, origin);
            match checked {
                Ok(None) => {}
                Ok(Some(known)) => {
                    cx.out.mark(Mark::DuplicateBatch);
                    return Ok(Appended {
                        base: known.base(),
                        last: known.last_offset,
                        // Kafka: the greatest time of the remembered batch, whoever set it.
                        log_append_time: known.timestamp,
                        lsn: self.dirs[self.log_dir(id)].lsn,
                        duplicate: true,
                    });
                }
                Err(error) => {
                    cx.out.mark(match error {
                        AppendError::InvalidProducerEpoch { .. } => Mark::ProducerFenced,
                        _ => Mark::OutOfOrderSequence,
                    });
                    return Err(error);
                }
            }
        }
        let base = log.end;
        let header = BatchHeader {
            base_offset: base,
            leader_epoch: epoch,
            ..batch.header
        };
        let last = header.last_offset();
        let now = cx.now.wall;
        let full = log.segments.last().is_some_and(|active| {
            let age_max = active.age_max_ms(&log.config, cx.rng, id);
            active.must_roll(&log.config, age_max, size, header.max_timestamp, last, now)
        });
        if full {
            self.roll(cx, id);
        }
        let log = self.appendable(id, cx.mutants)?;
        let news = log.assign_epoch(epoch, base);
        let undo = has_producer(&header).then(|| log.producers.apply(&header, base, batch.marker));
        let interval = log.config.index_interval_bytes;
        let loose = log.config.is_loose();
        let dir = log.dir;
        let segment = log.active();
        let position = segment.push(&header, interval, now, cx.mutants);
        let segment_base = segment.base;
        let lsn = (!loose).then(|| self.dirs[dir].take_lsn());

        let mut parts = Parts::from(Bytes::copy_from_slice(&prefix(base, header.length, epoch)));
        parts.push(if batch.body.len() < COPY_BELOW {
            Bytes::copy_from_slice(&batch.body)
        } else {
            batch.body
        });
        self.hot_count += 1;
        let nth = self.hot_count;
        let log = self.appendable(id, cx.mutants)?;
        log.end = last.next();
        log.in_flight.push_back(InFlight {
            base,
            last,
            segment: segment_base,
            position,
            write: Write::UnderWay,
            lsn,
            mark: frontier::Mark {
                end: last.next(),
                epoch,
                crc: header.crc,
            },
            undo,
        });
        log.hot.push_back(HotBatch {
            nth,
            base,
            last,
            max_timestamp: header.max_timestamp,
            epoch,
            parts: parts.clone(),
        });
        self.hot_bytes += parts.len() as u64;
        self.write_batch(cx, id, last, position, parts);
        self.trim_hot();
        if news {
            self.write_epochs(cx, id);
        }
        Ok(Appended {
            base,
            last,
            log_append_time: batch.log_append_time,
            lsn: self.dirs[dir].lsn,
            duplicate: false,
        })
    }

    /// The log of `id` if it takes appends.
    fn appendable(&mut self, id: LogId, mutants: Mutants) -> Result<&mut Log, AppendError> {
        let stopping = self.shutdown.is_some();
        if let Some(message) = self.directory_failure(id)
            && !mutants.has(Mutant::AppendToFailedDirectory)
        {
            return Err(AppendError::Offline(message.to_owned()));
        }
        let Some(log) = self.log_mut(id) else {
            return Err(AppendError::Offline("the log was deleted".to_owned()));
        };
        match (&log.state, &log.full) {
            (State::Online, _) if stopping => Err(AppendError::Stopping),
            (State::Online, None) => Ok(log),
            (State::Online, Some(message)) => Err(AppendError::Full(message.clone())),
            (State::Offline(message), _) => Err(AppendError::Offline(message.clone())),
            (State::Creating(_) | State::Opening(_), _) => {
                Err(AppendError::Offline("the log is not open yet".to_owned()))
            }
            (State::Closed, _) => Err(AppendError::Stopping),
            (State::Deleting, _) => Err(AppendError::Offline("the log was deleted".to_owned())),
        }
    }

    /// On a full disk clients are refused: the reserve is not for them.
    fn has_room(&self, id: LogId, origin: Origin) -> Result<(), AppendError> {
        let dir = self.log(id).map(|log| &self.dirs[log.dir]);
        match dir.and_then(|dir| dir.reserve.full.as_ref()) {
            Some(message) if origin == Origin::Client => Err(AppendError::Full(message.clone())),
            Some(_) | None => Ok(()),
        }
    }

    fn log_dir(&self, id: LogId) -> usize {
        self.log(id).map_or(0, |log| log.dir)
    }

    fn write_batch(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        last: Offset,
        position: u32,
        data: Parts,
    ) {
        let Some(log) = self.log_mut(id) else { return };
        let segment = log.active();
        if let Some(queue) = &mut segment.creating {
            queue.push(QueuedWrite {
                last,
                position,
                data,
            });
        } else if let Some(file) = segment.file {
            let op = DiskOp::Write {
                file,
                at: u64::from(position),
                data,
            };
            self.issue(cx, Wait::Append(id, last), op);
        }
    }

    /// Forgets the oldest batches in memory beyond the budget; what is not durable yet stays, and keeps no other log's batches there.
    pub(super) fn trim_hot(&mut self) {
        for _ in 0..TRIM_PIECE {
            if self.hot_bytes <= self.config.hot_bytes {
                return;
            }
            let Some((_, id)) = self.hot_order.pop_first() else {
                return;
            };
            let Some(log) = self.log_mut(id) else {
                continue;
            };
            let Some(batch) = log.hot.pop_front() else {
                continue;
            };
            if let Some(at) = log.segment_at(batch.base) {
                log.segments[at].settle(batch.max_timestamp, batch.last);
            }
            self.hot_bytes -= batch.parts.len() as u64;
            self.let_hot_go(id);
        }
    }

    /// Lets the oldest batch of a log in memory be forgotten when its turn comes, if it is durable.
    pub(super) fn let_hot_go(&mut self, id: LogId) {
        let Some(log) = self.log(id) else { return };
        if let Some(oldest) = log.hot.front().filter(|batch| batch.last < log.promised) {
            let turn = (oldest.nth, id);
            self.hot_order.insert(turn);
        }
    }

    pub(super) fn on_append_written(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        last: Offset,
        result: Result<DiskDone, DiskError>,
    ) {
        if self.directory_failure(id).is_some() {
            return;
        }
        let Some(log) = self.log_mut(id) else { return };
        if matches!(log.state, State::Offline(_) | State::Deleting) {
            return;
        }
        let dir = log.dir;
        let at = log.in_flight.partition_point(|batch| batch.last < last);
        let Some(batch) = log.in_flight.get_mut(at).filter(|b| b.last == last) else {
            return;
        };
        match result {
            Ok(_) => batch.write = Write::Done,
            Err(DiskError::Full) => {
                if self.waits_with_write(id, last) {
                    return self.no_room(cx, dir, DiskError::Full);
                }
                if let Some(batch) = self.log_mut(id).and_then(|log| log.in_flight.get_mut(at)) {
                    batch.write = Write::Failed;
                }
                self.disk_full(cx, id);
            }
            Err(error) => {
                let name = log.name();
                self.fence(cx, dir, format!("a write to {name}: {error}"));
                return;
            }
        }
        self.advance_written(cx, id);
    }

    /// Tells what is written now, and hands it to the sync rounds.
    fn advance_written(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        let before = log.written;
        while let Some(batch) = log.in_flight.front() {
            if batch.write != Write::Done {
                break;
            }
            log.written = batch.last.next();
            let unsynced = Unsynced {
                lsn: batch.lsn,
                mark: batch.mark,
            };
            log.unsynced.push_back(unsynced);
            log.in_flight.pop_front();
        }
        let written = log.written;
        if written > before {
            let at_once = log.config.is_loose() || cx.mutants.has(Mutant::AckBeforeSync);
            if at_once {
                log.promised = written;
            }
            self.notices.push_back(Notice::Written(id, written));
            if at_once {
                self.notices.push_back(Notice::Durable(id, written));
                self.let_hot_go(id);
            }
            self.advance_ready(cx, id);
        }
        self.roll_back_if_settled(cx, id);
        self.go_on_shutdown(cx);
    }

    fn disk_full(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let dir = self.log_dir(id);
        self.no_room(cx, dir, DiskError::Full);
        let Directory { path, reserve, .. } = &self.dirs[dir];
        let full = || format!("{path} is full: the batch was not appended");
        let message = reserve.full.clone().unwrap_or_else(full);
        if let Some(log) = self.log_mut(id) {
            log.full.get_or_insert(message);
        }
    }

    /// Once every write of a log whose disk was full is back, takes back the appends from the first failure on. An active segment
    /// whose file found no room is made before anything is appended.
    fn roll_back_if_settled(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        let settled = log
            .in_flight
            .iter()
            .all(|batch| batch.write != Write::UnderWay)
            && log.segments.iter().all(|s| s.creating.is_none());
        if !settled || log.full.is_none() {
            return;
        }
        let (end, segment_base, position) = match (log.in_flight.front(), log.segments.last()) {
            (Some(first), _) => (first.base, first.segment, first.position),
            // Nothing was appended to the segment that could not be made.
            (None, Some(active)) if active.file.is_none() => (log.end, active.base, active.size),
            // The tail is being cut.
            (None, _) => return,
        };
        let lost = !log.in_flight.is_empty();
        let lsns: Vec<_> = log.in_flight.iter().filter_map(|batch| batch.lsn).collect();
        let message = log.full.clone().unwrap_or_default();
        while let Some(batch) = log.in_flight.pop_back() {
            let undo = batch
                .undo
                .filter(|_| !cx.mutants.has(Mutant::KeepRefusedSequence));
            if let Some(undo) = undo {
                log.producers.undo(undo);
            }
        }
        let mut dropped = 0;
        while let Some(batch) = log.hot.pop_back_if(|batch| batch.base >= end) {
            dropped += batch.parts.len() as u64;
        }
        log.end = end;
        if log.epochs.truncate_end(end) {
            log.epochs_changed(end);
        }
        let gone: Vec<Segment> = log
            .segments
            .extract_if(.., |segment| segment.base > segment_base)
            .collect();
        let keep: Vec<Offset> = log.snapshots.iter().copied().filter(|s| *s > end).collect();
        let mut unlink = Vec::new();
        let (dir, handle) = (log.dir, log.handle);
        for snapshot in keep {
            log.snapshots.remove(&snapshot);
            unlink.push(file_name(snapshot, ".snapshot"));
        }
        let mut close = Vec::new();
        for segment in gone {
            close.extend(segment.file);
            for suffix in [".log", ".index", ".timeindex"] {
                unlink.push(segment.name(suffix));
            }
        }
        let hot: Vec<(i64, Offset)> = log.hot.iter().map(|b| (b.max_timestamp, b.last)).collect();
        let active = log.active();
        active.size = position;
        active.sealed = false;
        active.forget_from(end, &hot);
        let mut stages: Vec<Vec<Step>> = vec![
            unlink
                .into_iter()
                .map(|name| may(DiskOp::Unlink { dir: handle, name }))
                .collect(),
        ];
        if let Some(file) = active.file {
            stages.push(vec![must(DiskOp::Truncate {
                file,
                len: u64::from(position),
            })]);
            // A cut that power loss could undo below later segments would pass for rot, and a segment that came back would hide what
            // is promised in its place.
            let mut stage = vec![self.sync_file(dir, file)];
            if !cx.mutants.has(Mutant::KeepRolledBackSegment) {
                stage.extend(self.sync_dir(cx, handle));
            }
            stages.push(stage);
        } else {
            let file = self.fresh_file();
            let Some(log) = self.log_mut(id) else { return };
            let active = log.active();
            active.file = Some(file);
            active.creating = Some(Vec::new());
            stages.push(vec![must(DiskOp::Create {
                dir: handle,
                name: active.name(".log"),
                file,
            })]);
            stages.push(self.sync_dir(cx, handle));
        }
        self.hot_bytes -= dropped;
        for lsn in lsns {
            self.dirs[dir].outstanding.remove(&lsn);
        }
        for file in close {
            self.close_file(cx, dir, file);
        }
        if lost {
            self.notices
                .push_back(Notice::AppendsLost(id, end, message));
        }
        self.begin_plan(cx, dir, stages, Then::RolledBack(id));
        if !cx.mutants.has(Mutant::SealTwiceAtOnce) {
            self.give_up_sealing(cx, id, segment_base);
        }
    }

    /// A segment that is active again has no snapshot behind it: what its roll still had to write stays aside, and the next roll
    /// must not find it under way.
    fn give_up_sealing(&mut self, cx: &mut Cx<'_>, id: LogId, base: Offset) {
        let sealing = Then::Sealed(id, base);
        let plans = self.plans.iter_mut().filter(|(_, p)| p.then == sealing);
        let waiting: Vec<u64> = plans
            .filter_map(|(at, plan)| {
                plan.then = Then::GivenUp(id);
                plan.stages.clear();
                (plan.waiting > 0).then_some(*at)
            })
            .collect();
        for plan in waiting {
            self.give_up_plan(cx, plan);
        }
    }

    /// The failed tail is gone: appends are taken again, and fail again while the disk is full.
    pub(super) fn on_rolled_back(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let (cut, sealing) = (Then::RolledBack(id), Then::GivenUp(id));
        let mut plans = self.plans.values();
        if plans.any(|plan| plan.then == cut || plan.then == sealing) {
            return;
        }
        let Some(log) = self.log_mut(id) else { return };
        if matches!(log.state, State::Closed | State::Offline(_)) || log.full.is_none() {
            return self.go_on_shutdown(cx);
        }
        log.full = None;
        if !matches!(log.state, State::Deleting) {
            let active = log.active();
            active.entry_synced |= active.creating.take().is_some();
        }
        self.advance_ready(cx, id);
        self.write_epochs(cx, id);
        self.apply_retention(cx, id);
        self.go_on_shutdown(cx);
    }

    /// There was no room for the file of the active segment, and no time to wait for some.
    pub(super) fn on_not_rolled_back(&mut self, cx: &mut Cx<'_>, dir: usize, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        let unmade = log.segments.last_mut().filter(|s| s.creating.is_some());
        if let Some(active) = unmade {
            active.file = None;
            active.creating = None;
        }
        if log.is_online() {
            log.state = State::Closed;
            self.on_not_closed(cx, dir, Then::RolledBack(id));
        }
    }

    /// Begins a new segment at the log's end and seals the active one.
    pub(super) fn roll(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let file = self.fresh_file();
        let Some(log) = self.log_mut(id).filter(|log| log.full.is_none()) else {
            return;
        };
        let (dir, handle, base) = (log.dir, log.handle, log.end);
        let old = log.active();
        old.finish_index(cx.mutants);
        let old_base = old.base;
        log.segments.push(Segment::new(base, file, cx.now.wall));
        cx.out.mark(Mark::SegmentRolled);
        let create = must(DiskOp::Create {
            dir: handle,
            name: file_name(base, ".log"),
            file,
        });
        self.begin_plan(cx, dir, [vec![create]], Then::SegmentCreated(id, base));
        let snapshot = self.log(id).and_then(Log::state_at_active);
        self.seal(cx, id, old_base, snapshot);
    }

    /// Writes the indexes of a rolled segment, and the producer state at its end if it is given.
    pub(super) fn seal(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        base: Offset,
        snapshot: Option<(Offset, Bytes)>,
    ) {
        let Some(log) = self.log_mut(id) else { return };
        let (dir, handle) = (log.dir, log.handle);
        let next = log.segments.iter().find(|segment| segment.base > base);
        let next = next.map(|segment| segment.base);
        let Some(segment) = log.segment_mut(base) else {
            return;
        };
        let Some(index) = &segment.index else { return };
        let mut files = vec![
            (segment.name(".index"), Bytes::from(index.encode_offsets())),
            (
                segment.name(".timeindex"),
                Bytes::from(index.encode_times()),
            ),
        ];
        if let Some((end, state)) = snapshot.filter(|(end, _)| next == Some(*end)) {
            log.snapshots.insert(end);
            files.push((file_name(end, ".snapshot"), state));
        }
        // A rebuilt segment may be below the recovery point, where a torn index would be believed: aside, always.
        let stages = self.replacements(cx, dir, handle, files);
        self.begin_plan(cx, dir, stages, Then::Sealed(id, base));
    }

    pub(super) fn on_sealed(&mut self, cx: &mut Cx<'_>, id: LogId, base: Offset) {
        let Some(log) = self.log_mut(id) else { return };
        let last = log.segments.last().map(|segment| segment.base);
        if let Some(segment) = log.segment_mut(base).filter(|_| last != Some(base)) {
            segment.sealed = true;
        }
        self.close_synced_segments(cx, id);
        self.apply_retention(cx, id);
        self.go_on_shutdown(cx);
    }

    /// Closes the files of rolled segments whose content is durable.
    pub(super) fn close_synced_segments(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id).filter(|log| log.readers.is_empty()) else {
            return;
        };
        let (dir, synced) = (log.dir, log.synced);
        let mut close = Vec::new();
        for at in (0..log.segments.len().saturating_sub(1)).rev() {
            let end = log.segment_end(at);
            let segment = &mut log.segments[at];
            if segment.sealed && end <= synced {
                match (segment.file.take(), segment.index.take()) {
                    (None, None) => break,
                    (file, _) => close.extend(file),
                }
            }
        }
        for file in close {
            self.close_file(cx, dir, file);
        }
    }

    /// A new segment's file exists: what waited for it is written, and its entry is made durable.
    pub(super) fn on_segment_created(&mut self, cx: &mut Cx<'_>, id: LogId, base: Offset) {
        let Some(log) = self.log_mut(id) else { return };
        let (dir, handle) = (log.dir, log.handle);
        let Some(segment) = log.segment_mut(base) else {
            return;
        };
        let queue = segment.creating.take().unwrap_or_default();
        let file = segment.file;
        if matches!(log.state, State::Deleting) {
            return;
        }
        for write in queue {
            if let Some(file) = file {
                let op = DiskOp::Write {
                    file,
                    at: u64::from(write.position),
                    data: write.data,
                };
                self.issue(cx, Wait::Append(id, write.last), op);
            }
        }
        let stages = [self.sync_dir(cx, handle)];
        self.begin_plan(cx, dir, stages, Then::EntriesSynced(id, base));
        self.roll_back_if_settled(cx, id);
    }

    /// There was no room for a new segment: its appends are lost.
    pub(super) fn on_segment_not_created(&mut self, cx: &mut Cx<'_>, id: LogId, base: Offset) {
        self.disk_full(cx, id);
        let Some(log) = self.log_mut(id) else { return };
        if let Some(segment) = log.segment_mut(base) {
            segment.file = None;
            segment.creating = None;
        }
        for batch in log.in_flight.iter_mut().filter(|b| b.segment == base) {
            batch.write = Write::Failed;
        }
        self.advance_written(cx, id);
    }

    pub(super) fn on_entries_synced(&mut self, cx: &mut Cx<'_>, id: LogId, base: Offset) {
        let Some(log) = self.log_mut(id) else { return };
        for segment in &mut log.segments {
            if segment.base <= base && segment.creating.is_none() {
                segment.entry_synced = true;
            }
        }
        let told = log.durable_start;
        if !log.removing {
            log.settle_first_base();
        }
        let start = log.durable_start;
        if start > told {
            self.notices.push_back(Notice::StartMoved(id, start));
        }
        self.advance_ready(cx, id);
        self.apply_retention(cx, id);
        self.go_on_shutdown(cx);
    }

    /// A leader's epoch begins at the log's end, before its first batch. KIP-101.
    pub fn begin_epoch(&mut self, cx: &mut Cx<'_>, id: LogId, epoch: LeaderEpoch) {
        let Some(log) = self.log_mut(id).filter(|log| log.is_online()) else {
            return;
        };
        let end = log.end;
        if log.assign_epoch(epoch, end) {
            self.write_epochs(cx, id);
        }
    }

    /// Writes the leader epochs unless they are on disk or on the way.
    pub(super) fn write_epochs(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        let online = match &log.state {
            State::Online | State::Closed => true,
            State::Opening(opening) => opening.phase == Phase::Syncing,
            State::Creating(_) | State::Offline(_) | State::Deleting => false,
        };
        if log.epochs_writing || log.epochs_synced == log.epochs_version || !online {
            return;
        }
        log.epochs_writing = true;
        let (dir, handle, version) = (log.dir, log.handle, log.epochs_version);
        let content = Bytes::from(checkpoint::encode_epochs(log.epochs.entries()));
        let stages = self.replacement(cx, dir, handle, &name(checkpoint::LEADER_EPOCHS), content);
        self.begin_plan(cx, dir, stages, Then::EpochsSynced(id, version));
    }

    pub(super) fn on_epochs_synced(&mut self, cx: &mut Cx<'_>, id: LogId, version: u64) {
        let Some(log) = self.log_mut(id) else { return };
        log.epochs_writing = false;
        log.epochs_synced = version;
        if log.epochs_synced == log.epochs_version {
            log.epochs_pending_from = None;
        } else {
            self.write_epochs(cx, id);
        }
        self.open_when_synced(cx, id);
        self.go_on_shutdown(cx);
    }
}
