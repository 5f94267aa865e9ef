//! From what the kernel counted in a tick to samples. Pure: what else must be known is asked through [`Surroundings`].

use super::capture::Drained;
use super::conntrack::Direction;
use super::reasons::{self, Reasons};
use crate::abi::{
    self, COUNT_MAP_FULL, COUNT_PARSE, COUNT_SEEN, ConnectionKey, Count, DropKey, Dropped, Flow, HOOK_HOST_IN,
    HOOK_HOST_OUT, HOOK_LO_IN, HOOK_LO_OUT, HOOK_POD_IN, HOOK_POD_OUT, Key, Tcp, TcpKey, Times,
};
use crate::tick::{Tick, add, totals};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use weir_flow::protocol::{ICMP, ICMPV6, TCP};
use weir_flow::{Address, Millis};
use weir_schemas::raw::{self, Coarsening, Drop, End, OpenedBy, Point, RoundTrip, Sample, Totals};

#[cfg(test)]
mod tests;
mod tuple;

use tuple::Tuple;

/// A conversation without TCP's flags has ended when nothing came for this long, in ns; as in `flow.bpf.c`.
const IDLE: u64 = 60_000_000_000;

/// The loss of what an agent had taken from the kernel when it was killed, and had not begun to send.
const RESTART: &str = "restart";
/// The loss of what it was sending then: it may be on the topic all the same.
const RESTART_UNKNOWN: &str = "restart_unknown";

/// What the assembler asks of the node it is on.
pub trait Surroundings {
    /// The interface's name, and whether it is a pod's on a bridge.
    fn interface(&self, index: u32) -> (&str, bool);
    /// Whether packets of the connection left a host interface as forwarded ones.
    fn forwarded(&self, connection: &ConnectionKey) -> bool;
    /// Whether the address is the host's own.
    fn is_own(&self, address: &[u8; 16]) -> bool;
    /// What packets that look so look like on the other side of an address translation of this node.
    fn other_side(&self, seen: &Direction) -> Option<Direction>;
}

/// What is remembered of a flow from tick to tick.
#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    bytes: u64,
    packets: u64,
    last: u64,
    /// Conversations started and not ended, where only silence ends them.
    open: u64,
    host: bool,
    ifindex: u32,
    /// A connection's last packets have no socket any more that would name its process.
    process: [u8; 16],
    sampling: u32,
    underlay: bool,
}

/// Assembles ticks, one after the other.
#[derive(Debug)]
pub struct Assembler {
    known: HashMap<Key, Remembered>,
    limit: usize,
    reasons: Reasons,
    /// Whether every interface is watched, so that drops of flows never seen are this node's own to report.
    everything: bool,
    unwatched: u64,
    seen: Totals,
    drained: Totals,
    lost: Totals,
}

impl Assembler {
    /// Remembers at most `limit` flows for their cumulative counters. Where not `everything` is watched, drops are
    /// reported only for flows that are.
    #[must_use]
    pub fn new(limit: usize, reasons: Reasons, everything: bool) -> Self {
        Self {
            known: HashMap::new(),
            limit,
            reasons,
            everything,
            unwatched: 0,
            seen: Totals::default(),
            drained: Totals::default(),
            lost: Totals::default(),
        }
    }

