//! IP addresses as they stand in keys and on topics.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// An IP address. It is serialized as bytes, 4 for IPv4 and 16 for IPv6, in network order. An IPv4 address mapped into
/// IPv6 (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) is the IPv4 address, so that one host has one name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(IpAddr);

impl Address {
    /// Takes an address, an IPv4-mapped one as IPv4.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// From 4 or 16 bytes in network order; nothing for any other length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(four) = <[u8; 4]>::try_from(bytes) {
            return Some(Self(IpAddr::V4(Ipv4Addr::from(four))));
        }
        <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Self::new(IpAddr::V6(Ipv6Addr::from(sixteen))))
    }

    /// The address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Where the address belongs.
    #[must_use]
    pub fn scope(self) -> AddressScope {
        match self.0 {
            IpAddr::V4(a) if a.is_loopback() => AddressScope::Loopback,
            IpAddr::V6(a) if a.is_loopback() => AddressScope::Loopback,
            a if a.is_multicast() => AddressScope::Multicast,
            IpAddr::V4(a) if a.is_broadcast() => AddressScope::Multicast,
            IpAddr::V4(a) if a.is_link_local() => AddressScope::LinkLocal,
            IpAddr::V6(a) if a.is_unicast_link_local() => AddressScope::LinkLocal,
            IpAddr::V4(a) if a.is_private() || in_shared_space(a) => AddressScope::Private,
            IpAddr::V6(a) if a.is_unique_local() => AddressScope::Private,
            _ => AddressScope::Public,
        }
    }
}

/// 100.64.0.0/10 (RFC 6598), which clusters use for pods.
fn in_shared_space(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && (64..128).contains(&b)
}

/// Where an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressScope {
    /// RFC 1918, RFC 6598 or RFC 4193.
    Private,
    /// Anything routed on the Internet.
    Public,
    /// 127.0.0.0/8 or ::1.
    Loopback,
    /// RFC 3927 or RFC 4291 link-local.
    LinkLocal,
    /// Multicast, or the IPv4 limited broadcast.
    Multicast,
}

impl AddressScope {
    /// Its name on records and in filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::Multicast => "multicast",
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self::new(address)
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::new)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            IpAddr::V4(a) => serializer.serialize_bytes(&a.octets()),
            IpAddr::V6(a) => serializer.serialize_bytes(&a.octets()),
        }
    }
}

struct AddressVisitor;

impl Visitor<'_> for AddressVisitor {
    type Value = Address;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address of 4 or 16 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Address, E> {
        Address::from_bytes(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(AddressVisitor)
    }
}
