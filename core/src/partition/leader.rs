//! One partition on this node: its leader's view of leadership, high watermark and waiting requests.
//!
//! Owns the rule by which the high watermark moves (the least synced end of the maximal in-sync set, KIP-497) and the order
//! in which waiting requests are let go. Never touches a log: its caller tells what is written and durable.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{LeaderEpoch, LogId, NodeId, Offset, PartitionIndex, RequestId, Uuid};
use crate::mutant::{Mutant, Mutants};
use crate::wire::{ErrorCode, Str};

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// 0: never.
    None,
    /// 1: when the leader's append survives a killed process.
    Leader,
    /// -1: when the high watermark has passed it.
    All,
}

impl Acks {
    /// What the wire says; `None` if it is neither -1, 0 nor 1.
    #[must_use]
    pub fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            -1 => Some(Acks::All),
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            _ => None,
        }
    }
}

/// Whom a partition lets go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Requests that wait for appends or for the log start.
    pub waiting: Vec<RequestId>,
    /// Fetches that wait for data.
    pub fetches: Vec<RequestId>,
    /// Fetch sessions.
    pub sessions: Vec<i32>,
    /// Which partition it was; `None` if only its high watermark has moved.
    pub place: Option<(Str, Uuid, PartitionIndex)>,
}

/// What the metadata says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who leads; [`NodeId::NONE`] if nobody.
    pub leader: NodeId,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync set.
    pub isr: Vec<NodeId>,
    /// Every replica.
    pub replicas: Vec<NodeId>,
}

/// One partition. `log start <= high watermark <= durable <= written <= log end`, the first and the last being the log's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Topic name.
    pub topic: Str,
    /// Topic id.
    pub topic_id: Uuid,
    /// Number.
    pub index: PartitionIndex,
    /// Its log.
    pub log: LogId,
    node: NodeId,
    assignment: Assignment,
    /// `min.insync.replicas` of the topic.
    min_insync_replicas: u32,
    /// The log is open and can be read and written.
    open: bool,
    /// Why the log cannot be used.
    offline: bool,
    high_watermark: Offset,
    /// Where the present epoch of this leader began.
    epoch_start: Offset,
    written: Offset,
    durable: Offset,
    /// Where the log starts for good.
    durable_start: Offset,
    /// Produce requests by the end offset that must be written, resp. passed by the high watermark.
    awaiting_written: BTreeSet<(Offset, RequestId)>,
    awaiting_committed: BTreeSet<(Offset, RequestId)>,
    /// Fetches that wait for more data.
    fetches: BTreeSet<RequestId>,
    /// Fetch sessions that want to hear of every move.
    sessions: BTreeSet<i32>,
    /// Requests that wait for the log start to be durable at an offset, by request.
    deletes: BTreeMap<RequestId, Offset>,
}

impl Partition {
    /// A partition whose log is not open yet.
    #[must_use]
    pub fn new(
        node: NodeId,
        topic: Str,
        topic_id: Uuid,
        index: PartitionIndex,
        log: LogId,
        assignment: Assignment,
    ) -> Partition {
        Partition {
            topic,
            topic_id,
            index,
            log,
            node,
            assignment,
            min_insync_replicas: 1,
            open: false,
            offline: false,
            high_watermark: Offset(0),
            epoch_start: Offset(0),
            written: Offset(0),
            durable: Offset(0),
            durable_start: Offset(0),
            awaiting_written: BTreeSet::new(),
            awaiting_committed: BTreeSet::new(),
            fetches: BTreeSet::new(),
            sessions: BTreeSet::new(),
            deletes: BTreeMap::new(),
        }
    }

    /// What the metadata says now; the log ends at `end`. True if this node leads in an epoch that is new to it.
    pub fn assign(&mut self, assignment: Assignment, end: Offset) -> bool {
        let led = self.leads() && self.assignment.leader_epoch == assignment.leader_epoch;
        self.assignment = assignment;
        let begins = self.leads() && !led;
        if begins {
            self.epoch_start = end;
        }
        self.advance();
        begins
    }

