use super::*;
use proptest::prelude::*;
use weir_elastic::NodeDisk;

const DAY: Millis = 86_400_000;
/// 2026-11-22T12:00:00Z.
const NOW: Millis = 1_795_348_800_000;

fn index(name: &str, bytes: u64) -> Index {
    let name = Name::parse(name).unwrap();
    Index { name, bytes: Some(bytes), created: name.start }
}

fn inventory(indices: &[(&str, u64)]) -> Inventory {
    Inventory { indices: indices.iter().map(|(n, b)| index(n, *b)).collect(), disks: vec![disk(1_000_000, 900_000)] }
}

fn disk(total: u64, available: u64) -> NodeDisk {
    NodeDisk { node: "n".into(), total, available }
}

fn budget(bytes: u64) -> Policy {
    Policy { budget: Amount::Bytes(bytes), reserve: Amount::Bytes(0), max_age: None, min_age: Duration::ZERO }
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
    let inventory = Inventory { indices: vec![capture, second], disks: vec![] };
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
    inventory.disks = vec![disk(1_000, 500), disk(1_000, 50)];
    let policy = Policy { reserve: Amount::Percent(10), ..budget(1_000) };
    let plan = plan(&inventory, &policy, NOW);
    assert_eq!(
        plan.actions.iter().map(|a| (a.index.to_string(), a.reason)).collect::<Vec<_>>(),
        [("weir-flows-l1-2026.11.20".into(), Reason::DiskReserve)]
    );
    assert_eq!(plan.stuck, None);
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

fn any_index() -> impl Strategy<Value = Index> {
    let days = -30i64..3;
    (any::<bool>(), 0u8..=3, days, any::<bool>(), 0i64..24, prop::option::weighted(0.9, 0u64..1_000)).prop_map(
        |(capture, level, day, hourly, hour, bytes)| {
            let midnight = NOW.div_euclid(DAY) * DAY + day * DAY;
            let (start, length) = if hourly { (midnight + hour * 3_600_000, 3_600_000) } else { (midnight, DAY) };
            let kind = if capture { Kind::Capture } else { Kind::Flows };
            Index { name: Name { kind, level, start, end: start + length }, bytes, created: start }
        },
    )
}

fn any_inventory() -> impl Strategy<Value = Inventory> {
    let disks = prop::collection::vec((0u64..20_000, 0u64..20_000), 0..3);
    (prop::collection::vec(any_index(), 0..60), disks).prop_map(|(mut indices, disks)| {
        indices.sort_by_key(|i| i.name);
        indices.dedup_by_key(|i| i.name);
        Inventory { indices, disks: disks.into_iter().map(|(a, b)| disk(a.max(b), a.min(b))).collect() }
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let amount = prop_oneof![(0u64..20_000).prop_map(Amount::Bytes), (0u8..=100).prop_map(Amount::Percent)];
    let reserve = prop_oneof![(0u64..2_000).prop_map(Amount::Bytes), (0u8..=20).prop_map(Amount::Percent)];
    let age = || (0u64..40).prop_map(|days| Duration::from_secs(days * 86_400));
    (amount, reserve, prop::option::of(age()), age()).prop_map(|(budget, reserve, max_age, min_age)| Policy {
        budget,
        reserve,
        max_age,
        min_age,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_goes_that_must_not(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        let newest = newest(&inventory);
        for action in &plan.actions {
            let index = inventory.indices.iter().find(|i| i.name == action.index).expect("it is in the inventory");
            prop_assert_ne!(newest[&(index.name.kind, index.name.level)], index.name);
            prop_assert!(age(index, NOW) >= millis(policy.min_age));
        }
        let mut names: Vec<_> = plan.actions.iter().map(|a| a.index).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), plan.actions.len());
    }

    #[test]
    fn it_ends_inside_the_budget_or_says_why_not(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        prop_assert_eq!(plan.after > plan.budget || shortage(&inventory, &policy) > plan.bytes - plan.after, plan.stuck.is_some());
        if plan.stuck.is_some() {
            // Then all that may go has gone.
            let newest = newest(&inventory);
            for index in &inventory.indices {
                let may = newest[&(index.name.kind, index.name.level)] != index.name && old_enough(index, &policy, NOW);
                let gone = plan.actions.iter().any(|a| a.index == index.name);
                prop_assert!(gone || !may || index.bytes.unwrap_or(0) == 0);
            }
        }
    }

    #[test]
    fn no_more_goes_than_is_needed(inventory in any_inventory(), policy in any_policy()) {
        let plan = plan(&inventory, &policy, NOW);
        if let Some(last) = plan.actions.last().filter(|a| a.reason != Reason::MaxAge) {
            let before = plan.after + last.bytes.unwrap_or(0);
            let freed_before = plan.bytes - before;
            prop_assert!(before > plan.budget || shortage(&inventory, &policy) > freed_before);
        }
    }

    #[test]
    fn carrying_it_out_leaves_nothing_to_do(inventory in any_inventory(), policy in any_policy()) {
        let first = plan(&inventory, &policy, NOW);
        let mut rest = inventory.clone();
        rest.indices.retain(|i| !first.actions.iter().any(|a| a.index == i.name));
        let freed = first.bytes - first.after;
        rest.disks.iter_mut().for_each(|d| d.available = d.available.saturating_add(freed));
        prop_assert!(plan(&rest, &policy, NOW).actions.is_empty());
    }
}
