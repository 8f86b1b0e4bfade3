//! The network between clients and the node: connections that carry bytes as TCP does.
//!
//! Owns what is under way and when it arrives: order within a direction, odd cuts, latency, bandwidth, a full send buffer,
//! clogged directions, resets, half-open peers, refused and hanging connects. Cuts frames on the node's side as a driver
//! must; never looks into one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trialog_core::ids::ConnId;
use trialog_core::io::{CloseReason, FRAME_LIMIT_UNTRUSTED, Parts};
use trialog_core::wire::FrameDecoder;

use crate::choice::{Choices, Subsystem};

/// A client, by its place in the workload.
pub type ClientId = usize;

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Towards the node.
    Node,
    /// Towards the client.
    Client,
}

/// Something of the network is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A connect arrives at the node's machine.
    Syn(ConnId),
    /// The answer to a connect arrives at the client.
    Answered(ConnId),
    /// Bytes of one direction are due.
    Deliver(ConnId, Side),
    /// The node hears how much the operating system took.
    Sent(ConnId),
}

/// What reaches the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToNode {
    /// A connection was opened.
    Opened(ConnId, String),
    /// A frame is whole.
    Frame(ConnId, Bytes),
    /// So many bytes left.
    Sent(ConnId, u64),
    /// The connection ended.
    Closed(ConnId, CloseReason),
}

/// What reaches a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// Its connect succeeded.
    Connected,
    /// Its connect failed.
    Failed,
    /// Bytes.
    Bytes(Bytes),
    /// The connection ended.
    Closed,
}

/// What becomes due at which simulated time, and what arrives now.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To be scheduled: time and event.
    pub later: Vec<(u64, NetEvent)>,
    /// For the node, in this order.
    pub node: Vec<ToNode>,
    /// For clients, in this order.
    pub clients: Vec<(ClientId, ToClient)>,
}

/// How a client's link behaves.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Typical one-way delay, in nanoseconds.
    pub latency: u64,
    /// Nanoseconds a kibibyte.
    pub per_kib: u64,
    /// How often, in a million, a send arrives in odd pieces.
    pub cut_per_million: u32,
    /// Bytes that the node's operating system takes before the client has read.
    pub buffer: u64,
}

/// The state of the node's machine as the network sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// A process listens.
    Listening,
    /// The machine is up, nobody listens: connects are refused.
    Closed,
    /// The machine is off: nothing answers.
    Off,
}

#[derive(Clone, Debug)]
enum Item {
    Data(Bytes),
    Fin,
    Reset,
}

#[derive(Clone, Debug, Default)]
struct Pipe {
    queue: VecDeque<(u64, Item)>,
    last: u64,
    clogged_until: u64,
    sends: u64,
}

#[derive(Clone, Debug)]
struct Connection {
    client: ClientId,
    to_node: Pipe,
    to_client: Pipe,
    decoder: FrameDecoder,
    held: VecDeque<Bytes>,
    paused: bool,
    /// The node has heard of it and not of its end.
    node_open: bool,
    /// The node asked to close it: no frame reaches it any more.
    node_closing: bool,
    /// The client has not closed it.
    client_open: bool,
    refused: bool,
    /// The machine lost its memory of it.
    forgotten: bool,
    given: u64,
    arrived: u64,
    told: u64,
    sent_due: bool,
}

/// All connections.
#[derive(Clone, Debug, Default)]
pub struct Net {
    conns: BTreeMap<ConnId, Connection>,
    links: Vec<Link>,
    next: u64,
    clogs: BTreeMap<(ClientId, Side), u64>,
}

/// Nanoseconds from a send to word of it.
const SENT_DELAY: u64 = 15_000;
/// Nanoseconds after which a connect that nobody answers fails.
const CONNECT_TIMEOUT: u64 = 10_000_000_000;

impl Net {
    /// A network of these links, one a client.
    #[must_use]
    pub fn new(links: Vec<Link>) -> Net {
        Net {
            links,
            ..Net::default()
        }
    }

    fn delay(&self, client: ClientId, choices: &mut Choices) -> u64 {
        choices.delay(
            self.links[client].latency,
            Subsystem::NetLatency,
            client as u64,
        )
    }

