//! Runs [`Job`]s: small ones where they stand, large ones on a thread of their own.
//!
//! Under madsim, where threads do not exist, every job runs where it stands.

use std::task::{Context, Poll};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trialog_core::io::Token;
use trialog_core::work::{self, Facts, Job};

/// A hand-off to another core and back takes about 100 us: longer than a checksum of 128 KiB, and as long as
/// the decompression of some 64 KiB.
const INLINE_BYTES: usize = 128 * 1024;

/// The jobs in flight.
pub struct Work {
    jobs: Option<std::sync::mpsc::Sender<(Token, Job)>>,
    facts_in: UnboundedSender<(Token, Facts)>,
    facts: UnboundedReceiver<(Token, Facts)>,
}

impl Default for Work {
    fn default() -> Work {
        let (facts_in, facts) = unbounded_channel();
        Work {
            jobs: None,
            facts_in,
            facts,
        }
    }
}

impl Work {
    /// Runs `job` at once if it is small and returns its facts; else they come by [`Work::poll`].
    pub fn submit(&mut self, token: Token, job: Job) -> Option<Facts> {
        if cfg!(madsim) || weight(&job) <= INLINE_BYTES {
            return Some(work::run(job));
        }
        let jobs = self.jobs.get_or_insert_with(|| worker(&self.facts_in));
        match jobs.send((token, job)) {
            Ok(()) => None,
            // The worker is gone (it could not start): the loop does the work itself.
            Err(std::sync::mpsc::SendError((_, job))) => Some(work::run(job)),
        }
    }

    /// Takes what came from the thread.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut Vec<(Token, Facts)>) -> Poll<()> {
        match self.facts.poll_recv_many(cx, out, 64) {
            Poll::Ready(n) if n > 0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

fn worker(facts: &UnboundedSender<(Token, Facts)>) -> std::sync::mpsc::Sender<(Token, Job)> {
    let (jobs, inbox) = std::sync::mpsc::channel::<(Token, Job)>();
    let facts = facts.clone();
    let body = move || {
        while let Ok((token, job)) = inbox.recv() {
            if facts.send((token, work::run(job))).is_err() {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("trialog-work".into())
        .spawn(body)
    {
        tracing::warn!(%error, "no thread for large jobs: they run on the loop and slow it down");
    }
    jobs
}

/// How heavy a job is: the payload bytes that it goes through.
fn weight(job: &Job) -> usize {
    match job {
        Job::Validate { records, .. } => records.len(),
        Job::Scan { block } | Job::FindTimestamp { block, .. } => block.len(),
    }
}
