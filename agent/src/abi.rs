//! The border to the kernel: what `bpf/flow_abi.h` says, and the few system calls that no crate in use wraps.
//!
//! This is the only module with `unsafe`. Everything that it gives out is a plain value.

#![allow(unsafe_code, reason = "the border to the kernel: each block says why it is sound")]

use aya::Pod;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

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
pub const COUNTER_NAMES: [&str; 17] = [
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
    /// Always 0.
    pub zero: u32,
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
}

impl Message {
    const HEADER: usize = 80;

    /// Reads an entry of the ring buffer; nothing when it is too short for what it says of itself.
    #[must_use]
    pub fn read(entry: &[u8]) -> Option<Self> {
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
    /// The flow's sampling factor.
    pub sampling: u64,
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
    assert!(size_of::<Dropped>() == 40);
    assert!(size_of::<TcpKey>() == 36);
    assert!(size_of::<Tcp>() == 32);
    assert!(offset_of!(Tcp, retransmits) == 24);
    assert!(size_of::<Rule>() == 44);
    assert!(offset_of!(Rule, protocol) == 36);
    assert!(size_of::<Count>() == 16);
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

const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

/// `union bpf_attr`, the `batch` arm.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Empties a hash map and hands each entry to `each`; returns how many there were. `chunk` entries go in one call.
///
/// # Errors
/// The system call's error, e.g. `EINVAL` on a kernel before 5.6.
pub fn drain_map<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    chunk: usize,
    mut each: impl FnMut(&K, &V),
) -> io::Result<usize> {
    let mut chunk = chunk.max(64);
    let mut keys = vec![K::default(); chunk];
    let mut values = vec![V::default(); chunk];
    let (mut cursor_in, mut cursor_out) = (0_u64, 0_u64);
    let (mut first, mut total) = (true, 0);
    loop {
        let mut attributes = BatchAttributes {
            in_batch: if first { 0 } else { (&raw mut cursor_in).expose_provenance() as u64 },
            out_batch: (&raw mut cursor_out).expose_provenance() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: u32::try_from(chunk).unwrap_or(u32::MAX),
            map: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
            ..BatchAttributes::default()
        };
        // SAFETY: the attributes live through the call; `keys` and `values` hold `chunk` elements of the map's key and
        // value type (both plain data of the map's sizes), and the cursors hold the 4 bytes that a hash map uses.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_AND_DELETE_BATCH,
                &raw mut attributes,
                std::mem::size_of::<BatchAttributes>(),
            )
        };
        let error = if result < 0 { io::Error::last_os_error().raw_os_error() } else { None };
        match error {
            None | Some(libc::ENOENT) => {}
            Some(libc::EINTR | libc::EAGAIN) => continue,
            // One bucket holds more than a chunk: nothing was taken.
            Some(libc::ENOSPC) => {
                chunk *= 2;
                keys.resize(chunk, K::default());
                values.resize(chunk, V::default());
                continue;
            }
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
        }
        let count = usize::try_from(attributes.count).unwrap_or(0).min(chunk);
        for (key, value) in keys.iter().zip(&values).take(count) {
            each(key, value);
        }
        total += count;
        if error.is_some() {
            return Ok(total);
        }
        cursor_in = cursor_out;
        first = false;
    }
}

/// The word that tells the kernel programs which buffer a tick goes to, shared with them by mmap.
#[derive(Debug)]
pub struct Boundary {
    page: NonNull<AtomicU64>,
}

const PAGE: usize = 4096;

// SAFETY: the page is shared memory that is only touched through an atomic.
unsafe impl Send for Boundary {}

impl Boundary {
    /// Maps the configuration map, which holds one entry and is mappable.
    ///
    /// # Errors
    /// mmap's error.
    pub fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; the map has at least one page behind it.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast()).map(|page| Self { page }).ok_or_else(|| io::Error::other("mmap returned null"))
    }

    /// Sets the next boundary, ns of the monotonic clock, and the buffer (0 or 1) in use until then.
    pub fn set(&self, boundary: u64, buffer: usize) {
        let bit = u64::from(buffer % 2 == 1);
        // SAFETY: the mapping lives as long as `self`, is aligned to a page and holds at least 8 bytes.
        unsafe { self.page.as_ref() }.store((boundary & !1) | bit, Ordering::Release);
    }
}

