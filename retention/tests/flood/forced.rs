//! Flood stage, forced by the watermarks: the indexer leaves records in Kafka, retention deletes all the same, and writing goes on by
//! itself once there is room.

use crate::records;
use crate::world::{World, free, index, watermarks};
use serde_json::Value;
use std::time::Duration;
use weir_elastic::{Elastic, ElasticSettings};
use weir_retention::{Amount, Applied, RetentionSettings};
use weir_schemas::enriched::Enriched;

/// The day of the records, days since the epoch: 1988.
const DAY: i64 = 6_666;

#[tokio::test]
async fn at_flood_stage_nothing_is_lost_retention_deletes_and_writing_goes_on_by_itself() {
    let Ok(url) = std::env::var("WEIR_TEST_ELASTICSEARCH") else {
        eprintln!("skipped: WEIR_TEST_ELASTICSEARCH is not set");
        return;
    };
    let elastic = Elastic::new(&ElasticSettings::of(&[&url])).unwrap();
    let mut world = World::new(&elastic).await;
    let days: Vec<Vec<Enriched>> = (0..3)
        .map(|day| (0..300).map(|n| records::record(DAY + day, n + 1_000 * u64::try_from(day).unwrap())).collect())
        .collect();
    let names: Vec<String> = days.iter().map(|records| index(&records[0])).collect();
    for name in &names {
        elastic.delete_index(name).await.unwrap();
    }
    watermarks(&elastic, Value::Null, Value::Null, Value::Null).await;
    world.start_indexer();
    world.produce(&days.concat()[..600]).await;
    world.wait("the first two days", 60, World::is_committed).await;

    // Flood stage: more must be free than there is.
    let free = free(&elastic).await;
    let [low, high, flood] = [free * 4, free * 3, free * 2].map(|bytes| Value::from(format!("{bytes}b")));
    watermarks(&elastic, low, high, flood).await;
    world.wait("the engine's block", 90, async |w| w.is_blocked(&names[0]).await).await;
    world.produce(&days[2]).await;
    world.wait("the alarm", 60, async |w| w.is_alarmed()).await;
    assert!(!world.health.is_ready());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!world.is_committed().await);

    // Retention deletes at flood stage, and says so. The newest of the level stays.
    let settings =
        RetentionSettings { budget: Amount::Bytes(1), disk_reserve: Amount::Bytes(0), ..RetentionSettings::default() };
    let Applied { done, plan: rest, .. } = weir_retention::apply(&elastic, &world.log, &settings).await.unwrap();
    assert!(done.iter().any(|action| action.index.to_string() == names[0]), "{done:?}");
    assert!(rest.stuck.is_some());

    // Room again.
    watermarks(&elastic, Value::Null, Value::Null, Value::Null).await;
    let resumed = world.wait("writing goes on", 120, World::is_committed).await;
    eprintln!("writing went on {} s after the watermarks were lifted", resumed.as_secs());
    world.expect_whole(&names[2], 300).await;
    for name in &names {
        elastic.delete_index(name).await.unwrap();
    }
}
