//! What may be committed when acknowledgements come out of order: only what everything before has
//! been acknowledged.

use std::collections::VecDeque;

/// How many finished offsets are remembered in any case: below that, forgetting them saves nothing.
const FEW: usize = 64;

/// The progress of one partition: records are taken in offset order, finished in any order, and
/// [`committable`](Tracker::committable) never passes an unfinished one. Its memory grows with the unfinished
/// records alone, however many behind them are finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// Next offset to read if everything taken were finished.
    next: i64,
    /// Offsets taken and not yet passed by the committable position, in order; true = finished. Of finished ones only
    /// as many as there are unfinished ones, and a few.
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
        self.finish_all(&[offset]) == 1
    }

    /// Notes that all of these are finished, and answers how many of them were not before. Quickest where they
    /// stand in the order in which they were taken.
    pub fn finish_all(&mut self, offsets: &[i64]) -> usize {
        let (before, mut next) = (self.unfinished, 0);
        for offset in offsets {
            let place = match self.pending.get(next) {
                Some((taken, _)) if taken == offset => Ok(next),
                _ => self.pending.binary_search_by_key(offset, |(taken, _)| *taken),
            };
            let Some((_, finished)) = place.ok().and_then(|place| self.pending.get_mut(place)) else { continue };
            if !std::mem::replace(finished, true) {
                self.unfinished -= 1;
            }
            next = place.map_or(next, |place| place + 1);
        }
        while self.pending.front().is_some_and(|(_, finished)| *finished) {
            self.pending.pop_front();
        }
        // Seldom, so that each record pays little for it: what is forgotten is at least half of what is looked through.
        if self.pending.len() > FEW + 2 * self.unfinished {
            self.pending.retain(|(_, finished)| !finished);
        }
        before - self.unfinished
    }

    /// The offset that may be committed: the lowest unfinished one, else the next to read.
    pub fn committable(&self) -> i64 {
        self.pending.front().map_or(self.next, |(offset, _)| *offset)
    }

    /// How many records were taken and are not finished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many offsets are remembered: no more than twice the unfinished ones, and a few.
    pub fn remembered(&self) -> usize {
        self.pending.len()
    }

    /// How far reading is ahead of the position that may be committed, offsets: what would be read again after a
    /// restart. A caller bounds it by taking no more.
    pub fn ahead(&self) -> u64 {
        u64::try_from(self.next.saturating_sub(self.committable())).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
