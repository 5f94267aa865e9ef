//! A search as requested, in the body or in parameters.

use serde_json::Value;

use super::fetch::SourceFilter;
use super::query::{self, Query};
use super::sort::SortKey;
use crate::Limits;
use crate::agg::{self, AggSpec};
use crate::error::{ApiError, ApiResult};
use crate::http::Request;

/// How exactly hits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    Exact,
    UpTo(u64),
    Off,
}

/// A search.
#[derive(Debug, Clone)]
pub(crate) struct SearchRequest {
    pub(crate) query: Query,
    pub(crate) post_filter: Option<Query>,
    pub(crate) from: usize,
    pub(crate) size: usize,
    pub(crate) sort: Option<Vec<SortKey>>,
    pub(crate) search_after: Option<Vec<Value>>,
    pub(crate) counting: Counting,
    pub(crate) source: SourceFilter,
    pub(crate) aggs: Vec<(String, AggSpec)>,
    pub(crate) version: bool,
    pub(crate) seq_no: bool,
    pub(crate) track_scores: bool,
    /// The id of a point in time and for how long it is extended, in milliseconds.
    pub(crate) pit: Option<(String, Option<i64>)>,
}

/// Parameters of `_search`.
pub(crate) const PARAMS: [&str; 20] = [
    "q",
    "from",
    "size",
    "sort",
    "track_total_hits",
    "rest_total_hits_as_int",
    "typed_keys",
    "request_cache",
    "preference",
    "routing",
    "search_type",
    "timeout",
    "batched_reduce_size",
    "pre_filter_shard_size",
    "max_concurrent_shard_requests",
    "ccs_minimize_roundtrips",
    "allow_partial_search_results",
    "_source",
    "_source_includes",
    "_source_excludes",
];

fn non_negative(name: &str, value: &Value) -> ApiResult<usize> {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    match number {
        Some(number) => usize::try_from(number)
            .map_err(|_| ApiError::illegal(format!("[{name}] parameter cannot be negative, found [{number}]"))),
        None => Err(ApiError::parsing(format!("Failed to parse [{name}]: [{value}]"))),
    }
}

fn counting(value: &Value) -> ApiResult<Counting> {
    match value {
        Value::Bool(true) => Ok(Counting::Exact),
        Value::Bool(false) => Ok(Counting::Off),
        Value::String(text) if text == "true" || text.is_empty() => Ok(Counting::Exact),
        Value::String(text) if text == "false" => Ok(Counting::Off),
        other => {
            let number = other.as_i64().or_else(|| other.as_str().and_then(|text| text.parse().ok()));
            match number {
                Some(-1) => Ok(Counting::Exact),
                Some(number) => u64::try_from(number).map(Counting::UpTo).map_err(|_| {
                    ApiError::illegal(format!(
                        "[track_total_hits] parameter must be positive or equals to -1, got {number}"
                    ))
                }),
                None => Err(ApiError::parsing(format!("Failed to parse [track_total_hits]: [{other}]"))),
            }
        }
    }
}

impl SearchRequest {
    /// Reads a body.
    pub(crate) fn parse(body: &Value, limits: &Limits) -> ApiResult<Self> {
        let Some(map) = body.as_object() else {
            return Err(ApiError::parsing("Expected [START_OBJECT] but found something else"));
        };
        let mut request = Self {
            query: Query::All,
            post_filter: None,
            from: 0,
            size: 10,
            sort: None,
            search_after: None,
            counting: Counting::UpTo(10_000),
            source: SourceFilter::All,
            aggs: Vec::new(),
            version: false,
            seq_no: false,
            track_scores: false,
            pit: None,
        };
        for (key, value) in map {
            request.take(key, value, limits)?;
        }
        Ok(request)
    }

