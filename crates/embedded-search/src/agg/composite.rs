//! Buckets by several values at once, page by page.
//!
//! The first pass finds the keys of the page, the second collects what is in them; so a page needs
//! memory for its own buckets only, however many there are in all.

use std::cmp::Ordering;
use std::rc::Rc;

use foldhash::HashMap;
use serde_json::{Map, Value, json};

use super::fields::FieldSource;
use super::histogram::{Rounding, number_start, numeric_interval};
use super::keys::{KeyKind, KeyReader, integer_bits};
use super::spec::{AggSpec, Options};
use super::{Collector, Level, Shared, bucket_json};
use crate::dates::Formats;
use crate::document::{Scalar, plain_text, read_scalar};
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::FieldType;
use crate::numbers;
use crate::search::columns::Segment;

/// A key: one part a source; `None` stands for a missing value.
type Key = Box<[Option<u64>]>;

/// The most keys that one document may give.
const MOST_KEYS_PER_DOCUMENT: usize = 10_000;

#[derive(Debug, Clone)]
enum SourceKind {
    Terms,
    Date { rounding: Rounding, format: Option<Formats> },
    Number(f64),
}

#[derive(Debug, Clone)]
struct SourceSpec {
    name: String,
    field: String,
    kind: SourceKind,
    descending: bool,
    missing_bucket: bool,
}

/// What composite is asked for.
#[derive(Debug, Clone)]
pub(super) struct CompositeSpec {
    sources: Vec<SourceSpec>,
    size: usize,
    after: Option<Map<String, Value>>,
}

impl SourceSpec {
    fn parse(json: &Value) -> ApiResult<Self> {
        let wrong = || ApiError::parsing("[composite] each source must be an object with one name and one type");
        let only = |json: &'_ Value| {
            json.as_object()
                .filter(|map| map.len() == 1)
                .and_then(|map| map.iter().next().map(|(key, value)| (key.clone(), value.clone())))
        };
        let (name, body) = only(json).ok_or_else(wrong)?;
        let (kind_name, body) = only(&body).ok_or_else(wrong)?;
        let options = Options::new(&kind_name, &body)?;
        let kind = match kind_name.as_str() {
            "terms" => {
                options.allow(&["field", "order", "missing_bucket"])?;
                SourceKind::Terms
            }
            "date_histogram" => {
                options.allow(&[
                    "field",
                    "order",
                    "missing_bucket",
                    "fixed_interval",
                    "calendar_interval",
                    "time_zone",
                    "offset",
                    "format",
                ])?;
                let format = options
                    .text("format")
                    .map(|format| {
                        Formats::parse(format)
                            .ok_or_else(|| ApiError::unsupported(format!("the date format [{format}]")))
                    })
                    .transpose()?;
                SourceKind::Date { rounding: Rounding::of_dates(&options)?, format }
            }
            "histogram" => {
                options.allow(&["field", "order", "missing_bucket", "interval"])?;
                SourceKind::Number(numeric_interval(&options)?)
            }
            other => return Err(ApiError::unsupported(format!("a composite source of type [{other}]"))),
        };
        let descending = match options.text("order") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => return Err(ApiError::illegal(format!("Unknown order [{other}]"))),
        };
        Ok(Self { name, field: options.field()?, kind, descending, missing_bucket: options.flag("missing_bucket") })
    }
}

impl CompositeSpec {
    pub(super) fn parse(options: &Options<'_>) -> ApiResult<Self> {
        options.allow(&["sources", "size", "after"])?;
        let list = options.get("sources").and_then(Value::as_array).filter(|sources| !sources.is_empty());
        let list = list.ok_or_else(|| {
            options.unreadable("sources").caused_by(ApiError::illegal("Composite [sources] cannot be null or empty"))
        })?;
        let size = options.count("size", 10)?;
        if size == 0 {
            return Err(ApiError::illegal("[size] must be greater than or equal to 1. Found [0] in [composite]"));
        }
        let sources = list.iter().map(SourceSpec::parse).collect::<ApiResult<Vec<_>>>()?;
        let after = match options.get("after") {
            None => None,
            Some(Value::Object(after)) => Some(after.clone()),
            Some(_) => return Err(ApiError::parsing("[composite] after doesn't support values that are not objects")),
        };
        if let Some(after) = &after
            && (after.len() != sources.len() || sources.iter().any(|source| !after.contains_key(&source.name)))
        {
            let reason = format!("[after] has {} value(s) but [sources] has {}", after.len(), sources.len());
            return Err(ApiError::illegal(reason));
        }
        Ok(Self { sources, size: numbers::to_usize(size), after })
    }
}

/// A source while a search runs.
struct Source {
    spec: SourceSpec,
    field: FieldSource,
    kind: Option<KeyKind>,
    reader: KeyReader,
    buffer: Vec<u64>,
}

