//! What frames that have begun to arrive may hold together.
//!
//! A length field costs a peer four bytes. Up to [`FREE`] bytes of a frame are read from anybody; the rest of a larger one is
//! read once all of it has a place here, so that whoever has a place can finish. Who waits is served in turns: the one that
//! has waited longest, then the one that needs least. While others wait, a place is for those whose frame arrives: a peer that
//! makes no good speed loses it after a moment, which is the shorter the more is waited for. A slow peer loses nothing
//! as long as there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Bytes of a frame that need no place: of the requests of most clients all. Every connection may hold so many.
pub const FREE: usize = 16 * 1024;
/// Good speed: so fast that a whole frame takes at most this long.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);
/// While others wait, a frame may be behind good speed by so much; less if they wait for more than all that there is.
const PATIENCE_MAX: Duration = Duration::from_millis(500);
/// Not less than it takes to send a lost packet again.
const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// The log tells of places that were taken away at most so often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Shared by all connections.
#[derive(Clone, Debug)]
pub struct FrameMemory {
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug)]
struct Ledger {
    bytes_max: usize,
    free: usize,
    /// In the order of asking.
    waiting: BTreeMap<u64, Asker>,
    /// The same, in the order of their need.
    by_need: BTreeSet<(usize, u64)>,
    /// What they need together.
    wanted: usize,
    asked: u64,
    /// The next place is for the one that needs least, not for the one that has waited longest.
    least_is_next: bool,
    /// Places taken away since the log told of it.
    untold: u64,
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct Asker {
    bytes: usize,
    give: oneshot::Sender<Room>,
}

/// Bytes that are taken from the ledger until it is dropped.
#[derive(Debug)]
struct Room {
    memory: FrameMemory,
    bytes: usize,
}

/// Room for one frame, until it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Room,
    frame_bytes: usize,
    /// When good speed would have brought what has come; never in the future.
    paid_until: Instant,
}

impl Place {
    /// So many bytes of the frame have come.
    pub fn got_more(&mut self, bytes: usize) {
        let worth = WHOLE_WITHIN.mul_f64(bytes as f64 / self.frame_bytes as f64);
        self.paid_until = (self.paid_until + worth).min(Instant::now());
    }

    /// From then on it may be taken away if others wait.
    #[must_use]
    pub fn overdue_at(&self) -> Instant {
        self.paid_until + self.room.memory.patience()
    }

    /// Nobody waits: what is overdue is forgiven.
    pub fn forgive(&mut self) {
        self.paid_until = Instant::now();
    }
}

impl FrameMemory {
    /// Room for `bytes`, but for one frame in any case.
    #[must_use]
    pub fn new(bytes: u64) -> FrameMemory {
        let bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
        let ledger = Ledger {
            bytes_max,
            free: bytes_max,
            waiting: BTreeMap::new(),
            by_need: BTreeSet::new(),
            wanted: 0,
            asked: 0,
            least_is_next: false,
            untold: 0,
            told_at: None,
        };
        FrameMemory {
            ledger: Arc::new(Mutex::new(ledger)),
        }
    }

    /// Waits for the room that a frame of `bytes` takes. May be cancelled.
    pub async fn place(&self, bytes: usize) -> Place {
        let (asking, given) = self.ask(bytes);
        let room = given.await.expect("whoever asks is answered");
        drop(asking);
        Place {
            room,
            frame_bytes: bytes.max(1),
            paid_until: Instant::now(),
        }
    }

    fn ask(&self, bytes: usize) -> (Asking<'_>, oneshot::Receiver<Room>) {
        let (give, given) = oneshot::channel();
        let mut ledger = self.lock();
        #[cfg(madsim)]
        let bytes = planted::unbounded(bytes);
        let bytes = bytes.min(ledger.bytes_max);
        ledger.wanted += bytes;
        ledger.asked += 1;
        let nth = ledger.asked;
        ledger.by_need.insert((bytes, nth));
        ledger.waiting.insert(nth, Asker { bytes, give });
        drop(ledger);
        self.serve();
        (Asking { memory: self, nth }, given)
    }

    /// Gives room to those whose turn it is, as long as there is some.
    fn serve(&self) {
        while let Some(asker) = self.next() {
            let (memory, bytes) = (self.clone(), asker.bytes);
            // Nobody is there: then it comes back by itself.
            let _ = asker.give.send(Room { memory, bytes });
        }
    }

