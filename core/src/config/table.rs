//! Kafka's properties as a table: name, type, default, what is allowed, and how a text becomes a value.
//!
//! The rows are text (`broker.txt`, `topic.txt`, …), parsed once. Knows nothing of which value a node was given.

use std::fmt;
use std::sync::LazyLock;

use super::double;

/// The type of a property, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// 32 bits, signed.
    Int,
    /// 16 bits, signed.
    Short,
    /// 64 bits, signed.
    Long,
    /// A floating-point number.
    Double,
    /// Items separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// A secret: never shown.
    Password,
}

/// How a property may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only with a restart.
    ReadOnly,
    /// For one broker at a time, while it runs.
    PerBroker,
    /// For one broker or for all, while they run.
    ClusterWide,
    /// A topic's own property.
    Dynamic,
    /// Accepted, but never described.
    Internal,
}

/// What a property's value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Any,
    /// Ends included, each as Kafka prints it; `or` is allowed besides.
    Range {
        min: Option<&'static str>,
        max: Option<&'static str>,
        or: Option<&'static str>,
    },
    Word(Vec<&'static str>),
    CaselessWord(Vec<&'static str>),
    Items {
        only: Vec<&'static str>,
        may_be_empty: bool,
    },
    NonEmpty,
    ThrottledReplicas,
    Voters,
    Servers,
}

/// One property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// As it is written in `server.properties` or given to a topic.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// How it may change.
    pub update: Update,
    /// The broker properties that give a topic property its default, the first that is set first.
    pub fallbacks: Vec<Fallback>,
    default: Default,
    allowed: Allowed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Default {
    Required,
    Value(Value),
}

/// A broker property behind a topic property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The broker property.
    pub name: &'static str,
    /// Milliseconds in its unit; 1 if the units agree.
    pub times: i64,
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Absent.
    Null,
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of the integer kinds.
    Int(i64),
    /// Of [`Kind::Double`]: the bits of an IEEE 754 number.
    Double(u64),
    /// Of the text kinds.
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

/// The value as Kafka's tools print it; empty for [`Value::Null`].
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Double(bits) => f.write_str(&double::show(f64::from_bits(*bits))),
            Value::Text(value) => f.write_str(value),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

impl Value {
    /// The value as Kafka's tools print it; `None` if absent.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        (*self != Value::Null).then(|| self.to_string())
    }
}

