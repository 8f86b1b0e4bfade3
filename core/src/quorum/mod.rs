//! The metadata log as a quorum keeps it: KRaft (KIP-595), in this release with one voter, this node.
//!
//! Owns the epoch (in `quorum-state`, on disk before anything of it), the leader-change record that opens an epoch, the order
//! in which batches are handed on, and the high watermark, which follows the log's durability alone. One voter is the degenerate case:
//! it elects itself, and its own log is the majority. Knows nothing of what the records mean.

pub mod checkpoint;
pub mod records;
mod snapshots;
pub mod state_file;
mod store;

use std::collections::VecDeque;

use bytes::Bytes;

pub use checkpoint::{Checkpoint, SnapshotId};
pub use records::{Batch, Content, Control};
pub use state_file::QuorumState;
pub use store::MetadataLog;

use snapshots::Snapshots;

use crate::config::Config;
use crate::ids::{LeaderEpoch, LogId, NodeId, Offset, Uuid};
use crate::io::{Cx, Wake};
use crate::log::{
    Append, AppendError, Notice, Origin, Read, ReadError, ReadId, ReadOutcome, Records,
};
use crate::mutant::Mutant;
use crate::time::Instant;
use crate::wire::leader_change_message::Voter as GrantingVoter;
use crate::wire::voters_record::{Endpoint, KRaftVersionFeature, Voter};
use crate::wire::{KRaftVersionRecord, LeaderChangeMessage, MetadataRecord, Str, VotersRecord};
use crate::work::ValidBatch;

/// The greatest `kraft.version` that is implemented: voters as records, with the directory of each (KIP-853).
pub const KRAFT_VERSION_MAX: i16 = 1;

/// How much of the log is read at a time when it is replayed, in bytes: some hundred records.
const PIECE_BYTES: u32 = 64 << 10;

/// Who this voter is, and when it writes snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// The ids of `controller.quorum.voters`; empty with a dynamic quorum.
    pub static_voters: Vec<NodeId>,
    /// Name, host and port of the first controller listener, which a dynamic quorum keeps in its voters.
    pub endpoint: (String, String, u16),
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0: no limit.
    pub snapshot_interval_ms: u64,
    /// `metadata.max.retention.bytes`; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// `metadata.max.retention.ms`; `None`: no limit.
    pub retention_ms: Option<u64>,
}

impl QuorumConfig {
    /// What `config` says of it. A listener without a host stands for this machine.
    #[must_use]
    pub fn of(config: &Config) -> QuorumConfig {
        let at_least =
            |name: &str, least: u64| u64::try_from(config.int(name)).unwrap_or(least).max(least);
        let listener = config
            .listeners()
            .iter()
            .find(|listener| config.is_controller_listener(&listener.name));
        let endpoint = listener.map_or_else(Default::default, |listener| {
            let host = if listener.host.is_empty() {
                "localhost"
            } else {
                &listener.host
            };
            (listener.name.clone(), host.to_owned(), listener.port)
        });
        QuorumConfig {
            node_id: NodeId(config.node_id()),
            static_voters: config
                .voters()
                .iter()
                .map(|voter| NodeId(voter.id))
                .collect(),
            endpoint,
            snapshot_bytes: at_least("metadata.log.max.record.bytes.between.snapshots", 1),
            snapshot_interval_ms: at_least("metadata.log.max.snapshot.interval.ms", 0),
            retention_bytes: u64::try_from(config.int("metadata.max.retention.bytes")).ok(),
            retention_ms: u64::try_from(config.int("metadata.max.retention.ms")).ok(),
        }
    }
}

/// What the quorum tells, in this order: everything loaded, that it leads, what is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumEvent {
    /// A batch of metadata records that an earlier life wrote. It is committed when this node leads.
    Loaded {
        /// Offset of its last record.
        last: Offset,
        /// The epoch that it was written in.
        epoch: LeaderEpoch,
        /// Its records.
        records: Vec<MetadataRecord>,
    },
    /// The first record of this node's epoch is committed, and with it everything that was loaded: the controller may write.
    Leads {
        /// The new epoch.
        epoch: LeaderEpoch,
    },
    /// A batch of metadata records of this life is committed.
    Committed {
        /// Offset of its last record.
        last: Offset,
        /// The epoch that it was written in.
        epoch: LeaderEpoch,
        /// Its records.
        records: Vec<MetadataRecord>,
    },
    /// The node cannot go on: what, why, what to do.
    Fatal(String),
}

