//! Writes the Rust of the tables: API keys, error codes, and one enum a family of records.

use std::fmt::Write;

use super::emit::{api_name, id};
use super::model::{ErrorCode, FAMILIES, Kind, Message};

pub fn apis(messages: &[Message]) -> String {
    let mut requests: Vec<&Message> = messages
        .iter()
        .filter(|message| message.kind == Kind::Request)
        .collect();
    requests.sort_by_key(|request| request.id);
    let mut out = String::new();
    line!(
        out,
        "/// The APIs of Kafka.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ApiKey {{"
    );
    for request in &requests {
        line!(
            out,
            "    /// [`{0}`](crate::wire::{0})\n    {1} = {2},",
            request.name,
            api_name(request),
            id(request)
        );
    }
    line!(
        out,
        "}}\nimpl ApiKey {{\n    /// Every API, by key.\n    pub const ALL: &'static [ApiKey] = &["
    );
    for request in &requests {
        line!(out, "        ApiKey::{},", api_name(request));
    }
    line!(
        out,
        "    ];\n    /// The API with this key, if Kafka has it.\n    #[must_use]\n    pub const fn from_code(code: i16) -> Option<ApiKey> {{\n        Some(match code {{"
    );
    for request in &requests {
        line!(
            out,
            "            {} => ApiKey::{},",
            id(request),
            api_name(request)
        );
    }
    line!(
        out,
        "            _ => return None,\n        }})\n    }}\n    const fn facts(self) -> &'static Facts {{\n        match self {{"
    );
    for request in &requests {
        line!(
            out,
            "            ApiKey::{0} => &Facts {{ name: {0:?}, min: {1}, max: {2}, stable: {3}, flexible_from: {4}, broker: {5}, controller: {6}, cluster_action: {7} }},",
            api_name(request),
            request.versions.min,
            request.versions.max,
            request.stable,
            request.flexible_from.unwrap_or(i16::MAX),
            request
                .listeners
                .iter()
                .any(|listener| listener == "broker"),
            request
                .listeners
                .iter()
                .any(|listener| listener == "controller"),
            request.cluster_action,
        );
    }
    line!(out, "        }}\n    }}\n}}");
    out
}

pub fn errors(errors: &[ErrorCode]) -> String {
    let mut out = String::from("impl ErrorCode {\n");
    for error in errors {
        line!(
            out,
            "    /// {}{}.\n    pub const {1}: ErrorCode = ErrorCode({0});",
            error.code,
            error.name,
        );
    }
    line!(
        out,
        "    /// Kafka's name of the code, if it has one.\n    #[must_use]\n    pub const fn name(self) -> Option<&'static str> {{\n        Some(match self.0 {{"
    );
    for error in errors {
        line!(out, "            {} => {:?},", error.code, error.name);
    }
    let retriable: Vec<String> = errors
        .iter()
        .filter(|error| error.retriable)
        .map(|error| error.code.to_string())
        .collect();
    line!(out, "            _ => return None,\n        }})\n    }}");
    line!(
        out,
        "    /// True if a client may try the same request again.\n    #[must_use]\n    pub const fn is_retriable(self) -> bool {{\n        matches!(self.0, {})\n    }}\n}}",
        retriable.join(" | ")
    );
    out
}

pub fn record_families(messages: &[Message]) -> String {
    let mut out = String::new();
    for (family, name, suffix) in FAMILIES {
        let members: Vec<&Message> = messages
            .iter()
            .filter(|message| message.kind == Kind::Record(family))
            .collect();
        emit_family(&mut out, family, name, suffix, &members);
    }
    out
}

fn emit_family(out: &mut String, family: &str, name: &str, suffix: &str, members: &[&Message]) {
    let variant = |message: &Message| {
        message
            .name
            .strip_suffix(suffix)
            .unwrap_or(&message.name)
            .to_owned()
    };
    line!(
        out,
        "/// Any record of the family `{family}`.\n#[derive(Clone, Debug, PartialEq, Eq)]\npub enum {name} {{"
    );
    for member in members {
        line!(
            out,
            "    /// Type {}.\n    {}(messages::{}),",
            id(member),
            variant(member),
            member.name
        );
    }
    line!(out, "}}\nimpl {name} {{");
    line!(
        out,
        "    /// The number of the record's type.\n    #[inline]\n    #[must_use]\n    pub const fn id(&self) -> i16 {{\n        match self {{"
    );
    for member in members {
        line!(
            out,
            "            {name}::{}(_) => {},",
            variant(member),
            id(member)
        );
    }
    line!(
        out,
        "        }}\n    }}\n    /// The highest version of the record's type.\n    #[inline]\n    #[must_use]\n    pub const fn max_version(&self) -> i16 {{\n        match self {{"
    );
    for member in members {
        line!(
            out,
            "            {name}::{}(_) => {},",
            variant(member),
            member.versions.max
        );
    }
    line!(
        out,
        "        }}\n    }}\n    #[inline]\n    fn read(reader: &mut Reader, id: i16, message_version: i16) -> Result<{name}, DecodeError> {{\n        Ok(match id {{"
    );
    for member in members {
        line!(
            out,
            "            {} => {name}::{}(Message::decode(reader, message_version)?),",
            id(member),
            variant(member)
        );
    }
    line!(
        out,
        "            _ => return Err(reader.error(DecodeErrorKind::UnknownRecord, {name:?})),\n        }})\n    }}"
    );
    line!(
        out,
        "    #[inline]\n    fn write(&self, writer: &mut Writer, message_version: i16) -> Result<(), EncodeError> {{\n        match self {{"
    );
    for member in members {
        line!(
            out,
            "            {name}::{}(record) => record.encode(writer, message_version),",
            variant(member)
        );
    }
    line!(out, "        }}\n    }}\n}}");
    for member in members {
        line!(
            out,
            "impl From<messages::{0}> for {name} {{\n    #[inline]\n    fn from(record: messages::{0}) -> {name} {{\n        {name}::{1}(record)\n    }}\n}}",
            member.name,
            variant(member)
        );
    }
}
