//! The image as records: what a snapshot of the metadata log holds (KIP-630), in pieces, so that a step stays short with many partitions.
//!
//! The image must not change between the pieces of one listing: who lists it lets it rest until the end.

use super::image::QuotaEntity;
use super::{Image, Resource, features};
use crate::wire::client_quota_record::EntityData;
use crate::wire::{
    ClientQuotaRecord, ConfigRecord, F64Bits, FeatureLevelRecord, MetadataRecord,
    ProducerIdsRecord, Str, TopicRecord,
};

/// How far a listing has come. The order is that of Kafka's snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// Features, brokers and controllers.
    #[default]
    Cluster,
    /// Topics and their partitions, after this partition of this topic.
    Topics(Str, i32),
    /// Properties, after this one of this resource.
    Configs(Option<(Resource, String)>),
    /// Everything else.
    Others,
    /// The end.
    Done,
}

impl Image {
    /// Records that give this image to an empty one, each with the version to write it in: the next piece of `listing`, of `most` records
    /// or a few more. Empty at the end alone.
    #[must_use]
    pub fn list(&self, listing: &mut Listing, most: usize) -> Vec<(MetadataRecord, i16)> {
        let mut records = Vec::new();
        while records.len() < most && *listing != Listing::Done {
            *listing = match std::mem::take(listing) {
                Listing::Cluster => self.list_cluster(&mut records),
                Listing::Topics(topic, index) => self.list_topics(topic, index, most, &mut records),
                Listing::Configs(after) => self.list_configs(after, most, &mut records),
                Listing::Others | Listing::Done => self.list_others(&mut records),
            };
        }
        let metadata_version = self.metadata_version();
        let versioned = |record: MetadataRecord| {
            let version = features::record_version(&record, metadata_version);
            (record, version)
        };
        records.into_iter().map(versioned).collect()
    }

    fn list_cluster(&self, records: &mut Vec<MetadataRecord>) -> Listing {
        // The metadata version first: it says how to read the rest.
        let mut levels: Vec<_> = self.features.iter().collect();
        levels.sort_by_key(|(name, _)| **name != features::METADATA_VERSION);
        records.extend(levels.into_iter().map(|(name, level)| {
            FeatureLevelRecord {
                name: name.clone(),
                feature_level: *level,
                ..Default::default()
            }
            .into()
        }));
        records.extend(self.brokers.values().cloned().map(MetadataRecord::from));
        records.extend(self.controllers.values().cloned().map(MetadataRecord::from));
        Listing::Topics(Str::EMPTY, -1)
    }

    fn list_topics(
        &self,
        after: Str,
        index: i32,
        most: usize,
        records: &mut Vec<MetadataRecord>,
    ) -> Listing {
        let directories = self.metadata_version() >= features::DIRECTORIES_FROM;
        let begun = self.topics.by_name(&after);
        let begun = begun.map(|topic| (topic, Some(index.saturating_add(1))));
        let new = self.topics.after(&after).map(|topic| (topic, None));
        let mut last = after.clone();
        for (topic, from) in begun.into_iter().chain(new) {
            if from.is_none() {
                if records.len() >= most {
                    return Listing::Topics(last, i32::MAX);
                }
                let record = TopicRecord {
                    name: topic.name.clone(),
                    topic_id: topic.id,
                    ..Default::default()
                };
                records.push(record.into());
            }
            last = topic.name.clone();
            for (index, partition) in topic.partitions.range(from.unwrap_or(0)..) {
                if records.len() >= most {
                    return Listing::Topics(last, index - 1);
                }
                records.push(partition.record(topic.id, *index, directories).into());
            }
        }
        Listing::Configs(None)
    }

    fn list_configs(
        &self,
        after: Option<(Resource, String)>,
        most: usize,
        records: &mut Vec<MetadataRecord>,
    ) -> Listing {
        use std::ops::Bound::{Excluded, Unbounded};
        let begun = after.as_ref().and_then(|(resource, property)| {
            let rest = self.configs.get_key_value(resource)?;
            Some((rest, property.clone()))
        });
        let from = after
            .as_ref()
            .map_or(Unbounded, |(resource, _)| Excluded(resource));
        // No property has an empty name.
        let new = self.configs.range((from, Unbounded));
        let new = new.map(|each| (each, String::new()));
        for ((resource, properties), after) in begun.into_iter().chain(new) {
            for (name, value) in properties.range((Excluded(after), Unbounded)) {
                let record = ConfigRecord {
                    resource_type: resource.kind,
                    resource_name: resource.name.clone(),
                    name: Str::from(name.clone()),
                    value: Some(Str::from(value.clone())),
                    ..Default::default()
                };
                records.push(record.into());
                if records.len() >= most {
                    return Listing::Configs(Some((resource.clone(), name.clone())));
                }
            }
        }
        Listing::Others
    }

    fn list_others(&self, records: &mut Vec<MetadataRecord>) -> Listing {
        records.extend(
            self.quotas
                .iter()
                .map(|((entity, key), value)| quota_record(entity, key, *value).into()),
        );
        if self.next_producer_id > 0 {
            let record = ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
                ..Default::default()
            };
            records.push(record.into());
        }
        records.extend(self.acls.values().cloned().map(MetadataRecord::from));
        records.extend(self.scram.values().cloned().map(MetadataRecord::from));
        records.extend(self.tokens.values().cloned().map(MetadataRecord::from));
        Listing::Done
    }
}

fn quota_record(entity: &QuotaEntity, key: &Str, value: F64Bits) -> ClientQuotaRecord {
    let part = |(kind, name): &(Str, Option<Str>)| EntityData {
        entity_type: kind.clone(),
        entity_name: name.clone(),
        ..Default::default()
    };
    ClientQuotaRecord {
        entity: entity.iter().map(part).collect(),
        key: key.clone(),
        value,
        remove: false,
        ..Default::default()
    }
}
