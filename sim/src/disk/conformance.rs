//! One suite of I/O semantics for every disk: the simulated one and those of the real drivers.
//!
//! Owns the cases; each is a story about one empty log directory and panics with what was wrong. What they say is what
//! [`trialog_core::io`] documents, so a driver that passes them keeps the boundary's contract as far as one process can
//! see, [`POWER_CASES`] say what it must keep through a power cut, and [`ROOM_CASES`] what it does when it is full.

use bytes::Bytes;
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskError, DiskOp, Entry, Name, Parts};

/// A disk under test: runs one operation to its end.
pub trait Device {
    /// Issues `op` and waits for its answer.
    fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError>;
}

/// A disk whose machine can lose power.
pub trait PoweredDevice: Device {
    /// Cuts the power, starts a new process, and names the log directory anew.
    fn power_cut(&mut self) -> DirId;
}

/// A disk that can be full.
pub trait BoundedDevice: Device {
    /// From now on so many bytes are left; `None`: more than enough.
    fn set_room(&mut self, bytes: Option<u64>);
}

/// A case over one empty directory.
pub type Case = fn(&mut dyn Device, DirId);
/// A case with a power cut in it.
pub type PowerCase = fn(&mut dyn PoweredDevice, DirId);
/// A case in which the disk is full.
pub type RoomCase = fn(&mut dyn BoundedDevice, DirId);

/// What one process sees.
pub const CASES: &[(&str, Case)] = &[
    ("a created file is empty and listed", created_is_listed),
    ("creating twice is refused", creating_twice),
    ("what is missing is not found", missing),
    ("bytes come back as written", bytes_come_back),
    ("a write of many slices is one range", many_slices),
    ("a write beyond the end leaves zeros", hole_is_zero),
    ("a read at the end is short", short_read),
    ("truncate cuts and grows with zeros", truncate),
    ("allocate keeps the length", allocate),
    ("rename replaces and ids follow", rename),
    ("rename moves a directory and ids follow", rename_dir),
    ("an unlinked file stays open", unlink_open),
    (
        "directories hold entries and must be empty to go",
        directories,
    ),
    ("pages are in byte order", paging),
    ("syncs answer synced", syncs),
    ("an id can be closed and the file opened again", reopen),
];

/// What survives.
pub const POWER_CASES: &[(&str, PowerCase)] = &[
    ("synced bytes and entries survive", synced_survives),
    ("a renamed file is old or new", rename_is_old_or_new),
    (
        "an unsynced overwrite leaves sectors old or new",
        sectors_old_or_new,
    ),
    ("a synced truncate survives", truncate_survives),
];

/// What a full disk does.
pub const ROOM_CASES: &[(&str, RoomCase)] = &[
    (
        "a full disk takes what does not grow",
        full_takes_what_stays,
    ),
    ("a full disk makes and reserves nothing", full_makes_nothing),
    (
        "a write leaves what has room, and finds the rest later",
        write_leaves_what_has_room,
    ),
];

/// A driver may keep the lock of a log directory in it.
const DRIVERS_LOCK: &str = ".lock";

fn name(text: &str) -> Name {
    Name::new(text).expect("the suite's names are names")
}

fn data(bytes: &[u8]) -> Parts {
    Parts::from(bytes.to_vec())
}

fn make_dir(parent: DirId, at: &str, dir: u64) -> DiskOp {
    DiskOp::MakeDir {
        parent,
        name: name(at),
        dir: DirId(dir),
    }
}

fn open_dir(parent: DirId, at: &str, dir: u64) -> DiskOp {
    DiskOp::OpenDir {
        parent,
        name: name(at),
        dir: DirId(dir),
    }
}

fn renamed(dir: DirId, from: &str, to: &str) -> DiskOp {
    DiskOp::Rename {
        dir,
        from: name(from),
        to: name(to),
    }
}

fn unlink(dir: DirId, at: &str) -> DiskOp {
    DiskOp::Unlink {
        dir,
        name: name(at),
    }
}

