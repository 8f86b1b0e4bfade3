//! The durable frontier: a file of ours in a log directory that says how far each log was synced.
//!
//! Before each sync round its record is written, and the round syncs it together with the data: the round's place on the
//! directory's clock, the place that was known to be durable by then, and for each log that it touches its end, epoch
//! and the CRC of its last batch. After a crash, what a record at or below the greatest *known* durable place names was
//! promised: damage below it is rot. Damage above it is a torn tail. Removed at a clean stop.
//!
//! A file: header (magic, version, life, number, boot id, CRC), then records (length, CRC, body), all big-endian.
//! A node's lives are told apart, since the clock begins anew in each.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use crate::ids::{LeaderEpoch, Lsn, Offset, PartitionIndex, Uuid};
use crate::wire::batch::crc32c;

const MAGIC: [u8; 4] = *b"TLFR";
const VERSION: u16 = 1;
const NAME_PREFIX: &str = "trialog-frontier-";
/// Bytes of a file's header.
pub(super) const HEADER_LEN: usize = 4 + 2 + 8 + 8 + 16 + 4;
const RECORD_HEAD: usize = 8;
const RECORD_BODY: usize = 20;
const ENTRY: usize = 36;

/// Which log.
pub(super) type LogKey = (Uuid, PartitionIndex);

/// One log in a record: it was written up to `end` when the round began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) end: Offset,
    pub(super) epoch: LeaderEpoch,
    /// CRC of the last batch before `end`.
    pub(super) crc: u32,
}

/// One sync round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The round's place: it strictly grows from round to round.
    pub(super) lsn: Lsn,
    /// The place of the last round that was over when this one began.
    pub(super) durable: Lsn,
    pub(super) logs: Vec<(LogKey, Mark)>,
}

/// The name of file number `number`.
pub(super) fn name(number: u64) -> String {
    format!("{NAME_PREFIX}{number:020}")
}

/// The number in a file's name; `None` if it is no frontier file.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix(NAME_PREFIX)?.parse().ok()
}

/// The header of file `number` of a node's `life`.
pub(super) fn encode_header(life: u64, number: u64, boot_id: [u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&life.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&boot_id);
    out.extend_from_slice(&crc32c(&out).to_be_bytes());
    out
}

/// One record.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let body_len = RECORD_BODY + record.logs.len() * ENTRY;
    let mut out = Vec::with_capacity(RECORD_HEAD + body_len);
    out.extend_from_slice(&u32::try_from(body_len).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record.lsn.0.to_be_bytes());
    out.extend_from_slice(&record.durable.0.to_be_bytes());
    let count = u32::try_from(record.logs.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for ((topic, partition), mark) in &record.logs {
        out.extend_from_slice(&topic.0);
        out.extend_from_slice(&partition.0.to_be_bytes());
        out.extend_from_slice(&mark.end.0.to_be_bytes());
        out.extend_from_slice(&mark.epoch.0.to_be_bytes());
        out.extend_from_slice(&mark.crc.to_be_bytes());
    }
    let crc = crc32c(&out[RECORD_HEAD..]);
    out[4..8].copy_from_slice(&crc.to_be_bytes());
    out
}

/// A file whose records are still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    life: u64,
    number: u64,
    records: Bytes,
}

/// Reads a file's header; `None` if it is damaged or of another version.
pub(super) fn decode(mut file: Bytes) -> Option<File> {
    if file.len() < HEADER_LEN || file[..4] != MAGIC {
        return None;
    }
    let crc = crc32c(&file[..HEADER_LEN - 4]);
    file.advance(4);
    if file.get_u16() != VERSION {
        return None;
    }
    let (life, number) = (file.get_u64(), file.get_u64());
    file.advance(16);
    if file.get_u32() != crc {
        return None;
    }
    Some(File {
        life,
        number,
        records: file,
    })
}

fn decode_record(file: &mut Bytes) -> Option<Record> {
    if file.len() < RECORD_HEAD {
        return None;
    }
    let len = file.get_u32() as usize;
    let crc = file.get_u32();
    if len < RECORD_BODY || len > file.len() || crc32c(&file[..len]) != crc {
        return None;
    }
    let mut body = file.split_to(len);
    let (lsn, durable) = (Lsn(body.get_u64()), Lsn(body.get_u64()));
    let count = body.get_u32() as usize;
    if body.len() != count.checked_mul(ENTRY)? {
        return None;
    }
    let logs = (0..count)
        .map(|_| {
            let mut topic = [0; 16];
            body.copy_to_slice(&mut topic);
            let partition = PartitionIndex(body.get_i32());
            let mark = Mark {
                end: Offset(body.get_i64()),
                epoch: LeaderEpoch(body.get_i32()),
                crc: body.get_u32(),
            };
            ((Uuid(topic), partition), mark)
        })
        .collect();
    Some(Record { lsn, durable, logs })
}

