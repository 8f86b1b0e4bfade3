//! What scripted scenarios need of a world: a caller, another one that does not wait for its answers, and faults at a word.

use std::collections::BTreeMap;

use trialog_core::io::DiskError;
use trialog_core::log::Sizes;
use trialog_core::mutant::Mutant;

use super::{Event, World};
use crate::check::Judge;
use crate::choice::Choices;
use crate::client::caller::{Call, Caller};
use crate::client::{Client, MILLISECOND, SECOND};
use crate::clock::Clock;
use crate::disk::Cut;
use crate::faults::{Fault, Pace};
use crate::machine::{Failing, Machine, Target};
use crate::net::{ClientId, Link, Net};

/// Who waits for its answer.
const CALLER: ClientId = 0;
/// Who sends on meanwhile.
const OTHER: ClientId = 1;

impl World {
    /// A calm world with two callers, for scripts. The logs of a directory that fails go out of service one by one.
    pub(crate) fn for_script(mutant: Option<Mutant>, log_dirs: usize) -> World {
        let clock = Clock::new(0, 0);
        let sizes = Sizes {
            fenced_logs: 1,
            ..Sizes::default()
        };
        let machine = Machine::new(&BTreeMap::new(), sizes, log_dirs, clock, mutant);
        let pace = Pace {
            disk: 20_000,
            sync: 500_000,
            work: 10_000,
            piece: 0,
        };
        let link = Link {
            latency: 50_000,
            per_kib: 1000,
            cut_per_million: 0,
            buffer: 64 << 10,
        };
        let clients = vec![Client::Caller(Caller::new()), Client::Caller(Caller::new())];
        let net = Net::new(vec![link, link]);
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

    fn caller(&mut self, which: ClientId) -> &mut Caller {
        match &mut self.clients[which] {
            Client::Caller(caller) => caller,
            Client::Producer(_) | Client::Consumer(_) | Client::Admin(_) | Client::Stranger(_) => {
                unreachable!("the clients of a script are its callers")
            }
        }
    }

    pub(crate) fn call(&mut self, call: Call) -> String {
        self.caller(CALLER).call(call);
        self.wake_client(CALLER, 0);
        self.until(|world| world.caller(CALLER).answer())
    }

    /// The other caller makes a call, and does not wait for its answer.
    pub(crate) fn script_send(&mut self, call: Call) -> String {
        let known = self.caller(CALLER).clone();
        self.caller(OTHER).learn(&known);
        self.caller(OTHER).call(call);
        self.wake_client(OTHER, 0);
        self.until(|world| (!world.caller(OTHER).waits()).then(|| "sent".to_owned()))
    }

    /// The answer to the last call of the other caller.
    pub(crate) fn script_answer(&mut self) -> String {
        self.until(|world| world.caller(OTHER).answer())
    }

    /// The other caller closes its connection.
    pub(crate) fn script_hang_up(&mut self) -> String {
        self.reconnect(OTHER, false);
        "gone".to_owned()
    }

    fn reconnect(&mut self, client: ClientId, silently: bool) {
        let ((), acts) = self.with_client(client, |client, cx| client.restart(cx));
        self.act(client, acts, silently);
        self.wake_client(client, 0);
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
        for client in [CALLER, OTHER] {
            self.reconnect(client, true);
        }
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

    /// The next of these operations fails.
    pub(crate) fn script_fail(&mut self, target: Target) -> String {
        let told = format!("the next {target} will fail");
        self.machine.failing = Some(Failing {
            target,
            passes: 0,
            error: DiskError::Failed,
            then: None,
        });
        told
    }

    /// A file will find no room when it is made, once.
    pub(crate) fn script_no_room(&mut self, what: String) -> String {
        let told = format!("{what} will find no room");
        self.machine.failing = Some(Failing {
            target: Target { what, root: None },
            passes: 0,
            error: DiskError::Full,
            then: None,
        });
        told
    }

    /// The next of these operations takes its time.
    pub(crate) fn script_hold(&mut self, target: Target) -> String {
        let told = format!("{target} will take a second");
        self.machine.held = Some(target);
        told
    }

    pub(crate) fn script_slow_work(&mut self) -> String {
        self.machine.starved_until = self.now + SECOND;
        "jobs are slow for a second".to_owned()
    }

    pub(crate) fn script_memory(&mut self, hot_bytes: u64) -> String {
        self.machine.set_hot_bytes(hot_bytes);
        "from the next start on".to_owned()
    }

    /// Until a metadata transaction has begun for good, and has not ended.
    pub(crate) fn script_transaction(&mut self) -> String {
        self.until(|world| {
            let open = world.machine.node()?.image().in_transaction();
            open.then(|| "a transaction is open".to_owned())
        })
    }

    pub(crate) fn script_batches(&mut self, records: usize) -> String {
        self.machine.set_metadata_records(records);
        "from the next start on".to_owned()
    }

    /// The byte at `at` of the first sealed segment of a log turns over.
    pub(crate) fn script_rot(&mut self, dir: &str, at: usize) -> String {
        let disk = &mut self.machine.disk;
        let mut logs = disk.list(0, &[dir]).unwrap_or_default();
        logs.retain(|name| name.ends_with(".log"));
        if logs.len() < 2 {
            return "no segment is sealed".to_owned();
        }
        disk.rot(0, &[dir], &logs[0], at);
        format!("{} has rotted", logs[0])
    }

    pub(crate) fn script_contended(&mut self) -> String {
        self.machine.disk.set_contended();
        "nothing grows, whatever is freed".to_owned()
    }

    pub(crate) fn script_full(&mut self, full: bool) -> String {
        self.machine.disk.set_full(full);
        match full {
            true => "nothing grows".to_owned(),
            false => "there is room".to_owned(),
        }
    }
}
