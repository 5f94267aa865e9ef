//! `weir init`: the topics of a cluster, and the settings that decide its records.

use crate::policy::Cni;
use crate::record_settings;
use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_flow::settings::{FilterRule, IndexPeriod};
use weir_flow::{Level, RecordSettings};
use weir_join::Geography;
use weir_service::settings::{Loaded, parse_duration};
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::{KafkaSettings, Log};

#[cfg(test)]
mod tests;

/// Settings of `weir init`.
#[derive(Debug, Clone, Args)]
pub(crate) struct InitSettings {
    /// Id of the cluster
    #[arg(long, value_name = "NAME", default_value = weir_schemas::topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Length of a tick: how often agents publish
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    tick: Duration,
    /// Length of a window, a whole number of ticks
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    window: Duration,
    /// How long batches of a window are awaited after its end
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    grace: Duration,
    /// How far an agent's clock may be ahead of the broker's
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    tolerance: Duration,
    /// How late a sample may be; what is later is a counted loss
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    late_bound: Duration,
    /// Levels of detail that are kept, 0 to 3
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', default_values_t = [1, 2], value_parser = clap::value_parser!(u8).range(0..=3))]
    levels: Vec<u8>,
    /// Levels that are kept of what policies deny, where they are others
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=3))]
    levels_denied: Vec<u8>,
    /// Partitions of the raw topic
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    raw_partitions: i32,
    /// Partitions of the internal topic between the enricher's stages
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    internal_partitions: i32,
    /// Partitions of the enriched topics
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    enriched_partitions: i32,
    /// How much event time one index holds
    #[arg(long, value_enum, default_value_t = Period::Day, value_name = "PERIOD")]
    index_period: Period,
    /// Databases (MaxMind DB format) of the countries and autonomous systems of public addresses; enrichers need the very
    /// same files
    #[arg(long, value_name = "FILE,..", value_delimiter = ',')]
    mmdb: Vec<PathBuf>,
    /// Whose answers count where Kubernetes leaves a question of policies to the network plugin (docs/policy.md)
    #[arg(long, value_enum, default_value_t = Cni::None, value_name = "PLUGIN")]
    cni: Cni,
    /// How long policies and labels must have been as they are before attempts that go otherwise count against them
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    policy_settle: Duration,
    /// What becomes of flows before they are added up: `keep: EXPRESSION`, `drop: …`, `sample 10: …` or
    /// `redact src.address, src.pod: …`; the first that selects decides, and the flag can be given several times
    /// (docs/filters.md)
    #[arg(long = "filter", value_name = "RULE", value_parser = weir_filter::parse_rule)]
    filters: Vec<FilterRule>,
    /// Show what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Where the topics are
    #[command(flatten)]
    kafka: KafkaSettings,
    /// The process
    #[command(flatten)]
    process: ProcessSettings,
}

/// How much event time one index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Period {
    /// One index per UTC day
    Day,
    /// One index per UTC hour
    Hour,
}

impl Period {
    pub(crate) fn setting(self) -> IndexPeriod {
        match self {
            Self::Day => IndexPeriod::Day,
            Self::Hour => IndexPeriod::Hour,
        }
    }
}

/// Levels by their numbers, in order and each once.
pub(crate) fn levels(numbers: &[u8]) -> Vec<Level> {
    let mut levels: Vec<Level> = numbers.iter().filter_map(|l| Level::from_number(i64::from(*l))).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

/// Makes what a cluster needs before its services start.
pub(crate) fn main(loaded: Loaded<InitSettings>) -> ExitCode {
    let process = crate::flows::quiet(&loaded.settings.process);
    weir_service::run_loaded("weir-init", crate::VERSION, loaded, &process, run)
}

impl InitSettings {
    fn records(&self) -> Result<RecordSettings> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis());
        let denied = if self.levels_denied.is_empty() { &self.levels } else { &self.levels_denied };
        let records = RecordSettings {
            tick: millis(self.tick)?,
            window: millis(self.window)?,
            grace: millis(self.grace)?,
            tolerance: millis(self.tolerance)?,
            late_bound: millis(self.late_bound)?,
            levels_allowed: levels(&self.levels),
            levels_denied: levels(denied),
            raw_partitions: self.raw_partitions,
            internal_partitions: self.internal_partitions,
            index_period: self.index_period.setting(),
            geography: fingerprints(&self.mmdb)?,
            filters: self.filters.clone(),
            cni_profile: self.cni.setting(),
            policy_settle: millis(self.policy_settle)?,
            ..RecordSettings::standard(&self.cluster)
        };
        records.validate()?;
        Ok(records)
    }
}

/// The fingerprints of databases of places, each of which can be used.
pub(crate) fn fingerprints(files: &[PathBuf]) -> Result<Vec<String>> {
    let fingerprint = |file: &PathBuf| {
        let name = || format!("--mmdb {}", file.display());
        let bytes = std::fs::read(file).with_context(name)?;
        let fingerprint = Geography::fingerprint(&bytes);
        Geography::open(bytes).with_context(name)?;
        Ok(fingerprint)
    };
    files.iter().map(fingerprint).collect()
}

async fn run(context: Context<InitSettings>) -> Result<()> {
    let settings = &context.settings;
    let wanted = settings.records().hint("weir init --help says what the values mean").exit_code(2)?;
    let topics = record_settings::topics(&wanted, settings.enriched_partitions);
    if settings.dry_run {
        let mut text = format!("settings of cluster {}: {wanted:?}\n", wanted.cluster);
        for topic in topics {
            let _ = writeln!(text, "topic {} with {} partitions {:?}", topic.name, topic.partitions, topic.configs);
        }
        return print(&text);
    }
    let log = Log::kafka(&settings.kafka)?;
    log.check(Duration::from_secs(10))
        .await
        .with_context(|| format!("kafka at {}", settings.kafka.kafka))
        .hint("start it, or give the address of a reachable one with --kafka")?;
    record_settings::ensure_topics(&log, &wanted, settings.enriched_partitions)
        .await
        .hint("give the numbers of partitions that the topics have; those of a running cluster are never changed")?;
    let dated = record_settings::dated(&log, &wanted.cluster).await?;
    let Some(first) = dated.entries.first() else {
        record_settings::write(&log, &wanted).await?;
        return print(&format!("cluster {} is ready: {} topics, settings written\n", wanted.cluster, topics.len()));
    };
    // What it began with, so that the same command may run again after settings were changed.
    match difference(first, &wanted) {
        None if dated.entries.len() == 1 => print(&format!("cluster {} was ready already\n", wanted.cluster)),
        None => print(&format!(
            "cluster {} was ready already; its settings have changed since, `weir settings show` lists them\n",
            wanted.cluster
        )),
        Some(difference) => Err(anyhow!("cluster {} began with other settings: {difference}", wanted.cluster))
            .hint("change what may change with `weir settings set`, or give the same values, or another --cluster"),
    }
}

/// The first value that differs, in words.
fn difference(found: &RecordSettings, wanted: &RecordSettings) -> Option<String> {
    record_settings::fields(found)
        .into_iter()
        .zip(record_settings::fields(wanted))
        .find(|((_, found), (_, wanted))| found != wanted)
        .map(|((name, found), (_, wanted))| format!("{name} is {found}, not {wanted}"))
}

fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
