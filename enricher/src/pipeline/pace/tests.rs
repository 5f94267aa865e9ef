use super::*;

#[test]
fn what_is_ahead_waits_while_memory_is_over_the_limit_and_what_is_behind_never_does() {
    let pace = Pace::default();
    assert!(!pace.is_ahead(Millis::MAX));
    pace.set(100, 100, Some(5_000));
    assert!(!pace.holds() && !pace.is_ahead(6_000), "within the limit");
    pace.set(101, 100, Some(5_000));
    assert!(pace.is_ahead(6_000) && !pace.is_ahead(5_000) && !pace.is_ahead(4_000));
    pace.set(80, 100, Some(6_000));
    assert!(pace.is_ahead(7_000) && !pace.is_ahead(6_000), "held until half of it is free");
    pace.set(50, 100, Some(7_000));
    assert!(!pace.holds() && !pace.is_ahead(8_000));
}

#[test]
fn a_stage_2_without_partitions_holds_nobody() {
    let pace = Pace::default();
    pace.set(101, 100, Some(5_000));
    pace.set(0, 100, None);
    assert!(!pace.holds());
    pace.set(101, 100, None);
    assert!(!pace.holds());
}

#[test]
fn without_partitions_of_stage_2_nobody_runs_far_ahead_of_its_group() {
    let pace = Pace::default();
    pace.set_by_group(Some(5_000), 1_000);
    assert!(!pace.is_ahead(21_000) && pace.is_ahead(22_000));
    pace.set_by_group(None, 1_000);
    assert!(!pace.is_ahead(22_000), "a group that has not begun");
    pace.set_by_group(Some(5_000), 1_000);
    pace.set(0, 100, Some(5_000));
    assert!(!pace.is_ahead(22_000), "its own memory says so once it has partitions");
}
