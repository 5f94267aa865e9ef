//! Buckets of equal width, of numbers and of dates.

use std::rc::Rc;

use serde_json::{Value, json};

use super::buckets::{Bucket, Buckets, Grouped};
use super::fields::FieldSource;
use super::spec::{AggSpec, Options};
use super::terms::{Order, OrderBy, parse_order, sort_buckets};
use super::{Collector, Level, Shared, bucket_json};
use crate::dates::{self, Formats, Unit};
use crate::document::plain_text;
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::FieldType;
use crate::search::columns::Segment;

/// How wide the buckets are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Width {
    Number {
        interval: f64,
        offset: f64,
    },
    /// Milliseconds.
    Fixed(i64),
    Calendar(Unit),
}

/// How dates fall into buckets: the width, the zone and the shift, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounding {
    pub(super) width: Width,
    zone: i64,
    shift: i64,
}

impl Rounding {
    /// Reads the interval of a `date_histogram`.
    pub(super) fn of_dates(options: &Options<'_>) -> ApiResult<Self> {
        let width = match (options.text("fixed_interval"), options.text("calendar_interval")) {
            (Some(fixed), None) => {
                let millis = dates::read_duration(fixed).filter(|millis| *millis > 0);
                Width::Fixed(millis.ok_or_else(|| {
                    ApiError::illegal(format!(
                        "failed to parse setting [date_histogram.fixedInterval] with value [{fixed}] as a time value"
                    ))
                })?)
            }
            (None, Some(calendar)) => Width::Calendar(dates::calendar_unit(calendar).ok_or_else(|| {
                let cause = ApiError::illegal(format!(
                    "The supplied interval [{calendar}] could not be parsed as a calendar interval."
                ));
                options.unreadable("calendar_interval").caused_by(cause)
            })?),
            (Some(_), Some(_)) => {
                return Err(ApiError::illegal(
                    "Cannot use [fixed_interval] with [calendar_interval] configuration option.",
                ));
            }
            (None, None) => {
                return Err(ApiError::illegal("Invalid interval specified, must be non-null and non-empty"));
            }
        };
        let zone = match options.text("time_zone") {
            Some(zone) => dates::read_offset(zone).ok_or_else(|| {
                ApiError::unsupported(format!("the time zone [{zone}]; use UTC or an offset such as +02:00"))
            })?,
            None => 0,
        };
        let shift = match options.text("offset") {
            Some(text) => {
                let (sign, text) = text.strip_prefix('-').map_or((1, text.trim_start_matches('+')), |text| (-1, text));
                sign * dates::read_duration(text)
                    .ok_or_else(|| ApiError::illegal(format!("failed to parse [offset] [{text}]")))?
            }
            None => 0,
        };
        Ok(Self { width, zone, shift })
    }

    fn of_numbers(options: &Options<'_>) -> ApiResult<Self> {
        let interval = options.get("interval").and_then(Value::as_f64).filter(|interval| *interval > 0.0);
        let interval =
            interval.ok_or_else(|| ApiError::illegal("[interval] must be >0 for histogram aggregation [histogram]"))?;
        let offset = options.get("offset").and_then(Value::as_f64).unwrap_or(0.0);
        Ok(Self { width: Width::Number { interval, offset }, zone: 0, shift: 0 })
    }

    /// The start of the bucket that a date falls into.
    pub(super) fn date(&self, millis: i64) -> i64 {
        let local = millis.saturating_add(self.zone).saturating_sub(self.shift);
        let start = match self.width {
            Width::Fixed(step) => local - local.rem_euclid(step),
            Width::Calendar(unit) => dates::round_down(local, unit),
            Width::Number { .. } => local,
        };
        start.saturating_sub(self.zone).saturating_add(self.shift)
    }

    /// The start of the bucket after the one that starts at `start`.
    fn next_date(&self, start: i64) -> Option<i64> {
        match self.width {
            Width::Fixed(step) => start.checked_add(step),
            Width::Calendar(unit) => {
                let local = start.checked_add(self.zone)?.checked_sub(self.shift)?;
                dates::add(local, 1, unit)?.checked_sub(self.zone)?.checked_add(self.shift)
            }
            Width::Number { .. } => None,
        }
    }
}

