//! The world of one run: a heap of events ordered by time and sequence, and everything that they happen to.
//!
//! Owns simulated time and the order of events; carries out the effects of the node as a driver must, and the faults of
//! the plan. The hash rolls over every event, every input and every effect. Decides nothing that is not a keyed choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use trialog_core::event::Event as NodeEvent;
use trialog_core::ids::{ConnId, ListenerId};
use trialog_core::io::{DiskError, Effect, Effects, Halt, Input, Token};
use trialog_core::mark::Mark;
use trialog_core::work::{self, Job};

use crate::Options;
use crate::brief;
use crate::check::{Invariant, Judge, image};
use crate::choice::{Choices, Subsystem};
use crate::client::caller::{Call, Caller};
use crate::client::{Act, Client, Cx, MILLISECOND, SECOND};
use crate::clock::{Clock, EPOCH_MS};
use crate::disk::{Cut, OpId};
use crate::faults::{Fault, Pace, Swarm, lasts};
use crate::hash::{Roll, subject};
use crate::machine::Machine;
use crate::net::{ClientId, Link, Net, NetEvent, Outcome, Side, ToClient, ToNode};
use crate::report::{FAULT_KINDS_MIN, OPERATIONS_MIN, Report, Verdict};
use crate::workload::{Workload, last_reader};

