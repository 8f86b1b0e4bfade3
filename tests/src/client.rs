//! A client of the raw protocol on one blocking connection, over the public codec: independent of the codec under test.
//!
//! It hides no error: what was answered is returned, what was not is an `io::Error`.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    MetadataResponse, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Versions that the tests speak where the version does not matter: the last ones that name topics by name.
pub const PRODUCE: i16 = 12;
/// See [`PRODUCE`].
pub const FETCH: i16 = 12;

/// One connection.
pub struct Client {
    stream: TcpStream,
    correlation: i32,
}

/// The text of the public codec's own type.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn malformed(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl Client {
    /// Connects; every read waits up to 30 seconds.
    pub fn connect(bootstrap: &str) -> io::Result<Client> {
        let address = bootstrap.parse().map_err(malformed)?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client {
            stream,
            correlation: 0,
        })
    }

    /// Connects as soon as someone listens, for up to `patience`.
    pub fn connect_within(bootstrap: &str, patience: Duration) -> io::Result<Client> {
        let until = Instant::now() + patience;
        loop {
            match Client::connect(bootstrap) {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                result => return result,
            }
        }
    }

    /// How long a read waits.
    pub fn patience(&mut self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a positive time");
    }

    /// The connection itself, for bytes that no codec makes.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends one request and returns its correlation id.
    pub fn send<R: Request>(&mut self, version: i16, body: &R) -> io::Result<i32> {
        self.send_as(version, version, body)
    }

    /// Sends a request of `version` in the form of `known`, for a version that the codec does not know and that looks like an older one.
    pub fn send_as<R: Request>(&mut self, version: i16, known: i16, body: &R) -> io::Result<i32> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(text("trialog-tests")));
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&[0; 4]);
        header
            .encode(&mut frame, R::header_version(known))
            .map_err(malformed)?;
        body.encode(&mut frame, known).map_err(malformed)?;
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame)?;
        Ok(self.correlation)
    }

    /// One frame, without its length.
    pub fn frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// The answer to the request that was sent with this correlation id and version.
    pub fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation: i32,
    ) -> io::Result<R::Response> {
        let mut frame = self.frame()?;
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .map_err(malformed)?;
        if header.correlation_id != correlation {
            return Err(malformed(format!(
                "answer {} where {correlation} was due",
                header.correlation_id
            )));
        }
        let answer = R::Response::decode(&mut frame, version).map_err(malformed)?;
        if !frame.is_empty() {
            return Err(malformed(format!("{} bytes after the answer", frame.len())));
        }
        Ok(answer)
    }

    /// One request and its answer.
    pub fn call<R: Request>(&mut self, version: i16, body: &R) -> io::Result<R::Response> {
        let correlation = self.send(version, body)?;
        self.receive::<R>(version, correlation)
    }

    /// Every topic and broker.
    pub fn metadata(&mut self) -> io::Result<MetadataResponse> {
        self.call(12, &MetadataRequest::default().with_topics(None))
    }

    /// Does it know itself as a broker, and if asked for, answer for every partition?
    pub fn serves(&mut self, all_open: bool) -> bool {
        self.patience(Duration::from_secs(2));
        let Ok(metadata) = self.metadata() else {
            return false;
        };
        let topics = metadata
            .topics
            .iter()
            .filter_map(|topic| Some((topic.name.as_ref()?.0.to_string(), topic.partitions.len())));
        let open = |client: &mut Client| {
            topics
                .into_iter()
                .all(|(name, n)| client.all_open(&name, n as i32).unwrap_or(false))
        };
        !metadata.brokers.is_empty() && (!all_open || open(self))
    }

    /// Creates a topic and waits until every partition has a leader.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> io::Result<()> {
        let configs = configs
            .iter()
            .map(|(k, v)| {
                CreatableTopicConfig::default()
                    .with_name(text(k))
                    .with_value(Some(text(v)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let answer = self.call(
            7,
            &CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(30_000),
        )?;
        match answer.topics.first().map(|topic| topic.error_code) {
            Some(0) => {}
            other => {
                return Err(malformed(format!(
                    "creating {name} was answered with error {other:?}"
                )));
            }
        }
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let metadata = self.metadata()?;
            let topic = metadata
                .topics
                .iter()
                .find(|t| t.name.as_ref().is_some_and(|n| n.0.as_str() == name));
            let led = topic.map_or(0, |t| {
                t.partitions
                    .iter()
                    .filter(|p| p.error_code == 0 && p.leader_id.0 >= 0)
                    .count()
            });
            // A broker may tell of a leader a moment before it has opened the log.
            if led == partitions as usize && self.all_open(name, partitions)? {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(malformed(format!(
                    "{led} of {partitions} partitions of {name} have a leader"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn all_open(&mut self, topic: &str, partitions: i32) -> io::Result<bool> {
        for partition in 0..partitions {
            if self.offset_of(topic, partition, -1)?.0 != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A new idempotent producer: id and epoch. A broker that still fetches its block of ids (error 14) is asked again.
    pub fn init_producer_id(&mut self) -> io::Result<(i64, i16)> {
        let body = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = self.call(4, &body)?;
            match answer.error_code {
                0 => return Ok((answer.producer_id.0, answer.producer_epoch)),
                14 if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                error => {
                    return Err(malformed(format!(
                        "InitProducerId was answered with error {error}"
                    )));
                }
            }
        }
    }

    /// Sends batches to one partition: error code and base offset.
    pub fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        batches: Bytes,
    ) -> io::Result<(i16, i64)> {
        let correlation = self.send(PRODUCE, &produce_request(topic, partition, acks, batches))?;
        self.produced(correlation)
    }

    /// The answer to a [`produce_request`] of one partition.
    pub fn produced(&mut self, correlation: i32) -> io::Result<(i16, i64)> {
        let answer = self.receive::<ProduceRequest>(PRODUCE, correlation)?;
        let partition = answer
            .responses
            .first()
            .and_then(|topic| topic.partition_responses.first());
        partition
            .map(|p| (p.error_code, p.base_offset))
            .ok_or_else(|| malformed("an answer without the partition"))
    }

    /// One fetch of one partition, waiting up to half a second for bytes.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<PartitionData> {
        let part = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let body = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_topics(vec![
                FetchTopic::default()
                    .with_topic(TopicName(text(topic)))
                    .with_partitions(vec![part]),
            ]);
        let answer = self.call(FETCH, &body)?;
        answer
            .responses
            .into_iter()
            .next()
            .and_then(|t| t.partitions.into_iter().next())
            .ok_or_else(|| malformed("an answer without the partition"))
    }

    /// The offset of a special timestamp (-2 earliest, -1 latest): error code and offset.
    pub fn offset_of(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> io::Result<(i16, i64)> {
        let part = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![part]);
        let answer = self.call(
            8,
            &ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_topics(vec![topic]),
        )?;
        let partition = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first());
        partition
            .map(|p| (p.error_code, p.offset))
            .ok_or_else(|| malformed("an answer without the partition"))
    }

    /// All records of a partition, from its start to its end as it is at the call.
    pub fn read_all(&mut self, topic: &str, partition: i32) -> io::Result<Vec<Record>> {
        let fine = |(error, offset)| {
            if error == 0 {
                Ok(offset)
            } else {
                Err(malformed(format!(
                    "ListOffsets was answered with error {error}"
                )))
            }
        };
        let mut next = fine(self.offset_of(topic, partition, -2)?)?;
        let end = fine(self.offset_of(topic, partition, -1)?)?;
        let mut records = Vec::new();
        while next < end {
            let part = self.fetch(topic, partition, next)?;
            if part.error_code != 0 {
                return Err(malformed(format!(
                    "fetching {topic}-{partition} at {next} was answered with error {}",
                    part.error_code
                )));
            }
            let found = records_of(part.records.unwrap_or_default()).map_err(malformed)?;
            records.extend(found.into_iter().filter(|record| record.offset >= next));
            match records.last() {
                Some(last) if last.offset >= next => next = last.offset + 1,
                _ => {
                    return Err(malformed(format!(
                        "{topic}-{partition} has no record at {next}, below its end {end}"
                    )));
                }
            }
        }
        Ok(records)
    }
}

/// The records in a fetch answer, without an incomplete batch at its end.
pub fn records_of(mut batches: Bytes) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    while batches.len() >= 12 {
        let length =
            12 + u32::from_be_bytes([batches[8], batches[9], batches[10], batches[11]]) as usize;
        if batches.len() < length {
            break;
        }
        let mut batch = batches.split_to(length);
        records.extend(
            RecordBatchDecoder::decode(&mut batch)
                .map_err(|error| error.to_string())?
                .records,
        );
    }
    Ok(records)
}

/// A produce request of one partition.
pub fn produce_request(topic: &str, partition: i32, acks: i16, batches: Bytes) -> ProduceRequest {
    let part = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batches));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data(vec![part]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// Who writes a batch: producer id, epoch, and the sequence number of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// -1: not idempotent.
    pub id: i64,
    /// -1: not idempotent.
    pub epoch: i16,
    /// -1: not idempotent.
    pub sequence: i32,
}

/// No idempotence.
pub const PLAIN: Producer = Producer {
    id: -1,
    epoch: -1,
    sequence: -1,
};

/// One batch of values, without keys.
pub fn batch(values: &[Vec<u8>], producer: Producer, compression: Compression) -> Bytes {
    encoded(values, producer, false, compression)
}

/// The same as a part of a transaction, not compressed.
pub fn transactional_batch(values: &[Vec<u8>], producer: Producer) -> Bytes {
    encoded(values, producer, true, Compression::None)
}

fn encoded(
    values: &[Vec<u8>],
    producer: Producer,
    transactional: bool,
    compression: Compression,
) -> Bytes {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as i64;
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(n, value)| Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timestamp_type: TimestampType::Creation,
            offset: n as i64,
            sequence: producer.sequence.wrapping_add(n as i32), // the codec derives the base from each record
            timestamp: now,
            key: None,
            value: Some(Bytes::copy_from_slice(value)),
            headers: Default::default(),
        })
        .collect();
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(
        &mut out,
        &records,
        &RecordEncodeOptions {
            version: 2,
            compression,
        },
    )
    .expect("a batch of fresh records");
    out.freeze()
}
