//! Scripted scenarios: every story of `tests/scenarios` happens as it is written, and otherwise where a rule that it is about is broken:
//! `# Broken by NAME` names a mutant.
//!
//! `TRIALOG_REWRITE=1 cargo test -p trialog-tests --test sim_scenarios` writes what happened instead; read the difference.
#![cfg(not(madsim))]

use std::path::{Path, PathBuf};

use trialog_core::mutant::Mutant;
use trialog_sim::script;

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut stories: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the scenarios")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    stories.sort();
    stories
}

#[test]
fn every_story_happens_as_it_is_written() {
    let stories = stories();
    assert!(stories.len() >= 5, "only {} stories", stories.len());
    let mut wrong = Vec::new();
    for path in stories {
        let written = std::fs::read_to_string(&path).expect("a story");
        let happened = script::run(&written, None)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if std::env::var_os("TRIALOG_REWRITE").is_some() {
            std::fs::write(&path, &happened).expect("the story is written");
        } else if happened != written {
            wrong.push(difference(&path, &written, &happened));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The mutants that a story says it is broken by.
fn mutants(story: &str) -> impl Iterator<Item = Mutant> {
    let names = story
        .lines()
        .filter_map(|line| line.strip_prefix("# Broken by "));
    names.map(|name| {
        let known = Mutant::ALL.into_iter().find(|known| known.name() == name);
        known.unwrap_or_else(|| panic!("{name} is no mutant"))
    })
}

#[test]
fn a_story_goes_otherwise_where_its_rule_is_broken() {
    let mut told = 0;
    for path in stories() {
        let written = std::fs::read_to_string(&path).expect("a story");
        for mutant in mutants(&written) {
            let happened = script::run(&written, Some(mutant)).expect("it is understood");
            assert_ne!(
                happened,
                written,
                "{} does not tell of {}",
                path.display(),
                mutant.name()
            );
            told += 1;
        }
    }
    assert!(told > 0, "no story names a mutant");
}

#[test]
fn a_story_that_is_told_wrongly_is_noticed() {
    let story = "list\n----\nt: 1 partitions\n";
    let happened = script::run(story, None).expect("it is understood");
    assert_eq!(happened, "list\n----\nno topics\n");
    assert!(script::run("dance\n----\n", None).is_err());
}

fn difference(path: &Path, written: &str, happened: &str) -> String {
    let same = written
        .lines()
        .zip(happened.lines())
        .take_while(|(a, b)| a == b)
        .count();
    format!(
        "{}:{}: written {:?}, happened {:?}",
        path.display(),
        same + 1,
        written.lines().nth(same).unwrap_or("(the end)"),
        happened.lines().nth(same).unwrap_or("(the end)")
    )
}
