//! What is judged over everything that is known: at any moment, and for the last time.

use std::collections::BTreeMap;

use super::{Invariant, Judge, Lookup, PartitionModel, RecordId, SendState, Tp};

impl Judge {
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

    /// First places of a producer's records ascend with their numbers.
    fn disorder(&self, tp: Tp, partition: &PartitionModel) -> Option<String> {
        let mut last: BTreeMap<u32, (u32, i64)> = BTreeMap::new();
        for (offset, id) in partition.known() {
            let producer = &self.producers[id.producer as usize];
            let send = &producer.sends[id.nth as usize];
            // Whoever has several requests in flight keeps the order of what was right at the first attempt.
            let settled = matches!(send.state, SendState::Acked { acks, .. } if acks != 0);
            let in_order = producer.ordered || (settled && send.attempts == 1);
            if !in_order || send.to != tp || send.place != Some(offset) {
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

    pub(super) fn judge_lookup(&self, lookup: &Lookup) -> Option<String> {
        let partition = self.partitions.get(&lookup.tp)?;
        let known = partition
            .known()
            .filter_map(|(offset, id)| Some((offset, self.timestamp(lookup.tp, id)?)));
        lookup.fault(known)
    }

    /// Partitions that something is known of and that must be readable in the end.
    #[must_use]
    pub fn final_partitions(&self) -> Vec<Tp> {
        self.partitions
            .keys()
            .filter(|tp| self.topic_lives(tp.topic) && !self.is_rotten(**tp))
            .copied()
            .collect()
    }

    /// A fresh consumer has read one partition from its first offset to its end.
    pub fn read_to_end(&mut self, tp: Tp, start: i64, end: i64) {
        self.begins("the last reader", tp, start, self.bounds(tp));
        let partition = self.partitions.entry(tp).or_default();
        let promised = partition.promised_end;
        partition.final_range = Some((start, end));
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
                    let place = offset.or(send.place);
                    let at = place.map_or(String::new(), |place| format!(" at {place}"));
                    unseen.push(format!(
                        "{id} was acknowledged (acks={acks}) in {}{at}, and the last reader found only {start}..{end}",
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
