//! IP protocol numbers and TCP flags (IANA registries; RFC 9293 for the flags).

#[cfg(test)]
mod tests;

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;

/// TCP FIN.
pub const FIN: u16 = 0x01;
/// TCP SYN.
pub const SYN: u16 = 0x02;
/// TCP RST.
pub const RST: u16 = 0x04;
/// TCP ACK.
pub const ACK: u16 = 0x10;

/// Names of the TCP flags by bit, from the lowest (RFC 9293, RFC 3168).
pub const FLAG_NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// The names of the TCP flags that are set.
pub fn flag_names(flags: u16) -> impl Iterator<Item = &'static str> {
    FLAG_NAMES.into_iter().enumerate().filter(move |(bit, _)| flags & (1 << bit) != 0).map(|(_, name)| name)
}

/// The protocol's name as ECS writes it in `network.transport`; the number in digits where it has no common name.
#[must_use]
pub fn name(protocol: u8) -> String {
    match protocol {
        ICMP => "icmp".to_owned(),
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMPV6 => "ipv6-icmp".to_owned(),
        SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// The protocol with this name or number.
#[must_use]
pub fn parse(text: &str) -> Option<u8> {
    match text.to_ascii_lowercase().as_str() {
        "icmp" => Some(ICMP),
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "icmpv6" | "ipv6-icmp" => Some(ICMPV6),
        "sctp" => Some(SCTP),
        digits => digits.parse().ok(),
    }
}

/// Whether the protocol has ports.
#[must_use]
pub fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}
