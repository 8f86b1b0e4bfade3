//! The metadata of the cluster as committed records tell it: the image that a broker serves from, and what changed.
//!
//! Owns the meaning of every record of `__cluster_metadata` (KIP-500, KIP-631). Never writes a record, and is changed by
//! nothing but records.

pub mod delta;
pub mod features;
pub mod image;
pub mod listing;
pub mod topics;
mod transaction;

pub use delta::Delta;
pub use image::{Image, ReplayError, Resource};
pub use listing::Listing;
pub use topics::{Partition, Topic, Topics};

#[cfg(test)]
mod tests;
