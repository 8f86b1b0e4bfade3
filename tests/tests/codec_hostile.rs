//! Hostile bytes: whatever arrives, decoding gives a message or an error, in memory bounded by the size of the frame.
//!
//! The tests marked as fuzz entries run a bounded number of inputs here; `tests/fuzz SECONDS` runs them under libFuzzer.
#![cfg(not(madsim))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use trialog_core::wire::{DecodeErrorKind, FrameDecoder, Reader, RequestHeader};
use trialog_tests::codec::model::{Message, Type};
use trialog_tests::codec::random::{self, Form, Length, Random, Written};
use trialog_tests::codec::{self, Codec};

/// What decoding a frame may occupy at its worst moment: arrays are limited to 64 KiB and 16 times the frame, and an
/// array that grows holds its old and its new memory for a moment, together up to twice its content.
const PEAK_BASE: usize = 2 * 64 * 1024 + 4096;
const PEAK_PER_FRAME_BYTE: usize = 2 * 16 + 2;

/// Inputs of a fuzz entry: `few` in an ordinary run.
fn inputs(few: usize) -> usize {
    let all = std::env::var("TRIALOG_TESTS").is_ok_and(|tests| tests == "all");
    if all { 50 * few } else { few }
}

#[derive(Clone, Copy, Default)]
struct Memory {
    now: usize,
    peak: usize,
    total: usize,
}

thread_local! {
    static MEMORY: Cell<Memory> = const { Cell::new(Memory { now: 0, peak: 0, total: 0 }) };
}

/// Counts what the thread allocates.
struct Counting;

fn count(allocated: usize, freed: usize) {
    // Fails only while the thread ends; nothing is measured then.
    let _ = MEMORY.try_with(|memory| {
        let mut counted = memory.get();
        counted.now = (counted.now + allocated).saturating_sub(freed);
        counted.total += allocated;
        counted.peak = counted.peak.max(counted.now);
        memory.set(counted);
    });
}

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise about `layout` is ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new exist at once while the content moves.
        count(new_size, 0);
        count(0, layout.size());
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that `work` held at its worst moment beyond what was held before, and all that it ever asked for.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    MEMORY.set(Memory::default());
    let result = work();
    let Memory { peak, total, .. } = MEMORY.get();
    (result, peak, total)
}

/// A frame as a connection gives it: shared memory, so that the first slice of it allocates nothing.
fn frame(bytes: &[u8]) -> Bytes {
    let frame = Bytes::copy_from_slice(bytes);
    drop(frame.clone());
    frame
}

type Outcome = Result<(), DecodeErrorKind>;

/// Decodes, checks the peak, and tells what came of it and the bytes that it asked for.
fn decode(codec: &Codec, frame: Bytes, version: i16) -> (Outcome, usize) {
    let (outcome, _, total) = decode_measured(codec, frame, version);
    (outcome, total)
}

/// Decodes, checks the peak, and tells it.
fn decode_for_peak(codec: &Codec, frame: Bytes, version: i16) -> (Outcome, usize) {
    let (outcome, peak, _) = decode_measured(codec, frame, version);
    (outcome, peak)
}

fn decode_measured(codec: &Codec, frame: Bytes, version: i16) -> (Outcome, usize, usize) {
    let len = frame.len();
    let (result, peak, total) = measured(|| (codec.decode)(frame, version).map(drop));
    let limit = PEAK_BASE + PEAK_PER_FRAME_BYTE * len;
    assert!(
        peak <= limit,
        "{} {version}: {peak} bytes of memory for a frame of {len}, above {limit}",
        codec.name
    );
    (result.map_err(|error| error.kind), peak, total)
}

fn every_version(mut each: impl FnMut(&Codec, &Message, i16)) {
    for (codec, schema) in codec::all() {
        for version in codec.min..=codec.max {
            each(&codec, &schema, version);
        }
    }
}

