//! Rebuilding the indexes of a rolled segment while its log serves, and the verdict on damage that a read met. Kafka's
//! `LogLoader.recoverSegment`, which it runs at opening only.
//!
//! An index is not believed where its own structure or the batches that it points to speak against it: the segment is read from
//! its first byte in blocks, its indexes are made anew from its batches and replaced on disk, and the reads that wait go on.
//! If it is the batches that are damaged, the log goes offline: what cannot be served by this copy must not be served in part.

use bytes::Bytes;

use crate::event::Level;
use crate::ids::{FileId, LogId, Offset};
use crate::io::{Cx, DiskError};
use crate::mark::Mark;
use crate::work::{Scanned, ScannedBatch};

use super::index::relative;
use super::notice::{ReadError, ReadId};
use super::read::Want;
use super::segment::{Segment, file_name};
use super::store::LogStore;

/// Indexes under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rebuild {
    /// As the segment would be if only the batches read so far were in it.
    made: Segment,
    /// Where the next batch may begin at the earliest.
    expected: Offset,
    /// Reads that go on when the indexes are there.
    waiting: Vec<ReadId>,
}

impl LogStore {
    /// Rebuilds the indexes of the segment that a read is in; the read goes on afterwards.
    pub(super) fn rebuild_index(&mut self, cx: &mut Cx<'_>, waiting: ReadId) {
        let Some(read) = self.cold.reads.get(&waiting) else {
            return;
        };
        let (log_id, segment) = (read.log, read.segment);
        if let Some(rebuild) = self.cold.rebuilds.get_mut(&(log_id, segment)) {
            return rebuild.waiting.push(waiting);
        }
        let message = format!(
            "{}/{}: its indexes are missing or wrong, and are rebuilt from it",
            self.log_path(log_id),
            file_name(segment, ".log")
        );
        self.note(cx, Level::Warn, message);
        cx.out.mark(Mark::IndexRebuilt);
        let rebuild = Rebuild {
            made: Segment::new(segment, FileId(0), cx.now.wall),
            expected: segment,
            waiting: vec![waiting],
        };
        self.cold.rebuilds.insert((log_id, segment), rebuild);
        self.begin_cold(cx, log_id, Want::Rebuild, segment);
    }

    /// Takes the batches of a block that begins at `position` into the indexes under construction.
    ///
    /// # Errors
    /// The position of the first batch that is damaged, and how.
    pub(super) fn note_rebuilt(
        &mut self,
        cx: &Cx<'_>,
        key: (LogId, Offset),
        position: u64,
        scanned: &Scanned,
    ) -> Result<(), (u64, &'static str)> {
        let Some(log) = self.logs.get(key.0.0 as usize).and_then(|l| l.as_deref()) else {
            return Ok(());
        };
        let end = log
            .segment_at(key.1)
            .map_or(log.end, |at| log.segment_end(at));
        let interval = log.config.index_interval_bytes;
        let Some(rebuild) = self.cold.rebuilds.get_mut(&key) else {
            return Ok(());
        };
        for ScannedBatch {
            at,
            header,
            crc_holds,
            ..
        } in &scanned.batches
        {
            let at = position + u64::from(*at);
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            if !crc_holds {
                return Err((at, "a checksum does not hold"));
            }
            let fits = header.base_offset >= rebuild.expected
                && header.next_offset() <= end
                && relative(key.1, header.last_offset()).is_some();
            if !fits {
                return Err((at, "a batch has offsets that cannot be there"));
            }
            rebuild.made.note(header, place, interval, cx.mutants);
            rebuild.expected = header.next_offset();
        }
        Ok(())
    }

