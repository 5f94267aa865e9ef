//! Metadata that is late, stands still, or is compacted: the enricher waits, says so, and then writes what it would have
//! written at once.

use super::*;

/// Ticks of one second from 100 000 on; a pod gives its address to another in the middle of them.
const TICKS: i64 = 60;
const FIRST: Millis = 100_000;
const CHANGE: Millis = 131_000;
/// Window and grace of the fixtures' settings.
const WINDOW: Millis = 5_000;
const GRACE: Millis = 2_000;

fn waits(world: &World) -> f64 {
    world.metrics.value("weir_enricher_metadata_waits_total", &[]).unwrap_or_default()
}

fn waits_by_condition(world: &World) -> bool {
    world.health.report().waiting_for.iter().any(|text| text.contains("waits for metadata"))
}

fn batches(world: &World) -> f64 {
    world.metrics.value("weir_enricher_batches_total", &[]).unwrap_or_default()
}

/// Traffic of one tick from both nodes.
async fn tick(world: &World, number: i64) {
    let (tick, sequence) = (FIRST + number * 1_000, u64::try_from(number).unwrap());
    world.raw(0, &batch("node-a", sequence, tick, vec![sample(100)])).await;
    world.raw(1, &batch("node-b", sequence, tick, vec![arriving(sample(100))])).await;
}

/// What is learnt at the change: db-1 ended, and db-2 has its address.
async fn change(world: &World) {
    let bound = Bound { earliest: CHANGE, latest: CHANGE, source: BoundSource::Status };
    let at = |message: Metadata, from, to| match message {
        Metadata::Revision(revision) => Metadata::Revision(Revision { valid_from: from, valid_to: to, ..revision }),
        heartbeat @ Metadata::Heartbeat(_) => heartbeat,
    };
    world.metadata(&at(a_pod("db-1", "10.0.0.2", "db", "node-b"), ALWAYS, Some(bound))).await;
    world.metadata(&at(a_pod("db-2", "10.0.0.2", "other", "node-b"), bound, None)).await;
}

/// Metadata of all times up to one, as it is written: the change when its time comes, then the heartbeat.
async fn metadata_to(world: &World, from: Millis, to: Millis) {
    if from < CHANGE && CHANGE <= to {
        change(world).await;
    }
    world.metadata(&heartbeat(to)).await;
}

/// Every batch is followed by its metadata at once.
async fn undisturbed() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let world = World::new(2, 2).await;
    let running = world.start("one");
    for number in 0..TICKS {
        tick(&world, number).await;
        metadata_to(&world, FIRST + number * 1_000, FIRST + (number + 1) * 1_000).await;
    }
    finish(&world).await;
    running.stop().await.unwrap();
    by_id(&world)
}

/// Closes every window that has traffic, and waits until each is written.
async fn finish(world: &World) {
    for partition in 0..2 {
        world.raw(partition, &batch("node-a", 90, 200_000, vec![])).await;
    }
    world.metadata(&heartbeat(FOR_EVER)).await;
    let windows = usize::try_from(TICKS * 1_000 / WINDOW).unwrap();
    let written =
        |world: &World| world.enriched().iter().map(|r| (r.window, r.level)).collect::<std::collections::BTreeSet<_>>();
    world.until("all windows at all levels", |world| written(world).len() == windows * 4).await;
    let samples = |world: &World| world.enriched().iter().filter(|r| r.level == 3).map(|r| r.samples).sum::<u64>();
    world.until("all samples", |world| samples(world) == u64::try_from(TICKS * 2).unwrap()).await;
}

