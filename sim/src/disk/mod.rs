//! The disk of one machine: a page cache over a durable image, as [`trialog_core::io`] documents disks.
//!
//! Owns inodes, open ids, operations in flight, and what is volatile. It has no time: the world decides when an
//! operation completes and whether it fails; it takes effect at its completion (entries of one directory in the order of
//! issue), and what is in flight when the process dies may or may not have happened. It never promises more than the
//! contract: a sync covers what had completed when it was issued, and nothing else.

pub mod conformance;
mod contract;
mod loss;
mod misdirected;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskError, DiskOp, Entry, Name, Parts};

pub use loss::{Cut, Loss};

/// Identifies one operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(u64);

/// What an operation is about, for keyed choices: the file's role and the kind of operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `write`, `sync`, …
    pub kind: &'static str,
    /// The last part of a file name (`log`, `timeindex`), or the name of an entry without a number in it.
    pub role: String,
    /// Bytes that the operation moves.
    pub bytes: u64,
}

/// The kinds of operation that may be told to fail.
pub const KINDS: [&str; 6] = ["sync", "write", "sync-dir", "create", "read", "rename"];

type InodeId = u64;

/// Bytes of a sector of the medium.
const SECTOR: u64 = 512;

/// A byte of a file in a directory of a root.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Which root.
    pub root: usize,
    /// The directory's name.
    pub dir: &'a str,
    /// The file's name.
    pub name: &'a str,
    /// Which byte of it.
    pub at: usize,
}

/// What an entry of a directory takes of a disk that is full.
const ENTRY_BYTES: u64 = 256;

#[derive(Clone, Debug)]
enum Inode {
    Dir(Directory),
    File(File),
}

#[derive(Clone, Debug, Default)]
struct Directory {
    now: BTreeMap<Name, InodeId>,
    durable: BTreeMap<Name, InodeId>,
    /// Changes of entries since `durable`, oldest first; `None` is a removal.
    changes: VecDeque<(Name, Option<InodeId>)>,
    /// How many changes are in `durable` already: `changes[0]` is number `settled`.
    settled: u64,
    /// Operations on entries that were issued and have not taken effect, in the order of issue.
    queue: VecDeque<OpId>,
}

impl Directory {
    fn set(&mut self, name: &Name, inode: Option<InodeId>) {
        match inode {
            Some(inode) => self.now.insert(name.clone(), inode),
            None => self.now.remove(name),
        };
        self.changes.push_back((name.clone(), inode));
    }

    fn settle(&mut self, upto: u64) {
        while self.settled < upto {
            let Some((name, inode)) = self.changes.pop_front() else {
                break;
            };
            match inode {
                Some(inode) => self.durable.insert(name, inode),
                None => self.durable.remove(&name),
            };
            self.settled += 1;
        }
    }

