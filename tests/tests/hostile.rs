//! Hostile peers of the real binary: bytes without sense, frames that never end, answers that nobody takes.
//!
//! Whatever they do, the broker lives, its memory is bounded, and an honest client is served.
#![cfg(not(madsim))]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_protocol::records::Compression;
use trialog_tests::broker::{self, Broker, Kind, Setup};
use trialog_tests::client::{Client, PLAIN, batch};
use trialog_tests::codec;
use trialog_tests::codec::model::Message;
use trialog_tests::codec::random::{self, Random};

const MIB: u64 = 1 << 20;
/// API keys that are served, so that the bytes get further than the header.
const SERVED: [i16; 13] = [0, 1, 2, 3, 18, 19, 20, 21, 22, 23, 32, 37, 60];

/// Each of these tests measures: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What a broker lives on while a test goes on: its home, and the machine.
type Home = (tempfile::TempDir, MutexGuard<'static, ()>);

fn broker(properties: &[(&str, &str)]) -> (Home, Broker) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = tempfile::tempdir().expect("a home");
    let setup = properties.iter().fold(
        Setup::new(Kind::Trialog, home.path(), &home.path().join("data")),
        |setup, (name, value)| setup.with(name, value),
    );
    setup.format();
    let broker = setup.start();
    ((home, alone), broker)
}

fn stranger(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.bootstrap()).expect("a connection");
    stream.set_nonblocking(true).expect("a socket option");
    stream
}

