//! The generated types: one module a message, one struct a message with the fields of all its versions.
//!
//! `core/schema/` has what they are generated from. `Default` gives Kafka's defaults, so a message is best written as
//! `FetchRequest { max_wait_ms: 500, ..Default::default() }`.

use std::fmt::Debug;

use super::api_key::ApiKey;
use super::reader::{DecodeError, DecodeErrorKind, Reader};
use super::writer::{EncodeError, EncodeErrorKind, Writer};

/// A request, response, record or other body of Kafka's protocol, in all its versions.
///
/// Decoding and encoding follow Kafka's own classes: fields that a version lacks get their default when read; when
/// written, such a field must have its default unless the schema calls it ignorable; null only where the version
/// allows it. Stricter than Kafka: text must be UTF-8, tags must ascend, the value of a known tag must fill its size,
/// and the memory that a frame's arrays occupy is limited.
pub trait Message: Clone + Debug + Default + PartialEq + Eq {
    /// Kafka's name of it.
    const NAME: &'static str;
    /// The API key, or the number of the record type.
    const KEY: Option<i16>;
    /// The least version.
    const MIN_VERSION: i16;
    /// The greatest version.
    const MAX_VERSION: i16;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: Option<i16>;

    /// Reads the message. Bytes that follow it are left in the reader.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A request, which has an API and a response.
pub trait Request: Message {
    /// What answers it, in the same version.
    type Response: Message;
    /// Its API.
    const API: ApiKey;
}

#[inline]
fn check_decode<M: Message>(reader: &Reader, version: i16) -> Result<(), DecodeError> {
    if version < M::MIN_VERSION || version > M::MAX_VERSION {
        return Err(reader.error(DecodeErrorKind::Version, M::NAME));
    }
    Ok(())
}

#[inline]
fn check_encode<M: Message>(version: i16) -> Result<(), EncodeError> {
    if version < M::MIN_VERSION || version > M::MAX_VERSION {
        return Err(EncodeError::new(EncodeErrorKind::Version, M::NAME));
    }
    Ok(())
}

/// What the generated modules name.
mod prelude {
    pub(super) use super::{Message, Request, check_decode, check_encode};
    pub(super) use crate::ids::Uuid;
    pub(super) use crate::wire::api_key::ApiKey;
    pub(super) use crate::wire::error_code::ErrorCode;
    pub(super) use crate::wire::parts::Parts;
    pub(super) use crate::wire::reader::{DecodeError, DecodeErrorKind, Reader};
    pub(super) use crate::wire::str::Str;
    pub(super) use crate::wire::types::{F64Bits, TaggedFields};
    pub(super) use crate::wire::writer::{EncodeError, Writer};
    pub(super) use bytes::Bytes;
}

#[allow(
    unused_variables,
    clippy::collapsible_if,
    clippy::match_overlapping_arm,
    clippy::match_single_binding,
    clippy::nonminimal_bool,
    reason = "it is written version by version, as the schema tells it"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}
pub use generated::*;
