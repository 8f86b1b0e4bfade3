//! The values of a run and the batches that carry them.
//!
//! A value says which record it is, then fills up to its length with bytes that follow from that; so a changed byte, a lost
//! record and a doubled one are all told apart by reading. Owns no state.

use std::io::Read;

use bytes::{BufMut, Bytes, BytesMut};
use trialog_core::ids::ProducerId;
use trialog_core::wire::batch::{
    self, BatchHeader, BatchOptions, Compression, HEADER_LEN, RecordToWrite, encode_batch,
    header_and_body, varlong,
};
use trialog_core::work::codec;

use crate::check::{Polled, RecordId};

/// Begins every value of a run.
const MARK: u32 = 0x7472_6c67;
/// Bytes before the filling: mark, producer, number.
const VALUE_HEAD: usize = 12;

/// The value of a record, `len` bytes long (at least the 12 that name it).
#[must_use]
pub fn value(id: RecordId, len: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(len.max(VALUE_HEAD));
    out.put_u32(MARK);
    out.put_u32(id.producer);
    out.put_u32(id.nth);
    while out.len() < len {
        out.put_u8(filling(id, out.len()));
    }
    out.freeze()
}

fn filling(id: RecordId, at: usize) -> u8 {
    let mixed = u64::from(id.nth) * 31 + u64::from(id.producer) * 17 + at as u64;
    (mixed % 251) as u8
}

/// Which record a value is; `None` if it is none, or not whole.
#[must_use]
pub fn identify(value: &[u8]) -> Option<RecordId> {
    let word = |at: usize| Some(u32::from_be_bytes(*value.get(at..at + 4)?.first_chunk()?));
    if word(0)? != MARK {
        return None;
    }
    let id = RecordId {
        producer: word(4)?,
        nth: word(8)?,
    };
    (VALUE_HEAD..value.len())
        .all(|at| value[at] == filling(id, at))
        .then_some(id)
}

/// Who writes a batch: an idempotent producer says its id, epoch and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the first record.
    pub sequence: i32,
}

/// One record to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which.
    pub id: RecordId,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// Bytes of its value.
    pub len: usize,
}

/// One batch of these records.
#[must_use]
pub fn batch(records: &[Outgoing], writer: Option<Writer>, codec: Compression) -> Bytes {
    let records: Vec<RecordToWrite> = records
        .iter()
        .map(|record| RecordToWrite {
            timestamp: record.timestamp,
            key: (record.id.nth % 3 == 0).then(|| Bytes::from(record.id.to_string())),
            value: Some(value(record.id, record.len)),
            headers: Vec::new(),
        })
        .collect();
    let options = match writer {
        None => BatchOptions::default(),
        Some(writer) => BatchOptions {
            producer_id: ProducerId(writer.producer_id),
            producer_epoch: writer.epoch,
            base_sequence: writer.sequence,
            ..BatchOptions::default()
        },
    };
    compressed(encode_batch(options, &records), codec)
}

/// The same batch with its records compressed.
///
/// # Panics
/// If the codec fails on bytes in memory: the simulator's mistake.
#[must_use]
pub fn compressed(batch: Bytes, codec: Compression) -> Bytes {
    if codec == Compression::None {
        return batch;
    }
    let mut header = BatchHeader::decode(&batch).expect("the batch was just encoded");
    header.attributes |= codec.id();
    let mut records = &batch[HEADER_LEN..];
    let level = if codec == Compression::Zstd { 3 } else { 6 };
    let body = codec::compress(codec, level, &mut records, usize::MAX).expect("it fits in memory");
    header_and_body(&mut header, &body)
}

/// The records of a batch as they were before they were compressed.
///
/// # Errors
/// What is wrong with the bytes.
pub fn uncompressed(header: &BatchHeader, records: &Bytes) -> Result<Bytes, String> {
    let codec = header.compression().ok_or("an unknown codec")?;
    if codec == Compression::None {
        return Ok(records.clone());
    }
    let mut out = Vec::new();
    codec::decoder(codec, records)
        .and_then(|mut decoder| decoder.read_to_end(&mut out))
        .map_err(|error| format!("{codec:?}: {error}"))?;
    Ok(Bytes::from(out))
}