/// A value that a property does not allow: says which property, which value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The property.
    pub name: String,
    /// The whole sentence, as Kafka words it where Kafka has one.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A sentence of the caller's about `name`.
    pub(crate) fn new(name: &str, message: impl Into<String>) -> ConfigError {
        ConfigError {
            name: name.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn invalid(name: &str, value: &str, why: impl fmt::Display) -> ConfigError {
        let message = format!("Invalid value {value} for configuration {name}: {why}");
        ConfigError::new(name, message)
    }
}

/// Every broker and controller property, by name.
pub static BROKER: LazyLock<Vec<Property>> = LazyLock::new(|| rows(include_str!("broker.txt")));
/// Every topic property, by name.
pub static TOPIC: LazyLock<Vec<Property>> = LazyLock::new(|| rows(include_str!("topic.txt")));
/// Every group property, by name.
pub static GROUP: LazyLock<Vec<Property>> = LazyLock::new(|| rows(include_str!("group.txt")));
/// Every property of client-metrics subscriptions, by name.
pub static CLIENT_METRICS: LazyLock<Vec<Property>> =
    LazyLock::new(|| rows(include_str!("client-metrics.txt")));

/// The place of `name` in a table.
#[must_use]
pub fn position(table: &[Property], name: &str) -> Option<usize> {
    table.binary_search_by(|row| row.name.cmp(name)).ok()
}

impl Property {
    /// Its default: `None` if it must be set.
    #[must_use]
    pub fn default(&self) -> Option<&Value> {
        match &self.default {
            Default::Required => None,
            Default::Value(value) => Some(value),
        }
    }

    /// The value that `text` stands for, checked.
    ///
    /// # Errors
    /// The text is not of the type, or the value is not allowed.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let mut value = self.read(text.trim(), text)?;
        if let (Value::List(items), Allowed::Items { .. }) = (&mut value, &self.allowed) {
            without_repeats(items);
        }
        self.check(&value)?;
        Ok(value)
    }

    fn read(&self, trimmed: &str, given: &str) -> Result<Value, ConfigError> {
        let number = |value: Option<i64>, kind: &str| {
            let why =
                || ConfigError::invalid(self.name, given, format!("Not a number of type {kind}"));
            value.map(Value::Int).ok_or_else(why)
        };
        match self.kind {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err(ConfigError::invalid(
                self.name,
                given,
                "Expected value to be either true or false",
            )),
            Kind::Short => number(trimmed.parse::<i16>().ok().map(i64::from), "SHORT"),
            Kind::Int => number(trimmed.parse::<i32>().ok().map(i64::from), "INT"),
            Kind::Long => number(trimmed.parse::<i64>().ok(), "LONG"),
            Kind::Double => match double::parse(trimmed) {
                Some(value) => Ok(Value::Double(value.to_bits())),
                None => Err(ConfigError::invalid(
                    self.name,
                    given,
                    "Not a number of type DOUBLE",
                )),
            },
            Kind::List if trimmed.is_empty() => Ok(Value::List(Vec::new())),
            Kind::List => Ok(Value::List(
                trimmed
                    .split(',')
                    .map(|item| item.trim().to_owned())
                    .collect(),
            )),
            Kind::String | Kind::Class | Kind::Password => Ok(Value::Text(trimmed.to_owned())),
        }
    }

    fn check(&self, value: &Value) -> Result<(), ConfigError> {
        let invalid = |why: String| Err(ConfigError::invalid(self.name, &value.to_string(), why));
        match (&self.allowed, value) {
            (Allowed::Range { min, max, or }, Value::Int(_) | Value::Double(_)) => {
                self.check_range(value, *min, *max, *or)
            }
            (Allowed::Word(words), Value::Text(word)) if !words.contains(&word.as_str()) => {
                invalid(format!("String must be one of: {}", words.join(", ")))
            }
            (Allowed::CaselessWord(words), Value::Text(word))
                if !words
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(word)) =>
            {
                invalid(format!(
                    "String must be one of (case insensitive): {}",
                    words.join(", ")
                ))
            }
            (Allowed::NonEmpty, Value::Text(text)) if text.is_empty() => {
                invalid("String must be non-empty".to_owned())
            }
            (Allowed::Items { only, may_be_empty }, Value::List(items)) => {
                self.check_items(items, only, *may_be_empty)
            }
            (Allowed::ThrottledReplicas, Value::List(items)) => {
                let number =
                    |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let pair = |item: &String| {
                    item.is_empty()
                        || item
                            .split_once(':')
                            .is_some_and(|(left, right)| number(left) && number(right))
                };
                if items.concat() == "*" || items.iter().all(pair) {
                    return Ok(());
                }
                let why = format!(
                    "{} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                );
                let shown = format!("[{}]", items.join(", "));
                Err(ConfigError::invalid(self.name, &shown, why))
            }
            (Allowed::Voters, Value::List(items)) => items
                .iter()
                .try_for_each(|item| super::listeners::voter(item).map(|_| ()))
                .map_err(|message| ConfigError::new(self.name, message)),
            (Allowed::Servers, Value::List(items)) => items
                .iter()
                .try_for_each(|item| super::listeners::bootstrap_server(item))
                .map_err(|message| ConfigError::new(self.name, message)),
            _ => Ok(()),
        }
    }

    fn check_range(
        &self,
        value: &Value,
        min: Option<&str>,
        max: Option<&str>,
        or: Option<&str>,
    ) -> Result<(), ConfigError> {
        let text = value.to_string();
        let number = match value {
            Value::Double(bits) => f64::from_bits(*bits),
            Value::Int(number) => *number as f64,
            _ => return Ok(()),
        };
        let bound = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
        if or == Some(text.as_str()) {
            return Ok(());
        }
        let below = bound(min).is_some_and(|min| number < min);
        let above = bound(max).is_some_and(|max| number > max);
        if let (true, Some(or), Some(min), Some(max)) = (below || above, or, min, max) {
            let why = format!("Value must be between {min} and {max} or equal to {or}");
            return Err(ConfigError::invalid(self.name, &text, why));
        }
        if let (true, Some(min)) = (below, min) {
            let why = format!("Value must be at least {min}");
            return Err(ConfigError::invalid(self.name, &text, why));
        }
        if let (true, Some(max)) = (above, max) {
            let why = format!("Value must be no more than {max}");
            return Err(ConfigError::invalid(self.name, &text, why));
        }
        Ok(())
    }

    fn check_items(
        &self,
        items: &[String],
        only: &[&str],
        may_be_empty: bool,
    ) -> Result<(), ConfigError> {
        let name = self.name;
        let fail = |message: String| Err(ConfigError::new(name, message));
        if items.is_empty() && !may_be_empty {
            let valid = if only.is_empty() {
                "any non-empty value".to_owned()
            } else {
                format!("[{}]", only.join(", "))
            };
            return fail(format!(
                "Configuration '{name}' must not be empty. Valid values include: {valid}"
            ));
        }
        for item in items {
            if item.is_empty() {
                return fail(format!("Configuration '{name}' values must not be empty."));
            }
            if !only.is_empty() && !only.contains(&item.as_str()) {
                let why = format!("String must be one of: {}", only.join(", "));
                return Err(ConfigError::invalid(name, item, why));
            }
        }
        Ok(())
    }
}

