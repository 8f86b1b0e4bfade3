//! The faults of the plan, carried out.

use trialog_core::ids::ConnId;
use trialog_core::io::{DiskError, Input};
use trialog_core::node::Node;

use super::{Event, Stage, World};
use crate::check::{TopicState, Tp};
use crate::choice::Subsystem;
use crate::client::{MILLISECOND, SECOND, number_in};
use crate::disk::{KINDS, Place};
use crate::faults::{Fault, lasts};
use crate::machine::{Failing, Target};
use crate::net::{ClientId, Outcome, Side};

/// When a death strikes that lies in wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A metadata transaction is open.
    Transaction,
    /// The logs of new partitions are being made.
    MakingLogs,
}

/// A graceful stop must come within so many nanoseconds.
const STOP_WITHIN: u64 = 30 * SECOND;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        if self.stage != Stage::Safety {
            return;
        }
        if fault == Fault::PowerCut && self.slows_first() {
            return;
        }
        if matches!(fault, Fault::PowerCut | Fault::ProcessCrash) && self.lies_in_wait(fault) {
            return;
        }
        let lasting = lasts(&mut self.choices, fault);
        match fault {
            Fault::ProcessCrash | Fault::PowerCut => {
                if self.machine.runs() {
                    self.end_process(fault, lasting);
                }
            }
            Fault::CleanRestart => {
                if self.machine.runs() && !self.machine.stopping {
                    self.ask_to_stop();
                }
            }
            Fault::Pause => {
                if self.machine.runs() {
                    self.note(|| format!("FAULT pause for {} ms", lasting / MILLISECOND));
                    self.machine.paused_until = self.now + lasting;
                    self.count(fault.name());
                }
            }
            Fault::Clog => {
                let client = self.some_client(fault);
                let shape = self.choices.below(2, Subsystem::FaultShape, 100);
                let side = if shape == 0 { Side::Node } else { Side::Client };
                self.note(|| {
                    format!(
                        "FAULT clog of client {client} towards {side:?} for {} ms",
                        lasting / MILLISECOND
                    )
                });
                self.net.clog(client, side, self.now + lasting);
                self.count(fault.name());
            }
            Fault::Reset => {
                let open: Vec<ConnId> = self.net.open().collect();
                let nth = self
                    .choices
                    .below(open.len() as u64, Subsystem::FaultShape, 101);
                if let Some(conn) = open.get(usize::try_from(nth).unwrap_or(0)).copied() {
                    self.note(|| format!("FAULT reset of {conn:?}"));
                    let mut out = Outcome::default();
                    self.net.reset(self.now, conn, &mut self.choices, &mut out);
                    self.came_of(out);
                    self.count(fault.name());
                }
            }
            Fault::ClientVanishes => {
                let client = self.some_client(fault);
                let name = self.clients[client].name();
                self.note(|| format!("FAULT {name} vanishes"));
                if self.conns[client].is_some() {
                    self.count(fault.name());
                }
                let ((), acts) = self.with_client(client, |client, cx| client.restart(cx));
                self.act(client, acts, true);
                self.wake_client(client, 0);
            }
            Fault::ClockJump => {
                let by = self.choices.below(1_200_000, Subsystem::FaultShape, 102);
                let by = i64::try_from(by).unwrap_or(0) - 600_000;
                self.note(|| format!("FAULT the wall clock jumps by {by} ms"));
                self.machine.clock.jump(by);
                self.count(fault.name());
            }
            Fault::SlowDisk => {
                self.note(|| format!("FAULT slow disk for {} ms", lasting / MILLISECOND));
                self.machine.slow_until = self.now + lasting;
            }
            Fault::Rot | Fault::LatentError | Fault::MisdirectedWrite => self.decay(fault),
            Fault::LatentErrorBeside => self.spoil_beside(),
            Fault::SlowWork => {
                self.note(|| format!("FAULT slow work for {} ms", lasting / MILLISECOND));
                self.machine.starved_until = self.now + lasting;
            }
            Fault::DiskError => {
                self.break_disk(lasting);
                self.operator_in(lasting);
            }
            Fault::DiskFull => {
                self.fill_disk(lasting);
                self.operator_in(lasting);
            }
        }
    }

    /// An operation will fail: of two log directories mostly one of the second, without which the node goes on. The disk may be full
    /// meanwhile, or what follows the failure slow; the node may be asked to stop about then, or be starting.
    fn break_disk(&mut self, lasting: u64) {
        let kind = self.choices.pick(&KINDS, Subsystem::FaultShape, 103);
        let second = self.choices.below(8, Subsystem::FaultShape, 111) > 0;
        let target = Target {
            what: kind.to_owned(),
            root: (second && self.machine.disk.roots() > 1).then_some(1),
        };
        self.note(|| format!("FAULT the next {target} fails"));
        let stops = self.choices.below(3, Subsystem::FaultShape, 112) == 0;
        let starts = self.choices.below(4, Subsystem::FaultShape, 114) == 0;
        if starts && self.machine.runs() {
            self.end_process(Fault::ProcessCrash, 100 * MILLISECOND);
        }
        let passes = match self.machine.runs() {
            true => 0,
            false => self.choices.below(40, Subsystem::FaultShape, 115),
        };
        self.machine.failing = Some(Failing {
            target,
            passes,
            error: DiskError::Failed,
            then: stops.then_some(Fault::CleanRestart),
        });
        if self.choices.below(4, Subsystem::FaultShape, 113) == 0 {
            self.fill_disk(lasting);
        }
        if self.choices.below(2, Subsystem::FaultShape, 116) == 0 {
            self.machine.starved_until = self.now + lasting;
        }
    }

    fn fill_disk(&mut self, lasting: u64) {
        self.note(|| format!("FAULT the disk is full for {} ms", lasting / MILLISECOND));
        match self.choices.below(4, Subsystem::FaultShape, 110) {
            0 => self.machine.disk.set_contended(),
            // What comes first has room, and what was asked for with it has not.
            1 => {
                let left = self.choices.below(4000, Subsystem::FaultShape, 117);
                self.machine.disk.set_room(Some(left));
            }
            _ => self.machine.disk.set_full(true),
        }
        // What is promised as soon as there is room again must outlast this, too.
        if self.choices.below(3, Subsystem::FaultShape, 118) == 0 {
            let after = self.choices.below(SECOND, Subsystem::FaultShape, 119);
            let at = self.now + lasting + after;
            self.schedule(at, Event::Fault(Fault::PowerCut));
        }
    }

    /// Some deaths come in the middle of a metadata transaction, or while logs are made, which is short: they wait for the next.
    fn lies_in_wait(&mut self, death: Fault) -> bool {
        if self.ambush.is_some() {
            return false;
        }
        let moment = match self.choices.below(8, Subsystem::FaultShape, 211) {
            0 | 1 => Moment::Transaction,
            2 => Moment::MakingLogs,
            _ => return false,
        };
        self.note(|| format!("FAULT {} in the next moment of {moment:?}", death.name()));
        self.ambush = Some((moment, death));
        true
    }

    /// Lets a death come that has waited for this moment.
    pub(super) fn spring(&mut self) {
        let come = |node: &Node| match self.ambush {
            Some((Moment::Transaction, _)) => node.in_transaction(),
            Some((Moment::MakingLogs, _)) => node.makes_logs(),
            None => false,
        };
        if !self.machine.node().is_some_and(come) {
            return;
        }
        if let Some((_, death)) = self.ambush.take() {
            let span = 2 * self.pace.sync + 4 * self.pace.piece;
            let after = self.choices.below(span, Subsystem::FaultShape, 212);
            self.schedule(self.now + after, Event::Fault(death));
        }
    }

    /// Some power cuts come while the disk is slow, and much is not synced yet: then it becomes slow now, and they come soon.
    fn slows_first(&mut self) -> bool {
        let slow = self.machine.slow_until > self.now;
        if slow || self.choices.below(3, Subsystem::FaultShape, 104) > 0 {
            return false;
        }
        let soon = self
            .choices
            .between(50 * MILLISECOND, 2 * SECOND, Subsystem::FaultShape, 105);
        self.machine.slow_until = self.now + soon + MILLISECOND;
        self.note(|| "FAULT slow disk until the power is cut".to_owned());
        self.schedule(self.now + soon, Event::Fault(Fault::PowerCut));
        true
    }

    /// The medium loses something that it had: in segments that are sealed, synced, and followed by something that was synced
    /// later, so that it is below the durable frontier. What is left of the partition may be out of reach, and is never wrong.
    ///
    /// Not between a power cut and the end of recovery: what is on the disk then was not all synced, and rot in what the last group
    /// had written counts as a lost copy.
    fn decay(&mut self, fault: Fault) {
        if !self.machine.node().is_some_and(Node::is_ready) {
            return;
        }
        let sealed = self.sealed();
        let mut struck = Vec::new();
        for _ in 0..2 {
            let nth = self
                .choices
                .below(sealed.len() as u64, Subsystem::FaultShape, 106);
            let Some((root, dir, name, tp)) = sealed.get(usize::try_from(nth).unwrap_or(0)) else {
                return;
            };
            let content = self.machine.disk.content(*root, &[dir], name);
            let len = content.map_or(0, <[u8]>::len) as u64;
            let at = self.choices.below(len, Subsystem::FaultShape, 107);
            let at = usize::try_from(at).unwrap_or(0);
            let (root, dir, name) = (*root, dir.as_str(), name.as_str());
            struck.push((
                Place {
                    root,
                    dir,
                    name,
                    at,
                },
                *tp,
            ));
            if fault != Fault::MisdirectedWrite {
                break;
            }
        }
        let disk = &mut self.machine.disk;
        if let [(from, _), (to, _)] = struck.as_slice()
            && !disk.misdirect(from, to)
        {
            return;
        }
        match struck.as_slice() {
            [(place, _)] if fault == Fault::LatentError => {
                disk.spoil(place.root, &[place.dir], place.name, place.at);
            }
            [(place, _)] => disk.rot(place.root, &[place.dir], place.name, place.at),
            _ => {}
        }
        for (Place { dir, name, at, .. }, tp) in &struck {
            self.note(|| format!("FAULT {} of {dir}/{name} at byte {at}", fault.name()));
            self.judge.rots(*tp);
        }
        self.count(fault.name());
    }

    /// Something beside the records of a partition cannot be read any more: an index, a snapshot of its producers, a small file. The node
    /// makes it anew or lives without it, or the partition may be out of reach.
    fn spoil_beside(&mut self) {
        if !self.machine.node().is_some_and(Node::is_ready) {
            return;
        }
        let disk = &self.machine.disk;
        let beside: Vec<_> = self
            .partitions()
            .flat_map(|(root, dir, tp)| {
                let mut files = disk.list(root, &[&dir]).unwrap_or_default();
                files
                    .retain(|name| !name.ends_with(".log") && disk.is_settled(root, &[&dir], name));
                files
                    .into_iter()
                    .map(move |name| (root, dir.clone(), name, tp))
            })
            .collect();
        let nth = self
            .choices
            .below(beside.len() as u64, Subsystem::FaultShape, 108);
        let Some((root, dir, name, tp)) = beside.get(usize::try_from(nth).unwrap_or(0)) else {
            return;
        };
        let content = disk.content(*root, &[dir], name);
        let len = content.map_or(0, <[u8]>::len) as u64;
        let at = self.choices.below(len, Subsystem::FaultShape, 109);
        let at = usize::try_from(at).unwrap_or(0);
        let fault = Fault::LatentErrorBeside.name();
        self.note(|| format!("FAULT {fault} of {dir}/{name} at byte {at}"));
        self.judge.rots(*tp);
        self.machine.disk.spoil(*root, &[dir], name, at);
        self.count(fault);
    }

    /// Root and directory of every log of a partition.
    fn partitions(&self) -> impl Iterator<Item = (usize, String, Tp)> {
        let disk = &self.machine.disk;
        (0..disk.roots()).flat_map(move |root| {
            let dirs = disk.list(root, &[]).unwrap_or_default();
            dirs.into_iter().filter_map(move |dir| {
                let tp = self.partition_in(&dir)?;
                Some((root, dir, tp))
            })
        })
    }

    /// Root, directory and name of every segment that is sealed, synced and followed by one that is synced.
    fn sealed(&self) -> Vec<(usize, String, String, Tp)> {
        let mut sealed: Vec<(usize, String, String, Tp)> = Vec::new();
        let disk = &self.machine.disk;
        for (root, dir, tp) in self.partitions() {
            let mut logs = disk.list(root, &[&dir]).unwrap_or_default();
            logs.retain(|name| name.ends_with(".log"));
            let active = logs.pop();
            if active.is_some_and(|active| disk.is_settled(root, &[&dir], &active)) {
                logs.retain(|name| disk.is_settled(root, &[&dir], name));
                let logs = logs.into_iter();
                sealed.extend(logs.map(|name| (root, dir.clone(), name, tp)));
            }
        }
        sealed
    }

    /// The partition whose log a directory is.
    pub(super) fn partition_in(&self, dir: &str) -> Option<Tp> {
        let (topic, index) = dir.rsplit_once('-')?;
        let topic = self.judge.newest_of_name(number_in(topic)?)?;
        let exists = self.judge.topic(topic) == Some(TopicState::Exists);
        let index = index.parse().ok()?;
        exists.then_some(Tp { topic, index })
    }

    pub(super) fn operator_in(&mut self, delay: u64) {
        let life = self.machine.life;
        self.schedule(self.now + delay, Event::Operator { life });
    }

    pub(super) fn some_client(&mut self, fault: Fault) -> ClientId {
        let many = self.clients.len() as u64;
        let nth = self
            .choices
            .below(many, Subsystem::FaultShape, 200 + fault as u64);
        usize::try_from(nth).unwrap_or(0)
    }

    pub(super) fn ask_to_stop(&mut self) {
        self.note(|| "FAULT the node is asked to stop".to_owned());
        self.machine.stopping = true;
        let life = self.machine.life;
        let paused = self.machine.paused_until.saturating_sub(self.now);
        self.schedule(
            self.now + STOP_WITHIN + paused,
            Event::StopDeadline { life },
        );
        self.step(Input::Shutdown);
    }

    /// The process ends now and starts again after `delay`.
    pub(super) fn end_process(&mut self, fault: Fault, delay: u64) {
        let name = fault.name();
        self.count(name);
        let power_cut = fault == Fault::PowerCut;
        if power_cut {
            let loss = self.machine.disk.power_cut(&mut self.choices, self.cut);
            self.judge.power_failed();
            self.note(|| format!("FAULT power cut: {loss:?}"));
            for (what, count) in [
                ("lost-write", loss.lost),
                ("torn-write", loss.torn),
                ("reordered-write", loss.reordered),
                ("lost-entry", loss.entries),
            ] {
                if count > 0 {
                    *self.faults.entry(what).or_default() += count;
                }
            }
        } else {
            self.note(|| format!("FAULT {name}"));
            self.machine.disk.crash(&mut self.choices);
            self.judge.process_crashed();
        }
        self.machine.end_process(power_cut);
        let mut out = Outcome::default();
        self.net
            .process_ended(self.now, power_cut, &mut self.choices, &mut out);
        self.came_of(out);
        let life = self.machine.life;
        if self.restarts {
            self.schedule(self.now + delay, Event::Start { life });
        }
    }
}
