//! Settings that change while enrichers run: each window has the settings of its generation, whoever processes it and when.

use super::*;
use weir_flow::settings::LEAD;
use weir_flow::{Level, RecordSettings};

/// The log's time at the start, and the first generation of other settings: as soon as can be.
const NOW: Millis = 1_000_000;
const CHANGE: Millis = NOW + LEAD;

/// Levels 0 to 3 become level 2.
fn other(valid_from: Millis) -> RecordSettings {
    let level = vec![Level::Two];
    RecordSettings { valid_from, levels_allowed: level.clone(), levels_denied: level, ..settings(2, 2) }
}

async fn change(world: &World, to: &RecordSettings) {
    world.put(topics::SETTINGS, 0, &format!("local/{}", to.valid_from), &Settings::from(to)).await;
}

/// Traffic of the last window before the change and of the first from it on, and batches that close both.
async fn traffic(world: &World) {
    world.memory.set_time(CHANGE + 20_000);
    for tick in [CHANGE - 3_000, CHANGE + 1_000, CHANGE + 15_000] {
        let sequence = u64::try_from(tick / 1_000).unwrap();
        world.raw(0, &batch("node-a", sequence, tick, vec![sample(100)])).await;
        world.raw(1, &batch("node-b", sequence, tick, vec![arriving(sample(100))])).await;
    }
}

/// (window, level) of all records.
fn levels(world: &World) -> Vec<(Millis, u8)> {
    let mut all: Vec<_> = world.enriched().iter().map(|record| (record.window, record.level)).collect();
    all.sort_unstable();
    all
}

fn followed(world: &World) -> Option<f64> {
    world.metrics.value("weir_enricher_settings", &[])
}

const BEFORE: Millis = CHANGE - 5_000;
const EXPECTED: [(Millis, u8); 5] = [(BEFORE, 0), (BEFORE, 1), (BEFORE, 2), (BEFORE, 3), (CHANGE, 2)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_has_the_settings_of_its_generation() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let metrics = [Metrics::new(), Metrics::new()];
    let all_follow = |count| metrics.iter().all(|of| of.value("weir_enricher_settings", &[]) == Some(count));
    let start = |instance, of: &Metrics| world.start_counting(World::settings(instance), of.clone());
    let (one, two) = (start("one", &metrics[0]), start("two", &metrics[1]));
    world.until("settings", |_| all_follow(1.0)).await;
    change(&world, &other(CHANGE)).await;
    world.until("other settings", |_| all_follow(2.0)).await;
    traffic(&world).await;
    world.until("both windows", |world| levels(world).len() >= EXPECTED.len()).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    assert_eq!(levels(&world), EXPECTED);

    // Who knows both from the start writes the same.
    let afterwards = World::new(2, 2).await;
    afterwards.metadata(&heartbeat(FOR_EVER)).await;
    change(&afterwards, &other(CHANGE)).await;
    traffic(&afterwards).await;
    let running = afterwards.start("one");
    afterwards.until("both windows", |world| levels(world).len() >= EXPECTED.len()).await;
    running.stop().await.unwrap();
    assert_eq!(by_id(&world), by_id(&afterwards));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_come_too_late_are_followed_by_nobody() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let running = world.start("one");
    world.until("settings", |world| followed(world) == Some(1.0)).await;
    change(&world, &other(CHANGE - 5_000)).await;
    let too_late = |world: &World| world.metrics.value("weir_enricher_settings_too_late", &[]);
    world.until("what is too late", |world| too_late(world) == Some(1.0)).await;
    traffic(&world).await;
    world.until("both windows", |world| levels(world).len() >= 8).await;
    running.stop().await.unwrap();
    assert_eq!(levels(&world), [BEFORE, CHANGE].map(|window| [0, 1, 2, 3].map(|level| (window, level))).concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_be_followed_end_the_process() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let running = world.start("one");
    world.until("settings", |world| followed(world) == Some(1.0)).await;
    change(&world, &RecordSettings { window: 10_000, ..other(CHANGE) }).await;
    let error = running.task.await.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("window changes at"), "{error:#}");
}
