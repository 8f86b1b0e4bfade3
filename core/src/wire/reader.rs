//! Bounded reading of one frame.
//!
//! Every read is checked against the bytes left; strings, bytes and records are slices of the frame. A count is
//! believed only as far as the bytes left could hold that many elements, and what all arrays of a frame together may
//! occupy in memory is limited, so that a hostile frame costs a small multiple of its own size. The error path
//! allocates nothing.

use std::fmt;

use bytes::Bytes;

use super::error_code::ErrorCode;
use super::str::Str;
use super::types::{F64Bits, TaggedFields};
use crate::ids::Uuid;

/// Strings are at most this long in every encoding, as in Kafka.
pub const STRING_BYTES_MAX: usize = 0x7fff;

/// What a reader may reserve for one array before its elements have been read.
const RESERVE_BYTES_MAX: usize = 16 * 1024;

/// Memory that the arrays of one frame may occupy: this much in any case …
pub const ARRAY_BYTES_BASE: usize = 64 * 1024;
/// … and this many times the bytes of the frame. An honest frame stays far below: it takes a frame of nothing but
/// empty strings to reach 16.
pub const ARRAY_BYTES_PER_FRAME_BYTE: usize = 16;
/// … and never more than this. What makes an honest frame large is records, which are slices of it.
pub const ARRAY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The least that a tagged field takes: tag and size.
const TAGGED_FIELD_BYTES_MIN: usize = 2;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The frame ends inside the field.
    Truncated,
    /// A count or length is more than the bytes left can hold.
    TooLong,
    /// The arrays of the frame would occupy too much memory.
    TooMuchMemory,
    /// Null where the version does not allow it.
    Null,
    /// A varint of more than five (or ten) bytes, or one that does not fit.
    Varint,
    /// Not UTF-8.
    Utf8,
    /// A tag that does not come after the one before it, or that this version does not have, or whose size is not its value's.
    Tag,
    /// An API key that Kafka does not have.
    UnknownApi,
    /// A version outside the range of the message.
    Version,
    /// A record type or frame version that Kafka does not have.
    UnknownRecord,
    /// Bytes follow the end.
    Trailing,
}

/// Why a frame or record could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// The struct and field that were being read.
    pub field: &'static str,
    /// Bytes of the frame before it.
    pub position: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DecodeErrorKind::Truncated => "the bytes end too early",
            DecodeErrorKind::TooLong => "a count or length is more than the bytes left can hold",
            DecodeErrorKind::TooMuchMemory => "the elements would occupy too much memory",
            DecodeErrorKind::Null => "null is not allowed in this version",
            DecodeErrorKind::Varint => "a varint is too long or does not fit",
            DecodeErrorKind::Utf8 => "the text is not UTF-8",
            DecodeErrorKind::Tag => {
                "a tagged field is out of order, not of this version, or of the wrong size"
            }
            DecodeErrorKind::UnknownApi => "there is no such API key",
            DecodeErrorKind::Version => "there is no such version",
            DecodeErrorKind::UnknownRecord => "there is no such record type",
            DecodeErrorKind::Trailing => "bytes follow the end",
        };
        write!(f, "{} at byte {}: {what}", self.field, self.position)
    }
}
impl std::error::Error for DecodeError {}

/// A cursor over one frame. See the [module](self).
#[derive(Clone, Debug)]
pub struct Reader {
    frame: Bytes,
    at: usize,
    /// Reading stops here: the frame's end or, inside a tagged field, that field's.
    end: usize,
    /// Memory that arrays may still occupy.
    allowance: usize,
}

impl Reader {
    /// At the first byte of `frame`.
    #[inline]
    #[must_use]
    pub fn new(frame: Bytes) -> Reader {
        let end = frame.len();
        Reader {
            frame,
            at: 0,
            end,
            allowance: ARRAY_BYTES_BASE
                .saturating_add(end.saturating_mul(ARRAY_BYTES_PER_FRAME_BYTE))
                .min(ARRAY_BYTES_MAX),
        }
    }

