//! Scanning a log that is opened: block by block, up to its end or the first damage. Kafka's `LogSegment.recover`.
//!
//! Owns the verdict on damage: below what was promised it is rot, and the log goes offline; above it a torn tail, which is cut.
//! A gap between batches is damage too where nothing can have been compacted away.

use crate::ids::{FileId, LeaderEpoch, LogId, Offset};
use bytes::Bytes;

use crate::io::{Cx, DiskOp};
use crate::mark::Mark;
use crate::mutant::Mutant;
use crate::wire::Parts;
use crate::wire::batch::HEADER_LEN;
use crate::work::{Facts, ScanRest, Scanned, ScannedBatch};

use super::config::BATCH_MAX;
use super::files::FileThen;
use super::frontier;
use super::index::{SegmentIndex, relative};
use super::notice::has_producer;
use super::opening::Phase;
use super::partition_log::State;
use super::plan::{Then, may, must};
use super::segment::{Segment, file_name};
use super::store::{LogStore, Wait};

/// Bytes that are read and scanned at a time.
const BLOCK: u64 = 256 * 1024;

/// A segment to scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) base: Offset,
    /// Build its indexes anew.
    pub(super) rebuild: bool,
    /// Where to begin.
    pub(super) from: u64,
    /// Batches before this position are in the indexes.
    pub(super) indexed: u64,
}

/// A segment that is being scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) task: Task,
    pub(super) file: FileId,
    pub(super) len: u64,
    /// Where the block under way begins.
    pub(super) position: u64,
    pub(super) block: Bytes,
    /// Where its whole batches end.
    pub(super) scanned: u64,
    /// What follows them.
    pub(super) rest: ScanRest,
}

impl LogStore {
    /// Decides which segments are scanned, and from where.
    pub(super) fn plan_scan(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        if log.segments.is_empty() {
            if opening.floor > Offset(0) && opening.floor > log.start {
                return self.data_missing(cx, id, Offset(0));
            }
            opening.expected = Some(log.start);
            log.state = State::Opening(Box::new(opening));
            return self.finish_opening(cx, id);
        }
        let last = log.segments.len() - 1;
        let recover_from = if opening.clean {
            last + 1
        } else {
            log.recovered_from(opening.recovery_point, cx.mutants)
        };
        let producers_from = log.segment_at(opening.producers_from).unwrap_or(0);
        for at in 0..=last {
            let segment = &mut log.segments[at];
            let swapped = opening
                .swapped_from
                .is_some_and(|from| segment.base >= from);
            let rebuild = at >= recover_from || !segment.sealed || swapped;
            if !segment.sealed && opening.clean {
                cx.out.mark(Mark::IndexRebuilt);
            }
            if !(rebuild || at >= producers_from || at == last) {
                continue;
            }
            if rebuild {
                segment.index = Some(SegmentIndex::default());
                segment.max = Some(Default::default());
                opening.rebuilt.insert(segment.base);
            }
            opening.tasks.push_back(Task {
                base: segment.base,
                rebuild,
                from: 0,
                indexed: 0,
            });
        }
        let active = &log.segments[last];
        let (dir, handle) = (log.dir, log.handle);
        let wanted = [active.name(".index"), active.name(".timeindex")];
        let load = !opening.rebuilt.contains(&active.base);
        if load {
            opening.phase = Phase::ActiveIndex;
            opening.files_outstanding = wanted.len();
        }
        log.state = State::Opening(Box::new(opening));
        if !load {
            return self.next_task(cx, id);
        }
        for file in wanted {
            let then = FileThen::Opening(id, file.clone());
            self.begin_file(cx, dir, handle, file, then);
        }
    }

    /// The indexes of the active segment, after a clean stop: only what is behind their last entry is scanned.
    pub(super) fn take_active_index(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let producers_from = opening.producers_from;
        let [offsets, times] = std::mem::take(&mut opening.index_files);
        let active = log.active();
        let decoded = offsets
            .zip(times)
            .and_then(|(offsets, times)| {
                SegmentIndex::decode(offsets, times, active.size, i64::MAX)
            })
            .filter(|index| {
                index.last_time().is_some() || index.last_position(active.base).is_none()
            });
        let Some(task) = opening.tasks.back_mut() else {
            return;
        };
        match decoded {
            Some(index) => {
                let (first, position) =
                    index.last_position(active.base).unwrap_or((active.base, 0));
                task.indexed = u64::from(position);
                task.from = if producers_from >= first {
                    u64::from(position)
                } else {
                    u64::from(index.position(active.base, producers_from))
                };
                active.max = Some(index.last_time().unwrap_or_default());
                active.index = Some(index);
            }
            None => {
                cx.out.mark(Mark::IndexRebuilt);
                task.rebuild = true;
                active.index = Some(SegmentIndex::default());
                active.max = Some(Default::default());
                opening.rebuilt.insert(active.base);
            }
        }
        log.state = State::Opening(Box::new(opening));
        self.next_task(cx, id);
    }

