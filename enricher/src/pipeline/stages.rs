//! Both stages over the partitions that a process has, without a group, a clock or a destination: what live processing
//! and a replay share. Where messages come from, where records go and when to stop is the caller's.

use super::encode;
use super::heartbeat::keeps_time;
use super::meters::Meters;
use crate::history::SettingsHistory;
use crate::join::Join;
use crate::position::{Stage1Position, Stage2Position};
use crate::stage1::RawBatch;
use crate::stage1::{self, Content, Input, Partition};
use crate::stage2::{self, InternalPartition};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::enriched::Verdict;
use weir_schemas::partial::PartialMessage;
use weir_schemas::raw::Origin;
use weir_schemas::{decode, topics};
use weir_stream::{NewRecord, Record};

#[cfg(test)]
mod tests;

/// How much one transaction closes: it must be written before the broker gives it up, 15 s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// Generations of one partition that hold something.
    pub(super) generations: usize,
    /// Bytes of messages of stage 1, and records of stage 2, after which no further generation is begun. One generation of one
    /// partition is written whole.
    pub(super) size: usize,
}

impl Most {
    /// No bounds, where nothing is written to a log.
    pub(super) const ALL: Self = Self { generations: usize::MAX, size: usize::MAX };
}

/// A state machine, and what of its counters is in the metrics already.
pub(super) struct Owned<P, C> {
    pub(super) partition: P,
    counted: C,
}

/// Stage 1 of the raw partitions that this process has.
pub(super) struct First {
    cluster: String,
    history: Arc<SettingsHistory>,
    meters: Meters,
    pub(super) owned: BTreeMap<i32, Owned<Partition, stage1::Counts>>,
}

/// What is written when generations of raw partitions are closed.
#[derive(Default)]
pub(super) struct FirstClosed {
    /// Messages of all topics: partial records, the markers that follow them, then the rest.
    pub(super) records: Vec<NewRecord>,
    /// Where each partition that closed something stands.
    pub(super) positions: Vec<(i32, Stage1Position)>,
}

impl First {
    pub(super) fn new(cluster: &str, history: Arc<SettingsHistory>, meters: Meters) -> Self {
        Self { cluster: cluster.to_owned(), history, meters, owned: BTreeMap::new() }
    }

    /// Begins with a partition at a position, whatever was in memory of it.
    pub(super) fn take_over(&mut self, number: i32, position: Stage1Position) {
        let partition = Partition::new(&self.cluster, number, self.history.clone(), position);
        self.owned.insert(number, Owned { partition, counted: stage1::Counts::default() });
    }

    /// Says of a partition that messages `from` to before `to` are gone, of which it has not written everything.
    pub(super) fn lose(&mut self, number: i32, from: i64, to: i64) {
        if let Some(owned) = self.owned.get_mut(&number) {
            owned.partition.lose(from, to);
        }
    }

    /// The partition with the lowest watermark.
    pub(super) fn furthest_behind(&self) -> Option<i32> {
        self.owned.iter().min_by_key(|(_, owned)| owned.partition.watermark()).map(|(number, _)| *number)
    }

    /// Takes a message of a partition; one of a partition that this process does not have is ignored. `heard` is told of
    /// messages that no enricher has written and that keep the partition's watermark near the time.
    pub(super) fn read(&mut self, record: &Record, heard: impl FnOnce()) {
        let Some(owned) = self.owned.get_mut(&record.partition) else { return };
        let content = match batch_of(record, &self.cluster) {
            Ok(batch) => Content::Batch(batch),
            Err(cause) => {
                weir_service::rate_limited!(
                    warn,
                    partition = record.partition,
                    offset = record.offset,
                    cause,
                    "raw message cannot be read: a dead letter"
                );
                Content::Undecodable(encode::dead_letter(record, cause))
            }
        };
        let by_owner = matches!(&content, Content::Batch(batch) if batch.origin == Origin::Owner);
        let before = owned.partition.watermark();
        owned.partition.read(Input {
            offset: record.offset,
            append_time: record.timestamp,
            size: record.size(),
            content,
        });
        let tick = self.history.at(record.timestamp).tick;
        if !by_owner && keeps_time(before, owned.partition.watermark(), record.timestamp, tick) {
            heard();
        }
    }

    /// Joins and adds up what was read of a partition, as far as metadata allows by now.
    pub(super) fn advance(&mut self, number: i32, join: &impl Join) {
        if let Some(owned) = self.owned.get_mut(&number) {
            owned.partition.advance(join);
        }
    }

