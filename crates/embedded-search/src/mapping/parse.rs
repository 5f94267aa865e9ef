//! Reading and showing mappings.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Dynamic, Field, FieldType, IntegerRange, MAX_DEPTH, Mapping, Node, Object, join};
use crate::dates::Formats;
use crate::error::{ApiError, ApiResult};

fn refused(reason: impl Into<String>) -> ApiError {
    let reason = reason.into();
    ApiError::new(400, "mapper_parsing_exception", format!("Failed to parse mapping: {reason}"))
        .caused_by(ApiError::new(400, "mapper_parsing_exception", reason))
}

pub(super) fn mapping(json: &Value) -> ApiResult<Mapping> {
    let Some(map) = json.as_object() else {
        return Err(refused("mappings must be an object"));
    };
    // Old clients wrap the mapping in a type name.
    let map = match map.get("_doc").and_then(Value::as_object) {
        Some(inner) if map.len() == 1 => inner,
        _ => map,
    };
    let mut mapping = Mapping::default();
    for (key, value) in map {
        match key.as_str() {
            "dynamic" => mapping.root.dynamic = Some(dynamic(value)?),
            "properties" => mapping.root.properties = properties(value, "", 1)?,
            "_meta" => {
                mapping.extras.insert(key.clone(), value.clone());
            }
            "_source" => source(value)?,
            "date_detection" | "numeric_detection" | "_routing" | "_data_stream_timestamp" if is_off(value) => {}
            "dynamic_templates" if value.as_array().is_some_and(Vec::is_empty) => {}
            _ => {
                return Err(refused(format!("Root mapping definition has unsupported parameters:  [{key} : {value}]")));
            }
        }
    }
    Ok(mapping)
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Object(map) => map.values().all(|value| value == &Value::Bool(false)),
        _ => false,
    }
}

fn source(value: &Value) -> ApiResult<()> {
    let allowed = value.as_object().is_some_and(|map| {
        map.iter().all(|(key, value)| {
            (key == "enabled" && value != &Value::Bool(false)) || (key == "mode" && value == "stored")
        })
    });
    if allowed { Ok(()) } else { Err(ApiError::unsupported(format!("[_source] {value}"))) }
}

fn dynamic(value: &Value) -> ApiResult<Dynamic> {
    match value {
        Value::Bool(true) => Ok(Dynamic::True),
        Value::Bool(false) => Ok(Dynamic::False),
        Value::String(text) => match text.as_str() {
            "true" => Ok(Dynamic::True),
            "false" => Ok(Dynamic::False),
            "strict" => Ok(Dynamic::Strict),
            other => Err(refused(format!("dynamic [{other}] is not supported"))),
        },
        other => Err(refused(format!("dynamic [{other}] is not supported"))),
    }
}

fn boolean(name: &str, value: &Value) -> ApiResult<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => {
            Err(refused(format!("Failed to parse value [{other}] of [{name}] as only [true] or [false] are allowed.")))
        }
    }
}

fn properties(json: &Value, prefix: &str, depth: usize) -> ApiResult<BTreeMap<String, Node>> {
    let Some(map) = json.as_object() else {
        return Err(refused(format!("Expected map for property [properties] on field [{prefix}]")));
    };
    if depth > MAX_DEPTH {
        return Err(ApiError::illegal(format!("Limit of mapping depth [{MAX_DEPTH}] has been exceeded")));
    }
    let mut object = Object::default();
    for (name, definition) in map {
        if name.split('.').any(str::is_empty) || name.chars().any(|c| c < ' ') {
            return Err(refused(format!(
                "field name [{name}] is not allowed: it is empty or has an empty or unprintable part"
            )));
        }
        let node = node(definition, &join(prefix, name), depth)?;
        insert(&mut object, name, node, depth)?;
    }
    Ok(object.properties)
}

