//! The loop of stage 1.

use super::heartbeat::Silence;
use super::metadata::{SharedTable, complete_text};
use super::session::{Clients, Failure, Transaction, clients, no_position, transact};
use super::{Shared, encode};
use crate::join::Joined;
use crate::position::Stage1Position;
use crate::stage1::{Closed, Content, Counts, Input, Partition};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::partial::PartialMessage;
use weir_schemas::raw::{Origin, RawBatch};
use weir_schemas::{decode, topics};
use weir_stream::{
    AssignedPartition, Event, GroupMetadata, NewRecord, OffsetAndMetadata, Producer, ProducerSettings, Record,
    TopicPartition,
};

/// One session of stage 1: ends well when the token is cancelled.
pub(super) async fn session(shared: &Shared, table: &SharedTable) -> Result<(), Failure> {
    let topic = topics::raw(&shared.settings.cluster);
    let Clients { mut consumer, producer } = clients(shared, 1, &topic).await?;
    let heartbeats = shared.log.producer(&ProducerSettings::new("weir-enricher-heartbeat"))?;
    let mut work = Work::new(shared, table, topic, producer, heartbeats);
    let mut complete_to = table.watch();
    let outcome = loop {
        let event = tokio::select! {
            () = shared.token.cancelled() => break Ok(()),
            event = consumer.next(shared.settings.poll) => event?,
            Ok(()) = complete_to.changed() => Event::Idle,
        };
        if let Err(failure) = work.handle(&mut consumer, event).await {
            break Err(failure);
        }
    };
    consumer.close().await;
    outcome
}

struct Owned {
    partition: Partition,
    counted: Counts,
}

struct Work<'a> {
    shared: &'a Shared,
    table: &'a SharedTable,
    topic: String,
    producer: weir_stream::TransactionalProducer,
    heartbeats: Producer,
    group: Option<GroupMetadata>,
    owned: BTreeMap<i32, Owned>,
    paused: BTreeSet<i32>,
    silence: Silence,
    waiting: bool,
}

impl<'a> Work<'a> {
    fn new(
        shared: &'a Shared,
        table: &'a SharedTable,
        topic: String,
        producer: weir_stream::TransactionalProducer,
        heartbeats: Producer,
    ) -> Self {
        Self {
            shared,
            table,
            topic,
            producer,
            heartbeats,
            group: None,
            owned: BTreeMap::new(),
            paused: BTreeSet::new(),
            silence: Silence::new(shared.instance.clone()),
            waiting: false,
        }
    }

