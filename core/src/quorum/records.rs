//! Batches of the metadata log: Kafka's record batches with framed metadata records or control records (KIP-595, KIP-631).
//!
//! Owns both directions. Never compresses (as Kafka never does here) and never touches a file.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, Offset};
use crate::wire::batch::{
    self, ATTRIBUTE_CONTROL, BatchOptions, BatchView, Compression, RecordToWrite, varlong,
};
use crate::wire::{
    KRaftVersionRecord, LeaderChangeMessage, Message, MetadataRecord, Reader, SnapshotFooterRecord,
    SnapshotHeaderRecord, VotersRecord, Writer,
};

const LEADER_CHANGE: i16 = 2;
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;
const KRAFT_VERSION: i16 = 5;
const KRAFT_VOTERS: i16 = 6;

/// The version of a control record's key, and of the control records that are written here.
const CONTROL_VERSION: i16 = 0;

/// One control record of the quorum's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first record of an epoch: who leads.
    LeaderChange(LeaderChangeMessage),
    /// The first record of a snapshot.
    SnapshotHeader(SnapshotHeaderRecord),
    /// The last record of a snapshot.
    SnapshotFooter(SnapshotFooterRecord),
    /// The version of the quorum's protocol from here on.
    KRaftVersion(KRaftVersionRecord),
    /// The voters from here on (KIP-853).
    Voters(VotersRecord),
    /// Of a type that is unknown here; passed over.
    Unknown(i16),
}

/// What a batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Metadata records.
    Records(Vec<MetadataRecord>),
    /// Control records.
    Control(Vec<Control>),
}

/// One batch of the metadata log or of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset of its last record.
    pub last: Offset,
    /// The epoch of the leader that wrote it.
    pub epoch: LeaderEpoch,
    /// When it was written, in ms.
    pub timestamp: i64,
    /// Its records.
    pub content: Content,
}

/// A batch of metadata records at base offset 0, ready to append; `records` must not be empty.
///
/// # Panics
/// If a record does not fit the version that it comes with: a broken rule of the controller.
#[must_use]
pub fn encode_records(records: &[(MetadataRecord, i16)], timestamp: i64) -> Bytes {
    let record = |(record, version): &(MetadataRecord, i16)| RecordToWrite {
        timestamp,
        value: Some(record.encode_value(*version).unwrap_or_else(|error| {
            panic!("a metadata record does not fit version {version}: {error}; {record:?}")
        })),
        ..RecordToWrite::default()
    };
    let records: Vec<_> = records.iter().map(record).collect();
    batch::encode_batch(BatchOptions::default(), &records)
}

/// A batch of control records at base offset 0; `records` must not be empty.
#[must_use]
pub fn encode_control(records: &[Control], timestamp: i64) -> Bytes {
    let record = |control: &Control| RecordToWrite {
        timestamp,
        key: Some(control_key(control.type_id())),
        value: Some(control.value()),
        ..RecordToWrite::default()
    };
    let records: Vec<_> = records.iter().map(record).collect();
    let options = BatchOptions {
        attributes: ATTRIBUTE_CONTROL,
        ..BatchOptions::default()
    };
    batch::encode_batch(options, &records)
}

/// The batches of `block`, whose checksums the caller has checked.
///
/// # Errors
/// The block ends in the middle of a batch, or a record cannot be read: the sentence says where.
pub fn decode(block: &Bytes) -> Result<Vec<Batch>, String> {
    batch::batches(block)
        .map(|view| {
            let view = view.map_err(|error| {
                format!("the metadata log holds bytes that are no batch: {error:?}")
            })?;
            decode_batch(&view).map_err(|why| {
                format!(
                    "the batch at offset {} of the metadata log cannot be read: {why}",
                    view.header.base_offset
                )
            })
        })
        .collect()
}

fn decode_batch(view: &BatchView) -> Result<Batch, String> {
    let header = &view.header;
    if header.compression() != Some(Compression::None) {
        return Err("it is compressed".to_owned());
    }
    let mut left = view.records();
    let mut records = Vec::new();
    let mut controls = Vec::new();
    while !left.is_empty() {
        let (key, value, size) = key_and_value(&left).ok_or("a record is cut off")?;
        if header.is_control() {
            controls.push(Control::decode(
                key.unwrap_or_default(),
                value.unwrap_or_default(),
            )?);
        } else {
            // Copied out: what is kept of a record must not hold the whole block that it was read in.
            let value = Bytes::copy_from_slice(&value.ok_or("a record has no value")?);
            records.push(
                MetadataRecord::decode_value(value)
                    .map_err(|error| error.to_string())?
                    .0,
            );
        }
        left = left.slice(size..);
    }
    let count = records.len() + controls.len();
    if usize::try_from(header.count) != Ok(count)
        || i64::from(header.last_offset_delta) + 1 != count as i64
    {
        return Err(format!(
            "its header counts {} records, it holds {count}",
            header.count
        ));
    }
    Ok(Batch {
        base: header.base_offset,
        last: header.last_offset(),
        epoch: header.leader_epoch,
        timestamp: header.max_timestamp,
        content: if header.is_control() {
            Content::Control(controls)
        } else {
            Content::Records(records)
        },
    })
}