/// Finds the last mark of each log that all files of a directory prove to be durable, in pieces: once over every record for what was
/// durable in each life, and once more for the marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prover {
    /// By life and number.
    files: Vec<File>,
    durable: BTreeMap<u64, Lsn>,
    /// It goes over them for the marks.
    again: bool,
    /// The file under way, and what is left of it.
    at: usize,
    left: Bytes,
    marks: BTreeMap<LogKey, Mark>,
}

impl Prover {
    /// Begins with all `files` of a directory.
    pub(super) fn new(mut files: Vec<File>) -> Prover {
        files.sort_by_key(|file| (file.life, file.number));
        let first = files.first();
        Prover {
            left: first.map_or_else(Bytes::new, |file| file.records.clone()),
            files,
            durable: BTreeMap::new(),
            again: false,
            at: 0,
            marks: BTreeMap::new(),
        }
    }

    /// Goes over the next records, of `most` logs or a few more. What is proven, when it is all known.
    pub(super) fn go_on(&mut self, most: usize) -> Option<BTreeMap<LogKey, Mark>> {
        let mut looked_at = 0;
        while let Some(file) = self.files.get(self.at) {
            if looked_at >= most {
                return None;
            }
            let known = self.durable.entry(file.life).or_default();
            // A damaged or torn record ends a file.
            if let Some(record) = decode_record(&mut self.left) {
                looked_at += 1 + record.logs.len();
                if !self.again {
                    *known = (*known).max(record.durable);
                } else if record.lsn <= *known {
                    self.marks.extend(record.logs);
                }
                continue;
            }
            self.at += 1;
            if self.at == self.files.len() && !self.again {
                self.again = true;
                self.at = 0;
            }
            let next = self.files.get(self.at);
            self.left = next.map_or_else(Bytes::new, |file| file.records.clone());
        }
        Some(std::mem::take(&mut self.marks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lsn: u64, durable: u64, end: i64) -> Record {
        let mark = Mark {
            end: Offset(end),
            epoch: LeaderEpoch(3),
            crc: 9,
        };
        Record {
            lsn: Lsn(lsn),
            durable: Lsn(durable),
            logs: vec![((Uuid([1; 16]), PartitionIndex(0)), mark)],
        }
    }

    fn file(life: u64, number: u64, records: &[Record]) -> Vec<u8> {
        let mut bytes = encode_header(life, number, [7; 16]);
        records.iter().for_each(|r| bytes.extend(encode(r)));
        bytes
    }

    fn proven_end(files: &[Vec<u8>]) -> Option<i64> {
        let files = files.iter().filter_map(|f| decode(f.clone().into()));
        let mut prover = Prover::new(files.collect());
        let at_once = prover.clone().go_on(usize::MAX);
        let proven = (0..100).find_map(|_| prover.go_on(1));
        assert_eq!(proven, at_once);
        proven?.values().next().map(|mark| mark.end.0)
    }

    #[test]
    fn only_what_a_later_record_calls_durable_is_proven() {
        let one = file(1, 1, &[record(5, 0, 50)]);
        assert_eq!(proven_end(std::slice::from_ref(&one)), None);
        let two = file(1, 1, &[record(5, 0, 50), record(8, 5, 80)]);
        assert_eq!(proven_end(std::slice::from_ref(&two)), Some(50));
        let rotated = file(1, 2, &[record(9, 8, 90)]);
        assert_eq!(proven_end(&[two.clone(), rotated]), Some(80));
        // A later life begins its clock anew and proves nothing about the earlier one.
        let later = file(2, 3, &[record(1, 0, 100), record(2, 1, 110)]);
        assert_eq!(proven_end(&[one, later]), Some(100));
    }

    #[test]
    fn a_torn_record_ends_the_file() {
        let whole = file(
            1,
            1,
            &[record(5, 0, 50), record(8, 5, 80), record(9, 8, 90)],
        );
        assert_eq!(proven_end(std::slice::from_ref(&whole)), Some(80));
        for cut in HEADER_LEN..whole.len() {
            assert!(
                proven_end(&[whole[..cut].to_vec()]) < Some(80),
                "cut at {cut}"
            );
        }
        let mut bad = whole.clone();
        bad[HEADER_LEN - 1] ^= 1;
        assert_eq!(decode(bad.into()), None);
        assert_eq!(number(&name(17)), Some(17));
        assert_eq!(number("trialog-frontier-x"), None);
    }
}
