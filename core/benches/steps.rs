//! The longest step of a node with few and with many partitions: `cargo bench -p trialog-core --bench steps`; other numbers of
//! partitions follow a `--`.
//!
//! One script, twice: a topic of as many partitions as a request may bring, which goes again, topics of a thousand partitions each, produce, fetch sessions, metadata, an hour with a snapshot of the metadata, a
//! deleted topic, a stop and a start, a crash and a start, a log directory that fails. A step costs what its input names, so the longest one
//! of the script may at most double from the first number of partitions to the second, and stays under 5 ms.
//!
//! Counted is the time of the processor that the thread spent, not what passed on the clock. The script is deterministic: each of its steps
//! counts with the shortest of several runs, which leaves out what else the machine did to the caches.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a benchmark is a driver: it reads the clock and prints"
)]

#[path = "../../net/src/allocator.rs"]
mod allocator;
mod disk;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use disk::Disk;
use rustix::time::{ClockId, clock_gettime};
use trialog_core::config::Config;
use trialog_core::ids::{ConnId, ListenerId, Uuid};
use trialog_core::io::{DiskDone, Effect, Effects, Input};
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
/// The most partitions that a request may create: its records with that of the topic are 10,000.
const A_WIDE_TOPIC: i32 = 9_999;
/// How long a step may last, in ns.
const MOST: u32 = 5_000_000;
const RUNS: usize = 5;
const CONN: ConnId = ConnId(1);

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// How long a step took, in ns, and the place of its input in [`KINDS`].
type Step = (u32, u8);

const KINDS: [&str; 16] = [
    "the start",
    "a connection",
    "a peer",
    "a request",
    "an answer that was sent",
    "a disk operation",
    "a write",
    "a sync",
    "an opened file",
    "a read",
    "a page of a directory",
    "a failed disk operation",
    "a job",
    "a wakeup",
    "the stop",
    "nothing",
];

