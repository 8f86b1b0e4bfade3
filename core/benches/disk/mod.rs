//! A node's surroundings in the benchmarks: a disk that keeps small files whole, and of large ones the beginning; what it boots from.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use trialog_core::config::Config;
use trialog_core::format::Format;
use trialog_core::ids::{DirId, FileId, Uuid};
use trialog_core::io::{Boot, DiskDone, DiskError, DiskOp, Entry, ListenerBoot, LogDirBoot, Name};

/// The log directories: how the node knows them, what it calls them, where they are here.
const ROOTS: [(DirId, &str, &str); 2] = [(DirId(1), "/d", ""), (DirId(2), "/e", "e")];

/// So many bytes of a file are kept.
const KEPT: u64 = 32 << 20;

/// A directory's path and the name in it.
type Place = (String, String);

/// Directories and files by path; nothing is ever lost.
#[derive(Default)]
pub struct Disk {
    /// Paths of the open directories.
    pub dirs: BTreeMap<DirId, String>,
    /// Places of the open files.
    pub files: BTreeMap<FileId, Place>,
    /// Content of files; `None`: a directory.
    pub entries: BTreeMap<Place, Option<Vec<u8>>>,
    /// Files of more than 64 KiB lose what is beyond.
    pub forgetful: bool,
    /// The second log directory can be written no more.
    pub second_fails: bool,
}

/// What a node of `config` boots from.
pub fn boot(config: &Config) -> Boot {
    let roots = ROOTS.iter().take(config.log_dirs().len());
    Boot {
        boot_id: [1; 16],
        log_dirs: roots
            .map(|(dir, path, _)| LogDirBoot {
                dir: *dir,
                path: (*path).to_owned(),
            })
            .collect(),
        listeners: vec![ListenerBoot {
            name: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
        }],
    }
}

impl Disk {
    /// A disk that is formatted for `config`.
    pub fn formatted(config: &Config) -> Disk {
        let mut disk = Disk::default();
        let ids = [Uuid([9; 16]), Uuid([10; 16])];
        let ids = &ids[..config.log_dirs().len()];
        let format = Format::new(config, "AAAAAAAAQACAAAAAAAAAAQ", ids);
        let files = format.files().expect("a good format");
        for ((_, _, root), files) in ROOTS.iter().zip(files) {
            for file in files {
                let place = ((*root).to_owned(), file.name.to_string());
                disk.entries.insert(place, Some(file.content.to_vec()));
            }
        }
        disk.close_all();
        disk
    }

    /// The process has ended: nothing is open but the log directories.
    pub fn close_all(&mut self) {
        self.dirs = ROOTS
            .iter()
            .map(|(dir, _, root)| (*dir, (*root).to_owned()))
            .collect();
        self.files.clear();
    }

    fn place(&self, dir: DirId, name: &Name) -> Place {
        (self.dirs[&dir].clone(), name.to_string())
    }

    fn path(&self, dir: DirId, name: &Name) -> String {
        format!("{}/{name}", self.dirs[&dir])
    }

