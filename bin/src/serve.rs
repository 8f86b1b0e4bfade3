//! Runs one node: opens what its configuration names, steps it until it halts, and passes on the operator's signals.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use trialog_core::config::Config;
use trialog_core::ids::DirId;
use trialog_core::io::{Boot, Halt, ListenerBoot, LogDirBoot};
use trialog_core::node::Node;
use trialog_net::disk::files::FileDisk;
use trialog_net::driver::{self, Ended, Stop, Witness, World};
use trialog_net::listen::{self, Listen};
use trialog_net::machine;
use trialog_net::recorder::{LastPage, Origin, Recorder};

use crate::exit::{self, Failure};
use crate::format;

/// Frames that have begun to arrive may take so many bytes together, and more where the largest one asks for it.
const FRAME_MEMORY_MIN: u64 = 256 << 20;

/// The end of the recording, if there is one.
static LAST_PAGE: OnceLock<LastPage> = OnceLock::new();

/// Where to record.
#[derive(clap::Args, Clone, Default)]
pub struct Recording {
    /// Record every input and a hash of the effects of every step, for `trialog sim replay DIR`.
    /// Clients' records are blanked out.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Keep clients' records in the recording.
    #[arg(long, requires = "record")]
    record_payloads: bool,
}

/// What to run.
pub struct Serve {
    /// The node's configuration.
    pub config: Config,
    /// What to do about a log directory that does not exist or is not formatted.
    pub unformatted: String,
    /// Where to record, if at all.
    pub recording: Recording,
    /// Called once when the node serves clients, with its listeners.
    pub ready: Option<Box<dyn FnOnce(&[ListenerBoot])>>,
}

