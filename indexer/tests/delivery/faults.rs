//! Whatever goes wrong, every record is one document or one dead letter.

use crate::versions::make_without_template;
use crate::world::{World, bulks, embedded, expected, items, on_broken_engines, on_engines, url};
use serde_json::json;
use std::time::{Duration, Instant};
use weir_faults::{Fault, Plan};
use weir_indexer::periods::Periods;
use weir_indexer::{IndexerSettings, document};
use weir_schemas::enriched::{Enriched, document_id};
use weir_stream::Log;

/// Everything that can go wrong with a bulk, one after the other.
#[tokio::test]
async fn every_record_is_one_document_whatever_goes_wrong() {
    let faults = [
        items(429, "es_rejected_execution_exception", 500),
        bulks(Fault::Status(503)),
        bulks(Fault::Cut { within: 300 }),
        bulks(Fault::ShortAnswer),
        bulks(Fault::Status(429)),
        items(429, "cluster_block_exception", 1_000),
        items(403, "cluster_block_exception", 1_000),
        items(503, "unavailable_shards_exception", 700),
        bulks(Fault::Reset { within: 0 }),
        bulks(Fault::Reset { within: 500 }),
        bulks(Fault::DropAnswer),
        bulks(Fault::HalfClose),
        bulks(Fault::Throttle { bytes_per_second: 20_000 }),
        bulks(Fault::Delay { at_most: Duration::from_millis(200) }),
    ];
    let number = u64::try_from(faults.len()).unwrap();
    let plan = faults.into_iter().fold(Plan::new(5), |plan, rule| plan.with(rule.at_most(1)));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..3_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
        assert_eq!(world.proxy.counts().injected(), number, "{:?}", world.proxy.counts());
        assert!(world.count("weir_indexer_operations_total", &[("fate", "stored")]) >= 3_000.0);
    })
    .await;
}

/// A busy engine: a third of all items, a third of all requests. Only what failed is sent again, so nothing is stored twice.
#[tokio::test]
async fn only_what_a_busy_engine_refused_is_sent_again() {
    let busy = items(429, "es_rejected_execution_exception", 300).share(0.7);
    let plan = Plan::new(6).with(bulks(Fault::Status(429)).share(0.3)).with(busy);
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..1_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        // One that is refused nine times, as happens to one in a thousand, has waited for a minute.
        world.committed_within(Duration::from_secs(240)).await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
        assert_eq!(world.count("weir_indexer_operations_total", &[("fate", "stored")]), 1_000.0);
        assert!(world.count("weir_indexer_waits_total", &[("reason", "busy")]) >= 1.0);
        assert_eq!(world.count("weir_indexer_alarms", &[]), 0.0);
    })
    .await;
}

/// Some documents that the engine can never take: exactly those are dead letters, with their origin.
#[tokio::test]
async fn bad_items_are_dead_letters_and_their_neighbours_are_stored() {
    // So few that no thousand of them has more than ten by chance, which would be an alarm.
    let plan = Plan::new(7).with(items(400, "document_parsing_exception", 2));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..4_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        let dead = world.dead_letters().await;
        assert!((1..40).contains(&dead.len()), "{}", dead.len());
        let mut all = world.documents().await;
        for letter in &dead {
            assert!(letter.cause.starts_with("document_parsing_exception: "), "{}", letter.cause);
            let record: Enriched = weir_schemas::decode(letter.value.as_ref().unwrap()).unwrap();
            let number = usize::try_from(letter.offset).unwrap() * 2 + usize::try_from(letter.partition).unwrap();
            assert_eq!(record, records[number], "its origin");
            assert_eq!(all.insert(document_id(&record.id), record.totals.forward_bytes), None, "it was not stored");
        }
        assert_eq!(all, expected(&records));
    })
    .await;
}

#[tokio::test]
async fn killed_again_and_again_it_still_writes_each_record_once() {
    // The engine does its work, and the answer comes too late.
    let plan = Plan::new(8).with(bulks(Fault::Delay { at_most: Duration::from_millis(60) }));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..2_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        for round in 0..10 {
            let indexer = world.run();
            tokio::time::sleep(Duration::from_millis(10 + 15 * round)).await;
            indexer.kill().await;
        }
        world.proxy.heal();
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
    })
    .await;
}

#[tokio::test]
async fn too_many_unreadable_records_pause_and_alarm_without_filling_the_dead_letters() {
    let (engine, _data) = embedded().await;
    let world = World::new(Log::memory(), &url(&engine), Plan::new(1)).await;
    world.produce((0..200).map(|_| b"junk".to_vec())).await;
    let indexer = world.run();
    let until = Instant::now() + Duration::from_secs(30);
    while world.count("weir_indexer_alarms", &[]) < 1.0 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!world.health.is_ready());
    assert!(!world.is_committed().await);
    assert!(world.dead_letters().await.len() <= 10);
    indexer.kill().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn while_the_engine_is_away_nothing_is_committed_and_health_says_so() {
    let plan = Plan::new(2).with(bulks(Fault::Status(503)).at_most(4));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..100).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        let until = Instant::now() + Duration::from_secs(30);
        while world.count("weir_indexer_alarms", &[]) < 1.0 {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!world.health.is_ready());
        assert!(!world.is_committed().await);
        world.committed().await;
        assert!(world.health.is_ready(), "{:?}", world.health.report());
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}

/// One index cannot be written for long, the other can: reading goes on, but not without end, because all that is read would be
/// read again after a restart.
#[tokio::test]
async fn behind_a_bulk_that_stands_still_only_so_many_records_are_read() {
    const AHEAD: u64 = 1_000;
    // What was taken from the broker before comes all the same, a thousand at once: those within which the limit is reached, two
    // deliveries that wait and one that is handed over.
    const UNDER_WAY: f64 = 4_000.0;
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        // Of a version that this one cannot write into.
        mappings["_meta"]["version"] = json!(999);
        mappings["_meta"]["id_bits"] = json!(64);
        make_without_template(&world, &json!({"settings": template["template"]["settings"], "mappings": mappings}))
            .await;
        let first = world.record(0);
        world.produce_records(std::slice::from_ref(&first)).await;
        let indexer = world.run_with(IndexerSettings { indexer_ahead: AHEAD, ..World::settings() });
        let until = Instant::now() + Duration::from_secs(60);
        while world.count("weir_indexer_alarms", &[]) < 1.0 {
            assert!(Instant::now() < until, "{:?}", world.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let others: Vec<_> = (1..=6_000).map(|n| Enriched { level: 2, ..world.record(n) }).collect();
        world.produce_records(&others).await;
        while world.count("weir_indexer_held_back_total", &[("reason", "ahead")]) < 1.0 {
            assert!(Instant::now() < until, "{:?}", world.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Longer than what comes is only left where it is.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let ahead = world.count("weir_indexer_ahead_records", &[("dataset", "flows")]);
        // Once held back, it goes on when half of it is stored, as what the other partition holds may be.
        assert!((AHEAD as f64 / 2.0..AHEAD as f64 + UNDER_WAY).contains(&ahead), "{ahead}");
        assert!(!world.is_committed().await);
        world.delete_index().await;
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[first]));
        let index = document::prepare(&others[0], &Periods::default()).unwrap().index.to_string();
        world.direct.refresh(&index).await.unwrap();
        assert_eq!(world.direct.count(&index, &json!({"match_all": {}})).await.unwrap(), 6_000);
        assert_eq!(world.count("weir_indexer_operations_total", &[("fate", "stored")]), 6_001.0);
        assert!(world.dead_letters().await.is_empty());
        world.direct.delete_index(&index).await.unwrap();
    })
    .await;
}
