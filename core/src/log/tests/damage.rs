//! What the store does about damage that it finds while it serves: indexes are rebuilt, logs go offline.

use super::world::World;
use super::{batch, small_log, values};
use crate::ids::{LogId, Lsn};
use crate::log::plan::CheckpointKind;
use crate::log::{Notice, ReadError, StoreConfig};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::work::TimestampTarget;

const RECORDS: usize = 100;

/// As [`super::world_with`]; after a restart, too, the indexes are as dense as the topic's.
fn world_with(seed: u64, count: usize) -> World {
    let mut world = super::world_with(seed, count);
    world.config.default_config = small_log();
    world
}

/// The names of the files of `t-0` that end with `suffix`, in order.
fn files(world: &World, suffix: &str) -> Vec<String> {
    let tree = world.disk.tree();
    let ours = |name: &&String| name.starts_with("t-0/") && name.ends_with(suffix);
    tree.keys().filter(ours).cloned().collect()
}

/// Every lookup by time is right: record `n` has the timestamp `1000 + n`, rounded down to its batch of two.
fn assert_lookups(world: &mut World, id: LogId) {
    let mut ask = |target| world.look_up(id, target);
    for n in 0..RECORDS as i64 / 2 {
        let found = ask(TimestampTarget::AtLeast(999 + 2 * n));
        assert_eq!(found, Some((1000 + 2 * n, 2 * n)));
    }
    assert_eq!(ask(TimestampTarget::AtLeast(1099)), None);
    assert_eq!(ask(TimestampTarget::Max), Some((1098, 98)));
}

#[test]
fn missing_and_wrong_indexes_are_rebuilt_on_disk() {
    for (seed, clean, lookups_first) in [
        (3, true, true),
        (4, true, false),
        (5, false, true),
        (6, false, false),
    ] {
        let mut world = world_with(seed, RECORDS);
        world.stop();
        let sound = world.disk.tree();
        let indexes = files(&world, "index");
        for (n, index) in indexes.iter().enumerate() {
            match n % 6 {
                0 => world.disk.remove("t-0", index.trim_start_matches("t-0/")),
                1 => world.disk.rot(index, |bytes| bytes.push(7)),
                2 => world
                    .disk
                    .rot(index, |bytes| bytes.iter_mut().for_each(|b| *b = 0xff)),
                3 => world.disk.rot(index, |bytes| *bytes = vec![0xa5; 240]),
                4 => world.disk.rot(index, Vec::clear),
                _ => {}
            }
        }
        if !clean {
            world.disk.remove("", ".kafka_cleanshutdown");
        }
        world.events.clear();
        world.start();
        let id = world.find("t");
        if lookups_first {
            assert_lookups(&mut world, id);
        }
        assert_eq!(world.values(id), values(0, RECORDS));
        assert_lookups(&mut world, id);
        assert!(world.marked(Mark::IndexRebuilt));
        // A power cut right after finds them durable.
        world.crash(true);
        let tree = world.disk.tree();
        let rolled = indexes.len() - 2;
        for index in &indexes[..rolled] {
            // An offset index that was cut to nothing is poor, not wrong.
            if !(tree[index].is_empty() && index.ends_with(".index")) {
                assert_eq!(tree[index], sound[index], "{index}");
            }
        }
        world.start();
        let id = world.find("t");
        assert_lookups(&mut world, id);
    }
}

#[test]
fn an_index_that_leads_astray_is_rebuilt() {
    for seed in 0..10 {
        let mut world = world_with(seed, RECORDS);
        world.stop();
        let sound = world.disk.tree();
        let index = files(&world, ".index").swap_remove(0);
        assert!(sound[&index].len() >= 16, "{} bytes", sound[&index].len());
        world.disk.rot(&index, |bytes| match seed % 2 {
            // Positions in the middle of batches.
            0 => bytes
                .chunks_mut(8)
                .for_each(|entry| entry[7] = entry[7].wrapping_add(5)),
            // Positions of later batches.
            _ => {
                for at in 1..bytes.len() / 8 {
                    bytes.copy_within(8 * at + 4..8 * at + 8, 8 * at - 4);
                }
                bytes.truncate(bytes.len() - 8);
            }
        });
        world.start();
        let id = world.find("t");
        assert!(!world.marked(Mark::IndexRebuilt));
        for from in (0..20).rev() {
            let records = world.read(id, from).expect("readable");
            assert!(records.first.0 <= from && from < records.next.0, "{from}");
        }
        assert!(world.marked(Mark::IndexRebuilt));
        assert_eq!(world.values(id), values(0, RECORDS));
        world.stop();
        assert_eq!(world.disk.tree()[&index], sound[&index]);
    }
}

