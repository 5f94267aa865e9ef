#![allow(clippy::unwrap_used, reason = "tests")]

use super::Aggregator;
use crate::packet::Packet;
use crate::tick::{Tick, totals};
use proptest::prelude::*;
use weir_schemas::raw::{End, OpenedBy, Point};

fn packet(forth: bool, protocol: u8, flags: u16, sequence: u32) -> Packet {
    let (a, b) = (("10.0.0.1".parse().unwrap(), 5_000), ("10.0.0.2".parse().unwrap(), 80));
    let (from, to) = if forth { (a, b) } else { (b, a) };
    Packet {
        source: from.0,
        destination: to.0,
        source_port: from.1,
        destination_port: to.1,
        protocol,
        bytes: 100,
        flags,
        sequence,
        stalled: false,
        payload: 0,
        end: 0,
    }
}

fn run(packets: &[(i64, Packet)]) -> Vec<Tick> {
    let mut aggregator = Aggregator::new(1_000, 1_000);
    let mut ticks = Vec::new();
    for (time, packet) in packets {
        ticks.extend(aggregator.advance(*time));
        aggregator.add(i128::from(*time) * 1_000_000, packet);
    }
    ticks.extend(aggregator.finish());
    ticks
}

#[test]
fn a_connection_starts_and_ends_once_and_its_opener_is_known_in_both_directions() {
    let ticks = run(&[
        (100, packet(true, 6, 0x02, 1)),
        (600, packet(true, 6, 0x02, 1)), // the same SYN again
        (610, packet(false, 6, 0x12, 9)),
        (620, packet(true, 6, 0x10, 2)),
        (1_500, packet(true, 6, 0x11, 3)),
        (1_510, packet(false, 6, 0x11, 10)),
    ]);
    assert_eq!(ticks.iter().map(|tick| tick.start).collect::<Vec<_>>(), [0, 1_000]);
    let all: Vec<_> = ticks.iter().flat_map(|tick| &tick.samples).collect();
    assert_eq!(all.iter().map(|sample| sample.started).sum::<u64>(), 1);
    assert_eq!(all.iter().map(|sample| sample.ended).sum::<u64>(), 1);
    for sample in all {
        assert_eq!((sample.point, sample.end, sample.opened_at), (Point::Capture, End::Source, Some(100)));
        let opener = if sample.source_port == 5_000 { OpenedBy::Source } else { OpenedBy::Destination };
        assert_eq!(sample.opened_by, opener);
    }
    assert_eq!(ticks[1].samples[0].cumulative_packets, 4);
}

#[test]
fn a_port_used_again_is_a_new_connection() {
    let ticks = run(&[
        (100, packet(true, 6, 0x02, 1)),
        (200, packet(true, 6, 0x04, 2)),
        (300, packet(true, 6, 0x02, 77)),
        (400, packet(true, 6, 0x04, 78)),
    ]);
    assert_eq!((ticks[0].samples[0].started, ticks[0].samples[0].ended), (2, 2));
    assert_eq!(ticks[0].samples[0].opened_at, Some(300));
}

#[test]
fn a_connection_in_the_middle_has_no_known_opener() {
    let ticks = run(&[(100, packet(true, 6, 0x10, 1))]);
    assert_eq!((ticks[0].samples[0].opened_by, ticks[0].samples[0].opened_at), (OpenedBy::Unknown, None));
}

#[test]
fn silence_ends_a_datagram_conversation() {
    let other = Packet { source_port: 6_000, ..packet(true, 17, 0, 0) };
    let ticks = run(&[(100, packet(true, 17, 0, 0)), (200, packet(false, 17, 0, 0)), (70_000, other)]);
    let ended: Vec<_> = ticks.iter().flat_map(|tick| &tick.samples).filter(|sample| sample.ended > 0).collect();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].packets, ended[0].source_port, ended[0].started), (0, 5_000, 0));
}

proptest! {
    #[test]
    fn nothing_is_lost_or_made(steps in prop::collection::vec((0_i64..400, any::<bool>(), 0_u16..64, any::<bool>()), 1..200)) {
        let mut time = 1_700_000_000_000;
        let packets: Vec<_> = steps.iter().map(|(step, forth, flags, tcp)| {
            time += step;
            (time, packet(*forth, if *tcp { 6 } else { 17 }, *flags, 1))
        }).collect();
        let ticks = run(&packets);
        let sum: u64 = ticks.iter().map(|tick| totals(&tick.samples).packets).sum();
        prop_assert_eq!(sum, u64::try_from(packets.len()).unwrap());
        for tick in &ticks {
            for sample in &tick.samples {
                prop_assert!(sample.packets == 0 || (tick.start..tick.start + 1_000).contains(&sample.first_seen));
                prop_assert_eq!(sample.bytes, sample.packets * 100);
            }
        }
        prop_assert_eq!(run(&packets), ticks);
    }
}

#[test]
fn handshakes_resets_and_closed_windows_are_counted_where_they_are_sent() {
    let closed = Packet { stalled: true, ..packet(true, 6, 0x10, 2) };
    let ticks = run(&[
        (100, packet(true, 6, 0x02, 1)),
        (400, packet(true, 6, 0x02, 1)),
        (430, packet(false, 6, 0x12, 9)),
        (440, packet(false, 6, 0x12, 9)),
        (450, closed),
        (460, packet(true, 6, 0x14, 3)),
    ]);
    let of = |port: u16| ticks[0].samples.iter().find(|sample| sample.source_port == port).unwrap();
    let time = of(80).handshake.unwrap();
    assert_eq!((time.count, time.min, time.max, time.sum), (1, 330_000, 330_000, 330_000));
    assert_eq!((of(5_000).handshake, of(5_000).resets, of(5_000).zero_windows), (None, 1, 1));
}
