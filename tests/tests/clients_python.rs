//! kafka-python without a group against the broker under test: tests/python/roundtrip.py does the work.
#![cfg(not(madsim))]

use std::process::Command;
use std::time::Duration;
use trialog_tests::broker::{self, Setup, root, run};

#[test]
fn kafka_python_round_trips() {
    let python = root().join(".cache/python/bin/python");
    assert!(
        python.exists(),
        "no {}: run tests/run once, it installs kafka-python",
        python.display()
    );
    let (_home, broker) = Setup::serve(broker::target());
    let count = broker::full_or_smoke("50000", "2000");
    let mut command = Command::new(python);
    command
        .arg(root().join("tests/python/roundtrip.py"))
        .args([&broker.bootstrap(), count]);
    let out = run(&mut command, Duration::from_secs(300));
    assert_eq!(
        out.lines()
            .filter(|line| line.ends_with(": came back"))
            .count(),
        4,
        "one line a codec: {out}"
    );
}
