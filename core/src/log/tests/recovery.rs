//! Two crashes in a row: what a killed process left unsynced is not trusted, or is made durable, before a power cut takes it.

use bytes::Bytes;

use super::world::{World, batch, boot, topic_id};
use super::{goes_wrong, long_values, small, small_log, values, with_log};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex};
use crate::io::Name;
use crate::log::plan::CheckpointKind;
use crate::log::{
    Append, LogConfig, LogStore, LookupOutcome, Notice, Origin, Read, ReadError, StoreConfig,
    TimestampQuery,
};
use crate::mark::Mark;
use crate::mutant::{Mutant, Mutants};
use crate::work::{TimestampTarget, ValidBatch};

/// The recovery point may be the end of a segment that was active when the point was noted. A life that was killed since may have left
/// indexes in its place that no sync covered: they are not believed, however whole they look.
#[test]
fn indexes_of_the_segment_below_the_recovery_point_are_not_trusted() {
    cut_an_index_short(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::TrustIndexesAtRecoveryPoint,
        cut_an_index_short
    ));
}

fn cut_an_index_short(mutants: Mutants) {
    let mut world = World::new(1, small());
    world.mutants = mutants;
    world.start();
    let id = world.create("t", small_log());
    for n in 0..4 {
        let sent = batch(&long_values(11 * n, 2), 1_000_000 + n as i64, None);
        world.put(id, &sent);
    }
    world.settle();
    world.sleep(world.config.checkpoint_interval_ms + 1);
    let rolls = batch(&["x".repeat(1900)], 2_000_000, None);
    world.put(id, &rolls);
    world.settle();
    assert_eq!(world.store.view(id).expect("there").segments, 2);
    world.crash(false);
    // The last entry of a time index tells the greatest timestamp of its segment.
    world
        .disk
        .rot("t-0/00000000000000000000.timeindex", |bytes| {
            bytes.truncate(bytes.len() - 12);
            assert!(!bytes.is_empty());
        });
    world.start();
    let id = world.find("t");
    let found = world.look_up(id, TimestampTarget::AtLeast(1_000_003));
    assert_eq!(found, Some((1_000_003, 6)));
}

/// A tail that recovery cut must not come back below records that were promised since.
#[test]
fn a_cut_tail_stays_cut() {
    for seed in 0..100 {
        let (mut world, id) = with_log(seed);
        world.create("u", small_log());
        let first = batch(&values(0, 2), 1000, None);
        world.put(id, &first);
        world.settle();
        world.sleep(world.config.checkpoint_interval_ms + 1);
        world.crash(true);
        let file = "t-0/00000000000000000000.log";
        world.disk.rot(file, |bytes| bytes.extend([7; 411]));
        world.start();
        assert!(world.marked(Mark::TornTailCut));
        // A segment begins while a round is under way: the one that was cut is sealed and closed before the next round.
        let (id, other) = (world.find("t"), world.find("u"));
        world.store.configure(id, small_log());
        world.put(other, &first);
        for _ in 0..seed % 6 {
            world.step();
        }
        let large = "x".repeat(1900);
        world.put(id, &batch(std::slice::from_ref(&large), 1002, None));
        world.settle();
        assert_eq!(world.store.view(id).expect("there").segments, 2);
        assert_eq!(world.durable(id), 3);
        let id = world.restart(true);
        let mut all = values(0, 2);
        all.push(large);
        assert_eq!(world.values(id), all, "seed {seed}");
    }
}

/// Retention may remove the batches of a producer after a recovery: the snapshot at the end of their segment must be there by then.
#[test]
fn a_recovered_segment_leaves_the_producers_behind_when_it_goes() {
    for steps in 0..40 {
        let (mut world, id) = with_log(steps);
        let mine = |n: i32| batch(&values(n as usize, 1), 1000, Some((7, 0, n)));
        for n in 0..3 {
            world.put(id, &mine(n));
        }
        let rolls = batch(&["x".repeat(1900)], 1000, None);
        world.put(id, &rolls);
        assert_eq!(world.store.view(id).expect("there").segments, 2);
        for _ in 0..steps {
            world.step();
        }
        let id = world.restart(false);
        let end = world.store.view(id).expect("there").end;
        if end < Offset(4) {
            continue;
        }
        world.store.configure(id, small_log());
        world.store.note_high_watermark(id, end);
        world
            .call(|store, cx| store.delete_records(cx, id, Offset(3)))
            .expect("online");
        world.settle();
        world.sleep(world.config.retention_check_interval_ms + 1);
        assert_eq!(world.store.view(id).expect("there").segments, 1);
        let id = world.restart(false);
        let next = world.append(id, &mine(4)).map_err(|error| error.code());
        assert_eq!(next.err(), Some(45), "{steps} steps: a gap is noticed");
        let next = world.append(id, &mine(3)).map_err(|error| error.code());
        assert_eq!(next.map(|done| done.base), Ok(end), "{steps} steps");
    }
}

