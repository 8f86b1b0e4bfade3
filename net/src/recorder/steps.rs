//! The moment of a step: what the clocks show, as the difference from the step before.

use trialog_core::time::{Instant, Now, WallMs};

use super::codec::{Item, Reader, Torn, Writer};

/// The last moment that was written or read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    last: Now,
}

impl Moment {
    pub(super) fn put(&mut self, now: Now, to: &mut Writer) {
        to.number(now.mono.0.wrapping_sub(self.last.mono.0));
        now.wall.0.wrapping_sub(self.last.wall.0).put(to);
        self.last = now;
    }

    pub(super) fn take(&mut self, from: &mut Reader<'_>) -> Result<Now, Torn> {
        self.last = Now {
            mono: Instant(self.last.mono.0.wrapping_add(from.number()?)),
            wall: WallMs(self.last.wall.0.wrapping_add(i64::take(from)?)),
        };
        Ok(self.last)
    }
}
