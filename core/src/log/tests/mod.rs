//! The store on a disk that may do whatever the boundary's contract allows.

mod checkpoints;
mod damage;
mod disk;
mod full;
mod held;
mod limits;
mod recovery;
mod rolling;
mod start_offset;
mod world;

use proptest::prelude::*;

use self::world::{META, ROOT, World, batch, boot, topic_id};
use crate::ids::{DirId, LogId, Offset, PartitionIndex};
use crate::io::{LogDirBoot, Name};
use crate::log::{LogConfig, LogStore, NewLog, Notice, ReadError, StoreConfig};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::work::TimestampTarget;

fn small() -> StoreConfig {
    StoreConfig {
        hot_bytes: 4000,
        cold_bytes: 20_000,
        cold_files: 2,
        concurrency: 2,
        frontier_bytes: 800,
        ..StoreConfig::default()
    }
}

fn small_log() -> LogConfig {
    LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 200,
        ..LogConfig::default()
    }
}

fn values(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|n| format!("value {n} {}", "x".repeat(n * 7 % 60)))
        .collect()
}

/// Values whose batches span sectors.
fn long_values(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|n| format!("value {n} {}", "x".repeat(n * 37 % 400)))
        .collect()
}

/// A world with the empty log `t`.
fn with_log(seed: u64) -> (World, LogId) {
    let mut world = World::new(seed, small());
    world.start();
    let id = world.create("t", small_log());
    (world, id)
}

/// A world with the log `t` of `count` records, settled.
fn world_with(seed: u64, count: usize) -> World {
    let (mut world, id) = with_log(seed);
    for n in (0..count).step_by(2) {
        let records = values(n, 2.min(count - n));
        world.put(id, &batch(&records, 1000 + n as i64, None));
        for _ in 0..4 {
            world.step();
        }
    }
    world.settle();
    world
}

#[test]
fn what_is_appended_is_durable_and_read_back() {
    for seed in 0..20 {
        let mut world = world_with(seed, 100);
        let id = world.find("t");
        assert_eq!(world.durable(id), 100);
        assert!(world.marked(Mark::SegmentRolled));
        assert!(world.marked(Mark::FrontierRotated));
        assert_eq!(world.values(id), values(0, 100));
        for from in [0, 1, 17, 63, 99] {
            let records = world.read(id, from).expect("readable");
            assert!(records.first <= Offset(from) && records.next > Offset(from));
        }
        assert_eq!(
            world.read(id, 101),
            Err(ReadError::OutOfRange {
                start: Offset(0),
                end: Offset(100)
            })
        );
    }
}

