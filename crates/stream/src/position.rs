//! What may be committed when acknowledgements come out of order: only what everything before has
//! been acknowledged.

use std::collections::VecDeque;

/// The progress of one partition: records are taken in offset order, finished in any order, and
/// [`committable`](Tracker::committable) never passes an unfinished one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// Next offset to read if everything taken were finished.
    next: i64,
    /// Offsets taken and not yet passed by the committable position, in order; true = finished.
    pending: VecDeque<(i64, bool)>,
    unfinished: usize,
}

impl Tracker {
    /// Starts at the next offset to read.
    pub fn new(next: i64) -> Self {
        Self { next, pending: VecDeque::new(), unfinished: 0 }
    }

    /// Notes that the record at `offset` was taken. Offsets may have gaps (compaction, aborted
    /// transactions). Returns false, and changes nothing, for an offset below what was taken before:
    /// a record that came again.
    pub fn take(&mut self, offset: i64) -> bool {
        if offset < self.next {
            return false;
        }
        self.pending.push_back((offset, false));
        self.unfinished += 1;
        self.next = offset.saturating_add(1);
        true
    }

    /// Notes that the record at `offset` is finished. Returns false when it was not taken or was
    /// finished before.
    pub fn finish(&mut self, offset: i64) -> bool {
        let Ok(index) = self.pending.binary_search_by_key(&offset, |(taken, _)| *taken) else {
            return false;
        };
        let finished = &mut self.pending[index].1;
        if std::mem::replace(finished, true) {
            return false;
        }
        self.unfinished -= 1;
        while self.pending.front().is_some_and(|(_, finished)| *finished) {
            self.pending.pop_front();
        }
        true
    }

    /// The offset that may be committed: the lowest unfinished one, else the next to read.
    pub fn committable(&self) -> i64 {
        self.pending.front().map_or(self.next, |(offset, _)| *offset)
    }

    /// How many records were taken and are not finished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many offsets are remembered: the unfinished ones and the finished ones behind them. A
    /// caller bounds it by taking no more.
    pub fn remembered(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests;
