//! Reading: recent batches from memory, older ones from disk in checked blocks, and lookups by timestamp. KIP-33, KIP-734.
//!
//! A block that was read is scanned once (CRC of every batch) and then served from memory within a budget; the indexes of rolled
//! segments share it. A read costs at most: two index files, an open, and a block or two.

use bytes::Bytes;

use crate::ids::{FileId, LeaderEpoch, LogId, Offset};
use crate::io::{Cx, DiskDone, DiskError, DiskOp, Token};
use crate::work::{Facts, Job, ScanRest, Scanned, TimestampTarget};

use super::blocks::{Block, BlockBatch, Picker};
use super::config::BATCH_MAX;
use super::files::{FileError, FileResult, FileThen};
use super::index::SegmentIndex;
use super::lookup::wants;
use super::notice::{
    FoundTimestamp, Notice, Read, ReadError, ReadId, ReadOutcome, Records, TimestampQuery,
};
use super::partition_log::{Log, State};
use super::segment::file_name;
use super::store::{Continue, LogStore, Wait};

/// Least and most bytes of a block.
const BLOCK_MIN: u64 = 256 * 1024;
const BLOCK_MAX: u64 = 1 << 20;

/// What a step of a cold read waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColdStep {
    Open(FileId),
    Block,
    Work,
}

/// A read or lookup that goes to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColdRead {
    pub(super) log: LogId,
    pub(super) want: Want,
    /// The segment and position to read next.
    pub(super) segment: Offset,
    pub(super) position: u64,
    /// Bytes that were asked for there.
    pub(super) asked: u64,
    /// Index files of `segment` that are on their way, and what came.
    pub(super) index_files: usize,
    pub(super) index: [Option<Bytes>; 2],
    pub(super) block: Bytes,
    /// Of the batch in which a timestamp is sought.
    pub(super) epoch: LeaderEpoch,
    /// The last offset of that batch.
    pub(super) tried: Option<Offset>,
    /// The offset that an index led to `position` for: the batch there must not begin above it.
    pub(super) led_by: Option<Offset>,
    /// The job that looks through `block`.
    pub(super) job: Option<Token>,
}

impl ColdRead {
    /// The first record that counts in a log that starts at `start`: after the batch that was searched in vain. The greatest timestamp
    /// may be that of a deleted record.
    pub(super) fn starts_at(&self, start: Offset) -> Offset {
        if !self.seeks_forward() {
            return Offset(0);
        }
        self.tried.map_or(start, |tried| start.max(tried.next()))
    }

