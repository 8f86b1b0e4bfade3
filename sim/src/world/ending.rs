//! The end of a run: the faults are over, clients finish what they began, a fresh consumer reads everything.

use super::{Event, Stage, World};
use crate::check::Invariant;
use crate::choice::Subsystem;
use crate::client::{MILLISECOND, SECOND};
use crate::faults::{Fault, Swarm};
use crate::net::Outcome;
use crate::report::OPERATIONS_MIN;
use crate::workload::last_reader;

/// After the faults clients must finish what they began within so many nanoseconds, and then a fresh consumer must have read everything
/// within as many.
const PROGRESS_WITHIN: u64 = 60 * SECOND;

/// Clients that have done too little go on for so many nanoseconds at most.
const CALM: u64 = 60 * SECOND;

impl World {
    pub(super) fn heal(&mut self) {
        self.note(|| "HEAL: the faults are over".to_owned());
        let last = [
            None,
            Some(Fault::ProcessCrash),
            Some(Fault::PowerCut),
            Some(Fault::PowerCut),
        ];
        let last = self.choices.pick(&last, Subsystem::Swarm, 99);
        self.machine.paused_until = 0;
        self.machine.slow_until = 0;
        self.machine.starved_until = 0;
        self.machine.failing = None;
        self.machine.disk.set_full(false);
        if self.machine.runs() && !self.machine.stopping {
            if let Some(fault) = last {
                self.end_process(fault, 500 * MILLISECOND);
            } else if self.machine.hurt {
                self.end_process(Fault::ProcessCrash, 500 * MILLISECOND);
            }
        }
        let mut out = Outcome::default();
        self.net.unclog(self.now, &mut out);
        self.came_of(out);
        self.stage = Stage::Calm {
            until: self.now + CALM,
        };
        self.look();
    }

    fn wind_down(&mut self) {
        self.note(|| "clients finish what they began".to_owned());
        for client in 0..self.clients.len() {
            self.clients[client].wind_down(self.now);
            self.wake_client(client, MILLISECOND);
        }
        self.stage = Stage::Drain {
            deadline: self.now + PROGRESS_WITHIN,
        };
        self.schedule(self.now + 20 * MILLISECOND, Event::Look);
    }

    pub(super) fn look(&mut self) {
        if let Stage::LastRead { deadline } = self.stage
            && deadline <= self.now
        {
            for client in &mut self.clients {
                client.settle_for_less(&mut self.judge);
            }
        }
        if let Stage::Calm { until } = self.stage {
            if self.judge.operations() >= OPERATIONS_MIN || until <= self.now {
                return self.wind_down();
            }
            self.schedule(self.now + 20 * MILLISECOND, Event::Look);
            return;
        }
        let resting = self.clients.iter().all(|client| client.rests(&self.judge));
        match self.stage {
            Stage::Safety | Stage::Calm { .. } | Stage::Over => {}
            Stage::Drain { .. } if resting => self.read_everything(),
            Stage::LastRead { .. } if resting => {
                self.judge.finish();
                self.audit();
                self.stage = Stage::Over;
            }
            Stage::Drain { deadline } | Stage::LastRead { deadline } => {
                if deadline <= self.now {
                    // What is lost says more than what is late.
                    self.judge.finish();
                    let who = self
                        .clients
                        .iter()
                        .find(|client| !client.rests(&self.judge))
                        .map(|client| format!("{} ({})", client.name(), client.waits_for()));
                    self.judge.violate(
                        Invariant::Progress,
                        format!(
                            "in 60 seconds without faults {} has not finished",
                            who.unwrap_or_default()
                        ),
                    );
                }
                self.schedule(self.now + 20 * MILLISECOND, Event::Look);
            }
        }
    }

    pub(super) fn read_everything(&mut self) {
        self.note(|| "a fresh consumer reads everything".to_owned());
        self.stage = Stage::LastRead {
            deadline: self.now + PROGRESS_WITHIN,
        };
        let partitions = self.judge.final_partitions();
        let client = self.clients.len();
        self.clients.push(last_reader(partitions));
        self.net
            .add_link(Swarm::link(&mut self.choices, client as u64));
        self.wakes.push(u64::MAX);
        self.conns.push(None);
        self.wake_client(client, 0);
        self.schedule(self.now + 20 * MILLISECOND, Event::Look);
    }
}