#[test]
fn rot_in_an_old_segment_is_seen_before_it_is_served_and_takes_the_log_offline() {
    let mut world = world_with(3, RECORDS);
    world.stop();
    world
        .disk
        .rot("t-0/00000000000000000000.log", |bytes| bytes[70] ^= 1);
    world.start();
    let id = world.find("t");
    assert!(world.read(id, 99).is_ok());
    let error = world.read(id, 0).expect_err("damaged");
    let ReadError::Damaged(message) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(error.code(), 56);
    for part in [
        "t-0/00000000000000000000.log is damaged at byte 0",
        "offset 0",
        "a checksum does not hold",
        "restore the directory from a copy",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(world.marked(Mark::RotDetected));
    assert!(
        world
            .told
            .iter()
            .any(|told| matches!(told, Notice::Offline(of, why) if *of == id && why == message))
    );
    assert!(matches!(world.read(id, 99), Err(ReadError::Offline(_))));
    // Nothing says that such a directory was stopped cleanly, and the next start serves what can be served.
    world.stop();
    assert!(!world.disk.tree().contains_key(".kafka_cleanshutdown"));
    world.start();
    let id = world.find("t");
    assert!(world.read(id, 99).is_ok());
    assert!(matches!(world.read(id, 0), Err(ReadError::Damaged(_))));
}

#[test]
fn a_segment_that_lost_its_end_or_its_file_takes_the_log_offline() {
    for gone in [false, true] {
        let mut world = world_with(3, RECORDS);
        world.stop();
        world.start();
        let id = world.find("t");
        let file = "00000000000000000000.log";
        if gone {
            world.disk.remove("t-0", file);
        } else {
            world
                .disk
                .rot(&format!("t-0/{file}"), |bytes| bytes.truncate(100));
        }
        let error = world.read(id, 2).expect_err("damaged");
        assert!(
            matches!(&error, ReadError::Damaged(m) if m.contains(file)),
            "{error:?}"
        );
        assert!(world.store.view(id).expect("there").offline.is_some());
    }
}

#[test]
fn a_read_that_fails_takes_its_log_offline_and_no_other() {
    let mut world = world_with(3, RECORDS);
    let other = world.create("o", small_log());
    world.put(other, &super::batch(&values(0, 2), 5, None));
    world.settle();
    world.stop();
    world.start();
    let (id, other) = (world.find("t"), world.find("o"));
    // Not the index of the active segment: that is in memory.
    world.disk.fail_read = true;
    let error = world.read(id, 99).expect_err("unreadable");
    assert!(
        matches!(&error, ReadError::Damaged(m) if m.contains("reported an error")),
        "{error:?}"
    );
    assert!(world.store.view(id).expect("there").offline.is_some());
    assert!(world.store.directory_online(0));
    assert!(world.read(other, 0).is_ok());
}

#[test]
fn a_rebuild_is_given_up_at_a_stop_and_when_the_log_is_deleted() {
    for seed in 0..40 {
        let mut world = world_with(seed, RECORDS);
        world.stop();
        for index in files(&world, "index") {
            world.disk.rot(&index, |bytes| *bytes = vec![0xa5; 240]);
        }
        world.start();
        let id = world.find("t");
        for from in [0, 20, 40] {
            let read = crate::log::Read {
                from: crate::ids::Offset(from),
                max_bytes: 1 << 20,
                below: crate::ids::Offset(RECORDS as i64),
                at_least_one: true,
            };
            let _ = world.call(|store, cx| store.read(cx, id, read));
        }
        for _ in 0..seed {
            world.step();
        }
        if seed % 2 == 0 {
            world.call(|store, cx| store.delete(cx, id));
            world.settle();
            assert!(world.told.contains(&Notice::Deleted(id)));
            world.stop();
        } else {
            world.stop();
            world.start();
            let id = world.find("t");
            assert_eq!(world.values(id), values(0, RECORDS));
        }
    }
}

/// What was synced of a log is known after it went offline, too, when the frontier files that said so are gone.
#[test]
fn damage_that_is_found_while_it_serves_is_no_torn_tail_later() {
    goes_offline_and_rotates(Mutants::NONE);
    assert!(super::goes_wrong(
        Mutant::ForgetSyncedWhenOffline,
        goes_offline_and_rotates
    ));
}

fn goes_offline_and_rotates(mutants: Mutants) {
    for seed in 0..12 {
        let config = StoreConfig {
            hot_bytes: 0,
            ..super::small()
        };
        let mut world = World::new(seed, config);
        world.mutants = mutants;
        world.start();
        let id = world.create("t", small_log());
        let put = |world: &mut World, n: u64| {
            world.put(id, &batch(&values((seed + n) as usize, 1), 1000, None));
            world.settle();
        };
        (0..40).for_each(|n| put(&mut world, n));
        let segments = world.store.view(id).expect("there").segments;
        while world.store.view(id).expect("there").segments == segments {
            put(&mut world, 40);
        }
        // The last batch before the roll: no checkpoint may have it yet.
        let sealed = files(&world, ".log").into_iter().rev().nth(1);
        let sealed = sealed.expect("a sealed segment");
        world.disk.rot(&sealed, |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        });
        let before = world.store.view(id).expect("there").end;
        assert!(world.read(id, before.0 - 2).is_err());
        let offline = |world: &World, id| world.store.view(id).expect("there").offline.is_some();
        assert!(offline(&world, id));
        // Frontier files come and go.
        let other = world.create("u", small_log());
        for n in 0..40 {
            world.put(other, &batch(&values(n, 1), 1000, None));
            world.settle();
        }
        assert!(world.marked(Mark::FrontierRotated));
        for power in [true, false] {
            world.crash(power);
            world.events.clear();
            world.start();
            let id = world.find("t");
            // The damage lies below where recovery begins, or it is found there: nothing is cut for it.
            let end = world.store.view(id).expect("there").end;
            assert!(offline(&world, id) || end == before, "seed {seed}");
            assert!(!world.marked(Mark::TornTailCut), "seed {seed}");
        }
    }
}

