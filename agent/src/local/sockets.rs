//! Which process holds which socket, from /proc.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[cfg(test)]
mod tests;

/// The most sockets of one namespace that are looked at.
const LIMIT: usize = 65_536;

/// A socket's own end, and its peer where it has one. Addresses are as in samples: IPv4 never mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// IANA protocol number.
    pub protocol: u8,
    /// Its own end; the address may be unspecified.
    pub local: SocketAddr,
    /// The other end.
    pub remote: Option<SocketAddr>,
}

/// The files of `/proc/<pid>/net` with sockets, and their protocols.
pub const FILES: [(&str, u8); 4] = [
    ("tcp", weir_flow::protocol::TCP),
    ("tcp6", weir_flow::protocol::TCP),
    ("udp", weir_flow::protocol::UDP),
    ("udp6", weir_flow::protocol::UDP),
];

/// Sockets and their inodes from one of those files, and how many were too many.
pub fn parse(text: &str, protocol: u8) -> (Vec<(Socket, u64)>, usize) {
    let lines = text.lines().skip(1);
    let all: Vec<(Socket, u64)> = lines.clone().take(LIMIT).filter_map(|line| parse_line(line, protocol)).collect();
    (all, lines.skip(LIMIT).count())
}

fn parse_line(line: &str, protocol: u8) -> Option<(Socket, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = end(fields.nth(1)?)?;
    let remote = end(fields.next()?)?;
    let inode: u64 = fields.nth(6)?.parse().ok()?;
    // A socket in TIME_WAIT is nobody's.
    (inode != 0).then_some((Socket { protocol, local, remote: (remote.port() != 0).then_some(remote) }, inode))
}

/// `0100007F:1F90`: words of the address in the machine's order, the port as a number.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The inode that a link in `/proc/<pid>/fd` names, where it is a socket's.
#[must_use]
pub fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Who owns the sockets of a namespace.
#[derive(Clone, Debug)]
pub struct Owners<T> {
    sockets: HashMap<Socket, T>,
}

impl<T> Default for Owners<T> {
    fn default() -> Self {
        Self { sockets: HashMap::new() }
    }
}

impl<T> Owners<T> {
    /// Notes an owner.
    pub fn add(&mut self, socket: Socket, owner: T) {
        self.sockets.insert(socket, owner);
    }

    /// The owner of the socket that packets between these ends belong to: the connection's own, else the one that
    /// listens at the address, else the one that listens at all addresses.
    #[must_use]
    pub fn find(&self, protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<&T> {
        let any = |ip| SocketAddr::new(ip, local.port());
        let get = |local, remote| self.sockets.get(&Socket { protocol, local, remote });
        get(local, Some(remote))
            .or_else(|| get(local, None))
            .or_else(|| get(any(Ipv4Addr::UNSPECIFIED.into()), None).filter(|_| local.is_ipv4()))
            // A socket of the IPv6 wildcard takes both families unless told otherwise.
            .or_else(|| get(any(Ipv6Addr::UNSPECIFIED.into()), None))
    }
}