/// The records of an answer to a fetch that stand at `from` or later. A last batch that is cut off is left out, as
/// clients do.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read(block: &Bytes, from: i64) -> Result<Vec<Polled>, String> {
    let mut polled = Vec::new();
    for view in batch::batches(block) {
        let view = match view {
            Ok(view) => view,
            Err(batch::BatchError::Short { .. }) => break,
            Err(error) => return Err(format!("no batch: {error:?}")),
        };
        let header = view.header;
        let at = header.base_offset.0;
        if header.crc != batch::checksum(&view.bytes) {
            return Err(format!("the CRC of the batch at {at} does not hold"));
        }
        if header.is_control() {
            return Err(format!("a control batch at {at}"));
        }
        let block = uncompressed(&header, &view.records())
            .map_err(|error| format!("the batch at {at}: {error}"))?;
        let parsed = records(&header, &block)
            .ok_or_else(|| format!("the records of the batch at {at} cannot be read"))?;
        polled.extend(parsed.iter().map(|record| Polled {
            offset: record.offset,
            id: record.value.and_then(identify),
            timestamp: record.timestamp,
            codec: header.compression().unwrap_or(Compression::None),
            log_append_time: header.is_log_append_time(),
            leader_epoch: header.leader_epoch.0,
        }));
    }
    polled.retain(|record| record.offset >= from);
    Ok(polled)
}

/// Offset and value of each record of a batch; `None` if they cannot be read.
#[must_use]
pub fn values(view: &batch::BatchView) -> Option<Vec<(i64, Bytes)>> {
    let block = uncompressed(&view.header, &view.records()).ok()?;
    let parsed = records(&view.header, &block)?;
    let values = parsed.iter().map(|record| {
        let value = record.value.unwrap_or_default();
        (record.offset, Bytes::copy_from_slice(value))
    });
    Some(values.collect())
}

struct Record<'a> {
    offset: i64,
    timestamp: i64,
    value: Option<&'a [u8]>,
}

fn records<'a>(header: &BatchHeader, mut rest: &'a [u8]) -> Option<Vec<Record<'a>>> {
    let mut out = Vec::new();
    for _ in 0..header.count {
        let len = usize::try_from(number(&mut rest)?).ok()?;
        let mut record = rest.get(..len)?;
        rest = &rest[len..];
        let _attributes = *record.first()?;
        record = &record[1..];
        let timestamp_delta = number(&mut record)?;
        let offset_delta = number(&mut record)?;
        let _key = field(&mut record)?;
        let value = field(&mut record)?;
        out.push(Record {
            offset: header.base_offset.0 + offset_delta,
            value,
            timestamp: match header.is_log_append_time() {
                true => header.max_timestamp,
                false => header.base_timestamp + timestamp_delta,
            },
        });
    }
    rest.is_empty().then_some(out)
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    let (value, used) = varlong(rest)?;
    *rest = rest.get(used..)?;
    Some(value)
}

/// A nullable field of a record.
fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match number(rest)? {
        -1 => Some(None),
        len => {
            let len = usize::try_from(len).ok()?;
            let bytes = rest.get(..len)?;
            *rest = &rest[len..];
            Some(Some(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Outgoing> {
        (0..4)
            .map(|nth| Outgoing {
                id: RecordId { producer: 2, nth },
                timestamp: 1000 + i64::from(nth),
                len: 40,
            })
            .collect()
    }

    #[test]
    fn records_come_back() {
        for codec in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let block = batch(&sample(), None, codec);
            let read_back = read(&block, 1).expect("a good batch");
            let wanted: Vec<Polled> = sample()
                .iter()
                .skip(1)
                .map(|record| Polled {
                    offset: i64::from(record.id.nth),
                    id: Some(record.id),
                    timestamp: record.timestamp,
                    codec,
                    log_append_time: false,
                    leader_epoch: -1,
                })
                .collect();
            assert_eq!(read_back, wanted);
        }
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let block = batch(&sample(), None, Compression::None);
        let mut changed = block.to_vec();
        *changed.last_mut().expect("bytes") ^= 1;
        assert!(read(&Bytes::from(changed), 0).is_err());
        let value = value(
            RecordId {
                producer: 1,
                nth: 2,
            },
            30,
        );
        assert_eq!(
            identify(&value),
            Some(RecordId {
                producer: 1,
                nth: 2
            })
        );
        let mut changed = value.to_vec();
        changed[20] ^= 1;
        assert_eq!(identify(&changed), None);
        assert_eq!(identify(b"other"), None);
    }

    #[test]
    fn a_batch_that_is_cut_off_is_left_out() {
        let one = batch(&sample(), None, Compression::None);
        let block = Bytes::from([&one[..], &one[..one.len() - 1]].concat());
        assert_eq!(read(&block, 0).map(|records| records.len()), Ok(4));
    }
}
