//! Traffic of a window by a seed: what every node's agent would report, tick by tick, and what it must add up to.
//!
//! A *flow* is one sample: one direction of one connection, seen by one reporter in one tick. A connection between two
//! pods is four flows a tick, one to the outside is two. Of 3 % of connections nobody saw the opening; of 5 % of pods the
//! agent does not know the UID.
//!
//! A *key* is a record of level 1: client, server and server's port. The number of keys of a window is given and exact. Every
//! key has one connection at least; which keys the other connections are of follows a Zipf distribution. Of the connections
//! 70 % are seen in one tick, 20 % in three, 10 % until the window's end. 60 % of keys are from pod to pod by the pod's
//! address, 25 % through the address of its service, 15 % go outside; 88 % are TCP, the others UDP.

use crate::cluster::{Cluster, PODS_OF_WORKLOAD, mix};
use weir_flow::{Address, Millis, protocol};
use weir_schemas::enriched::Counters;
use weir_schemas::raw::{
    Coarsening, Drop, DropClass, End, OpenedBy, Origin, Point, RawBatch, RoundTrip, Sample, Totals, Tuple,
};

/// Samples of a batch at most; an agent splits a tick's batch at 900 kB.
const SAMPLES_OF_BATCH: usize = 10_000;

/// Addresses of an edge's other end that each pod talks to.
const ADDRESSES_OF_EDGE: u32 = 8;

/// What traffic is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// Records of level 1 in a window.
    pub(crate) keys: u32,
    /// Flows (samples) in a window, about.
    pub(crate) flows: u64,
    /// Exponent of the Zipf distribution of connections over keys; 0 is uniform.
    pub(crate) zipf: f64,
    pub(crate) seed: u64,
}

/// Lengths of a tick and of a window, ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) tick: Millis,
    pub(crate) window: Millis,
}

/// What records must add up to, at every level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) samples: u64,
    pub(crate) by_initiator: Counters,
    pub(crate) by_responder: Counters,
    pub(crate) totals: Counters,
}

/// Who talks to whom on which port.
#[derive(Clone, Copy, Debug)]
struct Pair {
    client: u32,
    server: Server,
    port: u16,
    protocol: u8,
}

#[derive(Clone, Copy, Debug)]
enum Server {
    Pod(u32),
    Service(u32),
    Outside(u32),
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    pair: u32,
    port: u16,
    first_tick: u32,
    end_tick: u32,
}

/// A window of traffic.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    cluster: &'a Cluster,
    timing: Timing,
    seed: u64,
    pairs: Vec<Pair>,
    connections: Vec<Connection>,
    names: Vec<(String, String)>,
    sequence: u64,
}

