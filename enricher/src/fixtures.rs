//! Samples, batches and a join for tests.

use crate::history::SettingsHistory;
use crate::join::Join;
use crate::judge::{Connection, Judge, Judged, Parties};
use crate::policies::Policies;
use crate::stage1::{RawBatch, Sample};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_flow::{Address, Level, Millis, RecordSettings, protocol};
use weir_join::{Ask, Entity, Identity, IdentityKind, Resolution, Table};
use weir_schemas::enriched::{IdentifiedBy, NoneReason};
use weir_schemas::metadata::{
    Agent, Bound, BoundSource, Heartbeat, Metadata, Object, Pod, Proof, Revision, Service, ServicePort,
};
use weir_schemas::raw::{Coarsening, DnsSample, Drop, DropClass, End, OpenedBy, Origin, Point, RoundTrip, Totals};

pub(crate) const CLUSTER: &str = "local";

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// Tick 1 s, window 5 s, grace 2 s, all four levels.
pub(crate) fn settings(raw: i32, internal: i32) -> RecordSettings {
    let all = vec![Level::Zero, Level::One, Level::Two, Level::Three];
    RecordSettings {
        raw_partitions: raw,
        internal_partitions: internal,
        levels_allowed: all.clone(),
        levels_denied: all,
        ..RecordSettings::small(CLUSTER)
    }
}

pub(crate) fn history(settings: RecordSettings) -> Arc<SettingsHistory> {
    Arc::new(SettingsHistory::new(CLUSTER, vec![settings]).unwrap())
}

/// A TCP packet of `bytes` from 10.0.0.1:40000 to 10.0.0.2:80, seen leaving the sender's pod.
pub(crate) fn sample(bytes: u64) -> Sample {
    Sample {
        zero_windows: 0,
        coarsened: Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Pod,
        end: End::Source,
        interface: "veth0".into(),
        source: address("10.0.0.1"),
        destination: address("10.0.0.2"),
        source_port: 40_000,
        destination_port: 80,
        protocol: protocol::TCP,
        translated: None,
        opened_by: OpenedBy::Source,
        first_seen: Millis::MIN,
        last_seen: Millis::MIN,
        bytes,
        packets: 1,
        tcp_flags: protocol::SYN,
        started: 1,
        ended: 0,
        opened_at: None,
        cumulative_bytes: bytes,
        cumulative_packets: 1,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
    }
}

/// The same packet as it arrives at the receiver's pod.
pub(crate) fn arriving(mut sample: Sample) -> Sample {
    sample.end = End::Destination;
    sample
}

/// A packet of the answer: the ends change places.
pub(crate) fn answer(mut sample: Sample) -> Sample {
    std::mem::swap(&mut sample.source, &mut sample.destination);
    std::mem::swap(&mut sample.source_port, &mut sample.destination_port);
    sample.opened_by = OpenedBy::Destination;
    sample.started = 0;
    sample
}

pub(crate) fn dropped(mut sample: Sample, class: DropClass, packets: u64) -> Sample {
    sample.drops.push(Drop { reason: "NETFILTER_DROP".to_owned(), class, packets, bytes: packets * 60 });
    sample
}

pub(crate) fn with_round_trip(mut sample: Sample, micros: u64) -> Sample {
    sample.round_trip = Some(RoundTrip { sum: micros, count: 1, min: micros, max: micros });
    sample
}

/// A question of 10.0.0.1 to 10.0.0.53 that was answered with 10.0.0.2, seen leaving the client's pod.
pub(crate) fn question(name: &str) -> DnsSample {
    DnsSample {
        point: Point::Pod,
        end: End::Source,
        interface: "veth0".into(),
        client: address("10.0.0.1"),
        server: address("10.0.0.53"),
        server_port: 53,
        protocol: protocol::UDP,
        question: name.to_owned(),
        question_type: 1,
        response_code: Some(0),
        count: 1,
        latency: Some(RoundTrip { sum: 400, count: 1, min: 400, max: 400 }),
        answers: vec![address("10.0.0.2")],
        answers_more: 0,
        pod_uid: None,
        container: None,
        process: None,
    }
}

