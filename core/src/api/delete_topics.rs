//! DeleteTopics: passed on to the controller.
//!
//! Owns no rule; the answer waits until the records are committed.

use crate::controller::{Controller, Outcome};
use crate::wire::{DeleteTopicsRequest, DeleteTopicsResponse};

/// Decides on a request.
pub fn handle(
    request: &DeleteTopicsRequest,
    version: i16,
    controller: &mut Controller,
) -> Outcome<DeleteTopicsResponse> {
    controller.delete_topics(request, version)
}
