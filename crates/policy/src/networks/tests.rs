use super::{NO_NETWORK, Networks, parse_network};
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_flow::Address;

#[test]
fn networks_are_read_as_the_api_server_reads_them() {
    let read = |text: &str| parse_network(text).map(|network| network.to_string());
    assert_eq!(read("10.0.0.7/8").as_deref(), Some("10.0.0.0/8"));
    assert_eq!(read("010.000.0.1/32").as_deref(), Some("10.0.0.1/32"));
    assert_eq!(read("::ffff:10.1.2.3/112").as_deref(), Some("10.1.0.0/16"));
    assert_eq!(read("2001:db8::1/64").as_deref(), Some("2001:db8::/64"));
    for wrong in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "256.0.0.0/8", "a/8", "10.0.0.0/-1", "1.2.3.4.5/8", "/8"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

fn network() -> impl Strategy<Value = IpNet> {
    // Few bits differ, so that networks lie in each other.
    let four = (prop::sample::select(vec![0_u32, 1, 2, 3, 1 << 31, 3 << 30, 1 << 16]), 0_u8..=32)
        .prop_map(|(bits, length)| IpNet::new(Ipv4Addr::from(bits).into(), length).unwrap().trunc());
    let six = (prop::sample::select(vec![0_u128, 1, 2, 1 << 127, 1 << 64]), 0_u8..=128)
        .prop_map(|(bits, length)| IpNet::new(Ipv6Addr::from(bits).into(), length).unwrap().trunc());
    prop_oneof![four, six]
}

proptest! {
    #[test]
    fn a_class_is_in_the_networks_that_hold_its_addresses(
        networks in prop::collection::vec(network(), 0..20),
        four in prop::sample::select(vec![0_u32, 1, 2, 3, 1 << 31, (1 << 31) + 1, 3 << 30, 1 << 16, u32::MAX]),
        six in prop::sample::select(vec![0_u128, 1, 2, 1 << 127, 1 << 64, u128::MAX]),
    ) {
        let mut trie = Networks::default();
        networks.iter().for_each(|network| { trie.add(*network); });
        for address in [Address::new(Ipv4Addr::from(four).into()), Address::new(Ipv6Addr::from(six).into())] {
            let class = trie.class(address);
            let mut held = false;
            for network in &networks {
                let number = trie.number(*network).unwrap();
                prop_assert_eq!(trie.is_within(class, number), network.contains(&address.ip()), "{} {}", network, address);
                held |= network.contains(&address.ip());
            }
            prop_assert_eq!(class == NO_NETWORK, !held);
        }
    }
}
