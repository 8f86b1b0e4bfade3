//! A node, its disk and its clients, driven by hand: disk operations and work wait until a test lets them happen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::disk::Disk;
use crate::config::Config;
use crate::event::Event;
use crate::ids::{ConnId, DirId, ListenerId};
use crate::io::{
    Boot, CloseReason, CloseWhy, DiskError, DiskOp, Effect, Effects, Halt, Input, ListenerBoot,
    LogDirBoot, Name,
};
use crate::log::Sizes;
use crate::mark::Mark;
use crate::node::Node;
use crate::time::{Instant, Now, WallMs};
use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use crate::wire::{FetchRequest, FrameDecoder, Request, decode_response, request_frame};
use crate::work;

/// The one log directory.
const ROOT: DirId = DirId(1);

/// A node with everything around it.
pub struct World {
    pub node: Node,
    pub now: Now,
    pub marks: Vec<Mark>,
    pub events: Vec<Event>,
    pub halted: Option<Halt>,
    /// Effects on the disk and work that have not happened yet.
    pub waiting: VecDeque<Effect>,
    /// The disk takes its time over syncs: they wait until this is false.
    pub hold_syncs: bool,
    /// The disk has no room: nothing grows until this is false.
    pub full: bool,
    config: Config,
    sizes: Sizes,
    lives: u8,
    disk: Disk,
    conns: u64,
    clients: BTreeMap<ConnId, Client>,
    correlation: i32,
    steps: u64,
}

#[derive(Default)]
struct Client {
    frames: VecDeque<Bytes>,
    closed: Option<CloseWhy>,
    paused: bool,
    /// Requests by correlation id, to know how to read the answers.
    versions: BTreeMap<i32, i16>,
}

impl World {
    /// A node that is ready, on a freshly formatted disk.
    pub fn ready() -> World {
        World::with(&[])
    }

    /// As [`World::ready`], with properties of its own.
    pub fn with(properties: &[(&str, &str)]) -> World {
        World::sized(properties, Sizes::default())
    }

    /// As [`World::with`], with sizes of its own.
    pub fn sized(properties: &[(&str, &str)], sizes: Sizes) -> World {
        let mut disk = Disk::default();
        disk.add_root(ROOT);
        let config = Config::single(1, &["/data"], properties).unwrap();
        super::format(&mut disk, ROOT, &config);
        let mut world = World {
            node: World::node(&config, 1).with_sizes(sizes),
            now: Now {
                mono: Instant(1),
                wall: WallMs(1_700_000_000_000),
            },
            marks: Vec::new(),
            events: Vec::new(),
            halted: None,
            waiting: VecDeque::new(),
            hold_syncs: false,
            full: false,
            config,
            sizes,
            lives: 1,
            disk,
            conns: 0,
            clients: BTreeMap::new(),
            correlation: 0,
            steps: 0,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.step(Input::Start);
        self.settle();
        assert!(
            self.node.is_ready(),
            "not ready: {:?} {:?}",
            self.halted,
            self.events
        );
    }

    /// The process dies, if it has not ended, and another one starts on the same disk.
    pub fn restart(&mut self) {
        self.disk.crash(&[ROOT]);
        self.waiting.clear();
        self.clients.clear();
        self.marks.clear();
        self.halted = None;
        self.hold_syncs = false;
        self.lives += 1;
        self.node = World::node(&self.config, self.lives).with_sizes(self.sizes);
        self.start();
    }

    /// One bit of a file in the log directory turns.
    pub fn rot(&mut self, path: &str, at: usize) {
        self.disk.rot(ROOT, path, at);
    }

    /// Gives an entry of the log directory another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        let [from, to] = [from, to].map(|name| Name::new(name).unwrap());
        let dir = ROOT;
        self.disk.run(DiskOp::Rename { dir, from, to }).unwrap();
    }

    /// The names of the entries of the log directory.
    pub fn names(&mut self) -> Vec<String> {
        self.disk.names(ROOT)
    }

    /// Formats the log directory once more.
    pub fn format(&mut self) {
        super::format(&mut self.disk, ROOT, &self.config);
    }

