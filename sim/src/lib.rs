//! The deterministic simulator of Trialog: the real core in a world made of one seed.
//!
//! Network, disk, clocks, processes, clients and checkers are data here; nothing owns a file, a thread or a wall clock.
#![forbid(unsafe_code)]

pub mod check;
pub mod choice;
pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod hash;
pub mod net;
pub mod workload;
