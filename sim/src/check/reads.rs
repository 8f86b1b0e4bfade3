//! What readers saw: records, high watermarks, the ends of logs, lookups.
//!
//! Owns the rules about one answer, and what an answer adds to the model.

use trialog_core::wire::batch::Compression;

use super::{Bounds, Invariant, Judge, Lookup, RecordId, SendState, Tp};

/// A record as a consumer got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Its offset.
    pub offset: i64,
    /// Who it is; `None` if its value is none of ours.
    pub id: Option<RecordId>,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// How its batch is compressed.
    pub codec: Compression,
    /// Its batch says that the timestamp is the broker's.
    pub log_append_time: bool,
    /// The leader epoch that its batch was appended in.
    pub leader_epoch: i32,
}

/// What a partition's answer to a fetch said.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Which partition.
    pub tp: Tp,
    /// The offset that was asked for.
    pub from: i64,
    /// What was promised when the request left.
    pub bounds: Bounds,
    /// The high watermark of the answer.
    pub high_watermark: i64,
    /// The records from the offset on.
    pub records: Vec<Polled>,
}

impl Judge {
    /// A fetch brought an answer without error for one partition. `consumer` is for the sentence.
    pub fn polled(&mut self, consumer: &str, poll: &Poll) {
        let tp = poll.tp;
        if self.is_gone(tp.topic) {
            return;
        }
        if poll.high_watermark < poll.bounds.promised {
            self.violate(
                Invariant::Lost,
                format!(
                    "{tp} ends at {} for {consumer}, but everything below {} was acknowledged by acks=all or read before it asked",
                    poll.high_watermark, poll.bounds.promised
                ),
            );
            return;
        }
        let deleted = poll.bounds.deleted;
        if let Some(first) = poll.records.first().filter(|r| r.offset < deleted) {
            return self.undeleted(consumer, tp, first.offset, deleted);
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
        if let Some(what) = self.alteration(tp, record, id) {
            self.violate(
                Invariant::Altered,
                format!("{consumer} read {id} in {tp} at {}: {what}", record.offset),
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
        self.read_in_epoch(consumer, tp, record);
        if record.log_append_time && send.to == tp {
            self.stamped(id, record.timestamp);
        }
        self.violation.is_none()
    }

    /// Leader epochs ascend along a log. KIP-101.
    fn read_in_epoch(&mut self, consumer: &str, tp: Tp, record: &Polled) {
        let (offset, epoch) = (record.offset, record.leader_epoch);
        let epochs = &mut self.partitions.entry(tp).or_default().epochs;
        let (first, last) = epochs.entry(epoch).or_insert((offset, offset));
        (*first, *last) = ((*first).min(offset), (*last).max(offset));
        let before = epochs.range(..epoch).next_back();
        let after = epochs.range(epoch + 1..).next();
        let overlaps = before.is_some_and(|(_, (_, last))| *last > offset)
            || after.is_some_and(|(_, (first, _))| *first < offset);
        if overlaps {
            let epochs = epochs.clone();
            self.violate(
                Invariant::LeaderEpoch,
                format!("{consumer} read {tp} at {offset} in leader epoch {epoch}; epochs and their offsets are {epochs:?}"),
            );
        }
    }

    /// The leader epochs that records of a partition were read in, each with the last offset of them.
    #[must_use]
    pub fn leader_epochs(&self, tp: Tp) -> Vec<(i32, i64)> {
        let epochs = self.partitions.get(&tp).map(|partition| &partition.epochs);
        let epochs = epochs.into_iter().flatten();
        epochs.map(|(epoch, (_, last))| (*epoch, *last)).collect()
    }

    /// An answer said that the greatest leader epoch up to `asked` is `told`, and ends before `end`; records of `asked` up to
    /// `last` had been read when it was asked for.
    pub fn epoch_ended(
        &mut self,
        who: &str,
        tp: Tp,
        (asked, last): (i32, i64),
        (told, end): (i32, i64),
    ) {
        self.operations += 1;
        let Some(partition) = self.partitions.get(&tp).filter(|_| !self.is_gone(tp.topic)) else {
            return;
        };
        // Epochs whose records are all deleted are forgotten: the first one that is left begins where the log does.
        let deleted = |offset: i64| offset <= partition.delete_limit || self.retains(tp);
        let next = partition.epochs.range(asked + 1..).next();
        let too_far = next.is_some_and(|(_, (first, _))| end > *first) && !deleted(end);
        let right = match told == asked {
            true => end > last && !too_far,
            false => told < asked && deleted(last + 1),
        };
        if !right {
            let epochs = partition.epochs.clone();
            self.violate(
                Invariant::LeaderEpoch,
                format!("{who} asked where the leader epoch {asked} of {tp} ends: {told} ends at {end}, but records up to {last} were read in it, and later {epochs:?}"),
            );
        }
    }

    /// What is not as it was sent, or as the topic's rules make it.
    fn alteration(&self, tp: Tp, record: &Polled, id: RecordId) -> Option<String> {
        let producer = &self.producers[id.producer as usize];
        let send = &producer.sends[id.nth as usize];
        let rules = self.rules(tp.topic);
        if send.attempts == 0 {
            return Some("it was never sent".to_owned());
        }
        if send.to != tp {
            // Sent by name to the topic that had it before, and never heard of again: it may arrive late.
            let settled = matches!(send.state, SendState::Acked { .. }) && send.attempts == 1;
            if settled || !self.may_stray(send.to, tp) {
                return Some(format!("it was sent to {}", send.to));
            }
        }
        let codec = rules.compression.unwrap_or(producer.codec);
        if record.codec != codec {
            return Some(format!("it is in {:?}, not in {codec:?}", record.codec));
        }
        if record.log_append_time != rules.log_append_time {
            return Some(format!(
                "whose timestamp it has is told wrongly; log append time: {}",
                record.log_append_time
            ));
        }
        let timestamp = match rules.log_append_time {
            true => self.timestamp(tp, id)?,
            false => send.timestamp,
        };
        (record.timestamp != timestamp)
            .then(|| format!("it has the timestamp {}, not {timestamp}", record.timestamp))
    }

    /// The broker gave a record this append time: an answer or a batch said so.
    pub fn stamped(&mut self, id: RecordId, timestamp: i64) {
        let send = self.send(id);
        let before = *send.stamped.get_or_insert(timestamp);
        if before != timestamp && send.attempts == 1 {
            self.violate(
                Invariant::Altered,
                format!("{id} got the append time {before}, and now {timestamp}"),
            );
        }
    }

    /// An answer said where a partition begins. What is below was deleted: somebody asked for it, or retention let it go.
    pub fn begins(&mut self, who: &str, tp: Tp, start: i64, bounds: Bounds) {
        let limit = self.kept_from(tp);
        if self.is_gone(tp.topic) {
            return;
        }
        if start < bounds.deleted {
            return self.undeleted(who, tp, start, bounds.deleted);
        }
        if start <= limit {
            return;
        }
        match self.gone_too_soon(tp, limit, start) {
            Some(why) => self.violate(
                Invariant::Lost,
                format!("{tp} begins at {start} for {who}, but nobody asked to delete beyond {limit}{why}"),
            ),
            None => self.may_delete(tp, start),
        }
    }

    fn undeleted(&mut self, who: &str, tp: Tp, offset: i64, deleted: i64) {
        self.violate(
            Invariant::Undeleted,
            format!("{who} found {tp} at {offset}, although the deletion of everything below {deleted} was acknowledged before it asked"),
        );
    }

    /// Records that retention may not have taken: the last one of `from..to` that is not old enough while what is behind it is too little.
    fn gone_too_soon(&self, tp: Tp, from: i64, to: i64) -> Option<String> {
        let rules = self.rules(tp.topic);
        if !rules.retains() {
            return Some(String::new());
        }
        let partition = self.partitions.get(&tp)?;
        let old = |id: RecordId| {
            rules.retention_ms.is_some_and(|kept| {
                let age = self.timestamp(tp, id).map(|at| self.broker_wall_ms - at);
                age.is_none_or(|age| age > kept)
            })
        };
        let young = partition
            .known()
            .filter(|(offset, id)| (from..to).contains(offset) && !old(*id))
            .last();
        let (offset, id) = young?;
        let behind = self.bytes_behind(tp, offset);
        if rules.retention_bytes.is_some_and(|kept| behind >= kept) {
            return None;
        }
        Some(format!(
            ", and {id} at {offset} is neither older than {:?} ms nor are more than {behind} of {:?} bytes behind it",
            rules.retention_ms, rules.retention_bytes
        ))
    }

    /// No more bytes than this can ever have been behind an offset.
    fn bytes_behind(&self, tp: Tp, offset: i64) -> u64 {
        let sends = self.producers.iter().flat_map(|producer| &producer.sends);
        sends
            .filter(|send| {
                send.to.index == tp.index && (send.to == tp || self.may_stray(send.to, tp))
            })
            .filter(|send| send.attempts > 1 || send.place.is_none_or(|place| place > offset))
            .map(|send| send.bytes * u64::from(send.attempts))
            .sum()
    }

    /// The timestamp of a record in the log, as far as it is known.
    pub(super) fn timestamp(&self, tp: Tp, id: RecordId) -> Option<i64> {
        let producer = self.producers.get(id.producer as usize)?;
        let send = producer.sends.get(id.nth as usize)?;
        match self.rules(tp.topic).log_append_time {
            // A plain producer's retry may be there twice, with two times.
            true => send
                .stamped
                .filter(|_| send.to == tp && (send.attempts == 1 || producer.idempotent)),
            false => Some(send.timestamp),
        }
    }

    /// A reader's high watermark in two answers, the later one second.
    pub fn high_watermarks(&mut self, consumer: &str, tp: Tp, before: i64, after: i64) {
        if after < before && !self.is_gone(tp.topic) {
            self.violate(
                Invariant::HighWatermarkRegressed,
                format!(
                    "{consumer} saw the high watermark of {tp} go from {before} back to {after}"
                ),
            );
        }
    }

    /// An answer to a lookup by timestamp.
    pub fn looked_up(&mut self, mut lookup: Lookup) {
        self.operations += 1;
        if self.is_gone(lookup.tp.topic) {
            return;
        }
        if self.retains(lookup.tp) {
            // Any record before the answer may have gone.
            lookup.delete_limit = i64::MAX;
        }
        let fault = self.judge_lookup(&lookup);
        let partition = self.partitions.entry(lookup.tp).or_default();
        partition.lookups.push(lookup);
        if let Some(message) = fault {
            self.violate(Invariant::TimestampLookup, message);
        }
    }
}
