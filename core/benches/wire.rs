//! How long it takes to read and write the messages of the hot path, with records of 64 KiB. `cargo bench -p trialog-core`.
//!
//! Prints the median in nanoseconds and fails if reading takes twice what it should: less than a copy of the records would take.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a benchmark is a driver: it reads the clock and prints"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use trialog_core::ids::Uuid;
use trialog_core::wire::{self, ApiKey, ErrorCode, Message, Reader, RequestHeader};
use wire::{fetch_request, fetch_response, produce_request, produce_response};

/// What reading one message should stay below.
const READ_NS_AIM: f64 = 300.0;
/// 120 to 190 ns were seen, and a slow build machine may take thrice that; to copy 64 KiB takes above 2,000 ns.
const READ_NS_MAX: f64 = 2.0 * READ_NS_AIM;

const RUNS: usize = 31;
const CALLS: u32 = 20_000;

/// The median over some runs of the time of one call.
fn median_ns(mut call: impl FnMut()) -> f64 {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

/// A frame as a connection gives it: without its length, in shared memory.
fn frame(parts: &wire::Parts) -> Bytes {
    let frame = parts.to_bytes();
    drop(frame.clone());
    frame.slice(4..)
}

fn read_request<M: Message>(frame: &Bytes) {
    let mut reader = Reader::new(black_box(frame).clone());
    let header = RequestHeader::decode(&mut reader).expect("a header");
    black_box(M::decode(&mut reader, header.version).expect("a body"));
}

fn produce(records: &Bytes) -> wire::ProduceRequest {
    let partition = produce_request::PartitionProduceData {
        index: 3,
        records: Some(records.clone()),
        ..Default::default()
    };
    let topic = produce_request::TopicProduceData {
        topic_id: Uuid([7; 16]),
        partition_data: vec![partition],
        ..Default::default()
    };
    wire::ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

fn produced() -> wire::ProduceResponse {
    let partition = produce_response::PartitionProduceResponse {
        index: 3,
        base_offset: 12_345,
        ..Default::default()
    };
    let topic = produce_response::TopicProduceResponse {
        topic_id: Uuid([7; 16]),
        partition_responses: vec![partition],
        ..Default::default()
    };
    wire::ProduceResponse {
        responses: vec![topic],
        ..Default::default()
    }
}

fn fetch() -> wire::FetchRequest {
    let partition = fetch_request::FetchPartition {
        partition: 3,
        fetch_offset: 12_345,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic {
        topic_id: Uuid([7; 16]),
        partitions: vec![partition],
        ..Default::default()
    };
    wire::FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn fetched(records: &Bytes) -> wire::FetchResponse {
    let partition = fetch_response::PartitionData {
        partition_index: 3,
        error_code: ErrorCode::NONE,
        high_watermark: 12_345,
        records: Some(records.clone().into()),
        ..Default::default()
    };
    let topic = fetch_response::FetchableTopicResponse {
        topic_id: Uuid([7; 16]),
        partitions: vec![partition],
        ..Default::default()
    };
    wire::FetchResponse {
        responses: vec![topic],
        ..Default::default()
    }
}

fn main() -> ExitCode {
    let records = Bytes::from(vec![5; 64 * 1024]);
    drop(records.clone());
    let client = Some(wire::Str::from("producer-1"));
    let (produce_version, fetch_version) = (
        *ApiKey::Produce.versions().end(),
        *ApiKey::Fetch.versions().end(),
    );
    let produce_frame = frame(
        &wire::request_frame(produce_version, 1, client.clone(), &produce(&records))
            .expect("encodes"),
    );
    let fetch_frame =
        frame(&wire::request_frame(fetch_version, 1, client, &fetch()).expect("encodes"));
    let fetched_frame = frame(
        &wire::response_frame(ApiKey::Fetch, fetch_version, 1, &fetched(&records))
            .expect("encodes"),
    );
    let (produced, fetched) = (produced(), fetched(&records));

    let reads = [
        (
            "read  Produce request, 64 KiB",
            median_ns(|| read_request::<wire::ProduceRequest>(&produce_frame)),
        ),
        (
            "read  Fetch request",
            median_ns(|| read_request::<wire::FetchRequest>(&fetch_frame)),
        ),
        (
            "read  Fetch response, 64 KiB",
            median_ns(|| {
                black_box(
                    wire::decode_response::<wire::FetchRequest>(
                        black_box(&fetched_frame).clone(),
                        fetch_version,
                    )
                    .expect("decodes"),
                );
            }),
        ),
    ];
    let writes = [
        (
            "write Produce response",
            median_ns(|| {
                black_box(
                    wire::response_frame(ApiKey::Produce, produce_version, 1, black_box(&produced))
                        .expect("encodes"),
                );
            }),
        ),
        (
            "write Fetch response, 64 KiB",
            median_ns(|| {
                black_box(
                    wire::response_frame(ApiKey::Fetch, fetch_version, 1, black_box(&fetched))
                        .expect("encodes"),
                );
            }),
        ),
    ];
    for (what, ns) in reads.iter().chain(&writes) {
        println!("{what:32} {ns:8.1} ns");
    }
    if let Some((what, ns)) = reads.iter().find(|(_, ns)| *ns > READ_NS_MAX) {
        println!("FAILED: {what} takes {ns:.0} ns, should take {READ_NS_AIM}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
