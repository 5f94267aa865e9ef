//! What travels with an offset commit: how far a partition is written, in a string of about 40 bytes.

use thiserror::Error;
use weir_flow::Millis;
use weir_flow::time::NEVER;

#[cfg(test)]
mod tests;

/// Version of both strings.
const VERSION: &str = "1";

/// Where stage 1 stands in a raw partition: everything of generations up to T is written, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage1Position {
    /// O: lowest offset holding something of a generation after T, else the next to read.
    pub offset: i64,
    /// T: last generation written; the smallest long before the first.
    pub written: Millis,
    /// M before O; the smallest long before the first batch.
    pub watermark: Millis,
}

/// Where stage 2 stands in an internal partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2Position {
    /// O: lowest offset holding a partial or a marker of a generation after T, else the next to read.
    pub offset: i64,
    /// T: last generation written; the smallest long before the first.
    pub written: Millis,
}

/// A commit's metadata string that this version cannot read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "offset metadata {text:?} is not {form:?}: the group was committed by another program or a newer version; reset it with an explicit, recorded command"
)]
pub struct PositionError {
    /// The string.
    text: String,
    /// What it should look like.
    form: &'static str,
}

impl Stage1Position {
    /// The position of a group that has never committed, on a log of which nothing was ever deleted.
    pub const START: Self = Self { offset: 0, written: NEVER, watermark: NEVER };

    /// The metadata string: version, T, M.
    #[must_use]
    pub fn metadata(&self) -> String {
        format!("{VERSION},{},{}", self.written, self.watermark)
    }

    /// Reads a committed offset and its metadata string.
    ///
    /// # Errors
    /// When the string is not of this version.
    pub fn parse(offset: i64, text: &str) -> Result<Self, PositionError> {
        match numbers(text).as_deref() {
            Some(&[written, watermark]) => Ok(Self { offset, written, watermark }),
            _ => Err(PositionError { text: text.to_owned(), form: "1,<T>,<M>" }),
        }
    }
}

impl Stage2Position {
    /// The position of a group that has never committed, on a log of which nothing was ever deleted.
    pub const START: Self = Self { offset: 0, written: NEVER };

    /// The metadata string: version, T.
    #[must_use]
    pub fn metadata(&self) -> String {
        format!("{VERSION},{}", self.written)
    }

    /// Reads a committed offset and its metadata string.
    ///
    /// # Errors
    /// When the string is not of this version.
    pub fn parse(offset: i64, text: &str) -> Result<Self, PositionError> {
        match numbers(text).as_deref() {
            Some(&[written]) => Ok(Self { offset, written }),
            _ => Err(PositionError { text: text.to_owned(), form: "1,<T>" }),
        }
    }
}

fn numbers(text: &str) -> Option<Vec<i64>> {
    let mut fields = text.split(',');
    if fields.next() != Some(VERSION) {
        return None;
    }
    fields.map(|field| field.parse().ok()).collect()
}
