//! `trialog dev`: one node to develop against, without a configuration.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use trialog_core::io::ListenerBoot;

use crate::exit::Failure;
use crate::format;
use crate::properties::{self, Override};
use crate::serve::{self, Recording, Serve};

/// What `trialog dev` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Port for clients; 0 takes a free one.
    #[arg(long, default_value_t = 9092, env = "TRIALOG_DEV_PORT")]
    port: u16,
    /// Address to listen on. Others than loopback let anyone who reaches them read and write everything.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Keep the data here; without it, it is removed at exit.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Set a property, above the environment (KAFKA_NUM_PARTITIONS is num.partitions).
    #[arg(short = 'X', long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<Override>,
    #[command(flatten)]
    recording: Recording,
}

/// Runs the node until it is stopped.
pub fn run(args: Args) -> Result<(), Failure> {
    serve::log_to_stderr();
    let (data, temporary) = directory(args.data.as_deref())?;
    let mut properties = properties::gather(
        defaults(&args.host, args.port, &data),
        properties::environment(),
        &args.overrides,
    );
    // A quorum of itself, whatever its number: nobody connects to this address.
    let voter = format!("{}@127.0.0.1:9093", properties["node.id"]);
    properties
        .entry("controller.quorum.voters".to_owned())
        .or_insert(voter);
    let config = properties::check(&properties, "of `trialog dev`")?;
    format::if_needed(&config)?;
    let kept = match &temporary {
        Some(_) => "removed at exit".to_owned(),
        None => "kept".to_owned(),
    };
    let place = data.display().to_string();
    let ended = serve::run(Serve {
        config,
        unformatted: "create it, or leave out --data".into(),
        recording: args.recording,
        ready: Some(Box::new(move |bound| greet(bound, &place, &kept))),
    });
    if let Some(temporary) = temporary
        && let Err(error) = temporary.close()
    {
        tracing::warn!("The temporary data could not be removed: {error}.");
    }
    ended
}

/// Where the data goes: the directory that was asked for, made if needed, or a temporary one.
fn directory(asked: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::failed(format_args!(
            "cannot make {what}: {error}. Name a writable directory with --data."
        ))
    };
    match asked {
        Some(path) => {
            refuse_parted(path, "--data")?;
            std::fs::create_dir_all(path)
                .map_err(|error| failed(&path.display().to_string(), error))?;
            Ok((path.into(), None))
        }
        None => {
            refuse_parted(&std::env::temp_dir(), "TMPDIR")?;
            let temporary = tempfile::Builder::new()
                .prefix("trialog-dev-")
                .tempdir()
                .map_err(|error| failed("a temporary directory", error))?;
            Ok((temporary.path().into(), Some(temporary)))
        }
    }
}

/// `log.dirs` is text that is parted at commas.
fn refuse_parted(path: &Path, of: &str) -> Result<(), Failure> {
    if path.to_str().is_some_and(|path| !path.contains(',')) {
        return Ok(());
    }
    Err(Failure::usage(format_args!(
        "{of} is {}: a log directory's name must be UTF-8 without a comma. Choose another one with --data; \
         several log directories are for `trialog start`.",
        path.display()
    )))
}

/// A broker and controller of its own; internal topics without further replicas.
fn defaults(host: &str, port: u16, data: &Path) -> BTreeMap<String, String> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let properties = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        (
            "listeners",
            format!("PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:0"),
        ),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("log.dirs", data.display().to_string()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        (
            "share.coordinator.state.topic.replication.factor",
            "1".to_owned(),
        ),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
    ];
    properties
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Says on stdout where the node is and what to do next.
fn greet(bound: &[ListenerBoot], data: &str, kept: &str) {
    let Some(clients) = bound.first() else {
        return;
    };
    let host = if clients.host.contains(':') {
        format!("[{}]", clients.host)
    } else {
        clients.host.clone()
    };
    let address = format!("{host}:{}", clients.port);
    let text = format!(
        "bootstrap.servers={address}\n\
         Data: {data} ({kept}). Stop with Ctrl-C. Try:\n  \
         echo hello | kcat -b {address} -P -t greetings\n  \
         kcat -b {address} -C -t greetings -p 0 -o beginning -e\n"
    );
    // Whoever started it may not read what it says.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
