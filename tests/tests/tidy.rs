//! The tree against the tidy rules of `trialog_tests::tidy`, and the bans of clippy.toml against code that breaks them.
#![cfg(not(madsim))]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use trialog_tests::fresh;
use trialog_tests::tidy::{self, Complaint};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is inside the repository")
        .to_owned()
}

/// Paths below the root that git would commit: tracked, or new and not ignored.
fn tree() -> Vec<String> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the tree");
    assert!(
        listing.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listing.stderr)
    );
    let text = String::from_utf8(listing.stdout).expect("paths are UTF-8");
    text.lines()
        .filter(|path| root().join(path).exists())
        .map(str::to_owned)
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn judge(what: &str, complaints: Vec<Complaint>) {
    let lines: Vec<String> = complaints
        .iter()
        .map(|c| format!("{}: {}", c.place, c.what))
        .collect();
    assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
}

fn each_source(what: &str, rule: impl Fn(&str, &str) -> Vec<Complaint>) {
    let sources: Vec<String> = tree()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .collect();
    assert!(
        sources.len() >= 5,
        "only {} sources: the walk is broken",
        sources.len()
    );
    judge(
        what,
        sources
            .iter()
            .flat_map(|path| rule(path, &read(path)))
            .collect(),
    );
}

#[test]
fn rooms_import_downwards_only() {
    each_source("imports", tidy::import_direction);
    each_source("crates", tidy::crate_direction);
}

#[test]
fn packages_depend_downwards_only() {
    let packages = ["", "core/", "sim/", "net/", "bin/"];
    let manifests = packages.map(|package| format!("{package}Cargo.toml"));
    judge(
        "packages",
        manifests
            .iter()
            .flat_map(|path| tidy::package_direction(path, &read(path)))
            .collect(),
    );
}

#[test]
fn the_top_level_is_the_house() {
    let names: BTreeSet<String> = tree()
        .iter()
        .filter_map(|path| path.split('/').next().map(str::to_owned))
        .collect();
    judge("layout", tidy::layout(&names));
}

#[test]
fn deterministic_rooms_are_safe_and_banned_from_the_world() {
    each_source("deterministic rooms", tidy::deterministic_room);
    each_source("kept words", tidy::kept_words);
    let of_core = read("core/clippy.toml");
    assert_eq!(of_core, read("sim/clippy.toml"), "one list of bans");
}

#[test]
fn what_is_public_is_used() {
    let sources: Vec<(String, String)> = tree()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| (path.clone(), read(&path)))
        .collect();
    judge("used", tidy::used(&sources));
}

#[test]
fn matches_over_the_boundary_are_closed() {
    each_source("closed enums", tidy::closed_enums);
}

#[test]
fn files_introduce_themselves_and_are_finished() {
    each_source("finished", tidy::finished);
}

#[test]
fn schemas_are_in_their_one_form() {
    let paths = tree().into_iter().filter(|path| {
        (path.starts_with("core/schema/messages/") || path.starts_with("core/schema/records/"))
            && path.ends_with(".txt")
    });
    let judged: Vec<(String, String)> = paths.map(|path| (read(&path), path)).collect();
    assert!(judged.len() > 15, "only {} schemas", judged.len());
    let complaints = judged
        .iter()
        .flat_map(|(text, path)| fresh::fresh(path, text, &fresh::schema(text)));
    judge("schemas", complaints.collect());
}

#[test]
fn the_map_is_fresh() {
    let map = read("ARCHITECTURE.md");
    assert!(
        map.contains(&fresh::way_of_imports()[..12]),
        "the way of imports is told"
    );
    judge(
        "the way of imports",
        fresh::fresh("ARCHITECTURE.md", &map, &fresh::map(&map)),
    );
    let (_, core) = map.split_once("\ncore/ ").expect("the core is on the map");
    let (core, _) = core.split_once("\nsim/ ").expect("the simulator follows");
    let rooms: BTreeSet<String> = tree()
        .iter()
        .filter_map(|path| path.strip_prefix("core/src/")?.split('/').next())
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .filter(|room| room != "lib")
        .collect();
    judge("rooms", fresh::rooms_on_the_map(core, &rooms));
    let files: BTreeSet<String> = tree().into_iter().collect();
    judge("names", fresh::names_on_the_map(&map, &files));
}

