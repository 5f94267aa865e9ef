//! The border to the kernel: what `bpf/flow_abi.h` says, the few system calls that no crate in use wraps, and what the C
//! library's allocator is told.
//!
//! This is the only module with `unsafe`. Everything that it gives out is a plain value.

#![allow(unsafe_code, reason = "the border to the kernel: each block says why it is sound")]

use aya::Pod;

mod kernel;
pub mod memory;
mod netlink;
mod ring;
mod shared;
mod table;
#[cfg(test)]
mod tests;

pub use kernel::{Config, drain_map, monotonic, raise_locked_memory, random, wall_offset};
pub use netlink::{NetlinkEvents, netlink_dump, netlink_dump_of};
pub use ring::{RING, Ring};
pub use table::{SLOTS_MAX, SLOTS_MIN, Table};

/// Version of this border, as `WEIR_ABI_VERSION`.
pub const VERSION: u32 = 4;

/// Ingress at the host side of a pod's veth pair.
pub const HOOK_POD_IN: u8 = 0;
/// Egress at the host side of a pod's veth pair.
pub const HOOK_POD_OUT: u8 = 1;
/// Ingress at a host interface.
pub const HOOK_HOST_IN: u8 = 2;
/// Egress at a host interface.
pub const HOOK_HOST_OUT: u8 = 3;
/// Ingress at the loopback interface.
pub const HOOK_LO_IN: u8 = 4;
/// Egress at the loopback interface.
pub const HOOK_LO_OUT: u8 = 5;

/// The flow's source opened the connection.
pub const OPENER_SOURCE: u32 = 1;
/// The flow's destination opened the connection.
pub const OPENER_DESTINATION: u32 = 2;

/// The host's own stack is an end of the flow at its hook.
pub const FLOW_HOST: u32 = 1;
/// [`FLOW_HOST`] was concluded from the address alone.
pub const FLOW_NO_SOCKET: u32 = 2;
/// Egress of packets that came in on another interface.
pub const FLOW_FORWARDED: u32 = 4;
/// A tunnel's outer headers.
pub const FLOW_UNDERLAY: u32 = 8;

/// The tuple is whole.
pub const COARSENED_NOT: u8 = 0;
/// The opener's port is left out.
pub const COARSENED_PORT: u8 = 1;
/// The opener's port and the host bits of addresses are left out.
pub const COARSENED_PREFIX: u8 = 2;

/// All UDP packets to the port are a tunnel's.
pub const TUNNEL_TO: u32 = 1;
/// UDP packets to or from the port are a tunnel's where they begin as WireGuard's do.
pub const TUNNEL_WIREGUARD: u32 = 2;
/// The most ports of tunnels.
pub const TUNNELS: usize = 128;

/// The most capture rules.
pub const RULES: usize = 32;
/// The most ports of DNS servers.
pub const DNS_PORTS: usize = 8;

/// Index of each counter, as in `enum weir_counter`.
pub const COUNT_SEEN: usize = 0;
/// Lost: broken headers.
pub const COUNT_PARSE: usize = 2;
/// Lost: no room for a flow.
pub const COUNT_MAP_FULL: usize = 3;
/// Lost: left out by a capture rule.
pub const COUNT_FILTERED: usize = 9;
/// Lost: of a sampled flow that was not chosen.
pub const COUNT_SAMPLED_OUT: usize = 10;
/// Names of the counters by index, as they are exported.
pub const COUNTER_NAMES: [&str; 18] = [
    "seen",
    "not_ip",
    "parse",
    "map_full",
    "connection_full",
    "drop_seen",
    "drop_parse",
    "drop_map_full",
    "drop_elsewhere",
    "filtered",
    "sampled_out",
    "coarse_port",
    "coarse_prefix",
    "dns_seen",
    "dns_full",
    "tcp_full",
    "drop_filtered",
    "translation_full",
];
/// Number of counters.
pub const COUNTERS: usize = COUNTER_NAMES.len();

/// `struct weir_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Source address in network order, IPv4 mapped into IPv6.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination port; for ICMP type × 256 + code.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// One of the `HOOK_` values.
    pub hook: u8,
    /// One of the `COARSENED_` values.
    pub coarsened: u8,
    /// Always 0.
    pub zero: u8,
    /// Interface at the host hooks and of networks, else 0.
    pub ifindex: u32,
    /// The sampling factor where the tuple is coarsened, else 0.
    pub sampling: u32,
}

/// `struct weir_times`, µs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Sum.
    pub sum: u64,
    /// How many.
    pub count: u32,
    /// Smallest; 0 where there is none.
    pub min: u32,
    /// Largest.
    pub max: u32,
    /// Always 0.
    pub zero: u32,
}

