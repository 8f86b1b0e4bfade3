//! The process in its world: its steps, what it asks for, and how its disk answers.
//!
//! Owns the carrying out of effects, as a driver must; decides nothing that is not a keyed choice.

use trialog_core::event::Event as NodeEvent;
use trialog_core::io::{DiskError, DiskOp, Effect, Halt, Input, Token, Wake};

use super::{Event, World};
use crate::brief;
use crate::check::Invariant;
use crate::choice::Subsystem;
use crate::client::{MILLISECOND, SECOND};
use crate::disk::OpId;
use crate::faults::Fault;
use crate::hash::subject;
use crate::machine::{PIECE, Target, root_at};
use crate::net::Outcome;

/// A job waits up to so many nanoseconds for a thread while they are starved.
const STARVED: u64 = 300 * MILLISECOND;
/// What comes about when an operation fails comes up to so many nanoseconds later.
const ABOUT: u64 = 5 * MILLISECOND;

impl World {
    /// Steps the node and carries out what it asks for.
    pub(super) fn step(&mut self, input: Input) {
        self.roll.input(&input);
        if self.log.is_some() {
            let line = brief::input(&input);
            self.note(|| format!("<- {line}"));
        }
        let wall = self.machine.clock.now(self.now).wall;
        self.judge.broker_wall(wall.0);
        let mut effects = std::mem::take(&mut self.effects);
        let stepped = self.machine.step(self.now, input, &mut effects);
        for event in effects.events.drain(..) {
            self.told(&event);
        }
        for effect in effects.effects.drain(..) {
            self.roll.effect(&effect);
            self.carry_out(effect);
        }
        self.effects = effects;
        match stepped {
            Ok(()) => {
                self.schedule_wakeup();
                self.spring();
            }
            Err(panic) => self.judge.violate(
                Invariant::NodeInvariant,
                format!("the node panicked: {panic}"),
            ),
        }
    }

    pub(super) fn told(&mut self, event: &NodeEvent) {
        if let NodeEvent::Mark(mark) = event {
            *self.marks.entry(*mark).or_default() += 1;
        }
        if let NodeEvent::DirectoryFailed { path, .. } = event
            && let Some(root) = root_at(path)
        {
            self.machine.disk.give_up(root);
        }
        self.note(|| format!("   {event:?}"));
    }

    pub(super) fn schedule_wakeup(&mut self) {
        let wants = self.machine.wants();
        if wants.is_none_or(|(_, why)| why != Wake::Continue) {
            self.machine.piece = None;
        }
        let at = match wants {
            None => return,
            Some((_, Wake::Continue)) => self.next_piece(),
            Some((wants, _)) => wants.max(self.now),
        };
        if self.machine.wakeup.is_none_or(|scheduled| at < scheduled) {
            self.machine.wakeup = Some(at);
            let life = self.machine.life;
            self.schedule(at, Event::Wakeup { life, at });
        }
    }

    /// When the node goes on with its long work: in a while, as whoever else has something for it may come first.
    fn next_piece(&mut self) -> u64 {
        if let Some(at) = self.machine.piece {
            return at.max(self.now);
        }
        let mut delay = self
            .choices
            .delay(self.pace.piece, Subsystem::WorkLatency, 2);
        if self.machine.starved_until > self.now {
            delay += self.choices.below(STARVED, Subsystem::WorkLatency, 3);
        }
        let held = self.machine.held.take_if(|held| held.what == PIECE);
        let at = self.now + delay + held.map_or(0, |_| SECOND);
        self.machine.piece = Some(at);
        at
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        if self.log.is_some() {
            let line = brief::effect(&effect);
            self.note(|| format!("-> {line}"));
        }
        let mut out = Outcome::default();
        let (now, choices) = (self.now, &mut self.choices);
        match effect {
            Effect::Connect {
                token: _,
                host,
                port,
            } => self.judge.violate(
                Invariant::Boundary,
                format!("a lone node connects to {host}:{port}"),
            ),
            Effect::Send { conn, parts } => {
                self.net.node_sends(now, conn, &parts, choices, &mut out);
            }
            Effect::Pause { conn } => self.net.node_pauses(conn),
            Effect::Resume { conn } => self.net.node_resumes(now, conn, &mut out),
            Effect::Close { conn, why: _ } => {
                self.net.node_closes(now, conn, choices, &mut out);
            }
            Effect::FrameLimit { conn, limit } => self.net.node_limits(conn, limit),
            Effect::Disk { token, op } => self.disk_asked(token, op),
            Effect::Work { token, job } => {
                let mut delay = choices.delay(self.pace.work, Subsystem::WorkLatency, 0);
                if self.machine.starved_until > self.now {
                    delay = delay.saturating_mul(20)
                        + choices.below(STARVED, Subsystem::WorkLatency, 1);
                    self.count("slow-work");
                }
                let life = self.machine.life;
                let job = Box::new(job);
                self.schedule(now + delay, Event::Worked { life, token, job });
            }
            Effect::Halt { halt } => self.halted(halt),
        }
        self.came_of(out);
    }

