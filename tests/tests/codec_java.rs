//! The wire against Kafka's own classes: every message and record in every version. See `tests/java/CodecOracle.java`.
//!
//! Wants Apache Kafka's jars in the directory that TRIALOG_KAFKA_JARS names (`tests/run` puts them there) and a JDK.
#![cfg(not(madsim))]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Command, Stdio};

use bytes::Bytes;
use trialog_core::wire::header::{request_header_version, response_header_version};
use trialog_core::wire::{self, ApiKey, DecodeError, ErrorCode};
use trialog_tests::codec::model::{Field, Kind, Message, Type};
use trialog_tests::codec::{self, AnyMessage, Codec};

const END: u8 = 0;
const SCHEMA: u8 = 1;
const DEFAULT: u8 = 2;
const CASE: u8 = 3;
const TABLES: u8 = 4;
const FRAMED: u8 = 5;

fn scale() -> (u64, u32) {
    if std::env::var("TRIALOG_TESTS").is_ok_and(|tests| tests == "all") {
        (seed(2), 3000)
    } else {
        (seed(1), 150)
    }
}

/// TRIALOG_SEED repeats another run.
fn seed(default: u64) -> u64 {
    std::env::var("TRIALOG_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(default)
}

/// One message that the oracle sent, and the end of it.
enum Said {
    Schema(String),
    Default,
    Framed(Bytes),
    Case { bytes: Bytes, other_version: i16 },
}

#[test]
fn kafkas_classes_read_what_we_write_and_we_what_they_write() {
    let jars = std::env::var("TRIALOG_KAFKA_JARS")
        .expect("TRIALOG_KAFKA_JARS names the directory of Apache Kafka's jars; tests/run sets it");
    let (seed, rounds) = scale();
    let mut oracle = Command::new("java")
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(format!("{jars}/*"))
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/java/CodecOracle.java"
        ))
        .args([&jars, &seed.to_string(), &rounds.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("java starts");
    let mut from = BufReader::new(oracle.stdout.take().expect("piped"));
    let mut to = BufWriter::new(oracle.stdin.take().expect("piped"));

    let types: BTreeMap<&str, (Codec, Message)> = codec::all()
        .into_iter()
        .map(|(codec, schema)| (codec.name, (codec, schema)))
        .collect();
    let mut records = 0;
    let mut seen: BTreeMap<&str, Vec<i16>> = BTreeMap::new();
    loop {
        let kind = number::<1>(&mut from)[0];
        if kind == END {
            break;
        }
        if kind == TABLES {
            let (ours, theirs) = (tables(), text(&mut from));
            let differs = ours
                .lines()
                .zip(theirs.lines())
                .find(|(ours, theirs)| ours != theirs);
            assert_eq!(differs, None, "ours and Kafka's");
            assert_eq!(ours.lines().count(), theirs.lines().count());
            continue;
        }
        let class = text(&mut from);
        let version = i16::from_be_bytes(number(&mut from));
        let said = match kind {
            SCHEMA => Said::Schema(text(&mut from)),
            DEFAULT => Said::Default,
            FRAMED => Said::Framed(Bytes::from(block(&mut from))),
            CASE => Said::Case {
                bytes: Bytes::from(block(&mut from)),
                other_version: i16::from_be_bytes(number(&mut from)),
            },
            other => panic!("the oracle said {other}"),
        };
        let name = class
            .strip_suffix("Data")
            .filter(|name| !types.contains_key(class.as_str()) && types.contains_key(name));
        let (name, (codec, schema)) = types
            .get_key_value(name.unwrap_or(&class))
            .unwrap_or_else(|| panic!("Kafka has {class}, we have not"));
        match said {
            Said::Schema(theirs) => {
                assert_eq!(describe(schema, version), theirs, "{class} {version}");
                seen.entry(name).or_default().push(version);
            }
            Said::Default => {
                answer(&mut to, written(&*(codec.default)(), version)).expect("the oracle listens")
            }
            Said::Framed(bytes) => {
                let again = framed(schema, bytes, version)
                    .unwrap_or_else(|error| panic!("{class} {version} (seed {seed}): {error}"));
                answer(&mut to, Some(again)).expect("the oracle listens");
                records += 1;
            }
            Said::Case {
                bytes,
                other_version,
            } => {
                let (message, left) = (codec.decode)(bytes, version)
                    .unwrap_or_else(|error| panic!("{class} {version} (seed {seed}): {error}"));
                assert_eq!(left, 0, "{class} {version}");
                answer(&mut to, written(&*message, version)).expect("the oracle listens");
                answer(&mut to, written(&*message, other_version)).expect("the oracle listens");
            }
        }
        to.flush().expect("the oracle listens");
    }
    let classes = i32::from_be_bytes(number(&mut from));
    let versions = i32::from_be_bytes(number(&mut from));
    let cases = i64::from_be_bytes(number(&mut from));
    let failures = i64::from_be_bytes(number(&mut from));
    let report = text(&mut from);
    assert!(oracle.wait().expect("the oracle ends").success());
    println!(
        "{classes} types, {versions} versions, {cases} messages, seed {seed}: {failures} differ"
    );
    assert_eq!(failures, 0, "with seed {seed}:\n{report}");
    for (name, (codec, _)) in &types {
        let ours: Vec<i16> = (codec.min..=codec.max).collect();
        assert_eq!(seen.get(name), Some(&ours), "the versions of {name}");
    }
    assert_eq!(types.len(), usize::try_from(classes).expect("a count"));
    assert_eq!(cases, i64::from(versions) * i64::from(rounds));
    let record_versions: i64 = types
        .values()
        .filter(|(_, schema)| matches!(schema.kind, Kind::Record(_)))
        .map(|(codec, _)| i64::from(codec.max - codec.min + 1))
        .sum();
    assert_eq!(records, record_versions * i64::from(rounds));
}

/// Our APIs and error codes in the words of the oracle.
fn tables() -> String {
    let mut to = String::new();
    for api in ApiKey::ALL {
        let (versions, stable) = (api.versions(), api.latest_stable_version());
        let (min, max) = versions.clone().into_inner();
        to += &format!("{} {} {min} {max} stable {stable}", api.code(), api.name());
        to += if api.is_cluster_action() {
            " cluster"
        } else {
            ""
        };
        to += if api.on_broker() { " broker" } else { "" };
        to += if api.on_controller() {
            " controller"
        } else {
            ""
        };
        for version in versions {
            let request = request_header_version(*api, version);
            to += &format!(" {request}/{}", response_header_version(*api, version));
        }
        to.push('\n');
    }
    for error in (-1..i16::MAX).map(ErrorCode) {
        let Some(name) = error.name() else { continue };
        let retriable = if error.is_retriable() {
            " retriable"
        } else {
            ""
        };
        to += &format!("{} {name}{retriable}\n", error.0);
    }
    to
}

/// Reads a record as its topic has it and writes it again.
fn framed(schema: &Message, bytes: Bytes, version: i16) -> Result<Bytes, Box<dyn Error>> {
    let Kind::Record(family) = schema.kind else {
        panic!("{} is no record", schema.name);
    };
    let check = |read: i16| assert_eq!(read, version, "{}", schema.name);
    Ok(match family {
        "metadata-record" => {
            let (record, read) = wire::MetadataRecord::decode_value(bytes)?;
            check(read);
            record.encode_value(version)?
        }
        "remote-record" => {
            let (record, read) = wire::RemoteLogRecord::decode_value(bytes)?;
            check(read);
            record.encode_value(version)?
        }
        "group-key" => wire::GroupRecordKey::decode(bytes)?.encode()?,
        "transaction-key" => wire::TransactionRecordKey::decode(bytes)?.encode()?,
        "share-key" => wire::ShareRecordKey::decode(bytes)?.encode()?,
        // A value's type is that of its key, and a key can be made of its type.
        "group-value" => {
            let (value, read) = key::<wire::GroupRecordKey>(schema, wire::GroupRecordKey::decode)?
                .decode_value(bytes)?;
            check(read);
            value.encode(version)?
        }
        "transaction-value" => {
            let (value, read) =
                key::<wire::TransactionRecordKey>(schema, wire::TransactionRecordKey::decode)?
                    .decode_value(bytes)?;
            check(read);
            value.encode(version)?
        }
        "share-value" => {
            let (value, read) = key::<wire::ShareRecordKey>(schema, wire::ShareRecordKey::decode)?
                .decode_value(bytes)?;
            check(read);
            value.encode(version)?
        }
        other => panic!("an unknown family {other}"),
    })
}

/// A key of the type of the value `schema`; all zero, it is empty names and numbers.
fn key<K>(schema: &Message, decode: fn(Bytes) -> Result<K, DecodeError>) -> Result<K, DecodeError> {
    let mut bytes = schema
        .id
        .expect("records have a type")
        .to_be_bytes()
        .to_vec();
    bytes.resize(64, 0);
    decode(Bytes::from(bytes))
}

fn written(message: &dyn AnyMessage, version: i16) -> Option<Bytes> {
    message.encode(version).ok().map(|parts| parts.to_bytes())
}

fn answer(to: &mut impl Write, bytes: Option<Bytes>) -> io::Result<()> {
    match bytes {
        None => to.write_all(&(-1_i32).to_be_bytes()),
        Some(bytes) => {
            to.write_all(&(bytes.len() as u32).to_be_bytes())?;
            to.write_all(&bytes)
        }
    }
}

fn number<const N: usize>(from: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)
        .expect("the oracle speaks; its own words are above");
    bytes
}

