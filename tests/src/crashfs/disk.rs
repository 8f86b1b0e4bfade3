//! The disk behind the crash file system: names, files, what of both is durable, and what a power cut leaves.
//!
//! A name (create, rename, unlink, mkdir, rmdir) is durable once its *directory* is synced; bytes once their *file* is. A rename is
//! atomic, changes of one name keep their order, and everything else may be lost apart from everything else. Pure: no file, no clock
//! of its own, no randomness but the seed of the cut.

use super::content::{Content, PAGE, SECTOR, Sparse};
use std::collections::{BTreeMap, BTreeSet};

/// The root directory's inode.
pub const ROOT: u64 = 1;

/// Why an operation was refused, as an `errno`.
pub type Refused = i32;

/// What was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    /// The bytes and length of a file.
    File,
    /// The entries of a directory.
    Directory,
}

/// A rule for some syncs: how a test shows that it would notice their absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of files or of directories.
    pub kind: SyncKind,
    /// Of paths that end so, a `/` before the first component: `/` is the root alone, an empty text every path.
    pub suffix: String,
    /// What becomes of them.
    pub what: Missing,
    /// How many there have been since the rule was set.
    heard: u64,
}

impl Rule {
    /// A rule that has seen nothing yet.
    pub fn new(kind: SyncKind, suffix: &str, what: Missing) -> Rule {
        Rule {
            kind,
            suffix: suffix.to_owned(),
            what,
            heard: 0,
        }
    }
}

/// Which syncs of a rule are not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// All of them, until the rules are cleared. They are answered all the same.
    Every,
    /// So many from the `nth` on, counted from 0, until the next cut. They are answered; the next one, which would do their work, finds
    /// the disk frozen.
    These {
        /// The first of them.
        nth: u64,
        /// How many.
        count: u64,
    },
    /// From this one on, counted from 0, until the next cut: the disk is frozen when it is asked for.
    Freeze(u64),
}

/// What becomes of the unsynced changes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All lost.
    Lost,
    /// All kept.
    Kept,
    /// Each sector on its own, each at some moment of its history.
    TornBySector,
    /// Each page on its own.
    TornByPage,
    /// The length is kept, the bytes are not: where there were none before, zeros.
    Hollow,
    /// Written back from the beginning, but no further than so many pages.
    FirstPages(u64),
    /// All kept up to the last truncate, which is lost with what came after it.
    Untruncated,
}

/// What becomes of the unsynced changes of directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// All lost.
    Lost,
    /// All kept.
    Kept,
    /// The first few, over all directories, as with one journal.
    Prefix,
    /// Any, each name at some moment of its history.
    Subset,
    /// Those alone that concern a name with this text in it.
    Only(&'static str),
}

/// How a cut strikes. `None`: drawn from the seed, for each file anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Names every choice.
    pub seed: u64,
    /// One fate for all files.
    pub data: Option<Fate>,
    /// One fate for all directories.
    pub entries: Option<Entries>,
}

impl Plan {
    /// Everything drawn.
    pub fn drawn(seed: u64) -> Plan {
        Plan {
            seed,
            data: None,
            entries: None,
        }
    }

    /// Everything unsynced lost.
    pub fn lost() -> Plan {
        Plan {
            seed: 0,
            data: Some(Fate::Lost),
            entries: Some(Entries::Lost),
        }
    }
}

/// What a cut did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Files with unsynced changes.
    pub files_dirty: usize,
    /// Of them, those that do not hold after the cut what readers saw before it.
    pub files_changed: usize,
    /// Unsynced changes of directories.
    pub entries_pending: usize,
    /// Of them, those that the cut undid.
    pub entries_lost: usize,
    /// Syncs that a rule ignored since the cut before.
    pub syncs_ignored: u64,
}

/// What one inode is.
#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Directory {
        now: BTreeMap<String, u64>,
        durable: BTreeMap<String, u64>,
    },
}

/// One atomic change of names that is not durable yet.
#[derive(Clone, Debug)]
struct EntryChange {
    names: Vec<(u64, String, Option<u64>)>,
}

