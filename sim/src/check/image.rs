//! Image equals replay: what the node believes against what its metadata log says (R).
//!
//! Reads the log from the simulated disk as any process would see it now, replays it with every rule of the core in force,
//! and compares. Owns no state.

use bytes::Bytes;
use trialog_core::metadata::{Delta, Image};
use trialog_core::mutant::Mutants;
use trialog_core::quorum::records::{Content, decode};
use trialog_core::wire::batch;

use crate::disk::Disk;

const METADATA_LOG: &str = "__cluster_metadata-0";

/// Compares `image` with the replay of the metadata log on `disk` up to its offset.
///
/// # Errors
/// Where they differ, or why the log cannot be replayed.
pub fn equals_replay(disk: &Disk, image: &Image) -> Result<(), String> {
    let mut replayed = Image::default();
    let mut delta = Delta::default();
    for segment in segments(disk)? {
        for batch in whole(&segment)? {
            if batch.last > image.offset {
                break;
            }
            let Content::Records(records) = batch.content else {
                continue;
            };
            replayed
                .replay(batch.last, batch.epoch, records, &mut delta, Mutants::NONE)
                .map_err(|error| format!("the metadata log cannot be replayed: {error}"))?;
        }
    }
    // Control records move the image's offset, not its content.
    replayed.offset = image.offset;
    replayed.epoch = image.epoch;
    if replayed == *image {
        return Ok(());
    }
    Err(format!(
        "the image at offset {} is not the replay of its log: {}",
        image.offset,
        difference(&replayed, image)
    ))
}

/// The bytes of the log's segments, in order.
fn segments(disk: &Disk) -> Result<Vec<Bytes>, String> {
    let root = (0..disk.roots())
        .find(|root| disk.list(*root, &[METADATA_LOG]).is_some())
        .ok_or("there is no metadata log on the disk")?;
    let mut names = disk.list(root, &[METADATA_LOG]).unwrap_or_default();
    names.retain(|name| name.ends_with(".log"));
    names.sort_unstable();
    let segments = names.iter().filter_map(|name| {
        let content = disk.content(root, &[METADATA_LOG], name)?;
        Some(Bytes::copy_from_slice(content))
    });
    Ok(segments.collect())
}

/// The batches that are whole: an append in flight may have written a part.
fn whole(segment: &Bytes) -> Result<Vec<trialog_core::quorum::records::Batch>, String> {
    let end = batch::batches(segment)
        .map_while(Result::ok)
        .take_while(|view| view.header.crc == batch::checksum(&view.bytes))
        .map(|view| view.at + view.bytes.len())
        .last()
        .unwrap_or(0);
    decode(&segment.slice(..end))
}

/// The first part that differs, in a few words.
fn difference(replayed: &Image, image: &Image) -> String {
    let parts = [
        (
            "topics",
            format!("{:?}", replayed.topics),
            format!("{:?}", image.topics),
        ),
        (
            "features",
            format!("{:?}", replayed.features),
            format!("{:?}", image.features),
        ),
        (
            "brokers",
            format!("{:?}", replayed.brokers),
            format!("{:?}", image.brokers),
        ),
        (
            "configs",
            format!("{:?}", replayed.configs),
            format!("{:?}", image.configs),
        ),
        (
            "producer ids",
            replayed.next_producer_id.to_string(),
            image.next_producer_id.to_string(),
        ),
    ];
    let differing = parts.iter().find(|(_, replayed, image)| replayed != image);
    differing.map_or("in other parts".to_owned(), |(name, replayed, image)| {
        format!("{name}: the log says {replayed}, the image {image}")
    })
}
