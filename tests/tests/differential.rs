//! The same requests to Apache Kafka and to the broker under test: errors, defaults, offsets and ends must be the same.
#![cfg(not(madsim))]

use trialog_tests::differential::{
    cluster, compare, configs, fetch, frames, offsets, produce, topics,
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
    compare(configs::configs_and_their_defaults);
}

#[test]
fn unknown_versions_and_keys() {
    compare(frames::unknown_versions_and_keys);
}