impl Source {
    fn new(spec: SourceSpec) -> Self {
        let kind = match spec.kind {
            SourceKind::Terms => None,
            SourceKind::Date { .. } => Some(KeyKind::Integer),
            SourceKind::Number(_) => Some(KeyKind::Float),
        };
        Self { field: FieldSource::new(&spec.field), kind, reader: KeyReader::default(), buffer: Vec::new(), spec }
    }

    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.field.open_index(meta)?;
        if let (SourceKind::Terms, Some(kind)) = (&self.spec.kind, &self.field.kind) {
            self.kind = Some(KeyKind::of(kind));
        } else if !matches!(self.spec.kind, SourceKind::Terms) {
            self.field.require_numbers(&self.spec.name, "composite", meta)?;
        }
        Ok(())
    }

    /// The parts that a document has for this source.
    fn parts(&mut self, doc: u32) -> ApiResult<Vec<Option<u64>>> {
        let values = self.field.values.clone();
        match &self.spec.kind {
            SourceKind::Terms => match &self.kind {
                Some(kind) => self.reader.keys(kind, &values, doc, &mut self.buffer)?,
                None => self.buffer.clear(),
            },
            SourceKind::Date { rounding, .. } => {
                self.buffer.clear();
                let buffer = &mut self.buffer;
                values.integers(doc, |value| {
                    buffer.extend(i64::try_from(value).ok().map(|millis| rounding.date(millis).cast_unsigned()));
                });
                self.buffer.dedup();
            }
            SourceKind::Number(interval) => {
                self.buffer.clear();
                let buffer = &mut self.buffer;
                values.floats(doc, |value| buffer.push(number_start(value, *interval).to_bits()));
                self.buffer.dedup();
            }
        }
        if self.buffer.is_empty() && self.spec.missing_bucket {
            return Ok(vec![None]);
        }
        Ok(self.buffer.iter().copied().map(Some).collect())
    }

    fn compare(&self, left: Option<u64>, right: Option<u64>) -> Ordering {
        let ordering = match (left, right, &self.kind) {
            (Some(left), Some(right), Some(kind)) => self.reader.compare(kind, left, right),
            (Some(left), Some(right), None) => left.cmp(&right),
            (left, right, _) => left.is_some().cmp(&right.is_some()),
        };
        if self.spec.descending { ordering.reverse() } else { ordering }
    }

    fn show(&self, part: Option<u64>) -> Value {
        let (Some(part), Some(kind)) = (part, &self.kind) else { return Value::Null };
        match (&self.spec.kind, kind) {
            (SourceKind::Date { format: Some(format), .. }, _) => format.print(part.cast_signed()).into(),
            (_, KeyKind::Boolean) => (part != 0).into(),
            _ => self.reader.show(kind, part).0,
        }
    }

    /// Reads a part of `after`; needs the field's type, so it waits for the first index.
    fn read_after(&mut self, value: &Value) -> ApiResult<Option<u64>> {
        if value.is_null() {
            return Ok(None);
        }
        let wrong = || {
            ApiError::illegal(format!(
                "invalid value for [after] of source [{}]: [{}]",
                self.spec.name,
                plain_text(value)
            ))
        };
        match &self.spec.kind {
            SourceKind::Date { format, .. } => {
                let formats = format.clone().unwrap_or_default();
                let millis = match value {
                    Value::Number(number) => number.as_i64(),
                    other => formats.read(&plain_text(other)).map(|moment| moment.millis),
                };
                Ok(Some(millis.ok_or_else(wrong)?.cast_unsigned()))
            }
            SourceKind::Number(_) => Ok(Some(value.as_f64().ok_or_else(wrong)?.to_bits())),
            SourceKind::Terms => {
                let Some(kind) = &self.field.kind else { return Ok(None) };
                let kind = if let FieldType::Date { .. } = kind {
                    FieldType::Date { formats: Formats::default() }
                } else {
                    kind.clone()
                };
                Ok(Some(match read_scalar(&kind, value).map_err(|_| wrong())? {
                    Some(Scalar::Text(text)) => self.reader.texts.number(text),
                    Some(Scalar::Integer(number)) => integer_bits(number),
                    Some(Scalar::Float(number)) => number.to_bits(),
                    None => return Err(wrong()),
                }))
            }
        }
    }
}

/// Buckets by several values at once.
pub(super) struct Composite {
    sources: Vec<Source>,
    size: usize,
    after_spec: Option<Map<String, Value>>,
    after: Option<Key>,
    /// The keys of the page, in order, and the number of each bucket.
    page: Vec<Key>,
    members: HashMap<Key, u32>,
    counts: Vec<u64>,
    level: Level,
    shared: Rc<Shared>,
}