/// What histogram is asked for.
#[derive(Debug, Clone)]
pub(super) struct HistogramSpec {
    field: String,
    rounding: Rounding,
    order: Order,
    min_doc_count: u64,
    format: Option<Formats>,
    bounds: Option<(Option<Value>, Option<Value>)>,
}

impl HistogramSpec {
    pub(super) fn parse(options: &Options<'_>) -> ApiResult<Self> {
        let is_date = options.kind == "date_histogram";
        let rounding = if is_date {
            options.allow(&[
                "field",
                "fixed_interval",
                "calendar_interval",
                "time_zone",
                "offset",
                "order",
                "min_doc_count",
                "format",
                "extended_bounds",
            ])?;
            Rounding::of_dates(options)?
        } else {
            options.allow(&["field", "interval", "offset", "order", "min_doc_count", "extended_bounds"])?;
            Rounding::of_numbers(options)?
        };
        let format = options
            .text("format")
            .map(|format| {
                Formats::parse(format).ok_or_else(|| ApiError::unsupported(format!("the date format [{format}]")))
            })
            .transpose()?;
        let mut order = parse_order(options.get("order"))?;
        if order.is_empty() {
            order.push((OrderBy::Key, false));
        }
        let bounds =
            options.get("extended_bounds").map(|bounds| (bounds.get("min").cloned(), bounds.get("max").cloned()));
        Ok(Self {
            field: options.field()?,
            rounding,
            order,
            min_doc_count: options.count("min_doc_count", 0)?,
            format,
            bounds,
        })
    }
}

/// Buckets of equal width.
pub(super) struct Histogram {
    name: String,
    spec: HistogramSpec,
    source: FieldSource,
    buckets: Buckets,
    grouped: Grouped,
    level: Level,
    shared: Rc<Shared>,
    is_float: bool,
    seen: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(
        name: &str,
        spec: HistogramSpec,
        subs: &[(String, AggSpec)],
        shared: &Rc<Shared>,
    ) -> ApiResult<Self> {
        Ok(Self {
            name: name.to_owned(),
            source: FieldSource::new(&spec.field),
            buckets: Buckets::new(shared),
            grouped: Grouped::default(),
            level: Level::new(subs, shared)?,
            shared: shared.clone(),
            is_float: matches!(spec.rounding.width, Width::Number { .. }),
            seen: Vec::new(),
            spec,
        })
    }

    fn compare(&self, left: u64, right: u64) -> std::cmp::Ordering {
        if self.is_float {
            f64::from_bits(left).total_cmp(&f64::from_bits(right))
        } else {
            left.cast_signed().cmp(&right.cast_signed())
        }
    }

    fn next(&self, key: u64) -> Option<u64> {
        match self.spec.rounding.width {
            Width::Number { interval, offset } => {
                let steps = ((f64::from_bits(key) - offset) / interval).round() + 1.0;
                let next = steps * interval + offset;
                (next > f64::from_bits(key)).then(|| next.to_bits())
            }
            _ => self.spec.rounding.next_date(key.cast_signed()).map(i64::cast_unsigned),
        }
    }

    fn number_key(&self, value: f64) -> u64 {
        match self.spec.rounding.width {
            // Adding zero makes a negative zero a positive one.
            Width::Number { interval, offset } => {
                (((value - offset) / interval).floor() * interval + offset + 0.0).to_bits()
            }
            _ => value.to_bits(),
        }
    }

    /// The bucket of a bound as a request writes it.
    fn bound_key(&self, value: &Value) -> ApiResult<u64> {
        let wrong = || ApiError::illegal(format!("[extended_bounds] [{}] cannot be read", plain_text(value)));
        if self.is_float {
            return Ok(self.number_key(value.as_f64().ok_or_else(wrong)?));
        }
        let default = Formats::default();
        let formats = self.spec.format.as_ref().unwrap_or(&default);
        let millis = match value {
            Value::Number(number) => number.as_i64(),
            _ => dates::read_math(&plain_text(value), formats, self.shared.now, false, 0),
        };
        Ok(self.spec.rounding.date(millis.ok_or_else(wrong)?).cast_unsigned())
    }

