//! What the metadata topic says, loaded whole before the first join and followed afterwards: the temporal table, and what
//! policies say of whom.

use super::{IDLE, Meters, Shared};
use crate::policies::Policies;
use anyhow::Context as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Duration;
use tokio::sync::watch;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_join::Table;
use weir_schemas::metadata::{Heartbeat, Metadata, first_heartbeat_key, is_of_cluster, is_source_key, parse_gap_key};
use weir_schemas::{ReadMetadata, decode_metadata, topics};
use weir_service::{Health, HintExt as _};
use weir_stream::{Log, Partitions, Reader, Record, Start};

/// Records that are decoded, then applied, at a time.
const GROUP: usize = 128;
/// From so many records on a second thread is worth its start.
const MANY: usize = 512;
/// Groups that may be decoded and not applied yet.
const AHEAD: usize = 4;

#[cfg(test)]
mod tests;

/// Everything that is known, as of any time.
pub(super) struct Known {
    pub(super) table: Table,
    pub(super) policies: Policies,
}

/// The table and the policies: one writer, the follower; many readers.
#[derive(Clone)]
pub(super) struct SharedTable {
    known: Arc<RwLock<Known>>,
    complete_to: watch::Receiver<Millis>,
}

impl SharedTable {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
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
    let (known, reader) = read_whole(log, cluster).await?;
    publish(&known, meters, health);
    let (sender, complete_to) = watch::channel(known.table.complete_to());
    let shared = SharedTable { known: Arc::new(RwLock::new(known)), complete_to };
    Ok(Followed { shared, sender, reader })
}

/// Reads the topic from its start to its end; the reader goes on from there.
pub(super) async fn read_whole(log: &Log, cluster: &str) -> anyhow::Result<(Known, Reader)> {
    let partitions = usize::try_from(log.partition_count(topics::METADATA).await?).unwrap_or(1);
    let mut known = Known { table: Table::new(cluster, partitions), policies: Policies::new(cluster) };
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        apply_all(&mut known, &batch)?;
    }
    Ok((known, reader))
}

/// What a record says, as far as it can be said without the table.
enum Said<'r> {
    Message(usize, ReadMetadata<'r>),
    /// From when on the history is whole.
    WholeFrom(usize, ReadMetadata<'r>),
    /// What the source was after a time.
    Source(Heartbeat<&'r str>),
    /// After which time nothing is known, up to the heartbeat's.
    Gap(Millis, Heartbeat<&'r str>),
    Forget(&'r str),
}

/// Applies records in order. Where there are many, a second thread decodes what comes next.
fn apply_all(known: &mut Known, records: &[Record]) -> anyhow::Result<()> {
    let cluster = known.table.cluster().to_owned();
    let mut groups = records.chunks(GROUP);
    if records.len() < MANY {
        return groups.try_for_each(|group| decode_all(group, &cluster).map(|said| apply(known, said)));
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(AHEAD);
        let decoding = std::thread::Builder::new().name("metadata-decoder".to_owned()).spawn_scoped(scope, move || {
            // The sender fails when the receiver has met an error, which is told there.
            groups.try_for_each(|group| sender.send(decode_all(group, &cluster)))
        });
        decoding.context("start of a thread that decodes metadata")?;
        receiver.iter().try_for_each(|group| group.map(|said| apply(known, said)))
    })
}

fn decode_all<'r>(records: &'r [Record], cluster: &str) -> anyhow::Result<Vec<Said<'r>>> {
    let named = records.iter().map(|record| (key_of(record), record));
    named.filter(|(key, _)| is_of_cluster(key, cluster)).map(|(key, record)| said(key, record, cluster)).collect()
}

fn key_of(record: &Record) -> &str {
    record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default()
}

fn said<'r>(key: &'r str, record: &'r Record, cluster: &str) -> anyhow::Result<Said<'r>> {
    let Some(value) = &record.value else { return Ok(Said::Forget(key)) };
    let message = decode_metadata(value)
        .with_context(|| format!("topic {} partition {} offset {}", topics::METADATA, record.partition, record.offset))
        .hint("attribution would be wrong without it: upgrade this process, or delete the record with a tombstone")?;
    let partition = usize::try_from(record.partition).unwrap_or(0);
    Ok(match (message, parse_gap_key(key, cluster)) {
        (Metadata::Heartbeat(heartbeat), Some(after)) => Said::Gap(after, heartbeat),
        (message, _) => heard(key, partition, message),
    })
}

fn heard<'r>(key: &str, partition: usize, message: ReadMetadata<'r>) -> Said<'r> {
    match message {
        Metadata::Heartbeat(heartbeat) if is_source_key(key, heartbeat.cluster) => Said::Source(heartbeat),
        Metadata::Heartbeat(heartbeat) if key == first_heartbeat_key(heartbeat.cluster) => {
            Said::WholeFrom(partition, Metadata::Heartbeat(heartbeat))
        }
        message => Said::Message(partition, message),
    }
}

fn apply(Known { table, policies }: &mut Known, said: Vec<Said<'_>>) {
    let mut messages = Vec::with_capacity(said.len());
    for said in said {
        match said {
            Said::Message(partition, message) => {
                policies.take(&message);
                messages.push((partition, message));
            }
            Said::WholeFrom(partition, message) => {
                let whole_from = match &message {
                    Metadata::Heartbeat(heartbeat) if heartbeat.cluster == table.cluster() => {
                        Some(heartbeat.complete_to)
                    }
                    _ => None,
                };
                messages.push((partition, message));
                table.apply_all(&messages);
                messages.clear();
                whole_from.into_iter().for_each(|from| table.whole_from(from));
            }
            Said::Source(heartbeat) => table.change_source(&heartbeat),
            Said::Gap(after, heartbeat) => table.leave_gap(after, &heartbeat),
            Said::Forget(key) => {
                table.apply_all(&messages);
                messages.clear();
                table.forget(key);
                policies.forget(key);
            }
        }
    }
    table.apply_all(&messages);
}

fn publish(Known { table, policies }: &Known, meters: &Meters, health: &Health) {
    let complete_to = table.complete_to();
    meters.policy_revisions.set(i64::try_from(policies.policy_revisions()).unwrap_or(i64::MAX));
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
                let mut known = followed.shared.known.write().unwrap_or_else(PoisonError::into_inner);
                apply_all(&mut known, &batch)?;
                publish(&known, &shared.meters, &shared.health);
                followed.sender.send_replace(known.table.complete_to());
            }
            Err(error) => {
                weir_service::rate_limited!(warn, error = %error, "metadata is read again from its start");
                tokio::select! {
                    () = shared.token.cancelled() => return Ok(()),
                    () = tokio::time::sleep(shared.settings.retry_limit) => {}
                }
                // What is in use stays until the new one is whole.
                if let Ok((known, reader)) = read_whole(&shared.log, &shared.settings.cluster).await {
                    followed.reader = reader;
                    publish(&known, &shared.meters, &shared.health);
                    followed.sender.send_replace(known.table.complete_to());
                    *followed.shared.known.write().unwrap_or_else(PoisonError::into_inner) = known;
                }
            }
        }
    }
}
