//! Kafka clients as state machines that speak the real protocol over the simulated network.
//!
//! Each is as trusting as a real one and no more: it learns versions from ApiVersions and topics from Metadata, matches answers
//! by correlation id, times out, reconnects, backs off and retries. What it was told and saw goes to the judge; how it asks
//! for the network comes back as [`Act`]s. Nothing here knows of faults, or of the node's state.

pub mod admin;
pub mod caller;
pub mod consumer;
pub mod producer;
pub mod records;
pub mod session;
pub mod stranger;

use bytes::Bytes;

use crate::check::{Judge, TopicNo, name_of};
use crate::choice::{Choices, Subsystem};
use crate::net::{ClientId, ToClient};

pub use session::Profile;

/// What a client wants of the network: it has at most one connection at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open a connection.
    Connect,
    /// Send bytes on it.
    Send(Bytes),
    /// Close it.
    Close,
}

/// One nanosecond-based unit of simulated time.
pub const MILLISECOND: u64 = 1_000_000;
/// A second of simulated time.
pub const SECOND: u64 = 1_000_000_000;

/// What a client is handed when something happens.
#[derive(Debug)]
pub struct Cx<'a> {
    /// Simulated time.
    pub now: u64,
    /// The client's own wall clock, in milliseconds since 1970.
    pub wall_ms: i64,
    /// Who it is.
    pub me: ClientId,
    /// For what it does next.
    pub choices: &'a mut Choices,
    /// Whom it tells what it was promised and what it saw.
    pub judge: &'a mut Judge,
    /// What it wants of the network.
    pub acts: &'a mut Vec<Act>,
}

impl Cx<'_> {
    /// A number below `bound` for this client; `what` tells one kind of choice from another.
    pub fn below(&mut self, bound: u64, what: u64) -> u64 {
        let subject = (self.me as u64) << 8 | what;
        self.choices.below(bound, Subsystem::Client, subject)
    }
}

/// Stands in topic names before the number.
const TOPIC_PREFIX: &str = "topic-";

/// The name of a topic of the run; later topics may have it again.
#[must_use]
pub fn topic_name(topic: TopicNo) -> String {
    format!("{TOPIC_PREFIX}{}", name_of(topic))
}

/// What the topics of this name have in common; `None` if it is no topic of the run.
#[must_use]
pub fn number_in(name: &str) -> Option<TopicNo> {
    name.strip_prefix(TOPIC_PREFIX)?.parse().ok()
}

/// Which of `topics` has this name; the newest, if several have.
#[must_use]
pub fn named(name: &str, topics: impl Iterator<Item = TopicNo>) -> Option<TopicNo> {
    let number = number_in(name)?;
    topics.filter(|topic| name_of(*topic) == number).max()
}

/// Any client.
#[derive(Clone, Debug)]
pub enum Client {
    /// Sends records.
    Producer(producer::Producer),
    /// Reads partitions that it was assigned.
    Consumer(consumer::Consumer),
    /// Creates, grows and deletes.
    Admin(admin::Admin),
    /// Makes the calls of a script.
    Caller(caller::Caller),
    /// Sends what is no request.
    Stranger(stranger::Stranger),
}

impl Client {
    /// Something arrived, or (`None`) the time of [`Client::next_wake`] has come.
    pub fn happens(&mut self, cx: &mut Cx<'_>, event: Option<ToClient>) {
        match self {
            Client::Producer(producer) => producer.happens(cx, event),
            Client::Consumer(consumer) => consumer.happens(cx, event),
            Client::Admin(admin) => admin.happens(cx, event),
            Client::Caller(caller) => caller.happens(cx, event),
            Client::Stranger(stranger) => stranger.happens(cx, event),
        }
    }

    /// When it wants to be called without an event.
    #[must_use]
    pub fn next_wake(&self) -> u64 {
        match self {
            Client::Producer(producer) => producer.next_wake(),
            Client::Consumer(consumer) => consumer.next_wake(),
            Client::Admin(admin) => admin.next_wake(),
            Client::Caller(caller) => caller.next_wake(),
            Client::Stranger(stranger) => stranger.next_wake(),
        }
    }

    /// The faults are over: it finishes what it began and then rests.
    pub fn wind_down(&mut self, now: u64) {
        match self {
            Client::Producer(producer) => producer.wind_down(now),
            Client::Consumer(consumer) => consumer.wind_down(now),
            Client::Admin(admin) => admin.wind_down(now),
            Client::Stranger(stranger) => stranger.wind_down(),
            Client::Caller(_) => {}
        }
    }

    /// After [`Client::wind_down`]: has it made the progress that was asked for?
    #[must_use]
    pub fn rests(&self, judge: &Judge) -> bool {
        match self {
            Client::Producer(producer) => producer.rests(judge),
            Client::Consumer(consumer) => consumer.rests(judge),
            Client::Admin(admin) => admin.rests(),
            Client::Caller(_) | Client::Stranger(_) => true,
        }
    }

    /// The time is over: a reader that waits for what ought to be there says what it found instead.
    pub fn settle_for_less(&mut self, judge: &mut Judge) {
        match self {
            Client::Consumer(consumer) => consumer.settle_for_less(judge),
            Client::Producer(_) | Client::Admin(_) | Client::Caller(_) | Client::Stranger(_) => {}
        }
    }

    /// What it is, for sentences.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Client::Producer(producer) => producer.name(),
            Client::Consumer(consumer) => consumer.name(),
            Client::Admin(admin) => admin.name(),
            Client::Caller(caller) => caller.name(),
            Client::Stranger(_) => "a stranger".to_owned(),
        }
    }

    /// Its process ends without a word and starts anew.
    pub fn restart(&mut self, cx: &mut Cx<'_>) {
        match self {
            Client::Producer(producer) => producer.restart(cx),
            Client::Consumer(consumer) => consumer.restart(cx),
            Client::Admin(admin) => admin.restart(cx),
            Client::Caller(caller) => caller.restart(cx),
            Client::Stranger(stranger) => stranger.restart(cx),
        }
    }

    /// What it waits for, for a report of a stall.
    #[must_use]
    pub fn waits_for(&self) -> String {
        match self {
            Client::Producer(producer) => producer.waits_for(),
            Client::Consumer(consumer) => consumer.waits_for(),
            Client::Admin(admin) => admin.waits_for(),
            Client::Caller(_) | Client::Stranger(_) => String::new(),
        }
    }
}
