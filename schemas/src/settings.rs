//! Topic `weir.settings.v1`, compacted: the settings that decide records; key `<cluster>/<valid_from>`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weir_flow::settings::IndexPeriod;
use weir_flow::settings::{FilterAction, FilterRule as Rule};
use weir_flow::{Level, Millis, RecordSettings};

/// [`RecordSettings`] as they stand on the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The cluster's id.
    pub cluster: String,
    /// First generation for which they hold, ms since the epoch; the smallest long = from the start.
    pub valid_from: Millis,
    /// Tick, ms.
    pub tick: Millis,
    /// Window, ms.
    pub window: Millis,
    /// Grace, ms.
    pub grace: Millis,
    /// Tolerance, ms.
    pub tolerance: Millis,
    /// Late bound, ms.
    pub late_bound: Millis,
    /// Levels kept of allowed flows.
    pub levels_allowed: Vec<u8>,
    /// Levels kept of denied flows.
    pub levels_denied: Vec<u8>,
    /// P.
    pub raw_partitions: i32,
    /// R.
    pub internal_partitions: i32,
    /// Most keys per (partition, generation, level).
    pub keys_limit: u32,
    /// Most set members on a record.
    pub set_limit: u32,
    /// `day` or `hour`.
    pub index_period: String,
    /// Version of the meaning of records.
    pub semantics: i32,
    /// Whether append times bound the samples' times.
    pub live: bool,
    /// Filters, in order; the first that matches decides.
    pub filters: Vec<FilterRule>,
    /// Name of the CNI profile that decides what the policy specifications leave open; empty = those verdicts are unknown.
    pub cni_profile: String,
    /// How long a verdict must have held before traffic can contradict it, ms.
    pub policy_settle: Millis,
    /// Keys of the labels that records carry; empty = all.
    pub labels_keep: Vec<String>,
    /// Fingerprints of the MMDB files by which public addresses have a country and an autonomous system, in the order in
    /// which they are asked; empty = none. From schema v2 on.
    #[serde(default)]
    pub geography: Vec<String>,
}

/// A filter as it stands on the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// The expression that selects.
    pub expression: String,
    /// `keep`, `drop`, `sample` or `redact`.
    pub action: String,
    /// For `sample`: one in how many; otherwise 1.
    pub factor: u32,
    /// For `redact`: the fields that are emptied; otherwise none.
    pub fields: Vec<String>,
}

impl From<&RecordSettings> for Settings {
    fn from(s: &RecordSettings) -> Self {
        let numbers = |levels: &[Level]| levels.iter().map(|l| l.number()).collect();
        Self {
            cluster: s.cluster.clone(),
            valid_from: s.valid_from,
            tick: s.tick,
            window: s.window,
            grace: s.grace,
            tolerance: s.tolerance,
            late_bound: s.late_bound,
            levels_allowed: numbers(&s.levels_allowed),
            levels_denied: numbers(&s.levels_denied),
            raw_partitions: s.raw_partitions,
            internal_partitions: s.internal_partitions,
            keys_limit: s.keys_limit,
            set_limit: s.set_limit,
            index_period: match s.index_period {
                IndexPeriod::Day => "day".to_owned(),
                IndexPeriod::Hour => "hour".to_owned(),
            },
            semantics: s.semantics,
            live: s.live,
            filters: s.filters.iter().map(FilterRule::from).collect(),
            cni_profile: s.cni_profile.clone(),
            policy_settle: s.policy_settle,
            labels_keep: s.labels_keep.clone(),
            geography: s.geography.clone(),
        }
    }
}

impl From<&Rule> for FilterRule {
    fn from(rule: &Rule) -> Self {
        let (action, factor, fields) = match &rule.action {
            FilterAction::Keep => ("keep", 1, Vec::new()),
            FilterAction::Drop => ("drop", 1, Vec::new()),
            FilterAction::Sample(factor) => ("sample", *factor, Vec::new()),
            FilterAction::Redact(fields) => ("redact", 1, fields.clone()),
        };
        Self { expression: rule.expression.clone(), action: action.to_owned(), factor, fields }
    }
}

