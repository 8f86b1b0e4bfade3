//! The world of one run: a heap of events ordered by time and sequence, and everything that they happen to.
//!
//! Owns simulated time and the order of events; its parts carry out the effects of the node, let clients act, strike with
//! faults, and bring the run to its end. The hash rolls over every event, every input and every effect. Decides nothing that is not a keyed choice.

mod clients;
mod ending;
mod node;
mod story;
mod strike;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use trialog_core::ids::ConnId;
use trialog_core::io::{DiskError, Effects, Input, Token};
use trialog_core::mark::Mark;
use trialog_core::work::{self, Job};

use crate::Options;
use crate::check::{Invariant, Judge, image, stored};
use crate::choice::{Choices, Subsystem};
use crate::client::{Client, MILLISECOND, SECOND};
use crate::clock::Clock;
use crate::disk::{Cut, OpId};
use crate::faults::{Fault, Pace, Swarm};
use crate::hash::Roll;
use crate::machine::Machine;
use crate::net::{ClientId, Net, NetEvent, Side};
use crate::report::{Report, Verdict};
use crate::workload::Workload;

/// Events at one instant beyond which the node is said to spin.
const SPIN_LIMIT: u32 = 200_000;

/// One thing that will happen.
#[derive(Clone, Debug)]
enum Event {
    /// The process starts.
    Start { life: u64 },
    /// A disk operation completes, or fails after so many bytes.
    Disk {
        life: u64,
        op: OpId,
        token: Token,
        error: Option<(DiskError, u64)>,
    },
    /// A job of work is done.
    Worked {
        life: u64,
        token: Token,
        job: Box<Job>,
    },
    /// The node's own time has come.
    Wakeup { life: u64, at: u64 },
    /// The network.
    Net(NetEvent),
    /// A client's own time has come.
    Client { client: ClientId, at: u64 },
    /// A fault strikes.
    Fault(Fault),
    /// A disk that was full or failed is well again, and an operator restarts the node.
    Operator { life: u64 },
    /// A graceful stop must have ended.
    StopDeadline { life: u64 },
    /// Everything is judged.
    Audit,
    /// The faults are over.
    Heal,
    /// Have all clients come to rest?
    Look,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Faults strike.
    Safety,
    /// They are over, and clients have done too little for the run to count: they go on for a while.
    Calm { until: u64 },
    /// They are over: clients finish what they began.
    Drain { deadline: u64 },
    /// A fresh consumer reads everything.
    LastRead { deadline: u64 },
    /// Judged.
    Over,
}

/// One run in progress.
#[derive(Debug)]
pub(crate) struct World {
    now: u64,
    sequence: u64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    events: u64,
    at_this_instant: u32,
    roll: Roll,
    choices: Choices,
    pace: Pace,
    net: Net,
    clients: Vec<Client>,
    wakes: Vec<u64>,
    conns: Vec<Option<ConnId>>,
    machine: Machine,
    judge: Judge,
    stage: Stage,
    effects: Effects,
    faults: BTreeMap<&'static str, u64>,
    marks: BTreeMap<Mark, u64>,
    log: Option<Vec<String>>,
    /// What power cuts take; drawn, but in scripts.
    cut: Cut,
    /// A process that ended starts again by itself; not always in scripts.
    restarts: bool,
    /// How the process dies in the next metadata transaction, if it does.
    ambush: Option<(strike::Moment, Fault)>,
}

