//! A file system that forgets what was not synced: for power cuts of a real broker.
//!
//! [`disk`] is the model (what is volatile, what is durable, what a cut leaves), [`content`] the bytes of one file, [`mount`] serves
//! the model to the kernel through FUSE. Stricter than any one file system: a file's sync says nothing of its name, a directory's
//! sync says nothing of what its files hold, and everything unsynced may be lost, kept or torn in any combination.

pub mod content;
pub mod disk;
pub mod mount;

pub use disk::{CutReport, Disk, Entries, Fate, Missing, Plan, Rule, SyncKind};
pub use mount::CrashFs;
