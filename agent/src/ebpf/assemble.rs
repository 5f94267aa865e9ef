//! From what the kernel counted in a tick to samples. Pure: what else must be known is asked through [`Surroundings`].

use super::capture::Drained;
use super::conntrack::Direction;
use super::reasons::{self, Reasons};
use crate::abi::{
    self, COUNT_MAP_FULL, COUNT_PARSE, COUNT_SEEN, COUNTERS, ConnectionKey, Count, DropKey, Dropped, Flow,
    HOOK_HOST_IN, HOOK_HOST_OUT, HOOK_LO_IN, HOOK_LO_OUT, HOOK_POD_IN, HOOK_POD_OUT, Key,
};
use crate::tick::{Tick, add};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use weir_flow::Millis;
use weir_flow::protocol::{ICMP, ICMPV6, TCP};
use weir_schemas::raw::{self, Drop, DropClass, End, Point, Sample, Totals};

mod beside;
mod parts;
mod sample;
#[cfg(test)]
mod tests;
mod tuple;

use beside::{Beside, Told};
use parts::Parts;
pub use parts::When;
pub(super) use sample::{address, end};
use sample::{other_end, sample, times, undelivered};
pub(super) use tuple::Tuple;

/// A conversation without TCP's flags has ended when nothing came for this long, in ns; as in `flow.bpf.c`.
const IDLE: u64 = 60_000_000_000;

/// Flows of which samples are made before their memory is given back.
const CHUNK: usize = 4_096;
/// So many flows are remembered without giving memory back.
const KEPT: usize = 4_096;