fn create(disk: &mut dyn Device, dir: DirId, at: &str, file: u64) {
    let op = DiskOp::Create {
        dir,
        name: name(at),
        file: FileId(file),
    };
    assert_eq!(disk.run(op), Ok(DiskDone::Done), "create {at}");
}

fn write(disk: &mut dyn Device, file: u64, at: u64, bytes: &[u8]) {
    let op = DiskOp::Write {
        file: FileId(file),
        at,
        data: data(bytes),
    };
    assert_eq!(disk.run(op), Ok(DiskDone::Written), "write at {at}");
}

fn read(disk: &mut dyn Device, file: u64, at: u64, len: u32) -> Bytes {
    match disk.run(DiskOp::Read {
        file: FileId(file),
        at,
        len,
    }) {
        Ok(DiskDone::Read(bytes)) => bytes,
        other => panic!("read at {at}: {other:?}"),
    }
}

fn open(disk: &mut dyn Device, dir: DirId, at: &str, file: u64) -> Result<u64, DiskError> {
    match disk.run(DiskOp::Open {
        dir,
        name: name(at),
        file: FileId(file),
    }) {
        Ok(DiskDone::Opened { len }) => Ok(len),
        Ok(other) => panic!("open {at}: {other:?}"),
        Err(error) => Err(error),
    }
}

fn list(disk: &mut dyn Device, dir: DirId, after: Option<&str>, limit: u32) -> (Vec<Entry>, bool) {
    match disk.run(DiskOp::List {
        dir,
        after: after.map(name),
        limit,
    }) {
        Ok(DiskDone::Listed { mut entries, more }) => {
            entries.retain(|entry| entry.name.as_str() != DRIVERS_LOCK);
            (entries, more)
        }
        other => panic!("list: {other:?}"),
    }
}

fn names(disk: &mut dyn Device, dir: DirId) -> Vec<String> {
    let (entries, _) = list(disk, dir, None, 1000);
    entries
        .into_iter()
        .map(|entry| entry.name.as_str().to_owned())
        .collect()
}

fn created_is_listed(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, b"four");
    let (entries, more) = list(disk, root, None, 10);
    let entry = Entry {
        name: name("a"),
        dir: false,
        len: 4,
    };
    assert_eq!((entries, more), (vec![entry], false));
}

fn creating_twice(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    let again = DiskOp::Create {
        dir: root,
        name: name("a"),
        file: FileId(2),
    };
    assert_eq!(disk.run(again), Err(DiskError::Exists));
    let as_dir = make_dir(root, "a", 100);
    assert_eq!(disk.run(as_dir), Err(DiskError::Exists));
}

fn missing(disk: &mut dyn Device, root: DirId) {
    assert_eq!(open(disk, root, "a", 1), Err(DiskError::NotFound));
    let gone = unlink(root, "a");
    assert_eq!(disk.run(gone), Err(DiskError::NotFound));
    let rename = renamed(root, "a", "b");
    assert_eq!(disk.run(rename), Err(DiskError::NotFound));
    let opened = open_dir(root, "a", 100);
    assert_eq!(disk.run(opened), Err(DiskError::NotFound));
    let remove = DiskOp::RemoveDir {
        parent: root,
        name: name("a"),
    };
    assert_eq!(disk.run(remove), Err(DiskError::NotFound));
}

fn bytes_come_back(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    let large: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    write(disk, 1, 0, &large);
    assert_eq!(read(disk, 1, 0, 100_000), large);
    write(disk, 1, 50_000, b"patch");
    assert_eq!(&read(disk, 1, 49_999, 7)[1..6], b"patch");
    assert_eq!(read(disk, 1, 0, 10), large[..10]);
}

fn many_slices(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    let mut parts = Parts::new();
    let mut whole = Vec::new();
    for n in 0..3000_u32 {
        let slice = n.to_be_bytes().to_vec();
        whole.extend_from_slice(&slice);
        parts.push(Bytes::from(slice));
    }
    let op = DiskOp::Write {
        file: FileId(1),
        at: 3,
        data: parts,
    };
    assert_eq!(disk.run(op), Ok(DiskDone::Written));
    assert_eq!(read(disk, 1, 3, 12_000), whole);
}

