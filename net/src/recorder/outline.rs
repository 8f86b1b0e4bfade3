//! The outline of an effect: its kind, its numbers, and a digest of its bytes as the recording keeps them.
//!
//! Two effects with the same outline ask for the same. It is what a recording holds of each effect, and can be shown.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use trialog_core::ids::{ConnId, FileId};
use trialog_core::io::{CloseWhy, DiskOp, Effect, Halt, Parts, Token};
use trialog_core::work::Job;

use super::codec::{Item, Reader, Torn, Writer};
use super::redact::{Redactor, Walk};

/// One effect, outlined.
#[derive(Clone, PartialEq, Eq)]
pub struct Outline {
    kind: u64,
    numbers: Vec<u64>,
}

/// Names of the kinds and of their numbers.
const KINDS: &[(&str, &[&str])] = &[
    ("Connect", &["token", "host#", "port"]),
    ("Send", &["conn", "len", "bytes#"]),
    ("Pause", &["conn"]),
    ("Resume", &["conn"]),
    ("Close", &["conn", "why", "detail#"]),
    ("FrameLimit", &["conn", "limit"]),
    ("Work Validate", &["token", "len", "records#", "rules#"]),
    ("Work Scan", &["token", "len", "block#"]),
    (
        "Work FindTimestamp",
        &["token", "len", "block#", "target#", "from"],
    ),
    ("Halt", &["how", "message#"]),
    ("MakeDir", &["token", "parent", "name#", "dir"]),
    ("OpenDir", &["token", "parent", "name#", "dir"]),
    ("CloseDir", &["token", "dir"]),
    ("RemoveDir", &["token", "parent", "name#"]),
    ("List", &["token", "dir", "after#", "limit"]),
    ("Create", &["token", "dir", "name#", "file"]),
    ("Open", &["token", "dir", "name#", "file"]),
    ("Close file", &["token", "file"]),
    ("Rename", &["token", "dir", "from#", "to#"]),
    ("Unlink", &["token", "dir", "name#"]),
    ("SyncDir", &["token", "dir"]),
    ("Write", &["token", "file", "at", "len", "bytes#"]),
    ("Read", &["token", "file", "at", "len"]),
    ("Truncate", &["token", "file", "len"]),
    ("Allocate", &["token", "file", "len"]),
    ("Sync", &["token", "root", "files", "files#"]),
];

impl Outline {
    /// Of an effect; `redactor` learns from it.
    #[must_use]
    pub fn of(effect: &Effect, redactor: &mut Redactor) -> Outline {
        redactor.follow(effect);
        let (kind, numbers) = match effect {
            Effect::Connect { token, host, port } => {
                (0, vec![number(*token), text(host), u64::from(*port)])
            }
            Effect::Send { conn, parts } => {
                let bytes = answer(*conn, parts, redactor);
                (1, vec![conn.0, parts.len() as u64, bytes])
            }
            Effect::Pause { conn } => (2, vec![conn.0]),
            Effect::Resume { conn } => (3, vec![conn.0]),
            Effect::Close { conn, why } => (4, close(*conn, why)),
            Effect::FrameLimit { conn, limit } => (5, vec![conn.0, u64::from(*limit)]),
            Effect::Work { token, job } => job_outline(number(*token), job, redactor),
            Effect::Halt { halt } => (
                9,
                match halt {
                    Halt::Clean => vec![0, 0],
                    Halt::Fatal(message) => vec![1, text(message)],
                },
            ),
            Effect::Disk { token, op } => disk(number(*token), op, redactor),
        };
        Outline { kind, numbers }
    }

    /// Adds it to a digest.
    pub(super) fn digest(&self, digest: &mut Digest) {
        for number in [self.kind].iter().chain(&self.numbers) {
            digest.bytes(&number.to_le_bytes());
        }
    }
}

fn close(conn: ConnId, why: &CloseWhy) -> Vec<u64> {
    let (why, detail) = match why {
        CloseWhy::Malformed(what) => (0, text(what)),
        CloseWhy::Unsupported { key, version } => (
            1,
            (u64::from(*key as u16) << 16) | u64::from(*version as u16),
        ),
        CloseWhy::Idle => (2, 0),
        CloseWhy::Stalled => (3, 0),
        CloseWhy::Shutdown => (4, 0),
        CloseWhy::AcksZeroFailed => (5, 0),
        CloseWhy::TooManyConnections { of: _, limit } => (6, u64::from(*limit)),
    };
    vec![conn.0, why, detail]
}