/// How far the start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    /// `quorum-state` is read.
    State(ReadId),
    /// The newest snapshot is read.
    Snapshot(ReadId),
    /// The records of the snapshot are handed on.
    Restoring,
    /// `bootstrap.checkpoint` is read.
    Bootstrap(ReadId),
    /// The log is read; `None`: the next piece is due.
    Loading(Option<ReadId>),
    /// `quorum-state` is written for the new epoch.
    Electing(ReadId),
    Leading,
    Failed,
}

/// One voter of the metadata quorum, which is all of it.
///
/// Invariants: the epoch in `quorum-state` is never below the epoch of a batch in the log, and every life has an epoch of its own;
/// `high_watermark <= next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    config: QuorumConfig,
    phase: Phase,
    log: Option<LogId>,
    directory_id: Uuid,
    state: QuorumState,
    kraft_version: i16,
    voters: Option<VotersRecord>,
    /// The voters are in the log, not only in the snapshot of the format.
    voters_in_log: bool,
    bootstrap: Vec<MetadataRecord>,
    /// Where the next record goes; while the log is loaded, where to read on.
    next: Offset,
    high_watermark: Offset,
    /// Batches that are appended and not committed, in order; those of control records too.
    in_flight: VecDeque<Batch>,
    events: VecDeque<QuorumEvent>,
    snapshots: Snapshots,
    /// The epoch of the last record in the snapshot that was loaded.
    restored_epoch: LeaderEpoch,
    /// The next piece is due.
    resume_at: Option<Instant>,
}

impl Quorum {
    /// A quorum that has not started.
    #[must_use]
    pub fn new(config: QuorumConfig) -> Quorum {
        let state = QuorumState {
            epoch: LeaderEpoch(0),
            leader: NodeId::NONE,
            voted: NodeId::NONE,
            voted_directory: Uuid::ZERO,
        };
        Quorum {
            config,
            phase: Phase::Stopped,
            log: None,
            directory_id: Uuid::ZERO,
            state,
            kraft_version: 0,
            voters: None,
            voters_in_log: false,
            bootstrap: Vec::new(),
            next: Offset(0),
            high_watermark: Offset(0),
            in_flight: VecDeque::new(),
            events: VecDeque::new(),
            snapshots: Snapshots::default(),
            restored_epoch: LeaderEpoch(0),
            resume_at: None,
        }
    }

