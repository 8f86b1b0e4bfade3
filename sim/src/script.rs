//! Scripted scenarios: stories about one node, with what it answered under each line.
//!
//! ```text
//! # What acks=all acknowledged survives a power cut.
//! create t 1
//! produce t-0 acks=all a b
//! power cut
//! read t-0
//! ----
//! created
//! offset 0
//! cut
//! 0 a
//! 1 b
//! high watermark 2
//! ```
//!
//! Owns the reading of stories; the world lets them happen. A block is command lines, `----`, and the answers. `log directories 2` begins
//! a new world with a second log directory, `/data/1`: `fail sync in /data/1` and `hold sync in /data/1` mean an operation there. `hold
//! piece` means the next piece of long work.

use trialog_core::mutant::Mutant;

use crate::client::caller::{Call, Writer};
use crate::disk::{Cut, KINDS};
use crate::faults::Fault;
use crate::machine::{PIECE, Target, root_at};
use crate::world::World;

/// What else than operations that may fail can be told to take its time.
const HELD: [&str; 3] = ["list", "unlink", PIECE];

/// One line of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Call(Call),
    Send(Call),
    Answer,
    HangUp,
    Fault(Fault),
    PowerCut(Cut),
    Stop,
    Start,
    Sleep(u64),
    Fail(Target),
    NoRoom(String),
    Hold(Target),
    SlowWork,
    Memory(u64),
    Batches(usize),
    Transaction,
    Rot(String, usize),
    Full(bool),
    Contended,
    /// A new world with so many log directories: `/data/0`, which has the metadata log, and so on.
    LogDirs(usize),
}

/// Runs a story, with a rule of the node broken or none, and returns it with the answers that it got; equal to `story` if all is as
/// it was written.
///
/// # Errors
/// The line that cannot be understood.
pub fn run(story: &str, mutant: Option<Mutant>) -> Result<String, String> {
    let mut world = World::for_script(mutant, 1);
    let mut told = String::new();
    let mut lines = story.lines().peekable();
    while let Some(line) = lines.next() {
        told.push_str(line);
        told.push('\n');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut commands = vec![line.to_owned()];
        for line in lines.by_ref() {
            told.push_str(line);
            told.push('\n');
            if line == "----" {
                break;
            }
            commands.push(line.to_owned());
        }
        while lines.peek().is_some_and(|line| !line.trim().is_empty()) {
            lines.next();
        }
        for command in commands {
            let command = parse(&command).ok_or_else(|| format!("what is `{command}`?"))?;
            if let Command::LogDirs(log_dirs) = command {
                world = World::for_script(mutant, log_dirs);
            }
            let answer = happen(&mut world, command);
            told.push_str(&answer);
            told.push('\n');
        }
    }
    Ok(told)
}

fn happen(world: &mut World, command: Command) -> String {
    match command {
        Command::Call(call) => world.call(call),
        Command::Send(call) => world.script_send(call),
        Command::Answer => world.script_answer(),
        Command::HangUp => world.script_hang_up(),
        Command::Fault(fault) => world.script_fault(fault, Cut::Drawn),
        Command::PowerCut(cut) => world.script_fault(Fault::PowerCut, cut),
        Command::Stop => world.script_stop(),
        Command::Start => world.script_start(),
        Command::Sleep(ms) => world.script_sleep(ms),
        Command::Fail(target) => world.script_fail(target),
        Command::NoRoom(what) => world.script_no_room(what),
        Command::Hold(target) => world.script_hold(target),
        Command::SlowWork => world.script_slow_work(),
        Command::Transaction => world.script_transaction(),
        Command::Batches(records) => world.script_batches(records),
        Command::Memory(hot_bytes) => world.script_memory(hot_bytes),
        Command::Rot(dir, at) => world.script_rot(&dir, at),
        Command::Full(full) => world.script_full(full),
        Command::Contended => world.script_contended(),
        Command::LogDirs(log_dirs) => format!("{log_dirs} log directories"),
    }
}

