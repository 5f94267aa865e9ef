//! Buckets by value.

use std::cmp::Ordering;
use std::rc::Rc;

use foldhash::HashSet;
use serde_json::{Value, json};

use super::buckets::{Bucket, Buckets, Grouped};
use super::fields::FieldSource;
use super::keys::{KeyKind, KeyReader};
use super::spec::{AggSpec, Options};
use super::{Collector, Level, Shared, bucket_json};
use crate::document::{Scalar, plain_text, read_scalar};
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::numbers;
use crate::search::columns::Segment;

/// What buckets are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrderBy {
    Count,
    Key,
    /// A path to a number of a sub-aggregation.
    Metric(Vec<String>),
}

/// One part of an order: by what, and whether descending.
pub(super) type Order = Vec<(OrderBy, bool)>;

/// Reads an `order`.
pub(super) fn parse_order(json: Option<&Value>) -> ApiResult<Order> {
    let one = |name: &String, direction: &Value| {
        let by = match name.as_str() {
            "_count" => OrderBy::Count,
            "_key" | "_term" => OrderBy::Key,
            path => OrderBy::Metric(split_path(path)),
        };
        match direction.as_str() {
            Some("asc") => Ok((by, false)),
            Some("desc") => Ok((by, true)),
            _ => Err(ApiError::parsing(format!("Unknown order direction [{}]", plain_text(direction)))),
        }
    };
    let mut order = Vec::new();
    match json {
        None => {}
        Some(Value::Object(map)) if map.len() == 1 => {
            for (name, direction) in map {
                order.push(one(name, direction)?);
            }
        }
        Some(Value::Array(parts)) => {
            for part in parts {
                order.extend(parse_order(Some(part))?);
            }
        }
        Some(_) => return Err(ApiError::parsing("Must specify exactly one property name for [order]")),
    }
    Ok(order)
}

fn split_path(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.split('>').map(str::to_owned).collect();
    // The last step may name a number: `stats.avg`, `percentiles[99]`.
    if let Some(last) = parts.pop() {
        match last.strip_suffix(']').and_then(|last| last.split_once('[')) {
            Some((name, property)) => parts.extend([name.to_owned(), property.to_owned()]),
            None => match last.rsplit_once('.') {
                Some((name, property)) => parts.extend([name.to_owned(), property.to_owned()]),
                None => parts.push(last),
            },
        }
    }
    parts
}

/// Sorts buckets; ties go by key.
pub(super) fn sort_buckets(
    buckets: &mut [Bucket],
    order: &Order,
    level: &mut Level,
    compare: impl Fn(u64, u64) -> Ordering,
) -> ApiResult<()> {
    let mut metrics: Vec<foldhash::HashMap<u32, f64>> = Vec::new();
    for (by, _) in order {
        let mut values = foldhash::HashMap::default();
        if let OrderBy::Metric(path) = by {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            for bucket in buckets.iter() {
                values.insert(bucket.number, level.metric(bucket.number, &path)?);
            }
        }
        metrics.push(values);
    }
    buckets.sort_by(|left, right| {
        for ((by, descending), values) in order.iter().zip(&metrics) {
            let ordering = match by {
                OrderBy::Count => left.count.cmp(&right.count),
                OrderBy::Key => compare(left.key, right.key),
                OrderBy::Metric(_) => {
                    let value = |bucket: &Bucket| values.get(&bucket.number).copied().unwrap_or(f64::NAN);
                    let (left, right) = (value(left), value(right));
                    match (left.is_nan(), right.is_nan()) {
                        // What has no number comes last either way.
                        (true, false) => return Ordering::Greater,
                        (false, true) => return Ordering::Less,
                        _ => left.total_cmp(&right),
                    }
                }
            };
            if ordering != Ordering::Equal {
                return if *descending { ordering.reverse() } else { ordering };
            }
        }
        compare(left.key, right.key)
    });
    Ok(())
}

/// What terms are asked for.
#[derive(Debug, Clone)]
pub(super) struct TermsSpec {
    field: String,
    size: usize,
    order: Order,
    min_doc_count: u64,
    missing: Option<Value>,
    include: Option<Vec<Value>>,
    exclude: Option<Vec<Value>>,
}

