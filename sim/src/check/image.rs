//! Image equals replay: what the node believes against what its metadata log says (R).
//!
//! Reads the log from the simulated disk as any process would see it now, replays it with every rule of the core in force,
//! and compares. Owns no state.

use bytes::Bytes;
use trialog_core::ids::Offset;
use trialog_core::metadata::{Delta, Image};
use trialog_core::mutant::Mutants;
use trialog_core::quorum::records::{Content, decode};
use trialog_core::quorum::{Checkpoint, SnapshotId};
use trialog_core::wire::{MetadataRecord, batch};

use crate::disk::Disk;

const METADATA_LOG: &str = "__cluster_metadata-0";

/// Compares `image` with the replay of the metadata log on `disk` up to its offset.
///
/// # Errors
/// Where they differ, or why the log cannot be replayed.
pub fn equals_replay(disk: &Disk, image: &Image) -> Result<(), String> {
    let root = (0..disk.roots())
        .find(|root| disk.list(*root, &[METADATA_LOG]).is_some())
        .ok_or("there is no metadata log on the disk")?;
    let mut replayed = Image::default();
    let mut delta = Delta::default();
    let snapshot = newest_snapshot(disk, root, image.offset);
    let begins = snapshot.as_ref().map_or(Offset(0), |(id, _)| id.end);
    if let Some((id, records)) = snapshot {
        replayed
            .replay(
                Offset(id.end.0 - 1),
                id.epoch,
                records,
                &mut delta,
                Mutants::NONE,
            )
            .map_err(|error| format!("the snapshot cannot be replayed: {error}"))?;
    }
    for segment in segments(disk, root) {
        for batch in whole(&segment)? {
            if batch.base < begins {
                continue;
            }
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

/// The newest whole snapshot that holds nothing beyond `offset`, and its records.
fn newest_snapshot(
    disk: &Disk,
    root: usize,
    offset: Offset,
) -> Option<(SnapshotId, Vec<MetadataRecord>)> {
    let names = disk.list(root, &[METADATA_LOG])?;
    let snapshots = names.iter().filter_map(|name| {
        let id = SnapshotId::from_file_name(name).filter(|id| id.end.0 <= offset.0 + 1)?;
        let content = disk.content(root, &[METADATA_LOG], name)?;
        let checkpoint = Checkpoint::decode(&Bytes::copy_from_slice(content)).ok()?;
        Some((id, checkpoint.records))
    });
    snapshots.max_by_key(|(id, _)| *id)
}

/// The bytes of the log's segments, in order.
fn segments(disk: &Disk, root: usize) -> Vec<Bytes> {
    let mut names = disk.list(root, &[METADATA_LOG]).unwrap_or_default();
    names.retain(|name| name.ends_with(".log"));
    names.sort_unstable();
    let segments = names.iter().filter_map(|name| {
        let content = disk.content(root, &[METADATA_LOG], name)?;
        Some(Bytes::copy_from_slice(content))
    });
    segments.collect()
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