    /// Is the first record at or after some time sought?
    fn seeks_forward(&self) -> bool {
        let Want::Time { query, .. } = self.want else {
            return false;
        };
        matches!(query.target, TimestampTarget::AtLeast(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Records(Read),
    Time {
        query: TimestampQuery,
        /// For the greatest timestamp: the last offset of its batch.
        batch: Option<Offset>,
    },
    /// Only the greatest timestamp of the segment, for retention.
    Index,
    /// Every batch of the segment, to make its indexes anew.
    Rebuild,
}

impl LogStore {
    /// Reads whole batches from the one that holds `read.from` on.
    ///
    /// # Errors
    /// Out of range, or offline. Damage on disk shows in [`Notice::ReadDone`].
    pub fn read(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        read: Read,
    ) -> Result<ReadOutcome, ReadError> {
        let log = self.readable(id)?;
        if read.from < log.start || read.from > log.end {
            return Err(ReadError::OutOfRange {
                start: log.start,
                end: log.end,
            });
        }
        if read.from >= read.below.min(log.end) {
            return Ok(ReadOutcome::Ready(Picker::new(read).records));
        }
        if let Some(records) = read_hot(log, read).or_else(|| self.cold.read(id, read)) {
            return Ok(ReadOutcome::Ready(records));
        }
        if self.shutdown.is_some() {
            return Err(ReadError::Stopping);
        }
        let segment = log
            .segment_at(read.from)
            .map_or(log.start, |at| log.segments[at].base);
        Ok(ReadOutcome::Later(self.begin_cold(
            cx,
            id,
            Want::Records(read),
            segment,
        )))
    }

    pub(super) fn readable(&self, id: LogId) -> Result<&Log, ReadError> {
        if let Some(message) = self.directory_failure(id) {
            return Err(ReadError::Offline(message.to_owned()));
        }
        let Some(log) = self.log(id) else {
            return Err(ReadError::Offline("the log was deleted".to_owned()));
        };
        match &log.state {
            State::Online | State::Closed => Ok(log),
            State::Offline(message) => Err(ReadError::Offline(message.clone())),
            State::Creating(_) | State::Opening(_) => {
                Err(ReadError::Offline("the log is not open yet".to_owned()))
            }
            State::Deleting => Err(ReadError::Offline("the log was deleted".to_owned())),
        }
    }

    /// Loads the greatest timestamp of a segment for retention; [`LogStore::continue_retention`] goes on.
    pub(super) fn load_max_timestamp(&mut self, cx: &mut Cx<'_>, id: LogId, segment: Offset) {
        self.begin_cold(cx, id, Want::Index, segment);
    }

    pub(super) fn begin_cold(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        want: Want,
        segment: Offset,
    ) -> ReadId {
        let read = ReadId(self.fresh_id());
        self.cold.reads.insert(
            read,
            ColdRead {
                log: id,
                want,
                segment,
                position: 0,
                asked: 0,
                index_files: 0,
                index: [None, None],
                block: Bytes::new(),
                epoch: LeaderEpoch::NONE,
                tried: None,
                led_by: None,
                job: None,
            },
        );
        if let Some(log) = self.log_mut(id) {
            log.readers.insert(read);
        }
        match want {
            Want::Records(_) => self.seek_records(cx, read),
            Want::Time { .. } => self.seek_time(cx, read),
            Want::Index => self.load_index(cx, read),
            Want::Rebuild => self.read_at(cx, read, segment, 0),
        }
        read
    }

    /// Finds the position where reading begins.
    pub(super) fn seek_records(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let Want::Records(wanted) = read.want else {
            return;
        };
        let (log_id, segment) = (read.log, read.segment);
        let chained = self.cold.position_after(log_id, segment, wanted.from);
        let position = chained.or_else(|| {
            self.with_index(log_id, segment, |index| {
                u64::from(index.position(segment, wanted.from))
            })
        });
        match position {
            Some(position) => self.read_led(cx, id, segment, position, wanted.from),
            None => self.load_index(cx, id),
        }
    }

    /// Uses the index of a segment if it is in memory.
    pub(super) fn with_index<T>(
        &mut self,
        id: LogId,
        segment: Offset,
        use_it: impl FnOnce(&SegmentIndex) -> T,
    ) -> Option<T> {
        let log = self.logs.get(id.0 as usize)?.as_deref()?;
        let at = log
            .segments
            .binary_search_by_key(&segment, |s| s.base)
            .ok()?;
        match &log.segments[at].index {
            Some(index) => Some(use_it(index)),
            None => self.cold.index(id, segment).map(use_it),
        }
    }

    pub(super) fn load_index(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        read.index_files = 2;
        let (log_id, segment) = (read.log, read.segment);
        let Some(log) = self.log(log_id) else { return };
        let (dir, handle) = (log.dir, log.handle);
        for (suffix, times) in [(".index", false), (".timeindex", true)] {
            let file = file_name(segment, suffix);
            self.begin_file(cx, dir, handle, file, FileThen::Cold(log_id, id, times));
        }
    }

    pub(super) fn on_cold_file(
        &mut self,
        cx: &mut Cx<'_>,
        id: ReadId,
        times: bool,
        result: FileResult,
    ) {
        if result == Err(FileError::Disk(DiskError::TooManyOpen)) {
            return self.failed_read(cx, id, DiskError::TooManyOpen);
        }
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        read.index[usize::from(times)] = result.ok().flatten();
        read.index_files -= 1;
        if read.index_files > 0 {
            return;
        }
        let (log_id, segment) = (read.log, read.segment);
        let [offsets, times] = std::mem::take(&mut read.index);
        let Some(log) = self.log_mut(log_id) else {
            return self.fail_read(id, ReadError::Offline("the log was deleted".to_owned()));
        };
        let end = log.segment_at(segment).map(|at| log.segment_end(at));
        let Some((found, end)) = log.segment_mut(segment).zip(end) else {
            return self.gone(id);
        };
        let (size, extent) = (found.size, end.0 - segment.0);
        // A rolled segment has its greatest timestamp there, unless its records have none.
        let sound =
            |index: &SegmentIndex| size == 0 || found.verified || index.last_time().is_some();
        let decoded = offsets
            .zip(times)
            .and_then(|(offsets, times)| SegmentIndex::decode(offsets, times, size, extent))
            .filter(sound);
        let Some(index) = decoded else {
            return self.rebuild_index(cx, id);
        };
        found
            .max
            .get_or_insert_with(|| index.last_time().unwrap_or_default());
        let budget = self.config.cold_bytes;
        self.cold.keep_index(log_id, segment, index, budget);
        self.go_on_with_index(cx, id);
    }

    /// Reads a block at a position that an index gave for `offset`.
    pub(super) fn read_led(
        &mut self,
        cx: &mut Cx<'_>,
        id: ReadId,
        segment: Offset,
        position: u64,
        offset: Offset,
    ) {
        if let Some(read) = self.cold.reads.get_mut(&id).filter(|_| position > 0) {
            read.led_by = Some(offset);
        }
        self.read_at(cx, id, segment, position);
    }

    /// Reads a block of `segment` at `position`.
    pub(super) fn read_at(&mut self, cx: &mut Cx<'_>, id: ReadId, segment: Offset, position: u64) {
        self.read_block_at(cx, id, segment, position, 0);
    }

    fn read_block_at(
        &mut self,
        cx: &mut Cx<'_>,
        id: ReadId,
        segment: Offset,
        position: u64,
        need: u64,
    ) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        read.segment = segment;
        read.position = position;
        let log_id = read.log;
        let wanted = match read.want {
            Want::Records(read) => u64::from(read.max_bytes),
            Want::Time { .. } | Want::Index | Want::Rebuild => 0,
        };
        let new_file = self.fresh_file();
        let Some(log) = self.log_mut(log_id) else {
            return;
        };
        let handle = log.handle;
        let Some(found) = log.segment_mut(segment) else {
            return self.gone(id);
        };
        let left = u64::from(found.size).saturating_sub(position);
        if left == 0 {
            return self.next_segment(cx, id, segment);
        }
        match found.file.filter(|_| found.creating.is_none()) {
            Some(file) => {
                let len = left.min(wanted.clamp(BLOCK_MIN, BLOCK_MAX).max(need));
                if let Some(read) = self.cold.reads.get_mut(&id) {
                    read.asked = len;
                }
                let op = DiskOp::Read {
                    file,
                    at: position,
                    len: u32::try_from(len).unwrap_or(u32::MAX),
                };
                self.issue(cx, Wait::Cold(log_id, id, ColdStep::Block), op);
            }
            None => {
                let op = DiskOp::Open {
                    dir: handle,
                    name: file_name(segment, ".log"),
                    file: new_file,
                };
                self.issue(cx, Wait::Cold(log_id, id, ColdStep::Open(new_file)), op);
            }
        }
    }

    pub(super) fn on_cold_disk(
        &mut self,
        cx: &mut Cx<'_>,
        id: ReadId,
        step: ColdStep,
        result: Result<DiskDone, DiskError>,
    ) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            // The read was given up; a file that was opened for it is not needed.
            if let (ColdStep::Open(file), Ok(_)) = (step, result) {
                self.issue(cx, Wait::Ignore, DiskOp::Close { file });
            }
            return;
        };
        let (log_id, segment, position) = (read.log, read.segment, read.position);
        match (step, result) {
            (ColdStep::Open(file), Ok(_)) => {
                let found = self
                    .log_mut(log_id)
                    .and_then(|log| log.segment_mut(segment));
                match found {
                    Some(found) if found.file.is_none() => {
                        found.file = Some(file);
                        self.cold.open.push_back((log_id, segment));
                        self.close_cold_files(cx, self.config.cold_files);
                    }
                    _ => self.issue(cx, Wait::Ignore, DiskOp::Close { file }),
                }
                self.read_at(cx, id, segment, position);
            }
            (_, Ok(DiskDone::Read(block))) => {
                read.block = block.clone();
                self.cold_work(cx, log_id, id, Job::Scan { block });
            }
            (_, Ok(_)) => self.failed_read(cx, id, DiskError::Failed),
            (_, Err(error)) => self.failed_read(cx, id, error),
        }
    }

