//! Reading JSON by field paths, with errors in the words of the API server.
//!
//! Messages follow `k8s.io/apimachinery/pkg/util/validation/field` for Kubernetes' own kinds, and the structural schema of
//! `apiextensions.k8s.io` for those that a CRD defines.

use serde_json::{Map, Value};
use std::fmt;

/// The most errors that are reported of one object.
const ERRORS: usize = 50;
/// The longest value that is repeated in an error, bytes.
const VALUE_BYTES: usize = 200;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldError {
    /// Path of the field, e.g. `spec.ingress[0].ports[1].endPort`.
    pub path: String,
    /// What is wrong, e.g. ``Invalid value: 79: must be greater than or equal to `port` ``.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What was found while reading an object.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) errors: Vec<FieldError>,
    pub(crate) remarks: Remarks,
}

/// What there is to say of a policy that is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Paths of fields that the kind does not have, which the API server drops.
    pub unknown: Vec<String>,
    /// What older API servers take and newer ones refuse, Kubernetes 1.37 for one, in the words of the latter.
    pub newer: Vec<FieldError>,
}

impl Report {
    pub(crate) fn error(&mut self, path: &str, message: String) {
        if self.errors.len() < ERRORS {
            self.errors.push(FieldError { path: path.to_owned(), message });
        }
    }

    pub(crate) fn invalid(&mut self, path: &str, value: &dyn fmt::Display, detail: &str) {
        self.error(path, format!("Invalid value: {value}: {detail}"));
    }

    /// What only a newer API server refuses.
    pub(crate) fn newer(&mut self, path: &str, value: &dyn fmt::Display, detail: &str) {
        if self.remarks.newer.len() < ERRORS {
            let message = format!("Invalid value: {value}: {detail}");
            self.remarks.newer.push(FieldError { path: path.to_owned(), message });
        }
    }

    pub(crate) fn required(&mut self, path: &str, detail: &str) {
        self.error(
            path,
            if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") },
        );
    }

    pub(crate) fn unsupported(&mut self, path: &str, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        self.error(path, format!("Unsupported value: {}: supported values: {}", quoted(value), supported.join(", ")));
    }
}

/// A text as errors repeat it: quoted, and cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    if text.len() <= VALUE_BYTES {
        return format!("{text:?}");
    }
    let end = (0..=VALUE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{:?}...", text.get(..end).unwrap_or_default())
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: String,
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl<'a> At<'a> {
    pub(crate) fn new(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.to_owned() }
    }

    pub(crate) fn wrong_type(&self, report: &mut Report, wanted: &str) {
        let found = type_name(self.value);
        let detail = format!("{} in body must be of type {wanted}: {found:?}", self.path);
        report.invalid(&self.path, &format!("{found:?}"), &detail);
    }

    /// The object here, whose fields can only be those that are known.
    pub(crate) fn fields(&self, report: &mut Report, known: &[&str]) -> Option<&'a Map<String, Value>> {
        let Value::Object(map) = self.value else {
            self.wrong_type(report, "object");
            return None;
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            if report.remarks.unknown.len() < ERRORS {
                report.remarks.unknown.push(format!("{}.{name}", self.path));
            }
        }
        Some(map)
    }

    /// A field of the object here; what is null is absent.
    pub(crate) fn field(&self, name: &str) -> Option<At<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(At { value, path: format!("{}.{name}", self.path) })
    }

    /// The elements of the array here.
    pub(crate) fn elements(&self, report: &mut Report) -> Vec<At<'a>> {
        let Value::Array(values) = self.value else {
            self.wrong_type(report, "array");
            return Vec::new();
        };
        values.iter().enumerate().map(|(at, value)| At { value, path: format!("{}[{at}]", self.path) }).collect()
    }

    pub(crate) fn text(&self, report: &mut Report) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type(report, "string");
        }
        text
    }

    pub(crate) fn integer(&self, report: &mut Report) -> Option<i64> {
        let number = self.value.as_i64();
        if number.is_none() {
            self.wrong_type(report, "integer");
        }
        number
    }
}