#[test]
fn a_clean_stop_is_trusted_and_leaves_kafkas_files() {
    for seed in 0..20 {
        let mut world = world_with(seed, 100);
        world.stop();
        let tree = world.disk.tree();
        assert_eq!(
            tree[".kafka_cleanshutdown"],
            b"{\"version\":0,\"brokerEpoch\":5}"
        );
        assert!(
            !tree.keys().any(|name| name.contains("frontier")),
            "{:?}",
            tree.keys()
        );
        assert!(tree.contains_key("t-0/00000000000000000000.index"));
        assert!(tree.contains_key("t-0/00000000000000000100.snapshot"));
        let points = String::from_utf8(tree["recovery-point-offset-checkpoint"].clone());
        assert!(points.expect("text").contains("\nt 0 100\n"));
        for name in tree
            .keys()
            .filter(|name| name.ends_with(".log") && name.starts_with("t-0"))
        {
            let base = name.trim_end_matches(".log");
            assert!(tree.contains_key(&format!("{base}.timeindex")), "{base}");
        }
        world.events.clear();
        world.start();
        assert!(world.marked(Mark::CleanStart));
        assert!(!world.marked(Mark::IndexRebuilt));
        let id = world.find("t");
        assert_eq!(world.durable(id), 100);
        assert_eq!(world.values(id), values(0, 100));
        world.put(id, &batch(&values(100, 3), 5, None));
        world.settle();
        assert_eq!(world.values(id), values(0, 103));
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    for seed in 0..50 {
        let mut world = world_with(seed, 60);
        let id = world.restart(false);
        assert_eq!(world.values(id), values(0, 60));
        assert_eq!(world.durable(id), 60, "seed {seed}");
    }
}

/// One life after another, power cuts at any step: what was told to be durable is there, in order, without gaps.
fn power_cuts(seed: u64, mutants: Mutants) -> Result<(), String> {
    let mut world = World::new(seed, small());
    world.mutants = mutants;
    let mut accepted: Vec<String> = Vec::new();
    let mut durable = 0;
    let mut exists = false;
    for life in 0..6 {
        world.call(LogStore::start);
        let mut left = 20 + world.dice.below(600);
        let mut id = None;
        while left > 0 {
            left -= 1;
            if !world.step() && id.is_some() && left.is_multiple_of(3) {
                left = left.min(60);
            }
            if let Some(Notice::Fatal(message)) =
                world.told.iter().find(|n| matches!(n, Notice::Fatal(_)))
            {
                return Err(message.clone());
            }
            for notice in &world.told {
                if let Notice::Offline(_, message) = notice {
                    return Err(message.clone());
                }
            }
            let all = world.told.contains(&Notice::AllOpened);
            let known = world
                .store
                .find(world::topic_id("t"), crate::ids::PartitionIndex(0));
            if all && known.is_none() {
                if exists {
                    return Err("the log is gone".to_owned());
                }
                accepted.clear();
                world.begin_create("t", small_log());
            }
            let Some(log) = known else { continue };
            let Some(view) = world.store.view(log).filter(|view| view.online) else {
                continue;
            };
            exists |= world.told.contains(&Notice::Opened(log));
            if id != Some(log) {
                id = Some(log);
                let (end, promised) = (view.end.0 as usize, view.durable.0 as usize);
                if end < durable {
                    return Err(format!(
                        "life {life}: {durable} were durable, {end} are there"
                    ));
                }
                if promised > end || end > accepted.len() {
                    return Err(format!(
                        "life {life}: {end} of {} are there",
                        accepted.len()
                    ));
                }
                accepted.truncate(end);
            }
            durable = durable.max(world.store.view(log).map_or(0, |v| v.durable.0 as usize));
            if world.dice.one_in(3) {
                let count = 1 + world.dice.below(4);
                let records = long_values(accepted.len() + life * 1000, count);
                let done = world
                    .append(log, &batch(&records, 5, None))
                    .map_err(|e| e.to_string())?;
                if done.base.0 as usize != accepted.len() {
                    return Err(format!(
                        "offset {} for record {}",
                        done.base,
                        accepted.len()
                    ));
                }
                accepted.extend(records);
            }
            durable = durable.max(world.store.view(log).map_or(0, |v| v.durable.0 as usize));
        }
        let power = !world.dice.one_in(4);
        if world.dice.one_in(5) && exists {
            world.settle();
            world.stop();
        } else {
            world.crash(power);
        }
    }
    world.start();
    if !exists {
        return Ok(());
    }
    let offline = world.told.iter().find_map(|notice| match notice {
        Notice::Offline(_, message) | Notice::Fatal(message) => Some(message.clone()),
        _ => None,
    });
    if let Some(message) = offline {
        return Err(message);
    }
    let Some(id) = world
        .store
        .find(world::topic_id("t"), crate::ids::PartitionIndex(0))
    else {
        return Err("the log is gone".to_owned());
    };
    let end = world.store.view(id).map_or(0, |view| view.end.0 as usize);
    if end < durable || end > accepted.len() {
        return Err(format!("{end} are there, {durable} were durable"));
    }
    accepted.truncate(end);
    let there = world.values(id);
    if there != accepted {
        return Err("the records are not those that were appended".to_owned());
    }
    Ok(())
}

#[test]
fn nothing_durable_is_lost_in_power_cuts() {
    for seed in 0..100 {
        if let Err(message) = power_cuts(seed, Mutants::NONE) {
            panic!("seed {seed}: {message}");
        }
    }
}

/// Seeds until a broken rule shows.
fn seeds_to_find(mutant: Mutant) -> Option<u64> {
    (0..400).find(|seed| {
        std::panic::catch_unwind(|| power_cuts(*seed, Mutants::only(mutant)))
            .map_or(true, |verdict| verdict.is_err())
    })
}

/// A story that is told with one rule broken goes wrong.
fn goes_wrong(mutant: Mutant, story: fn(Mutants)) -> bool {
    std::panic::catch_unwind(|| story(Mutants::only(mutant))).is_err()
}

#[test]
fn broken_rules_are_found() {
    for mutant in [
        Mutant::AckBeforeSync,
        Mutant::ForgetDirectorySync,
        Mutant::SkipTornTailCheck,
    ] {
        assert!(seeds_to_find(mutant).is_some(), "{mutant:?}");
    }
}

#[test]
fn rot_below_the_frontier_takes_the_partition_offline_and_names_the_place() {
    let mut world = world_with(3, 60);
    world.crash(true);
    world
        .disk
        .rot("t-0/00000000000000000000.log", |bytes| bytes[100] ^= 1);
    let last = world
        .disk
        .tree()
        .keys()
        .rfind(|name| name.starts_with("t-0/") && name.ends_with(".log"))
        .cloned()
        .expect("there");
    world.disk.rot(&last, |bytes| bytes[90] ^= 1);
    world.start();
    let id = world.find("t");
    let view = world.store.view(id).expect("there");
    let message = view.offline.expect("offline").to_owned();
    assert!(message.contains(".log is damaged at byte"), "{message}");
    assert!(message.contains("Restore the directory"), "{message}");
    assert!(world.marked(Mark::RotDetected));
    // It stays known and offline over a clean stop: no marker is written.
    world.stop();
    assert!(!world.disk.tree().contains_key(".kafka_cleanshutdown"));
    world.start();
    let id = world.find("t");
    assert!(world.store.view(id).expect("there").offline.is_some());
}

#[test]
fn producers_survive_a_clean_stop_and_a_crash() {
    for seed in 0..20 {
        let (mut world, id) = with_log(seed);
        let sent = |n: i32| batch(&values(n as usize, 2), 2_000_000, Some((9, 1, n)));
        for n in (0..60).step_by(2) {
            world.put(id, &sent(n));
        }
        world.settle();
        for clean in [true, false] {
            if clean {
                world.stop();
            } else {
                world.crash(true);
            }
            world.start();
            let id = world.find("t");
            let again = world.append(id, &sent(58)).expect("answered");
            assert!(again.duplicate);
            assert_eq!((again.base, again.last), (Offset(58), Offset(59)));
            assert_eq!(world.append(id, &sent(62)).map_err(|e| e.code()), Err(45));
            assert_eq!(world.store.view(id).expect("there").end, Offset(60));
        }
        world.mutants = Mutants::only(Mutant::ForgetProducerState);
        let id = world.restart(true);
        assert!(!world.append(id, &sent(58)).expect("taken").duplicate);
    }
}

#[test]
fn lookups_by_timestamp_find_the_first_record() {
    let mut world = world_with(5, 100);
    for restart in [false, true] {
        if restart {
            world.stop();
            world.start();
        }
        let id = world.find("t");
        let mut ask = |target| world.look_up(id, target);
        for n in 0..50 {
            let first = (1000 + 2 * n, 2 * n);
            assert_eq!(ask(TimestampTarget::AtLeast(1000 + 2 * n)), Some(first));
            assert_eq!(ask(TimestampTarget::AtLeast(999 + 2 * n)), Some(first));
        }
        assert_eq!(ask(TimestampTarget::AtLeast(1099)), None);
        assert_eq!(ask(TimestampTarget::Max), Some((1098, 98)));
    }
}

#[test]
fn records_are_deleted_up_to_an_offset_and_stay_deleted() {
    let mut world = world_with(5, 100);
    let id = world.find("t");
    let refused = world.call(|store, cx| store.delete_records(cx, id, Offset(51)));
    assert!(refused.is_err(), "above the high watermark");
    world.store.note_high_watermark(id, Offset(100));
    world
        .call(|store, cx| store.delete_records(cx, id, Offset(51)))
        .expect("taken");
    world.settle();
    assert!(world.told.contains(&Notice::StartMoved(id, Offset(51))));
    let id = world.restart(true);
    assert_eq!(world.store.view(id).expect("there").start, Offset(51));
    assert_eq!(world.values(id), values(51, 49));
    assert!(matches!(
        world.read(id, 50),
        Err(ReadError::OutOfRange { .. })
    ));
    assert!(world.marked(Mark::RetentionDeletedSegment));
}

#[test]
fn retention_by_size_and_by_time_removes_old_segments() {
    let mut config = small_log();
    config.retention_bytes = 5000;
    let mut world = world_with(5, 200);
    let id = world.find("t");
    world.store.note_high_watermark(id, Offset(200));
    world.store.configure(id, config.clone());
    world.sleep(300_001);
    let view = world.store.view(id).expect("there");
    assert!(
        view.size_bytes < 5000 + 2000 && view.size_bytes >= 5000,
        "{}",
        view.size_bytes
    );
    let start = view.start;
    assert!(start > Offset(0));
    world.sleep(60_001);
    assert!(
        !world
            .disk
            .tree()
            .keys()
            .any(|name| name.ends_with(".deleted"))
    );
    // After a restart the greatest timestamps are read from the indexes.
    world.stop();
    world.start();
    let id = world.find("t");
    assert_eq!(world.store.view(id).expect("there").start, start);
    world.store.note_high_watermark(id, Offset(200));
    config.retention_ms = 1000;
    config.retention_bytes = -1;
    world.store.configure(id, config);
    world.sleep(300_001);
    let view = world.store.view(id).expect("there");
    assert_eq!(
        (view.start, view.end, view.size_bytes),
        (Offset(200), Offset(200), 0)
    );
}

#[test]
fn a_deleted_topic_goes_and_its_name_can_be_used_again() {
    let mut world = world_with(5, 100);
    let id = world.find("t");
    world.sleep(60_001); // its recovery point is checkpointed
    world.call(|store, cx| store.delete(cx, id));
    let again = world.begin_create_as("t", "another id", small_log());
    world.settle();
    assert!(world.told.contains(&Notice::Deleted(id)));
    assert!(world.told.contains(&Notice::Opened(again)));
    world.put(again, &batch(&values(0, 2), 5, None));
    world.settle();
    world.crash(true);
    world.start();
    let id = world.find("another id");
    assert_eq!(world.values(id), values(0, 2));
    assert!(
        !world
            .disk
            .tree()
            .keys()
            .any(|name| name.contains("-delete"))
    );
}

/// What the checkpoints say of a deleted log must never be held against the next one of its name.
#[test]
fn a_crash_in_the_creation_of_a_log_leaves_it_nothing_of_an_earlier_one_of_its_name() {
    deletes_and_creates(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::MakeBeforeNamesakeIsForgotten,
        deletes_and_creates
    ));
}

