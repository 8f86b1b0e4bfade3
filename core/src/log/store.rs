//! The store: every log of a node, and the dispatch of completions to whoever waits for them.
//!
//! Owns the ids of files and directories, the plans under way, the timers and the notices. The rules are in the files beside it:
//! start and opening, append, directory (clock, rounds, checkpoints), read, lookup, retention, shutdown.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::event::{Event, Level};
use crate::ids::{DirId, FileId, LeaderEpoch, LogId, Offset, PartitionIndex, Uuid};
use crate::io::{Boot, Cx, DiskDone, DiskError, DiskOp, Effect, Name, Room, Token, Wake};
use crate::mark::Mark;
use crate::mutant::Mutant;
use crate::pending::Pending;
use crate::time::Instant;
use crate::work::{Facts, Job};

use super::blocks::Cold;
use super::config::{LogConfig, Sizes, StoreConfig};
use super::directory::Directory;
use super::files::{FileRead, FileThen};
use super::notice::{LogView, Notice, ReadError, ReadId};
use super::partition_log::{Log, State};
use super::plan::{Plan, Step, Then};
use super::read::ColdStep;
use super::removal::Removal;
use super::shutdown::Shutdown;
use super::start::METADATA_TOPIC;

/// What waits for a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nobody: the operation had to be issued, its outcome changes nothing.
    Ignore,
    /// The write of the batch that ends here.
    Append(LogId, Offset),
    /// A step of a plan, by its place in the stage.
    Plan(u64, usize),
    /// The frontier record of a directory's round.
    Record(usize),
    /// The sync of a directory's round.
    Round(usize),
    /// A step of reading a whole file.
    File(u64),
    /// A page of a directory that is started.
    Listing(usize),
    /// A step of opening a log.
    Opening(LogId),
    /// A step of a cold read or lookup.
    Cold(LogId, ReadId, ColdStep),
    /// A step of removing a directory.
    Removal(u64),
    /// The reserve of a directory is being given up.
    Reserve(usize),
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Flush(LogId),
    Retention,
    Checkpoint,
    Removal(u64),
    Unlink(LogId, Offset),
    Room(usize),
}

/// All logs of a node.
#[derive(Clone, Debug)]
pub struct LogStore {
    pub(super) config: StoreConfig,
    pub(super) boot_id: [u8; 16],
    pub(super) dirs: Vec<Directory>,
    pub(super) logs: Vec<Option<Box<Log>>>,
    pub(super) by_topic: BTreeMap<(Uuid, PartitionIndex), LogId>,
    pub(super) pending: Pending<Wait>,
    pub(super) plans: BTreeMap<u64, Plan>,
    pub(super) files: BTreeMap<u64, FileRead>,
    pub(super) removals: BTreeMap<u64, Removal>,
    pub(super) cold: Cold,
    pub(super) notices: VecDeque<Notice>,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    /// Long work that goes on at the next wakeup.
    pub(super) continues: BTreeSet<Continue>,
    pub(super) retention_cursor: Option<LogId>,
    /// Logs whose oldest batch in memory is durable, so that it may be forgotten, by its [`nth`](super::partition_log::HotBatch::nth).
    pub(super) hot_order: BTreeSet<(u64, LogId)>,
    /// Batches that were appended.
    pub(super) hot_count: u64,
    pub(super) hot_bytes: u64,
    /// How many logs that were found at start are being opened.
    pub(super) opening: usize,
    pub(super) started: bool,
    pub(super) all_open: bool,
    pub(super) cluster_id: Option<String>,
    pub(super) shutdown: Option<Shutdown>,
    next_id: u64,
    next_dir: u64,
}

/// Long work that is done in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Continue {
    /// The logs of a failed directory go out of service, from this one on.
    Fence(usize, LogId),
    /// A checkpoint file of a directory that starts is taken in.
    Decode(usize),
    /// What the frontier files of a directory prove is found out.
    Prove(usize),
    /// A checkpoint file of a directory is being put together.
    Checkpoints(usize),
    /// Retention goes over the logs.
    Retention,
    /// Logs are opened.
    Open,
    /// Logs are closed.
    Close,
}

