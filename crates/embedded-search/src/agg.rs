//! Aggregations: read from a request, collected over the columns, printed as Elasticsearch prints them.
//!
//! A collector serves all buckets of its parent at once: it is told a document and the number of the
//! parent's bucket that the document is in. Integers add up exactly.

mod buckets;
mod composite;
mod fields;
mod histogram;
mod keys;
mod metrics;
mod percentiles;
mod ranges;
mod spec;
mod terms;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use serde_json::{Map, Value, json};

pub(crate) use self::spec::{AggSpec, parse};
use crate::Limits;
use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::search::columns::Segment;
use crate::search::docset::DocSet;

/// The number of a bucket that no document fell into.
const NO_BUCKET: u32 = u32::MAX;

/// What collectors share: limits, and how many buckets there are.
pub(super) struct Shared {
    collected: std::cell::Cell<usize>,
    returned: std::cell::Cell<usize>,
    most_collected: usize,
    most_returned: usize,
    now: i64,
}

impl Shared {
    /// Counts things that are kept while the search runs.
    fn keep(&self, count: usize) -> ApiResult<()> {
        let collected = self.collected.get() + count;
        self.collected.set(collected);
        if collected > self.most_collected {
            let reason = format!(
                "[request] Data too large: the aggregations keep more than [{}] buckets or values",
                self.most_collected
            );
            return Err(ApiError::new(429, "circuit_breaking_exception", reason).with("durability", "TRANSIENT"));
        }
        Ok(())
    }

    /// Counts buckets of the answer.
    fn give(&self, count: usize) -> ApiResult<()> {
        let returned = self.returned.get().saturating_add(count);
        self.returned.set(returned);
        if returned > self.most_returned {
            let reason = format!(
                "Trying to create too many buckets. Must be less than or equal to: [{}] but this number of buckets was exceeded. This limit can be set by changing the [search.max_buckets] cluster level setting.",
                self.most_returned
            );
            return Err(
                ApiError::new(400, "too_many_buckets_exception", reason).with("max_buckets", self.most_returned)
            );
        }
        Ok(())
    }
}

/// Collects one aggregation for all buckets of its parent.
trait Collector {
    /// An index begins: its fields are looked up.
    fn open_index(&mut self, meta: &Meta) -> ApiResult<()>;

    /// A segment begins: its columns are opened.
    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()>;

    /// A document in a bucket of the parent.
    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()>;

    /// A document in the first of two passes, for those that need to look twice.
    fn scout(&mut self, _doc: u32) -> ApiResult<()> {
        Ok(())
    }

    /// Whether there must be two passes.
    fn scouts(&self) -> bool {
        false
    }

    /// The answer for a bucket of the parent.
    fn finish(&mut self, parent: u32) -> ApiResult<Value>;

    /// A number of the answer, for sorting buckets by it.
    fn metric(&mut self, _parent: u32, _path: &[&str]) -> ApiResult<f64> {
        Err(ApiError::illegal("buckets can only be sorted on a sub-aggregation path that ends in a metric"))
    }
}

/// The aggregations of one level.
struct Level {
    collectors: Vec<(String, Box<dyn Collector>)>,
}

impl Level {
    fn new(specs: &[(String, AggSpec)], shared: &Rc<Shared>) -> ApiResult<Self> {
        let build = |(name, spec): &(String, AggSpec)| Ok((name.clone(), spec::build(name, spec, shared)?));
        Ok(Self { collectors: specs.iter().map(build).collect::<ApiResult<_>>()? })
    }

    fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.collectors.iter_mut().try_for_each(|(_, collector)| collector.open_index(meta))
    }

    fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.collectors.iter_mut().try_for_each(|(_, collector)| collector.open_segment(segment))
    }

    fn collect(&mut self, doc: u32, parent: u32) -> ApiResult<()> {
        self.collectors.iter_mut().try_for_each(|(_, collector)| collector.collect(doc, parent))
    }

    /// Adds the answers for a bucket to what the bucket shows.
    fn finish_into(&mut self, parent: u32, shown: &mut Map<String, Value>) -> ApiResult<()> {
        for (name, collector) in &mut self.collectors {
            shown.insert(name.clone(), collector.finish(parent)?);
        }
        Ok(())
    }

    fn metric(&mut self, parent: u32, path: &[&str]) -> ApiResult<f64> {
        let (head, rest) = path.split_first().ok_or_else(|| ApiError::illegal("empty aggregation path"))?;
        let found = self.collectors.iter_mut().find(|(name, _)| name == head);
        let (_, collector) = found.ok_or_else(|| ApiError::illegal(format!("Invalid aggregation order path [{}]. The provided aggregation [{head}] either does not exist, or is a pipeline aggregation and cannot be used to sort the buckets.", path.join(">"))))?;
        collector.metric(parent, rest)
    }
}

/// The aggregations of a search.
pub(crate) struct Aggregations {
    level: Level,
    passes: usize,
}

impl Aggregations {
    pub(crate) fn new(specs: &[(String, AggSpec)], limits: &Limits, now: i64) -> ApiResult<Self> {
        let shared = Rc::new(Shared {
            collected: 0.into(),
            returned: 0.into(),
            most_collected: limits.max_collected_buckets,
            most_returned: limits.max_buckets,
            now,
        });
        let level = Level::new(specs, &shared)?;
        let passes = match level.collectors.iter().any(|(_, collector)| collector.scouts()) {
            _ if specs.is_empty() => 0,
            true => 2,
            false => 1,
        };
        Ok(Self { level, passes })
    }

    /// How often all documents must be gone through.
    pub(crate) fn passes(&self) -> usize {
        self.passes
    }

    pub(crate) fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        self.level.open_index(meta)
    }

    /// Goes through the matching documents of a segment.
    pub(crate) fn collect(&mut self, segment: &Segment<'_>, set: &DocSet, pass: usize) -> ApiResult<()> {
        self.level.open_segment(segment)?;
        if pass + 1 < self.passes {
            for (_, collector) in self.level.collectors.iter_mut().filter(|(_, collector)| collector.scouts()) {
                set.iter().try_for_each(|doc| collector.scout(doc))?;
            }
            return Ok(());
        }
        set.iter().try_for_each(|doc| self.level.collect(doc, 0))
    }

    /// The answers, by name.
    pub(crate) fn finish(mut self) -> ApiResult<Value> {
        let mut shown = Map::new();
        self.level.finish_into(0, &mut shown)?;
        Ok(Value::Object(shown))
    }
}

/// A bucket as it is shown: what names it, its count, and its sub-aggregations.
fn bucket_json(head: Vec<(&str, Value)>, count: u64, number: u32, level: &mut Level) -> ApiResult<Value> {
    let mut shown: Map<String, Value> = head.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    shown.insert("doc_count".into(), json!(count));
    level.finish_into(number, &mut shown)?;
    Ok(Value::Object(shown))
}
