//! Committed texts that repeat what is decided elsewhere, as they must read now.
//!
//! Owns how each is made, as pure functions; it never reads a file (`tests/tests/tidy.rs` compares). What is generated at
//! build time (the types of the wire) is not committed and cannot be out of date.

use std::collections::BTreeSet;

use crate::tidy::{Complaint, FLOORS, complaint};

/// A text that repeats another one is what it is made to now.
pub fn fresh(path: &str, committed: &str, made: &str) -> Vec<Complaint> {
    if committed == made {
        return Vec::new();
    }
    let same = committed
        .lines()
        .zip(made.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let line = made.lines().nth(same).unwrap_or("the end");
    vec![complaint(
        format!("{path}:{}", same + 1),
        format!("is out of date: it must read {line}"),
    )]
}

/// The way of imports inside the core, as the map tells it.
pub fn way_of_imports() -> String {
    let floors = FLOORS.iter().map(|rooms| match rooms {
        [room] => (*room).to_owned(),
        rooms => format!("{{{}}}", rooms.join(", ")),
    });
    format!("`{}`", floors.collect::<Vec<_>>().join(" -> "))
}

/// The map of the house with the way of imports as it is now.
pub fn map(committed: &str) -> String {
    let lines = committed.lines().map(|line| {
        if line.starts_with("`node -> ") {
            way_of_imports()
        } else {
            line.to_owned()
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Rooms of the core (files and directories of `core/src`) that its map does not name, and names of it that are none.
pub fn rooms_on_the_map(map: &str, rooms: &BTreeSet<String>) -> Vec<Complaint> {
    let named: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("src/"))
        .chain(map.split(", src/").skip(1))
        .filter_map(|rest| rest.split_whitespace().next())
        .flat_map(|name| name.split([',', '{', '}']))
        .map(|name| name.trim_end_matches('/').trim_end_matches(".rs"))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let missing = rooms
        .difference(&named)
        .map(|room| (room, "is not on the map"));
    let gone = named
        .difference(rooms)
        .map(|room| (room, "is on the map, but not there"));
    missing
        .chain(gone)
        .map(|(room, what)| complaint(format!("core/src/{room}"), what))
        .collect()
}

/// What the map calls `room/file` is there: below the house, a package's sources, or the core's.
pub fn names_on_the_map(map: &str, files: &BTreeSet<String>) -> Vec<Complaint> {
    let is_there = |name: &str| {
        let (first, rest) = name.split_once('/').unwrap_or((name, ""));
        let is = |path: &str| {
            let inside = format!("{}/", path.trim_end_matches('/'));
            files.iter().any(|file| {
                file == path || *file == format!("{path}.rs") || file.starts_with(&inside)
            })
        };
        is(name) || is(&format!("core/src/{name}")) || is(&format!("{first}/src/{rest}"))
    };
    let is_name = |text: &str| {
        let of_name = |c: char| c.is_ascii_lowercase() || "_/.".contains(c);
        text.contains('/') && text.chars().all(of_name)
    };
    let mut complaints = Vec::new();
    for (number, line) in map.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        for name in quoted.filter(|text| is_name(text) && !is_there(text)) {
            let place = format!("ARCHITECTURE.md:{}", number + 1);
            complaints.push(complaint(
                place,
                format!("names {name}, which is not there"),
            ));
        }
    }
    complaints
}

/// A schema as it is written: words one space apart, two spaces a depth, one empty line before each message.
pub fn schema(committed: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    // A comment at the margin belongs to the message below it.
    let mut above = 0;
    for line in committed.lines() {
        let depth = line.len() - line.trim_start().len();
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_comment = words.starts_with('#');
        if words.is_empty() {
            above = 0;
            continue;
        }
        if depth == 0 && above == 0 && !lines.is_empty() {
            lines.push(String::new());
        }
        above = if depth == 0 && is_comment { 1 } else { 0 };
        lines.push(match is_comment {
            true => line.trim_end().to_owned(),
            false => format!("{}{words}", " ".repeat(depth.next_multiple_of(2))),
        });
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(complaints: &[Complaint]) -> Vec<&str> {
        complaints.iter().map(|c| c.place.as_str()).collect()
    }

    #[test]
    fn a_text_that_differs_is_out_of_date() {
        assert_eq!(fresh("a.txt", "1\n2\n", "1\n2\n"), vec![]);
        assert_eq!(places(&fresh("a.txt", "1\n2\n", "1\n3\n")), ["a.txt:2"]);
        assert_eq!(places(&fresh("a.txt", "1\n", "1\n3\n")), ["a.txt:2"]);
    }

    #[test]
    fn the_map_tells_the_way_of_imports() {
        let way = way_of_imports();
        assert!(way.starts_with("`node -> api -> {partition, ") && way.ends_with(", config}`"));
        let stale = format!("# Map\n{}\nmore\n", way.replace("{log, peer} -> ", ""));
        assert_eq!(map(&stale), format!("# Map\n{way}\nmore\n"));
    }

    #[test]
    fn every_room_is_on_the_map_and_nothing_else() {
        let map =
            "  src/io.rs   the boundary\n  src/log/   segments\n  src/{ids,time}.rs, src/config/\n";
        let rooms = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let all = ["config", "ids", "io", "log", "time"];
        assert_eq!(rooms_on_the_map(map, &rooms(&all)), vec![]);
        let other = ["attic", "config", "ids", "io", "time"];
        let complaints = rooms_on_the_map(map, &rooms(&other));
        assert_eq!(places(&complaints), ["core/src/attic", "core/src/log"]);
    }

    #[test]
    fn what_the_map_names_is_there() {
        let files = [
            "core/src/log/recovery.rs",
            "sim/src/check/mod.rs",
            "tests/run",
        ];
        let files = files.map(String::from).into();
        let judge = |map: &str| names_on_the_map(map, &files).len();
        assert_eq!(
            judge("`log/recovery`, `sim/check`, `core/src/log/`, `tests/run`, `a -> b/c`"),
            0
        );
        assert_eq!(judge("`log/durability` and `sim/recovery`"), 2);
    }

    #[test]
    fn a_schema_has_one_form() {
        let written =
            "# Topics.\n\n# One of them.\nrequest A api 1\n  a: int8\n\nresponse A api 1\n";
        assert_eq!(schema(written), written);
        let careless =
            "# Topics.\n\n\n# One of them.\nrequest A  api 1\n  a:   int8 \nresponse A api 1\n";
        assert_eq!(schema(careless), written);
    }
}
