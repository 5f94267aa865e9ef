use super::account::{Account, Comparison, Lines};
use std::collections::BTreeMap;
use std::ops::Range;
use weir_flow::settings::{FilterAction, FilterRule};
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::ledger::{Ledger, Questions, Received, Reporter, Stored, StoredQuestions};
use weir_schemas::raw::{Loss, Totals};
use weir_schemas::settings::Dated;

const WINDOW: Millis = 60_000;

fn totals(packets: u64) -> Totals {
    Totals { packets, bytes: packets * 100, samples: packets / 10 }
}

fn losses(all: &[(&str, u64)]) -> Vec<Loss> {
    all.iter().map(|(reason, packets)| Loss { reason: (*reason).to_owned(), lost: totals(*packets) }).collect()
}

fn received(window: i64, (first, last): (u64, u64), packets: u64, seen: u64) -> Received {
    Received {
        cluster: "c".to_owned(),
        partition: 0,
        generation: window * WINDOW,
        node: "node-a".to_owned(),
        boot: "boot".to_owned(),
        first_sequence: first,
        last_sequence: last,
        received: totals(packets),
        seen: totals(seen),
        agent_lost: vec![],
        lost: vec![],
        clamped: 0,
        counted: totals(packets),
        questions: Questions::default(),
        questions_counted: 0,
        questions_lost: vec![],
    }
}

fn stored(window: i64, level: u8, packets: u64) -> Ledger {
    Ledger::Stored(Stored {
        cluster: "c".to_owned(),
        partition: 0,
        generation: window * WINDOW,
        level,
        reporter: Reporter::Initiator,
        stored: totals(packets),
        filtered: Totals::default(),
        outside: Totals::default(),
    })
}

fn settings() -> RecordSettings {
    let levels = vec![Level::Two];
    RecordSettings { levels_allowed: levels.clone(), levels_denied: levels, ..RecordSettings::standard("c") }
}

fn account_of(lines: Vec<Ledger>, settings: RecordSettings, windows: Range<i64>, written: Option<i64>) -> Account {
    let mut taken = Lines::new("c".to_owned(), windows.start * WINDOW..windows.end.saturating_mul(WINDOW));
    lines.into_iter().for_each(|line| taken.take(line));
    taken.account(&Dated { entries: vec![settings], too_late: 0 }, written.map(|window| window * WINDOW))
}

fn account(lines: Vec<Ledger>) -> Account {
    account_of(lines, settings(), 0..i64::MAX, Some(99))
}

#[test]
fn what_was_seen_is_received_or_lost_by_name() {
    let lost = losses(&[("map_full", 7)]);
    let late = losses(&[("too_late", 5)]);
    let account = account(vec![
        Ledger::Received(received(1, (0, 11), 100, 100)),
        Ledger::Received(Received { agent_lost: lost, lost: late, ..received(2, (12, 23), 50, 162) }),
        stored(1, 2, 100),
        stored(2, 2, 50),
    ]);
    assert!(account.adds_up(), "{account:?}");
    let agent = &account.agents[0].amounts;
    assert_eq!(
        (agent.seen, agent.received, agent.missing),
        (totals(162), totals(150), Totals { samples: 1, ..totals(0) })
    );
    assert_eq!(agent.agent_lost, BTreeMap::from([("map_full".to_owned(), totals(7))]));
    assert_eq!(agent.lost, BTreeMap::from([("too_late".to_owned(), totals(5))]));
    assert_eq!((account.levels[0].comparison, account.levels[0].stored), (Comparison::Equal, totals(150)));
}

#[test]
fn batches_that_never_arrived_are_missing_by_the_packet() {
    let gap = account(vec![
        Ledger::Received(received(1, (0, 11), 100, 100)),
        Ledger::Received(received(2, (14, 23), 50, 190)),
        stored(1, 2, 100),
        stored(2, 2, 50),
    ]);
    assert_eq!(gap.agents[0].amounts.missing, totals(40));
    assert!(gap.adds_up(), "a loss that has a name is no error: {gap:?}");
}

#[test]
fn more_than_was_seen_does_not_add_up() {
    let twice = account(vec![
        Ledger::Received(received(1, (0, 11), 100, 100)),
        Ledger::Received(received(2, (12, 23), 60, 150)),
        stored(1, 2, 100),
        stored(2, 2, 60),
    ]);
    assert_eq!(twice.agents[0].amounts.too_much, totals(10));
    assert!(!twice.adds_up());
}

#[test]
fn records_that_are_not_what_was_received_do_not_add_up() {
    for packets in [0, 99, 101] {
        let wrong = account(vec![Ledger::Received(received(1, (0, 11), 100, 100)), stored(1, 2, packets)]);
        assert_eq!(wrong.levels[0].comparison, Comparison::Wrong, "{packets}");
        assert!(!wrong.adds_up());
    }
    // What is too little in one window is not made up for by another.
    let two = account(vec![
        Ledger::Received(received(1, (0, 11), 100, 100)),
        Ledger::Received(received(2, (12, 23), 100, 200)),
        stored(1, 2, 99),
        stored(2, 2, 101),
    ]);
    assert!(!two.adds_up());
    let none = account(vec![Ledger::Received(received(1, (0, 11), 100, 100))]);
    assert!(!none.adds_up(), "no record of a window that is written");
}

