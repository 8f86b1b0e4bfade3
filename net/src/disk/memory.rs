//! A disk in memory, for tests and the shell simulation: the words of the contract, without durability.
//!
//! Operations take effect when they are submitted and complete after a while, out of order, by a keyed choice. The
//! [`Volume`] outlives the disk as a machine's outlives a process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskError, DiskOp, Entry, Name, Token};
use trialog_core::rng;

use super::{Completion, Disk};

/// What a disk holds.
#[derive(Clone, Default)]
pub struct Volume {
    nodes: Arc<Mutex<Nodes>>,
}

#[derive(Default)]
struct Nodes {
    nodes: Vec<Node>,
}

enum Node {
    Dir(BTreeMap<Name, usize>),
    File(Vec<u8>),
}

impl Volume {
    /// Adds an empty root; the number names it in [`MemoryDisk::new`].
    pub fn root(&self) -> usize {
        self.lock().add(Node::Dir(BTreeMap::new()))
    }

    /// Puts a file into a root, as a tool would before a node starts.
    pub fn put(&self, root: usize, name: Name, content: Vec<u8>) {
        let mut nodes = self.lock();
        let file = nodes.add(Node::File(content));
        if let Node::Dir(entries) = &mut nodes.nodes[root] {
            entries.insert(name, file);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes {
    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn entries(&mut self, dir: usize) -> Result<&mut BTreeMap<Name, usize>, DiskError> {
        match &mut self.nodes[dir] {
            Node::Dir(entries) => Ok(entries),
            Node::File(_) => Err(DiskError::Failed),
        }
    }

    fn content(&mut self, file: usize) -> Result<&mut Vec<u8>, DiskError> {
        match &mut self.nodes[file] {
            Node::File(content) => Ok(content),
            Node::Dir(_) => Err(DiskError::Failed),
        }
    }
}

/// The view of one process on a [`Volume`].
pub struct MemoryDisk {
    volume: Volume,
    dirs: HashMap<DirId, usize>,
    files: HashMap<FileId, usize>,
    seed: u64,
    slowest: Duration,
    submitted: u64,
    tell: UnboundedSender<Completion>,
    completions: UnboundedReceiver<Completion>,
}

impl MemoryDisk {
    /// A disk over the roots of `volume`; each completion comes within `slowest`, by a choice keyed by `seed`.
    #[must_use]
    pub fn new(volume: Volume, roots: &[(DirId, usize)], seed: u64, slowest: Duration) -> Self {
        let (tell, completions) = unbounded_channel();
        MemoryDisk {
            volume,
            dirs: roots.iter().copied().collect(),
            files: HashMap::new(),
            seed,
            slowest,
            submitted: 0,
            tell,
            completions,
        }
    }

    fn dir(&self, id: DirId) -> Result<usize, DiskError> {
        self.dirs.get(&id).copied().ok_or(DiskError::Failed)
    }

    fn file(&self, id: FileId) -> Result<usize, DiskError> {
        self.files.get(&id).copied().ok_or(DiskError::Failed)
    }

    fn carry_out(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        let volume = self.volume.clone();
        let mut nodes = volume.lock();
        match op {
            DiskOp::MakeDir { parent, name, dir } => {
                let made = nodes.add(Node::Dir(BTreeMap::new()));
                insert_new(nodes.entries(self.dir(parent)?)?, name, made)?;
                self.dirs.insert(dir, made);
            }
            DiskOp::OpenDir { parent, name, dir } => {
                let found = lookup(nodes.entries(self.dir(parent)?)?, &name)?;
                nodes.entries(found)?;
                self.dirs.insert(dir, found);
            }
            DiskOp::CloseDir { dir } => {
                self.dirs.remove(&dir).ok_or(DiskError::Failed)?;
            }
            DiskOp::RemoveDir { parent, name } => {
                let parent = self.dir(parent)?;
                let found = lookup(nodes.entries(parent)?, &name)?;
                if !nodes.entries(found)?.is_empty() {
                    return Err(DiskError::NotEmpty);
                }
                nodes.entries(parent)?.remove(&name);
            }
            DiskOp::List { dir, after, limit } => {
                return list(&mut nodes, self.dir(dir)?, after.as_ref(), limit);
            }
            DiskOp::Create { dir, name, file } => {
                let made = nodes.add(Node::File(Vec::new()));
                insert_new(nodes.entries(self.dir(dir)?)?, name, made)?;
                self.files.insert(file, made);
            }
            DiskOp::Open { dir, name, file } => {
                let found = lookup(nodes.entries(self.dir(dir)?)?, &name)?;
                let len = nodes.content(found)?.len() as u64;
                self.files.insert(file, found);
                return Ok(DiskDone::Opened { len });
            }
            DiskOp::Close { file } => {
                self.files.remove(&file).ok_or(DiskError::Failed)?;
            }
            DiskOp::Rename { dir, from, to } => {
                let entries = nodes.entries(self.dir(dir)?)?;
                let moved = entries.remove(&from).ok_or(DiskError::NotFound)?;
                entries.insert(to, moved);
            }
            DiskOp::Unlink { dir, name } => {
                let dir = self.dir(dir)?;
                let found = lookup(nodes.entries(dir)?, &name)?;
                nodes.content(found)?;
                nodes.entries(dir)?.remove(&name);
            }
            DiskOp::SyncDir { dir } => {
                self.dir(dir)?;
                return Ok(DiskDone::Synced);
            }
            DiskOp::Write { file, at, data } => {
                let content = nodes.content(self.file(file)?)?;
                let mut at = usize::try_from(at).map_err(|_| DiskError::Full)?;
                for slice in data.slices() {
                    if content.len() < at + slice.len() {
                        content.resize(at + slice.len(), 0);
                    }
                    content[at..at + slice.len()].copy_from_slice(slice);
                    at += slice.len();
                }
                return Ok(DiskDone::Written);
            }
            DiskOp::Read { file, at, len } => {
                let content = nodes.content(self.file(file)?)?;
                let from = usize::try_from(at).map_or(content.len(), |at| at.min(content.len()));
                let to = content.len().min(from + len as usize);
                return Ok(DiskDone::Read(Bytes::copy_from_slice(&content[from..to])));
            }
            DiskOp::Truncate { file, len } => {
                let len = usize::try_from(len).map_err(|_| DiskError::Full)?;
                nodes.content(self.file(file)?)?.resize(len, 0);
            }
            DiskOp::Allocate { file, len: _ } => {
                self.file(file)?;
            }
            DiskOp::Sync { root: _, files } => {
                for file in files {
                    self.file(file)?;
                }
                return Ok(DiskDone::Synced);
            }
        }
        Ok(DiskDone::Done)
    }
}

impl Disk for MemoryDisk {
    fn submit(&mut self, ops: &mut Vec<(Token, DiskOp)>, done: &mut Vec<Completion>) {
        for (token, op) in ops.drain(..) {
            let completion = (token, self.carry_out(op));
            self.submitted += 1;
            let slowest = u64::try_from(self.slowest.as_nanos()).unwrap_or(u64::MAX);
            let delay = rng::scale(rng::keyed(self.seed, 0, [self.submitted]), slowest);
            if delay == 0 {
                done.push(completion);
                continue;
            }
            let tell = self.tell.clone();
            drop(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_nanos(delay)).await;
                // Nobody listens when the process has ended meanwhile.
                let _ = tell.send(completion);
            }));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, done: &mut Vec<Completion>) -> Poll<()> {
        self.completions.poll_recv_many(cx, done, 256).map(|_| ())
    }
}

fn lookup(entries: &BTreeMap<Name, usize>, name: &Name) -> Result<usize, DiskError> {
    entries.get(name).copied().ok_or(DiskError::NotFound)
}

fn insert_new(
    entries: &mut BTreeMap<Name, usize>,
    name: Name,
    node: usize,
) -> Result<(), DiskError> {
    if entries.contains_key(&name) {
        return Err(DiskError::Exists);
    }
    entries.insert(name, node);
    Ok(())
}

fn list(
    nodes: &mut Nodes,
    dir: usize,
    after: Option<&Name>,
    limit: u32,
) -> Result<DiskDone, DiskError> {
    let mut page: Vec<(Name, usize)> = nodes
        .entries(dir)?
        .iter()
        .filter(|(name, _)| after.is_none_or(|after| *name > after))
        .take(limit as usize + 1)
        .map(|(name, node)| (name.clone(), *node))
        .collect();
    let more = page.len() > limit as usize;
    page.truncate(limit as usize);
    let entry = |(name, node): (Name, usize)| {
        let (dir, len) = match &nodes.nodes[node] {
            Node::Dir(_) => (true, 0),
            Node::File(content) => (false, content.len() as u64),
        };
        Entry { name, dir, len }
    };
    Ok(DiskDone::Listed {
        entries: page.into_iter().map(entry).collect(),
        more,
    })
}
