//! A match over an enum of the boundary names every variant.
//!
//! Judges patterns as text: what stands at the place where another arm has a variant.

use super::code::{at_depth_zero, closing, code_only, is_word, line_of, without_tests};
use super::{Complaint, complaint};

/// Wherever they stand in a pattern, no other arm takes what is left.
const CLOSED: &[&str] = &["Input", "Effect", "DiskOp"];
/// What came of one operation. A match over it alone names every variant; who asked for a listing takes a listing apart from the
/// rest of the result, which is no answer to it.
const CLOSED_ALONE: &str = "DiskDone";

/// A match over the enums of the boundary names every variant.
pub fn closed_enums(path: &str, source: &str) -> Vec<Complaint> {
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
        let arms = arms(body);
        let mut places = Vec::new();
        for arm in &arms {
            find_closed(arm.pattern, &mut Vec::new(), &mut places);
        }
        let takes_the_rest =
            |arm: &Arm| !arm.guarded && places.iter().any(|place| takes_all(arm.pattern, place));
        if arms.iter().any(takes_the_rest) {
            complaints.push(complaint(
                format!("{path}:{}", line_of(code, at)),
                "a match over an enum of the boundary has a catch-all arm: name every variant",
            ));
        }
    }
    complaints
}

/// The text between the braces of the match that starts here.
fn match_body(text: &str) -> Option<&str> {
    let open = at_depth_zero(&text[..at_depth_zero(text, ";").unwrap_or(text.len())], "{")?;
    let close = closing(&text[open..])?;
    Some(&text[open + 1..open + close])
}

struct Arm<'a> {
    pattern: &'a str,
    guarded: bool,
}

fn arms(body: &str) -> Vec<Arm<'_>> {
    let mut arms = Vec::new();
    let mut rest = body;
    while let Some(arrow) = at_depth_zero(rest, "=>") {
        let (pattern, guarded) = match rest[..arrow].split_once(" if ") {
            Some((pattern, _)) => (pattern, true),
            None => (&rest[..arrow], false),
        };
        arms.push(Arm { pattern, guarded });
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
    arms
}

/// Into which pattern a place goes, and to which of its parts: a field's name, or the number of what has none.
type Place<'a> = Vec<(&'a str, String)>;

/// What a pattern is, without its alternatives: its head (`Some`, nothing for a tuple) and its parts.
struct Pattern<'a> {
    head: &'a str,
    parts: Vec<(String, &'a str)>,
    /// It ends with `..`: parts are left out.
    open: bool,
}

impl Pattern<'_> {
    fn is_wildcard(&self) -> bool {
        let binds = |c: char| c.is_lowercase() || c == '_';
        self.parts.is_empty()
            && !self.open
            && self.head.starts_with(binds)
            && self.head.chars().all(is_word)
    }

    fn is_variant_of(&self, name: &str) -> bool {
        self.head.rsplit("::").nth(1) == Some(name)
    }
}

/// The alternatives of a pattern.
fn alternatives(pattern: &str) -> Vec<Pattern<'_>> {
    let all = split(pattern, "|").into_iter().map(str::trim);
    all.filter(|one| !one.is_empty()).map(read).collect()
}

fn read(pattern: &str) -> Pattern<'_> {
    let mut text = pattern;
    for before in ["&", "ref ", "mut ", "box "] {
        text = text.strip_prefix(before).unwrap_or(text).trim_start();
    }
    if let Some(at) = at_depth_zero(text, "@") {
        text = text[at + 1..].trim_start();
    }
    let opens = text.find(['(', '{', '[']).unwrap_or(text.len());
    let (head, inside) = (text[..opens].trim(), &text[opens..]);
    let inside = match closing(inside) {
        Some(close) => &inside[1..close],
        None => "",
    };
    let (mut parts, mut open) = (Vec::new(), false);
    let written = split(inside, ",").into_iter().map(str::trim);
    for (nth, part) in written.filter(|part| !part.is_empty()).enumerate() {
        let named = at_depth_zero(part, ":").filter(|at| !part[*at..].starts_with("::"));
        match named {
            _ if part == ".." => open = true,
            Some(at) => parts.push((part[..at].trim().to_owned(), part[at + 1..].trim())),
            None if text[opens..].starts_with('{') => parts.push((part.to_owned(), part)),
            None => parts.push((nth.to_string(), part)),
        }
    }
    Pattern { head, parts, open }
}

