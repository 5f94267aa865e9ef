//! `weir explain`: why a connection is allowed or denied, in words.

use super::source::{SourceSettings, now, time};
use super::traffic::{self, Traffic};
use super::{Cni, Process, lines, print};
use crate::flows::Output;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;
use weir_elastic::ElasticSettings;
use weir_flow::protocol;
use weir_policy::{Cache, Direction, Engine, Hit, Outcome, PolicyId, Step, Verdict, foreign_names};
use weir_preview::world::{Place, World, judge};
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _};

/// What the long help says at its end.
pub(crate) const HELP: &str = "\
SRC and DST are namespace/workload, namespace/pod, node/name, or an address. PORT is 443, tcp/443, udp/53 or icmp; without it, 1 to 65535 of TCP
are explained as far as policies tell them apart.

Examples:
  weir explain shop/web shop/db 5432 --manifests manifests/
  weir explain 203.0.113.7 shop/web tcp/443 --manifests manifests/ --cni calico
  weir explain shop/web 8.8.8.8 udp/53 --at 2h -o json
  weir explain shop/web shop/db 5432 --at 0s --traffic 1h        and what was observed between them in the last hour

Exit codes: 0 done, whatever the verdict; 1 it failed; 2 wrong usage.";

/// Settings of `weir explain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainSettings {
    /// Who opens the connection
    #[arg(value_name = "SRC")]
    source: String,
    /// To whom
    #[arg(value_name = "DST")]
    destination: String,
    /// To which port
    #[arg(value_name = "PORT")]
    port: Option<String>,
    #[command(flatten)]
    place: SourceSettings,
    /// Whose answers count where Kubernetes leaves a question to the network plugin
    #[arg(long, value_enum, default_value_t = Cni::None, value_name = "PLUGIN")]
    cni: Cni,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    /// Show what was observed between them, too, from this time or age on: 2026-01-31T12:00:00Z, or 1h; until --at, else now
    #[arg(long, value_name = "TIME")]
    traffic: Option<String>,
    /// Where --traffic looks
    #[command(flatten)]
    elastic: ElasticSettings,
    #[command(flatten)]
    process: Process,
}

/// Explains.
pub(crate) fn main(loaded: Loaded<ExplainSettings>) -> ExitCode {
    let process = crate::flows::quiet(&loaded.settings.process);
    weir_service::run_loaded("weir-explain", crate::VERSION, loaded, &process, run)
}

/// `443`, `tcp/443`, `icmp`: the protocol, and the port if one is named.
pub(super) fn parse_port(text: &str) -> Result<(u8, Option<u16>)> {
    let wrong = || format!("{text:?} is no port: write 443, tcp/443, udp/53 or icmp");
    let (name, port) = match text.split_once('/') {
        Some((name, port)) => (name, Some(port)),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => ("tcp", Some(text)),
        None => (text, None),
    };
    let protocol = protocol::parse(name).with_context(wrong)?;
    let port: Option<u16> = port.map(str::parse).transpose().with_context(wrong)?;
    if port.is_some() && !protocol::has_ports(protocol) {
        bail!("{name} has no ports");
    }
    Ok((protocol, port.filter(|port| *port > 0)))
}

/// One verdict, explained.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explained {
    source: String,
    destination: String,
    protocol: String,
    pub(super) ports: String,
    /// The first and the last of the ports; 0 for a protocol without.
    #[serde(skip)]
    span: (u16, u16),
    pub(super) verdict: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
    pub(super) trace: Vec<String>,
    pub(super) steps: Vec<Line>,
}

/// A step in words, with the lines of its rule.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) yaml: Vec<String>,
}