    fn node(config: &Config, life: u8) -> Node {
        let listener = |name: &str, port| ListenerBoot {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
        };
        let boot = Boot {
            boot_id: [1; 16],
            log_dirs: vec![LogDirBoot {
                dir: ROOT,
                path: "/data".to_owned(),
            }],
            listeners: vec![listener("PLAINTEXT", 9092), listener("CONTROLLER", 9093)],
        };
        Node::new(config.clone(), [life; 32], boot)
    }

    /// One step; its disk operations and work wait.
    pub fn step(&mut self, input: Input) {
        let mut out = Effects::default();
        self.node.step(self.now, input, &mut out);
        self.node.check();
        self.steps += 1;
        for event in out.events {
            match event {
                Event::Mark(mark) => self.marks.push(mark),
                other => self.events.push(other),
            }
        }
        let mut closed = Vec::new();
        for effect in out.effects {
            match effect {
                Effect::Disk { .. } | Effect::Work { .. } => self.waiting.push_back(effect),
                Effect::Send { conn, parts } => {
                    let mut frames = FrameDecoder::new(u32::MAX);
                    frames.push(&parts.to_bytes());
                    let frame = frames
                        .next_frame()
                        .unwrap()
                        .expect("an answer is a whole frame");
                    self.clients.get_mut(&conn).unwrap().frames.push_back(frame);
                }
                Effect::Pause { conn } => self.clients.get_mut(&conn).unwrap().paused = true,
                Effect::Resume { conn } => self.clients.get_mut(&conn).unwrap().paused = false,
                Effect::Close { conn, why } => {
                    self.clients.get_mut(&conn).unwrap().closed = Some(why);
                    closed.push(conn);
                }
                Effect::FrameLimit { .. } => {}
                Effect::Halt { halt } => self.halted = Some(halt),
                Effect::Connect { .. } => panic!("nobody to connect to"),
            }
        }
        for conn in closed {
            let reason = CloseReason::Asked;
            self.step(Input::Closed { conn, reason });
        }
    }

    /// Lets one waiting effect happen.
    pub fn happen(&mut self, effect: Effect) {
        if let Effect::Disk { token, op } = effect {
            let grows = matches!(
                op,
                DiskOp::Write { .. } | DiskOp::Create { .. } | DiskOp::Allocate { .. }
            );
            let result = if grows && self.full {
                Err(DiskError::Full)
            } else {
                self.disk.run(op)
            };
            self.step(Input::Disk { token, result });
        } else if let Effect::Work { token, job } = effect {
            let facts = work::run(job);
            self.step(Input::Worked { token, facts });
        } else {
            panic!("{effect:?} does not wait");
        }
    }