/// The loss of what an agent had taken from the kernel when it was killed or gave up, and had not begun to send.
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
#[derive(Clone, Debug, Default)]
struct Remembered {
    bytes: u64,
    packets: u64,
    last: u64,
    /// A connection's last packets have no socket any more that would name its process. Few flows have one at all.
    process: Option<Box<[u8; 16]>>,
    /// Conversations started and not ended, where only silence ends them.
    open: u32,
    ifindex: u32,
    sampling: u32,
    host: bool,
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
    /// What of all that was seen is neither drained nor lost, as of the last tick.
    unaccounted: Totals,
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
            unaccounted: Totals::default(),
        }
    }

    /// Dropped packets of flows on interfaces that are not watched, so far.
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// One tick, whole.
    pub fn tick(
        &mut self,
        start: Millis,
        ticks: u32,
        drained: &Drained,
        offset: i128,
        now: u64,
        node: &impl Surroundings,
    ) -> Tick {
        let mut whole = Tick::default();
        let when = When { start, ticks, offset, now };
        self.parts(when, drained.clone(), node, usize::MAX, |part| whole = part);
        whole
    }

    /// One tick, in parts of about `size` samples, each given to `each`: what is known of the tick as a whole is in the last.
    pub fn parts(
        &mut self,
        when: When,
        mut drained: Drained,
        node: &impl Surroundings,
        size: usize,
        each: impl FnMut(Tick),
    ) {
        let returned = forwarded_tuples(&drained.flows);
        let beside = Beside::of(&drained, &returned, node);
        let mut parts = Parts {
            when,
            size,
            samples: Vec::with_capacity(size.min(drained.flows.len() + 1)),
            sums: Totals::default(),
            before: self.unaccounted,
            each,
        };
        let mut second_reports = Totals::default();
        let mut flows = std::mem::take(&mut drained.flows);
        while !flows.is_empty() {
            // From the end, so that what is reported goes back to the kernel before the rest is.
            let begin = flows.len().saturating_sub(CHUNK);
            let chunk = flows.split_off(begin);
            flows.shrink_to_fit();
            for (index, (key, flow)) in (begin..).zip(&chunk) {
                let (interface, bridged) = node.interface(flow.ifindex);
                let host = is_host(key, flow, bridged, &returned, node);
                let known = self.remember(key, flow, host);
                let mut sample = sample(key, flow, &known, interface, when.offset);
                sample.translated = node.other_side(&direction(key)).map(translated);
                if host && has_second_report(key) {
                    let other = other_end(&sample, &known);
                    add(&mut second_reports, Totals { packets: flow.packets, bytes: flow.bytes, samples: 1 });
                    self.push(&mut parts, other, beside.of_flow(key, index, true), &drained);
                }
                self.push(&mut parts, sample, beside.of_flow(key, index, false), &drained);
            }
        }
        self.add_lonely_drops(&mut parts, &beside, &drained, node);
        self.end_idle(&mut parts, node);

        let (mut last, mut each) = parts.finish(&mut self.drained);
        last.lost = self.account(&drained.counters, second_reports);
        last.unaccounted = self.unaccounted;
        each(last);
    }

    /// Adds up what the kernel saw and lost, and says what it lost.
    fn account(&mut self, counters: &[Count; COUNTERS], second_reports: Totals) -> BTreeMap<String, Totals> {
        let mut lost = BTreeMap::new();
        for index in [COUNT_PARSE, COUNT_MAP_FULL, abi::COUNT_FILTERED, abi::COUNT_SAMPLED_OUT] {
            let count = of_count(counters[index]);
            if count != Totals::default() {
                lost.insert(abi::COUNTER_NAMES[index].to_owned(), count);
                add(&mut self.lost, count);
            }
        }
        add(&mut self.seen, of_count(counters[COUNT_SEEN]));
        add(&mut self.seen, Totals { samples: 0, ..second_reports });
        let rest = |seen: u64, drained: u64, lost: u64| seen.saturating_sub(drained).saturating_sub(lost);
        self.unaccounted = Totals {
            packets: rest(self.seen.packets, self.drained.packets, self.lost.packets),
            bytes: rest(self.seen.bytes, self.drained.bytes, self.lost.bytes),
            samples: 0,
        };
        lost
    }

    /// Puts a sample into the running part, with what is told of its tuple beside it.
    fn push<E: FnMut(Tick)>(&self, parts: &mut Parts<E>, mut sample: Sample, told: Option<&Told>, drained: &Drained) {
        let mut alone = None;
        if let Some(told) = told {
            if let Some((_, statistics)) = told.tcp.and_then(|place| drained.tcp.get(place)) {
                sample.retransmits = u64::from(statistics.retransmits);
                sample.round_trip = times(&statistics.round_trip);
            }
            let dropped: Vec<&(DropKey, Dropped)> =
                told.drops.iter().filter_map(|place| drained.drops.get(*place)).collect();
            let drops: Vec<Drop> = dropped.iter().map(|(key, dropped)| self.drop(key, dropped)).collect();
            let by_policy = drops.iter().zip(&dropped).find(|(drop, _)| drop.class == DropClass::Policy);
            alone = by_policy.and_then(|(_, (_, dropped))| undelivered(&sample, dropped, parts.when.offset));
            alone.as_mut().unwrap_or(&mut sample).drops = drops;
        }
        parts.push(sample);
        if let Some(alone) = alone {
            parts.push(alone);
        }
    }

    /// Names what a predecessor had seen and did not leave, of which `unsure` may be on the topic all the same; returns it.
    pub fn restart(&mut self, tick: &mut Tick, unsure: Count) -> Totals {
        let gone = std::mem::take(&mut tick.unaccounted);
        self.unaccounted = Totals::default();
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
        let mut beyond = Remembered::default();
        let room = self.known.len() < self.limit;
        let entry = match self.known.entry(*key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) if room => place.insert(Remembered::default()),
            Entry::Vacant(_) => &mut beyond,
        };
        entry.bytes = entry.bytes.saturating_add(flow.bytes);
        entry.packets = entry.packets.saturating_add(flow.packets);
        entry.last = entry.last.max(flow.last);
        entry.host = host;
        entry.ifindex = flow.ifindex;
        entry.sampling = flow.sampling;
        entry.underlay = flow.flags & abi::FLOW_UNDERLAY != 0;
        if flow.process[0] != 0 {
            entry.process = Some(Box::new(flow.process));
        }
        if key.protocol != TCP {
            entry.open = entry.open.saturating_add(flow.started);
        }
        entry.clone()
    }

    /// Forgets flows that have been silent; the opener's direction says that its conversations ended.
    fn end_idle<E: FnMut(Tick)>(&mut self, parts: &mut Parts<E>, node: &impl Surroundings) {
        let When { offset, now, .. } = parts.when;
        self.known.retain(|key, known| {
            if now.saturating_sub(known.last) <= IDLE {
                return true;
            }
            if known.open > 0 {
                let flow = Flow { first: known.last, last: known.last, opener: abi::OPENER_SOURCE, ..Flow::default() };
                let mut sample = sample(key, &flow, known, node.interface(known.ifindex).0, offset);
                sample.ended = u64::from(known.open);
                if known.host && has_second_report(key) {
                    parts.push(Sample { point: Point::Host, end: opposite(sample.end), ..sample.clone() });
                }
                parts.push(sample);
            }
            false
        });
        // What a burst of flows took is given back after it.
        if self.known.capacity() / 8 > self.known.len().max(KEPT) {
            self.known.shrink_to(self.known.len().max(KEPT) * 2);
        }
    }

    fn drop(&self, key: &DropKey, dropped: &Dropped) -> Drop {
        let reason = self.reasons.name(key.reason);
        let class = reasons::class(&reason);
        Drop { reason, class, packets: dropped.packets, bytes: dropped.bytes }
    }

    /// Samples of drops whose flows were not counted in this tick.
    fn add_lonely_drops<E: FnMut(Tick)>(
        &mut self,
        parts: &mut Parts<E>,
        beside: &Beside,
        drained: &Drained,
        node: &impl Surroundings,
    ) {
        for (place, (key, dropped)) in drained.drops.iter().enumerate() {
            let Some(told) = beside.lonely(&Tuple::of_drop(key)) else { continue };
            // All reasons of a tuple go into one sample, made where the first of them stands.
            if told.drops.first() != Some(&place) {
                continue;
            }
            let all = || told.drops.iter().filter_map(|place| drained.drops.get(*place));
            let Some(mut sample) = self.only_drops(key, dropped, parts.when.offset, node) else {
                let packets = all().fold(0_u64, |sum, (_, dropped)| sum.saturating_add(dropped.packets));
                self.unwatched = self.unwatched.saturating_add(packets);
                continue;
            };
            sample.drops = all().map(|(key, dropped)| self.drop(key, dropped)).collect();
            parts.push(sample);
        }
    }

    /// A sample for what was dropped without being counted in this tick, at the point where its flow was last seen.
    fn only_drops(&self, key: &DropKey, dropped: &Dropped, offset: i128, node: &impl Surroundings) -> Option<Sample> {
        let at = |tuple: &Direction, hook| Key {
            source: tuple.source,
            destination: tuple.destination,
            source_port: tuple.source_port,
            destination_port: tuple.destination_port,
            protocol: tuple.protocol,
            hook,
            coarsened: abi::COARSENED_NOT,
            zero: 0,
            ifindex: 0,
            sampling: 0,
        };
        let own = Direction {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        };
        // Where it was dropped it may have been translated already.
        let tuples = [Some(own), node.other_side(&own)];
        let seen = tuples.iter().flatten().find_map(|tuple| {
            let known = |hook| self.known.get_key_value(&at(tuple, hook));
            [HOOK_POD_IN, HOOK_LO_OUT, HOOK_POD_OUT, HOOK_LO_IN].into_iter().find_map(known)
        });
        if seen.is_none() && !self.everything {
            return None;
        }
        let (place, host) = match seen {
            Some((known, _)) => (*known, true),
            None if node.is_own(&key.source) => (at(&own, HOOK_HOST_OUT), true),
            None if node.is_own(&key.destination) => (at(&own, HOOK_HOST_IN), true),
            None => (at(&own, HOOK_HOST_OUT), false),
        };
        let flow = Flow {
            first: dropped.first,
            last: dropped.last,
            opened: dropped.opened,
            opener: dropped.opener,
            started: dropped.started,
            ..Flow::default()
        };
        let fresh = Remembered { host, sampling: dropped.sampling, ..Remembered::default() };
        let known = seen.map_or(fresh, |(_, known)| known.clone());
        let mut sample = sample(&place, &flow, &known, node.interface(known.ifindex).0, offset);
        sample.translated = node.other_side(&direction(&place)).map(translated);
        Some(sample)
    }
}

fn of_count(count: Count) -> Totals {
    Totals { packets: count.packets, bytes: count.bytes, samples: 0 }
}

pub(super) fn opposite(end: End) -> End {
    match end {
        End::Source => End::Destination,
        End::Destination => End::Source,
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

/// Whether an interface of a pod also stands for the host, where that is the other end.
fn has_second_report(key: &Key) -> bool {
    matches!(key.hook, HOOK_POD_IN | HOOK_POD_OUT)
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
