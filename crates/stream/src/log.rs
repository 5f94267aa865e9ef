//! The handle on a log, real or in memory.

use std::sync::Weak;
use std::time::Duration;

use crate::group::{GroupConsumer, GroupSettings};
use crate::kafka::KafkaLog;
use crate::memory::MemoryLog;
use crate::producer::{Producer, ProducerSettings, TransactionSettings, TransactionalProducer};
use crate::reader::{Partitions, Reader, Start};
use crate::settings::KafkaSettings;
use crate::{Result, TopicPartition};

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it has, for good.
    pub partitions: i32,
    /// Topic settings by Kafka's names, for example `("cleanup.policy", "compact")`.
    pub configs: Vec<(String, String)>,
}

impl TopicSpec {
    /// A topic without settings of its own.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, configs: Vec::new() }
    }

    /// The same topic with one more setting.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((name.into(), value.into()));
        self
    }
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number about the clients of a log, at the time of asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name without a prefix, for example `stream_records_read`; the set of names is fixed.
    pub name: &'static str,
    /// What the number counts, one sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Labels; their number is bounded (client, topic; never a key or a partition of a flow).
    pub labels: Vec<(&'static str, String)>,
    /// The number; bytes and records are plain, times are in seconds.
    pub value: f64,
}

/// A log: topics of partitions of records, with transactions and consumer groups. Cloning gives
/// another handle on the same log.
#[derive(Clone, Debug)]
pub enum Log {
    /// A Kafka cluster, or anything that speaks its protocol.
    Kafka(KafkaLog),
    /// A deterministic log in memory, for tests.
    Memory(MemoryLog),
}

/// Tells when a log's handles and all clients made from them are really gone: the library ends its threads in the
/// background, and complains when its broker stops before.
#[derive(Clone, Debug)]
pub struct Clients(pub(crate) Option<Weak<()>>);

impl Clients {
    /// Waits until they are gone, at most `timeout`; whether they are.
    pub async fn gone(&self, timeout: Duration) -> bool {
        let Some(alive) = &self.0 else { return true };
        let wait = async {
            while alive.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(timeout, wait).await.is_ok()
    }
}

impl From<MemoryLog> for Log {
    fn from(log: MemoryLog) -> Self {
        Self::Memory(log)
    }
}

impl Log {
    /// A handle on a Kafka cluster. Checks the settings and reads secret files, but does no network IO.
    ///
    /// # Errors
    /// Settings that cannot work: an unreadable file, TLS in a build without it.
    pub fn kafka(settings: &KafkaSettings) -> Result<Self> {
        Ok(Self::Kafka(KafkaLog::new(settings)?))
    }

    /// A new, empty log in memory. Tests that steer it keep a [`MemoryLog`] and use `Log::from`.
    pub fn memory() -> Self {
        Self::Memory(MemoryLog::new())
    }

    /// A watch on this log's handles and clients, to be taken before the last handle is dropped.
    pub fn clients(&self) -> Clients {
        match self {
            Self::Kafka(log) => log.clients(),
            Self::Memory(_) => Clients(None),
        }
    }

