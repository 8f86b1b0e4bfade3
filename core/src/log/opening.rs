//! Opening a log that is on disk: loading it after a clean stop, recovering it after a crash. Kafka's `LogLoader`.
//!
//! In bounded pieces: a page of the directory, a small file, a block of batches and its scan at a time. After a clean stop only the
//! tail behind the active segment's last index entry is read. After a crash every segment from the recovery point on is
//! scanned. Damage at an offset that was promised takes the log offline; damage above it is a torn tail, and cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::event::{Event, Level};
use crate::ids::{FileId, LeaderEpoch, LogId, Offset, Uuid};
use crate::io::{Cx, DiskDone, DiskError, DiskOp, Entry, Name};
use crate::mark::Mark;
use crate::mutant::Mutant;
use crate::rng::Purpose;
use crate::wire::batch::BatchHeader;
use crate::work::Job;

use super::checkpoint;
use super::epochs::Epochs;
use super::files::{FileError, FileResult, FileThen};
use super::frontier;
use super::index::{OFFSET_ENTRY, TIME_ENTRY};
use super::notice::Notice;
use super::partition_log::{Log, State, Unsynced};
use super::plan::{CheckpointKind, Then, may, must};
use super::producers::Producers;
use super::recovery::{Scan, Task};
use super::removal::{DELETE_SUFFIX, left_name};
use super::segment::{Segment, file_name, name};
use super::start::{METADATA_TOPIC, parse_log_name};
use super::store::{LogStore, Wait};

/// Entries of a page.
const PAGE: u32 = 500;
/// What is known of a log while it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) phase: Phase,
    /// The directory was stopped cleanly.
    pub(super) clean: bool,
    /// The last life was ours: it left no gaps above the floor.
    pub(super) had_frontier: bool,
    /// Everything below is whole on disk, with indexes.
    pub(super) recovery_point: Offset,
    /// Everything below was promised.
    pub(super) floor: Offset,
    pub(super) entries: Vec<Entry>,
    pub(super) files_outstanding: usize,
    pub(super) metadata: Option<Uuid>,
    /// Segments from here on came from an interrupted swap and may overlap older ones.
    pub(super) swapped_from: Option<Offset>,
    /// Batches from here on are applied to the producer state.
    pub(super) producers_from: Offset,
    /// A producer snapshot was there, and could not be used.
    pub(super) lost_snapshot: bool,
    pub(super) index_files: [Option<Bytes>; 2],
    pub(super) tasks: VecDeque<Task>,
    pub(super) scan: Option<Scan>,
    /// The end of what was scanned so far, and the last batch before it.
    pub(super) expected: Option<Offset>,
    pub(super) last: Option<frontier::Mark>,
    pub(super) rebuilt: BTreeSet<Offset>,
    /// The producer state at the ends of rebuilt segments, by the base of the next one: retention may remove what it rests on.
    pub(super) snapshots: BTreeMap<Offset, Bytes>,
    pub(super) cut_bytes: Option<u64>,
    /// Leader epochs that began behind its end were cut off.
    pub(super) epochs_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Directory,
    Listing,
    Tidying,
    SmallFiles,
    Snapshot(Offset),
    ActiveIndex,
    SegmentFile,
    Block,
    /// What of a block was not promised is written again.
    WritingAgain,
    FirstBatch,
    Cutting,
    /// Everything is read; what was only in the page cache is being synced.
    Syncing,
}

