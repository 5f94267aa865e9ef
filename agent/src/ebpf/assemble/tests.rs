#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Assembler, Surroundings};
use crate::abi::{self, ConnectionKey, Count, DropKey, Dropped, Flow, HOOK_HOST_IN, HOOK_HOST_OUT, Key};
use crate::ebpf::capture::Drained;
use crate::ebpf::conntrack::Direction;
use crate::ebpf::reasons::Reasons;
use std::net::Ipv4Addr;
use weir_schemas::raw::{Coarsening, End, OpenedBy, Point, Sample};

struct Node {
    bridged: bool,
    forwarded: bool,
}

const NODE: Node = Node { bridged: false, forwarded: false };

impl Surroundings for Node {
    fn interface(&self, index: u32) -> (&str, bool) {
        (if index == 7 { "veth7" } else { "eth0" }, self.bridged)
    }

    fn forwarded(&self, _: &ConnectionKey) -> bool {
        self.forwarded
    }

    fn is_own(&self, address: &[u8; 16]) -> bool {
        *address == ip(1)
    }

    fn other_side(&self, seen: &Direction) -> Option<Direction> {
        (seen.destination == SERVICE).then_some(Direction { destination: ip(9), destination_port: 8_080, ..*seen })
    }
}

const SERVICE: [u8; 16] = [9; 16];

#[test]
fn what_connection_tracking_knows_is_told_and_decides_whose_a_packet_is() {
    let mut assembler = Assembler::new(10, Reasons::default(), true);
    let key = Key { destination: SERVICE, destination_port: 80, protocol: 6, hook: HOOK_HOST_IN, ..Key::default() };
    // By its address alone the host's own, if nothing translated it to somebody else's.
    let flow = Flow { packets: 1, flags: abi::FLOW_HOST | abi::FLOW_NO_SOCKET, ..Flow::default() };
    let drained = Drained { flows: vec![(key, flow)], ..Drained::default() };
    let tick = assembler.tick(0, 1, &drained, 0, 1, &Node { bridged: false, forwarded: false });
    let other = tick.samples[0].translated.unwrap();
    assert_eq!((tick.samples[0].point, other.destination_port), (Point::Transit, 8_080));
    assert_eq!(other.destination, super::address(ip(9)));
}

#[test]
fn tunnels_statistics_and_coarse_tuples_keep_what_they_are() {
    let mut assembler = Assembler::new(10, Reasons::default(), true);
    let key = Key { source_port: 7, destination_port: 80, protocol: 6, hook: HOOK_HOST_OUT, ..Key::default() };
    let times = abi::Times { sum: 30, count: 2, min: 10, max: 20, zero: 0 };
    let flow = Flow { packets: 1, flags: abi::FLOW_HOST, sampling: 4, handshake: times, resets: 3, ..Flow::default() };
    let coarse = Key { source_port: 0, coarsened: abi::COARSENED_PORT, sampling: 4, ..key };
    let tunnel = Key { protocol: 17, ..key };
    let statistics = abi::TcpKey { source_port: 7, destination_port: 80, ..abi::TcpKey::default() };
    let drained = Drained {
        flows: vec![(key, flow), (coarse, flow), (tunnel, Flow { flags: abi::FLOW_UNDERLAY, ..flow })],
        tcp: vec![(statistics, abi::Tcp { round_trip: times, retransmits: 5, zero: 0 })],
        ..Drained::default()
    };
    let tick = assembler.tick(0, 1, &drained, 0, 1, &Node { bridged: false, forwarded: false });
    let [exact, coarse, tunnel] = tick.samples.try_into().unwrap();
    assert_eq!((exact.retransmits, exact.round_trip.unwrap().sum, exact.handshake.unwrap().max), (5, 30, 20));
    assert_eq!((exact.sampling, exact.resets, exact.coarsened), (4, 3, Coarsening::None));
    assert_eq!((coarse.sampling, coarse.retransmits, coarse.coarsened), (4, 0, Coarsening::SourcePort));
    assert_eq!((exact.opened_by, coarse.opened_by), (OpenedBy::Unknown, OpenedBy::Source));
    assert_eq!((tunnel.point, tunnel.round_trip), (Point::Underlay, None));
}

fn ip(last: u8) -> [u8; 16] {
    Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets()
}

