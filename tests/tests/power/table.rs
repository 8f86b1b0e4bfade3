//! Every sync of the broker and of its `format`: what breaks without it, or why nothing does.

use crate::stage::{Stage, Told, missing};
use crate::stories;
use std::collections::BTreeSet;
use trialog_tests::crashfs::SyncKind::{self, Directory, File};

/// Where a sync is asked for, what it syncs, and the story that it saves.
pub struct Sync {
    /// The place in the code, and what it is for.
    pub site: &'static str,
    kind: SyncKind,
    path: &'static str,
    /// Which of the path's syncs after the story has armed it, from 0; and how many, if the next ones would do its work at once.
    nth: u64,
    count: u64,
    pub story: fn(&mut Stage) -> Told,
    /// What the story tells without it.
    pub shows: &'static str,
    /// It is shown in every run of the tests, not in full ones only.
    pub smoke: bool,
}

impl Sync {
    pub fn rule(&self) -> trialog_tests::crashfs::Rule {
        missing(self.kind, self.path, self.nth, self.count)
    }
}

macro_rules! syncs {
    ($($smoke:ident $site:literal: $kind:ident $path:literal $nth:literal + $count:literal, $story:ident => $shows:literal;)*) => {
        &[$(Sync {
            site: $site, kind: $kind, path: $path, nth: $nth, count: $count, story: stories::$story, shows: $shows,
            smoke: syncs!(@ $smoke),
        }),*]
    };
    (@ smoke) => { true };
    (@ full) => { false };
}

/// Kinds of files and directories whose syncs the table is about, as [`of`] tells them.
pub fn kinds() -> BTreeSet<(SyncKind, String)> {
    let shown = SYNCS.iter().map(|sync| (sync.kind, of(sync.path)));
    let spared = SPARED.iter().map(|spared| (spared.kind, of(spared.path)));
    shown.chain(spared).collect()
}

/// What kind of file or directory a path names: its last part, numbers left out, logs of topics alike.
pub fn of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut kind = String::new();
    for c in name.chars() {
        match c.is_ascii_digit() {
            true if kind.ends_with('#') => {}
            true => kind.push('#'),
            false => kind.push(c),
        }
    }
    match kind.strip_suffix("-#") {
        Some("__cluster_metadata" | "trialog-frontier") => kind,
        None => kind.trim_start_matches(['#', '-']).to_owned(),
        Some(_) => "t-#".to_owned(),
    }
}

/// A sync that no story here needs.
pub struct Spared {
    pub site: &'static str,
    kind: SyncKind,
    path: &'static str,
    /// Why nothing but time is lost without it, or who shows what is.
    pub why: &'static str,
}

/// Parts of operations that sync what promises rest on, ways of replacing files that others need, and what takes another world.
pub const SPARED: &[Spared] = &[
    Spared {
        site: "log/append, log/rebuild: the renames of indexes and producers",
        kind: Directory,
        path: "/t-0",
        why: "a rolled segment without indexes is read again at the next start, and the producers with it",
    },
    Spared {
        site: "log/append: the rename of the leader epochs",
        kind: Directory,
        path: "/t-0",
        why: "recovery reads the last segment, whose batches tell them again, and a later segment's name is synced after them in the same directory; on one node none begins behind what is durable, and what would come of one that does the simulator shows (OpenOverLostEpochs)",
    },
    Spared {
        site: "log/append: the names of segments that a full disk took back",
        kind: Directory,
        path: "/t-0",
        why: "a real disk that is full for one batch and not for the next, in another segment, is the simulator's to make: it shows it (KeepRolledBackSegment)",
    },
    Spared {
        site: "log/directory: a checkpoint's rename, high watermarks",
        kind: Directory,
        path: "/data",
        why: "an older one is as good: a start raises it to what is durable",
    },
    Spared {
        site: "log/shutdown: the offset index",
        kind: File,
        path: "t-0/00000000000000000000.index",
        why: "one that ends early is gone on from where it ends, one that is wrong is made anew",
    },
];

/// How often each file of the core asks for a sync: a new place comes with a line of the table.
pub const PLACES: &[(&str, usize)] = &[
    ("log/append.rs", 4), // what a full disk took back and its names, a file after it, the name of a new segment
    ("log/directory.rs", 2), // a round, a new frontier
    ("log/files.rs", 2),  // new files, their renames
    ("log/opening.rs", 2), // the names that were found, the tail that was cut
    ("log/removal.rs", 4), // partition.metadata, a new log's names, its own, a deleted log's
    ("log/retention.rs", 1), // a segment leaves
    ("log/shutdown.rs", 2), // a closed log's names, the marker's
    ("log/store.rs", 2),  // the two operations themselves
];

