//! Replays of a log in memory: what they give, and what they refuse.

use super::*;
use crate::replay::{PlanError, Records, Replay, Request};
use weir_flow::Level;
use weir_stream::TopicPartition;

fn request(from: Millis, to: Millis) -> Request {
    Request {
        cluster: CLUSTER.to_owned(),
        from,
        to,
        open: false,
        before_history: false,
        mmdb: Vec::new(),
        as_far_as_known: false,
        level: None,
    }
}

async fn all(world: &World, request: &Request) -> anyhow::Result<Records> {
    let mut replay = Replay::prepare(request, &world.log, &Metrics::new()).await?;
    let mut records = Records::default();
    while let Some(more) = replay.next().await? {
        records.flows.extend(more.flows);
        records.dns.extend(more.dns);
    }
    Ok(records)
}

async fn replayed(world: &World, request: &Request) -> anyhow::Result<Vec<Enriched>> {
    all(world, request).await.map(|records| records.flows)
}

/// The text and the hint of a refusal.
async fn refused(world: &World, request: &Request) -> String {
    let error = replayed(world, request).await.unwrap_err();
    let hint = error.downcast_ref::<PlanError>().map(PlanError::hint);
    format!("{error:#}; hint: {}", hint.unwrap_or_default())
}

/// Two windows and a late sample of the first, then a batch of `end` on each partition, all of it processed.
async fn processed(late_bound: Millis, end: Millis) -> World {
    let world = World::bare(2, 2).await;
    let record = Settings::from(&weir_flow::RecordSettings { late_bound, ..settings(2, 2) });
    world.put(topics::SETTINGS, 0, "local/0", &record).await;
    world.metadata(&a_pod("web-1", "10.0.0.1", "web", "node-a")).await;
    world.metadata(&a_pod("db-1", "10.0.0.2", "db", "node-b")).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    // Samples are late by their own clock only: what the broker appended long after would be too late.
    world.memory.set_time(113_000);
    traffic(&world).await;
    world.raw(0, &batch("node-a", 50, 103_000, vec![sample(9)])).await;
    world.memory.set_time(end + 1_000);
    world.raw(0, &batch("node-a", 99, end, vec![])).await;
    world.raw(1, &batch("node-b", 99, end, vec![])).await;
    let running = world.start("one");
    let last = |world: &World| {
        let written = world.read::<Checkpoint>(&topics::checkpoint(CLUSTER));
        [0, 1].map(|p| written.iter().filter(|c| c.partition == p).map(|c| c.generation).max().unwrap_or(0))
    };
    world.until("all generations", |world| last(world).iter().all(|last| *last >= end - 10_000)).await;
    world.until("records", |world| world.enriched().len() >= 12).await;
    running.stop().await.unwrap();
    world
}

