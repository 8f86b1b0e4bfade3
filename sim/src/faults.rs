//! Which faults a seed draws, how often they strike, and how slow its world is: the swarm.
//!
//! Every seed turns each kind of fault on or off and draws its rate, so that some runs see one kind only and others all of
//! them. Owns the draw; the world carries the faults out.

use crate::choice::{Choices, Subsystem};
use crate::client::{MILLISECOND, SECOND};
use crate::net::Link;

/// A kind of fault that the world is told to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Fault {
    /// The process is killed; the page cache survives.
    ProcessCrash = 1,
    /// The machine loses power.
    PowerCut,
    /// The process is asked to stop, and starts again.
    CleanRestart,
    /// The process stands still for a while.
    Pause,
    /// Nothing of one client's traffic in one direction arrives for a while.
    Clog,
    /// A connection is reset.
    Reset,
    /// A client's process ends without a word and starts again; its connection stays half open.
    ClientVanishes,
    /// The wall clock is set.
    ClockJump,
    /// The disk is slow for a while.
    SlowDisk,
    /// An operation of the disk fails.
    DiskError,
    /// The disk is full for a while.
    DiskFull,
    /// The threads that do the jobs of work are starved for a while, and long work waits for its next piece.
    SlowWork,
    /// A bit of a record that was synced long ago turns over on the medium.
    Rot,
    /// A sector of a record that was synced long ago cannot be read any more.
    LatentError,
    /// A sector that was written long ago had gone where another one belongs.
    MisdirectedWrite,
    /// A sector of an index, a snapshot or a small file of a partition cannot be read any more.
    LatentErrorBeside,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 16] = [
        Fault::ProcessCrash,
        Fault::PowerCut,
        Fault::CleanRestart,
        Fault::Pause,
        Fault::Clog,
        Fault::Reset,
        Fault::ClientVanishes,
        Fault::ClockJump,
        Fault::SlowDisk,
        Fault::DiskError,
        Fault::DiskFull,
        Fault::SlowWork,
        Fault::Rot,
        Fault::LatentError,
        Fault::MisdirectedWrite,
        Fault::LatentErrorBeside,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::ProcessCrash => "process-crash",
            Fault::PowerCut => "power-cut",
            Fault::CleanRestart => "clean-restart",
            Fault::Pause => "pause",
            Fault::Clog => "clog",
            Fault::Reset => "reset",
            Fault::ClientVanishes => "client-vanishes",
            Fault::ClockJump => "clock-jump",
            Fault::SlowDisk => "slow-disk",
            Fault::DiskError => "disk-error",
            Fault::DiskFull => "disk-full",
            Fault::SlowWork => "slow-work",
            Fault::Rot => "rot",
            Fault::LatentError => "latent-error",
            Fault::MisdirectedWrite => "misdirected-write",
            Fault::LatentErrorBeside => "latent-error-beside",
        }
    }

    /// In how many of a hundred seeds it is on, and the typical seconds between two of them then.
    fn habit(self) -> (u64, u64) {
        match self {
            Fault::ProcessCrash => (60, 12),
            Fault::PowerCut => (70, 12),
            Fault::CleanRestart => (35, 20),
            Fault::Pause => (40, 10),
            Fault::Clog => (50, 8),
            Fault::Reset => (50, 5),
            Fault::ClientVanishes => (40, 10),
            Fault::ClockJump => (30, 15),
            Fault::SlowDisk => (40, 12),
            Fault::DiskError => (20, 12),
            Fault::DiskFull => (12, 25),
            Fault::SlowWork => (40, 8),
            Fault::Rot => (8, 25),
            Fault::LatentError | Fault::MisdirectedWrite => (6, 30),
            Fault::LatentErrorBeside => (8, 25),
        }
    }
}

/// How slow and how uneven a world is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Typical nanoseconds of a read, write or entry operation.
    pub disk: u64,
    /// Typical nanoseconds of a sync.
    pub sync: u64,
    /// Typical nanoseconds of a job of work.
    pub work: u64,
    /// Typical nanoseconds before the next piece of long work, in which other inputs come.
    pub piece: u64,
}

/// What a seed drew.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// When which fault strikes, in order of time.
    pub plan: Vec<(u64, Fault)>,
    /// How fast things are.
    pub pace: Pace,
    /// Wall-clock skew of the machine in milliseconds.
    pub skew_ms: i64,
    /// Its drift in parts per million.
    pub drift_ppm: i64,
}

/// Before this nothing fails: topics are created and clients connect.
const WARM_UP: u64 = SECOND;
/// Kinds of fault that every seed draws at least.
const KINDS_MIN: usize = 4;

