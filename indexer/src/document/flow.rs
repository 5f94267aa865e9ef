//! `weir-flows-*`, `weir-capture-*` and `weir-replay-*`: flows.

use super::end::{End, open};
use super::report::{self, Report};
use super::{
    DocumentError, ECS, Ecs, Ip, OBSERVER, Observer, Orchestrator, Time, check_id, check_times, family, is_false,
    policy, sum, tiebreak,
};
use serde::{Serialize, Serializer};
use weir_flow::{Address, Millis, protocol};
use weir_schemas::enriched::{Action, Arrival, Enriched, direction};
use weir_schemas::raw::Origin;

/// An end of one record.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) end: &'a End,
    pub(super) port: Option<u16>,
}

/// Whether the record can be a document.
pub(super) fn check<S>(record: &Enriched<S>) -> Result<(), DocumentError> {
    check_id(&record.id)?;
    let reports = [&record.by_initiator, &record.by_responder];
    let last_forward = reports.into_iter().flatten().filter_map(|r| r.last_forward);
    let times = [
        ("window", record.window),
        ("generation", record.generation),
        ("first_seen", record.first_seen),
        ("last_seen", record.last_seen),
    ];
    check_times(&record.id, &times)?;
    last_forward.into_iter().try_for_each(|time| check_times(&record.id, &[("last_forward", time)]))
}

/// Appends the document of a record with these ends: initiator, responder.
pub(super) fn write<S>(line: &mut Vec<u8>, record: &Enriched<S>, ends: [At<'_>; 2]) -> Result<(), serde_json::Error> {
    let (totals, [initiator, responder]) = (&record.totals, ends);
    let sent = [(totals.forward_bytes, totals.forward_packets), (totals.reverse_bytes, totals.reverse_packets)];
    open(line, &Head::of(record, [initiator.end, responder.end]))?;
    for (name, at, (bytes, packets)) in [("source", initiator, sent[0]), ("destination", responder, sent[1])] {
        put_name(line, name);
        open(line, &Sent { port: at.port, bytes, packets })?;
        line.extend_from_slice(&at.end.party);
        line.push(b'}');
    }
    put_name(line, "weir");
    open(line, &Weir::of(record))?;
    for (name, at) in [("source", initiator), ("destination", responder)] {
        put_name(line, name);
        line.extend_from_slice(&at.end.identity);
    }
    line.extend_from_slice(b"}}");
    Ok(())
}

/// Appends the name of a member that is not the first.
fn put_name(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

/// What is not about one end.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    ecs: Ecs,
    event: Event,
    network: Network<'a>,
    #[serde(skip_serializing_if = "Related::is_empty")]
    related: Related<'a>,
    orchestrator: Orchestrator<'a>,
    observer: Observer,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<policy::Rule<'a>>,
}

/// What is said of an end for each record anew.
#[derive(Serialize)]
struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    bytes: u64,
    packets: u64,
}

#[derive(Serialize)]
struct Event {
    kind: &'static str,
    category: [&'static str; 1],
    #[serde(rename = "type")]
    types: &'static [&'static str],
    action: Action,
    outcome: &'static str,
    dataset: &'static str,
    start: Time,
    end: Time,
}

#[derive(Serialize)]
struct Network<'a> {
    bytes: u64,
    packets: u64,
    transport: String,
    iana_number: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<&'a str>,
}

/// ECS `related`: all addresses of both ends, each once and in order.
#[derive(Serialize)]
struct Related<'a> {
    ip: Union<'a>,
}

struct Union<'a>([&'a [Address]; 2]);

#[derive(Serialize)]
struct Weir<'a> {
    level: u8,
    window_length: Millis,
    /// Absent on time: it is the window then.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Time>,
    /// Absent of an original.
    #[serde(skip_serializing_if = "Option::is_none")]
    correction: Option<u32>,
    origin: Origin,
    cluster_known: bool,
    semantics: u32,
    arrival: Arrival,
    #[serde(skip_serializing_if = "str::is_empty")]
    arrival_reason: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    coarsened: bool,
    #[serde(skip_serializing_if = "is_false")]
    orientation_guessed: bool,
    #[serde(skip_serializing_if = "is_false")]
    untranslated: bool,
    samples: u64,
    tiebreak: u16,
    connections: Connections,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reporters: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drop_reasons: Vec<&'a str>,
    #[serde(skip_serializing_if = "report::Flags::is_empty")]
    tcp_flags: report::Flags,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<Report<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<Report<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<policy::Policy<'a>>,
}

