//! The APIs: their keys, versions and where they are served.

use std::ops::RangeInclusive;

/// What the schema says of an API.
struct Facts {
    name: &'static str,
    min: i16,
    max: i16,
    stable: i16,
    flexible_from: i16,
    broker: bool,
    controller: bool,
    cluster_action: bool,
}

include!(concat!(env!("OUT_DIR"), "/apis.rs"));

impl ApiKey {
    /// The key on the wire.
    #[inline]
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name, such as `Fetch`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The versions that the schemas describe. (Produce *advertises* 0 as its least all the same: KAFKA-18659.)
    #[must_use]
    pub const fn versions(self) -> RangeInclusive<i16> {
        self.facts().min..=self.facts().max
    }

    /// The highest version that is not in development.
    #[must_use]
    pub const fn latest_stable_version(self) -> i16 {
        self.facts().stable
    }

    /// True if the schemas describe `version`.
    #[must_use]
    pub const fn has_version(self, version: i16) -> bool {
        self.facts().min <= version && version <= self.facts().max
    }

    /// True if `version` has compact lengths and tagged fields. Also tells so of versions that are yet to come, which the
    /// header of an ApiVersions request may name.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().flexible_from
    }

    /// Brokers serve it to clients.
    #[must_use]
    pub const fn on_broker(self) -> bool {
        self.facts().broker
    }

    /// Controllers serve it.
    #[must_use]
    pub const fn on_controller(self) -> bool {
        self.facts().controller
    }

    /// Only for members of the cluster.
    #[must_use]
    pub const fn is_cluster_action(self) -> bool {
        self.facts().cluster_action
    }
}

#[cfg(test)]
mod tests {
    use super::ApiKey;

    #[test]
    fn keys_and_codes_agree() {
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(api.code()), Some(*api));
            assert!(api.has_version(api.latest_stable_version()));
        }
        assert_eq!(ApiKey::from_code(4), None);
        assert_eq!(ApiKey::Fetch.versions(), 4..=18);
        assert_eq!(ApiKey::InitProducerId.latest_stable_version(), 5);
        assert!(ApiKey::Vote.is_cluster_action() && !ApiKey::Vote.on_broker());
    }
}
