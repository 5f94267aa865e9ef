//! Value parsers for durations and sizes, written the same way everywhere.

use std::time::Duration;

/// Parses a duration such as `5s`, `1m 30s` or `250ms`; for `#[arg(value_parser = parse_duration)]`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error} (write a number and a unit, such as 5s, 250ms or 1h)"))
}

/// Parses a size in bytes such as `512KiB`, `64MB` or `1048576`; for `#[arg(value_parser = parse_size)]`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|error| format!("{error} (write a number and a unit, such as 64MiB or 10GB)"))
}
