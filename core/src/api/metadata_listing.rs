//! Metadata of all topics, where they are many: the answer is put together piece by piece.
//!
//! Each topic is told as it is when its piece is made: one that is created or deleted meanwhile may be missing. A topic is told whole,
//! however many partitions it has. Decides nothing of what is told.

use super::connection::Answer;
use super::listing::{ITEMS, Of, Pieces};
use super::{Api, Asked, Rooms, metadata};
use crate::situation::Situation;
use crate::wire::{EncodeError, MetadataRequest, MetadataResponse, Str};

/// A piece that has so many partitions ends. As many topics as a piece has, of four pieces' partitions, are told at once.
const PARTITIONS: usize = 250;
/// The first version with tagged fields.
const FLEXIBLE_SINCE: i16 = 9;

/// How far the topics are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    request: MetadataRequest,
    /// The last topic that is told.
    after: Str,
}

/// Does a request ask for more topics than are told at once?
pub(super) fn is_long(request: &MetadataRequest, version: i16, rooms: &Rooms) -> bool {
    let topics = request.topics.as_ref();
    let all = topics.is_none_or(|topics| topics.is_empty() && version == 0);
    all && (rooms.image.topics.len() > ITEMS || rooms.partitions.len() > 4 * PARTITIONS)
}

impl Api {
    pub(super) fn begin_metadata_listing(&mut self, asked: Asked, request: MetadataRequest) {
        let after = Str::EMPTY;
        self.begin_listing(asked, Of::Topics(Topics { request, after }));
    }
}

impl Topics {
    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(6);
        out.bytes(self.after.as_bytes());
    }

    /// Adds the next piece; the answer, once there is no further one.
    pub(super) fn go_on(
        &mut self,
        asked: Asked,
        rooms: &Rooms,
        pieces: &mut Pieces,
    ) -> Result<Option<Answer>, EncodeError> {
        let Asked { version, .. } = asked;
        let (seen, end) = (rooms.seen_from(asked), after_topics(version));
        let most = (ITEMS, PARTITIONS);
        let topics = metadata::topics_after(&self.request, version, seen, &self.after, most);
        let Some(last) = topics.last().and_then(|topic| topic.name.clone()) else {
            let head = metadata::answer(&self.request, version, seen, Vec::new());
            return pieces.answer(asked, &head, end).map(Some);
        };
        self.after = last;
        let items = topics.len();
        let piece = MetadataResponse {
            topics,
            ..Default::default()
        };
        pieces.push(&piece, items, version, end)?;
        Ok(None)
    }
}

/// Bytes of a response after its topics.
fn after_topics(version: i16) -> usize {
    let operations = if (8..=10).contains(&version) { 4 } else { 0 };
    let error = if version >= 13 { 2 } else { 0 };
    operations + error + usize::from(version >= FLEXIBLE_SINCE)
}
