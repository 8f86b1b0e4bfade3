//! Reading: recent batches from memory, older ones from disk in checked blocks, and lookups by timestamp. KIP-33, KIP-734.
//!
//! A block that was read is scanned once (CRC of every batch) and then served from memory within a budget; the indexes of rolled
//! segments share it. A read costs at most: two index files, an open, and a block or two.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::event::Level;
use crate::ids::{FileId, LeaderEpoch, LogId, Offset};
use crate::io::{Cx, DiskDone, DiskError, DiskOp};
use crate::wire::Parts;
use crate::work::{Facts, Job, ScanRest, Scanned, TimestampTarget};

use super::files::{FileResult, FileThen};
use super::index::{MaxTimestamp, SegmentIndex};
use super::notice::{
    FoundTimestamp, LookupOutcome, Notice, Read, ReadError, ReadId, ReadOutcome, Records,
    TimestampQuery,
};
use super::partition_log::{HotBatch, Log, State};
use super::segment::file_name;
use super::store::{LogStore, Wait};

/// Least and most bytes of a block.
const BLOCK_MIN: u64 = 256 * 1024;
const BLOCK_MAX: u64 = 1 << 20;
/// A batch cannot be larger.
const BATCH_MAX: u64 = 128 << 20;

/// Cold reads under way, and what they left in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cold {
    reads: BTreeMap<ReadId, ColdRead>,
    /// Oldest first.
    blocks: VecDeque<Block>,
    indexes: VecDeque<CachedIndex>,
    bytes: u64,
    /// Segments whose files were opened for reading, oldest first.
    open: VecDeque<(LogId, Offset)>,
}

/// What a step of a cold read waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColdStep {
    Open(FileId),
    Block,
    Work,
}

/// A read or lookup that goes to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ColdRead {
    log: LogId,
    want: Want,
    /// The segment and position to read next.
    segment: Offset,
    position: u64,
    /// Index files of `segment` that are on their way, and what came.
    index_files: usize,
    index: [Option<Bytes>; 2],
    block: Bytes,
    /// Of the batch in which a timestamp is sought.
    epoch: LeaderEpoch,
    /// The last offset of that batch.
    tried: Option<Offset>,
}

