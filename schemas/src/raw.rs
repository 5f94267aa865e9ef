//! Topic `flows.raw.v1[.<cluster>]`, key = node: what the agents counted.

use serde::{Deserialize, Serialize};
use weir_flow::{Address, Millis};

pub mod bounds;
pub mod columns;

/// A text of a sample: a `String`, or an `Arc<str>` that samples share.
pub trait Text: AsRef<str> + Clone + Default + for<'a> From<&'a str> {}

impl<T: AsRef<str> + Clone + Default + for<'a> From<&'a str>> Text for T {}

/// One batch: all that one node counted in one tick, or a part of it when that would exceed 900 kB.
///
/// No text of it is longer than [`bounds`] says: a longer one is refused when it is read.
///
/// Its samples' texts are of type `T`: those of one batch are few, and whoever keeps many batches shares them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "columns::ColumnBatch", try_from = "columns::ColumnBatch", bound = "T: Text")]
pub struct RawBatch<T = String> {
    /// The cluster's id.
    pub cluster: String,
    /// The node's name in the cluster; the host name where there is no cluster.
    pub node: String,
    /// One start of the agent process (a UUID in text); sequence and cumulative counters begin anew with it.
    pub boot: String,
    /// 0, 1, 2 … per boot; a gap is a lost batch.
    pub sequence: u64,
    /// Start of the (first) tick, ms since the epoch.
    pub tick: Millis,
    /// Length of a tick in ms, as the agent was told.
    pub tick_length: Millis,
    /// How many ticks were merged into this batch: 1, or more after Kafka was away; never across a window's border.
    pub ticks: u32,
    /// This part's number, 0 to `parts` − 1.
    pub part: u32,
    /// How many parts the tick was split into, as far as was known: certain in the last part, at least `part` + 2 in one before it.
    pub parts: u32,
    /// What produced the samples.
    pub origin: Origin,
    /// All that reached the agent's programs since boot, up to the end of this tick.
    pub seen: Totals,
    /// All that was put into batches since boot, this one included.
    pub published: Totals,
    /// All that was lost since boot, by reason. seen = published + the sum of these.
    pub lost: Vec<Loss>,
    /// The samples; empty in a heartbeat.
    pub samples: Vec<Sample<T>>,
    /// DNS questions that clients on this node asked, with their answers.
    pub dns: Vec<DnsSample>,
}

/// What produced a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The kernel of a live node, by eBPF.
    Ebpf,
    /// A capture file.
    Capture,
    /// The simulated cluster of `--demo`.
    Demo,
    /// Nobody saw anything: a heartbeat written by a partition's owner in the enricher.
    Owner,
}

/// Packets, bytes and samples, as additive counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// L3 bytes as on the wire.
    pub bytes: u64,
    /// Samples (flow entries).
    pub samples: u64,
}

/// A named loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The counter's name, e.g. `map_full`, `buffer_full`, `parse`.
    pub reason: String,
    /// How much.
    pub lost: Totals,
}

/// One flow in one direction, seen at one observation point of one node in one tick, as deltas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample<T = String> {
    /// Where it was seen.
    pub point: Point,
    /// Which end of the packet's way the point stands for.
    pub end: End,
    /// Name of the interface, as in the agent's network namespace; empty where there is none.
    pub interface: T,
    /// The packets' source address, as seen at the point.
    pub source: Address,
    /// The packets' destination address, as seen at the point.
    pub destination: Address,
    /// The source port; 0 where the protocol has none.
    pub source_port: u16,
    /// The destination port; for ICMP type × 256 + code.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// The other tuple where the connection is translated and the agent knows it.
    pub translated: Option<Tuple>,
    /// Who opened the connection.
    pub opened_by: OpenedBy,
    /// First packet of the tick, ms since the epoch.
    pub first_seen: Millis,
    /// Last packet of the tick, ms since the epoch.
    pub last_seen: Millis,
    /// L3 bytes as on the wire, before correction for sampling; a GSO/GRO super-packet counts the headers of each of its segments.
    pub bytes: u64,
    /// Packets as on the wire; a GSO/GRO super-packet counts as its segments.
    pub packets: u64,
    /// TCP flags seen, or-ed (RFC 9293).
    pub tcp_flags: u16,
    /// Connections started in the tick: SYN for TCP, first packet otherwise.
    pub started: u64,
    /// Connections ended in the tick: FIN or RST for TCP, idle time-out otherwise.
    pub ended: u64,
    /// When the connection was opened, ms since the epoch; absent when not seen.
    pub opened_at: Option<Millis>,
    /// Bytes of this flow, direction and point since it was first seen.
    pub cumulative_bytes: u64,
    /// Packets of this flow, direction and point since it was first seen.
    pub cumulative_packets: u64,
    /// What of the flow was dropped on this node in the tick, by the kernel's reason.
    pub drops: Vec<Drop>,
    /// TCP segments sent again in the tick.
    pub retransmits: u64,
    /// Smoothed round-trip times seen in the tick; absent without TCP statistics.
    pub round_trip: Option<RoundTrip>,
    /// Times from SYN to SYN-ACK seen in the tick; absent where none was.
    pub handshake: Option<RoundTrip>,
    /// TCP segments that announced a window of zero in the tick.
    pub zero_windows: u64,
    /// TCP segments with RST in the tick.
    pub resets: u64,
    /// UID of the pod at this end where the node can tell (cgroup, network namespace).
    pub pod_uid: Option<T>,
    /// Container at this end where the node can tell: its name, or the first digits of its id.
    pub container: Option<T>,
    /// Process name at this end, for host traffic, where the node can tell.
    pub process: Option<T>,
    /// Sampling factor: 1 = every packet, n = one in n. Readers multiply.
    pub sampling: u32,
    /// What the agent left out of the tuple because its map was filling.
    pub coarsened: Coarsening,
}

