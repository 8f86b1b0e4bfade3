//! The model of the topics: what the admin was told, and what metadata answers must therefore list.
//!
//! Owns the rule R as far as clients can see it. Names are never used twice in a run.

use std::collections::BTreeMap;

use super::{Invariant, Judge, TopicNo};

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
    /// The greatest count that was asked for.
    asked: i32,
}

impl Judge {
    /// The admin asks for a topic.
    pub fn creating(&mut self, topic: TopicNo, partitions: i32) {
        self.topics.entry(topic).or_insert(TopicModel {
            state: TopicState::Creating,
            partitions: 0,
            asked: partitions,
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
            model.asked = model.asked.max(partitions);
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
            match self.topics.get(topic).map(|model| model.asked) {
                None => self.violate(
                    Invariant::Replay,
                    format!("{who} listed t{topic}, which nobody asked for"),
                ),
                Some(asked) if *count > asked => self.violate(
                    Invariant::Replay,
                    format!("{who} listed t{topic} with {count} partitions, nobody asked for more than {asked}"),
                ),
                Some(_) => self.created(*topic, *count),
            }
        }
    }
}