    /// Closes what metadata and the log allow, as much as one transaction may.
    pub(super) fn close(&mut self, join: &impl Join, most: Most) -> anyhow::Result<FirstClosed> {
        let complete_to = join.complete_to();
        let mut closed = FirstClosed::default();
        let mut bytes = 0;
        for (number, owned) in &mut self.owned {
            let partition = &mut owned.partition;
            partition.advance(join);
            let mut position = None;
            // One at a time, since how much a generation is shows when it is closed.
            for _ in 0..most.generations {
                let Some(last) = partition.ready(complete_to, 1).filter(|_| bytes < most.size) else { break };
                let before = closed.records.len();
                write(&self.cluster, &self.meters, partition.close(last, join), &mut closed.records)?;
                bytes += closed.records.iter().skip(before).map(NewRecord::size).sum::<usize>();
                position = Some(partition.position());
            }
            closed.positions.extend(position.map(|position| (*number, position)));
        }
        Ok(closed)
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.owned.values().map(|owned| owned.partition.memory()).sum()
    }

    /// Bytes held, roughly. Where they are more than half of a limit, what is kept only to be quicker is forgotten first.
    pub(super) fn memory_within(&mut self, limit: usize) -> usize {
        if self.memory() > limit / 2 {
            self.owned.values_mut().for_each(|owned| owned.partition.forget());
        }
        self.memory()
    }

    /// Brings the metrics up to date.
    pub(super) fn count(&mut self) {
        let meters = &self.meters;
        for owned in self.owned.values_mut() {
            let (now, before) = (owned.partition.counts(), owned.counted);
            meters.batches.inc_by(now.batches - before.batches);
            meters.repeated_batches.inc_by(now.repeated - before.repeated);
            meters.too_late.inc_by(now.too_late - before.too_late);
            meters.late.inc_by(now.late - before.late);
            meters.clamped.inc_by(now.clamped - before.clamped);
            meters.coarsened.inc_by(now.coarsened - before.coarsened);
            meters.dns_samples.inc_by(now.dns - before.dns);
            meters.dns_too_late.inc_by(now.dns_too_late - before.dns_too_late);
            meters.dns_outside.inc_by(now.dns_outside - before.dns_outside);
            meters.dns_coarsened.inc_by(now.dns_coarsened - before.dns_coarsened);
            meters.dead_without_bytes.inc_by(now.dead_without_bytes - before.dead_without_bytes);
            meters.names_left_out.inc_by(now.names_left_out - before.names_left_out);
            for (outcome, count) in [
                ("dropped", now.filtered - before.filtered),
                ("sampled_out", now.sampled_out - before.sampled_out),
                ("sampled", now.sampled - before.sampled),
                ("redacted", now.redacted - before.redacted),
            ] {
                meters.filtered.get_or_create(&[("outcome", outcome.to_owned())]).inc_by(count);
            }
            for (outcome, count) in [
                ("dropped", now.dns_filtered - before.dns_filtered),
                ("sampled_out", now.dns_sampled_out - before.dns_sampled_out),
                ("sampled", now.dns_sampled - before.dns_sampled),
                ("redacted", now.dns_redacted - before.dns_redacted),
            ] {
                meters.dns_filtered.get_or_create(&[("outcome", outcome.to_owned())]).inc_by(count);
            }
            for (verdict, count) in [
                (Verdict::Allow, now.allowed - before.allowed),
                (Verdict::Deny, now.denied - before.denied),
                (Verdict::Unknown, now.not_known - before.not_known),
            ] {
                meters.verdicts.get_or_create(&[("verdict", verdict.name().to_owned())]).inc_by(count);
            }
            owned.counted = now;
        }
    }
}

fn batch_of(record: &Record, cluster: &str) -> Result<RawBatch, String> {
    let missing = || record.unreadable().unwrap_or_else(|| "a raw message without a value".to_owned());
    let value = record.value.as_ref().ok_or_else(missing)?;
    let batch: RawBatch = decode(value).map_err(|error| error.to_string())?;
    if batch.cluster == cluster {
        Ok(batch)
    } else {
        Err(format!("batch of cluster {:?} on the topic of {cluster:?}", batch.cluster))
    }
}

