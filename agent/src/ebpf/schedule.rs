//! When ticks begin and end, on a wall clock that may be set while the agent runs. Pure.

use weir_flow::Millis;
use weir_flow::time::floor_to;

#[cfg(test)]
mod tests;

/// The running tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Length of a tick, ms.
    tick: Millis,
    /// Length of a window, ms.
    window: Millis,
    /// Start of the running tick, ms since the epoch.
    pub start: Millis,
    /// Where it ends and the next one begins.
    pub end: Millis,
}

/// A tick that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its start.
    pub start: Millis,
    /// How many ticks it spans: more than one when the agent was held up; never across a window's border.
    pub ticks: u32,
    /// Ticks that the agent was late for.
    pub overrun: u64,
}

impl Schedule {
    /// Begins in the tick of `now`.
    #[must_use]
    pub fn new(now: Millis, tick: Millis, window: Millis) -> Self {
        let start = floor_to(now, tick);
        Self { tick, window, start, end: start + tick }
    }

    /// The running tick has ended: it was switched at what is now `switched`, and it is `now`.
    pub fn advance(&mut self, switched: Millis, now: Millis) -> Ended {
        let spanned = ((self.end - self.start) / self.tick).max(1);
        let left = ((floor_to(self.start, self.window) + self.window - self.start) / self.tick).max(1);
        let ended = Ended {
            start: self.start,
            ticks: u32::try_from(spanned.min(left)).unwrap_or(u32::MAX),
            overrun: u64::try_from(spanned - 1).unwrap_or(0),
        };
        // A clock that is slewed moves the boundary by a little; one that was set moves it far.
        let stepped = (switched - self.end).abs() >= self.tick / 4;
        self.start = if stepped { floor_to(switched, self.tick) } else { self.end };
        self.end = (self.start + self.tick).max(floor_to(now, self.tick) + self.tick);
        ended
    }
}
