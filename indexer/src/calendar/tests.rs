use super::*;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

#[test]
fn the_first_and_the_last_time_are_written_and_those_beside_are_not() {
    assert_eq!(iso(0).as_ref(), Some(b"1970-01-01T00:00:00.000Z"));
    assert_eq!(iso(TIMES.end - 1).as_ref(), Some(b"9999-12-31T23:59:59.999Z"));
    assert_eq!((iso(-1), iso(TIMES.end)), (None, None));
}

#[test]
fn every_day_of_two_cycles_is_the_date_that_the_calendar_says() {
    let mut day = TimeZone::UTC.to_datetime(Timestamp::UNIX_EPOCH).date();
    for number in 0..2 * 146_097 {
        let expected = (i64::from(day.year()), i64::from(day.month()), i64::from(day.day()));
        assert_eq!(date(number * 86_400_000 + 86_399_999), expected);
        day = day.tomorrow().unwrap();
    }
}

proptest! {
    #[test]
    fn any_time_is_written_as_the_library_writes_it(time in TIMES) {
        let expected = format!("{:.3}", Timestamp::from_millisecond(time).unwrap());
        let written = iso(time).unwrap();
        prop_assert_eq!(written.as_slice(), expected.as_bytes());
    }
}
