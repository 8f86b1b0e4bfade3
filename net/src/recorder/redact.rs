//! What a recording leaves out: clients' records, after the header of each batch.
//!
//! A pure function of what passes the boundary: blanking what is blank changes nothing, so a node that lives again on
//! blanked inputs asks for effects with the same outline. What the node's own topics hold stays whole: the core reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use trialog_core::ids::{DirId, FileId};
use trialog_core::io::{DiskDone, DiskOp, Effect, Input, Token};
use trialog_core::wire::batch::{HEADER_LEN, LOG_OVERHEAD, MAGIC, PREFIX_LEN};
use trialog_core::wire::{ApiKey, Message, ProduceRequest, Reader, RequestHeader};
use trialog_core::work::Facts;

/// Knows which files hold clients' records.
#[derive(Clone, Debug)]
pub struct Redactor {
    keep_all: bool,
    /// Directories of clients' partitions.
    dirs: BTreeSet<DirId>,
    /// Their segments.
    files: BTreeSet<FileId>,
    /// Reads of them in flight.
    reads: BTreeMap<Token, FileId>,
}

impl Redactor {
    /// Blanks out clients' records, or nothing.
    #[must_use]
    pub fn new(keep_all: bool) -> Redactor {
        Redactor {
            keep_all,
            dirs: BTreeSet::new(),
            files: BTreeSet::new(),
            reads: BTreeMap::new(),
        }
    }

    /// The ranges to blank of the only [`Bytes`] that an input carries.
    pub fn input(&mut self, input: &Input) -> Vec<Range<usize>> {
        let mut blank = Vec::new();
        match input {
            Input::Frame { frame, .. } if !self.keep_all => blank_produce(frame, &mut blank),
            Input::Disk { token, result } => {
                let of_client = self.reads.remove(token).is_some();
                if let (true, Ok(DiskDone::Read(bytes))) = (of_client && !self.keep_all, result) {
                    Walk::of_segment().piece(bytes, 0, &mut blank);
                }
            }
            Input::Worked {
                facts: Facts::Validated(Ok(batch)),
                ..
            } if !self.keep_all => {
                let from = (HEADER_LEN - PREFIX_LEN).min(batch.body.len());
                push(&mut blank, from..batch.body.len());
            }
            Input::Start
            | Input::Opened { .. }
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Frame { .. }
            | Input::Sent { .. }
            | Input::Closed { .. }
            | Input::Worked { .. }
            | Input::Wakeup
            | Input::Shutdown => {}
        }
        blank
    }

