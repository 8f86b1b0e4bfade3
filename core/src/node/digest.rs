//! A canonical digest of a node: two nodes in the same situation have the same one.
//!
//! Covers what decides the node's future answers: metadata, partitions, logs, what clients wait for and until when. Times count from
//! the last step, and the names of connections, requests and sessions by their first use: they differ where situations do not.

use super::{Node, Phase};
use crate::rng::keyed;
use crate::situation::Situation;

struct Digest(u64);

impl Digest {
    fn add(&mut self, number: i64) {
        self.0 = keyed(self.0, 0x7472_6961_6c6f_6731, [number.cast_unsigned()]);
    }

    fn count(&mut self, number: usize) {
        self.add(i64::try_from(number).unwrap_or(i64::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(i64::from_le_bytes(word));
        }
    }
}

impl Node {
    /// The digest. Costs as much as the node is large.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest(0);
        digest.add(match self.phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Stopping => 2,
            Phase::Halted => 3,
        });
        let image = self.image();
        digest.add(image.offset.0);
        digest.add(i64::from(image.epoch.0));
        digest.add(i64::from(image.in_transaction()));
        digest.count(image.topics.len());
        for topic in image.topics.iter() {
            digest.bytes(&topic.id.0);
            digest.bytes(topic.name.as_bytes());
            digest.count(topic.partitions.len());
        }
        for partition in self.partitions().iter() {
            let assignment = partition.assignment();
            digest.bytes(&partition.topic_id.0);
            digest.add(i64::from(partition.index.0));
            digest.add(i64::from(assignment.leader.0));
            digest.add(i64::from(assignment.leader_epoch.0));
            for node in &assignment.isr {
                digest.add(i64::from(node.0));
            }
            digest.add(partition.high_watermark().0);
            digest.add(i64::from(partition.is_open()));
            digest.count(partition.waiting());
        }
        for log in self.store().logs() {
            let Some(view) = self.store().view(log) else {
                continue;
            };
            digest.bytes(view.topic.as_bytes());
            digest.add(i64::from(view.partition.0));
            for offset in [view.start, view.durable, view.written, view.end] {
                digest.add(offset.0);
            }
            digest.add(i64::from(view.last_epoch.0));
            digest.add(i64::try_from(view.size_bytes).unwrap_or(i64::MAX));
            digest.count(view.producers);
            digest.add(i64::from(view.online));
        }
        let mut situation = Situation::new(self.now);
        self.api.describe(&mut situation);
        for word in situation.words() {
            digest.add(*word);
        }
        digest.0
    }
}