impl LogStore {
    /// Begins to open the log in `directory`, whose name was checked.
    pub(super) fn open_log(&mut self, cx: &mut Cx<'_>, dir: usize, directory: &str) {
        let (Some((topic, partition)), Some(entry)) =
            (parse_log_name(directory), Name::new(directory))
        else {
            return;
        };
        let home = &mut self.dirs[dir];
        let key = (topic, partition);
        let checkpointed = CheckpointKind::ALL.map(|kind| {
            let former = home.checkpoint(kind).former.remove(&key);
            former.map(|former| former.offset)
        });
        let topic = key.0;
        let [recovery_point, start, high_watermark] =
            checkpointed.map(|offset| offset.unwrap_or(Offset(0)));
        let opening = Opening {
            phase: Phase::Directory,
            clean: home.was_clean,
            had_frontier: home.start.as_ref().is_some_and(|s| s.had_frontier),
            recovery_point,
            floor: recovery_point,
            entries: Vec::new(),
            files_outstanding: 0,
            metadata: None,
            swapped_from: None,
            producers_from: Offset(0),
            lost_snapshot: false,
            index_files: [None, None],
            tasks: VecDeque::new(),
            scan: None,
            expected: None,
            last: None,
            rebuilt: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            cut_bytes: None,
            epochs_lost: false,
        };
        let is_metadata = topic == METADATA_TOPIC;
        let config = if is_metadata {
            self.config.metadata_config.clone()
        } else {
            self.config.default_config.clone()
        };
        let handle = self.fresh_dir();
        let id = self.add_log(|id| {
            let state = State::Opening(Box::new(opening));
            let mut log = Log::new(id, topic, Uuid::ZERO, partition, dir, handle, config, state);
            log.checkpointed = checkpointed;
            log.start = start;
            log.durable_start = start;
            log.high_watermark = high_watermark;
            log.configured = is_metadata;
            log
        });
        self.dirs[dir].logs.insert(id);
        let op = DiskOp::OpenDir {
            parent: self.dirs[dir].root,
            name: entry,
            dir: handle,
        };
        self.issue(cx, Wait::Opening(id), op);
    }

    /// The log and what is known of its opening.
    pub(super) fn opening(&mut self, id: LogId) -> Option<(&mut Log, Opening)> {
        let log = self.logs.get_mut(id.0 as usize)?.as_deref_mut()?;
        match &log.state {
            State::Opening(opening) => {
                let opening = Opening::clone(opening);
                Some((log, opening))
            }
            _ => None,
        }
    }

    /// Changes what is known of a log's opening.
    pub(super) fn with_opening<T>(
        &mut self,
        id: LogId,
        change: impl FnOnce(&mut Opening) -> T,
    ) -> Option<T> {
        match &mut self.log_mut(id)?.state {
            State::Opening(opening) => Some(change(opening)),
            _ => None,
        }
    }

    fn opening_phase(&self, id: LogId) -> Option<Phase> {
        match &self.log(id)?.state {
            State::Opening(opening) => Some(opening.phase),
            _ => None,
        }
    }

    pub(super) fn on_opening_disk(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        result: Result<DiskDone, DiskError>,
    ) {
        let Some(phase) = self.opening_phase(id) else {
            return;
        };
        if self.directory_failure(id).is_some() {
            // It goes out of service as it is.
            return;
        }
        let done = match result {
            Ok(done) => done,
            // A file system that needs room to write what is there already leaves it as it is.
            Err(DiskError::Full) if phase == Phase::WritingAgain => DiskDone::Written,
            Err(error) => {
                let message = format!(
                    "{}: {error} while it was opened. Check the disk and restart the node",
                    self.log_path(id)
                );
                return self.take_offline(cx, id, message);
            }
        };
        match (phase, done) {
            (Phase::Directory, _) => self.list_log(cx, id, None),
            (Phase::Listing, DiskDone::Listed { entries, more }) => {
                let after = entries.last().map(|entry| entry.name.clone());
                self.with_opening(id, |opening| opening.entries.extend(entries));
                if more && after.is_some() {
                    self.list_log(cx, id, after);
                } else {
                    self.tidy(cx, id);
                }
            }
            (Phase::SegmentFile, DiskDone::Opened { len }) => self.scan_from(cx, id, len),
            (Phase::Block, DiskDone::Read(block)) => {
                self.with_opening(id, |opening| {
                    if let Some(scan) = &mut opening.scan {
                        scan.block = block.clone();
                    }
                });
                let _ = self.work(cx, Wait::Opening(id), Job::Scan { block });
            }
            (Phase::WritingAgain, DiskDone::Written) => self.scan_on(cx, id),
            (Phase::FirstBatch, DiskDone::Read(bytes)) => {
                if let (Ok(header), Some(log)) = (BatchHeader::decode(&bytes), self.log_mut(id)) {
                    log.active().first_timestamp = Some(header.max_timestamp);
                }
                self.finish_opening(cx, id);
            }
            (_, _) => {}
        }
    }

    pub(super) fn log_path(&self, id: LogId) -> String {
        self.log(id)
            .map(|log| format!("{}/{}", self.dirs[log.dir].path, log.name()))
            .unwrap_or_default()
    }

    fn list_log(&mut self, cx: &mut Cx<'_>, id: LogId, after: Option<Name>) {
        self.with_opening(id, |opening| opening.phase = Phase::Listing);
        let Some(log) = self.log(id) else { return };
        let op = DiskOp::List {
            dir: log.handle,
            after,
            limit: PAGE,
        };
        self.issue(cx, Wait::Opening(id), op);
    }

