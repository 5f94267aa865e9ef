//! Writing: idempotent, and in transactions.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::group::GroupMetadata;
use crate::record::{NewRecord, OffsetAndMetadata, TopicPartition};
use crate::{Result, StreamError, kafka, memory};

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: cheapest to read.
    Lz4,
    /// Zstandard at level 1: smallest.
    #[default]
    Zstd,
}

/// Settings of a [`Producer`].
#[derive(Clone, Debug)]
pub struct ProducerSettings {
    /// The client's name in logs and metrics.
    pub client_id: String,
    /// Compression of batches.
    pub compression: Compression,
    /// Bytes that may wait in the queue; above it a send is refused with
    /// [`StreamError::QueueFull`].
    pub queue_bytes: usize,
    /// How long a batch waits for company.
    pub linger: Duration,
    /// After this time without an acknowledgement a record's delivery fails.
    pub delivery_timeout: Duration,
    /// Largest record in bytes; the broker's and topic's limits must allow it.
    pub max_record_bytes: usize,
}

impl ProducerSettings {
    /// The defaults: zstd, 32 MiB queue, 20 ms linger, 2 min delivery timeout, 1 MiB records.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            compression: Compression::default(),
            queue_bytes: 32 << 20,
            linger: Duration::from_millis(20),
            delivery_timeout: Duration::from_secs(120),
            max_record_bytes: 1 << 20,
        }
    }
}

/// Settings of a [`TransactionalProducer`].
#[derive(Clone, Debug)]
pub struct TransactionSettings {
    /// Group plus instance: stable over restarts, so that a successor fences its predecessor.
    pub transactional_id: String,
    /// The client's name in logs and metrics.
    pub client_id: String,
    /// Compression of batches.
    pub compression: Compression,
    /// Bytes that may wait in the queue; a send waits for room.
    pub queue_bytes: usize,
    /// How long a batch waits for company.
    pub linger: Duration,
    /// The broker aborts a transaction that is open for longer.
    pub transaction_timeout: Duration,
    /// How long `transactional_producer` waits for the coordinator.
    pub init_timeout: Duration,
    /// Largest record in bytes; the broker's and topic's limits must allow it.
    pub max_record_bytes: usize,
}

impl TransactionSettings {
    /// The defaults: zstd, 32 MiB queue, 5 ms linger, 15 s transaction timeout, 1 MiB records.
    pub fn new(transactional_id: impl Into<String>) -> Self {
        let transactional_id = transactional_id.into();
        Self {
            client_id: transactional_id.clone(),
            transactional_id,
            compression: Compression::default(),
            queue_bytes: 32 << 20,
            linger: Duration::from_millis(5),
            transaction_timeout: Duration::from_secs(15),
            init_timeout: Duration::from_secs(60),
            max_record_bytes: 1 << 20,
        }
    }
}

/// Where a record was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// The acknowledgement of one record, to be awaited, or dropped by whoever does not care.
#[derive(Debug)]
pub struct DeliveryFuture(pub(crate) oneshot::Receiver<Result<Delivery>>);

impl Future for DeliveryFuture {
    type Output = Result<Delivery>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| {
                Err(StreamError::Delivery {
                    topic: String::new(),
                    message: "the producer was dropped before the record was acknowledged".into(),
                    outcome_unknown: true,
                })
            })
        })
    }
}

/// An idempotent producer. Cheap to clone; all clones share the queue.
#[derive(Clone, Debug)]
pub struct Producer(pub(crate) ProducerInner);

#[derive(Clone, Debug)]
pub(crate) enum ProducerInner {
    Kafka(kafka::KafkaProducer),
    Memory(memory::MemoryProducer),
}

impl Producer {
    /// Puts a record into the queue, never waits. The future says when and where it was written.
    ///
    /// # Errors
    /// [`StreamError::QueueFull`] when there is no room now; [`StreamError::TooLarge`].
    pub fn send(&self, record: NewRecord) -> Result<DeliveryFuture> {
        match &self.0 {
            ProducerInner::Kafka(producer) => producer.send(record),
            ProducerInner::Memory(producer) => producer.send(record),
        }
    }

