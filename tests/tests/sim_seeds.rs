//! The simulator through the built binary: seeds in bulk, and one hash however a seed is run.
#![cfg(not(madsim))]

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value;
use trialog_sim::Options;

const DURATION: &str = "20s";
const DURATION_MS: u64 = 20_000;

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
}

#[test]
fn a_seed_has_one_hash_however_it_is_run() {
    let batch = trialog(&[
        "sim",
        "run",
        "--seeds",
        "1..12",
        "--jobs",
        "3",
        "--duration",
        DURATION,
        "--json",
    ]);
    let batch = hashes(&objects(&batch));
    assert_eq!(batch.len(), 12);
    for seed in [1, 7, 12] {
        let alone = trialog(&[
            "sim",
            "run",
            "--seed",
            &seed.to_string(),
            "--duration",
            DURATION,
            "--json",
        ]);
        assert_eq!(
            hashes(&objects(&alone))[&seed],
            batch[&seed],
            "alone, seed {seed}"
        );
        // This test is built without optimization, the binary with it (or the other way round).
        let options = Options {
            duration_ms: DURATION_MS,
            ..Options::default()
        };
        for keep_log in [false, true] {
            let here = trialog_sim::run(
                seed,
                &Options {
                    keep_log,
                    ..options
                },
            );
            assert_eq!(
                format!("{:016x}", here.hash),
                batch[&seed],
                "in this build, seed {seed}"
            );
        }
        let replayed = trialog(&["sim", "replay", &seed.to_string(), "--duration", DURATION]);
        let log = String::from_utf8(replayed.stdout).expect("text");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains(&batch[&seed]),
            "replayed, seed {seed}: {last}"
        );
        assert!(log.lines().count() > 1000, "the log has the events");
    }
    let distinct: std::collections::BTreeSet<&String> = batch.values().collect();
    assert_eq!(distinct.len(), 12, "different seeds do different things");
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
