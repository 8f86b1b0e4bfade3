//! The checkpoint files of a directory: what they say while logs are opened, closed and deleted.

use super::world::{World, batch, topic_id};
use super::{small, small_log, values};
use crate::ids::{Offset, PartitionIndex};
use crate::log::plan::CheckpointKind;
use crate::log::{LogStore, Notice};

const LOGS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Logs with three records each, the first of them deleted.
fn world_of_logs(seed: u64) -> World {
    let mut world = World::new(seed, small());
    world.config.concurrency = 1;
    world.start();
    for topic in LOGS {
        let id = world.create(topic, small_log());
        let sent = batch(&values(0, 3), 1000, None);
        world.put(id, &sent);
        world.settle();
        world.store.note_high_watermark(id, Offset(3));
        let deleted = world.call(|store, cx| store.delete_records(cx, id, Offset(1)));
        deleted.expect("below the high watermark");
        world.settle();
    }
    world
}

/// A log that is not open yet keeps its lines when the files are written.
#[test]
fn a_checkpoint_in_the_middle_of_a_start_says_what_it_said() {
    for clean in [true, false] {
        let mut interrupted = 0;
        for steps in (0..200).step_by(7) {
            let mut world = world_of_logs(steps);
            world.sleep(world.config.checkpoint_interval_ms + 1);
            if clean {
                world.stop();
            } else {
                world.crash(true);
            }
            world.call(LogStore::start);
            for _ in 0..steps {
                world.step();
            }
            for kind in CheckpointKind::ALL {
                if world.store.dirs[0].frontier.is_some() {
                    world.call(|store, cx| store.want_checkpoint(cx, 0, kind, None));
                    interrupted += usize::from(!world.told.contains(&Notice::AllOpened));
                }
            }
            world.settle();
            world.crash(true);
            world.start();
            for topic in LOGS {
                let view = world.store.view(world.find(topic)).expect("there");
                assert_eq!((view.start, view.end), (Offset(1), Offset(3)), "{steps}");
                assert_eq!(view.high_watermark, Offset(3), "{steps}");
            }
        }
        assert!(interrupted > 20, "{interrupted}");
    }
}

/// What was not opened was not recovered either: the next start must not take it for whole.
#[test]
fn a_stop_in_the_middle_of_a_start_is_not_clean() {
    let mut interrupted = 0;
    for steps in 0..200 {
        let mut world = world_of_logs(steps);
        world.crash(true);
        world.call(LogStore::start);
        for _ in 0..steps {
            world.step();
        }
        let all = world.told.contains(&Notice::AllOpened);
        interrupted += usize::from(!all);
        world.stop();
        let marked = world.disk.tree().contains_key(".kafka_cleanshutdown");
        assert_eq!(marked, all, "{steps}");
        world.start();
        for topic in LOGS {
            assert_eq!(world.values(world.find(topic)), values(1, 2), "{steps}");
        }
    }
    assert!((20..180).contains(&interrupted), "{interrupted}");
}

/// A directory with more logs than one piece of work takes.
#[test]
fn many_logs_are_put_down_and_found_again() {
    const MANY: i64 = 1_100;
    let mut world = World::new(1, small());
    world.config.concurrency = 32;
    world.store = LogStore::new(world.config.clone(), &super::world::boot());
    world.start();
    for nth in 0..MANY {
        let id = world.create(&format!("t{nth}"), small_log());
        if nth % 3 == 0 {
            let sent = batch(&values(0, 2), 1000, None);
            world.put(id, &sent);
            world.settle();
            world.store.note_high_watermark(id, Offset(1 + nth % 2));
        }
    }
    world.stop();
    let tree = world.disk.tree();
    let file = String::from_utf8(tree["replication-offset-checkpoint"].clone()).expect("text");
    let lines: Vec<&str> = file.lines().collect();
    // The metadata log is the one more.
    assert_eq!(lines[..2], ["0", "1101"]);
    assert_eq!(lines.len(), 1103);
    world.start();
    for nth in 0..MANY {
        let id = world.find(&format!("t{nth}"));
        let view = world.store.view(id).expect("there");
        let known = if nth % 3 == 0 { 1 + nth % 2 } else { 0 };
        assert_eq!(view.high_watermark, Offset(known), "{nth}");
    }
}

/// What the files say of a deleted log is known until they say it no longer, and forgotten then.
#[test]
fn a_deleted_log_is_forgotten_with_the_next_checkpoints() {
    let key = ("a".to_owned(), PartitionIndex(0));
    let mut world = world_of_logs(3);
    world.sleep(world.config.checkpoint_interval_ms + 1);
    let id = world.find("a");
    world.call(|store, cx| store.delete(cx, id));
    world.settle();
    let knows = |world: &World| {
        CheckpointKind::ALL.map(|kind| world.store.dirs[0].checkpoints[&kind].knows_former(&key))
    };
    assert_eq!(knows(&world), [true; 3]);
    world.sleep(world.config.checkpoint_interval_ms + 1);
    assert_eq!(knows(&world), [false; 3]);
    world.sleep(world.config.checkpoint_interval_ms + 1);
    for checkpoint in world.store.dirs[0].checkpoints.values() {
        assert!(checkpoint.former.is_empty(), "{:?}", checkpoint.former);
    }
    assert!(world.store.find(topic_id("a"), PartitionIndex(0)).is_none());
}
