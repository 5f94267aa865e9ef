//! Traffic whose every byte is known.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use weir_flow::time::{NEVER, floor_to};
use weir_flow::{Address, Millis, RecordSettings, time};
use weir_schemas::metadata::{Agent, Bound, BoundSource, Heartbeat, Metadata, Object, Pod, Proof, Revision};
use weir_schemas::raw::{Coarsening, DnsSample, End, OpenedBy, Origin, Point, RawBatch, RoundTrip, Sample, Totals};

/// What one reporter counted of a connection in one window: forward bytes and packets, reverse bytes and packets.
pub(crate) type Counted = [u64; 4];

/// A connection in a window: initiator, responder and its port, as at level 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) window: Millis,
    pub(crate) initiator: Address,
    pub(crate) responder: Address,
    pub(crate) port: u16,
}

/// What was sent, by key: as the initiator's node and as the responder's node counted it.
pub(crate) type Truth = BTreeMap<Key, [Counted; 2]>;

struct Connection {
    initiator: usize,
    responder: usize,
    source_port: u16,
    port: u16,
}

/// A few nodes' agents.
pub(crate) struct Traffic {
    pub(crate) cluster: String,
    pub(crate) settings: RecordSettings,
    nodes: usize,
    connections: Vec<Connection>,
    sequences: Vec<u64>,
    cumulative: Vec<Totals>,
    random: SmallRng,
    pub(crate) truth: Truth,
    /// What all nodes sent.
    pub(crate) sent: Totals,
}

/// The settings of these tests: everything is short, so that a window closes soon.
pub(crate) fn settings(cluster: &str, partitions: i32) -> RecordSettings {
    RecordSettings {
        tick: 500,
        window: 1_000,
        grace: 1_500,
        tolerance: 1_000,
        raw_partitions: partitions,
        internal_partitions: 4,
        ..RecordSettings::small(cluster)
    }
}

fn address(pod: usize) -> Address {
    let (high, low) = (pod / 250, pod % 250 + 1);
    format!("10.1.{high}.{low}").parse().unwrap()
}

fn revision(cluster: &str, uid: &str, name: &str, object: Object) -> Metadata {
    Metadata::Revision(Revision {
        cluster: cluster.to_owned(),
        uid: uid.to_owned(),
        revision: 1,
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        labels: vec![format!("app={name}")],
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        valid_from: Bound { earliest: NEVER, latest: NEVER, source: BoundSource::Always },
        valid_to: None,
        object,
    })
}

impl Traffic {
    /// `connections` connections between twice as many pods at most, on `nodes` nodes.
    pub(crate) fn new(cluster: &str, settings: RecordSettings, nodes: usize, connections: usize, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let pods = (connections * 2).min(5_000);
        let connections = (0..connections).map(|number| Connection {
            initiator: random.random_range(0..pods / 2),
            responder: pods / 2 + random.random_range(0..pods.div_ceil(2)),
            source_port: 20_000 + u16::try_from(number % 40_000).unwrap(),
            port: [80, 443, 5432, 6379][random.random_range(0..4)],
        });
        let connections = connections.collect();
        Self {
            cluster: cluster.to_owned(),
            settings,
            nodes,
            connections,
            sequences: vec![0; nodes],
            cumulative: vec![Totals::default(); nodes],
            random,
            truth: Truth::new(),
            sent: Totals::default(),
        }
    }

    /// What Kubernetes knows, with its keys: every pod, an agent on every node, and that nothing more is to come.
    pub(crate) fn metadata(&self) -> Vec<(String, Metadata)> {
        let pods = self.connections.iter().flat_map(|it| [it.initiator, it.responder]);
        let pods: std::collections::BTreeSet<usize> = pods.collect();
        let mut all = Vec::new();
        for node in 0..self.nodes {
            let name = format!("node-{node}");
            let object = Object::Agent(Agent { node: name.clone(), ..Agent::default() });
            all.push((format!("{}/Agent/{name}/1", self.cluster), revision(&self.cluster, &name, &name, object)));
        }
        for pod in pods {
            let name = format!("pod-{pod}");
            let object = Object::Pod(Pod {
                addresses: vec![address(pod)],
                node: format!("node-{}", pod % self.nodes),
                workload_kind: "Deployment".to_owned(),
                workload: format!("app-{}", pod % 7),
                ..Pod::default()
            });
            all.push((format!("{}/Pod/{name}/1", self.cluster), revision(&self.cluster, &name, &name, object)));
        }
        let heartbeat = Metadata::Heartbeat(Heartbeat {
            cluster: self.cluster.clone(),
            complete_to: time::FOR_EVER,
            proof: Proof::Closed,
            cluster_known: true,
        });
        all.push((format!("{}/heartbeat/0", self.cluster), heartbeat));
        all
    }

    /// The raw partition of a node.
    pub(crate) fn partition(&self, node: usize) -> i32 {
        i32::try_from(node).unwrap() % self.settings.raw_partitions
    }

