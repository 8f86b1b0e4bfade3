//! What is too large is refused when it is written, or ignored when it is read; it is never promised and then called damage.

use bytes::Bytes;

use super::world::{World, batch};
use super::{goes_wrong, small, small_log, values, world_with};
use crate::ids::{LeaderEpoch, LogId, Offset};
use crate::io::Name;
use crate::log::config::BATCH_MAX;
use crate::log::{Append, AppendError, LogConfig, Notice, Origin, ReadError, StoreConfig};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::work::{TimestampTarget, ValidBatch};

/// No batch is taken that nobody could read back.
#[test]
fn a_batch_that_recovery_would_call_damage_is_refused() {
    let mut world = World::new(1, small());
    world.start();
    let config = LogConfig {
        max_message_bytes: i32::MAX,
        ..LogConfig::default()
    };
    let rules = config.rules(world.now.wall);
    assert_eq!(u32::try_from(rules.max_message_bytes), Ok(BATCH_MAX));
    let id = world.create("t", config);
    let mut sent = ValidBatch::trusted(&batch(&values(0, 1), 1000, None)).expect("whole");
    sent.body = Bytes::from(vec![0; BATCH_MAX as usize]);
    let append = Append {
        batch: sent,
        epoch: LeaderEpoch(0),
        origin: Origin::Coordinator,
    };
    let refused = world.call(|store, cx| store.append(cx, id, append));
    let limit = BATCH_MAX;
    assert!(
        matches!(refused, Err(AppendError::TooLarge { limit: of, .. }) if of == limit),
        "{refused:?}"
    );
}

/// A log with so many producers that their snapshot is larger than what is read; it was stopped and started.
fn world_with_producers(file_max: u64) -> (World, LogId) {
    let config = StoreConfig {
        file_max,
        ..small()
    };
    let mut world = World::new(1, config);
    world.start();
    let id = world.create("t", small_log());
    for n in 0..60 {
        world.put(id, &from_producer(n, 0));
        world.settle();
    }
    world.stop();
    let tree = world.disk.tree();
    assert!(tree["t-0/00000000000000000060.snapshot"].len() > 2500);
    (world, id)
}

fn from_producer(producer: i64, sequence: i32) -> Bytes {
    batch(
        &values(producer as usize, 1),
        1_000_000,
        Some((producer, 0, sequence)),
    )
}

/// Every producer's next batch is asked for, and what it sent is known.
fn assert_producers(world: &mut World, id: LogId) {
    let view = world.store.view(id).expect("there");
    assert!(view.online, "{:?}", view.offline);
    for n in 0..60 {
        assert!(world.put(id, &from_producer(n, 0)).duplicate, "{n}");
        let gap = world.append(id, &from_producer(n, 2));
        assert_eq!(gap.map_err(|error| error.code()).err(), Some(45), "{n}");
    }
}

#[test]
fn producers_are_known_though_their_snapshot_is_too_large() {
    let (mut world, _) = world_with_producers(2500);
    world.start();
    let id = world.find("t");
    assert_producers(&mut world, id);
    let id = world.restart(true);
    assert_producers(&mut world, id);
}

/// A clean stop without a snapshot knew no producers; one whose snapshot is damaged did.
#[test]
fn producers_are_known_though_every_snapshot_is_damaged() {
    damage_every_snapshot(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::ForgetProducersOfLostSnapshot,
        damage_every_snapshot
    ));
}

fn damage_every_snapshot(mutants: Mutants) {
    let (mut world, _) = world_with_producers(1 << 20);
    world.mutants = mutants;
    for file in world.disk.tree().into_keys() {
        if file.ends_with(".snapshot") {
            world.disk.rot(&file, |bytes| bytes[8] ^= 1);
        }
    }
    world.start();
    let id = world.find("t");
    assert_producers(&mut world, id);
}

#[test]
fn a_file_that_could_not_be_read_back_is_not_written() {
    let config = StoreConfig {
        file_max: 2500,
        ..small()
    };
    let mut world = World::new(1, config);
    world.start();
    let id = world.find_metadata();
    let name = Name::new("x.checkpoint").expect("a name");
    for (len, fits) in [(2500, true), (2501, false)] {
        let content = Bytes::from(vec![7; len]);
        let write = world.call(|store, cx| store.replace_file(cx, id, name.clone(), content));
        world.settle();
        let told = world.told.iter().find_map(|notice| match notice {
            Notice::FileReplaced(of, result) if *of == write => Some(result.is_ok()),
            _ => None,
        });
        assert_eq!(told, Some(fits));
        let read = world.call(|store, cx| store.read_file(cx, id, name.clone()));
        world.settle();
        let there = Ok(Some(Bytes::from(vec![7; 2500])));
        assert!(world.told.contains(&Notice::FileRead(read, there)));
    }
    assert_eq!(world.store.view(id).expect("there").end, Offset(0));
}

/// Too many open files are no damage: the read fails, its log stays.
#[test]
fn a_read_that_finds_no_file_descriptor_takes_nothing_offline() {
    for indexes_first in [true, false] {
        let mut world = world_with(3, 100);
        world.stop();
        world.start();
        world.events.clear();
        let id = world.find("t");
        if indexes_first {
            world.look_up(id, TimestampTarget::AtLeast(1000));
            world.call(|store, cx| store.close_cold_files(cx, 0));
            world.settle();
        }
        world.disk.files_max = Some(0);
        for from in [0, 20, 40] {
            let refused = world.read(id, from).expect_err("no descriptor");
            assert!(
                matches!(&refused, ReadError::Offline(m) if m.contains("too many files")),
                "{refused:?}"
            );
        }
        // Nor does retention try for ever.
        let config = LogConfig {
            retention_ms: 1,
            ..small_log()
        };
        world.store.note_high_watermark(id, Offset(100));
        world.store.configure(id, config);
        world.sleep(world.config.retention_check_interval_ms + 1);
        world.disk.files_max = None;
        world.store.configure(
            id,
            LogConfig {
                retention_ms: -1,
                ..small_log()
            },
        );
        assert!(world.read(id, 99).is_ok());
        let start = world.store.view(id).expect("there").start.0 as usize;
        assert_eq!(world.values(id), values(start, 100 - start));
        assert!(!world.marked(Mark::IndexRebuilt) && !world.marked(Mark::RotDetected));
    }
}

/// A segment whose file cannot be opened is as one without room: clients come again.
#[test]
fn a_roll_that_finds_no_file_descriptor_is_tried_again() {
    for seed in 0..20 {
        let mut world = world_with(seed, 40);
        let id = world.find("t");
        world.disk.files_max = Some(0);
        let mut sent = 40;
        let refused = loop {
            match world.append(id, &batch(&values(sent, 2), 5, None)) {
                Ok(_) => sent += 2,
                Err(error) => break error,
            }
            world.step();
            assert!(sent < 200, "nothing rolls");
        };
        assert!(refused.to_string().contains("too many files"), "{refused}");
        world.settle();
        let end = world.store.view(id).expect("there").end.0 as usize;
        assert!(world.store.directory_online(0));
        let other = world.begin_create("u", small_log());
        world.settle();
        world.disk.files_max = None;
        world.sleep(1001);
        assert!(world.told.contains(&Notice::Opened(other)), "seed {seed}");
        world.put(id, &batch(&values(end, 2), 5, None));
        world.settle();
        assert_eq!(world.durable(id), end as i64 + 2);
        assert_eq!(world.values(id), values(0, end + 2));
    }
}
