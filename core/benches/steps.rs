//! The longest step of a node with few and with many partitions: `cargo bench -p trialog-core --bench steps -- 1000 100000`.
//!
//! One script, twice: topics of a thousand partitions each, produce, fetch sessions, metadata, a snapshot of the metadata, a deleted
//! topic, a stop and a start. A step costs what its input names, so the longest one may at most double from the first number of
//! partitions to the second, and stays under 5 ms. The script is deterministic: each of its steps is timed in several runs and counts
//! with the shortest of them, which leaves out what else the machine does.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a benchmark is a driver: it reads the clock and prints"
)]

mod disk;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::Disk;
use trialog_core::config::Config;
use trialog_core::format::Format;
use trialog_core::ids::{ConnId, DirId, ListenerId, Uuid};
use trialog_core::io::{Boot, DiskDone, Effect, Effects, Input, ListenerBoot, LogDirBoot};
use trialog_core::node::Node;
use trialog_core::time::{Instant as Mono, Now, WallMs};
use trialog_core::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use trialog_core::wire::create_topics_request::CreatableTopic;
use trialog_core::wire::delete_topics_request::DeleteTopicState;
use trialog_core::wire::fetch_request::{FetchPartition, FetchTopic};
use trialog_core::wire::metadata_request::MetadataRequestTopic;
use trialog_core::wire::produce_request::{PartitionProduceData, TopicProduceData};
use trialog_core::wire::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest,
    Request, decode_response, request_frame,
};
use trialog_core::work;

/// Partitions of a topic, and of a request.
const A_TOPIC: i32 = 1_000;
/// How long a step may last.
const MOST: Duration = Duration::from_millis(5);
/// A step this short is noise: twice of it is no growth.
const LEAST: Duration = Duration::from_millis(2);
const RUNS: usize = 3;
const CONN: ConnId = ConnId(1);

/// How long a step took, and of what input.
type Step = (Duration, &'static str);

fn kind(input: &Input) -> &'static str {
    match input {
        Input::Start => "the start",
        Input::Opened { .. } | Input::Closed { .. } => "a connection",
        Input::Connected { .. } | Input::ConnectFailed { .. } => "a peer",
        Input::Frame { .. } => "a request",
        Input::Sent { .. } => "an answer that was sent",
        Input::Disk { result, .. } => match result {
            Ok(DiskDone::Done) => "a disk operation",
            Ok(DiskDone::Written) => "a write",
            Ok(DiskDone::Synced) => "a sync",
            Ok(DiskDone::Opened { .. }) => "an opened file",
            Ok(DiskDone::Read(_)) => "a read",
            Ok(DiskDone::Listed { .. }) => "a page of a directory",
            Err(_) => "a failed disk operation",
        },
        Input::Worked { .. } => "a job",
        Input::Wakeup => "a wakeup",
        Input::Shutdown => "the stop",
    }
}

/// The node, its disk, and how long each step of each part of the script took.
struct Script {
    config: Config,
    node: Node,
    now: Now,
    disk: Disk,
    out: Effects,
    waiting: VecDeque<Effect>,
    answer: Option<Bytes>,
    halted: bool,
    part: &'static str,
    steps: BTreeMap<&'static str, Vec<Step>>,
}

impl Script {
    fn new() -> Script {
        let own = [
            ("metadata.log.max.snapshot.interval.ms", "3600000"),
            ("connections.max.idle.ms", "-1"),
        ];
        let config = Config::single(1, &["/d"], &own).expect("a good configuration");
        let mut disk = Disk::default();
        disk.dirs.insert(DirId(1), String::new());
        let format = Format {
            config: &config,
            cluster_id: "AAAAAAAAQACAAAAAAAAAAQ",
            directory_ids: &[Uuid([9; 16])],
            features: &[],
            standalone: false,
            now_ms: 0,
        };
        for file in format.files().expect("a good format").remove(0) {
            let place = (String::new(), file.name.to_string());
            disk.entries.insert(place, Some(file.content.to_vec()));
        }
        Script {
            node: node(&config, 1),
            config,
            now: Now {
                mono: Mono(1),
                wall: WallMs(1_700_000_000_000),
            },
            disk,
            out: Effects::default(),
            waiting: VecDeque::new(),
            answer: None,
            halted: false,
            part: "start",
            steps: BTreeMap::new(),
        }
    }

