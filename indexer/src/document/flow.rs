//! `weir-flows-*`, `weir-capture-*` and `weir-replay-*`: flows.

use super::object::Object;
use super::pair::Pair;
use super::{DocumentError, check_id, check_times, policy, report, sum, tiebreak};
use weir_flow::protocol;
use weir_schemas::enriched::{Action, Arrival, Enriched, Report};

#[cfg(test)]
mod tests;

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

/// Appends the document of a record with these ends and their ports.
///
/// What all documents have alike stands here as text: naming and quoting it each time took more than what differs.
pub(super) fn write<S>(
    line: &mut Vec<u8>,
    record: &Enriched<S>,
    pair: &Pair,
    ports: [Option<u16>; 2],
) -> Result<(), serde_json::Error> {
    let (totals, [initiator, responder]) = (&record.totals, &pair.ends);
    let sent = [(totals.forward_bytes, totals.forward_packets), (totals.reverse_bytes, totals.reverse_packets)];
    let mut document = Object::begin(line);
    document.time(r#""@timestamp":"#, record.window)?;
    document.raw(r#""ecs":"#, ECS_TEXT);
    put_event(document.object(r#""event":"#), record)?;
    put_network(document.object(r#""network":"#), record, &pair.network)?;
    document.more(&pair.related);
    put_orchestrator(document.object(r#""orchestrator":"#), &record.cluster, record.cluster_known)?;
    document.raw(r#""observer":"#, OBSERVER_TEXT);
    document.optional(r#""rule":"#, policy::Rule::of(record).as_ref())?;
    for (name, end, port, (bytes, packets)) in
        [(r#""source":"#, initiator, ports[0], sent[0]), (r#""destination":"#, responder, ports[1], sent[1])]
    {
        let mut object = document.object(name);
        object.optional(r#""port":"#, port.as_ref())?;
        object.number(r#""bytes":"#, bytes)?;
        object.number(r#""packets":"#, packets)?;
        object.more(&end.party);
        object.end();
    }
    put_weir(document.object(r#""weir":"#), record, pair)?;
    document.end();
    Ok(())
}

/// [`ECS`](super::ECS) as JSON.
const ECS_TEXT: &[u8] = br#"{"version":"8.17.0"}"#;
/// [`OBSERVER`](super::OBSERVER) as JSON.
const OBSERVER_TEXT: &[u8] = br#"{"vendor":"Weir","product":"weir","type":"flow"}"#;

/// Writes an [`Orchestrator`](super::Orchestrator).
fn put_orchestrator(mut orchestrator: Object<'_>, cluster: &str, known: bool) -> Result<(), serde_json::Error> {
    let mut named = orchestrator.object(r#""cluster":"#);
    named.value(r#""name":"#, cluster)?;
    named.end();
    if known {
        orchestrator.raw(r#""type":"#, br#""kubernetes""#);
    }
    orchestrator.end();
    Ok(())
}

fn put_event<S>(mut event: Object<'_>, record: &Enriched<S>) -> Result<(), serde_json::Error> {
    let (action, types): (_, &[u8]) = match record.action {
        Action::Allow => (br#""allow""#.as_slice(), br#"["connection","allowed"]"#),
        Action::Deny => (br#""deny""#, br#"["connection","denied"]"#),
        Action::Mixed => (br#""mixed""#, br#"["connection","allowed","denied"]"#),
    };
    let outcome = match (record.action, record.arrival) {
        (Action::Deny, _) | (_, Arrival::Never) => br#""failure""#.as_slice(),
        (Action::Mixed, _) => br#""unknown""#,
        (Action::Allow, Arrival::Ok | Arrival::Unknown) => br#""success""#,
    };
    event.raw(r#""kind":"event","category":["network"],"type":"#, types);
    event.raw(r#""action":"#, action);
    event.raw(r#""outcome":"#, outcome);
    event.time(r#""dataset":"weir.flows","start":"#, record.first_seen)?;
    event.time(r#""end":"#, record.last_seen)?;
    event.end();
    Ok(())
}

fn put_network<S>(mut network: Object<'_>, record: &Enriched<S>, of_ends: &[u8]) -> Result<(), serde_json::Error> {
    let totals = &record.totals;
    network.number(r#""bytes":"#, sum(totals.forward_bytes, totals.reverse_bytes))?;
    network.number(r#""packets":"#, sum(totals.forward_packets, totals.reverse_packets))?;
    match record.protocol {
        protocol::TCP => network.raw(r#""transport":"tcp","iana_number":"#, br#""6""#),
        protocol::UDP => network.raw(r#""transport":"udp","iana_number":"#, br#""17""#),
        other => {
            network.value(r#""transport":"#, &protocol::name(other))?;
            network.value(r#""iana_number":"#, &other.to_string())?;
        }
    }
    network.more(of_ends);
    network.optional(r#""community_id":"#, record.community_id.as_ref())?;
    network.end();
    Ok(())
}

/// Which reports there are, as `weir.reporters`.
const REPORTERS: [&[u8]; 3] = [br#"["initiator"]"#, br#"["responder"]"#, br#"["initiator","responder"]"#];

fn put_weir<S>(mut weir: Object<'_>, record: &Enriched<S>, pair: &Pair) -> Result<(), serde_json::Error> {
    let reports = [record.by_initiator.as_ref(), record.by_responder.as_ref()];
    weir.value(r#""level":"#, &record.level)?;
    weir.value(r#""window_length":"#, &record.window_length)?;
    // Absent on time: it is the window then.
    if record.generation != record.window {
        weir.time(r#""generation":"#, record.generation)?;
    }
    // Absent of an original.
    weir.rare(r#""correction":"#, record.correction.into())?;
    weir.value(r#""origin":"#, &record.origin)?;
    weir.value(r#""cluster_known":"#, &record.cluster_known)?;
    weir.value(r#""semantics":"#, &record.semantics)?;
    weir.value(r#""arrival":"#, &record.arrival)?;
    if !record.arrival_reason.is_empty() {
        weir.value(r#""arrival_reason":"#, &record.arrival_reason)?;
    }
    weir.flag(r#""coarsened":"#, record.coarsened);
    weir.flag(r#""orientation_guessed":"#, record.orientation_guessed);
    weir.flag(r#""untranslated":"#, record.untranslated);
    weir.number(r#""samples":"#, record.samples)?;
    weir.number(r#""tiebreak":"#, tiebreak(&record.id).into())?;
    let mut connections = weir.object(r#""connections":"#);
    connections.number(r#""started":"#, record.totals.started)?;
    connections.number(r#""ended":"#, record.totals.ended)?;
    connections.end();
    let reporters = match reports {
        [Some(_), None] => Some(REPORTERS[0]),
        [None, Some(_)] => Some(REPORTERS[1]),
        [Some(_), Some(_)] => Some(REPORTERS[2]),
        [None, None] => None,
    };
    if let Some(reporters) = reporters {
        weir.raw(r#""reporters":"#, reporters);
    }
    weir.list(r#""drop_reasons":"#, &drop_reasons(reports))?;
    report::put_flags(&mut weir, reports);
    for (name, report) in [(r#""initiator":"#, reports[0]), (r#""responder":"#, reports[1])] {
        if let Some(report) = report {
            report::put(weir.object(name), report, &record.totals)?;
        }
    }
    weir.optional(r#""policy":"#, policy::Policy::of(record).as_ref())?;
    for (name, end) in [r#""source":"#, r#""destination":"#].into_iter().zip(&pair.ends) {
        weir.raw(name, &end.identity);
    }
    weir.end();
    Ok(())
}

/// For which reasons either reporter saw drops, each once.
fn drop_reasons(reports: [Option<&Report>; 2]) -> Vec<&str> {
    let mut reasons: Vec<&str> =
        reports.into_iter().flatten().flat_map(|r| &r.drops).map(|d| d.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}