/// A killed process leaves a log in the middle of its creation: what the next life promises in it survives a power cut.
#[test]
fn a_log_that_was_being_created_is_durable_before_it_is_written() {
    for (seed, steps) in (0..20).flat_map(|seed| (0..12).map(move |steps| (seed, steps))) {
        let mut world = World::new(seed, small());
        world.start();
        world.begin_create("t", small_log());
        for _ in 0..steps {
            world.step();
        }
        world.crash(false);
        world.start();
        let known = world.store.find(topic_id("t"), PartitionIndex(0));
        let id = known.unwrap_or_else(|| world.create("t", small_log()));
        world.store.configure(id, small_log());
        let sent = batch(&values(0, 3), 1000, None);
        world.put(id, &sent);
        while world.durable(id) < 3 {
            assert!(world.step(), "seed {seed}, {steps} steps: never durable");
        }
        let id = world.restart(true);
        assert_eq!(world.values(id), values(0, 3), "seed {seed}, {steps} steps");
    }
}

/// A checkpoint may hold the only proof of what was synced: a roll or a moved start does not take it back.
#[test]
fn the_recovery_point_does_not_go_back() {
    rolls_and_trims(Mutants::NONE);
    assert!(goes_wrong(Mutant::LowerRecoveryPoint, rolls_and_trims));
}

fn rolls_and_trims(mutants: Mutants) {
    for steps in 0..80 {
        let mut world = World::new(steps, small());
        world.mutants = mutants;
        world.start();
        let id = world.create("t", small_log());
        for n in 0..3 {
            let sent = batch(&long_values(4 * n, 4), 1000, None);
            world.put(id, &sent);
        }
        world.settle();
        let id = world.restart(true);
        world.store.configure(id, small_log());
        let promised = world.store.view(id).expect("there").durable;
        world.store.note_high_watermark(id, promised);
        world.settle();
        world.sleep(world.config.checkpoint_interval_ms + 1);
        // Something rolls, and checkpoints are written while it is sealed.
        let large = batch(&["x".repeat(1900)], 1000, None);
        world.put(id, &large);
        world
            .call(|store, cx| store.delete_records(cx, id, Offset(1)))
            .expect("online");
        for _ in 0..steps {
            world.step();
            world.call(|store, cx| {
                store.want_checkpoint(cx, 0, CheckpointKind::RecoveryPoints, None)
            });
            let log = world.store.log(id).expect("there");
            let least = log.recovery_point(mutants);
            assert!(
                least >= promised,
                "{steps} steps: {least:?} of {promised:?}"
            );
        }
        world.crash(true);
        // The first batch rots: it was promised, so that the log is out of reach and not cut.
        world
            .disk
            .rot("t-0/00000000000000000000.log", |bytes| bytes[100] ^= 1);
        world.start();
        let view = world.store.view(world.find("t")).expect("there");
        assert!(
            !view.online || view.end >= promised,
            "{steps} steps: cut at {:?} of {promised:?}",
            view.end
        );
    }
}

/// What a killed process leaves of a creation is believed by the next life only as far as a power cut leaves it, too.
#[test]
fn a_creation_that_was_cut_short_is_whole_or_made_anew() {
    cut_a_creation_short(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::TrustUnsyncedPartitionMetadata,
        cut_a_creation_short
    ));
}

fn cut_a_creation_short(mutants: Mutants) {
    for seed in 0..150 {
        let mut world = World::new(seed, small());
        world.mutants = mutants;
        world.start();
        world.begin_create("t", small_log());
        for _ in 0..seed % 15 {
            world.step();
        }
        world.crash(false);
        world.start();
        let known = world.store.find(topic_id("t"), PartitionIndex(0));
        let id = known.unwrap_or_else(|| world.create("t", small_log()));
        world.put(id, &batch(&values(0, 2), 1000, None));
        world.settle();
        assert_eq!(world.durable(id), 2);
        let id = world.restart(true);
        assert_eq!(world.values(id), values(0, 2), "seed {seed}");
    }
}

