//! The same requests to two brokers, and where their answers differ.
//!
//! Owns the pair of connections and the comparison, field by field over the public codec; one file below holds the cases of a request
//! family, and the excuses of a family stand beside their reasons. What must differ between any two brokers
//! (ids, ports, times, throttling, the words of a message) is left out by name. It never decides which of the two is right.

pub mod cluster;
pub mod configs;
pub mod fetch;
pub mod frames;
pub mod offsets;
pub mod produce;
pub mod topics;

use crate::broker::{self, Broker, Kind, Setup};
use crate::client::{Client, PLAIN, batch, text};
use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, TopicName};
use kafka_protocol::protocol::{Request, VersionRange};
use kafka_protocol::records::Compression;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;

/// Fields that any two brokers may answer differently.
const FREE: &[&str] = &[
    "throttle_time_ms",
    "cluster_id",
    "port",
    "topic_id",
    "producer_id",
    "finalized_features_epoch",
    "session_id",
];
/// Fields of which only the presence counts.
const WORDS: &[&str] = &[
    "error_message",
    "error_string",
    "batch_index_error_message",
    "documentation",
];

/// One broker of the pair, as a request must see it.
pub struct Side {
    bootstrap: String,
    controllers: String,
    client: Client,
    /// The fetch session that a preparation has opened.
    pub session: i32,
    /// Ids of the topics created so far.
    pub topic_ids: BTreeMap<String, uuid::Uuid>,
}

impl Side {
    fn new(broker: &Broker) -> Side {
        Side {
            bootstrap: broker.bootstrap(),
            controllers: broker.controllers(),
            client: broker.client(),
            session: 0,
            topic_ids: BTreeMap::new(),
        }
    }

    /// The id of a topic here; all ones for a topic that does not exist.
    pub fn id(&self, topic: &str) -> uuid::Uuid {
        self.topic_ids
            .get(topic)
            .copied()
            .unwrap_or(uuid::Uuid::from_u128(u128::MAX))
    }

    /// The connection, for preparations.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// A new connection in place of one that the broker may have closed.
    pub fn reconnect(&mut self) {
        self.client =
            Client::connect(&self.bootstrap).expect("the broker still accepts connections");
    }

    fn learn(&mut self) -> io::Result<()> {
        for topic in self.client.metadata()?.topics {
            if let Some(TopicName(name)) = topic.name {
                self.topic_ids.insert(name.to_string(), topic.topic_id);
            }
        }
        Ok(())
    }

    fn ask<R: Request>(
        &mut self,
        version: i16,
        body: &R,
        fix: &impl Fn(&mut R::Response),
    ) -> Vec<String>
    where
        R::Response: Debug,
    {
        match self.client.call(version, body) {
            Ok(mut answer) => {
                fix(&mut answer);
                comparable(&format!("{answer:#?}"))
            }
            Err(error) => {
                self.reconnect();
                vec![match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                        "the connection was closed".to_owned()
                    }
                    kind => format!("{kind:?}: {error}"),
                }]
            }
        }
    }
}

