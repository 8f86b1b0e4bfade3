//! One machine: its disk, its clocks, and the process of the node on it, if there is one.
//!
//! Owns lives: each start of the process is a new one, and what was meant for an earlier one is dropped. Nothing here
//! decides when something fails.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use trialog_core::config::Config;
use trialog_core::format::Format;
use trialog_core::ids::Uuid;
use trialog_core::io::{Boot, DiskError, Effects, Input, ListenerBoot, LogDirBoot, Wake};
use trialog_core::log::Sizes;
use trialog_core::mutant::{Mutant, Mutants};
use trialog_core::node::Node;
use trialog_core::time::Instant;

use crate::choice::{Choices, Subsystem};
use crate::clock::{Clock, EPOCH_MS};
use crate::disk::Disk;
use crate::faults::Fault;
use crate::net::Host;

/// Where the node listens, as clients know it.
pub const HOST: &str = "broker";
/// The port of the clients' listener.
pub const PORT: u16 = 9092;
/// What the paths of its log directories begin with; their number follows.
const DATA: &str = "/data/";
/// A piece of long work, as [`Target`] has it.
pub const PIECE: &str = "piece";

/// Operations that something is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Their kind, as [`Subject`](crate::disk::Subject) has it, or the file that they make: its directory, `/`, its name.
    pub what: String,
    /// The log directory that they are in; `None`: any.
    pub root: Option<usize>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.root {
            Some(root) => write!(f, "{} in {}", self.what, path(root)),
            None => f.write_str(&self.what),
        }
    }
}

/// One of these operations will fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Which.
    pub target: Target,
    /// So many of them pass before.
    pub passes: u64,
    /// With this.
    pub error: DiskError,
    /// What strikes about when it fails.
    pub then: Option<Fault>,
}

/// The path of a log directory.
fn path(root: usize) -> String {
    format!("{DATA}{root}")
}

/// The log directory of a path.
#[must_use]
pub fn root_at(path: &str) -> Option<usize> {
    path.strip_prefix(DATA)?.parse().ok()
}

/// A machine and its process.
#[derive(Debug)]
pub struct Machine {
    /// Its disk.
    pub disk: Disk,
    /// Its clocks.
    pub clock: Clock,
    /// Counts the lives of the process: what belongs to an earlier one is void.
    pub life: u64,
    /// Nothing reaches the process before this simulated time.
    pub paused_until: u64,
    /// The disk is slow until this simulated time.
    pub slow_until: u64,
    /// Jobs of work are slow, and the pieces of long work far between, until this simulated time.
    pub starved_until: u64,
    /// What will fail.
    pub failing: Option<Failing>,
    /// The next of these operations takes a second; only in scripts. [`PIECE`] is no operation of the disk.
    pub held: Option<Target>,
    /// The disk failed or was full in this life: the node may have fenced it.
    pub hurt: bool,
    /// The process was asked to stop.
    pub stopping: bool,
    /// When the node's wakeup is scheduled.
    pub wakeup: Option<u64>,
    /// When the node goes on with long work that it does in pieces.
    pub piece: Option<u64>,
    node: Option<Node>,
    powered: bool,
    boots: u64,
    config: Config,
    sizes: Sizes,
    mutants: Mutants,
}

