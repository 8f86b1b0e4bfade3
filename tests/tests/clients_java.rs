//! Apache Kafka's own clients and tools in Java against the broker under test.
#![cfg(not(madsim))]

use std::collections::BTreeSet;
use std::time::Duration;
use trialog_tests::broker::{self, Setup, java, run};

const MINUTES: Duration = Duration::from_secs(300);

fn console_consumer(
    bootstrap: &str,
    topic: &str,
    partition: usize,
    messages: usize,
) -> Vec<String> {
    let mut command = java("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command.args([
        "--bootstrap-server",
        bootstrap,
        "--topic",
        topic,
        "--partition",
        &partition.to_string(),
        "--offset",
        "earliest",
    ]);
    command.args([
        "--max-messages",
        &messages.to_string(),
        "--timeout-ms",
        "20000",
    ]);
    run(&mut command, MINUTES)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn verifiable_producer_and_console_consumer() {
    let (_home, broker) = Setup::serve(broker::target());
    let count = broker::full_or_smoke(100_000usize, 5_000);
    let partitions = 20;
    broker
        .client()
        .create_topic("verifiable", partitions, &[])
        .expect("a topic");
    let mut producer = java("org.apache.kafka.tools.VerifiableProducer");
    producer.args([
        "--bootstrap-server",
        &broker.bootstrap(),
        "--topic",
        "verifiable",
        "--acks",
        "-1",
        "--max-messages",
        &count.to_string(),
    ]);
    let out = run(&mut producer, MINUTES);
    assert_eq!(
        out.lines()
            .filter(|line| line.contains("\"name\":\"producer_send_success\""))
            .count(),
        count
    );
    assert!(
        !out.contains("producer_send_error"),
        "an error among the answers"
    );

    let mut client = broker.client();
    let mut values = BTreeSet::new();
    let mut held = Vec::new();
    for partition in 0..partitions {
        let records = client
            .read_all("verifiable", partition)
            .expect("read a partition");
        assert!(
            records
                .iter()
                .enumerate()
                .all(|(n, record)| record.offset == n as i64),
            "offsets are dense"
        );
        held.push(records.len());
        values.extend(
            records
                .into_iter()
                .map(|r| String::from_utf8(r.value.expect("a value").to_vec()).expect("digits")),
        );
    }
    assert_eq!(
        held.iter().sum::<usize>(),
        count,
        "no record twice, none missing"
    );
    assert_eq!(values, (0..count).map(|n| n.to_string()).collect());

    let looked_at = (0..partitions as usize)
        .max_by_key(|p| held[*p])
        .expect("a partition");
    let seen = console_consumer(
        &broker.bootstrap(),
        "verifiable",
        looked_at,
        held[looked_at],
    );
    let wanted: Vec<String> = client
        .read_all("verifiable", looked_at as i32)
        .expect("read a partition")
        .iter()
        .map(|record| {
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
        })
        .collect();
    assert_eq!(seen, wanted);
}

#[test]
fn producer_performance_with_every_codec() {
    let (_home, broker) = Setup::serve(broker::target());
    let count = broker::full_or_smoke(1_000_000usize, 20_000);
    let mut client = broker.client();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("perf-{codec}");
        client.create_topic(&topic, 1, &[]).expect("a topic");
        let mut perf = java("org.apache.kafka.tools.ProducerPerformance");
        perf.args([
            "--topic",
            &topic,
            "--num-records",
            &count.to_string(),
            "--record-size",
            "100",
            "--throughput",
            "-1",
        ]);
        perf.args([
            "--producer-props",
            &format!("bootstrap.servers={}", broker.bootstrap()),
            "acks=all",
            &format!("compression.type={codec}"),
        ]);
        let out = run(&mut perf, MINUTES);
        let last = out.lines().last().unwrap_or_default().to_owned();
        assert!(
            last.starts_with(&format!("{count} records sent")),
            "{codec}: {out}"
        );
        println!("{codec}: {last}");
        assert_eq!(
            client.offset_of(&topic, 0, -1).expect("the end"),
            (0, count as i64),
            "{codec}"
        );
        let looked_at = 500;
        let seen = console_consumer(&broker.bootstrap(), &topic, 0, looked_at);
        assert_eq!(seen.len(), looked_at, "{codec}");
        assert!(seen.iter().all(|line| line.len() == 100), "{codec}");
        let records = client.read_all(&topic, 0).expect("read the partition");
        assert_eq!(records.len(), count, "{codec}");
        assert!(
            records
                .iter()
                .enumerate()
                .all(|(n, r)| r.offset == n as i64
                    && r.value.as_ref().is_some_and(|v| v.len() == 100)),
            "{codec}"
        );
    }
}

/// KIP-919: an administrator who has only a controller's address.
#[test]
fn admin_tools_at_a_controller() {
    let (_home, broker) = Setup::serve(broker::target());
    let controllers = broker.controllers();
    let tool = |class: &str, arguments: &[&str]| {
        let mut command = java(class);
        command.args(arguments);
        command.args(["--bootstrap-controller", &controllers]);
        run(&mut command, MINUTES)
    };
    let cluster = "org.apache.kafka.tools.ClusterTool";
    let id = tool(cluster, &["cluster-id"]);
    assert!(id.starts_with("Cluster ID: "), "{id}");
    let endpoints = tool(cluster, &["list-endpoints"]);
    let port = controllers.rsplit(':').next().expect("a port");
    let mut rows = endpoints.lines().map(str::split_whitespace);
    let found = rows.any(|row| row.take(3).eq(["1", "127.0.0.1", port]));
    assert!(found, "{endpoints}");
    let broker = [
        "--describe",
        "--entity-type",
        "brokers",
        "--entity-name",
        "1",
    ];
    let configs = tool(
        "kafka.admin.ConfigCommand",
        &[&broker[..], &["--all"]].concat(),
    );
    assert!(
        configs.contains("controller.listener.names=CONTROLLER"),
        "{configs}"
    );
}
