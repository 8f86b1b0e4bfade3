//! The core of Trialog: a Kafka-compatible broker and controller as one deterministic state machine.
//!
//! The core does no input or output. A driver hands it [`io::Input`]s through [`node::Node::step`] and carries out
//! the [`io::Effect`]s that come back; see [`io`] for the contract. It reads no clock, starts no thread, opens no
//! file or socket, and draws no randomness but from the seed that it was given.
#![forbid(unsafe_code)]

pub mod api;
pub mod config;
pub mod controller;
pub mod event;
pub mod fetch;
pub mod format;
pub mod ids;
pub mod io;
pub mod log;
pub mod mark;
pub mod metadata;
pub mod mutant;
pub mod node;
pub mod partition;
pub mod pending;
pub mod quorum;
pub mod rng;
pub mod situation;
pub mod time;
pub mod wire;
pub mod work;