/// Kafka properties of a lone node.
fn identity(log_dirs: usize) -> BTreeMap<String, String> {
    let dirs: Vec<String> = (0..log_dirs).map(path).collect();
    [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("controller.quorum.voters", format!("1@{HOST}:9093")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        (
            "listeners",
            format!("PLAINTEXT://{HOST}:{PORT},CONTROLLER://{HOST}:9093"),
        ),
        ("log.dirs", dirs.join(",")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

impl Machine {
    /// A formatted machine whose process has not started.
    ///
    /// # Panics
    /// If the properties are no configuration: the caller's mistake.
    #[must_use]
    pub fn new(
        properties: &BTreeMap<String, String>,
        sizes: Sizes,
        log_dirs: usize,
        clock: Clock,
        mutant: Option<Mutant>,
    ) -> Machine {
        let mut all = identity(log_dirs);
        all.extend(properties.iter().map(|(k, v)| (k.clone(), v.clone())));
        let config = Config::parse(&all).unwrap_or_else(|errors| panic!("{errors}"));
        let mut disk = Disk::new(log_dirs as u64);
        let directory_ids: Vec<Uuid> = (1..=log_dirs)
            .map(|nth| Uuid::random_from([u8::try_from(nth).unwrap_or(255); 16]))
            .collect();
        let format = Format {
            now_ms: EPOCH_MS,
            ..Format::new(&config, "c2ltdWxhdGlvbi1jbHVzdA", &directory_ids)
        };
        let files = format.files().unwrap_or_else(|error| panic!("{error}"));
        for (root, files) in files.iter().enumerate() {
            for file in files {
                disk.install(root, file.dir.as_ref(), &file.name, &file.content);
            }
        }
        Machine {
            disk,
            clock,
            life: 0,
            paused_until: 0,
            slow_until: 0,
            starved_until: 0,
            failing: None,
            held: None,
            hurt: false,
            stopping: false,
            wakeup: None,
            piece: None,
            node: None,
            powered: true,
            boots: 0,
            config,
            sizes,
            mutants: mutant.map_or(Mutants::NONE, Mutants::only),
        }
    }

    /// What the network sees of it.
    #[must_use]
    pub fn host(&self) -> Host {
        match (self.powered, self.node.is_some()) {
            (false, _) => Host::Off,
            (true, false) => Host::Closed,
            (true, true) => Host::Listening,
        }
    }

    /// Is there a process?
    #[must_use]
    pub fn runs(&self) -> bool {
        self.node.is_some()
    }

    /// From the next start on so many bytes of recent batches stay in memory.
    pub fn set_hot_bytes(&mut self, bytes: u64) {
        self.sizes.hot_bytes = bytes;
    }

    /// From the next start on a batch of metadata that a request brings holds at most so many records.
    pub fn set_metadata_records(&mut self, records: usize) {
        self.sizes.metadata_records = records;
    }

    /// The process, if there is one.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The process starts; it has not been stepped yet.
    pub fn start(&mut self, now: u64, choices: &mut Choices) {
        if !self.powered || self.boots == 0 {
            self.powered = true;
            self.boots += 1;
            self.clock.boot(now);
        }
        self.stopping = false;
        self.hurt = false;
        self.wakeup = None;
        self.piece = None;
        let log_dirs = self
            .disk
            .open_roots()
            .into_iter()
            .enumerate()
            .map(|(nth, dir)| LogDirBoot {
                dir,
                path: path(nth),
            })
            .collect();
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&self.boots.to_be_bytes());
        let listener = |name: &str, port| ListenerBoot {
            name: name.to_owned(),
            host: HOST.to_owned(),
            port,
        };
        let boot = Boot {
            boot_id,
            log_dirs,
            listeners: vec![listener("PLAINTEXT", PORT), listener("CONTROLLER", 9093)],
        };
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&choices.word(Subsystem::NodeSeed, self.life).to_le_bytes());
        }
        let node = Node::with_mutants(self.config.clone(), seed, boot, self.mutants);
        self.node = Some(node.with_sizes(self.sizes));
    }

    /// The process is gone, however that came.
    pub fn end_process(&mut self, power_cut: bool) {
        self.node = None;
        self.failing = None;
        self.life += 1;
        self.wakeup = None;
        self.paused_until = 0;
        self.powered &= !power_cut;
    }

    /// Gives the node one input.
    ///
    /// # Errors
    /// What the node said when it panicked.
    pub fn step(&mut self, now: u64, input: Input, out: &mut Effects) -> Result<(), String> {
        let now = self.clock.now(now);
        let Some(node) = &mut self.node else {
            return Ok(());
        };
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            node.step(now, input, out);
            node.check();
        }));
        stepped.map_err(|panic| {
            let said = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            said.unwrap_or_else(|| "a panic without words".to_owned())
        })
    }

    /// When and why the node wants to be woken, in simulated time.
    #[must_use]
    pub fn wants(&self) -> Option<(u64, Wake)> {
        let (at, why): (Instant, Wake) = self.node.as_ref()?.next_wakeup()?;
        Some((self.clock.simulated(at), why))
    }
}
