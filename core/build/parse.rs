//! Reads the text form that `schema/README.md` describes. A mistake panics with file and line.

use std::path::Path;

use super::model::{ErrorCode, FAMILIES, Field, Kind, Message, Struct, Type, Versions};

/// One line that says something.
struct Line<'a> {
    place: String,
    depth: usize,
    words: Vec<&'a str>,
}

pub fn messages(path: &Path, text: &str) -> Vec<Message> {
    let lines = lines(path, text);
    let mut lines = lines.as_slice();
    let mut messages = Vec::new();
    while let [head, rest @ ..] = lines {
        assert_eq!(
            head.depth, 0,
            "{}: a message starts at the margin",
            head.place
        );
        let len = rest.iter().take_while(|line| line.depth > 0).count();
        let (body, others) = rest.split_at(len);
        messages.push(message(head, body));
        lines = others;
    }
    messages
}

pub fn errors(path: &Path, text: &str) -> Vec<ErrorCode> {
    let parse = |line: Line<'_>| {
        let [code, name, rest @ ..] = line.words.as_slice() else {
            panic!("{}: code and name", line.place)
        };
        assert!(
            matches!(rest, [] | ["retriable"]),
            "{}: {rest:?}",
            line.place
        );
        ErrorCode {
            code: number(code, &line.place),
            name: (*name).to_owned(),
            retriable: !rest.is_empty(),
        }
    };
    lines(path, text).into_iter().map(parse).collect()
}

fn lines<'a>(path: &Path, text: &'a str) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = said.split_whitespace().collect();
        let indent = said.len() - said.trim_start().len();
        let place = format!("{}:{}", path.display(), index + 1);
        if !words.is_empty() {
            assert_eq!(indent % 2, 0, "{place}: indent by two");
            lines.push(Line {
                place,
                depth: indent / 2,
                words,
            });
        }
    }
    lines
}

fn message(head: &Line<'_>, body: &[Line<'_>]) -> Message {
    let place = &head.place;
    let [kind, name, attributes @ ..] = head.words.as_slice() else {
        panic!("{place}: kind and name")
    };
    let kind = match *kind {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "header" => Kind::Header,
        "data" => Kind::Data,
        other => match FAMILIES.iter().find(|(family, ..)| *family == other) {
            Some((family, ..)) => Kind::Record(family),
            None => panic!("{place}: unknown kind {other}"),
        },
    };
    let mut message = Message {
        kind,
        name: (*name).to_owned(),
        id: None,
        versions: Versions { min: 0, max: -1 },
        flexible_from: None,
        stable: -1,
        listeners: Vec::new(),
        cluster_action: false,
        structs: vec![Struct {
            name: (*name).to_owned(),
            fields: Vec::new(),
        }],
    };
    let mut attributes = attributes.iter();
    let argument = |attributes: &mut std::slice::Iter<'_, &str>, of: &str| -> String {
        (*attributes
            .next()
            .unwrap_or_else(|| panic!("{place}: {of} wants a value")))
        .to_owned()
    };
    while let Some(attribute) = attributes.next() {
        match *attribute {
            "api" | "id" => message.id = Some(number(&argument(&mut attributes, attribute), place)),
            "versions" => {
                message.versions = versions(&argument(&mut attributes, attribute), i16::MAX, place)
            }
            "flexible" => {
                message.flexible_from = Some(
                    versions(
                        &argument(&mut attributes, attribute),
                        message.versions.max,
                        place,
                    )
                    .min,
                );
            }
            "stable" => message.stable = number(&argument(&mut attributes, attribute), place),
            "listeners" => {
                message.listeners = argument(&mut attributes, attribute)
                    .split(',')
                    .map(str::to_owned)
                    .collect()
            }
            "cluster-action" => message.cluster_action = true,
            other => panic!("{place}: unknown attribute {other}"),
        }
    }
    if message.stable < 0 {
        message.stable = message.versions.max;
    }
    fields(&mut message, body);
    message
}