    pub(super) fn halted(&mut self, halt: Halt) {
        match halt {
            Halt::Clean if self.machine.stopping => {
                self.end_process(Fault::CleanRestart, 0);
            }
            Halt::Clean => self.judge.violate(
                Invariant::Boundary,
                "the node stopped without being asked".to_owned(),
            ),
            Halt::Fatal(_) if self.machine.hurt => self.end_process(Fault::ProcessCrash, SECOND),
            Halt::Fatal(why) => self.judge.violate(
                Invariant::NodeInvariant,
                format!("the node gave up on a healthy disk: {why}"),
            ),
        }
    }

    pub(super) fn disk_asked(&mut self, token: Token, op: DiskOp) {
        let id = match self.machine.disk.submit(op) {
            Ok(id) => id,
            Err(breach) => {
                self.judge.violate(Invariant::Boundary, breach);
                return;
            }
        };
        let about = self.machine.disk.subject(id);
        let key = subject(about.kind) ^ subject(&about.role).rotate_left(1);
        let syncs = about.kind.starts_with("sync");
        let typical = match syncs {
            true => self.pace.sync,
            false => self.pace.disk + about.bytes / 2,
        };
        let mut delay = self.choices.delay(typical, Subsystem::DiskLatency, key);
        if self.machine.slow_until > self.now {
            delay = delay.saturating_mul(20) + 5 * MILLISECOND;
            self.count("slow-disk");
        }
        let disk = &self.machine.disk;
        let is_meant = |target: &Target| {
            let what = &target.what;
            let is = what == about.kind || disk.makes(id, what);
            is && target.root.is_none_or(|root| disk.is_in(id, root))
        };
        let next = self.machine.failing.as_mut();
        let next = next.filter(|next| is_meant(&next.target));
        let failing = match next.map(|next| (next.passes.checked_sub(1), next)) {
            Some((Some(left), next)) => {
                next.passes = left;
                None
            }
            Some((None, _)) => self.machine.failing.take(),
            None => None,
        };
        if self.machine.held.take_if(|held| is_meant(held)).is_some() {
            delay += SECOND;
        }
        let mut error = None;
        if let Some(failing) = failing {
            self.machine.hurt |= failing.error == DiskError::Failed;
            let written = self
                .choices
                .below(about.bytes + 1, Subsystem::DiskFault, key);
            error = Some((failing.error, written));
            if let Some(then) = failing.then {
                let about = 2 * delay + ABOUT;
                let soon = self.choices.below(about, Subsystem::FaultTime, 100);
                self.schedule(self.now + soon, Event::Fault(then));
            }
            self.count("disk-error");
        }
        let life = self.machine.life;
        self.schedule(
            self.now + delay,
            Event::Disk {
                life,
                op: id,
                token,
                error,
            },
        );
    }

    pub(super) fn disk_done(&mut self, op: OpId, token: Token, error: Option<(DiskError, u64)>) {
        let result = match error {
            None => self.machine.disk.complete(op),
            Some((error, written)) => self.machine.disk.fail(op, error, written),
        };
        if result == Err(DiskError::Full) {
            self.count("disk-full");
        }
        self.step(Input::Disk { token, result });
    }
}
