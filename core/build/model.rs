//! What a schema says, and what must hold in it.

use std::collections::BTreeMap;

/// Versions from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    pub fn covers(self, other: Versions) -> bool {
        self.min <= other.min && other.max <= self.max
    }
}

/// What a message is for; the word that opens its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    /// A record of a family, such as `metadata-record` or `group-key`.
    Record(&'static str),
}

/// The families of records: the word in the schema and the enum over its records.
pub const FAMILIES: [(&str, &str, &str); 8] = [
    ("metadata-record", "MetadataRecord", "Record"),
    ("remote-record", "RemoteLogRecord", "Record"),
    ("group-key", "GroupRecordKey", "Key"),
    ("group-value", "GroupRecordValue", "Value"),
    ("transaction-key", "TransactionRecordKey", "Key"),
    ("transaction-value", "TransactionRecordValue", "Value"),
    ("share-key", "ShareRecordKey", "Key"),
    ("share-value", "ShareRecordValue", "Value"),
];

#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    pub name: String,
    /// API key or record id.
    pub id: Option<i16>,
    pub versions: Versions,
    /// From this version on the encoding is compact and has tagged fields.
    pub flexible_from: Option<i16>,
    /// The highest version that is not still in development.
    pub stable: i16,
    pub listeners: Vec<String>,
    pub cluster_action: bool,
    /// The message itself first, then its structs in order of appearance.
    pub structs: Vec<Struct>,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    pub nullable: Option<Versions>,
    pub default: Option<String>,
    pub tag: Option<u32>,
    pub never_compact: bool,
    pub ignorable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Int8,
    Int16,
    Int32,
    Int64,
    Uint16,
    Uint32,
    Float64,
    Bool,
    Uuid,
    Error,
    String,
    Bytes,
    Records,
    /// Records as slices that follow each other.
    Parts,
    Struct(String),
    Array(Box<Type>),
}

#[derive(Clone, Debug)]
pub struct ErrorCode {
    pub code: i16,
    pub name: String,
    pub retriable: bool,
}

impl Message {
    pub fn find(&self, name: &str) -> &Struct {
        self.structs
            .iter()
            .find(|each| each.name == name)
            .unwrap_or_else(|| panic!("{}: no struct {name}", self.name))
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }

    /// The least number of bytes that a value of `ty` takes in `version`.
    pub fn min_size(&self, ty: &Type, nullable: bool, never_compact: bool, version: i16) -> usize {
        let compact = self.is_flexible(version) && !never_compact;
        match ty {
            Type::Int8 | Type::Bool => 1,
            Type::Int16 | Type::Uint16 | Type::Error => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::String => {
                if compact {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records | Type::Parts | Type::Array(_) => {
                if compact {
                    1
                } else {
                    4
                }
            }
            Type::Struct(_) if nullable => 1,
            Type::Struct(name) => self.min_struct_size(name, version),
        }
    }

    pub fn min_struct_size(&self, name: &str, version: i16) -> usize {
        let fields = self
            .find(name)
            .fields
            .iter()
            .filter(|field| field.tag.is_none() && field.versions.contains(version));
        let tags = usize::from(self.is_flexible(version));
        tags + fields
            .map(|field| {
                self.min_size(
                    &field.ty,
                    field.nullable.is_some(),
                    field.never_compact,
                    version,
                )
            })
            .sum::<usize>()
    }
}

impl Type {
    /// The struct that a value of this type is made of, if any.
    pub fn inner_struct(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.inner_struct(),
            _ => None,
        }
    }
}

/// Panics with the place if a schema cannot be meant so.
pub fn check(messages: &[Message]) {
    let mut names = BTreeMap::new();
    for message in messages {
        assert!(
            names.insert(&message.name, ()).is_none(),
            "{} is declared twice",
            message.name
        );
        for each in &message.structs {
            check_struct(message, each);
        }
        check_depth(message, &message.structs[0], 0);
        if message.kind == Kind::Request {
            let response = messages
                .iter()
                .find(|other| other.kind == Kind::Response && other.id == message.id);
            let response = response.unwrap_or_else(|| panic!("{} has no response", message.name));
            assert_eq!(response.versions, message.versions, "{}", message.name);
            assert_eq!(
                response.flexible_from, message.flexible_from,
                "{}",
                message.name
            );
        }
    }
}

fn check_struct(message: &Message, each: &Struct) {
    let mut tags = Vec::new();
    for field in &each.fields {
        let place = format!("{}: {}.{}", message.name, each.name, field.name);
        assert!(message.versions.covers(field.versions), "{place}: versions");
        assert!(
            field
                .nullable
                .is_none_or(|nullable| field.versions.covers(nullable)),
            "{place}: nullable versions"
        );
        assert_eq!(
            each.fields
                .iter()
                .filter(|other| other.name == field.name)
                .count(),
            1,
            "{place}: twice"
        );
        if let Some(tag) = field.tag {
            assert!(
                message.is_flexible(field.versions.min),
                "{place}: a tag needs flexible versions"
            );
            assert!(!tags.contains(&tag), "{place}: tag used twice");
            tags.push(tag);
        }
        if let Some(name) = field.ty.inner_struct() {
            message.find(name);
        }
        if let Type::Array(element) = &field.ty {
            // A count can be checked against the bytes left only if every element takes some.
            for version in field.versions.min..=field.versions.max {
                assert!(
                    message.min_size(element, false, false, version) > 0,
                    "{place}: elements without bytes in version {version}"
                );
            }
        }
    }
}

/// Structs nest, but never in themselves: this is what bounds the nesting of a hostile frame.
fn check_depth(message: &Message, each: &Struct, depth: usize) {
    assert!(
        depth < 10,
        "{}: {} nests too deeply or in itself",
        message.name,
        each.name
    );
    for field in &each.fields {
        if let Some(name) = field.ty.inner_struct() {
            check_depth(message, message.find(name), depth + 1);
        }
    }
}
