//! Walks over the records of a batch as a stream, compressed or not, in a bounded window.
//!
//! Kafka's record layout (KIP-98): length, attributes, timestamp delta, offset delta, key, value, headers. Never holds more of a
//! batch than its window, never trusts a length beyond the bytes that are left.

use std::io::{self, Read};

use bytes::Bytes;

use crate::wire::batch::varlong;

/// What is known of one record after it was walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFacts {
    /// Less the batch's base timestamp, in ms.
    pub timestamp_delta: i64,
    /// Less the batch's base offset.
    pub offset_delta: i64,
    /// Has it a key that is not null?
    pub has_key: bool,
}

/// Why a record could not be walked over.
#[derive(Debug)]
pub enum RecordError {
    /// The structure contradicts itself: what.
    Malformed(&'static str),
    /// The codec failed.
    Codec(io::Error),
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> RecordError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return RecordError::Malformed("the records end in the middle of one");
        }
        RecordError::Codec(error)
    }
}

/// Bytes of decompressed records that are held at a time.
const WINDOW: usize = 16 * 1024;

/// Where records come from: a slice, or a decoder behind a window.
pub trait Source {
    /// What is next: at least `want` bytes, or all that are left.
    fn fill(&mut self, want: usize) -> Result<&[u8], RecordError>;
    /// Drops `len` bytes of what `fill` showed.
    fn consume(&mut self, len: usize);
}

impl Source for &[u8] {
    fn fill(&mut self, _want: usize) -> Result<&[u8], RecordError> {
        Ok(self)
    }

    fn consume(&mut self, len: usize) {
        *self = &self[len..];
    }
}

/// A decoder behind a window of fixed size.
pub struct Window<R> {
    reader: R,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<R: Read> Window<R> {
    /// Reads through a window from `reader`.
    pub fn new(reader: R) -> Window<R> {
        Window {
            reader,
            bytes: vec![0; WINDOW].into_boxed_slice(),
            start: 0,
            end: 0,
            ended: false,
        }
    }
}

impl<R: Read> Source for Window<R> {
    fn fill(&mut self, want: usize) -> Result<&[u8], RecordError> {
        if self.end - self.start < want && !self.ended {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < want {
                match self.reader.read(&mut self.bytes[self.end..]) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(n) => self.end += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(&self.bytes[self.start..self.end])
    }

    fn consume(&mut self, len: usize) {
        self.start += len;
    }
}

/// A reader of records.
pub struct Records<S> {
    source: S,
    /// Bytes left of the record that is being read.
    left: u64,
}

impl<S: Source> Records<S> {
    /// Reads records from `source`.
    pub fn new(source: S) -> Records<S> {
        Records { source, left: 0 }
    }

    /// True if not a single byte is left.
    pub fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.source.fill(1)?.is_empty())
    }

    fn varint(&mut self) -> Result<i64, RecordError> {
        let (value, len) = varlong(self.source.fill(10)?)
            .ok_or(RecordError::Malformed("a varint is cut off or overlong"))?;
        self.take(len as u64)?;
        self.source.consume(len);
        Ok(value)
    }

    fn take(&mut self, len: u64) -> Result<(), RecordError> {
        self.left = self.left.checked_sub(len).ok_or(RecordError::Malformed(
            "a field runs over the end of its record",
        ))?;
        Ok(())
    }

    fn skip(&mut self, mut len: u64) -> Result<(), RecordError> {
        self.take(len)?;
        while len > 0 {
            let have = self.source.fill(1)?.len() as u64;
            if have == 0 {
                return Err(RecordError::Malformed(
                    "the records end in the middle of one",
                ));
            }
            let step = have.min(len);
            self.source.consume(step as usize);
            len -= step;
        }
        Ok(())
    }

    /// A length-prefixed field; false if it is null.
    fn skip_field(&mut self, nullable: bool) -> Result<bool, RecordError> {
        match self.varint()? {
            -1 if nullable => Ok(false),
            len => {
                let len = u64::try_from(len)
                    .map_err(|_| RecordError::Malformed("a length is negative"))?;
                self.skip(len)?;
                Ok(true)
            }
        }
    }

    /// Walks over the next record.
    pub fn next_record(&mut self) -> Result<RecordFacts, RecordError> {
        self.left = 10;
        let size = self.varint()?;
        if !(0..=i64::from(i32::MAX)).contains(&size) {
            return Err(RecordError::Malformed("a record's length is out of range"));
        }
        self.left = size.unsigned_abs();
        self.skip(1)?;
        let timestamp_delta = self.varint()?;
        let offset_delta = self.varint()?;
        let has_key = self.skip_field(true)?;
        self.skip_field(true)?;
        let headers = self.varint()?;
        if headers < 0 {
            return Err(RecordError::Malformed("the count of headers is negative"));
        }
        for _ in 0..headers {
            // Each header takes at least two bytes of the record, so the count cannot run away.
            self.skip_field(false)?;
            self.skip_field(true)?;
        }
        if self.left != 0 {
            return Err(RecordError::Malformed("a record is longer than its fields"));
        }
        Ok(RecordFacts {
            timestamp_delta,
            offset_delta,
            has_key,
        })
    }
}

/// A small record of an uncompressed batch, whole.
pub struct SmallRecord {
    /// Null if `None`.
    pub key: Option<Bytes>,
    /// Null if `None`.
    pub value: Option<Bytes>,
}

/// Key and value of the first record of uncompressed `records`; `None` if malformed.
pub fn first_record(records: &Bytes) -> Option<SmallRecord> {
    let mut at = 0;
    let varint = |at: &mut usize| -> Option<i64> {
        let (value, len) = varlong(records.get(*at..)?)?;
        *at += len;
        Some(value)
    };
    varint(&mut at)?;
    at += 1;
    varint(&mut at)?;
    varint(&mut at)?;
    let field = |at: &mut usize| -> Option<Option<Bytes>> {
        let len = varint(at)?;
        if len == -1 {
            return Some(None);
        }
        let len = usize::try_from(len).ok()?;
        let end = at.checked_add(len)?;
        if end > records.len() {
            return None;
        }
        let field = records.slice(*at..end);
        *at = end;
        Some(Some(field))
    };
    Some(SmallRecord {
        key: field(&mut at)?,
        value: field(&mut at)?,
    })
}
