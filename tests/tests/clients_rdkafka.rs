//! The newest librdkafka, through the `rdkafka` crate, against the broker under test.
#![cfg(not(madsim))]

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use trialog_tests::broker::{self, Setup};

const PATIENCE: Duration = Duration::from_secs(60);

fn value(n: usize) -> String {
    format!("value {n} {}", "y".repeat(n % 120))
}

fn produce(
    bootstrap: &str,
    topic: &str,
    partitions: usize,
    count: usize,
    settings: &[(&str, &str)],
) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer: BaseProducer = config.create().expect("a producer");
    for n in 0..count {
        let (key, value) = (n.to_string(), value(n));
        let mut record = BaseRecord::to(topic)
            .partition((n % partitions) as i32)
            .key(&key)
            .payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull),
                "sending {n}"
            );
            producer.poll(Duration::from_millis(20));
            record = back;
        }
    }
    producer
        .flush(PATIENCE)
        .expect("everything is acknowledged");
    assert_eq!(producer.in_flight_count(), 0);
}

/// Assigns every partition from its beginning and returns the values of each, in order.
fn consume(bootstrap: &str, topic: &str, partitions: usize, count: usize) -> Vec<Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition as i32, Offset::Beginning)
            .expect("a place to start");
    }
    consumer.assign(&assignment).expect("assign");
    let mut seen = vec![Vec::new(); partitions];
    for n in 0..count {
        let message = consumer
            .poll(PATIENCE)
            .unwrap_or_else(|| panic!("only {n} of {count} records came"))
            .expect("no error");
        let held = &mut seen[message.partition() as usize];
        assert_eq!(message.offset(), held.len() as i64, "offsets are dense");
        held.push(String::from_utf8(message.payload().expect("a value").to_vec()).expect("text"));
    }
    let (low, high) = consumer
        .fetch_watermarks(topic, 0, PATIENCE)
        .expect("watermarks");
    assert_eq!((low, high), (0, seen[0].len() as i64));
    seen
}

fn wanted(partitions: usize, count: usize) -> Vec<Vec<String>> {
    (0..partitions)
        .map(|p| (p..count).step_by(partitions).map(value).collect())
        .collect()
}

#[test]
fn produces_and_assigns() {
    let (_home, broker) = Setup::serve(broker::target());
    let count = broker::full_or_smoke(500_000, 10_000);
    for idempotence in ["false", "true"] {
        let topic = format!("idempotence-{idempotence}");
        broker
            .client()
            .create_topic(&topic, 4, &[])
            .expect("a topic");
        produce(
            &broker.bootstrap(),
            &topic,
            4,
            count,
            &[("enable.idempotence", idempotence), ("linger.ms", "5")],
        );
        assert!(
            consume(&broker.bootstrap(), &topic, 4, count) == wanted(4, count),
            "idempotence {idempotence}"
        );
    }
}

#[test]
fn every_codec_comes_back() {
    let (_home, broker) = Setup::serve(broker::target());
    let count = broker::full_or_smoke(100_000, 3_000);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        broker
            .client()
            .create_topic(codec, 1, &[])
            .expect("a topic");
        produce(
            &broker.bootstrap(),
            codec,
            1,
            count,
            &[("compression.codec", codec), ("linger.ms", "5")],
        );
        assert!(
            consume(&broker.bootstrap(), codec, 1, count) == wanted(1, count),
            "{codec}"
        );
    }
}
