//! Creating and deleting logs, and removing directories file by file. Kafka's `LogManager`.

use crate::event::Level;
use crate::ids::{DirId, LogId, Offset};
use crate::io::{Cx, DiskDone, DiskError, DiskOp, Name};
use crate::mutant::Mutant;
use crate::rng::Purpose;
use crate::wire::Parts;

use super::checkpoint;
use super::notice::{NewLog, Notice, ReadError};
use super::partition_log::{Log, State};
use super::plan::{CheckpointKind, Then, may, must};
use super::segment::{Segment, file_name, name};
use super::start::METADATA_TOPIC;
use super::store::{LogStore, Timer, Wait};

/// Entries that are removed at a time.
const PAGE: u32 = 500;
/// What a deleted log's directory ends with.
pub(super) const DELETE_SUFFIX: &str = "-delete";
/// What the directory of a log that no topic of the metadata has ends with. Nobody removes it but the operator.
pub(super) const STRAY_SUFFIX: &str = "-stray";

/// A directory that is being removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) dir: usize,
    name: Name,
    handle: DirId,
    phase: Phase,
    outstanding: usize,
    /// What cannot be removed, so that it stays for the next start.
    failed: Option<DiskError>,
}

/// What the directory of a log that left is called.
fn removed_name(cx: &Cx<'_>, id: LogId, log: &Log) -> Name {
    let bits = cx.rng.bits(Purpose::DeletedDirectory, u64::from(id.0), 0);
    match log.stray {
        false => left_name(&log.name(), bits, DELETE_SUFFIX),
        true => left_name(&log.name(), bits, STRAY_SUFFIX),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Opening,
    Listing,
    Unlinking,
    Removing,
}

impl LogStore {
    /// Creates a log; [`Notice::Opened`] tells when it takes appends, [`Notice::Offline`] if it cannot be.
    pub fn create(&mut self, cx: &mut Cx<'_>, new: NewLog) -> LogId {
        let dir = new.dir.or_else(|| self.emptiest_directory()).unwrap_or(0);
        let (handle, file) = (self.fresh_dir(), self.fresh_file());
        let id = self.add_log(|id| {
            let state = State::Creating(0);
            Log::new(
                id,
                new.topic,
                new.topic_id,
                new.partition,
                dir,
                handle,
                new.config,
                state,
            )
        });
        self.by_topic.insert((new.topic_id, new.partition), id);
        let Some(directory) = self.dirs.get_mut(dir) else {
            self.take_offline(cx, id, format!("there is no log directory {dir}"));
            return id;
        };
        directory.logs.insert(id);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.keep(dir);
        }
        if let Some(message) = directory.failed.clone() {
            self.take_offline(cx, id, message);
            return id;
        }
        let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
            return id;
        };
        log.configured = true;
        let mut segment = Segment::new(Offset(0), file, cx.now.wall);
        segment.creating = None;
        log.segments.push(segment);
        if Name::new(log.name()).is_none() {
            let message = format!("'{}' is no possible name of a directory", log.name());
            self.take_offline(cx, id, message);
            return id;
        }
        log.unmade = true;
        self.forget_namesake(cx, id);
        id
    }

    /// Makes the directory of a new log and its first files.
    fn make(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let meta_file = self.fresh_file();
        let Some(log) = self.log_mut(id) else { return };
        let (dir, handle, topic_id) = (log.dir, log.handle, log.topic_id);
        let file = log.segments.first().and_then(|first| first.file);
        let (Some(dir_name), Some(file)) = (Name::new(log.name()), file) else {
            return;
        };
        log.unmade = false;
        let root = self.dirs[dir].root;
        let metadata = checkpoint::encode_partition_metadata(topic_id);
        let aside = name(format!("{}.tmp", checkpoint::PARTITION_METADATA));
        // Its content is durable before it has its name: a later life would believe it, and not sync it.
        let aside = match cx.mutants.has(Mutant::TrustUnsyncedPartitionMetadata) {
            false => aside,
            true => name(checkpoint::PARTITION_METADATA),
        };
        let stages = [
            vec![must(DiskOp::MakeDir {
                parent: root,
                name: dir_name,
                dir: handle,
            })],
            vec![
                must(DiskOp::Create {
                    dir: handle,
                    name: aside.clone(),
                    file: meta_file,
                }),
                must(DiskOp::Create {
                    dir: handle,
                    name: file_name(Offset(0), ".log"),
                    file,
                }),
            ],
            vec![must(DiskOp::Write {
                file: meta_file,
                at: 0,
                data: Parts::from(metadata),
            })],
            // The segment holds nothing yet: the round that promises its first batch syncs it.
            vec![self.sync_file(dir, meta_file)],
            vec![must(DiskOp::Rename {
                dir: handle,
                from: aside,
                to: name(checkpoint::PARTITION_METADATA),
            })],
            self.sync_dir(cx, handle),
            self.sync_dir(cx, root),
            vec![must(DiskOp::Close { file: meta_file })],
        ];
        self.begin_plan(cx, dir, stages, Then::Created(id));
    }

    /// A checkpoint may still speak of an earlier log of the same name: it is rewritten before anything of the new log is on disk, or
    /// recovery would miss records that the new log never had.
    fn forget_namesake(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
            return;
        };
        let key = (log.topic.clone(), log.partition);
        let mut stale = Vec::new();
        for kind in [CheckpointKind::RecoveryPoints, CheckpointKind::StartOffsets] {
            let known = self.dirs[log.dir].checkpoints[&kind].knows_former(&key);
            if known && !cx.mutants.has(Mutant::MakeBeforeNamesakeIsForgotten) {
                stale.push(kind);
            }
        }
        log.state = State::Creating(u32::try_from(stale.len()).unwrap_or(0));
        let dir = log.dir;
        if stale.is_empty() {
            return self.make(cx, id);
        }
        for kind in stale {
            self.want_checkpoint(cx, dir, kind, Some(id));
        }
    }

    fn emptiest_directory(&self) -> Option<usize> {
        (0..self.dirs.len())
            .filter(|&dir| self.dirs[dir].failed.is_none())
            .min_by_key(|&dir| self.dirs[dir].logs.len())
    }

    /// One more checkpoint no longer speaks of an earlier log of this name.
    pub(super) fn on_namesake_forgotten(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let stopping = self.shutdown.is_some();
        let Some(log) = self.log_mut(id).filter(|_| !stopping) else {
            return;
        };
        if let State::Creating(stale @ 1..) = log.state {
            log.state = State::Creating(stale - 1);
            if stale == 1 {
                self.make(cx, id);
            }
        }
    }

    /// The directory and the first files of a new log are there.
    pub(super) fn on_created(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        if !matches!(log.state, State::Creating(_)) {
            return;
        }
        log.state = State::Online;
        log.active().entry_synced = true;
        if log.topic == METADATA_TOPIC {
            self.notices.push_back(Notice::MetadataLogOpened(id));
            self.metadata_opened(cx);
        } else {
            self.notices.push_back(Notice::Opened(id));
        }
    }

    /// Sets a log aside that was found although no topic has it: its directory is renamed ([`Notice::Deleted`]), its files stay. As with
    /// Kafka, metadata that lost a topic must not cost its records.
    pub fn set_aside(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let deletes = cx.mutants.has(Mutant::DeleteStray);
        let Some(log) = self.log_mut(id).filter(|_| !deletes) else {
            return self.delete(cx, id);
        };
        log.stray = true;
        let path = self.log_path(id);
        self.delete(cx, id);
        if let Some(log) = self.log(id) {
            let aside = removed_name(cx, id, log);
            let message = format!(
                "{path} belongs to no topic of the metadata: it is set aside as {aside}. If its topic was deleted, remove that directory. If not, the metadata log is not the one that it was made with: stop, bring that one back, and give the directory its name again"
            );
            self.note(cx, Level::Warn, message);
        }
    }

    /// Deletes a log: its directory is renamed at once ([`Notice::Deleted`]), its files go after `file.delete.delay.ms`.
    pub fn delete(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        // What a stop has closed stays: the next start finds that its topic is gone.
        if matches!(log.state, State::Deleting | State::Closed) {
            return;
        }
        let was_opening = matches!(log.state, State::Opening(_));
        let (dir, key) = (log.dir, (log.topic_id, log.partition));
        log.state = State::Deleting;
        let (old, renamed) = (log.name(), removed_name(cx, id, log));
        self.leave_checkpoints(id);
        if self.by_topic.get(&key) == Some(&id) {
            self.by_topic.remove(&key);
        }
        if was_opening {
            self.opened_one();
        }
        self.forget_unsynced(id);
        self.fail_reads(id, &ReadError::Offline("the log was deleted".to_owned()));
        if self.dirs[dir].failed.is_some() {
            self.forget_log(id);
            self.notices.push_back(Notice::Deleted(id));
            return;
        }
        let root = self.dirs[dir].root;
        let Some(from) = Name::new(old) else { return };
        // It is not there if it could not be made.
        let rename = may(DiskOp::Rename {
            dir: root,
            from,
            to: renamed,
        });
        let stages = [vec![rename], self.sync_dir(cx, root)];
        self.begin_plan(cx, dir, stages, Then::Renamed(id));
    }

    pub(super) fn on_renamed(&mut self, _cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log_mut(id) else { return };
        log.renamed = true;
        self.notices.push_back(Notice::Deleted(id));
    }

    /// Drops a deleted log once nothing uses its files any more; only then may its directory go, after the topic's delay.
    pub(super) fn finish_deletion(&mut self, cx: &mut Cx<'_>, id: LogId) {
        let Some(log) = self.log(id).filter(|log| log.renamed && log.busy == 0) else {
            return;
        };
        let (dir, handle) = (log.dir, log.handle);
        let made = !log.unmade;
        let open = log.segments.iter().filter(|_| made);
        let files: Vec<_> = open.filter_map(|s| s.file).collect();
        for file in files {
            self.close_file(cx, dir, file);
        }
        let Some(log) = self.log(id) else { return };
        let (delay, stays) = (log.config.file_delete_delay_ms, log.stray);
        let delay = u64::try_from(delay).unwrap_or(0);
        let removal = Removal {
            dir,
            name: removed_name(cx, id, log),
            handle: self.fresh_dir(),
            phase: Phase::Waiting,
            outstanding: 0,
            failed: None,
        };
        self.forget_log(id);
        if made {
            self.issue(cx, Wait::Ignore, DiskOp::CloseDir { dir: handle });
        }
        if stays {
            return;
        }
        let removal_id = self.fresh_id();
        self.removals.insert(removal_id, removal);
        self.set_timer(cx, delay, Timer::Removal(removal_id));
    }

    /// Drops all state of a log.
    pub(super) fn forget_log(&mut self, id: LogId) {
        if let Some(log) = self.logs[id.0 as usize].take() {
            self.dirs[log.dir].logs.remove(&id);
            if let Some(at) = log.flush_at {
                self.timers.remove(&(at, Timer::Flush(id)));
            }
        }
    }

    /// Removes a directory of log directory `dir` that nothing uses.
    pub(super) fn remove_directory(&mut self, cx: &mut Cx<'_>, dir: usize, dir_name: Name) {
        let removal = Removal {
            dir,
            name: dir_name,
            handle: self.fresh_dir(),
            phase: Phase::Waiting,
            outstanding: 0,
            failed: None,
        };
        let id = self.fresh_id();
        self.removals.insert(id, removal);
        self.begin_removal(cx, id);
    }

    /// Opens the directory to remove.
    pub(super) fn begin_removal(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(removal) = self.removals.get_mut(&id) else {
            return;
        };
        if self.dirs[removal.dir].failed.is_some() || self.shutdown.is_some() {
            self.removals.remove(&id);
            return;
        }
        removal.phase = Phase::Opening;
        removal.outstanding = 1;
        let op = DiskOp::OpenDir {
            parent: self.dirs[removal.dir].root,
            name: removal.name.clone(),
            dir: removal.handle,
        };
        self.issue(cx, Wait::Removal(id), op);
    }

    pub(super) fn on_removal_step(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        result: Result<DiskDone, DiskError>,
    ) {
        let Some(removal) = self.removals.get_mut(&id) else {
            return;
        };
        removal.outstanding -= 1;
        let (handle, dir) = (removal.handle, removal.dir);
        let goes_on = cx.mutants.has(Mutant::DeleteInFailedDirectory);
        if self.dirs[dir].failed.is_some() && !goes_on {
            // It is never written again: the next start finds what is left.
            self.removals.remove(&id);
            return;
        }
        let gone = removal.phase == Phase::Unlinking && result == Err(DiskError::NotFound);
        if let Err(error) = &result
            && !gone
        {
            removal.failed.get_or_insert(*error);
        }
        if removal.outstanding > 0 {
            return;
        }
        if let Some(error) = removal.failed {
            let opened = removal.phase != Phase::Opening;
            let message = format!(
                "{}/{} could not be removed: {error}. It is tried again at the next start",
                self.dirs[dir].path, removal.name
            );
            self.removals.remove(&id);
            if opened {
                self.issue(cx, Wait::Ignore, DiskOp::CloseDir { dir: handle });
            }
            if error != DiskError::NotFound {
                self.note(cx, Level::Warn, message);
            }
            return;
        }
        let mut ops = Vec::new();
        match (removal.phase, result) {
            (Phase::Listing, Ok(DiskDone::Listed { entries, .. })) if entries.is_empty() => {
                removal.phase = Phase::Removing;
                let (parent, name) = (self.dirs[dir].root, removal.name.clone());
                ops.push(DiskOp::RemoveDir { parent, name });
            }
            (Phase::Listing, Ok(DiskDone::Listed { entries, .. })) => {
                removal.phase = Phase::Unlinking;
                for entry in entries.into_iter().filter(|entry| !entry.dir) {
                    ops.push(DiskOp::Unlink {
                        dir: handle,
                        name: entry.name,
                    });
                }
            }
            (Phase::Opening | Phase::Unlinking, _) => {
                removal.phase = Phase::Listing;
                ops.push(DiskOp::List {
                    dir: handle,
                    after: None,
                    limit: PAGE,
                });
            }
            (Phase::Removing | Phase::Waiting | Phase::Listing, _) => {}
        }
        if ops.is_empty() {
            self.removals.remove(&id);
            self.issue(cx, Wait::Ignore, DiskOp::CloseDir { dir: handle });
            return;
        }
        removal.outstanding = ops.len();
        for op in ops {
            self.issue(cx, Wait::Removal(id), op);
        }
    }
}

/// `topic-partition.<32 hex digits>-delete` or `-stray`, cut to what a file system takes.
pub(super) fn left_name(old: &str, bits: [u8; 16], suffix: &str) -> Name {
    let unique: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!(".{unique}{suffix}");
    let kept = old.len().min(255 - suffix.len());
    name(format!("{}{suffix}", &old[..kept]))
}
