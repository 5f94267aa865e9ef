//! Producing, consuming, times, topics.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/clients.rs"]
mod support;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_comes_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 2, &[]).await;
    tokio::task::spawn_blocking(move || {
        let mut expected = Vec::new();
        for codec in ["none", "gzip", "zstd"] {
            let producer = producer(&address, &[("compression.type", codec)]);
            let wanted = numbered(codec, 500);
            send_all(&producer, "t", 0, wanted.clone());
            expected.extend(wanted);
        }
        assert_eq!(values(&read_committed(&address, "t", 2)), expected);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_records_survive_a_restart_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address();
    create_topic(&address.to_string(), "t", 1, &[("segment.bytes", "20000")]).await;
    let first = tokio::task::spawn_blocking(move || {
        let producer = producer(&address.to_string(), &[("enable.idempotence", "true")]);
        send_all(&producer, "t", 0, numbered("a", 3000));
        producer
    })
    .await
    .unwrap();
    broker.shutdown().await;

    let mut settings = weir_embedded_broker::BrokerSettings::new(folder.path(), address);
    settings.default_partitions = 3;
    let broker = weir_embedded_broker::Broker::start(settings).await.unwrap();
    tokio::task::spawn_blocking(move || {
        // The same producer goes on with its next sequence number.
        send_all(&first, "t", 0, numbered("b", 100));
        let records = values(&read_committed(&address.to_string(), "t", 1));
        let expected: Vec<_> = numbered("a", 3000).into_iter().chain(numbered("b", 100)).collect();
        assert_eq!(records, expected);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_offsets_and_their_metadata_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[]).await;
    let group = [("group.id", "g"), ("enable.auto.commit", "false")];
    let client = address.clone();
    tokio::task::spawn_blocking(move || {
        send_all(&producer(&client, &[]), "t", 0, numbered("a", 10));
        let consumer: BaseConsumer = config(&client, &group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        let mut element = offsets.add_partition("t", 0);
        element.set_offset(Offset::Offset(7)).unwrap();
        element.set_metadata("v1;T=5;M=6");
        consumer.commit(&offsets, rdkafka::consumer::CommitMode::Sync).unwrap();
    })
    .await
    .unwrap();
    broker.shutdown().await;

    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config(&address, &group).create().unwrap();
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition("t", 0);
        let found = consumer.committed_offsets(wanted, PATIENCE).unwrap();
        let element = found.find_partition("t", 0).unwrap();
        assert_eq!(element.offset(), Offset::Offset(7));
        assert_eq!(element.metadata(), "v1;T=5;M=6");
    })
    .await
    .unwrap();
    broker.shutdown().await;
}