    /// Learns from an effect which files hold clients' records.
    pub fn follow(&mut self, effect: &Effect) {
        let Effect::Disk { token, op } = effect else {
            return;
        };
        match op {
            DiskOp::MakeDir { name, dir, .. } | DiskOp::OpenDir { name, dir, .. } => {
                if is_client_partition(name.as_str()) {
                    self.dirs.insert(*dir);
                }
            }
            DiskOp::Create { dir, name, file } | DiskOp::Open { dir, name, file } => {
                if self.dirs.contains(dir) && name.as_str().contains(".log") {
                    self.files.insert(*file);
                }
            }
            DiskOp::CloseDir { dir } => drop(self.dirs.remove(dir)),
            DiskOp::Close { file } => drop(self.files.remove(file)),
            DiskOp::Read { file, .. } => {
                if self.files.contains(file) {
                    self.reads.insert(*token, *file);
                }
            }
            DiskOp::RemoveDir { .. }
            | DiskOp::List { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Unlink { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::Write { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Allocate { .. }
            | DiskOp::Sync { .. } => {}
        }
    }

    /// Must what is written to `file` be blanked?
    #[must_use]
    pub fn holds_records(&self, file: FileId) -> bool {
        !self.keep_all && self.files.contains(&file)
    }

    /// Is anything blanked at all?
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.keep_all
    }
}

/// `topic-0` and its like, but for the topics that the node itself writes.
fn is_client_partition(name: &str) -> bool {
    let is_partition = name
        .rsplit_once('-')
        .is_some_and(|(topic, rest)| !topic.is_empty() && !rest.is_empty());
    is_partition && !name.starts_with("__")
}

fn push(blank: &mut Vec<Range<usize>>, range: Range<usize>) {
    match blank.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => blank.push(range),
    }
}

/// The records of a Produce request; a frame that is none, or cannot be read, stays as it is.
fn blank_produce(frame: &Bytes, blank: &mut Vec<Range<usize>>) {
    let mut reader = Reader::new(frame.clone());
    let request = match RequestHeader::decode(&mut reader) {
        Ok(header) if header.api == ApiKey::Produce && header.is_supported() => {
            ProduceRequest::decode(&mut reader, header.version)
        }
        _ => return,
    };
    // What cannot be decoded stays whole: where the core gives up depends on every byte of it.
    let Ok(request) = request else {
        return;
    };
    let topics = request.topic_data.iter();
    for partition in topics.flat_map(|topic| &topic.partition_data) {
        let Some(records) = &partition.records else {
            continue;
        };
        // The slices of a decoded message lie in its frame.
        let at = records.as_ptr() as usize - frame.as_ptr() as usize;
        Walk::of_records().piece(records, at, blank);
    }
}

/// Goes through batches that come in pieces, from the start of a batch.
pub(super) struct Walk {
    /// What to do from where there is no batch any more: blank it, or keep it.
    blank_others: bool,
    /// What has been seen of the present header.
    header: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Header,
    /// So many bytes of the present batch's body are left.
    Body(usize),
    /// There is no batch here.
    Others,
}

impl Walk {
    /// Of a records field: whatever is in it is a client's.
    pub(super) fn of_records() -> Walk {
        Walk {
            blank_others: true,
            header: Vec::new(),
            state: State::Header,
        }
    }

    /// Of a segment: where there is no batch there is damage, and what the core makes of that must stay the same.
    pub(super) fn of_segment() -> Walk {
        Walk {
            blank_others: false,
            ..Walk::of_records()
        }
    }

    /// The next piece, whose first byte has the number `at`: adds what must be blanked of it.
    pub(super) fn piece(&mut self, mut piece: &[u8], mut at: usize, blank: &mut Vec<Range<usize>>) {
        while !piece.is_empty() {
            let taken = match self.state {
                State::Header => {
                    // The magic first: only it tells how long the header is.
                    let seen = self.header.len();
                    let goal = if seen <= PREFIX_LEN {
                        PREFIX_LEN + 1
                    } else {
                        HEADER_LEN
                    };
                    let taken = piece.len().min(goal - seen);
                    self.header.extend_from_slice(&piece[..taken]);
                    self.turn();
                    taken
                }
                State::Body(left) => {
                    let taken = piece.len().min(left);
                    push(blank, at..at + taken);
                    self.state = match left - taken {
                        0 => State::Header,
                        left => State::Body(left),
                    };
                    taken
                }
                State::Others => {
                    if self.blank_others {
                        push(blank, at..at + piece.len());
                    }
                    piece.len()
                }
            };
            piece = &piece[taken..];
            at += taken;
        }
    }

