//! The model of the topics: what the admin was told, and what metadata answers must therefore list.
//!
//! Owns the rule R as far as clients can see it. A name may be used again when its topic was deleted: that is another topic, with
//! another number.

use std::collections::{BTreeMap, BTreeSet};

use trialog_core::wire::batch::Compression;

use super::{Invariant, Judge, TopicNo, Tp};

/// Numbers of topics that have one name, one after the other, are so far apart.
const INCARNATION: TopicNo = 1000;

/// Topics of one name have this number in common.
#[must_use]
pub fn name_of(topic: TopicNo) -> TopicNo {
    topic % INCARNATION
}

/// The number of the topic that has the same name after `topic` was deleted.
#[must_use]
pub fn next_of_name(topic: TopicNo) -> TopicNo {
    topic + INCARNATION
}

/// What a topic's configuration makes of what is sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRules {
    /// `compression.type`; `None`: as the producer sent it.
    pub compression: Option<Compression>,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
    /// `max.message.bytes`, if it is set.
    pub max_message_bytes: Option<usize>,
    /// `retention.ms`, if it is set.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`, if it is set.
    pub retention_bytes: Option<u64>,
}

impl TopicRules {
    /// The rules that a topic's properties make.
    #[must_use]
    pub fn of(configs: &[(String, String)]) -> TopicRules {
        let value = |name: &str| {
            let found = configs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        TopicRules {
            compression: value("compression.type").and_then(|name| match name {
                "uncompressed" => Some(Compression::None),
                "gzip" => Some(Compression::Gzip),
                "snappy" => Some(Compression::Snappy),
                "lz4" => Some(Compression::Lz4),
                "zstd" => Some(Compression::Zstd),
                _ => None,
            }),
            log_append_time: value("message.timestamp.type") == Some("LogAppendTime"),
            max_message_bytes: value("max.message.bytes").and_then(|bytes| bytes.parse().ok()),
            retention_ms: value("retention.ms").and_then(|ms| ms.parse().ok()),
            retention_bytes: value("retention.bytes").and_then(|bytes| bytes.parse().ok()),
        }
    }

    /// May records go without being asked to?
    #[must_use]
    pub fn retains(self) -> bool {
        self.retention_ms.is_some() || self.retention_bytes.is_some()
    }
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// Its creation was asked for.
    Creating,
    /// Its creation was acknowledged, or an answer listed it.
    Exists,
    /// Its deletion was asked for.
    Deleting,
    /// Its deletion was acknowledged.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct TopicModel {
    pub(super) state: TopicState,
    /// Partitions that were acknowledged.
    partitions: i32,
    /// The counts that were asked for: a creation brings all its partitions or none.
    asked: BTreeSet<i32>,
    pub(super) rules: TopicRules,
}

impl Judge {
    /// The admin asks for a topic.
    pub fn creating(&mut self, topic: TopicNo, partitions: i32, rules: TopicRules) {
        self.topics.entry(topic).or_insert(TopicModel {
            state: TopicState::Creating,
            partitions: 0,
            asked: BTreeSet::from([partitions]),
            rules,
        });
    }

    /// A topic exists with at least so many partitions: an answer said so.
    pub fn created(&mut self, topic: TopicNo, partitions: i32) {
        if let Some(model) = self.topics.get_mut(&topic) {
            if model.state == TopicState::Creating {
                model.state = TopicState::Exists;
            }
            model.partitions = model.partitions.max(partitions);
        }
    }

    /// The admin asks for more partitions.
    pub fn growing(&mut self, topic: TopicNo, partitions: i32) {
        if let Some(model) = self.topics.get_mut(&topic) {
            model.asked.insert(partitions);
        }
    }

    /// The admin asks to delete a topic.
    pub fn deleting(&mut self, topic: TopicNo) {
        if let Some(model) = self.topics.get_mut(&topic) {
            model.state = TopicState::Deleting;
        }
    }

