//! Data directories across the border: we open what Apache Kafka wrote, and it opens what we wrote.
#![cfg(not(madsim))]

use kafka_protocol::records::{Compression, Record};
use std::path::{Path, PathBuf};
use trialog_tests::broker::{self, Broker, Kind, Setup};
use trialog_tests::client::{Client, Producer, batch};
use trialog_tests::{fill, golden};

struct Opened {
    home: tempfile::TempDir,
    setup: Setup,
}

fn opened(fixture: &str) -> Opened {
    let home = tempfile::tempdir().expect("a home");
    let data = home.path().join("data");
    golden::unpack(fixture, &data);
    let setup = Setup::new(broker::target(), home.path(), &data);
    Opened { home, setup }
}

fn expected(fixture: &str) -> String {
    std::fs::read_to_string(golden::expected(fixture)).expect("the fixture's content")
}

/// The first lines in which two contents differ.
fn same(what: &str, wanted: &str, found: &str) {
    if wanted == found {
        return;
    }
    let partition = |text: &str, at: usize| {
        let heads = text
            .lines()
            .take(at + 1)
            .filter(|line| !line.starts_with(' '));
        heads.last().unwrap_or_default().to_owned()
    };
    let (wanted_lines, found_lines): (Vec<&str>, Vec<&str>) =
        (wanted.lines().collect(), found.lines().collect());
    let at = wanted_lines
        .iter()
        .zip(&found_lines)
        .take_while(|(a, b)| a == b)
        .count();
    panic!(
        "{what}: line {} of {}, below {}\nwanted {:?}\nfound  {:?}",
        at + 1,
        wanted_lines.len(),
        partition(wanted, at),
        wanted_lines.get(at),
        found_lines.get(at)
    );
}

fn content(broker: &Broker) -> String {
    golden::content(&mut broker.client()).expect("the content")
}

fn files(data: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).expect("the data directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("__cluster_metadata-0") {
            let inside = std::fs::read_dir(&path)
                .expect("a log")
                .map(|e| e.expect("an entry").path());
            found.extend(inside.filter(|p| p.extension().is_some_and(|e| e == extension)));
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "no .{extension} below {}",
        data.display()
    );
    found
}

