//! Snapshots of the metadata log (KIP-630) and `bootstrap.checkpoint`, which has their form: a header, records, a footer.
//!
//! Owns the bytes. Which records, and where the bytes go, is the caller's.

use bytes::{Bytes, BytesMut};

use super::records::{Batch, Content, Control, decode, encode_control, encode_records};
use crate::ids::{LeaderEpoch, Offset};
use crate::wire::batch::{self, PREFIX_LEN, prefix};
use crate::wire::{
    KRaftVersionRecord, MetadataRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};

/// The name of the file that a node starts from when its log is empty.
pub const BOOTSTRAP_FILE_NAME: &str = "bootstrap.checkpoint";

/// The most records of one batch of a snapshot.
pub const BATCH_RECORDS: usize = 1_000;

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
    /// The bytes of the file, in one go. `epoch` goes into the batches (0 in `bootstrap.checkpoint`), each record is written in its
    /// `version`.
    #[must_use]
    pub fn encode(
        &self,
        epoch: LeaderEpoch,
        now_ms: i64,
        version: impl Fn(&MetadataRecord) -> i16,
    ) -> Bytes {
        let head = Head {
            last_timestamp: self.last_timestamp,
            kraft_version: self.kraft_version,
            voters: self.voters.clone(),
        };
        let records = self
            .records
            .iter()
            .map(|record| (record.clone(), version(record)));
        let records: Vec<_> = records.collect();
        let mut writer = CheckpointWriter::new(&head, epoch, now_ms);
        for piece in records.chunks(BATCH_RECORDS) {
            writer.add(piece);
        }
        writer.finish()
    }

    /// Reads the bytes of a file, in one go.
    ///
    /// # Errors
    /// A checksum is wrong, header or footer is missing, or a record cannot be read.
    pub fn decode(file: &Bytes) -> Result<Checkpoint, String> {
        let mut reader = CheckpointReader::new(file.clone());
        let mut records = Vec::new();
        while let Some(piece) = reader.go_on()? {
            records.extend(piece);
        }
        let Head {
            last_timestamp,
            kraft_version,
            voters,
        } = reader.head;
        Ok(Checkpoint {
            last_timestamp,
            kraft_version,
            voters,
            records,
        })
    }
}

/// What stands before the records of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// When the last record of the log that is in it was written, in ms.
    pub last_timestamp: i64,
    /// Its `kraft.version`; 0 if it says nothing of it.
    pub kraft_version: i16,
    /// Its voters; `None` without dynamic voters.
    pub voters: Option<VotersRecord>,
}

/// Reads a checkpoint batch by batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReader {
    /// What was read before the records so far; whole when the first records have come.
    pub head: Head,
    left: Bytes,
    next: Offset,
    begun: bool,
    ended: bool,
}

impl CheckpointReader {
    /// Reads `file`.
    #[must_use]
    pub fn new(file: Bytes) -> CheckpointReader {
        CheckpointReader {
            head: Head::default(),
            left: file,
            next: Offset(0),
            begun: false,
            ended: false,
        }
    }

    /// The records of the next batch (none of a control batch); `None` after the footer.
    ///
    /// # Errors
    /// A checksum is wrong, header or footer is missing, or a record cannot be read.
    pub fn go_on(&mut self) -> Result<Option<Vec<MetadataRecord>>, String> {
        let Some(view) = batch::batches(&self.left).next() else {
            return if self.ended {
                Ok(None)
            } else {
                Err("it has no footer: it was not written to its end".to_owned())
            };
        };
        let view = view.map_err(|error| format!("it holds bytes that are no batch: {error:?}"))?;
        if batch::checksum(&view.bytes) != view.header.crc {
            return Err(format!(
                "the checksum of the batch at offset {} is wrong",
                self.next
            ));
        }
        // Offsets precede what the checksum covers.
        if view.header.base_offset != self.next {
            return Err(format!(
                "offset {} follows where {} should",
                view.header.base_offset, self.next
            ));
        }
        if self.ended {
            return Err("records follow its footer".to_owned());
        }
        self.next = view.header.next_offset();
        self.left = self.left.slice(view.bytes.len()..);
        let mut records = Vec::new();
        for Batch { content, .. } in decode(&view.bytes)? {
            match content {
                Content::Records(own) if self.begun => records = own,
                Content::Records(_) => return Err("it does not begin with a header".to_owned()),
                Content::Control(controls) => {
                    controls.into_iter().for_each(|control| self.take(control))
                }
            }
        }
        Ok(Some(records))
    }

    fn take(&mut self, control: Control) {
        match control {
            Control::SnapshotHeader(record) => {
                self.begun = true;
                self.head.last_timestamp = record.last_contained_log_timestamp;
            }
            Control::KRaftVersion(record) => self.head.kraft_version = record.kraft_version,
            Control::Voters(record) => self.head.voters = Some(record),
            Control::SnapshotFooter(_) => self.ended = true,
            Control::LeaderChange(_) | Control::Unknown(_) => {}
        }
    }
}

/// Writes a checkpoint batch by batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointWriter {
    epoch: LeaderEpoch,
    now_ms: i64,
    bytes: BytesMut,
    next: Offset,
}

impl CheckpointWriter {
    /// A file with `head`. `epoch` goes into the batches.
    #[must_use]
    pub fn new(head: &Head, epoch: LeaderEpoch, now_ms: i64) -> CheckpointWriter {
        let mut writer = CheckpointWriter {
            epoch,
            now_ms,
            bytes: BytesMut::new(),
            next: Offset(0),
        };
        let mut controls = vec![Control::SnapshotHeader(SnapshotHeaderRecord {
            last_contained_log_timestamp: head.last_timestamp,
            ..Default::default()
        })];
        if head.kraft_version > 0 {
            controls.push(Control::KRaftVersion(KRaftVersionRecord {
                kraft_version: head.kraft_version,
                ..Default::default()
            }));
            controls.extend(head.voters.clone().map(Control::Voters));
        }
        writer.push(&encode_control(&controls, now_ms), controls.len());
        writer
    }

    /// Adds a batch of `records`, each in its version; nothing if there are none.
    pub fn add(&mut self, records: &[(MetadataRecord, i16)]) {
        if !records.is_empty() {
            self.push(&encode_records(records, self.now_ms), records.len());
        }
    }

    /// The file's bytes.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let foot = [Control::SnapshotFooter(SnapshotFooterRecord::default())];
        self.push(&encode_control(&foot, self.now_ms), foot.len());
        self.bytes.freeze()
    }

    /// Adds a batch at the next offset. Base offset and epoch precede what the checksum covers.
    fn push(&mut self, batch: &Bytes, records: usize) {
        let length = i32::try_from(batch.len() - batch::LOG_OVERHEAD).unwrap_or(i32::MAX);
        self.bytes
            .extend_from_slice(&prefix(self.next, length, self.epoch));
        self.bytes.extend_from_slice(&batch[PREFIX_LEN..]);
        self.next = Offset(self.next.0 + records as i64);
    }
}
