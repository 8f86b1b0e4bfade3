//! CreatePartitions: passed on to the controller.
//!
//! Owns no rule; the answer waits until the records are committed.

use crate::controller::{Controller, Outcome};
use crate::rng::Rng;
use crate::wire::{CreatePartitionsRequest, CreatePartitionsResponse};

/// Decides on a request.
pub fn handle(
    request: &CreatePartitionsRequest,
    controller: &mut Controller,
    rng: &Rng,
) -> Outcome<CreatePartitionsResponse> {
    controller.create_partitions(request, rng)
}