    fn version(&self) -> u64 {
        self.settled + self.changes.len() as u64
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// What changed since `durable`, in the order of completion.
    dirty: VecDeque<Change>,
    /// How many changes are in `durable` already.
    settled: u64,
    /// Bytes that are reserved for it.
    allocated: u64,
    /// What it is for: the subject of choices about it.
    role: String,
    /// The cache has what the medium never took, whatever is synced.
    hollow: bool,
    /// Sectors that the medium cannot read any more.
    unreadable: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write {
        at: u64,
        data: Parts,
    },
    Truncate {
        len: u64,
    },
    /// A write of which the medium took nothing when a sync failed: its pages are in the cache, and no later sync writes them again.
    Dropped {
        at: u64,
        len: u64,
    },
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("simulated files fit in memory")
}

fn overwrite(content: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (from, to) = (index(at), index(at) + data.len());
    if content.len() < to {
        content.resize(to, 0);
    }
    content[from..to].copy_from_slice(data);
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { at, data } => {
                let mut at = *at;
                for slice in data.slices() {
                    overwrite(content, at, slice);
                    at += slice.len() as u64;
                }
            }
            Change::Truncate { len } => content.resize(index(*len), 0),
            Change::Dropped { at, len } => {
                let end = index(*at + *len);
                content.resize(content.len().max(end), 0);
            }
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cache);
        self.dirty.push_back(change);
    }

    fn settle(&mut self, upto: u64) {
        while self.settled < upto {
            let Some(change) = self.dirty.pop_front() else {
                break;
            };
            change.apply(&mut self.durable);
            self.settled += 1;
        }
    }

    fn version(&self) -> u64 {
        self.settled + self.dirty.len() as u64
    }

    /// A sync of the changes up to this version failed: the system takes their pages for written.
    fn drop_dirty(&mut self, upto: u64) {
        let many = index(upto.saturating_sub(self.settled));
        for change in self.dirty.iter_mut().take(many) {
            if let Change::Write { at, data } = change {
                let (at, len) = (*at, data.len() as u64);
                self.hollow = true;
                *change = Change::Dropped { at, len };
            }
        }
    }

    fn read(&self, at: u64, len: u64) -> Result<Bytes, DiskError> {
        let from = at.min(self.cache.len() as u64);
        let to = at.saturating_add(len).min(self.cache.len() as u64);
        let mut bad = self.unreadable.range(from / SECTOR..to.div_ceil(SECTOR));
        match from < to && bad.next().is_some() {
            true => Err(DiskError::Failed),
            false => Ok(Bytes::copy_from_slice(&self.cache[index(from)..index(to)])),
        }
    }
}

/// What a sync covers: an inode, up to this version of it.
type Coverage = Vec<(InodeId, u64)>;

#[derive(Clone, Debug)]
struct Flight {
    op: DiskOp,
    coverage: Coverage,
    /// The directory whose order it keeps.
    ordered_in: Option<InodeId>,
    /// Set when it took effect before its completion, because a later one of its directory completed first.
    done: Option<Result<DiskDone, DiskError>>,
}

/// One machine's disk.
#[derive(Clone, Debug)]
pub struct Disk {
    inodes: BTreeMap<InodeId, Inode>,
    roots: Vec<InodeId>,
    next_inode: InodeId,
    next_op: u64,
    dirs: BTreeMap<DirId, InodeId>,
    files: BTreeMap<FileId, InodeId>,
    flight: BTreeMap<OpId, Flight>,
    /// Bytes that are left; `None`: more than enough.
    room: Option<u64>,
    /// Others on the device take what is given back while it is full.
    contended: bool,
    /// The root that each inode was made in.
    homes: BTreeMap<InodeId, usize>,
    /// The roots that the process said have failed.
    given_up: BTreeSet<usize>,
}

/// The core broke the contract of the boundary: a sentence about how.
pub type Breach = String;

impl Disk {
    /// A disk with `roots` empty log directories, all of it durable.
    #[must_use]
    pub fn new(roots: u64) -> Disk {
        Disk {
            inodes: (0..roots)
                .map(|root| (root, Inode::Dir(Directory::default())))
                .collect(),
            roots: (0..roots).collect(),
            next_inode: roots,
            next_op: 0,
            dirs: BTreeMap::new(),
            files: BTreeMap::new(),
            flight: BTreeMap::new(),
            room: None,
            contended: false,
            homes: (0..roots).zip(0..).collect(),
            given_up: BTreeSet::new(),
        }
    }

    /// A process starts: forgets the ids of the former one and names the roots anew, from 0.
    pub fn open_roots(&mut self) -> Vec<DirId> {
        self.flight.clear();
        self.files.clear();
        self.given_up.clear();
        self.dirs = (0_u64..)
            .map(DirId)
            .zip(self.roots.iter().copied())
            .collect();
        self.dirs.keys().copied().collect()
    }

    /// Puts a durable file in a root or in a directory of it, as a format command does before the first start.
    pub fn install(&mut self, root: usize, dir: Option<&Name>, name: &Name, content: &[u8]) {
        let file = Inode::File(File {
            cache: content.to_vec(),
            durable: content.to_vec(),
            role: role(name),
            ..File::default()
        });
        let inode = self.new_inode(root, file);
        let mut parent = self.roots[root];
        if let Some(dir) = dir {
            let known = self.dir(parent).and_then(|root| root.now.get(dir).copied());
            let inside =
                known.unwrap_or_else(|| self.new_inode(root, Inode::Dir(Directory::default())));
            self.add_durable(parent, dir, inside);
            parent = inside;
        }
        self.add_durable(parent, name, inode);
    }

