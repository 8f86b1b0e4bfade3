//! The tidy rules: what the tree promises about itself and no compiler checks.
//!
//! Owns the rules as pure functions from text to complaints, so that each is shown to fail on a small bad sample; it never
//! reads a file (`tests/tests/tidy.rs` walks the tree). Text is judged after comments and literals are blanked out.

mod closed_enums;
mod code;

use std::collections::{BTreeMap, BTreeSet};

pub use closed_enums::closed_enums;
use code::{code_only, is_word, line_of, without_tests, word_at};

/// One broken rule: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Path below the repository's root, with the line where one is to blame.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

pub(crate) fn complaint(place: impl Into<String>, what: impl Into<String>) -> Complaint {
    Complaint {
        place: place.into(),
        what: what.into(),
    }
}

/// The rooms of the core from the top of the house to its ground; a room imports only from lower floors.
pub const FLOORS: &[&[&str]] = &[
    &["node"],
    &["api"],
    &[
        "partition",
        "group",
        "txn",
        "controller",
        "fetch",
        "admit",
        "format",
    ],
    &["quorum", "metadata"],
    &["log", "peer"],
    &["pending"],
    // An Effect carries Events, so the boundary stands on them.
    &["io"],
    &["event", "situation"],
    &["work"],
    &["wire"],
    &["ids", "time", "rng", "mark", "mutant", "config"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// First path segments below the crate's root that a file names: `(byte offset, segment)`.
fn root_segments(code: &str, module: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c| is_word(c) || c == ':' || c == '$') {
                continue;
            }
            let mut rest = &code[at..];
            if start == "super::" {
                let mut up = 0;
                while let Some(after) = rest.strip_prefix("super::") {
                    up += 1;
                    rest = after;
                }
                if up != module.len() {
                    continue;
                }
            } else {
                rest = &rest[start.len()..];
            }
            match rest.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group).into_iter().map(|head| (at, head))),
                None => found.push((at, word_at(rest).to_owned())),
            }
        }
    }
    found
}

/// The first words of the items of a braced import, up to its closing brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut heads) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && is_word(c) => {
                heads.push(word_at(&group[at..]).to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// A file of the core imports only from the floors below its own room.
pub fn import_direction(path: &str, source: &str) -> Vec<Complaint> {
    let Some(inside) = path
        .strip_prefix("core/src/")
        .and_then(|p| p.strip_suffix(".rs"))
    else {
        return Vec::new();
    };
    if inside == "lib" {
        return Vec::new();
    }
    let module: Vec<&str> = inside.trim_end_matches("/mod").split('/').collect();
    let room = module[0];
    let Some(own) = floor(room) else {
        return vec![complaint(
            path,
            format!("the room {room} is not on the map of the core"),
        )];
    };
    let code = code_only(source);
    let code = without_tests(&code);
    let mut complaints = Vec::new();
    for (at, target) in root_segments(code, &module) {
        if target == room {
            continue;
        }
        let place = format!("{path}:{}", line_of(code, at));
        match floor(&target) {
            None => complaints.push(complaint(
                place,
                format!("imports {target}, which is no room of the core: name the room"),
            )),
            Some(other) if other == own => complaints.push(complaint(
                place,
                format!("{room} and {target} are siblings and never import each other"),
            )),
            Some(other) if other < own => complaints.push(complaint(
                place,
                format!("{room} imports {target}, which stands above it"),
            )),
            Some(_) => {}
        }
    }
    complaints
}

/// A package depends only on what its place in the house allows, and leaves the bans of its rooms in force.
pub fn package_direction(path: &str, manifest: &str) -> Vec<Complaint> {
    let forbidden: &[&str] = match path {
        "core/Cargo.toml" => &[
            "trialog-sim",
            "trialog-net",
            "trialog-tests",
            "tokio",
            "madsim",
            "rustix",
            "libc",
            "rand",
            "tempfile",
        ],
        "sim/Cargo.toml" => &[
            "trialog-net",
            "trialog-tests",
            "tokio",
            "madsim",
            "rustix",
            "libc",
            "tempfile",
        ],
        "net/Cargo.toml" => &["trialog-sim", "trialog-tests"],
        "bin/Cargo.toml" => &["trialog-tests"],
        _ => &[],
    };
    let mut complaints = Vec::new();
    let mut section = "";
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or("");
        // Its benches read the clock of their thread; nothing of the core itself can use it from there.
        let of_benches = section == "[dev-dependencies]" && name == "rustix";
        let place = || format!("{path}:{}", number + 1);
        if forbidden.contains(&name) && !(of_benches && path == "core/Cargo.toml") {
            complaints.push(complaint(place(), format!("must not depend on {name}")));
        }
        if section.contains("lints")
            && BANS
                .iter()
                .any(|ban| ban.rsplit([':', '(']).next() == Some(name))
        {
            complaints.push(complaint(place(), format!("must not touch {name}")));
        }
    }
    complaints
}

