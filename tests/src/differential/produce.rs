//! Produce: what is refused and how, offsets, idempotent producers.

use super::{Pair, Side, name};
use crate::client::{PLAIN, Producer, batch, text, transactional_batch};
use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TransactionalId};
use kafka_protocol::records::Compression;

fn produce(
    side: &Side,
    version: i16,
    topic: &str,
    partition: i32,
    acks: i16,
    records: Option<Bytes>,
) -> ProduceRequest {
    let part = PartitionProduceData::default()
        .with_index(partition)
        .with_records(records);
    let named = TopicProduceData::default().with_partition_data(vec![part]);
    let named = if version >= 13 {
        named.with_topic_id(side.id(topic))
    } else {
        named.with_name(name(topic))
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(5000)
        .with_topic_data(vec![named])
}

/// Where Kafka sends an error without a word, ours says why: clients show the message to whoever must act on it.
fn says_why(answer: &mut ProduceResponse) {
    for part in answer
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partition_responses)
    {
        if part.error_code != 0 && part.record_errors.is_empty() {
            part.error_message = None;
        }
    }
}

/// The batch with one byte replaced.
fn with_byte(batch: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] = byte;
    bytes.into()
}

/// Batches of transactions that no coordinator knows of.
fn transactions(pair: &mut Pair) {
    let producer = Producer {
        id: 5_000_000,
        epoch: 0,
        sequence: 0,
    };
    let plain = batch(&[b"v".to_vec()], producer, Compression::None);
    let transactional = transactional_batch(&[b"v".to_vec()], producer);
    let ask = |id: Option<&'static str>, records: [&Bytes; 2]| {
        let records = records.map(Bytes::clone);
        move |side: &Side, version: i16| {
            let [first, second] = records.clone();
            let mut request = produce(side, version, "p", 0, -1, Some(first));
            let other = produce(side, version, "p", 1, -1, Some(second));
            let parts = other.topic_data[0].partition_data.clone();
            request.topic_data[0].partition_data.extend(parts);
            request.with_transactional_id(id.map(|id| TransactionalId(text(id))))
        }
    };
    let cases = [
        ("without an id", None, [&transactional, &transactional]),
        (
            "in one partition without an id",
            None,
            [&plain, &transactional],
        ),
        ("with an id", Some("tx"), [&transactional, &transactional]),
    ];
    for (case, id, records) in cases {
        pair.every_version_fixed(
            &format!("Produce, a transaction {case}"),
            ask(id, records),
            |answer| {
                says_why(answer);
                // Kafka's answer is in the order of a hash.
                for topic in &mut answer.responses {
                    topic.partition_responses.sort_by_key(|part| part.index);
                }
            },
        );
    }
}

