//! Fetch, with and without sessions.

use super::{Pair, Side, four_batches, name, records};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, DeleteTopicsRequest, FetchRequest, FetchResponse};
use kafka_protocol::protocol::VersionRange;

/// Kafka cuts a fetch in the middle of a batch, which every client drops and asks for again; ours ends with the last whole batch and
/// sends nothing for nothing.
fn whole_batches(answer: &mut FetchResponse) {
    for part in answer
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
    {
        let Some(records) = &mut part.records else {
            continue;
        };
        let mut whole = 0;
        while let Some(length) = records.get(whole + 8..whole + 12) {
            let size = 12 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if whole + size > records.len() {
                break;
            }
            whole += size;
        }
        records.truncate(whole);
    }
}

/// What a fetch asks, besides the defaults of [`FetchAsk::default`].
#[derive(Clone)]
pub(super) struct FetchAsk {
    pub(super) topic: &'static str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) epoch: i32,
    pub(super) last_fetched_epoch: i32,
    pub(super) max_bytes: i32,
    pub(super) partition_max_bytes: i32,
    pub(super) session: (i32, i32),
    pub(super) isolation: i8,
}

impl Default for FetchAsk {
    fn default() -> FetchAsk {
        FetchAsk {
            topic: "t",
            partition: 0,
            offset: 0,
            epoch: -1,
            last_fetched_epoch: -1,
            max_bytes: 1 << 20,
            partition_max_bytes: 1 << 20,
            session: (0, -1),
            isolation: 0,
        }
    }
}

pub(super) fn fetch(side: &Side, version: i16, ask: &FetchAsk) -> FetchRequest {
    let mut part = FetchPartition::default()
        .with_partition(ask.partition)
        .with_fetch_offset(ask.offset)
        .with_partition_max_bytes(ask.partition_max_bytes);
    if version >= 9 {
        part = part.with_current_leader_epoch(ask.epoch);
    }
    if version >= 12 {
        part = part.with_last_fetched_epoch(ask.last_fetched_epoch);
    }
    let topic = FetchTopic::default().with_partitions(vec![part]);
    let topic = if version >= 13 {
        topic.with_topic_id(side.id(ask.topic))
    } else {
        topic.with_topic(name(ask.topic))
    };
    let request = FetchRequest::default()
        .with_max_wait_ms(10)
        .with_min_bytes(1)
        .with_max_bytes(ask.max_bytes)
        .with_isolation_level(ask.isolation)
        .with_topics(vec![topic]);
    let request = if version <= 14 {
        request.with_replica_id(BrokerId(-1))
    } else {
        request
    };
    if version >= 7 {
        request
            .with_session_id(ask.session.0)
            .with_session_epoch(ask.session.1)
    } else {
        request
    }
}

/// What consumers are told.
pub fn fetch_answers(pair: &mut Pair) {
    let sent = four_batches();
    pair.both(|side| records(side, &sent));
    let ask = FetchAsk::default;
    let cases = [
        ("from the start", ask()),
        (
            "from the middle of a batch",
            FetchAsk { offset: 7, ..ask() },
        ),
        (
            "from the end",
            FetchAsk {
                offset: 20,
                ..ask()
            },
        ),
        (
            "after the end",
            FetchAsk {
                offset: 21,
                ..ask()
            },
        ),
        (
            "before the start",
            FetchAsk {
                offset: -1,
                ..ask()
            },
        ),
        (
            "an empty partition",
            FetchAsk {
                partition: 1,
                ..ask()
            },
        ),
        (
            "an unknown partition",
            FetchAsk {
                partition: 9,
                ..ask()
            },
        ),
        (
            "an unknown topic",
            FetchAsk {
                topic: "unknown",
                ..ask()
            },
        ),
        (
            "a few bytes of the partition",
            FetchAsk {
                partition_max_bytes: 300,
                ..ask()
            },
        ),
        (
            "one byte of the partition",
            FetchAsk {
                partition_max_bytes: 1,
                ..ask()
            },
        ),
        (
            "one byte in all",
            FetchAsk {
                max_bytes: 1,
                ..ask()
            },
        ),
        (
            "no bytes",
            FetchAsk {
                max_bytes: 0,
                ..ask()
            },
        ),
        (
            "fewer bytes than none",
            FetchAsk {
                max_bytes: -1,
                ..ask()
            },
        ),
        (
            "fewer bytes of the partition than none",
            FetchAsk {
                partition_max_bytes: -5,
                ..ask()
            },
        ),
        (
            "fewer bytes of the partition than none, from the end",
            FetchAsk {
                offset: 20,
                partition_max_bytes: -5,
                ..ask()
            },
        ),
        (
            "fewer bytes of the partition than none, after the end",
            FetchAsk {
                offset: 21,
                partition_max_bytes: -5,
                ..ask()
            },
        ),
        ("with the leader's epoch", FetchAsk { epoch: 0, ..ask() }),
        (
            "with an epoch of the future",
            FetchAsk { epoch: 5, ..ask() },
        ),
        (
            "with a last fetched epoch",
            FetchAsk {
                offset: 5,
                epoch: 0,
                last_fetched_epoch: 0,
                ..ask()
            },
        ),
        (
            "with a diverging epoch",
            FetchAsk {
                offset: 5,
                epoch: 0,
                last_fetched_epoch: 4,
                ..ask()
            },
        ),
        (
            "read committed",
            FetchAsk {
                isolation: 1,
                ..ask()
            },
        ),
        (
            "an unknown isolation",
            FetchAsk {
                isolation: 2,
                ..ask()
            },
        ),
        (
            "an unknown isolation in a new session",
            FetchAsk {
                isolation: -1,
                session: (0, 0),
                ..ask()
            },
        ),
        (
            "an unknown isolation of an unknown topic",
            FetchAsk {
                topic: "unknown",
                isolation: 2,
                ..ask()
            },
        ),
        (
            "an unknown session",
            FetchAsk {
                session: (77, 1),
                ..ask()
            },
        ),
        (
            "a new session",
            FetchAsk {
                session: (0, 0),
                ..ask()
            },
        ),
        (
            "an epoch without a session",
            FetchAsk {
                session: (0, 3),
                ..ask()
            },
        ),
    ];
    for (case, ask) in cases {
        pair.every_version_fixed(
            &format!("Fetch, {case}"),
            |side, version| fetch(side, version, &ask),
            whole_batches,
        );
    }
    negative_sizes(pair);
}