impl TermsSpec {
    pub(super) fn parse(options: &Options<'_>) -> ApiResult<Self> {
        options.allow(&[
            "field",
            "size",
            "order",
            "min_doc_count",
            "shard_size",
            "shard_min_doc_count",
            "missing",
            "include",
            "exclude",
            "execution_hint",
            "collect_mode",
            "show_term_doc_count_error",
        ])?;
        if options.flag("show_term_doc_count_error") {
            return Err(ApiError::unsupported("[show_term_doc_count_error]"));
        }
        let size = options.count("size", 10)?;
        if size == 0 {
            let cause = ApiError::illegal("[size] must be greater than 0. Found [0] in [terms]");
            return Err(options.unreadable("size").caused_by(cause));
        }
        let min_doc_count = options.count("min_doc_count", 1)?;
        if min_doc_count == 0 {
            return Err(ApiError::unsupported("[min_doc_count] 0 in a [terms] aggregation"));
        }
        let list = |name: &str| match options.get(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values.clone())),
            Some(_) => Err(ApiError::unsupported(format!("[{name}] as a regular expression or partition"))),
        };
        let mut order = parse_order(options.get("order"))?;
        if order.is_empty() {
            order.push((OrderBy::Count, true));
        }
        Ok(Self {
            field: options.field()?,
            size: numbers::to_usize(size),
            order,
            min_doc_count,
            missing: options.get("missing").cloned(),
            include: list("include")?,
            exclude: list("exclude")?,
        })
    }
}

/// Buckets by value of a field.
pub(super) struct Terms {
    spec: TermsSpec,
    source: FieldSource,
    kind: Option<KeyKind>,
    reader: KeyReader,
    buckets: Buckets,
    grouped: Grouped,
    level: Level,
    missing: Option<u64>,
    include: Option<HashSet<u64>>,
    exclude: HashSet<u64>,
    keys: Vec<u64>,
    shared: Rc<Shared>,
}

impl Terms {
    pub(super) fn new(spec: TermsSpec, subs: &[(String, AggSpec)], shared: &Rc<Shared>) -> ApiResult<Self> {
        Ok(Self {
            source: FieldSource::new(&spec.field),
            kind: None,
            reader: KeyReader::default(),
            buckets: Buckets::new(shared),
            grouped: Grouped::default(),
            level: Level::new(subs, shared)?,
            missing: None,
            include: None,
            exclude: HashSet::default(),
            keys: Vec::new(),
            shared: shared.clone(),
            spec,
        })
    }

    /// The key of a value as a request writes it.
    fn key_of(&mut self, value: &Value) -> ApiResult<u64> {
        let Some(kind) = &self.source.kind else { return Ok(self.reader.texts.number(plain_text(value))) };
        match read_scalar(kind, value).map_err(ApiError::illegal)? {
            Some(Scalar::Text(text)) => Ok(self.reader.texts.number(text)),
            Some(Scalar::Integer(number)) => Ok(super::keys::integer_bits(number)),
            Some(Scalar::Float(number)) => Ok(number.to_bits()),
            None => Err(ApiError::illegal("a value is expected")),
        }
    }

    fn keys_of(&mut self, values: Option<Vec<Value>>) -> ApiResult<Option<HashSet<u64>>> {
        let Some(values) = values else { return Ok(None) };
        values.iter().map(|value| self.key_of(value)).collect::<ApiResult<_>>().map(Some)
    }
}

impl Collector for Terms {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.source.open_index(meta)?;
        if let Some(kind) = &self.source.kind {
            self.kind = Some(KeyKind::of(kind));
        }
        if let Some(missing) = self.spec.missing.clone() {
            self.missing = Some(self.key_of(&missing)?);
        }
        self.include = self.keys_of(self.spec.include.clone())?;
        self.exclude = self.keys_of(self.spec.exclude.clone())?.unwrap_or_default();
        self.level.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.reader.open_segment();
        self.source.open_segment(segment)?;
        self.level.open_segment(segment)
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        if let Some(kind) = &self.kind {
            let texts = self.reader.texts.len();
            self.reader.keys(kind, &self.source.values, doc, &mut keys)?;
            self.shared.keep(self.reader.texts.len() - texts)?;
        }
        if keys.is_empty() {
            keys.extend(self.missing);
        }
        for key in keys.iter().filter(|key| {
            self.include.as_ref().is_none_or(|include| include.contains(key)) && !self.exclude.contains(key)
        }) {
            let number = self.buckets.add(parent, *key)?;
            self.level.collect(doc, number)?;
        }
        self.keys = keys;
        Ok(())
    }

    fn finish(&mut self, parent: u32) -> ApiResult<Value> {
        let mut buckets = self.grouped.of(&mut self.buckets, parent);
        buckets.retain(|bucket| bucket.count >= self.spec.min_doc_count);
        let kind = self.kind.clone().unwrap_or(KeyKind::Text);
        sort_buckets(&mut buckets, &self.spec.order, &mut self.level, |left, right| {
            self.reader.compare(&kind, left, right)
        })?;
        let others: u64 = buckets.iter().skip(self.spec.size).map(|bucket| bucket.count).sum();
        buckets.truncate(self.spec.size);
        self.shared.give(buckets.len())?;
        let mut shown = Vec::with_capacity(buckets.len());
        for bucket in &buckets {
            let (key, text) = self.reader.show(&kind, bucket.key);
            let mut head = vec![("key", key)];
            head.extend(text.map(|text| ("key_as_string", text.into())));
            shown.push(bucket_json(head, bucket.count, bucket.number, &mut self.level)?);
        }
        Ok(json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": shown}))
    }
}
