//! Whole stories through wire bytes: a client's frames in, a broker's frames out, over a disk in memory.

mod connections;
mod creation;
mod describing;
mod disk;
mod durability;
mod fetch_sessions;
mod hostile;
mod offline;
mod stories;
mod strays;
mod wide_produce;
mod world;

use bytes::Bytes;

use crate::config::Config;
use crate::format::Format;
use crate::ids::{DirId, Uuid};

/// Formats the log directory as `trialog format` does.
fn format(disk: &mut disk::Disk, root: DirId, config: &Config) {
    let directory_ids = [Uuid([9; 16])];
    let format = Format::new(config, "AAAAAAAAQACAAAAAAAAAAQ", &directory_ids);
    for file in format.files().expect("a good configuration").remove(0) {
        let dir = file.dir.map(|dir| format!("{dir}/")).unwrap_or_default();
        disk.put(
            root,
            &format!("{dir}{}", file.name),
            Bytes::clone(&file.content),
        );
    }
}
