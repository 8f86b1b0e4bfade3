//! A stranger: connects, sends what is no request of Kafka's, and waits for the node to close the connection.
//!
//! Owns no promise: what it does may cost the node nothing but that connection, and everybody else's promises are judged.

use bytes::Bytes;

use super::{Act, Cx, MILLISECOND, SECOND};
use crate::net::ToClient;

/// It leaves when nothing came for so long.
const PATIENCE: u64 = 10 * SECOND;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Away { until: u64 },
    Connecting { until: u64 },
    Sent { until: u64 },
}

/// A stranger.
#[derive(Clone, Debug)]
pub struct Stranger {
    phase: Phase,
    interval: u64,
    stopped: bool,
}

impl Stranger {
    /// It comes every `interval` nanoseconds or so.
    #[must_use]
    pub fn new(interval: u64) -> Stranger {
        Stranger {
            phase: Phase::Away { until: interval },
            interval,
            stopped: false,
        }
    }

    pub(super) fn next_wake(&self) -> u64 {
        match self.phase {
            Phase::Away { .. } if self.stopped => u64::MAX,
            Phase::Away { until } | Phase::Connecting { until } | Phase::Sent { until } => until,
        }
    }

    pub(super) fn wind_down(&mut self) {
        self.stopped = true;
    }

    pub(super) fn restart(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.phase, Phase::Away { .. }) {
            cx.acts.push(Act::Close);
        }
        self.leave(cx);
    }

    pub(super) fn happens(&mut self, cx: &mut Cx<'_>, event: Option<ToClient>) {
        let until = cx.now + PATIENCE;
        match (event, self.phase) {
            (Some(ToClient::Connected), _) => {
                let rubbish = rubbish(cx);
                cx.acts.push(Act::Send(rubbish));
                self.phase = Phase::Sent { until };
            }
            (Some(ToClient::Failed | ToClient::Closed), _) => self.leave(cx),
            // Some of it is answered by an error.
            (Some(ToClient::Bytes(_)), _) => {}
            (None, Phase::Away { until: due }) if due <= cx.now && !self.stopped => {
                cx.acts.push(Act::Connect);
                self.phase = Phase::Connecting { until };
            }
            (None, Phase::Connecting { until: due } | Phase::Sent { until: due })
                if due <= cx.now =>
            {
                cx.acts.push(Act::Close);
                self.leave(cx);
            }
            (None, _) => {}
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        let spread = cx.below(self.interval + MILLISECOND, 1);
        let until = cx.now + self.interval / 2 + spread;
        self.phase = Phase::Away { until };
    }
}

/// Bytes that begin with the length of a frame and are no request.
fn rubbish(cx: &mut Cx<'_>) -> Bytes {
    let framed = |body: &[u8]| {
        let len = u32::try_from(body.len()).unwrap_or(0);
        Bytes::from([&len.to_be_bytes()[..], body].concat())
    };
    match cx.below(9, 2) {
        0 => Bytes::from_static(b"\xff\xff\xff\xff"),
        1 => Bytes::from_static(b"\x7f\xff\xff\xff\0\0"),
        2 => framed(b""),
        3 => framed(b"\0"),
        // An API that Kafka does not have.
        4 => framed(b"\x7f\xff\0\0\0\0\0\x01\xff\xff"),
        // Metadata and Produce that promise 2^31 - 1 topics.
        5 => framed(b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff"),
        6 => framed(b"\0\0\0\x03\0\0\0\x01\xff\xff\xff\xff\0\x01\0\0\0\0\x7f\xff\xff\xff"),
        // A frame that never ends.
        7 => Bytes::from_static(b"\0\0\x10\0\0\x03\0\x01"),
        _ => {
            let len = cx.below(120, 3);
            let body: Vec<u8> = (0..len).map(|_| cx.below(256, 4) as u8).collect();
            framed(&body)
        }
    }
}
