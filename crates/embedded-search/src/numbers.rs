//! Conversions between number types that never wrap and never round silently.

/// The integer that `value` holds, if it is one within range.
pub(crate) fn f64_to_i64(value: f64) -> Option<i64> {
    // 2^63 itself is not an i64; every f64 below it that is integral is.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() != 0.0 || !(-BOUND..BOUND).contains(&value) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "checked above: integral and within range")]
    Some(value as i64)
}

/// The integer that `value` holds, if it is one that fits 128 bits with room to spare.
pub(crate) fn f64_to_i128(value: f64) -> Option<i128> {
    const BOUND: f64 = 1e36;
    if value.fract() != 0.0 || !(-BOUND..BOUND).contains(&value) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "checked above: integral and within range")]
    Some(value as i128)
}

/// `value` as the nearest 32-bit float, widened again: what a `float` field stores.
pub(crate) fn through_f32(value: f64) -> f64 {
    f64::from(narrow(value))
}

/// The nearest 32-bit float.
pub(crate) fn narrow(value: f64) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest 32-bit float is what is asked for")]
    let narrow = value as f32;
    narrow
}

/// The nearest 64-bit float: what Elasticsearch computes numbers with.
pub(crate) fn to_f64(value: i128) -> f64 {
    value as f64
}

/// The nearest 64-bit float of a count.
pub(crate) fn count_to_f64(value: u64) -> f64 {
    value as f64
}

/// A position in a collection as a 32-bit number; `u32::MAX` where it does not fit.
pub(crate) fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A length as a 64-bit number.
pub(crate) fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A 32-bit number as a position in a collection.
pub(crate) fn to_usize(value: impl TryInto<usize>) -> usize {
    value.try_into().unwrap_or(usize::MAX)
}
