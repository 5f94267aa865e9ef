//! A batch that takes more memory than there is once it is unpacked stops no member: each of its records is told of, and what
//! is beside it is read. On the embedded broker, or on a real Kafka where `WEIR_TEST_KAFKA=host:port` is set.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_stream::{Event, GroupSettings, KafkaSettings, Log, Record, TopicSpec};

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes records of this size as one batch, packed with zstd.
fn batch(address: &str, topic: &str, partition: i32, (count, size): (usize, usize)) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("compression.type", "zstd").set("linger.ms", "3000");
    config.set("batch.size", "500000000").set("message.max.bytes", "500000000");
    config.set("queue.buffering.max.kbytes", "1000000").set("batch.num.messages", count.to_string());
    let producer: BaseProducer = config.create().unwrap();
    let value = vec![0_u8; size];
    for _ in 0..count {
        producer.send(BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(&value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_unpacked_is_told_of_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _broker) = match std::env::var("WEIR_TEST_KAFKA") {
        Ok(address) => (address, None),
        Err(_) => {
            let settings = BrokerSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
            let broker = Broker::start(settings).await.unwrap();
            (broker.address().to_string(), Some(broker))
        }
    };
    let log = Log::kafka(&KafkaSettings::at(&address)).unwrap();
    log.check(PATIENCE).await.unwrap();
    let topic = format!("bombs-{}", std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros());
    log.ensure_topics(&[TopicSpec::new(&topic, 2)]).await.unwrap();
    // Good ones, 100 records of 1 MB, good ones, one record of 120 MB, good ones; the other partition has good ones alone.
    let (to, at) = (topic.clone(), address.clone());
    let writing = tokio::task::spawn_blocking(move || {
        for (partition, size) in [(0, (3, 100)), (0, (100, 1 << 20)), (0, (3, 100)), (0, (1, 120 << 20)), (0, (3, 100))]
        {
            batch(&at, &to, partition, size);
        }
        batch(&at, &to, 1, (5, 100));
    });
    writing.await.unwrap();

    let mut consumer = log.group_consumer(&GroupSettings::new(format!("{topic}-group"), [&topic])).unwrap();
    let (mut found, begun): (Vec<Record>, Instant) = (Vec::new(), Instant::now());
    while found.len() < 115 && begun.elapsed() < PATIENCE {
        match consumer.next(Duration::from_secs(1)).await.unwrap() {
            Event::Assigned { partitions, .. } => {
                let starts: Vec<_> = partitions.into_iter().map(|assigned| (assigned.partition, 0)).collect();
                consumer.start(&starts).await.unwrap();
            }
            Event::Records(records) => found.extend(records),
            _ => {}
        }
    }
    consumer.close().await;
    let of = |partition| found.iter().filter(move |record| record.partition == partition);
    let offsets: Vec<i64> = of(0).map(|record| record.offset).collect();
    assert_eq!(offsets, (0..110).collect::<Vec<i64>>(), "each offset once, in order");
    for record in of(0) {
        let broken = (3..103).contains(&record.offset) || record.offset == 106;
        assert_eq!(record.unreadable().is_some(), broken, "{}", record.offset);
        assert_eq!(record.value.is_none(), broken, "{}", record.offset);
    }
    assert_eq!(of(1).filter(|record| record.unreadable().is_none()).count(), 5);
    let passed = log.metrics().into_iter().filter(|metric| metric.name == "stream_unreadable");
    assert_eq!(passed.map(|metric| metric.value).sum::<f64>(), 101.0);
}