    /// Waits until a broker answers.
    ///
    /// # Errors
    /// [`crate::StreamError::Timeout`] when none did within `timeout`.
    pub async fn check(&self, timeout: Duration) -> Result<()> {
        match self {
            Self::Kafka(log) => log.check(timeout).await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// Creates the topics that are missing. A setting that differs on an existing topic is a warning
    /// in the log.
    ///
    /// # Errors
    /// [`crate::StreamError::PartitionCount`] when an existing topic has another partition count; nobody changes
    /// it silently.
    pub async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        match self {
            Self::Kafka(log) => log.ensure_topics(topics).await,
            Self::Memory(log) => log.ensure_topics(topics),
        }
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`crate::StreamError::UnknownTopic`] when it does not exist.
    pub async fn partition_count(&self, topic: &str) -> Result<i32> {
        match self {
            Self::Kafka(log) => log.partition_count(topic).await,
            Self::Memory(log) => log.partition_count(topic),
        }
    }

    /// A setting of a topic, by Kafka's name: what was given, else the broker's own; `None` when the broker has no such setting.
    ///
    /// # Errors
    /// [`crate::StreamError::UnknownTopic`] when the topic does not exist, or when no broker answers.
    pub async fn topic_config(&self, topic: &str, name: &str) -> Result<Option<String>> {
        match self {
            Self::Kafka(log) => log.topic_config(topic, name).await,
            Self::Memory(log) => log.topic_config(topic, name),
        }
    }

    /// The lowest offset that is still there.
    ///
    /// # Errors
    /// When the partition does not exist or no broker answers.
    pub async fn log_start(&self, partition: &TopicPartition) -> Result<i64> {
        match self {
            Self::Kafka(log) => Ok(log.watermarks(partition).await?.0),
            Self::Memory(log) => Ok(log.watermarks(partition)?.0),
        }
    }

    /// The end for committed readers: the offset of the first record of an open transaction, else the
    /// next offset to be written.
    ///
    /// # Errors
    /// As [`Log::log_start`].
    pub async fn log_end(&self, partition: &TopicPartition) -> Result<i64> {
        match self {
            Self::Kafka(log) => Ok(log.watermarks(partition).await?.1),
            Self::Memory(log) => Ok(log.watermarks(partition)?.1),
        }
    }

    /// The first offset whose record has at least this timestamp (milliseconds since the epoch);
    /// `None` when there is none.
    ///
    /// # Errors
    /// As [`Log::log_start`].
    pub async fn offset_for_time(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        match self {
            Self::Kafka(log) => log.offset_for_time(partition, timestamp).await,
            Self::Memory(log) => log.offset_for_time(partition, timestamp),
        }
    }

    /// Deletes the records below `before`, as retention would (used by tests and operators).
    ///
    /// # Errors
    /// As [`Log::log_start`].
    pub async fn delete_records(&self, partition: &TopicPartition, before: i64) -> Result<()> {
        match self {
            Self::Kafka(log) => log.delete_records(partition, before).await,
            Self::Memory(log) => log.delete_records(partition, before),
        }
    }

    /// What a group has committed for these partitions, `None` where it has nothing. Positions in a
    /// transaction that is still open are waited for.
    ///
    /// # Errors
    /// The first partition that could not be answered.
    pub async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<crate::OffsetAndMetadata>)>> {
        match self {
            Self::Kafka(log) => log.committed(group, partitions).await,
            Self::Memory(log) => log.committed(group, partitions).await,
        }
    }

    /// An idempotent producer: acknowledged by all replicas, in order, each record once.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn producer(&self, settings: &ProducerSettings) -> Result<Producer> {
        match self {
            Self::Kafka(log) => log.producer(settings),
            Self::Memory(log) => Ok(log.producer(settings)),
        }
    }

    /// A transactional producer, initialized: an older one of the same transactional id is fenced and
    /// its open transaction aborted.
    ///
    /// # Errors
    /// When the broker did not answer in time, or refuses the id.
    pub async fn transactional_producer(&self, settings: &TransactionSettings) -> Result<TransactionalProducer> {
        match self {
            Self::Kafka(log) => log.transactional_producer(settings).await,
            Self::Memory(log) => Ok(log.transactional_producer(settings)),
        }
    }

    /// Joins a consumer group.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn group_consumer(&self, settings: &GroupSettings) -> Result<GroupConsumer> {
        match self {
            Self::Kafka(log) => log.group_consumer(settings),
            Self::Memory(log) => log.group_consumer(settings),
        }
    }

    /// Reads a topic without a group, committed records only.
    ///
    /// # Errors
    /// When the topic does not exist or no broker answers.
    pub async fn reader(&self, topic: &str, partitions: Partitions, from: Start) -> Result<Reader> {
        match self {
            Self::Kafka(log) => log.reader(topic, partitions, from).await,
            Self::Memory(log) => log.reader(topic, &partitions, &from),
        }
    }

    /// Numbers about this handle's clients, of all its clones.
    pub fn metrics(&self) -> Vec<Metric> {
        match self {
            Self::Kafka(log) => log.metrics(),
            Self::Memory(log) => log.metrics(),
        }
    }
}