    /// Opens the next segment to scan; finishes when there is none.
    fn next_task(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let file = self.fresh_file();
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let Some(task) = opening.tasks.pop_front() else {
            return self.scanned_all(cx, id);
        };
        if let Some(expected) = opening.expected {
            if task.base < expected && opening.swapped_from.is_some() {
                let handle = log.handle;
                log.segments.retain(|segment| segment.base != task.base);
                log.state = State::Opening(Box::new(opening));
                for suffix in [".log", ".index", ".timeindex"] {
                    let name = file_name(task.base, suffix);
                    self.issue(cx, Wait::Ignore, DiskOp::Unlink { dir: handle, name });
                }
                return self.next_task(cx, id);
            }
            // Above the floor nothing was compacted: a missing stretch is a tail that did not reach the disk in order.
            let gap = task.base > expected && expected >= opening.floor && opening.had_frontier;
            if gap && !opening.clean {
                log.state = State::Opening(Box::new(opening));
                return self.cut_tail(cx, id, None, expected);
            }
        }
        opening.expected = Some(opening.expected.map_or(task.base, |e| e.max(task.base)));
        // The state at the end of a rebuilt segment: whoever removes it must leave this behind.
        let before = log.segments.iter().rev().find(|s| s.base < task.base);
        if before.is_some_and(|segment| opening.rebuilt.contains(&segment.base))
            && opening.producers_from < task.base
            && !log.snapshots.contains(&task.base)
        {
            let state = Bytes::from(log.producers.encode());
            opening.snapshots.insert(task.base, state);
        }
        if task.from > 0 {
            opening.expected = None;
        }
        opening.phase = Phase::SegmentFile;
        opening.scan = Some(Scan {
            task,
            file,
            len: 0,
            position: task.from,
            block: Bytes::new(),
            scanned: task.from,
            rest: ScanRest::Nothing,
        });
        log.state = State::Opening(Box::new(opening));
        let op = DiskOp::Open {
            dir: log.handle,
            name: file_name(task.base, ".log"),
            file,
        };
        if let Some(segment) = log.segment_mut(task.base) {
            segment.file = Some(file);
        }
        self.issue(cx, Wait::Opening(id), op);
    }