    /// Lets everything happen that needs no time, syncs only if they are not held.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let wakeup = self.node.next_wakeup();
            let (held, waiting) = (self.hold_syncs, self.waiting.iter());
            let next = waiting.map(is_sync).position(|sync| !(sync && held));
            if wakeup.is_some_and(|(due, _)| due <= self.now.mono) {
                self.step(Input::Wakeup);
            } else if let Some(effect) = next.and_then(|at| self.waiting.remove(at)) {
                self.happen(effect);
            } else {
                return;
            }
        }
        panic!("the node never comes to rest");
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some((due, _)) = self.node.next_wakeup().filter(|(due, _)| *due <= end) {
            self.at(due.max(self.now.mono));
            self.step(Input::Wakeup);
            self.settle();
        }
        self.at(end);
    }

    fn at(&mut self, mono: Instant) {
        let passed = mono.since(self.now.mono);
        self.now.wall.0 += i64::try_from(passed.as_millis()).unwrap();
        self.now.mono = mono;
    }

    /// A client connects.
    pub fn connect(&mut self) -> ConnId {
        self.connect_at(ListenerId(0))
    }

    /// A client connects at a listener.
    pub fn connect_at(&mut self, listener: ListenerId) -> ConnId {
        self.conns += 1;
        let conn = ConnId(self.conns);
        self.clients.insert(conn, Client::default());
        let peer = "127.0.0.1:5000".to_owned();
        self.step(Input::Opened {
            conn,
            listener,
            peer,
        });
        conn
    }

    /// A client hangs up.
    pub fn hang_up(&mut self, conn: ConnId) {
        let reason = CloseReason::PeerClosed;
        self.step(Input::Closed { conn, reason });
    }

    /// Sends raw bytes as a frame.
    pub fn send_raw(&mut self, conn: ConnId, frame: impl Into<Bytes>) {
        let frame = frame.into();
        self.step(Input::Frame { conn, frame });
    }

    /// Sends a request; returns its correlation id.
    pub fn send<R: Request>(&mut self, conn: ConnId, version: i16, request: &R) -> i32 {
        self.correlation += 1;
        let id = self.correlation;
        let parts = request_frame(version, id, Some("test".into()), request).unwrap();
        let client = self.clients.get_mut(&conn).unwrap();
        client.versions.insert(id, version);
        self.send_raw(conn, parts.to_bytes().slice(4..));
        id
    }

    /// The next answer on a connection, which must be to request `id`.
    pub fn answer<R: Request>(&mut self, conn: ConnId, id: i32) -> R::Response {
        let client = self.clients.get_mut(&conn).unwrap();
        let frame = client.frames.pop_front();
        let frame = frame.unwrap_or_else(|| panic!("no answer; closed: {:?}", client.closed));
        let version = client.versions[&id];
        let bytes = frame.len() as u64 + 4;
        let (correlation, response) = decode_response::<R>(frame, version).unwrap();
        assert_eq!(correlation, id, "answers are out of order");
        self.step(Input::Sent { conn, bytes });
        response
    }

    /// The next answer on a connection, whatever it says.
    pub fn raw_answer(&mut self, conn: ConnId) -> Bytes {
        let frame = self.clients.get_mut(&conn).unwrap().frames.pop_front();
        frame.expect("an answer")
    }

    /// Reads every answer, whatever they say.
    pub fn read_all(&mut self, conn: ConnId) {
        let frames = std::mem::take(&mut self.clients.get_mut(&conn).unwrap().frames);
        let bytes: usize = frames.iter().map(|frame| frame.len() + 4).sum();
        if bytes > 0 && self.closed(conn).is_none() {
            let bytes = bytes as u64;
            self.step(Input::Sent { conn, bytes });
        }
    }

    /// How many answers wait to be read.
    pub fn answers(&self, conn: ConnId) -> usize {
        self.clients[&conn].frames.len()
    }

    /// Is there an answer?
    pub fn has_answer(&self, conn: ConnId) -> bool {
        !self.clients[&conn].frames.is_empty()
    }

    /// Why the node closed a connection, if it did.
    pub fn closed(&self, conn: ConnId) -> Option<&CloseWhy> {
        self.clients[&conn].closed.as_ref()
    }

    /// Is the connection paused?
    pub fn paused(&self, conn: ConnId) -> bool {
        self.clients[&conn].paused
    }

    /// Sends a request, lets everything happen, and takes the answer.
    pub fn ask<R: Request>(&mut self, conn: ConnId, version: i16, request: &R) -> R::Response {
        let id = self.send(conn, version, request);
        self.settle();
        self.answer::<R>(conn, id)
    }

    /// Sends a fetch, and takes its answer after so long.
    pub fn ask_after(&mut self, conn: ConnId, request: &FetchRequest, wait: Duration) {
        let id = self.send(conn, 17, request);
        self.settle();
        self.pass(wait);
        self.answer::<FetchRequest>(conn, id);
    }

    /// Sends a request and takes its answer, which must come without any disk operation.
    pub fn ask_now<R: Request>(&mut self, conn: ConnId, version: i16, request: &R) -> R::Response {
        let id = self.send(conn, version, request);
        self.answer::<R>(conn, id)
    }

    /// Has the node told of `mark`?
    pub fn marked(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }
}

fn is_sync(effect: &Effect) -> bool {
    let sync = |op: &DiskOp| matches!(op, DiskOp::Sync { .. });
    matches!(effect, Effect::Disk { op, .. } if sync(op))
}

/// A batch with these values, as a producer sends it.
pub fn batch(values: &[&'static str]) -> Bytes {
    let record = |value: &&'static str| RecordToWrite {
        timestamp: 1_700_000_000_000,
        value: Some(Bytes::from_static(value.as_bytes())),
        ..Default::default()
    };
    let records: Vec<_> = values.iter().map(record).collect();
    encode_batch(BatchOptions::default(), &records)
}
