//! Operations on the files of the operating system.
//!
//! What only touches the page cache (writes, reads of cached pages) happens where it stands: a hand-off to another core
//! costs more than the copy. What can wait for a device goes to threads: one for directory entries, in order; one for
//! reads of cold pages and large writes; some for syncs, which block nothing else. Paths are only used to open the roots.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskError, DiskOp, Entry, Name, Token};

use super::lane::{Lane, Shared};
use super::{Completion, Disk};

/// Contiguous writes are joined up to this many bytes, and what is not larger is written on the loop: about 100 us of copying.
const INLINE_WRITE_BYTES: usize = 1024 * 1024;
/// Reads up to this many bytes are tried on the loop, if the pages are cached.
const INLINE_READ_BYTES: u32 = 256 * 1024;
/// The kernel takes at most so many slices at once.
const SLICES_MAX: usize = 1024;
/// Syncs of different files run side by side: the file system joins their journal commits and flushes.
const SYNC_THREADS: usize = 4;

const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// A log directory that cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// It cannot be opened.
    Directory(PathBuf, io::Error),
    /// Another process uses it.
    Locked(PathBuf),
    /// The threads did not start.
    Threads(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Directory(path, cause) => write!(
                f,
                "cannot open the log directory {}: {cause}. Check `log.dirs`, and that this user may read and write there",
                path.display()
            ),
            OpenError::Locked(path) => write!(
                f,
                "the log directory {} is in use by another broker (it holds the lock on {0}/.lock). Stop that one first",
                path.display()
            ),
            OpenError::Threads(cause) => write!(f, "cannot start the disk's threads: {cause}"),
        }
    }
}
impl std::error::Error for OpenError {}

/// The files of some log directories.
pub struct FileDisk {
    dirs: HashMap<DirId, Arc<OwnedFd>>,
    files: HashMap<FileId, Arc<OwnedFd>>,
    entries: Lane<Task>,
    bulk: Lane<Task>,
    syncs: Lane<Task>,
    outcomes: UnboundedReceiver<Outcome>,
    /// Do reads that must not wait exist here? Some file systems refuse them.
    nowait: bool,
    /// One file a root, locked for as long as it is open.
    _locks: Vec<OwnedFd>,
    fresh: Vec<Outcome>,
}

/// One operation for a thread, with the open files that it needs.
struct Task {
    token: Token,
    what: What,
}

enum What {
    MakeDir(Arc<OwnedFd>, Name, DirId),
    OpenDir(Arc<OwnedFd>, Name, DirId),
    RemoveDir(Arc<OwnedFd>, Name),
    List(Arc<OwnedFd>, Option<Name>, u32),
    Create(Arc<OwnedFd>, Name, FileId),
    Open(Arc<OwnedFd>, Name, FileId),
    Close(Arc<OwnedFd>),
    Rename(Arc<OwnedFd>, Name, Name),
    Unlink(Arc<OwnedFd>, Name),
    SyncDir(Arc<OwnedFd>),
    Truncate(Arc<OwnedFd>, u64),
    Allocate(Arc<OwnedFd>, u64),
    Read(Arc<OwnedFd>, u64, u32),
    Write(Box<WriteGroup>),
    SyncFile(Arc<OwnedFd>, Arc<SyncRound>),
}

/// Files that one [`DiskOp::Sync`] names: the last to finish answers for all.
struct SyncRound {
    left: AtomicUsize,
    failed: AtomicBool,
}

/// What a task brought.
enum Outcome {
    Plain(Completion),
    File(Token, FileId, OwnedFd, u64),
    Dir(Token, DirId, OwnedFd),
}

/// Writes to one file whose ranges follow each other.
struct WriteGroup {
    file: Arc<OwnedFd>,
    id: FileId,
    at: u64,
    len: usize,
    slices: Vec<Bytes>,
    members: Vec<(Token, usize)>,
}

