//! Power cuts of the real broker under acks=all load, on a file system that forgets what was not synced.
//!
//! A cut loses, tears or keeps everything unsynced, as the round's seed says, and strikes at any moment, between two chosen operations
//! of the disk, after a clean stop or in the middle of one. Afterwards nothing that was acknowledged or read may be lost or change.
//!
//! That this would notice a sync that is missing is shown for each sync by itself: the [table] says what breaks without it.
#![cfg(not(madsim))]

#[path = "power/stage.rs"]
mod stage;
#[path = "power/stories.rs"]
mod stories;
#[path = "power/table.rs"]
mod table;

use stage::{Stage, Told};
use std::collections::BTreeSet;
use std::time::Duration;
use table::Sync;
use trialog_tests::broker::{self, Broker, Kind, Setup};
use trialog_tests::crashfs::{CrashFs, CutReport, Plan, SyncKind};
use trialog_tests::load::{Load, Loads, Verdict};

struct Ground {
    fs: CrashFs,
    setup: Setup,
    // Declared last: dropped after the file system below it is unmounted.
    _home: tempfile::TempDir,
}

fn ground(kind: Kind) -> Ground {
    let home = tempfile::tempdir().expect("a home");
    let fs = CrashFs::mount().expect("the crash file system mounts: /dev/fuse and fusermount3");
    let setup =
        Setup::new(kind, home.path(), &fs.path().join("data")).with("log.segment.bytes", "1048576");
    setup.format();
    Ground {
        fs,
        setup,
        _home: home,
    }
}

/// How a round ends.
#[derive(Clone, Copy, Debug)]
enum Strike {
    /// After so long.
    After(Duration),
    /// After so many further changes and syncs of the disk.
    Between(u64),
    /// After a clean stop.
    Stopped,
    /// After so many changes and syncs of a clean stop.
    Stopping(u64),
}

fn strike(seed: u64) -> Strike {
    match seed % 4 {
        0 => Strike::After(Duration::from_millis(200 + seed * 137 % 700)),
        1 => Strike::Between(40 + seed * 7919 % 400),
        2 => Strike::Stopped,
        _ => Strike::Stopping(seed * 7919 % 160),
    }
}

/// One round of load that a cut ends.
fn round(
    ground: &mut Ground,
    running: &mut Broker,
    load: &Load,
    strike: Strike,
    plan: Plan,
) -> Result<CutReport, String> {
    let fs = &mut ground.fs;
    let mut stopped = Ok(());
    let report = load.run(&ground.setup.bootstrap(), || {
        match strike {
            Strike::After(time) => std::thread::sleep(time),
            Strike::Between(operations) => {
                std::thread::sleep(Duration::from_millis(150));
                fs.hold_after(operations);
                fs.held(Duration::from_secs(3)); // an idle disk is cut where it stands
            }
            Strike::Stopped => {
                std::thread::sleep(Duration::from_millis(300));
                let (status, _) = running.stop();
                if !status.success() {
                    stopped = Err(format!("the clean stop ended with {status}"));
                }
            }
            Strike::Stopping(operations) => {
                std::thread::sleep(Duration::from_millis(300));
                running.begin_stop();
                fs.hold_after(operations);
                fs.held(Duration::from_millis(500)); // a stop may be over by then
            }
        }
        fs.power_cut(plan, || running.kill())
            .expect("the file system comes back")
    });
    stopped.map(|()| report)
}

/// Rounds of cuts; stops at the first round with a complaint and returns its verdict, else the verdict on all of them, or why the
/// broker did not come back.
fn rounds(
    ground: &mut Ground,
    running: Broker,
    loads: &mut Loads,
    seeds: std::ops::Range<u64>,
    plan: impl Fn(u64) -> Plan,
) -> Result<Verdict, String> {
    let mut running = running;
    for seed in seeds {
        // Apache Kafka syncs neither what its format tool wrote nor the names of new partition directories.
        let settles = ground.setup.kind() == Kind::Kafka && loads.begin_topic();
        let load = loads
            .next(&mut running.client())
            .map_err(|why| format!("seed {seed}: {why}"))?;
        if settles {
            ground.fs.settle();
        }
        let before = load.acknowledged();
        let strike = strike(seed);
        let report = round(ground, &mut running, load, strike, plan(seed))
            .map_err(|why| format!("seed {seed}: {why}"))?;
        let acknowledged = load.acknowledged() - before;
        running = ground
            .setup
            .try_start(Duration::from_secs(30))
            .map_err(|why| format!("seed {seed}, {report:?}: {why}"))?;
        let last = loads.judge_last(&mut running.client());
        println!(
            "seed {seed}, {strike:?}: {acknowledged} acknowledged, {} in all, {} found, {} lost, {report:?}, served again in {:?}",
            last.acknowledged,
            last.found,
            last.lost,
            running.started_in()
        );
        if !last.complaints.is_empty() {
            return Ok(last);
        }
    }
    Ok(loads.judge_all(&mut running.client()))
}

#[test]
fn acknowledged_records_survive_power_cuts() {
    let mut ground = ground(broker::target());
    let configs: &[(&str, &str)] = if broker::target() == Kind::Kafka {
        &[("flush.messages", "1")]
    } else {
        &[]
    };
    let running = ground.setup.start();
    let mut loads = Loads::new("power", 4, configs);
    let verdict = rounds(
        &mut ground,
        running,
        &mut loads,
        0..broker::full_or_smoke(50, 4),
        Plan::drawn,
    )
    .unwrap_or_else(|why| panic!("{why}"));
    assert!(verdict.complaints.is_empty(), "{verdict:#?}");
    println!("{verdict:?}");
    assert!(
        verdict.acknowledged > 1000,
        "{verdict:?}: too little to prove anything"
    );
}