    /// Starts on `log`, the opened metadata log.
    pub fn start<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L, log: LogId) {
        self.log = Some(log);
        self.directory_id = store.directory_id(log);
        self.phase = Phase::State(store.read_file(cx, log, state_file::FILE_NAME));
    }

    /// What happened, in order.
    pub fn next_event(&mut self) -> Option<QuorumEvent> {
        self.events.pop_front()
    }

    /// The log that it keeps.
    #[must_use]
    pub fn log(&self) -> Option<LogId> {
        self.log
    }

    /// Is this node the one that may append?
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.phase == Phase::Leading
    }

    /// The epoch that this node is in.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.state.epoch
    }

    /// Where the next record goes.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// One past the last committed record.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The finalized `kraft.version`.
    #[must_use]
    pub fn kraft_version(&self) -> i16 {
        self.kraft_version
    }

    /// The records that an empty cluster starts with; none if there is no `bootstrap.checkpoint`.
    #[must_use]
    pub fn bootstrap(&self) -> &[MetadataRecord] {
        &self.bootstrap
    }

    /// When it wants to be woken: the next piece of the log or of the snapshot that it starts from is due.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        self.resume_at.map(|at| (at, Wake::Continue))
    }

    /// Goes on with the next piece of the log or of the snapshot that it starts from, if one is due.
    pub fn on_wakeup<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L) {
        if self.resume_at.take().is_none() {
            return;
        }
        match self.phase {
            Phase::Restoring => self.restore(cx, store),
            Phase::Loading(None) => self.load(cx, store),
            _ => {}
        }
    }

    /// Takes what the store tells. False if it concerns others.
    pub fn on_notice<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        notice: &Notice,
    ) -> bool {
        match notice {
            Notice::FileRead(id, result) => self.on_file_read(cx, store, *id, result),
            Notice::FileReplaced(id, result) => self.on_file_replaced(cx, store, *id, result),
            Notice::ReadDone(id, result) => self.on_read(cx, store, *id, result),
            Notice::Written(log, end) => self.on_written(cx, store, *log, *end),
            Notice::Durable(log, end) => self.on_durable(store, *log, *end),
            Notice::AppendsLost(log, from, message) => self.on_lost(
                *log,
                &format!("what was appended from offset {from} on is lost: {message}"),
            ),
            Notice::Offline(log, message) => self.on_lost(*log, message),
            _ => false,
        }
    }

    /// A file that was asked for is here. False if it is not ours.
    fn on_file_read<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        id: ReadId,
        result: &Result<Option<Bytes>, String>,
    ) -> bool {
        let step = match self.phase {
            Phase::State(read) if read == id => self.on_state(cx, store, result),
            Phase::Snapshot(read) if read == id => self.on_snapshot(cx, store, result),
            Phase::Bootstrap(read) if read == id => self.on_bootstrap(cx, store, result),
            _ => return false,
        };
        if let Err(message) = step {
            self.fail(message);
        }
        true
    }

    /// A file was replaced. False if it is not ours.
    fn on_file_replaced<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        id: ReadId,
        result: &Result<(), String>,
    ) -> bool {
        if self.phase != Phase::Electing(id) {
            return self.on_snapshot_stored(cx, store, id, result);
        }
        match result {
            Ok(()) => self.open_epoch(cx, store),
            Err(why) => self.fail(format!("quorum-state cannot be written: {why}. Repair the disk of the metadata log and start again")),
        }
        true
    }

    /// A read of the log is done. False if it is not ours.
    fn on_read<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        id: ReadId,
        result: &Result<Records, ReadError>,
    ) -> bool {
        if self.phase != Phase::Loading(Some(id)) {
            return false;
        }
        self.on_piece(cx, store, result.clone());
        true
    }

    /// The log survives a killed process up to `end`.
    fn on_written<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        log: LogId,
        end: Offset,
    ) -> bool {
        // etcd #14370: a single voter that commits what its disk has not promised.
        if cx.mutants.has(Mutant::AckBeforeSync) {
            return self.on_durable(store, log, end);
        }
        self.log == Some(log)
    }

    /// The log survives power loss up to `end`: the only voter has it, so it is committed.
    fn on_durable<L: MetadataLog>(&mut self, store: &mut L, log: LogId, end: Offset) -> bool {
        if self.log != Some(log) {
            return false;
        }
        // Nothing of an earlier epoch is committed before the first record of this one is (Raft, figure 8): only batches of
        // this epoch are in flight.
        let moves = self.in_flight.front().is_some_and(|first| first.last < end);
        if self.phase != Phase::Leading || !moves {
            return true;
        }
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.last < end) {
            self.high_watermark = batch.last.next();
            self.snapshots.last_timestamp = batch.timestamp;
            let Batch { last, epoch, .. } = batch;
            self.events.push_back(match batch.content {
                Content::Records(records) => QuorumEvent::Committed {
                    last,
                    epoch,
                    records,
                },
                // The only control batch that is appended here opens the epoch.
                Content::Control(_) => QuorumEvent::Leads { epoch },
            });
        }
        store.note_high_watermark(log, self.high_watermark);
        true
    }

    /// A leader that cannot keep its log must stop.
    fn on_lost(&mut self, log: LogId, message: &str) -> bool {
        if self.log != Some(log) {
            return false;
        }
        self.fail(format!("the metadata log failed: {message}"));
        true
    }

    /// Appends `records`, which must not be none, as one batch and names the offset of its last. They are committed when an event says
    /// so. If the log takes nothing, an event says that the node cannot go on, and the offset is never committed.
    pub fn append<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        records: &[(MetadataRecord, i16)],
    ) -> Offset {
        let bytes = records::encode_records(records, cx.now.wall.0);
        let content = Content::Records(records.iter().map(|(record, _)| record.clone()).collect());
        self.append_batch(cx, store, &bytes, content)
    }

    fn append_batch<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        bytes: &Bytes,
        content: Content,
    ) -> Offset {
        let batch = ValidBatch::trusted(bytes).expect("a batch that was just made is whole");
        let expected = Offset(self.next.0 + i64::from(batch.header.last_offset_delta));
        let Some(log) = self.log.filter(|_| self.phase == Phase::Leading) else {
            self.fail(
                "a record was written to the metadata log by a node that does not lead".to_owned(),
            );
            return expected;
        };
        let append = Append {
            batch,
            epoch: self.state.epoch,
            origin: Origin::Coordinator,
        };
        match store.append(cx, log, append) {
            Ok(appended) => {
                assert_eq!(
                    appended.base, self.next,
                    "nobody else appends to the metadata log"
                );
                let batch = Batch {
                    base: appended.base,
                    last: appended.last,
                    epoch: self.state.epoch,
                    timestamp: cx.now.wall.0,
                    content,
                };
                self.next = batch.last.next();
                self.snapshots.note_bytes(bytes.len());
                self.in_flight.push_back(batch);
            }
            // What comes too late for a stop is never committed, and nobody was promised it.
            Err(AppendError::Stopping) => {}
            Err(error) => self.fail(format!("the metadata log cannot be appended to: {error}")),
        }
        expected
    }

    fn on_state<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        file: &Result<Option<Bytes>, String>,
    ) -> Result<(), String> {
        if let Some(bytes) = readable(state_file::FILE_NAME, file)? {
            let text = String::from_utf8_lossy(bytes);
            self.state = QuorumState::parse(&text).map_err(|why| {
                format!("quorum-state is damaged: {why}. It says which epochs this voter has taken part in; restore it from a copy of the directory")
            })?;
        }
        self.find_snapshot(cx, store)
    }

    fn on_bootstrap<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        file: &Result<Option<Bytes>, String>,
    ) -> Result<(), String> {
        let name = checkpoint::BOOTSTRAP_FILE_NAME;
        self.bootstrap = match readable(name, file)? {
            Some(bytes) => Checkpoint::decode(bytes).map_err(|why| format!("{name} is damaged: {why}. Format the log directory again if it was never started"))?.records,
            None => Vec::new(),
        };
        self.phase = Phase::Loading(None);
        self.load(cx, store);
        Ok(())
    }

    fn load<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L) {
        let Some(log) = self.log.filter(|_| self.phase == Phase::Loading(None)) else {
            return;
        };
        let (_, end) = store.bounds(log);
        if self.next >= end {
            return self.elect(cx, store);
        }
        let read = Read {
            from: self.next,
            max_bytes: PIECE_BYTES,
            below: end,
            at_least_one: true,
        };
        match store.read(cx, log, read) {
            Ok(ReadOutcome::Ready(records)) => self.on_piece(cx, store, Ok(records)),
            Ok(ReadOutcome::Later(id)) => self.phase = Phase::Loading(Some(id)),
            Err(error) => self.on_piece(cx, store, Err(error)),
        }
    }

    /// Takes a piece of the log; the next comes with the next step.
    fn on_piece<L: MetadataLog>(
        &mut self,
        cx: &mut Cx,
        store: &mut L,
        piece: Result<Records, ReadError>,
    ) {
        self.phase = Phase::Loading(None);
        // A stop in the middle of the start: there is nothing left to load for.
        if piece == Err(ReadError::Stopping) {
            return;
        }
        let batches = piece
            .map_err(|error| format!("the metadata log cannot be read: {error:?}"))
            .and_then(|records| {
                let progress = records.next > self.next;
                let bytes = records.parts.to_bytes();
                self.snapshots.note_bytes(bytes.len());
                let batches = records::decode(&bytes)?;
                if !progress {
                    return Err(format!(
                        "the metadata log holds nothing at offset {}",
                        self.next
                    ));
                }
                self.next = records.next;
                Ok(batches)
            });
        match batches {
            Err(message) => return self.fail(message),
            Ok(batches) => batches
                .into_iter()
                .for_each(|batch| self.take_loaded(batch)),
        }
        let (_, end) = self
            .log
            .map_or((Offset(0), Offset(0)), |log| store.bounds(log));
        if self.next >= end {
            self.elect(cx, store);
        } else {
            self.resume_at = Some(cx.now.mono);
        }
    }

    fn take_loaded(&mut self, batch: Batch) {
        match batch.content {
            Content::Records(records) => self.events.push_back(QuorumEvent::Loaded {
                last: batch.last,
                epoch: batch.epoch,
                records,
            }),
            Content::Control(controls) => {
                for control in controls {
                    match control {
                        Control::KRaftVersion(record) => self.kraft_version = record.kraft_version,
                        Control::Voters(record) => {
                            self.voters = Some(record);
                            self.voters_in_log = true;
                        }
                        Control::LeaderChange(_)
                        | Control::SnapshotHeader(_)
                        | Control::SnapshotFooter(_)
                        | Control::Unknown(_) => {}
                    }
                }
            }
        }
    }

    /// Votes for itself in an epoch that nobody has used, and has the majority with that.
    fn elect<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L) {
        let Some(log) = self.log else {
            return;
        };
        if let Err(message) = self.check_voters() {
            return self.fail(message);
        }
        // KAFKA-10527: an epoch whose unsynced tail was lost must not be used again, so every life takes a new one.
        let last = self
            .state
            .epoch
            .max(store.last_epoch(log))
            .max(self.restored_epoch);
        self.state = QuorumState {
            epoch: LeaderEpoch(last.0 + 1),
            leader: self.config.node_id,
            voted: NodeId::NONE,
            voted_directory: Uuid::ZERO,
        };
        let text = self.state.to_text(self.kraft_version, self.config.node_id);
        self.phase =
            Phase::Electing(store.replace_file(cx, log, state_file::FILE_NAME, Bytes::from(text)));
    }

    fn check_voters(&self) -> Result<(), String> {
        let me = self.config.node_id;
        if self.kraft_version == 0 {
            return match self.config.static_voters.as_slice() {
                [only] if *only == me => Ok(()),
                [] => Err("the directory was formatted for a static quorum, but controller.quorum.voters is not set: set it to this node, or format with --standalone".to_owned()),
                _ => Err(format!("controller.quorum.voters must name node {me} and no other: this release runs a quorum of one")),
            };
        }
        if self.kraft_version > KRAFT_VERSION_MAX {
            return Err(format!(
                "the cluster has finalized kraft.version {}; this release implements {}",
                self.kraft_version, KRAFT_VERSION_MAX
            ));
        }
        let voters = self
            .voters
            .as_ref()
            .map(|record| record.voters.as_slice())
            .unwrap_or_default();
        match voters {
            [only] if only.voter_id == me.0 && only.voter_directory_id == self.directory_id => {
                Ok(())
            }
            [only] if only.voter_id == me.0 => Err(format!(
                "the voter of node {me} is the log directory {}, this one is {}: a directory that was lost has no vote. Bring the old one back, or format a new cluster",
                only.voter_directory_id, self.directory_id
            )),
            _ => {
                let ids: Vec<String> = voters
                    .iter()
                    .map(|voter| voter.voter_id.to_string())
                    .collect();
                Err(format!(
                    "the voters of the quorum are [{}]: this release runs a quorum of one, which must be node {me}",
                    ids.join(", ")
                ))
            }
        }
    }

    fn open_epoch<L: MetadataLog>(&mut self, cx: &mut Cx, store: &mut L) {
        let me = GrantingVoter {
            voter_id: self.config.node_id.0,
            ..Default::default()
        };
        let change = LeaderChangeMessage {
            leader_id: self.config.node_id.0,
            voters: vec![me.clone()],
            granting_voters: vec![me],
            ..Default::default()
        };
        let mut controls = vec![Control::LeaderChange(change)];
        if self.kraft_version > 0 {
            let voters = self.present_voters();
            if !self.voters_in_log || self.voters.as_ref() != Some(&voters) {
                controls.push(Control::KRaftVersion(KRaftVersionRecord {
                    kraft_version: self.kraft_version,
                    ..Default::default()
                }));
                controls.push(Control::Voters(voters.clone()));
                self.voters = Some(voters);
                self.voters_in_log = true;
            }
        }
        let bytes = records::encode_control(&controls, cx.now.wall.0);
        self.phase = Phase::Leading;
        self.append_batch(cx, store, &bytes, Content::Control(controls));
    }

    /// This node as the only voter, at its present address.
    fn present_voters(&self) -> VotersRecord {
        let (name, host, port) = &self.config.endpoint;
        let endpoint = Endpoint {
            name: Str::from(name.clone()),
            host: Str::from(host.clone()),
            port: *port,
            ..Default::default()
        };
        let voter = Voter {
            voter_id: self.config.node_id.0,
            voter_directory_id: self.directory_id,
            endpoints: vec![endpoint],
            kraft_version_feature: KRaftVersionFeature {
                min_supported_version: 0,
                max_supported_version: KRAFT_VERSION_MAX,
                ..Default::default()
            },
            ..Default::default()
        };
        VotersRecord {
            voters: vec![voter],
            ..Default::default()
        }
    }

    fn fail(&mut self, message: String) {
        if self.phase != Phase::Failed {
            self.phase = Phase::Failed;
            self.events.push_back(QuorumEvent::Fatal(message));
        }
    }
}

fn readable<'a>(
    name: &str,
    file: &'a Result<Option<Bytes>, String>,
) -> Result<Option<&'a Bytes>, String> {
    file.as_ref()
        .map(Option::as_ref)
        .map_err(|why| format!("{name} cannot be read: {why}"))
}

#[cfg(test)]
mod tests;