impl Composite {
    pub(super) fn new(spec: CompositeSpec, subs: &[(String, AggSpec)], shared: &Rc<Shared>) -> ApiResult<Self> {
        if spec.size > shared.most_returned {
            shared.give(spec.size)?;
        }
        Ok(Self {
            sources: spec.sources.into_iter().map(Source::new).collect(),
            size: spec.size,
            after_spec: spec.after,
            after: None,
            page: Vec::new(),
            members: HashMap::default(),
            counts: Vec::new(),
            level: Level::new(subs, shared)?,
            shared: shared.clone(),
        })
    }

    fn compare(&self, left: &Key, right: &Key) -> Ordering {
        let parts = self.sources.iter().zip(left.iter().zip(right));
        parts
            .map(|(source, (left, right))| source.compare(*left, *right))
            .find(|ordering| *ordering != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }

    /// The keys of a document: every combination of its values.
    fn keys(&mut self, doc: u32) -> ApiResult<Vec<Key>> {
        let mut keys: Vec<Vec<Option<u64>>> = vec![Vec::new()];
        for source in &mut self.sources {
            let parts = source.parts(doc)?;
            if keys.len().saturating_mul(parts.len()) > MOST_KEYS_PER_DOCUMENT {
                return Err(ApiError::illegal(format!(
                    "a document gives more than [{MOST_KEYS_PER_DOCUMENT}] composite keys"
                )));
            }
            keys = keys
                .iter()
                .flat_map(|key| parts.iter().map(|part| key.iter().copied().chain([*part]).collect()))
                .collect();
        }
        Ok(keys.into_iter().map(Vec::into_boxed_slice).collect())
    }

    fn offer(&mut self, key: Key) -> ApiResult<()> {
        if self.members.contains_key(&key)
            || self.after.as_ref().is_some_and(|after| self.compare(&key, after) != Ordering::Greater)
        {
            return Ok(());
        }
        let full = self.page.len() >= self.size;
        if full && self.page.last().is_some_and(|last| self.compare(&key, last) != Ordering::Less) {
            return Ok(());
        }
        let at = self.page.partition_point(|member| self.compare(member, &key) == Ordering::Less);
        if full {
            if let Some(evicted) = self.page.pop() {
                self.members.remove(&evicted);
            }
        } else {
            self.shared.keep(1)?;
        }
        self.members.insert(key.clone(), 0);
        self.page.insert(at, key);
        Ok(())
    }
}

impl Collector for Composite {
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.sources.iter_mut().try_for_each(|source| source.open_index(meta))?;
        if let Some(after) = &self.after_spec {
            let read = self
                .sources
                .iter_mut()
                .map(|source| source.read_after(after.get(&source.spec.name).unwrap_or(&Value::Null)));
            self.after = Some(read.collect::<ApiResult<_>>()?);
        }
        self.level.open_index(meta)
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        for source in &mut self.sources {
            source.reader.open_segment();
            source.field.open_segment(segment)?;
        }
        self.level.open_segment(segment)
    }

    fn scouts(&self) -> bool {
        true
    }

    fn scout(&mut self, doc: u32) -> ApiResult<()> {
        let texts = |composite: &Self| composite.sources.iter().map(|source| source.reader.texts.len()).sum::<usize>();
        let before = texts(self);
        let keys = self.keys(doc)?;
        self.shared.keep(texts(self) - before)?;
        keys.into_iter().try_for_each(|key| self.offer(key))
    }

    fn collect(&mut self, doc: u32, _parent: u32) -> ApiResult<()> {
        if self.counts.is_empty() {
            self.counts = vec![0; self.page.len()];
            for (key, number) in self.page.iter().zip(0_u32..) {
                self.members.insert(key.clone(), number);
            }
        }
        for key in self.keys(doc)? {
            let Some(number) = self.members.get(&key).copied() else { continue };
            if let Some(count) = self.counts.get_mut(numbers::to_usize(number)) {
                *count += 1;
            }
            self.level.collect(doc, number)?;
        }
        Ok(())
    }

    fn finish(&mut self, _parent: u32) -> ApiResult<Value> {
        self.shared.give(self.page.len())?;
        let mut shown = Vec::with_capacity(self.page.len());
        let mut last = None;
        for ((key, count), number) in std::mem::take(&mut self.page).iter().zip(&self.counts).zip(0_u32..) {
            let parts: Map<String, Value> = self
                .sources
                .iter()
                .zip(key)
                .map(|(source, part)| (source.spec.name.clone(), source.show(*part)))
                .collect();
            last = Some(parts.clone());
            shown.push(bucket_json(vec![("key", Value::Object(parts))], *count, number, &mut self.level)?);
        }
        let mut answer = json!({"buckets": shown});
        if let Some(last) = last {
            answer["after_key"] = Value::Object(last);
        }
        Ok(answer)
    }
}
