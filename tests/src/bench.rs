//! A lean load for side-by-side measurements: prepared frames out, whole frames in, nothing decoded that need not be.
//!
//! Owns the load's threads, pinned to one core away from the broker's, and the reading of the broker's CPU time and memory. It
//! never judges content; the tests of clients do.

use crate::broker::{Broker, Kind, Setup};
use crate::client::{FETCH, PLAIN, PRODUCE, batch, produce_request, text};
use bytes::BytesMut;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::Encodable;
use kafka_protocol::records::Compression;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The broker's core.
pub const BROKER_CORE: usize = 0;
/// The load's core.
pub const LOAD_CORE: usize = 1;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Produce, 64 KiB batches, acks=1.
    ProduceWritten,
    /// Produce, 64 KiB batches, acks=all and durable (Apache Kafka: `flush.messages=1`).
    ProduceDurable,
    /// Fetch of 64 KiB a request from warm memory.
    Fetch,
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes to move before the clock starts.
    pub warm_bytes: u64,
    /// Bytes to move on the clock.
    pub bytes: u64,
    /// And the longest that this may take.
    pub longest: Duration,
    /// Connections, each with a partition of its own.
    pub connections: usize,
    /// Requests in flight on each.
    pub in_flight: usize,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Whose broker.
    pub kind: Kind,
    /// What.
    pub work: Work,
    /// Payload that moved on the clock.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// The broker's CPU time.
    pub cpu_seconds: f64,
    /// The broker's resident memory at the end.
    pub resident_bytes: u64,
    /// Milliseconds from request to answer, median and 99th percentile.
    pub latency_ms: (f64, f64),
}

impl Measured {
    /// 10^6 bytes a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// The broker's CPU seconds for 10^9 bytes.
    pub fn cpu_seconds_per_gigabyte(&self) -> f64 {
        self.cpu_seconds * 1e9 / self.bytes as f64
    }

    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "broker": format!("{:?}", self.kind).to_lowercase(),
            "work": format!("{:?}", self.work),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "mb_per_second": self.megabytes_per_second(),
            "cpu_seconds_per_gb": self.cpu_seconds_per_gigabyte(),
            "resident_bytes": self.resident_bytes,
            "latency_p50_ms": self.latency_ms.0,
            "latency_p99_ms": self.latency_ms.1,
        })
    }
}

/// Writes and deletes a large file: a guest's memory is slow until it was touched once.
pub fn warm_memory(directory: &std::path::Path, bytes: u64) -> io::Result<()> {
    let path = directory.join("warm");
    let mut file = std::fs::File::create(&path)?;
    let block = vec![0x5a; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    drop(file);
    std::fs::remove_file(path)
}

/// What is recorded meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Nothing.
    Nothing,
    /// Everything but the clients' records.
    Redacted,
    /// Everything.
    WithPayloads,
}

/// Starts a fresh broker on its core and measures each work in turn.
pub fn measure(kind: Kind, works: &[Work], size: Size) -> Vec<Measured> {
    measure_recorded(kind, Recording::Nothing, works, size)
}

/// As [`measure`], with a recording.
pub fn measure_recorded(
    kind: Kind,
    recording: Recording,
    works: &[Work],
    size: Size,
) -> Vec<Measured> {
    let home = tempfile::tempdir().expect("a home");
    let recordings = home.path().join("recordings");
    let recordings = recordings.to_str().expect("text");
    let arguments: &[&str] = match recording {
        Recording::Nothing => &[],
        Recording::Redacted => &["--record", recordings],
        Recording::WithPayloads => &["--record", recordings, "--record-payloads"],
    };
    let setup = Setup::new(kind, home.path(), &home.path().join("data"))
        .on_core(BROKER_CORE)
        .with_arguments(arguments)
        .with_heap("1g");
    setup.format();
    let broker = setup.start();
    works
        .iter()
        .map(|work| one(kind, &broker, *work, size))
        .collect()
}

