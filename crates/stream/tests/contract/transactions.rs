//! Transactions: visibility, fencing, exactly once.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weir_stream::{ErrorKind, Event, NewRecord, OffsetAndMetadata, Start, TopicPartition};

use crate::environment::{Environment, LONG, SHORT, assigned, assigned_where, start, tp, value};

pub(crate) async fn an_open_transaction_is_invisible(environment: &Environment) {
    let topic = environment.topic("open", 1).await;
    environment.fill(&topic, 0, 1).await;
    let mut producer = environment.transactional("open").await;
    producer.begin().await.unwrap();
    producer.send(NewRecord::new(&*topic, "k", "later")).await.unwrap();
    environment.fill(&topic, 0, 1).await;
    // Committed readers end at the first record of an open transaction, also for what is behind it.
    let partition = tp(&topic, 0);
    let mut reader = environment.reader(&topic, Start::Beginning).await;
    assert_eq!(reader.read_to_end(LONG).await.unwrap().len(), 1);
    assert!(reader.next(SHORT).await.unwrap().is_empty());
    assert!(environment.log.log_end(&partition).await.unwrap() <= 2);
    producer.commit().await.unwrap();
    assert_eq!(environment.values(&topic).await.len(), 3);

    producer.begin().await.unwrap();
    producer.send(NewRecord::new(&*topic, "k", "never")).await.unwrap();
    producer.abort().await.unwrap();
    assert!(!environment.values(&topic).await.contains(&"never".to_owned()));
    // Aborting what is not open is harmless, and the producer goes on.
    producer.abort().await.unwrap();
    producer.begin().await.unwrap();
    producer.send(NewRecord::new(&*topic, "k", "again")).await.unwrap();
    producer.commit().await.unwrap();
    assert!(environment.values(&topic).await.contains(&"again".to_owned()));
}

