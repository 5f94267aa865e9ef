//! Every schedule of small logs.

use super::*;
use crate::fixtures::{answer, arriving, asking, batch, history, question, sample, settings};
use std::collections::{BTreeSet, HashSet};

/// Schedules that lead to the same state are followed once.
struct Open {
    schedules: Vec<(Vec<Step>, usize)>,
    seen: HashSet<String>,
}

impl Open {
    fn new(faults: usize) -> Self {
        Self { schedules: vec![(Vec::new(), faults)], seen: HashSet::new() }
    }

    fn is_new(&mut self, state: String) -> bool {
        self.seen.insert(state)
    }

    /// Adds what can follow a schedule, `more` besides.
    fn follow(&mut self, steps: &[Step], faults: usize, (can_read, can_close): (bool, bool), more: &[Step]) {
        let mut add = |step, faults| {
            let mut steps = steps.to_vec();
            steps.push(step);
            self.schedules.push((steps, faults));
        };
        if can_read {
            add(Step::Read, faults);
        }
        if can_close {
            add(Step::Close, faults);
            add(Step::CloseOne, faults);
        }
        more.iter().for_each(|step| add(*step, faults));
        if let (Some(less), true) = (faults.checked_sub(1), !steps.is_empty()) {
            add(Step::Crash, less);
            if can_close {
                add(Step::Torn, less);
            }
        }
    }
}

/// All ways for stage 1 to work through a log with at most this many faults; each gives its transactions. Metadata is known
/// as far as its heartbeats tell, which come at any time.
fn stage1_runs(
    history: &Arc<SettingsHistory>,
    join: &Fake,
    (number, log): (i32, &[Input]),
    heartbeats: &[Millis],
    faults: usize,
) -> Vec<Vec<Transaction>> {
    let mut found: Vec<Vec<Transaction>> = Vec::new();
    let mut open = Open::new(faults);
    while let Some((steps, faults)) = open.schedules.pop() {
        let mut stage = Stage1::new(history, join, number, log).stalling(heartbeats);
        for step in &steps {
            stage.take(*step);
        }
        let (can_read, can_close, can_learn) = (stage.can_read(), stage.can_close(), stage.can_learn());
        let owner = (stage.owner.next_offset(), stage.owner.position(), stage.joined, stage.join.complete_to);
        if !open.is_new(format!("{faults} {owner:?} {:?} {:?}", stage.committed, stage.written)) {
            continue;
        }
        if !can_read && !can_close && !can_learn && !found.contains(&stage.written) {
            found.push(stage.written);
        }
        let joins_early = can_read && !heartbeats.is_empty();
        let more = [joins_early.then_some(Step::Advance), can_learn.then_some(Step::Learn)];
        open.follow(&steps, faults, (can_read, can_close), &more.into_iter().flatten().collect::<Vec<_>>());
    }
    found
}

/// All ways for stage 2 to work through a log with at most this many faults; each must store the same.
fn check_stage2(history: &Arc<SettingsHistory>, log: &[PartialMessage], faults: usize, expected: &Stored) -> usize {
    let mut runs = 0;
    let mut open = Open::new(faults);
    while let Some((steps, faults)) = open.schedules.pop() {
        let mut stage = Stage2::new(history, 0, log);
        for step in &steps {
            stage.take(*step);
        }
        let (can_read, can_close) = (stage.next() < log.len(), stage.owner.ready(usize::MAX).is_some());
        let mut stored = Stored::new();
        store(&mut stored, &stage.written);
        let owner = (stage.next(), stage.owner.position());
        if !open.is_new(format!("{faults} {owner:?} {:?} {:?}", stage.committed, stored.keys())) {
            continue;
        }
        if !can_read && !can_close {
            assert_eq!(&stored, expected, "steps {steps:?}");
            runs += 1;
        }
        open.follow(&steps, faults, (can_read, can_close), &[]);
    }
    runs
}

/// All merges of two sequences of transactions.
fn merges(a: &[Transaction], b: &[Transaction]) -> Vec<Vec<Transaction>> {
    match (a, b) {
        ([], rest) | (rest, []) => vec![rest.to_vec()],
        ([first, a_rest @ ..], [other, b_rest @ ..]) => {
            let with = |head: &Transaction, tails: Vec<Vec<Transaction>>| -> Vec<Vec<Transaction>> {
                tails.into_iter().map(|tail| std::iter::once(head.clone()).chain(tail).collect()).collect()
            };
            let mut all = with(first, merges(a_rest, b));
            all.extend(with(other, merges(a, b_rest)));
            all
        }
    }
}

