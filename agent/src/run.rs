//! The agent of a live node: capture and publishing side by side.

use crate::abi;
use crate::accounting::Identity;
use crate::ebpf::conntrack::Conntrack;
use crate::ebpf::{self, Capture};
use crate::local::Local;
use crate::privileges;
use crate::publish::{self, Published};
use crate::settings::AgentSettings;
use crate::stats::Stats;
use anyhow::{Context, anyhow};
use tokio_util::sync::CancellationToken;
use weir_flow::RecordSettings;
use weir_schemas::raw::Origin;
use weir_service::{Health, HintExt, Metrics};
use weir_stream::Log;

/// Ticks, or parts, between the capture's thread and the publisher, which takes them into its own bounded buffer.
const CHANNEL: usize = 1;

/// Captures this node's connections and publishes them to the cluster's raw topic until `stop`; the last, partial tick
/// is published too.
///
/// # Errors
/// When the kernel programs cannot be loaded, with a hint; when capture breaks off.
pub async fn run(
    settings: &AgentSettings,
    cluster: &str,
    record: &RecordSettings,
    log: &Log,
    metrics: &Metrics,
    health: &Health,
    stop: CancellationToken,
) -> anyhow::Result<Published> {
    record.validate()?;
    health.set_ready("capture", false, "loading");
    let options = settings.capture().map_err(|error| anyhow!(error)).hint("see docs/reference-settings.md, Agent")?;
    let loaded = tokio::task::spawn_blocking(move || privileges::loading(move || Capture::load(options)));
    let mut capture = loaded.await?.hint(
        "capture needs Linux 5.10 or newer and CAP_BPF + CAP_NET_ADMIN: run as root, or give the program the capabilities with setcap",
    )?;
    // What reading the kernel's type information took.
    abi::memory::give_back();
    privileges::confine().hint("a kernel without seccomp needs --seccomp off")?;
    for missing in capture.missing() {
        tracing::warn!(what = missing.what, why = missing.why, "not captured");
    }
    let identity = Identity {
        cluster: cluster.to_owned(),
        node: settings.node_name(),
        boot: uuid::Uuid::new_v4().to_string(),
        tick_length: record.tick,
        origin: Origin::Ebpf,
    };
    tracing::info!(node = identity.node, boot = identity.boot, tick = record.tick, "agent starts");
    let stats = Stats::new(metrics);
    let ledger = capture.take_ledger().map(|ledger| -> Box<dyn publish::Ledger> { Box::new(ledger) });
    let (sender, receiver) = tokio::sync::mpsc::channel(CHANNEL);
    let buffer = usize::try_from(settings.buffer_bytes).unwrap_or(usize::MAX);
    let publishing = publish::Settings::new(identity, record, buffer, settings.agent_drain);
    let running = ebpf::run::Running {
        tick: record.tick,
        window: record.window,
        remembered: usize::try_from(settings.connections_limit).unwrap_or(usize::MAX),
        local: Local::new(&settings.host_root),
        conntrack: conntrack(settings),
        questions: usize::try_from(settings.dns_limit).unwrap_or(usize::MAX),
    };
    let (capture_stats, capture_stop) = (stats.clone(), stop.clone());
    let thread = std::thread::Builder::new()
        .name("weir-capture".to_owned())
        .spawn(move || ebpf::run::run(capture, running, &sender, &capture_stats, &capture_stop))
        .context("capture thread")?;
    health.set_ready("capture", true, "");
    let published = publish::publish(log, publishing, receiver, ledger, &stats, health).await?;
    // The publisher ends only after the channel has closed, so the thread has ended or is about to.
    let captured = tokio::task::spawn_blocking(move || thread.join()).await?;
    captured.map_err(|_| anyhow!("capture thread panicked"))?.context("capture")?;
    Ok(published)
}

/// Follows connection tracking where that is wanted and can be.
fn conntrack(settings: &AgentSettings) -> Option<Conntrack> {
    if settings.no_translation {
        return None;
    }
    let limit = usize::try_from(settings.connections_limit).unwrap_or(usize::MAX);
    Conntrack::follow(limit)
        .inspect_err(|error| tracing::warn!(%error, "not captured: the other side of translated connections"))
        .ok()
}
