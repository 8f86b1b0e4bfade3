//! CreateTopics: passed on to the controller.
//!
//! Owns no rule; the answer waits until the records are committed.

use crate::controller::{Controller, Outcome};
use crate::rng::Rng;
use crate::wire::{CreateTopicsRequest, CreateTopicsResponse};

/// Decides on a request.
pub fn handle(
    request: &CreateTopicsRequest,
    version: i16,
    controller: &mut Controller,
    rng: &Rng,
) -> Outcome<CreateTopicsResponse> {
    controller.create_topics(request, version, rng)
}
