//! Dates and times as text, written by hand: every document has several.

use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// Times outside of these cannot be written: 1970 up to and without the year 10000, ms since the epoch.
pub const TIMES: std::ops::Range<Millis> = 0..253_402_300_800_000;

/// Length of a time as text.
pub(crate) const LENGTH: usize = 24;

/// Writes a time as ISO 8601 in UTC with milliseconds; nothing for one that cannot be written.
pub(crate) fn iso(time: Millis, buffer: &mut [u8; LENGTH]) -> Option<&str> {
    if !TIMES.contains(&time) {
        return None;
    }
    *buffer = *b"0000-00-00T00:00:00.000Z";
    let (year, month, day) = date(time);
    // Halves of a word divide faster, and all of these fit.
    let [year, month, day, rest] = [year, month, day, time % 86_400_000].map(|part| u32::try_from(part).unwrap_or(0));
    digits(buffer, 0..4, year);
    digits(buffer, 5..7, month);
    digits(buffer, 8..10, day);
    digits(buffer, 11..13, rest / 3_600_000);
    digits(buffer, 14..16, rest / 60_000 % 60);
    digits(buffer, 17..19, rest / 1_000 % 60);
    digits(buffer, 20..23, rest % 1_000);
    std::str::from_utf8(buffer).ok()
}

/// Year, month and day of a time from 1970 on, UTC. Years are counted from March, so that the odd day is the last.
pub(crate) fn date(time: Millis) -> (i64, i64, i64) {
    // Days since 0000-03-01, in the Gregorian calendar's cycles of 400 years.
    let days = time / 86_400_000 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day)
}

/// Writes a number into the digits of a range, its last ones if it has more.
#[inline]
fn digits(buffer: &mut [u8; LENGTH], range: std::ops::Range<usize>, mut number: u32) {
    for digit in buffer.get_mut(range).into_iter().flatten().rev() {
        *digit = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
    }
}
