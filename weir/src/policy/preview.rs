//! `weir policy preview`: what an edit would have done to the connections of the past.

use super::history::History;
use super::source::{now, shown, time};
use super::world::PolicySource;
use super::{Cni, Process, manifests, print};
use crate::flows::Output;
use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use judges::{Judges, Verdicts};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tally::Tally;
use weir_policy::{Parsed, Policy, PolicyId, PolicyKind};
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::topics;
use weir_service::{HintExt as _, rate_limited};
use weir_stream::{KafkaSettings, Log, Partitions, Start};

mod judges;
mod tally;

#[cfg(test)]
mod tests;

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(30);
/// The level at which policies can be judged exactly: it keeps addresses, pods and the responder's port.
const LEVEL: u8 = 1;

/// Settings of `weir policy preview`.
#[derive(Debug, Clone, Args)]
pub(super) struct PreviewSettings {
    /// Manifests of policies to add, or to put in the place of those with the same name; folders are read whole
    #[arg(value_name = "FILE", required_unless_present = "delete")]
    files: Vec<PathBuf>,
    /// A policy to delete, as kind/namespace/name or kind/name; may be given several times
    #[arg(long, value_name = "POLICY")]
    delete: Vec<String>,
    /// Windows that start at this time or later: 2026-01-31T12:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// List connections that stay as they are, too
    #[arg(long)]
    all: bool,
    /// Cluster whose connections are judged
    #[arg(long, value_name = "NAME", default_value = topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Whose answers count where Kubernetes leaves a question to the network plugin
    #[arg(long, value_enum, default_value_t = Cni::None, value_name = "PLUGIN")]
    cni: Cni,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    /// Where the topics are
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    pub(super) process: Process,
}

/// A change to the policies.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// Adds it, or takes it for the one of its name.
    Put(Box<Policy>),
    /// Takes it out.
    Delete(PolicyId),
}

/// The edit that a policy of a file is; a staged one is judged as if it were enforced.
fn put(source: &PolicySource) -> Result<Edit> {
    match source.parse() {
        Parsed::Policy(mut policy, _) => {
            policy.id.staged = false;
            Ok(Edit::Put(policy))
        }
        Parsed::Foreign(_) => bail!("{} ({}) cannot be evaluated", source.title(), source.file),
        Parsed::Invalid(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            bail!("{} ({}) is invalid: {}", source.title(), source.file, errors.join("; "))
        }
    }
}

/// `networkpolicy/shop/web` or `clusternetworkpolicy/base`, in any case.
pub(super) fn parse_id(text: &str) -> Result<PolicyId> {
    let kinds = [
        PolicyKind::NetworkPolicy,
        PolicyKind::ClusterNetworkPolicy,
        PolicyKind::AdminNetworkPolicy,
        PolicyKind::BaselineAdminNetworkPolicy,
    ];
    let parts: Vec<&str> = text.split('/').collect();
    let kind = parts.first().and_then(|name| kinds.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name)));
    let (kind, namespace, name) = match (kind, parts.as_slice()) {
        (Some(kind @ PolicyKind::NetworkPolicy), [_, namespace, name]) => (kind, *namespace, *name),
        (Some(kind), [_, name]) if kind != PolicyKind::NetworkPolicy => (kind, "", *name),
        _ => bail!("{text:?} names no policy: write networkpolicy/NAMESPACE/NAME or clusternetworkpolicy/NAME"),
    };
    Ok(PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned(), staged: false })
}

fn edits(settings: &PreviewSettings) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for path in &settings.files {
        let world = manifests::read(path)?;
        if world.policies.is_empty() {
            bail!("{}: there is no policy in it", path.display());
        }
        for source in &world.policies {
            edits.push(put(source)?);
        }
    }
    for text in &settings.delete {
        edits.push(Edit::Delete(parse_id(text).exit_code(2)?));
    }
    Ok(edits)
}

/// Previews.
pub(super) async fn run(settings: &PreviewSettings) -> Result<()> {
    let edits = edits(settings)?;
    let since =
        time("--since", &settings.since).hint("write 2026-01-31T12:00:00Z, or an age such as 7d").exit_code(2)?;
    let history = History::read(&settings.kafka, &settings.cluster).await?;
    let mut judges = Judges::new(&history, settings.cni.profile(), edits);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let log = Log::kafka(&settings.kafka)?;
    let mut reader = log
        .reader(topics::ENRICHED, Partitions::All, Start::Time(since))
        .await
        .with_context(|| format!("kafka at {}", settings.kafka.kafka))?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            let Some(value) = &record.value else { continue };
            match weir_schemas::decode::<Enriched>(value) {
                Ok(flow) => take(&mut judges, &mut tally, &flow, since, &settings.cluster),
                Err(error) => {
                    tally.undecodable += 1;
                    rate_limited!(warn, "topic {} offset {}: {error}", topics::ENRICHED, record.offset);
                }
            }
        }
    }
    let missing = judges.missing();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        return Err(anyhow!("there was no {} since {}", names.join(", "), shown(since)))
            .hint("weir policy connections --at 0s shows what holds now");
    }
    match settings.output {
        Output::Json => print(&(serde_json::to_string_pretty(&tally.json(settings.all))? + "\n"))?,
        Output::Table => {
            print(&tally.table(settings.all))?;
            let took = begun.elapsed().as_secs_f64();
            print(&format!(
                "{} records of level {LEVEL} from {} to {}, in {took:.1} s\n",
                tally.records,
                shown(tally.first.unwrap_or(since)),
                shown(tally.last.unwrap_or_else(now)),
            ))?;
        }
    }
    Ok(())
}

fn take(judges: &mut Judges<'_>, tally: &mut Tally, flow: &Enriched, since: i64, cluster: &str) {
    if flow.level != LEVEL || flow.cluster != cluster || flow.window < since {
        return;
    }
    if flow.correction > 0 || flow.kind == Kind::Delete {
        // Its original was judged; what a repair changed is not known here.
        tally.corrections += 1;
        return;
    }
    let verdicts: Verdicts = judges.judge(flow);
    tally.add(flow, &verdicts);
}
