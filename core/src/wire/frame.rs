//! Cutting a stream of bytes into frames: a four-byte length, then that many bytes.
//!
//! Shared by the drivers, the simulator and simulated clients. Does no input or output; its buffer grows with the bytes
//! that have arrived, never by what a length promises.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length that stands before each frame.
pub const LENGTH_BYTES: usize = 4;

/// What is always reserved for the next bytes, and the block that an idle connection may keep.
const RESERVE_BYTES_MIN: usize = 4 * 1024;

/// A length that no honest peer sends. The connection must be closed: where the next frame starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is below zero.
    Negative {
        /// What it said.
        length: i32,
    },
    /// The length is above the connection's limit.
    TooLarge {
        /// What it said.
        length: i32,
        /// The limit when it was read.
        limit: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Negative { length } => {
                write!(f, "a frame with the negative length {length}")
            }
            FrameError::TooLarge { length, limit } => write!(
                f,
                "a frame of {length} bytes, above the limit of {limit} (socket.request.max.bytes; less before authentication)"
            ),
        }
    }
}
impl std::error::Error for FrameError {}

/// The receiving side of one connection. Bytes go in with [`push`](Self::push) or straight into
/// [`space`](Self::space); whole frames come out of [`next_frame`](Self::next_frame) as slices of the same memory.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    limit: u32,
    /// The largest frame that arrived lately: a peer that has sent one of this size is trusted to send another.
    recent_bytes: usize,
}

impl FrameDecoder {
    /// For a connection whose frames may have up to `limit` bytes, their length not counted.
    #[must_use]
    pub fn new(limit: u32) -> FrameDecoder {
        FrameDecoder {
            buffer: BytesMut::new(),
            limit,
            recent_bytes: 0,
        }
    }

    /// Changes the limit for the frames that have not been returned yet.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Bytes that have arrived and are not returned yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Adds bytes by copying them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer with room for the next read to append to; nothing else may be done with it. The room is bounded by
    /// what this peer has sent before or has already sent of the present frame, and nothing is allocated beyond `most` further bytes.
    pub fn space(&mut self, most: usize) -> &mut BytesMut {
        let arrived = self.buffer.len();
        let missing = self
            .frame_len()
            .map_or(0, |len| (LENGTH_BYTES + len).saturating_sub(arrived));
        let earned = arrived.max(self.recent_bytes);
        let room = missing.min(earned).max(RESERVE_BYTES_MIN).min(most);
        if self.buffer.capacity() - arrived < room.min(missing.max(1)) {
            self.buffer.reserve(room);
        }
        &mut self.buffer
    }

    /// The next whole frame without its length, or `None` until more bytes arrive. After an error every further call
    /// gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*prefix);
        let Ok(unsigned) = u32::try_from(length) else {
            return Err(FrameError::Negative { length });
        };
        if unsigned > self.limit {
            return Err(FrameError::TooLarge {
                length,
                limit: self.limit,
            });
        }
        let len = unsigned as usize;
        if self.buffer.len() < LENGTH_BYTES + len {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let frame = self.buffer.split_to(len).freeze();
        self.recent_bytes = len.max(self.recent_bytes / 2);
        if self.buffer.is_empty() && len > RESERVE_BYTES_MIN {
            // An idle connection must not keep a large block alive.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }

    /// The length of the frame that has begun, if it is known and may be.
    #[must_use]
    pub fn frame_len(&self) -> Option<usize> {
        let prefix = self.buffer.first_chunk::<LENGTH_BYTES>()?;
        let length = u32::try_from(i32::from_be_bytes(*prefix)).ok()?;
        (length <= self.limit).then_some(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat())
            .collect()
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in prop::collection::vec(1_usize..700, 1..200),
            into_space in any::<bool>(),
        ) {
            let stream = framed(&frames);
            let mut decoder = FrameDecoder::new(300);
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                if into_space {
                    decoder.space(usize::MAX).put_slice(chunk);
                } else {
                    decoder.push(chunk);
                }
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_bad_length_is_an_error_for_good() {
        let mut decoder = FrameDecoder::new(10);
        decoder.push(&[0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::Negative { length: -1 })
        );
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::Negative { length: -1 })
        );

        let mut decoder = FrameDecoder::new(10);
        decoder.push(&[0, 0, 0, 11]);
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooLarge {
                length: 11,
                limit: 10
            })
        );
        decoder.set_limit(11);
        decoder.push(&[7; 11]);
        assert_eq!(decoder.next_frame(), Ok(Some(Bytes::from_static(&[7; 11]))));
    }

    #[test]
    fn a_promised_length_reserves_nothing() {
        let mut decoder = FrameDecoder::new(u32::MAX);
        decoder.push(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(decoder.space(usize::MAX).capacity() <= 2 * RESERVE_BYTES_MIN);
        decoder.push(&[0; 10_000]);
        assert!(decoder.space(usize::MAX).capacity() <= 4 * 10_004);
    }

    #[test]
    fn a_peer_that_sent_a_large_frame_has_no_more_room_than_it_is_given() {
        let mut decoder = FrameDecoder::new(1 << 20);
        decoder.push(&framed(&[vec![1; 65_536]]));
        assert!(decoder.next_frame().unwrap().is_some());
        decoder.push(&[0, 1, 0, 0]);
        assert!(decoder.space(100).capacity() < RESERVE_BYTES_MIN);
    }

    #[test]
    fn a_peer_that_sends_large_frames_gets_one_buffer_each() {
        let mut decoder = FrameDecoder::new(1 << 20);
        let stream = framed(&[vec![1; 65_536]]);
        decoder.push(&stream);
        assert!(decoder.next_frame().unwrap().is_some());
        decoder.space(usize::MAX).put_slice(&stream[..4]);
        assert!(decoder.space(usize::MAX).capacity() >= stream.len());
        let block = decoder.buffer.as_ptr();
        decoder.push(&stream[4..]);
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(
            frame.as_ptr(),
            block.wrapping_add(LENGTH_BYTES),
            "not moved"
        );
    }
}