impl LogStore {
    /// Other sizes, before it starts.
    pub fn resize(&mut self, sizes: Sizes) {
        self.config.hot_bytes = sizes.hot_bytes;
        self.config.cold_bytes = sizes.cold_bytes;
        self.config.cold_files = sizes.cold_files;
        self.config.frontier_bytes = sizes.frontier_bytes;
        self.config.fenced_logs = sizes.fenced_logs;
    }

    /// A store that has not started.
    #[must_use]
    pub fn new(config: StoreConfig, boot: &Boot) -> LogStore {
        let next_dir = boot.log_dirs.iter().map(|d| d.dir.0 + 1).max().unwrap_or(0);
        LogStore {
            cluster_id: config.cluster_id.clone(),
            cold: Cold::default(),
            config,
            boot_id: boot.boot_id,
            dirs: boot
                .log_dirs
                .iter()
                .map(|dir| Directory::new(dir.dir, dir.path.clone()))
                .collect(),
            logs: Vec::new(),
            by_topic: BTreeMap::new(),
            pending: Pending::new(Room::Log),
            plans: BTreeMap::new(),
            files: BTreeMap::new(),
            removals: BTreeMap::new(),
            notices: VecDeque::new(),
            timers: BTreeSet::new(),
            continues: BTreeSet::new(),
            retention_cursor: None,
            hot_order: BTreeSet::new(),
            hot_count: 0,
            hot_bytes: 0,
            opening: 0,
            started: false,
            all_open: false,
            shutdown: None,
            next_id: 0,
            next_dir,
        }
    }

    /// The next thing that happened, in order; `None` when all is told.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The log of a partition, whatever it is doing.
    #[must_use]
    pub fn find(&self, topic_id: Uuid, partition: PartitionIndex) -> Option<LogId> {
        self.by_topic.get(&(topic_id, partition)).copied()
    }

