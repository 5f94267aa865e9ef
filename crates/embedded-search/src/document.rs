//! From a document's source to the values of its fields.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Map, Value, json};

use crate::dates::Formats;
use crate::error::{ApiError, ApiResult};
use crate::mapping::{Dynamic, Field, FieldType, MAX_DEPTH, Mapping, Node, Object, join, keyed_column};
use crate::numbers;

/// The longest string that a keyword field takes, in bytes, as Lucene.
const MAX_TERM_BYTES: usize = 32_766;
/// The most leaves of one flattened field of one document.
const MAX_FLATTENED_LEAVES: usize = 1_024;

/// The column that names the fields whose values were left out.
pub(crate) const IGNORED: &str = "_ignored";

/// One value as a column holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Integer(i128),
    Float(f64),
}

/// What a document's source says.
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    pub(crate) values: Vec<(String, Scalar)>,
    /// Fields that the mapping does not have, with the definition to add.
    pub(crate) introduced: Vec<(String, Value)>,
}

/// Reads a document by the mapping. `id` is named in errors.
pub(crate) fn extract(mapping: &Mapping, source: &Map<String, Value>, id: &str) -> ApiResult<Extracted> {
    let mut reader = Reader { out: Extracted::default(), id };
    if mapping.root.enabled {
        let dynamic = mapping.root.dynamic.unwrap_or(Dynamic::True);
        reader.object(&mapping.root, dynamic, "", source, 1)?;
    }
    order_values(&mut reader.out.values);
    Ok(reader.out)
}

/// A field's values are sorted, and equal strings count once, as in Elasticsearch's columns.
fn order_values(values: &mut Vec<(String, Scalar)>) {
    values.sort_by(|(left_column, left), (right_column, right)| {
        left_column.cmp(right_column).then_with(|| match (left, right) {
            (Scalar::Text(left), Scalar::Text(right)) => left.cmp(right),
            (Scalar::Integer(left), Scalar::Integer(right)) => left.cmp(right),
            (Scalar::Float(left), Scalar::Float(right)) => left.total_cmp(right),
            _ => std::cmp::Ordering::Equal,
        })
    });
    values.dedup_by(|left, right| matches!(left.1, Scalar::Text(_)) && left == right);
}

/// An address as text that sorts as Elasticsearch sorts addresses (IPv4 within IPv6).
pub(crate) fn encode_ip(address: IpAddr) -> String {
    let v6 = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    format!("{:032x}", u128::from(v6))
}

/// The address behind [`encode_ip`]'s text, printed.
pub(crate) fn decode_ip(text: &str) -> String {
    match u128::from_str_radix(text, 16).map(Ipv6Addr::from) {
        Ok(v6) => v6.to_canonical().to_string(),
        Err(_) => text.to_owned(),
    }
}

struct Reader<'a> {
    out: Extracted,
    id: &'a str,
}

