//! Settings of a topic, by the names Kafka gives them. Pure.

use crate::log::AppendRules;
use crate::settings::Limits;
use std::collections::BTreeMap;

/// A setting's name, default and the values it takes.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    kind: Kind,
}

enum Kind {
    Number {
        min: i64,
        max: i64,
    },
    Choice(&'static [&'static str]),
    List(&'static [&'static str]),
    /// Taken and shown, without effect on one machine.
    Ignored,
}

const fn number(name: &'static str, default: &'static str, min: i64, max: i64) -> Key {
    Key { name, default, kind: Kind::Number { min, max } }
}

const fn ignored(name: &'static str, default: &'static str) -> Key {
    Key { name, default, kind: Kind::Ignored }
}

const MAX: i64 = i64::MAX;

/// Every setting a topic may have.
pub(crate) const KEYS: &[Key] = &[
    Key { name: "cleanup.policy", default: "delete", kind: Kind::List(&["delete", "compact"]) },
    Key {
        name: "compression.type",
        default: "producer",
        kind: Kind::Choice(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
    },
    ignored("delete.retention.ms", "86400000"),
    ignored("file.delete.delay.ms", "60000"),
    ignored("flush.messages", "9223372036854775807"),
    ignored("flush.ms", "1000"),
    ignored("index.interval.bytes", "16384"),
    ignored("max.compaction.lag.ms", "9223372036854775807"),
    number("max.message.bytes", "1048588", 0, i32::MAX as i64),
    ignored("message.timestamp.after.max.ms", "9223372036854775807"),
    ignored("message.timestamp.before.max.ms", "9223372036854775807"),
    ignored("message.timestamp.difference.max.ms", "9223372036854775807"),
    Key { name: "message.timestamp.type", default: "CreateTime", kind: Kind::Choice(&["CreateTime", "LogAppendTime"]) },
    ignored("min.cleanable.dirty.ratio", "0.5"),
    ignored("min.compaction.lag.ms", "0"),
    ignored("min.insync.replicas", "1"),
    ignored("preallocate", "false"),
    number("retention.bytes", "-1", -1, MAX),
    number("retention.ms", "604800000", -1, MAX),
    number("segment.bytes", "67108864", 1024, i32::MAX as i64),
    ignored("segment.index.bytes", "10485760"),
    ignored("segment.jitter.ms", "0"),
    number("segment.ms", "604800000", 1, MAX),
    ignored("unclean.leader.election.enable", "false"),
];

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No topic has such a setting.
    #[error("unknown topic config {0}")]
    Unknown(String),
    /// The value is none of those allowed.
    #[error("invalid value {value} for topic config {name}")]
    Invalid {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
    },
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Override {
    Set(String),
    Reset,
    Append(String),
    Subtract(String),
}

/// The settings of a topic: those given, and what they mean.
#[derive(Debug, Clone)]
pub(crate) struct TopicConfig {
    overrides: BTreeMap<String, String>,
    deleted: bool,
    retention_ms: i64,
    retention_bytes: i64,
    rules: AppendRules,
}

fn key_of(name: &str) -> Result<&'static Key, ConfigError> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| ConfigError::Unknown(name.to_owned()))
}

impl Key {
    fn accepts(&self, value: &str) -> bool {
        match &self.kind {
            Kind::Number { min, max } => value.parse().is_ok_and(|number: i64| (*min..=*max).contains(&number)),
            Kind::Choice(choices) => choices.contains(&value),
            Kind::List(choices) => value.split(',').all(|part| choices.contains(&part.trim())),
            Kind::Ignored => true,
        }
    }
}

impl TopicConfig {
    /// Checks settings and reads their meaning.
    ///
    /// # Errors
    /// The first setting that is unknown or has a value it does not take.
    pub(crate) fn new(overrides: BTreeMap<String, String>, limits: &Limits) -> Result<Self, ConfigError> {
        for (name, value) in &overrides {
            if !key_of(name)?.accepts(value) {
                return Err(ConfigError::Invalid { name: name.clone(), value: value.clone() });
            }
        }
        let text = |name: &str| -> String {
            let given = overrides.get(name).map(String::as_str);
            given.or_else(|| key_of(name).ok().map(|key| key.default)).unwrap_or_default().to_owned()
        };
        let integer = |name: &str| -> i64 { text(name).parse().unwrap_or(MAX) };
        let batch_bytes = usize::try_from(integer("max.message.bytes")).unwrap_or(usize::MAX);
        let rules = AppendRules {
            append_time: text("message.timestamp.type") == "LogAppendTime",
            segment_bytes: u64::try_from(integer("segment.bytes")).unwrap_or(u64::MAX),
            segment_ms: integer("segment.ms"),
            batch_bytes: batch_bytes.min(limits.batch_bytes),
            producers: super::partition::producer_limit(limits),
        };
        let policy = text("cleanup.policy");
        Ok(Self {
            deleted: policy.contains("delete"),
            retention_ms: integer("retention.ms"),
            retention_bytes: integer("retention.bytes"),
            rules,
            overrides,
        })
    }

    /// The settings that were given.
    pub(crate) fn overrides(&self) -> &BTreeMap<String, String> {
        &self.overrides
    }

    /// These settings with some changed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn with(&self, changes: Vec<(String, Override)>, limits: &Limits) -> Result<Self, ConfigError> {
        let mut overrides = self.overrides.clone();
        for (name, change) in changes {
            let key = key_of(&name)?;
            let current = overrides.get(&name).map_or(key.default, String::as_str);
            let parts = || current.split(',').map(str::trim).filter(|part| !part.is_empty());
            match change {
                Override::Set(value) => overrides.insert(name, value),
                Override::Reset => overrides.remove(&name),
                Override::Append(value) => {
                    let others = parts().filter(|part| *part != value);
                    let joined = others.chain([value.as_str()]).collect::<Vec<_>>().join(",");
                    overrides.insert(name, joined)
                }
                Override::Subtract(value) => {
                    let joined = parts().filter(|part| *part != value).collect::<Vec<_>>().join(",");
                    overrides.insert(name, joined)
                }
            };
        }
        Self::new(overrides, limits)
    }

    /// How its partitions are written.
    pub(crate) fn append_rules(&self) -> &AppendRules {
        &self.rules
    }

    /// Age in milliseconds and size in bytes beyond which whole segments are deleted; a negative bound is none. A
    /// topic that is only compacted is never cut.
    pub(crate) fn retention(&self) -> (i64, i64) {
        if self.deleted { (self.retention_ms, self.retention_bytes) } else { (-1, -1) }
    }
}
