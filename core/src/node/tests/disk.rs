//! A disk in memory for the tests of the core: every operation takes effect when it is issued.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{DirId, FileId};
use crate::io::{DiskDone, DiskError, DiskOp, Entry, Name};

#[derive(Clone, Debug)]
enum Inode {
    Dir(BTreeMap<Name, usize>),
    File(Vec<u8>),
}

/// The files of one machine.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    dirs: BTreeMap<DirId, usize>,
    files: BTreeMap<FileId, usize>,
}

type Outcome = Result<DiskDone, DiskError>;

impl Disk {
    /// Makes an empty directory that is known as `dir`: one of `log.dirs`.
    pub fn add_root(&mut self, dir: DirId) {
        self.dirs.insert(dir, self.inodes.len());
        self.inodes.push(Inode::Dir(BTreeMap::new()));
    }

    /// Forgets what the process had open; the roots stay.
    pub fn crash(&mut self, roots: &[DirId]) {
        self.files.clear();
        self.dirs.retain(|dir, _| roots.contains(dir));
    }

    /// What stands in a root.
    pub fn names(&mut self, dir: DirId) -> Vec<String> {
        let entries = self.entries(self.dirs[&dir]).keys();
        entries.map(|name| name.as_str().to_owned()).collect()
    }

    /// Writes a whole file into a root.
    pub fn put(&mut self, dir: DirId, path: &str, content: Bytes) {
        let mut at = self.dirs[&dir];
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        for parent in parents.split('/').filter(|part| !part.is_empty()) {
            let name = Name::new(parent).unwrap();
            at = match self.lookup(at, &name) {
                Ok(found) => found,
                Err(_) => self.add(at, name, Inode::Dir(BTreeMap::new())).unwrap(),
            };
        }
        let name = Name::new(name).unwrap();
        self.entries(at).remove(&name);
        self.add(at, name, Inode::File(content.to_vec())).unwrap();
    }

    /// Turns one bit of a file in a root, as rot does.
    pub fn rot(&mut self, dir: DirId, path: &str, at: usize) {
        let mut inode = self.dirs[&dir];
        for part in path.split('/') {
            inode = self.lookup(inode, &Name::new(part).unwrap()).unwrap();
        }
        match &mut self.inodes[inode] {
            Inode::File(content) => content[at] ^= 1,
            Inode::Dir(_) => panic!("{path} is a directory"),
        }
    }

    /// Carries out one operation.
    pub fn run(&mut self, op: DiskOp) -> Outcome {
        match op {
            DiskOp::MakeDir { parent, name, dir } => {
                let at = self.add(self.dirs[&parent], name, Inode::Dir(BTreeMap::new()))?;
                self.dirs.insert(dir, at);
                Ok(DiskDone::Done)
            }
            DiskOp::OpenDir { parent, name, dir } => {
                let at = self.lookup(self.dirs[&parent], &name)?;
                self.dirs.insert(dir, at);
                Ok(DiskDone::Done)
            }
            DiskOp::CloseDir { dir } => {
                self.dirs.remove(&dir);
                Ok(DiskDone::Done)
            }
            DiskOp::RemoveDir { parent, name } => {
                let at = self.lookup(self.dirs[&parent], &name)?;
                if matches!(&self.inodes[at], Inode::Dir(entries) if !entries.is_empty()) {
                    return Err(DiskError::NotEmpty);
                }
                self.entries(self.dirs[&parent]).remove(&name);
                Ok(DiskDone::Done)
            }
            DiskOp::List { dir, after, limit } => Ok(self.list(self.dirs[&dir], after, limit)),
            DiskOp::Create { dir, name, file } => {
                let at = self.add(self.dirs[&dir], name, Inode::File(Vec::new()))?;
                self.files.insert(file, at);
                Ok(DiskDone::Done)
            }
            DiskOp::Open { dir, name, file } => {
                let at = self.lookup(self.dirs[&dir], &name)?;
                self.files.insert(file, at);
                let len = self.content(file).len() as u64;
                Ok(DiskDone::Opened { len })
            }
            DiskOp::Close { file } => {
                self.files.remove(&file);
                Ok(DiskDone::Done)
            }
            DiskOp::Rename { dir, from, to } => {
                let entries = self.entries(self.dirs[&dir]);
                let at = entries.remove(&from).ok_or(DiskError::NotFound)?;
                entries.insert(to, at);
                Ok(DiskDone::Done)
            }
            DiskOp::Unlink { dir, name } => {
                let entries = self.entries(self.dirs[&dir]);
                entries.remove(&name).ok_or(DiskError::NotFound)?;
                Ok(DiskDone::Done)
            }
            DiskOp::SyncDir { .. } | DiskOp::Sync { .. } => Ok(DiskDone::Synced),
            DiskOp::Write { file, at, data } => {
                let (at, data) = (usize::try_from(at).unwrap(), data.to_bytes());
                let content = self.content(file);
                if content.len() < at + data.len() {
                    content.resize(at + data.len(), 0);
                }
                content[at..at + data.len()].copy_from_slice(&data);
                Ok(DiskDone::Written)
            }
            DiskOp::Read { file, at, len } => {
                let content = self.content(file);
                let from = usize::try_from(at).unwrap().min(content.len());
                let to = (from + len as usize).min(content.len());
                Ok(DiskDone::Read(Bytes::copy_from_slice(&content[from..to])))
            }
            DiskOp::Truncate { file, len } => {
                self.content(file).resize(usize::try_from(len).unwrap(), 0);
                Ok(DiskDone::Done)
            }
            DiskOp::Allocate { .. } => Ok(DiskDone::Done),
        }
    }

    fn list(&self, at: usize, after: Option<Name>, limit: u32) -> DiskDone {
        let Inode::Dir(entries) = &self.inodes[at] else {
            panic!("a file is listed");
        };
        let mut left = entries
            .iter()
            .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
        let page = left.by_ref().take(limit as usize).map(|(name, at)| Entry {
            name: name.clone(),
            dir: matches!(self.inodes[*at], Inode::Dir(_)),
            len: match &self.inodes[*at] {
                Inode::Dir(_) => 0,
                Inode::File(content) => content.len() as u64,
            },
        });
        let entries = page.collect();
        let more = left.next().is_some();
        DiskDone::Listed { entries, more }
    }

    fn entries(&mut self, at: usize) -> &mut BTreeMap<Name, usize> {
        match &mut self.inodes[at] {
            Inode::Dir(entries) => entries,
            Inode::File(_) => panic!("a file is used as a directory"),
        }
    }

    fn content(&mut self, file: FileId) -> &mut Vec<u8> {
        match &mut self.inodes[self.files[&file]] {
            Inode::File(content) => content,
            Inode::Dir(_) => panic!("a directory is used as a file"),
        }
    }

    fn lookup(&mut self, at: usize, name: &Name) -> Result<usize, DiskError> {
        self.entries(at)
            .get(name)
            .copied()
            .ok_or(DiskError::NotFound)
    }

    fn add(&mut self, at: usize, name: Name, inode: Inode) -> Result<usize, DiskError> {
        let new = self.inodes.len();
        if self.entries(at).contains_key(&name) {
            return Err(DiskError::Exists);
        }
        self.entries(at).insert(name, new);
        self.inodes.push(inode);
        Ok(new)
    }
}