pub(crate) async fn a_newer_producer_fences_the_older(environment: &Environment) {
    let topic = environment.topic("fence", 1).await;
    let mut older = environment.transactional("fence").await;
    older.begin().await.unwrap();
    older.send(NewRecord::new(&*topic, "k", "older")).await.unwrap();
    let mut newer = environment.transactional("fence").await;
    newer.begin().await.unwrap();
    newer.send(NewRecord::new(&*topic, "k", "newer")).await.unwrap();
    let refused = match older.send(NewRecord::new(&*topic, "k", "zombie")).await {
        Ok(()) => older.commit().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(refused.needs_rebuild(), "{refused:?}");
    newer.commit().await.unwrap();
    assert_eq!(environment.values(&topic).await, ["newer"]);
    assert!(older.begin().await.unwrap_err().needs_rebuild());
}

/// What an owner does between crashes: from committed positions, in transactions of a few records.
async fn work(environment: &Environment, input: &str, output: &str, crash_after: usize) -> bool {
    let mut consumer = environment.member("exactly-once", input, Some("worker"));
    let mut producer = environment.transactional("worker").await;
    let (partitions, metadata) = assigned(&mut consumer).await;
    start(&mut consumer, &partitions, 0).await;
    let mut sent = 0;
    while let Event::Records(records) = consumer.next(Duration::from_secs(2)).await.unwrap() {
        for few in records.chunks(7) {
            producer.begin().await.unwrap();
            let mut positions: BTreeMap<TopicPartition, OffsetAndMetadata> = BTreeMap::new();
            for record in few {
                let text = format!("{}/{}", record.partition, value(record));
                producer.send(NewRecord::new(output, "k", text)).await.unwrap();
                sent += 1;
                let metadata = format!("v1 T={}", record.offset);
                positions.insert(record.topic_partition(), OffsetAndMetadata::new(record.offset + 1, metadata));
            }
            let positions: Vec<_> = positions.into_iter().collect();
            producer.send_offsets(&positions, &metadata).await.unwrap();
            if sent >= crash_after {
                // Produced and not committed.
                consumer.close().await;
                return false;
            }
            producer.commit().await.unwrap();
        }
    }
    true
}

pub(crate) async fn consume_transform_produce_is_exactly_once_over_crashes(environment: &Environment) {
    let input = environment.topic("input", 2).await;
    let output = environment.topic("output", 1).await;
    for partition in 0..2 {
        environment.fill(&input, partition, 40).await;
    }
    let mut crashes = 0;
    while !work(environment, &input, &output, 25).await {
        crashes += 1;
        assert!(crashes < 20, "no progress over crashes");
    }
    assert!(crashes >= 3, "only {crashes} crashes");
    let mut values = environment.values(&output).await;
    let mut expected: Vec<String> =
        (0..2).flat_map(|partition| (0..40).map(move |number| format!("{partition}/{number}"))).collect();
    values.sort();
    expected.sort();
    assert_eq!(values, expected);
    let group = environment.name("exactly-once");
    let partitions = [tp(&input, 0), tp(&input, 1)];
    for (partition, committed) in environment.log.committed(&group, &partitions).await.unwrap() {
        let wanted = OffsetAndMetadata::new(40, "v1 T=39");
        assert_eq!(committed, Some(wanted), "{partition}");
    }
}

/// The owner dies while it waits for the answer of a commit.
pub(crate) async fn a_torn_commit_is_all_or_nothing(environment: &Environment) {
    let input = environment.topic("torn-input", 1).await;
    let output = environment.topic("torn-output", 2).await;
    environment.fill(&input, 0, 1).await;
    for round in 1..=4_i64 {
        let mut consumer = environment.member("torn", &input, Some("torn"));
        let (_, metadata) = assigned(&mut consumer).await;
        let mut producer = environment.transactional("torn").await;
        producer.begin().await.unwrap();
        for partition in 0..2 {
            let record = NewRecord::new(&*output, "k", format!("round {round}"));
            producer.send(record.to_partition(partition)).await.unwrap();
        }
        let position = OffsetAndMetadata::new(round, format!("round {round}"));
        let positions = [(tp(&input, 0), position)];
        producer.send_offsets(&positions, &metadata).await.unwrap();
        {
            let mut commit = pin!(producer.commit());
            let mut context = Context::from_waker(Waker::noop());
            let _: Poll<_> = commit.as_mut().poll(&mut context);
            tokio::time::sleep(Duration::from_millis(7) * u32::try_from(round).unwrap()).await;
        }
        drop(producer);
        consumer.close().await;

        // The successor's initialization settles it either way.
        drop(environment.transactional("torn").await);
        let group = environment.name("torn");
        let committed = environment.log.committed(&group, &[tp(&input, 0)]).await.unwrap();
        let applied = committed[0].1.as_ref().is_some_and(|c| c.offset == round);
        let values = environment.values(&output).await;
        let visible = values.iter().filter(|v| **v == format!("round {round}")).count();
        assert_eq!(visible, if applied { 2 } else { 0 }, "round {round}: {committed:?}");
    }
}

pub(crate) async fn a_member_of_an_older_generation_is_refused(environment: &Environment) {
    let input = environment.topic("generation", 2).await;
    let output = environment.topic("generation-output", 1).await;
    let mut first = environment.member("generation", &input, None);
    let (partitions, stale) = assigned(&mut first).await;
    start(&mut first, &partitions, 0).await;
    let mut producer = environment.transactional("generation").await;
    let mut second = environment.member("generation", &input, None);
    let both = tokio::join!(
        assigned_where(&mut first, |partitions| partitions.len() == 1),
        assigned_where(&mut second, |partitions| partitions.len() == 1),
    );
    let fresh = both.0.1;
    let positions = [(both.0.0[0].partition.clone(), OffsetAndMetadata::new(1, "x"))];

    producer.begin().await.unwrap();
    producer.send(NewRecord::new(&*output, "k", "stale")).await.unwrap();
    let refused = producer.send_offsets(&positions, &stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Abortable, "{refused}");
    producer.abort().await.unwrap();

    // The same producer, with the snapshot of the new assignment.
    producer.begin().await.unwrap();
    producer.send(NewRecord::new(&*output, "k", "fresh")).await.unwrap();
    producer.send_offsets(&positions, &fresh).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(environment.values(&output).await, ["fresh"]);
}

pub(crate) async fn positions_in_an_open_transaction_are_waited_for(environment: &Environment) {
    let input = environment.topic("unstable", 1).await;
    let mut first = environment.member("unstable", &input, Some("same"));
    let (_, metadata) = assigned(&mut first).await;
    let mut producer = environment.transactional("unstable").await;
    producer.begin().await.unwrap();
    producer.send(NewRecord::new(&*input, "k", "v")).await.unwrap();
    let positions = [(tp(&input, 0), OffsetAndMetadata::new(1, "pending"))];
    producer.send_offsets(&positions, &metadata).await.unwrap();
    first.close().await;

    let mut second = environment.member("unstable", &input, Some("same"));
    for _ in 0..3 {
        let event = second.next(SHORT).await.unwrap();
        assert!(matches!(event, Event::Idle), "{event:?}");
    }
    producer.commit().await.unwrap();
    let (partitions, _) = assigned(&mut second).await;
    assert_eq!(partitions[0].committed, Some(OffsetAndMetadata::new(1, "pending")));
}

pub(crate) async fn calls_out_of_order_are_refused(environment: &Environment) {
    let topic = environment.topic("order", 1).await;
    let mut producer = environment.transactional("order").await;
    let record = NewRecord::new(&*topic, "k", "v");
    let early = producer.send(record.clone()).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Invalid, "{early}");
    assert!(producer.commit().await.is_err());
    producer.begin().await.unwrap();
    assert!(producer.begin().await.is_err());
    let mut consumer = environment.member("order", &topic, None);
    let (_, metadata) = assigned(&mut consumer).await;
    // The client library would accept both in silence and do nothing.
    assert!(producer.send_offsets(&[], &metadata).await.is_err());
    let nowhere = [(tp(&topic, 0), OffsetAndMetadata::new(-1001, ""))];
    assert!(producer.send_offsets(&nowhere, &metadata).await.is_err());
    producer.send(record).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(environment.values(&topic).await, ["v"]);
}
