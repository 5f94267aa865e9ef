//! What one captured packet says of itself. Pure; the same reading as in `bpf/flow.bpf.c`.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use std::net::IpAddr;
use weir_flow::Address;
use weir_flow::protocol::{ICMP, ICMPV6, RST, SCTP, SYN, TCP, UDP};

#[cfg(test)]
mod tests;

/// What a packet begins with in a capture file, by the numbers of the link-layer header type registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet (1).
    Ethernet,
    /// IP without anything before it (101, 228, 229, and 12 or 14 on some systems).
    Ip,
    /// Linux "cooked" capture (113).
    Cooked,
    /// Linux "cooked" capture, version 2 (276).
    Cooked2,
    /// BSD loopback (0, 108): an address family in four bytes.
    Loopback,
}

impl LinkType {
    /// By its number in a capture file.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Ip,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            0 | 108 => Self::Loopback,
            _ => return None,
        })
    }
}

/// A packet's key and measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port; 0 where there is none, and for later fragments.
    pub source_port: u16,
    /// Destination port; for ICMP type × 256 + code; 0 for later fragments.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// L3 bytes as on the wire.
    pub bytes: u64,
    /// TCP flags.
    pub flags: u16,
    /// TCP sequence number.
    pub sequence: u32,
    /// Whether a TCP segment announces no window; not where that means nothing (SYN, RST).
    pub stalled: bool,
    /// Where the transport layer's payload begins in what was captured; 0 where it has none that is known.
    pub payload: usize,
    /// Where the IP packet ends, which may be beyond what was captured.
    pub end: usize,
}

/// Why a packet gives no [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not IP.
    NotIp,
    /// A header is cut or contradicts itself.
    Broken {
        /// L3 bytes as far as is known.
        bytes: u64,
    },
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// As in `flow.bpf.c`.
const EXTENSION_HEADERS: usize = 8;

/// Reads a packet of which `data` was captured and which had `length` bytes on the wire, link layer included.
///
/// # Errors
/// When it is not IP, or broken.
pub fn read(link: LinkType, data: &[u8], length: u64) -> Result<Packet, Unread> {
    let (kind, offset) = network(link, data).ok_or(Unread::NotIp)?;
    let ip = data.get(offset..).ok_or(Unread::NotIp)?;
    let available = length.saturating_sub(u64::try_from(offset).unwrap_or(u64::MAX));
    let mut packet = match kind {
        IPV4 => ipv4(ip, available),
        IPV6 => ipv6(ip, available),
        _ => Err(Unread::NotIp),
    }?;
    if packet.payload > 0 {
        packet.payload += offset;
        packet.end = offset.saturating_add(usize::try_from(packet.bytes).unwrap_or(usize::MAX));
    }
    Ok(packet)
}

/// The network layer's EtherType and where it begins.
fn network(link: LinkType, data: &[u8]) -> Option<(u16, usize)> {
    match link {
        LinkType::Ethernet => {
            let (mut kind, mut offset) = (u16_at(data, 12)?, 14);
            for _ in 0..2 {
                if !VLAN.contains(&kind) {
                    break;
                }
                kind = u16_at(data, offset + 2)?;
                offset += 4;
            }
            Some((kind, offset))
        }
        LinkType::Ip => Some((by_version(*data.first()?)?, 0)),
        LinkType::Cooked => Some((u16_at(data, 14)?, 16)),
        LinkType::Cooked2 => Some((u16_at(data, 0)?, 20)),
        // The family is in the byte order of whoever captured, and IPv6's number differs by system.
        LinkType::Loopback => Some((by_version(*data.get(4)?)?, 4)),
    }
}

fn by_version(first: u8) -> Option<u16> {
    match first >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}

fn ipv4(data: &[u8], available: u64) -> Result<Packet, Unread> {
    let broken = Unread::Broken { bytes: available };
    let header = Ipv4HeaderSlice::from_slice(data).map_err(|_| broken)?;
    let start = header.slice().len();
    let total = u64::from(header.total_len());
    let bytes = match total {
        // Left to the card by a sender with segmentation offload.
        0 => available,
        total if total >= u64::try_from(start).unwrap_or(0) && total <= available => total,
        _ => return Err(broken),
    };
    let mut packet = Packet {
        source: Address::new(IpAddr::V4(header.source_addr())),
        destination: Address::new(IpAddr::V4(header.destination_addr())),
        source_port: 0,
        destination_port: 0,
        protocol: header.protocol().0,
        bytes,
        flags: 0,
        sequence: 0,
        stalled: false,
        payload: 0,
        end: 0,
    };
    if header.fragments_offset().value() == 0 {
        transport(&mut packet, data, start).ok_or(Unread::Broken { bytes })?;
    }
    Ok(packet)
}

fn ipv6(data: &[u8], available: u64) -> Result<Packet, Unread> {
    let broken = Unread::Broken { bytes: available };
    let header = Ipv6HeaderSlice::from_slice(data).map_err(|_| broken)?;
    let total = u64::from(header.payload_length()) + 40;
    if total > available {
        return Err(broken);
    }
    let bytes = if total > 40 { total } else { available };
    let broken = Unread::Broken { bytes };
    let (mut protocol, mut offset, mut later) = (header.next_header().0, 40, false);
    for _ in 0..EXTENSION_HEADERS {
        let length = match protocol {
            0 | 43 | 60 => |length: u8| (usize::from(length) + 1) * 8,
            44 => |_| 8,
            51 => |length: u8| (usize::from(length) + 2) * 4,
            _ => break,
        };
        let extension = data.get(offset..offset + 4).ok_or(broken)?;
        let kind = std::mem::replace(&mut protocol, extension[0]);
        offset += length(extension[1]);
        later = kind == 44 && u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0;
        if later {
            break;
        }
    }
    let mut packet = Packet {
        source: Address::new(IpAddr::V6(header.source_addr())),
        destination: Address::new(IpAddr::V6(header.destination_addr())),
        source_port: 0,
        destination_port: 0,
        protocol,
        bytes,
        flags: 0,
        sequence: 0,
        stalled: false,
        payload: 0,
        end: 0,
    };
    if !later {
        transport(&mut packet, data, offset).ok_or(broken)?;
    }
    Ok(packet)
}

fn transport(packet: &mut Packet, ip: &[u8], start: usize) -> Option<()> {
    let data = ip.get(start..).unwrap_or_default();
    match packet.protocol {
        TCP => {
            data.get(..16)?;
            packet.sequence = u32::from_be_bytes(data.get(4..8)?.try_into().ok()?);
            let flags = u16_at(data, 12)?;
            packet.flags = flags & 0x0fff;
            packet.stalled = u16_at(data, 14)? == 0 && packet.flags & (SYN | RST) == 0;
            packet.payload = start + usize::from(flags >> 12) * 4;
        }
        UDP => {
            data.get(..8)?;
            packet.payload = start + 8;
        }
        SCTP => {}
        ICMP | ICMPV6 => {
            packet.destination_port = u16_at(data, 0)?;
            return Some(());
        }
        _ => return Some(()),
    }
    packet.source_port = u16_at(data, 0)?;
    packet.destination_port = u16_at(data, 2)?;
    Some(())
}

fn u16_at(data: &[u8], offset: usize) -> Option<u16> {
    data.get(offset..offset + 2)?.try_into().ok().map(u16::from_be_bytes)
}
