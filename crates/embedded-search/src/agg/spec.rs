//! Reading aggregations from JSON, and building their collectors.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::composite::{Composite, CompositeSpec};
use super::histogram::{Histogram, HistogramSpec};
use super::metrics::{Cardinality, Metric, MetricKind};
use super::percentiles::{Percentiles, PercentilesSpec};
use super::ranges::{Filters, FiltersSpec, MissingValue, Ranges, RangesSpec};
use super::terms::{Terms, TermsSpec};
use super::{Collector, Shared};
use crate::Limits;
use crate::error::{ApiError, ApiResult};

/// An aggregation as requested.
#[derive(Debug, Clone)]
pub(crate) struct AggSpec {
    kind: Kind,
    pub(super) subs: Vec<(String, AggSpec)>,
}

#[derive(Debug, Clone)]
enum Kind {
    Metric(MetricKind, String),
    Cardinality(String),
    Percentiles(PercentilesSpec),
    Terms(TermsSpec),
    Histogram(HistogramSpec),
    Ranges(RangesSpec),
    Filters(FiltersSpec),
    Missing(String),
    Composite(CompositeSpec),
}

/// Aggregations that Elasticsearch has and this server does not.
const UNSUPPORTED: [&str; 44] = [
    "extended_stats",
    "top_hits",
    "top_metrics",
    "global",
    "nested",
    "reverse_nested",
    "significant_terms",
    "rare_terms",
    "multi_terms",
    "auto_date_histogram",
    "variable_width_histogram",
    "ip_range",
    "ip_prefix",
    "sampler",
    "random_sampler",
    "geo_bounds",
    "geohash_grid",
    "percentile_ranks",
    "weighted_avg",
    "median_absolute_deviation",
    "scripted_metric",
    "bucket_sort",
    "bucket_script",
    "bucket_selector",
    "cumulative_sum",
    "derivative",
    "moving_fn",
    "sum_bucket",
    "avg_bucket",
    "max_bucket",
    "min_bucket",
    "stats_bucket",
    "serial_diff",
    "adjacency_matrix",
    "rate",
    "boxplot",
    "string_stats",
    "significant_text",
    "diversified_sampler",
    "children",
    "parent",
    "categorize_text",
    "frequent_item_sets",
    "time_series",
];

/// Reads the `aggs` of a search.
pub(crate) fn parse(json: &Value, limits: &Limits) -> ApiResult<Vec<(String, AggSpec)>> {
    level(json, limits, 0)
}

fn level(json: &Value, limits: &Limits, depth: usize) -> ApiResult<Vec<(String, AggSpec)>> {
    let Some(map) = json.as_object() else {
        return Err(ApiError::parsing("Unknown key for a value in [aggs]: an object is expected"));
    };
    if depth > limits.max_depth || map.len() > limits.max_clauses {
        return Err(ApiError::illegal(format!(
            "aggregations are deeper than [{}] or more than [{}]",
            limits.max_depth, limits.max_clauses
        )));
    }
    map.iter().map(|(name, body)| Ok((name.clone(), one(name, body, limits, depth)?))).collect()
}

fn one(name: &str, body: &Value, limits: &Limits, depth: usize) -> ApiResult<AggSpec> {
    if name.is_empty() || name.contains(['[', ']', '>']) {
        return Err(ApiError::parsing(format!(
            "Invalid aggregation name [{name}]. Aggregation names can contain any character except '[', ']', and '>'"
        )));
    }
    let Some(map) = body.as_object() else {
        return Err(ApiError::parsing(format!(
            "Aggregation definition for [{name} starts with a [VALUE], expected a [START_OBJECT]."
        )));
    };
    let mut kind = None;
    let mut subs = Vec::new();
    for (key, value) in map {
        match key.as_str() {
            "aggs" | "aggregations" => subs = level(value, limits, depth + 1)?,
            "meta" => return Err(ApiError::unsupported("[meta] of an aggregation")),
            other if kind.is_some() => {
                return Err(ApiError::parsing(format!(
                    "Found two aggregation type definitions in [{name}]: a first one and [{other}]"
                )));
            }
            other => kind = Some((other, read_kind(other, value, limits, depth)?)),
        }
    }
    let Some((type_name, kind)) = kind else {
        return Err(ApiError::parsing(format!("Missing definition for aggregation [{name}]")));
    };
    let is_metric = matches!(kind, Kind::Metric(..) | Kind::Cardinality(_) | Kind::Percentiles(_));
    if is_metric && !subs.is_empty() {
        return Err(ApiError::illegal(format!(
            "Aggregator [{name}] of type [{type_name}] cannot accept sub-aggregations"
        )));
    }
    Ok(AggSpec { kind, subs })
}

