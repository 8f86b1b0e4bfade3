//! Time as an argument: the core's own instants, which only a driver can make.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on a node's monotonic clock, in nanoseconds since an origin of the driver's choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, by: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// A moment on a node's wall clock, in milliseconds since 1970-01-01 UTC, as Kafka's timestamps are. May jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMs(pub i64);

/// What both clocks of a node show at one step. `mono` never goes back from one step to the next; `wall` may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// For timeouts, delays and everything that is awaited.
    pub mono: Instant,
    /// For timestamps in records and retention.
    pub wall: WallMs,
}