/// The proof that the file system bites: Apache Kafka at its defaults acknowledges what only the page cache has.
#[test]
fn apache_kafka_at_its_defaults_loses_what_it_acknowledged() {
    let mut ground = ground(Kind::Kafka);
    let running = ground.setup.start();
    let mut loads = Loads::new("power", 2, &[]);
    let verdict = rounds(&mut ground, running, &mut loads, 0..1, |_| Plan::lost())
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(
        verdict.lost > 0 && verdict.lost as f64 > 0.9 * verdict.acknowledged as f64,
        "{verdict:#?}"
    );
}

/// Plays a story with a sync missing: what it tells, how many syncs were not done, and what was synced.
fn play(
    story: fn(&mut Stage) -> Told,
    missing: Option<&Sync>,
) -> (Told, u64, BTreeSet<(SyncKind, String)>) {
    let mut stage = Stage::new(missing.map(Sync::rule));
    let told = story(&mut stage);
    stage.cut(Plan::lost());
    (told, stage.missed(), std::mem::take(&mut stage.heard))
}

/// A complaint on one line: what it says first, and last, which of a broker's log is why it ended.
fn brief(why: &str) -> String {
    let (mut lines, last) = (why.lines(), why.lines().next_back());
    let first = lines.next().unwrap_or_default();
    match last.filter(|last| *last != first) {
        Some(last) => format!("{first}: {last}"),
        None => first.to_owned(),
    }
}

/// `TRIALOG_SYNC` chooses by a part of the name.
fn chosen(sync: &&Sync) -> bool {
    match std::env::var("TRIALOG_SYNC") {
        Ok(part) => sync.site.contains(&part),
        Err(_) => sync.smoke || broker::at_full_size(),
    }
}

#[test]
fn every_sync_is_needed() {
    let (mut failures, mut well): (Vec<String>, Vec<usize>) = Default::default();
    let mut synced = BTreeSet::new();
    for sync in table::SYNCS.iter().filter(chosen) {
        if !well.contains(&(sync.story as usize)) {
            well.push(sync.story as usize);
            // Once more if it fails: a machine that stands still for a while makes clients give up.
            let (told, _, heard) = match play(sync.story, None) {
                (Err(_), ..) => play(sync.story, None),
                well => well,
            };
            synced.extend(
                heard
                    .into_iter()
                    .map(|(kind, path)| (kind, table::of(&path))),
            );
            if let Err(why) = told {
                failures.push(format!("{}, and no sync is missing: {why}", sync.site));
            }
        }
        // A machine that stands still for a while may miss the moment of a sync.
        let mut plays = (0..3).map(|_| play(sync.story, Some(sync)));
        let played = plays.find(|(_, ignored, _)| *ignored > 0);
        match played.unwrap_or((Ok(()), 0, BTreeSet::new())) {
            (Err(why), 1.., _) if why.contains(sync.shows) => {
                println!("{}: {}", sync.site, brief(&why));
            }
            (told, ignored, _) => failures.push(format!(
                "{}: {ignored} syncs are missing, and it told {told:?}",
                sync.site
            )),
        }
    }
    for spared in table::SPARED {
        println!("{}: spared: {}", spared.site, spared.why);
    }
    assert!(failures.is_empty(), "{failures:#?}");
    let unknown: Vec<_> = synced.difference(&table::kinds()).cloned().collect();
    assert!(
        unknown.is_empty(),
        "no line of the table is about {unknown:?}"
    );
}

#[test]
fn every_place_that_syncs_is_in_the_table() {
    let core = broker::root().join("core/src");
    let mut places = Vec::new();
    let mut open = vec![core.clone()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory of the core") {
            let path = entry.expect("an entry").path();
            let below = path
                .strip_prefix(&core)
                .expect("below")
                .display()
                .to_string();
            if path.is_dir() && !below.ends_with("tests") {
                open.push(path);
            } else if below.ends_with(".rs") && below != "io.rs" && !below.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let asks = [
                    "self.sync_dir(",
                    "self.sync_file(",
                    "DiskOp::Sync {",
                    "DiskOp::SyncDir {",
                ];
                let count = asks.iter().map(|ask| text.matches(ask).count()).sum();
                places.push((below, count));
            }
        }
    }
    places.retain(|(_, count): &(String, usize)| *count > 0);
    places.sort();
    let known: Vec<(String, usize)> = table::PLACES
        .iter()
        .map(|(place, count)| ((*place).to_owned(), *count))
        .collect();
    assert_eq!(places, known);
}

/// Wherever the power fails while a directory is formatted: it is formatted, or can be.
#[test]
fn a_format_is_whole_or_can_be_repeated() {
    let mut whole = 0;
    for operations in (0..=24).step_by(broker::full_or_smoke(1, 6)) {
        let mut stage = Stage::new(None);
        stage.fs.hold_after(operations);
        stage.cut_when_frozen(Plan::drawn(operations), |_| (), |setup| setup.try_format());
        let formatted = stage.names("").iter().any(|name| name == "meta.properties");
        whole += u32::from(formatted);
        let served = match formatted {
            true => stage.start(),
            false => stage.begin(),
        };
        let made = served.and_then(|()| stage.topic(stage::TOPIC, &[]));
        made.unwrap_or_else(|why| panic!("after {operations} operations: {why}"));
    }
    assert!(whole > 0);
}
