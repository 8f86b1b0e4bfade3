//! `server.properties`: the text form of a Java properties file.
//!
//! Knows nothing of what the keys mean.

use std::collections::BTreeMap;
use std::fmt;

/// A line with a `\u` that no four hexadecimal digits follow: Java refuses the whole file for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedEscape {
    line: String,
}

impl fmt::Display for MalformedEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}`: four hexadecimal digits must follow \\u; a backslash itself is written twice",
            self.line
        )
    }
}

impl std::error::Error for MalformedEscape {}

/// Reads the keys and values of `text`; a key that comes twice has its last value. A text without `=` is a key with an empty value.
///
/// # Errors
/// The first line with a malformed escape.
pub fn read(text: &str) -> Result<BTreeMap<String, String>, MalformedEscape> {
    let lines = logical_lines(text).into_iter();
    lines
        .map(|line| entry(&line).ok_or(MalformedEscape { line }))
        .collect()
}

/// Lines without comments and blanks, those that end in an odd number of backslashes joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        if !open && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let slashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        let goes_on = slashes % 2 == 1;
        let piece = if goes_on {
            &line[..line.len() - 1]
        } else {
            line
        };
        match lines.last_mut() {
            Some(last) if open => last.push_str(piece),
            _ => lines.push(piece.to_owned()),
        }
        open = goes_on;
    }
    lines
}

/// Key and value; `None` for a malformed escape.
fn entry(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\u{c}');
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else {
        return Some((unescape(line)?, String::new()));
    };
    let blank = [' ', '\t', '\u{c}'];
    let rest = line[end..].trim_start_matches(blank);
    let value = rest
        .strip_prefix(['=', ':'])
        .unwrap_or(rest)
        .trim_start_matches(blank);
    Some((unescape(&line[..end])?, unescape(value)?))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let hexadecimal =
                    digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| hexadecimal)?;
                // Half of a pair of Java's is no character of its own.
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let text = "# comment\n! another\n\nnode.id=1\n  log.dirs = /a,\\\n    /b\nspaced value here\ncolon:x\nkey\\=odd=\\u0041\\tb\nempty=\nnode.id=2\r\n";
        let expected = [
            ("colon", "x"),
            ("empty", ""),
            ("key=odd", "A\tb"),
            ("log.dirs", "/a,/b"),
            ("node.id", "2"),
            ("spaced", "value here"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read(text), Ok(BTreeMap::from(expected)));
    }

    #[test]
    fn a_malformed_escape_is_refused_with_its_line() {
        for line in ["log.dirs=C:\\users\\kafka", "a\\u12=b", "a=\\u+123"] {
            let error = read(&format!("node.id=1\n{line}\n")).expect_err("refused");
            assert!(
                error.to_string().starts_with(&format!("`{line}`")),
                "{error}"
            );
        }
    }
}
