//! The judge: what clients were promised, what they saw, and whether both agree.
//!
//! Owns a model of every partition (a plain list of what stands at which offset) and of every record ever sent. It is
//! judged incrementally by what clients tell, in full by [`Judge::audit`], and finally by [`Judge::finish`]. The rules are those
//! of the public Jepsen workload for Kafka, in our words, and the promises of the durability contract: what acks=all
//! acknowledged or a consumer has read survives every power cut; what acks=1 acknowledged survives a killed process. It
//! never looks inside the node; [`image`] does.

pub mod image;
mod partition;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

pub use partition::{Lookup, Target};
pub use topics::TopicState;

use partition::PartitionModel;
use topics::TopicModel;

/// A topic of the run by its number.
pub type TopicNo = u32;

/// A partition of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tp {
    /// Which topic.
    pub topic: TopicNo,
    /// Which partition of it.
    pub index: i32,
}

impl std::fmt::Display for Tp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t{}-{}", self.topic, self.index)
    }
}

/// One record of a run: the producer's number and the record's place among its sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// Which producer.
    pub producer: u32,
    /// Which of its records, from 0.
    pub nth: u32,
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p{}#{}", self.producer, self.nth)
    }
}

/// The promise that a run found broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// D: an acknowledged write, or one that a consumer has read, survives what its promise survives.
    Lost,
    /// M: one offset holds one record for ever.
    InconsistentOffset,
    /// X: an idempotent producer causes no duplicate, a plain one none without a retry.
    Duplicate,
    /// Records of one producer keep their order, and an idempotent producer leaves no gap.
    Order,
    /// Offsets are dense: a poll skips nothing.
    PollSkip,
    /// C: nobody reads above the high watermark.
    AboveHighWatermark,
    /// The high watermark of a reader never goes back.
    HighWatermarkRegressed,
    /// G1a: nobody reads what was refused.
    RefusedRead,
    /// A record is as it was sent: its bytes, timestamp and partition.
    Altered,
    /// A lookup by timestamp names the first record that is not older.
    TimestampLookup,
    /// R: the metadata that clients see, and the image, equal the replay of the metadata log.
    Replay,
    /// V: progress after the faults end.
    Progress,
    /// An answer that the protocol does not allow.
    Protocol,
    /// The node panicked, or a check of its own failed.
    NodeInvariant,
    /// The node broke the contract of the boundary.
    Boundary,
}

impl Invariant {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Invariant::Lost => "lost",
            Invariant::InconsistentOffset => "inconsistent-offset",
            Invariant::Duplicate => "duplicate",
            Invariant::Order => "order",
            Invariant::PollSkip => "poll-skip",
            Invariant::AboveHighWatermark => "above-high-watermark",
            Invariant::HighWatermarkRegressed => "high-watermark-regressed",
            Invariant::RefusedRead => "refused-read",
            Invariant::Altered => "altered",
            Invariant::TimestampLookup => "timestamp-lookup",
            Invariant::Replay => "replay",
            Invariant::Progress => "progress",
            Invariant::Protocol => "protocol",
            Invariant::NodeInvariant => "node-invariant",
            Invariant::Boundary => "boundary",
        }
    }
}

/// A broken promise: which, when and the sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub invariant: Invariant,
    /// Simulated time in nanoseconds.
    pub at: u64,
    /// What was promised and what happened.
    pub message: String,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendState {
    /// The client still waits or retries.
    Pending,
    /// Acknowledged, at this offset if the answer told it.
    Acked { offset: Option<i64>, acks: i16 },
    /// Refused for good: it is nowhere, if it was tried once only.
    Refused,
    /// Nobody knows: the client gave up, asked for no answer, or its acks=1 write met a power cut.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Send {
    to: Tp,
    timestamp: i64,
    attempts: u32,
    state: SendState,
    /// Where it was first seen or acknowledged.
    place: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct ProducerModel {
    idempotent: bool,
    ordered: bool,
    sends: Vec<Send>,
}

/// A record as a consumer got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Its offset.
    pub offset: i64,
    /// Who it is; `None` if its value is none of ours.
    pub id: Option<RecordId>,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
}

/// What a partition's answer to a fetch said.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Which partition.
    pub tp: Tp,
    /// The offset that was asked for.
    pub from: i64,
    /// [`Judge::promised_end`] when the request left.
    pub floor: i64,
    /// The high watermark of the answer.
    pub high_watermark: i64,
    /// The records from the offset on.
    pub records: Vec<Polled>,
}

/// Everything that was promised and seen in one run.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    now: u64,
    topics: BTreeMap<TopicNo, TopicModel>,
    partitions: BTreeMap<Tp, PartitionModel>,
    producers: Vec<ProducerModel>,
    producer_ids: BTreeSet<i64>,
    operations: u64,
    violation: Option<Violation>,
}

