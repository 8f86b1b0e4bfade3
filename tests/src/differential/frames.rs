//! Bytes that no client should send.

use super::{Pair, Side};
use std::io::{Read, Write};

/// What a broker does with bytes that no client should send: the answer's bytes after the correlation id, or how it ended.
fn raw(side: &mut Side, frame: &[u8]) -> Vec<u8> {
    side.reconnect();
    let stream = side.client().stream();
    stream
        .write_all(&(frame.len() as u32).to_be_bytes())
        .and_then(|()| stream.write_all(frame))
        .expect("send");
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(_) => b"closed".to_vec(),
        Ok(()) => {
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut answer).expect("a whole frame");
            answer
        }
    }
}

/// What is done with frames that cannot be understood. A connection a frame: a broker may close it.
pub fn unknown_versions_and_keys(pair: &mut Pair) {
    // Key, version, correlation id, client id.
    let frames: &[(&str, &[u8])] = &[
        (
            "ApiVersions 99",
            b"\x00\x12\x00\x63\x00\x00\x00\x07\x00\x01x\x00",
        ),
        (
            "Metadata 99",
            b"\x00\x03\x00\x63\x00\x00\x00\x07\x00\x01x\x00",
        ),
        (
            "Produce 2",
            b"\x00\x00\x00\x02\x00\x00\x00\x07\x00\x01x\x00\x00\x00\x00\x00\x00",
        ),
        ("key 999", b"\x03\xe7\x00\x00\x00\x00\x00\x07\x00\x01x"),
        (
            "a negative key",
            b"\xff\xff\x00\x00\x00\x00\x00\x07\x00\x01x",
        ),
        ("a header cut short", b"\x00\x12\x00"),
        (
            "a client id longer than the frame",
            b"\x00\x12\x00\x00\x00\x00\x00\x07\x7f\xffx",
        ),
        (
            "an array longer than the frame",
            b"\x00\x03\x00\x01\x00\x00\x00\x07\x00\x01x\x7f\xff\xff\xff",
        ),
        ("an empty frame", b""),
    ];
    for (case, frame) in frames {
        let (wanted, found) = (raw(&mut pair.kafka, frame), raw(&mut pair.ours, frame));
        // Correlation id and error code; the ranges of ApiVersions are another test's.
        let head = |answer: &[u8]| answer[..answer.len().min(6)].to_vec();
        pair.note(case, &head(&wanted), &head(&found));
    }
}