    /// Adds the empty buckets between the first and the last.
    fn fill(&self, buckets: Vec<Bucket>) -> ApiResult<Vec<Bucket>> {
        let (mut first, mut last) = (buckets.first().map(|bucket| bucket.key), buckets.last().map(|bucket| bucket.key));
        if let Some((min, max)) = &self.spec.bounds {
            let wider =
                |key: Option<u64>, bound: &Option<Value>, before: std::cmp::Ordering| -> ApiResult<Option<u64>> {
                    let Some(bound) = bound else { return Ok(key) };
                    let bound = self.bound_key(bound)?;
                    Ok(Some(key.filter(|key| self.compare(*key, bound) == before).unwrap_or(bound)))
                };
            first = wider(first, min, std::cmp::Ordering::Less)?.or(last);
            last = wider(last, max, std::cmp::Ordering::Greater)?.or(first);
        }
        let (Some(mut key), Some(last)) = (first, last) else { return Ok(buckets) };
        let mut filled = Vec::new();
        let mut present = buckets.into_iter().peekable();
        while self.compare(key, last) != std::cmp::Ordering::Greater {
            let found = present.next_if(|bucket| self.compare(bucket.key, key) != std::cmp::Ordering::Greater);
            filled.push(found.unwrap_or_else(|| Bucket::empty(key)));
            if filled.len() > self.shared.most_returned {
                self.shared.give(filled.len())?;
            }
            let Some(next) = self.next(key) else { break };
            key = next;
        }
        filled.extend(present);
        Ok(filled)
    }
}

impl Collector for Histogram {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)?;
        let kind = if self.is_float { "histogram" } else { "date_histogram" };
        self.source.require_numbers(&self.name, kind, meta)?;
        self.level.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.source.open_segment(segment)?;
        self.level.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let mut keys = std::mem::take(&mut self.seen);
        keys.clear();
        let values = self.source.values.clone();
        if self.is_float {
            values.floats(doc, |value| keys.push(self.number_key(value)));
        } else {
            values.integers(doc, |value| {
                keys.extend(i64::try_from(value).ok().map(|millis| self.spec.rounding.date(millis).cast_unsigned()));
            });
        }
        keys.dedup();
        for key in &keys {
            let number = self.buckets.add(parent, *key)?;
            self.level.collect(doc, number)?;
        }
        self.seen = keys;
        Ok(())
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        let mut buckets = self.grouped.of(&mut self.buckets, parent);
        buckets.sort_by(|left, right| self.compare(left.key, right.key));
        if self.spec.min_doc_count == 0 {
            buckets = self.fill(buckets)?;
        }
        buckets.retain(|bucket| bucket.count >= self.spec.min_doc_count);
        let is_float = self.is_float;
        let compare = |left: u64, right: u64| {
            if is_float {
                f64::from_bits(left).total_cmp(&f64::from_bits(right))
            } else {
                left.cast_signed().cmp(&right.cast_signed())
            }
        };
        sort_buckets(&mut buckets, &self.spec.order, &mut self.level, compare)?;
        self.shared.give(buckets.len())?;
        let of_field = match &self.source.kind {
            Some(FieldType::Date { formats }) => Some(formats.clone()),
            _ => None,
        };
        let formats = self.spec.format.clone().or(of_field).unwrap_or_default();
        let mut shown = Vec::with_capacity(buckets.len());
        for bucket in &buckets {
            let head = if self.is_float {
                vec![("key", json!(f64::from_bits(bucket.key)))]
            } else {
                let millis = bucket.key.cast_signed();
                vec![("key_as_string", formats.print(millis).into()), ("key", millis.into())]
            };
            shown.push(bucket_json(head, bucket.count, bucket.number, &mut self.level)?);
        }
        Ok(json!({"buckets": shown}))
    }
}

/// A number that stands for a whole count of steps, for composite sources.
pub(super) fn number_start(value: f64, interval: f64) -> f64 {
    (value / interval).floor() * interval + 0.0
}

/// Reads the width of a numeric histogram source of a composite.
pub(super) fn numeric_interval(options: &Options<'_>) -> ApiResult<f64> {
    match Rounding::of_numbers(options)?.width {
        Width::Number { interval, .. } => Ok(interval),
        _ => Err(ApiError::illegal("[interval] must be a number")),
    }
}
