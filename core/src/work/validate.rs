//! What a leader checks before it appends what a client sent: Kafka's `LogValidator` and the checks of produce before it.
//!
//! Stricter than Kafka in one place: offset deltas must count from 0 without gaps whether compressed or not, where Kafka
//! rewrites a compressed batch of an ancient client and lets an uncompressed one through.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{compress, decoder};
use super::records::{RecordError, Records, Source, Window};
use super::{RecordsFault, RecordsFaultKind, TimestampType, ValidBatch, ValidateRules};
use crate::ids::Offset;
use crate::wire::batch::{
    BatchError, BatchHeader, CRC_COVERS_FROM, Compression, HEADER_LEN, LOG_OVERHEAD, NO_TIMESTAMP,
    PREFIX_LEN, checksum,
};

fn fault(kind: RecordsFaultKind, message: impl Into<String>) -> RecordsFault {
    RecordsFault {
        kind,
        message: message.into(),
        records: Vec::new(),
    }
}

/// Checks `records` against `rules`, and rewrites header or compression where the topic asks for it.
pub fn validate(records: &Bytes, rules: &ValidateRules) -> Result<ValidBatch, RecordsFault> {
    let mut header = only_batch(records)?;
    if header.size() > usize::try_from(rules.max_message_bytes).unwrap_or(0) {
        return Err(too_large(header.size(), rules));
    }
    if checksum(records) != header.crc {
        return Err(fault(
            RecordsFaultKind::Corrupt,
            format!("the batch is corrupt: its stored CRC is {}", header.crc),
        ));
    }
    let source_codec = header.compression().ok_or_else(|| {
        fault(
            RecordsFaultKind::UnsupportedCompression,
            format!("compression type {} is unknown", header.attributes & 0x07),
        )
    })?;
    check_header(&header)?;
    let payload = records.slice(HEADER_LEN..);
    let max_timestamp = match source_codec {
        Compression::None => check_records(&header, payload.as_ref(), rules)?,
        codec => {
            let decoder =
                decoder(codec, &payload).map_err(|e| bad_records(RecordError::Codec(e)))?;
            check_records(&header, Window::new(decoder), rules)?
        }
    };

    let original = header;
    let log_append_time = match rules.timestamp_type {
        TimestampType::CreateTime => {
            header.max_timestamp = max_timestamp;
            NO_TIMESTAMP
        }
        TimestampType::LogAppendTime => {
            header.attributes |= 0x08;
            header.max_timestamp = rules.now.0;
            rules.now.0
        }
    };
    let target = rules.compression.unwrap_or(source_codec);
    let body = if target != source_codec {
        recompress(&mut header, source_codec, target, &payload, rules)?
    } else if header == original {
        records.slice(PREFIX_LEN..)
    } else {
        stamp(&mut header, &payload)
    };
    Ok(ValidBatch {
        header,
        body,
        log_append_time,
        marker: None,
    })
}

fn too_large(size: usize, rules: &ValidateRules) -> RecordsFault {
    fault(
        RecordsFaultKind::TooLarge,
        format!(
            "the batch has {size} bytes; max.message.bytes allows {}",
            rules.max_message_bytes
        ),
    )
}

/// Exactly one whole batch of version 2.
fn only_batch(records: &Bytes) -> Result<BatchHeader, RecordsFault> {
    let header = BatchHeader::decode(records).map_err(|error| match error {
        BatchError::Short { .. } => fault(
            RecordsFaultKind::NotOneBatch,
            "the records hold no whole batch",
        ),
        BatchError::Length(length) => fault(
            RecordsFaultKind::Corrupt,
            format!("a batch length of {length} is below the least possible"),
        ),
        BatchError::Magic(magic @ (0 | 1)) => fault(
            RecordsFaultKind::NotOneBatch,
            format!("only batches of magic 2 are accepted, this one has {magic}"),
        ),
        BatchError::Magic(magic) => fault(
            RecordsFaultKind::Corrupt,
            format!("there is no magic {magic}"),
        ),
    })?;
    if header.size() > records.len() {
        return Err(fault(
            RecordsFaultKind::NotOneBatch,
            "the records hold no whole batch",
        ));
    }
    if header.size() < records.len() {
        return Err(fault(
            RecordsFaultKind::NotOneBatch,
            "the records must hold exactly one batch",
        ));
    }
    Ok(header)
}

fn check_header(header: &BatchHeader) -> Result<(), RecordsFault> {
    let invalid = |message: String| Err(fault(RecordsFaultKind::InvalidRecord, message));
    if header.base_offset != Offset(0) {
        return invalid(format!(
            "the base offset of the batch must be 0, but it is {}",
            header.base_offset
        ));
    }
    if header.last_offset_delta < 0 {
        return invalid(format!(
            "the batch has an invalid last offset delta: {}",
            header.last_offset_delta
        ));
    }
    if header.count <= 0 {
        return invalid(format!("the batch has an invalid count: {}", header.count));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.count) {
        return invalid(format!(
            "the last offset delta {} and the count {} of the batch contradict each other",
            header.last_offset_delta, header.count
        ));
    }
    if header.is_control() {
        return invalid("clients may not write control records".to_owned());
    }
    if header.producer_id.0 >= 0 && header.base_sequence < 0 {
        return invalid(format!(
            "invalid sequence number {} in a batch with producer id {}",
            header.base_sequence, header.producer_id
        ));
    }
    if header.is_log_append_time() {
        return Err(fault(
            RecordsFaultKind::InvalidTimestamp,
            "producers may not set the timestamp type LogAppendTime",
        ));
    }
    Ok(())
}