fn hole_is_zero(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 10, b"x");
    assert_eq!(&read(disk, 1, 0, 100)[..], b"\0\0\0\0\0\0\0\0\0\0x");
}

fn short_read(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, b"abc");
    assert_eq!(&read(disk, 1, 1, 10)[..], b"bc");
    assert_eq!(&read(disk, 1, 3, 10)[..], b"");
    assert_eq!(&read(disk, 1, 1000, 10)[..], b"");
}

fn truncate(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, b"abcdef");
    let cut = |len| DiskOp::Truncate {
        file: FileId(1),
        len,
    };
    assert_eq!(disk.run(cut(2)), Ok(DiskDone::Done));
    assert_eq!(&read(disk, 1, 0, 10)[..], b"ab");
    assert_eq!(disk.run(cut(4)), Ok(DiskDone::Done));
    assert_eq!(&read(disk, 1, 0, 10)[..], b"ab\0\0");
}

fn allocate(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, b"abc");
    let op = DiskOp::Allocate {
        file: FileId(1),
        len: 65_536,
    };
    assert_eq!(disk.run(op), Ok(DiskDone::Done));
    assert_eq!(&read(disk, 1, 0, 100)[..], b"abc");
    assert_eq!(list(disk, root, None, 10).0[0].len, 3);
}

fn rename(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "old", 1);
    write(disk, 1, 0, b"old");
    create(disk, root, "new", 2);
    write(disk, 2, 0, b"new");
    let op = renamed(root, "new", "old");
    assert_eq!(disk.run(op), Ok(DiskDone::Done));
    assert_eq!(names(disk, root), ["old"]);
    write(disk, 2, 3, b"er");
    assert_eq!(open(disk, root, "old", 3), Ok(5));
    assert_eq!(&read(disk, 3, 0, 10)[..], b"newer");
    assert_eq!(&read(disk, 1, 0, 10)[..], b"old");
}

fn rename_dir(disk: &mut dyn Device, root: DirId) {
    let make = make_dir(root, "t-0", 100);
    assert_eq!(disk.run(make), Ok(DiskDone::Done));
    create(disk, DirId(100), "inside", 1);
    let op = renamed(root, "t-0", "t-0.gone");
    assert_eq!(disk.run(op), Ok(DiskDone::Done));
    write(disk, 1, 0, b"x");
    create(disk, DirId(100), "later", 2);
    assert_eq!(names(disk, DirId(100)), ["inside", "later"]);
    assert_eq!(names(disk, root), ["t-0.gone"]);
}

fn unlink_open(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    let op = unlink(root, "a");
    assert_eq!(disk.run(op), Ok(DiskDone::Done));
    assert_eq!(names(disk, root), Vec::<String>::new());
    write(disk, 1, 0, b"still");
    assert_eq!(&read(disk, 1, 0, 10)[..], b"still");
    create(disk, root, "a", 2);
    assert_eq!(&read(disk, 2, 0, 10)[..], b"");
}

fn directories(disk: &mut dyn Device, root: DirId) {
    let make = make_dir(root, "d", 100);
    assert_eq!(disk.run(make), Ok(DiskDone::Done));
    create(disk, DirId(100), "a", 1);
    let (entries, _) = list(disk, root, None, 10);
    assert!(entries[0].dir && entries[0].len == 0, "{entries:?}");
    let open_again = open_dir(root, "d", 101);
    assert_eq!(disk.run(open_again), Ok(DiskDone::Done));
    assert_eq!(names(disk, DirId(101)), ["a"]);
    let remove = DiskOp::RemoveDir {
        parent: root,
        name: name("d"),
    };
    assert_eq!(disk.run(remove.clone()), Err(DiskError::NotEmpty));
    let gone = unlink(DirId(101), "a");
    assert_eq!(disk.run(gone), Ok(DiskDone::Done));
    assert_eq!(disk.run(remove), Ok(DiskDone::Done));
    assert_eq!(names(disk, root), Vec::<String>::new());
    for dir in [DirId(100), DirId(101)] {
        assert_eq!(disk.run(DiskOp::CloseDir { dir }), Ok(DiskDone::Done));
    }
}

