//! Log lines that cannot flood: at most so many a minute from one place, and the next line that is let through says
//! how many were not.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Lines a minute that one place in the program may log, unless it says otherwise.
pub const LINES_PER_MINUTE: u32 = 6;

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Log lines that all places together did not write, since the process started.
#[must_use]
pub fn suppressed_total() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct State {
    window_start: u64,
    written: u32,
    suppressed: u64,
}

/// The limiter of one place in the program. The macro [`rate_limited!`](crate::rate_limited) makes one for each use.
#[derive(Debug)]
pub struct RateLimit {
    per_minute: u32,
    state: Mutex<State>,
}

impl RateLimit {
    /// A limiter that lets `per_minute` lines through each minute.
    #[must_use]
    pub const fn new(per_minute: u32) -> Self {
        Self { per_minute, state: Mutex::new(State { window_start: 0, written: 0, suppressed: 0 }) }
    }

    /// Whether a line may be written now; if so, how many were suppressed since the last one that was.
    pub fn admit(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed().as_millis();
        self.admit_at(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// [`RateLimit::admit`] at a time of the caller's, in milliseconds on any clock that does not go back.
    pub fn admit_at(&self, now_millis: u64) -> Option<u64> {
        const MINUTE: u64 = 60_000;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now_millis.saturating_sub(state.window_start) >= MINUTE {
            state.window_start = now_millis;
            state.written = 0;
        }
        if state.written >= self.per_minute {
            state.suppressed += 1;
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

/// Logs as `tracing` does, but at most [`LINES_PER_MINUTE`](crate::rate_limit::LINES_PER_MINUTE) lines a minute from this
/// place (or `per_minute = N`). A line that follows suppressed ones has the field `suppressed`.
///
/// ```
/// # let (topic, error) = ("flows.raw.v1", "refused");
/// weir_service::rate_limited!(warn, topic, "message refused: {error}");
/// weir_service::rate_limited!(error, per_minute = 1, %error, "cannot write");
/// ```
#[macro_export]
macro_rules! rate_limited {
    ($level:ident, per_minute = $limit:expr, $($rest:tt)+) => {{
        static LIMIT: $crate::rate_limit::RateLimit = $crate::rate_limit::RateLimit::new($limit);
        match LIMIT.admit() {
            Some(0) => $crate::macro_support::tracing::$level!($($rest)+),
            Some(suppressed) => {
                $crate::macro_support::tracing::$level!(suppressed, $($rest)+);
            }
            None => {}
        }
    }};
    ($level:ident, $($rest:tt)+) => {
        $crate::rate_limited!($level, per_minute = $crate::rate_limit::LINES_PER_MINUTE, $($rest)+)
    };
}
