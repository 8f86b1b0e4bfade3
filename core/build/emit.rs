//! Writes the Rust of the messages: a module each, in it the message and its structs, each with read and write.

use std::fmt::Write;

use super::model::{Field, Kind, Message, Struct, Type, Versions};

pub fn messages(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        emit_message(&mut out, message, messages);
    }
    for message in messages {
        line!(
            out,
            "pub use self::{}::{};",
            snake(&message.name),
            message.name
        );
    }
    line!(
        out,
        "/// Calls the macro `$with` with a list of all messages: `(module Type kind)` each."
    );
    line!(
        out,
        "#[macro_export]\nmacro_rules! for_each_message {{\n    ($with:ident) => {{\n        $with! {{"
    );
    for message in messages {
        line!(
            out,
            "            ({} {} {})",
            snake(&message.name),
            message.name,
            kind(message.kind)
        );
    }
    line!(out, "        }}\n    }};\n}}");
    out
}

fn emit_message(out: &mut String, message: &Message, all: &[Message]) {
    line!(out, "/// [`{}`] and its structs.", message.name);
    line!(
        out,
        "pub mod {} {{\n    use crate::wire::messages::prelude::*;",
        snake(&message.name)
    );
    for each in &message.structs {
        emit_struct(out, message, each);
    }
    emit_message_impl(out, message);
    if message.kind == Kind::Request {
        let response = all
            .iter()
            .find(|other| other.kind == Kind::Response && other.id == message.id)
            .expect("checked");
        line!(
            out,
            "    impl Request for {} {{\n        type Response = crate::wire::messages::{};\n        const API: ApiKey = ApiKey::{};\n    }}",
            message.name,
            response.name,
            api_name(message),
        );
    }
    line!(out, "}}");
}

fn emit_message_impl(out: &mut String, message: &Message) {
    let Versions { min, max } = message.versions;
    line!(out, "    impl Message for {} {{", message.name);
    line!(
        out,
        "        const NAME: &'static str = {:?};",
        message.name
    );
    line!(out, "        const KEY: Option<i16> = {:?};", message.id);
    line!(
        out,
        "        const MIN_VERSION: i16 = {min};\n        const MAX_VERSION: i16 = {max};"
    );
    line!(
        out,
        "        const FLEXIBLE_FROM: Option<i16> = {:?};",
        message.flexible_from
    );
    line!(
        out,
        "        #[inline]\n        fn decode(reader: &mut Reader, message_version: i16) -> Result<Self, DecodeError> {{"
    );
    line!(
        out,
        "            check_decode::<Self>(reader, message_version)?;\n            Self::read(reader, message_version)\n        }}"
    );
    line!(
        out,
        "        #[inline]\n        fn encode(&self, writer: &mut Writer, message_version: i16) -> Result<(), EncodeError> {{"
    );
    line!(
        out,
        "            check_encode::<Self>(message_version)?;\n            self.write(writer, message_version)\n        }}\n    }}"
    );
}

fn emit_struct(out: &mut String, message: &Message, each: &Struct) {
    let flexible = message.flexible_from.is_some();
    let plain_defaults = each.fields.iter().all(default_is_zero);
    let default = if plain_defaults { ", Default" } else { "" };
    line!(out, "    /// Versions {}.", show(message.versions));
    line!(
        out,
        "    #[derive(Clone, Debug, PartialEq, Eq{default})]\n    pub struct {} {{",
        each.name
    );
    for field in &each.fields {
        line!(
            out,
            "        /// {}\n        pub {}: {},",
            describe(message, field),
            ident(&field.name),
            rust_type(field)
        );
    }
    if flexible {
        line!(
            out,
            "        /// Tagged fields of later releases.\n        pub unknown_tagged: TaggedFields,"
        );
    }
    line!(out, "    }}");
    if !plain_defaults {
        line!(
            out,
            "    impl Default for {} {{\n        #[inline]\n        fn default() -> Self {{\n            Self {{",
            each.name
        );
        for field in &each.fields {
            line!(
                out,
                "                {}: {},",
                ident(&field.name),
                default_value(field)
            );
        }
        if flexible {
            line!(out, "                unknown_tagged: TaggedFields::NONE,");
        }
        line!(out, "            }}\n        }}\n    }}");
    }
    line!(out, "    impl {} {{", each.name);
    if is_element(message, &each.name) {
        emit_min_size(out, message, each);
    }
    emit_read(out, message, each);
    emit_write(out, message, each);
    line!(out, "    }}");
}

