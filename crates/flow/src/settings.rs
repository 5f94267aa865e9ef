//! The settings that decide records.
//!
//! They live on the topic `weir.settings.v1`, per cluster, each valid from a generation on and never changed
//! afterwards, because a replay must find the very settings that were in force. Process settings (addresses, sizes of
//! buffers) are not here: they never change a record.

use crate::time::NEVER;
use crate::{Level, Millis};
use thiserror::Error;

/// How long before the first generation for which they hold settings must be on their topic, in milliseconds of the topic's
/// time. Whoever has read the topic to its end within half of it knows what holds for all that has been published: a batch
/// is appended at most the tolerance before its tick, so that it comes later than settings that hold for its window.
pub const LEAD: Millis = 120_000;

/// The newest version of the meaning of records that is known here.
pub const SEMANTICS: i32 = 3;

/// Settings of one cluster that are in force from one generation on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// The cluster that they are for.
    pub cluster: String,
    /// The first generation (window start) for which they hold.
    pub valid_from: Millis,
    /// Length of a tick in milliseconds: how often an agent publishes.
    pub tick: Millis,
    /// Length of a window in milliseconds; a whole number of ticks, the same for all levels.
    pub window: Millis,
    /// How long after a window's end batches of it are awaited, in milliseconds; at least `tolerance` + publish delay.
    pub grace: Millis,
    /// How far an agent's clock may be ahead of the broker's, in milliseconds.
    pub tolerance: Millis,
    /// How late a sample may be, in milliseconds; what is later is a counted loss.
    pub late_bound: Millis,
    /// Levels kept for what policies allow.
    pub levels_allowed: Vec<Level>,
    /// Levels kept for what policies deny.
    pub levels_denied: Vec<Level>,
    /// P: number of partitions of the raw topic.
    pub raw_partitions: i32,
    /// R: number of partitions of the internal topic.
    pub internal_partitions: i32,
    /// The most keys that one (partition, generation, level) may have before the noisiest are coarsened.
    pub keys_limit: u32,
    /// The most addresses and the most pods listed on a record at levels 2 and 3; beyond, they are counted.
    pub set_limit: u32,
    /// The period of an index: one per UTC day or one per UTC hour.
    pub index_period: IndexPeriod,
    /// Version of the meaning of records; a new binary changes records only by raising it. From 2 on they say what policies
    /// said, from 3 on filters are asked of DNS questions too. At most [`SEMANTICS`].
    pub semantics: i32,
    /// Whether append times bound the samples' times: true for live sources, false for captures and demos of the past.
    pub live: bool,
    /// Filters, in order; the first whose expression matches a joined sample decides what becomes of it.
    pub filters: Vec<FilterRule>,
    /// Name of the CNI profile that decides what the policy specifications leave open; empty = those verdicts are unknown.
    pub cni_profile: String,
    /// How long a verdict must have held, in milliseconds, before traffic that goes otherwise counts against it.
    pub policy_settle: Millis,
    /// Keys of the labels that records carry; empty = all that the metadata has.
    pub labels_keep: Vec<String>,
    /// Fingerprints of the MMDB files by which public addresses have a country and an autonomous system, in the order in
    /// which they are asked; empty = none.
    pub geography: Vec<String>,
}

/// What becomes of the samples that an expression selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    /// The expression, in the language of `docs/filters.md`.
    pub expression: String,
    /// What becomes of them.
    pub action: FilterAction,
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterAction {
    /// Aggregated as they are; later filters are not asked.
    Keep,
    /// Left out and counted as filtered.
    Drop,
    /// One flow in so many is kept, chosen by its key's hash, and its counters are multiplied; at least 1.
    Sample(u32),
    /// Aggregated with these fields emptied.
    Redact(Vec<String>),
}

/// How much event time one index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IndexPeriod {
    /// One index per UTC day.
    Day,
    /// One index per UTC hour.
    Hour,
}

