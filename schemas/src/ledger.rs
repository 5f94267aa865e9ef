//! Topic `weir.ledger.v1`: where everything that was seen has gone.

use crate::raw::{Loss, Totals};
use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ledger {
    /// Per (partition, generation, node, boot): seen = received + lost.
    #[serde(rename = "weir.Received")]
    Received(Received),
    /// Per (cluster, generation, level, reporter): received = stored + filtered + dead-lettered + outside totals.
    #[serde(rename = "weir.Stored")]
    Stored(Stored),
}

/// What stage 1 received of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The cluster's id.
    pub cluster: String,
    /// The raw partition.
    pub partition: i32,
    /// The generation.
    pub generation: Millis,
    /// The node.
    pub node: String,
    /// One start of the agent process.
    pub boot: String,
    /// First sequence number of the generation's batches.
    pub first_sequence: u64,
    /// Last sequence number of the generation's batches.
    pub last_sequence: u64,
    /// What the samples of the generation add up to.
    pub received: Totals,
    /// The agent's cumulative `seen` at the last batch.
    pub seen: Totals,
    /// The agent's cumulative losses at the last batch.
    pub agent_lost: Vec<Loss>,
    /// What stage 1 did not take, by reason (`too_late`, `clamped` is not a loss).
    pub lost: Vec<Loss>,
    /// Batches whose tick was clamped by the broker's append time.
    pub clamped: u64,
}

/// What became of the samples received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The cluster's id.
    pub cluster: String,
    /// The internal partition.
    pub partition: i32,
    /// The generation.
    pub generation: Millis,
    /// The level.
    pub level: u8,
    /// Whose report.
    pub reporter: Reporter,
    /// In records.
    pub stored: Totals,
    /// Dropped by a filter.
    pub filtered: Totals,
    /// Outside totals: transit and underlay.
    pub outside: Totals,
}

/// Who reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// The end that opened the connection.
    Initiator,
    /// The other end.
    Responder,
}