fn deletes_and_creates(mutants: Mutants) {
    let (mut cut_short, mut made) = (0, 0);
    for (seed, steps) in (0..6).flat_map(|seed| (0..60).map(move |steps| (seed, steps))) {
        let mut world = world_with(seed, 20);
        world.mutants = mutants;
        let id = world.find("t");
        world.store.note_high_watermark(id, Offset(20));
        world
            .call(|store, cx| store.delete_records(cx, id, Offset(5)))
            .expect("online");
        world.sleep(60_001); // its recovery point and its start are checkpointed
        world.call(|store, cx| store.delete(cx, id));
        let again = world.begin_create_as("t", "another id", small_log());
        for _ in 0..steps {
            world.step();
        }
        cut_short += usize::from(!world.told.contains(&Notice::Opened(again)));
        world.crash(seed % 2 == 0);
        world.start();
        if let Some(old) = world.store.find(topic_id("t"), PartitionIndex(0)) {
            world.call(|store, cx| store.delete(cx, old));
            world.settle();
        }
        let known = world.store.find(topic_id("another id"), PartitionIndex(0));
        made += usize::from(known.is_some());
        let id = known.unwrap_or_else(|| {
            let id = world.begin_create_as("t", "another id", small_log());
            world.settle();
            id
        });
        let view = world.store.view(id).expect("there");
        assert!(view.online, "seed {seed}, {steps}: {:?}", view.offline);
        assert_eq!((view.start, view.end), (Offset(0), Offset(0)));
        world.put(id, &batch(&values(0, 2), 5, None));
        world.settle();
        world.crash(true);
        world.start();
        let id = world.find("another id");
        assert_eq!(world.values(id), values(0, 2), "seed {seed}, {steps}");
    }
    assert!(cut_short > 50 && made > 50, "{cut_short} {made}");
}

