//! One suite for every disk: the words of [`trialog_core::io`], one scenario each.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskError, DiskOp, Name, Parts, Room, Token};

use super::files::{FileDisk, OpenError};
use super::memory::{MemoryDisk, Volume};
use super::{Completion, Disk};

const ROOT: DirId = DirId(0);

/// A disk and the tokens of what it has in flight.
struct Bench {
    disk: Box<dyn Disk>,
    tokens: u32,
}

impl Bench {
    /// Submits all of `ops` together and returns their results in the order of issue.
    async fn all(&mut self, ops: Vec<DiskOp>) -> Vec<Result<DiskDone, DiskError>> {
        let from = self.tokens;
        let mut batch: Vec<(Token, DiskOp)> = Vec::new();
        for op in ops {
            let token = Token {
                room: Room::Log,
                slot: self.tokens,
                generation: 0,
            };
            self.tokens += 1;
            batch.push((token, op));
        }
        let mut results: BTreeMap<u32, _> = BTreeMap::new();
        let mut done: Vec<Completion> = Vec::new();
        self.disk.submit(&mut batch, &mut done);
        assert!(batch.is_empty(), "every operation was taken");
        loop {
            for (token, result) in done.drain(..) {
                assert!(
                    results.insert(token.slot, result).is_none(),
                    "one completion each"
                );
            }
            if results.len() == (self.tokens - from) as usize {
                return results.into_values().collect();
            }
            let polled = poll_fn(|cx| self.disk.poll(cx, &mut done));
            tokio::time::timeout(Duration::from_secs(10), polled)
                .await
                .expect("every operation completes");
        }
    }

    async fn one(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        self.all(vec![op]).await.remove(0)
    }

    async fn create(&mut self, dir: DirId, name: &str, file: u64) -> FileId {
        let file = FileId(file);
        let name = self::name(name);
        assert_eq!(
            self.one(DiskOp::Create { dir, name, file }).await,
            Ok(DiskDone::Done)
        );
        file
    }

    async fn names(&mut self, dir: DirId) -> Vec<String> {
        let list = DiskOp::List {
            dir,
            after: None,
            limit: 100,
        };
        match self.one(list).await {
            Ok(DiskDone::Listed { entries, .. }) => entries
                .into_iter()
                .map(|entry| entry.name.to_string())
                .filter(|name| name != ".lock")
                .collect(),
            other => panic!("not a listing: {other:?}"),
        }
    }
}

fn name(name: &str) -> Name {
    Name::new(name).expect("a component")
}

fn write(file: FileId, at: u64, slices: &[&[u8]]) -> DiskOp {
    let mut data = Parts::new();
    for slice in slices {
        data.push(Bytes::copy_from_slice(slice));
    }
    DiskOp::Write { file, at, data }
}

fn read(file: FileId, at: u64, len: u32) -> DiskOp {
    DiskOp::Read { file, at, len }
}

fn bytes(content: &[u8]) -> Result<DiskDone, DiskError> {
    Ok(DiskDone::Read(Bytes::copy_from_slice(content)))
}

/// Runs a scenario on every disk.
async fn everywhere(scenario: impl AsyncFn(&mut Bench)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = FileDisk::open(&[(ROOT, dir.path().into())]).expect("the directory opens");
    let volume = Volume::default();
    let root = volume.root();
    let slowest = Duration::from_millis(2);
    let memory = MemoryDisk::new(volume.clone(), &[(ROOT, root)], 7, slowest);
    let disks: [Box<dyn Disk>; 2] = [Box::new(files), Box::new(memory)];
    for disk in disks {
        scenario(&mut Bench { disk, tokens: 0 }).await;
    }
}

#[tokio::test]
async fn writes_of_one_batch_land_where_they_belong() {
    everywhere(async |bench| {
        let a = bench.create(ROOT, "a", 1).await;
        let b = bench.create(ROOT, "b", 2).await;
        let results = bench
            .all(vec![
                write(a, 0, &[b"ab", b"c"]),
                write(a, 3, &[b"def"]),
                write(b, 4, &[b"late"]),
                write(a, 6, &[b"", b"g"]),
                write(a, 20, &[b"far"]),
                write(a, 30, &[]),
            ])
            .await;
        assert_eq!(results, vec![Ok(DiskDone::Written); 6]);
        assert_eq!(
            bench.one(read(a, 0, 100)).await,
            bytes(b"abcdefg\0\0\0\0\0\0\0\0\0\0\0\0\0far")
        );
        assert_eq!(bench.one(read(a, 5, 2)).await, bytes(b"fg"));
        assert_eq!(bench.one(read(b, 0, 5)).await, bytes(b"\0\0\0\0l"));
        assert_eq!(bench.one(read(b, 8, 5)).await, bytes(b""));
        assert_eq!(bench.one(read(b, 1 << 40, 5)).await, bytes(b""));
    })
    .await;
}

