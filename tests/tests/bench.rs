//! Beside Apache Kafka in one run: broker on core 0, load on core 1, memory warmed. Prints the table and writes target/bench.json.
//!
//! At smoke size it shows that the measurement works; the figures that count come from `tests/run --all`.
#![cfg(not(madsim))]

use std::time::Duration;
use trialog_tests::bench::{Measured, Size, Work, measure, table, warm_memory};
use trialog_tests::broker::{self, Kind, root};

#[test]
fn beside_apache_kafka() {
    let gib = 1 << 30;
    let size = Size {
        warm_bytes: broker::full_or_smoke(gib / 2, 32 << 20),
        bytes: broker::full_or_smoke(2 * gib, 128 << 20),
        longest: broker::full_or_smoke(Duration::from_secs(30), Duration::from_secs(5)),
        connections: 4,
        in_flight: 4,
    };
    let works = [Work::ProduceWritten, Work::ProduceDurable, Work::Fetch];
    let place = tempfile::tempdir().expect("a place");
    warm_memory(place.path(), broker::full_or_smoke(6 * gib, gib / 4)).expect("write a large file");
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
