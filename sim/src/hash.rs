//! The rolling hash over everything that happens in a run: two runs with one hash did the same.
//!
//! Owns the mixing and the canonical walk over inputs and effects; never decides anything. The walk is over plain
//! numbers and bytes, so that it is the same in debug and release and on every machine.

use std::fmt::{self, Write as _};

use trialog_core::io::{
    CloseReason, CloseWhy, ConnectError, DiskDone, DiskError, DiskOp, Effect, Halt, Input, Parts,
    Token,
};
use trialog_core::wire::batch::{BatchHeader, HEADER_LEN};
use trialog_core::work::Facts;

/// A hash that grows with every word given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll(u64);

impl Default for Roll {
    fn default() -> Roll {
        Roll::new()
    }
}

impl Roll {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new() -> Roll {
        Roll(0x243f_6a88_85a3_08d3)
    }

    /// The hash of all that was given so far.
    #[must_use]
    pub fn value(self) -> u64 {
        let mut last = self;
        last.word(0);
        last.0
    }

    /// Adds one number.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23) ^ word.rotate_left(41);
    }

    /// Adds bytes and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0_u8; 8];
            word.copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0_u8; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Adds what `value` prints for programmers: for small closed values without payload bytes.
    pub fn shown(&mut self, value: &impl fmt::Debug) {
        let mut sink = Sink { roll: self };
        // A sink never fails; a Debug that does has said what it could.
        let _ = write!(sink, "{value:?}");
    }

    fn parts(&mut self, parts: &Parts) {
        self.word(parts.len() as u64);
        for slice in parts.slices() {
            self.bytes(slice);
        }
    }

    fn token(&mut self, token: Token) {
        self.word(
            ((token.room as u64) << 56)
                ^ (u64::from(token.slot) << 24)
                ^ u64::from(token.generation),
        );
    }

    /// Adds what the node was given.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Start => self.word(1),
            Input::Opened {
                conn,
                listener,
                peer,
            } => {
                self.word(2);
                self.word(conn.0);
                self.word(u64::from(listener.0));
                self.text(peer);
            }
            Input::Connected { token, conn } => {
                self.word(3);
                self.token(*token);
                self.word(conn.0);
            }
            Input::ConnectFailed { token, reason } => {
                self.word(4);
                self.token(*token);
                self.word(match reason {
                    ConnectError::Refused => 0,
                    ConnectError::TimedOut => 1,
                    ConnectError::Unresolved => 2,
                    ConnectError::Other => 3,
                });
            }
            Input::Frame { conn, frame } => {
                self.word(5);
                self.word(conn.0);
                self.bytes(frame);
            }
            Input::Sent { conn, bytes } => {
                self.word(6);
                self.word(conn.0);
                self.word(*bytes);
            }
            Input::Closed { conn, reason } => {
                self.word(7);
                self.word(conn.0);
                self.word(match reason {
                    CloseReason::PeerClosed => 0,
                    CloseReason::Failed => 1,
                    CloseReason::FrameLimit => 2,
                    CloseReason::Asked => 3,
                });
            }
            Input::Disk { token, result } => {
                self.word(8);
                self.token(*token);
                self.disk_result(result);
            }
            Input::Worked { token, facts } => {
                self.word(9);
                self.token(*token);
                self.facts(facts);
            }
            Input::Wakeup => self.word(10),
            Input::Shutdown => self.word(11),
        }
    }

    fn facts(&mut self, facts: &Facts) {
        match facts {
            Facts::Validated(Ok(batch)) => {
                self.word(0);
                self.header(&batch.header);
                self.bytes(&batch.body);
                self.word(batch.log_append_time.cast_unsigned());
                self.shown(&batch.marker);
            }
            Facts::Validated(Err(fault)) => {
                self.word(1);
                self.shown(fault);
            }
            Facts::Scanned(scanned) => {
                self.word(2);
                for batch in &scanned.batches {
                    self.word(u64::from(batch.at) << 1 | u64::from(batch.crc_holds));
                    self.header(&batch.header);
                    self.shown(&batch.marker);
                }
                self.shown(&scanned.rest);
            }
            Facts::Found(found) => {
                self.word(3);
                self.shown(found);
            }
        }
    }

    fn header(&mut self, header: &BatchHeader) {
        let mut bytes = [0_u8; HEADER_LEN];
        header.encode(&mut &mut bytes[..]);
        self.bytes(&bytes);
    }

    fn disk_result(&mut self, result: &Result<DiskDone, DiskError>) {
        match result {
            Ok(DiskDone::Done) => self.word(0),
            Ok(DiskDone::Written) => self.word(1),
            Ok(DiskDone::Synced) => self.word(2),
            Ok(DiskDone::Opened { len }) => {
                self.word(3);
                self.word(*len);
            }
            Ok(DiskDone::Read(bytes)) => {
                self.word(4);
                self.bytes(bytes);
            }
            Ok(DiskDone::Listed { entries, more }) => {
                self.word(5);
                self.word(u64::from(*more));
                for entry in entries {
                    self.text(entry.name.as_str());
                    self.word(entry.len << 1 | u64::from(entry.dir));
                }
            }
            Err(error) => self.word(match error {
                DiskError::NotFound => 16,
                DiskError::Exists => 17,
                DiskError::Full => 18,
                DiskError::NotEmpty => 19,
                DiskError::Failed => 20,
                DiskError::TooManyOpen => 21,
            }),
        }
    }

    /// Adds what the node asked for.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Connect { token, host, port } => {
                self.word(33);
                self.token(*token);
                self.text(host);
                self.word(u64::from(*port));
            }
            Effect::Send { conn, parts } => {
                self.word(34);
                self.word(conn.0);
                self.parts(parts);
            }
            Effect::Pause { conn } => {
                self.word(35);
                self.word(conn.0);
            }
            Effect::Resume { conn } => {
                self.word(36);
                self.word(conn.0);
            }
            Effect::Close { conn, why } => {
                self.word(37);
                self.word(conn.0);
                self.close_why(why);
            }
            Effect::FrameLimit { conn, limit } => {
                self.word(38);
                self.word(conn.0);
                self.word(u64::from(*limit));
            }
            Effect::Disk { token, op } => {
                self.word(39);
                self.token(*token);
                self.disk_op(op);
            }
            // The payload of a job came in by a frame or a read, which the hash has seen.
            Effect::Work { token, job: _ } => {
                self.word(40);
                self.token(*token);
            }
            Effect::Halt { halt } => match halt {
                Halt::Clean => self.word(41),
                Halt::Fatal(why) => {
                    self.word(42);
                    self.text(why);
                }
            },
        }
    }

    fn close_why(&mut self, why: &CloseWhy) {
        match why {
            CloseWhy::Malformed(text) => {
                self.word(0);
                self.text(text);
            }
            CloseWhy::Unsupported { key, version } => {
                self.word(1);
                self.word(
                    u64::from(key.cast_unsigned()) << 16 | u64::from(version.cast_unsigned()),
                );
            }
            CloseWhy::Idle => self.word(2),
            CloseWhy::Stalled => self.word(3),
            CloseWhy::Shutdown => self.word(4),
            CloseWhy::AcksZeroFailed => self.word(5),
            CloseWhy::TooManyConnections { of, limit } => {
                self.word(6);
                self.text(of.as_deref().unwrap_or_default());
                self.word(u64::from(*limit));
            }
        }
    }

    fn disk_op(&mut self, op: &DiskOp) {
        match op {
            DiskOp::MakeDir { parent, name, dir } => self.entry(1, parent.0, name.as_str(), dir.0),
            DiskOp::OpenDir { parent, name, dir } => self.entry(2, parent.0, name.as_str(), dir.0),
            DiskOp::CloseDir { dir } => self.entry(3, dir.0, "", 0),
            DiskOp::RemoveDir { parent, name } => self.entry(4, parent.0, name.as_str(), 0),
            DiskOp::List { dir, after, limit } => {
                let after = after.as_ref().map_or("", |name| name.as_str());
                self.entry(5, dir.0, after, u64::from(*limit));
            }
            DiskOp::Create { dir, name, file } => self.entry(6, dir.0, name.as_str(), file.0),
            DiskOp::Open { dir, name, file } => self.entry(7, dir.0, name.as_str(), file.0),
            DiskOp::Close { file } => self.entry(8, file.0, "", 0),
            DiskOp::Rename { dir, from, to } => {
                self.entry(9, dir.0, from.as_str(), 0);
                self.text(to.as_str());
            }
            DiskOp::Unlink { dir, name } => self.entry(10, dir.0, name.as_str(), 0),
            DiskOp::SyncDir { dir } => self.entry(11, dir.0, "", 0),
            DiskOp::Write { file, at, data } => {
                self.entry(12, file.0, "", *at);
                self.parts(data);
            }
            DiskOp::Read { file, at, len } => {
                self.entry(13, file.0, "", *at);
                self.word(u64::from(*len));
            }
            DiskOp::Truncate { file, len } => self.entry(14, file.0, "", *len),
            DiskOp::Allocate { file, len } => self.entry(15, file.0, "", *len),
            DiskOp::Sync { root, files } => {
                self.entry(16, root.0, "", files.len() as u64);
                for file in files {
                    self.word(file.0);
                }
            }
        }
    }

    fn entry(&mut self, kind: u64, place: u64, name: &str, more: u64) {
        self.word(kind);
        self.word(place);
        self.text(name);
        self.word(more);
    }
}