fn split<'a>(text: &'a str, by: &str) -> Vec<&'a str> {
    let (mut rest, mut pieces) = (text, Vec::new());
    while let Some(at) = at_depth_zero(rest, by) {
        pieces.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    pieces.push(rest);
    pieces
}

/// The places of a pattern where it has a variant of a closed enum.
fn find_closed<'a>(pattern: &'a str, place: &mut Place<'a>, found: &mut Vec<Place<'a>>) {
    for one in alternatives(pattern) {
        let alone = place.is_empty() && one.is_variant_of(CLOSED_ALONE);
        if alone || CLOSED.iter().any(|name| one.is_variant_of(name)) {
            found.push(place.clone());
        }
        for (name, part) in one.parts {
            place.push((one.head, name));
            find_closed(part, place, found);
            place.pop();
        }
    }
}

/// Does a pattern take whatever stands at `place`?
fn takes_all(pattern: &str, place: &[(&str, String)]) -> bool {
    alternatives(pattern).iter().any(|one| {
        let Some(((head, name), deeper)) = place.split_first() else {
            return one.is_wildcard();
        };
        let part = one.parts.iter().find(|(part, _)| part == name);
        let goes_in = one.head == *head;
        one.is_wildcard() || goes_in && part.map_or(one.open, |(_, part)| takes_all(part, deeper))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(arms: &str) -> usize {
        let source = format!("fn f() {{ match it {{ {arms} }} }}");
        closed_enums("net/src/a.rs", &source).len()
    }

    #[test]
    fn boundary_matches_name_every_variant() {
        let block = "Input::A { x } => g(x), Input::B => { if x { h() } } _ => {}";
        assert_eq!(complaints(block), 1);
        assert_eq!(complaints("io::Effect::A => 1, other => 2"), 1);
        assert_eq!(complaints("DiskDone::Done => 1, _ => 2"), 1);
        assert_eq!(complaints("Effect::A(x) if x > 1 => 1, _ => 2"), 1);
        let guarded = "Effect::A(x) if x > 1 => 1, Effect::A(_) | Effect::B => 2";
        assert_eq!(complaints(guarded), 0);
        assert_eq!(complaints("1 => Input::A, _ => Input::B"), 0);
        let nested = "Effect::A => match n { 1 => 2, _ => 3 }, Effect::B => 4";
        assert_eq!(complaints(nested), 0);
        assert_eq!(complaints("x if x > 1 => 1, Effect::A => 2"), 0);
    }

    #[test]
    fn a_variant_inside_another_pattern_is_judged_where_it_stands() {
        assert_eq!(
            complaints("Some(Input::A) => 1, Some(_) => 2, None => 3"),
            1
        );
        assert_eq!(complaints("Some(Input::A) => 1, _ => 2"), 1);
        assert_eq!(complaints("Some(Input::A | Input::B) => 1, None => 2"), 0);
        assert_eq!(complaints("Ok(Input::A(_)) => 1, Err(_) => 2"), 0);
        assert_eq!(complaints("(1, Effect::A) => 1, (_, Effect::B) => 2"), 0);
        assert_eq!(complaints("(1, Effect::A) => 1, (2, rest) => 2"), 1);
        assert_eq!(
            complaints("At { op: DiskOp::A, .. } => 1, At { .. } => 2"),
            1
        );
        assert_eq!(complaints("At { op: DiskOp::A } => 1, At { op } => 2"), 1);
        assert_eq!(
            complaints("Ok(DiskDone::A) => 1, Ok(_) => 2, Err(_) => 3"),
            0
        );
    }
}