    /// Removes what an interrupted deletion, compaction or replacement left, and finishes interrupted swaps.
    fn tidy(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let (dir, handle) = (log.dir, log.handle);
        let mut unlink: Vec<Name> = Vec::new();
        let mut rename: Vec<(Name, Name)> = Vec::new();
        let mut files: BTreeMap<String, u64> = BTreeMap::new();
        let cleaned_from = opening
            .entries
            .iter()
            .filter(|entry| entry.name.as_str().ends_with(".cleaned"))
            .filter_map(|entry| leading_offset(entry.name.as_str()))
            .min();
        for entry in opening.entries.iter().filter(|entry| !entry.dir) {
            let text = entry.name.as_str();
            let is_snapshot_of_metadata = text.contains(".checkpoint");
            if is_snapshot_of_metadata {
                log.checkpoints.push(entry.name.clone());
            }
            if let Some(plain) = text.strip_suffix(".swap") {
                // KAFKA-6264: a swap file at or above a cleaned one belongs to an operation that did not complete.
                let incomplete = cleaned_from
                    .is_some_and(|from| leading_offset(text).is_none_or(|offset| offset >= from));
                match Name::new(plain).filter(|_| !incomplete) {
                    Some(plain) => {
                        if let (Some(offset), true) =
                            (leading_offset(text), plain.as_str().ends_with(".log"))
                        {
                            let from = opening.swapped_from.map_or(offset, |o| o.min(offset));
                            opening.swapped_from = Some(from);
                        }
                        files.insert(plain.as_str().to_owned(), entry.len);
                        rename.push((entry.name.clone(), plain));
                    }
                    None => unlink.push(entry.name.clone()),
                }
            } else if (text.ends_with(".deleted") && !is_snapshot_of_metadata)
                || text.ends_with(".cleaned")
                || (text.ends_with(".tmp") && !is_snapshot_of_metadata)
            {
                unlink.push(entry.name.clone());
            } else {
                files.entry(text.to_owned()).or_insert(entry.len);
            }
        }
        let now = cx.now.wall;
        for (text, len) in &files {
            let Some((offset, suffix)) = split_name(text) else {
                continue;
            };
            match suffix {
                ".log" => {
                    let index = files.get(file_name(offset, ".index").as_str());
                    let times = files.get(file_name(offset, ".timeindex").as_str());
                    let whole = index.is_some_and(|len| len % OFFSET_ENTRY as u64 == 0)
                        // A rolled segment has its greatest timestamp there.
                        && times.is_some_and(|t| t % TIME_ENTRY as u64 == 0 && (*t > 0 || *len == 0));
                    log.segments.push(Segment {
                        size: u32::try_from(*len).unwrap_or(u32::MAX),
                        file: None,
                        creating: None,
                        entry_synced: opening.clean,
                        sealed: whole,
                        index: None,
                        max: None,
                        ..Segment::new(offset, FileId(0), now)
                    });
                }
                ".snapshot" => {
                    log.snapshots.insert(offset);
                }
                ".index" | ".timeindex" | ".txnindex"
                    if !files.contains_key(file_name(offset, ".log").as_str()) =>
                {
                    unlink.extend(Name::new(text.as_str()));
                }
                _ => {}
            }
        }
        opening.phase = Phase::Tidying;
        opening.entries = Vec::new();
        log.state = State::Opening(Box::new(opening));
        let rename = rename
            .into_iter()
            .map(|(from, to)| {
                let dir = handle;
                must(DiskOp::Rename { dir, from, to })
            })
            .collect();
        let unlink = unlink
            .into_iter()
            .map(|name| may(DiskOp::Unlink { dir: handle, name }))
            .collect();
        self.begin_plan(cx, dir, [unlink, rename], Then::Tidied(id));
    }

    pub(super) fn on_tidied(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log(id) else { return };
        let (dir, handle) = (log.dir, log.handle);
        self.with_opening(id, |opening| {
            opening.phase = Phase::SmallFiles;
            opening.files_outstanding = 2;
        });
        for file in [checkpoint::PARTITION_METADATA, checkpoint::LEADER_EPOCHS] {
            let file = name(file);
            let then = FileThen::Opening(id, file.clone());
            self.begin_file(cx, dir, handle, file, then);
        }
    }