/// What producers are told.
pub fn produce_errors_and_offsets(pair: &mut Pair) {
    pair.both(|side| {
        side.client().create_topic("p", 2, &[])?;
        side.client()
            .create_topic("small", 1, &[("max.message.bytes", "200")])?;
        side.client()
            .create_topic("now", 1, &[("message.timestamp.after.max.ms", "1000")])?;
        side.client()
            .create_topic("compacted", 1, &[("cleanup.policy", "compact")])?;
        side.client().create_topic("ids", 1, &[])
    });
    let good = batch(
        &[b"one".to_vec(), b"two".to_vec()],
        PLAIN,
        Compression::None,
    );
    let twice: Bytes = [good.clone(), good.clone()].concat().into();
    let cases: Vec<(&str, &str, i32, i16, Option<Bytes>)> = vec![
        ("acks=-1", "p", 0, -1, Some(good.clone())),
        ("acks=1", "p", 0, 1, Some(good.clone())),
        ("acks=2", "p", 0, 2, Some(good.clone())),
        ("acks=-2", "p", 0, -2, Some(good.clone())),
        ("an unknown partition", "p", 9, -1, Some(good.clone())),
        ("a negative partition", "p", -1, -1, Some(good.clone())),
        ("an unknown topic", "unknown", 0, -1, Some(good.clone())),
        ("empty records", "p", 1, -1, Some(Bytes::new())),
        ("two batches", "p", 1, -1, Some(twice)),
        (
            "half a batch",
            "p",
            1,
            -1,
            Some(good.slice(..good.len() / 2)),
        ),
        ("less than a header", "p", 1, -1, Some(good.slice(..10))),
        (
            "a wrong checksum",
            "p",
            1,
            -1,
            Some(with_byte(&good, 20, good[20] ^ 1)),
        ),
        (
            "a damaged record",
            "p",
            1,
            -1,
            Some(with_byte(&good, good.len() - 2, 0xff)),
        ),
        (
            "a base offset that is not 0",
            "p",
            1,
            -1,
            Some(with_byte(&good, 7, 9)),
        ),
        ("an old magic", "p", 1, -1, Some(with_byte(&good, 16, 1))),
        (
            "an unknown magic",
            "p",
            1,
            -1,
            Some(with_byte(&good, 16, 3)),
        ),
        (
            "a batch too large for its topic",
            "small",
            0,
            -1,
            Some(batch(&[vec![1; 300]], PLAIN, Compression::None)),
        ),
        (
            "no key where one is needed",
            "compacted",
            0,
            -1,
            Some(good.clone()),
        ),
        (
            "five keys missing: each record is named",
            "compacted",
            0,
            -1,
            Some(batch(&vec![b"v".to_vec(); 5], PLAIN, Compression::None)),
        ),
    ];
    for (case, topic, partition, acks, records) in cases {
        pair.every_version_fixed(
            &format!("Produce, {case}"),
            |side, version| produce(side, version, topic, partition, acks, records.clone()),
            says_why,
        );
    }
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let whole = batch(&vec![vec![b'z'; 100]; 20], PLAIN, codec);
        pair.every_version(&format!("Produce, {codec:?}"), |side, version| {
            produce(side, version, "p", 0, -1, Some(whole.clone()))
        });
    }
    transactions(pair);
    pair.every_version_fixed(
        "Produce, a topic in three places, one of them empty",
        |side, version| {
            let ask = |partition| produce(side, version, "p", partition, -1, Some(good.clone()));
            let mut topics = [ask(0).topic_data, ask(1).topic_data, ask(0).topic_data].concat();
            topics[2].partition_data.clear();
            ask(0).with_topic_data(topics)
        },
        |answer| {
            // Kafka's answer is in the order of a hash.
            for topic in &mut answer.responses {
                topic.partition_responses.sort_by_key(|part| part.index);
            }
        },
    );
    let producer = |sequence| Producer {
        id: 4_000_000,
        epoch: 3,
        sequence,
    };
    let send = |pair: &mut Pair, case: &str, producer: Producer, values: usize| {
        let bytes = batch(&vec![b"v".to_vec(); values], producer, Compression::None);
        let newest = |side: &Side, _: i16| produce(side, 12, "ids", 0, -1, Some(bytes.clone()));
        pair.advertised
            .entry(0)
            .and_modify(|range| (range.min, range.max) = (12, 12));
        pair.every_version_fixed(&format!("Produce, {case}"), newest, says_why);
    };
    send(
        pair,
        "a producer that nobody knows starts in its middle",
        producer(7),
        1,
    );
    send(pair, "a gap", producer(20), 1);
    send(pair, "a duplicate", producer(7), 1);
    for n in 8..14 {
        send(pair, "the next sequence", producer(n), 1);
    }
    send(pair, "a duplicate of five batches ago", producer(9), 1);
    send(pair, "a duplicate of six batches ago", producer(8), 1);
    send(pair, "a duplicate of another length", producer(13), 2);
    send(
        pair,
        "a new epoch in its middle",
        Producer {
            epoch: 4,
            ..producer(5)
        },
        1,
    );
    send(
        pair,
        "a new epoch",
        Producer {
            epoch: 4,
            ..producer(0)
        },
        1,
    );
    send(pair, "an old epoch", producer(14), 1);
    send(
        pair,
        "an id without an epoch",
        Producer {
            id: 5,
            epoch: -1,
            sequence: 0,
        },
        1,
    );
    send(
        pair,
        "an id without a sequence",
        Producer {
            id: 5,
            epoch: 0,
            sequence: -1,
        },
        1,
    );
}
