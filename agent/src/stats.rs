//! The agent's metrics.

use crate::dns::DnsCounts;
use crate::local::Counts;
use weir_service::Metrics;
use weir_service::metrics::{Counter, Family, Gauge, Label};

/// Handles on the agent's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Stats {
    packets: Family<Label, Counter>,
    bytes: Family<Label, Counter>,
    /// Samples made.
    pub samples: Counter,
    /// Ticks that the capture was late for, and merged into the one before.
    pub overruns: Counter,
    /// Times that flows were read before their tick ended, because the kernel's map was half full.
    pub early_flushes: Counter,
    /// Flows that were in the kernel's map, since there was no room in the table before it.
    pub beyond_table: Counter,
    /// Packets found in the kernel that were counted after the agent before.
    pub inherited: Counter,
    /// Packets that it had taken from the kernel and are not certainly published.
    pub lost_at_restart: Counter,
    /// DNS messages that a predecessor had read and not certainly published, and that cannot be read again.
    pub payloads_lost_at_restart: Counter,
    /// Interfaces that could not be watched.
    pub attach_failures: Counter,
    /// Dropped packets of flows on interfaces that are not watched.
    pub unwatched: Gauge,
    /// Interfaces that are watched.
    pub interfaces: Gauge,
    questions: Family<Label, Gauge>,
    /// Translated connections that are known.
    pub translations: Gauge,
    /// Translated connections left out because there were too many.
    pub translations_full: Gauge,
    /// Translated connections that packets showed in the last tick.
    pub translations_shown: Gauge,
    /// Translated connections that packets showed, left out because there were too many in a tick.
    pub translations_left_out: Gauge,
    /// Times that connection tracking said more than was read.
    pub conntrack_overruns: Gauge,
    scans: Gauge,
    overflow: Gauge,
    unknown_namespaces: Gauge,
    /// Batches acknowledged by Kafka.
    pub batches: Counter,
    /// Bytes of acknowledged batches, before compression.
    pub batch_bytes: Counter,
    /// Deliveries that failed and were begun again.
    pub retries: Counter,
    /// Batches that Kafka may or may not have written.
    pub unknown_outcomes: Counter,
    /// Batches that could not be written at all.
    pub refused: Counter,
    /// Bytes in the buffer.
    pub buffered: Gauge,
    /// Ticks merged into an earlier one of their window.
    pub merged: Gauge,
}

impl Stats {
    /// Registers the metrics, or takes those that are registered.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            packets: metrics.counter_family(
                "weir_agent_kernel_packets",
                "packets by the kernel programs' counter: seen, and by name what was lost or left out",
            ),
            bytes: metrics.counter_family(
                "weir_agent_kernel_bytes",
                "L3 bytes by the kernel programs' counter: seen, and by name what was lost or left out",
            ),
            samples: metrics.counter("weir_agent_samples", "samples made"),
            overruns: metrics.counter("weir_agent_tick_overruns", "ticks merged because the agent was held up"),
            early_flushes: metrics.counter(
                "weir_agent_early_flushes",
                "times that flows were read before their tick ended, because the kernel's map was half full",
            ),
            beyond_table: metrics.counter(
                "weir_agent_flows_beyond_table",
                "flows in the kernel's map, since the table in front of it had no room for them; 0 where there is no table",
            ),
            inherited: metrics.counter(
                "weir_agent_inherited_packets",
                "packets that the agent before left in the kernel, and that were taken over",
            ),
            lost_at_restart: metrics.counter(
                "weir_agent_restart_lost_packets",
                "packets that the agent before had taken from the kernel and had not certainly published",
            ),
            payloads_lost_at_restart: metrics.counter(
                "weir_agent_dns_restart_lost",
                "DNS messages that the agent before had read and not certainly published, and that had to make room",
            ),
            attach_failures: metrics
                .counter("weir_agent_attach_failures", "interfaces that could not be watched, see the log"),
            unwatched: metrics
                .gauge("weir_agent_unwatched_drops", "dropped packets of flows on interfaces that are not watched"),
            interfaces: metrics.gauge("weir_agent_interfaces", "interfaces that are watched"),
            translations: metrics.gauge("weir_agent_translations", "translated connections that are known"),
            translations_full: metrics.gauge(
                "weir_agent_translations_full",
                "translated connections left out since the start, because there were too many",
            ),
            translations_shown: metrics.gauge(
                "weir_agent_translations_shown",
                "translated connections that packets showed in the last tick",
            ),
            translations_left_out: metrics.gauge(
                "weir_agent_translations_left_out",
                "translated connections that packets showed, left out since the start, because there were too many in a tick",
            ),
            conntrack_overruns: metrics.gauge(
                "weir_agent_conntrack_overruns",
                "times since the start that connection tracking said more than was read, and all was asked anew",
            ),
            questions: metrics.gauge_family(
                "weir_agent_dns",
                "DNS messages since the start by what became of them: read, unreadable, unmatched, unanswered, left out",
            ),
            scans: metrics.gauge("weir_agent_process_scans", "looks at the node's processes since the start"),
            overflow: metrics.gauge(
                "weir_agent_evidence_overflow",
                "processes, sockets, files and containers beyond a limit since the start: their flows go unnamed",
            ),
            unknown_namespaces: metrics.gauge(
                "weir_agent_unknown_namespaces",
                "pods' interfaces at whose other end no process is seen: the agent may not look, or none runs there",
            ),
            batches: metrics.counter("weir_agent_batches", "batches acknowledged by Kafka"),
            batch_bytes: metrics.counter("weir_agent_batch_bytes", "bytes of acknowledged batches before compression"),
            retries: metrics.counter("weir_agent_delivery_retries", "deliveries begun again"),
            unknown_outcomes: metrics
                .counter("weir_agent_unknown_outcomes", "batches that Kafka may or may not have written"),
            refused: metrics.counter("weir_agent_refused_batches", "batches that could never be written"),
            buffered: metrics.gauge("weir_agent_buffer_bytes", "bytes of ticks that wait for Kafka"),
            merged: metrics.gauge("weir_agent_merged_ticks", "ticks merged into an earlier one of their window"),
        }
    }

    /// Shows what became of DNS messages.
    pub fn dns(&self, counts: DnsCounts) {
        for (name, count) in counts.named() {
            let label: Label = [("outcome", name.to_owned())];
            self.questions.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Shows what local evidence came to.
    pub fn evidence(&self, counts: Counts) {
        self.scans.set(i64::try_from(counts.scans).unwrap_or(i64::MAX));
        self.overflow.set(i64::try_from(counts.overflow).unwrap_or(i64::MAX));
        self.unknown_namespaces.set(i64::try_from(counts.unknown).unwrap_or(i64::MAX));
    }

    /// Counts what a counter of the kernel programs gained.
    pub fn kernel(&self, counter: &str, packets: u64, bytes: u64) {
        let label: Label = [("counter", counter.to_owned())];
        self.packets.get_or_create(&label).inc_by(packets);
        self.bytes.get_or_create(&label).inc_by(bytes);
    }
}
