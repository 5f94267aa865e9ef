//! Names of indices: a function of the record and of the dated settings, so that a retry or a replay meets its own
//! documents again.

use crate::calendar;
use std::fmt;
use weir_flow::Millis;
use weir_flow::settings::IndexPeriod;
use weir_schemas::raw::Origin;

#[cfg(test)]
mod tests;

pub use crate::calendar::TIMES;

/// What an index holds; retention gives each kind a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IndexKind {
    /// Live flows, and the demo's, which are labelled by `weir.origin`: all that happens now.
    Flows,
    /// Flows of capture files, whose time may be years ago.
    Capture,
    /// Flows of past windows that somebody had made again.
    Replay,
    /// DNS questions.
    Dns,
    /// Where everything that was seen has gone.
    Ledger,
    /// What was deleted or given up.
    Audit,
}

impl IndexKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Flows, Self::Capture, Self::Replay, Self::Dns, Self::Ledger, Self::Audit];

    /// The kind for flow records of this origin.
    #[must_use]
    pub fn of(origin: Origin) -> Self {
        match origin {
            Origin::Ebpf | Origin::Demo | Origin::Owner => Self::Flows,
            Origin::Capture => Self::Capture,
        }
    }

    /// The name in index names and on the horizon topic.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Capture => "capture",
            Self::Replay => "replay",
            Self::Dns => "dns",
            Self::Ledger => "ledger",
            Self::Audit => "audit",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it may hold windows of any time, so that the time of a window does not tell whether its index has gone.
    #[must_use]
    pub fn is_of_any_time(self) -> bool {
        matches!(self, Self::Capture | Self::Replay)
    }

    /// Whether its indices are kept apart by aggregation level.
    #[must_use]
    pub fn has_levels(self) -> bool {
        matches!(self, Self::Flows | Self::Capture | Self::Replay)
    }
}

/// The index of a record. Its text is the index's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index {
    kind: IndexKind,
    /// 0 where the kind has no levels.
    level: u8,
    /// Start of the period, ms since the epoch.
    start: Millis,
    length: Length,
}

/// How long the period of an index is, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Length {
    Hour,
    Day,
    /// The audit's: few entries, kept for long.
    Month,
}

impl Length {
    fn of(kind: IndexKind, period: IndexPeriod) -> Self {
        match (kind, period) {
            (IndexKind::Audit, _) => Self::Month,
            (_, IndexPeriod::Day) => Self::Day,
            (_, IndexPeriod::Hour) => Self::Hour,
        }
    }

    /// The end of the period that starts then.
    fn end(self, start: Millis) -> Millis {
        match self {
            Self::Hour => start + 3_600_000,
            Self::Day => start + 86_400_000,
            // Into the next month, however long this one is.
            Self::Month => self.start(start + 32 * 86_400_000),
        }
    }

    /// The start of the period that holds a time.
    fn start(self, time: Millis) -> Millis {
        match self {
            Self::Hour => weir_flow::time::floor_to(time, 3_600_000),
            Self::Day => weir_flow::time::floor_to(time, 86_400_000),
            Self::Month => {
                let (_, _, day) = calendar::date(time);
                weir_flow::time::floor_to(time, 86_400_000) - (day - 1) * 86_400_000
            }
        }
    }
}

impl Index {
    /// The index for a window; nothing when the level or the time is not one that can be written. A kind without levels
    /// takes level 0 only.
    #[must_use]
    pub fn of(kind: IndexKind, level: u8, window: Millis, period: IndexPeriod) -> Option<Self> {
        let length = Length::of(kind, period);
        let highest = if kind.has_levels() { 3 } else { 0 };
        let writable = TIMES.contains(&window) && level <= highest;
        writable.then(|| Self { kind, level, start: length.start(window), length })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> IndexKind {
        self.kind
    }

    /// Its aggregation level; 0 where its kind has none.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The end of its period, ms since the epoch.
    #[must_use]
    pub fn end(&self) -> Millis {
        self.length.end(self.start)
    }

    /// Whether a window is in the last tenth of its period: time to make the next one's index.
    #[must_use]
    pub fn nears_its_end(&self, window: Millis) -> bool {
        let end = self.end();
        (end - (end - self.start) / 10..end).contains(&window)
    }

    /// The index of the same kind and level for what comes after it, where `period` holds by then; nothing for a kind that may hold
    /// windows of any time, and at the end of time.
    #[must_use]
    pub fn next(&self, period: IndexPeriod) -> Option<Self> {
        if self.kind.is_of_any_time() { None } else { Self::of(self.kind, self.level, self.end(), period) }
    }

    /// The alias by which this index, and no other, is written. No index can have this name, because one has no capitals: engines
    /// make an index that is missing for a delete with an external version, whatever `require_alias` says.
    #[must_use]
    pub fn write_alias(&self) -> String {
        format!("{self}-WRITE")
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weir-{}-", self.kind.as_str())?;
        if self.kind.has_levels() {
            write!(f, "l{}-", self.level)?;
        }
        let (year, month, day) = calendar::date(self.start);
        match self.length {
            Length::Hour => write!(f, "{year:04}.{month:02}.{day:02}.{:02}", self.start / 3_600_000 % 24),
            Length::Day => write!(f, "{year:04}.{month:02}.{day:02}"),
            Length::Month => write!(f, "{year:04}.{month:02}"),
        }
    }
}
