//! `weir.initiator` and `weir.responder`: what each reporter counted itself.

use super::is_zero;
use super::object::Object;
use serde::Serialize;
use std::sync::LazyLock;
use weir_flow::protocol::{ACK, FIN, RST, SYN};
use weir_schemas::enriched::{Counters, Report};
use weir_schemas::raw::{DropClass, RoundTrip};

/// TCP flags with their names (RFC 9293, RFC 3168).
const FLAGS: [(u8, &str); 8] = [
    (FIN.to_le_bytes()[0], "FIN"),
    (SYN.to_le_bytes()[0], "SYN"),
    (RST.to_le_bytes()[0], "RST"),
    (0x08, "PSH"),
    (ACK.to_le_bytes()[0], "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

/// Writes what a reporter counted. Counters that are absent are those of the totals: the authority's always are, and the
/// other's where nothing was lost.
pub(super) fn put(mut object: Object<'_>, report: &Report, totals: &Counters) -> Result<(), serde_json::Error> {
    let counters = &report.counters;
    for (name, counted, total) in [
        (r#""forward_bytes":"#, counters.forward_bytes, totals.forward_bytes),
        (r#""forward_packets":"#, counters.forward_packets, totals.forward_packets),
        (r#""reverse_bytes":"#, counters.reverse_bytes, totals.reverse_bytes),
        (r#""reverse_packets":"#, counters.reverse_packets, totals.reverse_packets),
        (r#""started":"#, counters.started, totals.started),
        (r#""ended":"#, counters.ended, totals.ended),
    ] {
        if counted != total {
            object.number(name, counted)?;
        }
    }
    object.rare(r#""retransmits":"#, report.retransmits)?;
    object.rare(r#""zero_windows":"#, report.zero_windows)?;
    object.rare(r#""resets":"#, report.resets)?;
    for (name, times) in [(r#""round_trip":"#, report.round_trip), (r#""handshake":"#, report.handshake)] {
        if let Some(times) = times {
            put_times(object.object(name), times)?;
        }
    }
    if let Some(time) = report.last_forward {
        object.time(r#""last_forward":"#, time)?;
    }
    object.number(r#""sampling":"#, report.sampling.into())?;
    if !report.drops.is_empty() {
        let dropped =
            Dropped { policy: Amounts::of(report, DropClass::Policy), other: Amounts::of(report, DropClass::Other) };
        object.optional(r#""dropped":"#, Some(&dropped).filter(|dropped| !dropped.is_empty()))?;
        object.value(r#""drops":"#, &report.drops)?;
    }
    object.end();
    Ok(())
}

fn put_times(mut object: Object<'_>, times: RoundTrip) -> Result<(), serde_json::Error> {
    object.number(r#""sum":"#, times.sum)?;
    object.number(r#""count":"#, times.count)?;
    object.number(r#""min":"#, times.min)?;
    object.number(r#""max":"#, times.max)?;
    object.end();
    Ok(())
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

impl Dropped {
    fn is_empty(&self) -> bool {
        self.policy.is_empty() && self.other.is_empty()
    }
}

impl Amounts {
    fn of(report: &Report, class: DropClass) -> Self {
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

/// Writes the TCP flags that either reporter saw, by direction; nothing where there were none.
pub(super) fn put_flags(weir: &mut Object<'_>, reports: [Option<&Report>; 2]) {
    let reports = reports.into_iter().flatten();
    let (forward, reverse) =
        reports.fold((0, 0), |(f, r), report| (f | report.forward_tcp_flags, r | report.reverse_tcp_flags));
    // Bits that have no name are not written.
    let [forward, reverse] = [forward, reverse].map(|bits: u16| bits.to_le_bytes()[0]);
    if forward | reverse == 0 {
        return;
    }
    let mut object = weir.object(r#""tcp_flags":"#);
    for (name, bits) in [(r#""forward":"#, forward), (r#""reverse":"#, reverse)] {
        if bits != 0 {
            object.raw(name, &NAMES[usize::from(bits)]);
        }
    }
    object.end();
}

/// Lists of the names of TCP flags, by their bits.
static NAMES: LazyLock<Vec<Box<[u8]>>> = LazyLock::new(|| (0..=u8::MAX).map(names).collect());

fn names(bits: u8) -> Box<[u8]> {
    let names = FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| format!("\"{name}\""));
    format!("[{}]", names.collect::<Vec<_>>().join(",")).into_bytes().into()
}
