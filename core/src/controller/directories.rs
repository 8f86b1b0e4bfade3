//! Log directories that fail while the broker runs: their partitions lose this broker as a leader, then the registration loses the
//! directories (KIP-858).
//!
//! Knows nothing of disks: it is told which directories still work.

use super::{Controller, Startup, VersionedRecord};
use crate::ids::{NodeId, Uuid};
use crate::metadata::Partition;
use crate::wire::BrokerRegistrationChangeRecord;

/// Directories that have failed, and how far the partitions were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LostDirectories {
    node: NodeId,
    online: Vec<Uuid>,
    from: Option<(Uuid, i32)>,
}

impl Controller {
    /// Notes that of the log directories of `node` only those in `online` work.
    pub fn lose_directories(&mut self, node: NodeId, online: Vec<Uuid>) {
        self.lost = Some(LostDirectories {
            node,
            online,
            from: None,
        });
    }

    /// The records of the next piece that lost directories ask for, none if the piece changes nothing; `None` when there is nothing
    /// to do, or the start has not ended.
    pub fn go_on_with_directories(&mut self) -> Option<Vec<VersionedRecord>> {
        let LostDirectories { node, online, from } =
            self.lost.take_if(|_| self.startup == Startup::Done)?;
        let broker = self.image.brokers.get(&node.0)?;
        let known = &broker.log_dirs;
        // A registration without directories says nothing about them: the metadata version has no room for it.
        if online.is_empty() || known.iter().all(|id| online.contains(id)) {
            return None;
        }
        let change = BrokerRegistrationChangeRecord {
            broker_id: node.0,
            broker_epoch: broker.broker_epoch,
            log_dirs: known
                .iter()
                .copied()
                .filter(|id| online.contains(id))
                .collect(),
            ..Default::default()
        };
        let is_lost = |partition: &Partition| {
            let directory = partition.directory(node).filter(Uuid::names_directory);
            directory.is_some_and(|id| !online.contains(&id))
        };
        let (mut records, last) = self.partition_changes(from, |partition| {
            is_lost(partition)
                .then(|| self.stepping_down(node, partition))
                .flatten()
        });
        match last {
            Some(from) => {
                self.lost = Some(LostDirectories {
                    node,
                    online,
                    from: Some(from),
                })
            }
            None => records.push(change.into()),
        }
        Some(self.write(records))
    }
}