/// What an agent under pressure leaves out of a tuple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coarsening {
    /// Nothing.
    #[default]
    None,
    /// The port of the end that opened the connection: 0 stands for any.
    SourcePort,
    /// That port, and the host bits of addresses: they are networks of 24 (IPv4) or 64 bits (IPv6).
    Prefix,
}

/// One DNS question of one client to one server with one outcome, in one tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSample {
    /// Where it was seen.
    pub point: Point,
    /// Which end of the question's way the point stands for.
    pub end: End,
    /// Name of the interface, as in the agent's network namespace; empty where there is none.
    pub interface: String,
    /// Who asked.
    pub client: Address,
    /// Who was asked.
    pub server: Address,
    /// The server's port.
    pub server_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// The question's name, lower case, without the last dot.
    pub question: String,
    /// The question's type, IANA number (RFC 1035 §3.2.2).
    pub question_type: u16,
    /// The answer's code, IANA number (RFC 1035 §4.1.1); absent when no answer was seen in time.
    pub response_code: Option<u16>,
    /// How often.
    pub count: u64,
    /// Time from question to answer; absent when no answer was seen in time.
    pub latency: Option<RoundTrip>,
    /// Addresses in the answers, sorted, bounded.
    pub answers: Vec<Address>,
    /// How many addresses are not listed.
    pub answers_more: u64,
    /// UID of the client's pod where the node can tell.
    pub pod_uid: Option<String>,
    /// Container of the client where the node can tell: its name, or the first digits of its id.
    pub container: Option<String>,
    /// Process name of the client where the node can tell.
    pub process: Option<String>,
}

/// Observation points by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// A pod's interface pair: `end: source` is from-pod, `end: destination` is to-pod.
    Pod,
    /// A host interface, and the packet's socket is the host's.
    Host,
    /// A host interface, and the packet belongs to neither of the host's sockets: forwarded or masqueraded. Outside totals.
    Transit,
    /// The outer headers of a tunnel. Outside totals.
    Underlay,
    /// A capture file's point of capture, one observer for both ends.
    Capture,
}

/// Which end of a packet's way an observation stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The sender's end: from-pod, or leaving a host's socket.
    Source,
    /// The receiver's end: to-pod, or arriving at a host's socket.
    Destination,
}

/// A translated tuple, in the direction of the sample's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// Who opened the connection of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenedBy {
    /// The sample's source.
    Source,
    /// The sample's destination.
    Destination,
    /// Not seen: the enricher orients by port and flags it.
    Unknown,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The kernel's name, e.g. `NETFILTER_DROP`, with the subsystem's bits kept where there are any.
    pub reason: String,
    /// Whether it is what a policy does.
    pub class: DropClass,
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
}

/// What a drop's reason stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropClass {
    /// netfilter, tc or eBPF: what a policy does.
    Policy,
    /// No route, no listener, checksum, memory …
    Other,
}

/// Merged round-trip times, µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Sum, µs.
    pub sum: u64,
    /// How many were summed; at least 1.
    pub count: u64,
    /// Smallest, µs.
    pub min: u64,
    /// Largest, µs.
    pub max: u64,
}
