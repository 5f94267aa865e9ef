//! The conversations of the simulated cluster.

use super::cluster::{Cluster, RunningPod, WORKLOADS, mix};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use weir_flow::{Address, Millis, protocol};
use weir_schemas::raw::{Coarsening, Drop, DropClass, End, OpenedBy, Point, RoundTrip, Sample};

/// When and under which seed samples are wanted.
pub(super) struct Moment {
    pub(super) seed: u64,
    pub(super) tick: u64,
    pub(super) at: Millis,
    pub(super) length: Millis,
    pub(super) seconds: u64,
}

/// Who talks to whom: client, server, connections per client pod and tick, bytes asked, bytes answered.
pub(super) const CONVERSATIONS: [(&str, &str, u64, u64, u64); 12] = [
    ("loadgenerator", "frontend", 6, 480, 14_000),
    ("frontend", "cart", 3, 620, 1_900),
    ("frontend", "catalog", 4, 310, 5_200),
    ("frontend", "checkout", 1, 1_400, 900),
    ("cart", "redis", 2, 220, 340),
    ("checkout", "cart", 1, 300, 800),
    ("checkout", "gateway", 1, 1_100, 650),
    ("gateway", "ledger-db", 2, 900, 1_300),
    ("frontend", "coredns", 2, 74, 138),
    ("checkout", "coredns", 1, 74, 138),
    ("prometheus", "frontend", 1, 350, 22_000),
    ("prometheus", "gateway", 1, 350, 18_000),
];

/// A payment provider outside the cluster (TEST-NET-3, RFC 5737).
pub(super) const EXTERNAL_API: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 40);
/// Where the exfiltration goes (TEST-NET-2, RFC 5737).
pub(super) const DROP_ZONE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
/// Largest TCP payload of a packet here.
const SEGMENT: u64 = 1_448;

/// One connection inside one tick.
struct Connection {
    client: (Ipv4Addr, u16),
    server: (Ipv4Addr, u16),
    protocol: u8,
    asked: u64,
    answered: u64,
    offset: Millis,
    denied: bool,
}

/// Who is at an end: the node that reports it and the pod's UID; nobody for an end outside.
type Reporter<'a> = Option<&'a RunningPod>;

/// The tick's samples, by node.
pub(super) fn samples(cluster: &Cluster, moment: &Moment) -> BTreeMap<usize, Vec<Sample>> {
    let mut all = BTreeMap::new();
    for (number, (client, server, rate, asked, answered)) in CONVERSATIONS.iter().enumerate() {
        let servers = pods(cluster, server);
        let Some((port, protocol)) = WORKLOADS.iter().find(|w| w.name == *server).and_then(|w| w.service) else {
            continue;
        };
        for from in pods(cluster, client) {
            for count in 0..*rate {
                let random = random(moment, from, number, count);
                let Some(to) = pick(&servers, random) else { continue };
                let connection = Connection {
                    client: (from.address, source_port(random)),
                    server: (to.address, port),
                    protocol,
                    asked: vary(*asked, random),
                    answered: vary(*answered, random >> 8),
                    offset: offset(moment, random),
                    denied: false,
                };
                report(&connection, Some(from), Some(to), moment, &mut all);
            }
        }
    }
    special(cluster, moment, &mut all);
    all
}

/// What only sometimes happens: the external API, the nightly report, a denied scan, an exfiltration.
fn special(cluster: &Cluster, moment: &Moment, all: &mut BTreeMap<usize, Vec<Sample>>) {
    for from in pods(cluster, "gateway") {
        let random = random(moment, from, 100, 0);
        let connection = outside(from, (EXTERNAL_API, 443), random, moment, (vary(2_100, random), vary(3_900, random)));
        report(&connection, Some(from), None, moment, all);
    }
    let phase = moment.seconds % 120;
    for from in pods(cluster, "debug-shell") {
        if (20..30).contains(&phase) {
            // A scan of the database's neighbourhood; the policy of namespace payments drops it.
            for (index, to) in
                cluster.pods.iter().enumerate().filter(|(_, p)| WORKLOADS[p.workload].namespace == "payments")
            {
                for port in [22, 443, 3306, 5432, 6379, 8080, 8443, 9090] {
                    let random = random(moment, from, 200 + index, u64::from(port));
                    let connection = Connection {
                        client: (from.address, source_port(random)),
                        server: (to.address, port),
                        protocol: protocol::TCP,
                        asked: 0,
                        answered: 0,
                        offset: offset(moment, random),
                        denied: true,
                    };
                    report(&connection, Some(from), Some(to), moment, all);
                }
            }
        }
        if (70..85).contains(&phase) {
            let random = random(moment, from, 300, 0);
            let connection = outside(from, (DROP_ZONE, 443), random, moment, (vary(4_800_000, random), 2_200));
            report(&connection, Some(from), None, moment, all);
        }
    }
    for from in pods(cluster, "report") {
        for to in pods(cluster, "ledger-db") {
            let random = random(moment, from, 400, 0);
            let connection = Connection {
                client: (from.address, source_port(random)),
                server: (to.address, 5432),
                protocol: protocol::TCP,
                asked: vary(700, random),
                answered: vary(160_000, random),
                offset: offset(moment, random),
                denied: false,
            };
            report(&connection, Some(from), Some(to), moment, all);
        }
    }
}

