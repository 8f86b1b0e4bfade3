//! Bytes to send or write, as an ordered list of slices: inline headers and shared payloads, never joined.

use bytes::{Bytes, BytesMut};

/// Slices that follow each other. Cloning shares the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    slices: Vec<Bytes>,
    len: usize,
}

impl Parts {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Parts {
        Parts::default()
    }

    /// Adds `slice` at the end; an empty one is dropped.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// Adds all of `other` at the end.
    pub fn append(&mut self, other: Parts) {
        self.len += other.len;
        self.slices.extend(other.slices);
    }

    /// Bytes in all slices together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices, none of them empty.
    #[must_use]
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// All bytes in one piece: the slice itself if there is just one, else a copy.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.slices.as_slice() {
            return only.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        for slice in &self.slices {
            joined.extend_from_slice(slice);
        }
        joined.freeze()
    }
}

impl From<Bytes> for Parts {
    fn from(slice: Bytes) -> Parts {
        if slice.is_empty() {
            return Parts::new();
        }
        Parts {
            len: slice.len(),
            slices: vec![slice],
        }
    }
}

impl From<Vec<u8>> for Parts {
    fn from(bytes: Vec<u8>) -> Parts {
        Parts::from(Bytes::from(bytes))
    }
}
