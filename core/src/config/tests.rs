//! Stories of the configuration: what is accepted, what is refused and with which words. Reads no file.

use super::*;

fn refused(overrides: &[(&str, &str)]) -> String {
    match Config::single(1, &["/data"], overrides) {
        Ok(_) => "accepted".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_plain_server_properties_is_accepted() {
    let text = "process.roles=broker,controller\nnode.id=7\nlisteners=PLAINTEXT://:9092,CONTROLLER://127.0.0.1:9093\n\
                advertised.listeners=PLAINTEXT://kafka.example:9092\ncontroller.listener.names=CONTROLLER\n\
                controller.quorum.bootstrap.servers=127.0.0.1:9093\nlog.dirs=/a, /b\nlog.retention.hours=1\nmy.own=1\n";
    let config = Config::parse(&properties::read(text).expect("well-formed")).expect("valid");
    assert_eq!(config.node_id(), 7);
    assert_eq!(config.log_dirs(), ["/a", "/b"]);
    assert_eq!(config.listeners()[0].to_string(), "PLAINTEXT://:9092");
    assert_eq!(config.listeners()[1].protocol, SecurityProtocol::Plaintext);
    assert_eq!(config.advertised_listeners()[0].host, "kafka.example");
    assert_eq!(config.advertised_listeners().len(), 1);
    assert!(config.is_controller_listener("CONTROLLER"));
    assert_eq!(
        config.notes(),
        ["my.own is no property of this release and is not used"]
    );
    assert_eq!(
        LogConfig::resolve(&config, &BTreeMap::new()).retention_ms,
        3_600_000
    );
}

#[test]
fn what_does_nothing_yet_is_told() {
    let own = [
        ("num.io.threads", "8"),
        ("log.retention.ms", "5"),
        ("log.cleaner.threads", "2"),
        ("max.connections.per.ip.overrides", "broker.example:5"),
    ];
    let config = Config::single(1, &["/a"], &own).expect("valid");
    let [idle, name] = config.notes() else {
        panic!("{:?}", config.notes());
    };
    assert_eq!(
        idle,
        "set, but without effect in this release: log.cleaner.threads, num.io.threads"
    );
    assert!(name.contains("broker.example"), "{name}");
    assert!(refused(&[("max.connections.per.ip.overrides", "a:b")]).contains("overrides"));
    assert!(
        Config::single(1, &["/a"], &[])
            .expect("valid")
            .notes()
            .is_empty()
    );
}

#[test]
fn what_may_not_be_is_named() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("num.partitions", "0")],
            "Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ),
        (
            &[("broker.id", "2")],
            "You must set `node.id` to the same value as `broker.id`.",
        ),
        (
            &[("listeners", "PLAINTEXT://127.0.0.1:9092")],
            "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller role",
        ),
        (
            &[("controller.quorum.voters", "2@h:1")],
            "the node id 1 must be included",
        ),
        (
            &[("controller.quorum.voters", "1@h:1,2@h:2")],
            "this release runs a quorum of one",
        ),
        (
            &[("controller.quorum.voters", "1h:1")],
            "Each entry should be in the form `{id}@{host}:{port}`.",
        ),
        (
            &[(
                "listeners",
                "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:1",
            )],
            "Each listener must have a different port",
        ),
        (
            &[("advertised.listeners", "PLAINTEXT://0.0.0.0:1")],
            "cannot use the nonroutable meta-address 0.0.0.0",
        ),
        (
            &[("process.roles", "broker")],
            "set process.roles=broker,controller",
        ),
        (
            &[("process.roles", "broker,zoo")],
            "String must be one of: broker, controller",
        ),
        (
            &[(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            )],
            "no authorization",
        ),
        (
            &[
                ("listeners", "SSL://127.0.0.1:1,CONTROLLER://127.0.0.1:2"),
                (
                    "listener.security.protocol.map",
                    "SSL:SSL,CONTROLLER:PLAINTEXT",
                ),
                ("security.inter.broker.protocol", "SSL"),
            ],
            "neither TLS nor SASL",
        ),
        (
            &[("log.retention.ms", "0")],
            "log.retention.ms must be unlimited (-1)",
        ),
        (&[("metadata.log.dir", "/else")], "is not one of log.dirs"),
    ];
    for (overrides, expected) in cases {
        let message = refused(overrides);
        assert!(message.contains(expected), "{overrides:?}: {message}");
    }
    let missing = Config::parse(&BTreeMap::new()).expect_err("nothing is set");
    let names: Vec<&str> = missing.0.iter().map(|error| error.name.as_str()).collect();
    assert_eq!(
        names,
        ["controller.listener.names", "node.id", "process.roles"]
    );
}

#[test]
fn a_topic_resolves_topic_over_broker_over_default() {
    let resolve = |overrides: &[(&str, &str)], topic: &[(&str, &str)]| {
        let config = Config::single(1, &["/data"], overrides).expect("valid");
        let topic = topic
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        LogConfig::resolve(&config, &topic)
    };
    assert_eq!(resolve(&[], &[]), LogConfig::defaults());
    type Properties<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Properties, Properties, i64)] = &[
        (&[], &[], 604_800_000),
        (&[("log.retention.hours", "2")], &[], 7_200_000),
        (
            &[("log.retention.hours", "2"), ("log.retention.minutes", "5")],
            &[],
            300_000,
        ),
        (
            &[("log.retention.minutes", "5"), ("log.retention.ms", "9")],
            &[],
            9,
        ),
        (&[("log.retention.minutes", "-5")], &[], -1),
        (&[("log.retention.ms", "9")], &[("retention.ms", "11")], 11),
    ];
    for (broker, topic, expected) in cases {
        assert_eq!(
            resolve(broker, topic).retention_ms,
            *expected,
            "{broker:?} {topic:?}"
        );
    }
    let compacted = resolve(
        &[],
        &[
            ("cleanup.policy", "compact"),
            ("max.compaction.lag.ms", "10"),
        ],
    );
    assert_eq!(
        (
            compacted.compact,
            compacted.delete,
            compacted.max_segment_ms()
        ),
        (true, false, 10)
    );
}

#[test]
fn topic_properties_are_checked_as_the_controller_does() {
    let config = Config::single(1, &["/data"], &[]).expect("valid");
    let check = |topic: &[(&str, &str)]| {
        let topic = topic
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        log::check_topic(&config, &topic).map_err(|error| error.message)
    };
    assert_eq!(
        check(&[("retention.ms", "5"), ("cleanup.policy", "compact")]),
        Ok(())
    );
    assert_eq!(
        check(&[("no.such", "5")]),
        Err("Unknown topic config name: no.such".to_owned())
    );
    assert_eq!(
        check(&[
            ("min.compaction.lag.ms", "5"),
            ("max.compaction.lag.ms", "4")
        ]),
        Err(
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)"
                .to_owned()
        )
    );
    assert!(check(&[("remote.storage.enable", "true")]).is_err());
}

#[test]
fn dynamic_properties_lie_over_static_ones_where_they_may() {
    let config = Config::single(1, &["/data"], &[("log.retention.ms", "9")]).expect("valid");
    let level = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let cluster = level("log.retention.ms", "10");
    let own = level("num.partitions", "4");
    let overlaid = config.overlaid(&[&cluster, &own]);
    assert_eq!(overlaid.int("log.retention.ms"), 10);
    assert_eq!(
        overlaid.int("num.partitions"),
        1,
        "num.partitions is read-only"
    );
}
