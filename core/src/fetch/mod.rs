//! Fetches: sessions (KIP-227) and the words that a fetch and its answer are made of.
//!
//! Owns what a consumer has told in earlier requests. Never reads a log: `api` carries asks to partitions and their answers here.

pub mod session;

use std::collections::BTreeMap;

use crate::ids::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::situation::Situation;
use crate::wire::ErrorCode;
use crate::wire::{Parts, Str};

/// How a request names a topic: by id since version 13 (KIP-516), by name before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// Topic id.
    Id(Uuid),
    /// Topic name.
    Name(Str),
}

/// A partition as a fetch names it. Two keys are equal if they name the same partition in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchKey {
    /// Its number. It comes first in the order of keys: a long name that many partitions share is seldom looked at.
    pub partition: PartitionIndex,
    /// Its topic.
    pub topic: TopicRef,
}

/// Makes keys that hold no frame alive, for what outlives its request. The partitions of a topic share one copy of its name: a
/// request may name a million of them behind a name of 32 KiB.
#[derive(Debug, Default)]
pub struct DetachedKeys {
    /// As they came, and their copies.
    names: BTreeMap<Str, Str>,
}

impl DetachedKeys {
    /// The same key.
    pub fn key(&mut self, key: &FetchKey) -> FetchKey {
        let topic = match &key.topic {
            TopicRef::Id(id) => TopicRef::Id(*id),
            TopicRef::Name(name) => {
                let copy = self.names.entry(name.clone());
                TopicRef::Name(copy.or_insert_with(|| name.detached()).clone())
            }
        };
        let partition = key.partition;
        FetchKey { partition, topic }
    }
}

impl FetchKey {
    /// Tells which partition it names, and how.
    pub fn describe(&self, out: &mut Situation) {
        match &self.topic {
            TopicRef::Id(id) => out.bytes(&id.0),
            TopicRef::Name(name) => out.bytes(name.as_bytes()),
        }
        out.number(i64::from(self.partition.0));
    }
}

/// What a fetch asks of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAsk {
    /// First offset wanted.
    pub offset: Offset,
    /// At most so many bytes; may be negative on the wire, which asks for nothing but progress.
    pub max_bytes: i32,
    /// The leader epoch that the client knows, if it tells (KIP-320).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that the client has, if it tells (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// What one partition answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResult {
    /// Which partition.
    pub key: FetchKey,
    /// What was asked.
    pub ask: FetchAsk,
    /// NONE, or why there is nothing.
    pub error: ErrorCode,
    /// High watermark; -1 with an error.
    pub high_watermark: Offset,
    /// Last stable offset; -1 with an error.
    pub last_stable_offset: Offset,
    /// Log start offset; -1 with an error.
    pub log_start: Offset,
    /// Where the client's log ends being a prefix of ours: the epoch and its end offset.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Whole batches.
    pub records: Parts,
    /// There is, or may be, more to read than `records`.
    pub more: bool,
}

impl FetchResult {
    /// An answer that is an error and nothing else.
    #[must_use]
    pub fn failed(key: FetchKey, ask: FetchAsk, error: ErrorCode) -> FetchResult {
        FetchResult {
            key,
            ask,
            error,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start: Offset(-1),
            diverging: None,
            records: Parts::new(),
            more: false,
        }
    }

    /// True if the same question has no other answer before the partition moves.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let told = self.error == ErrorCode::NONE && self.diverging.is_none();
        told && self.records.is_empty() && !self.more
    }
}
