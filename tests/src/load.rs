//! Load that remembers what was promised to it, and the judge of what is found afterwards.
//!
//! Writers send numbered values and note every acknowledgement; readers note everything that they see. The judge then reads the
//! whole topic and compares. A plain writer never sends a value twice; an idempotent one repeats what was not answered, under the
//! same sequence numbers, until it is.

use crate::client::{Client, PLAIN, PRODUCE, Producer, batch, produce_request};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::records::Compression;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Requests that a writer has on the wire at once.
const IN_FLIGHT: usize = 4;
/// Kafka's error codes that an idempotent writer meets.
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

/// Where a value is: partition and offset.
pub type Place = (i32, i64);

/// One writer of one partition.
#[derive(Clone, Debug)]
struct Writer {
    number: usize,
    partition: i32,
    producer: Option<(i64, i16)>,
    next: u64,
    /// First value and count of each batch that was sent and not answered.
    unanswered: VecDeque<(u64, u64)>,
}

/// What was promised and seen.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// Acknowledged values, by place. A duplicate that was answered without an offset has none.
    acknowledged: BTreeMap<Place, String>,
    acknowledged_somewhere: BTreeSet<String>,
    seen: BTreeMap<Place, String>,
    complaints: Vec<String>,
}

/// A topic under load.
pub struct Load {
    topic: String,
    partitions: i32,
    writers: Vec<Mutex<Writer>>,
    ledger: Mutex<Ledger>,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

/// The verdict over everything so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Values whose acknowledgement was received.
    pub acknowledged: usize,
    /// Records found.
    pub found: usize,
    /// Acknowledged values that were not found where they were promised to be.
    pub lost: usize,
    /// Everything that must not be, in words (lost values too; at most a few of a kind).
    pub complaints: Vec<String>,
}

fn value(writer: usize, n: u64) -> Vec<u8> {
    // A length that differs from value to value, so that batches end anywhere in a sector.
    let padding = (n * 37 + writer as u64 * 11) % 400;
    let mut value = format!("{writer}-{n}-").into_bytes();
    value.resize(value.len() + padding as usize, b'.');
    value
}

fn name_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value)
        .trim_end_matches('.')
        .to_owned()
}

