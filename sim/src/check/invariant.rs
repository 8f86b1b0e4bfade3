//! The promises that a run is judged by, each with the name that reports give it.

/// The promise that a run found broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// An acknowledged write, or one that a consumer has read, survives what its promise survives.
    Lost,
    /// What an answer said to be deleted is gone for ever.
    Undeleted,
    /// One offset holds one record for ever.
    InconsistentOffset,
    /// An idempotent producer causes no duplicate, a plain one none without a retry.
    Duplicate,
    /// Records of one producer keep their order, and an idempotent producer leaves no gap.
    Order,
    /// Offsets are dense: a poll skips nothing.
    PollSkip,
    /// Nobody reads above the high watermark.
    AboveHighWatermark,
    /// The high watermark of a reader never goes back.
    HighWatermarkRegressed,
    /// Nobody reads what was refused (the aborted read, G1a).
    RefusedRead,
    /// A record is as it was sent: its bytes, timestamp and partition.
    Altered,
    /// What was promised stands on the disk in whole batches, unless it rotted there.
    Damaged,
    /// A lookup by timestamp names the first record that is not older.
    TimestampLookup,
    /// Leader epochs ascend along a log, and end where the next one begins.
    LeaderEpoch,
    /// The metadata that clients see, and the image, equal the replay of the metadata log.
    Replay,
    /// Progress after the faults end.
    Progress,
    /// An answer that the protocol does not allow.
    Protocol,
    /// The node panicked, or a check of its own failed.
    NodeInvariant,
    /// The node broke the contract of the boundary.
    Boundary,
}

impl Invariant {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Invariant::Lost => "lost",
            Invariant::Undeleted => "undeleted",
            Invariant::InconsistentOffset => "inconsistent-offset",
            Invariant::Duplicate => "duplicate",
            Invariant::Order => "order",
            Invariant::PollSkip => "poll-skip",
            Invariant::AboveHighWatermark => "above-high-watermark",
            Invariant::HighWatermarkRegressed => "high-watermark-regressed",
            Invariant::RefusedRead => "refused-read",
            Invariant::Altered => "altered",
            Invariant::Damaged => "damaged",
            Invariant::TimestampLookup => "timestamp-lookup",
            Invariant::LeaderEpoch => "leader-epoch",
            Invariant::Replay => "replay",
            Invariant::Progress => "progress",
            Invariant::Protocol => "protocol",
            Invariant::NodeInvariant => "node-invariant",
            Invariant::Boundary => "boundary",
        }
    }
}

/// A broken promise: which, when and the sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub invariant: Invariant,
    /// Simulated time in nanoseconds.
    pub at: u64,
    /// What was promised and what happened.
    pub message: String,
}
