#![allow(clippy::unwrap_used, reason = "tests")]

use super::{LinkType, Packet, Unread, read};
use etherparse::PacketBuilder;
use proptest::prelude::*;

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap()
}

fn tcp() -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1_000, 80, 7, 100).syn();
    let mut data = Vec::new();
    builder.write(&mut data, &[0; 4]).unwrap();
    data
}

#[test]
fn padding_is_not_counted_and_a_cut_packet_keeps_its_length() {
    let mut data = tcp();
    let expected = read(LinkType::Ethernet, &data, length(&data)).unwrap();
    assert_eq!((expected.bytes, expected.flags, expected.sequence), (44, 2, 7));
    data.extend([0; 6]);
    assert_eq!(read(LinkType::Ethernet, &data, length(&data)).unwrap().bytes, 44);
    assert_eq!(read(LinkType::Ethernet, &data[..54], 64).unwrap(), expected);
}

#[test]
fn every_link_type_leads_to_the_same_packet() {
    let frame = tcp();
    let ip = &frame[14..];
    let payload = |data: &[u8], packet: Packet| data[packet.payload..packet.end].to_vec();
    let expected = read(LinkType::Ethernet, &frame, length(&frame)).unwrap();
    assert_eq!(payload(&frame, expected).len(), 4);
    let with = |head: &[u8]| [head, ip].concat();
    let mut cooked = vec![0; 16];
    cooked[14] = 8;
    let mut cooked2 = vec![0; 20];
    cooked2[0] = 8;
    let mut vlan = frame[..12].to_vec();
    vlan.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]);
    for (link, data) in [
        (LinkType::Ip, ip.to_vec()),
        (LinkType::Cooked, with(&cooked)),
        (LinkType::Cooked2, with(&cooked2)),
        (LinkType::Loopback, with(&[2, 0, 0, 0])),
        (LinkType::Ethernet, with(&vlan)),
    ] {
        let packet = read(link, &data, length(&data)).unwrap();
        assert_eq!(payload(&data, packet), payload(&frame, expected), "{link:?}");
        assert_eq!(Packet { payload: expected.payload, end: expected.end, ..packet }, expected, "{link:?}");
    }
}

#[test]
fn later_fragments_have_no_ports() {
    let mut data = tcp();
    data[20..22].copy_from_slice(&0x2000_u16.to_be_bytes());
    assert_eq!(read(LinkType::Ethernet, &data, length(&data)).unwrap().source_port, 1_000);
    data[20..22].copy_from_slice(&0x0010_u16.to_be_bytes());
    let later = read(LinkType::Ethernet, &data, length(&data)).unwrap();
    assert_eq!((later.source_port, later.destination_port, later.bytes), (0, 0, 44));
}

#[test]
fn icmp_keeps_type_and_code() {
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).icmpv6_echo_request(1, 1);
    let mut data = Vec::new();
    builder.write(&mut data, &[0; 8]).unwrap();
    let packet = read(LinkType::Ip, &data, length(&data)).unwrap();
    assert_eq!((packet.protocol, packet.source_port, packet.destination_port, packet.bytes), (58, 0, 0x8000, 56));
}

#[test]
fn arp_is_not_ip() {
    let mut data = vec![0; 42];
    data[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(read(LinkType::Ethernet, &data, 42), Err(Unread::NotIp));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(number in 0_i32..300, data in prop::collection::vec(any::<u8>(), 0..200), length in 0_u64..3_000) {
        if let Some(link) = LinkType::from_number(number) {
            let read: Result<Packet, Unread> = read(link, &data, length);
            if let Ok(packet) = read {
                prop_assert!(packet.bytes <= length);
            }
        }
    }
}
