//! A flow as the API and the page show it.

mod document;
mod name;
mod policy;
mod record;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

pub use document::{DocumentError, from_document};
pub use policy::Policy;
pub use record::from_record;

/// One flow record. Directions: forward is from the source, the end that opened the connections, to the destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The id of the record's document; a later correction has the same.
    pub id: String,
    /// 0 for the original.
    pub correction: u64,
    /// Start of the window, ISO 8601.
    pub time: String,
    /// Start of the window, ms since the epoch.
    #[serde(skip)]
    pub window: i64,
    /// Length of the window, ms.
    pub window_length: i64,
    /// First packet, ISO 8601.
    pub first_seen: String,
    /// Last packet, ISO 8601.
    pub last_seen: String,
    /// The generation in which it was written, ISO 8601.
    pub generation: String,
    /// Aggregation level, 0 to 3.
    pub level: u64,
    /// `ebpf`, `capture` or `demo`.
    pub origin: String,
    /// The cluster's id.
    pub cluster: String,
    /// Whether Kubernetes names could be had.
    pub cluster_known: bool,
    /// `allow`, `deny` or `mixed`.
    pub action: String,
    /// `ok`, `never` or `unknown`.
    pub arrival: String,
    /// Why arrival is unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arrival_reason: String,
    /// `tcp`, `udp` … or the protocol's number.
    pub protocol: String,
    /// The end that opened the connections.
    pub source: End,
    /// The other end.
    pub destination: End,
    /// Totals, each byte counted once.
    pub totals: Totals,
    /// Reasons of drops, the kernel's names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_reasons: Vec<String>,
    /// TCP flags seen.
    #[serde(skip_serializing_if = "TcpFlags::is_empty")]
    pub tcp_flags: TcpFlags,
    /// What each reporter counted itself.
    pub reports: Vec<Report>,
    /// Whether a limit coarsened it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub coarsened: bool,
    /// Whether who opened the connection was guessed by port.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub orientation_guessed: bool,
    /// Whether an address translation was unknown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untranslated: bool,
    /// How many samples were merged.
    pub samples: u64,
    /// What policies said; absent where nothing was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// One end of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// What to call it: pod, workload, service, process, host … or its address.
    pub name: String,
    /// What stands below the name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What the name is.
    pub kind: EndKind,
    /// `exact`, `ambiguous` or `none`.
    pub attribution: String,
    /// `uid`, `address` or `nothing`.
    pub identified_by: String,
    /// Why nobody is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who it may be when ambiguous.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Whether the identity comes from a source without times.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub always_valid: bool,
    /// Where the address belongs.
    pub scope: String,
    /// The address; levels 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Addresses behind the record; levels 2 and 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Addresses that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub addresses_more: u64,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u64>,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pod; levels 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Pods behind the record, `namespace/pod`; levels 2 and 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// Pods that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub pods_more: u64,
    /// Kind of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_kind: Option<String>,
    /// Name of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Zone of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Service `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Labels, `key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Container id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Process name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Host that is no node of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Named network set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_set: Option<String>,
}

/// What the name of an end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// A pod.
    Pod,
    /// A workload.
    Workload,
    /// A service.
    Service,
    /// A process on a host.
    Process,
    /// A container without a pod.
    Container,
    /// A host or a node.
    Host,
    /// A named network set.
    NetworkSet,
    /// A namespace of which no more is known.
    Namespace,
    /// An address.
    Address,
    /// Nothing at all is known.
    #[default]
    Unknown,
}

/// Additive counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// L3 bytes from source to destination.
    pub forward_bytes: u64,
    /// Packets from source to destination.
    pub forward_packets: u64,
    /// L3 bytes from destination to source.
    pub reverse_bytes: u64,
    /// Packets from destination to source.
    pub reverse_packets: u64,
    /// Connections started.
    pub started: u64,
    /// Connections ended.
    pub ended: u64,
}

/// TCP flags by direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TcpFlags {
    /// From the source.
    pub forward: Vec<String>,
    /// From the destination.
    pub reverse: Vec<String>,
}

impl TcpFlags {
    fn is_empty(&self) -> bool {
        self.forward.is_empty() && self.reverse.is_empty()
    }
}

/// What one reporter counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `initiator` or `responder`.
    pub reporter: &'static str,
    /// Passed packets.
    pub counters: Totals,
    /// TCP segments sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retransmits: u64,
    /// Round-trip times, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<Times>,
    /// Last packet from source to destination, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_forward: Option<String>,
    /// Highest sampling factor; 1 = nothing was sampled.
    pub sampling: u64,
    /// Drops by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<Drop>,
}

/// Merged round-trip times, µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Mean, rounded down.
    pub mean: u64,
    /// Smallest.
    pub min: u64,
    /// Largest.
    pub max: u64,
    /// How many.
    pub count: u64,
}

/// Drops for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drop {
    /// The kernel's name.
    pub reason: String,
    /// `policy` or `other`.
    pub class: String,
    /// Packets from source to destination.
    pub forward_packets: u64,
    /// Bytes from source to destination.
    pub forward_bytes: u64,
    /// Packets from destination to source.
    pub reverse_packets: u64,
    /// Bytes from destination to source.
    pub reverse_bytes: u64,
}

impl Times {
    fn new(sum: u64, count: u64, min: u64, max: u64) -> Option<Self> {
        Some(Self { mean: sum.checked_div(count)?, min, max, count })
    }
}

impl End {
    /// Every address of the end that is known.
    pub(crate) fn known_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.iter().chain(&self.addresses).filter_map(|text| text.parse().ok())
    }

    fn named(mut self) -> Self {
        let (kind, name, detail) = name::of(&self);
        (self.kind, self.name, self.detail) = (kind, name, detail);
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The word that a value without fields is written as.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Milliseconds since the epoch as ISO 8601 in UTC, to the millisecond.
pub(crate) fn iso(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map(|time| format!("{time:.3}")).unwrap_or_default()
}
