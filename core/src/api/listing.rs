//! Answers that are one long array, put together piece by piece, other requests in between.
//!
//! Owns the bytes until the answer is whole, and whose turn it is. What an item says is another file's: topics in `metadata_listing`,
//! properties in `config_listing`.

use bytes::Bytes;

use super::config_listing::Configs;
use super::connection::Answer;
use super::metadata_listing::Topics;
use super::{Api, Asked, Rooms, Waiting};
use crate::io::Cx;
use crate::situation::Situation;
use crate::wire::{EncodeError, Message, Parts, Writer, response_frame};

/// A piece has at most so many items: their count takes one byte in a compact array.
pub(super) const ITEMS: usize = 100;

/// An answer that is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListingWait {
    asked: Asked,
    of: Of,
    pieces: Pieces,
}

/// What is listed, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Topics(Topics),
    Configs(Configs),
}

impl ListingWait {
    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.pieces.len()
    }

    /// Tells how far it has come.
    pub(super) fn describe(&self, out: &mut Situation) {
        match &self.of {
            Of::Topics(topics) => topics.describe(out),
            Of::Configs(configs) => configs.describe(out),
        }
    }
}

impl Api {
    pub(super) fn begin_listing(&mut self, asked: Asked, of: Of) {
        let pieces = Pieces::default();
        self.wait_for_turn(ListingWait { asked, of, pieces });
    }

    fn wait_for_turn(&mut self, wait: ListingWait) {
        let id = wait.asked.id;
        self.listed += wait.bytes();
        self.requests.insert(id, Waiting::Listing(wait));
        self.listings.push_back(id);
    }

    /// Adds the next piece to the answer whose turn it is; once a step. False if there is none.
    pub fn go_on_listing(&mut self, rooms: &Rooms, cx: &mut Cx) -> bool {
        let Some(id) = self.listings.pop_front() else {
            return false;
        };
        let Some(Waiting::Listing(mut wait)) = self.requests.remove(&id) else {
            return true;
        };
        self.listed -= wait.bytes();
        if self.connections.is_gone(id) {
            self.connections.finish(id, Answer::Silent, cx.out);
            return true;
        }
        let (asked, pieces) = (wait.asked, &mut wait.pieces);
        let answer = match &mut wait.of {
            Of::Topics(topics) => topics.go_on(asked, rooms, pieces),
            Of::Configs(configs) => {
                let room = self.connections.answer_room().saturating_sub(self.listed);
                configs.go_on(asked, (&rooms.config, &rooms.image), pieces, room)
            }
        };
        match answer {
            Ok(None) => self.wait_for_turn(wait),
            Ok(Some(answer)) => self.connections.finish(id, answer, cx.out),
            Err(error) => {
                let answer = self.unwritable(cx, asked, asked.version, &error);
                self.connections.finish(id, answer, cx.out);
            }
        }
        true
    }
}

/// The items of an answer that are told so far, as they stand in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    items: u32,
    told: Parts,
}

impl Pieces {
    /// Bytes of all of them.
    pub(super) fn len(&self) -> u64 {
        self.told.len() as u64
    }

    /// Adds what `piece` tells: a response with these `items`, at most [`ITEMS`], and nothing else. `after` bytes follow the array.
    pub(super) fn push<M: Message>(
        &mut self,
        piece: &M,
        items: usize,
        version: i16,
        after: usize,
    ) -> Result<(), EncodeError> {
        let empty = encoded(&M::default(), version)?.len();
        let bytes = encoded(piece, version)?;
        self.items += u32::try_from(items).unwrap_or(0);
        self.told
            .push(bytes.slice(empty - after..bytes.len() - after));
        Ok(())
    }

    /// The whole answer: `head` has everything but the items, and ends `after` bytes behind the array.
    pub(super) fn answer<M: Message>(
        &self,
        asked: Asked,
        head: &M,
        after: usize,
    ) -> Result<Answer, EncodeError> {
        let version = asked.version;
        let head = response_frame(asked.api, version, asked.correlation_id, head)?.to_bytes();
        let split = head.len() - after;
        let mut count = Writer::new();
        let empty_count = if asked.api.is_flexible(version) {
            count.uvarint(self.items + 1);
            1
        } else {
            count.uint32(self.items);
            4
        };
        let body = [head.slice(4..split - empty_count), count.into_bytes()];
        let length = body.iter().map(Bytes::len).sum::<usize>() + self.told.len() + after;
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let mut parts = Parts::from(Bytes::copy_from_slice(&length));
        body.into_iter().for_each(|bytes| parts.push(bytes));
        parts.append(self.told.clone());
        parts.push(head.slice(split..));
        Ok(Answer::Frame(parts))
    }
}

fn encoded<M: Message>(response: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    response.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}
