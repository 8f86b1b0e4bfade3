//! `trialog start`: a node from a configuration file.

use std::path::PathBuf;

use crate::exit::Failure;
use crate::format;
use crate::properties::{self, Override};
use crate::serve::{self, Recording, Serve};

/// What `trialog start` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Kafka's server.properties.
    config: PathBuf,
    /// Set a property, above the file and the environment (KAFKA_LOG_DIRS is log.dirs).
    #[arg(short = 'X', long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<Override>,
    #[command(flatten)]
    recording: Recording,
}

/// Runs the node until it is stopped.
pub fn run(args: &Args) -> Result<(), Failure> {
    serve::log_to_stderr();
    let properties = properties::load(&args.config, &args.overrides)?;
    let from = args.config.display().to_string();
    let config = properties::check(&properties, &from)?;
    let format = format::command(&config, &args.config, &args.overrides);
    serve::run(Serve {
        config,
        unformatted: format!("run `{format}` first"),
        recording: args.recording.clone(),
        ready: None,
    })
}
