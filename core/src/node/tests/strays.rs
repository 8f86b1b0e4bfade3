//! Logs that the metadata knows nothing of.

use std::time::Duration;

use super::stories::{create_topic, fetch, fetched, produce, produced};
use super::world::{World, batch};
use crate::event::Event;
use crate::wire::ErrorCode;

/// A metadata log that is lost, or older than the topics, costs no records: their logs are set aside until the right one is back.
#[test]
fn records_outlive_the_loss_of_the_metadata_log() {
    let mut world = World::ready();
    let conn = world.connect();
    let topic = create_topic(&mut world, conn, "t", 1);
    let answer = world.ask(conn, 13, &produce(-1, topic, 0, &["a", "b"]));
    assert_eq!(produced(&answer).error_code, ErrorCode::NONE);

    world.rename("__cluster_metadata-0", "saved");
    world.format();
    world.restart();
    let told = |event: &Event| matches!(event, Event::Note { message, .. } if message.contains("set aside"));
    assert!(world.events.iter().any(told), "{:?}", world.events);
    let strays = |world: &mut World| -> Vec<String> {
        let names = world.names().into_iter();
        names.filter(|name| name.ends_with("-stray")).collect()
    };
    let stray = strays(&mut world).remove(0);
    assert!(stray.starts_with("t-0."), "{stray}");
    world.pass(Duration::from_hours(2));
    world.restart();
    assert_eq!(
        strays(&mut world),
        std::slice::from_ref(&stray),
        "nobody removes it"
    );

    world.rename("__cluster_metadata-0", "wrong");
    world.rename("saved", "__cluster_metadata-0");
    world.rename(&stray, "t-0");
    world.restart();
    let conn = world.connect();
    let answer = world.ask(conn, 13, &fetch(topic, 0));
    assert_eq!(
        super::stories::bytes(fetched(&answer)),
        batch(&["a", "b"]).len()
    );
}
