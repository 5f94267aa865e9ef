//! Searching: what matches, what comes first, what it adds up to.

pub(crate) mod bind;
pub(crate) mod columns;
pub(crate) mod docset;
pub(crate) mod eval;
mod fetch;
mod pattern;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod sort;
#[cfg(test)]
mod tests;
mod top;

use std::sync::Arc;

use serde_json::{Value, json};
use tantivy::{DocAddress, Searcher};

use self::bind::{Binder, Bound};
use self::columns::{ColumnName, Segment, Values};
use self::docset::DocSet;
use self::eval::{Rarities, constant_score, matching};
pub(crate) use self::fetch::SourceFilter;
use self::fetch::{HitParts, print_hit, print_score};
use self::request::{Counting, SearchRequest};
use self::sort::{BoundKey, SortKey, Target};
use self::top::{Candidate, Top};
use crate::Limits;
use crate::agg::Aggregations;
use crate::document::IGNORED;
use crate::error::{ApiError, ApiResult};
use crate::index::{Index, Meta, load_document};
use crate::numbers;

/// An index as one search sees it.
pub(crate) struct Searched {
    pub(crate) index: Arc<Index>,
    pub(crate) meta: Arc<Meta>,
    pub(crate) searcher: Searcher,
}

/// An index while a search runs over it.
struct Open<'a> {
    searched: &'a Searched,
    bound: Bound,
    post_filter: Option<Bound>,
    keys: Vec<BoundKey>,
    segments: Vec<Segment<'a>>,
}

/// What a search found, printed.
pub(crate) struct Found {
    pub(crate) shards: usize,
    /// The number of hits and whether it is exact; `None` when hits are not counted.
    pub(crate) total: Option<(u64, bool)>,
    pub(crate) max_score: Option<f64>,
    pub(crate) hits: Vec<String>,
    pub(crate) aggregations: Option<Value>,
}

/// Runs a search.
pub(crate) fn run(indices: &[Searched], request: &SearchRequest, limits: &Limits, now: i64) -> ApiResult<Found> {
    check_window(indices, request, limits)?;
    let keys = sort_keys(request);
    let mut opened = Vec::with_capacity(indices.len());
    for (ordinal, searched) in indices.iter().enumerate() {
        opened.push(open(searched, numbers::to_u32(ordinal), request, &keys, now)?);
    }
    let mut top = Top::new(request.from.saturating_add(request.size), after_keys(request, opened.first(), keys.len())?);
    let mut aggregations = Aggregations::new(&request.aggs, limits, now)?;
    let mut total = 0;
    let mut sets: Vec<Vec<DocSet>> = Vec::with_capacity(opened.len());
    for open in &opened {
        let mut of_index = Vec::with_capacity(open.segments.len());
        for segment in &open.segments {
            let mut set = matching(&open.bound, segment)?;
            set.intersect(&segment.alive());
            of_index.push(set);
        }
        total += collect(open, &of_index, &mut top)?;
        sets.push(of_index);
    }
    for pass in 0..aggregations.passes() {
        for (open, sets) in opened.iter().zip(&sets) {
            aggregations.open_index(&open.searched.meta)?;
            for (segment, set) in open.segments.iter().zip(sets) {
                aggregations.collect(segment, set, pass).map_err(|error| error.on_shard(&open.searched.meta.name))?;
                segment.close();
            }
        }
    }
    let scored = request.sort.is_none() || request.track_scores || keys.iter().any(|key| key.target == Target::Score);
    let candidates = top.into_sorted();
    let max_score = candidates.iter().filter(|_| scored).map(|candidate| candidate.score).reduce(f64::max);
    let mut hits = Vec::new();
    for candidate in candidates.iter().skip(request.from).take(request.size) {
        hits.push(hit(&opened, candidate, request, scored)?);
    }
    let shown = if request.aggs.is_empty() || indices.is_empty() { None } else { Some(aggregations.finish()?) };
    let total = match request.counting {
        Counting::Off => None,
        Counting::UpTo(most) if total > most => Some((most, false)),
        Counting::UpTo(_) | Counting::Exact => Some((total, true)),
    };
    let max_score = if indices.is_empty() { Some(0.0) } else { max_score };
    Ok(Found { shards: indices.len(), total, max_score, hits, aggregations: shown })
}

fn check_window(indices: &[Searched], request: &SearchRequest, limits: &Limits) -> ApiResult<()> {
    if request.search_after.is_some() && request.from > 0 {
        return Err(ApiError::illegal("`from` parameter must be set to 0 when `search_after` is used"));
    }
    let window = request.from.saturating_add(request.size);
    for searched in indices {
        let own =
            searched.meta.settings.get("max_result_window").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let most: usize = own.unwrap_or(limits.max_result_window).min(limits.max_result_window);
        if window > most {
            return Err(ApiError::illegal(format!(
                "Result window is too large, from + size must be less than or equal to: [{most}] but was [{window}]. See the scroll api for a more efficient way to request large data sets. This limit can be set by changing the [index.max_result_window] index level setting."
            ))
            .on_shard(&searched.meta.name));
        }
    }
    Ok(())
}

/// The keys of the sort; ties are broken by the order of writing.
fn sort_keys(request: &SearchRequest) -> Vec<SortKey> {
    let mut keys = request.sort.clone().unwrap_or_else(|| vec![SortKey::by_score()]);
    // A point in time adds its own tie-breaker.
    if request.pit.is_some() && request.sort.is_some() && !keys.iter().any(|key| key.target == Target::Doc) {
        keys.push(SortKey::by_doc());
    }
    keys
}

