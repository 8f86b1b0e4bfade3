//! The shell simulation: `net`'s own loop, connections and timers under madsim, with a scripted machine instead of a node.
//!
//! Clients send frames cut in odd ways and check that every answer comes once, in order and byte for byte, while links
//! clog, strangers begin frames that they never finish, the server is killed and restarted, and is stopped gracefully. A seed
//! runs in a process of its own: `SHELL_SEED=7 cargo shell one_seed` runs one again.
#![cfg(madsim)]

#[path = "shell/node.rs"]
mod node;
#[path = "shell/strangers.rs"]
mod strangers;

use std::collections::{BTreeMap, VecDeque};
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use madsim::net::NetSim;
use madsim::rand::{Rng, thread_rng};
use madsim::runtime::{Handle, NodeHandle, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use trialog_core::ids::{ConnId, DirId, FileId};
use trialog_core::io::{
    CloseWhy, DiskDone, DiskOp, Effect, Effects, Halt, Input, Name, Parts, Room, Token, Wake,
};
use trialog_core::time::{Instant, Now};
use trialog_core::work::Job;
use trialog_net::conn::planted;
use trialog_net::disk::memory::{MemoryDisk, Volume};
use trialog_net::driver::{self, Ended, Machine, Stop, World};
use trialog_net::frame_memory;
use trialog_net::listen::{self, Listen};

const SEEDS: u64 = 20;
const CLIENTS: u8 = 4;
const SESSIONS: u32 = 20;
const LIMIT: u32 = 300_000;
/// Unfinished frames have so little room that three of the largest fill it.
const FRAME_MEMORY: u64 = 1 << 20;
/// Strangers at a time, beside the clients.
const STRANGERS: u32 = 6;
const SERVER: &str = "10.0.0.1";
const PORT: u16 = 9092;
/// Queued requests of a connection at which the machine pauses it.
const PAUSE_AT: usize = 6;
/// A graceful stop takes at most so long.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// A session that makes no progress for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(20);

// ------------------------------------------------------------------------------------------------ what clients ask

/// How the machine goes about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Answer after a while.
    Delay = 0,
    /// Answer when it is written and synced.
    Disk = 1,
    /// Answer when a job is done.
    Work = 2,
    /// Answer, then close.
    Close = 3,
}

/// A request is session (8), number (4), kind (1), then anything.
fn request(session: u64, number: u32, kind: Kind, payload: usize) -> Vec<u8> {
    let mut body = session.to_be_bytes().to_vec();
    body.extend(number.to_be_bytes());
    body.push(kind as u8);
    body.extend((0..payload).map(|n| (n as u64 * 31 + u64::from(number) + session) as u8));
    body
}

/// What the machine answers: the request backwards, after its number.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut body = request[8..12].to_vec();
    body.extend(request.iter().rev());
    body
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len())
        .expect("small")
        .to_be_bytes()
        .to_vec();
    frame.extend_from_slice(body);
    frame
}

// ------------------------------------------------------------------------------------------------ the scripted machine

/// What the test knows of all lives of the server together.
#[derive(Default)]
struct Ledger {
    /// Grows when a server ends, however it ends.
    life: u64,
    /// The operator has asked the present life to stop: connections that it has not accepted yet may be refused.
    stopping: bool,
    /// Answers that were given to the driver, by session.
    answered: BTreeMap<u64, u32>,
    /// How often the connections of each client were reset.
    resets: BTreeMap<u8, u32>,
    kills: u32,
    stops: u32,
    clogs: u32,
    pauses: u32,
}

type Shared = Arc<Mutex<Ledger>>;

