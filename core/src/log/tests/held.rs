//! What is held in memory, in files and on disk goes when its time has come, whatever else is stuck.

use super::world::{World, batch, topic_id};
use super::{small, small_log, values, world_with, world_with_two_directories};
use crate::ids::{LogId, Offset, PartitionIndex};
use crate::log::{LogConfig, LogStore, NewLog, Read, ReadOutcome};

/// A log in a directory of its own.
fn create_in(world: &mut World, topic: &str, dir: usize) -> LogId {
    let new = NewLog {
        topic: topic.to_owned(),
        topic_id: topic_id(topic),
        partition: PartitionIndex(0),
        config: small_log(),
        dir: Some(dir),
    };
    let id = world.call(|store, cx| store.create(cx, new));
    world.settle();
    id
}

/// A directory whose syncs do not come back keeps its own batches in memory, and nobody else's.
#[test]
fn a_directory_that_hangs_keeps_no_other_batches_in_memory() {
    for seed in 0..10 {
        let (mut world, other) = world_with_two_directories(seed);
        world.start();
        let (sound, hung) = (create_in(&mut world, "t", 0), create_in(&mut world, "u", 1));
        world.disk.hung_root = Some(other);
        world.put(hung, &batch(&values(0, 2), 1000, None));
        for n in 0..200 {
            world.put(sound, &batch(&values(n, 1), 1000, None));
            world.settle();
        }
        assert_eq!((world.durable(hung), world.durable(sound)), (0, 200));
        let (held, limit) = (world.store.hot_bytes, world.config.hot_bytes);
        assert!(held <= limit + 500, "seed {seed}: {held} of {limit}");
        world.disk.hung_root = None;
        world.settle();
        assert_eq!(world.durable(hung), 2);
        assert_eq!(world.values(sound), values(0, 200));
        assert_eq!(world.values(hung), values(0, 2));
    }
}

/// A log that is flushed after so many records that it never comes to that is flushed where its segments end.
#[test]
fn a_loosely_flushed_log_is_flushed_up_to_its_active_segment() {
    for seed in 0..10 {
        let mut world = World::new(seed, small());
        world.start();
        let config = LogConfig {
            flush_messages: Some(1_000_000),
            retention_bytes: 4000,
            ..small_log()
        };
        let id = world.create("t", config);
        for n in 0..200 {
            world.put(id, &batch(&values(n, 1), 1000, None));
            for _ in 0..seed {
                world.step();
            }
        }
        world.settle();
        let log = world.store.log(id).expect("there");
        assert!(log.segments.len() > 4, "{}", log.segments.len());
        let active = log.segments.last().expect("active").base;
        assert!(log.synced >= active, "{} of {active}", log.synced);
        assert!(log.recovery_point(world.mutants) >= active);
        let open = log.segments.iter().filter(|s| s.file.is_some());
        assert_eq!(open.count(), 1, "seed {seed}");
        world.store.note_high_watermark(id, Offset(200));
        world.sleep(world.config.retention_check_interval_ms + 1);
        let left = world.store.view(id).expect("there").size_bytes;
        assert!(left < 6000, "{left} bytes");
    }
}

/// A file that cannot be removed keeps its directory until the next start: nobody tries for ever.
#[test]
fn a_directory_that_cannot_be_removed_stays_until_the_next_start() {
    for seed in 0..10 {
        let mut world = world_with(seed, 60);
        let id = world.find("t");
        world.disk.immutable = Some("00000000000000000000.log");
        world.call(|store, cx| store.delete(cx, id));
        world.settle();
        world.sleep(60_001);
        assert!(world.store.removals.is_empty());
        let left = |world: &World| -> Vec<String> {
            let tree = world.disk.tree();
            tree.into_keys()
                .filter(|f| f.contains("-delete/"))
                .collect()
        };
        assert_eq!(left(&world).len(), 1, "{:?}", left(&world));
        assert!(world.store.directory_online(0));
        world.disk.immutable = None;
        world.stop();
        world.start();
        assert!(left(&world).is_empty(), "{:?}", left(&world));
    }
}

/// A consumer that reads old records all the time does not keep them for ever.
#[test]
fn retention_comes_back_when_the_oldest_segment_is_read_no_more() {
    let config = LogConfig {
        retention_bytes: 2000,
        ..small_log()
    };
    for seed in 0..20 {
        let mut world = world_with(seed, 100);
        let id = world.find("t");
        world.store.note_high_watermark(id, Offset(100));
        world.store.configure(id, config.clone());
        let begin = |world: &mut World| {
            let read = Read {
                from: Offset(0),
                max_bytes: 100,
                below: Offset(100),
                at_least_one: true,
            };
            world.call(|store, cx| store.read(cx, id, read))
        };
        // It is under way at the time of the check, and for the last time.
        assert!(matches!(begin(&mut world), Ok(ReadOutcome::Later(_))));
        let check = world.config.retention_check_interval_ms;
        world.now.mono = world.now.mono + std::time::Duration::from_millis(check);
        world.call(LogStore::on_wakeup);
        assert_eq!(world.store.view(id).expect("there").start, Offset(0));
        world.settle();
        let size = world.store.view(id).expect("there").size_bytes;
        assert!(size < 4000, "seed {seed}: {size} bytes");
    }
}

/// Snapshots are kept at the bases of segments, and the latest: each clean stop leaves one.
#[test]
fn producer_snapshots_of_earlier_clean_stops_go() {
    let mut world = world_with(3, 60);
    for n in (60..80).step_by(2) {
        world.stop();
        world.start();
        let id = world.find("t");
        world.put(id, &batch(&values(n, 2), 1000, None));
        world.settle();
        let bases = world.store.log(id).expect("there").segments.iter();
        let bases: Vec<i64> = bases.map(|segment| segment.base.0).collect();
        let tree = world.disk.tree();
        let snapshots = tree.keys().filter_map(|file| {
            let file = file.strip_prefix("t-0/")?.strip_suffix(".snapshot")?;
            file.parse::<i64>().ok()
        });
        let stray: Vec<i64> = snapshots.filter(|at| !bases.contains(at)).collect();
        assert!(stray == [n as i64] || stray.is_empty(), "{stray:?} at {n}");
        let known = &world.store.log(id).expect("there").snapshots;
        assert!(
            known
                .iter()
                .all(|at| bases.contains(&at.0) || at.0 == n as i64)
        );
    }
}
