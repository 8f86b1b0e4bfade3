//! `trialog sim`: chaos runs, their replay, and the bank of known bugs.
//!
//! Owns threads, progress and wall time of the runs; a run itself is data from `trialog_sim`. stdout carries results only.

mod mutants;
mod pool;
mod replay;
mod run;

use std::str::FromStr;

use clap::Subcommand;

use crate::exit::Failure;

/// The verbs below `sim`.
#[derive(Subcommand)]
pub enum Command {
    /// Run seeds: the real core in a simulated world with faults, judged.
    Run(run::Args),
    /// Run a seed again with its event log, or re-execute a recording of a real node.
    Replay(replay::Args),
    /// Break known rules one at a time and see how many seeds it takes to notice.
    Mutants(mutants::Args),
}

/// Runs one of them.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Mutants(args) => mutants::run(&args),
    }
}

/// A length of time as people write it: `90s`, `500ms`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    ms: u64,
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            other => return Err(format!("`{other}` is no unit: write 500ms, 90s or 2m")),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{digits}` is no whole number"))?;
        let ms = number
            .checked_mul(unit)
            .filter(|ms| (1..=86_400_000).contains(ms));
        ms.map(|ms| Span { ms })
            .ok_or_else(|| "between 1 ms and 24 hours".to_owned())
    }
}

/// Seeds from the first to the last, both included: `7..99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    first: u64,
    last: u64,
}

impl FromStr for Seeds {
    type Err = String;
    fn from_str(text: &str) -> Result<Seeds, String> {
        let (first, last) = text
            .split_once("..")
            .ok_or_else(|| "write A..B, both included".to_owned())?;
        let number = |text: &str| {
            text.trim_start_matches('=')
                .parse::<u64>()
                .map_err(|_| format!("`{text}` is no seed"))
        };
        let (first, last) = (number(first)?, number(last)?);
        match first <= last {
            true => Ok(Seeds { first, last }),
            false => Err(format!("{first} is above {last}")),
        }
    }
}

/// How to run one seed again.
fn replay_line(seed: u64, duration: Span, mutant: Option<&str>) -> String {
    let mutant = mutant.map_or(String::new(), |name| format!(" --mutant {name}"));
    format!(
        "trialog sim replay {seed} --duration {}ms{mutant}",
        duration.ms
    )
}

/// A violation as one object, with the line that shows it again.
fn violation_json(
    violation: Option<&trialog_sim::Violation>,
    replay: impl FnOnce() -> String,
) -> serde_json::Value {
    violation.map_or(serde_json::Value::Null, |violation| {
        serde_json::json!({
            "invariant": violation.invariant.name(),
            "at_ms": violation.at / 1_000_000,
            "message": violation.message,
            "replay": replay(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_seeds_are_read_as_people_write_them() {
        assert_eq!("60s".parse(), Ok(Span { ms: 60_000 }));
        assert_eq!("5ms".parse(), Ok(Span { ms: 5 }));
        assert_eq!("2m".parse(), Ok(Span { ms: 120_000 }));
        for wrong in ["", "60", "s", "1h", "0s", "99999999999999m", "-1s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert_eq!("3..7".parse(), Ok(Seeds { first: 3, last: 7 }));
        for wrong in ["3", "7..3", "a..b", ".."] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }
}
