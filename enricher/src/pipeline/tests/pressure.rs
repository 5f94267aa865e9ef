//! Memory that is full, stages that are apart, and messages that were deleted before they were read.

use super::*;
use weir_stream::TopicPartition;

fn paused(world: &World) -> Option<f64> {
    world.metrics.value("weir_enricher_partitions_paused", &[("stage", "1")])
}

fn forward_bytes(world: &World) -> u64 {
    world.enriched().iter().filter(|record| record.level == 2).map(|record| record.totals.forward_bytes).sum()
}

/// Without anything that could be closed, what is furthest behind is read on and the rest waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_window_fills_the_memory_only_the_partition_furthest_behind_is_read() {
    let world = World::new(2, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let running = world.start_with(EnricherSettings { memory_limit: 20_000, ..World::settings("one") });
    for round in 0..30_u16 {
        let of = |sequence, tick| {
            let samples = (0..20).map(|n| crate::stage1::Sample { source_port: round * 20 + n, ..sample(100) });
            batch("node-a", sequence, tick, samples.collect())
        };
        world.raw(0, &of(u64::from(round), 100_000)).await;
        world.raw(1, &of(u64::from(round), 102_000)).await;
    }
    world.until("one is paused", |world| paused(world) == Some(1.0)).await;
    assert!(world.enriched().is_empty());
    for partition in 0..2 {
        world.raw(partition, &batch("node-a", 40, 120_000, vec![])).await;
    }
    world.until("everything", |world| forward_bytes(world) == 2 * 30 * 20 * 100).await;
    world.until("none is paused", |world| paused(world) == Some(0.0)).await;
    running.stop().await.unwrap();
}

/// A process with raw partitions alone goes by where the group of stage 2 stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_part_in_stage_2_does_not_run_ahead_of_it() {
    let world = World::new(2, 1).await;
    let record = Settings::from(&weir_flow::RecordSettings { live: false, ..settings(2, 1) });
    world.put(topics::SETTINGS, 0, "local/0", &record).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let raw = |number| TopicPartition::new(topics::raw(CLUSTER), number);
    let (first, second) = ("weir-enricher-1-local", "weir-enricher-2-local");
    world.memory.manual_assignment(first);
    world.memory.manual_assignment(second);
    let (one, two) = (Metrics::new(), Metrics::new());
    let running = [
        world.start_counting(World::settings("one"), one.clone()),
        world.start_counting(World::settings("two"), two.clone()),
    ];
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.memory.rebalance(first, &[("one", vec![raw(0)]), ("two", vec![raw(1)])]);
    world.memory.rebalance(second, &[("one", vec![TopicPartition::new(topics::partial(CLUSTER), 0)])]);
    for partition in 0..2 {
        world.raw(partition, &batch("node-a", 0, 100_000, vec![sample(100)])).await;
        world.raw(partition, &batch("node-a", 1, 107_000, vec![])).await;
    }
    world.until("the first window", |world| forward_bytes(world) >= 200).await;
    // Partition 0 stands still, partition 1 has a hundred windows.
    let paused = |metrics: &Metrics| metrics.value("weir_enricher_partitions_paused", &[("stage", "1")]);
    for window in 2..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.raw(1, &batch("node-a", 2, 100_000 + window * 5_000, vec![sample(100)])).await;
    }
    world.until("the one without stage 2 waits", |_| paused(&two) == Some(1.0)).await;
    let generations = |metrics: &Metrics| metrics.value("weir_enricher_generations_total", &[("stage", "1")]);
    assert!(generations(&two) < Some(60.0), "{:?}", generations(&two));
    assert_eq!(paused(&one), Some(0.0));
    world.raw(0, &batch("node-a", 2, 700_000, vec![])).await;
    world.raw(1, &batch("node-a", 3, 700_000, vec![])).await;
    world.until("everything", |world| forward_bytes(world) == 100 * 100).await;
    for running in running {
        running.stop().await.unwrap();
    }
}

/// The ledger's lines of what was deleted: which offsets.
fn expired(world: &World) -> Vec<String> {
    let lines = world.read::<Ledger>(topics::LEDGER).into_iter().filter_map(|line| match line {
        Ledger::Received(line) if line.lost.iter().any(|loss| loss.reason == "raw_expired") => Some(line.boot),
        _ => None,
    });
    lines.collect()
}

/// What was read and is not written yet is lost, too, when what should come next is gone.
#[tokio::test]
async fn messages_that_are_deleted_under_a_reader_are_a_named_loss_from_the_first_that_is_not_written() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(100_000)).await;
    let running = world.start("one");
    for tick in 100..103 {
        world.raw(0, &batch("node-a", 0, tick * 1_000, vec![sample(100)])).await;
    }
    let count = |world: &World, name| world.metrics.value(name, &[]).unwrap_or_default();
    world.until("three were read", |world| count(world, "weir_enricher_batches_total") >= 3.0).await;
    // On one thread nobody reads between these.
    let partition = TopicPartition::new(topics::raw(CLUSTER), 0);
    let producer = world.log.producer(&ProducerSettings::new("test")).unwrap();
    for tick in [103_000, 104_000] {
        let value = encode(&batch("node-a", 0, tick, vec![sample(100)])).unwrap();
        let sent = producer.send(NewRecord::new(&*partition.topic, "node-a", value).to_partition(0));
        drop(sent.unwrap());
    }
    world.log.delete_records(&partition, 5).await.unwrap();
    world.raw(0, &batch("node-a", 1, 110_000, vec![sample(7)])).await;
    world.raw(0, &batch("node-a", 2, 120_000, vec![])).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    world.until("what is left", |world| forward_bytes(world) == 7).await;
    running.stop().await.unwrap();
    assert_eq!(count(&world, "weir_enricher_raw_expired_offsets_total"), 5.0);
    assert_eq!(expired(&world), ["offsets 0 to 4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_deleted_while_nobody_reads_are_a_named_loss() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    for (sequence, tick) in [(0, 100_000), (1, 107_000)] {
        world.raw(0, &batch("node-a", sequence, tick, vec![sample(100)])).await;
    }
    let running = world.start("one");
    world.until("the first window", |world| forward_bytes(world) == 100).await;
    running.stop().await.unwrap();
    world.raw(0, &batch("node-a", 2, 108_000, vec![sample(100)])).await;
    let partition = TopicPartition::new(topics::raw(CLUSTER), 0);
    let end = world.log.log_end(&partition).await.unwrap();
    world.log.delete_records(&partition, end).await.unwrap();
    world.raw(0, &batch("node-a", 3, 120_000, vec![sample(7)])).await;
    world.raw(0, &batch("node-a", 4, 130_000, vec![])).await;
    for _ in 0..2 {
        let running = world.start("one");
        world.until("what is left", |world| forward_bytes(world) == 107).await;
        running.stop().await.unwrap();
    }
    assert_eq!(expired(&world), [format!("offsets 1 to {}", end - 1)], "once");
}
