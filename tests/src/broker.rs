//! A broker as a process: ours or Apache Kafka's, from the same server.properties, started, killed and stopped.
//!
//! Owns the process and its ports: whatever happens to a test, dropping the [`Broker`] ends it. Never looks inside a data directory.

use crate::client::Client;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Whose broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka 4.3.1.
    Kafka,
    /// The `trialog` binary.
    Trialog,
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is inside the repository")
}

/// True if the tests run at full size (`tests/run --all`).
pub fn at_full_size() -> bool {
    std::env::var_os("TRIALOG_TESTS").is_some_and(|size| size == "all")
}

/// The first if the tests run at full size, else the second.
pub fn full_or_smoke<T>(full: T, smoke: T) -> T {
    if at_full_size() { full } else { smoke }
}

/// The broker under test: `TRIALOG_TARGET=kafka` checks the tests themselves against Apache Kafka.
pub fn target() -> Kind {
    match std::env::var("TRIALOG_TARGET").as_deref() {
        Ok("kafka") => Kind::Kafka,
        Ok("trialog") | Err(_) => Kind::Trialog,
        Ok(other) => panic!("TRIALOG_TARGET={other}: kafka or trialog"),
    }
}

/// The directory of Apache Kafka's jars, which `tests/run` fills.
pub fn kafka_jars() -> PathBuf {
    let jars = std::env::var_os("TRIALOG_KAFKA_JARS")
        .map_or_else(|| root().join(".cache/kafka-4.3.1/jars"), PathBuf::from);
    assert!(
        jars.join("kafka-clients-4.3.1.jar").exists(),
        "no Apache Kafka in {}: run tests/run once, it installs it",
        jars.display()
    );
    jars
}

/// The release binary, which `tests/run` builds (`TRIALOG_BINARY` names another).
pub fn binary() -> PathBuf {
    let binary = std::env::var_os("TRIALOG_BINARY")
        .map_or_else(|| root().join("target/release/trialog"), PathBuf::from);
    assert!(
        binary.exists(),
        "no {}: cargo build --release -p trialog",
        binary.display()
    );
    binary
}

/// A Java program of Apache Kafka's jars.
pub fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-cp",
    ]);
    command.arg(class_path()).arg(class);
    command
}

fn class_path() -> String {
    format!(
        "{}:{}/*",
        root().join("tests/kafka").display(),
        kafka_jars().display()
    )
}

/// Runs a command to its end with its output; panics with the output if it fails or takes longer than `patience`.
pub fn run(command: &mut Command, patience: Duration) -> String {
    let shown = format!("{command:?}");
    let (status, out, err) = finish(command, patience);
    assert!(status.success(), "{status}: {shown}\n{out}\n{err}");
    out
}

/// Runs a command to its end: status, standard output, standard error. Panics if it takes longer than `patience`.
pub fn finish(command: &mut Command, patience: Duration) -> (ExitStatus, String, String) {
    let shown = format!("{command:?}");
    let out = tempfile::NamedTempFile::new().expect("a file for the output");
    let err = tempfile::NamedTempFile::new().expect("a file for the output");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.reopen().expect("the output file"))
        .stderr(err.reopen().expect("the output file"))
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let read = |file: &tempfile::NamedTempFile| {
        String::from_utf8_lossy(&fs::read(file.path()).expect("the output")).into_owned()
    };
    match wait(&mut child, patience) {
        Some(status) => (status, read(&out), read(&err)),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{shown} did not end in {patience:?}\n{}\n{}",
                read(&out),
                read(&err)
            );
        }
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// What a broker is started with; kept over its restarts.
#[derive(Clone, Debug)]
pub struct Setup {
    kind: Kind,
    home: PathBuf,
    data: PathBuf,
    port: u16,
    controller_port: u16,
    properties: BTreeMap<String, String>,
    arguments: Vec<String>,
    features: Vec<String>,
    core: Option<usize>,
    heap: &'static str,
}