async fn run(context: Context<ExplainSettings>) -> Result<()> {
    let settings = &context.settings;
    let port = settings.port.as_deref().map(parse_port).transpose().exit_code(2)?;
    let (protocol, port) = port.unwrap_or((protocol::TCP, None));
    let world = settings.place.world().await?;
    let (mut engine, refused) = world.compile(settings.cni.profile());
    let all = explain(&world, &mut engine, (&settings.source, &settings.destination), (protocol, port))
        .hint("name an end by namespace/workload, namespace/pod, node/name or address")?;
    let traffic = settings.traffic((protocol, port)).await?;
    match (settings.output, &traffic) {
        (Output::Json, None) => print(&(serde_json::to_string_pretty(&all)? + "\n"))?,
        (Output::Json, Some(traffic)) => {
            let both = serde_json::json!({"explanations": all, "traffic": traffic});
            print(&(serde_json::to_string_pretty(&both)? + "\n"))?;
        }
        (Output::Table, _) => {
            all.iter().try_for_each(|one| print(&words(one)))?;
            traffic.iter().try_for_each(|traffic| print(&traffic::words(traffic)))?;
        }
    }
    if !refused.is_empty() {
        let all: Vec<String> = refused.iter().map(ToString::to_string).collect();
        bail!("invalid policies were left out: {}", all.join("; "));
    }
    Ok(())
}

impl ExplainSettings {
    /// What was observed, if that is asked for.
    async fn traffic(&self, port: (u8, Option<u16>)) -> Result<Option<Traffic>> {
        let Some(since) = &self.traffic else { return Ok(None) };
        let since = time("--traffic", since).exit_code(2)?;
        let until = self.place.at()?.unwrap_or_else(now);
        let ends = (self.source.as_str(), self.destination.as_str());
        traffic::observed(&self.elastic, ends, port, (since, until)).await.map(Some)
    }
}

