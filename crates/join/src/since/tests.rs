use super::*;
use proptest::prelude::*;
use weir_flow::time::{FOR_EVER, NEVER};

fn holds(from: Millis, at: Millis) -> bool {
    Since::of(from).holds(Moment::of(at))
}

#[test]
fn at_the_ends_of_time_nothing_is_said_too_much() {
    for at in [NEVER, -1, FOR_EVER, 1 << 42] {
        for from in [NEVER, 0, FOR_EVER] {
            assert!(!holds(from, at), "{from} at {at}");
        }
        assert!(!Since::NEVER.holds(Moment::of(at)));
    }
    assert!(holds(NEVER, 0) && holds(0, 0), "what always held holds in 1970");
    assert!(!holds(1, 0) && !holds(1, 1_023) && holds(1, 1_024), "rounded up");
    assert!(!holds(FOR_EVER, 1_800_000_000_000) && !Since::NEVER.holds(Moment::of(1_800_000_000_000)));
}

proptest! {
    #[test]
    fn it_never_holds_too_early_and_at_most_two_steps_late(
        from in 0i64..4_000_000_000_000, after in -5_000i64..5_000
    ) {
        let at = from + after;
        prop_assert!(!holds(from, at) || from <= at);
        prop_assert!(holds(from, at) || at < from + 2 * 1_024 || at < 0);
    }
}
