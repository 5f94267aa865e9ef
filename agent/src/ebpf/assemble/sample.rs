//! One sample of what the kernel counted of one flow. Pure.

use super::{Remembered, opposite};
use crate::abi::{self, Dropped, Flow, HOOK_HOST_OUT, HOOK_LO_OUT, HOOK_POD_IN, HOOK_POD_OUT, Key, Times};
use std::net::{IpAddr, Ipv6Addr};
use weir_flow::{Address, Millis};
use weir_schemas::raw::{Coarsening, End, OpenedBy, Point, RoundTrip, Sample};

pub(in crate::ebpf) fn address(bytes: [u8; 16]) -> Address {
    Address::new(IpAddr::V6(Ipv6Addr::from(bytes)))
}

pub(in crate::ebpf) fn end(hook: u8) -> End {
    match hook {
        HOOK_POD_IN | HOOK_HOST_OUT | HOOK_LO_OUT => End::Source,
        _ => End::Destination,
    }
}

/// Where a flow was seen.
pub(super) fn point(key: &Key, underlay: bool, host: bool) -> Point {
    match key.hook {
        HOOK_POD_IN | HOOK_POD_OUT => Point::Pod,
        _ if underlay => Point::Underlay,
        _ if host => Point::Host,
        _ => Point::Transit,
    }
}

pub(super) fn times(times: &Times) -> Option<RoundTrip> {
    (times.count > 0).then(|| RoundTrip {
        sum: times.sum,
        count: u64::from(times.count),
        min: u64::from(times.min),
        max: u64::from(times.max),
    })
}

/// A report of the end that was not reached, where a policy on this node dropped what had come in by an interface of the
/// host: what is seen in transit stands for no end, so that nobody would tell. Nothing passed there, or it would have a
/// report of its own.
pub(super) fn undelivered(seen: &Sample, dropped: &Dropped, offset: i128) -> Option<Sample> {
    (seen.point == Point::Transit && seen.end == End::Destination).then(|| Sample {
        point: Point::Pod,
        interface: String::new(),
        first_seen: wall(dropped.first, offset),
        last_seen: wall(dropped.last.max(dropped.first), offset),
        bytes: 0,
        packets: 0,
        tcp_flags: 0,
        ended: 0,
        cumulative_bytes: 0,
        cumulative_packets: 0,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        handshake: None,
        zero_windows: 0,
        resets: 0,
        ..seen.clone()
    })
}

/// The host's report of what goes between a pod and the host itself, which no other interface sees: one packet, two ends,
/// two reports.
pub(super) fn other_end(sample: &Sample, known: &Remembered) -> Sample {
    Sample { point: Point::Host, end: opposite(sample.end), process: process(known), ..sample.clone() }
}

fn process(known: &Remembered) -> Option<String> {
    let name = known.process.as_ref()?.split(|byte| *byte == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn wall(time: u64, offset: i128) -> Millis {
    Millis::try_from((i128::from(time) + offset).div_euclid(1_000_000)).unwrap_or(Millis::MAX)
}

pub(super) fn sample(key: &Key, flow: &Flow, known: &Remembered, interface: &str, offset: i128) -> Sample {
    let is_coarse = key.coarsened != abi::COARSENED_NOT;
    let point = point(key, known.underlay, known.host);
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
        first_seen: wall(flow.first, offset),
        last_seen: wall(flow.last.max(flow.first), offset),
        bytes: flow.bytes,
        packets: flow.packets,
        tcp_flags: u16::try_from(flow.tcp_flags).unwrap_or(u16::MAX),
        started: u64::from(flow.started),
        ended: u64::from(flow.ended),
        opened_at: (flow.opened != 0).then(|| wall(flow.opened, offset)),
        cumulative_bytes: known.bytes,
        cumulative_packets: known.packets,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: if point == Point::Host { process(known) } else { None },
        sampling: known.sampling.max(1),
    }
}
