//! From metadata to partitions: which logs this node must have, and who leads them.
//!
//! Owns what committed metadata still asks of this node. It waits until the store has found what is on disk, then creates what is
//! missing, deletes what no topic has any more, and begins the epochs that this node leads. Goes on in pieces, so that a step
//! stays short with many partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::Partitions;
use super::leader::{Assignment, GivenUp, Partition};
use crate::config::{Config, LogConfig};
use crate::event::{Event, Level};
use crate::ids::{LogId, NodeId, Offset, PartitionIndex, Uuid};
use crate::io::Cx;
use crate::log::{self, LogStore, NewLog, StoreConfig};
use crate::metadata::{Delta, Image, Resource, Topic};
use crate::wire::Str;

/// The most partitions that one piece looks at.
const PIECE: usize = 500;

/// What committed metadata still asks of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    node: NodeId,
    /// The store has found what is on disk.
    found: bool,
    /// Logs that were found and are still to be compared with the metadata.
    compare: Range<u32>,
    changed: BTreeSet<(Uuid, i32)>,
    /// New partitions that came many at once, by topic.
    runs: VecDeque<(Uuid, Range<i32>)>,
    /// Topics that are gone, with the partitions that are not dealt with yet.
    removed_topics: Vec<Topic>,
    /// Topics whose properties changed, and up to which partition that is dealt with.
    configured: BTreeMap<Uuid, i32>,
    /// The properties of every topic may have changed; up to which partition that is dealt with.
    all_configured: Option<Option<(Uuid, i32)>>,
    /// Created, not open yet.
    opening: BTreeSet<LogId>,
}

/// Requests that need not wait any longer, by the log that they waited on; a log whose high watermark moved is there, too.
pub type Released = BTreeMap<LogId, GivenUp>;

impl Replicas {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(node: NodeId) -> Replicas {
        Replicas {
            node,
            found: false,
            compare: 0..0,
            changed: BTreeSet::new(),
            runs: VecDeque::new(),
            removed_topics: Vec::new(),
            configured: BTreeMap::new(),
            all_configured: None,
            opening: BTreeSet::new(),
        }
    }

    /// Notes what committed records have changed.
    pub fn note(&mut self, image: &Image, delta: Delta) {
        self.changed.extend(delta.partitions);
        self.runs.extend(delta.runs);
        self.removed_topics.extend(delta.topics_removed);
        for resource in delta.configs {
            if resource.kind == Resource::BROKER {
                self.all_configured = Some(None);
            } else if resource.kind == Resource::TOPIC
                && let Some(topic) = image.topics.by_name(&resource.name)
            {
                self.configured.insert(topic.id, -1);
            }
        }
    }

    /// The store has found what is on disk: logs of no topic that metadata knows are set aside.
    pub fn found(&mut self, store: &LogStore) {
        self.found = true;
        self.compare = 0..store.next_log().0;
    }