/// Why settings cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// A length is zero or negative.
    #[error("{0} is {1} ms: it must be positive")]
    NotPositive(&'static str, Millis),
    /// The window is not made of whole ticks.
    #[error("window of {window} ms is not a whole number of ticks of {tick} ms")]
    WindowNotWholeTicks {
        /// The window length.
        window: Millis,
        /// The tick length.
        tick: Millis,
    },
    /// The grace time does not cover the tolerated clock difference.
    #[error("grace of {grace} ms is less than the tolerance of {tolerance} ms: late batches would always be late")]
    GraceBelowTolerance {
        /// The grace time.
        grace: Millis,
        /// The tolerance.
        tolerance: Millis,
    },
    /// A count is out of range.
    #[error("{0} is {1}: it must be between 1 and {2}")]
    Count(&'static str, i64, i64),
    /// No level is kept.
    #[error("no level is kept for {0} flows")]
    NoLevel(&'static str),
}

impl RecordSettings {
    /// The values of a cluster in production: tick 5 s, window 60 s.
    #[must_use]
    pub fn standard(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            valid_from: i64::MIN,
            tick: 5_000,
            window: 60_000,
            grace: 5_000,
            tolerance: 2_000,
            late_bound: 3_600_000,
            levels_allowed: vec![Level::One, Level::Two],
            levels_denied: vec![Level::One, Level::Two],
            raw_partitions: 16,
            internal_partitions: 16,
            keys_limit: 200_000,
            set_limit: 100,
            index_period: IndexPeriod::Day,
            semantics: SEMANTICS,
            live: true,
            filters: Vec::new(),
            cni_profile: String::new(),
            policy_settle: 30_000,
            labels_keep: Vec::new(),
            geography: Vec::new(),
        }
    }

    /// The values that one machine starts with: tick 1 s, window 5 s, one raw partition.
    #[must_use]
    pub fn small(cluster: &str) -> Self {
        Self {
            tick: 1_000,
            window: 5_000,
            grace: 2_000,
            tolerance: 1_000,
            raw_partitions: 1,
            internal_partitions: 1,
            ..Self::standard(cluster)
        }
    }

    /// Whether settings that were appended to their topic at a time are followed: what a cluster begins with always is, what
    /// comes later than [`LEAD`] before its first generation never, because some processes would have gone on without it.
    #[must_use]
    pub fn in_time(&self, appended: Millis) -> bool {
        self.valid_from == NEVER || self.valid_from >= appended.saturating_add(LEAD)
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// The first value that cannot be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        for (name, value) in [("tick", self.tick), ("window", self.window), ("late bound", self.late_bound)] {
            if value <= 0 {
                return Err(SettingsError::NotPositive(name, value));
            }
        }
        if self.window % self.tick != 0 {
            return Err(SettingsError::WindowNotWholeTicks { window: self.window, tick: self.tick });
        }
        if self.tolerance < 0 || self.grace < self.tolerance {
            return Err(SettingsError::GraceBelowTolerance { grace: self.grace, tolerance: self.tolerance });
        }
        let counts = [
            ("raw partitions", i64::from(self.raw_partitions), 10_000),
            ("internal partitions", i64::from(self.internal_partitions), 10_000),
            ("keys limit", i64::from(self.keys_limit), 100_000_000),
            ("set limit", i64::from(self.set_limit), 10_000),
        ];
        for (name, value, most) in counts {
            if value < 1 || value > most {
                return Err(SettingsError::Count(name, value, most));
            }
        }
        if self.policy_settle < 0 {
            return Err(SettingsError::NotPositive("policy settle time", self.policy_settle));
        }
        if self.filters.iter().any(|f| f.action == FilterAction::Sample(0)) {
            return Err(SettingsError::Count("sampling factor", 0, i64::from(u32::MAX)));
        }
        if self.levels_allowed.is_empty() {
            return Err(SettingsError::NoLevel("allowed"));
        }
        if self.levels_denied.is_empty() {
            return Err(SettingsError::NoLevel("denied"));
        }
        Ok(())
    }
}
