//! What a topic's log is told to do: topic properties over broker properties over defaults.
//!
//! Reads values, decides nothing. The names and units of the fields are those of the topic properties.

use std::collections::BTreeMap;

use super::Config;
use super::table::{self, ConfigError, Property, Value};

/// Which codec the broker stores batches in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// Who stamps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker, as it appends.
    LogAppendTime,
}

/// Every property of a log, resolved. Times in milliseconds, sizes in bytes; -1 is "no limit" where the property says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `compression.type`.
    pub compression_type: CompressionType,
    /// `compression.gzip.level`.
    pub compression_gzip_level: i32,
    /// `compression.lz4.level`.
    pub compression_lz4_level: i32,
    /// `compression.zstd.level`.
    pub compression_zstd_level: i32,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`; `i64::MAX` is unset.
    pub flush_messages: i64,
    /// `flush.ms`; `i64::MAX` is unset.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`: the longest batch.
    pub max_message_bytes: u32,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`; negative: no limit.
    pub retention_bytes: i64,
    /// `retention.ms`; -1: no limit.
    pub retention_ms: i64,
    /// `segment.bytes` (or `internal.segment.bytes`).
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election_enable: bool,
}

/// A topic's properties, resolved; in the order of [`table::TOPIC`].
struct Resolved(Vec<Value>);

impl LogConfig {
    /// What holds for a topic whose own properties are `topic`. A property of it that is unknown or not allowed is
    /// passed over: the controller has checked them, and a log must open under any record.
    #[must_use]
    pub fn resolve(config: &Config, topic: &BTreeMap<String, String>) -> LogConfig {
        let values = table::TOPIC.iter().map(|row| {
            let own = topic.get(row.name).and_then(|text| row.parse(text).ok());
            own.unwrap_or_else(|| inherited(config, row))
        });
        Resolved(values.collect()).log_config()
    }

    /// What holds when nothing is configured anywhere.
    #[must_use]
    pub fn defaults() -> LogConfig {
        let values = table::TOPIC
            .iter()
            .map(|row| row.default().cloned().unwrap_or(Value::Null));
        Resolved(values.collect()).log_config()
    }

    /// The longest time that a segment may stay active: `segment.ms`, or `max.compaction.lag.ms` of a compacted topic.
    #[must_use]
    pub fn max_segment_ms(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            return self.max_compaction_lag_ms.min(self.segment_ms);
        }
        self.segment_ms
    }
}

/// The value that a topic has for `row` when it has none of its own.
#[must_use]
pub fn inherited(config: &Config, row: &Property) -> Value {
    for fallback in &row.fallbacks {
        match config.value(fallback.name) {
            Value::Null => {}
            // Every negative time means "no limit", which topics write as -1.
            Value::Int(time) if row.name == "retention.ms" && *time < 0 => return Value::Int(-1),
            Value::Int(number) => return Value::Int(number.saturating_mul(fallback.times)),
            value => return value.clone(),
        }
    }
    row.default().cloned().unwrap_or(Value::Null)
}

/// Checks the properties of a topic that is created or changed, as the controller does.
///
/// # Errors
/// The first name that is unknown or value that is not allowed.
pub fn check_topic(config: &Config, topic: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for name in topic.keys() {
        if table::position(&table::TOPIC, name).is_none() {
            return Err(ConfigError::new(
                name,
                format!("Unknown topic config name: {name}"),
            ));
        }
    }
    let mut values = Vec::with_capacity(table::TOPIC.len());
    for row in table::TOPIC.iter() {
        values.push(match topic.get(row.name) {
            Some(text) => row.parse(text)?,
            None => inherited(config, row),
        });
    }
    let values = Resolved(values);
    let (min, max) = (
        values.int("min.compaction.lag.ms"),
        values.int("max.compaction.lag.ms"),
    );
    if min > max {
        return Err(ConfigError::new(
            "min.compaction.lag.ms",
            format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            ),
        ));
    }
    if values.flag("remote.storage.enable") {
        return Err(ConfigError::new(
            "remote.storage.enable",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ));
    }
    Ok(())
}

/// Where a described value comes from, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// The topic's own.
    Topic = 1,
    /// Dynamic, of one broker.
    DynamicBroker = 2,
    /// Dynamic, of all brokers.
    DynamicDefaultBroker = 3,
    /// `server.properties`.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// One property of a topic, as a response shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Its value, if it has one.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
}

/// What CreateTopics tells of a new topic: every property that is not internal (or was set) with the value as it was written at
/// the level that decides it.
#[must_use]
pub fn describe_topic(
    config: &Config,
    own: &BTreeMap<String, String>,
    cluster: &BTreeMap<String, String>,
    topic: &BTreeMap<String, String>,
) -> Vec<Described> {
    let levels = [
        (own, Source::DynamicBroker),
        (cluster, Source::DynamicDefaultBroker),
        (config.set(), Source::StaticBroker),
    ];
    let described = |row: &'static Property| {
        let entry = |value, source| {
            Some(Described {
                name: row.name,
                value,
                source,
            })
        };
        if let Some(value) = topic.get(row.name) {
            return entry(Some(value.clone()), Source::Topic);
        }
        if row.update == table::Update::Internal {
            return None;
        }
        for (level, source) in levels {
            let set = row
                .fallbacks
                .iter()
                .find_map(|fallback| Some((fallback, level.get(fallback.name)?)));
            if let Some((fallback, text)) = set {
                return entry(Some(converted(text, fallback.times)), source);
            }
        }
        entry(row.default().and_then(Value::text), Source::Default)
    };
    table::TOPIC.iter().filter_map(described).collect()
}

/// `text` in the unit of the topic property.
fn converted(text: &str, times: i64) -> String {
    match text.trim().parse::<i64>() {
        Ok(number) if times != 1 => number.saturating_mul(times).to_string(),
        _ => text.to_owned(),
    }
}

impl Resolved {
    fn value(&self, name: &str) -> &Value {
        let at = table::position(&table::TOPIC, name);
        &self.0[at.unwrap_or_else(|| panic!("{name} is no topic property"))]
    }

    fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(number) => *number,
            _ => 0,
        }
    }

    fn small(&self, name: &str) -> i32 {
        i32::try_from(self.int(name)).unwrap_or(i32::MAX)
    }

    fn size(&self, name: &str) -> u32 {
        u32::try_from(self.int(name)).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        *self.value(name) == Value::Boolean(true)
    }

    fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    fn has_policy(&self, policy: &str) -> bool {
        matches!(self.value("cleanup.policy"), Value::List(items) if items.iter().any(|item| item == policy))
    }

    fn log_config(&self) -> LogConfig {
        let internal = self.size("internal.segment.bytes");
        LogConfig {
            delete: self.has_policy("delete"),
            compact: self.has_policy("compact"),
            compression_type: match self.text("compression.type") {
                "uncompressed" => CompressionType::Uncompressed,
                "gzip" => CompressionType::Gzip,
                "snappy" => CompressionType::Snappy,
                "lz4" => CompressionType::Lz4,
                "zstd" => CompressionType::Zstd,
                _ => CompressionType::Producer,
            },
            compression_gzip_level: self.small("compression.gzip.level"),
            compression_lz4_level: self.small("compression.lz4.level"),
            compression_zstd_level: self.small("compression.zstd.level"),
            delete_retention_ms: self.int("delete.retention.ms"),
            file_delete_delay_ms: self.int("file.delete.delay.ms"),
            flush_messages: self.int("flush.messages"),
            flush_ms: self.int("flush.ms"),
            index_interval_bytes: self.size("index.interval.bytes"),
            max_compaction_lag_ms: self.int("max.compaction.lag.ms"),
            max_message_bytes: self.size("max.message.bytes"),
            message_timestamp_after_max_ms: self.int("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: self.int("message.timestamp.before.max.ms"),
            message_timestamp_type: match self.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_compaction_lag_ms: self.int("min.compaction.lag.ms"),
            min_insync_replicas: self.size("min.insync.replicas"),
            preallocate: self.flag("preallocate"),
            retention_bytes: self.int("retention.bytes"),
            retention_ms: self.int("retention.ms"),
            segment_bytes: if internal > 0 {
                internal
            } else {
                self.size("segment.bytes")
            },
            segment_index_bytes: self.size("segment.index.bytes"),
            segment_jitter_ms: self.int("segment.jitter.ms"),
            segment_ms: self.int("segment.ms"),
            unclean_leader_election_enable: self.flag("unclean.leader.election.enable"),
        }
    }
}
