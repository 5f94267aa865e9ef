//! `weir up`: the whole path in one process.

use crate::policy::Cni;
use crate::record_settings;
use anyhow::{Context as _, Result};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_console::ConsoleSettings;
use weir_elastic::{Elastic, ElasticSettings};
use weir_flow::RecordSettings;
use weir_flow::settings::FilterRule;
use weir_metadata::MetadataSettings;
use weir_retention::RetentionSettings;
use weir_schemas::topics;
use weir_service::settings::{Loaded, parse_duration};
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::{KafkaSettings, Log};

mod banner;
mod capture;
mod components;
mod data;
mod engines;

use capture::Capture;
use components::Components;

/// How long clients of Kafka may take to end.
const CLIENTS_END: Duration = Duration::from_secs(3);

/// Settings of `weir up`.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("budget", |budget| budget.default_value("2GB")))]
pub(crate) struct UpSettings {
    /// Folder for everything that is kept; a second start on it goes on where the first stopped
    #[arg(long, value_name = "DIR", default_value = "weir-data")]
    data: PathBuf,
    /// Read packets from capture files (pcap, pcapng) instead of this host's interfaces
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "demo", help_heading = "What is captured")]
    pcap: Vec<PathBuf>,
    /// Simulate a small cluster instead of capturing; labelled as demo wherever it is shown
    #[arg(long, help_heading = "What is captured")]
    demo: bool,
    /// Seed of the simulated cluster: the same seed gives the same traffic
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "demo", help_heading = "What is captured")]
    seed: u64,
    /// Use this Kafka instead of the embedded broker, host:port[,…]
    #[arg(long, value_name = "BROKERS", help_heading = "Engines")]
    kafka: Option<String>,
    /// Use this Elasticsearch or OpenSearch instead of the embedded server
    #[arg(long, value_name = "URL", help_heading = "Engines")]
    elasticsearch: Option<String>,
    /// Address of the embedded broker
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9092", help_heading = "Engines")]
    kafka_listen: SocketAddr,
    /// Address of the embedded search server
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9200", help_heading = "Engines")]
    elasticsearch_listen: SocketAddr,
    /// What is kept of the indices
    #[command(flatten, next_help_heading = "Retention")]
    retention: RetentionSettings,
    /// The page
    #[command(flatten)]
    console: ConsoleSettings,
    /// What the agent counts
    #[command(flatten)]
    agent: weir_agent::AgentSettings,
    /// Id of the cluster that is captured
    #[arg(long, value_name = "NAME", default_value = "local", help_heading = "Names")]
    cluster: String,
    /// Name pods from the Kubernetes API that this kubeconfig names
    #[arg(long, value_name = "FILE", conflicts_with_all = ["in_cluster", "manifests"], help_heading = "Names")]
    kubeconfig: Option<PathBuf>,
    /// Name pods from the Kubernetes API of the cluster in which this process is a pod
    #[arg(long, conflicts_with = "manifests", help_heading = "Names")]
    in_cluster: bool,
    /// Name pods from the .yaml, .yml and .json files of a folder
    #[arg(long, value_name = "DIR", help_heading = "Names")]
    manifests: Option<PathBuf>,
    /// Databases (MaxMind DB format) of the countries and autonomous systems of public addresses; for a data
    /// folder that is new (later: `weir settings set`)
    #[arg(long, value_name = "FILE,..", value_delimiter = ',', help_heading = "Names")]
    mmdb: Vec<PathBuf>,
    /// Whose answers count where Kubernetes leaves a question of policies to the network plugin; for a data
    /// folder that is new (later: `weir settings set`; docs/policy.md)
    #[arg(long, value_enum, default_value_t = Cni::None, value_name = "PLUGIN", help_heading = "Names")]
    cni: Cni,
    /// How long policies and labels must have been as they are before attempts that go otherwise count against them; a data folder
    /// keeps to that of its first start
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    policy_settle: Duration,
    /// What becomes of flows before they are added up: `keep: EXPRESSION`, `drop: …`, `sample 10: …` or
    /// `redact src.address, src.pod: …`; the first that selects decides, and the flag can be given several times; for a
    /// data folder that is new (later: `weir settings set`; docs/filters.md)
    #[arg(long = "filter", value_name = "RULE", value_parser = weir_filter::parse_rule)]
    filters: Vec<FilterRule>,
    /// The process
    #[command(flatten)]
    process: ProcessSettings,
}