fn bytes_of(records: &[Enriched]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    records.iter().map(|record| (record.id.clone().into_bytes(), encode(record).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_gives_what_was_written_to_the_byte() {
    let world = processed(20_000, 160_000).await;
    let all = replayed(&world, &request(100_000, 119_999)).await.unwrap();
    assert_eq!(bytes_of(&all), by_id(&world));
    assert!(all.iter().any(|record| record.window == 100_000 && record.generation > record.window), "a late one");
    let second = replayed(&world, &request(105_000, 105_000)).await.unwrap();
    let expected: Vec<Enriched> = world.enriched().into_iter().filter(|record| record.window == 105_000).collect();
    assert_eq!(bytes_of(&second), bytes_of(&expected));
    assert!(!second.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_to_which_late_samples_may_come_are_replayed_only_on_request() {
    let world = processed(20_000, 120_000).await;
    let error = refused(&world, &request(100_000, 105_000)).await;
    assert!(error.contains("not complete before 1970-01-01T00:02:12Z"), "{error}");
    assert!(error.contains("--open"), "{error}");
    let open = Request { open: true, ..request(100_000, 105_000) };
    let records = replayed(&world, &open).await.unwrap();
    let expected: Vec<Enriched> = world.enriched().into_iter().filter(|record| record.window <= 105_000).collect();
    assert_eq!(bytes_of(&records), bytes_of(&expected));
    let never = Request { open: true, ..request(100_000, 125_000) };
    let error = refused(&world, &never).await;
    assert!(error.contains("not complete before"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_raw_log_is_a_named_loss() {
    let world = processed(20_000, 160_000).await;
    let partition = TopicPartition::new(topics::raw(CLUSTER), 1);
    world.log.delete_records(&partition, 3).await.unwrap();
    let error = refused(&world, &request(100_000, 100_000)).await;
    assert!(error.contains("flows.raw.v1[1]"), "{error}");
    assert!(error.contains("begins at offset 3"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_does_not_reach_the_windows_is_refused() {
    let world = processed(20_000, 160_000).await;
    world.metadata(&heartbeat(110_000)).await;
    let error = refused(&world, &request(100_000, 100_000)).await;
    assert!(error.contains("metadata is complete up to 1970-01-01T00:01:50Z only"), "{error}");
    let proved =
        Heartbeat { cluster: CLUSTER.to_owned(), complete_to: 104_000, proof: Proof::Probed, cluster_known: true };
    let first = weir_schemas::metadata::first_heartbeat_key(CLUSTER);
    world.put(topics::METADATA, 0, &first, &Metadata::Heartbeat(proved)).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let error = refused(&world, &request(100_000, 100_000)).await;
    assert!(error.contains("metadata is whole from 1970-01-01T00:01:44Z on only"), "{error}");
    let all_the_same = Request { before_history: true, ..request(100_000, 100_000) };
    assert!(!replayed(&world, &all_the_same).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_level_is_replayed_as_far_as_it_is_known() {
    let world = processed(20_000, 160_000).await;
    let far = |level| Request { as_far_as_known: true, level: Some(level), ..request(100_000, 900_000) };
    let one = replayed(&world, &far(Level::One)).await.unwrap();
    let stored = |last: Millis| -> Vec<Enriched> {
        world.enriched().into_iter().filter(|record| record.level == 1 && record.generation <= last).collect()
    };
    assert_eq!(bytes_of(&one), bytes_of(&stored(Millis::MAX)));
    let zero = replayed(&world, &far(Level::Zero)).await.unwrap();
    assert!(!zero.is_empty() && zero.iter().all(|record| record.level == 0), "the settings keep none of it");
    let sum = |records: &[Enriched]| records.iter().map(|record| record.totals.forward_bytes).sum::<u64>();
    assert_eq!(sum(&zero), sum(&one));
    // Metadata ends in the second window: its records would need more of it.
    world.metadata(&heartbeat(108_000)).await;
    let one = replayed(&world, &far(Level::One)).await.unwrap();
    assert_eq!(bytes_of(&one), bytes_of(&stored(100_000)));
    assert!(!one.is_empty() && one.len() < stored(Millis::MAX).len());
    let error = refused(&world, &Request { from: 120_000, ..far(Level::One) }).await;
    assert!(error.contains("metadata is complete up to 1970-01-01T00:01:48Z only"), "{error}");
    let replay = Replay::prepare(&far(Level::One), &world.log, &Metrics::new()).await.unwrap();
    let ends = [0, 1].map(|number| TopicPartition::new(topics::raw(CLUSTER), number));
    let mut messages = 0;
    for end in &ends {
        messages += u64::try_from(world.log.log_end(end).await.unwrap()).unwrap();
    }
    assert_eq!(replay.messages_to_read(), messages);
}

#[tokio::test]
async fn a_cluster_without_settings_is_refused() {
    let world = World::bare(1, 1).await;
    let error = refused(&world, &request(100_000, 100_000)).await;
    assert!(error.contains("has no settings") && error.contains("weir init"), "{error}");
}
