//! A small disk for the tests of the store: operations complete in any order that the contract allows, and a power cut keeps of what
//! was not synced what it likes, whole, torn by sectors, or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{DirId, FileId};
use crate::io::{DiskDone, DiskError, DiskOp, Entry, Name, Token};

const SECTOR: usize = 512;

/// A stream of choices from a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Bytes),
    Truncate(usize),
    /// A write up to here that a failed sync dropped: it is in the cache only.
    Dropped(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// Since then, in order; the first `synced` of them are durable too.
    changes: Vec<Change>,
    synced: usize,
    now: Vec<u8>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(data);
        }
        Change::Truncate(len) => bytes.resize(*len, 0),
        Change::Dropped(end) => bytes.resize((*end).max(bytes.len()), 0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Dir(u64),
}

#[derive(Clone, Debug, Default)]
struct Dir {
    durable: BTreeMap<String, Node>,
    changes: Vec<Vec<(String, Option<Node>)>>,
    synced: usize,
    now: BTreeMap<String, Node>,
}

impl Dir {
    fn change(&mut self, change: Vec<(String, Option<Node>)>) {
        apply_entries(&mut self.now, &change);
        self.changes.push(change);
    }
}

fn apply_entries(entries: &mut BTreeMap<String, Node>, change: &[(String, Option<Node>)]) {
    for (name, node) in change {
        match node {
            Some(node) => entries.insert(name.clone(), *node),
            None => entries.remove(name),
        };
    }
}

#[derive(Clone, Debug)]
struct Issued {
    token: Token,
    op: DiskOp,
    /// What a sync covers: how many changes of each file, or of the directory, there were when it was issued.
    covers: Vec<(u64, usize)>,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<u64, File>,
    dirs: BTreeMap<u64, Dir>,
    open_files: BTreeMap<FileId, u64>,
    open_dirs: BTreeMap<DirId, u64>,
    queue: Vec<Issued>,
    next: u64,
    /// Bytes that may still be written; `None`: without limit.
    pub(super) room: Option<usize>,
    allocated: BTreeMap<u64, usize>,
    /// The next read fails.
    pub(super) fail_read: bool,
    /// The next sync fails.
    pub(super) fail_sync: bool,
    /// Syncs of files of this root fail, after everything else.
    pub(super) failing_root: Option<DirId>,
    /// So many files may be open.
    pub(super) files_max: Option<usize>,
    /// A file with this in its name cannot be removed.
    pub(super) immutable: Option<&'static str>,
    /// Syncs of files of this root do not come back.
    pub(super) hung_root: Option<DirId>,
    pub(super) syncs: usize,
}

impl Disk {
    /// A disk with one directory, `root`.
    pub(super) fn new(root: DirId) -> Disk {
        let mut disk = Disk::default();
        disk.dirs.insert(0, Dir::default());
        disk.open_dirs.insert(root, 0);
        disk.next = 1;
        disk
    }

    /// Opens another directory, `name`, as a root of its own.
    pub(super) fn add_root(&mut self, name: &str, root: DirId) {
        let inode = self.fresh();
        self.dirs.insert(inode, Dir::default());
        self.link(0, name, Node::Dir(inode));
        self.open_dirs.insert(root, inode);
    }

    /// Puts a durable file there.
    pub(super) fn put(&mut self, path: &str, content: &[u8]) {
        let (mut dir, mut rest) = (0, path);
        while let Some((head, tail)) = rest.split_once('/') {
            dir = match self.dirs[&dir].now.get(head) {
                Some(Node::Dir(dir)) => *dir,
                _ => {
                    let inode = self.fresh();
                    self.dirs.insert(inode, Dir::default());
                    self.link(dir, head, Node::Dir(inode));
                    inode
                }
            };
            rest = tail;
        }
        let inode = self.fresh();
        let file = File {
            durable: content.to_vec(),
            now: content.to_vec(),
            ..File::default()
        };
        self.files.insert(inode, file);
        self.link(dir, rest, Node::File(inode));
    }

    fn link(&mut self, dir: u64, name: &str, node: Node) {
        let dir = self.dirs.get_mut(&dir).expect("there");
        dir.now.insert(name.to_owned(), node);
        dir.durable.insert(name.to_owned(), node);
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Every file and its content.
    pub(super) fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let mut tree = BTreeMap::new();
        self.walk(0, "", &mut tree);
        tree
    }

    fn walk(&self, dir: u64, prefix: &str, tree: &mut BTreeMap<String, Vec<u8>>) {
        for (name, node) in &self.dirs[&dir].now {
            let path = format!("{prefix}{name}");
            match node {
                Node::File(file) => {
                    tree.insert(path, self.files[file].now.clone());
                }
                Node::Dir(dir) => self.walk(*dir, &format!("{path}/"), tree),
            }
        }
    }

