//! Writing of messages into [`Parts`].
//!
//! Inline bytes collect in one growing buffer; large payloads are noted by the place where they belong and shared, not
//! copied. Because the inline bytes stay in one piece until the end, lengths that are known late are put in place there.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::error_code::ErrorCode;
use super::parts::Parts;
use super::reader::STRING_BYTES_MAX;
use super::types::{F64Bits, TaggedFields};
use crate::ids::Uuid;

/// Payloads from this size on are shared; smaller ones are cheaper to copy than to send as a slice of their own.
pub const SHARED_BYTES_MIN: usize = 1024;

/// What cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeErrorKind {
    /// The field has a value that matters and that this version cannot carry.
    NotInVersion,
    /// Null where the version does not allow it.
    Null,
    /// A string above [`STRING_BYTES_MAX`], or a payload or count above 2^31 - 1.
    TooLong,
    /// Unknown tagged fields that do not ascend or that use a known tag.
    Tag,
    /// A version outside the range of the message.
    Version,
}

/// Why a message could not be encoded: always a mistake of the one who filled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// What is wrong.
    pub kind: EncodeErrorKind,
    /// The struct and field.
    pub field: &'static str,
}

impl EncodeError {
    /// An error of `field`.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn new(kind: EncodeErrorKind, field: &'static str) -> EncodeError {
        EncodeError { kind, field }
    }

    /// `field` is not in the version.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn not_in_version(field: &'static str) -> EncodeError {
        EncodeError {
            kind: EncodeErrorKind::NotInVersion,
            field,
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            EncodeErrorKind::NotInVersion => "is set, but this version has no such field",
            EncodeErrorKind::Null => "must not be null in this version",
            EncodeErrorKind::TooLong => "is too long",
            EncodeErrorKind::Tag => {
                "has unknown tagged fields that do not ascend or use a known tag"
            }
            EncodeErrorKind::Version => "has no such version",
        };
        write!(f, "{} {what}", self.field)
    }
}
impl std::error::Error for EncodeError {}

/// Collects the bytes of a message. See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Writer {
    inline: BytesMut,
    /// Shared payloads, each with the number of inline bytes before it.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
}

/// The tagged fields of one struct while they are written.
#[derive(Debug)]
pub struct TagWriter<'a> {
    unknown: &'a [(u32, Bytes)],
    /// Where the count will stand.
    count_at: usize,
    count: u32,
    last: Option<u32>,
    name: &'static str,
}

