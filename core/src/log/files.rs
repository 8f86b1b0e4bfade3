//! Small files whole: reading them in bounded pieces, and replacing them so that a crash leaves the old or the new one.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::ids::{DirId, FileId, LogId};
use crate::io::{Cx, DiskDone, DiskError, DiskOp, Name};
use crate::wire::Parts;

use super::notice::{Notice, ReadId};
use super::plan::{CheckpointKind, Step, may, must};
use super::segment::name;
use super::store::{LogStore, Wait};

/// Bytes of one read or write of a small file.
pub(super) const PIECE: u32 = 1 << 20;

/// Who asked for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileThen {
    /// Another room: a file of a log's directory, or of the log directory itself.
    Asked(ReadId, Option<LogId>),
    /// The start of a directory.
    Start(usize, StartFile),
    /// The opening of a log: which of its files is known there.
    Opening(LogId, Name),
    /// A cold read of a log, for an index of a segment; true: the time index.
    Cold(LogId, ReadId, bool),
}

impl FileThen {
    /// The log whose directory the file is in.
    fn log(&self) -> Option<LogId> {
        match self {
            FileThen::Asked(_, log) => *log,
            FileThen::Opening(log, _) | FileThen::Cold(log, ..) => Some(*log),
            FileThen::Start(..) => None,
        }
    }
}

/// The files of a directory that its start reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartFile {
    MetaProperties,
    Checkpoint(CheckpointKind),
    Frontier(u64),
}

/// A file that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRead {
    pub(super) dir: usize,
    file: FileId,
    len: Option<u64>,
    content: BytesMut,
    then: FileThen,
}

impl FileRead {
    /// The log whose directory the file is in.
    pub(super) fn log(&self) -> Option<LogId> {
        self.then.log()
    }
}

/// What reading a file brought: `Ok(None)`: it is not there.
pub(super) type FileResult = Result<Option<Bytes>, FileError>;

/// Why a file could not be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileError {
    Disk(DiskError),
    /// It has so many bytes: it is not what it should be.
    TooLarge(u64),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Disk(error) => error.fmt(f),
            FileError::TooLarge(len) => write!(f, "{len} bytes are too many"),
        }
    }
}

impl LogStore {
    /// Begins to read `file` of `handle`, a directory of log directory `dir`.
    pub(super) fn begin_file(
        &mut self,
        cx: &mut Cx<'_>,
        dir: usize,
        handle: DirId,
        file_name: Name,
        then: FileThen,
    ) {
        let (id, file) = (self.fresh_id(), self.fresh_file());
        let read = FileRead {
            dir,
            file,
            len: None,
            content: BytesMut::new(),
            then,
        };
        self.files.insert(id, read);
        let open = DiskOp::Open {
            dir: handle,
            name: file_name,
            file,
        };
        self.issue(cx, Wait::File(id), open);
    }

    pub(super) fn on_file_step(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        result: Result<DiskDone, DiskError>,
    ) {
        let most = self.config.file_max;
        let Some(read) = self.files.get_mut(&id) else {
            return;
        };
        let ended = match result {
            Ok(DiskDone::Opened { len }) => {
                read.len = Some(len);
                (len > most).then_some(Err(FileError::TooLarge(len)))
            }
            Ok(DiskDone::Read(piece)) => {
                read.content.extend_from_slice(&piece);
                // A file that got shorter since it was opened ends where it ends.
                piece
                    .is_empty()
                    .then(|| Ok(Some(read.content.split().freeze())))
            }
            Ok(_) => Some(Err(FileError::Disk(DiskError::Failed))),
            Err(DiskError::NotFound) => Some(Ok(None)),
            Err(error) => Some(Err(FileError::Disk(error))),
        };
        let have = read.content.len() as u64;
        let ended = match (ended, read.len) {
            (None, Some(len)) if have >= len => Some(Ok(Some(read.content.split().freeze()))),
            (ended, _) => ended,
        };
        let (file, opened) = (read.file, read.len.is_some());
        match ended {
            None => {
                let op = DiskOp::Read {
                    file,
                    at: have,
                    len: PIECE,
                };
                self.issue(cx, Wait::File(id), op);
            }
            Some(result) => {
                if opened {
                    self.issue(cx, Wait::Ignore, DiskOp::Close { file });
                }
                // Who asked goes on in this very step, so the log does not look idle in between.
                if let Some(read) = self.files.remove(&id) {
                    self.on_file(cx, read.dir, read.then, result);
                }
            }
        }
    }

