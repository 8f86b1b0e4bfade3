//! The simulated disk: the suite that every disk passes, and what only a simulated one can show.

#![allow(clippy::disallowed_macros)] // a failure names its case and seed

use std::collections::BTreeSet;

use bytes::Bytes;
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskError, DiskOp, Name, Parts};
use trialog_sim::choice::Choices;
use trialog_sim::disk::conformance::{
    BoundedDevice, CASES, Device, POWER_CASES, PoweredDevice, ROOM_CASES,
};
use trialog_sim::disk::{Cut, Disk, Place};

struct Simulated {
    disk: Disk,
    choices: Choices,
}

impl Simulated {
    fn new(seed: u64) -> (Simulated, DirId) {
        let mut disk = Disk::new(1);
        let root = disk.open_roots()[0];
        let choices = Choices::new(seed);
        (Simulated { disk, choices }, root)
    }
}

impl Device for Simulated {
    fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        let id = self.disk.submit(op).expect("the suite keeps the contract");
        self.disk.complete(id)
    }
}

impl PoweredDevice for Simulated {
    fn power_cut(&mut self) -> DirId {
        self.disk.power_cut(&mut self.choices, Cut::Drawn);
        self.disk.open_roots()[0]
    }
}

#[test]
fn the_simulated_disk_conforms() {
    for (name, case) in CASES {
        println!("{name}");
        let (mut device, root) = Simulated::new(1);
        case(&mut device, root);
    }
}

impl BoundedDevice for Simulated {
    fn set_room(&mut self, bytes: Option<u64>) {
        self.disk.set_room(bytes);
    }
}

#[test]
fn the_simulated_disk_conforms_when_it_is_full() {
    for (name, case) in ROOM_CASES {
        println!("{name}");
        let (mut device, root) = Simulated::new(1);
        case(&mut device, root);
    }
}

#[test]
fn the_simulated_disk_conforms_through_power_cuts() {
    for seed in 0..200 {
        for (name, case) in POWER_CASES {
            println!("{name}, seed {seed}");
            let (mut device, root) = Simulated::new(seed);
            case(&mut device, root);
        }
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn write(file: u64, at: u64, bytes: Vec<u8>) -> DiskOp {
    DiskOp::Write {
        file: FileId(file),
        at,
        data: Parts::from(bytes),
    }
}

/// One synced file `a` of `len` bytes of 1, its entry durable.
fn with_synced_file(device: &mut Simulated, root: DirId, len: usize) {
    let create = DiskOp::Create {
        dir: root,
        name: name("a"),
        file: FileId(1),
    };
    device.run(create).expect("create");
    device.run(write(1, 0, vec![1; len])).expect("write");
    let sync = DiskOp::Sync {
        root,
        files: vec![FileId(1)],
    };
    device.run(sync).expect("sync");
    device.run(DiskOp::SyncDir { dir: root }).expect("sync dir");
}

#[test]
fn unsynced_bytes_are_lost_kept_torn_and_reordered() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let (mut device, root) = Simulated::new(seed);
        with_synced_file(&mut device, root, 1024);
        device.run(write(1, 1024, vec![2; 1024])).expect("write");
        device.run(write(1, 2048, vec![3; 1024])).expect("write");
        device.power_cut();
        let content = device
            .disk
            .content(0, &[], "a")
            .expect("its entry is durable");
        assert!(content.len() >= 1024 && content[..1024].iter().all(|byte| *byte == 1));
        let sector = |nth: usize| match content.get(nth * 512) {
            None => '-',
            Some(byte) => char::from(b'0' + *byte),
        };
        seen.insert((2..6).map(sector).collect::<String>());
    }
    for wanted in ["----", "2233", "22--", "0033", "2000", "0203"] {
        assert!(seen.contains(wanted), "never {wanted}: {seen:?}");
    }
}

#[test]
fn a_sync_covers_what_completed_before_it_was_issued() {
    let mut survived = 0;
    for seed in 0..100 {
        let (mut device, root) = Simulated::new(seed);
        with_synced_file(&mut device, root, 10);
        let early = device.disk.submit(write(1, 10, vec![2; 10])).expect("open");
        device.disk.complete(early).expect("write");
        let late = device.disk.submit(write(1, 20, vec![3; 10])).expect("open");
        let sync = DiskOp::Sync {
            root,
            files: vec![FileId(1)],
        };
        let sync = device.disk.submit(sync).expect("open");
        device.disk.complete(late).expect("write");
        device.disk.complete(sync).expect("sync");
        device.power_cut();
        let content = device.disk.content(0, &[], "a").expect("durable");
        assert_eq!(content[10..20], [2; 10]);
        survived += usize::from(content.len() == 30 && content[20..] == [3; 10]);
    }
    assert!((10..90).contains(&survived), "{survived} of 100");
}

#[test]
fn entries_are_volatile_until_their_directory_is_synced() {
    let mut there = 0;
    for seed in 0..100 {
        let (mut device, root) = Simulated::new(seed);
        with_synced_file(&mut device, root, 10);
        let create = DiskOp::Create {
            dir: root,
            name: name("b"),
            file: FileId(2),
        };
        device.run(create).expect("create");
        device.run(write(2, 0, vec![5; 10])).expect("write");
        let sync = DiskOp::Sync {
            root,
            files: vec![FileId(2)],
        };
        device.run(sync).expect("sync");
        device.power_cut();
        there += usize::from(device.disk.content(0, &[], "b").is_some());
        assert!(device.disk.content(0, &[], "a").is_some());
    }
    assert!((10..90).contains(&there), "{there} of 100");
}

