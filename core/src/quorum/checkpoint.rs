//! Snapshots of the metadata log (KIP-630) and `bootstrap.checkpoint`, which has their form: a header, records, a footer.
//!
//! Owns the bytes. Which records, and where the bytes go, is the caller's.

use bytes::{Bytes, BytesMut};

use super::records::{Batch, Content, Control, decode, encode_control, encode_records};
use crate::ids::{LeaderEpoch, Offset};
use crate::metadata::features;
use crate::wire::batch::{self, PREFIX_LEN, prefix};
use crate::wire::{
    KRaftVersionRecord, MetadataRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};

/// The name of the file that a node starts from when its log is empty.
pub const BOOTSTRAP_FILE_NAME: &str = "bootstrap.checkpoint";

/// The most records of one batch of a snapshot.
const BATCH_RECORDS: usize = 1_000;

/// Which part of the log a snapshot stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// One past the last offset that is in it.
    pub end: Offset,
    /// The epoch of that last record.
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// What a dynamic quorum starts from: voters, but no record.
    pub const BOOTSTRAP: SnapshotId = SnapshotId {
        end: Offset(0),
        epoch: LeaderEpoch(0),
    };

    /// The file's name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end.0, self.epoch.0)
    }

    /// From a file's name.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<SnapshotId> {
        let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        let digits =
            |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
        (digits(end, 20) && digits(epoch, 10)).then_some(())?;
        Some(SnapshotId {
            end: Offset(end.parse().ok()?),
            epoch: LeaderEpoch(epoch.parse().ok()?),
        })
    }
}

/// What a checkpoint file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// When the last record of the log that is in it was written, in ms.
    pub last_timestamp: i64,
    /// Its `kraft.version`; 0 if it says nothing of it.
    pub kraft_version: i16,
    /// Its voters; `None` without dynamic voters.
    pub voters: Option<VotersRecord>,
    /// Its records, in order.
    pub records: Vec<MetadataRecord>,
}

impl Checkpoint {
    /// The bytes of the file. `epoch` goes into the batches (0 in `bootstrap.checkpoint`).
    #[must_use]
    pub fn encode(&self, epoch: LeaderEpoch, now_ms: i64) -> Bytes {
        let mut file = File {
            bytes: BytesMut::new(),
            next: Offset(0),
            epoch,
        };
        let mut head = vec![Control::SnapshotHeader(SnapshotHeaderRecord {
            last_contained_log_timestamp: self.last_timestamp,
            ..Default::default()
        })];
        if self.kraft_version > 0 {
            head.push(Control::KRaftVersion(KRaftVersionRecord {
                kraft_version: self.kraft_version,
                ..Default::default()
            }));
            head.extend(self.voters.clone().map(Control::Voters));
        }
        file.push(&encode_control(&head, now_ms), head.len());
        let level = self.records.iter().find_map(|record| match record {
            MetadataRecord::FeatureLevel(level) if level.name == features::METADATA_VERSION => {
                Some(level.feature_level)
            }
            _ => None,
        });
        for records in self.records.chunks(BATCH_RECORDS) {
            let versioned = |record: &MetadataRecord| {
                let version = features::record_version(record, level.unwrap_or_default());
                (record.clone(), version)
            };
            let versioned: Vec<_> = records.iter().map(versioned).collect();
            file.push(&encode_records(&versioned, now_ms), versioned.len());
        }
        let foot = [Control::SnapshotFooter(SnapshotFooterRecord::default())];
        file.push(&encode_control(&foot, now_ms), foot.len());
        file.bytes.freeze()
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// A checksum is wrong, header or footer is missing, or a record cannot be read.
    pub fn decode(file: &Bytes) -> Result<Checkpoint, String> {
        for view in batch::batches(file) {
            let view =
                view.map_err(|error| format!("it holds bytes that are no batch: {error:?}"))?;
            if batch::checksum(&view.bytes) != view.header.crc {
                return Err(format!(
                    "the checksum of the batch at byte {} is wrong",
                    view.at
                ));
            }
        }
        let mut checkpoint = Checkpoint::default();
        let (mut header, mut footer) = (false, false);
        let mut next = Offset(0);
        for Batch {
            base,
            last,
            content,
            ..
        } in decode(file)?
        {
            // Offsets precede what the checksum covers.
            if base != next {
                return Err(format!("offset {base} follows where {next} should"));
            }
            next = last.next();
            if footer {
                return Err("records follow its footer".to_owned());
            }
            match content {
                Content::Records(records) if header => checkpoint.records.extend(records),
                Content::Records(_) => return Err("it does not begin with a header".to_owned()),
                Content::Control(controls) => {
                    for control in controls {
                        match control {
                            Control::SnapshotHeader(record) => {
                                header = true;
                                checkpoint.last_timestamp = record.last_contained_log_timestamp;
                            }
                            Control::KRaftVersion(record) => {
                                checkpoint.kraft_version = record.kraft_version
                            }
                            Control::Voters(record) => checkpoint.voters = Some(record),
                            Control::SnapshotFooter(_) => footer = true,
                            Control::LeaderChange(_) | Control::Unknown(_) => {}
                        }
                    }
                }
            }
        }
        if !footer {
            return Err("it has no footer: it was not written to its end".to_owned());
        }
        Ok(checkpoint)
    }
}

struct File {
    bytes: BytesMut,
    next: Offset,
    epoch: LeaderEpoch,
}

impl File {
    /// Adds a batch at the next offset. Base offset and epoch precede what the checksum covers.
    fn push(&mut self, batch: &Bytes, records: usize) {
        let length = i32::try_from(batch.len() - batch::LOG_OVERHEAD).unwrap_or(i32::MAX);
        self.bytes
            .extend_from_slice(&prefix(self.next, length, self.epoch));
        self.bytes.extend_from_slice(&batch[PREFIX_LEN..]);
        self.next = Offset(self.next.0 + records as i64);
    }
}