    pub(super) fn scan_from(&mut self, cx: &mut Cx<'_>, id: LogId, len: u64) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let Some(scan) = &mut opening.scan else {
            return;
        };
        scan.len = len;
        let base = scan.task.base;
        log.state = State::Opening(Box::new(opening));
        if let Some(segment) = log.segment_mut(base) {
            segment.size = u32::try_from(len).unwrap_or(u32::MAX);
        }
        self.read_block(cx, id, BLOCK);
    }

    fn read_block(&mut self, cx: &mut Cx<'_>, id: LogId, want: u64) {
        let read = self.with_opening(id, |opening| {
            let scan = opening.scan.as_ref()?;
            let left = scan.len.saturating_sub(scan.position);
            opening.phase = Phase::Block;
            Some((scan.file, scan.position, left.min(want)))
        });
        let Some(Some((file, at, len))) = read else {
            return;
        };
        if len == 0 {
            return self.segment_scanned(cx, id);
        }
        let op = DiskOp::Read {
            file,
            at,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        self.issue(cx, Wait::Opening(id), op);
    }

    pub(super) fn on_opening_worked(&mut self, cx: &mut Cx<'_>, id: LogId, facts: Facts) {
        let Facts::Scanned(scanned) = facts else {
            return;
        };
        if self.directory_failure(id).is_some() {
            return;
        }
        let Some((_, opening)) = self.opening(id) else {
            return;
        };
        let Some(scan) = opening.scan else { return };
        let begin = scan.position;
        let Scanned { batches, mut rest } = scanned;
        let (mut end, mut again) = (0, None);
        for batch in &batches {
            if !self.take_batch(cx, id, batch, begin + u64::from(batch.at)) {
                rest = ScanRest::Damage { at: batch.at };
                break;
            }
            let promised = batch.header.next_offset() <= opening.floor || opening.clean;
            if !promised && !cx.mutants.has(Mutant::TrustPageCache) {
                again.get_or_insert(batch.at as usize);
            }
            end = batch.at as usize + batch.header.size();
        }
        let unsure = again.map(|from| (begin + from as u64, scan.block.slice(from..end)));
        self.with_opening(id, |opening| {
            opening.phase = Phase::WritingAgain;
            if let Some(scan) = &mut opening.scan {
                scan.scanned = begin + end as u64;
                scan.rest = rest;
            }
        });
        let Some((at, data)) = unsure else {
            return self.scan_on(cx, id);
        };
        // Where a sync failed before, the system holds what it could not write for written: no later sync would write it.
        let op = DiskOp::Write {
            file: scan.file,
            at,
            data: Parts::from(data),
        };
        self.issue(cx, Wait::Opening(id), op);
    }

    /// Goes on behind the batches of a block that are taken.
    pub(super) fn scan_on(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let Some(scan) = &mut opening.scan else {
            return;
        };
        let (begin, position) = (scan.position, scan.scanned);
        let empty = std::mem::take(&mut scan.block).is_empty();
        scan.position = position;
        let (rest, len) = (scan.rest, scan.len);
        log.state = State::Opening(Box::new(opening));
        match rest {
            ScanRest::Damage { at } => self.damaged(cx, id, begin + u64::from(at)),
            ScanRest::Short { need, .. } => {
                if position + need > len || need > u64::from(BATCH_MAX) {
                    self.damaged(cx, id, position);
                } else {
                    self.read_block(cx, id, need.max(BLOCK));
                }
            }
            ScanRest::Nothing if empty => self.segment_scanned(cx, id),
            ScanRest::Nothing => self.read_block(cx, id, BLOCK),
        }
    }

    /// Takes one scanned batch into indexes, epochs and producers; false if it is damaged.
    fn take_batch(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        batch: &ScannedBatch,
        position: u64,
    ) -> bool {
        let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
            return false;
        };
        let State::Opening(opening) = &mut log.state else {
            return false;
        };
        let Some(scan) = &opening.scan else {
            return false;
        };
        let (header, task) = (batch.header, scan.task);
        // The checksum does not cover the leader epoch either: it is held to the epochs that are known, which the batches add to.
        let of_epoch = log.epochs.allows(header.base_offset, header.leader_epoch);
        let sound = (batch.crc_holds && of_epoch) || cx.mutants.has(Mutant::SkipTornTailCheck);
        let expected = opening.expected.unwrap_or(header.base_offset);
        let gap = header.base_offset > expected
            && expected >= opening.floor
            && opening.had_frontier
            && !opening.clean;
        // The checksum does not cover the offset: below the floor compaction leaves gaps, but none that reaches over it.
        let leaps = expected < opening.floor
            && header.base_offset >= opening.floor
            && (opening.had_frontier || opening.clean);
        let fits = relative(task.base, header.last_offset()).is_some();
        if !sound || header.base_offset < expected || gap || leaps || !fits {
            return false;
        }
        opening.expected = Some(header.next_offset());
        opening.last = Some(frontier::Mark {
            end: header.next_offset(),
            epoch: header.leader_epoch,
            crc: header.crc,
        });
        let producers = has_producer(&header) && header.last_offset() >= opening.producers_from;
        let interval = log.config.index_interval_bytes;
        if let Some(segment) = log
            .segments
            .iter_mut()
            .find(|segment| segment.base == task.base)
            .filter(|segment| segment.index.is_some() && position >= task.indexed)
        {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            segment.note(&header, position, interval, cx.mutants);
        }
        if log.epochs.latest().unwrap_or(LeaderEpoch::NONE) < header.leader_epoch {
            log.assign_epoch(header.leader_epoch, header.base_offset);
        }
        if producers {
            log.producers
                .apply(&header, header.base_offset, batch.marker);
        }
        true
    }

    fn segment_scanned(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let Some(scan) = opening.scan.take() else {
            return;
        };
        if opening.expected.is_none() {
            opening.expected = Some(scan.task.base);
        }
        let last = log.segments.last().map(|segment| segment.base);
        let Some(segment) = log.segment_mut(scan.task.base) else {
            return;
        };
        // Files that may hold what is not synced stay open for the first round.
        let close = (last != Some(scan.task.base) && opening.clean).then(|| segment.file.take());
        if last != Some(scan.task.base) {
            segment.finish_index(cx.mutants);
        }
        log.state = State::Opening(Box::new(opening));
        if let Some(Some(file)) = close {
            self.issue(cx, Wait::Ignore, DiskOp::Close { file });
        }
        self.next_task(cx, id);
    }

    /// The segment that is scanned is damaged at `position`.
    fn damaged(&mut self, cx: &mut Cx<'_>, id: LogId, position: u64) {
        let path = self.log_path(id);
        let Some((_, opening)) = self.opening(id) else {
            return;
        };
        let Some(scan) = opening.scan else { return };
        let offset = opening.expected.unwrap_or(scan.task.base);
        if opening.clean || offset < opening.floor {
            cx.out.mark(Mark::RotDetected);
            let promise = if opening.clean {
                "the node was stopped cleanly after it was written".to_owned()
            } else {
                format!("everything below offset {} had been synced", opening.floor)
            };
            let file = file_name(scan.task.base, ".log");
            let message = format!(
                "{path}/{file} is damaged at byte {position}, offset {offset}, although {promise}: records were lost on the disk. Restore the directory from a copy; or, to give up the records from offset {offset} on, move the directory away and create the topic anew"
            );
            return self.take_offline(cx, id, message);
        }
        self.cut_tail(cx, id, Some(position), offset);
    }

    /// Cuts the log at `end`: the segment that is scanned at `position`, and every later one.
    fn cut_tail(&mut self, cx: &mut Cx<'_>, id: LogId, position: Option<u64>, end: Offset) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let (dir, handle) = (log.dir, log.handle);
        let mut bytes = 0;
        let mut truncate = Vec::new();
        let scanned = opening.scan.take();
        if let (Some(scan), Some(position)) = (&scanned, position) {
            bytes += scan.len - position;
            truncate.push(must(DiskOp::Truncate {
                file: scan.file,
                len: position,
            }));
            if let Some(segment) = log.segment_mut(scan.task.base) {
                segment.size = u32::try_from(position).unwrap_or(u32::MAX);
            }
        }
        let keep = |segment: &Segment| match &scanned {
            Some(scan) => segment.base <= scan.task.base,
            // Where the gap begins an empty segment may stand.
            None => segment.base <= end,
        };
        let gone: Vec<Segment> = log.segments.extract_if(.., |s| !keep(s)).collect();
        let mut unlink = Vec::new();
        for segment in gone {
            bytes += u64::from(segment.size);
            for suffix in [".log", ".index", ".timeindex", ".txnindex"] {
                let name = segment.name(suffix);
                unlink.push(may(DiskOp::Unlink { dir: handle, name }));
            }
        }
        opening.tasks.clear();
        opening.expected = Some(end);
        opening.phase = Phase::Cutting;
        opening.cut_bytes = Some(bytes);
        log.state = State::Opening(Box::new(opening));
        self.begin_plan(cx, dir, [unlink, truncate], Then::TailCut(id));
    }

    pub(super) fn on_tail_cut(&mut self, cx: &mut Cx<'_>, id: LogId) {
        self.scanned_all(cx, id);
    }

    fn data_missing(&mut self, cx: &mut Cx<'_>, id: LogId, end: Offset) {
        let path = self.log_path(id);
        let floor = self
            .with_opening(id, |opening| opening.floor)
            .unwrap_or_default();
        cx.out.mark(Mark::RotDetected);
        let message = format!(
            "{path} ends at offset {end}, although everything below offset {floor} had been synced: files were lost or replaced. Restore the directory from a copy; or, to give up the missing records, move the directory away and create the topic anew"
        );
        self.take_offline(cx, id, message);
    }

    fn scanned_all(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let end = opening.expected.unwrap_or(log.start);
        // After a clean stop, too: the recovery point may lag behind the end, as in a directory of Kafka's, and never be beyond it.
        let believed = opening.clean && cx.mutants.has(Mutant::TrustMarkerOfShorterLog);
        if end < opening.floor && !believed {
            return self.data_missing(cx, id, end);
        }
        let active = log.active();
        let unknown = active.size > 0 && active.first_timestamp.is_none();
        if let (true, Some(file)) = (unknown, active.file) {
            opening.phase = Phase::FirstBatch;
            log.state = State::Opening(Box::new(opening));
            let op = DiskOp::Read {
                file,
                at: 0,
                len: HEADER_LEN as u32,
            };
            return self.issue(cx, Wait::Opening(id), op);
        }
        self.finish_opening(cx, id);
    }
}
