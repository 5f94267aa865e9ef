//! A query bound to an index: every clause knows its column and its values.

use std::net::IpAddr;
use std::ops::Bound as Limit;

use serde_json::Value;

use super::columns::ColumnName;
use super::pattern::{Pattern, words_of};
use super::query::{Query, RangeQuery, Words};
use crate::dates;
use crate::document::{Scalar, encode_ip, plain_text, read_scalar};
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::{FieldType, Resolved};
use crate::node::glob_matches;

/// What a leaf looks for in its column.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    /// Integers within any of these, both ends included.
    Integers(Vec<(i128, i128)>),
    Floats(Vec<(f64, f64)>),
    /// Raw terms.
    Terms(Vec<String>),
    /// Raw terms between limits.
    Between(Vec<(Limit<String>, Limit<String>)>),
    /// Raw terms that start so.
    Prefix(String),
    Pattern(Pattern),
    Words {
        words: Vec<String>,
        how: Words,
    },
    Exists,
}

/// How a clause scores the documents that it matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scoring {
    Constant,
    /// By how rare the term is.
    Rarity,
}

/// A bound clause.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    All,
    Nothing,
    Ids(Vec<String>),
    Leaf { column: ColumnName, matcher: Matcher, scoring: Scoring },
    Bool { must: Vec<Bound>, filter: Vec<Bound>, should: Vec<Bound>, must_not: Vec<Bound>, minimum: usize },
    Constant(Box<Bound>),
    Boost(Box<Bound>, f64),
}

/// What binding needs to know.
pub(crate) struct Binder<'a> {
    pub(crate) meta: &'a Meta,
    /// Milliseconds since 1970, the same for the whole request.
    pub(crate) now: i64,
}