/// True if there are arrays of the struct.
fn is_element(message: &Message, name: &str) -> bool {
    let mut fields = message.structs.iter().flat_map(|each| &each.fields);
    fields.any(
        |field| matches!(&field.ty, Type::Array(element) if element.inner_struct() == Some(name)),
    )
}

/// The least size of the struct on the wire, which counts are checked against.
fn emit_min_size(out: &mut String, message: &Message, each: &Struct) {
    let sizes: Vec<usize> = (message.versions.min..=message.versions.max)
        .map(|version| message.min_struct_size(&each.name, version))
        .collect();
    line!(
        out,
        "        #[inline]\n        const fn min_size(version: i16) -> usize {{\n            match version {{"
    );
    let mut version = message.versions.min;
    for run in sizes.chunk_by(|one, other| one == other) {
        let last = version + run.len() as i16 - 1;
        let pattern = if last == message.versions.max {
            "_".to_owned()
        } else {
            format!("..={last}")
        };
        line!(out, "                {pattern} => {},", run[0]);
        version = last + 1;
    }
    line!(out, "            }}\n        }}");
}

fn emit_read(out: &mut String, message: &Message, each: &Struct) {
    line!(
        out,
        "        #[inline]\n        fn read(reader: &mut Reader, message_version: i16) -> Result<Self, DecodeError> {{"
    );
    let tagged = tagged(each);
    for field in &each.fields {
        let name = ident(&field.name);
        if field.tag.is_some() {
            line!(
                out,
                "            let mut {name} = {};",
                default_value(field)
            );
            continue;
        }
        let value = read_field(message, each, field);
        match within(field.versions, message.versions) {
            None => line!(out, "            let {name} = {value};"),
            Some(condition) => line!(
                out,
                "            let {name} = if {condition} {{ {value} }} else {{ {} }};",
                default_value(field)
            ),
        }
    }
    if message.flexible_from.is_some() {
        let mut arms = String::new();
        for (tag, field) in &tagged {
            let name = ident(&field.name);
            match within(field.versions, message.versions) {
                None => line!(
                    arms,
                    "                    {tag} => {name} = {},",
                    read_field(message, each, field)
                ),
                Some(condition) => {
                    line!(
                        arms,
                        "                    {tag} if {condition} => {name} = {},",
                        read_field(message, each, field)
                    );
                    line!(
                        arms,
                        "                    {tag} => return Err(reader.error(DecodeErrorKind::Tag, {:?})),",
                        path(each, field)
                    );
                }
            }
        }
        let read = if tagged.is_empty() {
            format!("reader.unknown_tagged_fields({:?})?", each.name)
        } else {
            format!(
                "reader.tagged_fields({:?}, |reader, tag| {{\n                match tag {{\n{arms}                    _ => return Ok(false),\n                }}\n                Ok(true)\n            }})?",
                each.name
            )
        };
        match flexible(message) {
            Flexible::Always => line!(out, "            let unknown_tagged = {read};"),
            Flexible::When(condition) => line!(
                out,
                "            let unknown_tagged = if {condition} {{ {read} }} else {{ TaggedFields::NONE }};"
            ),
            Flexible::Never => {}
        }
    }
    let mut names: Vec<String> = each.fields.iter().map(|field| ident(&field.name)).collect();
    if message.flexible_from.is_some() {
        names.push("unknown_tagged".to_owned());
    }
    line!(
        out,
        "            Ok(Self {{ {} }})\n        }}",
        names.join(", ")
    );
}

fn emit_write(out: &mut String, message: &Message, each: &Struct) {
    line!(
        out,
        "        #[inline]\n        fn write(&self, writer: &mut Writer, message_version: i16) -> Result<(), EncodeError> {{"
    );
    for field in &each.fields {
        emit_write_field(out, message, each, field);
    }
    if message.flexible_from.is_some() {
        let write = write_tags(message, each);
        match flexible(message) {
            Flexible::Always => line!(out, "            {write}"),
            Flexible::When(condition) => line!(
                out,
                "            if {condition} {{\n                {write}\n            }} else if !self.unknown_tagged.is_empty() {{\n                return Err(EncodeError::not_in_version({:?}));\n            }}",
                each.name
            ),
            Flexible::Never => {}
        }
    }
    line!(out, "            Ok(())\n        }}");
}

