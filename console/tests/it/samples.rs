//! Flows for tests: a shop, its database, a scan that is denied, an address that two pods held, and a host without a
//! cluster.

use serde_json::{Value, json};
use weir_flow::AddressScope;
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, IdentifiedBy, Kind, NoneReason, Report, Side,
    document_id,
};
use weir_schemas::raw::{DropClass, Origin, RoundTrip};

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_348_800_000;

pub(crate) fn outside(address: &str) -> Side {
    let address: weir_flow::Address = address.parse().unwrap();
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
        scope: address.scope(),
        address: Some(address),
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

pub(crate) fn pod(namespace: &str, workload: &str, number: u8) -> Side {
    Side {
        attribution: Attribution::Exact,
        by: IdentifiedBy::Uid,
        reason: None,
        scope: AddressScope::Private,
        namespace: Some(namespace.into()),
        pod: Some(format!("{workload}-7d9f8b6c5-x{number}k2p")),
        pod_uid: Some(format!("6c1d0f3e-8a52-4d7e-9b11-0000000000{number:02}")),
        workload_kind: Some("Deployment".into()),
        workload: Some(workload.into()),
        node: Some(format!("node-{}", number % 3)),
        zone: Some("eu-central-1a".into()),
        service_account: Some("default".into()),
        labels: vec![format!("app={workload}"), "tier=backend".into()],
        ..outside(&format!("10.244.1.{number}"))
    }
}

fn counters(forward_bytes: u64, reverse_bytes: u64) -> Counters {
    let packets = |bytes: u64| bytes.div_ceil(900);
    Counters {
        forward_bytes,
        forward_packets: packets(forward_bytes),
        reverse_bytes,
        reverse_packets: packets(reverse_bytes),
        started: 1 + forward_bytes % 7,
        ended: forward_bytes % 5,
    }
}

fn report(counters: Counters) -> Report {
    Report {
        handshake: None,
        resets: 0,
        zero_windows: 0,
        counters,
        drops: vec![],
        forward_tcp_flags: 0x1B,
        reverse_tcp_flags: 0x12,
        retransmits: 2,
        round_trip: Some(RoundTrip { sum: 2_730, count: 3, min: 640, max: 1_250 }),
        last_forward: Some(NOON + 4_100),
        sampling: 1,
    }
}

/// A flow that was allowed and arrived; the number makes its id and, every third number, an earlier window.
pub(crate) fn flow(number: u32, source: Side, destination: Side, port: u16, bytes: (u64, u64)) -> Enriched {
    let counters = counters(bytes.0, bytes.1);
    let window = NOON - i64::from(number / 3) * 5_000;
    Enriched {
        judgements_more: 0,
        community_id: None,
        explanation: weir_schemas::enriched::Explanation::NotJudged,
        judgements: Vec::new(),
        // Spread over the whole range, so that the order of ids is not the order of numbers.
        id: format!("{:08x}{number:024x}", number.wrapping_mul(2_654_435_761)),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Ebpf,
        cluster: "prod-eu".into(),
        cluster_known: true,
        level: 1,
        window,
        window_length: 5_000,
        generation: window,
        semantics: 1,
        initiator: source,
        // Port 0: a protocol without ports.
        responder: Side { port: Some(port).filter(|port| *port != 0), ..destination },
        protocol: 6,
        orientation_guessed: false,
        untranslated: false,
        first_seen: window + 120,
        last_seen: window + 4_480,
        totals: counters,
        by_initiator: Some(report(counters)),
        by_responder: Some(report(counters)),
        arrival: Arrival::Ok,
        arrival_reason: String::new(),
        action: Action::Allow,
        coarsened: false,
        samples: 2,
    }
}

fn denied(number: u32, source: Side, destination: Side, port: u16) -> Enriched {
    let drop = DropCounter {
        reason: "NETFILTER_DROP".into(),
        class: DropClass::Policy,
        forward_packets: 6,
        forward_bytes: 360,
        reverse_packets: 0,
        reverse_bytes: 0,
    };
    let mut record = flow(number, source, destination, port, (360, 0));
    record.action = Action::Deny;
    record.arrival = Arrival::Never;
    record.by_initiator = record.by_initiator.map(|report| Report { drops: vec![drop], ..report });
    record.by_responder = None;
    record
}

/// A dozen flows of every kind.
pub(crate) fn flows() -> Vec<Enriched> {
    let service = |name: &str, side: Side| Side { service: Some(format!("shop/{name}")), ..side };
    let ambiguous = Side {
        attribution: Attribution::Ambiguous,
        by: IdentifiedBy::Address,
        reason: None,
        candidates: vec!["batch/report-28391-q4w".into(), "shop/cart-5b7d-9xk".into()],
        ..outside("10.244.1.77")
    };
    let host = Side {
        reason: Some(NoneReason::NoCluster),
        process: Some("curl".into()),
        host: Some("laptop".into()),
        ..outside("192.168.1.20")
    };
    let workloads = |side: Side| Side {
        address: None,
        pod: None,
        pod_uid: None,
        addresses: vec!["10.244.1.1".parse().unwrap(), "10.244.1.2".parse().unwrap()],
        pods: vec!["shop/web-1".into(), "shop/web-2".into()],
        pods_more: 3,
        ..side
    };
    let to_api = outside("203.0.113.80");
    vec![
        flow(0, pod("shop", "web", 1), service("cart", pod("shop", "cart", 4)), 8080, (48_210, 1_204_331)),
        flow(1, pod("shop", "cart", 4), service("db", pod("shop", "db", 9)), 5432, (9_120, 88_400)),
        denied(2, pod("batch", "report", 7), pod("shop", "db", 9), 5432),
        flow(3, pod("shop", "web", 1), to_api.clone(), 443, (2_310, 64_820_000)),
        Enriched {
            protocol: 17,
            ..flow(
                4,
                pod("shop", "web", 2),
                Side { service: Some("kube-system/kube-dns".into()), ..pod("kube-system", "coredns", 3) },
                53,
                (812, 1_930),
            )
        },
        flow(5, ambiguous, service("db", pod("shop", "db", 9)), 5432, (1_500, 700)),
        flow(6, host, outside("2001:db8::10"), 443, (900, 5_400)),
        Enriched {
            action: Action::Mixed,
            arrival: Arrival::Unknown,
            arrival_reason: "late".into(),
            ..flow(7, pod("ops", "scanner", 8), pod("shop", "cart", 4), 22, (540, 120))
        },
        Enriched {
            arrival: Arrival::Unknown,
            arrival_reason: "no_observer".into(),
            ..flow(8, outside("198.51.100.7"), service("web", pod("shop", "web", 1)), 443, (18_000, 402_000))
        },
        flow(9, pod("shop", "web", 2), Side { network_set: Some("payments".into()), ..to_api }, 443, (7_700, 3_100)),
        Enriched {
            level: 2,
            ..flow(10, workloads(pod("shop", "web", 1)), workloads(pod("shop", "cart", 4)), 8080, (96_000, 2_400_000))
        },
        Enriched {
            protocol: 1,
            ..flow(
                11,
                Side {
                    node: Some("node-2".into()),
                    attribution: Attribution::Exact,
                    by: IdentifiedBy::Address,
                    reason: None,
                    ..outside("10.0.0.12")
                },
                pod("shop", "db", 9),
                0,
                (84, 84),
            )
        },
    ]
}

/// The hit of a record, with the fields that the console reads; the names are those of the index template.
pub(crate) fn hit(record: &Enriched) -> Value {
    let iso = |millis: i64| jiff::Timestamp::from_millisecond(millis).unwrap().to_string();
    let totals = &record.totals;
    let party = |side: &Side, bytes: u64, packets: u64| {
        json!({
            "ip": side.address.map(|address| address.to_string()), "port": side.port, "bytes": bytes, "packets": packets,
            "host": {"name": side.host}, "process": {"name": side.process}, "network_set": side.network_set,
            "kubernetes": {
                "namespace": side.namespace, "pod": {"name": side.pod, "uid": side.pod_uid}, "pods": side.pods,
                "workload": {"kind": side.workload_kind, "name": side.workload}, "service": side.service,
                "node": {"name": side.node, "zone": side.zone}, "labels": side.labels,
                "service_account": side.service_account,
            },
        })
    };
    let identity = |side: &Side| {
        json!({
            "attribution": side.attribution, "identified_by": side.by, "reason": side.reason, "scope": side.scope,
            "candidates": side.candidates, "pods_more": side.pods_more, "addresses_more": side.addresses_more,
            "addresses": side.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    let ends = [&record.initiator, &record.responder];
    let related = ends.iter().flat_map(|side| side.address.iter().chain(&side.addresses)).map(ToString::to_string);
    let counted = |report: &Option<Report>| {
        report.as_ref().map(|report| {
            let mut value = serde_json::to_value(report.counters).unwrap();
            value["drops"] = serde_json::to_value(&report.drops).unwrap();
            value["sampling"] = json!(report.sampling);
            value["retransmits"] = json!(report.retransmits);
            value["round_trip"] = serde_json::to_value(report.round_trip).unwrap();
            value
        })
    };
    let tiebreak = u64::from_str_radix(&record.id[..10], 16).unwrap();
    json!({"_id": document_id(&record.id), "_source": {
        "@timestamp": iso(record.window),
        "event": {"action": record.action, "start": iso(record.first_seen), "end": iso(record.last_seen)},
        "source": party(&record.initiator, totals.forward_bytes, totals.forward_packets),
        "destination": party(&record.responder, totals.reverse_bytes, totals.reverse_packets),
        "network": {"transport": weir_flow::protocol::name(record.protocol)},
        "related": {"ip": related.collect::<Vec<_>>()},
        "orchestrator": {"cluster": {"name": record.cluster}},
        "weir": {
            "level": record.level, "window_length": record.window_length, "generation": iso(record.generation),
            "correction": record.correction, "origin": record.origin, "cluster_known": record.cluster_known,
            "arrival": record.arrival, "arrival_reason": record.arrival_reason, "samples": record.samples,
            "tiebreak": tiebreak, "connections": {"started": totals.started, "ended": totals.ended},
            "source": identity(&record.initiator), "destination": identity(&record.responder),
            "initiator": counted(&record.by_initiator), "responder": counted(&record.by_responder),
        },
    }})
}
