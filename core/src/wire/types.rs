//! Small types of message fields that neither Rust nor [`crate::ids`] has.

use bytes::Bytes;

/// A `float64` field, kept as its bits: the core has no float in its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct F64Bits(pub u64);

/// The tagged fields of a struct that this release does not know, by ascending tag (KIP-482). Kept so that a message
/// that is passed on loses nothing. One word when there are none, which is nearly always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::box_collection,
    reason = "every struct of every message has one: a word, not three"
)]
pub struct TaggedFields(Option<Box<Vec<(u32, Bytes)>>>);

impl TaggedFields {
    /// None.
    pub const NONE: TaggedFields = TaggedFields(None);

    /// Adds a field. Tags must ascend; encoding rejects a list where they do not.
    pub fn push(&mut self, tag: u32, value: Bytes) {
        // Most structs that have any have one.
        let list = self
            .0
            .get_or_insert_with(|| Box::new(Vec::with_capacity(1)));
        list.push((tag, value));
    }

    /// Tag and value of each.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_ref().map_or(&[], |fields| fields.as_slice())
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl FromIterator<(u32, Bytes)> for TaggedFields {
    fn from_iter<I: IntoIterator<Item = (u32, Bytes)>>(fields: I) -> TaggedFields {
        let mut all = TaggedFields::NONE;
        for (tag, value) in fields {
            all.push(tag, value);
        }
        all
    }
}
