//! This machine's time, for commands that are asked about ages and for what is due, and how times are written.

use std::time::{SystemTime, UNIX_EPOCH};
use weir_flow::Millis;

/// A time, ms since the epoch, as people write it.
pub(crate) fn text(millis: Millis) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |time| time.to_string())
}

/// Now, ms since the epoch.
pub(crate) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX)
}