/// No file of `net` names the simulator, and no deterministic room names a runtime.
pub fn crate_direction(path: &str, source: &str) -> Vec<Complaint> {
    let forbidden: &[&str] = match path.split('/').next() {
        Some("net") => &["trialog_sim"],
        Some("core") => &["trialog_sim", "trialog_net", "tokio", "madsim"],
        Some("sim") => &["trialog_net", "tokio", "madsim"],
        _ => &[],
    };
    let code = code_only(source);
    let mut complaints = Vec::new();
    for name in forbidden {
        for (at, _) in code.match_indices(&format!("{name}::")) {
            if !code[..at].ends_with(is_word) {
                complaints.push(complaint(
                    format!("{path}:{}", line_of(&code, at)),
                    format!("must not use {name}"),
                ));
            }
        }
    }
    complaints
}

/// The top level is the house and nothing else.
pub fn layout(names: &BTreeSet<String>) -> Vec<Complaint> {
    const HOUSE: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "ARCHITECTURE.md",
        "core",
        "sim",
        "net",
        "bin",
        "tests",
    ];
    let mut complaints = Vec::new();
    for name in names {
        if !HOUSE.contains(&name.as_str()) && !name.starts_with('.') {
            complaints.push(complaint(name, "does not belong at the top level"));
        }
    }
    for name in HOUSE {
        if !names.contains(*name) {
            complaints.push(complaint(*name, "is missing at the top level"));
        }
    }
    complaints
}

/// The lints that keep the outside world out, and what would switch them off with others.
const BANS: &[&str] = &[
    "clippy::disallowed_methods",
    "clippy::disallowed_types",
    "clippy::disallowed_macros",
    "clippy::style",
    "clippy::all",
    "allow(warnings",
    "expect(warnings",
];

/// What the deterministic rooms know of the standard library. Of some of it clippy.toml bans a part, such as the clocks of `time`.
const STD: &[&str] = &[
    "borrow",
    "cmp",
    "collections",
    "error",
    "fmt",
    "hash",
    "io",
    "iter",
    "mem",
    "ops",
    "panic",
    "slice",
    "str",
    "sync",
    "time",
];

fn is_deterministic(path: &str) -> bool {
    path.starts_with("core/src/") || path.starts_with("sim/src/")
}

/// The deterministic rooms hold no unsafe code, know of the standard library what has no outside, and nobody switches their
/// bans off.
pub fn deterministic_room(path: &str, source: &str) -> Vec<Complaint> {
    let code = code_only(source);
    let mut complaints = Vec::new();
    let roots = ["core/src/lib.rs", "sim/src/lib.rs", "bin/src/main.rs"];
    if roots.contains(&path) && !code.contains("#![forbid(unsafe_code)]") {
        complaints.push(complaint(path, "must say #![forbid(unsafe_code)]"));
    }
    if !is_deterministic(path) {
        return complaints;
    }
    let mut blame = |at: usize, what: String| {
        complaints.push(complaint(format!("{path}:{}", line_of(&code, at)), what));
    };
    for ban in BANS {
        for at in words(&code, ban) {
            blame(at, format!("must not touch {ban}"));
        }
    }
    for (at, _) in code.match_indices("std::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + "std::".len()..];
        let named = match rest.strip_prefix('{') {
            Some(group) => group_heads(group),
            None => vec![word_at(rest).to_owned()],
        };
        for module in named.iter().filter(|name| !STD.contains(&name.as_str())) {
            blame(at, format!("must not use std::{module}"));
        }
    }
    complaints
}

