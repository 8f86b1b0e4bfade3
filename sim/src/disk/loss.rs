//! What a killed process and a power cut leave on the disk.
//!
//! A killed process leaves the page cache; each of its operations in flight happened, did not, or (a write) happened in
//! part. A power cut leaves the durable image plus any part of what was not synced: by 512-byte sector or 4 KiB page, in
//! any order; a file's length is that of some moment since its last sync; each directory entry is its last durable or
//! some later state. What a failed sync should have written stays in the page cache and never reaches the medium, whatever is synced
//! later, as with Linux. One thing no file system does is kept out: a rename never loses or doubles an entry that was
//! durable. Owns these rules only.

use std::collections::{BTreeMap, BTreeSet};

use trialog_core::io::{DiskOp, Name};

use super::{Change, Directory, Disk, File, Inode, InodeId, OpId, SECTOR, index};
use crate::choice::{Choices, Subsystem};
use crate::hash::subject;

/// What a crash took away, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Completed writes and truncates of which nothing is left.
    pub lost: u64,
    /// Writes of which a part is left.
    pub torn: u64,
    /// Writes that are left although an earlier one of the file is not whole.
    pub reordered: u64,
    /// Directory entries that are not as the process last saw them.
    pub entries: u64,
}

/// How much of the unsynced a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As the choices draw it, file by file.
    Drawn,
    /// All of it.
    Lose,
    /// None of it.
    Keep,
}

/// Bytes of a page of the page cache.
const PAGE: u64 = 4096;

/// How one file's unsynced changes fare.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lose,
    Keep,
    /// The first so many changes stay, as if written back in order.
    InOrder(usize),
    /// Each unit of so many bytes stays or goes for itself.
    Scatter(u64),
}

impl Disk {
    /// The process is killed: what it had in flight happened, or not, or in part.
    pub fn crash(&mut self, choices: &mut Choices) {
        self.end_flight(choices, Subsystem::CrashLoss);
        self.forget_process();
        self.sweep();
    }

    /// The power fails: what was not synced is lost, kept, torn or reordered.
    pub fn power_cut(&mut self, choices: &mut Choices, cut: Cut) -> Loss {
        self.end_flight(choices, Subsystem::PowerLoss);
        self.forget_process();
        let mut loss = Loss::default();
        let cut = match (cut, choices.below(8, Subsystem::PowerLoss, subject("cut"))) {
            (Cut::Drawn, 0) => Cut::Lose,
            (Cut::Drawn, 1) => Cut::Keep,
            (cut, _) => cut,
        };
        for (id, inode) in &mut self.inodes {
            match inode {
                Inode::File(file) => file.lose_power(choices, *id, cut, &mut loss),
                Inode::Dir(dir) => dir.lose_power(choices, *id, cut, &mut loss),
            }
        }
        self.sweep();
        loss
    }

    fn end_flight(&mut self, choices: &mut Choices, subsystem: Subsystem) {
        let flight: Vec<OpId> = self.flight.keys().copied().collect();
        for id in flight {
            let about = self.subject(id);
            let key = subject(&about.role) ^ subject(about.kind);
            let Some(flight) = self.flight.get(&id) else {
                continue;
            };
            let sync = matches!(flight.op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. });
            match choices.below(3, subsystem, key) {
                // A sync that nobody heard of promises nothing; its writes fare as unsynced ones.
                0 if !sync => {
                    let _ = self.complete(id);
                }
                1 => {
                    if let DiskOp::Write { file, at, data } = flight.op.clone() {
                        let pages = (data.len() as u64).div_ceil(PAGE);
                        let edge = (at / PAGE + choices.below(pages + 1, subsystem, key)) * PAGE;
                        self.write_prefix(file, at, &data, edge.saturating_sub(at));
                    }
                }
                _ => {}
            }
        }
    }

    fn forget_process(&mut self) {
        self.flight.clear();
        self.files.clear();
        self.dirs.clear();
        for inode in self.inodes.values_mut() {
            if let Inode::Dir(dir) = inode {
                dir.queue.clear();
            }
        }
    }

    /// Drops inodes that no entry can lead to any more.
    fn sweep(&mut self) {
        let mut reached: BTreeSet<InodeId> = BTreeSet::new();
        let mut todo = self.roots.clone();
        while let Some(inode) = todo.pop() {
            if reached.insert(inode)
                && let Some(dir) = self.dir(inode)
            {
                todo.extend(dir.now.values().chain(dir.durable.values()));
                todo.extend(dir.changes.iter().filter_map(|(_, inode)| *inode));
            }
        }
        self.inodes.retain(|inode, _| reached.contains(inode));
        self.homes.retain(|inode, _| reached.contains(inode));
    }
}

