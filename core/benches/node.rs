//! What a request costs in the state machine alone: produce and fetch through `Node::step`, over a disk that forgets what is
//! written. `cargo bench -p trialog-core --bench node`. Prints microseconds of CPU a request and what that is per gigabyte.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a benchmark is a driver: it reads the clock and prints"
)]

mod disk;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::Disk;
use trialog_core::config::Config;
use trialog_core::ids::{ConnId, ListenerId, Uuid};
use trialog_core::io::{Effect, Effects, Input};
use trialog_core::node::Node;
use trialog_core::time::{Instant as Mono, Now, WallMs};
use trialog_core::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use trialog_core::wire::create_topics_request::CreatableTopic;
use trialog_core::wire::fetch_request::{FetchPartition, FetchTopic};
use trialog_core::wire::produce_request::{PartitionProduceData, TopicProduceData};
use trialog_core::wire::{
    CreateTopicsRequest, FetchRequest, ProduceRequest, Request, decode_response, request_frame,
};
use trialog_core::work;

struct Bench {
    node: Node,
    now: Now,
    disk: Disk,
    out: Effects,
    waiting: VecDeque<Effect>,
    answer: Option<Bytes>,
    /// Time in steps, and in work on payloads.
    steps: Duration,
    work: Duration,
}

const CONN: ConnId = ConnId(1);

impl Bench {
    fn new() -> Bench {
        let config = Config::single(1, &["/d"], &[]).expect("a good configuration");
        let disk = Disk {
            forgetful: true,
            ..Disk::formatted(&config)
        };
        let mut bench = Bench {
            node: Node::new(config.clone(), [1; 32], disk::boot(&config)),
            now: Now {
                mono: Mono(1),
                wall: WallMs(1_700_000_000_000),
            },
            disk,
            out: Effects::default(),
            waiting: VecDeque::new(),
            answer: None,
            steps: Duration::ZERO,
            work: Duration::ZERO,
        };
        bench.step(Input::Start);
        bench.settle();
        assert!(bench.node.is_ready());
        bench.step(Input::Opened {
            conn: CONN,
            listener: ListenerId(0),
            peer: "bench".to_owned(),
        });
        bench
    }

    fn step(&mut self, input: Input) {
        let start = Instant::now();
        self.node.step(self.now, input, &mut self.out);
        self.steps += start.elapsed();
        self.out.events.clear();
        for effect in self.out.effects.drain(..) {
            if let Effect::Send { parts, .. } = effect {
                self.answer = Some(parts.to_bytes());
            } else if matches!(effect, Effect::Disk { .. } | Effect::Work { .. }) {
                self.waiting.push_back(effect);
            }
        }
    }

    fn settle(&mut self) {
        loop {
            if let Some(effect) = self.waiting.pop_front() {
                if let Effect::Disk { token, op } = effect {
                    let result = self.disk.run(op);
                    self.step(Input::Disk { token, result });
                } else if let Effect::Work { token, job } = effect {
                    let start = Instant::now();
                    let facts = work::run(job);
                    self.work += start.elapsed();
                    self.step(Input::Worked { token, facts });
                }
            } else if self
                .node
                .next_wakeup()
                .is_some_and(|(due, _)| due <= self.now.mono)
            {
                self.step(Input::Wakeup);
            } else {
                return;
            }
        }
    }

    fn ask(&mut self, frame: Bytes) -> Bytes {
        self.step(Input::Frame { conn: CONN, frame });
        self.settle();
        let answer = self.answer.take().expect("an answer");
        let bytes = answer.len() as u64;
        self.step(Input::Sent { conn: CONN, bytes });
        answer.slice(4..)
    }

    /// Sends `frame` many times and prints what one costs.
    fn measure(&mut self, name: &str, frame: &Bytes, payload: usize) {
        let times = if payload > 10_000 { 20_000 } else { 50_000 };
        for _ in 0..1000 {
            self.ask(frame.clone());
        }
        (self.steps, self.work) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..times {
            self.now.mono.0 += 1_000_000;
            self.ask(frame.clone());
        }
        let us = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(times);
        let per_gb = us(self.steps + self.work) / payload as f64 * 1e3;
        println!(
            "{name:32} {:7.2} us in steps, {:7.2} us in work, {per_gb:6.3} s/GB",
            us(self.steps),
            us(self.work)
        );
    }
}

fn frame<R: Request>(version: i16, request: &R) -> Bytes {
    let parts = request_frame(version, 1, Some("bench".into()), request);
    parts.expect("a good request").to_bytes().slice(4..)
}

fn produce(topic: Uuid, acks: i16, bytes: usize) -> Bytes {
    let record = RecordToWrite {
        timestamp: 1_700_000_000_000,
        value: Some(Bytes::from(vec![b'x'; bytes - 80])),
        ..Default::default()
    };
    let partition = PartitionProduceData {
        records: Some(encode_batch(BatchOptions::default(), &[record])),
        ..Default::default()
    };
    let topic = TopicProduceData {
        topic_id: topic,
        partition_data: vec![partition],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    frame(13, &request)
}

fn main() {
    let mut bench = Bench::new();
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    let answer = bench.ask(frame(7, &request));
    let (_, response) = decode_response::<CreateTopicsRequest>(answer, 7).expect("an answer");
    let topic = response.topics[0].topic_id;
    for (acks, name) in [(1, "acks=1"), (-1, "acks=all")] {
        for bytes in [1_000, 16_384, 65_536] {
            let name = format!("produce {name} {bytes} bytes");
            bench.measure(&name, &produce(topic, acks, bytes), bytes);
        }
    }
    let end = bench
        .node
        .partitions()
        .iter()
        .next()
        .map_or(0, |p| p.high_watermark().0);
    for bytes in [65_536, 1_048_576] {
        let partition = FetchPartition {
            // What was produced last, 64 KiB a batch, is in memory.
            fetch_offset: end - 20,
            partition_max_bytes: bytes,
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: bytes,
            topics: vec![FetchTopic {
                topic_id: topic,
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let name = format!("fetch {bytes} bytes");
        bench.measure(&name, &frame(17, &request), bytes as usize);
    }
}
