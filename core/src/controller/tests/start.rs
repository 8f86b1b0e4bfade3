//! The start of a node, directories that are gone or fail, and transactions that were left open.

use super::*;

#[test]
fn a_start_writes_what_kafka_writes() {
    let mut world = World::started(&[]);
    let names = |log: &[Vec<MetadataRecord>]| -> Vec<Vec<i16>> {
        log.iter()
            .map(|batch| batch.iter().map(MetadataRecord::id).collect())
            .collect()
    };
    // Begin, level, end; controller; broker; unfenced, nothing cordoned.
    assert_eq!(
        names(&world.log),
        [vec![23, 12, 24], vec![27], vec![0], vec![17, 17]]
    );
    let broker = &world.committed.brokers[&1];
    assert_eq!(broker.broker_epoch, 4, "the offset of the registration");
    assert!(!broker.fenced);
    world.check();

    world.create(vec![topic("foo", 2)]);
    let before = world.log.len();
    world.restart(2);
    // Controller; leaders end; broker; unfenced; leaders.
    assert_eq!(
        names(&world.log[before..]),
        [vec![27], vec![5, 5], vec![0], vec![17, 17], vec![5, 5]]
    );
    let partition = world
        .committed
        .topics
        .by_name("foo")
        .expect("survives")
        .partitions[&0]
        .clone();
    assert_eq!(
        (partition.leader, partition.leader_epoch, partition.isr),
        (NodeId(1), LeaderEpoch(2), vec![1])
    );
    world.check();
}

#[test]
fn a_start_waits_for_the_logs_and_refuses_levels_that_it_lacks() {
    let config = Config::single(1, &["/a"], &[]).expect("valid");
    let mut controller = Controller::new(&config);
    let plain = bootstrap(&[("metadata.version", 30)]);
    while controller
        .startup(&me(1), &plain, Offset(0), false, Mutants::NONE)
        .expect("nothing is missing")
        .is_some()
    {}
    assert_eq!(*controller.startup_phase(), Startup::Unfence);

    let mut controller = Controller::new(&config);
    let levels = bootstrap(&[
        ("metadata.version", 30),
        ("group.version", 1),
        ("transaction.version", 2),
    ]);
    let refused = controller
        .startup(&me(1), &levels, Offset(0), true, Mutants::NONE)
        .expect_err("levels that are not implemented");
    assert!(
        refused.contains("group.version=1, transaction.version=2"),
        "{refused}"
    );
    assert!(
        refused.ends_with("--feature group.version=0 --feature transaction.version=0"),
        "{refused}"
    );
    let no_level = bootstrap(&[("group.version", 0)]);
    let mut controller = Controller::new(&config);
    let refused = controller
        .startup(&me(1), &no_level, Offset(0), true, Mutants::NONE)
        .expect_err("no metadata.version");
    assert!(refused.contains("format"), "{refused}");
    let mut controller = Controller::new(&config);
    let latest = controller.startup(&me(1), &[], Offset(0), true, Mutants::NONE);
    assert_eq!(
        latest
            .expect("the latest level")
            .map(|records| records.len()),
        Some(3)
    );
}

#[test]
fn a_replica_whose_directory_is_gone_does_not_lead() {
    let mut world = World::started(&[]);
    world.create(vec![topic("t", 2)]);
    let directory = |world: &World, index: i32| {
        let topic = world.committed.topics.by_name("t").expect("created");
        topic.partitions[&index].directories[0]
    };
    let (kept, lost) = (directory(&world, 0), directory(&world, 1));
    assert_ne!(kept, lost);
    world.controller = Controller::new(&world.controller.config);
    let mut next = 0;
    for batch in &world.log {
        next += batch.len() as i64;
        let batch = batch.clone();
        world
            .controller
            .replay(Offset(next - 1), LeaderEpoch(1), batch, Mutants::NONE)
            .expect("our own log");
    }
    let me = Registration {
        log_dirs: vec![kept, Uuid([103; 16])],
        ..me(2)
    };
    while let Some(records) = world
        .controller
        .startup(&me, &[], world.committed.offset.next(), true, Mutants::NONE)
        .expect("fine")
    {
        world.append(records);
    }
    let topic = world.committed.topics.by_name("t").expect("survives");
    assert_eq!(
        (topic.partitions[&0].leader, topic.partitions[&1].leader),
        (NodeId(1), NodeId::NONE)
    );
    assert_eq!(
        topic.partitions[&1].isr,
        [1],
        "the last member stays: its directory may come back"
    );
    world.restart(3);
    let topic = world.committed.topics.by_name("t").expect("survives");
    assert_eq!(topic.partitions[&1].leader, NodeId(1), "it has come back");
}

/// Apache Kafka's controller leaves the choice to a broker with several directories, which tells it later: a crash may come first.
#[test]
fn a_replica_whose_directory_was_never_told_leads() {
    let mut world = World::started(&[]);
    world.create(vec![topic("t", 2)]);
    for record in world.log.iter_mut().flatten() {
        if let MetadataRecord::Partition(partition) = record {
            partition.directories = vec![Uuid::UNASSIGNED];
        }
    }
    world.restart(2);
    let image = world.controller.image();
    let topic = image.topics.by_name("t").expect("survives");
    for partition in topic.partitions.values() {
        assert_eq!(partition.directories, [Uuid::UNASSIGNED]);
        assert_eq!(partition.leader, NodeId(1));
    }
}

#[test]
fn a_directory_that_fails_takes_its_partitions_from_the_broker() {
    let mut world = World::started(&[]);
    world.create(vec![topic("t", 4)]);
    assert_eq!(world.controller.go_on_with_directories(), None);
    let (kept, lost) = (Uuid([101; 16]), Uuid([102; 16]));
    world.controller.lose_directories(NodeId(1), vec![kept]);
    while let Some(records) = world.controller.go_on_with_directories() {
        world.append(records);
    }
    assert_eq!(world.committed.brokers[&1].log_dirs, [kept]);
    let topic_state = world.committed.topics.by_name("t").expect("there");
    for partition in topic_state.partitions.values() {
        let leader = if partition.directories == [lost] {
            NodeId::NONE
        } else {
            NodeId(1)
        };
        assert_eq!(
            (partition.leader, partition.isr.as_slice()),
            (leader, &[1][..])
        );
    }
    world.create(vec![topic("u", 3)]);
    let new = world.committed.topics.by_name("u").expect("created");
    assert!(
        new.partitions
            .values()
            .all(|partition| partition.directories == [kept])
    );
    world.check();
    world.restart(2);
    assert!(
        world
            .committed
            .topics
            .by_name("t")
            .expect("there")
            .partitions
            .values()
            .all(|partition| partition.leader == NodeId(1)),
        "it was repaired"
    );
    world.check();
}

#[test]
fn an_open_transaction_is_aborted_and_the_bootstrap_repeated() {
    let config = Config::single(1, &["/a"], &[]).expect("valid");
    let mut controller = Controller::new(&config);
    let begin: MetadataRecord = crate::wire::BeginTransactionRecord::default().into();
    controller
        .replay(Offset(0), LeaderEpoch(1), [begin], Mutants::NONE)
        .expect("an open transaction");
    let records = controller
        .startup(
            &me(1),
            &bootstrap(&[("metadata.version", 30)]),
            Offset(1),
            true,
            Mutants::NONE,
        )
        .expect("fine")
        .expect("records");
    let ids: Vec<i16> = records.iter().map(|(record, _)| record.id()).collect();
    assert_eq!(ids, [25, 23, 12, 24]);
}