impl FilterRule {
    fn rule(self, cluster: &str) -> Result<Rule, SettingsRecordError> {
        let action = match self.action.as_str() {
            "keep" => FilterAction::Keep,
            "drop" => FilterAction::Drop,
            "sample" => FilterAction::Sample(self.factor),
            "redact" => FilterAction::Redact(self.fields),
            _ => return Err(SettingsRecordError::FilterAction(cluster.to_owned(), self.action)),
        };
        Ok(Rule { expression: self.expression, action })
    }
}

/// The settings of a cluster, as far as their topic was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dated {
    /// Those that are followed, in the order in which they come into force.
    pub entries: Vec<RecordSettings>,
    /// How many came too late to be followed ([`weir_flow::settings::LEAD`]).
    pub too_late: usize,
}

impl Dated {
    /// Those of a cluster among the topic's records, which are (append time in ms since the epoch, value) in the order of
    /// their offsets. Of several that hold from the same generation the last in time counts.
    ///
    /// # Errors
    /// A value that is no settings record, or whose values do not fit together.
    pub fn of<'a>(
        records: impl IntoIterator<Item = (Millis, &'a [u8])>,
        cluster: &str,
    ) -> Result<Self, SettingsRecordError> {
        let (mut entries, mut too_late) = (BTreeMap::new(), 0);
        for (appended, value) in records {
            let found: Settings = crate::decode(value)?;
            if found.cluster != cluster {
                continue;
            }
            let found = RecordSettings::try_from(found)?;
            if found.in_time(appended) {
                entries.insert(found.valid_from, found);
            } else {
                too_late += 1;
            }
        }
        Ok(Self { entries: entries.into_values().collect(), too_late })
    }

    /// Those in force at a time; the first ones hold before it too. Nothing when there are none.
    #[must_use]
    pub fn at(&self, time: Millis) -> Option<&RecordSettings> {
        let after = self.entries.partition_point(|entry| entry.valid_from <= time);
        self.entries.get(after.saturating_sub(1))
    }
}

/// Why a settings record cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsRecordError {
    /// Not a settings record.
    #[error("topic weir.settings.v1: {0}")]
    Decode(#[from] crate::DecodeError),
    /// A level that does not exist.
    #[error("settings of cluster {0}: there is no level {1}")]
    Level(String, u8),
    /// An unknown index period.
    #[error("settings of cluster {0}: index period {1:?} is neither \"day\" nor \"hour\"")]
    IndexPeriod(String, String),
    /// An unknown action of a filter.
    #[error("settings of cluster {0}: filter action {1:?} is not \"keep\", \"drop\", \"sample\" or \"redact\"")]
    FilterAction(String, String),
    /// Values that do not fit together.
    #[error("settings of cluster {0}: {1}")]
    Values(String, weir_flow::settings::SettingsError),
}

impl TryFrom<Settings> for RecordSettings {
    type Error = SettingsRecordError;

    fn try_from(s: Settings) -> Result<Self, Self::Error> {
        let levels = |numbers: &[u8]| {
            numbers
                .iter()
                .map(|n| {
                    Level::from_number(i64::from(*n)).ok_or_else(|| SettingsRecordError::Level(s.cluster.clone(), *n))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let index_period = match s.index_period.as_str() {
            "day" => IndexPeriod::Day,
            "hour" => IndexPeriod::Hour,
            other => return Err(SettingsRecordError::IndexPeriod(s.cluster.clone(), other.to_owned())),
        };
        let settings = RecordSettings {
            cluster: s.cluster.clone(),
            valid_from: s.valid_from,
            tick: s.tick,
            window: s.window,
            grace: s.grace,
            tolerance: s.tolerance,
            late_bound: s.late_bound,
            levels_allowed: levels(&s.levels_allowed)?,
            levels_denied: levels(&s.levels_denied)?,
            raw_partitions: s.raw_partitions,
            internal_partitions: s.internal_partitions,
            keys_limit: s.keys_limit,
            set_limit: s.set_limit,
            index_period,
            semantics: s.semantics,
            live: s.live,
            filters: s.filters.into_iter().map(|f| f.rule(&s.cluster)).collect::<Result<_, _>>()?,
            cni_profile: s.cni_profile,
            policy_settle: s.policy_settle,
            labels_keep: s.labels_keep,
            geography: s.geography,
        };
        settings.validate().map_err(|e| SettingsRecordError::Values(settings.cluster.clone(), e))?;
        Ok(settings)
    }
}
