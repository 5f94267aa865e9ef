//! Topic `weir.audit.v1`: what was deleted or given up, by whom and why.

use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// One act that cannot be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When, ms since the epoch.
    pub at: Millis,
    /// What was done, e.g. `delete_index`, `metadata_gap`, `retry_dead_letter`.
    pub action: String,
    /// To what: an index, a topic, a cluster.
    pub target: String,
    /// Why, in words.
    pub reason: String,
    /// Bytes concerned; 0 where that makes no sense.
    pub bytes: u64,
    /// Documents concerned; 0 where that makes no sense.
    pub documents: u64,
    /// Who: the service and its instance, or the user and host of a command.
    pub by: String,
}