fn read_kind(name: &str, body: &Value, limits: &Limits, depth: usize) -> ApiResult<Kind> {
    let metric = |kind| -> ApiResult<Kind> {
        let options = Options::new(name, body)?;
        options.allow(&["field"])?;
        Ok(Kind::Metric(kind, options.field()?))
    };
    match name {
        "sum" => metric(MetricKind::Sum),
        "min" => metric(MetricKind::Min),
        "max" => metric(MetricKind::Max),
        "avg" => metric(MetricKind::Avg),
        "value_count" => metric(MetricKind::ValueCount),
        "stats" => metric(MetricKind::Stats),
        "cardinality" => {
            let options = Options::new(name, body)?;
            options.allow(&["field", "precision_threshold", "execution_hint", "rehash"])?;
            Ok(Kind::Cardinality(options.field()?))
        }
        "percentiles" => Ok(Kind::Percentiles(PercentilesSpec::parse(&Options::new(name, body)?)?)),
        "terms" => Ok(Kind::Terms(TermsSpec::parse(&Options::new(name, body)?)?)),
        "date_histogram" | "histogram" => Ok(Kind::Histogram(HistogramSpec::parse(&Options::new(name, body)?)?)),
        "range" | "date_range" => Ok(Kind::Ranges(RangesSpec::parse(&Options::new(name, body)?)?)),
        "filter" => Ok(Kind::Filters(FiltersSpec::single(body, limits)?)),
        "filters" => Ok(Kind::Filters(FiltersSpec::parse(&Options::new(name, body)?, limits)?)),
        "missing" => {
            let options = Options::new(name, body)?;
            options.allow(&["field"])?;
            Ok(Kind::Missing(options.field()?))
        }
        "composite" if depth > 0 => Err(ApiError::unsupported("a [composite] aggregation below another")),
        "composite" => Ok(Kind::Composite(CompositeSpec::parse(&Options::new(name, body)?)?)),
        known if UNSUPPORTED.contains(&known) => Err(ApiError::unsupported(format!("the [{known}] aggregation"))),
        other => {
            let cause = ApiError::new(400, "named_object_not_found_exception", format!("unknown field [{other}]"));
            Err(ApiError::parsing(format!("Unknown aggregation type [{other}]")).caused_by(cause))
        }
    }
}

/// The options of one aggregation.
pub(super) struct Options<'a> {
    pub(super) kind: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Options<'a> {
    pub(super) fn new(kind: &'a str, body: &'a Value) -> ApiResult<Self> {
        let map =
            body.as_object().ok_or_else(|| ApiError::parsing(format!("[{kind}] aggregation must be an object")))?;
        Ok(Self { kind, map })
    }

    /// Refuses options that are not named.
    pub(super) fn allow(&self, names: &[&str]) -> ApiResult<()> {
        let known = ["script", "missing", "include", "exclude", "keyed", "offset", "hard_bounds", "value_type"];
        match self.map.keys().find(|key| !names.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) if known.contains(&key.as_str()) => {
                Err(ApiError::unsupported(format!("[{key}] in a [{}] aggregation", self.kind)))
            }
            Some(key) => {
                Err(ApiError::new(400, "x_content_parse_exception", format!("[{}] unknown field [{key}]", self.kind)))
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The error for an option whose value cannot be read.
    pub(super) fn unreadable(&self, name: &str) -> ApiError {
        ApiError::new(400, "x_content_parse_exception", format!("[{}] failed to parse field [{name}]", self.kind))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn field(&self) -> ApiResult<String> {
        let field = self.text("field").filter(|field| !field.is_empty());
        field.map(str::to_owned).ok_or_else(|| {
            ApiError::illegal(format!(
                "Required one of fields [field, script], but none were specified ([{}])",
                self.kind
            ))
        })
    }

    pub(super) fn count(&self, name: &str, default: u64) -> ApiResult<u64> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_u64().or_else(|| value.as_str()?.parse().ok()).ok_or_else(|| {
                ApiError::illegal(format!(
                    "[{name}] must be greater than or equal to 0. Found [{value}] in [{}]",
                    self.kind
                ))
            }),
        }
    }
}

/// Builds the collector of an aggregation.
pub(super) fn build(name: &str, spec: &AggSpec, shared: &Rc<Shared>) -> ApiResult<Box<dyn Collector>> {
    Ok(match &spec.kind {
        Kind::Metric(kind, field) => Box::new(Metric::new(name, *kind, field, shared)),
        Kind::Cardinality(field) => Box::new(Cardinality::new(field, shared)),
        Kind::Percentiles(percentiles) => Box::new(Percentiles::new(name, percentiles.clone(), shared)),
        Kind::Terms(terms) => Box::new(Terms::new(terms.clone(), &spec.subs, shared)?),
        Kind::Histogram(histogram) => Box::new(Histogram::new(name, histogram.clone(), &spec.subs, shared)?),
        Kind::Ranges(ranges) => Box::new(Ranges::new(name, ranges.clone(), &spec.subs, shared)?),
        Kind::Filters(filters) => Box::new(Filters::new(filters.clone(), &spec.subs, shared)?),
        Kind::Missing(field) => Box::new(MissingValue::new(field, &spec.subs, shared)?),
        Kind::Composite(composite) => Box::new(Composite::new(composite.clone(), &spec.subs, shared)?),
    })
}
