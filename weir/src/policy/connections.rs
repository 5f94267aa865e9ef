//! `weir policy connections`: who may talk to whom.

use super::source::SourceSettings;
use super::{Cni, Form, Process, print};
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use weir_flow::{Address, protocol};
use weir_policy::{Cache, Engine, Outcome};
use weir_preview::world::{Place, Refused, World, distinct, judge, outside};

mod output;

#[cfg(test)]
pub(super) use output::{changed as changed_rows, rows as rows_of};

/// The most answers that are kept while they are computed.
const ANSWERS: usize = 1_000_000;
/// The protocols that policies name.
const PROTOCOLS: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::SCTP];

/// Settings of `weir policy connections`.
#[derive(Debug, Clone, Args)]
pub(super) struct ConnectionsSettings {
    #[command(flatten)]
    source: SourceSettings,
    /// Compare with these manifests: list only what is opened or closed since
    #[arg(long, value_name = "DIR", conflicts_with = "against_at")]
    against: Option<PathBuf>,
    /// Compare with what was at this time, from the metadata topic
    #[arg(long, value_name = "TIME")]
    against_at: Option<String>,
    /// Judge staged policies as if they were enforced
    #[arg(long)]
    pending: bool,
    /// List what is denied, too
    #[arg(long)]
    all: bool,
    /// Whose answers count where Kubernetes leaves a question to the network plugin
    #[arg(long, value_enum, default_value_t = Cni::None, value_name = "PLUGIN")]
    cni: Cni,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Form::Table, value_name = "FORM")]
    output: Form,
    #[command(flatten)]
    pub(super) process: Process,
}

/// An end of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    /// `namespace/workload`.
    Workload(String),
    /// Addresses outside, from the first to the last.
    Outside(IpAddr, IpAddr),
}

/// What is said of ports from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    first: u16,
    last: u16,
    outcome: Outcome,
    why: String,
}

/// The spans of each protocol.
type Spans = BTreeMap<u8, Vec<Span>>;

/// What is said of each pair.
pub(super) type Connections = BTreeMap<(Peer, Peer), Spans>;

/// One line of what is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) src: String,
    pub(super) dst: String,
    pub(super) protocol: String,
    pub(super) ports: String,
    pub(super) verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
}

/// A world with its engine.
pub(super) struct Side {
    world: World,
    engine: Engine,
    refused: Vec<Refused>,
    pending: bool,
}

impl Side {
    pub(super) fn new(world: World, cni: Cni, pending: bool) -> Self {
        let (engine, refused) = world.compile(cni.profile());
        Self { world, engine, refused, pending }
    }

    fn workloads(&mut self) -> BTreeMap<String, (Vec<Place>, bool)> {
        let mut found = BTreeMap::new();
        for ((namespace, workload), pods) in &self.world.workloads {
            let title = format!("{namespace}/{workload}");
            let mut places = Vec::new();
            for pod in pods {
                places.push(self.world.place(&mut self.engine, namespace, pod, title.clone()));
            }
            let alone = pods.len() == 1 && pods.iter().all(|pod| !pod.name.is_empty());
            found.insert(title, (distinct(&self.engine, places), alone));
        }
        found
    }

    /// What is said of all pairs, with the outside cut at these ranges.
    pub(super) fn connections(&mut self, ranges: &[(IpAddr, IpAddr)]) -> Connections {
        let workloads = self.workloads();
        let outside: Vec<(Peer, Vec<Place>)> = ranges
            .iter()
            .map(|(first, last)| {
                let place = outside(&mut self.engine, Address::new(*first));
                (Peer::Outside(*first, *last), vec![place])
            })
            .collect();
        let mut cache = Cache::new(ANSWERS);
        let mut found = Connections::new();
        for (title, (places, alone)) in &workloads {
            let this = Peer::Workload(title.clone());
            for (other, (others, _)) in &workloads {
                // A pod alone only talks to itself, which no policy holds back.
                if other != title || !alone {
                    let spans = self.spans(&mut cache, places, others);
                    found.insert((this.clone(), Peer::Workload(other.clone())), spans);
                }
            }
            for (range, place) in &outside {
                found.insert((this.clone(), range.clone()), self.spans(&mut cache, places, place));
                found.insert((range.clone(), this.clone()), self.spans(&mut cache, place, places));
            }
        }
        found
    }

    fn spans(&self, cache: &mut Cache, sources: &[Place], destinations: &[Place]) -> Spans {
        let pairs = || sources.iter().flat_map(|source| destinations.iter().map(move |to| (source, to)));
        let mut starts = BTreeSet::new();
        for (source, destination) in pairs() {
            starts.extend(self.engine.port_starts(source.number, destination.number));
        }
        let mut all = Spans::new();
        for protocol in PROTOCOLS {
            let mut spans: Vec<Span> = Vec::new();
            let ends = starts.iter().skip(1).map(|start| start - 1).chain([u16::MAX]);
            for (first, last) in starts.iter().copied().zip(ends) {
                let (outcome, why) = self.outcome(cache, pairs(), (protocol, first));
                match spans.last_mut().filter(|span| span.outcome == outcome && span.why == why) {
                    Some(span) => span.last = last,
                    None => spans.push(Span { first, last, outcome, why }),
                }
            }
            all.insert(protocol, spans);
        }
        all
    }

