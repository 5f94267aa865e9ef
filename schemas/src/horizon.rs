//! Topic `weir.horizon.v1`, compacted: what retention has deleted; key `<kind>/<level>/<cluster>`, or the index's name.

use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// What is before a time is gone for ever: the indexer refuses and counts it instead of making its index anew. The time is that of
/// windows; where the kind may hold windows of any time (`capture`, `replay`), it is that of writing, and one index is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// Kind of data: `flows`, `dns`, `capture`, `replay` …
    pub kind: String,
    /// Level, 0 to 3; 0 where the kind has none.
    pub level: u8,
    /// The cluster's id; empty = all clusters.
    pub cluster: String,
    /// Without an index: windows that start before are gone, ms since the epoch. With one: its records that were written to their
    /// topic before are.
    pub before: Millis,
    /// The one index that is meant; absent = all of that kind and level. From schema v2 on.
    #[serde(default)]
    pub index: Option<String>,
}

impl Horizon {
    /// The message's key on the topic.
    #[must_use]
    pub fn key(&self) -> String {
        let Some(index) = &self.index else {
            return format!("{}/{}/{}", self.kind, self.level, self.cluster);
        };
        index.clone()
    }
}
