use super::*;
use crate::amount::Amount;
use proptest::prelude::*;
use weir_elastic::{Mark, NodeDisk, Watermarks};

const DAY: Millis = 86_400_000;
/// 2026-11-22T12:00:00Z.
const NOW: Millis = 1_795_348_800_000;

fn index(name: &str, bytes: u64) -> Index {
    let name = Name::parse(name).unwrap();
    Index { name, bytes: Some(bytes), documents: Some(bytes), created: name.start }
}

fn inventory(indices: &[(&str, u64)]) -> Inventory {
    Inventory {
        indices: indices.iter().map(|(n, b)| index(n, *b)).collect(),
        disks: vec![disk(1_000_000, 900_000)],
        ..Inventory::default()
    }
}

fn disk(total: u64, available: u64) -> NodeDisk {
    named("n", total, available)
}

fn named(node: &str, total: u64, available: u64) -> NodeDisk {
    NodeDisk { id: node.into(), node: node.into(), total, available, measured: None }
}

/// Indices that stand each on a node.
fn placed(indices: &[(&str, &str, u64)], disks: &[NodeDisk]) -> Inventory {
    Inventory {
        indices: indices.iter().map(|(name, _, bytes)| index(name, *bytes)).collect(),
        placement: indices
            .iter()
            .map(|(name, node, bytes)| (Name::parse(name).unwrap(), [((*node).to_owned(), *bytes)].into()))
            .collect(),
        disks: disks.to_vec(),
        ..Inventory::default()
    }
}

fn tenth() -> Policy {
    Policy { reserve: Amount::Percent(10), ..budget(u64::MAX) }
}

fn budget(bytes: u64) -> Policy {
    Policy {
        budget: Amount::Bytes(bytes),
        reserve: Amount::Bytes(0),
        max_age: None,
        min_age: Duration::ZERO,
        keeps: vec![],
    }
}

fn goes(inventory: &Inventory, policy: &Policy) -> Vec<String> {
    plan(inventory, policy, NOW).actions.iter().map(|a| a.index.to_string()).collect()
}

#[test]
fn nothing_goes_inside_the_budget() {
    let plan =
        plan(&inventory(&[("weir-flows-l1-2026.11.20", 60), ("weir-flows-l1-2026.11.21", 40)]), &budget(100), NOW);
    assert_eq!((plan.actions.len(), plan.after, plan.stuck), (0, 100, None));
}

#[test]
fn the_oldest_day_goes_first_and_of_a_day_the_more_detailed_level() {
    let inventory = inventory(&[
        ("weir-flows-l2-2026.11.20", 10),
        ("weir-flows-l1-2026.11.20", 50),
        ("weir-flows-l2-2026.11.19", 10),
        ("weir-flows-l1-2026.11.19", 50),
        ("weir-flows-l2-2026.11.21", 10),
        ("weir-flows-l1-2026.11.21", 50),
    ]);
    assert_eq!(goes(&inventory, &budget(179)), ["weir-flows-l1-2026.11.19"]);
    assert_eq!(
        goes(&inventory, &budget(100)),
        ["weir-flows-l1-2026.11.19", "weir-flows-l2-2026.11.19", "weir-flows-l1-2026.11.20"]
    );
}

#[test]
fn all_hours_of_the_detailed_level_go_before_the_summary_of_that_day() {
    let inventory = inventory(&[
        ("weir-flows-l2-2026.11.20", 1),
        ("weir-flows-l1-2026.11.20.23", 1),
        ("weir-flows-l1-2026.11.20.01", 1),
        ("weir-flows-l2-2026.11.21", 1),
        ("weir-flows-l1-2026.11.21.00", 1),
    ]);
    assert_eq!(goes(&inventory, &budget(3)), ["weir-flows-l1-2026.11.20.01", "weir-flows-l1-2026.11.20.23"]);
}

#[test]
fn the_index_being_written_never_goes_and_the_advice_names_the_setting() {
    let inventory = inventory(&[("weir-flows-l1-2026.11.22", 500), ("weir-flows-l2-2026.11.22", 100)]);
    let plan = plan(&inventory, &budget(100), NOW);
    assert!(plan.actions.is_empty());
    let stuck = plan.stuck.unwrap();
    assert_eq!(stuck.over, 500);
    assert!(stuck.advice.contains("--budget to 600 B"), "{}", stuck.advice);
}

