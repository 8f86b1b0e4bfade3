//! Starting: what each log directory is, where its logs were, and opening them a few at a time, `__cluster_metadata-0` first.
//!
//! For each directory: list it, read its small files, check whose it is; then remove the clean marker and begin a new frontier
//! file, both durably, before any log of it is opened, so that a crash from here on is seen as one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::Level;
use crate::ids::{PartitionIndex, Uuid};
use crate::io::{Cx, DiskDone, DiskError, DiskOp, Name};
use crate::mark::Mark;

use super::checkpoint::{self, OffsetsReader, decode_meta_properties};
use super::directory::{Former, PIECE_OF_LOGS, checkpoint_name};
use super::files::{FileResult, FileThen, StartFile};
use super::frontier;
use super::notice::{NewLog, Notice};
use super::plan::{CheckpointKind, Then, may};
use super::removal::DELETE_SUFFIX;
use super::reserve::RESERVE;
use super::segment::name;
use super::store::{Continue, LogStore, Timer, Wait};

/// The topic of the metadata quorum; its log is opened before all others.
pub(super) const METADATA_TOPIC: &str = "__cluster_metadata";
const METADATA_LOG: &str = "__cluster_metadata-0";
/// Entries of a page.
const PAGE: u32 = 500;

/// A directory that is being started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// Directories of logs that are still to be opened.
    logs: BTreeSet<String>,
    /// Directories of deleted logs.
    deleted: Vec<Name>,
    files_outstanding: usize,
    has_meta: bool,
    /// Checkpoint files that are taken in; `None`: one that is damaged, and what was taken goes.
    decoding: VecDeque<(CheckpointKind, Option<OffsetsReader>)>,
    frontiers: Vec<frontier::File>,
    prover: Option<frontier::Prover>,
    /// What the frontier files prove.
    pub(super) proven: BTreeMap<frontier::LogKey, frontier::Mark>,
    /// There was a frontier file: the last life was ours.
    pub(super) had_frontier: bool,
    pub(super) done: bool,
    /// A log went offline.
    pub(super) broken: bool,
}