    pub(super) fn cold_work(&mut self, cx: &mut Cx<'_>, log: LogId, id: ReadId, job: Job) {
        let token = self.work(cx, Wait::Cold(log, id, ColdStep::Work), job);
        if let Some(read) = self.cold.reads.get_mut(&id) {
            read.job = Some(token);
        }
    }

    pub(super) fn on_cold_worked(&mut self, cx: &mut Cx<'_>, id: ReadId, facts: Facts) {
        if let Some(read) = self.cold.reads.get_mut(&id) {
            read.job = None;
        }
        match facts {
            Facts::Scanned(scanned) => self.take_block(cx, id, scanned),
            Facts::Found(Ok(Some((timestamp, offset)))) => {
                let Some(read) = self.cold.reads.get(&id) else {
                    return;
                };
                let found = FoundTimestamp {
                    timestamp,
                    offset,
                    epoch: read.epoch,
                };
                let Want::Time { query, .. } = read.want else {
                    return;
                };
                self.found(cx, id, (offset < query.below).then_some(found));
            }
            Facts::Found(Ok(None)) => {
                // The batch has such a record, but below the log's start: a later batch may have one above.
                if self
                    .cold
                    .reads
                    .get(&id)
                    .is_some_and(ColdRead::seeks_forward)
                {
                    self.seek_time(cx, id);
                } else {
                    self.found(cx, id, None);
                }
            }
            // Its checksum holds: so it came, and no other copy is better.
            Facts::Found(Err(fault)) => self.fail_read(id, ReadError::Damaged(fault.message)),
            Facts::Validated(_) => {}
        }
    }

