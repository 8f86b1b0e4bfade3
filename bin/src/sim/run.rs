//! `trialog sim run`: seeds, progress, a table or one JSON object a seed.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use trialog_core::mark::Mark;
use trialog_sim::{Options, Report, Verdict};

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
    let many = (seeds.last - seeds.first).saturating_add(1);
    let progress = progress_bar(many);
    let mut fleet = Fleet::default();
    let mut closed_pipe = false;
    let jobs = args.jobs.map_or_else(pool::cores, usize::from);
    let from = Instant::now();
    pool::seeds(seeds.first, seeds.last, jobs, &options, |timed| {
        if args.json {
            let line = json(&timed, args.duration);
            closed_pipe = writeln!(std::io::stdout().lock(), "{line}").is_err();
        } else if let Some(text) = told(&timed.report, args.duration, many == 1) {
            progress.suspend(|| println!("{text}"));
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
    let marks = report.marks.iter();
    let marks: BTreeMap<String, u64> = marks
        .map(|(mark, times)| (format!("{mark:?}"), *times))
        .collect();
    serde_json::json!({
        "seed": report.seed,
        "hash": format!("{:016x}", report.hash),
        "events": report.events,
        "operations": report.operations,
        "simulated_ms": report.simulated_ms,
        "wall_ms": timed.wall_ms.round() as u64,
        "faults": report.faults,
        "marks": marks,
        "verdict": report.verdict.name(),
        "lacking": report.lacking(),
        "violation": violation_json(report.violation.as_ref(), || {
            replay_line(report.seed, duration, None)
        }),
    })
}

/// What a person wants to hear of one seed: everything if it is the only one, else what is wrong.
fn told(report: &Report, duration: Span, alone: bool) -> Option<String> {
    let seed = report.seed;
    if let Some(violation) = &report.violation {
        return Some(format!(
            "seed {seed}: VIOLATED {} at {} ms: {}\n  see it again: {}",
            violation.invariant.name(),
            violation.at / 1_000_000,
            violation.message,
            replay_line(seed, duration, None)
        ));
    }
    (alone || report.verdict == Verdict::Inconclusive).then(|| {
        format!(
            "seed {seed}: {}, hash {:016x}, {} operations, {} kinds of fault",
            report.in_words(),
            report.hash,
            report.operations,
            report.faults.len()
        )
    })
}

/// What all runs of a command came to.
#[derive(Default)]
struct Fleet {
    seeds: u64,
    violated: u64,
    inconclusive: u64,
    wall_ms: f64,
    operations: Vec<u64>,
    events: Vec<u64>,
    simulated_s: Vec<u64>,
    kinds: Vec<u64>,
    faults: BTreeMap<&'static str, (u64, u64)>,
    marks: BTreeMap<Mark, u64>,
    violations: BTreeMap<&'static str, u64>,
}

impl Fleet {
    fn add(&mut self, timed: &Timed) {
        let report = &timed.report;
        self.seeds += 1;
        self.violated += u64::from(report.verdict == Verdict::Violated);
        self.inconclusive += u64::from(report.verdict == Verdict::Inconclusive);
        self.wall_ms += timed.wall_ms;
        self.operations.push(report.operations);
        self.events.push(report.events);
        self.simulated_s.push(report.simulated_ms / 1000);
        self.kinds.push(report.faults.len() as u64);
        for (kind, count) in &report.faults {
            let entry = self.faults.entry(kind).or_default();
            entry.0 += 1;
            entry.1 += count;
        }
        for mark in report.marks.keys() {
            *self.marks.entry(*mark).or_default() += 1;
        }
        if let Some(violation) = &report.violation {
            let name = violation.invariant.name();
            *self.violations.entry(name).or_default() += 1;
        }
    }

    fn table(&mut self, elapsed: f64) -> String {
        let passed = self.seeds - self.violated - self.inconclusive;
        let mut text = format!(
            "{} seeds: {passed} passed, {} violated, {} inconclusive\n\n",
            self.seeds, self.violated, self.inconclusive
        );
        let mut spreads = plain(&["a seed", "min", "p10", "median", "p90", "max"]);
        let totals =
            [&self.operations, &self.events, &self.simulated_s].map(|all| all.iter().sum());
        for (name, values) in [
            ("operations", &mut self.operations),
            ("events", &mut self.events),
            ("simulated seconds", &mut self.simulated_s),
            ("kinds of fault", &mut self.kinds),
        ] {
            let mut row = vec![name.to_owned()];
            row.extend(spread(values).map(|value| value.to_string()));
            spreads.add_row(row);
        }
        let mut faults = plain(&["fault", "seeds", "times"]);
        for (kind, (seeds, times)) in &self.faults {
            faults.add_row(vec![
                (*kind).to_owned(),
                seeds.to_string(),
                times.to_string(),
            ]);
        }
        let reached = |(mark, seeds): (&Mark, &u64)| format!("{mark:?} {seeds}");
        let never = |mark: &Mark| !self.marks.contains_key(mark);
        text += &format!(
            "{spreads}\n\n{faults}\n\nrare branches reached, by seeds: {}\nnever reached: {}\n",
            listed(self.marks.iter().map(reached)),
            listed(
                Mark::ALL
                    .iter()
                    .copied()
                    .filter(never)
                    .map(|mark| format!("{mark:?}"))
            ),
        );
        if !self.violations.is_empty() {
            let broken = self.violations.iter();
            let broken = broken.map(|(name, seeds)| format!("{name} {seeds}"));
            text += &format!("promises broken, by seeds: {}\n", listed(broken));
        }
        let [operations, events, simulated]: [u64; 3] = totals;
        let cpu = (self.wall_ms / 1000.0).max(f64::MIN_POSITIVE);
        text += &format!(
            "{:.1} seeds a second in {elapsed:.1} s; a thread's second: {:.0} simulated seconds, {:.0} operations, {:.0} events",
            self.seeds as f64 / elapsed.max(f64::MIN_POSITIVE),
            simulated as f64 / cpu,
            operations as f64 / cpu,
            events as f64 / cpu
        );
        text
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

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    table
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    }
}

/// The least, the value that a tenth are not above, the median, the value that nine tenths are not above, and the greatest.
fn spread(values: &mut [u64]) -> [u64; 5] {
    values.sort_unstable();
    let at = |percent: usize| values.get(values.len().saturating_sub(1) * percent / 100);
    [0, 10, 50, 90, 100].map(|percent| at(percent).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use trialog_sim::{Invariant, Violation};

    /// What a run of seed 7 might have come to.
    fn timed(verdict: Verdict) -> Timed {
        let violation = (verdict == Verdict::Violated).then(|| Violation {
            invariant: Invariant::Lost,
            at: 12_345_678_901,
            message: "t-0: offset 3 is gone".to_owned(),
        });
        let report = Report {
            seed: 7,
            hash: 0xabc,
            events: 1000,
            operations: 100,
            simulated_ms: 70_000,
            faults: BTreeMap::from([("power_cut", 2)]),
            marks: BTreeMap::new(),
            live: true,
            verdict,
            violation,
            log: Vec::new(),
        };
        let wall_ms = 3.2;
        Timed { report, wall_ms }
    }

    const DURATION: Span = Span { ms: 5_000 };

    /// Runs that came to `verdicts`, and how the command ends.
    fn code(verdicts: &[Verdict]) -> u8 {
        let mut fleet = Fleet::default();
        for verdict in verdicts {
            fleet.add(&timed(*verdict));
        }
        fleet.verdict().map_or_else(|failure| failure.code, |()| 0)
    }

    #[test]
    fn the_worst_verdict_decides_how_the_command_ends() {
        let (passed, violated, unclear) =
            (Verdict::Passed, Verdict::Violated, Verdict::Inconclusive);
        assert_eq!(code(&[passed, passed]), 0);
        assert_eq!(code(&[passed, unclear]), 2);
        assert_eq!(code(&[unclear, violated, passed]), 1);
    }

    #[test]
    fn a_violation_is_told_with_the_line_that_replays_it() {
        let timed = timed(Verdict::Violated);
        for alone in [true, false] {
            let text = told(&timed.report, DURATION, alone).expect("it is told");
            let (what, line) = text.split_once("\n  see it again: ").expect("two lines");
            assert_eq!(
                what,
                "seed 7: VIOLATED lost at 12345 ms: t-0: offset 3 is gone"
            );
            assert_eq!(line, "trialog sim replay 7 --duration 5000ms");
            let words = line.split(' ');
            assert!(crate::Cli::try_parse_from(words).is_ok(), "{line}");
        }
        let json = json(&timed, DURATION);
        assert_eq!(json["verdict"], "violated");
        let violation = &json["violation"];
        assert_eq!(violation["invariant"], "lost");
        assert_eq!(violation["at_ms"], 12_345);
        assert_eq!(violation["message"], "t-0: offset 3 is gone");
        assert_eq!(
            violation["replay"],
            "trialog sim replay 7 --duration 5000ms"
        );
    }

    #[test]
    fn one_of_many_that_passed_is_not_told() {
        let report = timed(Verdict::Passed).report;
        assert_eq!(told(&report, DURATION, false), None);
        assert!(told(&report, DURATION, true).is_some());
        let report = timed(Verdict::Inconclusive).report;
        assert!(told(&report, DURATION, false).is_some());
    }

    /// Scripts rely on the names.
    #[test]
    fn an_object_has_the_same_keys_whatever_came_of_the_run() {
        for verdict in [Verdict::Passed, Verdict::Violated, Verdict::Inconclusive] {
            let json = json(&timed(verdict), DURATION);
            let keys: Vec<&str> = json
                .as_object()
                .expect("one")
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(
                keys,
                [
                    "events",
                    "faults",
                    "hash",
                    "lacking",
                    "marks",
                    "operations",
                    "seed",
                    "simulated_ms",
                    "verdict",
                    "violation",
                    "wall_ms",
                ]
            );
            assert_eq!(json["violation"].is_null(), verdict != Verdict::Violated);
            assert_eq!(json["faults"], serde_json::json!({"power_cut": 2}));
            assert_eq!(
                (&json["seed"], &json["hash"]),
                (&7.into(), &"0000000000000abc".into())
            );
            assert_eq!(
                (&json["simulated_ms"], &json["wall_ms"]),
                (&70_000.into(), &3.into())
            );
            assert_eq!(
                (&json["events"], &json["operations"]),
                (&1000.into(), &100.into())
            );
        }
    }

    #[test]
    fn a_spread_has_its_ends_and_its_middle() {
        let mut values: Vec<u64> = (0..=100).rev().collect();
        assert_eq!(spread(&mut values), [0, 10, 50, 90, 100]);
        assert_eq!(spread(&mut [7]), [7; 5]);
        assert_eq!(spread(&mut []), [0; 5]);
    }
}