    fn add_durable(&mut self, parent: InodeId, name: &Name, inode: InodeId) {
        if let Some(Inode::Dir(dir)) = self.inodes.get_mut(&parent) {
            dir.now.insert(name.clone(), inode);
            dir.durable.insert(name.clone(), inode);
        }
    }

    /// While the disk is full things grow and are created only in the room that others gave back.
    pub fn set_full(&mut self, full: bool) {
        self.room = full.then_some(0);
        self.contended = false;
    }

    /// So many bytes are left; `None`: more than enough.
    pub fn set_room(&mut self, bytes: Option<u64>) {
        self.room = bytes;
    }

    /// The disk is full, and others take what is given back.
    pub fn set_contended(&mut self) {
        self.set_full(true);
        self.contended = true;
    }

    /// Takes room.
    fn take_room(&mut self, bytes: u64) -> Result<(), DiskError> {
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(bytes).ok_or(DiskError::Full)?;
        }
        Ok(())
    }

    /// Gives back room.
    fn give_room(&mut self, bytes: u64) {
        if let Some(room) = self.room.as_mut().filter(|_| !self.contended) {
            *room += bytes;
        }
    }

    fn taken_by(&self, inode: InodeId) -> u64 {
        self.file(inode).map_or(ENTRY_BYTES, |file| {
            ENTRY_BYTES + file.allocated.max(file.cache.len() as u64)
        })
    }

    /// How many log directories there are.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.roots.len()
    }

    /// The names of a directory and the files of it, as a process sees them now; `None` if there is no such directory.
    #[must_use]
    pub fn list(&self, root: usize, path: &[&str]) -> Option<Vec<String>> {
        let dir = self.walk(root, path)?;
        Some(
            dir.now
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect(),
        )
    }

    /// The content of a file as a process sees it now.
    #[must_use]
    pub fn content(&self, root: usize, path: &[&str], name: &str) -> Option<&[u8]> {
        let inode = *self.walk(root, path)?.now.get(&Name::new(name)?)?;
        match self.inodes.get(&inode)? {
            Inode::File(file) => Some(&file.cache),
            Inode::Dir(_) => None,
        }
    }

    /// Is all of a file durable, and is there anything in it?
    #[must_use]
    pub fn is_settled(&self, root: usize, path: &[&str], name: &str) -> bool {
        let Some(inode) = self.inode(root, path, name) else {
            return false;
        };
        let file = self.file(inode);
        file.is_some_and(|file| file.dirty.is_empty() && !file.durable.is_empty())
    }

    /// A bit of the byte at `at` of a settled file turns over: whoever reads it from now on reads something else.
    pub fn rot(&mut self, root: usize, path: &[&str], name: &str, at: usize) {
        let inode = self.inode(root, path, name);
        if let Some(Inode::File(file)) = inode.and_then(|inode| self.inodes.get_mut(&inode)) {
            for content in [&mut file.cache, &mut file.durable] {
                if let Some(byte) = content.get_mut(at) {
                    *byte ^= 0x10;
                }
            }
        }
    }

    /// The sector with the byte at `at` cannot be read from now on.
    pub fn spoil(&mut self, root: usize, path: &[&str], name: &str, at: usize) {
        let inode = self.inode(root, path, name);
        if let Some(Inode::File(file)) = inode.and_then(|inode| self.inodes.get_mut(&inode)) {
            file.unreadable.insert(at as u64 / SECTOR);
        }
    }

    fn inode(&self, root: usize, path: &[&str], name: &str) -> Option<InodeId> {
        self.walk(root, path)?.now.get(&Name::new(name)?).copied()
    }

    fn walk(&self, root: usize, path: &[&str]) -> Option<&Directory> {
        let mut inode = *self.roots.get(root)?;
        for part in path {
            inode = *self.dir(inode)?.now.get(&Name::new(*part)?)?;
        }
        self.dir(inode)
    }

    /// Takes an operation; it completes with [`Disk::complete`].
    ///
    /// # Errors
    /// The core's breach of contract.
    pub fn submit(&mut self, op: DiskOp) -> Result<OpId, Breach> {
        self.admit(&op)?;
        let id = OpId(self.next_op);
        self.next_op += 1;
        let mut coverage = Coverage::new();
        let mut ordered_in = None;
        match &op {
            DiskOp::MakeDir { parent: dir, .. }
            | DiskOp::OpenDir { parent: dir, .. }
            | DiskOp::RemoveDir { parent: dir, .. }
            | DiskOp::List { dir, .. }
            | DiskOp::Create { dir, .. }
            | DiskOp::Open { dir, .. }
            | DiskOp::Rename { dir, .. }
            | DiskOp::Unlink { dir, .. } => {
                let inode = self.dirs[dir];
                if let Some(Inode::Dir(directory)) = self.inodes.get_mut(&inode) {
                    directory.queue.push_back(id);
                }
                ordered_in = Some(inode);
            }
            DiskOp::SyncDir { dir } => {
                let inode = self.dirs[dir];
                coverage.push((inode, self.dir(inode).map_or(0, Directory::version)));
            }
            DiskOp::Sync { files, .. } => {
                for file in files {
                    let inode = self.files[file];
                    coverage.push((inode, self.file(inode).map_or(0, File::version)));
                }
            }
            DiskOp::CloseDir { .. }
            | DiskOp::Close { .. }
            | DiskOp::Write { .. }
            | DiskOp::Read { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Allocate { .. } => {}
        }
        self.flight.insert(
            id,
            Flight {
                op,
                coverage,
                ordered_in,
                done: None,
            },
        );
        Ok(id)
    }

    /// One line about an operation, without payload bytes.
    #[must_use]
    pub fn brief(op: &DiskOp) -> String {
        match op {
            DiskOp::Write { file, at, data } => {
                format!("Write {{ file: {file}, at: {at}, len: {} }}", data.len())
            }
            DiskOp::MakeDir { .. }
            | DiskOp::OpenDir { .. }
            | DiskOp::CloseDir { .. }
            | DiskOp::RemoveDir { .. }
            | DiskOp::List { .. }
            | DiskOp::Create { .. }
            | DiskOp::Open { .. }
            | DiskOp::Close { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Unlink { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::Read { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Allocate { .. }
            | DiskOp::Sync { .. } => format!("{op:?}"),
        }
    }

    /// What an operation in flight is about.
    #[must_use]
    pub fn subject(&self, id: OpId) -> Subject {
        let Some(flight) = self.flight.get(&id) else {
            return Subject {
                kind: "none",
                role: String::new(),
                bytes: 0,
            };
        };
        let of_file = |file: &FileId| {
            self.files
                .get(file)
                .and_then(|inode| self.file(*inode))
                .map_or(String::new(), |file| file.role.clone())
        };
        let (kind, role, bytes) = match &flight.op {
            DiskOp::MakeDir { name, .. } => ("make-dir", role(name), 0),
            DiskOp::OpenDir { name, .. } => ("open-dir", role(name), 0),
            DiskOp::CloseDir { .. } => ("close-dir", String::new(), 0),
            DiskOp::RemoveDir { name, .. } => ("remove-dir", role(name), 0),
            DiskOp::List { .. } => ("list", String::new(), 0),
            DiskOp::Create { name, .. } => ("create", role(name), 0),
            DiskOp::Open { name, .. } => ("open", role(name), 0),
            DiskOp::Close { file } => ("close", of_file(file), 0),
            DiskOp::Rename { to, .. } => ("rename", role(to), 0),
            DiskOp::Unlink { name, .. } => ("unlink", role(name), 0),
            DiskOp::SyncDir { .. } => ("sync-dir", String::new(), 0),
            DiskOp::Write { file, data, .. } => ("write", of_file(file), data.len() as u64),
            DiskOp::Read { file, len, .. } => ("read", of_file(file), u64::from(*len)),
            DiskOp::Truncate { file, .. } => ("truncate", of_file(file), 0),
            DiskOp::Allocate { file, .. } => ("allocate", of_file(file), 0),
            DiskOp::Sync { files, .. } => (
                "sync",
                files.first().map_or(String::new(), of_file),
                files.len() as u64,
            ),
        };
        Subject { kind, role, bytes }
    }

    /// Does an operation in flight make this file (a directory of a root, `/`, a name), or one that is to replace it?
    #[must_use]
    pub fn makes(&self, id: OpId, path: &str) -> bool {
        let Some((within, name)) = path.split_once('/') else {
            return false;
        };
        let Some(DiskOp::Create {
            dir, name: made, ..
        }) = self.flight.get(&id).map(|flight| &flight.op)
        else {
            return false;
        };
        let made = made.as_str();
        let mut roots = 0..self.roots.len();
        made.strip_suffix(".tmp").unwrap_or(made) == name
            && roots.any(|root| self.inode(root, &[], within) == self.dirs.get(dir).copied())
    }

    /// Lets an operation take effect (after those issued before it on the entries of its directory) and takes its answer.
    ///
    /// # Panics
    /// If `id` completed before: the world's mistake.
    pub fn complete(&mut self, id: OpId) -> Result<DiskDone, DiskError> {
        self.take_effect_through(id);
        let flight = self.flight.remove(&id).expect("each completes once");
        match flight.done {
            Some(done) => done,
            None => self.apply(&flight.op, &flight.coverage),
        }
    }

    /// Ends an operation with an error and without effect, a write perhaps with a part of it.
    ///
    /// # Panics
    /// If `id` completed before: the world's mistake.
    pub fn fail(
        &mut self,
        id: OpId,
        error: DiskError,
        written: u64,
    ) -> Result<DiskDone, DiskError> {
        let flight = self.flight.remove(&id).expect("each completes once");
        if let Some(done) = flight.done {
            return done;
        }
        if matches!(flight.op, DiskOp::Sync { .. }) {
            for (inode, upto) in &flight.coverage {
                if let Some(Inode::File(file)) = self.inodes.get_mut(inode) {
                    file.drop_dirty(*upto);
                }
            }
        }
        if let Some(dir) = flight.ordered_in
            && let Some(Inode::Dir(directory)) = self.inodes.get_mut(&dir)
        {
            directory.queue.retain(|waiting| *waiting != id);
        }
        if let DiskOp::Write { file, at, data } = &flight.op {
            self.write_prefix(*file, *at, data, written);
        }
        Err(error)
    }

    fn take_effect_through(&mut self, id: OpId) {
        let Some(dir) = self.flight.get(&id).and_then(|flight| flight.ordered_in) else {
            return;
        };
        loop {
            let Some(Inode::Dir(directory)) = self.inodes.get_mut(&dir) else {
                return;
            };
            match directory.queue.front() {
                Some(&next) if next <= id => {
                    directory.queue.pop_front();
                    if let Some(flight) = self.flight.get(&next) {
                        let op = flight.op.clone();
                        let done = self.apply(&op, &Coverage::new());
                        if let Some(flight) = self.flight.get_mut(&next) {
                            flight.done = Some(done);
                        }
                    }
                }
                Some(_) | None => return,
            }
        }
    }

    fn new_inode(&mut self, root: usize, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.homes.insert(id, root);
        self.inodes.insert(id, inode);
        id
    }

    fn dir(&self, inode: InodeId) -> Option<&Directory> {
        match self.inodes.get(&inode) {
            Some(Inode::Dir(dir)) => Some(dir),
            Some(Inode::File(_)) | None => None,
        }
    }

    fn file(&self, inode: InodeId) -> Option<&File> {
        match self.inodes.get(&inode) {
            Some(Inode::File(file)) => Some(file),
            Some(Inode::Dir(_)) | None => None,
        }
    }

    fn open_file(&mut self, file: FileId) -> Result<&mut File, DiskError> {
        let inode = self.files.get(&file).ok_or(DiskError::Failed)?;
        match self.inodes.get_mut(inode) {
            Some(Inode::File(file)) => Ok(file),
            Some(Inode::Dir(_)) | None => Err(DiskError::Failed),
        }
    }

    fn open_dir(&mut self, dir: DirId) -> Result<&mut Directory, DiskError> {
        let inode = self.dirs.get(&dir).ok_or(DiskError::Failed)?;
        match self.inodes.get_mut(inode) {
            Some(Inode::Dir(dir)) => Ok(dir),
            Some(Inode::File(_)) | None => Err(DiskError::Failed),
        }
    }

    fn entry(&mut self, dir: DirId, name: &Name) -> Result<InodeId, DiskError> {
        self.open_dir(dir)?
            .now
            .get(name)
            .copied()
            .ok_or(DiskError::NotFound)
    }

    fn is_dir(&self, inode: InodeId) -> bool {
        self.dir(inode).is_some()
    }

    fn apply(&mut self, op: &DiskOp, coverage: &Coverage) -> Result<DiskDone, DiskError> {
        match op {
            DiskOp::MakeDir { parent, name, dir } => {
                let inode = self.create(*parent, name, Inode::Dir(Directory::default()))?;
                self.dirs.insert(*dir, inode);
                Ok(DiskDone::Done)
            }
            DiskOp::OpenDir { parent, name, dir } => {
                let inode = self.entry(*parent, name)?;
                if !self.is_dir(inode) {
                    return Err(DiskError::Failed);
                }
                self.dirs.insert(*dir, inode);
                Ok(DiskDone::Done)
            }
            DiskOp::CloseDir { dir } => {
                self.dirs.remove(dir);
                Ok(DiskDone::Done)
            }
            DiskOp::RemoveDir { parent, name } => self.remove_dir(*parent, name),
            DiskOp::List { dir, after, limit } => self.page(*dir, after.as_ref(), *limit),
            DiskOp::Create { dir, name, file } => {
                let inode = self.create(
                    *dir,
                    name,
                    Inode::File(File {
                        role: role(name),
                        ..File::default()
                    }),
                )?;
                self.files.insert(*file, inode);
                Ok(DiskDone::Done)
            }
            DiskOp::Open { dir, name, file } => {
                let inode = self.entry(*dir, name)?;
                let len = self.file(inode).ok_or(DiskError::Failed)?.cache.len() as u64;
                self.files.insert(*file, inode);
                Ok(DiskDone::Opened { len })
            }
            DiskOp::Close { file } => {
                self.files.remove(file);
                Ok(DiskDone::Done)
            }
            DiskOp::Rename { dir, from, to } => self.rename(*dir, from, to),
            DiskOp::Unlink { dir, name } => {
                let inode = self.entry(*dir, name)?;
                if self.is_dir(inode) {
                    return Err(DiskError::Failed);
                }
                self.give_room(self.taken_by(inode));
                self.open_dir(*dir)?.set(name, None);
                Ok(DiskDone::Done)
            }
            DiskOp::SyncDir { .. } | DiskOp::Sync { .. } => {
                for (inode, upto) in coverage {
                    match self.inodes.get_mut(inode) {
                        Some(Inode::Dir(dir)) => dir.settle(*upto),
                        Some(Inode::File(file)) => file.settle(*upto),
                        None => return Err(DiskError::Failed),
                    }
                }
                Ok(DiskDone::Synced)
            }
            DiskOp::Write { file, at, data } => {
                let len = self.open_file(*file)?.cache.len() as u64;
                let grows = (*at + data.len() as u64).saturating_sub(len);
                if let Err(full) = self.take_room(grows) {
                    // What has room is written.
                    let room = self.room.as_mut().map_or(0, std::mem::take);
                    let fits = (len + room).saturating_sub(*at);
                    self.write_prefix(*file, *at, data, fits);
                    return Err(full);
                }
                let target = self.open_file(*file)?;
                target.change(Change::Write {
                    at: *at,
                    data: data.clone(),
                });
                Ok(DiskDone::Written)
            }
            DiskOp::Read { file, at, len } => {
                let read = self.open_file(*file)?.read(*at, u64::from(*len))?;
                Ok(DiskDone::Read(read))
            }
            DiskOp::Truncate { file, len } => {
                let old = self.open_file(*file)?.cache.len() as u64;
                self.take_room(len.saturating_sub(old))?;
                self.give_room(old.saturating_sub(*len));
                let target = self.open_file(*file)?;
                target.change(Change::Truncate { len: *len });
                Ok(DiskDone::Done)
            }
            DiskOp::Allocate { file, len } => {
                let target = self.open_file(*file)?;
                let has = target.allocated.max(target.cache.len() as u64);
                self.take_room(len.saturating_sub(has))?;
                self.open_file(*file)?.allocated = has.max(*len);
                Ok(DiskDone::Done)
            }
        }
    }

    fn create(&mut self, dir: DirId, name: &Name, inode: Inode) -> Result<InodeId, DiskError> {
        if self.open_dir(dir)?.now.contains_key(name) {
            return Err(DiskError::Exists);
        }
        self.take_room(ENTRY_BYTES)?;
        let inode = self.new_inode(self.home(self.dirs[&dir]), inode);
        self.open_dir(dir)?.set(name, Some(inode));
        Ok(inode)
    }

    fn remove_dir(&mut self, parent: DirId, name: &Name) -> Result<DiskDone, DiskError> {
        let inode = self.entry(parent, name)?;
        match self.dir(inode) {
            None => Err(DiskError::Failed),
            Some(dir) if !dir.now.is_empty() => Err(DiskError::NotEmpty),
            Some(_) => {
                self.open_dir(parent)?.set(name, None);
                Ok(DiskDone::Done)
            }
        }
    }

    fn rename(&mut self, dir: DirId, from: &Name, to: &Name) -> Result<DiskDone, DiskError> {
        let inode = self.entry(dir, from)?;
        if from == to {
            return Ok(DiskDone::Done);
        }
        if let Ok(replaced) = self.entry(dir, to) {
            match (self.is_dir(inode), self.dir(replaced)) {
                (true, Some(target)) if !target.now.is_empty() => return Err(DiskError::NotEmpty),
                (true, Some(_)) | (false, None) => {}
                (true, None) | (false, Some(_)) => return Err(DiskError::Failed),
            }
            self.give_room(self.taken_by(replaced));
        }
        let new_role = role(to);
        if let Some(Inode::File(file)) = self.inodes.get_mut(&inode) {
            file.role = new_role;
        }
        let directory = self.open_dir(dir)?;
        directory.set(to, Some(inode));
        directory.set(from, None);
        Ok(DiskDone::Done)
    }

    fn page(
        &mut self,
        dir: DirId,
        after: Option<&Name>,
        limit: u32,
    ) -> Result<DiskDone, DiskError> {
        let inode = *self.dirs.get(&dir).ok_or(DiskError::Failed)?;
        let directory = self.dir(inode).ok_or(DiskError::Failed)?;
        let mut rest = directory
            .now
            .iter()
            .filter(|(name, _)| after.is_none_or(|after| *name > after));
        let entries: Vec<Entry> = rest
            .by_ref()
            .take(limit as usize)
            .map(|(name, inode)| {
                let file = self.file(*inode);
                Entry {
                    name: name.clone(),
                    dir: file.is_none(),
                    len: file.map_or(0, |file| file.cache.len() as u64),
                }
            })
            .collect();
        let more = rest.next().is_some();
        Ok(DiskDone::Listed { entries, more })
    }

    fn write_prefix(&mut self, file: FileId, at: u64, data: &Parts, written: u64) {
        let keep = index(written).min(data.len());
        if let (true, Ok(target)) = (keep > 0, self.open_file(file)) {
            let prefix = data.to_bytes().slice(..keep);
            target.change(Change::Write {
                at,
                data: Parts::from(prefix),
            });
        }
    }
}

/// What an entry is for, judged by its name: the extension, or the name without digits.
fn role(name: &Name) -> String {
    let name = name.as_str();
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_owned(),
        Some(_) | None => name.chars().filter(|c| !c.is_ascii_digit()).collect(),
    }
}