impl Setup {
    /// One node, broker and controller, with its files (but for the data) in `home` and its log directory at `data`.
    pub fn new(kind: Kind, home: &Path, data: &Path) -> Setup {
        let (port, controller_port) = (free_port(), free_port());
        let properties = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            (
                "controller.quorum.voters",
                format!("1@127.0.0.1:{controller_port}"),
            ),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
            ),
            (
                "advertised.listeners",
                format!("PLAINTEXT://127.0.0.1:{port}"),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("log.dirs", data.display().to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ];
        let mut properties: BTreeMap<String, String> = properties
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if kind == Kind::Kafka {
            // After a kill its controller waits for the old session to end before it lets the broker in again.
            properties.insert("broker.session.timeout.ms".to_owned(), "1000".to_owned());
            properties.insert("broker.heartbeat.interval.ms".to_owned(), "200".to_owned());
        }
        Setup {
            kind,
            home: home.to_owned(),
            data: data.to_owned(),
            port,
            controller_port,
            properties,
            arguments: Vec::new(),
            features: Vec::new(),
            core: None,
            heap: "512m",
        }
    }

    /// Formats and starts one node in a fresh directory, which lives as long as the first of the pair.
    pub fn serve(kind: Kind) -> (tempfile::TempDir, Broker) {
        Setup::serve_with(kind, &[])
    }

    /// The same with properties of its own.
    pub fn serve_with(kind: Kind, properties: &[(&str, &str)]) -> (tempfile::TempDir, Broker) {
        let home = tempfile::tempdir().expect("a home");
        let setup = Setup::new(kind, home.path(), &home.path().join("data"));
        let setup = properties
            .iter()
            .fold(setup, |setup, (name, value)| setup.with(name, value));
        setup.format();
        let broker = setup.start();
        (home, broker)
    }

