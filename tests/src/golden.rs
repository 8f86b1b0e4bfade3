//! Data directories across the border: what Apache Kafka wrote and we open, what we wrote and it opens.
//!
//! Owns the fixtures in `tests/golden` (made by `cargo run -p trialog-tests --example make_golden`), the canonical text of a broker's
//! content, and the run of Kafka's own dump tool over a data directory.

use crate::broker::{java, root, run};
use crate::client::{Client, text};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::records::Record;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The fixtures: how the broker that wrote each one ended.
pub const FIXTURES: &[&str] = &["clean", "killed"];

/// The archive of a fixture.
pub fn archive(fixture: &str) -> PathBuf {
    root()
        .join("tests/golden")
        .join(format!("{fixture}.tar.gz"))
}

/// The content that its broker served.
pub fn expected(fixture: &str) -> PathBuf {
    root().join("tests/golden").join(format!("{fixture}.txt"))
}

/// Unpacks a fixture's data directory to `to`.
pub fn unpack(fixture: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("a data directory");
    run(
        Command::new("tar")
            .arg("-xzSf")
            .arg(archive(fixture))
            .arg("-C")
            .arg(to),
        Duration::from_secs(60),
    );
}

/// Packs a data directory; holes stay holes.
pub fn pack(data: &Path, fixture: &str) {
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-cSf",
        "-",
    ])
    .arg("-C")
    .arg(data)
    .arg(".");
    let script = format!("{tar:?} | gzip -9n > {:?}", archive(fixture));
    run(
        Command::new("bash").args(["-o", "pipefail", "-c", &script]),
        Duration::from_secs(60),
    );
}

/// Everything that a client can see of every topic, as text that two brokers must agree on: ends, lookups by time, records.
pub fn content(client: &mut Client) -> io::Result<String> {
    let mut topics: Vec<(String, usize)> = client
        .metadata()?
        .topics
        .into_iter()
        .filter(|topic| !topic.is_internal)
        .map(|topic| {
            (
                topic
                    .name
                    .map(|name| name.0.to_string())
                    .unwrap_or_default(),
                topic.partitions.len(),
            )
        })
        .collect();
    topics.sort();
    let mut out = String::new();
    for (topic, partitions) in topics {
        for partition in 0..partitions as i32 {
            let records = client.read_all(&topic, partition)?;
            let start = client.offset_of(&topic, partition, -2)?;
            let end = client.offset_of(&topic, partition, -1)?;
            let latest = offset_at(client, &topic, partition, -3)?;
            let _ = writeln!(
                out,
                "{topic}-{partition} start {start:?} end {end:?} largest timestamp at {latest:?}"
            );
            for record in &records {
                let _ = writeln!(out, "  {}", line(record));
            }
            let times: std::collections::BTreeSet<i64> =
                records.iter().step_by(7).map(|r| r.timestamp).collect();
            for time in times {
                let found = offset_at(client, &topic, partition, time)?;
                let _ = writeln!(out, "  at {time}: {found:?}");
            }
        }
    }
    Ok(out)
}

/// Error, offset and timestamp of a lookup by time.
fn offset_at(
    client: &mut Client,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> io::Result<Option<(i16, i64, i64)>> {
    let part = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![part]);
    let answer = client.call(
        8,
        &ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]),
    )?;
    Ok(answer
        .topics
        .first()
        .and_then(|t| t.partitions.first())
        .map(|p| (p.error_code, p.offset, p.timestamp)))
}

fn line(record: &Record) -> String {
    let shown = |bytes: &Option<bytes::Bytes>| match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() <= 40 => format!("{:?}", String::from_utf8_lossy(bytes)),
        Some(bytes) => format!("{} bytes, digest {:016x}", bytes.len(), digest(bytes)),
    };
    let headers: Vec<String> = record
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", name.as_str(), shown(value)))
        .collect();
    format!(
        "{} {:?} {} key {} value {} headers [{}] producer {}/{} sequence {} epoch {}",
        record.offset,
        record.timestamp_type,
        record.timestamp,
        shown(&record.key),
        shown(&record.value),
        headers.join(", "),
        record.producer_id,
        record.producer_epoch,
        record.sequence,
        record.partition_leader_epoch
    )
}

/// FNV-1a: enough to compare two texts.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What Kafka's `DumpLogSegments` says of the files of a data directory, and the number of files that it read.
pub struct Dump {
    /// Files read.
    pub files: usize,
    /// Lines that speak of a fault.
    pub faults: Vec<String>,
    /// Records that it printed.
    pub records: usize,
}

/// Runs `DumpLogSegments --deep-iteration` over every log, index, time index, producer snapshot and metadata file below `data`.
pub fn dump_log_segments(data: &Path) -> Dump {
    let mut dump = Dump {
        files: 0,
        faults: Vec::new(),
        records: 0,
    };
    let mut logs: Vec<PathBuf> = std::fs::read_dir(data)
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        // What a deleted topic leaves until it is swept away is not closed like the rest.
        .filter(|path| path.is_dir() && !path.display().to_string().ends_with("-delete"))
        .collect();
    logs.sort();
    let (metadata, partitions): (Vec<_>, Vec<_>) = logs
        .into_iter()
        .partition(|path| path.ends_with("__cluster_metadata-0"));
    for (directories, decoder) in [
        (metadata, Some("--cluster-metadata-decoder")),
        (partitions, None),
    ] {
        let mut files: Vec<String> = directories
            .iter()
            .flat_map(|directory| std::fs::read_dir(directory).expect("a log"))
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                path.extension().is_some_and(|e| {
                    ["log", "index", "timeindex", "snapshot", "checkpoint"]
                        .iter()
                        .any(|x| e == *x)
                })
            })
            .map(|path| path.display().to_string())
            .collect();
        files.sort();
        if files.is_empty() {
            continue;
        }
        dump.files += files.len();
        let mut command = java("org.apache.kafka.tools.DumpLogSegments");
        command.arg("--deep-iteration").args(decoder);
        if decoder.is_none() {
            command.arg("--print-data-log");
        }
        command.args(["--files", &files.join(",")]);
        // The tool ends with 0 whatever it found: its words must be read, on both streams.
        let (status, out, err) = crate::broker::finish(&mut command, Duration::from_secs(120));
        if !status.success() {
            dump.faults.push(format!("{status}: {err}"));
        }
        // On its second stream the tool prints faults only, but for one that is none: it begins to count each file at -1.
        let benign = |line: &&str| {
            line.starts_with("Non-consecutive offsets in")
                || line.starts_with("  -1 is followed by")
        };
        dump.faults
            .extend(err.lines().filter(|line| !benign(line)).map(str::to_owned));
        for line in out.lines() {
            dump.records += usize::from(line.starts_with("| offset:"));
            let invalid_bytes = line.starts_with("Found ") && line.contains("invalid bytes");
            if invalid_bytes || line.to_lowercase().contains("isvalid: false") {
                dump.faults.push(line.to_owned());
            }
        }
        if decoder.is_some() && !out.contains("REGISTER_BROKER_RECORD") {
            dump.faults
                .push("the metadata log holds no registration of a broker".to_owned());
        }
    }
    dump
}