/// The sizes and waits of whole requests that nothing can have.
fn negative_sizes(pair: &mut Pair) {
    let ask = FetchAsk {
        offset: 20,
        ..FetchAsk::default()
    };
    pair.every_version("Fetch, fewer bytes than none at least", |side, version| {
        fetch(side, version, &ask)
            .with_min_bytes(-1)
            .with_max_wait_ms(60_000)
    });
    pair.every_version("Fetch, a negative wait", |side, version| {
        fetch(side, version, &ask).with_max_wait_ms(-1)
    });
    let two = |side: &Side, version: i16| {
        let mut request = fetch(side, version, &FetchAsk::default()).with_max_bytes(-1);
        let first = request.topics[0].partitions[0].clone();
        request.topics[0].partitions.push(first.with_partition(2));
        request
    };
    pair.every_version_fixed(
        "Fetch of two partitions, fewer bytes than none",
        two,
        whole_batches,
    );
}

/// What a session says of partitions whose topic went away, and came back as another of the same name.
pub fn sessions_over_topics_that_go(pair: &mut Pair) {
    let sent = four_batches();
    for version in 7..=18 {
        let range = VersionRange {
            min: version,
            max: version,
        };
        let opening = FetchAsk {
            session: (0, 0),
            ..FetchAsk::default()
        };
        pair.both(|side| records(side, &sent));
        pair.both(|side| {
            let request = fetch(side, version, &opening);
            side.session = side.client().call(version, &request)?.session_id;
            assert!(side.session > 0, "a session was opened");
            Ok(())
        });
        let mut asked = 0;
        let mut ask = |pair: &mut Pair, case: &str| {
            asked += 1;
            let next = |side: &Side, version| {
                let ask = FetchAsk {
                    session: (side.session, asked),
                    ..FetchAsk::default()
                };
                fetch(side, version, &ask).with_topics(Vec::new())
            };
            pair.versions(&format!("Fetch in a session, {case}"), range, next, |_| {});
        };
        ask(pair, "nothing new");
        pair.both(delete);
        ask(pair, "the topic is deleted");
        ask(pair, "the topic is still deleted");
        pair.both(|side| records(side, &sent[..1]));
        ask(pair, "the topic is another");
        ask(pair, "the topic is still another");
        pair.both(delete);
    }
}

fn delete(side: &mut Side) -> std::io::Result<()> {
    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(5000)
        .with_topic_names(vec![name("t")]);
    let answer = side.client().call(5, &request)?;
    assert_eq!(answer.responses[0].error_code, 0);
    // Until the metadata says so the partitions may still answer.
    while side
        .client()
        .metadata()?
        .topics
        .iter()
        .any(|topic| topic.name.as_ref().is_some_and(|own| own.as_str() == "t"))
    {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}
