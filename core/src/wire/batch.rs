//! A view of record batches, version 2 of the format (KIP-98): 61 bytes of header, then records.
//!
//! Owns the layout of the header and of uncompressed records, both ways. Never decompresses, never checks a CRC while it
//! iterates (that is [`crate::work`]'s), and never reads past the bytes that are there.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::{LeaderEpoch, Offset, ProducerId};

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;
/// Bytes of base offset and length, which the length field does not count.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes before the magic: what a leader rewrites and the CRC does not cover.
pub const PREFIX_LEN: usize = 16;
/// Where the area that the CRC covers begins.
pub const CRC_COVERS_FROM: usize = 21;
/// The only magic that is served.
pub const MAGIC: i8 = 2;
/// "No timestamp".
pub const NO_TIMESTAMP: i64 = -1;
/// "No sequence".
pub const NO_SEQUENCE: i32 = -1;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in xerial's framing, or raw.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878. KIP-110.
    Zstd,
}

impl Compression {
    /// From the low three bits of the attributes.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The low three bits of the attributes.
    #[must_use]
    pub fn id(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header, or than its length says: there may be more to come.
    Short {
        /// Bytes that the whole batch needs, as far as is known.
        need: usize,
    },
    /// The length field is below what a header needs.
    Length(i32),
    /// Another format version.
    Magic(i8),
}

/// The decoded header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes of the batch after the length field.
    pub length: i32,
    /// Of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control, delete horizon.
    pub attributes: i16,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from, in ms.
    pub base_timestamp: i64,
    /// The greatest timestamp, in ms; -1 is none.
    pub max_timestamp: i64,
    /// Who produced it.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1 is none.
    pub base_sequence: i32,
    /// Records in it.
    pub count: i32,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl BatchHeader {
    /// Decodes the header at the front of `bytes`; the body need not be there.
    ///
    /// # Errors
    /// If there are fewer than 61 bytes, the length is impossible, or the magic is not 2.
    pub fn decode(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if bytes.len() < PREFIX_LEN + 1 {
            return Err(BatchError::Short { need: HEADER_LEN });
        }
        let magic = bytes[PREFIX_LEN] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        let length = i32::from_be_bytes(array(bytes, 8));
        if length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
            return Err(BatchError::Length(length));
        }
        if bytes.len() < HEADER_LEN {
            return Err(BatchError::Short { need: HEADER_LEN });
        }
        Ok(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(array(bytes, 0))),
            length,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(array(bytes, 12))),
            crc: u32::from_be_bytes(array(bytes, 17)),
            attributes: i16::from_be_bytes(array(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array(bytes, 35)),
            producer_id: ProducerId(i64::from_be_bytes(array(bytes, 43))),
            producer_epoch: i16::from_be_bytes(array(bytes, 51)),
            base_sequence: i32::from_be_bytes(array(bytes, 53)),
            count: i32::from_be_bytes(array(bytes, 57)),
        })
    }

    /// Writes the header, all 61 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&prefix(self.base_offset, self.length, self.leader_epoch));
        out.put_i8(MAGIC);
        out.put_u32(self.crc);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id.0);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.count);
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + usize::try_from(self.length).unwrap_or(0)
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .0
                .saturating_add(i64::from(self.last_offset_delta)),
        )
    }

    /// One past the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// How the records are compressed; `None` for an id that Kafka does not know.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_id(self.attributes & 0x07)
    }

    /// Were the timestamps set by the broker (`LogAppendTime`)?
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    /// Part of a transaction?
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Control records, which consumers never see?
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Sequence of the last record, wrapping after the greatest; -1 without sequences.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// `sequence` + `by` in the ring 0..=i32::MAX. KIP-98.
#[must_use]
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    let ring = i64::from(i32::MAX) + 1;
    i32::try_from(sum.rem_euclid(ring)).unwrap_or(0)
}

