//! Snapshots of the metadata log (KIP-630): the start from the newest, writing a new one when the log has grown, and what may go then.
//!
//! A snapshot is on disk before a record that it stands for may go. Both ways it is taken batch by batch, so that a step stays short
//! with a large image.

use bytes::Bytes;

use super::checkpoint::{CheckpointReader, CheckpointWriter, Head, SnapshotId};
use super::{MetadataLog, Phase, Quorum, QuorumEvent, checkpoint, readable};
use crate::ids::{LeaderEpoch, Offset};
use crate::io::Cx;
use crate::log::ReadId;
use crate::time::Instant;
use crate::wire::MetadataRecord;

/// How many snapshots stay: the newest, and one to fall back on by hand.
const KEPT: usize = 2;

/// What is known of the snapshots on disk, and what is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshots {
    /// On disk, oldest first.
    taken: Vec<Taken>,
    reading: Option<(SnapshotId, Box<CheckpointReader>)>,
    writing: Option<Writing>,
    /// Bytes of the log after the newest.
    bytes_since: u64,
    /// When the newest was taken, or this life began.
    taken_at: Option<Instant>,
    /// When the last committed record was written, in ms.
    pub(super) last_timestamp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    id: SnapshotId,
    /// Its last record was written no later, in ms.
    last_timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Writing {
    /// Put together batch by batch.
    Encoding(SnapshotId, Box<CheckpointWriter>),
    /// On its way to the disk.
    Storing(SnapshotId, ReadId),
}

impl Snapshots {
    pub(super) fn note_bytes(&mut self, bytes: usize) {
        self.bytes_since = self.bytes_since.saturating_add(bytes as u64);
    }
}

impl Quorum {
    /// Should the image be written down? Kafka's two reasons: so many bytes, or so long with something new.
    #[must_use]
    pub fn is_snapshot_due(&self, now: Instant) -> bool {
        let Snapshots {
            writing,
            bytes_since,
            taken_at,
            ..
        } = &self.snapshots;
        if self.phase != Phase::Leading || writing.is_some() || *bytes_since == 0 {
            return false;
        }
        let interval = self.config.snapshot_interval_ms;
        let waited = taken_at.map_or(0, |at| now.since(at).as_millis());
        *bytes_since >= self.config.snapshot_bytes
            || (interval > 0 && waited >= u128::from(interval))
    }

    /// Begins to write down the image at `id`, which every committed record up to there has made. False if the newest snapshot holds it
    /// already.
    pub fn begin_snapshot(&mut self, cx: &mut Cx, id: SnapshotId) -> bool {
        self.snapshots.bytes_since = 0;
        self.snapshots.taken_at = Some(cx.now.mono);
        let newest = self.snapshots.taken.last();
        if newest.is_some_and(|newest| newest.id.end >= id.end) {
            return false;
        }
        let head = Head {
            last_timestamp: self.snapshots.last_timestamp,
            kraft_version: self.kraft_version,
            voters: self.voters.clone().filter(|_| self.kraft_version > 0),
        };
        let writer = CheckpointWriter::new(&head, id.epoch, cx.now.wall.0);
        self.snapshots.writing = Some(Writing::Encoding(id, Box::new(writer)));
        true
    }

    /// Adds the next of the records that give the image again: at most [`checkpoint::BATCH_RECORDS`] or a few more.
    pub fn add_to_snapshot(&mut self, records: &[(MetadataRecord, i16)]) {
        if let Some(Writing::Encoding(_, writer)) = &mut self.snapshots.writing {
            writer.add(records);
        }
    }

