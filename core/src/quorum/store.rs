//! What the quorum asks of the log store: the few calls that it makes, so that its rules can be shown without a disk.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, LogId, Offset, Uuid};
use crate::io::{Cx, Name};
use crate::log::{Append, AppendError, Appended, LogStore, Read, ReadError, ReadId, ReadOutcome};

/// The metadata log and the small files beside it.
pub trait MetadataLog {
    /// Reads a small file of the log's own directory.
    fn read_file(&mut self, cx: &mut Cx, log: LogId, name: &str) -> ReadId;
    /// Reads a small file of the log directory that `log` lies in.
    fn read_root_file(&mut self, cx: &mut Cx, log: LogId, name: &str) -> ReadId;
    /// Replaces a small file of the log's own directory, as durably as can be.
    fn replace_file(&mut self, cx: &mut Cx, log: LogId, name: &str, content: Bytes) -> ReadId;
    /// Names of the snapshots, and of what is left of unfinished ones, beside the log when it was opened.
    fn checkpoint_names(&self, log: LogId) -> Vec<String>;
    /// Removes a small file of the log's own directory.
    fn remove_file(&mut self, cx: &mut Cx, log: LogId, name: &str);
    /// Bytes of the log.
    fn size_bytes(&self, log: LogId) -> u64;
    /// Lets go of the records before `offset`.
    fn delete_before(&mut self, cx: &mut Cx, log: LogId, offset: Offset);
    /// First offset, and one past the last.
    fn bounds(&self, log: LogId) -> (Offset, Offset);
    /// The epoch of the last batch.
    fn last_epoch(&self, log: LogId) -> LeaderEpoch;
    /// Reads whole batches.
    fn read(&mut self, cx: &mut Cx, log: LogId, read: Read) -> Result<ReadOutcome, ReadError>;
    /// Appends a batch.
    fn append(&mut self, cx: &mut Cx, log: LogId, append: Append) -> Result<Appended, AppendError>;
    /// The id of the log directory that `log` lies in; [`Uuid::ZERO`] if it has none.
    fn directory_id(&self, log: LogId) -> Uuid;
    /// Keeps the high watermark for the log's own uses.
    fn note_high_watermark(&mut self, log: LogId, offset: Offset);
}

impl MetadataLog for LogStore {
    fn read_file(&mut self, cx: &mut Cx, log: LogId, name: &str) -> ReadId {
        LogStore::read_file(self, cx, log, file_name(name))
    }

    fn read_root_file(&mut self, cx: &mut Cx, log: LogId, name: &str) -> ReadId {
        let dir = self.view(log).map_or(0, |view| view.dir);
        LogStore::read_root_file(self, cx, dir, file_name(name))
    }

    fn replace_file(&mut self, cx: &mut Cx, log: LogId, name: &str, content: Bytes) -> ReadId {
        LogStore::replace_file(self, cx, log, file_name(name), content)
    }

    fn checkpoint_names(&self, log: LogId) -> Vec<String> {
        let names = LogStore::checkpoint_names(self, log).into_iter();
        names.map(|name| name.as_str().to_owned()).collect()
    }

    fn remove_file(&mut self, cx: &mut Cx, log: LogId, name: &str) {
        LogStore::remove_file(self, cx, log, file_name(name));
    }

    fn size_bytes(&self, log: LogId) -> u64 {
        self.view(log).map_or(0, |view| view.size_bytes)
    }

    fn delete_before(&mut self, cx: &mut Cx, log: LogId, offset: Offset) {
        // The log is no shorter for a refusal: it is asked again with the next snapshot.
        let _ = self.delete_records(cx, log, offset);
    }

    fn bounds(&self, log: LogId) -> (Offset, Offset) {
        self.view(log)
            .map_or((Offset(0), Offset(0)), |view| (view.start, view.end))
    }

    fn last_epoch(&self, log: LogId) -> LeaderEpoch {
        self.view(log)
            .map_or(LeaderEpoch::NONE, |view| view.last_epoch)
    }

    fn read(&mut self, cx: &mut Cx, log: LogId, read: Read) -> Result<ReadOutcome, ReadError> {
        LogStore::read(self, cx, log, read)
    }

    fn append(&mut self, cx: &mut Cx, log: LogId, append: Append) -> Result<Appended, AppendError> {
        LogStore::append(self, cx, log, append)
    }

    fn directory_id(&self, log: LogId) -> Uuid {
        let dir = self.view(log).map(|view| view.dir);
        dir.and_then(|dir| LogStore::directory_id(self, dir))
            .unwrap_or(Uuid::ZERO)
    }

    fn note_high_watermark(&mut self, log: LogId, offset: Offset) {
        LogStore::note_high_watermark(self, log, offset);
    }
}

fn file_name(name: &str) -> Name {
    Name::new(name).unwrap_or_else(|| panic!("{name} is a file name"))
}
