//! A store with a disk, jobs and a clock around it, all driven by dice.

use std::time::Duration;

use bytes::Bytes;

use super::disk::{Dice, Disk};
use crate::event::Event;
use crate::ids::{DirId, LeaderEpoch, LogId, Offset, PartitionIndex, ProducerId, Uuid};
use crate::io::{Boot, Cx, Effect, Effects, LogDirBoot, Token};
use crate::log::{
    Append, AppendError, Appended, LogConfig, LogStore, LookupOutcome, NewLog, Notice, Origin,
    Read, ReadError, ReadOutcome, Records, StoreConfig, TimestampQuery,
};
use crate::mark::Mark;
use crate::mutant::Mutants;
use crate::rng::Rng;
use crate::time::{Instant, Now, WallMs};
use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};
use crate::work::{self, Facts, Job, TimestampTarget, ValidBatch};

pub(super) const ROOT: DirId = DirId(7);
pub(super) const META: &[u8] =
    b"version=1\nnode.id=1\ncluster.id=c\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n";

/// The world.
pub(super) struct World {
    pub(super) store: LogStore,
    pub(super) disk: Disk,
    pub(super) dice: Dice,
    pub(super) now: Now,
    pub(super) mutants: Mutants,
    pub(super) config: StoreConfig,
    jobs: Vec<(Token, Job)>,
    out: Effects,
    /// Everything told so far.
    pub(super) told: Vec<Notice>,
    pub(super) events: Vec<Event>,
}

pub(super) fn boot() -> Boot {
    Boot {
        boot_id: [1; 16],
        log_dirs: vec![LogDirBoot {
            dir: ROOT,
            path: "/data".to_owned(),
        }],
        listeners: Vec::new(),
    }
}