/// A log that waits for the checkpoints to forget its namesake may be deleted, and does not keep a stop waiting.
#[test]
fn a_log_that_is_not_made_yet_may_be_deleted_and_left_to_a_stop() {
    for (seed, steps) in (0..6).flat_map(|seed| (0..40).map(move |steps| (seed, steps))) {
        let mut world = world_with(seed, 20);
        let id = world.find("t");
        world.sleep(60_001);
        world.call(|store, cx| store.delete(cx, id));
        let again = world.begin_create_as("t", "another id", small_log());
        for _ in 0..steps {
            world.step();
        }
        if seed % 2 == 0 {
            world.call(|store, cx| store.delete(cx, again));
            for _ in 0..seed {
                world.step();
            }
        }
        world.stop();
        world.start();
        let known = world.store.find(topic_id("another id"), PartitionIndex(0));
        let view = known.and_then(|id| world.store.view(id));
        assert!(view.is_none_or(|view| view.online), "seed {seed}, {steps}");
    }
}

/// The disk panics when a file is used after it was closed, or closed while it is used.
#[test]
fn a_log_may_be_deleted_at_any_moment() {
    for seed in 0..40 {
        let mut world = World::new(seed, small());
        world.start();
        let other = world.create("o", small_log());
        let id = world.begin_create("t", small_log());
        for n in 0..world.dice.below(120) {
            let _ = world.append(id, &batch(&long_values(n * 2, 2), 5, None));
            let _ = world.append(other, &batch(&long_values(n * 2, 2), 5, None));
            for _ in 0..world.dice.below(6) {
                world.step();
            }
            if world.dice.one_in(20) && world.store.view(id).is_some_and(|v| v.online) {
                let read = crate::log::Read {
                    from: Offset(0),
                    max_bytes: 100,
                    below: Offset(1000),
                    at_least_one: true,
                };
                let _ = world.call(|store, cx| store.read(cx, id, read));
            }
        }
        world.call(|store, cx| store.delete(cx, id));
        world.settle();
        assert!(world.told.contains(&Notice::Deleted(id)), "seed {seed}");
        assert!(world.store.view(id).is_none());
        let end = world.store.view(other).expect("there").end;
        assert_eq!(world.durable(other), end.0);
        world.stop();
        assert!(world.disk.tree().contains_key(".kafka_cleanshutdown"));
    }
}