    fn take_block(&mut self, cx: &mut Cx<'_>, id: ReadId, scanned: Scanned) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        let data = std::mem::take(&mut read.block);
        let (log_id, segment, position, want) = (read.log, read.segment, read.position, read.want);
        let bad = scanned.batches.iter().any(|batch| !batch.crc_holds);
        let good = || scanned.batches.iter().filter(|batch| batch.crc_holds);
        let batches: Vec<BlockBatch> = good()
            .map(|batch| BlockBatch {
                at: batch.at,
                len: u32::try_from(batch.header.size()).unwrap_or(u32::MAX),
                base: batch.header.base_offset,
                last: batch.header.last_offset(),
            })
            .collect();
        let consumed = batches
            .last()
            .map_or(0, |b| u64::from(b.at) + u64::from(b.len));
        let next_position = position + consumed;
        let cut_off = (data.len() as u64) < read.asked;
        let led_by = read.led_by.take_if(|_| !batches.is_empty());
        if let (Some(offset), Some(first)) = (led_by, batches.first())
            && first.base > offset
        {
            return self.damaged_read(cx, id, position, "it is not where its index says");
        }
        if let Some(log) = self.log(log_id)
            && let Some(at) = misplaced(log, segment, &scanned)
        {
            let at = position + u64::from(at);
            return self.damaged_read(cx, id, at, "it is not where its offset says");
        }
        if want == Want::Rebuild
            && let Err((at, what)) = self.note_rebuilt(cx, (log_id, segment), position, &scanned)
        {
            return self.damaged_read(cx, id, at, what);
        }
        let start = self.log(log_id).map_or(Offset(0), |log| log.start);
        let reads = &self.cold.reads;
        let start = reads.get(&id).map_or(start, |read| read.starts_at(start));
        let hit = match want {
            Want::Records(wanted) => batches.iter().any(|batch| batch.last >= wanted.from),
            Want::Time { query, batch } => {
                let found = good().find(|b| {
                    wants(
                        query,
                        batch,
                        start,
                        b.header.max_timestamp,
                        b.header.last_offset(),
                    )
                });
                if let (Some(found), Some(read)) = (found, self.cold.reads.get_mut(&id)) {
                    read.epoch = found.header.leader_epoch;
                    read.tried = Some(found.header.last_offset());
                    let from = found.at as usize;
                    let block = data.slice(from..from + found.header.size());
                    let job = Job::FindTimestamp {
                        block,
                        target: query.target,
                        from: start,
                    };
                    self.cold_work(cx, log_id, id, job);
                    return;
                }
                false
            }
            Want::Index | Want::Rebuild => false,
        };
        let last = batches.last().map(|batch| batch.last);
        if let Some(first) = batches.first().filter(|_| want != Want::Rebuild) {
            let from = match want {
                Want::Records(wanted) => wanted.from.min(first.base),
                Want::Time { .. } | Want::Index | Want::Rebuild => first.base,
            };
            let block = Block {
                log: log_id,
                segment,
                data: data.slice(..consumed as usize),
                batches,
                from,
                next_position,
            };
            self.cold.keep_block(block, self.config.cold_bytes);
        }
        if let (true, Want::Records(wanted)) = (hit, want) {
            let records = self.cold.read(log_id, wanted);
            self.end_read(cx, id);
            let result = records.ok_or_else(|| ReadError::Damaged("the block was lost".to_owned()));
            return self.notices.push_back(Notice::ReadDone(id, result));
        }
        if let Some(last) = last
            && matches!(want, Want::Time { .. })
            && self.seek_hot(cx, id, last.next())
        {
            return;
        }
        let damaged = |store: &mut LogStore, cx: &mut Cx<'_>, what| {
            store.damaged_read(cx, id, next_position, what);
        };
        match scanned.rest {
            _ if bad => damaged(self, cx, "a checksum does not hold"),
            ScanRest::Damage { .. } => damaged(self, cx, "there is no batch where one must be"),
            ScanRest::Short { need, .. } if need > u64::from(BATCH_MAX) => {
                damaged(self, cx, "a batch has an impossible length");
            }
            ScanRest::Short { .. } | ScanRest::Nothing if cut_off => {
                damaged(self, cx, "the file is shorter than it was");
            }
            ScanRest::Short { need, .. } => {
                let size = self.segment_size(log_id, segment);
                if next_position + need > size {
                    damaged(self, cx, "the file ends in the middle of a batch");
                } else {
                    self.read_block_at(cx, id, segment, next_position, need);
                }
            }
            ScanRest::Nothing => self.read_at(cx, id, segment, next_position),
        }
    }

    fn segment_size(&mut self, id: LogId, segment: Offset) -> u64 {
        self.log_mut(id)
            .and_then(|log| log.segment_mut(segment))
            .map_or(0, |segment| u64::from(segment.size))
    }

    /// Goes on in the segment after `segment`.
    fn next_segment(&mut self, cx: &mut Cx<'_>, id: ReadId, segment: Offset) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        let (log_id, want) = (read.log, read.want);
        let next = self
            .log(log_id)
            .and_then(|log| log.segments.iter().find(|s| s.base > segment))
            .map(|segment| segment.base);
        match (next, want) {
            (_, Want::Rebuild) => self.index_rebuilt(cx, id),
            (Some(next), Want::Time { .. }) if self.seek_hot(cx, id, next) => {}
            (Some(next), Want::Records(_)) if self.retry_hot(cx, id) => {
                let _ = next;
            }
            (Some(next), _) => self.read_at(cx, id, next, 0),
            (None, Want::Records(wanted)) => {
                self.end_read(cx, id);
                let none = Picker::new(wanted).records;
                self.notices.push_back(Notice::ReadDone(id, Ok(none)));
            }
            (None, Want::Time { .. } | Want::Index) => self.found(cx, id, None),
        }
    }

    /// Answers a read from memory if by now it can be.
    fn retry_hot(&mut self, cx: &mut Cx<'_>, id: ReadId) -> bool {
        let Some(read) = self.cold.reads.get(&id) else {
            return true;
        };
        let Want::Records(wanted) = read.want else {
            return false;
        };
        let hot = self.log(read.log).and_then(|log| read_hot(log, wanted));
        let Some(records) = hot else { return false };
        self.end_read(cx, id);
        self.notices.push_back(Notice::ReadDone(id, Ok(records)));
        true
    }

    /// The segment that a read wanted was removed by retention or DeleteRecords.
    fn gone(&mut self, id: ReadId) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let error = self
            .log(read.log)
            .map(|log| ReadError::OutOfRange {
                start: log.start,
                end: log.end,
            })
            .unwrap_or_else(|| ReadError::Offline("the log was deleted".to_owned()));
        self.fail_read(id, error);
    }

    /// Takes a read out; what a job still finds for it proves nothing.
    fn remove_read(&mut self, id: ReadId) -> Option<ColdRead> {
        let read = self.cold.reads.remove(&id)?;
        if let Some(job) = read.job {
            self.pending.cancel(job);
        }
        if let Some(log) = self.log_mut(read.log) {
            log.readers.remove(&id);
        }
        Some(read)
    }

    /// Nobody waits for a read or lookup any more. One that uses a file runs its course, and tells its end.
    pub fn give_up_read(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        if self.cold.reads.get(&id).is_some_and(|r| r.job.is_some()) {
            self.end_read(cx, id);
        }
    }

    pub(super) fn fail_read(&mut self, id: ReadId, error: ReadError) {
        let Some(read) = self.remove_read(id) else {
            return;
        };
        match read.want {
            Want::Records(_) => self.notices.push_back(Notice::ReadDone(id, Err(error))),
            Want::Time { .. } => self.notices.push_back(Notice::LookupDone(id, Err(error))),
            // Retention goes on with the next log.
            Want::Index => {
                if self.retention_cursor == Some(read.log) {
                    self.retention_cursor = Some(LogId(read.log.0 + 1));
                }
                self.continues.insert(Continue::Retention);
            }
            Want::Rebuild => self.rebuild_failed((read.log, read.segment), &error),
        }
    }

    /// Fails every read of a log that went away.
    pub(super) fn fail_reads(&mut self, id: LogId, error: &ReadError) {
        let reads: Vec<ReadId> = self
            .log(id)
            .map(|log| log.readers.iter().copied().collect())
            .unwrap_or_default();
        for read in reads {
            self.fail_read(read, error.clone());
        }
        self.cold.forget(id);
    }

    pub(super) fn end_read(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.remove_read(id) else {
            return;
        };
        let log = self.log(read.log);
        if log.is_some_and(|log| log.readers.is_empty()) {
            self.close_synced_segments(cx, read.log);
        }
        self.retention_waited(cx, read.log);
    }

    /// Keeps the number of files that are open for reading within a limit.
    pub(super) fn close_cold_files(&mut self, cx: &mut Cx<'_>, most: usize) {
        let mut looked_at = 0;
        while self.cold.open.len() > most && looked_at < 16 {
            looked_at += 1;
            let Some((id, segment)) = self.cold.open.pop_front() else {
                return;
            };
            let Some(log) = self.log_mut(id) else {
                continue;
            };
            if !log.readers.is_empty() {
                self.cold.open.push_back((id, segment));
                continue;
            }
            let last = log.segments.last().map(|segment| segment.base);
            let file = log
                .segment_mut(segment)
                .filter(|found| found.sealed && last != Some(segment))
                .and_then(|found| found.file.take());
            if let Some(file) = file {
                self.issue(cx, Wait::Ignore, DiskOp::Close { file });
            }
        }
    }

    /// Forgets what was read of a segment that is going away.
    pub(super) fn forget_cold(&mut self, id: LogId, segment: Offset) {
        self.cold.forget_segment(id, segment);
    }
}