/// Reads the lines of a message. `open` holds, by depth, the struct that lines of that depth belong to and the
/// versions that they have unless they say otherwise.
fn fields(message: &mut Message, body: &[Line<'_>]) {
    let mut open = vec![(0, message.versions)];
    for line in body {
        let place = &line.place;
        open.truncate(line.depth);
        assert_eq!(
            open.len(),
            line.depth,
            "{place}: indented below a field that is no struct"
        );
        let (owner, inherited) = open[line.depth - 1];
        if let ["struct", name] = line.words.as_slice() {
            open.push((add_struct(message, name, place), message.versions));
            continue;
        }
        let field = field(line, inherited);
        let (ty, versions) = (field.ty.clone(), field.versions);
        message.structs[owner].fields.push(field);
        // Its fields may follow, or a `struct` elsewhere in the message has them.
        if let Some(name) = ty.inner_struct() {
            let next_is_deeper = body
                .iter()
                .skip_while(|other| other.place != *place)
                .nth(1)
                .is_some_and(|next| next.depth > line.depth);
            if next_is_deeper {
                open.push((add_struct(message, name, place), versions));
            }
        }
    }
}

fn add_struct(message: &mut Message, name: &str, place: &str) -> usize {
    assert!(
        message.structs.iter().all(|each| each.name != name),
        "{place}: struct {name} twice"
    );
    message.structs.push(Struct {
        name: name.to_owned(),
        fields: Vec::new(),
    });
    message.structs.len() - 1
}

fn field(line: &Line<'_>, inherited: Versions) -> Field {
    let place = &line.place;
    let [name, ty, rest @ ..] = line.words.as_slice() else {
        panic!("{place}: name and type")
    };
    let name = name
        .strip_suffix(':')
        .unwrap_or_else(|| panic!("{place}: a colon after the name"));
    let (ty, null) = match ty.split_once('?') {
        Some((ty, null)) => (ty, Some(null)),
        None => (*ty, None),
    };
    let (own_versions, mut rest) = match rest {
        [first, others @ ..] if first.starts_with(|c: char| c.is_ascii_digit()) => {
            (versions(first, inherited.max, place), others)
        }
        others => (inherited, others),
    };
    let mut field = Field {
        name: name.to_owned(),
        ty: parse_type(ty),
        versions: own_versions,
        nullable: null.map(|null| {
            if null.is_empty() {
                own_versions
            } else {
                versions(null, own_versions.max, place)
            }
        }),
        default: None,
        tag: None,
        never_compact: false,
        ignorable: false,
    };
    while let [attribute, others @ ..] = rest {
        rest = match (*attribute, others) {
            ("=", [value, others @ ..]) => {
                field.default = Some((*value).to_owned());
                others
            }
            ("tag", [value, others @ ..]) => {
                field.tag = Some(number(value, place));
                others
            }
            ("never-compact", others) => {
                field.never_compact = true;
                others
            }
            ("ignorable", others) => {
                field.ignorable = true;
                others
            }
            (other, _) => panic!("{place}: unknown attribute {other}"),
        };
    }
    field
}

fn parse_type(text: &str) -> Type {
    if let Some(element) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return Type::Array(Box::new(parse_type(element)));
    }
    match text {
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "uint16" => Type::Uint16,
        "uint32" => Type::Uint32,
        "float64" => Type::Float64,
        "bool" => Type::Bool,
        "uuid" => Type::Uuid,
        "error" => Type::Error,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        "parts" => Type::Parts,
        name => Type::Struct(name.to_owned()),
    }
}

/// `3`, `3-7`, or `3+`, which ends at `last`.
fn versions(text: &str, last: i16, place: &str) -> Versions {
    if let Some(min) = text.strip_suffix('+') {
        return Versions {
            min: number(min, place),
            max: last,
        };
    }
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let versions = Versions {
        min: number(min, place),
        max: number(max, place),
    };
    assert!(versions.min <= versions.max, "{place}: versions {text}");
    versions
}

fn number<N: std::str::FromStr>(text: &str, place: &str) -> N {
    text.parse()
        .unwrap_or_else(|_| panic!("{place}: {text} is no number that fits"))
}