fn writer_and_number(name: &str) -> Option<(usize, u64)> {
    let mut parts = name.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Load {
    /// Creates the topic, with one plain and one idempotent writer for every partition.
    pub fn new(
        client: &mut Client,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> io::Result<Load> {
        client.create_topic(topic, partitions, configs)?;
        let mut writers = Vec::new();
        for partition in 0..partitions {
            for idempotent in [false, true] {
                let producer = if idempotent {
                    Some(client.init_producer_id()?)
                } else {
                    None
                };
                writers.push(Mutex::new(Writer {
                    number: writers.len(),
                    partition,
                    producer,
                    next: 0,
                    unanswered: VecDeque::new(),
                }));
            }
        }
        Ok(Load {
            topic: topic.to_owned(),
            partitions,
            writers,
            ledger: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// Acknowledged values so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes and reads over connections of their own while `meanwhile` runs, and until the broker is gone or `meanwhile` returns.
    pub fn run<T>(&self, bootstrap: &str, meanwhile: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for writer in &self.writers {
                scope.spawn(|| {
                    self.write(bootstrap, &mut writer.lock().expect("one thread a writer"))
                });
            }
            scope.spawn(|| self.watch(bootstrap));
            let result = meanwhile();
            self.stop.store(true, Ordering::Relaxed);
            result
        })
    }

    fn write(&self, bootstrap: &str, writer: &mut Writer) {
        if writer.producer.is_none() {
            writer.unanswered.clear(); // unknown for ever: a plain writer does not repeat
        }
        // An error ends this run of the writer: the broker is gone, or the next run repeats.
        if let Err(error) = self.try_write(bootstrap, writer)
            && error.kind() == io::ErrorKind::InvalidData
        {
            self.complain(format!("writer {}: {error}", writer.number));
        }
    }

    fn try_write(&self, bootstrap: &str, writer: &mut Writer) -> io::Result<()> {
        let mut client = Client::connect_within(bootstrap, Duration::from_secs(2))?;
        let mut on_wire: VecDeque<(i32, u64, u64)> = VecDeque::new();
        let mut repeat = std::mem::take(&mut writer.unanswered);
        loop {
            while on_wire.len() < IN_FLIGHT && !self.stop.load(Ordering::Relaxed) {
                let (first, count) = repeat.pop_front().unwrap_or_else(|| {
                    let count = 1 + (writer.next * 7 + writer.number as u64) % 9;
                    writer.next += count;
                    (writer.next - count, count)
                });
                writer.unanswered.push_back((first, count));
                let correlation = client.send(PRODUCE, &self.request(writer, first, count))?;
                on_wire.push_back((correlation, first, count));
            }
            let Some((correlation, first, count)) = on_wire.pop_front() else {
                // Stopped before all repeats were sent: they stay unanswered.
                writer.unanswered.extend(repeat);
                return Ok(());
            };
            let answer = client.produced(correlation);
            if answer.is_err() {
                writer.unanswered.extend(repeat);
                return answer.map(drop);
            }
            match answer? {
                (0, offset) => self.acknowledge(writer, first, count, Some(offset)),
                (DUPLICATE_SEQUENCE_NUMBER, _) => self.acknowledge(writer, first, count, None),
                (error, _) if writer.producer.is_none() => {
                    self.refused(writer, error);
                    writer.unanswered.pop_front();
                    continue;
                }
                (error, _) => {
                    self.refused(writer, error);
                    writer.unanswered.extend(repeat);
                    return Ok(());
                }
            }
            writer.unanswered.pop_front();
        }
    }

    /// Errors of a broker that is starting are no complaint: 3 unknown topic, 5 no leader, 6 not leader, 7 timed out, 41, 9, 14.
    fn refused(&self, writer: &Writer, error: i16) {
        if ![3, 5, 6, 7, 9, 14, 41].contains(&error) {
            self.complain(format!(
                "writer {} of partition {} was refused with error {error}",
                writer.number, writer.partition
            ));
        }
    }

    fn request(&self, writer: &Writer, first: u64, count: u64) -> ProduceRequest {
        let values: Vec<Vec<u8>> = (first..first + count)
            .map(|n| value(writer.number, n))
            .collect();
        let producer = match writer.producer {
            Some((id, epoch)) => Producer {
                id,
                epoch,
                sequence: first as i32,
            },
            None => PLAIN,
        };
        produce_request(
            &self.topic,
            writer.partition,
            -1,
            batch(&values, producer, Compression::None),
        )
    }

    fn acknowledge(&self, writer: &Writer, first: u64, count: u64, offset: Option<i64>) {
        let mut ledger = self.ledger.lock().expect("the ledger");
        for n in 0..count {
            let name = name_of(&value(writer.number, first + n));
            if let Some(offset) = offset {
                ledger
                    .acknowledged
                    .insert((writer.partition, offset + n as i64), name.clone());
            }
            ledger.acknowledged_somewhere.insert(name);
        }
        self.acknowledged.fetch_add(count, Ordering::Relaxed);
    }

    fn complain(&self, what: String) {
        self.ledger
            .lock()
            .expect("the ledger")
            .complaints
            .push(what);
    }

    fn saw(&self, partition: i32, records: &[(i64, String)]) {
        let mut ledger = self.ledger.lock().expect("the ledger");
        for (offset, name) in records {
            let before = ledger.seen.insert((partition, *offset), name.clone());
            if let Some(before) = before.filter(|before| before != name) {
                ledger.complaints.push(format!(
                    "{}-{partition} at {offset}: a reader saw {before}, and later {name}",
                    self.topic
                ));
            }
        }
    }

    /// A reader that follows every partition from where it first looks.
    fn watch(&self, bootstrap: &str) {
        let Ok(mut client) = Client::connect_within(bootstrap, Duration::from_secs(2)) else {
            return;
        };
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            for partition in 0..self.partitions {
                let from = match next.get(&partition) {
                    Some(from) => *from,
                    None => match client.offset_of(&self.topic, partition, -1) {
                        Ok((0, offset)) => offset,
                        Ok(_) => continue,
                        Err(_) => return,
                    },
                };
                let Ok(answer) = client.fetch(&self.topic, partition, from) else {
                    return;
                };
                if answer.error_code != 0 {
                    continue;
                }
                match crate::client::records_of(answer.records.unwrap_or_default()) {
                    Err(error) => {
                        return self.complain(format!(
                            "a reader of partition {partition} at {from}: {error}"
                        ));
                    }
                    Ok(records) => {
                        let named: Vec<(i64, String)> = records
                            .iter()
                            .filter(|r| r.offset >= from)
                            .map(|r| (r.offset, name_of(r.value.as_deref().unwrap_or_default())))
                            .collect();
                        next.insert(
                            partition,
                            named.last().map_or(from, |(offset, _)| offset + 1),
                        );
                        self.saw(partition, &named);
                    }
                }
            }
        }
    }

    /// Reads everything and compares it with what was promised and seen.
    pub fn judge(&self, client: &mut Client) -> Verdict {
        let mut found: BTreeMap<Place, String> = BTreeMap::new();
        let mut complaints = Vec::new();
        for partition in 0..self.partitions {
            match client.read_all(&self.topic, partition) {
                Err(error) => complaints.push(format!(
                    "{}-{partition} cannot be read: {error}",
                    self.topic
                )),
                Ok(records) => {
                    let named: Vec<(i64, String)> = records
                        .iter()
                        .map(|r| (r.offset, name_of(r.value.as_deref().unwrap_or_default())))
                        .collect();
                    self.saw(partition, &named);
                    found.extend(
                        named
                            .into_iter()
                            .map(|(offset, name)| ((partition, offset), name)),
                    );
                }
            }
        }
        let ledger = self.ledger.lock().expect("the ledger");
        complaints.extend(ledger.complaints.iter().cloned());
        let idempotent: BTreeSet<usize> = self
            .writers
            .iter()
            .map(|w| w.lock().expect("no writer runs"))
            .filter(|w| w.producer.is_some())
            .map(|w| w.number)
            .collect();
        let mut verdict = compare(&ledger, &found, &idempotent);
        complaints.append(&mut verdict.complaints);
        verdict.complaints = complaints;
        verdict
    }
}

/// Loads of many rounds: every few rounds a new topic, so that what one round must read again stays small.
pub struct Loads {
    topic: &'static str,
    partitions: i32,
    configs: Vec<(&'static str, &'static str)>,
    rounds: usize,
    loads: Vec<Load>,
}

impl Loads {
    const ROUNDS_OF_A_TOPIC: usize = 5;

    /// None yet; topics are named after `topic`.
    pub fn new(
        topic: &'static str,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> Loads {
        Loads {
            topic,
            partitions,
            configs: configs.to_vec(),
            rounds: 0,
            loads: Vec::new(),
        }
    }

    /// Does the next round begin with a new topic?
    pub fn begin_topic(&self) -> bool {
        self.rounds.is_multiple_of(Self::ROUNDS_OF_A_TOPIC)
    }

    /// The load of the next round.
    pub fn next(&mut self, client: &mut Client) -> io::Result<&Load> {
        if self.begin_topic() {
            let name = format!("{}-{}", self.topic, self.loads.len());
            let load = Load::new(client, &name, self.partitions, &self.configs)?;
            self.loads.push(load);
        }
        self.rounds += 1;
        Ok(self.loads.last().expect("the first round makes one"))
    }

    /// Judges the load of the last round.
    pub fn judge_last(&self, client: &mut Client) -> Verdict {
        self.loads
            .last()
            .map_or_else(Verdict::default, |load| load.judge(client))
    }

    /// Judges every load, all in all.
    pub fn judge_all(&self, client: &mut Client) -> Verdict {
        let mut all = Verdict::default();
        for load in &self.loads {
            let mut one = load.judge(client);
            all.acknowledged += one.acknowledged;
            all.found += one.found;
            all.lost += one.lost;
            all.complaints.append(&mut one.complaints);
        }
        all
    }
}

/// The judge's rules, as a pure function of what was promised, what was seen and what is there.
fn compare(
    ledger: &Ledger,
    found: &BTreeMap<Place, String>,
    idempotent: &BTreeSet<usize>,
) -> Verdict {
    let mut verdict = Verdict {
        acknowledged: ledger.acknowledged_somewhere.len(),
        found: found.len(),
        ..Verdict::default()
    };
    let values: BTreeSet<&String> = found.values().collect();
    let mut lost: BTreeSet<&String> = ledger
        .acknowledged_somewhere
        .iter()
        .filter(|name| !values.contains(name))
        .collect();
    let mut moved = Vec::new();
    for (place, name) in &ledger.acknowledged {
        match found.get(place) {
            Some(there) if there == name => {}
            Some(there) => {
                lost.insert(name);
                moved.push(format!(
                    "{place:?} was promised to {name} and holds {there}"
                ));
            }
            None => drop(lost.insert(name)),
        }
    }
    verdict.lost = lost.len();
    if !lost.is_empty() {
        let some: Vec<&&String> = lost.iter().take(5).collect();
        verdict.complaints.push(format!(
            "{} of {} acknowledged values are lost: {some:?} …",
            lost.len(),
            verdict.acknowledged
        ));
    }
    verdict.complaints.extend(moved.into_iter().take(5));
    let gone = ledger
        .seen
        .iter()
        .filter(|(place, _)| !found.contains_key(place));
    verdict.complaints.extend(
        gone.take(5)
            .map(|((p, o), name)| format!("a reader saw {name} at {p}/{o}, and it is gone")),
    );
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((partition, offset), name) in found {
        let due = ends.entry(*partition).or_insert(0);
        if *due != *offset {
            wrong.push(format!(
                "partition {partition} has {offset} where {due} was due"
            ));
        }
        *due = offset + 1;
        let Some((writer, n)) = writer_and_number(name) else {
            wrong.push(format!(
                "{partition}/{offset} holds {name:?}, which nobody wrote"
            ));
            continue;
        };
        let due = last.get(&writer).map_or(0, |n| n + 1);
        if n < due {
            wrong.push(format!(
                "{partition}/{offset} holds {name} again or out of order: {due} or later was due"
            ));
        } else if n > due && idempotent.contains(&writer) {
            wrong.push(format!("{partition}/{offset} holds {name}, and the idempotent writer's {due} is missing before it"));
        }
        last.insert(writer, n);
    }
    verdict.complaints.extend(wrong.into_iter().take(10));
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(names: &[&str]) -> BTreeMap<Place, String> {
        names
            .iter()
            .enumerate()
            .map(|(offset, name)| ((0, offset as i64), (*name).to_owned()))
            .collect()
    }

    fn promised(names: &[&str]) -> Ledger {
        Ledger {
            acknowledged: places(names),
            acknowledged_somewhere: names.iter().map(|n| (*n).to_owned()).collect(),
            ..Ledger::default()
        }
    }

    fn complaints(ledger: &Ledger, found: &[&str], idempotent: &[usize]) -> Vec<String> {
        compare(
            ledger,
            &places(found),
            &idempotent.iter().copied().collect(),
        )
        .complaints
    }

    #[test]
    fn what_was_promised_and_is_there_is_fine() {
        assert_eq!(
            complaints(
                &promised(&["0-0", "1-0", "0-1"]),
                &["0-0", "1-0", "0-1", "1-1"],
                &[1]
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            complaints(&Ledger::default(), &["0-3", "0-7"], &[]),
            Vec::<String>::new(),
            "a plain writer may lose what was not answered"
        );
    }

    #[test]
    fn a_lost_value_is_found_out() {
        let verdict = compare(
            &promised(&["0-0", "0-1"]),
            &places(&["0-0"]),
            &BTreeSet::new(),
        );
        assert_eq!((verdict.lost, verdict.complaints.len()), (1, 1));
        assert_eq!(
            complaints(&promised(&["0-0", "0-1"]), &["0-0", "0-2"], &[]).len(),
            2,
            "lost, and its place given away"
        );
    }

    #[test]
    fn duplicates_gaps_and_disorder_are_found_out() {
        assert_eq!(
            complaints(&Ledger::default(), &["0-0", "0-0"], &[]).len(),
            1
        );
        assert_eq!(
            complaints(&Ledger::default(), &["0-1", "0-0"], &[]).len(),
            1
        );
        assert_eq!(
            complaints(&Ledger::default(), &["0-0", "0-2"], &[0]).len(),
            1
        );
        let mut holed = places(&["0-0", "0-1", "0-2"]);
        holed.remove(&(0, 1));
        assert_eq!(
            compare(&Ledger::default(), &holed, &BTreeSet::new())
                .complaints
                .len(),
            1
        );
    }

    #[test]
    fn what_a_reader_saw_must_stay() {
        let ledger = Ledger {
            seen: places(&["0-0", "0-1"]),
            ..Ledger::default()
        };
        assert_eq!(complaints(&ledger, &["0-0"], &[]).len(), 1);
        assert_eq!(
            complaints(&ledger, &["0-0", "0-1"], &[]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn values_name_their_writer() {
        assert_eq!(writer_and_number(&name_of(&value(3, 12))), Some((3, 12)));
    }
}