/// The bound of a lookup is older than its answer: batches above it may have left memory while an index was read.
#[test]
fn the_greatest_timestamp_is_found_while_later_batches_leave_memory() {
    for seed in 0..60 {
        let config = StoreConfig {
            hot_bytes: 0,
            ..small()
        };
        let mut world = World::new(seed, config);
        world.start();
        let id = world.create("t", small_log());
        let segments = |world: &World| world.store.view(id).expect("there").segments;
        let mut end = 0;
        while segments(&world) < 3 {
            let sent = batch(&long_values(end, 4), 1000, None);
            world.put(id, &sent);
            world.settle();
            end += 4;
        }
        // The greatest so far is in the active segment, which has room for what comes later.
        let greatest = batch(&values(end, 1), 2000, None);
        world.put(id, &greatest);
        world.settle();
        world.stop();
        world.start();
        let id = world.find("t");
        world.store.configure(id, small_log());
        let below = world.store.view(id).expect("there").end;
        world.store.note_high_watermark(id, below);
        let query = TimestampQuery {
            target: TimestampTarget::Max,
            below,
        };
        let asked = world.call(|store, cx| store.lookup_timestamp(cx, id, query));
        let LookupOutcome::Later(asked) = asked.expect("online") else {
            panic!("an index must be read");
        };
        let mut appended = 0;
        while world.step() {
            let promised = world.store.view(id).expect("there").durable;
            world.store.note_high_watermark(id, promised);
            if appended < 8 {
                let sent = batch(&values(appended, 1), 5000 + appended as i64, None);
                world.put(id, &sent);
                appended += 1;
            }
        }
        let found = world.told.iter().find_map(|notice| match notice {
            Notice::LookupDone(id, result) if *id == asked => Some(result.clone()),
            _ => None,
        });
        let found = found.expect("answered").expect("readable").expect("found");
        assert!(found.timestamp >= 2000, "seed {seed}: {}", found.timestamp);
    }
}

/// The directory of a log is closed early in a stop, long before the last answer: nothing is read in it any more.
#[test]
fn nothing_is_read_from_disk_once_a_stop_has_begun() {
    let mut world = super::world_with(4, 100);
    let id = world.find("t");
    let read = Read {
        from: Offset(0),
        max_bytes: 1 << 20,
        below: Offset(100),
        at_least_one: true,
    };
    let query = TimestampQuery {
        target: TimestampTarget::AtLeast(0),
        below: Offset(100),
    };
    let file = Name::new("quorum-state").expect("a name");
    world.call(|store, cx| store.shutdown(cx, 5));
    for _ in 0..3 {
        world.call(|store, cx| store.read_file(cx, id, file.clone()));
        world.call(|store, cx| store.replace_file(cx, id, file.clone(), Bytes::from("x")));
        world.call(|store, cx| store.remove_file(cx, id, file.clone()));
        let refused = world.call(|store, cx| store.read(cx, id, read));
        assert_eq!(refused, Err(ReadError::Stopping));
        let refused = world.call(|store, cx| store.lookup_timestamp(cx, id, query));
        assert_eq!(refused, Err(ReadError::Stopping));
        world.settle();
    }
    assert!(world.told.contains(&Notice::Stopped));
    assert!(!world.disk.tree().contains_key("t-0/quorum-state"));
}

/// What a full disk takes back was the newest: the greatest timestamp of what stays is known without the index, which has no entry yet.
#[test]
fn a_rolled_back_append_leaves_the_lookups_of_the_others() {
    let mut world = World::new(3, small());
    world.start();
    let config = LogConfig {
        index_interval_bytes: 1 << 20,
        ..LogConfig::default()
    };
    let id = world.create("t", config);
    for n in 0..20 {
        let sent = batch(&["x".repeat(1000)], 5000 - n, None);
        world.put(id, &sent);
        world.settle();
    }
    world.disk.room = Some(500);
    let lost = batch(&["x".repeat(1000)], 6000, None);
    world.append(id, &lost).expect("accepted");
    world.settle();
    assert_eq!(world.store.view(id).expect("there").end, Offset(20));
    assert_eq!(
        world.look_up(id, TimestampTarget::AtLeast(4990)),
        Some((5000, 0))
    );
    assert_eq!(world.look_up(id, TimestampTarget::AtLeast(5001)), None);
    assert_eq!(world.look_up(id, TimestampTarget::Max), Some((5000, 0)));
}