#[test]
fn a_failed_sync_fences_the_directory() {
    let mut world = world_with(5, 10);
    let id = world.find("t");
    world.disk.fail_sync = true;
    world
        .append(id, &batch(&values(10, 2), 5, None))
        .expect("accepted");
    world.settle();
    assert_eq!(world.durable(id), 10);
    assert!(
        world
            .told
            .iter()
            .any(|n| matches!(n, Notice::DirectoryFailed(0)))
    );
    assert_eq!(
        world
            .append(id, &batch(&values(12, 2), 5, None))
            .map_err(|e| e.code()),
        Err(56)
    );
    assert!(matches!(world.read(id, 0), Err(ReadError::Offline(_))));
}

#[test]
fn a_directory_that_failed_serves_nothing_while_its_logs_go_out_of_service_one_by_one() {
    let config = StoreConfig {
        fenced_logs: 1,
        ..small()
    };
    for seed in 0..20 {
        let mut world = World::new(seed, config.clone());
        world.start();
        let logs = ["t", "u", "v"].map(|topic| world.create(topic, small_log()));
        world.disk.fail_sync = true;
        let records = batch(&values(0, 2), 5, None);
        for log in logs {
            world.append(log, &records).expect("accepted");
        }
        let offline = |world: &World| {
            let gone = |notice: &&Notice| matches!(notice, Notice::Offline(..));
            world.told.iter().filter(gone).count()
        };
        while offline(&world) == 0 {
            assert!(world.step(), "the sync has failed");
        }
        assert_eq!(offline(&world), 1, "the metadata log is the first");
        let mut next = logs.into_iter();
        loop {
            for log in logs {
                let refused = world.append(log, &records).map_err(|error| error.code());
                assert_eq!(refused, Err(56));
                assert!(matches!(world.read(log, 0), Err(ReadError::Offline(_))));
                let moved = world.call(|store, cx| store.delete_records(cx, log, Offset(0)));
                assert!(matches!(moved, Err(ReadError::Offline(_))));
            }
            let failed = world.told.contains(&Notice::DirectoryFailed(0));
            let Some(log) = next.next() else {
                assert!(failed, "all are out of service");
                break;
            };
            assert!(!failed, "{log:?} is in service");
            world.call(LogStore::on_wakeup);
        }
        assert_eq!(offline(&world), 4);
    }
}

#[test]
fn a_log_of_no_topic_is_set_aside_and_stays() {
    set_a_log_aside(Mutants::NONE);
    assert!(goes_wrong(Mutant::DeleteStray, set_a_log_aside));
}