    /// Dropped packets of flows on interfaces that are not watched, so far.
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// One tick. `start` in ms since the epoch, `offset` in ns: wall clock minus the kernel's; `now` the kernel's clock.
    pub fn tick(
        &mut self,
        start: Millis,
        ticks: u32,
        drained: &Drained,
        offset: i128,
        now: u64,
        node: &impl Surroundings,
    ) -> Tick {
        let returned = forwarded_tuples(&drained.flows);
        let mut samples = Vec::with_capacity(drained.flows.len() + drained.flows.len() / 8);
        let mut second_reports = Totals::default();
        for (key, flow) in &drained.flows {
            let (interface, bridged) = node.interface(flow.ifindex);
            let host = is_host(key, flow, bridged, &returned, node);
            let known = self.remember(key, flow, host);
            let mut sample = sample(key, flow, &known, interface, offset);
            sample.translated = node.other_side(&direction(key)).map(translated);
            if host && matches!(key.hook, HOOK_POD_IN | HOOK_POD_OUT) {
                // No other interface sees what goes between a pod and the host itself: one packet, two ends, two reports.
                let mut other = sample.clone();
                other.point = Point::Host;
                other.end = opposite(sample.end);
                other.process = process(&known.process);
                add(&mut second_reports, Totals { packets: flow.packets, bytes: flow.bytes, samples: 1 });
                samples.push(other);
            }
            samples.push(sample);
        }
        let mut reporters = Reporters::default();
        if !drained.drops.is_empty() || !drained.tcp.is_empty() {
            reporters = reporters_of(&samples);
        }
        add_tcp(&mut samples, &drained.tcp, &reporters);
        self.add_drops(&mut samples, &mut reporters, &drained.drops, offset, node);
        samples.extend(self.end_idle(now, offset, node));

        let all = totals(&samples);
        let seen = of_count(drained.counters[COUNT_SEEN]);
        let mut lost = std::collections::BTreeMap::new();
        for index in [COUNT_PARSE, COUNT_MAP_FULL, abi::COUNT_FILTERED, abi::COUNT_SAMPLED_OUT] {
            let count = of_count(drained.counters[index]);
            if count != Totals::default() {
                lost.insert(abi::COUNTER_NAMES[index].to_owned(), count);
                add(&mut self.lost, count);
            }
        }
        add(&mut self.seen, seen);
        add(&mut self.seen, Totals { samples: 0, ..second_reports });
        add(&mut self.drained, all);
        let rest = |seen: u64, drained: u64, lost: u64| seen.saturating_sub(drained).saturating_sub(lost);
        let unaccounted = Totals {
            packets: rest(self.seen.packets, self.drained.packets, self.lost.packets),
            bytes: rest(self.seen.bytes, self.drained.bytes, self.lost.bytes),
            samples: 0,
        };
        Tick { start, ticks, samples, dns: Vec::new(), lost, unaccounted, mark: None }
    }

    /// Names what a predecessor had seen and did not leave, of which `unsure` may be on the topic all the same; returns it.
    pub fn restart(&mut self, tick: &mut Tick, unsure: Count) -> Totals {
        let gone = std::mem::take(&mut tick.unaccounted);
        let unknown =
            Totals { packets: unsure.packets.min(gone.packets), bytes: unsure.bytes.min(gone.bytes), samples: 0 };
        let certain = Totals { packets: gone.packets - unknown.packets, bytes: gone.bytes - unknown.bytes, samples: 0 };
        for (reason, lost) in [(RESTART, certain), (RESTART_UNKNOWN, unknown)] {
            if lost != Totals::default() {
                add(tick.lost.entry(reason.to_owned()).or_default(), lost);
            }
        }
        add(&mut self.lost, gone);
        gone
    }

    fn remember(&mut self, key: &Key, flow: &Flow, host: bool) -> Remembered {
        let fresh = Remembered::default();
        let room = self.known.len() < self.limit;
        let mut entry = self.known.get(key).copied().unwrap_or(fresh);
        entry.bytes = entry.bytes.saturating_add(flow.bytes);
        entry.packets = entry.packets.saturating_add(flow.packets);
        entry.last = entry.last.max(flow.last);
        entry.host = host;
        entry.ifindex = flow.ifindex;
        entry.sampling = flow.sampling;
        entry.underlay = flow.flags & abi::FLOW_UNDERLAY != 0;
        if flow.process[0] != 0 {
            entry.process = flow.process;
        }
        if key.protocol != TCP {
            entry.open = entry.open.saturating_add(u64::from(flow.started));
        }
        if room || self.known.contains_key(key) {
            self.known.insert(*key, entry);
        }
        entry
    }

    /// Forgets flows that have been silent; the opener's direction says that its conversations ended.
    fn end_idle(&mut self, now: u64, offset: i128, node: &impl Surroundings) -> Vec<Sample> {
        let mut ended = Vec::new();
        self.known.retain(|key, known| {
            if now.saturating_sub(known.last) <= IDLE {
                return true;
            }
            if known.open > 0 {
                let flow = Flow { first: known.last, last: known.last, opener: abi::OPENER_SOURCE, ..Flow::default() };
                let mut sample = sample(key, &flow, known, node.interface(known.ifindex).0, offset);
                sample.ended = known.open;
                if known.host && matches!(key.hook, HOOK_POD_IN | HOOK_POD_OUT) {
                    ended.push(Sample { point: Point::Host, end: opposite(sample.end), ..sample.clone() });
                }
                ended.push(sample);
            }
            false
        });
        ended
    }

