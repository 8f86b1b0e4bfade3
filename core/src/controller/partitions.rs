//! CreatePartitions: more partitions for a topic, never fewer.
//!
//! Moves no partition that exists.

use std::collections::{BTreeMap, VecDeque};

use super::creation::Growth;
use super::placement::Placed;
use super::topics::{names_once_and_more, timed_out};
use super::{Controller, Outcome, REQUEST_RECORDS_MAX, Refusal};
use crate::ids::Uuid;
use crate::rng::Rng;
use crate::wire::create_partitions_request::CreatePartitionsTopic;
use crate::wire::create_partitions_response::CreatePartitionsTopicResult;
use crate::wire::{CreatePartitionsRequest, CreatePartitionsResponse, ErrorCode, Str};

impl Controller {
    /// Adds partitions to the topics of `request`, all that may be; says of each why not.
    pub fn create_partitions(
        &mut self,
        request: &CreatePartitionsRequest,
        rng: &Rng,
    ) -> Outcome<CreatePartitionsResponse> {
        let (once, twice) = names_once_and_more(request.topics.iter().map(|topic| &topic.name));
        if timed_out(request.timeout_ms) && !once.is_empty() {
            let refused = Refusal::bare(ErrorCode::REQUEST_TIMED_OUT);
            let topics = request.topics.iter();
            let results = topics.map(|topic| result(&topic.name, Err(refused.clone())));
            let response = CreatePartitionsResponse {
                results: results.collect(),
                ..Default::default()
            };
            return Outcome {
                records: Vec::new(),
                response,
            };
        }
        let duplicate = Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.");
        let mut results: Vec<_> = twice
            .iter()
            .map(|name| result(name, Err(duplicate.clone())))
            .collect();
        let mut added: Vec<Growth> = Vec::new();
        let mut extra = BTreeMap::new();
        for topic in request
            .topics
            .iter()
            .filter(|topic| once.contains(&topic.name))
        {
            let records: usize = added.iter().map(Growth::records).sum();
            let room = REQUEST_RECORDS_MAX.saturating_sub(records);
            let outcome = self.added_partitions(topic, room, rng, &mut extra);
            let outcome = outcome.map(|growth| added.push(growth));
            results.push(result(&topic.name, outcome));
        }
        let records = if request.validate_only {
            Vec::new()
        } else {
            self.grow(added)
        };
        let response = CreatePartitionsResponse {
            results,
            ..Default::default()
        };
        Outcome { records, response }
    }

    fn added_partitions(
        &self,
        topic: &CreatePartitionsTopic,
        room: usize,
        rng: &Rng,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Result<Growth, Refusal> {
        let existing = self
            .image
            .topics
            .by_name(&topic.name)
            .ok_or_else(|| Refusal::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
        let count = i32::try_from(existing.partitions.len()).unwrap_or(i32::MAX);
        let invalid = |message: String| Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        if topic.count == count {
            return invalid(format!("Topic already has {count} partition(s)."));
        }
        if topic.count < count {
            return invalid(format!(
                "The topic {} currently has {count} partition(s); {} would not be an increase.",
                topic.name, topic.count
            ));
        }
        let additional = topic.count - count;
        if additional.unsigned_abs() as usize > room {
            return Err(Refusal::new(
                ErrorCode::POLICY_VIOLATION,
                "Unable to perform excessively large batch operation.",
            ));
        }
        let factor = existing
            .partitions
            .values()
            .next()
            .map_or(1, |partition| partition.replicas.len());
        let placed = match &topic.assignments {
            None => {
                let factor = i16::try_from(factor).unwrap_or(i16::MAX);
                self.place(additional, factor, rng, extra)?
            }
            Some(assignments) if assignments.len() != additional.unsigned_abs() as usize => {
                return Err(Refusal::new(
                    ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                    format!(
                        "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                        assignments.len()
                    ),
                ));
            }
            Some(assignments) => {
                let replicas = assignments
                    .iter()
                    .map(|assignment| assignment.broker_ids.as_slice());
                self.place_added(replicas, factor, count, extra)?
            }
        };
        if placed
            .iter()
            .any(|placed| self.first_isr(&placed.replicas).is_empty())
        {
            return Err(Refusal::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                format!(
                    "Unable to replicate the partition {factor} time(s): All brokers are currently fenced or in controlled shutdown."
                ),
            ));
        }
        Ok(Growth {
            id: existing.id,
            head: VecDeque::new(),
            next: count,
            placed: placed.into(),
        })
    }

    fn place_added<'a>(
        &self,
        assignments: impl Iterator<Item = &'a [i32]>,
        factor: usize,
        first: i32,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Result<Vec<Placed>, Refusal> {
        (first..)
            .zip(assignments)
            .map(|(index, replicas)| {
                self.check_replicas(replicas, Some(factor))?;
                if self.first_isr(replicas).is_empty() {
                    return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, format!("All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown.")));
                }
                Ok(self.in_directories(replicas.to_vec(), extra))
            })
            .collect()
    }
}

fn result(name: &Str, outcome: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (code, message) = match outcome {
        Ok(()) => (ErrorCode::NONE, None),
        Err(refusal) => (refusal.code, refusal.text()),
    };
    CreatePartitionsTopicResult {
        name: name.clone(),
        error_code: code,
        error_message: message,
        ..Default::default()
    }
}
