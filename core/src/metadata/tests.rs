//! Stories of replay: records in, the image that they give. Writes no log.

use super::*;
use crate::ids::{LeaderEpoch, NodeId, Offset, Uuid};
use crate::mutant::{Mutant, Mutants};
use crate::wire::*;

const FOO: Uuid = Uuid([7; 16]);

fn topic(name: &'static str, id: Uuid) -> MetadataRecord {
    TopicRecord {
        name: name.into(),
        topic_id: id,
        ..Default::default()
    }
    .into()
}

fn partition(id: Uuid, partition_id: i32) -> MetadataRecord {
    let record = PartitionRecord {
        partition_id,
        topic_id: id,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        ..Default::default()
    };
    record.into()
}

fn config(
    kind: i8,
    resource: &'static str,
    name: &'static str,
    value: Option<&'static str>,
) -> MetadataRecord {
    let record = ConfigRecord {
        resource_type: kind,
        resource_name: resource.into(),
        name: name.into(),
        value: value.map(Str::from),
        ..Default::default()
    };
    record.into()
}

fn replay(records: impl IntoIterator<Item = MetadataRecord>) -> (Image, Delta) {
    let (mut image, mut delta) = (Image::default(), Delta::default());
    image
        .replay(
            Offset(9),
            LeaderEpoch(2),
            records,
            &mut delta,
            Mutants::NONE,
        )
        .expect("a log of a controller");
    (image, delta)
}

#[test]
fn a_topic_is_created_changed_and_removed() {
    let leaderless = PartitionChangeRecord {
        partition_id: 1,
        topic_id: FOO,
        leader: -1,
        ..Default::default()
    };
    let again = PartitionChangeRecord {
        leader: 1,
        ..leaderless.clone()
    };
    let (image, delta) = replay([
        topic("foo", FOO),
        config(Resource::TOPIC, "foo", "retention.ms", Some("5")),
        partition(FOO, 0),
        partition(FOO, 1),
        leaderless.into(),
        again.into(),
    ]);
    let foo = image.topics.by_name("foo").expect("created");
    assert_eq!(foo.partitions.len(), 2);
    let changed = &foo.partitions[&1];
    assert_eq!(
        (
            changed.leader,
            changed.leader_epoch,
            changed.partition_epoch
        ),
        (NodeId(1), LeaderEpoch(2), 2)
    );
    assert_eq!(
        image.config(&Resource::topic("foo".into()))["retention.ms"],
        "5"
    );
    assert_eq!(delta.topics_created.len(), 1);
    assert_eq!(delta.partitions.len(), 2);
    assert_eq!((image.offset, image.epoch), (Offset(9), LeaderEpoch(2)));

    let mut image = image;
    let mut delta = Delta::default();
    image
        .apply(
            RemoveTopicRecord {
                topic_id: FOO,
                ..Default::default()
            }
            .into(),
            &mut delta,
        )
        .expect("it is there");
    assert_eq!(delta.topics_removed.len(), 1);
    assert_eq!(delta.topics_removed[0].partitions.len(), 2);
    assert!(image.topics.is_empty() && image.configs.is_empty());
}

#[test]
fn a_transaction_shows_nothing_before_it_ends() {
    let begin = || MetadataRecord::from(BeginTransactionRecord::default());
    let (image, delta) = replay([begin(), topic("foo", FOO), partition(FOO, 0)]);
    assert!(image.in_transaction() && image.topics.is_empty() && delta.is_empty());

    let (image, _) = replay([
        begin(),
        topic("foo", FOO),
        AbortTransactionRecord::default().into(),
    ]);
    assert!(!image.in_transaction() && image.topics.is_empty());

    let (image, _) = replay([
        begin(),
        topic("foo", FOO),
        EndTransactionRecord::default().into(),
    ]);
    assert!(!image.in_transaction() && image.topics.len() == 1);
}

#[test]
fn a_transaction_gives_what_its_records_give_without_one() {
    let foo = || {
        [
            topic("foo", FOO),
            partition(FOO, 0),
            config(Resource::TOPIC, "foo", "retention.ms", Some("5")),
            partition(FOO, 1),
        ]
    };
    let bar = Uuid([8; 16]);
    let change = PartitionChangeRecord {
        partition_id: 0,
        topic_id: bar,
        leader: -1,
        ..Default::default()
    };
    let removal = RemoveTopicRecord {
        topic_id: FOO,
        ..Default::default()
    };
    let cases: [Vec<MetadataRecord>; 5] = [
        vec![topic("bar", bar), partition(bar, 0), partition(bar, 1)],
        vec![partition(FOO, 2), partition(FOO, 3), topic("bar", bar)],
        vec![
            topic("bar", bar),
            config(Resource::TOPIC, "bar", "retention.ms", Some("7")),
            partition(bar, 0),
            change.into(),
            partition(bar, 1),
        ],
        vec![partition(FOO, 1), partition(FOO, 2)],
        vec![removal.into(), topic("foo", bar), partition(bar, 0)],
    ];
    for records in cases {
        let (plain, _) = replay(foo().into_iter().chain(records.clone()));
        let (mut image, _) = replay(foo());
        let mut delta = Delta::default();
        let begin = BeginTransactionRecord::default().into();
        let end = EndTransactionRecord::default().into();
        let before = image.topics.clone();
        for record in [begin].into_iter().chain(records) {
            image.apply(record, &mut delta).expect("it can follow");
        }
        assert!(image.topics == before && delta.is_empty());
        image.apply(end, &mut delta).expect("it can end");
        assert_eq!(image, plain);
        let known = delta.partitions.iter().copied();
        let in_runs = delta.runs.iter().cloned();
        let in_runs = in_runs.flat_map(|(id, run)| run.map(move |index| (id, index)));
        let told: std::collections::BTreeSet<_> = known.chain(in_runs).collect();
        for (id, index, partition) in image.topics.partitions_after(None) {
            let old = before.partition(id, index) == Some(partition);
            assert!(old || told.contains(&(id, index)), "{id} {index}");
        }
    }
}

