//! What frames that have begun to arrive may hold together.
//!
//! A length field costs a peer four bytes. Up to [`FREE`] bytes of a frame are read from anybody; the rest of a larger one is
//! read once all of it has a place here, in the order of asking, so that whoever has a place can finish. A peer that
//! takes its time over a place while others wait for one loses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of a frame that need no place.
pub const FREE: usize = 128 * 1024;
/// While others wait, a frame may take this long, and further time for its bytes.
const PATIENCE_MIN: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND_MIN: usize = 1 << 20;
/// While others wait, the next byte may take this long.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Places are counted in units of this many bytes.
const UNIT: usize = 1024;

/// Shared by all connections.
#[derive(Clone, Debug)]
pub struct FrameMemory {
    units: Arc<Semaphore>,
    units_max: usize,
    waiting: Arc<AtomicUsize>,
}

/// Room for one frame, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _units: OwnedSemaphorePermit,
    whole_by: Instant,
    more_by: Instant,
}

impl Place {
    /// More of the frame has come.
    pub fn got_more(&mut self) {
        self.more_by = Instant::now() + SILENCE_MAX;
    }

    /// From then on it may be taken away if others wait.
    #[must_use]
    pub fn overdue_at(&self) -> Instant {
        self.more_by.min(self.whole_by)
    }

    /// Nobody waits: it may be kept for as long again.
    pub fn extend(&mut self) {
        self.got_more();
        self.whole_by = self.whole_by.max(self.more_by);
    }
}

impl FrameMemory {
    /// Room for `bytes`, but for one frame in any case.
    #[must_use]
    pub fn new(bytes: u64) -> FrameMemory {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let units_max = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        FrameMemory {
            units: Arc::new(Semaphore::new(units_max)),
            units_max,
            waiting: Arc::default(),
        }
    }

    /// Waits for the room that a frame of `bytes` takes. May be cancelled.
    pub async fn place(&self, bytes: usize) -> Place {
        let units = bytes.div_ceil(UNIT).min(self.units_max);
        #[cfg(madsim)]
        let units = planted::unbounded(units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let units = match self.units.clone().try_acquire_many_owned(units) {
            Ok(units) => units,
            Err(_) => {
                let _waiting = Waiting::new(&self.waiting);
                let acquired = self.units.clone().acquire_many_owned(units).await;
                acquired.expect("the semaphore is never closed")
            }
        };
        let seconds = (bytes / BYTES_PER_SECOND_MIN) as u64;
        let now = Instant::now();
        Place {
            _units: units,
            whole_by: now + PATIENCE_MIN + Duration::from_secs(seconds),
            more_by: now + SILENCE_MAX,
        }
    }

    /// Does anybody wait for room?
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// One that waits, also if it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What unfinished frames hold at any time, for a simulation to judge.
#[cfg(madsim)]
pub mod observed {
    use std::cell::Cell;

    thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
        static HELD_MOST: Cell<usize> = const { Cell::new(0) };
    }

    /// What the unfinished frame of one connection holds, once that is more than is free.
    #[derive(Debug, Default)]
    pub struct Unfinished(usize);

    impl Unfinished {
        /// So many bytes of it have arrived.
        pub fn is(&mut self, bytes: usize) {
            let bytes = if bytes > super::FREE { bytes } else { 0 };
            let held = HELD.get() - self.0 + bytes;
            self.0 = bytes;
            HELD.set(held);
            HELD_MOST.set(held.max(HELD_MOST.get()));
        }
    }

    impl Drop for Unfinished {
        fn drop(&mut self) {
            HELD.set(HELD.get() - self.0);
        }
    }

    /// The most that all of this thread's simulation held together since this was asked last.
    pub fn take_held_most() -> usize {
        HELD_MOST.replace(HELD.get())
    }
}

/// A bug, put back on purpose, so that the shell's simulation can be judged by whether it finds it.
#[cfg(madsim)]
pub mod planted {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Every frame has its place at once.
    pub static UNBOUNDED: AtomicBool = AtomicBool::new(false);

    pub(super) fn unbounded(units: usize) -> usize {
        if UNBOUNDED.load(Ordering::Relaxed) {
            0
        } else {
            units
        }
    }
}