impl World {
    /// The world of `seed` before anything has happened.
    pub(crate) fn new(seed: u64, options: &Options) -> World {
        let mut choices = Choices::new(seed);
        let mut judge = Judge::new();
        let duration = options.duration_ms * MILLISECOND;
        let swarm = Swarm::draw(&mut choices, duration);
        let workload = Workload::draw(&mut choices, &mut judge);
        let links = (0..workload.clients.len() as u64)
            .map(|client| Swarm::link(&mut choices, client))
            .collect();
        // A node goes on without the second log directory, but not without the first one.
        let fails = |(_, fault): &(u64, Fault)| *fault == Fault::DiskError;
        let log_dirs = match swarm.plan.iter().any(fails) {
            true => choices.pick(&[1, 2, 2, 2], Subsystem::Workload, 130),
            false => choices.pick(&[1, 1, 1, 2], Subsystem::Workload, 130),
        };
        let clock = Clock::new(swarm.skew_ms, swarm.drift_ppm);
        let machine = Machine::new(
            &workload.properties,
            workload.sizes,
            log_dirs,
            clock,
            options.mutant,
        );
        let mut world = World::assemble(
            choices,
            judge,
            machine,
            swarm.pace,
            Net::new(links),
            workload.clients,
            options.keep_log,
        );
        for (at, fault) in swarm.plan {
            world.schedule(at, Event::Fault(fault));
        }
        world.schedule(duration, Event::Heal);
        world.schedule(5 * SECOND, Event::Audit);
        world
    }

    fn assemble(
        choices: Choices,
        judge: Judge,
        machine: Machine,
        pace: Pace,
        net: Net,
        clients: Vec<Client>,
        keep_log: bool,
    ) -> World {
        let mut world = World {
            now: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
            events: 0,
            at_this_instant: 0,
            roll: Roll::new(),
            choices,
            pace,
            net,
            wakes: vec![u64::MAX; clients.len()],
            conns: vec![None; clients.len()],
            clients,
            machine,
            judge,
            stage: Stage::Safety,
            effects: Effects::default(),
            faults: BTreeMap::new(),
            marks: BTreeMap::new(),
            log: keep_log.then(Vec::new),
            cut: Cut::Drawn,
            restarts: true,
            ambush: None,
        };
        world.schedule(0, Event::Start { life: 0 });
        for client in 0..world.clients.len() {
            world.wake_client(client, MILLISECOND);
        }
        world
    }

    /// Runs to the end and reports.
    pub(crate) fn run(mut self, seed: u64) -> Report {
        while self.stage != Stage::Over && self.judge.violation().is_none() {
            if !self.happen() {
                self.judge.violate(
                    Invariant::Progress,
                    "nothing will ever happen again".to_owned(),
                );
            }
        }
        self.report(seed)
    }

