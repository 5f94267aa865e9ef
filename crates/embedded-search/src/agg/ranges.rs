//! Buckets that are named in the request: ranges, filters, documents without a value.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::fields::FieldSource;
use super::spec::{AggSpec, Options};
use super::{Collector, Level, Shared, bucket_json};
use crate::Limits;
use crate::dates::{self, Formats};
use crate::document::plain_text;
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::FieldType;
use crate::numbers;
use crate::search::bind::{Binder, Bound};
use crate::search::columns::Segment;
use crate::search::docset::DocSet;
use crate::search::eval::matching;
use crate::search::query::{self, Query};

/// Counts of a fixed number of buckets, for each bucket of the parent.
struct Fixed {
    width: usize,
    counts: Vec<u64>,
    shared: Rc<Shared>,
}

impl Fixed {
    fn new(width: usize, shared: &Rc<Shared>) -> Self {
        Self { width, counts: Vec::new(), shared: shared.clone() }
    }

    fn number(&self, parent: u32, which: usize) -> usize {
        numbers::to_usize(parent).saturating_mul(self.width).saturating_add(which)
    }

    fn add(&mut self, parent: u32, which: usize) -> ApiResult<u32> {
        let at = self.number(parent, which);
        if at >= self.counts.len() {
            self.shared.keep(at + 1 - self.counts.len())?;
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        Ok(numbers::to_u32(at))
    }

    fn get(&self, parent: u32, which: usize) -> (u32, u64) {
        let at = self.number(parent, which);
        match self.counts.get(at) {
            Some(count) if parent != super::NO_BUCKET => (numbers::to_u32(at), *count),
            _ => (super::NO_BUCKET, 0),
        }
    }
}

/// One range as requested.
#[derive(Debug, Clone)]
struct OneRange {
    key: Option<String>,
    from: Option<Value>,
    to: Option<Value>,
}

/// What ranges are asked for.
#[derive(Debug, Clone)]
pub(super) struct RangesSpec {
    field: String,
    dates: bool,
    format: Option<Formats>,
    keyed: bool,
    ranges: Vec<OneRange>,
}

impl RangesSpec {
    pub(super) fn parse(options: &Options<'_>) -> ApiResult<Self> {
        let dates = options.kind == "date_range";
        options.allow(if dates { &["field", "ranges", "format", "keyed"] } else { &["field", "ranges", "keyed"] })?;
        let list = options.get("ranges").and_then(Value::as_array).filter(|ranges| !ranges.is_empty());
        let list = list.ok_or_else(|| ApiError::illegal("No [ranges] specified for the [range] aggregation"))?;
        let mut ranges = Vec::with_capacity(list.len());
        for range in list {
            let map = range.as_object().ok_or_else(|| ApiError::parsing("[range] must be an object"))?;
            if let Some(key) = map.keys().find(|key| !["from", "to", "key"].contains(&key.as_str())) {
                return Err(ApiError::new(400, "x_content_parse_exception", format!("[range] unknown field [{key}]")));
            }
            let bound = |name: &str| map.get(name).filter(|value| !value.is_null()).cloned();
            ranges.push(OneRange { key: map.get("key").map(plain_text), from: bound("from"), to: bound("to") });
        }
        let format = options
            .text("format")
            .map(|format| {
                Formats::parse(format).ok_or_else(|| ApiError::unsupported(format!("the date format [{format}]")))
            })
            .transpose()?;
        Ok(Self { field: options.field()?, dates, format, keyed: options.flag("keyed"), ranges })
    }
}

/// Buckets by range of numbers or dates; they may overlap.
pub(super) struct Ranges {
    name: String,
    spec: RangesSpec,
    source: FieldSource,
    /// From (included) and to (not included) of each range, in the order of the answer.
    limits: Vec<(usize, f64, f64)>,
    fixed: Fixed,
    level: Level,
    hits: Vec<bool>,
    shared: Rc<Shared>,
}

impl Ranges {
    pub(super) fn new(
        name: &str,
        spec: RangesSpec,
        subs: &[(String, AggSpec)],
        shared: &Rc<Shared>,
    ) -> ApiResult<Self> {
        let mut ranges = Self {
            name: name.to_owned(),
            source: FieldSource::new(&spec.field),
            limits: Vec::new(),
            fixed: Fixed::new(spec.ranges.len(), shared),
            level: Level::new(subs, shared)?,
            hits: vec![false; spec.ranges.len()],
            shared: shared.clone(),
            spec,
        };
        ranges.limits = (0..ranges.spec.ranges.len()).map(|at| ranges.limit(at)).collect::<ApiResult<_>>()?;
        // As Elasticsearch: by where they begin, then by where they end.
        ranges.limits.sort_by(|left, right| left.1.total_cmp(&right.1).then(left.2.total_cmp(&right.2)));
        Ok(ranges)
    }

