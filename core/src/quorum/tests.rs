//! Stories of the metadata log: bytes that Apache Kafka 4.3.1 wrote and what they say; a voter that starts, commits and crashes over a log
//! that the test holds. Touches no disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::ids::{LeaderEpoch, LogId, NodeId, Offset, Uuid};
use crate::io::Effects;
use crate::log::{AppendError, Appended};
use crate::mutant::Mutants;
use crate::rng::Rng;
use crate::time::{Instant, Now};
use crate::wire::batch::batches;
use crate::wire::{FeatureLevelRecord, MetadataRecord, NoOpRecord, Parts};

/// `bootstrap.checkpoint` of a formatted directory.
const BOOTSTRAP: &str = "0000000000000000000000470000000002d530630c002000000000000001a2031f8fb9000001a2031f8fb9ffffffffffffffffffffffffffff000000012a00000008000000031600000000000000000000000000000000000000010000004f00000000021aa8541b000000000000000001a2031f8fd6000001a2031f8fd6ffffffffffffffffffffffffffff000000013a000000012e010c00116d657461646174612e76657273696f6e001e000000000000000000020000003f000000000219dcd060002000000000000001a2031f8fd7000001a2031f8fd7ffffffffffffffffffffffffffff000000011a00000008000000040600000000";
/// `00000000000000000000-0000000000.checkpoint` of a directory formatted with `--standalone`.
const STANDALONE: &str = "00000000000000000000009a000000000225c8b95c002000000002000001a2032d9d96000001a2032d9d96ffffffffffffffffffffffffffff000000032a0000000800000003160000000001a2032d9d7e00001e00000208000000050a000000010000820100000408000000066e000002000000019cb2305a959444938234b5a91f8472f3020b434f4e54524f4c4c45520a3132372e302e302e31d8bb00000000010000000000000000000000030000003f00000000023d9d7c99002000000000000001a2032d9da8000001a2032d9da8ffffffffffffffffffffffffffff000000011a00000008000000040600000000";
/// The first two batches of a metadata log: a leader change, then the bootstrap records in their transaction.
const LOG: &str = "00000000000000000000004f0000000102ffbb2741002000000000000001a2031f9515000001a2031f9515ffffffffffffffffffffffffffff000000013a00000008000000022600000000000102000000010002000000010000000000000000000001000000790000000102e5775ef8000000000002000001a2031f957d000001a2031f957dffffffffffffffffffffffffffff000000033c000000013001170001001212426f6f747374726170207265636f726473003a000002012e010c00116d657461646174612e76657273696f6e001e00001400000401080118000000";

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).expect("hex") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The bytes without what depends on the clock: timestamps and, with them, checksums.
fn timeless(file: &Bytes) -> Vec<u8> {
    let mut out = file.to_vec();
    for view in batches(file) {
        let view = view.expect("a batch");
        out[view.at + 17..view.at + 21].fill(0);
        out[view.at + 27..view.at + 43].fill(0);
    }
    out
}

#[test]
fn a_bootstrap_checkpoint_is_kafkas_byte_for_byte() {
    let golden = bytes(BOOTSTRAP);
    let checkpoint = Checkpoint::decode(&golden).expect("Kafka wrote it");
    let level = FeatureLevelRecord {
        name: "metadata.version".into(),
        feature_level: 30,
        ..Default::default()
    };
    assert_eq!(checkpoint.records, [MetadataRecord::from(level)]);
    assert_eq!(
        timeless(&checkpoint.encode(LeaderEpoch(0), 7, |_| 0)),
        timeless(&golden)
    );
}

#[test]
fn a_standalone_checkpoint_is_kafkas_byte_for_byte() {
    let golden = bytes(STANDALONE);
    let checkpoint = Checkpoint::decode(&golden).expect("Kafka wrote it");
    assert_eq!(checkpoint.kraft_version, 1);
    let voters = checkpoint.voters.as_ref().expect("voters");
    assert_eq!((voters.voters.len(), voters.voters[0].voter_id), (1, 1));
    assert_eq!(
        timeless(&checkpoint.encode(LeaderEpoch(0), 7, |_| 0)),
        timeless(&golden)
    );
}

