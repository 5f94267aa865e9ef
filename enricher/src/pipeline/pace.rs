//! Keeps stage 1 from running far ahead of what stage 2 can close.
//!
//! A generation is closed once every raw partition has written it. Where one of them is far behind, because its backlog is
//! longer or its owner slower, partial records of the others wait in stage 2's memory. While that is over its limit, those
//! raw partitions of this process that are ahead are paused, and what is behind is read on. A process that has no part in
//! stage 2 does not see that memory: it goes by how far the group has committed. This decides when records are written, never
//! what is in them.

use std::sync::atomic::{AtomicI64, Ordering};
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// How many windows a process without internal partitions writes ahead of what stage 2 has closed.
const AHEAD: Millis = 16;

/// The last generation that may be written for now: what stage 2 has closed everywhere, while its memory is over the limit; the
/// largest number otherwise.
#[derive(Debug)]
pub(super) struct Pace(AtomicI64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicI64::new(Millis::MAX))
    }
}

impl Pace {
    /// Takes stage 2's memory and the last generation that all its partitions have closed; without partitions it holds
    /// nobody. Held until the memory is half of the limit.
    pub(super) fn set(&self, memory: usize, limit: usize, closed: Option<Millis>) {
        let most = if self.holds() { limit / 2 } else { limit };
        let until = closed.filter(|_| memory > most).unwrap_or(Millis::MAX);
        self.0.store(until, Ordering::Relaxed);
    }

    /// Takes the last generation that the group of stage 2 has committed for all its partitions, where this process has none of
    /// them; nobody is held before that group has begun.
    pub(super) fn set_by_group(&self, closed: Option<Millis>, window: Millis) {
        let until = closed.map_or(Millis::MAX, |closed| closed.saturating_add(window.saturating_mul(AHEAD)));
        self.0.store(until, Ordering::Relaxed);
    }

    /// Whether anybody is held.
    pub(super) fn holds(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Millis::MAX
    }

    /// Whether a raw partition that has written up to this generation waits for others.
    pub(super) fn is_ahead(&self, written: Millis) -> bool {
        written > self.0.load(Ordering::Relaxed)
    }
}
