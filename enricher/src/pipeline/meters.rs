//! The enricher's metrics.

use weir_service::Metrics;
use weir_service::metrics::{Counter, Family, Gauge, HistogramFamily, Label, SECONDS};

/// Everything that moves.
#[derive(Clone)]
pub(super) struct Meters {
    pub(super) batches: Counter,
    pub(super) repeated_batches: Counter,
    pub(super) samples: Counter,
    pub(super) too_late: Counter,
    pub(super) late: Counter,
    pub(super) clamped: Counter,
    pub(super) coarsened: Counter,
    pub(super) filtered: Family<Label, Counter>,
    pub(super) verdicts: Family<Label, Counter>,
    pub(super) dns_samples: Counter,
    pub(super) dns_too_late: Counter,
    pub(super) dns_outside: Counter,
    pub(super) dns_coarsened: Counter,
    pub(super) dns_filtered: Family<Label, Counter>,
    pub(super) dns_records: Counter,
    pub(super) names_left_out: Counter,
    pub(super) dead_letters: Counter,
    pub(super) dead_without_bytes: Counter,
    pub(super) heartbeats: Counter,
    pub(super) heartbeat_errors: Counter,
    pub(super) expired: Counter,
    pub(super) partials_written: Counter,
    pub(super) partials_read: Counter,
    pub(super) partials_repeated: Counter,
    pub(super) partials_refused: Counter,
    pub(super) records: Counter,
    pub(super) records_coarsened: Counter,
    pub(super) records_inexact: Counter,
    pub(super) records_shortened: Counter,
    pub(super) marker_nodes_left_out: Counter,
    pub(super) generations: Family<Label, Counter>,
    pub(super) transactions: Family<Label, Counter>,
    pub(super) transaction_seconds: HistogramFamily<Label>,
    pub(super) rebuilds: Family<Label, Counter>,
    pub(super) assignments: Family<Label, Counter>,
    pub(super) partitions: Family<Label, Gauge>,
    pub(super) paused: Family<Label, Gauge>,
    pub(super) memory: Family<Label, Gauge>,
    pub(super) oldest_generation: Family<Label, Gauge>,
    pub(super) metadata_complete_to: Gauge,
    pub(super) metadata_revisions: Gauge,
    pub(super) policy_revisions: Gauge,
    pub(super) metadata_behind: Gauge,
    pub(super) metadata_waits: Counter,
    pub(super) settings: Gauge,
    pub(super) settings_too_late: Gauge,
    pub(super) settings_waits: Counter,
}

