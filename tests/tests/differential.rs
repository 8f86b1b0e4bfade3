//! The same requests to Apache Kafka and to the broker under test: errors, defaults, offsets and ends must be the same.
#![cfg(not(madsim))]

use trialog_tests::differential::{
    cluster, compare, compare_with, configs, fetch, frames, offsets, produce, topics,
};

#[test]
fn versions_and_cluster() {
    compare(cluster::versions_and_cluster);
}

#[test]
fn creating_and_deleting_topics() {
    compare(topics::creating_and_deleting_topics);
}

#[test]
fn produce_errors_and_offsets() {
    compare(produce::produce_errors_and_offsets);
}

#[test]
fn fetch_answers() {
    compare(fetch::fetch_answers);
}

#[test]
fn sessions_over_topics_that_go() {
    compare(fetch::sessions_over_topics_that_go);
}

#[test]
fn offsets_and_epochs() {
    compare(offsets::offsets_and_epochs);
}

#[test]
fn configs_and_their_defaults() {
    let of_a_listener = [
        ("listener.name.plaintext.max.connections", "1000"),
        ("listener.name.plaintext.ssl.key.password", "secret"),
        ("listener.name.plaintext.my.own", "secret"),
    ];
    compare_with(&of_a_listener, configs::configs_and_their_defaults);
}

#[test]
fn unknown_versions_and_keys() {
    compare(frames::unknown_versions_and_keys);
}