fn set_a_log_aside(mutants: Mutants) {
    let mut world = world_with(5, 100);
    world.mutants = mutants;
    let log = "t-0/00000000000000000000.log";
    let content = world.disk.tree()[log].clone();
    let id = world.find("t");
    world.call(|store, cx| store.set_aside(cx, id));
    world.settle();
    assert!(world.told.contains(&Notice::Deleted(id)));
    for _ in 0..2 {
        world.sleep(600_000);
        let tree = world.disk.tree();
        let aside = tree
            .iter()
            .find(|(name, _)| name.contains("-stray/") && name.ends_with("00000.log"));
        let (name, kept) = aside.expect("set aside");
        assert!(name.starts_with("t-0."), "{name}");
        assert_eq!(*kept, content);
        world.crash(true);
        world.start();
    }
    let again = world.create("t", small_log());
    world.put(again, &batch(&values(0, 2), 5, None));
}

#[test]
fn a_directory_is_known_by_its_id_behind_one_that_is_not_known() {
    let (mut world, _) = world_with_two_directories(5);
    world.start();
    let [first, second] = [0, 1].map(|at| world.store.directory_id(at).expect("known"));
    assert_eq!(world.store.directory_of(second), Some(1));
    world.store.dirs[0].id = None;
    assert_eq!(world.store.directory_of(first), None);
    assert_eq!(world.store.directory_of(second), Some(1));
}

#[test]
fn a_metadata_log_in_another_directory_stops_the_start() {
    let (mut world, _) = world_with_two_directories(5);
    let lost = "other/__cluster_metadata-0/00000000000000000000.log";
    world.disk.put(lost, b"");
    world.start();
    let fatal = world.told.iter().find_map(|notice| match notice {
        Notice::Fatal(message) => Some(message),
        _ => None,
    });
    let message = fatal.expect("it does not start");
    assert!(message.contains("metadata.log.dir=/other"), "{message}");
    let tree = world.disk.tree();
    assert!(tree.contains_key(lost));
    assert!(
        !tree
            .keys()
            .any(|name| name.starts_with("__cluster_metadata-0"))
    );
}

/// The properties of the metadata log are the node's own: no topic of the metadata has to tell them.
#[test]
fn the_metadata_log_is_shortened_in_every_life() {
    let mut config = small();
    config.metadata_config = small_log();
    let mut world = World::new(5, config);
    for life in 0..3_i64 {
        world.start();
        let id = world.find_metadata();
        for nth in 0..100 {
            world.put(id, &batch(&values(nth, 1), 5, None));
            world.settle();
        }
        let view = world.store.view(id).expect("there");
        let (start, end) = (view.start, view.end);
        assert_eq!(end, Offset(100 * (life + 1)));
        world.store.note_high_watermark(id, end);
        world
            .call(|store, cx| store.delete_records(cx, id, end))
            .expect("taken");
        let before = world.store.view(id).expect("there").size_bytes;
        world.sleep(600_001);
        let view = world.store.view(id).expect("there");
        assert!(
            view.start > start && view.size_bytes < before / 2,
            "life {life}: {} of {before} bytes",
            view.size_bytes
        );
        world.crash(true);
    }
}

/// A world with a second log directory, whose logs go out of service one by one if it fails; it is not started.
fn world_with_two_directories(seed: u64) -> (World, DirId) {
    let config = StoreConfig {
        fenced_logs: 1,
        ..small()
    };
    let mut world = World::new(seed, config.clone());
    let other = DirId(ROOT.0 + 1);
    world.disk.add_root("other", other);
    let meta = String::from_utf8_lossy(META).replace("AAAAAQ", "AAAAAg");
    world.disk.put("other/meta.properties", meta.as_bytes());
    let mut boot = boot();
    boot.log_dirs.push(LogDirBoot {
        dir: other,
        path: "/other".to_owned(),
    });
    world.store = LogStore::new(config, &boot);
    (world, other)
}