#[test]
fn a_level_of_denied_flows_has_a_part_and_sampled_flows_stand_for_more() {
    let denied = RecordSettings { levels_denied: vec![Level::Zero, Level::Two], ..settings() };
    let lines =
        |zero, two| vec![Ledger::Received(received(1, (0, 11), 100, 100)), stored(1, 0, zero), stored(1, 2, two)];
    let part = account_of(lines(30, 100), denied.clone(), 0..9, Some(9));
    assert_eq!((part.levels[0].level, part.levels[0].comparison), (0, Comparison::Part));
    assert!(part.adds_up());
    assert!(!account_of(lines(130, 100), denied, 0..9, Some(9)).adds_up(), "a part is not more than the whole");

    let rule = FilterRule { expression: "dst.port == 53".to_owned(), action: FilterAction::Sample(10) };
    let sampled = RecordSettings { filters: vec![rule], ..settings() };
    let more = |counted| {
        let line = Received { counted: totals(counted), ..received(1, (0, 1), 100, 100) };
        account_of(vec![Ledger::Received(line), stored(1, 2, 140)], sampled.clone(), 0..9, Some(9))
    };
    assert_eq!(more(140).levels[0].comparison, Comparison::Equal);
    assert_eq!(more(130).levels[0].comparison, Comparison::Wrong);
    let earlier = more(0);
    assert_eq!(earlier.levels[0].comparison, Comparison::Untold, "a line that does not say for how much samples stand");
    assert!(earlier.adds_up());
}

#[test]
fn windows_that_are_not_written_wait() {
    let lines = vec![
        Ledger::Received(received(1, (0, 11), 100, 100)),
        Ledger::Received(received(2, (12, 23), 50, 150)),
        stored(1, 2, 100),
    ];
    let account = account_of(lines.clone(), settings(), 0..9, Some(1));
    assert_eq!((account.generations.len(), account.open.len()), (1, 1));
    assert!(account.adds_up());
    assert_eq!(account.agents[0].amounts.received, totals(100));
    let nothing = account_of(lines, settings(), 0..9, None);
    assert!(nothing.generations.is_empty() && nothing.agents.is_empty() && nothing.adds_up());
}

#[test]
fn a_time_in_the_middle_begins_where_the_window_before_ended() {
    let lines = |seen| {
        vec![
            Ledger::Received(received(1, (0, 11), 100, 100)),
            stored(1, 2, 1),
            Ledger::Received(received(2, (12, 23), 50, seen)),
            stored(2, 2, 50),
        ]
    };
    let account = account_of(lines(170), settings(), 2..9, Some(9));
    assert_eq!((account.agents[0].amounts.seen, account.agents[0].amounts.missing), (totals(70), totals(20)));
    assert!(account.adds_up(), "what is not asked about does not count: {account:?}");
    // Of an agent that is met in the middle it is not known what came before.
    let middle = account_of(lines(170).split_off(2), settings(), 2..9, Some(9));
    assert_eq!((middle.agents[0].amounts.seen, middle.agents[0].amounts.missing), (totals(50), totals(0)));
}

#[test]
fn a_line_that_comes_again_counts_once_and_must_be_the_same() {
    let line = || Ledger::Received(received(1, (0, 11), 100, 100));
    assert!(account(vec![line(), line(), stored(1, 2, 100)]).adds_up());
    let other = account(vec![line(), Ledger::Received(received(1, (0, 11), 90, 100)), stored(1, 2, 100)]);
    assert_eq!(other.contradictory, 1);
    assert!(!other.adds_up());
    let mut foreign = received(1, (0, 11), 5, 5);
    foreign.cluster = "another".to_owned();
    assert!(account(vec![line(), stored(1, 2, 100), Ledger::Received(foreign)]).adds_up());
}

#[test]
fn questions_count_like_packets() {
    let asked = Received { questions_counted: 9, ..received(1, (0, 11), 100, 100) };
    let records = |stored| {
        Ledger::Questions(StoredQuestions {
            cluster: "c".to_owned(),
            partition: 0,
            generation: WINDOW,
            records: 1,
            stored,
            coarsened: 0,
        })
    };
    let lines = |count| vec![Ledger::Received(asked.clone()), stored(1, 2, 100), records(count)];
    assert!(account(lines(9)).adds_up());
    assert!(!account(lines(8)).adds_up());
}

/// Batches of one agent come in any generations, some of them never: what is missing is what they had, to the packet.
#[test]
fn whatever_is_lost_on_the_way_is_missing_exactly() {
    use proptest::prelude::*;
    let batch = (0_u64..50, 0_u64..5, 0_u8..8, prop::bool::weighted(0.15));
    proptest!(|(batches in prop::collection::vec(batch, 1..60))| {
        let mut lines: BTreeMap<i64, Received> = BTreeMap::new();
        let (mut seen, mut lost_by_agent, mut dropped, mut missing, mut got) = (0, 0, 0, 0, 0);
        let mut window = 1;
        for (sequence, (packets, lost, kind, is_dropped)) in (0..).zip(&batches) {
            // Mostly the same generation or the next; now and then one before it.
            window += i64::from(*kind == 7);
            let generation = window - i64::from(*kind == 6);
            seen += packets + lost;
            lost_by_agent += lost;
            if *is_dropped {
                dropped += packets;
                continue;
            }
            missing = dropped;
            got += packets;
            let line = lines.entry(generation).or_insert_with(|| received(generation, (sequence, sequence), 0, 0));
            line.last_sequence = sequence;
            line.received = totals(line.received.packets + packets);
            line.counted = line.received;
            line.seen = totals(seen);
            line.agent_lost = losses(&[("map_full", lost_by_agent)]);
        }
        prop_assume!(batches.first().is_some_and(|first| !first.3));
        let records: Vec<Ledger> = lines.values().map(|line| stored(line.generation / WINDOW, 2, line.received.packets)).collect();
        let account = account(lines.into_values().map(Ledger::Received).chain(records).collect());
        let agent = &account.agents[0].amounts;
        prop_assert_eq!((agent.received.packets, agent.missing.packets, agent.too_much.packets), (got, missing, 0));
        prop_assert!(account.adds_up());
    });
}
