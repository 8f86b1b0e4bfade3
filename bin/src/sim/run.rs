//! `trialog sim run`: seeds, progress, a table or one JSON object a seed.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use trialog_core::mark::Mark;
use trialog_sim::{Options, Verdict};

use super::pool::{self, Timed};
use super::{Seeds, Span, replay_line, violation_json};
use crate::exit::Failure;

/// What `trialog sim run` takes.
#[derive(clap::Args)]
pub struct Args {
    /// One seed; without it and --seeds a random one.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds from A to B, both included.
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    /// Threads; the verdicts do not depend on them. Default: one a core.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Simulated time in which faults strike.
    #[arg(long, default_value = "60s")]
    duration: Span,
    /// One JSON object a seed on stdout.
    #[arg(long)]
    json: bool,
}

/// Runs them; fails with exit code 1 if a promise was broken, else with 2 if a run did too little to count.
pub fn run(args: &Args) -> Result<(), Failure> {
    let seeds = match (args.seed, args.seeds) {
        (Some(seed), _) => Seeds {
            first: seed,
            last: seed,
        },
        (None, Some(seeds)) => seeds,
        (None, None) => {
            let seed = u64::from(rand::random::<u32>());
            Seeds {
                first: seed,
                last: seed,
            }
        }
    };
    let options = Options {
        duration_ms: args.duration.ms,
        ..Options::default()
    };
    pool::silence_panics();
    let many = seeds.last - seeds.first + 1;
    let progress = progress_bar(many);
    let mut fleet = Fleet::default();
    let mut closed_pipe = false;
    let jobs = args.jobs.map_or_else(pool::cores, usize::from);
    let from = Instant::now();
    pool::seeds(seeds.first, seeds.last, jobs, &options, |timed| {
        if args.json {
            let line = json(&timed, args.duration);
            closed_pipe = writeln!(std::io::stdout().lock(), "{line}").is_err();
        } else {
            progress.suspend(|| told(&timed, args.duration, many == 1));
        }
        fleet.add(&timed);
        progress.inc(1);
        progress.set_message(format!(
            "{} violated, {} inconclusive",
            fleet.violated, fleet.inconclusive
        ));
        !closed_pipe
    });
    progress.finish_and_clear();
    if !args.json {
        println!("{}", fleet.table(from.elapsed().as_secs_f64()));
    }
    fleet.verdict()
}

fn progress_bar(many: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left; {msg}");
    let bar = ProgressBar::new(many);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn json(timed: &Timed, duration: Span) -> serde_json::Value {
    let report = &timed.report;
    let mut object = serde_json::json!({
        "seed": report.seed,
        "hash": format!("{:016x}", report.hash),
        "events": report.events,
        "operations": report.operations,
        "simulated_ms": report.simulated_ms,
        "wall_ms": timed.wall_ms.round() as u64,
        "faults": report.faults,
        "verdict": report.verdict.name(),
        "violation": violation_json(report.violation.as_ref()),
    });
    if report.violation.is_some() {
        object["replay"] = replay_line(report.seed, duration, None).into();
    }
    object
}

/// What a person wants to hear of one seed: everything if it is the only one, else what is wrong.
fn told(timed: &Timed, duration: Span, alone: bool) {
    let report = &timed.report;
    if let Some(violation) = &report.violation {
        println!(
            "seed {}: VIOLATED {} at {} ms: {}",
            report.seed,
            violation.invariant.name(),
            violation.at / 1_000_000,
            violation.message
        );
        println!(
            "  see it again: {}",
            replay_line(report.seed, duration, None)
        );
    } else if alone || report.verdict == Verdict::Inconclusive {
        println!(
            "seed {}: {}, hash {:016x}, {} operations, {} kinds of fault",
            report.seed,
            report.verdict.name(),
            report.hash,
            report.operations,
            report.faults.len()
        );
    }
}

/// What all runs of a command came to.
#[derive(Default)]
struct Fleet {
    seeds: u64,
    violated: u64,
    inconclusive: u64,
    events: u64,
    simulated_ms: u64,
    wall_ms: f64,
    operations: Vec<u64>,
    kinds: Vec<u64>,
    faults: BTreeMap<&'static str, (u64, u64)>,
    marks: BTreeMap<Mark, u64>,
}

impl Fleet {
    fn add(&mut self, timed: &Timed) {
        let report = &timed.report;
        self.seeds += 1;
        self.violated += u64::from(report.verdict == Verdict::Violated);
        self.inconclusive += u64::from(report.verdict == Verdict::Inconclusive);
        self.events += report.events;
        self.simulated_ms += report.simulated_ms;
        self.wall_ms += timed.wall_ms;
        self.operations.push(report.operations);
        self.kinds.push(report.faults.len() as u64);
        for (kind, count) in &report.faults {
            let entry = self.faults.entry(kind).or_default();
            entry.0 += 1;
            entry.1 += count;
        }
        for mark in report.marks.keys() {
            *self.marks.entry(*mark).or_default() += 1;
        }
    }

    fn table(&mut self, elapsed: f64) -> String {
        let mut runs = Table::new();
        runs.load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        let passed = self.seeds - self.violated - self.inconclusive;
        let mut row = |name: &str, value: String| {
            runs.add_row(vec![name.to_owned(), value]);
        };
        row(
            "seeds",
            format!(
                "{}: {passed} passed, {} violated, {} inconclusive",
                self.seeds, self.violated, self.inconclusive
            ),
        );
        row("operations a seed", spread(&mut self.operations));
        row("kinds of fault a seed", spread(&mut self.kinds));
        let simulated = self.simulated_ms as f64 / 1000.0;
        let cpu = self.wall_ms / 1000.0;
        row(
            "simulated",
            format!("{simulated:.0} s in {elapsed:.1} s ({cpu:.1} s on all threads)"),
        );
        let operations: u64 = self.operations.iter().sum();
        row(
            "a thread's second",
            format!(
                "{:.0} simulated seconds, {:.0} operations, {:.0} events",
                simulated / cpu,
                operations as f64 / cpu,
                self.events as f64 / cpu
            ),
        );
        let mut faults = Table::new();
        faults
            .load_style(presets::NOTHING)
            .set_header(vec!["fault", "seeds", "times"]);
        for (kind, (seeds, times)) in &self.faults {
            faults.add_row(vec![
                (*kind).to_owned(),
                seeds.to_string(),
                times.to_string(),
            ]);
        }
        let marks: Vec<String> = self
            .marks
            .iter()
            .map(|(mark, seeds)| format!("{mark:?} {seeds}"))
            .collect();
        format!(
            "{runs}\n\n{faults}\n\nrare branches reached, by seeds: {}",
            marks.join(", ")
        )
    }

    fn verdict(&self) -> Result<(), Failure> {
        let code = match (self.violated, self.inconclusive) {
            (0, 0) => return Ok(()),
            (0, _) => 2,
            (_, _) => 1,
        };
        Err(Failure {
            code,
            message: String::new(),
        })
    }
}

fn spread(values: &mut [u64]) -> String {
    values.sort_unstable();
    let at = |percent: usize| values.get((values.len().saturating_sub(1)) * percent / 100);
    let show = |percent| at(percent).copied().unwrap_or(0);
    format!(
        "least {}, 5 of 100 below {}, median {}, most {}",
        show(0),
        show(5),
        show(50),
        show(100)
    )
}