#[test]
fn nothing_names_one_machine() {
    let documents: BTreeSet<String> = tree()
        .into_iter()
        .filter(|path| path.ends_with(".md"))
        .collect();
    let texts = tree().into_iter().filter(|path| {
        [
            ".rs",
            ".md",
            ".toml",
            ".xml",
            ".java",
            ".py",
            ".txt",
            ".properties",
        ]
        .iter()
        .any(|end| path.ends_with(end))
            || path.ends_with("/run")
            || path.ends_with("/fuzz")
    });
    judge(
        "portable",
        texts
            .flat_map(|path| tidy::portable(&path, &read(&path), &documents))
            .collect(),
    );
}

/// How each banned function and macro is used: what follows its path, and the paths that it follows. Types are imported.
const CALLS: &[(&str, &[&str])] = &[
    (
        "()",
        &[
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::thread::current",
            "std::thread::park",
            "std::thread::yield_now",
            "std::thread::available_parallelism",
            "std::env::args",
            "std::env::args_os",
            "std::env::vars",
            "std::env::vars_os",
            "std::env::current_dir",
            "std::env::current_exe",
            "std::env::home_dir",
            "std::env::temp_dir",
            "std::process::abort",
            "std::process::id",
            "std::io::stdin",
            "std::io::stdout",
            "std::io::stderr",
            "rand::rng",
        ],
    ),
    ("::<u8>()", &["std::sync::mpsc::channel", "rand::random"]),
    ("::<u8>(1)", &["std::sync::mpsc::sync_channel"]),
    ("::<u8>(1..2)", &["rand::random_range"]),
    ("::<u8>().next()", &["rand::random_iter"]),
    ("(0.5)", &["rand::random_bool"]),
    ("(1)", &["std::process::exit"]),
    ("(|| ())", &["std::thread::spawn"]),
    ("(|_| ())", &["std::thread::scope"]),
    (
        "(std::time::Duration::ZERO)",
        &["std::thread::sleep", "std::thread::park_timeout"],
    ),
    (
        "(panic!())",
        &[
            "std::time::Instant::elapsed",
            "std::time::SystemTime::elapsed",
        ],
    ),
    (
        "(\"a\")",
        &[
            "std::fs::canonicalize",
            "std::fs::create_dir",
            "std::fs::create_dir_all",
            "std::fs::exists",
            "std::fs::metadata",
            "std::fs::read",
            "std::fs::read_dir",
            "std::fs::read_link",
            "std::fs::read_to_string",
            "std::fs::remove_dir",
            "std::fs::remove_dir_all",
            "std::fs::remove_file",
            "std::fs::symlink_metadata",
            "std::path::absolute",
            "std::env::var",
            "std::env::var_os",
            "std::env::set_current_dir",
            "std::env::remove_var",
            "std::net::ToSocketAddrs::to_socket_addrs",
        ],
    ),
    (
        "(\"a\", \"b\")",
        &[
            "std::fs::copy",
            "std::fs::hard_link",
            "std::fs::rename",
            "std::fs::write",
            "std::env::set_var",
        ],
    ),
    ("(\"a\", panic!())", &["std::fs::set_permissions"]),
    (
        "(\"a\".as_ref())",
        &[
            "std::path::Path::canonicalize",
            "std::path::Path::exists",
            "std::path::Path::is_dir",
            "std::path::Path::is_file",
            "std::path::Path::is_symlink",
            "std::path::Path::metadata",
            "std::path::Path::read_dir",
            "std::path::Path::read_link",
            "std::path::Path::symlink_metadata",
            "std::path::Path::try_exists",
        ],
    ),
    (
        "!(\"a\")",
        &[
            "std::println",
            "std::print",
            "std::eprintln",
            "std::eprint",
            "std::dbg",
        ],
    ),
    ("!(static A: u8 = 1)", &["std::thread_local"]),
];

