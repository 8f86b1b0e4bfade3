//! A full disk: clients are refused, reads and the metadata log go on, and nothing is wrong once there is room.

use super::world::{World, batch};
use super::{goes_wrong, small, small_log, values, world_with};
use crate::ids::{LeaderEpoch, LogId, Offset};
use crate::log::{Append, AppendError, Appended, LogConfig, LogStore, Notice, Origin, StoreConfig};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::work::ValidBatch;

const RESERVE: &str = "trialog-reserve";

/// An append of the node itself.
fn append_own(world: &mut World, id: LogId, nth: usize) -> Result<Appended, AppendError> {
    let append = Append {
        batch: ValidBatch::trusted(&batch(&values(nth, 1), 5, None)).expect("whole"),
        epoch: LeaderEpoch(0),
        origin: Origin::Coordinator,
    };
    world.call(|store, cx| store.append(cx, id, append))
}

/// Appends until the disk is full; the log's end then.
fn fill(world: &mut World, id: LogId, from: usize, room: usize) -> usize {
    world.disk.room = Some(room);
    let mut taken = from;
    for n in (from..from + 200).step_by(2) {
        match world.append(id, &batch(&values(n, 2), 5, None)) {
            Ok(_) => taken += 2,
            Err(error) => {
                assert!(error.to_string().contains("is full"), "{error}");
                assert_eq!(error.code(), 56);
                break;
            }
        }
        world.step();
    }
    world.settle();
    let lost = world
        .told
        .iter()
        .any(|told| matches!(told, Notice::AppendsLost(of, ..) if *of == id));
    let end = world.store.view(id).expect("there").end.0 as usize;
    assert!(world.marked(Mark::DiskFull));
    assert!(end >= from && lost == (end < taken), "{lost} {end} {taken}");
    end
}

#[test]
fn a_full_disk_refuses_appends_and_reads_go_on() {
    for seed in 0..30 {
        let mut world = world_with(seed, 40);
        let id = world.find("t");
        assert!(world.disk.tree().contains_key(RESERVE));
        let end = fill(&mut world, id, 40, 1500);
        assert!(world.marked(Mark::DiskFull));
        assert_eq!(world.values(id), values(0, end));
        // Nothing is even tried before there is room for the reserve.
        let tried = world.append(id, &batch(&values(end, 2), 5, None));
        assert!(matches!(tried, Err(AppendError::Full(_))), "{tried:?}");
        world.disk.room = None;
        world.sleep(1001);
        assert!(world.disk.tree().contains_key(RESERVE));
        world
            .append(id, &batch(&values(end, 2), 5, None))
            .expect("room again");
        world.settle();
        assert_eq!(world.durable(id), end as i64 + 2);
        let id = world.restart(true);
        assert_eq!(world.values(id), values(0, end + 2));
    }
}

/// An append that found no room is not known any more: its retry is appended, and not taken for a duplicate.
#[test]
fn what_a_full_disk_refused_is_no_duplicate_later() {
    retry_when_there_is_room(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::KeepRefusedSequence,
        retry_when_there_is_room
    ));
}

fn retry_when_there_is_room(mutants: Mutants) {
    let mut retried = 0;
    for seed in 0..30 {
        let mut world = world_with(seed, 40);
        world.mutants = mutants;
        let id = world.find("t");
        let sent = |n: usize| batch(&values(n, 2), 5, Some((9, 0, n as i32 - 40)));
        world.disk.room = Some(1500);
        let mut taken = 40;
        while world.append(id, &sent(taken)).is_ok() {
            taken += 2;
            world.step();
        }
        world.settle();
        let end = world.store.view(id).expect("there").end.0 as usize;
        world.disk.room = None;
        world.sleep(1001);
        for n in (end..taken).step_by(2) {
            let again = world.append(id, &sent(n)).expect("room again");
            assert!(!again.duplicate, "seed {seed}");
            retried += 1;
        }
        world.settle();
        assert_eq!(world.values(id), values(0, taken), "seed {seed}");
    }
    assert!(retried > 0, "no append met the full disk");
}

