//! Values as records of topics, within the size that a broker takes.

use crate::dns::MORE;
use crate::sets::halve;
use crate::stage2::Enriched;
use anyhow::Context as _;
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::dns::Dns;
use weir_schemas::ledger::Ledger;
use weir_schemas::partial::{DnsBatch, Marker, Partial, PartialBatch, PartialMessage};
use weir_schemas::{encode, topics};
use weir_stream::{NewRecord, Record};

#[cfg(test)]
mod tests;

/// The largest message that is written, bytes; brokers take 1 MiB by default.
const LARGEST: usize = 900_000;

/// The most bytes of a value that a dead letter keeps.
const KEPT: usize = 512 * 1024;

/// The most bytes of a key that a dead letter keeps.
const KEY_KEPT: usize = 4 * 1024;

/// The most bytes of a dead letter's cause.
const CAUSE: usize = 1_024;

/// A message to an internal partition.
fn internal(topic: &str, partition: i32, value: Vec<u8>) -> NewRecord {
    let mut record = NewRecord::new(topic, bytes::Bytes::new(), value).to_partition(partition);
    record.key = None;
    record
}

/// A marker, and how many nodes are not on it because there were too many for one message. Of those it is not known which ticks
/// they said.
pub(super) fn marker(topic: &str, partition: i32, marker: Marker) -> anyhow::Result<(NewRecord, usize)> {
    let nodes = marker.missing.len();
    let mut message = PartialMessage::Marker(marker);
    loop {
        let value = encode(&message).context("internal message")?;
        let PartialMessage::Marker(marker) = &mut message else { continue };
        let left = marker.missing.len();
        if value.len() <= LARGEST || left == 0 {
            return Ok((internal(topic, partition, value), nodes - left));
        }
        marker.missing.truncate(left / 2);
    }
}

/// A batch of partial records, in as many messages as it takes.
pub(super) fn partials(
    topic: &str,
    partition: i32,
    batch: PartialBatch,
    records: &mut Vec<NewRecord>,
) -> anyhow::Result<()> {
    let mut waiting = vec![batch];
    while let Some(batch) = waiting.pop() {
        let mut message = PartialMessage::Partials(batch);
        let value = encode(&message).context("internal message")?;
        let PartialMessage::Partials(batch) = &mut message else { continue };
        if value.len() <= LARGEST {
            records.push(internal(topic, partition, value));
        } else if let [partial] = batch.partials.as_mut_slice() {
            anyhow::ensure!(shrink(partial), "a partial record without sets takes {} bytes", value.len());
            waiting.push(batch.clone());
        } else {
            let half = batch.partials.split_off(batch.partials.len() / 2);
            waiting.push(PartialBatch { partials: half, ..batch.clone() });
            waiting.push(batch.clone());
        }
    }
    Ok(())
}

/// Leaves out the larger half of the sets of a record; what is left out is counted. Whether there was anything to leave out.
fn shrink(partial: &mut Partial) -> bool {
    let mut shrunk = false;
    let Partial { behind, initiator, responder, .. } = partial;
    behind.change(|ends| {
        for (sets, side) in ends.into_iter().zip([initiator, responder]) {
            side.change(|side| {
                shrunk |= halve(&mut sets.addresses, &mut side.addresses_more);
                shrunk |= halve(&mut sets.pods, &mut side.pods_more);
                shrunk |= halve(&mut sets.labels, &mut side.labels_more);
                shrunk |= halve(&mut sets.domains, &mut side.domains_more);
            });
        }
    });
    shrunk
}

/// A batch of partial DNS records, in as many messages as it takes.
pub(super) fn questions(
    topic: &str,
    partition: i32,
    batch: DnsBatch,
    records: &mut Vec<NewRecord>,
) -> anyhow::Result<()> {
    let mut waiting = vec![batch];
    while let Some(batch) = waiting.pop() {
        let mut message = PartialMessage::Dns(batch);
        let value = encode(&message).context("internal message")?;
        let PartialMessage::Dns(batch) = &mut message else { continue };
        if value.len() <= LARGEST {
            records.push(internal(topic, partition, value));
        } else if let [partial] = batch.dns.as_mut_slice() {
            anyhow::ensure!(partial.answers.len() > 1, "a DNS record without answers takes {} bytes", value.len());
            partial.answers.truncate(partial.answers.len() / 2);
            partial.answers.push(MORE.to_owned());
            partial.answers.sort_unstable();
            partial.answers.dedup();
            waiting.push(batch.clone());
        } else {
            let half = batch.dns.split_off(batch.dns.len() / 2);
            waiting.push(DnsBatch { dns: half, ..batch.clone() });
            waiting.push(batch.clone());
        }
    }
    Ok(())
}

pub(super) fn dns(record: &Dns) -> anyhow::Result<NewRecord> {
    Ok(NewRecord::new(topics::DNS, record.id.clone(), encode(record).context("DNS record")?))
}

pub(super) fn enriched(record: &Enriched) -> anyhow::Result<NewRecord> {
    Ok(NewRecord::new(topics::ENRICHED, record.id.clone(), encode(record).context("enriched record")?))
}

pub(super) fn checkpoint(checkpoint: &Checkpoint) -> anyhow::Result<NewRecord> {
    let key = format!("{}/{}", checkpoint.cluster, checkpoint.partition);
    Ok(NewRecord::new(topics::checkpoint(&checkpoint.cluster), key, encode(checkpoint).context("checkpoint")?))
}

pub(super) fn ledger(line: &Ledger) -> anyhow::Result<NewRecord> {
    Ok(NewRecord::new(topics::LEDGER, line.key(), encode(line).context("ledger line")?))
}

/// The dead letter of a record: with its bounds it fits into a message.
pub(super) fn dead_letter(record: &Record, mut cause: String) -> DeadLetter {
    let value = record.value.as_ref();
    cause.truncate(cause.floor_char_boundary(CAUSE));
    DeadLetter {
        cause,
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_ref().map(|key| key.iter().copied().take(KEY_KEPT).collect()),
        value: value.map(|value| value.iter().copied().take(KEPT).collect()),
        length: value.map_or(0, |value| u64::try_from(value.len()).unwrap_or(u64::MAX)),
    }
}

pub(super) fn dead(letter: &DeadLetter) -> anyhow::Result<NewRecord> {
    let key = format!("{}/{}/{}", letter.topic, letter.partition, letter.offset);
    Ok(NewRecord::new(topics::dead_letter(&letter.topic), key, encode(letter).context("dead letter")?))
}
