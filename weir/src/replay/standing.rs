//! What stands on the topic that the enricher writes: of each record the highest correction, as a fingerprint.

use super::kind::Replayed;
use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::time::Duration;
use weir_enricher::replay::{Replay, Windows};
use weir_flow::Millis;
use weir_schemas::enriched::Kind;
use weir_schemas::{decode, encode};
use weir_service::HintExt as _;
use weir_stream::{Log, Partitions, Record, Start, TopicPartition};

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(30);

/// How far the clocks of the brokers and of an enricher may differ, ms.
const CLOCKS: Millis = 60_000;

/// The bytes of a record as it would be the first time, in 128 bits.
pub(super) type Fingerprint = [u8; 16];

/// What a consumer holds of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its id, as a number.
    pub(super) id: u128,
    /// k.
    pub(super) correction: u32,
    /// Whether it was deleted.
    pub(super) deleted: bool,
    /// What it says.
    pub(super) fingerprint: Fingerprint,
    /// In which generation it was written.
    pub(super) generation: Millis,
    /// Where it stands.
    pub(super) partition: i32,
    /// Where it stands in the partition.
    pub(super) offset: i64,
}

/// By id.
pub(super) type AllStanding = HashMap<u128, Standing>;

/// A record's id as a number.
pub(super) fn number(id: &str) -> Result<u128> {
    u128::from_str_radix(id, 16).with_context(|| format!("record id {id:?} is not 32 hexadecimal digits"))
}

/// The fingerprint of a record as it would be written the first time.
pub(super) fn fingerprint<R: Replayed>(record: &R) -> Result<Fingerprint> {
    if record.correction() == (Kind::Upsert, 0) {
        return Ok(digest(&encode(record)?));
    }
    Ok(digest(&encode(&record.clone().corrected(Kind::Upsert, 0))?))
}

fn digest(bytes: &[u8]) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    let whole = Sha256::digest(bytes);
    fingerprint.copy_from_slice(&whole[..16]);
    fingerprint
}

/// Takes a record of the topic, if it is of the cluster and the windows.
pub(super) fn take<R: Replayed>(
    all: &mut AllStanding,
    message: &Record,
    cluster: &str,
    windows: Windows,
) -> Result<()> {
    let Some(value) = &message.value else { return Ok(()) };
    let record: R = decode(value)
        .with_context(|| format!("topic {} partition {} offset {}", message.topic, message.partition, message.offset))
        .hint("it was written by a newer version of weir; upgrade this one")?;
    if record.cluster() != cluster || !windows.contains(record.window()) {
        return Ok(());
    }
    let (kind, correction) = record.correction();
    let (id, deleted) = (number(record.id())?, kind == Kind::Delete);
    // The original is compared as it stands, to the byte.
    let original = correction == 0 && !deleted;
    let standing = Standing {
        id,
        correction,
        deleted,
        fingerprint: if original { digest(value) } else { fingerprint(&record)? },
        generation: record.generation(),
        partition: message.partition,
        offset: message.offset,
    };
    // Of the same correction the first one counts, as it does in an index.
    if all.get(&id).is_none_or(|before| before.correction < standing.correction) {
        all.insert(id, standing);
    }
    Ok(())
}

/// Reads what stands of the replayed windows.
///
/// # Errors
/// When some of it may have been deleted.
pub(super) async fn read<R: Replayed>(log: &Log, replay: &Replay, cluster: &str) -> Result<AllStanding> {
    let mut all = AllStanding::new();
    let Some(first) = replay.first_append_time() else { return Ok(all) };
    let from = first.saturating_sub(CLOCKS);
    check_nothing_is_gone(log, R::TOPIC, from).await?;
    let mut reader = log.reader(R::TOPIC, Partitions::All, Start::Time(from)).await?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            take::<R>(&mut all, record, cluster, replay.windows())?;
        }
    }
    Ok(all)
}

async fn check_nothing_is_gone(log: &Log, topic: &str, from: Millis) -> Result<()> {
    for number in 0..log.partition_count(topic).await? {
        let partition = TopicPartition::new(topic, number);
        let log_start = log.log_start(&partition).await?;
        if log_start == 0 {
            continue;
        }
        let first = log.offset_for_time(&partition, 0).await?;
        if first.is_some() && log.offset_for_time(&partition, from).await? == first {
            return Err(anyhow!(
                "records of these windows may be gone: offsets below {log_start} of {partition} were deleted"
            ))
            .hint(
                "compare later windows, or replay to a file; retention.ms of the topic says how long records are kept",
            );
        }
    }
    Ok(())
}

/// Reads a standing record again.
pub(super) async fn read_one<R: Replayed>(log: &Log, standing: &Standing) -> Result<R> {
    let gone = || anyhow!("{}[{}] offset {} is gone", R::TOPIC, standing.partition, standing.offset);
    let start = Start::Offset(standing.offset);
    let mut reader = log.reader(R::TOPIC, Partitions::One(standing.partition), start).await?;
    let batch = reader.next_before_end(IDLE).await?.ok_or_else(gone)?;
    let record = batch.into_iter().find(|record| record.offset == standing.offset).ok_or_else(gone)?;
    Ok(decode(record.value.as_ref().ok_or_else(gone)?)?)
}
