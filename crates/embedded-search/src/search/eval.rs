//! Which documents of a segment match, and how they score.

use foldhash::HashMap;

use super::bind::{Bound, Matcher, Scoring};
use super::columns::{Segment, Values};
use super::docset::DocSet;
use super::pattern::words_of;
use super::query::Words;
use crate::error::ApiResult;
use crate::index::docs_with_ids;
use crate::numbers;

/// The documents that match, deleted ones included.
pub(crate) fn matching(bound: &Bound, segment: &Segment<'_>) -> ApiResult<DocSet> {
    let docs = segment.docs();
    Ok(match bound {
        Bound::All => DocSet::full(docs),
        Bound::Nothing => DocSet::empty(docs),
        Bound::Ids(ids) => {
            let mut set = DocSet::empty(docs);
            docs_with_ids(segment.reader, segment.fields, ids)?.into_iter().for_each(|doc| set.insert(doc));
            set
        }
        Bound::Leaf { column, matcher, .. } => {
            let values = segment.values(column)?;
            leaf(&values, matcher, docs)?
        }
        Bound::Constant(inner) | Bound::Boost(inner, _) => matching(inner, segment)?,
        Bound::Bool { must, filter, should, must_not, minimum } => {
            let mut set = DocSet::full(docs);
            for clause in must.iter().chain(filter) {
                set.intersect(&matching(clause, segment)?);
                if set.is_empty() {
                    return Ok(set);
                }
            }
            if *minimum > 0 {
                set.intersect(&at_least(should, *minimum, segment)?);
            }
            for clause in must_not {
                set.subtract(&matching(clause, segment)?);
            }
            set
        }
    })
}

fn at_least(clauses: &[Bound], minimum: usize, segment: &Segment<'_>) -> ApiResult<DocSet> {
    let docs = segment.docs();
    if minimum > clauses.len() {
        return Ok(DocSet::empty(docs));
    }
    // levels[n] holds the documents that n + 1 clauses match.
    let mut levels: Vec<DocSet> = vec![DocSet::empty(docs); minimum];
    for clause in clauses {
        let mut carry = matching(clause, segment)?;
        for level in &mut levels {
            let mut both = level.clone();
            both.intersect(&carry);
            level.unite(&carry);
            carry = both;
        }
    }
    Ok(levels.pop().unwrap_or_else(|| DocSet::full(docs)))
}

fn leaf(values: &Values, matcher: &Matcher, docs: u32) -> ApiResult<DocSet> {
    let mut set = DocSet::empty(docs);
    match (matcher, values) {
        (_, Values::Missing) => {}
        (Matcher::Exists, values) => values.existing(&mut set, docs),
        (Matcher::Integers(ranges), values) => integers(values, ranges, &mut set, docs),
        (Matcher::Floats(ranges), values) => {
            for (lower, upper) in ranges {
                values.select_floats(*lower, *upper, &mut set, docs);
            }
        }
        (matcher, Values::Strings(strings)) => {
            let ranges = match matcher {
                Matcher::Terms(terms) => {
                    let mut ranges = Vec::new();
                    for term in terms {
                        ranges.extend(strings.ordinal(term)?.map(|ordinal| ordinal..ordinal + 1));
                    }
                    ranges
                }
                Matcher::Between(limits) => {
                    limits.iter().map(|(lower, upper)| strings.range(lower, upper)).collect::<ApiResult<_>>()?
                }
                Matcher::Prefix(prefix) => vec![strings.prefix(prefix)?],
                Matcher::Pattern(pattern) => strings.matching(|text| pattern.matches(text))?,
                Matcher::Words { words, how } => strings.matching(|text| has_words(text, words, *how))?,
                Matcher::Integers(_) | Matcher::Floats(_) | Matcher::Exists => Vec::new(),
            };
            strings.select(&ranges, &mut set, docs);
        }
        _ => {}
    }
    Ok(set)
}

fn integers(values: &Values, ranges: &[(i128, i128)], set: &mut DocSet, docs: u32) {
    const SCANS: usize = 8;
    if ranges.len() <= SCANS {
        for (lower, upper) in ranges {
            values.select_integers(*lower, *upper, set, docs);
        }
        return;
    }
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    // Overlapping ranges become one, so that the one that may hold a value is found by bisection.
    let mut merged: Vec<(i128, i128)> = Vec::with_capacity(sorted.len());
    for (lower, upper) in sorted {
        match merged.last_mut() {
            Some(last) if lower <= last.1 => last.1 = last.1.max(upper),
            _ => merged.push((lower, upper)),
        }
    }
    for doc in 0..docs {
        values.integers(doc, |value| {
            let after = merged.partition_point(|(lower, _)| *lower <= value);
            if after.checked_sub(1).and_then(|at| merged.get(at)).is_some_and(|(_, upper)| value <= *upper) {
                set.insert(doc);
            }
        });
    }
}