fn write_tags(message: &Message, each: &Struct) -> String {
    let tagged = tagged(each);
    if tagged.is_empty() {
        return format!(
            "writer.unknown_tagged_fields(&self.unknown_tagged, {:?})?;",
            each.name
        );
    }
    let mut write = format!(
        "let mut tags = writer.tags(&self.unknown_tagged, {:?});\n",
        each.name
    );
    for (tag, field) in tagged {
        let version = within(field.versions, message.versions)
            .map_or(String::new(), |condition| format!("{condition} && "));
        line!(
            write,
            "                if {version}{} {{ tags.put(writer, {tag}, |writer| {{ {} Ok(()) }})?; }}",
            is_set(field),
            write_value(message, each, field)
        );
    }
    write + "                tags.finish(writer)?;"
}

/// Writes the field where it stands among the others, or checks that nothing is lost where the version lacks it. A
/// tagged field is only checked here; it is written with the tags.
fn emit_write_field(out: &mut String, message: &Message, each: &Struct, field: &Field) {
    let refuse = format!(
        "if {} {{ return Err(EncodeError::not_in_version({:?})); }}",
        is_set(field),
        path(each, field)
    );
    let condition = within(field.versions, message.versions);
    match (condition, field.tag, field.ignorable) {
        (None, None, _) => line!(out, "            {}", write_value(message, each, field)),
        (Some(condition), None, true) => line!(
            out,
            "            if {condition} {{ {} }}",
            write_value(message, each, field)
        ),
        (Some(condition), None, false) => line!(
            out,
            "            if {condition} {{ {} }} else {refuse}",
            write_value(message, each, field)
        ),
        (Some(condition), Some(_), false) => {
            line!(out, "            if !({condition}) {{ {refuse} }}")
        }
        (_, Some(_), _) => {}
    }
}

fn read_field(message: &Message, each: &Struct, field: &Field) -> String {
    let place = format!("{:?}", path(each, field));
    let compact = compact(message, field);
    let null = field
        .nullable
        .map(|nullable| allowed(nullable, field.versions));
    match (&field.ty, null) {
        (Type::String, Some(null)) => {
            format!("reader.nullable_string({compact}, {null}, {place})?")
        }
        (Type::Bytes | Type::Records, Some(null)) => {
            format!("reader.nullable_bytes({compact}, {null}, {place})?")
        }
        (Type::Parts, Some(null)) => {
            format!("reader.nullable_bytes({compact}, {null}, {place})?.map(Parts::from)")
        }
        (Type::Struct(name), Some(null)) if field.tag.is_some() => format!(
            "reader.nullable_tagged_struct({null}, {place}, |reader| {name}::read(reader, message_version))?"
        ),
        (Type::Struct(name), Some(null)) => format!(
            "reader.nullable_struct({null}, {place}, |reader| {name}::read(reader, message_version))?"
        ),
        (Type::Array(element), null) => {
            let (method, null) = null.map_or(("array", String::new()), |null| {
                ("nullable_array", format!("{null}, "))
            });
            let min = match &**element {
                Type::Struct(name) => format!("{name}::min_size(message_version)"),
                Type::String => format!("if {compact} {{ 1 }} else {{ 2 }}"),
                other => message
                    .min_size(other, false, false, field.versions.min)
                    .to_string(),
            };
            format!(
                "reader.{method}({compact}, {null}{min}, {place}, |reader| {})?",
                read_one(element, &compact, &place)
            )
        }
        (ty, None) => format!("{}?", read_one(ty, &compact, &place)),
        (ty, Some(_)) => panic!("{place}: {ty:?} cannot be null"),
    }
}

fn read_one(ty: &Type, compact: &str, place: &str) -> String {
    match ty {
        Type::String => format!("reader.string({compact}, {place})"),
        Type::Bytes | Type::Records => format!("reader.bytes({compact}, {place})"),
        Type::Parts => format!("reader.bytes({compact}, {place}).map(Parts::from)"),
        Type::Struct(name) => format!("{name}::read(reader, message_version)"),
        Type::Array(_) => panic!("{place}: an array of arrays"),
        plain => format!("reader.{}({place})", method(plain)),
    }
}