impl Meters {
    pub(super) fn new(m: &Metrics) -> Self {
        Self {
            batches: m.counter("weir_enricher_batches", "Raw batches read, heartbeats included"),
            repeated_batches: m.counter(
                "weir_enricher_batches_repeated",
                "Raw batches read again after a change of owner, of generations that were written",
            ),
            samples: m.counter("weir_enricher_samples", "Samples written into partial records"),
            too_late: m
                .counter("weir_enricher_samples_too_late", "Samples lost because they came after the late bound"),
            late: m.counter(
                "weir_enricher_samples_late",
                "Samples that came after their window was complete and are in a later generation",
            ),
            clamped: m.counter(
                "weir_enricher_batches_clamped",
                "Raw batches of clocks that run ahead, placed by append time",
            ),
            coarsened: m.counter(
                "weir_enricher_samples_coarsened",
                "Samples in coarsened records because a level had too many keys",
            ),
            filtered: m.counter_family(
                "weir_enricher_samples_filtered",
                "Samples that a filter changed or left out, by what became of them",
            ),
            verdicts: m.counter_family(
                "weir_enricher_samples_judged",
                "Samples by what policies say of their connection: allow, deny or unknown",
            ),
            dns_samples: m.counter("weir_enricher_dns_samples", "DNS samples read"),
            dns_too_late: m.counter(
                "weir_enricher_dns_samples_too_late",
                "DNS samples lost because they came after the late bound",
            ),
            dns_outside: m.counter(
                "weir_enricher_dns_samples_outside",
                "DNS samples that do not count: another node's report of the same question does, or they were seen in transit",
            ),
            dns_coarsened: m.counter(
                "weir_enricher_dns_samples_coarsened",
                "DNS samples in records whose question stands for several, because there were too many",
            ),
            dns_filtered: m.counter_family(
                "weir_enricher_dns_samples_filtered",
                "DNS samples that a filter changed or left out, by what became of them",
            ),
            dns_records: m.counter("weir_enricher_dns_records", "DNS records written"),
            names_left_out: m.counter(
                "weir_enricher_dns_names_left_out",
                "DNS samples whose names are on no flow record, because one window had too many",
            ),
            dead_letters: m.counter(
                "weir_enricher_dead_letters",
                "Raw messages that could not be read and went to the dead-letter topic",
            ),
            dead_without_bytes: m.counter(
                "weir_enricher_dead_letters_without_bytes",
                "Dead letters with cause and origin, but without the message, because one window had too many",
            ),
            heartbeats: m.counter("weir_enricher_heartbeats", "Heartbeats written for silent raw partitions"),
            heartbeat_errors: m.counter(
                "weir_enricher_heartbeat_errors",
                "Heartbeats for silent raw partitions that could not be queued",
            ),
            expired: m.counter(
                "weir_enricher_raw_expired_offsets",
                "Offsets that were deleted from a topic before they were read",
            ),
            partials_written: m
                .counter("weir_enricher_partials_written", "Partial records written to the internal topic"),
            partials_read: m.counter("weir_enricher_partials_read", "Partial records read from the internal topic"),
            partials_repeated: m.counter(
                "weir_enricher_partials_repeated",
                "Partial records of generations that were closed or marked already",
            ),
            partials_refused: m
                .counter("weir_enricher_partials_refused", "Partial records of another cluster or of no known level"),
            records: m.counter("weir_enricher_records", "Enriched records written"),
            records_coarsened: m.counter(
                "weir_enricher_records_coarsened",
                "Records that stage 2 coarsened because a level had too many keys",
            ),
            records_inexact: m.counter(
                "weir_enricher_records_inexact",
                "Records on which the count of what is not listed is a lower bound",
            ),
            records_shortened: m.counter(
                "weir_enricher_records_shortened",
                "Records whose lists were shortened, and counted, so that a message holds them",
            ),
            marker_nodes_left_out: m.counter(
                "weir_enricher_marker_nodes_left_out",
                "Nodes of which stage 2 was not told their missing ticks, because a partition had too many for one message",
            ),
            generations: m
                .counter_family("weir_enricher_generations", "Generations closed that held something, by stage"),
            transactions: m.counter_family("weir_enricher_transactions", "Transactions committed, by stage"),
            transaction_seconds: m.histogram_family(
                "weir_enricher_transaction_seconds",
                "Time from begin to commit of a transaction, by stage",
                SECONDS,
            ),
            rebuilds: m.counter_family(
                "weir_enricher_rebuilds",
                "How often a stage dropped its memory and began again from committed positions",
            ),
            assignments: m.counter_family("weir_enricher_assignments", "Assignments of partitions, by stage"),
            partitions: m.gauge_family("weir_enricher_partitions", "Partitions owned, by stage"),
            paused: m.gauge_family(
                "weir_enricher_partitions_paused",
                "Partitions paused because the memory limit is reached, by stage",
            ),
            memory: m.gauge_family("weir_enricher_memory_bytes", "Memory of samples and records that wait, by stage"),
            oldest_generation: m.gauge_family(
                "weir_enricher_oldest_generation_milliseconds",
                "Lowest last generation written of the partitions owned, ms since the epoch, by stage",
            ),
            metadata_complete_to: m.gauge(
                "weir_enricher_metadata_complete_to_milliseconds",
                "H: metadata is complete up to here, ms since the epoch",
            ),
            metadata_revisions: m.gauge("weir_enricher_metadata_revisions", "Revisions in the metadata table"),
            policy_revisions: m.gauge("weir_enricher_policy_revisions", "Revisions of policies that are held"),
            metadata_behind: m.gauge(
                "weir_enricher_metadata_behind_milliseconds",
                "How far metadata is behind the windows that could be closed; 0 = not behind",
            ),
            metadata_waits: m.counter(
                "weir_enricher_metadata_waits",
                "How often windows began to wait for metadata for longer than --enricher-metadata-alarm, or until memory was full",
            ),
            settings: m.gauge("weir_enricher_settings", "Settings records of the cluster that are followed"),
            settings_too_late: m.gauge(
                "weir_enricher_settings_too_late",
                "Settings records that came later than two minutes before their first window, and are not followed",
            ),
            settings_waits: m.counter(
                "weir_enricher_settings_waits",
                "How often a stage stopped because the settings topic could not be read to its end for a minute",
            ),
        }
    }
}
