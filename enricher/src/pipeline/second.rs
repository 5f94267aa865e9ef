//! The loop of stage 2.

use super::session::{AT_ONCE, Clients, Decided, Failure, Transaction, clients, no_position, transact};
use super::stages::{Most, Second};
use super::{Shared, encode};
use crate::position::Stage2Position;
use anyhow::Context as _;
use std::time::{Duration, Instant};
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::topics;
use weir_stream::{AssignedPartition, Event, GroupMetadata, OffsetAndMetadata, TopicPartition, TransactionalProducer};

/// One session of stage 2: ends well when the token is cancelled.
pub(super) async fn session(shared: &Shared) -> Result<(), Failure> {
    let topic = topics::partial(&shared.settings.cluster);
    let Clients { mut consumer, producer } = clients(shared, 2, &topic).await?;
    let mut decided = Decided::now(shared);
    let second = Second::new(&shared.settings.cluster, decided.current.history.clone(), shared.meters.clone());
    let window = decided.current.history.latest().window;
    let mut work = Work { shared, topic, producer, group: None, second, window, looked: None };
    let outcome = loop {
        let event = tokio::select! {
            () = shared.token.cancelled() => break Ok(()),
            () = decided.changed() => break Err(Failure::Settings),
            event = consumer.next(shared.settings.poll) => event?,
        };
        if let Err(failure) = decided.check() {
            break Err(failure);
        }
        if let Err(failure) = work.handle_all(&mut consumer, event).await {
            break Err(failure);
        }
    };
    consumer.close().await;
    outcome
}

struct Work<'a> {
    shared: &'a Shared,
    topic: String,
    producer: TransactionalProducer,
    group: Option<GroupMetadata>,
    second: Second,
    /// Length of a window, ms.
    window: Millis,
    /// When the group's positions were last looked at, by a process that has no partitions.
    looked: Option<Instant>,
}

/// The most records after which a transaction closes no further generation.
const TRANSACTION: usize = 100_000;

/// How often a process without partitions looks where the group stands, in waits for news.
const LOOK: u32 = 10;