    fn report(mut self, seed: u64) -> Report {
        let violation = self.judge.violation().cloned();
        if let Some(violation) = &violation {
            let (name, message) = (violation.invariant.name(), violation.message.clone());
            self.note(|| format!("VIOLATED {name}: {message}"));
        }
        let mut report = Report {
            seed,
            hash: self.roll.value(),
            events: self.events,
            operations: self.judge.operations(),
            simulated_ms: self.now / MILLISECOND,
            faults: self.faults,
            marks: self.marks,
            live: self.stage == Stage::Over,
            verdict: Verdict::Violated,
            violation,
            log: self.log.unwrap_or_default(),
        };
        if report.violation.is_none() {
            report.verdict = match report.lacking().is_empty() {
                true => Verdict::Passed,
                false => Verdict::Inconclusive,
            };
        }
        report
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Scheduled {
            at: at.max(self.now),
            sequence: self.sequence,
            event,
        }));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let (seconds, nanos) = (self.now / SECOND, self.now % SECOND);
            log.push(format!("{seconds:>4}.{nanos:09} {}", line()));
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// The next event; false if there is none.
    fn happen(&mut self) -> bool {
        let Some(Reverse(next)) = self.heap.pop() else {
            return false;
        };
        self.at_this_instant = match next.at == self.now {
            true => self.at_this_instant + 1,
            false => 0,
        };
        if self.at_this_instant > SPIN_LIMIT {
            let wants = self.machine.wants();
            self.judge.violate(
                Invariant::Progress,
                format!("time stands still; the node wants {wants:?}"),
            );
            return true;
        }
        self.now = next.at;
        self.judge.at(self.now);
        self.events += 1;
        self.roll.word(next.at);
        if self.machine.paused_until > self.now && reaches_node(&next.event) {
            let until = self.machine.paused_until;
            self.schedule(until, next.event);
            return true;
        }
        self.dispatch(next.event);
        true
    }

    fn dispatch(&mut self, event: Event) {
        let life = self.machine.life;
        match event {
            Event::Start { life: of } => {
                if of == life && !self.machine.runs() {
                    self.start();
                }
            }
            Event::Disk {
                life: of,
                op,
                token,
                error,
            } => {
                if of == life {
                    self.disk_done(op, token, error);
                }
            }
            Event::Worked {
                life: of,
                token,
                job,
            } => {
                if of == life {
                    let facts = work::run(*job);
                    self.step(Input::Worked { token, facts });
                }
            }
            Event::Wakeup { life: of, at } => {
                if of == life && self.machine.wakeup == Some(at) {
                    self.machine.wakeup = None;
                    match self.machine.wants() {
                        Some((wants, _)) if wants <= self.now => {
                            self.machine.piece = None;
                            self.step(Input::Wakeup);
                        }
                        Some(_) | None => self.schedule_wakeup(),
                    }
                }
            }
            Event::Net(event) => self.net_event(event),
            Event::Client { client, at } => {
                if self.wakes[client] == at {
                    self.wakes[client] = u64::MAX;
                    if self.clients[client].next_wake() <= self.now {
                        self.client(client, None);
                    } else {
                        self.wake_client(client, 0);
                    }
                }
            }
            Event::Fault(fault) => self.strike(fault),
            Event::Operator { life: of } => {
                self.machine.disk.set_full(false);
                self.machine.failing = None;
                // Who has asked it to stop waits for that.
                let runs = self.machine.runs() && !self.machine.stopping;
                if of == life && runs && self.machine.hurt {
                    self.end_process(Fault::ProcessCrash, 100 * MILLISECOND);
                }
            }
            Event::StopDeadline { life: of } => {
                if of == life && self.machine.stopping {
                    self.judge.violate(
                        Invariant::Progress,
                        "the node was asked to stop 30 seconds ago and has not".to_owned(),
                    );
                }
            }
            Event::Audit => {
                self.audit();
                self.schedule(self.now + 5 * SECOND, Event::Audit);
            }
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    /// Judges everything that is known, what is on the disk, and the node's image against its log.
    fn audit(&mut self) {
        self.judge.audit();
        self.audit_disk();
        let Some(node) = self.machine.node().filter(|node| node.is_ready()) else {
            return;
        };
        if let Err(difference) = image::equals_replay(&self.machine.disk, node.image()) {
            self.judge.violate(Invariant::Replay, difference);
        }
    }

    fn audit_disk(&mut self) {
        let disk = &self.machine.disk;
        for root in 0..disk.roots() {
            for dir in disk.list(root, &[]).unwrap_or_default() {
                let Some(tp) = self
                    .partition_in(&dir)
                    .filter(|tp| !self.judge.is_rotten(*tp))
                else {
                    continue;
                };
                let promised = self.judge.promised_end(tp);
                if let Err(damage) = stored::is_whole(disk, root, &dir, promised) {
                    return self.judge.violate(Invariant::Damaged, damage);
                }
            }
        }
    }

    fn start(&mut self) {
        self.note(|| "start".to_owned());
        self.machine.start(self.now, &mut self.choices);
        self.step(Input::Start);
    }
}

/// Does an event need the process to take part?
fn reaches_node(event: &Event) -> bool {
    match event {
        Event::Disk { .. }
        | Event::Worked { .. }
        | Event::Wakeup { .. }
        | Event::Net(NetEvent::Syn(_) | NetEvent::Deliver(_, Side::Node) | NetEvent::Sent(_)) => {
            true
        }
        Event::Fault(fault) => *fault == Fault::CleanRestart,
        Event::Net(NetEvent::Answered(_) | NetEvent::Deliver(_, Side::Client))
        | Event::Start { .. }
        | Event::Client { .. }
        | Event::Operator { .. }
        | Event::StopDeadline { .. }
        | Event::Audit
        | Event::Heal
        | Event::Look => false,
    }
}

#[cfg(test)]
mod tests;
