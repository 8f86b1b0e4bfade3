//! One node: what a driver steps. Dispatch to the rooms, nothing else.
//!
//! Takes an input to the room that it is for, then carries what rooms report to the rooms that it concerns, until nothing is left to
//! carry: the log's notices to the quorum, the partitions and the waiting requests; committed records to the image; the
//! image's changes to the partitions. Decides nothing.

mod digest;

use crate::api::{Api, Rooms};
use crate::config::Config;
use crate::controller::{Controller, Registration};
use crate::event::{Event, Level};
use crate::ids::{ConnId, LeaderEpoch, LogId, NodeId, Offset, Uuid};
use crate::io::{Boot, Cx, Effect, Effects, Halt, Input, Room, Wake};
use crate::log::{LogStore, Notice, Sizes};
use crate::mark::Mark;
use crate::metadata::{Delta, Image, Listing, ReplayError};
use crate::mutant::{Mutant, Mutants};
use crate::partition::{Partitions, Replicas};
use crate::quorum::{Quorum, QuorumConfig, QuorumEvent, SnapshotId, checkpoint};
use crate::rng::{Purpose, Rng};
use crate::time::{Instant, Now};
use crate::wire::MetadataRecord;

/// So many times a step goes round the rooms; what is left goes on in the next one.
const ROUNDS: usize = 8;
/// So many committed records a step brings into the image, and what is left of the batch of the last.
const RECORDS: usize = 1_000;

/// A broker and controller.
#[derive(Clone, Debug)]
pub struct Node {
    boot: Boot,
    rng: Rng,
    mutants: Mutants,
    rooms: Rooms,
    api: Api,
    replicas: Replicas,
    me: Option<Registration>,
    /// The store has found everything that is on disk.
    logs_found: bool,
    phase: Phase,
    /// The moment of the last step.
    now: Instant,
    /// How far the image is listed for a snapshot; it rests meanwhile.
    listing: Option<Listing>,
    /// Committed records that this step has brought into the image.
    replayed: usize,
    /// Work goes on in the next step.
    more: bool,
}

/// How far the life of the node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its logs open, its metadata is replayed, it registers.
    Starting,
    /// Clients are served.
    Ready,
    /// It was asked to stop.
    Stopping,
    /// It has ended.
    Halted,
}

