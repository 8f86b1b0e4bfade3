//! Records that Kafka keeps in its own topics: how their values and keys are framed, and one enum a family.
//!
//! Metadata records: frame version 1, record type and version as varints, then the record, and nothing after it
//! (KIP-631). Coordinator records: the key starts with an `int16` that says the type; the value, whose type is its
//! key's, starts with an `int16` version (KIP-848).

use bytes::Bytes;

use super::messages::{self, Message};
use super::reader::{DecodeError, DecodeErrorKind, Reader};
use super::writer::{EncodeError, EncodeErrorKind, Writer};

include!(concat!(env!("OUT_DIR"), "/records.rs"));

/// The only version of the frame around metadata records.
const FRAME_VERSION: u32 = 1;

/// Room that most records fit in.
const RECORD_BYTES_GUESS: usize = 128;

/// Keys have one version.
const KEY_VERSION: i16 = 0;

macro_rules! framed {
    ($($family:ident)*) => {$(
        impl $family {
            /// Reads the value of a record: the record and the version that it was written in.
            pub fn decode_value(value: Bytes) -> Result<($family, i16), DecodeError> {
                let mut reader = Reader::new(value);
                let frame_version = reader.uvarint("frame_version")?;
                if frame_version != FRAME_VERSION {
                    return Err(reader.error(DecodeErrorKind::UnknownRecord, "frame_version"));
                }
                let id = small(&mut reader, "record_id")?;
                let version = small(&mut reader, "record_version")?;
                let record = $family::read(&mut reader, id, version)?;
                reader.finish(stringify!($family))?;
                Ok((record, version))
            }

            /// The value of a record of this `version`.
            pub fn encode_value(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::with_capacity(RECORD_BYTES_GUESS);
                writer.uvarint(FRAME_VERSION);
                for number in [self.id(), version] {
                    let number = u32::try_from(number).map_err(|_| EncodeError::new(EncodeErrorKind::Version, stringify!($family)))?;
                    writer.uvarint(number);
                }
                self.write(&mut writer, version)?;
                Ok(writer.into_bytes())
            }
        }
    )*};
}
framed!(MetadataRecord RemoteLogRecord);

/// A varint that an `int16` can hold.
fn small(reader: &mut Reader, field: &'static str) -> Result<i16, DecodeError> {
    let number = reader.uvarint(field)?;
    i16::try_from(number).map_err(|_| reader.error(DecodeErrorKind::UnknownRecord, field))
}

macro_rules! coordinator {
    ($($key:ident $value:ident)*) => {$(
        impl $key {
            /// Reads the key of a record. A type that we do not know is [`DecodeErrorKind::UnknownRecord`]; such a
            /// record is skipped, as Kafka does after a downgrade.
            pub fn decode(key: Bytes) -> Result<$key, DecodeError> {
                let mut reader = Reader::new(key);
                let id = reader.int16("record_type")?;
                $key::read(&mut reader, id, KEY_VERSION)
            }

            /// The key of a record.
            pub fn encode(&self) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::with_capacity(RECORD_BYTES_GUESS);
                writer.int16(self.id());
                self.write(&mut writer, KEY_VERSION)?;
                Ok(writer.into_bytes())
            }

            /// Reads the value that stands with this key: it and the version that it was written in. A tombstone has no
            /// value to read.
            pub fn decode_value(&self, value: Bytes) -> Result<($value, i16), DecodeError> {
                let mut reader = Reader::new(value);
                let version = reader.int16("record_version")?;
                Ok(($value::read(&mut reader, self.id(), version)?, version))
            }
        }
        impl $value {
            /// The value of a record of this `version`.
            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::with_capacity(RECORD_BYTES_GUESS);
                writer.int16(version);
                self.write(&mut writer, version)?;
                Ok(writer.into_bytes())
            }
        }
    )*};
}
coordinator!(GroupRecordKey GroupRecordValue TransactionRecordKey TransactionRecordValue ShareRecordKey ShareRecordValue);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uuid;
    use crate::wire::messages::{OffsetCommitKey, OffsetCommitValue, TopicRecord};

    #[test]
    fn metadata_records_are_framed_and_end() {
        let record = MetadataRecord::from(TopicRecord {
            name: "t".into(),
            topic_id: Uuid::METADATA_TOPIC,
            ..Default::default()
        });
        let value = record.encode_value(0).unwrap();
        assert_eq!(value[..5], [1, 2, 0, 2, b't']);
        assert_eq!(MetadataRecord::decode_value(value.clone()), Ok((record, 0)));

        let longer = Bytes::from([&value[..], &[0]].concat());
        assert_eq!(
            MetadataRecord::decode_value(longer).unwrap_err().kind,
            DecodeErrorKind::Trailing
        );
        let other_frame = Bytes::from([&[0], &value[1..]].concat());
        assert_eq!(
            MetadataRecord::decode_value(other_frame).unwrap_err().kind,
            DecodeErrorKind::UnknownRecord
        );
        let other_type = Bytes::from_static(&[1, 6, 0, 0]);
        assert_eq!(
            MetadataRecord::decode_value(other_type).unwrap_err().kind,
            DecodeErrorKind::UnknownRecord
        );
        let other_version = Bytes::from_static(&[1, 2, 9, 0]);
        assert_eq!(
            MetadataRecord::decode_value(other_version)
                .unwrap_err()
                .kind,
            DecodeErrorKind::Version
        );
    }

    #[test]
    fn coordinator_records_have_their_type_in_the_key_and_their_version_in_the_value() {
        let key = GroupRecordKey::from(OffsetCommitKey {
            group: "g".into(),
            topic: "t".into(),
            partition: 3,
        });
        let bytes = key.encode().unwrap();
        assert_eq!(bytes[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
        assert_eq!(GroupRecordKey::decode(bytes), Ok(key.clone()));

        let value = GroupRecordValue::from(OffsetCommitValue {
            offset: 5,
            ..Default::default()
        });
        let bytes = value.encode(3).unwrap();
        assert_eq!(bytes[..2], [0, 3]);
        assert_eq!(key.decode_value(bytes), Ok((value, 3)));
    }
}