/// A power cut may take the records of the first segment and leave those of the second: the empty first one stays the log's.
#[test]
fn a_gap_behind_an_empty_first_segment_is_cut() {
    let mut cut = 0;
    for seed in 0..800 {
        let (mut world, id) = with_log(seed);
        for n in 0..2 {
            let sent = batch(&["x".repeat(1900)], 1000 + n, None);
            world.put(id, &sent);
        }
        for _ in 0..seed % 40 {
            world.step();
        }
        let promised = world.durable(id) > 0;
        world.crash(false);
        let written = |name: &str| {
            let tree = world.disk.tree();
            let mut same = tree.iter().filter(|(known, _)| known.starts_with(name));
            same.any(|(_, content)| !content.is_empty())
        };
        if promised || !written("t-0/00000000000000000001.log") {
            continue;
        }
        world.disk.rot("t-0/00000000000000000000.log", Vec::clear);
        world.start();
        let id = world.find("t");
        let view = world.store.view(id).expect("there");
        assert!(view.online, "{:?}", view.offline);
        assert_eq!((view.start, view.end), (Offset(0), Offset(0)));
        let again = batch(&values(0, 2), 1002, None);
        world.put(id, &again);
        world.settle();
        assert_eq!(world.values(id), values(0, 2));
        cut += 1;
    }
    assert!(cut > 0);
}

/// A batch's offset stands before what its checksum covers.
#[test]
fn an_offset_that_rotted_below_the_floor_is_no_gap() {
    let (mut world, id) = with_log(2);
    world.put(id, &batch(&values(0, 2), 1000, None));
    world.settle();
    world.sleep(world.config.checkpoint_interval_ms + 1);
    world.crash(true);
    world
        .disk
        .rot("t-0/00000000000000000000.log", |bytes| bytes[5] ^= 0x10);
    world.start();
    let id = world.find("t");
    let view = world.store.view(id).expect("there");
    assert!(!view.online, "it ends at {}", view.end);
    assert!(world.marked(Mark::RotDetected));
}

/// A batch that was deleted from the start of the log is still known to its producer's retry, after a crash too.
#[test]
fn deleted_records_leave_their_producer_behind_in_a_crash() {
    retries_what_was_deleted(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::ForgetProducersBelowStart,
        retries_what_was_deleted
    ));
}

fn retries_what_was_deleted(mutants: Mutants) {
    for power in [true, false] {
        let (mut world, id) = with_log(3);
        world.mutants = mutants;
        let mine = batch(&values(0, 2), 1000, Some((7, 0, 0)));
        world.put(id, &mine);
        world.put(id, &batch(&values(2, 2), 1000, None));
        world.settle();
        world.store.note_high_watermark(id, Offset(4));
        world
            .call(|store, cx| store.delete_records(cx, id, Offset(3)))
            .expect("online");
        world.settle();
        let id = world.restart(power);
        assert_eq!(world.store.view(id).expect("there").start, Offset(3));
        let again = world.put(id, &mine);
        assert!(again.duplicate, "{again:?}");
        assert_eq!(world.store.view(id).expect("there").end, Offset(4));
    }
}

/// The marker of a clean stop says that everything is there: a last segment that is gone or shorter by whole batches is not.
#[test]
fn a_tail_that_is_missing_after_a_clean_stop_takes_the_log_offline() {
    shorten_after_a_stop(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::TrustMarkerOfShorterLog,
        shorten_after_a_stop
    ));
}

fn shorten_after_a_stop(mutants: Mutants) {
    for (cut, first) in [(true, false), (false, false), (false, true)] {
        let (mut world, id) = with_log(3);
        world.mutants = mutants;
        let count = if first { 4 } else { 60 };
        for n in (0..count).step_by(2) {
            world.put(id, &batch(&values(n, 2), 1000, None));
            world.settle();
        }
        world.stop();
        let tree = world.disk.tree();
        let mut files = tree
            .keys()
            .filter(|f| f.starts_with("t-0/") && f.ends_with(".log"));
        let active = files.next_back().expect("a segment").clone();
        assert_eq!(files.next().is_none(), first);
        if cut {
            let sent = crate::wire::batch::batches(&Bytes::from(tree[&active].clone()))
                .map(|batch| batch.expect("whole").bytes.len())
                .last();
            let len = tree[&active].len() - sent.expect("a batch");
            world.disk.rot(&active, |bytes| bytes.truncate(len));
        } else {
            world.disk.remove("t-0", active.trim_start_matches("t-0/"));
        }
        world.start();
        let view = world.store.view(world.find("t")).expect("there");
        assert!(!view.online, "it ends at {}", view.end);
        assert!(world.marked(Mark::RotDetected));
    }
}