    /// The whole segment is read: its new indexes serve, and replace the old ones on disk.
    pub(super) fn index_rebuilt(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let (log_id, base) = (read.log, read.segment);
        let Some(Rebuild {
            mut made, waiting, ..
        }) = self.cold.rebuilds.remove(&(log_id, base))
        else {
            return self.end_read(cx, id);
        };
        made.finish_index(cx.mutants);
        let index = made.index.unwrap_or_default();
        let files = vec![
            (
                file_name(base, ".index"),
                Bytes::from(index.encode_offsets()),
            ),
            (
                file_name(base, ".timeindex"),
                Bytes::from(index.encode_times()),
            ),
        ];
        let Some(log) = self.log_mut(log_id) else {
            return;
        };
        let (dir, handle) = (log.dir, log.handle);
        if let Some(segment) = log.segment_mut(base) {
            segment.max = made.max;
            segment.settled = made.max.unwrap_or_default();
            segment.verified = true;
        }
        let budget = self.config.cold_bytes;
        self.cold.keep_index(log_id, base, index, budget);
        let stages = self.replacements(cx, dir, handle, files);
        self.begin_plan(
            cx,
            dir,
            stages,
            super::plan::Then::IndexRebuilt(log_id, base),
        );
        self.end_read(cx, id);
        for waiting in waiting {
            self.go_on_with_index(cx, waiting);
        }
    }

    /// A read found something else than whole batches at `position` of its segment. The index that led there may be wrong: then it
    /// is rebuilt, which judges the segment batch by batch; if not, the log is damaged.
    pub(super) fn damaged_read(&mut self, cx: &mut Cx<'_>, id: ReadId, position: u64, what: &str) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let (log_id, base, want) = (read.log, read.segment, read.want);
        let judged = self
            .log_mut(log_id)
            .and_then(|log| log.segment_mut(base))
            .is_none_or(|segment| segment.verified || !segment.sealed);
        if want != Want::Rebuild && !judged {
            return self.rebuild_index(cx, id);
        }
        self.lose_log(cx, id, position, what);
    }

    /// The device cannot give back what a read needs.
    pub(super) fn failed_read(&mut self, cx: &mut Cx<'_>, id: ReadId, error: DiskError) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let (log_id, position) = (read.log, read.position);
        if error == DiskError::TooManyOpen {
            // The log is whole: who asks again may find one that is free.
            self.close_cold_files(cx, 0);
            let message = format!("{}: {error}", self.log_path(log_id));
            return self.fail_read(id, ReadError::Offline(message));
        }
        self.lose_log(cx, id, position, &error.to_string());
    }

    /// Takes the log of a read offline: its records cannot all be served from here any more.
    fn lose_log(&mut self, cx: &mut Cx<'_>, id: ReadId, position: u64, what: &str) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let (log_id, base) = (read.log, read.segment);
        let offset = match (self.cold.rebuilds.get(&(log_id, base)), read.want) {
            (Some(rebuild), _) => rebuild.expected,
            (None, Want::Records(wanted)) => wanted.from.max(base),
            (None, Want::Time { .. } | Want::Index | Want::Rebuild) => base,
        };
        let message = format!(
            "{}/{} is damaged at byte {position}, at or after offset {offset}: {what}. The partition is offline, so that nothing is skipped silently. Check the disk, restore the directory from a copy and restart the node; or, to give up the records of this segment, move the directory away and create the topic anew",
            self.log_path(log_id),
            file_name(base, ".log"),
        );
        cx.out.mark(Mark::RotDetected);
        self.fail_read(id, ReadError::Damaged(message.clone()));
        self.take_offline(cx, log_id, message);
        self.go_on_shutdown(cx);
    }

    /// A rebuild came to nothing: so do the reads that wait for it.
    pub(super) fn rebuild_failed(&mut self, key: (LogId, Offset), error: &ReadError) {
        let Some(rebuild) = self.cold.rebuilds.remove(&key) else {
            return;
        };
        for waiting in rebuild.waiting {
            self.fail_read(waiting, error.clone());
        }
    }

    /// A read whose segment has its index in memory now.
    pub(super) fn go_on_with_index(&mut self, cx: &mut Cx<'_>, id: ReadId) {
        let Some(read) = self.cold.reads.get(&id) else {
            return;
        };
        let log_id = read.log;
        match read.want {
            Want::Records(_) => self.seek_records(cx, id),
            Want::Time { .. } => self.seek_time(cx, id),
            Want::Index => {
                self.end_read(cx, id);
                self.apply_retention(cx, log_id);
                self.continue_retention(cx);
            }
            Want::Rebuild => self.read_at(cx, id, read.segment, 0),
        }
    }
}