/// Puts a node at a name that may hold dots, which mean nested objects.
fn insert(object: &mut Object, name: &str, node: Node, depth: usize) -> ApiResult<()> {
    if depth > MAX_DEPTH {
        return Err(ApiError::illegal(format!("Limit of mapping depth [{MAX_DEPTH}] has been exceeded")));
    }
    let Some((head, tail)) = name.split_once('.') else {
        match (object.properties.get_mut(name), node) {
            (Some(Node::Object(existing)), Node::Object(new)) => super::merge_object(existing, &new, name)?,
            (_, node) => {
                object.properties.insert(name.to_owned(), node);
            }
        }
        return Ok(());
    };
    let entry = object.properties.entry(head.to_owned()).or_insert_with(|| Node::Object(Object::default()));
    match entry {
        Node::Object(inner) => insert(inner, tail, node, depth + 1),
        Node::Field(_) => Err(refused(format!("Tried to add subfield [{name}] to a field that is not an object"))),
    }
}

fn node(json: &Value, path: &str, depth: usize) -> ApiResult<Node> {
    let Some(map) = json.as_object() else {
        return Err(refused(format!("Expected map for property [fields] on field [{path}] but got a {json}")));
    };
    let kind = map.get("type").and_then(Value::as_str);
    if kind == Some("object") || (kind.is_none() && !map.contains_key("type")) {
        if kind.is_none()
            && !map.contains_key("properties")
            && !map.contains_key("enabled")
            && !map.contains_key("dynamic")
            && !map.is_empty()
        {
            return Err(refused(format!("No type specified for field [{path}]")));
        }
        return object(map, path, depth).map(Node::Object);
    }
    field(map, path, true).map(Node::Field)
}

fn object(map: &Map<String, Value>, path: &str, depth: usize) -> ApiResult<Object> {
    let mut object = Object::default();
    for (key, value) in map {
        match key.as_str() {
            "type" => {}
            "dynamic" => object.dynamic = Some(dynamic(value)?),
            "enabled" => object.enabled = boolean("enabled", value)?,
            "properties" => object.properties = properties(value, path, depth + 1)?,
            _ => {
                return Err(refused(format!(
                    "Mapping definition for [{path}] has unsupported parameters:  [{key} : {value}]"
                )));
            }
        }
    }
    Ok(object)
}

const LONG: IntegerRange = IntegerRange { name: "long", min: i64::MIN as i128, max: i64::MAX as i128 };
const INTEGER: IntegerRange = IntegerRange { name: "integer", min: i32::MIN as i128, max: i32::MAX as i128 };
const SHORT: IntegerRange = IntegerRange { name: "short", min: i16::MIN as i128, max: i16::MAX as i128 };
const BYTE: IntegerRange = IntegerRange { name: "byte", min: i8::MIN as i128, max: i8::MAX as i128 };
const UNSIGNED_LONG: IntegerRange = IntegerRange { name: "unsigned_long", min: 0, max: u64::MAX as i128 };

fn field_type(map: &Map<String, Value>, path: &str) -> ApiResult<FieldType> {
    let name = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let ignore_above = match map.get("ignore_above") {
        None => None,
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            Some(number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| {
                refused(format!("[ignore_above] must be a positive number, got [{value}] on field [{path}]"))
            })?)
        }
    };
    Ok(match name {
        "keyword" => FieldType::Keyword { ignore_above },
        "text" | "match_only_text" => FieldType::Text,
        "ip" => FieldType::Ip,
        "date" => FieldType::Date { formats: formats(map, path)? },
        "long" => FieldType::Integer(LONG),
        "integer" => FieldType::Integer(INTEGER),
        "short" => FieldType::Integer(SHORT),
        "byte" => FieldType::Integer(BYTE),
        "unsigned_long" => FieldType::Integer(UNSIGNED_LONG),
        "double" => FieldType::Double,
        "float" => FieldType::Float,
        "scaled_float" => FieldType::Scaled { factor: scaling_factor(map, path)? },
        "boolean" => FieldType::Boolean,
        "flattened" => FieldType::Flattened { ignore_above },
        other => return Err(refused(format!("No handler for type [{other}] declared on field [{path}]"))),
    })
}

