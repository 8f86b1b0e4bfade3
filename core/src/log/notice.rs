//! What the log room takes and tells: the plain values at its border.

use std::fmt;

use crate::ids::{LeaderEpoch, LogId, Lsn, Offset, PartitionIndex, ProducerId, Uuid};
use crate::wire::Parts;
use crate::wire::batch::BatchHeader;
use crate::work::{TimestampTarget, ValidBatch};

use super::config::LogConfig;

/// A log to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLog {
    /// Topic name.
    pub topic: String,
    /// Its id.
    pub topic_id: Uuid,
    /// Which partition.
    pub partition: PartitionIndex,
    /// Its properties.
    pub config: LogConfig,
    /// Which of `log.dirs`; `None`: the online one with the fewest logs.
    pub dir: Option<usize>,
}

/// Where a batch comes from, which decides how much of the producer's state is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's produce: epoch, sequence and duplicates are checked.
    Client,
    /// A coordinator or this node itself: only the epoch is checked.
    Coordinator,
}

/// A batch to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// What [`Job::Validate`](crate::work::Job::Validate) let through, or [`ValidBatch::trusted`].
    pub batch: ValidBatch,
    /// The leader's epoch, which goes into the batch.
    pub epoch: LeaderEpoch,
    /// Whose it is.
    pub origin: Origin,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset of its last record.
    pub last: Offset,
    /// Of `LogAppendTime`, in ms; else -1.
    pub log_append_time: i64,
    /// Its place on the directory's clock; of a duplicate or a loosely flushed log the latest one.
    pub lsn: Lsn,
    /// It was there already: the offsets are those of the first time.
    pub duplicate: bool,
}

/// Why a batch was not appended. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The log or its directory is offline: `KAFKA_STORAGE_ERROR`.
    Offline(String),
    /// The disk is full; the log can still be read: `KAFKA_STORAGE_ERROR`.
    Full(String),
    /// The node is stopping and takes nothing any more: `KAFKA_STORAGE_ERROR`.
    Stopping,
    /// The producer was fenced: `INVALID_PRODUCER_EPOCH`.
    InvalidProducerEpoch {
        /// Who.
        producer: ProducerId,
        /// The epoch of the batch.
        epoch: i16,
        /// The epoch that is known.
        current: i16,
    },
    /// A batch before this one is missing: `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    OutOfOrderSequence {
        /// Who.
        producer: ProducerId,
        /// The first sequence of the batch.
        sequence: i32,
        /// The last one in the log.
        last: i32,
    },
    /// A batch that is not transactional within a transaction: `INVALID_TXN_STATE`.
    InvalidTxnState(ProducerId),
    /// A marker of an older coordinator: `TRANSACTION_COORDINATOR_FENCED`.
    CoordinatorFenced {
        /// Its epoch.
        epoch: i32,
        /// The epoch that is known.
        current: i32,
    },
    /// Larger than a segment, or than any batch may be: `RECORD_LIST_TOO_LARGE`.
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// `segment.bytes`, or less.
        limit: u32,
    },
}

impl AppendError {
    /// Kafka's error code.
    #[must_use]
    pub fn code(&self) -> i16 {
        match self {
            AppendError::Offline(_) | AppendError::Full(_) | AppendError::Stopping => 56,
            AppendError::InvalidProducerEpoch { .. } => 47,
            AppendError::OutOfOrderSequence { .. } => 45,
            AppendError::InvalidTxnState(_) => 48,
            AppendError::CoordinatorFenced { .. } => 52,
            AppendError::TooLarge { .. } => 18,
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Offline(message) | AppendError::Full(message) => f.write_str(message),
            AppendError::Stopping => f.write_str("the node is stopping"),
            AppendError::InvalidProducerEpoch {
                producer,
                epoch,
                current,
            } => write!(
                f,
                "the epoch of producer {producer} is {epoch}, below the last seen epoch {current}"
            ),
            AppendError::OutOfOrderSequence {
                producer,
                sequence,
                last,
            } => write!(
                f,
                "out of order sequence number of producer {producer}: {sequence} came, the last one in the log is {last}"
            ),
            AppendError::InvalidTxnState(producer) => write!(
                f,
                "producer {producer} has a transaction under way and must write within it"
            ),
            AppendError::CoordinatorFenced { epoch, current } => write!(
                f,
                "the coordinator's epoch {epoch} is below the last seen epoch {current}"
            ),
            AppendError::TooLarge { size, limit } => {
                write!(f, "the batch has {size} bytes; a segment takes {limit}")
            }
        }
    }
}

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// From the batch that holds this offset on.
    pub from: Offset,
    /// At most so many bytes.
    pub max_bytes: u32,
    /// Only batches that end below this offset.
    pub below: Offset,
    /// The first batch comes even if it exceeds `max_bytes`. KIP-74.
    pub at_least_one: bool,
}