#[tokio::test]
async fn large_writes_and_reads_are_whole() {
    everywhere(async |bench| {
        let file = bench.create(ROOT, "large", 1).await;
        let block: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let many: Vec<&[u8]> = block.chunks(1_100).collect();
        assert_eq!(
            bench.one(write(file, 0, &many)).await,
            Ok(DiskDone::Written)
        );
        assert_eq!(
            bench.one(write(file, 3_000_000, &[&block])).await,
            Ok(DiskDone::Written)
        );
        assert_eq!(bench.one(read(file, 0, 3_000_000)).await, bytes(&block));
        assert_eq!(
            bench.one(read(file, 2_999_000, 2_000)).await,
            bytes(&[&block[2_999_000..], &block[..1_000]].concat())
        );
    })
    .await;
}

#[tokio::test]
async fn entries_of_a_directory_change_in_the_order_of_issue() {
    everywhere(async |bench| {
        let create = |n: &str, file| DiskOp::Create {
            dir: ROOT,
            name: name(n),
            file: FileId(file),
        };
        let rename = |from: &str, to: &str| DiskOp::Rename {
            dir: ROOT,
            from: name(from),
            to: name(to),
        };
        let results = bench
            .all(vec![
                create("a.tmp", 1),
                rename("a.tmp", "a"),
                create("a.tmp", 2),
                rename("a.tmp", "a"),
                create("a", 3),
                rename("none", "b"),
                DiskOp::Unlink {
                    dir: ROOT,
                    name: name("none"),
                },
                DiskOp::SyncDir { dir: ROOT },
            ])
            .await;
        let (done, exists) = (Ok(DiskDone::Done), Err(DiskError::Exists));
        let missing = Err(DiskError::NotFound);
        let synced = Ok(DiskDone::Synced);
        let want = [
            done.clone(),
            done.clone(),
            done.clone(),
            done,
            exists,
            missing.clone(),
            missing,
            synced,
        ];
        assert_eq!(results, want);
        assert_eq!(bench.names(ROOT).await, ["a"]);
        // An id follows its file: the first "a" was replaced, the second is the entry now.
        bench
            .one(write(FileId(2), 0, &[b"second"]))
            .await
            .expect("written");
        bench
            .one(write(FileId(1), 0, &[b"first"]))
            .await
            .expect("written");
        let open = DiskOp::Open {
            dir: ROOT,
            name: name("a"),
            file: FileId(9),
        };
        assert_eq!(bench.one(open).await, Ok(DiskDone::Opened { len: 6 }));
        assert_eq!(bench.one(read(FileId(9), 0, 9)).await, bytes(b"second"));
        assert_eq!(bench.one(read(FileId(1), 0, 9)).await, bytes(b"first"));
    })
    .await;
}

