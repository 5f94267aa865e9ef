//! An engine that refuses: what a busy one costs, and exactly what it can never take.
//!
//! Scaled down; `cargo xtask soak "refusals of the engine"` runs it whole.

use crate::program::number;
use crate::versions::make_without_template;
use crate::world::{World, bulks, items, on_broken_engines, on_engines};
use serde_json::json;
use std::time::Duration;
use weir_faults::{Fault, Plan};
use weir_indexer::IndexerSettings;
use weir_schemas::enriched::Enriched;

const LONG: Duration = Duration::from_secs(3_600);

/// Writes so many records and hands back how many bytes of bulk requests that took, and how often it waited.
async fn cost(world: &World, documents: u64) -> (f64, f64) {
    for from in (0..documents).step_by(5_000) {
        let records: Vec<_> = (from..documents.min(from + 5_000)).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
    }
    let settings = IndexerSettings { indexer_concurrency: 8, indexer_bulk_bytes: 32 << 10, ..World::settings() };
    let indexer = world.run_with(settings);
    world.committed_within(LONG).await;
    indexer.stop().await;
    assert_eq!(world.count_documents().await, documents);
    assert!(world.dead_letters().await.is_empty());
    let stored = world.count("weir_indexer_operations_total", &[("fate", "stored")]);
    assert_eq!(stored, documents as f64, "nothing that was stored is sent again");
    world.delete_index().await;
    let waits = world.count("weir_indexer_waits_total", &[("reason", "busy")]);
    (world.count("weir_indexer_bulk_bytes_total", &[]), waits)
}

/// Three of ten requests, or three of ten items, are refused as by a busy engine: of what is sent, at most half is sent in vain.
#[tokio::test]
async fn a_busy_engine_is_sent_at_most_half_as_much_again() {
    let documents = number("WEIR_TEST_REFUSALS", 1_000);
    // So few requests may be refused more often by chance.
    let most = if documents < 50_000 { 2.0 } else { 1.5 };
    let plans = [
        ("of requests", Plan::new(21).with(bulks(Fault::Status(429)).share(0.3))),
        ("of items", Plan::new(22).with(items(429, "es_rejected_execution_exception", 300))),
    ];
    for (of, plan) in plans {
        on_broken_engines(&plan, |world| async move {
            let (sent, waits) = cost(&world, documents).await;
            let calm = World::new(weir_stream::Log::memory(), &world.direct.hosts()[0], Plan::new(1)).await;
            let (least, _) = cost(&calm, documents).await;
            eprintln!(
                "refusals: 3 of 10 {of}, {documents} documents: {:.2} times the bytes, {waits} waits",
                sent / least
            );
            assert!(sent <= most * least, "{:.2} times the bytes", sent / least);
            assert!(waits >= 1.0);
        })
        .await;
    }
}

/// One document of a thousand can never be stored: exactly those are dead letters, all others are stored.
#[tokio::test]
async fn one_of_a_thousand_is_refused_and_exactly_those_are_dead_letters() {
    let documents = number("WEIR_TEST_REFUSALS", 4_000);
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        // What is named there is no number.
        mappings["properties"]["network"]["properties"]["community_id"] = json!({"type": "long"});
        make_without_template(&world, &json!({"settings": template["template"]["settings"], "mappings": mappings}))
            .await;
        let record = |n: u64| match n % 1_000 {
            500 => Enriched { community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".to_owned()), ..world.record(n) },
            _ => world.record(n),
        };
        for from in (0..documents).step_by(5_000) {
            let records: Vec<_> = (from..documents.min(from + 5_000)).map(record).collect();
            world.produce_records(&records).await;
        }
        let indexer = world.run();
        world.committed_within(LONG).await;
        indexer.stop().await;
        let dead = world.dead_letters().await;
        let mut refused: Vec<Enriched> =
            dead.iter().map(|letter| weir_schemas::decode(letter.value.as_ref().unwrap()).unwrap()).collect();
        refused.sort_by_key(|record| record.totals.forward_bytes);
        let expected: Vec<_> = (0..documents).filter(|n| n % 1_000 == 500).map(record).collect();
        assert_eq!(refused, expected);
        assert!(dead.iter().all(|letter| letter.cause.contains("community_id")), "{}", dead[0].cause);
        assert_eq!(world.count_documents().await, documents - documents / 1_000);
        eprintln!("refusals: {documents} documents, {} of them dead letters, each with its origin", dead.len());
        world.delete_index().await;
    })
    .await;
}