#[test]
fn the_dump_tool_reads_apache_kafkas_own_files_and_notices_damage() {
    let Opened { home, .. } = opened("clean");
    let data = home.path().join("data");
    let sound = golden::dump_log_segments(&data);
    assert_eq!(sound.faults, Vec::<String>::new());
    assert!(
        sound.files > 60 && sound.records > 900,
        "{} files, {} records",
        sound.files,
        sound.records
    );
    let log = data.join("java-none-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).expect("a log");
    bytes[100] ^= 1;
    std::fs::write(&log, bytes).expect("write it back");
    assert!(
        !golden::dump_log_segments(&data).faults.is_empty(),
        "the tool noticed nothing"
    );
}

#[test]
fn opens_what_apache_kafka_left() {
    for fixture in golden::FIXTURES {
        let Opened { home: _home, setup } = opened(fixture);
        let mut running = setup.start();
        same(fixture, &expected(fixture), &content(&running));
        running.stop();
        same(
            &format!("{fixture}, started again"),
            &expected(fixture),
            &content(&setup.start()),
        );
    }
}

#[test]
fn rebuilds_missing_and_wrong_indexes() {
    let ours = broker::target() == Kind::Trialog;
    // Apache Kafka trusts the indexes of a directory that was stopped cleanly, and those of old segments; we do not.
    for clean in [true, false] {
        let Opened { home: _home, setup } = opened("clean");
        for (n, extension) in ["index", "timeindex", "snapshot"].into_iter().enumerate() {
            if clean && (extension == "snapshot" || !ours) {
                continue;
            }
            for (m, file) in files(setup.data(), extension).into_iter().enumerate() {
                match (n + m) % 3 {
                    0 => std::fs::remove_file(file).expect("remove it"),
                    1 if ours => std::fs::write(file, vec![0xa5; 240]).expect("damage it"),
                    _ => {}
                }
            }
        }
        if !clean {
            std::fs::remove_file(setup.data().join(".kafka_cleanshutdown"))
                .expect("the marker of a clean stop");
        }
        let mut running = setup.start();
        let what = format!("without indexes, clean: {clean}");
        same(&what, &expected("clean"), &content(&running));
        running.stop();
        if ours && clean {
            // What was damaged is whole on disk again, for Apache Kafka's tool too.
            let dump = golden::dump_log_segments(setup.data());
            assert_eq!(dump.faults, Vec::<String>::new(), "{what}");
        }
    }
}

/// The last batch of each producer in `idempotent-0`: id, epoch, first sequence, values and where it is.
fn last_batches(records: &[Record]) -> Vec<(Producer, Vec<Vec<u8>>, i64)> {
    let mut last: Vec<(Producer, Vec<Vec<u8>>, i64)> = Vec::new();
    for pair in records.iter().filter(|r| r.producer_id >= 0) {
        let value = pair.value.as_deref().unwrap_or_default().to_vec();
        let this = Producer {
            id: pair.producer_id,
            epoch: pair.producer_epoch,
            sequence: pair.sequence,
        };
        match last.iter_mut().find(|(p, ..)| p.id == this.id) {
            Some((p, values, _))
                if p.epoch == this.epoch
                    && p.sequence + 1 == this.sequence
                    && this.sequence % 2 == 1 =>
            {
                values.push(value)
            }
            Some(entry) => *entry = (this, vec![value], pair.offset),
            None => last.push((this, vec![value], pair.offset)),
        }
    }
    last
}

/// A duplicate is answered with its first offset, the next sequence is appended, a gap and an old epoch are refused.
fn continues_producers(client: &mut Client) {
    let records = client.read_all("idempotent", 0).expect("read the topic");
    let last = last_batches(&records);
    assert_eq!(last.len(), 3);
    for (producer, values, offset) in &last {
        let send = |client: &mut Client, producer: Producer| {
            client
                .produce(
                    "idempotent",
                    0,
                    -1,
                    batch(values, producer, Compression::None),
                )
                .expect("an answer")
        };
        let next = producer.sequence + values.len() as i32;
        assert_eq!(
            send(client, *producer),
            (0, *offset),
            "a duplicate of {producer:?}"
        );
        assert_eq!(
            send(
                client,
                Producer {
                    sequence: next + 1,
                    ..*producer
                }
            )
            .0,
            45,
            "a gap after {producer:?}"
        );
        assert_eq!(
            send(
                client,
                Producer {
                    sequence: next,
                    ..*producer
                }
            )
            .0,
            0,
            "the next of {producer:?}"
        );
        if producer.epoch > 0 {
            assert_eq!(
                send(
                    client,
                    Producer {
                        epoch: producer.epoch - 1,
                        ..*producer
                    }
                )
                .0,
                47,
                "an old epoch of {producer:?}"
            );
        }
    }
    let after = client.read_all("idempotent", 0).expect("read the topic");
    assert_eq!(
        after.len(),
        records.len()
            + last
                .iter()
                .map(|(_, values, _)| values.len())
                .sum::<usize>()
    );
}

#[test]
fn continues_the_producers_of_apache_kafka() {
    for fixture in golden::FIXTURES {
        let Opened { home: _home, setup } = opened(fixture);
        let running = setup.start();
        continues_producers(&mut running.client());
    }
}

#[test]
fn apache_kafka_opens_what_we_wrote() {
    let home = tempfile::tempdir().expect("a home");
    let setup = Setup::new(broker::target(), home.path(), &home.path().join("data"));
    setup.format();
    let mut ours = setup.start();
    fill::fill(&ours);
    let written = content(&ours);
    let (status, took) = ours.stop();
    println!("stopped with {status} in {took:?}");
    if broker::target() == Kind::Trialog {
        assert!(status.success(), "{status}");
        assert!(took.as_secs_f64() < 2.0, "{took:?}");
    }
    let dump = golden::dump_log_segments(setup.data());
    assert_eq!(dump.faults, Vec::<String>::new());
    assert!(
        dump.files > 40 && dump.records > 800,
        "{} files, {} records",
        dump.files,
        dump.records
    );

    let as_kafka = Setup::new(Kind::Kafka, home.path(), setup.data());
    let mut kafka = as_kafka.start();
    same("through Apache Kafka", &written, &content(&kafka));
    continues_producers(&mut kafka.client());
    let continued = content(&kafka);
    kafka.stop();
    same("back again", &continued, &content(&setup.start()));
}
