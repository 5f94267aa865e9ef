//! An engine that shows its disk as it was before a deletion: the same bytes cost one index, not two.

use crate::disk::{Engine, MIB};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use weir_elastic::NodeDisk;
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_retention::{Amount, RetentionSettings};
use weir_service::{Health, Metrics};
use weir_stream::{KafkaSettings, Log};

const DAYS: [&str; 5] = [
    "weir-flows-l1-1988.04.01",
    "weir-flows-l1-1988.04.02",
    "weir-flows-l1-1988.04.03",
    "weir-flows-l1-1988.04.04",
    "weir-flows-l1-1988.04.05",
];
const SIZE: u64 = 24;
const RESERVE: u64 = 256 * MIB;
/// For how long an engine gives the same measurement of its disk, and says so.
const STALE: Duration = Duration::from_secs(12);

async fn disk(engine: &Engine) -> NodeDisk {
    engine.elastic.nodes_disk().await.unwrap().remove(0)
}

#[tokio::test]
async fn while_statistics_are_old_the_same_bytes_cost_one_index() {
    let Some(engine) = Engine::start(&format!("monitor.fs.refresh_interval={}s", STALE.as_secs())) else { return };
    for day in DAYS {
        engine.fill(day, SIZE).await;
    }
    engine.knows_sizes(&DAYS, SIZE).await;
    // Short by half of an index.
    engine.leave(RESERVE - SIZE / 2 * MIB);
    let until = Instant::now() + 3 * STALE;
    let before = loop {
        let disk = disk(&engine).await;
        if disk.available < RESERVE {
            break disk;
        }
        assert!(Instant::now() < until, "the engine does not look at its disk: {disk:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let settings = RetentionSettings {
        budget: Amount::Bytes(u64::MAX),
        disk_reserve: Amount::Bytes(RESERVE),
        retention_interval: Duration::from_secs(1),
        ..RetentionSettings::default()
    };
    // A broker, whose records have times.
    let data = TempDir::new().unwrap();
    let broker = Broker::start(BrokerSettings::new(data.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    let log = Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap();
    let (metrics, health, token) = (Metrics::new(), Health::new(), CancellationToken::new());
    let service = tokio::spawn({
        let (settings, log, metrics) = (settings.clone(), log.clone(), metrics.clone());
        let (elastic, token) = (engine.elastic.clone(), token.clone());
        async move { weir_retention::run(settings, log, elastic, &metrics, &health, token).await }
    });
    let deleted = || metrics.value("weir_retention_deleted_indices_total", &[("reason", "disk_reserve")]);
    let begun = Instant::now();
    while deleted().is_none() {
        assert!(begun.elapsed() < STALE / 2, "nothing was deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Rounds of the service, and another process, which knows only what is on the topic.
    tokio::time::sleep(STALE / 3).await;
    let other = weir_retention::apply(&engine.elastic, &log, &settings).await.unwrap();
    assert!(other.done.is_empty(), "another deletes for the same bytes: {:?}", other.done);
    // A plan says the same where it can read that topic, and that it does not know where it cannot.
    let plan = weir_retention::plan_now(&engine.elastic, Some(&log), &settings).await.unwrap();
    assert!(plan.actions.is_empty() && plan.booked.is_some_and(|booked| booked.indices == 1), "{plan}");
    let plan = weir_retention::plan_now(&engine.elastic, None, &settings).await.unwrap();
    assert!(plan.to_string().contains("what was deleted in the last ten minutes is not known"), "{plan}");
    assert_eq!(plan.actions.len(), 1, "{plan}");
    assert_eq!(disk(&engine).await, before, "the engine has measured meanwhile, so that nothing was tried");
    assert_eq!(deleted(), Some(1.0));
    token.cancel();
    service.await.unwrap().unwrap();
    broker.shutdown().await;
    eprintln!("fault retention: one index went while the disk was shown as it was before, for {STALE:?}");
}
