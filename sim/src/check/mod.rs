//! The judge: what clients were promised, what they saw, and whether both agree.
//!
//! Owns a model of every partition (a plain list of what stands at which offset) and of every record ever sent. It is
//! judged incrementally by what clients tell, in full by [`Judge::audit`], and finally by [`Judge::finish`]. The rules are those
//! of the public Jepsen workload for Kafka, in our words, and the promises of the durability contract: what acks=all
//! acknowledged or a consumer has read survives every power cut; what acks=1 acknowledged survives a killed process. It
//! never looks inside the node or its disk; [`image`] and [`stored`] do.

pub mod image;
mod invariant;
mod last;
mod partition;
mod reads;
pub mod stored;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

pub use invariant::{Invariant, Violation};
pub use partition::{Lookup, Target};
pub use reads::{Poll, Polled};
pub use topics::{TopicRules, TopicState, name_of, next_of_name};

use trialog_core::wire::batch::Compression;

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

/// What was promised of a partition when a request left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// One past the last offset that must survive everything.
    pub promised: i64,
    /// One past the last offset that must never be read again.
    pub deleted: i64,
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

/// A record alone in its batch takes no more bytes than this besides its value, whatever the codec does to it.
const OVERHEAD_MAX: u64 = 160;

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
    /// The append time that the broker gave it, where topics have it so.
    stamped: Option<i64>,
    /// No more bytes than this are its part of the log.
    bytes: u64,
    attempts: u32,
    state: SendState,
    /// Where it was first seen or acknowledged.
    place: Option<i64>,
}

#[derive(Clone, Debug)]
struct ProducerModel {
    idempotent: bool,
    ordered: bool,
    codec: Compression,
    sends: Vec<Send>,
}

/// Everything that was promised and seen in one run.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    now: u64,
    topics: BTreeMap<TopicNo, TopicModel>,
    partitions: BTreeMap<Tp, PartitionModel>,
    producers: Vec<ProducerModel>,
    producer_ids: BTreeSet<i64>,
    /// Partitions whose records, or a file beside them, rotted on the medium: they may be out of reach, and never wrong.
    rotten: BTreeSet<Tp>,
    /// The greatest wall-clock time that the broker ever had, in milliseconds: retention may go by it.
    broker_wall_ms: i64,
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

    /// What the broker's wall clock shows, in milliseconds.
    pub fn broker_wall(&mut self, ms: i64) {
        self.broker_wall_ms = self.broker_wall_ms.max(ms);
    }

    /// A record of this partition rotted, or a file beside its records: whoever needs it may be told so for ever.
    pub fn rots(&mut self, tp: Tp) {
        self.rotten.insert(tp);
    }

    /// Did a record of this partition rot, or a file beside its records?
    #[must_use]
    pub fn is_rotten(&self, tp: Tp) -> bool {
        self.rotten.contains(&tp)
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
    pub fn add_producer(&mut self, idempotent: bool, ordered: bool, codec: Compression) -> u32 {
        self.producers.push(ProducerModel {
            idempotent,
            ordered,
            codec,
            sends: Vec::new(),
        });
        u32::try_from(self.producers.len() - 1).expect("few producers")
    }

    /// A producer will send one more record, with a value of `len` bytes.
    pub fn sends(&mut self, producer: u32, to: Tp, timestamp: i64, len: usize) -> RecordId {
        let sends = &mut self.producers[producer as usize].sends;
        sends.push(Send {
            to,
            timestamp,
            stamped: None,
            bytes: OVERHEAD_MAX + len as u64,
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
        if self.is_gone(tp.topic) {
            return self.gave_up(ids);
        }
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

    /// May records of this partition go by retention, without being asked to?
    #[must_use]
    pub fn retains(&self, tp: Tp) -> bool {
        self.rules(tp.topic).retains()
    }

    /// The first offset that must still be there, as far as is known: see [`Judge::retains`].
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

    /// Somebody was told that the records below `offset` are deleted.
    pub fn records_deleted(&mut self, tp: Tp, offset: i64) {
        let partition = self.partitions.entry(tp).or_default();
        partition.deleted_end = partition.deleted_end.max(offset);
    }

    /// What an answer must keep to if it is asked for now.
    #[must_use]
    pub fn bounds(&self, tp: Tp) -> Bounds {
        let partition = self.partitions.get(&tp);
        Bounds {
            promised: partition.map_or(0, |partition| partition.promised_end),
            deleted: partition.map_or(0, |partition| partition.deleted_end),
        }
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
        if send.to != tp {
            return;
        }
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
                if send.to != *tp {
                    continue;
                }
                if matches!(send.state, SendState::Acked { .. }) {
                    send.state = SendState::Unknown;
                }
                send.place = send.place.filter(|place| place < end);
                send.stamped = send.stamped.filter(|_| send.place.is_some());
            }
        }
    }
}

#[cfg(test)]
mod tests;
