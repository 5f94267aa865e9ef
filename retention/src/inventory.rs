//! Which indices are Weir's, and what they hold.

use crate::booking::Booked;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use weir_elastic::{IndexInfo, NodeDisk, ShardCopy, Watermarks};
use weir_flow::Millis;

#[cfg(test)]
mod tests;

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/// What an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Flows of a capture file.
    Capture,
    /// Flows of past windows that somebody had made again.
    Replay,
    /// Flows as they happen.
    Flows,
    /// DNS questions.
    Dns,
    /// Where everything that was seen has gone.
    Ledger,
    /// What was deleted or given up.
    Audit,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Capture, Self::Replay, Self::Flows, Self::Dns, Self::Ledger, Self::Audit];

    /// The name in index names, settings and on the horizon topic.
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

    /// Whether its indices are kept apart by aggregation level.
    #[must_use]
    pub fn has_levels(self) -> bool {
        matches!(self, Self::Flows | Self::Capture | Self::Replay)
    }

    /// Whether its age counts from an index's creation, because what it holds may be of any time.
    #[must_use]
    pub fn ages_from_creation(self) -> bool {
        matches!(self, Self::Capture | Self::Replay)
    }

    /// Whether it goes when disk is short. The audit goes by age alone.
    #[must_use]
    pub fn yields_to_budget(self) -> bool {
        self != Self::Audit
    }
}

/// The name of one of Weir's indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What it holds.
    pub kind: Kind,
    /// Aggregation level, 0 to 3; a lower one is more detailed. 0 where the kind has none.
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
        let (kind, rest) = Kind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, rest.strip_prefix(kind.as_str())?.strip_prefix('-')?)))?;
        let (level, period) = match rest.strip_prefix('l').filter(|_| kind.has_levels()) {
            Some(rest) => {
                let (level, period) = rest.split_once('-')?;
                (level.parse().ok().filter(|level: &u8| *level <= 3)?, period)
            }
            None if kind.has_levels() => return None,
            None => (0, rest),
        };
        let parts: Vec<i16> = period.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let (start, end) = match (parts.as_slice(), kind) {
            ([year, month], Kind::Audit) => {
                let first = date(*year, *month, 1)?;
                (millis(first, 0)?, millis(first.checked_add(jiff::Span::new().months(1)).ok()?, 0)?)
            }
            (_, Kind::Audit) => return None,
            ([year, month, day], _) => {
                let start = millis(date(*year, *month, *day)?, 0)?;
                (start, start.checked_add(DAY)?)
            }
            ([year, month, day, hour], _) => {
                let start = millis(date(*year, *month, *day)?, i8::try_from(*hour).ok()?)?;
                (start, start.checked_add(HOUR)?)
            }
            _ => return None,
        };
        let parsed = Self { kind, level, start, end };
        // Only the one spelling that the indexer writes: no signs, no missing zeros.
        (parsed.to_string() == name).then_some(parsed)
    }
}

fn millis(date: Date, hour: i8) -> Option<Millis> {
    let civil = date.to_datetime(Time::new(hour, 0, 0, 0).ok()?);
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn date(year: i16, month: i16, day: i16) -> Option<Date> {
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// What the alias by which an index is written has behind the index's name, and what it had in earlier versions.
const WRITE_ALIAS: [&str; 2] = ["-WRITE", "-write"];

/// The name of an index that is Weir's: its name is exactly one that the indexer gives, and the alias by which the indexer writes
/// to it, and to no other, leads to it. Every version has made both.
pub(crate) fn ours(info: &IndexInfo) -> Option<Name> {
    let is_own = |alias: &String| WRITE_ALIAS.iter().any(|suffix| alias.strip_suffix(suffix) == Some(&info.name));
    let written = info.aliases.iter().any(is_own);
    Name::parse(&info.name).filter(|_| written)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = jiff::Timestamp::from_millisecond(self.start).map_err(|_| fmt::Error)?;
        let pattern = match self.end - self.start {
            HOUR => "%Y.%m.%d.%H",
            DAY => "%Y.%m.%d",
            _ => "%Y.%m",
        };
        write!(f, "weir-{}-", self.kind.as_str())?;
        if self.kind.has_levels() {
            write!(f, "l{}-", self.level)?;
        }
        write!(f, "{}", start.strftime(pattern))
    }
}

/// One of Weir's indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: Name,
    /// Bytes on disk, replicas included; absent while the engine does not know.
    pub bytes: Option<u64>,
    /// How many documents it holds; absent while the engine does not know.
    pub documents: Option<u64>,
    /// When it was created, ms since the epoch.
    pub created: Millis,
}

