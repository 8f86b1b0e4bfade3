//! Every random choice of a run, keyed by what it is about.
//!
//! A choice is a function of (seed, subsystem, subject, nth): the nth time that this subsystem asks about this subject.
//! There is no shared stream, so one fault or operation more or less leaves every other choice as it was. Owns the seed
//! and the occurrence counters; never the meaning of a choice.

use std::collections::BTreeMap;

use trialog_core::rng::{keyed, scale};

/// Which part of the simulated world asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Subsystem {
    /// Which faults and knobs a seed draws at all.
    Swarm = 1,
    /// When a planned fault strikes.
    FaultTime,
    /// What a fault does when it strikes.
    FaultShape,
    /// How long a disk operation takes.
    DiskLatency,
    /// Whether a disk operation fails.
    DiskFault,
    /// What a killed process leaves of operations in flight.
    CrashLoss,
    /// What a power cut leaves of unsynced bytes and entries.
    PowerLoss,
    /// How long bytes travel.
    NetLatency,
    /// How a send is cut into deliveries.
    NetChunk,
    /// How long a job of work takes.
    WorkLatency,
    /// The clocks of a machine.
    Clock,
    /// What a client does next.
    Client,
    /// Topics, partitions and clients of a run.
    Workload,
    /// The seed that the node is given.
    NodeSeed,
}

/// The source of all choices of one run.
#[derive(Clone, Debug)]
pub struct Choices {
    keys: [u64; 2],
    asked: BTreeMap<(Subsystem, u64), u64>,
}

impl Choices {
    /// All choices of the run of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Choices {
        Choices {
            keys: [seed, seed ^ 0x7472_6961_6c6f_6721],
            asked: BTreeMap::new(),
        }
    }

    /// 64 uniform bits for the next time that `subsystem` asks about `subject`.
    pub fn word(&mut self, subsystem: Subsystem, subject: u64) -> u64 {
        let nth = self.asked.entry((subsystem, subject)).or_default();
        *nth += 1;
        keyed(
            self.keys[0],
            self.keys[1],
            [subsystem as u64, subject, *nth],
        )
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64, subsystem: Subsystem, subject: u64) -> u64 {
        scale(self.word(subsystem, subject), bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64, subsystem: Subsystem, subject: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1, subsystem, subject)
    }

    /// True `per_million` times in a million.
    pub fn happens(&mut self, per_million: u32, subsystem: Subsystem, subject: u64) -> bool {
        per_million > 0 && self.below(1_000_000, subsystem, subject) < u64::from(per_million)
    }

    /// One of `options`, each as likely as the others.
    pub fn pick<T: Copy>(&mut self, options: &[T], subsystem: Subsystem, subject: u64) -> T {
        let nth = self.below(options.len() as u64, subsystem, subject);
        options[usize::try_from(nth).unwrap_or(0)]
    }

    /// A delay in nanoseconds: mostly near `typical`, at times many times it. The tail is what reorders things.
    pub fn delay(&mut self, typical: u64, subsystem: Subsystem, subject: u64) -> u64 {
        let word = self.word(subsystem, subject);
        let spread = typical / 2 + scale(word, typical);
        match word & 0x3f {
            0 => spread.saturating_mul(30),
            1..=4 => spread.saturating_mul(6),
            _ => spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_about_one_thing_leave_the_others_as_they_were() {
        let mut quiet = Choices::new(7);
        let mut busy = Choices::new(7);
        for _ in 0..10 {
            busy.word(Subsystem::NetLatency, 1);
        }
        assert_eq!(
            quiet.word(Subsystem::DiskLatency, 1),
            busy.word(Subsystem::DiskLatency, 1)
        );
        assert_eq!(
            quiet.word(Subsystem::NetLatency, 2),
            busy.word(Subsystem::NetLatency, 2)
        );
        assert_ne!(
            quiet.word(Subsystem::NetLatency, 1),
            busy.word(Subsystem::NetLatency, 1)
        );
    }

    #[test]
    fn bounds_hold() {
        let mut choices = Choices::new(1);
        assert!((0..1000).all(|n| (3..=5).contains(&choices.between(
            3,
            5,
            Subsystem::Swarm,
            n % 3
        ))));
        assert!((0..100).all(|_| !choices.happens(0, Subsystem::Swarm, 0)));
        assert!((0..100).all(|_| choices.happens(1_000_000, Subsystem::Swarm, 0)));
        assert_eq!(choices.pick(&[9], Subsystem::Swarm, 0), 9);
    }
}
