//! What stands before a body: request and response headers, and whole frames of both.
//!
//! The header's version follows from the API and the body's version (KIP-482). Two exceptions of Kafka live here: an
//! ApiVersions response always has the oldest header, so that a client that asked for too much can read the error
//! (KIP-511); the client id keeps its old encoding in the flexible request header.

use bytes::Bytes;

use super::api_key::ApiKey;
use super::frame::LENGTH_BYTES;
use super::messages::{Message, Request};
use super::parts::Parts;
use super::reader::{DecodeError, DecodeErrorKind, Reader};
use super::str::Str;
use super::types::TaggedFields;
use super::writer::{EncodeError, EncodeErrorKind, Writer};

/// Room that most answers without records fit in.
const FRAME_BYTES_GUESS: usize = 256;

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// What is asked.
    pub api: ApiKey,
    /// In which version; not checked here, see [`is_supported`](Self::is_supported).
    pub version: i16,
    /// The client's number of the request, which the response repeats.
    pub correlation_id: i32,
    /// The client's name of itself.
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Reads the header and leaves the reader at the body. An unknown API key is an error, and so is everything that
    /// cannot be read: the connection must be closed.
    pub fn decode(reader: &mut Reader) -> Result<RequestHeader, DecodeError> {
        let code = reader.int16("RequestHeader.request_api_key")?;
        let Some(api) = ApiKey::from_code(code) else {
            return Err(reader.error(DecodeErrorKind::UnknownApi, "RequestHeader.request_api_key"));
        };
        let version = reader.int16("RequestHeader.request_api_version")?;
        let correlation_id = reader.int32("RequestHeader.correlation_id")?;
        let client_id = reader.nullable_string(false, true, "RequestHeader.client_id")?;
        if request_header_version(api, version) >= 2 {
            reader.unknown_tagged_fields("RequestHeader")?;
        }
        Ok(RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
        })
    }

    /// True if the schemas have the version. If not, an ApiVersions request is answered with version 0 of its response,
    /// `UNSUPPORTED_VERSION` and the supported versions, without reading its body; any other closes the connection.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.api.has_version(self.version)
    }

    fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.int16(self.api.code());
        writer.int16(self.version);
        writer.int32(self.correlation_id);
        writer.nullable_string(
            false,
            true,
            self.client_id.as_ref().map(Str::as_bytes),
            "RequestHeader.client_id",
        )?;
        no_tags(
            writer,
            request_header_version(self.api, self.version) >= 2,
            "RequestHeader",
        )
    }
}

/// The version of the header before a request: 2 if the body is flexible, else 1.
#[must_use]
pub const fn request_header_version(api: ApiKey, version: i16) -> i16 {
    if api.is_flexible(version) { 2 } else { 1 }
}

/// The version of the header before a response: 1 if the body is flexible, else 0; always 0 before ApiVersions.
#[must_use]
pub const fn response_header_version(api: ApiKey, version: i16) -> i16 {
    match api {
        ApiKey::ApiVersions => 0,
        _ if api.is_flexible(version) => 1,
        _ => 0,
    }
}

fn no_tags(writer: &mut Writer, flexible: bool, name: &'static str) -> Result<(), EncodeError> {
    if flexible {
        writer.unknown_tagged_fields(&TaggedFields::NONE, name)
    } else {
        Ok(())
    }
}

/// Begins a frame whose length is filled in by [`finish_frame`].
fn begin_frame() -> Writer {
    let mut writer = Writer::with_capacity(FRAME_BYTES_GUESS);
    writer.raw(&[0; LENGTH_BYTES]);
    writer
}

fn finish_frame(mut writer: Writer, name: &'static str) -> Result<Parts, EncodeError> {
    let Ok(len) = i32::try_from(writer.len() - LENGTH_BYTES) else {
        return Err(EncodeError::new(EncodeErrorKind::TooLong, name));
    };
    writer.set_int32(0, len);
    Ok(writer.into_parts())
}

/// A response as a whole frame, its length included. `version` is that of the body. Records of the body are shared, not
/// copied.
pub fn response_frame<M: Message>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Parts, EncodeError> {
    debug_assert_eq!(
        M::KEY,
        Some(api.code()),
        "{} does not answer {api:?}",
        M::NAME
    );
    let mut writer = begin_frame();
    writer.int32(correlation_id);
    no_tags(
        &mut writer,
        response_header_version(api, version) >= 1,
        "ResponseHeader",
    )?;
    body.encode(&mut writer, version)?;
    finish_frame(writer, M::NAME)
}