/// What `stat` tells of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The inode.
    pub ino: u64,
    /// Length in bytes.
    pub length: u64,
    /// Is it a directory?
    pub directory: bool,
}

/// The whole disk.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    /// Where each inode was last seen: for paths in rules and counts only.
    places: BTreeMap<u64, (u64, String)>,
    pending: Vec<EntryChange>,
    next: u64,
    rules: Vec<Rule>,
    /// A rule has frozen the disk: what is asked for from now on is not done.
    frozen: bool,
    heard: BTreeMap<(SyncKind, String), u64>,
    ignored: u64,
    operations: u64,
    /// Bytes that are left; `None`: more than enough.
    room: Option<u64>,
}

impl Default for Disk {
    fn default() -> Disk {
        let root = Node::Directory {
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
        };
        Disk {
            nodes: BTreeMap::from([(ROOT, root)]),
            places: BTreeMap::new(),
            pending: Vec::new(),
            next: ROOT + 1,
            rules: Vec::new(),
            frozen: false,
            heard: BTreeMap::new(),
            ignored: 0,
            operations: 0,
            room: None,
        }
    }
}

impl Disk {
    /// The inode of a name.
    pub fn lookup(&self, directory: u64, name: &str) -> Result<Stat, Refused> {
        self.stat(*self.entries(directory)?.get(name).ok_or(libc::ENOENT)?)
    }

    /// What an inode is.
    pub fn stat(&self, ino: u64) -> Result<Stat, Refused> {
        Ok(match self.nodes.get(&ino).ok_or(libc::ENOENT)? {
            Node::File(content) => Stat {
                ino,
                length: content.now().len(),
                directory: false,
            },
            Node::Directory { .. } => Stat {
                ino,
                length: 4096,
                directory: true,
            },
        })
    }

    /// Names and inodes of a directory.
    pub fn entries(&self, directory: u64) -> Result<&BTreeMap<String, u64>, Refused> {
        match self.nodes.get(&directory).ok_or(libc::ENOENT)? {
            Node::Directory { now, .. } => Ok(now),
            Node::File(_) => Err(libc::ENOTDIR),
        }
    }

    /// Reads of a file.
    pub fn read(&self, ino: u64, offset: u64, wanted: usize) -> Result<Vec<u8>, Refused> {
        match self.nodes.get(&ino).ok_or(libc::ENOENT)? {
            Node::File(content) => Ok(content.now().read(offset, wanted)),
            Node::Directory { .. } => Err(libc::EISDIR),
        }
    }

    fn content(&mut self, ino: u64) -> Result<&mut Content, Refused> {
        self.operations += 1;
        match self.nodes.get_mut(&ino).ok_or(libc::ENOENT)? {
            Node::File(content) => Ok(content),
            Node::Directory { .. } => Err(libc::EISDIR),
        }
    }

    /// From now on files grow by so many bytes at most.
    pub fn set_room(&mut self, bytes: Option<u64>) {
        self.room = bytes;
    }

    /// The room in which a file may reach `length`; an error if there is none for a byte of it.
    fn room_up_to(&self, ino: u64, length: u64) -> Result<u64, Refused> {
        let now = self.stat(ino)?.length;
        match self.room {
            Some(0) if length > now => Err(libc::ENOSPC),
            Some(room) => Ok(length.min(now + room)),
            None => Ok(length),
        }
    }

    /// A volatile write of as much as has room; how much that is.
    pub fn write(&mut self, ino: u64, offset: u64, bytes: &[u8]) -> Result<usize, Refused> {
        let end = self.room_up_to(ino, offset + bytes.len() as u64)?;
        let fits = end
            .checked_sub(offset)
            .filter(|fits| *fits > 0 || bytes.is_empty());
        let fits = fits.ok_or(libc::ENOSPC)?.min(bytes.len() as u64) as usize;
        let before = self.stat(ino)?.length;
        self.content(ino)?.write(offset, &bytes[..fits]);
        let grown = self.stat(ino)?.length - before;
        self.room = self.room.map(|room| room.saturating_sub(grown));
        Ok(fits)
    }