    fn start(&mut self) {
        self.step(Input::Start);
        self.settle();
        assert!(self.node.is_ready(), "the node is ready");
        self.step(Input::Opened {
            conn: CONN,
            listener: ListenerId(0),
            peer: "127.0.0.1:1".to_owned(),
        });
    }

    fn step(&mut self, input: Input) {
        let kind = kind(&input);
        let start = Instant::now();
        self.node.step(self.now, input, &mut self.out);
        let spent = start.elapsed();
        self.steps.entry(self.part).or_default().push((spent, kind));
        self.out.events.clear();
        for effect in self.out.effects.drain(..) {
            match effect {
                Effect::Send { parts, .. } => self.answer = Some(parts.to_bytes()),
                Effect::Disk { .. } | Effect::Work { .. } => self.waiting.push_back(effect),
                Effect::Halt { .. } => self.halted = true,
                Effect::Connect { .. }
                | Effect::Pause { .. }
                | Effect::Resume { .. }
                | Effect::Close { .. }
                | Effect::FrameLimit { .. } => {}
            }
        }
    }

    fn settle(&mut self) {
        while !self.halted {
            let wakeup = self.node.next_wakeup();
            if wakeup.is_some_and(|(due, _)| due <= self.now.mono) {
                self.step(Input::Wakeup);
                continue;
            }
            let Some(effect) = self.waiting.pop_front() else {
                return;
            };
            if let Effect::Disk { token, op } = effect {
                let result = self.disk.run(op);
                self.step(Input::Disk { token, result });
            } else if let Effect::Work { token, job } = effect {
                let facts = work::run(job);
                self.step(Input::Worked { token, facts });
            }
        }
    }

