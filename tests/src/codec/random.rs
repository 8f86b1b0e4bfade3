//! Random messages as bytes, written by walking the schema: a second encoder that shares nothing with the generated one.

use super::model::{Field, Message, Type};

/// A stream of numbers from a seed (SplitMix64), the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The stream of `seed` about `subject`: other subjects do not move it.
    #[must_use]
    pub fn about(seed: u64, subject: &str, version: i16) -> Random {
        let mut random = Random(seed ^ u64::from(version.unsigned_abs()).wrapping_mul(0x9e37_79b9));
        for byte in subject.bytes() {
            random.0 = random.0.wrapping_add(u64::from(byte));
            random.draw();
        }
        random
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.draw() % limit as u64) as usize
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A message as bytes, and where its counts and lengths stand.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Every count of an array and every length of a string, of bytes or of a tagged field.
    pub lengths: Vec<Length>,
}

/// A count or length on the wire.
#[derive(Clone, Debug)]
pub struct Length {
    /// Its first byte.
    pub at: usize,
    /// Its bytes.
    pub len: usize,
    /// How it is written.
    pub form: Form,
    /// Whose it is.
    pub field: String,
}

/// How a count or length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Two bytes.
    Int16,
    /// Four bytes.
    Int32,
    /// A varint.
    Varint,
}

/// A random message of `version`. Unknown tagged fields have tags from 1000 on. A tagged field may be present with its
/// default, which an encoder would leave out: decode and encode once to have the canonical bytes.
#[must_use]
pub fn message(schema: &Message, version: i16, random: &mut Random) -> Written {
    let mut written = Written::default();
    structure(schema, &schema.name, version, random, &mut written);
    written
}

fn structure(schema: &Message, name: &str, version: i16, random: &mut Random, out: &mut Written) {
    let fields = &schema.find(name).fields;
    for field in fields.iter().filter(|field| field.tag.is_none()) {
        if field.versions.contains(version) {
            value(schema, field, version, random, out);
        }
    }
    if schema.is_flexible(version) {
        tags(schema, name, version, random, out);
    }
}

fn tags(schema: &Message, name: &str, version: i16, random: &mut Random, out: &mut Written) {
    let fields = schema.find(name).fields.iter();
    let mut known: Vec<&Field> = fields
        .filter(|field| field.tag.is_some() && field.versions.contains(version))
        .filter(|_| random.one_in(2))
        .collect();
    known.sort_by_key(|field| field.tag);
    let unknown = if random.one_in(8) {
        1 + random.below(3)
    } else {
        0
    };
    length(out, name, (known.len() + unknown) as u32, Form::Varint);
    for field in known {
        varint(&mut out.bytes, field.tag.unwrap_or_default());
        // The size is known only afterwards: write aside, then move.
        let mut aside = Written::default();
        value(schema, field, version, random, &mut aside);
        let place = format!("{name}.{}", field.name);
        length(out, &place, aside.bytes.len() as u32, Form::Varint);
        let shift = out.bytes.len();
        out.bytes.extend(aside.bytes);
        out.lengths
            .extend(aside.lengths.into_iter().map(|mut each| {
                each.at += shift;
                each
            }));
    }
    for nth in 0..unknown {
        varint(&mut out.bytes, 1000 + 300 * nth as u32);
        let len = random.below(6);
        length(out, name, len as u32, Form::Varint);
        bytes(len, random, &mut out.bytes);
    }
}

fn value(schema: &Message, field: &Field, version: i16, random: &mut Random, out: &mut Written) {
    let compact = schema.is_flexible(version) && !field.never_compact;
    let null = field
        .nullable
        .is_some_and(|nullable| nullable.contains(version))
        && random.one_in(4);
    let place = field.name.as_str();
    match &field.ty {
        Type::String if null => null_length(out, place, compact, Form::Int16),
        Type::Bytes | Type::Records | Type::Parts | Type::Array(_) if null => {
            null_length(out, place, compact, Form::Int32);
        }
        Type::Struct(_) if null => out.bytes.push(if field.tag.is_some() { 0 } else { 0xff }),
        Type::Struct(name) => {
            if field.nullable.is_some() {
                out.bytes.push(1);
            }
            structure(schema, name, version, random, out);
        }
        Type::Array(element) => {
            let count = random.below(4);
            some_length(out, place, compact, count, Form::Int32);
            for _ in 0..count {
                one(schema, element, compact, version, place, random, out);
            }
        }
        plain => one(schema, plain, compact, version, place, random, out),
    }
}

