//! A stand-in in memory until the store of files lands: everything is durable at once.
#![allow(missing_docs, unused)]
use super::*;
use crate::ids::*;
use crate::io::*;
use crate::time::*;
use crate::wire::Parts;
use crate::wire::batch;
use crate::work::Facts;
use bytes::Bytes;
use std::collections::VecDeque;
#[derive(Clone, Debug)]
struct L {
    topic: String,
    id: Uuid,
    p: PartitionIndex,
    config: LogConfig,
    batches: Vec<(Offset, Offset, Parts, i64)>,
    start: Offset,
    end: Offset,
    epochs: Vec<(LeaderEpoch, Offset)>,
    alive: bool,
}
#[derive(Clone, Debug)]
pub struct LogStore {
    logs: Vec<L>,
    notices: VecDeque<Notice>,
    reads: u64,
}
impl LogStore {
    pub fn new(c: StoreConfig, b: &Boot) -> LogStore {
        LogStore {
            logs: Vec::new(),
            notices: VecDeque::new(),
            reads: 0,
        }
    }
    pub fn start(&mut self, cx: &mut Cx) {
        let l = self.create(
            cx,
            NewLog {
                topic: "__cluster_metadata".into(),
                topic_id: Uuid::METADATA_TOPIC,
                partition: PartitionIndex(0),
                config: LogConfig::default(),
                dir: None,
            },
        );
        self.notices.clear();
        self.notices.push_back(Notice::MetadataLogOpened(l));
        self.notices.push_back(Notice::AllOpened);
    }
    pub fn on_disk(&mut self, cx: &mut Cx, t: Token, r: Result<DiskDone, DiskError>) {}
    pub fn on_worked(&mut self, cx: &mut Cx, t: Token, f: Facts) {}
    pub fn on_wakeup(&mut self, cx: &mut Cx) {}
    pub fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        None
    }
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
    pub fn shutdown(&mut self, cx: &mut Cx, e: i64) {
        self.notices.push_back(Notice::Stopped)
    }
    pub fn create(&mut self, cx: &mut Cx, n: NewLog) -> LogId {
        let id = LogId(self.logs.len() as u32);
        self.logs.push(L {
            topic: n.topic,
            id: n.topic_id,
            p: n.partition,
            config: n.config,
            batches: vec![],
            start: Offset(0),
            end: Offset(0),
            epochs: vec![],
            alive: true,
        });
        self.notices.push_back(Notice::Opened(id));
        id
    }
    pub fn delete(&mut self, cx: &mut Cx, l: LogId) {
        self.logs[l.0 as usize].alive = false;
        self.notices.push_back(Notice::Deleted(l));
    }
    pub fn configure(&mut self, l: LogId, c: LogConfig) {
        self.logs[l.0 as usize].config = c
    }
    pub fn find(&self, t: Uuid, p: PartitionIndex) -> Option<LogId> {
        self.logs
            .iter()
            .position(|l| l.alive && l.id == t && l.p == p)
            .map(|i| LogId(i as u32))
    }
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        (0..self.logs.len())
            .filter(|i| self.logs[*i].alive)
            .map(|i| LogId(i as u32))
            .collect::<Vec<_>>()
            .into_iter()
    }
    pub fn view(&self, l: LogId) -> Option<LogView<'_>> {
        let g = self.logs.get(l.0 as usize).filter(|g| g.alive)?;
        Some(LogView {
            topic: &g.topic,
            topic_id: g.id,
            partition: g.p,
            dir: 0,
            config: &g.config,
            start: g.start,
            end: g.end,
            written: g.end,
            durable: g.end,
            high_watermark: g.start,
            last_epoch: g.epochs.last().map_or(LeaderEpoch(-1), |e| e.0),
            size_bytes: 0,
            segments: 1,
            producers: 0,
            online: true,
            offline: None,
        })
    }
    pub fn append(&mut self, cx: &mut Cx, l: LogId, a: Append) -> Result<Appended, AppendError> {
        let g = &mut self.logs[l.0 as usize];
        let base = g.end;
        let last = Offset(base.0 + i64::from(a.batch.header.last_offset_delta));
        let h = &a.batch.header;
        let mut p = Parts::new();
        p.push(Bytes::copy_from_slice(&batch::prefix(
            base,
            (h.size() - 12) as i32,
            a.epoch,
        )));
        p.push(a.batch.body.clone());
        g.batches.push((base, last, p, h.max_timestamp));
        g.end = last.next();
        if g.epochs.last().is_none_or(|e| e.0 < a.epoch) {
            g.epochs.push((a.epoch, base));
        }
        self.notices.push_back(Notice::Written(l, last.next()));
        self.notices.push_back(Notice::Durable(l, last.next()));
        Ok(Appended {
            base,
            last,
            log_append_time: a.batch.log_append_time,
            lsn: Lsn(0),
            duplicate: false,
        })
    }
    pub fn read(&mut self, cx: &mut Cx, l: LogId, r: Read) -> Result<ReadOutcome, ReadError> {
        let g = &self.logs[l.0 as usize];
        if r.from < g.start || r.from > g.end {
            return Err(ReadError::OutOfRange {
                start: g.start,
                end: g.end,
            });
        }
        let mut rec = Records {
            parts: Parts::new(),
            first: r.from,
            next: r.from,
        };
        for (b, e, p, _) in &g.batches {
            if *e < r.from || *e >= r.below {
                continue;
            }
            let fits = rec.parts.len() + p.len() <= r.max_bytes as usize;
            if !fits && !(rec.parts.is_empty() && r.at_least_one) {
                break;
            }
            rec.parts.append(p.clone());
            rec.next = e.next();
        }
        Ok(ReadOutcome::Ready(rec))
    }
    pub fn lookup_timestamp(
        &mut self,
        cx: &mut Cx,
        l: LogId,
        r: TimestampQuery,
    ) -> Result<LookupOutcome, ReadError> {
        Ok(LookupOutcome::Ready(None))
    }
    pub fn begin_epoch(&mut self, cx: &mut Cx, l: LogId, e: LeaderEpoch) {
        let g = &mut self.logs[l.0 as usize];
        g.epochs.push((e, g.end));
    }
    pub fn epoch_end_offset(&self, l: LogId, e: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let g = &self.logs[l.0 as usize];
        if g.epochs.last().is_some_and(|x| x.0 == e) {
            (e, g.end)
        } else {
            (LeaderEpoch(-1), Offset(-1))
        }
    }
    pub fn epoch_at(&self, l: LogId, o: Offset) -> LeaderEpoch {
        LeaderEpoch(0)
    }
    pub fn note_high_watermark(&mut self, l: LogId, o: Offset) {}
    pub fn delete_records(&mut self, cx: &mut Cx, l: LogId, o: Offset) -> Result<(), ReadError> {
        self.logs[l.0 as usize].start = o;
        self.notices.push_back(Notice::StartMoved(l, o));
        Ok(())
    }
    pub fn read_file(&mut self, cx: &mut Cx, l: LogId, n: Name) -> ReadId {
        self.reads += 1;
        self.notices
            .push_back(Notice::FileRead(ReadId(self.reads), Ok(None)));
        ReadId(self.reads)
    }
    pub fn read_root_file(&mut self, cx: &mut Cx, dir: usize, n: Name) -> ReadId {
        self.read_file(cx, LogId(0), n)
    }
    pub fn replace_file(&mut self, cx: &mut Cx, l: LogId, n: Name, b: Bytes) -> ReadId {
        self.reads += 1;
        self.notices
            .push_back(Notice::FileReplaced(ReadId(self.reads), Ok(())));
        ReadId(self.reads)
    }
    pub fn directory_id(&self, i: usize) -> Option<Uuid> {
        (i == 0).then_some(Uuid([9; 16]))
    }
    pub fn cluster_id(&self) -> Option<&str> {
        Some("cluster")
    }
}
