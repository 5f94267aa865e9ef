//! The query language, as far as it is supported, read from JSON.

use serde_json::{Map, Value};

use crate::Limits;
use crate::error::{ApiError, ApiResult};

/// One side or both of a range.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RangeQuery {
    pub(crate) field: String,
    /// The bound and whether it is included.
    pub(crate) lower: Option<(Value, bool)>,
    pub(crate) upper: Option<(Value, bool)>,
    pub(crate) format: Option<String>,
    pub(crate) time_zone: Option<String>,
}

/// How the words of a `match` come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Any,
    All,
    Phrase,
}

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Query {
    All,
    Nothing,
    Bool { must: Vec<Query>, filter: Vec<Query>, should: Vec<Query>, must_not: Vec<Query>, minimum: Option<Value> },
    Constant(Box<Query>),
    Term { field: String, value: Value, case_insensitive: bool },
    Terms { field: String, values: Vec<Value> },
    Range(RangeQuery),
    Exists(String),
    Prefix { field: String, text: String, case_insensitive: bool },
    Wildcard { field: String, pattern: String, case_insensitive: bool },
    Ids(Vec<String>),
    Match { field: String, value: Value, words: Words },
    Boost(Box<Query>, f64),
}

/// Queries that Elasticsearch has and this server does not.
const UNSUPPORTED: [&str; 31] = [
    "query_string",
    "simple_query_string",
    "script",
    "script_score",
    "function_score",
    "nested",
    "fuzzy",
    "regexp",
    "multi_match",
    "dis_max",
    "boosting",
    "terms_set",
    "wrapper",
    "more_like_this",
    "percolate",
    "knn",
    "geo_distance",
    "geo_bounding_box",
    "geo_shape",
    "has_child",
    "has_parent",
    "parent_id",
    "match_phrase_prefix",
    "match_bool_prefix",
    "combined_fields",
    "distance_feature",
    "intervals",
    "rank_feature",
    "pinned",
    "semantic",
    "sparse_vector",
];

/// Reads a query.
pub(crate) fn parse(json: &Value, limits: &Limits) -> ApiResult<Query> {
    let mut parser = Parser { limits, clauses: 0 };
    parser.query(json, 0)
}

struct Parser<'a> {
    limits: &'a Limits,
    clauses: usize,
}