    /// The log is open: it starts at `start`, was committed up to `high_watermark` as far as is known, and is safe up to `durable`.
    pub fn opened(&mut self, start: Offset, high_watermark: Offset, durable: Offset, end: Offset) {
        self.open = true;
        self.written = durable;
        self.durable = durable;
        self.epoch_start = end;
        // What the log keeps of it: retention goes by that before anybody leads.
        self.high_watermark = high_watermark.min(durable).max(start);
        self.advance();
    }

    /// The log has failed.
    pub fn went_offline(&mut self) {
        self.offline = true;
    }

    /// Can the log be read and written?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open && !self.offline
    }

    /// Is its log still to be opened, by this node as its leader?
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.leads() && !self.open && !self.offline
    }

    /// Does this node lead it?
    #[must_use]
    pub fn leads(&self) -> bool {
        self.assignment.leader == self.node
    }

    /// What the metadata says.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Consumers read below it; acks=all is answered when it has passed.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Without transactions nothing is unstable: the high watermark.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark
    }

    /// Where the present epoch of this leader began.
    #[must_use]
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// Where the log starts, whatever happens.
    #[must_use]
    pub fn durable_start(&self) -> Offset {
        self.durable_start
    }

    /// May this node's log be used by a client that knows `epoch`? KIP-320.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER.
    pub fn usable(&self, epoch: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
        if self.offline {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        match epoch {
            Some(epoch) if epoch < self.assignment.leader_epoch => {
                Err(ErrorCode::FENCED_LEADER_EPOCH)
            }
            Some(epoch) if epoch > self.assignment.leader_epoch => {
                Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
            }
            Some(_) | None if !(self.leads() && self.open) => {
                Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// `min.insync.replicas` of the topic is now `least`.
    pub fn configure(&mut self, least: u32) {
        self.min_insync_replicas = least;
    }

    /// Are there enough replicas in sync for acks=all?
    #[must_use]
    pub fn has_enough_replicas(&self) -> bool {
        let least = self.min_insync_replicas as usize;
        // A topic cannot demand more replicas than it has (KAFKA-15583, effective minimum).
        self.assignment.isr.len() >= least.min(self.assignment.replicas.len())
    }

    /// The log is written up to `end`: names the requests that waited for it.
    pub fn on_written(&mut self, end: Offset) -> Vec<RequestId> {
        self.written = self.written.max(end);
        release(&mut self.awaiting_written, self.written)
    }

    /// The log is safe up to `end`. True if the high watermark moved.
    pub fn on_durable(&mut self, end: Offset) -> bool {
        self.durable = self.durable.max(end);
        self.written = self.written.max(self.durable);
        self.advance()
    }

    /// Moves the high watermark as far as the in-sync set allows. A replica that is in sync and is not this node would
    /// hold it where it is: what it has synced is not known here.
    fn advance(&mut self) -> bool {
        let alone = self.assignment.isr == [self.node];
        if !(self.leads() && alone && self.durable > self.high_watermark) {
            return false;
        }
        self.high_watermark = self.durable;
        true
    }

    /// Names the produce requests that the high watermark has passed.
    pub fn committed(&mut self) -> Vec<RequestId> {
        release(&mut self.awaiting_committed, self.high_watermark)
    }

    /// Everyone who need not wait any longer, when nothing will come any more: the partition is gone, offline or led by another.
    pub fn give_up(&mut self) -> GivenUp {
        GivenUp {
            waiting: self.give_up_waiting(),
            fetches: self.watchers().collect(),
            sessions: self.sessions().collect(),
            place: Some((self.topic.clone(), self.topic_id, self.index)),
        }
    }

    fn give_up_waiting(&mut self) -> Vec<RequestId> {
        let mut requests = release(&mut self.awaiting_written, Offset(i64::MAX));
        requests.extend(release(&mut self.awaiting_committed, Offset(i64::MAX)));
        requests.extend(std::mem::take(&mut self.deletes).into_keys());
        requests
    }

    /// `request` wants to go on when everything below `end` is acknowledged in its sense. False if that is so already.
    pub fn await_acks(
        &mut self,
        acks: Acks,
        end: Offset,
        request: RequestId,
        mutants: Mutants,
    ) -> bool {
        if self.is_acknowledged(acks, end, mutants) {
            return false;
        }
        let waiters = if awaits_commit(acks, mutants) {
            &mut self.awaiting_committed
        } else {
            &mut self.awaiting_written
        };
        waiters.insert((end, request));
        true
    }

    /// Is everything below `end` acknowledged in the sense of `acks`?
    #[must_use]
    pub fn is_acknowledged(&self, acks: Acks, end: Offset, mutants: Mutants) -> bool {
        if awaits_commit(acks, mutants) {
            end <= self.high_watermark
        } else {
            end <= self.written
        }
    }

    /// Appends from `from` on are lost: names who waits for them.
    pub fn lost(&mut self, from: Offset) -> Vec<RequestId> {
        let mut requests = BTreeSet::new();
        for waiters in [&mut self.awaiting_written, &mut self.awaiting_committed] {
            let after = (from.next(), RequestId(0));
            requests.extend(
                waiters
                    .split_off(&after)
                    .into_iter()
                    .map(|(_, request)| request),
            );
        }
        requests.into_iter().collect()
    }

    /// `request` no longer waits for `end`.
    pub fn forget_acks(&mut self, end: Offset, request: RequestId) {
        self.awaiting_written.remove(&(end, request));
        self.awaiting_committed.remove(&(end, request));
    }

    /// The fetch `request` wants to hear of every move of the high watermark.
    pub fn watch(&mut self, request: RequestId) {
        self.fetches.insert(request);
    }

    /// It does no longer.
    pub fn unwatch(&mut self, request: RequestId) {
        self.fetches.remove(&request);
    }

    /// The fetch session `id` wants to hear of every move.
    pub fn subscribe(&mut self, id: i32) {
        self.sessions.insert(id);
    }

    /// It does no longer.
    pub fn unsubscribe(&mut self, id: i32) {
        self.sessions.remove(&id);
    }

    /// The fetch sessions that want to hear of every move.
    pub fn sessions(&self) -> impl Iterator<Item = i32> {
        self.sessions.iter().copied()
    }

    /// The fetches that wait here.
    pub fn watchers(&self) -> impl Iterator<Item = RequestId> {
        self.fetches.iter().copied()
    }

    /// How many requests wait here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let produces = self.awaiting_written.len() + self.awaiting_committed.len();
        produces + self.fetches.len() + self.deletes.len()
    }

    /// `request` wants to go on when the log starts durably at `start` or later.
    pub fn await_start(&mut self, start: Offset, request: RequestId) {
        self.deletes.insert(request, start);
    }

    /// It does no longer.
    pub fn forget_start(&mut self, request: RequestId) {
        self.deletes.remove(&request);
    }

    /// The log starts durably at `start`: names the requests that waited for it.
    pub fn on_start_moved(&mut self, start: Offset) -> Vec<RequestId> {
        self.durable_start = self.durable_start.max(start);
        let done: Vec<RequestId> = self
            .deletes
            .iter()
            .filter(|(_, wanted)| **wanted <= start)
            .map(|(request, _)| *request)
            .collect();
        for request in &done {
            self.deletes.remove(request);
        }
        done
    }

    /// Asserts what must hold whenever a step has ended; `start` and `end` are the log's.
    pub fn check(&self, start: Offset, end: Offset) {
        if !self.open || self.offline {
            return;
        }
        assert!(
            start <= self.high_watermark && self.high_watermark <= self.durable,
            "high watermark out of range: start {start}, {self:?}"
        );
        assert!(
            self.durable <= self.written && self.written <= end,
            "durable or written out of range: end {end}, {self:?}"
        );
    }
}

/// Does `acks` wait for the high watermark? Waiting for less would acknowledge what a power cut can take back.
fn awaits_commit(acks: Acks, mutants: Mutants) -> bool {
    acks == Acks::All && !mutants.has(Mutant::AckBeforeSync)
}

/// Takes those whose offset is reached, in the order of their offsets.
fn release(waiters: &mut BTreeSet<(Offset, RequestId)>, reached: Offset) -> Vec<RequestId> {
    let mut released = Vec::new();
    while let Some(&(end, request)) = waiters.first() {
        if end > reached {
            break;
        }
        waiters.pop_first();
        released.push(request);
    }
    released
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(isr: &[i32]) -> Partition {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
        let assignment = Assignment {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(3),
            isr: nodes(isr),
            replicas: nodes(&[1, 2]),
        };
        let mut partition = Partition::new(
            NodeId(1),
            "t".into(),
            Uuid([1; 16]),
            PartitionIndex(0),
            LogId(0),
            assignment,
        );
        partition.opened(Offset(0), Offset(0), Offset(0), Offset(0));
        partition
    }

    const RULES: Mutants = Mutants::NONE;

    #[test]
    fn acks_all_waits_for_what_is_durable_and_acks_one_for_what_is_written() {
        let mut partition = partition(&[1]);
        assert!(partition.await_acks(Acks::All, Offset(5), RequestId(1), RULES));
        assert!(partition.await_acks(Acks::Leader, Offset(5), RequestId(2), RULES));
        assert_eq!(partition.on_written(Offset(4)), []);
        assert_eq!(partition.on_written(Offset(5)), [RequestId(2)]);
        assert!(!partition.await_acks(Acks::Leader, Offset(5), RequestId(3), RULES));
        assert_eq!(partition.committed(), []);
        assert!(partition.on_durable(Offset(6)));
        assert_eq!(partition.committed(), [RequestId(1)]);
        assert_eq!(partition.high_watermark(), Offset(6));
        assert!(!partition.on_durable(Offset(5)), "it never goes back");
        partition.check(Offset(0), Offset(6));
    }

    #[test]
    fn the_mutant_answers_before_the_sync() {
        let mut partition = partition(&[1]);
        let mutants = Mutants::only(Mutant::AckBeforeSync);
        assert!(partition.await_acks(Acks::All, Offset(5), RequestId(1), mutants));
        assert_eq!(partition.on_written(Offset(5)), [RequestId(1)]);
    }

    #[test]
    fn a_replica_in_sync_that_is_not_heard_of_holds_the_high_watermark() {
        let mut partition = partition(&[1, 2]);
        assert!(!partition.on_durable(Offset(5)));
        assert_eq!(partition.high_watermark(), Offset(0));
        let alone = Assignment {
            isr: vec![NodeId(1)],
            ..partition.assignment().clone()
        };
        assert!(!partition.assign(alone, Offset(5)), "the epoch is the same");
        assert_eq!(partition.high_watermark(), Offset(5));
    }

    #[test]
    fn lost_appends_let_go_exactly_those_who_wait_for_them() {
        let mut partition = partition(&[1]);
        for (end, request) in [(5, 1), (6, 2), (9, 3)] {
            partition.await_acks(Acks::All, Offset(end), RequestId(request), RULES);
        }
        assert_eq!(partition.lost(Offset(5)), [RequestId(2), RequestId(3)]);
        assert!(partition.on_durable(Offset(5)));
        assert_eq!(partition.committed(), [RequestId(1)]);
    }

    #[test]
    fn a_client_of_another_epoch_is_told_which_way_it_is_wrong() {
        let mut partition = partition(&[1]);
        let usable = |partition: &Partition, epoch| partition.usable(Some(LeaderEpoch(epoch)));
        assert_eq!(usable(&partition, 2), Err(ErrorCode::FENCED_LEADER_EPOCH));
        assert_eq!(usable(&partition, 3), Ok(()));
        assert_eq!(usable(&partition, 4), Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
        let other = Assignment {
            leader: NodeId(2),
            ..partition.assignment().clone()
        };
        partition.assign(other, Offset(0));
        assert_eq!(
            usable(&partition, 3),
            Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
        );
        partition.went_offline();
        assert_eq!(usable(&partition, 2), Err(ErrorCode::KAFKA_STORAGE_ERROR));
    }

    #[test]
    fn a_topic_cannot_demand_more_replicas_than_it_has() {
        let mut partition = partition(&[1]);
        partition.configure(2);
        assert!(!partition.has_enough_replicas());
        let single = Assignment {
            replicas: vec![NodeId(1)],
            ..partition.assignment().clone()
        };
        partition.assign(single, Offset(0));
        assert!(partition.has_enough_replicas());
    }
}
