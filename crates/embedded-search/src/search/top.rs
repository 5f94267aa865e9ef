//! Keeping the first hits of a sort.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::columns::Segment;
use super::docset::DocSet;
use super::sort::{BoundKey, Key, Reader, Target};
use crate::error::ApiResult;

/// A hit that may be among the first.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) keys: Vec<Key>,
    pub(super) index: u32,
    seq_no: u64,
    pub(super) segment: u32,
    pub(super) doc: u32,
    pub(super) score: f64,
}

impl Candidate {
    fn order(&self) -> (&Vec<Key>, u32, u64) {
        (&self.keys, self.index, self.seq_no)
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// The first hits; the heap's top is the last of them.
pub(super) struct Top {
    size: usize,
    after: Option<Vec<Key>>,
    heap: BinaryHeap<Candidate>,
}

/// A key on one segment, or what stands for it.
enum Source {
    Score,
    Doc,
    Field(Reader),
}

impl Top {
    pub(super) fn new(size: usize, after: Option<Vec<Key>>) -> Self {
        Self { size, after, heap: BinaryHeap::new() }
    }

    /// Whether no hits are wanted.
    pub(super) fn is_off(&self) -> bool {
        self.size == 0
    }

    pub(super) fn collect(
        &mut self,
        segment: &Segment<'_>,
        keys: &[BoundKey],
        set: &DocSet,
        score: impl Fn(u32) -> f64,
    ) -> ApiResult<()> {
        let seq_no = segment.seq_no()?;
        let mut sources = Vec::with_capacity(keys.len());
        for key in keys {
            sources.push(match key.key.target {
                Target::Score => Source::Score,
                Target::Doc => Source::Doc,
                Target::Field(_) => Source::Field(key.reader(segment)?),
            });
        }
        for doc in set.iter() {
            let seq_no = seq_no.first(doc).unwrap_or(0);
            let score = score(doc);
            let mut found = Vec::with_capacity(keys.len());
            // Keys are read one by one: most documents are out after the first.
            let mut undecided = self.heap.len() >= self.size;
            let mut behind = false;
            for (key, source) in keys.iter().zip(&sources) {
                let sign = if key.key.descending { -1 } else { 1 };
                let value = match source {
                    Source::Score => Key::Float(if key.key.descending { -score } else { score }),
                    Source::Doc => {
                        Key::Integer(sign * ((i128::from(segment.index_ordinal) << 48) | i128::from(seq_no)))
                    }
                    Source::Field(reader) => reader.key(doc)?,
                };
                if undecided && let Some(worst) = self.heap.peek().and_then(|worst| worst.keys.get(found.len())) {
                    match value.cmp(worst) {
                        Ordering::Greater => {
                            behind = true;
                            break;
                        }
                        Ordering::Less => undecided = false,
                        Ordering::Equal => {}
                    }
                }
                found.push(value);
            }
            if behind || self.after.as_ref().is_some_and(|after| found[..after.len().min(found.len())] <= after[..]) {
                continue;
            }
            self.push(Candidate {
                keys: found,
                index: segment.index_ordinal,
                seq_no,
                segment: segment.segment_ordinal,
                doc,
                score,
            });
        }
        Ok(())
    }

    fn push(&mut self, candidate: Candidate) {
        if self.heap.len() < self.size {
            self.heap.push(candidate);
        } else if self.heap.peek().is_some_and(|worst| candidate < *worst) {
            self.heap.pop();
            self.heap.push(candidate);
        }
    }

    pub(super) fn into_sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec()
    }
}