impl UpSettings {
    /// The settings of the metadata service: this host is what its agent covers.
    fn metadata(&self) -> MetadataSettings {
        MetadataSettings {
            cluster: self.cluster.clone(),
            kubeconfig: self.kubeconfig.clone(),
            in_cluster: self.in_cluster,
            manifests: self.manifests.clone(),
            node: Some(self.agent.node_name()),
            ..MetadataSettings::default()
        }
    }
}

/// Runs `weir up` until it is told to stop.
pub(crate) fn main(loaded: Loaded<UpSettings>) -> ExitCode {
    let process = loaded.settings.process.clone();
    weir_service::run_loaded("weir", crate::VERSION, loaded, &process, run)
}

async fn run(context: Context<UpSettings>) -> Result<()> {
    let settings = &context.settings;
    settings.retention.validate().map_err(anyhow::Error::msg).exit_code(2)?;
    let capture = Capture::choose(settings)?;
    let folder = data::DataFolder::open(&settings.data).or_else(|error| {
        let hint = error.hint();
        Err(error).hint(hint)
    })?;
    let engines = engines::Engines::start(settings, &folder).await?;
    let result = with_engines(&context, &capture, &engines).await;
    engines.shutdown().await;
    result
}

async fn with_engines(context: &Context<UpSettings>, capture: &Capture, engines: &engines::Engines) -> Result<()> {
    let log = Log::kafka(&KafkaSettings::at(engines.kafka.clone()))?;
    let clients = log.clients();
    let result = with_log(context, capture, engines, log).await;
    // A broker that stops before its clients makes them complain.
    if !clients.gone(CLIENTS_END).await {
        tracing::debug!("kafka clients are still ending");
    }
    result
}

async fn with_log(
    context: &Context<UpSettings>,
    capture: &Capture,
    engines: &engines::Engines,
    log: Log,
) -> Result<()> {
    log.check(Duration::from_secs(10))
        .await
        .with_context(|| format!("kafka at {}", engines.kafka))
        .hint("start it, or give the address of a reachable one with --kafka")?;
    let elastic = Elastic::new(&ElasticSettings::of(&[&engines.elasticsearch]))?;
    elastic
        .info()
        .await
        .with_context(|| format!("elasticsearch at {}", engines.elasticsearch))
        .hint("start it, or give the address of a reachable one with --elasticsearch")?;
    let cluster = capture.cluster(&context.settings);
    let geography = crate::init::fingerprints(&context.settings.mmdb)?;
    let filters = context.settings.filters.clone();
    let cni_profile = context.settings.cni.setting();
    let small = RecordSettings::small(&cluster);
    let policy_settle = i64::try_from(context.settings.policy_settle.as_millis()).context("--policy-settle")?;
    let seed = RecordSettings { live: capture.is_live(), geography, filters, cni_profile, policy_settle, ..small };
    // A Kafka of somebody else's may have these topics already, with as many partitions as they like.
    let enriched = log.partition_count(topics::ENRICHED).await.unwrap_or(1);
    record_settings::ensure_topics(&log, &seed, enriched).await?;
    let records = record_settings::read_or_seed(&log, seed).await?;
    let mut components = Components::new(context.clone(), log, elastic, records);
    components.start(capture).await?;
    banner::print(context, capture, engines, &components);
    components.run_until_stopped().await
}
