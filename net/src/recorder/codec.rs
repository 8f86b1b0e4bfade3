//! The compact form of what is recorded: numbers of variable length, and bytes whose blanked parts are only counted.
//!
//! Knows how each type of the boundary is written, and nothing of files. A type that gains a field does not compile
//! here until it is written too.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use trialog_core::ids::{ConnId, DirId, LeaderEpoch, ListenerId, Offset, ProducerId};
use trialog_core::io::{
    Boot, CloseReason, ConnectError, DiskDone, DiskError, Entry, Input, ListenerBoot, LogDirBoot,
    Name, Room, Token,
};
use trialog_core::wire::batch::BatchHeader;
use trialog_core::work::{
    EndMarker, Facts, RecordsFault, RecordsFaultKind, ScanRest, Scanned, ScannedBatch, ValidBatch,
};

use super::Origin;
use super::outline::Digest;

/// The recording ends here: it was cut off, or what follows is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn;

/// Bytes before a chunk: its length (4) and its digest (8).
pub const CHUNK_HEADER: usize = 12;
/// No honest chunk is larger: one step beyond the size at which it is written.
pub const CHUNK_MAX: usize = 1 << 30;
/// Blanks longer than this are not honest: no frame or read is.
const BLANK_MAX: u64 = 1 << 31;

/// Builds a chunk.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    blank: Vec<Range<usize>>,
}

impl Writer {
    /// Bytes of the chunk so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Is there nothing yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The chunk with its header; the next one begins.
    pub fn take_chunk(&mut self) -> Vec<u8> {
        let mut digest = Digest::default();
        digest.bytes(&self.bytes);
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let mut chunk = len.to_le_bytes().to_vec();
        chunk.extend(digest.finish().to_le_bytes());
        chunk.append(&mut self.bytes);
        chunk
    }

    /// These ranges of the next [`Bytes`] are blanked out; in order, apart from each other.
    pub fn blank(&mut self, ranges: Vec<Range<usize>>) {
        self.blank = ranges;
    }

    /// A number, in groups of seven bits.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }
}

/// Reads a chunk.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first byte of a chunk's content.
    #[must_use]
    pub fn new(chunk: &'a [u8]) -> Reader<'a> {
        Reader { rest: chunk }
    }

    /// Is everything read?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// See [`Writer::number`].
    pub fn number(&mut self) -> Result<u64, Torn> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Torn)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Torn)
    }

    fn raw(&mut self) -> Result<&'a [u8], Torn> {
        let len = usize::try_from(self.number()?).map_err(|_| Torn)?;
        self.fixed(len)
    }

    fn fixed(&mut self, len: usize) -> Result<&'a [u8], Torn> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Torn)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Something that is recorded.