    /// True if nothing is left to do: every partition is open or offline.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.found && !self.has_work() && self.opening.is_empty()
    }

    /// True if [`Replicas::go_on`] has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let settled = self.compare.is_empty()
            && self.changed.is_empty()
            && self.runs.is_empty()
            && self.removed_topics.is_empty()
            && self.configured.is_empty()
            && self.all_configured.is_none();
        self.found && !settled
    }

    /// Does a piece of the work.
    pub fn go_on(
        &mut self,
        cx: &mut Cx,
        config: &Config,
        store: &mut LogStore,
        image: &Image,
        partitions: &mut Partitions,
    ) -> Released {
        let mut released = Released::new();
        if !self.found {
            return released;
        }
        let mut properties = Properties::new(config, image);
        for _ in 0..PIECE {
            if let Some((id, index)) = self.next_removed() {
                self.remove(cx, store, partitions, (id, index), &mut released);
            } else if let Some(log) = self.compare.next() {
                self.compare(cx, store, image, LogId(log));
            } else if let Some(at) = self.next_changed() {
                self.assign(cx, &mut properties, store, partitions, at, &mut released);
            } else if let Some((id, index)) = self.next_configured(image) {
                let Some(partition) = partitions.find_mut(id, PartitionIndex(index)) else {
                    continue;
                };
                let (topic, least) = properties.of(&partition.topic);
                partition.configure(least);
                let before = store.view(partition.log).map(|view| view.config.compact);
                if index == 0 && topic.compact && before == Some(false) {
                    kept_whole(cx, &partition.topic);
                }
                store.configure(partition.log, topic);
            } else {
                break;
            }
        }
        released
    }

    fn next_removed(&mut self) -> Option<(Uuid, i32)> {
        while let Some(topic) = self.removed_topics.last_mut() {
            if let Some((index, _)) = topic.partitions.pop_first() {
                return Some((topic.id, index));
            }
            self.removed_topics.pop();
        }
        None
    }

    fn next_changed(&mut self) -> Option<(Uuid, i32)> {
        if let Some(at) = self.changed.pop_first() {
            return Some(at);
        }
        while let Some((id, run)) = self.runs.front_mut() {
            if let Some(index) = run.next() {
                return Some((*id, index));
            }
            self.runs.pop_front();
        }
        None
    }

    fn next_configured(&mut self, image: &Image) -> Option<(Uuid, i32)> {
        while let Some(mut entry) = self.configured.first_entry() {
            let (id, after) = (*entry.key(), *entry.get());
            let topic = image.topics.by_id(id);
            let next = topic.and_then(|topic| topic.partitions.range(after + 1..).next());
            match next {
                Some((index, _)) => {
                    entry.insert(*index);
                    return Some((id, *index));
                }
                None => entry.remove(),
            };
        }
        let after = self.all_configured?;
        let next = image.topics.partitions_after(after).next();
        let next = next.map(|(id, index, _)| (id, index));
        self.all_configured = next.map(Some);
        next
    }

    fn remove(
        &mut self,
        cx: &mut Cx,
        store: &mut LogStore,
        partitions: &mut Partitions,
        (id, index): (Uuid, i32),
        released: &mut Released,
    ) {
        let index = PartitionIndex(index);
        if let Some(mut partition) = partitions.remove(id, index) {
            released.insert(partition.log, partition.give_up());
        }
        if let Some(log) = store.find(id, index) {
            self.opening.remove(&log);
            store.delete(cx, log);
        }
    }

    /// A log that no topic has is set aside. One whose deletion a crash cut short is none: replay has told of the deletion.
    fn compare(&self, cx: &mut Cx, store: &mut LogStore, image: &Image, log: LogId) {
        let Some(view) = store.view(log) else {
            return;
        };
        let at = (view.topic_id, view.partition.0);
        let ours = image.topics.partition(at.0, at.1);
        let ours = ours.is_some_and(|partition| partition.replicas.contains(&self.node.0));
        let known = store.find(at.0, view.partition) == Some(log);
        if !ours && known && at.0 != Uuid::METADATA_TOPIC {
            store.set_aside(cx, log);
        }
    }

    fn assign(
        &mut self,
        cx: &mut Cx,
        properties: &mut Properties<'_>,
        store: &mut LogStore,
        partitions: &mut Partitions,
        (id, index): (Uuid, i32),
        released: &mut Released,
    ) {
        let Some(topic) = properties.image.topics.by_id(id) else {
            return;
        };
        let Some(state) = topic.partitions.get(&index) else {
            return;
        };
        if !state.replicas.contains(&self.node.0) {
            return;
        }
        let index = PartitionIndex(index);
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
        let assignment = Assignment {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            isr: nodes(&state.isr),
            replicas: nodes(&state.replicas),
        };
        if let Some(partition) = partitions.find_mut(id, index) {
            let log = partition.log;
            let led = partition.leads();
            let end = store.view(log).map_or(Offset(0), |view| view.end);
            let known = partition.high_watermark();
            if partition.assign(assignment, end) && partition.is_open() {
                store.begin_epoch(cx, log, partition.assignment().leader_epoch);
            }
            // A smaller in-sync set can let the high watermark go on, and with it whoever waits for it.
            if partition.high_watermark() > known {
                released.insert(log, GivenUp::default());
            }
            if led && !partition.leads() {
                released.insert(log, partition.give_up());
            }
            return;
        }
        let (properties, least) = properties.of(&topic.name);
        let found = store.find(id, index);
        let log = match found {
            Some(log) => {
                store.configure(log, properties);
                log
            }
            None => {
                let directory = state.directory(self.node).filter(Uuid::names_directory);
                let dir = directory.and_then(|directory| store.directory_of(directory));
                match directory {
                    Some(id) if dir.is_none() => {
                        let place = format!(
                            "lies in the log directory {id}, which is not among this node's"
                        );
                        return lost(cx, &topic.name, index, &place);
                    }
                    None if store.unknown_directory() => {
                        return lost(
                            cx,
                            &topic.name,
                            index,
                            "may lie in the log directory that failed at the start",
                        );
                    }
                    _ => {}
                }
                if index.0 == 0 && properties.compact {
                    kept_whole(cx, &topic.name);
                }
                let new = NewLog {
                    topic: topic.name.to_string(),
                    topic_id: id,
                    partition: index,
                    config: properties,
                    dir,
                };
                let log = store.create(cx, new);
                self.opening.insert(log);
                log
            }
        };
        let name = topic.name.detached();
        let mut partition = Partition::new(self.node, name, id, index, log, assignment);
        partition.configure(least);
        partitions.insert(partition);
        if found.is_some() {
            self.open(cx, store, partitions, log);
        }
    }

    /// Are logs being made?
    #[must_use]
    pub fn makes_logs(&self) -> bool {
        !self.opening.is_empty()
    }

    /// A log is open, or has failed: its partition can be used, or tells why not.
    pub fn open(
        &mut self,
        cx: &mut Cx,
        store: &mut LogStore,
        partitions: &mut Partitions,
        log: LogId,
    ) {
        self.opening.remove(&log);
        let (Some(partition), Some(view)) = (partitions.of_mut(log), store.view(log)) else {
            return;
        };
        if !view.online {
            partition.went_offline();
            return;
        }
        partition.opened(view.start, view.high_watermark, view.durable, view.end);
        partition.on_start_moved(view.durable_start);
        store.note_high_watermark(log, partition.high_watermark());
        if partition.leads() {
            store.begin_epoch(cx, log, partition.assignment().leader_epoch);
        }
    }
}