#[derive(Serialize)]
struct Connections {
    started: u64,
    ended: u64,
}

impl<'a> Head<'a> {
    fn of<S>(record: &'a Enriched<S>, ends: [&'a End; 2]) -> Self {
        Self {
            timestamp: Time(record.window),
            ecs: ECS,
            event: Event::of(record),
            network: Network::of(record, ends),
            related: Related { ip: Union(ends.map(|end| &*end.addresses)) },
            orchestrator: Orchestrator::of(&record.cluster, record.cluster_known),
            observer: OBSERVER,
            rule: policy::Rule::of(record),
        }
    }
}

impl Event {
    fn of<S>(record: &Enriched<S>) -> Self {
        let types: &[&str] = match record.action {
            Action::Allow => &["connection", "allowed"],
            Action::Deny => &["connection", "denied"],
            Action::Mixed => &["connection", "allowed", "denied"],
        };
        let outcome = match (record.action, record.arrival) {
            (Action::Deny, _) | (_, Arrival::Never) => "failure",
            (Action::Mixed, _) => "unknown",
            (Action::Allow, Arrival::Ok | Arrival::Unknown) => "success",
        };
        Self {
            kind: "event",
            category: ["network"],
            types,
            action: record.action,
            outcome,
            dataset: "weir.flows",
            start: Time(record.first_seen),
            end: Time(record.last_seen),
        }
    }
}

impl<'a> Network<'a> {
    fn of<S>(record: &'a Enriched<S>, ends: [&End; 2]) -> Self {
        let totals = &record.totals;
        Self {
            bytes: sum(totals.forward_bytes, totals.reverse_bytes),
            packets: sum(totals.forward_packets, totals.reverse_packets),
            transport: protocol::name(record.protocol),
            iana_number: record.protocol.to_string(),
            family: family(ends.into_iter().flat_map(|end| end.addresses.iter().copied())),
            direction: direction(ends[0].inside, ends[1].inside),
            community_id: record.community_id.as_deref(),
        }
    }
}

impl Related<'_> {
    fn is_empty(&self) -> bool {
        self.ip.0.iter().all(|addresses| addresses.is_empty())
    }
}

impl Serialize for Union<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [mut left, mut right] = self.0;
        serializer.collect_seq(std::iter::from_fn(|| {
            let next = match (left.first(), right.first()) {
                (Some(one), Some(other)) => *one.min(other),
                (one, other) => *one.or(other)?,
            };
            for side in [&mut left, &mut right] {
                if let Some((_, rest)) = side.split_first().filter(|(first, _)| **first == next) {
                    *side = rest;
                }
            }
            Some(Ip(next))
        }))
    }
}

impl<'a> Weir<'a> {
    fn of<S>(record: &'a Enriched<S>) -> Self {
        let reports = [record.by_initiator.as_ref(), record.by_responder.as_ref()];
        let reporters = ["initiator", "responder"].into_iter().zip(reports).filter_map(|(n, r)| r.map(|_| n)).collect();
        let reports = || reports.into_iter().flatten();
        let mut drop_reasons: Vec<&str> = reports().flat_map(|r| &r.drops).map(|d| d.reason.as_str()).collect();
        drop_reasons.sort_unstable();
        drop_reasons.dedup();
        Self {
            level: record.level,
            window_length: record.window_length,
            generation: (record.generation != record.window).then_some(Time(record.generation)),
            correction: (record.correction != 0).then_some(record.correction),
            origin: record.origin,
            cluster_known: record.cluster_known,
            semantics: record.semantics,
            arrival: record.arrival,
            arrival_reason: &record.arrival_reason,
            coarsened: record.coarsened,
            orientation_guessed: record.orientation_guessed,
            untranslated: record.untranslated,
            samples: record.samples,
            tiebreak: tiebreak(&record.id),
            connections: Connections { started: record.totals.started, ended: record.totals.ended },
            reporters,
            drop_reasons,
            tcp_flags: report::Flags::of(reports()),
            initiator: record.by_initiator.as_ref().map(|report| Report::of(report, &record.totals)),
            responder: record.by_responder.as_ref().map(|report| Report::of(report, &record.totals)),
            policy: policy::Policy::of(record),
        }
    }
}