fn paging(disk: &mut dyn Device, root: DirId) {
    for (file, at) in (1..).zip(["b", "a", "c", "B", "a.log", "ä"]) {
        create(disk, root, at, file);
    }
    let mut seen = Vec::new();
    loop {
        let after = seen.last().cloned();
        let (page, more) = list(disk, root, after.as_deref(), 2);
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|entry| entry.name.as_str().to_owned()));
        if !more {
            break;
        }
    }
    assert_eq!(seen, ["B", "a", "a.log", "b", "c", "ä"]);
    assert_eq!(list(disk, root, Some("c"), 1).0[0].name, name("ä"));
}

fn syncs(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    create(disk, root, "b", 2);
    write(disk, 1, 0, b"x");
    let both = DiskOp::Sync {
        root,
        files: vec![FileId(1), FileId(2)],
    };
    assert_eq!(disk.run(both), Ok(DiskDone::Synced));
    let none = DiskOp::Sync {
        root,
        files: Vec::new(),
    };
    assert_eq!(disk.run(none), Ok(DiskDone::Synced));
    assert_eq!(
        disk.run(DiskOp::SyncDir { dir: root }),
        Ok(DiskDone::Synced)
    );
}

fn reopen(disk: &mut dyn Device, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, b"abc");
    let close = DiskOp::Close { file: FileId(1) };
    assert_eq!(disk.run(close), Ok(DiskDone::Done));
    assert_eq!(open(disk, root, "a", 2), Ok(3));
    write(disk, 2, 3, b"d");
    assert_eq!(&read(disk, 2, 0, 10)[..], b"abcd");
}

fn sync(disk: &mut dyn Device, root: DirId, file: u64) {
    let op = DiskOp::Sync {
        root,
        files: vec![FileId(file)],
    };
    assert_eq!(disk.run(op), Ok(DiskDone::Synced));
}

fn synced_survives(disk: &mut dyn PoweredDevice, root: DirId) {
    let make = make_dir(root, "d", 100);
    assert_eq!(disk.run(make), Ok(DiskDone::Done));
    create(disk, DirId(100), "a", 1);
    write(disk, 1, 0, &[7; 5000]);
    sync(disk, root, 1);
    for dir in [root, DirId(100)] {
        assert_eq!(disk.run(DiskOp::SyncDir { dir }), Ok(DiskDone::Synced));
    }
    let root = disk.power_cut();
    let opened = open_dir(root, "d", 100);
    assert_eq!(disk.run(opened), Ok(DiskDone::Done));
    assert_eq!(open(disk, DirId(100), "a", 1), Ok(5000));
    assert_eq!(&read(disk, 1, 0, 5000)[..], &[7; 5000]);
}

fn rename_is_old_or_new(disk: &mut dyn PoweredDevice, root: DirId) {
    for (file, at) in [(1, "checkpoint"), (2, "checkpoint.tmp")] {
        create(disk, root, at, file);
        write(disk, file, 0, at.as_bytes());
        sync(disk, root, file);
    }
    assert_eq!(
        disk.run(DiskOp::SyncDir { dir: root }),
        Ok(DiskDone::Synced)
    );
    let rename = renamed(root, "checkpoint.tmp", "checkpoint");
    assert_eq!(disk.run(rename), Ok(DiskDone::Done));
    let root = disk.power_cut();
    let len = open(disk, root, "checkpoint", 3).expect("one of both is there");
    let content = read(disk, 3, 0, 100);
    assert_eq!(content.len() as u64, len);
    assert!(
        content == "checkpoint" || content == "checkpoint.tmp",
        "{content:?}"
    );
}

