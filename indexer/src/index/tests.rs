use super::*;

const NOON: Millis = 1_795_348_800_000 + 3_600_000 * 3 + 59_000;

fn name(kind: IndexKind, level: u8, window: Millis, period: IndexPeriod) -> Option<String> {
    Index::of(kind, level, window, period).map(|i| i.to_string())
}

#[test]
fn the_name_says_kind_level_and_period_in_utc() {
    let day = name(IndexKind::Flows, 1, NOON, IndexPeriod::Day).unwrap();
    assert_eq!(day, "weir-flows-l1-2026.11.22");
    assert_eq!(name(IndexKind::Capture, 3, 0, IndexPeriod::Day).unwrap(), "weir-capture-l3-1970.01.01");
    let hour = Index::of(IndexKind::Flows, 2, NOON, IndexPeriod::Hour).unwrap();
    assert_eq!(hour.write_alias(), format!("{hour}-WRITE"));
    assert!(hour.to_string().starts_with("weir-flows-l2-2026.11.22."));
}

#[test]
fn the_last_millisecond_of_a_day_is_still_that_day() {
    let of = |window| name(IndexKind::Flows, 0, window, IndexPeriod::Day).unwrap();
    assert_eq!(of(86_399_999), "weir-flows-l0-1970.01.01");
    assert_eq!(of(86_400_000), "weir-flows-l0-1970.01.02");
}

#[test]
fn times_and_levels_that_cannot_be_written_have_no_index() {
    for (level, window) in [(4, NOON), (1, -1), (1, TIMES.end), (1, i64::MAX), (1, i64::MIN)] {
        assert_eq!(name(IndexKind::Flows, level, window, IndexPeriod::Day), None);
    }
}

#[test]
fn the_demo_is_kept_with_what_happens_now_and_captures_apart() {
    assert_eq!(IndexKind::of(Origin::Demo), IndexKind::of(Origin::Ebpf));
    assert_eq!(IndexKind::of(Origin::Capture), IndexKind::Capture);
}

#[test]
fn kinds_without_levels_have_none_in_their_names_and_take_no_other() {
    assert_eq!(name(IndexKind::Dns, 0, NOON, IndexPeriod::Day).unwrap(), "weir-dns-2026.11.22");
    assert!(name(IndexKind::Ledger, 0, NOON, IndexPeriod::Hour).unwrap().starts_with("weir-ledger-2026.11.22."));
    assert_eq!(name(IndexKind::Audit, 0, NOON, IndexPeriod::Hour).unwrap(), "weir-audit-2026.11");
    assert_eq!(name(IndexKind::Dns, 1, NOON, IndexPeriod::Day), None);
    assert_eq!(name(IndexKind::Replay, 2, NOON, IndexPeriod::Day).unwrap(), "weir-replay-l2-2026.11.22");
}