/// Where `word` stands as a whole.
fn words(code: &str, word: &str) -> Vec<usize> {
    let all = code.match_indices(word).map(|(at, _)| at);
    all.filter(|at| {
        !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
    .collect()
}

/// A word that only some files may use.
struct Kept {
    word: &'static str,
    within: &'static [&'static str],
    files: &'static [&'static str],
    why: &'static str,
}

const HOUSE_SOURCES: &[&str] = &["core/src/", "sim/src/", "net/src/", "bin/src/"];
const DETERMINISTIC: &[&str] = &["core/src/", "sim/src/"];
const KEPT: &[Kept] = &[
    Kept {
        word: "unsafe",
        within: HOUSE_SOURCES,
        files: &["net/src/allocator.rs"],
        why: "unsafe code belongs to the allocator",
    },
    Kept {
        word: "with_mutants",
        within: HOUSE_SOURCES,
        files: &["core/src/node.rs", "sim/src/machine.rs"],
        why: "only the simulator makes a node with a broken rule",
    },
    Kept {
        word: "f32",
        within: DETERMINISTIC,
        files: &[],
        why: "no float in state",
    },
    Kept {
        word: "f64",
        within: DETERMINISTIC,
        // What Kafka writes as a double is read, compared with its bounds and shown; what is kept are its bits.
        files: &["core/src/config/double.rs", "core/src/config/table.rs"],
        why: "no float in state",
    },
    Kept {
        word: "LazyLock",
        within: DETERMINISTIC,
        // Read from texts of the release: the same in every process.
        files: &["core/src/config/table.rs", "core/src/config/effective.rs"],
        why: "state belongs to the node",
    },
    Kept {
        // clippy.toml cannot ban it: proptest's macros expand to it.
        word: "Arc",
        within: DETERMINISTIC,
        files: &[],
        why: "state is plain data: nothing is shared",
    },
];

/// Some words are kept to the files that need them.
pub fn kept_words(path: &str, source: &str) -> Vec<Complaint> {
    if path.contains("/tests/") || path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let code = code_only(source);
    let code = without_tests(&code);
    let judged = |kept: &&Kept| {
        kept.within.iter().any(|room| path.starts_with(room)) && !kept.files.contains(&path)
    };
    let blamed = KEPT.iter().filter(judged).flat_map(|kept| {
        let places = words(code, kept.word).into_iter();
        places.map(|at| {
            complaint(
                format!("{path}:{}", line_of(code, at)),
                format!("must not say {}: {}", kept.word, kept.why),
            )
        })
    });
    blamed.collect()
}

/// What is public is used: a name that occurs where it is defined and nowhere else is nobody's. The compiler is silent on it.
pub fn used(sources: &[(String, String)]) -> Vec<Complaint> {
    let texts: Vec<(&str, String)> = sources
        .iter()
        .map(|(path, source)| match path.starts_with("core/build/") {
            // It writes code as text.
            true => (path.as_str(), source.clone()),
            false => (path.as_str(), code_only(source)),
        })
        .collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut defined: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in &texts {
        for word in text.split(|c| !is_word(c)) {
            *times.entry(word).or_default() += 1;
        }
        for at in words(text, "pub") {
            if let Some(name) = defines(&text[at..]) {
                let place = format!("{path}:{}", line_of(text, at));
                defined.entry(name).or_default().push(place);
            }
        }
    }
    let unused = defined
        .iter()
        .filter(|(name, places)| times.get(*name) == Some(&places.len()));
    unused
        .flat_map(|(name, places)| {
            let what = format!("nobody uses {name}: delete it");
            places.iter().map(move |place| complaint(place, &what))
        })
        .collect()
}

