//! Reading the topics.

use crate::Preview;
use crate::history::History;
use anyhow::{Context as _, Result, anyhow, bail};
use std::time::Duration;
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::enriched::Enriched;
use weir_schemas::metadata::Metadata;
use weir_schemas::settings::Settings;
use weir_schemas::{decode, topics};
use weir_service::{HintExt as _, rate_limited};
use weir_stream::{Log, Partitions, Start, TopicPartition};

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(30);

/// Reads the metadata topic to its end: what it says of one cluster, of which at most so many revisions are held.
///
/// # Errors
/// A topic that cannot be read, that says nothing of the cluster, or that says too much.
pub async fn history(log: &Log, cluster: &str, most: usize) -> Result<History> {
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await?;
    let mut history = History::default();
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
            let Some(value) = &record.value else {
                history.forget(key);
                continue;
            };
            let message = decode::<Metadata>(value)
                .with_context(|| format!("topic {} offset {}", topics::METADATA, record.offset))
                .hint("it was written by a newer version of weir; upgrade this one")?;
            history.take(message, key, cluster);
        }
        if history.revisions() > most {
            bail!("topic {} has more than {most} revisions of cluster {cluster}", topics::METADATA);
        }
    }
    if !history.is_known() {
        return Err(anyhow!("topic {} says nothing about cluster {cluster}", topics::METADATA))
            .hint("give the cluster's id; weir up calls it local unless it is told otherwise");
    }
    Ok(history)
}

/// From which window on every record of level 1 is on the topic: [`Millis::MIN`] when none was deleted, [`Millis::MAX`] when there
/// is none, or the settings keep none. It is never too early, but may be too late by a window and the time that writing takes.
///
/// # Errors
/// When the topic or the settings cannot be read.
pub async fn kept_from(log: &Log, cluster: &str) -> Result<Millis> {
    let mut from = kept_by_settings(log, cluster).await?;
    for number in 0..log.partition_count(topics::ENRICHED).await? {
        let partition = TopicPartition::new(topics::ENRICHED, number);
        if log.log_start(&partition).await? == 0 {
            continue;
        }
        let mut reader = log.reader(topics::ENRICHED, Partitions::One(number), Start::Beginning).await?;
        let batch = reader.next_before_end(IDLE).await?;
        // What was written before it is gone, and a window's records are written after its end.
        from = from.max(batch.and_then(|batch| Some(batch.first()?.timestamp)).unwrap_or(Millis::MAX));
    }
    Ok(from)
}

async fn kept_by_settings(log: &Log, cluster: &str) -> Result<Millis> {
    let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
    let mut entries = Vec::new();
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for value in batch.iter().filter_map(|record| record.value.as_ref()) {
            let settings = RecordSettings::try_from(decode::<Settings>(value)?)?;
            if settings.cluster == cluster {
                entries.push(settings);
            }
        }
    }
    Ok(kept_since(entries))
}

/// From when on without a break settings keep level 1 for everything.
pub(crate) fn kept_since(mut entries: Vec<RecordSettings>) -> Millis {
    entries.sort_by_key(|entry| entry.valid_from);
    let keeps = |entry: &RecordSettings| {
        entry.levels_allowed.contains(&Level::One) && entry.levels_denied.contains(&Level::One)
    };
    match entries.iter().rposition(|entry| !keeps(entry)) {
        None => Millis::MIN,
        Some(last) => entries.get(last + 1).map_or(Millis::MAX, |next| next.valid_from),
    }
}

/// Gives every record of level 1 that the topic still has to a preview.
///
/// # Errors
/// When the topic cannot be read.
pub async fn stored(log: &Log, preview: &mut Preview<'_>, since: Millis) -> Result<()> {
    let mut reader = log.reader(topics::ENRICHED, Partitions::All, Start::Time(since)).await?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            let Some(value) = &record.value else { continue };
            match decode::<Enriched>(value) {
                Ok(flow) => preview.take(&flow),
                Err(error) => {
                    preview.tally.undecodable += 1;
                    rate_limited!(warn, "topic {} offset {}: {error}", topics::ENRICHED, record.offset);
                }
            }
        }
    }
    Ok(())
}
