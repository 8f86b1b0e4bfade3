//! Blocks of producer ids: a broker takes one and gives its ids to producers (KIP-730).
//!
//! Gives no single id.

use super::{Controller, Outcome};
use crate::wire::ProducerIdsRecord;

/// How many ids a block has.
pub const PRODUCER_ID_BLOCK: i32 = 1000;

/// Ids that one broker may give away, none of them twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: i64,
    /// How many, never negative.
    pub len: i32,
}

impl Controller {
    /// Takes the next block for the broker `broker_id`, whose epoch is `broker_epoch`.
    pub fn allocate_producer_ids(
        &mut self,
        broker_id: i32,
        broker_epoch: i64,
    ) -> Outcome<ProducerIdBlock> {
        let block = ProducerIdBlock {
            first: self.image.next_producer_id,
            len: PRODUCER_ID_BLOCK,
        };
        let record = ProducerIdsRecord {
            broker_id,
            broker_epoch,
            next_producer_id: block.first + i64::from(block.len),
            ..Default::default()
        };
        Outcome {
            records: self.write(vec![record.into()]),
            response: block,
        }
    }
}
