//! What a scenario runs on, and the steps that scenarios share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use weir_embedded_broker::{Broker, BrokerSettings};
use weir_stream::{
    AssignedPartition, Event, GroupConsumer, GroupMetadata, GroupSettings, KafkaSettings, Log, NewRecord, Partitions,
    ProducerSettings, Reader, Record, Start, TopicPartition, TopicSpec, TransactionSettings, TransactionalProducer,
};

/// Longer than anything takes that works.
pub(crate) const LONG: Duration = Duration::from_secs(45);
/// Long enough to see that something does not happen.
pub(crate) const SHORT: Duration = Duration::from_millis(700);

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Environment {
    pub(crate) log: Log,
    prefix: String,
    _broker: Option<(Broker, tempfile::TempDir)>,
}

impl Environment {
    fn new(log: Log, broker: Option<(Broker, tempfile::TempDir)>) -> Self {
        let started = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self { log, prefix: format!("t{}-{number}", started.as_micros()), _broker: broker }
    }

    pub(crate) fn memory() -> Self {
        Self::new(Log::memory(), None)
    }

    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = BrokerSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
        let broker = Broker::start(settings).await.unwrap();
        let settings = KafkaSettings::at(broker.address().to_string());
        Self::new(Log::kafka(&settings).unwrap(), Some((broker, folder)))
    }

    pub(crate) fn kafka() -> Option<Self> {
        let address = std::env::var("WEIR_TEST_KAFKA").ok()?;
        let log = Log::kafka(&KafkaSettings::at(address)).unwrap();
        Some(Self::new(log, None))
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> String {
        let name = self.name(name);
        let spec = TopicSpec::new(&name, partitions);
        self.log.ensure_topics(&[spec]).await.unwrap();
        name
    }

    /// Writes `count` records "0", "1", … to a partition and waits for them.
    pub(crate) async fn fill(&self, topic: &str, partition: i32, count: i64) {
        let producer = self.log.producer(&ProducerSettings::new("fill")).unwrap();
        let mut deliveries = Vec::new();
        for number in 0..count {
            let record = NewRecord::new(topic, format!("{partition}"), number.to_string());
            deliveries.push(producer.send(record.to_partition(partition)).unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }

    pub(crate) async fn reader(&self, topic: &str, from: Start) -> Reader {
        self.log.reader(topic, Partitions::All, from).await.unwrap()
    }

    /// All committed values of a topic, partition by partition.
    pub(crate) async fn values(&self, topic: &str) -> Vec<String> {
        let mut reader = self.reader(topic, Start::Beginning).await;
        let mut records = reader.read_to_end(LONG).await.unwrap();
        records.sort_by_key(|record| (record.partition, record.offset));
        records.iter().map(value).collect()
    }

    pub(crate) async fn transactional(&self, id: &str) -> TransactionalProducer {
        let settings = TransactionSettings::new(self.name(id));
        self.log.transactional_producer(&settings).await.unwrap()
    }

    pub(crate) fn member(&self, group: &str, topic: &str, instance: Option<&str>) -> GroupConsumer {
        let name = instance.unwrap_or("member");
        static MEMBER: AtomicU32 = AtomicU32::new(0);
        let settings = GroupSettings {
            client_id: format!("{name}-{}", MEMBER.fetch_add(1, Ordering::Relaxed)),
            instance_id: instance.map(str::to_owned),
            session_timeout: Duration::from_secs(10),
            ..GroupSettings::new(self.name(group), [topic])
        };
        self.log.group_consumer(&settings).unwrap()
    }
}

pub(crate) fn value(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// The partitions of the next assignment that is not empty; revocations before it are acknowledged.
pub(crate) async fn assigned(consumer: &mut GroupConsumer) -> (Vec<AssignedPartition>, GroupMetadata) {
    assigned_where(consumer, |partitions| !partitions.is_empty()).await
}

/// The same, of the next assignment that `fits`; the ones before are started from the beginning.
pub(crate) async fn assigned_where(
    consumer: &mut GroupConsumer,
    fits: impl Fn(&[AssignedPartition]) -> bool,
) -> (Vec<AssignedPartition>, GroupMetadata) {
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        match consumer.next(Duration::from_secs(1)).await.unwrap() {
            Event::Assigned { partitions, group_metadata } if fits(&partitions) => return (partitions, group_metadata),
            Event::Assigned { partitions, .. } => start(consumer, &partitions, 0).await,
            Event::Revoked { done, .. } | Event::Lost { done, .. } => done.done(),
            _ => {}
        }
    }
    panic!("no assignment in time");
}

/// Starts every partition at its committed offset, else at `otherwise`.
pub(crate) async fn start(consumer: &mut GroupConsumer, partitions: &[AssignedPartition], otherwise: i64) {
    let offsets: Vec<(TopicPartition, i64)> = partitions
        .iter()
        .map(|assigned| {
            let committed = assigned.committed.as_ref();
            let offset = committed.map_or(otherwise, |committed| committed.offset);
            (assigned.partition.clone(), offset)
        })
        .collect();
    consumer.start(&offsets).await.unwrap();
}

/// The next `count` records.
pub(crate) async fn take(consumer: &mut GroupConsumer, count: usize) -> Vec<Record> {
    let deadline = Instant::now() + LONG;
    let mut records = Vec::new();
    while records.len() < count && Instant::now() < deadline {
        match consumer.next(Duration::from_secs(1)).await.unwrap() {
            Event::Records(batch) => records.extend(batch),
            Event::Idle => {}
            other => panic!("records expected, not {other:?}"),
        }
    }
    assert!(records.len() >= count, "only {} of {count} records came", records.len());
    records
}

/// Panics when anything happens for a while.
pub(crate) async fn quiet(consumer: &mut GroupConsumer) {
    let deadline = Instant::now() + SHORT;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match consumer.next(left).await.unwrap() {
            Event::Idle => {}
            other => panic!("nothing should happen, not {other:?}"),
        }
    }
}