    fn add_drops(
        &mut self,
        samples: &mut Vec<Sample>,
        reporters: &mut Reporters,
        drops: &[(DropKey, Dropped)],
        offset: i128,
        node: &impl Surroundings,
    ) {
        for (key, dropped) in drops {
            let reason = self.reasons.name(key.reason);
            let class = reasons::class(&reason);
            let drop = Drop { reason, class, packets: dropped.packets, bytes: dropped.bytes };
            let tuple = Tuple::of_drop(key);
            let place = match reporters.get(&tuple) {
                Some(place) => *place,
                None => {
                    let Some(sample) = self.only_drops(key, dropped, offset, node) else {
                        self.unwatched = self.unwatched.saturating_add(dropped.packets);
                        continue;
                    };
                    samples.push(sample);
                    reporters.insert(tuple, samples.len() - 1);
                    samples.len() - 1
                }
            };
            if let Some(sample) = samples.get_mut(place) {
                sample.drops.push(drop);
            }
        }
    }

    /// A sample for what was dropped without being counted in this tick, at the point where its flow was last seen.
    fn only_drops(&self, key: &DropKey, dropped: &Dropped, offset: i128, node: &impl Surroundings) -> Option<Sample> {
        let at = |hook| Key {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            hook,
            coarsened: abi::COARSENED_NOT,
            zero: 0,
            ifindex: 0,
            sampling: 0,
        };
        let seen = [HOOK_POD_IN, HOOK_LO_OUT, HOOK_POD_OUT, HOOK_LO_IN]
            .into_iter()
            .find_map(|hook| self.known.get_key_value(&at(hook)));
        if seen.is_none() && !self.everything {
            return None;
        }
        let (hook, host) = match seen {
            Some((known, _)) => (known.hook, true),
            None if node.is_own(&key.source) => (HOOK_HOST_OUT, true),
            None if node.is_own(&key.destination) => (HOOK_HOST_IN, true),
            None => (HOOK_HOST_OUT, false),
        };
        let flow = Flow { first: dropped.first, last: dropped.last, ..Flow::default() };
        let sampling = u32::try_from(dropped.sampling).unwrap_or(u32::MAX);
        let known = seen.map_or(Remembered { host, sampling, ..Remembered::default() }, |(_, known)| *known);
        Some(sample(&at(hook), &flow, &known, node.interface(known.ifindex).0, offset))
    }
}

/// The sample of each tuple that stands for it best.
type Reporters = HashMap<Tuple, usize>;

fn reporters_of(samples: &[Sample]) -> Reporters {
    let mut reporters = Reporters::new();
    for (place, sample) in samples.iter().enumerate() {
        let tuple = Tuple::of(sample);
        let better = reporters
            .get(&tuple)
            .and_then(|old| samples.get(*old))
            .is_none_or(|old| rank(sample.point, sample.end) < rank(old.point, old.end));
        if better {
            reporters.insert(tuple, place);
        }
    }
    reporters
}

/// What sockets say goes to the sample of what they send. Sockets whose packets are not watched are nobody's here.
fn add_tcp(samples: &mut [Sample], tcp: &[(TcpKey, Tcp)], reporters: &Reporters) {
    for (key, statistics) in tcp {
        let tuple = Tuple {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: TCP,
        };
        let Some(sample) = reporters.get(&tuple).and_then(|place| samples.get_mut(*place)) else { continue };
        sample.retransmits = u64::from(statistics.retransmits);
        sample.round_trip = times(&statistics.round_trip);
    }
}

fn times(times: &Times) -> Option<RoundTrip> {
    (times.count > 0).then(|| RoundTrip {
        sum: times.sum,
        count: u64::from(times.count),
        min: u64::from(times.min),
        max: u64::from(times.max),
    })
}

fn of_count(count: Count) -> Totals {
    Totals { packets: count.packets, bytes: count.bytes, samples: 0 }
}

/// Source reports before destination reports, and both before what only passed through.
fn rank(point: Point, end: End) -> (bool, bool) {
    (matches!(point, Point::Transit | Point::Underlay), end == End::Destination)
}

pub(super) fn opposite(end: End) -> End {
    match end {
        End::Source => End::Destination,
        End::Destination => End::Source,
    }
}

pub(super) fn end(hook: u8) -> End {
    match hook {
        HOOK_POD_IN | HOOK_HOST_OUT | HOOK_LO_OUT => End::Source,
        _ => End::Destination,
    }
}

/// Tuples, in the direction of arriving packets, of connections whose packets left a host interface as forwarded ones.
fn forwarded_tuples(flows: &[(Key, Flow)]) -> HashSet<Tuple> {
    flows
        .iter()
        .filter(|(key, flow)| key.hook == HOOK_HOST_OUT && flow.flags & abi::FLOW_FORWARDED != 0)
        .map(|(key, _)| Tuple {
            source: key.destination,
            destination: key.source,
            source_port: key.destination_port,
            destination_port: key.source_port,
            protocol: key.protocol,
        })
        .collect()
}