/// Writes what fits; false once the peer has closed.
fn write_some(stream: &mut TcpStream, bytes: &[u8], left: &mut usize) -> bool {
    while *left > 0 {
        match stream.write(&bytes[..bytes.len().min(*left)]) {
            Ok(wrote) => *left -= wrote,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}

/// Strangers that promise frames of `promised` bytes and never send the last; whoever is closed comes again.
struct Crowd {
    over: Arc<AtomicBool>,
    closed: Arc<AtomicUsize>,
    running: Option<JoinHandle<()>>,
}

impl Crowd {
    fn come(broker: &Broker, strangers: usize, promised: usize) -> Crowd {
        let (over, closed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (is_over, was_closed) = (Arc::clone(&over), Arc::clone(&closed));
        let bootstrap = broker.bootstrap();
        // At first all but the end, later so much that it takes a place.
        let come = move |most: usize| {
            let mut stream = TcpStream::connect(&bootstrap).expect("a connection");
            let length = u32::try_from(promised).expect("a length");
            stream.write_all(&length.to_be_bytes()).expect("a length");
            stream.set_nonblocking(true).expect("a socket option");
            (stream, most.min(promised - 1))
        };
        let running = std::thread::spawn(move || {
            let zeros = vec![0; 1 << 20];
            let mut crowd: Vec<_> = (0..strangers).map(|_| come(promised)).collect();
            while !is_over.load(Ordering::Relaxed) {
                for (stream, left) in &mut crowd {
                    let lives = write_some(stream, &zeros, left) && !ended(stream);
                    if !lives {
                        was_closed.fetch_add(1, Ordering::Relaxed);
                        (*stream, *left) = come(256 * 1024);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let running = Some(running);
        Crowd {
            over,
            closed,
            running,
        }
    }

    /// How many of them the broker closed.
    fn leave(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let running = self.running.take().expect("once");
        running.join().expect("the strangers did not panic");
        self.closed.load(Ordering::Relaxed)
    }
}

/// Has the peer closed?
fn ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// What honest clients see beside `strangers` that promise `promised` bytes each.
fn beside_a_crowd(strangers: usize, promised: usize) {
    let limit = promised.max(1 << 20).to_string();
    let (_home, broker) = broker(&[("socket.request.max.bytes", &limit)]);
    let mut client = broker.client();
    client.create_topic("honest", 1, &[]).expect("a topic");
    let before = broker.resident_bytes();
    let crowd = Crowd::come(&broker, strangers, promised);
    let taken_now = || broker.resident_bytes().saturating_sub(before);
    let mut taken = 0;
    // Until they have filled most of it, and a moment longer.
    let mut until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let is_most = taken >= 150 * MIB;
        taken = taken.max(taken_now());
        if !is_most && taken >= 150 * MIB {
            until = Instant::now() + Duration::from_secs(2);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    client.patience(Duration::from_secs(60));
    let mut slowest = [Duration::ZERO; 2];
    for _ in 0..5 {
        for (bytes, slowest) in [1, 900_000].into_iter().zip(&mut slowest) {
            let records = batch(&[vec![b'x'; bytes]], PLAIN, Compression::None);
            let began = Instant::now();
            let (error, ..) = client.produce("honest", 0, -1, records).expect("an answer");
            assert_eq!(error, 0);
            *slowest = began.elapsed().max(*slowest);
        }
        taken = taken.max(taken_now());
    }
    let closed = crowd.leave();
    let [small, large] = slowest;
    println!(
        "{strangers} strangers with {promised} bytes each: {} MiB, {closed} closed, small within {small:?}, large within {large:?}",
        taken / MIB
    );
    // What a connection and its task take comes on top.
    let most = 300 * MIB + strangers as u64 * 24 * 1024;
    assert!(
        (150 * MIB..most).contains(&taken),
        "{} MiB of the 256 that frames may hold",
        taken / MIB
    );
    assert!(closed > 0, "none gave way");
    assert!(small < Duration::from_secs(1), "{small:?}");
    assert!(large < Duration::from_secs(5), "{large:?}");
}

#[test]
fn frames_that_never_end_do_not_fill_the_memory_nor_shut_others_out() {
    // 640 MiB, of which 256 MiB have a place.
    beside_a_crowd(40, 16 << 20);
}

#[test]
fn many_small_frames_that_never_end_do_not_either() {
    // 372 MiB, of which 256 MiB have a place; those that wait hold 16 KiB each.
    let connections = trialog_net::machine::connections_max();
    assert!(
        connections > 3_000,
        "raise the limit of open files (ulimit -Hn): only {connections} connections fit"
    );
    beside_a_crowd(3_000, 130_000);
}

#[test]
fn the_largest_frames_that_never_end_do_not_shut_others_out() {
    // Kafka's default limit: two fill the memory.
    beside_a_crowd(40, 100 << 20);
}

/// A frame of any length is read, also where it is just as long as what needs no place in memory.
#[test]
fn no_length_of_a_frame_is_a_trap() {
    let (_home, broker) = broker(&[]);
    for around in [trialog_net::frame_memory::FREE, 64 << 10, 128 << 10] {
        for length in around - 6..around + 6 {
            // Metadata, version 1, of topics whose names fill it.
            let mut names = Vec::new();
            let mut count = 0_u32;
            while names.len() < length - 14 {
                let left = length - 14 - names.len();
                let name = if left < 400 { left - 2 } else { 200 };
                names.extend((name as u16).to_be_bytes());
                names.extend(vec![b'a'; name]);
                count += 1;
            }
            let mut frame = (length as u32).to_be_bytes().to_vec();
            frame.extend(b"\0\x03\0\x01\0\0\0\x01\xff\xff");
            frame.extend(count.to_be_bytes());
            frame.extend(names);
            assert_eq!(frame.len(), 4 + length);
            let mut stream = TcpStream::connect(broker.bootstrap()).expect("a connection");
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a socket option");
            stream.write_all(&frame).expect("sent");
            let answered = stream.read_exact(&mut [0; 8]);
            assert!(answered.is_ok(), "{length} bytes: {answered:?}");
        }
    }
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let (_home, broker) = broker(&[]);
    let mut client = broker.client();
    for n in 0..40 {
        let name = format!("topic-{n:050}");
        client.create_topic(&name, 1, &[]).expect("a topic");
    }
    let before = broker.resident_bytes();
    // Metadata of all topics, version 1, as often as the connection takes it; nothing is read.
    let request = b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\xff\xff\xff\xff".repeat(1000);
    let mut strangers: Vec<TcpStream> = (0..50).map(|_| stranger(&broker)).collect();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for stream in &mut strangers {
            let mut left = request.len();
            assert!(write_some(stream, &request, &mut left), "closed too early");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let taken = broker.resident_bytes().saturating_sub(before);
    assert!(taken < 50 * 4 * MIB, "{} MiB", taken / MIB);
    client.metadata().expect("an honest client is served");
}

#[test]
fn bytes_without_sense_end_the_connection_and_nothing_else() {
    let (_home, mut broker) = broker(&[]);
    let mut random = Random::new(7);
    let rounds = broker::full_or_smoke(20_000, 600);
    let (mut answered, mut closed) = (0, 0);
    let requests: Vec<Message> = codec::schemas()
        .into_iter()
        .filter(|schema| schema.name.ends_with("Request"))
        .filter(|schema| schema.id.is_some_and(|key| SERVED.contains(&key)))
        .collect();
    for _ in 0..rounds {
        let mut stream = TcpStream::connect(broker.bootstrap()).expect("the broker lives");
        let patience = Some(Duration::from_millis(20));
        stream.set_read_timeout(patience).expect("a socket option");
        // A request as it may be, any of all; then some of its bytes are others.
        let schema = &requests[random.below(requests.len())];
        let versions = (schema.versions.max - schema.versions.min + 1) as usize;
        let version = schema.versions.min + random.below(versions) as i16;
        let mut body = Vec::new();
        body.extend(schema.id.unwrap_or_default().to_be_bytes());
        body.extend(version.to_be_bytes());
        body.extend([0, 0, 0, 1, 0, 1, b'x']);
        if schema.flexible_from.is_some_and(|first| version >= first) {
            body.push(0);
        }
        body.extend(random::message(schema, version, &mut random).bytes);
        for _ in 0..random.below(3) {
            let at = random.below(body.len());
            match random.below(4) {
                0 => drop(body.splice(at..at, [0x7f, 0xff, 0xff, 0xff])),
                1 => drop(body.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                2 => body.truncate(at.max(1)),
                _ => body[at] = random.draw() as u8,
            }
        }
        let length = match random.below(10) {
            0 => random.draw() as u32,
            _ => body.len() as u32,
        };
        let _ = stream.write_all(&length.to_be_bytes());
        let _ = stream.write_all(&body);
        let mut answer = [0; 4];
        match stream.read(&mut answer) {
            Ok(0) => closed += 1,
            Ok(_) => answered += 1,
            // A reset is an end, too.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => closed += 1,
            Err(_) => {}
        }
    }
    println!("{rounds} connections: {answered} answered, {closed} closed");
    assert!(answered > rounds / 50 && closed > rounds / 5);
    assert!(broker.resident_bytes() < 100 * MIB);
    Client::metadata(&mut broker.client()).expect("an honest client is served");
    let (status, _) = broker.stop();
    assert!(status.success(), "{status}");
}
