//! The host's own addresses, from /proc.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// All own addresses of this network namespace, IPv4 mapped into IPv6; empty where /proc cannot be read.
#[must_use]
pub fn own() -> HashSet<[u8; 16]> {
    // "thread-self" and not "self": a thread may be in another network namespace than its process.
    let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let mut all = ipv4(&read("fib_trie"));
    all.extend(ipv6(&read("if_inet6")));
    all
}

/// Local and broadcast addresses in `fib_trie`: an address line, followed by lines that say what it is.
fn ipv4(fib_trie: &str) -> HashSet<[u8; 16]> {
    let mut found = HashSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" || line == "/32 link BROADCAST" {
            found.extend(last.map(|address| address.to_ipv6_mapped().octets()));
        }
    }
    found
}

/// Addresses in `if_inet6`: 32 hexadecimal digits at the beginning of each line.
fn ipv6(if_inet6: &str) -> HashSet<[u8; 16]> {
    if_inet6
        .lines()
        .filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok())
        .map(|bits| Ipv6Addr::from(bits).octets())
        .collect()
}
