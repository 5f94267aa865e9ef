//! `filter_path`: answering only with the parts that were asked for.

use serde_json::{Map, Value};

use super::{Payload, Reply};
use crate::error::{ApiError, ApiResult};
use crate::node::glob_matches;

/// Keeps the parts of a JSON answer that `filter` names.
pub(super) fn apply(reply: Reply, filter: &str) -> ApiResult<Reply> {
    let json = match reply.payload {
        Payload::Json(json) => json,
        Payload::Raw(text) => serde_json::from_str(&text).map_err(ApiError::internal)?,
        payload => return Ok(Reply { status: reply.status, payload }),
    };
    let patterns: Vec<Vec<&str>> =
        filter.split(',').filter(|part| !part.starts_with('-')).map(|part| part.split('.').collect()).collect();
    if patterns.is_empty() || filter.split(',').any(|part| part.starts_with('-')) {
        return Err(ApiError::unsupported("an excluding filter_path"));
    }
    let borrowed: Vec<&[&str]> = patterns.iter().map(Vec::as_slice).collect();
    let kept = keep(json, &borrowed).unwrap_or_else(|| Value::Object(Map::new()));
    Ok(Reply::json(reply.status, kept))
}

fn keep(value: Value, patterns: &[&[&str]]) -> Option<Value> {
    if patterns.iter().any(|pattern| pattern.is_empty() || *pattern == ["**"]) {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let mut below: Vec<&[&str]> = Vec::new();
                for pattern in patterns {
                    step(pattern, &key, &mut below);
                }
                if let (false, Some(value)) = (below.is_empty(), keep(value, &below)) {
                    kept.insert(key, value);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(values) => {
            let kept: Vec<Value> = values.into_iter().filter_map(|value| keep(value, patterns)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

/// What remains of a pattern below `key`.
fn step<'a>(pattern: &'a [&'a str], key: &str, below: &mut Vec<&'a [&'a str]>) {
    let Some((head, tail)) = pattern.split_first() else { return };
    if *head == "**" {
        below.push(pattern);
        step(tail, key, below);
    } else if glob_matches(head, key) {
        below.push(tail);
    }
}
