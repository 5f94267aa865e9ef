use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_address_is_written_as_the_standard_library_writes_it(four in any::<u32>(), six in any::<u128>()) {
        for address in [IpAddr::from(Ipv4Addr::from(four)), IpAddr::from(std::net::Ipv6Addr::from(six))] {
            let address: Address = address.to_string().parse().unwrap();
            prop_assert_eq!(serde_json::to_value(Ip(address)).unwrap(), address.to_string());
        }
    }
}