    /// What is said of all pairs of pods, if it is the same of all.
    fn outcome<'a>(
        &self,
        cache: &mut Cache,
        pairs: impl Iterator<Item = (&'a Place, &'a Place)>,
        port: (u8, u16),
    ) -> (Outcome, String) {
        let mut agreed: Option<(Outcome, String)> = None;
        for pair in pairs {
            let judged = judge(&self.engine, cache, pair, port);
            let verdict = judged.pending.as_ref().filter(|_| self.pending).unwrap_or(&judged.enforced);
            let one = (verdict.outcome, verdict.reasons.to_string());
            match &agreed {
                Some(before) if before.0 != one.0 => {
                    return (Outcome::Unknown, "pods of one workload differ".to_owned());
                }
                Some(_) => {}
                None => agreed = Some(one),
            }
        }
        agreed.unwrap_or((Outcome::Unknown, "there are no pods".to_owned()))
    }

    fn has_six(&self) -> bool {
        let pods = self.world.workloads.values().flatten().flat_map(|pod| &pod.addresses);
        pods.map(|address| address.ip())
            .chain(self.engine.networks().map(|network| network.addr()))
            .any(|ip| ip.is_ipv6())
    }
}

/// The outside, cut where a network of a policy begins or has ended; IPv6 only where there is some.
pub(super) fn ranges(sides: &[&Side]) -> Vec<(IpAddr, IpAddr)> {
    let (mut four, mut six) = (BTreeSet::from([0_u32]), BTreeSet::from([0_u128]));
    for network in sides.iter().flat_map(|side| side.engine.networks()) {
        match (network.network(), network.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                four.insert(u32::from(first));
                four.extend(u32::from(last).checked_add(1));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                six.insert(u128::from(first));
                six.extend(u128::from(last).checked_add(1));
            }
            _ => {}
        }
    }
    let ends = four.iter().skip(1).map(|start| start - 1).chain([u32::MAX]);
    let four = four.iter().zip(ends).map(|(first, last)| (Ipv4Addr::from(*first).into(), Ipv4Addr::from(last).into()));
    let mut all: Vec<(IpAddr, IpAddr)> = four.collect();
    if sides.iter().any(|side| side.has_six()) {
        let ends = six.iter().skip(1).map(|start| start - 1).chain([u128::MAX]);
        all.extend(
            six.iter().zip(ends).map(|(first, last)| (Ipv6Addr::from(*first).into(), Ipv6Addr::from(last).into())),
        );
    }
    all
}

/// What is said otherwise now than before, of pairs that are in both.
pub(super) fn differences(before: &Connections, now: &Connections) -> Vec<(Peer, Peer, u8, Span, Outcome)> {
    let mut found = Vec::new();
    for ((source, destination), spans) in now {
        let Some(old) = before.get(&(source.clone(), destination.clone())) else { continue };
        for (protocol, spans) in spans {
            let old = old.get(protocol).map(Vec::as_slice).unwrap_or_default();
            for span in spans {
                for other in old.iter().filter(|other| other.first <= span.last && span.first <= other.last) {
                    if other.outcome != span.outcome {
                        let (first, last) = (span.first.max(other.first), span.last.min(other.last));
                        let cut = Span { first, last, ..span.clone() };
                        found.push((source.clone(), destination.clone(), *protocol, cut, other.outcome));
                    }
                }
            }
        }
    }
    found
}

/// Lists.
pub(super) async fn run(settings: &ConnectionsSettings) -> Result<()> {
    let mut now = Side::new(settings.source.world().await?, settings.cni, settings.pending);
    if now.world.workloads.is_empty() {
        bail!("there are no pods and no workloads, so that nobody can talk");
    }
    let mut rows;
    let mut refused = now.refused.clone();
    let other = settings.source.other(settings.against.as_deref(), settings.against_at.as_deref()).await?;
    let compared = other.is_some();
    if let Some(other) = other {
        let mut before = Side::new(other, settings.cni, settings.pending);
        refused.extend(before.refused.clone());
        let ranges = ranges(&[&now, &before]);
        let (before, now) = (before.connections(&ranges), now.connections(&ranges));
        rows = output::changed(&differences(&before, &now));
    } else {
        let ranges = ranges(&[&now]);
        rows = output::rows(&now.connections(&ranges));
        rows.retain(|row| settings.all || row.verdict != Outcome::Deny.name());
    }
    print(&output::render(settings.output, &rows, &refused, compared)?)?;
    if !refused.is_empty() {
        let all: Vec<String> = refused.iter().map(ToString::to_string).collect();
        bail!("invalid policies were left out: {}", all.join("; "));
    }
    Ok(())
}
