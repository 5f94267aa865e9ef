//! The settings that decide records: read from `weir.settings.v1`, written where a cluster has none.

use crate::clock::now;
use anyhow::{Result, anyhow};
use std::collections::BTreeSet;
use std::time::Duration;
use weir_flow::settings::{FilterAction, IndexPeriod};
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::settings::{Dated, Settings};
use weir_schemas::topics;
use weir_service::HintExt as _;
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Record, Start, TopicSpec};

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(10);

/// Creates the topics of a cluster that are missing.
///
/// # Errors
/// When one that exists has another number of partitions.
pub(crate) async fn ensure_topics(log: &Log, settings: &RecordSettings, enriched_partitions: i32) -> Result<()> {
    Ok(log.ensure_topics(&topics(settings, enriched_partitions)).await?)
}

/// The topics of a cluster.
pub(crate) fn topics(settings: &RecordSettings, enriched_partitions: i32) -> Vec<TopicSpec> {
    let (raw, internal) = (settings.raw_partitions, settings.internal_partitions);
    topics::of(&settings.cluster, raw, internal, enriched_partitions)
        .into_iter()
        .map(|t| TopicSpec { name: t.name, partitions: t.partitions, configs: t.configs })
        .collect()
}

/// The topic, whole.
async fn records(log: &Log) -> Result<Vec<Record>> {
    let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
    Ok(reader.read_to_end(IDLE).await?)
}

/// The clusters that have settings, each once.
pub(crate) async fn clusters(log: &Log) -> Result<Vec<String>> {
    let mut clusters = BTreeSet::new();
    for record in records(log).await? {
        if let Some(value) = &record.value {
            clusters.insert(weir_schemas::decode::<Settings>(value)?.cluster);
        }
    }
    Ok(clusters.into_iter().collect())
}

/// All settings of a cluster, those to come too.
pub(crate) async fn dated(log: &Log, cluster: &str) -> Result<Dated> {
    let records = records(log).await?;
    let values = records.iter().filter_map(|record| Some((record.timestamp, record.value.as_deref()?)));
    Ok(Dated::of(values, cluster)?)
}

/// The log when it answers, and the settings of a cluster that has some.
///
/// # Errors
/// When no broker answers, or the cluster has none; the hint names those that have.
pub(crate) async fn read(kafka: &KafkaSettings, cluster: &str) -> Result<(Log, Dated)> {
    let log = crate::kafka::log(kafka).await?;
    let dated = dated(&log, cluster).await?;
    if dated.entries.is_empty() {
        let others = clusters(&log).await?;
        let hint = match others.as_slice() {
            [] => format!("write them with `weir init --cluster {cluster}`"),
            others => format!("these clusters have: {}; name one with --cluster", others.join(", ")),
        };
        return Err(anyhow!("cluster {cluster} has no settings")).hint(hint);
    }
    Ok((log, dated))
}

/// The settings in force for a cluster now: those on the topic, or `seed` after writing it there.
///
/// # Errors
/// When filters or a network plugin are asked for and the cluster has others.
pub(crate) async fn read_or_seed(log: &Log, seed: RecordSettings) -> Result<RecordSettings> {
    let hint =
        |flag| format!("leave {flag} out to go on with those, and change them with `weir settings set {flag} …`");
    if let Some(found) = dated(log, &seed.cluster).await?.at(now()) {
        if !seed.filters.is_empty() && seed.filters != found.filters {
            return Err(anyhow!("cluster {} has other filters than --filter asks for", seed.cluster))
                .hint(hint("--filter"));
        }
        if !seed.cni_profile.is_empty() && seed.cni_profile != found.cni_profile {
            return Err(anyhow!("cluster {} has another network plugin than --cni asks for", seed.cluster))
                .hint(hint("--cni"));
        }
        return Ok(found.clone());
    }
    write(log, &seed).await?;
    Ok(seed)
}

/// Writes settings, once they have been checked.
pub(crate) async fn write(log: &Log, settings: &RecordSettings) -> Result<()> {
    settings.validate()?;
    weir_filter::Rules::compile(&settings.filters)?;
    let producer = log.producer(&ProducerSettings::new("weir-settings"))?;
    let key = format!("{}/{}", settings.cluster, settings.valid_from);
    let value = weir_schemas::encode(&Settings::from(settings))?;
    producer.send(NewRecord::new(topics::SETTINGS, key, value))?.await?;
    Ok(())
}

/// Name and value of each setting that decides records, for people; what it is for and since when are not among them.
pub(crate) fn fields(settings: &RecordSettings) -> Vec<(&'static str, String)> {
    let time = |millis: Millis| {
        let duration = Duration::from_millis(millis.unsigned_abs());
        humantime::format_duration(duration).to_string()
    };
    let levels = |levels: &[Level]| list(levels.iter().map(|level| level.number().to_string()));
    vec![
        ("tick", time(settings.tick)),
        ("window", time(settings.window)),
        ("grace", time(settings.grace)),
        ("tolerance", time(settings.tolerance)),
        ("late bound", time(settings.late_bound)),
        ("levels of allowed flows", levels(&settings.levels_allowed)),
        ("levels of denied flows", levels(&settings.levels_denied)),
        ("raw partitions", settings.raw_partitions.to_string()),
        ("internal partitions", settings.internal_partitions.to_string()),
        ("keys limit", settings.keys_limit.to_string()),
        ("set limit", settings.set_limit.to_string()),
        (
            "index period",
            match settings.index_period {
                IndexPeriod::Day => "day".to_owned(),
                IndexPeriod::Hour => "hour".to_owned(),
            },
        ),
        ("semantics", settings.semantics.to_string()),
        ("live", settings.live.to_string()),
        ("network plugin", or_none(settings.cni_profile.clone())),
        ("policies' settle time", time(settings.policy_settle)),
        (
            "labels kept",
            if settings.labels_keep.is_empty() { "all".to_owned() } else { list(settings.labels_keep.clone()) },
        ),
        ("databases of places", or_none(list(settings.geography.clone()))),
        ("filters", or_none(settings.filters.iter().map(rule).collect::<Vec<_>>().join("; "))),
    ]
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A rule as it is written.
fn rule(rule: &weir_flow::settings::FilterRule) -> String {
    let action = match &rule.action {
        FilterAction::Keep => "keep".to_owned(),
        FilterAction::Drop => "drop".to_owned(),
        FilterAction::Sample(factor) => format!("sample {factor}"),
        FilterAction::Redact(fields) => format!("redact {}", fields.join(", ")),
    };
    format!("{action}: {}", rule.expression)
}