impl FileDisk {
    /// Opens and locks the log directories. One that cannot be opened is as one whose device failed: every operation in it fails, and
    /// the core decides whether the node can go on without it.
    ///
    /// # Errors
    /// If none of them can be opened, another process uses one, or the threads do not start.
    pub fn open(roots: &[(DirId, PathBuf)]) -> Result<FileDisk, OpenError> {
        let mut dirs = HashMap::new();
        let mut locks = Vec::new();
        let mut failed = Vec::new();
        for (id, path) in roots {
            match open_and_lock(path) {
                Ok((dir, locked)) => {
                    dirs.insert(*id, Arc::new(dir));
                    locks.push(locked);
                }
                Err(error @ OpenError::Directory(..)) => failed.push(error),
                Err(error) => return Err(error),
            }
        }
        if dirs.is_empty() && !failed.is_empty() {
            return Err(failed.remove(0));
        }
        for error in failed {
            tracing::error!("{error}.");
        }
        let (tell, outcomes) = unbounded_channel();
        let to = tell.clone();
        let syncs = Lane::start("trialog-sync", SYNC_THREADS, 1, move |tasks| {
            work_off(tasks, &to, None);
        })
        .map_err(OpenError::Threads)?;
        let (to, onward) = (tell.clone(), Arc::clone(syncs.shared()));
        let entries = Lane::start("trialog-entries", 1, 32, move |tasks| {
            work_off(tasks, &to, Some(&onward));
        })
        .map_err(OpenError::Threads)?;
        let bulk = Lane::start("trialog-bulk", 2, 1, move |tasks| {
            work_off(tasks, &tell, None);
        })
        .map_err(OpenError::Threads)?;
        Ok(FileDisk {
            dirs,
            files: HashMap::new(),
            entries,
            bulk,
            syncs,
            outcomes,
            nowait: true,
            _locks: locks,
            fresh: Vec::new(),
        })
    }

    fn dir(&self, id: DirId) -> Result<Arc<OwnedFd>, DiskError> {
        self.dirs.get(&id).cloned().ok_or(DiskError::Failed)
    }

    fn file(&self, id: FileId) -> Result<Arc<OwnedFd>, DiskError> {
        self.files.get(&id).cloned().ok_or(DiskError::Failed)
    }

    /// Makes `op` a task of a lane, or does it at once. An id that was never opened fails like a device would.
    fn plan(&mut self, token: Token, op: DiskOp, plan: &mut Plan) -> Result<(), DiskError> {
        let entry = |what| Task { token, what };
        match op {
            DiskOp::MakeDir { parent, name, dir } => {
                let task = entry(What::MakeDir(self.dir(parent)?, name, dir));
                plan.entries.push(task);
            }
            DiskOp::OpenDir { parent, name, dir } => {
                let task = entry(What::OpenDir(self.dir(parent)?, name, dir));
                plan.entries.push(task);
            }
            DiskOp::CloseDir { dir } => {
                self.dirs.remove(&dir).ok_or(DiskError::Failed)?;
                plan.done.push((token, Ok(DiskDone::Done)));
            }
            DiskOp::RemoveDir { parent, name } => {
                plan.entries
                    .push(entry(What::RemoveDir(self.dir(parent)?, name)));
            }
            DiskOp::List { dir, after, limit } => {
                plan.entries
                    .push(entry(What::List(self.dir(dir)?, after, limit)));
            }
            DiskOp::Create { dir, name, file } => {
                plan.entries
                    .push(entry(What::Create(self.dir(dir)?, name, file)));
            }
            DiskOp::Open { dir, name, file } => {
                plan.entries
                    .push(entry(What::Open(self.dir(dir)?, name, file)));
            }
            DiskOp::Close { file } => {
                // On a thread: closing the last handle of an unlinked file frees its blocks.
                let file = self.files.remove(&file).ok_or(DiskError::Failed)?;
                plan.entries.push(entry(What::Close(file)));
            }
            DiskOp::Rename { dir, from, to } => {
                plan.entries
                    .push(entry(What::Rename(self.dir(dir)?, from, to)));
            }
            DiskOp::Unlink { dir, name } => {
                plan.entries.push(entry(What::Unlink(self.dir(dir)?, name)));
            }
            DiskOp::SyncDir { dir } => {
                plan.entries.push(entry(What::SyncDir(self.dir(dir)?)));
            }
            DiskOp::Truncate { file, len } => {
                plan.entries
                    .push(entry(What::Truncate(self.file(file)?, len)));
            }
            DiskOp::Allocate { file, len } => {
                plan.entries
                    .push(entry(What::Allocate(self.file(file)?, len)));
            }
            DiskOp::Write { file, at, data } => {
                let handle = self.file(file)?;
                plan.write(token, file, handle, at, &data);
            }
            DiskOp::Read { file, at, len } => {
                let handle = self.file(file)?;
                match self.read_cached(&handle, at, len) {
                    Some(bytes) => plan.done.push((token, Ok(DiskDone::Read(bytes)))),
                    None => plan.bulk.push(entry(What::Read(handle, at, len))),
                }
            }
            DiskOp::Sync { root: _, files } => {
                let handles = files
                    .iter()
                    .map(|file| self.file(*file))
                    .collect::<Result<Vec<_>, _>>()?;
                if handles.is_empty() {
                    plan.done.push((token, Ok(DiskDone::Synced)));
                }
                let round = Arc::new(SyncRound {
                    left: AtomicUsize::new(handles.len()),
                    failed: AtomicBool::new(false),
                });
                let tasks = handles
                    .into_iter()
                    .map(|handle| entry(What::SyncFile(handle, Arc::clone(&round))));
                plan.syncs.extend(tasks);
            }
        }
        Ok(())
    }