impl Judge {
    /// Nothing is promised yet.
    #[must_use]
    pub fn new() -> Judge {
        Judge::default()
    }

    /// The simulated time of what is told from now on.
    pub fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// The first broken promise.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Operations that were acknowledged: batches produced, polls that brought records, lookups, and what the admin did.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// A promise is broken; the first one counts.
    pub fn violate(&mut self, invariant: Invariant, message: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                invariant,
                at: self.now,
                message,
            });
        }
    }

    /// An operation of another kind was acknowledged.
    pub fn acknowledged(&mut self) {
        self.operations += 1;
    }

    /// A producer joins; its number is returned. `ordered`: at most one request in flight, or idempotent.
    pub fn add_producer(&mut self, idempotent: bool, ordered: bool) -> u32 {
        self.producers.push(ProducerModel {
            idempotent,
            ordered,
            sends: Vec::new(),
        });
        u32::try_from(self.producers.len() - 1).expect("few producers")
    }

    /// A producer will send one more record.
    pub fn sends(&mut self, producer: u32, to: Tp, timestamp: i64) -> RecordId {
        let sends = &mut self.producers[producer as usize].sends;
        sends.push(Send {
            to,
            timestamp,
            attempts: 0,
            state: SendState::Pending,
            place: None,
        });
        RecordId {
            producer,
            nth: u32::try_from(sends.len() - 1).expect("few records"),
        }
    }

    /// The broker gave out a producer id; it never gives one twice.
    pub fn producer_id(&mut self, id: i64) {
        self.operations += 1;
        if !self.producer_ids.insert(id) {
            self.violate(
                Invariant::Replay,
                format!("the producer id {id} was given out twice"),
            );
        }
    }

    fn send(&mut self, id: RecordId) -> &mut Send {
        &mut self.producers[id.producer as usize].sends[id.nth as usize]
    }

    /// A producer puts records on the wire, once more or for the first time.
    pub fn attempts(&mut self, ids: &[RecordId]) {
        for id in ids {
            self.send(*id).attempts += 1;
        }
    }

    /// A batch was acknowledged. `base` is where it stands, `None` if the answer did not tell.
    pub fn acked(&mut self, ids: &[RecordId], tp: Tp, base: Option<i64>, acks: i16) {
        self.operations += 1;
        for (delta, id) in (0_i64..).zip(ids) {
            let offset = base.map(|base| base + delta);
            self.send(*id).state = SendState::Acked { offset, acks };
            if let Some(offset) = offset {
                self.stands(tp, offset, *id);
            }
        }
        let partition = self.partitions.entry(tp).or_default();
        if let Some(base) = base {
            let end = base + ids.len() as i64;
            match acks {
                -1 => partition.promised_end = partition.promised_end.max(end),
                _ => partition.written_end = partition.written_end.max(end),
            }
        }
    }

    /// A batch was refused for good.
    pub fn refused(&mut self, ids: &[RecordId]) {
        for id in ids {
            let send = self.send(*id);
            send.state = match send.attempts {
                0 | 1 => SendState::Refused,
                _ => SendState::Unknown,
            };
        }
    }

    /// A client will never know what became of these.
    ///
    /// A plain producer's old attempt may still arrive, behind what it sends now; an idempotent one's is fenced.
    pub fn gave_up(&mut self, ids: &[RecordId]) {
        for id in ids {
            self.send(*id).state = SendState::Unknown;
            let producer = &mut self.producers[id.producer as usize];
            producer.ordered &= producer.idempotent;
        }
    }

    /// One past the last offset that must survive everything.
    #[must_use]
    pub fn promised_end(&self, tp: Tp) -> i64 {
        self.partitions
            .get(&tp)
            .map_or(0, |partition| partition.promised_end)
    }

    /// One past the last offset that a record is known to stand at since the last loss of power: below the high watermark or soon so.
    #[must_use]
    pub fn standing_end(&self, tp: Tp) -> i64 {
        self.partitions.get(&tp).map_or(0, |partition| {
            partition.known().last().map_or(0, |(offset, _)| offset + 1)
        })
    }

    /// The first offset that must still be there.
    #[must_use]
    pub fn kept_from(&self, tp: Tp) -> i64 {
        self.partitions
            .get(&tp)
            .map_or(0, |partition| partition.delete_limit)
    }

    /// Somebody asks to delete the records below `offset` (or retention may).
    pub fn may_delete(&mut self, tp: Tp, offset: i64) {
        let partition = self.partitions.entry(tp).or_default();
        partition.delete_limit = partition.delete_limit.max(offset);
    }

    /// A record is known to stand at an offset: told by an acknowledgement or a poll.
    fn stands(&mut self, tp: Tp, offset: i64, id: RecordId) {
        let partition = self.partitions.entry(tp).or_default();
        let before = partition.put(offset, id);
        if let Some(other) = before.filter(|other| *other != id) {
            self.violate(
                Invariant::InconsistentOffset,
                format!("{tp} offset {offset} held {other}, and now {id}"),
            );
            return;
        }
        let idempotent = self.producers[id.producer as usize].idempotent;
        let send = self.send(id);
        let (place, attempts) = (send.place, send.attempts);
        match place {
            None => send.place = Some(offset),
            Some(place) if place == offset => {}
            Some(place) => {
                if idempotent || attempts <= 1 {
                    let kind = if idempotent {
                        "an idempotent"
                    } else {
                        "a plain"
                    };
                    self.violate(
                        Invariant::Duplicate,
                        format!("{id} of {kind} producer, sent {attempts} times, stands in {tp} at {place} and at {offset}"),
                    );
                }
            }
        }
    }

    /// A fetch brought an answer without error for one partition. `consumer` is for the sentence.
    pub fn polled(&mut self, consumer: &str, poll: &Poll) {
        let tp = poll.tp;
        if poll.high_watermark < poll.floor {
            self.violate(
                Invariant::Lost,
                format!(
                    "{tp} ends at {} for {consumer}, but everything below {} was acknowledged by acks=all or read before it asked",
                    poll.high_watermark, poll.floor
                ),
            );
            return;
        }
        if !poll.records.is_empty() {
            self.operations += 1;
        }
        let mut expected = poll.from;
        for record in &poll.records {
            if record.offset != expected {
                self.violate(
                    Invariant::PollSkip,
                    format!(
                        "{consumer} asked {tp} for {expected} and got {}",
                        record.offset
                    ),
                );
                return;
            }
            expected += 1;
            if record.offset >= poll.high_watermark {
                self.violate(
                    Invariant::AboveHighWatermark,
                    format!(
                        "{consumer} read {tp} at {}, the high watermark of the answer is {}",
                        record.offset, poll.high_watermark
                    ),
                );
                return;
            }
            if !self.saw(consumer, tp, record) {
                return;
            }
        }
        let partition = self.partitions.entry(tp).or_default();
        partition.promised_end = partition
            .promised_end
            .max(expected)
            .max(poll.high_watermark);
    }

    fn saw(&mut self, consumer: &str, tp: Tp, record: &Polled) -> bool {
        let known = record.id.filter(|id| {
            let producer = self.producers.get(id.producer as usize);
            producer.is_some_and(|producer| (id.nth as usize) < producer.sends.len())
        });
        let Some(id) = known else {
            self.violate(
                Invariant::Altered,
                format!(
                    "{consumer} read {tp} at {}: a value that nobody sent",
                    record.offset
                ),
            );
            return false;
        };
        let send = *self.send(id);
        if send.to != tp || send.timestamp != record.timestamp || send.attempts == 0 {
            self.violate(
                Invariant::Altered,
                format!(
                    "{consumer} read {id} in {tp} at {} with timestamp {}; it was sent {} times to {} with {}",
                    record.offset, record.timestamp, send.attempts, send.to, send.timestamp
                ),
            );
            return false;
        }
        if send.state == SendState::Refused {
            self.violate(
                Invariant::RefusedRead,
                format!(
                    "{consumer} read {id} in {tp} at {}, which was refused",
                    record.offset
                ),
            );
            return false;
        }
        self.stands(tp, record.offset, id);
        self.violation.is_none()
    }

    /// A reader's high watermark in two answers, the later one second.
    pub fn high_watermarks(&mut self, consumer: &str, tp: Tp, before: i64, after: i64) {
        if after < before {
            self.violate(
                Invariant::HighWatermarkRegressed,
                format!(
                    "{consumer} saw the high watermark of {tp} go from {before} back to {after}"
                ),
            );
        }
    }

    /// An answer to a lookup by timestamp.
    pub fn looked_up(&mut self, lookup: Lookup) {
        self.operations += 1;
        let fault = self.judge_lookup(&lookup);
        let partition = self.partitions.entry(lookup.tp).or_default();
        partition.lookups.push(lookup);
        if let Some(message) = fault {
            self.violate(Invariant::TimestampLookup, message);
        }
    }

    /// The process was killed: what was written survives.
    pub fn process_crashed(&mut self) {
        let ends: Vec<(Tp, i64)> = self
            .partitions
            .iter()
            .map(|(tp, partition)| (*tp, partition.promised_end.max(partition.written_end)))
            .collect();
        self.forget_beyond(&ends);
    }

    /// The power failed: what was promised survives.
    pub fn power_failed(&mut self) {
        let ends: Vec<(Tp, i64)> = self
            .partitions
            .iter_mut()
            .map(|(tp, partition)| {
                partition.written_end = partition.promised_end;
                (*tp, partition.promised_end)
            })
            .collect();
        self.forget_beyond(&ends);
    }

    fn forget_beyond(&mut self, ends: &[(Tp, i64)]) {
        for (tp, end) in ends {
            let partition = self.partitions.entry(*tp).or_default();
            for id in partition.cut(*end) {
                let send = self.send(id);
                if matches!(send.state, SendState::Acked { .. }) {
                    send.state = SendState::Unknown;
                }
                send.place = send.place.filter(|place| place < end);
            }
        }
    }

    /// Judges everything that is known, at any moment.
    pub fn audit(&mut self) {
        let orders: Vec<String> = self
            .partitions
            .iter()
            .filter_map(|(tp, partition)| self.disorder(*tp, partition))
            .collect();
        if let Some(message) = orders.into_iter().next() {
            self.violate(Invariant::Order, message);
        }
        let lookups: Vec<String> = self
            .partitions
            .values()
            .flat_map(|partition| &partition.lookups)
            .filter_map(|lookup| self.judge_lookup(lookup))
            .collect();
        if let Some(message) = lookups.into_iter().next() {
            self.violate(Invariant::TimestampLookup, message);
        }
    }

    /// First places of an ordered producer's records ascend with their numbers.
    fn disorder(&self, tp: Tp, partition: &PartitionModel) -> Option<String> {
        let mut last: BTreeMap<u32, (u32, i64)> = BTreeMap::new();
        for (offset, id) in partition.known() {
            let producer = &self.producers[id.producer as usize];
            if !producer.ordered || producer.sends[id.nth as usize].place != Some(offset) {
                continue;
            }
            match last.insert(id.producer, (id.nth, offset)) {
                Some((nth, before)) if nth > id.nth => {
                    return Some(format!(
                        "{tp}: {id} at {offset} comes after p{}#{nth} at {before}",
                        id.producer
                    ));
                }
                Some(_) | None => {}
            }
        }
        None
    }

    fn judge_lookup(&self, lookup: &Lookup) -> Option<String> {
        let partition = self.partitions.get(&lookup.tp)?;
        let known = partition.known().filter_map(|(offset, id)| {
            let send = self
                .producers
                .get(id.producer as usize)?
                .sends
                .get(id.nth as usize)?;
            Some((offset, send.timestamp))
        });
        lookup.fault(known)
    }

    /// Partitions that something is known of and that must be readable in the end.
    #[must_use]
    pub fn final_partitions(&self) -> Vec<Tp> {
        self.partitions
            .keys()
            .filter(|tp| self.topic_lives(tp.topic))
            .copied()
            .collect()
    }

    /// A fresh consumer has read one partition from its first offset to its end.
    pub fn read_to_end(&mut self, tp: Tp, start: i64, end: i64) {
        let partition = self.partitions.entry(tp).or_default();
        let (limit, promised) = (partition.delete_limit, partition.promised_end);
        partition.final_range = Some((start, end));
        if start > limit {
            self.violate(
                Invariant::Lost,
                format!(
                    "{tp} begins at {start} in the end, but nobody asked to delete beyond {limit}"
                ),
            );
        }
        if end < promised {
            self.violate(
                Invariant::Lost,
                format!(
                    "{tp} ends at {end} in the end, but everything below {promised} was promised"
                ),
            );
        }
    }

    /// The last word: every acknowledged record was read by the fresh consumer (or was deleted).
    pub fn finish(&mut self) {
        self.audit();
        let mut unseen = Vec::new();
        for (number, producer) in (0_u32..).zip(&self.producers) {
            for (nth, send) in (0_u32..).zip(&producer.sends) {
                let SendState::Acked { offset, acks } = send.state else {
                    continue;
                };
                if acks == 0 || !self.topic_lives(send.to.topic) {
                    continue;
                }
                let range = self
                    .partitions
                    .get(&send.to)
                    .and_then(|partition| partition.final_range);
                let Some((start, end)) = range else {
                    continue;
                };
                let seen = match offset.or(send.place) {
                    Some(place) => place < start || place < end,
                    // Acknowledged as a duplicate without an offset: it may have been deleted unseen.
                    None => start > 0,
                };
                if !seen {
                    let id = RecordId {
                        producer: number,
                        nth,
                    };
                    unseen.push(format!(
                        "{id} was acknowledged (acks={acks}) in {} and is not among {start}..{end}",
                        send.to
                    ));
                }
            }
        }
        if let Some(first) = unseen.first() {
            let message = format!("{first}; {} records in all", unseen.len());
            self.violate(Invariant::Lost, message);
        }
    }
}

#[cfg(test)]
mod tests;
