//! Whatever happened to live processing, a replay from its checkpoints gives the same bytes.

use super::*;
use crate::exactness::properties::{batches, steps};
use crate::exactness::{Stage1, Step, raw_log, reference};
use crate::fixtures::{Fake, history, settings};
use crate::position::Stage1Position;
use crate::stage1::{Content, Input};
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

/// The positions that a replay begins at, when live processing went by these schedules.
fn starts_of(
    history: &Arc<SettingsHistory>,
    join: &Fake,
    raw: &[Vec<Input>],
    schedules: &[Vec<Step>],
    first: Millis,
) -> Vec<Stage1Position> {
    let mut checkpoints = Checkpoints::new(first, vec![0; raw.len()]);
    for (number, (log, schedule)) in (0..).zip(raw.iter().zip(schedules)) {
        let mut stage = Stage1::new(history, join, number, log);
        for step in schedule {
            stage.take(*step);
        }
        for checkpoint in stage.finish_with_checkpoints().1 {
            checkpoints.take(&checkpoint);
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
        records.extend(lockstep.close(join).unwrap());
    }
    assert!(lockstep.complete() >= until, "complete up to {}", lockstep.complete());
    records
}

fn by_id<'a>(records: impl IntoIterator<Item = &'a Enriched>) -> BTreeMap<String, Vec<u8>> {
    records.into_iter().map(|record| (record.id.clone(), encode(record).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_windows_are_replayed_to_the_byte(
        raw in prop::collection::vec(batches(), 3),
        schedules in prop::collection::vec(steps(), 3),
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
        let starts = starts_of(&history, &join, &raw, &schedules, windows.first);
        let (_, live) = reference(&history, &join, &raw);
        let expected = by_id(live.iter().filter(|record| windows.contains(record.window)));
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
    let starts = starts_of(&history, &join, &raw, &[vec![Step::Read, Step::Read, Step::Close]], windows.first);
    let records = replay(&history, &join, &raw, &starts, windows, 1);
    let mut at_level_1: Vec<_> = records.iter().filter(|record| record.level == 1).collect();
    at_level_1.sort_by_key(|record| record.generation);
    let found: Vec<_> = at_level_1.iter().map(|r| (r.window, r.generation, r.totals.forward_bytes)).collect();
    assert_eq!(found, [(100_000, 100_000, 100), (100_000, 110_000, 50)]);
}