    fn next(&self) -> Option<Asker> {
        let mut ledger = self.lock();
        let nth = if ledger.least_is_next {
            ledger.by_need.first()?.1
        } else {
            *ledger.waiting.first_key_value()?.0
        };
        if ledger.waiting[&nth].bytes > ledger.free {
            return None;
        }
        let asker = ledger.take(nth)?;
        ledger.free -= asker.bytes;
        ledger.least_is_next = !ledger.least_is_next;
        Some(asker)
    }

    /// Does anybody wait for room?
    #[must_use]
    pub fn is_short(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// A place was taken away: so many were since the log told of it, if it is time to do so again. A crowd must not fill the log.
    pub fn took_away(&self) -> Option<u64> {
        let mut ledger = self.lock();
        ledger.untold += 1;
        let now = Instant::now();
        let recent = |told: Instant| now.duration_since(told) < TELL_EVERY;
        if ledger.told_at.is_some_and(recent) {
            return None;
        }
        ledger.told_at = Some(now);
        Some(std::mem::take(&mut ledger.untold))
    }

    /// How far a frame may be behind good speed.
    fn patience(&self) -> Duration {
        let ledger = self.lock();
        let rounds = 1 + ledger.wanted / ledger.bytes_max.max(1);
        (PATIENCE_MAX / u32::try_from(rounds).unwrap_or(u32::MAX)).max(PATIENCE_MIN)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while it is held")
    }
}

impl Ledger {
    /// It waits no more.
    fn take(&mut self, nth: u64) -> Option<Asker> {
        let asker = self.waiting.remove(&nth)?;
        self.by_need.remove(&(asker.bytes, nth));
        self.wanted -= asker.bytes;
        Some(asker)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.lock().free += self.bytes;
        self.memory.serve();
    }
}

/// One that waits, until it has got its room or gives up.
struct Asking<'a> {
    memory: &'a FrameMemory,
    nth: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let waited = self.memory.lock().take(self.nth);
        if waited.is_some() {
            // It may have stood in the way of others.
            self.memory.serve();
        }
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

    pub(super) fn unbounded(bytes: usize) -> usize {
        if UNBOUNDED.load(Ordering::Relaxed) {
            0
        } else {
            bytes
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    #[test]
    fn turns_go_to_who_waits_longest_and_to_who_needs_least() {
        let memory = FrameMemory::new(100);
        let first = memory.place(100).now_or_never().expect("there is room");
        let mut large = pin!(memory.place(90));
        let mut larger = pin!(memory.place(95));
        let mut small = pin!(memory.place(10));
        for waiting in [&mut large, &mut larger, &mut small] {
            assert!(waiting.now_or_never().is_none());
        }
        // The first place was a turn of who waits longest.
        drop(first);
        let small = small.now_or_never().expect("it needs least");
        let large = large.now_or_never().expect("it waited longest");
        assert!((&mut larger).now_or_never().is_none() && memory.is_short());
        drop((small, large));
        assert!(larger.now_or_never().is_some() && !memory.is_short());
    }

    #[test]
    fn who_gives_up_leaves_no_trace() {
        let memory = FrameMemory::new(100);
        let first = memory.place(60).now_or_never().expect("there is room");
        {
            let mut gives_up = pin!(memory.place(50));
            assert!((&mut gives_up).now_or_never().is_none());
            drop(first);
            // Its room is on the way, and comes back.
        }
        assert!(!memory.is_short());
        assert!(memory.place(100).now_or_never().is_some());
        // More than there is: all of it.
        assert!(memory.place(1000).now_or_never().is_some());
        assert_eq!(memory.lock().free, 100);
    }

    #[test]
    fn a_crowd_does_not_fill_the_log() {
        let memory = FrameMemory::new(100);
        assert_eq!(memory.took_away(), Some(1));
        assert_eq!((memory.took_away(), memory.took_away()), (None, None));
        memory.lock().told_at = Instant::now().checked_sub(TELL_EVERY);
        assert_eq!(memory.took_away(), Some(3));
    }

    #[test]
    fn patience_is_shorter_the_more_is_waited_for() {
        let memory = FrameMemory::new(100);
        let mut place = memory.place(100).now_or_never().expect("there is room");
        assert_eq!(memory.patience(), PATIENCE_MAX);
        let before = place.overdue_at();
        place.got_more(100);
        let now = Instant::now();
        assert!(place.overdue_at() >= before && place.overdue_at() <= now + PATIENCE_MAX);
        let mut waiting: Vec<_> = (0..9).map(|_| Box::pin(memory.place(60))).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(memory.patience(), PATIENCE_MIN);
    }
}
