use super::{Ended, Schedule};

#[test]
fn ticks_follow_each_other_on_a_steady_clock() {
    let mut schedule = Schedule::new(12_340, 1_000, 5_000);
    assert_eq!((schedule.start, schedule.end), (12_000, 13_000));
    assert_eq!(schedule.advance(13_000, 13_030), Ended { start: 12_000, ticks: 1, overrun: 0 });
    // The clock was slewed: the boundary now reads a little earlier.
    assert_eq!(schedule.advance(13_999, 14_029), Ended { start: 13_000, ticks: 1, overrun: 0 });
    assert_eq!((schedule.start, schedule.end), (14_000, 15_000));
}

#[test]
fn an_agent_that_was_held_up_says_how_many_ticks_it_merged_within_one_window() {
    let mut schedule = Schedule::new(13_000, 1_000, 5_000);
    schedule.advance(14_000, 16_500);
    assert_eq!((schedule.start, schedule.end), (14_000, 17_000));
    assert_eq!(schedule.advance(17_000, 17_020), Ended { start: 14_000, ticks: 1, overrun: 2 });
    assert_eq!((schedule.start, schedule.end), (17_000, 18_000));
}

#[test]
fn a_clock_that_was_set_begins_a_tick_where_it_stands() {
    let mut schedule = Schedule::new(13_000, 1_000, 5_000);
    schedule.advance(103_700, 103_730);
    assert_eq!((schedule.start, schedule.end), (103_000, 104_000));
    schedule.advance(20_100, 20_130);
    assert_eq!((schedule.start, schedule.end), (20_000, 21_000));
}
