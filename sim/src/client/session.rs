//! The part that all clients share: one connection to the broker, negotiated versions, requests and their answers in order.
//!
//! Owns connecting with back-off, the ApiVersions handshake, correlation ids, request timeouts and the cutting of frames. It
//! knows no API but that one; what a request was about is the owner's tag `T`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trialog_core::wire::{
    self, ApiKey, ApiVersionsRequest, ErrorCode, FrameDecoder, Request, decode_response,
    request_frame,
};

use super::{Act, Cx, MILLISECOND};
use crate::check::Invariant;
use crate::net::ToClient;

/// How a client behaves towards any broker.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// How old its protocol is: it uses the newest version less up to this many.
    pub age: i16,
    /// `request.timeout.ms`, in nanoseconds.
    pub request_timeout: u64,
    /// `reconnect.backoff.ms`, in nanoseconds.
    pub backoff: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Down { retry_at: u64 },
    Connecting { deadline: u64 },
    Handshake,
    Up,
}

#[derive(Clone, Debug)]
struct InFlight<T> {
    correlation: i32,
    version: i16,
    deadline: u64,
    /// `None`: the handshake's.
    tag: Option<T>,
}

/// What came of a session's doings.
#[derive(Clone, Debug)]
pub enum Happened<T> {
    /// Requests may be sent now.
    Up,
    /// A request was answered in this version.
    Answer {
        /// What the request was about.
        tag: T,
        /// Its version.
        version: i16,
        /// The frame, for [`Session::decode`].
        frame: Bytes,
    },
    /// The connection is gone; nobody knows what became of these.
    Lost(Vec<T>),
}

/// One connection of a client, over all its reconnects.
#[derive(Clone, Debug)]
pub struct Session<T> {
    profile: Profile,
    phase: Phase,
    decoder: FrameDecoder,
    versions: BTreeMap<i16, (i16, i16)>,
    correlation: i32,
    in_flight: VecDeque<InFlight<T>>,
    failures: u32,
}

/// From here on Produce and Fetch speak of topics by id.
const TOPIC_IDS: i16 = 13;
/// No answer is longer.
const ANSWER_LIMIT: u32 = 100 << 20;

impl<T> Session<T> {
    /// A session that will connect at its first wake.
    #[must_use]
    pub fn new(profile: Profile) -> Session<T> {
        Session {
            profile,
            phase: Phase::Down { retry_at: 0 },
            decoder: FrameDecoder::new(ANSWER_LIMIT),
            versions: BTreeMap::new(),
            correlation: 0,
            in_flight: VecDeque::new(),
            failures: 0,
        }
    }

    /// May requests be sent?
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Requests that wait for their answers.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The least time at which [`Session::happens`] must be called.
    #[must_use]
    pub fn next_wake(&self) -> u64 {
        match self.phase {
            Phase::Down { retry_at } => retry_at,
            Phase::Connecting { deadline } => deadline,
            Phase::Handshake | Phase::Up => self
                .in_flight
                .front()
                .map_or(u64::MAX, |first| first.deadline),
        }
    }

    /// The version in which this client asks `api`; `None` if both sides share none.
    #[must_use]
    pub fn version(&self, api: ApiKey) -> Option<i16> {
        let version = self.aged(api)?;
        let by_topic_id = matches!(api, ApiKey::Produce | ApiKey::Fetch) && version >= TOPIC_IDS;
        // Topic ids come with Metadata v10: a client that is older there names topics here. KIP-516.
        match by_topic_id && self.aged(ApiKey::Metadata)? < 10 {
            true => Some(TOPIC_IDS - 1),
            false => Some(version),
        }
    }

    fn aged(&self, api: ApiKey) -> Option<i16> {
        let (min, max) = *self.versions.get(&api.code())?;
        let min = min.max(*api.versions().start());
        let max = max.min(api.latest_stable_version());
        (min <= max).then(|| max - self.profile.age.rem_euclid(max - min + 1))
    }

    /// Sends a request; `tag` comes back with its answer.
    pub fn request<R: Request>(&mut self, cx: &mut Cx<'_>, body: &R, tag: T) -> bool {
        let Some(version) = self.version(R::API) else {
            cx.judge.violate(
                Invariant::Protocol,
                format!("the broker does not offer {:?}", R::API),
            );
            return false;
        };
        self.send(cx, version, body, Some(Some(tag)))
    }

    /// Sends a request that is not answered.
    pub fn request_without_answer<R: Request>(&mut self, cx: &mut Cx<'_>, body: &R) -> bool {
        match self.version(R::API) {
            Some(version) => self.send(cx, version, body, None),
            None => false,
        }
    }

    fn send<R: Request>(
        &mut self,
        cx: &mut Cx<'_>,
        version: i16,
        body: &R,
        expect: Option<Option<T>>,
    ) -> bool {
        self.correlation = self.correlation.wrapping_add(1);
        let client_id = wire::Str::from(format!("client-{}", cx.me));
        let frame = match request_frame(version, self.correlation, Some(client_id), body) {
            Ok(frame) => frame,
            Err(error) => panic!(
                "a client wrote what {:?} v{version} cannot say: {error:?}",
                R::API
            ),
        };
        cx.acts.push(Act::Send(frame.to_bytes()));
        if let Some(tag) = expect {
            self.in_flight.push_back(InFlight {
                correlation: self.correlation,
                version,
                deadline: cx.now + self.profile.request_timeout,
                tag,
            });
        }
        true
    }

