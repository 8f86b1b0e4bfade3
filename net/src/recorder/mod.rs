//! Records a node's life, so that it can be lived again: configuration, seed, `Boot`, every input with its moment, and
//! the outline of what each step asked for.
//!
//! Clients' records are blanked out (their length stays) unless they are to be kept; the core decides on nothing in
//! them, so a replay asks for the same. A recording survives a killed process up to its last whole chunk, and a
//! panic up to the step that panicked.

pub mod codec;
pub mod outline;
pub mod redact;
pub mod replay;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trialog_core::io::{Boot, Effect, Input};
use trialog_core::time::{Instant, Now};

use crate::driver::Witness;
use codec::{Item, Writer};
use outline::Outline;
use redact::Redactor;
use steps::Moment;

/// The first bytes of a recording, with the version of its format.
pub const MAGIC: &[u8; 8] = b"TRIALOG1";
/// A chunk is written when it is so large,
const CHUNK_BYTES: usize = 256 * 1024;
/// or so old.
const CHUNK_AGE: Duration = Duration::from_millis(200);
/// Ends the name of a recording.
pub const EXTENSION: &str = "recording";

/// What a replay needs to make the same node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The release that recorded: another one may decide differently.
    pub version: String,
    /// Are clients' records in it?
    pub payloads: bool,
    /// The properties, as they were given.
    pub properties: BTreeMap<String, String>,
    /// Of every random choice.
    pub seed: [u8; 32],
    /// What the node was given.
    pub boot: Boot,
}

/// Writes one life of a node to a file.
pub struct Recorder {
    pages: Arc<Mutex<Pages>>,
    path: PathBuf,
    moment: Moment,
    redactor: Redactor,
}

/// The file, and what is not in it yet.
struct Pages {
    file: File,
    path: PathBuf,
    chunk: Writer,
    since: Option<Instant>,
    /// A recording that cannot be written ends; the node goes on.
    ended: bool,
}

/// The end of a recording, for a process that is about to end by a panic.
#[derive(Clone)]
pub struct LastPage(Arc<Mutex<Pages>>);

impl Recorder {
    /// Starts a new recording in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// If the directory or the file cannot be made.
    pub fn create(dir: &Path, origin: &Origin) -> io::Result<Recorder> {
        std::fs::create_dir_all(dir)?;
        let nth = recordings(dir)?.len() + 1;
        let (mut file, path) = fresh_file(dir, nth)?;
        file.write_all(MAGIC)?;
        let mut pages = Pages {
            file,
            path: path.clone(),
            chunk: Writer::default(),
            since: None,
            ended: false,
        };
        origin.put(&mut pages.chunk);
        pages.flush();
        Ok(Recorder {
            pages: Arc::new(Mutex::new(pages)),
            path,
            moment: Moment::default(),
            redactor: Redactor::new(origin.payloads),
        })
    }

    /// Where it records.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What can still be written when the process ends by a panic.
    #[must_use]
    pub fn last_page(&self) -> LastPage {
        LastPage(Arc::clone(&self.pages))
    }
}

impl LastPage {
    /// Writes what there is, with the step that goes on: the recording ends with it.
    pub fn write(&self) {
        // Not for ever: the thread that panicked may be the one that records.
        for _ in 0..20 {
            if let Ok(mut pages) = self.0.try_lock() {
                pages.flush();
                pages.ended = true;
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Pages {
    fn of(shared: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
        // A panic ends the process.
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&mut self) {
        self.since = None;
        if self.ended || self.chunk.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all(&self.chunk.take_chunk()) {
            self.ended = true;
            tracing::error!(
                "The recording {} ends here: {error}. The node goes on.",
                self.path.display()
            );
        }
    }
}

impl Witness for Recorder {
    fn input(&mut self, now: Now, input: &Input) {
        let blank = self.redactor.input(input);
        let mut pages = Pages::of(&self.pages);
        if pages.ended {
            return;
        }
        pages.since.get_or_insert(now.mono);
        self.moment.put(now, &mut pages.chunk);
        pages.chunk.blank(blank);
        input.put(&mut pages.chunk);
    }

    fn effects(&mut self, now: Now, effects: &[Effect]) {
        let outlines: Vec<Outline> = effects
            .iter()
            .map(|effect| Outline::of(effect, &mut self.redactor))
            .collect();
        let mut pages = Pages::of(&self.pages);
        if pages.ended {
            return;
        }
        outlines.put(&mut pages.chunk);
        let old = pages
            .since
            .is_some_and(|since| now.mono - since >= CHUNK_AGE);
        if old || pages.chunk.len() >= CHUNK_BYTES {
            pages.flush();
        }
    }

    fn idle(&mut self) {
        Pages::of(&self.pages).flush();
    }

    fn end(&mut self) {
        Pages::of(&self.pages).flush();
    }
}

/// The recordings in a directory, oldest first.
///
/// # Errors
/// If it cannot be read.
pub fn recordings(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == EXTENSION) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn fresh_file(dir: &Path, mut nth: usize) -> io::Result<(File, PathBuf)> {
    loop {
        let path = dir.join(format!("{nth:06}.{EXTENSION}"));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => nth += 1,
            Err(error) => return Err(error),
        }
    }
}
