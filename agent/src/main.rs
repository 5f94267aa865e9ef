//! The agent as a process of its own, one per node.

use anyhow::anyhow;
use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use weir_agent::AgentSettings;
use weir_agent::ebpf::doctor;
use weir_agent::privileges::{self, Seccomp};
use weir_flow::RecordSettings;
use weir_schemas::settings::Dated;
use weir_schemas::topics;
use weir_service::{Context, HintExt as _, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log, Partitions, Start};

/// How long an answer of the log is awaited.
const ANSWER: Duration = Duration::from_secs(30);

/// Counts every connection of this node and publishes the samples to Kafka
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-agent", version, about)]
struct Settings {
    /// The cluster's id
    #[arg(long, value_name = "NAME", default_value = topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Say what can be captured here, and end
    #[arg(long)]
    probe: bool,
    /// Say for each feature whether this kernel and these capabilities allow it, and end
    #[arg(long)]
    doctor: bool,
    /// Detach what agents with this `--pin-folder` left at the node's interfaces, say what it was, and end
    #[arg(long)]
    detach: bool,
    /// What becomes of system calls that an agent has no use for, once its programs are loaded
    #[arg(long, value_enum, default_value_t)]
    seccomp: Seccomp,
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
}

fn main() -> ExitCode {
    weir_agent::abi::memory::keep_little();
    // While there is one thread: capabilities are each thread's own, and threads begin with those of who starts them.
    privileges::reduce();
    weir_service::run("weir-agent", env!("CARGO_PKG_VERSION"), run)
}

async fn run(context: Context<Settings>) -> anyhow::Result<()> {
    let settings = context.settings;
    if settings.probe {
        let selection = settings.agent.selection();
        let lines = privileges::loading(move || weir_agent::ebpf::probe(&selection).lines());
        return Ok(std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes())?);
    }
    if settings.doctor {
        let lines = privileges::loading(doctor::report);
        return Ok(std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes())?);
    }
    if settings.detach {
        let folder = settings.agent.pin_folder.as_ref();
        let folder = folder.ok_or_else(|| anyhow!("no folder of pins")).hint("say which with --pin-folder")?;
        let hint = "detaching needs root, and no agent that runs";
        let lines = weir_agent::ebpf::detach(folder).hint(hint)?;
        return Ok(std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes())?);
    }
    privileges::filter_after_loading(settings.seccomp);
    let log = Log::kafka(&settings.kafka)?;
    let cluster = settings.cluster;
    let records = tokio::select! {
        records = record_settings(&log, &cluster) => records?,
        () = context.shutdown.cancelled() => return Ok(()),
    };
    let published =
        weir_agent::run(&settings.agent, &cluster, &records, &log, &context.metrics, &context.health, context.shutdown)
            .await?;
    tracing::info!(batches = published.batches, "agent ends");
    Ok(())
}

/// The settings that decide records, which are records themselves.
async fn record_settings(log: &Log, cluster: &str) -> anyhow::Result<RecordSettings> {
    let hint = format!("write the cluster's settings with `weir init --cluster {cluster}`");
    let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await.hint(&hint)?;
    let records = reader.read_to_end(ANSWER).await?;
    let values = records.iter().filter_map(|r| Some((r.timestamp, r.value.as_deref()?)));
    // What an agent needs of them stays the same for a cluster's life.
    Dated::of(values, cluster)?
        .entries
        .pop()
        .ok_or_else(|| anyhow!("cluster {cluster} has no settings on topic {}", topics::SETTINGS))
        .hint(hint)
}