#[test]
fn a_sync_of_a_directory_covers_what_took_effect_before_it_was_issued() {
    let lost = (0..100).any(|seed| {
        let (mut device, root) = Simulated::new(seed);
        let create = DiskOp::Create {
            dir: root,
            name: name("a"),
            file: FileId(1),
        };
        let create = device.disk.submit(create).expect("open");
        let sync = device
            .disk
            .submit(DiskOp::SyncDir { dir: root })
            .expect("open");
        device.disk.complete(create).expect("create");
        device.disk.complete(sync).expect("sync");
        device.power_cut();
        device.disk.content(0, &[], "a").is_none()
    });
    assert!(lost, "an entry that was in flight is not covered");
}

#[test]
fn a_durable_entry_that_is_renamed_has_one_name_after_a_cut() {
    let mut names = BTreeSet::new();
    for seed in 0..200 {
        let (mut device, root) = Simulated::new(seed);
        with_synced_file(&mut device, root, 10);
        let rename = DiskOp::Rename {
            dir: root,
            from: name("a"),
            to: name("b"),
        };
        device.run(rename).expect("rename");
        device.power_cut();
        let now = device.disk.list(0, &[]).expect("the root");
        assert_eq!(now.len(), 1, "{now:?}");
        names.extend(now);
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn entries_take_effect_in_order_whatever_completes_first() {
    let (mut device, root) = Simulated::new(1);
    let disk = &mut device.disk;
    let create = |at: &str, file| DiskOp::Create {
        dir: root,
        name: name(at),
        file: FileId(file),
    };
    let first = disk.submit(create("tmp", 1)).expect("open");
    let rename = DiskOp::Rename {
        dir: root,
        from: name("tmp"),
        to: name("final"),
    };
    let second = disk.submit(rename).expect("open");
    let third = disk.submit(create("tmp", 2)).expect("open");
    assert_eq!(disk.complete(third), Ok(DiskDone::Done));
    assert_eq!(disk.list(0, &[]).expect("the root"), ["final", "tmp"]);
    assert_eq!(disk.complete(first), Ok(DiskDone::Done));
    assert_eq!(disk.complete(second), Ok(DiskDone::Done));
}

#[test]
fn a_killed_process_leaves_the_page_cache() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let (mut device, root) = Simulated::new(seed);
        with_synced_file(&mut device, root, 10);
        device.run(write(1, 10, vec![2; 10])).expect("write");
        let flight = write(1, 20, vec![3; 20_000]);
        device.disk.submit(flight).expect("open");
        device.disk.crash(&mut device.choices);
        let content = device.disk.content(0, &[], "a").expect("durable");
        assert_eq!(content[10..20], [2; 10]);
        lengths.insert(content.len());
    }
    assert!(lengths.contains(&20) && lengths.contains(&20_020));
    assert!(lengths.len() > 2, "never a part: {lengths:?}");
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let (mut device, root) = Simulated::new(1);
    with_synced_file(&mut device, root, 10);
    device.disk.set_full(true);
    assert_eq!(device.run(write(1, 10, vec![1])), Err(DiskError::Full));
    assert_eq!(device.run(write(1, 9, vec![1])), Ok(DiskDone::Written));
    let create = DiskOp::Create {
        dir: root,
        name: name("b"),
        file: FileId(2),
    };
    assert_eq!(device.run(create), Err(DiskError::Full));
    let read = DiskOp::Read {
        file: FileId(1),
        at: 0,
        len: 1,
    };
    assert_eq!(
        device.run(read),
        Ok(DiskDone::Read(Bytes::from_static(&[1])))
    );
}

#[test]
fn decay_strikes_its_sectors_only_and_outlives_the_process() {
    let (mut device, _) = Simulated::new(1);
    let (disk, dir) = (&mut device.disk, name("d"));
    for (file, byte) in [("a", 1), ("b", 2)] {
        disk.install(0, Some(&dir), &name(file), &[byte; 1600]);
    }
    disk.spoil(0, &["d"], "a", 600);
    let place = |name, at| Place {
        root: 0,
        dir: "d",
        name,
        at,
    };
    disk.misdirect(&place("b", 1599), &place("a", 1100));
    device.power_cut();
    device.power_cut();
    let content = |file| device.disk.content(0, &["d"], file).expect("there");
    let (a, b) = (content("a").to_vec(), content("b").to_vec());
    assert!(a[..1024].iter().all(|byte| *byte == 1));
    assert_eq!(a[1024..], [[2; 64].as_slice(), &[1; 512]].concat());
    assert_eq!(b, [[2; 1536].as_slice(), &[0; 64]].concat());
    let root = device.disk.open_roots()[0];
    let (sub, file) = (DirId(50), FileId(50));
    let parent = root;
    device
        .run(DiskOp::OpenDir {
            parent,
            name: dir,
            dir: sub,
        })
        .expect("opened");
    device
        .run(DiskOp::Open {
            dir: sub,
            name: name("a"),
            file,
        })
        .expect("opened");
    for (at, len, readable) in [
        (0, 512, true),
        (0, 513, false),
        (1023, 1, false),
        (1024, 9000, true),
    ] {
        let read = device.run(DiskOp::Read { file, at, len });
        assert_eq!(read.is_ok(), readable, "{len} bytes at {at}");
    }
}

#[test]
fn ids_that_are_not_open_break_the_contract() {
    let (mut device, root) = Simulated::new(1);
    with_synced_file(&mut device, root, 10);
    let disk = &mut device.disk;
    assert!(disk.submit(write(9, 0, vec![1])).is_err());
    assert!(disk.submit(DiskOp::SyncDir { dir: DirId(9) }).is_err());
    let twice = DiskOp::Sync {
        root,
        files: vec![FileId(1), FileId(1)],
    };
    assert!(disk.submit(twice).is_err());
    disk.crash(&mut device.choices);
    disk.open_roots();
    assert!(disk.submit(write(1, 0, vec![1])).is_err());
}