/// The pretty text of an answer without what is free to differ.
fn comparable(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut skipping: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(until) = skipping {
            skipping = (indent > until).then_some(until);
            continue;
        }
        let name = line.trim_start().split(':').next().unwrap_or_default();
        let opens = line.ends_with(['(', '{', '[']);
        if FREE.contains(&name) {
            skipping = opens.then_some(indent);
        } else if WORDS.contains(&name) && opens {
            lines.push(format!("{}: Some", &line[..indent + name.len()]));
            skipping = Some(indent);
        } else {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Two brokers and what was found so far.
pub struct Pair {
    /// Apache Kafka.
    pub kafka: Side,
    /// The broker under test.
    pub ours: Side,
    /// Versions that the broker under test advertises, by API key.
    pub advertised: BTreeMap<i16, VersionRange>,
    /// Requests compared.
    pub compared: usize,
    /// Where the answers differed, in words.
    pub differences: Vec<String>,
}

impl Pair {
    /// Connects to both.
    pub fn new(kafka: &Broker, ours: &Broker) -> io::Result<Pair> {
        let mut ours = Side::new(ours);
        let answer = ours.client.call(3, &named())?;
        let advertised = answer
            .api_keys
            .iter()
            .map(|api| {
                (
                    api.api_key,
                    VersionRange {
                        min: api.min_version,
                        max: api.max_version,
                    },
                )
            })
            .collect();
        Ok(Pair {
            kafka: Side::new(kafka),
            ours,
            advertised,
            compared: 0,
            differences: Vec::new(),
        })
    }

    /// What follows is asked at the listeners of the controllers.
    pub fn at_controllers(&mut self) {
        for side in [&mut self.kafka, &mut self.ours] {
            side.bootstrap.clone_from(&side.controllers);
            side.reconnect();
        }
    }

    /// Does the same to both, outside of the comparison.
    pub fn both(&mut self, mut prepare: impl FnMut(&mut Side) -> io::Result<()>) {
        for side in [&mut self.kafka, &mut self.ours] {
            prepare(side)
                .and_then(|()| side.learn())
                .unwrap_or_else(|error| panic!("{}: {error}", side.bootstrap));
        }
    }

    /// Sends the same request to both in every version that the broker under test advertises and the codec knows.
    pub fn every_version<R: Request>(&mut self, case: &str, body: impl Fn(&Side, i16) -> R)
    where
        R::Response: Debug,
    {
        self.every_version_fixed(case, body, |_| {});
    }

    /// The same, with a correction of each answer before the comparison, for what has no order.
    pub fn every_version_fixed<R: Request>(
        &mut self,
        case: &str,
        body: impl Fn(&Side, i16) -> R,
        fix: impl Fn(&mut R::Response),
    ) where
        R::Response: Debug,
    {
        let Some(range) = self.advertised.get(&R::KEY) else {
            self.differences
                .push(format!("{case}: the API {} is not advertised", R::KEY));
            return;
        };
        let range = range.intersect(&R::VERSIONS);
        self.versions(case, range, body, fix);
    }

    /// Sends the same request to both in the versions of `range`.
    pub fn versions<R: Request>(
        &mut self,
        case: &str,
        range: VersionRange,
        body: impl Fn(&Side, i16) -> R,
        fix: impl Fn(&mut R::Response),
    ) where
        R::Response: Debug,
    {
        // The same difference in a run of versions is told once.
        let mut last: Option<(i16, i16, String)> = None;
        for version in range.min..=range.max {
            self.compared += 1;
            let wanted = self.kafka.ask(version, &body(&self.kafka, version), &fix);
            let found = self.ours.ask(version, &body(&self.ours, version), &fix);
            let difference = if wanted == found {
                String::new()
            } else {
                first_differences(&wanted, &found)
            };
            last = match last.take() {
                Some((from, to, told)) if told == difference && to + 1 == version => {
                    Some((from, version, told))
                }
                before => {
                    self.tell(case, before);
                    Some((version, version, difference))
                }
            };
        }
        self.tell(case, last);
    }

    /// Compares what a case found otherwise than by whole answers.
    pub fn note<T: PartialEq + Debug>(&mut self, case: &str, wanted: &T, found: &T) {
        self.compared += 1;
        if wanted != found {
            self.differences
                .push(format!("{case}: Kafka {wanted:?}, ours {found:?}"));
        }
    }

    fn tell(&mut self, case: &str, difference: Option<(i16, i16, String)>) {
        if let Some((from, to, told)) = difference.filter(|(.., told)| !told.is_empty()) {
            self.differences
                .push(format!("{case}, version {from} to {to}:{told}"));
        }
    }
}

/// Runs one test's cases on a fresh pair and fails with every difference.
pub fn compare(cases: impl FnOnce(&mut Pair)) {
    compare_with(&[], cases);
}

/// The same with properties that both start with.
pub fn compare_with(properties: &[(&str, &str)], cases: impl FnOnce(&mut Pair)) {
    let (_kafka_home, kafka) = Setup::serve_with(Kind::Kafka, properties);
    let (_our_home, ours) = Setup::serve_with(broker::target(), properties);
    let mut pair = Pair::new(&kafka, &ours).expect("both answer");
    cases(&mut pair);
    println!(
        "{} requests compared, {} differences",
        pair.compared,
        pair.differences.len()
    );
    assert!(
        pair.compared > 8,
        "only {} requests compared",
        pair.compared
    );
    assert!(
        pair.differences.is_empty(),
        "{} of {} requests:\n  {}",
        pair.differences.len(),
        pair.compared,
        pair.differences.join("\n  ")
    );
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// Three partitions `t` with the same records on both: 4 batches of 5 in partition 0.
fn records(side: &mut Side, sent: &[Bytes]) -> std::io::Result<()> {
    side.client().create_topic("t", 3, &[])?;
    for bytes in sent {
        assert_eq!(side.client().produce("t", 0, -1, bytes.clone())?.0, 0);
    }
    Ok(())
}

fn four_batches() -> Vec<Bytes> {
    (0..4u8)
        .map(|n| {
            std::thread::sleep(std::time::Duration::from_millis(3));
            batch(&vec![vec![b'a' + n; 20]; 5], PLAIN, Compression::None)
        })
        .collect()
}

/// An ApiVersions request with a name, as version 3 and later ask for.
pub fn named() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(text("tests"))
        .with_client_software_version(text("1"))
}

/// Up to four lines in which the answers differ, Kafka's first.
fn first_differences(wanted: &[String], found: &[String]) -> String {
    let mut out = String::new();
    let differing = (0..wanted.len().max(found.len())).filter(|n| wanted.get(*n) != found.get(*n));
    for n in differing.take(4) {
        let shown = |lines: &[String]| {
            lines.get(n).map_or("nothing".to_owned(), |line| {
                line.trim().chars().take(160).collect()
            })
        };
        out += &format!(
            "\n      Kafka {}\n      ours  {}",
            shown(wanted),
            shown(found)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_fields_are_left_out_and_words_count_as_present() {
        let text = "A {\n    throttle_time_ms: 3,\n    error_code: 5,\n    error_message: Some(\n        \"why\",\n    ),\n    topic_id: X(\n        1,\n    ),\n    name: None,\n}";
        assert_eq!(
            comparable(text),
            [
                "A {",
                "    error_code: 5,",
                "    error_message: Some",
                "    name: None,",
                "}"
            ]
        );
        assert_ne!(
            comparable("    error_message: None,"),
            comparable("    error_message: Some(\n        \"x\",\n    ),")
        );
    }
}
