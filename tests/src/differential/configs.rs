//! DescribeConfigs: every property, its value, default and source.

use super::{Pair, Side};
use crate::client::text;
use kafka_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResponse;
use kafka_protocol::protocol::StrBytes;

/// Configs in order, without those that the two setups give differently; `only` the names that the broker under test knows.
fn comparable_configs(answer: &mut DescribeConfigsResponse, only: Option<&[String]>) {
    const FREE: &[&str] = &[
        "broker.heartbeat.interval.ms",
        "broker.session.timeout.ms",
        "controller.quorum.voters",
        "listeners",
        "advertised.listeners",
        "log.dirs",
    ];
    for result in &mut answer.results {
        result.configs.retain(|c| {
            !FREE.contains(&c.name.as_str())
                && only.is_none_or(|only| only.iter().any(|n| n == c.name.as_str()))
        });
        result
            .configs
            .sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        for config in &mut result.configs {
            config.synonyms.retain(|s| !FREE.contains(&s.name.as_str()));
        }
    }
}

/// What can be configured.
pub fn configs_and_their_defaults(pair: &mut Pair) {
    pair.both(|side| {
        side.client().create_topic(
            "c",
            1,
            &[
                ("retention.ms", "60000"),
                ("cleanup.policy", "compact,delete"),
            ],
        )
    });
    let of = |kind: i8, resource: &'static str, keys: Option<Vec<StrBytes>>, synonyms: bool| {
        move |_: &Side, version: i16| {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(resource))
                .with_configuration_keys(keys.clone());
            let request = DescribeConfigsRequest::default()
                .with_resources(vec![resource])
                .with_include_synonyms(synonyms);
            if version >= 3 {
                request.with_include_documentation(synonyms)
            } else {
                request
            }
        }
    };
    let all = |answer: &mut DescribeConfigsResponse| comparable_configs(answer, None);
    pair.every_version_fixed("DescribeConfigs of a topic", of(2, "c", None, false), all);
    pair.every_version_fixed(
        "DescribeConfigs of a topic with synonyms and documentation",
        of(2, "c", None, true),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of two names",
        of(
            2,
            "c",
            Some(vec![text("retention.ms"), text("nonsense")]),
            true,
        ),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of no name",
        of(2, "c", Some(vec![]), false),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of an unknown topic",
        of(2, "unknown", None, false),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of an invalid topic",
        of(2, "a b", None, false),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of another broker",
        of(4, "9", None, false),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of no number",
        of(4, "one", None, false),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of the cluster's default",
        of(4, "", None, false),
        all,
    );
    pair.every_version_fixed(
        "DescribeConfigs of an unknown kind",
        of(99, "c", None, false),
        all,
    );
    // A broker has names for what the broker under test does not do yet: of those that it has, all must agree.
    let ours = pair
        .ours
        .client()
        .call(4, &of(4, "1", None, false)(&pair.kafka, 4))
        .expect("the broker's configs");
    let known: Vec<String> = ours
        .results
        .iter()
        .flat_map(|r| &r.configs)
        .map(|c| c.name.to_string())
        .collect();
    assert!(
        known.len() > 20,
        "only {} configs of the broker",
        known.len()
    );
    assert!(known.contains(&"listener.name.plaintext.max.connections".to_owned()));
    pair.every_version_fixed(
        "DescribeConfigs of the broker",
        of(4, "1", None, true),
        |answer| comparable_configs(answer, Some(&known)),
    );
    let repeated = |side: &Side, version: i16| {
        let mut request = of(2, "c", None, true)(side, version);
        request.resources = vec![request.resources[0].clone(); 3];
        request
    };
    pair.every_version_fixed("DescribeConfigs of a topic three times", repeated, all);
    pair.at_controllers();
    pair.every_version_fixed("a controller's of a topic", of(2, "c", None, true), all);
    pair.every_version_fixed("a controller's of no topic", of(2, "d", None, true), all);
    pair.every_version_fixed(
        "a controller's of the broker",
        of(4, "1", None, true),
        |answer| comparable_configs(answer, Some(&known)),
    );
}
