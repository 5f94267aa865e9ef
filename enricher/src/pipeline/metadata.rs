//! The temporal table of the metadata topic, loaded whole before the first join and followed afterwards.

use super::{IDLE, Meters, Shared};
use anyhow::Context as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::watch;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_join::Table;
use weir_schemas::metadata::{Metadata, first_heartbeat_key};
use weir_schemas::{decode_metadata, topics};
use weir_service::{Health, HintExt as _};
use weir_stream::{Log, Partitions, Reader, Record, Start};

/// The table: one writer, the follower; many readers.
#[derive(Clone)]
pub(super) struct SharedTable {
    table: Arc<RwLock<Table>>,
    complete_to: watch::Receiver<Millis>,
}

impl SharedTable {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when H moves.
    pub(super) fn watch(&self) -> watch::Receiver<Millis> {
        self.complete_to.clone()
    }
}

/// A loaded table and the reader that follows it.
pub(super) struct Followed {
    shared: SharedTable,
    sender: watch::Sender<Millis>,
    reader: Reader,
}

impl Followed {
    pub(super) fn table(&self) -> SharedTable {
        self.shared.clone()
    }
}

/// Reads the metadata topic from its start to its end.
pub(super) async fn load(log: &Log, cluster: &str, meters: &Meters, health: &Health) -> anyhow::Result<Followed> {
    let (table, reader) = read_whole(log, cluster).await?;
    publish(&table, meters, health);
    let (sender, complete_to) = watch::channel(table.complete_to());
    let shared = SharedTable { table: Arc::new(RwLock::new(table)), complete_to };
    Ok(Followed { shared, sender, reader })
}

/// Reads the topic from its start to its end; the reader goes on from there.
pub(super) async fn read_whole(log: &Log, cluster: &str) -> anyhow::Result<(Table, Reader)> {
    let partitions = usize::try_from(log.partition_count(topics::METADATA).await?).unwrap_or(1);
    let mut table = Table::new(cluster, partitions);
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            apply(&mut table, record)?;
        }
    }
    Ok((table, reader))
}

fn apply(table: &mut Table, record: &Record) -> anyhow::Result<()> {
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
    let Some(value) = &record.value else {
        table.forget(key);
        return Ok(());
    };
    let message = decode_metadata(value)
        .with_context(|| format!("topic {} partition {} offset {}", topics::METADATA, record.partition, record.offset))
        .hint("attribution would be wrong without it: upgrade this process, or delete the record with a tombstone")?;
    table.apply(usize::try_from(record.partition).unwrap_or(0), &message);
    if let Metadata::Heartbeat(heartbeat) = &message
        && key == first_heartbeat_key(heartbeat.cluster)
        && heartbeat.cluster == table.cluster()
    {
        table.whole_from(heartbeat.complete_to);
    }
    Ok(())
}

fn publish(table: &Table, meters: &Meters, health: &Health) {
    let complete_to = table.complete_to();
    meters.metadata_complete_to.set(complete_to);
    meters.metadata_revisions.set(i64::try_from(table.revisions()).unwrap_or(i64::MAX));
    health.set_ready("enricher metadata", complete_to != NEVER, complete_text(complete_to));
}

/// H in words.
pub(super) fn complete_text(complete_to: Millis) -> String {
    match complete_to {
        NEVER => "metadata has no heartbeat yet: is the metadata service running?".to_owned(),
        FOR_EVER => "metadata is complete for ever".to_owned(),
        time => format!("metadata is complete up to {time} ms since the epoch"),
    }
}

/// Follows the topic until the token is cancelled.
pub(super) async fn follow(shared: Arc<Shared>, mut followed: Followed) -> anyhow::Result<()> {
    loop {
        let batch = tokio::select! {
            () = shared.token.cancelled() => return Ok(()),
            batch = followed.reader.next(Duration::from_secs(1)) => batch,
        };
        match batch {
            Ok(batch) if batch.is_empty() => {}
            Ok(batch) => {
                let mut table = followed.shared.table.write().unwrap_or_else(PoisonError::into_inner);
                for record in &batch {
                    apply(&mut table, record)?;
                }
                publish(&table, &shared.meters, &shared.health);
                followed.sender.send_replace(table.complete_to());
            }
            Err(error) => {
                weir_service::rate_limited!(warn, error = %error, "metadata is read again from its start");
                tokio::select! {
                    () = shared.token.cancelled() => return Ok(()),
                    () = tokio::time::sleep(shared.settings.retry_limit) => {}
                }
                // The table in use stays until the new one is whole.
                if let Ok((table, reader)) = read_whole(&shared.log, &shared.settings.cluster).await {
                    followed.reader = reader;
                    publish(&table, &shared.meters, &shared.health);
                    followed.sender.send_replace(table.complete_to());
                    *followed.shared.table.write().unwrap_or_else(PoisonError::into_inner) = table;
                }
            }
        }
    }
}