impl ColdRead {
    /// Where a search in a log that starts at `start` begins: after the batch that was searched in vain.
    fn starts_at(&self, start: Offset) -> Offset {
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
enum Want {
    Records(Read),
    Time {
        query: TimestampQuery,
        /// For the greatest timestamp: the last offset of its batch.
        batch: Option<Offset>,
    },
    /// Only the greatest timestamp of the segment, for retention.
    Index,
}

/// A checked stretch of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    log: LogId,
    segment: Offset,
    data: Bytes,
    batches: Vec<BlockBatch>,
    /// No record of the log lies between this offset and the first batch (compaction leaves gaps).
    from: Offset,
    /// Where the next block begins.
    next_position: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockBatch {
    at: u32,
    len: u32,
    base: Offset,
    last: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CachedIndex {
    log: LogId,
    segment: Offset,
    index: SegmentIndex,
}

/// Picks batches in order until a limit is reached.
struct Picker {
    read: Read,
    records: Records,
    full: bool,
}

impl Picker {
    fn new(read: Read) -> Picker {
        let records = Records {
            parts: Parts::new(),
            first: read.from,
            next: read.from,
        };
        Picker {
            read,
            records,
            full: false,
        }
    }

    /// Takes a batch unless it does not fit; false: no further one.
    fn take(
        &mut self,
        base: Offset,
        last: Offset,
        len: usize,
        bytes: impl FnOnce() -> Parts,
    ) -> bool {
        let first = self.records.parts.is_empty();
        let fits = self.records.parts.len() + len <= self.read.max_bytes as usize
            || (first && self.read.at_least_one);
        if last >= self.read.below || !fits {
            self.full = true;
            return false;
        }
        if first {
            self.records.first = base;
        }
        self.records.parts.append(bytes());
        self.records.next = last.next();
        true
    }
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

    fn readable(&self, id: LogId) -> Result<&Log, ReadError> {
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

    /// Finds a record by its timestamp.
    ///
    /// # Errors
    /// Offline. Damage on disk shows in [`Notice::LookupDone`].
    pub fn lookup_timestamp(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        query: TimestampQuery,
    ) -> Result<LookupOutcome, ReadError> {
        let log = self.readable(id)?;
        if log.start >= query.below.min(log.end) {
            return Ok(LookupOutcome::Ready(None));
        }
        let segment = log.segments.first().map_or(log.start, |first| first.base);
        let want = Want::Time { query, batch: None };
        Ok(LookupOutcome::Later(self.begin_cold(cx, id, want, segment)))
    }

    /// Loads the greatest timestamp of a segment for retention; [`LogStore::continue_retention`] goes on.
    pub(super) fn load_max_timestamp(&mut self, cx: &mut Cx<'_>, id: LogId, segment: Offset) {
        self.begin_cold(cx, id, Want::Index, segment);
    }

    fn begin_cold(&mut self, cx: &mut Cx<'_>, id: LogId, want: Want, segment: Offset) -> ReadId {
        let read = ReadId(self.fresh_id());
        self.cold.reads.insert(
            read,
            ColdRead {
                log: id,
                want,
                segment,
                position: 0,
                index_files: 0,
                index: [None, None],
                block: Bytes::new(),
                epoch: LeaderEpoch::NONE,
                tried: None,
            },
        );
        if let Some(log) = self.log_mut(id) {
            log.readers.insert(read);
        }
        match want {
            Want::Records(_) => self.seek_records(cx, read),
            Want::Time { .. } => self.seek_time(cx, read),
            Want::Index => self.load_index(cx, read),
        }
        read
    }

    /// Finds the position where reading begins.
    fn seek_records(&mut self, cx: &mut Cx<'_>, id: ReadId) {
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
            Some(position) => self.read_at(cx, id, segment, position),
            None => self.load_index(cx, id),
        }
    }

    /// Uses the index of a segment if it is in memory.
    fn with_index<T>(
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

    fn load_index(&mut self, cx: &mut Cx<'_>, id: ReadId) {
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
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        read.index[usize::from(times)] = result.ok().flatten();
        read.index_files -= 1;
        if read.index_files > 0 {
            return;
        }
        let (log_id, segment, want) = (read.log, read.segment, read.want);
        let [offsets, times] = std::mem::take(&mut read.index);
        let Some(log) = self.log_mut(log_id) else {
            return self.fail_read(id, ReadError::Offline("the log was deleted".to_owned()));
        };
        let name = log.name();
        let Some(found) = log.segment_mut(segment) else {
            return self.gone(id);
        };
        let size = found.size;
        let decoded = offsets
            .zip(times)
            .and_then(|(offsets, times)| SegmentIndex::decode(offsets, times, size));
        let sound = decoded.is_some();
        let index = decoded.unwrap_or_default();
        if found.max.is_none() {
            // Without an index nothing is known: such a segment is looked through, and kept.
            let unknown = MaxTimestamp {
                timestamp: i64::MAX,
                offset: 0,
            };
            found.max = Some(if sound {
                index.last_time().unwrap_or_default()
            } else {
                unknown
            });
        }
        let budget = self.config.cold_bytes;
        self.cold.keep_index(log_id, segment, index, budget);
        if !sound {
            let message = format!(
                "the indexes of {name} at {segment} are missing or damaged: the segment is read from its beginning"
            );
            self.note(cx, Level::Warn, message);
        }
        match want {
            Want::Records(_) => self.seek_records(cx, id),
            Want::Time { .. } => self.seek_time(cx, id),
            Want::Index => {
                self.end_read(cx, id);
                self.apply_retention(cx, log_id);
                self.continue_retention(cx);
            }
        }
    }

    /// Finds where a timestamp may be, segment by segment.
    fn seek_time(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        let Want::Time { query, .. } = read.want else {
            return;
        };
        let log_id = read.log;
        let Some(log) = self.logs.get(log_id.0 as usize).and_then(|l| l.as_deref()) else {
            return self.fail_read(id, ReadError::Offline("the log was deleted".to_owned()));
        };
        if let Some(unknown) = log.segments.iter().find(|segment| segment.max.is_none()) {
            read.segment = unknown.base;
            return self.load_index(cx, id);
        }
        let seek = match query.target {
            TimestampTarget::AtLeast(timestamp) => {
                let candidate = log
                    .segments
                    .iter()
                    .find(|segment| segment.max.is_some_and(|max| max.timestamp >= timestamp));
                candidate.map(|segment| (segment.base, None))
            }
            TimestampTarget::Max => max_candidate(log, query.below).map(|last| {
                let at = log.segment_at(last).unwrap_or(0);
                (log.segments[at].base, Some(last))
            }),
        };
        let Some((segment, batch)) = seek else {
            return self.found(cx, id, None);
        };
        read.segment = segment;
        read.want = Want::Time { query, batch };
        let start = match (query.target, batch) {
            (_, Some(last)) => self.with_index(log_id, segment, |index| {
                (last, u64::from(index.position(segment, last)))
            }),
            (TimestampTarget::AtLeast(timestamp), None) => {
                self.with_index(log_id, segment, |index| {
                    let from = index.offset_before(segment, timestamp);
                    (from, u64::from(index.position(segment, from)))
                })
            }
            (TimestampTarget::Max, None) => None,
        };
        let Some((from, position)) = start else {
            return self.load_index(cx, id);
        };
        if !self.seek_hot(cx, id, from) {
            self.read_at(cx, id, segment, position);
        }
    }

    /// Looks for a timestamp among the batches in memory if they reach back to `from`; false if they do not.
    fn seek_hot(&mut self, cx: &mut Cx<'_>, id: ReadId, from: Offset) -> bool {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return true;
        };
        let Some(log) = self.logs[read.log.0 as usize].as_deref() else {
            return false;
        };
        if log.hot.front().is_none_or(|batch| batch.base > from) {
            return false;
        }
        let Want::Time { query, batch } = read.want else {
            return false;
        };
        let start = read.starts_at(log.start);
        let wanted = |b: &&HotBatch| wants(query, batch, start, b.max_timestamp, b.last);
        let found = log.hot.iter().skip_while(|b| b.last < from).find(wanted);
        match found {
            Some(found) => {
                read.epoch = found.epoch;
                read.tried = Some(found.last);
                read.position = u64::MAX;
                let log_id = read.log;
                let block = found.parts.to_bytes();
                let job = Job::FindTimestamp {
                    block,
                    target: query.target,
                    from: start,
                };
                self.work(cx, Wait::Cold(log_id, id, ColdStep::Work), job);
            }
            None => self.found(cx, id, None),
        }
        true
    }

    /// Reads a block of `segment` at `position`.
    fn read_at(&mut self, cx: &mut Cx<'_>, id: ReadId, segment: Offset, position: u64) {
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
            Want::Time { .. } | Want::Index => 0,
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
                        self.close_cold_files(cx);
                    }
                    _ => self.issue(cx, Wait::Ignore, DiskOp::Close { file }),
                }
                self.read_at(cx, id, segment, position);
            }
            (_, Ok(DiskDone::Read(block))) => {
                read.block = block.clone();
                self.work(
                    cx,
                    Wait::Cold(log_id, id, ColdStep::Work),
                    Job::Scan { block },
                );
            }
            (_, Ok(_)) => self.damaged_read(cx, id, "it could not be read"),
            (_, Err(error)) => self.damaged_read(cx, id, &error.to_string()),
        }
    }

    pub(super) fn on_cold_worked(&mut self, cx: &mut Cx<'_>, id: ReadId, facts: Facts) {
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
            Facts::Found(Err(fault)) => self.damaged_read(cx, id, &fault.message),
            Facts::Validated(_) => {}
        }
    }

    fn take_block(&mut self, cx: &mut Cx<'_>, id: ReadId, scanned: Scanned) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        let data = std::mem::take(&mut read.block);
        let (log_id, segment, position, want) = (read.log, read.segment, read.position, read.want);
        let bad = scanned.batches.iter().find(|batch| !batch.crc_holds);
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
                    self.work(cx, Wait::Cold(log_id, id, ColdStep::Work), job);
                    return;
                }
                false
            }
            Want::Index => false,
        };
        let last = batches.last().map(|batch| batch.last);
        if let Some(first) = batches.first() {
            let from = match want {
                Want::Records(wanted) => wanted.from.min(first.base),
                Want::Time { .. } | Want::Index => first.base,
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
        match scanned.rest {
            _ if bad.is_some() => self.damaged_read(cx, id, "a checksum does not hold"),
            ScanRest::Damage { .. } => {
                self.damaged_read(cx, id, "there is no batch where one must be")
            }
            ScanRest::Short { need, .. } if need > BATCH_MAX => {
                self.damaged_read(cx, id, "a batch has an impossible length");
            }
            ScanRest::Short { need, .. } if consumed == 0 && need <= data.len() as u64 => {
                self.damaged_read(cx, id, "a batch is cut off");
            }
            ScanRest::Short { need, .. } => {
                let size = self.segment_size(log_id, segment);
                if next_position + need > size {
                    self.damaged_read(cx, id, "the file ends in the middle of a batch");
                } else {
                    self.read_block_at(cx, id, segment, next_position, need);
                }
            }
            ScanRest::Nothing if data.is_empty() => {
                self.damaged_read(cx, id, "the file is shorter than it was");
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

    fn found(&mut self, cx: &mut Cx<'_>, id: ReadId, found: Option<FoundTimestamp>) {
        self.end_read(cx, id);
        self.notices.push_back(Notice::LookupDone(id, Ok(found)));
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

    fn damaged_read(&mut self, cx: &mut Cx<'_>, id: ReadId, what: &str) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let (segment, position) = (read.segment, read.position);
        let Some(log) = self.log(read.log) else {
            return;
        };
        let message = format!(
            "{}/{}/{}: {what} at or after byte {position}. The records there cannot be served: restore the directory from a copy",
            self.dirs[log.dir].path,
            log.name(),
            file_name(segment, ".log"),
        );
        self.note(cx, Level::Error, message.clone());
        cx.out.mark(crate::mark::Mark::RotDetected);
        self.fail_read(id, ReadError::Damaged(message));
        self.go_on_shutdown(cx);
    }

    fn fail_read(&mut self, id: ReadId, error: ReadError) {
        let Some(read) = self.cold.reads.remove(&id) else {
            return;
        };
        if let Some(log) = self.log_mut(read.log) {
            log.readers.remove(&id);
        }
        match read.want {
            Want::Records(_) => self.notices.push_back(Notice::ReadDone(id, Err(error))),
            Want::Time { .. } => self.notices.push_back(Notice::LookupDone(id, Err(error))),
            Want::Index => {}
        }
    }

    /// Fails every read of a log that went away.
    pub(super) fn fail_reads(&mut self, id: LogId, message: &str) {
        let reads: Vec<ReadId> = self
            .log(id)
            .map(|log| log.readers.iter().copied().collect())
            .unwrap_or_default();
        for read in reads {
            self.fail_read(read, ReadError::Offline(message.to_owned()));
        }
        self.cold.forget(id);
    }

    fn end_read(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.remove(&id) else {
            return;
        };
        if let Some(log) = self.log_mut(read.log) {
            log.readers.remove(&id);
            if log.readers.is_empty() {
                self.close_synced_segments(cx, read.log);
            }
        }
    }

    /// Keeps the number of files that are open for reading within its limit.
    fn close_cold_files(&mut self, cx: &mut Cx<'_>) {
        let mut looked_at = 0;
        while self.cold.open.len() > self.config.cold_files && looked_at < 16 {
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

/// Can this batch hold what a lookup looks for?
fn wants(
    query: TimestampQuery,
    batch: Option<Offset>,
    start: Offset,
    max_timestamp: i64,
    last: Offset,
) -> bool {
    match (query.target, batch) {
        (TimestampTarget::AtLeast(least), _) => max_timestamp >= least && last >= start,
        (TimestampTarget::Max, Some(batch)) => last >= batch,
        (TimestampTarget::Max, None) => false,
    }
}

/// The last offset of the batch with the greatest timestamp below `below`.
fn max_candidate(log: &Log, below: Offset) -> Option<Offset> {
    let rolled = log.segments.iter().filter_map(|segment| {
        let max = segment.max?;
        let last = |max: MaxTimestamp| Offset(segment.base.0 + i64::from(max.offset));
        // What is above the bound is among the recent batches, which are looked at one by one.
        let max = if last(max) < below {
            max
        } else {
            segment.settled
        };
        (max.timestamp >= 0).then_some((max.timestamp, last(max)))
    });
    let hot = log
        .hot
        .iter()
        .map(|batch| (batch.max_timestamp, batch.last));
    let mut best: Option<(i64, Offset)> = None;
    for (timestamp, last) in rolled.chain(hot) {
        let counts = timestamp >= 0 && last < below && last >= log.start;
        if counts && best.is_none_or(|known| (timestamp, -last.0) > (known.0, -known.1.0)) {
            best = Some((timestamp, last));
        }
    }
    best.map(|(_, last)| last)
}

impl Cold {
    /// Reads from the blocks in memory.
    fn read(&self, log: LogId, read: Read) -> Option<Records> {
        let holds = |block: &&Block| {
            block.log == log
                && block.from <= read.from
                && block.batches.last().is_some_and(|b| b.last >= read.from)
        };
        let block = self.blocks.iter().rev().find(holds)?;
        let at = block
            .batches
            .partition_point(|batch| batch.last < read.from);
        let mut picker = Picker::new(read);
        let first = block.batches.get(at)?;
        let mut end = first.at as usize;
        let begin = end;
        for batch in &block.batches[at..] {
            if !picker.take(batch.base, batch.last, batch.len as usize, || {
                // Neighbours are one slice: taken together below.
                Parts::from(
                    block
                        .data
                        .slice(batch.at as usize..(batch.at + batch.len) as usize),
                )
            }) {
                break;
            }
            end = (batch.at + batch.len) as usize;
        }
        if end > begin {
            picker.records.parts = Parts::from(block.data.slice(begin..end));
        }
        Some(picker.records)
    }

    /// The position behind a block that ends right before `from`.
    fn position_after(&self, log: LogId, segment: Offset, from: Offset) -> Option<u64> {
        self.blocks
            .iter()
            .rev()
            .find(|block| {
                block.log == log
                    && block.segment == segment
                    && block.batches.last().is_some_and(|b| b.last.next() == from)
            })
            .map(|block| block.next_position)
    }

    fn index(&self, log: LogId, segment: Offset) -> Option<&SegmentIndex> {
        self.indexes
            .iter()
            .rev()
            .find(|cached| cached.log == log && cached.segment == segment)
            .map(|cached| &cached.index)
    }

    fn keep_index(&mut self, log: LogId, segment: Offset, index: SegmentIndex, budget: u64) {
        self.bytes += index.memory();
        self.indexes.push_back(CachedIndex {
            log,
            segment,
            index,
        });
        self.trim(budget);
    }

    fn keep_block(&mut self, block: Block, budget: u64) {
        self.bytes += block.data.len() as u64;
        self.blocks.push_back(block);
        self.trim(budget);
    }

    /// Drops the oldest beyond the budget, never the newest of each.
    fn trim(&mut self, budget: u64) {
        while self.bytes > budget {
            if self.blocks.len() > 1 {
                if let Some(block) = self.blocks.pop_front() {
                    self.bytes -= block.data.len() as u64;
                }
            } else if self.indexes.len() > 1 {
                if let Some(cached) = self.indexes.pop_front() {
                    self.bytes -= cached.index.memory();
                }
            } else {
                return;
            }
        }
    }

    fn forget(&mut self, log: LogId) {
        self.forget_where(|of, _| of == log);
    }

    fn forget_segment(&mut self, log: LogId, segment: Offset) {
        self.forget_where(|of, at| of == log && at == segment);
    }

    fn forget_where(&mut self, goes: impl Fn(LogId, Offset) -> bool) {
        self.blocks.retain(|block| !goes(block.log, block.segment));
        self.indexes
            .retain(|cached| !goes(cached.log, cached.segment));
        self.open.retain(|&(log, segment)| !goes(log, segment));
        let blocks: u64 = self.blocks.iter().map(|b| b.data.len() as u64).sum();
        let indexes: u64 = self.indexes.iter().map(|i| i.index.memory()).sum();
        self.bytes = blocks + indexes;
    }
}
