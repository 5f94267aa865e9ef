//! The loop of stage 1.

use super::Shared;
use super::heartbeat::Silence;
use super::metadata::{SharedTable, complete_text};
use super::record_settings::Current;
use super::session::{AT_ONCE, Clients, Decided, Failure, Transaction, clients, no_position, transact};
use super::stages::{First, Most};
use crate::history::SettingsHistory;
use crate::join::{Joined, Places};
use crate::judge::Judge;
use crate::position::Stage1Position;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::topics;
use weir_stream::{
    AssignedPartition, Event, GroupMetadata, NewRecord, OffsetAndMetadata, Producer, ProducerSettings, Record,
    TopicPartition,
};

/// The most bytes of messages after which a transaction closes no further generation.
const TRANSACTION: usize = 64 << 20;

/// One session of stage 1: ends well when the token is cancelled.
pub(super) async fn session(shared: &Shared, table: &SharedTable) -> Result<(), Failure> {
    let topic = topics::raw(&shared.settings.cluster);
    let Clients { mut consumer, producer } = clients(shared, 1, &topic).await?;
    let heartbeats = shared.log.producer(&ProducerSettings::new("weir-enricher-heartbeat"))?;
    let mut decided = Decided::now(shared);
    let mut work = Work::new(shared, &decided.current, table, topic, producer, heartbeats);
    let mut complete_to = table.watch();
    let outcome = loop {
        let event = tokio::select! {
            () = shared.token.cancelled() => break Ok(()),
            () = decided.changed() => break Err(Failure::Settings),
            event = consumer.next(shared.settings.poll) => event?,
            Ok(()) = complete_to.changed() => Event::Idle,
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
    /// The settings in force, and those of the past.
    history: Arc<SettingsHistory>,
    places: Arc<Places>,
    table: &'a SharedTable,
    topic: String,
    producer: weir_stream::TransactionalProducer,
    heartbeats: Producer,
    group: Option<GroupMetadata>,
    first: First,
    judge: Judge,
    paused: BTreeSet<i32>,
    /// Whether all wait because memory is full.
    held: bool,
    silence: Silence,
    waiting: bool,
}

impl<'a> Work<'a> {
    fn new(
        shared: &'a Shared,
        current: &Current,
        table: &'a SharedTable,
        topic: String,
        producer: weir_stream::TransactionalProducer,
        heartbeats: Producer,
    ) -> Self {
        Self {
            shared,
            history: current.history.clone(),
            places: current.places.clone(),
            table,
            topic,
            producer,
            heartbeats,
            group: None,
            first: First::new(&shared.settings.cluster, current.history.clone(), shared.meters.clone()),
            judge: Judge::default(),
            paused: BTreeSet::new(),
            held: false,
            silence: Silence::new(shared.instance.clone()),
            waiting: false,
        }
    }

    fn stage(&self) -> [(&'static str, String); 1] {
        [("stage", "1".to_owned())]
    }

    /// Handles an event and those that are there already, and then writes what can be written by all of them: partitions
    /// whose windows end together are closed in one transaction. Where memory is full, what can be written goes first: a backlog
    /// has more windows in a few deliveries than there may be in memory.
    async fn handle_all(&mut self, consumer: &mut weir_stream::GroupConsumer, event: Event) -> Result<(), Failure> {
        self.handle(consumer, event).await?;
        for _ in 1..AT_ONCE {
            if self.first.memory() > self.shared.settings.memory() {
                break;
            }
            match consumer.next(Duration::ZERO).await? {
                Event::Idle => break,
                event => self.handle(consumer, event).await?,
            }
        }
        self.write().await?;
        self.beat();
        self.bound(consumer).await
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
                tracing::warn!(%partition, position, log_start, "the next offset to read is gone");
                self.resume_after_loss(&partition, log_start);
                consumer.seek(&partition, log_start).await?;
            }
            Event::Records(records) => records.iter().for_each(|record| self.take(record)),
            Event::Idle => {}
        }
        Ok(())
    }

    /// Takes a message, and adds it up at once if metadata allows it: all that waits first for many others has left the
    /// processor's caches by then.
    fn take(&mut self, record: &Record) {
        let silence = &mut self.silence;
        self.first.read(record, || silence.heard(record.partition, Instant::now()));
        let known = self.table.read();
        let (table, policies) = (&known.table, (&known.policies, &self.judge));
        self.first.advance(record.partition, &Joined { table, places: &self.places, policies });
    }

    fn assign(&mut self, partitions: &[AssignedPartition]) -> Result<Vec<(TopicPartition, i64)>, Failure> {
        self.forget();
        let mut starts = Vec::with_capacity(partitions.len());
        for assigned in partitions {
            let position = match &assigned.committed {
                Some(committed) => Stage1Position::parse(committed.offset, &committed.metadata).map_err(|error| {
                    Failure::Final(anyhow::Error::from(error).context(assigned.partition.to_string()))
                })?,
                None if assigned.log_start == 0 => Stage1Position::START,
                None => return Err(no_position(self.shared, 1, &assigned.partition, assigned.log_start)),
            };
            let start = self.begin(&assigned.partition, position, assigned.log_start);
            starts.push((assigned.partition.clone(), start));
        }
        self.silence.assign(self.first.owned.keys().copied(), Instant::now());
        self.shared.meters.assignments.get_or_create(&self.stage()).inc();
        self.shared.health.set_ready("enricher stage 1", true, "");
        tracing::info!(stage = 1, partitions = ?self.first.owned.keys().collect::<Vec<_>>(), "assigned");
        Ok(starts)
    }

    /// Drops everything in memory: no memory of a partition survives losing it.
    fn forget(&mut self) {
        self.first.owned.clear();
        self.paused.clear();
        self.held = false;
        self.silence.assign(std::iter::empty(), Instant::now());
    }

    fn lost(&self, partition: &TopicPartition, from: i64, to: i64) {
        let offsets = to.saturating_sub(from);
        self.shared.meters.expired.inc_by(u64::try_from(offsets).unwrap_or(0));
        tracing::error!(%partition, from, to, "raw expired: messages were deleted before they were read; their samples are lost");
    }

    /// The next offset to read is gone: goes on at the start of the log, with the same T and M. What is in memory of
    /// generations that are not written began before it, and is lost with the rest.
    fn resume_after_loss(&mut self, partition: &TopicPartition, log_start: i64) {
        let Some(owned) = self.first.owned.get(&partition.partition) else { return };
        let (position, earlier) = (owned.partition.position(), owned.partition.expired().to_vec());
        self.begin(partition, position, log_start);
        // What the ledger does not name yet is still to be named.
        earlier.into_iter().for_each(|(from, to)| self.first.lose(partition.partition, from, to));
    }

    /// Begins with a partition at a position, or at the start of the log where what should come next is gone; where it begins.
    fn begin(&mut self, partition: &TopicPartition, mut position: Stage1Position, log_start: i64) -> i64 {
        let from = position.offset;
        position.offset = from.max(log_start);
        self.first.take_over(partition.partition, position);
        if from < log_start {
            self.lost(partition, from, log_start);
            self.first.lose(partition.partition, from, log_start);
        }
        position.offset
    }

    /// Closes what may be closed, all partitions in one transaction.
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
        let known = self.table.read();
        let (table, policies) = (&known.table, (&known.policies, &self.judge));
        let join = Joined { table, places: &self.places, policies };
        let closed = self.first.close(&join, most)?;
        let name = |number| TopicPartition::new(self.topic.as_str(), number);
        let position = |at: Stage1Position| OffsetAndMetadata::new(at.offset, at.metadata());
        let positions: Vec<_> = closed.positions.into_iter().map(|(n, at)| (name(n), position(at))).collect();
        Ok((!positions.is_empty()).then_some(Transaction { records: closed.records, positions }))
    }

    /// Writes heartbeats for partitions that were silent, but not for those that are paused.
    fn beat(&mut self) {
        let settings = self.history.latest();
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

    /// Keeps memory within its limit by pausing partitions: all while windows that are over wait for metadata. Windows that are
    /// not over cannot be waited for, since they need what comes next: then the partition that is furthest behind reads on, so
    /// that its windows can be closed, and the others wait. While stage 2's memory is full, those partitions are paused that are
    /// ahead of others.
    async fn bound(&mut self, consumer: &mut weir_stream::GroupConsumer) -> Result<(), Failure> {
        let limit = self.shared.settings.memory();
        let memory = self.first.memory_within(limit);
        let named = |number: &i32| TopicPartition::new(self.topic.as_str(), *number);
        let stalled = self.first.owned.values().any(|owned| owned.partition.ready(FOR_EVER, 1).is_some());
        if memory > limit && !stalled {
            weir_service::rate_limited!(warn, memory, limit, "one window's samples take more memory than the limit");
        }
        let full = memory > if self.held { limit / 2 } else { limit };
        let held = full && stalled;
        if held && !self.held {
            tracing::warn!(memory, limit, "partitions are paused until their windows can be closed");
        }
        self.held = held;
        let pace = &self.shared.pace;
        let behind = self.first.furthest_behind().filter(|_| !stalled);
        let waits = self
            .first
            .owned
            .iter()
            .filter(|(number, it)| full && behind != Some(**number) || pace.is_ahead(it.partition.written()));
        let wanted: BTreeSet<i32> = waits.map(|(number, _)| *number).collect();
        let pause: Vec<_> = wanted.difference(&self.paused).map(named).collect();
        let resume: Vec<_> = self.paused.difference(&wanted).map(named).collect();
        if !pause.is_empty() {
            consumer.pause(&pause).await?;
        }
        if !resume.is_empty() {
            consumer.resume(&resume).await?;
        }
        self.paused = wanted;
        self.measure(memory);
        Ok(())
    }

    fn measure(&mut self, memory: usize) {
        self.first.count();
        let meters = &self.shared.meters;
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        meters.memory.get_or_create(&self.stage()).set(gauge(memory));
        meters.partitions.get_or_create(&self.stage()).set(gauge(self.first.owned.len()));
        meters.paused.get_or_create(&self.stage()).set(gauge(self.paused.len()));
        let written =
            self.first.owned.values().map(|owned| owned.partition.written()).filter(|written| *written != NEVER);
        meters.oldest_generation.get_or_create(&self.stage()).set(written.min().unwrap_or(0));
        self.watch_metadata();
    }

    /// Says when windows wait for metadata.
    fn watch_metadata(&mut self) {
        let complete_to = self.table.read().table.complete_to();
        let settings = self.history.latest();
        let newest = self.first.owned.values().map(|owned| owned.partition.watermark()).max().unwrap_or(NEVER);
        let behind = if newest == NEVER { 0 } else { newest.saturating_sub(complete_to).max(0) };
        self.shared.meters.metadata_behind.set(behind);
        // Paused partitions are not read, so that event time stands still however long metadata does.
        let alarm = Millis::try_from(self.shared.settings.metadata_alarm.as_millis()).unwrap_or(Millis::MAX);
        let waiting = behind > alarm.saturating_add(settings.grace) || self.held;
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
