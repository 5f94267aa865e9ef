//! The agent as a process of its own, one per node.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_agent::AgentSettings;
use weir_flow::RecordSettings;
use weir_service::{Context, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log, TopicSpec};

/// Counts every connection of this node and publishes the samples to Kafka.
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-agent", version, about)]
struct Settings {
    /// The cluster's id
    #[arg(long, default_value = weir_schemas::topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Length of a tick: how often samples are published. Must be the cluster's record setting
    #[arg(long, default_value = "5s", value_parser = weir_service::settings::parse_duration)]
    tick: std::time::Duration,
    /// Length of a window. Must be the cluster's record setting
    #[arg(long, default_value = "60s", value_parser = weir_service::settings::parse_duration)]
    window: std::time::Duration,
    /// Number of partitions of the raw topic. Must be the cluster's record setting
    #[arg(long, default_value_t = 16)]
    raw_partitions: i32,
    /// Say what can be captured here, and end
    #[arg(long)]
    probe: bool,
    /// Read these capture files instead of the node's interfaces, and end
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pcap: Vec<PathBuf>,
    #[command(flatten)]
    agent: AgentSettings,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn validate(&self) -> anyhow::Result<()> {
        Ok(self.record()?.validate()?)
    }
}

impl Settings {
    fn record(&self) -> anyhow::Result<RecordSettings> {
        Ok(RecordSettings {
            tick: i64::try_from(self.tick.as_millis())?,
            window: i64::try_from(self.window.as_millis())?,
            raw_partitions: self.raw_partitions,
            ..RecordSettings::standard(&self.cluster)
        })
    }
}

fn main() -> ExitCode {
    weir_service::run("weir-agent", env!("CARGO_PKG_VERSION"), run)
}

async fn run(context: Context<Settings>) -> anyhow::Result<()> {
    let settings = context.settings;
    if settings.probe {
        for line in weir_agent::ebpf::probe(&settings.agent.selection()).lines() {
            tracing::info!("{line}");
        }
        return Ok(());
    }
    let record = settings.record()?;
    let log = Log::kafka(&settings.kafka)?;
    if !settings.pcap.is_empty() {
        let summary =
            weir_agent::pcap::publish(&settings.pcap, &log, &record, &context.metrics, &context.health).await?;
        tracing::info!(?summary, "published");
        return Ok(());
    }
    let topic = weir_schemas::topics::of(&settings.cluster, record.raw_partitions, 1, 1)
        .into_iter()
        .find(|topic| topic.name == weir_schemas::topics::raw(&settings.cluster));
    if let Some(topic) = topic {
        let spec = TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs };
        log.ensure_topics(&[spec]).await?;
    }
    let published = weir_agent::run(
        &settings.agent,
        &settings.cluster,
        &record,
        &log,
        &context.metrics,
        &context.health,
        context.shutdown,
    )
    .await?;
    tracing::info!(batches = published.batches, "agent ends");
    Ok(())
}
