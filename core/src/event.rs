//! What happened, as a closed enum: it feeds logs, traces, coverage marks, reports and metrics, and decides nothing.

use crate::ids::{ConnId, Offset};
use crate::mark::Mark;

/// How much an operator wants to hear of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For tracing only.
    Debug,
    /// Once in a node's life or an operator's action.
    Info,
    /// Something was refused or repaired.
    Warn,
    /// Something is lost to service until someone acts.
    Error,
}

/// One thing that happened in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rare branch was reached.
    Mark(Mark),
    /// The node serves clients from now on.
    Ready {
        /// Partitions whose logs are open.
        partitions: u64,
    },
    /// A connection was refused or closed by the core, and why.
    ConnectionClosed {
        /// Which.
        conn: ConnId,
        /// Why.
        why: CloseWhy,
    },
    /// A log was opened.
    LogOpened {
        /// `topic-partition`.
        log: String,
        /// First offset.
        start: Offset,
        /// One past the last offset.
        end: Offset,
        /// Were its segments scanned?
        recovered: bool,
    },
    /// A damaged tail that nothing had promised was cut off.
    TailCut {
        /// `topic-partition`.
        log: String,
        /// Where the log ends now.
        end: Offset,
        /// Bytes removed.
        bytes: u64,
    },
    /// A partition is offline: file, offset, reason and what to do, ready for people.
    PartitionOffline {
        /// `topic-partition`.
        log: String,
        /// The sentence.
        message: String,
    },
    /// A log directory failed; everything in it is offline.
    DirectoryFailed {
        /// Its path.
        path: String,
        /// The sentence.
        message: String,
    },
    /// Anything else worth a line in the log.
    Note {
        /// How loud.
        level: Level,
        /// The sentence.
        message: String,
    },
    /// The node is stopping.
    Stopping,
}

/// Why the core closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseWhy {
    /// The request could not be decoded: what and where.
    Malformed(String),
    /// An API key or version that is not served.
    Unsupported {
        /// API key.
        key: i16,
        /// Its version.
        version: i16,
    },
    /// No request for `connections.max.idle.ms`.
    Idle,
    /// The peer does not read its answers.
    Stalled,
    /// The node stops.
    Shutdown,
    /// A produce with acks=0 failed: closing is the only way to tell (as Kafka does).
    AcksZeroFailed,
    /// There are too many connections: `max.connections.per.ip` and its overrides, or `max.connections`.
    TooManyConnections {
        /// From this address; `None`: in all.
        of: Option<String>,
        /// How many there may be.
        limit: u32,
    },
}
