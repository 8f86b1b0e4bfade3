//! InitProducerId: ids for idempotent producers (KIP-98), out of blocks that the controller gives (KIP-730).
//!
//! Owns the block in use. There is no transaction coordinator in this release: a transactional id is told that its coordinator is
//! elsewhere, as by any broker that has no part of the transaction log.

use crate::controller::{Controller, Outcome};
use crate::ids::Offset;
use crate::wire::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse};

/// The ids that this broker may give away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerIds {
    /// The next, of those in the block.
    next: i64,
    /// One past the last of the block.
    end: i64,
    /// The offset of the record that gives the block; no answer with an id of it may leave before that is committed, or another life
    /// of the broker could give the id again. `None` while no block was ever taken.
    block_at: Option<Offset>,
}

impl ProducerIds {
    /// Notes that the records of the last outcome were appended, the last of them at `last`.
    pub fn appended(&mut self, last: Offset) {
        self.block_at = Some(last);
    }

    /// Up to where the metadata log must be committed before an answer with the last id may leave.
    #[must_use]
    pub fn committed_with(&self) -> Option<Offset> {
        self.block_at
    }
}

/// Answers a request. If there are records (a new block), the caller appends them and calls [`ProducerIds::appended`]; in either case
/// an answer without an error waits for [`ProducerIds::committed_with`].
pub fn handle(
    request: &InitProducerIdRequest,
    ids: &mut ProducerIds,
    controller: &mut Controller,
    broker_id: i32,
    broker_epoch: i64,
    transaction_timeout_ms_max: i64,
) -> Outcome<InitProducerIdResponse> {
    if let Err(code) = check(request, transaction_timeout_ms_max) {
        let response = InitProducerIdResponse {
            error_code: code,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        return Outcome {
            records: Vec::new(),
            response,
        };
    }
    let mut records = Vec::new();
    if ids.next == ids.end {
        let outcome = controller.allocate_producer_ids(broker_id, broker_epoch);
        records = outcome.records;
        ids.next = outcome.response.first;
        ids.end = outcome.response.first + i64::from(outcome.response.len);
    }
    let producer_id = ids.next;
    ids.next += 1;
    let response = InitProducerIdResponse {
        producer_id,
        producer_epoch: 0,
        ..Default::default()
    };
    Outcome { records, response }
}

fn check(request: &InitProducerIdRequest, timeout_ms_max: i64) -> Result<(), ErrorCode> {
    let timeout_ms = i64::from(request.transaction_timeout_ms);
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    match request.transactional_id.as_deref() {
        None => Ok(()),
        Some("") => Err(ErrorCode::INVALID_REQUEST),
        Some(_) if timeout_ms < 1 || timeout_ms > timeout_ms_max => {
            Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT)
        }
        Some(_) => Err(ErrorCode::NOT_COORDINATOR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn ids_are_given_once_and_a_block_at_a_time() {
        let config = Config::single(1, &["/a"], &[]).expect("valid");
        let mut controller = Controller::new(&config);
        let mut ids = ProducerIds::default();
        let request = InitProducerIdRequest {
            transactional_id: None,
            ..Default::default()
        };
        let mut blocks = 0;
        for expected in 0..2500 {
            let outcome = handle(&request, &mut ids, &mut controller, 1, 5, 1000);
            if !outcome.records.is_empty() {
                blocks += 1;
                ids.appended(Offset(100 + blocks));
            }
            assert_eq!(
                (
                    outcome.response.producer_id,
                    outcome.response.producer_epoch
                ),
                (expected, 0)
            );
            assert_eq!(ids.committed_with(), Some(Offset(101 + expected / 1000)));
        }
        assert_eq!(blocks, 3);
    }

    #[test]
    fn what_cannot_be_served_is_told() {
        let config = Config::single(1, &["/a"], &[]).expect("valid");
        let cases = [
            (Some(""), 1, -1, -1, ErrorCode::INVALID_REQUEST),
            (Some("t"), 1000, -1, -1, ErrorCode::NOT_COORDINATOR),
            (
                Some("t"),
                1001,
                -1,
                -1,
                ErrorCode::INVALID_TRANSACTION_TIMEOUT,
            ),
            (Some("t"), 0, -1, -1, ErrorCode::INVALID_TRANSACTION_TIMEOUT),
            (Some("t"), 0, 5, -1, ErrorCode::INVALID_REQUEST),
            (None, 0, 5, -1, ErrorCode::INVALID_REQUEST),
            (None, 0, -1, 0, ErrorCode::INVALID_REQUEST),
            (None, 0, 5, 0, ErrorCode::NONE),
        ];
        for (transactional_id, transaction_timeout_ms, producer_id, producer_epoch, code) in cases {
            let request = InitProducerIdRequest {
                transaction_timeout_ms,
                transactional_id: transactional_id.map(Into::into),
                producer_id,
                producer_epoch,
                ..Default::default()
            };
            let outcome = handle(
                &request,
                &mut ProducerIds::default(),
                &mut Controller::new(&config),
                1,
                5,
                1000,
            );
            assert_eq!(outcome.response.error_code, code);
            assert_eq!(outcome.records.is_empty(), code != ErrorCode::NONE);
        }
    }
}