    fn limit(&self, at: usize) -> ApiResult<(usize, f64, f64)> {
        let range = &self.spec.ranges[at];
        let read = |bound: &Option<Value>, open: f64| -> ApiResult<f64> {
            let Some(value) = bound else { return Ok(open) };
            let wrong = || ApiError::illegal(format!("[{}] is not a bound of a range", plain_text(value)));
            if let Some(number) = value.as_f64() {
                return Ok(number);
            }
            let text = plain_text(value);
            if !self.spec.dates {
                return text.parse().map_err(|_| wrong());
            }
            let millis = dates::read_math(&text, &self.formats(), self.shared.now, false, 0).ok_or_else(wrong)?;
            Ok(numbers::to_f64(millis.into()))
        };
        Ok((at, read(&range.from, f64::NEG_INFINITY)?, read(&range.to, f64::INFINITY)?))
    }

    fn formats(&self) -> Formats {
        let of_field = match &self.source.kind {
            Some(FieldType::Date { formats }) => Some(formats.clone()),
            _ => None,
        };
        self.spec.format.clone().or(of_field).unwrap_or_default()
    }

    fn bound_text(&self, bound: f64) -> String {
        if !bound.is_finite() {
            return "*".to_owned();
        }
        match numbers::f64_to_i64(bound) {
            Some(millis) if self.spec.dates => self.formats().print(millis),
            _ => json!(bound).to_string(),
        }
    }
}

impl Collector for Ranges {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)?;
        self.source.require_numbers(&self.name, if self.spec.dates { "date_range" } else { "range" }, meta)?;
        self.level.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.source.open_segment(segment)?;
        self.level.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let mut hits = std::mem::take(&mut self.hits);
        hits.fill(false);
        self.source.values.floats(doc, |value| {
            for (hit, (_, from, to)) in hits.iter_mut().zip(&self.limits) {
                *hit |= *from <= value && value < *to;
            }
        });
        for (which, _) in hits.iter().enumerate().filter(|(_, hit)| **hit) {
            let number = self.fixed.add(parent, which)?;
            self.level.collect(doc, number)?;
        }
        self.hits = hits;
        Ok(())
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        self.shared.give(self.limits.len())?;
        let (mut listed, mut keyed) = (Vec::new(), Map::new());
        for which in 0..self.limits.len() {
            let (at, from, to) = self.limits[which];
            let (number, count) = self.fixed.get(parent, which);
            let key = self.spec.ranges[at]
                .key
                .clone()
                .unwrap_or_else(|| format!("{}-{}", self.bound_text(from), self.bound_text(to)));
            let mut head = Vec::new();
            if !self.spec.keyed {
                head.push(("key", Value::from(key.clone())));
            }
            for (name, text_name, bound) in [("from", "from_as_string", from), ("to", "to_as_string", to)] {
                if bound.is_finite() {
                    head.push((name, json!(bound)));
                    if self.spec.dates {
                        head.push((text_name, self.bound_text(bound).into()));
                    }
                }
            }
            let bucket = bucket_json(head, count, number, &mut self.level)?;
            if self.spec.keyed {
                keyed.insert(key, bucket);
            } else {
                listed.push(bucket);
            }
        }
        Ok(if self.spec.keyed { json!({"buckets": keyed}) } else { json!({"buckets": listed}) })
    }
}

/// What filters are asked for.
#[derive(Debug, Clone)]
pub(super) struct FiltersSpec {
    filters: Vec<(String, Query)>,
    /// One filter alone is shown without a list of buckets.
    single: bool,
    keyed: bool,
    other: Option<String>,
}

impl FiltersSpec {
    pub(super) fn single(body: &Value, limits: &Limits) -> ApiResult<Self> {
        Ok(Self {
            filters: vec![(String::new(), query::parse(body, limits)?)],
            single: true,
            keyed: false,
            other: None,
        })
    }

