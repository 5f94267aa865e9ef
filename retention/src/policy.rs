//! What is to be kept, in all and by kind and level. Pure.

use crate::amount::Amount;
use crate::inventory::{Kind, Name};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Captures have this part of the whole budget, and so have replays, where no budget of theirs is given.
const ASIDE: u64 = 10;
/// Captures and replays stay so long after their index was made, where no age of theirs is given: they may be of any time, so
/// that only this keeps one that is still being written.
const BEING_WRITTEN: Duration = Duration::from_secs(86_400);

/// What is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most that all of Weir's indices may take.
    pub budget: Amount,
    /// What is to stay free on each data node's disk.
    pub reserve: Amount,
    /// Indices older than this go, whatever their size.
    pub max_age: Option<Duration>,
    /// Indices younger than this stay, whatever the cost.
    pub min_age: Duration,
    /// What holds for a kind, or a level of it, alone.
    pub keeps: Vec<Keep>,
}

impl Policy {
    /// The age beyond which an index goes: what is said of its level, else of its kind, else in general.
    #[must_use]
    pub fn max_age(&self, name: &Name) -> Option<Duration> {
        self.special(name, |keep| keep.max_age).or(self.max_age)
    }

    /// The age below which an index stays, looked up alike. Captures and replays stay for a day unless something shorter is said.
    #[must_use]
    pub fn min_age(&self, name: &Name) -> Duration {
        let general = || {
            let written = self.max_age(name).map_or(BEING_WRITTEN, |most| most.min(BEING_WRITTEN));
            if name.kind.ages_from_creation() { self.min_age.max(written) } else { self.min_age }
        };
        self.special(name, |keep| keep.min_age).unwrap_or_else(general)
    }

    /// The rules, with a budget for captures and one for replays where none of theirs is given: flows as they happen are not to
    /// go for what somebody brings. `usable` is what a share is of, bytes.
    #[must_use]
    pub fn rules(&self, usable: u64) -> Vec<Keep> {
        let budget = Some(Amount::Bytes(self.budget.of(usable) / ASIDE));
        let asides = Kind::ALL.into_iter().filter(|kind| kind.ages_from_creation());
        let silent = asides.filter(|kind| !self.keeps.iter().any(|k| k.kind == *kind && k.budget.is_some()));
        let given = silent.map(|kind| Keep { kind, level: None, budget, max_age: None, min_age: None });
        self.keeps.iter().copied().chain(given).collect()
    }

    fn special<T>(&self, name: &Name, value: impl Fn(&Keep) -> Option<T>) -> Option<T> {
        let of = |level: Option<u8>| {
            self.keeps.iter().find_map(|k| value(k).filter(|_| k.kind == name.kind && k.level == level))
        };
        of(Some(name.level)).or_else(|| of(None))
    }
}

/// What is to be kept of a kind, or of a level of it: `KIND[/LEVEL]:budget=SIZE,max-age=DURATION,min-age=DURATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The kind.
    pub kind: Kind,
    /// The level; absent for all of them together.
    pub level: Option<u8>,
    /// The most that they may take.
    pub budget: Option<Amount>,
    /// In place of the general age.
    pub max_age: Option<Duration>,
    /// In place of the general age.
    pub min_age: Option<Duration>,
}

impl Keep {
    /// Whether an index is meant.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        self.kind == name.kind && self.level.is_none_or(|level| level == name.level)
    }

    /// What is meant, as a person writes it: `flows/1`.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.level {
            Some(level) => format!("{}/{level}", self.kind.as_str()),
            None => self.kind.as_str().to_owned(),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write it as KIND[/LEVEL]:budget=SIZE,max-age=DURATION,min-age=DURATION";
        let (subject, rules) = text.split_once(':').ok_or_else(|| format!("{text:?} names no rule: {FORM}"))?;
        let (kind, level) = match subject.split_once('/') {
            Some((kind, level)) => (kind, Some(level)),
            None => (subject, None),
        };
        let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            format!("there is no kind {kind:?}, there are {known}")
        })?;
        let level = match level {
            None => None,
            Some(level) if kind.has_levels() => {
                let level: Option<u8> = level.parse().ok().filter(|level| *level <= 3);
                Some(level.ok_or_else(|| format!("{subject:?}: a level is 0, 1, 2 or 3"))?)
            }
            Some(_) => return Err(format!("{subject:?}: {} has no levels", kind.as_str())),
        };
        let mut keep = Self { kind, level, budget: None, max_age: None, min_age: None };
        for rule in rules.split(',') {
            let (name, value) = rule.split_once('=').ok_or_else(|| format!("{rule:?}: {FORM}"))?;
            let duration = || humantime::parse_duration(value).map_err(|e| format!("{rule:?}: {e}"));
            match name {
                "budget" if kind.yields_to_budget() => keep.budget = Some(value.parse()?),
                "budget" => return Err("the audit has no budget: it goes by age alone".to_owned()),
                "max-age" => keep.max_age = Some(duration()?),
                "min-age" => keep.min_age = Some(duration()?),
                _ => return Err(format!("{name:?} is no rule: {FORM}")),
            }
        }
        Ok(keep)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |name: &str, age: Option<Duration>| {
            age.map(|age| format!("{name}={}", humantime::format_duration(age).to_string().replace(' ', "")))
        };
        let budget = self.budget.map(|budget| format!("budget={}", budget.to_string().replace(' ', "")));
        let rules = [budget, duration("max-age", self.max_age), duration("min-age", self.min_age)];
        write!(f, "{}:{}", self.subject(), rules.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