fn bad_records(error: RecordError) -> RecordsFault {
    let message = match error {
        RecordError::Malformed(what) => format!("the records are malformed: {what}"),
        RecordError::Codec(error) => format!("the records cannot be decompressed: {error}"),
    };
    fault(RecordsFaultKind::InvalidRecord, message)
}

/// Walks all records; returns the greatest timestamp.
fn check_records(
    header: &BatchHeader,
    source: impl Source,
    rules: &ValidateRules,
) -> Result<i64, RecordsFault> {
    let mut records = Records::new(source);
    let mut max_timestamp = NO_TIMESTAMP;
    let mut faults: Vec<(i32, String)> = Vec::new();
    let mut fault_count: u32 = 0;
    let mut bad_timestamp = false;
    for index in 0..header.count {
        let record = records.next_record().map_err(bad_records)?;
        if record.offset_delta != i64::from(index) {
            return Err(fault(
                RecordsFaultKind::InvalidRecord,
                format!(
                    "record {index} of the batch has offset delta {}",
                    record.offset_delta
                ),
            ));
        }
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        let what = if rules.compacted && !record.has_key {
            Some("a compacted topic takes no record without a key".to_owned())
        } else if is_out_of_range(timestamp, rules) {
            bad_timestamp = true;
            Some(format!(
                "timestamp {timestamp} is out of range: it should be within [{}, {}]",
                rules.now.0.saturating_sub(rules.timestamp_before_max_ms),
                rules.now.0.saturating_add(rules.timestamp_after_max_ms)
            ))
        } else {
            None
        };
        if let Some(what) = what {
            fault_count += 1;
            if faults.len() < rules.faults_told {
                faults.push((index, what));
            }
        }
    }
    if !records.at_end().map_err(bad_records)? {
        return Err(fault(
            RecordsFaultKind::InvalidRecord,
            "the batch holds more records than its count says",
        ));
    }
    if fault_count == 0 {
        return Ok(max_timestamp);
    }
    Err(if bad_timestamp {
        RecordsFault {
            kind: RecordsFaultKind::InvalidTimestamp,
            message: "One or more records have been rejected due to invalid timestamp".to_owned(),
            records: faults,
        }
    } else {
        RecordsFault {
            kind: RecordsFaultKind::InvalidRecord,
            message: format!("{fault_count} records of the batch were refused"),
            records: faults,
        }
    })
}

fn is_out_of_range(timestamp: i64, rules: &ValidateRules) -> bool {
    if rules.timestamp_type != TimestampType::CreateTime || timestamp == NO_TIMESTAMP {
        return false;
    }
    // Wrapping, as Java's: what lies 292 million years away may be anything.
    let age = rules.now.0.wrapping_sub(timestamp);
    age > rules.timestamp_before_max_ms || age.wrapping_neg() > rules.timestamp_after_max_ms
}

/// Encodes `header` before `payload` with a new CRC; returns the batch from its magic on.
fn stamp(header: &mut BatchHeader, payload: &[u8]) -> Bytes {
    header.length = i32::try_from(HEADER_LEN - LOG_OVERHEAD + payload.len()).unwrap_or(i32::MAX);
    let mut batch = BytesMut::with_capacity(HEADER_LEN + payload.len());
    header.encode(&mut batch);
    batch.put_slice(payload);
    header.crc = checksum(&batch);
    batch[CRC_COVERS_FROM - 4..CRC_COVERS_FROM].copy_from_slice(&header.crc.to_be_bytes());
    batch.freeze().slice(PREFIX_LEN..)
}

fn recompress(
    header: &mut BatchHeader,
    from: Compression,
    to: Compression,
    payload: &Bytes,
    rules: &ValidateRules,
) -> Result<Bytes, RecordsFault> {
    let limit = usize::try_from(rules.max_message_bytes)
        .unwrap_or(0)
        .saturating_sub(HEADER_LEN);
    let repacked = decoder(from, payload)
        .and_then(|mut plain| compress(to, rules.compression_level, plain.by_ref(), limit))
        .map_err(|error| {
            if error.kind() == io::ErrorKind::FileTooLarge {
                too_large(limit + HEADER_LEN + 1, rules)
            } else {
                bad_records(RecordError::Codec(error))
            }
        })?;
    header.attributes = (header.attributes & !0x07) | to.id();
    Ok(stamp(header, &repacked))
}