fn key(hook: u8, source: u8, destination: u8) -> Key {
    Key {
        source: ip(source),
        destination: ip(destination),
        source_port: 9,
        destination_port: 80,
        protocol: 6,
        hook,
        ..Key::default()
    }
}

fn flow(flags: u32) -> Flow {
    Flow { bytes: 100, packets: 1, first: 5_000_000, last: 6_000_000, ifindex: 7, flags, ..Flow::default() }
}

fn drained(flows: Vec<(Key, Flow)>) -> Drained {
    let mut drained = Drained { flows, ..Drained::default() };
    let sum = |of: fn(&Flow) -> u64| drained.flows.iter().map(|(_, flow)| of(flow)).sum();
    drained.counters[abi::COUNT_SEEN] = Count { packets: sum(|flow| flow.packets), bytes: sum(|flow| flow.bytes) };
    drained
}

fn samples(drained: &Drained, node: &Node) -> Vec<Sample> {
    let tick = Assembler::new(100, Reasons::default(), true).tick(0, 1, drained, 0, 7_000_000, node);
    assert_eq!(tick.unaccounted, weir_schemas::raw::Totals::default());
    tick.samples
}

fn ends(samples: &[Sample]) -> Vec<(Point, End)> {
    let mut ends: Vec<_> = samples.iter().map(|sample| (sample.point, sample.end)).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn hooks_stand_for_points_and_ends() {
    for (hook, flags, expected) in [
        (abi::HOOK_POD_IN, 0, vec![(Point::Pod, End::Source)]),
        (abi::HOOK_POD_OUT, 0, vec![(Point::Pod, End::Destination)]),
        (abi::HOOK_POD_IN, abi::FLOW_HOST, vec![(Point::Pod, End::Source), (Point::Host, End::Destination)]),
        (abi::HOOK_POD_OUT, abi::FLOW_HOST, vec![(Point::Pod, End::Destination), (Point::Host, End::Source)]),
        (abi::HOOK_HOST_IN, abi::FLOW_HOST, vec![(Point::Host, End::Destination)]),
        (abi::HOOK_HOST_OUT, abi::FLOW_HOST, vec![(Point::Host, End::Source)]),
        (abi::HOOK_HOST_IN, 0, vec![(Point::Transit, End::Destination)]),
        (abi::HOOK_HOST_OUT, abi::FLOW_FORWARDED, vec![(Point::Transit, End::Source)]),
        (abi::HOOK_LO_IN, 0, vec![(Point::Host, End::Destination)]),
        (abi::HOOK_LO_OUT, 0, vec![(Point::Host, End::Source)]),
    ] {
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(ends(&samples(&drained(vec![(key(hook, 2, 3), flow(flags))]), &NODE)), expected, "hook {hook}");
    }
}

#[test]
fn a_bridge_reports_for_the_host_itself() {
    let node = Node { bridged: true, ..NODE };
    let drained = drained(vec![(key(abi::HOOK_POD_IN, 2, 1), flow(abi::FLOW_HOST))]);
    assert_eq!(ends(&samples(&drained, &node)), [(Point::Pod, End::Source)]);
}

#[test]
fn a_translated_destination_is_told_by_the_way_of_the_answers() {
    let arriving = (key(abi::HOOK_HOST_IN, 2, 1), flow(abi::FLOW_HOST | abi::FLOW_NO_SOCKET));
    assert_eq!(ends(&samples(&drained(vec![arriving]), &NODE)), [(Point::Host, End::Destination)]);
    let known = Node { forwarded: true, ..NODE };
    assert_eq!(ends(&samples(&drained(vec![arriving]), &known)), [(Point::Transit, End::Destination)]);
    let mut answer = key(abi::HOOK_HOST_OUT, 1, 2);
    (answer.source_port, answer.destination_port) = (80, 9);
    let both = drained(vec![arriving, (answer, flow(abi::FLOW_FORWARDED))]);
    assert_eq!(ends(&samples(&both, &NODE)), [(Point::Transit, End::Source), (Point::Transit, End::Destination)]);
}

#[test]
fn drops_go_to_the_senders_report_and_without_one_stand_alone() {
    let mut drained = drained(vec![(key(abi::HOOK_POD_OUT, 2, 3), flow(0)), (key(abi::HOOK_POD_IN, 2, 3), flow(0))]);
    let drop = |source, destination| DropKey {
        source: ip(source),
        destination: ip(destination),
        source_port: 9,
        destination_port: 80,
        protocol: 6,
        reason: 99,
        ..DropKey::default()
    };
    let dropped = Dropped {
        packets: 2,
        bytes: 120,
        first: 6_000_000,
        last: 7_000_000,
        opened: 5_000_000,
        started: 1,
        opener: abi::OPENER_SOURCE,
        sampling: 1,
        ..Dropped::default()
    };
    drained.drops = vec![(drop(2, 3), dropped), (drop(1, 5), dropped)];
    let samples = samples(&drained, &NODE);
    assert_eq!(samples.len(), 3);
    let with: Vec<_> = samples.iter().filter(|sample| !sample.drops.is_empty()).collect();
    assert_eq!((with[0].point, with[0].end, with[0].packets), (Point::Pod, End::Source, 1));
    assert_eq!((with[1].point, with[1].end, with[1].packets), (Point::Host, End::Source, 0));
    assert_eq!(with[1].drops[0].reason, "REASON_99");
    assert_eq!((with[1].opened_by, with[1].opened_at, with[1].started), (OpenedBy::Source, Some(5), 1), "by itself");
    assert_eq!((with[1].first_seen, with[1].last_seen), (6, 7));
}

#[test]
fn what_a_policy_drops_on_the_way_to_a_pod_is_told_for_the_pods_end() {
    const DROPPED: u32 = 12;
    let reasons = Reasons::new(&[("SKB_DROP_REASON_NETFILTER_DROP".to_owned(), DROPPED)]);
    let mut assembler = Assembler::new(100, reasons, true);
    let opened = Flow { opened: 5_000_000, opener: abi::OPENER_SOURCE, started: 1, tcp_flags: 2, ..flow(0) };
    let drop = |destination, reason| DropKey {
        source: ip(2),
        destination: ip(destination),
        source_port: 9,
        destination_port: 80,
        protocol: 6,
        reason,
        ..DropKey::default()
    };
    let dropped =
        Dropped { packets: 1, bytes: 100, first: 5_000_000, last: 5_000_000, sampling: 1, ..Dropped::default() };
    // 3 is behind this node; 4 is, too, and gets something; to 5 nothing gets for another reason than a policy.
    let mut all = drained(vec![
        (key(HOOK_HOST_IN, 2, 3), opened),
        (key(HOOK_HOST_IN, 2, 4), opened),
        (key(abi::HOOK_POD_OUT, 2, 4), opened),
        (key(HOOK_HOST_IN, 2, 5), opened),
    ]);
    all.drops = vec![
        (drop(3, DROPPED), dropped),
        (drop(3, DROPPED + 1), dropped),
        (drop(4, DROPPED), dropped),
        (drop(5, 99), dropped),
    ];
    let tick = assembler.tick(0, 1, &all, 0, 7_000_000, &NODE);
    assert_eq!(tick.unaccounted, weir_schemas::raw::Totals::default());
    let mut told: Vec<_> = tick
        .samples
        .iter()
        .filter(|sample| !sample.drops.is_empty())
        .map(|s| (s.destination, s.point, s.end, s.packets, s.drops.len()))
        .collect();
    told.sort_unstable();
    let to = |last| super::address(ip(last));
    let expected = [
        (to(3), Point::Pod, End::Destination, 0, 2),
        (to(4), Point::Pod, End::Destination, 1, 1),
        (to(5), Point::Transit, End::Destination, 1, 1),
    ];
    assert_eq!(told, expected);
    let alone = tick.samples.iter().find(|s| s.packets == 0).unwrap();
    assert_eq!((alone.opened_at, alone.opened_by, alone.started), (Some(5), OpenedBy::Source, 1));
    assert_eq!((alone.bytes, alone.ended, alone.tcp_flags, alone.interface.as_str()), (0, 0, 0, ""));
}

#[test]
fn a_tick_in_parts_is_what_it_is_as_a_whole() {
    let flows: Vec<(Key, Flow)> =
        (0..50_u16).map(|n| (Key { source_port: n, ..key(abi::HOOK_POD_IN, 2, 1) }, flow(abi::FLOW_HOST))).collect();
    let mut all = drained(flows);
    let drop = |port| DropKey {
        source: ip(2),
        destination: ip(1),
        source_port: port,
        destination_port: 80,
        protocol: 6,
        ..DropKey::default()
    };
    let dropped = Dropped { packets: 1, bytes: 100, ..Dropped::default() };
    all.drops = vec![(drop(3), dropped), (drop(900), dropped)];
    all.counters[abi::COUNT_SEEN].packets += 7;
    all.counters[abi::COUNT_PARSE] = Count { packets: 2, bytes: 0 };
    let mut assembler = Assembler::new(100, Reasons::default(), true);
    let whole = assembler.tick(0, 1, &all, 0, 7_000_000, &NODE);
    let (mut assembler, mut parts) = (Assembler::new(100, Reasons::default(), true), Vec::new());
    let when = super::When { start: 0, ticks: 1, offset: 0, now: 7_000_000 };
    assembler.parts(when, all.clone(), &NODE, 32, |part| parts.push(part));
    assert_eq!(
        parts.iter().map(|part| (part.samples.len(), part.more)).collect::<Vec<_>>(),
        [(32, true), (32, true), (32, true), (5, false)]
    );
    let samples: Vec<Sample> = parts.iter().flat_map(|part| part.samples.clone()).collect();
    assert_eq!(samples, whole.samples);
    assert_eq!((samples.iter().filter(|s| !s.drops.is_empty()).count(), whole.unaccounted.packets), (2, 5));
    for part in &parts {
        assert_eq!((part.lost.is_empty(), part.unaccounted.packets), if part.more { (true, 0) } else { (false, 5) });
    }
}

#[test]
fn drops_of_flows_elsewhere_are_counted_when_only_some_interfaces_are_watched() {
    let mut assembler = Assembler::new(100, Reasons::default(), false);
    let drop = DropKey { source: ip(8), destination: ip(9), protocol: 17, reason: 5, ..DropKey::default() };
    let mut drained = Drained::default();
    drained.drops.push((drop, Dropped { packets: 3, ..Dropped::default() }));
    assert!(assembler.tick(0, 1, &drained, 0, 0, &NODE).samples.is_empty());
    assert_eq!(assembler.unwatched(), 3);
}

#[test]
fn cumulative_counters_grow_and_silence_ends_a_conversation() {
    let mut assembler = Assembler::new(100, Reasons::default(), true);
    let mut datagram = key(abi::HOOK_POD_IN, 2, 3);
    datagram.protocol = 17;
    let first = Flow { started: 1, opener: abi::OPENER_SOURCE, ..flow(0) };
    assembler.tick(0, 1, &drained(vec![(datagram, first)]), 0, 7_000_000, &NODE);
    let second = assembler.tick(1_000, 1, &drained(vec![(datagram, flow(0))]), 0, 8_000_000, &NODE);
    assert_eq!((second.samples[0].cumulative_packets, second.samples[0].cumulative_bytes), (2, 200));
    let silent = assembler.tick(70_000, 1, &Drained::default(), 0, 70_000_000_000, &NODE);
    assert_eq!((silent.samples.len(), silent.samples[0].ended, silent.samples[0].packets), (1, 1, 0));
    assert!(assembler.tick(71_000, 1, &Drained::default(), 0, 71_000_000_000, &NODE).samples.is_empty());
}

#[test]
fn what_the_kernel_saw_and_did_not_hand_over_is_unaccounted_until_it_turns_up() {
    let mut assembler = Assembler::new(100, Reasons::default(), true);
    let mut short = drained(vec![(key(abi::HOOK_POD_IN, 2, 3), flow(0))]);
    short.counters[abi::COUNT_SEEN].packets += 4;
    assert_eq!(assembler.tick(0, 1, &short, 0, 0, &NODE).unaccounted.packets, 4);
    let mut rest = drained(vec![(key(abi::HOOK_POD_IN, 2, 3), Flow { packets: 4, ..flow(0) })]);
    rest.counters[abi::COUNT_SEEN] = Count { packets: 0, bytes: 100 };
    assert_eq!(assembler.tick(0, 1, &rest, 0, 0, &NODE).unaccounted.packets, 0);
}