/// Explains what policies say between two ends, for each of their pods that differ and for ports that differ.
pub(super) fn explain(
    world: &World,
    engine: &mut Engine,
    (source, destination): (&str, &str),
    (protocol, port): (u8, Option<u16>),
) -> Result<Vec<Explained>> {
    let (sources, destinations) = (world.find(engine, source)?, world.find(engine, destination)?);
    let mut cache = Cache::new(100_000);
    let mut all: Vec<Explained> = Vec::new();
    for (from, to) in sources.iter().flat_map(|from| destinations.iter().map(move |to| (from, to))) {
        let starts: Vec<u16> = match port {
            Some(port) => vec![port],
            None if protocol::has_ports(protocol) => engine.port_starts(from.number, to.number).into_iter().collect(),
            None => vec![0],
        };
        let begun = all.len();
        for (at, start) in starts.iter().enumerate() {
            let last = port.unwrap_or_else(|| starts.get(at + 1).map_or(u16::MAX, |next| next - 1));
            let judged = judge(engine, &mut cache, (from, to), (protocol, *start));
            let mut one = explained(world, engine, &judged.enforced, (from, to));
            one.protocol = protocol::name(protocol);
            one.pending = judged.pending.as_ref().map(|pending| pending.outcome.name().to_owned());
            one.span = (*start, last);
            match all.get_mut(begun..).and_then(<[Explained]>::last_mut).filter(|before| before.says_the_same(&one)) {
                Some(before) => before.span.1 = last,
                None => all.push(one),
            }
        }
    }
    for one in &mut all {
        one.ports = match one.span {
            (0, _) => String::new(),
            (1, u16::MAX) => "all".to_owned(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
    }
    all.dedup_by(|next, before| next.span == before.span && before.says_the_same(next));
    Ok(all)
}

impl Explained {
    /// Whether it comes out the same way, if not at the same ports.
    fn says_the_same(&self, other: &Self) -> bool {
        let steps = |one: &Self| one.steps.iter().map(|step| step.text.clone()).collect::<Vec<_>>();
        self.verdict == other.verdict
            && self.pending == other.pending
            && self.why == other.why
            && steps(self) == steps(other)
    }
}

fn explained(world: &World, engine: &Engine, verdict: &Verdict, (from, to): (&Place, &Place)) -> Explained {
    let entries = engine.entries(verdict, &from.namespace, &to.namespace);
    Explained {
        source: from.title.clone(),
        destination: to.title.clone(),
        protocol: String::new(),
        ports: String::new(),
        span: (0, 0),
        verdict: verdict.outcome.name().to_owned(),
        why: verdict.reasons.words().map(str::to_owned).collect(),
        pending: None,
        trace: entries.iter().map(ToString::to_string).collect(),
        steps: verdict.steps().filter_map(|step| line(world, engine, step, (from, to))).collect(),
    }
}

fn line(world: &World, engine: &Engine, step: &Step, (from, to): (&Place, &Place)) -> Option<Line> {
    let end = match step.direction {
        Direction::Egress => from,
        Direction::Ingress => to,
    };
    let side = format!("{} of {}", step.direction.name(), end.title);
    let bare = |text: String| Some(Line { text, file: None, line: None, yaml: Vec::new() });
    let named = engine.named(step);
    match &step.hit {
        Hit::Rule { rule, action, certain, .. } => {
            let id = &named.policy?.id;
            let name = if named.rule_name.is_empty() { String::new() } else { format!(" ({})", named.rule_name) };
            let may = if *certain { "" } else { "perhaps " };
            let at = usize::try_from(*rule).ok()?;
            let text = format!("{side}: {id}, {}[{rule}]{name}: {may}{}", step.direction.name(), action.name());
            Some(located(world, id, step.direction, at, text))
        }
        Hit::NoRule { certain, .. } => {
            let may = if *certain { "selects it" } else { "may select it" };
            bare(format!("{side}: {} {may}; none of its rules matches", named.policy?.id))
        }
        Hit::EndOfTier { certain, .. } => {
            let names: Vec<String> = engine.selecting(step).map(|policy| policy.id.to_string()).collect();
            let may = if *certain { "deny" } else { "perhaps deny" };
            let none = if *certain { "none of which allows it" } else { "none of which certainly allows it" };
            bare(format!("{side}: end of tier, {may}: selected by {}, {none}", names.join(", ")))
        }
        Hit::NoPolicy => bare(format!("{side}: no policy decides: allow")),
        Hit::OwnNode { certain } => {
            let may = if *certain { "allow" } else { "perhaps allow" };
            bare(format!("{side}: between a pod and its own node: {may}"))
        }
        Hit::Itself => bare(format!("{side}: a pod always reaches itself: allow")),
        Hit::Foreign { policies, more } => {
            let names = foreign_names(policies, *more);
            bare(format!("{side}: {names} may select it and cannot be evaluated: unknown"))
        }
    }
}

fn located(world: &World, id: &PolicyId, direction: Direction, rule: usize, text: String) -> Line {
    let source = world.policies.iter().rev().find(|source| {
        source.kind == id.kind.name()
            && source.namespace == id.namespace
            && source.name == id.name
            && source.staged == id.staged
    });
    let file = source.map(|source| source.file.clone()).filter(|file| !file.is_empty());
    let found = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    let found = found.and_then(|text| lines::of_rule(&text, id, direction, rule));
    let (line, yaml) = found.map_or((None, Vec::new()), |(line, yaml)| (Some(line), yaml));
    Line { text, file, line, yaml }
}

/// An explanation for people.
pub(super) fn words(one: &Explained) -> String {
    let port = if one.ports.is_empty() { one.protocol.clone() } else { format!("{}/{}", one.protocol, one.ports) };
    let said = match one.verdict.as_str() {
        said if said == Outcome::Allow.name() => "allowed",
        said if said == Outcome::Deny.name() => "denied",
        _ => "unknown",
    };
    let mut text = format!("{} -> {} {port}: {said}\n", one.source, one.destination);
    for why in &one.why {
        let _ = writeln!(text, "  because it is not known: {why}");
    }
    if let Some(pending) = one.pending.as_ref() {
        let _ = writeln!(text, "  with staged policies: {pending}");
    }
    for step in &one.steps {
        let _ = writeln!(text, "  {}", step.text);
        if let Some(file) = &step.file {
            let line = step.line.map(|line| format!(":{line}")).unwrap_or_default();
            let _ = writeln!(text, "    {file}{line}");
        }
        for yaml in &step.yaml {
            let _ = writeln!(text, "      | {yaml}");
        }
    }
    text
}
