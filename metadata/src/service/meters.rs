//! The service's metrics.

use crate::cluster::WithoutOwner;
use crate::keep::LeftOut;
use weir_service::Metrics;
use weir_service::metrics::{Counter, Family, Gauge, Label};

/// The service's metrics.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    pub(super) revisions: Counter,
    pub(super) heartbeat: Gauge,
    pub(super) objects: Gauge,
    pub(super) waiting: Gauge,
    pub(super) invalid: Counter,
    pub(super) rebuilds: Counter,
    pub(super) tombstones: Counter,
    pub(super) writing: Gauge,
    pub(super) claims_refused: Counter,
    without_owner: Family<Label, Counter>,
    failures: Family<Label, Counter>,
    outdated: Family<Label, Counter>,
    left_out: Family<Label, Counter>,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            revisions: metrics.counter("weir_metadata_revisions_written", "Revisions written to the metadata topic"),
            heartbeat: metrics.gauge(
                "weir_metadata_heartbeat_milliseconds",
                "Time up to which metadata is complete, in milliseconds since the epoch",
            ),
            objects: metrics.gauge("weir_metadata_objects", "Objects that are valid now"),
            waiting: metrics.gauge("weir_metadata_pods_waiting", "Pods that wait for their owner to be known"),
            invalid: metrics.counter(
                "weir_metadata_manifests_invalid",
                "Times that a manifest or its folder could not be used and the last good version stayed",
            ),
            rebuilds: metrics.counter("weir_metadata_rebuilds", "Times that the writer began anew from the topic"),
            tombstones: metrics.counter(
                "weir_metadata_tombstones_written",
                "Revisions that were forgotten, because they ended before anything that the raw topic holds",
            ),
            writing: metrics.gauge(
                "weir_metadata_writing",
                "1 while this process writes its cluster's metadata, 0 while another one holds the lease",
            ),
            claims_refused: metrics.counter(
                "weir_metadata_mirror_claims_refused",
                "Pods that claimed, as a node's mirror of a pod from a file, the UID that another pod has",
            ),
            without_owner: metrics.counter_family(
                "weir_metadata_pods_without_owner",
                "Pods that were taken before their owner was known, because it had been waited for too long or too many waited",
            ),
            failures: metrics
                .counter_family("weir_metadata_api_failures", "Watches and probes of the Kubernetes API that failed"),
            outdated: metrics.counter_family(
                "weir_metadata_watches_outdated",
                "Times that a kind was listed again because the API server had forgotten the version of its watch",
            ),
            left_out: metrics.counter_family(
                "weir_metadata_left_out",
                "What was left out of objects by a limit, a list of keys or because it could not be read, each time one was taken",
            ),
        }
    }

    /// Counts what was left out, and warns of what was too large.
    pub(super) fn left_out(&self, left_out: &LeftOut) {
        let LeftOut { labels, annotations, specs, members, entries, texts, invalid, too_large } = left_out;
        let counts = [
            ("label", labels),
            ("annotation", annotations),
            ("policy_spec", specs),
            ("network_set_member", members),
            ("list_entry", entries),
            ("text", texts),
            ("network_set_line", invalid),
        ];
        for (what, count) in counts {
            self.left_out.get_or_create(&[("what", what.to_owned())]).inc_by(*count);
        }
        if !too_large.is_empty() {
            weir_service::rate_limited!(
                warn,
                object = %too_large,
                specs,
                members,
                entries,
                texts,
                "too large for a record: the rest of it is not known to flows and policies; make it smaller, or split it"
            );
        }
    }

    /// Counts the pods that were taken before their owner was known.
    pub(super) fn without_owner(&self, count: WithoutOwner) {
        for (why, count) in [("late", count.late), ("limit", count.limit)] {
            self.without_owner.get_or_create(&[("why", why.to_owned())]).inc_by(count);
        }
    }

    pub(super) fn outdated(&self, what: &'static str) -> Counter {
        self.outdated.get_or_create(&[("what", what.to_owned())]).clone()
    }

    pub(super) fn failures(&self, what: &'static str) -> Counter {
        self.failures.get_or_create(&[("what", what.to_owned())]).clone()
    }
}