/// Sends the log to stderr: what TRIALOG_LOG asks for, or what an operator should know.
pub fn log_to_stderr() {
    use tracing_subscriber::filter::EnvFilter;
    let asked = std::env::var("TRIALOG_LOG").ok();
    let wanted = asked.as_deref().map(EnvFilter::try_new);
    let (wanted, fault) = match wanted {
        Some(Ok(wanted)) => (wanted, None),
        Some(Err(fault)) => (EnvFilter::new("info"), Some(fault)),
        None => (EnvFilter::new("info"), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(wanted)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        // A line that cannot be written is lost. It would be told on stderr again, by a panic.
        .log_internal_errors(false)
        .init();
    if let Some(fault) = fault {
        tracing::warn!("TRIALOG_LOG is not used: {fault}. Write a level, as in TRIALOG_LOG=debug.");
    }
}

/// Runs the node to its end.
pub fn run(serve: Serve) -> Result<(), Failure> {
    exit::at_panic(|| {
        if let Some(page) = LAST_PAGE.get() {
            page.write();
        }
        exit::say(
            "a broken invariant, which is a bug: please report the lines above. The next start recovers the logs.",
        );
    });
    for note in serve.config.notes() {
        tracing::warn!("{note}.");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format_args!("cannot start the runtime: {error}.")))?;
    runtime.block_on(node(serve))
}

async fn node(serve: Serve) -> Result<(), Failure> {
    let config = serve.config;
    let mut roots = Vec::new();
    for (n, path) in (0..).zip(config.log_dirs()) {
        let root = PathBuf::from(path);
        let why = match std::fs::metadata(root.join(format::META_PROPERTIES)) {
            Err(error) if error.kind() == ErrorKind::NotFound => match root.exists() {
                true => "is not formatted",
                false => "does not exist",
            },
            // Whatever else is wrong with it is the disk's to find: the node may do without this directory.
            Ok(_) | Err(_) => "",
        };
        if !why.is_empty() {
            return Err(Failure::failed(format_args!(
                "the log directory {path} {why}: {}.",
                serve.unformatted
            )));
        }
        roots.push((DirId(n), root));
    }
    let disk = FileDisk::open(&roots).map_err(Failure::failed)?;
    let listens: Vec<Listen> = config
        .listeners()
        .iter()
        .map(|listener| Listen {
            name: listener.name.clone(),
            host: listener.host.clone(),
            port: listener.port,
        })
        .collect();
    let (listeners, bound) = listen::bind(&listens).await.map_err(Failure::failed)?;
    let boot = Boot {
        boot_id: machine::boot_id(),
        log_dirs: roots
            .iter()
            .map(|(dir, path)| LogDirBoot {
                dir: *dir,
                path: path.display().to_string(),
            })
            .collect(),
        listeners: bound.clone(),
    };
    let seed: [u8; 32] = rand::random();
    let witness = record(&serve.recording, &config, seed, &boot)?;
    // Two of the largest at a time at least, so that one that stalls does not stand in the way of all.
    let frame_memory_bytes = FRAME_MEMORY_MIN.max(2 * u64::from(config.socket_request_max_bytes()));
    let (ready, is_ready) = oneshot::channel();
    let world = World {
        listeners,
        disk: Box::new(disk),
        stop: signals()?,
        connections_max: machine::connections_max(),
        frame_memory_bytes,
        witness,
        ready: Some(ready),
    };
    let node = Node::new(config, seed, boot);
    let tell = async {
        if let (Ok(()), Some(tell)) = (is_ready.await, serve.ready) {
            tell(&bound);
        }
        std::future::pending().await
    };
    let (ended, disk) = tokio::select! {
        ended = driver::run(node, world) => ended,
        never = tell => never,
    };
    // Nobody waits for a device that does not answer: its threads, and the locks on the directories, end with the process.
    std::mem::forget(disk);
    match ended {
        Ended::Halted(Halt::Clean) => {
            tracing::info!("Stopped: everything is synced.");
            Ok(())
        }
        Ended::Halted(Halt::Fatal(message)) => Err(Failure::failed(message)),
        Ended::Forced => Err(Failure::failed(
            "stopped at the second signal without a graceful stop; the next start recovers the logs.",
        )),
    }
}

/// The recorder that was asked for.
fn record(
    recording: &Recording,
    config: &Config,
    seed: [u8; 32],
    boot: &Boot,
) -> Result<Option<Box<dyn Witness>>, Failure> {
    let Some(dir) = &recording.record else {
        return Ok(None);
    };
    let origin = Origin {
        version: env!("CARGO_PKG_VERSION").into(),
        payloads: recording.record_payloads,
        properties: config.set().clone(),
        seed,
        boot: boot.clone(),
    };
    let recorder = Recorder::create(dir, &origin).map_err(|error| {
        Failure::failed(format_args!(
            "cannot record in {}: {error}. Name a writable directory with --record.",
            dir.display()
        ))
    })?;
    tracing::info!(
        "Recording to {}. Replay it with: trialog sim replay {}",
        recorder.path().display(),
        dir.display()
    );
    // A process runs one node.
    let _ = LAST_PAGE.set(recorder.last_page());
    Ok(Some(Box::new(recorder)))
}

/// Signals this close together are one: `timeout` and some supervisors send theirs to the process and to its group.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

/// SIGTERM, SIGINT and the end of the terminal, SIGHUP, ask for a stop.
fn signals() -> Result<mpsc::Receiver<Stop>, Failure> {
    let failed = |error| Failure::failed(format_args!("cannot listen for signals: {error}."));
    let (ask, asked) = mpsc::channel(4);
    let first = Arc::new(OnceLock::new());
    let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
    if !machine::ignores_hangup() {
        kinds.push(SignalKind::hangup());
    }
    for kind in kinds {
        let mut signal = signal(kind).map_err(failed)?;
        let (ask, first) = (ask.clone(), Arc::clone(&first));
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let is_first = first.set(Instant::now()).is_ok();
                let since = first.get().map_or(Duration::ZERO, Instant::elapsed);
                if !is_first && since < ONE_SIGNAL {
                    continue;
                }
                if !is_first {
                    std::thread::spawn(end_soon);
                }
                if ask.send(Stop::Gracefully).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(asked)
}

/// After the second signal the process ends, even if a disk that does not answer holds up its threads.
fn end_soon() {
    std::thread::sleep(Duration::from_millis(500));
    std::process::exit(1);
}