impl Index {
    /// The time from which its age counts: the end of what it may hold, or for captures and replays, whose time may be
    /// years ago, its creation.
    #[must_use]
    pub fn dated(&self) -> Millis {
        if self.name.kind.ages_from_creation() { self.created } else { self.name.end }
    }

    /// Whether it was made before its period began and holds nothing.
    pub(crate) fn was_made_in_vain(&self) -> bool {
        self.documents == Some(0) && self.created < self.name.start
    }

    /// The day that its age falls on, for the order of deletion.
    pub(crate) fn day(&self) -> Millis {
        let from = if self.name.kind.ages_from_creation() { self.created } else { self.name.start };
        from.div_euclid(DAY)
    }
}

/// What the plan looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Weir's indices.
    pub indices: Vec<Index>,
    /// How many indices have a name of Weir's, but not the alias that the indexer gives each of its own.
    pub foreign: usize,
    /// What of each index stands on which data node, bytes by the node's id.
    pub placement: BTreeMap<Name, BTreeMap<String, u64>>,
    /// The disks of the data nodes.
    pub disks: Vec<NodeDisk>,
    /// From where on the engine refuses to use them; absent where it does not say.
    pub watermarks: Option<Watermarks>,
    /// What of the above already counts as gone; absent while it is not known what was deleted lately.
    pub booked: Option<Booked>,
}

impl Inventory {
    /// Takes what is Weir's of what the engine lists.
    #[must_use]
    pub fn of(
        listed: &[IndexInfo],
        shards: &[ShardCopy],
        disks: Vec<NodeDisk>,
        watermarks: Option<Watermarks>,
    ) -> Self {
        let index = |info: &IndexInfo| {
            Some(Index { name: ours(info)?, bytes: info.bytes, documents: info.docs, created: info.created })
        };
        let indices: Vec<Index> = listed.iter().filter_map(index).collect();
        let foreign = listed.iter().filter(|info| Name::parse(&info.name).is_some() && ours(info).is_none()).count();
        let mut placement: BTreeMap<Name, BTreeMap<String, u64>> = BTreeMap::new();
        for copy in shards {
            let Some(name) = Name::parse(&copy.index) else { continue };
            let there = placement.entry(name).or_default().entry(copy.node.clone()).or_insert(0);
            *there = there.saturating_add(copy.bytes);
        }
        Self { indices, foreign, placement, disks, watermarks, booked: None }
    }

    /// What of an index stands on a disk, bytes: 0 where that is not known. On the only disk there is, it is all of it.
    pub(crate) fn on(&self, index: &Index, disk: usize) -> u64 {
        match self.disks.as_slice() {
            [_] => index.bytes.unwrap_or(0),
            disks => {
                let there = disks.get(disk).zip(self.placement.get(&index.name));
                there.and_then(|(disk, nodes)| nodes.get(&disk.id)).copied().unwrap_or(0)
            }
        }
    }

    /// Bytes of all of Weir's indices.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.indices.iter().filter_map(|i| i.bytes).fold(0, u64::saturating_add)
    }

    /// What of all disks can be used before the engine refuses new shards, bytes: what a share in percent is of.
    #[must_use]
    pub fn usable(&self) -> u64 {
        let usable = |d: &NodeDisk| match self.watermarks {
            Some(marks) => d.total.saturating_sub(marks.low.free(d.total)),
            None => d.total,
        };
        self.disks.iter().map(usable).fold(0, u64::saturating_add)
    }
}
