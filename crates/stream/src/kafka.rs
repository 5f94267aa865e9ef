//! Kafka through librdkafka. Nothing of the client library leaves this module.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

mod admin;
mod config;
mod consumer;
mod convert;
mod edge;
mod limiter;
mod lookup;
mod poller;
mod producer;
mod reader;
mod served;
mod transaction;

pub(crate) use consumer::KafkaGroupConsumer;
pub(crate) use producer::KafkaProducer;
pub(crate) use reader::KafkaReader;
pub(crate) use transaction::KafkaTransactionalProducer;

use crate::group::GroupInner;
use crate::log::{Clients, Metric};
use crate::producer::{ProducerInner, TransactionalInner};
use crate::reader::ReaderInner;
use crate::{
    GroupConsumer, GroupSettings, KafkaSettings, OffsetAndMetadata, Partitions, Producer, ProducerSettings, Reader,
    Result, Start, StreamError, TopicPartition, TopicSpec, TransactionSettings, TransactionalProducer,
};
use config::Connection;
use edge::Registry;
use lookup::Lookup;

/// How long a single question to a broker may take before it is asked again or given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle on a Kafka cluster.
#[derive(Clone, Debug)]
pub struct KafkaLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    registry: Arc<Registry>,
    lookup: OnceLock<Lookup>,
}

impl KafkaLog {
    pub(crate) fn clients(&self) -> Clients {
        Clients(Some(self.inner.registry.alive()))
    }

    pub(crate) fn new(settings: &KafkaSettings) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                connection: Connection::new(settings)?,
                registry: Arc::default(),
                lookup: OnceLock::new(),
            }),
        })
    }

    fn lookup(&self) -> Result<Lookup> {
        if let Some(lookup) = self.inner.lookup.get() {
            return Ok(lookup.clone());
        }
        let made = Lookup::new(&self.inner.connection, &self.inner.registry)?;
        Ok(self.inner.lookup.get_or_init(|| made).clone())
    }

    pub(crate) async fn check(&self, timeout: Duration) -> Result<()> {
        let lookup = self.lookup()?;
        blocking(move || lookup.check(timeout)).await
    }

    pub(crate) async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        let lookup = self.lookup()?;
        let inner = &self.inner;
        admin::ensure_topics(&inner.connection, &inner.registry, &lookup, topics).await
    }

    pub(crate) async fn partition_count(&self, topic: &str) -> Result<i32> {
        let lookup = self.lookup()?;
        let topic = topic.to_owned();
        blocking(move || lookup.partition_count(&topic)).await
    }

    pub(crate) async fn topic_config(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let lookup = self.lookup()?;
        let inner = &self.inner;
        admin::topic_config(&inner.connection, &inner.registry, &lookup, topic, name).await
    }

    pub(crate) async fn watermarks(&self, partition: &TopicPartition) -> Result<(i64, i64)> {
        let lookup = self.lookup()?;
        let partition = partition.clone();
        blocking(move || lookup.watermarks(&partition)).await
    }

    pub(crate) async fn offset_for_time(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        let lookup = self.lookup()?;
        let partition = partition.clone();
        blocking(move || lookup.offset_for_time(&partition, timestamp)).await
    }

    pub(crate) async fn delete_records(&self, partition: &TopicPartition, before: i64) -> Result<()> {
        let connection = &self.inner.connection;
        admin::delete_records(connection, &self.inner.registry, partition, before).await
    }

    pub(crate) async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>> {
        let inner = Arc::clone(&self.inner);
        let (group, partitions) = (group.to_owned(), partitions.to_vec());
        blocking(move || lookup::committed(&inner.connection, &inner.registry, &group, &partitions)).await
    }

    pub(crate) fn producer(&self, settings: &ProducerSettings) -> Result<Producer> {
        let producer = KafkaProducer::new(&self.inner.connection, &self.inner.registry, settings)?;
        Ok(Producer(ProducerInner::Kafka(producer)))
    }

    pub(crate) async fn transactional_producer(&self, settings: &TransactionSettings) -> Result<TransactionalProducer> {
        let producer =
            KafkaTransactionalProducer::initialize(&self.inner.connection, &self.inner.registry, settings).await?;
        Ok(TransactionalProducer(TransactionalInner::Kafka(producer)))
    }

    pub(crate) fn group_consumer(&self, settings: &GroupSettings) -> Result<GroupConsumer> {
        let consumer = KafkaGroupConsumer::join(&self.inner.connection, &self.inner.registry, settings)?;
        Ok(GroupConsumer(GroupInner::Kafka(consumer)))
    }

    pub(crate) async fn reader(&self, topic: &str, partitions: Partitions, from: Start) -> Result<Reader> {
        let lookup = self.lookup()?;
        let name: Arc<str> = Arc::from(topic);
        let positions = blocking({
            let topic = Arc::clone(&name);
            move || {
                let count = lookup.partition_count(&topic)?;
                let mut positions = BTreeMap::new();
                for number in partitions.numbers(count) {
                    let partition = TopicPartition::new(Arc::clone(&topic), number);
                    positions.insert(number, lookup.resolve(&partition, &from)?);
                }
                Ok(positions)
            }
        })
        .await?;
        if positions.is_empty() {
            return Err(StreamError::Misuse(format!("no partition of {topic} to read")));
        }
        let reader = KafkaReader::new(&self.inner.connection, &self.inner.registry, name, positions)?;
        Ok(Reader(ReaderInner::Kafka(reader)))
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        self.inner.registry.metrics()
    }
}

/// Runs a call of the client library that may wait, off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StreamError::Fatal(format!("blocking call: {error}"))))
}