    /// One tick of all nodes, and what they count in it goes into the truth. A node's clock may be off by `skew`, ms.
    pub(crate) fn tick(&mut self, tick: Millis, skew: impl Fn(usize) -> Millis) -> Vec<(usize, RawBatch)> {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); self.nodes];
        for connection in &self.connections {
            if self.random.random_bool(0.3) {
                continue;
            }
            let ends = [connection.initiator % self.nodes, connection.responder % self.nodes];
            for forward in [true, false] {
                let packets = self.random.random_range(1..50);
                let bytes = packets * self.random.random_range(60..1_400);
                for (reporter, node) in ends.into_iter().enumerate() {
                    let own_tick = tick + skew(node);
                    let sample = sample(connection, (reporter == 0, forward), (bytes, packets), own_tick);
                    samples[node].push(sample);
                    if skew(node) != 0 {
                        continue;
                    }
                    let key = Key {
                        window: floor_to(tick, self.settings.window),
                        initiator: address(connection.initiator),
                        responder: address(connection.responder),
                        port: connection.port,
                    };
                    let counted = &mut self.truth.entry(key).or_default()[reporter];
                    counted[if forward { 0 } else { 2 }] += bytes;
                    counted[if forward { 1 } else { 3 }] += packets;
                }
            }
        }
        samples
            .into_iter()
            .enumerate()
            .map(|(node, samples)| (node, self.batch(node, tick + skew(node), samples)))
            .collect()
    }

    fn batch(&mut self, node: usize, tick: Millis, samples: Vec<Sample>) -> RawBatch {
        let sequence = self.sequences[node];
        self.sequences[node] += 1;
        for totals in [&mut self.cumulative[node], &mut self.sent] {
            totals.samples += u64::try_from(samples.len()).unwrap();
            totals.bytes += samples.iter().map(|sample| sample.bytes).sum::<u64>();
            totals.packets += samples.iter().map(|sample| sample.packets).sum::<u64>();
        }
        let dns = self.questions(node);
        RawBatch {
            cluster: self.cluster.clone(),
            node: format!("node-{node}"),
            boot: "boot".to_owned(),
            sequence,
            tick,
            tick_length: self.settings.tick,
            ticks: 1,
            part: 0,
            parts: 1,
            origin: Origin::Ebpf,
            seen: self.cumulative[node],
            published: self.cumulative[node],
            lost: Vec::new(),
            samples,
            dns,
        }
    }

    /// What pods of a node asked in a tick, each of pod 1, and what pod 1 answered, where it is on the node.
    fn questions(&mut self, node: usize) -> Vec<DnsSample> {
        let server = 1;
        let mut questions = Vec::new();
        for connection in self.connections.iter().take(20) {
            let client = connection.initiator;
            let ends = [(client, End::Source), (server, End::Destination)];
            for (_, end) in ends.into_iter().filter(|(pod, _)| pod % self.nodes == node) {
                let responder = connection.responder;
                questions.push(question(client, server, end, responder, self.random.random_range(1..5)));
            }
        }
        questions
    }
}

/// One direction of a connection as one of its two nodes counts it.
fn sample(
    connection: &Connection,
    (by_initiator, forward): (bool, bool),
    (bytes, packets): (u64, u64),
    tick: Millis,
) -> Sample {
    let initiator = (address(connection.initiator), connection.source_port);
    let responder = (address(connection.responder), connection.port);
    let (source, destination) = if forward { (initiator, responder) } else { (responder, initiator) };
    Sample {
        point: Point::Pod,
        end: if by_initiator == forward { End::Source } else { End::Destination },
        interface: "veth0".to_owned(),
        source: source.0,
        destination: destination.0,
        source_port: source.1,
        destination_port: destination.1,
        protocol: 6,
        translated: None,
        opened_by: if forward { OpenedBy::Source } else { OpenedBy::Destination },
        first_seen: tick,
        last_seen: tick,
        bytes,
        packets,
        tcp_flags: 0x18,
        started: 0,
        ended: 0,
        opened_at: None,
        cumulative_bytes: bytes,
        cumulative_packets: packets,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        handshake: None,
        zero_windows: 0,
        resets: 0,
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
        coarsened: Coarsening::None,
    }
}

/// A question of one pod to another for a third's name, which was answered, as one of the two nodes sees it.
fn question(client: usize, server: usize, end: End, named: usize, count: u64) -> DnsSample {
    DnsSample {
        point: Point::Pod,
        end,
        interface: "veth0".to_owned(),
        client: address(client),
        server: address(server),
        server_port: 53,
        protocol: 17,
        question: format!("pod-{named}.shop"),
        question_type: 1,
        response_code: Some(0),
        count,
        latency: Some(RoundTrip { sum: 300 * count, count, min: 300, max: 300 }),
        answers: vec![address(named)],
        answers_more: 0,
        pod_uid: None,
        container: None,
        process: None,
    }
}