impl Reader<'_> {
    fn object(
        &mut self,
        object: &Object,
        dynamic: Dynamic,
        prefix: &str,
        source: &Map<String, Value>,
        depth: usize,
    ) -> ApiResult<()> {
        if depth > MAX_DEPTH {
            return Err(
                self.unreadable(format!("The depth of the field [{prefix}] exceeds the limit of [{MAX_DEPTH}]"))
            );
        }
        for (key, value) in source {
            self.entry(object, dynamic, prefix, key, value, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        object: &Object,
        dynamic: Dynamic,
        prefix: &str,
        key: &str,
        value: &Value,
        depth: usize,
    ) -> ApiResult<()> {
        let (head, rest) = match key.split_once('.') {
            Some((head, rest)) => (head, Some(rest)),
            None => (key, None),
        };
        if head.is_empty() || head.chars().any(|c| c < ' ') || depth > MAX_DEPTH {
            return Err(
                self.unreadable(format!("field name [{key}] is empty, too deep or has an empty or unprintable part"))
            );
        }
        let path = join(prefix, head);
        match (object.properties.get(head), rest) {
            (Some(Node::Object(inner)), _) if !inner.enabled => Ok(()),
            (Some(Node::Object(inner)), rest) => {
                let dynamic = inner.dynamic.unwrap_or(dynamic);
                match rest {
                    Some(rest) => self.entry(inner, dynamic, &path, rest, value, depth + 1),
                    None => self.object_value(inner, dynamic, &path, value, depth),
                }
            }
            (Some(Node::Field(field)), Some(rest)) if matches!(field.kind, FieldType::Flattened { .. }) => {
                self.flattened(field, &path, rest, value, depth)
            }
            (Some(Node::Field(field)), None) if matches!(field.kind, FieldType::Flattened { .. }) => self.flattened_root(field, &path, value),
            (Some(Node::Field(field)), None) => self.field_value(field, &path, value, depth),
            (Some(Node::Field(field)), Some(_)) => {
                Err(self.unreadable(format!("object mapping for [{path}] tried to parse field [{key}] as object, but found a concrete value of type [{}]", field.kind.name())))
            }
            (None, _) => self.unknown(dynamic, prefix, key, value),
        }
    }

    fn object_value(
        &mut self,
        object: &Object,
        dynamic: Dynamic,
        path: &str,
        value: &Value,
        depth: usize,
    ) -> ApiResult<()> {
        match value {
            Value::Null => Ok(()),
            Value::Object(map) => self.object(object, dynamic, path, map, depth + 1),
            Value::Array(values) => {
                values.iter().try_for_each(|value| self.object_value(object, dynamic, path, value, depth))
            }
            _ => Err(self.unreadable(format!(
                "object mapping for [{path}] tried to parse field [{path}] as object, but found a concrete value"
            ))),
        }
    }

    fn unknown(&mut self, dynamic: Dynamic, prefix: &str, key: &str, value: &Value) -> ApiResult<()> {
        match dynamic {
            Dynamic::False => Ok(()),
            Dynamic::Strict => {
                let head = key.split('.').next().unwrap_or(key);
                let parent = if prefix.is_empty() { "_doc" } else { prefix };
                Err(ApiError::new(
                    400,
                    "strict_dynamic_mapping_exception",
                    format!("mapping set to strict, dynamic introduction of [{head}] within [{parent}] is not allowed"),
                ))
            }
            Dynamic::True => {
                infer(&join(prefix, key), value, &mut self.out.introduced, 1);
                Ok(())
            }
        }
    }

    fn field_value(&mut self, field: &Field, path: &str, value: &Value, depth: usize) -> ApiResult<()> {
        match value {
            Value::Null => return Ok(()),
            Value::Array(values) if depth <= MAX_DEPTH => {
                return values.iter().try_for_each(|value| self.field_value(field, path, value, depth + 1));
            }
            _ => {}
        }
        self.scalar(field, path, value)?;
        for (name, inner) in &field.fields {
            self.scalar(inner, &join(path, name), value)?;
        }
        Ok(())
    }

    fn scalar(&mut self, field: &Field, path: &str, value: &Value) -> ApiResult<()> {
        let read = match read_scalar(&field.kind, value) {
            Ok(read) => read,
            Err(_) if field.ignore_malformed && !value.is_object() => {
                self.ignore(path);
                return Ok(());
            }
            Err(cause) => return Err(self.unparsable(field, path, value, cause)),
        };
        let Some(scalar) = read else { return Ok(()) };
        if let (FieldType::Keyword { ignore_above }, Scalar::Text(text)) = (&field.kind, &scalar) {
            if ignore_above.is_some_and(|limit| text.chars().count() > limit) {
                self.ignore(path);
                return Ok(());
            }
            if text.len() > MAX_TERM_BYTES && field.kept() {
                return Err(ApiError::new(
                    400,
                    "document_parsing_exception",
                    format!(
                        "Document contains at least one immense term in field=\"{path}\" (whose UTF8 encoding is longer than the max length {MAX_TERM_BYTES}), all of which were skipped."
                    ),
                ));
            }
        }
        if field.kept() {
            self.out.values.push((path.to_owned(), scalar));
        }
        Ok(())
    }

    fn ignore(&mut self, path: &str) {
        let value = (IGNORED.to_owned(), Scalar::Text(path.to_owned()));
        if !self.out.values.contains(&value) {
            self.out.values.push(value);
        }
    }

    fn flattened_root(&mut self, field: &Field, path: &str, value: &Value) -> ApiResult<()> {
        match value {
            Value::Null => Ok(()),
            Value::Object(map) => map.iter().try_for_each(|(key, value)| self.flattened(field, path, key, value, 1)),
            Value::Array(values) if values.iter().all(|value| value.is_object() || value.is_null()) => {
                values.iter().try_for_each(|value| self.flattened_root(field, path, value))
            }
            _ => Err(self.unparsable(field, path, value, "expected an object".to_owned())),
        }
    }

    fn flattened(&mut self, field: &Field, path: &str, key: &str, value: &Value, depth: usize) -> ApiResult<()> {
        if depth > MAX_DEPTH {
            return Err(self.unparsable(
                field,
                path,
                &Value::Null,
                format!("The provided [flattened] field [{path}] exceeds the maximum depth limit of [{MAX_DEPTH}]."),
            ));
        }
        match value {
            Value::Null => Ok(()),
            Value::Object(map) => {
                map.iter().try_for_each(|(name, value)| self.flattened(field, path, &join(key, name), value, depth + 1))
            }
            Value::Array(values) => {
                values.iter().try_for_each(|value| self.flattened(field, path, key, value, depth + 1))
            }
            scalar => {
                let text = plain_text(scalar);
                let limit = match field.kind {
                    FieldType::Flattened { ignore_above } => ignore_above,
                    _ => None,
                };
                if limit.is_some_and(|limit| text.chars().count() > limit) || !field.kept() {
                    return Ok(());
                }
                if key.contains('\0') || key.len() + text.len() >= MAX_TERM_BYTES {
                    return Err(self.unparsable(
                        field,
                        path,
                        scalar,
                        format!(
                            "key [{key}] holds a zero byte, or key and value are longer than {MAX_TERM_BYTES} bytes"
                        ),
                    ));
                }
                if self.out.values.len() > MAX_FLATTENED_LEAVES * 16 {
                    return Err(self.unparsable(field, path, scalar, "too many values in one document".to_owned()));
                }
                self.out.values.push((keyed_column(path), Scalar::Text(format!("{key}\0{text}"))));
                self.out.values.push((path.to_owned(), Scalar::Text(text)));
                Ok(())
            }
        }
    }

    fn unreadable(&self, reason: String) -> ApiError {
        ApiError::new(400, "document_parsing_exception", reason)
    }

    fn unparsable(&self, field: &Field, path: &str, value: &Value, cause: String) -> ApiError {
        let preview: String = plain_text(value).chars().take(64).collect();
        let reason = format!(
            "failed to parse field [{path}] of type [{}] in document with id '{}'. Preview of field's value: '{preview}'",
            field.kind.name(),
            self.id
        );
        self.unreadable(reason).caused_by(ApiError::illegal(cause))
    }
}

/// A JSON value as the text that a keyword field holds.
pub(crate) fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads one value of a field; `None` means that it counts as absent.
pub(crate) fn read_scalar(kind: &FieldType, value: &Value) -> Result<Option<Scalar>, String> {
    if value.is_object() || value.is_array() {
        return Err(format!("Can't get text on a {}", if value.is_object() { "START_OBJECT" } else { "START_ARRAY" }));
    }
    let scalar = match kind {
        FieldType::Keyword { .. } | FieldType::Text | FieldType::Flattened { .. } => Scalar::Text(plain_text(value)),
        FieldType::Ip => {
            let text = plain_text(value);
            let address = text.parse::<IpAddr>().map_err(|_| format!("'{text}' is not an IP string literal."))?;
            Scalar::Text(encode_ip(address))
        }
        FieldType::Date { formats } => Scalar::Integer(read_date(formats, value)?.into()),
        FieldType::Boolean => match value {
            Value::Bool(value) => Scalar::Integer((*value).into()),
            Value::String(text) if text == "true" => Scalar::Integer(1),
            Value::String(text) if text == "false" || text.is_empty() => Scalar::Integer(0),
            other => {
                return Err(format!(
                    "Failed to parse value [{}] as only [true] or [false] are allowed.",
                    plain_text(other)
                ));
            }
        },
        FieldType::Integer(range) => {
            let number = read_integer(value)?;
            if number < range.min || number > range.max {
                return Err(format!(
                    "Value [{}] is out of range for a{} {}",
                    plain_text(value),
                    if range.name == "integer" { "n" } else { "" },
                    range.name
                ));
            }
            Scalar::Integer(number)
        }
        FieldType::Double => Scalar::Float(read_float(value)?),
        FieldType::Float => Scalar::Float(read_float(value).map(numbers::through_f32)?),
        FieldType::Scaled { factor } => Scalar::Float((read_float(value)? * factor).round() / factor),
    };
    match scalar {
        Scalar::Float(number) if !number.is_finite() => Err(format!("[{}] supports only finite values", kind.name())),
        scalar => Ok(Some(scalar)),
    }
}

fn read_date(formats: &Formats, value: &Value) -> Result<i64, String> {
    let read = match value {
        Value::Number(number) => formats.read_number(number),
        Value::String(text) => formats.read(text).map(|moment| moment.millis),
        _ => None,
    };
    read.ok_or_else(|| {
        format!(
            "failed to parse date field [{}] with format [strict_date_optional_time||epoch_millis]",
            plain_text(value)
        )
    })
}

fn read_integer(value: &Value) -> Result<i128, String> {
    let from_text = |text: &str| {
        text.parse::<i128>()
            .ok()
            .or_else(|| text.parse::<f64>().ok().and_then(|number| numbers::f64_to_i128(number.trunc())))
    };
    let read = match value {
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().and_then(|number| numbers::f64_to_i128(number.trunc()))),
        Value::String(text) => from_text(text.trim()),
        _ => None,
    };
    read.ok_or_else(|| format!("For input string: \"{}\"", plain_text(value)))
}