impl Control {
    fn type_id(&self) -> i16 {
        match self {
            Control::LeaderChange(_) => LEADER_CHANGE,
            Control::SnapshotHeader(_) => SNAPSHOT_HEADER,
            Control::SnapshotFooter(_) => SNAPSHOT_FOOTER,
            Control::KRaftVersion(_) => KRAFT_VERSION,
            Control::Voters(_) => KRAFT_VOTERS,
            Control::Unknown(id) => *id,
        }
    }

    fn value(&self) -> Bytes {
        match self {
            Control::LeaderChange(record) => body(record),
            Control::SnapshotHeader(record) => body(record),
            Control::SnapshotFooter(record) => body(record),
            Control::KRaftVersion(record) => body(record),
            Control::Voters(record) => body(record),
            Control::Unknown(_) => Bytes::new(),
        }
    }

    fn decode(key: Bytes, value: Bytes) -> Result<Control, String> {
        let mut reader = Reader::new(key);
        let mut next = |field| reader.int16(field).map_err(|error| error.to_string());
        let _version = next("control key version")?;
        let id = next("control key type")?;
        Ok(match id {
            LEADER_CHANGE => Control::LeaderChange(read(value)?),
            SNAPSHOT_HEADER => Control::SnapshotHeader(read(value)?),
            SNAPSHOT_FOOTER => Control::SnapshotFooter(read(value)?),
            KRAFT_VERSION => Control::KRaftVersion(read(value)?),
            KRAFT_VOTERS => Control::Voters(read(value)?),
            other => Control::Unknown(other),
        })
    }
}

fn control_key(id: i16) -> Bytes {
    let mut writer = Writer::with_capacity(4);
    writer.int16(CONTROL_VERSION);
    writer.int16(id);
    writer.into_bytes()
}

fn body<M: Message>(record: &M) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    if let Err(error) = record.encode(&mut writer, CONTROL_VERSION) {
        panic!("a control record does not fit version {CONTROL_VERSION}: {error}; {record:?}");
    }
    writer.into_bytes()
}

/// Every control record starts with its own version.
fn read<M: Message>(value: Bytes) -> Result<M, String> {
    let version = match value.first_chunk::<2>() {
        Some(bytes) => i16::from_be_bytes(*bytes),
        None => return Err(format!("a {} record is empty", M::NAME)),
    };
    // A later version adds tagged fields only.
    let version = version.clamp(M::MIN_VERSION, M::MAX_VERSION);
    M::decode(&mut Reader::new(Bytes::copy_from_slice(&value)), version)
        .map_err(|error| error.to_string())
}

/// Key, value and size of the record at the front of `bytes`; `None` if it is cut off.
#[allow(clippy::type_complexity)]
fn key_and_value(bytes: &Bytes) -> Option<(Option<Bytes>, Option<Bytes>, usize)> {
    let mut at = 0;
    let length = usize::try_from(number(bytes, &mut at)?).ok()?;
    let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
    let record = bytes.slice(..end);
    at = at.checked_add(1)?;
    let (_timestamp_delta, _offset_delta) = (number(&record, &mut at)?, number(&record, &mut at)?);
    let key = nullable(&record, &mut at)?;
    let value = nullable(&record, &mut at)?;
    Some((key, value, end))
}

fn number(bytes: &Bytes, at: &mut usize) -> Option<i64> {
    let (value, size) = varlong(bytes.get(*at..)?)?;
    *at += size;
    Some(value)
}

fn nullable(bytes: &Bytes, at: &mut usize) -> Option<Option<Bytes>> {
    let length = number(bytes, at)?;
    if length < 0 {
        return Some(None);
    }
    let end = at
        .checked_add(usize::try_from(length).ok()?)
        .filter(|end| *end <= bytes.len())?;
    let slice = bytes.slice(*at..end);
    *at = end;
    Some(Some(slice))
}
