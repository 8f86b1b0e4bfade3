//! The jobs against batches that are good, and bad in one way each.

use bytes::Bytes;
use proptest::prelude::*;

use super::codec::compress;
use super::{
    Facts, Job, RecordsFault, RecordsFaultKind, ScanRest, Scanned, TimestampTarget, TimestampType,
    ValidBatch, ValidateRules, run,
};
use crate::ids::{LeaderEpoch, Offset, ProducerId};
use crate::time::WallMs;
use crate::wire::batch::{
    BatchHeader, BatchOptions, Compression, HEADER_LEN, PREFIX_LEN, RecordToWrite, checksum,
    encode_batch, header_and_body,
};

const NOW: i64 = 1_000_000;

fn rules() -> ValidateRules {
    ValidateRules {
        now: WallMs(NOW),
        ..ValidateRules::default()
    }
}

fn record(timestamp: i64, key: Option<&'static str>, value: &str) -> RecordToWrite {
    RecordToWrite {
        timestamp,
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![
            ("h".to_owned(), None),
            ("i".to_owned(), Some(Bytes::from_static(b"v"))),
        ],
    }
}

fn good(count: usize) -> Bytes {
    let records: Vec<_> = (0..count)
        .map(|n| record(NOW - 10 + n as i64 % 5, Some("key"), &format!("value {n}")))
        .collect();
    encode_batch(BatchOptions::default(), &records)
}

fn packed(batch: &Bytes, codec: Compression) -> Bytes {
    let mut header = BatchHeader::decode(batch).expect("whole");
    let body = compress(codec, 3, &mut &batch[HEADER_LEN..], usize::MAX).expect("fits");
    header.attributes |= codec.id();
    header_and_body(&mut header, &body)
}

/// `batch` with its header changed and its CRC right again.
fn with_header(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::decode(batch).expect("whole");
    change(&mut header);
    header_and_body(&mut header, &batch[HEADER_LEN..])
}

fn validate(records: &Bytes, rules: ValidateRules) -> Result<ValidBatch, RecordsFault> {
    let records = records.clone();
    match run(Job::Validate { records, rules }) {
        Facts::Validated(result) => result,
        other => panic!("{other:?}"),
    }
}

fn fault(records: &Bytes, rules: ValidateRules) -> (i16, String) {
    let fault = validate(records, rules).expect_err("refused");
    (fault.kind.code(), fault.message)
}

/// What goes to disk: prefix and body.
fn written(batch: &ValidBatch) -> Bytes {
    let mut bytes = vec![0; PREFIX_LEN];
    bytes[8..12].copy_from_slice(&batch.header.length.to_be_bytes());
    bytes.extend_from_slice(&batch.body);
    Bytes::from(bytes)
}

#[test]
fn a_good_batch_is_kept_as_it_came() {
    let batch = good(7);
    let valid = validate(&batch, rules()).expect("valid");
    assert_eq!(valid.body, batch.slice(PREFIX_LEN..));
    assert_eq!(
        valid.body.as_ptr(),
        batch[PREFIX_LEN..].as_ptr(),
        "not copied"
    );
    assert_eq!((valid.header.count, valid.log_append_time), (7, -1));
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let batch = packed(&good(500), codec);
        let valid = validate(&batch, rules()).expect("valid");
        assert_eq!(valid.body, batch.slice(PREFIX_LEN..), "{codec:?}");
    }
}