impl Writer {
    /// Empty.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Empty, with room for `bytes` inline.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer {
            inline: BytesMut::with_capacity(bytes),
            ..Writer::default()
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inline.len() + self.shared_len
    }

    /// True if nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that was written, in order.
    #[must_use]
    pub fn into_parts(mut self) -> Parts {
        let mut parts = Parts::new();
        let mut done = 0;
        for (at, payload) in self.shared {
            parts.push(self.inline.split_to(at - done).freeze());
            parts.push(payload);
            done = at;
        }
        parts.push(self.inline.freeze());
        parts
    }

    /// Everything in one piece; copies if a payload was shared.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.shared.is_empty() {
            self.inline.freeze()
        } else {
            self.into_parts().to_bytes()
        }
    }

    /// Bytes as they are, without a length.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.inline.extend_from_slice(bytes);
    }

    /// A payload as it is, without a length: shared if it is large, else copied.
    #[inline]
    pub fn payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARED_BYTES_MIN {
            self.raw(payload);
        } else {
            self.shared.push((self.inline.len(), payload.clone()));
            self.shared_len += payload.len();
        }
    }

    /// Overwrites four inline bytes, those that the length of a frame was reserved in.
    pub(super) fn set_int32(&mut self, at: usize, value: i32) {
        if let Some(place) = self.inline.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// One signed byte.
    #[inline]
    pub fn int8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// Two bytes, signed.
    #[inline]
    pub fn int16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// Two bytes, unsigned.
    #[inline]
    pub fn uint16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// Four bytes, signed.
    #[inline]
    pub fn int32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// Four bytes, unsigned.
    #[inline]
    pub fn uint32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn int64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// The bits of a double.
    #[inline]
    pub fn float64(&mut self, value: F64Bits) {
        self.raw(&value.0.to_be_bytes());
    }

    /// One byte, 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.int8(i8::from(value));
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self, value: Uuid) {
        self.raw(&value.0);
    }

    /// An error code.
    #[inline]
    pub fn error_code(&mut self, value: ErrorCode) {
        self.int16(value.0);
    }

    /// An unsigned varint, as short as it can be.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, len) = uvarint_bytes(value);
        self.raw(&bytes[..len]);
    }

    #[inline]
    fn length(
        &mut self,
        flexible: bool,
        len: usize,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let Ok(len) = i32::try_from(len) else {
            return Err(EncodeError::new(EncodeErrorKind::TooLong, field));
        };
        if flexible {
            self.uvarint(len.unsigned_abs() + 1);
        } else {
            self.int32(len);
        }
        Ok(())
    }

    /// A null array, bytes or records.
    #[inline]
    fn null(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if !null_allowed {
            return Err(EncodeError::new(EncodeErrorKind::Null, field));
        }
        if flexible {
            self.uvarint(0);
        } else {
            self.int32(-1);
        }
        Ok(())
    }

    /// Text.
    #[inline]
    pub fn string(
        &mut self,
        flexible: bool,
        value: &[u8],
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if value.len() > STRING_BYTES_MAX {
            return Err(EncodeError::new(EncodeErrorKind::TooLong, field));
        }
        if flexible {
            self.uvarint(value.len() as u32 + 1);
        } else {
            self.int16(value.len() as i16);
        }
        self.raw(value);
        Ok(())
    }

    /// Text or null.
    #[inline]
    pub fn nullable_string(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        value: Option<&[u8]>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(text) => self.string(flexible, text, field),
            None if !null_allowed => Err(EncodeError::new(EncodeErrorKind::Null, field)),
            None if flexible => {
                self.uvarint(0);
                Ok(())
            }
            None => {
                self.int16(-1);
                Ok(())
            }
        }
    }

    /// Bytes or records.
    #[inline]
    pub fn bytes(
        &mut self,
        flexible: bool,
        value: &Bytes,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.length(flexible, value.len(), field)?;
        self.payload(value);
        Ok(())
    }

    /// Bytes or records, or null.
    #[inline]
    pub fn nullable_bytes(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        value: Option<&Bytes>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(bytes) => self.bytes(flexible, bytes, field),
            None => self.null(flexible, null_allowed, field),
        }
    }

    /// Records as slices that follow each other, each shared if it is large.
    #[inline]
    pub fn parts(
        &mut self,
        flexible: bool,
        value: &Parts,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.length(flexible, value.len(), field)?;
        for slice in value.slices() {
            self.payload(slice);
        }
        Ok(())
    }

    /// Records as slices that follow each other, or null.
    #[inline]
    pub fn nullable_parts(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        value: Option<&Parts>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(parts) => self.parts(flexible, parts, field),
            None => self.null(flexible, null_allowed, field),
        }
    }

    /// An array.
    #[inline]
    pub fn array<T>(
        &mut self,
        flexible: bool,
        elements: &[T],
        field: &'static str,
        mut element: impl FnMut(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length(flexible, elements.len(), field)?;
        for each in elements {
            element(self, each)?;
        }
        Ok(())
    }

    /// An array or null.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        elements: Option<&[T]>,
        field: &'static str,
        element: impl FnMut(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match elements {
            Some(elements) => self.array(flexible, elements, field, element),
            None => self.null(flexible, null_allowed, field),
        }
    }

    /// A struct or null: a signed byte stands before it, -1 for null.
    #[inline]
    pub fn nullable_struct<T>(
        &mut self,
        null_allowed: bool,
        value: Option<&T>,
        field: &'static str,
        write: impl FnOnce(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.int8(1);
                write(self, value)
            }
            None if null_allowed => {
                self.int8(-1);
                Ok(())
            }
            None => Err(EncodeError::new(EncodeErrorKind::Null, field)),
        }
    }

    /// A struct or null as a tagged field: a varint stands before it, 0 for null.
    #[inline]
    pub fn nullable_tagged_struct<T>(
        &mut self,
        null_allowed: bool,
        value: Option<&T>,
        field: &'static str,
        write: impl FnOnce(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.uvarint(1);
                write(self, value)
            }
            None if null_allowed => {
                self.uvarint(0);
                Ok(())
            }
            None => Err(EncodeError::new(EncodeErrorKind::Null, field)),
        }
    }

    /// The tagged fields of the struct `name` that has none of its own.
    #[inline]
    pub fn unknown_tagged_fields(
        &mut self,
        unknown: &TaggedFields,
        name: &'static str,
    ) -> Result<(), EncodeError> {
        if unknown.is_empty() {
            self.raw(&[0]);
            return Ok(());
        }
        self.tags(unknown, name).finish(self)
    }

    /// Begins the tagged fields of the struct `name`.
    #[inline]
    pub fn tags<'a>(&mut self, unknown: &'a TaggedFields, name: &'static str) -> TagWriter<'a> {
        let count_at = self.inline.len();
        self.raw(&[0]);
        TagWriter {
            unknown: unknown.as_slice(),
            count_at,
            count: 0,
            last: None,
            name,
        }
    }

    /// Puts `value` as a varint in the place of the one byte at `at`.
    fn place_uvarint(&mut self, at: usize, value: u32) {
        let (bytes, len) = uvarint_bytes(value);
        if len > 1 {
            let old_len = self.inline.len();
            self.inline.resize(old_len + len - 1, 0);
            self.inline.copy_within(at + 1..old_len, at + len);
            for (cut, _) in self
                .shared
                .iter_mut()
                .rev()
                .take_while(|(cut, _)| *cut > at)
            {
                *cut += len - 1;
            }
        }
        self.inline[at..at + len].copy_from_slice(&bytes[..len]);
    }
}

