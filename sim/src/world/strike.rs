//! The faults of the plan, carried out.

use trialog_core::ids::ConnId;
use trialog_core::io::Input;

use super::{Event, Stage, World};
use crate::choice::Subsystem;
use crate::client::{MILLISECOND, SECOND};
use crate::faults::{Fault, lasts};
use crate::net::{ClientId, Outcome, Side};

/// A graceful stop must come within so many nanoseconds.
const STOP_WITHIN: u64 = 30 * SECOND;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        if self.stage != Stage::Safety {
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
            Fault::SlowWork => {
                self.note(|| format!("FAULT slow work for {} ms", lasting / MILLISECOND));
                self.machine.starved_until = self.now + lasting;
            }
            Fault::DiskError => {
                let kinds = ["sync", "write", "sync-dir", "create", "read", "rename"];
                let kind = self.choices.pick(&kinds, Subsystem::FaultShape, 103);
                self.note(|| format!("FAULT the next {kind} fails"));
                self.machine.failing = Some((kind, 1));
                self.operator_in(lasting);
            }
            Fault::DiskFull => {
                self.note(|| format!("FAULT the disk is full for {} ms", lasting / MILLISECOND));
                self.machine.disk.set_full(true);
                self.operator_in(lasting);
            }
        }
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