#[test]
fn each_fault_has_its_error_code() {
    let batch = good(3);
    let cases: Vec<(&str, i16, Bytes)> = vec![
        ("no whole batch", 87, Bytes::new()),
        ("no whole batch", 87, batch.slice(..batch.len() - 1)),
        (
            "exactly one batch",
            87,
            Bytes::from([batch.clone(), batch.clone()].concat()),
        ),
        ("below the least", 2, {
            let mut bytes = batch.to_vec();
            bytes[8..12].copy_from_slice(&10_i32.to_be_bytes());
            Bytes::from(bytes)
        }),
        ("magic 2", 87, {
            let mut bytes = batch.to_vec();
            bytes[16] = 1;
            Bytes::from(bytes)
        }),
        ("no magic 9", 2, {
            let mut bytes = batch.to_vec();
            bytes[16] = 9;
            Bytes::from(bytes)
        }),
        ("is corrupt", 2, {
            let mut bytes = batch.to_vec();
            bytes[70] ^= 1;
            Bytes::from(bytes)
        }),
        (
            "compression type 7",
            76,
            with_header(&batch, |h| h.attributes |= 7),
        ),
        (
            "base offset of the batch must be 0",
            87,
            with_header(&batch, |h| h.base_offset = Offset(9)),
        ),
        ("invalid count: 0", 87, with_header(&batch, |h| h.count = 0)),
        ("contradict", 87, with_header(&batch, |h| h.count = 4)),
        (
            "last offset delta: -1",
            87,
            with_header(&batch, |h| h.last_offset_delta = -1),
        ),
        (
            "control records",
            87,
            with_header(&batch, |h| h.attributes |= 0x20),
        ),
        (
            "LogAppendTime",
            32,
            with_header(&batch, |h| h.attributes |= 0x08),
        ),
        (
            "invalid sequence number",
            87,
            with_header(&batch, |h| h.producer_id = ProducerId(4)),
        ),
        ("are malformed", 87, {
            with_header(&batch.slice(..batch.len() - 2), |_| {})
        }),
        ("more records than", 87, {
            with_header(&batch, |h| {
                h.count = 2;
                h.last_offset_delta = 1;
            })
        }),
        (
            "cannot be decompressed",
            87,
            with_header(&batch, |h| h.attributes |= 4),
        ),
    ];
    for (what, code, bytes) in cases {
        let (found, message) = fault(&bytes, rules());
        assert!(
            found == code && message.contains(what),
            "{what}: {found} {message}"
        );
    }
    let small = ValidateRules {
        max_message_bytes: 50,
        ..rules()
    };
    assert_eq!(fault(&batch, small).0, 10);
}

#[test]
fn offset_deltas_count_from_zero() {
    // The second record's offset delta, behind its length, attributes and timestamp delta.
    let batch = good(2);
    let first = batch[HEADER_LEN] as usize / 2 + 1;
    let mut bytes = batch.to_vec();
    bytes[HEADER_LEN + first + 3] = 4;
    let bytes = with_header(&Bytes::from(bytes), |_| {});
    assert!(fault(&bytes, rules()).1.contains("offset delta 2"));
}

#[test]
fn timestamps_and_keys_follow_the_topic() {
    let at = |timestamp| {
        let records = [record(NOW, Some("k"), "a"), record(timestamp, None, "b")];
        encode_batch(BatchOptions::default(), &records)
    };
    let strict = || ValidateRules {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 500,
        ..rules()
    };
    assert!(validate(&at(NOW - 1000), strict()).is_ok());
    assert!(validate(&at(NOW + 500), strict()).is_ok());
    assert!(validate(&at(-1), strict()).is_ok(), "no timestamp");
    for bad in [NOW - 1001, NOW + 501, i64::MIN, i64::MAX] {
        let fault = validate(&at(bad), strict()).expect_err("refused");
        assert_eq!(fault.kind, RecordsFaultKind::InvalidTimestamp);
        assert_eq!(fault.records[0].0, 1);
    }
    let lax = || ValidateRules {
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        ..rules()
    };
    for any in [i64::MIN, -2, 0, i64::MAX] {
        assert!(validate(&at(any), lax()).is_ok(), "{any}");
    }
    let compacted = || ValidateRules {
        compacted: true,
        ..rules()
    };
    let fault = validate(&at(NOW), compacted()).expect_err("refused");
    assert_eq!(
        (fault.kind, fault.records.len()),
        (RecordsFaultKind::InvalidRecord, 1)
    );
    // A client takes what is not named for good.
    let records: Vec<_> = (0..500).map(|_| record(NOW, None, "v")).collect();
    let fault = validate(
        &encode_batch(BatchOptions::default(), &records),
        compacted(),
    );
    let named = fault.expect_err("refused").records;
    assert!(named.iter().map(|(index, _)| *index).eq(0..500));
}