pub trait Item: Sized {
    /// Appends it.
    fn put(&self, to: &mut Writer);
    /// Reads it back.
    fn take(from: &mut Reader<'_>) -> Result<Self, Torn>;
}

macro_rules! unsigned {
    ($($type:ty)*) => { $(impl Item for $type {
        fn put(&self, to: &mut Writer) {
            to.number(u64::from(*self));
        }
        fn take(from: &mut Reader<'_>) -> Result<Self, Torn> {
            <$type>::try_from(from.number()?).map_err(|_| Torn)
        }
    })* };
}
unsigned!(u8 u16 u32 u64);

macro_rules! signed {
    ($($type:ty)*) => { $(impl Item for $type {
        fn put(&self, to: &mut Writer) {
            let wide = i64::from(*self);
            // Zigzag: small numbers of either sign are short.
            to.number(((wide << 1) ^ (wide >> 63)) as u64);
        }
        fn take(from: &mut Reader<'_>) -> Result<Self, Torn> {
            let bits = from.number()?;
            let wide = (bits >> 1) as i64 ^ -((bits & 1) as i64);
            <$type>::try_from(wide).map_err(|_| Torn)
        }
    })* };
}
signed!(i8 i16 i32 i64);

impl Item for bool {
    fn put(&self, to: &mut Writer) {
        to.number(u64::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Result<bool, Torn> {
        match from.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Torn),
        }
    }
}

impl<const N: usize> Item for [u8; N] {
    fn put(&self, to: &mut Writer) {
        to.bytes.extend_from_slice(self);
    }
    fn take(from: &mut Reader<'_>) -> Result<[u8; N], Torn> {
        from.fixed(N)?.try_into().map_err(|_| Torn)
    }
}

impl Item for String {
    fn put(&self, to: &mut Writer) {
        to.raw(self.as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<String, Torn> {
        String::from_utf8(from.raw()?.to_vec()).map_err(|_| Torn)
    }
}

impl Item for Name {
    fn put(&self, to: &mut Writer) {
        to.raw(self.as_str().as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Name, Torn> {
        Name::new(String::take(from)?).ok_or(Torn)
    }
}

impl<T: Item> Item for Option<T> {
    fn put(&self, to: &mut Writer) {
        self.is_some().put(to);
        if let Some(item) = self {
            item.put(to);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Option<T>, Torn> {
        Ok(if bool::take(from)? {
            Some(T::take(from)?)
        } else {
            None
        })
    }
}

impl<T: Item, E: Item> Item for Result<T, E> {
    fn put(&self, to: &mut Writer) {
        self.is_ok().put(to);
        match self {
            Ok(item) => item.put(to),
            Err(item) => item.put(to),
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Result<T, E>, Torn> {
        Ok(if bool::take(from)? {
            Ok(T::take(from)?)
        } else {
            Err(E::take(from)?)
        })
    }
}

impl<T: Item> Item for Vec<T> {
    fn put(&self, to: &mut Writer) {
        to.number(self.len() as u64);
        for item in self {
            item.put(to);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Vec<T>, Torn> {
        let len = from.number()?;
        // An item takes a byte at least: what is not there is not reserved.
        let fits = usize::try_from(len).map_err(|_| Torn)?.min(from.rest.len());
        let mut items = Vec::with_capacity(fits.min(4096));
        for _ in 0..len {
            items.push(T::take(from)?);
        }
        Ok(items)
    }
}

impl<A: Item, B: Item> Item for (A, B) {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
        self.1.put(to);
    }
    fn take(from: &mut Reader<'_>) -> Result<(A, B), Torn> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl Item for BTreeMap<String, String> {
    fn put(&self, to: &mut Writer) {
        to.number(self.len() as u64);
        for (name, value) in self {
            name.put(to);
            value.put(to);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Torn> {
        Ok(Vec::<(String, String)>::take(from)?.into_iter().collect())
    }
}

/// Pairs of kept bytes and of a count of blanks, until the length is reached.
impl Item for Bytes {
    fn put(&self, to: &mut Writer) {
        let blank = std::mem::take(&mut to.blank);
        to.number(self.len() as u64);
        let mut at = 0;
        for range in blank
            .iter()
            .cloned()
            .chain(std::iter::once(self.len()..self.len()))
        {
            to.raw(&self[at..range.start]);
            to.number(range.len() as u64);
            at = range.end;
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Bytes, Torn> {
        let len = from.number()?;
        if len > BLANK_MAX {
            return Err(Torn);
        }
        let len = usize::try_from(len).map_err(|_| Torn)?;
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(from.raw()?);
            let blanks = usize::try_from(from.number()?).map_err(|_| Torn)?;
            let left = len.checked_sub(bytes.len()).ok_or(Torn)?;
            if blanks > left {
                return Err(Torn);
            }
            bytes.resize(bytes.len() + blanks, 0);
            if blanks == 0 {
                return if bytes.len() == len {
                    Ok(bytes.into())
                } else {
                    Err(Torn)
                };
            }
        }
    }
}

/// Newtypes over one number.
macro_rules! newtypes {
    ($($type:ident)*) => { $(impl Item for $type {
        fn put(&self, to: &mut Writer) {
            self.0.put(to);
        }
        fn take(from: &mut Reader<'_>) -> Result<Self, Torn> {
            Ok($type(Item::take(from)?))
        }
    })* };
}
newtypes!(ConnId DirId LeaderEpoch ListenerId Offset ProducerId);

/// Structures, field by field.
macro_rules! structures {
    ($($type:ident { $($field:ident),* $(,)? })*) => { $(impl Item for $type {
        fn put(&self, to: &mut Writer) {
            let $type { $($field),* } = self;
            $($field.put(to);)*
        }
        fn take(from: &mut Reader<'_>) -> Result<Self, Torn> {
            $(let $field = Item::take(from)?;)*
            Ok($type { $($field),* })
        }
    })* };
}

/// Enums: a number for each variant, then its fields. Tuple variants name their fields by place.
macro_rules! enums {
    ($($type:ident { $($number:literal => $variant:ident { $($field:tt : $binding:ident),* $(,)? })* })*) => { $(
        impl Item for $type {
            fn put(&self, to: &mut Writer) {
                match self {
                    $($type::$variant { $($field: $binding),* } => {
                        to.number($number);
                        $($binding.put(to);)*
                    })*
                }
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Torn> {
                match from.number()? {
                    $($number => {
                        $(let $binding = Item::take(from)?;)*
                        Ok($type::$variant { $($field: $binding),* })
                    })*
                    _ => Err(Torn),
                }
            }
        }
    )* };
}

structures! {
    Origin { version, payloads, properties, seed, boot }
    Boot { boot_id, log_dirs, listeners }
    LogDirBoot { dir, path }
    ListenerBoot { name, host, port }
    Token { room, slot, generation }
    Entry { name, dir, len }
    ValidBatch { header, body, log_append_time, marker }
    EndMarker { commit, coordinator_epoch }
    RecordsFault { kind, message, records }
    Scanned { batches, rest }
    ScannedBatch { at, header, crc_holds, marker }
    BatchHeader {
        base_offset, length, leader_epoch, crc, attributes, last_offset_delta, base_timestamp,
        max_timestamp, producer_id, producer_epoch, base_sequence, count,
    }
}

enums! {
    Room {
        0 => Log {}
        1 => Quorum {}
        2 => Api {}
    }
    Input {
        0 => Start {}
        1 => Opened { conn: conn, listener: listener, peer: peer }
        2 => Connected { token: token, conn: conn }
        3 => ConnectFailed { token: token, reason: reason }
        4 => Frame { conn: conn, frame: frame }
        5 => Sent { conn: conn, bytes: bytes }
        6 => Closed { conn: conn, reason: reason }
        7 => Disk { token: token, result: result }
        8 => Worked { token: token, facts: facts }
        9 => Wakeup {}
        10 => Shutdown {}
    }
    ConnectError {
        0 => Refused {}
        1 => TimedOut {}
        2 => Unresolved {}
        3 => Other {}
    }
    CloseReason {
        0 => PeerClosed {}
        1 => Failed {}
        2 => FrameLimit {}
        3 => Asked {}
    }
    DiskDone {
        0 => Done {}
        1 => Written {}
        2 => Synced {}
        3 => Opened { len: len }
        4 => Read { 0: bytes }
        5 => Listed { entries: entries, more: more }
    }
    DiskError {
        0 => NotFound {}
        1 => Exists {}
        2 => Full {}
        3 => NotEmpty {}
        4 => Failed {}
        5 => TooManyOpen {}
    }
    Facts {
        0 => Validated { 0: result }
        1 => Scanned { 0: scanned }
        2 => Found { 0: result }
    }
    RecordsFaultKind {
        0 => Corrupt {}
        1 => InvalidRecord {}
        2 => InvalidTimestamp {}
        3 => UnsupportedCompression {}
        4 => UnsupportedFormat {}
        5 => TooLarge {}
        6 => NotOneBatch {}
    }
    ScanRest {
        0 => Nothing {}
        1 => Short { at: at, need: need }
        2 => Damage { at: at }
    }
}
