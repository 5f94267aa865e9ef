//! Keys of buckets: any value as 64 bits, and back to what is shown.

use std::cmp::Ordering;
use std::rc::Rc;

use foldhash::HashMap;
use serde_json::Value;

use crate::dates::Formats;
use crate::document::decode_ip;
use crate::error::ApiResult;
use crate::mapping::FieldType;
use crate::numbers;
use crate::search::columns::Values;

/// What the keys of an aggregation are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeyKind {
    Text,
    Ip,
    Boolean,
    Date(Formats),
    Integer,
    Unsigned,
    Float,
}

impl KeyKind {
    pub(super) fn of(kind: &FieldType) -> Self {
        match kind {
            FieldType::Keyword { .. } | FieldType::Flattened { .. } | FieldType::Text => Self::Text,
            FieldType::Ip => Self::Ip,
            FieldType::Boolean => Self::Boolean,
            FieldType::Date { formats } => Self::Date(formats.clone()),
            FieldType::Integer(range) if range.name == "unsigned_long" => Self::Unsigned,
            FieldType::Integer(_) => Self::Integer,
            FieldType::Double | FieldType::Float | FieldType::Scaled { .. } => Self::Float,
        }
    }
}

/// Texts by number, the same over all segments.
#[derive(Default)]
pub(super) struct Texts {
    numbers: HashMap<Rc<str>, u64>,
    texts: Vec<Rc<str>>,
}

impl Texts {
    pub(super) fn number(&mut self, text: String) -> u64 {
        if let Some(number) = self.numbers.get(text.as_str()) {
            return *number;
        }
        let text: Rc<str> = text.into();
        let number = numbers::to_u64(self.texts.len());
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    pub(super) fn text(&self, number: u64) -> &str {
        self.texts.get(numbers::to_usize(number)).map_or("", |text| text)
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// Turns a segment's values into keys.
#[derive(Default)]
pub(super) struct KeyReader {
    pub(super) texts: Texts,
    /// The number of the text of each ordinal of the current segment.
    ordinals: HashMap<u64, u64>,
}

impl KeyReader {
    /// A segment begins: its ordinals mean other texts.
    pub(super) fn open_segment(&mut self) {
        self.ordinals.clear();
    }

    /// The distinct keys of a document's values.
    pub(super) fn keys(&mut self, kind: &KeyKind, values: &Values, doc: u32, keys: &mut Vec<u64>) -> ApiResult<()> {
        keys.clear();
        match (kind, values) {
            (KeyKind::Text | KeyKind::Ip, Values::Strings(strings)) => {
                for ordinal in strings.ordinals(doc) {
                    let key = match self.ordinals.get(&ordinal) {
                        Some(key) => *key,
                        None => {
                            let key = self.texts.number(strings.text(ordinal)?);
                            self.ordinals.insert(ordinal, key);
                            key
                        }
                    };
                    keys.push(key);
                }
            }
            (KeyKind::Text | KeyKind::Ip, _) => {}
            (KeyKind::Float, values) => values.floats(doc, |value| keys.push(value.to_bits())),
            (_, values) => values.integers(doc, |value| keys.push(integer_bits(value))),
        }
        if keys.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        Ok(())
    }

    pub(super) fn compare(&self, kind: &KeyKind, left: u64, right: u64) -> Ordering {
        match kind {
            KeyKind::Text | KeyKind::Ip => self.texts.text(left).cmp(self.texts.text(right)),
            KeyKind::Float => f64::from_bits(left).total_cmp(&f64::from_bits(right)),
            KeyKind::Unsigned => left.cmp(&right),
            _ => left.cast_signed().cmp(&right.cast_signed()),
        }
    }

    /// The `key` of a bucket, and the `key_as_string` where there is one.
    pub(super) fn show(&self, kind: &KeyKind, key: u64) -> (Value, Option<String>) {
        match kind {
            KeyKind::Text => (self.texts.text(key).into(), None),
            KeyKind::Ip => (decode_ip(self.texts.text(key)).into(), None),
            KeyKind::Boolean => (key.into(), Some(if key == 0 { "false" } else { "true" }.to_owned())),
            KeyKind::Date(formats) => (key.cast_signed().into(), Some(formats.print(key.cast_signed()))),
            KeyKind::Integer => (key.cast_signed().into(), None),
            KeyKind::Unsigned => (key.into(), None),
            KeyKind::Float => (f64::from_bits(key).into(), None),
        }
    }
}

/// An integer of a field as bits: fields hold either signed or unsigned 64-bit numbers.
pub(super) fn integer_bits(value: i128) -> u64 {
    match i64::try_from(value) {
        Ok(value) => value.cast_unsigned(),
        Err(_) => u64::try_from(value).unwrap_or(u64::MAX),
    }
}
