//! Retention by time and size, and DeleteRecords. Kafka's `UnifiedLog.deleteOldSegments`; KIP-107.
//!
//! A segment goes from the front of the log only, whole, and only below the high watermark; its files get the suffix `.deleted` at
//! once and are removed after `file.delete.delay.ms`.

use crate::ids::{LogId, Offset};
use crate::io::{Cx, DiskOp};
use crate::mark::Mark;
use crate::mutant::Mutant;

use super::directory::PIECE_OF_LOGS;
use super::notice::{Notice, ReadError};
use super::partition_log::{Log, State};
use super::plan::{CheckpointKind, Step, Then, may};
use super::segment::{Segment, file_name, name};
use super::store::{Continue, LogStore, Timer};

/// What retention found for the oldest segment of a log.
enum Verdict {
    Keep,
    Delete,
    /// It is the active one: it is rolled, and goes when it is sealed.
    Roll,
    /// Its greatest timestamp must be read from disk first.
    Unknown(Offset),
}

impl LogStore {
    /// `log.retention.check.interval.ms` is over.
    pub(super) fn retention_due(&mut self, cx: &mut Cx<'_>) {
        self.retention_cursor = Some(LogId(0));
        let every = self.config.retention_check_interval_ms;
        self.set_timer(cx, every, Timer::Retention);
        self.continue_retention(cx);
    }

    /// Goes on over the logs.
    pub(super) fn continue_retention(&mut self, cx: &mut Cx<'_>) {
        let Some(from) = self.retention_cursor else {
            return;
        };
        if self.shutdown.is_some() {
            self.retention_cursor = None;
            return;
        }
        let end = self.logs.len().min(from.0 as usize + PIECE_OF_LOGS);
        let expiration = self.config.producer_id_expiration_ms;
        for at in from.0 as usize..end {
            let id = LogId(u32::try_from(at).unwrap_or(u32::MAX));
            if let Some(log) = self.log_mut(id).filter(|log| log.is_online()) {
                log.producers.expire(cx.now.wall.0, expiration);
                if !self.apply_retention(cx, id) {
                    // Goes on when the segment's index has been read.
                    self.retention_cursor = Some(id);
                    return;
                }
            }
        }
        if end < self.logs.len() {
            self.retention_cursor = Some(LogId(u32::try_from(end).unwrap_or(u32::MAX)));
            self.continues.insert(Continue::Retention);
        } else {
            self.retention_cursor = None;
        }
    }

    /// Deletes what may go from the front of one log; false if something must be read from disk first.
    ///
    /// One segment at a time, its removal durable before the next: or a power cut could bring back an older one alone.
    pub(super) fn apply_retention(&mut self, cx: &mut Cx<'_>, id: LogId) -> bool {
        let stopping = self.shutdown.is_some();
        let waits = self.first_is_read(id);
        let online = |log: &&mut Log| log.is_online() && !stopping;
        let Some(log) = self.log_mut(id).filter(online) else {
            return true;
        };
        log.retention_waits = false;
        match judge(log, cx.now.wall.0) {
            Verdict::Keep => {}
            Verdict::Unknown(segment) => {
                self.load_max_timestamp(cx, id, segment);
                return false;
            }
            Verdict::Roll => self.roll(cx, id),
            Verdict::Delete if waits => log.retention_waits = true,
            Verdict::Delete => self.delete_first_segment(cx, id),
        }
        true
    }

    /// Does a read use the files of the oldest segment of a log?
    fn first_is_read(&self, id: LogId) -> bool {
        self.log(id).is_some_and(|log| {
            let first = log.segments.first().map(|first| first.base);
            let mut reads = log.readers.iter().filter_map(|id| self.cold.reads.get(id));
            reads.any(|read| Some(read.segment) <= first)
        })
    }

    /// A read of a log has ended: its oldest segment may have waited for that.
    pub(super) fn retention_waited(&mut self, cx: &mut Cx<'_>, id: LogId) {
        if self.log(id).is_some_and(|log| log.retention_waits) {
            self.apply_retention(cx, id);
        }
    }

    fn delete_first_segment(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        if log.segments.len() < 2 {
            return;
        }
        let segment = log.segments.remove(0);
        let first = log.segments[0].base;
        log.start = log.start.max(first);
        let start = log.start;
        if log.epochs.truncate_start(start) {
            log.epochs_changed(log.end);
        }
        log.removing = true;
        cx.out.mark(Mark::RetentionDeletedSegment);
        self.delete_segment(cx, id, segment);
        self.write_epochs(cx, id);
    }

