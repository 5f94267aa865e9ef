//! A disk that truly fills up while retention is away: the indexer pauses before flood stage, and goes on by itself when retention
//! has deleted.

use crate::disk::{Engine, MIB};
use crate::records;
use crate::world::{World, free, index, watermarks};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use weir_retention::{Amount, RetentionSettings};
use weir_service::{Health, Metrics};

/// The day of the records, days since the epoch: 1988.
const DAY: i64 = 6_666;
/// Free at flood stage and at the high watermark; the indexer pauses a quarter of the way before flood stage, and goes on from half of it.
const FLOOD: u64 = 64 * MIB;
const HIGH: u64 = 192 * MIB;
const PAUSES: u64 = FLOOD + (HIGH - FLOOD) / 4;
/// Of an old index, MiB; one of them is room enough.
const SIZE: u64 = 80;
/// How soon writing must go on after retention has come back.
const RESUMES: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_indexer_pauses_before_flood_stage_and_goes_on_by_itself_when_retention_has_deleted() {
    let Some(engine) = Engine::start("") else { return };
    let mut world = World::new(&engine.elastic).await;
    let old = [DAY, DAY + 1].map(|day| index(&records::record(day, 0)));
    let newest = index(&records::record(DAY + 2, 0));
    for name in &old {
        engine.fill(name, SIZE).await;
    }
    engine.knows_sizes(&old, SIZE).await;
    let [low, high, flood] = [HIGH + MIB, HIGH, FLOOD].map(|bytes| format!("{bytes}b").into());
    watermarks(&engine.elastic, low, high, flood).await;
    world.start_indexer();
    world.produce(&[records::record(DAY + 2, 0)]).await;
    world.wait("the first record", 60, World::is_committed).await;

    // What is written fills the rest.
    engine.leave(PAUSES + 4 * MIB);
    let (mut written, until) = (1, Instant::now() + Duration::from_secs(90));
    while !world.is_alarmed() {
        assert!(Instant::now() < until, "{} bytes are free: {:?}", engine.free(), world.health.report());
        let more: Vec<_> = (written..written + 150).map(|n| records::record(DAY + 2, n)).collect();
        world.produce(&more).await;
        written += 150;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let paused = engine.free();
    assert!(paused > FLOOD && paused < PAUSES, "{paused} bytes are free");
    // Long enough for the engine to look at its disk, too.
    tokio::time::sleep(Duration::from_secs(12)).await;
    for name in old.iter().chain([&newest]) {
        assert!(!world.is_blocked(name).await, "{name} is read-only: flood stage was reached");
    }
    assert!(!world.is_committed().await && !world.health.is_ready());

    let settings = RetentionSettings {
        budget: Amount::Bytes(u64::MAX),
        disk_reserve: Amount::Bytes(FLOOD + (HIGH - FLOOD) / 2 + 16 * MIB),
        retention_interval: Duration::from_secs(1),
        ..RetentionSettings::default()
    };
    let (metrics, health, token) = (Metrics::new(), Health::new(), CancellationToken::new());
    let retention = tokio::spawn({
        let (log, elastic, token) = (world.log.clone(), engine.elastic.clone(), token.clone());
        async move { weir_retention::run(settings, log, elastic, &metrics, &health, token).await }
    });
    let resumed = world.wait("writing goes on", RESUMES.as_secs(), World::is_committed).await;
    eprintln!(
        "fault disk: paused with {paused} B free, {FLOOD} B of them for flood stage; writing went on {resumed:?} after retention came back"
    );
    token.cancel();
    retention.await.unwrap().unwrap();
    let left: Vec<String> =
        engine.elastic.indices("weir-flows-l1-*").await.unwrap().into_iter().map(|i| i.name).collect();
    assert_eq!(
        left,
        [old[1].clone(), newest.clone()],
        "one was enough, {} bytes are free",
        free(&engine.elastic).await
    );
    world.expect_whole(&newest, written).await;
}