impl Ledger {
    /// What has happened so far that may cut a session of `client`, and whether a kill or a reset was in it.
    fn excuses(&self, client: u8) -> (u64, u32) {
        let resets = self.resets.get(&client).copied().unwrap_or_default();
        (self.life + u64::from(resets), self.kills + resets)
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Ledger> {
    shared.lock().expect("no panic while it is held")
}

/// One request in work.
struct Waiting {
    request: Bytes,
    /// Answer not before; `None` while a completion is missing.
    due: Option<Instant>,
}

#[derive(Default)]
struct Session {
    queue: VecDeque<Waiting>,
    /// Requests taken from the queue so far: a token's slot counts from the connection's first.
    taken: u32,
    paused: bool,
    closing: bool,
    sent: u64,
    given: u64,
}

/// Answers each connection's requests in order, each after a delay, a disk operation or a job. It holds the driver to
/// its contract: an input that must not come is a panic.
struct Script {
    shared: Shared,
    sessions: BTreeMap<ConnId, Session>,
    closed: BTreeMap<ConnId, bool>,
    /// Completions that are missing: to whom, and whether a sync comes next.
    waiting: BTreeMap<Token, (ConnId, u32, Step)>,
    tokens: u32,
    file: Option<FileId>,
    at: u64,
    stopping: bool,
    started: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Open,
    Write,
    Sync,
    Work,
}

const FILE: FileId = FileId(1);
const ROOT: DirId = DirId(0);

impl Script {
    fn new(shared: Shared) -> Script {
        Script {
            shared,
            sessions: BTreeMap::new(),
            closed: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tokens: 0,
            file: None,
            at: 0,
            stopping: false,
            started: false,
        }
    }

    fn token(&mut self, conn: ConnId, number: u32, step: Step) -> Token {
        self.tokens += 1;
        let token = Token {
            room: Room::Api,
            slot: self.tokens,
            generation: 0,
        };
        self.waiting.insert(token, (conn, number, step));
        token
    }

    fn frame(&mut self, now: Now, conn: ConnId, frame: Bytes, out: &mut Effects) {
        let session = self
            .sessions
            .get_mut(&conn)
            .expect("a frame of an open connection");
        assert!(!session.paused, "a frame of a paused connection");
        assert!(!session.closing, "a frame of a connection that was closed");
        assert!(
            frame.len() >= 13,
            "a garbled frame of {} bytes",
            frame.len()
        );
        let number = session.taken + u32::try_from(session.queue.len()).expect("few");
        let mut waiting = Waiting {
            request: frame.clone(),
            due: None,
        };
        let kind = frame[12];
        let ready = self.file.is_some();
        if kind == Kind::Delay as u8 || kind == Kind::Close as u8 || !ready {
            let delay = thread_rng().gen_range(0..20_000_000);
            waiting.due = Some(now.mono + Duration::from_nanos(delay));
        }
        session.queue.push_back(waiting);
        if session.queue.len() >= PAUSE_AT {
            session.paused = true;
            out.push(Effect::Pause { conn });
            lock(&self.shared).pauses += 1;
        }
        if kind == Kind::Disk as u8 && ready {
            let token = self.token(conn, number, Step::Write);
            let (at, data) = (self.at, Parts::from(frame.clone()));
            self.at += frame.len() as u64;
            out.disk(
                token,
                DiskOp::Write {
                    file: FILE,
                    at,
                    data,
                },
            );
        } else if kind == Kind::Work as u8 && ready {
            let token = self.token(conn, number, Step::Work);
            let job = Job::Scan { block: frame };
            out.push(Effect::Work { token, job });
        }
    }

    fn completed(&mut self, now: Now, token: Token, out: &mut Effects) {
        let (conn, number, step) = self.waiting.remove(&token).expect("one completion each");
        match step {
            Step::Open => self.file = Some(FILE),
            Step::Write => {
                let token = self.token(conn, number, Step::Sync);
                let files = vec![FILE];
                out.disk(token, DiskOp::Sync { root: ROOT, files });
            }
            Step::Sync | Step::Work => {
                if let Some(session) = self.sessions.get_mut(&conn) {
                    let place = number.checked_sub(session.taken).map(|n| n as usize);
                    let waiting = place.and_then(|n| session.queue.get_mut(n));
                    waiting.expect("it waits").due = Some(now.mono);
                }
            }
        }
    }

    /// Answers what is due at the head of each queue.
    fn answer(&mut self, now: Now, out: &mut Effects) {
        for (conn, session) in &mut self.sessions {
            while !session.closing
                && let Some(head) = session.queue.front()
                && head.due.is_some_and(|due| due <= now.mono)
            {
                let head = session.queue.pop_front().expect("seen");
                session.taken += 1;
                let bytes = framed(&answer(&head.request));
                session.given += bytes.len() as u64;
                let (conn, parts) = (*conn, scattered(bytes));
                out.push(Effect::Send { conn, parts });
                let name = u64::from_be_bytes(head.request[..8].try_into().expect("8"));
                *lock(&self.shared).answered.entry(name).or_default() += 1;
                if head.request[12] == Kind::Close as u8 {
                    session.closing = true;
                    let why = CloseWhy::Idle;
                    out.push(Effect::Close { conn, why });
                }
            }
            if session.paused && session.queue.len() < PAUSE_AT / 2 && !session.closing {
                session.paused = false;
                out.push(Effect::Resume { conn: *conn });
            }
        }
        if self.stopping
            && self
                .sessions
                .values()
                .all(|s| s.closing || s.queue.is_empty())
        {
            out.push(Effect::Halt { halt: Halt::Clean });
        }
    }
}

/// The same bytes in slices of odd sizes.
fn scattered(bytes: Vec<u8>) -> Parts {
    let mut rest = Bytes::from(bytes);
    let mut parts = Parts::new();
    while !rest.is_empty() {
        let most = rest.len().min(thread_rng().gen_range(1..100_000));
        parts.push(rest.split_to(thread_rng().gen_range(1..=most)));
    }
    parts
}

impl Machine for Script {
    fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        assert_eq!(
            self.started,
            input != Input::Start,
            "Start comes first, once"
        );
        match input {
            Input::Start => {
                self.started = true;
                let token = self.token(ConnId(0), 0, Step::Open);
                let name = Name::new("journal").expect("a name");
                let (dir, file) = (ROOT, FILE);
                out.disk(token, DiskOp::Open { dir, name, file });
            }
            Input::Opened { conn, .. } => {
                let fresh = self.sessions.insert(conn, Session::default()).is_none();
                assert!(
                    fresh && !self.closed.contains_key(&conn),
                    "a name of its own"
                );
                out.push(Effect::FrameLimit { conn, limit: LIMIT });
            }
            Input::Frame { conn, frame } => self.frame(now, conn, frame, out),
            Input::Sent { conn, bytes } => {
                let session = self.sessions.get_mut(&conn).expect("open");
                session.sent += bytes;
                assert!(session.sent <= session.given, "sent what was never given");
            }
            Input::Closed { conn, .. } => {
                assert!(self.sessions.remove(&conn).is_some(), "closed once");
                self.closed.insert(conn, true);
            }
            Input::Disk { token, result } => {
                assert!(
                    matches!(
                        result,
                        Ok(DiskDone::Opened { .. } | DiskDone::Written | DiskDone::Synced)
                    ),
                    "{result:?}"
                );
                self.completed(now, token, out);
            }
            Input::Worked { token, .. } => self.completed(now, token, out),
            Input::Wakeup => {}
            Input::Shutdown => self.stopping = true,
            Input::Connected { .. } | Input::ConnectFailed { .. } => panic!("it asked for none"),
        }
        self.answer(now, out);
    }

    fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        let heads = self.sessions.values().filter(|s| !s.closing);
        let due = heads.filter_map(|s| s.queue.front()?.due);
        due.min().map(|at| (at, Wake::Continue))
    }
}

