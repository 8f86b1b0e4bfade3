//! Both clocks of the machine, as the core wants them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use trialog_core::time::{self, Now, WallMs};

/// A monotonic clock that starts at zero, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn start() -> Clock {
        Clock {
            origin: Instant::now(),
        }
    }

    /// What both clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now {
            mono: time::Instant(mono),
            wall: wall(),
        }
    }

    /// The moment of the runtime's timers that `at` stands for.
    #[must_use]
    pub fn moment(&self, at: time::Instant) -> Instant {
        self.origin + Duration::from_nanos(at.0)
    }
}

/// Milliseconds since 1970; negative before.
fn wall() -> WallMs {
    let ms = |since: Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    WallMs(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    })
}