fn sectors_old_or_new(disk: &mut dyn PoweredDevice, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, &[1; 8192]);
    sync(disk, root, 1);
    assert_eq!(
        disk.run(DiskOp::SyncDir { dir: root }),
        Ok(DiskDone::Synced)
    );
    write(disk, 1, 0, &[2; 8192]);
    let root = disk.power_cut();
    assert_eq!(open(disk, root, "a", 1), Ok(8192));
    for sector in read(disk, 1, 0, 8192).chunks(512) {
        assert!(
            sector == [1; 512] || sector == [2; 512],
            "a sector is mixed"
        );
    }
}

fn truncate_survives(disk: &mut dyn PoweredDevice, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, &[1; 1000]);
    let cut = DiskOp::Truncate {
        file: FileId(1),
        len: 10,
    };
    assert_eq!(disk.run(cut), Ok(DiskDone::Done));
    sync(disk, root, 1);
    assert_eq!(
        disk.run(DiskOp::SyncDir { dir: root }),
        Ok(DiskDone::Synced)
    );
    let root = disk.power_cut();
    assert_eq!(open(disk, root, "a", 1), Ok(10));
}

fn try_write(disk: &mut dyn Device, at: u64, bytes: &[u8]) -> Result<DiskDone, DiskError> {
    disk.run(DiskOp::Write {
        file: FileId(1),
        at,
        data: data(bytes),
    })
}

fn full_takes_what_stays(disk: &mut dyn BoundedDevice, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, &[1; 5000]);
    create(disk, root, "b", 2);
    disk.set_room(Some(0));
    assert_eq!(try_write(disk, 5000, &[2; 100]), Err(DiskError::Full));
    write(disk, 1, 4990, &[3; 10]);
    sync(disk, root, 1);
    assert_eq!(
        &read(disk, 1, 4985, 100)[..],
        [[1; 5], [3; 5], [3; 5]].concat()
    );
    let cut = DiskOp::Truncate {
        file: FileId(1),
        len: 4000,
    };
    assert_eq!(disk.run(cut), Ok(DiskDone::Done));
    let rename = renamed(root, "a", "c");
    assert_eq!(disk.run(rename), Ok(DiskDone::Done));
    let gone = unlink(root, "b");
    assert_eq!(disk.run(gone), Ok(DiskDone::Done));
    let entries = DiskOp::SyncDir { dir: root };
    assert_eq!(disk.run(entries), Ok(DiskDone::Synced));
    assert_eq!(names(disk, root), ["c"]);
}

fn full_makes_nothing(disk: &mut dyn BoundedDevice, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, b"abc");
    disk.set_room(Some(0));
    let reserve = DiskOp::Allocate {
        file: FileId(1),
        len: 1 << 20,
    };
    assert_eq!(disk.run(reserve), Err(DiskError::Full));
    assert_eq!(list(disk, root, None, 10).0[0].len, 3);
    let made = DiskOp::Create {
        dir: root,
        name: name("b"),
        file: FileId(2),
    };
    assert_eq!(disk.run(made.clone()), Err(DiskError::Full));
    let directory = make_dir(root, "d", 100);
    assert_eq!(disk.run(directory), Err(DiskError::Full));
    assert_eq!(names(disk, root), ["a"]);
    disk.set_room(None);
    assert_eq!(disk.run(made), Ok(DiskDone::Done));
}

fn write_leaves_what_has_room(disk: &mut dyn BoundedDevice, root: DirId) {
    create(disk, root, "a", 1);
    write(disk, 1, 0, &[1; 5000]);
    disk.set_room(Some(4096));
    let wanted: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(try_write(disk, 5000, &wanted), Err(DiskError::Full));
    let left = read(disk, 1, 0, 100_000);
    assert_eq!(left[..5000], [1; 5000]);
    assert_eq!(
        left[5000..],
        wanted[..4096],
        "as much as there was room for"
    );
    // Nothing of it counts: who wrote it cuts it off, or writes it again.
    disk.set_room(None);
    write(disk, 1, 5000, &wanted);
    assert_eq!(read(disk, 1, 5000, 100_000), wanted);
}