impl Binder<'_> {
    fn failed(&self, reason: String) -> ApiError {
        ApiError::new(400, "query_shard_exception", format!("failed to create query: {reason}"))
            .with("index_uuid", self.meta.uuid.clone())
            .with("index", self.meta.name.clone())
            .caused_by(ApiError::illegal(reason))
            .on_shard(&self.meta.name)
    }

    pub(crate) fn bind(&self, query: &Query) -> ApiResult<Bound> {
        Ok(match query {
            Query::All => Bound::All,
            Query::Nothing => Bound::Nothing,
            Query::Ids(ids) => Bound::Ids(ids.clone()),
            Query::Constant(inner) => Bound::Constant(Box::new(self.bind(inner)?)),
            Query::Boost(inner, boost) => Bound::Boost(Box::new(self.bind(inner)?), *boost),
            Query::Bool { must, filter, should, must_not, minimum } => {
                let each =
                    |clauses: &[Query]| clauses.iter().map(|clause| self.bind(clause)).collect::<ApiResult<Vec<_>>>();
                let minimum = match minimum {
                    Some(minimum) => minimum_should_match(minimum, should.len())?,
                    None => usize::from(must.is_empty() && filter.is_empty() && !should.is_empty()),
                };
                Bound::Bool {
                    must: each(must)?,
                    filter: each(filter)?,
                    should: each(should)?,
                    must_not: each(must_not)?,
                    minimum,
                }
            }
            Query::Term { field, value, case_insensitive } => {
                self.terms(field, std::slice::from_ref(value), *case_insensitive, Scoring::Rarity)?
            }
            Query::Terms { field, values } => self.terms(field, values, false, Scoring::Constant)?,
            Query::Range(range) => self.range(range)?,
            Query::Exists(field) => self.exists(field)?,
            Query::Prefix { field, text, case_insensitive } => self.prefix(field, text, *case_insensitive)?,
            Query::Wildcard { field, pattern, case_insensitive } => self.wildcard(field, pattern, *case_insensitive)?,
            Query::Match { field, value, words } => self.words(field, value, *words)?,
        })
    }

    fn leaf(&self, field: &Resolved<'_>, matcher: Matcher, scoring: Scoring) -> Bound {
        let column = ColumnName { column: field.column.clone(), key: field.key.clone() };
        Bound::Leaf { column, matcher, scoring }
    }

    /// The field, refused if it cannot be searched; `None` if the mapping does not have it.
    fn searchable(&self, path: &str) -> ApiResult<Option<Resolved<'_>>> {
        if matches!(
            path,
            "_version" | "_seq_no" | "_primary_term" | "_source" | "_routing" | "_ignored" | "_field_names" | "_type"
        ) {
            return Err(ApiError::unsupported(format!("a query on [{path}]")));
        }
        let field = self.meta.mapping.resolve(path);
        if field.as_ref().is_some_and(|field| !field.field.kept()) {
            return Err(
                self.failed(format!("Cannot search on field [{path}] since it is not indexed nor has doc values."))
            );
        }
        Ok(field)
    }

    fn raw(field: &Resolved<'_>, text: &str) -> String {
        match &field.key {
            Some(key) => format!("{key}\0{text}"),
            None => text.to_owned(),
        }
    }

    fn terms(&self, path: &str, values: &[Value], insensitive: bool, scoring: Scoring) -> ApiResult<Bound> {
        match path {
            "_id" => return Ok(Bound::Ids(values.iter().map(plain_text).collect())),
            "_index" => {
                let matches = values.iter().any(|value| self.is_this_index(&plain_text(value)));
                return Ok(if matches { Bound::Constant(Box::new(Bound::All)) } else { Bound::Nothing });
            }
            _ => {}
        }
        let Some(field) = self.searchable(path)? else { return Ok(Bound::Nothing) };
        let kind = &field.field.kind;
        let (matcher, scoring) = match kind {
            FieldType::Keyword { .. } | FieldType::Flattened { .. } if insensitive => {
                let text = values.first().map(plain_text).unwrap_or_default();
                (Matcher::Pattern(Pattern::literal(&text, false, true)), Scoring::Constant)
            }
            _ if insensitive => {
                return Err(self.failed(format!(
                    "[{path}] of type [{}] does not support case insensitive term queries",
                    kind.name()
                )));
            }
            FieldType::Keyword { .. } | FieldType::Flattened { .. } => {
                (Matcher::Terms(values.iter().map(|value| Self::raw(&field, &plain_text(value))).collect()), scoring)
            }
            FieldType::Text => {
                // A term is not taken apart into words.
                let words = values.iter().map(plain_text).collect();
                (Matcher::Words { words, how: Words::Any }, scoring)
            }
            FieldType::Ip => (
                Matcher::Between(
                    values.iter().map(|value| self.network(path, &plain_text(value))).collect::<ApiResult<_>>()?,
                ),
                Scoring::Constant,
            ),
            FieldType::Date { formats } => {
                let ranges = values.iter().map(|value| {
                    let text = plain_text(value);
                    let read = |up| dates::read_math(&text, formats, self.now, up, 0).map(i128::from);
                    read(false).zip(read(true)).ok_or_else(|| self.bad_date(path, &text))
                });
                (Matcher::Integers(ranges.collect::<ApiResult<_>>()?), Scoring::Constant)
            }
            FieldType::Boolean => (self.numbers(kind, values)?, scoring),
            _ => (self.numbers(kind, values)?, Scoring::Constant),
        };
        Ok(self.leaf(&field, matcher, scoring))
    }

    fn is_this_index(&self, pattern: &str) -> bool {
        glob_matches(pattern, &self.meta.name) || self.meta.aliases.keys().any(|alias| glob_matches(pattern, alias))
    }

    fn numbers(&self, kind: &FieldType, values: &[Value]) -> ApiResult<Matcher> {
        let (mut integers, mut floats) = (Vec::new(), Vec::new());
        for value in values {
            // A fraction never equals an integer, and a number out of range equals none.
            if let (FieldType::Integer(_), Some(number)) = (kind, number_of(value))
                && (number.fract() != 0.0 || read_scalar(kind, value).is_err())
            {
                continue;
            }
            match read_scalar(kind, value).map_err(|reason| self.failed(reason))? {
                Some(Scalar::Integer(number)) => integers.push((number, number)),
                Some(Scalar::Float(number)) => floats.push((number, number)),
                _ => {}
            }
        }
        Ok(if kind.is_float() { Matcher::Floats(floats) } else { Matcher::Integers(integers) })
    }

    fn bad_date(&self, path: &str, text: &str) -> ApiError {
        let reason =
            format!("failed to parse date field [{text}] with format [strict_date_optional_time||epoch_millis]");
        let cause = ApiError::illegal(format!("Failed to parse with all enclosed parsers ({path})"));
        ApiError::new(400, "parse_exception", format!("{reason}: [Failed to parse with all enclosed parsers]"))
            .caused_by(cause)
            .on_shard(&self.meta.name)
    }

    /// The addresses that an address or a network in CIDR form means.
    fn network(&self, path: &str, text: &str) -> ApiResult<(Limit<String>, Limit<String>)> {
        let wrong = || self.failed(format!("'{text}' is not an IP string literal."));
        let Some((address, length)) = text.split_once('/') else {
            let address = encode_ip(text.parse().map_err(|_| wrong())?);
            return Ok((Limit::Included(address.clone()), Limit::Included(address)));
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length: u32 = length.parse().map_err(|_| wrong())?;
        let (bits, offset) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), 96),
            IpAddr::V6(v6) => (u128::from(v6), 0),
        };
        if length + offset > 128 {
            return Err(self.failed(format!("illegal prefix length '{length}' in '{text}' on [{path}]")));
        }
        let hosts = u128::MAX.checked_shr(length + offset).unwrap_or(0);
        let (first, last) = (bits & !hosts, bits | hosts);
        Ok((Limit::Included(format!("{first:032x}")), Limit::Included(format!("{last:032x}"))))
    }

    fn range(&self, range: &RangeQuery) -> ApiResult<Bound> {
        let Some(field) = self.searchable(&range.field)? else { return Ok(Bound::Nothing) };
        let matcher = match &field.field.kind {
            FieldType::Date { formats } => {
                let formats = match &range.format {
                    Some(format) => dates::Formats::parse(format)
                        .ok_or_else(|| ApiError::unsupported(format!("the date format [{format}]")))?,
                    None => formats.clone(),
                };
                self.date_range(range, &formats)?
            }
            FieldType::Ip => Matcher::Between(vec![self.ip_range(range)?]),
            FieldType::Keyword { .. } | FieldType::Flattened { .. } => {
                let limit = |bound: &Option<(Value, bool)>| match bound {
                    None => Limit::Unbounded,
                    Some((value, true)) => Limit::Included(Self::raw(&field, &plain_text(value))),
                    Some((value, false)) => Limit::Excluded(Self::raw(&field, &plain_text(value))),
                };
                Matcher::Between(vec![(limit(&range.lower), limit(&range.upper))])
            }
            FieldType::Text => return Err(ApiError::unsupported("a range query on a text field")),
            kind if kind.is_float() => self.float_range(range)?,
            FieldType::Boolean => self.integer_range(&booleans_as_numbers(range))?,
            _ => self.integer_range(range)?,
        };
        Ok(self.leaf(&field, matcher, Scoring::Constant))
    }

    fn date_range(&self, range: &RangeQuery, formats: &dates::Formats) -> ApiResult<Matcher> {
        let offset = match &range.time_zone {
            Some(zone) => dates::read_offset(zone).ok_or_else(|| {
                ApiError::unsupported(format!("the time zone [{zone}]; use UTC or an offset such as +02:00"))
            })?,
            None => 0,
        };
        let read = |value: &Value, up| {
            let text = plain_text(value);
            dates::read_math(&text, formats, self.now, up, offset)
                .map(i128::from)
                .ok_or_else(|| self.bad_date(&range.field, &text))
        };
        let lower = match &range.lower {
            None => i128::MIN,
            Some((value, true)) => read(value, false)?,
            Some((value, false)) => read(value, true)? + 1,
        };
        let upper = match &range.upper {
            None => i128::MAX,
            Some((value, true)) => read(value, true)?,
            Some((value, false)) => read(value, false)? - 1,
        };
        Ok(Matcher::Integers(vec![(lower, upper)]))
    }

    fn ip_range(&self, range: &RangeQuery) -> ApiResult<(Limit<String>, Limit<String>)> {
        let limit = |bound: &Option<(Value, bool)>| -> ApiResult<Limit<String>> {
            match bound {
                None => Ok(Limit::Unbounded),
                Some((value, included)) => {
                    let text = plain_text(value);
                    let address = text
                        .parse()
                        .map(encode_ip)
                        .map_err(|_| self.failed(format!("'{text}' is not an IP string literal.")))?;
                    Ok(if *included { Limit::Included(address) } else { Limit::Excluded(address) })
                }
            }
        };
        Ok((limit(&range.lower)?, limit(&range.upper)?))
    }

    fn float_range(&self, range: &RangeQuery) -> ApiResult<Matcher> {
        let read = |value: &Value| {
            number_of(value).ok_or_else(|| self.failed(format!("For input string: \"{}\"", plain_text(value))))
        };
        let lower = match &range.lower {
            None => f64::NEG_INFINITY,
            Some((value, true)) => read(value)?,
            Some((value, false)) => read(value)?.next_up(),
        };
        let upper = match &range.upper {
            None => f64::INFINITY,
            Some((value, true)) => read(value)?,
            Some((value, false)) => read(value)?.next_down(),
        };
        Ok(Matcher::Floats(vec![(lower, upper)]))
    }

    fn integer_range(&self, range: &RangeQuery) -> ApiResult<Matcher> {
        let read = |value: &Value| -> ApiResult<(i128, i128)> {
            if let Some(number) = value
                .as_i64()
                .map(i128::from)
                .or_else(|| value.as_u64().map(i128::from))
                .or_else(|| plain_text(value).parse().ok())
            {
                return Ok((number, number));
            }
            let number =
                number_of(value).ok_or_else(|| self.failed(format!("For input string: \"{}\"", plain_text(value))))?;
            let whole = |number: f64| {
                crate::numbers::f64_to_i128(number).unwrap_or(if number < 0.0 { i128::MIN / 2 } else { i128::MAX / 2 })
            };
            Ok((whole(number.floor()), whole(number.ceil())))
        };
        // Between two integers the next one inwards is meant.
        let lower = match &range.lower {
            None => i128::MIN,
            Some((value, included)) => {
                let (floor, ceil) = read(value)?;
                if floor == ceil && !included { ceil + 1 } else { ceil }
            }
        };
        let upper = match &range.upper {
            None => i128::MAX,
            Some((value, included)) => {
                let (floor, ceil) = read(value)?;
                if floor == ceil && !included { floor - 1 } else { floor }
            }
        };
        Ok(Matcher::Integers(vec![(lower, upper)]))
    }

    fn exists(&self, path: &str) -> ApiResult<Bound> {
        if matches!(path, "_id" | "_index" | "_source" | "_seq_no" | "_version") {
            return Ok(Bound::Constant(Box::new(Bound::All)));
        }
        if let Some(field) = self.meta.mapping.resolve(path) {
            if !field.field.kept() {
                return Ok(Bound::Nothing);
            }
            return Ok(self.leaf(&field, Matcher::Exists, Scoring::Constant));
        }
        // An object exists when one of its fields does.
        let pattern = if path.contains('*') { path.to_owned() } else { format!("{path}.*") };
        let leaves =
            self.meta.mapping.leaves().into_iter().filter(|(leaf, field)| field.kept() && glob_matches(&pattern, leaf));
        let should: Vec<Bound> = leaves
            .map(|(leaf, _)| Bound::Leaf {
                column: ColumnName { column: leaf, key: None },
                matcher: Matcher::Exists,
                scoring: Scoring::Constant,
            })
            .collect();
        if should.is_empty() {
            return Ok(Bound::Nothing);
        }
        Ok(Bound::Constant(Box::new(Bound::Bool {
            must: Vec::new(),
            filter: Vec::new(),
            should,
            must_not: Vec::new(),
            minimum: 1,
        })))
    }

    fn only_strings(&self, kind: &str, path: &str) -> ApiResult<Option<Resolved<'_>>> {
        let Some(field) = self.searchable(path)? else { return Ok(None) };
        match &field.field.kind {
            FieldType::Keyword { .. } | FieldType::Flattened { .. } => Ok(Some(field)),
            FieldType::Text => Err(ApiError::unsupported(format!("a {kind} query on a text field; use its keyword sub-field"))),
            other => Err(self.failed(format!("Can only use {kind} queries on keyword, text and wildcard fields - not on [{path}] which is of type [{}]", other.name()))),
        }
    }

    fn prefix(&self, path: &str, text: &str, insensitive: bool) -> ApiResult<Bound> {
        if path == "_index" {
            return Ok(if self.meta.name.starts_with(text) {
                Bound::Constant(Box::new(Bound::All))
            } else {
                Bound::Nothing
            });
        }
        let Some(field) = self.only_strings("prefix", path)? else { return Ok(Bound::Nothing) };
        let matcher = if insensitive {
            Matcher::Pattern(Pattern::literal(text, true, true))
        } else {
            Matcher::Prefix(Self::raw(&field, text))
        };
        Ok(self.leaf(&field, matcher, Scoring::Constant))
    }

    fn wildcard(&self, path: &str, pattern: &str, insensitive: bool) -> ApiResult<Bound> {
        if path == "_index" {
            return Ok(if Pattern::new(pattern, insensitive).matches(&self.meta.name) {
                Bound::Constant(Box::new(Bound::All))
            } else {
                Bound::Nothing
            });
        }
        let Some(field) = self.only_strings("wildcard", path)? else { return Ok(Bound::Nothing) };
        Ok(self.leaf(&field, Matcher::Pattern(Pattern::new(pattern, insensitive)), Scoring::Constant))
    }

    fn words(&self, path: &str, value: &Value, how: Words) -> ApiResult<Bound> {
        let field = self.searchable(path)?;
        match field {
            Some(field) if field.field.kind == FieldType::Text => {
                let words = words_of(&plain_text(value));
                if words.is_empty() {
                    return Ok(Bound::Nothing);
                }
                Ok(self.leaf(&field, Matcher::Words { words, how }, Scoring::Rarity))
            }
            _ => self.terms(path, std::slice::from_ref(value), false, Scoring::Rarity),
        }
    }
}

