//! `trialog format`: what must stand in the log directories before a node's first start.
//!
//! Every file is written beside its place, synced, renamed, and its directory synced: a power cut at any moment leaves a
//! directory that is formatted or is not. `meta.properties`, which makes it formatted, comes last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use trialog_core::config::Config;
use trialog_core::format::{Format, FormatFile};
use trialog_core::ids::Uuid;

use crate::exit::{self, Failure};
use crate::properties::{self, Override};

/// Makes a directory formatted.
pub const META_PROPERTIES: &str = "meta.properties";

/// What `trialog format` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Kafka's server.properties.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The id of the cluster, the same on every node of it; a random one if it is left out.
    #[arg(short = 't', long, value_name = "ID")]
    cluster_id: Option<String>,
    /// The quorum is this node alone, and others may join it later.
    #[arg(short, long)]
    standalone: bool,
    /// Leave directories as they are that are formatted already.
    #[arg(short = 'g', long)]
    ignore_formatted: bool,
    /// A feature's level, as in metadata.version=25; may be repeated.
    #[arg(short, long = "feature", value_name = "NAME=LEVEL", value_parser = feature)]
    features: Vec<(String, i16)>,
    /// Set a property, above the file and the environment.
    #[arg(short = 'X', long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<Override>,
}

fn feature(text: &str) -> Result<(String, i16), String> {
    let (name, level) = text
        .split_once('=')
        .ok_or("expected name=level, as in metadata.version=25")?;
    let level = level
        .parse()
        .map_err(|_| format!("{level} is no level: expected a number"))?;
    Ok((name.into(), level))
}

/// Formats the log directories.
pub fn run(args: &Args) -> Result<(), Failure> {
    let properties = properties::load(&args.config, &args.overrides)?;
    let config = properties::check(&properties, &args.config.display().to_string())?;
    for note in config.notes() {
        exit::say(format_args!("{note}."));
    }
    let features: Vec<(&str, i16)> = args
        .features
        .iter()
        .map(|(name, level)| (name.as_str(), *level))
        .collect();
    let cluster_id = args.cluster_id.clone().unwrap_or_else(random_id);
    for outcome in format(
        &config,
        &cluster_id,
        args.standalone,
        args.ignore_formatted,
        &features,
    )? {
        println!("{outcome}");
    }
    Ok(())
}

/// Formats what is not formatted, for `trialog dev`.
pub fn if_needed(config: &Config) -> Result<(), Failure> {
    let all_formatted = config
        .log_dirs()
        .iter()
        .all(|dir| is_formatted(Path::new(dir)));
    if !all_formatted {
        let standalone = config.voters().is_empty();
        format(config, &random_id(), standalone, true, &[])?;
    }
    Ok(())
}

/// The command that formats what `config` needs and is not formatted, for a node that is started from `file` with these overrides.
pub fn command(config: &Config, file: &Path, overrides: &[Override]) -> String {
    let mut command = format!("trialog format -c {}", quoted(&file.display().to_string()));
    for flag in overrides {
        command += &format!(" -X {}", quoted(&flag.to_string()));
    }
    if config.voters().is_empty() {
        command += " --standalone";
    }
    if let Some(formatted) = config
        .log_dirs()
        .iter()
        .find(|dir| is_formatted(Path::new(dir)))
    {
        // Formatted beside others: for the same cluster, and without touching them.
        if let Some(id) = cluster_of(Path::new(formatted)) {
            command += &format!(" -t {}", quoted(&id));
        }
        command += " --ignore-formatted";
    }
    command
}

/// The cluster that a directory was formatted for.
fn cluster_of(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join(META_PROPERTIES)).ok()?;
    let id = trialog_core::config::properties::read(&text)
        .ok()?
        .remove("cluster.id");
    id.filter(|id| !id.is_empty())
}

/// A word as a shell takes it whole.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Is a directory there and formatted?
pub fn is_formatted(dir: &Path) -> bool {
    dir.join(META_PROPERTIES).exists()
}

