//! A full disk: clients' appends are refused, everything else goes on out of a reserve.
//!
//! Each log directory holds a file of ours, without content, that keeps some room on its device. The first operation that finds no room
//! gives the reserve up: what keeps the node alive (the metadata log, segments' indexes, checkpoints, the frontier) is tried
//! again and takes its place; batches of clients are refused until the device has room for the reserve once more. At a clean stop the
//! file is removed.

use std::collections::BTreeSet;

use crate::event::Level;
use crate::ids::{FileId, LogId, Offset};
use crate::io::{Cx, DiskError, DiskOp};
use crate::mark::Mark;

use super::partition_log::{State as LogState, Write};
use super::plan::{Then, may, must};
use super::segment::name;
use super::start::METADATA_TOPIC;
use super::store::{LogStore, Timer, Wait};

/// The file's name.
pub(super) const RESERVE: &str = "trialog-reserve";
/// How often a full disk is tried again, in ms.
const TRY_EVERY_MS: u64 = 1000;

/// The room of one log directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reserve {
    /// There was no room, and the reserve is not back: why clients' appends are refused.
    pub(super) full: Option<String>,
    state: State,
    /// Steps of plans that found no room: plan and place in its stage.
    steps: Vec<(u64, usize)>,
    /// Writes of batches that found no room: log and last offset.
    writes: Vec<(LogId, Offset)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Making(FileId),
    Held,
    /// It is being given up.
    Leaving,
}

impl Reserve {
    /// The plans with steps that found no room; they wait for it no longer.
    pub(super) fn take_steps(&mut self) -> BTreeSet<u64> {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().map(|(plan, _)| plan).collect()
    }
}

impl LogStore {
    /// Makes the reserve of a directory unless it is there.
    pub(super) fn make_reserve(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let file = self.fresh_file();
        let directory = &mut self.dirs[dir];
        let wanted = self.config.reserve_bytes > 0
            && directory.failed.is_none()
            && directory.reserve.state == State::Absent;
        if !wanted || self.shutdown.is_some() {
            return;
        }
        directory.reserve.state = State::Making(file);
        let root = directory.root;
        let stage = vec![
            may(DiskOp::Unlink {
                dir: root,
                name: name(RESERVE),
            }),
            must(DiskOp::Create {
                dir: root,
                name: name(RESERVE),
                file,
            }),
        ];
        self.begin_plan(cx, dir, [stage], Then::ReserveCreated);
    }

    /// The file is there: it takes its room.
    pub(super) fn on_reserve_created(&mut self, cx: &mut Cx<'_>, dir: usize) {
        if let State::Making(file) = self.dirs[dir].reserve.state {
            let len = self.config.reserve_bytes;
            let stage = vec![must(DiskOp::Allocate { file, len })];
            self.begin_plan(cx, dir, [stage], Then::ReserveMade);
        }
    }

    /// It has its room: whoever was refused may come again.
    pub(super) fn on_reserve_made(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        if let State::Making(file) = directory.reserve.state {
            directory.reserve.state = State::Held;
            self.issue(cx, Wait::Ignore, DiskOp::Close { file });
        }
        let directory = &mut self.dirs[dir];
        if directory.reserve.full.take().is_some() {
            let message = format!("{} has room again: appends are taken", directory.path);
            self.note(cx, Level::Info, message);
            self.try_again(cx, dir);
        }
    }

    /// There is no room for it yet. `created`: its file is there.
    pub(super) fn on_no_reserve(&mut self, cx: &mut Cx<'_>, dir: usize, created: bool) {
        let directory = &mut self.dirs[dir];
        let root = directory.root;
        if let (State::Making(file), true) = (directory.reserve.state, created) {
            self.issue(cx, Wait::Ignore, DiskOp::Close { file });
            let name = name(RESERVE);
            self.issue(cx, Wait::Ignore, DiskOp::Unlink { dir: root, name });
        }
        self.dirs[dir].reserve.state = State::Absent;
        self.no_room(cx, dir, DiskError::Full);
    }

    /// An operation in `dir` found no room, or no free file descriptor.
    pub(super) fn no_room(&mut self, cx: &mut Cx<'_>, dir: usize, lack: DiskError) {
        if self.dirs[dir].failed.is_some() || self.shutdown.is_some() {
            return;
        }
        let path = self.dirs[dir].path.clone();
        if self.dirs[dir].reserve.full.is_none() {
            let message = match lack {
                DiskError::TooManyOpen => format!(
                    "{path}: {lack}, and nothing is appended until one can be opened. Raise the limit of open files of the node (ulimit -n)"
                ),
                _ => format!(
                    "{path} is full: it can be read, but nothing is appended until there is room. Free some on its device, or lower the retention of its topics"
                ),
            };
            self.dirs[dir].reserve.full = Some(message.clone());
            cx.out.mark(Mark::DiskFull);
            self.note(cx, Level::Error, message);
            self.set_timer(cx, TRY_EVERY_MS, Timer::Room(dir));
        }
        if lack == DiskError::TooManyOpen {
            self.close_cold_files(cx, 0);
        }
        self.give_up_reserve(cx, dir);
    }

