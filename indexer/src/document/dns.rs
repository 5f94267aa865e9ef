//! `weir-dns-*`: DNS questions by client, server, question, type and answer code.

use super::side::{Identity, Party};
use super::{
    DocumentError, ECS, Ecs, Ip, Notice, OBSERVER, Observer, Orchestrator, Placed, Prepared, Time, addresses, check_id,
    check_times, family, is_zero, related, tiebreak,
};
use crate::index::IndexKind;
use crate::periods::Periods;
use serde::Serialize;
use weir_flow::Address;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Kind, direction};
use weir_schemas::raw::{Origin, RoundTrip};

#[cfg(test)]
mod tests;

/// Makes a DNS record ready to be sent. The result is a function of record and settings alone.
///
/// # Errors
/// When the record can never be written.
pub fn prepare(record: &Dns, periods: &Periods) -> Result<Prepared, DocumentError> {
    check_id(&record.id)?;
    check_times(&record.id, &[("window", record.window), ("generation", record.generation)])?;
    let placed = Placed {
        kind: IndexKind::Dns,
        level: 0,
        cluster: &record.cluster,
        window: record.window,
        id: &record.id,
        correction: record.correction,
    };
    match record.kind {
        Kind::Delete => placed.delete(periods),
        Kind::Upsert => placed.write(&Document::of(record), periods),
    }
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    ecs: Ecs,
    event: Notice<'a>,
    dns: Question<'a>,
    source: Party<'a>,
    destination: Party<'a>,
    network: Network,
    related: Related<'a>,
    orchestrator: Orchestrator<'a>,
    observer: Observer,
    weir: Weir<'a>,
}

/// ECS `dns`.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    question: Asked<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    response_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Answers<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resolved_ip: Vec<Ip>,
}

#[derive(Serialize)]
struct Asked<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct Answers<'a> {
    data: &'a [String],
}

#[derive(Serialize)]
struct Network {
    protocol: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    direction: &'static str,
}

#[derive(Serialize)]
struct Related<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip: Vec<Ip>,
    hosts: [&'a str; 1],
}

#[derive(Serialize)]
struct Weir<'a> {
    generation: Time,
    correction: u32,
    origin: Origin,
    tiebreak: u16,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<RoundTrip>,
    #[serde(skip_serializing_if = "is_zero")]
    answers_more: u64,
    source: Identity<'a>,
    destination: Identity<'a>,
}

impl<'a> Document<'a> {
    pub(super) fn of(record: &'a Dns) -> Self {
        let sides = [&record.client, &record.server];
        Self {
            timestamp: Time(record.window),
            ecs: ECS,
            event: notice(record),
            dns: Question::of(record),
            source: Party::of(&record.client, None),
            destination: Party::of(&record.server, None),
            network: Network {
                protocol: "dns",
                family: family(addresses(sides)),
                direction: direction(record.client.is_inside(), record.server.is_inside()),
            },
            related: Related { ip: related(sides), hosts: [&record.question] },
            orchestrator: Orchestrator::of(&record.cluster, false),
            observer: OBSERVER,
            weir: Weir {
                generation: Time(record.generation),
                correction: record.correction,
                origin: record.origin,
                tiebreak: tiebreak(&record.id),
                count: record.count,
                latency: record.latency,
                answers_more: record.answers_more,
                source: Identity::of(&record.client),
                destination: Identity::of(&record.server),
            },
        }
    }
}

fn notice(record: &Dns) -> Notice<'static> {
    // What was not answered has no outcome; NXDOMAIN is an answer, but not what was asked for.
    let outcome = match record.response_code.as_str() {
        "" => "unknown",
        "NOERROR" => "success",
        _ => "failure",
    };
    Notice {
        kind: "event",
        category: ["network"],
        types: ["protocol"],
        action: "dns-query",
        outcome: Some(outcome),
        reason: None,
        dataset: "weir.dns",
    }
}

impl<'a> Question<'a> {
    fn of(record: &'a Dns) -> Self {
        let addresses = record.answers.iter().filter_map(|answer| answer.parse::<Address>().ok());
        Self {
            kind: if record.response_code.is_empty() { "query" } else { "answer" },
            question: Asked { name: &record.question, kind: &record.question_type },
            response_code: &record.response_code,
            answers: (!record.answers.is_empty()).then_some(Answers { data: &record.answers }),
            resolved_ip: addresses.map(Ip).collect(),
        }
    }
}