/// Reads from the batches in memory; `None` if they do not reach back far enough.
fn read_hot(log: &Log, read: Read) -> Option<Records> {
    let first = log.hot.front()?;
    if first.base > read.from {
        return None;
    }
    let at = log.hot.partition_point(|batch| batch.last < read.from);
    let mut picker = Picker::new(read);
    for batch in log.hot.iter().skip(at) {
        let len = batch.parts.len();
        if !picker.take(batch.base, batch.last, len, || batch.parts.clone()) {
            break;
        }
    }
    Some(picker.records)
}

/// A batch's base offset and leader epoch stand before what its checksum covers: they are held to the segment, to the batches
/// beside it, and to the epochs that the log keeps. Returns where the first batch is that does not fit.
fn misplaced(log: &Log, segment: Offset, scanned: &Scanned) -> Option<u32> {
    let at = log.segments.partition_point(|other| other.base < segment);
    let end = log.segment_end(at);
    let mut least = segment;
    for batch in scanned.batches.iter().filter(|batch| batch.crc_holds) {
        let header = &batch.header;
        let epoch = log.epochs.at(header.base_offset);
        let known = epoch >= LeaderEpoch(0) && header.leader_epoch >= LeaderEpoch(0);
        let next = header.last_offset().next();
        if header.base_offset < least || next > end || (known && epoch != header.leader_epoch) {
            return Some(batch.at);
        }
        least = next;
    }
    None
}
