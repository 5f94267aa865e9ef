//! Members of groups.

use std::time::{Duration, Instant};

use weir_stream::{ErrorKind, Event, GroupSettings, Log, OffsetAndMetadata};

use crate::environment::{Environment, LONG, SHORT, assigned, assigned_where, quiet, start, take, tp, value};

pub(crate) async fn committed_metadata_comes_back(environment: &Environment) {
    let topic = environment.topic("metadata", 2).await;
    environment.fill(&topic, 0, 5).await;
    let group = environment.name("metadata");
    let mut first = environment.member("metadata", &topic, None);
    let (partitions, _) = assigned(&mut first).await;
    assert!(partitions.iter().all(|assigned| assigned.committed.is_none()));
    start(&mut first, &partitions, 0).await;
    take(&mut first, 5).await;
    let text = "1 T=1700000000 M=1700000005 é";
    let position = OffsetAndMetadata::new(3, text);
    let commit = [(tp(&topic, 0), position.clone())];
    first.commit(&commit).await.unwrap();
    first.close().await;

    let mut second = environment.member("metadata", &topic, None);
    let (partitions, _) = assigned(&mut second).await;
    assert_eq!(partitions[0].committed, Some(position.clone()));
    assert_eq!(partitions[1].committed, None);
    start(&mut second, &partitions, 0).await;
    assert_eq!(value(&take(&mut second, 2).await[0]), "3");
    let asked = environment.log.committed(&group, &[tp(&topic, 0), tp(&topic, 1)]).await;
    let asked: Vec<_> = asked.unwrap().into_iter().map(|(_, committed)| committed).collect();
    assert_eq!(asked, [Some(position), None]);
}

pub(crate) async fn a_rebalance_waits_for_the_owner(environment: &Environment) {
    let topic = environment.topic("rebalance", 4).await;
    let mut first = environment.member("rebalance", &topic, None);
    let (partitions, _) = assigned_where(&mut first, |p| p.len() == 4).await;
    start(&mut first, &partitions, 0).await;
    let mut second = environment.member("rebalance", &topic, None);
    let deadline = Instant::now() + LONG;
    let done = loop {
        assert!(Instant::now() < deadline, "no revocation in time");
        match first.next(Duration::from_millis(100)).await.unwrap() {
            Event::Revoked { partitions, done } => {
                assert_eq!(partitions.len(), 4, "eager: all of them");
                break done;
            }
            Event::Idle => {}
            other => panic!("a revocation expected, not {other:?}"),
        }
    };
    // The owner has not let go: nobody else gets anything.
    quiet(&mut second).await;
    quiet(&mut first).await;
    done.done();
    let ((mine, _), (others, _)) =
        tokio::join!(assigned_where(&mut first, |p| p.len() == 2), assigned_where(&mut second, |p| p.len() == 2),);
    let mut all: Vec<_> = mine.iter().chain(&others).map(|p| p.partition.partition).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);

    // The one that stays gets everything when the other leaves.
    start(&mut first, &mine, 0).await;
    second.close().await;
    assigned_where(&mut first, |p| p.len() == 4).await;
}

pub(crate) async fn a_static_member_that_restarts_keeps_its_partitions(environment: &Environment) {
    let topic = environment.topic("static", 2).await;
    environment.fill(&topic, 0, 1).await;
    environment.fill(&topic, 1, 1).await;
    let mut one = environment.member("static", &topic, Some("one"));
    let mut two = environment.member("static", &topic, Some("two"));
    let ((of_one, _), (of_two, _)) =
        tokio::join!(assigned_where(&mut one, |p| p.len() == 1), assigned_where(&mut two, |p| p.len() == 1),);
    start(&mut one, &of_one, 0).await;
    start(&mut two, &of_two, 0).await;
    take(&mut two, 1).await;
    one.close().await;
    quiet(&mut two).await;
    let mut one = environment.member("static", &topic, Some("one"));
    let (again, metadata) = assigned(&mut one).await;
    assert_eq!(again, of_one);
    start(&mut one, &again, 0).await;
    take(&mut one, 1).await;
    quiet(&mut two).await;

    // The snapshot of the new incarnation is good for a transaction.
    let mut producer = environment.transactional("static").await;
    producer.begin().await.unwrap();
    let positions = [(again[0].partition.clone(), OffsetAndMetadata::new(1, ""))];
    producer.send_offsets(&positions, &metadata).await.unwrap();
    producer.commit().await.unwrap();
}

