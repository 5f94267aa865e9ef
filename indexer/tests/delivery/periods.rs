//! Indices of an hour, and a change of the period.

use crate::records::with;
use crate::world::{World, bulks, items, on_broken_engines};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use weir_faults::{Fault, Plan};
use weir_flow::RecordSettings;
use weir_flow::settings::IndexPeriod;
use weir_schemas::enriched::{Kind, document_id};
use weir_schemas::settings::Settings;
use weir_schemas::topics;
use weir_stream::TopicSpec;

const HOUR: i64 = 3_600_000;

/// Every document of the world's day: index, id and `source.bytes`.
async fn all(world: &World) -> BTreeMap<(String, String), u64> {
    let pattern = format!("{}*", world.index());
    world.direct.refresh(&pattern).await.unwrap();
    let answer = world.direct.search(&pattern, &json!({"size": 10_000})).await.unwrap();
    let hits = answer["hits"]["hits"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let bytes = |hit: &serde_json::Value| hit["_source"]["source"]["bytes"].as_u64().unwrap();
    hits.map(|hit| ((text(&hit["_index"]), text(&hit["_id"])), bytes(hit))).collect()
}

/// From ten o'clock on indices are of an hour. Records of before and after are refused, read again after a crash and corrected, and
/// each stays one document in the index of its window.
#[tokio::test]
async fn a_change_of_the_period_leaves_each_record_in_one_index_through_retries_and_crashes() {
    let plan = Plan::new(41)
        .with(bulks(Fault::DropAnswer).share(0.2).at_most(3))
        .with(items(429, "es_rejected_execution_exception", 300).share(0.5).at_most(10));
    on_broken_engines(&plan, |mut world| async move {
        // In the future, because settings are dated ahead.
        world.day += 40_000;
        let change = world.day * 24 * HOUR + 10 * HOUR;
        let settings =
            RecordSettings { valid_from: change, index_period: IndexPeriod::Hour, ..RecordSettings::standard("test") };
        world.log.ensure_topics(&[TopicSpec::new(topics::SETTINGS, 1)]).await.unwrap();
        world.produce_to(topics::SETTINGS, weir_schemas::encode(&Settings::from(&settings)).unwrap()).await;
        let mut records: Vec<_> = (0..1_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        for round in 0..3 {
            let indexer = world.run();
            tokio::time::sleep(Duration::from_millis(100 + 100 * round)).await;
            indexer.kill().await;
        }
        // One of each side.
        for n in [30, 990] {
            records[n] = with(&records[n], 1, 5, Kind::Upsert);
            world.produce_records(&[records[n].clone()]).await;
        }
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        let index = |window: i64| match window < change {
            true => world.index(),
            false => format!("{}.{:02}", world.index(), window / HOUR % 24),
        };
        let expected: BTreeMap<_, _> =
            records.iter().map(|r| ((index(r.window), document_id(&r.id)), r.totals.forward_bytes)).collect();
        assert_eq!(expected.keys().map(|(index, _)| index).collect::<std::collections::BTreeSet<_>>().len(), 8);
        assert_eq!(all(&world).await, expected);
        assert!(world.dead_letters().await.is_empty());
        for index in world.direct.indices(&format!("{}*", world.index())).await.unwrap() {
            world.direct.delete_index(&index.name).await.unwrap();
        }
    })
    .await;
}
