//! Makes the fixtures of tests/golden: data directories as Apache Kafka 4.3.1 leaves them, after a clean stop and after kill -9.
//!
//! `cargo run -p trialog-tests --example make_golden`. What they hold is `trialog_tests::fill`'s; the text beside each archive is
//! what the broker served.

use trialog_tests::broker::{Kind, Setup};
use trialog_tests::{fill, golden};

fn main() {
    for fixture in golden::FIXTURES {
        let home = tempfile::tempdir().expect("a home");
        let data = home.path().join("data");
        let setup = Setup::new(Kind::Kafka, home.path(), &data)
            .with("log.index.size.max.bytes", "65536")
            .with("log.segment.bytes", "1048576")
            .with("log.initial.task.delay.ms", "600000");
        setup.format();
        let mut broker = setup.start();
        fill::fill(&broker);
        if *fixture == "clean" {
            let text = golden::content(&mut broker.client()).expect("the content");
            broker.stop();
            golden::pack(&data, fixture);
            std::fs::write(golden::expected(fixture), text).expect("write the content");
        } else {
            broker.kill();
            golden::pack(&data, fixture);
            let again = setup.start();
            let text = golden::content(&mut again.client()).expect("the content");
            std::fs::write(golden::expected(fixture), text).expect("write the content");
        }
        println!(
            "{fixture}: {} bytes",
            std::fs::metadata(golden::archive(fixture))
                .expect("the archive")
                .len()
        );
    }
}
