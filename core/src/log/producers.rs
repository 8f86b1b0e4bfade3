//! What a log knows of its idempotent and transactional producers. Kafka's `ProducerStateManager`; KIP-98, KIP-360.
//!
//! Owns the rules of epoch, sequence and duplicates, and the bytes of producer snapshots. The state is a function of the batches
//! of the log (less what has expired): a snapshot and the batches after it give the same state.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes};

use super::notice::{AppendError, Origin};
use crate::ids::{Offset, ProducerId};
use crate::wire::batch::{BatchHeader, NO_SEQUENCE, NO_TIMESTAMP, crc32c, increment_sequence};
use crate::work::EndMarker;

/// Batches of a producer that are remembered to recognise duplicates.
const BATCHES_REMEMBERED: usize = 5;
/// "No epoch".
const NO_EPOCH: i16 = -1;
const SNAPSHOT_VERSION: i16 = 1;
/// Bytes of version and CRC: the CRC covers what follows.
const SNAPSHOT_HEADER: usize = 6;
const SNAPSHOT_ENTRY: usize = 46;

/// One batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducedBatch {
    pub(super) last_sequence: i32,
    pub(super) last_offset: Offset,
    pub(super) offset_delta: i32,
    pub(super) timestamp: i64,
}

impl ProducedBatch {
    fn first_sequence(&self) -> i32 {
        increment_sequence(self.last_sequence, -self.offset_delta)
    }

    /// Offset of the batch's first record.
    pub(super) fn base(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    /// First offset of the transaction under way.
    transaction: Option<Offset>,
    /// At most five, oldest first; all of the present epoch.
    batches: VecDeque<ProducedBatch>,
}

impl Default for Producer {
    fn default() -> Producer {
        Producer {
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: NO_TIMESTAMP,
            transaction: None,
            batches: VecDeque::new(),
        }
    }
}

impl Producer {
    fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(NO_SEQUENCE, |b| b.last_sequence)
    }

    fn remember(&mut self, batch: ProducedBatch) {
        if self.batches.len() == BATCHES_REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }
}

/// All producers of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
}

/// What a producer was before a batch was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo(ProducerId, Option<Producer>);

