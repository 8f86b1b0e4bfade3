//! Writes that went to the wrong place.
//!
//! A batch does not tell whose log it is in: where a whole one comes to lie where another began, nobody could see it. What is not to be
//! seen is not done.

use std::ops::Range;

use trialog_core::wire::batch::{BatchHeader, checksum};

use super::{Disk, Inode, Place, SECTOR};

impl Disk {
    /// What once was written to the sector of `from` had gone to that of `to`: the one holds zeros, the other what it never was
    /// to hold. False if that would not show, and nothing is done.
    pub fn misdirect(&mut self, from: &Place<'_>, to: &Place<'_>) -> bool {
        let content = |place: &Place<'_>| self.content(place.root, &[place.dir], place.name);
        let (Some(source), Some(target)) = (content(from), content(to)) else {
            return false;
        };
        let (source_at, target_at) = (sector(from.at, source.len()), sector(to.at, target.len()));
        let moved = source[source_at.clone()].to_vec();
        if is_unseen(&moved, target, &target_at) {
            return false;
        }
        self.overwrite(from, source_at, &vec![0; moved.len()]);
        self.overwrite(to, target_at, &moved);
        true
    }

    /// Puts `bytes` into a range of a file, as far as it goes.
    fn overwrite(&mut self, place: &Place<'_>, range: Range<usize>, bytes: &[u8]) {
        let inode = self.inode(place.root, &[place.dir], place.name);
        if let Some(Inode::File(file)) = inode.and_then(|inode| self.inodes.get_mut(&inode)) {
            for content in [&mut file.cache, &mut file.durable] {
                for (old, new) in content[range.clone()].iter_mut().zip(bytes) {
                    *old = *new;
                }
            }
        }
    }
}

fn sector(at: usize, len: usize) -> Range<usize> {
    let begin = at - at % SECTOR as usize;
    begin..(begin + SECTOR as usize).min(len)
}

/// Would one of the batches that begin in the sector `at` of `target` give way to a whole other one?
fn is_unseen(moved: &[u8], target: &[u8], at: &Range<usize>) -> bool {
    let mut begin = 0;
    while begin < at.end {
        let Ok(batch) = BatchHeader::decode(&target[begin..]) else {
            return false;
        };
        if begin >= at.start && is_batch(moved.get(begin - at.start..).unwrap_or_default()) {
            return true;
        }
        begin += batch.size();
    }
    false
}

fn is_batch(bytes: &[u8]) -> bool {
    BatchHeader::decode(bytes).is_ok_and(|header| {
        let batch = bytes.get(..header.size());
        batch.is_some_and(|batch| checksum(batch) == header.crc)
    })
}

#[cfg(test)]
mod tests {
    use trialog_core::wire::batch::{BatchOptions, RecordToWrite, encode_batch};

    use super::*;

    #[test]
    fn a_whole_batch_where_another_begins_is_not_seen() {
        let batch = encode_batch(BatchOptions::default(), &[RecordToWrite::default()]);
        let log = [&batch[..], &batch[..]].concat();
        let whole = sector(0, log.len());
        assert!(is_unseen(&log, &log, &whole));
        assert!(is_unseen(&batch, &log, &whole));
        assert!(!is_unseen(&log[1..], &log, &whole), "at another place");
        let half = &batch[..batch.len() - 1];
        assert!(!is_unseen(half, &log, &whole), "not whole");
        let second = batch.len()..log.len();
        assert!(is_unseen(&batch, &log, &second));
        assert!(!is_unseen(&[0; 100], &log, &whole));
    }
}