    /// After more of a header: what comes next?
    fn turn(&mut self) {
        let magic = self.header.get(PREFIX_LEN);
        if magic.is_some_and(|magic| *magic as i8 != MAGIC) {
            self.state = State::Others;
        } else if self.header.len() == HEADER_LEN {
            self.state = match body_len(&self.header) {
                Some(0) => State::Header,
                Some(body) => State::Body(body),
                None => State::Others,
            };
            self.header.clear();
        }
    }
}

/// Bytes of a batch after its header; `None` if the length is impossible.
fn body_len(header: &[u8]) -> Option<usize> {
    let length = header.get(8..LOG_OVERHEAD)?.try_into().ok()?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok()?;
    length.checked_sub(HEADER_LEN - LOG_OVERHEAD)
}

/// How many of the first slices are whole batches together, ending where a slice ends; `None` if they do not begin with
/// one. It tells records from an answer's other bytes.
pub(super) fn slices_of_batches(slices: &[Bytes]) -> Option<usize> {
    let (mut slice, mut at) = (0, 0);
    loop {
        let header = peek::<{ PREFIX_LEN + 1 }>(slices.get(slice..)?, at)?;
        if header[PREFIX_LEN] as i8 != MAGIC {
            return None;
        }
        at += HEADER_LEN + body_len(&header)?;
        while at >= slices.get(slice)?.len() {
            at -= slices[slice].len();
            slice += 1;
            if at == 0 {
                return Some(slice);
            }
        }
    }
}

/// Bytes from `at` on, over the borders of slices.
fn peek<const N: usize>(slices: &[Bytes], at: usize) -> Option<[u8; N]> {
    let mut bytes = slices.iter().flat_map(|slice| slice.iter()).skip(at);
    let mut found = [0; N];
    for byte in &mut found {
        *byte = *bytes.next()?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with `body` bytes after its header.
    fn batch(body: usize) -> Vec<u8> {
        let mut batch = vec![7; HEADER_LEN + body];
        batch[8..12].copy_from_slice(&((HEADER_LEN - LOG_OVERHEAD + body) as i32).to_be_bytes());
        batch[PREFIX_LEN] = 2;
        batch
    }

    fn blanked(walk: &mut Walk, bytes: &[u8], cuts: usize) -> Vec<Range<usize>> {
        let (mut blank, mut at) = (Vec::new(), 0);
        for piece in bytes.chunks(cuts) {
            walk.piece(piece, at, &mut blank);
            at += piece.len();
        }
        blank
    }

    #[test]
    fn bodies_are_blanked_however_the_bytes_are_cut() {
        let bytes = [batch(100), batch(0), batch(5)].concat();
        for cuts in [1, 7, 61, 100, 1000] {
            let blank = blanked(&mut Walk::of_segment(), &bytes, cuts);
            assert_eq!(blank, [61..161, 161 + 61 + 61..bytes.len()]);
        }
        // A batch whose end is missing.
        let torn = &bytes[..90];
        assert_eq!(blanked(&mut Walk::of_segment(), torn, 10), [61..90]);
    }

    #[test]
    fn what_is_no_batch_is_kept_of_a_segment_and_blanked_of_a_request() {
        let mut bytes = batch(3);
        bytes.extend([9; 40]);
        assert_eq!(blanked(&mut Walk::of_segment(), &bytes, 8), [61..64]);
        let others = 64 + PREFIX_LEN + 1;
        assert_eq!(
            blanked(&mut Walk::of_records(), &bytes, 8),
            [61..64, others..bytes.len()]
        );
    }

    #[test]
    fn blanking_what_is_blank_changes_nothing() {
        let bytes = [batch(33), batch(2), vec![9; 99]].concat();
        let first = blanked(&mut Walk::of_records(), &bytes, 1000);
        let mut zeroed = bytes.clone();
        for range in &first {
            zeroed[range.clone()].fill(0);
        }
        assert_eq!(blanked(&mut Walk::of_records(), &zeroed, 1000), first);
    }

    #[test]
    fn records_in_an_answer_are_told_from_the_rest() {
        let slice = |bytes: Vec<u8>| Bytes::from(bytes);
        let (head, tail) = (
            slice(batch(50)[..16].to_vec()),
            slice(batch(50)[16..].to_vec()),
        );
        let two = slice([batch(5), batch(6)].concat());
        let other = slice(vec![0; 30]);
        assert_eq!(slices_of_batches(&[two.clone(), other.clone()]), Some(1));
        assert_eq!(
            slices_of_batches(&[head.clone(), tail, other.clone()]),
            Some(2)
        );
        assert_eq!(slices_of_batches(&[other, two.clone()]), None);
        assert_eq!(slices_of_batches(&[head]), None);
        assert_eq!(slices_of_batches(&[]), None);
    }

    #[test]
    fn only_clients_partitions_are_blanked() {
        assert!(is_client_partition("orders-0"));
        assert!(is_client_partition("orders-0.0123456789abcdef-delete"));
        assert!(!is_client_partition("__cluster_metadata-0"));
        assert!(!is_client_partition("meta"));
    }
}
