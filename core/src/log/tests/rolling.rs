//! When a segment ends, and when a producer is forgotten.

use super::world::{World, batch};
use super::{small, values};
use crate::ids::LogId;
use crate::log::LogConfig;

/// A log `t` that only what a test sets makes roll.
fn log_with(change: impl FnOnce(&mut LogConfig)) -> (World, LogId) {
    let mut world = World::new(1, small());
    world.start();
    let mut config = LogConfig::default();
    change(&mut config);
    let id = world.create("t", config);
    (world, id)
}

/// Appends a batch of one record and tells how many segments there are.
fn segments_after(world: &mut World, id: LogId, timestamp: i64) -> usize {
    let sent = batch(&values(0, 1), timestamp, None);
    world.put(id, &sent);
    world.settle();
    world.store.view(id).expect("there").segments
}

#[test]
fn a_segment_ends_at_its_age_by_the_timestamps_of_its_batches() {
    let (mut world, id) = log_with(|config| config.segment_ms = 1000);
    assert_eq!(segments_after(&mut world, id, 5000), 1);
    assert_eq!(segments_after(&mut world, id, 6000), 1);
    world.sleep(5000);
    assert_eq!(segments_after(&mut world, id, 6000), 1, "no clock counts");
    assert_eq!(segments_after(&mut world, id, 6001), 2);
    assert_eq!(segments_after(&mut world, id, 5000), 2);
    assert_eq!(segments_after(&mut world, id, 7002), 3);
}

#[test]
fn a_segment_of_batches_without_a_timestamp_ends_by_the_clock() {
    let (mut world, id) = log_with(|config| config.segment_ms = 1000);
    assert_eq!(segments_after(&mut world, id, -1), 1);
    world.sleep(1000);
    assert_eq!(segments_after(&mut world, id, -1), 1);
    world.sleep(1);
    assert_eq!(segments_after(&mut world, id, -1), 2);
}

#[test]
fn a_jitter_makes_segments_end_earlier_and_not_all_at_once() {
    let jittered = |segment_jitter_ms| LogConfig {
        segment_ms: 1000,
        segment_jitter_ms,
        ..LogConfig::default()
    };
    let (mut world, first) = log_with(|config| *config = jittered(500));
    let second = world.create("u", jittered(500));
    let widest = world.create("v", jittered(i64::MAX));
    let mut ends = |id| (0..=1001).find(|age| segments_after(&mut world, id, 5000 + age) == 2);
    let (first, second, widest) = (ends(first), ends(second), ends(widest));
    let early = |end: Option<i64>| end.is_some_and(|end| (501..=1001).contains(&end));
    assert!(early(first) && early(second), "{first:?} {second:?}");
    assert_ne!(first, second);
    assert!(
        widest.is_some_and(|end| end > 1),
        "not at every batch: {widest:?}"
    );
}

#[test]
fn a_segment_ends_when_an_index_is_full() {
    // Five entries of 8 bytes by offset; three of 12 by time, of which the roll takes the last. A first batch has no entry.
    let rolls = |step: i64| -> Vec<usize> {
        let (mut world, id) = log_with(|config| {
            config.segment_index_bytes = 40;
            config.index_interval_bytes = 0;
        });
        let times = (0..7).map(|n| 5000 + n * step);
        times
            .map(|time| segments_after(&mut world, id, time))
            .collect()
    };
    assert_eq!(rolls(0), [1, 1, 1, 1, 1, 1, 2], "by offset");
    assert_eq!(rolls(1), [1, 1, 1, 2, 2, 2, 3], "by time");
}

#[test]
fn a_producer_that_was_idle_too_long_is_forgotten() {
    let mut config = small();
    config.producer_id_expiration_ms = 600_000;
    let mut world = World::new(1, config);
    world.start();
    let id = world.create("t", LogConfig::default());
    let now = world.now.wall.0;
    let send = |world: &mut World, sequence| {
        let sent = batch(&values(0, 1), now, Some((9, 1, sequence)));
        world.append(id, &sent).map_err(|error| error.code()).err()
    };
    assert_eq!(send(&mut world, 0), None);
    world.settle();
    let check = world.config.retention_check_interval_ms;
    world.sleep(check + 1);
    assert_eq!(send(&mut world, 7), Some(45), "a gap is noticed");
    world.sleep(600_000);
    assert_eq!(send(&mut world, 7), None, "nobody knows it any more");
}
