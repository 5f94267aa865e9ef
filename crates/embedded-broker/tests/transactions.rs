//! Transactions as librdkafka makes them.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/clients.rs"]
mod support;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use support::*;

const LONG: u32 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_committed_transactions_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 2, &[]).await;
    let client = address.clone();
    let expected = tokio::task::spawn_blocking(move || {
        let producer = transactional(&client, "tx", LONG).unwrap();
        let mut expected = Vec::new();
        for round in 0..6 {
            producer.begin_transaction().unwrap();
            let wanted = numbered(&format!("r{round}"), 50);
            send_all(&producer, "t", 0, wanted.clone());
            if round % 2 == 0 {
                producer.commit_transaction(PATIENCE).unwrap();
                expected.extend(wanted);
            } else {
                producer.abort_transaction(PATIENCE).unwrap();
            }
        }
        assert_eq!(values(&read_committed(&client, "t", 2)), expected);
        assert_eq!(read_all(&client, "t", 2, "read_uncommitted").len(), 300);
        expected
    })
    .await
    .unwrap();
    broker.shutdown().await;
    // What was aborted is known after a restart too.
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    tokio::task::spawn_blocking(move || assert_eq!(values(&read_committed(&address, "t", 2)), expected)).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_holds_readers_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[]).await;
    tokio::task::spawn_blocking(move || {
        let producer = transactional(&address, "tx", LONG).unwrap();
        producer.begin_transaction().unwrap();
        send_all(&producer, "t", 0, numbered("open", 5));
        send_all(&support::producer(&address, &[]), "t", 0, numbered("plain", 5));
        assert!(read_committed(&address, "t", 1).is_empty());
        producer.commit_transaction(PATIENCE).unwrap();
        let expected: Vec<_> = numbered("open", 5).into_iter().chain(numbered("plain", 5)).collect();
        assert_eq!(values(&read_committed(&address, "t", 1)), expected);
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_fences_the_old_producer_and_aborts_its_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[]).await;
    tokio::task::spawn_blocking(move || {
        let old = transactional(&address, "tx", LONG).unwrap();
        old.begin_transaction().unwrap();
        send_all(&old, "t", 0, numbered("old", 5));
        let new = transactional(&address, "tx", LONG).unwrap();
        let error = old.commit_transaction(PATIENCE).unwrap_err();
        let code = error.rdkafka_error_code();
        assert!(
            matches!(
                code,
                Some(
                    RDKafkaErrorCode::Fenced
                        | RDKafkaErrorCode::ProducerFenced
                        | RDKafkaErrorCode::InvalidProducerEpoch
                )
            ),
            "{error:?}"
        );
        new.begin_transaction().unwrap();
        send_all(&new, "t", 0, numbered("new", 5));
        new.commit_transaction(PATIENCE).unwrap();
        assert_eq!(values(&read_committed(&address, "t", 1)), numbered("new", 5));
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overdue_transaction_is_aborted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 1, &[]).await;
    tokio::task::spawn_blocking(move || {
        let producer = transactional(&address, "tx", 1500).unwrap();
        producer.begin_transaction().unwrap();
        send_all(&producer, "t", 0, numbered("late", 5));
        send_all(&support::producer(&address, &[]), "t", 0, numbered("plain", 5));
        let deadline = Instant::now() + PATIENCE;
        while values(&read_committed(&address, "t", 1)) != numbered("plain", 5) {
            assert!(Instant::now() < deadline, "readers are still held");
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(producer.commit_transaction(PATIENCE).is_err());
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

fn offsets(offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition("in", 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(metadata);
    list
}

/// Joins a group and waits for the only partition.
fn join(address: &str, instance: &str) -> BaseConsumer {
    let consumer: BaseConsumer = config(
        address,
        &[
            ("group.id", "g"),
            ("group.instance.id", instance),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("session.timeout.ms", "6000"),
        ],
    )
    .create()
    .unwrap();
    consumer.subscribe(&["in"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while consumer.assignment().unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "no assignment");
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(50)) {
            panic!("{error}");
        }
    }
    consumer
}

fn committed(address: &str) -> Result<(Offset, String), rdkafka::error::KafkaError> {
    let consumer: BaseConsumer =
        config(address, &[("group.id", "g"), ("isolation.level", "read_committed")]).create().unwrap();
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition("in", 0);
    let found = consumer.committed_offsets(wanted, Duration::from_secs(3))?;
    let element = found.find_partition("in", 0).unwrap();
    element.error()?;
    Ok((element.offset(), element.metadata().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_committed_with_the_transaction_and_only_by_members() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "in", 1, &[]).await;
    create_topic(&address, "out", 1, &[]).await;
    let client = address.clone();
    tokio::task::spawn_blocking(move || {
        let address = client;
        let consumer = join(&address, "i1");
        let member = consumer.group_metadata().unwrap();
        let producer = transactional(&address, "tx", LONG).unwrap();

        producer.begin_transaction().unwrap();
        send_all(&producer, "out", 0, numbered("a", 3));
        producer.send_offsets_to_transaction(&offsets(3, "v1;T=1"), &member, PATIENCE).unwrap();
        // Not stable before the end of the transaction: librdkafka asks again until its time is up.
        assert!(committed(&address).is_err());
        producer.commit_transaction(PATIENCE).unwrap();
        assert_eq!(committed(&address).unwrap(), (Offset::Offset(3), "v1;T=1".to_owned()));

        producer.begin_transaction().unwrap();
        producer.send_offsets_to_transaction(&offsets(9, "never"), &member, PATIENCE).unwrap();
        producer.abort_transaction(PATIENCE).unwrap();
        assert_eq!(committed(&address).unwrap().0, Offset::Offset(3));

        // A process that took over the instance fences the old member.
        let _successor = join(&address, "i1");
        producer.begin_transaction().unwrap();
        let refused = producer.send_offsets_to_transaction(&offsets(9, "zombie"), &member, PATIENCE);
        assert!(refused.is_err());
        producer.abort_transaction(PATIENCE).unwrap();

        // Nor may somebody commit who is no member while there are members.
        let stranger: BaseConsumer = config(&address, &[("group.id", "g")]).create().unwrap();
        assert!(stranger.commit(&offsets(9, "stranger"), CommitMode::Sync).is_err());
        producer.begin_transaction().unwrap();
        let anonymous = stranger.group_metadata().unwrap();
        assert!(producer.send_offsets_to_transaction(&offsets(9, "stranger"), &anonymous, PATIENCE).is_err());
        producer.abort_transaction(PATIENCE).unwrap();
        assert_eq!(committed(&address).unwrap(), (Offset::Offset(3), "v1;T=1".to_owned()));
    })
    .await
    .unwrap();
    broker.shutdown().await;
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    let found = tokio::task::spawn_blocking(move || committed(&address).unwrap()).await.unwrap();
    assert_eq!(found, (Offset::Offset(3), "v1;T=1".to_owned()));
    broker.shutdown().await;
}
