//! The README's commands, run as they stand there, but for their ports: what people copy first must work.
#![cfg(not(madsim))]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use kafka_protocol::records::Compression;
use rustix::process::{Pid, Signal, kill_process};
use trialog_tests::broker::{binary, finish, free_port, root};
use trialog_tests::client::{Client, PLAIN, batch};

/// Seeds take most of it, in a build without optimization.
const PATIENCE: Duration = Duration::from_secs(300);

/// What stands for cargo: it has built the binary, and runs it.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
"build --release") ;;
"run --release -- "*) shift 3; exec target/release/trialog "$@" ;;
*) exit 64 ;;
esac
"#;

/// What is fenced in the README, in its order.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let parts = readme.split("```\n").skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// The block that begins so.
fn block(start: &str) -> String {
    let found = blocks().into_iter().find(|block| block.starts_with(start));
    found.unwrap_or_else(|| panic!("the README shows `{start}`"))
}

/// A directory that looks like a clone in which the release was built.
fn clone() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a home");
    let path = home.path();
    std::fs::create_dir_all(path.join("target/release")).expect("made");
    symlink(binary(), path.join("target/release/trialog")).expect("linked");
    std::fs::create_dir(path.join("tools")).expect("made");
    std::fs::write(path.join("tools/cargo"), CARGO).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path.join("tools/cargo"), executable).expect("ours");
    home
}

fn shell(home: &Path, text: &str) -> Command {
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new("sh");
    command.args(["-ec", text]).current_dir(home);
    command.env("PATH", format!("{}/tools:{path}", home.display()));
    command
}

/// Runs commands to their end, which must be good; what they print.
fn run(home: &Path, text: &str) -> String {
    let (status, out, err) = finish(&mut shell(home, text), PATIENCE);
    assert!(status.success(), "{text}: {status}\n{out}{err}");
    out
}

/// A node in the foreground of a shell.
struct Node(Child);

impl Node {
    /// Begins `line`; what it prints to standard output.
    fn begin(home: &Path, line: &str) -> (Node, BufReader<ChildStdout>) {
        let mut command = shell(home, &format!("exec {line}"));
        command.env("TRIALOG_DEV_PORT", "0");
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        (Node(child), out)
    }

    fn ends_at(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("our child");
        assert_eq!(self.0.wait().expect("it ends").code(), Some(0));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A record goes in and comes out; `before` are there already.
fn is_used(address: &str, before: usize) {
    let connected = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut client = Client::connect(address).ok()?;
        client.serves(false).then_some(client)
    });
    let mut client = connected.expect("it serves");
    if before == 0 {
        client.create_topic("t", 1, &[]).expect("a topic");
    }
    let batch = batch(&[b"hello".to_vec()], PLAIN, Compression::None);
    let produced = client.produce("t", 0, -1, batch).expect("an answer");
    assert_eq!(produced, (0, before as i64));
    let read = client.read_all("t", 0).expect("the records");
    assert_eq!(read.len(), before + 1);
}

#[test]
fn every_block_is_run_here_or_runs_these_tests() {
    let blocks = blocks();
    let starts: Vec<&str> = blocks
        .iter()
        .filter_map(|block| block.lines().next())
        .collect();
    assert_eq!(
        starts,
        [
            "cargo run --release -- sim run --seeds 1..20",
            "cargo run --release -- sim replay 7",
            "tests/run",
            "cargo run --release -- dev",
            "cargo build --release",
            "target/release/trialog start server.properties --record recording",
        ]
    );
}

#[test]
fn a_node_is_formatted_started_recorded_and_replayed() {
    let home = clone();
    let port = free_port();
    let (address, home) = (format!("127.0.0.1:{port}"), home.path());
    let text = block("cargo build --release");
    let text = text
        .replace("9092", &port.to_string())
        .replace("9093", &free_port().to_string());
    let (prepare, start) = text.trim_end().rsplit_once('\n').expect("lines");
    let out = run(home, prepare);
    assert!(out.starts_with("Formatted data for cluster "), "{out}");
    let (node, _) = Node::begin(home, start);
    is_used(&address, 0);
    node.ends_at(Signal::TERM);

    let text = block("target/release/trialog start server.properties --record recording");
    let (start, replay) = text.trim_end().split_once('\n').expect("two lines");
    let (node, _) = Node::begin(home, start);
    is_used(&address, 1);
    node.ends_at(Signal::TERM);
    let out = run(home, replay);
    assert!(out.contains("effects as recorded by release"), "{out}");
}

#[test]
fn a_node_to_develop_against_greets() {
    let home = clone();
    let (node, mut out) = Node::begin(home.path(), block("cargo run --release -- dev").trim_end());
    let mut line = String::new();
    out.read_line(&mut line).expect("text");
    let address = line.trim_end().strip_prefix("bootstrap.servers=");
    is_used(address.expect("the address first"), 0);
    node.ends_at(Signal::INT);
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("Data: ") && rest.contains("Try:"), "{rest}");
}

#[test]
fn seeds_are_run_replayed_and_broken() {
    let home = clone();
    let out = run(home.path(), &block("cargo run --release -- sim run"));
    assert!(
        out.contains("20 seeds: 20 passed, 0 violated, 0 inconclusive"),
        "{out}"
    );
    let out = run(home.path(), &block("cargo run --release -- sim replay"));
    assert!(out.contains("\nseed 7: passed, hash "), "{out}");
    let found = out
        .lines()
        .any(|line| line.trim_start().starts_with("AckBeforeSync "));
    assert!(found, "{out}");
    assert!(out.contains("seeds: 0 violated"), "{out}");
}
