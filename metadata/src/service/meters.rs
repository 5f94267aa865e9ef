//! The service's metrics.

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
    failures: Family<Label, Counter>,
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
            failures: metrics
                .counter_family("weir_metadata_api_failures", "Watches and probes of the Kubernetes API that failed"),
        }
    }

    pub(super) fn failures(&self, what: &'static str) -> Counter {
        self.failures.get_or_create(&[("what", what.to_owned())]).clone()
    }
}