impl Swarm {
    /// Draws for a safety phase of `duration` nanoseconds.
    #[must_use]
    pub fn draw(choices: &mut Choices, duration: u64) -> Swarm {
        let mut kinds: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| choices.below(100, Subsystem::Swarm, *fault as u64) < fault.habit().0)
            .collect();
        // A seed that drew hardly any fault would not count: it gets ordinary ones.
        for fault in [
            Fault::Reset,
            Fault::ProcessCrash,
            Fault::Clog,
            Fault::PowerCut,
            Fault::Pause,
        ] {
            if kinds.len() < KINDS_MIN && !kinds.contains(&fault) {
                kinds.push(fault);
            }
        }
        let mut plan = Vec::new();
        for fault in kinds {
            let subject = fault as u64;
            let typical = fault.habit().1 * SECOND;
            // From a third of the typical gap to twice.
            let gap = choices.between(typical / 3, typical * 2, Subsystem::Swarm, subject);
            let mut at = WARM_UP;
            loop {
                at += choices.between(gap / 4, gap * 7 / 4, Subsystem::FaultTime, subject);
                if at >= duration {
                    break;
                }
                plan.push((at, fault));
            }
        }
        plan.sort_unstable();
        let mut log_scale = |what: u64, low: u64, doublings: u64| {
            let word = choices.below(doublings * 16, Subsystem::Swarm, 100 + what);
            (low << (word / 16)) + (low << (word / 16)) * (word % 16) / 16
        };
        let pace = Pace {
            disk: log_scale(0, 10_000, 7),
            sync: log_scale(1, 150_000, 7),
            work: log_scale(2, 5_000, 9),
            piece: log_scale(3, 1_000, 14),
        };
        // Where it is none, a node that never ends with its pieces is told from a slow one.
        let pace = match choices.below(4, Subsystem::Swarm, 98) {
            0 => Pace { piece: 0, ..pace },
            _ => pace,
        };
        let skew = choices.below(1_200_000, Subsystem::Clock, 0);
        let drift = choices.below(1001, Subsystem::Clock, 1);
        Swarm {
            plan,
            pace,
            skew_ms: i64::try_from(skew).unwrap_or(0) - 600_000,
            drift_ppm: i64::try_from(drift).unwrap_or(0) - 500,
        }
    }

    /// How one client's link behaves.
    pub fn link(choices: &mut Choices, client: u64) -> Link {
        let subject = 1000 + client;
        let doublings = choices.below(9, Subsystem::Swarm, subject);
        let cut = choices.pick(&[0, 10_000, 100_000, 500_000], Subsystem::Swarm, subject);
        let buffer = choices.pick(&[4 << 10, 64 << 10, 1 << 20], Subsystem::Swarm, subject);
        Link {
            latency: 30_000 << doublings,
            per_kib: choices.between(100, 20_000, Subsystem::Swarm, subject),
            cut_per_million: cut,
            buffer,
        }
    }
}

/// How long a fault lasts, in nanoseconds.
pub fn lasts(choices: &mut Choices, fault: Fault) -> u64 {
    let (low, high) = match fault {
        Fault::ProcessCrash | Fault::CleanRestart => (20 * MILLISECOND, 3 * SECOND),
        Fault::PowerCut => (300 * MILLISECOND, 8 * SECOND),
        Fault::Pause => (50 * MILLISECOND, 4 * SECOND),
        Fault::Clog => (100 * MILLISECOND, 12 * SECOND),
        Fault::SlowDisk | Fault::SlowWork => (200 * MILLISECOND, 4 * SECOND),
        Fault::DiskError => (SECOND, 4 * SECOND),
        Fault::DiskFull => (300 * MILLISECOND, 4 * SECOND),
        Fault::Reset
        | Fault::ClientVanishes
        | Fault::ClockJump
        | Fault::Rot
        | Fault::LatentError
        | Fault::MisdirectedWrite
        | Fault::LatentErrorBeside => (0, 0),
    };
    choices.between(low, high, Subsystem::FaultShape, fault as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_draw_different_subsets_in_order() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let swarm = Swarm::draw(&mut Choices::new(seed), 60 * SECOND);
            assert!(swarm.plan.is_sorted());
            assert!(
                swarm
                    .plan
                    .iter()
                    .all(|(at, _)| (WARM_UP..60 * SECOND).contains(at))
            );
            let kinds: std::collections::BTreeSet<Fault> =
                swarm.plan.iter().map(|(_, fault)| *fault).collect();
            seen.insert(kinds);
        }
        assert!(seen.len() > 30, "{} subsets", seen.len());
    }
}
