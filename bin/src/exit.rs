//! How a command ends.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What, why, and what to do next; empty if all is said.
    pub message: String,
}

impl Failure {
    /// It failed: exit code 1.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure {
            code: 1,
            message: message.to_string(),
        }
    }

    /// The command line is wrong: exit code 64.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure {
            code: 64,
            message: message.to_string(),
        }
    }

    /// The configuration is wrong: exit code 78.
    pub fn config(message: impl fmt::Display) -> Failure {
        Failure {
            code: 78,
            message: message.to_string(),
        }
    }
}

/// Tells the operator on stderr.
pub fn say(line: impl fmt::Display) {
    // Whoever read it may be gone, or its disk full: no reason to end differently.
    let _ = writeln!(io::stderr(), "trialog: {line}");
}

/// A panic anywhere is a broken invariant of ours: nothing may go on as if it held. After `last`, the process ends with exit
/// code 70.
pub fn at_panic(last: impl Fn() + Send + Sync + 'static) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        last();
        std::process::exit(70);
    }));
}

/// Prints what clap says: help is no failure.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Without a terminal there is nobody to tell.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 64 } else { 0 })
}