impl Drop for Boundary {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `map` mapped; nothing else refers to it.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

fn clock(id: libc::clockid_t) -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks in use exist on every Linux.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// The monotonic clock, ns; the one that the kernel programs read.
#[must_use]
pub fn monotonic() -> u64 {
    u64::try_from(clock(libc::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// Wall clock minus monotonic clock, ns: add it to a kernel time to get a time since the epoch. The narrowest of a few
/// readings is taken, so that being interrupted between the two clocks does not show.
#[must_use]
pub fn wall_offset() -> i128 {
    let mut best = (i128::MAX, 0);
    for _ in 0..5 {
        let before = clock(libc::CLOCK_MONOTONIC);
        let wall = clock(libc::CLOCK_REALTIME);
        let after = clock(libc::CLOCK_MONOTONIC);
        if after - before < best.0 {
            best = (after - before, wall - (before + after) / 2);
        }
    }
    best.1
}

fn netlink_socket(protocol: libc::c_int, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain socket creation; the descriptor is owned from here on.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, protocol);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Messages of netlink groups, without waiting for them.
#[derive(Debug)]
pub struct NetlinkEvents {
    socket: OwnedFd,
}

/// Room for events that wait, in bytes.
const EVENTS: libc::c_int = 4 << 20;

impl NetlinkEvents {
    /// Subscribes to the groups (a bit each) of a netlink protocol.
    ///
    /// # Errors
    /// The kernel's: no such protocol, or no right.
    pub fn subscribe(protocol: i32, groups: u32) -> io::Result<Self> {
        let socket = netlink_socket(protocol, libc::SOCK_NONBLOCK)?;
        // SAFETY: all zeros is a valid sockaddr_nl: the kernel chooses the port.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).map_err(io::Error::other)?;
        address.nl_groups = groups;
        let length = libc::socklen_t::try_from(std::mem::size_of_val(&address)).map_err(io::Error::other)?;
        let room = EVENTS;
        let size = libc::socklen_t::try_from(std::mem::size_of_val(&room)).map_err(io::Error::other)?;
        // SAFETY: both pointers are to values that live through the calls and have the lengths given.
        let bound = unsafe {
            // Without the right to a larger buffer there is a smaller one, and what does not fit is noticed.
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const room).cast(),
                size,
            );
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
        };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { socket }) }
    }

    /// The next message; nothing when none waits.
    ///
    /// # Errors
    /// The socket's; `ENOBUFS` when messages were lost.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0_u8; 16_384];
        // SAFETY: `buffer` is writable for its length.
        let got = unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(got) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(_) => match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// Sends one request to the kernel's routing netlink family and returns the bytes of each answer, up to 16 MB.
///
/// # Errors
/// The socket's error.
pub fn netlink_dump(request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    netlink_dump_of(libc::NETLINK_ROUTE, request)
}

/// What is dumped changed meanwhile (`include/uapi/linux/netlink.h`).
const NLM_F_DUMP_INTR: u16 = 0x10;

/// As [`netlink_dump`], of any netlink protocol.
///
/// # Errors
/// The socket's error, the kernel's answer where that is one, and [`io::ErrorKind::Interrupted`] where what is dumped changed
/// meanwhile, so that something may be missing (`NLM_F_DUMP_INTR`).
pub fn netlink_dump_of(protocol: i32, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let socket = netlink_socket(protocol, 0)?;
    // SAFETY: `request` is readable for its length.
    let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answers = Vec::new();
    let (mut total, mut interrupted) = (0, false);
    loop {
        let mut buffer = vec![0_u8; 65_536];
        // SAFETY: `buffer` is writable for its length.
        let got = unsafe { libc::recv(socket.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(length) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        };
        buffer.truncate(length);
        // The last message of a dump is NLMSG_DONE (3); NLMSG_ERROR (2) stands alone.
        let number =
            |at: usize| buffer.get(at..at + 2).and_then(|b| <[u8; 2]>::try_from(b).ok()).map(u16::from_ne_bytes);
        let error = buffer.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(i32::from_ne_bytes);
        if let (Some(2), Some(error @ ..0)) = (number(4), error) {
            return Err(io::Error::from_raw_os_error(error.saturating_neg()));
        }
        let done = length == 0 || matches!(number(4), Some(2 | 3));
        interrupted |= number(6).is_some_and(|flags| flags & NLM_F_DUMP_INTR != 0);
        total += length;
        answers.push(buffer);
        if done && interrupted {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        if done || total > 16 << 20 {
            return Ok(answers);
        }
    }
}
