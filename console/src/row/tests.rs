//! Names, and that a document and a record give the same row.

use serde_json::json;
use weir_flow::AddressScope;
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, IdentifiedBy, Judgement, Kind, NoneReason,
    Report as Counted, Side, Verdict,
};
use weir_schemas::raw::{DropClass, Origin, RoundTrip};

use super::*;

/// Denied by default, against three attempts.
pub(crate) fn judgement() -> Judgement {
    Judgement {
        verdict: Verdict::Deny,
        reason: String::new(),
        trace: vec!["0|__PROFILE__|__PROFILE__.kns.shop|allow|0".into(), "1|default|end of tier|deny|-1".into()],
        selecting: vec!["NetworkPolicy shop/db".into()],
        pending: None,
        samples: 3,
        against: 3,
        otherwise: 3,
    }
}

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_348_800_000;

pub(crate) fn side(address: &str) -> Side {
    Side {
        labels_some: Vec::new(),
        domains: Vec::new(),
        domains_more: 0,
        labels_more: 0,
        as_number: None,
        as_organization: None,
        country: None,
        attribution: Attribution::None,
        by: IdentifiedBy::Nothing,
        reason: Some(NoneReason::Outside),
        candidates: vec![],
        always_valid: false,
        scope: AddressScope::Public,
        address: Some(address.parse().unwrap()),
        addresses: vec![],
        addresses_more: 0,
        port: None,
        namespace: None,
        pod: None,
        pod_uid: None,
        pods: vec![],
        pods_more: 0,
        workload_kind: None,
        workload: None,
        node: None,
        zone: None,
        service: None,
        service_account: None,
        labels: vec![],
        container: None,
        process: None,
        host: None,
        network_set: None,
    }
}

