//! A queue of tasks with threads of its own: first in, first out, handed over in batches.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A queue and the threads that work it off; dropping it lets what runs end and forgets the rest.
pub(super) struct Lane<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

/// The queue alone: what a task of another lane needs to hand work on.
pub(super) struct Shared<T> {
    queue: Mutex<Queue<T>>,
    filled: Condvar,
}

struct Queue<T> {
    tasks: VecDeque<T>,
    open: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // The lock is never held while a task runs, so a panic cannot leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds all of `tasks` with one hand-over.
    pub(super) fn push(&self, tasks: impl IntoIterator<Item = T>) {
        let mut queue = self.lock();
        let before = queue.tasks.len();
        queue.tasks.extend(tasks);
        let added = queue.tasks.len() - before;
        drop(queue);
        match added {
            0 => {}
            1 => self.filled.notify_one(),
            _ => self.filled.notify_all(),
        }
    }

    /// Waits for tasks and takes up to `most`; empty when the lane has ended.
    fn take(&self, most: usize) -> Vec<T> {
        let mut queue = self.lock();
        while queue.open && queue.tasks.is_empty() {
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.open {
            return Vec::new();
        }
        let n = most.min(queue.tasks.len());
        queue.tasks.drain(..n).collect()
    }
}

impl<T: Send + 'static> Lane<T> {
    /// Starts `threads` threads that give up to `batch` tasks at a time to `run`.
    pub(super) fn start(
        name: &str,
        threads: usize,
        batch: usize,
        run: impl Fn(Vec<T>) + Clone + Send + 'static,
    ) -> io::Result<Lane<T>> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                tasks: VecDeque::new(),
                open: true,
            }),
            filled: Condvar::new(),
        });
        let mut lane = Lane {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for _ in 0..threads {
            let (shared, run) = (Arc::clone(&shared), run.clone());
            let body = move || loop {
                let tasks = shared.take(batch);
                if tasks.is_empty() {
                    return;
                }
                run(tasks);
            };
            let thread = std::thread::Builder::new().name(name.into()).spawn(body)?;
            lane.threads.push(thread);
        }
        Ok(lane)
    }

    /// The queue.
    pub(super) fn shared(&self) -> &Arc<Shared<T>> {
        &self.shared
    }
}

impl<T> Drop for Lane<T> {
    fn drop(&mut self) {
        self.shared.lock().open = false;
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in a task has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}