    pub(super) fn parse(options: &Options<'_>, limits: &Limits) -> ApiResult<Self> {
        options.allow(&["filters", "other_bucket", "other_bucket_key"])?;
        let (filters, keyed): (Vec<(String, Query)>, bool) = match options.get("filters") {
            Some(Value::Object(map)) => {
                let each = map.iter().map(|(name, body)| Ok((name.clone(), query::parse(body, limits)?)));
                (each.collect::<ApiResult<_>>()?, true)
            }
            Some(Value::Array(list)) => (
                list.iter().map(|body| Ok((String::new(), query::parse(body, limits)?))).collect::<ApiResult<_>>()?,
                false,
            ),
            _ => return Err(ApiError::parsing("[filters] requires filters")),
        };
        let other = options
            .text("other_bucket_key")
            .map(str::to_owned)
            .or_else(|| options.flag("other_bucket").then(|| "_other_".to_owned()));
        Ok(Self { filters, single: false, keyed, other })
    }
}

/// Buckets by query.
pub(super) struct Filters {
    spec: FiltersSpec,
    bound: Vec<Bound>,
    sets: Vec<DocSet>,
    fixed: Fixed,
    level: Level,
    shared: Rc<Shared>,
}

impl Filters {
    pub(super) fn new(spec: FiltersSpec, subs: &[(String, AggSpec)], shared: &Rc<Shared>) -> ApiResult<Self> {
        let width = spec.filters.len() + usize::from(spec.other.is_some());
        Ok(Self {
            bound: Vec::new(),
            sets: Vec::new(),
            fixed: Fixed::new(width, shared),
            level: Level::new(subs, shared)?,
            shared: shared.clone(),
            spec,
        })
    }
}

impl Collector for Filters {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        let binder = Binder { meta, now: self.shared.now };
        self.bound = self.spec.filters.iter().map(|(_, query)| binder.bind(query)).collect::<ApiResult<_>>()?;
        self.level.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.sets = self.bound.iter().map(|bound| matching(bound, segment)).collect::<ApiResult<_>>()?;
        self.level.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let mut matched = false;
        for which in 0..self.sets.len() {
            if self.sets[which].contains(doc) {
                matched = true;
                let number = self.fixed.add(parent, which)?;
                self.level.collect(doc, number)?;
            }
        }
        if !matched && self.spec.other.is_some() {
            let number = self.fixed.add(parent, self.spec.filters.len())?;
            self.level.collect(doc, number)?;
        }
        Ok(())
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        if self.spec.single {
            let (number, count) = self.fixed.get(parent, 0);
            return bucket_json(Vec::new(), count, number, &mut self.level);
        }
        let names: Vec<String> =
            self.spec.filters.iter().map(|(name, _)| name.clone()).chain(self.spec.other.clone()).collect();
        self.shared.give(names.len())?;
        let (mut listed, mut keyed) = (Vec::new(), Map::new());
        for (which, name) in names.into_iter().enumerate() {
            let (number, count) = self.fixed.get(parent, which);
            let bucket = bucket_json(Vec::new(), count, number, &mut self.level)?;
            if self.spec.keyed {
                keyed.insert(name, bucket);
            } else {
                listed.push(bucket);
            }
        }
        Ok(if self.spec.keyed { json!({"buckets": keyed}) } else { json!({"buckets": listed}) })
    }

    fn metric(&mut self, parent: u32, path: &[&str]) -> ApiResult<f64> {
        let (number, count) = self.fixed.get(parent, 0);
        match path {
            _ if !self.spec.single => Err(ApiError::illegal("buckets cannot be sorted by a [filters] aggregation")),
            [] | ["_count" | "doc_count"] => Ok(numbers::count_to_f64(count)),
            path => self.level.metric(number, path),
        }
    }
}

/// The documents that have no value of a field.
pub(super) struct MissingValue {
    source: FieldSource,
    fixed: Fixed,
    level: Level,
}

impl MissingValue {
    pub(super) fn new(field: &str, subs: &[(String, AggSpec)], shared: &Rc<Shared>) -> ApiResult<Self> {
        Ok(Self { source: FieldSource::new(field), fixed: Fixed::new(1, shared), level: Level::new(subs, shared)? })
    }
}

impl Collector for MissingValue {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)?;
        self.level.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.source.open_segment(segment)?;
        self.level.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        if self.source.values.count(doc) == 0 {
            let number = self.fixed.add(parent, 0)?;
            self.level.collect(doc, number)?;
        }
        Ok(())
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        let (number, count) = self.fixed.get(parent, 0);
        bucket_json(Vec::new(), count, number, &mut self.level)
    }

    fn metric(&mut self, parent: u32, path: &[&str]) -> ApiResult<f64> {
        let (number, count) = self.fixed.get(parent, 0);
        match path {
            [] | ["_count" | "doc_count"] => Ok(numbers::count_to_f64(count)),
            path => self.level.metric(number, path),
        }
    }
}