/// `struct weir_flow`; times are ns of the monotonic clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// L3 bytes as on the wire.
    pub bytes: u64,
    /// Packets as on the wire.
    pub packets: u64,
    /// Last packet.
    pub last: u64,
    /// TCP flags, or-ed.
    pub tcp_flags: u32,
    /// `FLOW_` values, or-ed.
    pub flags: u32,
    /// First packet.
    pub first: u64,
    /// When the connection was opened; 0 when not seen.
    pub opened: u64,
    /// Interface of the first packet.
    pub ifindex: u32,
    /// Connections started.
    pub started: u32,
    /// Connections ended.
    pub ended: u32,
    /// One of the `OPENER_` values, or 0.
    pub opener: u32,
    /// TCP segments that announced no window.
    pub zero_windows: u32,
    /// TCP segments with RST.
    pub resets: u32,
    /// One connection of this many is counted.
    pub sampling: u32,
    /// 1 where another entry of the same buffer may be of the same key.
    pub again: u32,
    /// Times from SYN to SYN-ACK.
    pub handshake: Times,
    /// Command name of the process that made the socket, padded with zeros.
    pub process: [u8; 16],
}

/// `struct weir_connection_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// The lower end's address.
    pub low: [u8; 16],
    /// The other end's address.
    pub high: [u8; 16],
    /// The lower end's port.
    pub low_port: u16,
    /// The other end's port.
    pub high_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub zero: [u8; 3],
}

/// `struct weir_connection`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// When it was opened; 0 when not seen.
    pub opened: u64,
    /// When it was last looked at.
    pub last: u64,
    /// Initial sequence number.
    pub isn: u32,
    /// 0 unknown, 1 low, 2 high.
    pub opener: u8,
    /// 1 when it left a host interface without being the host's own.
    pub forwarded: u8,
    /// Bit per reporter.
    pub started: u8,
    /// Bit per reporter.
    pub ended: u8,
    /// When each reporter saw a SYN that is not answered yet, µs modulo 2³²; 0 for none.
    pub syn: [u32; 4],
}

/// `struct weir_tcp_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpKey {
    /// The socket's own address.
    pub source: [u8; 16],
    /// Its peer's.
    pub destination: [u8; 16],
    /// The socket's own port.
    pub source_port: u16,
    /// Its peer's.
    pub destination_port: u16,
}

/// `struct weir_tcp`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Smoothed round-trip times.
    pub round_trip: Times,
    /// Segments sent again.
    pub retransmits: u32,
    /// Always 0.
    pub zero: u32,
}

/// `struct weir_rule`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Address of the network.
    pub network: [u8; 16],
    /// Its mask; zeros for any address.
    pub mask: [u8; 16],
    /// Lowest port.
    pub port_low: u16,
    /// Highest port.
    pub port_high: u16,
    /// IANA protocol number; 0 for any.
    pub protocol: u8,
    /// Always 0.
    pub zero: [u8; 3],
    /// 0: left out; 1: kept; n: one connection in n is kept.
    pub factor: u32,
}

/// `struct weir_tuple`: one direction of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address, IPv4 mapped into IPv6.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub zero: [u8; 3],
}

/// A payload that the kernel programs handed on: `struct weir_message` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// ns of the monotonic clock.
    pub time: u64,
    /// Its packet's key.
    pub key: Key,
    /// Its flow's `FLOW_` values.
    pub flags: u32,
    /// Its packet's interface.
    pub ifindex: u32,
    /// Its flow's sampling factor.
    pub sampling: u32,
    /// The payload's length.
    pub length: u32,
    /// The payload's first bytes.
    pub payload: Vec<u8>,
    /// Where it began in the ring buffer, in bytes since that was made.
    pub position: u64,
}

impl Message {
    const HEADER: usize = 80;

    /// Reads an entry of the ring buffer that began at `position`; nothing when it is too short for what it says of itself.
    #[must_use]
    pub fn read(position: u64, entry: &[u8]) -> Option<Self> {
        let header = entry.get(..Self::HEADER)?;
        let bytes = |at: usize| -> Option<[u8; 16]> { header.get(at..at + 16)?.try_into().ok() };
        let number = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let port = |at: usize| Some(u16::from_ne_bytes(header.get(at..at + 2)?.try_into().ok()?));
        let captured = usize::try_from(number(72)?).ok()?;
        Some(Self {
            time: u64::from_ne_bytes(header.get(..8)?.try_into().ok()?),
            key: Key {
                source: bytes(8)?,
                destination: bytes(24)?,
                source_port: port(40)?,
                destination_port: port(42)?,
                protocol: *header.get(44)?,
                hook: *header.get(45)?,
                coarsened: *header.get(46)?,
                zero: 0,
                ifindex: number(48)?,
                sampling: number(52)?,
            },
            flags: number(56)?,
            ifindex: number(60)?,
            sampling: number(64)?,
            length: number(68)?,
            payload: entry.get(Self::HEADER..)?.get(..captured)?.to_vec(),
            position,
        })
    }
}