    pub(super) fn on_opening_file(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        which: &Name,
        result: FileResult,
    ) {
        if self.directory_failure(id).is_some() {
            return;
        }
        let phase = self.opening_phase(id);
        let content = match (result, phase) {
            (Ok(content), _) => content,
            // As good as a damaged one.
            (Err(FileError::TooLarge(_)), Some(Phase::Snapshot(_))) => None,
            (Err(error), _) => {
                let message = format!(
                    "{}/{which}: {error}. Check the disk and restart the node",
                    self.log_path(id)
                );
                return self.take_offline(cx, id, message);
            }
        };
        let Some(phase) = phase else {
            return;
        };
        if let Phase::Snapshot(offset) = phase {
            return self.take_snapshot_file(cx, id, offset, content);
        }
        let Some(log) = self.log_mut(id) else { return };
        match (which.as_str(), content) {
            (checkpoint::PARTITION_METADATA, Some(content)) => {
                let topic_id = checkpoint::decode_partition_metadata(&content);
                self.with_opening(id, |opening| opening.metadata = topic_id);
            }
            (checkpoint::LEADER_EPOCHS, Some(content)) => {
                // A damaged file is as good as none: the batches tell the epochs that recovery needs.
                let entries = checkpoint::decode_epochs(&content).unwrap_or_default();
                log.epochs = Epochs::from_entries(entries);
            }
            (text, Some(content)) if text.ends_with(".index") => {
                self.with_opening(id, |opening| opening.index_files[0] = Some(content));
            }
            (text, Some(content)) if text.ends_with(".timeindex") => {
                self.with_opening(id, |opening| opening.index_files[1] = Some(content));
            }
            (_, _) => {}
        }
        let left = self.with_opening(id, |opening| {
            opening.files_outstanding -= 1;
            opening.files_outstanding
        });
        match (left, phase) {
            (Some(0), Phase::SmallFiles) => self.identify(cx, id),
            (Some(0), Phase::ActiveIndex) => self.take_active_index(cx, id),
            (_, _) => {}
        }
    }

    /// Whose log is it?
    fn identify(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let path = self.log_path(id);
        let Some((log, mut opening)) = self.opening(id) else {
            return;
        };
        let is_metadata = log.topic == METADATA_TOPIC;
        let topic_id = match opening.metadata {
            Some(topic_id) => topic_id,
            None if is_metadata => Uuid::METADATA_TOPIC,
            None if log.size_bytes() == 0 => {
                // A crash in the middle of its creation: nothing was ever in it.
                // It is renamed first, so that the log can be created again at once.
                let (dir, old) = (log.dir, log.name());
                let bits = cx.rng.bits(Purpose::DeletedDirectory, u64::from(id.0), 1);
                let renamed = left_name(&old, bits, DELETE_SUFFIX);
                let root = self.dirs[dir].root;
                self.leave_checkpoints(id);
                self.forget_log(id);
                if let Some(from) = Name::new(old) {
                    let to = renamed.clone();
                    let op = DiskOp::Rename {
                        dir: root,
                        from,
                        to,
                    };
                    self.issue(cx, Wait::Ignore, op);
                    self.remove_directory(cx, dir, renamed);
                }
                return self.opened_one();
            }
            None => {
                let message = format!(
                    "{path}/partition.metadata is missing or damaged, so the topic of the log is unknown. Restore the file, or move the directory away and restart"
                );
                return self.take_offline(cx, id, message);
            }
        };
        log.topic_id = topic_id;
        let key = (topic_id, log.partition);
        let dir = log.dir;
        if self.by_topic.contains_key(&key) {
            let message = format!(
                "{path} holds a partition that another directory holds too. Move one of them away and restart"
            );
            return self.take_offline(cx, id, message);
        }
        self.by_topic.insert(key, id);
        let proven = self.dirs[dir]
            .start
            .as_mut()
            .and_then(|start| start.proven.remove(&key))
            .map_or(Offset(0), |mark| mark.end);
        opening.floor = opening.recovery_point.max(proven);
        self.with_opening(id, |known| *known = opening);
        self.load_snapshot(cx, id);
    }