/// The hash of one text: the subject of a choice that is about a name.
#[must_use]
pub fn subject(text: &str) -> u64 {
    let mut roll = Roll::new();
    roll.text(text);
    roll.value()
}

struct Sink<'a> {
    roll: &'a mut Roll,
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.roll.text(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trialog_core::ids::ConnId;

    #[test]
    fn order_and_content_matter() {
        let hash = |inputs: &[Input]| {
            let mut roll = Roll::new();
            inputs.iter().for_each(|input| roll.input(input));
            roll.value()
        };
        let sent = |conn, bytes| Input::Sent {
            conn: ConnId(conn),
            bytes,
        };
        assert_eq!(
            hash(&[sent(1, 2), Input::Wakeup]),
            hash(&[sent(1, 2), Input::Wakeup])
        );
        assert_ne!(
            hash(&[sent(1, 2), Input::Wakeup]),
            hash(&[Input::Wakeup, sent(1, 2)])
        );
        assert_ne!(hash(&[sent(1, 2)]), hash(&[sent(2, 1)]));
        assert_ne!(subject("a"), subject("b"));
    }

    #[test]
    fn the_value_is_the_same_everywhere() {
        let mut roll = Roll::new();
        roll.word(1);
        roll.bytes(b"nine byte");
        let here = roll.value();
        let mut again = Roll::new();
        again.word(1);
        again.bytes(b"nine byte");
        assert_eq!(here, again.value());
        assert_ne!(here, Roll::new().value());
    }
}