#[test]
fn the_metadata_log_goes_on_out_of_the_reserve() {
    for seed in 0..20 {
        let mut world = world_with(seed, 40);
        let (id, metadata) = (world.find("t"), world.find_metadata());
        let end = fill(&mut world, id, 40, 700);
        // Room for the node's own records comes back with the reserve, which has gone.
        for nth in 0..20 {
            append_own(&mut world, metadata, nth).expect("taken");
        }
        world.settle();
        assert_eq!(world.durable(metadata), 20, "seed {seed}");
        assert!(!world.disk.tree().contains_key(RESERVE));
        assert!(world.store.view(metadata).expect("there").online);
        world.crash(true);
        world.start();
        assert_eq!(world.durable(world.find_metadata()), 20);
        let id = world.find("t");
        assert_eq!(world.values(id), values(0, end));
    }
}

#[test]
fn without_a_reserve_the_metadata_log_waits_for_room() {
    for seed in 0..20 {
        let mut world = World::new(
            seed,
            crate::log::StoreConfig {
                reserve_bytes: 0,
                ..super::small()
            },
        );
        world.start();
        let metadata = world.find_metadata();
        world.disk.room = Some(0);
        for nth in 0..10 {
            append_own(&mut world, metadata, nth).expect("taken");
        }
        let created = world.begin_create("t", small_log());
        world.settle();
        assert_eq!(world.durable(metadata), 0);
        assert!(
            !world
                .told
                .iter()
                .any(|n| matches!(n, Notice::AppendsLost(..)))
        );
        world.disk.room = None;
        world.sleep(1001);
        assert_eq!(world.durable(metadata), 10, "seed {seed}");
        assert!(world.told.contains(&Notice::Opened(created)));
    }
}

#[test]
fn a_full_disk_can_be_stopped_and_started() {
    for seed in 0..30 {
        let mut world = world_with(seed, 40);
        let id = world.find("t");
        let end = fill(&mut world, id, 40, 900);
        let crash = seed % 3 == 0;
        if crash {
            world.crash(true);
        } else {
            world.stop();
            // The reserve had room for what a stop writes.
            assert!(world.disk.tree().contains_key(".kafka_cleanshutdown"));
            assert!(!world.disk.tree().contains_key(RESERVE));
        }
        world.disk.room = Some(0);
        world.call(LogStore::start);
        world.settle();
        world.disk.room = None;
        world.sleep(1001);
        assert!(world.told.contains(&Notice::AllOpened), "seed {seed}");
        let id = world.find("t");
        assert_eq!(world.values(id), values(0, end));
        world
            .append(id, &batch(&values(end, 2), 5, None))
            .expect("room again");
        world.settle();
        assert_eq!(world.durable(id), end as i64 + 2);
    }
}

#[test]
fn logs_may_be_deleted_and_the_node_stopped_while_plans_wait_for_room() {
    for seed in 0..40 {
        let mut world = world_with(seed, 40);
        let id = world.find("t");
        fill(&mut world, id, 40, 900);
        world.disk.room = Some(0);
        let other = world.begin_create("o", small_log());
        for _ in 0..seed {
            world.step();
        }
        if seed % 2 == 0 {
            world.call(|store, cx| store.delete(cx, other));
            world.call(|store, cx| store.delete(cx, id));
        }
        if seed % 4 == 0 {
            world.disk.room = None;
            world.sleep(1001);
        }
        world.call(|store, cx| store.shutdown(cx, 5));
        world.settle();
        assert!(world.told.contains(&Notice::Stopped), "seed {seed}");
    }
}