    /// May a file have so many bytes without growing beyond the room?
    pub fn allocate(&self, ino: u64, length: u64) -> Result<(), Refused> {
        match self.room_up_to(ino, length)? < length {
            true => Err(libc::ENOSPC),
            false => Ok(()),
        }
    }

    /// A volatile truncate or extension.
    pub fn resize(&mut self, ino: u64, length: u64) -> Result<(), Refused> {
        let content = self.content(ino)?;
        if content.now().len() != length {
            content.resize(length);
        }
        Ok(())
    }

    fn change(&mut self, names: Vec<(u64, String, Option<u64>)>) {
        self.operations += 1;
        for (directory, name, target) in &names {
            let Some(Node::Directory { now, .. }) = self.nodes.get_mut(directory) else {
                continue;
            };
            match target {
                Some(ino) => {
                    now.insert(name.clone(), *ino);
                    self.places.insert(*ino, (*directory, name.clone()));
                }
                None => drop(now.remove(name)),
            }
        }
        self.pending.push(EntryChange { names });
    }

    /// A new file or directory under a volatile name.
    pub fn create(
        &mut self,
        directory: u64,
        name: &str,
        is_directory: bool,
    ) -> Result<Stat, Refused> {
        if self.entries(directory)?.contains_key(name) {
            return Err(libc::EEXIST);
        }
        if self.room == Some(0) {
            return Err(libc::ENOSPC);
        }
        let ino = self.next;
        self.next += 1;
        let node = if is_directory {
            Node::Directory {
                now: BTreeMap::new(),
                durable: BTreeMap::new(),
            }
        } else {
            Node::File(Content::default())
        };
        self.nodes.insert(ino, node);
        self.change(vec![(directory, name.to_owned(), Some(ino))]);
        self.stat(ino)
    }

    /// Removes a name.
    pub fn remove(
        &mut self,
        directory: u64,
        name: &str,
        is_directory: bool,
    ) -> Result<(), Refused> {
        let stat = self.lookup(directory, name)?;
        match (stat.directory, is_directory) {
            (true, false) => return Err(libc::EISDIR),
            (false, true) => return Err(libc::ENOTDIR),
            (true, true) if !self.entries(stat.ino)?.is_empty() => return Err(libc::ENOTEMPTY),
            (true, true) | (false, false) => {}
        }
        self.change(vec![(directory, name.to_owned(), None)]);
        Ok(())
    }

    /// Renames, replacing what had the new name.
    pub fn rename(
        &mut self,
        from: u64,
        name: &str,
        to: u64,
        new_name: &str,
    ) -> Result<(), Refused> {
        let moved = self.lookup(from, name)?;
        match self.lookup(to, new_name) {
            Ok(replaced) if replaced.ino == moved.ino => return Ok(()),
            Ok(replaced) if replaced.directory && !moved.directory => return Err(libc::EISDIR),
            Ok(replaced) if !replaced.directory && moved.directory => return Err(libc::ENOTDIR),
            Ok(replaced) if replaced.directory && !self.entries(replaced.ino)?.is_empty() => {
                return Err(libc::ENOTEMPTY);
            }
            Ok(_) | Err(libc::ENOENT) => {}
            Err(refused) => return Err(refused),
        }
        self.change(vec![
            (from, name.to_owned(), None),
            (to, new_name.to_owned(), Some(moved.ino)),
        ]);
        Ok(())
    }

