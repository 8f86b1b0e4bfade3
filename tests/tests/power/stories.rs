//! Short stories, each with a promise and a power cut. With every sync done they end well; which sync breaks which of them is told
//! by the [table](super::table).

use crate::stage::{Stage, TOPIC, Told};
use std::fs;
use std::time::Duration;
use trialog_tests::client::PLAIN;
use trialog_tests::crashfs::{Entries, Fate, Missing, Plan, Rule, SyncKind};

fn plan(data: Fate, entries: Entries) -> Plan {
    Plan {
        seed: 0,
        data: Some(data),
        entries: Some(entries),
    }
}

/// Names are as they were, what files hold is not.
const NAMES_ONLY: fn() -> Plan = || plan(Fate::Lost, Entries::Kept);
/// The same, where the lengths are kept as well.
const HOLLOW: fn() -> Plan = || plan(Fate::Hollow, Entries::Kept);

/// A segment that is so old is rolled.
const ROLLS: (&str, &str) = ("segment.ms", "100");

fn age() {
    std::thread::sleep(Duration::from_millis(130));
}

/// `trialog format` said that it is done.
pub fn formatted(s: &mut Stage) -> Told {
    s.arm();
    s.format()?;
    s.cut(Plan::lost());
    s.start()?;
    s.topic(TOPIC, &[])
}

/// The power fails while the directory is formatted.
pub fn half_formatted(s: &mut Stage) -> Told {
    s.arm();
    let only = plan(Fate::Lost, Entries::Only("meta.properties"));
    s.cut_when_frozen(only, |_| (), |setup| setup.try_format());
    let names = s.names("");
    let has = |name: &str| names.iter().any(|n| n == name);
    match has("meta.properties") && !has("bootstrap.checkpoint") {
        true => Err("formatted, and without bootstrap.checkpoint".to_owned()),
        false => Ok(()),
    }
}

/// A topic was created, and a record in it acknowledged.
pub fn created(s: &mut Stage) -> Told {
    s.begin()?;
    s.arm();
    s.topic(TOPIC, &[])?;
    s.produce("first")?;
    s.cut(Plan::lost());
    s.start()?;
    s.check()
}

/// A record was acknowledged.
pub fn acknowledged(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[])?;
    s.arm();
    s.produce("first")?;
    s.cut(Plan::lost());
    s.start()?;
    s.check()
}

/// What a record of the frontier proves to be durable cannot pass for a torn tail.
pub fn proven(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[])?;
    s.produce("first")?;
    s.arm();
    s.produce("second")?;
    s.cut(Plan::lost());
    s.check_that_rot_is_noticed()
}

/// What the frontier of an earlier life proved is in the checkpoint of recovery points when its files go.
fn handed_over(s: &mut Stage, plan: Plan) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[])?;
    s.produce("first")?;
    s.topic("later", &[])?;
    s.idle();
    s.kill();
    s.arm();
    s.start()?;
    s.until("the old frontier goes", |s| {
        let frontiers = s.names("").into_iter().filter(|n| n.contains("frontier"));
        frontiers.count() == 1
    })?;
    s.cut(plan);
    s.check_that_rot_is_noticed()
}

pub fn recovery_points_written(s: &mut Stage) -> Told {
    handed_over(s, NAMES_ONLY())
}

pub fn recovery_points_named(s: &mut Stage) -> Told {
    handed_over(s, plan(Fate::Lost, Entries::Only("trialog-frontier")))
}

/// From a start on a crash is a crash: the marker of the clean stop before it does not come back.
pub fn unclean_from_the_start(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[])?;
    s.produce("first")?;
    s.stop()?;
    s.arm();
    let first_of_the_epoch = Rule::new(
        SyncKind::File,
        "__cluster_metadata-0/00000000000000000000.log",
        Missing::Freeze(0),
    );
    s.fs.add_rule(first_of_the_epoch);
    let torn = plan(Fate::Hollow, Entries::Lost);
    let start = |setup: &trialog_tests::broker::Setup| {
        let started = setup.try_start(Duration::from_secs(10));
        started.map(drop)
    };
    if !s.cut_when_frozen(torn, |_| (), start) {
        return Err("nothing was to be synced at the start".to_owned());
    }
    s.start()?;
    s.check()
}

