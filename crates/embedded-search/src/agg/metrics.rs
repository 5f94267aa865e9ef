//! Sums, extremes, counts.

use std::hash::BuildHasher as _;
use std::rc::Rc;

use foldhash::{HashMap, HashSet};
use serde_json::{Value, json};

use super::fields::FieldSource;
use super::keys::integer_bits;
use super::{Collector, Shared};
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::FieldType;
use crate::numbers;
use crate::search::columns::{Segment, Values};

/// Which number is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricKind {
    Sum,
    Min,
    Max,
    Avg,
    ValueCount,
    Stats,
}

/// What a bucket's values add up to. Integers are added as integers, so nothing is lost.
#[derive(Debug, Clone, Copy)]
struct Totals {
    count: u64,
    integers: i128,
    floats: f64,
    /// What the last additions lost (Kahan's summation).
    lost: f64,
    min: f64,
    max: f64,
}

impl Default for Totals {
    fn default() -> Self {
        Self { count: 0, integers: 0, floats: 0.0, lost: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Totals {
    fn integer(&mut self, value: i128) {
        self.count += 1;
        self.integers += value;
        let value = numbers::to_f64(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn float(&mut self, value: f64) {
        self.count += 1;
        let corrected = value - self.lost;
        let sum = self.floats + corrected;
        self.lost = (sum - self.floats) - corrected;
        self.floats = sum;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn sum(&self) -> f64 {
        self.floats + numbers::to_f64(self.integers)
    }

    fn average(&self) -> f64 {
        self.sum() / numbers::count_to_f64(self.count)
    }
}

/// A number computed from a field.
pub(super) struct Metric {
    name: String,
    kind: MetricKind,
    source: FieldSource,
    totals: Vec<Totals>,
    shared: Rc<Shared>,
}

impl Metric {
    pub(super) fn new(name: &str, kind: MetricKind, field: &str, shared: &Rc<Shared>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            source: FieldSource::new(field),
            totals: Vec::new(),
            shared: shared.clone(),
        }
    }

    fn totals(&self, parent: u32) -> Totals {
        self.totals.get(numbers::to_usize(parent)).copied().unwrap_or_default()
    }

    fn text(&self, value: f64) -> Option<String> {
        match &self.source.kind {
            Some(FieldType::Date { formats }) => {
                let millis = numbers::f64_to_i64(value.trunc())?;
                Some(formats.print(millis))
            }
            Some(FieldType::Boolean) => Some(if value == 0.0 { "false" } else { "true" }.to_owned()),
            _ => None,
        }
    }
}

impl Collector for Metric {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)?;
        if self.kind == MetricKind::ValueCount {
            return Ok(());
        }
        let kind = match self.kind {
            MetricKind::Sum => "sum",
            MetricKind::Min => "min",
            MetricKind::Max => "max",
            MetricKind::Avg => "avg",
            MetricKind::ValueCount => "value_count",
            MetricKind::Stats => "stats",
        };
        self.source.require_numbers(&self.name, kind, meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.source.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let at = numbers::to_usize(parent);
        if at >= self.totals.len() {
            self.shared.keep(at + 1 - self.totals.len())?;
            self.totals.resize(at + 1, Totals::default());
        }
        let totals = &mut self.totals[at];
        match &*self.source.values {
            Values::F64(column) => column.values_for_doc(doc).for_each(|value| totals.float(value)),
            Values::Strings(strings) => totals.count += numbers::to_u64(strings.ordinals(doc).count()),
            values => values.integers(doc, |value| totals.integer(value)),
        }
        Ok(())
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        let totals = self.totals(parent);
        let some = |value: f64| (totals.count > 0).then_some(value);
        let single = |value: Option<f64>| {
            let mut shown = json!({"value": value});
            if let Some(text) = value.and_then(|value| self.text(value)) {
                shown["value_as_string"] = text.into();
            }
            shown
        };
        Ok(match self.kind {
            MetricKind::Sum => single(Some(totals.sum())),
            MetricKind::Min => single(some(totals.min)),
            MetricKind::Max => single(some(totals.max)),
            MetricKind::Avg => single(some(totals.average())),
            MetricKind::ValueCount => json!({"value": totals.count}),
            MetricKind::Stats => {
                let mut shown = json!({"count": totals.count, "min": some(totals.min), "max": some(totals.max),
                    "avg": some(totals.average()), "sum": totals.sum()});
                if totals.count > 0 {
                    for (name, value) in
                        [("min", totals.min), ("max", totals.max), ("avg", totals.average()), ("sum", totals.sum())]
                    {
                        if let Some(text) = self.text(value) {
                            shown[format!("{name}_as_string")] = text.into();
                        }
                    }
                }
                shown
            }
        })
    }

    fn metric(&mut self, parent: u32, path: &[&str]) -> ApiResult<f64> {
        let totals = self.totals(parent);
        let name = match (self.kind, path) {
            (MetricKind::Stats, [name]) => *name,
            (MetricKind::Stats, _) => {
                return Err(ApiError::illegal("a metric name is needed to sort buckets by [stats]"));
            }
            (MetricKind::Sum, _) => "sum",
            (MetricKind::Min, _) => "min",
            (MetricKind::Max, _) => "max",
            (MetricKind::Avg, _) => "avg",
            (MetricKind::ValueCount, _) => "count",
        };
        Ok(match name {
            "sum" => totals.sum(),
            "min" => totals.min,
            "max" => totals.max,
            "avg" => totals.average(),
            "count" => numbers::count_to_f64(totals.count),
            other => return Err(ApiError::illegal(format!("Unknown value [{other}] in common stats aggregation"))),
        })
    }
}

/// How many different values there are; counted exactly.
pub(super) struct Cardinality {
    source: FieldSource,
    seen: HashMap<u32, HashSet<u64>>,
    /// The hash of the text of each ordinal of the current segment.
    hashes: HashMap<u64, u64>,
    shared: Rc<Shared>,
}

impl Cardinality {
    pub(super) fn new(field: &str, shared: &Rc<Shared>) -> Self {
        Self {
            source: FieldSource::new(field),
            seen: HashMap::default(),
            hashes: HashMap::default(),
            shared: shared.clone(),
        }
    }

    fn count(&self, parent: u32) -> usize {
        self.seen.get(&parent).map_or(0, HashSet::len)
    }
}

impl Collector for Cardinality {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.hashes.clear();
        self.source.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let seen = self.seen.entry(parent).or_default();
        let before = seen.len();
        match &*self.source.values {
            Values::Missing => {}
            Values::Strings(strings) => {
                for ordinal in strings.ordinals(doc) {
                    let hash = match self.hashes.get(&ordinal) {
                        Some(hash) => *hash,
                        None => {
                            // The same in all segments and indices, so it must not be seeded by chance.
                            let hash = foldhash::quality::FixedState::with_seed(0).hash_one(strings.text(ordinal)?);
                            self.hashes.insert(ordinal, hash);
                            hash
                        }
                    };
                    seen.insert(hash);
                }
            }
            Values::F64(column) => column.values_for_doc(doc).for_each(|value| {
                seen.insert(value.to_bits());
            }),
            values => values.integers(doc, |value| {
                seen.insert(integer_bits(value));
            }),
        }
        self.shared.keep(seen.len() - before)
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        Ok(json!({"value": self.count(parent)}))
    }

    fn metric(&mut self, parent: u32, _path: &[&str]) -> ApiResult<f64> {
        Ok(numbers::count_to_f64(numbers::to_u64(self.count(parent))))
    }
}
