use super::{Held, unite};
use crate::abi::{COUNT_SEEN, Dropped, Flow, Key, Tcp, TcpKey, Times};
use crate::ebpf::capture::Drained;

fn times(values: &[u32]) -> Times {
    Times {
        sum: values.iter().map(|value| u64::from(*value)).sum(),
        count: u32::try_from(values.len()).unwrap_or(u32::MAX),
        min: values.iter().copied().min().unwrap_or(0),
        max: values.iter().copied().max().unwrap_or(0),
        zero: 0,
    }
}

fn part(port: u16, flow: Flow, tcp: &[u32]) -> Drained {
    let mut drained = Drained {
        flows: vec![(Key { source_port: port, ..Key::default() }, flow)],
        drops: vec![(
            crate::abi::DropKey::default(),
            Dropped { packets: 1, bytes: 9, first: 5, last: 6, sampling: 1, ..Dropped::default() },
        )],
        tcp: vec![(TcpKey::default(), Tcp { round_trip: times(tcp), retransmits: 2, zero: 0 })],
        ..Drained::default()
    };
    drained.counters[COUNT_SEEN].packets = flow.packets;
    drained
}

#[test]
fn parts_of_a_tick_become_one() {
    let flow = |packets, first, last| Flow { bytes: packets * 10, packets, first, last, ..Flow::default() };
    let mut held = Held::new(2);
    held.add(part(1, Flow { started: 1, opener: 1, opened: 7, handshake: times(&[4]), ..flow(3, 10, 20) }, &[30, 10]));
    assert!(held.has_room());
    held.add(part(2, flow(1, 21, 21), &[]));
    assert!(!held.has_room());
    let last = part(1, Flow { ended: 1, resets: 1, tcp_flags: 4, handshake: times(&[2]), ..flow(2, 30, 40) }, &[20]);
    let mut whole = held.with(last);
    whole.flows.sort_unstable_by_key(|(key, _)| key.source_port);
    let (one, two) = (whole.flows[0].1, whole.flows[1].1);
    assert_eq!((one.packets, one.bytes, one.first, one.last), (5, 50, 10, 40));
    assert_eq!((one.started, one.ended, one.resets, one.tcp_flags, one.opener, one.opened), (1, 1, 1, 4, 1, 7));
    assert_eq!((one.handshake, two.packets), (times(&[4, 2]), 1));
    assert_eq!((whole.tcp[0].1.round_trip, whole.tcp[0].1.retransmits), (times(&[30, 10, 20]), 6));
    assert_eq!((whole.drops[0].1.packets, whole.counters[COUNT_SEEN].packets), (3, 6));
    assert!(held.has_room(), "nothing is left of it");
}

#[test]
fn a_tick_in_one_part_stays_as_it_is() {
    let mut held = Held::new(1);
    let whole = part(1, Flow { packets: 1, ..Flow::default() }, &[]);
    let after = held.with(whole.clone());
    assert_eq!((after.flows, after.counters), (whole.flows, whole.counters));
}

#[test]
fn entries_of_one_flow_become_one_and_nothing_decided_once_is_decided_twice() {
    let key = |port| Key { source_port: port, ..Key::default() };
    let flow = |again, packets, first, flags| Flow {
        again,
        packets,
        bytes: packets * 10,
        first,
        last: first + packets,
        flags,
        ifindex: flags,
        sampling: 3,
        tcp_flags: 1 << packets,
        started: 1,
        ended: 2,
        zero_windows: 1,
        resets: 1,
        handshake: times(&[u32::try_from(packets).unwrap_or(0)]),
        ..Flow::default()
    };
    let named = Flow { process: [7; 16], opener: 2, opened: 9, ..flow(1, 4, 20, 8) };
    let mut flows = vec![
        (key(1), flow(0, 1, 5, 1)),
        (key(2), flow(0, 2, 30, 4)),
        (key(3), flow(1, 3, 6, 2)),
        (key(2), named),
        (key(4), flow(0, 5, 7, 1)),
        (key(2), flow(1, 6, 25, 16)),
    ];
    unite(&mut flows);
    flows.sort_unstable_by_key(|(key, _)| key.source_port);
    let alone = |flow| Flow { again: 0, ..flow };
    assert_eq!(flows.len(), 4);
    assert_eq!(flows[0], (key(1), flow(0, 1, 5, 1)));
    assert_eq!(flows[2], (key(3), alone(flow(1, 3, 6, 2))), "it had nobody beside it");
    assert_eq!(flows[3], (key(4), flow(0, 5, 7, 1)));
    let whole = flows[1].1;
    assert_eq!((whole.packets, whole.bytes, whole.first, whole.last), (12, 120, 20, 32));
    assert_eq!((whole.flags, whole.ifindex, whole.sampling), (8, 8, 3), "as for the first packet");
    assert_eq!((whole.tcp_flags, whole.started, whole.ended), (1 << 2 | 1 << 4 | 1 << 6, 3, 6));
    assert_eq!((whole.zero_windows, whole.resets, whole.handshake), (3, 3, times(&[2, 4, 6])));
    assert_eq!((whole.process, whole.opener, whole.opened, whole.again), ([7; 16], 2, 9, 0));
    let once = flows.clone();
    unite(&mut flows);
    assert_eq!(flows, once);
}
