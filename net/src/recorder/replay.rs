//! Lives a recording again, and compares what every step asks for.

use std::fmt;
use std::io::{self, Read};

use trialog_core::config::ConfigErrors;
use trialog_core::io::{Effect, Effects, Input};
use trialog_core::time::Now;

use crate::driver::Machine;

use super::codec::{CHUNK_HEADER, CHUNK_MAX, Item, Reader};
use super::outline::{Digest, Outline};
use super::redact::Redactor;
use super::steps::Moment;
use super::{MAGIC, Origin};

/// What a recording came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Steps that were compared.
    pub steps: u64,
    /// Effects that were compared.
    pub effects: u64,
    /// Bytes of the recording that were read.
    pub bytes: u64,
    /// Did the recording end in the middle of a chunk or of a step? A killed process leaves that.
    pub torn: bool,
    /// The release that recorded.
    pub version: String,
    /// A digest over every outline: equal for equal lives.
    pub hash: u64,
}

/// Why a replay ended early.
#[derive(Debug)]
pub enum ReplayError {
    /// The file cannot be read.
    Io(io::Error),
    /// The file is no recording, or of another format.
    Foreign,
    /// The configuration in it is refused by this release.
    Config(ConfigErrors),
    /// A chunk is whole but not what was written: the file was damaged, which no killed process does.
    Damaged {
        /// Where the chunk begins in the file, in bytes.
        at: u64,
        /// Steps before it, all as recorded.
        steps: u64,
    },
    /// A step asked for something else.
    Differs(Box<Difference>),
}

/// The first step that asked for something else.
#[derive(Debug)]
pub struct Difference {
    /// Its number, from 0.
    pub step: u64,
    /// When it was.
    pub now: Now,
    /// What it was given.
    pub input: Input,
    /// What it asked for then.
    pub recorded: Vec<Outline>,
    /// What it asks for now.
    pub outlines: Vec<Outline>,
    /// The same in full.
    pub effects: Vec<Effect>,
    /// The release that recorded.
    pub version: String,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Io(error) => write!(f, "the recording cannot be read: {error}"),
            ReplayError::Foreign => f.write_str(
                "this is no recording of this release's format: `trialog start --record DIR` makes one",
            ),
            ReplayError::Config(errors) => write!(
                f,
                "the configuration in the recording is refused by this release:\n{errors}"
            ),
            ReplayError::Damaged { at, steps } => write!(
                f,
                "the recording is damaged at byte {at}: the {steps} steps before it replay as recorded, the rest cannot be read. \
                 Take another copy of the file"
            ),
            ReplayError::Differs(difference) => difference.fmt(f),
        }
    }
}
impl std::error::Error for ReplayError {}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self
            .recorded
            .iter()
            .zip(&self.outlines)
            .take_while(|(recorded, now)| recorded == now)
            .count();
        let (recorded, now) = (self.recorded.get(at), self.outlines.get(at));
        let show = |outline: Option<&Outline>| {
            outline.map_or_else(|| "nothing more".to_owned(), Outline::to_string)
        };
        writeln!(
            f,
            "step {} at {} ns differs in its effect {at}, of {} recorded and {} now",
            self.step,
            self.now.mono.0,
            self.recorded.len(),
            self.outlines.len()
        )?;
        writeln!(f, "  input    {}", brief(&self.input))?;
        writeln!(f, "  recorded {}", show(recorded))?;
        writeln!(f, "  now      {}", show(now))?;
        if let Some(effect) = self.effects.get(at) {
            writeln!(f, "  in full  {}", brief(effect))?;
        }
        write!(f, "recorded by release {}", self.version)
    }
}

/// The beginning of a value's full form.
fn brief(value: &impl fmt::Debug) -> String {
    const MOST: usize = 2_000;
    let full = format!("{value:?}");
    match full.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &full[..end]),
        None => full,
    }
}

