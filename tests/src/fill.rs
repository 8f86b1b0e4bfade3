//! Topics of every shape that a data directory can hold, written by real clients through a broker.
//!
//! Every codec from Java and from librdkafka, null keys and values, headers, idempotent producers with state in snapshots and
//! without, several segments by size and by time, a start moved by DeleteRecords, LogAppendTime, and a topic that was deleted.

use crate::broker::{Broker, java};
use crate::client::{Client, PLAIN, Producer, batch, text};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::records::Compression;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::process::Stdio;
use std::time::Duration;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Creates the topics and fills them.
pub fn fill(broker: &Broker) {
    let mut client = broker.client();
    for codec in CODECS {
        console_producer(broker, &mut client, codec);
    }
    client.create_topic("librdkafka", 5, &[]).expect("a topic");
    for (partition, codec) in CODECS.iter().enumerate() {
        librdkafka(broker, partition as i32, codec);
    }
    idempotent(&mut client);
    segments(&mut client);
    moved_start(&mut client);
    client
        .create_topic(
            "append-time",
            1,
            &[("message.timestamp.type", "LogAppendTime")],
        )
        .expect("a topic");
    for n in 0..5u8 {
        produce(
            &mut client,
            "append-time",
            &[vec![b'a' + n; 10], vec![b'a' + n; 90]],
            PLAIN,
        );
        std::thread::sleep(Duration::from_millis(15));
    }
    client.create_topic("empty", 2, &[]).expect("a topic");
    client.create_topic("deleted", 1, &[]).expect("a topic");
    let doomed = DeleteTopicState::default().with_name(Some(TopicName(text("deleted"))));
    let answer = client
        .call(
            6,
            &DeleteTopicsRequest::default()
                .with_topics(vec![doomed])
                .with_timeout_ms(10_000),
        )
        .expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0);
}

/// Java's producer, whose snappy and lz4 framings differ from librdkafka's.
fn console_producer(broker: &Broker, client: &mut Client, codec: &str) {
    let topic = format!("java-{codec}");
    client.create_topic(&topic, 1, &[]).expect("a topic");
    let mut command = java("org.apache.kafka.tools.ConsoleProducer");
    command.args([
        "--bootstrap-server",
        &broker.bootstrap(),
        "--topic",
        &topic,
        "--compression-codec",
        codec,
        // Or each record waits a second for company that does not come.
        "--timeout",
        "0",
        "--sync",
    ]);
    for property in [
        "parse.key=true",
        "key.separator=:",
        "parse.headers=true",
        "headers.delimiter=|",
        "null.marker=NIL",
    ] {
        command.args(["--reader-property", property]);
    }
    let mut child = command.stdin(Stdio::piped()).spawn().expect("java runs");
    let lines: String = (0..30)
        .map(|n| {
            format!(
                "h1:{n},h2:x|{}:{}\n",
                key(n),
                if n % 9 == 4 {
                    "NIL".into()
                } else {
                    "w".repeat(n * 5)
                }
            )
        })
        .collect();
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), lines.as_bytes())
        .expect("lines for the producer");
    assert!(child.wait().expect("java ends").success());
}

fn key(n: usize) -> String {
    if n.is_multiple_of(5) {
        "NIL".into()
    } else {
        format!("key {n}")
    }
}

fn librdkafka(broker: &Broker, partition: i32, codec: &str) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.bootstrap())
        .set("compression.codec", codec)
        .set("linger.ms", "20");
    config.set("batch.num.messages", "12").set(
        "enable.idempotence",
        if partition % 2 == 0 { "false" } else { "true" },
    );
    let producer: BaseProducer = config.create().expect("a producer");
    for n in 0..40usize {
        let (key, value) = (format!("k{n}"), "v".repeat(n * 13 % 300));
        let mut record = BaseRecord::to("librdkafka")
            .partition(partition)
            .key(&key)
            .timestamp(1_700_000_000_000 + n as i64 * 1000);
        if n % 7 != 3 {
            record = record.payload(&value);
        }
        if n % 3 == 0 {
            record = record.headers(
                OwnedHeaders::new()
                    .insert(Header {
                        key: "h",
                        value: Some("1"),
                    })
                    .insert(Header {
                        key: "null",
                        value: None::<&str>,
                    }),
            );
        }
        assert!(producer.send(record).is_ok());
    }
    producer
        .flush(Duration::from_secs(30))
        .expect("everything is acknowledged");
}

fn produce(client: &mut Client, topic: &str, values: &[Vec<u8>], producer: Producer) -> i64 {
    let (error, offset) = client
        .produce(topic, 0, -1, batch(values, producer, Compression::None))
        .expect("an answer");
    assert_eq!(error, 0, "{topic}");
    offset
}

/// Three producers, one of which bumps its epoch: what the golden test continues and repeats.
fn idempotent(client: &mut Client) {
    client.create_topic("idempotent", 1, &[]).expect("a topic");
    let ids: Vec<(i64, i16)> = (0..3)
        .map(|_| client.init_producer_id().expect("a producer id"))
        .collect();
    for round in 0..7 {
        for (n, (id, epoch)) in ids.iter().enumerate() {
            let producer = Producer {
                id: *id,
                epoch: *epoch,
                sequence: round * 2,
            };
            produce(
                client,
                "idempotent",
                &[vec![b'0' + n as u8; 20], vec![b'a' + round as u8; 20]],
                producer,
            );
        }
    }
    let (id, epoch) = ids[2];
    produce(
        client,
        "idempotent",
        &[b"a new epoch".to_vec()],
        Producer {
            id,
            epoch: epoch + 1,
            sequence: 0,
        },
    );
}

/// Segments that rolled by size and by time, with what compresses well.
fn segments(client: &mut Client) {
    client
        .create_topic(
            "by-size",
            1,
            &[
                ("segment.bytes", "1048576"),
                ("index.interval.bytes", "50000"),
            ],
        )
        .expect("a topic");
    for n in 0..40u8 {
        produce(
            client,
            "by-size",
            &vec![vec![b'A' + n % 26; 8_000]; 10],
            PLAIN,
        );
    }
    client
        .create_topic(
            "by-time",
            1,
            &[("segment.ms", "200"), ("index.interval.bytes", "0")],
        )
        .expect("a topic");
    let (id, epoch) = client.init_producer_id().expect("a producer id");
    for n in 0..4u8 {
        for part in 0..3u8 {
            let producer = Producer {
                id,
                epoch,
                sequence: i32::from(n) * 6 + i32::from(part) * 2,
            };
            produce(
                client,
                "by-time",
                &[vec![b'a' + n; 30], vec![b'0' + part; 30]],
                producer,
            );
        }
        std::thread::sleep(Duration::from_millis(400));
    }
}

fn moved_start(client: &mut Client) {
    client.create_topic("moved-start", 1, &[]).expect("a topic");
    for n in 0..4u8 {
        produce(client, "moved-start", &vec![vec![b'a' + n; 10]; 5], PLAIN);
        // Apache Kafka names a deleted record as the newest if it is as new as the last; here no two batches are.
        std::thread::sleep(Duration::from_millis(3));
    }
    let part = DeleteRecordsPartition::default()
        .with_partition_index(0)
        .with_offset(7);
    let topic = DeleteRecordsTopic::default()
        .with_name(TopicName(text("moved-start")))
        .with_partitions(vec![part]);
    let answer = client
        .call(
            2,
            &DeleteRecordsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(10_000),
        )
        .expect("an answer");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}