/// A batch of one tick with these questions besides.
pub(crate) fn asking(node: &str, sequence: u64, tick: Millis, samples: Vec<Sample>, dns: Vec<DnsSample>) -> RawBatch {
    RawBatch { dns, ..batch(node, sequence, tick, samples) }
}

/// A batch of one tick.
pub(crate) fn batch(node: &str, sequence: u64, tick: Millis, mut samples: Vec<Sample>) -> RawBatch {
    for sample in &mut samples {
        sample.first_seen = tick;
        sample.last_seen = tick;
    }
    RawBatch {
        dns: Vec::new(),
        cluster: CLUSTER.to_owned(),
        node: node.to_owned(),
        boot: "boot".to_owned(),
        sequence,
        tick,
        tick_length: 1_000,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Ebpf,
        seen: Totals::default(),
        published: Totals::default(),
        lost: Vec::new(),
        samples,
    }
}

/// A join by address alone: every address named is a pod, covered if its node is.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) complete_to: Millis,
    pub(crate) pods: BTreeMap<Address, Arc<Identity>>,
    /// Addresses that several pods may have held.
    pub(crate) ambiguous: BTreeMap<Address, Vec<Arc<Identity>>>,
    pub(crate) covered: Vec<String>,
    pub(crate) services: BTreeMap<(Address, u16), String>,
    pub(crate) one_observer: bool,
    /// Nobody judges without.
    pub(crate) policies: Option<Arc<Policies>>,
    pub(crate) judge: OwnJudge,
}

/// A judge whose copy remembers nothing.
#[derive(Debug, Default)]
pub(crate) struct OwnJudge(Judge);

impl Clone for OwnJudge {
    fn clone(&self) -> Self {
        Self::default()
    }
}

pub(crate) fn pod(namespace: &str, name: &str, workload: &str, node: &str) -> Arc<Identity> {
    let entity = Entity {
        kind: IdentityKind::Pod,
        uid: Arc::from(format!("uid-{name}")),
        namespace: Arc::from(namespace),
        name: Arc::from(name),
        node: Arc::from(node),
        workload_kind: Arc::from("Deployment"),
        workload: Arc::from(workload),
        service_account: Arc::from("default"),
        always_valid: false,
    };
    let labels = vec![Arc::from(format!("app={workload}")), Arc::from(format!("pod={name}"))];
    Arc::new(Identity::new(entity, Arc::from(labels)))
}

impl Default for Fake {
    /// 10.0.0.1 is shop/web-1 on node-a, 10.0.0.2 is shop/db-1 on node-b, 10.0.0.3 is shop/web-2 on node-a; both nodes
    /// are covered.
    fn default() -> Self {
        Self {
            complete_to: Millis::MAX,
            pods: BTreeMap::from([
                (address("10.0.0.1"), pod("shop", "web-1", "web", "node-a")),
                (address("10.0.0.2"), pod("shop", "db-1", "db", "node-b")),
                (address("10.0.0.3"), pod("shop", "web-2", "web", "node-a")),
            ]),
            ambiguous: BTreeMap::new(),
            covered: vec!["node-a".to_owned(), "node-b".to_owned()],
            services: BTreeMap::new(),
            one_observer: false,
            policies: None,
            judge: OwnJudge::default(),
        }
    }
}

impl Join for Fake {
    fn place(&self, _settings: &RecordSettings, _side: &mut weir_schemas::enriched::Side) {}