fn job_outline(token: u64, job: &Job, redactor: &Redactor) -> (u64, Vec<u64>) {
    match job {
        Job::Validate { records, rules } => {
            let rules = text(&format!("{rules:?}"));
            let bytes = one(Walk::of_records(), records, redactor);
            (6, vec![token, records.len() as u64, bytes, rules])
        }
        Job::Scan { block } => {
            let bytes = one(Walk::of_segment(), block, redactor);
            (7, vec![token, block.len() as u64, bytes])
        }
        Job::FindTimestamp {
            block,
            target,
            from,
        } => {
            let target = text(&format!("{target:?}"));
            let bytes = one(Walk::of_segment(), block, redactor);
            let from = from.0 as u64;
            (8, vec![token, block.len() as u64, bytes, target, from])
        }
    }
}

fn disk(token: u64, op: &DiskOp, redactor: &Redactor) -> (u64, Vec<u64>) {
    match op {
        DiskOp::MakeDir { parent, name, dir } => {
            (10, vec![token, parent.0, text(name.as_str()), dir.0])
        }
        DiskOp::OpenDir { parent, name, dir } => {
            (11, vec![token, parent.0, text(name.as_str()), dir.0])
        }
        DiskOp::CloseDir { dir } => (12, vec![token, dir.0]),
        DiskOp::RemoveDir { parent, name } => (13, vec![token, parent.0, text(name.as_str())]),
        DiskOp::List { dir, after, limit } => {
            let after = after.as_ref().map_or(0, |after| text(after.as_str()));
            (14, vec![token, dir.0, after, u64::from(*limit)])
        }
        DiskOp::Create { dir, name, file } => (15, vec![token, dir.0, text(name.as_str()), file.0]),
        DiskOp::Open { dir, name, file } => (16, vec![token, dir.0, text(name.as_str()), file.0]),
        DiskOp::Close { file } => (17, vec![token, file.0]),
        DiskOp::Rename { dir, from, to } => {
            let (from, to) = (text(from.as_str()), text(to.as_str()));
            (18, vec![token, dir.0, from, to])
        }
        DiskOp::Unlink { dir, name } => (19, vec![token, dir.0, text(name.as_str())]),
        DiskOp::SyncDir { dir } => (20, vec![token, dir.0]),
        DiskOp::Write { file, at, data } => {
            let bytes = written(*file, data, redactor);
            (21, vec![token, file.0, *at, data.len() as u64, bytes])
        }
        DiskOp::Read { file, at, len } => (22, vec![token, file.0, *at, u64::from(*len)]),
        DiskOp::Truncate { file, len } => (23, vec![token, file.0, *len]),
        DiskOp::Allocate { file, len } => (24, vec![token, file.0, *len]),
        DiskOp::Sync { root, files } => {
            let mut digest = Digest::default();
            for file in files {
                digest.bytes(&file.0.to_le_bytes());
            }
            (25, vec![token, root.0, files.len() as u64, digest.finish()])
        }
    }
}

/// Room, slot and generation in one number that differs where they do.
fn number(token: Token) -> u64 {
    (token.room as u64) << 60 ^ (u64::from(token.slot) << 32) ^ u64::from(token.generation)
}

fn text(text: &str) -> u64 {
    let mut digest = Digest::default();
    digest.bytes(text.as_bytes());
    digest.finish()
}

/// What goes to a file: blanked like the recording where the file holds clients' records.
fn written(file: FileId, data: &Parts, redactor: &Redactor) -> u64 {
    if redactor.holds_records(file) {
        let mut digest = Digest::default();
        batches(Walk::of_segment(), data.slices(), redactor, &mut digest);
        return digest.finish();
    }
    let mut digest = Digest::default();
    for slice in data.slices() {
        digest.bytes(slice);
    }
    digest.finish()
}

/// Batches from the first slice on, blanked by `walk`.
fn batches<'a>(
    mut walk: Walk,
    slices: impl IntoIterator<Item = &'a Bytes>,
    redactor: &Redactor,
    digest: &mut Digest,
) {
    let mut blank = Vec::new();
    for slice in slices {
        if !redactor.keeps_all() {
            walk.piece(slice, 0, &mut blank);
        }
        digest.but(slice, &blank);
        blank.clear();
    }
}

fn one(walk: Walk, slice: &Bytes, redactor: &Redactor) -> u64 {
    let mut digest = Digest::default();
    batches(walk, [slice], redactor, &mut digest);
    digest.finish()
}

