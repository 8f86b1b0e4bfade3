//! The promises that the world itself judges fire on a small bad history, and stay silent on the good one beside it.

use bytes::Bytes;
use trialog_core::event::Event as NodeEvent;
use trialog_core::ids::ListenerId;
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskOp, Effect, Halt, Name, Parts, Room};
use trialog_core::wire::batch::Compression;
use trialog_core::wire::create_topics_request::CreatableTopic;
use trialog_core::wire::{CreateTopicsRequest, request_frame};

use super::*;
use crate::check::{TopicRules, Tp};
use crate::client::Profile;
use crate::client::caller::Call;
use crate::client::producer::{Producer, Settings};

const T: Tp = Tp { topic: 0, index: 0 };
const TOKEN: Token = Token {
    room: Room::Log,
    slot: 1000,
    generation: 0,
};

/// A node that serves.
fn started() -> World {
    let mut world = World::for_script(None, 1);
    assert_eq!(world.call(Call::List), "no topics");
    world
}

fn broken(world: &World) -> Option<Invariant> {
    world.judge.violation().map(|violation| violation.invariant)
}

#[test]
fn a_node_that_gives_up_on_a_healthy_disk_breaks_an_invariant_of_its_own() {
    let fatal = Effect::Halt {
        halt: Halt::Fatal("no reason".to_owned()),
    };
    let mut hurt = started();
    hurt.machine.hurt = true;
    hurt.carry_out(fatal.clone());
    assert_eq!(broken(&hurt), None);
    let mut healthy = started();
    healthy.carry_out(fatal);
    assert_eq!(broken(&healthy), Some(Invariant::NodeInvariant));
}

#[test]
fn a_node_that_panics_breaks_an_invariant_of_its_own() {
    let body = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "a".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    };
    let frame = request_frame(5, 7, None, &body).expect("version 5 can say that");
    let mut world = started();
    let conn = world.conns[0].expect("the caller's");
    let frame = frame.to_bytes().slice(4..);
    world.step(Input::Frame { conn, frame });
    assert_eq!(broken(&world), None);
    // Names of connections are never used again: the driver of this history does it, and what the node has begun is lost.
    world.step(Input::Opened {
        conn,
        listener: ListenerId(0),
        peer: "10.0.0.1:1".to_owned(),
    });
    assert_eq!(broken(&world), Some(Invariant::NodeInvariant));
}

#[test]
fn what_a_driver_cannot_do_breaks_the_boundary() {
    let file = FileId(1 << 40);
    let name = Name::new("new").expect("a name");
    let write = DiskOp::Write {
        file,
        at: 0,
        data: Parts::from(Bytes::from_static(b"x")),
    };
    let mut good = started();
    let root = DirId(0);
    let create = DiskOp::Create {
        dir: root,
        name,
        file,
    };
    good.disk_asked(TOKEN, create.clone());
    assert_eq!(broken(&good), None);
    let mut gone = started();
    gone.told(&NodeEvent::DirectoryFailed {
        path: "/data/0".to_owned(),
        message: "a sync".to_owned(),
    });
    let list = DiskOp::List {
        dir: root,
        after: None,
        limit: 1,
    };
    gone.disk_asked(TOKEN, list);
    assert_eq!(broken(&gone), None);
    gone.disk_asked(TOKEN, create);
    assert_eq!(broken(&gone), Some(Invariant::Boundary));
    let mut not_open = started();
    not_open.disk_asked(TOKEN, write);
    assert_eq!(broken(&not_open), Some(Invariant::Boundary));
    let mut lonely = started();
    lonely.carry_out(Effect::Connect {
        token: TOKEN,
        host: "elsewhere".to_owned(),
        port: 1,
    });
    assert_eq!(broken(&lonely), Some(Invariant::Boundary));
}

#[test]
fn a_node_stops_when_it_is_asked_to() {
    let mut asked = started();
    asked.machine.stopping = true;
    asked.carry_out(Effect::Halt { halt: Halt::Clean });
    assert_eq!(broken(&asked), None);
    let mut unasked = started();
    unasked.carry_out(Effect::Halt { halt: Halt::Clean });
    assert_eq!(broken(&unasked), Some(Invariant::Boundary));

    let mut stopped = started();
    let life = stopped.machine.life;
    stopped.dispatch(Event::StopDeadline { life });
    assert_eq!(broken(&stopped), None);
    stopped.machine.stopping = true;
    stopped.dispatch(Event::StopDeadline { life });
    assert_eq!(broken(&stopped), Some(Invariant::Progress));
}

