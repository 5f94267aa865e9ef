//! How often one client's complaints are logged: while a broker is away the library says so many times a second.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Lines of one client per period.
const LINES: u64 = 5;
/// The period.
const PERIOD: Duration = Duration::from_secs(60);

/// Counts the lines of one client.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    begun: Option<Instant>,
    lines: u64,
    suppressed: u64,
}

impl Limiter {
    /// Whether a line may be written at `now`, and how many were not since the last that was.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        if self.begun.is_none_or(|begun| now.duration_since(begun) >= PERIOD) {
            self.begun = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}
