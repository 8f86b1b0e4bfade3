//! Bytes that nobody who means well would send: no frame may break a node, whatever it does to its own connection.

use bytes::Bytes;

use super::stories::{create_topic, fetch, produce};
use super::world::World;
use crate::api::served;
use crate::ids::Uuid;
use crate::rng::keyed;
use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use crate::wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::*;

/// Mutated frames in all. Each costs a few steps.
const FRAMES: u64 = 6000;

fn frame<R: Request>(frames: &mut Vec<Bytes>, request: &R) {
    for version in R::API.versions() {
        // Some versions lack a field that is set here.
        if let Ok(parts) = request_frame(version, 1, Some("h".into()), request) {
            frames.push(parts.to_bytes().slice(4..));
        }
    }
}

/// Requests that make sense, of every API that is served, in every version.
fn sensible(topic: Uuid) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let all = &mut frames;
    frame(all, &ApiVersionsRequest::default());
    frame(all, &MetadataRequest::default());
    frame(all, &DescribeClusterRequest::default());
    let mut records = produce(-1, topic, 0, &["a", "b"]);
    records.topic_data[0].name = "t".into();
    frame(all, &records);
    let options = BatchOptions {
        producer_id: crate::ids::ProducerId(1),
        producer_epoch: 0,
        base_sequence: 0,
        ..Default::default()
    };
    let batch = encode_batch(options, &[RecordToWrite::default()]);
    records.topic_data[0].partition_data[0].records = Some(batch);
    frame(all, &records);
    let mut session = fetch(topic, 0);
    session.topics[0].topic = "t".into();
    session.max_wait_ms = 1;
    frame(all, &session);
    session.session_epoch = 0;
    frame(all, &session);
    let offsets = ListOffsetsTopic {
        name: "t".into(),
        partitions: vec![ListOffsetsPartition {
            timestamp: -3,
            ..Default::default()
        }],
        ..Default::default()
    };
    frame(
        all,
        &ListOffsetsRequest {
            replica_id: -1,
            topics: vec![offsets],
            ..Default::default()
        },
    );
    let epochs = OffsetForLeaderTopic {
        topic: "t".into(),
        partitions: vec![OffsetForLeaderPartition::default()],
        ..Default::default()
    };
    frame(
        all,
        &OffsetForLeaderEpochRequest {
            topics: vec![epochs],
            ..Default::default()
        },
    );
    let deletion = DeleteRecordsTopic {
        name: "t".into(),
        partitions: vec![DeleteRecordsPartition {
            offset: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    frame(
        all,
        &DeleteRecordsRequest {
            topics: vec![deletion],
            timeout_ms: 1,
            ..Default::default()
        },
    );
    frame(all, &super::stories::topic_request("u", 1));
    frame(
        all,
        &CreatePartitionsRequest {
            topics: vec![create_partitions_request::CreatePartitionsTopic {
                name: "t".into(),
                count: 2,
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        },
    );
    frame(
        all,
        &InitProducerIdRequest {
            transactional_id: None,
            ..Default::default()
        },
    );
    frame(
        all,
        &DescribeConfigsRequest {
            resources: vec![describe_configs_request::DescribeConfigsResource {
                resource_type: 2,
                resource_name: "t".into(),
                configuration_keys: None,
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    frame(
        all,
        &DeleteTopicsRequest {
            topic_names: vec!["v".into()],
            timeout_ms: 1000,
            ..Default::default()
        },
    );
    frames
}

/// A frame with some of its bytes changed, cut, or doubled.
fn mutated(frame: &Bytes, nth: u64) -> Vec<u8> {
    let draw = |what: u64, below: usize| {
        let bits = keyed(1, 2, [nth, what]);
        usize::try_from(bits % (below as u64).max(1)).unwrap_or(0)
    };
    let mut bytes = frame.to_vec();
    for change in 0..=draw(0, 3) as u64 {
        let at = draw(10 * change + 1, bytes.len());
        let telling = [
            0x00,
            0x01,
            0x7f,
            0x80,
            0xff,
            draw(10 * change + 2, 256) as u8,
        ];
        let value = telling[draw(10 * change + 3, telling.len())];
        match draw(10 * change + 4, 8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), value),
            2 => bytes.extend_from_within(at.min(bytes.len())..),
            3 => {
                // A number, as long as numbers are.
                let end = (at + 8).min(bytes.len());
                bytes[at.min(end)..end].fill(value);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
        }
    }
    bytes
}

#[test]
fn no_frame_breaks_a_node() {
    let mut world = World::ready();
    let mut conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let frames = sensible(topic);
    let served: usize = served::apis(false)
        .iter()
        .map(|api| api.versions().count())
        .sum();
    assert!(
        frames.len() > served / 2,
        "{} frames for {served} versions",
        frames.len()
    );
    let mut closed = 0;
    for nth in 0..FRAMES {
        let frame = &frames[usize::try_from(nth).unwrap() % frames.len()];
        world.send_raw(conn, mutated(frame, nth));
        world.settle();
        world.pass(std::time::Duration::from_millis(2));
        world.read_all(conn);
        if world.closed(conn).is_some() || nth % 50 == 0 {
            closed += u64::from(world.closed(conn).is_some());
            world.hang_up(conn);
            conn = world.connect();
        }
        assert!(
            world.halted.is_none(),
            "frame {nth} stopped the node: {:?}",
            world.halted
        );
    }
    assert!(closed > FRAMES / 20, "only {closed} frames were bad");
    assert!(closed < FRAMES, "no frame was good");
    let request = fetch(topic, 0);
    let response = world.ask(conn, 17, &request);
    assert!(
        response.error_code == ErrorCode::NONE,
        "the node still serves"
    );
}
