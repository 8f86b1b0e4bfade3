//! Pure jobs over payload bytes: what is too heavy for a step, and all that the core ever learns about payloads.
//!
//! A job owns its input and returns facts; the same job gives the same facts on any thread, machine and day. Owns no state.

pub mod codec;
mod find;
mod records;
mod scan;
mod validate;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::ids::Offset;
use crate::time::WallMs;
use crate::wire::batch::{BatchHeader, Compression};

/// A job to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Check what a client wants to append to one partition.
    Validate {
        /// The records field of the request.
        records: Bytes,
        /// By which rules.
        rules: ValidateRules,
    },
    /// List the batches of a block read from disk and check the CRC of each.
    Scan {
        /// Whole or partial batches, from a batch boundary.
        block: Bytes,
    },
    /// Find a record by its timestamp.
    FindTimestamp {
        /// Whole batches.
        block: Bytes,
        /// Which record.
        target: TimestampTarget,
        /// Records before this offset do not count.
        from: Offset,
    },
}

/// What a job found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Of [`Job::Validate`].
    Validated(Result<ValidBatch, RecordsFault>),
    /// Of [`Job::Scan`].
    Scanned(Scanned),
    /// Of [`Job::FindTimestamp`]: the record's timestamp and offset, `None` if there is none.
    Found(Result<Option<(i64, Offset)>, RecordsFault>),
}

/// Which record [`Job::FindTimestamp`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampTarget {
    /// The first whose timestamp is at least so many ms.
    AtLeast(i64),
    /// The first among those with the greatest timestamp. KIP-734.
    Max,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

/// What [`Job::Validate`] holds a batch to: properties of the topic, and the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidateRules {
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; `None` is `producer`.
    pub compression: Option<Compression>,
    /// `compression.gzip.level` and so on, of `compression`; ignored by none and snappy.
    pub compression_level: i32,
    /// `max.message.bytes`: of a whole batch.
    pub max_message_bytes: i32,
    /// The most faults of single records that are told: a client takes a record that is not named for one that only had bad company.
    pub faults_told: usize,
    /// The wall clock when the job was issued: judges timestamps, and is the append time of `LogAppendTime`.
    pub now: WallMs,
}

/// More faults than an honest batch has records.
pub const FAULTS_TOLD: usize = 10_000;

impl Default for ValidateRules {
    fn default() -> ValidateRules {
        ValidateRules {
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            compression_level: 0,
            max_message_bytes: 1_048_588,
            faults_told: FAULTS_TOLD,
            now: WallMs(0),
        }
    }
}

/// A batch that was checked and may be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidBatch {
    /// Its header. Base offset and leader epoch are not the log's: an append sets them.
    pub header: BatchHeader,
    /// The batch from its magic byte on: what goes to disk behind a new prefix.
    pub body: Bytes,
    /// Of `LogAppendTime`: the time that the records got, in ms; else -1.
    pub log_append_time: i64,
    /// Of a transaction's end marker: what it says.
    pub marker: Option<EndMarker>,
}

impl ValidBatch {
    /// Takes a batch that this node built itself; `None` if it is no whole single batch.
    #[must_use]
    pub fn trusted(batch: &Bytes) -> Option<ValidBatch> {
        let header = BatchHeader::decode(batch).ok()?;
        (header.size() == batch.len()).then(|| ValidBatch {
            header,
            body: batch.slice(crate::wire::batch::PREFIX_LEN..),
            log_append_time: -1,
            marker: scan::end_marker(&header, batch),
        })
    }
}

/// The end of a transaction, as its control record says. KIP-98.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    /// Commit, or abort.
    pub commit: bool,
    /// Epoch of the coordinator that wrote it.
    pub coordinator_epoch: i32,
}

/// Why records were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsFault {
    /// What kind of fault, which decides the error code.
    pub kind: RecordsFaultKind,
    /// The sentence for the client.
    pub message: String,
    /// Faults of single records: index in the batch and sentence. At most a few.
    pub records: Vec<(i32, String)>,
}

/// Kinds of faults of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsFaultKind {
    /// CRC or lengths do not hold together: `CORRUPT_MESSAGE`.
    Corrupt,
    /// The records are not exactly one batch of version 2: `INVALID_RECORD`.
    NotOneBatch,
    /// Structure or content of the batch break a rule: `INVALID_RECORD`.
    InvalidRecord,
    /// A timestamp is out of bounds: `INVALID_TIMESTAMP`.
    InvalidTimestamp,
    /// The codec is unknown: `UNSUPPORTED_COMPRESSION_TYPE`.
    UnsupportedCompression,
    /// The format version is not served: `UNSUPPORTED_FOR_MESSAGE_FORMAT`.
    UnsupportedFormat,
    /// The batch exceeds `max.message.bytes`: `MESSAGE_TOO_LARGE`.
    TooLarge,
}

impl RecordsFaultKind {
    /// Kafka's error code.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            RecordsFaultKind::Corrupt => 2,
            RecordsFaultKind::TooLarge => 10,
            RecordsFaultKind::InvalidTimestamp => 32,
            RecordsFaultKind::UnsupportedFormat => 43,
            RecordsFaultKind::UnsupportedCompression => 76,
            RecordsFaultKind::NotOneBatch | RecordsFaultKind::InvalidRecord => 87,
        }
    }
}

/// Of [`Job::Scan`]: the whole batches from the front of the block, up to the first damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Every whole batch, in order. A batch with a wrong CRC is in it, marked, and is the last.
    pub batches: Vec<ScannedBatch>,
    /// What follows the last batch.
    pub rest: ScanRest,
}

/// One batch of [`Scanned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedBatch {
    /// Where it begins in the block.
    pub at: u32,
    /// Its header.
    pub header: BatchHeader,
    /// Does the CRC hold?
    pub crc_holds: bool,
    /// Of a transaction's end marker: what it says.
    pub marker: Option<EndMarker>,
}

/// What follows the last whole batch of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanRest {
    /// Nothing: the block ends at a batch boundary.
    Nothing,
    /// The front of a batch that needs so many bytes in all (61 if its header is cut off).
    Short {
        /// Where it begins in the block.
        at: u32,
        /// Bytes of the whole batch.
        need: u64,
    },
    /// No batch: impossible length, other magic, or records and offsets that contradict each other.
    Damage {
        /// Where it begins in the block.
        at: u32,
    },
}

/// Runs a job to its end. Cost is proportional to the job's bytes (decompressed, bounded by the job's limits).
#[must_use]
pub fn run(job: Job) -> Facts {
    match job {
        Job::Validate { records, rules } => Facts::Validated(validate::validate(&records, &rules)),
        Job::Scan { block } => Facts::Scanned(scan::scan(&block)),
        Job::FindTimestamp {
            block,
            target,
            from,
        } => Facts::Found(find::find(&block, target, from)),
    }
}
