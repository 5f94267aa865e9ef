//! `weir.initiator` and `weir.responder`: what each reporter counted itself.

use super::{Time, is_zero};
use serde::Serialize;
use weir_flow::protocol::{ACK, FIN, RST, SYN};
use weir_schemas::enriched::{Counters, DropCounter, Report as Counted};
use weir_schemas::raw::{DropClass, RoundTrip};

/// TCP flags with their names (RFC 9293, RFC 3168).
const FLAGS: [(u16, &str); 8] = [
    (FIN, "FIN"),
    (SYN, "SYN"),
    (RST, "RST"),
    (0x08, "PSH"),
    (ACK, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

/// Counters that are absent are those of the totals: the authority's always are, and the other's where nothing was lost.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reverse_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reverse_packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    retransmits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    zero_windows: u64,
    #[serde(skip_serializing_if = "is_zero")]
    resets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<RoundTrip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<RoundTrip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_forward: Option<Time>,
    sampling: u32,
    #[serde(skip_serializing_if = "Dropped::is_empty")]
    dropped: Dropped,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    drops: &'a [DropCounter],
}

/// Sums of drops by class, so that they can be queried without the list.
#[derive(Serialize)]
struct Dropped {
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    policy: Amounts,
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    other: Amounts,
}

#[derive(Default, PartialEq, Serialize)]
struct Amounts {
    #[serde(skip_serializing_if = "is_zero")]
    forward_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    forward_packets: u64,
    #[serde(skip_serializing_if = "is_zero")]
    reverse_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    reverse_packets: u64,
}

impl<'a> Report<'a> {
    pub(super) fn of(report: &'a Counted, totals: &Counters) -> Self {
        let counters = &report.counters;
        let other = |counted: u64, total: u64| (counted != total).then_some(counted);
        Self {
            forward_bytes: other(counters.forward_bytes, totals.forward_bytes),
            forward_packets: other(counters.forward_packets, totals.forward_packets),
            reverse_bytes: other(counters.reverse_bytes, totals.reverse_bytes),
            reverse_packets: other(counters.reverse_packets, totals.reverse_packets),
            started: other(counters.started, totals.started),
            ended: other(counters.ended, totals.ended),
            retransmits: report.retransmits,
            zero_windows: report.zero_windows,
            resets: report.resets,
            round_trip: report.round_trip,
            handshake: report.handshake,
            last_forward: report.last_forward.map(Time),
            sampling: report.sampling,
            dropped: Dropped {
                policy: Amounts::of(report, DropClass::Policy),
                other: Amounts::of(report, DropClass::Other),
            },
            drops: &report.drops,
        }
    }
}

impl Dropped {
    fn is_empty(&self) -> bool {
        self.policy.is_empty() && self.other.is_empty()
    }
}

impl Amounts {
    fn of(report: &Counted, class: DropClass) -> Self {
        report.drops.iter().filter(|d| d.class == class).fold(Self::default(), |sum, d| Self {
            forward_bytes: super::sum(sum.forward_bytes, d.forward_bytes),
            forward_packets: super::sum(sum.forward_packets, d.forward_packets),
            reverse_bytes: super::sum(sum.reverse_bytes, d.reverse_bytes),
            reverse_packets: super::sum(sum.reverse_packets, d.reverse_packets),
        })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// TCP flags that either reporter saw, by direction.
#[derive(Serialize)]
pub(super) struct Flags {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forward: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reverse: Vec<&'static str>,
}

impl Flags {
    pub(super) fn of<'a>(reports: impl Iterator<Item = &'a Counted>) -> Self {
        let (forward, reverse) =
            reports.fold((0, 0), |(f, r), report| (f | report.forward_tcp_flags, r | report.reverse_tcp_flags));
        let names = |bits: u16| FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
        Self { forward: names(forward), reverse: names(reverse) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forward.is_empty() && self.reverse.is_empty()
    }
}
