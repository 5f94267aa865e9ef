//! Packets of each kind, whole and damaged.

use etherparse::{IpFragOffset, IpNumber, Ipv6FragmentHeader, PacketBuilder};

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

pub(crate) fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2(MACS.0, MACS.1)
}

/// An IPv6 packet whose extension headers are given as they stand: the builder knows only some orders of them.
fn with_extensions(to: &mut Vec<u8>, destination: u8, next: u8, body: &[u8]) {
    ethernet().ipv6([1; 16], [destination; 16], 64).write(to, IpNumber(253), body).unwrap();
    to[20] = next;
}

/// One packet of each kind that is read, and some that are not.
pub(crate) fn fixtures() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = Vec::new();
        write(&mut packet);
        all.push(packet);
    };
    let payload = [0x5a; 40];
    add(&|to| {
        ethernet().ipv4([10, 9, 0, 1], [10, 9, 0, 2], 64).tcp(1_000, 80, 1, 9).syn().write(to, &payload).unwrap();
    });
    add(&|to| ethernet().ipv4([10, 9, 0, 1], [10, 9, 0, 3], 64).udp(1_000, 53).write(to, &payload).unwrap());
    add(&|to| ethernet().ipv4([10, 9, 0, 1], [10, 9, 0, 4], 64).icmpv4_echo_request(1, 2).write(to, &payload).unwrap());
    add(&|to| ethernet().ipv6([1; 16], [2; 16], 64).tcp(1_000, 443, 1, 9).fin().ack(3).write(to, &payload).unwrap());
    add(&|to| ethernet().ipv6([1; 16], [3; 16], 64).udp(1_000, 53).write(to, &payload).unwrap());
    add(&|to| ethernet().ipv6([1; 16], [4; 16], 64).icmpv6_echo_request(1, 2).write(to, &payload).unwrap());
    add(&|to| {
        let vlan = ethernet().single_vlan(7.try_into().unwrap());
        vlan.ipv4([10, 9, 0, 1], [10, 9, 0, 5], 64).udp(7, 8).write(to, &payload).unwrap();
    });
    add(&|to| {
        let vlans = ethernet().double_vlan(7.try_into().unwrap(), 8.try_into().unwrap());
        vlans.ipv6([1; 16], [5; 16], 64).udp(7, 8).write(to, &payload).unwrap();
    });
    // SCTP, which no tool here can send: ports are where TCP's are.
    add(&|to| {
        ethernet()
            .ipv4([10, 9, 0, 1], [10, 9, 0, 6], 64)
            .write(to, IpNumber(132), &[0, 9, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0])
            .unwrap();
    });
    add(&|to| ethernet().ipv4([10, 9, 0, 1], [10, 9, 0, 7], 64).write(to, IpNumber(47), &payload).unwrap());
    // IPv6 with hop-by-hop, destination options, routing and authentication before UDP.
    add(&|to| {
        let mut body = vec![60, 0, 1, 4, 0, 0, 0, 0, 43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend([51, 0, 0, 0, 0, 0, 0, 0, 17, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        body.extend([0, 77, 0, 78, 0, 8, 0, 0]);
        with_extensions(to, 6, 0, &body);
    });
    for (offset, last) in [(0, 8), (8, 9)] {
        add(&|to| {
            let fragment =
                Ipv6FragmentHeader::new(IpNumber(17), IpFragOffset::try_new(offset).unwrap(), offset == 0, 5);
            let mut body = fragment.to_bytes().to_vec();
            body.extend([0, 77, 0, 78, 0, 48, 0, 0]);
            with_extensions(to, last, 44, &body);
        });
    }
    for (bits, last) in [(0x2000_u16, 8), (0x0020, 9)] {
        add(&|to| {
            ethernet().ipv4([10, 9, 0, 1], [10, 9, 0, last], 64).udp(1, 2).write(to, &payload).unwrap();
            to[20..22].copy_from_slice(&bits.to_be_bytes());
        });
    }
    add(&|to| to.extend([&[0xff; 6][..], &MACS.1, &[8, 6], &[0; 28]].concat()));
    all
}

/// A packet with up to eight bytes of its headers changed, cut or made longer.
pub(crate) fn mutated(fixture: &[u8], random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut packet = fixture.to_vec();
    // Often none, so that some of all kinds of packets stay whole.
    let changes = [0, 0, 1, 1, 1, 2, 3, 8][random(8)];
    for _ in 0..changes {
        let place = 12 + random(90.min(packet.len() - 12));
        packet[place] = match random(4) {
            // What headers are full of: small numbers, and the numbers of protocols.
            0 => u8::try_from(random(8)).unwrap(),
            1 => [1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 0x45, 0x60, 0x81][random(18)],
            2 => packet[place] ^ (1 << random(8)),
            _ => u8::try_from(random(256)).unwrap(),
        };
    }
    match random(6) {
        0 => packet.truncate(14 + random(packet.len() - 14)),
        1 => packet.extend(std::iter::repeat_n(0xa5, random(100))),
        _ => {}
    }
    packet
}