fn outside(from: &RunningPod, server: (Ipv4Addr, u16), random: u64, moment: &Moment, bytes: (u64, u64)) -> Connection {
    Connection {
        client: (from.address, source_port(random)),
        server,
        protocol: protocol::TCP,
        asked: bytes.0,
        answered: bytes.1,
        offset: offset(moment, random),
        denied: false,
    }
}

pub(super) fn pods<'a>(cluster: &'a Cluster, workload: &str) -> Vec<&'a RunningPod> {
    cluster.pods.iter().filter(|p| WORKLOADS[p.workload].name == workload).collect()
}

fn pick<'a>(pods: &[&'a RunningPod], random: u64) -> Option<&'a RunningPod> {
    let count = u64::try_from(pods.len()).ok()?;
    let index = random.checked_rem(count)?;
    pods.get(usize::try_from(index).ok()?).copied()
}

fn random(moment: &Moment, from: &RunningPod, conversation: usize, count: u64) -> u64 {
    let conversation = u64::try_from(conversation).unwrap_or(0);
    mix(&[moment.seed, moment.tick, u64::from(from.address.to_bits()), conversation, count])
}

fn source_port(random: u64) -> u16 {
    32_768 + u16::try_from((random >> 16) % 28_000).unwrap_or(0)
}

fn offset(moment: &Moment, random: u64) -> Millis {
    i64::try_from(random >> 40).unwrap_or(0) % (moment.length / 2).max(1)
}

/// Between half and one and a half times a size.
fn vary(bytes: u64, random: u64) -> u64 {
    bytes / 2 + bytes * (random % 1_000) / 1_000
}

/// L3 bytes and packets of one direction.
fn volume(connection: &Connection, payload: u64) -> (u64, u64) {
    if connection.protocol == protocol::UDP {
        return (payload + 28, 1);
    }
    let packets = 3 + payload.div_ceil(SEGMENT);
    (payload + packets * 52, packets)
}

/// Writes both ends' reports of a connection.
fn report(
    c: &Connection,
    from: Reporter<'_>,
    to: Reporter<'_>,
    moment: &Moment,
    all: &mut BTreeMap<usize, Vec<Sample>>,
) {
    let mut add = |pod: Reporter<'_>, sample: Sample| {
        if let Some(pod) = pod {
            all.entry(pod.node).or_default().push(Sample { pod_uid: Some(pod.uid.clone()), ..sample });
        }
    };
    if c.denied {
        add(
            from,
            Sample { drops: vec![denied()], tcp_flags: protocol::SYN, ..sample(c, moment, true, End::Source, (60, 1)) },
        );
        return;
    }
    let (asked, answered) = (volume(c, c.asked), volume(c, c.answered));
    add(from, sample(c, moment, true, End::Source, asked));
    add(from, sample(c, moment, false, End::Destination, answered));
    add(to, sample(c, moment, true, End::Destination, asked));
    add(to, sample(c, moment, false, End::Source, answered));
}

fn denied() -> Drop {
    Drop { reason: "NETFILTER_DROP".to_owned(), class: DropClass::Policy, packets: 1, bytes: 60 }
}

fn sample(c: &Connection, moment: &Moment, forward: bool, end: End, (bytes, packets): (u64, u64)) -> Sample {
    let (source, destination) = if forward { (c.client, c.server) } else { (c.server, c.client) };
    let first_seen = moment.at + c.offset;
    let tcp = c.protocol == protocol::TCP;
    let round_trip = 180 + bytes % 400;
    Sample {
        zero_windows: 0,
        coarsened: Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Pod,
        end,
        interface: String::new(),
        source: Address::new(source.0.into()),
        destination: Address::new(destination.0.into()),
        source_port: source.1,
        destination_port: destination.1,
        protocol: c.protocol,
        translated: None,
        opened_by: if forward { OpenedBy::Source } else { OpenedBy::Destination },
        first_seen,
        last_seen: first_seen + moment.length / 4,
        bytes,
        packets,
        tcp_flags: if tcp { protocol::SYN | protocol::ACK | protocol::FIN } else { 0 },
        started: u64::from(forward),
        ended: u64::from(forward && !c.denied),
        opened_at: Some(first_seen),
        cumulative_bytes: bytes,
        cumulative_packets: packets,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: (tcp && !forward).then_some(RoundTrip {
            sum: round_trip,
            count: 1,
            min: round_trip,
            max: round_trip,
        }),
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
    }
}