/// The indexer made the next day's index before it began, and nothing came any more.
#[test]
fn an_empty_index_is_not_the_one_being_written() {
    let empty = |name| Index { documents: Some(0), created: NOW - 10 * DAY, ..index(name, 1) };
    let mut inventory = inventory(&[("weir-flows-l1-2026.11.19", 50), ("weir-flows-l1-2026.11.20", 50)]);
    inventory.indices.push(empty("weir-flows-l1-2026.11.21"));
    assert_eq!(goes(&inventory, &budget(1)), ["weir-flows-l1-2026.11.19", "weir-flows-l1-2026.11.21"]);
    // While its period goes on or has not begun, it stays.
    for name in ["weir-flows-l1-2026.11.22", "weir-flows-l1-2026.11.23"] {
        inventory.indices.push(empty(name));
    }
    assert_eq!(goes(&inventory, &budget(1)), ["weir-flows-l1-2026.11.19", "weir-flows-l1-2026.11.21"]);
}

#[test]
fn the_legal_floor_holds_and_the_advice_names_it() {
    let inventory = inventory(&[("weir-flows-l1-2026.11.20", 500), ("weir-flows-l1-2026.11.22", 1)]);
    let policy = Policy { min_age: Duration::from_secs(86_400 * 7), ..budget(100) };
    let plan = plan(&inventory, &policy, NOW);
    assert!(plan.actions.is_empty());
    assert!(plan.stuck.unwrap().advice.contains("--min-age"));
}

#[test]
fn what_is_too_old_goes_without_any_need_for_space() {
    let inventory =
        inventory(&[("weir-flows-l1-2026.11.10", 1), ("weir-flows-l1-2026.11.20", 1), ("weir-flows-l1-2026.11.22", 1)]);
    let policy = Policy { max_age: Some(Duration::from_secs(86_400 * 7)), ..budget(1_000) };
    assert_eq!(goes(&inventory, &policy), ["weir-flows-l1-2026.11.10"]);
}

#[test]
fn a_capture_of_old_traffic_is_as_old_as_its_index() {
    let mut capture = index("weir-capture-l1-2001.01.01", 10);
    capture.created = NOW - DAY;
    let mut second = index("weir-capture-l1-2002.01.01", 10);
    second.created = NOW - DAY;
    let inventory = Inventory { indices: vec![capture, second], ..Inventory::default() };
    let policy = Policy { max_age: Some(Duration::from_secs(86_400 * 7)), ..budget(1_000) };
    assert!(goes(&inventory, &policy).is_empty());
}

#[test]
fn a_full_disk_costs_old_indices_though_the_budget_is_kept() {
    let mut inventory = inventory(&[
        ("weir-flows-l1-2026.11.20", 60),
        ("weir-flows-l1-2026.11.21", 40),
        ("weir-flows-l1-2026.11.22", 1),
    ]);
    inventory.disks = vec![disk(1_000, 50)];
    let plan = plan(&inventory, &tenth(), NOW);
    assert_eq!(
        plan.actions.iter().map(|a| (a.index.to_string(), a.reason)).collect::<Vec<_>>(),
        [("weir-flows-l1-2026.11.20".into(), Reason::DiskReserve)]
    );
    assert_eq!(plan.stuck, None);
}

#[test]
fn for_the_reserve_of_a_disk_goes_only_what_stands_there() {
    let inventory = placed(
        &[
            ("weir-flows-l1-2026.11.18", "roomy", 60),
            ("weir-flows-l1-2026.11.19", "short", 30),
            ("weir-flows-l1-2026.11.20", "roomy", 60),
            ("weir-flows-l1-2026.11.21", "short", 40),
            ("weir-flows-l1-2026.11.22", "short", 1),
        ],
        &[named("roomy", 1_000, 500), named("short", 1_000, 50)],
    );
    let plan = plan(&inventory, &tenth(), NOW);
    let gone: Vec<_> = plan.actions.iter().map(|a| (a.index.to_string(), a.reason)).collect();
    let expected = ["weir-flows-l1-2026.11.19", "weir-flows-l1-2026.11.21"];
    assert_eq!(gone, expected.map(|name| (name.to_owned(), Reason::DiskReserve)));
    assert_eq!(plan.stuck, None);
}