    /// Every record was added: the snapshot goes to disk.
    pub fn finish_snapshot<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L) {
        self.snapshots.writing = match (self.log, self.snapshots.writing.take()) {
            (Some(log), Some(Writing::Encoding(id, writer))) => {
                let read = store.replace_file(cx, log, &id.file_name(), writer.finish());
                Some(Writing::Storing(id, read))
            }
            (_, other) => other,
        };
    }

    /// A snapshot is on disk, or cannot be: the log stays as it is then, and the next one is tried when it is due. False if the
    /// file was not ours.
    pub(super) fn on_snapshot_stored<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        read: ReadId,
        result: &Result<(), String>,
    ) -> bool {
        let Some(Writing::Storing(id, _)) = self
            .snapshots
            .writing
            .take_if(|writing| matches!(writing, Writing::Storing(_, own) if *own == read))
        else {
            return false;
        };
        if result.is_ok() {
            let last_timestamp = self.snapshots.last_timestamp;
            self.snapshots.taken.push(Taken { id, last_timestamp });
            self.retire(cx, store, id);
        }
        true
    }

    /// Lets go what the newest snapshot makes superfluous: old snapshots, and the log before it if that has grown beyond its limit,
    /// or if all that the snapshot before it holds is older than what is kept.
    fn retire<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L, newest: SnapshotId) {
        let Some(log) = self.log else {
            return;
        };
        let old = self.snapshots.taken.len().saturating_sub(KEPT);
        let mut gone: Vec<Taken> = self.snapshots.taken.drain(..old).collect();
        let too_large = self
            .config
            .retention_bytes
            .is_some_and(|limit| store.size_bytes(log) > limit);
        let too_old = self.snapshots.taken.len() == KEPT
            && self.config.retention_ms.is_some_and(|limit| {
                let age = cx
                    .now
                    .wall
                    .0
                    .saturating_sub(self.snapshots.taken[0].last_timestamp);
                u64::try_from(age).is_ok_and(|age| age > limit)
            });
        if too_old {
            gone.push(self.snapshots.taken.remove(0));
        }
        for Taken { id, .. } in gone {
            store.remove_file(cx, log, &id.file_name());
        }
        if too_large || too_old {
            store.delete_before(cx, log, newest.end);
        }
    }

    /// Looks for the newest snapshot, and clears away what an interrupted one left.
    pub(super) fn find_snapshot<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
    ) -> Result<(), String> {
        let log = self.log.ok_or("the metadata log is not open")?;
        self.snapshots.taken_at = Some(cx.now.mono);
        let (start, end) = store.bounds(log);
        let mut ids = Vec::new();
        for name in store.checkpoint_names(log) {
            match SnapshotId::from_file_name(&name) {
                Some(id) => ids.push(id),
                None => store.remove_file(cx, log, &name),
            }
        }
        ids.sort_unstable();
        let newest = ids.last().copied();
        let taken = ids.into_iter().map(|id| Taken {
            id,
            last_timestamp: i64::MAX,
        });
        self.snapshots.taken = taken.collect();
        match newest {
            Some(id) if id.end > end => Err(format!(
                "the newest snapshot of the metadata ends at offset {}, the metadata log at {end}: restore the log from a copy of the directory",
                id.end
            )),
            Some(id) => {
                self.phase = Phase::Snapshot(store.read_file(cx, log, &id.file_name()));
                Ok(())
            }
            None if start > Offset(0) => Err(format!(
                "the metadata log begins at offset {start}, and no snapshot holds what came before: restore the directory from a copy"
            )),
            None => self.read_bootstrap(cx, store),
        }
    }

    pub(super) fn read_bootstrap<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
    ) -> Result<(), String> {
        let log = self.log.ok_or("the metadata log is not open")?;
        self.phase =
            Phase::Bootstrap(store.read_root_file(cx, log, checkpoint::BOOTSTRAP_FILE_NAME));
        Ok(())
    }

    /// The newest snapshot is here.
    pub(super) fn on_snapshot<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        file: &Result<Option<Bytes>, String>,
    ) -> Result<(), String> {
        let log = self.log.ok_or("the metadata log is not open")?;
        let newest = self.snapshots.taken.last();
        let id = newest.ok_or("no snapshot was asked for")?.id;
        let name = id.file_name();
        let bytes = readable(&name, file)?
            .ok_or_else(|| format!("{name} is gone since the directory was listed"))?;
        let (start, _) = store.bounds(log);
        if start > id.end {
            return Err(format!(
                "the metadata log begins at offset {start}, after the end of {name}: restore the directory from a copy"
            ));
        }
        self.snapshots.reading = Some((id, Box::new(CheckpointReader::new(bytes.clone()))));
        self.phase = Phase::Restoring;
        self.restore(cx, store);
        Ok(())
    }

    /// Hands on the next batch of the snapshot; the next comes with the next step.
    pub(super) fn restore<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L) {
        let Some((id, reader)) = &mut self.snapshots.reading else {
            return;
        };
        let id = *id;
        match reader.go_on() {
            Ok(Some(records)) => {
                if !records.is_empty() {
                    let last = Offset(id.end.0 - 1);
                    self.events.push_back(QuorumEvent::Loaded {
                        last,
                        epoch: id.epoch,
                        records,
                    });
                }
                self.resume_at = Some(cx.now.mono);
            }
            Ok(None) => {
                let head = std::mem::take(&mut reader.head);
                self.snapshots.reading = None;
                self.snapshots.last_timestamp = head.last_timestamp;
                // The others are not read: nothing in them is newer.
                for taken in &mut self.snapshots.taken {
                    taken.last_timestamp = head.last_timestamp;
                }
                self.kraft_version = head.kraft_version;
                self.voters = head.voters;
                // The first epoch of a dynamic quorum writes them once; the snapshot of the format is no record of it.
                self.voters_in_log = id != SnapshotId::BOOTSTRAP;
                self.next = id.end;
                self.restored_epoch = id.epoch.max(LeaderEpoch(0));
                if let Err(message) = self.read_bootstrap(cx, store) {
                    self.fail(message);
                }
            }
            Err(why) => self.fail(format!(
                "{} is damaged: {why}. Restore it from a copy of the directory",
                id.file_name()
            )),
        }
    }
}
