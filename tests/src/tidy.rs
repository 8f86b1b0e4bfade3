//! The tidy rules: what the tree promises about itself and no compiler checks.
//!
//! Owns the rules as pure functions from text to complaints, so that each is shown to fail on a small bad sample; it never
//! reads a file (`tests/tests/tidy.rs` walks the tree). Text is judged after comments and literals are blanked out.

use std::collections::BTreeSet;

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

/// Blanks comments, strings and character literals, keeping every line where it was.
pub fn code_only(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let blank = |out: &mut String, c: char| out.push(if c == '\n' { '\n' } else { ' ' });
    let mut i = 0;
    while i < bytes.len() {
        let c = bytes[i];
        let previous_is_word = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        if c == '/' && at(i + 1) == '/' {
            while i < bytes.len() && bytes[i] != '\n' {
                out.push(' ');
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < bytes.len() {
                if at(i) == '/' && at(i + 1) == '*' {
                    depth += 1;
                } else if at(i) == '*' && at(i + 1) == '/' {
                    depth -= 1;
                    if depth == 0 {
                        out.push_str("  ");
                        i += 2;
                        break;
                    }
                }
                blank(&mut out, bytes[i]);
                i += 1;
            }
        } else if !previous_is_word && raw_string_hashes(&bytes[i..]).is_some() {
            let (prefix, hashes) = raw_string_hashes(&bytes[i..]).unwrap_or((0, 0));
            let close: String = std::iter::once('"')
                .chain(std::iter::repeat_n('#', hashes))
                .collect();
            let body = i + prefix + hashes + 1;
            let mut end = body;
            while end < bytes.len()
                && !close
                    .chars()
                    .enumerate()
                    .all(|(k, want)| at(end + k) == want)
            {
                end += 1;
            }
            end = (end + close.len()).min(bytes.len());
            bytes[i..end].iter().for_each(|&c| blank(&mut out, c));
            i = end;
        } else if c == '"' {
            out.push(' ');
            i += 1;
            while i < bytes.len() && bytes[i] != '"' {
                if bytes[i] == '\\' {
                    out.push(' ');
                    i += 1;
                }
                blank(&mut out, at(i));
                i += 1;
            }
            out.push(' ');
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            out.push(' ');
            i += 1;
            while i < bytes.len() && bytes[i] != '\'' {
                if bytes[i] == '\\' {
                    out.push(' ');
                    i += 1;
                }
                out.push(' ');
                i += 1;
            }
            out.push(' ');
            i += 1;
        } else {
            out.push(c);
            i += 1;
        }
    }
    out
}

/// `(characters before the hashes, hashes)` if a raw string starts here.
fn raw_string_hashes(rest: &[char]) -> Option<(usize, usize)> {
    let prefix = match rest {
        ['r', ..] => 1,
        ['b' | 'c', 'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    (rest.get(prefix + hashes) == Some(&'"')).then_some((prefix, hashes))
}

/// The code without the test module at its end.
pub fn without_tests(code: &str) -> &str {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let at = from + found;
        if code[at + "#[cfg(test)]".len()..]
            .trim_start()
            .starts_with("mod ")
        {
            return &code[..at];
        }
        from = at + 1;
    }
    code
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_at(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
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

/// A package depends only on what its place in the house allows.
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
        if forbidden.contains(&name) && !(of_benches && path == "core/Cargo.toml") {
            complaints.push(complaint(
                format!("{path}:{}", number + 1),
                format!("must not depend on {name}"),
            ));
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

/// The deterministic rooms hold no unsafe code, and nobody switches their bans off.
pub fn deterministic_room(path: &str, source: &str) -> Vec<Complaint> {
    if !(path.starts_with("core/src/") || path.starts_with("sim/src/")) {
        return Vec::new();
    }
    let code = code_only(source);
    let mut complaints = Vec::new();
    if path.ends_with("/src/lib.rs") && !code.contains("#![forbid(unsafe_code)]") {
        complaints.push(complaint(path, "must say #![forbid(unsafe_code)]"));
    }
    for lint in [
        "clippy::disallowed_methods",
        "clippy::disallowed_types",
        "clippy::disallowed_macros",
    ] {
        for (at, _) in code.match_indices(lint) {
            complaints.push(complaint(
                format!("{path}:{}", line_of(&code, at)),
                format!("must not touch {lint}"),
            ));
        }
    }
    complaints
}

/// A match over the enums of the boundary names every variant.
pub fn closed_enums(path: &str, source: &str) -> Vec<Complaint> {
    const CLOSED: &[&str] = &[
        "Input::",
        "Effect::",
        "DiskOp::",
        "DiskDone::",
        "DiskResult::",
    ];
    // The doubles of a test carry out what its story needs.
    if path.contains("/tests/") || path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let code = code_only(source);
    let code = without_tests(&code);
    let mut complaints = Vec::new();
    for (at, _) in code.match_indices("match ") {
        if code[..at].ends_with(|c| is_word(c) || c == '.') {
            continue;
        }
        let Some(body) = match_body(&code[at..]) else {
            continue;
        };
        let patterns = arm_patterns(body);
        let over_closed = patterns.iter().any(|p| {
            CLOSED.iter().any(|name| {
                p.match_indices(name)
                    .any(|(i, _)| !p[..i].ends_with(is_word) && !inside_payload(&p[..i]))
            })
        });
        let catch_all = patterns.iter().any(|p| {
            let p = p.trim();
            p == "_"
                || (!p.is_empty()
                    && p.chars().all(is_word)
                    && p.starts_with(|c: char| c.is_lowercase() || c == '_'))
        });
        if over_closed && catch_all {
            complaints.push(complaint(
                format!("{path}:{}", line_of(code, at)),
                "a match over an enum of the boundary has a catch-all arm: name every variant",
            ));
        }
    }
    complaints
}

/// True if what precedes a name opens the payload of another pattern: `Some(Input::…)` matches an option.
fn inside_payload(before: &str) -> bool {
    before.matches(['(', '{', '[']).count() > before.matches([')', '}', ']']).count()
}

/// The text between the braces of the match that starts here.
fn match_body(text: &str) -> Option<&str> {
    let mut depth = 0i32;
    let open = text.char_indices().find_map(|(at, c)| match c {
        '(' | '[' => {
            depth += 1;
            None
        }
        ')' | ']' => {
            depth -= 1;
            (depth < 0).then_some(None)
        }
        '{' if depth == 0 => Some(Some(at)),
        ';' if depth == 0 => Some(None),
        _ => None,
    })??;
    let close = closing(&text[open..])?;
    Some(&text[open + 1..open + close])
}

/// Where the bracket that the text starts with closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The patterns of a match's arms, guards left out.
fn arm_patterns(body: &str) -> Vec<&str> {
    let mut patterns = Vec::new();
    let mut rest = body;
    while let Some(arrow) = at_depth_zero(rest, "=>") {
        let pattern = &rest[..arrow];
        if !pattern.contains(" if ") {
            patterns.push(pattern.trim().trim_start_matches('|').trim());
        }
        let after = rest[arrow + 2..].trim_start();
        rest = if after.starts_with('{') {
            let Some(close) = closing(after) else { break };
            after[close + 1..].trim_start().trim_start_matches(',')
        } else {
            let Some(comma) = at_depth_zero(after, ",") else {
                break;
            };
            &after[comma + 1..]
        };
    }
    patterns
}

fn at_depth_zero(text: &str, wanted: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && text[at..].starts_with(wanted) {
            return Some(at);
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

/// Nothing speaks of the machine that it was written on.
pub fn portable(path: &str, text: &str) -> Vec<Complaint> {
    let foreign = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("shared/", "design"),
        concat!("mutants", ".md"),
    ];
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // A room of the house may have the last name of a foreign path: `src/…` is no root.
        let names = |word: &str| {
            let mut places = line.match_indices(word);
            places.any(|(at, _)| !line[..at].ends_with(is_word))
        };
        if let Some(word) = foreign.iter().find(|word| names(word)) {
            complaints.push(complaint(
                format!("{path}:{}", number + 1),
                format!("names {word}, which no other machine has"),
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(complaints: &[Complaint]) -> Vec<&str> {
        complaints.iter().map(|c| c.place.as_str()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let code = code_only(
            "a // crate::x\n\"crate::y\\\"\" 'c' '\\'' r#\"crate::z\"# /* crate::\n /* w */ v */ b 'life",
        );
        assert!(!code.contains("crate"), "{code}");
        assert!(code.contains('a') && code.contains(" b 'life"), "{code}");
        assert_eq!(code.matches('\n').count(), 2);
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
        assert_eq!(
            deterministic_room("net/src/lib.rs", "pub mod driver;"),
            vec![]
        );
    }

    #[test]
    fn boundary_matches_name_every_variant() {
        let bad = "fn f() { match input { Input::A { x } => g(x), Input::B => { if x { h() } } _ => {} } }";
        assert_eq!(closed_enums("net/src/a.rs", bad).len(), 1);
        assert_eq!(
            closed_enums(
                "net/src/a.rs",
                "fn f() { match e { Effect::A => 1, other => 2 } }"
            )
            .len(),
            1
        );
        let guarded =
            "fn f() { match e { Effect::A(x) if x > 1 => 1, Effect::A(_) | Effect::B => 2 } }";
        assert_eq!(closed_enums("net/src/a.rs", guarded), vec![]);
        let other_enum = "fn f() { match code { 1 => Input::A, _ => Input::B } }";
        assert_eq!(closed_enums("net/src/a.rs", other_enum), vec![]);
        let nested =
            "fn f() { match e { Effect::A => match n { 1 => 2, _ => 3 }, Effect::B => 4 } }";
        assert_eq!(closed_enums("net/src/a.rs", nested), vec![]);
        let queue = "fn f() { match queue.pop() { Some(Input::A) => 1, _ => 3 } }";
        assert_eq!(closed_enums("net/src/a.rs", queue), vec![]);
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
    fn nothing_names_this_machine() {
        assert_eq!(portable("a.rs", concat!("// see /wo", "rk/x")).len(), 1);
        assert_eq!(portable("a.rs", "// see the network"), vec![]);
        assert_eq!(portable("a.md", concat!("src/wo", "rk/ pure jobs")), vec![]);
    }
}