#[test]
fn nothing_goes_for_a_full_node_that_has_none_of_it() {
    let inventory = placed(
        &[("weir-flows-l1-2026.11.20", "a", 60), ("weir-flows-l1-2026.11.22", "a", 1)],
        &[named("a", 1_000, 500), named("b", 1_000, 5)],
    );
    let plan = plan(&inventory, &tenth(), NOW);
    assert!(plan.actions.is_empty(), "{plan}");
    let stuck = plan.stuck.unwrap();
    assert_eq!(stuck.over, 95);
    assert!(stuck.advice.contains("something else than Weir's indices fills the disk of b:"), "{}", stuck.advice);
}

#[test]
fn nothing_goes_for_a_disk_that_another_program_fills() {
    // 950 are used, 61 of them by Weir: without any of it the disk would still be short of its 150.
    let inventory = placed(
        &[("weir-flows-l1-2026.11.20", "a", 60), ("weir-flows-l1-2026.11.22", "a", 1)],
        &[named("a", 1_000, 50), named("b", 1_000, 900)],
    );
    let plan = plan(&inventory, &Policy { reserve: Amount::Percent(15), ..tenth() }, NOW);
    assert!(plan.actions.is_empty(), "{plan}");
    assert!(plan.stuck.unwrap().advice.contains("the disk of a:"));
}

#[test]
fn what_is_left_on_a_short_disk_is_named_with_the_setting() {
    let advice = |name: &str, min_age| {
        let inventory = placed(
            &[(name, "a", 200), ("weir-flows-l1-2026.11.22", "b", 1)],
            &[named("a", 1_000, 50), named("b", 1_000, 900)],
        );
        let plan = plan(&inventory, &Policy { min_age, ..tenth() }, NOW);
        assert!(plan.actions.is_empty(), "{plan}");
        plan.stuck.unwrap().advice
    };
    let young = advice("weir-flows-l1-2026.11.21", Duration::from_secs(7 * 86_400));
    assert!(young.contains("younger than --min-age are left on the disk of a"), "{young}");
    let written = advice("weir-flows-l2-2026.11.22", Duration::ZERO);
    assert!(written.contains("nothing that may go is left on the disk of a"), "{written}");
}

#[test]
fn the_table_and_the_json_say_the_same() {
    let plan = plan(
        &inventory(&[("weir-flows-l1-2026.11.19", 2_000_000), ("weir-flows-l1-2026.11.22", 500)]),
        &budget(100),
        NOW,
    );
    let text = plan.to_string();
    for part in
        ["weir-flows-l1-2026.11.19", "2.0 MB", "2days 12h", "--budget", "500 B are left then", "still 400 B too many"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["actions"][0]["index"], "weir-flows-l1-2026.11.19");
    assert_eq!(json["actions"][0]["reason"], "budget");
    assert_eq!(json["stuck"]["over"], 400);
}

#[test]
fn a_level_or_kind_is_kept_inside_its_own_budget_while_there_is_room_in_all() {
    let inventory = inventory(&[
        ("weir-flows-l1-2026.11.19", 60),
        ("weir-flows-l1-2026.11.20", 60),
        ("weir-flows-l1-2026.11.22", 60),
        ("weir-flows-l2-2026.11.18", 60),
        ("weir-flows-l2-2026.11.22", 1),
        ("weir-dns-2026.11.18", 30),
        ("weir-dns-2026.11.19", 30),
        ("weir-dns-2026.11.22", 30),
    ]);
    let keeps = vec!["flows/1:budget=130B".parse().unwrap(), "dns:budget=60B".parse().unwrap()];
    let plan = plan(&inventory, &Policy { keeps, ..budget(10_000) }, NOW);
    let gone: Vec<_> = plan.actions.iter().map(|a| (a.index.to_string(), a.reason)).collect();
    let expected = [("weir-flows-l1-2026.11.19", Reason::Keep), ("weir-dns-2026.11.18", Reason::Keep)];
    assert_eq!(gone, expected.map(|(name, reason)| (name.to_owned(), reason)));
    assert_eq!(plan.stuck, None);
}

#[test]
fn a_kind_that_cannot_be_kept_inside_its_budget_is_named() {
    let inventory = inventory(&[("weir-dns-2026.11.22", 500), ("weir-flows-l1-2026.11.20", 5)]);
    let keeps = vec!["dns:budget=100B".parse().unwrap()];
    let plan = plan(&inventory, &Policy { keeps, ..budget(10_000) }, NOW);
    assert!(plan.actions.is_empty());
    let stuck = plan.stuck.unwrap();
    assert_eq!(stuck.over, 400);
    assert!(stuck.advice.contains("--keep dns to 500 B"), "{}", stuck.advice);
}

