//! Whole stories through wire bytes: a client's frames in, a broker's frames out, over a disk in memory.

mod disk;
mod stories;
mod world;

use crate::config::Config;
use crate::ids::DirId;

fn format(_disk: &mut disk::Disk, _root: DirId, _config: &Config) {}
