//! Text of a message: a slice of the frame that is known to be UTF-8.
//!
//! Owns no decision; never copies on decode or clone.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// UTF-8 text that shares the bytes of the frame it came in. Cloning is cheap; a clone keeps the whole frame alive, so
/// what outlives its request is better stored as [`Str::detached`].
#[derive(Clone, Default)]
pub struct Str(Bytes);

impl Str {
    /// No text.
    pub const EMPTY: Str = Str(Bytes::new());

    /// A text of the program itself; nothing is allocated.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Str {
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// Takes `bytes` if they are UTF-8.
    #[inline]
    pub fn from_utf8(bytes: Bytes) -> Result<Str, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Str(bytes))
    }

    /// The text.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked by every constructor. Checking again is the price of a core without unsafe code; names are short.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text's bytes, not checked again.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The very same bytes, as clones have them? A text may be 32 KiB long, and a request may have its clones compared a million times.
    fn is_clone_of(&self, other: &Str) -> bool {
        self.0.len() == other.0.len() && self.0.as_ptr() == other.0.as_ptr()
    }

    /// A copy that holds no frame alive.
    #[must_use]
    pub fn detached(&self) -> Str {
        Str(Bytes::copy_from_slice(&self.0))
    }
}

impl PartialEq for Str {
    #[inline]
    fn eq(&self, other: &Str) -> bool {
        self.is_clone_of(other) || self.0 == other.0
    }
}

impl Eq for Str {}

impl PartialOrd for Str {
    #[inline]
    fn partial_cmp(&self, other: &Str) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    #[inline]
    fn cmp(&self, other: &Str) -> Ordering {
        if self.is_clone_of(other) {
            return Ordering::Equal;
        }
        self.0.cmp(&other.0)
    }
}

impl Deref for Str {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// A borrowed key must order and hash as the owned one: UTF-8 orders as its bytes do, and this is the hash of `str`.
impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Str {
    fn from(text: &'static str) -> Str {
        Str::from_static(text)
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(Bytes::from(text.into_bytes()))
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn text_is_checked_and_shared() {
        assert!(Str::from_utf8(Bytes::from_static(b"\xff")).is_err());
        let frame = Bytes::from_static("xhéllo".as_bytes());
        let text = Str::from_utf8(frame.slice(1..)).unwrap();
        assert_eq!(text, "héllo");
        assert_eq!(text.detached(), text);
        assert_eq!(text.detached().cmp(&text), Ordering::Equal);
        assert!(Str::from_static("hé") < text && text.clone() <= text);
        let map = BTreeMap::from([(text, 1)]);
        assert_eq!(map.get("héllo"), Some(&1));
    }
}
