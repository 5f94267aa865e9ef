//! An amount of disk: bytes, or a share of all disks.

use bytesize::ByteSize;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// An amount of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Percent of the disks of all data nodes, 0 to 100.
    Percent(u8),
}

impl Amount {
    /// The amount in bytes where the disks have `total` bytes.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Dividing first keeps the product in range; a hundredth is exact enough for disks.
            Self::Percent(percent) => (total / 100).saturating_mul(u64::from(percent)),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(digits) = text.trim().strip_suffix('%') {
            return match digits.trim().parse::<u8>() {
                Ok(percent) if percent <= 100 => Ok(Self::Percent(percent)),
                _ => Err(format!("{text:?} is no share: write a whole number of percent up to 100%")),
            };
        }
        let size: ByteSize =
            text.parse().map_err(|_| format!("{text:?} is no size: write it as 10GB, 512MiB or 70%"))?;
        Ok(Self::Bytes(size.as_u64()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{}", size(*bytes)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A size as a person reads it.
#[must_use]
pub fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}
