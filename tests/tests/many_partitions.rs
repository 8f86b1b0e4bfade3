//! A node with very many partitions stops, starts and recovers quickly: no step of it may cost a device's wait a partition.
#![cfg(not(madsim))]

use kafka_protocol::records::Compression;
use std::time::{Duration, Instant};
use trialog_tests::broker::{self, Broker, Kind, Setup};
use trialog_tests::client::{Producer, batch};

/// One record to each partition, one after the other in flight.
fn touch(broker: &Broker, partitions: i32) {
    let mut client = broker.client();
    let record = |partition: i32| {
        let nobody = Producer {
            id: -1,
            epoch: -1,
            sequence: -1,
        };
        batch(
            &[partition.to_string().into_bytes()],
            nobody,
            Compression::None,
        )
    };
    for from in (0..partitions).step_by(50) {
        let sent: Vec<i32> = (from..partitions.min(from + 50))
            .map(|partition| {
                let request = trialog_tests::client::produce_request(
                    "many",
                    partition,
                    -1,
                    record(partition),
                );
                client.send(9, &request).expect("sent")
            })
            .collect();
        for correlation in sent {
            assert_eq!(client.produced(correlation).expect("answered").0, 0);
        }
    }
}

#[test]
fn a_thousand_partitions_stop_and_start_quickly() {
    let partitions = broker::full_or_smoke(6000, 1000);
    let home = tempfile::tempdir().expect("a home");
    let setup = Setup::new(broker::target(), home.path(), &home.path().join("data"));
    setup.format();
    let mut running = setup.start();
    let began = Instant::now();
    for nth in 0..partitions / 1000 {
        let name = if nth == 0 {
            "many".to_owned()
        } else {
            format!("more-{nth}")
        };
        running
            .client()
            .create_topic(&name, 1000, &[])
            .expect("a topic");
    }
    println!("{partitions} partitions made in {:?}", began.elapsed());
    touch(&running, 1000);
    let (status, stopped_in) = running.stop();
    assert!(status.success(), "{status}");
    println!("stopped in {stopped_in:?}");
    running = setup.start();
    println!("started in {:?}", running.started_in());
    touch(&running, 1000);
    running.kill();
    running = setup.start();
    println!("started after kill -9 in {:?}", running.started_in());
    let mut client = running.client();
    for partition in [0, 499, 999] {
        assert_eq!(
            client.offset_of("many", partition, -1).expect("answered"),
            (0, 2)
        );
    }
    // Every log was opened, none was written: nothing but the marker is due.
    let (status, idle) = running.stop();
    println!("stopped with {status} in {idle:?}");
    if broker::target() == Kind::Trialog && !broker::at_full_size() {
        assert!(stopped_in < Duration::from_secs(2), "{stopped_in:?}");
    }
}
