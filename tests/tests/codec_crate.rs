//! The wire against itself and against the public crate `kafka-protocol`, for what that crate has.
#![cfg(not(madsim))]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kafka_protocol::protocol::VersionRange;
use trialog_tests::codec::model::Kind;
use trialog_tests::codec::random::{self, Random};
use trialog_tests::codec::{self, Codec};

const SEED: u64 = 20_261_122;

fn rounds() -> usize {
    if std::env::var("TRIALOG_TESTS").is_ok_and(|tests| tests == "all") {
        200
    } else {
        12
    }
}

/// Reads bytes that must be readable to their end and writes them again.
fn again(codec: &Codec, bytes: &Bytes, version: i16) -> Bytes {
    let (message, left) = (codec.decode)(bytes.clone(), version)
        .unwrap_or_else(|error| panic!("{} {version}: {error:#}", codec.name));
    assert_eq!(left, 0, "{} {version}", codec.name);
    let parts = message
        .encode(version)
        .unwrap_or_else(|error| panic!("{} {version}: {error}: {}", codec.name, message.show()));
    parts.to_bytes()
}

#[test]
fn what_the_schema_describes_can_be_read_and_written() {
    let mut cases = 0;
    for (codec, schema) in codec::all() {
        for version in codec.min..=codec.max {
            let mut random = Random::about(SEED, codec.name, version);
            for _ in 0..rounds() {
                let written = random::message(&schema, version, &mut random);
                let canonical = again(&codec, &Bytes::from(written.bytes), version);
                assert_eq!(again(&codec, &canonical, version), canonical);
                cases += 1;
            }
        }
    }
    println!("{cases} messages");
    assert!(cases > 5_000);
}

#[test]
fn the_public_crate_reads_and_writes_the_same() {
    let (mut apis, mut cases) = (0, 0);
    for (codec, schema) in codec::all() {
        if !matches!(schema.kind, Kind::Request | Kind::Response) {
            continue;
        }
        let Some(api) = schema.id.and_then(|id| ApiKey::try_from(id).ok()) else {
            continue;
        };
        let VersionRange { min, max } = api.valid_versions();
        let versions = codec.min.max(min)..=codec.max.min(max);
        apis += 1;
        for version in versions {
            let mut random = Random::about(SEED + 1, codec.name, version);
            for _ in 0..rounds() {
                let written = random::message(&schema, version, &mut random);
                let ours = again(&codec, &Bytes::from(written.bytes), version);
                if let Some(theirs) = through_the_crate(schema.kind, api, &ours, version) {
                    assert_eq!(theirs, ours, "{} {version}", codec.name);
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} messages of {apis} types");
    assert!(apis > 120 && cases > 3_000, "{apis} {cases}");
}

/// Reads and writes with the crate; nothing if the crate's message lacks the version, though its API has it.
fn through_the_crate(kind: Kind, api: ApiKey, bytes: &Bytes, version: i16) -> Option<Bytes> {
    let (mut input, mut output) = (bytes.clone(), BytesMut::new());
    let result = if kind == Kind::Request {
        RequestKind::decode(api, &mut input, version)
            .and_then(|message| message.encode(&mut output, version))
    } else {
        ResponseKind::decode(api, &mut input, version)
            .and_then(|message| message.encode(&mut output, version))
    };
    match result.map_err(|error| format!("{error:#}")) {
        Ok(()) => {}
        Err(error) if error.ends_with("specified version not supported by this message type") => {
            return None;
        }
        Err(error) => panic!("{api:?} {kind:?} {version}: {error}"),
    }
    assert!(input.is_empty(), "{api:?} {version}");
    Some(output.freeze())
}
