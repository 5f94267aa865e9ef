//! The mapping of an index: which fields it has, of what type, and what to do with others.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::dates::Formats;
use crate::error::{ApiError, ApiResult};

/// The deepest nesting of objects in a mapping or a document, as `index.mapping.depth.limit`.
pub(crate) const MAX_DEPTH: usize = 20;

/// What to do with a field that the mapping does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    True,
    False,
    Strict,
}

/// Which integers a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntegerRange {
    pub(crate) name: &'static str,
    pub(crate) min: i128,
    pub(crate) max: i128,
}

/// How a field's values are read, compared and printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldType {
    Keyword { ignore_above: Option<usize> },
    Text,
    Ip,
    Date { formats: Formats },
    Integer(IntegerRange),
    Double,
    Float,
    Scaled { factor: f64 },
    Boolean,
    Flattened { ignore_above: Option<usize> },
}

impl FieldType {
    /// The type's name in a mapping.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Keyword { .. } => "keyword",
            Self::Text => "text",
            Self::Ip => "ip",
            Self::Date { .. } => "date",
            Self::Integer(range) => range.name,
            Self::Double => "double",
            Self::Float => "float",
            Self::Scaled { .. } => "scaled_float",
            Self::Boolean => "boolean",
            Self::Flattened { .. } => "flattened",
        }
    }

    /// Whether values are strings in the column (otherwise numbers).
    pub(crate) fn is_string(&self) -> bool {
        matches!(self, Self::Keyword { .. } | Self::Text | Self::Ip | Self::Flattened { .. })
    }

    /// Whether values are fractional numbers.
    pub(crate) fn is_float(&self) -> bool {
        matches!(self, Self::Double | Self::Float | Self::Scaled { .. })
    }
}

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) kind: FieldType,
    pub(crate) index: bool,
    pub(crate) doc_values: bool,
    pub(crate) ignore_malformed: bool,
    /// The parameters as they are shown, without sub-fields.
    pub(crate) shown: Map<String, Value>,
    pub(crate) fields: BTreeMap<String, Field>,
}

impl Field {
    /// Whether anything of the field is kept beside the source.
    pub(crate) fn kept(&self) -> bool {
        self.index || self.doc_values
    }
}

/// A field or an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Object(Object),
    Field(Field),
}

/// An object of fields; the whole mapping is one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) dynamic: Option<Dynamic>,
    pub(crate) enabled: bool,
    pub(crate) properties: BTreeMap<String, Node>,
}

impl Default for Object {
    fn default() -> Self {
        Self { dynamic: None, enabled: true, properties: BTreeMap::new() }
    }
}

/// The mapping of an index.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) root: Object,
    /// `_meta` and the like: kept and shown, without effect.
    pub(crate) extras: Map<String, Value>,
}

/// Where the values of a field are found.
#[derive(Debug, Clone)]
pub(crate) struct Resolved<'a> {
    pub(crate) field: &'a Field,
    pub(crate) column: String,
    /// The key below a flattened field.
    pub(crate) key: Option<String>,
}

/// The column of a flattened field that holds `key\0value`.
pub(crate) fn keyed_column(path: &str) -> String {
    format!("{path}\u{2}")
}

impl Mapping {
    /// The field at a dotted path, sub-fields and keys of flattened fields included.
    pub(crate) fn resolve(&self, path: &str) -> Option<Resolved<'_>> {
        let mut object = &self.root;
        let mut rest = path;
        loop {
            let (head, tail) = match rest.split_once('.') {
                Some((head, tail)) => (head, Some(tail)),
                None => (rest, None),
            };
            match (object.properties.get(head)?, tail) {
                (Node::Object(inner), Some(tail)) => {
                    object = inner;
                    rest = tail;
                }
                (Node::Object(_), None) => return None,
                (Node::Field(field), None) => return Some(Resolved { field, column: path.to_owned(), key: None }),
                (Node::Field(field), Some(tail)) => {
                    if matches!(field.kind, FieldType::Flattened { .. }) {
                        let root = path.strip_suffix(tail)?.strip_suffix('.')?;
                        return Some(Resolved { field, column: keyed_column(root), key: Some(tail.to_owned()) });
                    }
                    let field = field.fields.get(tail)?;
                    return Some(Resolved { field, column: path.to_owned(), key: None });
                }
            }
        }
    }

    /// Every field with its path, sub-fields not included.
    pub(crate) fn leaves(&self) -> Vec<(String, &Field)> {
        let mut leaves = Vec::new();
        collect_leaves(&self.root, "", &mut leaves);
        leaves
    }

    /// Reads a `mappings` object.
    pub(crate) fn parse(json: &Value) -> ApiResult<Self> {
        parse::mapping(json)
    }

    /// The mapping as `GET _mapping` shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.extras.clone();
        parse::show_object(&self.root, &mut json);
        Value::Object(json)
    }

    /// This mapping with the fields of `other` added; a changed type is refused.
    pub(crate) fn merged(&self, other: &Mapping, max_fields: usize) -> ApiResult<Self> {
        let mut merged = self.clone();
        merge_object(&mut merged.root, &other.root, "")?;
        for (key, value) in &other.extras {
            merged.extras.insert(key.clone(), value.clone());
        }
        merged.check_limits(max_fields)?;
        Ok(merged)
    }

    /// Refuses mappings with too many fields or too deep.
    pub(crate) fn check_limits(&self, max_fields: usize) -> ApiResult<()> {
        let count = count_nodes(&self.root, 1)?;
        if count > max_fields {
            return Err(ApiError::illegal(format!("Limit of total fields [{max_fields}] has been exceeded")));
        }
        Ok(())
    }

    /// Adds the field for a value that a document introduces.
    pub(crate) fn introduce(&mut self, path: &str, definition: &Value) -> ApiResult<()> {
        let mut wrapped = definition.clone();
        for name in path.rsplit('.') {
            let mut properties = Map::new();
            properties.insert(name.to_owned(), wrapped);
            wrapped = serde_json::json!({"properties": properties});
        }
        let addition = Self::parse(&wrapped)?;
        merge_object(&mut self.root, &addition.root, "")
    }
}