/// A world whose log `t` has one record; each further one rolls a segment.
fn world_that_rolls(seed: u64, reserve_bytes: u64, config: LogConfig) -> (World, LogId) {
    let mut world = World::new(
        seed,
        StoreConfig {
            reserve_bytes,
            ..small()
        },
    );
    world.start();
    let config = LogConfig {
        segment_bytes: 100,
        ..config
    };
    let id = world.create("t", config.clone());
    world.call(|store, _| store.configure(id, config));
    append_one(&mut world, id, 0).expect("appended");
    world.settle();
    world.call(|store, _| store.note_high_watermark(id, Offset(1)));
    (world, id)
}

fn append_one(world: &mut World, id: LogId, nth: usize) -> Result<Appended, AppendError> {
    world.append(id, &batch(&values(nth, 1), 1_000_000, None))
}

#[test]
fn a_segment_whose_file_found_no_room_takes_batches_later() {
    for seed in 0..20 {
        let reserve = if seed % 2 == 0 { 0 } else { 1 << 20 };
        let (mut world, id) = world_that_rolls(seed, reserve, LogConfig::default());
        world.disk.room = Some(0);
        append_one(&mut world, id, 1).expect("taken, and lost");
        world.settle();
        assert_eq!(world.store.view(id).expect("there").end, Offset(1));
        world.disk.room = None;
        world.sleep(1001);
        append_one(&mut world, id, 1).expect("room again");
        world.settle();
        assert_eq!(world.durable(id), 2, "seed {seed}");
        world.stop();
        assert!(world.disk.tree().contains_key(".kafka_cleanshutdown"));
        world.start();
        let id = world.find("t");
        assert_eq!(world.values(id), values(0, 2));
    }
}

#[test]
fn a_stop_does_not_wait_for_a_segment_that_finds_no_room() {
    for seed in 0..20 {
        let (mut world, id) = world_that_rolls(seed, 0, LogConfig::default());
        world.disk.room = Some(0);
        append_one(&mut world, id, 1).expect("taken, and lost");
        if seed % 2 == 0 {
            world.settle();
        }
        world.stop();
        assert!(!world.disk.tree().contains_key(".kafka_cleanshutdown"));
        world.disk.room = None;
        world.start();
        let id = world.find("t");
        assert_eq!(world.values(id), values(0, 1), "seed {seed}");
        append_one(&mut world, id, 1).expect("appended");
        world.settle();
        assert_eq!(world.durable(id), 2);
    }
}

#[test]
fn retention_keeps_a_segment_until_the_next_is_there() {
    for seed in 0..20 {
        let config = LogConfig {
            retention_bytes: 0,
            ..LogConfig::default()
        };
        let (mut world, id) = world_that_rolls(seed, 4000, config);
        world.disk.room = Some(0);
        append_one(&mut world, id, 1).expect("taken, and lost");
        world.settle();
        // What a roll has to write has room, and then nothing has.
        world.disk.room = Some(0);
        world.sleep(world.config.retention_check_interval_ms + 1);
        world.crash(seed % 2 == 0);
        world.disk.room = None;
        world.start();
        let view = world.store.view(world.find("t")).expect("there");
        assert!(view.online, "seed {seed}: {:?}", view.offline);
        assert_eq!(view.end, Offset(1));
    }
}

#[test]
fn a_roll_that_is_taken_back_leaves_no_producer_snapshot() {
    for seed in 0..20 {
        let (mut world, id) = world_that_rolls(seed, 4000, LogConfig::default());
        world.disk.room = Some(0);
        append_one(&mut world, id, 1).expect("taken, and lost");
        append_one(&mut world, id, 2).expect("taken, and lost");
        // The reserve has room for what the rolls had to write.
        world.settle();
        assert_eq!(world.store.view(id).expect("there").end, Offset(1));
        let tree = world.disk.tree();
        let beyond = |name: &&String| name.starts_with("t-0/") && name.ends_with("2.snapshot");
        assert_eq!(tree.keys().find(beyond), None, "seed {seed}");
    }
}

