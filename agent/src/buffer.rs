//! The bounded buffer of ticks that wait for Kafka.

use crate::tick::{Tick, add, totals};
use std::collections::VecDeque;
use weir_flow::Millis;
use weir_flow::time::floor_to;
use weir_schemas::raw::Totals;

#[cfg(test)]
mod tests;

/// Ticks that wait, oldest first. Above the limit, ticks of one window are merged; if that does not help, the oldest
/// samples go and are counted as lost.
#[derive(Debug)]
pub struct Buffer {
    ticks: VecDeque<Tick>,
    weight: usize,
    limit: usize,
    window: Millis,
    /// How many ticks were merged into another one, for the metric.
    merged: u64,
}

/// The loss's name.
const FULL: &str = "buffer_full";

impl Buffer {
    /// An empty buffer of at most about `limit` bytes; `window` in ms.
    #[must_use]
    pub fn new(limit: usize, window: Millis) -> Self {
        Self { ticks: VecDeque::new(), weight: 0, limit, window: window.max(1), merged: 0 }
    }

    /// About how many bytes wait.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// How many ticks were merged into another.
    #[must_use]
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// Takes a tick in. The newest is never merged away or dropped by its own arrival unless it alone is too large.
    pub fn push(&mut self, tick: Tick) {
        self.weight += tick.weight();
        self.ticks.push_back(tick);
        if self.weight > self.limit {
            self.merge_windows();
        }
        while self.weight > self.limit && self.ticks.len() > 1 {
            self.drop_oldest();
        }
    }

    /// The oldest tick.
    pub fn pop(&mut self) -> Option<Tick> {
        let tick = self.ticks.pop_front()?;
        self.weight = self.weight.saturating_sub(tick.weight());
        Some(tick)
    }

    fn merge_windows(&mut self) {
        let mut kept: VecDeque<Tick> = VecDeque::with_capacity(self.ticks.len());
        for tick in std::mem::take(&mut self.ticks) {
            match kept.back_mut() {
                Some(earlier) if floor_to(earlier.start, self.window) == floor_to(tick.start, self.window) => {
                    self.merged += 1;
                    earlier.merge(tick);
                }
                _ => kept.push_back(tick),
            }
        }
        self.ticks = kept;
        self.weight = self.ticks.iter().map(Tick::weight).sum();
    }

    /// The oldest tick's samples become a loss of the next one; its own losses go along.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.pop() else { return };
        let Some(next) = self.ticks.front_mut() else { return };
        let samples: Totals = totals(&oldest.samples);
        for (reason, lost) in oldest.lost {
            add(next.lost.entry(reason).or_default(), lost);
        }
        add(next.lost.entry(FULL.to_owned()).or_default(), samples);
    }
}
