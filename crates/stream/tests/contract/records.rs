//! Writing and reading records.

use std::time::Duration;

use bytes::Bytes;
use weir_stream::{ErrorKind, Log, NewRecord, Partitions, ProducerSettings, Start, StreamError, TopicSpec, memory};

use crate::environment::{Environment, LONG, tp, value};

pub(crate) async fn written_records_are_read_back_whole(environment: &Environment) {
    let topic = environment.topic("whole", 3).await;
    let log = &environment.log;
    let producer = log.producer(&ProducerSettings::new("whole")).unwrap();
    let whole = NewRecord::new(&*topic, "key", "value")
        .at(1_700_000_000_123)
        .to_partition(1)
        .with_header("schema", "v1")
        .with_header("schema", "v2")
        .with_header("empty", "");
    let delivery = producer.send(whole.clone()).unwrap().await.unwrap();
    assert_eq!((delivery.partition, delivery.offset), (1, 0));
    let tombstone = NewRecord::tombstone(&*topic, "key").to_partition(1);
    assert_eq!(producer.send(tombstone).unwrap().await.unwrap().offset, 1);

    let mut reader = environment.reader(&topic, Start::Beginning).await;
    let records = reader.read_to_end(LONG).await.unwrap();
    assert_eq!(records.len(), 2);
    let read = &records[0];
    assert_eq!((read.partition, read.offset, read.timestamp), (1, 0, 1_700_000_000_123));
    assert_eq!((&read.key, &read.value), (&whole.key, &whole.value));
    assert_eq!(read.headers, whole.headers);
    assert_eq!(records[1].value, None);
    assert_eq!(records[1].key, Some(Bytes::from_static(b"key")));
    assert_eq!(log.partition_count(&topic).await.unwrap(), 3);
    assert_eq!(log.log_start(&tp(&topic, 1)).await.unwrap(), 0);
    assert_eq!(log.log_end(&tp(&topic, 1)).await.unwrap(), 2);
    assert_eq!(log.log_end(&tp(&topic, 0)).await.unwrap(), 0);

    // The same key goes to the same partition on every kind of log: murmur2 of Kafka's clients.
    let mut there = Vec::new();
    for key in ["node-7", "a", "worker-12.example", "10.0.0.1", "four", "seven77"] {
        let keyed = NewRecord::new(&*topic, key, "x");
        there.push(producer.send(keyed).unwrap().await.unwrap().partition);
    }
    assert_eq!(there, [0, 1, 2, 1, 2, 1]);
    producer.flush(LONG).await.unwrap();
    assert_eq!(producer.queued_bytes(), 0);
}

pub(crate) async fn a_reader_starts_where_it_is_told(environment: &Environment) {
    let topic = environment.topic("starts", 1).await;
    let log = &environment.log;
    let producer = log.producer(&ProducerSettings::new("starts")).unwrap();
    for number in 0..10_i64 {
        let record = NewRecord::new(&*topic, "k", number.to_string()).at(1000 + number * 100);
        producer.send(record).unwrap().await.unwrap();
    }
    for (from, expected) in [
        (Start::Beginning, 0..10),
        (Start::Offset(7), 7..10),
        (Start::Offset(99), 10..10),
        (Start::Offsets(vec![(0, 3)]), 3..10),
        (Start::Time(1450), 5..10),
        (Start::Time(99_999), 10..10),
        (Start::BeforeEnd(2), 8..10),
        (Start::BeforeEnd(200), 0..10),
        (Start::End, 10..10),
    ] {
        let mut reader = environment.reader(&topic, from.clone()).await;
        let records = reader.read_to_end(LONG).await.unwrap();
        let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, expected.collect::<Vec<i64>>(), "{from:?}");
        assert_eq!(reader.positions(), [(0, 10)]);
    }
    let partition = tp(&topic, 0);
    assert_eq!(log.offset_for_time(&partition, 1450).await.unwrap(), Some(5));
    assert_eq!(log.offset_for_time(&partition, 99_999).await.unwrap(), None);

    // Following the end.
    let mut follower = log.reader(&topic, Partitions::One(0), Start::End).await.unwrap();
    assert!(follower.next(Duration::from_millis(100)).await.unwrap().is_empty());
    producer.send(NewRecord::new(&*topic, "k", "new")).unwrap().await.unwrap();
    let batch = follower.next(LONG).await.unwrap();
    assert_eq!(batch.iter().map(value).collect::<Vec<_>>(), ["new"]);
}