/// Nothing that is written needs metadata beyond H.
fn assert_within(world: &World, complete_to: Millis) {
    for record in world.enriched() {
        assert!(record.window + WINDOW + GRACE <= complete_to, "window {} before H {complete_to}", record.window);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stall_every_record_is_as_if_there_had_been_none() {
    let expected = undisturbed().await;
    let named = |name: &str| {
        expected.values().any(|value| decode::<Enriched>(value).unwrap().responder.pod.as_deref() == Some(name))
    };
    assert!(named("db-1") && named("db-2"));
    let world = World::new(2, 2).await;
    let stalled = FIRST + WINDOW + GRACE;
    world.metadata(&heartbeat(stalled)).await;
    let running = world.start("one");
    for number in 0..TICKS {
        tick(&world, number).await;
    }
    // It polls on, writes what it may, and says that it waits.
    world.until("all batches read", |world| batches(world) >= 120.0).await;
    world.until("the first window", |world| !world.enriched().is_empty()).await;
    world.until("the alarm", waits_by_condition).await;
    assert_within(&world, stalled);
    assert!(!world.health.is_ready());
    assert_eq!(waits(&world), 1.0);
    let behind = world.metrics.value("weir_enricher_metadata_behind_milliseconds", &[]);
    assert_eq!(behind, Some(53_000.0), "160 000 was read, metadata is complete to 107 000");
    metadata_to(&world, stalled, FIRST + TICKS * 1_000).await;
    finish(&world).await;
    world.until("the end of the alarm", |world| world.health.is_ready()).await;
    running.stop().await.unwrap();
    assert!(by_id(&world) == expected, "byte by byte");
    assert_eq!(world.enriched().len(), expected.len(), "each record once");
    assert_eq!(world.metrics.value("weir_enricher_rebuilds_total", &[("stage", "1")]).unwrap_or_default(), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_is_half_a_minute_late_delays_and_changes_nothing() {
    let expected = undisturbed().await;
    let world = World::new(2, 2).await;
    let running = world.start("one");
    let mut complete_to = FIRST - 30_000;
    for number in 0..TICKS {
        tick(&world, number).await;
        let next = FIRST + (number + 1) * 1_000 - 30_000;
        assert_within(&world, complete_to);
        metadata_to(&world, complete_to, next).await;
        complete_to = next;
    }
    world.until("all batches read", |world| batches(world) >= 120.0).await;
    assert_within(&world, complete_to);
    metadata_to(&world, complete_to, FIRST + TICKS * 1_000).await;
    finish(&world).await;
    running.stop().await.unwrap();
    assert!(by_id(&world) == expected, "byte by byte");
}

/// Where nodes may tell late what happened on them, metadata is as far behind as they may be, and that is no alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_as_late_as_it_may_be_is_no_alarm() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FIRST + WINDOW + GRACE)).await;
    let (poll, metadata_alarm) = (Duration::from_millis(5), Duration::from_secs(60));
    let instance = Some("one".to_owned());
    let running = world.start_with(EnricherSettings { instance, poll, metadata_alarm, ..EnricherSettings::default() });
    for number in 0..TICKS {
        tick(&world, number).await;
    }
    world.until("all batches read", |world| batches(world) >= 120.0).await;
    let behind = |world: &World| world.metrics.value("weir_enricher_metadata_behind_milliseconds", &[]);
    world.until("53 s behind", |world| behind(world) == Some(53_000.0)).await;
    assert!(!waits_by_condition(&world));
    assert_eq!(waits(&world), 0.0);
    running.stop().await.unwrap();
}

/// Memory can be full long before metadata is half a minute behind; reading stops then, and so does event time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_paused_for_metadata_are_an_alarm() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(FIRST)).await;
    let running = world.start_with(EnricherSettings {
        instance: Some("one".to_owned()),
        poll: Duration::from_millis(5),
        memory_limit: 20_000,
        ..EnricherSettings::default()
    });
    for number in 0..10 {
        world
            .raw(0, &batch("node-a", number, FIRST + i64::try_from(number).unwrap() * 1_000, vec![sample(100); 20]))
            .await;
    }
    let paused = |world: &World| world.metrics.value("weir_enricher_partitions_paused", &[("stage", "1")]) == Some(1.0);
    world.until("paused", paused).await;
    world.until("the alarm", waits_by_condition).await;
    assert_eq!(waits(&world), 1.0);
    world.metadata(&heartbeat(FOR_EVER)).await;
    world.until("the end of the alarm", |world| world.health.is_ready() && !paused(world)).await;
    running.stop().await.unwrap();
}

/// Compaction may leave a heartbeat before revisions that it promised: nothing is joined before the end is reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_joined_before_the_metadata_topic_was_read_to_its_end() {
    let world = World::bare(1, 1).await;
    world.put(topics::SETTINGS, 0, "local/0", &Settings::from(&settings(1, 1))).await;
    world.raw(0, &batch("node-a", 0, FIRST, vec![sample(100)])).await;
    world.raw(0, &batch("node-a", 1, FIRST + 20_000, vec![])).await;
    world.metadata(&heartbeat(FIRST + 30_000)).await;
    for number in 0..3_000 {
        let name = format!("pod-{number}");
        world.metadata(&a_pod(&name, &format!("10.9.{}.{}", number / 250, number % 250), "other", "node-a")).await;
    }
    world.metadata(&a_pod("web-1", "10.0.0.1", "web", "node-a")).await;
    world.metadata(&a_pod("db-1", "10.0.0.2", "db", "node-b")).await;
    let running = world.start("one");
    world.until("records", |world| !world.enriched().is_empty()).await;
    running.stop().await.unwrap();
    for record in world.enriched() {
        assert_eq!(
            (record.initiator.workload.as_deref(), record.responder.workload.as_deref()),
            (Some("web"), Some("db"))
        );
    }
}