    /// Every log that is not deleted, in order of id.
    pub fn logs(&self) -> impl Iterator<Item = LogId> + '_ {
        let logs = self.logs.iter().flatten();
        logs.filter(|log| !matches!(log.state, State::Deleting))
            .map(|log| log.id)
    }

    /// Above every log that there was so far.
    #[must_use]
    pub fn next_log(&self) -> LogId {
        LogId(u32::try_from(self.logs.len()).unwrap_or(u32::MAX))
    }

    /// What can be seen of a log; `None` once it is deleted.
    #[must_use]
    pub fn view(&self, id: LogId) -> Option<LogView<'_>> {
        let log = self.log(id)?;
        (!matches!(log.state, State::Deleting)).then(|| log.view())
    }

    /// Replaces a log's properties.
    pub fn configure(&mut self, id: LogId, config: LogConfig) {
        if let Some(log) = self.log_mut(id) {
            log.config = config;
            log.configured = true;
        }
    }

    /// The partition's high watermark: retention keeps what is above, and a clean stop writes it down.
    pub fn note_high_watermark(&mut self, id: LogId, offset: Offset) {
        if let Some(log) = self.log_mut(id) {
            log.high_watermark = log.high_watermark.max(offset.min(log.end));
        }
    }

    /// The end of a leader epoch, or of the greatest one below it; (-1, -1) if unknown. KIP-101.
    #[must_use]
    pub fn epoch_end_offset(&self, id: LogId, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.log(id).map_or((LeaderEpoch::NONE, Offset(-1)), |log| {
            log.epochs.end_offset(epoch, log.end)
        })
    }

    /// The leader epoch of the record at `offset`; -1 if unknown.
    #[must_use]
    pub fn epoch_at(&self, id: LogId, offset: Offset) -> LeaderEpoch {
        self.log(id)
            .map_or(LeaderEpoch::NONE, |log| log.epochs.at(offset))
    }

    /// The id of a log directory, from its `meta.properties`, once it has been read.
    #[must_use]
    pub fn directory_id(&self, dir: usize) -> Option<Uuid> {
        self.dirs.get(dir)?.id
    }

    /// The place among the log directories of the one with this id. Of one that could not be opened the id is not known.
    #[must_use]
    pub fn directory_of(&self, id: Uuid) -> Option<usize> {
        self.dirs.iter().position(|own| own.id == Some(id))
    }

    /// Is this log directory in service?
    #[must_use]
    pub fn directory_online(&self, dir: usize) -> bool {
        self.dirs.get(dir).is_some_and(|d| d.failed.is_none())
    }

    /// Did a log directory fail before it was known which one it is? What it holds is then not known either.
    #[must_use]
    pub fn unknown_directory(&self) -> bool {
        let mut dirs = self.dirs.iter();
        dirs.any(|dir| dir.failed.is_some() && dir.id.is_none())
    }

    /// The cluster that the directories belong to, once it is known.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// When and why the store wants [`LogStore::on_wakeup`].
    #[must_use]
    pub fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        if !self.continues.is_empty() {
            return Some((Instant(0), Wake::Continue));
        }
        let (at, timer) = self.timers.first()?;
        let wake = match timer {
            Timer::Flush(_) => Wake::SyncRound,
            Timer::Retention | Timer::Removal(_) | Timer::Unlink(..) | Timer::Room(_) => {
                Wake::LogMaintenance
            }
            Timer::Checkpoint => Wake::Checkpoint,
        };
        Some((*at, wake))
    }

    /// The time of [`LogStore::next_wakeup`] has come, or another wakeup passed by.
    pub fn on_wakeup(&mut self, cx: &mut Cx<'_>) {
        if let Some(next) = self.continues.pop_first() {
            match next {
                Continue::Fence(dir, from) => self.fence_more(cx, dir, from),
                Continue::Decode(dir) => self.decode_more(cx, dir),
                Continue::Prove(dir) => self.prove_more(cx, dir),
                Continue::Checkpoints(dir) => self.build_checkpoints(cx, dir),
                Continue::Retention => self.continue_retention(cx),
                Continue::Open => self.open_more(cx),
                Continue::Close => self.close_more(cx),
            }
        }
        while let Some(&(at, timer)) = self.timers.first() {
            if at > cx.now.mono {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Flush(log) => self.flush_due(cx, log),
                Timer::Retention => self.retention_due(cx),
                Timer::Checkpoint => self.checkpoints_due(cx),
                Timer::Removal(id) => self.begin_removal(cx, id),
                Timer::Unlink(log, base) => self.unlink_due(cx, log, base),
                Timer::Room(dir) => self.look_for_room(cx, dir),
            }
        }
    }

    /// A disk operation of this room completed.
    pub fn on_disk(&mut self, cx: &mut Cx<'_>, token: Token, result: Result<DiskDone, DiskError>) {
        let Some(wait) = self.pending.complete(token, cx.mutants) else {
            cx.out.mark(Mark::StaleCompletion);
            return;
        };
        let log = self.log_of(&wait);
        if let Some(log) = log.and_then(|log| self.log_mut(log)) {
            log.busy -= 1;
        }
        match wait {
            Wait::Ignore => {}
            Wait::Append(log, last) => self.on_append_written(cx, log, last, result),
            Wait::Plan(plan, at) => self.on_plan_step(cx, plan, at, result),
            Wait::Record(dir) => self.on_round_recorded(cx, dir, result),
            Wait::Round(dir) => self.on_round_synced(cx, dir, result),
            Wait::File(id) => self.on_file_step(cx, id, result),
            Wait::Listing(dir) => self.on_root_listed(cx, dir, result),
            Wait::Opening(log) => self.on_opening_disk(cx, log, result),
            Wait::Cold(_, id, step) => self.on_cold_disk(cx, id, step, result),
            Wait::Removal(id) => self.on_removal_step(cx, id, result),
            Wait::Reserve(dir) => self.on_reserve_gone(cx, dir),
        }
        if let Some(log) = log {
            self.finish_deletion(cx, log);
            self.go_on_shutdown(cx);
        }
    }

    /// The log whose files an operation uses.
    fn log_of(&self, wait: &Wait) -> Option<LogId> {
        match wait {
            Wait::Append(log, _) | Wait::Opening(log) | Wait::Cold(log, ..) => Some(*log),
            Wait::Plan(plan, _) => self.plans.get(plan)?.then.log(),
            Wait::File(file) => self.files.get(file)?.log(),
            Wait::Ignore
            | Wait::Record(_)
            | Wait::Round(_)
            | Wait::Listing(_)
            | Wait::Reserve(_)
            | Wait::Removal(_) => None,
        }
    }

    /// A job of this room is done.
    pub fn on_worked(&mut self, cx: &mut Cx<'_>, token: Token, facts: Facts) {
        let Some(wait) = self.pending.complete(token, cx.mutants) else {
            cx.out.mark(Mark::StaleCompletion);
            return;
        };
        match wait {
            Wait::Opening(log) => self.on_opening_worked(cx, log, facts),
            Wait::Cold(_, id, _) => self.on_cold_worked(cx, id, facts),
            Wait::Ignore
            | Wait::Append(..)
            | Wait::Plan(..)
            | Wait::Record(_)
            | Wait::Round(_)
            | Wait::File(_)
            | Wait::Listing(_)
            | Wait::Reserve(_)
            | Wait::Removal(_) => {}
        }
    }

    /// Reads a small file of a log's directory: [`Notice::FileRead`].
    pub fn read_file(&mut self, cx: &mut Cx<'_>, id: LogId, name: Name) -> ReadId {
        let read = ReadId(self.fresh_id());
        match self.log(id) {
            _ if self.shutdown.is_some() => {}
            Some(log) if self.dirs[log.dir].failed.is_none() => {
                let (dir, handle) = (log.dir, log.handle);
                self.begin_file(cx, dir, handle, name, FileThen::Asked(read, Some(id)));
            }
            _ => self
                .notices
                .push_back(Notice::FileRead(read, Err("the log is offline".to_owned()))),
        }
        read
    }

    /// Reads a small file of a log directory itself: [`Notice::FileRead`].
    pub fn read_root_file(&mut self, cx: &mut Cx<'_>, dir: usize, name: Name) -> ReadId {
        let read = ReadId(self.fresh_id());
        match self.dirs.get(dir).filter(|d| d.failed.is_none()) {
            _ if self.shutdown.is_some() => {}
            Some(directory) => {
                let root = directory.root;
                self.begin_file(cx, dir, root, name, FileThen::Asked(read, None));
            }
            None => {
                let message = "the log directory is offline".to_owned();
                self.notices.push_back(Notice::FileRead(read, Err(message)));
            }
        }
        read
    }

    /// Names of the metadata snapshots, and of what is left of unfinished ones, that were in a log's directory when it was opened.
    pub fn checkpoint_names(&self, id: LogId) -> Vec<Name> {
        self.log(id)
            .map(|log| log.checkpoints.clone())
            .unwrap_or_default()
    }

    /// Removes a small file of a log's directory: [`Notice::FileReplaced`], as if by nothing. A file that stays is found at the next start.
    pub fn remove_file(&mut self, cx: &mut Cx<'_>, id: LogId, name: Name) {
        let read = ReadId(self.fresh_id());
        let stopping = self.shutdown.is_some();
        let Some(log) = self.log_mut(id).filter(|_| !stopping) else {
            return;
        };
        log.checkpoints.retain(|known| *known != name);
        let (dir, handle) = (log.dir, log.handle);
        if self.dirs[dir].failed.is_none() {
            let unlink = vec![super::plan::may(DiskOp::Unlink { dir: handle, name })];
            self.begin_plan(cx, dir, [unlink], Then::Replaced(read, id));
        }
    }

    /// Replaces a small file of a log's directory, as durably as can be: [`Notice::FileReplaced`].
    pub fn replace_file(
        &mut self,
        cx: &mut Cx<'_>,
        id: LogId,
        name: Name,
        content: Bytes,
    ) -> ReadId {
        let read = ReadId(self.fresh_id());
        match self.log(id) {
            _ if self.shutdown.is_some() => {}
            // Nobody could read it back.
            _ if content.len() as u64 > self.config.file_max => {
                let message = format!("{} bytes of {name} are too many", content.len());
                self.notices
                    .push_back(Notice::FileReplaced(read, Err(message)));
            }
            Some(log) if self.dirs[log.dir].failed.is_none() => {
                let (dir, handle) = (log.dir, log.handle);
                let stages = self.replacement(cx, dir, handle, &name, content);
                self.begin_plan(cx, dir, stages, Then::Replaced(read, id));
            }
            _ => self.notices.push_back(Notice::FileReplaced(
                read,
                Err("the log is offline".to_owned()),
            )),
        }
        read
    }

    pub(super) fn log(&self, id: LogId) -> Option<&Log> {
        self.logs.get(id.0 as usize)?.as_deref()
    }

    pub(super) fn log_mut(&mut self, id: LogId) -> Option<&mut Log> {
        self.logs.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn fresh_file(&mut self) -> FileId {
        FileId(self.fresh_id())
    }

    pub(super) fn fresh_dir(&mut self) -> DirId {
        self.next_dir += 1;
        DirId(self.next_dir)
    }

    pub(super) fn add_log(&mut self, build: impl FnOnce(LogId) -> Log) -> LogId {
        let id = LogId(u32::try_from(self.logs.len()).expect("fewer than 2^32 logs in a life"));
        self.logs.push(Some(Box::new(build(id))));
        id
    }

    pub(super) fn issue(&mut self, cx: &mut Cx<'_>, wait: Wait, op: DiskOp) {
        if let Some(log) = self.log_of(&wait).and_then(|log| self.log_mut(log)) {
            log.busy += 1;
        }
        let token = self.pending.wait(wait);
        cx.out.disk(token, op);
    }

    pub(super) fn work(&mut self, cx: &mut Cx<'_>, wait: Wait, job: Job) -> Token {
        let token = self.pending.wait(wait);
        cx.out.push(Effect::Work { token, job });
        token
    }

    pub(super) fn set_timer(&mut self, cx: &Cx<'_>, after_ms: u64, timer: Timer) {
        let at = cx.now.mono + Duration::from_millis(after_ms);
        self.timers.insert((at, timer));
    }

    pub(super) fn note(&self, cx: &mut Cx<'_>, level: Level, message: String) {
        cx.out.event(Event::Note { level, message });
    }

    /// The stage that makes the entries of `dir` durable.
    pub(super) fn sync_dir(&self, cx: &Cx<'_>, dir: DirId) -> Vec<Step> {
        if cx.mutants.has(Mutant::ForgetDirectorySync) {
            return Vec::new();
        }
        vec![super::plan::must(DiskOp::SyncDir { dir })]
    }

    /// The step that makes the content and the length of one file of log directory `dir` durable.
    pub(super) fn sync_file(&self, dir: usize, file: FileId) -> Step {
        let root = self.dirs[dir].root;
        let files = vec![file];
        super::plan::must(DiskOp::Sync { root, files })
    }

    /// Starts a plan; empty stages are passed over.
    pub(super) fn begin_plan(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        stages: impl IntoIterator<Item = Vec<Step>>,
        then: Then,
    ) {
        let id = self.fresh_id();
        let plan = Plan {
            dir,
            stages: stages.into_iter().collect(),
            stage: Vec::new(),
            outstanding: 0,
            waiting: 0,
            failed: None,
            then,
        };
        self.plans.insert(id, plan);
        self.go_on_plan(cx, id);
    }

    fn go_on_plan(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(plan) = self.plans.get_mut(&id) else {
            return;
        };
        if self.dirs[plan.dir].failed.is_some() {
            // It is never written again.
            plan.stages.clear();
        }
        let stage = loop {
            match plan.stages.pop_front() {
                Some(stage) if stage.is_empty() => {}
                other => break other,
            }
        };
        match stage {
            Some(stage) => {
                plan.outstanding = stage.len();
                plan.stage.clone_from(&stage);
                for (at, step) in stage.into_iter().enumerate() {
                    self.issue(cx, Wait::Plan(id, at), step.op);
                }
            }
            None => {
                if let Some(plan) = self.plans.remove(&id) {
                    self.plan_done(cx, plan.dir, plan.then);
                }
            }
        }
    }

    fn on_plan_step(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        at: usize,
        result: Result<DiskDone, DiskError>,
    ) {
        let Some(plan) = self.plans.get(&id) else {
            return;
        };
        let (dir, then, has_failed) = (plan.dir, plan.then, plan.failed.is_some());
        let lack = match result {
            Err(lack @ (DiskError::Full | DiskError::TooManyOpen)) => Some(lack),
            Ok(_) | Err(_) => None,
        };
        let waits = lack.is_some() && self.waits_with_step(dir, then, id, at);
        // Where a plan has failed already its directory may be about to go out of service: nothing is written there for want of room.
        if let Some(lack) = lack
            && !has_failed
            && !matches!(then, Then::ReserveCreated | Then::ReserveMade)
        {
            self.no_room(cx, dir, lack);
        }
        let Some(plan) = self.plans.get_mut(&id) else {
            return;
        };
        plan.outstanding -= 1;
        plan.waiting += usize::from(waits);
        let lenient = plan.stage.get(at).is_some_and(|step| step.lenient);
        match result {
            Ok(_) => {}
            Err(_) if waits => {}
            Err(DiskError::NotFound | DiskError::Exists) if lenient => {}
            // What is missing, room or a file descriptor, may be there later.
            Err(DiskError::TooManyOpen) => {
                plan.failed.get_or_insert(DiskError::Full);
            }
            Err(error) => {
                plan.failed.get_or_insert(error);
            }
        }
        if plan.outstanding == 0 {
            match plan.failed {
                None if plan.waiting > 0 => {}
                None => self.go_on_plan(cx, id),
                Some(_) => self.end_plan(cx, id),
            }
        }
    }

    /// Issues a step again that found no room.
    pub(super) fn repeat_step(&mut self, cx: &mut Cx<'_>, id: u64, at: usize) {
        let Some(plan) = self.plans.get_mut(&id) else {
            return;
        };
        if plan.failed.is_some() {
            // It ends when what is out is back.
            return;
        }
        let Some(step) = plan.stage.get(at).cloned() else {
            return;
        };
        let then = plan.then;
        let log = then.log().and_then(|log| self.log(log));
        let deleting = log.is_some_and(|log| matches!(log.state, State::Deleting));
        let Some(plan) = self.plans.get_mut(&id) else {
            return;
        };
        if deleting && !matches!(then, Then::Renamed(_)) {
            plan.failed.get_or_insert(DiskError::Full);
            if plan.outstanding == 0 {
                self.end_plan(cx, id);
            }
        } else {
            plan.waiting -= 1;
            plan.outstanding += 1;
            self.issue(cx, Wait::Plan(id, at), step.op);
            if let Some(log) = then.log().and_then(|log| self.log_mut(log)) {
                log.busy -= 1;
            }
        }
    }

    /// A plan with steps that wait for room gets none any more.
    pub(super) fn give_up_plan(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(plan) = self.plans.get_mut(&id) else {
            return;
        };
        plan.failed.get_or_insert(DiskError::Full);
        if plan.outstanding == 0 {
            self.end_plan(cx, id);
        }
    }

    /// A plan of which nothing is out has failed; its steps that wait for room wait no longer.
    fn end_plan(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(plan) = self.plans.remove(&id) else {
            return;
        };
        let log = plan.then.log();
        if let Some(log) = log.and_then(|log| self.log_mut(log)) {
            log.busy -= u32::try_from(plan.waiting).unwrap_or(0);
        }
        self.plan_failed(
            cx,
            plan.dir,
            plan.then,
            plan.failed.unwrap_or(DiskError::Failed),
        );
        if let Some(log) = log {
            self.finish_deletion(cx, log);
        }
    }

    fn plan_done(&mut self, cx: &mut Cx<'_>, dir: usize, then: Then) {
        if self.dirs[dir].failed.is_some() {
            return self.plan_ended(cx, then);
        }
        match then {
            Then::ReserveCreated => self.on_reserve_created(cx, dir),
            Then::ReserveMade => self.on_reserve_made(cx, dir),
            Then::DirectoryReady => self.on_directory_ready(cx, dir),
            Then::FrontierReady => self.on_frontier_ready(cx, dir),
            Then::Checkpointed(kind) => self.on_checkpointed(cx, dir, kind),
            Then::MarkedClean => self.on_marked_clean(cx, dir),
            Then::Stopped => self.on_directory_stopped(dir),
            Then::Created(log) => self.on_created(cx, log),
            Then::SegmentCreated(log, base) => self.on_segment_created(cx, log, base),
            Then::EntriesSynced(log, base) => self.on_entries_synced(cx, log, base),
            Then::Sealed(log, base) => self.on_sealed(cx, log, base),
            Then::EpochsSynced(log, version) => self.on_epochs_synced(cx, log, version),
            Then::Tidied(log) => self.on_tidied(cx, log),
            Then::SegmentRemoved(log) => self.on_segment_removed(cx, log),
            Then::TailCut(log) => self.on_tail_cut(cx, log),
            Then::Closed(log) => self.on_closed(cx, log),
            Then::Renamed(log) => self.on_renamed(cx, log),
            Then::RolledBack(log) | Then::GivenUp(log) => self.on_rolled_back(cx, log),
            Then::SegmentUnlinked(_) | Then::IndexRebuilt(..) => {}
            Then::Replaced(read, _) => {
                self.notices.push_back(Notice::FileReplaced(read, Ok(())));
            }
        }
    }

    /// A plan failed. Without room some can be tried again or are the business of one log; all else puts the
    /// directory in doubt, a failed sync above all.
    fn plan_failed(&mut self, cx: &mut Cx<'_>, dir: usize, then: Then, error: DiskError) {
        if self.dirs[dir].failed.is_some() {
            return self.plan_ended(cx, then);
        }
        let path = self.dirs[dir].path.clone();
        match (then, error) {
            (Then::ReserveCreated, DiskError::Full) => self.on_no_reserve(cx, dir, false),
            (Then::ReserveMade, DiskError::Full) => self.on_no_reserve(cx, dir, true),
            (Then::GivenUp(log), DiskError::Full) => self.on_rolled_back(cx, log),
            (Then::Replaced(read, _), DiskError::Full) => {
                let message = format!("{path}: {error}");
                self.notices
                    .push_back(Notice::FileReplaced(read, Err(message)));
            }
            (Then::Created(log), DiskError::Full | DiskError::Exists) => {
                if let Some(log) = self.log_mut(log) {
                    log.unmade = true;
                }
                let message = format!("the log could not be created in {path}: {error}");
                self.take_offline(cx, log, message);
            }
            (Then::SegmentCreated(log, base), DiskError::Full) => {
                self.on_segment_not_created(cx, log, base);
            }
            (Then::RolledBack(log), DiskError::Full) => self.on_not_rolled_back(cx, dir, log),
            (Then::Checkpointed(kind), DiskError::Full) => self.on_not_checkpointed(cx, dir, kind),
            (Then::FrontierReady, DiskError::Full) => self.on_no_frontier(cx, dir),
            (Then::Sealed(log, base) | Then::IndexRebuilt(log, base), DiskError::Full) => {
                let log = self.log_path(log);
                let message = format!(
                    "{path} is full: the indexes of segment {base} of {log} could not be written; they are rebuilt when they are needed"
                );
                self.note(cx, Level::Warn, message);
            }
            // A later rebuild of the same segment took the files under its hands: that one brings them.
            (Then::IndexRebuilt(..), DiskError::NotFound) => {}
            (then @ Then::EpochsSynced(log, _), DiskError::Full) => {
                let Some(log) = self.log_mut(log) else { return };
                log.epochs_writing = false;
                // A marker would have the next start believe the file.
                let believed = cx.mutants.has(Mutant::MarkCleanWithoutEpochs);
                if log.is_online() && !believed {
                    self.on_not_closed(cx, dir, then);
                }
            }
            (then @ (Then::Closed(_) | Then::MarkedClean | Then::Stopped), DiskError::Full) => {
                self.on_not_closed(cx, dir, then);
            }
            (then, error) => {
                self.fence(cx, dir, format!("{then:?}: {error}"));
                self.plan_ended(cx, then);
            }
        }
    }

    /// A plan in a directory that failed is over: a stop waits for it no longer.
    fn plan_ended(&mut self, cx: &mut Cx<'_>, then: Then) {
        if let Then::Closed(log) = then {
            self.on_closed(cx, log);
        }
    }

    /// Takes one log out of service.
    pub(super) fn take_offline(&mut self, cx: &mut Cx<'_>, id: LogId, message: String) {
        let Some(log) = self.log_mut(id) else {
            return;
        };
        if matches!(log.state, State::Offline(_) | State::Deleting) {
            return;
        }
        let was_opening = matches!(log.state, State::Opening(_));
        let name = log.name();
        let is_metadata = log.topic == METADATA_TOPIC;
        log.state = State::Offline(message.clone());
        let dir = log.dir;
        if let Some(start) = self.dirs.get_mut(dir).and_then(|dir| dir.start.as_mut()) {
            start.broken = true;
        }
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.keep(dir);
        }
        self.forget_unsynced(id);
        self.fail_reads(id, &ReadError::Offline(message.clone()));
        cx.out.event(Event::PartitionOffline {
            log: name,
            message: message.clone(),
        });
        self.notices.push_back(Notice::Offline(id, message));
        if is_metadata {
            let message = "the metadata log is offline: the node cannot go on".to_owned();
            self.notices.push_back(Notice::Fatal(message));
        } else if was_opening {
            self.opened_one();
        }
    }

    /// A directory that failed is never written again: a failed sync may have dropped what it should have kept.
    pub(super) fn fence(&mut self, cx: &mut Cx<'_>, dir: usize, why: String) {
        let directory = &mut self.dirs[dir];
        if directory.failed.is_some() {
            return;
        }
        let message = format!(
            "log directory {} failed ({why}): its partitions are offline. Check the disk and restart the node",
            directory.path
        );
        directory.failed = Some(message.clone());
        directory.round = None;
        directory.touched.clear();
        directory.outstanding.clear();
        let waiting = directory.reserve.take_steps();
        cx.out.mark(Mark::DirectoryFenced);
        cx.out.event(Event::DirectoryFailed {
            path: directory.path.clone(),
            message: message.clone(),
        });
        self.fence_more(cx, dir, LogId(0));
        if !cx.mutants.has(Mutant::WaitForRoomInFailedDirectory) {
            for plan in waiting {
                self.give_up_plan(cx, plan);
            }
        }
        self.directory_gone(cx, dir);
    }

    /// Takes the next logs of a failed directory out of service. What comes for those behind them meanwhile is refused, and what their
    /// operations bring is not believed.
    fn fence_more(&mut self, cx: &mut Cx<'_>, dir: usize, from: LogId) {
        let directory = &self.dirs[dir];
        let Some(message) = directory.failed.clone() else {
            return;
        };
        let mut logs = directory.logs.range(from..).copied();
        let piece: Vec<LogId> = logs.by_ref().take(self.config.fenced_logs).collect();
        let next = logs.next();
        for log in piece {
            self.take_offline(cx, log, message.clone());
        }
        match next {
            Some(next) => {
                self.continues.insert(Continue::Fence(dir, next));
            }
            None => self.notices.push_back(Notice::DirectoryFailed(dir)),
        }
    }

    /// Why a log's directory is out of service, if it is.
    pub(super) fn directory_failure(&self, id: LogId) -> Option<&str> {
        let log = self.log(id)?;
        self.dirs[log.dir].failed.as_deref()
    }

    /// Takes a log's batches off its directory's clock.
    pub(super) fn forget_unsynced(&mut self, id: LogId) {
        let Some(log) = self.logs[id.0 as usize].as_deref_mut() else {
            return;
        };
        let directory = &mut self.dirs[log.dir];
        for lsn in log.in_flight.iter().filter_map(|batch| batch.lsn) {
            directory.outstanding.remove(&lsn);
        }
        for lsn in log.unsynced.iter().filter_map(|batch| batch.lsn) {
            directory.outstanding.remove(&lsn);
        }
        directory.touched.remove(&id);
        if let Some(oldest) = log.hot.front() {
            self.hot_order.remove(&(oldest.nth, id));
        }
        for batch in log.hot.drain(..) {
            self.hot_bytes -= batch.parts.len() as u64;
        }
    }
}