    /// Changes a file in place, durably: rot.
    pub(super) fn rot(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = 0;
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            match self.dirs[&at].now[part] {
                Node::Dir(dir) => at = dir,
                Node::File(_) => panic!("{part} is a file"),
            }
        }
        let Node::File(inode) = self.dirs[&at].now[name] else {
            panic!("{name} is a directory");
        };
        let file = self.files.get_mut(&inode).expect("there");
        change(&mut file.now);
        file.durable = file.now.clone();
        file.changes.clear();
        file.synced = 0;
    }

    /// Removes a file or directory, durably.
    pub(super) fn remove(&mut self, dir: &str, name: &str) {
        let at = match self.dirs[&0].now.get(dir) {
            Some(Node::Dir(dir)) => *dir,
            _ => 0,
        };
        let dir = self.dirs.get_mut(&at).expect("there");
        dir.now.remove(name);
        dir.durable.remove(name);
    }

    pub(super) fn issue(&mut self, token: Token, op: DiskOp) {
        let covers = match &op {
            DiskOp::Sync { files, .. } => files
                .iter()
                .map(|file| {
                    let inode = self.open_files[file];
                    (inode, self.files[&inode].changes.len())
                })
                .collect(),
            DiskOp::SyncDir { dir } => {
                let inode = self.open_dirs[dir];
                vec![(inode, self.dirs[&inode].changes.len())]
            }
            _ => Vec::new(),
        };
        self.queue.push(Issued { token, op, covers });
    }

    /// The operations under way that give or take names in other directories than `root`.
    pub(super) fn renaming_outside(&self, root: DirId) -> Vec<(Token, DiskOp)> {
        let renames = |op: &DiskOp| match op {
            DiskOp::Unlink { dir, .. } | DiskOp::Rename { dir, .. } => *dir != root,
            _ => false,
        };
        let queue = self.queue.iter();
        queue
            .filter(|issued| renames(&issued.op))
            .map(|issued| (issued.token, issued.op.clone()))
            .collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Completes one operation that may complete now.
    pub(super) fn complete(
        &mut self,
        dice: &mut Dice,
    ) -> Option<(Token, Result<DiskDone, DiskError>)> {
        let hangs =
            |op: &DiskOp| matches!(op, DiskOp::Sync { root, .. } if self.hung_root == Some(*root));
        let ready: Vec<usize> = (0..self.queue.len())
            .filter(|&at| !hangs(&self.queue[at].op))
            .filter(|&at| {
                let dirs = touched(&self.queue[at].op);
                !self.queue[..at]
                    .iter()
                    .any(|earlier| touched(&earlier.op).iter().any(|dir| dirs.contains(dir)))
            })
            .collect();
        let fails = |at: &usize| self.fails(&self.queue[*at].op);
        let sound: Vec<usize> = ready.iter().copied().filter(|at| !fails(at)).collect();
        let ready = if sound.is_empty() { ready } else { sound };
        let at = *ready.get(dice.below(ready.len()))?;
        let issued = self.queue.remove(at);
        let result = self.execute(&issued);
        Some((issued.token, result))
    }

    fn fails(&self, op: &DiskOp) -> bool {
        matches!(op, DiskOp::Sync { root, .. } if self.failing_root == Some(*root))
    }

    fn execute(&mut self, issued: &Issued) -> Result<DiskDone, DiskError> {
        if self.fails(&issued.op) {
            return Err(DiskError::Failed);
        }
        match &issued.op {
            DiskOp::MakeDir { parent, name, dir } => {
                let parent = self.open_dirs[parent];
                if self.dirs[&parent].now.contains_key(name.as_str()) {
                    return Err(DiskError::Exists);
                }
                let inode = self.fresh();
                self.dirs.insert(inode, Dir::default());
                self.open_dirs.insert(*dir, inode);
                self.entry(parent, vec![(name, Some(Node::Dir(inode)))]);
                Ok(DiskDone::Done)
            }
            DiskOp::OpenDir { parent, name, dir } => {
                let parent = self.open_dirs[parent];
                match self.dirs[&parent].now.get(name.as_str()) {
                    Some(Node::Dir(inode)) => {
                        self.open_dirs.insert(*dir, *inode);
                        Ok(DiskDone::Done)
                    }
                    _ => Err(DiskError::NotFound),
                }
            }
            DiskOp::CloseDir { dir } => {
                self.open_dirs
                    .remove(dir)
                    .expect("an open directory is closed");
                Ok(DiskDone::Done)
            }
            DiskOp::RemoveDir { parent, name } => {
                let parent = self.open_dirs[parent];
                match self.dirs[&parent].now.get(name.as_str()) {
                    Some(Node::Dir(inode)) if !self.dirs[inode].now.is_empty() => {
                        Err(DiskError::NotEmpty)
                    }
                    Some(Node::Dir(_)) => {
                        self.entry(parent, vec![(name, None)]);
                        Ok(DiskDone::Done)
                    }
                    _ => Err(DiskError::NotFound),
                }
            }
            DiskOp::List { dir, after, limit } => {
                let dir = &self.dirs[&self.open_dirs[dir]];
                let mut entries: Vec<Entry> = dir
                    .now
                    .iter()
                    .filter(|(name, _)| after.as_ref().is_none_or(|a| name.as_str() > a.as_str()))
                    .map(|(name, node)| Entry {
                        name: Name::new(name.clone()).expect("a name"),
                        dir: matches!(node, Node::Dir(_)),
                        len: match node {
                            Node::File(file) => self.files[file].now.len() as u64,
                            Node::Dir(_) => 0,
                        },
                    })
                    .collect();
                let more = entries.len() > *limit as usize;
                entries.truncate(*limit as usize);
                Ok(DiskDone::Listed { entries, more })
            }
            DiskOp::Create { .. } | DiskOp::Open { .. }
                if self
                    .files_max
                    .is_some_and(|max| self.open_files.len() >= max) =>
            {
                Err(DiskError::TooManyOpen)
            }
            DiskOp::Create { dir, name, file } => {
                let dir = self.open_dirs[dir];
                if self.dirs[&dir].now.contains_key(name.as_str()) {
                    return Err(DiskError::Exists);
                }
                if self.room == Some(0) {
                    return Err(DiskError::Full);
                }
                let inode = self.fresh();
                self.files.insert(inode, File::default());
                self.open_files.insert(*file, inode);
                self.entry(dir, vec![(name, Some(Node::File(inode)))]);
                Ok(DiskDone::Done)
            }
            DiskOp::Open { dir, name, file } => {
                let dir = self.open_dirs[dir];
                match self.dirs[&dir].now.get(name.as_str()) {
                    Some(Node::File(inode)) => {
                        self.open_files.insert(*file, *inode);
                        Ok(DiskDone::Opened {
                            len: self.files[inode].now.len() as u64,
                        })
                    }
                    _ => Err(DiskError::NotFound),
                }
            }
            DiskOp::Close { file } => {
                self.open_files
                    .remove(file)
                    .expect("an open file is closed");
                assert!(
                    !self.queue.iter().any(|q| uses(&q.op, *file)),
                    "closed while in use"
                );
                Ok(DiskDone::Done)
            }
            DiskOp::Rename { dir, from, to } => {
                let dir = self.open_dirs[dir];
                match self.dirs[&dir].now.get(from.as_str()).copied() {
                    Some(node) => {
                        self.entry(dir, vec![(from, None), (to, Some(node))]);
                        Ok(DiskDone::Done)
                    }
                    None => Err(DiskError::NotFound),
                }
            }
            DiskOp::Unlink { dir, name } => {
                let dir = self.open_dirs[dir];
                let Some(node) = self.dirs[&dir].now.get(name.as_str()).copied() else {
                    return Err(DiskError::NotFound);
                };
                if self
                    .immutable
                    .is_some_and(|part| name.as_str().contains(part))
                {
                    return Err(DiskError::Failed);
                }
                if let (Some(room), Node::File(inode)) = (&mut self.room, node) {
                    *room += self.allocated.remove(&inode).unwrap_or(0);
                }
                self.entry(dir, vec![(name, None)]);
                Ok(DiskDone::Done)
            }
            DiskOp::SyncDir { .. } => {
                let (inode, count) = issued.covers[0];
                let dir = self.dirs.get_mut(&inode).expect("there");
                dir.synced = dir.synced.max(count);
                Ok(DiskDone::Synced)
            }
            DiskOp::Write { file, at, data } => {
                let inode = self.open_files[file];
                let data = data.to_bytes();
                if let Some(room) = &mut self.room {
                    if *room < data.len() {
                        *room = 0;
                        return Err(DiskError::Full);
                    }
                    *room -= data.len();
                }
                self.change(inode, Change::Write(*at as usize, data));
                Ok(DiskDone::Written)
            }
            DiskOp::Read { .. } if std::mem::take(&mut self.fail_read) => Err(DiskError::Failed),
            DiskOp::Read { file, at, len } => {
                let bytes = &self.files[&self.open_files[file]].now;
                let from = (*at as usize).min(bytes.len());
                let to = (from + *len as usize).min(bytes.len());
                Ok(DiskDone::Read(Bytes::copy_from_slice(&bytes[from..to])))
            }
            DiskOp::Truncate { file, len } => {
                let inode = self.open_files[file];
                self.change(inode, Change::Truncate(*len as usize));
                Ok(DiskDone::Done)
            }
            DiskOp::Allocate { file, len } => {
                let inode = self.open_files[file];
                if let Some(room) = &mut self.room {
                    if *room < *len as usize {
                        return Err(DiskError::Full);
                    }
                    *room -= *len as usize;
                }
                self.allocated.insert(inode, *len as usize);
                Ok(DiskDone::Done)
            }
            DiskOp::Sync { .. } => {
                self.syncs += 1;
                if std::mem::take(&mut self.fail_sync) {
                    // As with Linux: what it did not write passes for written from now on.
                    for (inode, count) in &issued.covers {
                        let file = self.files.get_mut(inode).expect("there");
                        for change in &mut file.changes[file.synced..*count] {
                            if let Change::Write(at, data) = change {
                                *change = Change::Dropped(*at + data.len());
                            }
                        }
                    }
                    return Err(DiskError::Failed);
                }
                for (inode, count) in &issued.covers {
                    let file = self.files.get_mut(inode).expect("there");
                    file.synced = file.synced.max(*count);
                }
                Ok(DiskDone::Synced)
            }
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        let file = self.files.get_mut(&inode).expect("there");
        apply(&mut file.now, &change);
        file.changes.push(change);
    }

    fn entry(&mut self, dir: u64, change: Vec<(&Name, Option<Node>)>) {
        let change = change
            .into_iter()
            .map(|(name, node)| (name.as_str().to_owned(), node))
            .collect();
        self.dirs.get_mut(&dir).expect("there").change(change);
    }

    /// The process ends; with `power`, so does the page cache. What was under way may have happened or not.
    pub(super) fn crash(&mut self, dice: &mut Dice, power: bool, root: DirId) {
        while !self.queue.is_empty() && !dice.one_in(3) {
            self.complete(dice);
        }
        self.queue.clear();
        self.open_files.clear();
        self.open_dirs.clear();
        self.open_dirs.insert(root, 0);
        if !power {
            return;
        }
        for file in self.files.values_mut() {
            let mut bytes = std::mem::take(&mut file.durable);
            for (at, change) in std::mem::take(&mut file.changes).iter().enumerate() {
                if at < file.synced || dice.one_in(2) {
                    apply(&mut bytes, change);
                } else if let (Change::Write(from, data), true) = (change, dice.one_in(2)) {
                    // Torn: some sectors arrive, in no order.
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if dice.one_in(2) {
                            let torn = Bytes::copy_from_slice(sector);
                            apply(&mut bytes, &Change::Write(from + n * SECTOR, torn));
                        }
                    }
                }
            }
            *file = File {
                durable: bytes.clone(),
                now: bytes,
                ..File::default()
            };
        }
        for dir in self.dirs.values_mut() {
            let mut entries = std::mem::take(&mut dir.durable);
            for (at, change) in std::mem::take(&mut dir.changes).iter().enumerate() {
                if at < dir.synced || dice.one_in(2) {
                    apply_entries(&mut entries, change);
                }
            }
            *dir = Dir {
                durable: entries.clone(),
                now: entries,
                ..Dir::default()
            };
        }
    }
}

/// The directories whose entries an operation uses: it keeps its place among theirs.
fn touched(op: &DiskOp) -> Vec<DirId> {
    match op {
        DiskOp::MakeDir { parent, dir, .. } | DiskOp::OpenDir { parent, dir, .. } => {
            vec![*parent, *dir]
        }
        DiskOp::RemoveDir { parent, .. } => vec![*parent],
        DiskOp::CloseDir { dir }
        | DiskOp::List { dir, .. }
        | DiskOp::Create { dir, .. }
        | DiskOp::Open { dir, .. }
        | DiskOp::Rename { dir, .. }
        | DiskOp::Unlink { dir, .. }
        | DiskOp::SyncDir { dir } => vec![*dir],
        DiskOp::Close { .. }
        | DiskOp::Write { .. }
        | DiskOp::Read { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Allocate { .. }
        | DiskOp::Sync { .. } => Vec::new(),
    }
}

fn uses(op: &DiskOp, used: FileId) -> bool {
    match op {
        DiskOp::Write { file, .. }
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Close { file } => *file == used,
        DiskOp::Sync { files, .. } => files.contains(&used),
        _ => false,
    }
}
