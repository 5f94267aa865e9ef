//! This machine's time, for commands that are asked about ages and for what is due.

use std::time::{SystemTime, UNIX_EPOCH};
use weir_flow::Millis;

/// Now, ms since the epoch.
pub(crate) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX)
}
