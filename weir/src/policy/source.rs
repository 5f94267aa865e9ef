//! Where a world comes from: manifests, or the metadata topic as of a time.

use super::manifests;
pub(super) use crate::clock::now;
pub(super) use crate::kafka::log;
use anyhow::{Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use weir_flow::Millis;
pub(super) use weir_preview::shown;
use weir_preview::world::World;
use weir_preview::{History, read};
use weir_service::HintExt as _;
use weir_stream::{KafkaSettings, Log};

/// How far a time may be after what is complete and still mean "now", ms.
const NOW: Millis = 120_000;

/// Where policies and pods are.
#[derive(Debug, Clone, Args)]
pub(super) struct SourceSettings {
    /// Folder of manifests, or one file: policies, and pods or the workloads that make them
    #[arg(long, value_name = "DIR", conflicts_with = "at", required_unless_present = "at")]
    manifests: Option<PathBuf>,
    /// As of this time, from the metadata topic: 2026-01-31T12:00:00Z, or an age such as 2h; 0s is now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Cluster of the metadata topic
    #[arg(long, value_name = "NAME", default_value = weir_schemas::topics::DEFAULT_CLUSTER)]
    pub(super) cluster: String,
    /// Where the topics are
    #[command(flatten)]
    pub(super) kafka: KafkaSettings,
}

/// A time or an age that a person wrote.
pub(super) fn time(flag: &'static str, text: &str) -> Result<Millis> {
    Ok(weir_console::filter::time(flag, text, now())?)
}

/// What the metadata topic says of a cluster, all of it.
pub(super) async fn history(log: &Log, cluster: &str) -> Result<History> {
    read::history(log, cluster, usize::MAX).await
}

impl SourceSettings {
    /// Reads what the flags name.
    pub(super) async fn world(&self) -> Result<World> {
        match (&self.manifests, &self.at) {
            (Some(path), _) => manifests::read(path),
            (None, Some(at)) => self.as_of("--at", at).await,
            (None, None) => bail!("give --manifests or --at"),
        }
    }

    /// The time of `--at`.
    pub(super) fn at(&self) -> Result<Option<Millis>> {
        self.at.as_deref().map(|at| time("--at", at)).transpose()
    }

    /// What a second folder or time names, to compare with.
    pub(super) async fn other(&self, path: Option<&Path>, at: Option<&str>) -> Result<Option<World>> {
        match (path, at) {
            (Some(path), _) => Ok(Some(manifests::read(path)?)),
            (None, Some(at)) => Ok(Some(self.as_of("--against-at", at).await?)),
            (None, None) => Ok(None),
        }
    }

    async fn as_of(&self, flag: &'static str, text: &str) -> Result<World> {
        let at = time(flag, text).hint("write 2026-01-31T12:00:00Z, or an age such as 2h").exit_code(2)?;
        let history = history(&log(&self.kafka).await?, &self.cluster).await?;
        Ok(history.world(checked(&history, at)?))
    }
}

/// The time, or the last one that is complete if that is hardly earlier.
pub(super) fn checked(history: &History, at: Millis) -> Result<Millis> {
    if let Some(begins) = history.begins().filter(|begins| at < *begins) {
        bail!("the metadata topic begins at {}: what was before is not known", shown(begins));
    }
    let complete = history.complete_to();
    if at.saturating_sub(complete) > NOW {
        bail!("the metadata topic is complete up to {} only; is the metadata service running?", shown(complete));
    }
    Ok(at.min(complete))
}
