//! ApiVersions: what this node serves, and which feature levels there are (KIP-35, KIP-511, KIP-584).
//!
//! Advertises what it is told is served in full, and nothing else. Decides on no feature.

use std::ops::RangeInclusive;

use crate::metadata::{Image, features};
use crate::wire::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, ErrorCode, Str};

/// From here clients say who they are.
const SOFTWARE_FROM: i16 = 3;
/// From here clients can read a feature whose least level is 0 (KAFKA-17492).
const LEVEL_ZERO_FROM: i16 = 4;

/// The versions of `api` that are served: all but those that Kafka has in development.
#[must_use]
pub fn served_versions(api: ApiKey) -> RangeInclusive<i16> {
    *api.versions().start()..=api.latest_stable_version()
}

/// Answers a request of a version that is known. `kraft_version` is the quorum's.
#[must_use]
pub fn handle(
    request: &ApiVersionsRequest,
    version: i16,
    served: &[ApiKey],
    image: &Image,
    kraft_version: i16,
) -> ApiVersionsResponse {
    let named = |text: &Str| is_software_name(text);
    if version >= SOFTWARE_FROM
        && !(named(&request.client_software_name) && named(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            ..Default::default()
        };
    }
    let supported = features::SUPPORTED
        .iter()
        .filter(|feature| feature.min > 0 || version >= LEVEL_ZERO_FROM);
    let kraft =
        (kraft_version > 0).then(|| (Str::from_static(features::KRAFT_VERSION), kraft_version));
    let finalized = image
        .features
        .iter()
        .map(|(name, level)| (name.clone(), *level))
        .chain(kraft);
    ApiVersionsResponse {
        api_keys: served.iter().map(|api| advertised(*api)).collect(),
        supported_features: supported
            .map(|feature| SupportedFeatureKey {
                name: feature.name.into(),
                min_version: feature.min,
                max_version: feature.max,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: image.offset.0,
        finalized_features: finalized
            .map(|(name, level)| FinalizedFeatureKey {
                name,
                max_version_level: level,
                min_version_level: level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// Answers a request of a version that is not known, in version 0: which versions of ApiVersions itself there are, so that a newer
/// client can ask again.
#[must_use]
pub fn unsupported_version() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![advertised(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn advertised(api: ApiKey) -> ApiVersion {
    let versions = served_versions(api);
    ApiVersion {
        api_key: api.code(),
        // librdkafka takes a broker without Produce 0 for one without compression (KAFKA-18659).
        min_version: if api == ApiKey::Produce {
            0
        } else {
            *versions.start()
        },
        max_version: *versions.end(),
        ..Default::default()
    }
}

/// Letters, digits, `-` and `.`, a letter or digit at both ends.
fn is_software_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    end(bytes.first())
        && end(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &'static str) -> ApiVersionsRequest {
        ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: "1.0-x".into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_served_is_advertised_and_nothing_else() {
        let mut image = Image::default();
        image.features.insert(features::METADATA_VERSION.into(), 30);
        let served = [ApiKey::Produce, ApiKey::InitProducerId, ApiKey::ApiVersions];
        let response = handle(&request("a-b.c"), 3, &served, &image, 1);
        let keys: Vec<_> = response
            .api_keys
            .iter()
            .map(|key| (key.api_key, key.min_version, key.max_version))
            .collect();
        assert_eq!(
            keys,
            [(0, 0, 13), (22, 0, 5), (18, 0, 4)],
            "Produce from 0; InitProducerId 6 is in development"
        );
        let levels = |response: &ApiVersionsResponse| {
            response
                .supported_features
                .iter()
                .map(|f| (f.name.to_string(), f.min_version, f.max_version))
                .collect::<Vec<_>>()
        };
        assert_eq!(levels(&response), [("metadata.version".to_owned(), 7, 30)]);
        let finalized: Vec<_> = response
            .finalized_features
            .iter()
            .map(|f| (f.name.as_str(), f.max_version_level))
            .collect();
        assert_eq!(finalized, [("metadata.version", 30), ("kraft.version", 1)]);
        assert_eq!(
            levels(&handle(&request("a"), 4, &served, &image, 0)).len(),
            2
        );
    }

    #[test]
    fn clients_say_who_they_are_from_version_3() {
        let code =
            |name, version| handle(&request(name), version, &[], &Image::default(), 0).error_code;
        for name in ["", "-a", "a-", "a b", "ü", "a_b"] {
            assert_eq!(code(name, 3), ErrorCode::INVALID_REQUEST, "{name}");
            assert_eq!(code(name, 2), ErrorCode::NONE, "{name}");
        }
        assert_eq!(code("librdkafka", 3), ErrorCode::NONE);
        let newer = unsupported_version();
        assert_eq!(
            (
                newer.error_code,
                newer.api_keys.len(),
                newer.api_keys[0].max_version
            ),
            (ErrorCode::UNSUPPORTED_VERSION, 1, 4)
        );
    }
}
