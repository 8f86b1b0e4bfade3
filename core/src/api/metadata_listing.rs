//! Metadata of all topics, where they are many: the answer is put together piece by piece, other requests in between.
//!
//! Owns the answer until it is whole. Each topic is told as it is when its piece is made: one that is created or deleted meanwhile may
//! be missing. A topic is told whole, however many partitions it has. Decides nothing of what is told.

use bytes::Bytes;

use super::connection::Answer;
use super::{Api, Asked, Rooms, Waiting, metadata};
use crate::io::Cx;
use crate::situation::Situation;
use crate::wire::metadata_response::MetadataResponseTopic;
use crate::wire::{
    EncodeError, Message, MetadataRequest, MetadataResponse, Parts, Str, Writer, response_frame,
};

/// A piece has at most as many topics: their count takes one byte in a compact array. So many topics, of four pieces' partitions, are
/// told at once.
const TOPICS: usize = 100;
/// A piece that has so many partitions ends.
const PARTITIONS: usize = 250;
/// The first version with compact arrays and tagged fields.
const FLEXIBLE_SINCE: i16 = 9;

/// An answer that is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListingWait {
    asked: Asked,
    request: MetadataRequest,
    /// The last topic that is in it.
    after: Str,
    topics: u32,
    told: Parts,
}

impl ListingWait {
    /// Tells how far it has come.
    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(5);
        out.bytes(self.after.as_bytes());
    }
}

/// Does a request ask for more topics than are told at once?
pub(super) fn is_long(request: &MetadataRequest, version: i16, rooms: &Rooms) -> bool {
    let topics = request.topics.as_ref();
    let all = topics.is_none_or(|topics| topics.is_empty() && version == 0);
    all && (rooms.image.topics.len() > TOPICS || rooms.partitions.len() > 4 * PARTITIONS)
}

impl Api {
    pub(super) fn begin_listing(&mut self, asked: Asked, request: MetadataRequest) {
        let wait = ListingWait {
            asked,
            request,
            after: Str::EMPTY,
            topics: 0,
            told: Parts::new(),
        };
        self.requests.insert(asked.id, Waiting::Listing(wait));
        self.listings.push_back(asked.id);
    }

    /// Adds the next piece to the answer whose turn it is; once a step. False if there is none.
    pub fn go_on_listing(&mut self, rooms: &Rooms, cx: &mut Cx) -> bool {
        let Some(id) = self.listings.pop_front() else {
            return false;
        };
        let Some(Waiting::Listing(mut wait)) = self.requests.remove(&id) else {
            return true;
        };
        if self.connections.is_gone(id) {
            self.connections.finish(id, Answer::Silent, cx.out);
            return true;
        }
        let asked = wait.asked;
        let seen = rooms.seen_from(asked);
        let most = (TOPICS, PARTITIONS);
        let piece = metadata::topics_after(&wait.request, asked.version, seen, &wait.after, most);
        let Some(last) = piece.last().and_then(|topic| topic.name.clone()) else {
            let head = metadata::answer(&wait.request, asked.version, seen, Vec::new());
            let answer = match frame(&wait, &head) {
                Ok(parts) => Answer::Frame(parts),
                // It tells why, and closes.
                Err(_) => self.encode(cx, asked, asked.version, &head),
            };
            self.connections.finish(id, answer, cx.out);
            return true;
        };
        wait.after = last;
        wait.topics += u32::try_from(piece.len()).unwrap_or(0);
        if let Ok(bytes) = topic_bytes(piece, asked.version) {
            wait.told.push(bytes);
        }
        self.requests.insert(id, Waiting::Listing(wait));
        self.listings.push_back(id);
        true
    }
}

/// Bytes of a response after its topics.
fn after_topics(version: i16) -> usize {
    let operations = if (8..=10).contains(&version) { 4 } else { 0 };
    let error = if version >= 13 { 2 } else { 0 };
    operations + error + usize::from(version >= FLEXIBLE_SINCE)
}

/// Bytes of the count of a short array.
fn count_len(version: i16) -> usize {
    if version >= FLEXIBLE_SINCE { 1 } else { 4 }
}

fn encoded(response: &MetadataResponse, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    response.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// The topics alone, as they stand in a response.
fn topic_bytes(topics: Vec<MetadataResponseTopic>, version: i16) -> Result<Bytes, EncodeError> {
    let empty = encoded(&MetadataResponse::default(), version)?.len();
    let response = MetadataResponse {
        topics,
        ..Default::default()
    };
    let bytes = encoded(&response, version)?;
    let after = after_topics(version);
    Ok(bytes.slice(empty - after..bytes.len() - after))
}

/// The whole answer: `head` has everything but the topics.
fn frame(wait: &ListingWait, head: &MetadataResponse) -> Result<Parts, EncodeError> {
    let Asked {
        api,
        version,
        correlation_id,
        ..
    } = wait.asked;
    let head = response_frame(api, version, correlation_id, head)?.to_bytes();
    let split = head.len() - after_topics(version);
    let mut count = Writer::new();
    if version >= FLEXIBLE_SINCE {
        count.uvarint(wait.topics + 1);
    } else {
        count.uint32(wait.topics);
    }
    let body = [
        head.slice(4..split - count_len(version)),
        count.into_bytes(),
    ];
    let length = body.iter().map(Bytes::len).sum::<usize>() + wait.told.len() + head.len() - split;
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut parts = Parts::from(Bytes::copy_from_slice(&length));
    body.into_iter().for_each(|bytes| parts.push(bytes));
    parts.append(wait.told.clone());
    parts.push(head.slice(split..));
    Ok(parts)
}
