//! The deterministic simulator of Trialog: the real core in a world made of one seed.
//!
//! Network, disk, clocks, processes, clients and checkers are data here; nothing owns a file, a thread or a wall clock.
#![forbid(unsafe_code)]

mod brief;
pub mod check;
pub mod choice;
pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod hash;
mod machine;
pub mod mutants;
pub mod net;
pub mod report;
pub mod script;
pub mod workload;
mod world;

pub use check::{Invariant, Violation};
pub use report::{Report, Verdict};

use trialog_core::mutant::Mutant;

/// How to run a seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Simulated milliseconds in which faults strike; the liveness phase follows.
    pub duration_ms: u64,
    /// A rule of the node that is broken.
    pub mutant: Option<Mutant>,
    /// Keep the events as text.
    pub keep_log: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            duration_ms: 60_000,
            mutant: None,
            keep_log: false,
        }
    }
}

/// Runs one seed to its end. The same seed and options give the same report, in every build and on every machine.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    world::World::new(seed, options).run(seed)
}
