//! What cold reads leave in memory: checked blocks and the indexes of rolled segments, within one budget of bytes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::ids::{LogId, Offset};
use crate::wire::Parts;

use super::index::SegmentIndex;
use super::notice::{Read, ReadId, Records};
use super::read::ColdRead;
use super::rebuild::Rebuild;

/// Cold reads under way, and what they left in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cold {
    pub(super) reads: BTreeMap<ReadId, ColdRead>,
    /// Indexes of rolled segments that are being made anew.
    pub(super) rebuilds: BTreeMap<(LogId, Offset), Rebuild>,
    /// Oldest first.
    pub(super) blocks: VecDeque<Block>,
    pub(super) indexes: VecDeque<CachedIndex>,
    pub(super) bytes: u64,
    /// Segments whose files were opened for reading, oldest first.
    pub(super) open: VecDeque<(LogId, Offset)>,
}

/// A checked stretch of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) log: LogId,
    pub(super) segment: Offset,
    pub(super) data: Bytes,
    pub(super) batches: Vec<BlockBatch>,
    /// No record of the log lies between this offset and the first batch (compaction leaves gaps).
    pub(super) from: Offset,
    /// Where the next block begins.
    pub(super) next_position: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockBatch {
    pub(super) at: u32,
    pub(super) len: u32,
    pub(super) base: Offset,
    pub(super) last: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedIndex {
    pub(super) log: LogId,
    pub(super) segment: Offset,
    pub(super) index: SegmentIndex,
}

/// Picks batches in order until a limit is reached.
pub(super) struct Picker {
    pub(super) read: Read,
    pub(super) records: Records,
    pub(super) full: bool,
}

impl Picker {
    pub(super) fn new(read: Read) -> Picker {
        let records = Records {
            parts: Parts::new(),
            first: read.from,
            next: read.from,
        };
        Picker {
            read,
            records,
            full: false,
        }
    }

    /// Takes a batch unless it does not fit; false: no further one.
    pub(super) fn take(
        &mut self,
        base: Offset,
        last: Offset,
        len: usize,
        bytes: impl FnOnce() -> Parts,
    ) -> bool {
        let first = self.records.parts.is_empty();
        let fits = self.records.parts.len() + len <= self.read.max_bytes as usize
            || (first && self.read.at_least_one);
        if last >= self.read.below || !fits {
            self.full = true;
            return false;
        }
        if first {
            self.records.first = base;
        }
        self.records.parts.append(bytes());
        self.records.next = last.next();
        true
    }
}

impl Cold {
    /// Reads from the blocks in memory.
    pub(super) fn read(&self, log: LogId, read: Read) -> Option<Records> {
        let holds = |block: &&Block| {
            block.log == log
                && block.from <= read.from
                && block.batches.last().is_some_and(|b| b.last >= read.from)
        };
        let block = self.blocks.iter().rev().find(holds)?;
        let at = block
            .batches
            .partition_point(|batch| batch.last < read.from);
        let mut picker = Picker::new(read);
        let first = block.batches.get(at)?;
        let mut end = first.at as usize;
        let begin = end;
        for batch in &block.batches[at..] {
            if !picker.take(batch.base, batch.last, batch.len as usize, || {
                // Neighbours are one slice: taken together below.
                Parts::from(
                    block
                        .data
                        .slice(batch.at as usize..(batch.at + batch.len) as usize),
                )
            }) {
                break;
            }
            end = (batch.at + batch.len) as usize;
        }
        if end > begin {
            picker.records.parts = Parts::from(block.data.slice(begin..end));
        }
        Some(picker.records)
    }

    /// The position behind a block that ends right before `from`.
    pub(super) fn position_after(&self, log: LogId, segment: Offset, from: Offset) -> Option<u64> {
        self.blocks
            .iter()
            .rev()
            .find(|block| {
                block.log == log
                    && block.segment == segment
                    && block.batches.last().is_some_and(|b| b.last.next() == from)
            })
            .map(|block| block.next_position)
    }

    pub(super) fn index(&self, log: LogId, segment: Offset) -> Option<&SegmentIndex> {
        self.indexes
            .iter()
            .rev()
            .find(|cached| cached.log == log && cached.segment == segment)
            .map(|cached| &cached.index)
    }

    pub(super) fn keep_index(
        &mut self,
        log: LogId,
        segment: Offset,
        index: SegmentIndex,
        budget: u64,
    ) {
        self.bytes += index.memory();
        self.indexes.push_back(CachedIndex {
            log,
            segment,
            index,
        });
        self.trim(budget);
    }

    pub(super) fn keep_block(&mut self, block: Block, budget: u64) {
        self.bytes += block.data.len() as u64;
        self.blocks.push_back(block);
        self.trim(budget);
    }

    /// Drops the oldest beyond the budget, never the newest of each.
    fn trim(&mut self, budget: u64) {
        while self.bytes > budget {
            if self.blocks.len() > 1 {
                if let Some(block) = self.blocks.pop_front() {
                    self.bytes -= block.data.len() as u64;
                }
            } else if self.indexes.len() > 1 {
                if let Some(cached) = self.indexes.pop_front() {
                    self.bytes -= cached.index.memory();
                }
            } else {
                return;
            }
        }
    }

    pub(super) fn forget(&mut self, log: LogId) {
        self.forget_where(|of, _| of == log);
    }

    pub(super) fn forget_all(&mut self) {
        self.forget_where(|_, _| true);
    }

    pub(super) fn forget_segment(&mut self, log: LogId, segment: Offset) {
        self.forget_where(|of, at| of == log && at == segment);
    }

    fn forget_where(&mut self, goes: impl Fn(LogId, Offset) -> bool) {
        self.blocks.retain(|block| !goes(block.log, block.segment));
        self.indexes
            .retain(|cached| !goes(cached.log, cached.segment));
        self.open.retain(|&(log, segment)| !goes(log, segment));
        let blocks: u64 = self.blocks.iter().map(|b| b.data.len() as u64).sum();
        let indexes: u64 = self.indexes.iter().map(|i| i.index.memory()).sum();
        self.bytes = blocks + indexes;
    }
}
