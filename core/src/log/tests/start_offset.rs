//! Where a log starts: what was told of it survives every crash, at any step.

use super::world::{World, batch};
use super::{goes_wrong, small, small_log, values};
use crate::ids::{LogId, Offset};
use crate::log::Notice;
use crate::log::plan::CheckpointKind;
use crate::mutant::{Mutant, Mutants};

/// A world whose log `t` has 40 records in several segments, all of them durable.
fn world_of_segments(seed: u64, mutants: Mutants) -> (World, LogId) {
    let mut world = World::new(seed, small());
    world.mutants = mutants;
    world.start();
    let id = world.create("t", small_log());
    world.call(|store, _| store.configure(id, small_log()));
    for n in (0..40).step_by(2) {
        world.put(id, &batch(&values(n, 2), 1_000_000, None));
        world.settle();
    }
    assert!(world.store.view(id).expect("there").segments > 1);
    world.store.note_high_watermark(id, Offset(40));
    (world, id)
}

fn delete_below(world: &mut World, id: LogId, to: i64) {
    world
        .call(|store, cx| store.delete_records(cx, id, Offset(to)))
        .expect("online");
}

/// The greatest start that was told.
fn told(world: &World, id: LogId) -> Offset {
    let moves = world.told.iter().filter_map(|notice| match notice {
        Notice::StartMoved(log, start) if *log == id => Some(*start),
        _ => None,
    });
    moves.max().unwrap_or_default()
}

/// Crashes until the log was opened twice: it starts where it was told to, or later.
fn crash_and_look(world: &mut World, power: bool, told: Offset, which: &str) {
    for power in [power, true] {
        let id = world.restart(power);
        let view = world.store.view(id).expect("there");
        assert!(view.online, "{which}: {:?}", view.offline);
        let start = view.start;
        assert!(start >= told, "{which}: told {told}, starts at {start}");
        world.store.configure(id, small_log());
    }
}

/// A deletion is told when it is durable: not when the checkpoint of an earlier one is, nor when a segment has gone.
#[test]
fn a_deletion_of_records_is_told_when_it_lasts() {
    deletes_one_after_the_other(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::TellStartBeforeCheckpoint,
        deletes_one_after_the_other
    ));
}

fn deletes_one_after_the_other(mutants: Mutants) {
    let mut told_in_time = 0;
    for (seed, first) in (0..30).flat_map(|seed| (0..8).map(move |first| (seed, first))) {
        let (mut world, id) = world_of_segments(seed, mutants);
        delete_below(&mut world, id, 1);
        for _ in 0..first {
            world.step();
        }
        delete_below(&mut world, id, 25);
        for _ in 0..seed {
            world.step();
        }
        let told = told(&world, id);
        told_in_time += usize::from(told >= Offset(25));
        crash_and_look(&mut world, true, told, &format!("seed {seed}, {first}"));
    }
    assert!(told_in_time > 10, "{told_in_time}");
}

/// Whoever asked for less than what is on its way is answered, too, when that lasts.
#[test]
fn every_deletion_is_told_in_the_end() {
    for seed in 0..20 {
        let (mut world, id) = world_of_segments(seed, Mutants::NONE);
        for to in [30, 5, 0, 31, 31] {
            delete_below(&mut world, id, to);
            for _ in 0..seed % 4 {
                world.step();
            }
        }
        world.settle();
        assert_eq!(told(&world, id), Offset(31), "seed {seed}");
        let view = world.store.view(id).expect("there");
        assert_eq!((view.start, view.durable_start), (Offset(31), Offset(31)));
    }
}

/// The base of the second segment tells the start only once the first cannot come back: a checkpoint in between says it, too.
#[test]
fn a_checkpoint_keeps_the_start_while_a_segment_is_being_removed() {
    checkpoints_while_it_removes(Mutants::NONE);
    assert!(goes_wrong(
        Mutant::ForgetStartWhileRemoving,
        checkpoints_while_it_removes
    ));
}

fn checkpoints_while_it_removes(mutants: Mutants) {
    let mut removing = 0;
    for (seed, steps) in (0..12).flat_map(|seed| (0..40).map(move |steps| (seed, steps))) {
        let (mut world, id) = world_of_segments(seed, mutants);
        let second = world.store.log(id).expect("there").segments[1].base;
        delete_below(&mut world, id, second.0);
        while told(&world, id) < second {
            assert!(world.step(), "never durable");
        }
        for _ in 0..steps {
            world.call(|store, cx| {
                store.want_checkpoint(cx, 0, CheckpointKind::StartOffsets, None);
            });
            world.step();
        }
        removing += usize::from(world.store.log(id).expect("there").removing);
        let power = seed % 2 == 0;
        crash_and_look(&mut world, power, second, &format!("seed {seed}, {steps}"));
    }
    assert!(removing > 10, "{removing}");
}