    /// Sets a property.
    pub fn with(mut self, name: &str, value: &str) -> Setup {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Further arguments of `trialog start`.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Setup {
        self.arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        self
    }

    /// Formats with a feature at this level, as in metadata.version=25.
    pub fn with_feature(mut self, level: &str) -> Setup {
        self.features.push(level.to_owned());
        self
    }

    /// Pins the process to one core.
    pub fn on_core(mut self, core: usize) -> Setup {
        self.core = Some(core);
        self
    }

    /// Java's heap, as `-Xmx` takes it.
    pub fn with_heap(mut self, heap: &'static str) -> Setup {
        self.heap = heap;
        self
    }

    /// Whose broker.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its log directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where clients connect.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where administrators connect to its controller.
    pub fn controllers(&self) -> String {
        format!("127.0.0.1:{}", self.controller_port)
    }

    fn config(&self) -> PathBuf {
        let path = self.home.join("server.properties");
        let text: String = self
            .properties
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        fs::create_dir_all(&self.home)
            .and_then(|()| fs::write(&path, text))
            .expect("write server.properties");
        path
    }

    /// Formats the log directory.
    pub fn format(&self) {
        self.try_format().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Formats the log directory; the error is what the command said.
    pub fn try_format(&self) -> Result<(), String> {
        const CLUSTER: &str = "dHJpYWxvZy10ZXN0cy0wMQ";
        let config = self.config();
        let mut command = match self.kind {
            Kind::Kafka => java("kafka.tools.StorageTool"),
            Kind::Trialog => Command::new(binary()),
        };
        command.arg("format");
        if self.kind == Kind::Kafka {
            // What a node of ours does not claim would keep it from opening the directory.
            for feature in [
                "eligible.leader.replicas.version",
                "group.version",
                "transaction.version",
                "share.version",
                "streams.version",
            ] {
                command.args(["--feature", &format!("{feature}=0")]);
            }
        }
        for feature in &self.features {
            command.args(["--feature", feature]);
        }
        command.args(["-t", CLUSTER, "-c"]).arg(&config);
        match finish(&mut command, Duration::from_secs(60)) {
            (status, ..) if status.success() => Ok(()),
            (status, out, err) => Err(format!("{status}: {command:?}\n{out}\n{err}")),
        }
    }

    fn command(&self) -> Command {
        let config = self.config();
        let program = match self.kind {
            Kind::Kafka => PathBuf::from("java"),
            Kind::Trialog => binary(),
        };
        let mut command = match self.core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        match self.kind {
            Kind::Kafka => {
                command.args([&format!("-Xmx{}", self.heap), &format!("-Xms{}", self.heap)]);
                command.args([
                    "-server",
                    "-XX:+UseG1GC",
                    "-XX:MaxGCPauseMillis=20",
                    "-XX:InitiatingHeapOccupancyPercent=35",
                ]);
                command
                    .args(["-XX:-UsePerfData", "-cp", &class_path(), "kafka.Kafka"])
                    .arg(config);
            }
            Kind::Trialog => drop(command.arg("start").arg(config).args(&self.arguments)),
        }
        command
    }

    /// Starts it and waits until it serves; panics with its log if it does not.
    pub fn start(&self) -> Broker {
        self.try_start(Duration::from_secs(60))
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts it and waits up to `patience` until it serves; the error holds the end of its log.
    pub fn try_start(&self, patience: Duration) -> Result<Broker, String> {
        let log = self.home.join("broker.log");
        fs::create_dir_all(&self.home).expect("a home");
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("the log file");
        let err = out.try_clone().expect("the log file");
        let mut command = self.command();
        let began = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut broker = Broker {
            setup: self.clone(),
            child: Some(child),
            log,
            started_in: Duration::ZERO,
        };
        loop {
            if let Some(status) = broker
                .child
                .as_mut()
                .and_then(|child| child.try_wait().expect("the child is ours"))
            {
                broker.child = None;
                return Err(format!(
                    "{:?} ended with {status} instead of serving\n{}",
                    self.kind,
                    broker.log_tail()
                ));
            }
            // Apache Kafka serves before its logs are open; ours has an answer for every partition by then, if only that it is offline.
            let all_open = self.kind == Kind::Kafka;
            if Client::connect(&self.bootstrap()).is_ok_and(|mut client| client.serves(all_open)) {
                broker.started_in = began.elapsed();
                return Ok(broker);
            }
            if began.elapsed() > patience {
                return Err(format!(
                    "{:?} did not serve in {patience:?}\n{}",
                    self.kind,
                    broker.log_tail()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A running broker; killed when dropped.
pub struct Broker {
    setup: Setup,
    child: Option<Child>,
    log: PathBuf,
    started_in: Duration,
}

impl Broker {
    /// Where clients connect.
    pub fn bootstrap(&self) -> String {
        self.setup.bootstrap()
    }

    /// Where administrators connect to its controller.
    pub fn controllers(&self) -> String {
        self.setup.controllers()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.bootstrap()).expect("the broker accepts connections")
    }

    /// From the start of the process to the first answer.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// kill -9, and waits for the process to be gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill our child");
            child.wait().expect("reap our child");
        }
    }

    /// SIGTERM, without waiting for the end.
    pub fn begin_stop(&self) {
        let child = self.child.as_ref().expect("the broker runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("signal our child");
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.begin_stop();
        let mut child = self.child.take().expect("the broker runs");
        let Some(status) = wait(&mut child, Duration::from_secs(60)) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{:?} did not stop in a minute\n{}",
                self.setup.kind,
                self.log_tail()
            );
        };
        (status, began.elapsed())
    }

    /// CPU seconds that the process has used.
    pub fn cpu_seconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc/PID/stat");
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .expect("a name in brackets")
            .1
            .split_whitespace()
            .collect();
        let ticks: f64 =
            fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
        ticks / rustix::param::clock_ticks_per_second() as f64
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc/PID/status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("kB")
            * 1024
    }

    /// The last lines of what it wrote.
    pub fn log_tail(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("--- the end of the broker's log\n{}\n---", self.log_tail());
            }
        }
    }
}
