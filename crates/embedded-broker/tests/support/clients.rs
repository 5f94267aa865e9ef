//! What the tests of this folder share: a broker in a temporary folder, and clients.
#![allow(dead_code, reason = "each test file uses a part of it")]

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::path::Path;
use std::time::{Duration, Instant};
use weir_embedded_broker::{Broker, BrokerSettings};

/// Longest time anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Records = Vec<(i32, i64, String)>;
pub(crate) type TestProducer = ThreadedProducer<DefaultProducerContext>;

/// A broker on a free port.
pub(crate) async fn start(data: &Path) -> Broker {
    Broker::start(BrokerSettings::new(data, "127.0.0.1:0".parse().unwrap())).await.unwrap()
}

/// A client configuration for a broker, with some more settings.
pub(crate) fn config(address: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

/// Creates a topic with some settings.
pub(crate) async fn create_topic(address: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config(address, &[]).create().unwrap();
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let results = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// A producer that has everything acknowledged.
pub(crate) fn producer(address: &str, more: &[(&str, &str)]) -> TestProducer {
    let mut config = config(
        address,
        &[
            ("acks", "all"),
            ("linger.ms", "2"),
            ("reconnect.backoff.max.ms", "200"),
            ("retry.backoff.ms", "20"),
            ("message.timeout.ms", "20000"),
        ],
    );
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

/// A transactional producer that is ready to begin.
pub(crate) fn transactional(address: &str, id: &str, timeout_ms: u32) -> Result<TestProducer, KafkaError> {
    let timeout = timeout_ms.to_string();
    let producer = producer(
        address,
        &[("transactional.id", id), ("transaction.timeout.ms", &timeout), ("message.timeout.ms", &timeout)],
    );
    producer.init_transactions(PATIENCE)?;
    Ok(producer)
}

/// Sends values to a partition without waiting.
pub(crate) fn send(producer: &TestProducer, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    for value in values {
        let record = BaseRecord::<str, str>::to(topic).partition(partition).key("k").payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

/// Sends values and waits until they are acknowledged.
pub(crate) fn send_all(producer: &TestProducer, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    send(producer, topic, partition, values);
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

/// Reads all partitions from the start up to their end as a `read_committed` consumer sees it.
pub(crate) fn read_committed(address: &str, topic: &str, partitions: i32) -> Records {
    read_all(address, topic, partitions, "read_committed")
}

/// Reads all partitions from the start up to their end.
pub(crate) fn read_all(address: &str, topic: &str, partitions: i32, isolation: &str) -> Records {
    let consumer: BaseConsumer = config(
        address,
        &[
            ("group.id", "reader"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("isolation.level", isolation),
            ("check.crcs", "true"),
        ],
    )
    .create()
    .unwrap();
    let mut wanted = rdkafka::TopicPartitionList::new();
    for partition in 0..partitions {
        wanted.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&wanted).unwrap();
    let mut records = Vec::new();
    let mut ends = std::collections::BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while ends.len() < usize::try_from(partitions).unwrap() {
        assert!(Instant::now() < deadline, "no end of {topic}: {} records", records.len());
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = String::from_utf8(message.payload().unwrap_or_default().to_vec()).unwrap();
                records.push((message.partition(), message.offset(), text));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.insert(partition);
            }
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    records
}

/// The values of records, in order.
pub(crate) fn values(records: &Records) -> Vec<String> {
    records.iter().map(|(_, _, value)| value.clone()).collect()
}

/// `count` values with a prefix.
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}