impl World {
    pub(super) fn new(seed: u64, config: StoreConfig) -> World {
        let mut disk = Disk::new(ROOT);
        disk.put("meta.properties", META);
        World {
            store: LogStore::new(config.clone(), &boot()),
            disk,
            dice: Dice(seed),
            now: Now {
                mono: Instant(0),
                wall: WallMs(1_000_000),
            },
            mutants: Mutants::NONE,
            config,
            jobs: Vec::new(),
            out: Effects::default(),
            told: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Calls the store and takes what it asks for.
    pub(super) fn call<T>(&mut self, call: impl FnOnce(&mut LogStore, &mut Cx<'_>) -> T) -> T {
        let rng = Rng::new([9; 32]);
        let mut cx = Cx {
            now: self.now,
            out: &mut self.out,
            rng: &rng,
            mutants: self.mutants,
        };
        let result = call(&mut self.store, &mut cx);
        for effect in std::mem::take(&mut self.out.effects) {
            match effect {
                Effect::Disk { token, op } => self.disk.issue(token, op),
                Effect::Work { token, job } => self.jobs.push((token, job)),
                other => panic!("the store asked for {other:?}"),
            }
        }
        self.events.append(&mut self.out.events);
        while let Some(notice) = self.store.next_notice() {
            self.told.push(notice);
        }
        result
    }

    /// One completion or wakeup; false if nothing is under way.
    pub(super) fn step(&mut self) -> bool {
        self.now.mono = self.now.mono + Duration::from_micros(50);
        let due = self
            .store
            .next_wakeup()
            .is_some_and(|(at, _)| at <= self.now.mono);
        if due {
            self.call(LogStore::on_wakeup);
            return true;
        }
        if !self.jobs.is_empty() && (self.disk.is_idle() || self.dice.one_in(2)) {
            let at = self.dice.below(self.jobs.len());
            let (token, job) = self.jobs.remove(at);
            let facts: Facts = work::run(job);
            self.call(|store, cx| store.on_worked(cx, token, facts));
            return true;
        }
        match self.disk.complete(&mut self.dice) {
            Some((token, result)) => {
                self.call(|store, cx| store.on_disk(cx, token, result));
                true
            }
            None => false,
        }
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the store does not come to rest");
    }

    /// Time passes.
    pub(super) fn sleep(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Duration::from_millis(ms);
        self.now.wall = WallMs(self.now.wall.0 + ms as i64);
        self.settle();
    }

    pub(super) fn start(&mut self) {
        self.call(LogStore::start);
        self.settle();
    }

    /// Stops cleanly and makes a store that has not started.
    pub(super) fn stop(&mut self) {
        self.call(|store, cx| store.shutdown(cx, 5));
        self.settle();
        assert!(
            self.told.contains(&Notice::Stopped),
            "{:?}",
            self.told.last()
        );
        self.reborn(false, false);
    }

    /// Crashes and starts again; the log `t` then.
    pub(super) fn restart(&mut self, power: bool) -> LogId {
        self.crash(power);
        self.start();
        self.find("t")
    }

    /// Crashes and makes a store that has not started.
    pub(super) fn crash(&mut self, power: bool) {
        self.reborn(true, power);
    }

    fn reborn(&mut self, crash: bool, power: bool) {
        assert!(crash || self.disk.is_idle());
        self.disk.crash(&mut self.dice, power, ROOT);
        self.jobs.clear();
        self.told.clear();
        self.store = LogStore::new(self.config.clone(), &boot());
    }

    pub(super) fn create(&mut self, topic: &str, config: LogConfig) -> LogId {
        let id = self.begin_create(topic, config);
        self.settle();
        assert!(self.told.contains(&Notice::Opened(id)), "{:?}", self.told);
        id
    }

    pub(super) fn begin_create(&mut self, topic: &str, config: LogConfig) -> LogId {
        self.begin_create_as(topic, topic, config)
    }

    pub(super) fn begin_create_as(&mut self, topic: &str, id: &str, config: LogConfig) -> LogId {
        let new = NewLog {
            topic: topic.to_owned(),
            topic_id: topic_id(id),
            partition: PartitionIndex(0),
            config,
            dir: None,
        };
        self.call(|store, cx| store.create(cx, new))
    }

    pub(super) fn find(&self, topic: &str) -> LogId {
        self.store
            .find(topic_id(topic), PartitionIndex(0))
            .expect("the log is there")
    }

    pub(super) fn find_metadata(&self) -> LogId {
        self.store
            .find(Uuid::METADATA_TOPIC, PartitionIndex(0))
            .expect("the metadata log is there")
    }

    pub(super) fn append(&mut self, id: LogId, batch: &Bytes) -> Result<Appended, AppendError> {
        let append = Append {
            batch: ValidBatch::trusted(batch).expect("whole"),
            epoch: LeaderEpoch(0),
            origin: Origin::Client,
        };
        self.call(|store, cx| store.append(cx, id, append))
    }

    /// Appends what must be taken.
    pub(super) fn put(&mut self, id: LogId, batch: &Bytes) -> Appended {
        self.append(id, batch).expect("appended")
    }

    /// Reads, from disk if need be.
    pub(super) fn read(&mut self, id: LogId, from: i64) -> Result<Records, ReadError> {
        let end = self.store.view(id).expect("there").end;
        let read = Read {
            from: Offset(from),
            max_bytes: 1 << 20,
            below: end,
            at_least_one: true,
        };
        match self.call(|store, cx| store.read(cx, id, read))? {
            ReadOutcome::Ready(records) => Ok(records),
            ReadOutcome::Later(wanted) => {
                self.settle();
                let done = self.told.iter().find_map(|notice| match notice {
                    Notice::ReadDone(id, result) if *id == wanted => Some(result.clone()),
                    _ => None,
                });
                done.expect("the read is answered")
            }
        }
    }

    /// Timestamp and offset of the record that a lookup finds.
    pub(super) fn look_up(&mut self, id: LogId, target: TimestampTarget) -> Option<(i64, i64)> {
        let below = self.store.view(id).expect("there").end;
        let query = TimestampQuery { target, below };
        let asked = self.call(|store, cx| store.lookup_timestamp(cx, id, query));
        let found = match asked.expect("online") {
            LookupOutcome::Ready(found) => found,
            LookupOutcome::Later(wanted) => {
                self.settle();
                let done = self.told.iter().find_map(|notice| match notice {
                    Notice::LookupDone(id, result) if *id == wanted => Some(result.clone()),
                    _ => None,
                });
                done.expect("answered").expect("readable")
            }
        };
        found.map(|found| (found.timestamp, found.offset.0))
    }

    /// The values of all records from the start on, in order of offset; offsets must be dense.
    pub(super) fn values(&mut self, id: LogId) -> Vec<String> {
        let view = self.store.view(id).expect("there");
        assert!(view.online, "{:?}", view.offline);
        let (mut next, end) = (view.start, view.end);
        let mut values = Vec::new();
        while next < end {
            let records = self.read(id, next.0).expect("readable");
            assert!(records.next > next, "nothing at {next} below {end}");
            for batch in crate::wire::batch::batches(&records.parts.to_bytes()) {
                let batch = batch.expect("whole");
                assert_eq!(crate::wire::batch::checksum(&batch.bytes), batch.header.crc);
                for (n, value) in decode_values(&batch.records()).into_iter().enumerate() {
                    let offset = batch.header.base_offset.0 + n as i64;
                    if offset >= next.0 {
                        values.push(value);
                    }
                }
            }
            next = records.next;
        }
        values
    }

    pub(super) fn marked(&self, mark: Mark) -> bool {
        self.events.contains(&Event::Mark(mark))
    }

    pub(super) fn durable(&self, id: LogId) -> i64 {
        self.store.view(id).map_or(-1, |view| view.durable.0)
    }
}

pub(super) fn topic_id(topic: &str) -> Uuid {
    let mut id = [0; 16];
    id[..topic.len()].copy_from_slice(topic.as_bytes());
    Uuid(id)
}

/// A batch of records with these values.
pub(super) fn batch(values: &[String], timestamp: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    let records: Vec<_> = values
        .iter()
        .map(|value| RecordToWrite {
            timestamp,
            value: Some(Bytes::from(value.clone())),
            ..RecordToWrite::default()
        })
        .collect();
    let mut options = BatchOptions::default();
    if let Some((id, epoch, sequence)) = producer {
        options.producer_id = ProducerId(id);
        options.producer_epoch = epoch;
        options.base_sequence = sequence;
    }
    encode_batch(options, &records)
}

fn decode_values(records: &Bytes) -> Vec<String> {
    use crate::wire::batch::varlong;
    let mut values = Vec::new();
    let mut at = 0;
    while at < records.len() {
        let (len, n) = varlong(&records[at..]).expect("length");
        let end = at + n + len as usize;
        let mut field = at + n + 1;
        for _ in 0..2 {
            field += varlong(&records[field..]).expect("delta").1;
        }
        let (key, n) = varlong(&records[field..]).expect("key");
        assert_eq!(key, -1);
        field += n;
        let (len, n) = varlong(&records[field..]).expect("value");
        let value = &records[field + n..field + n + len as usize];
        values.push(String::from_utf8(value.to_vec()).expect("text"));
        at = end;
    }
    values
}
