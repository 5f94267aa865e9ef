//! Records for tests: one with everything set, one with as little as there can be.

use weir_flow::AddressScope;
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, IdentifiedBy, Judgement, Kind, NoneReason, Pending,
    Report, Side, Verdict,
};
use weir_schemas::raw::{DropClass, Origin, RoundTrip};

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_348_800_000;

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// A side with every field set, though no real one could have them all.
pub(crate) fn full_side(name: &str, last: u8) -> Side {
    Side {
        labels_some: vec!["pod-template-hash=1".into(), "pod-template-hash=2".into()],
        domains: vec!["db.example.com".into()],
        domains_more: 5,
        labels_more: 6,
        as_number: Some(64_496),
        as_organization: text("Example Net"),
        country: text("NL"),
        attribution: Attribution::Ambiguous,
        by: IdentifiedBy::Address,
        reason: Some(NoneReason::Outside),
        candidates: vec!["shop/a".into(), "shop/b".into()],
        always_valid: true,
        scope: AddressScope::Private,
        address: Some(format!("10.0.0.{last}").parse().unwrap()),
        addresses: vec![format!("10.0.1.{last}").parse().unwrap(), "fd00::1".parse().unwrap()],
        addresses_more: 3,
        port: Some(443),
        namespace: text("shop"),
        pod: Some(format!("{name}-x1")),
        pod_uid: text("6c1d0000-0000-0000-0000-000000000001"),
        pods: vec![format!("shop/{name}-x1")],
        pods_more: 4,
        workload_kind: text("Deployment"),
        workload: text(name),
        node: text("node-1"),
        zone: text("eu-1a"),
        service: text("shop/web"),
        service_account: text("default"),
        labels: vec!["app=web".into(), "tier=front".into()],
        container: text("c0ffee"),
        process: text("nginx"),
        host: text("host-1"),
        network_set: text("partners"),
    }
}

/// A report that counted more than the totals say, so that every counter is written.
fn other_report() -> Report {
    let mut report = full_report();
    let counters = &mut report.counters;
    counters.forward_bytes += 1;
    counters.forward_packets += 1;
    counters.reverse_bytes += 1;
    counters.reverse_packets += 1;
    counters.started += 1;
    counters.ended += 1;
    report
}

fn full_report() -> Report {
    let drop = |reason: &str, class| DropCounter {
        reason: reason.into(),
        class,
        forward_packets: 2,
        forward_bytes: 120,
        reverse_packets: 1,
        reverse_bytes: 60,
    };
    Report {
        handshake: Some(RoundTrip { sum: 90, count: 1, min: 90, max: 90 }),
        resets: 4,
        zero_windows: 5,
        counters: Counters {
            forward_bytes: 1_000,
            forward_packets: 10,
            reverse_bytes: 9_000,
            reverse_packets: 12,
            started: 2,
            ended: 1,
        },
        drops: vec![drop("NETFILTER_DROP", DropClass::Policy), drop("NO_SOCKET", DropClass::Other)],
        forward_tcp_flags: 0x12,
        reverse_tcp_flags: 0xFF,
        retransmits: 3,
        round_trip: Some(RoundTrip { sum: 300, count: 2, min: 100, max: 200 }),
        last_forward: Some(NOON + 4_500),
        sampling: 1,
    }
}

/// A record in which every field is set.
/// Denied by the end of a tier, and a staged policy would allow it.
fn judgement() -> Judgement {
    let trace = |rule: &str| vec![format!("0|default|{rule}")];
    Judgement {
        verdict: Verdict::Deny,
        reason: String::new(),
        trace: trace("end of tier|deny|-1"),
        selecting: vec!["NetworkPolicy shop/db".into()],
        pending: Some(Pending {
            verdict: Verdict::Allow,
            reason: String::new(),
            trace: trace("shop/staged:knp.default.db|allow|0"),
        }),
        samples: 9,
        against: 3,
        otherwise: 4,
    }
}

pub(crate) fn maximal() -> Enriched {
    Enriched {
        judgements_more: 7,
        community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".into()),
        explanation: weir_schemas::enriched::Explanation::Mismatch,
        judgements: vec![judgement()],
        id: "0123456789abcdef0123456789abcdef".into(),
        correction: 2,
        kind: Kind::Upsert,
        origin: Origin::Ebpf,
        cluster: "prod".into(),
        cluster_known: true,
        level: 2,
        window: NOON,
        window_length: 60_000,
        generation: NOON + 60_000,
        semantics: 1,
        initiator: full_side("web", 1),
        responder: full_side("db", 2),
        protocol: 6,
        orientation_guessed: true,
        untranslated: true,
        first_seen: NOON + 1,
        last_seen: NOON + 4_501,
        totals: full_report().counters,
        by_initiator: Some(other_report()),
        by_responder: Some(other_report()),
        arrival: Arrival::Unknown,
        arrival_reason: "late".into(),
        action: Action::Mixed,
        coarsened: true,
        samples: 7,
    }
}

/// A side of which nothing is known.
pub(crate) fn empty_side() -> Side {
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
        reason: None,
        candidates: vec![],
        always_valid: false,
        scope: AddressScope::Public,
        address: None,
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

/// A record with as little as there can be.
pub(crate) fn minimal() -> Enriched {
    Enriched {
        judgements: Vec::new(),
        judgements_more: 0,
        explanation: weir_schemas::enriched::Explanation::NotJudged,
        community_id: None,
        correction: 0,
        level: 3,
        cluster_known: false,
        generation: NOON,
        initiator: empty_side(),
        responder: empty_side(),
        protocol: 253,
        orientation_guessed: false,
        untranslated: false,
        first_seen: NOON,
        last_seen: NOON,
        totals: Counters { forward_packets: 1, forward_bytes: 40, ..Counters::default() },
        by_initiator: None,
        by_responder: None,
        arrival: Arrival::Ok,
        arrival_reason: String::new(),
        action: Action::Allow,
        coarsened: false,
        samples: 1,
        ..maximal()
    }
}
