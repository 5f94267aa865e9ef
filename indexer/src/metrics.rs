//! What the indexer counts.

use crate::document::Met;
use weir_service::Metrics;
use weir_service::metrics::{Counter, Family, Gauge, Histogram, Label, SECONDS};

/// The indexer's metrics.
#[derive(Clone, Debug)]
pub struct IndexerMetrics {
    /// Records read, by data set.
    pub records: Family<Label, Counter>,
    /// Ends of flow records, by whether an earlier record had the same.
    pub ends: Family<Label, Counter>,
    /// Pairs of ends of flow records, by whether an earlier record had the same, and whether it was expected.
    pub pairs: Family<Label, Counter>,
    /// Operations finished, by what became of them.
    pub operations: Family<Label, Counter>,
    /// Bulk requests sent.
    pub bulks: Counter,
    /// Bytes of bulk requests sent.
    pub bulk_bytes: Counter,
    /// Time from sending a bulk to its answer, s.
    pub bulk_seconds: Histogram,
    /// Waits, by reason.
    pub waits: Family<Label, Counter>,
    /// Bulks that stand still because of an alarm.
    pub alarms: Gauge,
    /// Bytes of records that are not stored yet, by data set.
    pub held_bytes: Family<Label, Gauge>,
    /// Offsets read beyond the position that can be committed, by data set.
    pub ahead: Family<Label, Gauge>,
    /// How often reading was held back, by reason.
    pub held_back: Family<Label, Counter>,
    /// Operations that may be in one request, by data set.
    pub bulk_operations_limit: Family<Label, Gauge>,
    /// Bulks that may be under way at once, by data set.
    pub concurrency_limit: Family<Label, Gauge>,
    /// Records that were deleted from the topic before they were read.
    pub expired: Counter,
    /// Commits that failed.
    pub commit_errors: Counter,
    /// Indices created.
    pub indices_created: Counter,
    /// Indices made before their period began.
    pub indices_ahead: Counter,
    /// Indices of a newer version that were met.
    pub newer_indices: Counter,
    /// Mappings of open indices that got fields.
    pub mappings_updated: Counter,
}

impl IndexerMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            records: metrics.counter_family("weir_indexer_records", "records read, by data set"),
            ends: metrics.counter_family(
                "weir_indexer_ends",
                "ends of flow records, by whether their text was known from an earlier record or is new",
            ),
            pairs: metrics.counter_family(
                "weir_indexer_pairs",
                "pairs of ends of flow records, by whether they were expected behind the one before, only known from an earlier record, or are new",
            ),
            operations: metrics.counter_family(
                "weir_indexer_operations",
                "operations finished, by fate: stored, superseded by a higher correction, dead-lettered, or below the horizon of what retention keeps",
            ),
            bulks: metrics.counter("weir_indexer_bulks", "bulk requests sent"),
            bulk_bytes: metrics.counter("weir_indexer_bulk_bytes", "bytes of bulk requests sent"),
            bulk_seconds: metrics.histogram(
                "weir_indexer_bulk_seconds",
                "time from a bulk request to its answer",
                SECONDS,
            ),
            waits: metrics.counter_family("weir_indexer_waits", "waits before a bulk was sent again, by reason"),
            alarms: metrics.gauge("weir_indexer_alarms", "bulks that stand still until the engine or a person acts"),
            held_bytes: metrics
                .gauge_family("weir_indexer_held_bytes", "bytes of records read and not yet stored, by data set"),
            ahead: metrics.gauge_family(
                "weir_indexer_ahead_records",
                "records read beyond the oldest one that is not stored, which a restart reads again, by data set",
            ),
            held_back: metrics.counter_family(
                "weir_indexer_held_back",
                "times that reading was held back, by reason: memory is full, or too far ahead of a bulk that stands still",
            ),
            bulk_operations_limit: metrics.gauge_family(
                "weir_indexer_bulk_operations_limit",
                "operations that may be in one bulk request: halved when the engine is busy, growing back slowly, by data set",
            ),
            concurrency_limit: metrics.gauge_family(
                "weir_indexer_concurrency_limit",
                "bulks that may be under way at once: --indexer-concurrency, and fewer when the engine is busy, by data set",
            ),
            expired: metrics
                .counter("weir_indexer_expired_records", "offsets deleted from the topic before they were read"),
            commit_errors: metrics
                .counter("weir_indexer_commit_errors", "commits of positions that failed and are repeated"),
            indices_created: metrics.counter("weir_indexer_indices_created", "indices created"),
            indices_ahead: metrics
                .counter("weir_indexer_indices_ahead", "indices made sure of before their period began"),
            newer_indices: metrics.counter(
                "weir_indexer_newer_indices",
                "indices that were to be written and that a newer version made: upgrade this indexer",
            ),
            mappings_updated: metrics.counter(
                "weir_indexer_mappings_updated",
                "open indices of an older version whose mappings got the fields that they lacked",
            ),
        }
    }

    /// Counts ends and pairs of them.
    pub fn ends_met(&self, met: Met) {
        let pairs = [("expected", met.pairs_expected), ("known", met.pairs_known), ("new", met.pairs_new)];
        let ends = [("known", met.known), ("new", met.new)];
        for (family, counts) in [(&self.ends, ends.as_slice()), (&self.pairs, &pairs)] {
            for (text, count) in counts.iter().filter(|(_, count)| *count > 0) {
                family.get_or_create(&[("text", (*text).to_owned())]).inc_by(*count);
            }
        }
    }

    /// Counts operations with this fate.
    pub fn finished(&self, fate: &str, operations: usize) {
        if operations > 0 {
            let count = u64::try_from(operations).unwrap_or(u64::MAX);
            self.operations.get_or_create(&[("fate", fate.to_owned())]).inc_by(count);
        }
    }

    /// Counts a wait.
    pub fn waited(&self, reason: &str) {
        self.waits.get_or_create(&[("reason", reason.to_owned())]).inc();
    }
}