    /// Renames the files of a segment that left its log, and removes them.
    fn delete_segment(&mut self, cx: &mut Cx<'_>, id: LogId, segment: Segment) {
        self.forget_cold(id, segment.base);
        let Some(log) = self.log_mut(id) else { return };
        let (dir, handle) = (log.dir, log.handle);
        log.snapshots.remove(&segment.base);
        let delay = u64::try_from(log.config.file_delete_delay_ms).unwrap_or(0);
        if let Some(file) = segment.file {
            self.close_file(cx, dir, file);
        }
        let suffixes = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
        let rename: Vec<Step> = suffixes
            .iter()
            .map(|suffix| {
                let from = segment.name(suffix);
                let to = name(format!("{from}.deleted"));
                let dir = handle;
                may(DiskOp::Rename { dir, from, to })
            })
            .collect();
        let stages = [rename, self.sync_dir(cx, handle)];
        self.begin_plan(cx, dir, stages, Then::SegmentRemoved(id));
        self.set_timer(cx, delay, Timer::Unlink(id, segment.base));
    }

    pub(super) fn on_segment_removed(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        log.removing = false;
        log.settle_first_base();
        let start = match cx.mutants.has(Mutant::TellStartBeforeCheckpoint) {
            false => log.durable_start,
            true => log.start,
        };
        self.notices.push_back(Notice::StartMoved(id, start));
        self.apply_retention(cx, id);
        self.go_on_shutdown(cx);
    }

    /// `file.delete.delay.ms` of a segment is over.
    pub(super) fn unlink_due(&mut self, cx: &mut Cx<'_>, id: LogId, base: Offset) {
        let Some(log) = self.log(id).filter(|log| log.is_online()) else {
            return;
        };
        let (dir, handle) = (log.dir, log.handle);
        let suffixes = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
        let unlink: Vec<Step> = suffixes
            .iter()
            .map(|suffix| {
                let name = name(format!("{}.deleted", file_name(base, suffix)));
                may(DiskOp::Unlink { dir: handle, name })
            })
            .collect();
        self.begin_plan(cx, dir, [unlink], Then::SegmentUnlinked(id));
    }

    /// Moves the log's start up to `to`: [`Notice::StartMoved`] when that is durable.
    ///
    /// # Errors
    /// If `to` is above the high watermark that was noted, or the log is offline. A start that is higher already stays.
    pub fn delete_records(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        to: Offset,
    ) -> Result<(), ReadError> {
        if let Some(message) = self.directory_failure(id) {
            return Err(ReadError::Offline(message.to_owned()));
        }
        let Some(log) = self.log_mut(id) else {
            return Err(ReadError::Offline("the log was deleted".to_owned()));
        };
        if let State::Offline(message) = &log.state {
            return Err(ReadError::Offline(message.clone()));
        }
        if to > log.high_watermark || to < Offset(0) {
            return Err(ReadError::OutOfRange {
                start: log.start,
                end: log.high_watermark,
            });
        }
        let (dir, durable) = (log.dir, log.durable_start);
        if to <= durable {
            self.notices.push_back(Notice::StartMoved(id, durable));
            return Ok(());
        }
        log.start = log.start.max(to);
        let start = log.start;
        if log.epochs.truncate_start(start) {
            log.epochs_changed(log.end);
            self.write_epochs(cx, id);
        }
        self.want_checkpoint(cx, dir, CheckpointKind::StartOffsets, Some(id));
        Ok(())
    }
}

/// May the oldest segment go? Kafka's three reasons: time, size, below the start.
fn judge(log: &Log, now_ms: i64) -> Verdict {
    let Some(first) = log.segments.first().filter(|_| log.configured) else {
        return Verdict::Keep;
    };
    let is_active = log.segments.len() == 1;
    let end = log.segment_end(0);
    // Data in flight or unsynced stays.
    let settled = end <= log.high_watermark && end <= log.synced && !log.removing;
    let ready = if is_active {
        first.size > 0 && first.creating.is_none() && first.entry_synced
    } else {
        // The name of the next keeps the log's offsets.
        first.sealed && log.segments[1].entry_synced
    };
    if !settled || !ready {
        return Verdict::Keep;
    }
    if !is_active && end <= log.start {
        return Verdict::Delete;
    }
    if !log.config.delete {
        return Verdict::Keep;
    }
    let too_large = log.config.retention_bytes >= 0 && {
        let limit = u64::try_from(log.config.retention_bytes).unwrap_or(0);
        log.size_bytes().saturating_sub(limit) >= u64::from(first.size)
            && log.size_bytes() > limit
            && !is_active
    };
    if too_large {
        return Verdict::Delete;
    }
    if log.config.retention_ms < 0 {
        return Verdict::Keep;
    }
    match first.largest_timestamp() {
        None => Verdict::Unknown(first.base),
        Some(newest) if now_ms.saturating_sub(newest) > log.config.retention_ms => {
            if is_active {
                Verdict::Roll
            } else {
                Verdict::Delete
            }
        }
        Some(_) => Verdict::Keep,
    }
}
