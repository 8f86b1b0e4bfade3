//! What the clients of a seed are: topics, producers, consumers, an admin, and the node's configuration.
//!
//! Owns the draw of them, nothing of their behaviour. Knobs are tiny in some seeds, so that segments roll, indexes fill
//! and limits are met within seconds.

use std::collections::BTreeMap;

use trialog_core::log::Sizes;
use trialog_core::wire::batch::Compression;

use crate::check::{Judge, Tp};
use crate::choice::{Choices, Subsystem};
use crate::client::admin::{self, Admin, NewTopic};
use crate::client::consumer::{self, Consumer};
use crate::client::producer::{self, Producer};
use crate::client::stranger::Stranger;
use crate::client::{Client, MILLISECOND, Profile, SECOND};

/// What producers compress with.
const CODECS: [Compression; 7] = [
    Compression::None,
    Compression::None,
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];
/// Topics that live through a run.
const LASTING: u32 = 3;

/// What a seed drew.
#[derive(Debug)]
pub struct Workload {
    /// All clients but the last reader.
    pub clients: Vec<Client>,
    /// Kafka properties of the node, besides its identity.
    pub properties: BTreeMap<String, String>,
    /// Sizes of the node that no property sets.
    pub sizes: Sizes,
}

struct Draw<'a> {
    choices: &'a mut Choices,
}

impl Draw<'_> {
    fn below(&mut self, bound: u64, what: u64) -> u64 {
        self.choices.below(bound, Subsystem::Workload, what)
    }

    fn pick<T: Copy>(&mut self, options: &[T], what: u64) -> T {
        self.choices.pick(options, Subsystem::Workload, what)
    }
}

impl Workload {
    /// Draws the clients of a seed and makes their producers known to the judge.
    #[must_use]
    pub fn draw(choices: &mut Choices, judge: &mut Judge) -> Workload {
        let mut draw = Draw { choices };
        let topics: Vec<NewTopic> = (0..=LASTING)
            .map(|topic| new_topic(&mut draw, topic))
            .collect();
        let doomed = LASTING;
        let all: Vec<Tp> = topics
            .iter()
            .flat_map(|new| {
                (0..new.partitions).map(|index| Tp {
                    topic: new.topic,
                    index,
                })
            })
            .collect();
        let mut clients = vec![Client::Admin(Admin::new(
            admin::Settings {
                topics,
                interval: draw.pick(&[200, 800, 3000], 1) * MILLISECOND,
                trims: all.iter().filter(|tp| tp.topic == 1).copied().collect(),
                doomed: vec![doomed],
                creates_from: (draw.below(2, 2) == 0).then_some(100),
            },
            profile(&mut draw, 0),
        ))];
        for nth in 0..2 + draw.below(3, 3) {
            clients.push(producer(&mut draw, judge, nth, &all));
        }
        for nth in 0..1 + draw.below(3, 4) {
            clients.push(consumer(&mut draw, nth, &all));
        }
        if draw.below(3, 5) == 0 {
            let interval = draw.pick(&[100, 700, 3000], 5) * MILLISECOND;
            clients.push(Client::Stranger(Stranger::new(interval)));
        }
        Workload {
            clients,
            properties: properties(&mut draw),
            sizes: sizes(&mut draw),
        }
    }
}

/// The reader of the last word, over these partitions.
#[must_use]
pub fn last_reader(partitions: Vec<Tp>) -> Client {
    let settings = consumer::Settings {
        max_wait_ms: 10,
        min_bytes: 1,
        max_bytes: 16 << 20,
        partition_max_bytes: 1 << 20,
        sessions: false,
        lookup_interval: 0,
        seek_interval: 0,
        pause: MILLISECOND,
        partitions,
        verifies: true,
    };
    let profile = Profile {
        age: 0,
        request_timeout: 30 * SECOND,
        backoff: 50 * MILLISECOND,
    };
    Client::Consumer(Consumer::new(settings, profile, 99))
}

fn profile(draw: &mut Draw<'_>, client: u64) -> Profile {
    Profile {
        age: draw.pick(&[0, 0, 0, 1, 2, 4, 7], 10 + client),
        request_timeout: draw.pick(&[2, 5, 30], 10 + client) * SECOND,
        backoff: draw.pick(&[20, 50, 200], 10 + client) * MILLISECOND,
    }
}

fn new_topic(draw: &mut Draw<'_>, topic: u32) -> NewTopic {
    let what = 40 + u64::from(topic);
    let mut configs = Vec::new();
    let mut set = |name: &str, value: &str| configs.push((name.to_owned(), value.to_owned()));
    if let Some(value) = draw.pick(&[None, Some("1000"), Some("5000"), Some("20000")], what) {
        set("segment.ms", value);
    }
    if let Some(value) = draw.pick(&[None, Some("0"), Some("64"), Some("512")], what) {
        set("index.interval.bytes", value);
    }
    if let Some(value) = draw.pick(&[None, None, Some("96"), Some("240")], what) {
        set("segment.index.bytes", value);
    }
    // The first topic keeps everything as it was sent: in every seed something has the strongest promise.
    if topic > 0 {
        let codecs = ["gzip", "snappy", "lz4", "zstd", "uncompressed", "producer"];
        if draw.below(3, what) == 0 {
            set("compression.type", draw.pick(&codecs, what));
        }
        if draw.below(4, what) == 0 {
            set("message.timestamp.type", "LogAppendTime");
        }
        if let Some(value) = draw.pick(&[None, None, None, Some("300"), Some("1000")], what) {
            set("max.message.bytes", value);
        }
        if let Some(value) = draw.pick(&[None, None, None, Some("2000"), Some("15000")], what) {
            set("retention.ms", value);
        }
        if let Some(value) = draw.pick(&[None, None, None, Some("2000"), Some("20000")], what) {
            set("retention.bytes", value);
        }
    }
    NewTopic {
        topic,
        partitions: 1 + i32::try_from(draw.below(3, what)).unwrap_or(0),
        configs,
    }
}