/// What this thread has spent so far, in ns: what else the machine does is no part of it.
fn cpu_time() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn kind(input: &Input) -> u8 {
    match input {
        Input::Start => 0,
        Input::Opened { .. } | Input::Closed { .. } => 1,
        Input::Connected { .. } | Input::ConnectFailed { .. } => 2,
        Input::Frame { .. } => 3,
        Input::Sent { .. } => 4,
        Input::Disk { result, .. } => match result {
            Ok(DiskDone::Done) => 5,
            Ok(DiskDone::Written) => 6,
            Ok(DiskDone::Synced) => 7,
            Ok(DiskDone::Opened { .. }) => 8,
            Ok(DiskDone::Read(_)) => 9,
            Ok(DiskDone::Listed { .. }) => 10,
            Err(_) => 11,
        },
        Input::Worked { .. } => 12,
        Input::Wakeup => 13,
        Input::Shutdown => 14,
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
    lives: u8,
    part: &'static str,
    steps: BTreeMap<&'static str, Vec<Step>>,
}

impl Script {
    fn new() -> Script {
        let own = [
            ("metadata.log.max.snapshot.interval.ms", "3600000"),
            ("connections.max.idle.ms", "-1"),
        ];
        let config = Config::single(1, &["/d", "/e"], &own).expect("a good configuration");
        Script {
            node: Node::new(config.clone(), [1; 32], disk::boot(&config)),
            disk: Disk::formatted(&config),
            config,
            now: Now {
                mono: Mono(1),
                wall: WallMs(1_700_000_000_000),
            },
            out: Effects::default(),
            waiting: VecDeque::new(),
            answer: None,
            halted: false,
            lives: 1,
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
        let start = cpu_time();
        self.node.step(self.now, input, &mut self.out);
        let spent = u32::try_from(cpu_time() - start).unwrap_or(u32::MAX);
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
        loop {
            let due = self.node.next_wakeup().map(|(due, _)| due);
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now.mono = due.max(self.now.mono);
            self.step(Input::Wakeup);
            self.settle();
        }
        self.now.mono = end;
        self.now.wall.0 += i64::try_from(time.as_millis()).unwrap_or(0);
    }

    /// The process has ended; another one starts.
    fn start_again(&mut self) {
        self.lives += 1;
        self.node = Node::new(
            self.config.clone(),
            [self.lives; 32],
            disk::boot(&self.config),
        );
        self.disk.close_all();
        self.waiting.clear();
        self.halted = false;
        self.start();
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

    fn create(&mut self, nth: usize, num_partitions: i32) -> Uuid {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: format!("t{nth}").into(),
                num_partitions,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 10_000,
            ..Default::default()
        };
        let response = self.ask(7, &request);
        assert_eq!(response.topics[0].error_code.0, 0);
        response.topics[0].topic_id
    }

    fn delete(&mut self, topic_id: Uuid) {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                topic_id,
                name: None,
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        };
        self.ask(6, &request);
        self.pass(Duration::from_secs(100));
    }

    /// Produces a record to each of `partitions`.
    fn produce(&mut self, topic: Uuid, partitions: Range<i32>) {
        let record = RecordToWrite {
            timestamp: self.now.wall.0,
            value: Some(Bytes::from_static(b"a value")),
            ..Default::default()
        };
        let records = encode_batch(BatchOptions::default(), &[record]);
        let one = |index| PartitionProduceData {
            index,
            records: Some(records.clone()),
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![TopicProduceData {
                topic_id: topic,
                partition_data: partitions.map(one).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = self.ask(13, &request);
        let answers = &response.responses[0].partition_responses;
        assert!(answers.iter().all(|answer| answer.error_code.0 == 0));
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
        self.part = "a wide topic comes and goes";
        let wide = self.create(usize::MAX, A_WIDE_TOPIC);
        self.delete(wide);
        self.part = "create topics";
        // One more, which goes again.
        let topics: Vec<Uuid> = (0..=partitions / 1000)
            .map(|nth| self.create(nth, A_TOPIC))
            .collect();
        self.part = "produce";
        for nth in 0..100 {
            let index = (nth % 1000) as i32;
            self.produce(topics[nth % topics.len()], index..index + 1);
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
        self.delete(topics[0]);
        self.part = "stop";
        self.step(Input::Shutdown);
        self.settle();
        assert!(self.halted, "it stops");
        self.part = "start again";
        self.start_again();
        assert!(self.node.partitions().len() >= partitions);
        self.part = "produce to every partition";
        for topic in &topics[1..] {
            self.produce(*topic, 0..A_TOPIC);
        }
        self.part = "start after a crash";
        self.start_again();
        assert!(self.node.partitions().len() >= partitions);
        self.part = "a log directory fails";
        self.disk.second_fails = true;
        self.pass(Duration::from_secs(100));
        let store = self.node.store();
        assert!(store.directory_online(0) && !store.directory_online(1));
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

/// The longest step of each part, each step at its shortest over the runs.
fn longest(partitions: usize) -> BTreeMap<&'static str, Step> {
    let mut best: BTreeMap<&'static str, Vec<Step>> = BTreeMap::new();
    for _ in 0..RUNS {
        for (part, steps) in Script::new().run(partitions) {
            let known = best.entry(part).or_insert_with(|| steps.clone());
            assert_eq!(known.len(), steps.len(), "the script is deterministic");
            for (known, step) in known.iter_mut().zip(steps) {
                *known = step.min(*known);
            }
        }
    }
    best.into_iter()
        .map(|(part, steps)| (part, steps.into_iter().max().unwrap_or((0, 15))))
        .collect()
}

fn main() {
    allocator::refuse_huge_pages();
    let given: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let (few, many) = match given[..] {
        [few, many] => (few, many),
        _ => (1_000, 100_000),
    };
    let (small, large) = (longest(few), longest(many));
    let most = small.values().map(|(nanos, _)| 2 * nanos).max();
    let most = MOST.min(most.unwrap_or_default());
    let ms = |nanos: u32| f64::from(nanos) / 1e6;
    let mut failed = Vec::new();
    println!("the longest step at {few} and at {many} partitions, ms of the processor");
    for (part, (large, kind)) in large {
        let (small, _) = small.get(part).copied().unwrap_or((0, 15));
        let verdict = if large <= most { "" } else { ": too long" };
        let kind = KINDS[usize::from(kind)];
        println!(
            "{part:28} {:8.3} {:8.3} of {kind}{verdict}",
            ms(small),
            ms(large)
        );
        if large > most {
            failed.push(part);
        }
    }
    assert!(failed.is_empty(), "too long: {}", failed.join(", "));
}
