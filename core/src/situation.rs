//! What a node's situation is, in numbers that are the same wherever situations are: the ground of its digest.
//!
//! Times are told relative to the moment; connections, requests and fetch sessions by the order in which they are first spoken of, for
//! their names differ where situations do not. Decides nothing.

use std::collections::BTreeMap;

use crate::ids::{ConnId, RequestId};
use crate::time::Instant;

/// What has a name that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Connection,
    Request,
    Session,
}

/// A situation that is being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    now: Instant,
    words: Vec<i64>,
    names: BTreeMap<(Kind, u64), i64>,
}

impl Situation {
    /// Nothing is told yet of the moment `now`.
    #[must_use]
    pub fn new(now: Instant) -> Situation {
        Situation {
            now,
            words: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// A number.
    pub fn number(&mut self, number: i64) {
        self.words.push(number);
    }

    /// A yes or a no.
    pub fn flag(&mut self, flag: bool) {
        self.number(i64::from(flag));
    }

    /// How many there are of something.
    pub fn count(&mut self, count: usize) {
        self.number(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Bytes, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(i64::from_le_bytes(word));
        }
    }

    /// A moment, before or after this one.
    pub fn moment(&mut self, at: Instant) {
        let (at, now) = (i128::from(at.0), i128::from(self.now.0));
        self.number(i64::try_from(at - now).unwrap_or(i64::MAX));
    }

    /// A connection.
    pub fn connection(&mut self, conn: ConnId) {
        self.name(Kind::Connection, conn.0);
    }

    /// A request.
    pub fn request(&mut self, id: RequestId) {
        self.name(Kind::Request, id.0);
    }

    /// A fetch session.
    pub fn session(&mut self, id: i32) {
        self.name(Kind::Session, u64::from(id.cast_unsigned()));
    }

    fn name(&mut self, kind: Kind, name: u64) {
        let next = i64::try_from(self.names.len()).unwrap_or(i64::MAX);
        let known = *self.names.entry((kind, name)).or_insert(next);
        self.number(known);
    }

    /// All that was told.
    #[must_use]
    pub fn words(&self) -> &[i64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_clocks_mean_nothing() {
        let told = |now: u64, conn: u64, request: u64| {
            let mut situation = Situation::new(Instant(now));
            situation.connection(ConnId(conn));
            situation.request(RequestId(request));
            situation.connection(ConnId(conn));
            situation.moment(Instant(now + 5));
            situation.bytes(b"topic");
            situation.words().to_vec()
        };
        assert_eq!(told(1, 2, 3), told(100, 7, 7));
        let mut later = Situation::new(Instant(1));
        later.moment(Instant(3));
        assert_eq!(later.words(), [2]);
    }
}