/// A request as a whole frame, its length included. For clients and for the channel to other nodes.
pub fn request_frame<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<Str>,
    body: &R,
) -> Result<Parts, EncodeError> {
    let mut writer = begin_frame();
    RequestHeader {
        api: R::API,
        version,
        correlation_id,
        client_id,
    }
    .encode(&mut writer)?;
    body.encode(&mut writer, version)?;
    finish_frame(writer, R::NAME)
}

/// The number of the request that a frame answers; which of the requests in flight that was decides how to read the rest.
pub fn response_correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    Reader::new(frame.clone()).int32("ResponseHeader.correlation_id")
}

/// Reads the frame (without its length) that answers a request `R` of `version`: its correlation id and body.
pub fn decode_response<R: Request>(
    frame: Bytes,
    version: i16,
) -> Result<(i32, R::Response), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.int32("ResponseHeader.correlation_id")?;
    if response_header_version(R::API, version) >= 1 {
        reader.unknown_tagged_fields("ResponseHeader")?;
    }
    Ok((correlation_id, R::Response::decode(&mut reader, version)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error_code::ErrorCode;
    use crate::wire::messages::{
        ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, fetch_response,
    };

    fn body_of(parts: &Parts) -> Bytes {
        let frame = parts.to_bytes();
        assert_eq!(frame[..4], ((frame.len() - 4) as u32).to_be_bytes());
        frame.slice(4..)
    }

    #[test]
    fn requests_come_back_as_they_were_sent() {
        for version in ApiKey::Fetch.versions() {
            let request = FetchRequest {
                max_wait_ms: 500,
                ..Default::default()
            };
            let parts = request_frame(version, 7, Some("c".into()), &request).unwrap();
            let mut reader = Reader::new(body_of(&parts));
            let header = RequestHeader::decode(&mut reader).unwrap();
            assert_eq!(
                header,
                RequestHeader {
                    api: ApiKey::Fetch,
                    version,
                    correlation_id: 7,
                    client_id: Some("c".into())
                }
            );
            assert!(header.is_supported());
            assert_eq!(FetchRequest::decode(&mut reader, version).unwrap(), request);
            reader.finish("FetchRequest").unwrap();
        }
    }

    #[test]
    fn responses_share_their_records() {
        let records = Bytes::from(vec![9; 65_536]);
        let response = FetchResponse {
            responses: vec![fetch_response::FetchableTopicResponse {
                partitions: vec![fetch_response::PartitionData {
                    records: Some(records.clone().into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        for version in ApiKey::Fetch.versions() {
            let parts = response_frame(ApiKey::Fetch, version, -3, &response).unwrap();
            assert!(
                parts
                    .slices()
                    .iter()
                    .any(|slice| slice.as_ptr() == records.as_ptr())
            );
            let body = body_of(&parts);
            assert_eq!(response_correlation_id(&body), Ok(-3));
            assert_eq!(
                decode_response::<FetchRequest>(body, version),
                Ok((-3, response.clone()))
            );
        }
    }

    #[test]
    fn an_old_client_can_read_the_answer_to_its_api_versions_request() {
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..Default::default()
        };
        let parts = response_frame(ApiKey::ApiVersions, 0, 1, &response).unwrap();
        assert_eq!(body_of(&parts)[..], [0, 0, 0, 1, 0, 35, 0, 0, 0, 0]);
        let parts = response_frame(ApiKey::ApiVersions, 4, 1, &response).unwrap();
        assert_eq!(
            body_of(&parts)[4..6],
            [0, 35],
            "no tagged fields in the header"
        );
        assert_eq!(
            decode_response::<ApiVersionsRequest>(body_of(&parts), 4)
                .unwrap()
                .1,
            response
        );
    }

    #[test]
    fn the_header_of_an_unknown_version_can_be_read() {
        let mut reader = Reader::new(Bytes::from_static(&[
            0, 18, 0, 99, 0, 0, 0, 5, 0, 1, b'x', 0, 77,
        ]));
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert!(!header.is_supported());
        assert_eq!(
            (header.version, header.correlation_id, reader.remaining()),
            (99, 5, 1)
        );

        let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff]));
        assert_eq!(
            RequestHeader::decode(&mut reader).unwrap_err().kind,
            DecodeErrorKind::UnknownApi
        );
    }
}
