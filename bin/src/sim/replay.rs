//! `trialog sim replay`: one seed again, with its event log and the same hash; or a recording of a real node, effect by effect.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use trialog_core::config::Config;
use trialog_core::mutant::Mutant;
use trialog_core::node::Node;
use trialog_net::recorder::{self, replay::replay};
use trialog_sim::{Options, Verdict};

use super::{Span, pool};
use crate::exit::{self, Failure};

/// What `trialog sim replay` takes.
#[derive(clap::Args)]
pub struct Args {
    /// A seed, or the directory of a recording that `trialog start --record` made.
    #[arg(value_name = "SEED|DIR")]
    what: String,
    /// Simulated time in which faults strike: as in the run.
    #[arg(long, default_value = "60s")]
    duration: Span,
    /// The rule that was broken in the run, if any.
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
}

/// The mutant of this name.
pub fn mutant(name: &str) -> Result<Mutant, String> {
    let known = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
    known.ok_or_else(|| {
        let names = Mutant::ALL.map(Mutant::name).join(", ");
        format!("no such rule; there are {names}")
    })
}

/// Runs it again.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Ok(seed) = args.what.parse::<u64>() else {
        return recording(args);
    };
    pool::silence_panics();
    let options = Options {
        duration_ms: args.duration.ms,
        mutant: args.mutant,
        keep_log: true,
    };
    let report = trialog_sim::run(seed, &options);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = report
        .log
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .and_then(|()| {
            writeln!(
                out,
                "seed {seed}: {}, hash {:016x}, {} events, {} operations",
                report.in_words(),
                report.hash,
                report.events,
                report.operations
            )
        })
        .and_then(|()| out.flush());
    let code = match report.verdict {
        Verdict::Passed => 0,
        Verdict::Violated => 1,
        Verdict::Inconclusive => 2,
    };
    match (written, code) {
        (Ok(()), 0) => Ok(()),
        // A reader that has seen enough (`| head`) is no failure.
        (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (Err(error), _) => Err(Failure::failed(error)),
        (Ok(()), code) => Err(Failure {
            code,
            message: String::new(),
        }),
    }
}

/// Lives every recording of a directory (or one file) again and compares each effect.
fn recording(args: &Args) -> Result<(), Failure> {
    let path = Path::new(&args.what);
    let files = match path.is_dir() {
        true => recorder::recordings(path).map_err(Failure::failed)?,
        false if path.is_file() => vec![path.to_owned()],
        false => Vec::new(),
    };
    if files.is_empty() {
        return Err(Failure::usage(format!(
            "`{}` is neither a seed nor a recording: `trialog start CONFIG --record DIR` makes one",
            args.what
        )));
    }
    exit::at_panic(|| {
        exit::say(
            "a step of the recording broke an invariant, which is a bug: please report the lines above.",
        );
    });
    for file in files {
        let name = file.display();
        let bytes = File::open(&file)
            .map(BufReader::new)
            .map_err(|error| Failure::failed(format!("{name}: {error}")))?;
        let replayed = replay(bytes, |origin| {
            let config = Config::parse(&origin.properties)?;
            Ok(Node::new(config, origin.seed, origin.boot))
        });
        let replayed = replayed.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
        let torn = match replayed.torn {
            true => "; its end is cut off, as a killed process leaves it",
            false => "",
        };
        println!(
            "{name}: {} steps and {} effects as recorded by release {}, hash {:016x}{torn}",
            replayed.steps, replayed.effects, replayed.version, replayed.hash,
        );
        if replayed.steps == 0 {
            return Err(Failure {
                code: 2,
                message: format!("{name}: it ends before its first step, so nothing was compared"),
            });
        }
    }
    Ok(())
}
