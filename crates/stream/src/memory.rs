//! A deterministic log in memory, with the semantics of Kafka that the services rely on: offsets,
//! control records that take an offset, append time, transactions with fencing and the visibility of
//! committed readers, groups with generations and static members, and positions with metadata.
//!
//! It has no clock and no chance of its own: a test sets the time, deals out partitions, expires
//! members and injects [`Fault`]s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

mod consumer;
mod group;
mod partition;
mod producer;
mod reader;
mod state;

pub(crate) use consumer::MemoryGroupConsumer;
pub(crate) use group::Membership;
pub(crate) use producer::{MemoryProducer, MemoryTransactionalProducer};
pub(crate) use reader::MemoryReader;
use state::State;

use crate::group::GroupInner;
use crate::log::{Metric, MetricKind};
use crate::producer::{ProducerInner, TransactionalInner};
use crate::reader::ReaderInner;
use crate::{
    GroupConsumer, GroupSettings, OffsetAndMetadata, Partitions, Producer, ProducerSettings, Reader, Record, Result,
    Start, StreamError, TopicPartition, TopicSpec, TransactionSettings, TransactionalProducer,
};

/// Something that goes wrong once, at the next call that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next transaction's commit ends with an unknown outcome, and was applied or not.
    CommitUnknown {
        /// Whether the transaction is in fact committed. If not, it stays open until a new producer
        /// of the same id aborts it, or [`MemoryLog::expire_transaction`].
        applied: bool,
    },
    /// The next transaction's commit is refused and the transaction must be aborted.
    CommitAbortable,
    /// The next `send_offsets` is refused and the transaction must be aborted.
    SendOffsetsAbortable,
    /// The delivery of the next record of a [`Producer`] fails with an unknown outcome.
    DeliveryUnknown {
        /// Whether the record is in fact in the log.
        written: bool,
    },
    /// The next send of a [`Producer`] finds the queue full.
    QueueFull,
    /// The next commit of a [`GroupConsumer`] fails for the time being.
    ConsumerCommitRetriable,
}

/// The log in memory. Cloning gives another handle on the same log.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

impl Shared {
    /// Looks, without waking anybody.
    fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then wakes everybody who waits for a change.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.read());
        self.version.send_modify(|version| *version += 1);
        answer
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

/// What a test does to the log.
impl MemoryLog {
    /// An empty log at time 0.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::default()), version: watch::Sender::new(0) }) }
    }

    /// Sets the time that records are appended at, milliseconds since the epoch.
    pub fn set_time(&self, milliseconds: i64) {
        self.shared.change(|state| state.now = milliseconds);
    }

    /// Makes the next call that it fits fail. Faults of one kind take effect in the order in which
    /// they were injected.
    pub fn inject(&self, fault: Fault) {
        self.shared.change(|state| state.faults.push(fault));
    }

    /// Faults that were injected and have not happened yet.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.read().faults.clone()
    }

    /// From now on the group's partitions move only by [`rebalance`](Self::rebalance), not when members
    /// come and go.
    pub fn manual_assignment(&self, group: &str) {
        self.shared.change(|state| state.group(group).manual = true);
    }

    /// Starts a new generation: all members give up what they have, then each gets what is said here
    /// by its instance id (or client id, for a member without one); members not named get nothing.
    pub fn rebalance(&self, group: &str, assignment: &[(&str, Vec<TopicPartition>)]) {
        self.shared.change(|state| {
            let target =
                assignment.iter().map(|(member, partitions)| ((*member).to_owned(), partitions.clone())).collect();
            state.group(group).rebalance(Some(target));
            state.settle(group);
        });
    }

    /// A member's session ends: its partitions go to others without its leave, it is told afterwards,
    /// and it joins again. A member that is only silent (a static one that was dropped) is forgotten.
    pub fn expire_member(&self, group: &str, member: &str) {
        self.shared.change(|state| {
            state.group(group).expire(member);
            state.settle(group);
        });
    }

    /// The broker aborts the open transaction of a producer that was silent for too long; the producer
    /// is fenced.
    pub fn expire_transaction(&self, transactional_id: &str) {
        self.shared.change(|state| state.fence(transactional_id));
    }

    /// A late duplicate of an earlier commit request arrives: what the open transaction has written so
    /// far is committed, and its producer does not know.
    pub fn duplicate_commit(&self, transactional_id: &str) {
        self.shared.change(|state| state.end_transaction(transactional_id, true));
    }

    /// Compacts a topic: of each key only the last committed record below the first open transaction
    /// stays, offsets unchanged; tombstones stay unless `remove_tombstones`.
    ///
    /// # Errors
    /// When the topic does not exist.
    pub fn compact(&self, topic: &str, remove_tombstones: bool) -> Result<()> {
        self.shared.change(|state| {
            for partition in &mut state.topic(topic)?.partitions {
                partition.compact(remove_tombstones);
            }
            Ok(())
        })
    }

    /// The committed records of a partition, without moving anything; empty when there is none.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<Record> {
        let tp = TopicPartition::new(topic, partition);
        self.shared.change(|state| {
            let read = state.partition(&tp).map(|log| {
                let (records, _) = log.read(&tp, log.start, log.stable_end(), usize::MAX, usize::MAX);
                records
            });
            read.unwrap_or_default()
        })
    }

    /// The committed records of a topic, partition by partition.
    pub fn all_records(&self, topic: &str) -> Vec<Record> {
        let partitions = self.partition_count(topic).unwrap_or_default();
        (0..partitions).flat_map(|partition| self.records(topic, partition)).collect()
    }
}

