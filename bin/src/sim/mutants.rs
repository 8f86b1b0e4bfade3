//! `trialog sim mutants`: each known bug put back, and how many seeds it takes to find it.

use std::collections::BTreeSet;

use comfy_table::{Table, presets};
use trialog_core::mutant::Mutant;
use trialog_sim::{Options, Report, Verdict, mutants};

use super::pool::{self, Timed};
use super::{Span, replay_line, violation_json};
use crate::exit::Failure;

/// What `trialog sim mutants` takes.
#[derive(clap::Args)]
#[command(after_help = bank())]
pub struct Args {
    /// Only these mutants, separated by commas; without it, those that are hunted by default.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = super::replay::mutant)]
    only: Vec<Mutant>,
    /// Most seeds for each starting point.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Threads. Default: one a core.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Simulated time in which faults strike.
    #[arg(long, default_value = "60s")]
    duration: Span,
    /// One JSON object a mutant on stdout.
    #[arg(long)]
    json: bool,
}

/// The bank, by what is done without `--only`.
fn bank() -> String {
    let (hunted, others): (Vec<Mutant>, Vec<Mutant>) = Mutant::ALL
        .into_iter()
        .partition(|mutant| mutants::is_hunted(*mutant));
    let names = |mutants: &[Mutant]| {
        let names: Vec<&str> = mutants.iter().map(|mutant| mutant.name()).collect();
        names.join(", ")
    };
    format!(
        "Of {} mutants {} are hunted by default:\n  {}\nThe others need more luck than a default search has, and are hunted with --only:\n  {}",
        Mutant::ALL.len(),
        hunted.len(),
        names(&hunted),
        names(&others)
    )
}

/// Where the search for a mutant begins, so that the median says more than one lucky seed.
const STARTS: [u64; 5] = [1, 1_000_001, 2_000_001, 3_000_001, 4_000_001];

/// What became of the search from one starting point.
struct Search {
    seeds: u64,
    wall_ms: f64,
    found: Option<Report>,
}

/// Runs the bank; fails if a mutant lives, or if the healthy node fails on one of the same seeds.
pub fn run(args: &Args) -> Result<(), Failure> {
    pool::silence_panics();
    let jobs = args.jobs.map_or_else(pool::cores, usize::from);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(vec![
        "mutant",
        "median",
        "seeds from each start",
        "thread s",
        "invariant",
        "replay",
    ]);
    let mut alive = Vec::new();
    let mut seen = BTreeSet::new();
    for mutant in Mutant::ALL {
        let wanted = match args.only.as_slice() {
            [] => mutants::is_hunted(mutant),
            only => only.contains(&mutant),
        };
        if !wanted {
            continue;
        }
        let searches: Vec<Search> = STARTS
            .iter()
            .map(|start| search(*start, args, jobs, mutant))
            .collect();
        for (start, search) in STARTS.iter().zip(&searches) {
            seen.extend(*start..*start + search.seeds);
        }
        if searches.iter().any(|search| search.found.is_none()) {
            alive.push(mutant.name());
        }
        let line = Line::of(mutant, &searches, args.duration);
        match args.json {
            true => println!("{}", line.json()),
            false => {
                eprintln!("{}: {}", mutant.name(), line.in_words());
                table.add_row(line.row());
            }
        }
    }
    if !args.json {
        println!("{table}");
    }
    let alarms = healthy(&seen, args, jobs);
    if !args.json {
        println!(
            "without a mutant, the same {} seeds: {} violated",
            seen.len(),
            alarms.len()
        );
    }
    match (alive.as_slice(), alarms.as_slice()) {
        ([], []) => Ok(()),
        (alive, []) => Err(Failure::failed(format!(
            "not found within {} seeds: {}",
            args.seeds,
            alive.join(", ")
        ))),
        (_, alarms) => Err(Failure::failed(format!(
            "the healthy node was found guilty: {}",
            alarms.join("; ")
        ))),
    }
}