/// The name that a public item gives itself.
fn defines(item: &str) -> Option<&str> {
    let head = item.lines().next()?;
    let mut words = head.split_whitespace().skip(1).peekable();
    while let Some(word) = words.next() {
        match word {
            "async" | "unsafe" => {}
            "const" if words.peek() == Some(&"fn") => {}
            "fn" | "const" | "static" | "struct" | "enum" | "trait" | "type" => {
                return words.next().map(word_at);
            }
            _ => return None,
        }
    }
    None
}

/// Every file says what it owns, nothing is left to be done, and no test is switched off.
pub fn finished(path: &str, source: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let header = source
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !header.is_some_and(|line| line.starts_with("//!")) {
        complaints.push(complaint(
            path,
            "must open with //!: what it owns and what it never does",
        ));
    }
    let code = code_only(source);
    for stub in ["todo!", "unimplemented!", "dbg!", "#[ignore"] {
        for (at, _) in code.match_indices(stub) {
            if !code[..at].ends_with(is_word) {
                complaints.push(complaint(
                    format!("{path}:{}", line_of(&code, at)),
                    format!("{stub} is not finished work"),
                ));
            }
        }
    }
    complaints
}

/// Paths from the root that mean the same on every machine: what the system has, what Kafka's defaults and examples name, and
/// where the tests' own worlds keep their data.
const COMMON_PATHS: &[&str] = &[
    "/dev/",
    "/proc/",
    "/usr/bin/",
    "/var/lib/trialog",
    "/tmp/kafka-logs",
    "/data/",
];
/// Hosts whose addresses are names: of a licence, of an XML schema.
const NAMING_HOSTS: &[&str] = &["www.apache.org/", "maven.apache.org/POM/"];

/// Nothing speaks of the machine that it was written on, of other hosts, or of documents that are not here.
pub fn portable(path: &str, text: &str, documents: &BTreeSet<String>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut inside_the_package = false;
    for (number, line) in text.lines().enumerate() {
        let mut blame = |what: String| {
            complaints.push(complaint(format!("{path}:{}", number + 1), what));
        };
        for (at, _) in line.match_indices('/') {
            let before = line[..at].chars().next_back();
            let found = line[at..].split(|c| !is_of_path(c)).next().unwrap_or("");
            // `/x` alone is a suffix, an answer or a sign; `//` a comment.
            let is_path = before.is_none_or(|c| c.is_whitespace() || "\"'`(=:,".contains(c))
                && found[1..].starts_with(|c: char| c.is_ascii_alphabetic())
                && found[1..].trim_end_matches('/').contains('/');
            let common = COMMON_PATHS.iter().any(|start| found.starts_with(start));
            if is_path && !common && !inside_the_package {
                blame(format!("names {found}, which no other machine has"));
            }
        }
        for (at, _) in line.match_indices("://") {
            let is_web = line[..at].ends_with("http") || line[..at].ends_with("https");
            let host = &line[at + "://".len()..];
            if is_web && !NAMING_HOSTS.iter().any(|name| host.starts_with(name)) {
                blame(format!("names a host: {host}"));
            }
        }
        for (at, _) in line.match_indices(".md") {
            let name = line[..at].rsplit(|c| !is_of_path(c)).next().unwrap_or("");
            let document = format!("{name}.md");
            let is_whole = !line[at + ".md".len()..].starts_with(is_word);
            if is_whole && !name.is_empty() && !documents.iter().any(|d| d.ends_with(&document)) {
                blame(format!("names {document}, which is not here"));
            }
        }
        // `concat!(env!("CARGO_MANIFEST_DIR"), "/…")` goes on below the package.
        inside_the_package = line.contains("CARGO_MANIFEST_DIR");
    }
    complaints
}

