//! What a run says about itself. Plain data; whoever runs it adds wall time and prints.

use std::collections::BTreeMap;

use trialog_core::mark::Mark;

use crate::check::Violation;

/// The judgement of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did enough, and every promise held.
    Passed,
    /// A promise was broken.
    Violated,
    /// It did too little to count.
    Inconclusive,
}

impl Verdict {
    /// Its word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Violated => "violated",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// A run counts with at least so many acknowledged operations …
pub const OPERATIONS_MIN: u64 = 200;
/// … and so many kinds of fault that took effect.
pub const FAULT_KINDS_MIN: usize = 3;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it came from.
    pub seed: u64,
    /// Over every event and effect.
    pub hash: u64,
    /// Events of the simulated world.
    pub events: u64,
    /// Acknowledged operations of clients.
    pub operations: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Rare branches that were reached.
    pub marks: BTreeMap<Mark, u64>,
    /// Did the liveness phase come to its end?
    pub live: bool,
    /// The judgement.
    pub verdict: Verdict,
    /// What was broken.
    pub violation: Option<Violation>,
    /// The events, one a line, if they were asked for.
    pub log: Vec<String>,
}

impl Report {
    /// What the run would have needed to count, in words; nothing if it did enough.
    #[must_use]
    pub fn lacking(&self) -> Vec<String> {
        let kinds = self.faults.len();
        let mut lacking = Vec::new();
        if self.operations < OPERATIONS_MIN {
            lacking.push(format!(
                "{} operations of at least {OPERATIONS_MIN}",
                self.operations
            ));
        }
        if kinds < FAULT_KINDS_MIN {
            lacking.push(format!(
                "{kinds} kinds of fault of at least {FAULT_KINDS_MIN}"
            ));
        }
        if !self.live {
            lacking.push("no liveness phase".to_owned());
        }
        lacking
    }

    /// The verdict in words: with what an inconclusive run lacked.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self.verdict {
            Verdict::Inconclusive => {
                format!("{}: {}", self.verdict.name(), self.lacking().join(", "))
            }
            Verdict::Passed | Verdict::Violated => self.verdict.name().to_owned(),
        }
    }
}