fn block(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; u32::from_be_bytes(number(from)) as usize];
    from.read_exact(&mut bytes).expect("the oracle speaks");
    bytes
}

fn text(from: &mut impl Read) -> String {
    String::from_utf8(block(from)).expect("UTF-8")
}

/// Our schema of `version` in the words in which the oracle describes Kafka's.
fn describe(message: &Message, version: i16) -> String {
    let mut to = String::new();
    describe_struct(message, &message.name, version, &mut to);
    to
}

fn describe_struct(message: &Message, name: &str, version: i16, to: &mut String) {
    to.push('{');
    let fields = || {
        message
            .find(name)
            .fields
            .iter()
            .filter(|field| field.versions.contains(version))
    };
    for field in fields().filter(|field| field.tag.is_none()) {
        describe_field(message, field, version, to);
    }
    if message.is_flexible(version) {
        let mut tagged: Vec<(u32, &Field)> = fields()
            .filter_map(|field| Some((field.tag?, field)))
            .collect();
        tagged.sort_by_key(|(tag, _)| *tag);
        for (tag, field) in tagged {
            write!(to, "{tag}->").expect("a string grows");
            describe_field(message, field, version, to);
        }
        to.push_str("tags");
    }
    to.push('}');
}

fn describe_field(message: &Message, field: &Field, version: i16, to: &mut String) {
    let name = field.name.replace('_', "");
    let null = if field
        .nullable
        .is_some_and(|nullable| nullable.contains(version))
    {
        "NULLABLE_"
    } else {
        ""
    };
    let compact = if message.is_flexible(version) && !field.never_compact {
        "COMPACT_"
    } else {
        ""
    };
    write!(to, "{name}:").expect("a string grows");
    describe_type(message, &field.ty, compact, null, version, to);
    to.push(' ');
}

fn describe_type(
    message: &Message,
    ty: &Type,
    compact: &str,
    null: &str,
    version: i16,
    to: &mut String,
) {
    let fixed = match ty {
        Type::Int8 => "INT8",
        Type::Int16 | Type::Error => "INT16",
        Type::Int32 => "INT32",
        Type::Int64 => "INT64",
        Type::Uint16 => "UINT16",
        Type::Uint32 => "UINT32",
        Type::Float64 => "FLOAT64",
        Type::Bool => "BOOLEAN",
        Type::Uuid => "UUID",
        Type::String
        | Type::Bytes
        | Type::Records
        | Type::Parts
        | Type::Struct(_)
        | Type::Array(_) => "",
    };
    to.push_str(fixed);
    match ty {
        Type::String => *to += &format!("{compact}{null}STRING"),
        Type::Bytes => *to += &format!("{compact}{null}BYTES"),
        Type::Records | Type::Parts => *to += &format!("{compact}{null}RECORDS"),
        Type::Struct(name) => {
            to.push_str(null);
            describe_struct(message, name, version, to);
        }
        Type::Array(element) => {
            *to += &format!("{compact}{null}[");
            describe_type(message, element, compact, "", version, to);
            to.push(']');
        }
        _ => {}
    }
}
