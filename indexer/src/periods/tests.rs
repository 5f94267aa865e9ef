use super::*;

fn settings(cluster: &str, valid_from: Millis, index_period: IndexPeriod) -> RecordSettings {
    RecordSettings { valid_from, index_period, ..RecordSettings::standard(cluster) }
}

#[test]
fn each_window_has_the_period_that_held_by_then() {
    let mut periods = Periods::default();
    periods.apply(&settings("a", 2_000, IndexPeriod::Day));
    periods.apply(&settings("a", 1_000, IndexPeriod::Hour));
    let of = |window| periods.at("a", window);
    assert_eq!(
        [of(999), of(1_000), of(1_999), of(2_000)],
        [IndexPeriod::Day, IndexPeriod::Hour, IndexPeriod::Hour, IndexPeriod::Day]
    );
    assert_eq!(periods.at("b", 1_500), IndexPeriod::Day);
}
