//! kill -9 of the real broker under acks=all load, again and again: nothing that was acknowledged or read may be lost or change.
#![cfg(not(madsim))]

use std::time::Duration;
use trialog_tests::broker::{self, Kind, Setup};
use trialog_tests::load::Loads;

#[test]
fn acknowledged_records_survive_kill_9() {
    let home = tempfile::tempdir().expect("a home");
    let setup = Setup::new(broker::target(), home.path(), &home.path().join("data"))
        .with("log.segment.bytes", "1048576");
    setup.format();
    let mut running = setup.start();
    let mut loads = Loads::new("kill", 4, &[]);
    for round in 0..broker::full_or_smoke(50, 3) {
        let load = loads.next(&mut running.client()).expect("a topic");
        let before = load.acknowledged();
        load.run(&setup.bootstrap(), || {
            std::thread::sleep(Duration::from_millis(300 + round * 137 % 900));
            running.kill();
        });
        assert!(
            load.acknowledged() > before,
            "round {round} acknowledged nothing: the kill proved nothing"
        );
        running = setup.start();
        let verdict = loads.judge_last(&mut running.client());
        assert!(verdict.complaints.is_empty(), "round {round}: {verdict:#?}");
        println!(
            "round {round}: {} acknowledged, {} found, served again in {:?}",
            verdict.acknowledged,
            verdict.found,
            running.started_in()
        );
    }
    let verdict = loads.judge_all(&mut running.client());
    assert!(verdict.complaints.is_empty(), "{verdict:#?}");
    println!(
        "{} acknowledged, {} found, {} lost",
        verdict.acknowledged, verdict.found, verdict.lost
    );
    let (status, took) = running.stop();
    println!("stopped with {status} in {took:?}");
    if broker::target() == Kind::Trialog {
        assert!(status.success(), "{status}");
        assert!(took < Duration::from_secs(2), "stopped in {took:?}");
    }
}
