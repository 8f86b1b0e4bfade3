//! The wire: bytes to messages and back.
//!
//! All messages and records of Kafka's protocol in all their versions, generated from the text in `core/schema/`, and what
//! is around them: frames, headers, the framing of records. Nothing here knows what a message means. No field is copied
//! on decode: [`Str`] and `Bytes` are slices of the frame. Bytes are never trusted: see [`reader`].
//!
//! Reading a request and answering it:
//!
//! ```
//! use trialog_core::wire::{self, ApiKey, FrameDecoder, Message, Reader, RequestHeader};
//! # let request = wire::FetchRequest { max_wait_ms: 500, ..Default::default() };
//! # let bytes_from_the_peer = wire::request_frame(17, 1, Some("me".into()), &request).unwrap().to_bytes();
//! let mut frames = FrameDecoder::new(64 * 1024);
//! frames.push(&bytes_from_the_peer);
//! let frame = frames.next_frame()?.expect("all bytes of the frame have arrived");
//!
//! let mut reader = Reader::new(frame);
//! let header = RequestHeader::decode(&mut reader)?;
//! assert_eq!((header.api, header.version), (ApiKey::Fetch, 17));
//! let request = wire::FetchRequest::decode(&mut reader, header.version)?;
//!
//! let records = bytes::Bytes::from(vec![0; 65_536]); // shared by the answer, not copied into it
//! let partition = wire::fetch_response::PartitionData { records: Some(records.into()), ..Default::default() };
//! let topic = wire::fetch_response::FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
//! let response = wire::FetchResponse { responses: vec![topic], ..Default::default() };
//! let parts = wire::response_frame(header.api, header.version, header.correlation_id, &response)?;
//! assert_eq!(parts.slices().len(), 3); // length, header and fields; the records; the fields after them
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod api_key;
pub mod batch;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod messages;
pub mod parts;
pub mod reader;
pub mod records;
pub mod str;
pub mod types;
pub mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use frame::{FrameDecoder, FrameError};
pub use header::{
    RequestHeader, decode_response, request_frame, response_correlation_id, response_frame,
};
pub use messages::*;
pub use parts::Parts;
pub use reader::{DecodeError, DecodeErrorKind, Reader};
pub use records::*;
pub use str::Str;
pub use types::{F64Bits, TaggedFields};
pub use writer::{EncodeError, EncodeErrorKind, Writer};