    /// The deletion was acknowledged.
    pub fn deleted(&mut self, topic: TopicNo) {
        if let Some(model) = self.topics.get_mut(&topic) {
            model.state = TopicState::Gone;
        }
    }

    /// What is known of a topic.
    #[must_use]
    pub fn topic(&self, topic: TopicNo) -> Option<TopicState> {
        self.topics.get(&topic).map(|model| model.state)
    }

    /// The rules of a topic; Kafka's defaults if it is not known.
    #[must_use]
    pub fn rules(&self, topic: TopicNo) -> TopicRules {
        self.topics
            .get(&topic)
            .map_or_else(TopicRules::default, |model| model.rules)
    }

    /// The newest topic of this name that was asked for.
    #[must_use]
    pub fn newest_of_name(&self, name: TopicNo) -> Option<TopicNo> {
        let mut same = self.topics.keys().filter(|topic| name_of(**topic) == name);
        same.next_back().copied()
    }

    /// The topic that has the name of the deleted `topic` now.
    #[must_use]
    pub fn successor(&self, topic: TopicNo) -> Option<TopicNo> {
        let newest = self.newest_of_name(name_of(topic))?;
        let succeeds = self.topic(topic) == Some(TopicState::Gone)
            && newest > topic
            && self.topic(newest) == Some(TopicState::Exists);
        succeeds.then_some(newest)
    }

    /// What was sent to `from` by name may have come to `to`, which has the name now.
    pub(super) fn may_stray(&self, from: Tp, to: Tp) -> bool {
        from.index == to.index
            && name_of(from.topic) == name_of(to.topic)
            && from.topic < to.topic
            && self.topic(from.topic) == Some(TopicState::Gone)
    }

    /// Was it deleted? What is said of it then may be about the next topic of its name.
    pub(super) fn is_gone(&self, topic: TopicNo) -> bool {
        self.topic(topic) == Some(TopicState::Gone)
    }

    pub(super) fn topic_lives(&self, topic: TopicNo) -> bool {
        self.topic(topic)
            .is_none_or(|state| state == TopicState::Exists)
    }

    /// What every list of all topics must say if it is asked for now: topic, whether it is there, and its least partitions.
    #[must_use]
    pub fn expected_topics(&self) -> Vec<(TopicNo, bool, i32)> {
        self.topics
            .iter()
            .filter_map(|(topic, model)| match model.state {
                TopicState::Exists => Some((*topic, true, model.partitions)),
                TopicState::Gone => Some((*topic, false, 0)),
                TopicState::Creating | TopicState::Deleting => None,
            })
            .collect()
    }

    /// A list of all topics with their partitions came back; `expected` is [`Judge::expected_topics`] when it was asked for.
    pub fn listed(
        &mut self,
        who: &str,
        listed: &BTreeMap<TopicNo, i32>,
        expected: &[(TopicNo, bool, i32)],
    ) {
        self.operations += 1;
        for (topic, there, partitions) in expected {
            let found = listed.get(topic).copied();
            let now = self.topic(*topic);
            match found {
                None if *there && now == Some(TopicState::Exists) => self.violate(
                    Invariant::Replay,
                    format!("{who} listed all topics without t{topic}, which was created"),
                ),
                Some(count) if *there && count < *partitions => self.violate(
                    Invariant::Replay,
                    format!("{who} listed t{topic} with {count} partitions, it had {partitions}"),
                ),
                Some(_) if !there => self.violate(
                    Invariant::Replay,
                    format!("{who} listed t{topic}, which was deleted"),
                ),
                Some(_) | None => {}
            }
        }
        for (topic, count) in listed {
            let asked = self.topics.get(topic).map(|model| &model.asked);
            match asked.map(|asked| asked.contains(count)) {
                None => self.violate(
                    Invariant::Replay,
                    format!("{who} listed t{topic}, which nobody asked for"),
                ),
                Some(false) => self.violate(
                    Invariant::Replay,
                    format!(
                        "{who} listed t{topic} with {count} partitions, nobody asked for so many"
                    ),
                ),
                Some(true) => self.created(*topic, *count),
            }
        }
    }
}
