//! Dates and times as text, written by hand: every document has several.

use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// Times outside of these cannot be written: 1970 up to and without the year 10000, ms since the epoch.
pub const TIMES: std::ops::Range<Millis> = 0..253_402_300_800_000;

/// Length of a time as text.
pub(crate) const LENGTH: usize = 24;

/// A time as ISO 8601 in UTC with milliseconds, in ASCII; nothing for one that cannot be written.
pub(crate) fn iso(time: Millis) -> Option<[u8; LENGTH]> {
    if !TIMES.contains(&time) {
        return None;
    }
    let (year, month, day) = date(time);
    // Halves of a word divide faster, and all of these fit.
    let [year, month, day, rest] = [year, month, day, time % 86_400_000].map(|part| u32::try_from(part).unwrap_or(0));
    let [[y, e], [a, r], [m, o], [d, g]] = [year / 100, year, month, day].map(two);
    let [[h, j], [n, k], [s, l]] = [rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60].map(two);
    let ([t, u], [_, v]) = (two(rest % 1_000 / 10), two(rest % 10));
    Some([y, e, a, r, b'-', m, o, b'-', d, g, b'T', h, j, b':', n, k, b':', s, l, b'.', t, u, v, b'Z'])
}

/// Year, month and day of a time from 1970 on, UTC. Years are counted from March, so that the odd day is the last.
pub(crate) fn date(time: Millis) -> (i64, i64, i64) {
    // Days since 0000-03-01, in the Gregorian calendar's cycles of 400 years. Halves of a word divide faster.
    let days = u32::try_from(time / 86_400_000).unwrap_or(0) + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (i64::from(cycle * 400 + year + next), i64::from(month), i64::from(day))
}

/// The last two digits of a number.
#[inline]
fn two(number: u32) -> [u8; 2] {
    [number / 10 % 10, number % 10].map(|digit| b'0' + digit.to_le_bytes()[0])
}
