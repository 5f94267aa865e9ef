use super::*;

fn tables() -> Tables {
    Tables {
        fib_trie: "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.168.0.5\n        /32 host LOCAL\n     \
                   |-- 192.168.0.255\n        /32 link BROADCAST\n     |-- 10.200.0.1\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n"
            .to_owned(),
        route: "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                br0\t0000C80A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
            .to_owned(),
        if_inet6: "00000000000000000000000000000001 01 80 10 80       lo\n\
                   fd000000000000000000000000000005 03 40 00 80      br0\n\
                   20010db8000000000000000000000005 02 40 00 00     eth0\n\
                   fe800000000000000000000000000005 02 40 20 80     eth0\n"
            .to_owned(),
        ipv6_route: String::new(),
        devices: BTreeSet::new(),
    }
}

#[test]
fn a_host_covers_what_is_behind_it_but_not_its_neighbours() {
    let host = Host::of("h", &tables());
    let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.200.0.1", "192.168.0.5", "2001:db8::5", "fd00::5"]);
    let covered = |text: &str| {
        let address: IpAddr = text.parse().unwrap();
        host.networks.iter().any(|network| network.parse::<IpNet>().unwrap().contains(&address))
    };
    for inside in ["10.200.7.7", "fd00::7", "192.168.0.5", "2001:db8::5", "127.0.0.1", "::1"] {
        assert!(covered(inside), "{inside}: {:?}", host.networks);
    }
}

#[test]
fn neighbours_on_an_uplink_are_not_covered() {
    // The second eth0 network has no default route, but eth0 is of a device.
    let mut tables = tables();
    tables.devices.insert("eth0".to_owned());
    let host = Host::of("h", &tables);
    let covered = |text: &str| {
        let address: IpAddr = text.parse().unwrap();
        host.networks.iter().any(|network| network.parse::<IpNet>().unwrap().contains(&address))
    };
    assert!(!covered("192.168.0.6"));
    assert!(!covered("2001:db8::6"));
    assert!(!covered("8.8.8.8"));
}

#[test]
fn this_host_can_be_read() {
    let host = Host::read(Some("given"));
    assert_eq!(host.name, "given");
    assert!(host.networks.contains(&"127.0.0.0/8".to_owned()));
}