/// A random number in [0, 1).
fn fraction(random: u64) -> f64 {
    let bits = u32::try_from(random >> 32).unwrap();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// An index by a table of cumulated weights.
fn draw(cumulated: &[f64], random: u64) -> u32 {
    let total = cumulated.last().copied().unwrap_or_default();
    let index = cumulated.partition_point(|sum| *sum <= fraction(random) * total);
    u32::try_from(index.min(cumulated.len() - 1)).unwrap()
}

fn below(random: u64, limit: u32) -> u32 {
    u32::try_from((random >> 8) % u64::from(limit.max(1))).unwrap()
}

impl Pair {
    /// The pair of a number; numbers give distinct pairs. The pods of a workload have the same edges to other workloads
    /// (on a port each) or to the outside, and each pod spreads an edge over eight of the other end's addresses.
    fn of(cluster: &Cluster, number: u32, seed: u64) -> Self {
        let (client, round) = (number % cluster.pods, number / cluster.pods);
        let (edge, member) = (round / ADDRESSES_OF_EDGE, round % ADDRESSES_OF_EDGE);
        let random = mix(seed ^ u64::from(client / PODS_OF_WORKLOAD) << 32 ^ u64::from(edge));
        let udp = below(mix(random ^ 1), 100) >= 88;
        let protocol = if udp { protocol::UDP } else { protocol::TCP };
        let port = 1_024 + u16::try_from(edge % 30_000).unwrap();
        let start = below(mix(u64::from(client) << 1), PODS_OF_WORKLOAD);
        let workload = below(mix(random ^ 2), cluster.workloads());
        let pod = workload * PODS_OF_WORKLOAD + (start + member) % PODS_OF_WORKLOAD;
        let server = match below(random, 100) {
            0..60 => Server::Pod(pod % cluster.pods),
            60..85 => Server::Service(pod % cluster.pods),
            _ => Server::Outside(below(mix(random ^ 3), 1 << 20) + start + member),
        };
        Self { client, server, port, protocol }
    }
}

impl<'a> Window<'a> {
    pub(crate) fn new(cluster: &'a Cluster, timing: Timing, mix_: &Mix) -> Self {
        let pairs: Vec<Pair> = (0..mix_.keys).map(|number| Pair::of(cluster, number, mix_.seed)).collect();
        let ticks = u32::try_from(timing.window / timing.tick).unwrap();
        let mut sum = 0.0;
        let weight = |rank: u32| (1.0 / f64::from(rank + 1)).powf(mix_.zipf);
        let cumulated: Vec<f64> = (0..mix_.keys)
            .map(|rank| {
                sum += weight(rank);
                sum
            })
            .collect();
        let (mut connections, mut flows, mut random) = (Vec::new(), 0, mix(mix_.seed));
        while flows < mix_.flows || connections.len() < pairs.len() {
            let number = u32::try_from(connections.len()).unwrap();
            random = mix(random);
            // Ranks are scattered over the pairs, so that one pod is not the client of all the popular ones.
            let rank = if number < mix_.keys { number } else { draw(&cumulated, random) };
            let pair = if number < mix_.keys {
                number
            } else {
                u32::try_from(u64::from(rank) * 2_654_435_761 % u64::from(mix_.keys)).unwrap()
            };
            let first_tick = below(mix(random ^ 5), ticks);
            let length = match below(mix(random ^ 6), 10) {
                0..7 => 1,
                7..9 => 3,
                _ => ticks,
            };
            let end_tick = (first_tick + length).min(ticks);
            let port = 32_768 + u16::try_from(number % 28_000).unwrap();
            let of_tick =
                if matches!(pairs[usize::try_from(pair).unwrap()].server, Server::Outside(_)) { 2 } else { 4 };
            flows += of_tick * u64::from(end_tick - first_tick);
            connections.push(Connection { pair, port, first_tick, end_tick });
        }
        let names =
            (0..cluster.pods).map(|pod| (Cluster::pod_uid(pod), format!("veth{:08x}", mix(u64::from(pod)) >> 32)));
        Self { cluster, timing, seed: mix_.seed, pairs, connections, names: names.collect(), sequence: 0 }
    }

    /// The same connections with other counters.
    pub(crate) fn vary(&mut self, number: u32) {
        self.seed = mix(self.seed ^ u64::from(number));
    }

    pub(crate) fn ticks(&self) -> u32 {
        u32::try_from(self.timing.window / self.timing.tick).unwrap()
    }

    /// The batches of all nodes for the tick of a number, whose time is given; what they add up to goes into `expected`.
    pub(crate) fn batches(&mut self, number: u32, tick: Millis, expected: &mut Expected) -> Vec<(u32, RawBatch)> {
        let nodes = usize::try_from(self.cluster.nodes()).unwrap();
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); nodes];
        for (index, connection) in (0_u64..).zip(&self.connections) {
            if (connection.first_tick..connection.end_tick).contains(&number) {
                let random = mix(self.seed ^ index << 24 ^ u64::from(number));
                self.report(connection, number, tick, random, &mut samples, expected);
            }
        }
        let mut batches = Vec::new();
        for (node, mut samples) in (0_u32..).zip(samples) {
            let parts = samples.len().div_ceil(SAMPLES_OF_BATCH).max(1);
            for part in 0..parts {
                let rest = samples.split_off(samples.len().min(SAMPLES_OF_BATCH));
                let samples = std::mem::replace(&mut samples, rest);
                batches.push((node, self.batch(node, tick, (part, parts), samples)));
                self.sequence += 1;
            }
        }
        batches
    }

    /// The empty batch of a node that says that a tick is over.
    pub(crate) fn empty(&self, node: u32, tick: Millis) -> RawBatch {
        self.batch(node, tick, (0, 1), Vec::new())
    }

    fn batch(&self, node: u32, tick: Millis, part: (usize, usize), samples: Vec<Sample>) -> RawBatch {
        RawBatch {
            dns: Vec::new(),
            cluster: self.cluster.name.clone(),
            node: Cluster::node_name(node),
            boot: "3e0d5ba2-9a3e-4a53-8a3f-000000000001".to_owned(),
            sequence: self.sequence,
            tick,
            tick_length: self.timing.tick,
            ticks: 1,
            part: u32::try_from(part.0).unwrap(),
            parts: u32::try_from(part.1).unwrap(),
            origin: Origin::Ebpf,
            seen: Totals::default(),
            published: Totals::default(),
            lost: Vec::new(),
            samples,
        }
    }

    fn report(
        &self,
        connection: &Connection,
        number: u32,
        tick: Millis,
        random: u64,
        samples: &mut [Vec<Sample>],
        expected: &mut Expected,
    ) {
        let pair = &self.pairs[usize::try_from(connection.pair).unwrap()];
        let (seen, real) = self.tuples(pair, connection.port);
        let opening_seen = below(mix(u64::from(connection.pair) ^ u64::from(connection.port) << 32), 100) >= 3;
        let started = u64::from(number == connection.first_tick);
        let packets = u64::from(2 + below(mix(random ^ 1), 30));
        let (forward, reverse) = ((packets * 120, packets), (packets * 700, packets + 1));
        let mut client = self.sample(pair.client, tick, random, (&seen, pair.protocol));
        client.started = started;
        client.translated = (seen != real).then_some(real);
        if !opening_seen {
            client.opened_by = OpenedBy::Unknown;
        }
        let mut answer = turned(&client);
        (client.bytes, client.packets) = forward;
        (answer.bytes, answer.packets) = reverse;
        let policy = below(mix(random ^ 2), 1_000) < 5;
        if policy {
            client.drops.push(Drop {
                reason: "NETFILTER_DROP".to_owned(),
                class: DropClass::Policy,
                packets: 1,
                bytes: 60,
            });
        }
        let counters = Counters {
            forward_bytes: forward.0,
            forward_packets: forward.1,
            reverse_bytes: reverse.0,
            reverse_packets: reverse.1,
            started,
            ended: 0,
        };
        add(&mut expected.by_initiator, &counters);
        add(&mut expected.totals, &counters);
        expected.samples += 2;
        let server = match pair.server {
            Server::Pod(pod) | Server::Service(pod) => Some(pod),
            Server::Outside(_) => None,
        };
        if let Some(pod) = server {
            let mut arrived = self.sample(pod, tick, random ^ 7, (&real, pair.protocol));
            (arrived.end, arrived.started, arrived.opened_by) = (End::Destination, started, client.opened_by);
            let mut back = turned(&arrived);
            (arrived.bytes, arrived.packets) = forward;
            (back.bytes, back.packets) = reverse;
            let here = &mut samples[usize::try_from(self.cluster.node_of(pod)).unwrap()];
            here.extend([arrived, back]);
            add(&mut expected.by_responder, &counters);
            expected.samples += 2;
        }
        samples[usize::try_from(self.cluster.node_of(pair.client)).unwrap()].extend([client, answer]);
    }

    /// The tuple as the client's pod sees it, and as it is.
    fn tuples(&self, pair: &Pair, source_port: u16) -> (Tuple, Tuple) {
        let source = self.cluster.pod_address(pair.client);
        let tuple =
            |destination: Address, destination_port| Tuple { source, destination, source_port, destination_port };
        match pair.server {
            Server::Pod(pod) => {
                let real = tuple(self.cluster.pod_address(pod), pair.port);
                (real, real)
            }
            Server::Service(pod) => {
                let service = Cluster::service_address(pod / PODS_OF_WORKLOAD);
                (tuple(service, 443), tuple(self.cluster.pod_address(pod), pair.port))
            }
            Server::Outside(number) => {
                let real = tuple(Cluster::outside_address(number), pair.port);
                (real, real)
            }
        }
    }

    /// A sample of packets that leave a pod's interface from the initiator to the responder.
    fn sample(&self, pod: u32, tick: Millis, random: u64, (tuple, protocol): (&Tuple, u8)) -> Sample {
        let (uid, interface) = &self.names[usize::try_from(pod).unwrap()];
        let first_seen = tick + Millis::from(below(random, 1_000));
        let micros = u64::from(100 + below(mix(random ^ 3), 5_000));
        let tcp = protocol == protocol::TCP;
        let timed = tcp && below(mix(random ^ 4), 10) < 3;
        Sample {
            zero_windows: 0,
            coarsened: Coarsening::None,
            handshake: None,
            resets: 0,
            point: Point::Pod,
            end: End::Source,
            interface: interface.clone(),
            source: tuple.source,
            destination: tuple.destination,
            source_port: tuple.source_port,
            destination_port: tuple.destination_port,
            protocol,
            translated: None,
            opened_by: OpenedBy::Source,
            first_seen,
            last_seen: first_seen + Millis::from(below(mix(random ^ 5), 3_000)),
            bytes: 0,
            packets: 0,
            tcp_flags: if tcp { 0x1a } else { 0 },
            started: 0,
            ended: 0,
            opened_at: None,
            cumulative_bytes: 0,
            cumulative_packets: 0,
            drops: Vec::new(),
            retransmits: u64::from(tcp && below(mix(random ^ 6), 100) < 2),
            round_trip: timed.then_some(RoundTrip { sum: micros, count: 1, min: micros, max: micros }),
            pod_uid: (pod % 20 != 13).then(|| uid.clone()),
            container: Some("server".to_owned()),
            process: None,
            sampling: 1,
        }
    }
}

/// The other direction of a connection at the same interface.
fn turned(sample: &Sample) -> Sample {
    let mut answer = sample.clone();
    let turn = |tuple: Tuple| Tuple {
        source: tuple.destination,
        destination: tuple.source,
        source_port: tuple.destination_port,
        destination_port: tuple.source_port,
    };
    answer.end = if sample.end == End::Source { End::Destination } else { End::Source };
    (answer.source, answer.destination) = (sample.destination, sample.source);
    (answer.source_port, answer.destination_port) = (sample.destination_port, sample.source_port);
    answer.translated = sample.translated.map(turn);
    if sample.opened_by == OpenedBy::Source {
        answer.opened_by = OpenedBy::Destination;
    }
    answer.started = 0;
    answer
}

pub(crate) fn add(sum: &mut Counters, counters: &Counters) {
    sum.forward_bytes += counters.forward_bytes;
    sum.forward_packets += counters.forward_packets;
    sum.reverse_bytes += counters.reverse_bytes;
    sum.reverse_packets += counters.reverse_packets;
    sum.started += counters.started;
    sum.ended += counters.ended;
}