    /// Reads the latest producer snapshot that recovery cannot contradict.
    fn load_snapshot(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, opening)) = self.opening(id) else {
            return;
        };
        let (dir, handle) = (log.dir, log.handle);
        let limit = if opening.clean {
            Offset(i64::MAX)
        } else {
            let at = log.recovered_from(opening.recovery_point, cx.mutants);
            log.segments
                .get(at)
                .map_or(Offset(0), |segment| segment.base)
        };
        let latest = log.snapshots.range(..=limit).next_back().copied();
        match latest {
            Some(offset) => {
                let file = file_name(offset, ".snapshot");
                self.with_opening(id, |opening| opening.phase = Phase::Snapshot(offset));
                let then = FileThen::Opening(id, file.clone());
                self.begin_file(cx, dir, handle, file, then);
            }
            None => {
                // Kafka: a clean stop without a snapshot knew no producers, unless it was damaged. After a crash it forgets those of batches below the start of the
                // log; a late retry of such a batch would be appended again, so here every batch that is left speaks for its producer.
                let forgets = cx.mutants.has(Mutant::ForgetProducersOfLostSnapshot);
                let from = if opening.clean && (forgets || !opening.lost_snapshot) {
                    Offset(i64::MAX)
                } else if cx.mutants.has(Mutant::ForgetProducersBelowStart) {
                    log.start
                } else {
                    Offset(0)
                };
                self.with_opening(id, |opening| opening.producers_from = from);
                self.plan_scan(cx, id);
            }
        }
    }

    fn take_snapshot_file(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        offset: Offset,
        content: Option<Bytes>,
    ) {
        let path = self.log_path(id);
        let Some(log) = self.log_mut(id) else { return };
        match content.and_then(Producers::decode) {
            Some(producers) => {
                log.producers = producers;
                self.with_opening(id, |opening| opening.producers_from = offset);
                self.plan_scan(cx, id);
            }
            None => {
                let handle = log.handle;
                log.snapshots.remove(&offset);
                self.with_opening(id, |opening| opening.lost_snapshot = true);
                let file = file_name(offset, ".snapshot");
                let message = format!(
                    "{path}/{file} is damaged or too large: an earlier one is used, and the batches behind it"
                );
                self.note(cx, Level::Warn, message);
                let op = DiskOp::Unlink {
                    dir: handle,
                    name: file,
                };
                self.issue(cx, Wait::Ignore, op);
                self.load_snapshot(cx, id);
            }
        }
    }

    pub(super) fn finish_opening(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let new_file = self.fresh_file();
        let path = self.log_path(id);
        let expiration = self.config.producer_id_expiration_ms;
        let Some((log, opening)) = self.opening(id) else {
            return;
        };
        let end = opening.expected.unwrap_or(log.start);
        if log.start > end {
            let start = log.start;
            let message = format!(
                "{path} ends at offset {end}, below its start {start}: files were lost. Restore the directory from a copy, or move it away and restart"
            );
            return self.take_offline(cx, id, message);
        }
        let (dir, handle) = (log.dir, log.handle);
        log.end = end;
        log.written = end;
        log.start = log
            .segments
            .first()
            .map_or(log.start, |first| first.base.max(log.start));
        if opening.clean {
            log.settle_first_base();
        }
        log.synced = if opening.clean {
            end
        } else {
            opening.floor.min(end)
        };
        log.promised = if log.config.is_loose() {
            end
        } else {
            log.synced
        };
        log.high_watermark = log.high_watermark.min(end).max(log.start);
        let newest = log.epochs.entries().last();
        let epochs_lost = newest.is_some_and(|(_, start)| *start > end);
        if log.epochs.truncate_end(end) {
            log.epochs_changed(end);
        }
        if log.start > Offset(0) && log.epochs.truncate_start(log.start) {
            log.epochs_changed(end);
        }
        log.producers.expire(cx.now.wall.0, expiration);
        if cx.mutants.has(Mutant::ForgetProducerState) {
            log.producers = Producers::default();
        }
        let mut stale = log.snapshots.split_off(&end.next());
        stale.extend(stray_snapshots(log));
        log.snapshots.retain(|snapshot| !stale.contains(snapshot));
        if end > log.synced {
            let (epoch, crc) = opening
                .last
                .map_or((LeaderEpoch::NONE, 0), |last| (last.epoch, last.crc));
            let mark = frontier::Mark { end, epoch, crc };
            log.unsynced.push_back(Unsynced { lsn: None, mark });
        }
        let last = log.segments.last().map(|segment| segment.base);
        let active = log.segments.last().and_then(|segment| segment.file);
        for segment in &mut log.segments {
            let rebuilt = opening.rebuilt.contains(&segment.base);
            segment.sealed = !rebuilt && last != Some(segment.base);
            segment.verified = rebuilt;
            segment.settled = segment.max.unwrap_or_default();
        }
        let recovered = !opening.clean;
        let rebuilt: Vec<Offset> = opening.rebuilt.iter().copied().collect();
        let snapshots = opening.snapshots.clone();
        log.state = State::Opening(Box::new(Opening {
            phase: Phase::Syncing,
            epochs_lost,
            ..opening
        }));
        if log.segments.is_empty() {
            let segment = Segment::new(log.start, new_file, cx.now.wall);
            let base = segment.base;
            log.segments.push(segment);
            let create = must(DiskOp::Create {
                dir: handle,
                name: file_name(base, ".log"),
                file: new_file,
            });
            self.begin_plan(cx, dir, [vec![create]], Then::SegmentCreated(id, base));
        } else if recovered {
            // What this life or a killed one cut off the file must not come back below what is promised from now on.
            let base = last.unwrap_or_default();
            let mut stage = self.sync_dir(cx, handle);
            stage.extend(active.map(|file| self.sync_file(dir, file)));
            self.begin_plan(cx, dir, [stage], Then::EntriesSynced(id, base));
        }
        for snapshot in stale {
            let name = file_name(snapshot, ".snapshot");
            self.issue(cx, Wait::Ignore, DiskOp::Unlink { dir: handle, name });
        }
        for base in rebuilt.into_iter().filter(|base| last != Some(*base)) {
            let next = (Bound::Excluded(base), Bound::Unbounded);
            let snapshot = snapshots.range(next).next();
            self.seal(
                cx,
                id,
                base,
                snapshot.map(|(end, state)| (*end, state.clone())),
            );
        }
        self.advance_ready(cx, id);
        self.open_when_synced(cx, id);
    }

    /// A recovered log opens when all that is in it is durable: what was promised before the crash is promised at once.
    pub(super) fn open_when_synced(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some((log, opening)) = self.opening(id) else {
            return;
        };
        if opening.phase != Phase::Syncing || (log.synced < log.end && !log.config.is_loose()) {
            return;
        }
        // As long as the file names epochs that were lost, batches of others in their place would pass for damage.
        let wrong = opening.epochs_lost && log.epochs_version > log.epochs_synced;
        if wrong && !cx.mutants.has(Mutant::OpenOverLostEpochs) {
            return self.write_epochs(cx, id);
        }
        log.state = State::Online;
        let (recovered, cut) = (!opening.clean, opening.cut_bytes);
        self.write_epochs(cx, id);
        let Some(log) = self.log(id) else { return };
        let name = log.name();
        let (start, end) = (log.start, log.end);
        if let Some(bytes) = cut.filter(|bytes| *bytes > 0) {
            cx.out.mark(Mark::TornTailCut);
            cx.out.event(Event::TailCut {
                log: name.clone(),
                end,
                bytes,
            });
        }
        let is_metadata = log.topic == METADATA_TOPIC;
        cx.out.event(Event::LogOpened {
            log: name,
            start,
            end,
            recovered,
        });
        if is_metadata {
            self.notices.push_back(Notice::MetadataLogOpened(id));
            self.opening -= 1;
            self.metadata_opened(cx);
        } else {
            self.notices.push_back(Notice::Opened(id));
            self.opened_one();
        }
    }
}

/// Kafka keeps the producer snapshots at the bases of segments, and the latest if it is above: those of earlier clean stops go.
fn stray_snapshots(log: &Log) -> BTreeSet<Offset> {
    let latest = log.snapshots.last().copied();
    let base = log.segments.last().map(|segment| segment.base);
    let is_base = |at: &Offset| log.segments.binary_search_by_key(at, |s| s.base).is_ok();
    let kept = |at: &Offset| is_base(at) || (Some(*at) == latest && base < latest);
    log.snapshots
        .iter()
        .copied()
        .filter(|at| !kept(at))
        .collect()
}

/// The offset that a file's name begins with.
fn leading_offset(text: &str) -> Option<Offset> {
    text.split_once('.')?.0.parse().ok().map(Offset)
}

/// The 20 digits of a segment's file and its suffix.
fn split_name(text: &str) -> Option<(Offset, &str)> {
    let dot = text.find('.')?;
    let (digits, suffix) = text.split_at(dot);
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), suffix))
}
