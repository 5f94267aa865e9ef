//! Label selectors (`metav1.LabelSelector`).

use crate::field::{At, Report, quoted};
use crate::model::{Operator, Requirement, Selector};

const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const KEY: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                   alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                   '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
                   'example.com/MyName')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                     start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
                     for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                      '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                      validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Reads a selector.
pub(super) fn selector(report: &mut Report, at: &At<'_>) -> Selector {
    let mut requirements = Vec::new();
    if at.fields(report, &["matchLabels", "matchExpressions"]).is_none() {
        return Selector::default();
    }
    if let Some(labels) = at.field("matchLabels") {
        match labels.value.as_object() {
            None => labels.wrong_type(report, "object"),
            Some(map) => {
                for (name, value) in map {
                    key(report, &labels.path, name);
                    let Some(text) = value.as_str() else {
                        At { value, path: format!("{}.{name}", labels.path) }.wrong_type(report, "string");
                        continue;
                    };
                    label_value(report, &labels.path, text);
                    let values = vec![text.to_owned()];
                    requirements.push(Requirement { key: name.clone(), operator: Operator::In, values });
                }
            }
        }
    }
    if let Some(expressions) = at.field("matchExpressions") {
        for expression in expressions.elements(report) {
            requirements.extend(requirement(report, &expression));
        }
    }
    requirements.sort_unstable();
    requirements.dedup();
    Selector { requirements }
}

fn requirement(report: &mut Report, at: &At<'_>) -> Option<Requirement> {
    at.fields(report, &["key", "operator", "values"])?;
    let name = match at.field("key") {
        Some(field) => field.text(report)?,
        None => "",
    };
    let operator = match at.field("operator") {
        Some(field) => field.text(report)?,
        None => "",
    };
    let values_path = format!("{}.values", at.path);
    let values = values(report, at)?;
    let operator = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            report.invalid(&format!("{}.operator", at.path), &quoted(other), "not a valid selector operator");
            return None;
        }
    };
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            report.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            report.error(&values_path, format!("Forbidden: {detail}"));
        }
        _ => {}
    }
    key(report, &format!("{}.key", at.path), name);
    Some(Requirement { key: name.to_owned(), operator, values })
}

/// The values, sorted, each once; paths are only made for what is wrong, because there may be very many.
fn values(report: &mut Report, at: &At<'_>) -> Option<Vec<String>> {
    let Some(field) = at.field("values") else { return Some(Vec::new()) };
    let Some(array) = field.value.as_array() else {
        field.wrong_type(report, "array");
        return None;
    };
    let mut values = Vec::with_capacity(array.len());
    for (index, value) in array.iter().enumerate() {
        let Some(text) = value.as_str() else {
            At { value, path: format!("{}[{index}]", field.path) }.wrong_type(report, "string");
            return None;
        };
        if !is_label_value(text) {
            label_value(report, &format!("{}[{index}]", field.path), text);
        }
        values.push(text.to_owned());
    }
    values.sort_unstable();
    values.dedup();
    Some(values)
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || (text.len() <= 63 && is_name(text))
}

fn label_value(report: &mut Report, path: &str, text: &str) {
    if text.len() > 63 {
        report.invalid(path, &quoted(text), "must be no more than 63 bytes");
    }
    if !(text.is_empty() || is_name(text)) {
        report.invalid(path, &quoted(text), VALUE);
    }
}

/// A label's key: a name of at most 63 characters, after an optional subdomain and a slash.
fn key(report: &mut Report, path: &str, text: &str) {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut fail = |detail: &str| report.invalid(path, &quoted(text), detail);
    if name.contains('/') {
        fail(KEY);
        return;
    }
    match prefix {
        Some("") => fail("prefix part must be non-empty"),
        Some(prefix) if prefix.len() > 253 => fail("prefix part must be no more than 253 characters"),
        Some(prefix) if !is_subdomain(prefix) => fail(PREFIX),
        _ => {}
    }
    if name.is_empty() {
        fail("name part must be non-empty");
    } else if name.len() > 63 {
        fail("name part must be no more than 63 bytes");
    }
    if !is_name(name) {
        fail(NAME);
    }
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|part| {
        let bytes = part.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    })
}