/// Keeps the first of equal items, as Kafka does with a warning.
fn without_repeats(items: &mut Vec<String>) {
    let mut kept: Vec<String> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    *items = kept;
}

fn rows(text: &'static str) -> Vec<Property> {
    let rows: Vec<Property> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            row(line).unwrap_or_else(|| panic!("a row of the property table is wrong: {line}"))
        })
        .collect();
    debug_assert!(rows.is_sorted_by(|a, b| a.name < b.name));
    rows
}

fn row(line: &'static str) -> Option<Property> {
    let mut columns = line.split_ascii_whitespace();
    let name = columns.next()?;
    let kind = match columns.next()? {
        "boolean" => Kind::Boolean,
        "string" => Kind::String,
        "int" => Kind::Int,
        "short" => Kind::Short,
        "long" => Kind::Long,
        "double" => Kind::Double,
        "list" => Kind::List,
        "class" => Kind::Class,
        "password" => Kind::Password,
        _ => return None,
    };
    let default = columns.next()?;
    let allowed = allowed(columns.next()?)?;
    let _importance = columns.next()?;
    let update = match columns.next()? {
        "read-only" => Update::ReadOnly,
        "per-broker" => Update::PerBroker,
        "cluster-wide" => Update::ClusterWide,
        "dynamic" => Update::Dynamic,
        "internal" => Update::Internal,
        _ => return None,
    };
    let fallbacks = match columns.next() {
        None | Some("-") => Vec::new(),
        Some(names) => names.split(',').map(fallback).collect::<Option<Vec<_>>>()?,
    };
    let mut property = Property {
        name,
        kind,
        update,
        fallbacks,
        default: Default::Required,
        allowed,
    };
    property.default = match default {
        "required" => Default::Required,
        "null" => Default::Value(Value::Null),
        "\"\"" => Default::Value(property.read("", "").ok()?),
        text => Default::Value(property.read(text, text).ok()?),
    };
    Some(property)
}

fn fallback(text: &'static str) -> Option<Fallback> {
    match text.split_once('*') {
        None => Some(Fallback {
            name: text,
            times: 1,
        }),
        Some((name, times)) => Some(Fallback {
            name,
            times: times.parse().ok()?,
        }),
    }
}