#[test]
fn each_kind_ages_by_its_own_rule_and_the_audit_yields_to_no_budget() {
    let inventory = inventory(&[
        ("weir-audit-2024.01", 1_000),
        ("weir-audit-2026.11", 1),
        ("weir-ledger-2026.11.01", 10),
        ("weir-ledger-2026.11.22", 10),
    ]);
    let keeps = vec!["ledger:max-age=10d".parse().unwrap()];
    let policy = Policy { keeps, ..budget(100) };
    assert_eq!(goes(&inventory, &policy), ["weir-ledger-2026.11.01"]);
    let keeps = vec!["audit:max-age=365d".parse().unwrap()];
    assert_eq!(goes(&inventory, &Policy { keeps, ..budget(10_000) }), ["weir-audit-2024.01"]);
}

#[test]
fn an_index_of_a_clock_that_runs_ahead_does_not_cost_the_one_of_today() {
    let inventory = inventory(&[("weir-flows-l1-2026.11.22", 500), ("weir-flows-l1-2099.01.01", 1)]);
    assert!(goes(&inventory, &budget(100)).is_empty());
}

#[test]
fn a_share_is_of_what_the_engine_uses_before_its_low_watermark() {
    let marks =
        Watermarks { low: Mark::Used(8_000, None), high: Mark::Used(9_000, None), flood: Mark::Used(9_500, None) };
    let inventory = Inventory { watermarks: Some(marks), ..inventory(&[("weir-flows-l1-2026.11.20", 1)]) };
    let policy = Policy { budget: Amount::Percent(50), ..budget(0) };
    assert_eq!(plan(&inventory, &policy, NOW).budget, 400_000);
}

#[test]
fn how_long_the_budget_lasts_comes_from_the_days_that_are_over() {
    let inventory = inventory(&[
        ("weir-flows-l1-2026.11.20", 100),
        ("weir-flows-l1-2026.11.21", 140),
        ("weir-flows-l1-2026.11.22", 7),
        ("weir-dns-2026.11.20", 20),
        ("weir-capture-l1-1999.01.01", 1_000),
    ]);
    let plan = plan(&inventory, &budget(2_000), NOW);
    let of = |kind| plan.held.iter().find(|h| h.kind == kind).unwrap();
    assert_eq!((of(Kind::Flows).bytes, of(Kind::Flows).days, of(Kind::Flows).bytes_a_day), (247, 2, Some(120)));
    assert_eq!(of(Kind::Dns).bytes_a_day, Some(10));
    assert_eq!(of(Kind::Capture).bytes_a_day, None);
    assert_eq!(plan.days_to_full, Some((2_000 - 1_267) / 130));
    assert!(plan.to_string().contains("used up in 5 days"), "{plan}");
}

#[test]
fn what_goes_next_is_said_with_when_and_why() {
    let held = inventory(&[
        ("weir-audit-2026.11", 1),
        ("weir-flows-l1-2026.11.20", 100),
        ("weir-flows-l2-2026.11.20", 10),
        ("weir-flows-l1-2026.11.21", 100),
        ("weir-flows-l2-2026.11.21", 10),
        ("weir-flows-l1-2026.11.22", 1),
    ]);
    let next = |policy: &Policy| {
        let plan = plan(&held, policy, NOW);
        let next = plan.next.unwrap();
        (next.index.to_string(), next.after, next.reason, plan.to_string())
    };
    // 222 B and 110 B a day: the budget of 500 B lasts two days.
    let (index, after, reason, text) = next(&budget(500));
    assert_eq!((index.as_str(), after, reason), ("weir-flows-l1-2026.11.20", 2 * DAY, Reason::Budget));
    assert!(text.contains("weir-flows-l1-2026.11.20 goes next, in about 2days (--budget)"), "{text}");
    // Not before it may.
    let floor = Policy { min_age: Duration::from_secs(5 * 86_400), ..budget(500) };
    assert_eq!(next(&floor).1, 5 * DAY - (NOW - held.indices[1].dated()));
    // Its age comes first.
    let aged = Policy { max_age: Some(Duration::from_secs(3 * 86_400)), ..budget(500) };
    let (index, after, reason, text) = next(&aged);
    assert_eq!((index.as_str(), reason), ("weir-flows-l1-2026.11.20", Reason::MaxAge));
    assert_eq!(after, 3 * DAY - (NOW - held.indices[1].dated()));
    assert!(text.contains("goes next, in 1day 12h (--max-age)"), "{text}");
    // What has to go now is in the plan itself.
    assert_eq!(plan(&held, &budget(150), NOW).next, None);
}