/// What the log store is told of the configuration.
#[must_use]
pub fn store_config(config: &Config) -> StoreConfig {
    let defaults = StoreConfig::default();
    let positive = |name: &str| u64::try_from(config.int(name)).unwrap_or(0);
    let own = |name: &str| u32::try_from(config.int(name)).unwrap_or(u32::MAX);
    let default_config = log::LogConfig::from(&LogConfig::resolve(config, &BTreeMap::new()));
    // Nothing may remove a record of the metadata log before a snapshot holds it.
    let metadata_config = log::LogConfig {
        segment_bytes: own("metadata.log.segment.bytes"),
        segment_ms: config.int("metadata.log.segment.ms"),
        retention_ms: -1,
        retention_bytes: -1,
        ..log::LogConfig::default()
    };
    StoreConfig {
        node_id: NodeId(config.node_id()),
        metadata_dir: config.metadata_log_dir(),
        metadata_config,
        default_config,
        producer_id_expiration_ms: config.int("producer.id.expiration.ms"),
        checkpoint_interval_ms: positive("log.flush.offset.checkpoint.interval.ms"),
        retention_check_interval_ms: positive("log.retention.check.interval.ms"),
        ..defaults
    }
}

/// Compaction is accepted as a policy and not done yet: whoever asks for it must not find out by a full disk.
fn kept_whole(cx: &mut Cx, topic: &Str) {
    let message = format!(
        "topic {topic} has cleanup.policy=compact, but this release compacts nothing: every record is kept, old values of a key too. Watch its size; with compact,delete its retention still holds"
    );
    cx.out.event(Event::Note {
        level: Level::Warn,
        message,
    });
}

/// A replica whose log directory is not here is not replaced by an empty one: it may come back.
fn lost(cx: &mut Cx, topic: &Str, index: PartitionIndex, place: &str) {
    let log = format!("{topic}-{index}");
    let message =
        format!("{log} {place}. Bring the directory back and restart, or delete the topic");
    cx.out.event(Event::PartitionOffline { log, message });
}

/// The properties of topics' logs: the broker's resolved once a piece, a topic's once for all its partitions in a row.
struct Properties<'a> {
    image: &'a Image,
    config: &'a Config,
    broker: Option<Config>,
    last: Option<(Str, log::LogConfig, u32)>,
}

impl<'a> Properties<'a> {
    fn new(config: &'a Config, image: &'a Image) -> Properties<'a> {
        Properties {
            image,
            config,
            broker: None,
            last: None,
        }
    }

    /// What a topic's logs are told, and its `min.insync.replicas`.
    fn of(&mut self, topic: &Str) -> (log::LogConfig, u32) {
        if let Some((name, properties, least)) = &self.last
            && name == topic
        {
            return (properties.clone(), *least);
        }
        let (image, config) = (self.image, self.config);
        let broker = self.broker.get_or_insert_with(|| {
            let cluster = image.config(&Resource::all_brokers());
            let own = image.config(&Resource::broker(config.node_id()));
            config.overlaid(&[cluster, own])
        });
        let resource = Resource::topic(topic.clone());
        let resolved = LogConfig::resolve(broker, image.config(&resource));
        let properties = log::LogConfig::from(&resolved);
        let least = resolved.min_insync_replicas;
        self.last = Some((topic.clone(), properties.clone(), least));
        (properties, least)
    }
}
