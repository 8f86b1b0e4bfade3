//! Where properties come from: the command line beats the environment, which beats the file.
//!
//! The environment's names are those of Kafka's container images: `KAFKA_LOG_DIRS` is `log.dirs`, `__` stands for `_`
//! and `___` for `-`.

use std::collections::BTreeMap;
use std::path::Path;

use trialog_core::config::{Config, properties};

use crate::exit::Failure;

/// Of the images and Kafka's scripts, but no properties.
const NOT_PROPERTIES: &[&str] = &[
    "KAFKA_VERSION",
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
];

/// One `name=value` of the command line.
#[derive(Clone, Debug)]
pub struct Override {
    name: String,
    value: String,
}

impl std::str::FromStr for Override {
    type Err = String;
    fn from_str(text: &str) -> Result<Override, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => Ok(Override {
                name: name.trim().into(),
                value: value.trim().into(),
            }),
            _ => Err("expected name=value, as in log.dirs=/var/lib/trialog".into()),
        }
    }
}

impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// All properties of a node, from everywhere.
pub fn gather(
    file: BTreeMap<String, String>,
    environment: impl Iterator<Item = (String, String)>,
    overrides: &[Override],
) -> BTreeMap<String, String> {
    let mut all = file;
    all.extend(environment.filter_map(|(name, value)| Some((from_environment(&name)?, value))));
    let flags = overrides.iter().cloned();
    all.extend(flags.map(|Override { name, value }| (name, value)));
    all
}

/// Reads `path` and puts the environment and the command line on top.
pub fn load(path: &Path, overrides: &[Override]) -> Result<BTreeMap<String, String>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::config(format_args!(
            "cannot read the configuration {}: {error}. Give the path of a server.properties, or try `trialog dev`.",
            path.display()
        ))
    })?;
    let file = properties::read(&decode(bytes)).map_err(|error| {
        Failure::config(format_args!(
            "the configuration {} is malformed at {error}. Correct it there.",
            path.display()
        ))
    })?;
    Ok(gather(file, environment(), overrides))
}

/// UTF-8, or else Latin-1, which is what Java takes every properties file for.
fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes().into_iter();
        bytes.map(char::from).collect()
    })
}

/// The variables that are text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Checks the properties, and tells every fault at once.
pub fn check(properties: &BTreeMap<String, String>, from: &str) -> Result<Config, Failure> {
    Config::parse(properties).map_err(|errors| {
        Failure::config(format_args!(
            "the configuration ({from}) is refused:\n{errors}\nCorrect it there, or override a property with -X name=value."
        ))
    })
}

/// `KAFKA_LOG_DIRS` is `log.dirs`; `None` if the variable is no property.
fn from_environment(variable: &str) -> Option<String> {
    if NOT_PROPERTIES.contains(&variable) {
        return None;
    }
    let rest = variable
        .strip_prefix("KAFKA_")
        .filter(|rest| !rest.is_empty())?;
    let name = rest
        .to_lowercase()
        .replace("___", "-")
        .replace("__", "\u{0}")
        .replace('_', ".")
        .replace('\u{0}', "_");
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn the_command_line_beats_the_environment_beats_the_file() {
        let file = pairs(&[("log.dirs", "file"), ("node.id", "1"), ("a", "file")]);
        let environment = pairs(&[
            ("KAFKA_LOG_DIRS", "environment"),
            ("KAFKA_A", "environment"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("HOME", "/root"),
            ("KAFKA_", "no name"),
        ]);
        let overrides = ["a=flag=1".parse().expect("name=value")];
        let all = gather(
            file.into_iter().collect(),
            environment.into_iter(),
            &overrides,
        );
        let want = pairs(&[
            ("a", "flag=1"),
            ("log.dirs", "environment"),
            ("node.id", "1"),
        ]);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_file_is_utf_8_or_latin_1() {
        assert_eq!(decode("# Größe".into()), "# Größe");
        assert_eq!(decode(b"# Gr\xf6\xdfe".to_vec()), "# Größe");
    }

    #[test]
    fn variables_are_named_as_the_images_name_them() {
        let name = |variable| from_environment(variable);
        assert_eq!(name("KAFKA_NODE_ID").as_deref(), Some("node.id"));
        assert_eq!(name("KAFKA_A__B___C").as_deref(), Some("a_b-c"));
        assert_eq!(name("KAFKA_OPTS"), None);
        assert_eq!(name("OTHER_NODE_ID"), None);
    }

    #[test]
    fn an_override_is_a_name_and_a_value() {
        assert!("=x".parse::<Override>().is_err());
        assert!("log.dirs".parse::<Override>().is_err());
        assert!("log.dirs=".parse::<Override>().is_ok());
    }
}