/// Lives `recording` again, in a machine that `make` makes as the recorded one was made.
///
/// # Errors
/// If it cannot be read to its end, or a step asks for something else.
pub fn replay<M: Machine>(
    mut recording: impl Read,
    make: impl FnOnce(Origin) -> Result<M, ConfigErrors>,
) -> Result<Replayed, ReplayError> {
    let mut magic = [0; MAGIC.len()];
    recording
        .read_exact(&mut magic)
        .map_err(|_| ReplayError::Foreign)?;
    if magic != *MAGIC {
        return Err(ReplayError::Foreign);
    }
    let mut replayed = Replayed {
        steps: 0,
        effects: 0,
        bytes: MAGIC.len() as u64,
        torn: false,
        version: String::new(),
        hash: 0,
    };
    let first = next_chunk(&mut recording, &mut replayed)?.ok_or(ReplayError::Foreign)?;
    let origin = Origin::take(&mut Reader::new(&first)).map_err(|_| ReplayError::Foreign)?;
    replayed.version.clone_from(&origin.version);
    let redactor = Redactor::new(origin.payloads);
    let mut life = Life {
        machine: make(origin).map_err(ReplayError::Config)?,
        out: Effects::default(),
        redactor,
        moment: Moment::default(),
        digest: Digest::default(),
    };
    while let Some(chunk) = next_chunk(&mut recording, &mut replayed)? {
        let mut reader = Reader::new(&chunk);
        while !reader.is_empty() {
            life.step(&mut reader, &mut replayed)?;
        }
    }
    replayed.hash = life.digest.finish();
    Ok(replayed)
}

/// The machine, and what is known on the way.
struct Life<M> {
    machine: M,
    out: Effects,
    redactor: Redactor,
    moment: Moment,
    digest: Digest,
}

impl<M: Machine> Life<M> {
    fn step(&mut self, from: &mut Reader<'_>, replayed: &mut Replayed) -> Result<(), ReplayError> {
        // A chunk whose digest holds is what the recorder wrote: what does not read is another format.
        let foreign = |_| ReplayError::Foreign;
        let now = self.moment.take(from).map_err(foreign)?;
        let input = Input::take(from).map_err(foreign)?;
        self.redactor.input(&input);
        self.machine.step(now, input.clone(), &mut self.out);
        if from.is_empty() {
            // The recorded step did not end: a panic in it would have come again by now.
            replayed.torn = true;
            return Ok(());
        }
        let recorded = Vec::<Outline>::take(from).map_err(foreign)?;
        self.out.events.clear();
        let effects = std::mem::take(&mut self.out.effects);
        let mut outlines = Vec::with_capacity(effects.len());
        for effect in &effects {
            outlines.push(Outline::of(effect, &mut self.redactor));
        }
        if outlines != recorded {
            return Err(ReplayError::Differs(Box::new(Difference {
                step: replayed.steps,
                now,
                input,
                recorded,
                outlines,
                effects,
                version: replayed.version.clone(),
            })));
        }
        for outline in &outlines {
            outline.digest(&mut self.digest);
        }
        replayed.steps += 1;
        replayed.effects += outlines.len() as u64;
        Ok(())
    }
}

/// The next whole chunk; `None` at the end, which is torn if a chunk has only begun.
fn next_chunk(
    from: &mut impl Read,
    replayed: &mut Replayed,
) -> Result<Option<Vec<u8>>, ReplayError> {
    let mut header = Vec::new();
    let head = CHUNK_HEADER as u64;
    from.take(head)
        .read_to_end(&mut header)
        .map_err(ReplayError::Io)?;
    let Some((len, digest)) = header
        .split_first_chunk::<4>()
        .and_then(|(len, rest)| Some((*len, *rest.first_chunk::<8>()?)))
    else {
        replayed.torn |= !header.is_empty();
        return Ok(None);
    };
    let damaged = ReplayError::Damaged {
        at: replayed.bytes,
        steps: replayed.steps,
    };
    let len = u32::from_le_bytes(len);
    if len as usize > CHUNK_MAX {
        return Err(damaged);
    }
    let mut chunk = Vec::new();
    let content = from.take(u64::from(len)).read_to_end(&mut chunk);
    content.map_err(ReplayError::Io)?;
    if chunk.len() != len as usize {
        replayed.torn = true;
        return Ok(None);
    }
    let mut found = Digest::default();
    found.bytes(&chunk);
    if found.finish() != u64::from_le_bytes(digest) {
        return Err(damaged);
    }
    replayed.bytes += head + u64::from(len);
    Ok(Some(chunk))
}