/// The 16 bytes that a leader puts before the magic.
#[must_use]
pub fn prefix(base_offset: Offset, length: i32, epoch: LeaderEpoch) -> [u8; PREFIX_LEN] {
    let mut bytes = [0; PREFIX_LEN];
    bytes[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[12..].copy_from_slice(&epoch.0.to_be_bytes());
    bytes
}

/// The CRC that a whole batch should carry: CRC-32C over everything from the attributes on.
#[must_use]
pub fn checksum(batch: &[u8]) -> u32 {
    crc32c(batch.get(CRC_COVERS_FROM..).unwrap_or_default())
}

/// CRC-32C (Castagnoli) of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The crate computes every width in 64 bits; a 32-bit CRC fills the low half.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// One batch within a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// Its header.
    pub header: BatchHeader,
    /// The whole batch, header included: a slice of the block.
    pub bytes: Bytes,
    /// Where it begins in the block.
    pub at: usize,
}

impl BatchView {
    /// The records, compressed as the header says.
    #[must_use]
    pub fn records(&self) -> Bytes {
        self.bytes.slice(HEADER_LEN..)
    }
}

/// Iterates over the batches of `block`; ends after the first error.
#[must_use]
pub fn batches(block: &Bytes) -> Batches {
    Batches {
        block: block.clone(),
        at: 0,
        ended: false,
    }
}

/// The iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    block: Bytes,
    at: usize,
    ended: bool,
}

impl Iterator for Batches {
    type Item = Result<BatchView, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.block.len() - self.at;
        if self.ended || left == 0 {
            return None;
        }
        let header = match BatchHeader::decode(&self.block[self.at..]) {
            Ok(header) if header.size() <= left => header,
            other => {
                self.ended = true;
                return Some(Err(match other {
                    Ok(header) => BatchError::Short {
                        need: header.size(),
                    },
                    Err(error) => error,
                }));
            }
        };
        let view = BatchView {
            header,
            bytes: self.block.slice(self.at..self.at + header.size()),
            at: self.at,
        };
        self.at += header.size();
        Some(Ok(view))
    }
}

/// A record to encode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordToWrite {
    /// In ms.
    pub timestamp: i64,
    /// Null if `None`.
    pub key: Option<Bytes>,
    /// Null if `None`.
    pub value: Option<Bytes>,
    /// Key and value; a null value if `None`.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Who writes a batch and how it is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Attributes; the compression bits must be 0.
    pub attributes: i16,
    /// Who.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Of the first record.
    pub base_sequence: i32,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            attributes: 0,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            base_sequence: NO_SEQUENCE,
        }
    }
}

/// The attribute bit of control batches.
pub const ATTRIBUTE_CONTROL: i16 = 0x20;

/// Encodes an uncompressed batch at base offset 0 with its CRC. `records` must not be empty.
#[must_use]
pub fn encode_batch(options: BatchOptions, records: &[RecordToWrite]) -> Bytes {
    let base_timestamp = records.first().map_or(NO_TIMESTAMP, |r| r.timestamp);
    let mut body = BytesMut::new();
    for (delta, record) in records.iter().enumerate() {
        put_record(&mut body, record, delta as i64, base_timestamp);
    }
    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
    let mut header = BatchHeader {
        base_offset: Offset(0),
        length: i32::try_from(HEADER_LEN - LOG_OVERHEAD + body.len()).unwrap_or(i32::MAX),
        leader_epoch: LeaderEpoch::NONE,
        crc: 0,
        attributes: options.attributes,
        last_offset_delta: count - 1,
        base_timestamp,
        max_timestamp: records
            .iter()
            .map(|r| r.timestamp)
            .max()
            .unwrap_or(NO_TIMESTAMP),
        producer_id: options.producer_id,
        producer_epoch: options.producer_epoch,
        base_sequence: options.base_sequence,
        count,
    };
    header_and_body(&mut header, &body)
}

/// Joins `header` and the encoded records, and fills in length and CRC.
#[must_use]
pub fn header_and_body(header: &mut BatchHeader, body: &[u8]) -> Bytes {
    header.length = i32::try_from(HEADER_LEN - LOG_OVERHEAD + body.len()).unwrap_or(i32::MAX);
    let mut out = BytesMut::with_capacity(HEADER_LEN + body.len());
    header.encode(&mut out);
    out.put_slice(body);
    header.crc = checksum(&out);
    out[17..21].copy_from_slice(&header.crc.to_be_bytes());
    out.freeze()
}

