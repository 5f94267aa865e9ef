//! `weir policy`: what network policies say.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::process::ExitCode;
use weir_policy::Profile;
use weir_service::settings::Loaded;
use weir_service::{Context, ProcessSettings};

mod check;
mod connections;
mod explain;
mod lines;
mod manifests;
mod preview;
mod source;
mod traffic;

#[cfg(test)]
mod tests;

pub(crate) use explain::{ExplainSettings, HELP as EXPLAIN_HELP, main as explain};

/// What the long help says at its end.
pub(crate) const HELP: &str = "\
Policies are those of Kubernetes (NetworkPolicy v1) and of SIG Network (ClusterNetworkPolicy v1alpha2, AdminNetworkPolicy and
BaselineAdminNetworkPolicy v1alpha1). A policy with the annotation weir.dev/staged: \"true\", or in a folder named staged, is judged as pending
and never as enforced. Where Kubernetes leaves a question to the network plugin, the answer is unknown; --cni says whose answer counts.

Examples:
  weir policy check manifests/                                    would the API server take them, and do they do anything?
  weir policy connections --manifests manifests/                  who may talk to whom, on which ports
  weir policy connections --manifests new/ --against old/         what an edit opens and closes
  weir policy connections --manifests manifests/ -o dot | dot -Tsvg > connections.svg
  weir policy connections --at 0s --against-at 24h                what changed since yesterday
  weir policy preview edit.yaml --since 7d                        what that edit would have denied and allowed
  weir policy preview --delete networkpolicy/shop/web --since 24h what is held back by it
  weir policy preview edit.yaml --since 30d --from raw            from raw samples, where records of level 1 are gone

Exit codes: 0 done; 1 policies are invalid, or it failed; 2 wrong usage.";

/// `weir policy`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Find fault with policies as the API server would, and with those that do nothing
    Check(Box<check::CheckSettings>),
    /// List who may talk to whom on which ports, or what two sets of policies do otherwise
    Connections(Box<connections::ConnectionsSettings>),
    /// Say what an edit would have done to the connections of the past, with labels as they were
    Preview(Box<preview::PreviewSettings>),
}

/// How connections are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A table for people
    Table,
    /// One JSON document
    Json,
    /// A graph for Graphviz
    Dot,
}

/// Whose answers count where Kubernetes leaves a question open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cni {
    /// Nobody's: what is left open is unknown
    None,
    /// Calico's
    Calico,
    /// Cilium's
    Cilium,
}

impl Cni {
    pub(crate) fn profile(self) -> Profile {
        match self {
            Self::None => Profile::NONE,
            Self::Calico => Profile::CALICO,
            Self::Cilium => Profile::CILIUM,
        }
    }

    /// The profile's name in the settings that decide records; empty for nobody's.
    pub(crate) fn setting(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Calico | Self::Cilium => self.profile().name().to_owned(),
        }
    }
}

/// Runs.
pub(crate) fn main(loaded: Loaded<PolicyCommand>) -> ExitCode {
    let process = crate::flows::quiet(match &loaded.settings.verb {
        Verb::Check(settings) => &settings.process,
        Verb::Connections(settings) => &settings.process,
        Verb::Preview(settings) => &settings.process,
    });
    weir_service::run_loaded("weir-policy", crate::VERSION, loaded, &process, run)
}

async fn run(context: Context<PolicyCommand>) -> Result<()> {
    match &context.settings.verb {
        Verb::Check(settings) => check::run(settings),
        Verb::Connections(settings) => connections::run(settings).await,
        Verb::Preview(settings) => {
            tokio::select! {
                () = context.shutdown.cancelled() => anyhow::bail!("stopped before the end"),
                done = preview::run(settings, &context.metrics) => done,
            }
        }
    }
}

/// Prints; a closed pipe has read enough.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// A table without lines, as the other commands print them.
pub(crate) fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    use comfy_table::{ContentArrangement, Table, presets::NOTHING};
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(heading);
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The process settings of a command that has no others of its kind.
pub(crate) type Process = ProcessSettings;
