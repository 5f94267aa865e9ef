use super::*;
use proptest::prelude::*;
use weir_flow::time::NEVER;

fn bound(earliest: Millis, latest: Millis) -> Bound {
    Bound { earliest, latest, source: BoundSource::Arrival }
}

#[test]
fn doubt_up_to_12_days_is_kept_to_the_millisecond() {
    for width in [0, 1, 999, (1 << 30) - 1] {
        let span = Span::between(bound(1_000, 1_000 + width), bound(5_000_000_000_000, 5_000_000_000_000 + width));
        assert_eq!((span.earliest_start(), span.latest_start()), (1_000, 1_000 + width));
        assert_eq!((span.earliest_end(), span.latest_end()), (5_000_000_000_000, 5_000_000_000_000 + width));
    }
}

#[test]
fn ends_of_time_stay_what_they_are() {
    let always = Span::between(bound(NEVER, NEVER), bound(FOR_EVER, FOR_EVER));
    assert!(always.certain(NEVER) && always.certain(0) && always.certain(FOR_EVER - 1));
    let asked_to_end = Span::between(bound(5, 5), bound(7, FOR_EVER));
    assert!(asked_to_end.certain(6) && !asked_to_end.certain(7) && asked_to_end.possible(FOR_EVER - 1));
    assert_eq!(asked_to_end.latest_end(), FOR_EVER);
}

#[test]
fn a_bound_the_wrong_way_round_is_without_doubt() {
    let span = Span::between(bound(10, 5), bound(20, 15));
    assert!(!span.possible(9) && span.certain(10) && span.certain(19) && !span.possible(20));
}

proptest! {
    #[test]
    fn doubt_is_never_less_and_hardly_more(earliest in -1i64 << 41..1 << 41, width in 0i64..1 << 41) {
        let span = Span::between(bound(earliest, earliest + width), bound(FOR_EVER, FOR_EVER));
        prop_assert_eq!(span.earliest_start(), earliest);
        let more = span.latest_start() - (earliest + width);
        prop_assert!((0..4096).contains(&more), "{} more", more);
        prop_assert!(more == 0 || width >= 1 << 30);
    }

    #[test]
    fn what_continues_still_continues(at in any::<i32>(), width in 0i64..1 << 41) {
        let event = bound(i64::from(at), i64::from(at) + width);
        let before = Span::between(bound(NEVER, NEVER), event);
        prop_assert!(before.continues_in(&Span::between(event, bound(FOR_EVER, FOR_EVER))));
    }
}

#[test]
fn a_clipped_beginning_says_so_and_changes_no_time() {
    let clipped = Bound { source: BoundSource::Clipped, ..bound(10, 20) };
    let (seen, unseen) = (Span::between(bound(10, 20), clipped), Span::between(clipped, bound(30, FOR_EVER)));
    assert_eq!((seen.began_unseen(), unseen.began_unseen()), (false, true));
    assert_eq!((unseen.earliest_start(), unseen.latest_start()), (10, 20));
    assert!(seen.continues_in(&unseen));
}
