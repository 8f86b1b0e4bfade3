//! Finds a record by its timestamp among whole batches. KIP-33, KIP-734.

use bytes::Bytes;

use super::codec::decoder;
use super::records::{RecordError, Records, Source, Window};
use super::{RecordsFault, RecordsFaultKind, TimestampTarget};
use crate::ids::Offset;
use crate::wire::batch::{BatchView, Compression, batches};

/// The record that `target` asks for among those at or after `from`, with its timestamp.
pub fn find(
    block: &Bytes,
    target: TimestampTarget,
    from: Offset,
) -> Result<Option<(i64, Offset)>, RecordsFault> {
    let mut best: Option<(i64, Offset)> = None;
    for batch in batches(block) {
        let batch = batch.map_err(|_| fault("the block holds something that is no batch"))?;
        if batch.header.last_offset() < from {
            continue;
        }
        match target {
            TimestampTarget::AtLeast(least) => {
                if batch.header.max_timestamp >= least {
                    let found = in_batch(&batch, |t, o| t >= least && o >= from)?;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
            }
            TimestampTarget::Max => {
                let max = batch.header.max_timestamp;
                if best.is_none_or(|(known, _)| max > known) {
                    best = in_batch(&batch, |t, o| t == max && o >= from)?.or(best);
                }
            }
        }
    }
    Ok(best)
}

fn fault(message: impl Into<String>) -> RecordsFault {
    RecordsFault {
        kind: RecordsFaultKind::Corrupt,
        message: message.into(),
        records: Vec::new(),
    }
}

fn bad_records(error: RecordError) -> RecordsFault {
    fault(match error {
        RecordError::Malformed(what) => format!("the records are malformed: {what}"),
        RecordError::Codec(error) => format!("the records cannot be decompressed: {error}"),
    })
}

fn in_batch(
    batch: &BatchView,
    wanted: impl Fn(i64, Offset) -> bool,
) -> Result<Option<(i64, Offset)>, RecordsFault> {
    let codec = batch
        .header
        .compression()
        .ok_or_else(|| fault("the compression type is unknown"))?;
    let payload = batch.records();
    match codec {
        Compression::None => walk(batch, payload.as_ref(), wanted),
        codec => {
            let decoder =
                decoder(codec, &payload).map_err(|e| bad_records(RecordError::Codec(e)))?;
            walk(batch, Window::new(decoder), wanted)
        }
    }
}

fn walk(
    batch: &BatchView,
    source: impl Source,
    wanted: impl Fn(i64, Offset) -> bool,
) -> Result<Option<(i64, Offset)>, RecordsFault> {
    let header = &batch.header;
    let mut records = Records::new(source);
    for _ in 0..header.count {
        let record = records.next_record().map_err(bad_records)?;
        let timestamp = if header.is_log_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(record.timestamp_delta)
        };
        let offset = Offset(header.base_offset.0.saturating_add(record.offset_delta));
        if wanted(timestamp, offset) {
            return Ok(Some((timestamp, offset)));
        }
    }
    Ok(None)
}
