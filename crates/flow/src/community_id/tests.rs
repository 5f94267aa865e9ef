use super::*;

fn ends(
    source: &str,
    source_port: Option<u16>,
    destination: &str,
    destination_port: Option<u16>,
    protocol: u8,
) -> Ends {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Ends { source, destination, protocol, source_port, destination_port }
}

/// The values are those of the specification's own test data.
#[test]
fn it_is_what_other_tools_compute() {
    let tcp = ends("128.232.110.120", Some(34_855), "66.35.250.204", Some(80), 6);
    assert_eq!(community_id(&tcp).as_deref(), Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg="));
    let udp = ends("192.168.1.52", Some(54_585), "8.8.8.8", Some(53), 17);
    assert_eq!(community_id(&udp).as_deref(), Some("1:d/FP5EW3wiY1vCndhwleRRKHowQ="));
    let sctp = ends("192.168.170.8", Some(7), "192.168.170.56", Some(80), 132);
    assert_eq!(community_id(&sctp).as_deref(), Some("1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="));
    let six = ends("2001:470:e5bf:dead:4957:2174:e82c:4887", Some(63_943), "2607:f8b0:400c:c03::1a", Some(25), 6);
    assert_eq!(community_id(&six).as_deref(), Some("1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="));
    let rsvp = ends("1.2.3.4", None, "5.6.7.8", None, 46);
    assert_eq!(community_id(&rsvp).as_deref(), Some("1:ikv3kmf89luf73WPz1jOs49S768="));
}

#[test]
fn it_is_the_same_from_both_ends() {
    let (a, b) = ("10.0.0.1", "10.0.0.2");
    assert_eq!(community_id(&ends(a, Some(1), b, Some(2), 6)), community_id(&ends(b, Some(2), a, Some(1), 6)));
    assert_eq!(community_id(&ends(a, Some(1), a, Some(2), 6)), community_id(&ends(a, Some(2), a, Some(1), 6)));
}

#[test]
fn what_is_not_known_is_not_made_up() {
    assert_eq!(community_id(&ends("10.0.0.1", None, "10.0.0.2", Some(443), 6)), None, "level 1 has one port");
    assert_eq!(community_id(&ends("10.0.0.1", None, "10.0.0.2", None, 1)), None, "ICMP needs its types");
    assert_eq!(community_id(&ends("10.0.0.1", Some(1), "2001:db8::1", Some(2), 17)), None);
}
