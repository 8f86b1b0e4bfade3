//! Power cuts of the real broker under acks=all load, on a file system that forgets what was not synced.
//!
//! A cut loses, tears or keeps everything unsynced, as the round's seed says, and strikes either at any moment or between two
//! chosen operations of the disk. Afterwards nothing that was acknowledged or read may be lost or change.
#![cfg(not(madsim))]

use std::time::Duration;
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
}

fn strike(seed: u64) -> Strike {
    if seed.is_multiple_of(2) {
        Strike::After(Duration::from_millis(200 + seed * 137 % 700))
    } else {
        Strike::Between(40 + seed * 7919 % 400)
    }
}

/// One round of load that a cut ends.
fn round(
    ground: &mut Ground,
    running: &mut Broker,
    load: &Load,
    strike: Strike,
    plan: Plan,
) -> CutReport {
    let fs = &mut ground.fs;
    load.run(&ground.setup.bootstrap(), || {
        match strike {
            Strike::After(time) => std::thread::sleep(time),
            Strike::Between(operations) => {
                std::thread::sleep(Duration::from_millis(150));
                fs.hold_after(operations);
                fs.held(Duration::from_secs(3)); // an idle disk is cut where it stands
            }
        }
        fs.power_cut(plan, || running.kill())
            .expect("the file system comes back")
    })
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
        let report = round(ground, &mut running, load, strike(seed), plan(seed));
        let acknowledged = load.acknowledged() - before;
        running = ground
            .setup
            .try_start(Duration::from_secs(30))
            .map_err(|why| format!("seed {seed}, {report:?}: {why}"))?;
        let last = loads.judge_last(&mut running.client());
        println!(
            "seed {seed}: {acknowledged} acknowledged, {} in all, {} found, {} lost, {report:?}, served again in {:?}",
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

/// Three rounds, each with a new topic, load, and a cut that loses everything unsynced; syncs of `ignored` are answered and not done.
fn with_ignored(ignored: Option<(SyncKind, &str)>) -> Result<u64, String> {
    let mut ground = ground(broker::target());
    if let Some((kind, suffix)) = ignored {
        ground.fs.ignore(kind, suffix);
    }
    let mut running = ground.setup.try_start(Duration::from_secs(20))?;
    let mut loads = Vec::new();
    let mut ignored = 0;
    for round_number in 0..3 {
        let topic = format!("round-{round_number}");
        let load = Load::new(&mut running.client(), &topic, 2, &[("segment.ms", "100")])
            .map_err(|why| why.to_string())?;
        let fs = &mut ground.fs;
        load.run(&ground.setup.bootstrap(), || {
            std::thread::sleep(Duration::from_millis(400));
            // Whoever uses the disk is stopped first, so that every sync of the round is counted.
            running.kill();
        });
        ignored += fs.ignored();
        fs.power_cut(Plan::lost(), || ())
            .map_err(|why| why.to_string())?;
        loads.push(load);
        running = ground.setup.try_start(Duration::from_secs(20))?;
        for load in &loads {
            let verdict = load.judge(&mut running.client());
            if let Some(complaint) = verdict.complaints.first() {
                return Err(complaint.clone());
            }
        }
    }
    Ok(ignored)
}

#[test]
fn every_kind_of_sync_is_needed() {
    assert_eq!(
        with_ignored(None),
        Ok(0),
        "with every sync done nothing is lost"
    );
    let kinds = [
        ("the bytes of logs", SyncKind::File, ".log"),
        (
            "the bytes of a file before it is renamed",
            SyncKind::File,
            ".tmp",
        ),
        (
            "the names in the log directory",
            SyncKind::Directory,
            "data",
        ),
        ("the names in every directory", SyncKind::Directory, ""),
        (
            "the names in the metadata log's directory",
            SyncKind::Directory,
            "__cluster_metadata-0",
        ),
        (
            "the names in a partition's directory",
            SyncKind::Directory,
            "-1",
        ),
    ];
    for (what, kind, suffix) in kinds {
        match with_ignored(Some((kind, suffix))) {
            Err(noticed) => println!("{what}: {}", noticed.lines().next().unwrap_or_default()),
            Ok(ignored) => {
                panic!("nothing was lost without the syncs of {what} ({ignored} of them ignored)")
            }
        }
    }
}
