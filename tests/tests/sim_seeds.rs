//! The simulator through the built binary: seeds in bulk, and one hash however a seed is run.
#![cfg(not(madsim))]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use trialog_core::mark::Mark;
use trialog_sim::Options;

/// What is compared of hashes: so many seeds, and of each so much time with faults. Without optimization a minute would take long.
const SEEDS: u64 = 200;
const DURATION: &str = "5s";
const DURATION_MS: u64 = 5_000;

fn trialog(arguments: &[&str]) -> Output {
    Command::new(trialog_tests::broker::binary())
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn objects(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone())
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

fn hashes(objects: &[Value]) -> BTreeMap<u64, String> {
    objects
        .iter()
        .map(|object| {
            let seed = object["seed"].as_u64().expect("a seed");
            (seed, object["hash"].as_str().expect("a hash").to_owned())
        })
        .collect()
}

/// As many seeds in every change, fifty times as many in the full run; what each did is left in `target/test-logs/seeds.jsonl`.
#[test]
fn seeds_hold_every_promise() {
    let seeds = format!("1..{}", trialog_tests::broker::full_or_smoke(10_000, 200));
    let ran = trialog(&["sim", "run", "--seeds", &seeds, "--json"]);
    let logs = trialog_tests::broker::root().join("target/test-logs");
    std::fs::create_dir_all(&logs).expect("a directory for logs");
    std::fs::write(logs.join("seeds.jsonl"), &ran.stdout).expect("written");
    let objects = objects(&ran);
    let said = |wanted: &str| {
        let one = objects.iter().find(|object| object["verdict"] == wanted);
        one.map(Value::to_string).unwrap_or_default()
    };
    assert_eq!(said("violated"), "");
    assert_eq!(ran.status.code(), Some(0), "{}", said("inconclusive"));
    assert_eq!(
        objects.len() as u64,
        trialog_tests::broker::full_or_smoke(10_000, 200)
    );
    let reached: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["marks"].as_object())
        .flat_map(|marks| marks.keys().map(String::as_str))
        .collect();
    // A few in a hundred seeds pause a connection: that none of 200 does says little.
    let rare = trialog_tests::broker::full_or_smoke(None, Some(Mark::ConnectionPaused));
    let never =
        |mark: &Mark| Some(*mark) != rare && !reached.contains(format!("{mark:?}").as_str());
    let never: Vec<Mark> = Mark::ALL.into_iter().filter(never).collect();
    assert_eq!(never, [], "rare branches that no seed reached");
}

/// In a batch, alone in a process of its own, and in this test, which is built without optimization (the binary with it).
#[test]
fn a_seed_has_one_hash_however_it_is_run() {
    let run = |seeds: [&str; 2]| {
        let more = ["--jobs", "2", "--duration", DURATION, "--json"];
        hashes(&objects(&trialog(
            &[&["sim", "run"], &seeds[..], &more].concat(),
        )))
    };
    let batch = run(["--seeds", &format!("1..{SEEDS}")]);
    assert_eq!(batch.len() as u64, SEEDS);
    let distinct: BTreeSet<&String> = batch.values().collect();
    assert_eq!(
        distinct.len() as u64,
        SEEDS,
        "different seeds do different things"
    );
    let next = AtomicU64::new(1);
    let differ = || {
        let mut differ = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let Some(hash) = batch.get(&seed) else {
                return differ;
            };
            let alone = &run(["--seed", &seed.to_string()])[&seed];
            let here = hash_here(seed, false);
            if alone != hash || here != *hash {
                differ.push(format!(
                    "seed {seed}: {hash} in a batch, {alone} alone, {here} in this build"
                ));
            }
        }
    };
    let differ = std::thread::scope(|scope| {
        let threads = [scope.spawn(differ), scope.spawn(differ)];
        threads
            .map(|thread| thread.join().expect("a thread"))
            .concat()
    });
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    for seed in [1, 7, 12] {
        assert_eq!(
            hash_here(seed, true),
            batch[&seed],
            "with its events, seed {seed}"
        );
        let replayed = trialog(&["sim", "replay", &seed.to_string(), "--duration", DURATION]);
        let log = String::from_utf8(replayed.stdout).expect("text");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains(&batch[&seed]),
            "replayed, seed {seed}: {last}"
        );
        assert!(log.lines().count() > 1000, "the log has the events");
    }
}

fn hash_here(seed: u64, keep_log: bool) -> String {
    let options = Options {
        duration_ms: DURATION_MS,
        keep_log,
        ..Options::default()
    };
    format!("{:016x}", trialog_sim::run(seed, &options).hash)
}

#[test]
fn a_planted_bug_is_found_printed_and_replayed() {
    let found = trialog(&[
        "sim",
        "mutants",
        "--only",
        "ForgetProducerState",
        "--json",
        "--seeds",
        "300",
    ]);
    let object = objects(&found).remove(0);
    assert_eq!(object["killed"], true, "{object}");
    assert_eq!(found.status.code(), Some(0), "{object}");
    let line = object["replay"]
        .as_str()
        .expect("the line that replays it")
        .to_owned();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let again = trialog(&words);
    assert_eq!(again.status.code(), Some(1), "{line}");
    let log = String::from_utf8(again.stdout).expect("text");
    assert!(log.contains("VIOLATED"), "{line}");
}

#[test]
fn wrong_usage_is_code_64() {
    for wrong in [
        vec!["sim", "run", "--seeds", "9..1"],
        vec!["sim", "run", "--duration", "1 hour"],
        vec!["sim", "mutants", "--only", "Nobody"],
        vec!["sim", "mutants", "--only", "AckBeforeSync,Nobody"],
        vec!["sim", "replay"],
        vec!["sim", "dance"],
    ] {
        assert_eq!(trialog(&wrong).status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn a_run_that_does_too_little_says_what_it_lacked() {
    // The last of all seeds, and nothing after it.
    let seed = u64::MAX.to_string();
    let short = ["--seed", &seed, "--duration", "1ms"];
    for json in [&[][..], &["--json"]] {
        let ran = trialog(&[&["sim", "run"], &short[..], json].concat());
        assert_eq!(ran.status.code(), Some(2));
        let text = String::from_utf8(ran.stdout).expect("text");
        assert!(text.contains(" kinds of fault of at least 3"), "{text}");
        assert_eq!(text.matches(&seed).count(), 1, "{text}");
    }
    let again = trialog(&["sim", "replay", &seed, "--duration", "1ms"]);
    let text = String::from_utf8(again.stdout).expect("text");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains(" kinds of fault of at least 3"), "{last}");
}