fn search(start: u64, args: &Args, jobs: usize, mutant: Mutant) -> Search {
    let options = Options {
        duration_ms: args.duration.ms,
        mutant: Some(mutant),
        ..Options::default()
    };
    let healthy = Options {
        mutant: None,
        ..options
    };
    let mut search = Search {
        seeds: 0,
        wall_ms: 0.0,
        found: None,
    };
    let last = start.saturating_add(args.seeds - 1);
    pool::seeds(start, last, jobs, &options, |Timed { report, wall_ms }| {
        search.seeds += 1;
        search.wall_ms += wall_ms;
        if report.verdict == Verdict::Violated {
            // Where the healthy node is found guilty too, nothing is said of the mutant.
            let alarm = trialog_sim::run(report.seed, &healthy).verdict == Verdict::Violated;
            search.found = (!alarm).then_some(report);
        }
        search.found.is_none()
    });
    search
}

/// Runs the healthy node over the seeds that the mutants saw; returns the line that replays each violation.
fn healthy(seen: &BTreeSet<u64>, args: &Args, jobs: usize) -> Vec<String> {
    let options = Options {
        duration_ms: args.duration.ms,
        ..Options::default()
    };
    let mut alarms = Vec::new();
    for start in STARTS {
        let of_start = seen.range(start..start.saturating_add(args.seeds));
        let Some(last) = of_start.last() else {
            continue;
        };
        pool::seeds(start, *last, jobs, &options, |timed| {
            if timed.report.verdict == Verdict::Violated {
                alarms.push(replay_line(timed.report.seed, args.duration, None));
            }
            true
        });
    }
    alarms
}

/// What is said of one mutant.
struct Line {
    mutant: Mutant,
    seeds: Vec<Option<u64>>,
    median: Option<u64>,
    cpu_s: f64,
    invariants: BTreeSet<&'static str>,
    expected: bool,
    replay: Option<String>,
    violation: serde_json::Value,
}

impl Line {
    fn of(mutant: Mutant, searches: &[Search], duration: Span) -> Line {
        let seeds: Vec<Option<u64>> = searches
            .iter()
            .map(|search| search.found.as_ref().map(|_| search.seeds))
            .collect();
        let mut sorted: Vec<u64> = seeds
            .iter()
            .map(|seeds| seeds.unwrap_or(u64::MAX))
            .collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied();
        let found: Vec<&Report> = searches
            .iter()
            .filter_map(|search| search.found.as_ref())
            .collect();
        let broken: Vec<trialog_sim::Invariant> = found
            .iter()
            .filter_map(|report| Some(report.violation.as_ref()?.invariant))
            .collect();
        Line {
            mutant,
            seeds,
            median: median.filter(|median| *median != u64::MAX),
            cpu_s: searches.iter().map(|search| search.wall_ms).sum::<f64>() / 1000.0,
            invariants: broken.iter().map(|invariant| invariant.name()).collect(),
            expected: broken
                .iter()
                .all(|invariant| mutants::expected(mutant).contains(invariant)),
            replay: found
                .first()
                .map(|report| replay_line(report.seed, duration, Some(mutant.name()))),
            violation: found.first().map_or(serde_json::Value::Null, |report| {
                violation_json(report.violation.as_ref(), || {
                    replay_line(report.seed, duration, Some(mutant.name()))
                })
            }),
        }
    }

    fn invariant(&self) -> String {
        let names: Vec<&str> = self.invariants.iter().copied().collect();
        let other = match self.expected {
            true => "",
            false => " (not only what was expected)",
        };
        format!("{}{other}", names.join(", "))
    }

    fn counts(&self) -> String {
        let counts: Vec<String> = self
            .seeds
            .iter()
            .map(|seeds| seeds.map_or("never".to_owned(), |seeds| seeds.to_string()))
            .collect();
        counts.join(" ")
    }

    fn in_words(&self) -> String {
        match self.median {
            Some(median) => format!(
                "found after {median} seeds in the median, by {}",
                self.invariant()
            ),
            None => "not found".to_owned(),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.mutant.name().to_owned(),
            self.median
                .map_or("never".to_owned(), |median| median.to_string()),
            self.counts(),
            format!("{:.1}", self.cpu_s),
            self.invariant(),
            self.replay.clone().unwrap_or_default(),
        ]
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "mutant": self.mutant.name(),
            "killed": self.seeds.iter().all(Option::is_some),
            "seeds": self.seeds,
            "median_seeds": self.median,
            "cpu_s": (self.cpu_s * 10.0).round() / 10.0,
            "invariants": self.invariants,
            "expected": self.expected,
            "violation": self.violation,
            "replay": self.replay,
        })
    }
}
