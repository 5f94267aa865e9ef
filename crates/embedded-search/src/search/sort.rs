//! Sort keys: read from a request, bound to an index, compared, printed, and read back.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::{Value, json};

use super::columns::{ColumnName, Segment, Values};
use crate::dates::Formats;
use crate::document::{Scalar, decode_ip, encode_ip, plain_text, read_scalar};
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::{FieldType, Mapping};
use crate::numbers;

/// What is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Score,
    /// The order of writing, which stands for Lucene's order of documents.
    Doc,
    Field(String),
}

/// Where documents without a value go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Missing {
    Last,
    First,
    Value(Value),
}

/// One key of a sort, as requested.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SortKey {
    pub(crate) target: Target,
    pub(crate) descending: bool,
    missing: Missing,
    unmapped: Option<String>,
    /// Whether the smallest of several values counts (otherwise the largest).
    smallest: bool,
    format: Option<Formats>,
}

/// A key's value of one document, ordered so that what comes first is less.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    First,
    Integer(i128),
    Float(f64),
    Text(Rc<str>),
    /// A text of a descending key.
    Reversed(Rc<str>),
    Last,
}

impl Key {
    fn rank(&self) -> u8 {
        match self {
            Self::First => 0,
            Self::Integer(_) | Self::Float(_) => 1,
            Self::Text(_) | Self::Reversed(_) => 2,
            Self::Last => 3,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(right),
            (Self::Float(left), Self::Float(right)) => left.total_cmp(right),
            (Self::Integer(left), Self::Float(right)) => numbers::to_f64(*left).total_cmp(right),
            (Self::Float(left), Self::Integer(right)) => left.total_cmp(&numbers::to_f64(*right)),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Reversed(left), Self::Reversed(right)) => right.cmp(left),
            (left, right) => left.rank().cmp(&right.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl SortKey {
    pub(crate) fn by_score() -> Self {
        Self {
            target: Target::Score,
            descending: true,
            missing: Missing::Last,
            unmapped: None,
            smallest: false,
            format: None,
        }
    }

    pub(crate) fn by_doc() -> Self {
        Self { target: Target::Doc, descending: false, ..Self::by_score() }
    }

    fn named(name: &str, order: Option<&Value>) -> ApiResult<Self> {
        let target = match name {
            "_score" => Target::Score,
            "_doc" | "_shard_doc" => Target::Doc,
            "_id" => {
                return Err(ApiError::illegal(
                    "Fielddata access on the _id field is disallowed, you can re-enable it by updating the dynamic cluster setting: indices.id_field_data.enabled",
                ));
            }
            "_geo_distance" | "_script" => return Err(ApiError::unsupported(format!("a sort by [{name}]"))),
            field => Target::Field(field.to_owned()),
        };
        let descending = match order.map(plain_text).as_deref() {
            None => target == Target::Score,
            Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                return Err(ApiError::illegal(format!(
                    "No enum constant org.elasticsearch.search.sort.SortOrder.{}",
                    other.to_uppercase()
                )));
            }
        };
        Ok(Self { target, descending, missing: Missing::Last, unmapped: None, smallest: !descending, format: None })
    }

    fn parse_one(json: &Value) -> ApiResult<Self> {
        let wrong = || {
            ApiError::parsing(
                "malformed sort format, either start array, start object, or an actual string are allowed",
            )
        };
        match json {
            Value::String(name) => Self::named(name, None),
            Value::Object(map) if map.len() == 1 => {
                let (name, body) = map.iter().next().ok_or_else(wrong)?;
                let Some(options) = body.as_object() else { return Self::named(name, Some(body)) };
                let mut key = Self::named(name, options.get("order"))?;
                for (option, value) in options {
                    match (option.as_str(), value.as_str()) {
                        ("order", _) => {}
                        ("missing", Some("_last")) => key.missing = Missing::Last,
                        ("missing", Some("_first")) => key.missing = Missing::First,
                        ("missing", _) => key.missing = Missing::Value(value.clone()),
                        ("unmapped_type", Some(kind)) => key.unmapped = Some(kind.to_owned()),
                        ("mode", Some("min")) => key.smallest = true,
                        ("mode", Some("max")) => key.smallest = false,
                        ("format", Some(format)) => {
                            key.format = Some(
                                Formats::parse(format)
                                    .ok_or_else(|| ApiError::unsupported(format!("the date format [{format}]")))?,
                            );
                        }
                        ("numeric_type", Some("date" | "long" | "double")) => {}
                        ("nested" | "nested_path" | "mode" | "numeric_type", _) => {
                            return Err(ApiError::unsupported(format!("[{option}] in a sort")));
                        }
                        _ => {
                            return Err(ApiError::new(
                                400,
                                "x_content_parse_exception",
                                format!("[field_sort] unknown field [{option}]"),
                            ));
                        }
                    }
                }
                Ok(key)
            }
            _ => Err(wrong()),
        }
    }

    /// Reads the `sort` of a search.
    pub(crate) fn parse(json: &Value) -> ApiResult<Vec<Self>> {
        match json {
            Value::Array(keys) => keys.iter().map(Self::parse_one).collect(),
            Value::Object(map) if map.len() > 1 => {
                map.iter().map(|(name, body)| Self::parse_one(&json!({name: body}))).collect()
            }
            one => Ok(vec![Self::parse_one(one)?]),
        }
    }

    /// Finds the key's field in an index.
    pub(crate) fn bind(&self, meta: &Meta) -> ApiResult<BoundKey> {
        let Target::Field(path) = &self.target else {
            return Ok(BoundKey { key: self.clone(), column: None, kind: None });
        };
        if let Some(field) = meta.mapping.resolve(path) {
            if matches!(field.field.kind, FieldType::Text) {
                return Err(ApiError::illegal(format!("Fielddata is disabled on [{path}] in [{}]. Text fields are not optimised for operations that require per-document field data like aggregations and sorting, so these operations are disabled by default. Please use a keyword field instead.", meta.name)).on_shard(&meta.name));
            }
            if !field.field.doc_values {
                return Err(ApiError::illegal(format!("Can't load fielddata on [{path}] because fielddata is unsupported on fields of type [{}]. Use doc values instead.", field.field.kind.name())).on_shard(&meta.name));
            }
            let column = ColumnName { column: field.column.clone(), key: field.key.clone() };
            return Ok(BoundKey { key: self.clone(), column: Some(column), kind: Some(field.field.kind.clone()) });
        }
        let Some(unmapped) = &self.unmapped else {
            return Err(ApiError::new(
                400,
                "query_shard_exception",
                format!("No mapping found for [{path}] in order to sort on"),
            )
            .with("index_uuid", meta.uuid.clone())
            .with("index", meta.name.clone())
            .on_shard(&meta.name));
        };
        let mapping = Mapping::parse(&json!({"properties": {"x": {"type": unmapped}}}))?;
        let kind = mapping.resolve("x").map(|field| field.field.kind.clone());
        Ok(BoundKey { key: self.clone(), column: None, kind })
    }
}

/// A sort key that knows its column and type.
#[derive(Debug, Clone)]
pub(crate) struct BoundKey {
    pub(crate) key: SortKey,
    column: Option<ColumnName>,
    kind: Option<FieldType>,
}

/// A sort key on one segment.
pub(crate) struct Reader {
    values: Option<Rc<Values>>,
    missing: Key,
    descending: bool,
    smallest: bool,
    float: bool,
    texts: std::cell::RefCell<foldhash::HashMap<u64, Rc<str>>>,
}

impl BoundKey {
    /// The key of documents without a value.
    fn missing_key(&self) -> ApiResult<Key> {
        let last = match &self.key.missing {
            Missing::Last => true,
            Missing::First => false,
            Missing::Value(value) => return self.read(value),
        };
        let Some(kind) = &self.kind else { return Ok(Key::Last) };
        Ok(match (kind.is_string(), kind.is_float(), last) {
            (true, _, true) => Key::Last,
            (true, _, false) => Key::First,
            (false, true, true) => Key::Float(f64::INFINITY),
            (false, true, false) => Key::Float(f64::NEG_INFINITY),
            (false, false, last) => {
                // As Elasticsearch: the largest or smallest long, whichever sorts there.
                let extreme = if last != self.key.descending { i64::MAX } else { i64::MIN };
                self.integer(extreme.into())
            }
        })
    }

    fn integer(&self, value: i128) -> Key {
        Key::Integer(if self.key.descending { -value } else { value })
    }

    pub(crate) fn reader(&self, segment: &Segment<'_>) -> ApiResult<Reader> {
        let values = self.column.as_ref().map(|column| segment.values(column)).transpose()?;
        Ok(Reader {
            values,
            missing: self.missing_key()?,
            descending: self.key.descending,
            smallest: self.key.smallest,
            float: self.kind.as_ref().is_some_and(FieldType::is_float),
            texts: std::cell::RefCell::default(),
        })
    }

    /// Reads a value of `search_after`.
    pub(crate) fn read(&self, value: &Value) -> ApiResult<Key> {
        let descending = self.key.descending;
        let wrong = || {
            ApiError::illegal(format!(
                "Failed to parse search_after value for field [{:?}]: [{value}]",
                self.key.target
            ))
        };
        let Some(kind) = &self.kind else {
            let number = value.as_f64().ok_or_else(wrong)?;
            return Ok(match self.key.target {
                Target::Score => Key::Float(if descending { -number } else { number }),
                _ => self.integer(value.as_i64().ok_or_else(wrong)?.into()),
            });
        };
        if value.is_null() {
            return self.missing_key();
        }
        let text = plain_text(value);
        let textual = |text: String| if descending { Key::Reversed(text.into()) } else { Key::Text(text.into()) };
        Ok(match kind {
            FieldType::Ip => textual(text.parse().map(encode_ip).map_err(|_| wrong())?),
            kind if kind.is_string() => textual(text),
            kind if kind.is_float() => {
                let number = value.as_f64().or_else(|| text.parse().ok()).ok_or_else(wrong)?;
                Key::Float(if descending { -number } else { number })
            }
            FieldType::Date { formats } => match value {
                Value::Number(number) => self.integer(number.as_i64().ok_or_else(wrong)?.into()),
                _ => {
                    let formats = self.key.format.as_ref().unwrap_or(formats);
                    self.integer(formats.read(&text).ok_or_else(wrong)?.millis.into())
                }
            },
            kind => match read_scalar(kind, value) {
                Ok(Some(Scalar::Integer(number))) => self.integer(number),
                // A missing value's extreme may lie beyond a narrow field's range.
                _ => self.integer(value.as_i64().ok_or_else(wrong)?.into()),
            },
        })
    }

    /// Prints a key as a hit's `sort` shows it.
    pub(crate) fn print(&self, key: &Key) -> Value {
        match key {
            Key::First | Key::Last => Value::Null,
            Key::Integer(number) => {
                let number = if self.key.descending { -number } else { *number };
                match (&self.key.format, &self.kind, i64::try_from(number)) {
                    (Some(_), Some(FieldType::Date { .. }), Ok(i64::MIN | i64::MAX)) => Value::Null,
                    (Some(format), Some(FieldType::Date { .. }), Ok(millis)) => format.print(millis).into(),
                    (_, _, Ok(number)) => number.into(),
                    (_, _, Err(_)) => u64::try_from(number).map_or(Value::Null, Value::from),
                }
            }
            Key::Float(number) => {
                let number = if self.key.descending { -number } else { *number };
                if number.is_finite() {
                    number.into()
                } else {
                    Value::String(if number > 0.0 { "Infinity" } else { "-Infinity" }.into())
                }
            }
            Key::Text(text) | Key::Reversed(text) if self.kind == Some(FieldType::Ip) => decode_ip(text).into(),
            Key::Text(text) | Key::Reversed(text) => Value::String(text.to_string()),
        }
    }
}

impl Reader {
    /// The key of a document.
    pub(crate) fn key(&self, doc: u32) -> ApiResult<Key> {
        match self.values.as_deref() {
            Some(Values::Strings(strings)) => {
                let ordinals = strings.ordinals(doc);
                let chosen = if self.smallest { ordinals.min() } else { ordinals.max() };
                let Some(ordinal) = chosen else { return Ok(self.missing.clone()) };
                if let Some(text) = self.texts.borrow().get(&ordinal) {
                    return Ok(self.textual(text.clone()));
                }
                let text: Rc<str> = strings.text(ordinal)?.into();
                self.texts.borrow_mut().insert(ordinal, text.clone());
                Ok(self.textual(text))
            }
            Some(values) if self.float => {
                let mut chosen: Option<f64> = None;
                values.floats(doc, |value| {
                    chosen =
                        Some(chosen.map_or(
                            value,
                            |present| if self.smallest { present.min(value) } else { present.max(value) },
                        ));
                });
                Ok(chosen.map_or_else(
                    || self.missing.clone(),
                    |value| Key::Float(if self.descending { -value } else { value }),
                ))
            }
            Some(values) => {
                let mut chosen: Option<i128> = None;
                values.integers(doc, |value| {
                    chosen =
                        Some(chosen.map_or(
                            value,
                            |present| if self.smallest { present.min(value) } else { present.max(value) },
                        ));
                });
                Ok(chosen.map_or_else(
                    || self.missing.clone(),
                    |value| Key::Integer(if self.descending { -value } else { value }),
                ))
            }
            None => Ok(self.missing.clone()),
        }
    }

    fn textual(&self, text: Rc<str>) -> Key {
        if self.descending { Key::Reversed(text) } else { Key::Text(text) }
    }
}