    /// Time passes, and what is due in it happens.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some((due, _)) = self.node.next_wakeup().filter(|(due, _)| *due <= end) {
            self.now.mono = due.max(self.now.mono);
            self.step(Input::Wakeup);
            self.settle();
        }
        self.now.mono = end;
        self.now.wall.0 += i64::try_from(time.as_millis()).unwrap_or(0);
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let frame = request_frame(version, 1, Some("steps".into()), request);
        let frame = frame.expect("a good request").to_bytes().slice(4..);
        self.step(Input::Frame { conn: CONN, frame });
        self.settle();
        if self.answer.is_none() {
            self.pass(Duration::from_secs(1));
        }
        let answer = self.answer.take().expect("an answer");
        let bytes = answer.len() as u64;
        self.step(Input::Sent { conn: CONN, bytes });
        decode_response::<R>(answer.slice(4..), version)
            .expect("a good answer")
            .1
    }

    fn create(&mut self, nth: usize) -> Uuid {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: format!("t{nth}").into(),
                num_partitions: A_TOPIC,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        };
        let response = self.ask(7, &request);
        assert_eq!(response.topics[0].error_code.0, 0);
        response.topics[0].topic_id
    }

    fn produce(&mut self, topic: Uuid, index: i32) {
        let record = RecordToWrite {
            timestamp: self.now.wall.0,
            value: Some(Bytes::from_static(b"a value")),
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![TopicProduceData {
                topic_id: topic,
                partition_data: vec![PartitionProduceData {
                    index,
                    records: Some(encode_batch(BatchOptions::default(), &[record])),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = self.ask(13, &request);
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code.0, 0);
    }

    /// A fetch of every partition of `topics`, in the session (`id`, `epoch`). How many partitions the answer tells of.
    fn fetch(&mut self, id: i32, epoch: i32, topics: &[Uuid]) -> (i32, usize) {
        let partitions = |_: &Uuid| {
            (0..A_TOPIC).map(|partition| FetchPartition {
                partition,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            })
        };
        let topics = topics.iter().map(|topic| FetchTopic {
            topic_id: *topic,
            partitions: partitions(topic).collect(),
            ..Default::default()
        });
        let request = FetchRequest {
            session_id: id,
            session_epoch: epoch,
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 50 << 20,
            topics: topics.collect(),
            ..Default::default()
        };
        let response = self.ask(17, &request);
        assert_eq!(response.error_code.0, 0);
        let told = response
            .responses
            .iter()
            .map(|topic| topic.partitions.len());
        (response.session_id, told.sum())
    }

    /// All of it, with `partitions` partitions.
    fn run(mut self, partitions: usize) -> BTreeMap<&'static str, Vec<Step>> {
        self.start();
        self.part = "create topics";
        let topics: Vec<Uuid> = (0..partitions / 1000).map(|nth| self.create(nth)).collect();
        self.part = "produce";
        for nth in 0..100 {
            self.produce(topics[nth % topics.len()], (nth % 1000) as i32);
        }
        self.part = "open a fetch session";
        let (session, _) = self.fetch(0, 0, &topics[..1]);
        for (topic, epoch) in topics[1..].iter().zip(1..) {
            self.fetch(session, epoch, std::slice::from_ref(topic));
        }
        self.part = "fetch in a session";
        for epoch in 0..20 {
            self.fetch(session, topics.len() as i32 + epoch, &[]);
        }
        self.part = "metadata of one topic";
        let one = MetadataRequestTopic {
            topic_id: topics[0],
            name: None,
            ..Default::default()
        };
        self.metadata(Some(vec![one]));
        self.part = "metadata of all topics";
        self.metadata(None);
        self.part = "an hour, with a snapshot";
        self.pass(Duration::from_secs(3700));
        self.part = "delete a topic";
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                topic_id: topics[0],
                name: None,
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        };
        self.ask(6, &request);
        self.pass(Duration::from_secs(100));
        self.part = "stop";
        self.step(Input::Shutdown);
        self.settle();
        assert!(self.halted, "it stops");
        self.part = "start again";
        self.node = node(&self.config, 2);
        self.disk.dirs = BTreeMap::from([(DirId(1), String::new())]);
        self.halted = false;
        self.start();
        assert!(self.node.partitions().len() >= partitions - 1000);
        self.steps
    }

    fn metadata(&mut self, topics: Option<Vec<MetadataRequestTopic>>) {
        let request = MetadataRequest {
            topics,
            ..Default::default()
        };
        let response = self.ask(12, &request);
        assert!(!response.topics.is_empty());
    }
}

fn node(config: &Config, life: u8) -> Node {
    let boot = Boot {
        boot_id: [1; 16],
        log_dirs: vec![LogDirBoot {
            dir: DirId(1),
            path: "/d".to_owned(),
        }],
        listeners: vec![ListenerBoot {
            name: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
        }],
    };
    Node::new(config.clone(), [life; 32], boot)
}

/// The longest step of each part, each step at its shortest over the runs.
fn longest(partitions: usize) -> BTreeMap<&'static str, Step> {
    let mut best: BTreeMap<&'static str, Vec<Step>> = BTreeMap::new();
    for _ in 0..RUNS {
        for (part, steps) in Script::new().run(partitions) {
            let known = best.entry(part).or_insert_with(|| steps.clone());
            assert_eq!(known.len(), steps.len(), "the script is deterministic");
            for (known, step) in known.iter_mut().zip(steps) {
                known.0 = known.0.min(step.0);
            }
        }
    }
    best.into_iter()
        .map(|(part, steps)| (part, steps.into_iter().max().unwrap_or_default()))
        .collect()
}

fn main() {
    let given: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let (few, many) = match given[..] {
        [few, many] => (few, many),
        _ => (1_000, 10_000),
    };
    let (small, large) = (longest(few), longest(many));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut failed = Vec::new();
    println!("the longest step at {few} and at {many} partitions");
    for (part, large) in &large {
        let (small, _) = small.get(part).copied().unwrap_or_default();
        let (large, kind) = *large;
        println!(
            "{part:28} {:8.3} ms {:8.3} ms, of {kind}",
            ms(small),
            ms(large)
        );
        if large > MOST || large > LEAST.max(small * 2) {
            failed.push(*part);
        }
    }
    assert!(failed.is_empty(), "too long: {}", failed.join(", "));
}
