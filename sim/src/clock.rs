//! The clocks of one machine: how far its monotonic and wall time are from the time of the simulation.
//!
//! Owns skew, drift and jumps; never the simulation's own time. The monotonic clock starts anew at each boot of the
//! machine and never goes back; the wall clock may jump either way, as when somebody sets it.

use trialog_core::time::{Instant, Now, WallMs};

/// One machine's view of time. All arithmetic is in whole nanoseconds, so that no machine rounds differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Simulated time at which the monotonic clock showed `origin`.
    booted: u64,
    /// What the monotonic clock showed then.
    origin: u64,
    /// How much faster than simulated time this machine runs, in parts per million; negative is slower.
    drift_ppm: i64,
    /// Wall time at simulated time 0, in milliseconds since 1970, moved by jumps.
    wall_base_ms: i64,
}

/// Simulated time 0 on a wall clock without skew: 2026-01-01T00:00:00Z.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

impl Clock {
    /// A clock that is `skew_ms` off and drifts by `drift_ppm`.
    #[must_use]
    pub fn new(skew_ms: i64, drift_ppm: i64) -> Clock {
        Clock {
            booted: 0,
            origin: 1_000_000_000,
            drift_ppm,
            wall_base_ms: EPOCH_MS + skew_ms,
        }
    }

    /// The machine boots at simulated time `at`: its monotonic clock starts anew.
    pub fn boot(&mut self, at: u64) {
        self.booted = at;
    }

    /// Somebody sets the wall clock.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_base_ms += by_ms;
    }

    fn scaled(&self, span: u64) -> u64 {
        let rate = u128::try_from(1_000_000 + self.drift_ppm).unwrap_or(1_000_000);
        u64::try_from(u128::from(span) * rate / 1_000_000).unwrap_or(u64::MAX)
    }

    /// What both clocks show at simulated time `at`.
    #[must_use]
    pub fn now(&self, at: u64) -> Now {
        let elapsed_ms = i64::try_from(self.scaled(at) / 1_000_000).unwrap_or(i64::MAX);
        Now {
            mono: Instant(self.origin + self.scaled(at.saturating_sub(self.booted))),
            wall: WallMs(self.wall_base_ms + elapsed_ms),
        }
    }

    /// The first simulated time at which the monotonic clock shows `mono` or more.
    #[must_use]
    pub fn simulated(&self, mono: Instant) -> u64 {
        let rate = u128::try_from(1_000_000 + self.drift_ppm).unwrap_or(1_000_000);
        let span = u128::from(mono.0.saturating_sub(self.origin)) * 1_000_000;
        self.booted
            .saturating_add(u64::try_from(span.div_ceil(rate)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wakeup_is_never_early() {
        for drift in [-200, -1, 0, 1, 200] {
            let mut clock = Clock::new(0, drift);
            clock.boot(123_456_789);
            for mono in [
                1_000_000_000,
                1_000_000_001,
                5_432_109_876,
                3_600_000_000_000,
            ] {
                let at = clock.simulated(Instant(mono));
                assert!(clock.now(at).mono >= Instant(mono), "{drift} {mono}");
                assert!(at == 123_456_789 || clock.now(at - 1).mono < Instant(mono));
            }
        }
    }

    #[test]
    fn jumps_move_the_wall_only() {
        let mut clock = Clock::new(5, 0);
        let before = clock.now(2_000_000);
        assert_eq!(before.wall, WallMs(EPOCH_MS + 7));
        clock.jump(-1000);
        let after = clock.now(2_000_000);
        assert_eq!(after.mono, before.mono);
        assert_eq!(after.wall, WallMs(EPOCH_MS + 7 - 1000));
    }
}