impl Parser<'_> {
    fn query(&mut self, json: &Value, depth: usize) -> ApiResult<Query> {
        if depth > self.limits.max_depth {
            return Err(ApiError::illegal(format!(
                "The nested depth of the query exceeds the maximum nested depth for queries set in [indices.query.bool.max_nested_depth] [{}]",
                self.limits.max_depth
            )));
        }
        self.clauses += 1;
        if self.clauses > self.limits.max_clauses {
            return Err(ApiError::new(
                400,
                "too_many_nested_clauses",
                format!("Query contains too many nested clauses; maxClauseCount is set to {}", self.limits.max_clauses),
            ));
        }
        let Some(map) = json.as_object() else {
            return Err(ApiError::parsing("[_na] query malformed, must start with start_object"));
        };
        let mut entries = map.iter();
        let Some((kind, body)) = entries.next() else {
            return Err(ApiError::illegal("query malformed, empty clause found"));
        };
        if let Some((second, _)) = entries.next() {
            return Err(ApiError::parsing(format!(
                "[{kind}] malformed query, expected [END_OBJECT] but found [FIELD_NAME] [{second}]"
            )));
        }
        self.clause(kind, body, depth)
    }

    fn clause(&mut self, kind: &str, body: &Value, depth: usize) -> ApiResult<Query> {
        let Some(map) = body.as_object() else {
            return Err(ApiError::parsing(format!("[{kind}] query malformed, no start_object after query name")));
        };
        let (query, boost) = match kind {
            "match_all" => (Query::All, known(kind, map, &[])?),
            "match_none" => (Query::Nothing, known(kind, map, &[])?),
            "bool" => return self.bool_query(map, depth),
            "constant_score" => {
                let boost = known(kind, map, &["filter"])?;
                let inner = map
                    .get("filter")
                    .ok_or_else(|| ApiError::parsing("[constant_score] requires a 'filter' element"))?;
                (Query::Constant(Box::new(self.query(inner, depth + 1)?)), boost)
            }
            "term" => return term(map),
            "terms" => return self.terms(map),
            "range" => return range(map),
            "exists" => {
                let boost = known(kind, map, &["field"])?;
                let field = map.get("field").and_then(Value::as_str).filter(|field| !field.is_empty());
                (
                    Query::Exists(field.ok_or_else(|| ApiError::illegal("field name is null or empty"))?.to_owned()),
                    boost,
                )
            }
            "prefix" => {
                return text_query(kind, map, |field, text, case_insensitive| Query::Prefix {
                    field,
                    text,
                    case_insensitive,
                });
            }
            "wildcard" => {
                return text_query(kind, map, |field, pattern, case_insensitive| Query::Wildcard {
                    field,
                    pattern,
                    case_insensitive,
                });
            }
            "ids" => {
                let boost = known(kind, map, &["values"])?;
                let values = map
                    .get("values")
                    .and_then(Value::as_array)
                    .ok_or_else(|| ApiError::parsing("[ids] requires providing a values element"))?;
                (Query::Ids(values.iter().map(crate::document::plain_text).collect()), boost)
            }
            "match" => return match_query(kind, map, Words::Any),
            "match_phrase" => return match_query(kind, map, Words::Phrase),
            known if UNSUPPORTED.contains(&known) => return Err(ApiError::unsupported(format!("the [{known}] query"))),
            other => {
                let cause = ApiError::new(400, "named_object_not_found_exception", format!("unknown field [{other}]"));
                return Err(ApiError::parsing(format!("unknown query [{other}]")).caused_by(cause));
            }
        };
        Ok(boosted(query, boost))
    }

    fn bool_query(&mut self, map: &Map<String, Value>, depth: usize) -> ApiResult<Query> {
        let (mut must, mut filter, mut should, mut must_not) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut minimum, mut boost) = (None, 1.0);
        for (key, value) in map {
            let target = match key.as_str() {
                "must" => &mut must,
                "filter" => &mut filter,
                "should" => &mut should,
                "must_not" | "mustNot" => &mut must_not,
                "minimum_should_match" => {
                    minimum = Some(value.clone());
                    continue;
                }
                "boost" => {
                    boost = value.as_f64().unwrap_or(1.0);
                    continue;
                }
                "_name" => return Err(ApiError::unsupported("a named query [_name]")),
                other => {
                    return Err(ApiError::new(
                        400,
                        "x_content_parse_exception",
                        format!("[bool] unknown field [{other}]"),
                    ));
                }
            };
            match value {
                Value::Array(clauses) => {
                    for clause in clauses {
                        target.push(self.query(clause, depth + 1)?);
                    }
                }
                clause => target.push(self.query(clause, depth + 1)?),
            }
        }
        Ok(boosted(Query::Bool { must, filter, should, must_not, minimum }, boost))
    }

    fn terms(&mut self, map: &Map<String, Value>) -> ApiResult<Query> {
        let boost = map.get("boost").and_then(Value::as_f64).unwrap_or(1.0);
        let mut fields = map.iter().filter(|(key, _)| *key != "boost");
        let (Some((field, values)), None) = (fields.next(), fields.next()) else {
            return Err(ApiError::parsing(
                "[terms] query requires a field name, followed by array of terms or a document lookup specification",
            ));
        };
        let values = match values {
            Value::Array(values) => values.clone(),
            Value::Object(_) => return Err(ApiError::unsupported("a terms lookup")),
            _ => return Err(ApiError::parsing("[terms] query does not support a single value")),
        };
        if values.len() > self.limits.max_terms {
            return Err(ApiError::illegal(format!(
                "The number of terms [{}] used in the Terms Query request has exceeded the allowed maximum of [{}]. This maximum can be set by changing the [index.max_terms_count] index level setting.",
                values.len(),
                self.limits.max_terms
            )));
        }
        if values.iter().any(|value| value.is_object() || value.is_array() || value.is_null()) {
            return Err(ApiError::parsing("No value specified for terms query"));
        }
        Ok(boosted(Query::Terms { field: field.clone(), values }, boost))
    }
}

fn boosted(query: Query, boost: f64) -> Query {
    if (boost - 1.0).abs() < f64::EPSILON { query } else { Query::Boost(Box::new(query), boost) }
}

/// Refuses keys that a clause does not have; gives its boost.
fn known(kind: &str, map: &Map<String, Value>, keys: &[&str]) -> ApiResult<f64> {
    for key in map.keys() {
        match key.as_str() {
            "boost" => {}
            "_name" => return Err(ApiError::unsupported("a named query [_name]")),
            key if keys.contains(&key) => {}
            other => return Err(ApiError::parsing(format!("[{kind}] query does not support [{other}]"))),
        }
    }
    Ok(map.get("boost").and_then(Value::as_f64).unwrap_or(1.0))
}

