//! A real broker under load is recorded and killed; what it left is lived again, and asks for the same in every step.
#![cfg(not(madsim))]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kafka_protocol::records::Compression;
use trialog_tests::broker::{self, Kind, Setup, binary, finish};
use trialog_tests::client::{PLAIN, batch};
use trialog_tests::load::Load;

/// A topic as administrators' tools make it.
const CANARY: &str = "__strimzi_canary";
/// Every value of the load ends in dots: nothing else does.
const PAYLOAD: &[u8] = b"..............................";

/// Two lives, the first of which ends by kill -9; returns the directory of their recordings.
fn recorded(home: &Path, arguments: &[&str]) -> PathBuf {
    let recordings = home.join("recordings");
    let mut all = vec!["--record", recordings.to_str().expect("text")];
    all.extend(arguments);
    let setup = Setup::new(Kind::Trialog, home, &home.join("data"))
        .with("log.segment.bytes", "1048576")
        .with_arguments(&all);
    setup.format();
    let mut running = setup.start();
    let load = Load::new(&mut running.client(), "recorded", 4, &[]).expect("a topic");
    // Its name makes it no topic of the node.
    let mut client = running.client();
    client.create_topic(CANARY, 1, &[]).expect("a topic");
    for n in 0..20 {
        let batch = batch(&[PAYLOAD.repeat(n + 1)], PLAIN, Compression::None);
        let produced = client.produce(CANARY, 0, -1, batch).expect("an answer");
        assert_eq!(produced, (0, n as i64));
    }
    let long = broker::full_or_smoke(10_000, 1_500);
    load.run(&setup.bootstrap(), || {
        std::thread::sleep(Duration::from_millis(long));
        running.kill();
    });
    assert!(load.acknowledged() > 100, "a load: {}", load.acknowledged());
    let mut running = setup.start();
    // What the second life reads is in its recording; tests/kill.rs judges it.
    load.judge(&mut running.client());
    let found = running.client().read_all(CANARY, 0).expect("records");
    assert_eq!(found.len(), 20);
    let (status, took) = running.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(2), "stopped in {took:?}");
    recordings
}

fn replay(recordings: &Path) -> (bool, String) {
    let mut command = Command::new(binary());
    command.args(["sim", "replay"]).arg(recordings);
    let (status, out, err) = finish(&mut command, Duration::from_secs(120));
    (status.success(), out + &err)
}

/// The recordings' bytes, one after the other.
fn contents(recordings: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(recordings)
        .expect("a listing")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let read = |path| std::fs::read(path).expect("a recording");
    paths.into_iter().map(read).collect()
}

fn holds_payload(recording: &[u8]) -> bool {
    recording
        .windows(PAYLOAD.len())
        .any(|window| window == PAYLOAD)
}

#[test]
fn a_killed_broker_is_lived_again_without_its_payloads() {
    let home = tempfile::tempdir().expect("a home");
    let recordings = recorded(home.path(), &[]);
    let lives = contents(&recordings);
    assert_eq!(lives.len(), 2, "one recording a life");
    for life in &lives {
        assert!(!holds_payload(life), "clients' records are blanked out");
    }
    let (same, said) = replay(&recordings);
    assert!(same, "{said}");
    println!("{said}");
}

#[test]
fn a_killed_broker_is_lived_again_byte_for_byte() {
    let home = tempfile::tempdir().expect("a home");
    let recordings = recorded(home.path(), &["--record-payloads"]);
    assert!(contents(&recordings).iter().all(|life| holds_payload(life)));
    let (same, said) = replay(&recordings);
    assert!(same, "{said}");
    println!("{said}");
}

#[test]
fn a_recording_that_was_tampered_with_is_told_apart() {
    let home = tempfile::tempdir().expect("a home");
    let recordings = recorded(home.path(), &[]);
    let (same, _) = replay(&recordings);
    assert!(same);
    let path = recordings.join("000001.recording");
    let mut bytes = std::fs::read(&path).expect("the recording");
    let chunk = u32::from_le_bytes(bytes[8..12].try_into().expect("4")) as usize;
    bytes[20 + chunk / 2] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let (same, said) = replay(&recordings);
    assert!(!same, "the damage of its first chunk is seen: {said}");
}