fn some(draw: &mut Draw<'_>, all: &[Tp], what: u64) -> Vec<Tp> {
    let mut some: Vec<Tp> = all
        .iter()
        .filter(|_| draw.below(2, what) == 0)
        .copied()
        .collect();
    if some.is_empty() {
        some.push(all[0]);
    }
    some
}

fn producer(draw: &mut Draw<'_>, judge: &mut Judge, nth: u64, all: &[Tp]) -> Client {
    let what = 60 + nth;
    // The first is always idempotent, so that every seed judges the strongest promise.
    let idempotent = nth == 0 || draw.below(3, what) == 0;
    let acks = match idempotent {
        true => -1,
        false => draw.pick(&[-1, -1, 1, 1, 0], what),
    };
    let max_in_flight = match idempotent {
        true => draw.pick(&[1, 3, 5], what),
        false => draw.pick(&[1, 5], what),
    };
    let settings = producer::Settings {
        acks,
        idempotent,
        max_in_flight,
        records_max: draw.pick(&[1, 3, 12], what),
        value_max: draw.pick(&[1, 60, 300, 2000], what),
        interval: draw.pick(&[30, 80, 150, 300], what) * MILLISECOND,
        delivery_timeout: draw.pick(&[20, 120], what) * SECOND,
        retry_backoff: draw.pick(&[10, 100], what) * MILLISECOND,
        disorder_ms: draw.pick(&[0, 50, 5000], what),
        partitions: some(draw, all, what),
        renews: idempotent && draw.below(2, what) == 0,
        codec: draw.pick(&CODECS, what),
    };
    let ordered = idempotent || max_in_flight == 1;
    let number = judge.add_producer(idempotent, ordered, settings.codec);
    let mut profile = profile(draw, 1 + nth);
    if settings.codec == Compression::Zstd {
        // Produce takes zstd from version 7 on. KIP-110.
        profile.age = profile.age.min(4);
    }
    Client::Producer(Producer::new(settings, profile, number))
}

fn consumer(draw: &mut Draw<'_>, nth: u64, all: &[Tp]) -> Client {
    let what = 80 + nth;
    let partition_max_bytes = draw.pick(&[1, 300, 10_000, 1 << 20], what);
    let settings = consumer::Settings {
        max_wait_ms: draw.pick(&[0, 20, 200, 500], what),
        // Who asks for more than it takes waits every time: true of Kafka too, and a waste of a seed.
        min_bytes: draw
            .pick(&[1, 1, 1000, 50_000], what)
            .min(partition_max_bytes),
        max_bytes: draw.pick(&[1, 500, 100_000, 50 << 20], what),
        partition_max_bytes,
        sessions: draw.below(4, what) != 0,
        lookup_interval: draw.pick(&[0, 300, 1000, 5000], what) * MILLISECOND,
        seek_interval: draw.pick(&[0, 1000, 6000], what) * MILLISECOND,
        pause: draw.pick(&[1, 20, 100], what) * MILLISECOND,
        partitions: some(draw, all, what),
        verifies: false,
    };
    Client::Consumer(Consumer::new(
        settings,
        profile(draw, 10 + nth),
        u32::try_from(nth).unwrap_or(0),
    ))
}

fn sizes(draw: &mut Draw<'_>) -> Sizes {
    let deployed = Sizes::default();
    Sizes {
        hot_bytes: draw.pick(&[deployed.hot_bytes, 20_000, 1000], 125),
        cold_bytes: draw.pick(&[deployed.cold_bytes, 50_000, 1000], 126),
        cold_files: draw.pick(&[deployed.cold_files, 2], 127),
        frontier_bytes: draw.pick(&[deployed.frontier_bytes, 30_000, 2000], 128),
        fenced_logs: draw.pick(&[deployed.fenced_logs, 1, 3], 129),
        metadata_records: draw.pick(&[deployed.metadata_records, 1, 3], 131),
        appends: draw.pick(&[deployed.appends, 1, 2], 132),
    }
}

fn properties(draw: &mut Draw<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            properties.insert(name.to_owned(), value.to_owned());
        }
    };
    set(
        "max.incremental.fetch.session.cache.slots",
        draw.pick(&[None, None, Some("1"), Some("2")], 120),
    );
    set(
        "log.flush.offset.checkpoint.interval.ms",
        draw.pick(&[None, Some("500"), Some("3000")], 121),
    );
    set(
        "log.flush.start.offset.checkpoint.interval.ms",
        draw.pick(&[None, Some("500"), Some("3000")], 122),
    );
    set(
        "log.segment.delete.delay.ms",
        draw.pick(&[None, Some("0"), Some("1000")], 123),
    );
    set(
        "log.retention.check.interval.ms",
        draw.pick(&[None, Some("500"), Some("2000")], 124),
    );
    properties
}
