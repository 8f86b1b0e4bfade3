//! The suite of I/O semantics of the simulator, on the real files of the driver: what the simulated disk is calibrated against.
#![cfg(not(madsim))]

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use trialog_core::ids::DirId;
use trialog_core::io::{DiskDone, DiskError, DiskOp, Room, Token};
use trialog_net::disk::Disk;
use trialog_net::disk::files::FileDisk;
use trialog_sim::disk::conformance::{BoundedDevice, CASES, Device, ROOM_CASES};
use trialog_tests::crashfs::CrashFs;

const ROOT: DirId = DirId(0);

/// The driver's disk, one operation at a time.
struct Real {
    disk: FileDisk,
    runtime: tokio::runtime::Runtime,
    next: u32,
}

impl Device for Real {
    fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        self.next += 1;
        let token = Token {
            room: Room::Log,
            slot: self.next,
            generation: 0,
        };
        let disk = &mut self.disk;
        self.runtime.block_on(async {
            let mut done = Vec::new();
            disk.submit(&mut vec![(token, op)], &mut done);
            if done.is_empty() {
                let answered = poll_fn(|cx| disk.poll(cx, &mut done));
                tokio::time::timeout(Duration::from_secs(10), answered)
                    .await
                    .expect("every operation completes");
            }
            assert_eq!(done.len(), 1, "one completion");
            let (answered, result) = done.remove(0);
            assert_eq!(answered, token);
            result
        })
    }
}

impl Real {
    fn open(home: &Path) -> Real {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Real {
            disk: FileDisk::open(&[(ROOT, home.to_owned())]).expect("it opens"),
            runtime,
            next: 0,
        }
    }
}

/// The driver's disk on a file system that can be full.
struct Bounded {
    real: Real,
    fs: CrashFs,
}

impl Device for Bounded {
    fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        self.real.run(op)
    }
}

impl BoundedDevice for Bounded {
    fn set_room(&mut self, bytes: Option<u64>) {
        self.fs.set_room(bytes);
    }
}

#[test]
fn real_files_pass_the_suite_of_the_simulated_disk() {
    for (name, case) in CASES {
        println!("{name}");
        let home = tempfile::tempdir().expect("a directory");
        case(&mut Real::open(home.path()), ROOT);
    }
}

#[test]
fn real_files_pass_the_suite_of_a_full_disk() {
    for (name, case) in ROOM_CASES {
        println!("{name}");
        let fs = CrashFs::mount().expect("the crash file system mounts: /dev/fuse and fusermount3");
        let real = Real::open(&fs.path());
        case(&mut Bounded { real, fs }, ROOT);
    }
}
