//! A stand-in until the quorum of the metadata log lands: nothing outlives the process.
#![allow(missing_docs, unused)]
use crate::ids::*;
use crate::io::*;
use crate::log::*;
use crate::metadata::features;
use crate::wire::batch::*;
use crate::wire::*;
use crate::work::ValidBatch;
use std::collections::{BTreeMap, VecDeque};
#[derive(Clone, Debug)]
pub enum QuorumEvent {
    Committed {
        last: Offset,
        epoch: LeaderEpoch,
        records: Vec<MetadataRecord>,
    },
    Leads {
        epoch: LeaderEpoch,
    },
    Fatal(String),
}
#[derive(Clone, Debug, Default)]
pub struct Quorum {
    log: Option<LogId>,
    events: VecDeque<QuorumEvent>,
    waiting: BTreeMap<Offset, Vec<MetadataRecord>>,
    committed: Offset,
    bootstrap: Vec<MetadataRecord>,
}
impl Quorum {
    pub fn new() -> Quorum {
        let f = FeatureLevelRecord {
            name: features::METADATA_VERSION.into(),
            feature_level: 29,
            ..Default::default()
        };
        Quorum {
            committed: Offset(-1),
            bootstrap: vec![MetadataRecord::FeatureLevel(f)],
            ..Default::default()
        }
    }
    pub fn start(&mut self, cx: &mut Cx, store: &mut LogStore, log: LogId) {
        self.log = Some(log);
        store.begin_epoch(cx, log, LeaderEpoch(1));
        self.events.push_back(QuorumEvent::Leads {
            epoch: LeaderEpoch(1),
        });
    }
    pub fn bootstrap(&self) -> &[MetadataRecord] {
        &self.bootstrap
    }
    pub fn kraft_version(&self) -> i16 {
        0
    }
    pub fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(1)
    }
    pub fn log(&self) -> Option<LogId> {
        self.log
    }
    pub fn next_offset(&self, store: &LogStore) -> Offset {
        self.log
            .and_then(|l| store.view(l))
            .map_or(Offset(0), |v| v.end)
    }
    pub fn committed(&self) -> Offset {
        self.committed
    }
    pub fn append(
        &mut self,
        cx: &mut Cx,
        store: &mut LogStore,
        records: &[(MetadataRecord, i16)],
    ) -> Offset {
        let recs: Vec<_> = records
            .iter()
            .map(|(r, v)| RecordToWrite {
                value: Some(r.encode_value(*v).unwrap()),
                ..Default::default()
            })
            .collect();
        let b = encode_batch(BatchOptions::default(), &recs);
        let a = store
            .append(
                cx,
                self.log.unwrap(),
                Append {
                    batch: ValidBatch::trusted(&b).unwrap(),
                    epoch: LeaderEpoch(1),
                    origin: Origin::Coordinator,
                },
            )
            .unwrap();
        self.waiting
            .insert(a.last, records.iter().map(|(r, _)| r.clone()).collect());
        a.last
    }
    pub fn on_notice(&mut self, cx: &mut Cx, store: &mut LogStore, n: &Notice) -> bool {
        match n {
            Notice::Durable(l, end) if Some(*l) == self.log => {
                while let Some((last, _)) = self.waiting.first_key_value() {
                    if *last >= *end {
                        break;
                    }
                    let (last, records) = self.waiting.pop_first().unwrap();
                    self.committed = last;
                    self.events.push_back(QuorumEvent::Committed {
                        last,
                        epoch: LeaderEpoch(1),
                        records,
                    });
                }
                true
            }
            Notice::Written(l, _) if Some(*l) == self.log => true,
            _ => false,
        }
    }
    pub fn next_event(&mut self) -> Option<QuorumEvent> {
        self.events.pop_front()
    }
}