pub(crate) async fn a_taken_over_instance_is_fenced(environment: &Environment) {
    let topic = environment.topic("taken-over", 1).await;
    let mut older = environment.member("taken-over", &topic, Some("same"));
    let (partitions, stale) = assigned(&mut older).await;
    start(&mut older, &partitions, 0).await;
    let mut newer = environment.member("taken-over", &topic, Some("same"));
    let (partitions, fresh) = assigned(&mut newer).await;
    start(&mut newer, &partitions, 0).await;

    let mut producer = environment.transactional("taken-over").await;
    let positions = [(tp(&topic, 0), OffsetAndMetadata::new(0, "x"))];
    producer.begin().await.unwrap();
    let refused = producer.send_offsets(&positions, &stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Abortable, "{refused}");
    producer.abort().await.unwrap();
    producer.begin().await.unwrap();
    producer.send_offsets(&positions, &fresh).await.unwrap();
    producer.commit().await.unwrap();

    let deadline = Instant::now() + LONG;
    let error = loop {
        assert!(Instant::now() < deadline, "the older one is not fenced");
        match older.next(Duration::from_millis(500)).await {
            Err(error) => break error,
            Ok(Event::Revoked { done, .. } | Event::Lost { done, .. }) => done.done(),
            Ok(Event::Idle) => {}
            Ok(other) => panic!("an error expected, not {other:?}"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

pub(crate) async fn a_position_below_the_log_is_reported(environment: &Environment) {
    let topic = environment.topic("expired", 1).await;
    environment.fill(&topic, 0, 10).await;
    let partition = tp(&topic, 0);
    let mut consumer = environment.member("expired", &topic, None);
    let (partitions, _) = assigned(&mut consumer).await;
    start(&mut consumer, &partitions, 0).await;
    let commit = [(partition.clone(), OffsetAndMetadata::new(2, "T"))];
    consumer.commit(&commit).await.unwrap();
    consumer.close().await;
    environment.log.delete_records(&partition, 5).await.unwrap();

    let mut consumer = environment.member("expired", &topic, None);
    let (partitions, _) = assigned(&mut consumer).await;
    assert_eq!(partitions[0].committed.as_ref().unwrap().offset, 2);
    assert_eq!(partitions[0].log_start, 5);
    // An owner that starts there all the same is told; nothing is skipped in silence.
    start(&mut consumer, &partitions, 0).await;
    let deadline = Instant::now() + LONG;
    loop {
        assert!(Instant::now() < deadline, "not reported in time");
        match consumer.next(Duration::from_secs(1)).await.unwrap() {
            Event::OutOfRange { position, log_start, .. } => {
                assert_eq!((position, log_start), (2, 5));
                break;
            }
            Event::Idle => {}
            other => panic!("out of range expected, not {other:?}"),
        }
    }
    consumer.seek(&partition, 5).await.unwrap();
    assert_eq!(take(&mut consumer, 5).await[0].offset, 5);
}

pub(crate) async fn nothing_is_delivered_before_start(environment: &Environment) {
    let topic = environment.topic("start", 1).await;
    environment.fill(&topic, 0, 3).await;
    let mut consumer = environment.member("start", &topic, None);
    let (_, _) = assigned(&mut consumer).await;
    quiet(&mut consumer).await;
    assert!(consumer.start(&[(tp(&topic, 7), 0)]).await.is_err());
    consumer.start(&[(tp(&topic, 0), 1)]).await.unwrap();
    assert_eq!(take(&mut consumer, 2).await[0].offset, 1);
}

pub(crate) async fn pause_holds_and_resume_continues(environment: &Environment) {
    let topic = environment.topic("pause", 2).await;
    let mut consumer = environment.member("pause", &topic, None);
    let (partitions, _) = assigned(&mut consumer).await;
    start(&mut consumer, &partitions, 0).await;
    let paused = [tp(&topic, 0)];
    consumer.pause(&paused).await.unwrap();
    quiet(&mut consumer).await;
    environment.fill(&topic, 0, 3).await;
    environment.fill(&topic, 1, 3).await;
    let records = take(&mut consumer, 3).await;
    assert!(records.iter().all(|record| record.partition == 1));
    quiet(&mut consumer).await;
    consumer.resume(&paused).await.unwrap();
    let offsets: Vec<i64> = take(&mut consumer, 3).await.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
}

pub(crate) async fn a_seek_leaves_earlier_records_behind(environment: &Environment) {
    let topic = environment.topic("seek", 1).await;
    environment.fill(&topic, 0, 5000).await;
    let mut consumer = environment.member("seek", &topic, None);
    let (partitions, _) = assigned(&mut consumer).await;
    start(&mut consumer, &partitions, 0).await;
    assert_eq!(take(&mut consumer, 1).await[0].offset, 0);
    // Time for batches to queue up before the seek.
    tokio::time::sleep(SHORT).await;
    for target in [10, 4990, 3] {
        consumer.seek(&tp(&topic, 0), target).await.unwrap();
        assert_eq!(take(&mut consumer, 1).await[0].offset, target);
    }
}

pub(crate) async fn a_member_without_partitions_has_a_snapshot(environment: &Environment) {
    let topic = environment.topic("spare", 1).await;
    let mut one = environment.member("spare", &topic, Some("a"));
    let (partitions, _) = assigned(&mut one).await;
    start(&mut one, &partitions, 0).await;
    let mut two = environment.member("spare", &topic, Some("b"));
    let ((of_one, _), (of_two, _)) =
        tokio::join!(assigned_where(&mut one, |_| true), assigned_where(&mut two, |_| true),);
    assert_eq!(of_one.len() + of_two.len(), 1);
    assert!(one.group_metadata().is_some() && two.group_metadata().is_some());
    start(&mut one, &of_one, 0).await;
    start(&mut two, &of_two, 0).await;
    environment.fill(&topic, 0, 1).await;
    let owner = if of_one.is_empty() { &mut two } else { &mut one };
    take(owner, 1).await;
}

pub(crate) async fn a_stale_members_commit_is_refused(environment: &Environment) {
    let topic = environment.topic("stale", 2).await;
    let mut first = environment.member("stale", &topic, Some("same"));
    let (partitions, _) = assigned(&mut first).await;
    start(&mut first, &partitions, 0).await;
    let position = [(tp(&topic, 0), OffsetAndMetadata::new(0, "mine"))];
    first.commit(&position).await.unwrap();
    let mut second = environment.member("stale", &topic, Some("same"));
    assigned(&mut second).await;
    let stale = [(tp(&topic, 0), OffsetAndMetadata::new(0, "stale"))];
    let refused = first.commit(&stale).await.unwrap_err();
    assert_ne!(refused.kind(), ErrorKind::Retriable, "{refused}");
    let group = environment.name("stale");
    let committed = environment.log.committed(&group, &[tp(&topic, 0)]).await.unwrap();
    assert_eq!(committed[0].1.as_ref().unwrap().metadata, "mine");
}

pub(crate) async fn an_owner_that_sleeps_loses_its_partitions(environment: &Environment) {
    let topic = environment.topic("sleeps", 1).await;
    environment.fill(&topic, 0, 2000).await;
    let group = environment.name("sleeps");
    let settings = GroupSettings {
        client_id: "sleeper".into(),
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(6),
        // More batches than may wait for the owner.
        max_batch_records: 10,
        ..GroupSettings::new(&group, [&topic])
    };
    let mut consumer = environment.log.group_consumer(&settings).unwrap();
    let (partitions, stale) = assigned(&mut consumer).await;
    start(&mut consumer, &partitions, 0).await;
    take(&mut consumer, 1).await;
    match &environment.log {
        Log::Memory(memory) => memory.expire_member(&group, "sleeper"),
        Log::Kafka(_) => tokio::time::sleep(Duration::from_secs(8)).await,
    }
    let deadline = Instant::now() + LONG;
    let done = loop {
        assert!(Instant::now() < deadline, "the loss is not told");
        match consumer.next(Duration::from_secs(1)).await.unwrap() {
            Event::Lost { partitions, done } => {
                assert_eq!(partitions, [tp(&topic, 0)]);
                break done;
            }
            // What was read before the loss.
            Event::Records(_) | Event::Idle => {}
            other => panic!("a loss expected, not {other:?}"),
        }
    };
    // Whatever the owner still held can no longer be committed.
    let mut producer = environment.transactional("sleeps").await;
    producer.begin().await.unwrap();
    let positions = [(tp(&topic, 0), OffsetAndMetadata::new(1, "zombie"))];
    let refused = producer.send_offsets(&positions, &stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Abortable, "{refused}");
    producer.abort().await.unwrap();
    done.done();
    let (again, _) = assigned(&mut consumer).await;
    assert_eq!(again[0].committed, None);
}