    /// Gives the room of the reserve to whoever needs it.
    pub(super) fn give_up_reserve(&mut self, cx: &mut Cx<'_>, dir: usize) {
        let directory = &mut self.dirs[dir];
        if directory.reserve.state == State::Held && directory.failed.is_none() {
            directory.reserve.state = State::Leaving;
            let op = DiskOp::Unlink {
                dir: directory.root,
                name: name(RESERVE),
            };
            self.issue(cx, Wait::Reserve(dir), op);
        }
    }

    pub(super) fn on_reserve_gone(&mut self, cx: &mut Cx<'_>, dir: usize) {
        self.dirs[dir].reserve.state = State::Absent;
        self.try_again(cx, dir);
    }

    /// Time to look for room again.
    pub(super) fn look_for_room(&mut self, cx: &mut Cx<'_>, dir: usize) {
        if self.dirs[dir].failed.is_some() || self.dirs[dir].reserve.full.is_none() {
            return;
        }
        self.set_timer(cx, TRY_EVERY_MS, Timer::Room(dir));
        self.try_again(cx, dir);
        if self.config.reserve_bytes == 0 {
            self.on_reserve_made(cx, dir);
        }
        self.make_reserve(cx, dir);
    }

    /// May what found no room wait for some? At a stop only for the reserve that is being given up.
    pub(super) fn waits_for_room(&self, dir: usize) -> bool {
        let directory = &self.dirs[dir];
        directory.failed.is_none()
            && (self.shutdown.is_none() || directory.reserve.state == State::Leaving)
    }

    /// The write of a batch found no room: true if it waits for some, as the metadata log's do.
    pub(super) fn waits_with_write(&mut self, id: LogId, last: Offset) -> bool {
        let Some(log) = self.log(id).filter(|log| log.topic == METADATA_TOPIC) else {
            return false;
        };
        let dir = log.dir;
        if !self.waits_for_room(dir) {
            return false;
        }
        self.dirs[dir].reserve.writes.push((id, last));
        true
    }

    /// A step of a plan found no room: true if it waits for some.
    pub(super) fn waits_with_step(&mut self, dir: usize, then: Then, plan: u64, at: usize) -> bool {
        let log = then.log().and_then(|log| self.log(log));
        let fails_fast = match then {
            // A client's batches do not wait: it is told, and may come again.
            Then::SegmentCreated(..) => {
                log.is_some_and(|log| log.is_online() && log.topic != METADATA_TOPIC)
            }
            Then::ReserveCreated | Then::ReserveMade | Then::GivenUp(_) => true,
            Then::Renamed(_) => false,
            _ => log.is_some_and(|log| matches!(log.state, LogState::Deleting)),
        };
        if fails_fast || !self.waits_for_room(dir) {
            return false;
        }
        self.dirs[dir].reserve.steps.push((plan, at));
        // What waits uses the log's files as what is out does.
        if let Some(log) = then.log().and_then(|log| self.log_mut(log)) {
            log.busy += 1;
        }
        true
    }

    /// Tries again what found no room.
    pub(super) fn try_again(&mut self, cx: &mut Cx<'_>, dir: usize) {
        if self.dirs[dir].failed.is_some() {
            return;
        }
        let reserve = &mut self.dirs[dir].reserve;
        let (steps, writes) = (
            std::mem::take(&mut reserve.steps),
            std::mem::take(&mut reserve.writes),
        );
        for (plan, at) in steps {
            self.repeat_step(cx, plan, at);
        }
        for (id, last) in writes {
            self.repeat_write(cx, id, last);
        }
    }

    fn repeat_write(&mut self, cx: &mut Cx<'_>, id: LogId, last: Offset) {
        let Some(log) = self.log(id).filter(|log| log.is_online()) else {
            return;
        };
        let batch = log.in_flight.iter().find(|batch| batch.last == last);
        let Some(batch) = batch.filter(|batch| batch.write == Write::UnderWay) else {
            return;
        };
        let (segment, at) = (batch.segment, u64::from(batch.position));
        let file = log
            .segments
            .iter()
            .find(|found| found.base == segment)
            .and_then(|found| found.file);
        let hot = log.hot.iter().find(|hot| hot.last == last);
        if let (Some(file), Some(hot)) = (file, hot) {
            let data = hot.parts.clone();
            let op = DiskOp::Write { file, at, data };
            self.issue(cx, Wait::Append(id, last), op);
        }
    }
}
