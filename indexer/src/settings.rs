//! Process settings of the indexer. None of them changes a document or its index.

use std::time::Duration;
use weir_service::settings::{parse_duration, parse_size};

/// How the indexer reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct IndexerSettings {
    /// Consumer group; its members share the partitions
    #[arg(long, value_name = "NAME", default_value = "weir-indexer")]
    pub indexer_group: String,
    /// Name of this member that is stable over restarts, so that a restart keeps its partitions
    #[arg(long, value_name = "NAME")]
    pub indexer_instance: Option<String>,
    /// Size of a bulk request at which it is sent
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_size)]
    pub indexer_bulk_bytes: u64,
    /// How long a record may wait for others before its bulk is sent
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = parse_duration)]
    pub indexer_bulk_wait: Duration,
    /// Bulk requests under way at once, at most; fewer while the engine is busy
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub indexer_concurrency: u16,
    /// Memory for records that are not stored yet; beyond it reading pauses
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub indexer_memory: u64,
    /// How many records may be read beyond the oldest one that is not stored, at most: they are read again after a restart;
    /// beyond it reading pauses
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub indexer_ahead: u64,
    /// Begin at the oldest record still there when the group has no position and older ones were deleted; without it
    /// that is an error, because records would be missing without anybody having said so
    #[arg(long)]
    pub indexer_accept_gap: bool,
    /// Go on writing when a disk of the engine is nearly at flood stage, instead of leaving records in Kafka until there is
    /// room
    #[arg(long)]
    pub indexer_ignore_watermarks: bool,
}

impl Default for IndexerSettings {
    fn default() -> Self {
        Self {
            indexer_group: "weir-indexer".to_owned(),
            indexer_instance: None,
            indexer_bulk_bytes: 4 << 20,
            indexer_bulk_wait: Duration::from_millis(500),
            indexer_concurrency: 2,
            indexer_memory: 64 << 20,
            indexer_ahead: 1_000_000,
            indexer_accept_gap: false,
            indexer_ignore_watermarks: false,
        }
    }
}