    /// Waits until everything sent so far is acknowledged or has failed.
    ///
    /// # Errors
    /// [`StreamError::Timeout`] when something is still waiting then.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        match &self.0 {
            ProducerInner::Kafka(producer) => producer.flush(timeout).await,
            ProducerInner::Memory(producer) => producer.flush(),
        }
    }

    /// Bytes that wait in the queue.
    pub fn queued_bytes(&self) -> usize {
        match &self.0 {
            ProducerInner::Kafka(producer) => producer.queued_bytes(),
            ProducerInner::Memory(producer) => producer.queued_bytes(),
        }
    }
}

/// A producer of transactions, one at a time, with one owner.
///
/// Errors say what to do: after [`crate::ErrorKind::Abortable`] call [`abort`](Self::abort) and do
/// the work again; after [`crate::ErrorKind::Fenced`] or [`crate::ErrorKind::Fatal`] drop this
/// producer and everything held in memory for its partitions, make a new one with the same id and
/// start from committed positions. Passing errors are retried inside.
#[derive(Debug)]
pub struct TransactionalProducer(pub(crate) TransactionalInner);

#[derive(Debug)]
pub(crate) enum TransactionalInner {
    Kafka(kafka::KafkaTransactionalProducer),
    Memory(memory::MemoryTransactionalProducer),
}

impl TransactionalProducer {
    /// Opens a transaction. Do so only when there is something to write.
    ///
    /// # Errors
    /// See the type.
    pub async fn begin(&mut self) -> Result<()> {
        match &mut self.0 {
            TransactionalInner::Kafka(producer) => producer.begin().await,
            TransactionalInner::Memory(producer) => producer.begin(),
        }
    }

    /// Adds a record to the open transaction; waits while the queue is full. A delivery that fails
    /// shows as an error of this or of a later call, at the latest of [`commit`](Self::commit).
    ///
    /// # Errors
    /// See the type.
    pub async fn send(&mut self, record: NewRecord) -> Result<()> {
        match &mut self.0 {
            TransactionalInner::Kafka(producer) => producer.send(record).await,
            TransactionalInner::Memory(producer) => producer.send(record),
        }
    }

    /// Adds consumed positions to the open transaction. `group` is the snapshot that came with the
    /// assignment under which they were read, so that a member whose partitions have gone elsewhere
    /// is refused. An empty list, which the client library would accept in silence, is refused.
    ///
    /// # Errors
    /// See the type; a stale snapshot is [`crate::ErrorKind::Abortable`].
    pub async fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        if offsets.is_empty() || offsets.iter().any(|(_, position)| position.offset < 0) {
            return Err(StreamError::Misuse("send_offsets needs at least one position, and none below 0".into()));
        }
        match &mut self.0 {
            TransactionalInner::Kafka(producer) => producer.send_offsets(offsets, group).await,
            TransactionalInner::Memory(producer) => producer.send_offsets(offsets, group),
        }
    }

    /// Commits, repeated while retriable, for at most a minute. `Ok` means that everything is committed;
    /// [`crate::ErrorKind::Abortable`] that nothing is; any other error that it is not known.
    ///
    /// # Errors
    /// See the type.
    pub async fn commit(&mut self) -> Result<()> {
        match &mut self.0 {
            TransactionalInner::Kafka(producer) => producer.commit().await,
            TransactionalInner::Memory(producer) => producer.commit(),
        }
    }

    /// Aborts the open transaction; without one it does nothing.
    ///
    /// # Errors
    /// Only errors after which the producer must be dropped.
    pub async fn abort(&mut self) -> Result<()> {
        match &mut self.0 {
            TransactionalInner::Kafka(producer) => producer.abort().await,
            TransactionalInner::Memory(producer) => producer.abort(),
        }
    }
}