#[test]
fn a_budget_that_is_used_up_or_lasts_for_ever_is_not_told_in_days() {
    let held = inventory(&[("weir-flows-l1-2026.11.20", 100), ("weir-flows-l1-2026.11.21", 100)]);
    let text = |bytes| plan(&held, &budget(bytes), NOW).to_string();
    assert!(text(200).contains("the budget is used up\n"), "{}", text(200));
    assert!(text(250).contains("within a day"), "{}", text(250));
    assert!(text(u64::MAX).contains("more than ten years"), "{}", text(u64::MAX));
    assert!(!text(u64::MAX).contains("goes next"), "{}", text(u64::MAX));
}

fn any_index() -> impl Strategy<Value = Index> {
    let days = -30i64..3;
    (0usize..Kind::ALL.len(), 0u8..=3, days, any::<bool>(), 0i64..24, prop::option::weighted(0.9, 0u64..1_000))
        .prop_map(|(kind, level, day, hourly, hour, bytes)| {
            let kind = Kind::ALL[kind];
            let midnight = NOW.div_euclid(DAY) * DAY + day * DAY;
            let (start, length) = if hourly { (midnight + hour * 3_600_000, 3_600_000) } else { (midnight, DAY) };
            let level = if kind.has_levels() { level } else { 0 };
            Index { name: Name { kind, level, start, end: start + length }, bytes, documents: bytes, created: start }
        })
}

fn any_inventory() -> impl Strategy<Value = Inventory> {
    let disks = prop::collection::vec((0u64..20_000, 0u64..20_000), 0..4);
    let marks = prop::option::of(0u64..3_000).prop_map(|low| {
        low.map(|low| Watermarks { low: Mark::Free(low), high: Mark::Free(low / 2), flood: Mark::Free(low / 4) })
    });
    // On which nodes an index stands; none has more than three disks, so that some have none of it and some indices are nowhere.
    let indices = prop::collection::vec((any_index(), 0usize..4, 0usize..4), 0..60);
    (indices, disks, marks).prop_map(|(mut indices, disks, watermarks)| {
        indices.sort_by_key(|(index, _, _)| index.name);
        indices.dedup_by_key(|(index, _, _)| index.name);
        let half = |bytes: Option<u64>| bytes.unwrap_or(0) / 2;
        let nodes = |index: &Index, first: usize, second: usize| {
            let mut nodes = BTreeMap::from([(format!("n{first}"), half(index.bytes))]);
            *nodes.entry(format!("n{second}")).or_default() += index.bytes.unwrap_or(0) - half(index.bytes);
            nodes
        };
        let placement = indices.iter().map(|(index, a, b)| (index.name, nodes(index, *a, *b))).collect();
        let disks = disks.into_iter().enumerate().map(|(n, (a, b))| named(&format!("n{n}"), a.max(b), a.min(b)));
        let indices = indices.into_iter().map(|(index, _, _)| index).collect();
        Inventory { indices, placement, disks: disks.collect(), watermarks, ..Inventory::default() }
    })
}

/// What stands on a disk, whatever the code under test thinks of it.
fn on(inventory: &Inventory, index: &Index, disk: &NodeDisk) -> u64 {
    if inventory.disks.len() == 1 {
        index.bytes.unwrap_or(0)
    } else {
        inventory.placement[&index.name].get(&disk.id).copied().unwrap_or(0)
    }
}

/// What a disk lacks when the actions are done, and whether Weir alone could give it that.
fn lack(inventory: &Inventory, policy: &Policy, disk: &NodeDisk, actions: &[Action]) -> (u64, bool) {
    let there = |indices: &mut dyn Iterator<Item = &Index>| indices.map(|i| on(inventory, i, disk)).sum::<u64>();
    let freed = there(&mut inventory.indices.iter().filter(|i| actions.iter().any(|a| a.index == i.name)));
    let all = there(&mut inventory.indices.iter());
    let reserve = policy.reserve.of(disk.total);
    let able = reserve <= (disk.available + all).min(disk.total);
    (reserve.saturating_sub(disk.available).saturating_sub(freed), able)
}