    fn stage(&self) -> [(&'static str, String); 1] {
        [("stage", "1".to_owned())]
    }

    async fn handle(&mut self, consumer: &mut weir_stream::GroupConsumer, event: Event) -> Result<(), Failure> {
        match event {
            Event::Assigned { partitions, group_metadata } => {
                self.group = Some(group_metadata);
                let starts = self.assign(&partitions)?;
                consumer.start(&starts).await?;
            }
            Event::Revoked { done, .. } | Event::Lost { done, .. } => {
                self.forget();
                done.done();
            }
            Event::OutOfRange { partition, position, log_start } => {
                self.resume_after_loss(&partition, position, log_start);
                consumer.seek(&partition, log_start).await?;
            }
            Event::Records(records) => {
                for record in &records {
                    self.read(record);
                }
            }
            Event::Idle => {}
        }
        self.write().await?;
        self.beat();
        self.bound(consumer).await
    }

    fn assign(&mut self, partitions: &[AssignedPartition]) -> Result<Vec<(TopicPartition, i64)>, Failure> {
        self.forget();
        let mut starts = Vec::with_capacity(partitions.len());
        for assigned in partitions {
            let mut position = match &assigned.committed {
                Some(committed) => Stage1Position::parse(committed.offset, &committed.metadata).map_err(|error| {
                    Failure::Final(anyhow::Error::from(error).context(assigned.partition.to_string()))
                })?,
                None if assigned.log_start == 0 => Stage1Position::START,
                None => return Err(no_position(self.shared, 1, &assigned.partition, assigned.log_start)),
            };
            if position.offset < assigned.log_start {
                self.lost(&assigned.partition, position.offset, assigned.log_start);
                position.offset = assigned.log_start;
            }
            starts.push((assigned.partition.clone(), position.offset));
            let number = assigned.partition.partition;
            self.owned.insert(number, self.take_over(number, position));
        }
        self.silence.assign(self.owned.keys().copied(), Instant::now());
        self.shared.meters.assignments.get_or_create(&self.stage()).inc();
        self.shared.health.set_ready("enricher stage 1", true, "");
        tracing::info!(stage = 1, partitions = ?self.owned.keys().collect::<Vec<_>>(), "assigned");
        Ok(starts)
    }

    fn take_over(&self, number: i32, position: Stage1Position) -> Owned {
        let partition = Partition::new(&self.shared.settings.cluster, number, self.shared.history.clone(), position);
        Owned { partition, counted: Counts::default() }
    }

    /// Drops everything in memory: no memory of a partition survives losing it.
    fn forget(&mut self) {
        self.owned.clear();
        self.paused.clear();
        self.silence.assign(std::iter::empty(), Instant::now());
    }

    fn lost(&self, partition: &TopicPartition, from: i64, to: i64) {
        let offsets = to.saturating_sub(from);
        self.shared.meters.expired.inc_by(u64::try_from(offsets).unwrap_or(0));
        tracing::error!(%partition, from, to, "raw expired: messages were deleted before they were read; their samples are lost");
    }

    /// The next offset to read is gone: goes on at the start of the log, with the same T and M.
    fn resume_after_loss(&mut self, partition: &TopicPartition, position: i64, log_start: i64) {
        self.lost(partition, position, log_start);
        let Some(owned) = self.owned.get(&partition.partition) else { return };
        let mut resume = owned.partition.position();
        if resume.offset < log_start {
            resume.offset = log_start;
        }
        let owned = self.take_over(partition.partition, resume);
        self.owned.insert(partition.partition, owned);
    }

    fn read(&mut self, record: &Record) {
        let Some(owned) = self.owned.get_mut(&record.partition) else { return };
        let content = match batch_of(record, &self.shared.settings.cluster) {
            Ok(batch) => Content::Batch(batch),
            Err(cause) => {
                weir_service::rate_limited!(
                    warn,
                    partition = record.partition,
                    offset = record.offset,
                    cause,
                    "raw message goes to the dead-letter topic"
                );
                Content::Undecodable(encode::dead_letter(record, cause))
            }
        };
        if !matches!(&content, Content::Batch(batch) if batch.origin == Origin::Owner) {
            self.silence.heard(record.partition, Instant::now());
        }
        owned.partition.read(Input {
            offset: record.offset,
            append_time: record.timestamp,
            size: record.size(),
            content,
        });
    }

    /// Closes what may be closed, all partitions in one transaction.
    async fn write(&mut self) -> Result<(), Failure> {
        let most = usize::from(self.shared.settings.transaction_generations);
        while let Some(transaction) = self.close(most).map_err(Failure::Final)? {
            let Some(group) = &self.group else { return Ok(()) };
            let begun = Instant::now();
            transact(&mut self.producer, transaction, group).await?;
            let meters = &self.shared.meters;
            meters.transactions.get_or_create(&self.stage()).inc();
            meters.transaction_seconds.get_or_create(&self.stage()).observe(begun.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn close(&mut self, most: usize) -> anyhow::Result<Option<Transaction>> {
        let table = self.table.read();
        let join = Joined { table: &table, places: &self.shared.places };
        let complete_to = weir_join::Table::complete_to(&table);
        let mut transaction = Transaction::default();
        for (number, owned) in &mut self.owned {
            owned.partition.advance(&join);
            let Some(last) = owned.partition.ready(complete_to, most) else { continue };
            let closed = owned.partition.close(last, &join);
            write_closed(self.shared, closed, &mut transaction.records)?;
            let position = owned.partition.position();
            transaction.positions.push((
                TopicPartition::new(self.topic.as_str(), *number),
                OffsetAndMetadata::new(position.offset, position.metadata()),
            ));
        }
        Ok((!transaction.positions.is_empty()).then_some(transaction))
    }

    /// Writes heartbeats for partitions that were silent, but not for those that are paused.
    fn beat(&mut self) {
        let settings = self.shared.history.latest();
        if !settings.live {
            return;
        }
        for (partition, batch) in self.silence.due(settings, Instant::now(), SystemTime::now()) {
            if self.paused.contains(&partition) {
                continue;
            }
            let sent = weir_schemas::encode(&batch).map_err(anyhow::Error::from).and_then(|value| {
                let record = NewRecord::new(self.topic.as_str(), batch.node.clone(), value).to_partition(partition);
                Ok(self.heartbeats.send(record)?)
            });
            match sent {
                Ok(_) => self.shared.meters.heartbeats.inc(),
                Err(error) => {
                    weir_service::rate_limited!(warn, error = %error, partition, "heartbeat of a silent partition");
                    self.shared.meters.heartbeat_errors.inc()
                }
            };
        }
    }

    /// While windows that are over wait for metadata, keeps memory within its limit by pausing all partitions. Windows
    /// that are not over cannot be waited for: they need what comes next.
    async fn bound(&mut self, consumer: &mut weir_stream::GroupConsumer) -> Result<(), Failure> {
        let memory: usize = self.owned.values().map(|owned| owned.partition.memory()).sum();
        let limit = usize::try_from(self.shared.settings.memory_limit).unwrap_or(usize::MAX);
        let named = |number: &i32| TopicPartition::new(self.topic.as_str(), *number);
        let stalled = self.owned.values().any(|owned| owned.partition.ready(FOR_EVER, 1).is_some());
        if memory > limit && !stalled {
            weir_service::rate_limited!(warn, memory, limit, "one window's samples take more memory than the limit");
        }
        if stalled && memory > limit && self.paused.len() < self.owned.len() {
            consumer.pause(&self.owned.keys().map(named).collect::<Vec<_>>()).await?;
            self.paused = self.owned.keys().copied().collect();
            tracing::warn!(memory, limit, "partitions are paused until their windows can be closed");
        } else if (!stalled || memory <= limit / 2) && !self.paused.is_empty() {
            consumer.resume(&self.paused.iter().map(named).collect::<Vec<_>>()).await?;
            self.paused.clear();
        }
        self.measure(memory);
        Ok(())
    }

    fn measure(&mut self, memory: usize) {
        let meters = &self.shared.meters;
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
            meters.names_left_out.inc_by(now.names_left_out - before.names_left_out);
            owned.counted = now;
        }
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        meters.memory.get_or_create(&self.stage()).set(gauge(memory));
        meters.partitions.get_or_create(&self.stage()).set(gauge(self.owned.len()));
        meters.paused.get_or_create(&self.stage()).set(gauge(self.paused.len()));
        let written = self.owned.values().map(|owned| owned.partition.written()).filter(|written| *written != NEVER);
        meters.oldest_generation.get_or_create(&self.stage()).set(written.min().unwrap_or(0));
        self.watch_metadata();
    }

    /// Says when windows wait for metadata.
    fn watch_metadata(&mut self) {
        let complete_to = weir_join::Table::complete_to(&self.table.read());
        let settings = self.shared.history.latest();
        let newest = self.owned.values().map(|owned| owned.partition.watermark()).max().unwrap_or(NEVER);
        let behind = if newest == NEVER { 0 } else { newest.saturating_sub(complete_to).max(0) };
        self.shared.meters.metadata_behind.set(behind);
        // Paused partitions are not read, so that event time stands still however long metadata does.
        let alarm = Millis::try_from(self.shared.settings.metadata_alarm.as_millis()).unwrap_or(Millis::MAX);
        let waiting = behind > alarm.saturating_add(settings.grace) || !self.paused.is_empty();
        if waiting != self.waiting {
            self.waiting = waiting;
            let text = complete_text(complete_to);
            if waiting {
                self.shared.meters.metadata_waits.inc();
                tracing::warn!(behind, "windows wait for metadata: {text}");
            }
            self.shared.health.set_ready("enricher waits for metadata", !waiting, text);
        }
    }
}

fn batch_of(record: &Record, cluster: &str) -> Result<RawBatch, String> {
    let value = record.value.as_ref().ok_or("a raw message without a value")?;
    let batch: RawBatch = decode(value).map_err(|error| error.to_string())?;
    if batch.cluster == cluster {
        Ok(batch)
    } else {
        Err(format!("batch of cluster {:?} on the topic of {cluster:?}", batch.cluster))
    }
}

/// Partial records first, then the markers that follow them, then the rest.
fn write_closed(shared: &Shared, closed: Closed, records: &mut Vec<NewRecord>) -> anyhow::Result<()> {
    let meters = &shared.meters;
    let topic = topics::partial(&shared.settings.cluster);
    for (internal, batch) in closed.partials {
        meters.partials_written.inc_by(u64::try_from(batch.partials.len()).unwrap_or(0));
        encode::partials(&topic, internal, batch, records)?;
    }
    for (internal, batch) in closed.dns {
        meters.partials_written.inc_by(u64::try_from(batch.dns.len()).unwrap_or(0));
        encode::questions(&topic, internal, batch, records)?;
    }
    for (internal, marker) in closed.markers {
        records.push(encode::message(&topic, internal, &PartialMessage::Marker(marker))?);
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