fn one(
    schema: &Message,
    ty: &Type,
    compact: bool,
    version: i16,
    place: &str,
    random: &mut Random,
    out: &mut Written,
) {
    match ty {
        Type::String => {
            let text = text(random);
            some_length(out, place, compact, text.len(), Form::Int16);
            out.bytes.extend(text.as_bytes());
        }
        Type::Bytes | Type::Records | Type::Parts => {
            let len = match random.below(20) {
                0 => 1000 + random.below(2000),
                _ => random.below(12),
            };
            some_length(out, place, compact, len, Form::Int32);
            bytes(len, random, &mut out.bytes);
        }
        Type::Struct(name) => structure(schema, name, version, random, out),
        Type::Bool => out.bytes.push(u8::from(random.one_in(2))),
        Type::Array(_) => panic!("{place}: an array of arrays"),
        fixed => {
            let len = schema.min_size(fixed, false, false, version);
            match random.below(4) {
                0 => out.bytes.extend(vec![0; len]),
                1 => out.bytes.extend(vec![0xff; len]),
                _ => bytes(len, random, &mut out.bytes),
            }
        }
    }
}

fn text(random: &mut Random) -> String {
    let len = match random.below(30) {
        0 => 126 + random.below(4),
        1 => 300,
        _ => random.below(9),
    };
    let alphabet = ['a', 'Z', '0', '-', '_', '.', 'é', '日', '😀', ' '];
    (0..len)
        .map(|_| alphabet[random.below(if len > 100 { 6 } else { alphabet.len() })])
        .collect()
}

fn bytes(len: usize, random: &mut Random, out: &mut Vec<u8>) {
    out.extend((0..len).map(|_| random.draw() as u8));
}

fn some_length(out: &mut Written, place: &str, compact: bool, len: usize, classic: Form) {
    if compact {
        length(out, place, len as u32 + 1, Form::Varint);
    } else {
        length(out, place, len as u32, classic);
    }
}

fn null_length(out: &mut Written, place: &str, compact: bool, classic: Form) {
    if compact {
        length(out, place, 0, Form::Varint);
    } else {
        length(out, place, u32::MAX, classic);
    }
}

fn length(out: &mut Written, place: &str, number: u32, form: Form) {
    let at = out.bytes.len();
    match form {
        Form::Int16 => out.bytes.extend((number as u16).to_be_bytes()),
        Form::Int32 => out.bytes.extend(number.to_be_bytes()),
        Form::Varint => varint(&mut out.bytes, number),
    }
    out.lengths.push(Length {
        at,
        len: out.bytes.len() - at,
        form,
        field: place.to_owned(),
    });
}

/// Appends an unsigned varint.
pub fn varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The smallest message of `version` in which the array `field` has `count` elements, each as small as it can be, and the
/// other arrays one. With `unknown` every struct has an unknown tagged field, as small as it can be.
#[must_use]
pub fn packed(
    schema: &Message,
    version: i16,
    field: &Field,
    count: usize,
    unknown: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let packing = Packing {
        schema,
        version,
        field,
        count,
        unknown,
    };
    packing.structure(&schema.name, &mut out);
    out
}

struct Packing<'a> {
    schema: &'a Message,
    version: i16,
    field: &'a Field,
    count: usize,
    unknown: bool,
}

impl Packing<'_> {
    fn structure(&self, name: &str, out: &mut Vec<u8>) {
        let fields = || {
            self.schema
                .find(name)
                .fields
                .iter()
                .filter(|field| field.versions.contains(self.version))
        };
        for field in fields().filter(|field| field.tag.is_none()) {
            self.value(field, out);
        }
        if self.schema.is_flexible(self.version) {
            let tagged =
                fields().find(|field| std::ptr::eq(*field, self.field) && field.tag.is_some());
            varint(out, u32::from(tagged.is_some()) + u32::from(self.unknown));
            if let Some(field) = tagged {
                let mut value = Vec::new();
                self.value(field, &mut value);
                varint(out, field.tag.unwrap_or_default());
                varint(out, value.len() as u32);
                out.extend(value);
            }
            if self.unknown {
                out.extend([127, 0]);
            }
        }
    }

    fn value(&self, field: &Field, out: &mut Vec<u8>) {
        let compact = self.schema.is_flexible(self.version) && !field.never_compact;
        match &field.ty {
            Type::Array(element) => {
                let count = if std::ptr::eq(field, self.field) {
                    self.count
                } else {
                    1
                };
                if compact {
                    varint(out, count as u32 + 1);
                } else {
                    out.extend((count as u32).to_be_bytes());
                }
                let mut one = Vec::new();
                match &**element {
                    Type::Struct(name) => self.structure(name, &mut one),
                    // An empty compact string is a 1, a null one a 0.
                    Type::String if compact => one.push(1),
                    fixed => one.resize(
                        self.schema
                            .min_size(fixed, false, field.never_compact, self.version),
                        0,
                    ),
                }
                for _ in 0..count {
                    out.extend(&one);
                }
            }
            Type::Struct(name) => {
                if field.nullable.is_some() {
                    out.push(1);
                }
                self.structure(name, out);
            }
            Type::String | Type::Bytes | Type::Records | Type::Parts if compact => out.push(1),
            fixed => out.resize(
                out.len()
                    + self
                        .schema
                        .min_size(fixed, false, field.never_compact, self.version),
                0,
            ),
        }
    }
}