fn formats(map: &Map<String, Value>, path: &str) -> ApiResult<Formats> {
    match map.get("format") {
        None => Ok(Formats::default()),
        Some(value) => value.as_str().and_then(Formats::parse).ok_or_else(|| {
            refused(format!("Invalid format: [{value}] on field [{path}]: this server knows strict_date_optional_time, epoch_millis, epoch_second and yyyy-MM-dd"))
        }),
    }
}

fn scaling_factor(map: &Map<String, Value>, path: &str) -> ApiResult<f64> {
    map.get("scaling_factor")
        .and_then(Value::as_f64)
        .filter(|factor| *factor > 0.0)
        .ok_or_else(|| refused(format!("Field [{path}] misses required parameter [scaling_factor]")))
}

fn field(map: &Map<String, Value>, path: &str, with_fields: bool) -> ApiResult<Field> {
    let kind = field_type(map, path)?;
    let mut field = Field {
        index: true,
        doc_values: kind != FieldType::Text,
        ignore_malformed: false,
        shown: Map::new(),
        fields: BTreeMap::new(),
        kind,
    };
    for (key, value) in map {
        let is_default = match key.as_str() {
            "index" => {
                field.index = boolean(key, value)?;
                field.index
            }
            "doc_values" => {
                field.doc_values = boolean(key, value)?;
                field.doc_values
            }
            "ignore_malformed" => {
                field.ignore_malformed = boolean(key, value)?;
                !field.ignore_malformed
            }
            "fields" if with_fields => {
                for (name, definition) in value.as_object().into_iter().flatten() {
                    let inner = definition
                        .as_object()
                        .ok_or_else(|| refused(format!("Expected map for field [{path}.{name}]")))?;
                    field.fields.insert(name.clone(), self::field(inner, &join(path, name), false)?);
                }
                true
            }
            // Without effect on what is found.
            "type"
            | "ignore_above"
            | "format"
            | "scaling_factor"
            | "meta"
            | "norms"
            | "index_options"
            | "eager_global_ordinals"
            | "time_series_dimension"
            | "time_series_metric"
            | "store" => false,
            "depth_limit" if matches!(field.kind, FieldType::Flattened { .. }) => false,
            _ => {
                return Err(refused(format!(
                    "unknown parameter [{key}] on mapper [{path}] of type [{}]",
                    field.kind.name()
                )));
            }
        };
        if !is_default {
            field.shown.insert(key.clone(), value.clone());
        }
    }
    Ok(field)
}

fn show_field(field: &Field) -> Value {
    let mut json = field.shown.clone();
    if !field.fields.is_empty() {
        let fields: Map<String, Value> =
            field.fields.iter().map(|(name, field)| (name.clone(), show_field(field))).collect();
        json.insert("fields".into(), Value::Object(fields));
    }
    Value::Object(json)
}

pub(super) fn show_object(object: &Object, json: &mut Map<String, Value>) {
    if let Some(dynamic) = object.dynamic {
        let text = match dynamic {
            Dynamic::True => "true",
            Dynamic::False => "false",
            Dynamic::Strict => "strict",
        };
        json.insert("dynamic".into(), text.into());
    }
    if !object.enabled {
        json.insert("enabled".into(), false.into());
    }
    if object.properties.is_empty() {
        return;
    }
    let mut properties = Map::new();
    for (name, node) in &object.properties {
        let shown = match node {
            Node::Field(field) => show_field(field),
            Node::Object(inner) => {
                let mut shown = Map::new();
                if inner.properties.is_empty() {
                    shown.insert("type".into(), "object".into());
                }
                show_object(inner, &mut shown);
                Value::Object(shown)
            }
        };
        properties.insert(name.clone(), shown);
    }
    json.insert("properties".into(), Value::Object(properties));
}
