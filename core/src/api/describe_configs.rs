//! DescribeConfigs: every property of a topic, broker, group or client-metrics subscription, its value and where that comes from.
//!
//! Reads the configuration and the committed image; changes nothing. Passwords are never shown. There are no loggers to describe.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::effective::documentation;
use crate::config::log::{Source, inherited};
use crate::config::table::{self, Kind, Property, Update};
use crate::config::{Config, Value};
use crate::controller::check_topic_name;
use crate::metadata::{Image, Resource};
use crate::wire::describe_configs_request::DescribeConfigsResource;
use crate::wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::{DescribeConfigsRequest, ErrorCode, Str};

/// What Kafka says of `INVALID_REQUEST` when it says nothing else.
const INVALID_REQUEST_TEXT: &str = "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.";

/// `source` of a client-metrics subscription's own value, by Kafka's numbers; of a group's, 8.
const CLIENT_METRICS_SOURCE: i8 = 7;
const GROUP_SOURCE: i8 = 8;

/// Properties that a broker takes as one, in the order in which they count.
const SYNONYMS: [&[&str]; 4] = [
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &[
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

/// What may be set for one mechanism of a listener: `listener.name.NAME.MECHANISM.PROPERTY`.
const OF_MECHANISMS: [&str; 5] = [
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

type Properties = BTreeMap<String, String>;

/// Why nothing is told of any resource, if one is of no known kind.
#[must_use]
pub fn refused(request: &DescribeConfigsRequest) -> Option<&'static str> {
    let known = [
        Resource::TOPIC,
        Resource::BROKER,
        Resource::BROKER_LOGGER,
        Resource::CLIENT_METRICS,
        Resource::GROUP,
    ];
    let mut kinds = request.resources.iter().map(|own| own.resource_type);
    kinds
        .any(|kind| !known.contains(&kind))
        .then_some(INVALID_REQUEST_TEXT)
}

/// Tells nothing of `resources`, and why.
#[must_use]
pub fn refuse(resources: &[DescribeConfigsResource], why: &str) -> Vec<DescribeConfigsResult> {
    let refused = || Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
    let results = resources.iter().map(|resource| result(resource, refused()));
    results.collect()
}

/// Describes the first of `resources`, which are some of the request's: the last one that is described is the first with which there are
/// `most` properties or more.
#[must_use]
pub fn describe(
    request: &DescribeConfigsRequest,
    resources: &[DescribeConfigsResource],
    config: &Config,
    image: &Image,
    most: usize,
) -> Vec<DescribeConfigsResult> {
    let describe = Describe::new(request, config, image);
    let mut results = Vec::new();
    let mut properties = 0;
    for resource in resources {
        if properties >= most {
            break;
        }
        let described = result(resource, describe.resource(resource));
        properties += described.configs.len();
        results.push(described);
    }
    results
}

fn result(resource: &DescribeConfigsResource, outcome: Outcome) -> DescribeConfigsResult {
    let (error_code, message, configs) = match outcome {
        Ok(configs) => (ErrorCode::NONE, String::new(), configs),
        Err((code, message)) => (code, message, Vec::new()),
    };
    DescribeConfigsResult {
        error_code,
        error_message: Some(Str::from(message)),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs,
        ..Default::default()
    }
}

type Outcome = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

struct Describe<'a> {
    image: &'a Image,
    node_id: i32,
    /// `server.properties`.
    file: &'a Config,
    /// The same with dynamic properties over it.
    effective: Config,
    own: &'a Properties,
    cluster: &'a Properties,
    include_synonyms: bool,
    include_documentation: bool,
}

/// A value at one of the levels that decide a property.
struct Level {
    name: String,
    value: Option<String>,
    source: i8,
}

impl<'a> Describe<'a> {
    fn new(request: &DescribeConfigsRequest, config: &'a Config, image: &'a Image) -> Describe<'a> {
        let own = image.config(&Resource::broker(config.node_id()));
        let cluster = image.config(&Resource::all_brokers());
        Describe {
            image,
            node_id: config.node_id(),
            file: config,
            effective: config.overlaid(&[cluster, own]),
            own,
            cluster,
            include_synonyms: request.include_synonyms,
            include_documentation: request.include_documentation,
        }
    }

    fn resource(&self, resource: &DescribeConfigsResource) -> Outcome {
        let keys = resource.configuration_keys.as_deref().unwrap_or_default();
        let keys: BTreeSet<&str> = keys.iter().map(Str::as_str).collect();
        let wanted = |name: &str| keys.is_empty() || keys.contains(name);
        let name = resource.resource_name.as_str();
        let invalid = |message: &str| Err((ErrorCode::INVALID_REQUEST, message.to_owned()));
        match resource.resource_type {
            Resource::TOPIC => self.topic(&resource.resource_name, wanted),
            Resource::BROKER if name.is_empty() => Ok(self.all_brokers(wanted)),
            Resource::BROKER => {
                self.check_broker(name, "or empty string, but received")?;
                Ok(self.broker(wanted))
            }
            Resource::BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty"),
            Resource::BROKER_LOGGER => {
                self.check_broker(name, "but received")?;
                Ok(Vec::new())
            }
            Resource::CLIENT_METRICS if name.is_empty() => {
                invalid("Client metrics subscription name must not be empty")
            }
            Resource::CLIENT_METRICS => Ok(self.keyed(
                resource,
                &table::CLIENT_METRICS,
                CLIENT_METRICS_SOURCE,
                wanted,
            )),
            _ if name.is_empty() => invalid("Group name must not be empty"),
            _ => Ok(self.keyed(resource, &table::GROUP, GROUP_SOURCE, wanted)),
        }
    }

    fn check_broker(&self, name: &str, received: &str) -> Result<(), (ErrorCode, String)> {
        let id = name.parse::<i32>().map_err(|_| {
            (
                ErrorCode::INVALID_REQUEST,
                format!("Broker id must be an integer, but it is: {name}"),
            )
        })?;
        if id == self.node_id {
            return Ok(());
        }
        Err((
            ErrorCode::INVALID_REQUEST,
            format!(
                "Unexpected broker id, expected {} {received} {name}",
                self.node_id
            ),
        ))
    }

    fn topic(&self, name: &Str, wanted: impl Fn(&str) -> bool) -> Outcome {
        check_topic_name(name).map_err(|why| (ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        if self.image.topics.id(name).is_none() {
            return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()));
        }
        let own = self.image.config(&Resource::topic(name.clone()));
        let shown = table::TOPIC
            .iter()
            .filter(|row| row.update != Update::Internal || own.contains_key(row.name));
        let configs = shown.filter(|row| wanted(row.name)).map(|row| {
            let set = own.get(row.name).and_then(|text| row.parse(text).ok());
            let is_set = set.is_some();
            let value = set
                .unwrap_or_else(|| inherited(&self.effective, row))
                .text();
            let mut levels = row
                .fallbacks
                .first()
                .map(|fallback| self.levels(fallback.name))
                .unwrap_or_default();
            if is_set {
                levels.insert(
                    0,
                    Level {
                        name: row.name.to_owned(),
                        value: value.clone(),
                        source: Source::Topic as i8,
                    },
                );
            }
            self.entry(row.name, Some(row.kind), value, false, levels)
        });
        Ok(configs.collect())
    }

    /// Every property of this broker, and what was set besides.
    fn broker(&self, wanted: impl Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let mut configs = BTreeMap::new();
        for row in table::BROKER
            .iter()
            .filter(|row| row.update != Update::Internal && wanted(row.name))
        {
            let value = self.effective.value(row.name).text();
            configs.insert(row.name, self.broker_entry(row.name, value, |_| true));
        }
        for (name, text) in self.file.set().iter().filter(|(name, _)| wanted(name)) {
            configs
                .entry(name)
                .or_insert_with(|| self.broker_entry(name, Some(text.clone()), |_| true));
        }
        configs.into_values().collect()
    }

    /// The dynamic properties of all brokers.
    fn all_brokers(&self, wanted: impl Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let dynamic = |level: &Level| level.source == Source::DynamicDefaultBroker as i8;
        let set = self.cluster.iter().filter(|(name, _)| wanted(name));
        set.map(|(name, text)| self.broker_entry(name, Some(text.clone()), dynamic))
            .collect()
    }

    fn broker_entry(
        &self,
        name: &str,
        value: Option<String>,
        keep: impl Fn(&Level) -> bool,
    ) -> DescribeConfigsResourceResult {
        let row = broker_row(name);
        let read_only =
            !row.is_some_and(|row| matches!(row.update, Update::PerBroker | Update::ClusterWide));
        let row = row.or_else(|| broker_row(of_listener(name)?));
        let levels = self.levels(name).into_iter().filter(keep).collect();
        self.entry(name, row.map(|row| row.kind), value, read_only, levels)
    }

    /// A resource whose properties are its own over those of the broker that stand for them, or over their defaults.
    fn keyed(
        &self,
        resource: &DescribeConfigsResource,
        rows: &[Property],
        source: i8,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<DescribeConfigsResourceResult> {
        let own = self.image.config(&Resource {
            kind: resource.resource_type,
            name: resource.resource_name.clone(),
        });
        let configs = rows.iter().filter(|row| wanted(row.name)).map(|row| {
            let set = own.get(row.name).and_then(|text| row.parse(text).ok());
            let is_set = set.is_some();
            let value = set
                .unwrap_or_else(|| inherited(&self.effective, row))
                .text();
            let default = || {
                let value = row.default().and_then(Value::text);
                let shown = resource.resource_type == Resource::GROUP;
                shown.then(|| Level {
                    name: row.name.to_owned(),
                    value,
                    source: Source::Default as i8,
                })
            };
            let mut levels = match row.fallbacks.first() {
                Some(fallback) => self.levels(fallback.name),
                None => default().into_iter().collect(),
            };
            if is_set {
                levels.insert(
                    0,
                    Level {
                        name: row.name.to_owned(),
                        value: value.clone(),
                        source,
                    },
                );
            }
            self.entry(row.name, Some(row.kind), value, false, levels)
        });
        configs.collect()
    }

    /// The values of a broker property at every level that has one, the deciding one first. Properties that are taken as one are shown
    /// from where the asked one comes, as Kafka does.
    fn levels(&self, name: &str) -> Vec<Level> {
        let group = SYNONYMS.iter().find(|group| {
            group.contains(&name) && (group[0] != "log.flush.interval.ms" || name == group[0])
        });
        let alone = || std::iter::once(name).chain(of_listener(name)).collect();
        let names: Vec<&str> = group.map_or_else(alone, |group| group.to_vec());
        let mut levels = Vec::new();
        for (properties, source) in [
            (self.own, Source::DynamicBroker),
            (self.cluster, Source::DynamicDefaultBroker),
            (self.file.set(), Source::StaticBroker),
        ] {
            for name in &names {
                if let Some(text) = properties.get(*name) {
                    levels.push(Level {
                        name: (*name).to_owned(),
                        value: Some(text.clone()),
                        source: source as i8,
                    });
                }
            }
        }
        for name in &names {
            if let Some(value) = broker_row(name)
                .and_then(Property::default)
                .and_then(Value::text)
            {
                levels.push(Level {
                    name: (*name).to_owned(),
                    value: Some(value),
                    source: Source::Default as i8,
                });
            }
        }
        let first = levels
            .iter()
            .position(|level| level.name == name)
            .unwrap_or(levels.len());
        levels.split_off(first)
    }

    fn entry(
        &self,
        name: &str,
        kind: Option<Kind>,
        value: Option<String>,
        read_only: bool,
        levels: Vec<Level>,
    ) -> DescribeConfigsResourceResult {
        // What is not known may be a secret.
        let is_sensitive = kind.is_none_or(|kind| kind == Kind::Password);
        let shown = |value: Option<String>| value.filter(|_| !is_sensitive).map(Str::from);
        let config_source = levels
            .first()
            .map_or(Source::Default as i8, |level| level.source);
        let synonyms = levels
            .into_iter()
            .filter(|_| self.include_synonyms)
            .map(|level| DescribeConfigsSynonym {
                name: Str::from(level.name),
                value: shown(level.value),
                source: level.source,
                ..Default::default()
            });
        DescribeConfigsResourceResult {
            name: Str::from(name.to_owned()),
            value: shown(value),
            read_only,
            config_source,
            is_sensitive,
            synonyms: synonyms.collect(),
            config_type: kind.map_or(0, type_number),
            documentation: documentation(name)
                .filter(|_| self.include_documentation)
                .map(Str::from),
            ..Default::default()
        }
    }
}

fn broker_row(name: &str) -> Option<&'static Property> {
    table::position(&table::BROKER, name).map(|at| &table::BROKER[at])
}

