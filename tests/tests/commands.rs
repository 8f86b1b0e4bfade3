//! The commands as people use them: what they print, how they end, and what they say when something is wrong.
#![cfg(not(madsim))]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kafka_protocol::records::Compression;
use trialog_tests::broker::{Kind, Setup, binary, finish, root};
use trialog_tests::client::{Client, PLAIN, batch};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `trialog` to its end in `home`: exit code, standard output, standard error.
fn trialog(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(home);
    let (status, out, err) = finish(&mut command, PATIENCE);
    (status.code().expect("no signal ended it"), out, err)
}

fn config(home: &Path, port: u16) {
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:0\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:9093\nlog.dirs=data\n"
    );
    std::fs::write(home.join("server.properties"), text).expect("written");
}

/// `trialog dev` until it greets: the process, and the address that it printed.
fn dev(arguments: &[&str]) -> (Child, String, String) {
    dev_as(Command::new(binary()).stderr(Stdio::null()), arguments)
}

/// The same, where `trialog` is what is to be run, up to its first argument.
fn dev_as(trialog: &mut Command, arguments: &[&str]) -> (Child, String, String) {
    let mut child = trialog
        .args(["dev", "--port", "0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let address = line();
    let address = address
        .strip_prefix("bootstrap.servers=")
        .expect("the address first");
    let data = line();
    let data = data
        .strip_prefix("Data: ")
        .and_then(|rest| rest.split(' ').next());
    let data = data.expect("the data's place").to_owned();
    (child, address.to_owned(), data)
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("our child");
}

/// What another process takes of the machine is no delay of the node: one of a few tries keeps the time.
#[test]
fn dev_serves_at_once_and_leaves_nothing() {
    let mut tries = (0..5).map(|nth| {
        std::thread::sleep(nth * Duration::from_secs(1));
        first_produce()
    });
    assert!(tries.any(|took| took < Duration::from_millis(300)));
}

/// A whole life of `trialog dev`: how long after its start the first record was produced.
fn first_produce() -> Duration {
    let began = Instant::now();
    let (mut child, address, data) = dev(&[]);
    let mut client = Client::connect(&address).expect("it listens");
    client.create_topic("first", 1, &[]).expect("a topic");
    let values = [b"hello".to_vec()];
    let batch = batch(&values, PLAIN, Compression::None);
    let produced = client.produce("first", 0, -1, batch);
    assert_eq!(produced.expect("an answer"), (0, 0));
    let took = began.elapsed();
    println!("first produce after {took:?}");
    assert!(Path::new(&data).join("first-0").is_dir());
    let stopping = Instant::now();
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(
        stopping.elapsed() < Duration::from_secs(2),
        "{:?}",
        stopping.elapsed()
    );
    assert!(!Path::new(&data).exists(), "its data is gone");
    took
}

#[test]
fn two_signals_at_once_are_one() {
    let (mut child, _, _) = dev(&[]);
    signal(&child, rustix::process::Signal::TERM);
    signal(&child, rustix::process::Signal::INT);
    let status = child.wait().expect("reaped");
    assert_eq!(status.code(), Some(0), "it stopped gracefully");
}

/// Whatever this test was itself started with.
#[test]
fn the_end_of_the_terminal_is_a_stop() {
    let mut env = Command::new("env");
    let (mut child, _, data) = dev_as(env.arg("--default-signal=HUP").arg(binary()), &[]);
    signal(&child, rustix::process::Signal::HUP);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(!Path::new(&data).exists(), "its data is gone");
}

/// As `nohup` starts it.
#[test]
fn a_node_that_was_told_to_outlive_its_terminal_does() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let (mut child, address, _) = dev_as(shell.arg(binary()).stderr(Stdio::null()), &[]);
    signal(&child, rustix::process::Signal::HUP);
    let mut client = Client::connect(&address).expect("it listens");
    for topic in ["one", "two", "three"] {
        client.create_topic(topic, 1, &[]).expect("it goes on");
    }
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// `2>&1 | tee`, and tee is gone; or `2>> file` on a full disk.
#[test]
fn nobody_has_to_read_what_a_node_says() {
    let full = || std::fs::File::options().write(true).open("/dev/full");
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    for stderr in [Stdio::from(closed), full().expect("a device").into()] {
        let mut trialog = Command::new(binary());
        let talkative = trialog.env("TRIALOG_LOG", "debug").stderr(stderr);
        let (mut child, address, _) = dev_as(talkative, &[]);
        let mut client = Client::connect(&address).expect("it listens");
        client.create_topic("unheard", 1, &[]).expect("a topic");
        let batch = batch(&[b"hello".to_vec()], PLAIN, Compression::None);
        let produced = client.produce("unheard", 0, -1, batch);
        assert_eq!(produced.expect("an answer"), (0, 0));
        signal(&child, rustix::process::Signal::TERM);
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
    let mut refused = Command::new(binary());
    refused.args(["start", "missing"]);
    let status = refused.stderr(full().expect("a device")).status();
    assert_eq!(status.expect("it ends").code(), Some(78));
}

#[test]
fn dev_is_a_quorum_of_itself_whatever_its_number() {
    let (mut child, address, data) = dev(&["-X", "node.id=5"]);
    Client::connect(&address).expect("it listens");
    let meta = std::fs::read_to_string(Path::new(&data).join("meta.properties")).expect("text");
    assert!(meta.contains("node.id=5\n"), "{meta}");
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn dev_keeps_the_data_that_it_was_told_to_keep() {
    let home = tempfile::tempdir().expect("a home");
    let place = home.path().join("kept/here");
    let place = place.to_str().expect("text");
    let formatted = || std::fs::read(Path::new(place).join("meta.properties")).expect("formatted");
    let mut before = None;
    for _ in 0..2 {
        let (mut child, _, data) = dev(&["--data", place]);
        assert_eq!(data, place);
        signal(&child, rustix::process::Signal::TERM);
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
        let now = formatted();
        assert_eq!(
            before.get_or_insert_with(|| now.clone()),
            &now,
            "formatted once"
        );
    }
}

#[test]
fn a_node_is_formatted_once_and_runs_once() {
    let home = tempfile::tempdir().expect("a home");
    let home = home.path();
    config(home, 0);
    let (code, out, _) = trialog(
        home,
        &["format", "-c", "server.properties", "-t", "some-cluster"],
    );
    assert_eq!(
        (code, out.as_str()),
        (0, "Formatted data for cluster some-cluster.\n")
    );
    let (code, _, err) = trialog(home, &["format", "-c", "server.properties"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("formatted already") && err.contains("--ignore-formatted"),
        "{err}"
    );

    let mut first = Command::new(binary())
        .args(["start", "server.properties"])
        .current_dir(home)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(first.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("Ready") {
        line.clear();
        assert!(
            log.read_line(&mut line).expect("text") > 0,
            "it ended instead of serving"
        );
    }
    let (code, _, err) = trialog(home, &["start", "server.properties"]);
    assert_eq!(code, 1);
    assert!(err.contains("in use by another broker"), "{err}");
    signal(&first, rustix::process::Signal::TERM);
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("Stopped: everything is synced."), "{rest}");
    assert!(
        home.join("data/.kafka_cleanshutdown").exists(),
        "the marker that Kafka looks for"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_cause_and_what_to_do() {
    let home = tempfile::tempdir().expect("a home");
    let home = home.path();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    config(home, port);
    std::fs::create_dir(home.join("empty")).expect("made");
    std::fs::write(home.join("escape"), r"log.dirs=C:\users").expect("written");
    std::fs::write(home.join("file"), "").expect("written");
    let start = |more: &[&str]| trialog(home, &[&["start", "server.properties"], more].concat());
    let cases = [
        (
            trialog(home, &["start", "missing"]),
            78,
            ["cannot read the configuration missing", "trialog dev"],
        ),
        (
            start(&["-X", "num.partitions=x"]),
            78,
            ["num.partitions", "-X name=value"],
        ),
        (
            start(&[]),
            1,
            ["data does not exist", "trialog format -c server.properties"],
        ),
        (start(&["-X", "oops"]), 64, ["oops", "name=value"]),
        (
            start(&["-X", "log.dirs=file"]),
            1,
            ["directory file", "Not a directory"],
        ),
        (
            trialog(home, &["format", "-c", "server.properties", "-t", "a b"]),
            78,
            ["cluster id", "one word"],
        ),
        (
            trialog(
                home,
                &["format", "-c", "server.properties", "-f", "group.version=1"],
            ),
            78,
            ["group.version", "leave it out"],
        ),
        (
            trialog(home, &["start", "escape"]),
            78,
            [r"log.dirs=C:\users", "written twice"],
        ),
        (trialog(home, &["strat"]), 64, ["strat", "start"]),
        (
            trialog(home, &["dev", "--port", "0", "--data", "a,b"]),
            64,
            ["a,b", "comma"],
        ),
        (
            trialog(home, &["sim", "replay", "empty"]),
            64,
            ["empty", "--record"],
        ),
    ];
    for ((code, out, err), want, words) in cases {
        assert_eq!(code, want, "{out}{err}");
        assert!(out.is_empty(), "stdout is for results: {out}");
        for word in words {
            assert!(err.contains(word), "no {word} in: {err}");
        }
    }
    assert!(!home.join("a,b").exists(), "nothing was made");
    formats_as_told(home);
    let misspelt = ["-X", "log.retention.hour=1"];
    let (code, _, err) = trialog(
        home,
        &[&["format", "-c", "server.properties"], &misspelt[..]].concat(),
    );
    assert_eq!(code, 0);
    assert!(err.contains("log.retention.hour is no property"), "{err}");
    let (code, _, err) = start(&[]);
    assert_eq!(code, 1);
    assert!(
        err.contains("in use") && err.contains(&port.to_string()),
        "{err}"
    );
}

/// A node that was not formatted says how, and that is what formats it.
fn formats_as_told(home: &Path) {
    let text = std::fs::read_to_string(home.join("server.properties")).expect("written");
    let (dynamic, port) = ("dynamic.properties", "127.0.0.1:19093");
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some(("controller.quorum.voters", _)) => {
            format!("controller.quorum.bootstrap.servers={port}\n")
        }
        _ => format!("{line}\n"),
    });
    std::fs::write(home.join(dynamic), lines.collect::<String>()).expect("written");
    let dirs = "log.dirs=empty,new";
    for unformatted in ["empty is not formatted", "new is not formatted"] {
        let (code, _, err) = trialog(home, &["start", dynamic, "-X", dirs]);
        assert_eq!(code, 1);
        assert!(err.contains(unformatted), "{err}");
        let told = err.split('`').nth(1).expect("a command");
        assert!(told.contains("--standalone"), "{told}");
        let words: Vec<&str> = told.split(' ').skip(1).collect();
        let (code, _, err) = trialog(home, &words);
        assert_eq!(code, 0, "{told}: {err}");
        std::fs::remove_file(home.join("new/meta.properties")).expect("formatted");
    }
}

/// As in Kafka, the logs of a directory that cannot be opened are offline, and come back with it.
#[test]
fn a_node_starts_without_one_of_its_log_directories() {
    without_one_directory(|setup| setup);
}

/// The metadata of a cluster before KIP-858 does not say in which directory a log lies. No empty one takes its place.
#[test]
fn a_log_that_may_be_in_a_missing_directory_is_not_begun_anew() {
    without_one_directory(|setup| setup.with_feature("metadata.version=14"));
}

fn without_one_directory(formatted: impl Fn(Setup) -> Setup) {
    let home = tempfile::tempdir().expect("a home");
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let dirs = format!("{},{}", first.display(), second.display());
    let setup = Setup::new(Kind::Trialog, home.path(), &first).with("log.dirs", &dirs);
    let setup = formatted(setup);
    setup.format();
    let mut broker = setup.start();
    let mut client = broker.client();
    client.create_topic("spread", 4, &[]).expect("a topic");
    let produce = |client: &mut Client, partition| {
        let batch = batch(&[b"kept".to_vec()], PLAIN, Compression::None);
        let produced = client.produce("spread", partition, -1, batch);
        produced.expect("an answer")
    };
    for partition in 0..4 {
        assert_eq!(produce(&mut client, partition), (0, 0));
    }
    assert!(broker.stop().0.success());
    let here = |dir: &Path, partition| dir.join(format!("spread-{partition}")).is_dir();
    let lost: Vec<i32> = (0..4).filter(|n| here(&second, *n)).collect();
    assert_eq!(lost.len(), 2, "the logs are spread");

    let away = home.path().join("away");
    std::fs::rename(&second, &away).expect("moved");
    std::fs::write(&second, "").expect("no directory");
    let mut broker = setup.start();
    let mut client = broker.client();
    for partition in 0..4 {
        let (error, offset) = produce(&mut client, partition);
        assert_eq!((error, offset) == (0, 1), !lost.contains(&partition));
        assert_eq!(here(&first, partition), !lost.contains(&partition));
    }
    let said = broker.log_tail();
    assert!(said.contains("Not a directory"), "{said}");
    assert!(broker.stop().0.success());

    std::fs::remove_file(&second).expect("ours");
    std::fs::rename(&away, &second).expect("moved back");
    let mut broker = setup.start();
    let mut client = broker.client();
    for partition in 0..4 {
        let next = if lost.contains(&partition) { 1 } else { 2 };
        assert_eq!(produce(&mut client, partition), (0, next));
    }
    assert!(broker.stop().0.success());

    std::fs::rename(&first, &away).expect("moved");
    std::fs::write(&first, "").expect("no directory");
    let why = setup.try_start(PATIENCE).map(|_| ()).unwrap_err();
    assert!(why.contains("holds the metadata log and failed"), "{why}");
}

#[test]
fn help_is_found_both_ways() {
    for words in [
        &["start"][..],
        &["format"],
        &["dev"],
        &["sim"],
        &["sim", "run"],
    ] {
        let (code, asked, err) = trialog(root(), &[&["help"], words].concat());
        assert_eq!(code, 0, "{words:?}: {err}");
        let (_, flag, _) = trialog(root(), &[words, &["--help"]].concat());
        assert!(asked.contains("Usage: trialog"), "{asked}");
        assert_eq!(asked, flag, "{words:?}");
    }
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let home = tempfile::tempdir().expect("a home");
    config(home.path(), 0);
    let formats = |directory: &str, arguments: &[&str]| {
        let mut command = Command::new(binary());
        command
            .args(["format", "-c", "server.properties"])
            .args(arguments);
        command
            .current_dir(home.path())
            .env("KAFKA_LOG_DIRS", "environment");
        let (status, out, err) = finish(&mut command, PATIENCE);
        assert!(status.success(), "{err}");
        assert!(out.contains(&format!("Formatted {directory} ")), "{out}");
    };
    formats("environment", &[]);
    formats("flag", &["-X", "log.dirs=flag"]);
}

#[test]
fn a_listener_without_a_host_is_bound_to_loopback() {
    let home = tempfile::tempdir().expect("a home");
    let setup = Setup::new(Kind::Trialog, home.path(), &home.path().join("data"));
    let port = setup
        .bootstrap()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let listeners = format!("PLAINTEXT://:{port},CONTROLLER://:0");
    let setup = setup.with("listeners", &listeners);
    setup.format();
    let broker = setup.start();
    assert!(
        broker.log_tail().contains("bound to 127.0.0.1 only"),
        "{}",
        broker.log_tail()
    );
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the sockets");
    let port = format!("{:04X}", port.parse::<u16>().expect("a number"));
    let everywhere = format!(" 00000000:{port} ");
    let loopback = format!(" 0100007F:{port} ");
    assert!(
        sockets.contains(&loopback) && !sockets.contains(&everywhere),
        "{sockets}"
    );
}

#[test]
fn a_listener_that_others_reach_is_warned_of() {
    let home = tempfile::tempdir().expect("a home");
    let setup = Setup::new(Kind::Trialog, home.path(), &home.path().join("data"));
    let port = setup.bootstrap().replace("127.0.0.1:", "");
    let listeners = format!("PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:0");
    let setup = setup.with("listeners", &listeners);
    setup.format();
    let log = setup.start().log_tail();
    let warns = |name: &str| {
        let warning = format!("Listener {name}://");
        let told = |line: &str| line.contains(&warning) && line.contains("reachable from other");
        log.lines().any(|line| line.contains("WARN") && told(line))
    };
    assert!(warns("PLAINTEXT"), "{log}");
    assert!(!warns("CONTROLLER"), "{log}");
}

/// Who searches for known bugs must see which are searched for unasked.
#[test]
fn the_help_of_mutants_tells_them_apart() {
    let (code, help, err) = trialog(root(), &["sim", "mutants", "--help"]);
    assert_eq!(code, 0, "{err}");
    let (hunted, others) = help.split_once("The others").expect("two kinds");
    assert!(
        hunted.contains("are hunted by default:\n  AckBeforeSync, "),
        "{help}"
    );
    assert!(others.contains(" DeleteStray"), "{help}");
}