#[test]
fn damage_of_a_checkpoint_is_found() {
    let golden = bytes(BOOTSTRAP);
    let starts: Vec<usize> = batches(&golden)
        .map(|view| view.expect("a batch").at)
        .collect();
    for at in 0..golden.len() {
        // The epoch precedes what the checksum covers, and means nothing here.
        if starts
            .iter()
            .any(|start| (start + 12..start + 16).contains(&at))
        {
            continue;
        }
        let mut damaged = golden.to_vec();
        damaged[at] ^= 1;
        assert!(
            Checkpoint::decode(&Bytes::from(damaged)).is_err(),
            "byte {at}"
        );
    }
    for end in 0..golden.len() {
        assert!(
            Checkpoint::decode(&golden.slice(..end)).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn a_log_of_kafka_is_read() {
    let log = records::decode(&bytes(LOG)).expect("Kafka wrote it");
    let [first, second] = log.as_slice() else {
        panic!("two batches: {log:?}")
    };
    assert_eq!(
        (first.base, first.last, first.epoch),
        (Offset(0), Offset(0), LeaderEpoch(1))
    );
    let Content::Control(controls) = &first.content else {
        panic!("a control batch")
    };
    assert!(
        matches!(&controls[..], [Control::LeaderChange(change)] if change.leader_id == 1 && change.voters.len() == 1)
    );
    let Content::Records(records) = &second.content else {
        panic!("records")
    };
    assert_eq!(
        records.iter().map(MetadataRecord::id).collect::<Vec<_>>(),
        [23, 12, 24]
    );
    assert_eq!(second.last, Offset(3));
}

#[test]
fn hostile_batches_are_refused_and_never_panic() {
    let golden = bytes(LOG);
    for at in 0..golden.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut hostile = golden.to_vec();
            hostile[at] ^= flip;
            let _ = records::decode(&Bytes::from(hostile));
        }
    }
}

#[test]
fn the_state_file_is_kafkas() {
    let static_voters = r#"{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
    let dynamic = r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
    for (text, version) in [(static_voters, 0), (dynamic, 1)] {
        let state = QuorumState::parse(text).expect("Kafka wrote it");
        assert_eq!(
            (state.leader, state.voted, state.voted_directory),
            (NodeId(1), NodeId::NONE, Uuid::ZERO)
        );
        assert_eq!(state.to_text(version, NodeId(1)), text);
    }
    for wrong in [
        "",
        "{}",
        "[]",
        "{\"leaderId\":1}",
        "{\"leaderEpoch\":\"x\",\"data_version\":0}",
        &static_voters.replace("\"data_version\":0", "\"data_version\":2"),
        &dynamic[..40],
    ] {
        assert!(QuorumState::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn snapshot_names_are_kafkas() {
    let id = SnapshotId {
        end: Offset(104),
        epoch: LeaderEpoch(3),
    };
    assert_eq!(id.file_name(), "00000000000000000104-0000000003.checkpoint");
    assert_eq!(SnapshotId::from_file_name(&id.file_name()), Some(id));
    assert_eq!(
        SnapshotId::BOOTSTRAP.file_name(),
        "00000000000000000000-0000000000.checkpoint"
    );
    for other in [
        "bootstrap.checkpoint",
        "104-3.checkpoint",
        "00000000000000000104-0000000003.checkpoint.part",
        "00000000000000000000.log",
    ] {
        assert_eq!(SnapshotId::from_file_name(other), None);
    }
}

const LOG_ID: LogId = LogId(0);
const DIRECTORY: Uuid = Uuid([5; 16]);

/// A log in memory: batches, how many of them survive a crash, and the small files beside it.
#[derive(Clone, Default)]
struct Fake {
    batches: Vec<Bytes>,
    ends: Vec<i64>,
    epoch: i32,
    files: BTreeMap<String, Bytes>,
    start: i64,
    asked: Vec<(ReadId, String)>,
    replacing: Option<(ReadId, String, Bytes)>,
    reads: Vec<(ReadId, Read)>,
    high_watermark: Offset,
    full: bool,
    next_id: u64,
}

impl Fake {
    fn id(&mut self) -> ReadId {
        self.next_id += 1;
        ReadId(self.next_id)
    }

    fn end(&self) -> i64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Power is lost when only the first `kept` batches are on disk; a file that is being replaced is not.
    fn crash(&mut self, kept: usize) {
        self.batches.truncate(kept);
        self.ends.truncate(kept);
        self.replacing = None;
        self.asked.clear();
        self.reads.clear();
    }

    /// One batch at a time: a log of many pieces.
    fn piece(&self, read: Read) -> Records {
        let at = self
            .ends
            .iter()
            .position(|end| *end > read.from.0)
            .expect("within bounds");
        Records {
            parts: Parts::from(self.batches[at].clone()),
            first: read.from,
            next: Offset(self.ends[at]),
        }
    }
}

impl MetadataLog for Fake {
    fn read_file(&mut self, _: &mut Cx, _: LogId, name: &str) -> ReadId {
        let id = self.id();
        self.asked.push((id, name.to_owned()));
        id
    }
    fn read_root_file(&mut self, cx: &mut Cx, _: LogId, name: &str) -> ReadId {
        self.read_file(cx, LOG_ID, name)
    }
    fn replace_file(&mut self, _: &mut Cx, _: LogId, name: &str, content: Bytes) -> ReadId {
        let id = self.id();
        self.replacing = Some((id, name.to_owned(), content));
        id
    }
    fn bounds(&self, _: LogId) -> (Offset, Offset) {
        (Offset(self.start), Offset(self.end()))
    }
    fn last_epoch(&self, _: LogId) -> LeaderEpoch {
        LeaderEpoch(self.epoch)
    }
    fn read(&mut self, _: &mut Cx, _: LogId, read: Read) -> Result<ReadOutcome, ReadError> {
        // Every other piece comes from disk.
        if self.next_id.is_multiple_of(2) {
            let id = self.id();
            self.reads.push((id, read));
            return Ok(ReadOutcome::Later(id));
        }
        self.next_id += 1;
        Ok(ReadOutcome::Ready(self.piece(read)))
    }
    fn append(&mut self, _: &mut Cx, _: LogId, append: Append) -> Result<Appended, AppendError> {
        if self.full {
            return Err(AppendError::Full("no space left".to_owned()));
        }
        let (base, header) = (self.end(), append.batch.header);
        let mut bytes =
            crate::wire::batch::prefix(Offset(base), header.length, append.epoch).to_vec();
        bytes.extend_from_slice(&append.batch.body);
        self.batches.push(Bytes::from(bytes));
        self.epoch = append.epoch.0;
        let last = Offset(base + i64::from(header.last_offset_delta));
        self.ends.push(last.0 + 1);
        Ok(Appended {
            base: Offset(base),
            last,
            log_append_time: -1,
            lsn: Default::default(),
            duplicate: false,
        })
    }
    fn checkpoint_names(&self, _: LogId) -> Vec<String> {
        self.files
            .keys()
            .filter(|name| name.contains(".checkpoint"))
            .cloned()
            .collect()
    }
    fn remove_file(&mut self, _: &mut Cx, _: LogId, name: &str) {
        self.files.remove(name);
    }
    fn size_bytes(&self, _: LogId) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }
    fn delete_before(&mut self, _: &mut Cx, _: LogId, offset: Offset) {
        self.start = offset.0;
    }
    fn directory_id(&self, _: LogId) -> Uuid {
        DIRECTORY
    }
    fn note_high_watermark(&mut self, _: LogId, offset: Offset) {
        self.high_watermark = offset;
    }
}

struct World {
    now: Now,
    quorum: Quorum,
    store: Fake,
    mutants: Mutants,
    told: Vec<QuorumEvent>,
}

fn voting(static_voters: &[i32]) -> QuorumConfig {
    QuorumConfig {
        node_id: NodeId(1),
        static_voters: static_voters.iter().map(|id| NodeId(*id)).collect(),
        endpoint: ("CONTROLLER".to_owned(), "127.0.0.1".to_owned(), 9093),
        snapshot_bytes: 1000,
        snapshot_interval_ms: 0,
        retention_bytes: Some(2000),
        retention_ms: None,
    }
}

impl World {
    fn new(static_voters: &[i32]) -> World {
        World {
            now: Now::default(),
            quorum: Quorum::new(voting(static_voters)),
            store: Fake::default(),
            mutants: Mutants::NONE,
            told: Vec::new(),
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Quorum, &mut Cx, &mut Fake) -> T) -> T {
        let mut out = Effects::default();
        let mut cx = Cx {
            now: self.now,
            out: &mut out,
            rng: &Rng::new([1; 32]),
            mutants: self.mutants,
        };
        let result = call(&mut self.quorum, &mut cx, &mut self.store);
        while let Some(notice) = self.quorum.next_event() {
            self.told.push(notice);
        }
        result
    }

    /// Starts and lets everything that waits complete, up to where `quorum-state` is written.
    fn start_up_to_election(&mut self) {
        self.start_up_to_first_read();
        loop {
            if let Some((id, read)) = self.store.reads.pop() {
                let piece = self.store.piece(read);
                assert!(self.notice(Notice::ReadDone(id, Ok(piece))));
            } else if self.quorum.next_wakeup().is_some() {
                self.with(|quorum, cx, store| quorum.on_wakeup(cx, store));
            } else {
                return;
            }
        }
    }

    /// Starts and lets everything that waits complete, up to where the log is read.
    fn start_up_to_first_read(&mut self) {
        self.with(|quorum, cx, store| quorum.start(cx, store, LOG_ID));
        loop {
            if let Some((id, name)) = self.store.asked.pop() {
                let content = match name.as_str() {
                    "bootstrap.checkpoint" => Some(bytes(BOOTSTRAP)),
                    _ => self.store.files.get(&name).cloned(),
                };
                assert!(self.with(|quorum, cx, store| quorum.on_file_read(
                    cx,
                    store,
                    id,
                    &Ok(content)
                )));
            } else if self.quorum.next_wakeup().is_some() {
                self.with(|quorum, cx, store| quorum.on_wakeup(cx, store));
            } else {
                return;
            }
        }
    }

    fn start(&mut self) {
        self.start_up_to_election();
        if let Some((id, name, content)) = self.store.replacing.take() {
            self.store.files.insert(name, content);
            assert!(self.notice(Notice::FileReplaced(id, Ok(()))));
        }
    }

    fn restart(&mut self, kept: usize) {
        self.store.crash(kept);
        self.quorum = Quorum::new(self.quorum.config.clone());
        self.told.clear();
    }

    fn append(&mut self) -> Offset {
        let records = [
            (MetadataRecord::from(NoOpRecord::default()), 0),
            (NoOpRecord::default().into(), 0),
        ];
        self.with(|quorum, cx, store| quorum.append(cx, store, &records))
    }

    fn notice(&mut self, notice: Notice) -> bool {
        self.with(|quorum, cx, store| quorum.on_notice(cx, store, &notice))
    }

    fn durable(&mut self, end: i64) {
        assert!(self.notice(Notice::Durable(LOG_ID, Offset(end))));
    }

    fn state(&self) -> QuorumState {
        let text = self
            .store
            .files
            .get(state_file::FILE_NAME)
            .expect("written");
        QuorumState::parse(std::str::from_utf8(text).expect("text")).expect("ours")
    }
}

fn leads(epoch: i32) -> QuorumEvent {
    QuorumEvent::Leads {
        epoch: LeaderEpoch(epoch),
    }
}

#[test]
fn a_voter_elects_itself_and_commits_what_is_durable() {
    let mut world = World::new(&[1]);
    world.start();
    assert_eq!(
        (world.state().epoch, world.state().leader),
        (LeaderEpoch(1), NodeId(1))
    );
    assert_eq!(world.quorum.bootstrap().len(), 1);
    let golden = records::decode(&bytes(LOG)).expect("Kafka wrote it");
    let first = records::decode(&world.store.batches[0]).expect("we wrote it");
    assert_eq!(
        (first[0].epoch, &first[0].content),
        (golden[0].epoch, &golden[0].content),
        "the leader change is Kafka's"
    );
    assert!(
        world.told.is_empty(),
        "nobody leads before the epoch is committed"
    );
    world.durable(1);
    assert_eq!(world.told, [leads(1)]);

    let last = world.append();
    assert_eq!((last, world.quorum.next_offset()), (Offset(2), Offset(3)));
    world.durable(2);
    assert_eq!(
        (world.told.len(), world.quorum.high_watermark()),
        (1, Offset(1)),
        "half a batch is no batch"
    );
    world.notice(Notice::Written(LOG_ID, Offset(9)));
    assert_eq!(world.told.len(), 1, "written is not durable");
    world.durable(3);
    assert!(
        matches!(&world.told[1..], [QuorumEvent::Committed { last: Offset(2), epoch: LeaderEpoch(1), records }] if records.len() == 2)
    );
    assert_eq!(
        (world.quorum.high_watermark(), world.store.high_watermark),
        (Offset(3), Offset(3))
    );
    assert!(
        !world.notice(Notice::Durable(LogId(7), Offset(1))),
        "another log"
    );
}

#[test]
fn a_log_is_loaded_in_pieces_and_an_epoch_is_never_used_twice() {
    let mut world = World::new(&[1]);
    world.start();
    for _ in 0..5 {
        world.append();
    }
    for life in 2..5 {
        // Everything of this life is lost but what the first one made durable; its epoch is not.
        world.restart(6);
        world.start();
        let loaded = |event: &&QuorumEvent| matches!(event, QuorumEvent::Loaded { .. });
        assert_eq!(world.told.iter().filter(loaded).count(), 5);
        assert_eq!(
            (world.quorum.epoch(), world.quorum.next_offset()),
            (LeaderEpoch(life), Offset(12))
        );
        world.durable(11);
        assert_eq!(
            world.told.len(),
            5,
            "what was loaded is committed with the first record of this epoch, not before"
        );
        world.durable(12);
        assert_eq!(world.told.last(), Some(&leads(life)));
        world.append();
    }
}

#[test]
fn a_crash_before_the_epoch_is_durable_leaves_nothing_of_it() {
    let mut world = World::new(&[1]);
    world.start_up_to_election();
    assert!(
        world.store.batches.is_empty() && world.store.replacing.is_some(),
        "no record of an epoch before the epoch is on disk"
    );
    world.restart(0);
    world.start();
    assert_eq!(world.state().epoch, LeaderEpoch(1));
}

#[test]
fn a_stop_while_the_log_is_read_is_no_failure() {
    let mut world = World::new(&[1]);
    world.start();
    world.append();
    world.restart(2);
    world.start_up_to_first_read();
    let (id, _) = world.store.reads.pop().expect("the log is read");
    assert!(world.notice(Notice::ReadDone(id, Err(ReadError::Stopping))));
    assert_eq!(world.told, []);
    assert_eq!(world.quorum.next_wakeup(), None);
}

#[test]
fn a_dynamic_quorum_takes_its_voters_from_the_snapshot_and_writes_them_once() {
    let mut checkpoint = Checkpoint::decode(&bytes(STANDALONE)).expect("Kafka wrote it");
    checkpoint.voters.as_mut().expect("voters").voters[0].voter_directory_id = DIRECTORY;
    let mut world = World::new(&[]);
    world.store.files.insert(
        SnapshotId::BOOTSTRAP.file_name(),
        checkpoint.encode(LeaderEpoch(0), 7, |_| 0),
    );
    world.start();
    assert_eq!(
        world.quorum.next_offset(),
        Offset(3),
        "leader change, version, voters"
    );
    world.durable(3);
    assert_eq!(
        (world.told.as_slice(), world.quorum.kraft_version()),
        (&[leads(1)][..], 1)
    );
    let text = world.store.files[state_file::FILE_NAME].clone();
    assert!(
        text.starts_with(b"{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1,\"votedDirectoryId\"")
    );
    world.restart(1);
    world.start();
    assert_eq!(world.quorum.next_offset(), Offset(4), "leader change only");

    let mut other = World::new(&[]);
    other.store.files = world.store.files.clone();
    other.quorum.config.node_id = NodeId(2);
    other.start();
    assert!(matches!(&other.told[..], [QuorumEvent::Fatal(why)] if why.contains("must be node 2")));

    // A wiped disk comes back with another directory id, and without a vote.
    checkpoint.voters.as_mut().expect("voters").voters[0].voter_directory_id = Uuid([6; 16]);
    let mut wiped = World::new(&[]);
    wiped.store.files.insert(
        SnapshotId::BOOTSTRAP.file_name(),
        checkpoint.encode(LeaderEpoch(0), 7, |_| 0),
    );
    wiped.start();
    assert!(matches!(&wiped.told[..], [QuorumEvent::Fatal(why)] if why.contains("has no vote")));
}

#[test]
fn what_this_release_cannot_be_is_refused() {
    let refused = |prepare: &dyn Fn(&mut World)| {
        let mut world = World::new(&[1]);
        prepare(&mut world);
        world.start();
        match world.told.as_slice() {
            [QuorumEvent::Fatal(why)] => why.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert!(
        refused(&|world| world.quorum = Quorum::new(voting(&[1, 2]))).contains("a quorum of one")
    );
    assert!(
        refused(&|world| world.quorum = Quorum::new(voting(&[])))
            .contains("controller.quorum.voters is not set")
    );
    assert!(
        refused(&|world| {
            world
                .store
                .files
                .insert(state_file::FILE_NAME.to_owned(), Bytes::from_static(b"{"));
        })
        .contains("quorum-state is damaged")
    );
    assert!(
        refused(&|world| {
            world.store.files.insert(
                SnapshotId::BOOTSTRAP.file_name(),
                Bytes::from_static(b"rot"),
            );
        })
        .contains("is damaged")
    );
    let no_batch = |world: &mut World| {
        world.store.batches.push(Bytes::from_static(b"no batch"));
        world.store.ends.push(1);
    };
    assert!(refused(&no_batch).contains("no batch"));
}

#[test]
fn a_leader_that_cannot_keep_its_log_stops() {
    let lost = Notice::AppendsLost(LOG_ID, Offset(1), "EIO".to_owned());
    let offline = Notice::Offline(LOG_ID, "EIO".to_owned());
    for notice in [lost, offline] {
        let mut world = World::new(&[1]);
        world.start();
        assert!(world.notice(notice));
        assert!(matches!(&world.told[..], [QuorumEvent::Fatal(why)] if why.contains("EIO")));
        world.append();
        world.durable(9);
        assert_eq!(world.told.len(), 1, "nothing more is committed");
    }
    let mut world = World::new(&[1]);
    world.start();
    world.store.full = true;
    world.append();
    assert!(matches!(world.told.last(), Some(QuorumEvent::Fatal(_))));
}

#[test]
fn the_mutant_commits_what_is_only_written() {
    let mut world = World::new(&[1]);
    world.mutants = Mutants::only(crate::mutant::Mutant::AckBeforeSync);
    world.start();
    world.append();
    world.notice(Notice::Written(LOG_ID, Offset(3)));
    assert!(matches!(
        world.told.last(),
        Some(QuorumEvent::Committed { .. })
    ));
}

impl World {
    /// Lets the snapshot that is due be written, as the node does.
    fn snapshot(&mut self, end: i64) -> bool {
        if !self.quorum.is_snapshot_due(Instant(0)) {
            return false;
        }
        let id = SnapshotId {
            end: Offset(end),
            epoch: self.quorum.epoch(),
        };
        let records = vec![(MetadataRecord::from(NoOpRecord::default()), 0); 2500];
        assert!(self.with(|quorum, cx, _| quorum.begin_snapshot(cx, id)));
        for piece in records.chunks(1000) {
            assert!(!self.quorum.is_snapshot_due(Instant(0)), "one at a time");
            self.quorum.add_to_snapshot(piece);
        }
        self.with(|quorum, cx, store| quorum.finish_snapshot(cx, store));
        let (read, name, content) = self.store.replacing.take().expect("it is stored");
        assert_eq!(name, id.file_name());
        self.store.files.insert(name, content);
        assert!(self.notice(Notice::FileReplaced(read, Ok(()))));
        true
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        self.store
            .files
            .keys()
            .filter_map(|name| SnapshotId::from_file_name(name))
            .collect()
    }
}

#[test]
fn a_grown_log_is_written_down_and_a_start_goes_on_from_there() {
    let mut world = World::new(&[1]);
    world.start();
    world.durable(1);
    assert!(!world.quorum.is_snapshot_due(Instant(0)));
    let mut taken = 0;
    for _ in 0..40 {
        let last = world.append();
        world.durable(last.0 + 1);
        taken += usize::from(world.snapshot(last.0 + 1));
    }
    assert!(taken > 2, "{taken}");
    let kept = world.snapshots();
    assert_eq!(kept.len(), 2, "the newest and one more");
    assert_eq!(
        world.store.start, kept[1].end.0,
        "the log before the newest may go once it is long"
    );

    // What an interrupted snapshot left is cleared away.
    let rest = "00000000000000000099-0000000001.checkpoint.tmp".to_owned();
    world.store.files.insert(rest.clone(), Bytes::new());
    world.restart(usize::MAX);
    world.start();
    assert!(!world.store.files.contains_key(&rest));
    let pieces: Vec<usize> = world
        .told
        .iter()
        .filter_map(|event| match event {
            QuorumEvent::Loaded { last, records, .. } if *last == Offset(kept[1].end.0 - 1) => {
                Some(records.len())
            }
            _ => None,
        })
        .collect();
    assert_eq!(pieces, [1000, 1000, 500]);
    assert_eq!(world.quorum.epoch(), LeaderEpoch(2));
}

#[test]
fn a_snapshot_is_due_after_its_interval_if_there_is_something_new() {
    let mut world = World::new(&[1]);
    world.quorum = Quorum::new(QuorumConfig {
        snapshot_bytes: u64::MAX,
        snapshot_interval_ms: 1000,
        ..voting(&[1])
    });
    world.start();
    world.durable(1);
    let due = |world: &World, ms: u64| world.quorum.is_snapshot_due(Instant(ms * 1_000_000));
    // The record that opens the epoch is new.
    assert!(!due(&world, 999) && due(&world, 1000));
    let id = SnapshotId {
        end: Offset(1),
        epoch: world.quorum.epoch(),
    };
    world.now.mono = Instant(1000 * 1_000_000);
    assert!(world.with(|quorum, cx, _| quorum.begin_snapshot(cx, id)));
    world.with(|quorum, cx, store| quorum.finish_snapshot(cx, store));
    let (read, ..) = world.store.replacing.take().expect("it is stored");
    assert!(world.notice(Notice::FileReplaced(read, Ok(()))));
    assert!(!due(&world, 1_000_000), "nothing is new");
    let last = world.append();
    world.durable(last.0 + 1);
    assert!(!due(&world, 1999) && due(&world, 2000));
}

#[test]
fn what_is_older_than_the_retention_goes_with_the_next_snapshot() {
    let config = QuorumConfig {
        retention_bytes: None,
        retention_ms: Some(1000),
        ..voting(&[1])
    };
    let mut world = World::new(&[1]);
    world.quorum = Quorum::new(config);
    world.start();
    world.durable(1);
    let grow = |world: &mut World| {
        let taken = (0..40).any(|_| {
            let last = world.append();
            world.durable(last.0 + 1);
            world.snapshot(last.0 + 1)
        });
        assert!(taken);
    };
    grow(&mut world);
    world.now.wall.0 += 1000;
    grow(&mut world);
    assert_eq!((world.snapshots().len(), world.store.start), (2, 0));
    world.now.wall.0 += 1000;
    grow(&mut world);
    let kept = world.snapshots();
    assert_eq!((kept.len(), world.store.start), (2, 0), "not older yet");
    world.now.wall.0 += 1001;
    grow(&mut world);
    let kept = world.snapshots();
    assert_eq!(kept.len(), 1, "the one before held only what is too old");
    assert_eq!(world.store.start, kept[0].end.0);

    // A start learns the age from the snapshot.
    world.restart(usize::MAX);
    world.start();
    let end = world.store.end();
    world.durable(end);
    world.now.wall.0 += 1001;
    grow(&mut world);
    let kept = world.snapshots();
    assert_eq!(kept.len(), 1);
    assert_eq!(world.store.start, kept[0].end.0);
}

#[test]
fn a_snapshot_that_cannot_be_used_stops_the_start() {
    let prepared = |change: &dyn Fn(&mut World)| {
        let mut world = World::new(&[1]);
        world.start();
        for _ in 0..40 {
            let last = world.append();
            world.durable(last.0 + 1);
            world.snapshot(last.0 + 1);
        }
        change(&mut world);
        world.restart(usize::MAX);
        world.start();
        match world.told.last() {
            Some(QuorumEvent::Fatal(why)) => why.clone(),
            other => panic!("{other:?}"),
        }
    };
    let cut = |world: &mut World| {
        let newest = world.snapshots().pop().expect("taken").file_name();
        let bytes = world.store.files[&newest].clone();
        world
            .store
            .files
            .insert(newest, bytes.slice(..bytes.len() - 1));
    };
    assert!(prepared(&cut).contains("is damaged"));
    assert!(
        prepared(&|world| world
            .store
            .files
            .retain(|name, _| !name.contains(".checkpoint")))
        .contains("no snapshot holds")
    );
    let ahead = |world: &mut World| {
        let id = SnapshotId {
            end: Offset(9999),
            epoch: LeaderEpoch(1),
        };
        world.store.files.insert(id.file_name(), Bytes::new());
    };
    assert!(prepared(&ahead).contains("restore the log"));
}