#[test]
fn append_time_rewrites_the_header_and_its_checksum() {
    for codec in [Compression::None, Compression::Lz4] {
        let batch = match codec {
            Compression::None => good(3),
            codec => packed(&good(3), codec),
        };
        let append_time = ValidateRules {
            timestamp_type: TimestampType::LogAppendTime,
            ..rules()
        };
        let valid = validate(&batch, append_time).expect("valid");
        assert_eq!(valid.log_append_time, NOW);
        let bytes = written(&valid);
        let header = BatchHeader::decode(&bytes).expect("whole");
        assert!(header.is_log_append_time());
        assert_eq!(header.max_timestamp, NOW);
        assert_eq!(header.crc, checksum(&bytes));
        assert_eq!(bytes[HEADER_LEN..], batch[HEADER_LEN..]);
    }
}

#[test]
fn a_wrong_greatest_timestamp_is_put_right() {
    let batch = with_header(&good(3), |h| h.max_timestamp = 5);
    let valid = validate(&batch, rules()).expect("valid");
    let bytes = written(&valid);
    let header = BatchHeader::decode(&bytes).expect("whole");
    assert_eq!(header.max_timestamp, NOW - 8);
    assert_eq!(header.crc, checksum(&bytes));
}

#[test]
fn a_topics_codec_replaces_the_producers() {
    let all = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for from in all {
        for to in all {
            let batch = match from {
                Compression::None => good(100),
                codec => packed(&good(100), codec),
            };
            let recode = ValidateRules {
                compression: Some(to),
                compression_level: 1,
                ..rules()
            };
            let valid = validate(&batch, recode).expect("valid");
            assert_eq!(valid.header.compression(), Some(to));
            let bytes = written(&valid);
            assert_eq!(valid.header.crc, checksum(&bytes));
            let again = validate(&bytes, rules()).expect("still valid");
            assert_eq!(again.header.count, 100);
        }
    }
    let tight = ValidateRules {
        compression: Some(Compression::None),
        max_message_bytes: 1500,
        ..rules()
    };
    let batch = packed(&good(100), Compression::Zstd);
    assert!(batch.len() < 1500 && good(100).len() > 1500);
    assert_eq!(fault(&batch, tight).0, 10, "too large once decompressed");
}

#[test]
fn a_bomb_costs_time_but_no_memory() {
    // 64 MiB of zeros in one value, compressed to a few KiB; walked through a window of 16 KiB.
    let value = vec![0; 64 << 20];
    let bomb = encode_batch(
        BatchOptions::default(),
        &[RecordToWrite {
            timestamp: NOW,
            value: Some(Bytes::from(value)),
            ..RecordToWrite::default()
        }],
    );
    let bomb = packed(&bomb, Compression::Zstd);
    assert!(bomb.len() < 16 * 1024);
    assert!(validate(&bomb, rules()).is_ok());
}

fn scan(block: Bytes) -> Scanned {
    match run(Job::Scan { block }) {
        Facts::Scanned(scanned) => scanned,
        other => panic!("{other:?}"),
    }
}

