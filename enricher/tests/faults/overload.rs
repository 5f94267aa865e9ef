//! Agents that send three times what an enricher takes: what it cannot take stays in Kafka, its memory does not grow, and once
//! there is less to do it works all of it off, exactly.

use crate::processes::{Enricher, Throttle};
use crate::world::{World, now, number};
use crate::{ALONE, USUAL};
use std::time::{Duration, Instant};
use weir_flow::Millis;

/// The most memory that a process may have with a limit of 64 MiB for each stage's samples, kB: thirteen times that (`docs/operate.md`).
const BOUND: u64 = 832 << 10;

/// Thousandths of the time for which the process runs while it is found out how much it takes.
const TRIAL: u32 = 200;

/// After how many looks, of which there are five a second, it is seen whether the process takes as much as it is to.
const ADJUST: usize = 15;

/// How many windows a process works off in a second, thousandths of one; its backlog is longer than that takes.
async fn pace(world: &mut World, length: Duration) -> u32 {
    let (begun, first) = (Instant::now(), world.oracle.newest);
    world.run(length).await;
    let windows = 1_000 * (world.oracle.newest - first) / world.traffic.settings.window;
    u32::try_from(1_000 * windows / i64::try_from(begun.elapsed().as_millis()).unwrap()).unwrap()
}

/// A quarter more of the time where less was written than was to be, a fifth less where it was more.
fn adjusted(share: u32, wrote: Millis, third: Millis) -> u32 {
    let other = if wrote < third * 4 / 5 {
        share * 5 / 4 + 1
    } else if wrote > third * 6 / 5 {
        share * 4 / 5
    } else {
        share
    };
    other.clamp(1, 500)
}

fn behind(world: &World) -> Millis {
    now() - world.oracle.newest
}

#[tokio::test(flavor = "multi_thread")]
async fn three_times_too_much_waits_in_kafka_and_is_worked_off_exactly() {
    let _alone = ALONE.lock().await;
    let length = Duration::from_secs(number("WEIR_TEST_FAULT_OVERLOAD", 12));
    let mut world = World::new("overload", 8, 1_500).await;
    world.start.memory = "64MiB";
    world.publish_past(if length < Duration::from_secs(60) { 60 } else { 240 }).await;
    let mut enricher = world.start.enricher("one");
    world.until_newer(1, USUAL).await;
    let trial = Throttle::new(&enricher, TRIAL);
    let taken = pace(&mut world, Duration::from_secs(3)).await.max(1);
    drop(trial);
    world.until_newer(now() - 3_000, USUAL).await;

    // Every second has one window, so that it is three times too much for who takes a third of a window in a second. A backlog is
    // worked off quicker than what comes: the first guess is half of that.
    let mut share = (TRIAL * 1_000 / (6 * taken)).clamp(1, 500);
    let mut throttle = Throttle::new(&enricher, share);

    let (begun, oldest, mut memory) = (Instant::now(), behind(&world), Vec::new());
    let first = world.oracle.newest;
    let offered = Millis::try_from(length.as_millis()).unwrap();
    // Until it is too much for so long: how much that is on this machine is found out meanwhile.
    let waits_long = |world: &World| behind(world) - oldest > offered / 3;
    while begun.elapsed() < length || (!waits_long(&world) && begun.elapsed() < length * 5) {
        world.run(Duration::from_millis(200)).await;
        memory.push(enricher.memory());
        // What a process takes in pieces of time is not what it takes at a stretch.
        if memory.len().is_multiple_of(ADJUST) {
            let third = Millis::try_from(begun.elapsed().as_millis()).unwrap() / 3;
            share = adjusted(share, world.oracle.newest - first, third);
            drop(throttle);
            throttle = Throttle::new(&enricher, share);
        }
    }
    let (waits, wrote) = (behind(&world), world.oracle.newest - first);
    drop(throttle);
    enricher.assert_running();

    let drain = Instant::now();
    world.until_newer(now() - 3_000, USUAL * 10).await;
    let drained = drain.elapsed();
    world.expect_exact(USUAL * 2).await;
    report(&world, &enricher, (length, share), (waits, wrote, drained), &memory);
    assert!(waits - oldest > offered / 3, "no overload: {waits} ms behind after {offered} ms");
}

fn report(
    world: &World,
    enricher: &Enricher,
    (length, share): (Duration, u32),
    (waits, wrote, drained): (Millis, Millis, Duration),
    memory: &[u64],
) {
    let samples = world.traffic.sent.samples;
    let most = |part: &[u64]| part.iter().max().copied().unwrap_or(0);
    let (half, all) = (memory.len() / 2, enricher.peak());
    let (before, after) = (most(&memory[..half]), most(&memory[half..]));
    eprintln!(
        "fault overload: {length:?} with {share} thousandths of the time at last, {wrote} ms of windows written, {waits} ms behind then, \
         worked off in {drained:?}; {samples} samples; at most {before} kB in the first half, {after} kB in the second, {all} kB \
         with the backlog worked off"
    );
    assert!(after < before + before / 4, "memory grows: {before} kB, then {after} kB");
    assert!(all < BOUND, "{all} kB");
}
