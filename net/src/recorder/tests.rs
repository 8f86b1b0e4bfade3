//! A life is recorded, and lived again: by a small machine that stores what clients produce and answers with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

use trialog_core::ids::{ConnId, DirId, FileId, LeaderEpoch, ListenerId, Offset};
use trialog_core::io::{
    Boot, CloseReason, ConnectError, DiskDone, DiskError, DiskOp, Effect, Effects, Entry, Halt,
    Input, ListenerBoot, LogDirBoot, Name, Parts, Room, Token, Wake,
};
use trialog_core::time::{Instant, Now, WallMs};
use trialog_core::wire::batch::{self, BatchHeader, BatchOptions, RecordToWrite};
use trialog_core::wire::{
    ApiKey, FetchRequest, FetchResponse, Message, ProduceRequest, Reader, RequestHeader,
    fetch_response,
    produce_request::{PartitionProduceData, TopicProduceData},
    request_frame, response_frame,
};
use trialog_core::work::{
    self, EndMarker, Facts, Job, RecordsFault, RecordsFaultKind, ScanRest, Scanned, ScannedBatch,
    ValidBatch, ValidateRules,
};

use super::codec::{self, Item, Writer};
use super::replay::{Difference, ReplayError, Replayed, replay};
use super::{Origin, Recorder};
use crate::driver::{Machine, Witness};

const SECRET: &[u8] = b"the content of a record that nobody else may read";

const CONN: ConnId = ConnId(1);

/// Stores each produced batch in a segment, and answers a Fetch with the last one.
struct Store {
    at: u64,
    /// A rule that it breaks after so many batches, to be found out.
    breaks_after: Option<u64>,
    batches: u64,
    last: Parts,
    validated: BTreeMap<Token, i32>,
}

fn token(slot: u32) -> Token {
    Token {
        room: Room::Log,
        slot,
        generation: 1,
    }
}

fn name(name: &str) -> Name {
    Name::new(name).expect("a component")
}

impl Store {
    fn new(breaks_after: Option<u64>) -> Store {
        Store {
            at: 0,
            breaks_after,
            batches: 0,
            last: Parts::new(),
            validated: BTreeMap::new(),
        }
    }

    fn frame(&mut self, conn: ConnId, frame: &Bytes, out: &mut Effects) {
        let mut reader = Reader::new(frame.clone());
        let header = RequestHeader::decode(&mut reader).expect("a request");
        if header.api == ApiKey::Fetch {
            let partition = fetch_response::PartitionData {
                records: Some(self.last.clone()),
                ..Default::default()
            };
            let topic = fetch_response::FetchableTopicResponse {
                topic: "orders".into(),
                partitions: vec![partition],
                ..Default::default()
            };
            let body = FetchResponse {
                responses: vec![topic],
                ..FetchResponse::default()
            };
            let id = header.correlation_id;
            let parts = response_frame(ApiKey::Fetch, header.version, id, &body).expect("it fits");
            out.push(Effect::Send { conn, parts });
            return;
        }
        let request = ProduceRequest::decode(&mut reader, header.version).expect("a Produce");
        let records = request.topic_data[0].partition_data[0].records.clone();
        let token = token(100 + u32::try_from(header.correlation_id).expect("small"));
        self.validated.insert(token, header.correlation_id);
        let job = Job::Validate {
            records: records.expect("records"),
            rules: ValidateRules::default(),
        };
        out.push(Effect::Work { token, job });
    }

    fn append(&mut self, correlation_id: i32, batch: &ValidBatch, out: &mut Effects) {
        let prefix = batch::prefix(Offset(self.at as i64), batch.header.length, LeaderEpoch(3));
        let mut data = Parts::from(Bytes::copy_from_slice(&prefix));
        data.push(batch.body.clone());
        self.last = data.clone();
        let op = DiskOp::Write {
            file: FileId(1),
            at: self.at,
            data,
        };
        self.at += u64::try_from(batch.header.size()).expect("small");
        self.batches += 1;
        if self.breaks_after.is_some_and(|n| self.batches > n) {
            self.at += 1;
        }
        out.disk(token(3), op);
        let mut answer = vec![0, 0, 0, 7];
        answer.extend(correlation_id.to_be_bytes());
        answer.extend([1, 2, 3]);
        let parts = Parts::from(answer);
        out.push(Effect::Send { conn: CONN, parts });
    }
}