#[test]
fn clients_must_come_to_rest_in_time() {
    let producer = || {
        let settings = Settings {
            acks: 1,
            idempotent: false,
            max_in_flight: 1,
            records_max: 1,
            value_max: 1,
            interval: SECOND,
            delivery_timeout: SECOND,
            retry_backoff: SECOND,
            disorder_ms: 0,
            codec: Compression::None,
            partitions: vec![T],
            renews: false,
        };
        let profile = Profile {
            age: 0,
            request_timeout: SECOND,
            backoff: SECOND,
        };
        let mut producer = Client::Producer(Producer::new(settings, profile, 0));
        producer.wind_down(0);
        producer
    };
    let drain = |client: Option<Client>, late: bool| {
        let mut world = started();
        world.clients.extend(client);
        let deadline = if late { world.now } else { world.now + 1 };
        world.stage = Stage::Drain { deadline };
        world.look();
        broken(&world)
    };
    assert_eq!(drain(None, true), None, "the caller rests");
    assert_eq!(drain(Some(producer()), false), None, "there is time left");
    assert_eq!(drain(Some(producer()), true), Some(Invariant::Progress));
}

#[test]
fn time_goes_on() {
    for (before, wanted) in [
        (SPIN_LIMIT - 1, None),
        (SPIN_LIMIT, Some(Invariant::Progress)),
    ] {
        let mut world = started();
        world.heap.clear();
        world.at_this_instant = before;
        world.schedule(world.now, Event::Look);
        world.happen();
        assert_eq!(broken(&world), wanted);
    }
}

/// The last reader, over a topic of one record that acks=1 acknowledged at offset 0 and that is on the disk or is not.
fn last_word(there: bool) -> Option<crate::Violation> {
    let mut world = started();
    world.judge.creating(T.topic, 1, TopicRules::default());
    world.judge.created(T.topic, 1);
    let answer = world.call(Call::Create {
        topic: crate::client::topic_name(T.topic),
        partitions: 1,
        configs: Vec::new(),
    });
    assert_eq!(answer, "created");
    let producer = world.judge.add_producer(false, true, Compression::None);
    let timestamp = crate::clock::EPOCH_MS;
    let id = world.judge.sends(producer, T, timestamp, 12);
    world.judge.attempts(&[id]);
    if there {
        let value = crate::client::records::value(id, 12);
        let answer = world.call(Call::Produce {
            tp: (crate::client::topic_name(T.topic), T.index),
            values: vec![String::from_utf8(value.to_vec()).expect("small numbers are text")],
            timestamp,
            step: 1,
            acks: 1,
            writer: None,
        });
        assert_eq!(answer, "offset 0");
    }
    world.judge.acked(&[id], T, Some(0), 1);
    world.stage = Stage::Drain {
        deadline: world.now + SECOND,
    };
    world.look();
    while world.stage != Stage::Over && world.judge.violation().is_none() {
        assert!(world.happen());
    }
    world.judge.violation().cloned()
}

#[test]
fn a_lost_record_of_acks_one_is_lost_and_not_late() {
    assert_eq!(last_word(true), None);
    let violation = last_word(false).expect("it is lost");
    assert_eq!(violation.invariant, Invariant::Lost);
    assert!(violation.message.contains("p0#0"), "{}", violation.message);
    assert!(
        violation.message.contains("t0-0 at 0"),
        "{}",
        violation.message
    );
}

#[test]
fn the_image_is_the_replay_of_its_log() {
    let mut world = started();
    let create = |topic: &str| Call::Create {
        topic: topic.to_owned(),
        partitions: 1,
        configs: Vec::new(),
    };
    assert_eq!(world.call(create("a")), "created");
    world.audit();
    assert_eq!(broken(&world), None);
    let log = "00000000000000000000.log";
    let dir = Name::new("__cluster_metadata-0").expect("a name");
    let bytes = world
        .machine
        .disk
        .content(0, &["__cluster_metadata-0"], log)
        .expect("the metadata log")
        .to_vec();
    assert_eq!(world.call(create("b")), "created");
    world.audit();
    assert_eq!(broken(&world), None);
    // The log of a moment ago: the image has a topic that it does not say anything of.
    let name = Name::new(log).expect("a name");
    world.machine.disk.install(0, Some(&dir), &name, &bytes);
    world.audit();
    assert_eq!(broken(&world), Some(Invariant::Replay));
}

#[test]
fn answers_come_in_order_and_can_be_read() {
    let mut reader = started();
    let answer = |world: &mut World, bytes: Vec<u8>| {
        let ((), _) = world.with_client(0, |client, cx| {
            client.happens(cx, Some(crate::net::ToClient::Bytes(Bytes::from(bytes))));
        });
    };
    // Half a frame is no answer yet; a whole one that answers nothing is against the protocol.
    answer(&mut reader, vec![0, 0, 0, 4, 0, 0]);
    assert_eq!(broken(&reader), None);
    answer(&mut reader, vec![0, 9]);
    assert_eq!(broken(&reader), Some(Invariant::Protocol));
}