/// Every life has an epoch of its own: KAFKA-10527.
pub fn epoch_taken(s: &mut Stage) -> Told {
    s.begin()?;
    s.stop()?;
    s.arm();
    let first_of_the_epoch = Rule::new(
        SyncKind::File,
        "__cluster_metadata-0/00000000000000000000.log",
        Missing::Freeze(0),
    );
    s.fs.add_rule(first_of_the_epoch);
    let start = |setup: &trialog_tests::broker::Setup| {
        let started = setup.try_start(Duration::from_secs(10));
        started.map(drop)
    };
    let mut taken = None;
    let look = |s: &Stage| {
        let state = s.fs.read("data/__cluster_metadata-0/quorum-state");
        let state = state.expect("quorum-state");
        taken = Some(epoch_in(&String::from_utf8_lossy(&state)));
    };
    if !s.cut_when_frozen(Plan::lost(), look, start) {
        return Err("nothing was to be synced at the start".to_owned());
    }
    s.start()?;
    let state = fs::read_to_string(s.path("__cluster_metadata-0/quorum-state"));
    let now = epoch_in(&state.map_err(|why| why.to_string())?);
    match taken {
        Some(taken) if now > taken => Ok(()),
        taken => Err(format!("epoch {now} was taken twice: before {taken:?}")),
    }
}

fn epoch_in(state: &str) -> i64 {
    let state: serde_json::Value = serde_json::from_str(state).expect("quorum-state is JSON");
    state["leaderEpoch"].as_i64().expect("an epoch")
}

/// The node started, once.
pub fn started(s: &mut Stage) -> Told {
    s.format()?;
    s.arm();
    s.start()?;
    s.topic(TOPIC, &[])?;
    s.produce("first")?;
    s.cut(Plan::lost());
    s.start()?;
    s.check()
}

/// The metadata log was cut before a snapshot.
pub fn snapshot_taken(s: &mut Stage) -> Told {
    s.set("metadata.log.max.record.bytes.between.snapshots", "3000");
    s.set("metadata.max.retention.bytes", "1000");
    s.begin()?;
    s.arm();
    let cut = |s: &Stage| {
        let starts = fs::read_to_string(s.path("log-start-offset-checkpoint"));
        starts.is_ok_and(|text| text.contains("__cluster_metadata 0"))
    };
    for n in 0..50 {
        if cut(s) {
            break;
        }
        s.topic(&format!("t{n}"), &[])?;
    }
    s.until("the metadata log is cut", cut)?;
    s.cut(Plan::lost());
    s.start()?;
    s.unharmed()?;
    s.topic("after", &[])
}

/// A record in a new segment was acknowledged.
pub fn rolled(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[ROLLS])?;
    s.produce("first")?;
    age();
    s.arm();
    s.produce("second")?;
    s.cut(Plan::lost());
    s.start()?;
    s.check()
}

/// What a roll and a clean stop leave is whole.
pub fn sealed(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(
        TOPIC,
        &[("segment.ms", "5000"), ("index.interval.bytes", "0")],
    )?;
    let first = s.now() - 10_000;
    s.produce_dated([first, first + 1000, first + 2000].into_iter())?;
    s.read()?;
    s.arm();
    s.produce("fourth")?;
    s.stop()?;
    s.cut(HOLLOW());
    s.start()?;
    if s.offset_of(first)? != 0 {
        return Err("the first record is not found by its timestamp".to_owned());
    }
    s.check()?;
    s.unharmed()?;
    // The producers at the roll are needed after a crash, not after a clean stop.
    s.idle();
    s.cut(Plan::lost());
    s.start()?;
    s.check()?;
    s.unharmed()
}

/// Records were deleted.
pub fn records_deleted(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[])?;
    for value in ["first", "second", "third"] {
        s.produce(value)?;
    }
    s.arm();
    s.delete_records(2)?;
    s.cut(Plan::lost());
    s.start()?;
    match s.earliest()? {
        2 => Ok(()),
        back => Err(format!(
            "DeleteRecords up to 2 is undone: the log begins at {back}"
        )),
    }
}

/// Retention removed a segment, and records up to there were told to be deleted.
pub fn expired(s: &mut Stage) -> Told {
    s.set("log.retention.check.interval.ms", "100");
    s.begin()?;
    s.topic(TOPIC, &[ROLLS, ("retention.ms", "1500")])?;
    s.produce("first")?;
    age();
    s.produce("second")?;
    s.arm();
    s.until("the first segment expires", |s| {
        s.earliest().is_ok_and(|start| start > 0)
    })?;
    s.delete_records(1)?;
    s.cut(Plan::lost());
    // The next life would expire it again.
    let names = s.names("t-0");
    match names.iter().any(|name| name == "00000000000000000000.log") {
        true => Err("the log begins at 0 again, and records up to 1 are deleted".to_owned()),
        false => s.start(),
    }
}

/// A topic was deleted, and its files are going.
pub fn topic_deleted(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[("file.delete.delay.ms", "0")])?;
    s.produce("first")?;
    s.arm();
    s.delete_topic()?;
    s.until("its directory goes", |s| {
        !s.names("").iter().any(|name| name.starts_with("t-0"))
    })?;
    s.cut(plan(Fate::Lost, Entries::Only("partition.metadata")));
    s.start()?;
    s.unharmed()
}

