//! Stories of the metadata log: bytes that Apache Kafka 4.3.1 wrote, and what they say. Touches no disk.

use bytes::Bytes;

use super::*;
use crate::ids::{LeaderEpoch, NodeId, Offset, Uuid};
use crate::metadata::features;
use crate::wire::batch::batches;
use crate::wire::{FeatureLevelRecord, MetadataRecord};

/// `bootstrap.checkpoint` of a formatted directory.
const BOOTSTRAP: &str = "0000000000000000000000470000000002d530630c002000000000000001a2031f8fb9000001a2031f8fb9ffffffffffffffffffffffffffff000000012a00000008000000031600000000000000000000000000000000000000010000004f00000000021aa8541b000000000000000001a2031f8fd6000001a2031f8fd6ffffffffffffffffffffffffffff000000013a000000012e010c00116d657461646174612e76657273696f6e001e000000000000000000020000003f000000000219dcd060002000000000000001a2031f8fd7000001a2031f8fd7ffffffffffffffffffffffffffff000000011a00000008000000040600000000";
/// `00000000000000000000-0000000000.checkpoint` of a directory formatted with `--standalone`.
const STANDALONE: &str = "00000000000000000000009a000000000225c8b95c002000000002000001a2032d9d96000001a2032d9d96ffffffffffffffffffffffffffff000000032a0000000800000003160000000001a2032d9d7e00001e00000208000000050a000000010000820100000408000000066e000002000000019cb2305a959444938234b5a91f8472f3020b434f4e54524f4c4c45520a3132372e302e302e31d8bb00000000010000000000000000000000030000003f00000000023d9d7c99002000000000000001a2032d9da8000001a2032d9da8ffffffffffffffffffffffffffff000000011a00000008000000040600000000";
/// The first two batches of a metadata log: a leader change, then the bootstrap records in their transaction.
const LOG: &str = "00000000000000000000004f0000000102ffbb2741002000000000000001a2031f9515000001a2031f9515ffffffffffffffffffffffffffff000000013a00000008000000022600000000000102000000010002000000010000000000000000000001000000790000000102e5775ef8000000000002000001a2031f957d000001a2031f957dffffffffffffffffffffffffffff000000033c000000013001170001001212426f6f747374726170207265636f726473003a000002012e010c00116d657461646174612e76657273696f6e001e00001400000401080118000000";

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).expect("hex") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The bytes without what depends on the clock: timestamps and, with them, checksums.
fn timeless(file: &Bytes) -> Vec<u8> {
    let mut out = file.to_vec();
    for view in batches(file) {
        let view = view.expect("a batch");
        out[view.at + 17..view.at + 21].fill(0);
        out[view.at + 27..view.at + 43].fill(0);
    }
    out
}

#[test]
fn a_bootstrap_checkpoint_is_kafkas_byte_for_byte() {
    let golden = bytes(BOOTSTRAP);
    let checkpoint = Checkpoint::decode(&golden).expect("Kafka wrote it");
    let level = FeatureLevelRecord {
        name: features::METADATA_VERSION.into(),
        feature_level: 30,
        ..Default::default()
    };
    assert_eq!(checkpoint.records, [MetadataRecord::from(level)]);
    assert_eq!(
        timeless(&checkpoint.encode(LeaderEpoch(0), 7)),
        timeless(&golden)
    );
}

#[test]
fn a_standalone_checkpoint_is_kafkas_byte_for_byte() {
    let golden = bytes(STANDALONE);
    let checkpoint = Checkpoint::decode(&golden).expect("Kafka wrote it");
    assert_eq!(checkpoint.kraft_version, 1);
    let voters = checkpoint.voters.as_ref().expect("voters");
    assert_eq!((voters.voters.len(), voters.voters[0].voter_id), (1, 1));
    assert_eq!(
        timeless(&checkpoint.encode(LeaderEpoch(0), 7)),
        timeless(&golden)
    );
}

#[test]
fn damage_of_a_checkpoint_is_found() {
    let golden = bytes(BOOTSTRAP);
    let starts: Vec<usize> = batches(&golden)
        .map(|view| view.expect("a batch").at)
        .collect();
    for at in 0..golden.len() {
        // The epoch precedes what the checksum covers, and means nothing here.
        if starts
            .iter()
            .any(|start| (start + 12..start + 16).contains(&at))
        {
            continue;
        }
        let mut damaged = golden.to_vec();
        damaged[at] ^= 1;
        assert!(
            Checkpoint::decode(&Bytes::from(damaged)).is_err(),
            "byte {at}"
        );
    }
    for end in 0..golden.len() {
        assert!(
            Checkpoint::decode(&golden.slice(..end)).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn a_log_of_kafka_is_read() {
    let log = records::decode(&bytes(LOG)).expect("Kafka wrote it");
    let [first, second] = log.as_slice() else {
        panic!("two batches: {log:?}")
    };
    assert_eq!(
        (first.base, first.last, first.epoch),
        (Offset(0), Offset(0), LeaderEpoch(1))
    );
    let Content::Control(controls) = &first.content else {
        panic!("a control batch")
    };
    assert!(
        matches!(&controls[..], [Control::LeaderChange(change)] if change.leader_id == 1 && change.voters.len() == 1)
    );
    let Content::Records(records) = &second.content else {
        panic!("records")
    };
    assert_eq!(
        records.iter().map(MetadataRecord::id).collect::<Vec<_>>(),
        [23, 12, 24]
    );
    assert_eq!(second.last, Offset(3));
}

#[test]
fn hostile_batches_are_refused_and_never_panic() {
    let golden = bytes(LOG);
    for at in 0..golden.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut hostile = golden.to_vec();
            hostile[at] ^= flip;
            let _ = records::decode(&Bytes::from(hostile));
        }
    }
}

#[test]
fn the_state_file_is_kafkas() {
    let static_voters = r#"{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
    let dynamic = r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
    for (text, version) in [(static_voters, 0), (dynamic, 1)] {
        let state = QuorumState::parse(text).expect("Kafka wrote it");
        assert_eq!(
            (state.leader, state.voted, state.voted_directory),
            (NodeId(1), NodeId::NONE, Uuid::ZERO)
        );
        assert_eq!(state.to_text(version, NodeId(1)), text);
    }
    for wrong in [
        "",
        "{}",
        "[]",
        "{\"leaderId\":1}",
        "{\"leaderEpoch\":\"x\",\"data_version\":0}",
        &static_voters.replace("\"data_version\":0", "\"data_version\":2"),
        &dynamic[..40],
    ] {
        assert!(QuorumState::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn snapshot_names_are_kafkas() {
    let id = SnapshotId {
        end: Offset(104),
        epoch: LeaderEpoch(3),
    };
    assert_eq!(id.file_name(), "00000000000000000104-0000000003.checkpoint");
    assert_eq!(SnapshotId::from_file_name(&id.file_name()), Some(id));
    assert_eq!(
        SnapshotId::BOOTSTRAP.file_name(),
        "00000000000000000000-0000000000.checkpoint"
    );
    for other in [
        "bootstrap.checkpoint",
        "104-3.checkpoint",
        "00000000000000000104-0000000003.checkpoint.part",
        "00000000000000000000.log",
    ] {
        assert_eq!(SnapshotId::from_file_name(other), None);
    }
}
