//! The network and the clients on it: what arrives where, and what clients do then.

use trialog_core::ids::ListenerId;
use trialog_core::io::Input;

use super::{Event, World};
use crate::client::{Act, Client, Cx, MILLISECOND};
use crate::clock::EPOCH_MS;
use crate::net::{ClientId, NetEvent, Outcome, ToClient, ToNode};

impl World {
    pub(super) fn net_event(&mut self, event: NetEvent) {
        let mut out = Outcome::default();
        let host = self.machine.host();
        self.net
            .happens(self.now, event, host, &mut self.choices, &mut out);
        self.came_of(out);
    }

    pub(super) fn came_of(&mut self, out: Outcome) {
        for (at, event) in out.later {
            self.schedule(at, Event::Net(event));
        }
        for input in out.node {
            if !self.machine.runs() {
                return;
            }
            let input = match input {
                ToNode::Opened(conn, peer) => Input::Opened {
                    conn,
                    listener: ListenerId(0),
                    peer,
                },
                ToNode::Frame(conn, frame) => Input::Frame { conn, frame },
                ToNode::Sent(conn, bytes) => Input::Sent { conn, bytes },
                ToNode::Closed(conn, reason) => Input::Closed { conn, reason },
            };
            self.step(input);
        }
        for (client, event) in out.clients {
            self.client(client, Some(event));
        }
    }

    pub(super) fn with_client<T>(
        &mut self,
        client: ClientId,
        act: impl FnOnce(&mut Client, &mut Cx<'_>) -> T,
    ) -> (T, Vec<Act>) {
        let mut acts = Vec::new();
        let mut cx = Cx {
            now: self.now,
            wall_ms: EPOCH_MS + i64::try_from(self.now / MILLISECOND).unwrap_or(i64::MAX),
            me: client,
            choices: &mut self.choices,
            judge: &mut self.judge,
            acts: &mut acts,
        };
        let done = act(&mut self.clients[client], &mut cx);
        (done, acts)
    }

    pub(super) fn client(&mut self, client: ClientId, event: Option<ToClient>) {
        if self.log.is_some()
            && let Some(event) = &event
        {
            let name = self.clients[client].name();
            let line = match event {
                ToClient::Bytes(bytes) => format!("{name} gets {} bytes", bytes.len()),
                ToClient::Connected | ToClient::Failed | ToClient::Closed => {
                    format!("{name}: {event:?}")
                }
            };
            self.note(|| line);
        }
        if matches!(event, Some(ToClient::Failed)) {
            self.count("refused-connect");
        }
        if matches!(event, Some(ToClient::Failed | ToClient::Closed)) {
            self.conns[client] = None;
        }
        let slack = match event {
            None => MILLISECOND / 5,
            Some(_) => 0,
        };
        let ((), acts) = self.with_client(client, |client, cx| client.happens(cx, event));
        self.act(client, acts, false);
        self.wake_client(client, slack);
    }

    pub(super) fn act(&mut self, client: ClientId, acts: Vec<Act>, silently: bool) {
        let mut out = Outcome::default();
        for act in acts {
            match act {
                Act::Connect => {
                    let conn = self
                        .net
                        .connect(self.now, client, &mut self.choices, &mut out);
                    self.conns[client] = Some(conn);
                }
                Act::Send(bytes) => {
                    self.roll.bytes(&bytes);
                    if let Some(conn) = self.conns[client] {
                        let host = self.machine.host();
                        self.net.client_sends(
                            self.now,
                            conn,
                            bytes,
                            host,
                            &mut self.choices,
                            &mut out,
                        );
                    }
                }
                Act::Close => {
                    if let Some(conn) = self.conns[client].take() {
                        self.net.client_closes(
                            self.now,
                            conn,
                            silently,
                            &mut self.choices,
                            &mut out,
                        );
                    }
                }
            }
        }
        self.came_of(out);
    }

    /// Schedules a client's next wake, at least `slack` from now.
    pub(super) fn wake_client(&mut self, client: ClientId, slack: u64) {
        let wants = self.clients[client].next_wake();
        if wants == u64::MAX {
            return;
        }
        let at = wants.max(self.now + slack);
        if at < self.wakes[client] {
            self.wakes[client] = at;
            self.schedule(at, Event::Client { client, at });
        }
    }
}
