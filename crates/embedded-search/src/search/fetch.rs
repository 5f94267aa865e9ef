//! Loading hits and printing them.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, ApiResult};
use crate::http::Request;
use crate::mapping::join;
use crate::node::glob_matches;

/// Which parts of the source are returned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SourceFilter {
    All,
    None,
    Some { includes: Vec<String>, excludes: Vec<String> },
}

fn patterns(value: Option<&Value>) -> ApiResult<Vec<String>> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(values)) if values.iter().all(Value::is_string) => {
            Ok(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some(other) => {
            Err(ApiError::parsing(format!("Expected a string or an array of strings in [_source] but got [{other}]")))
        }
    }
}

impl SourceFilter {
    /// Reads the `_source` of a search.
    pub(crate) fn parse(json: &Value) -> ApiResult<Self> {
        match json {
            Value::Bool(true) => Ok(Self::All),
            Value::Bool(false) => Ok(Self::None),
            Value::Object(map) => {
                if let Some(key) =
                    map.keys().find(|key| !["includes", "include", "excludes", "exclude"].contains(&key.as_str()))
                {
                    return Err(ApiError::parsing(format!("Unknown key for a VALUE_STRING in [{key}].")));
                }
                let includes = patterns(map.get("includes").or_else(|| map.get("include")))?;
                let excludes = patterns(map.get("excludes").or_else(|| map.get("exclude")))?;
                Ok(Self::new(includes, excludes))
            }
            other => Ok(Self::new(patterns(Some(other))?, Vec::new())),
        }
    }

    fn new(includes: Vec<String>, excludes: Vec<String>) -> Self {
        if includes.is_empty() && excludes.is_empty() { Self::All } else { Self::Some { includes, excludes } }
    }

    /// Reads `_source`, `_source_includes` and `_source_excludes` of an address.
    pub(crate) fn from_params(request: &Request) -> ApiResult<Self> {
        let list = |name: &str| -> Vec<String> {
            request.text(name).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
        };
        match request.text("_source") {
            Some("false") => Ok(Self::None),
            None | Some("true" | "") => Ok(Self::new(list("_source_includes"), list("_source_excludes"))),
            Some(_) => Ok(Self::new(list("_source"), list("_source_excludes"))),
        }
    }

    /// The source as it is returned; `None` when it is not.
    pub(crate) fn apply(&self, source: &[u8]) -> ApiResult<Option<Box<RawValue>>> {
        match self {
            Self::None => Ok(None),
            Self::All => serde_json::from_slice(source).map(Some).map_err(ApiError::internal),
            Self::Some { includes, excludes } => {
                let parsed: Map<String, Value> = serde_json::from_slice(source).map_err(ApiError::internal)?;
                let kept = filter_object(parsed, "", includes, excludes, includes.is_empty());
                serde_json::value::to_raw_value(&kept).map(Some).map_err(ApiError::internal)
            }
        }
    }
}

/// Whether a pattern matches a path or what it is below; a name may itself hold dots.
fn matches_any(patterns: &[String], path: &str) -> bool {
    let above = path.match_indices('.').map(|(at, _)| &path[..at]);
    above.chain([path]).any(|path| patterns.iter().any(|pattern| glob_matches(pattern, path)))
}

/// Whether a pattern may match something below `path`.
fn leads_below(patterns: &[String], path: &str) -> bool {
    patterns.iter().any(|pattern| {
        let prefix = format!("{path}.");
        pattern.starts_with(&prefix) || pattern.find('*').is_some_and(|star| prefix.starts_with(&pattern[..star]))
    })
}

fn filter_object(
    map: Map<String, Value>,
    prefix: &str,
    includes: &[String],
    excludes: &[String],
    included: bool,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, value) in map {
        let path = join(prefix, &key);
        if matches_any(excludes, &path) {
            continue;
        }
        let included = included || matches_any(includes, &path);
        if !included && !leads_below(includes, &path) {
            continue;
        }
        if let Some(value) = filter_value(value, &path, includes, excludes, included) {
            kept.insert(key, value);
        }
    }
    kept
}

fn filter_value(value: Value, path: &str, includes: &[String], excludes: &[String], included: bool) -> Option<Value> {
    match value {
        Value::Object(map) => {
            // An object that was empty stays; one that is emptied by an inclusion goes.
            let stays = included && (map.is_empty() || includes.is_empty());
            let kept = filter_object(map, path, includes, excludes, included);
            (stays || !kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(values) => {
            let kept: Vec<Value> = values
                .into_iter()
                .filter_map(|value| filter_value(value, path, includes, excludes, included))
                .collect();
            (included || !kept.is_empty()).then_some(Value::Array(kept))
        }
        scalar => included.then_some(scalar),
    }
}

/// What a hit shows beside its source.
#[derive(Debug, Default)]
pub(crate) struct HitParts<'a> {
    pub(crate) index: &'a str,
    pub(crate) id: &'a str,
    pub(crate) version: Option<u64>,
    pub(crate) seq_no: Option<u64>,
    pub(crate) score: Option<f64>,
    pub(crate) ignored: Vec<String>,
    pub(crate) source: Option<Box<RawValue>>,
    pub(crate) sort: Option<Vec<Value>>,
}

/// Prints a score, which is a 32-bit float to Elasticsearch.
pub(crate) fn print_score(score: Option<f64>) -> String {
    score
        .and_then(|score| serde_json::to_string(&crate::numbers::narrow(score)).ok())
        .unwrap_or_else(|| "null".to_owned())
}

/// Prints a hit; the source stays as it was stored.
pub(crate) fn print_hit(hit: &HitParts<'_>) -> String {
    let mut out = format!("{{\"_index\":{},\"_id\":{}", json!(hit.index), json!(hit.id));
    // Writing to a String cannot end in an error.
    if let Some(version) = hit.version {
        let _ = write!(out, ",\"_version\":{version}");
    }
    if let Some(seq_no) = hit.seq_no {
        let _ = write!(out, ",\"_seq_no\":{seq_no},\"_primary_term\":1");
    }
    let _ = write!(out, ",\"_score\":{}", print_score(hit.score));
    if !hit.ignored.is_empty() {
        let _ = write!(out, ",\"_ignored\":{}", json!(hit.ignored));
    }
    if let Some(source) = &hit.source {
        let _ = write!(out, ",\"_source\":{}", source.get());
    }
    if let Some(sort) = &hit.sort {
        let _ = write!(out, ",\"sort\":{}", json!(sort));
    }
    out.push('}');
    out
}
