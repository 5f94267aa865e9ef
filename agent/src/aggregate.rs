//! From packets to samples, the way the kernel programs count. Pure: time comes with the packets.

use crate::packet::Packet;
use crate::tick::{Tick, add, merge_times};
use std::collections::{BTreeMap, HashMap};
use weir_flow::protocol::{ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP};
use weir_flow::time::floor_to;
use weir_flow::{Address, Millis};
use weir_schemas::raw::{Coarsening, End, OpenedBy, Point, RoundTrip, Sample, Totals};

#[cfg(test)]
mod tests;

/// A conversation without TCP's flags has ended when nothing came for this long.
const IDLE: Millis = 60_000;
/// A TCP connection that was silent for this long is forgotten when there is no room.
const SILENT: Millis = 3_600_000;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

/// Both directions: the lower end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    low: (Address, u16),
    high: (Address, u16),
    protocol: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Low,
    High,
}

impl Side {
    fn index(self) -> usize {
        match self {
            Self::Low => 0,
            Self::High => 1,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Connection {
    opener: Option<Side>,
    opened: Option<Millis>,
    sequence: u32,
    ended: bool,
    /// When a SYN came that is not answered yet, ns.
    asked: Option<i128>,
    last: Millis,
    /// Conversations begun that only silence can end.
    open: u64,
    /// Bytes and packets since it was first seen, by sender.
    cumulative: [(u64, u64); 2],
    /// The last sample's key by the opener, to say the end under.
    key: Option<Key>,
}

#[derive(Clone, Debug)]
struct Counted {
    first: Millis,
    last: Millis,
    bytes: u64,
    packets: u64,
    flags: u16,
    started: u64,
    ended: u64,
    zero_windows: u64,
    resets: u64,
    handshake: Option<RoundTrip>,
}

/// What a packet means for its connection.
struct Events {
    started: bool,
    ended: bool,
    /// From SYN to this SYN-ACK, µs.
    handshake: Option<u64>,
}

/// Counts packets into ticks.
#[derive(Debug)]
pub struct Aggregator {
    tick_length: Millis,
    limit: usize,
    running: Option<Millis>,
    flows: BTreeMap<Key, Counted>,
    lost: BTreeMap<String, Totals>,
    connections: HashMap<Ends, Connection>,
    /// Packets older than the running tick, counted in it all the same.
    late: u64,
}

impl Aggregator {
    /// Ticks of `tick_length` ms; at most `limit` connections are remembered.
    #[must_use]
    pub fn new(tick_length: Millis, limit: usize) -> Self {
        Self {
            tick_length: tick_length.max(1),
            limit,
            running: None,
            flows: BTreeMap::new(),
            lost: BTreeMap::new(),
            connections: HashMap::new(),
            late: 0,
        }
    }

    /// How many packets came with a time before the running tick; they are counted in it.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Moves on to the tick of `time`; gives the tick that has ended, if one has. To be called before each packet.
    pub fn advance(&mut self, time: Millis) -> Option<Tick> {
        let tick = floor_to(time, self.tick_length);
        match self.running {
            Some(running) if tick < running => {
                self.late += 1;
                None
            }
            Some(running) if tick == running => None,
            Some(_) => {
                let ended = self.finish();
                self.running = Some(tick);
                ended
            }
            None => {
                self.running = Some(tick);
                None
            }
        }
    }

    /// Counts a packet of a time in ns since the epoch in the running tick.
    pub fn add(&mut self, nanos: i128, packet: &Packet) {
        let time = Millis::try_from(nanos.div_euclid(1_000_000)).unwrap_or(Millis::MAX);
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            protocol: packet.protocol,
        };
        let events = self.connect(nanos, time, packet, key);
        let flow = self.flows.entry(key).or_insert(Counted {
            first: time,
            last: time,
            bytes: 0,
            packets: 0,
            flags: 0,
            started: 0,
            ended: 0,
            zero_windows: 0,
            resets: 0,
            handshake: None,
        });
        flow.first = flow.first.min(time);
        flow.last = flow.last.max(time);
        flow.bytes = flow.bytes.saturating_add(packet.bytes);
        flow.packets += 1;
        flow.flags |= packet.flags;
        flow.started += u64::from(events.started);
        flow.ended += u64::from(events.ended);
        flow.zero_windows += u64::from(packet.stalled);
        flow.resets += u64::from(packet.protocol == TCP && packet.flags & RST != 0);
        let time = events.handshake.map(|time| RoundTrip { sum: time, count: 1, min: time, max: time });
        flow.handshake = merge_times(flow.handshake, time);
    }

    /// Counts what could not be read.
    pub fn lose(&mut self, reason: &str, bytes: u64) {
        add(self.lost.entry(reason.to_owned()).or_default(), Totals { packets: 1, bytes, samples: 0 });
    }

    /// Ends the running tick, at the end of a capture.
    pub fn finish(&mut self) -> Option<Tick> {
        let start = self.running.take()?;
        let mut samples: Vec<Sample> =
            std::mem::take(&mut self.flows).into_iter().map(|(key, flow)| self.sample(key, &flow)).collect();
        samples.extend(self.end_idle(start.saturating_add(self.tick_length)));
        let lost = std::mem::take(&mut self.lost);
        Some(Tick { start, ticks: 1, samples, lost, ..Tick::default() })
    }

    /// What the packet means for its connection.
    fn connect(&mut self, nanos: i128, time: Millis, packet: &Packet, key: Key) -> Events {
        let (ends, side) = ends(key);
        if !self.connections.contains_key(&ends) && self.connections.len() >= self.limit {
            self.connections.retain(|_, known| time.saturating_sub(known.last) < SILENT);
            if self.connections.len() >= self.limit {
                return Events { started: false, ended: false, handshake: None };
            }
        }
        let tcp = key.protocol == TCP;
        let fresh = !self.connections.contains_key(&ends);
        let known = self.connections.entry(ends).or_default();
        let synchronizing = packet.flags & (SYN | ACK);
        let opens = if tcp {
            synchronizing == SYN && (fresh || known.sequence != packet.sequence || known.opened.is_none())
        } else {
            fresh || time.saturating_sub(known.last) > IDLE
        };
        if opens {
            known.opener = Some(side);
            known.opened = Some(time);
            known.sequence = packet.sequence;
            known.ended = false;
            known.asked = (tcp && packet.flags & (SYN | ACK) == SYN).then_some(nanos);
            known.open += u64::from(!tcp);
            known.key = Some(key);
        } else if tcp && synchronizing == SYN | ACK && known.opener.is_none() {
            known.opener = Some(if side == Side::Low { Side::High } else { Side::Low });
        }
        let asked = if tcp && synchronizing == SYN | ACK { known.asked.take() } else { None };
        let handshake = asked.and_then(|asked| u64::try_from((nanos - asked) / 1_000).ok());
        let ended = tcp && packet.flags & (FIN | RST) != 0 && !known.ended;
        known.ended |= ended;
        known.last = known.last.max(time);
        let sum = &mut known.cumulative[side.index()];
        *sum = (sum.0.saturating_add(packet.bytes), sum.1.saturating_add(1));
        Events { started: opens, ended, handshake }
    }

    fn sample(&self, key: Key, flow: &Counted) -> Sample {
        let (ends, side) = ends(key);
        let known = self.connections.get(&ends);
        let opener = known.and_then(|known| known.opener);
        let cumulative = known.map_or((flow.bytes, flow.packets), |known| known.cumulative[side.index()]);
        Sample {
            zero_windows: flow.zero_windows,
            coarsened: Coarsening::None,
            handshake: flow.handshake,
            resets: flow.resets,
            point: Point::Capture,
            end: End::Source,
            interface: String::new(),
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            translated: None,
            opened_by: match opener {
                None => OpenedBy::Unknown,
                Some(opener) if opener == side => OpenedBy::Source,
                Some(_) => OpenedBy::Destination,
            },
            first_seen: flow.first,
            last_seen: flow.last,
            bytes: flow.bytes,
            packets: flow.packets,
            tcp_flags: flow.flags,
            started: flow.started,
            ended: flow.ended,
            opened_at: known.and_then(|known| known.opened),
            cumulative_bytes: cumulative.0,
            cumulative_packets: cumulative.1,
            drops: Vec::new(),
            retransmits: 0,
            round_trip: None,
            pod_uid: None,
            container: None,
            process: None,
            sampling: 1,
        }
    }

    /// Forgets conversations that have been silent, and says that they ended.
    fn end_idle(&mut self, now: Millis) -> Vec<Sample> {
        let mut silent: Vec<(Key, u64, Millis)> = Vec::new();
        self.connections.retain(|ends, known| {
            let idle = ends.protocol != TCP && now.saturating_sub(known.last) > IDLE;
            if let (true, Some(key)) = (idle && known.open > 0, known.key) {
                silent.push((key, known.open, known.last));
            }
            !idle
        });
        silent.sort_unstable_by_key(|(key, ..)| *key);
        silent
            .into_iter()
            .map(|(key, open, last)| {
                let nothing = Counted {
                    first: last,
                    last,
                    bytes: 0,
                    packets: 0,
                    flags: 0,
                    started: 0,
                    ended: open,
                    zero_windows: 0,
                    resets: 0,
                    handshake: None,
                };
                Sample { opened_by: OpenedBy::Source, ..self.sample(key, &nothing) }
            })
            .collect()
    }
}

/// Both ends in a fixed order, and which of them sends. An ICMP conversation is known by its addresses.
fn ends(key: Key) -> (Ends, Side) {
    let ports = if matches!(key.protocol, ICMP | ICMPV6) { (0, 0) } else { (key.source_port, key.destination_port) };
    let (source, destination) = ((key.source, ports.0), (key.destination, ports.1));
    if source <= destination {
        (Ends { low: source, high: destination, protocol: key.protocol }, Side::Low)
    } else {
        (Ends { low: destination, high: source, protocol: key.protocol }, Side::High)
    }
}
