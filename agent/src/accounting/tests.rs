#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Accounting, Identity, MESSAGE_LIMIT};
use crate::buffer::Buffer;
use crate::testing::sample;
use crate::tick::{Tick, add, totals};
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_schemas::raw::{Origin, RawBatch, Totals};

fn identity() -> Identity {
    Identity {
        cluster: "local".to_owned(),
        node: "node".to_owned(),
        boot: "boot".to_owned(),
        tick_length: 1_000,
        origin: Origin::Ebpf,
    }
}

fn tick(start: i64, samples: u16) -> Tick {
    Tick { start, ticks: 1, samples: (0..samples).map(|i| sample(i, 2, 200)).collect(), ..Tick::default() }
}

fn decode(accounting: &mut Accounting, tick: &Tick, limit: usize) -> Vec<RawBatch> {
    let encoded = accounting.batches(&mut tick.clone(), limit).unwrap();
    encoded.iter().map(|part| weir_schemas::decode(&part.value).unwrap()).collect()
}

fn balances(batch: &RawBatch) -> bool {
    let mut sum = batch.published;
    for loss in &batch.lost {
        add(&mut sum, loss.lost);
    }
    sum == batch.seen
}

#[test]
fn an_idle_tick_is_a_heartbeat() {
    let mut accounting = Accounting::new(identity());
    let batches = decode(&mut accounting, &tick(5_000, 0), MESSAGE_LIMIT);
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].sequence, batches[0].tick, batches[0].part, batches[0].parts), (0, 5_000, 0, 1));
    assert!(batches[0].samples.is_empty() && balances(&batches[0]));
}

#[test]
fn a_tick_that_comes_in_parts_is_numbered_through_and_its_last_batch_says_how_many_there_are() {
    let mut accounting = Accounting::new(identity());
    let whole = decode(&mut accounting.clone(), &tick(0, 40), MESSAGE_LIMIT);
    let limit = weir_schemas::encode(&whole[0]).unwrap().len();
    let mut batches = Vec::new();
    for (samples, more) in [(40, true), (80, true), (10, false)] {
        batches.extend(decode(&mut accounting, &Tick { more, ..tick(0, samples) }, limit));
    }
    let count = u32::try_from(batches.len()).unwrap();
    assert!(count > 3, "the one in the middle is split: {count}");
    for (number, batch) in (0..).zip(&batches) {
        assert_eq!((batch.part, batch.sequence), (number, u64::from(number)));
        assert!(batch.part < batch.parts && batch.parts <= count && balances(batch));
        assert!(batch.parts > number + 1 || number + 1 == count, "at least one more follows");
    }
    assert_eq!(batches.last().unwrap().parts, count);
    let next = decode(&mut accounting, &tick(1_000, 1), limit);
    assert_eq!((next[0].part, next[0].parts), (0, 1));
}

#[test]
fn what_turns_up_later_is_no_longer_unaccounted() {
    let mut accounting = Accounting::new(identity());
    let missing = Totals { packets: 3, bytes: 300, samples: 0 };
    let first = decode(&mut accounting, &Tick { unaccounted: missing, ..tick(0, 1) }, MESSAGE_LIMIT);
    assert_eq!(first[0].lost.len(), 1);
    assert!(balances(&first[0]));
    let second = decode(&mut accounting, &tick(1_000, 1), MESSAGE_LIMIT);
    assert!(second[0].lost.is_empty() && balances(&second[0]));
}

proptest! {
    #[test]
    fn parts_hold_every_sample_once_within_the_limit(sizes in prop::collection::vec(0_u16..200, 1..6), limit in 600_usize..4_000) {
        let mut accounting = Accounting::new(identity());
        let (mut sequence, mut published) = (0, Totals::default());
        for (number, size) in (0_i64..).zip(sizes) {
            let tick = tick(number * 1_000, size);
            let expected = tick.samples.clone();
            let encoded = accounting.clone().batches(&mut tick.clone(), limit).unwrap();
            prop_assert!(encoded.len() == 1 || encoded.iter().all(|part| part.value.len() <= limit));
            let batches = decode(&mut accounting, &tick, limit);
            let mut samples = Vec::new();
            for (part, batch) in (0_u32..).zip(&batches) {
                prop_assert_eq!(batch.sequence, sequence);
                prop_assert_eq!((batch.part, batch.parts), (part, u32::try_from(batches.len()).unwrap()));
                prop_assert!(balances(batch));
                sequence += 1;
                add(&mut published, totals(&batch.samples));
                prop_assert_eq!(batch.published, published);
                samples.extend(batch.samples.clone());
            }
            prop_assert_eq!(samples, expected);
        }
    }

    #[test]
    fn whatever_the_buffer_merges_or_drops_the_sums_hold(
        sizes in prop::collection::vec((0_u16..20, 0_u64..4), 1..40),
        limit in 1_000_usize..30_000,
        popped in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (mut buffer, mut accounting) = (Buffer::new(limit, 5_000), Accounting::new(identity()));
        let (mut seen, mut last) = (Totals::default(), None);
        let mut pop = |buffer: &mut Buffer, accounting: &mut Accounting| {
            if let Some(tick) = buffer.pop() {
                let window = tick.start.div_euclid(5_000);
                assert_eq!((tick.start + 1_000 * i64::from(tick.ticks) - 1).div_euclid(5_000), window);
                last = Some(accounting.batch(&tick));
            }
        };
        for (number, ((size, lost), now)) in (0_i64..).zip(sizes.into_iter().zip(popped)) {
            let lost = Totals { packets: lost, bytes: lost * 10, samples: 0 };
            let mut tick = tick(number * 1_000, size);
            tick.lost = BTreeMap::from([("map_full".to_owned(), lost)]);
            add(&mut seen, totals(&tick.samples));
            add(&mut seen, lost);
            buffer.push(tick);
            if now {
                pop(&mut buffer, &mut accounting);
            }
        }
        for _ in 0..50 {
            pop(&mut buffer, &mut accounting);
        }
        let last = last.unwrap();
        prop_assert!(balances(&last));
        // Merging joins samples of one flow; packets and bytes are what was seen.
        prop_assert_eq!((last.seen.packets, last.seen.bytes), (seen.packets, seen.bytes));
    }
}