impl LogStore {
    /// Begins: lists every log directory. [`Notice::MetadataLogOpened`], [`Notice::Opened`] … [`Notice::AllOpened`] follow, or
    /// [`Notice::Fatal`].
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        if self.dirs.is_empty() {
            self.fatal("log.dirs names no directory");
        }
        for dir in 0..self.dirs.len() {
            self.dirs[dir].start = Some(Box::default());
            self.list_root(cx, dir, None);
        }
    }

    fn fatal(&mut self, message: impl Into<String>) {
        self.notices.push_back(Notice::Fatal(message.into()));
    }

    fn list_root(&mut self, cx: &mut Cx<'_>, dir: usize, after: Option<Name>) {
        let op = DiskOp::List {
            dir: self.dirs[dir].root,
            after,
            limit: PAGE,
        };
        self.issue(cx, Wait::Listing(dir), op);
    }

    pub(super) fn on_root_listed(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        result: Result<DiskDone, DiskError>,
    ) {
        let (entries, more) = match result {
            Ok(DiskDone::Listed { entries, more }) => (entries, more),
            Ok(_) => return self.fence(cx, dir, "it could not be listed".to_owned()),
            Err(error) => return self.fence(cx, dir, format!("listing it: {error}")),
        };
        let after = entries.last().map(|entry| entry.name.clone());
        for entry in entries {
            self.take_root_entry(cx, dir, entry.name, entry.dir);
        }
        if more && after.is_some() {
            self.list_root(cx, dir, after);
        } else {
            self.read_start_files(cx, dir);
        }
    }

    fn take_root_entry(&mut self, cx: &mut Cx<'_>, dir: usize, entry: Name, is_dir: bool) {
        let directory = &mut self.dirs[dir];
        let text = entry.as_str();
        if !is_dir {
            directory.was_clean |= text == checkpoint::CLEAN_SHUTDOWN;
            if let Some(number) = frontier::number(text) {
                directory.last_frontier_number = directory.last_frontier_number.max(number);
                directory.old_frontiers.push(number);
            }
            return;
        }
        let Some(start) = &mut directory.start else {
            return;
        };
        if text.ends_with(DELETE_SUFFIX) {
            start.deleted.push(entry);
        } else if parse_log_name(text).is_some() {
            start.logs.insert(text.to_owned());
        } else {
            let message = format!(
                "{}/{text} is no directory of a partition: it is left alone",
                directory.path
            );
            self.note(cx, Level::Warn, message);
        }
    }

    fn read_start_files(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        let root = directory.root;
        let mut wanted = vec![(name(checkpoint::META_PROPERTIES), StartFile::MetaProperties)];
        for kind in CheckpointKind::ALL {
            wanted.push((name(checkpoint_name(kind)), StartFile::Checkpoint(kind)));
        }
        for &number in &directory.old_frontiers {
            wanted.push((name(frontier::name(number)), StartFile::Frontier(number)));
        }
        if let Some(start) = &mut directory.start {
            start.files_outstanding = wanted.len();
            start.had_frontier = !directory.old_frontiers.is_empty();
        }
        for (file, which) in wanted {
            self.begin_file(cx, dir, root, file, FileThen::Start(dir, which));
        }
    }

    pub(super) fn on_start_file(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        which: StartFile,
        result: FileResult,
    ) {
        let content = match result {
            Ok(content) => content,
            Err(error) => return self.fence(cx, dir, format!("reading {which:?}: {error}")),
        };
        match (which, content) {
            (StartFile::MetaProperties, Some(content)) => {
                if let Err(message) = self.check_meta(dir, &content) {
                    return self.fatal(message);
                }
            }
            (StartFile::Checkpoint(kind), Some(content)) => {
                let reader = OffsetsReader::new(content);
                if reader.is_none() {
                    self.checkpoint_damaged(cx, dir, kind);
                }
                if let Some(start) = &mut self.dirs[dir].start {
                    start.decoding.push_back((kind, reader));
                }
                return self.decode_more(cx, dir);
            }
            (StartFile::Frontier(_), Some(content)) => {
                if let (Some(file), Some(start)) =
                    (frontier::decode(content), &mut self.dirs[dir].start)
                {
                    start.frontiers.push(file);
                }
            }
            (_, None) => {}
        }
        self.start_file_taken(cx, dir);
    }

    /// Takes the next lines of a checkpoint file.
    pub(super) fn decode_more(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        let start = directory.start.as_mut();
        let Some((kind, reader)) = start.and_then(|start| start.decoding.pop_front()) else {
            return;
        };
        let former = &mut directory.checkpoint(kind).former;
        let more = match reader {
            Some(mut reader) => match reader.go_on(PIECE_OF_LOGS) {
                Some((offsets, more)) => {
                    let said = |(key, offset)| (key, Former { offset, until: 0 });
                    former.extend(offsets.into_iter().map(said));
                    more.then_some(Some(reader))
                }
                None => {
                    self.checkpoint_damaged(cx, dir, kind);
                    Some(None)
                }
            },
            None => {
                let gone = (0..PIECE_OF_LOGS).map_while(|_| former.pop_first());
                (gone.count() == PIECE_OF_LOGS).then_some(None)
            }
        };
        match (more, &mut self.dirs[dir].start) {
            (Some(rest), Some(start)) => start.decoding.push_front((kind, rest)),
            (_, _) => self.start_file_taken(cx, dir),
        }
        let start = self.dirs[dir].start.as_ref();
        if start.is_some_and(|start| !start.decoding.is_empty()) {
            self.continues.insert(Continue::Decode(dir));
        }
    }

    fn checkpoint_damaged(&self, cx: &mut Cx<'_>, dir: usize, kind: CheckpointKind) {
        let (path, file) = (&self.dirs[dir].path, checkpoint_name(kind));
        let message = format!("{path}/{file} is damaged: the logs are read from their beginning");
        self.note(cx, Level::Warn, message);
    }

    /// A file that the start of a directory asked for is here; with the last of them it goes on.
    fn start_file_taken(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let path = self.dirs[dir].path.clone();
        let Some(start) = &mut self.dirs[dir].start else {
            return;
        };
        start.files_outstanding -= 1;
        if start.files_outstanding > 0 {
            return;
        }
        if !start.has_meta {
            return self.fatal(format!(
                "log directory {path} is not formatted: it has no meta.properties. Run `trialog format` first"
            ));
        }
        self.prove_more(cx, dir);
    }

    /// Is this directory ours? The error is a sentence for the operator.
    fn check_meta(&mut self, dir: usize, content: &[u8]) -> Result<(), String> {
        let path = &self.dirs[dir].path;
        let meta = decode_meta_properties(content)
            .map_err(|why| format!("{path}/meta.properties cannot be used: {why}"))?;
        if let Some(node) = meta.node_id.filter(|node| *node != self.config.node_id.0) {
            return Err(format!(
                "{path}/meta.properties belongs to node {node}, this is node {}: set node.id or log.dirs right",
                self.config.node_id
            ));
        }
        match (&self.cluster_id, meta.cluster_id) {
            (_, None) => return Err(format!("{path}/meta.properties names no cluster.id")),
            (Some(ours), Some(theirs)) if *ours != theirs => {
                return Err(format!(
                    "{path}/meta.properties belongs to cluster {theirs}, not to {ours}: the directory is another cluster's"
                ));
            }
            (_, Some(id)) => self.cluster_id = Some(id),
        }
        let id = meta.directory_id.filter(|id| *id != Uuid::ZERO);
        let twin = self.dirs.iter().find(|d| id.is_some() && d.id == id);
        if let Some(twin) = twin {
            return Err(format!(
                "{path} and {} have the same directory.id: one is a copy of the other",
                twin.path
            ));
        }
        let directory = &mut self.dirs[dir];
        directory.id = id;
        if let Some(start) = &mut directory.start {
            start.has_meta = true;
        }
        Ok(())
    }

    /// Finds out what the frontier files prove. A clean stop makes whatever they say void: everything was synced.
    pub(super) fn prove_more(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        let was_clean = directory.was_clean;
        let Some(start) = &mut directory.start else {
            return;
        };
        let files = std::mem::take(&mut start.frontiers);
        let prover = start.prover.get_or_insert_with(|| {
            frontier::Prover::new(if was_clean { Vec::new() } else { files })
        });
        let Some(proven) = prover.go_on(PIECE_OF_LOGS) else {
            self.continues.insert(Continue::Prove(dir));
            return;
        };
        start.prover = None;
        start.proven = proven;
        self.make_ready(cx, dir);
    }

    /// From here on a crash is a crash: the marker goes and a new frontier begins, durably.
    fn make_ready(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        directory.life = directory.last_frontier_number + 1;
        let was_clean = directory.was_clean;
        cx.out.mark(if was_clean {
            Mark::CleanStart
        } else {
            Mark::UncleanStart
        });
        let marker = may(DiskOp::Unlink {
            dir: directory.root,
            name: name(checkpoint::CLEAN_SHUTDOWN),
        });
        // After a crash the reserve may still be there: a full disk must have room to start.
        let reserve = may(DiskOp::Unlink {
            dir: directory.root,
            name: name(RESERVE),
        });
        let stages = self.frontier_stages(cx, dir, vec![marker, reserve]);
        self.begin_plan(cx, dir, stages, Then::DirectoryReady);
    }

    pub(super) fn on_directory_ready(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        directory.frontier = directory.next_frontier.take();
        let deleted = directory
            .start
            .as_mut()
            .map(|start| {
                start.done = true;
                std::mem::take(&mut start.deleted)
            })
            .unwrap_or_default();
        for entry in deleted {
            self.remove_directory(cx, dir, entry);
        }
        self.directories_settled(cx);
    }

    /// A directory went out of service.
    pub(super) fn directory_gone(&mut self, cx: &mut Cx<'_>, dir: usize) {
        if dir == self.config.metadata_dir {
            let path = &self.dirs[dir].path;
            let message = format!(
                "log directory {path} holds the metadata log and failed: the node cannot go on. Check the disk and restart"
            );
            return self.fatal(message);
        }
        if self.dirs.iter().all(|directory| directory.failed.is_some()) {
            return self.fatal("every log directory failed. Check the disks and restart");
        }
        if !self.started {
            self.directories_settled(cx);
        }
        self.go_on_shutdown(cx);
    }

    /// When every directory is ready or failed, the metadata log is opened.
    fn directories_settled(&mut self, cx: &mut Cx<'_>) {
        let settled = |d: &super::directory::Directory| {
            d.failed.is_some() || d.start.as_ref().is_some_and(|start| start.done)
        };
        if self.started || !self.dirs.iter().all(settled) {
            return;
        }
        self.started = true;
        let dir = self.config.metadata_dir;
        let mut has_metadata = false;
        for at in 0..self.dirs.len() {
            let start = self.dirs[at].start.as_mut();
            let found = start.is_some_and(|start| start.logs.remove(METADATA_LOG));
            if found && at != dir {
                return self.fatal(format!(
                    "log directory {} holds the metadata log, but it is looked for in {}: set metadata.log.dir={} (or, if that log is of no use any more, move its directory {METADATA_LOG} away) and restart",
                    self.dirs[at].path, self.dirs[dir].path, self.dirs[at].path
                ));
            }
            has_metadata |= found;
        }
        if has_metadata {
            self.opening += 1;
            self.open_log(cx, dir, METADATA_LOG);
        } else {
            let new = NewLog {
                topic: METADATA_TOPIC.to_owned(),
                topic_id: Uuid::METADATA_TOPIC,
                partition: PartitionIndex(0),
                config: self.config.metadata_config.clone(),
                dir: Some(dir),
            };
            self.create(cx, new);
        }
    }

    /// The metadata log is open: the others follow.
    pub(super) fn metadata_opened(&mut self, cx: &mut Cx<'_>) {
        let every = self.config.checkpoint_interval_ms;
        self.set_timer(cx, every, Timer::Checkpoint);
        let every = self.config.retention_check_interval_ms;
        self.set_timer(cx, every, Timer::Retention);
        self.open_more(cx);
    }

    /// Opens further logs, up to the limit at a time.
    pub(super) fn open_more(&mut self, cx: &mut Cx<'_>) {
        if self.shutdown.is_some() {
            return;
        }
        while self.opening < self.config.concurrency.max(1) {
            let Some((dir, log)) = self.next_to_open(cx) else {
                break;
            };
            self.opening += 1;
            self.open_log(cx, dir, &log);
        }
        if self.opening == 0 && !self.all_open {
            self.all_open = true;
            self.all_opened(cx);
        }
    }

    /// The first of the logs, by name, that are still to be opened; of several directories that hold one the first.
    fn next_to_open(&mut self, cx: &mut Cx<'_>) -> Option<(usize, String)> {
        let works = self.dirs.iter().filter(|dir| dir.failed.is_none());
        let first = works.filter_map(|dir| dir.start.as_ref()?.logs.first());
        let log = first.min()?.clone();
        let mut found = None;
        for dir in 0..self.dirs.len() {
            let directory = &mut self.dirs[dir];
            let start = directory
                .start
                .as_mut()
                .filter(|_| directory.failed.is_none());
            if !start.is_some_and(|start| start.logs.remove(&log)) {
                continue;
            }
            if found.is_none() {
                found = Some(dir);
            } else {
                let path = &directory.path;
                let message =
                    format!("{path}/{log} is in another log directory too: it is left alone");
                self.note(cx, Level::Error, message);
            }
        }
        Some((found?, log))
    }

    /// A log that was found at start is open or offline.
    pub(super) fn opened_one(&mut self) {
        self.opening = self.opening.saturating_sub(1);
        self.continues.insert(Continue::Open);
    }

    fn all_opened(&mut self, cx: &mut Cx<'_>) {
        for dir in 0..self.dirs.len() {
            let directory = &mut self.dirs[dir];
            let Some(start) = directory.start.take() else {
                continue;
            };
            if directory.failed.is_none() && !start.broken {
                // What they prove is in the next checkpoint of recovery points.
                let old = std::mem::take(&mut directory.old_frontiers);
                directory.retired_frontiers.extend(old);
                self.want_checkpoint(cx, dir, CheckpointKind::RecoveryPoints, None);
            }
        }
        for dir in 0..self.dirs.len() {
            self.make_reserve(cx, dir);
        }
        self.notices.push_back(Notice::AllOpened);
    }
}

/// Topic and partition in the name of a log's directory.
pub(super) fn parse_log_name(text: &str) -> Option<(String, PartitionIndex)> {
    let (topic, partition) = text.rsplit_once('-')?;
    let partition: i32 = partition.parse().ok()?;
    let plain = !topic.is_empty() && partition >= 0;
    plain.then(|| (topic.to_owned(), PartitionIndex(partition)))
}
