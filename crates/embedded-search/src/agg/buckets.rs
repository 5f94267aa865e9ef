//! Numbering buckets: a parent's bucket and a key give a bucket of one's own.

use std::rc::Rc;

use foldhash::HashMap;

use super::{NO_BUCKET, Shared};
use crate::error::ApiResult;
use crate::numbers;

/// The buckets of a collector, with their counts.
pub(super) struct Buckets {
    numbers: HashMap<(u32, u64), u32>,
    counts: Vec<u64>,
    shared: Rc<Shared>,
}

impl Buckets {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        Self { numbers: HashMap::default(), counts: Vec::new(), shared: shared.clone() }
    }

    /// Adds a document to the bucket of a key; gives the bucket's number.
    pub(super) fn add(&mut self, parent: u32, key: u64) -> ApiResult<u32> {
        let number = match self.numbers.get(&(parent, key)) {
            Some(number) => *number,
            None => {
                self.shared.keep(1)?;
                let number = numbers::to_u32(self.counts.len());
                self.numbers.insert((parent, key), number);
                self.counts.push(0);
                number
            }
        };
        if let Some(count) = self.counts.get_mut(numbers::to_usize(number)) {
            *count += 1;
        }
        Ok(number)
    }

    /// The buckets of all parents, grouped: key, number and count.
    pub(super) fn take(&mut self) -> HashMap<u32, Vec<Bucket>> {
        let mut grouped: HashMap<u32, Vec<Bucket>> = HashMap::default();
        for ((parent, key), number) in std::mem::take(&mut self.numbers) {
            let count = self.counts.get(numbers::to_usize(number)).copied().unwrap_or(0);
            grouped.entry(parent).or_default().push(Bucket { key, number, count });
        }
        grouped
    }
}

/// A bucket: its key, its number and how many documents are in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    pub(super) key: u64,
    pub(super) number: u32,
    pub(super) count: u64,
}

impl Bucket {
    /// A bucket that no document fell into.
    pub(super) fn empty(key: u64) -> Self {
        Self { key, number: NO_BUCKET, count: 0 }
    }
}

/// The buckets by parent, grouped when the first answer is made.
#[derive(Default)]
pub(super) struct Grouped(Option<HashMap<u32, Vec<Bucket>>>);

impl Grouped {
    pub(super) fn of(&mut self, buckets: &mut Buckets, parent: u32) -> Vec<Bucket> {
        self.0.get_or_insert_with(|| buckets.take()).remove(&parent).unwrap_or_default()
    }
}
