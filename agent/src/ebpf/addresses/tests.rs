use super::{ipv4, ipv6};
use std::net::Ipv4Addr;

#[test]
fn local_and_broadcast_addresses_are_own() {
    let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.0\n        /24 link UNICAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.255\n        /32 link BROADCAST\n";
    let own = ipv4(trie);
    assert_eq!(own.len(), 2);
    assert!(own.contains(&Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().octets()));
    assert!(own.contains(&Ipv4Addr::new(10, 1, 2, 255).to_ipv6_mapped().octets()));
}

#[test]
fn ipv6_addresses_are_read() {
    let own = ipv6("fe80000000000000e8f99afffe9181f3 02 40 20 80 eth0\nnot an address\n");
    assert_eq!(own.len(), 1);
}
