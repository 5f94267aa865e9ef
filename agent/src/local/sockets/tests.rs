use super::{Owners, Socket, inode, parse};
use proptest::prelude::*;
use std::net::SocketAddr;

const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:1F90 0300007F:C350 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
";
const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000200007F:0051 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
#[cfg(target_endian = "little")]
fn sockets_are_read_as_the_kernel_writes_them() {
    let (tcp, more) = parse(TCP, 6);
    assert_eq!(more, 0);
    assert_eq!(
        tcp,
        [
            (Socket { protocol: 6, local: at("127.0.0.1:8080"), remote: None }, 4711),
            (Socket { protocol: 6, local: at("127.0.0.1:8080"), remote: Some(at("127.0.0.2:50000")) }, 4712),
        ]
    );
    let (tcp6, _) = parse(TCP6, 6);
    assert_eq!(tcp6[0].0.local, at("[::]:80"));
    assert_eq!(tcp6[1].0.local, at("127.0.0.1:80"), "a mapped address is IPv4");
}

#[test]
fn the_narrowest_socket_owns_the_packets() {
    let mut owners = Owners::default();
    let mut add = |local: &str, remote: Option<&str>, owner: &'static str| {
        owners.add(Socket { protocol: 6, local: at(local), remote: remote.map(at) }, owner);
    };
    add("10.0.0.1:80", Some("10.0.0.2:1000"), "connection");
    add("10.0.0.1:80", None, "address");
    add("0.0.0.0:81", None, "any");
    add("[::]:82", None, "both");
    let find = |local: &str, remote: &str| owners.find(6, at(local), at(remote)).copied();
    assert_eq!(find("10.0.0.1:80", "10.0.0.2:1000"), Some("connection"));
    assert_eq!(find("10.0.0.1:80", "10.0.0.2:1001"), Some("address"));
    assert_eq!(find("10.0.0.9:81", "10.0.0.2:1001"), Some("any"));
    assert_eq!(find("10.0.0.9:82", "10.0.0.2:1001"), Some("both"));
    assert_eq!(find("[fd00::1]:82", "[fd00::2]:1"), Some("both"));
    assert_eq!(find("[fd00::1]:81", "[fd00::2]:1"), None, "an IPv4 listener has no IPv6 packets");
    assert_eq!(find("10.0.0.9:80", "10.0.0.2:1001"), None);
    assert_eq!(owners.find(17, at("10.0.0.1:80"), at("10.0.0.2:1000")), None);
}

#[test]
fn links_of_sockets_are_told_from_others() {
    assert_eq!(inode("socket:[4711]"), Some(4711));
    assert_eq!(inode("pipe:[4711]"), None);
    assert_eq!(inode("socket:[x]"), None);
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(.|\n){0,200}", line in "[0-9A-F: ]{0,150}") {
        parse(&text, 6);
        parse(&format!("head\n{line}"), 17);
    }
}
