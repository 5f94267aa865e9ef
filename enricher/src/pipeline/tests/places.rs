//! Where public addresses are, by the databases that the settings name.

use super::*;
use crate::stage1::Sample;
use std::path::PathBuf;
use weir_join::Geography;

/// A small database that `weir-join` keeps for tests: 8.8.8.0/24 is in the US, and of AS15169.
fn database() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/join/tests/places.mmdb"))
}

async fn world(geography: Vec<String>) -> World {
    let world = World::bare(1, 1).await;
    let record = Settings::from(&weir_flow::RecordSettings { geography, ..settings(1, 1) });
    world.put(topics::SETTINGS, 0, "local/0", &record).await;
    world.metadata(&a_pod("web-1", "10.0.0.1", "web", "node-a")).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let outward = Sample { destination: "8.8.8.8".parse().unwrap(), ..sample(100) };
    world.raw(0, &batch("node-a", 0, 100_000, vec![outward])).await;
    world.raw(0, &batch("node-a", 1, 112_000, vec![])).await;
    world
}

fn with(mmdb: Vec<PathBuf>) -> EnricherSettings {
    let poll = Duration::from_millis(5);
    EnricherSettings { instance: Some("one".to_owned()), poll, mmdb, ..EnricherSettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_address_has_the_place_that_the_named_database_knows() {
    let fingerprint = Geography::fingerprint(&std::fs::read(database()).unwrap());
    for (geography, country) in [(vec![fingerprint], Some("US")), (vec![], None)] {
        let world = world(geography).await;
        let running = world.start_with(with(vec![database()]));
        world.until("a window at four levels", |world| world.enriched().len() >= 4).await;
        running.stop().await.unwrap();
        for record in world.enriched() {
            let known = country.filter(|_| record.level <= 1);
            assert_eq!(record.responder.country.as_deref(), known, "level {}", record.level);
            assert_eq!(record.responder.as_number, known.map(|_| 15_169));
            assert_eq!((record.initiator.country.as_deref(), record.initiator.as_number), (None, None));
        }
    }
}

#[tokio::test]
async fn settings_that_name_another_database_stop_the_process() {
    let world = world(vec!["ab".repeat(32)]).await;
    let error = world.start_with(with(vec![database()])).stop().await.unwrap_err();
    assert!(format!("{error:#}").contains(&"ab".repeat(32)), "{error:#}");
    let missing = world.start_with(with(vec!["/nonexistent/places.mmdb".into()])).stop().await.unwrap_err();
    assert!(format!("{missing:#}").contains("--mmdb /nonexistent/places.mmdb"), "{missing:#}");
}
