//! The settings that decide records: read from `weir.settings.v1`, written where a cluster has none.

use anyhow::{Result, anyhow};
use std::time::Duration;
use weir_flow::RecordSettings;
use weir_schemas::settings::{self, Settings};
use weir_schemas::topics;
use weir_service::HintExt as _;
use weir_stream::{Log, NewRecord, Partitions, ProducerSettings, Start, TopicSpec};

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

/// The settings in force for a cluster, if it has any.
pub(crate) async fn read(log: &Log, cluster: &str) -> Result<Option<RecordSettings>> {
    let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
    let records = reader.read_to_end(IDLE).await?;
    Ok(settings::newest(records.iter().filter_map(|r| r.value.as_deref()), cluster)?)
}

/// The settings in force for a cluster: those on the topic, or `seed` after writing it there.
///
/// # Errors
/// When filters or a network plugin are asked for and the cluster has others.
pub(crate) async fn read_or_seed(log: &Log, seed: RecordSettings) -> Result<RecordSettings> {
    if let Some(found) = read(log, &seed.cluster).await? {
        if !seed.filters.is_empty() && seed.filters != found.filters {
            return Err(anyhow!("cluster {} began with other filters than --filter asks for", seed.cluster))
                .hint("leave --filter out to go on with those, or begin anew with another --data or --cluster");
        }
        if !seed.cni_profile.is_empty() && seed.cni_profile != found.cni_profile {
            return Err(anyhow!("cluster {} began with another network plugin than --cni asks for", seed.cluster))
                .hint("leave --cni out to go on with that, or begin anew with another --data or --cluster");
        }
        return Ok(found);
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
