//! The codecs of Kafka's batches, both ways, as streams of bounded memory and output.
//!
//! gzip as members in a row; snappy in xerial's framing or as one raw block, as Kafka's clients write and read; lz4 frames of
//! independent blocks; zstd. Owns no rule about records.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::wire::batch::Compression;

/// Decompressed bytes of one batch beyond which it is refused: no reader of Kafka's protocol could take more.
pub const OUTPUT_LIMIT: u64 = i32::MAX as u64;
/// The largest window that a zstd frame may ask for, as a power of two (Kafka's readers have the same limit).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_LEN: usize = 16;
/// Uncompressed bytes of one xerial block.
const XERIAL_BLOCK: usize = 32 * 1024;

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Opens a decoder over `data`. `Compression::None` has none: the caller reads the slice itself.
pub fn decoder(compression: Compression, data: &Bytes) -> io::Result<Box<dyn Read>> {
    let input = data.clone().reader();
    let decoder: Box<dyn Read> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Snappy => Box::new(SnappyReader::new(data.clone())),
        Compression::Lz4 => {
            require_independent_blocks(data)?;
            Box::new(lz4_flex::frame::FrameDecoder::new(input))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Limited {
        inner: decoder,
        left: OUTPUT_LIMIT,
    }))
}

/// Ends with an error, not silently, when too much comes out.
struct Limited {
    inner: Box<dyn Read>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| invalid("the batch is too large when decompressed"))?;
        Ok(n)
    }
}

/// Kafka's Java reader refuses linked blocks; a broker that lets them in hands its consumers a poison pill.
fn require_independent_blocks(data: &[u8]) -> io::Result<()> {
    match data.get(4) {
        Some(flags) if flags & 0x20 != 0 => Ok(()),
        Some(_) => Err(invalid("lz4 frames with linked blocks are not supported")),
        None => Err(invalid("the lz4 frame is cut off")),
    }
}

/// Snappy as Kafka's Java client reads it: xerial's framing, else all of it as one raw block.
struct SnappyReader {
    input: Bytes,
    framed: bool,
    block: Vec<u8>,
    at: usize,
}

impl SnappyReader {
    fn new(mut input: Bytes) -> SnappyReader {
        let framed = input.len() >= XERIAL_HEADER_LEN && input[..8] == XERIAL_MAGIC;
        if framed {
            input.advance(XERIAL_HEADER_LEN);
        }
        SnappyReader {
            input,
            framed,
            block: Vec::new(),
            at: 0,
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let len = if self.framed {
            if self.input.len() < 4 {
                return Err(invalid("a snappy block is cut off"));
            }
            let len = self.input.get_i32();
            usize::try_from(len).map_err(|_| invalid("a snappy block has a negative length"))?
        } else {
            self.input.len()
        };
        if len > self.input.len() {
            return Err(invalid("a snappy block is cut off"));
        }
        let compressed = self.input.split_to(len);
        let size = snap::raw::decompress_len(&compressed)?;
        // Three bytes can stand for at most 64: a larger claim is a lie, and must not be allocated.
        if size > compressed.len().saturating_mul(22).saturating_add(64) {
            return Err(invalid("a snappy block claims an impossible size"));
        }
        self.block.resize(size, 0);
        snap::raw::Decoder::new().decompress(&compressed, &mut self.block)?;
        self.at = 0;
        Ok(())
    }
}

impl Read for SnappyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if self.input.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Compresses everything that `source` yields; fails when the result would exceed `limit` bytes.
pub fn compress(
    compression: Compression,
    level: i32,
    source: &mut dyn Read,
    limit: usize,
) -> io::Result<Vec<u8>> {
    let sink = Sink {
        bytes: Vec::new(),
        limit,
    };
    let sink = match compression {
        Compression::None => {
            let mut sink = sink;
            io::copy(source, &mut sink)?;
            sink
        }
        Compression::Gzip => {
            let level = u32::try_from(level).map_or(flate2::Compression::default(), |level| {
                flate2::Compression::new(level.min(9))
            });
            let mut encoder = GzEncoder::new(sink, level);
            io::copy(source, &mut encoder)?;
            encoder.finish()?
        }
        Compression::Snappy => {
            let mut sink = sink;
            compress_xerial(source, &mut sink)?;
            sink
        }
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, sink);
            io::copy(source, &mut encoder)?;
            encoder.finish().map_err(io::Error::other)?
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(sink, level)?;
            io::copy(source, &mut encoder)?;
            encoder.finish()?
        }
    };
    Ok(sink.bytes)
}

struct Sink {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the batch exceeds its limit after compression",
            ));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress_xerial(source: &mut dyn Read, sink: &mut Sink) -> io::Result<()> {
    sink.write_all(&XERIAL_MAGIC)?;
    // Version and oldest compatible version.
    sink.write_all(&1_i32.to_be_bytes())?;
    sink.write_all(&1_i32.to_be_bytes())?;
    let mut block = Vec::with_capacity(XERIAL_BLOCK);
    loop {
        block.clear();
        Read::take(&mut *source, XERIAL_BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        let compressed = snap::raw::Encoder::new().compress_vec(&block)?;
        let len = i32::try_from(compressed.len()).map_err(io::Error::other)?;
        sink.write_all(&len.to_be_bytes())?;
        sink.write_all(&compressed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn plain() -> Vec<u8> {
        (0..200_000_u32).map(|n| (n / 7 % 251) as u8).collect()
    }

    #[test]
    fn every_codec_round_trips() {
        for codec in CODECS {
            let packed = compress(codec, 3, &mut plain().as_slice(), usize::MAX).expect("fits");
            let mut back = Vec::new();
            decoder(codec, &Bytes::from(packed))
                .expect("opens")
                .read_to_end(&mut back)
                .expect("decodes");
            assert_eq!(back, plain(), "{codec:?}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let packed = snap::raw::Encoder::new()
            .compress_vec(b"raw raw raw raw raw")
            .expect("fits");
        let mut back = Vec::new();
        decoder(Compression::Snappy, &Bytes::from(packed))
            .expect("opens")
            .read_to_end(&mut back)
            .expect("decodes");
        assert_eq!(back, b"raw raw raw raw raw");
    }

    #[test]
    fn a_snappy_block_that_claims_gigabytes_is_refused_before_allocation() {
        let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x61]);
        let mut back = Vec::new();
        let error = decoder(Compression::Snappy, &lie)
            .expect("opens")
            .read_to_end(&mut back)
            .expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn linked_lz4_blocks_are_refused() {
        let info = lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Linked);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain()).expect("writes");
        let packed = encoder.finish().expect("finishes");
        assert!(decoder(Compression::Lz4, &Bytes::from(packed)).is_err());
    }

    #[test]
    fn output_beyond_the_limit_is_refused() {
        assert!(compress(Compression::None, 0, &mut plain().as_slice(), 100).is_err());
    }
}