impl Work<'_> {
    fn stage(&self) -> [(&'static str, String); 1] {
        [("stage", "2".to_owned())]
    }

    /// Handles an event and those that are there already, and then writes what can be written by all of them; sooner where
    /// memory is full, as stage 1 does.
    async fn handle_all(&mut self, consumer: &mut weir_stream::GroupConsumer, event: Event) -> Result<(), Failure> {
        self.handle(consumer, event).await?;
        for _ in 1..AT_ONCE {
            if self.second.memory() > self.shared.settings.memory() {
                break;
            }
            match consumer.next(Duration::ZERO).await? {
                Event::Idle => break,
                event => self.handle(consumer, event).await?,
            }
        }
        self.write().await?;
        self.measure();
        self.look().await;
        Ok(())
    }

    /// Where this process has no partitions, stage 1 goes by where the group stands.
    async fn look(&mut self) {
        let often = self.shared.settings.poll.saturating_mul(LOOK);
        if !self.second.owned.is_empty() || self.looked.is_some_and(|looked| looked.elapsed() < often) {
            return;
        }
        self.looked = Some(Instant::now());
        match self.closed_by_group().await {
            Ok(closed) => self.shared.pace.set_by_group(closed, self.window),
            Err(error) => {
                weir_service::rate_limited!(warn, error = %format!("{error:#}"), "stage 2's positions are not known");
            }
        }
    }

    /// The last generation that the group has committed for all partitions; nothing where one has none.
    async fn closed_by_group(&self) -> anyhow::Result<Option<Millis>> {
        let (log, topic) = (&self.shared.log, self.topic.as_str());
        let count = log.partition_count(topic).await?;
        let partitions: Vec<_> = (0..count).map(|number| TopicPartition::new(topic, number)).collect();
        let mut closed = Some(Millis::MAX);
        for (partition, committed) in log.committed(&self.shared.settings.group(2), &partitions).await? {
            let written = match committed {
                Some(at) => Stage2Position::parse(at.offset, &at.metadata).context(partition.to_string())?.written,
                None => NEVER,
            };
            closed = closed.map(|closed| closed.min(written)).filter(|_| written != NEVER);
        }
        Ok(closed.filter(|closed| *closed != Millis::MAX))
    }

    async fn handle(&mut self, consumer: &mut weir_stream::GroupConsumer, event: Event) -> Result<(), Failure> {
        match event {
            Event::Assigned { partitions, group_metadata } => {
                self.group = Some(group_metadata);
                let starts = self.assign(&partitions)?;
                consumer.start(&starts).await?;
            }
            Event::Revoked { done, .. } | Event::Lost { done, .. } => {
                self.second.owned.clear();
                done.done();
            }
            Event::OutOfRange { partition, position, log_start } => {
                self.lost(&partition, position, log_start);
                if let Some(owned) = self.second.owned.get(&partition.partition) {
                    let written = owned.partition.written();
                    self.second.take_over(partition.partition, Stage2Position { offset: log_start, written });
                }
                consumer.seek(&partition, log_start).await?;
            }
            Event::Records(records) => {
                for record in &records {
                    let value = record.value.as_deref().unwrap_or_default();
                    self.second.read(record.partition, record.offset, value).map_err(Failure::Final)?;
                }
            }
            Event::Idle => {}
        }
        Ok(())
    }

    fn assign(&mut self, partitions: &[AssignedPartition]) -> Result<Vec<(TopicPartition, i64)>, Failure> {
        self.second.owned.clear();
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
            self.second.take_over(assigned.partition.partition, position);
        }
        self.shared.meters.assignments.get_or_create(&self.stage()).inc();
        self.shared.health.set_ready("enricher stage 2", true, "");
        tracing::info!(stage = 2, partitions = ?self.second.owned.keys().collect::<Vec<_>>(), "assigned");
        Ok(starts)
    }

    fn lost(&self, partition: &TopicPartition, from: i64, to: i64) {
        let offsets = to.saturating_sub(from);
        self.shared.meters.expired.inc_by(u64::try_from(offsets).unwrap_or(0));
        tracing::error!(%partition, from, to, "partial records were deleted before they were read; replay their windows");
    }

    async fn write(&mut self) -> Result<(), Failure> {
        let most = Most { generations: usize::from(self.shared.settings.transaction_generations), size: TRANSACTION };
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

    fn close(&mut self, most: Most) -> anyhow::Result<Option<Transaction>> {
        let mut transaction = Transaction::default();
        for (number, closed, position) in self.second.close(most) {
            for record in &closed.records {
                transaction.records.push(encode::enriched(record)?);
            }
            let meters = &self.shared.meters;
            meters.records_coarsened.inc_by(closed.coarsened);
            meters.records_inexact.inc_by(closed.inexact);
            meters.dns_records.inc_by(u64::try_from(closed.dns.len()).unwrap_or(0));
            for record in &closed.dns {
                transaction.records.push(encode::dns(record)?);
            }
            for line in &closed.ledger {
                transaction.records.push(encode::ledger(line)?);
            }
            let partition = TopicPartition::new(self.topic.as_str(), number);
            // Where it stands after the last generation counts.
            transaction.positions.retain(|(known, _)| *known != partition);
            transaction.positions.push((partition, OffsetAndMetadata::new(position.offset, position.metadata())));
        }
        Ok((!transaction.positions.is_empty()).then_some(transaction))
    }

    fn measure(&mut self) {
        self.second.count();
        let meters = &self.shared.meters;
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let limit = self.shared.settings.memory();
        let memory = self.second.memory_within(limit);
        meters.memory.get_or_create(&self.stage()).set(gauge(memory));
        // All raw partitions share an internal one, so that pausing it would also hold the markers that are waited for: it is
        // stage 1 that does not run ahead.
        if let Some(closed) = self.second.owned.values().map(|owned| owned.partition.written()).min() {
            self.shared.pace.set(memory, limit, Some(closed));
            self.looked = None;
        }
        if memory > limit {
            weir_service::rate_limited!(
                warn,
                memory,
                limit,
                "partial records wait for a raw partition that is far behind"
            );
        }
        meters.partitions.get_or_create(&self.stage()).set(gauge(self.second.owned.len()));
        let written =
            self.second.owned.values().map(|owned| owned.partition.written()).filter(|written| *written != NEVER);
        meters.oldest_generation.get_or_create(&self.stage()).set(written.min().unwrap_or(0));
    }
}
