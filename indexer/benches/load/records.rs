//! Records as a cluster of 1 000 pods in 200 workloads and 20 namespaces gives them: a function of level and number.

use weir_flow::AddressScope;
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, Enriched, Explanation, IdentifiedBy, Kind, Report, Side,
};
use weir_schemas::raw::{Origin, RoundTrip};

/// Windows of a minute from 2026-11-22T00:00:00Z on.
pub(crate) const MIDNIGHT: i64 = 1_795_305_600_000;
/// Records of one window in which any workload may call any other.
const A_WINDOW: u64 = 2_000;
pub(crate) const WORKLOADS: u64 = 200;

/// What records are like.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    /// Aggregation level.
    pub(crate) level: u8,
    /// Pods behind each end at levels 2 and 3, at most five.
    pub(crate) pods: u64,
    /// How many others a workload calls, on one port each; 0: any, on any of twenty ports.
    pub(crate) peers: u64,
}

impl Traffic {
    /// Records of one window.
    fn a_window(self) -> u64 {
        if self.peers == 0 { A_WINDOW } else { WORKLOADS * self.peers }
    }

    /// The pods of the record in this place of its window, and the port.
    fn ends(self, place: u64) -> (u64, u64, u16) {
        let drawn = mix(place);
        if self.peers == 0 {
            let port = 8_000 + u16::try_from(drawn % 20).unwrap();
            return (drawn % 1_000, drawn / 1_000 % 1_000, port);
        }
        let (workload, peer) = (place % WORKLOADS, place / WORKLOADS);
        // As far apart as no others that it calls are.
        let called = (workload + 1 + mix(workload) % 37 + 38 * peer) % WORKLOADS;
        let port = 8_000 + u16::try_from(mix(called) % 20).unwrap();
        (workload + WORKLOADS * (drawn % 5), called + WORKLOADS * (drawn / 5 % 5), port)
    }
}

/// One step of splitmix64.
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn address(pod: u64) -> weir_flow::Address {
    format!("10.{}.{}.{}", 32 + pod / 62_500, pod / 250 % 250, pod % 250 + 1).parse().unwrap()
}

pub(crate) fn side(level: u8, pods: u64, pod: u64, port: Option<u16>) -> Side {
    let workload = pod % WORKLOADS;
    let name = format!("service-{workload}");
    let namespace = format!("team-{}", workload % 20);
    let pod_name = |n: u64| format!("{name}-{:05x}-{:05x}", mix(workload) & 0xf_ffff, mix(n) & 0xf_ffff);
    let detailed = level < 2;
    let members: Vec<u64> = (0..pods.min(5)).map(|n| workload + WORKLOADS * n).collect();
    Side {
        attribution: Attribution::Exact,
        by: IdentifiedBy::Uid,
        reason: None,
        candidates: vec![],
        always_valid: false,
        scope: AddressScope::Private,
        address: detailed.then(|| address(pod)),
        addresses: if detailed { vec![] } else { members.iter().map(|n| address(*n)).collect() },
        addresses_more: 0,
        port,
        namespace: Some(namespace.clone()),
        pod: detailed.then(|| pod_name(pod)),
        pod_uid: detailed
            .then(|| format!("{:08x}-0000-4000-8000-{:012x}", mix(pod) >> 32, mix(pod) & 0xffff_ffff_ffff)),
        pods: if detailed { vec![] } else { members.iter().map(|n| format!("{namespace}/{}", pod_name(*n))).collect() },
        pods_more: 0,
        workload_kind: Some("Deployment".to_owned()),
        workload: Some(name.clone()),
        node: detailed.then(|| format!("node-{}", pod % 20)),
        zone: detailed.then(|| format!("zone-{}", pod % 3)),
        service: None,
        service_account: Some("default".to_owned()),
        labels: vec![format!("app={name}"), format!("team={namespace}"), "env=prod".to_owned()],
        labels_some: vec![],
        labels_more: 0,
        domains: vec![],
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

/// Record number `n`.
pub(crate) fn record(traffic: Traffic, n: u64) -> Enriched {
    let Traffic { level, pods, .. } = traffic;
    let (caller, called, service) = traffic.ends(n % traffic.a_window());
    let window = MIDNIGHT + 60_000 * i64::try_from(n / traffic.a_window() % 1_440).unwrap();
    let size = mix(n ^ 0x5bd1);
    let (forward, reverse) = (size % 200 + 1, size / 200 % 300 + 1);
    let counters = Counters {
        forward_bytes: forward * 180,
        forward_packets: forward,
        reverse_bytes: reverse * 900,
        reverse_packets: reverse,
        started: size % 7,
        ended: size % 7,
    };
    let report = Report {
        counters,
        drops: vec![],
        forward_tcp_flags: 0x1b,
        reverse_tcp_flags: 0x1b,
        retransmits: 0,
        round_trip: Some(RoundTrip { sum: size % 90_000, count: 1 + size % 50, min: 100, max: 100 + size % 9_000 }),
        handshake: None,
        zero_windows: 0,
        resets: 0,
        last_forward: Some(window + 55_000),
        sampling: 1,
    };
    let port = |least: u8, port: u16| (level <= least).then_some(port);
    Enriched {
        id: format!("{:016x}{:016x}", mix(n), mix(n ^ u64::from(level) ^ 0xffff_0000)),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Ebpf,
        cluster: "production".to_owned(),
        cluster_known: true,
        level,
        window,
        window_length: 60_000,
        generation: window,
        semantics: 1,
        initiator: side(level, pods, caller, port(0, 32_768 + u16::try_from(size % 28_000).unwrap())),
        responder: side(level, pods, called, port(2, service)),
        protocol: 6,
        orientation_guessed: false,
        untranslated: false,
        first_seen: window + i64::try_from(size % 3_000).unwrap(),
        last_seen: window + 57_000,
        totals: counters,
        by_initiator: Some(report.clone()),
        by_responder: Some(report),
        arrival: Arrival::Ok,
        arrival_reason: String::new(),
        action: Action::Allow,
        community_id: (level == 0).then(|| format!("1:{:016x}{:011x}=", mix(size), size & 0xfff_ffff_ffff)),
        judgements: vec![],
        judgements_more: 0,
        explanation: Explanation::NotJudged,
        coarsened: false,
        samples: 12,
    }
}