    /// A client opens a connection; its name is returned at once.
    pub fn connect(
        &mut self,
        now: u64,
        client: ClientId,
        choices: &mut Choices,
        out: &mut Outcome,
    ) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let connection = Connection {
            client,
            to_node: Pipe::default(),
            to_client: Pipe::default(),
            decoder: FrameDecoder::new(FRAME_LIMIT_UNTRUSTED),
            held: VecDeque::new(),
            paused: false,
            node_open: false,
            node_closing: false,
            client_open: true,
            refused: false,
            forgotten: false,
            given: 0,
            arrived: 0,
            told: 0,
            sent_due: false,
        };
        self.conns.insert(conn, connection);
        let clogged = self.clogs.get(&(client, Side::Node)).copied().unwrap_or(0);
        let at = (now + self.delay(client, choices)).max(clogged);
        out.later.push((at, NetEvent::Syn(conn)));
        conn
    }

    /// A client sends bytes.
    pub fn client_sends(
        &mut self,
        now: u64,
        conn: ConnId,
        bytes: Bytes,
        host: Host,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        if connection.forgotten {
            // The machine that came back knows no such connection and says so; one that is off says nothing.
            if host != Host::Off {
                self.push(now, conn, Side::Client, Item::Reset, choices, out);
            }
            return;
        }
        self.push_data(now, conn, Side::Node, &bytes, choices, out);
    }

    /// A client closes its connection, or vanishes without a word.
    pub fn client_closes(
        &mut self,
        now: u64,
        conn: ConnId,
        silently: bool,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        connection.client_open = false;
        if connection.forgotten {
            self.conns.remove(&conn);
        } else if !silently {
            self.push(now, conn, Side::Node, Item::Fin, choices, out);
        }
    }

    /// The node sends.
    pub fn node_sends(
        &mut self,
        now: u64,
        conn: ConnId,
        parts: &Parts,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        if !connection.node_open || connection.node_closing {
            return;
        }
        connection.given += parts.len() as u64;
        self.push_data(now, conn, Side::Client, &parts.to_bytes(), choices, out);
        self.tell_sent(now, conn, out);
    }

    /// The node stops reading a connection.
    pub fn node_pauses(&mut self, conn: ConnId) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.paused = true;
        }
    }

    /// The node reads a connection again.
    pub fn node_resumes(&mut self, now: u64, conn: ConnId, out: &mut Outcome) {
        if let Some(connection) = self.conns.get_mut(&conn)
            && std::mem::take(&mut connection.paused)
        {
            out.later.push((now, NetEvent::Deliver(conn, Side::Node)));
        }
    }

    /// The node sets the limit of a connection's frames.
    pub fn node_limits(&mut self, conn: ConnId, limit: u32) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.decoder.set_limit(limit);
        }
    }

    /// The node closes a connection after what it sent.
    pub fn node_closes(
        &mut self,
        now: u64,
        conn: ConnId,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        if let Some(connection) = self.conns.get_mut(&conn)
            && connection.node_open
            && !connection.node_closing
        {
            connection.node_closing = true;
            self.push(now, conn, Side::Client, Item::Fin, choices, out);
        }
    }

    /// The node's process ended; its machine closes every connection (a power cut does not even that).
    pub fn process_ended(
        &mut self,
        now: u64,
        power_cut: bool,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let Some(connection) = self.conns.get_mut(&conn) else {
                continue;
            };
            connection.node_open = false;
            connection.forgotten = true;
            connection.to_node.queue.clear();
            connection.held.clear();
            if power_cut {
                connection.to_client.queue.clear();
                if !connection.client_open {
                    self.conns.remove(&conn);
                }
            } else {
                self.push(now, conn, Side::Client, Item::Reset, choices, out);
            }
        }
    }

    /// A middlebox resets a connection: both sides learn of it, what was under way is gone.
    pub fn reset(&mut self, now: u64, conn: ConnId, choices: &mut Choices, out: &mut Outcome) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.to_node.queue.clear();
            connection.to_client.queue.clear();
            self.push(now, conn, Side::Node, Item::Reset, choices, out);
            self.push(now, conn, Side::Client, Item::Reset, choices, out);
        }
    }

    /// Nothing of a client's traffic in one direction arrives before `until`.
    pub fn clog(&mut self, client: ClientId, side: Side, until: u64) {
        self.clogs.insert((client, side), until);
        for connection in self.conns.values_mut() {
            if connection.client == client {
                connection.pipe(side).clogged_until = until;
            }
        }
    }

    /// Every clog ends now.
    pub fn unclog(&mut self, now: u64, out: &mut Outcome) {
        self.clogs.clear();
        for (conn, connection) in &mut self.conns {
            for side in [Side::Node, Side::Client] {
                connection.pipe(side).clogged_until = 0;
                out.later.push((now, NetEvent::Deliver(*conn, side)));
            }
        }
    }

    /// A further client joins.
    pub fn add_link(&mut self, link: Link) {
        self.links.push(link);
    }

    /// Open connections, for faults to choose from.
    pub fn open(&self) -> impl Iterator<Item = ConnId> {
        self.conns
            .iter()
            .filter(|(_, connection)| connection.node_open && connection.client_open)
            .map(|(conn, _)| *conn)
    }

    fn push_data(
        &mut self,
        now: u64,
        conn: ConnId,
        side: Side,
        bytes: &Bytes,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let client = connection.client;
        let pipe = connection.pipe(side);
        pipe.sends += 1;
        let link = self.links[client];
        let key = (client as u64) << 1 | u64::from(side == Side::Node);
        let mut cuts = vec![0, bytes.len()];
        if bytes.len() > 1 && choices.happens(link.cut_per_million, Subsystem::NetChunk, key) {
            let pieces = choices.between(1, 3, Subsystem::NetChunk, key);
            for _ in 0..pieces {
                // Half of the cuts fall into the length of the frame and the header behind it.
                let within = match choices.below(2, Subsystem::NetChunk, key) {
                    0 => bytes.len().min(12),
                    _ => bytes.len(),
                };
                let at = choices.below(within as u64, Subsystem::NetChunk, key);
                cuts.push(usize::try_from(at).unwrap_or(0));
            }
            cuts.sort_unstable();
            cuts.dedup();
        }
        for pair in cuts.windows(2) {
            let piece = bytes.slice(pair[0]..pair[1]);
            self.push(now, conn, side, Item::Data(piece), choices, out);
        }
    }

    fn push(
        &mut self,
        now: u64,
        conn: ConnId,
        side: Side,
        item: Item,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let Some(client) = self.conns.get(&conn).map(|connection| connection.client) else {
            return;
        };
        let bytes = match &item {
            Item::Data(bytes) => bytes.len() as u64,
            Item::Fin | Item::Reset => 0,
        };
        let travel = self.delay(client, choices) + bytes * self.links[client].per_kib / 1024;
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let pipe = connection.pipe(side);
        let at = (now + travel).max(pipe.last);
        pipe.last = at;
        pipe.queue.push_back((at, item));
        out.later.push((at, NetEvent::Deliver(conn, side)));
    }

    fn tell_sent(&mut self, now: u64, conn: ConnId, out: &mut Outcome) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let taken = connection
            .given
            .min(connection.arrived + self.links[connection.client].buffer);
        if taken > connection.told && !connection.sent_due {
            connection.sent_due = true;
            out.later.push((now + SENT_DELAY, NetEvent::Sent(conn)));
        }
    }

    /// Something is due.
    pub fn happens(
        &mut self,
        now: u64,
        event: NetEvent,
        host: Host,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        match event {
            NetEvent::Syn(conn) => self.syn(now, conn, host, choices, out),
            NetEvent::Answered(conn) => self.answered(conn, out),
            NetEvent::Deliver(conn, side) => self.deliver(now, conn, side, out),
            NetEvent::Sent(conn) => {
                let Some(connection) = self.conns.get_mut(&conn) else {
                    return;
                };
                connection.sent_due = false;
                let taken = connection
                    .given
                    .min(connection.arrived + self.links[connection.client].buffer);
                let bytes = taken - connection.told;
                connection.told = taken;
                if bytes > 0 && connection.node_open {
                    out.node.push(ToNode::Sent(conn, bytes));
                }
            }
        }
    }

    fn syn(
        &mut self,
        now: u64,
        conn: ConnId,
        host: Host,
        choices: &mut Choices,
        out: &mut Outcome,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let client = connection.client;
        match host {
            Host::Listening => {
                connection.node_open = true;
                let peer = format!("10.0.0.{}:{}", client + 1, 30_000 + conn.0 % 30_000);
                out.node.push(ToNode::Opened(conn, peer));
            }
            Host::Closed => connection.refused = true,
            Host::Off => {
                connection.refused = true;
                out.later
                    .push((now + CONNECT_TIMEOUT, NetEvent::Answered(conn)));
                return;
            }
        }
        let clogged = self.clogs.get(&(client, Side::Client)).copied();
        if let Some(connection) = self.conns.get_mut(&conn) {
            for side in [Side::Node, Side::Client] {
                connection.pipe(side).clogged_until =
                    self.clogs.get(&(client, side)).copied().unwrap_or(0);
            }
        }
        let at = (now + self.delay(client, choices)).max(clogged.unwrap_or(0));
        if let Some(connection) = self.conns.get_mut(&conn) {
            // What the node sends at once travels behind the answer.
            connection.to_client.last = at;
        }
        out.later.push((at, NetEvent::Answered(conn)));
    }

    fn answered(&mut self, conn: ConnId, out: &mut Outcome) {
        let Some(connection) = self.conns.get(&conn) else {
            return;
        };
        let (client, waits) = (connection.client, connection.client_open);
        let event = match connection.refused {
            true => ToClient::Failed,
            false => ToClient::Connected,
        };
        if connection.refused {
            self.conns.remove(&conn);
        }
        if waits {
            out.clients.push((client, event));
        }
    }

    fn deliver(&mut self, now: u64, conn: ConnId, side: Side, out: &mut Outcome) {
        loop {
            let Some(connection) = self.conns.get_mut(&conn) else {
                return;
            };
            if side == Side::Node && connection.paused {
                return;
            }
            if side == Side::Node
                && connection.node_open
                && !connection.node_closing
                && let Some(frame) = connection.held.pop_front()
            {
                // One frame at a time: the node may pause between any two.
                out.node.push(ToNode::Frame(conn, frame));
                out.later.push((now, NetEvent::Deliver(conn, side)));
                return;
            }
            let pipe = connection.pipe(side);
            if pipe.clogged_until > now {
                out.later
                    .push((pipe.clogged_until, NetEvent::Deliver(conn, side)));
                return;
            }
            if pipe.queue.front().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let Some((_, item)) = pipe.queue.pop_front() else {
                return;
            };
            match side {
                Side::Node => self.at_node(conn, item, out),
                Side::Client => self.at_client(now, conn, item, out),
            }
        }
    }

    fn at_node(&mut self, conn: ConnId, item: Item, out: &mut Outcome) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        if !connection.node_open {
            return;
        }
        let ended = match item {
            Item::Data(_) if connection.node_closing => return,
            Item::Data(bytes) => {
                connection.decoder.push(&bytes);
                loop {
                    match connection.decoder.next_frame() {
                        Ok(Some(frame)) => connection.held.push_back(frame),
                        Ok(None) => return,
                        Err(_) => break CloseReason::FrameLimit,
                    }
                }
            }
            Item::Fin => CloseReason::PeerClosed,
            Item::Reset => CloseReason::Failed,
        };
        connection.node_open = false;
        connection.held.clear();
        out.node.push(ToNode::Closed(conn, ended));
        if connection.client_open {
            connection.forgotten = true;
            connection.to_client.queue.clear();
            connection.to_client.queue.push_back((0, Item::Reset));
            out.later.push((
                connection.to_client.last,
                NetEvent::Deliver(conn, Side::Client),
            ));
        } else {
            self.conns.remove(&conn);
        }
    }

    fn at_client(&mut self, now: u64, conn: ConnId, item: Item, out: &mut Outcome) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let client = connection.client;
        match item {
            Item::Data(bytes) => {
                if !connection.client_open {
                    return;
                }
                connection.arrived += bytes.len() as u64;
                out.clients.push((client, ToClient::Bytes(bytes)));
                self.tell_sent(now, conn, out);
            }
            Item::Fin | Item::Reset => {
                if connection.client_open {
                    out.clients.push((client, ToClient::Closed));
                }
                if connection.node_open {
                    let reason = match connection.node_closing {
                        true => CloseReason::Asked,
                        false => CloseReason::Failed,
                    };
                    out.node.push(ToNode::Closed(conn, reason));
                }
                self.conns.remove(&conn);
            }
        }
    }
}

impl Connection {
    fn pipe(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Node => &mut self.to_node,
            Side::Client => &mut self.to_client,
        }
    }
}