/// The segment that a full disk took back does not come back between the records that are promised in its place.
#[test]
fn a_segment_that_was_taken_back_stays_away() {
    takes_a_segment_back(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::KeepRolledBackSegment,
        takes_a_segment_back
    ));
}

fn takes_a_segment_back(mutants: Mutants) {
    let mut taken_back = 0;
    for seed in 0..200 {
        let config = StoreConfig {
            reserve_bytes: 0,
            ..small()
        };
        let mut world = World::new(seed, config);
        world.mutants = mutants;
        world.start();
        let config = LogConfig {
            segment_bytes: 300,
            ..LogConfig::default()
        };
        let id = world.create("t", config);
        append_one(&mut world, id, 0).expect("appended");
        world.settle();
        world.disk.room = Some(40);
        append_one(&mut world, id, 1).expect("taken, and lost");
        let rolls = batch(&["x".repeat(200)], 1_000_000, None);
        world.append(id, &rolls).expect("taken, and lost");
        taken_back += usize::from(world.store.view(id).expect("there").segments == 2);
        world.settle();
        assert_eq!(world.store.view(id).expect("there").end, Offset(1));
        world.disk.room = None;
        world.sleep(1001);
        for nth in [1, 2] {
            append_one(&mut world, id, nth).expect("room again");
            world.settle();
        }
        assert_eq!((world.durable(id), world.values(id).len()), (3, 3));
        let id = world.restart(true);
        assert_eq!(world.values(id), values(0, 3), "seed {seed}");
        for from in 0..3 {
            let next = world.read(id, from).map(|records| records.next);
            assert_eq!(next, Ok(Offset(3)), "seed {seed}: from {from}");
        }
    }
    assert_eq!(taken_back, 200);
}

#[test]
fn a_log_that_retention_rolls_on_a_full_disk_takes_batches_later() {
    for seed in 0..20 {
        let config = LogConfig {
            retention_ms: 1000,
            ..LogConfig::default()
        };
        let (mut world, id) = world_that_rolls(seed, 0, config);
        world.disk.room = Some(0);
        world.sleep(world.config.retention_check_interval_ms + 1);
        assert!(world.marked(Mark::SegmentRolled) && world.marked(Mark::DiskFull));
        world.disk.room = None;
        world.sleep(1001);
        append_one(&mut world, id, 1).expect("room again");
        world.settle();
        assert_eq!(world.durable(id), 2, "seed {seed}");
    }
}

#[test]
fn no_marker_says_that_the_leader_epochs_are_whole_when_they_found_no_room() {
    for (seed, steps) in (0..4).flat_map(|seed| (0..20).map(move |steps| (seed, steps))) {
        let config = StoreConfig {
            reserve_bytes: 0,
            ..small()
        };
        let mut world = World::new(seed, config);
        world.start();
        let id = world.create("t", small_log());
        world.call(|store, _| store.configure(id, small_log()));
        append_one(&mut world, id, 0).expect("appended");
        world.settle();
        let sent = batch(&values(1, 1), 1_000_000, None);
        world.disk.room = Some(sent.len());
        let append = Append {
            batch: ValidBatch::trusted(&sent).expect("whole"),
            epoch: LeaderEpoch(1),
            origin: Origin::Coordinator,
        };
        world
            .call(|store, cx| store.append(cx, id, append))
            .expect("taken");
        world.call(|store, cx| store.shutdown(cx, 5));
        for _ in 0..steps {
            world.step();
        }
        // Somebody frees some room while the stop is under way.
        world.disk.room = None;
        world.stop();
        let tree = world.disk.tree();
        world.start();
        let kept = world.durable(world.find("t")) == 2;
        if kept && tree.contains_key(".kafka_cleanshutdown") {
            let epochs = String::from_utf8_lossy(&tree["t-0/leader-epoch-checkpoint"]);
            assert!(
                epochs.contains("1 1"),
                "seed {seed}, {steps} steps: {epochs}"
            );
        }
    }
}