impl Machine for Store {
    fn step(&mut self, _now: Now, input: Input, out: &mut Effects) {
        match input {
            Input::Start => {
                let (parent, dir, file) = (DirId(0), DirId(1), FileId(1));
                let name = |text| name(text);
                out.disk(
                    token(1),
                    DiskOp::MakeDir {
                        parent,
                        name: name("orders-0"),
                        dir,
                    },
                );
                let log = name("00000000000000000000.log");
                out.disk(
                    token(2),
                    DiskOp::Create {
                        dir,
                        name: log,
                        file,
                    },
                );
            }
            Input::Frame { conn, frame } => self.frame(conn, &frame, out),
            Input::Worked { token, facts } => match facts {
                Facts::Validated(Ok(batch)) => {
                    let id = self.validated.remove(&token).expect("it waits");
                    self.append(id, &batch, out);
                }
                Facts::Scanned(_) => {}
                other => panic!("{other:?}"),
            },
            Input::Disk { token: done, .. } if done == token(3) => {
                let read = DiskOp::Read {
                    file: FileId(1),
                    at: 0,
                    len: 1 << 20,
                };
                out.disk(token(4), read);
            }
            Input::Disk {
                result: Ok(DiskDone::Read(block)),
                ..
            } => out.push(Effect::Work {
                token: token(5),
                job: Job::Scan { block },
            }),
            Input::Shutdown => out.push(Effect::Halt { halt: Halt::Clean }),
            Input::Disk { .. }
            | Input::Opened { .. }
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Sent { .. }
            | Input::Closed { .. }
            | Input::Wakeup => {}
        }
    }

    fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        None
    }
}

