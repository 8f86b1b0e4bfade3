//! The bytes of one file: what a reader sees, what is durable, and the changes between the two.
//!
//! Sparse, by pages that the two sides share. Never decides what a cut leaves: it is told, sector by sector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that a disk writes at once: a cut leaves each sector at one moment of its history.
pub const SECTOR: u64 = 512;
/// Bytes that an operating system writes back at once.
pub const PAGE: u64 = 4096;

type Page = Arc<[u8; PAGE as usize]>;

/// Sparse bytes with a length; what was never written reads as zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse {
    length: u64,
    pages: BTreeMap<u64, Page>,
}

impl Sparse {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True if the length is 0.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Up to `wanted` bytes at `offset`; short at the end.
    pub fn read(&self, offset: u64, wanted: usize) -> Vec<u8> {
        let end = self.length.min(offset.saturating_add(wanted as u64));
        let mut out = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let (page, from) = (at / PAGE, (at % PAGE) as usize);
            let take = (end - at).min(PAGE - at % PAGE) as usize;
            match self.pages.get(&page) {
                Some(bytes) => out.extend_from_slice(&bytes[from..from + take]),
                None => out.resize(out.len() + take, 0),
            }
            at += take as u64;
        }
        out
    }

    /// Writes `bytes` at `offset`, growing the file where needed.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.put(offset, bytes);
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    /// Writes without growing.
    fn put(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let from = (at % PAGE) as usize;
            let take = bytes.len().min(PAGE as usize - from);
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[from..from + take].copy_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            at += take as u64;
        }
    }

    /// Cuts the file or extends it with zeros.
    pub fn resize(&mut self, length: u64) {
        if length < self.length {
            self.zero_from(length);
        }
        self.length = length;
    }

    fn zero_from(&mut self, from: u64) {
        let first = from.div_ceil(PAGE);
        self.pages.split_off(&first);
        if !from.is_multiple_of(PAGE)
            && let Some(page) = self.pages.get_mut(&(from / PAGE))
        {
            Arc::make_mut(page)[(from % PAGE) as usize..].fill(0);
        }
    }
}

/// One change that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize { length: u64 },
}

/// A file's bytes on both sides of the next sync.
#[derive(Clone, Debug, Default)]
pub struct Content {
    now: Sparse,
    durable: Sparse,
    pending: Vec<Change>,
}

impl Content {
    /// A file that is durable as it is.
    pub fn settled(bytes: Sparse) -> Content {
        Content {
            durable: bytes.clone(),
            now: bytes,
            pending: Vec::new(),
        }
    }

    /// What readers see.
    pub fn now(&self) -> &Sparse {
        &self.now
    }

    /// What is safe.
    pub fn durable(&self) -> &Sparse {
        &self.durable
    }

    /// Changes since the last sync.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// A volatile write.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.now.write(offset, bytes);
        self.pending.push(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }

    /// A volatile truncate or extension.
    pub fn resize(&mut self, length: u64) {
        self.now.resize(length);
        self.pending.push(Change::Resize { length });
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        let mut touched = BTreeSet::new();
        let mut shortest = self.durable.length;
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } if bytes.is_empty() => {
                    shortest = shortest.min(offset)
                }
                Change::Write { offset, bytes } => {
                    touched.extend(offset / PAGE..=(offset + bytes.len() as u64 - 1) / PAGE)
                }
                Change::Resize { length } => shortest = shortest.min(length),
            }
        }
        self.durable.zero_from(shortest);
        touched.insert(shortest / PAGE);
        for page in touched {
            match self.now.pages.get(&page) {
                Some(bytes) => drop(self.durable.pages.insert(page, bytes.clone())),
                None => drop(self.durable.pages.remove(&page)),
            }
        }
        self.durable.length = self.now.length;
    }

    /// What is left if everything up to the last truncate survives, and nothing from it on; without one everything.
    pub fn untruncated(&self) -> Sparse {
        let mut image = self.durable.clone();
        let mut length = image.len();
        let cuts = |change: &Change, length: u64| matches!(change, Change::Resize { length: to } if *to < length);
        let mut lengths = Vec::new();
        for change in &self.pending {
            lengths.push(cuts(change, length));
            length = match change {
                Change::Write { offset, bytes } => length.max(offset + bytes.len() as u64),
                Change::Resize { length } => *length,
            };
        }
        let last = lengths.iter().rposition(|cut| *cut);
        for change in &self.pending[..last.unwrap_or(self.pending.len())] {
            match change {
                Change::Write { offset, bytes } => image.write(*offset, bytes),
                Change::Resize { length } => image.resize(*length),
            }
        }
        image
    }

    /// What is left if of the changes that touch sector `s` the first `sector(s, n)` of all `n` survive, and of the `n` changes of
    /// the length the first `length(n)`.
    pub fn torn(
        &self,
        mut sector: impl FnMut(u64, usize) -> usize,
        length: impl FnOnce(usize) -> usize,
    ) -> Sparse {
        // How many changes touch each sector; a truncate touches every sector from its end to the longest the file has been.
        let mut longest = self.durable.length;
        let mut lengths = vec![longest];
        let mut current = longest;
        for change in &self.pending {
            current = match change {
                Change::Write { offset, bytes } => current.max(offset + bytes.len() as u64),
                Change::Resize { length } => *length,
            };
            longest = longest.max(current);
            if lengths.last() != Some(&current) {
                lengths.push(current);
            }
        }
        let touches = |change: &Change, longest: u64| match change {
            Change::Write { bytes, .. } if bytes.is_empty() => 0..0,
            Change::Write { offset, bytes } => {
                offset / SECTOR..(offset + bytes.len() as u64).div_ceil(SECTOR)
            }
            Change::Resize { length } => length / SECTOR..longest.div_ceil(SECTOR),
        };
        // Only written sectors and those that a truncate cuts hold bytes: holes of a long extension need no entry.
        let holds = |sparse: &Sparse, s: u64| sparse.pages.contains_key(&(s * SECTOR / PAGE));
        let written: BTreeSet<u64> = self
            .pending
            .iter()
            .filter(|c| matches!(c, Change::Write { .. }))
            .flat_map(|c| touches(c, longest))
            .collect();
        let mut left: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        let mut count = |s: u64| left.entry(s).or_insert((0, 0)).1 += 1;
        for change in &self.pending {
            match change {
                Change::Write { .. } => touches(change, longest).for_each(&mut count),
                Change::Resize { .. } => {
                    let range = touches(change, longest);
                    let durable = self
                        .durable
                        .pages
                        .keys()
                        .flat_map(|p| p * (PAGE / SECTOR)..(p + 1) * (PAGE / SECTOR));
                    let candidates: BTreeSet<u64> = durable
                        .chain(written.iter().copied())
                        .filter(|s| range.contains(s))
                        .collect();
                    candidates.into_iter().for_each(&mut count);
                }
            }
        }
        for (s, (keep, n)) in &mut left {
            *keep = sector(*s, *n).min(*n);
        }
        let mut image = self.durable.clone();
        let mut applied: BTreeMap<u64, usize> = BTreeMap::new();
        let mut survives = |s: u64| {
            let nth = applied.entry(s).or_insert(0);
            *nth += 1;
            left.get(&s).is_some_and(|(keep, _)| *nth <= *keep)
        };
        for change in &self.pending {
            match change {
                Change::Write { offset, bytes } => {
                    for s in touches(change, longest) {
                        if survives(s) {
                            let from = (s * SECTOR).max(*offset);
                            let to = ((s + 1) * SECTOR).min(offset + bytes.len() as u64);
                            image.put(
                                from,
                                &bytes[(from - offset) as usize..(to - offset) as usize],
                            );
                        }
                    }
                }
                Change::Resize { length } => {
                    let range = touches(change, longest);
                    let cut: Vec<u64> = left.range(range).map(|(s, _)| *s).collect();
                    for s in cut {
                        if survives(s) && holds(&image, s) {
                            let from = (s * SECTOR).max(*length);
                            image.put(from, &vec![0; ((s + 1) * SECTOR - from) as usize]);
                        }
                    }
                }
            }
        }
        let end = lengths[length(lengths.len() - 1).min(lengths.len() - 1)];
        image.zero_from(end);
        image.length = end;
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, bytes);
        content.sync();
        content
    }

    #[test]
    fn sparse_reads_what_was_written_and_zeros_elsewhere() {
        let mut s = Sparse::default();
        s.write(5000, b"abc");
        assert_eq!(s.len(), 5003);
        assert_eq!(s.read(4998, 10), b"\0\0abc");
        s.resize(5001);
        s.resize(5003);
        assert_eq!(
            s.read(5000, 3),
            b"a\0\0",
            "what a truncate cut does not come back"
        );
        assert_eq!(s.read(6000, 3), b"");
    }

    #[test]
    fn a_sync_makes_durable_what_readers_see() {
        let mut c = Content::default();
        c.write(0, &[1; 9000]);
        assert!(c.durable().is_empty());
        c.sync();
        assert_eq!(c.durable(), c.now());
        c.resize(100);
        c.write(6000, b"x");
        assert_eq!(c.durable().len(), 9000);
        c.sync();
        assert_eq!(c.durable().read(0, 10_000), c.now().read(0, 10_000));
        assert_eq!(c.durable().read(99, 2), [1, 0]);
        assert_eq!(c.pending(), 0);
    }

    #[test]
    fn random_syncs_equal_a_plain_copy() {
        let mut state = 7u64;
        let mut draw = |n: u64| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let mut c = Content::default();
        let mut model: Vec<u8> = Vec::new();
        for _ in 0..3000 {
            match draw(10) {
                0 => {
                    let length = draw(20_000);
                    c.resize(length);
                    model.resize(length as usize, 0);
                }
                1 => {
                    c.sync();
                    assert_eq!(c.durable().read(0, 40_000), model);
                }
                _ => {
                    let (at, n, byte) = (draw(18_000), draw(3000), draw(256) as u8);
                    c.write(at, &vec![byte; n as usize]);
                    let end = (at + n) as usize;
                    if model.len() < end {
                        model.resize(end, 0);
                    }
                    model[at as usize..end].fill(byte);
                }
            }
            assert_eq!(c.now().read(0, 40_000), model);
            assert_eq!(
                c.torn(|_, n| n, |n| n).read(0, 40_000),
                model,
                "everything kept is what readers saw"
            );
            assert_eq!(c.torn(|_, _| 0, |_| 0), c.torn(|_, _| 0, |_| 0));
            assert_eq!(
                c.torn(|_, _| 0, |_| 0).read(0, 40_000),
                c.durable().read(0, 40_000),
                "nothing kept is what was durable"
            );
        }
    }

    #[test]
    fn sectors_tear_apart_but_none_in_itself() {
        let mut c = synced(&[1; 2048]);
        c.write(0, &[2; 2048]);
        let image = c.torn(|s, n| if s == 2 { n } else { 0 }, |n| n);
        assert_eq!(image.read(0, 1024), [1; 1024]);
        assert_eq!(image.read(1024, 512), [2; 512]);
        assert_eq!(image.read(1536, 512), [1; 512]);
    }

    #[test]
    fn a_sector_keeps_a_prefix_of_its_own_history() {
        let mut c = Content::default();
        c.write(0, b"aaaa");
        c.write(4, b"bbbb");
        c.write(0, b"cc");
        assert_eq!(
            c.torn(|_, _| 0, |n| n).read(0, 8),
            [0; 8],
            "a length without its bytes reads as zeros"
        );
        assert_eq!(c.torn(|_, _| 2, |n| n).read(0, 8), b"aaaabbbb");
        assert_eq!(c.torn(|_, _| 3, |n| n).read(0, 8), b"ccaabbbb");
        assert_eq!(
            c.torn(|_, _| 3, |_| 1).read(0, 8),
            b"ccaa",
            "bytes without their length are gone"
        );
        assert_eq!(c.torn(|_, _| 3, |_| 0).len(), 0);
    }

    #[test]
    fn a_lost_truncate_brings_the_old_tail_back() {
        let mut c = synced(&[7; 3000]);
        c.resize(1000);
        assert_eq!(c.torn(|_, _| 0, |_| 0).read(0, 4000), vec![7; 3000]);
        assert_eq!(c.torn(|_, n| n, |n| n).read(0, 4000), vec![7; 1000]);
        c.write(1000, &[8; 20]);
        let kept_write_only = c.torn(|s, n| if s == 1 { n } else { 0 }, |_| 0);
        assert_eq!(kept_write_only.len(), 3000);
        assert_eq!(
            kept_write_only.read(1000, 24),
            [[8; 20].as_slice(), &[0; 4]].concat(),
            "a sector that was written after the truncate has its zeros"
        );
        assert_eq!(kept_write_only.read(1024, 1976), [7; 1976]);
    }
}
