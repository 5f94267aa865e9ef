use super::*;
use crate::index::IndexKind;
use weir_flow::RecordSettings;
use weir_flow::settings::IndexPeriod;

const HOUR: Millis = 3_600_000;
/// 2026-11-30T00:00:00Z.
const DAY: Millis = 1_795_996_800_000;

fn names(kind: IndexKind, period: IndexPeriod, window: Millis, now: Millis, periods: &Periods) -> Vec<String> {
    let index = Index::of(kind, u8::from(kind.has_levels()), window, period).unwrap();
    due([(index, "a", window)].into_iter(), periods, now).iter().map(ToString::to_string).collect()
}

#[test]
fn in_the_last_tenth_of_a_period_the_next_ones_index_is_due() {
    let none = Periods::default();
    let flows = |window, now| names(IndexKind::Flows, IndexPeriod::Day, window, now, &none);
    let last_tenth = DAY + 24 * HOUR - 24 * HOUR / 10;
    assert!(flows(last_tenth - 1, last_tenth).is_empty());
    assert_eq!(flows(last_tenth, last_tenth), ["weir-flows-l1-2026.12.01"]);
    assert_eq!(flows(DAY + 24 * HOUR - 1, DAY + 24 * HOUR - 1), ["weir-flows-l1-2026.12.01"]);
    assert_eq!(names(IndexKind::Audit, IndexPeriod::Day, DAY, DAY, &none), ["weir-audit-2026.12"]);
    assert_eq!(names(IndexKind::Dns, IndexPeriod::Day, last_tenth, DAY, &none), ["weir-dns-2026.12.01"]);
}

#[test]
fn of_a_past_period_and_of_a_kind_of_any_time_nothing_is_made_ahead() {
    let none = Periods::default();
    let last = DAY + 24 * HOUR - 1;
    assert!(names(IndexKind::Flows, IndexPeriod::Day, last, DAY + 24 * HOUR, &none).is_empty());
    assert!(names(IndexKind::Capture, IndexPeriod::Day, last, last, &none).is_empty());
    assert!(names(IndexKind::Replay, IndexPeriod::Day, last, last, &none).is_empty());
}

#[test]
fn the_period_is_the_one_that_holds_by_then() {
    let mut periods = Periods::default();
    let (valid_from, index_period) = (DAY + 24 * HOUR, IndexPeriod::Hour);
    periods.apply(&RecordSettings { valid_from, index_period, ..RecordSettings::standard("a") });
    let last = DAY + 24 * HOUR - 1;
    assert_eq!(names(IndexKind::Flows, IndexPeriod::Day, last, last, &periods), ["weir-flows-l1-2026.12.01.00"]);
    let in_hour = DAY + 30 * HOUR - 1;
    assert_eq!(names(IndexKind::Flows, IndexPeriod::Hour, in_hour, in_hour, &periods), ["weir-flows-l1-2026.12.01.06"]);
}