/// As many logs in a second log directory, in which every sync fails; each log, or every other, has something to sync.
fn world_with_a_failing_directory(seed: u64, logs: usize) -> (World, Vec<LogId>) {
    let (mut world, other) = world_with_two_directories(seed);
    world.start();
    let logs: Vec<LogId> = (0..logs)
        .map(|n| {
            let new = NewLog {
                topic: format!("t{n}"),
                topic_id: topic_id(&format!("t{n}")),
                partition: PartitionIndex(0),
                config: small_log(),
                dir: Some(1),
            };
            world.call(|store, cx| store.create(cx, new))
        })
        .collect();
    world.settle();
    let records = batch(&values(0, 2), 5, None);
    for log in &logs {
        world.put(*log, &records);
    }
    world.settle(); // the epochs are written down
    world.disk.failing_root = Some(other);
    for log in logs.iter().step_by(1 + world.dice.below(2)) {
        world.put(*log, &records);
    }
    (world, logs)
}

#[test]
fn a_stop_does_not_wait_for_the_logs_of_a_directory_that_fails() {
    for seed in 0..100 {
        let (mut world, logs) = world_with_a_failing_directory(seed, 7);
        let stop_first = world.dice.one_in(2);
        let offline = |world: &World| world.told.iter().any(|n| matches!(n, Notice::Offline(..)));
        while !stop_first && !offline(&world) {
            assert!(world.step(), "the sync has failed");
        }
        world.call(|store, cx| store.shutdown(cx, 5));
        world.settle();
        assert!(world.told.contains(&Notice::Stopped), "seed {seed}");
        assert!(world.told.contains(&Notice::DirectoryFailed(1)));
        let offline = |log: &&LogId| !world.store.view(**log).is_some_and(|view| view.online);
        assert_eq!(logs.iter().filter(offline).count(), 7);
        assert!(world.disk.tree().contains_key(".kafka_cleanshutdown"));
        assert!(!world.disk.tree().contains_key("other/.kafka_cleanshutdown"));
    }
}

#[test]
fn a_stop_does_not_wait_for_what_found_no_room_in_a_directory_that_fails() {
    let mut found_no_room = 0;
    for seed in 0..300 {
        let (mut world, _) = world_with_two_directories(seed);
        world.start();
        for topic in ["t", "u", "v", "w"] {
            let log = world.create(topic, small_log());
            world.put(log, &batch(&values(0, 2), 5, None));
        }
        world.settle();
        world.disk.room = Some(0);
        world.call(|store, cx| store.shutdown(cx, 5));
        for _ in 0..world.dice.below(12) {
            world.step();
        }
        found_no_room += usize::from(world.store.plans.values().any(|plan| plan.waiting > 0));
        world.call(|store, cx| store.fence(cx, 1, "a sync".to_owned()));
        world.settle();
        assert!(world.told.contains(&Notice::Stopped), "seed {seed}");
    }
    assert!(found_no_room > 10, "{found_no_room}");
}

#[test]
fn a_directory_that_fails_while_its_logs_are_opened_is_left_as_it_is() {
    let mut fenced = 0;
    for seed in 0..100 {
        let (mut world, _) = world_with_two_directories(seed);
        for n in 0..8 {
            // Left by a crash while it was created: it goes when it is opened.
            let path = format!("other/t{n}-0/00000000000000000000.log");
            world.disk.put(&path, b"");
        }
        world.call(LogStore::start);
        let is_metadata = |notice: &Notice| matches!(notice, Notice::MetadataLogOpened(_));
        while !world.told.iter().any(is_metadata) {
            assert!(world.step(), "the metadata log opens");
        }
        for _ in 0..world.dice.below(150) {
            world.step();
        }
        fenced += usize::from(!world.store.all_open);
        world.call(|store, cx| store.fence(cx, 1, "a sync".to_owned()));
        let before = world.disk.renaming_outside(ROOT);
        loop {
            // What completes comes before the next wakeup, or behind it.
            let result = world.disk.complete(&mut world.dice);
            match result {
                Some((token, result)) => {
                    world.call(|store, cx| store.on_disk(cx, token, result));
                }
                None if !world.step() => break,
                None => {}
            }
            let now = world.disk.renaming_outside(ROOT);
            let new = now.iter().find(|op| !before.contains(op));
            assert_eq!(new, None, "seed {seed}");
        }
        assert!(world.told.contains(&Notice::DirectoryFailed(1)));
        assert!(world.told.contains(&Notice::AllOpened), "seed {seed}");
    }
    assert!(fenced > 20, "{fenced}");
}