    /// Carries an operation out.
    pub fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        match op {
            DiskOp::MakeDir { parent, name, dir } => {
                let place = self.place(parent, &name);
                self.entries.insert(place, None);
                let path = self.path(parent, &name);
                self.dirs.insert(dir, path);
            }
            DiskOp::OpenDir { parent, name, dir } => {
                if !self.entries.contains_key(&self.place(parent, &name)) {
                    return Err(DiskError::NotFound);
                }
                let path = self.path(parent, &name);
                self.dirs.insert(dir, path);
            }
            DiskOp::List { dir, after, limit } => {
                let path = self.dirs[&dir].clone();
                let after = after.map_or(String::new(), |name| name.to_string());
                let from = Bound::Excluded((path.clone(), after));
                let rest = self.entries.range((from, Bound::Unbounded));
                let mut here = rest.take_while(|((dir, _), _)| *dir == path);
                let entry = |((_, name), content): (&Place, &Option<Vec<u8>>)| {
                    let len = content.as_ref().map_or(0, |content| content.len() as u64);
                    let dir = content.is_none();
                    Name::new(name.clone()).map(|name| Entry { name, dir, len })
                };
                let page = here.by_ref().take(limit as usize);
                let entries = page.filter_map(entry).collect();
                let more = here.next().is_some();
                return Ok(DiskDone::Listed { entries, more });
            }
            DiskOp::Create { dir, name, file } => {
                let place = self.place(dir, &name);
                self.entries.insert(place.clone(), Some(Vec::new()));
                self.files.insert(file, place);
            }
            DiskOp::Open { dir, name, file } => {
                let place = self.place(dir, &name);
                let Some(Some(content)) = self.entries.get(&place) else {
                    return Err(DiskError::NotFound);
                };
                let len = content.len() as u64;
                self.files.insert(file, place);
                return Ok(DiskDone::Opened { len });
            }
            DiskOp::Rename { dir, from, to } => {
                let (from, to) = (self.place(dir, &from), self.place(dir, &to));
                let content = self.entries.remove(&from).ok_or(DiskError::NotFound)?;
                if content.is_none() {
                    self.move_dir(
                        &format!("{}/{}", from.0, from.1),
                        &format!("{}/{}", to.0, to.1),
                    );
                }
                self.entries.insert(to, content);
            }
            DiskOp::Unlink { dir, name } => {
                let place = self.place(dir, &name);
                self.entries.remove(&place).ok_or(DiskError::NotFound)?;
            }
            DiskOp::Write { file, .. }
                if self.second_fails && self.files[&file].0.starts_with('e') =>
            {
                return Err(DiskError::Failed);
            }
            DiskOp::Write { file, at, data } => {
                let most = if self.forgetful { 65_536 } else { KEPT };
                let content = self.entries.get_mut(&self.files[&file]);
                if let Some(Some(content)) = content.filter(|_| at < most) {
                    let end = at as usize + data.len();
                    content.resize(content.len().max(end), 0);
                    content[at as usize..end].copy_from_slice(&data.to_bytes());
                }
                return Ok(DiskDone::Written);
            }
            DiskOp::Read { file, at, len } => {
                let Some(Some(content)) = self.entries.get(&self.files[&file]) else {
                    return Err(DiskError::Failed);
                };
                let from = content.len().min(at as usize);
                let to = content.len().min(from + len as usize);
                return Ok(DiskDone::Read(Bytes::copy_from_slice(&content[from..to])));
            }
            DiskOp::Truncate { file, len } => {
                if let Some(Some(content)) = self.entries.get_mut(&self.files[&file]) {
                    content.resize(len as usize, 0);
                }
            }
            DiskOp::RemoveDir { parent, name } => {
                let place = self.place(parent, &name);
                self.entries.remove(&place).ok_or(DiskError::NotFound)?;
            }
            DiskOp::Sync { .. } | DiskOp::SyncDir { .. } => return Ok(DiskDone::Synced),
            DiskOp::CloseDir { .. } | DiskOp::Close { .. } | DiskOp::Allocate { .. } => {}
        }
        Ok(DiskDone::Done)
    }

    /// A directory has another name: its entries go with it, and ids follow.
    fn move_dir(&mut self, from: &str, to: &str) {
        let first = (from.to_owned(), String::new());
        let inside = self.entries.range(first..);
        let inside = inside.take_while(|((dir, _), _)| dir == from);
        let names: Vec<Place> = inside.map(|(place, _)| place.clone()).collect();
        for place in names {
            if let Some(content) = self.entries.remove(&place) {
                self.entries.insert((to.to_owned(), place.1), content);
            }
        }
        for path in self.dirs.values_mut().filter(|path| *path == from) {
            to.clone_into(path);
        }
        for place in self.files.values_mut().filter(|place| place.0 == from) {
            to.clone_into(&mut place.0);
        }
    }
}
