//! Lookups by timestamp: which segment, which batch, which record. KIP-33, KIP-734.
//!
//! Goes by the segments' greatest timestamps and the time index, then reads forward; among the recent batches in memory as soon as
//! they reach back far enough.

use crate::ids::{LogId, Offset};
use crate::io::Cx;
use crate::mutant::Mutant;
use crate::work::{Job, TimestampTarget};

use super::index::MaxTimestamp;
use super::notice::{FoundTimestamp, LookupOutcome, Notice, ReadError, ReadId, TimestampQuery};
use super::partition_log::{HotBatch, Log};
use super::read::Want;
use super::store::LogStore;

impl LogStore {
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
        if self.shutdown.is_some() {
            return Err(ReadError::Stopping);
        }
        let segment = log.segments.first().map_or(log.start, |first| first.base);
        let want = Want::Time { query, batch: None };
        Ok(LookupOutcome::Later(self.begin_cold(cx, id, want, segment)))
    }

    /// Finds where a timestamp may be, segment by segment.
    pub(super) fn seek_time(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.get_mut(&id) else {
            return;
        };
        let Want::Time { mut query, .. } = read.want else {
            return;
        };
        let log_id = read.log;
        let Some(log) = self.logs.get(log_id.0 as usize).and_then(|l| l.as_deref()) else {
            return self.fail_read(id, ReadError::Offline("the log was deleted".to_owned()));
        };
        // The high watermark may have passed the bound since it was asked, and batches above the bound may have left memory.
        if !cx.mutants.has(Mutant::KeepLookupBound) {
            query.below = query.below.max(log.high_watermark);
        }
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
            self.read_led(cx, id, segment, position, from);
        }
    }

    /// Looks for a timestamp among the batches in memory if they reach back to `from`; false if they do not.
    pub(super) fn seek_hot(&mut self, cx: &mut Cx<'_>, id: ReadId, from: Offset) -> bool {
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
                self.cold_work(cx, log_id, id, job);
            }
            None => self.found(cx, id, None),
        }
        true
    }

    pub(super) fn found(&mut self, cx: &mut Cx<'_>, id: ReadId, found: Option<FoundTimestamp>) {
        self.end_read(cx, id);
        self.notices.push_back(Notice::LookupDone(id, Ok(found)));
    }
}

/// Can this batch hold what a lookup looks for?
pub(super) fn wants(
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
///
/// As in Kafka, a record below the log's start counts as long as its segment is kept: of a segment no more is known than its one
/// greatest timestamp, so without it the greatest of what is left could only be found by reading all of it.
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
    let kept = log.segments.first().map_or(log.start, |first| first.base);
    let mut best: Option<(i64, Offset)> = None;
    for (timestamp, last) in rolled.chain(hot) {
        let counts = timestamp >= 0 && last < below && last >= kept;
        if counts && best.is_none_or(|known| (timestamp, -last.0) > (known.0, -known.1.0)) {
            best = Some((timestamp, last));
        }
    }
    best.map(|(_, last)| last)
}
