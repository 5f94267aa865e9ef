#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Settings, partition, publish};
use crate::accounting::Identity;
use crate::stats::Stats;
use crate::testing::sample;
use crate::tick::Tick;
use std::time::Duration;
use weir_flow::RecordSettings;
use weir_schemas::raw::{Origin, RawBatch};
use weir_service::{Health, Metrics};
use weir_stream::{Log, MemoryLog, TopicSpec};

fn settings(partitions: i32) -> Settings {
    let identity = Identity {
        cluster: "local".to_owned(),
        node: "node-7".to_owned(),
        boot: "boot".to_owned(),
        tick_length: 1_000,
        origin: Origin::Ebpf,
    };
    let record = RecordSettings { raw_partitions: partitions, ..RecordSettings::small("local") };
    Settings::new(identity, &record, 1 << 20, Duration::from_secs(1))
}

#[test]
fn a_node_keeps_its_partition() {
    assert!((0..100).all(|i| (0..16).contains(&partition(&format!("node-{i}"), 16))));
    assert_eq!(partition("node-7", 16), partition("node-7", 16));
    assert_eq!(partition("any", 1), 0);
    let used: std::collections::BTreeSet<i32> = (0..200).map(|i| partition(&format!("node-{i}"), 16)).collect();
    assert_eq!(used.len(), 16);
}

#[tokio::test]
async fn every_tick_is_a_batch_of_the_node_in_order() {
    let memory = MemoryLog::new();
    let log = Log::from(memory.clone());
    log.ensure_topics(&[TopicSpec::new("flows.raw.v1", 4)]).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    for i in 0..5_u16 {
        let samples = (0..i).map(|flow| sample(flow, 1, 100)).collect();
        sender.send(Tick { start: i64::from(i) * 1_000, ticks: 1, samples, ..Tick::default() }).await.unwrap();
    }
    drop(sender);
    let metrics = Metrics::new();
    let published =
        publish(&log, settings(4), receiver, None, &Stats::new(&metrics), &Health::default()).await.unwrap();
    assert_eq!((published.batches, published.totals.packets, published.unacknowledged.packets), (5, 10, 0));
    let records = memory.records("flows.raw.v1", partition("node-7", 4));
    let batches: Vec<RawBatch> =
        records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap()).collect();
    assert!(records.iter().all(|record| record.key.as_deref() == Some(b"node-7")));
    assert_eq!(batches.iter().map(|batch| batch.sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(batches.iter().map(|batch| batch.tick).collect::<Vec<_>>(), [0, 1_000, 2_000, 3_000, 4_000]);
}