    fn judge<'j>(&'j self, connection: &Connection<'_, 'j>, parties: &mut Parties<'j>) -> Option<Judged> {
        self.judge.0.judge(self.policies.as_ref()?, connection, parties)
    }

    fn complete_to(&self) -> Millis {
        self.complete_to
    }

    fn cluster_known(&self, _at: Millis) -> bool {
        true
    }

    fn resolve(&self, ask: &Ask<'_>) -> Resolution<'_> {
        let by_uid = ask.pod_uid.and_then(|uid| self.pods.values().find(|pod| &*pod.uid == uid));
        let identity = |pod| Cow::Borrowed(Arc::as_ref(pod));
        if let Some(pod) = by_uid {
            return Resolution::exact(identity(pod), IdentifiedBy::Uid);
        }
        if let Some(candidates) = self.ambiguous.get(&ask.address) {
            return Resolution::ambiguous(candidates.iter().map(identity).collect());
        }
        match self.pods.get(&ask.address) {
            Some(pod) => Resolution::exact(identity(pod), IdentifiedBy::Address),
            None => Resolution::none(Some(NoneReason::Outside)),
        }
    }

    fn covered(&self, resolution: &Resolution<'_>, _address: Address, _at: Millis) -> bool {
        let on = |identity: &Cow<'_, Identity>| self.covered.contains(&identity.node.to_string());
        resolution.identity.as_ref().is_some_and(on)
            || !resolution.candidates.is_empty() && resolution.candidates.iter().all(on)
    }

    fn one_observer(&self, _at: Millis) -> bool {
        self.one_observer
    }

    fn service(&self, _at: Millis, address: Address, port: u16, _protocol: u8) -> Option<Cow<'_, Arc<str>>> {
        self.services.get(&(address, port)).map(|name| Cow::Owned(Arc::from(name.as_str())))
    }
}

/// A table with 10.0.0.1 to 10.0.0.4 of the pods a to d at `at`: b's end is in doubt, and d comes 500 ms later. Service
/// `shop/db` is at 10.96.0.7, and node-a's agent is ready.
pub(crate) fn table(at: Millis) -> Table {
    let exactly = |at| Bound { earliest: at, latest: at, source: BoundSource::Status };
    let revision = |uid: &str, from: Millis, to: Option<Bound>, object: Object| {
        Metadata::Revision(Revision {
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_at: None,
            changed_by: String::new(),
            cluster: CLUSTER.to_owned(),
            uid: format!("uid-{uid}"),
            revision: 1,
            namespace: "shop".to_owned(),
            name: if uid == "db" { uid.to_owned() } else { format!("pod-{uid}") },
            labels: vec![format!("app={uid}")],
            valid_from: exactly(from),
            valid_to: to,
            object,
        })
    };
    let pod = |uid: &str, number: u8, from, to| {
        let addresses = vec![address(&format!("10.0.0.{number}"))];
        revision(uid, from, to, Object::Pod(Pod { addresses, node: "node-a".to_owned(), ..Pod::default() }))
    };
    let port = ServicePort { port: 80, protocol: protocol::TCP, ..ServicePort::default() };
    let service = Service { addresses: vec![address("10.96.0.7")], ports: vec![port], selector: Vec::new() };
    let agent = Agent { node: "node-a".to_owned(), ..Agent::default() };
    let heartbeat = Heartbeat {
        cluster: CLUSTER.to_owned(),
        complete_to: Millis::MAX,
        proof: Proof::Manifests,
        cluster_known: true,
    };
    let messages = [
        pod("a", 1, at - 1_000, None),
        pod("b", 2, at - 1_000, Some(Bound { latest: at + 10_000, ..exactly(at - 10) })),
        pod("c", 3, at - 1_000, None),
        pod("d", 4, at + 500, None),
        revision("db", at - 1_000, None, Object::Service(service)),
        revision("agent", at - 1_000, None, Object::Agent(agent)),
        Metadata::Heartbeat(heartbeat),
    ];
    let mut table = Table::new(CLUSTER, 1);
    messages.iter().for_each(|message| table.apply(0, message));
    table
}