    /// Reads an answer to `R`. Bytes that cannot be read break the protocol.
    pub fn decode<R: Request>(cx: &mut Cx<'_>, version: i16, frame: Bytes) -> Option<R::Response> {
        match decode_response::<R>(frame, version) {
            Ok((_, body)) => Some(body),
            Err(error) => {
                cx.judge.violate(
                    Invariant::Protocol,
                    format!(
                        "the answer to {:?} v{version} cannot be read: {error:?}",
                        R::API
                    ),
                );
                None
            }
        }
    }

    /// The client's process ends: nothing of the session is left.
    pub fn restart(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.phase, Phase::Down { .. }) {
            cx.acts.push(Act::Close);
        }
        *self = Session::new(self.profile);
        self.phase = Phase::Down {
            retry_at: cx.now + self.profile.backoff,
        };
    }

    /// Something arrived, or time has passed.
    pub fn happens(&mut self, cx: &mut Cx<'_>, event: Option<ToClient>) -> Vec<Happened<T>> {
        let mut happened = Vec::new();
        match event {
            None => {}
            Some(ToClient::Connected) => self.connected(cx),
            Some(ToClient::Failed | ToClient::Closed) => self.down(cx, &mut happened),
            Some(ToClient::Bytes(bytes)) => self.arrived(cx, &bytes, &mut happened),
        }
        match self.phase {
            Phase::Down { retry_at } if retry_at <= cx.now => {
                cx.acts.push(Act::Connect);
                self.phase = Phase::Connecting {
                    deadline: cx.now + self.profile.request_timeout,
                };
            }
            Phase::Connecting { deadline } if deadline <= cx.now => {
                cx.acts.push(Act::Close);
                self.down(cx, &mut happened);
            }
            Phase::Handshake | Phase::Up if self.next_wake() <= cx.now => {
                cx.acts.push(Act::Close);
                self.down(cx, &mut happened);
            }
            Phase::Down { .. } | Phase::Connecting { .. } | Phase::Handshake | Phase::Up => {}
        }
        happened
    }

    /// Closes the connection: the owner does not trust it any more.
    pub fn close(&mut self, cx: &mut Cx<'_>) -> Vec<T> {
        let mut happened = Vec::new();
        cx.acts.push(Act::Close);
        self.down(cx, &mut happened);
        happened
            .into_iter()
            .flat_map(|lost| match lost {
                Happened::Lost(tags) => tags,
                Happened::Up | Happened::Answer { .. } => Vec::new(),
            })
            .collect()
    }

    fn connected(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Handshake;
        let newest = ApiKey::ApiVersions.latest_stable_version();
        let version = (newest - self.profile.age.rem_euclid(newest + 1)).max(0);
        self.ask_versions(cx, version);
    }

    fn ask_versions(&mut self, cx: &mut Cx<'_>, version: i16) {
        let body = ApiVersionsRequest {
            client_software_name: "trialog-sim".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        self.send(cx, version, &body, Some(None));
    }

    fn down(&mut self, cx: &mut Cx<'_>, happened: &mut Vec<Happened<T>>) {
        let backoff = self.profile.backoff << self.failures.min(4);
        self.failures += 1;
        let jitter = cx.below(backoff / 2 + 1, 0);
        self.phase = Phase::Down {
            retry_at: cx.now + backoff.max(MILLISECOND) + jitter,
        };
        self.decoder = FrameDecoder::new(ANSWER_LIMIT);
        let lost = self.in_flight.drain(..).filter_map(|one| one.tag).collect();
        happened.push(Happened::Lost(lost));
    }

    fn arrived(&mut self, cx: &mut Cx<'_>, bytes: &[u8], happened: &mut Vec<Happened<T>>) {
        if !matches!(self.phase, Phase::Handshake | Phase::Up) {
            return;
        }
        self.decoder.push(bytes);
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => self.answered(cx, frame, happened),
                Ok(None) => return,
                Err(error) => {
                    cx.judge.violate(
                        Invariant::Protocol,
                        format!("client {} got an impossible frame: {error}", cx.me),
                    );
                    return;
                }
            }
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, frame: Bytes, happened: &mut Vec<Happened<T>>) {
        let correlation = wire::response_correlation_id(&frame).ok();
        let Some(first) = self.in_flight.pop_front() else {
            cx.judge.violate(
                Invariant::Protocol,
                format!("client {} got an answer to nothing: {correlation:?}", cx.me),
            );
            return;
        };
        if correlation != Some(first.correlation) {
            cx.judge.violate(
                Invariant::Protocol,
                format!(
                    "client {} got the answer to {correlation:?} before the one to {}",
                    cx.me, first.correlation
                ),
            );
            return;
        }
        match first.tag {
            Some(tag) => happened.push(Happened::Answer {
                tag,
                version: first.version,
                frame,
            }),
            None => self.versions_told(cx, first.version, frame, happened),
        }
    }

    fn versions_told(
        &mut self,
        cx: &mut Cx<'_>,
        version: i16,
        frame: Bytes,
        happened: &mut Vec<Happened<T>>,
    ) {
        let Some(told) = Session::<T>::decode::<ApiVersionsRequest>(cx, version, frame) else {
            return;
        };
        if told.error_code == ErrorCode::UNSUPPORTED_VERSION && version > 0 {
            self.ask_versions(cx, 0);
            return;
        }
        if told.error_code != ErrorCode::NONE {
            cx.judge.violate(
                Invariant::Protocol,
                format!("ApiVersions v{version} was answered by {}", told.error_code),
            );
            return;
        }
        self.versions = told
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        self.failures = 0;
        self.phase = Phase::Up;
        happened.push(Happened::Up);
    }
}