/// A node was killed before the name of a new segment was durable; the next life serves what it finds.
pub fn found_after_a_kill(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[ROLLS])?;
    s.produce("first")?;
    age();
    s.fs.ignore(SyncKind::Directory, "/t-0");
    s.produce("second")?;
    s.idle();
    s.kill();
    s.fs.clear_rules();
    s.arm();
    s.start()?;
    s.read()?;
    s.cut(Plan::lost());
    s.start()?;
    s.check()
}

/// A torn tail was cut at a start, and its segment rolled.
pub fn tail_cut(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[ROLLS])?;
    s.produce("first")?;
    s.topic("later", &[])?;
    s.kill();
    s.start()?;
    s.idle();
    s.kill();
    let log = s.path("t-0/00000000000000000000.log");
    let mut torn = fs::read(&log).map_err(|why| why.to_string())?;
    torn.extend([7; 100]);
    fs::write(&log, torn).map_err(|why| why.to_string())?;
    s.fs.settle();
    s.arm();
    s.start()?;
    s.produce("second")?;
    s.cut(NAMES_ONLY());
    s.start()?;
    s.check()
}

/// The disk was full, and what a batch left of itself is cut off before its segment is rolled.
pub fn room_again(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[ROLLS])?;
    s.produce("first")?;
    s.arm();
    s.fs.set_room(Some(30));
    if s.send("does not fit", PLAIN).is_ok() {
        return Err("a full disk took a record".to_owned());
    }
    s.fs.set_room(None);
    age();
    s.until("the disk is found to have room", |s| {
        s.send("fits again", PLAIN).is_ok()
    })?;
    s.read()?;
    s.cut(plan(Fate::Untruncated, Entries::Kept));
    s.start()?;
    s.check()
}

/// The disk was full when a segment was rolled; its file is made when there is room.
pub fn room_for_a_segment(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[ROLLS])?;
    s.produce("first")?;
    age();
    s.arm();
    s.fs.set_room(Some(0));
    if s.send("does not fit", PLAIN).is_ok() {
        return Err("a full disk took a record".to_owned());
    }
    s.fs.set_room(None);
    s.until("the disk is found to have room", |s| {
        s.send("fits again", PLAIN).is_ok()
    })?;
    s.read()?;
    s.cut(Plan::lost());
    s.start()?;
    s.check()
}

/// After a clean stop nothing is forgotten, and nothing but Kafka's own files is there.
fn stopped(s: &mut Stage, plan: Plan) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[])?;
    let producer = s.idempotent()?;
    s.send("first", producer)?;
    s.arm();
    s.stop()?;
    s.cut(plan);
    let ours = s.names("").into_iter().find(|n| n.starts_with("trialog-"));
    if let Some(ours) = ours {
        return Err(format!("{ours} is left after a clean stop"));
    }
    let marker = fs::read_to_string(s.path(".kafka_cleanshutdown")).unwrap_or_default();
    let marker: Option<serde_json::Value> = serde_json::from_str(&marker).ok();
    if marker.is_none_or(|marker| marker["brokerEpoch"].as_i64().is_none()) {
        return Err("the clean-shutdown marker tells no epoch of the broker".to_owned());
    }
    s.start()?;
    s.unharmed()?;
    s.send("first", producer)?;
    s.read()?;
    match s.offset_of(-1)? {
        1 => Ok(()),
        end => Err(format!(
            "a late retry was appended again: the log ends at {end}"
        )),
    }
}

pub fn stopped_and_lost(s: &mut Stage) -> Told {
    stopped(s, Plan::lost())
}

pub fn stopped_and_hollow(s: &mut Stage) -> Told {
    stopped(s, HOLLOW())
}

/// After a clean stop a record is found by its timestamp, in a segment with long indexes.
pub fn found_by_timestamp(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[("index.interval.bytes", "0")])?;
    // The greatest timestamp is behind the first three pages of the time index, and before the last entry of the other.
    s.produce_dated((0..1100).map(|n| if n <= 1060 { 1000 + n } else { 500 }))?;
    s.arm();
    s.stop()?;
    s.cut(plan(Fate::FirstPages(3), Entries::Kept));
    s.start()?;
    match s.offset_of(1000 + 1050)? {
        1050 => Ok(()),
        found => Err(format!(
            "the record of a timestamp is at 1050, and {found} was told"
        )),
    }
}

/// Where the records of a leader's epoch end stays what it was.
pub fn epochs_remembered(s: &mut Stage) -> Told {
    s.begin()?;
    s.topic(TOPIC, &[("index.interval.bytes", "0")])?;
    s.produce("first")?;
    s.stop()?;
    s.arm();
    s.start()?;
    s.produce("second")?;
    s.produce("third")?;
    let told = s.end_of_epoch(0)?;
    s.stop()?;
    s.cut(NAMES_ONLY());
    s.start()?;
    match s.end_of_epoch(0)? {
        same if same == told => Ok(()),
        now => Err(format!("the end of epoch 0 was {told:?}, and is {now:?}")),
    }
}
