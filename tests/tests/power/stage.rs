//! One broker on a file system that forgets, for short stories with a power cut: what it promised, and what is left of it.
//!
//! A story fails with a sentence that says which promise was broken. One sync may be missing; what a later sync of the same file or
//! directory would make up for comes too late.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteTopicsRequest, OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trialog_tests::broker::{Broker, Kind, Setup};
use trialog_tests::client::{Client, PLAIN, Producer, batch, text};
use trialog_tests::crashfs::{CrashFs, Missing, Plan, Rule, SyncKind};

/// The topic of a story; it has one partition.
pub const TOPIC: &str = "t";
/// How long a broker may take to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fine, or the promise that was broken.
pub type Told<T = ()> = Result<T, String>;

fn failed(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |why| format!("{what}: {why}")
}

/// A broker, its disk, and what it has promised.
pub struct Stage {
    pub fs: CrashFs,
    setup: Setup,
    running: Option<Broker>,
    missing: Option<Rule>,
    /// Records that were acknowledged or read: offset and value.
    promised: Vec<(i64, String)>,
    ignored: u64,
    /// Of them, those before the story was armed.
    unarmed: u64,
    /// Every sync that was asked for, by what is synced.
    pub heard: BTreeSet<(SyncKind, String)>,
    /// Length of the broker's log when it was last started.
    log_from: usize,
    home: tempfile::TempDir,
}

impl Stage {
    /// A node whose disk is empty. `missing` is the sync that is not done once the story [arms](Stage::arm) it.
    pub fn new(missing: Option<Rule>) -> Stage {
        let home = tempfile::tempdir().expect("a home");
        let fs = CrashFs::mount().expect("the crash file system mounts: /dev/fuse and fusermount3");
        Stage {
            setup: Setup::new(Kind::Trialog, home.path(), &fs.path().join("data")),
            fs,
            running: None,
            missing,
            promised: Vec::new(),
            ignored: 0,
            unarmed: 0,
            heard: BTreeSet::new(),
            log_from: 0,
            home,
        }
    }

    /// Sets a property for the starts to come.
    pub fn set(&mut self, name: &str, value: &str) {
        self.setup = self.setup.clone().with(name, value);
    }

    /// Formats the directory; an error if the power fails meanwhile.
    pub fn format(&mut self) -> Told {
        self.setup.try_format()
    }

    /// Formats and starts.
    pub fn begin(&mut self) -> Told {
        self.format()?;
        self.start()
    }