fn has_words(text: &str, words: &[String], how: Words) -> bool {
    let found = words_of(text);
    match how {
        Words::Any => words.iter().any(|word| found.contains(word)),
        Words::All => words.iter().all(|word| found.contains(word)),
        Words::Phrase => !words.is_empty() && found.windows(words.len()).any(|window| window == words),
    }
}

/// Whether scores differ between documents, or are all the same number.
pub(crate) fn constant_score(bound: &Bound) -> Option<f64> {
    match bound {
        Bound::All | Bound::Nothing | Bound::Ids(_) | Bound::Constant(_) => Some(1.0),
        Bound::Leaf { scoring, .. } => (*scoring == Scoring::Constant).then_some(1.0),
        Bound::Boost(inner, boost) => Some(constant_score(inner)? * boost),
        Bound::Bool { must, should, .. } if should.is_empty() => must.iter().map(constant_score).sum(),
        Bound::Bool { .. } => None,
    }
}

/// How rare each term is, found by a pass over all segments of an index.
#[derive(Default)]
pub(crate) struct Rarities(HashMap<*const Bound, f64>);

impl Rarities {
    /// Counts for every clause that scores by rarity.
    pub(crate) fn count(bound: &Bound, segments: &[Segment<'_>]) -> ApiResult<Self> {
        let mut rarities = Self::default();
        rarities.visit(bound, segments)?;
        Ok(rarities)
    }

    fn visit(&mut self, bound: &Bound, segments: &[Segment<'_>]) -> ApiResult<()> {
        match bound {
            Bound::Boost(inner, _) => self.visit(inner, segments),
            Bound::Bool { must, should, .. } => {
                must.iter().chain(should).try_for_each(|clause| self.visit(clause, segments))
            }
            Bound::Leaf { column, scoring: Scoring::Rarity, .. } => {
                let (mut matched, mut docs, mut values) = (0, 0, 0);
                for segment in segments {
                    matched += matching(bound, segment)?.len();
                    let column = segment.values(column)?;
                    let mut existing = DocSet::empty(segment.docs());
                    column.existing(&mut existing, segment.docs());
                    docs += existing.len();
                    values += existing.iter().map(|doc| column.count(doc)).sum::<u64>();
                }
                self.0.insert(std::ptr::from_ref(bound), rarity(matched, docs, values));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The score of every document of a segment; zero where a clause does not match.
    pub(crate) fn scores(&self, bound: &Bound, segment: &Segment<'_>) -> ApiResult<Vec<f64>> {
        let mut scores = vec![0.0; numbers::to_usize(segment.docs())];
        self.add(bound, 1.0, segment, &mut scores)?;
        Ok(scores)
    }

    fn add(&self, bound: &Bound, boost: f64, segment: &Segment<'_>, scores: &mut [f64]) -> ApiResult<()> {
        let weight = match bound {
            Bound::Boost(inner, factor) => return self.add(inner, boost * factor, segment, scores),
            Bound::Bool { must, should, .. } => {
                return must
                    .iter()
                    .chain(should)
                    .try_for_each(|clause| self.add_matching(clause, boost, segment, scores));
            }
            Bound::Leaf { scoring: Scoring::Rarity, .. } => {
                self.0.get(&std::ptr::from_ref(bound)).copied().unwrap_or(0.0)
            }
            _ => 1.0,
        };
        for doc in matching(bound, segment)?.iter() {
            if let Some(score) = scores.get_mut(numbers::to_usize(doc)) {
                *score += weight * boost;
            }
        }
        Ok(())
    }

    /// As `add`, but nested clauses count only where the whole of them matches.
    fn add_matching(&self, bound: &Bound, boost: f64, segment: &Segment<'_>, scores: &mut [f64]) -> ApiResult<()> {
        if !matches!(bound, Bound::Bool { .. } | Bound::Boost(..)) {
            return self.add(bound, boost, segment, scores);
        }
        let mut own = vec![0.0; scores.len()];
        self.add(bound, boost, segment, &mut own)?;
        for doc in matching(bound, segment)?.iter() {
            let at = numbers::to_usize(doc);
            scores[at] += own[at];
        }
        Ok(())
    }
}

/// BM25 of a term that occurs once, in a field without lengths, in Lucene's 32-bit arithmetic.
fn rarity(matched: u64, docs: u64, values: u64) -> f64 {
    if docs == 0 {
        return 0.0;
    }
    let (matched, docs, values) =
        (numbers::count_to_f64(matched), numbers::count_to_f64(docs), numbers::count_to_f64(values));
    let idf = numbers::narrow((1.0 + (docs - matched + 0.5) / (matched + 0.5)).ln());
    let average = numbers::narrow(values / docs);
    let weight = 2.2_f32 * idf;
    let inverse_norm = 1.0_f32 / (1.2 * (0.25 + 0.75 / average));
    f64::from(weight - weight / (1.0 + inverse_norm))
}
