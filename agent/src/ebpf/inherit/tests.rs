#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Grid, Part, parts};
use crate::abi::{COUNT_PARSE, COUNT_SEEN, COUNTERS, Count, DropKey, Dropped, Flow, Key, Tcp, TcpKey};
use crate::dns::Unnamed;
use crate::ebpf::capture::Drained;
use crate::ebpf::capture::ledger::Inherited;
use crate::ebpf::questions::Answered;
use crate::testing::question;
use crate::tick::{Mark, Told};
use proptest::prelude::*;

/// Ticks of 1 s, windows of 5 s; the kernel's clock is 1 000 s behind.
const GRID: Grid = Grid { tick: 1_000, window: 5_000, offset: 1_000_000_000_000 };
const SECOND: u64 = 1_000_000_000;

fn flow(port: u16, first: u64, last: u64, packets: u64) -> (Key, Flow) {
    let key = Key { source_port: port, ..Key::default() };
    (key, Flow { first: first * SECOND, last: last * SECOND, packets, bytes: packets * 100, ..Flow::default() })
}

fn inherited(flows: Vec<(Key, Flow)>, seen: u64, broken: u64) -> Inherited {
    let mut counters = [Count::default(); COUNTERS];
    counters[COUNT_SEEN] = Count { packets: seen, bytes: seen * 100 };
    counters[COUNT_PARSE] = Count { packets: broken, bytes: broken * 100 };
    let mut settled = Mark::default();
    settled.counts[COUNT_SEEN] = Count { packets: 7, bytes: 700 };
    Inherited { drained: Drained { flows, counters, ..Drained::default() }, settled, ..Inherited::default() }
}

fn packets(part: &Part) -> u64 {
    part.drained.flows.iter().map(|(_, flow)| flow.packets).sum()
}

#[test]
fn a_flow_is_of_the_window_of_its_last_packet() {
    let flows = vec![flow(1, 2, 4, 5), flow(2, 3, 6, 3), flow(3, 8, 8, 1)];
    let parts = parts(inherited(flows, 20, 2), Vec::new(), GRID, 9 * SECOND);
    let told: Vec<_> = parts.iter().map(|part| (part.start, part.ticks, packets(part))).collect();
    assert_eq!(told, [(1_002_000, 3, 5), (1_005_000, 4, 4)]);
    // Before its window it has no first packet.
    assert!(parts[1].drained.flows.iter().all(|(_, flow)| flow.first >= 5 * SECOND));
    // What is in no flow is seen in the first part: 20 − 4 of the later one.
    assert_eq!(
        (parts[0].drained.counters[COUNT_SEEN].packets, parts[0].drained.counters[COUNT_PARSE].packets),
        (16, 2)
    );
    assert_eq!(parts[1].drained.counters[COUNT_SEEN], Count { packets: 4, bytes: 400 });
    assert_eq!(parts[0].mark.counts[COUNT_SEEN].packets, 7 + 16);
    assert_eq!(parts[1].mark.counts[COUNT_SEEN].packets, 7 + 20);
}

#[test]
fn what_is_told_beside_a_flow_goes_where_the_flow_is() {
    let flows = vec![flow(1, 2, 4, 5), flow(2, 3, 6, 3), flow(2, 4, 4, 1)];
    let mut left = inherited(flows, 9, 0);
    let drop =
        |source_port| (DropKey { source_port, ..DropKey::default() }, Dropped { packets: 1, ..Dropped::default() });
    let tcp = |source_port| (TcpKey { source_port, ..TcpKey::default() }, Tcp { retransmits: 1, ..Tcp::default() });
    left.drained.drops = vec![drop(1), drop(2), drop(3)];
    left.drained.tcp = vec![tcp(1), tcp(3)];
    // The flows are TCP's.
    left.drained.flows.iter_mut().for_each(|(key, _)| key.protocol = 6);
    left.drained.drops.iter_mut().for_each(|(key, _)| key.protocol = 6);
    let parts = parts(left, Vec::new(), GRID, 9 * SECOND);
    let told: Vec<(Vec<u16>, Vec<u16>)> = parts
        .iter()
        .map(|part| {
            let drops = part.drained.drops.iter().map(|(key, _)| key.source_port);
            let tcp = part.drained.tcp.iter().map(|(key, _)| key.source_port);
            (drops.collect(), tcp.collect())
        })
        .collect();
    // The last part that has it; the last of all where none has.
    assert_eq!(told, [(vec![1], vec![1]), (vec![2, 3], vec![3])]);
}

#[test]
fn what_payloads_tell_goes_with_its_window_and_says_from_where_a_successor_reads() {
    let answered = |window: i64, first: u64, last: u64, position: u64| Answered {
        window,
        span: (first * SECOND, last * SECOND),
        asked: vec![Unnamed { sample: question(1), interface: 7, client_port: 1 }],
        told: Told { until: last * SECOND, read: last, position },
    };
    let told = Told { until: 2, read: 1, position: 0 };
    let left = Inherited { told, ..inherited(vec![flow(1, 2, 4, 5), flow(2, 12, 13, 3)], 8, 0) };
    let parts = parts(left, vec![answered(1_005_000, 7, 9, 0), answered(1_010_000, 11, 11, 77)], GRID, 14 * SECOND);
    let read: Vec<_> = parts.iter().map(|p| (p.start, p.ticks, packets(p), p.asked.len(), p.mark.told)).collect();
    let of = |last: u64, position| Told { until: last * SECOND, read: last, position };
    let expected = [
        (1_002_000, 3, 5, 0, told),
        (1_007_000, 3, 0, 1, of(9, 0)),
        // Its first flow came after its first payload.
        (1_011_000, 3, 3, 1, of(11, 77)),
    ];
    assert_eq!(read, expected);
}

#[test]
fn where_nothing_is_left_the_counters_still_are() {
    let parts = parts(inherited(Vec::new(), 9, 0), Vec::new(), GRID, 12 * SECOND);
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].start, parts[0].ticks, parts[0].drained.counters[COUNT_SEEN].packets), (1_012_000, 1, 9));
}

proptest! {
    #[test]
    fn parts_together_are_all_and_none_leaves_its_window(
        times in prop::collection::vec((0_u64..40, 0_u64..40, 1_u64..9), 0..30), lost in 0_u64..50,
    ) {
        let flows: Vec<_> =
            (0..).zip(&times).map(|(port, (first, long, packets))| flow(port, *first, first + long, *packets)).collect();
        let all: u64 = flows.iter().map(|(_, flow)| flow.packets).sum();
        let parts = parts(inherited(flows, all + lost, 0), Vec::new(), GRID, 90 * SECOND);
        prop_assert_eq!(parts.iter().map(packets).sum::<u64>(), all);
        let seen: u64 = parts.iter().map(|part| part.drained.counters[COUNT_SEEN].packets).sum();
        prop_assert_eq!(seen, all + lost);
        prop_assert_eq!(parts.last().unwrap().mark.counts[COUNT_SEEN].packets, 7 + all + lost);
        for part in &parts {
            let end = part.start + GRID.tick * i64::from(part.ticks);
            prop_assert_eq!(part.start.div_euclid(GRID.window), (end - 1).div_euclid(GRID.window));
            for (_, flow) in &part.drained.flows {
                let wall = |time: u64| i64::try_from(time / 1_000_000).unwrap() + 1_000_000;
                prop_assert!(wall(flow.first) >= part.start && wall(flow.last) < end);
            }
        }
    }
}
