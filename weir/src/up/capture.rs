//! What is captured: this host's packets, capture files, or the simulated cluster.

use super::UpSettings;
use anyhow::{Result, anyhow};
use std::path::PathBuf;
use weir_agent::ebpf::probe::{Report, probe};
use weir_flow::RecordSettings;
use weir_service::HintExt as _;

/// Where samples come from.
#[derive(Debug)]
pub(crate) enum Capture {
    /// This host's interfaces, by eBPF.
    Host(Report),
    /// Capture files, whose contents name the cluster.
    Files {
        /// The files, in the order given.
        files: Vec<PathBuf>,
        /// `capture-` and a hash of their contents.
        cluster: String,
    },
    /// The simulated cluster.
    Demo {
        /// Its seed.
        seed: u64,
    },
}

/// Reads capture files to their ends, so that a broken one is refused before anything of it is published; their cluster.
fn checked(files: &[PathBuf]) -> Result<String> {
    let capture = weir_agent::pcap::read(files, &RecordSettings::small("capture"))?;
    let cluster = capture.cluster.clone();
    for tick in capture.ticks() {
        tick?;
    }
    Ok(cluster)
}

impl Capture {
    /// Chooses by the settings, and checks what can be checked before anything is started.
    pub(crate) fn choose(settings: &UpSettings) -> Result<Self> {
        if settings.demo {
            return Ok(Self::Demo { seed: settings.seed });
        }
        if !settings.pcap.is_empty() {
            let cluster = checked(&settings.pcap).hint("give whole, readable pcap or pcapng files with --pcap")?;
            return Ok(Self::Files { files: settings.pcap.clone(), cluster });
        }
        let report = probe(&settings.agent.selection());
        if report.works() {
            return Ok(Self::Host(report));
        }
        let why: Vec<_> = report.missing.iter().map(|m| format!("{}: {}", m.what, m.why)).collect();
        let command =
            report.command.as_deref().map_or_else(String::new, |c| format!("give it the right with `{c}`, or "));
        Err(anyhow!("nothing of this host can be counted ({})", why.join("; "))).hint(format!(
            "{command}run `weir up` as root; without any right `weir up --demo` and `weir up --pcap FILE` work"
        ))
    }

    /// The cluster that its records belong to.
    pub(crate) fn cluster(&self, settings: &UpSettings) -> String {
        match self {
            Self::Host(_) => settings.cluster.clone(),
            Self::Files { cluster, .. } => cluster.clone(),
            Self::Demo { .. } => crate::demo::CLUSTER.to_owned(),
        }
    }

    /// Whether packets are counted as they pass, so that the broker's clock bounds their times.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self, Self::Files { .. })
    }
}