    /// Bytes read so far.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// An error at the present position.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn error(&self, kind: DecodeErrorKind, field: &'static str) -> DecodeError {
        DecodeError {
            kind,
            field,
            position: self.at,
        }
    }

    /// Fails unless everything was read. Kafka ignores bytes after a request's body, and so do we; records must end.
    pub fn finish(&self, name: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(self.error(DecodeErrorKind::Trailing, name))
        }
    }

    #[inline]
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self
            .frame
            .get(self.at..self.end)
            .and_then(<[u8]>::first_chunk::<N>)
        {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.error(DecodeErrorKind::Truncated, field)),
        }
    }

    /// The next `len` bytes, shared with the frame.
    #[inline]
    pub fn slice(&mut self, len: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if len > self.remaining() {
            return Err(self.error(DecodeErrorKind::TooLong, field));
        }
        let slice = self.frame.slice(self.at..self.at + len);
        self.at += len;
        Ok(slice)
    }

    /// One signed byte.
    #[inline]
    pub fn int8(&mut self, field: &'static str) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.take(field)?))
    }

    /// Two bytes, signed.
    #[inline]
    pub fn int16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.take(field)?))
    }

    /// Two bytes, unsigned.
    #[inline]
    pub fn uint16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.take(field)?))
    }

    /// Four bytes, signed.
    #[inline]
    pub fn int32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.take(field)?))
    }

    /// Four bytes, unsigned.
    #[inline]
    pub fn uint32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.take(field)?))
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn int64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.take(field)?))
    }

    /// The bits of a double.
    #[inline]
    pub fn float64(&mut self, field: &'static str) -> Result<F64Bits, DecodeError> {
        Ok(F64Bits(u64::from_be_bytes(self.take(field)?)))
    }

    /// Zero is false, everything else true.
    #[inline]
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.int8(field)? != 0)
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self, field: &'static str) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.take(field)?))
    }

    /// An error code, known to us or not.
    #[inline]
    pub fn error_code(&mut self, field: &'static str) -> Result<ErrorCode, DecodeError> {
        Ok(ErrorCode(self.int16(field)?))
    }

    /// An unsigned varint of at most five bytes and 32 bits.
    #[inline]
    pub fn uvarint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match self.frame.get(self.at..self.end) {
            Some([byte, ..]) if *byte < 0x80 => {
                self.at += 1;
                Ok(u32::from(*byte))
            }
            _ => self.uvarint_of_many_bytes(field),
        }
    }

    fn uvarint_of_many_bytes(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take(field)?;
            if shift == 28 && byte > 0x0f {
                return Err(self.error(DecodeErrorKind::Varint, field));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A length: compact (one more than the length as a varint, 0 is null) or the signed integer that `classic` reads
    /// (negative is null).
    #[inline]
    fn length(
        &mut self,
        flexible: bool,
        field: &'static str,
        classic: impl FnOnce(&mut Reader) -> Result<i32, DecodeError>,
    ) -> Result<Option<usize>, DecodeError> {
        if flexible {
            Ok((self.uvarint(field)? as usize).checked_sub(1))
        } else {
            Ok(usize::try_from(classic(self)?).ok())
        }
    }

    #[inline]
    fn not_null<T>(&self, value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
        value.ok_or_else(|| self.error(DecodeErrorKind::Null, field))
    }

    #[inline]
    fn if_null<T>(
        &self,
        value: Option<T>,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<Option<T>, DecodeError> {
        if value.is_none() && !null_allowed {
            return Err(self.error(DecodeErrorKind::Null, field));
        }
        Ok(value)
    }

    #[inline]
    fn any_string(
        &mut self,
        flexible: bool,
        field: &'static str,
    ) -> Result<Option<Str>, DecodeError> {
        let Some(len) = self.length(flexible, field, |r| Ok(i32::from(r.int16(field)?)))? else {
            return Ok(None);
        };
        if len == 0 {
            return Ok(Some(Str::EMPTY));
        }
        if len > STRING_BYTES_MAX {
            return Err(self.error(DecodeErrorKind::TooLong, field));
        }
        let bytes = self.slice(len, field)?;
        match Str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.error(DecodeErrorKind::Utf8, field)),
        }
    }

    /// Text.
    #[inline]
    pub fn string(&mut self, flexible: bool, field: &'static str) -> Result<Str, DecodeError> {
        let value = self.any_string(flexible, field)?;
        self.not_null(value, field)
    }

    /// Text or null.
    #[inline]
    pub fn nullable_string(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<Option<Str>, DecodeError> {
        let value = self.any_string(flexible, field)?;
        self.if_null(value, null_allowed, field)
    }

    #[inline]
    fn any_bytes(
        &mut self,
        flexible: bool,
        field: &'static str,
    ) -> Result<Option<Bytes>, DecodeError> {
        let Some(len) = self.length(flexible, field, |r| r.int32(field))? else {
            return Ok(None);
        };
        self.slice(len, field).map(Some)
    }

    /// Bytes or records.
    #[inline]
    pub fn bytes(&mut self, flexible: bool, field: &'static str) -> Result<Bytes, DecodeError> {
        let value = self.any_bytes(flexible, field)?;
        self.not_null(value, field)
    }

    /// Bytes or records, or null.
    #[inline]
    pub fn nullable_bytes(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<Option<Bytes>, DecodeError> {
        let value = self.any_bytes(flexible, field)?;
        self.if_null(value, null_allowed, field)
    }

    /// Reads a count and checks it against the bytes left (`element_min` is the least that an element takes on the
    /// wire) and against the memory that the frame may occupy (`element_size` bytes each).
    #[inline]
    fn count(
        &mut self,
        flexible: bool,
        element_min: usize,
        element_size: usize,
        field: &'static str,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(flexible, field, |r| r.int32(field))? else {
            return Ok(None);
        };
        if count > self.remaining() / element_min.max(1) {
            return Err(self.error(DecodeErrorKind::TooLong, field));
        }
        self.charge(count, element_size, field)?;
        Ok(Some(count))
    }

    #[inline]
    fn charge(
        &mut self,
        count: usize,
        element_size: usize,
        field: &'static str,
    ) -> Result<(), DecodeError> {
        match count
            .checked_mul(element_size)
            .and_then(|bytes| self.allowance.checked_sub(bytes))
        {
            Some(left) => {
                self.allowance = left;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::TooMuchMemory, field)),
        }
    }

    #[inline]
    fn any_array<T>(
        &mut self,
        flexible: bool,
        element_min: usize,
        field: &'static str,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.count(flexible, element_min, size_of::<T>(), field)? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count.min(RESERVE_BYTES_MAX / size_of::<T>().max(1)));
        for read in 0..count {
            if read == elements.capacity() {
                // At most doubled, and never beyond what was counted.
                elements.reserve_exact(read.min(count - read));
            }
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array. `element_min` is the least number of bytes that an element takes in this version.
    #[inline]
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_min: usize,
        field: &'static str,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let value = self.any_array(flexible, element_min, field, element)?;
        self.not_null(value, field)
    }

    /// An array or null.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        element_min: usize,
        field: &'static str,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let value = self.any_array(flexible, element_min, field, element)?;
        self.if_null(value, null_allowed, field)
    }

    /// A struct or null: a signed byte stands before it, negative for null.
    #[inline]
    pub fn nullable_struct<T>(
        &mut self,
        null_allowed: bool,
        field: &'static str,
        value: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let value = if self.int8(field)? < 0 {
            None
        } else {
            Some(value(self)?)
        };
        self.if_null(value, null_allowed, field)
    }

    /// A struct or null as a tagged field: a varint stands before it, 0 for null.
    #[inline]
    pub fn nullable_tagged_struct<T>(
        &mut self,
        null_allowed: bool,
        field: &'static str,
        value: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let value = if self.uvarint(field)? == 0 {
            None
        } else {
            Some(value(self)?)
        };
        self.if_null(value, null_allowed, field)
    }

    /// The tagged fields at the end of a struct that has none of its own.
    #[inline]
    pub fn unknown_tagged_fields(
        &mut self,
        name: &'static str,
    ) -> Result<TaggedFields, DecodeError> {
        if self.frame.get(self.at..self.end).and_then(<[u8]>::first) == Some(&0) {
            self.at += 1;
            return Ok(TaggedFields::NONE);
        }
        self.tagged_fields(name, |_, _| Ok(false))
    }

    /// The tagged fields at the end of a struct (KIP-482). `known` reads the value of a tag that it knows and returns
    /// true; what it does not know is kept. Tags must ascend, and a value must fill its size.
    #[inline]
    pub fn tagged_fields(
        &mut self,
        name: &'static str,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<TaggedFields, DecodeError> {
        let mut unknown = TaggedFields::NONE;
        let count = self.uvarint(name)? as usize;
        if count > self.remaining() / TAGGED_FIELD_BYTES_MIN {
            return Err(self.error(DecodeErrorKind::TooLong, name));
        }
        let mut previous = None;
        for _ in 0..count {
            let tag = self.uvarint(name)?;
            let size = self.uvarint(name)? as usize;
            if size > self.remaining() {
                return Err(self.error(DecodeErrorKind::TooLong, name));
            }
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(self.error(DecodeErrorKind::Tag, name));
            }
            previous = Some(tag);
            let outer_end = self.end;
            self.end = self.at + size;
            if !known(self, tag)? {
                // The first one brings the list itself.
                let list = usize::from(unknown.is_empty());
                self.charge(1 + list, size_of::<(u32, Bytes)>(), name)?;
                unknown.push(tag, self.slice(size, name)?);
            }
            if self.at != self.end {
                return Err(self.error(DecodeErrorKind::Tag, name));
            }
            self.end = outer_end;
        }
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    fn uvarint(bytes: &[u8]) -> Result<u32, DecodeErrorKind> {
        reader(bytes).uvarint("x").map_err(|error| error.kind)
    }

    #[test]
    fn varints_end_in_time_and_fit() {
        assert_eq!(uvarint(&[0]), Ok(0));
        assert_eq!(uvarint(&[0x7f]), Ok(127));
        assert_eq!(uvarint(&[0x80, 0x01]), Ok(128));
        assert_eq!(uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(
            uvarint(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
            Err(DecodeErrorKind::Varint)
        );
        assert_eq!(
            uvarint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            Err(DecodeErrorKind::Varint)
        );
        assert_eq!(uvarint(&[0x80, 0x80]), Err(DecodeErrorKind::Truncated));
        assert_eq!(uvarint(&[]), Err(DecodeErrorKind::Truncated));
    }

    #[test]
    fn errors_say_what_and_where() {
        let mut reader = reader(&[0, 0, 0, 1, 0, 2, b'a']);
        assert_eq!(reader.int32("Foo.number"), Ok(1));
        let error = reader.string(false, "Foo.text").unwrap_err();
        assert_eq!(
            error,
            DecodeError {
                kind: DecodeErrorKind::TooLong,
                field: "Foo.text",
                position: 6
            }
        );
        assert_eq!(
            error.to_string(),
            "Foo.text at byte 6: a count or length is more than the bytes left can hold"
        );
    }

    #[test]
    fn null_is_what_kafka_takes_for_it() {
        assert_eq!(
            reader(&[0xff, 0xff]).nullable_string(false, true, "x"),
            Ok(None)
        );
        assert_eq!(
            reader(&[0x80, 0]).nullable_string(false, true, "x"),
            Ok(None),
            "any negative length"
        );
        assert_eq!(reader(&[0]).nullable_string(true, true, "x"), Ok(None));
        assert_eq!(
            reader(&[0])
                .nullable_string(true, false, "x")
                .unwrap_err()
                .kind,
            DecodeErrorKind::Null
        );
        assert_eq!(
            reader(&[0]).string(true, "x").unwrap_err().kind,
            DecodeErrorKind::Null
        );
        assert_eq!(reader(&[1]).string(true, "x"), Ok(Str::EMPTY));
        assert_eq!(
            reader(&[0xfe]).nullable_struct(true, "x", |r| r.int8("y")),
            Ok(None)
        );
        assert_eq!(
            reader(&[0, 7]).nullable_struct(true, "x", |r| r.int8("y")),
            Ok(Some(7))
        );
    }

    #[test]
    fn strings_are_short_and_utf8() {
        let long = [&[0x81, 0x80, 0x02][..], &[b'a'; 0x8000]].concat();
        assert_eq!(
            reader(&long).string(true, "x").unwrap_err().kind,
            DecodeErrorKind::TooLong
        );
        assert_eq!(
            reader(&[2, 0xff]).string(true, "x").unwrap_err().kind,
            DecodeErrorKind::Utf8
        );
    }

    #[test]
    fn counts_are_checked_against_what_the_elements_take() {
        let bytes = [0, 0, 0, 3, 1, 2, 3, 4, 5];
        let read = |element_min| reader(&bytes).array(false, element_min, "x", |r| r.int8("y"));
        assert_eq!(read(1), Ok(vec![1, 2, 3]));
        assert_eq!(read(2).unwrap_err().kind, DecodeErrorKind::TooLong);
    }

    #[test]
    fn all_arrays_of_a_frame_share_one_allowance() {
        let count = ARRAY_BYTES_BASE / 2;
        let array = [&(count as u32).to_be_bytes()[..], &vec![0; count]].concat();
        let mut reader = reader(&[&array[..], &array].concat());
        let mut large = || reader.array(false, 1, "x", |r| r.int8("y").map(|_| [0_u8; 18]));
        assert!(large().is_ok());
        assert_eq!(large().unwrap_err().kind, DecodeErrorKind::TooMuchMemory);
    }

    #[test]
    fn the_arrays_of_a_large_frame_take_no_more_than_there_is() {
        let mut reader = Reader::new(Bytes::from(vec![0; 100_000_000]));
        let mut take = |bytes| reader.charge(bytes, 1, "x").map_err(|error| error.kind);
        assert_eq!(take(ARRAY_BYTES_MAX), Ok(()));
        assert_eq!(take(1), Err(DecodeErrorKind::TooMuchMemory));
    }

    #[test]
    fn tags_ascend_and_their_values_fill_their_sizes() {
        let read = |bytes: &[u8]| {
            let mut seven = None;
            let unknown = reader(bytes).tagged_fields("x", |r, tag| match tag {
                7 => r
                    .int8("seven")
                    .map(|value| seven = Some(value))
                    .map(|()| true),
                _ => Ok(false),
            });
            (seven, unknown.map_err(|error| error.kind))
        };
        let unknown = TaggedFields::from_iter([(1, Bytes::from_static(b"ab")), (9, Bytes::new())]);
        assert_eq!(
            read(&[3, 1, 2, b'a', b'b', 7, 1, 5, 9, 0]),
            (Some(5), Ok(unknown))
        );
        for wrong in [&[2, 9, 0, 1, 0][..], &[2, 1, 0, 1, 0], &[1, 7, 2, 5, 5]] {
            assert_eq!(read(wrong).1, Err(DecodeErrorKind::Tag), "{wrong:?}");
        }
        assert_eq!(
            read(&[1, 7, 0]).1,
            Err(DecodeErrorKind::Truncated),
            "the value may not reach beyond its size"
        );
        assert_eq!(read(&[1, 1, 9]).1, Err(DecodeErrorKind::TooLong));
        assert_eq!(read(&[100, 1, 0]).1, Err(DecodeErrorKind::TooLong));
    }

    proptest! {
        #[test]
        fn varints_come_back(value in any::<u32>()) {
            let mut writer = crate::wire::Writer::new();
            writer.uvarint(value);
            prop_assert_eq!(uvarint(&writer.into_bytes()), Ok(value));
        }
    }
}
