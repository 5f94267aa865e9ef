//! Times, settings, retention, deletion, and what the broker refuses.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/clients.rs"]
mod support;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_embedded_broker::{Broker, BrokerError, BrokerSettings};

fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    config(address, &[]).create().unwrap()
}

fn one(topic: &str, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, offset).unwrap();
    list
}

fn offset_at(consumer: &BaseConsumer, topic: &str, time: i64) -> Offset {
    let found = consumer.offsets_for_times(one(topic, Offset::Offset(time)), PATIENCE).unwrap();
    found.find_partition(topic, 0).unwrap().offset()
}

/// Offset and timestamp of every record.
fn times(address: &str, topic: &str, count: usize) -> Vec<(i64, i64)> {
    let consumer: BaseConsumer = config(address, &[("group.id", "times")]).create().unwrap();
    consumer.assign(&one(topic, Offset::Beginning)).unwrap();
    let mut found = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while found.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", found.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            found.push((message.offset(), message.timestamp().to_millis().unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_time_never_goes_back_and_is_found_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[("message.timestamp.type", "LogAppendTime"), ("segment.bytes", "5000")]).await;
    tokio::task::spawn_blocking(move || {
        let producer = producer(&address, &[("compression.type", "zstd")]);
        let before = now();
        for round in 0..30 {
            for value in numbered(&format!("{round}"), 100) {
                // What the producer says is of no matter.
                let record = BaseRecord::<str, str>::to("t").partition(0).key("k").payload(&value).timestamp(5);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            rdkafka::producer::Producer::flush(&producer, PATIENCE).unwrap();
        }
        let found = times(&address, "t", 3000);
        assert!(found.iter().all(|(_, time)| (before..=now()).contains(time)));
        assert!(found.is_sorted_by_key(|(_, time)| *time));
        check_times(&address, "t", &found);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_time_is_found_exactly_in_every_compression() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[]).await;
    tokio::task::spawn_blocking(move || {
        let mut expected = Vec::new();
        for (codec, start) in [("none", 0), ("gzip", 1000), ("zstd", 2000)] {
            let producer = producer(&address, &[("compression.type", codec)]);
            for n in 0..200 {
                let time = 1_700_000_000_000 + start + n * 3;
                let record = BaseRecord::<str, str>::to("t").partition(0).key("k").payload("v").timestamp(time);
                producer.send(record).map_err(|(error, _)| error).unwrap();
                expected.push((i64::try_from(expected.len()).unwrap(), time));
            }
            rdkafka::producer::Producer::flush(&producer, PATIENCE).unwrap();
        }
        assert_eq!(times(&address, "t", 600), expected);
        check_times(&address, "t", &expected);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Every time looked up gives the first record that is not older.
fn check_times(address: &str, topic: &str, records: &[(i64, i64)]) {
    let consumer: BaseConsumer = config(address, &[("group.id", "times")]).create().unwrap();
    let last = records.last().unwrap().1;
    let wanted = records.iter().step_by(97).flat_map(|(_, time)| [time - 1, *time, time + 1]);
    for time in wanted.chain([0, last]) {
        let first = records.iter().find(|(_, other)| *other >= time);
        let expected = first.map_or(Offset::End, |(offset, _)| Offset::Offset(*offset));
        assert_eq!(offset_at(&consumer, topic, time), expected, "at {time}");
    }
    assert_eq!(offset_at(&consumer, topic, last + 1), Offset::End);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_stay_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[("segment.bytes", "1024")]).await;
    let client = address.clone();
    tokio::task::spawn_blocking(move || {
        for round in 0..10 {
            send_all(&producer(&client, &[]), "t", 0, numbered(&format!("{round}"), 10));
        }
    })
    .await
    .unwrap();
    admin(&address).delete_records(&one("t", Offset::Offset(42)), &AdminOptions::new()).await.unwrap();
    broker.shutdown().await;

    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    tokio::task::spawn_blocking(move || {
        let records = read_committed(&address, "t", 1);
        assert_eq!((records.len(), records[0].1), (58, 42));
        let consumer: BaseConsumer = config(&address, &[("group.id", "g")]).create().unwrap();
        assert_eq!(consumer.fetch_watermarks("t", 0, PATIENCE).unwrap(), (42, 100));
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_deletes_whole_old_segments() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[("segment.bytes", "1024"), ("retention.bytes", "4096")]).await;
    create_topic(
        &address,
        "kept",
        1,
        &[("segment.bytes", "1024"), ("retention.bytes", "4096"), ("cleanup.policy", "compact")],
    )
    .await;
    tokio::task::spawn_blocking(move || {
        let producer = producer(&address, &[("linger.ms", "0")]);
        for round in 0..25 {
            send_all(&producer, "t", 0, numbered(&format!("{round}"), 40));
            send_all(&producer, "kept", 0, numbered(&format!("{round}"), 40));
        }
        let deadline = Instant::now() + PATIENCE;
        let consumer: BaseConsumer = config(&address, &[("group.id", "g")]).create().unwrap();
        while consumer.fetch_watermarks("t", 0, PATIENCE).unwrap().0 == 0 {
            assert!(Instant::now() < deadline, "nothing deleted");
            std::thread::sleep(Duration::from_millis(200));
        }
        let (low, high) = consumer.fetch_watermarks("t", 0, PATIENCE).unwrap();
        assert!(low < high && high == 1000, "{low}..{high}");
        let records = read_committed(&address, "t", 1);
        assert_eq!(records.len(), usize::try_from(high - low).unwrap());
        assert_eq!(read_committed(&address, "kept", 1).len(), 1000);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_changed_and_deleted_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[("retention.ms", "1234567")]).await;
    create_topic(&address, "gone", 2, &[]).await;
    let (client, options) = (admin(&address), AdminOptions::new());
    let results = client.create_partitions(&[NewPartitions::new("t", 3)], &options).await.unwrap();
    assert_eq!(results, [Ok("t".to_owned())]);
    let change = AlterConfig {
        specifier: ResourceSpecifier::Topic("t"),
        entries: HashMap::from([("retention.ms", "7654321"), ("message.timestamp.type", "LogAppendTime")]),
    };
    assert!(client.alter_configs([&change], &options).await.unwrap()[0].is_ok());
    let wrong =
        AlterConfig { specifier: ResourceSpecifier::Topic("t"), entries: HashMap::from([("retention.ms", "soon")]) };
    // The client does not tell of the refusal; the value below does.
    client.alter_configs([&wrong], &options).await.unwrap();
    assert!(client.delete_topics(&["gone"], &options).await.unwrap()[0].is_ok());
    broker.shutdown().await;

    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    let client = admin(&address);
    let described = client.describe_configs([&ResourceSpecifier::Topic("t")], &options).await.unwrap();
    let entries = described[0].as_ref().unwrap().entry_map();
    assert_eq!(entries["retention.ms"].value.as_deref(), Some("7654321"));
    assert_eq!(entries["retention.ms"].source, ConfigSource::DynamicTopic);
    assert_eq!(entries["cleanup.policy"].value.as_deref(), Some("delete"));
    assert_eq!(entries["cleanup.policy"].source, ConfigSource::Default);
    let topics = tokio::task::block_in_place(|| {
        let consumer: BaseConsumer = config(&address, &[]).create().unwrap();
        let metadata = consumer.fetch_metadata(None, PATIENCE);
        let metadata = metadata.unwrap();
        let topic = |topic: &MetadataTopic| (topic.name().to_owned(), topic.partitions().len());
        metadata.topics().iter().map(topic).collect::<Vec<_>>()
    });
    assert_eq!(topics, [("t".to_owned(), 3)]);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_be_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let free = "127.0.0.1:0".parse().unwrap();
    let locked = Broker::start(BrokerSettings::new(folder.path(), free)).await.unwrap_err();
    assert!(matches!(locked, BrokerError::Locked { .. }), "{locked}");
    let other = tempfile::tempdir().unwrap();
    let taken = Broker::start(BrokerSettings::new(other.path(), broker.address())).await.unwrap_err();
    assert!(matches!(taken, BrokerError::Listen { .. }), "{taken}");
    std::fs::write(other.path().join("format"), r#"{"format": 2, "else": []}"#).unwrap();
    let newer = Broker::start(BrokerSettings::new(other.path(), free)).await.unwrap_err();
    assert!(matches!(newer, BrokerError::NewerFormat { found: 2, .. }), "{newer}");
    let unusable = Broker::start(BrokerSettings::new("/proc/none", free)).await.unwrap_err();
    assert!(matches!(unusable, BrokerError::Storage { .. }), "{unusable}");
    broker.shutdown().await;
    start(folder.path()).await.shutdown().await;
}

/// Sends bytes as one request and returns whether the broker closed the connection without an answer.
async fn is_closed(address: std::net::SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    read.is_ok() && answer.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = BrokerSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
    settings.limits.connections = 2;
    settings.limits.request_bytes = 1000;
    settings.limits.idle_timeout = Duration::from_millis(500);
    let broker = Broker::start(settings).await.unwrap();
    let counter = |name: &str| broker.metrics().iter().find(|(other, _)| *other == name).unwrap().1;
    let held = (
        tokio::net::TcpStream::connect(broker.address()).await.unwrap(),
        tokio::net::TcpStream::connect(broker.address()).await.unwrap(),
    );
    assert!(is_closed(broker.address(), &[]).await);
    assert_eq!(counter("connections_refused"), 1);
    // Those that are silent make room again.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(counter("connections_timed_out"), 2);
    assert!(is_closed(broker.address(), &1001_i32.to_be_bytes()).await);
    assert_eq!(counter("requests_too_large"), 1);
    drop(held);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_close_the_connection_only() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address();
    let request = |key: i16, version: i16, body: &[u8]| {
        let mut bytes = Vec::new();
        bytes.extend(key.to_be_bytes());
        bytes.extend(version.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
        bytes.extend(body);
        let mut framed = i32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(bytes);
        framed
    };
    let hostile = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 64],
        i32::MAX.to_be_bytes().to_vec(),
        vec![0, 0, 0, 1, 0],
        vec![0, 0, 0, 0],
        // Two thousand million topics.
        request(3, 1, &i32::MAX.to_be_bytes()),
        request(3, 9, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        request(0, 3, &[0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]),
        request(11, 5, &[0, 1, b'g', 0x7f]),
        request(999, 0, &[]),
        request(1, 99, &[]),
    ];
    for bytes in &hostile {
        assert!(is_closed(address, bytes).await, "{bytes:?}");
    }
    // Noise of every length in each API.
    let mut seed = 7_u32;
    for key in 0..70 {
        for length in 0..40 {
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    u8::try_from(seed >> 24).unwrap()
                })
                .collect();
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(&request(key, i16::from(noise.first().copied().unwrap_or(0) % 5), &noise)).await.ok();
        }
    }
    create_topic(&address.to_string(), "t", 1, &[]).await;
    let address = address.to_string();
    tokio::task::spawn_blocking(move || {
        send_all(&producer(&address, &[]), "t", 0, numbered("a", 10));
        assert_eq!(read_committed(&address, "t", 1).len(), 10);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_listed_in_every_version() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    create_topic(&broker.address().to_string(), "t", 1, &[]).await;
    let mut stream = tokio::net::TcpStream::connect(broker.address()).await.unwrap();
    for version in 1_u8..=5 {
        // ListOffsets: replica, isolation level, one topic, one partition, leader epoch, timestamp (the end).
        let mut request = vec![0, 2, 0, version, 0, 0, 0, version, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        request.extend(vec![0; usize::from(version >= 2)]);
        request.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0]);
        request.extend(vec![0xff; if version >= 4 { 12 } else { 8 }]);
        stream.write_i32(i32::try_from(request.len()).unwrap()).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let length = usize::try_from(stream.read_i32().await.unwrap()).unwrap();
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..4], [0, 0, 0, version]);
        // After the throttle time, the topic and the partition comes the error code.
        let partition = 4 + if version >= 2 { 4 } else { 0 } + 4 + 3 + 4;
        assert_eq!(answer[partition..partition + 6], [0; 6], "version {version}: {answer:?}");
    }
    broker.shutdown().await;
}