/// `struct weir_drop_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DropKey {
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub zero: [u8; 3],
    /// The running kernel's number of the reason.
    pub reason: u32,
}

/// `struct weir_drop`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
    /// First, ns.
    pub first: u64,
    /// Last, ns.
    pub last: u64,
    /// When the connection was opened, ns; 0 when not seen.
    pub opened: u64,
    /// Connections that the dropped packets themselves tried to start, and no other program has counted.
    pub started: u32,
    /// One of the `OPENER_` values, or 0.
    pub opener: u32,
    /// The flow's sampling factor.
    pub sampling: u32,
    /// Always 0.
    pub zero: u32,
}

/// `struct weir_count`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// L3 bytes.
    pub bytes: u64,
}

/// Entry of `WEIR_LEDGER`: what is certainly on the topic.
pub const LEDGER_SETTLED: u32 = 0;
/// Entry of `WEIR_LEDGER`: what may be.
pub const LEDGER_BEGUN: u32 = 1;
/// Entry of `WEIR_LEDGER`: payloads that were given back before they were told of.
pub const LEDGER_PASSED: u32 = 2;

/// `struct weir_ledger`: the counters by index, of both buffers and all CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Each counter.
    pub counted: [Count; COUNTERS],
    /// What payloads tell of the time before this, ns, is told.
    pub until: u64,
    /// Payloads read for that since the ring buffer was made.
    pub read: u64,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Key>() == 48);
    assert!(offset_of!(Key, source_port) == 32);
    assert!(offset_of!(Key, protocol) == 36);
    assert!(offset_of!(Key, ifindex) == 40);
    assert!(size_of::<Times>() == 24);
    assert!(size_of::<Flow>() == 120);
    assert!(offset_of!(Flow, flags) == 28);
    assert!(offset_of!(Flow, opened) == 40);
    assert!(offset_of!(Flow, ifindex) == 48);
    assert!(offset_of!(Flow, sampling) == 72);
    assert!(offset_of!(Flow, handshake) == 80);
    assert!(offset_of!(Flow, process) == 104);
    assert!(size_of::<ConnectionKey>() == 40);
    assert!(size_of::<Connection>() == 40);
    assert!(offset_of!(Connection, forwarded) == 21);
    assert!(size_of::<DropKey>() == 44);
    assert!(offset_of!(DropKey, reason) == 40);
    assert!(size_of::<Dropped>() == 56);
    assert!(offset_of!(Dropped, opened) == 32);
    assert!(offset_of!(Dropped, sampling) == 48);
    assert!(size_of::<TcpKey>() == 36);
    assert!(size_of::<Tcp>() == 32);
    assert!(offset_of!(Tcp, retransmits) == 24);
    assert!(size_of::<Tuple>() == 40);
    assert!(offset_of!(Tuple, protocol) == 36);
    assert!(size_of::<Rule>() == 44);
    assert!(offset_of!(Rule, protocol) == 36);
    assert!(size_of::<Count>() == 16);
    assert!(size_of::<Ledger>() == 16 * COUNTERS + 16);
    assert!(offset_of!(Ledger, until) == 16 * COUNTERS);
};

// SAFETY: integers and arrays of integers in C layout without padding (the assertions above hold the sizes): every bit
// pattern is a value.
unsafe impl Pod for Key {}
// SAFETY: as for `Key`.
unsafe impl Pod for Times {}
// SAFETY: as for `Key`.
unsafe impl Pod for TcpKey {}
// SAFETY: as for `Key`.
unsafe impl Pod for Tcp {}
// SAFETY: as for `Key`.
unsafe impl Pod for Tuple {}
// SAFETY: as for `Key`.
unsafe impl Pod for Rule {}
// SAFETY: as for `Key`.
unsafe impl Pod for Flow {}
// SAFETY: as for `Key`.
unsafe impl Pod for ConnectionKey {}
// SAFETY: as for `Key`.
unsafe impl Pod for Connection {}
// SAFETY: as for `Key`.
unsafe impl Pod for DropKey {}
// SAFETY: as for `Key`.
unsafe impl Pod for Dropped {}
// SAFETY: as for `Key`.
unsafe impl Pod for Count {}
// SAFETY: as for `Key`.
unsafe impl Pod for Ledger {}
