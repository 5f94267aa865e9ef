//! Settings of the enricher process. What decides records is not here but on the topic `weir.settings.v1`.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use weir_service::settings::{parse_duration, parse_size};

/// How the enricher runs: none of this changes a record.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EnricherSettings {
    /// Cluster whose raw topic is read
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub cluster: String,
    /// Name of this process, unique among the cluster's enrichers and stable over restarts; the host's name without it
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Databases (MaxMind DB format) of the countries and autonomous systems of public addresses: those, and all of those,
    /// that the cluster's settings name by their fingerprints
    #[arg(long, value_delimiter = ',', value_name = "FILE,..")]
    pub mmdb: Vec<PathBuf>,
    /// Memory for samples and records that wait, for each of the two stages; beyond it partitions are paused
    #[arg(long = "enricher-memory-limit", value_name = "SIZE", default_value = "512MiB", value_parser = parse_size)]
    pub memory_limit: u64,
    /// Bytes fetched ahead, for each of the two stages
    #[arg(long = "enricher-fetch-limit", value_name = "SIZE", default_value = "32MiB", value_parser = parse_size)]
    pub fetch_limit: u64,
    /// The most generations of one partition that one transaction closes
    #[arg(long = "enricher-transaction-generations", value_name = "COUNT", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub transaction_generations: u16,
    /// How far metadata may be behind the samples, in event time and beyond the grace, before that is an alarm; more than the
    /// metadata service's --node-delay
    #[arg(long = "enricher-metadata-alarm", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub metadata_alarm: Duration,
    /// How long a process may be silent before its partitions are given to others; a restart within that time keeps them. Within
    /// the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms
    #[arg(long = "enricher-session-timeout", value_name = "DURATION", default_value = "45s", value_parser = parse_duration)]
    pub session_timeout: Duration,
    /// How long a stage waits for news before it looks at its partitions again
    #[arg(long = "enricher-poll", value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    pub poll: Duration,
    /// The longest wait before a stage starts again after an error
    #[arg(long = "enricher-retry-limit", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub retry_limit: Duration,
}

impl Default for EnricherSettings {
    fn default() -> Self {
        Self {
            cluster: weir_schemas::topics::DEFAULT_CLUSTER.to_owned(),
            instance: None,
            mmdb: Vec::new(),
            memory_limit: 512 << 20,
            fetch_limit: 32 << 20,
            transaction_generations: 8,
            metadata_alarm: Duration::from_secs(30),
            session_timeout: Duration::from_secs(45),
            poll: Duration::from_millis(200),
            retry_limit: Duration::from_secs(10),
        }
    }
}

impl EnricherSettings {
    /// The instance's name: as set, else the host's.
    #[must_use]
    pub fn instance_name(&self) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = self.instance.clone().or_else(host).unwrap_or_default();
        let name = name.trim();
        if name.is_empty() { "enricher".to_owned() } else { name.to_owned() }
    }

    /// Bytes that a stage may hold, roughly.
    pub(crate) fn memory(&self) -> usize {
        usize::try_from(self.memory_limit).unwrap_or(usize::MAX)
    }

    /// The consumer group of a stage, 1 or 2.
    #[must_use]
    pub fn group(&self, stage: u8) -> String {
        group(stage, &self.cluster)
    }
}

/// The consumer group of a stage, 1 or 2, of a cluster.
pub(crate) fn group(stage: u8, cluster: &str) -> String {
    format!("weir-enricher-{stage}-{cluster}")
}
