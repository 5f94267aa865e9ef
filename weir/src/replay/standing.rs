//! What stands on the enriched topic: of each record the highest correction, as a fingerprint.

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::time::Duration;
use weir_enricher::replay::{Replay, Windows};
use weir_flow::Millis;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::{decode, encode, topics};
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
pub(super) fn fingerprint(record: &Enriched) -> Result<Fingerprint> {
    if record.correction == 0 && record.kind == Kind::Upsert {
        return Ok(digest(&encode(record)?));
    }
    Ok(digest(&encode(&Enriched { correction: 0, kind: Kind::Upsert, ..record.clone() })?))
}

fn digest(bytes: &[u8]) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    let whole = Sha256::digest(bytes);
    fingerprint.copy_from_slice(&whole[..16]);
    fingerprint
}

/// Takes a record of the topic, if it is of the cluster and the windows.
pub(super) fn take(all: &mut AllStanding, record: &Record, cluster: &str, windows: Windows) -> Result<()> {
    let Some(value) = &record.value else { return Ok(()) };
    let enriched: Enriched = decode(value)
        .with_context(|| format!("topic {} partition {} offset {}", record.topic, record.partition, record.offset))
        .hint("it was written by a newer version of weir; upgrade this one")?;
    if enriched.cluster != cluster || !windows.contains(enriched.window) {
        return Ok(());
    }
    let (id, deleted) = (number(&enriched.id)?, enriched.kind == Kind::Delete);
    // The original is compared as it stands, to the byte.
    let original = enriched.correction == 0 && !deleted;
    let standing = Standing {
        id,
        correction: enriched.correction,
        deleted,
        fingerprint: if original { digest(value) } else { fingerprint(&enriched)? },
        generation: enriched.generation,
        partition: record.partition,
        offset: record.offset,
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
pub(super) async fn read(log: &Log, replay: &Replay, cluster: &str) -> Result<AllStanding> {
    let mut all = AllStanding::new();
    let Some(first) = replay.first_append_time() else { return Ok(all) };
    let from = first.saturating_sub(CLOCKS);
    check_nothing_is_gone(log, from).await?;
    let mut reader = log.reader(topics::ENRICHED, Partitions::All, Start::Time(from)).await?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            take(&mut all, record, cluster, replay.windows())?;
        }
    }
    Ok(all)
}

async fn check_nothing_is_gone(log: &Log, from: Millis) -> Result<()> {
    for number in 0..log.partition_count(topics::ENRICHED).await? {
        let partition = TopicPartition::new(topics::ENRICHED, number);
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
pub(super) async fn read_one(log: &Log, standing: &Standing) -> Result<Enriched> {
    let gone = || anyhow!("{}[{}] offset {} is gone", topics::ENRICHED, standing.partition, standing.offset);
    let start = Start::Offset(standing.offset);
    let mut reader = log.reader(topics::ENRICHED, Partitions::One(standing.partition), start).await?;
    let batch = reader.next_before_end(IDLE).await?.ok_or_else(gone)?;
    let record = batch.into_iter().find(|record| record.offset == standing.offset).ok_or_else(gone)?;
    Ok(decode(record.value.as_ref().ok_or_else(gone)?)?)
}