/// Kafka's own recovery point may lag behind the end of a log that was stopped cleanly.
#[test]
fn a_recovery_point_below_the_end_is_no_fault_after_a_clean_stop() {
    let mut world = super::world_with(3, 60);
    world.stop();
    let file = "recovery-point-offset-checkpoint";
    world.disk.rot(file, |bytes| {
        let text = String::from_utf8_lossy(bytes).replace("t 0 60", "t 0 31");
        *bytes = text.into_bytes();
    });
    world.start();
    let id = world.find("t");
    assert_eq!(world.values(id), values(0, 60));
}

/// Epochs that were lost with their records are not held against what is written in their place.
#[test]
fn lost_epochs_are_off_the_disk_before_others_are_written() {
    loses_epochs(Mutants::NONE);
    assert!(goes_wrong(Mutant::OpenOverLostEpochs, loses_epochs));
}

fn loses_epochs(mutants: Mutants) {
    let mut lost = 0;
    for seed in 0..300 {
        let mut world = World::new(seed, small());
        world.mutants = mutants;
        world.start();
        let config = LogConfig {
            flush_messages: (seed % 2 == 0).then_some(1000),
            ..small_log()
        };
        let id = world.create("t", config.clone());
        let put = |world: &mut World, id, from: usize, epoch: i32| {
            let append = Append {
                batch: ValidBatch::trusted(&batch(&values(from, 2), 1000, None)).expect("whole"),
                epoch: LeaderEpoch(epoch),
                origin: Origin::Client,
            };
            world
                .call(|store, cx| store.append(cx, id, append))
                .expect("online");
        };
        put(&mut world, id, 0, 0);
        put(&mut world, id, 2, 0);
        // Another epoch begins before they are durable.
        world.call(|store, cx| store.begin_epoch(cx, id, LeaderEpoch(1)));
        for _ in 0..seed % 30 {
            world.step();
        }
        world.crash(true);
        world.config.default_config = config;
        world.store = LogStore::new(world.config.clone(), &boot());
        world.call(LogStore::start);
        let opened = |told: &Notice| matches!(told, Notice::Opened(_));
        while !world.told.iter().any(opened) {
            assert!(world.step(), "seed {seed}: never open");
        }
        let id = world.find("t");
        let end = world.store.view(id).expect("there").end;
        lost += usize::from(end < Offset(4));
        world.call(|store, cx| store.begin_epoch(cx, id, LeaderEpoch(2)));
        put(&mut world, id, 10, 2);
        let written = Notice::Written(id, end.next().next());
        for _ in 0..40 {
            if !world.told.contains(&written) {
                world.step();
            }
        }
        if !world.told.contains(&written) {
            continue;
        }
        world.events.clear();
        let id = world.restart(false);
        let view = world.store.view(id).expect("there");
        assert!(view.online, "seed {seed}: {:?}", view.offline);
        assert!(
            view.end >= end.next().next(),
            "seed {seed}: {end} {}",
            view.end
        );
        assert!(!world.marked(Mark::TornTailCut));
    }
    assert!(lost > 20, "{lost}");
}

/// A sync that failed leaves what it did not write in the page cache, and no later sync writes it: the next life writes it again.
#[test]
fn what_a_failed_sync_left_is_written_again() {
    restarts_after_a_failed_sync(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::TrustPageCache,
        restarts_after_a_failed_sync
    ));
}

fn restarts_after_a_failed_sync(mutants: Mutants) {
    let mut kept = 0;
    for seed in 0..40 {
        let (mut world, id) = with_log(seed);
        world.mutants = mutants;
        let mut sent = 0;
        for (many, fails) in [(1 + seed % 3, false), (1 + seed % 7, true)] {
            world.disk.fail_sync = fails;
            for _ in 0..many {
                world.put(id, &batch(&long_values(sent, 2), 1000, None));
                sent += 2;
            }
            world.settle();
        }
        assert!(world.marked(Mark::DirectoryFenced));
        let id = world.restart(false);
        let durable = world.durable(id) as usize;
        kept += usize::from(durable == sent);
        let id = world.restart(true);
        assert_eq!(world.values(id), long_values(0, durable), "seed {seed}");
    }
    assert!(kept > 10, "{kept}");
}
