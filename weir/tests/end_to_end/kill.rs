use crate::demo::assert_stored_equals_published;
use crate::harness::{Engines, Up};
use std::time::Duration;

/// Instants after the start at which to kill, spread by a fixed seed: before the first commit, and under traffic.
fn instants(count: u64) -> Vec<Duration> {
    let mut state = 0x5eed_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..count)
        .map(|n| Duration::from_millis(if n % 4 == 0 { 300 + next() % 2_500 } else { 3_000 + next() % 9_000 }))
        .collect()
}

#[test]
fn kill_9_at_any_instant_counts_nothing_twice_and_loses_nothing_published() {
    let kills = std::env::var("WEIR_TEST_KILLS").map_or(6, |n| n.parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    for (number, wait) in instants(kills).into_iter().enumerate() {
        let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
        std::thread::sleep(wait);
        eprintln!("kill {} after {} ms", number + 1, wait.as_millis());
        up.kill();
    }
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
    assert_stored_equals_published(&up, 2);
    assert_eq!(up.interrupt(), Some(0));
}
