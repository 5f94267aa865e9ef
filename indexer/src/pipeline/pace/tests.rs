use super::*;

fn load(held: u64, ahead: u64) -> Load {
    Load { held: Share { is: held, limit: 100 }, ahead: Share { is: ahead, limit: 1_000 } }
}

#[test]
fn partitions_are_paused_only_where_too_much_is_in_hand_for_long() {
    let begun = Instant::now();
    let at = |milliseconds| begun + Duration::from_millis(milliseconds);
    let end = at(2_000);
    assert_eq!(Pace::Read.next(load(99, 0), begun), Pace::Read);
    let waits = Pace::Read.next(load(100, 0), begun);
    assert_eq!((waits, waits.until()), (Pace::Wait(end), Some(end)));
    assert_eq!(waits.next(load(150, 0), at(1_999)), waits);
    assert_eq!(waits.next(load(99, 0), at(5_000)), Pace::Read, "there is room again");
    let paused = waits.next(load(100, 0), end);
    assert_eq!((paused, paused.until()), (Pace::Paused, None));
    assert_eq!(paused.next(load(50, 0), end), Pace::Paused);
    assert_eq!(paused.next(load(49, 0), end), Pace::Read);
}

#[test]
fn reading_is_held_back_too_far_ahead_of_what_can_be_committed_however_little_is_in_hand() {
    let begun = Instant::now();
    assert_eq!(
        (load(0, 999).full(), load(0, 1_000).full(), load(100, 1_000).full()),
        (None, Some("ahead"), Some("memory"))
    );
    assert_eq!(Pace::Read.next(load(0, 999), begun), Pace::Read);
    let waits = Pace::Read.next(load(0, 1_000), begun);
    let paused = waits.next(load(0, 1_000), begun + LONGEST_HOLD);
    assert_eq!(paused, Pace::Paused);
    assert_eq!(paused.next(load(0, 500), begun), Pace::Paused);
    assert_eq!(paused.next(load(0, 499), begun), Pace::Read);
}