/// The one field of a clause and what is said about it.
fn single_field<'a>(kind: &str, map: &'a Map<String, Value>) -> ApiResult<(&'a String, &'a Value)> {
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry),
        (Some((first, _)), Some((second, _))) => Err(ApiError::parsing(format!(
            "[{kind}] query doesn't support multiple fields, found [{first}] and [{second}]"
        ))),
        _ => Err(ApiError::illegal("fieldName must not be null or empty")),
    }
}

fn case_insensitive(map: &Map<String, Value>) -> bool {
    map.get("case_insensitive").and_then(Value::as_bool).unwrap_or(false)
}

fn term(map: &Map<String, Value>) -> ApiResult<Query> {
    let (field, body) = single_field("term", map)?;
    let (value, boost, insensitive) = match body {
        Value::Object(inner) => {
            let boost = known("term", inner, &["value", "case_insensitive"])?;
            (inner.get("value").cloned().unwrap_or_default(), boost, case_insensitive(inner))
        }
        Value::Array(_) => return Err(ApiError::parsing("[term] query does not support array of values")),
        value => (value.clone(), 1.0, false),
    };
    if value.is_null() || value.is_object() || value.is_array() {
        return Err(ApiError::illegal("value cannot be null"));
    }
    Ok(boosted(Query::Term { field: field.clone(), value, case_insensitive: insensitive }, boost))
}

fn text_query(kind: &str, map: &Map<String, Value>, make: impl Fn(String, String, bool) -> Query) -> ApiResult<Query> {
    let (field, body) = single_field(kind, map)?;
    let (value, boost, insensitive) = match body {
        Value::Object(inner) => {
            let boost = known(kind, inner, &["value", kind, "case_insensitive", "rewrite"])?;
            (
                inner.get("value").or_else(|| inner.get(kind)).cloned().unwrap_or_default(),
                boost,
                case_insensitive(inner),
            )
        }
        value => (value.clone(), 1.0, false),
    };
    let text = match value {
        Value::Null | Value::Object(_) | Value::Array(_) => return Err(ApiError::illegal("value cannot be null")),
        value => crate::document::plain_text(&value),
    };
    Ok(boosted(make(field.clone(), text, insensitive), boost))
}

fn match_query(kind: &str, map: &Map<String, Value>, words: Words) -> ApiResult<Query> {
    let (field, body) = single_field(kind, map)?;
    let mut words = words;
    let (value, boost) = match body {
        Value::Object(inner) => {
            let boost = known(kind, inner, &["query", "operator", "lenient"])?;
            if inner
                .get("operator")
                .and_then(Value::as_str)
                .is_some_and(|operator| operator.eq_ignore_ascii_case("and"))
            {
                words = Words::All;
            }
            (inner.get("query").cloned().unwrap_or_default(), boost)
        }
        value => (value.clone(), 1.0),
    };
    if value.is_null() || value.is_object() || value.is_array() {
        return Err(ApiError::illegal("[match] requires query value"));
    }
    Ok(boosted(Query::Match { field: field.clone(), value, words }, boost))
}

fn range(map: &Map<String, Value>) -> ApiResult<Query> {
    let (field, body) = single_field("range", map)?;
    let Some(inner) = body.as_object() else {
        return Err(ApiError::parsing("[range] query does not support a plain value"));
    };
    let mut range = RangeQuery { field: field.clone(), ..RangeQuery::default() };
    let mut boost = 1.0;
    for (key, value) in inner {
        let bound = |included| (!value.is_null()).then(|| (value.clone(), included));
        match key.as_str() {
            "gt" => range.lower = bound(false).or(range.lower),
            "gte" => range.lower = bound(true).or(range.lower),
            "lt" => range.upper = bound(false).or(range.upper),
            "lte" => range.upper = bound(true).or(range.upper),
            "format" => range.format = value.as_str().map(str::to_owned),
            "time_zone" => range.time_zone = value.as_str().map(str::to_owned),
            "boost" => boost = value.as_f64().unwrap_or(1.0),
            "relation" => return Err(ApiError::unsupported("[relation] in a range query")),
            other => return Err(ApiError::parsing(format!("[range] query does not support [{other}]"))),
        }
    }
    Ok(boosted(Query::Range(range), boost))
}
