//! Beside Apache Kafka in one run: broker on core 0, load on core 1, memory warmed. Prints the table and writes target/bench.json.
//! And what a recording costs.
//!
//! At smoke size it shows that the measurement works, and bounds are wide; the figures that count come from `tests/run --all`.
//! What misses is measured once more: another process may have had the machine.
#![cfg(not(madsim))]

use std::sync::Mutex;
use std::time::Duration;
use trialog_tests::bench::{
    Measured, Recording, Size, Work, measure, measure_recorded, table, warm_memory,
};
use trialog_tests::broker::{self, Kind, root};

const GIB: u64 = 1 << 30;
const WORKS: [Work; 3] = [Work::ProduceWritten, Work::ProduceDurable, Work::Fetch];
/// CPU seconds for 10^9 bytes; up to 0.4 were seen.
const MOST_FOR_OUTLINE: f64 = 0.8;
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

fn warm() {
    let place = tempfile::tempdir().expect("a place");
    let bytes = broker::full_or_smoke(6 * GIB, GIB / 4);
    warm_memory(place.path(), bytes).expect("write a large file");
}

/// What is missed of what was aimed at; measured once more if anything is, and then it counts.
fn at_best(mut misses: impl FnMut() -> Vec<String>) -> Vec<String> {
    let first = misses();
    if first.is_empty() {
        return first;
    }
    println!("once more: {}", first.join("; "));
    misses()
}

/// Enough was moved to say anything.
fn assert_moved(lines: &[Measured], size: Size) {
    for line in lines {
        assert!(line.bytes > size.bytes / 10, "{line:?}: too little moved");
        assert!(line.cpu_seconds > 0.0, "{line:?}");
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
    warm();
    let measured = |recording| {
        let lines = measure_recorded(Kind::Trialog, recording, &WORKS, size);
        println!("{recording:?}\n{}", table(&lines));
        assert_moved(&lines, size);
        lines
    };
    let misses = at_best(|| {
        let (without, with) = (measured(Recording::Nothing), measured(Recording::Redacted));
        let costs = without.iter().zip(&with).filter_map(|(without, with)| {
            let cost = with.cpu_seconds_per_gigabyte() - without.cpu_seconds_per_gigabyte();
            let said = format!("{:?}: {cost:+.2} CPU s/GB for the outline", with.work);
            println!("{said}");
            (cost > MOST_FOR_OUTLINE).then_some(said)
        });
        costs.collect()
    });
    measured(Recording::WithPayloads);
    assert!(misses.is_empty(), "{}", misses.join("; "));
}

/// At most a third of its CPU a byte and, synced, thrice its throughput.
#[test]
fn beside_apache_kafka() {
    let _quiet = QUIET.lock();
    let size = size();
    warm();
    let misses = at_best(|| {
        let mut lines: Vec<Measured> = measure(Kind::Kafka, &WORKS, size);
        if broker::target() == Kind::Trialog {
            lines.extend(measure(Kind::Trialog, &WORKS, size));
        }
        println!("{}", table(&lines));
        let json: Vec<_> = lines.iter().map(Measured::json).collect();
        let json = serde_json::to_string_pretty(&json).expect("JSON");
        std::fs::write(root().join("target/bench.json"), json).expect("write the figures");
        assert_moved(&lines, size);
        let (kafka, ours) = lines.split_at(WORKS.len());
        kafka.iter().zip(ours).filter_map(missed).collect()
    });
    assert!(misses.is_empty(), "{}", misses.join("; "));
}

/// Says how `ours` stands beside Apache Kafka's, and returns it if that is not what we aim at.
fn missed((kafka, ours): (&Measured, &Measured)) -> Option<String> {
    let (most_cpu, least_speed) = broker::full_or_smoke((1.0 / 3.0, 3.0), (0.5, 1.0));
    let cpu = ours.cpu_seconds_per_gigabyte() / kafka.cpu_seconds_per_gigabyte();
    let speed = ours.megabytes_per_second() / kafka.megabytes_per_second();
    let said = format!(
        "{:?}: {cpu:.2} of its CPU a byte, {speed:.1} times its throughput",
        ours.work
    );
    println!("{said}");
    let met = cpu <= most_cpu && (ours.work != Work::ProduceDurable || speed >= least_speed);
    (!met).then_some(said)
}