impl Producers {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.producers.len()
    }

    /// May this batch be appended? `Ok(Some(_))`: it was, and this is where.
    ///
    /// # Errors
    /// By KIP-98's rules of epoch and sequence. A producer without state may begin with any sequence (KIP-360).
    pub(super) fn check(
        &self,
        header: &BatchHeader,
        marker: Option<EndMarker>,
        origin: Origin,
    ) -> Result<Option<ProducedBatch>, AppendError> {
        let Some(known) = self.producers.get(&header.producer_id) else {
            return Ok(None);
        };
        if origin == Origin::Client && header.producer_epoch == known.epoch {
            let duplicate = known.batches.iter().find(|batch| {
                batch.first_sequence() == header.base_sequence
                    && batch.last_sequence == header.last_sequence()
            });
            if let Some(duplicate) = duplicate {
                return Ok(Some(*duplicate));
            }
        }
        if header.producer_epoch < known.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer: header.producer_id,
                epoch: header.producer_epoch,
                current: known.epoch,
            });
        }
        if let Some(marker) = marker {
            if marker.coordinator_epoch < known.coordinator_epoch {
                return Err(AppendError::CoordinatorFenced {
                    epoch: marker.coordinator_epoch,
                    current: known.coordinator_epoch,
                });
            }
            return Ok(None);
        }
        if origin == Origin::Client {
            check_sequence(header, known)?;
        }
        if known.transaction.is_some() && !header.is_transactional() {
            return Err(AppendError::InvalidTxnState(header.producer_id));
        }
        Ok(None)
    }

    /// Applies a batch of the log at `base`. Returns how to take it back.
    pub(super) fn apply(
        &mut self,
        header: &BatchHeader,
        base: Offset,
        marker: Option<EndMarker>,
    ) -> Undo {
        let undo = Undo(
            header.producer_id,
            self.producers.get(&header.producer_id).cloned(),
        );
        if header.is_control() && marker.is_none() {
            return undo;
        }
        let producer = self.producers.entry(header.producer_id).or_default();
        producer.enter_epoch(header.producer_epoch);
        producer.last_timestamp = header.max_timestamp;
        if let Some(marker) = marker {
            producer.coordinator_epoch = marker.coordinator_epoch;
            producer.transaction = None;
            return undo;
        }
        producer.remember(ProducedBatch {
            last_sequence: header.last_sequence(),
            last_offset: Offset(base.0 + i64::from(header.last_offset_delta)),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        if header.is_transactional() && producer.transaction.is_none() {
            producer.transaction = Some(base);
        }
        undo
    }

    /// Takes back what [`apply`](Producers::apply) did; the latest first.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo.1 {
            Some(before) => self.producers.insert(undo.0, before),
            None => self.producers.remove(&undo.0),
        };
    }

    /// Forgets producers that were idle for `expiration_ms` and have no transaction under way.
    pub(super) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, producer| {
            producer.transaction.is_some()
                || now_ms.saturating_sub(producer.last_timestamp) < expiration_ms
        });
    }

    /// The `.snapshot` file.
    ///
    /// A producer has one entry for each batch that is remembered, the latest last. Kafka writes the latest only, so that a
    /// retry of an earlier batch is refused after a restart; it reads ours as its own, since a later entry replaces an earlier.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = vec![0; 4];
        let mut count: i32 = 0;
        let none = ProducedBatch {
            last_sequence: NO_SEQUENCE,
            last_offset: Offset(-1),
            offset_delta: 0,
            timestamp: NO_TIMESTAMP,
        };
        for (id, producer) in &self.producers {
            let latest = ProducedBatch {
                timestamp: producer.last_timestamp,
                ..producer.batches.back().copied().unwrap_or(none)
            };
            let earlier = producer.batches.len().saturating_sub(1);
            for batch in producer.batches.iter().take(earlier).chain([&latest]) {
                count = count.saturating_add(1);
                body.extend_from_slice(&id.0.to_be_bytes());
                body.extend_from_slice(&producer.epoch.to_be_bytes());
                body.extend_from_slice(&batch.last_sequence.to_be_bytes());
                body.extend_from_slice(&batch.last_offset.0.to_be_bytes());
                body.extend_from_slice(&batch.offset_delta.to_be_bytes());
                body.extend_from_slice(&batch.timestamp.to_be_bytes());
                body.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
                body.extend_from_slice(&producer.transaction.map_or(-1, |o| o.0).to_be_bytes());
            }
        }
        body[..4].copy_from_slice(&count.to_be_bytes());
        let mut file = Vec::with_capacity(SNAPSHOT_HEADER + body.len());
        file.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        file.extend_from_slice(&crc32c(&body).to_be_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// From a `.snapshot` file; `None` if it is damaged or of another version.
    pub(super) fn decode(mut file: Bytes) -> Option<Producers> {
        if file.len() < SNAPSHOT_HEADER + 4 || file.get_i16() != SNAPSHOT_VERSION {
            return None;
        }
        let crc = file.get_u32();
        if crc32c(&file) != crc {
            return None;
        }
        let count = usize::try_from(file.get_i32()).ok()?;
        if file.len() < count.checked_mul(SNAPSHOT_ENTRY)? {
            return None;
        }
        let mut producers: BTreeMap<ProducerId, Producer> = BTreeMap::new();
        for _ in 0..count {
            let producer = producers.entry(ProducerId(file.get_i64())).or_default();
            producer.enter_epoch(file.get_i16());
            let last_sequence = file.get_i32();
            let last_offset = file.get_i64();
            let offset_delta = file.get_i32();
            producer.last_timestamp = file.get_i64();
            producer.coordinator_epoch = file.get_i32();
            let transaction = file.get_i64();
            producer.transaction = (transaction >= 0).then_some(Offset(transaction));
            if last_offset >= 0 {
                producer.remember(ProducedBatch {
                    last_sequence,
                    last_offset: Offset(last_offset),
                    offset_delta,
                    timestamp: producer.last_timestamp,
                });
            }
        }
        Some(Producers { producers })
    }
}