pub const SYNCS: &[Sync] = syncs! {
    full "format: bootstrap.checkpoint": File "/data/bootstrap.checkpoint.tmp" 0 + 1, formatted => "does not start";
    full "format: meta.properties": File "/data/meta.properties.tmp" 0 + 1, formatted => "does not start";
    full "format: the name of the log directory": Directory "/" 0 + 1, formatted => "does not start";
    full "format: the name of meta.properties": Directory "/data" 1 + 1, formatted => "does not start";
    full "format: the name of bootstrap.checkpoint, before that of meta.properties": Directory "/data" 0 + 1, half_formatted => "without bootstrap.checkpoint";

    smoke "log/directory: a round, the logs": File "t-0/00000000000000000000.log" 0 + 1, acknowledged => "first was promised at offset 0, and is lost";
    smoke "log/directory: a round, its record in the frontier": File "/data/trialog-frontier-00000000000000000001" 0 + 1, proven => "rot passed for a torn tail";
    full "log/directory: a new frontier, and that the clean marker is gone": Directory "/data" 0 + 1, unclean_from_the_start => "does not start";
    full "log/directory: a checkpoint before its rename, recovery points": File "/data/recovery-point-offset-checkpoint.tmp" 0 + 1, recovery_points_written => "rot passed for a torn tail";
    full "log/directory: a checkpoint's rename, recovery points": Directory "/data" 1 + 1, recovery_points_named => "rot passed for a torn tail";
    smoke "log/directory: a checkpoint before its rename, start offsets": File "/data/log-start-offset-checkpoint.tmp" 0 + 1, records_deleted => "DeleteRecords up to 2 is undone";
    full "log/directory: a checkpoint's rename, start offsets": Directory "/data" 0 + 1, records_deleted => "DeleteRecords up to 2 is undone";
    full "log/directory: a checkpoint before its rename, high watermarks": File "/data/replication-offset-checkpoint.tmp" 0 + 1, stopped_and_hollow => "damaged";

    full "log/removal: partition.metadata before its rename": File "t-0/partition.metadata.tmp" 0 + 1, created => "cannot be read";
    full "log/removal: the first names in a log's directory": Directory "/t-0" 0 + 2, created => "first was promised at offset 0, and is lost";
    smoke "log/removal: the name of a log's directory": Directory "/data" 0 + 1, created => "first was promised at offset 0, and is lost";
    full "log/removal: the new name of a deleted log": Directory "/data" 0 + 1, topic_deleted => "partition.metadata is missing";

    smoke "log/append: the name of a new segment": Directory "/t-0" 0 + 2, rolled => "second was promised at offset 1, and is lost";
    full "log/append: the offset index of a rolled segment before its rename": File "t-0/00000000000000000000.index.tmp" 0 + 1, sealed => "missing or wrong";
    full "log/append: the time index of a rolled segment before its rename": File "t-0/00000000000000000000.timeindex.tmp" 0 + 1, sealed => "missing or wrong";
    full "log/append: the producers at the end of a rolled segment before its rename": File "t-0/00000000000000000003.snapshot.tmp" 0 + 1, sealed => "snapshot is damaged";
    full "log/append: the leader epochs before their rename": File "t-0/leader-epoch-checkpoint.tmp" 0 + 1, epochs_remembered => "the end of epoch 0 was";
    full "log/append: what a full disk took back": File "t-0/00000000000000000000.log" 0 + 1, room_again => "is lost";
    full "log/append: the file of a segment that a full disk refused": Directory "/t-0" 0 + 2, room_for_a_segment => "is lost";

    full "log/retention: a segment leaves its log": Directory "/t-0" 0 + 1, expired => "the log begins at 0 again";

    full "log/opening: the names that a killed life left": Directory "/t-0" 0 + 3, found_after_a_kill => "cannot be read";
    full "log/opening: a torn tail that was cut": File "t-0/00000000000000000000.log" 0 + 1, tail_cut => "is lost";

    full "log/shutdown: the producers": File "t-0/00000000000000000001.snapshot" 0 + 1, stopped_and_lost => "damaged";
    full "log/shutdown: the time index": File "t-0/00000000000000000000.timeindex" 0 + 1, found_by_timestamp => "is at 1050, and -1 was told";
    smoke "log/shutdown: the names of indexes and producers": Directory "/t-0" 0 + 1, stopped_and_lost => "a late retry was appended again";
    full "log/shutdown: the clean-shutdown marker": File "/data/.kafka_cleanshutdown" 0 + 1, stopped_and_lost => "the clean-shutdown marker tells no epoch";
    full "log/shutdown: the name of the marker, and that our files are gone": Directory "/data" 3 + 1, stopped_and_lost => "is left after a clean stop";

    full "quorum: quorum-state before its rename": File "__cluster_metadata-0/quorum-state.tmp" 0 + 1, started => "does not start";
    full "quorum: the rename of quorum-state": Directory "/__cluster_metadata-0" 0 + 1, epoch_taken => "was taken twice";
    full "quorum: a snapshot before its rename": File ".checkpoint.tmp" 0 + 1, snapshot_taken => "does not start";
    full "quorum: the rename of a snapshot": Directory "/__cluster_metadata-0" 0 + 2, snapshot_taken => "does not start";
};