/// `7fffffff` instead of a count or length.
fn planted(written: &Written, length: &Length) -> Vec<u8> {
    let mut bytes = written.bytes[..length.at].to_vec();
    match length.form {
        Form::Int16 => bytes.extend([0x7f, 0xff]),
        Form::Int32 => bytes.extend([0x7f, 0xff, 0xff, 0xff]),
        Form::Varint => random::varint(&mut bytes, 0x7fff_ffff),
    }
    bytes.extend(&written.bytes[length.at + length.len..]);
    bytes
}

#[test]
fn a_count_of_7fffffff_costs_no_allocation_and_is_a_clean_error() {
    let (mut places, mut first_places) = (0, 0);
    every_version(|codec, schema, version| {
        let mut random = Random::about(7, codec.name, version);
        for _ in 0..6 {
            let written = random::message(schema, version, &mut random);
            let (outcome, honest_total) = decode(codec, frame(&written.bytes), version);
            assert_eq!(outcome, Ok(()), "{} {version}", codec.name);
            for (nth, length) in written.lengths.iter().enumerate() {
                let bytes = planted(&written, length);
                let (outcome, total) = decode(codec, frame(&bytes), version);
                let place = format!(
                    "{} {version}: {} at {}",
                    codec.name, length.field, length.at
                );
                // In a tagged field the longer varint may reach over the end of the field.
                let clean = [DecodeErrorKind::TooLong, DecodeErrorKind::Truncated];
                assert!(
                    clean.iter().any(|kind| outcome == Err(*kind)),
                    "{place}: {outcome:?}"
                );
                // Up to the count everything is as in the honest message; the count itself adds nothing. (`dyn` message
                // and all: an error returns before anything is boxed.)
                assert!(
                    total <= honest_total,
                    "{place}: {total} bytes, honest {honest_total}"
                );
                if nth == 0 {
                    assert_eq!(total, 0, "{place}");
                    first_places += 1;
                }
                places += 1;
            }
        }
    });
    println!("{places} counts and lengths, {first_places} of them the first of their message");
    assert!(
        places > 30_000 && first_places > 3_000,
        "{places} {first_places}"
    );
}

#[test]
fn a_message_that_ends_too_early_is_an_error_wherever_it_ends() {
    let mut prefixes = 0;
    every_version(|codec, schema, version| {
        let mut random = Random::about(8, codec.name, version);
        let written = random::message(schema, version, &mut random);
        let whole = frame(&written.bytes);
        for end in 0..whole.len().min(600) {
            let (outcome, _) = decode(codec, whole.slice(..end), version);
            assert!(
                matches!(
                    outcome,
                    Err(DecodeErrorKind::Truncated | DecodeErrorKind::TooLong)
                ),
                "{} {version} cut at {end} of {}: {outcome:?}",
                codec.name,
                whole.len()
            );
            prefixes += 1;
        }
    });
    println!("{prefixes} prefixes");
}

/// The most elements for the fewest bytes, in every array of every message.
#[test]
fn an_array_of_tiny_elements_costs_a_small_multiple_of_its_frame() {
    let frame_len = 1 << 16;
    let (mut arrays, mut refused, mut worst) = (0, 0, (0.0, String::new()));
    every_version(|codec, schema, version| {
        if ![schema.versions.min, schema.versions.max].contains(&version)
            && schema.flexible_from != Some(version)
        {
            return;
        }
        let fields = schema.structs.iter().flat_map(|each| &each.fields);
        for field in fields
            .filter(|field| matches!(field.ty, Type::Array(_)) && field.versions.contains(version))
        {
            for unknown in [false, true] {
                let one = random::packed(schema, version, field, 1, unknown).len();
                let two = random::packed(schema, version, field, 2, unknown).len();
                if one == two {
                    continue; // a field of a struct that this version has nowhere
                }
                let bytes =
                    random::packed(schema, version, field, frame_len / (two - one), unknown);
                let whole = frame(&bytes);
                let (outcome, peak) = decode_for_peak(codec, whole, version);
                let place = format!("{} {version} {}", codec.name, field.name);
                match outcome {
                    Ok(()) => {}
                    Err(DecodeErrorKind::TooMuchMemory) => refused += 1,
                    Err(error) => panic!("{place}: {error:?}"),
                }
                let cost = peak as f64 / bytes.len() as f64;
                if cost > worst.0 {
                    worst = (cost, place);
                }
                arrays += 1;
            }
        }
    });
    println!(
        "{arrays} arrays, {refused} refused; worst: {:.1} bytes of memory a byte of the frame, {}",
        worst.0, worst.1
    );
    assert!(arrays > 700 && refused > 0, "{arrays} {refused}");
}

