//! Where replicas go: brokers in turn, and on each broker the log directory with the fewest replicas.
//!
//! Knows nothing of racks (there is one broker in this release); writes nothing.

use std::collections::BTreeMap;

use super::{Controller, Refusal};
use crate::ids::Uuid;
use crate::rng::{Purpose, Rng};
use crate::wire::ErrorCode;

/// Replicas and the directory of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) replicas: Vec<i32>,
    pub(super) directories: Vec<Uuid>,
}

impl Controller {
    /// Places `count` partitions with `factor` replicas each; the first of each is not fenced. `extra` as with
    /// [`in_directories`](Controller::in_directories).
    pub(super) fn place(
        &self,
        count: i32,
        factor: i16,
        rng: &Rng,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Result<Vec<Placed>, Refusal> {
        let refuse =
            |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        if factor <= 0 {
            return refuse(format!(
                "Invalid replication factor {factor}: the replication factor must be positive."
            ));
        }
        let brokers = self.image.brokers.keys();
        let (unfenced, fenced): (Vec<i32>, Vec<i32>) =
            brokers.partition(|id| self.image.is_unfenced(**id));
        if unfenced.is_empty() {
            return refuse(
                "All brokers are currently fenced, or have all their log directories cordoned."
                    .to_owned(),
            );
        }
        let total = unfenced.len() + fenced.len();
        let factor = usize::from(factor.unsigned_abs());
        if factor > total {
            return refuse(format!(
                "The target replication factor of {factor} cannot be reached because only {total} broker(s) are registered or some brokers have all their log directories cordoned."
            ));
        }
        let start = rng.below(
            unfenced.len() as u64,
            Purpose::ReplicaPlacement,
            self.topic_ids,
            0,
        ) as usize;
        let placed = (0..count.unsigned_abs() as usize).map(|partition| {
            let mut order = unfenced.clone();
            order.rotate_left((start + partition) % unfenced.len());
            order.extend(&fenced);
            order.truncate(factor);
            self.in_directories(order, extra)
        });
        Ok(placed.collect())
    }

    /// Gives each replica the directory of its broker that has the fewest, `extra` being those that this request has placed.
    /// A broker whose directories take no new replicas, or that is not known, chooses itself: [`Uuid::UNASSIGNED`]. One that tells no
    /// directories gets [`Uuid::ZERO`].
    pub(super) fn in_directories(
        &self,
        replicas: Vec<i32>,
        extra: &mut BTreeMap<Uuid, u64>,
    ) -> Placed {
        let load = |directory: &Uuid, extra: &BTreeMap<Uuid, u64>| {
            let count = |map: &BTreeMap<Uuid, u64>| map.get(directory).copied().unwrap_or(0);
            count(&self.replicas) + count(extra)
        };
        let directories = replicas.iter().map(|id| {
            let Some(broker) = self.image.brokers.get(id) else {
                return Uuid::UNASSIGNED;
            };
            let cordoned = broker.cordoned_log_dirs.as_deref().unwrap_or_default();
            let open = broker
                .log_dirs
                .iter()
                .filter(|directory| !cordoned.contains(directory));
            let chosen = open
                .min_by_key(|directory| load(directory, extra))
                .copied()
                .unwrap_or(match broker.log_dirs.is_empty() {
                    true => Uuid::ZERO,
                    false => Uuid::UNASSIGNED,
                });
            *extra.entry(chosen).or_default() += 1;
            chosen
        });
        let directories = directories.collect();
        Placed {
            replicas,
            directories,
        }
    }

    /// Checks replicas that a request names itself; `factor` is what earlier partitions of the topic have.
    pub(super) fn check_replicas(
        &self,
        replicas: &[i32],
        factor: Option<usize>,
    ) -> Result<(), Refusal> {
        let refuse =
            |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        if replicas.is_empty() {
            return refuse(
                "The manual partition assignment includes an empty replica list.".to_owned(),
            );
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        for (at, id) in sorted.iter().enumerate() {
            if !self.image.brokers.contains_key(id) {
                return refuse(format!(
                    "The manual partition assignment includes broker {id}, but no such broker is registered."
                ));
            }
            if at > 0 && sorted[at - 1] == *id {
                return refuse(format!(
                    "The manual partition assignment includes the broker {id} more than once."
                ));
            }
        }
        match factor {
            Some(factor) if factor != replicas.len() => refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {factor} replica(s).",
                replicas.len()
            )),
            _ => Ok(()),
        }
    }

    /// Those of `replicas` that can be in sync from the start.
    pub(super) fn first_isr(&self, replicas: &[i32]) -> Vec<i32> {
        replicas
            .iter()
            .copied()
            .filter(|id| self.image.is_active(*id))
            .collect()
    }
}