/// An answer, without the records in it.
fn answer(conn: ConnId, parts: &Parts, redactor: &mut Redactor) -> u64 {
    let blank = match redactor.keeps_all() {
        true => Vec::new(),
        false => redactor.answer(conn, parts),
    };
    let mut digest = Digest::default();
    let (mut at, mut ranges) = (0, blank.iter().peekable());
    for slice in parts.slices() {
        let end = at + slice.len();
        let mut within = Vec::new();
        while let Some(range) = ranges.peek() {
            if range.start >= end {
                break;
            }
            within.push(range.start.max(at) - at..range.end.min(end) - at);
            if range.end > end {
                break;
            }
            ranges.next();
        }
        digest.but(slice, &within);
        at = end;
    }
    digest.finish()
}

/// A 64-bit digest, equal however the bytes are cut; for telling apart, not for secrecy.
#[derive(Default)]
pub struct Digest {
    state: u64,
    held: u64,
    held_bytes: u32,
    len: u64,
}

impl Digest {
    /// Adds bytes.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        while self.held_bytes > 0
            && let Some((first, rest)) = bytes.split_first()
        {
            self.byte(*first);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.byte(*byte);
        }
    }

    /// Adds `bytes` but for the ranges, of which only the length counts.
    fn but(&mut self, bytes: &[u8], blank: &[Range<usize>]) {
        let mut at = 0;
        for range in blank {
            self.bytes(&bytes[at..range.start]);
            self.len += range.len() as u64;
            at = range.end;
        }
        self.bytes(&bytes[at..]);
    }

    /// The digest of everything so far.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        let (held, len) = (self.held, self.len);
        self.mix(held);
        self.mix(len);
        self.state
    }

    fn byte(&mut self, byte: u8) {
        self.held |= u64::from(byte) << (8 * self.held_bytes);
        self.held_bytes += 1;
        if self.held_bytes == 8 {
            let word = std::mem::take(&mut self.held);
            self.held_bytes = 0;
            self.mix(word);
        }
    }

    /// The halves of a 128-bit product, folded (as in wyhash).
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word ^ 0xa076_1d64_78bd_642f)
            * u128::from(self.state.rotate_left(32) ^ 0xe703_7ed1_a0b4_28db);
        self.state = (product >> 64) as u64 ^ product as u64;
    }
}

impl Item for Outline {
    fn put(&self, to: &mut Writer) {
        to.number(self.kind);
        for number in &self.numbers {
            to.number(*number);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Outline, Torn> {
        let kind = from.number()?;
        let place = usize::try_from(kind).map_err(|_| Torn)?;
        let (_, names) = KINDS.get(place).ok_or(Torn)?;
        let numbers = names
            .iter()
            .map(|_| from.number())
            .collect::<Result<_, _>>()?;
        Ok(Outline { kind, numbers })
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, names) = usize::try_from(self.kind)
            .ok()
            .and_then(|kind| KINDS.get(kind))
            .copied()
            .unwrap_or_default();
        f.write_str(kind)?;
        for (name, number) in names.iter().zip(&self.numbers) {
            match name.strip_suffix('#') {
                Some(name) => write!(f, " {name}#{number:016x}")?,
                None if *name == "token" => write!(
                    f,
                    " token {}/{}/{}",
                    number >> 60,
                    (number >> 32) & 0x0fff_ffff,
                    *number as u32
                )?,
                None => write!(f, " {name} {number}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_the_cuts() {
        let bytes: Vec<u8> = (0..100).collect();
        let of = |cuts: &[usize]| {
            let mut digest = Digest::default();
            let mut at = 0;
            for cut in cuts {
                digest.bytes(&bytes[at..*cut]);
                at = *cut;
            }
            digest.bytes(&bytes[at..]);
            digest.finish()
        };
        let whole = of(&[]);
        assert!((1..99).all(|cut| of(&[cut]) == whole && of(&[cut / 2, cut]) == whole));
        assert_ne!(whole, text("something else"));
        assert_ne!(text("a"), text("a\0"));
    }

    #[test]
    fn every_kind_has_its_names() {
        use trialog_core::ids::DirId;
        let token = Token {
            room: trialog_core::io::Room::Api,
            slot: 3,
            generation: 4,
        };
        let op = DiskOp::SyncDir { dir: DirId(5) };
        let effect = Effect::Disk { token, op };
        let outline = Outline::of(&effect, &mut Redactor::new(false));
        assert_eq!(outline.to_string(), "SyncDir token 2/3/4 dir 5");
        let close = Effect::Close {
            conn: ConnId(1),
            why: CloseWhy::Idle,
        };
        for effect in [effect, close] {
            let outline = Outline::of(&effect, &mut Redactor::new(false));
            let (_, names) = KINDS[outline.kind as usize];
            assert_eq!(names.len(), outline.numbers.len());
        }
    }
}
