#![allow(clippy::unwrap_used, reason = "tests")]

use super::Buffer;
use crate::testing::sample;
use crate::tick::Tick;

fn tick(start: i64, samples: u16) -> Tick {
    Tick { start, ticks: 1, samples: (0..samples).map(|i| sample(i, 1, 100)).collect(), ..Tick::default() }
}

#[test]
fn nothing_is_merged_below_the_limit() {
    let mut buffer = Buffer::new(1 << 20, 5_000);
    (0..5).for_each(|i| buffer.push(tick(i * 1_000, 10)));
    assert_eq!(buffer.pop(), Some(tick(0, 10)));
    assert_eq!(buffer.merged(), 0);
}

#[test]
fn ticks_of_one_window_are_merged_before_anything_is_dropped() {
    let limit = tick(0, 10).weight() * 3;
    let mut buffer = Buffer::new(limit, 5_000);
    (0..5).for_each(|i| buffer.push(tick(i * 1_000, 10)));
    let mut packets = 0;
    let mut ticks = 0;
    while let Some(tick) = buffer.pop() {
        assert!(tick.lost.is_empty());
        packets += tick.samples.iter().map(|sample| sample.packets).sum::<u64>();
        ticks += tick.ticks;
    }
    assert_eq!((packets, ticks), (50, 5));
}

#[test]
fn parts_of_a_tick_that_are_merged_are_one_tick() {
    let mut buffer = Buffer::new(tick(0, 10).weight() * 2, 5_000);
    for (start, first) in [(0, 0_u16), (0, 10), (1_000, 0), (1_000, 10)] {
        let samples = (first..first + 10).map(|i| sample(i, 1, 100)).collect();
        buffer.push(Tick { more: first == 0, ..Tick { samples, ..tick(start, 0) } });
    }
    let merged = buffer.pop().unwrap();
    assert_eq!((merged.ticks, merged.more, merged.samples.len()), (2, false, 20));
    assert_eq!(buffer.pop(), None);
}

#[test]
fn what_must_go_is_a_named_loss_of_the_next() {
    let limit = tick(0, 10).weight() * 2;
    let mut buffer = Buffer::new(limit, 1_000);
    (0..5).for_each(|i| buffer.push(tick(i * 1_000, 10)));
    assert!(buffer.weight() <= limit);
    let oldest = buffer.pop().unwrap();
    assert_eq!(oldest.start, 3_000);
    assert_eq!((oldest.lost["buffer_full"].packets, oldest.lost["buffer_full"].samples), (30, 30));
}
