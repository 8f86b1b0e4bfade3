//! Carries out [`DiskOp`]s.
//!
//! [`files::FileDisk`] is the operating system's; [`memory::MemoryDisk`] holds everything in memory, for tests and for
//! the shell simulation. One suite (`conform`) holds both to the words of [`trialog_core::io`].

use std::task::{Context, Poll};

use trialog_core::io::{DiskDone, DiskError, DiskOp, Token};

#[cfg(test)]
mod conform;
pub mod files;
mod lane;
pub mod memory;

/// The answer to one operation.
pub type Completion = (Token, Result<DiskDone, DiskError>);

/// Something that carries out operations: each one exactly once, with exactly one completion.
pub trait Disk: Send {
    /// Takes all of `ops`. What is done at once is appended to `done`; the rest comes by [`Disk::poll`].
    fn submit(&mut self, ops: &mut Vec<(Token, DiskOp)>, done: &mut Vec<Completion>);

    /// Appends at least one completion to `done` when there is one, else wakes `cx` later.
    fn poll(&mut self, cx: &mut Context<'_>, done: &mut Vec<Completion>) -> Poll<()>;
}
