//! What is served: the one table behind dispatch and behind the answer to ApiVersions.
//!
//! An API is in it when every version that it advertises is implemented in full.

use super::api_versions::served_versions;
use crate::wire::ApiKey;

/// Served to clients of a broker listener.
const BROKER: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::CreatePartitions,
    ApiKey::DescribeCluster,
];

/// Served on a controller listener.
const CONTROLLER: &[ApiKey] = &[
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DescribeConfigs,
    ApiKey::CreatePartitions,
    ApiKey::DescribeCluster,
];

/// The APIs of a listener, by key.
#[must_use]
pub fn apis(controller: bool) -> &'static [ApiKey] {
    if controller { CONTROLLER } else { BROKER }
}

/// Is this version of `api` served on such a listener?
#[must_use]
pub fn is_served(controller: bool, api: ApiKey, version: i16) -> bool {
    apis(controller).contains(&api) && served_versions(api).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_by_key_and_within_kafkas() {
        for (controller, table) in [(false, BROKER), (true, CONTROLLER)] {
            assert!(table.is_sorted_by_key(|api| api.code()));
            for api in table {
                let kafkas = if controller {
                    api.on_controller()
                } else {
                    api.on_broker()
                };
                assert!(kafkas, "{api:?}");
                let last = *served_versions(*api).end();
                assert!(is_served(controller, *api, last));
                assert!(!is_served(controller, *api, last + 1));
            }
        }
    }
}