    /// Reads without waiting for a device; `None` if that cannot be done here.
    fn read_cached(&mut self, file: &OwnedFd, at: u64, len: u32) -> Option<Bytes> {
        if !self.nowait || len > INLINE_READ_BYTES {
            return None;
        }
        let size = rustix::fs::fstat(file).ok()?.st_size;
        let left = u64::try_from(size).ok()?.saturating_sub(at);
        let mut buffer = vec![0; usize::try_from(left.min(u64::from(len))).ok()?];
        if buffer.is_empty() {
            return Some(Bytes::new());
        }
        let mut into = [IoSliceMut::new(&mut buffer)];
        match retry_on_intr(|| rustix::io::preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT)) {
            Ok(read) if read == buffer.len() => Some(Bytes::from(buffer)),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.nowait = false;
                None
            }
            // Part of it is not cached; or an error, which a thread meets again and reports.
            Ok(_) | Err(_) => None,
        }
    }
}

impl Disk for FileDisk {
    fn submit(&mut self, ops: &mut Vec<(Token, DiskOp)>, done: &mut Vec<Completion>) {
        let mut plan = Plan::default();
        for (token, op) in ops.drain(..) {
            if let Err(error) = self.plan(token, op, &mut plan) {
                plan.done.push((token, Err(error)));
            }
        }
        // The threads start while the loop copies.
        self.syncs.shared().push(plan.syncs);
        self.entries.shared().push(plan.entries);
        self.bulk.shared().push(plan.bulk);
        for group in plan.writes {
            if group.len > INLINE_WRITE_BYTES {
                let token = group.members[0].0;
                let what = What::Write(Box::new(group));
                self.bulk.shared().push([Task { token, what }]);
            } else {
                group.write(|completion| done.push(completion));
            }
        }
        done.append(&mut plan.done);
    }

    fn poll(&mut self, cx: &mut Context<'_>, done: &mut Vec<Completion>) -> Poll<()> {
        let mut fresh = std::mem::take(&mut self.fresh);
        let polled = self.outcomes.poll_recv_many(cx, &mut fresh, 256);
        for outcome in fresh.drain(..) {
            done.push(match outcome {
                Outcome::Plain(completion) => completion,
                Outcome::File(token, id, file, len) => {
                    self.files.insert(id, Arc::new(file));
                    let opened = if len == u64::MAX {
                        DiskDone::Done
                    } else {
                        DiskDone::Opened { len }
                    };
                    (token, Ok(opened))
                }
                Outcome::Dir(token, id, dir) => {
                    self.dirs.insert(id, Arc::new(dir));
                    (token, Ok(DiskDone::Done))
                }
            });
        }
        self.fresh = fresh;
        polled.map(|_| ())
    }
}

/// What one submission becomes.
#[derive(Default)]
struct Plan {
    entries: Vec<Task>,
    bulk: Vec<Task>,
    syncs: Vec<Task>,
    writes: Vec<WriteGroup>,
    done: Vec<Completion>,
}

impl Plan {
    /// Joins the write to the one before if it goes on where that one ends.
    fn write(
        &mut self,
        token: Token,
        id: FileId,
        file: Arc<OwnedFd>,
        at: u64,
        data: &trialog_core::io::Parts,
    ) {
        let len = data.len();
        if let Some(last) = self.writes.last_mut()
            && last.id == id
            && last.at + last.len as u64 == at
            && last.len + len <= INLINE_WRITE_BYTES
        {
            last.len += len;
            last.slices.extend_from_slice(data.slices());
            last.members.push((token, len));
            return;
        }
        self.writes.push(WriteGroup {
            file,
            id,
            at,
            len,
            slices: data.slices().to_vec(),
            members: vec![(token, len)],
        });
    }
}