// ------------------------------------------------------------------------------------------------ server and clients

/// The way to the running server's operator.
type Operator = Arc<Mutex<Option<mpsc::Sender<Stop>>>>;

async fn serve(shared: Shared, operator: Operator, volume: Volume, seed: u64) {
    let listen = Listen {
        name: "PLAINTEXT".into(),
        host: "0.0.0.0".into(),
        port: PORT,
    };
    let (listeners, _) = listen::bind(&[listen]).await.expect("the port is free");
    let (stop, stopped) = mpsc::channel(1);
    *operator.lock().expect("no panic") = Some(stop);
    let disk = MemoryDisk::new(volume, &[(ROOT, 0)], seed, Duration::from_millis(8));
    let world = World {
        listeners,
        disk: Box::new(disk),
        stop: stopped,
        connections_max: 100,
        frame_memory_bytes: FRAME_MEMORY,
        witness: None,
        ready: None,
    };
    let (ended, _disk) = driver::run(Script::new(Arc::clone(&shared)), world).await;
    assert_eq!(ended, Ended::Halted(Halt::Clean));
    let mut ledger = lock(&shared);
    ledger.life += 1;
    ledger.stops += 1;
    ledger.stopping = false;
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// As the client wanted it.
    Whole,
    /// The server ended meanwhile.
    Cut,
}