/// A frontier file that is retired while a checkpoint is being written may prove more than that checkpoint says: it goes with the next.
#[test]
fn a_frontier_file_stays_until_a_checkpoint_says_as_much() {
    rots_while_files_come_and_go(Mutants::NONE);
    assert!(super::goes_wrong(
        Mutant::RetireFrontierTooSoon,
        rots_while_files_come_and_go
    ));
}

fn rots_while_files_come_and_go(mutants: Mutants) {
    let mut rotted = 0;
    for seed in 0..400 {
        let config = StoreConfig {
            frontier_bytes: 100,
            ..super::small()
        };
        let mut world = World::new(seed, config);
        world.mutants = mutants;
        world.start();
        let (busy, quiet) = (
            world.create("t", small_log()),
            world.create("u", small_log()),
        );
        let one = |n: usize| batch(&values(n, 1), 1000, None);
        // Where each batch of the quiet log begins, and how much of it was durable after which round.
        let (mut begins, mut size) = (Vec::new(), 0);
        let mut rounds: Vec<(Lsn, i64)> = Vec::new();
        for n in 0..100 + world.dice.below(100) {
            if world.dice.one_in(3) {
                world.put(busy, &one(n));
            }
            if world.dice.one_in(25) && begins.len() < 15 {
                let sent = one(0);
                begins.push(size);
                size += sent.len();
                world.put(quiet, &sent);
            }
            if world.dice.one_in(20) {
                let kind = CheckpointKind::RecoveryPoints;
                world.call(|store, cx| store.want_checkpoint(cx, 0, kind, None));
            }
            world.step();
            let round = world.store.dirs[0].last_round;
            if rounds.last().is_none_or(|(last, _)| *last != round) {
                rounds.push((round, world.durable(quiet)));
            }
        }
        // A later round's record must say that a round is over.
        let proven = rounds.iter().rev().nth(2).map_or(0, |(_, end)| *end);
        world.crash(true);
        let Some(last) = (proven as usize).checked_sub(1) else {
            continue;
        };
        world.disk.rot("u-0/00000000000000000000.log", |bytes| {
            bytes[begins[last] + 70] ^= 1;
        });
        world.start();
        let view = world.store.view(world.find("u")).expect("there");
        assert!(!view.online, "seed {seed}: cut at {} of {proven}", view.end);
        rotted += 1;
    }
    assert!(rotted > 100, "{rotted}");
}