/// The property that `name` sets for one listener, if it has the form `listener.name.NAME.PROPERTY`.
fn of_listener(name: &str) -> Option<&str> {
    let (_, property) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let of_mechanism = OF_MECHANISMS
        .into_iter()
        .find(|own| property.ends_with(own));
    Some(of_mechanism.unwrap_or(property))
}

/// A type by Kafka's numbers.
fn type_number(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaderEpoch, Offset, Uuid};
    use crate::metadata::Delta;
    use crate::mutant::Mutants;
    use crate::wire::{ConfigRecord, MetadataRecord, TopicRecord};

    fn image(configs: &[(i8, &'static str, &'static str, &'static str)]) -> Image {
        let mut image = Image::default();
        let topic: MetadataRecord = TopicRecord {
            name: "t".into(),
            topic_id: Uuid([1; 16]),
            ..Default::default()
        }
        .into();
        let config =
            |(kind, resource, name, value): &(i8, &'static str, &'static str, &'static str)| {
                ConfigRecord {
                    resource_type: *kind,
                    resource_name: (*resource).into(),
                    name: (*name).into(),
                    value: Some((*value).into()),
                    ..Default::default()
                }
                .into()
            };
        let records: Vec<MetadataRecord> = std::iter::once(topic)
            .chain(configs.iter().map(config))
            .collect();
        image
            .replay(
                Offset(1),
                LeaderEpoch(0),
                records,
                &mut Delta::default(),
                Mutants::NONE,
            )
            .expect("records");
        image
    }

    fn describe(
        kind: i8,
        name: &'static str,
        file: &[(&str, &str)],
        image: &Image,
    ) -> DescribeConfigsResult {
        let config = Config::single(1, &["/a"], file).expect("valid");
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            ..Default::default()
        };
        super::describe(&request, &request.resources, &config, image, 1).remove(0)
    }

    #[test]
    fn what_a_property_does_is_told_when_asked() {
        let described = |include_documentation| {
            let config = Config::single(1, &["/a"], &[]).expect("valid");
            let resource = DescribeConfigsResource {
                resource_type: 4,
                resource_name: "1".into(),
                ..Default::default()
            };
            let request = DescribeConfigsRequest {
                resources: vec![resource],
                include_documentation,
                ..Default::default()
            };
            let results = super::describe(&request, &request.resources, &config, &image(&[]), 1);
            results.into_iter().flat_map(|result| result.configs)
        };
        assert!(described(true).all(|config| config.documentation.is_some()));
        assert!(described(false).all(|config| config.documentation.is_none()));
        assert!(described(true).count() > 300);
    }

    /// `value source [synonym:source …]` of one property.
    fn line(result: &DescribeConfigsResult, name: &str) -> String {
        let config = result
            .configs
            .iter()
            .find(|config| config.name == name)
            .expect("described");
        let synonyms: Vec<String> = config
            .synonyms
            .iter()
            .map(|s| {
                format!(
                    "{}={}:{}",
                    s.name,
                    s.value.as_deref().unwrap_or("null"),
                    s.source
                )
            })
            .collect();
        format!(
            "{} {} [{}]",
            config.value.as_deref().unwrap_or("null"),
            config.config_source,
            synonyms.join(" ")
        )
    }

    #[test]
    fn a_topic_shows_where_each_value_comes_from() {
        let image = image(&[
            (Resource::TOPIC, "t", "segment.bytes", " 2000000 "),
            (Resource::BROKER, "", "message.max.bytes", "7"),
            (Resource::BROKER, "1", "log.retention.bytes", "8"),
        ]);
        let result = describe(
            Resource::TOPIC,
            "t",
            &[("log.retention.hours", "2"), ("min.insync.replicas", "1")],
            &image,
        );
        assert_eq!(result.configs.len(), 33);
        let cases = [
            (
                "segment.bytes",
                "2000000 1 [segment.bytes=2000000:1 log.segment.bytes=1073741824:5]",
            ),
            (
                "max.message.bytes",
                "7 3 [message.max.bytes=7:3 message.max.bytes=1048588:5]",
            ),
            (
                "retention.bytes",
                "8 2 [log.retention.bytes=8:2 log.retention.bytes=-1:5]",
            ),
            (
                "min.insync.replicas",
                "1 4 [min.insync.replicas=1:4 min.insync.replicas=1:5]",
            ),
            ("retention.ms", "7200000 5 []"),
            (
                "min.cleanable.dirty.ratio",
                "0.5 5 [log.cleaner.min.cleanable.ratio=0.5:5]",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(line(&result, name), expected, "{name}");
        }
        assert_eq!(
            describe(Resource::TOPIC, "none", &[], &image).error_code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        );
        assert_eq!(
            describe(Resource::TOPIC, "a b", &[], &image).error_code,
            ErrorCode::INVALID_TOPIC_EXCEPTION
        );
    }

    #[test]
    fn a_broker_shows_itself_and_hides_secrets() {
        let image = image(&[(Resource::BROKER, "", "log.retention.ms", "9")]);
        let file = [
            ("log.retention.hours", "2"),
            ("ssl.key.password", "secret"),
            ("my.own", "x"),
            ("internal.metadata.log.segment.bytes", "9000"),
        ];
        let result = describe(Resource::BROKER, "1", &file, &image);
        assert_eq!(
            result.configs.len(),
            340 + 2,
            "every property, an unknown and an internal one that were set"
        );
        assert_eq!(
            line(&result, "log.retention.ms"),
            "9 3 [log.retention.ms=9:3 log.retention.hours=2:4 log.retention.hours=168:5]"
        );
        assert_eq!(
            line(&result, "ssl.key.password"),
            "null 4 [ssl.key.password=null:4]"
        );
        assert_eq!(line(&result, "my.own"), "null 4 [my.own=null:4]");
        assert_eq!(
            line(&result, "broker.id"),
            "1 4 [broker.id=1:4 broker.id=-1:5]"
        );
        let read_only = |name: &str| {
            result
                .configs
                .iter()
                .find(|config| config.name == name)
                .map(|config| config.read_only)
        };
        assert_eq!(
            (
                read_only("node.id"),
                read_only("log.retention.ms"),
                read_only("my.own")
            ),
            (Some(true), Some(false), Some(true))
        );
        let all = describe(Resource::BROKER, "", &file, &image);
        assert_eq!(
            (all.configs.len(), line(&all, "log.retention.ms").as_str()),
            (1, "9 3 [log.retention.ms=9:3]")
        );
        let other = describe(Resource::BROKER, "2", &[], &image);
        assert_eq!(
            other.error_message.as_deref(),
            Some("Unexpected broker id, expected 1 or empty string, but received 2")
        );
        assert_eq!(
            describe(Resource::BROKER_LOGGER, "1", &[], &image).error_code,
            ErrorCode::NONE
        );
    }

    #[test]
    fn groups_and_subscriptions_have_their_own_properties() {
        let image = image(&[(Resource::GROUP, "g", "consumer.session.timeout.ms", "46000")]);
        let group = describe(
            Resource::GROUP,
            "g",
            &[("group.consumer.heartbeat.interval.ms", "6000")],
            &image,
        );
        assert_eq!(group.configs.len(), 17);
        assert_eq!(
            line(&group, "consumer.session.timeout.ms"),
            "46000 8 [consumer.session.timeout.ms=46000:8 group.consumer.session.timeout.ms=45000:5]"
        );
        assert_eq!(
            line(&group, "consumer.heartbeat.interval.ms"),
            "6000 4 [group.consumer.heartbeat.interval.ms=6000:4 group.consumer.heartbeat.interval.ms=5000:5]"
        );
        assert_eq!(
            line(&group, "share.auto.offset.reset"),
            "latest 5 [share.auto.offset.reset=latest:5]"
        );
        let metrics = describe(Resource::CLIENT_METRICS, "m", &[], &image);
        assert_eq!(line(&metrics, "interval.ms"), "300000 5 []");
    }

    #[test]
    fn one_resource_of_an_unknown_kind_spoils_a_request() {
        let resources: Vec<_> = [Resource::BROKER, 77]
            .map(|resource_type| DescribeConfigsResource {
                resource_type,
                resource_name: "1".into(),
                ..Default::default()
            })
            .into();
        let mut request = DescribeConfigsRequest {
            resources,
            ..Default::default()
        };
        let why = refused(&request).expect("an unknown kind");
        let results = refuse(&request.resources, why);
        let told = |result: &DescribeConfigsResult| (result.resource_type, result.error_code);
        let codes: Vec<_> = results.iter().map(told).collect();
        let invalid = ErrorCode::INVALID_REQUEST;
        assert_eq!(codes, [(Resource::BROKER, invalid), (77, invalid)]);
        request.resources.pop();
        assert_eq!(refused(&request), None);
    }

    #[test]
    fn a_property_of_a_listener_is_shown_as_what_it_overrides() {
        let file = [
            ("listener.name.plaintext.max.connections", "100"),
            ("listener.name.plaintext.ssl.key.password", "secret"),
            ("listener.name.plaintext.plain.sasl.jaas.config", "secret"),
            (
                "listener.name.plaintext.plain.connections.max.reauth.ms",
                "7",
            ),
            ("listener.name.plaintext.my.own", "x"),
        ];
        let result = describe(Resource::BROKER, "1", &file, &image(&[]));
        let cases = [
            (
                "listener.name.plaintext.max.connections",
                "100 4 [listener.name.plaintext.max.connections=100:4 max.connections=2147483647:5]",
                3,
            ),
            (
                "listener.name.plaintext.ssl.key.password",
                "null 4 [listener.name.plaintext.ssl.key.password=null:4]",
                9,
            ),
            (
                "listener.name.plaintext.plain.sasl.jaas.config",
                "null 4 [listener.name.plaintext.plain.sasl.jaas.config=null:4]",
                9,
            ),
            (
                "listener.name.plaintext.plain.connections.max.reauth.ms",
                "7 4 [listener.name.plaintext.plain.connections.max.reauth.ms=7:4 connections.max.reauth.ms=0:5]",
                5,
            ),
            (
                "listener.name.plaintext.my.own",
                "null 4 [listener.name.plaintext.my.own=null:4]",
                0,
            ),
            (
                "max.connections",
                "2147483647 5 [max.connections=2147483647:5]",
                3,
            ),
        ];
        for (name, expected, kind) in cases {
            assert_eq!(line(&result, name), expected, "{name}");
            let found = result.configs.iter().find(|config| config.name == name);
            let found = found.expect("described");
            assert_eq!(found.config_type, kind, "{name}");
            assert_eq!(found.is_sensitive, matches!(kind, 0 | 9), "{name}");
            assert_eq!(
                found.read_only,
                name.starts_with("listener.name."),
                "{name}"
            );
        }
    }

    #[test]
    fn of_many_names_those_that_exist_are_told() {
        let config = Config::single(1, &["/a"], &[]).expect("valid");
        let name = |n: usize| Str::from(format!("name.{n}"));
        let keys = (0..100_000).map(name).chain(["node.id".into()]);
        let resource = DescribeConfigsResource {
            resource_type: Resource::BROKER,
            resource_name: "1".into(),
            configuration_keys: Some(keys.collect()),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            ..Default::default()
        };
        let results = super::describe(&request, &request.resources, &config, &Image::default(), 1);
        assert_eq!(results[0].configs.len(), 1);
        assert_eq!(results[0].configs[0].name, "node.id");
    }
}