impl File {
    fn lose_power(&mut self, choices: &mut Choices, id: InodeId, cut: Cut, loss: &mut Loss) {
        if std::mem::take(&mut self.hollow) && self.dirty.is_empty() {
            self.cache.clone_from(&self.durable);
            loss.lost += 1;
        }
        if self.dirty.is_empty() {
            return;
        }
        let key = subject(&self.role) ^ id.rotate_left(32);
        let mut below = |bound: u64| choices.below(bound, Subsystem::PowerLoss, key);
        let fate = match (cut, below(8)) {
            (Cut::Lose, _) => Fate::Lose,
            (Cut::Keep, _) => Fate::Keep,
            (_, 0 | 1) => Fate::Lose,
            (_, 2) => Fate::Keep,
            (_, 3) => Fate::InOrder(index(below(self.dirty.len() as u64 + 1))),
            (_, 4..=6) => Fate::Scatter(SECTOR),
            (_, _) => Fate::Scatter(PAGE),
        };
        let sized = match fate {
            Fate::Lose => 0,
            Fate::Keep => self.dirty.len(),
            Fate::InOrder(first) => first,
            Fate::Scatter(_) => index(below(self.dirty.len() as u64 + 1)),
        };
        let mut image = std::mem::take(&mut self.durable);
        let mut len = image.len() as u64;
        let mut whole_so_far = true;
        for (nth, change) in self.dirty.iter().enumerate() {
            match change {
                Change::Truncate { len: to } => {
                    if nth < sized {
                        image.resize(index(*to), 0);
                        len = *to;
                    } else {
                        loss.lost += 1;
                    }
                }
                Change::Dropped { at, len: dropped } => {
                    if nth < sized {
                        len = len.max(at + dropped);
                    }
                    loss.lost += 1;
                    whole_so_far = false;
                }
                Change::Write { at, data } => {
                    let end = at + data.len() as u64;
                    if nth < sized {
                        len = len.max(end);
                    }
                    let bytes = data.to_bytes();
                    let (mut kept, mut units) = (0_u64, 0_u64);
                    let step = match fate {
                        Fate::Scatter(unit) => unit,
                        Fate::Lose | Fate::Keep | Fate::InOrder(_) => u64::MAX,
                    };
                    let mut from = *at;
                    while from < end {
                        let to = (from / step + 1).saturating_mul(step).min(end);
                        let keep = match fate {
                            Fate::Lose => false,
                            Fate::Keep => true,
                            Fate::InOrder(first) => nth < first,
                            Fate::Scatter(_) => below(2) == 0,
                        };
                        units += 1;
                        if keep {
                            kept += 1;
                            let piece = &bytes[index(from - at)..index(to - at)];
                            super::overwrite(&mut image, from, piece);
                        }
                        from = to;
                    }
                    // Beyond the surviving length nothing is left, whatever reached the medium.
                    if nth >= sized && end > len {
                        kept = kept.min(units.saturating_sub(1));
                    }
                    loss.lost += u64::from(kept == 0);
                    loss.torn += u64::from(kept > 0 && kept < units);
                    loss.reordered += u64::from(kept > 0 && !whole_so_far);
                    whole_so_far &= kept == units;
                }
            }
        }
        image.resize(index(len), 0);
        self.settled += self.dirty.len() as u64;
        self.dirty.clear();
        self.cache.clone_from(&image);
        self.durable = image;
    }
}

impl Directory {
    fn lose_power(&mut self, choices: &mut Choices, id: InodeId, cut: Cut, loss: &mut Loss) {
        if self.changes.is_empty() {
            return;
        }
        let key = subject("entries") ^ id.rotate_left(32);
        let mut below = |bound: u64| choices.below(bound, Subsystem::PowerLoss, key);
        let mode = match cut {
            Cut::Lose => 0,
            Cut::Keep => 1,
            Cut::Drawn => below(4),
        };
        let mut histories: BTreeMap<Name, Vec<Option<InodeId>>> = BTreeMap::new();
        for (name, inode) in &self.changes {
            histories
                .entry(name.clone())
                .or_insert_with(|| vec![self.durable.get(name).copied()])
                .push(*inode);
        }
        let prefix = below(self.changes.len() as u64 + 1);
        let mut after = self.durable.clone();
        if mode == 2 {
            for (name, inode) in self.changes.iter().take(index(prefix)) {
                set(&mut after, name, *inode);
            }
        } else {
            for (name, states) in &histories {
                let state = match mode {
                    0 => 0,
                    1 => states.len() - 1,
                    _ => index(below(states.len() as u64)),
                };
                set(&mut after, name, states[state]);
            }
        }
        self.one_name_each(&mut after, &histories);
        loss.entries += histories
            .keys()
            .filter(|name| after.get(*name) != self.now.get(*name))
            .count() as u64;
        self.settled += self.changes.len() as u64;
        self.changes.clear();
        self.now.clone_from(&after);
        self.durable = after;
    }

    /// Renames are atomic: nothing durable has two names after them, or none.
    fn one_name_each(
        &self,
        after: &mut BTreeMap<Name, InodeId>,
        histories: &BTreeMap<Name, Vec<Option<InodeId>>>,
    ) {
        let newest = |inode: InodeId| {
            self.changes
                .iter()
                .rev()
                .find(|(_, changed)| *changed == Some(inode))
                .map(|(name, _)| name.clone())
        };
        let mut names: BTreeMap<InodeId, Vec<Name>> = BTreeMap::new();
        for (name, inode) in after.iter() {
            names.entry(*inode).or_default().push(name.clone());
        }
        for (inode, names) in names.iter().filter(|(_, names)| names.len() > 1) {
            let keep = newest(*inode)
                .filter(|name| names.contains(name))
                .unwrap_or_else(|| names[0].clone());
            for name in names.iter().filter(|name| **name != keep) {
                after.remove(name);
            }
        }
        let durable_before: Vec<(Name, InodeId)> = self
            .durable
            .iter()
            .filter(|(name, _)| histories.contains_key(*name))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        for (old_name, inode) in durable_before {
            let still_named = self.now.values().any(|named| *named == inode);
            let lost = !after.values().any(|named| *named == inode);
            if still_named && lost {
                let name = newest(inode).unwrap_or(old_name);
                after.insert(name, inode);
            }
        }
    }
}

fn set(entries: &mut BTreeMap<Name, InodeId>, name: &Name, inode: Option<InodeId>) {
    match inode {
        Some(inode) => entries.insert(name.clone(), inode),
        None => entries.remove(name),
    };
}
