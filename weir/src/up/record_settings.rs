//! The settings that decide records: read from `weir.settings.v1`, seeded where a cluster has none.

use anyhow::{Context as _, Result};
use std::time::Duration;
use weir_flow::RecordSettings;
use weir_schemas::settings::Settings;
use weir_schemas::topics;
use weir_stream::{Log, NewRecord, Partitions, ProducerSettings, Start};

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(10);

/// The settings in force for a cluster: those on the topic, or `seed` after writing it there.
pub(crate) async fn read_or_seed(log: &Log, seed: RecordSettings) -> Result<RecordSettings> {
    let mut newest: Option<RecordSettings> = None;
    let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
    while let Some(records) = reader.next_before_end(IDLE).await? {
        for record in records {
            let Some(value) = &record.value else { continue };
            let found: Settings = weir_schemas::decode(value)
                .with_context(|| format!("topic {} offset {}", topics::SETTINGS, record.offset))?;
            if found.cluster != seed.cluster {
                continue;
            }
            let found = RecordSettings::try_from(found)?;
            if newest.as_ref().is_none_or(|n| n.valid_from <= found.valid_from) {
                newest = Some(found);
            }
        }
    }
    if let Some(found) = newest {
        return Ok(found);
    }
    seed.validate()?;
    let producer = log.producer(&ProducerSettings::new("weir-up-settings"))?;
    let key = format!("{}/{}", seed.cluster, seed.valid_from);
    let value = weir_schemas::encode(&Settings::from(&seed))?;
    producer.send(NewRecord::new(topics::SETTINGS, key, value))?.await?;
    Ok(seed)
}
