//! Percentiles: exact for thousands of values a bucket, then by a merging digest.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::fields::FieldSource;
use super::spec::Options;
use super::{Collector, Shared};
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::FieldType;
use crate::numbers;
use crate::search::columns::Segment;

/// Values that a bucket keeps before it merges some.
const BUFFER: usize = 16_384;
/// How finely merged values are kept; the error of a quantile q is about q (1 - q) / DETAIL.
const DETAIL: f64 = 2_000.0;

/// What percentiles are asked for.
#[derive(Debug, Clone)]
pub(super) struct PercentilesSpec {
    field: String,
    percents: Vec<f64>,
    keyed: bool,
}

impl PercentilesSpec {
    pub(super) fn parse(options: &Options<'_>) -> ApiResult<Self> {
        options.allow(&["field", "percents", "keyed", "tdigest"])?;
        let percents = match options.get("percents") {
            None => vec![1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_f64).collect(),
            Some(_) => return Err(ApiError::parsing("[percents] must be an array of numbers")),
        };
        if percents.is_empty() {
            return Err(ApiError::illegal("[percents] must not be empty"));
        }
        if let Some(wrong) = percents.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
            let cause = ApiError::illegal(format!("percent must be in [0,100], got [{wrong}]: [percentiles]"));
            return Err(options.unreadable("percents").caused_by(cause));
        }
        let keyed = options.get("keyed").and_then(Value::as_bool).unwrap_or(true);
        Ok(Self { field: options.field()?, percents, keyed })
    }
}

/// Values with how many there are of each, merged where there are too many.
#[derive(Debug, Default)]
pub(super) struct Digest {
    /// Means and weights.
    points: Vec<(f64, f64)>,
    total: f64,
    min: f64,
    max: f64,
    is_sorted: bool,
    /// The most points there were, which is what is charged for.
    peak: usize,
}

impl Digest {
    pub(super) fn add(&mut self, value: f64) {
        if self.points.is_empty() {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.points.push((value, 1.0));
        self.total += 1.0;
        self.is_sorted = false;
        if self.points.len() > BUFFER {
            self.merge();
        }
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.points.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
            self.is_sorted = true;
        }
    }

    fn merge(&mut self) {
        self.sort();
        let mut merged: Vec<(f64, f64)> = Vec::with_capacity(BUFFER / 2);
        let mut before = 0.0;
        for (mean, weight) in self.points.drain(..) {
            if let Some(last) = merged.last_mut() {
                let together = last.1 + weight;
                let quantile = (before + together / 2.0) / self.total;
                let most = (4.0 * self.total * quantile * (1.0 - quantile) / DETAIL).max(1.0);
                if together <= most {
                    last.0 += (mean - last.0) * weight / together;
                    last.1 = together;
                    continue;
                }
                before += last.1;
            }
            merged.push((mean, weight));
        }
        self.points = merged;
        self.is_sorted = true;
    }

    /// The value at a quantile, between its neighbours in proportion.
    pub(super) fn quantile(&mut self, quantile: f64) -> Option<f64> {
        self.sort();
        let target = quantile * (self.total - 1.0);
        let mut before = 0.0;
        let mut last: Option<(f64, f64)> = None;
        for (mean, weight) in &self.points {
            let centre = before + (weight - 1.0) / 2.0;
            if centre >= target {
                let (low_centre, low) = last.unwrap_or((0.0, self.min));
                if centre <= low_centre {
                    return Some(*mean);
                }
                return Some(low + (mean - low) * (target - low_centre) / (centre - low_centre));
            }
            last = Some((centre, *mean));
            before += weight;
        }
        let (low_centre, low) = last?;
        let end = self.total - 1.0;
        Some(if end > low_centre { low + (self.max - low) * (target - low_centre) / (end - low_centre) } else { low })
    }
}

/// Percentiles of a field.
pub(super) struct Percentiles {
    name: String,
    spec: PercentilesSpec,
    source: FieldSource,
    digests: foldhash::HashMap<u32, Digest>,
    shared: Rc<Shared>,
}

impl Percentiles {
    pub(super) fn new(name: &str, spec: PercentilesSpec, shared: &Rc<Shared>) -> Self {
        let source = FieldSource::new(&spec.field);
        Self { name: name.to_owned(), spec, source, digests: foldhash::HashMap::default(), shared: shared.clone() }
    }
}

impl Collector for Percentiles {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)?;
        self.source.require_numbers(&self.name, "percentiles", meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.source.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let digest = self.digests.entry(parent).or_default();
        self.source.values.floats(doc, |value| digest.add(value));
        let growth = digest.points.len().saturating_sub(digest.peak);
        digest.peak += growth;
        self.shared.keep(growth)
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        let formats = match &self.source.kind {
            Some(FieldType::Date { formats }) => Some(formats.clone()),
            _ => None,
        };
        let mut digest = self.digests.remove(&parent).unwrap_or_default();
        let (mut keyed, mut listed) = (Map::new(), Vec::new());
        for percent in &self.spec.percents {
            let value = digest.quantile(percent / 100.0);
            let text = formats
                .as_ref()
                .zip(value)
                .and_then(|(formats, value)| Some(formats.print(numbers::f64_to_i64(value.trunc())?)));
            let key = json!(percent).to_string();
            let mut entry = json!({"key": percent, "value": value});
            if let Some(text) = text {
                keyed.insert(format!("{key}_as_string"), text.clone().into());
                entry["value_as_string"] = text.into();
            }
            keyed.insert(key, json!(value));
            listed.push(entry);
        }
        Ok(if self.spec.keyed { json!({"values": keyed}) } else { json!({"values": listed}) })
    }

    fn metric(&mut self, parent: u32, path: &[&str]) -> ApiResult<f64> {
        let percent: f64 = path
            .first()
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| ApiError::illegal("a percent is needed to sort buckets by [percentiles]"))?;
        let found = self.digests.get_mut(&parent).and_then(|digest| digest.quantile(percent / 100.0));
        Ok(found.unwrap_or(f64::NAN))
    }
}
