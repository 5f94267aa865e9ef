//! Topic `weir.checkpoint.v1[.<cluster>]`: where each stage-1 transaction stood, kept as long as raw.

use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// Written in every stage-1 transaction per partition that it closes; a replay starts from the last one with T < a.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The cluster's id.
    pub cluster: String,
    /// The raw partition.
    pub partition: i32,
    /// T: last generation written.
    pub generation: Millis,
    /// O: lowest offset holding a sample of a later generation, else the next to read.
    pub offset: i64,
    /// M before O.
    pub watermark: Millis,
}
