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

/// Leaves of the metadata topic what compaction leaves: the last message of each key.
async fn compact_metadata(world: &World) {
    let mut last: BTreeMap<Vec<u8>, weir_stream::Record> = BTreeMap::new();
    for record in world.memory.all_records(topics::METADATA) {
        last.insert(record.key.as_ref().unwrap().to_vec(), record);
    }
    let mut kept: Vec<_> = last.into_values().collect();
    kept.sort_by_key(|record| record.offset);
    let partition = TopicPartition::new(topics::METADATA, 0);
    let end = world.log.log_end(&partition).await.unwrap();
    world.log.delete_records(&partition, end).await.unwrap();
    for record in kept {
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        world.send(topics::METADATA, 0, &key, record.value.unwrap().to_vec()).await;
    }
}

/// A log on which names can be had after 120 000 only, processed while that came about.
async fn known_half_way() -> World {
    let world = World::bare(1, 1).await;
    let record = Settings::from(&weir_flow::RecordSettings { late_bound: 30_000, ..settings(1, 1) });
    world.put(topics::SETTINGS, 0, "local/0", &record).await;
    let beat = |complete_to, cluster_known| {
        let proof = Proof::Closed;
        Metadata::Heartbeat(Heartbeat { cluster: CLUSTER.to_owned(), complete_to, proof, cluster_known })
    };
    world.metadata(&beat(FOR_EVER, false)).await;
    world.memory.set_time(113_000);
    let raw = async |sequence, tick, samples| world.raw(0, &batch("node-a", sequence, tick, samples)).await;
    raw(0, 100_000, vec![sample(100)]).await;
    raw(1, 112_000, vec![]).await;
    let running = world.start("one");
    world.until("a window without names", |world| world.enriched().len() >= 4).await;
    for (after, known) in [(NEVER, false), (120_000, true)] {
        let key = weir_schemas::metadata::source_key(CLUSTER, after);
        world.put(topics::METADATA, 0, &key, &beat(after, known)).await;
    }
    world.metadata(&beat(120_000, false)).await;
    let Metadata::Revision(pod) = a_pod("web-1", "10.0.0.1", "web", "node-a") else { unreachable!() };
    let valid_from = Bound { earliest: 120_001, latest: 120_001, source: BoundSource::Clipped };
    world.metadata(&Metadata::Revision(Revision { valid_from, ..pod })).await;
    world.metadata(&heartbeat(200_000)).await;
    // As if the announcement came long before the time itself.
    let complete = |world: &World| world.metrics.value("weir_enricher_metadata_complete_to_milliseconds", &[]);
    world.until("metadata is followed", |world| complete(world) == Some(200_000.0)).await;
    raw(2, 103_000, vec![sample(9)]).await;
    world.memory.set_time(127_000);
    for (sequence, tick) in [(3, 118_000), (4, 119_000), (5, 120_000), (6, 121_000), (7, 126_000)] {
        raw(sequence, tick, vec![sample(50)]).await;
    }
    world.memory.set_time(171_000);
    raw(8, 170_000, vec![]).await;
    world.until("records of five generations", |world| world.enriched().len() >= 20).await;
    running.stop().await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_gets_names_half_way_is_replayed_as_it_was() {
    let world = known_half_way().await;
    let known: BTreeMap<(Millis, Millis), (bool, bool)> = world
        .enriched()
        .iter()
        .filter(|record| record.level == 1)
        .map(|record| {
            let is_named = record.initiator.pod.is_some();
            ((record.window, record.generation), (record.cluster_known, is_named))
        })
        .collect();
    let expected = [
        ((100_000, 100_000), (false, false)),
        ((100_000, 110_000), (false, false)),
        ((115_000, 115_000), (false, false)),
        ((120_000, 120_000), (true, true)),
        ((125_000, 125_000), (true, true)),
    ];
    assert_eq!(known, BTreeMap::from(expected));
    let stands = by_id(&world);
    assert_eq!(bytes_of(&replayed(&world, &request(100_000, 129_999)).await.unwrap()), stands);
    compact_metadata(&world).await;
    assert_eq!(bytes_of(&replayed(&world, &request(100_000, 129_999)).await.unwrap()), stands, "months later");
}

#[tokio::test]
async fn a_cluster_without_settings_is_refused() {
    let world = World::bare(1, 1).await;
    let error = refused(&world, &request(100_000, 100_000)).await;
    assert!(error.contains("has no settings") && error.contains("weir init"), "{error}");
}
