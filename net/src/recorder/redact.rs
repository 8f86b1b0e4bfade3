//! What a recording leaves out: clients' records, after the header of each batch.
//!
//! A pure function of what passes the boundary: blanking what is blank changes nothing, so a node that lives again on
//! blanked inputs asks for effects with the same outline. What the metadata log holds stays whole: the core reads it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use trialog_core::ids::{ConnId, DirId, FileId};
use trialog_core::io::{DiskDone, DiskOp, Effect, Input, Token};
use trialog_core::wire::batch::{HEADER_LEN, LOG_OVERHEAD, MAGIC, PREFIX_LEN};
use trialog_core::wire::frame::LENGTH_BYTES;
use trialog_core::wire::{
    ApiKey, FetchRequest, Message, Parts, ProduceRequest, Reader, RequestHeader, decode_response,
};
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
    /// Requests that wait for an answer: correlation id, and the version of a Fetch.
    requests: BTreeMap<ConnId, VecDeque<(i32, Option<i16>)>>,
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
            requests: BTreeMap::new(),
        }
    }

    /// The ranges to blank of the only [`Bytes`] that an input carries.
    pub fn input(&mut self, input: &Input) -> Vec<Range<usize>> {
        let mut blank = Vec::new();
        match input {
            Input::Frame { conn, frame } if !self.keep_all => {
                self.request(*conn, frame, &mut blank)
            }
            Input::Closed { conn, .. } => drop(self.requests.remove(conn)),
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

    /// Blanks a Produce, and remembers what the answer will be to.
    fn request(&mut self, conn: ConnId, frame: &Bytes, blank: &mut Vec<Range<usize>>) {
        let mut reader = Reader::new(frame.clone());
        let header = match RequestHeader::decode(&mut reader) {
            Ok(header) if header.is_supported() => header,
            // The connection ends, or the answer holds no records.
            _ => return,
        };
        let gets_answer = match header.api {
            ApiKey::Produce => blank_produce(frame, reader, header.version, blank),
            _ => true,
        };
        if gets_answer {
            let fetch = (header.api == ApiKey::Fetch).then_some(header.version);
            let requests = self.requests.entry(conn).or_default();
            requests.push_back((header.correlation_id, fetch));
        }
    }

    /// The ranges to blank of an answer: the records of a Fetch. `answer` is a whole frame with its length.
    pub fn answer(&mut self, conn: ConnId, answer: &Parts) -> Vec<Range<usize>> {
        let mut blank = Vec::new();
        let Some(correlation_id) = correlation_id(answer) else {
            return blank;
        };
        let Some(requests) = self.requests.get_mut(&conn) else {
            return blank;
        };
        let mut fetch = None;
        while let Some((request, version)) = requests.pop_front() {
            if request == correlation_id {
                fetch = version;
                break;
            }
        }
        if let Some(version) = fetch {
            blank_fetched(&answer.to_bytes(), version, &mut blank);
        }
        blank
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

/// The directory of the one log whose records the node itself writes and reads. Every other topic is a client's, whatever its name.
const METADATA_LOG: &str = "__cluster_metadata-0";

/// `topic-0` and its like.
fn is_client_partition(name: &str) -> bool {
    let is_partition = name
        .rsplit_once('-')
        .is_some_and(|(topic, rest)| !topic.is_empty() && !rest.is_empty());
    is_partition && name != METADATA_LOG
}

fn push(blank: &mut Vec<Range<usize>>, range: Range<usize>) {
    match blank.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => blank.push(range),
    }
}

/// The correlation id of an answer, which follows its length.
fn correlation_id(answer: &Parts) -> Option<i32> {
    let bytes = answer
        .slices()
        .first()?
        .get(LENGTH_BYTES..LENGTH_BYTES + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// The records of a Produce request; does it get an answer? What cannot be decoded stays whole: where the core gives up depends
/// on all of it.
fn blank_produce(
    frame: &Bytes,
    mut body: Reader,
    version: i16,
    blank: &mut Vec<Range<usize>>,
) -> bool {
    let Ok(request) = ProduceRequest::decode(&mut body, version) else {
        return true;
    };
    let topics = request.topic_data.iter();
    for partition in topics.flat_map(|topic| &topic.partition_data) {
        blank_records(frame, partition.records.as_slice(), blank);
    }
    request.acks != 0
}

/// The records of a Fetch response.
fn blank_fetched(frame: &Bytes, version: i16, blank: &mut Vec<Range<usize>>) {
    let decoded = decode_response::<FetchRequest>(frame.slice(LENGTH_BYTES..), version);
    let Ok((_, response)) = decoded else {
        return;
    };
    for partition in response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
    {
        let records = partition.records.as_ref().map_or(&[][..], Parts::slices);
        blank_records(frame, records, blank);
    }
}

/// Records that are slices of `frame`, as those of a decoded message are.
fn blank_records(frame: &Bytes, records: &[Bytes], blank: &mut Vec<Range<usize>>) {
    let mut walk = Walk::of_records();
    for slice in records {
        let at = slice.as_ptr() as usize - frame.as_ptr() as usize;
        walk.piece(slice, at, blank);
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

#[cfg(test)]
mod tests {
    use super::*;
    use trialog_core::io::CloseReason;
    use trialog_core::wire::request_frame;

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

    fn only(range: Range<usize>) -> Vec<Range<usize>> {
        vec![range]
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
        assert_eq!(blanked(&mut Walk::of_segment(), torn, 10), only(61..90));
    }

    #[test]
    fn what_is_no_batch_is_kept_of_a_segment_and_blanked_of_a_request() {
        let mut bytes = batch(3);
        bytes.extend([9; 40]);
        assert_eq!(blanked(&mut Walk::of_segment(), &bytes, 8), only(61..64));
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
    fn only_clients_partitions_are_blanked() {
        assert!(is_client_partition("orders-0"));
        assert!(is_client_partition("orders-0.0123456789abcdef-delete"));
        assert!(is_client_partition("__consumer_offsets-7"));
        assert!(is_client_partition("__strimzi_canary-0"));
        assert!(!is_client_partition("__cluster_metadata-0"));
        assert!(!is_client_partition("meta"));
    }

    #[test]
    fn what_gets_no_answer_is_not_waited_for() {
        let conn = ConnId(1);
        let mut redactor = Redactor::new(false);
        let mut ask = |correlation_id, acks| {
            let body = ProduceRequest {
                acks,
                ..ProduceRequest::default()
            };
            let frame = request_frame(9, correlation_id, None, &body).expect("it fits");
            let frame = frame.to_bytes().slice(LENGTH_BYTES..);
            redactor.input(&Input::Frame { conn, frame });
        };
        (0..1_000).for_each(|n| ask(n, 0));
        ask(1_000, 1);
        assert_eq!(redactor.requests[&conn], [(1_000, None)]);
        let answer = [0, 0, 0, 4, 0, 0, 3, 0xe8].to_vec();
        redactor.answer(conn, &Parts::from(answer.clone()));
        assert!(redactor.requests[&conn].is_empty());
        // A connection that is gone is forgotten.
        let reason = CloseReason::Asked;
        redactor.input(&Input::Closed { conn, reason });
        redactor.answer(conn, &Parts::from(answer));
        assert!(redactor.requests.is_empty());
    }
}
