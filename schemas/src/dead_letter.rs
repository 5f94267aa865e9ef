//! Topics `weir.dlq.<topic>`: what could not be processed, with its cause and origin.

use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// A message that could not be processed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why, in one line, cut to 1 KiB.
    pub cause: String,
    /// The topic that it was read from.
    pub topic: String,
    /// The partition that it was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp there, ms since the epoch.
    pub timestamp: Millis,
    /// Its key, cut to 4 KiB; absent without one, and where the value is left out.
    #[serde(default, with = "serde_bytes")]
    pub key: Option<Vec<u8>>,
    /// Its value, cut to 512 KiB; absent for a tombstone, and where one window of a partition had more than 16 MiB of such.
    #[serde(default, with = "serde_bytes")]
    pub value: Option<Vec<u8>>,
    /// The value's whole length, bytes.
    pub length: u64,
}
