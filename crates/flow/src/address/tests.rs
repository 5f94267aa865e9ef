use super::*;

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    let mapped: Address = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(mapped, "10.0.0.1".parse().unwrap());
    assert_eq!(mapped.to_string(), "10.0.0.1");
}

#[test]
fn bytes_of_another_length_are_no_address() {
    for length in [0, 1, 3, 5, 15, 17] {
        assert_eq!(Address::from_bytes(&vec![1; length]), None);
    }
}

#[test]
fn scopes_follow_the_registries() {
    for (text, scope) in [
        ("10.1.2.3", AddressScope::Private),
        ("172.31.0.1", AddressScope::Private),
        ("172.32.0.1", AddressScope::Public),
        ("100.64.0.1", AddressScope::Private),
        ("100.128.0.1", AddressScope::Public),
        ("8.8.8.8", AddressScope::Public),
        ("127.0.0.53", AddressScope::Loopback),
        ("169.254.1.1", AddressScope::LinkLocal),
        ("255.255.255.255", AddressScope::Multicast),
        ("fd00::1", AddressScope::Private),
        ("fe80::1", AddressScope::LinkLocal),
        ("ff02::fb", AddressScope::Multicast),
        ("::1", AddressScope::Loopback),
        ("2001:db8::1", AddressScope::Public),
    ] {
        assert_eq!(text.parse::<Address>().unwrap().scope(), scope, "{text}");
    }
}
