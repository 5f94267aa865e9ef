//! Enrichers as processes that are killed, stopped, moved about and flooded while agents whose every byte is known work on:
//! in the end the records are exactly what was sent, each written once, and the ledger adds up.
//!
//! On the embedded broker, on a real Kafka where `WEIR_TEST_KAFKA=host:port` is set, or on one of each test's own where
//! `WEIR_TEST_KAFKA_SCRIPT` names `xtask/engines/kafka/kafka.sh`. Scaled up by
//! `WEIR_TEST_FAULT_KILLS`, `WEIR_TEST_FAULT_STOPS`, `WEIR_TEST_FAULT_STORM` (s), `WEIR_TEST_FAULT_FLOOD` (ticks),
//! `WEIR_TEST_FAULT_SAME` (ticks), `WEIR_TEST_FAULT_POISON` (messages) and `WEIR_TEST_FAULT_OVERLOAD` (s).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod determinism;
mod oracle;
mod overload;
mod poison;
mod processes;
mod traffic;
mod world;

use processes::{Enricher, SESSION};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::sync::Mutex;
use weir_flow::Millis;
use world::{World, now, number};

/// One test at a time: each has several processes.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How long a window may take until its records are there when nothing is wrong, with room for a busy machine.
const USUAL: Duration = Duration::from_secs(60);

/// After a fault a new window's records must be there within the session time-out, ten seconds, and what a window takes.
fn recovery() -> Duration {
    Duration::from_secs(SESSION + 10 + number("WEIR_TEST_FAULT_SLACK", 20))
}