fn after_keys(request: &SearchRequest, open: Option<&Open<'_>>, keys: usize) -> ApiResult<Option<Vec<sort::Key>>> {
    let Some(values) = &request.search_after else { return Ok(None) };
    if request.sort.is_none() && request.pit.is_none() {
        return Err(ApiError::illegal("Sort must contain at least one field."));
    }
    let implicit = request.pit.is_some() && values.len() + 1 == keys;
    if values.len() != keys && !implicit {
        return Err(ApiError::illegal(format!("search_after has {} value(s) but sort has {keys}.", values.len())));
    }
    let Some(open) = open else { return Ok(None) };
    open.keys.iter().zip(values).map(|(key, value)| key.read(value)).collect::<ApiResult<_>>().map(Some)
}

fn open<'a>(
    searched: &'a Searched,
    ordinal: u32,
    request: &SearchRequest,
    keys: &[SortKey],
    now: i64,
) -> ApiResult<Open<'a>> {
    let binder = Binder { meta: &searched.meta, now };
    let readers = searched.searcher.segment_readers().iter().zip(0_u32..);
    Ok(Open {
        searched,
        bound: binder.bind(&request.query)?,
        post_filter: request.post_filter.as_ref().map(|filter| binder.bind(filter)).transpose()?,
        keys: keys.iter().map(|key| key.bind(&searched.meta)).collect::<ApiResult<_>>()?,
        segments: readers
            .map(|(reader, segment)| Segment::new(reader, searched.index.fields, ordinal, segment))
            .collect(),
    })
}

/// Counts the hits of an index and keeps the first of them.
fn collect(open: &Open<'_>, sets: &[DocSet], top: &mut Top) -> ApiResult<u64> {
    let mut total = 0;
    let constant = constant_score(&open.bound);
    let by_score = open.keys.iter().any(|key| key.key.target == Target::Score);
    let rarities = match constant {
        None if by_score && !top.is_off() => Some(Rarities::count(&open.bound, &open.segments)?),
        _ => None,
    };
    for (segment, set) in open.segments.iter().zip(sets) {
        let filtered;
        let set = match &open.post_filter {
            None => set,
            Some(filter) => {
                let mut narrowed = set.clone();
                narrowed.intersect(&matching(filter, segment)?);
                filtered = narrowed;
                &filtered
            }
        };
        total += set.len();
        if top.is_off() || set.is_empty() {
            continue;
        }
        let scores = rarities.as_ref().map(|rarities| rarities.scores(&open.bound, segment)).transpose()?;
        let score = |doc: u32| match &scores {
            Some(scores) => scores.get(numbers::to_usize(doc)).copied().unwrap_or(0.0),
            None => constant.unwrap_or(1.0),
        };
        top.collect(segment, &open.keys, set, score)?;
    }
    Ok(total)
}

fn hit(opened: &[Open<'_>], candidate: &Candidate, request: &SearchRequest, scored: bool) -> ApiResult<String> {
    let open = opened.get(numbers::to_usize(candidate.index)).ok_or_else(|| ApiError::internal("a hit of no index"))?;
    let address = DocAddress { segment_ord: candidate.segment, doc_id: candidate.doc };
    let document = load_document(&open.searched.searcher, open.searched.index.fields, address)?;
    let mut ignored = Vec::new();
    if let Some(segment) = open.segments.get(numbers::to_usize(candidate.segment)) {
        let values = segment.values(&ColumnName { column: IGNORED.to_owned(), key: None })?;
        if let Values::Strings(strings) = &*values {
            for ordinal in strings.ordinals(candidate.doc) {
                ignored.push(strings.text(ordinal)?);
            }
        }
    }
    let sort = (request.sort.is_some() || request.pit.is_some() && request.search_after.is_some())
        .then(|| open.keys.iter().zip(&candidate.keys).map(|(key, value)| key.print(value)).collect());
    Ok(print_hit(&HitParts {
        index: &open.searched.meta.name,
        id: &document.id,
        version: request.version.then_some(document.version),
        seq_no: request.seq_no.then_some(document.seq_no),
        score: scored.then_some(candidate.score),
        ignored,
        source: request.source.apply(&document.source)?,
        sort,
    }))
}

/// Counts what matches.
pub(crate) fn count(indices: &[Searched], query: &query::Query, now: i64) -> ApiResult<u64> {
    let mut total = 0;
    for (ordinal, searched) in indices.iter().enumerate() {
        let bound = Binder { meta: &searched.meta, now }.bind(query)?;
        for (reader, segment_ordinal) in searched.searcher.segment_readers().iter().zip(0_u32..) {
            let segment = Segment::new(reader, searched.index.fields, numbers::to_u32(ordinal), segment_ordinal);
            let mut set = matching(&bound, &segment)?;
            set.intersect(&segment.alive());
            total += set.len();
        }
    }
    Ok(total)
}

/// Prints what a search found.
pub(crate) fn print(found: Found, took_ms: u64, pit: Option<&str>, total_as_number: bool) -> String {
    let shards = json!({"total": found.shards, "successful": found.shards, "skipped": 0, "failed": 0});
    let pit = pit.map(|id| format!("\"pit_id\":{},", json!(id))).unwrap_or_default();
    let total = match found.total {
        None => String::new(),
        Some((total, _)) if total_as_number => format!("\"total\":{total},"),
        Some((total, exact)) => {
            format!("\"total\":{},", json!({"value": total, "relation": if exact { "eq" } else { "gte" }}))
        }
    };
    let aggregations =
        found.aggregations.map(|aggregations| format!(",\"aggregations\":{aggregations}")).unwrap_or_default();
    format!(
        "{{{pit}\"took\":{took_ms},\"timed_out\":false,\"_shards\":{shards},\"hits\":{{{total}\"max_score\":{},\"hits\":[{}]}}{aggregations}}}",
        print_score(found.max_score),
        found.hits.join(",")
    )
}