    /// Adds a rule for syncs.
    pub fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Every sync is done again.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
    }

    /// Has a rule frozen the disk?
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Path of an inode below the root, as it was last named.
    pub fn path(&self, ino: u64) -> String {
        let mut parts = Vec::new();
        let mut at = ino;
        while let Some((parent, name)) = self.places.get(&at) {
            parts.push(name.as_str());
            at = *parent;
        }
        parts.reverse();
        parts.join("/")
    }

    /// Syncs that were asked for, by kind and path: done or ignored.
    pub fn syncs(&self) -> &BTreeMap<(SyncKind, String), u64> {
        &self.heard
    }

    /// Syncs that a rule ignored.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Changes and syncs so far: what a cut can be placed by.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    fn hears(&mut self, kind: SyncKind, ino: u64) -> bool {
        self.operations += 1;
        let path = self.path(ino);
        let (mut ignored, mut frozen) = (false, false);
        let shown = format!("/{path}");
        for rule in &mut self.rules {
            if rule.kind != kind || !shown.ends_with(&rule.suffix) {
                continue;
            }
            let nth = rule.heard;
            rule.heard += 1;
            match rule.what {
                Missing::Every => ignored = true,
                Missing::These { nth: first, count } => {
                    ignored |= (first..first + count).contains(&nth);
                    frozen |= nth >= first + count;
                }
                Missing::Freeze(from) => frozen |= nth >= from,
            }
        }
        *self.heard.entry((kind, path)).or_insert(0) += 1;
        self.frozen |= frozen;
        self.ignored += u64::from(ignored && !frozen);
        !ignored && !frozen
    }

    /// `fsync` or `fdatasync` of a file: its bytes and length, not its name.
    pub fn sync_file(&mut self, ino: u64) -> Result<(), Refused> {
        if !self.hears(SyncKind::File, ino) {
            return Ok(());
        }
        match self.nodes.get_mut(&ino).ok_or(libc::ENOENT)? {
            Node::File(content) => content.sync(),
            Node::Directory { .. } => return Err(libc::EISDIR),
        }
        Ok(())
    }

    /// `fsync` of a directory: its names, not what they name.
    pub fn sync_directory(&mut self, ino: u64) -> Result<(), Refused> {
        if !self.hears(SyncKind::Directory, ino) {
            return Ok(());
        }
        // A rename between directories drags along what it depends on: earlier changes of the same names.
        let mut names: BTreeSet<(u64, String)> = BTreeSet::new();
        let mut chosen = vec![false; self.pending.len()];
        for (index, change) in self.pending.iter().enumerate().rev() {
            if change
                .names
                .iter()
                .any(|(d, n, _)| *d == ino || names.contains(&(*d, n.clone())))
            {
                chosen[index] = true;
                names.extend(change.names.iter().map(|(d, n, _)| (*d, n.clone())));
            }
        }
        let mut rest = Vec::new();
        for (change, chosen) in std::mem::take(&mut self.pending).into_iter().zip(chosen) {
            if chosen {
                self.settle(&change)
            } else {
                rest.push(change)
            }
        }
        self.pending = rest;
        Ok(())
    }

    /// `syncfs`: everything.
    pub fn sync_all(&mut self) {
        self.operations += 1;
        for change in std::mem::take(&mut self.pending) {
            self.settle(&change);
        }
        for node in self.nodes.values_mut() {
            if let Node::File(content) = node {
                content.sync();
            }
        }
    }

    fn settle(&mut self, change: &EntryChange) {
        for (directory, name, target) in &change.names {
            if let Some(Node::Directory { durable, .. }) = self.nodes.get_mut(directory) {
                match target {
                    Some(ino) => drop(durable.insert(name.clone(), *ino)),
                    None => drop(durable.remove(name)),
                }
            }
        }
    }

    /// What a machine finds that comes back after the power was cut now.
    pub fn after_cut(&self, plan: Plan) -> (Disk, CutReport) {
        let mut report = CutReport {
            entries_pending: self.pending.len(),
            syncs_ignored: self.ignored,
            ..CutReport::default()
        };
        let mut left = self.clone();
        left.pending.clear();
        let entries = plan
            .entries
            .unwrap_or_else(|| match draw(plan.seed, &[1]) % 4 {
                0 => Entries::Lost,
                1 => Entries::Prefix,
                2 => Entries::Subset,
                _ => Entries::Kept,
            });
        let prefix = draw(plan.seed, &[2]) as usize % (self.pending.len() + 1);
        let mut undone: BTreeSet<(u64, String)> = BTreeSet::new();
        for (index, change) in self.pending.iter().enumerate() {
            let survives = match entries {
                Entries::Lost => false,
                Entries::Kept => true,
                Entries::Prefix => index < prefix,
                Entries::Subset => {
                    draw(plan.seed, &[3, index as u64]).is_multiple_of(2)
                        && !change
                            .names
                            .iter()
                            .any(|(d, n, _)| undone.contains(&(*d, n.clone())))
                }
                Entries::Only(text) => change.names.iter().any(|(_, n, _)| n.contains(text)),
            };
            if survives {
                left.settle(change);
            } else {
                report.entries_lost += 1;
                undone.extend(change.names.iter().map(|(d, n, _)| (*d, n.clone())));
            }
        }
        for (ino, node) in &mut left.nodes {
            match node {
                Node::Directory { now, durable } => *now = durable.clone(),
                Node::File(content) if content.pending() == 0 => {}
                Node::File(content) => {
                    report.files_dirty += 1;
                    let image = struck(content, plan, *ino);
                    report.files_changed += usize::from(image != *content.now());
                    *content = Content::settled(image);
                }
            }
        }
        left.sweep();
        left.heard.clear();
        left.ignored = 0;
        left.frozen = false;
        left.rules.retain(|rule| rule.what == Missing::Every);
        (left, report)
    }

    /// Forgets what no name leads to, and learns the places of the rest.
    fn sweep(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        self.places.clear();
        while let Some(directory) = open.pop() {
            let Some(Node::Directory { now, .. }) = self.nodes.get(&directory) else {
                continue;
            };
            for (name, ino) in now.clone() {
                self.places.insert(ino, (directory, name));
                if reached.insert(ino) {
                    open.push(ino);
                }
            }
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
    }
}