fn format(
    config: &Config,
    cluster_id: &str,
    standalone: bool,
    ignore_formatted: bool,
    features: &[(&str, i16)],
) -> Result<Vec<String>, Failure> {
    let dirs: Vec<&Path> = config.log_dirs().iter().map(Path::new).collect();
    if let Some(dir) = dirs
        .iter()
        .find(|dir| is_formatted(dir) && !ignore_formatted)
    {
        return Err(Failure::failed(format_args!(
            "the log directory {} is formatted already. Use --ignore-formatted to leave it as it is and format the others; to start afresh, remove it first.",
            dir.display()
        )));
    }
    let directory_ids: Vec<Uuid> = dirs
        .iter()
        .map(|_| Uuid::random_from(rand::random()))
        .collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let files = Format {
        features,
        standalone,
        now_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        ..Format::new(config, cluster_id, &directory_ids)
    }
    .files()
    .map_err(|why| Failure::config(format_args!("cannot format: {why}.")))?;
    let mut outcomes = Vec::new();
    for (dir, files) in dirs.into_iter().zip(files) {
        let shown = dir.display();
        if is_formatted(dir) {
            outcomes.push(format!("{shown} is formatted already: left as it is."));
            continue;
        }
        write_all(dir, &files).map_err(|error| {
            Failure::failed(format_args!(
                "cannot format {shown}: {error}. Check that this user may write there and that there is room, then run it again."
            ))
        })?;
        outcomes.push(format!("Formatted {shown} for cluster {cluster_id}."));
    }
    Ok(outcomes)
}

fn write_all(dir: &Path, files: &[FormatFile]) -> io::Result<()> {
    make_directory(dir)?;
    for file in files {
        let parent = match &file.dir {
            Some(name) => dir.join(name.as_str()),
            None => dir.to_owned(),
        };
        make_directory(&parent)?;
        let place = parent.join(file.name.as_str());
        let beside = parent.join(format!("{}.tmp", file.name));
        let mut writing = File::create(&beside)?;
        writing.write_all(&file.content)?;
        writing.sync_all()?;
        fs::rename(&beside, &place)?;
        sync_directory(&parent)?;
    }
    Ok(())
}

/// Makes a directory and those above it, each entry durable.
fn make_directory(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_directory(above)?;
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    sync_directory(above)
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A cluster id; like Kafka's, none that a command line would take for a flag.
fn random_id() -> String {
    loop {
        let id = Uuid::random_from(rand::random()).to_string();
        if !id.starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_one_that_works() {
        let home = tempfile::tempdir().expect("a directory");
        let (one, two) = (home.path().join("one"), home.path().join("two"));
        let (one, two) = (one.display().to_string(), two.display().to_string());
        let config = Config::single(1, &[&one, &two], &[]).expect("valid");
        let file = Path::new("a b.properties");
        let flag: Override = "log.dirs=it's".parse().expect("valid");
        assert_eq!(
            command(&config, file, &[flag]),
            r"trialog format -c 'a b.properties' -X 'log.dirs=it'\''s'"
        );
        format(&config, "own", false, false, &[]).expect("formatted");
        fs::remove_dir_all(&two).expect("removed");
        assert_eq!(
            command(&config, Path::new("server.properties"), &[]),
            "trialog format -c server.properties -t own --ignore-formatted"
        );
        let dynamic = [
            ("controller.quorum.voters", ""),
            ("controller.quorum.bootstrap.servers", "127.0.0.1:9093"),
        ];
        let config = Config::single(1, &[&two], &dynamic).expect("valid");
        assert_eq!(
            command(&config, Path::new("server.properties"), &[]),
            "trialog format -c server.properties --standalone"
        );
    }

    #[test]
    fn a_directory_is_formatted_once_and_whole() {
        let home = tempfile::tempdir().expect("a directory");
        let (one, two) = (home.path().join("deep/one"), home.path().join("two"));
        let (one, two) = (one.display().to_string(), two.display().to_string());
        let config = Config::single(1, &[&one, &two], &[]).expect("valid");
        let outcomes = format(&config, "cluster", false, false, &[]).expect("formatted");
        assert_eq!(outcomes.len(), 2);
        for dir in [&one, &two] {
            let mut names: Vec<String> = fs::read_dir(dir)
                .expect("a listing")
                .map(|entry| {
                    entry
                        .expect("an entry")
                        .file_name()
                        .into_string()
                        .expect("text")
                })
                .collect();
            names.sort();
            assert_eq!(names, ["bootstrap.checkpoint", META_PROPERTIES]);
        }
        let text =
            |dir: &str| fs::read_to_string(Path::new(dir).join(META_PROPERTIES)).expect("it");
        assert!(text(&one).contains("cluster.id=cluster\n"));
        assert_ne!(text(&one), text(&two), "a directory id of its own each");

        let again = format(&config, "cluster", false, false, &[]).expect_err("formatted already");
        assert!(
            again.message.contains("--ignore-formatted"),
            "{}",
            again.message
        );
        let before = text(&one);
        fs::remove_dir_all(&two).expect("removed");
        format(&config, "cluster", false, true, &[]).expect("the other one");
        assert_eq!(text(&one), before);
        assert!(is_formatted(Path::new(&two)));
    }
}