fn is_of_path(c: char) -> bool {
    is_word(c) || "/.-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(complaints: &[Complaint]) -> Vec<&str> {
        complaints.iter().map(|c| c.place.as_str()).collect()
    }

    #[test]
    fn imports_go_down() {
        assert_eq!(
            import_direction(
                "core/src/log/segment.rs",
                "use crate::io::DiskOp;\nuse crate::{ids::Offset, wire::{batch, x}};"
            ),
            vec![]
        );
        assert_eq!(
            import_direction(
                "core/src/log/segment.rs",
                "use crate::log::index::Index;\nuse super::index;\nfn f() { super::super::io::f() }"
            ),
            vec![]
        );
        assert_eq!(
            places(&import_direction(
                "core/src/log/segment.rs",
                "\nuse crate::partition::Leader;"
            )),
            ["core/src/log/segment.rs:2"]
        );
        assert_eq!(
            places(&import_direction(
                "core/src/log/segment.rs",
                "use crate::{io, api::{a, b}};"
            )),
            ["core/src/log/segment.rs:1"]
        );
        assert_eq!(
            places(&import_direction(
                "core/src/log/mod.rs",
                "fn f() { crate::node::g() }"
            )),
            ["core/src/log/mod.rs:1"]
        );
        assert_eq!(
            places(&import_direction(
                "core/src/log/segment.rs",
                "use super::super::node::x;"
            )),
            ["core/src/log/segment.rs:1"]
        );
    }

    #[test]
    fn siblings_are_strangers_and_every_room_is_on_the_map() {
        assert_eq!(
            import_direction("core/src/group/mod.rs", "use crate::txn::Marker;").len(),
            1
        );
        assert_eq!(import_direction("core/src/attic/mod.rs", "").len(), 1);
        assert_eq!(
            import_direction("core/src/log/mod.rs", "use crate::attic::x;").len(),
            1
        );
        assert_eq!(
            import_direction(
                "core/src/log/mod.rs",
                "#[cfg(test)]\nmod tests { use crate::node::x; }"
            ),
            vec![]
        );
        assert_eq!(
            import_direction(
                "core/src/log/mod.rs",
                "#[cfg(test)]\nfn helper() {}\nuse crate::node::x;"
            )
            .len(),
            1
        );
    }

    #[test]
    fn packages_keep_their_place() {
        assert_eq!(
            package_direction(
                "net/Cargo.toml",
                "[dependencies]\ntrialog-sim.workspace = true"
            )
            .len(),
            1
        );
        assert_eq!(
            package_direction("core/Cargo.toml", "tokio = \"1\"").len(),
            1
        );
        let lints = "[workspace.lints.clippy]\nall = \"allow\"\ndbg_macro = \"deny\"";
        assert_eq!(
            places(&package_direction("Cargo.toml", lints)),
            ["Cargo.toml:2"]
        );
        assert_eq!(
            package_direction(
                "net/Cargo.toml",
                "trialog-core.workspace = true\ntokio.workspace = true"
            ),
            vec![]
        );
        assert_eq!(
            crate_direction("net/src/driver.rs", "use trialog_sim::World;").len(),
            1
        );
        assert_eq!(
            crate_direction("core/src/io.rs", "async fn f() { tokio::spawn(g()) }").len(),
            1
        );
        assert_eq!(
            crate_direction(
                "net/src/driver.rs",
                "use tokio::net::TcpStream; // trialog_sim::World"
            ),
            vec![]
        );
    }

    #[test]
    fn the_top_level_is_the_house() {
        let whole: BTreeSet<String> = [
            "Cargo.toml",
            "Cargo.lock",
            "LICENSE",
            "README.md",
            "ARCHITECTURE.md",
            "core",
            "sim",
            "net",
            "bin",
            "tests",
            ".ci",
        ]
        .map(String::from)
        .into();
        assert_eq!(layout(&whole), vec![]);
        let mut more = whole.clone();
        more.insert("scripts".into());
        assert_eq!(places(&layout(&more)), ["scripts"]);
        let mut less = whole;
        less.remove("sim");
        assert_eq!(places(&layout(&less)), ["sim"]);
    }

    #[test]
    fn deterministic_rooms_forbid_unsafe_and_keep_their_bans() {
        assert_eq!(
            deterministic_room("core/src/lib.rs", "//! x\npub mod io;").len(),
            1
        );
        assert_eq!(
            deterministic_room("core/src/lib.rs", "#![forbid(unsafe_code)]\n"),
            vec![]
        );
        assert_eq!(
            deterministic_room(
                "sim/src/world.rs",
                "#[allow(clippy::disallowed_types)]\nfn f() {}"
            )
            .len(),
            1
        );
        for (bad, path) in [
            ("#[allow(clippy::all)]\nfn f() {}", "sim/src/a.rs"),
            ("#![expect(warnings)]", "core/src/a.rs"),
            ("use std::{fmt, os::unix::net};", "core/src/a.rs"),
            ("fn f() { std::env::args() }", "sim/src/a.rs"),
            ("mod dev;", "bin/src/main.rs"),
        ] {
            assert_eq!(deterministic_room(path, bad).len(), 1, "{bad}");
        }
        let good = "#[allow(clippy::all_fine)]\nuse std::{fmt, io::Read};\n// std::env";
        assert_eq!(deterministic_room("core/src/a.rs", good), vec![]);
        assert_eq!(
            deterministic_room("net/src/lib.rs", "use std::net::TcpStream;"),
            vec![]
        );
    }

    #[test]
    fn files_introduce_themselves_and_are_finished() {
        assert_eq!(finished("core/src/a.rs", "//! Owns a.\nfn f() {}"), vec![]);
        assert_eq!(
            finished("core/src/a.rs", "#![cfg(unix)]\n//! Owns a.\n"),
            vec![]
        );
        assert_eq!(finished("core/src/a.rs", "fn f() {}").len(), 1);
        let stub = [
            "//! Owns a.\nfn f() { to",
            "do!() }\n#[ig",
            "nore]\nfn g() {}",
        ]
        .concat();
        assert_eq!(
            places(&finished("core/src/a.rs", &stub)),
            ["core/src/a.rs:2", "core/src/a.rs:3"]
        );
    }

    #[test]
    fn some_words_are_kept_to_their_files() {
        let broken = "fn f() { Node::with_mutants() }";
        assert_eq!(
            places(&kept_words("net/src/a.rs", broken)),
            ["net/src/a.rs:1"]
        );
        assert_eq!(
            places(&kept_words("bin/src/a.rs", broken)),
            ["bin/src/a.rs:1"]
        );
        assert_eq!(kept_words("sim/src/machine.rs", broken), vec![]);
        let float = "struct S { mean: f64 }";
        assert_eq!(kept_words("sim/src/a.rs", float).len(), 1);
        assert_eq!(kept_words("bin/src/a.rs", float), vec![]);
        let test = format!("#[cfg(test)]\nmod tests {{ {float} }}");
        assert_eq!(kept_words("sim/src/a.rs", &test), vec![]);
    }

    #[test]
    fn what_nobody_uses_is_found() {
        let sources = |user: &str| {
            let file = "pub const fn one() {}\n/// [`two`]\npub(crate) struct two;";
            [("a.rs", file), ("b.rs", user)].map(|(path, text)| (path.to_owned(), text.to_owned()))
        };
        assert_eq!(used(&sources("fn f() { one(); two }")), vec![]);
        assert_eq!(
            places(&used(&sources("fn f() { one() } // two"))),
            ["a.rs:3"]
        );
        assert_eq!(places(&used(&sources("fn f() { two }"))), ["a.rs:1"]);
    }

    #[test]
    fn nothing_names_one_machine() {
        let documents =
            BTreeSet::from(["README.md".to_owned(), "core/schema/README.md".to_owned()]);
        let portable = |text: &str| portable("a.rs", text, &documents).len();
        let home = ["", "home", "me", "x"].join("/");
        assert_eq!(portable(&format!("// see {home}")), 1);
        assert_eq!(portable(&format!("open(\"{home}\")")), 1);
        assert_eq!(
            portable("// see the network, src/work/ pure jobs, a / b, \"/x\""),
            0
        );
        assert_eq!(portable("/dev/fuse /data/0"), 0);
        assert_eq!(
            portable(&format!(
                "concat!(env!(\"CARGO_MANIFEST_DIR\"),\n\"{home}\")"
            )),
            0
        );
        assert_eq!(portable(&["https", "//packages.example/x"].join(":")), 1);
        assert_eq!(portable("PLAINTEXT://localhost:9092"), 0);
        assert_eq!(portable("see README.md and schema/README.md"), 0);
        assert_eq!(portable(&["see PLAN", "md"].join(".")), 1);
    }
}