fn any_amount() -> impl Strategy<Value = Amount> {
    prop_oneof![(0u64..20_000).prop_map(Amount::Bytes), (0u8..=100).prop_map(Amount::Percent)]
}

fn any_age() -> impl Strategy<Value = Duration> {
    (0u64..40).prop_map(|days| Duration::from_secs(days * 86_400))
}

fn any_keep() -> impl Strategy<Value = Keep> {
    let kinds = Kind::ALL.len();
    let ages = (prop::option::of(any_age()), prop::option::of(any_age()));
    (0..kinds, prop::option::of(0u8..=3), prop::option::of(any_amount()), ages).prop_map(
        |(kind, level, budget, (max_age, min_age))| {
            let kind = Kind::ALL[kind];
            let budget = budget.filter(|_| kind.yields_to_budget());
            Keep { kind, level: level.filter(|_| kind.has_levels()), budget, max_age, min_age }
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let reserve = prop_oneof![(0u64..2_000).prop_map(Amount::Bytes), (0u8..=20).prop_map(Amount::Percent)];
    let ages = (prop::option::of(any_age()), any_age());
    (any_amount(), reserve, ages, prop::collection::vec(any_keep(), 0..4))
        .prop_map(|(budget, reserve, (max_age, min_age), keeps)| Policy { budget, reserve, max_age, min_age, keeps })
}

/// What holds of an index whatever the code under test thinks of it: of now or later, or the newest of its kind and level.
fn is_being_written(inventory: &Inventory, index: &Index) -> bool {
    let same = |i: &&Index| (i.name.kind, i.name.level) == (index.name.kind, index.name.level);
    let newest = inventory.indices.iter().filter(same).map(Index::dated).max();
    let of_now = !index.name.kind.ages_from_creation() && index.name.end > NOW;
    let alone = inventory.indices.iter().filter(same).filter(|i| Some(i.dated()) == newest).count() == 1;
    of_now || (newest == Some(index.dated()) && alone)
}

#[test]
fn captures_have_a_tenth_of_the_budget_and_push_no_live_flows_out() {
    let capture = |name: &str, bytes, hours: i64| Index { created: NOW - hours * 3_600_000, ..index(name, bytes) };
    let mut held = inventory(&[("weir-flows-l1-2026.11.20", 400), ("weir-flows-l1-2026.11.22", 400)]);
    held.indices.extend([
        capture("weir-capture-l1-2001.01.01", 90, 72),
        capture("weir-capture-l1-2001.01.02", 90, 48),
        capture("weir-replay-l1-2026.11.01", 150, 72),
        // What is still being brought stays for a day, however much it is.
        capture("weir-capture-l1-2001.01.03", 900, 3),
        capture("weir-capture-l1-2001.01.04", 900, 2),
    ]);
    let plan = plan(&held, &budget(1_000), NOW);
    let gone: Vec<_> = plan.actions.iter().map(|a| (a.index.to_string(), a.reason)).collect();
    let expected = ["weir-capture-l1-2001.01.01", "weir-capture-l1-2001.01.02"];
    assert_eq!(gone, expected.map(|name| (name.to_owned(), Reason::Keep)));
    let advice = plan.stuck.unwrap().advice;
    assert!(advice.contains("raise the budget of --keep capture to 1.8 kB or lower --min-age"), "{advice}");
    // The newest replay is one that may be written.
    assert!(advice.contains("--keep replay to 150 B"), "{advice}");
}

#[test]
fn what_is_said_of_captures_stands_before_their_tenth_and_their_day() {
    let mut held = inventory(&[("weir-flows-l1-2026.11.22", 400)]);
    held.indices.extend([
        Index { created: NOW - 7_200_000, ..index("weir-capture-l1-2001.01.01", 90) },
        Index { created: NOW - 3_600_000, ..index("weir-capture-l1-2001.01.02", 90) },
    ]);
    let policy = |rule: &str| Policy { keeps: vec![rule.parse().unwrap()], ..budget(1_000) };
    assert!(goes(&held, &policy("capture:budget=500B,min-age=0s")).is_empty());
    assert_eq!(goes(&held, &policy("capture:min-age=0s")), ["weir-capture-l1-2001.01.01"]);
    assert_eq!(goes(&held, &policy("capture:max-age=90m")), ["weir-capture-l1-2001.01.01"]);
    assert!(goes(&held, &policy("capture:budget=1B")).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_goes_that_must_not(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        for action in &plan.actions {
            let index = inventory.indices.iter().find(|i| i.name == action.index).expect("it is in the inventory");
            prop_assert!(!is_being_written(&inventory, index));
            prop_assert!(age(index, NOW) >= millis(policy.min_age(&index.name)));
            prop_assert!(index.name.kind != Kind::Audit || action.reason == Reason::MaxAge);
        }
        let mut names: Vec<_> = plan.actions.iter().map(|a| a.index).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), plan.actions.len());
    }

    #[test]
    fn for_a_disk_nothing_goes_that_does_not_help_it(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        for (position, action) in plan.actions.iter().enumerate().filter(|(_, a)| a.reason == Reason::DiskReserve) {
            let index = inventory.indices.iter().find(|i| i.name == action.index).expect("it is in the inventory");
            let helps = |disk: &&NodeDisk| {
                let (lack, able) = lack(&inventory, &policy, disk, &plan.actions[..position]);
                lack > 0 && able && on(&inventory, index, disk) > 0
            };
            prop_assert!(inventory.disks.iter().any(|disk| helps(&disk)));
        }
    }

    #[test]
    fn it_ends_inside_every_budget_or_says_why_not(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        let rules = policy.rules(inventory.usable());
        let over_all = plan.after - aside(&inventory, &rules, &plan.actions) > plan.budget;
        let short: Vec<&NodeDisk> =
            inventory.disks.iter().filter(|d| lack(&inventory, &policy, d, &plan.actions).0 > 0).collect();
        let over: Vec<&Keep> = rules.iter().filter(|k| over_keep(&inventory, k, &plan.actions) > 0).collect();
        prop_assert_eq!(over_all || !over.is_empty() || !short.is_empty(), plan.stuck.is_some());
        let helps = |index: &Index, disk: &NodeDisk| {
            lack(&inventory, &policy, disk, &plan.actions).1 && on(&inventory, index, disk) > 0
        };
        let written = Written::of(&inventory, NOW);
        for index in inventory.indices.iter().filter(|i| i.bytes.unwrap_or(0) > 0 && i.name.kind.yields_to_budget()) {
            // Then all of it that may go has gone.
            let wanted = over_all || over.iter().any(|k| k.covers(&index.name)) || short.iter().any(|d| helps(index, d));
            let may = !written.is(index) && old_enough(index, &policy, NOW);
            prop_assert!(!wanted || !may || plan.actions.iter().any(|a| a.index == index.name));
        }
        for disk in short {
            prop_assert!(plan.stuck.as_ref().is_some_and(|s| s.advice.contains("the disk of ")), "{}", disk.node);
        }
    }

    #[test]
    fn no_more_goes_than_is_needed(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        if let Some((last, before)) = plan.actions.split_last().filter(|(a, _)| a.reason == Reason::Budget) {
            prop_assert!(plan.after + last.bytes.unwrap_or(0) > plan.budget, "{:?}", before);
        }
    }

    #[test]
    fn carrying_it_out_leaves_nothing_to_do(inventory in any_inventory(), policy in any_policy()) {
        let first = plan(&inventory, &policy, NOW);
        let mut rest = inventory.clone();
        let gone = |index: &Index| first.actions.iter().any(|a| a.index == index.name);
        rest.indices.retain(|i| !gone(i));
        for (disk, before) in rest.disks.iter_mut().zip(&inventory.disks) {
            let freed: u64 = inventory.indices.iter().filter(|i| gone(i)).map(|i| on(&inventory, i, before)).sum();
            disk.available = disk.available.saturating_add(freed).min(disk.total);
        }
        prop_assert!(plan(&rest, &policy, NOW).actions.is_empty());
    }
}

#[test]
fn a_plan_says_what_counts_as_gone_and_when_that_is_not_known() {
    let held = inventory(&[("weir-flows-l1-2026.11.20", 60), ("weir-flows-l1-2026.11.21", 40)]);
    let text =
        |booked: Option<Booked>, most: u64| plan(&Inventory { booked, ..held.clone() }, &budget(most), NOW).to_string();
    let some = Booked { indices: 2, bytes: 3_000 };
    assert!(text(Some(some), 100).contains("2 indices of 3.0 kB that were deleted lately count as gone"));
    assert!(!text(Some(Booked::default()), 50).contains("deleted lately"));
    assert!(text(None, 50).contains("what was deleted in the last ten minutes is not known"));
    assert!(!text(None, 100).contains("not known: "), "nothing is due, so that it makes no difference");
}
