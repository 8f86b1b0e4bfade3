//! Runs on several threads, results in the order of the seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use trialog_sim::{Options, Report};

/// A run and what it took.
pub struct Timed {
    /// What it said.
    pub report: Report,
    /// Wall time of its thread.
    pub wall_ms: f64,
}

/// A panic of the node is a verdict, not a message on the terminal.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// One run.
pub fn timed(seed: u64, options: &Options) -> Timed {
    let from = Instant::now();
    let report = trialog_sim::run(seed, options);
    let wall_ms = from.elapsed().as_secs_f64() * 1000.0;
    Timed { report, wall_ms }
}

/// Runs the seeds `first..=last` on `jobs` threads and hands each result to `done` in the order of the seeds, until
/// `done` says that it is enough.
pub fn seeds(
    first: u64,
    last: u64,
    jobs: usize,
    options: &Options,
    mut done: impl FnMut(Timed) -> bool,
) {
    let next = Mutex::new(Some(first));
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..jobs.max(1) {
            let sender = sender.clone();
            let (next, enough) = (&next, &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let Some(seed) = take(next, last) else {
                        return;
                    };
                    if sender.send(timed(seed, options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early: BTreeMap<u64, Timed> = BTreeMap::new();
        let mut wanted = Some(first);
        for timed in results {
            early.insert(timed.report.seed, timed);
            while let Some(timed) = wanted.and_then(|seed| early.remove(&seed)) {
                wanted = timed.report.seed.checked_add(1);
                if !enough.load(Ordering::Relaxed) && !done(timed) {
                    enough.store(true, Ordering::Relaxed);
                }
            }
        }
    });
}

/// The next seed that nobody has taken, up to `last`.
fn take(next: &Mutex<Option<u64>>, last: u64) -> Option<u64> {
    let mut next = next.lock().expect("nothing panics while it is held");
    let seed = next.filter(|seed| *seed <= last)?;
    *next = seed.checked_add(1);
    Some(seed)
}

/// As many as the machine has cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
