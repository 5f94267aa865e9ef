//! A record for tests.

use weir_flow::AddressScope;
use weir_schemas::enriched::{Action, Arrival, Attribution, Counters, Enriched, Explanation, IdentifiedBy, Kind, Side};
use weir_schemas::raw::Origin;

/// An end of which only the address is known.
pub(super) fn side(address: &str) -> Side {
    Side {
        attribution: Attribution::None,
        by: IdentifiedBy::Nothing,
        reason: None,
        candidates: Vec::new(),
        always_valid: false,
        scope: AddressScope::Private,
        address: Some(address.parse().unwrap()),
        addresses: Vec::new(),
        addresses_more: 0,
        port: Some(443),
        namespace: None,
        pod: None,
        pod_uid: None,
        pods: Vec::new(),
        pods_more: 0,
        workload_kind: None,
        workload: None,
        node: None,
        zone: None,
        service: None,
        service_account: None,
        labels: Vec::new(),
        labels_some: Vec::new(),
        labels_more: 0,
        domains: Vec::new(),
        domains_more: 0,
        country: None,
        as_number: None,
        as_organization: None,
        container: None,
        process: None,
        host: None,
        network_set: None,
    }
}

/// A record of the cluster `local`.
pub(crate) fn record() -> Enriched {
    Enriched {
        id: format!("{:032x}", 1),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Ebpf,
        cluster: "local".to_owned(),
        cluster_known: false,
        level: 1,
        window: 100_000,
        window_length: 5_000,
        generation: 100_000,
        semantics: 1,
        initiator: side("10.0.0.1"),
        responder: side("2001:db8::2"),
        protocol: 6,
        orientation_guessed: false,
        untranslated: false,
        first_seen: 100_000,
        last_seen: 101_000,
        totals: Counters::default(),
        by_initiator: None,
        by_responder: None,
        arrival: Arrival::Unknown,
        arrival_reason: "sampled".to_owned(),
        action: Action::Allow,
        community_id: None,
        judgements: Vec::new(),
        judgements_more: 0,
        explanation: Explanation::default(),
        coarsened: false,
        samples: 1,
    }
}