fn put_record(out: &mut BytesMut, record: &RecordToWrite, offset_delta: i64, base_timestamp: i64) {
    let mut inner = BytesMut::new();
    inner.put_i8(0);
    put_varlong(&mut inner, record.timestamp.wrapping_sub(base_timestamp));
    put_varlong(&mut inner, offset_delta);
    put_nullable(&mut inner, record.key.as_deref());
    put_nullable(&mut inner, record.value.as_deref());
    put_varlong(&mut inner, record.headers.len() as i64);
    for (key, value) in &record.headers {
        put_nullable(&mut inner, Some(key.as_bytes()));
        put_nullable(&mut inner, value.as_deref());
    }
    put_varlong(out, inner.len() as i64);
    out.put_slice(&inner);
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.put_slice(bytes);
        }
    }
}

/// Zigzag varint of 64 bits; the same bytes as the 32-bit form for values that fit it.
pub fn put_varlong(out: &mut BytesMut, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        out.put_u8((bits as u8 & 0x7f) | 0x80);
        bits >>= 7;
    }
    out.put_u8(bits as u8);
}

/// Reads a zigzag varint from the front of `bytes`; `None` if it is cut off or longer than 64 bits.
#[must_use]
pub fn varlong(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut bits: u64 = 0;
    for (place, &byte) in bytes.iter().enumerate().take(10) {
        if place == 9 && byte > 1 {
            return None;
        }
        bits |= u64::from(byte & 0x7f) << (place * 7);
        if byte & 0x80 == 0 {
            return Some((((bits >> 1) as i64) ^ -((bits & 1) as i64), place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[&'static [u8]]) -> Bytes {
        let records: Vec<_> = values
            .iter()
            .map(|v| RecordToWrite {
                timestamp: 1_000,
                value: Some(Bytes::from_static(v)),
                ..RecordToWrite::default()
            })
            .collect();
        encode_batch(BatchOptions::default(), &records)
    }

    #[test]
    fn crc_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn header_round_trips_and_batches_iterate() {
        let one = sample(&[b"a"]);
        let two = sample(&[b"b", b"c"]);
        let block = Bytes::from([one.clone(), two.clone()].concat());
        let views: Vec<_> = batches(&block).map(|b| b.expect("whole")).collect();
        assert_eq!(views.len(), 2);
        assert_eq!(views[1].bytes, two);
        assert_eq!(views[1].header.count, 2);
        assert_eq!(views[1].header.crc, checksum(&two));
        let mut again = BytesMut::new();
        views[1].header.encode(&mut again);
        assert_eq!(again[..], two[..HEADER_LEN]);
    }

    #[test]
    fn short_and_impossible_lengths_are_told_apart() {
        let one = sample(&[b"a"]);
        let cut = one.slice(..one.len() - 1);
        assert_eq!(
            batches(&cut).next(),
            Some(Err(BatchError::Short { need: one.len() }))
        );
        let mut bad = one.to_vec();
        bad[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
        assert_eq!(BatchHeader::decode(&bad), Err(BatchError::Length(-1)));
        bad[16] = 1;
        assert_eq!(BatchHeader::decode(&bad), Err(BatchError::Magic(1)));
        bad[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        bad[16] = 2;
        assert!(matches!(
            batches(&Bytes::from(bad)).next(),
            Some(Err(BatchError::Short { .. }))
        ));
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 4), 2);
        assert_eq!(increment_sequence(3, 4), 7);
    }

    #[test]
    fn varints_are_bounded() {
        for value in [0, -1, 1, 63, -64, 64, i64::MAX, i64::MIN, 1 << 33] {
            let mut out = BytesMut::new();
            put_varlong(&mut out, value);
            assert_eq!(varlong(&out), Some((value, out.len())));
        }
        assert_eq!(varlong(&[0xff; 12]), None);
        assert_eq!(varlong(&[0x80]), None);
    }
}