/// A flow of `shop/web-1` to an address outside; the id follows the name.
pub(crate) fn record(name: &str) -> Enriched {
    let counters = Counters {
        forward_bytes: 100,
        forward_packets: 2,
        reverse_bytes: 900,
        reverse_packets: 3,
        started: 1,
        ended: 1,
    };
    Enriched {
        judgements_more: 0,
        community_id: None,
        explanation: weir_schemas::enriched::Explanation::Mismatch,
        judgements: vec![judgement()],
        id: format!("{:0<32}", name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Demo,
        cluster: "demo".into(),
        cluster_known: true,
        level: 1,
        window: NOON,
        window_length: 5_000,
        generation: NOON + 5_000,
        semantics: 1,
        initiator: Side {
            attribution: Attribution::Exact,
            by: IdentifiedBy::Uid,
            reason: None,
            scope: AddressScope::Private,
            namespace: Some("shop".into()),
            pod: Some("web-1".into()),
            pod_uid: Some("6c1d".into()),
            workload_kind: Some("Deployment".into()),
            workload: Some("web".into()),
            node: Some("n1".into()),
            labels: vec!["app=web".into()],
            ..side("10.0.0.1")
        },
        responder: Side { port: Some(443), ..side("192.0.2.9") },
        protocol: 6,
        orientation_guessed: false,
        untranslated: true,
        first_seen: NOON + 1,
        last_seen: NOON + 4_000,
        totals: counters,
        by_initiator: Some(Counted {
            handshake: None,
            resets: 0,
            zero_windows: 0,
            counters,
            drops: vec![DropCounter {
                reason: "NETFILTER_DROP".into(),
                class: DropClass::Policy,
                forward_packets: 1,
                forward_bytes: 60,
                reverse_packets: 0,
                reverse_bytes: 0,
            }],
            forward_tcp_flags: 0x12,
            reverse_tcp_flags: 0x10,
            retransmits: 1,
            round_trip: Some(RoundTrip { sum: 301, count: 2, min: 100, max: 201 }),
            last_forward: Some(NOON + 3_000),
            sampling: 1,
        }),
        by_responder: None,
        arrival: Arrival::Unknown,
        arrival_reason: "outside".into(),
        action: Action::Mixed,
        coarsened: false,
        samples: 3,
    }
}

#[test]
fn document_and_record_give_the_same_row() {
    let row = from_record(&record("a"));
    let hit: Value = serde_json::from_str(include_str!("tests/document.json")).unwrap();
    assert_eq!(from_document(&hit).unwrap(), row);
}

/// Documents of before version 4 say what later ones leave out because it is said elsewhere.
#[test]
fn an_older_document_and_its_record_give_the_same_row() {
    let row = from_record(&record("a"));
    let mut hit: Value = serde_json::from_str(include_str!("tests/document.json")).unwrap();
    let weir = &mut hit["_source"]["weir"];
    weir["correction"] = json!(0);
    let counted = weir["initiator"].as_object_mut().unwrap();
    for (name, value) in
        [("forward_bytes", 100), ("forward_packets", 2), ("reverse_bytes", 900), ("reverse_packets", 3)]
    {
        assert!(counted.insert(name.to_owned(), json!(value)).is_none(), "{name}");
    }
    counted.extend([("started".to_owned(), json!(1)), ("ended".to_owned(), json!(1))]);
    assert_eq!(from_document(&hit).unwrap(), row);
}

#[test]
fn what_a_reporter_counted_otherwise_is_its_own_and_the_rest_the_totals() {
    let mut hit: Value = serde_json::from_str(include_str!("tests/document.json")).unwrap();
    hit["_source"]["weir"]["initiator"]["forward_packets"] = json!(0);
    hit["_source"]["weir"].as_object_mut().unwrap().remove("generation");
    let row = from_document(&hit).unwrap();
    let counters = row.reports[0].counters;
    assert_eq!((counters.forward_packets, counters.forward_bytes, counters.started), (0, 100, 1));
    assert_eq!(row.generation, row.time, "on time");
}

#[test]
fn broken_documents_are_named_and_poor_ones_shown() {
    assert_eq!(from_document(&json!({"_source": {}})), Err(DocumentError::Id));
    let hit = json!({"_id": "x", "_source": {"@timestamp": "yesterday"}});
    assert_eq!(from_document(&hit), Err(DocumentError::Time("x".into())));
    let hit = json!({"_id": "x", "_source": {"@timestamp": "2026-11-22T12:00:00Z", "weir": "odd", "source": [1]}});
    assert_eq!(from_document(&hit).unwrap().source.name, "unknown");
}

fn called(side: Side) -> (EndKind, String, String) {
    let row = from_record(&Enriched { initiator: side, ..record("a") });
    (row.source.kind, row.source.name, row.source.detail)
}

fn is(side: Side, kind: EndKind, name: &str, detail: &str) {
    assert_eq!(called(side), (kind, name.to_owned(), detail.to_owned()));
}

#[test]
fn ends_are_called_by_the_most_telling_thing_known() {
    let text = |text: &str| Some(text.to_owned());
    let address = || side("10.0.0.1");
    let exact = || Side { attribution: Attribution::Exact, by: IdentifiedBy::Address, reason: None, ..address() };
    is(record("a").initiator, EndKind::Pod, "web-1", "shop · Deployment/web");
    let level_two = Side {
        address: None,
        pod: None,
        pods: vec!["shop/web-1".into(), "shop/web-2".into()],
        pods_more: 3,
        ..record("a").initiator
    };
    is(level_two, EndKind::Workload, "web", "shop · Deployment · 5 pods");
    let service = Side { service: text("shop/db"), namespace: text("shop"), ..exact() };
    is(service, EndKind::Service, "db", "shop · Service");
    let ambiguous =
        Side { attribution: Attribution::Ambiguous, candidates: vec!["a/x".into(), "a/y".into()], ..address() };
    is(ambiguous, EndKind::Address, "10.0.0.1", "one of 2: a/x, a/y");
    let process = Side { process: text("curl"), host: text("laptop"), ..address() };
    is(process, EndKind::Process, "curl", "laptop · 10.0.0.1");
    let contained = Side { container: text("cache"), ..address() };
    is(contained, EndKind::Container, "cache", "10.0.0.1");
    let on_the_host = Side { container: text("cache"), process: text("redis"), host: text("laptop"), ..address() };
    is(on_the_host, EndKind::Container, "cache", "redis · laptop · 10.0.0.1");
    is(Side { host: text("laptop"), ..address() }, EndKind::Host, "laptop", "host · 10.0.0.1");
    is(Side { node: text("n1"), ..exact() }, EndKind::Host, "n1", "node · 10.0.0.1");
    is(Side { network_set: text("office"), ..address() }, EndKind::NetworkSet, "office", "network set · 10.0.0.1");
    is(address(), EndKind::Address, "10.0.0.1", "internet");
    let many = Side { address: None, addresses: vec!["10.0.0.1".parse().unwrap()], addresses_more: 2, ..address() };
    is(many, EndKind::Address, "3 addresses", "internet");
    is(Side { address: None, ..address() }, EndKind::Unknown, "unknown", "internet");
}