    fn on_file(&mut self, cx: &mut Cx<'_>, dir: usize, then: FileThen, result: FileResult) {
        match then {
            FileThen::Asked(read, _) => {
                let path = &self.dirs[dir].path;
                let result = result.map_err(|error| format!("{path}: {error}"));
                self.notices.push_back(Notice::FileRead(read, result));
            }
            FileThen::Start(dir, which) => self.on_start_file(cx, dir, which, result),
            FileThen::Opening(log, which) => self.on_opening_file(cx, log, &which, result),
            FileThen::Cold(_, read, times) => self.on_cold_file(cx, read, times, result),
        }
    }

    /// The stages that replace a file: written aside, synced, renamed, the directory synced.
    pub(super) fn replacement(
        &mut self,
        cx: &Cx<'_>,
        dir: usize,
        handle: DirId,
        file_name: &Name,
        content: Bytes,
    ) -> Vec<Vec<Step>> {
        self.replacements(cx, dir, handle, vec![(file_name.clone(), content)])
    }

    /// As [`replacement`](LogStore::replacement), for several files of one directory side by side: each is old or new.
    pub(super) fn replacements(
        &mut self,
        cx: &Cx<'_>,
        dir: usize,
        handle: DirId,
        files: Vec<(Name, Bytes)>,
    ) -> Vec<Vec<Step>> {
        let aside = |file_name: &Name| name(format!("{file_name}.tmp"));
        let rename = files
            .iter()
            .map(|(to, _)| {
                let (from, to) = (aside(to), to.clone());
                must(DiskOp::Rename {
                    dir: handle,
                    from,
                    to,
                })
            })
            .collect();
        let files = files
            .into_iter()
            .map(|(file_name, content)| (aside(&file_name), content))
            .collect();
        let mut stages = self.new_files(dir, handle, files);
        stages.push(rename);
        stages.push(self.sync_dir(cx, handle));
        stages
    }

    /// The stages that make a file with this content and sync it, not its entry. One that is there goes first.
    pub(super) fn new_file(
        &mut self,
        dir: usize,
        handle: DirId,
        file_name: &Name,
        content: Bytes,
    ) -> Vec<Vec<Step>> {
        self.new_files(dir, handle, vec![(file_name.clone(), content)])
    }

    /// As [`new_file`](LogStore::new_file), for several files of one directory side by side.
    pub(super) fn new_files(
        &mut self,
        dir: usize,
        handle: DirId,
        files: Vec<(Name, Bytes)>,
    ) -> Vec<Vec<Step>> {
        let root = self.dirs[dir].root;
        let (mut create, mut write, mut ids, mut close) = (vec![], vec![], vec![], vec![]);
        for (file_name, content) in files {
            let file = self.fresh_file();
            create.push(may(DiskOp::Unlink {
                dir: handle,
                name: file_name.clone(),
            }));
            create.push(must(DiskOp::Create {
                dir: handle,
                name: file_name,
                file,
            }));
            let mut at = 0;
            while at < content.len() {
                let end = content.len().min(at + PIECE as usize);
                write.push(must(DiskOp::Write {
                    file,
                    at: at as u64,
                    data: Parts::from(content.slice(at..end)),
                }));
                at = end;
            }
            ids.push(file);
            close.push(must(DiskOp::Close { file }));
        }
        let sync = vec![must(DiskOp::Sync { root, files: ids })];
        vec![create, write, sync, close]
    }
}