/// Partial records first, then the markers that follow them, then the rest.
fn write(cluster: &str, meters: &Meters, closed: stage1::Closed, records: &mut Vec<NewRecord>) -> anyhow::Result<()> {
    let topic = topics::partial(cluster);
    for (internal, batch) in closed.partials {
        meters.partials_written.inc_by(u64::try_from(batch.partials.len()).unwrap_or(0));
        encode::partials(&topic, internal, batch, records)?;
    }
    for (internal, batch) in closed.dns {
        meters.partials_written.inc_by(u64::try_from(batch.dns.len()).unwrap_or(0));
        encode::questions(&topic, internal, batch, records)?;
    }
    for (internal, marker) in closed.markers {
        let (record, left_out) = encode::marker(&topic, internal, marker)?;
        meters.marker_nodes_left_out.inc_by(u64::try_from(left_out).unwrap_or(u64::MAX));
        records.push(record);
    }
    if let Some(checkpoint) = &closed.checkpoint {
        records.push(encode::checkpoint(checkpoint)?);
    }
    for line in &closed.ledger {
        records.push(encode::ledger(line)?);
    }
    for letter in &closed.dead {
        meters.dead_letters.inc();
        records.push(encode::dead(letter)?);
    }
    meters.samples.inc_by(closed.samples);
    meters.generations.get_or_create(&[("stage", "1".to_owned())]).inc_by(closed.generations);
    Ok(())
}

/// Stage 2 of the internal partitions that this process has.
pub(super) struct Second {
    cluster: String,
    history: Arc<SettingsHistory>,
    meters: Meters,
    pub(super) owned: BTreeMap<i32, Owned<InternalPartition, stage2::Counts>>,
}

impl Second {
    pub(super) fn new(cluster: &str, history: Arc<SettingsHistory>, meters: Meters) -> Self {
        Self { cluster: cluster.to_owned(), history, meters, owned: BTreeMap::new() }
    }

    /// Begins with a partition at a position, whatever was in memory of it.
    pub(super) fn take_over(&mut self, number: i32, position: Stage2Position) {
        let partition = InternalPartition::new(&self.cluster, number, self.history.clone(), position);
        self.owned.insert(number, Owned { partition, counted: stage2::Counts::default() });
    }

    /// Takes a message of a partition; one of a partition that this process does not have is ignored.
    ///
    /// The internal topic is written by enrichers only: what cannot be read there was written by a newer version, and
    /// leaving it out would lose records.
    pub(super) fn read(&mut self, partition: i32, offset: i64, value: &[u8]) -> anyhow::Result<()> {
        let Some(owned) = self.owned.get_mut(&partition) else { return Ok(()) };
        let message: PartialMessage = decode(value).with_context(|| {
            format!("{} partition {partition} offset {offset}; upgrade this process", topics::partial(&self.cluster))
        })?;
        owned.partition.read(offset, message);
        Ok(())
    }

    /// Closes what every raw partition has written, with where each partition that closed something stands then: as much as one
    /// transaction may. A partition that closed several generations is there several times, in order.
    pub(super) fn close(&mut self, most: Most) -> Vec<(i32, stage2::Closed, Stage2Position)> {
        let mut all = Vec::new();
        let mut records = 0;
        for (number, owned) in &mut self.owned {
            for _ in 0..most.generations {
                let Some(last) = owned.partition.ready(1).filter(|_| records < most.size) else { break };
                let closed = owned.partition.close(last);
                records += closed.records.len() + closed.dns.len();
                self.meters.records.inc_by(u64::try_from(closed.records.len()).unwrap_or(0));
                self.meters.records_shortened.inc_by(closed.shortened);
                self.meters.generations.get_or_create(&[("stage", "2".to_owned())]).inc_by(closed.generations);
                all.push((*number, closed, owned.partition.position()));
            }
        }
        all
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.owned.values().map(|owned| owned.partition.memory()).sum()
    }

    /// Bytes held, roughly. Where they are more than half of a limit, what is kept only to be quicker is forgotten first.
    pub(super) fn memory_within(&mut self, limit: usize) -> usize {
        if self.memory() > limit / 2 {
            self.owned.values_mut().for_each(|owned| owned.partition.forget());
        }
        self.memory()
    }

    /// Brings the metrics up to date.
    pub(super) fn count(&mut self) {
        let meters = &self.meters;
        for owned in self.owned.values_mut() {
            let (now, before) = (owned.partition.counts(), owned.counted);
            meters.partials_read.inc_by(now.partials - before.partials);
            meters.partials_repeated.inc_by(now.repeated - before.repeated);
            meters.partials_refused.inc_by(now.refused - before.refused);
            owned.counted = now;
        }
    }
}
