//! Flood stage on a real engine, forced by its watermarks: the indexer leaves records in Kafka, retention deletes all the same,
//! and writing goes on by itself once there is room.
//!
//! Only with `WEIR_TEST_ELASTICSEARCH=http://host:port`: it changes the engine's watermarks, and deletes its indices of flows.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use weir_elastic::{Elastic, ElasticSettings, Method};
use weir_indexer::IndexerSettings;
use weir_indexer::document;
use weir_indexer::periods::Periods;
use weir_retention::{Amount, Applied, RetentionSettings};
use weir_schemas::enriched::Enriched;
use weir_schemas::topics;
use weir_service::{Health, Metrics};
use weir_stream::{Log, NewRecord, Partitions, ProducerSettings, Start, TopicPartition, TopicSpec};

#[path = "../../indexer/tests/support/records.rs"]
#[allow(dead_code, reason = "corrections are of no concern here")]
mod records;

/// The day of the records, days since the epoch: 1988.
const DAY: i64 = 6_666;

async fn watermarks(elastic: &Elastic, low: Value, high: Value, flood: Value) {
    let settings = json!({"persistent": {
        "cluster.info.update.interval": if flood.is_null() { Value::Null } else { "10s".into() },
        "cluster.routing.allocation.disk.watermark.low": low,
        "cluster.routing.allocation.disk.watermark.high": high,
        "cluster.routing.allocation.disk.watermark.flood_stage": flood,
    }});
    elastic.request(Method::Put, "/_cluster/settings", &[], Some(settings.to_string().into())).await.unwrap();
}

/// Free space on the only disk.
async fn free(elastic: &Elastic) -> u64 {
    elastic.nodes_disk().await.unwrap()[0].available
}

struct World {
    log: Log,
    elastic: Elastic,
    metrics: Metrics,
    health: Health,
    token: CancellationToken,
}

impl World {
    async fn produce(&self, records: &[Enriched]) {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        for record in records {
            let value = weir_schemas::encode(record).unwrap();
            producer.send(NewRecord::new(topics::ENRICHED, record.id.clone(), value)).unwrap().await.unwrap();
        }
    }

    async fn is_committed(&self) -> bool {
        let partition = TopicPartition::new(topics::ENRICHED, 0);
        let end = self.log.log_end(&partition).await.unwrap();
        let committed = self.log.committed("weir-indexer", &[partition]).await.unwrap();
        committed[0].1.as_ref().is_some_and(|c| c.offset >= end)
    }

    async fn wait(&self, what: &str, seconds: u64, mut holds: impl AsyncFnMut(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(self).await {
            assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}: {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        begun.elapsed()
    }

    /// Whether an index is blocked by the engine.
    async fn is_blocked(&self, index: &str) -> bool {
        let blocks = self.elastic.blocks(index).await.unwrap_or_default();
        blocks.iter().any(|block| block.name == "read_only_allow_delete")
    }
}

#[tokio::test]
async fn at_flood_stage_nothing_is_lost_retention_deletes_and_writing_goes_on_by_itself() {
    let Ok(url) = std::env::var("WEIR_TEST_ELASTICSEARCH") else {
        eprintln!("skipped: WEIR_TEST_ELASTICSEARCH is not set");
        return;
    };
    let elastic = Elastic::new(&ElasticSettings::of(&[&url])).unwrap();
    let world = World {
        log: Log::memory(),
        elastic: elastic.clone(),
        metrics: Metrics::new(),
        health: Health::new(),
        token: CancellationToken::new(),
    };
    let all = [topics::ENRICHED, topics::DNS, topics::LEDGER, topics::AUDIT].map(|topic| TopicSpec::new(topic, 1));
    world.log.ensure_topics(&all).await.unwrap();
    let days: Vec<Vec<Enriched>> = (0..3)
        .map(|day| (0..300).map(|n| records::record(DAY + day, n + 1_000 * u64::try_from(day).unwrap())).collect())
        .collect();
    let index = |record: &Enriched| document::prepare(record, &Periods::default()).unwrap().index.to_string();
    let names: Vec<String> = days.iter().map(|records| index(&records[0])).collect();
    for name in &names {
        elastic.delete_index(name).await.unwrap();
    }
    watermarks(&elastic, Value::Null, Value::Null, Value::Null).await;

    let settings = IndexerSettings { indexer_bulk_wait: Duration::from_millis(50), ..IndexerSettings::default() };
    let (log, metrics, health, token) =
        (world.log.clone(), world.metrics.clone(), world.health.clone(), world.token.clone());
    let indexed = elastic.clone();
    let indexer =
        tokio::spawn(async move { weir_indexer::run(settings, log, indexed, &metrics, &health, token).await });
    world.produce(&days.concat()[..600]).await;
    world.wait("the first two days", 60, World::is_committed).await;

    // Flood stage: more must be free than there is.
    let free = free(&elastic).await;
    let [low, high, flood] = [free * 4, free * 3, free * 2].map(|bytes| Value::from(format!("{bytes}b")));
    watermarks(&elastic, low, high, flood).await;
    world.wait("the engine's block", 90, async |w| w.is_blocked(&names[0]).await).await;
    world.produce(&days[2]).await;
    world.wait("the alarm", 60, async |w| w.metrics.value("weir_indexer_alarms", &[]).unwrap_or(0.0) >= 1.0).await;
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
    world.token.cancel();
    indexer.await.unwrap().unwrap();
    elastic.refresh(&names[2]).await.unwrap();
    assert_eq!(elastic.count(&names[2], &json!({"match_all": {}})).await.unwrap(), 300);
    let dead = topics::dead_letter(topics::ENRICHED);
    let mut reader = world.log.reader(&dead, Partitions::All, Start::Beginning).await.unwrap();
    assert!(reader.read_to_end(Duration::from_secs(2)).await.unwrap().is_empty(), "nothing was given up");
    for name in &names {
        elastic.delete_index(name).await.unwrap();
    }
}