/// The banned paths of a `clippy.toml`: of functions and macros, and of types.
fn bans(clippy: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut called, mut types) = (BTreeSet::new(), BTreeSet::new());
    let mut list = "";
    for line in clippy.lines() {
        if line.starts_with("disallowed-") {
            list = line;
        } else if let Some((path, _)) = line
            .trim_start()
            .strip_prefix("{ path = \"")
            .and_then(|rest| rest.split_once('"'))
        {
            let is_type = list.starts_with("disallowed-types");
            let bans = if is_type { &mut types } else { &mut called };
            assert!(bans.insert(path), "{path} is banned twice");
        }
    }
    (called, types)
}

/// Runs clippy with the bans of `core` over a line of code for each of them.
#[test]
fn clippy_refuses_the_outside_world() {
    let clippy_toml = read("core/clippy.toml");
    let (called, types) = bans(&clippy_toml);
    let calls = CALLS
        .iter()
        .flat_map(|(call, paths)| paths.iter().map(move |path| (*path, *call)));
    let shown: BTreeSet<&str> = calls.clone().map(|(path, _)| path).collect();
    assert_eq!(shown, called, "what is shown, what is banned");
    let lines: Vec<(&str, String)> = calls
        .map(|(path, call)| (path, format!("{{ let _ = {path}{call}; }}")))
        .map(|(path, body)| match body.contains("static") {
            true => (path, body.replace("let _ = ", "")),
            false => (path, body),
        })
        .enumerate()
        .map(|(n, (path, body))| (path, format!("pub fn f{n}() {body}")))
        .chain(
            types
                .iter()
                .enumerate()
                .map(|(n, path)| (*path, format!("pub use {path} as T{n};"))),
        )
        .collect();

    let sample = tempfile::tempdir().expect("a directory for the sample");
    let write = |path: &str, text: &str| {
        let path = sample.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        std::fs::write(path, text).expect("write the sample");
    };
    write(
        "Cargo.toml",
        "[package]\nname = \"sample\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\nrand = { path = \"rand\" }\n[workspace]\n",
    );
    write(
        "rand/Cargo.toml",
        "[package]\nname = \"rand\"\nversion = \"0.10.0\"\nedition = \"2021\"\n",
    );
    write(
        "rand/src/lib.rs",
        "pub fn rng() {}\npub fn random<T>() {}\npub fn random_range<T>(_: std::ops::Range<T>) {}\npub fn random_bool(_: f64) {}\n\
         pub fn random_iter<T>() -> std::iter::Empty<T> { std::iter::empty() }\npub mod rngs { pub struct ThreadRng; pub struct SysRng; }\n",
    );
    write("clippy.toml", &clippy_toml);
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    write("src/lib.rs", &text);
    let clippy = Command::new(env!("CARGO"))
        .args([
            "clippy",
            "--offline",
            "--quiet",
            "--message-format",
            "short",
        ])
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", sample.path().join("target"))
        .current_dir(sample.path())
        .output()
        .expect("cargo clippy runs");
    let said = String::from_utf8_lossy(&clippy.stderr).into_owned();
    let refused = |number: usize, path: &str| {
        said.lines().any(|line| {
            line.starts_with(&format!("src/lib.rs:{number}:"))
                && line.contains("disallowed")
                && line.contains(path)
        })
    };
    let missed: Vec<&str> = lines
        .iter()
        .enumerate()
        .filter(|(n, (path, _))| !refused(n + 1, path))
        .map(|(_, (_, line))| line.as_str())
        .collect();
    assert!(missed.is_empty(), "{missed:#?}\nclippy said:\n{said}");
}