/// One connection: requests out in odd pieces, answers in, each checked.
async fn session(client: u8, session: u64, shared: &Shared) -> Result<Outcome, String> {
    let before = lock(shared).excuses(client);
    let Ok(Ok(stream)) = timeout(Duration::from_secs(5), TcpStream::connect((SERVER, PORT))).await
    else {
        return Ok(Outcome::Cut);
    };
    let requests: Vec<Vec<u8>> = {
        let mut rng = thread_rng();
        let count = rng.gen_range(1..30);
        let closes = rng.gen_bool(0.3);
        (0..count)
            .map(|n| {
                let kind = match rng.gen_range(0..3) {
                    _ if closes && n + 1 == count => Kind::Close,
                    0 => Kind::Delay,
                    1 => Kind::Disk,
                    _ => Kind::Work,
                };
                let payload = match rng.gen_range(0..20) {
                    0 => rng.gen_range(60_000..200_000),
                    1..=3 => rng.gen_range(500..9_000),
                    // With its head just below or above what needs no place in memory.
                    4 => frame_memory::FREE - 13 - 6 + rng.gen_range(0..12),
                    _ => rng.gen_range(0..100),
                };
                request(session, n, kind, payload)
            })
            .collect()
    };
    let closes = requests
        .last()
        .is_some_and(|last| last[12] == Kind::Close as u8);
    // A client that dies in the middle of a frame, and one that sends what is not allowed, take nothing with them.
    let (dies, greedy) = {
        let mut rng = thread_rng();
        (rng.gen_bool(0.1), rng.gen_bool(0.1) && !closes)
    };
    let mut bytes: Vec<u8> = requests.iter().flat_map(|body| framed(body)).collect();
    if dies {
        bytes.truncate(thread_rng().gen_range(0..bytes.len()));
    } else if closes {
        // What follows the request that closes must not be answered.
        bytes.extend(framed(&request(session, 999, Kind::Delay, 10)));
    } else if greedy {
        bytes.extend((LIMIT + 1).to_be_bytes());
    }
    let (mut reading, mut writing) = tokio::io::split(stream);
    let send = async {
        for piece in odd_pieces(&bytes) {
            if writing.write_all(piece).await.is_err() || writing.flush().await.is_err() {
                break;
            }
            if thread_rng().gen_bool(0.3) {
                sleep(Duration::from_micros(thread_rng().gen_range(0..8_000))).await;
            }
        }
    };
    let receive = async {
        let (mut got, mut answers) = (Vec::new(), Vec::new());
        let mut chunk = vec![0; 65_536];
        let eof = loop {
            if answers.len() == requests.len() && !closes && !greedy {
                break false;
            }
            match reading.read(&mut chunk).await {
                Ok(0) | Err(_) => break true,
                Ok(n) => got.extend_from_slice(&chunk[..n]),
            }
            while let Some(length) = got.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > LIMIT as usize + 100 {
                    return Err(format!("an answer of {length} bytes"));
                }
                if got.len() < 4 + length {
                    break;
                }
                answers.push(got[4..4 + length].to_vec());
                got.drain(..4 + length);
            }
        };
        Ok((answers, got.len(), eof))
    };
    if dies {
        send.await;
        return Ok(Outcome::Whole);
    }
    let both = async { tokio::join!(send, receive).1 };
    let (answers, left_over, eof) = match timeout(STUCK_AFTER, both).await {
        Ok(received) => received?,
        Err(_) if lock(shared).excuses(client) == before => return Err("no progress".into()),
        Err(_) => return Ok(Outcome::Cut),
    };
    for (n, got) in answers.iter().enumerate() {
        match requests.get(n) {
            None => {
                return Err(format!(
                    "answer {n}, and there were {} requests",
                    requests.len()
                ));
            }
            Some(request) if answer(request) != *got => {
                return Err(format!(
                    "answer {n} is not that of request {n}: it has {} bytes",
                    got.len()
                ));
            }
            Some(_) => {}
        }
    }
    let cut = eof && answers.len() < requests.len();
    let after = lock(shared).excuses(client);
    let ended_meanwhile = after != before || lock(shared).stopping;
    if cut && ended_meanwhile && after.1 == before.1 {
        // A graceful stop cut it: what had been answered has arrived.
        let answered = lock(shared)
            .answered
            .get(&session)
            .copied()
            .unwrap_or_default();
        if answers.len() != answered as usize {
            return Err(format!(
                "{} answers arrived, and {answered} had been given before the stop",
                answers.len()
            ));
        }
    }
    if cut && !ended_meanwhile && !greedy {
        return Err(format!(
            "closed after {} of {} answers",
            answers.len(),
            requests.len()
        ));
    }
    if left_over > 0 && !ended_meanwhile {
        return Err(format!("{left_over} bytes after the last answer"));
    }
    Ok(if cut { Outcome::Cut } else { Outcome::Whole })
}

/// Cuts at odd places: now and then every byte of a length comes alone.
fn odd_pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rng = thread_rng();
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let most = match rng.gen_range(0..10) {
            0..=3 => 5,
            4..=6 => 2_000,
            _ => 150_000,
        };
        let (piece, later) = rest.split_at(rest.len().min(rng.gen_range(1..=most)));
        pieces.push(piece);
        rest = later;
    }
    pieces
}

