//! Records for tests.

use weir_flow::AddressScope;
use weir_schemas::enriched::{Action, Arrival, Attribution, Counters, Enriched, IdentifiedBy, Kind, Side};
use weir_schemas::raw::Origin;

fn side(name: &str, n: u64) -> Side {
    Side {
        labels_some: Vec::new(),
        domains: Vec::new(),
        domains_more: 0,
        labels_more: 0,
        as_number: None,
        as_organization: None,
        country: None,
        attribution: Attribution::Exact,
        by: IdentifiedBy::Uid,
        reason: None,
        candidates: vec![],
        always_valid: false,
        scope: AddressScope::Private,
        address: Some(format!("10.0.{}.{}", n / 250 % 250, n % 250).parse().unwrap()),
        addresses: vec![],
        addresses_more: 0,
        port: Some(8080),
        namespace: Some("shop".into()),
        pod: Some(format!("{name}-{n}")),
        pod_uid: Some(format!("uid-{n}")),
        pods: vec![],
        pods_more: 0,
        workload_kind: Some("Deployment".into()),
        workload: Some(name.into()),
        node: Some("node-1".into()),
        zone: None,
        service: None,
        service_account: None,
        labels: vec![format!("app={name}")],
        container: None,
        process: None,
        host: None,
        network_set: None,
    }
}

/// Record number `n` of a day (days since the epoch), at level 1.
pub(crate) fn record(day: i64, n: u64) -> Enriched {
    let window = day * 86_400_000 + 60_000 * i64::try_from(n % 1_000).unwrap();
    Enriched {
        judgements_more: 0,
        community_id: None,
        explanation: weir_schemas::enriched::Explanation::NotJudged,
        judgements: Vec::new(),
        id: format!("{:016x}{n:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Demo,
        cluster: "test".into(),
        cluster_known: true,
        level: 1,
        window,
        window_length: 60_000,
        generation: window,
        semantics: 1,
        initiator: side("web", n),
        responder: side("db", n + 1),
        protocol: 6,
        orientation_guessed: false,
        untranslated: false,
        first_seen: window,
        last_seen: window + 1_000,
        totals: Counters { forward_bytes: 1_000 + n, forward_packets: 1, ..Counters::default() },
        by_initiator: None,
        by_responder: None,
        arrival: Arrival::Ok,
        arrival_reason: String::new(),
        action: Action::Allow,
        coarsened: false,
        samples: 1,
    }
}

/// A correction of a record.
pub(crate) fn with(record: &Enriched, correction: u32, forward_bytes: u64, kind: Kind) -> Enriched {
    let mut corrected = record.clone();
    corrected.correction = correction;
    corrected.kind = kind;
    corrected.totals.forward_bytes = forward_bytes;
    corrected
}
