//! The metadata log as a quorum keeps it: KRaft (KIP-595), today with one voter.

pub mod checkpoint;
pub mod records;
pub mod state_file;
mod volatile;
pub use volatile::{Quorum, QuorumEvent};

pub use checkpoint::{Checkpoint, SnapshotId};
pub use records::{Batch, Content, Control};
pub use state_file::QuorumState;

#[cfg(test)]
mod tests;