fn collect_leaves<'a>(object: &'a Object, prefix: &str, leaves: &mut Vec<(String, &'a Field)>) {
    for (name, node) in &object.properties {
        let path = join(prefix, name);
        match node {
            Node::Object(inner) => collect_leaves(inner, &path, leaves),
            Node::Field(field) => leaves.push((path, field)),
        }
    }
}

fn count_nodes(object: &Object, depth: usize) -> ApiResult<usize> {
    if depth > MAX_DEPTH {
        return Err(ApiError::illegal(format!("Limit of mapping depth [{MAX_DEPTH}] has been exceeded")));
    }
    let mut count = 0;
    for node in object.properties.values() {
        count += match node {
            Node::Object(inner) => 1 + count_nodes(inner, depth + 1)?,
            Node::Field(field) => 1 + field.fields.len(),
        };
    }
    Ok(count)
}

/// The dotted path of `name` below `prefix`.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn merge_object(target: &mut Object, other: &Object, prefix: &str) -> ApiResult<()> {
    if other.dynamic.is_some() {
        target.dynamic = other.dynamic;
    }
    if other.enabled != target.enabled && !other.properties.is_empty() && prefix.is_empty() {
        return Err(ApiError::illegal("the [enabled] parameter can't be updated"));
    }
    for (name, node) in &other.properties {
        let path = join(prefix, name);
        match (target.properties.get_mut(name), node) {
            (None, node) => {
                target.properties.insert(name.clone(), node.clone());
            }
            (Some(Node::Object(mine)), Node::Object(theirs)) => merge_object(mine, theirs, &path)?,
            (Some(Node::Field(mine)), Node::Field(theirs)) => merge_field(mine, theirs, &path)?,
            (Some(Node::Field(mine)), Node::Object(_)) => {
                return Err(ApiError::illegal(format!(
                    "can't merge a non object mapping [{path}] with an object mapping: it has type [{}]",
                    mine.kind.name()
                )));
            }
            (Some(Node::Object(_)), Node::Field(_)) => {
                return Err(ApiError::illegal(format!(
                    "can't merge a non object mapping [{path}] with an object mapping"
                )));
            }
        }
    }
    Ok(())
}

fn merge_field(mine: &mut Field, theirs: &Field, path: &str) -> ApiResult<()> {
    if mine.kind.name() != theirs.kind.name() {
        let (from, to) = (mine.kind.name(), theirs.kind.name());
        return Err(ApiError::illegal(format!("mapper [{path}] cannot be changed from type [{from}] to [{to}]")));
    }
    if mine.index != theirs.index || mine.doc_values != theirs.doc_values {
        let name = if mine.index == theirs.index { "doc_values" } else { "index" };
        return Err(ApiError::illegal(format!(
            "Mapper for [{path}] conflicts with existing mapper:\n\tCannot update parameter [{name}] from [{}] to [{}]",
            if name == "index" { mine.index } else { mine.doc_values },
            if name == "index" { theirs.index } else { theirs.doc_values },
        )));
    }
    for (name, field) in &theirs.fields {
        match mine.fields.get_mut(name) {
            Some(existing) => merge_field(existing, field, &join(path, name))?,
            None => {
                mine.fields.insert(name.clone(), field.clone());
            }
        }
    }
    mine.kind = theirs.kind.clone();
    mine.ignore_malformed = theirs.ignore_malformed;
    mine.shown = theirs.shown.clone();
    Ok(())
}
