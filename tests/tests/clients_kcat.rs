//! kcat, and with it Debian's librdkafka, against the broker under test.
#![cfg(not(madsim))]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;
use trialog_tests::broker::{self, Broker, Setup, run};

const PATIENCE: Duration = Duration::from_secs(60);

fn kcat(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap()]).args(arguments);
    command
}

/// A file of `key:value` lines.
fn lines(count: usize) -> (tempfile::NamedTempFile, String) {
    let text: String = (0..count)
        .map(|n| format!("key-{n}:value {n} {}\n", "x".repeat(n % 90)))
        .collect();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("write it");
    (file, text)
}

#[test]
fn lists_produces_and_consumes() {
    let (_home, broker) = Setup::serve(broker::target());
    let mut client = broker.client();
    client.create_topic("kcat", 3, &[]).expect("a topic");
    let listing: serde_json::Value =
        serde_json::from_str(&run(&mut kcat(&broker, &["-L", "-J"]), PATIENCE))
            .expect("kcat -L -J prints JSON");
    assert_eq!(listing["brokers"][0]["name"], broker.bootstrap());
    let topic = listing["topics"]
        .as_array()
        .expect("topics")
        .iter()
        .find(|t| t["topic"] == "kcat")
        .expect("our topic");
    assert_eq!(topic["partitions"].as_array().expect("partitions").len(), 3);
    assert!(
        run(&mut kcat(&broker, &["-L"]), PATIENCE).contains("topic \"kcat\" with 3 partitions")
    );

    let count = broker::full_or_smoke(200_000, 2_000);
    let (file, text) = lines(count);
    let path = file.path().display().to_string();
    run(
        &mut kcat(
            &broker,
            &["-P", "-t", "kcat", "-p", "1", "-K", ":", "-l", &path],
        ),
        PATIENCE,
    );
    let seen = run(
        &mut kcat(
            &broker,
            &[
                "-C",
                "-t",
                "kcat",
                "-p",
                "1",
                "-o",
                "beginning",
                "-e",
                "-q",
                "-K",
                ":",
            ],
        ),
        PATIENCE,
    );
    assert!(
        seen == text,
        "what came back is not what was sent: {} bytes of {}",
        seen.len(),
        text.len()
    );
    let tail = run(
        &mut kcat(
            &broker,
            &[
                "-C", "-t", "kcat", "-p", "1", "-o", "-5", "-e", "-q", "-f", "%o\n",
            ],
        ),
        PATIENCE,
    );
    assert_eq!(
        tail.lines().collect::<Vec<_>>(),
        (count - 5..count)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
    );
    let end = run(&mut kcat(&broker, &["-Q", "-t", "kcat:1:-1"]), PATIENCE);
    assert!(end.contains(&format!("offset {count}")), "{end}");
}

#[test]
fn every_codec_comes_back() {
    let (_home, broker) = Setup::serve(broker::target());
    let mut client = broker.client();
    let (file, text) = lines(broker::full_or_smoke(50_000, 1_000));
    let path = file.path().display().to_string();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        client.create_topic(&topic, 1, &[]).expect("a topic");
        run(
            &mut kcat(
                &broker,
                &[
                    "-P", "-t", &topic, "-p", "0", "-K", ":", "-z", codec, "-l", &path,
                ],
            ),
            PATIENCE,
        );
        let seen = run(
            &mut kcat(
                &broker,
                &[
                    "-C",
                    "-t",
                    &topic,
                    "-p",
                    "0",
                    "-o",
                    "beginning",
                    "-e",
                    "-q",
                    "-K",
                    ":",
                ],
            ),
            PATIENCE,
        );
        assert!(
            seen == text,
            "{codec}: {} bytes of {}",
            seen.len(),
            text.len()
        );
        let records = client.read_all(&topic, 0).expect("read the partition");
        assert_eq!(records.len(), text.lines().count(), "{codec}");
    }
}

/// What `trialog dev` suggests to its user is done as it stands there.
#[test]
fn dev_suggests_commands_that_work() {
    let mut dev = Command::new(broker::binary())
        .args(["dev", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let out = BufReader::new(dev.stdout.take().expect("a pipe"));
    let lines = out.lines().map(|line| line.expect("text"));
    let suggested = lines.skip_while(|line| !line.ends_with("Try:")).skip(1);
    let seen: Vec<String> = suggested
        .take(2)
        .map(|line| run(Command::new("sh").args(["-c", line.trim()]), PATIENCE))
        .collect();
    let pid = rustix::process::Pid::from_child(&dev);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("our child");
    assert!(dev.wait().expect("it ends").success());
    assert_eq!(seen, ["", "hello\n"]);
}