/// Kills enrichers with -9 at random instants, half of them while a transaction is open.
#[tokio::test(flavor = "multi_thread")]
async fn an_enricher_that_is_killed_loses_nothing_and_repeats_nothing() {
    let _alone = ALONE.lock().await;
    let mut world = World::new("kill", 6, 60).await;
    let mut random = SmallRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let mut enrichers = [world.start.enricher("one"), world.start.enricher("two")];
    world.until_newer(now(), USUAL).await;
    let mut slowest = Duration::ZERO;
    for kill in 1..=number("WEIR_TEST_FAULT_KILLS", 4) {
        let victim = random.random_range(0..2);
        let writing = kill % 2 == 0 && world.until_writing().await;
        if !writing {
            world.run(Duration::from_millis(random.random_range(0..2_500))).await;
        }
        let name = ["one", "two"][victim];
        drop(std::mem::replace(&mut enrichers[victim], world.start.enricher(name)));
        let took = world.until_newer(now(), recovery()).await;
        slowest = slowest.max(took);
        eprintln!("fault kill {kill}: {name}, {}, again after {took:?}", if writing { "writing" } else { "at random" });
    }
    enrichers.iter_mut().for_each(Enricher::assert_running);
    world.expect_exact(USUAL).await;
    eprintln!("fault kills: {} records, the slowest recovery {slowest:?}", world.oracle.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_enrichers_killed_at_once_lose_nothing_and_repeat_nothing() {
    let _alone = ALONE.lock().await;
    let mut world = World::new("all", 6, 60).await;
    let mut random = SmallRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let names = ["one", "two", "three"];
    for kill in 1..=number("WEIR_TEST_FAULT_KILLS", 4).div_ceil(4) + 1 {
        let enrichers = names.map(|name| world.start.enricher(name));
        let took = world.until_newer(now(), recovery().max(USUAL)).await;
        world.run(Duration::from_millis(random.random_range(0..2_500))).await;
        drop(enrichers);
        eprintln!("fault kill of all {kill}: the start before took {took:?}");
        world.run(Duration::from_millis(random.random_range(0..2_000))).await;
    }
    let _enrichers = names.map(|name| world.start.enricher(name));
    world.until_newer(now(), USUAL).await;
    world.expect_exact(USUAL).await;
}

/// Enrichers come and go every five seconds: 1, 4, 2, 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_rebalances_changes_nothing() {
    let _alone = ALONE.lock().await;
    let mut world = World::new("storm", 6, 60).await;
    let mut running: Vec<Enricher> = Vec::new();
    for round in 0..number("WEIR_TEST_FAULT_STORM", 20).div_ceil(5) {
        let wanted = [1, 4, 2, 3][usize::try_from(round).unwrap() % 4];
        while running.len() > wanted {
            running.pop().unwrap().end();
        }
        while running.len() < wanted {
            running.push(world.start.enricher(&format!("storm-{}", running.len())));
        }
        world.run(Duration::from_secs(5)).await;
        running.iter_mut().for_each(Enricher::assert_running);
    }
    world.until_newer(now(), USUAL).await;
    world.expect_exact(USUAL).await;
}

/// A process that is stopped for longer than its session and goes on with what it had begun is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_enricher_that_wakes_up_writes_nothing_twice() {
    let _alone = ALONE.lock().await;
    let mut world = World::new("zombie", 6, 60).await;
    let mut random = SmallRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let mut enrichers = [world.start.enricher("one"), world.start.enricher("two")];
    world.until_newer(now(), USUAL).await;
    for stop in 1..=number("WEIR_TEST_FAULT_STOPS", 2) {
        let victim = random.random_range(0..2);
        if !world.until_writing().await {
            world.run(Duration::from_millis(random.random_range(0..2_500))).await;
        }
        enrichers[victim].stop();
        let others = world.until_newer(now(), recovery()).await;
        world.run(Duration::from_secs(2 * SESSION).saturating_sub(others)).await;
        enrichers[victim].go_on();
        let took = world.until_newer(now(), recovery()).await;
        eprintln!("fault stop {stop}: the other went on after {others:?}; both after {took:?}");
        enrichers.iter_mut().for_each(Enricher::assert_running);
    }
    world.expect_exact(USUAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut world = World::new("broker", 6, 60).await;
    let mut random = SmallRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let mut enrichers = [world.start.enricher("one"), world.start.enricher("two")];
    world.until_newer(now(), USUAL).await;
    for kill in 1..=number("WEIR_TEST_FAULT_KILLS", 4).div_ceil(4) + 1 {
        if !world.until_writing().await {
            world.run(Duration::from_millis(random.random_range(0..2_500))).await;
        }
        if !world.kafka.kill_and_start() {
            eprintln!("skipped: WEIR_TEST_KAFKA_KILL is not set");
            return;
        }
        let took = world.until_newer_after_kill(now()).await;
        eprintln!("fault broker {kill}: again after {took:?}");
    }
    enrichers.iter_mut().for_each(Enricher::assert_running);
    world.expect_exact(USUAL).await;
}

/// Clocks an hour ahead, an hour and a half and exactly an hour behind, in 1970 and in 2100, and one that steps back half an
/// hour, each on a partition of its own; besides a partition of which nothing can be read. What such nodes say is counted where
/// the broker's clock allows it, or lost and counted; the others' windows are not touched, and wait for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_clocks_harm_nobody_else() {
    let _alone = ALONE.lock().await;
    let mut world = World::with("clocks", (12, 60, 13)).await;
    let mut enricher = world.start.enricher("one");
    let hour = 3_600_000;
    let begun = now();
    let skew = |node: usize| -> Millis {
        match node {
            6 => hour,
            7 => -hour * 3 / 2,
            8 => -begun / 500 * 500,
            9 => 4_102_444_800_000 - begun / 500 * 500,
            10 => -hour,
            11 if now() > begun + 3_000 => -hour / 2,
            _ => 0,
        }
    };
    // The others' windows are there while all this goes on, not only once it is silent.
    while now() < begun + 6_000 || world.oracle.newest < begun + 3_000 {
        assert!(now() < begun + 40_000, "windows wait for wrong clocks; {}", world.output());
        world.publish_skewed(skew).await;
        world.publish_bytes(12, b"no batch".to_vec()).await;
        world.oracle.read(Duration::from_millis(50)).await;
    }
    // What nodes 6, 9 and 11 said is counted in some window, what 7, 8 and 10 said is lost: both are in the ledger alone.
    let lost = world.oracle.expect_others(&world.traffic, USUAL).await;
    enricher.assert_running();
    assert!(lost.keys().eq(["too_late"]), "{lost:?}");
    assert!(lost["too_late"].samples > 0);
}

/// A backlog of more than the memory allows is worked off without more memory, and exactly.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_stays_in_kafka_and_is_counted_exactly() {
    let _alone = ALONE.lock().await;
    let mut world = World::new("flood", 8, 2_000).await;
    world.start.memory = "64MiB";
    let ticks = i64::try_from(number("WEIR_TEST_FAULT_FLOOD", 40)).unwrap();
    world.publish_past(ticks).await;
    let enrichers = [world.start.enricher("one"), world.start.enricher("two")];
    let begun = std::time::Instant::now();
    let mut most = 0;
    let newest = now() - 4_000;
    while world.oracle.newest < newest && begun.elapsed() < USUAL * 5 {
        world.run(Duration::from_millis(200)).await;
        most = most.max(enrichers.iter().map(Enricher::memory).max().unwrap());
    }
    world.expect_exact(USUAL * 5).await;
    let (samples, took) = (world.traffic.sent.samples, begun.elapsed());
    eprintln!("fault flood: {samples} samples in {took:?}, at most {most} kB a process");
    // Less than a process may have that works alone (`docs/operate.md`), however long the backlog is.
    assert!(most < 640 << 10, "{most} kB");
}
