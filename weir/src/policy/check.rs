//! `weir policy check`: what is wrong with policies, and what they do not do.

use super::{Process, manifests, print};
use crate::flows::Output;
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use weir_policy::{Direction, Engine, Parsed, Peer, Policy, PolicyId, Profile, Rule, Tier};
use weir_preview::world::{PolicySource, World};

/// Settings of `weir policy check`.
#[derive(Debug, Clone, Args)]
pub(super) struct CheckSettings {
    /// Folder of manifests, or one file. Where it has pods, or workloads that make them, too, policies that select nothing are told
    #[arg(value_name = "DIR")]
    manifests: PathBuf,
    /// End with exit code 1 on warnings, too
    #[arg(long)]
    strict: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    #[command(flatten)]
    pub(super) process: Process,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// The API server would refuse it.
    Error,
    /// It does not do what it seems to.
    Warning,
    /// Weir cannot say what it does.
    Note,
}

/// Something about a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) file: String,
    pub(super) policy: String,
    pub(super) field: String,
    pub(super) message: String,
}

/// Checks.
pub(super) fn run(settings: &CheckSettings) -> Result<()> {
    let world = manifests::read(&settings.manifests)?;
    let findings = findings(&world);
    match settings.output {
        Output::Json => print(&(serde_json::to_string_pretty(&findings)? + "\n"))?,
        Output::Table => {
            for one in &findings {
                let severity = match one.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Note => "note",
                };
                let field = if one.field.is_empty() { String::new() } else { format!("{}: ", one.field) };
                print(&format!("{severity}: {} ({})\n  {field}{}\n", one.policy, one.file, one.message))?;
            }
            let (policies, found) = (world.policies.len(), findings.len());
            print(&format!(
                "{}, {}\n",
                counted(policies, "policy", "policies"),
                counted(found, "finding", "findings")
            ))?;
        }
    }
    let count = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors > 0 || (settings.strict && warnings > 0) {
        bail!("{} and {}", counted(errors, "error", "errors"), counted(warnings, "warning", "warnings"));
    }
    Ok(())
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Everything there is to say about the policies of a world, the worst first.
pub(super) fn findings(world: &World) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut engine = Engine::new(Profile::NONE);
    let mut policies: Vec<(&PolicySource, Policy)> = Vec::new();
    let mut first_of: BTreeMap<PolicyId, &str> = BTreeMap::new();
    for source in &world.policies {
        let mut say = |severity, field: &str, message: String| found.push(finding(source, severity, field, message));
        match source.parse() {
            Parsed::Invalid(errors) => {
                for error in errors {
                    say(Severity::Error, &error.path, error.message);
                }
            }
            Parsed::Foreign(_) => {
                let message = format!(
                    "{} {} is not evaluated: where it may select, verdicts are unknown",
                    source.api_version, source.kind
                );
                say(Severity::Note, "", message);
            }
            Parsed::Policy(policy, remarks) => {
                for field in remarks.unknown {
                    say(Severity::Warning, &field, "unknown field: the API server drops it".to_owned());
                }
                for newer in remarks.newer {
                    let message =
                        format!("a newer API server, such as that of Kubernetes 1.37, refuses it: {}", newer.message);
                    say(Severity::Warning, &newer.path, message);
                }
                if let Some(file) = first_of.get(&policy.id) {
                    say(
                        Severity::Warning,
                        "metadata.name",
                        format!("the same policy stands in {file}, too: the last one counts"),
                    );
                }
                first_of.insert(policy.id.clone(), &source.file);
                engine.insert((*policy).clone());
                policies.push((source, *policy));
            }
        }
    }
    for ((namespace, workload), pods) in &world.workloads {
        for pod in pods {
            world.place(&mut engine, namespace, pod, workload.clone());
        }
    }
    for node in world.nodes.values() {
        engine.end(&weir_policy::End::Node(Some(&node.labels)));
    }
    for (source, policy) in &policies {
        effects(&engine, world, policy, &mut |field, message| {
            found.push(finding(source, Severity::Warning, field, message));
        });
    }
    found.sort_unstable();
    found
}

fn finding(source: &PolicySource, severity: Severity, field: &str, message: String) -> Finding {
    Finding { severity, file: source.file.clone(), policy: source.title(), field: field.to_owned(), message }
}

fn effects(engine: &Engine, world: &World, policy: &Policy, say: &mut dyn FnMut(&str, String)) {
    if policy.ingress.is_none() && policy.egress.is_none() {
        say("spec", "it has no rules and has no effect".to_owned());
    }
    let populated = !world.workloads.is_empty();
    if populated && !engine.selects_any(&policy.id) {
        let field = if policy.tier == Tier::NetworkPolicy { "spec.podSelector" } else { "spec.subject" };
        say(field, "it selects no pod of these manifests".to_owned());
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let rules = policy.rules(direction).unwrap_or_default();
        for (at, rule) in rules.iter().enumerate() {
            let path = format!("spec.{}[{at}]", direction.name());
            if let Some(before) = rules.iter().take(at).position(|before| covers(before, rule)) {
                let other = format!("spec.{}[{before}]", direction.name());
                say(&path, format!("it is never reached: {other} matches everything that it does"));
            }
            if rule.ports.as_ref().is_some_and(Vec::is_empty) {
                say(&path, "it matches no port".to_owned());
            }
            let peers = rule.peers.iter().flatten().enumerate();
            for (place, peer) in peers.filter(|(_, peer)| populated && engine.peer_exists(peer) == Some(false)) {
                let (list, what) = match (direction, peer) {
                    (_, Peer::Nodes(_)) if world.nodes.is_empty() => continue,
                    (Direction::Ingress, _) => ("from", "pod"),
                    (Direction::Egress, Peer::Nodes(_)) => ("to", "node"),
                    (Direction::Egress, _) => ("to", "pod"),
                };
                say(&format!("{path}.{list}[{place}]"), format!("it selects no {what} of these manifests"));
            }
        }
    }
}

/// Whether a rule surely matches all that another matches: it has no limits, or its peers and ports are among the other's own.
fn covers(before: &Rule, rule: &Rule) -> bool {
    let peers = match (&before.peers, &rule.peers) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(before), Some(rule)) => rule.iter().all(|peer| before.contains(peer)),
    };
    let ports = match (&before.ports, &rule.ports) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(before), Some(rule)) => rule.iter().all(|port| before.contains(port)),
    };
    peers && ports
}
