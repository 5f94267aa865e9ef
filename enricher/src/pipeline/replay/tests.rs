//! Whatever happened to live processing, a replay from its checkpoints gives the same bytes.

use super::*;
use crate::exactness::properties::{batches, steps};
use crate::exactness::{Stage1, Step, raw_log, reference};
use crate::fixtures::{Fake, history, settings};
use crate::position::Stage1Position;
use crate::stage1::{Content, Input};
use crate::stage2::Enriched;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_schemas::encode;
use weir_stream::Record;

const WINDOW: Millis = 5_000;

fn record(partition: i32, input: &Input) -> Record {
    let Content::Batch(batch) = &input.content else { panic!("only batches") };
    Record {
        topic: topics::raw("local").into(),
        partition,
        offset: input.offset,
        timestamp: input.append_time,
        key: None,
        value: Some(encode(batch).unwrap().into()),
        headers: Vec::new(),
    }
}

/// The positions that a replay begins at, when live processing went by these schedules while metadata was complete up to
/// `known`.
fn starts_of(
    history: &Arc<SettingsHistory>,
    known: Millis,
    raw: &[Vec<Input>],
    schedules: &[Vec<Step>],
    first: Millis,
) -> Vec<Stage1Position> {
    let join = Fake { complete_to: known, ..Fake::default() };
    let mut checkpoints = Checkpoints::new(first, vec![0; raw.len()]);
    for (number, (log, schedule)) in (0..).zip(raw.iter().zip(schedules)) {
        let mut stage = Stage1::new(history, &join, number, log);
        for step in schedule {
            stage.take(*step);
        }
        for checkpoint in &stage.checkpoints {
            checkpoints.take(checkpoint);
        }
    }
    checkpoints.starts("raw", WINDOW).unwrap()
}

/// Replays in batches of `size` messages, of logs in which nothing before the starts is left.
fn replay(
    history: &Arc<SettingsHistory>,
    join: &Fake,
    raw: &[Vec<Input>],
    starts: &[Stage1Position],
    windows: Windows,
    size: usize,
) -> Vec<Enriched> {
    let until = plan::last_generation(windows.last, history);
    let meters = Meters::new(&Metrics::new());
    let mut lockstep = Lockstep::new("local", history, &meters, windows, until, starts);
    let mut next: Vec<usize> = starts.iter().map(|start| usize::try_from(start.offset).unwrap()).collect();
    let mut records = Vec::new();
    while let Some(number) = lockstep.wanted() {
        let at = usize::try_from(number).unwrap();
        let batch = raw[at].iter().skip(next[at]).take(size);
        let before = next[at];
        for input in batch {
            lockstep.read(&record(number, input));
            next[at] += 1;
        }
        if next[at] == before {
            lockstep.end(number);
        }
        records.extend(lockstep.close(join).unwrap().flows);
    }
    assert!(lockstep.complete() >= until, "complete up to {}", lockstep.complete());
    records
}

fn by_id<'a>(records: impl IntoIterator<Item = &'a Enriched>) -> BTreeMap<String, Vec<u8>> {
    records.into_iter().map(|record| (record.id.clone(), encode(record).unwrap())).collect()
}

proptest! {
    #[test]
    fn any_windows_are_replayed_to_the_byte(
        raw in prop::collection::vec(batches(), 3),
        schedules in prop::collection::vec(steps(), 3),
        known in prop_oneof![(100..140_i64).prop_map(|second| second * 1_000), Just(Millis::MAX)],
        limit in prop_oneof![Just(1_u32), Just(3), Just(1_000)],
        first in 19..26_i64,
        more in 0..4_i64,
        size in 1..12_usize,
    ) {
        let mut settings = settings(3, 2);
        settings.keys_limit = limit;
        settings.late_bound = 20_000;
        let (history, mut join) = (history(settings), Fake::default());
        join.covered = vec!["node-a".to_owned()];
        let raw: Vec<Vec<Input>> = raw.into_iter().map(raw_log).collect();
        let windows = Windows { first: first * WINDOW, last: (first + more) * WINDOW };
        let starts = starts_of(&history, known, &raw, &schedules, windows.first);
        let (_, live) = reference(&history, &join, &raw);
        let expected = by_id(live.flows.iter().filter(|record| windows.contains(record.window)));
        let records = replay(&history, &join, &raw, &starts, windows, size);
        prop_assert_eq!(records.len(), expected.len(), "each record once");
        prop_assert_eq!(by_id(&records), expected);
        prop_assert!(records.is_sorted_by_key(|record| (record.generation, record.id.clone())));
    }
}