async fn client(number: u8, shared: Shared) -> Result<(u32, u32), String> {
    let (mut whole, mut cut) = (0, 0);
    let mut nth = 0;
    while whole < SESSIONS {
        nth += 1;
        let name = u64::from(number) << 32 | nth;
        match session(number, name, &shared).await {
            Ok(Outcome::Whole) => whole += 1,
            Ok(Outcome::Cut) => {
                cut += 1;
                sleep(Duration::from_millis(50)).await;
            }
            Err(what) => return Err(format!("client {number}, session {nth}: {what}")),
        }
        sleep(Duration::from_millis(thread_rng().gen_range(0..300))).await;
    }
    Ok((whole, cut))
}

/// Kills, stops, restarts and clogs until the clients are done.
async fn torment(
    server: NodeHandle,
    clients: Vec<NodeHandle>,
    strangers: NodeHandle,
    shared: Shared,
    operator: Operator,
) {
    let (handle, net) = (Handle::current(), NetSim::current());
    loop {
        sleep(Duration::from_millis(thread_rng().gen_range(50..800))).await;
        let n = thread_rng().gen_range(0..CLIENTS);
        let client = &clients[usize::from(n)];
        match thread_rng().gen_range(0..8) {
            0 | 6 => {
                // The ledger first: what ends from now on ends because of this.
                lock(&shared).life += 1;
                lock(&shared).kills += 1;
                handle.kill(server.id());
                sleep(Duration::from_millis(thread_rng().gen_range(0..500))).await;
                handle.restart(server.id());
            }
            1 => {
                let stop = operator.lock().expect("no panic").take();
                let Some(stop) = stop else { continue };
                let life = lock(&shared).life;
                lock(&shared).life += 1;
                lock(&shared).stopping = true;
                assert!(
                    stop.send(Stop::Gracefully).await.is_ok(),
                    "it listens to its operator"
                );
                sleep(STOP_WITHIN).await;
                assert_eq!(lock(&shared).life, life + 2, "a graceful stop ends in time");
                handle.kill(server.id());
                handle.restart(server.id());
            }
            2 => {
                // Every connection of the client is gone, as when its machine dies.
                *lock(&shared).resets.entry(n).or_default() += 1;
                net.reset_node(client.id());
            }
            7 => net.reset_node(strangers.id()),
            _ => {
                let (from, to) = if thread_rng().gen_bool(0.5) {
                    (server.id(), client.id())
                } else {
                    (client.id(), server.id())
                };
                lock(&shared).clogs += 1;
                net.clog_link(from, to);
                sleep(Duration::from_millis(thread_rng().gen_range(1..2_000))).await;
                net.unclog_link(from, to);
            }
        }
    }
}

/// A machine that serves from now on, killed or not.
fn server(runtime: &Runtime, shared: &Shared, operator: &Operator, seed: u64) -> NodeHandle {
    frame_memory::observed::take_held_most();
    let volume = Volume::default();
    let root = volume.root();
    volume.put(root, Name::new("journal").expect("a name"), Vec::new());
    let (shared, operator) = (Arc::clone(shared), Arc::clone(operator));
    let init = move || {
        serve(
            Arc::clone(&shared),
            Arc::clone(&operator),
            volume.clone(),
            seed,
        )
    };
    let ip = SERVER.parse().expect("an address");
    let node = runtime.create_node().name("server").ip(ip).init(init);
    node.build()
}

fn machine(runtime: &Runtime, name: &str, ip: &str) -> NodeHandle {
    let ip = ip.parse().expect("an address");
    runtime.create_node().name(name).ip(ip).build()
}

/// What unfinished frames held together never was more than they may.
fn judge_memory() -> Result<usize, String> {
    let most = frame_memory::observed::take_held_most();
    if most > FRAME_MEMORY as usize {
        return Err(format!(
            "unfinished frames held {most} bytes together, and may hold {FRAME_MEMORY}"
        ));
    }
    Ok(most)
}