impl TagWriter<'_> {
    /// Writes a known field; those unknown ones that come before it go first.
    pub fn put(
        &mut self,
        writer: &mut Writer,
        tag: u32,
        value: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.put_unknown_before(writer, tag)?;
        self.begin(writer, tag)?;
        let size_at = writer.inline.len();
        writer.raw(&[0]);
        let before = writer.len();
        value(writer)?;
        match u32::try_from(writer.len() - before) {
            Ok(size) if size <= i32::MAX as u32 => writer.place_uvarint(size_at, size),
            _ => return Err(EncodeError::new(EncodeErrorKind::TooLong, self.name)),
        }
        Ok(())
    }

    /// Writes the unknown fields that are left, and the count.
    pub fn finish(mut self, writer: &mut Writer) -> Result<(), EncodeError> {
        self.put_unknown_before(writer, u32::MAX)?;
        if self.count > 0 {
            writer.place_uvarint(self.count_at, self.count);
        }
        Ok(())
    }

    fn begin(&mut self, writer: &mut Writer, tag: u32) -> Result<(), EncodeError> {
        if self.last.is_some_and(|last| tag <= last) {
            return Err(EncodeError::new(EncodeErrorKind::Tag, self.name));
        }
        self.last = Some(tag);
        self.count += 1;
        writer.uvarint(tag);
        Ok(())
    }

    fn put_unknown_before(&mut self, writer: &mut Writer, limit: u32) -> Result<(), EncodeError> {
        while let [(tag, value), rest @ ..] = self.unknown {
            if *tag >= limit && limit != u32::MAX {
                break;
            }
            self.unknown = rest;
            self.begin(writer, *tag)?;
            writer.uvarint(value.len() as u32);
            writer.payload(value);
        }
        Ok(())
    }
}

fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes[len] = low;
            return (bytes, len + 1);
        }
        bytes[len] = low | 0x80;
        len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reader::Reader;

    #[test]
    fn large_payloads_are_shared_in_their_place() {
        let large = Bytes::from(vec![7; SHARED_BYTES_MIN]);
        let small = Bytes::from(vec![8; SHARED_BYTES_MIN - 1]);
        let mut writer = Writer::new();
        writer.int8(1);
        writer.bytes(true, &large, "x").unwrap();
        writer.bytes(true, &small, "x").unwrap();
        writer.payload(&large);
        writer.int8(2);
        let len = writer.len();
        let parts = writer.into_parts();
        assert_eq!(parts.len(), len);
        let shared: Vec<usize> = (0..parts.slices().len())
            .filter(|nth| parts.slices()[*nth].as_ptr() == large.as_ptr())
            .collect();
        assert_eq!((shared, parts.slices().len()), (vec![1, 3], 5));
        let mut reader = Reader::new(parts.to_bytes());
        assert_eq!(reader.int8("x"), Ok(1));
        assert_eq!(reader.bytes(true, "x"), Ok(large.clone()));
        assert_eq!(reader.bytes(true, "x"), Ok(small));
        assert_eq!(reader.slice(large.len(), "x"), Ok(large));
        assert_eq!(reader.int8("x"), Ok(2));
        reader.finish("x").unwrap();
    }

    /// Counts and sizes of more than one byte move what was written after their place, shared payloads too.
    #[test]
    fn tagged_fields_of_any_size_and_number_come_back() {
        for (count, size) in [(0, 0), (1, 100), (2, 127), (2, 128), (200, 3), (3, 20_000)] {
            let value = Bytes::from(vec![9; size]);
            let unknown: TaggedFields =
                (0..count).map(|nth| (2 * nth + 1, value.clone())).collect();
            let mut writer = Writer::new();
            let mut tags = writer.tags(&unknown, "x");
            for known in [0, 4, 1000] {
                tags.put(&mut writer, known, |writer| writer.bytes(true, &value, "y"))
                    .unwrap();
            }
            tags.finish(&mut writer).unwrap();
            writer.int8(5);

            let mut reader = Reader::new(writer.into_bytes());
            let mut known = Vec::new();
            let read = reader.tagged_fields("x", |reader, tag| {
                let ours = [0, 4, 1000].contains(&tag);
                if ours {
                    known.push((tag, reader.bytes(true, "y")?));
                }
                Ok(ours)
            });
            assert_eq!(read, Ok(unknown), "{count} of {size}");
            assert_eq!(known, [0, 4, 1000].map(|tag| (tag, value.clone())));
            assert_eq!(reader.int8("x"), Ok(5));
        }
    }

    #[test]
    fn tags_that_do_not_ascend_are_refused() {
        for (unknown, known) in [(vec![2, 1], 9), (vec![1, 1], 9), (vec![3], 3)] {
            let unknown: TaggedFields =
                unknown.into_iter().map(|tag| (tag, Bytes::new())).collect();
            let mut writer = Writer::new();
            let mut tags = writer.tags(&unknown, "x");
            let result = tags
                .put(&mut writer, known, |_| Ok(()))
                .and_then(|()| tags.finish(&mut writer));
            assert_eq!(
                result.map_err(|error| error.kind),
                Err(EncodeErrorKind::Tag)
            );
        }
    }

    #[test]
    fn what_is_too_long_or_null_is_refused() {
        let mut writer = Writer::new();
        let long = vec![b'a'; STRING_BYTES_MAX + 1];
        assert_eq!(
            writer.string(true, &long, "x").unwrap_err().kind,
            EncodeErrorKind::TooLong
        );
        assert!(writer.string(false, &long[1..], "x").is_ok());
        let error = writer
            .nullable_string(true, false, None, "Foo.text")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Foo.text must not be null in this version"
        );
    }
}