impl Node {
    /// A node that has not started: the first step must carry [`Input::Start`].
    ///
    /// `seed` feeds every random choice: from the run in simulation, from the operating system in production.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], boot: Boot) -> Node {
        Node::with_mutants(config, seed, boot, Mutants::NONE)
    }

    /// A node in which a rule may be broken. For the simulator.
    #[must_use]
    pub fn with_mutants(config: Config, seed: [u8; 32], boot: Boot, mutants: Mutants) -> Node {
        let node = NodeId(config.node_id());
        Node {
            rng: Rng::new(seed),
            mutants,
            api: Api::new(&config),
            rooms: Rooms {
                node,
                store: LogStore::new(crate::partition::replicas::store_config(&config), &boot),
                quorum: Quorum::new(QuorumConfig::of(&config)),
                controller: Controller::new(&config),
                image: Image::default(),
                partitions: Partitions::default(),
                config,
            },
            replicas: Replicas::new(node),
            me: None,
            logs_found: false,
            phase: Phase::Starting,
            now: Instant::default(),
            listing: None,
            replayed: 0,
            more: false,
            boot,
        }
    }

    /// The same node with other sizes of what it keeps. For the simulator, before the first step.
    #[must_use]
    pub fn with_sizes(mut self, sizes: Sizes) -> Node {
        self.rooms.store.resize(sizes);
        self.rooms.controller.resize(sizes.metadata_records);
        self.api.resize(sizes.appends);
        self
    }

    /// Takes one input at one moment and appends what must be done to `out`. Never fails. After [`Effect::Halt`] it does nothing.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        if self.phase == Phase::Halted {
            return;
        }
        let rng = self.rng.clone();
        let mut cx = Cx {
            now,
            out,
            rng: &rng,
            mutants: self.mutants,
        };
        self.more = false;
        self.replayed = 0;
        self.now = now.mono;
        self.take(&mut cx, input);
        self.settle(&mut cx);
        if self.phase != Phase::Halted {
            self.more |= self.api.go_on_listing(&self.rooms, &mut cx);
            self.more |= self.api.go_on_appending(&mut self.rooms, &mut cx);
            self.write_snapshot(&mut cx);
        }
    }

    /// Takes an input to its room.
    fn take(&mut self, cx: &mut Cx, input: Input) {
        let now = cx.now.mono;
        let connections = self.api.connections();
        match input {
            Input::Start => self.rooms.store.start(cx),
            Input::Opened {
                conn,
                listener,
                peer,
            } => connections.opened(now, conn, listener, peer, cx.out),
            Input::Frame { conn, frame } => connections.frame(now, conn, frame, cx.out),
            Input::Sent { conn, bytes } => connections.sent(now, conn, bytes, cx.out),
            Input::Closed { conn, reason: _ } => self.closed(cx, conn),
            // No room connects to another node yet.
            Input::Connected { .. } | Input::ConnectFailed { .. } => {}
            Input::Disk { token, result } => match token.room {
                Room::Log => self.rooms.store.on_disk(cx, token, result),
                Room::Quorum | Room::Api => {}
            },
            Input::Worked { token, facts } => match token.room {
                Room::Log => self.rooms.store.on_worked(cx, token, facts),
                Room::Api => self.api.on_worked(&mut self.rooms, cx, token, facts),
                Room::Quorum => {}
            },
            Input::Wakeup => {
                self.rooms.store.on_wakeup(cx);
                self.rooms.quorum.on_wakeup(cx, &mut self.rooms.store);
                self.api.on_wakeup(&mut self.rooms, cx);
            }
            Input::Shutdown => self.shut_down(cx),
        }
    }

    fn closed(&mut self, cx: &mut Cx, conn: ConnId) {
        self.api.closed(&mut self.rooms, cx, conn);
    }

    /// Carries what rooms report to where it concerns others, until nothing is left or the step has done its share: one piece of long work.
    fn settle(&mut self, cx: &mut Cx) {
        let mut piece = false;
        for _ in 0..ROUNDS {
            let mut moved = self.carry(cx);
            if !piece {
                piece = self.do_piece(cx);
                moved |= piece;
            }
            if self.replicas.is_settled() {
                // A topic is told to be there when its partitions can be written.
                let committed = self.rooms.image.offset;
                self.api.on_committed(cx, committed);
            }
            moved |= self.api.run(&mut self.rooms, cx) > 0;
            if !moved || self.phase == Phase::Halted {
                self.more = piece || self.replayed >= RECORDS;
                return;
            }
        }
        self.more = true;
    }

    /// Does a piece of the long work that is left; true if there was any.
    fn do_piece(&mut self, cx: &mut Cx) -> bool {
        if self.replicas.has_work() {
            self.assign_partitions(cx);
            return true;
        }
        self.start_further(cx)
            || self.create_further(cx)
            || self.retire_directories(cx)
            || self.rooms.controller.forget_removed()
    }

    /// Carries notices and committed records. True if there were any.
    fn carry(&mut self, cx: &mut Cx) -> bool {
        let mut moved = false;
        while self.phase != Phase::Halted {
            if let Some(notice) = self.rooms.store.next_notice() {
                self.on_notice(cx, notice);
            } else if self.listing.is_some() || self.replayed >= RECORDS {
                // The image rests until it is written down; a step brings no more than its share into it.
                break;
            } else if let Some(event) = self.rooms.quorum.next_event() {
                self.on_quorum(cx, event);
            } else {
                break;
            }
            moved = true;
        }
        moved
    }

    fn on_notice(&mut self, cx: &mut Cx, notice: Notice) {
        let Node { rooms, api, .. } = self;
        // A stop does not wait for room: what the metadata log did not take is never committed, and nobody was promised it.
        let too_late = self.phase == Phase::Stopping
            && matches!(notice, Notice::AppendsLost(..))
            && !cx.mutants.has(Mutant::StopFailsWithoutRoom);
        if !too_late && rooms.quorum.on_notice(cx, &mut rooms.store, &notice) {
            return;
        }
        match notice {
            Notice::MetadataLogOpened(log) => rooms.quorum.start(cx, &mut rooms.store, log),
            Notice::Opened(log) => {
                let partitions = &mut rooms.partitions;
                self.replicas.open(cx, &mut rooms.store, partitions, log);
                api.on_opened(rooms, cx, log);
            }
            Notice::AllOpened => {
                self.logs_found = true;
                self.compare_logs();
            }
            Notice::Offline(log, _) => self.offline(cx, log),
            Notice::Written(log, end) => api.on_written(rooms, cx, log, end),
            Notice::Durable(log, end) => api.on_durable(rooms, cx, log, end),
            Notice::AppendsLost(log, from, message) => {
                api.on_lost(rooms, cx, log, from, &message);
                note(cx, Level::Error, message);
            }
            Notice::ReadDone(read, outcome) => api.on_read(rooms, cx, read, outcome),
            Notice::LookupDone(read, outcome) => api.on_lookup(cx, read, outcome),
            Notice::StartMoved(log, start) => api.on_start_moved(rooms, cx, log, start),
            Notice::Deleted(_) | Notice::FileRead(..) | Notice::FileReplaced(..) => {}
            Notice::DirectoryFailed(..) => {
                let online = self.online_directories();
                let node = self.rooms.node;
                self.rooms.controller.lose_directories(node, online);
            }
            Notice::Fatal(message) => self.halt(cx, Halt::Fatal(message)),
            Notice::Stopped => {
                self.api.stop(cx);
                self.halt(cx, Halt::Clean);
            }
        }
    }

    fn on_quorum(&mut self, cx: &mut Cx, event: QuorumEvent) {
        match event {
            QuorumEvent::Leads { epoch: _ } => {
                self.me = Some(self.registration(cx));
                self.compare_logs();
            }
            QuorumEvent::Loaded {
                last,
                epoch,
                records,
            } => {
                let controller = &mut self.rooms.controller;
                let replayed = controller.replay(last, epoch, records.clone(), cx.mutants);
                if let Err(error) = replayed {
                    return self.halt(cx, unreadable(&error));
                }
                self.replay(cx, last, epoch, records);
            }
            QuorumEvent::Committed {
                last,
                epoch,
                records,
            } => self.replay(cx, last, epoch, records),
            QuorumEvent::Fatal(message) => self.halt(cx, Halt::Fatal(message)),
        }
    }

    /// Brings records into the image, and what they change to the partitions.
    fn replay(
        &mut self,
        cx: &mut Cx,
        last: Offset,
        epoch: LeaderEpoch,
        records: Vec<MetadataRecord>,
    ) {
        self.replayed += records.len();
        let mut delta = Delta::default();
        let image = &mut self.rooms.image;
        match image.replay(last, epoch, records, &mut delta, cx.mutants) {
            Ok(()) => self.replicas.note(&self.rooms.image, delta),
            Err(error) => self.halt(cx, unreadable(&error)),
        }
    }

    /// Writes the next piece of the image down, if the metadata log has grown enough since it last was.
    fn write_snapshot(&mut self, cx: &mut Cx) {
        let Rooms {
            quorum,
            image,
            store,
            ..
        } = &mut self.rooms;
        if self.listing.is_none() {
            if !quorum.is_snapshot_due(cx.now.mono) || image.in_transaction() {
                return;
            }
            let id = SnapshotId {
                end: image.offset.next(),
                epoch: image.epoch,
            };
            self.listing = quorum.begin_snapshot(cx, id).then(Listing::default);
        }
        let Some(listing) = &mut self.listing else {
            return;
        };
        quorum.add_to_snapshot(&image.list(listing, checkpoint::BATCH_RECORDS));
        if *listing == Listing::Done {
            quorum.finish_snapshot(cx, store);
            self.listing = None;
        }
        // What was committed meanwhile goes into the image now.
        self.more = true;
    }

    /// A log that no topic has is left over only if everything that was loaded is committed: a removal that power loss could still undo
    /// must not remove a log.
    fn compare_logs(&mut self) {
        if self.logs_found && self.me.is_some() {
            self.replicas.found(&self.rooms.store);
        }
    }

    fn assign_partitions(&mut self, cx: &mut Cx) {
        let Node { rooms, api, .. } = self;
        let Rooms {
            config,
            store,
            image,
            partitions,
            ..
        } = rooms;
        let released = self.replicas.go_on(cx, config, store, image, partitions);
        for (log, given_up) in released {
            api.on_lost_partition(rooms, cx, log, given_up);
        }
    }

    /// The next piece of the start, if it is due: true if there may be more.
    fn start_further(&mut self, cx: &mut Cx) -> bool {
        let Some(me) = self.me.as_ref().filter(|_| self.phase == Phase::Starting) else {
            return false;
        };
        let rooms = &mut self.rooms;
        let settled = self.replicas.is_settled();
        let next = rooms.quorum.next_offset();
        let bootstrap = rooms.quorum.bootstrap();
        if rooms.controller.image().in_transaction() {
            cx.out.mark(Mark::TransactionAborted);
        }
        match rooms
            .controller
            .startup(me, bootstrap, next, settled, cx.mutants)
        {
            Ok(Some(records)) => {
                rooms.append_metadata(cx, &records);
                true
            }
            Ok(None) => {
                self.serve_if_ready(cx);
                false
            }
            Err(message) => {
                self.halt(cx, Halt::Fatal(message));
                false
            }
        }
    }

    /// Serves clients once what the start has written is committed and every partition is open or offline.
    fn serve_if_ready(&mut self, cx: &mut Cx) {
        use crate::controller::Startup;
        let rooms = &self.rooms;
        let done = *rooms.controller.startup_phase() == Startup::Done;
        let committed = rooms.controller.image().offset <= rooms.image.offset;
        if done && committed && self.replicas.is_settled() {
            self.phase = Phase::Ready;
            let partitions = rooms.partitions.len() as u64;
            cx.out.event(Event::Ready { partitions });
            self.api.serve();
        }
    }

    /// A partition's log can be used no more.
    fn offline(&mut self, cx: &mut Cx, log: LogId) {
        self.replicas
            .open(cx, &mut self.rooms.store, &mut self.rooms.partitions, log);
        let Some(partition) = self.rooms.partitions.of_mut(log) else {
            return;
        };
        let given_up = partition.give_up();
        self.api
            .on_lost_partition(&mut self.rooms, cx, log, given_up);
    }

    /// The ids of the log directories that work.
    fn online_directories(&self) -> Vec<Uuid> {
        let store = &self.rooms.store;
        let online = (0..self.boot.log_dirs.len()).filter(|at| store.directory_online(*at));
        online.filter_map(|at| store.directory_id(at)).collect()
    }

    /// The next piece of a large creation: true if there was one.
    fn create_further(&mut self, cx: &mut Cx) -> bool {
        let rooms = &mut self.rooms;
        let Some(records) = rooms.controller.go_on_creating() else {
            return false;
        };
        let last = rooms.append_metadata(cx, &records);
        if !rooms.controller.is_creating() {
            cx.out.mark(Mark::LargeCreation);
            self.api.on_created(rooms, cx, last);
        }
        true
    }

    /// The next piece of what failed directories change in the metadata: true if there may be more.
    fn retire_directories(&mut self, cx: &mut Cx) -> bool {
        let rooms = &mut self.rooms;
        let Some(records) = rooms.controller.go_on_with_directories() else {
            return false;
        };
        rooms.append_metadata(cx, &records);
        true
    }

    /// Who this node is in this life.
    fn registration(&self, cx: &Cx) -> Registration {
        let Rooms { node, config, .. } = &self.rooms;
        let nth = cx.now.wall.0.unsigned_abs();
        let incarnation = cx.rng.bits(Purpose::Incarnation, cx.now.mono.0, nth);
        let bound = |mut listener: crate::config::Listener| {
            let boot = self
                .boot
                .listeners
                .iter()
                .find(|boot| boot.name == listener.name);
            if let Some(boot) = boot {
                if listener.port == 0 {
                    listener.port = boot.port;
                }
                if listener.host.is_empty() {
                    listener.host.clone_from(&boot.host);
                }
            }
            listener
        };
        let controller = config
            .listeners()
            .iter()
            .filter(|l| config.is_controller_listener(&l.name));
        Registration {
            node_id: *node,
            incarnation: Uuid::random_from(incarnation),
            broker_listeners: config
                .advertised_listeners()
                .iter()
                .cloned()
                .map(bound)
                .collect(),
            controller_listeners: controller.cloned().map(bound).collect(),
            rack: config.rack().map(str::to_owned),
            log_dirs: self.online_directories(),
        }
    }

    fn shut_down(&mut self, cx: &mut Cx) {
        if self.phase == Phase::Stopping {
            return;
        }
        cx.out.event(Event::Stopping);
        self.phase = Phase::Stopping;
        self.api.pause();
        let epoch = self.rooms.broker_epoch();
        self.rooms.store.shutdown(cx, epoch);
    }

    fn halt(&mut self, cx: &mut Cx, halt: Halt) {
        self.phase = Phase::Halted;
        cx.out.push(Effect::Halt { halt });
    }

    /// When and why the node wants [`Input::Wakeup`], if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        if self.phase == Phase::Halted {
            return None;
        }
        if self.more {
            return Some((Instant(0), Wake::Continue));
        }
        let rooms = [
            self.rooms.store.next_wakeup(),
            self.rooms.quorum.next_wakeup(),
            self.api.next_wakeup(),
        ];
        rooms.into_iter().flatten().min()
    }

    /// What committed metadata says.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.rooms.image
    }

    /// Has a metadata transaction been begun that is not ended, committed or not?
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.rooms.controller.image().in_transaction()
    }

    /// Are logs being made for new partitions?
    #[must_use]
    pub fn makes_logs(&self) -> bool {
        self.replicas.makes_logs()
    }

    /// The logs.
    #[must_use]
    pub fn store(&self) -> &LogStore {
        &self.rooms.store
    }

    /// The partitions, with their high watermarks.
    #[must_use]
    pub fn partitions(&self) -> &Partitions {
        &self.rooms.partitions
    }

    /// Does the node serve clients?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Asserts the invariants of every room. Costs as much as the node is large.
    ///
    /// # Panics
    /// If one is broken: a mistake of ours.
    pub fn check(&self) {
        self.api.check();
        for partition in self.rooms.partitions.iter() {
            if let Some(view) = self.rooms.store.view(partition.log) {
                partition.check(view.start, view.end);
            }
        }
        let ahead = self.rooms.controller.image().offset;
        assert!(
            self.rooms.image.offset <= ahead || ahead == Offset(-1),
            "the image is ahead of the controller"
        );
    }
}

fn unreadable(error: &ReplayError) -> Halt {
    Halt::Fatal(format!("the metadata log cannot be replayed: {error}"))
}

fn note(cx: &mut Cx, level: Level, message: String) {
    cx.out.event(Event::Note { level, message });
}

#[cfg(test)]
mod tests;