fn parse(line: &str) -> Option<Command> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let call = |call| Some(Command::Call(call));
    match words.as_slice() {
        ["create", topic, partitions, configs @ ..] => call(Call::Create {
            topic: (*topic).to_owned(),
            partitions: partitions.parse().ok()?,
            configs: configs
                .iter()
                .map(|config| {
                    let (name, value) = config.split_once('=')?;
                    Some((name.to_owned(), value.to_owned()))
                })
                .collect::<Option<_>>()?,
        }),
        ["delete", topic] => call(Call::Delete((*topic).to_owned())),
        ["grow", topic, count] => call(Call::Grow((*topic).to_owned(), count.parse().ok()?)),
        ["list"] => call(Call::List),
        ["produce", tp, options @ ..] => produce(partition(tp)?, options),
        ["read", tp] => call(Call::Read {
            tp: partition(tp)?,
            from: 0,
        }),
        ["read", tp, from] => call(Call::Read {
            tp: partition(tp)?,
            from: from.strip_prefix("from=")?.parse().ok()?,
        }),
        ["offset", tp, wanted] => call(Call::Offset {
            tp: partition(tp)?,
            timestamp: match *wanted {
                "earliest" => -2,
                "latest" => -1,
                "greatest" => -3,
                at => at.strip_prefix('@')?.parse().ok()?,
            },
        }),
        ["trim", tp, offset] => call(Call::Trim {
            tp: partition(tp)?,
            offset: offset.parse().ok()?,
        }),
        ["epoch", tp, epoch] => call(Call::Epoch {
            tp: partition(tp)?,
            epoch: epoch.parse().ok()?,
        }),
        ["init"] => call(Call::Init),
        ["send", ..] => match parse(line.trim_start().strip_prefix("send ")?)? {
            Command::Call(call) => Some(Command::Send(call)),
            _ => None,
        },
        ["answer"] => Some(Command::Answer),
        ["hang", "up"] => Some(Command::HangUp),
        ["crash"] => Some(Command::Fault(Fault::ProcessCrash)),
        ["power", "cut"] => Some(Command::PowerCut(Cut::Lose)),
        ["power", "cut", "keeps", "all"] => Some(Command::PowerCut(Cut::Keep)),
        ["stop"] => Some(Command::Stop),
        ["start"] => Some(Command::Start),
        ["sleep", span] => {
            let ms = span.strip_suffix("ms")?;
            Some(Command::Sleep(ms.parse().ok()?))
        }
        ["rot", tp, at] => {
            let (topic, index) = partition(tp)?;
            let at = at.strip_prefix("byte=")?.parse().ok()?;
            Some(Command::Rot(format!("{topic}-{index}"), at))
        }
        ["disk", "full"] => Some(Command::Full(true)),
        ["disk", "has", "room"] => Some(Command::Full(false)),
        ["disk", "full", "to", "stay"] => Some(Command::Contended),
        ["log", "directories", count @ ("1" | "2" | "3")] => {
            Some(Command::LogDirs(count.parse().ok()?))
        }
        ["fail", kind, place @ ..] if KINDS.contains(kind) => {
            Some(Command::Fail(target(kind, place)?))
        }
        ["no", "room", "for", file] if file.contains('/') => {
            Some(Command::NoRoom((*file).to_owned()))
        }
        ["hold", what, place @ ..]
            if what.contains('/') || KINDS.contains(what) || HELD.contains(what) =>
        {
            Some(Command::Hold(target(what, place)?))
        }
        ["slow", "work"] => Some(Command::SlowWork),
        ["wait", "for", "transaction"] => Some(Command::Transaction),
        ["metadata", "batches", "of", records] => {
            Some(Command::Batches(records.parse().ok().filter(|n| *n > 0)?))
        }
        ["memory", bytes] => Some(Command::Memory(bytes.parse().ok()?)),
        _ => None,
    }
}

/// Which operations: `WHAT`, or `WHAT in PATH` with the path of a log directory.
fn target(what: &str, place: &[&str]) -> Option<Target> {
    let root = match place {
        [] => None,
        ["in", path] => Some(root_at(path)?),
        _ => return None,
    };
    let what = what.to_owned();
    Some(Target { what, root })
}

fn partition(text: &str) -> Option<(String, i32)> {
    let (topic, index) = text.rsplit_once('-')?;
    Some((topic.to_owned(), index.parse().ok()?))
}

fn produce(tp: (String, i32), options: &[&str]) -> Option<Command> {
    let (mut acks, mut timestamp, mut step) = (-1, crate::clock::EPOCH_MS, 1);
    let mut writer: Option<Writer> = None;
    let mut values = Vec::new();
    for option in options {
        match option.split_once('=') {
            Some(("acks", "all")) => acks = -1,
            Some(("acks", number)) => acks = number.parse().ok()?,
            Some(("at", ms)) => timestamp = ms.parse().ok()?,
            Some(("step", ms)) => step = ms.parse().ok()?,
            Some(("by", who)) => {
                // by=ID/EPOCH/SEQUENCE
                let mut parts = who.split('/');
                writer = Some(Writer {
                    producer_id: parts.next()?.parse().ok()?,
                    epoch: parts.next()?.parse().ok()?,
                    sequence: parts.next()?.parse().ok()?,
                });
            }
            Some(_) => return None,
            None => values.push((*option).to_owned()),
        }
    }
    (!values.is_empty()).then_some(Command::Call(Call::Produce {
        tp,
        values,
        timestamp,
        step,
        acks,
        writer,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_refused() {
        assert_eq!(
            parse("read my-topic-3 from=7"),
            Some(Command::Call(Call::Read {
                tp: ("my-topic".to_owned(), 3),
                from: 7
            }))
        );
        let Some(Command::Call(Call::Produce {
            acks,
            writer,
            values,
            ..
        })) = parse("produce t-0 acks=1 by=5/0/2 a b")
        else {
            panic!("a produce");
        };
        assert_eq!((acks, values.len()), (1, 2));
        assert_eq!(writer.map(|writer| writer.sequence), Some(2));
        for wrong in [
            "",
            "jump",
            "read",
            "produce t-0",
            "produce t a",
            "sleep 5",
            "fail everything",
            "send stop",
            "metadata batches of 0",
            "no room for everything",
            "fail sync in /",
            "hold sync at /data/1",
            "log directories 0",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
