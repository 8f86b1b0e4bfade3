//! Newtypes for the numbers and names of Kafka that could be swapped by mistake.
//!
//! Parsed at the edge, trusted afterwards. Nothing here owns state.

use std::fmt;
use std::str::FromStr;

/// Declares an integer newtype with ordering, display and a `const` constructor.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// `node.id`: a broker, a controller or both. Never negative for a real node; -1 is "none".
    NodeId(i32)
);
number!(
    /// A partition's number within its topic, from 0.
    PartitionIndex(i32)
);
number!(
    /// The place of a record in its partition's log, from 0.
    Offset(i64)
);
number!(
    /// Counts the leaders of a partition; -1 is "unknown". KIP-101.
    LeaderEpoch(i32)
);
number!(
    /// The offset of a broker's registration record: one life of a broker. -1 is "none". KIP-631.
    BrokerEpoch(i64)
);
number!(
    /// An idempotent or transactional producer. -1 is "none". KIP-98.
    ProducerId(i64)
);
number!(
    /// One connection, unique for the life of a node; chosen by the driver, never reused.
    ConnId(u64)
);
number!(
    /// A listener of this node, by its place in [`crate::io::Boot::listeners`].
    ListenerId(u16)
);
number!(
    /// An open file, chosen by the core, never reused within a life of the node.
    FileId(u64)
);
number!(
    /// An open directory. The roots come from [`crate::io::Boot::log_dirs`]; the core chooses the others and never reuses one.
    DirId(u64)
);
number!(
    /// Log sequence number: a place on the clock of durability of one log directory. Grows by one an append.
    Lsn(u64)
);
number!(
    /// One request of a client, from the arrival of its frame to its answer. Never reused within a life of the node.
    RequestId(u64)
);
number!(
    /// A partition log that this node keeps; an index into the log store, never reused within a life of the node.
    LogId(u32)
);

impl NodeId {
    /// No node: an absent leader.
    pub const NONE: NodeId = NodeId(-1);
}
impl LeaderEpoch {
    /// Unknown or not asked for.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}
impl ProducerId {
    /// A batch without a producer id.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl Offset {
    /// The next offset.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// A 128-bit id in Kafka's form: topics, directories, clusters, incarnations. Written as 22 characters of URL-safe
/// base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// "No id".
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata`.
    pub const METADATA_TOPIC: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// As a log directory: the broker was asked to choose one and has not told which. [`Uuid::ZERO`] says that nobody was asked (a
    /// partition that is older than KIP-858).
    pub const UNASSIGNED: Uuid = Uuid::METADATA_TOPIC;

    /// Does this name one log directory? False for [`Uuid::ZERO`] and [`Uuid::UNASSIGNED`].
    #[must_use]
    pub fn names_directory(&self) -> bool {
        *self != Uuid::ZERO && *self != Uuid::UNASSIGNED
    }

    /// Marks `bits` as a random (version 4) id, as Kafka's ids are.
    #[must_use]
    pub fn random_from(mut bits: [u8; 16]) -> Uuid {
        bits[6] = (bits[6] & 0x0f) | 0x40;
        bits[8] = (bits[8] & 0x3f) | 0x80;
        Uuid(bits)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bits = u128::from_be_bytes(self.0);
        let mut text = [0_u8; 22];
        // 128 bits are 21 sextets and 2 bits over: the last character carries those 2 in its high end.
        text[21] = BASE64_URL[((bits & 0b11) << 4) as usize];
        bits >>= 2;
        for place in text[..21].iter_mut().rev() {
            *place = BASE64_URL[(bits & 0x3f) as usize];
            bits >>= 6;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or("?"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

/// Why a text is no [`Uuid`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UuidError;

impl fmt::Display for UuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id: expected 22 characters of URL-safe base64, as `trialog format` and Kafka's `random-uuid` print them")
    }
}
impl std::error::Error for UuidError {}

impl FromStr for Uuid {
    type Err = UuidError;
    fn from_str(text: &str) -> Result<Uuid, UuidError> {
        let text = text.trim_end_matches('=').as_bytes();
        if text.len() != 22 {
            return Err(UuidError);
        }
        let mut bits: u128 = 0;
        for (place, byte) in text.iter().enumerate() {
            let value = BASE64_URL.iter().position(|c| c == byte).ok_or(UuidError)? as u128;
            bits = if place < 21 {
                (bits << 6) | value
            } else {
                (bits << 2) | (value >> 4)
            };
        }
        Ok(Uuid(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_kafkas() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert!(!Uuid::ZERO.names_directory() && !Uuid::UNASSIGNED.names_directory());
        assert!(Uuid([7; 16]).names_directory());
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = Uuid::random_from(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<Uuid>(), Ok(id));
        assert_eq!("short".parse::<Uuid>(), Err(UuidError));
        assert_eq!("AAAAAAAAAAAAAAAAAAAA!Q".parse::<Uuid>(), Err(UuidError));
    }
}
