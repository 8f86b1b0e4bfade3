//! One line about an input or an effect, for the event log of a replay.
//!
//! Says what a reader who follows a partition wants to know: which partitions, offsets and sequences a request is about, and
//! never payload bytes. Owns no state.

use bytes::Bytes;
use trialog_core::io::{DiskDone, Effect, Input, Token};
use trialog_core::wire::batch::BatchHeader;
use trialog_core::wire::{ApiKey, FetchRequest, Message, ProduceRequest, Reader, RequestHeader};

use crate::disk::Disk;

fn token(token: Token) -> String {
    format!("{:?} {}.{}", token.room, token.slot, token.generation)
}

/// What the node is given.
#[must_use]
pub fn input(input: &Input) -> String {
    match input {
        Input::Frame { conn, frame } => format!("{conn:?} {}", request(frame)),
        Input::Disk { token: of, result } => match result {
            Ok(DiskDone::Read(bytes)) => format!("{} read {} bytes", token(*of), bytes.len()),
            Ok(done) => format!("{} {done:?}", token(*of)),
            Err(error) => format!("{} {error:?}", token(*of)),
        },
        Input::Worked {
            token: of,
            facts: _,
        } => format!("{} worked", token(*of)),
        Input::Start
        | Input::Opened { .. }
        | Input::Connected { .. }
        | Input::ConnectFailed { .. }
        | Input::Sent { .. }
        | Input::Closed { .. }
        | Input::Wakeup
        | Input::Shutdown => format!("{input:?}"),
    }
}

/// What the node asks for.
#[must_use]
pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Send { conn, parts } => format!("{conn:?} send {} bytes", parts.len()),
        Effect::Disk { token: of, op } => format!("{} {}", token(*of), Disk::brief(op)),
        Effect::Work { token: of, job: _ } => format!("{} work", token(*of)),
        Effect::Connect { .. }
        | Effect::Pause { .. }
        | Effect::Resume { .. }
        | Effect::Close { .. }
        | Effect::FrameLimit { .. }
        | Effect::Halt { .. } => format!("{effect:?}"),
    }
}

/// A request's API, version and number, and what the two busiest of them are about.
fn request(frame: &Bytes) -> String {
    let mut reader = Reader::new(frame.clone());
    let Ok(header) = RequestHeader::decode(&mut reader) else {
        return format!("{} bytes that are no request", frame.len());
    };
    let about = match header.api {
        ApiKey::Produce => produce(&mut reader, header.version),
        ApiKey::Fetch => fetch(&mut reader, header.version),
        _ => None,
    };
    format!(
        "{} v{} #{}, {} bytes{}",
        header.api.name(),
        header.version,
        header.correlation_id,
        frame.len(),
        about.unwrap_or_default()
    )
}

fn produce(reader: &mut Reader, version: i16) -> Option<String> {
    let body = ProduceRequest::decode(reader, version).ok()?;
    let mut about = format!(", acks={}", body.acks);
    for topic in &body.topic_data {
        for partition in &topic.partition_data {
            let records = partition.records.as_ref()?;
            let batch = BatchHeader::decode(records).ok()?;
            about += &format!(
                "; {}{}-{}: {} records, producer {}/{}/{}",
                topic.name,
                topic_id(topic.topic_id),
                partition.index,
                batch.count,
                batch.producer_id,
                batch.producer_epoch,
                batch.base_sequence
            );
        }
    }
    Some(about)
}

fn fetch(reader: &mut Reader, version: i16) -> Option<String> {
    let body = FetchRequest::decode(reader, version).ok()?;
    let mut about = format!(
        ", session {}/{}, wait {} ms for {} to {} bytes",
        body.session_id, body.session_epoch, body.max_wait_ms, body.min_bytes, body.max_bytes
    );
    for topic in &body.topics {
        for partition in &topic.partitions {
            about += &format!(
                "; {}{}-{} from {}",
                topic.topic,
                topic_id(topic.topic_id),
                partition.partition,
                partition.fetch_offset
            );
        }
    }
    Some(about)
}

fn topic_id(id: trialog_core::ids::Uuid) -> String {
    match id == trialog_core::ids::Uuid::ZERO {
        true => String::new(),
        false => id.to_string(),
    }
}
