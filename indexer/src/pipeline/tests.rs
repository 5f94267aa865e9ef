use super::*;

fn begin(committed: Option<i64>, log_start: i64, accept_gap: bool) -> Option<(i64, i64)> {
    start(committed, log_start, accept_gap).ok().map(|b| (b.offset, b.expired))
}

#[test]
fn a_group_without_a_position_begins_only_where_nothing_was_deleted() {
    assert_eq!(begin(None, 0, false), Some((0, 0)));
    assert_eq!(begin(None, 7, false), None);
    assert_eq!(begin(None, 7, true), Some((7, 7)));
}

#[test]
fn a_position_that_was_deleted_is_a_loss_with_a_number() {
    assert_eq!(begin(Some(3), 7, false), Some((7, 4)));
    assert_eq!(begin(Some(7), 7, false), Some((7, 0)));
    assert_eq!(begin(Some(9), 7, false), Some((9, 0)));
}

#[test]
fn partitions_are_paused_only_where_too_much_is_in_hand_for_long() {
    let begun = Instant::now();
    let at = |milliseconds| begun + Duration::from_millis(milliseconds);
    let end = at(2_000);
    assert_eq!(Pace::Read.next(99, 100, begun), Pace::Read);
    let waits = Pace::Read.next(100, 100, begun);
    assert_eq!((waits, waits.until()), (Pace::Wait(end), Some(end)));
    assert_eq!(waits.next(150, 100, at(1_999)), waits);
    assert_eq!(waits.next(99, 100, at(5_000)), Pace::Read, "there is room again");
    let paused = waits.next(100, 100, end);
    assert_eq!((paused, paused.until()), (Pace::Paused, None));
    assert_eq!(paused.next(50, 100, end), Pace::Paused);
    assert_eq!(paused.next(49, 100, end), Pace::Read);
}
