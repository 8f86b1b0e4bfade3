//! Feature levels: which of Kafka's this release implements, and which record versions a `metadata.version` asks for.
//!
//! A level that is not implemented is never claimed (KIP-584).

use crate::wire::{MetadataRecord, Str};

/// The feature that every cluster has finalized.
pub const METADATA_VERSION: &str = "metadata.version";
/// The version of the quorum's own protocol: a control record, not a metadata record.
pub const KRAFT_VERSION: &str = "kraft.version";

/// Voters are records, with the directory of each (KIP-853); here there is one.
const KRAFT_VERSION_MAX: i16 = 1;

/// 3.3-IV3, the least that Kafka 4 reads.
pub const METADATA_VERSION_MIN: i16 = 7;
/// 4.3-IV0.
pub const METADATA_VERSION_MAX: i16 = 30;

/// From here metadata transactions exist (3.6-IV1, KIP-868).
pub const TRANSACTIONS_FROM: i16 = 13;
/// From here controllers register (3.7-IV0).
pub const CONTROLLER_REGISTRATION_FROM: i16 = 15;
/// From here partitions name the directories of their replicas (3.7-IV2, KIP-858).
pub const DIRECTORIES_FROM: i16 = 17;
/// From here partition records have room for eligible leader replicas (4.0-IV1, KIP-966).
const ELIGIBLE_LEADER_REPLICAS_FROM: i16 = 23;
/// From here registrations name cordoned directories (4.3-IV0).
pub const CORDONED_DIRECTORIES_FROM: i16 = 30;
/// From here registrations carry the migration flag (3.4-IV0).
const MIGRATION_FROM: i16 = 8;

/// A feature and the levels that this release implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// Its name.
    pub name: &'static str,
    /// Least level.
    pub min: i16,
    /// Greatest level.
    pub max: i16,
}

/// Every feature of which this release implements a level above 0.
pub const SUPPORTED: [Supported; 2] = [
    Supported {
        name: KRAFT_VERSION,
        min: 0,
        max: KRAFT_VERSION_MAX,
    },
    Supported {
        name: METADATA_VERSION,
        min: METADATA_VERSION_MIN,
        max: METADATA_VERSION_MAX,
    },
];

/// Does this release implement `level` of the feature `name`? Level 0 of anything is "off".
#[must_use]
pub fn implements(name: &str, level: i16) -> bool {
    match SUPPORTED.iter().find(|feature| feature.name == name) {
        Some(feature) => feature.min <= level && level <= feature.max,
        None => level == 0,
    }
}

/// The version in which `record` is written under `metadata_version`.
#[must_use]
pub fn record_version(record: &MetadataRecord, metadata_version: i16) -> i16 {
    match record {
        MetadataRecord::RegisterBroker(_) => match metadata_version {
            CORDONED_DIRECTORIES_FROM.. => 4,
            DIRECTORIES_FROM.. => 3,
            MIGRATION_FROM.. => 2,
            _ => 1,
        },
        MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => match metadata_version
        {
            ELIGIBLE_LEADER_REPLICAS_FROM.. => 2,
            DIRECTORIES_FROM.. => 1,
            _ => 0,
        },
        // The least version that has room for what is said, as Kafka writes it.
        MetadataRecord::BrokerRegistrationChange(change) => match change {
            change if change.cordoned_log_dirs.is_some() => 3,
            change if !change.log_dirs.is_empty() => 2,
            change if change.in_controlled_shutdown != 0 => 1,
            _ => 0,
        },
        _ => 0,
    }
}

/// The levels among `finalized` that this release lacks, as people write them: `group.version=1`.
#[must_use]
pub fn missing<'a>(finalized: impl Iterator<Item = (&'a Str, &'a i16)>) -> Vec<String> {
    finalized
        .filter(|(name, level)| !implements(name, **level))
        .map(|(name, level)| format!("{name}={level}"))
        .collect()
}

/// Of the features among `finalized` whose level this release lacks: the nearest level that it has.
pub fn served_instead<'a>(
    finalized: impl Iterator<Item = (&'a Str, &'a i16)>,
) -> impl Iterator<Item = (&'a Str, i16)> {
    finalized
        .filter(|(name, level)| !implements(name, **level))
        .map(|(name, level)| {
            let own = SUPPORTED.iter().find(|f| f.name == name.as_str());
            let nearest = own.map_or(0, |feature| (*level).clamp(feature.min, feature.max));
            (name, nearest)
        })
}