pub(crate) async fn append_time_is_the_brokers(environment: &Environment) {
    if let Log::Memory(memory) = &environment.log {
        memory.set_time(1_700_000_000_000);
    }
    let topic = environment.name("append-time");
    let spec = TopicSpec::new(&topic, 1).with("message.timestamp.type", "LogAppendTime");
    environment.log.ensure_topics(&[spec]).await.unwrap();
    let producer = environment.log.producer(&ProducerSettings::new("time")).unwrap();
    let record = NewRecord::new(&*topic, "k", "v").at(1_600_000_000_000);
    producer.send(record).unwrap().await.unwrap();
    let mut reader = environment.reader(&topic, Start::Beginning).await;
    let records = reader.read_to_end(LONG).await.unwrap();
    assert!(records[0].timestamp >= 1_700_000_000_000, "{}", records[0].timestamp);
}

pub(crate) async fn an_existing_topic_keeps_its_partitions(environment: &Environment) {
    let topic = environment.topic("fixed", 3).await;
    let log = &environment.log;
    log.ensure_topics(&[TopicSpec::new(&topic, 3)]).await.unwrap();
    let error = log.ensure_topics(&[TopicSpec::new(&topic, 5)]).await.unwrap_err();
    assert!(matches!(&error, StreamError::PartitionCount { expected: 5, found: 3, .. }), "{error}");
    assert!(error.to_string().contains("has 3 partitions and 5 are required"));
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

pub(crate) async fn a_topic_says_its_settings(environment: &Environment) {
    let name = environment.name("kept");
    let log = &environment.log;
    log.ensure_topics(&[TopicSpec::new(&name, 1).with("retention.ms", "86400000")]).await.unwrap();
    assert_eq!(log.topic_config(&name, "retention.ms").await.unwrap().as_deref(), Some("86400000"));
    let plain = environment.topic("plain", 1).await;
    assert_eq!(log.topic_config(&plain, "retention.ms").await.unwrap().as_deref(), Some("604800000"), "the default");
    assert_eq!(log.topic_config(&plain, "no.such.setting").await.unwrap(), None);
    let error = log.topic_config(&environment.name("nowhere"), "retention.ms").await.unwrap_err();
    assert!(matches!(error, StreamError::UnknownTopic(_)), "{error}");
}

pub(crate) async fn an_unknown_topic_is_said_to_be_unknown(environment: &Environment) {
    let name = environment.name("nowhere");
    let error = environment.log.partition_count(&name).await.unwrap_err();
    assert!(matches!(error, StreamError::UnknownTopic(_)), "{error}");
    let reader = environment.log.reader(&name, Partitions::All, Start::Beginning);
    let error = reader.await.unwrap_err();
    assert!(matches!(error, StreamError::UnknownTopic(_)), "{error}");
}

/// The last offsets of a partition may hold nothing that is ever delivered.
pub(crate) async fn a_walk_ends_behind_control_records(environment: &Environment) {
    let topic = environment.topic("walk", 2).await;
    let mut producer = environment.transactional("walk").await;
    let mut reader = environment.reader(&topic, Start::Beginning).await;
    for round in 0..3 {
        for (commit, text) in [(true, "kept"), (false, "dropped")] {
            producer.begin().await.unwrap();
            for partition in 0..2 {
                let record = NewRecord::new(&*topic, "k", format!("{text} {round}"));
                producer.send(record.to_partition(partition)).await.unwrap();
            }
            if commit {
                producer.commit().await.unwrap();
            } else {
                producer.abort().await.unwrap();
            }
        }
        let records = reader.read_to_end(LONG).await.unwrap();
        let values: Vec<String> = records.iter().map(value).collect();
        assert_eq!(values, [format!("kept {round}"), format!("kept {round}")]);
        // A walk without news ends at once.
        assert!(reader.read_to_end(LONG).await.unwrap().is_empty());
    }
}

pub(crate) async fn a_full_queue_refuses_and_recovers(environment: &Environment) {
    let topic = environment.topic("full", 1).await;
    if let Log::Memory(memory) = &environment.log {
        memory.inject(memory::Fault::QueueFull);
    }
    let producer = environment
        .log
        .producer(&ProducerSettings {
            queue_bytes: 5000,
            linger: Duration::from_millis(200),
            max_record_bytes: 10_000,
            ..ProducerSettings::new("full")
        })
        .unwrap();
    let record = NewRecord::new(&*topic, "k", vec![b'x'; 2000]);
    let mut deliveries = Vec::new();
    let refused = loop {
        match producer.send(record.clone()) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::QueueFull, "{refused}");
    assert!(deliveries.len() <= 2);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.send(record).unwrap().await.unwrap();
    let huge = producer.send(NewRecord::new(&*topic, "k", vec![0; 20_000])).unwrap_err();
    assert!(matches!(huge, StreamError::TooLarge { limit: 10_000, .. }), "{huge}");
}
