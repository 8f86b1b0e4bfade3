//! Beside Apache Kafka in one run: broker on core 0, load on core 1, memory warmed. Prints the table and writes target/bench.json.
//! And what a recording costs.
//!
//! At smoke size it shows that the measurement works; the figures that count come from `tests/run --all`.
#![cfg(not(madsim))]

use std::sync::Mutex;
use std::time::Duration;
use trialog_tests::bench::{
    Measured, Recording, Size, Work, measure, measure_recorded, table, warm_memory,
};
use trialog_tests::broker::{self, Kind, root};

const GIB: u64 = 1 << 30;
const WORKS: [Work; 3] = [Work::ProduceWritten, Work::ProduceDurable, Work::Fetch];
/// One measurement at a time.
static QUIET: Mutex<()> = Mutex::new(());

fn size() -> Size {
    Size {
        warm_bytes: broker::full_or_smoke(GIB / 2, 32 << 20),
        bytes: broker::full_or_smoke(2 * GIB, 128 << 20),
        longest: broker::full_or_smoke(Duration::from_secs(30), Duration::from_secs(5)),
        connections: 4,
        in_flight: 4,
    }
}

/// Redacting costs little: the records are neither hashed nor written.
#[test]
fn a_recording_costs_little_without_payloads() {
    if broker::target() == Kind::Kafka {
        return;
    }
    let _quiet = QUIET.lock();
    let size = size();
    let measured = [
        Recording::Nothing,
        Recording::Redacted,
        Recording::WithPayloads,
    ]
    .map(|recording| {
        let lines = measure_recorded(Kind::Trialog, recording, &WORKS, size);
        println!("{recording:?}\n{}", table(&lines));
        lines
    });
    let [nothing, redacted, _] = measured;
    for (without, with) in nothing.iter().zip(&redacted) {
        let bytes = with.bytes.min(without.bytes);
        assert!(bytes > size.bytes / 10, "{with:?}: too little moved");
        let cost = with.cpu_seconds_per_gigabyte() - without.cpu_seconds_per_gigabyte();
        println!("{:?}: {cost:+.2} CPU s/GB for the outline", with.work);
        assert!(cost < 2.0, "{with:?} beside {without:?}");
    }
}

#[test]
fn beside_apache_kafka() {
    let _quiet = QUIET.lock();
    let (size, works) = (size(), WORKS);
    let place = tempfile::tempdir().expect("a place");
    let warm = broker::full_or_smoke(6 * GIB, GIB / 4);
    warm_memory(place.path(), warm).expect("write a large file");
    let mut lines: Vec<Measured> = measure(Kind::Kafka, &works, size);
    if broker::target() == Kind::Trialog {
        lines.extend(measure(Kind::Trialog, &works, size));
    }
    println!("{}", table(&lines));
    let ratio = |work: Work| {
        let of = |kind| {
            lines
                .iter()
                .find(|m: &&Measured| m.work == work && m.kind == kind)
        };
        Some((of(Kind::Kafka)?, of(Kind::Trialog)?))
    };
    for work in works {
        if let Some((kafka, ours)) = ratio(work) {
            let cpu = ours.cpu_seconds_per_gigabyte() / kafka.cpu_seconds_per_gigabyte();
            let speed = ours.megabytes_per_second() / kafka.megabytes_per_second();
            println!("{work:?}: {cpu:.2} of its CPU a byte, {speed:.1} times its throughput");
        }
    }
    let json: Vec<_> = lines.iter().map(Measured::json).collect();
    std::fs::write(
        root().join("target/bench.json"),
        serde_json::to_string_pretty(&json).expect("JSON"),
    )
    .expect("write the figures");
    for line in &lines {
        assert!(
            line.bytes > size.bytes / 10,
            "{line:?}: too little moved to say anything"
        );
        assert!(line.cpu_seconds > 0.0, "{line:?}");
    }
}