fn produced(correlation_id: i32) -> Bytes {
    // Now small enough to be copied into an answer, now a slice of its own.
    let copies = if correlation_id % 4 == 0 { 1 } else { 40 };
    let records = [RecordToWrite {
        value: Some(SECRET.repeat(copies).into()),
        ..RecordToWrite::default()
    }];
    let body = ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            name: "orders".into(),
            partition_data: vec![PartitionProduceData {
                records: Some(batch::encode_batch(BatchOptions::default(), &records)),
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let frame = request_frame(9, correlation_id, None, &body).expect("it fits");
    frame.to_bytes().slice(4..)
}

fn fetched(correlation_id: i32) -> Bytes {
    let frame = request_frame(12, correlation_id, None, &FetchRequest::default()).expect("it fits");
    frame.to_bytes().slice(4..)
}

fn origin(payloads: bool) -> Origin {
    Origin {
        version: "0.0.1".into(),
        payloads,
        properties: BTreeMap::from([("node.id".into(), "1".into())]),
        seed: [5; 32],
        boot: boot(),
    }
}

fn boot() -> Boot {
    Boot {
        boot_id: [1; 16],
        log_dirs: vec![LogDirBoot {
            dir: DirId(0),
            path: "/data".into(),
        }],
        listeners: vec![ListenerBoot {
            name: "PLAINTEXT".into(),
            host: String::new(),
            port: 9092,
        }],
    }
}

/// Records a life in which `batches` are produced; returns the file and its bytes.
fn recorded(payloads: bool, batches: i32) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut recorder = Recorder::create(dir.path(), &origin(payloads)).expect("it starts");
    let mut machine = Store::new(None);
    let mut out = Effects::default();
    let conn = CONN;
    let mut inputs = vec![Input::Start];
    let mut segment = Vec::new();
    for n in 0..batches {
        for frame in [produced(2 * n), fetched(2 * n + 1)] {
            inputs.push(Input::Frame { conn, frame });
        }
    }
    inputs.push(Input::Shutdown);
    inputs.reverse();
    let mut ms = 0;
    while let Some(input) = inputs.pop() {
        ms += 3;
        let now = Now {
            mono: Instant(ms * 1_000_000),
            wall: WallMs(1_700_000_000_000 + ms as i64 * if ms % 2 == 0 { 1 } else { -1 }),
        };
        recorder.input(now, &input);
        machine.step(now, input, &mut out);
        recorder.effects(now, &out.effects);
        for effect in out.effects.drain(..) {
            if let Effect::Work { token, job } = effect {
                let facts = work::run(job);
                inputs.push(Input::Worked { token, facts });
            } else if let Effect::Disk { token, op } = effect {
                let done = if let DiskOp::Write { data, .. } = op {
                    segment.extend_from_slice(&data.to_bytes());
                    DiskDone::Written
                } else if let DiskOp::Read { .. } = op {
                    DiskDone::Read(Bytes::copy_from_slice(&segment))
                } else {
                    DiskDone::Done
                };
                let result = Ok(done);
                inputs.push(Input::Disk { token, result });
            }
        }
    }
    recorder.end();
    let path = recorder.path().to_owned();
    let bytes = std::fs::read(&path).expect("the recording");
    (dir, path, bytes)
}

fn again(bytes: &[u8], breaks_after: Option<u64>) -> Result<Replayed, ReplayError> {
    replay(bytes, |found| {
        assert_eq!(found.boot, boot());
        Ok(Store::new(breaks_after))
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn a_recording_without_payloads_replays_to_the_same_effects() {
    let (_dir, _path, bytes) = recorded(false, 50);
    assert!(!contains(&bytes, &SECRET[..12]), "records are blanked out");
    assert!(contains(&bytes, b"orders"), "everything else is not");
    let replayed = again(&bytes, None).expect("it replays");
    // Start, its two entries, six inputs a batch (frame, facts, written, read, facts, fetch), the end.
    assert_eq!(replayed.steps, 1 + 2 + 50 * 6 + 1);
    assert!(!replayed.torn);
    assert_eq!(replayed.bytes, bytes.len() as u64);
    assert_eq!(again(&bytes, None).expect("again").hash, replayed.hash);
}

#[test]
fn a_recording_with_payloads_keeps_every_byte() {
    let (_dir, _path, bytes) = recorded(true, 3);
    assert!(contains(&bytes, SECRET));
    again(&bytes, None).expect("it replays");
}

#[test]
fn the_first_difference_is_shown_with_both_effects() {
    let (_dir, _path, bytes) = recorded(false, 5);
    let Err(ReplayError::Differs(difference)) = again(&bytes, Some(2)) else {
        panic!("another machine is told apart");
    };
    let Difference { step, .. } = *difference;
    assert_eq!(
        step,
        3 + 3 * 6 + 1,
        "the fourth batch goes to the wrong place"
    );
    let shown = difference.to_string();
    let line = |start: &str| {
        let found = shown
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        found
            .unwrap_or_else(|| panic!("no {start} in\n{shown}"))
            .to_owned()
    };
    let at = |line: String| {
        let (_, rest) = line.split_once(" at ").expect("where");
        rest.split(' ').next().and_then(|at| at.parse::<u64>().ok())
    };
    let size = at(line("recorded Write")).expect("a place");
    assert_eq!(at(line("now")), Some(size + 1));
    assert!(line("in full").contains("Write"));
}

#[test]
fn what_a_killed_process_leaves_replays_up_to_its_last_whole_chunk() {
    let (_dir, _path, bytes) = recorded(false, 100);
    let whole = again(&bytes, None).expect("it replays");
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..bytes.len())
        .step_by(bytes.len() / 40)
        .chain([bytes.len() - 1])
    {
        match again(&bytes[..cut], None) {
            Ok(part) => {
                assert!(part.steps <= whole.steps);
                assert!(part.torn || part.bytes == cut as u64);
                seen.insert(part.steps);
            }
            Err(ReplayError::Foreign) => assert!(cut < 1_000, "the origin is in the first chunk"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(seen.len() > 3, "several chunks: {seen:?}");
    assert!(matches!(
        again(b"something else", None),
        Err(ReplayError::Foreign)
    ));
}

#[test]
fn the_step_that_panicked_is_the_last_that_is_lived_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut recorder = Recorder::create(dir.path(), &origin(false)).expect("it starts");
    let path = recorder.path().to_owned();
    let now = Now::default();
    let steps = || again(&std::fs::read(&path).expect("the recording"), None);
    recorder.input(now, &Input::Wakeup);
    recorder.effects(now, &[]);
    assert_eq!(steps().expect("it replays").steps, 0, "not written yet");
    recorder.idle();
    let replayed = steps().expect("it replays");
    assert_eq!((replayed.steps, replayed.torn), (1, false));

    let (conn, frame) = (CONN, produced(4));
    recorder.input(now, &Input::Frame { conn, frame });
    recorder.last_page().write();
    // Whatever else happens until the process has ended.
    recorder.effects(now, &[]);
    recorder.end();
    let replayed = steps().expect("it replays");
    assert_eq!((replayed.steps, replayed.torn), (1, true));
    let bytes = std::fs::read(&path).expect("the recording");
    assert!(!contains(&bytes, &SECRET[..12]), "records are blanked out");
    let mut seen = Vec::new();
    let watched = replay(&bytes[..], |_| Ok(Watched(&mut seen)));
    watched.expect("it replays");
    assert!(matches!(seen[..], [Input::Wakeup, Input::Frame { .. }]));
}

/// Asks for nothing.
struct Watched<'a>(&'a mut Vec<Input>);

impl Machine for Watched<'_> {
    fn step(&mut self, _now: Now, input: Input, _out: &mut Effects) {
        self.0.push(input);
    }
    fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        None
    }
}

#[test]
fn a_damaged_recording_is_not_taken_for_one_that_ended_there() {
    let (_dir, _path, mut bytes) = recorded(false, 100);
    let whole = again(&bytes, None).expect("it replays");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let Err(ReplayError::Damaged { at, steps }) = again(&bytes, None) else {
        panic!("a flipped bit is told");
    };
    assert!(at <= middle as u64 && 0 < steps && steps < whole.steps);
}

#[test]
fn recordings_of_a_directory_do_not_overwrite_each_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths: Vec<PathBuf> = (0..3)
        .map(|_| {
            let recorder = Recorder::create(dir.path(), &origin(false)).expect("it starts");
            recorder.path().to_owned()
        })
        .collect();
    assert_eq!(super::recordings(dir.path()).expect("a listing"), paths);
}

fn sample_header() -> BatchHeader {
    let bytes = batch::encode_batch(BatchOptions::default(), &[RecordToWrite::default()]);
    BatchHeader::decode(&bytes).expect("a batch")
}

fn inputs() -> Vec<Input> {
    let (conn, token) = (ConnId(300), token(70_000));
    let bytes = Bytes::from_static(b"some bytes");
    let header = sample_header();
    let marker = Some(EndMarker {
        commit: true,
        coordinator_epoch: -1,
    });
    let batch = ValidBatch {
        header,
        body: bytes.slice(..4),
        log_append_time: -1,
        marker,
    };
    let fault = |kind| RecordsFault {
        kind,
        message: "no".into(),
        records: vec![(-5, "bad".into()), (7, String::new())],
    };
    let kinds = [
        RecordsFaultKind::Corrupt,
        RecordsFaultKind::InvalidRecord,
        RecordsFaultKind::InvalidTimestamp,
        RecordsFaultKind::UnsupportedCompression,
        RecordsFaultKind::UnsupportedFormat,
        RecordsFaultKind::TooLarge,
        RecordsFaultKind::NotOneBatch,
    ];
    let scanned = |rest| {
        let one = ScannedBatch {
            at: 9,
            header,
            crc_holds: false,
            marker: None,
        };
        let batches = vec![one, one];
        Facts::Scanned(Scanned { batches, rest })
    };
    let entry = Entry {
        name: name("ä"),
        dir: true,
        len: u64::MAX,
    };
    let entries = vec![entry.clone(), entry];
    let disk = |result| Input::Disk { token, result };
    let worked = |facts| Input::Worked { token, facts };
    let mut all = vec![
        Input::Start,
        Input::Opened {
            conn,
            listener: ListenerId(2),
            peer: "::1".into(),
        },
        Input::Connected { token, conn },
        Input::Frame {
            conn,
            frame: bytes.clone(),
        },
        Input::Sent {
            conn,
            bytes: u64::MAX,
        },
        disk(Ok(DiskDone::Done)),
        disk(Ok(DiskDone::Written)),
        disk(Ok(DiskDone::Synced)),
        disk(Ok(DiskDone::Opened { len: 1 << 40 })),
        disk(Ok(DiskDone::Read(bytes))),
        disk(Ok(DiskDone::Read(Bytes::new()))),
        disk(Ok(DiskDone::Listed {
            entries,
            more: true,
        })),
        worked(Facts::Validated(Ok(batch))),
        worked(scanned(ScanRest::Nothing)),
        worked(scanned(ScanRest::Short {
            at: 1,
            need: 1 << 33,
        })),
        worked(scanned(ScanRest::Damage { at: u32::MAX })),
        worked(Facts::Found(Ok(Some((i64::MIN, Offset(i64::MAX)))))),
        worked(Facts::Found(Ok(None))),
        Input::Wakeup,
        Input::Shutdown,
    ];
    all.extend(kinds.map(|kind| worked(Facts::Validated(Err(fault(kind))))));
    let errors = [
        DiskError::NotFound,
        DiskError::Exists,
        DiskError::Full,
        DiskError::NotEmpty,
        DiskError::Failed,
        DiskError::TooManyOpen,
    ];
    all.extend(errors.map(|error| disk(Err(error))));
    let reasons = [
        CloseReason::PeerClosed,
        CloseReason::Failed,
        CloseReason::FrameLimit,
        CloseReason::Asked,
    ];
    all.extend(reasons.map(|reason| Input::Closed { conn, reason }));
    let reasons = [
        ConnectError::Refused,
        ConnectError::TimedOut,
        ConnectError::Unresolved,
        ConnectError::Other,
    ];
    all.extend(reasons.map(|reason| Input::ConnectFailed { token, reason }));
    all
}

#[test]
fn every_input_is_read_as_it_was_written_and_no_part_of_it_is_taken_for_the_whole() {
    for input in inputs() {
        let mut writer = Writer::default();
        input.put(&mut writer);
        let chunk = writer.take_chunk();
        let content = &chunk[codec::CHUNK_HEADER..];
        let mut reader = codec::Reader::new(content);
        assert_eq!(Input::take(&mut reader), Ok(input.clone()));
        assert!(reader.is_empty());
        for cut in 0..content.len() {
            assert!(
                Input::take(&mut codec::Reader::new(&content[..cut])).is_err(),
                "{input:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn blanked_bytes_come_back_as_zeros_of_the_same_length() {
    let mut writer = Writer::default();
    let bytes = Bytes::from_static(b"0123456789");
    writer.blank(vec![0..2, 5..10]);
    bytes.put(&mut writer);
    // Of one value only.
    bytes.put(&mut writer);
    let chunk = writer.take_chunk();
    let mut reader = codec::Reader::new(&chunk[codec::CHUNK_HEADER..]);
    assert_eq!(
        Bytes::take(&mut reader),
        Ok(Bytes::from_static(b"\x00\x00234\x00\x00\x00\x00\x00"))
    );
    assert_eq!(Bytes::take(&mut reader), Ok(bytes));
}