fn one(kind: Kind, broker: &Broker, work: Work, size: Size) -> Measured {
    let topic = format!("{work:?}");
    let durable: &[(&str, &str)] = if work == Work::ProduceDurable && kind == Kind::Kafka {
        &[("flush.messages", "1")]
    } else {
        &[]
    };
    broker
        .client()
        .create_topic(&topic, size.connections as i32, durable)
        .expect("a topic");
    let load =
        |bytes: u64| run(broker, work, &topic, size, bytes).expect("the load runs to its end");
    if work == Work::Fetch {
        run(
            broker,
            Work::ProduceWritten,
            &topic,
            size,
            size.warm_bytes.max(64 << 20),
        )
        .expect("something to fetch");
    }
    load(size.warm_bytes);
    let (cpu, began) = (broker.cpu_seconds(), Instant::now());
    let (bytes, mut latencies) = load(size.bytes);
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| {
        latencies
            .get(((latencies.len() as f64 - 1.0) * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    Measured {
        kind,
        work,
        bytes,
        seconds,
        cpu_seconds: broker.cpu_seconds() - cpu,
        resident_bytes: broker.resident_bytes(),
        latency_ms: (at(0.5), at(0.99)),
    }
}

/// Moves `bytes` over all connections together; payload that moved, and the latencies.
fn run(
    broker: &Broker,
    work: Work,
    topic: &str,
    size: Size,
    bytes: u64,
) -> io::Result<(u64, Vec<f64>)> {
    let share = bytes / size.connections as u64;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size.connections)
            .map(|partition| {
                scope.spawn(move || {
                    pin(LOAD_CORE);
                    Lane::open(broker, work, topic, partition as i32)?.run(
                        share,
                        size.in_flight,
                        size.longest,
                    )
                })
            })
            .collect();
        let mut total = (0, Vec::new());
        for thread in threads {
            let (moved, latencies) = thread.join().expect("a lane")?;
            total.0 += moved;
            total.1.extend(latencies);
        }
        Ok(total)
    })
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // On a machine with one core the load runs beside the broker, and the figures say little.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// One connection and the frame that it repeats.
struct Lane {
    stream: TcpStream,
    frame: Vec<u8>,
    /// Where the fetch offset stands in the frame.
    offset_at: Option<usize>,
    payload: u64,
    end: i64,
}

impl Lane {
    fn open(broker: &Broker, work: Work, topic: &str, partition: i32) -> io::Result<Lane> {
        let mut frame = BytesMut::from(&[0; 4][..]);
        let values = vec![vec![0x61; 1000]; 65];
        let payload = batch(&values, PLAIN, Compression::None);
        let (mut offset_at, mut end) = (None, 0);
        match work {
            Work::ProduceWritten | Work::ProduceDurable => {
                let acks = if work == Work::ProduceWritten { 1 } else { -1 };
                header(ApiKey::Produce, PRODUCE)
                    .encode(&mut frame, 2)
                    .map_err(io::Error::other)?;
                produce_request(topic, partition, acks, payload.clone())
                    .encode(&mut frame, PRODUCE)
                    .map_err(io::Error::other)?;
            }
            Work::Fetch => {
                end = broker.client().offset_of(topic, partition, -1)?.1;
                header(ApiKey::Fetch, FETCH)
                    .encode(&mut frame, 2)
                    .map_err(io::Error::other)?;
                const MARK: i64 = 0x1122_3344_5566_7788;
                fetch_request(topic, partition, MARK)
                    .encode(&mut frame, FETCH)
                    .map_err(io::Error::other)?;
                offset_at = frame
                    .windows(8)
                    .position(|window| window == MARK.to_be_bytes());
            }
        }
        let length = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let stream = TcpStream::connect(broker.bootstrap())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Lane {
            stream,
            frame: frame.to_vec(),
            offset_at,
            payload: payload.len() as u64,
            end,
        })
    }

    fn run(
        mut self,
        bytes: u64,
        in_flight: usize,
        longest: Duration,
    ) -> io::Result<(u64, Vec<f64>)> {
        let until = Instant::now() + longest;
        let mut sent: VecDeque<Instant> = VecDeque::new();
        let (mut asked, mut moved, mut latencies) = (0, 0, Vec::new());
        let mut next = 0i64;
        let mut answer = vec![0; 256 << 10];
        loop {
            while sent.len() < in_flight && asked < bytes && Instant::now() < until {
                if let Some(at) = self.offset_at {
                    // 65 records a batch: every request names the start of one.
                    next = if next + 65 > self.end { 0 } else { next };
                    self.frame[at..at + 8].copy_from_slice(&next.to_be_bytes());
                    next += 65;
                }
                sent.push_back(Instant::now());
                self.stream.write_all(&self.frame)?;
                asked += self.payload;
            }
            let Some(since) = sent.pop_front() else {
                return Ok((moved, latencies));
            };
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > answer.len() {
                return Err(io::Error::other(format!("an answer of {length} bytes")));
            }
            self.stream.read_exact(&mut answer[..length])?;
            latencies.push(since.elapsed().as_secs_f64() * 1e3);
            moved += self.judged(&answer[..length])?;
        }
    }

    /// Payload that one answer is worth; an error code in it ends the run.
    fn judged(&self, answer: &[u8]) -> io::Result<u64> {
        if self.offset_at.is_some() {
            return Ok(answer.len() as u64);
        }
        // Correlation, tags, one topic of one name, one partition, its index: then the error code.
        let name = answer.get(6).copied().unwrap_or(1) as usize - 1;
        match answer.get(7 + name + 1 + 4..7 + name + 1 + 6) {
            Some([0, 0]) => Ok(self.payload),
            other => Err(io::Error::other(format!(
                "a batch was answered with error {other:?}"
            ))),
        }
    }
}

fn header(key: ApiKey, version: i16) -> RequestHeader {
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(text("bench")))
}

fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let part = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(64 << 10);
    FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(64 << 10)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(TopicName(text(topic)))
                .with_partitions(vec![part]),
        ])
}

/// For people.
pub fn table(lines: &[Measured]) -> String {
    let mut out = format!(
        "{:<16} {:<8} {:>9} {:>10} {:>9} {:>9} {:>9}\n",
        "work", "broker", "MB/s", "CPU s/GB", "p50 ms", "p99 ms", "RSS MB"
    );
    for m in lines {
        out += &format!(
            "{:<16} {:<8} {:>9.1} {:>10.3} {:>9.2} {:>9.2} {:>9.1}\n",
            format!("{:?}", m.work),
            format!("{:?}", m.kind),
            m.megabytes_per_second(),
            m.cpu_seconds_per_gigabyte(),
            m.latency_ms.0,
            m.latency_ms.1,
            m.resident_bytes as f64 / 1e6
        );
    }
    out
}