#[test]
fn a_loosely_flushed_log_does_not_wait_for_syncs() {
    let mut world = World::new(5, small());
    world.start();
    let config = LogConfig {
        flush_messages: Some(10),
        ..small_log()
    };
    let id = world.create("t", config);
    world.put(id, &batch(&values(0, 2), 5, None));
    world.settle(); // the epoch is written down
    let before = world.disk.syncs;
    world.put(id, &batch(&values(2, 2), 5, None));
    world.settle();
    assert_eq!(world.durable(id), 4);
    assert_eq!(world.disk.syncs, before);
    world.put(id, &batch(&values(4, 6), 5, None));
    world.settle();
    assert!(world.disk.syncs > before);
}

#[test]
fn foreign_and_unformatted_directories_are_refused() {
    for (content, what) in [
        (None, "not formatted"),
        (
            Some(&b"version=1\nnode.id=2\ncluster.id=c\n"[..]),
            "belongs to node 2",
        ),
        (Some(&b"version=1\nnode.id=1\n"[..]), "names no cluster.id"),
        (Some(&b"garbage"[..]), "cannot be used"),
    ] {
        let mut world = World::new(1, small());
        world.disk.remove("", "meta.properties");
        if let Some(content) = content {
            world.disk.put("meta.properties", content);
        }
        world.start();
        let fatal = world.told.iter().find_map(|notice| match notice {
            Notice::Fatal(message) => Some(message.clone()),
            _ => None,
        });
        assert!(fatal.expect("refused").contains(what), "{what}");
    }
}

#[test]
fn leftovers_of_interrupted_operations_are_tidied() {
    let mut world = world_with(5, 40);
    world.crash(true);
    for leftover in [
        "t-0/00000000000000000900.log.deleted",
        "t-0/00000000000000000000.log.cleaned",
        "t-0/leader-epoch-checkpoint.tmp",
        "t-0/00000000000000000900.index",
        "gone-0.0123456789abcdef-delete/00000000000000000000.log",
        "half-0/00000000000000000000.log",
    ] {
        world.disk.put(leftover, b"");
    }
    world.disk.put("t-0/quorum-state", b"kept");
    world.start();
    let id = world.find("t");
    assert_eq!(world.values(id), values(0, 40));
    let tree = world.disk.tree();
    for gone in [
        ".deleted",
        ".cleaned",
        ".tmp",
        "00900.index",
        "-delete",
        "half-0",
    ] {
        assert!(!tree.keys().any(|name| name.contains(gone)), "{gone}");
    }
    assert_eq!(tree["t-0/quorum-state"], b"kept");
}

#[test]
fn files_of_other_rooms_are_replaced_whole() {
    let mut world = World::new(5, small());
    world.start();
    let id = world.find_metadata();
    let name = Name::new("quorum-state").expect("a name");
    let read = world.call(|store, cx| store.read_file(cx, id, name.clone()));
    world.settle();
    assert!(world.told.contains(&Notice::FileRead(read, Ok(None))));
    let write = world.call(|store, cx| store.replace_file(cx, id, name.clone(), "state".into()));
    world.settle();
    assert!(world.told.contains(&Notice::FileReplaced(write, Ok(()))));
    world.crash(true);
    world.start();
    let id = world.find_metadata();
    let read = world.call(|store, cx| store.read_file(cx, id, name));
    world.settle();
    assert!(
        world
            .told
            .contains(&Notice::FileRead(read, Ok(Some("state".into()))))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// A vector of values beside the log, over appends, restarts and kills.
    #[test]
    fn the_log_is_a_vector(seed in any::<u64>(), moves in prop::collection::vec((0..10_u8, 1..6_usize), 1..60)) {
        let mut world = World::new(seed, small());
        world.start();
        world.create("t", small_log());
        let mut model: Vec<String> = Vec::new();
        for (what, count) in moves {
            let id = world.find("t");
            match what {
                0 => { world.stop(); world.start(); }
                1 => { world.settle(); world.crash(true); world.start(); }
                2 => prop_assert_eq!(&world.values(id), &model),
                _ => {
                    let records = values(model.len(), count);
                    let done = world.put(id, &batch(&records, 5, None));
                    prop_assert_eq!(done.base.0 as usize, model.len());
                    model.extend(records);
                    for _ in 0..count { world.step(); }
                    if what == 3 { world.settle(); }
                }
            }
            if what < 2 {
                let id = world.find("t");
                prop_assert_eq!(&world.values(id), &model);
            } else if what == 9 {
                world.settle();
            }
        }
    }
}
