//! The loop of stage 2.

use super::session::{Clients, Failure, Transaction, clients, no_position, transact};
use super::{Shared, encode};
use crate::position::Stage2Position;
use crate::stage2::{Counts, InternalPartition};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::time::Instant;
use weir_flow::time::NEVER;
use weir_schemas::partial::PartialMessage;
use weir_schemas::{decode, topics};
use weir_stream::{
    AssignedPartition, Event, GroupMetadata, OffsetAndMetadata, Record, TopicPartition, TransactionalProducer,
};

/// One session of stage 2: ends well when the token is cancelled.
pub(super) async fn session(shared: &Shared) -> Result<(), Failure> {
    let topic = topics::partial(&shared.settings.cluster);
    let Clients { mut consumer, producer } = clients(shared, 2, &topic).await?;
    let mut work = Work { shared, topic, producer, group: None, owned: BTreeMap::new() };
    let outcome = loop {
        let event = tokio::select! {
            () = shared.token.cancelled() => break Ok(()),
            event = consumer.next(shared.settings.poll) => event?,
        };
        if let Err(failure) = work.handle(&mut consumer, event).await {
            break Err(failure);
        }
    };
    consumer.close().await;
    outcome
}

struct Owned {
    partition: InternalPartition,
    counted: Counts,
}

struct Work<'a> {
    shared: &'a Shared,
    topic: String,
    producer: TransactionalProducer,
    group: Option<GroupMetadata>,
    owned: BTreeMap<i32, Owned>,
}

impl Work<'_> {
    fn stage(&self) -> [(&'static str, String); 1] {
        [("stage", "2".to_owned())]
    }

    async fn handle(&mut self, consumer: &mut weir_stream::GroupConsumer, event: Event) -> Result<(), Failure> {
        match event {
            Event::Assigned { partitions, group_metadata } => {
                self.group = Some(group_metadata);
                let starts = self.assign(&partitions)?;
                consumer.start(&starts).await?;
            }
            Event::Revoked { done, .. } | Event::Lost { done, .. } => {
                self.owned.clear();
                done.done();
            }
            Event::OutOfRange { partition, position, log_start } => {
                self.lost(&partition, position, log_start);
                if let Some(owned) = self.owned.get(&partition.partition) {
                    let written = owned.partition.written();
                    let owned = self.take_over(partition.partition, Stage2Position { offset: log_start, written });
                    self.owned.insert(partition.partition, owned);
                }
                consumer.seek(&partition, log_start).await?;
            }
            Event::Records(records) => {
                for record in &records {
                    self.read(record).map_err(Failure::Final)?;
                }
            }
            Event::Idle => {}
        }
        self.write().await?;
        self.measure();
        Ok(())
    }

    fn assign(&mut self, partitions: &[AssignedPartition]) -> Result<Vec<(TopicPartition, i64)>, Failure> {
        self.owned.clear();
        let mut starts = Vec::with_capacity(partitions.len());
        for assigned in partitions {
            let mut position = match &assigned.committed {
                Some(committed) => Stage2Position::parse(committed.offset, &committed.metadata).map_err(|error| {
                    Failure::Final(anyhow::Error::from(error).context(assigned.partition.to_string()))
                })?,
                None if assigned.log_start == 0 => Stage2Position::START,
                None => return Err(no_position(self.shared, 2, &assigned.partition, assigned.log_start)),
            };
            if position.offset < assigned.log_start {
                self.lost(&assigned.partition, position.offset, assigned.log_start);
                position.offset = assigned.log_start;
            }
            starts.push((assigned.partition.clone(), position.offset));
            let number = assigned.partition.partition;
            self.owned.insert(number, self.take_over(number, position));
        }
        self.shared.meters.assignments.get_or_create(&self.stage()).inc();
        self.shared.health.set_ready("enricher stage 2", true, "");
        tracing::info!(stage = 2, partitions = ?self.owned.keys().collect::<Vec<_>>(), "assigned");
        Ok(starts)
    }

    fn take_over(&self, number: i32, position: Stage2Position) -> Owned {
        let partition =
            InternalPartition::new(&self.shared.settings.cluster, number, self.shared.history.clone(), position);
        Owned { partition, counted: Counts::default() }
    }

    fn lost(&self, partition: &TopicPartition, from: i64, to: i64) {
        let offsets = to.saturating_sub(from);
        self.shared.meters.expired.inc_by(u64::try_from(offsets).unwrap_or(0));
        tracing::error!(%partition, from, to, "partial records were deleted before they were read; replay their windows");
    }

    /// The internal topic is written by enrichers only: what cannot be read there was written by a newer version, and
    /// leaving it out would lose records.
    fn read(&mut self, record: &Record) -> anyhow::Result<()> {
        let Some(owned) = self.owned.get_mut(&record.partition) else { return Ok(()) };
        let value = record.value.as_deref().unwrap_or_default();
        let message: PartialMessage = decode(value).with_context(|| {
            format!("{} partition {} offset {}; upgrade this process", record.topic, record.partition, record.offset)
        })?;
        owned.partition.read(record.offset, message);
        Ok(())
    }

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
        let mut transaction = Transaction::default();
        let meters = &self.shared.meters;
        for (number, owned) in &mut self.owned {
            let Some(last) = owned.partition.ready(most) else { continue };
            let closed = owned.partition.close(last);
            meters.records.inc_by(u64::try_from(closed.records.len()).unwrap_or(0));
            meters.generations.get_or_create(&[("stage", "2".to_owned())]).inc_by(closed.generations);
            for record in &closed.records {
                transaction.records.push(encode::enriched(record)?);
            }
            meters.records_coarsened.inc_by(closed.coarsened);
            meters.records_inexact.inc_by(closed.inexact);
            meters.dns_records.inc_by(u64::try_from(closed.dns.len()).unwrap_or(0));
            for record in &closed.dns {
                transaction.records.push(encode::dns(record)?);
            }
            for line in &closed.ledger {
                transaction.records.push(encode::ledger(line)?);
            }
            let position = owned.partition.position();
            transaction.positions.push((
                TopicPartition::new(self.topic.as_str(), *number),
                OffsetAndMetadata::new(position.offset, position.metadata()),
            ));
        }
        Ok((!transaction.positions.is_empty()).then_some(transaction))
    }

    fn measure(&mut self) {
        let meters = &self.shared.meters;
        for owned in self.owned.values_mut() {
            let (now, before) = (owned.partition.counts(), owned.counted);
            meters.partials_read.inc_by(now.partials - before.partials);
            meters.partials_repeated.inc_by(now.repeated - before.repeated);
            meters.partials_refused.inc_by(now.refused - before.refused);
            owned.counted = now;
        }
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let memory: usize = self.owned.values().map(|owned| owned.partition.memory()).sum();
        meters.memory.get_or_create(&self.stage()).set(gauge(memory));
        // All raw partitions share an internal one, so that pausing it would also hold the markers that are waited for.
        let limit = usize::try_from(self.shared.settings.memory_limit).unwrap_or(usize::MAX);
        if memory > limit {
            weir_service::rate_limited!(
                warn,
                memory,
                limit,
                "partial records wait for a raw partition that is far behind"
            );
        }
        meters.partitions.get_or_create(&self.stage()).set(gauge(self.owned.len()));
        let written = self.owned.values().map(|owned| owned.partition.written()).filter(|written| *written != NEVER);
        meters.oldest_generation.get_or_create(&self.stage()).set(written.min().unwrap_or(0));
    }
}
