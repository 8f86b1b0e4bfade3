//! The real node under madsim, behind the same loop: what it acknowledged is there after every kill of its process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use madsim::rand::{Rng, thread_rng};
use madsim::runtime::{Handle, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use trialog_core::config::Config;
use trialog_core::format::Format;
use trialog_core::ids::{DirId, Uuid};
use trialog_core::io::{Boot, LogDirBoot};
use trialog_core::node::Node;
use trialog_core::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use trialog_core::wire::create_topics_request::CreatableTopic;
use trialog_core::wire::fetch_request::{FetchPartition, FetchTopic};
use trialog_core::wire::produce_request::{PartitionProduceData, TopicProduceData};
use trialog_core::wire::{
    CreateTopicsRequest, FetchRequest, Parts, ProduceRequest, Request, decode_response,
    request_frame,
};
use trialog_net::disk::memory::{MemoryDisk, Volume};
use trialog_net::driver::{self, World};
use trialog_net::listen::{self, Listen};

const SERVER: &str = "10.0.0.1";
const PORT: u16 = 9092;
const TOPIC: &str = "kept";
const VALUES: u32 = 250;
const KILLS: u32 = 4;

/// A formatted log directory.
fn formatted(config: &Config) -> Volume {
    let volume = Volume::default();
    let root = volume.root();
    let directory_ids = [Uuid([7; 16])];
    let format = Format::new(config, "shell", &directory_ids);
    let files = format.files().expect("it can be formatted");
    for file in files.into_iter().flatten() {
        assert_eq!(file.dir, None, "a static quorum has no files below");
        volume.put(root, file.name, file.content.to_vec());
    }
    volume
}

async fn serve(config: Config, volume: Volume, seed: u64) {
    let listens = config.listeners().iter().map(|listener| Listen {
        name: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
    });
    let listens: Vec<Listen> = listens.collect();
    let (sockets, bound) = listen::bind(&listens).await.expect("the ports are free");
    let boot = Boot {
        boot_id: [1; 16],
        log_dirs: vec![LogDirBoot {
            dir: DirId(0),
            path: "/data".into(),
        }],
        listeners: bound,
    };
    let slowest = Duration::from_millis(3);
    let (_operator, stop) = mpsc::channel(1);
    let world = World {
        listeners: sockets,
        disk: Box::new(MemoryDisk::new(volume, &[(DirId(0), 0)], seed, slowest)),
        stop,
        connections_max: 100,
        frame_memory_bytes: 64 << 20,
        witness: None,
        ready: None,
    };
    let (ended, _disk) = driver::run(Node::new(config, [seed as u8; 32], boot), world).await;
    panic!("nobody asked it to stop: {ended:?}");
}

/// One connection that asks and waits.
struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    async fn connect() -> Option<Client> {
        let connecting = TcpStream::connect((SERVER, PORT));
        let stream = timeout(Duration::from_secs(2), connecting)
            .await
            .ok()?
            .ok()?;
        Some(Client {
            stream,
            correlation_id: 0,
        })
    }

    /// The answer; `None` if the connection ends before it.
    async fn ask<R: Request>(&mut self, version: i16, body: &R) -> Option<R::Response> {
        self.correlation_id += 1;
        let frame = request_frame(version, self.correlation_id, None, body).expect("it fits");
        let answered = async {
            self.stream.write_all(&frame.to_bytes()).await.ok()?;
            self.stream.flush().await.ok()?;
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).await.ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        let frame = timeout(Duration::from_secs(10), answered).await.ok()??;
        let (id, response) = decode_response::<R>(frame, version).expect("an answer");
        assert_eq!(id, self.correlation_id, "answers in order");
        Some(response)
    }

    async fn produce(&mut self, value: u32) -> Option<i16> {
        let records = [RecordToWrite {
            value: Some(Bytes::copy_from_slice(&value.to_be_bytes())),
            ..RecordToWrite::default()
        }];
        let body = ProduceRequest {
            acks: -1,
            timeout_ms: 5_000,
            topic_data: vec![TopicProduceData {
                name: TOPIC.into(),
                partition_data: vec![PartitionProduceData {
                    records: Some(encode_batch(BatchOptions::default(), &records)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(9, &body).await?;
        Some(answer.responses[0].partition_responses[0].error_code.0)
    }

    /// Bytes from `offset` on; `None` if they cannot be had now.
    async fn fetch(&mut self, offset: i64) -> Option<Bytes> {
        let partition = FetchPartition {
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let body = FetchRequest {
            max_bytes: 1 << 20,
            topics: vec![FetchTopic {
                topic: TOPIC.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(11, &body).await?;
        let partition = &answer.responses.first()?.partitions[0];
        let fine = partition.error_code.0 == 0;
        let records = partition.records.as_ref().map(Parts::to_bytes);
        fine.then_some(records.unwrap_or_default())
    }
}

/// Produces every value until it is acknowledged, then reads all of them; tells how many connections it took.
async fn client() -> u32 {
    let mut connection: Option<Client> = None;
    let mut connections = 0;
    let mut next = 0;
    while next < VALUES {
        let Some(open) = &mut connection else {
            sleep(Duration::from_millis(20)).await;
            connection = Client::connect().await;
            if let Some(open) = &mut connection {
                connections += 1;
                let topic = CreatableTopic {
                    name: TOPIC.into(),
                    num_partitions: 1,
                    replication_factor: 1,
                    ..Default::default()
                };
                let body = CreateTopicsRequest {
                    topics: vec![topic],
                    ..Default::default()
                };
                // It exists from the second time on.
                if open.ask(5, &body).await.is_none() {
                    connection = None;
                }
            }
            continue;
        };
        match open.produce(next).await {
            Some(0) => next += 1,
            Some(_) => sleep(Duration::from_millis(20)).await,
            None => connection = None,
        }
    }
    let mut found = Vec::new();
    let mut offset = 0;
    let mut tries = 0;
    while found.last() != Some(&(VALUES - 1)) {
        tries += 1;
        assert!(tries < 1_000, "acknowledged and not found after {found:?}");
        let block = match &mut connection {
            Some(open) => open.fetch(offset).await,
            None => None,
        };
        let Some(block) = block else {
            sleep(Duration::from_millis(20)).await;
            connection = Client::connect().await;
            continue;
        };
        for batch in trialog_core::wire::batch::batches(&block).flatten() {
            offset = batch.header.next_offset().0;
            // A record of one null key and a value of four bytes: its value ends before the count of its headers.
            let records = batch.records();
            let value = records[records.len() - 5..records.len() - 1].try_into();
            found.push(u32::from_be_bytes(value.expect("4 bytes")));
        }
    }
    // A value may be there twice: it was written, and its answer died with the connection.
    assert!(found.is_sorted(), "{found:?}");
    found.dedup();
    assert_eq!(found, (0..VALUES).collect::<Vec<_>>());
    connections
}

/// One run: the client against the node, whose process is killed now and then.
pub fn simulate(seed: u64) {
    let listeners = [
        (
            "listeners",
            "PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093",
        ),
        ("advertised.listeners", "PLAINTEXT://10.0.0.1:9092"),
        ("log.segment.bytes", "1048576"),
    ];
    let config = Config::single(1, &["/data"], &listeners).expect("a configuration");
    let volume = formatted(&config);
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    let (config, volume) = (Arc::new(config), Arc::new(volume));
    let init = move || serve(Config::clone(&config), Volume::clone(&volume), seed);
    let ip = SERVER.parse().expect("an address");
    let server = runtime
        .create_node()
        .name("server")
        .ip(ip)
        .init(init)
        .build();
    let ip = "10.0.1.1".parse().expect("an address");
    let node = runtime.create_node().name("client").ip(ip).build();
    runtime.block_on(async {
        let running = node.spawn(client());
        for _ in 0..KILLS {
            sleep(Duration::from_millis(thread_rng().gen_range(100..1_000))).await;
            Handle::current().kill(server.id());
            sleep(Duration::from_millis(thread_rng().gen_range(0..300))).await;
            Handle::current().restart(server.id());
        }
        let ended = timeout(Duration::from_secs(120), running).await;
        ended
            .expect("it makes progress")
            .expect("every promise is kept");
    });
}
