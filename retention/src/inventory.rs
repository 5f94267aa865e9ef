//! Which indices are Weir's, and what they hold.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::fmt;
use weir_elastic::{IndexInfo, NodeDisk};
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// The patterns that are asked for. What they find is still checked name by name, see [`Name::parse`].
pub const PATTERN: &str = "weir-flows-l*,weir-capture-l*";

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/// What an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Flows of a capture file.
    Capture,
    /// Flows as they happen.
    Flows,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Capture => "capture",
        }
    }
}

/// The name of one of Weir's indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What it holds.
    pub kind: Kind,
    /// Aggregation level, 0 to 3; a lower one is more detailed.
    pub level: u8,
    /// Start of its period, ms since the epoch.
    pub start: Millis,
    /// End of its period, ms since the epoch.
    pub end: Millis,
}

impl Name {
    /// Reads a name that is exactly one that the indexer gives; nothing else is Weir's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("weir-")?;
        let (kind, rest) = [Kind::Flows, Kind::Capture]
            .into_iter()
            .find_map(|kind| Some((kind, rest.strip_prefix(kind.as_str())?.strip_prefix("-l")?)))?;
        let (level, period) = rest.split_once('-')?;
        let level: u8 = level.parse().ok().filter(|level| *level <= 3)?;
        let parts: Vec<i16> = period.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let (date, hour, length) = match parts[..] {
            [year, month, day] => (date(year, month, day)?, 0, DAY),
            [year, month, day, hour] => (date(year, month, day)?, i8::try_from(hour).ok()?, HOUR),
            _ => return None,
        };
        let civil = date.to_datetime(Time::new(hour, 0, 0, 0).ok()?);
        let start = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let parsed = Self { kind, level, start, end: start.checked_add(length)? };
        // Only the one spelling that the indexer writes: no signs, no missing zeros.
        (parsed.to_string() == name).then_some(parsed)
    }
}

fn date(year: i16, month: i16, day: i16) -> Option<Date> {
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = jiff::Timestamp::from_millisecond(self.start).map_err(|_| fmt::Error)?;
        let pattern = if self.end - self.start == HOUR { "%Y.%m.%d.%H" } else { "%Y.%m.%d" };
        write!(f, "weir-{}-l{}-{}", self.kind.as_str(), self.level, start.strftime(pattern))
    }
}

/// One of Weir's indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: Name,
    /// Bytes on disk, replicas included; absent while the engine does not know.
    pub bytes: Option<u64>,
    /// When it was created, ms since the epoch.
    pub created: Millis,
}

impl Index {
    /// The time from which its age counts: the end of what it may hold, or for captures, whose time may be years ago,
    /// its creation.
    #[must_use]
    pub fn dated(&self) -> Millis {
        match self.name.kind {
            Kind::Flows => self.name.end,
            Kind::Capture => self.created,
        }
    }

    /// The day that its age falls on, for the order of deletion.
    pub(crate) fn day(&self) -> Millis {
        match self.name.kind {
            Kind::Flows => self.name.start.div_euclid(DAY),
            Kind::Capture => self.created.div_euclid(DAY),
        }
    }
}

/// What the plan looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Weir's indices.
    pub indices: Vec<Index>,
    /// The disks of the data nodes.
    pub disks: Vec<NodeDisk>,
}

impl Inventory {
    /// Takes what is Weir's of what the engine lists.
    #[must_use]
    pub fn of(listed: &[IndexInfo], disks: Vec<NodeDisk>) -> Self {
        let index =
            |info: &IndexInfo| Some(Index { name: Name::parse(&info.name)?, bytes: info.bytes, created: info.created });
        Self { indices: listed.iter().filter_map(index).collect(), disks }
    }

    /// Bytes of all of Weir's indices.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.indices.iter().filter_map(|i| i.bytes).fold(0, u64::saturating_add)
    }

    /// Size of all disks, bytes.
    #[must_use]
    pub fn disk_total(&self) -> u64 {
        self.disks.iter().map(|d| d.total).fold(0, u64::saturating_add)
    }
}
