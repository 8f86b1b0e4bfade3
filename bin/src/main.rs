//! `trialog`: the command tree.
//!
//! Owns the terminal, files, threads and wall time of the commands; decides nothing about Kafka. Exit codes: 0 good, 1
//! failed or violated, 2 inconclusive, 64 usage, 70 a broken invariant of ours, 78 configuration.
#![forbid(unsafe_code)]

mod dev;
mod exit;
mod format;
mod properties;
mod serve;
mod sim;
mod start;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Failure;
use trialog_net::allocator::{self, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What scripts may rely on.
const EXIT_CODES: &str = "Exit codes: 0 good, 1 failed or violated, 2 inconclusive, 64 usage, 70 a bug of ours, 78 configuration";

/// A Kafka-compatible event log that has stood trial.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node for development: formats its data if needed, and prints how to reach it.
    Dev(dev::Args),
    /// Prepare the log directories of a node before its first start.
    Format(format::Args),
    /// Run a node from Kafka's server.properties.
    Start(start::Args),
    /// Chaos in a simulated world: run seeds, replay them, break known rules.
    #[command(subcommand)]
    Sim(sim::Command),
}

fn main() -> ExitCode {
    allocator::refuse_huge_pages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return exit::usage(&usage),
    };
    let ended = match cli.command {
        Command::Dev(args) => dev::run(args),
        Command::Format(args) => format::run(&args),
        Command::Start(args) => start::run(&args),
        Command::Sim(command) => sim::run(command),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                exit::say(message);
            }
            ExitCode::from(code)
        }
    }
}
