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
    let manifests = ["core", "sim", "net", "bin"].map(|package| format!("{package}/Cargo.toml"));
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
}

#[test]
fn nothing_names_one_machine() {
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
    });
    judge(
        "portable",
        texts
            .flat_map(|path| tidy::portable(&path, &read(&path)))
            .collect(),
    );
}

/// One line of code for each thing that the deterministic rooms may not touch, with the path that the complaint must name.
const FORBIDDEN: &[(&str, &str)] = &[
    (
        "let _ = std::time::Instant::now();",
        "std::time::Instant::now",
    ),
    (
        "let _ = std::time::SystemTime::now();",
        "std::time::SystemTime::now",
    ),
    (
        "std::thread::sleep(std::time::Duration::ZERO);",
        "std::thread::sleep",
    ),
    ("std::thread::spawn(|| ());", "std::thread::spawn"),
    ("std::thread::scope(|_| ());", "std::thread::scope"),
    (
        "let _ = std::collections::HashMap::<u8, u8>::new();",
        "std::collections::HashMap",
    ),
    (
        "let _ = std::collections::HashSet::<u8>::new();",
        "std::collections::HashSet",
    ),
    (
        "let _ = std::hash::RandomState::new();",
        "std::hash::RandomState",
    ),
    ("let _ = std::fs::read(\"a\");", "std::fs::read"),
    ("let _ = std::fs::File::open(\"a\");", "std::fs::File"),
    (
        "let _ = std::fs::OpenOptions::new();",
        "std::fs::OpenOptions",
    ),
    (
        "let _ = std::net::TcpStream::connect(\"a:1\");",
        "std::net::TcpStream",
    ),
    (
        "let _ = std::net::TcpListener::bind(\"a:1\");",
        "std::net::TcpListener",
    ),
    (
        "let _ = std::net::UdpSocket::bind(\"a:1\");",
        "std::net::UdpSocket",
    ),
    ("let _ = std::env::var(\"A\");", "std::env::var"),
    ("let _ = std::env::args();", "std::env::args"),
    ("std::process::exit(1);", "std::process::exit"),
    (
        "let _ = std::process::Command::new(\"a\");",
        "std::process::Command",
    ),
    ("println!();", "std::println"),
    ("eprintln!();", "std::eprintln"),
    ("let _ = rand::rng();", "rand::rng"),
    ("let _: u8 = rand::random();", "rand::random"),
];

/// Runs clippy with the bans of `package` over one function for each forbidden line; what is not refused is returned.
fn not_refused(package: &str) -> Vec<&'static str> {
    let sample = tempfile::tempdir().expect("a directory for the sample");
    let write = |path: &str, text: &str| {
        let path = sample.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        std::fs::write(path, text).expect("write the sample");
    };
    write(
        "Cargo.toml",
        "[package]\nname = \"sample\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\nrand = { path = \"rand\" }\n[workspace]\n",
    );
    write(
        "rand/Cargo.toml",
        "[package]\nname = \"rand\"\nversion = \"0.10.0\"\nedition = \"2024\"\n",
    );
    write(
        "rand/src/lib.rs",
        "pub fn rng() -> u8 { 1 }\npub fn random<T: Default>() -> T { T::default() }\npub mod rngs { pub struct ThreadRng; pub struct SysRng; }\n",
    );
    write("clippy.toml", &read(&format!("{package}/clippy.toml")));
    let functions: String = FORBIDDEN
        .iter()
        .enumerate()
        .map(|(n, (line, _))| format!("pub fn f{n}() {{ {line} }}\n"))
        .collect();
    write("src/lib.rs", &functions);
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
    let refused = |(n, path): (usize, &str)| {
        said.lines().any(|line| {
            line.starts_with(&format!("src/lib.rs:{}:", n + 1))
                && line.contains("disallowed")
                && line.contains(path)
        })
    };
    let missed: Vec<&str> = FORBIDDEN
        .iter()
        .enumerate()
        .filter(|(n, (_, path))| !refused((*n, path)))
        .map(|(_, (line, _))| *line)
        .collect();
    if !missed.is_empty() {
        eprintln!("clippy said:\n{said}");
    }
    missed
}

#[test]
fn clippy_refuses_the_outside_world_in_core() {
    assert_eq!(not_refused("core"), Vec::<&str>::new());
}

#[test]
fn clippy_refuses_the_outside_world_in_sim() {
    assert_eq!(not_refused("sim"), Vec::<&str>::new());
}
