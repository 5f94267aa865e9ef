//! Names of indices: a function of the record and of the dated settings, so that a retry or a replay meets its own
//! documents again.

use jiff::Timestamp;
use std::fmt;
use weir_flow::Millis;
use weir_flow::settings::IndexPeriod;
use weir_schemas::raw::Origin;

#[cfg(test)]
mod tests;

/// The alias by which all flow indices are read.
pub const READ_ALIAS: &str = "weir-flows";
/// The name of the index template.
pub const TEMPLATE_NAME: &str = "weir-flows";
/// The index template: settings, strict mapping and read alias of every flow index.
pub const TEMPLATE: &str = include_str!("../templates/weir-flows.json");
/// Times outside of these cannot be written: 1970 up to and without the year 10000, ms since the epoch.
pub const TIMES: std::ops::Range<Millis> = 0..253_402_300_800_000;

/// What an index holds; retention gives each kind a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IndexKind {
    /// Live flows, and the demo's, which are labelled by `weir.origin`: all that happens now.
    Flows,
    /// Flows of capture files, whose time may be years ago.
    Capture,
}

impl IndexKind {
    /// The kind for records of this origin.
    #[must_use]
    pub fn of(origin: Origin) -> Self {
        match origin {
            Origin::Ebpf | Origin::Demo | Origin::Owner => Self::Flows,
            Origin::Capture => Self::Capture,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Capture => "capture",
        }
    }
}

/// The index of a record. Its text is the index's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index {
    kind: IndexKind,
    level: u8,
    /// Start of the period, ms since the epoch.
    start: Millis,
    hourly: bool,
}

impl Index {
    /// The index for a window; nothing when the level or the time is not one that can be written.
    #[must_use]
    pub fn of(kind: IndexKind, level: u8, window: Millis, period: IndexPeriod) -> Option<Self> {
        let (length, hourly) = match period {
            IndexPeriod::Day => (86_400_000, false),
            IndexPeriod::Hour => (3_600_000, true),
        };
        let writable = TIMES.contains(&window) && level <= 3;
        writable.then(|| Self { kind, level, start: weir_flow::time::floor_to(window, length), hourly })
    }

    /// The alias by which this index, and no other, is written.
    #[must_use]
    pub fn write_alias(&self) -> String {
        format!("{self}-write")
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Timestamp::from_millisecond(self.start).map_err(|_| fmt::Error)?;
        let pattern = if self.hourly { "%Y.%m.%d.%H" } else { "%Y.%m.%d" };
        write!(f, "weir-{}-l{}-{}", self.kind.as_str(), self.level, start.strftime(pattern))
    }
}
