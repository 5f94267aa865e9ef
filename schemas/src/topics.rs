//! The topics: names with a version, keys, partitions, timestamp type, retention.
//!
//! Default cluster = `local`: its topics carry no suffix; another cluster's raw, partial and checkpoint topics end in
//! `.<cluster>`, so that one cluster's stall holds no other.

/// The cluster id of a single host without a name of its own; its topics have no suffix.
pub const DEFAULT_CLUSTER: &str = "local";

/// Compacted: metadata revisions and heartbeats of all clusters.
pub const METADATA: &str = "k8s.metadata.v1";
/// Compacted: the settings that decide records.
pub const SETTINGS: &str = "weir.settings.v1";
/// Enriched flow records of all clusters.
pub const ENRICHED: &str = "flows.enriched.v1";
/// Enriched DNS records of all clusters.
pub const DNS: &str = "dns.enriched.v1";
/// The loss ledger.
pub const LEDGER: &str = "weir.ledger.v1";
/// Compacted: what retention has deleted.
pub const HORIZON: &str = "weir.horizon.v1";
/// What was deleted or given up, by whom and why.
pub const AUDIT: &str = "weir.audit.v1";

fn of_cluster(base: &str, cluster: &str) -> String {
    if cluster == DEFAULT_CLUSTER { base.to_owned() } else { format!("{base}.{cluster}") }
}

/// The raw topic of a cluster.
#[must_use]
pub fn raw(cluster: &str) -> String {
    of_cluster("flows.raw.v1", cluster)
}

/// The internal topic of a cluster.
#[must_use]
pub fn partial(cluster: &str) -> String {
    of_cluster("flows.partial.v1", cluster)
}

/// The checkpoint topic of a cluster.
#[must_use]
pub fn checkpoint(cluster: &str) -> String {
    of_cluster("weir.checkpoint.v1", cluster)
}

/// The dead-letter topic of a topic.
#[must_use]
pub fn dead_letter(topic: &str) -> String {
    format!("weir.dlq.{topic}")
}

/// A topic as it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Configuration, Kafka's names.
    pub configs: Vec<(String, String)>,
}

fn topic(name: String, partitions: i32, configs: &[(&str, &str)]) -> Topic {
    Topic { name, partitions, configs: configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
}

const KEPT: (&str, &str) = ("retention.ms", "604800000");
const FOR_EVER: (&str, &str) = ("retention.ms", "-1");
/// A batch of an agent has 900 kB at most. Who may write to the topic can make readers unpack so much of what is packed, and
/// a broker's own limit may be higher.
const BATCH: (&str, &str) = ("max.message.bytes", "1048588");
const APPEND_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// Compacted, but not before an hour: a reader that is behind must not meet a heartbeat whose revisions were replaced by
/// later ones that it has not read yet. Segments of a day, because a heartbeat every two seconds replaces the one before
/// and only closed segments are compacted.
const METADATA_CONFIGS: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "3600000"), ("segment.ms", "86400000")];

/// Every topic of a cluster: P raw partitions, R internal ones, `enriched` of the enriched topic.
#[must_use]
pub fn of(cluster: &str, raw_partitions: i32, internal_partitions: i32, enriched_partitions: i32) -> Vec<Topic> {
    let raw_name = raw(cluster);
    vec![
        topic(raw_name.clone(), raw_partitions, &[APPEND_TIME, KEPT, BATCH]),
        topic(partial(cluster), internal_partitions, &[KEPT]),
        topic(checkpoint(cluster), 1, &[KEPT]),
        topic(METADATA.to_owned(), 1, &METADATA_CONFIGS),
        topic(SETTINGS.to_owned(), 1, &[("cleanup.policy", "compact"), APPEND_TIME]),
        topic(ENRICHED.to_owned(), enriched_partitions, &[KEPT]),
        topic(DNS.to_owned(), enriched_partitions, &[KEPT]),
        topic(LEDGER.to_owned(), 1, &[KEPT]),
        topic(HORIZON.to_owned(), 1, &[("cleanup.policy", "compact")]),
        topic(AUDIT.to_owned(), 1, &[FOR_EVER]),
        topic(dead_letter(&raw_name), 1, &[FOR_EVER]),
        topic(dead_letter(ENRICHED), 1, &[FOR_EVER]),
        topic(dead_letter(DNS), 1, &[FOR_EVER]),
        topic(dead_letter(LEDGER), 1, &[FOR_EVER]),
        topic(dead_letter(AUDIT), 1, &[FOR_EVER]),
    ]
}
