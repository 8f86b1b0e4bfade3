//! The wire: bytes to messages and back.

pub mod parts;

pub use parts::Parts;