/// What is left of one file.
fn struck(content: &Content, plan: Plan, ino: u64) -> Sparse {
    let seed = plan.seed;
    let fate = plan.data.unwrap_or_else(|| match draw(seed, &[4]) % 4 {
        0 => Fate::Lost,
        _ => match draw(seed, &[5, ino]) % 4 {
            0 => Fate::Lost,
            1 => Fate::Kept,
            2 => Fate::TornBySector,
            _ => Fate::TornByPage,
        },
    });
    let length = |n: usize| draw(seed, &[6, ino]) as usize % (n + 1);
    match fate {
        Fate::Lost => content.durable().clone(),
        Fate::Kept => content.now().clone(),
        Fate::TornBySector => {
            content.torn(|s, n| draw(seed, &[7, ino, s]) as usize % (n + 1), length)
        }
        Fate::TornByPage => content.torn(
            |s, n| draw(seed, &[8, ino, s / (PAGE / SECTOR)]) as usize % (n + 1),
            length,
        ),
        Fate::Hollow => content.torn(|_, _| 0, |n| n),
        Fate::FirstPages(pages) => {
            let mut image = content.now().clone();
            image.resize(image.len().min(pages * PAGE));
            image
        }
        Fate::Untruncated => content.untruncated(),
    }
}

/// A number that depends on the seed and on what it is about, and on nothing else.
fn draw(seed: u64, about: &[u64]) -> u64 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for word in about {
        state = state
            .wrapping_add(*word)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 29;
        state = state.wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 32;
    }
    state >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &mut Disk, name: &str, bytes: &[u8]) -> u64 {
        let ino = disk.create(ROOT, name, false).expect("create").ino;
        disk.write(ino, 0, bytes).expect("write");
        ino
    }

    fn names(disk: &Disk) -> Vec<&str> {
        disk.entries(ROOT)
            .expect("root")
            .keys()
            .map(String::as_str)
            .collect()
    }

    fn bytes(disk: &Disk, name: &str) -> Vec<u8> {
        disk.read(
            disk.lookup(ROOT, name).expect("the name is there").ino,
            0,
            1 << 20,
        )
        .expect("read")
    }

    fn cut(disk: &Disk) -> Disk {
        disk.after_cut(Plan::lost()).0
    }

    #[test]
    fn a_synced_file_without_a_synced_name_is_gone() {
        let mut disk = Disk::default();
        let ino = file(&mut disk, "a", b"x");
        disk.sync_file(ino).expect("sync");
        assert_eq!(names(&cut(&disk)), Vec::<&str>::new());
        disk.sync_directory(ROOT).expect("sync");
        assert_eq!(bytes(&cut(&disk), "a"), b"x");
    }

    #[test]
    fn a_synced_name_without_synced_bytes_is_empty() {
        let mut disk = Disk::default();
        file(&mut disk, "a", b"x");
        disk.sync_directory(ROOT).expect("sync");
        assert_eq!(bytes(&cut(&disk), "a"), b"");
    }

    #[test]
    fn a_rename_needs_both_syncs() {
        let mut disk = Disk::default();
        let old = file(&mut disk, "a", b"old");
        disk.sync_file(old).expect("sync");
        disk.sync_directory(ROOT).expect("sync");
        file(&mut disk, "a.tmp", b"new");
        disk.rename(ROOT, "a.tmp", ROOT, "a").expect("rename");
        assert_eq!(bytes(&cut(&disk), "a"), b"old", "the rename was not synced");
        let mut early = disk.clone();
        early.sync_directory(ROOT).expect("sync");
        assert_eq!(
            bytes(&cut(&early), "a"),
            b"",
            "the bytes were not synced before the rename"
        );
        let new = disk.lookup(ROOT, "a").expect("there").ino;
        disk.sync_file(new).expect("sync");
        disk.sync_directory(ROOT).expect("sync");
        assert_eq!(
            (names(&cut(&disk)), bytes(&cut(&disk), "a")),
            (vec!["a"], b"new".to_vec())
        );
    }

    #[test]
    fn an_unsynced_unlink_comes_back_with_its_durable_bytes() {
        let mut disk = Disk::default();
        let ino = file(&mut disk, "a", b"x");
        disk.sync_file(ino).expect("sync");
        disk.sync_directory(ROOT).expect("sync");
        disk.remove(ROOT, "a", false).expect("unlink");
        assert_eq!(names(&disk), Vec::<&str>::new());
        assert_eq!(bytes(&cut(&disk), "a"), b"x");
        disk.sync_directory(ROOT).expect("sync");
        assert_eq!(names(&cut(&disk)), Vec::<&str>::new());
    }

    #[test]
    fn a_directory_needs_its_parent() {
        let mut disk = Disk::default();
        let directory = disk.create(ROOT, "d", true).expect("mkdir").ino;
        let ino = disk.create(directory, "f", false).expect("create").ino;
        disk.sync_file(ino).expect("sync");
        disk.sync_directory(directory).expect("sync");
        assert_eq!(names(&cut(&disk)), Vec::<&str>::new());
        disk.sync_directory(ROOT).expect("sync");
        let after = cut(&disk);
        assert!(
            after
                .lookup(after.lookup(ROOT, "d").expect("d").ino, "f")
                .is_ok()
        );
        assert_eq!(disk.remove(ROOT, "d", true), Err(libc::ENOTEMPTY));
        assert_eq!(disk.remove(ROOT, "d", false), Err(libc::EISDIR));
        disk.remove(directory, "f", false).expect("unlink");
        disk.remove(ROOT, "d", true).expect("rmdir");
        disk.sync_directory(ROOT).expect("sync");
        assert_eq!(names(&cut(&disk)), Vec::<&str>::new());
    }

    #[test]
    fn a_rename_between_directories_is_one_change() {
        let mut disk = Disk::default();
        let directory = disk.create(ROOT, "d", true).expect("mkdir").ino;
        disk.sync_directory(ROOT).expect("sync");
        let ino = disk.create(directory, "f", false).expect("create").ino;
        disk.rename(directory, "f", ROOT, "g").expect("rename");
        disk.sync_directory(ROOT).expect("sync");
        let after = cut(&disk);
        assert_eq!(after.lookup(ROOT, "g").map(|s| s.ino), Ok(ino));
        assert_eq!(after.lookup(directory, "f"), Err(libc::ENOENT));
    }

    #[test]
    fn syncing_everything_keeps_everything() {
        let mut disk = Disk::default();
        file(&mut disk, "a", b"x");
        disk.create(ROOT, "d", true).expect("mkdir");
        disk.sync_all();
        let (after, report) = disk.after_cut(Plan::lost());
        assert_eq!(
            (names(&after), bytes(&after, "a")),
            (vec!["a", "d"], b"x".to_vec())
        );
        assert_eq!(report, CutReport::default());
    }

    #[test]
    fn ignored_syncs_are_counted_and_do_nothing() {
        let mut disk = Disk::default();
        disk.add_rule(Rule::new(SyncKind::File, ".log", Missing::Every));
        let (log, other) = (
            file(&mut disk, "0.log", b"x"),
            file(&mut disk, "0.index", b"y"),
        );
        for ino in [log, other] {
            disk.sync_file(ino).expect("sync");
        }
        disk.sync_directory(ROOT).expect("sync");
        let after = cut(&disk);
        assert_eq!(
            (bytes(&after, "0.log"), bytes(&after, "0.index")),
            (b"".to_vec(), b"y".to_vec())
        );
        assert_eq!(disk.ignored(), 1);
        assert_eq!(disk.syncs()[&(SyncKind::File, "0.log".to_owned())], 1);
        let mut deaf = Disk::default();
        deaf.add_rule(Rule::new(SyncKind::Directory, "", Missing::Every));
        file(&mut deaf, "a", b"x");
        deaf.sync_directory(ROOT).expect("sync");
        assert_eq!(names(&cut(&deaf)), Vec::<&str>::new());
    }

    #[test]
    fn one_missing_sync_is_not_made_up_for() {
        let mut disk = Disk::default();
        let ino = disk.create(ROOT, "a", false).expect("create").ino;
        disk.sync_directory(ROOT).expect("sync");
        let second = Missing::These { nth: 1, count: 1 };
        disk.add_rule(Rule::new(SyncKind::File, "/a", second));
        for bytes in [b"1", b"2"] {
            assert!(!disk.is_frozen());
            disk.write(ino, 0, bytes).expect("write");
            disk.sync_file(ino).expect("sync");
        }
        disk.sync_file(ino).expect("answered by nobody");
        assert!(disk.is_frozen(), "what would do its work comes too late");
        let (mut after, report) = disk.after_cut(Plan::lost());
        assert_eq!(
            (bytes(&after, "a"), report.syncs_ignored),
            (b"1".to_vec(), 1)
        );
        for _ in 0..3 {
            after.sync_file(ino).expect("sync");
        }
        assert!(!after.is_frozen(), "the rule ended with the power");
        after.add_rule(Rule::new(SyncKind::Directory, "/", Missing::Freeze(0)));
        after.sync_file(ino).expect("sync");
        assert!(!after.is_frozen());
        after.sync_directory(ROOT).expect("sync");
        assert!(after.is_frozen());
    }

    #[test]
    fn chosen_ruin_is_as_chosen() {
        let mut disk = Disk::default();
        let ino = file(&mut disk, "a", &[1; 5000]);
        file(&mut disk, "b", b"x");
        let fate = |disk: &Disk, fate, entries| {
            let plan = Plan {
                seed: 0,
                data: Some(fate),
                entries: Some(entries),
            };
            disk.after_cut(plan).0
        };
        let hollow = fate(&disk, Fate::Hollow, Entries::Only("a"));
        assert_eq!(
            (names(&hollow), bytes(&hollow, "a")),
            (vec!["a"], vec![0; 5000])
        );
        let begun = fate(&disk, Fate::FirstPages(1), Entries::Kept);
        assert_eq!(
            (bytes(&begun, "a"), bytes(&begun, "b")),
            (vec![1; 4096], b"x".to_vec())
        );
        disk.resize(ino, 10).expect("truncate");
        disk.write(ino, 10, &[2; 5]).expect("write");
        let back = fate(&disk, Fate::Untruncated, Entries::Kept);
        assert_eq!(
            bytes(&back, "a"),
            [1; 5000],
            "the truncate and what followed is lost"
        );
    }

    /// Every state that a name may be found in after a cut, over many seeds.
    fn outcomes(
        disk: &Disk,
        entries: Option<Entries>,
        see: impl Fn(&Disk) -> String,
    ) -> BTreeSet<String> {
        (0..200)
            .map(|seed| {
                see(&disk
                    .after_cut(Plan {
                        seed,
                        data: Some(Fate::Kept),
                        entries,
                    })
                    .0)
            })
            .collect()
    }

    #[test]
    fn names_are_lost_apart_but_each_in_its_order() {
        let mut disk = Disk::default();
        file(&mut disk, "a", b"1");
        file(&mut disk, "b", b"2");
        disk.rename(ROOT, "a", ROOT, "c").expect("rename");
        let see = |d: &Disk| names(d).join("");
        let subset = outcomes(&disk, Some(Entries::Subset), see);
        assert_eq!(
            subset,
            ["", "a", "ab", "b", "bc", "c"].map(String::from).into(),
            "never a and c together, never c without a's create"
        );
        let prefix = outcomes(&disk, Some(Entries::Prefix), see);
        assert_eq!(prefix, ["", "a", "ab", "bc"].map(String::from).into());
        assert_eq!(
            outcomes(&disk, Some(Entries::Lost), see),
            [String::new()].into()
        );
        assert_eq!(
            outcomes(&disk, Some(Entries::Kept), see),
            ["bc".to_owned()].into()
        );
        assert_eq!(outcomes(&disk, None, see), subset);
    }

    #[test]
    fn files_are_lost_kept_and_torn_by_the_seed_alone() {
        let mut disk = Disk::default();
        let ino = file(&mut disk, "a", &[1; 8192]);
        disk.sync_all();
        disk.write(ino, 0, &[2; 8192]).expect("write");
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        for seed in 0..100 {
            let (after, report) = disk.after_cut(Plan::drawn(seed));
            assert_eq!(
                after.read(ino, 0, 8192),
                disk.after_cut(Plan::drawn(seed)).0.read(ino, 0, 8192),
                "the same seed, the same ruin"
            );
            let found = after.read(ino, 0, 8192).expect("read");
            assert!(
                found
                    .chunks(512)
                    .all(|sector| sector.iter().all(|b| *b == sector[0])),
                "a sector is old or new"
            );
            let new = found.iter().filter(|b| **b == 2).count();
            assert_eq!(report.files_changed, usize::from(new != 8192));
            seen.insert(new);
        }
        assert!(
            seen.contains(&0) && seen.contains(&8192) && seen.contains(&4096),
            "lost, kept, torn by page: {seen:?}"
        );
        assert!(
            seen.iter().any(|n| n % 4096 != 0),
            "torn by sector: {seen:?}"
        );
    }

    #[test]
    fn a_cut_disk_is_durable_as_it_is() {
        let mut disk = Disk::default();
        let ino = file(&mut disk, "a", &[1; 700]);
        disk.sync_directory(ROOT).expect("sync");
        disk.resize(ino, 600).expect("resize");
        let (after, _) = disk.after_cut(Plan::drawn(5));
        let (again, report) = after.after_cut(Plan::lost());
        assert_eq!(bytes(&after, "a"), bytes(&again, "a"));
        assert_eq!(report, CutReport::default());
    }

    #[test]
    fn paths_follow_renames() {
        let mut disk = Disk::default();
        let directory = disk.create(ROOT, "t-0", true).expect("mkdir").ino;
        let ino = disk.create(directory, "x.tmp", false).expect("create").ino;
        disk.rename(directory, "x.tmp", directory, "x")
            .expect("rename");
        assert_eq!(disk.path(ino), "t-0/x");
        assert_eq!(disk.path(ROOT), "");
    }
}
