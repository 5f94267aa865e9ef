//! A row from a document of Elasticsearch. Documents come from outside: what is missing or of another type is left out,
//! and only a document without a time or an id is no flow.

use serde_json::Value;

use super::{Drop, End, Report, Row, TcpFlags, Times, Totals, iso};

/// Why a hit is no flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It has no id.
    #[error("hit without an _id")]
    Id,
    /// It has no `@timestamp`, or one that is no time.
    #[error("document {0} has no valid @timestamp")]
    Time(String),
}

/// The row of a hit: `_id` and `_source`.
///
/// # Errors
/// See [`DocumentError`].
pub fn from_document(hit: &Value) -> Result<Row, DocumentError> {
    let id = hit["_id"].as_str().ok_or(DocumentError::Id)?.to_owned();
    let document = &hit["_source"];
    let window = document["@timestamp"]
        .as_str()
        .and_then(|time| time.parse::<jiff::Timestamp>().ok())
        .ok_or_else(|| DocumentError::Time(id.clone()))?
        .as_millisecond();
    let (event, weir) = (&document["event"], &document["weir"]);
    let (source, destination) = (&document["source"], &document["destination"]);
    let totals = Totals {
        forward_bytes: number(&source["bytes"]),
        forward_packets: number(&source["packets"]),
        reverse_bytes: number(&destination["bytes"]),
        reverse_packets: number(&destination["packets"]),
        started: number(&weir["connections"]["started"]),
        ended: number(&weir["connections"]["ended"]),
    };
    Ok(Row {
        id,
        correction: number(&weir["correction"]),
        time: iso(window),
        window,
        window_length: weir["window_length"].as_i64().unwrap_or_default(),
        first_seen: text(&event["start"]),
        last_seen: text(&event["end"]),
        // On time it is the window, and not written.
        generation: optional(&weir["generation"]).unwrap_or_else(|| iso(window)),
        level: number(&weir["level"]),
        origin: text(&weir["origin"]),
        cluster: text(&document["orchestrator"]["cluster"]["name"]),
        cluster_known: flag(&weir["cluster_known"]),
        action: text(&event["action"]),
        arrival: text(&weir["arrival"]),
        arrival_reason: text(&weir["arrival_reason"]),
        protocol: text(&document["network"]["transport"]),
        source: end(source, &weir["source"]),
        destination: end(destination, &weir["destination"]),
        totals,
        drop_reasons: texts(&weir["drop_reasons"]),
        tcp_flags: TcpFlags {
            forward: texts(&weir["tcp_flags"]["forward"]),
            reverse: texts(&weir["tcp_flags"]["reverse"]),
        },
        reports: ["initiator", "responder"]
            .into_iter()
            .filter(|reporter| weir[*reporter].is_object())
            .map(|reporter| report(reporter, &weir[reporter], &totals))
            .collect(),
        coarsened: flag(&weir["coarsened"]),
        orientation_guessed: flag(&weir["orientation_guessed"]),
        untranslated: flag(&weir["untranslated"]),
        samples: number(&weir["samples"]),
        policy: super::policy::of_document(&weir["policy"], &document["rule"]),
    })
}

fn end(party: &Value, identity: &Value) -> End {
    let kubernetes = &party["kubernetes"];
    End {
        attribution: text(&identity["attribution"]),
        identified_by: text(&identity["identified_by"]),
        reason: optional(&identity["reason"]),
        candidates: texts(&identity["candidates"]),
        always_valid: flag(&identity["always_valid"]),
        scope: text(&identity["scope"]),
        address: optional(&party["ip"]),
        addresses: texts(&identity["addresses"]),
        addresses_more: number(&identity["addresses_more"]),
        port: party["port"].as_u64(),
        namespace: optional(&kubernetes["namespace"]),
        pod: optional(&kubernetes["pod"]["name"]),
        pod_uid: optional(&kubernetes["pod"]["uid"]),
        pods: texts(&kubernetes["pods"]),
        pods_more: number(&identity["pods_more"]),
        workload_kind: optional(&kubernetes["workload"]["kind"]),
        workload: optional(&kubernetes["workload"]["name"]),
        node: optional(&kubernetes["node"]["name"]),
        zone: optional(&kubernetes["node"]["zone"]),
        service: optional(&kubernetes["service"]),
        service_account: optional(&kubernetes["service_account"]),
        labels: texts(&kubernetes["labels"]),
        container: optional(&party["container"]["name"]),
        process: optional(&party["process"]["name"]),
        host: optional(&party["host"]["name"]),
        network_set: optional(&party["network_set"]),
        ..End::default()
    }
    .named()
}

/// A reporter's counter that is that of the totals is not written.
fn report(reporter: &'static str, counted: &Value, totals: &Totals) -> Report {
    let counter = |name: &str, total: u64| counted[name].as_u64().unwrap_or(total);
    let times = &counted["round_trip"];
    let drops = counted["drops"].as_array().map(Vec::as_slice).unwrap_or_default();
    Report {
        reporter,
        counters: Totals {
            forward_bytes: counter("forward_bytes", totals.forward_bytes),
            forward_packets: counter("forward_packets", totals.forward_packets),
            reverse_bytes: counter("reverse_bytes", totals.reverse_bytes),
            reverse_packets: counter("reverse_packets", totals.reverse_packets),
            started: counter("started", totals.started),
            ended: counter("ended", totals.ended),
        },
        retransmits: number(&counted["retransmits"]),
        round_trip: Times::new(
            number(&times["sum"]),
            number(&times["count"]),
            number(&times["min"]),
            number(&times["max"]),
        ),
        last_forward: optional(&counted["last_forward"]),
        sampling: number(&counted["sampling"]),
        drops: drops
            .iter()
            .map(|drop| Drop {
                reason: text(&drop["reason"]),
                class: text(&drop["class"]),
                forward_packets: number(&drop["forward_packets"]),
                forward_bytes: number(&drop["forward_bytes"]),
                reverse_packets: number(&drop["reverse_packets"]),
                reverse_bytes: number(&drop["reverse_bytes"]),
            })
            .collect(),
    }
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) fn text(value: &Value) -> String {
    optional(value).unwrap_or_default()
}

/// A list of texts; Elasticsearch writes a list of one as it was sent, so a single text counts as one.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(optional).collect(),
        single => optional(single).into_iter().collect(),
    }
}

pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}