/// Progress must come within so many nanoseconds after the faults end.
const PROGRESS_WITHIN: u64 = 60 * SECOND;
/// A graceful stop must come within so many.
const STOP_WITHIN: u64 = 30 * SECOND;
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
        let log_dirs = choices.pick(&[1, 1, 1, 2], Subsystem::Workload, 130);
        let clock = Clock::new(swarm.skew_ms, swarm.drift_ppm);
        let machine = Machine::new(&workload.properties, log_dirs, clock, options.mutant);
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
        let live = self.stage == Stage::Over;
        let enough = self.judge.operations() >= OPERATIONS_MIN
            && self.faults.len() >= FAULT_KINDS_MIN
            && live;
        Report {
            seed,
            hash: self.roll.value(),
            events: self.events,
            operations: self.judge.operations(),
            simulated_ms: self.now / MILLISECOND,
            faults: self.faults,
            marks: self.marks,
            live,
            verdict: match (&violation, enough) {
                (Some(_), _) => Verdict::Violated,
                (None, true) => Verdict::Passed,
                (None, false) => Verdict::Inconclusive,
            },
            violation,
            log: self.log.unwrap_or_default(),
        }
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
                        Some((wants, _)) if wants <= self.now => self.step(Input::Wakeup),
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
                if of == life && self.machine.runs() && self.machine.hurt {
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

    /// Judges everything that is known, and the node's image against its log.
    fn audit(&mut self) {
        self.judge.audit();
        let Some(node) = self.machine.node().filter(|node| node.is_ready()) else {
            return;
        };
        if let Err(difference) = image::equals_replay(&self.machine.disk, node.image()) {
            self.judge.violate(Invariant::Replay, difference);
        }
    }

    fn start(&mut self) {
        self.note(|| "start".to_owned());
        self.machine.start(self.now, &mut self.choices);
        self.step(Input::Start);
    }

    /// Steps the node and carries out what it asks for.
    fn step(&mut self, input: Input) {
        self.roll.input(&input);
        if self.log.is_some() {
            let line = brief::input(&input);
            self.note(|| format!("<- {line}"));
        }
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
            Ok(()) => self.schedule_wakeup(),
            Err(panic) => self.judge.violate(
                Invariant::NodeInvariant,
                format!("the node panicked: {panic}"),
            ),
        }
    }

    fn told(&mut self, event: &NodeEvent) {
        if let NodeEvent::Mark(mark) = event {
            *self.marks.entry(*mark).or_default() += 1;
        }
        self.note(|| format!("   {event:?}"));
    }

    fn schedule_wakeup(&mut self) {
        let Some((wants, _)) = self.machine.wants() else {
            return;
        };
        let at = wants.max(self.now);
        if self.machine.wakeup.is_none_or(|scheduled| at < scheduled) {
            self.machine.wakeup = Some(at);
            let life = self.machine.life;
            self.schedule(at, Event::Wakeup { life, at });
        }
    }

    fn carry_out(&mut self, effect: Effect) {
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
                let delay = choices.delay(self.pace.work, Subsystem::WorkLatency, 0);
                let life = self.machine.life;
                let job = Box::new(job);
                self.schedule(now + delay, Event::Worked { life, token, job });
            }
            Effect::Halt { halt } => self.halted(halt),
        }
        self.came_of(out);
    }

    fn halted(&mut self, halt: Halt) {
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

    // ------------------------------------------------------------------------------------------------------- the disk

    fn disk_asked(&mut self, token: Token, op: trialog_core::io::DiskOp) {
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
        let mut error = None;
        if let Some((kind, left)) = self.machine.failing
            && kind == about.kind
        {
            self.machine.failing = (left > 1).then_some((kind, left - 1));
            self.machine.hurt = true;
            let written = self
                .choices
                .below(about.bytes + 1, Subsystem::DiskFault, key);
            error = Some((DiskError::Failed, written));
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

    fn disk_done(&mut self, op: OpId, token: Token, error: Option<(DiskError, u64)>) {
        let result = match error {
            None => self.machine.disk.complete(op),
            Some((error, written)) => self.machine.disk.fail(op, error, written),
        };
        if result == Err(DiskError::Full) {
            self.machine.hurt = true;
            self.count("disk-full");
        }
        self.step(Input::Disk { token, result });
    }

    // ---------------------------------------------------------------------------------------- the network and clients

    fn net_event(&mut self, event: NetEvent) {
        let mut out = Outcome::default();
        let host = self.machine.host();
        self.net
            .happens(self.now, event, host, &mut self.choices, &mut out);
        self.came_of(out);
    }

    fn came_of(&mut self, out: Outcome) {
        for (at, event) in out.later {
            self.schedule(at, Event::Net(event));
        }
        for input in out.node {
            if !self.machine.runs() {
                return;
            }
            let input = match input {
                ToNode::Opened(conn, peer) => Input::Opened {
                    conn,
                    listener: ListenerId(0),
                    peer,
                },
                ToNode::Frame(conn, frame) => Input::Frame { conn, frame },
                ToNode::Sent(conn, bytes) => Input::Sent { conn, bytes },
                ToNode::Closed(conn, reason) => Input::Closed { conn, reason },
            };
            self.step(input);
        }
        for (client, event) in out.clients {
            self.client(client, Some(event));
        }
    }

    fn with_client<T>(
        &mut self,
        client: ClientId,
        act: impl FnOnce(&mut Client, &mut Cx<'_>) -> T,
    ) -> (T, Vec<Act>) {
        let mut acts = Vec::new();
        let mut cx = Cx {
            now: self.now,
            wall_ms: EPOCH_MS + i64::try_from(self.now / MILLISECOND).unwrap_or(i64::MAX),
            me: client,
            choices: &mut self.choices,
            judge: &mut self.judge,
            acts: &mut acts,
        };
        let done = act(&mut self.clients[client], &mut cx);
        (done, acts)
    }

    fn client(&mut self, client: ClientId, event: Option<ToClient>) {
        if self.log.is_some()
            && let Some(event) = &event
        {
            let name = self.clients[client].name();
            let line = match event {
                ToClient::Bytes(bytes) => format!("{name} gets {} bytes", bytes.len()),
                ToClient::Connected | ToClient::Failed | ToClient::Closed => {
                    format!("{name}: {event:?}")
                }
            };
            self.note(|| line);
        }
        if matches!(event, Some(ToClient::Failed)) {
            self.count("refused-connect");
        }
        if matches!(event, Some(ToClient::Failed | ToClient::Closed)) {
            self.conns[client] = None;
        }
        let slack = match event {
            None => MILLISECOND / 5,
            Some(_) => 0,
        };
        let ((), acts) = self.with_client(client, |client, cx| client.happens(cx, event));
        self.act(client, acts, false);
        self.wake_client(client, slack);
    }

    fn act(&mut self, client: ClientId, acts: Vec<Act>, silently: bool) {
        let mut out = Outcome::default();
        for act in acts {
            match act {
                Act::Connect => {
                    let conn = self
                        .net
                        .connect(self.now, client, &mut self.choices, &mut out);
                    self.conns[client] = Some(conn);
                }
                Act::Send(bytes) => {
                    self.roll.bytes(&bytes);
                    if let Some(conn) = self.conns[client] {
                        let host = self.machine.host();
                        self.net.client_sends(
                            self.now,
                            conn,
                            bytes,
                            host,
                            &mut self.choices,
                            &mut out,
                        );
                    }
                }
                Act::Close => {
                    if let Some(conn) = self.conns[client].take() {
                        self.net.client_closes(
                            self.now,
                            conn,
                            silently,
                            &mut self.choices,
                            &mut out,
                        );
                    }
                }
            }
        }
        self.came_of(out);
    }

    /// Schedules a client's next wake, at least `slack` from now.
    fn wake_client(&mut self, client: ClientId, slack: u64) {
        let wants = self.clients[client].next_wake();
        if wants == u64::MAX {
            return;
        }
        let at = wants.max(self.now + slack);
        if at < self.wakes[client] {
            self.wakes[client] = at;
            self.schedule(at, Event::Client { client, at });
        }
    }

    // ------------------------------------------------------------------------------------------------------ the faults

    fn strike(&mut self, fault: Fault) {
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

    fn operator_in(&mut self, delay: u64) {
        let life = self.machine.life;
        self.schedule(self.now + delay, Event::Operator { life });
    }

    fn some_client(&mut self, fault: Fault) -> ClientId {
        let many = self.clients.len() as u64;
        let nth = self
            .choices
            .below(many, Subsystem::FaultShape, 200 + fault as u64);
        usize::try_from(nth).unwrap_or(0)
    }

    fn ask_to_stop(&mut self) {
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
    fn end_process(&mut self, fault: Fault, delay: u64) {
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

    // --------------------------------------------------------------------------------------------------- the stories

    /// A calm world with one caller, for scripts.
    pub(crate) fn for_script() -> World {
        let clock = Clock::new(0, 0);
        let machine = Machine::new(&BTreeMap::new(), 1, clock, None);
        let pace = Pace {
            disk: 20_000,
            sync: 500_000,
            work: 10_000,
        };
        let link = Link {
            latency: 50_000,
            per_kib: 1000,
            cut_per_million: 0,
            buffer: 64 << 10,
        };
        let clients = vec![Client::Caller(Caller::new())];
        let net = Net::new(vec![link]);
        World::assemble(
            Choices::new(0),
            Judge::new(),
            machine,
            pace,
            net,
            clients,
            false,
        )
    }

    fn broken(&self) -> Option<String> {
        let violation = self.judge.violation()?;
        Some(format!(
            "VIOLATED {}: {}",
            violation.invariant.name(),
            violation.message
        ))
    }

    /// Lets things happen until `done` says so, at most a minute.
    fn until(&mut self, mut done: impl FnMut(&mut World) -> Option<String>) -> String {
        let deadline = self.now + 60 * SECOND;
        loop {
            if let Some(answer) = done(self).or_else(|| self.broken()) {
                return answer;
            }
            if self.now > deadline || !self.happen() {
                return "nothing for a minute".to_owned();
            }
        }
    }

    fn caller(&mut self) -> &mut Caller {
        match &mut self.clients[0] {
            Client::Caller(caller) => caller,
            Client::Producer(_) | Client::Consumer(_) | Client::Admin(_) => {
                unreachable!("the client of a script is its caller")
            }
        }
    }

    pub(crate) fn call(&mut self, call: Call) -> String {
        self.caller().call(call);
        self.wake_client(0, 0);
        self.until(|world| world.caller().answer())
    }

    /// A crash or a power cut; the node starts again at once.
    pub(crate) fn script_fault(&mut self, fault: Fault, cut: Cut) -> String {
        self.cut = cut;
        self.restarts = false;
        self.end_process(fault, 0);
        self.script_start()
    }

    pub(crate) fn script_stop(&mut self) -> String {
        self.ask_to_stop();
        let before = self.machine.life;
        self.restarts = false;
        self.until(|world| (world.machine.life > before).then(|| "stopped".to_owned()))
    }

    pub(crate) fn script_start(&mut self) -> String {
        self.restarts = true;
        let life = self.machine.life;
        self.schedule(self.now, Event::Start { life });
        self.until(|world| world.machine.runs().then(String::new));
        let ((), acts) = self.with_client(0, |client, cx| client.restart(cx));
        self.act(0, acts, true);
        self.wake_client(0, 0);
        self.until(|world| {
            let node = world.machine.node()?;
            node.is_ready().then(|| "started".to_owned())
        })
    }

    pub(crate) fn script_sleep(&mut self, ms: u64) -> String {
        let end = self.now + ms * MILLISECOND;
        self.schedule(end, Event::Look);
        self.until(|world| (world.now >= end).then(|| "slept".to_owned()))
    }

    /// The next operation of this kind fails.
    pub(crate) fn script_fail(&mut self, kind: &'static str) -> String {
        self.machine.failing = Some((kind, 1));
        format!("the next {kind} will fail")
    }

    // ---------------------------------------------------------------------------------------------------- the ending

    fn heal(&mut self) {
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
        for client in 0..self.clients.len() {
            self.clients[client].wind_down(self.now);
            self.wake_client(client, MILLISECOND);
        }
        self.stage = Stage::Drain {
            deadline: self.now + PROGRESS_WITHIN,
        };
        self.schedule(self.now + 20 * MILLISECOND, Event::Look);
    }

    fn look(&mut self) {
        let resting = self.clients.iter().all(|client| client.rests(&self.judge));
        match self.stage {
            Stage::Safety | Stage::Over => {}
            Stage::Drain { .. } if resting => self.read_everything(),
            Stage::LastRead { .. } if resting => {
                self.judge.finish();
                self.audit();
                self.stage = Stage::Over;
            }
            Stage::Drain { deadline } | Stage::LastRead { deadline } => {
                if deadline <= self.now {
                    let who = self
                        .clients
                        .iter()
                        .find(|client| !client.rests(&self.judge))
                        .map(|client| format!("{} ({})", client.name(), client.waits_for()));
                    self.judge.violate(
                        Invariant::Progress,
                        format!(
                            "60 seconds after the faults ended {} has not finished",
                            who.unwrap_or_default()
                        ),
                    );
                }
                self.schedule(self.now + 20 * MILLISECOND, Event::Look);
            }
        }
    }

    fn read_everything(&mut self) {
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