fn write_value(message: &Message, each: &Struct, field: &Field) -> String {
    let place = format!("{:?}", path(each, field));
    let compact = compact(message, field);
    let value = format!("self.{}", ident(&field.name));
    let null = field
        .nullable
        .map(|nullable| allowed(nullable, field.versions));
    match (&field.ty, null) {
        (Type::String, Some(null)) => format!(
            "writer.nullable_string({compact}, {null}, {value}.as_ref().map(Str::as_bytes), {place})?;"
        ),
        (Type::Bytes | Type::Records, Some(null)) => {
            format!("writer.nullable_bytes({compact}, {null}, {value}.as_ref(), {place})?;")
        }
        (Type::Parts, Some(null)) => {
            format!("writer.nullable_parts({compact}, {null}, {value}.as_ref(), {place})?;")
        }
        (Type::Struct(_), Some(null)) => {
            let method = if field.tag.is_some() {
                "nullable_tagged_struct"
            } else {
                "nullable_struct"
            };
            format!(
                "writer.{method}({null}, {value}.as_ref(), {place}, |writer, each| each.write(writer, message_version))?;"
            )
        }
        (Type::Array(element), null) => {
            let write = write_one(element, "each", false, &compact, &place);
            match null {
                None => format!(
                    "writer.array({compact}, &{value}, {place}, |writer, each| {{ {write} Ok(()) }})?;"
                ),
                Some(null) => format!(
                    "writer.nullable_array({compact}, {null}, {value}.as_deref(), {place}, |writer, each| {{ {write} Ok(()) }})?;"
                ),
            }
        }
        (ty, None) => write_one(ty, &value, true, &compact, &place),
        (ty, Some(_)) => panic!("{place}: {ty:?} cannot be null"),
    }
}

fn write_one(ty: &Type, value: &str, owned: bool, compact: &str, place: &str) -> String {
    let (reference, plain) = if owned { ("&", "") } else { ("", "*") };
    match ty {
        Type::String => format!("writer.string({compact}, {value}.as_bytes(), {place})?;"),
        Type::Bytes | Type::Records => {
            format!("writer.bytes({compact}, {reference}{value}, {place})?;")
        }
        Type::Parts => format!("writer.parts({compact}, {reference}{value}, {place})?;"),
        Type::Struct(_) => format!("{value}.write(writer, message_version)?;"),
        Type::Array(_) => panic!("{place}: an array of arrays"),
        other => format!("writer.{}({plain}{value});", method(other)),
    }
}

/// The reader's and writer's method for a type of fixed size.
fn method(ty: &Type) -> &'static str {
    match ty {
        Type::Int8 => "int8",
        Type::Int16 => "int16",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Uint16 => "uint16",
        Type::Uint32 => "uint32",
        Type::Float64 => "float64",
        Type::Bool => "bool",
        Type::Uuid => "uuid",
        Type::Error => "error_code",
        other => panic!("{other:?} is not of fixed size"),
    }
}

