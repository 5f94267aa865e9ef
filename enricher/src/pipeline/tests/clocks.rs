//! Partitions of their own for nodes whose clocks are wrong, and for what cannot be read: no other partition waits for them.

use super::*;

/// When everything is appended, ms since the epoch.
const NOW: Millis = 10_000_000;

/// Partition 0 has a node whose clock is right, partition 1 only what `other` says, again and again: the windows of
/// partition 0 become records all the same.
async fn closes_beside(other: impl Fn(u64) -> Vec<u8>) {
    let world = World::new(2, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let raw = topics::raw(CLUSTER);
    let running = world.start("one");
    let begun = Instant::now();
    for number in 0.. {
        world.memory.set_time(NOW);
        world.send(&raw, 1, "node-b", other(number)).await;
        if number == 1 {
            world.put(&raw, 0, "node-a", &batch("node-a", 0, NOW - 10_000, vec![sample(100)])).await;
            world.put(&raw, 0, "node-a", &batch("node-a", 1, NOW - 1_000, vec![])).await;
        }
        if world.enriched().iter().any(|record| record.window == NOW - 10_000) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the other partition holds all");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.metrics.value("weir_enricher_heartbeats_total", &[]) >= Some(1.0));
    running.stop().await.unwrap();
}

/// A batch with a sample of the tick that a clock shows.
fn at(number: u64, clock: Millis) -> Vec<u8> {
    let tick = clock + i64::try_from(number).unwrap() * 50 / 1_000 * 1_000;
    encode(&batch("node-b", number, tick, vec![arriving(sample(100))])).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_and_a_half_behind_delays_nobody_else() {
    closes_beside(|number| at(number, NOW - 5_400_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_1970_delays_nobody_else() {
    closes_beside(|number| at(number, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_delays_nobody_else() {
    closes_beside(|_| b"no batch".to_vec()).await;
}
