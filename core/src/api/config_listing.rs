//! The answer to DescribeConfigs, put together piece by piece and bounded in its bytes.
//!
//! A few bytes ask for a resource and may ask for it again, and each is answered, as by Kafka, with hundreds of properties: the whole
//! takes many steps and could take any amount of memory. What is too large is refused as a whole, with INVALID_REQUEST, where Kafka tries;
//! what can not even be refused within the bounds ends the connection. Decides nothing of what is told.

use super::connection::Answer;
use super::listing::{ITEMS, Of, Pieces};
use super::{Api, Asked, describe_configs};
use crate::config::Config;
use crate::io::CloseWhy;
use crate::metadata::Image;
use crate::situation::Situation;
use crate::wire::{DescribeConfigsRequest, DescribeConfigsResponse, EncodeError, Str};

/// A piece that has so many properties ends: those of a hundred topics.
const PROPERTIES: usize = 3_400;
/// An answer of so many bytes is always given.
const BYTES_FREE: u64 = 1 << 20;
/// An answer of more bytes is never given: a default client of librdkafka would not read it.
const BYTES_MAX: u64 = 100_000_000;
/// What is said instead of an answer that would be too large.
const TOO_LARGE: &str =
    "The answer would take more bytes than there is room for: describe fewer resources at a time.";
/// The first version with tagged fields.
const FLEXIBLE_SINCE: i16 = 4;

/// How far the resources are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configs {
    request: DescribeConfigsRequest,
    /// Why nothing is told of any.
    refused: Option<&'static str>,
    /// How many are told.
    told: usize,
    /// The request itself takes more than there is room for.
    has_no_room: bool,
}

impl Api {
    pub(super) fn describe_configs(&mut self, asked: Asked, request: DescribeConfigsRequest) {
        let mut configs = Configs::new(request);
        // The request is kept while it is told: what it takes beyond its frame counts as in work.
        let bytes = configs.bytes();
        if bytes > BYTES_FREE && bytes > self.connections.request_room() {
            configs.request.resources = Vec::new();
            configs.has_no_room = true;
        } else {
            self.connections.hold(asked.id, bytes);
        }
        self.begin_listing(asked, Of::Configs(configs));
    }
}

impl Configs {
    fn new(request: DescribeConfigsRequest) -> Configs {
        Configs {
            refused: describe_configs::refused(&request),
            request,
            told: 0,
            has_no_room: false,
        }
    }

    /// What the decoded request takes.
    fn bytes(&self) -> u64 {
        let resources = &self.request.resources;
        let keys = resources
            .iter()
            .filter_map(|resource| resource.configuration_keys.as_ref());
        let keys: usize = keys.map(Vec::len).sum();
        (size_of_val(resources.as_slice()) + keys * size_of::<Str>()) as u64
    }

    pub(super) fn describe(&self, out: &mut Situation) {
        out.number(7);
        out.flag(self.refused.is_some());
        out.flag(self.has_no_room);
        out.count(self.told);
    }

    /// Adds the next piece; the answer, once nothing is missing. There is `room` for so many bytes of a large answer.
    pub(super) fn go_on(
        &mut self,
        asked: Asked,
        (config, image): (&Config, &Image),
        pieces: &mut Pieces,
        room: u64,
    ) -> Result<Option<Answer>, EncodeError> {
        if self.has_no_room {
            let why = "it describes more resources than there is room for".to_owned();
            return Ok(Some(Answer::Close(CloseWhy::Malformed(why))));
        }
        let next = self.request.resources.get(self.told..).unwrap_or_default();
        let next = &next[..next.len().min(ITEMS)];
        let results = match self.refused {
            Some(why) => describe_configs::refuse(next, why),
            None => describe_configs::describe(&self.request, next, config, image, PROPERTIES),
        };
        self.told += results.len();
        let items = results.len();
        let piece = DescribeConfigsResponse {
            results,
            ..Default::default()
        };
        let after = usize::from(asked.version >= FLEXIBLE_SINCE);
        pieces.push(&piece, items, asked.version, after)?;
        let bytes = pieces.len();
        if bytes > BYTES_FREE && bytes > room.min(BYTES_MAX) {
            if self.refused.is_some() {
                let many = self.request.resources.len();
                let why = format!("it describes {many} resources, too many even to refuse");
                return Ok(Some(Answer::Close(CloseWhy::Malformed(why))));
            }
            (self.refused, self.told) = (Some(TOO_LARGE), 0);
            *pieces = Pieces::default();
            return Ok(None);
        }
        if self.told < self.request.resources.len() {
            return Ok(None);
        }
        let head = DescribeConfigsResponse::default();
        pieces.answer(asked, &head, after).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConnId, ListenerId, RequestId};
    use crate::metadata::Resource;
    use crate::wire::describe_configs_request::DescribeConfigsResource;
    use crate::wire::{ApiKey, ErrorCode, decode_response};

    fn asked() -> Asked {
        Asked {
            id: RequestId(1),
            conn: ConnId(1),
            listener: ListenerId(0),
            api: ApiKey::DescribeConfigs,
            version: 4,
            correlation_id: 7,
        }
    }

    /// Asks `many` times for the broker itself, where there is `room`: the answer, and the most bytes that were held.
    fn ask(many: usize, room: u64) -> (Answer, u64) {
        let config = Config::single(1, &["/a"], &[]).expect("valid");
        let image = Image::default();
        let resource = DescribeConfigsResource {
            resource_type: Resource::BROKER,
            resource_name: "1".into(),
            ..Default::default()
        };
        let mut configs = Configs::new(DescribeConfigsRequest {
            resources: vec![resource; many],
            ..Default::default()
        });
        let (mut pieces, mut most) = (Pieces::default(), 0);
        loop {
            let told = configs.told;
            let answer = configs.go_on(asked(), (&config, &image), &mut pieces, room);
            most = most.max(pieces.len());
            if let Some(answer) = answer.expect("written") {
                return (answer, most);
            }
            assert!(configs.told <= told + ITEMS, "a piece is small");
        }
    }

    fn codes(answer: &Answer) -> Vec<(ErrorCode, usize)> {
        let Answer::Frame(parts) = answer else {
            panic!("{answer:?}");
        };
        let frame = parts.to_bytes();
        let length = u32::from_be_bytes(*frame.first_chunk().expect("a length"));
        assert_eq!(length as usize, frame.len() - 4);
        let (_, answer) =
            decode_response::<DescribeConfigsRequest>(frame.slice(4..), 4).expect("decoded");
        let results = answer.results.iter();
        results.map(|r| (r.error_code, r.configs.len())).collect()
    }

    #[test]
    fn what_is_small_is_told_without_room_and_what_is_large_with_it() {
        for (many, room) in [(0, 0), (1, 0), (30, 0), (200, 20_000_000)] {
            let (answer, _) = ask(many, room);
            assert_eq!(codes(&answer), vec![(ErrorCode::NONE, 340); many]);
        }
    }

    #[test]
    fn what_has_no_room_is_refused_as_a_whole() {
        let (answer, most) = ask(2_000, 2_000_000);
        assert_eq!(codes(&answer), [(ErrorCode::INVALID_REQUEST, 0); 2_000]);
        assert!(most < 3_000_000, "{most} bytes were held");
    }

    #[test]
    fn what_cannot_even_be_refused_ends_the_connection() {
        let (answer, most) = ask(100_000, 0);
        assert!(
            matches!(&answer, Answer::Close(CloseWhy::Malformed(why)) if why.contains("100000")),
            "{answer:?}"
        );
        assert!(most < 2_000_000, "{most} bytes were held");
    }
}
