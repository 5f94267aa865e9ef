//! Community ID: one short name for a connection that other tools give it too (Zeek, Suricata, Elastic).
//!
//! Source: the Community ID flow hashing specification, version 1 (<https://github.com/corelight/community-id-spec>).

use crate::{Address, protocol};
use base64::Engine as _;
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// The seed that everybody uses who was not told otherwise.
const SEED: [u8; 2] = [0, 0];
/// ICMP and ICMPv6, whose types stand for ports.
const ICMP: [u8; 2] = [1, 58];

/// Both ends of a connection, in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// One address.
    pub source: Address,
    /// The other address.
    pub destination: Address,
    /// IANA protocol number.
    pub protocol: u8,
    /// One port, where it is known.
    pub source_port: Option<u16>,
    /// The other port, where it is known.
    pub destination_port: Option<u16>,
}

/// The Community ID of a connection, version 1 with seed 0; nothing where a port is needed and not known, for ICMP, whose
/// types would have to be, and for ends of different families.
#[must_use]
pub fn community_id(ends: &Ends) -> Option<String> {
    let ports = if protocol::has_ports(ends.protocol) {
        Some((ends.source_port?, ends.destination_port?))
    } else if ICMP.contains(&ends.protocol) {
        return None;
    } else {
        None
    };
    let (source, destination) = (octets(ends.source), octets(ends.destination));
    if source.len() != destination.len() {
        return None;
    }
    let (source_port, destination_port) = ports.unwrap_or_default();
    let ((low, low_port), (high, high_port)) = if (&source, source_port) <= (&destination, destination_port) {
        ((source, source_port), (destination, destination_port))
    } else {
        ((destination, destination_port), (source, source_port))
    };
    let mut hash = sha1_smol::Sha1::from(SEED);
    hash.update(&low);
    hash.update(&high);
    hash.update(&[ends.protocol, 0]);
    if ports.is_some() {
        hash.update(&low_port.to_be_bytes());
        hash.update(&high_port.to_be_bytes());
    }
    let text = base64::engine::general_purpose::STANDARD.encode(hash.digest().bytes());
    Some(format!("1:{text}"))
}

fn octets(address: Address) -> Vec<u8> {
    match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
