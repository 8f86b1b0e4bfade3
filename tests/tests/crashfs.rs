//! The crash file system through the kernel: what system calls make durable, and what a cut leaves of the rest.
#![cfg(not(madsim))]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;
use trialog_tests::crashfs::{CrashFs, Plan, SyncKind};

fn mounted() -> CrashFs {
    CrashFs::mount().expect("the crash file system mounts: /dev/fuse and fusermount3")
}

fn sync_directory(fs: &CrashFs, below: &str) {
    File::open(fs.path().join(below))
        .and_then(|d| d.sync_all())
        .expect("sync a directory");
}

fn lose(fs: &mut CrashFs) {
    fs.power_cut(Plan::lost(), || ()).expect("cut");
}

#[test]
fn it_is_a_file_system() {
    let fs = mounted();
    let path = fs.path();
    fs::create_dir_all(path.join("a/b")).expect("directories");
    fs::write(path.join("a/b/f"), vec![7; 3_000_000]).expect("a large file");
    assert_eq!(
        fs::read(path.join("a/b/f")).expect("read"),
        vec![7; 3_000_000]
    );
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join("a/b/f"))
        .expect("open");
    file.set_len(10).expect("truncate");
    file.write_all_at(b"xy", 20).expect("write");
    file.seek(SeekFrom::Start(8)).expect("seek");
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).expect("read");
    assert_eq!(tail, b"\x07\x07\0\0\0\0\0\0\0\0\0\0xy");
    fs::rename(path.join("a/b/f"), path.join("g")).expect("rename");
    assert!(fs::remove_dir(path.join("a")).is_err());
    fs::remove_dir_all(path.join("a")).expect("remove a tree");
    for n in 0..500 {
        File::create(path.join(format!("many-{n}"))).expect("create");
    }
    assert_eq!(fs::read_dir(&path).expect("list").count(), 501);
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path.join("g"))
        .expect("O_TRUNC");
    assert_eq!(fs::metadata(path.join("g")).expect("stat").len(), 0);
}

#[test]
fn only_what_was_synced_survives() {
    let mut fs = mounted();
    let file = File::create(fs.path().join("f")).expect("create");
    file.write_all_at(&[1; 5000], 0).expect("write");
    file.sync_data().expect("fdatasync");
    file.write_all_at(&[2; 5000], 5000).expect("write");
    let lost = File::create(fs.path().join("lost")).expect("create");
    lost.sync_all().expect("fsync");
    drop((file, lost));
    fs::create_dir(fs.path().join("d")).expect("mkdir");
    assert_eq!(
        fs.syncs()
            .iter()
            .map(|((k, p), n)| (*k, p.as_str(), *n))
            .collect::<Vec<_>>(),
        [(SyncKind::File, "f", 1), (SyncKind::File, "lost", 1)]
    );
    lose(&mut fs);
    assert_eq!(
        fs::read_dir(fs.path()).expect("list").count(),
        0,
        "no name was synced"
    );

    let file = File::create(fs.path().join("f")).expect("create");
    sync_directory(&fs, "");
    file.write_all_at(&[1; 5000], 0).expect("write");
    file.sync_data().expect("fdatasync");
    file.write_all_at(&[2; 5000], 5000).expect("write");
    drop(file);
    lose(&mut fs);
    assert_eq!(fs::read(fs.path().join("f")).expect("read"), vec![1; 5000]);
    assert_eq!(fs.cuts(), 2);
}

#[test]
fn an_atomic_replace_needs_its_three_syncs() {
    let replace = |fs: &CrashFs, ignored: Option<(SyncKind, &str)>| {
        fs::write(fs.path().join("c"), b"old").expect("write");
        File::open(fs.path().join("c"))
            .and_then(|f| f.sync_all())
            .expect("fsync");
        sync_directory(fs, "");
        if let Some((kind, suffix)) = ignored {
            fs.ignore(kind, suffix);
        }
        let mut file = File::create(fs.path().join("c.tmp")).expect("create");
        file.write_all(b"new").expect("write");
        file.sync_all().expect("fsync");
        fs::rename(fs.path().join("c.tmp"), fs.path().join("c")).expect("rename");
        sync_directory(fs, "");
    };
    let after = |ignored| {
        let mut fs = mounted();
        replace(&fs, ignored);
        lose(&mut fs);
        fs::read(fs.path().join("c")).expect("read")
    };
    assert_eq!(after(None), b"new");
    assert_eq!(
        after(Some((SyncKind::File, ".tmp"))),
        b"",
        "the sync before the rename"
    );
    assert_eq!(
        after(Some((SyncKind::Directory, ""))),
        b"old",
        "the sync of the directory"
    );
}

#[test]
fn shared_memory_maps_are_synced_with_their_file() {
    use std::os::fd::AsRawFd;
    let mut fs = mounted();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(fs.path().join("m"))
        .expect("create");
    file.set_len(8192).expect("extend");
    sync_directory(&fs, "");
    // In a process of its own: who waits for the write-back of a map holds up its whole address space, and here that is the file system's.
    // SAFETY: the child makes system calls only, and uses a fresh shared map of an open file inside its bounds until it is unmapped.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            let map = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            if map == libc::MAP_FAILED {
                libc::_exit(1);
            }
            map.cast::<u8>().add(5000).write(9);
            let synced = libc::msync(map, 8192, libc::MS_SYNC);
            map.cast::<u8>().add(5001).write(9);
            libc::munmap(map, 8192);
            libc::_exit(synced);
        }
        child
    };
    let mut status = -1;
    // SAFETY: the child is ours, and the status outlives the call.
    let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(
        (reaped, status),
        (child, 0),
        "{}",
        std::io::Error::last_os_error()
    );
    drop(file);
    lose(&mut fs);
    let bytes = fs::read(fs.path().join("m")).expect("read");
    assert_eq!((bytes.len(), bytes[5000], bytes[5001]), (8192, 9, 0));
}

#[test]
fn a_cut_strikes_between_two_operations() {
    for held in 1..6 {
        let mut fs = mounted();
        let file = File::create(fs.path().join("f")).expect("create");
        sync_directory(&fs, "");
        fs.hold_after(held);
        let writer = std::thread::spawn(move || {
            for n in 0..3u8 {
                file.write_all_at(&[n + 1], u64::from(n))?;
                file.sync_data()?;
            }
            std::io::Result::Ok(())
        });
        assert!(fs.held(Duration::from_secs(10)));
        let join = || {
            assert!(
                writer.join().expect("the writer returns").is_err(),
                "the writer was stopped in its middle"
            )
        };
        fs.power_cut(Plan::lost(), join).expect("cut");
        let left = fs::read(fs.path().join("f")).expect("read");
        assert_eq!(
            left,
            [1, 2, 3][..held as usize / 2],
            "held after {held} of write, sync, write, sync, …"
        );
    }
}

#[test]
fn drawn_cuts_tear_files_differently() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let mut fs = mounted();
        let file = File::create(fs.path().join("f")).expect("create");
        file.write_all_at(&[1; 4096], 0).expect("write");
        file.sync_all().expect("fsync");
        sync_directory(&fs, "");
        file.write_all_at(&[2; 4096], 0).expect("write");
        drop(file);
        let report = fs.power_cut(Plan::drawn(seed), || ()).expect("cut");
        assert_eq!(report.files_dirty, 1);
        seen.insert(
            fs::read(fs.path().join("f"))
                .expect("read")
                .iter()
                .filter(|b| **b == 2)
                .count(),
        );
    }
    assert!(seen.len() >= 3, "{seen:?}");
}