    fn take(&mut self, key: &str, value: &Value, limits: &Limits) -> ApiResult<()> {
        let flag = || value.as_bool().ok_or_else(|| ApiError::parsing(format!("[{key}] must be true or false")));
        match key {
            "query" => self.query = query::parse(value, limits)?,
            "post_filter" => self.post_filter = Some(query::parse(value, limits)?),
            "from" => self.from = non_negative(key, value)?,
            "size" => self.size = non_negative(key, value)?,
            "sort" => self.sort = Some(SortKey::parse(value)?),
            "search_after" => {
                let values = value
                    .as_array()
                    .ok_or_else(|| ApiError::parsing("Expected [VALUE_STRING] or [START_ARRAY] for [search_after]"))?;
                self.search_after = Some(values.clone());
            }
            "track_total_hits" => self.counting = counting(value)?,
            "_source" => self.source = SourceFilter::parse(value)?,
            "aggs" | "aggregations" => self.aggs = agg::parse(value, limits)?,
            "version" => self.version = flag()?,
            "seq_no_primary_term" => self.seq_no = flag()?,
            "track_scores" => self.track_scores = flag()?,
            "pit" => {
                let id = value["id"].as_str().ok_or_else(|| ApiError::illegal("Required [id]"))?;
                let keep_alive = value["keep_alive"].as_str().map(keep_alive).transpose()?;
                self.pit = Some((id.to_owned(), keep_alive));
            }
            // Without effect on what is found.
            "timeout" | "stats" => {}
            "explain" | "profile" if value == &Value::Bool(false) => {}
            "fields" | "docvalue_fields" | "stored_fields" | "script_fields" | "highlight" | "suggest" | "rescore"
            | "collapse" | "slice" | "runtime_mappings" | "knn" | "min_score" | "terminate_after" | "indices_boost"
            | "ext" | "retriever" | "rank" | "explain" | "profile" => {
                let empty = value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty);
                if !empty {
                    return Err(ApiError::unsupported(format!("[{key}] in a search")));
                }
            }
            other => return Err(ApiError::parsing(format!("unknown key for a START_OBJECT in [{other}]."))),
        }
        Ok(())
    }

    /// Takes what the address says over what the body says.
    pub(crate) fn take_params(&mut self, request: &Request, limits: &Limits) -> ApiResult<()> {
        for name in ["from", "size", "track_total_hits"] {
            if let Some(text) = request.text(name) {
                self.take(name, &Value::String(text.to_owned()), limits)?;
            }
        }
        if let Some(sort) = request.text("sort") {
            let keys = sort.split(',').map(|key| match key.split_once(':') {
                Some((field, order)) => serde_json::json!({field: order}),
                None => Value::String(key.to_owned()),
            });
            self.sort = Some(SortKey::parse(&keys.collect())?);
        }
        if request.text("q").is_some() {
            return Err(ApiError::unsupported("the [q] parameter (a query_string query)"));
        }
        if request.text("routing").is_some() {
            return Err(ApiError::unsupported("[routing]"));
        }
        if request.flag("typed_keys")?.unwrap_or(false) {
            return Err(ApiError::unsupported("[typed_keys]"));
        }
        if request.params.keys().any(|name| name.starts_with("_source")) {
            self.source = SourceFilter::from_params(request)?;
        }
        Ok(())
    }
}

/// Reads a `keep_alive` in milliseconds; a day at most, as Elasticsearch.
pub(crate) fn keep_alive(text: &str) -> ApiResult<i64> {
    const MOST_MS: i64 = 24 * 3_600_000;
    match crate::dates::read_duration(text) {
        Some(millis) if (0..=MOST_MS).contains(&millis) => Ok(millis),
        Some(_) => {
            Err(ApiError::illegal(format!("Keep alive for request ({text}) is too large. It must be less than (1d).")))
        }
        None => Err(ApiError::illegal(format!(
            "failed to parse setting [keep_alive] with value [{text}] as a time value: unit is missing or unrecognized"
        ))),
    }
}