fn at_offset(batch: &Bytes, offset: i64) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn a_scan_stops_at_the_first_damage_and_says_where() {
    let one = good(3);
    let len = one.len();
    let block: Vec<u8> = (0..4)
        .flat_map(|n| at_offset(&one, n * 3).to_vec())
        .collect();
    let whole = scan(Bytes::from(block.clone()));
    assert_eq!((whole.batches.len(), whole.rest), (4, ScanRest::Nothing));
    assert!(whole.batches.iter().all(|batch| batch.crc_holds));
    let cut = scan(Bytes::from(block[..len * 3 + 70].to_vec()));
    let at = u32::try_from(len * 3).expect("small");
    let need = len as u64;
    assert_eq!(
        (cut.batches.len(), cut.rest),
        (3, ScanRest::Short { at, need })
    );
    let mut bad = block.clone();
    bad[len + 80] ^= 4;
    let bad = scan(Bytes::from(bad));
    assert_eq!(bad.batches.len(), 2);
    assert!(bad.batches[0].crc_holds && !bad.batches[1].crc_holds);
    let mut zeros = block;
    zeros[len..].fill(0);
    let at = u32::try_from(len).expect("small");
    assert_eq!(scan(Bytes::from(zeros)).rest, ScanRest::Damage { at });
}

#[test]
fn timestamps_are_found_within_batches() {
    let times = [50, 40, 90, 70, 90];
    let records: Vec<_> = times.iter().map(|t| record(*t, None, "v")).collect();
    let plain = encode_batch(BatchOptions::default(), &records);
    for batch in [plain.clone(), packed(&plain, Compression::Gzip)] {
        let block = Bytes::from([at_offset(&good(2), 0), at_offset(&batch, 2)].concat());
        let find = |target, from| {
            let block = block.clone();
            match run(Job::FindTimestamp {
                block,
                target,
                from: Offset(from),
            }) {
                Facts::Found(found) => found.expect("readable").map(|(t, o)| (t, o.0)),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(find(TimestampTarget::AtLeast(60), 2), Some((90, 4)));
        assert_eq!(find(TimestampTarget::AtLeast(0), 3), Some((40, 3)));
        assert_eq!(find(TimestampTarget::AtLeast(91), 2), None);
        assert_eq!(find(TimestampTarget::Max, 2), Some((90, 4)));
        assert_eq!(find(TimestampTarget::Max, 5), Some((90, 6)));
    }
}

proptest! {
    /// Whatever bytes come, the jobs answer; and no damage behind a right checksum makes them read past the end.
    #[test]
    fn hostile_records_are_answered(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        codec in 0_i16..8,
        count in any::<i32>(),
        at in 0_usize..200,
    ) {
        let _ = validate(&Bytes::from(bytes.clone()), rules());
        let _ = scan(Bytes::from(bytes.clone()));
        let mut header = BatchHeader::decode(&good(1)).expect("whole");
        header.attributes |= codec;
        header.count = count;
        header.last_offset_delta = count.wrapping_sub(1);
        let framed = header_and_body(&mut header, &bytes);
        let _ = validate(&framed, rules());
        let mut damaged = good(5).to_vec();
        let at = HEADER_LEN + at % (damaged.len() - HEADER_LEN);
        damaged[at] = damaged[at].wrapping_add(1 + (codec as u8));
        let damaged = with_header(&Bytes::from(damaged), |_| {});
        let _ = validate(&damaged, rules());
        for target in [TimestampTarget::Max, TimestampTarget::AtLeast(0)] {
            let block = damaged.clone();
            let _ = run(Job::FindTimestamp { block, target, from: Offset(0) });
        }
    }

    /// Every batch of any records passes, and keeps its header.
    #[test]
    fn good_records_pass(sizes in prop::collection::vec(0_usize..3000, 1..30), codec in 0_i16..5) {
        let records: Vec<_> = sizes
            .iter()
            .map(|size| record(NOW, Some("k"), &"v".repeat(*size)))
            .collect();
        let plain = encode_batch(BatchOptions { producer_id: ProducerId(3), producer_epoch: 0, base_sequence: 7, attributes: 0 }, &records);
        let batch = match Compression::from_id(codec) {
            Some(Compression::None) | None => plain,
            Some(codec) => packed(&plain, codec),
        };
        let valid = validate(&batch, rules()).expect("valid");
        prop_assert_eq!(valid.header.count as usize, sizes.len());
        prop_assert_eq!(valid.header.leader_epoch, LeaderEpoch(-1));
        prop_assert_eq!(valid.header.base_sequence, 7);
    }
}