/// Whole batches as they are on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Their bytes.
    pub parts: Parts,
    /// Offset of the first record; meaningless without batches.
    pub first: Offset,
    /// One past the last record: where to read on. The offset that was asked for, if there are no batches.
    pub next: Offset,
}

/// Names a read or lookup that is answered later by a [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// From memory.
    Ready(Records),
    /// From disk: [`Notice::ReadDone`] brings it.
    Later(ReadId),
}

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The offset is below the log's start or above its end: `OFFSET_OUT_OF_RANGE`.
    OutOfRange {
        /// First offset.
        start: Offset,
        /// One past the last.
        end: Offset,
    },
    /// The log or its directory is offline: `KAFKA_STORAGE_ERROR`.
    Offline(String),
    /// The node is stopping, and nothing is read from disk any more: `KAFKA_STORAGE_ERROR`.
    Stopping,
    /// The bytes on disk are damaged or cannot be read: `KAFKA_STORAGE_ERROR`; the sentence is for people.
    Damaged(String),
}

impl ReadError {
    /// Kafka's error code.
    #[must_use]
    pub fn code(&self) -> i16 {
        match self {
            ReadError::OutOfRange { .. } => 1,
            ReadError::Offline(_) | ReadError::Stopping | ReadError::Damaged(_) => 56,
        }
    }
}

/// What to look up by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampQuery {
    /// Which record.
    pub target: TimestampTarget,
    /// Only records below this offset count.
    pub below: Offset,
}

/// A lookup by timestamp.
pub type Lookup = TimestampQuery;

/// The record that a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    /// Its timestamp, in ms.
    pub timestamp: i64,
    /// Its offset.
    pub offset: Offset,
    /// The leader's epoch of its batch.
    pub epoch: LeaderEpoch,
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupOutcome {
    /// Known at once; `None`: there is no such record.
    Ready(Option<FoundTimestamp>),
    /// [`Notice::LookupDone`] brings it.
    Later(ReadId),
}

/// What can be seen of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogView<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Its id.
    pub topic_id: Uuid,
    /// Which partition.
    pub partition: PartitionIndex,
    /// Which of `log.dirs` it is in.
    pub dir: usize,
    /// Its properties.
    pub config: &'a LogConfig,
    /// First offset.
    pub start: Offset,
    /// What of it survives power loss.
    pub durable_start: Offset,
    /// One past the last accepted record.
    pub end: Offset,
    /// One past the last record that survives a killed process.
    pub written: Offset,
    /// One past the last record that survives power loss; of a loosely flushed log, `written`.
    pub durable: Offset,
    /// The high watermark that was checkpointed at the last stop or noted since.
    pub high_watermark: Offset,
    /// The latest leader epoch of a batch or of [`LogStore::begin_epoch`](super::LogStore::begin_epoch).
    pub last_epoch: LeaderEpoch,
    /// Bytes in all segments.
    pub size_bytes: u64,
    /// Segments.
    pub segments: usize,
    /// Producers with state.
    pub producers: usize,
    /// Is it open for reads and appends?
    pub online: bool,
    /// Why it is offline, ready for people.
    pub offline: Option<&'a str>,
}

/// What happened in the store, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `__cluster_metadata-0` is open, before every other log.
    MetadataLogOpened(LogId),
    /// A log is open: found at start, or created and durable as a directory.
    Opened(LogId),
    /// Everything found at start is open or offline.
    AllOpened,
    /// A log went offline, at start or later: the sentence.
    Offline(LogId, String),
    /// Everything below this offset survives a killed process.
    Written(LogId, Offset),
    /// Everything below this offset survives power loss (or is as good as its topic asked for).
    Durable(LogId, Offset),
    /// Appends from this offset on failed and are gone; the log ends here now. The sentence says why.
    AppendsLost(LogId, Offset, String),
    /// Of [`ReadOutcome::Later`].
    ReadDone(ReadId, Result<Records, ReadError>),
    /// Of [`LookupOutcome::Later`].
    LookupDone(ReadId, Result<Option<FoundTimestamp>, ReadError>),
    /// A deleted log's directory has its new name for good; its files go later.
    Deleted(LogId),
    /// The log begins here or later now, and that is durable.
    StartMoved(LogId, Offset),
    /// A file that was asked for; `None` if it is not there.
    FileRead(ReadId, Result<Option<bytes::Bytes>, String>),
    /// A file was replaced, and that is durable.
    FileReplaced(ReadId, Result<(), String>),
    /// A log directory failed: its logs are offline. Its place in `log.dirs`.
    DirectoryFailed(usize),
    /// The node cannot start: what, why, what to do.
    Fatal(String),
    /// After a shutdown: everything is synced and marked clean.
    Stopped,
}

/// Does `header` take part in the producer's sequence? Any id below 0 is none, as with Kafka.
pub(super) fn has_producer(header: &BatchHeader) -> bool {
    header.producer_id > ProducerId::NONE
}