impl WriteGroup {
    /// Writes it all and answers each member: those that are in the file whole before an error are written.
    fn write(self, mut answer: impl FnMut(Completion)) {
        let (written, error) = write_all(&self.file, &self.slices, self.at);
        let mut end = 0;
        for (token, len) in self.members {
            end += len;
            answer((
                token,
                match error {
                    Some(error) if end > written => Err(error),
                    _ => Ok(DiskDone::Written),
                },
            ));
        }
    }
}

/// Writes `slices` one after the other at `at`; tells how many bytes went in, and the error that ended it.
fn write_all(file: &OwnedFd, slices: &[Bytes], at: u64) -> (usize, Option<DiskError>) {
    let mut written = 0;
    let (mut first, mut skip) = (0, 0);
    while first < slices.len() {
        let batch: Vec<IoSlice<'_>> = slices[first..]
            .iter()
            .take(SLICES_MAX)
            .enumerate()
            .map(|(n, slice)| IoSlice::new(if n == 0 { &slice[skip..] } else { slice }))
            .collect();
        let mut n = match retry_on_intr(|| rustix::io::pwritev(file, &batch, at + written as u64)) {
            Ok(0) => return (written, Some(DiskError::Failed)),
            Ok(n) => n,
            Err(errno) => return (written, Some(error(errno))),
        };
        written += n;
        while first < slices.len() && n >= slices[first].len() - skip {
            n -= slices[first].len() - skip;
            (first, skip) = (first + 1, 0);
        }
        skip += n;
    }
    (written, None)
}

/// Runs tasks of a lane; what syncs a directory is handed on, now that every earlier entry operation is done.
fn work_off(tasks: Vec<Task>, tell: &UnboundedSender<Outcome>, onward: Option<&Arc<Shared<Task>>>) {
    // Nobody listens only when the disk is being dropped.
    let say = |outcome| drop(tell.send(outcome));
    for Task { token, what } in tasks {
        match (what, onward) {
            (what @ What::SyncDir(_), Some(onward)) => onward.push([Task { token, what }]),
            (What::Write(group), _) => group.write(|completion| say(Outcome::Plain(completion))),
            (What::SyncFile(file, round), _) => {
                if retry_on_intr(|| rustix::fs::fdatasync(&file)).is_err() {
                    round.failed.store(true, Ordering::Relaxed);
                }
                if round.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let failed = round.failed.load(Ordering::Relaxed);
                    let result = if failed {
                        Err(DiskError::Failed)
                    } else {
                        Ok(DiskDone::Synced)
                    };
                    say(Outcome::Plain((token, result)));
                }
            }
            (what, _) => say(match carry_out(token, what) {
                Ok(outcome) => outcome,
                Err(errno) => Outcome::Plain((token, Err(error(errno)))),
            }),
        }
    }
}

