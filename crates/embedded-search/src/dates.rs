//! Dates as Elasticsearch reads, rounds and prints them: milliseconds since 1970 in UTC, no clock.

#[cfg(test)]
mod tests;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// A format that a date field accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Iso,
    EpochMillis,
    EpochSecond,
    Date,
}

/// The formats of a date field, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Formats(pub(crate) Vec<Format>);

impl Default for Formats {
    fn default() -> Self {
        Self(vec![Format::Iso, Format::EpochMillis])
    }
}

impl Formats {
    /// Reads a mapping's or an aggregation's `format`; `None` names one that is not supported.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.split("||").map(Format::parse).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Reads one value in the first format that fits.
    pub(crate) fn read(&self, text: &str) -> Option<Moment> {
        self.0.iter().find_map(|format| format.read(text))
    }

    /// Reads a number as a JSON document holds it.
    pub(crate) fn read_number(&self, number: &serde_json::Number) -> Option<i64> {
        if self.0.contains(&Format::EpochMillis) {
            return match number.as_i64() {
                Some(value) => Some(value),
                None => number.as_f64().and_then(|value| crate::numbers::f64_to_i64(value.trunc())),
            };
        }
        self.read(&number.to_string()).map(|moment| moment.millis)
    }

    /// Prints in the first format, as Elasticsearch does.
    pub(crate) fn print(&self, millis: i64) -> String {
        self.0.first().copied().unwrap_or(Format::Iso).print(millis)
    }
}

/// A moment as written, and how much the text left open (a day names 86 400 000 ms).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) millis: i64,
    pub(crate) last_millis: i64,
}

impl Moment {
    fn exact(millis: i64) -> Self {
        Self { millis, last_millis: millis }
    }
}

impl Format {
    fn parse(name: &str) -> Option<Self> {
        Some(match name.trim() {
            "strict_date_optional_time"
            | "date_optional_time"
            | "strict_date_optional_time_nanos"
            | "iso8601"
            | "strict_date_time"
            | "date_time" => Self::Iso,
            "epoch_millis" => Self::EpochMillis,
            "epoch_second" => Self::EpochSecond,
            "yyyy-MM-dd" | "strict_date" | "date" | "uuuu-MM-dd" => Self::Date,
            _ => return None,
        })
    }

    fn read(self, text: &str) -> Option<Moment> {
        match self {
            Self::Iso => read_iso(text),
            Self::EpochMillis => {
                let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
                digits.parse().ok().map(Moment::exact)
            }
            Self::EpochSecond => text.parse::<i64>().ok()?.checked_mul(SECOND).map(Moment::exact),
            Self::Date if text.len() == 10 => read_iso(text),
            Self::Date => None,
        }
    }

