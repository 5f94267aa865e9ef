//! Topic `weir.horizon.v1`, compacted: what retention has deleted; key `<kind>/<level>/<cluster>`.

use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// Records before a time are gone for ever: the indexer refuses and counts them instead of making their index anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// Kind of data: `flows`, `dns`, `capture`, `replay` …
    pub kind: String,
    /// Level, 0 to 3; 0 where the kind has none.
    pub level: u8,
    /// The cluster's id; empty = all clusters.
    pub cluster: String,
    /// Windows that start before are gone, ms since the epoch.
    pub before: Millis,
}

impl Horizon {
    /// The message's key on the topic.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.kind, self.level, self.cluster)
    }
}