    /// Starts, and waits until it serves. If the disk freezes meanwhile, the power fails.
    pub fn start(&mut self) -> Told {
        self.log_from = self.log().len();
        let setup = self.setup.clone();
        let started = std::thread::scope(|scope| {
            let starting = scope.spawn(move || setup.try_start(PATIENCE));
            while !starting.is_finished() {
                if self.fs.is_frozen() {
                    self.cut_while(Plan::lost(), || drop(starting.join()));
                    return Err("the power failed before it served".to_owned());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let started = starting.join().expect("a start does not panic");
            started.map_err(|why| format!("it does not start: {why}"))
        });
        self.running = Some(started?);
        Ok(())
    }

    fn log(&self) -> String {
        let log = fs::read(self.home.path().join("broker.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Has the broker found no file of its own damaged since it was started?
    pub fn unharmed(&self) -> Told {
        let log = self.log();
        let harm = |line: &&str| line.contains("damaged") || line.contains("missing or wrong");
        match log[self.log_from..].lines().find(harm) {
            Some(line) => Err(format!("it found its own files damaged: {line}")),
            None => Ok(()),
        }
    }

    /// From here on the sync is missing. Waits for the disk to be idle first, so that it is the one that is meant.
    pub fn arm(&mut self) {
        self.idle();
        if let Some(rule) = self.missing.take() {
            self.unarmed = self.ignored + self.fs.ignored();
            self.fs.add_rule(rule);
        }
    }

    /// Waits until nothing was asked of the disk for a moment.
    pub fn idle(&self) {
        let (mut seen, mut since) = (self.fs.operations(), Instant::now());
        let until = since + Duration::from_secs(2);
        while since.elapsed() < Duration::from_millis(40) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.fs.operations();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }

    /// Syncs that were answered and not done since the story was armed, cuts included.
    pub fn missed(&self) -> u64 {
        self.ignored - self.unarmed
    }

    /// Where a file of the log directory is.
    pub fn path(&self, below: &str) -> PathBuf {
        self.setup.data().join(below)
    }

    /// Names in the log directory or below it.
    pub fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(below)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }

    /// Waits until `done`.
    pub fn until(&self, what: &str, mut done: impl FnMut(&Stage) -> bool) -> Told {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > until || self.fs.is_frozen() {
                return Err(format!("in vain was waited for this: {what}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// kill -9; the disk goes on.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// A clean stop.
    pub fn stop(&mut self) -> Told {
        let mut running = self.running.take().ok_or("nothing runs")?;
        let (status, _) = running.stop();
        match status.success() {
            true => Ok(()),
            false => Err(format!("the stop ended with {status}")),
        }
    }

    /// The power fails, whatever runs.
    pub fn cut(&mut self, plan: Plan) {
        self.cut_while(plan, || ());
    }

    fn cut_while(&mut self, plan: Plan, meanwhile: impl FnOnce()) {
        let syncs = self.fs.syncs();
        self.heard.extend(syncs.into_keys());
        let running = &mut self.running;
        let end = || {
            if let Some(running) = running {
                running.kill();
            }
            meanwhile();
        };
        let report = self.fs.power_cut(plan, end);
        self.ignored += report.expect("the file system comes back").syncs_ignored;
        self.running = None;
    }

    /// Does something with the node until a rule has frozen the disk, and then the power fails. True if it froze; else it was done.
    pub fn cut_when_frozen(
        &mut self,
        plan: Plan,
        look: impl FnOnce(&Stage),
        act: impl FnOnce(&Setup) -> Told + Send,
    ) -> bool {
        let setup = self.setup.clone();
        std::thread::scope(|scope| {
            let acting = scope.spawn(move || act(&setup));
            while !self.fs.is_frozen() && !acting.is_finished() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let froze = self.fs.is_frozen();
            look(self);
            self.cut_while(plan, || drop(acting.join()));
            froze
        })
    }

    pub fn client(&self) -> Told<Client> {
        let running = self.running.as_ref().ok_or("nothing runs")?;
        let mut client = Client::connect(&running.bootstrap()).map_err(failed("connecting"))?;
        client.patience(Duration::from_secs(10));
        Ok(client)
    }

    pub fn topic(&self, name: &str, configs: &[(&str, &str)]) -> Told {
        let created = self.client()?.create_topic(name, 1, configs);
        created.map_err(failed("creating a topic"))
    }

    /// Produces one record with acks=all: its offset, once it is promised.
    pub fn produce(&mut self, value: &str) -> Told<i64> {
        let offset = self.send(value, PLAIN)?;
        self.promised.push((offset, value.to_owned()));
        Ok(offset)
    }

    /// The offset at which a record is acknowledged; -1 if it is known and its place is not.
    pub fn send(&self, value: &str, producer: Producer) -> Told<i64> {
        let bytes = batch(&[value.into()], producer, Compression::None);
        let answer = self.client()?.produce(TOPIC, 0, -1, bytes);
        match answer.map_err(failed("an acknowledgement"))? {
            (0, offset) => Ok(offset),
            (46, _) => Ok(-1),
            (error, _) => Err(format!("a record was refused with error {error}")),
        }
    }

    /// Reads everything: from now on it is promised.
    pub fn read(&mut self) -> Told {
        self.promised = self.records()?;
        Ok(())
    }

    fn records(&self) -> Told<Vec<(i64, String)>> {
        let records = self.client()?.read_all(TOPIC, 0);
        let records = records.map_err(|why| format!("the partition cannot be read: {why}"))?;
        let value = |record: &Record| {
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
        };
        Ok(records.iter().map(|r| (r.offset, value(r))).collect())
    }

    /// Is everything there that was promised, and nothing twice?
    pub fn check(&self) -> Told {
        let found = self.records()?;
        for (offset, value) in &self.promised {
            if !found.contains(&(*offset, value.clone())) {
                return Err(format!(
                    "{value} was promised at offset {offset}, and is lost"
                ));
            }
        }
        Ok(())
    }

    /// Rot in the first batch: either it is noticed, or what was promised is given up without a word.
    pub fn check_that_rot_is_noticed(&mut self) -> Told {
        let file = self.path("t-0/00000000000000000000.log");
        let mut bytes = fs::read(&file).map_err(failed("reading the log"))?;
        bytes[65] ^= 1;
        fs::write(&file, bytes).map_err(failed("writing the log"))?;
        self.fs.settle();
        self.start()?;
        match self.records() {
            Err(_) => Ok(()),
            Ok(found) => Err(format!(
                "rot passed for a torn tail: {} records are left of {}",
                found.len(),
                self.promised.len()
            )),
        }
    }

    /// First offset of the partition.
    pub fn earliest(&self) -> Told<i64> {
        self.offset_of(-2)
    }

    /// The offset of the first record that is at least so new, or of a special timestamp.
    pub fn offset_of(&self, timestamp: i64) -> Told<i64> {
        match self.client()?.offset_of(TOPIC, 0, timestamp) {
            Ok((0, offset)) => Ok(offset),
            other => Err(format!("ListOffsets was answered with {other:?}")),
        }
    }

    pub fn idempotent(&self) -> Told<Producer> {
        let (id, epoch) = self
            .client()?
            .init_producer_id()
            .map_err(failed("a producer id"))?;
        Ok(Producer {
            id,
            epoch,
            sequence: 0,
        })
    }

    pub fn delete_records(&self, to: i64) -> Told {
        let part = DeleteRecordsPartition::default()
            .with_partition_index(0)
            .with_offset(to);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(text(TOPIC)))
            .with_partitions(vec![part]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = self.client()?.call(2, &request);
        let answer = answer.map_err(failed("DeleteRecords"))?;
        match answer.topics[0].partitions[0].error_code {
            0 => Ok(()),
            error => Err(format!("DeleteRecords was answered with error {error}")),
        }
    }

    pub fn delete_topic(&self) -> Told {
        let topic = DeleteTopicState::default().with_name(Some(TopicName(text(TOPIC))));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = self.client()?.call(6, &request);
        match answer.map_err(failed("DeleteTopics"))?.responses[0].error_code {
            0 => Ok(()),
            error => Err(format!("DeleteTopics was answered with error {error}")),
        }
    }

    /// Where the records of a leader's epoch end: (epoch, offset).
    pub fn end_of_epoch(&self, epoch: i32) -> Told<(i32, i64)> {
        let part = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(TopicName(text(TOPIC)))
            .with_partitions(vec![part]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let answer = self.client()?.call(4, &request);
        let answer = answer.map_err(failed("OffsetForLeaderEpoch"))?;
        let end = &answer.topics[0].partitions[0];
        Ok((end.leader_epoch, end.end_offset))
    }

    /// The time, in ms since 1970.
    pub fn now(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("after 1970").as_millis() as i64
    }

    /// Produces one batch of one record for each timestamp.
    pub fn produce_dated(&self, timestamps: impl Iterator<Item = i64>) -> Told {
        use trialog_tests::client::{PRODUCE, produce_request};
        let mut client = self.client()?;
        let mut sent = Vec::new();
        for timestamp in timestamps {
            let request = produce_request(TOPIC, 0, -1, dated(timestamp));
            sent.push(client.send(PRODUCE, &request).map_err(failed("a batch"))?);
        }
        for correlation in sent {
            match client.produced(correlation).map_err(failed("a batch"))? {
                (0, _) => {}
                (error, _) => return Err(format!("a batch was refused with error {error}")),
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A process that waits for a frozen disk does not end.
        if self.running.is_some() {
            self.cut(Plan::lost());
        }
    }
}

fn dated(timestamp: i64) -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp,
        key: None,
        value: Some(Bytes::from_static(b"dated")),
        headers: Default::default(),
    };
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, [&record], &options).expect("a batch of a fresh record");
    out.freeze()
}

/// The rule for the `nth` sync of `path`, from 0, and the `count - 1` that follow it.
pub fn missing(kind: SyncKind, path: &str, nth: u64, count: u64) -> Rule {
    Rule::new(kind, path, Missing::These { nth, count })
}