fn carry_out(token: Token, what: What) -> Result<Outcome, Errno> {
    let done = |done| Ok(Outcome::Plain((token, Ok(done))));
    match what {
        What::MakeDir(parent, name, id) => {
            rustix::fs::mkdirat(&parent, name.as_str(), DIR_MODE)?;
            let opened = open_dir(&parent, &name).inspect_err(|_| {
                // A failure means that nothing was done: it may be tried again.
                _ = rustix::fs::unlinkat(&parent, name.as_str(), AtFlags::REMOVEDIR);
            });
            Ok(Outcome::Dir(token, id, opened?))
        }
        What::OpenDir(parent, name, id) => Ok(Outcome::Dir(token, id, open_dir(&parent, &name)?)),
        What::RemoveDir(parent, name) => {
            rustix::fs::unlinkat(&parent, name.as_str(), AtFlags::REMOVEDIR)?;
            done(DiskDone::Done)
        }
        What::List(dir, after, limit) => done(list(&dir, after.as_ref(), limit)?),
        What::Create(dir, name, id) => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = retry_on_intr(|| rustix::fs::openat(&dir, name.as_str(), flags, FILE_MODE))?;
            Ok(Outcome::File(token, id, file, u64::MAX))
        }
        What::Open(dir, name, id) => {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            let file =
                retry_on_intr(|| rustix::fs::openat(&dir, name.as_str(), flags, Mode::empty()))?;
            let len = rustix::fs::fstat(&file)?.st_size;
            let len = u64::try_from(len).map_err(|_| Errno::IO)?;
            Ok(Outcome::File(token, id, file, len))
        }
        What::Close(file) => {
            drop(file);
            done(DiskDone::Done)
        }
        What::Rename(dir, from, to) => {
            rustix::fs::renameat(&dir, from.as_str(), &dir, to.as_str())?;
            done(DiskDone::Done)
        }
        What::Unlink(dir, name) => {
            rustix::fs::unlinkat(&dir, name.as_str(), AtFlags::empty())?;
            done(DiskDone::Done)
        }
        What::SyncDir(dir) => {
            retry_on_intr(|| rustix::fs::fsync(&dir))?;
            done(DiskDone::Synced)
        }
        What::Truncate(file, len) => {
            retry_on_intr(|| rustix::fs::ftruncate(&file, len))?;
            done(DiskDone::Done)
        }
        What::Allocate(file, len) => {
            match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, len) {
                Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(errno),
                // A hint: a file system without it is as good.
                Ok(()) | Err(_) => done(DiskDone::Done),
            }
        }
        What::Read(file, at, len) => done(DiskDone::Read(read(&file, at, len)?)),
        What::Write(_) | What::SyncFile(..) => {
            unreachable!("answered where the lane's tasks are told apart")
        }
    }
}

fn open_and_lock(path: &Path) -> Result<(OwnedFd, OwnedFd), OpenError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let dir = opened.map_err(|errno| OpenError::Directory(path.into(), errno.into()))?;
    let locked = lock(&dir, path)?;
    Ok((dir, locked))
}

fn open_dir(parent: &OwnedFd, name: &Name) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name.as_str(), flags, Mode::empty())
}

/// Takes Kafka's lock on a log directory: a POSIX lock on `.lock`, so that either broker keeps the other out.
fn lock(dir: &OwnedFd, path: &Path) -> Result<OwnedFd, OpenError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let failed = |errno: Errno| OpenError::Directory(path.into(), errno.into());
    let file = rustix::fs::openat(dir, ".lock", flags, FILE_MODE).map_err(failed)?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(OpenError::Locked(path.into())),
        Err(errno) => Err(failed(errno)),
    }
}

/// One page of a directory, in byte order of the names.
fn list(dir: &OwnedFd, after: Option<&Name>, limit: u32) -> Result<DiskDone, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        match Name::new(name) {
            Some(name) if after.is_none_or(|after| name > *after) => names.push(name),
            _ => {}
        }
    }
    names.sort_unstable();
    let more = names.len() > limit as usize;
    names.truncate(limit as usize);
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let stat = match rustix::fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since: only someone else does that while the core lists.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        let len = if is_dir {
            0
        } else {
            u64::try_from(stat.st_size).unwrap_or(0)
        };
        entries.push(Entry {
            name,
            dir: is_dir,
            len,
        });
    }
    Ok(DiskDone::Listed { entries, more })
}

/// Reads up to `len` bytes, waiting for the device; short only at the end of the file.
fn read(file: &OwnedFd, at: u64, len: u32) -> Result<Bytes, Errno> {
    let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let want = size.saturating_sub(at).min(u64::from(len));
    let mut buffer = vec![0; usize::try_from(want).unwrap_or(0)];
    let mut filled = 0;
    while filled < buffer.len() {
        let into = &mut buffer[filled..];
        match retry_on_intr(|| rustix::io::pread(file.as_fd(), &mut *into, at + filled as u64))? {
            0 => break,
            n => filled += n,
        }
    }
    buffer.truncate(filled);
    Ok(Bytes::from(buffer))
}

fn error(errno: Errno) -> DiskError {
    match errno {
        Errno::NOENT => DiskError::NotFound,
        Errno::EXIST => DiskError::Exists,
        Errno::NOSPC | Errno::DQUOT => DiskError::Full,
        Errno::NOTEMPTY => DiskError::NotEmpty,
        Errno::MFILE | Errno::NFILE => DiskError::TooManyOpen,
        _ => DiskError::Failed,
    }
}