#[test]
fn records_that_cannot_follow_are_refused() {
    let twice = vec![topic("foo", FOO), topic("foo", Uuid([8; 16]))];
    let fence = FenceBrokerRecord {
        id: 3,
        epoch: 1,
        ..Default::default()
    };
    let cases = [
        (vec![partition(FOO, 0)], "does not exist"),
        (
            vec![
                RemoveTopicRecord {
                    topic_id: FOO,
                    ..Default::default()
                }
                .into(),
            ],
            "does not exist",
        ),
        (twice, "which is there already"),
        (vec![fence.into()], "not registered"),
        (vec![EndTransactionRecord::default().into()], "never began"),
        (
            vec![
                BeginTransactionRecord::default().into(),
                topic("foo", FOO),
                topic("foo", Uuid([8; 16])),
                EndTransactionRecord::default().into(),
            ],
            "which is there already",
        ),
        (
            vec![
                BeginTransactionRecord::default().into(),
                partition(FOO, 0),
                EndTransactionRecord::default().into(),
            ],
            "does not exist",
        ),
    ];
    for (records, expected) in cases {
        let mut image = Image::default();
        let error = image
            .replay(
                Offset(0),
                LeaderEpoch(0),
                records,
                &mut Delta::default(),
                Mutants::NONE,
            )
            .expect_err(expected);
        assert!(error.message.contains(expected), "{error}");
    }
}

#[test]
fn a_snapshot_of_the_image_gives_the_image() {
    let broker = RegisterBrokerRecord {
        broker_id: 1,
        broker_epoch: 4,
        log_dirs: vec![Uuid([1; 16])],
        ..Default::default()
    };
    let unfence = BrokerRegistrationChangeRecord {
        broker_id: 1,
        broker_epoch: 4,
        fenced: -1,
        cordoned_log_dirs: Some(vec![]),
        ..Default::default()
    };
    let (image, _) = replay([
        FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: 30,
            ..Default::default()
        }
        .into(),
        broker.into(),
        unfence.into(),
        RegisterControllerRecord {
            controller_id: 1,
            ..Default::default()
        }
        .into(),
        topic("foo", FOO),
        partition(FOO, 0),
        config(Resource::TOPIC, "foo", "retention.ms", Some("5")),
        config(Resource::BROKER, "", "min.insync.replicas", Some("1")),
        ProducerIdsRecord {
            broker_id: 1,
            broker_epoch: 4,
            next_producer_id: 1000,
            ..Default::default()
        }
        .into(),
        AccessControlEntryRecord {
            id: Uuid([3; 16]),
            ..Default::default()
        }
        .into(),
        ClientQuotaRecord {
            key: "producer_byte_rate".into(),
            value: F64Bits(5f64.to_bits()),
            ..Default::default()
        }
        .into(),
    ]);
    assert!(!image.brokers[&1].fenced);
    let in_pieces_of = |most| {
        let (mut listing, mut records) = (super::Listing::default(), Vec::new());
        while listing != super::Listing::Done {
            records.extend(image.list(&mut listing, most));
        }
        records
    };
    let records = in_pieces_of(usize::MAX);
    let (again, _) = replay(records.iter().map(|(record, _)| record.clone()));
    assert_eq!(again, image);
    for most in [1, 2, 3, 5, 100] {
        assert_eq!(in_pieces_of(most), records, "in pieces of {most}");
    }
    for (record, version) in records {
        let value = record
            .encode_value(version)
            .expect("it has room for everything");
        assert_eq!(MetadataRecord::decode_value(value), Ok((record, version)));
    }
}

#[test]
fn the_mutant_drops_a_record() {
    let records = || [topic("foo", FOO), partition(FOO, 0), partition(FOO, 1)];
    let (whole, _) = replay(records());
    let mut image = Image::default();
    image
        .replay(
            Offset(9),
            LeaderEpoch(2),
            records(),
            &mut Delta::default(),
            Mutants::only(Mutant::DropMetadataRecordAtReplay),
        )
        .expect("no error");
    assert_ne!(image, whole);
}

#[test]
fn levels_that_are_not_implemented_are_named() {
    let (image, _) = replay([
        FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: 30,
            ..Default::default()
        }
        .into(),
        FeatureLevelRecord {
            name: "group.version".into(),
            feature_level: 1,
            ..Default::default()
        }
        .into(),
        FeatureLevelRecord {
            name: "share.version".into(),
            feature_level: 0,
            ..Default::default()
        }
        .into(),
    ]);
    assert_eq!(
        features::missing(image.features.iter()),
        ["group.version=1"]
    );
}