/// The contract of `Log`.
impl MemoryLog {
    pub(crate) fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.shared.change(|state| {
            for spec in topics {
                state.ensure_topic(spec)?;
            }
            state.settle_all();
            Ok(())
        })
    }

    pub(crate) fn partition_count(&self, topic: &str) -> Result<i32> {
        let mut state = self.shared.read();
        Ok(state.topic(topic)?.count())
    }

    pub(crate) fn topic_config(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let mut state = self.shared.read();
        Ok(state.topic(topic)?.config(name))
    }

    pub(crate) fn watermarks(&self, partition: &TopicPartition) -> Result<(i64, i64)> {
        let mut state = self.shared.read();
        let log = state.partition(partition)?;
        Ok((log.start, log.stable_end()))
    }

    pub(crate) fn offset_for_time(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        let mut state = self.shared.read();
        Ok(state.partition(partition)?.offset_for_time(timestamp))
    }

    pub(crate) fn delete_records(&self, partition: &TopicPartition, before: i64) -> Result<()> {
        self.shared.change(|state| state.partition(partition)?.delete_before(before))
    }

    pub(crate) async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>> {
        let mut version = self.shared.version.subscribe();
        loop {
            if let Some(answer) = self.shared.read().stable_offsets(group, partitions) {
                return Ok(answer);
            }
            // The sender lives as long as self.
            let _ = version.changed().await;
        }
    }

    pub(crate) fn producer(&self, settings: &ProducerSettings) -> Producer {
        let shared = Arc::clone(&self.shared);
        Producer(ProducerInner::Memory(MemoryProducer::new(shared, settings)))
    }

    pub(crate) fn transactional_producer(&self, settings: &TransactionSettings) -> TransactionalProducer {
        let shared = Arc::clone(&self.shared);
        TransactionalProducer(TransactionalInner::Memory(MemoryTransactionalProducer::initialize(shared, settings)))
    }

    pub(crate) fn group_consumer(&self, settings: &GroupSettings) -> Result<GroupConsumer> {
        if settings.topics.is_empty() {
            return Err(StreamError::Configuration(format!("group {} has no topics to read", settings.group)));
        }
        let shared = Arc::clone(&self.shared);
        Ok(GroupConsumer(GroupInner::Memory(MemoryGroupConsumer::join(shared, settings))))
    }

    pub(crate) fn reader(&self, topic: &str, partitions: &Partitions, from: &Start) -> Result<Reader> {
        let shared = Arc::clone(&self.shared);
        let reader = MemoryReader::new(shared, topic, partitions, from)?;
        Ok(Reader(ReaderInner::Memory(reader)))
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let state = self.shared.read();
        let counter = |name, help, value: u32| Metric {
            name,
            help,
            kind: MetricKind::Counter,
            labels: Vec::new(),
            value: f64::from(value),
        };
        vec![
            counter("stream_records_written", "records appended, committed or not", state.counters.written),
            counter("stream_transactions_committed", "transactions committed", state.counters.committed),
            counter("stream_transactions_aborted", "transactions aborted", state.counters.aborted),
        ]
    }
}

#[cfg(test)]
mod tests;
