use super::*;
use proptest::prelude::*;

fn settings() -> RecordSettings {
    RecordSettings::small("test")
}

#[test]
fn a_tick_ahead_of_the_brokers_clock_is_clamped() {
    let s = settings();
    assert_eq!(placed_tick(10_000, 10_200, &s), (10_000, false));
    assert_eq!(placed_tick(3_600_000, 10_200, &s), (11_000, true));
}

#[test]
fn the_brokers_clock_does_not_bound_what_is_not_live() {
    let s = RecordSettings { live: false, ..settings() };
    assert_eq!(placed_tick(3_600_500, 10_200, &s), (3_600_000, false));
}

#[test]
fn a_window_is_complete_when_the_watermark_passes_its_end_and_grace() {
    let s = settings();
    let mut f = Frontier::default();
    assert_eq!(f.last_complete_window(&s), NEVER);
    f.observe(5_000, &s); // M = 6000 < 5000 + 2000
    assert_eq!(f.last_complete_window(&s), -5_000);
    f.observe(6_000, &s); // M = 7000 = end of window 0 + grace
    assert_eq!(f.last_complete_window(&s), 0);
}

#[test]
fn a_late_sample_goes_to_the_next_generation_after_the_frontier() {
    let s = settings();
    let mut f = Frontier::default();
    f.observe(21_000, &s); // M = 22000, F = 15000
    assert_eq!(f.closing_generation(0, &s), 20_000);
    assert_eq!(f.closing_generation(20_000, &s), 20_000);
    assert_eq!(f.closing_generation(25_000, &s), 25_000);
}

proptest! {
    #[test]
    fn the_frontier_never_goes_back_and_generations_are_never_already_closed(ticks in prop::collection::vec(-100_000i64..100_000, 1..50)) {
        let s = settings();
        let mut f = Frontier::default();
        for t in ticks {
            let before = f.last_complete_window(&s);
            let t = floor_to(t, s.tick);
            f.observe(t, &s);
            let after = f.last_complete_window(&s);
            prop_assert!(after >= before);
            let n = f.closing_generation(floor_to(t, s.window), &s);
            prop_assert!(n > after);
            prop_assert_eq!(n.rem_euclid(s.window), 0);
        }
    }
}
