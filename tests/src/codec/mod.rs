//! What the tests of the wire share: all messages behind one interface, the schemas as the build read them, and random
//! messages made from the schemas alone, so that the generated code is not its own judge.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use trialog_core::wire::{DecodeError, EncodeError, Message, Parts, Reader, Writer};

pub mod random;

#[allow(missing_docs, dead_code)]
#[path = "../../../core/build/model.rs"]
pub mod model;
#[allow(missing_docs, dead_code)]
#[path = "../../../core/build/parse.rs"]
pub mod parse;

/// A message and how many bytes follow it.
pub type Decoded = Result<(Box<dyn AnyMessage>, usize), DecodeError>;

/// One message type, its own type forgotten.
#[derive(Clone, Copy)]
pub struct Codec {
    /// Kafka's name.
    pub name: &'static str,
    /// Least version.
    pub min: i16,
    /// Greatest version.
    pub max: i16,
    /// Reads a message and says how many bytes are left.
    pub decode: fn(Bytes, i16) -> Decoded,
    /// The message with all defaults.
    pub default: fn() -> Box<dyn AnyMessage>,
}

/// A message of any type.
pub trait AnyMessage {
    /// As it would be sent.
    fn encode(&self, version: i16) -> Result<Parts, EncodeError>;
    /// For messages of failed tests.
    fn show(&self) -> String;
}

impl<M: Message> AnyMessage for M {
    fn encode(&self, version: i16) -> Result<Parts, EncodeError> {
        let mut writer = Writer::new();
        Message::encode(self, &mut writer, version)?;
        Ok(writer.into_parts())
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

fn codec<M: Message + 'static>() -> Codec {
    Codec {
        name: M::NAME,
        min: M::MIN_VERSION,
        max: M::MAX_VERSION,
        decode: |bytes, version| {
            let mut reader = Reader::new(bytes);
            let message = M::decode(&mut reader, version)?;
            Ok((Box::new(message), reader.remaining()))
        },
        default: || Box::new(M::default()),
    }
}

macro_rules! all {
    ($(($module:ident $message:ident $kind:ident))*) => {
        vec![$(codec::<trialog_core::wire::messages::$message>()),*]
    };
}

/// Every message and record.
#[must_use]
pub fn codecs() -> Vec<Codec> {
    trialog_core::for_each_message!(all)
}

/// Every message and record as `core/schema/` describes it, in the order of [`codecs`].
#[must_use]
pub fn schemas() -> Vec<model::Message> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/schema");
    let mut messages = Vec::new();
    for directory in ["messages", "records"] {
        let entries = std::fs::read_dir(schema.join(directory)).expect("the schemas");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("a directory entry").path())
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).expect("a schema");
            messages.extend(parse::messages(&path, &text));
        }
    }
    messages
}

/// [`codecs`] and [`schemas`] side by side.
#[must_use]
pub fn all() -> Vec<(Codec, model::Message)> {
    let all: Vec<_> = codecs().into_iter().zip(schemas()).collect();
    assert!(
        all.iter()
            .all(|(codec, schema)| codec.name == schema.name && codec.max == schema.versions.max)
    );
    all
}