fn is_host(key: &Key, flow: &Flow, bridged: bool, returned: &HashSet<Tuple>, node: &impl Surroundings) -> bool {
    match key.hook {
        HOOK_LO_IN | HOOK_LO_OUT => return true,
        // The bridge itself reports for the host.
        HOOK_POD_IN | HOOK_POD_OUT if bridged => return false,
        _ => {}
    }
    if flow.flags & abi::FLOW_HOST == 0 {
        return false;
    }
    if key.hook != HOOK_HOST_IN || flow.flags & abi::FLOW_NO_SOCKET == 0 {
        return true;
    }
    // Addressed to the host, and nobody there listens: the host's own unless its destination is translated, which
    // connection tracking tells, or the way of the answers.
    if let Some(other) = node.other_side(&direction(key)) {
        return node.is_own(&other.destination);
    }
    !(returned.contains(&Tuple::of_key(key)) || node.forwarded(&connection_key(key)))
}

fn direction(key: &Key) -> Direction {
    Direction {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol: key.protocol,
    }
}

fn translated(other: Direction) -> raw::Tuple {
    raw::Tuple {
        source: address(other.source),
        destination: address(other.destination),
        source_port: other.source_port,
        destination_port: other.destination_port,
    }
}

/// As `connection_key` in `flow.bpf.c`.
fn connection_key(key: &Key) -> ConnectionKey {
    let words = |address: &[u8; 16]| -> [u32; 4] {
        let word = |i: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&address[i * 4..i * 4 + 4]);
            u32::from_ne_bytes(bytes)
        };
        [word(0), word(1), word(2), word(3)]
    };
    let low = (words(&key.source), key.source_port) <= (words(&key.destination), key.destination_port);
    let ports = if matches!(key.protocol, ICMP | ICMPV6) { (0, 0) } else { (key.source_port, key.destination_port) };
    let (low_end, high_end) = if low {
        ((key.source, ports.0), (key.destination, ports.1))
    } else {
        ((key.destination, ports.1), (key.source, ports.0))
    };
    ConnectionKey {
        low: low_end.0,
        high: high_end.0,
        low_port: low_end.1,
        high_port: high_end.1,
        protocol: key.protocol,
        zero: [0; 3],
    }
}

pub(super) fn address(bytes: [u8; 16]) -> Address {
    Address::new(IpAddr::V6(Ipv6Addr::from(bytes)))
}

fn process(name: &[u8; 16]) -> Option<String> {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn sample(key: &Key, flow: &Flow, known: &Remembered, interface: &str, offset: i128) -> Sample {
    let wall = |time: u64| Millis::try_from((i128::from(time) + offset).div_euclid(1_000_000)).unwrap_or(Millis::MAX);
    let is_coarse = key.coarsened != abi::COARSENED_NOT;
    let point = match key.hook {
        HOOK_POD_IN | HOOK_POD_OUT => Point::Pod,
        _ if known.underlay => Point::Underlay,
        _ if known.host => Point::Host,
        _ => Point::Transit,
    };
    Sample {
        zero_windows: u64::from(flow.zero_windows),
        coarsened: match key.coarsened {
            abi::COARSENED_PORT => Coarsening::SourcePort,
            abi::COARSENED_PREFIX => Coarsening::Prefix,
            _ => Coarsening::None,
        },
        handshake: times(&flow.handshake),
        resets: u64::from(flow.resets),
        point,
        end: end(key.hook),
        interface: interface.to_owned(),
        source: address(key.source),
        destination: address(key.destination),
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol: key.protocol,
        translated: None,
        opened_by: match flow.opener {
            abi::OPENER_SOURCE => OpenedBy::Source,
            abi::OPENER_DESTINATION => OpenedBy::Destination,
            // The kernel took the end whose port it left out for the one that opened it.
            _ if is_coarse && key.source_port == 0 && key.destination_port != 0 => OpenedBy::Source,
            _ if is_coarse && key.destination_port == 0 && key.source_port != 0 => OpenedBy::Destination,
            _ => OpenedBy::Unknown,
        },
        first_seen: wall(flow.first),
        last_seen: wall(flow.last.max(flow.first)),
        bytes: flow.bytes,
        packets: flow.packets,
        tcp_flags: u16::try_from(flow.tcp_flags).unwrap_or(u16::MAX),
        started: u64::from(flow.started),
        ended: u64::from(flow.ended),
        opened_at: (flow.opened != 0).then(|| wall(flow.opened)),
        cumulative_bytes: known.bytes,
        cumulative_packets: known.packets,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: if point == Point::Host { process(&known.process) } else { None },
        sampling: known.sampling.max(1),
    }
}