/// A fuzz entry: any bytes, as any message.
#[test]
fn arbitrary_bytes_never_panic_and_cost_little() {
    let codecs = codec::codecs();
    bolero::check!()
        .with_iterations(inputs(60_000))
        .with_max_len(4096)
        .with_type::<(u16, u8, Vec<u8>)>()
        .for_each(|(message, version, bytes)| {
            let codec = &codecs[usize::from(*message) % codecs.len()];
            let version = codec.min + i16::from(*version) % (codec.max - codec.min + 1);
            let _ = decode(codec, frame(bytes), version);
        });
}

/// A fuzz entry: honest messages with a few bytes changed, cut out or doubled. What can still be read must be written, and
/// then be read as the same.
#[test]
fn damaged_messages_never_panic_and_cost_little() {
    let all = codec::all();
    let mut readable = 0;
    bolero::check!()
        .with_iterations(inputs(40_000))
        .with_type::<(u16, u64, Vec<(u16, u8, u8)>)>()
        .for_each(|(message, seed, damages)| {
            let (codec, schema) = &all[usize::from(*message) % all.len()];
            let mut random = Random::new(*seed);
            let version = codec.min + random.below((codec.max - codec.min + 1) as usize) as i16;
            let mut bytes = random::message(schema, version, &mut random).bytes;
            for (place, how, value) in damages.iter().take(6) {
                damage(&mut bytes, usize::from(*place), *how, *value);
            }
            let (outcome, _) = decode(codec, frame(&bytes), version);
            if outcome.is_ok() {
                readable += 1;
                let (message, _) = (codec.decode)(frame(&bytes), version).expect("read before");
                let again = message
                    .encode(version)
                    .expect("what was read can be written")
                    .to_bytes();
                let (second, left) =
                    (codec.decode)(again.clone(), version).expect("what was written can be read");
                assert_eq!(
                    (second.show(), left),
                    (message.show(), 0),
                    "{} {version}",
                    codec.name
                );
            }
        });
    println!("{readable} were still readable");
}

fn damage(bytes: &mut Vec<u8>, place: usize, how: u8, value: u8) {
    if bytes.is_empty() {
        return;
    }
    let at = place % bytes.len();
    match how % 5 {
        0 => bytes[at] = value,
        1 => bytes[at] ^= 1 << (value % 8),
        2 => bytes.truncate(at),
        3 => {
            bytes.remove(at);
        }
        _ => bytes.insert(at, value),
    }
}

/// A fuzz entry: any bytes as a stream of frames, each frame as a request.
#[test]
fn arbitrary_streams_never_panic() {
    bolero::check!()
        .with_iterations(inputs(20_000))
        .with_max_len(2048)
        .with_type::<Vec<u8>>()
        .for_each(|bytes| {
            let ((), peak, _) = measured(|| {
                let mut frames = FrameDecoder::new(1024);
                for chunk in bytes.chunks(97) {
                    frames.push(chunk);
                    while let Ok(Some(frame)) = frames.next_frame() {
                        drop(RequestHeader::decode(&mut Reader::new(frame)));
                    }
                }
            });
            assert!(peak <= 16 * 1024 + 8 * bytes.len(), "{peak}");
        });
}