/// Two windows, one batch that comes late, a heartbeat that proves a tick, and one that ends it all.
fn first_log() -> Vec<Input> {
    raw_log(vec![
        asking("node-a", 0, 100_000, vec![sample(100)], vec![question("db.shop")]),
        batch("node-a", 1, 107_000, vec![]),
        asking("node-a", 2, 101_000, vec![sample(7), answer(arriving(sample(3)))], vec![question("late.shop")]),
        batch("node-a", 3, 115_000, vec![]),
    ])
}

fn second_log() -> Vec<Input> {
    raw_log(vec![
        batch("node-b", 0, 101_000, vec![arriving(sample(100))]),
        batch("node-b", 1, 105_000, vec![arriving(sample(9))]),
        batch("node-b", 2, 115_000, vec![]),
    ])
}

#[test]
fn every_schedule_of_both_stages_stores_the_same() {
    let mut settings = settings(2, 1);
    settings.levels_allowed = vec![weir_flow::Level::One];
    settings.levels_denied = settings.levels_allowed.clone();
    let (history, join) = (history(settings), Fake::default());
    let (first, second) = (first_log(), second_log());
    let (expected, records) = reference(&history, &join, &[first.clone(), second.clone()]);
    let generations: BTreeSet<_> = records.flows.iter().map(|record| (record.window, record.generation)).collect();
    assert_eq!(generations, BTreeSet::from([(100_000, 100_000), (100_000, 105_000), (105_000, 105_000)]));
    let questions: Vec<_> = records.dns.iter().map(|record| (&*record.question, record.generation)).collect();
    assert_eq!(questions, [("db.shop", 100_000), ("late.shop", 105_000)]);
    let disturbed = stage1_runs(&history, &join, (0, &first), &[], 2);
    assert!(disturbed.len() > 5, "{} ways to write", disturbed.len());
    let mut seen = HashSet::new();
    let mut check = |order: Vec<Transaction>, faults: usize| {
        let log = internal_logs(1, order).remove(0);
        if seen.insert(format!("{log:?}")) {
            assert!(check_stage2(&history, &log, faults, &expected) > 0);
        }
    };
    let smooth = stage1_runs(&history, &join, (1, &second), &[], 0);
    for b in &smooth {
        for a in &disturbed {
            check([&a[..], b].concat(), 0);
            check([b, &a[..]].concat(), 0);
        }
        for a in stage1_runs(&history, &join, (0, &first), &[], 0) {
            for order in merges(&a, b) {
                check(order, 1);
            }
        }
    }
}

/// Heartbeats before the first window's end, after it, after its grace, and then everything: whenever they come, and whatever
/// has been joined by then, nothing is closed that they do not cover, and what is stored is the same.
#[test]
fn metadata_that_stalls_changes_nothing() {
    let mut settings = settings(1, 1);
    settings.levels_allowed = vec![weir_flow::Level::One];
    settings.levels_denied = settings.levels_allowed.clone();
    let (history, join, log) = (history(settings), Fake::default(), first_log());
    let (expected, _) = reference(&history, &join, std::slice::from_ref(&log));
    let heartbeats = [99_000, 103_000, 107_000, Millis::MAX];
    let runs = stage1_runs(&history, &join, (0, &log), &heartbeats, 1);
    assert!(runs.len() > 5, "{} ways to write", runs.len());
    let mut first_transactions = HashSet::new();
    for run in runs {
        first_transactions.insert(format!("{:?}", run.first()));
        let log = internal_logs(1, run).remove(0);
        assert!(check_stage2(&history, &log, 0, &expected) > 0);
    }
    assert!(first_transactions.len() > 1, "a stall holds the second window back while the first is written");
    let mut early = Stage1::new(&history, &join, 0, &log).stalling(&heartbeats[..2]);
    (0..log.len()).for_each(|_| early.take(Step::Advance));
    early.take(Step::Close);
    let partials = |early: &Stage1<'_>| {
        let messages = early.written.iter().flatten().flatten();
        messages.filter(|message| !matches!(message, PartialMessage::Marker(_))).count()
    };
    assert_eq!(partials(&early), 0, "metadata is known up to 103 000, and the first window's grace ends at 107 000");
    early.heartbeats.push(107_000);
    early.take(Step::Learn);
    early.take(Step::Close);
    assert!(partials(&early) > 0);
}

#[test]
fn two_faults_in_stage_2_change_nothing() {
    let (history, join) = (history(settings(1, 1)), Fake::default());
    let first = first_log();
    let (expected, _) = reference(&history, &join, std::slice::from_ref(&first));
    let mut stage = Stage1::new(&history, &join, 0, &first);
    for _ in 0..first.len() {
        stage.take(Step::Read);
        stage.take(Step::Close);
    }
    let log = internal_logs(1, stage.finish()).remove(0);
    assert!(check_stage2(&history, &log, 2, &expected) > 1);
}
