//! The settings that decide records, each valid from a generation on.

use thiserror::Error;
use weir_filter::{RuleError, Rules};
use weir_flow::settings::SEMANTICS;
use weir_flow::time::{NEVER, floor_to};
use weir_flow::{Level, Millis, RecordSettings};

#[cfg(test)]
mod tests;

/// All settings of one cluster, in the order in which they come into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsHistory {
    entries: Vec<RecordSettings>,
    /// The filters of each entry.
    rules: Vec<Rules>,
}

/// Why settings cannot be followed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HistoryError {
    /// Nothing on the settings topic.
    #[error(
        "cluster {0} has no settings on topic weir.settings.v1: write them with `weir init --cluster {0}`, or start it with `weir up`"
    )]
    Missing(String),
    /// A value that decides where samples are placed differs between entries.
    #[error(
        "settings of cluster {cluster}: {name} changes at {valid_from}, but it must stay the same for a cluster's life; use a new cluster id"
    )]
    Changed {
        /// The cluster.
        cluster: String,
        /// The value.
        name: &'static str,
        /// The entry's first generation.
        valid_from: Millis,
    },
    /// Partitions cannot become fewer.
    #[error("settings of cluster {cluster}: fewer {name} from {valid_from} on; Kafka partitions cannot be taken away")]
    Fewer {
        /// The cluster.
        cluster: String,
        /// Which partitions.
        name: &'static str,
        /// The entry's first generation.
        valid_from: Millis,
    },
    /// A filter has no meaning.
    #[error("settings of cluster {cluster}: {error}")]
    Filter {
        /// The cluster.
        cluster: String,
        /// Which, and why.
        error: Box<RuleError>,
    },
    /// A network plugin that is not known.
    #[error(
        "settings of cluster {cluster}: there is no CNI profile {name:?}; use one of none, calico, cilium, or a newer version"
    )]
    Profile {
        /// The cluster.
        cluster: String,
        /// The name.
        name: String,
    },
    /// Records of a meaning that is not known yet.
    #[error(
        "settings of cluster {cluster}: semantics {semantics} from {valid_from} on, but this version knows up to {SEMANTICS}; upgrade it"
    )]
    Semantics {
        /// The cluster.
        cluster: String,
        /// What is asked for.
        semantics: i32,
        /// The entry's first generation.
        valid_from: Millis,
    },
    /// Not the start of a window.
    #[error("settings of cluster {cluster}: valid from {valid_from}, which is not the start of a window")]
    NotAligned {
        /// The cluster.
        cluster: String,
        /// The entry's first generation.
        valid_from: Millis,
    },
}

impl SettingsHistory {
    /// Puts the settings of a cluster in order. The first entry holds for everything before it too.
    ///
    /// # Errors
    /// When there are none, when an entry changes what must stay, or when a filter has no meaning.
    pub fn new(cluster: &str, mut entries: Vec<RecordSettings>) -> Result<Self, HistoryError> {
        entries.sort_by_key(|entry| entry.valid_from);
        let first = entries.first().ok_or_else(|| HistoryError::Missing(cluster.to_owned()))?.clone();
        let mut before = first.clone();
        for entry in entries.iter().skip(1) {
            follows(&before, entry)?;
            before = entry.clone();
        }
        if let Some(entry) = entries.iter().find(|entry| entry.semantics > SEMANTICS) {
            let (semantics, valid_from) = (entry.semantics, entry.valid_from);
            return Err(HistoryError::Semantics { cluster: cluster.to_owned(), semantics, valid_from });
        }
        let unknown = |entry: &&RecordSettings| {
            !entry.cni_profile.is_empty() && weir_policy::Profile::named(&entry.cni_profile).is_none()
        };
        if let Some(entry) = entries.iter().find(unknown) {
            return Err(HistoryError::Profile { cluster: cluster.to_owned(), name: entry.cni_profile.clone() });
        }
        let compiled = |entry: &RecordSettings| {
            Rules::compile(&entry.filters)
                .map_err(|error| HistoryError::Filter { cluster: cluster.to_owned(), error: Box::new(error) })
        };
        let rules = entries.iter().map(compiled).collect::<Result<_, _>>()?;
        Ok(Self { entries, rules })
    }

    /// The same, but with records of one level only and without places, which no other field of such a record depends on.
    #[must_use]
    pub fn only(mut self, level: Level) -> Self {
        for entry in &mut self.entries {
            entry.levels_allowed = vec![level];
            entry.levels_denied = vec![level];
            entry.geography.clear();
        }
        self
    }

    /// The settings in force for a generation (or for the tick of a batch).
    #[must_use]
    pub fn at(&self, generation: Millis) -> &RecordSettings {
        &self.entries[self.index(generation)]
    }

    /// The filters in force for a generation.
    pub(crate) fn rules_at(&self, generation: Millis) -> &Rules {
        &self.rules[self.index(generation)]
    }

    fn index(&self, generation: Millis) -> usize {
        self.entries.partition_point(|entry| entry.valid_from <= generation).saturating_sub(1)
    }

    /// All of them, in the order in which they come into force.
    pub fn entries(&self) -> impl Iterator<Item = &RecordSettings> {
        self.entries.iter()
    }

    /// The settings that came into force last.
    #[must_use]
    pub fn latest(&self) -> &RecordSettings {
        &self.entries[self.entries.len() - 1]
    }

    /// The last generation up to which every raw partition in force has a marker: `marker(p)` is the last generation
    /// that raw partition p has written.
    #[must_use]
    pub fn complete(&self, marker: impl Fn(i32) -> Millis) -> Millis {
        let mut complete = NEVER;
        for (index, entry) in self.entries.iter().enumerate() {
            let lowest = (0..entry.raw_partitions).map(&marker).min().unwrap_or(NEVER);
            let last = self.entries.get(index + 1).map(|next| next.valid_from.saturating_sub(entry.window));
            match last {
                Some(last) if lowest >= last => complete = complete.max(last),
                _ => return if index == 0 || lowest >= entry.valid_from { lowest } else { complete },
            }
        }
        complete
    }
}

fn follows(before: &RecordSettings, entry: &RecordSettings) -> Result<(), HistoryError> {
    let cluster = || entry.cluster.clone();
    let valid_from = entry.valid_from;
    let lengths = [
        ("tick", before.tick, entry.tick),
        ("window", before.window, entry.window),
        ("grace", before.grace, entry.grace),
        ("tolerance", before.tolerance, entry.tolerance),
    ];
    for (name, was, is) in lengths {
        if was != is {
            return Err(HistoryError::Changed { cluster: cluster(), name, valid_from });
        }
    }
    if entry.raw_partitions < before.raw_partitions {
        return Err(HistoryError::Fewer { cluster: cluster(), name: "raw partitions", valid_from });
    }
    if entry.internal_partitions < before.internal_partitions {
        return Err(HistoryError::Fewer { cluster: cluster(), name: "internal partitions", valid_from });
    }
    if floor_to(valid_from, entry.window) != valid_from {
        return Err(HistoryError::NotAligned { cluster: cluster(), valid_from });
    }
    Ok(())
}