    fn print(self, millis: i64) -> String {
        match self {
            Self::Iso => print_iso(millis),
            Self::EpochMillis => millis.to_string(),
            Self::EpochSecond => millis.div_euclid(SECOND).to_string(),
            Self::Date => print_iso(millis).chars().take(10).collect(),
        }
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of the days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

/// Prints as `strict_date_optional_time` does: `2026-01-31T23:59:59.999Z`.
pub(crate) fn print_iso(millis: i64) -> String {
    let (year, month, day) = civil_from_days(millis.div_euclid(DAY));
    let rest = millis.rem_euclid(DAY);
    let (hour, minute, second, fraction) = (rest / HOUR, rest / MINUTE % 60, rest / SECOND % 60, rest % SECOND);
    let year = match year {
        0..=9_999 => format!("{year:04}"),
        10_000.. => format!("+{year}"),
        _ => format!("-{:04}", -year),
    };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// A cursor over the ASCII digits of a date.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn take(&mut self, count: usize) -> Option<i64> {
        let (head, tail) = self.0.split_at_checked(count)?;
        let mut value = 0;
        for byte in head {
            value = value * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        self.0 = tail;
        Some(value)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }
}

fn read_iso(text: &str) -> Option<Moment> {
    let mut digits = Digits(text.as_bytes());
    let year = digits.take(4)?;
    let (mut month, mut day) = (1, 1);
    let mut open = Unit::Year;
    if digits.eat(b'-') {
        month = digits.take(2)?;
        open = Unit::Month;
        if digits.eat(b'-') {
            day = digits.take(2)?;
            open = Unit::Day;
        }
    }
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY;
    if digits.0.is_empty() {
        return Some(Moment { millis: midnight, last_millis: add(midnight, 1, open)? - 1 });
    }
    if open != Unit::Day || !digits.eat(b'T') {
        return None;
    }
    read_time(&mut digits, midnight)
}

fn read_time(digits: &mut Digits<'_>, midnight: i64) -> Option<Moment> {
    if digits.0.is_empty() {
        return Some(Moment { millis: midnight, last_millis: midnight + DAY - 1 });
    }
    let hour = digits.take(2)?;
    let (mut minute, mut second, mut fraction, mut open) = (0, 0, 0, HOUR);
    if digits.eat(b':') {
        minute = digits.take(2)?;
        open = MINUTE;
        if digits.eat(b':') {
            second = digits.take(2)?;
            open = SECOND;
            if digits.eat(b'.') || digits.eat(b',') {
                let count = digits.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
                if !(1..=9).contains(&count) {
                    return None;
                }
                for position in 0..count {
                    let digit = digits.take(1)?;
                    fraction += [100, 10, 1].get(position).map_or(0, |weight| digit * weight);
                }
                open = 1;
            }
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = read_zone(digits)?;
    let millis = midnight + hour * HOUR + minute * MINUTE + second * SECOND + fraction - offset;
    Some(Moment { millis, last_millis: millis + open - 1 })
}

fn read_zone(digits: &mut Digits<'_>) -> Option<i64> {
    if digits.0.is_empty() || digits.eat(b'Z') {
        return digits.0.is_empty().then_some(0);
    }
    let sign = if digits.eat(b'+') {
        1
    } else if digits.eat(b'-') {
        -1
    } else {
        return None;
    };
    let hour = digits.take(2)?;
    digits.eat(b':');
    let minute = if digits.0.is_empty() { 0 } else { digits.take(2)? };
    (digits.0.is_empty() && hour <= 18 && minute <= 59).then_some(sign * (hour * HOUR + minute * MINUTE))
}

/// Reads a time zone as a fixed offset in milliseconds; named zones other than UTC are not supported.
pub(crate) fn read_offset(text: &str) -> Option<i64> {
    match text {
        "UTC" | "GMT" | "Etc/UTC" | "Z" => Some(0),
        _ => read_zone(&mut Digits(text.as_bytes())),
    }
}

/// The start of the unit that holds `millis`.
pub(crate) fn round_down(millis: i64, unit: Unit) -> i64 {
    let to_multiple = |step: i64| millis - millis.rem_euclid(step);
    match unit {
        Unit::Second => to_multiple(SECOND),
        Unit::Minute => to_multiple(MINUTE),
        Unit::Hour => to_multiple(HOUR),
        Unit::Day => to_multiple(DAY),
        Unit::Week => {
            // 1970-01-01 was a Thursday; weeks start on Monday.
            let days = millis.div_euclid(DAY);
            (days - (days + 3).rem_euclid(7)) * DAY
        }
        Unit::Month | Unit::Quarter | Unit::Year => {
            let (year, month, _) = civil_from_days(millis.div_euclid(DAY));
            let month = match unit {
                Unit::Month => month,
                Unit::Quarter => (month - 1) / 3 * 3 + 1,
                _ => 1,
            };
            days_from_civil(year, month, 1) * DAY
        }
    }
}

/// Adds `count` units; a day of the month that does not exist becomes the last that does.
pub(crate) fn add(millis: i64, count: i64, unit: Unit) -> Option<i64> {
    let step = match unit {
        Unit::Second => SECOND,
        Unit::Minute => MINUTE,
        Unit::Hour => HOUR,
        Unit::Day => DAY,
        Unit::Week => 7 * DAY,
        Unit::Month => return add_months(millis, count),
        Unit::Quarter => return add_months(millis, count.checked_mul(3)?),
        Unit::Year => return add_months(millis, count.checked_mul(12)?),
    };
    millis.checked_add(count.checked_mul(step)?)
}

fn add_months(millis: i64, count: i64) -> Option<i64> {
    // Beyond this the calendar's own arithmetic would overflow.
    if count.abs() > 12_000_000 {
        return None;
    }
    let (year, month, day) = civil_from_days(millis.div_euclid(DAY));
    let months = year * 12 + month - 1 + count;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let day = day.min(days_in_month(year, month));
    days_from_civil(year, month, day).checked_mul(DAY)?.checked_add(millis.rem_euclid(DAY))
}

/// Reads a duration such as `30s`, `5m` or `1d` in milliseconds.
pub(crate) fn read_duration(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '-')?;
    let (number, unit) = text.split_at(split);
    let step = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => MINUTE,
        "h" | "H" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(step)
}

/// The unit of a `calendar_interval`.
pub(crate) fn calendar_unit(text: &str) -> Option<Unit> {
    Some(match text {
        "second" | "1s" => Unit::Second,
        "minute" | "1m" => Unit::Minute,
        "hour" | "1h" => Unit::Hour,
        "day" | "1d" => Unit::Day,
        "week" | "1w" => Unit::Week,
        "month" | "1M" => Unit::Month,
        "quarter" | "1q" => Unit::Quarter,
        "year" | "1y" => Unit::Year,
        _ => return None,
    })
}

/// Reads a bound of a range with date mathematics (`now-1h/d`, `2026-01-01||+1M`), rounding up for
/// `gt` and `lte` as Elasticsearch does. `offset` is the time zone of texts that name none.
pub(crate) fn read_math(text: &str, formats: &Formats, now: i64, round_up: bool, offset: i64) -> Option<i64> {
    let (moment, math) = if let Some(math) = text.strip_prefix("now") {
        (Moment::exact(now), math)
    } else if let Some((date, math)) = text.split_once("||") {
        (formats.read(date)?, math)
    } else {
        (formats.read(text)?, "")
    };
    let mut millis = if round_up { moment.last_millis } else { moment.millis };
    if !text.starts_with("now") && offset != 0 && !names_zone(text) {
        millis -= offset;
    }
    apply_math(millis, math, round_up)
}

fn names_zone(text: &str) -> bool {
    let time = text.split_once('T').map(|(_, time)| time);
    !text.contains('-') || time.is_some_and(|time| time.contains(['Z', '+', '-']))
}

fn apply_math(mut millis: i64, math: &str, round_up: bool) -> Option<i64> {
    let mut rest = math;
    while let Some(operator) = rest.chars().next() {
        rest = rest.get(operator.len_utf8()..)?;
        let split = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(split);
        let unit = match tail.chars().next()? {
            's' => Unit::Second,
            'm' => Unit::Minute,
            'h' | 'H' => Unit::Hour,
            'd' => Unit::Day,
            'w' => Unit::Week,
            'M' => Unit::Month,
            'y' => Unit::Year,
            _ => return None,
        };
        rest = &tail[1..];
        let count: i64 = if number.is_empty() { 1 } else { number.parse().ok()? };
        millis = match operator {
            '+' => add(millis, count, unit)?,
            '-' => add(millis, -count, unit)?,
            '/' if number.is_empty() => {
                let start = round_down(millis, unit);
                if round_up { add(start, 1, unit)? - 1 } else { start }
            }
            _ => return None,
        };
    }
    Some(millis)
}
