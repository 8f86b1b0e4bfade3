//! The drivers of Trialog: effects to system calls, and what came of them to inputs.
//!
//! Owns connections, files and clocks, on tokio's current-thread runtime (under `--cfg madsim` the same code runs on a
//! simulated network). It holds no rule of Kafka: it never interprets a frame, never retries, and drops no effect. The
//! contract that it keeps is [`trialog_core::io`].

pub mod allocator;
pub mod clock;
pub mod conn;
pub mod disk;
pub mod driver;
pub mod events;
pub mod frame_memory;
pub mod listen;
pub mod machine;
pub mod recorder;
pub mod work;