fn booleans_as_numbers(range: &RangeQuery) -> RangeQuery {
    let number = |bound: &Option<(Value, bool)>| {
        let (value, included) = bound.clone()?;
        Some((
            match plain_text(&value).as_str() {
                "true" => 1.into(),
                "false" => 0.into(),
                _ => value,
            },
            included,
        ))
    };
    RangeQuery { lower: number(&range.lower), upper: number(&range.upper), ..range.clone() }
}

fn number_of(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
}

/// How many `should` clauses must match: a count, or a percentage, from above when negative.
fn minimum_should_match(value: &Value, clauses: usize) -> ApiResult<usize> {
    let text = plain_text(value);
    let wrong = || ApiError::unsupported(format!("minimum_should_match [{text}]"));
    let total = i64::try_from(clauses).unwrap_or(i64::MAX);
    let wanted = match text.strip_suffix('%') {
        Some(percent) => {
            let percent: i64 = percent.trim().parse().map_err(|_| wrong())?;
            let part = total.saturating_mul(percent) / 100;
            if percent < 0 { total + part } else { part }
        }
        None => {
            let count: i64 = text.trim().parse().map_err(|_| wrong())?;
            if count < 0 { total.saturating_add(count) } else { count }
        }
    };
    Ok(usize::try_from(wanted.max(0)).unwrap_or(usize::MAX))
}
