//! What the log room needs to know of Kafka's properties, already parsed and resolved.

use crate::ids::NodeId;
use crate::wire::batch::Compression;
use crate::work::TimestampType;

/// A batch cannot be larger, in bytes, whatever `max.message.bytes` says: what is read back from disk is judged one batch at a time.
pub(super) const BATCH_MAX: u32 = 128 << 20;

/// The properties of one partition's log, from the topic level down to the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `retention.ms`; -1 is without limit.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 is without limit.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `flush.messages` if it was set to more than 1: appends do not wait for a sync, one follows after so many records.
    pub flush_messages: Option<i64>,
    /// `flush.ms` if it was set: appends do not wait for a sync, one follows after so long.
    pub flush_ms: Option<i64>,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; `None` is `producer`.
    pub compression: Option<Compression>,
    /// The level of `compression`'s codec.
    pub compression_level: i32,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            compact: false,
            delete: true,
            flush_messages: None,
            flush_ms: None,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            compression_level: 0,
        }
    }
}

impl LogConfig {
    /// Kafka's looser rule: does an append count as durable when it is written?
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.flush_messages.is_some() || self.flush_ms.is_some()
    }
}

/// Sizes that no property sets. The simulator draws small ones, so that what takes gigabytes elsewhere happens in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// [`StoreConfig::hot_bytes`].
    pub hot_bytes: u64,
    /// [`StoreConfig::cold_bytes`].
    pub cold_bytes: u64,
    /// [`StoreConfig::cold_files`].
    pub cold_files: usize,
    /// [`StoreConfig::frontier_bytes`].
    pub frontier_bytes: u64,
    /// [`StoreConfig::fenced_logs`].
    pub fenced_logs: usize,
    /// Records in a batch of the metadata log: what a creation brings beyond goes on in further batches of one transaction.
    pub metadata_records: usize,
    /// Partitions of a produce request that are appended to in one go: the others have their turn with the next steps.
    pub appends: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        let deployed = StoreConfig::default();
        Sizes {
            hot_bytes: deployed.hot_bytes,
            cold_bytes: deployed.cold_bytes,
            cold_files: deployed.cold_files,
            frontier_bytes: deployed.frontier_bytes,
            fenced_logs: deployed.fenced_logs,
            metadata_records: 1_000,
            appends: 500,
        }
    }
}

/// The properties of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// `node.id`, which `meta.properties` must name.
    pub node_id: NodeId,
    /// The cluster that the directories must belong to, if the caller knows; else the first directory decides.
    pub cluster_id: Option<String>,
    /// Which of `log.dirs` holds `__cluster_metadata-0`.
    pub metadata_dir: usize,
    /// Of `__cluster_metadata-0`.
    pub metadata_config: LogConfig,
    /// Of every log that is opened before its topic's properties are known; see [`LogStore::configure`](super::LogStore::configure).
    pub default_config: LogConfig,
    /// Bytes of recent batches kept in memory, over all logs.
    pub hot_bytes: u64,
    /// Bytes of blocks and indexes read back from disk that are kept in memory.
    pub cold_bytes: u64,
    /// Segment files kept open for cold reads.
    pub cold_files: usize,
    /// Logs that are opened or closed at a time.
    pub concurrency: usize,
    /// A frontier file is rotated when it has so many bytes.
    pub frontier_bytes: u64,
    /// Logs of a failed directory that one step takes out of service, at least 1.
    pub fenced_logs: usize,
    /// A file that is read or written whole is no larger, in bytes.
    pub file_max: u64,
    /// Room that is kept on each log directory's device for a full disk, in bytes; 0: none.
    pub reserve_bytes: u64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`, and of the start offsets and high watermarks.
    pub checkpoint_interval_ms: u64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            node_id: NodeId(1),
            cluster_id: None,
            metadata_dir: 0,
            metadata_config: LogConfig::default(),
            default_config: LogConfig::default(),
            hot_bytes: 64 << 20,
            cold_bytes: 64 << 20,
            cold_files: 256,
            concurrency: 32,
            frontier_bytes: 4 << 20,
            fenced_logs: 250,
            file_max: 1 << 30,
            reserve_bytes: 16 << 20,
            producer_id_expiration_ms: 24 * 3_600_000,
            checkpoint_interval_ms: 60_000,
            retention_check_interval_ms: 300_000,
        }
    }
}

impl From<&crate::config::LogConfig> for LogConfig {
    /// A topic's properties as the log room knows them. `flush.messages` of 1 is as good as unset: every append waits for its sync.
    fn from(topic: &crate::config::LogConfig) -> LogConfig {
        use crate::config::{CompressionType, TimestampType as Stamp};
        let (compression, compression_level) = match topic.compression_type {
            CompressionType::Producer => (None, 0),
            CompressionType::Uncompressed => (Some(Compression::None), 0),
            CompressionType::Gzip => (Some(Compression::Gzip), topic.compression_gzip_level),
            CompressionType::Snappy => (Some(Compression::Snappy), 0),
            CompressionType::Lz4 => (Some(Compression::Lz4), topic.compression_lz4_level),
            CompressionType::Zstd => (Some(Compression::Zstd), topic.compression_zstd_level),
        };
        let looser = |value: i64| (value != i64::MAX).then_some(value);
        LogConfig {
            segment_bytes: topic.segment_bytes,
            segment_ms: topic.max_segment_ms(),
            segment_jitter_ms: topic.segment_jitter_ms,
            segment_index_bytes: topic.segment_index_bytes,
            index_interval_bytes: topic.index_interval_bytes,
            retention_ms: topic.retention_ms,
            retention_bytes: topic.retention_bytes,
            file_delete_delay_ms: topic.file_delete_delay_ms,
            compact: topic.compact,
            delete: topic.delete,
            flush_messages: looser(topic.flush_messages).filter(|messages| *messages > 1),
            flush_ms: looser(topic.flush_ms),
            max_message_bytes: i32::try_from(topic.max_message_bytes).unwrap_or(i32::MAX),
            timestamp_type: match topic.message_timestamp_type {
                Stamp::CreateTime => TimestampType::CreateTime,
                Stamp::LogAppendTime => TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
            timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
            compression,
            compression_level,
        }
    }
}

impl LogConfig {
    /// What a client's batch is held to, at the moment `now`.
    #[must_use]
    pub fn rules(&self, now: crate::time::WallMs) -> crate::work::ValidateRules {
        crate::work::ValidateRules {
            compacted: self.compact,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            compression: self.compression,
            compression_level: self.compression_level,
            max_message_bytes: self.max_message_bytes.min(BATCH_MAX.cast_signed()),
            faults_told: crate::work::FAULTS_TOLD,
            now,
        }
    }
}
