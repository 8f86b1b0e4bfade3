//! The log: what a node keeps on its disks, and when it may be relied upon.
//!
//! [`LogStore`] owns every log directory of a node: partition logs in Kafka's layout and formats, the clock of durability of each
//! directory, recovery, retention. It assigns offsets and answers reads; it never decides who may append, what is
//! committed, or what a record means, and it calls no other room: it reports by [`Notice`]s that its caller drains.
//!
//! An append is *accepted* (it has its offsets), then *written* (survives a killed process), then *durable* (survives power loss:
//! its data, the files' names and the frontier record that names it are synced). Offsets of all three only grow, and
//! `durable <= written <= end` holds for every log.
//!
//! ```text
//! LogStore::new(StoreConfig, &Boot) -> LogStore
//!   start(cx)                                   then on_disk(cx, Token, Result<DiskDone, DiskError>), on_worked(cx, Token, Facts),
//!   on_wakeup(cx), next_wakeup() -> Option<(Instant, Wake)>, notices() -> drained by next_notice() -> Option<Notice>
//!   shutdown(cx, broker_epoch: i64)             Notice::Stopped
//!   create(cx, NewLog) -> LogId                 Notice::Opened | Offline; appends are taken from Opened on
//!   delete(cx, LogId)                           Notice::Deleted
//!   configure(LogId, LogConfig)
//!   find(Uuid, PartitionIndex) -> Option<LogId> logs() -> impl Iterator<Item = LogId>
//!   view(LogId) -> Option<LogView>
//!   append(cx, LogId, Append) -> Result<Appended, AppendError>
//!   read(cx, LogId, Read) -> Result<ReadOutcome, ReadError>
//!   lookup_timestamp(cx, LogId, TimestampQuery) -> Result<LookupOutcome, ReadError>
//!   begin_epoch(cx, LogId, LeaderEpoch)         epoch_end_offset(LogId, LeaderEpoch) -> (LeaderEpoch, Offset)   epoch_at(LogId, Offset)
//!   note_high_watermark(LogId, Offset)          bounds retention; checkpointed
//!   delete_records(cx, LogId, Offset) -> Result<(), ReadError>   Notice::StartMoved
//!   read_file(cx, LogId, Name) -> ReadId        Notice::FileRead      (quorum-state)
//!   read_root_file(cx, usize, Name) -> ReadId   Notice::FileRead      of a log directory itself, by its place (bootstrap.checkpoint)
//!   checkpoint_names(LogId) -> Vec<Name>         remove_file(cx, LogId, Name)      (metadata snapshots)
//!   replace_file(cx, LogId, Name, Bytes) -> ReadId   Notice::FileReplaced: written aside, synced, renamed, directory synced
//!   directory_id(usize) -> Option<Uuid>         of meta.properties    cluster_id() -> Option<&str>
//! ```

mod append;
mod blocks;
mod checkpoint;
mod config;
mod directory;
mod epochs;
mod files;
mod frontier;
mod index;
mod lookup;
mod notice;
mod opening;
mod partition_log;
mod plan;
mod producers;
mod read;
mod rebuild;
mod recovery;
mod removal;
mod reserve;
mod retention;
mod segment;
mod shutdown;
mod start;
mod store;

#[cfg(test)]
mod tests;

pub use config::{LogConfig, Sizes, StoreConfig};
pub use notice::{
    Append, AppendError, Appended, FoundTimestamp, LogView, Lookup, LookupOutcome, NewLog, Notice,
    Origin, Read, ReadError, ReadId, ReadOutcome, Records, TimestampQuery,
};
pub use store::LogStore;