#[test]
fn a_late_sample_is_in_the_replay_of_its_window() {
    use crate::fixtures::{batch, sample};
    let mut settings = settings(1, 1);
    settings.late_bound = 20_000;
    let (history, join) = (history(settings), Fake::default());
    let raw = vec![raw_log(vec![
        batch("node-a", 0, 100_000, vec![sample(100)]),
        batch("node-a", 1, 114_000, vec![sample(7)]),
        batch("node-a", 2, 101_000, vec![sample(50)]),
        batch("node-a", 3, 200_000, vec![]),
    ])];
    let windows = Windows { first: 100_000, last: 100_000 };
    let starts = starts_of(&history, Millis::MAX, &raw, &[vec![Step::Read, Step::Read, Step::Close]], windows.first);
    let records = replay(&history, &join, &raw, &starts, windows, 1);
    let mut at_level_1: Vec<_> = records.iter().filter(|record| record.level == 1).collect();
    at_level_1.sort_by_key(|record| record.generation);
    let found: Vec<_> = at_level_1.iter().map(|r| (r.window, r.generation, r.totals.forward_bytes)).collect();
    assert_eq!(found, [(100_000, 100_000, 100), (100_000, 110_000, 50)]);
}

#[test]
fn a_checkpoint_knows_the_watermark_that_no_message_after_it_tells() {
    use crate::fixtures::{batch, sample};
    use crate::stage1::RawBatch;
    use weir_schemas::raw::Origin;
    let mut settings = settings(1, 1);
    settings.late_bound = 40_000;
    let (history, join) = (history(settings), Fake::default());
    let raw = vec![raw_log(vec![
        batch("node-a", 0, 100_000, vec![sample(100)]),
        RawBatch { origin: Origin::Owner, ..batch("owner/0", 0, 130_000, vec![]) },
        batch("node-a", 1, 106_000, vec![sample(50)]),
        batch("node-a", 2, 200_000, vec![]),
    ])];
    let windows = Windows { first: 105_000, last: 105_000 };
    // Metadata holds back what the heartbeat has completed: T is 100 000 when M is 131 000.
    let starts = starts_of(&history, 107_000, &raw, &[vec![Step::Read, Step::Read, Step::Close]], windows.first);
    assert_eq!(starts, [Stage1Position { offset: 2, written: 100_000, watermark: 131_000 }]);
    let records = replay(&history, &join, &raw, &starts, windows, 1);
    assert!(!records.is_empty() && records.iter().all(|record| record.generation == 125_000), "{records:?}");
}

#[test]
fn memory_does_not_grow_with_the_number_of_windows() {
    use crate::fixtures::{arriving, batch, sample};
    let mut settings = settings(2, 1);
    settings.late_bound = 20_000;
    let (history, join) = (history(settings), Fake::default());
    // One partition's messages all lie before the other's, as they do for readers that fetch ahead.
    let most = |ticks: i64| {
        let log = |node: &str, arrives: bool| {
            let one = |tick: i64| {
                let sample = if arrives { arriving(sample(10)) } else { sample(10) };
                batch(node, u64::try_from(tick).unwrap(), 100_000 + tick * 1_000, vec![sample])
            };
            raw_log((0..ticks).map(one).chain([batch(node, 0, 600_000, vec![])]).collect())
        };
        let raw = [log("node-a", false), log("node-b", true)];
        let windows = Windows { first: 100_000, last: 100_000 + ticks * 1_000 };
        let until = plan::last_generation(windows.last, &history);
        let meters = Meters::new(&Metrics::new());
        let starts = [Stage1Position::START; 2];
        let mut lockstep = Lockstep::new("local", &history, &meters, windows, until, &starts);
        let mut next = [0; 2];
        let (mut most, mut records) = (0, 0);
        while let Some(number) = lockstep.wanted() {
            let at = usize::try_from(number).unwrap();
            match raw[at].get(next[at]) {
                Some(input) => lockstep.read(&record(number, input)),
                None => lockstep.end(number),
            }
            next[at] += 1;
            most = most.max(lockstep.memory());
            records += lockstep.close(&join).unwrap().flows.len();
        }
        assert!(records > usize::try_from(ticks / 5).unwrap());
        most
    };
    let (few, many) = (most(40), most(400));
    assert!(many < few + few / 10, "{few} bytes for 8 windows, {many} for 80");
}