fn read_float(value: &Value) -> Result<f64, String> {
    let read = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    read.ok_or_else(|| format!("For input string: \"{}\"", plain_text(value)))
}

/// The fields that dynamic mapping adds for a value, as Elasticsearch infers them.
fn infer(path: &str, value: &Value, introduced: &mut Vec<(String, Value)>, depth: usize) {
    if depth > MAX_DEPTH || introduced.iter().any(|(known, _)| known == path) {
        return;
    }
    let definition = match value {
        Value::Null => return,
        Value::Object(map) if map.is_empty() => json!({"type": "object"}),
        Value::Object(map) => {
            for (key, value) in map {
                infer(&join(path, key), value, introduced, depth + 1);
            }
            return;
        }
        Value::Array(values) => {
            for value in values {
                infer(path, value, introduced, depth + 1);
            }
            return;
        }
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(number) if number.is_f64() => json!({"type": "float"}),
        Value::Number(_) => json!({"type": "long"}),
        Value::String(text) if looks_like_date(text) => json!({"type": "date"}),
        Value::String(_) => json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}),
    };
    introduced.push((path.to_owned(), definition));
}

fn looks_like_date(text: &str) -> bool {
    text.len() >= 10 && Formats(vec![crate::dates::Format::Iso]).read(text).is_some()
}