fn simulate(seed: u64) -> Result<String, String> {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    let shared = Shared::default();
    let operator = Operator::default();
    let server = server(&runtime, &shared, &operator, seed);
    let clients: Vec<NodeHandle> = (0..CLIENTS)
        .map(|n| {
            machine(
                &runtime,
                &format!("client {n}"),
                &format!("10.0.1.{}", n + 1),
            )
        })
        .collect();
    let crowd = machine(&runtime, "strangers", "10.0.2.1");
    runtime.block_on(async {
        sleep(Duration::from_millis(100)).await;
        for _ in 0..STRANGERS {
            drop(crowd.spawn(strangers::stranger()));
        }
        let running: Vec<_> = clients
            .iter()
            .zip(0..)
            .map(|(node, n)| node.spawn(client(n, Arc::clone(&shared))))
            .collect();
        let torment = torment(server, clients, crowd, Arc::clone(&shared), operator);
        let tormented = madsim::task::spawn(torment);
        let (mut whole, mut cut) = (0, 0);
        for client in running {
            let (w, c) = client.await.map_err(|error| error.to_string())??;
            (whole, cut) = (whole + w, cut + c);
        }
        tormented.abort();
        let held = judge_memory()?;
        let ledger = lock(&shared);
        Ok(format!(
            "seed {seed}: {whole} sessions whole, {cut} cut, {} answers, {} kills, {} stops, {} clogs, {} pauses, {held} bytes held",
            ledger.answered.values().sum::<u32>(),
            ledger.kills,
            ledger.stops,
            ledger.clogs,
            ledger.pauses
        ))
    })
}

// ------------------------------------------------------------------------------------------------ the tests

/// Runs one seed in a process of its own.
fn fresh(seed: u64, plant: Option<&str>) -> Output {
    fresh_of("one_seed", seed, plant)
}

fn fresh_of(test: &str, seed: u64, plant: Option<&str>) -> Output {
    let me = std::env::current_exe().expect("the test itself");
    let mut command = Command::new(me);
    command.args(["--exact", test, "--nocapture"]);
    command.env("SHELL_SEED", seed.to_string());
    match plant {
        Some(plant) => command.env("SHELL_PLANT", plant),
        None => command.env_remove("SHELL_PLANT"),
    };
    command.output().expect("it runs")
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs `test`, which runs one seed, with each of them.
fn every_seed_passes(test: &str) {
    for seed in 1..=SEEDS {
        let output = fresh_of(test, seed, None);
        assert!(
            output.status.success(),
            "SHELL_SEED={seed} cargo shell {test}\n{}",
            said(&output)
        );
    }
}

/// The seed that the environment asks for.
fn wanted_seed() -> u64 {
    let asked = std::env::var("SHELL_SEED").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn one_seed() {
    let seed = wanted_seed();
    match std::env::var("SHELL_PLANT").as_deref() {
        Ok("reorder") => planted::REORDER.store(true, Ordering::Relaxed),
        Ok("split") => planted::SPLIT_LENGTH.store(true, Ordering::Relaxed),
        Ok("unbounded") => frame_memory::planted::UNBOUNDED.store(true, Ordering::Relaxed),
        _ => {}
    }
    conclude(seed, simulate(seed));
}

fn conclude(seed: u64, outcome: Result<String, String>) {
    match outcome {
        Ok(line) => println!("{line}"),
        Err(violation) => panic!("seed {seed}: {violation}"),
    }
}

#[test]
fn one_crowd() {
    let seed = wanted_seed();
    conclude(seed, strangers::simulate(seed));
}

#[test]
fn a_crowd_of_strangers_does_not_shut_others_out() {
    every_seed_passes("one_crowd");
}

#[test]
fn one_node() {
    node::simulate(wanted_seed());
}

#[test]
fn the_node_keeps_its_promises_behind_the_shell() {
    every_seed_passes("one_node");
}

#[test]
fn every_seed_keeps_its_promises() {
    every_seed_passes("one_seed");
}

#[test]
fn a_seed_is_the_same_in_every_process() {
    let line = |output| -> String {
        let said: String = said(&output);
        let found = said
            .lines()
            .find(|line| line.starts_with("seed "))
            .map(str::to_owned);
        found.unwrap_or_else(|| panic!("no closing line:\n{said}"))
    };
    assert_eq!(line(fresh(3, None)), line(fresh(3, None)));
}

/// Which seed finds the planted bug first.
fn finds(plant: &str) -> Option<u64> {
    (1..=SEEDS).find(|seed| !fresh(*seed, Some(plant)).status.success())
}

#[test]
fn an_answer_out_of_order_is_found() {
    assert!(finds("reorder").is_some());
}

#[test]
fn a_length_that_is_lost_at_a_split_is_found() {
    assert!(finds("split").is_some());
}

#[test]
fn unfinished_frames_without_a_bound_are_found() {
    assert!(finds("unbounded").is_some());
}