fn base_type(ty: &Type) -> String {
    match ty {
        Type::Int8 => "i8".to_owned(),
        Type::Int16 => "i16".to_owned(),
        Type::Int32 => "i32".to_owned(),
        Type::Int64 => "i64".to_owned(),
        Type::Uint16 => "u16".to_owned(),
        Type::Uint32 => "u32".to_owned(),
        Type::Float64 => "F64Bits".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::Error => "ErrorCode".to_owned(),
        Type::String => "Str".to_owned(),
        Type::Bytes | Type::Records => "Bytes".to_owned(),
        Type::Parts => "Parts".to_owned(),
        Type::Struct(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", base_type(element)),
    }
}

fn rust_type(field: &Field) -> String {
    let base = base_type(&field.ty);
    if field.nullable.is_some() {
        format!("Option<{base}>")
    } else {
        base
    }
}

/// Kafka's default of the field. A nullable field is null by default only if the schema says so; records always are.
fn default_value(field: &Field) -> String {
    if field.default.as_deref() == Some("null")
        || (field.nullable.is_some() && matches!(field.ty, Type::Records | Type::Parts))
    {
        return "None".to_owned();
    }
    let value = match (&field.ty, &field.default) {
        (Type::Error, Some(code)) => format!("ErrorCode({code})"),
        (Type::String, Some(text)) => panic!("{}: a default text {text}", field.name),
        (_, Some(value)) => value.clone(),
        (Type::Bool, None) => "false".to_owned(),
        (Type::Float64, None) => "F64Bits(0)".to_owned(),
        (Type::Uuid, None) => "Uuid::ZERO".to_owned(),
        (Type::Error, None) => "ErrorCode::NONE".to_owned(),
        (Type::String, None) => "Str::EMPTY".to_owned(),
        (Type::Bytes | Type::Records, None) => "Bytes::new()".to_owned(),
        (Type::Parts, None) => "Parts::new()".to_owned(),
        (Type::Struct(name), None) => format!("{name}::default()"),
        (Type::Array(_), None) => "Vec::new()".to_owned(),
        (_, None) => "0".to_owned(),
    };
    if field.nullable.is_some() {
        format!("Some({value})")
    } else {
        value
    }
}

/// True if the derived `Default` gives the field's default.
fn default_is_zero(field: &Field) -> bool {
    match field.nullable {
        Some(_) => default_value(field) == "None",
        None => field.default.is_none(),
    }
}

/// An expression that tells whether the field has another value than its default.
fn is_set(field: &Field) -> String {
    let value = format!("self.{}", ident(&field.name));
    let default = default_value(field);
    match (&field.ty, field.nullable) {
        (_, Some(_)) if default == "None" => format!("{value}.is_some()"),
        (Type::String | Type::Bytes | Type::Records | Type::Parts | Type::Array(_), None) => {
            format!("!{value}.is_empty()")
        }
        (Type::String | Type::Bytes | Type::Records | Type::Parts | Type::Array(_), Some(_)) => {
            format!("{value}.as_ref().is_none_or(|value| !value.is_empty())")
        }
        (Type::Bool, None) => {
            if default == "true" {
                format!("!{value}")
            } else {
                value
            }
        }
        _ => format!("{value} != {default}"),
    }
}

enum Flexible {
    Always,
    Never,
    When(String),
}

fn flexible(message: &Message) -> Flexible {
    match message.flexible_from {
        None => Flexible::Never,
        Some(from) if from <= message.versions.min => Flexible::Always,
        Some(from) => Flexible::When(format!("message_version >= {from}")),
    }
}

fn compact(message: &Message, field: &Field) -> String {
    let from = message.flexible_from;
    if field.never_compact || from.is_none_or(|from| from > field.versions.max) {
        "false".to_owned()
    } else if from.is_some_and(|from| from <= field.versions.min) {
        "true".to_owned()
    } else {
        format!("message_version >= {}", from.unwrap_or_default())
    }
}

/// A condition for `part` among the versions of `whole`; none if it is all of them.
fn within(part: Versions, whole: Versions) -> Option<String> {
    match (part.min <= whole.min, part.max >= whole.max) {
        (true, true) => None,
        (true, false) => Some(format!("message_version <= {}", part.max)),
        (false, true) => Some(format!("message_version >= {}", part.min)),
        (false, false) if part.min == part.max => Some(format!("message_version == {}", part.min)),
        (false, false) => Some(format!(
            "({}..={}).contains(&message_version)",
            part.min, part.max
        )),
    }
}

fn allowed(nullable: Versions, whole: Versions) -> String {
    within(nullable, whole).unwrap_or_else(|| "true".to_owned())
}

fn tagged(each: &Struct) -> Vec<(u32, &Field)> {
    let mut tagged: Vec<(u32, &Field)> = each
        .fields
        .iter()
        .filter_map(|field| Some((field.tag?, field)))
        .collect();
    tagged.sort_by_key(|(tag, _)| *tag);
    tagged
}

fn describe(message: &Message, field: &Field) -> String {
    let mut text = match &field.ty {
        Type::Array(element) => format!("Array of {}", type_name(element)),
        other => type_name(other),
    };
    if field.versions != message.versions {
        write!(text, ", versions {}", show(field.versions)).expect("a string grows");
    }
    if let Some(nullable) = field.nullable {
        text.push_str(", nullable");
        if nullable != field.versions {
            write!(text, " in versions {}", show(nullable)).expect("a string grows");
        }
    }
    if let Some(default) = &field.default {
        write!(text, ", default {default}").expect("a string grows");
    }
    if let Some(tag) = field.tag {
        write!(text, ", tag {tag}").expect("a string grows");
    }
    if field.ignorable {
        text.push_str(", dropped where the version lacks it");
    }
    text + "."
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::Struct(name) => format!("[`{name}`]"),
        other => format!("`{}`", base_type(other)),
    }
}

fn show(versions: Versions) -> String {
    if versions.min == versions.max {
        versions.min.to_string()
    } else {
        format!("{} to {}", versions.min, versions.max)
    }
}

fn path(each: &Struct, field: &Field) -> String {
    format!("{}.{}", each.name, field.name)
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Request => "request".to_owned(),
        Kind::Response => "response".to_owned(),
        Kind::Header => "header".to_owned(),
        Kind::Data => "data".to_owned(),
        Kind::Record(family) => family.replace('-', "_"),
    }
}

pub fn id(message: &Message) -> i16 {
    message
        .id
        .unwrap_or_else(|| panic!("{} needs a number", message.name))
}

pub fn api_name(request: &Message) -> &str {
    request
        .name
        .strip_suffix("Request")
        .expect("a request is named so")
}

fn ident(name: &str) -> String {
    if matches!(name, "type" | "match") {
        format!("r#{name}")
    } else {
        name.to_owned()
    }
}

/// `FetchRequest` to `fetch_request`; a run of capitals is one word, as in `KRaftVersionRecord`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            out.push('_');
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(c.to_ascii_lowercase());
    }
    out
}
