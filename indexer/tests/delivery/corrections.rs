//! Corrections, unreadable records, and indices that have gone.

use crate::records::with;
use crate::world::{expected, on_engines};
use serde_json::json;
use std::time::{Duration, Instant};
use weir_indexer::document;
use weir_indexer::periods::Periods;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::horizon::Horizon;
use weir_schemas::topics;
use weir_stream::TopicSpec;

#[tokio::test]
async fn the_highest_correction_wins_in_any_order() {
    on_engines(|world| async move {
        let first = world.record(1);
        let corrected = with(&first, 1, 777, Kind::Upsert);
        let deleted = with(&world.record(2), 1, 0, Kind::Delete);
        // Partitions alternate, so corrections and originals of a record meet in one.
        world.produce_records(&[corrected.clone(), deleted, first, world.record(2)]).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[corrected]));
        assert!(world.count("weir_indexer_operations_total", &[("fate", "superseded")]) >= 1.0);
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_record_is_a_dead_letter_and_its_neighbours_are_stored() {
    on_engines(|world| async move {
        let records = [world.record(1), world.record(2)];
        let values = records.iter().map(|r| weir_schemas::encode(r).unwrap()).chain([b"junk".to_vec()]);
        world.produce(values).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        let dead = world.dead_letters().await;
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].topic.as_str(), dead[0].partition, dead[0].offset), (topics::ENRICHED, 0, 1));
        assert_eq!(dead[0].value.as_deref(), Some(b"junk".as_slice()));
        assert!(dead[0].cause.contains("Avro"), "{}", dead[0].cause);
    })
    .await;
}

#[tokio::test]
async fn an_index_that_is_deleted_is_made_anew() {
    on_engines(|world| async move {
        let indexer = world.run();
        world.produce_records(&[world.record(1)]).await;
        world.committed().await;
        world.delete_index().await;
        world.produce_records(&[world.record(2)]).await;
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[world.record(2)]));
    })
    .await;
}

/// A bulk of nothing but deletes makes no index either, which would have the write alias's name and no mapping of ours.
#[tokio::test]
async fn a_delete_for_an_index_that_has_gone_creates_none_of_its_own() {
    on_engines(|world| async move {
        let indexer = world.run();
        world.produce_records(&[world.record(1)]).await;
        world.committed().await;
        world.delete_index().await;
        let deleted = with(&world.record(2), 1, 0, Kind::Delete);
        world.produce_records(&[deleted]).await;
        world.committed().await;
        // It is made as ever, and whatever comes next finds it so.
        let first_again = with(&world.record(1), 2, 5, Kind::Upsert);
        world.produce_records(&[world.record(2), first_again.clone()]).await;
        world.committed().await;
        indexer.stop().await;
        let listed = world.direct.indices(&format!("{}*", world.index())).await.unwrap();
        let names: Vec<_> = listed.iter().map(|index| index.name.clone()).collect();
        assert_eq!(names, [world.index()]);
        assert_eq!(world.documents().await, expected(&[first_again]));
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}

/// What retention has deleted is not made anew by a record that comes late; what it has not is made on demand.
#[tokio::test]
async fn a_record_below_the_horizon_is_refused_and_counted_and_others_get_their_index() {
    on_engines(|world| async move {
        let before = (world.day + 1) * 86_400_000;
        let horizon = Horizon { kind: "flows".into(), level: 1, cluster: String::new(), before, index: None };
        world.log.ensure_topics(&[TopicSpec::new(topics::HORIZON, 1).with("cleanup.policy", "compact")]).await.unwrap();
        let indexer = world.run();
        world.produce_records(&[world.record(1)]).await;
        world.committed().await;
        assert_eq!(world.documents().await, expected(&[world.record(1)]));
        // As retention does it, while the indexer runs and knows the index: announced, deleted.
        world.produce_to(topics::HORIZON, weir_schemas::encode(&horizon).unwrap()).await;
        world.delete_index().await;
        let refused = || world.count("weir_indexer_operations_total", &[("fate", "below_horizon")]);
        let until = Instant::now() + Duration::from_secs(30);
        let mut sent = 0.0;
        while refused() < 1.0 {
            assert!(Instant::now() < until);
            world.produce_records(&[world.record(2)]).await;
            world.committed().await;
            sent += 1.0;
        }
        assert!(refused() <= sent);
        let summary = Enriched { level: 2, ..world.record(3) };
        world.produce_records(std::slice::from_ref(&summary)).await;
        world.committed().await;
        indexer.stop().await;
        let prepared = document::prepare(&summary, &Periods::default()).unwrap();
        assert_eq!(prepared.window / 86_400_000, world.day, "as old as what was refused");
        let index = prepared.index.to_string();
        world.direct.refresh(&index).await.unwrap();
        assert_eq!(world.direct.count(&index, &json!({"match_all": {}})).await.unwrap(), 1);
        world.direct.delete_index(&index).await.unwrap();
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}