fn allowed(text: &'static str) -> Option<Allowed> {
    let words = |text: &'static str| text.split(',').collect::<Vec<_>>();
    if let Some(list) = text.strip_prefix("one:") {
        return Some(Allowed::Word(words(list)));
    }
    if let Some(list) = text.strip_prefix("caseless:") {
        return Some(Allowed::CaselessWord(words(list)));
    }
    if let Some(rest) = text.strip_prefix("list") {
        let (rest, may_be_empty) = rest
            .strip_prefix('+')
            .map_or((rest, true), |rest| (rest, false));
        let only = rest.strip_prefix(':').map(words).unwrap_or_default();
        return Some(Allowed::Items { only, may_be_empty });
    }
    match text {
        "-" => return Some(Allowed::Any),
        "nonempty" => return Some(Allowed::NonEmpty),
        "throttled" => return Some(Allowed::ThrottledReplicas),
        "voters" => return Some(Allowed::Voters),
        "servers" => return Some(Allowed::Servers),
        _ => {}
    }
    let (range, or) = text
        .split_once('|')
        .map_or((text, None), |(range, or)| (range, Some(or)));
    let (min, max) = range.split_once("..")?;
    let bound = |text: &'static str| (!text.is_empty()).then_some(text);
    Some(Allowed::Range {
        min: bound(min),
        max: bound(max),
        or,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, text: &str) -> Result<String, String> {
        let row = &TOPIC[position(&TOPIC, name).expect("a topic property")];
        row.parse(text)
            .map(|value| value.to_string())
            .map_err(|error| error.message)
    }

    #[test]
    fn every_row_is_read_and_every_default_is_allowed() {
        assert_eq!((BROKER.len(), TOPIC.len()), (360, 34));
        assert_eq!((GROUP.len(), CLIENT_METRICS.len()), (17, 3));
        for row in BROKER
            .iter()
            .chain(TOPIC.iter())
            .chain(GROUP.iter())
            .chain(CLIENT_METRICS.iter())
        {
            if let Some(value) = row.default().and_then(Value::text) {
                assert_eq!(
                    row.parse(&value).as_ref().ok(),
                    row.default(),
                    "{}",
                    row.name
                );
            }
        }
        for row in TOPIC.iter().chain(GROUP.iter()) {
            for fallback in &row.fallbacks {
                assert!(
                    position(&BROKER, fallback.name).is_some(),
                    "{}",
                    fallback.name
                );
            }
        }
    }

    #[test]
    fn values_are_read_and_refused_as_kafka_does() {
        let cases = [
            ("retention.ms", " 5 ", Ok("5")),
            (
                "retention.ms",
                "-2",
                Err("Invalid value -2 for configuration retention.ms: Value must be at least -1"),
            ),
            (
                "retention.ms",
                "soon",
                Err("Invalid value soon for configuration retention.ms: Not a number of type LONG"),
            ),
            (
                "segment.bytes",
                "3000000000",
                Err(
                    "Invalid value 3000000000 for configuration segment.bytes: Not a number of type INT",
                ),
            ),
            ("cleanup.policy", "compact , delete", Ok("compact,delete")),
            ("cleanup.policy", "", Ok("")),
            (
                "cleanup.policy",
                "shred",
                Err(
                    "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete",
                ),
            ),
            ("cleanup.policy", "delete,delete", Ok("delete")),
            (
                "compression.type",
                "brotli",
                Err(
                    "Invalid value brotli for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
                ),
            ),
            ("compression.gzip.level", "-1", Ok("-1")),
            (
                "compression.gzip.level",
                "0",
                Err(
                    "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
                ),
            ),
            ("min.cleanable.dirty.ratio", "1", Ok("1.0")),
            (
                "min.cleanable.dirty.ratio",
                "1.5",
                Err(
                    "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
                ),
            ),
            ("min.cleanable.dirty.ratio", " 0x1p-1f ", Ok("0.5")),
            ("min.cleanable.dirty.ratio", "NaN", Ok("NaN")),
            ("preallocate", "TRUE", Ok("true")),
            (
                "preallocate",
                "yes",
                Err(
                    "Invalid value yes for configuration preallocate: Expected value to be either true or false",
                ),
            ),
            (
                "leader.replication.throttled.replicas",
                "0:1,1:2",
                Ok("0:1,1:2"),
            ),
            ("leader.replication.throttled.replicas", "*", Ok("*")),
            (
                "leader.replication.throttled.replicas",
                "abc",
                Err(
                    "Invalid value [abc] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                ),
            ),
        ];
        for (name, text, expected) in cases {
            let got = topic(name, text);
            let got = got.as_ref().map(String::as_str).map_err(String::as_str);
            assert_eq!(got, expected, "{name}={text}");
        }
    }
}
