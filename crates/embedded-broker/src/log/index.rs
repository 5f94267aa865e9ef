//! A sparse index of a segment: one entry per some kilobytes of batches.

use serde::{Deserialize, Serialize};

/// Bytes of batches between two entries, at least.
pub(crate) const INTERVAL: u64 = 16 << 10;

/// Where a batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    offset: i64,
    position: u64,
    /// Highest timestamp of the batches before this one in the segment.
    timestamp_before: i64,
}

/// A sparse index of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SparseIndex {
    entries: Vec<Entry>,
}

impl SparseIndex {
    /// Notes a batch that is being appended; most are not kept.
    pub(crate) fn note(&mut self, offset: i64, position: u64, timestamp_before: i64) {
        if self.entries.last().is_none_or(|last| position >= last.position + INTERVAL) {
            self.entries.push(Entry { offset, position, timestamp_before });
        }
    }

    /// A position at or before the batch that holds `offset`.
    pub(crate) fn position_of(&self, offset: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map_or(0, |at| self.entries[at].position)
    }

    /// A position at or before the first batch with a timestamp of at least `timestamp`.
    pub(crate) fn position_of_time(&self, timestamp: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.timestamp_before < timestamp);
        after.checked_sub(1).map_or(0, |at| self.entries[at].position)
    }
}
