//! Keeps stage 1 from running far ahead of what stage 2 can close.
//!
//! A generation is closed once every raw partition has written it. Where one of them is far behind, because its backlog is
//! longer or its owner slower, partial records of the others wait in stage 2's memory. While that is over its limit, those
//! raw partitions of this process that are ahead are paused, and what is behind is read on. This decides when records are
//! written, never what is in them.

use std::sync::atomic::{AtomicI64, Ordering};
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// The last generation that stage 2 has closed everywhere, while its memory is over the limit; the largest number otherwise.
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

    /// Whether anybody is held.
    pub(super) fn holds(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Millis::MAX
    }

    /// Whether a raw partition that has written up to this generation waits for others.
    pub(super) fn is_ahead(&self, written: Millis) -> bool {
        written > self.0.load(Ordering::Relaxed)
    }
}