fn check_sequence(header: &BatchHeader, known: &Producer) -> Result<(), AppendError> {
    let sequence = header.base_sequence;
    let in_order = if header.producer_epoch != known.epoch {
        sequence == 0 || known.epoch == NO_EPOCH
    } else {
        let last = known.last_sequence();
        known.epoch == NO_EPOCH
            || i64::from(sequence) == i64::from(last) + 1
            || (sequence == 0 && last == i32::MAX)
    };
    if in_order {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence {
        producer: header.producer_id,
        sequence,
        last: known.last_sequence(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::{BatchOptions, RecordToWrite, encode_batch};

    fn batch(epoch: i16, sequence: i32, count: usize) -> BatchHeader {
        let records = vec![
            RecordToWrite {
                timestamp: 5,
                ..RecordToWrite::default()
            };
            count
        ];
        let options = BatchOptions {
            producer_id: ProducerId(7),
            producer_epoch: epoch,
            base_sequence: sequence,
            ..BatchOptions::default()
        };
        BatchHeader::decode(&encode_batch(options, &records)).expect("whole")
    }

    fn client(producers: &Producers, header: &BatchHeader) -> Result<Option<i64>, i16> {
        producers
            .check(header, None, Origin::Client)
            .map(|duplicate| duplicate.map(|d| d.base().0))
            .map_err(|error| error.code())
    }

    #[test]
    fn sequences_duplicates_and_epochs_follow_kip_98() {
        let mut producers = Producers::default();
        // Without state any first sequence goes.
        assert_eq!(client(&producers, &batch(3, 40, 2)), Ok(None));
        for n in 0..7 {
            let header = batch(3, n * 10, 10);
            assert_eq!(client(&producers, &header), Ok(None));
            producers.apply(&header, Offset(100 + i64::from(n) * 10), None);
        }
        assert_eq!(client(&producers, &batch(3, 60, 10)), Ok(Some(160)));
        assert_eq!(client(&producers, &batch(3, 20, 10)), Ok(Some(120)));
        assert_eq!(
            client(&producers, &batch(3, 10, 10)),
            Err(45),
            "out of the window"
        );
        assert_eq!(client(&producers, &batch(3, 71, 1)), Err(45));
        assert_eq!(client(&producers, &batch(2, 70, 1)), Err(47));
        assert_eq!(client(&producers, &batch(4, 70, 1)), Err(45));
        assert_eq!(client(&producers, &batch(4, 0, 1)), Ok(None));
        let undo = producers.apply(&batch(4, 0, 1), Offset(170), None);
        assert_eq!(client(&producers, &batch(3, 70, 1)), Err(47));
        producers.undo(undo);
        assert_eq!(client(&producers, &batch(3, 70, 1)), Ok(None));
    }

    #[test]
    fn sequences_wrap_after_the_greatest() {
        let mut producers = Producers::default();
        let last = batch(0, i32::MAX - 1, 2);
        producers.apply(&last, Offset(0), None);
        assert_eq!(client(&producers, &batch(0, 0, 1)), Ok(None));
        assert_eq!(client(&producers, &batch(0, 1, 1)), Err(45));
        assert_eq!(client(&producers, &last), Ok(Some(0)));
        let across = batch(0, i32::MAX, 3);
        let mut producers = Producers::default();
        producers.apply(&across, Offset(0), None);
        assert_eq!(client(&producers, &batch(0, 2, 1)), Ok(None));
        assert_eq!(client(&producers, &across), Ok(Some(0)));
    }

    #[test]
    fn snapshots_round_trip_and_damage_is_seen() {
        let mut producers = Producers::default();
        for n in 0..7 {
            let header = batch(3, n * 10, 10);
            producers.apply(&header, Offset(5 + i64::from(n) * 10), None);
        }
        let file = producers.encode();
        let back = Producers::decode(Bytes::from(file.clone())).expect("whole");
        assert_eq!(back, producers);
        assert_eq!(
            client(&back, &batch(3, 20, 10)),
            Ok(Some(25)),
            "the whole window"
        );
        for place in 0..file.len() {
            let mut bad = file.clone();
            bad[place] ^= 0x10;
            assert_eq!(Producers::decode(Bytes::from(bad)), None, "byte {place}");
        }
        assert_eq!(Producers::decode(Bytes::from_static(b"\0\x01")), None);
    }

    #[test]
    fn idle_producers_expire() {
        let mut producers = Producers::default();
        producers.apply(&batch(3, 0, 10), Offset(5), None);
        producers.expire(104, 100);
        assert_eq!(producers.len(), 1);
        producers.expire(105, 100);
        assert_eq!(producers.len(), 0);
    }
}