#[tokio::test]
async fn directories_are_made_opened_and_removed() {
    everywhere(async |bench| {
        let make = |dir| DiskOp::MakeDir {
            parent: ROOT,
            name: name("t-0"),
            dir: DirId(dir),
        };
        assert_eq!(bench.one(make(1)).await, Ok(DiskDone::Done));
        assert_eq!(bench.one(make(2)).await, Err(DiskError::Exists));
        let file = bench.create(DirId(1), "00.log", 1).await;
        let remove = |parent, n: &str| DiskOp::RemoveDir {
            parent,
            name: name(n),
        };
        assert_eq!(
            bench.one(remove(ROOT, "t-0")).await,
            Err(DiskError::NotEmpty)
        );
        assert_eq!(
            bench.one(remove(ROOT, "t-1")).await,
            Err(DiskError::NotFound)
        );
        let rename = DiskOp::Rename {
            dir: ROOT,
            from: name("t-0"),
            to: name("t-0.gone-delete"),
        };
        assert_eq!(bench.one(rename).await, Ok(DiskDone::Done));
        // The id of the directory follows it too.
        assert_eq!(bench.names(DirId(1)).await, ["00.log"]);
        let unlink = DiskOp::Unlink {
            dir: DirId(1),
            name: name("00.log"),
        };
        assert_eq!(bench.one(unlink).await, Ok(DiskDone::Done));
        assert_eq!(
            bench.one(write(file, 0, &[b"x"])).await,
            Ok(DiskDone::Written)
        );
        assert_eq!(bench.one(read(file, 0, 2)).await, bytes(b"x"));
        assert_eq!(
            bench.one(remove(ROOT, "t-0.gone-delete")).await,
            Ok(DiskDone::Done)
        );
        let close = DiskOp::CloseDir { dir: DirId(1) };
        assert_eq!(bench.one(close).await, Ok(DiskDone::Done));
        let open = DiskOp::OpenDir {
            parent: ROOT,
            name: name("t-0"),
            dir: DirId(3),
        };
        assert_eq!(bench.one(open).await, Err(DiskError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn listings_come_in_pages_in_the_order_of_bytes() {
    everywhere(async |bench| {
        for (n, entry) in ["b", "a", "B", "ä", "a-1"].iter().enumerate() {
            let file = bench.create(ROOT, entry, n as u64).await;
            bench
                .one(write(file, n as u64, &[b"x"]))
                .await
                .expect("written");
        }
        let make = DiskOp::MakeDir {
            parent: ROOT,
            name: name("c"),
            dir: DirId(9),
        };
        bench.one(make).await.expect("made");
        let mut seen = Vec::new();
        let mut after = Some(name(".lock"));
        loop {
            let list = DiskOp::List {
                dir: ROOT,
                after,
                limit: 2,
            };
            let Ok(DiskDone::Listed { entries, more }) = bench.one(list).await else {
                panic!("not a listing");
            };
            assert!(entries.len() <= 2);
            after = entries.last().map(|entry| entry.name.clone());
            seen.extend(entries);
            if !more {
                break;
            }
        }
        let seen: Vec<(&str, bool, u64)> = seen
            .iter()
            .map(|entry| (entry.name.as_str(), entry.dir, entry.len))
            .collect();
        let want = [
            ("B", false, 3),
            ("a", false, 2),
            ("a-1", false, 5),
            ("b", false, 1),
            ("c", true, 0),
            ("ä", false, 4),
        ];
        assert_eq!(seen, want);
    })
    .await;
}

#[tokio::test]
async fn truncate_allocate_and_sync() {
    everywhere(async |bench| {
        let a = bench.create(ROOT, "a", 1).await;
        let b = bench.create(ROOT, "b", 2).await;
        bench
            .one(write(a, 0, &[b"0123456789"]))
            .await
            .expect("written");
        let truncate = |len| DiskOp::Truncate { file: a, len };
        assert_eq!(bench.one(truncate(4)).await, Ok(DiskDone::Done));
        assert_eq!(bench.one(truncate(6)).await, Ok(DiskDone::Done));
        let allocate = DiskOp::Allocate { file: a, len: 4096 };
        assert_eq!(bench.one(allocate).await, Ok(DiskDone::Done));
        assert_eq!(bench.one(read(a, 0, 99)).await, bytes(b"0123\0\0"));
        let sync = |files| DiskOp::Sync { root: ROOT, files };
        assert_eq!(bench.one(sync(vec![a, b])).await, Ok(DiskDone::Synced));
        assert_eq!(bench.one(sync(vec![])).await, Ok(DiskDone::Synced));
        assert_eq!(
            bench.one(sync(vec![a, FileId(77)])).await,
            Err(DiskError::Failed)
        );
        let close = DiskOp::Close { file: a };
        assert_eq!(bench.one(close).await, Ok(DiskDone::Done));
        assert_eq!(bench.one(read(a, 0, 1)).await, Err(DiskError::Failed));
    })
    .await;
}

/// POSIX locks do not exclude their own process, so the second opener is another one: this test, run again.
#[test]
fn a_directory_that_cannot_be_opened_fails_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let home = tempfile::tempdir().expect("a temporary directory");
        let file = home.path().join("file");
        std::fs::write(&file, "").expect("written");
        let (good, bad) = ((ROOT, home.path().into()), (DirId(1), file));
        let none = FileDisk::open(std::slice::from_ref(&bad));
        assert!(matches!(none, Err(OpenError::Directory(..))));
        let disk = Box::new(FileDisk::open(&[good, bad]).expect("one is enough"));
        let mut bench = Bench { disk, tokens: 0 };
        let list = |dir| DiskOp::List {
            dir,
            after: None,
            limit: 9,
        };
        assert!(bench.one(list(ROOT)).await.is_ok());
        assert_eq!(bench.one(list(DirId(1))).await, Err(DiskError::Failed));
    });
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    const DIRECTORY: &str = "TRIALOG_TEST_LOCKED_DIRECTORY";
    if let Some(path) = std::env::var_os(DIRECTORY) {
        let refused = FileDisk::open(&[(ROOT, path.into())]);
        assert!(matches!(refused, Err(OpenError::Locked(_))));
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _held = FileDisk::open(&[(ROOT, dir.path().into())]).expect("free");
    let me = std::env::current_exe().expect("the test itself");
    let status = std::process::Command::new(me)
        .args([
            "--exact",
            "disk::conform::a_directory_that_is_in_use_is_refused",
        ])
        .env(DIRECTORY, dir.path())
        .status()
        .expect("it runs");
    assert!(status.success());
}
