//! What a process may ask of its disk: ids that are open, a sync that names a file once, and no change of a log directory that it said
//! has failed.
//!
//! Owns the judgement; carries nothing out.

use trialog_core::ids::{DirId, FileId};
use trialog_core::io::DiskOp;

use super::{Breach, Disk, InodeId, OpId};

impl Disk {
    /// The process said that a root has failed: in this life it leaves it as it is.
    pub fn give_up(&mut self, root: usize) {
        self.given_up.insert(root);
    }

    /// Is an operation in flight one of this root?
    #[must_use]
    pub fn is_in(&self, id: OpId, root: usize) -> bool {
        let flight = self.flight.get(&id);
        flight.is_some_and(|flight| self.root_of(&flight.op) == Some(root))
    }

    /// The root that an inode was made in.
    pub(super) fn home(&self, inode: InodeId) -> usize {
        self.homes.get(&inode).copied().unwrap_or(0)
    }

    fn root_of(&self, op: &DiskOp) -> Option<usize> {
        let inode = match op {
            DiskOp::MakeDir { parent: dir, .. }
            | DiskOp::OpenDir { parent: dir, .. }
            | DiskOp::RemoveDir { parent: dir, .. }
            | DiskOp::CloseDir { dir }
            | DiskOp::List { dir, .. }
            | DiskOp::Create { dir, .. }
            | DiskOp::Open { dir, .. }
            | DiskOp::Rename { dir, .. }
            | DiskOp::Unlink { dir, .. }
            | DiskOp::SyncDir { dir }
            | DiskOp::Sync { root: dir, .. } => self.dirs.get(dir),
            DiskOp::Close { file }
            | DiskOp::Write { file, .. }
            | DiskOp::Read { file, .. }
            | DiskOp::Truncate { file, .. }
            | DiskOp::Allocate { file, .. } => self.files.get(file),
        };
        inode.map(|inode| self.home(*inode))
    }

    /// # Errors
    /// A sentence about the operation if the process may not ask for it.
    pub(super) fn admit(&self, op: &DiskOp) -> Result<(), Breach> {
        self.names_open_ids(op)?;
        let root = self.root_of(op).filter(|_| changes(op));
        match root.is_some_and(|root| self.given_up.contains(&root)) {
            true => Err(format!(
                "it changes a log directory that it said has failed: {}",
                Disk::brief(op)
            )),
            false => Ok(()),
        }
    }

    fn names_open_ids(&self, op: &DiskOp) -> Result<(), Breach> {
        let need_dir = |dir: &DirId| match self.dirs.contains_key(dir) {
            true => Ok(()),
            false => Err(format!("{dir:?} is not open: {op:?}")),
        };
        let need_file = |file: &FileId| match self.files.contains_key(file) {
            true => Ok(()),
            false => Err(format!("{file:?} is not open: {}", Disk::brief(op))),
        };
        match op {
            DiskOp::MakeDir { parent, dir, .. } | DiskOp::OpenDir { parent, dir, .. } => {
                need_dir(parent)?;
                match self.dirs.contains_key(dir) {
                    true => Err(format!("{dir:?} is open already: {op:?}")),
                    false => Ok(()),
                }
            }
            DiskOp::Create { dir, file, .. } | DiskOp::Open { dir, file, .. } => {
                need_dir(dir)?;
                match self.files.contains_key(file) {
                    true => Err(format!("{file:?} is open already: {op:?}")),
                    false => Ok(()),
                }
            }
            DiskOp::CloseDir { dir }
            | DiskOp::RemoveDir { parent: dir, .. }
            | DiskOp::List { dir, .. }
            | DiskOp::Rename { dir, .. }
            | DiskOp::Unlink { dir, .. }
            | DiskOp::SyncDir { dir } => need_dir(dir),
            DiskOp::Close { file }
            | DiskOp::Write { file, .. }
            | DiskOp::Read { file, .. }
            | DiskOp::Truncate { file, .. }
            | DiskOp::Allocate { file, .. } => need_file(file),
            DiskOp::Sync { root, files } => {
                need_dir(root)?;
                files.iter().try_for_each(need_file)?;
                let mut sorted = files.clone();
                sorted.sort_unstable();
                sorted.dedup();
                match sorted.len() == files.len() {
                    true => Ok(()),
                    false => Err(format!("a sync names a file twice: {files:?}")),
                }
            }
        }
    }
}

/// Does an operation change what is on the disk, or promise something of it?
fn changes(op: &DiskOp) -> bool {
    match op {
        DiskOp::MakeDir { .. }
        | DiskOp::RemoveDir { .. }
        | DiskOp::Create { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Unlink { .. }
        | DiskOp::Write { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Allocate { .. }
        | DiskOp::SyncDir { .. }
        | DiskOp::Sync { .. } => true,
        DiskOp::OpenDir { .. }
        | DiskOp::CloseDir { .. }
        | DiskOp::List { .. }
        | DiskOp::Open { .. }
        | DiskOp::Close { .. }
        | DiskOp::Read { .. } => false,
    }
}
