//! A broker that goes wrong by a plan, where the indexer reads, where it commits and where it writes dead letters. The world itself
//! reaches the broker directly.
//!
//! Scaled down; `cargo xtask soak "faults between the indexer and Kafka"` runs it whole.

use crate::broker::BrokerProcess;
use crate::program::{SmallDisk, number};
use crate::world::{GROUP, PARTITIONS, World, embedded, engine_or, expected, items, url};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use weir_faults::{Api, Fault, Plan, Proxy, Rule};
use weir_schemas::enriched::{Enriched, document_id};
use weir_schemas::topics;
use weir_stream::{KafkaSettings, Log, TopicPartition};

/// What goes wrong with each of these requests, so many times each.
fn plan(seed: u64, apis: &[Api], slow: u64, times: u64) -> (Plan, u64) {
    let faults = [
        Fault::Reset { within: 0 },
        Fault::Reset { within: 200 },
        Fault::Cut { within: 200 },
        Fault::DropAnswer,
        Fault::HalfClose,
        Fault::Stall { length: Duration::from_millis(500) },
        Fault::Throttle { bytes_per_second: slow },
        Fault::Delay { at_most: Duration::from_millis(500) },
    ];
    let number = u64::try_from(faults.len()).unwrap();
    let rule = |fault| Rule::new(fault).apis(apis).share(0.7).at_most(times);
    (faults.into_iter().fold(Plan::new(seed), |plan, fault| plan.with(rule(fault))), number * times)
}

fn times() -> u64 {
    number("WEIR_TEST_BROKER_FAULTS", 1)
}

/// Runs the scenario with an indexer whose way to the broker goes wrong, until all has gone wrong that was to. Each round has so
/// many records of which so many of a thousand are refused by the engine.
async fn survives(seed: u64, apis: &[Api], slow: u64, round: u64, refused: u16) {
    let (engine, _data) = embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    let address = broker.address().to_string();
    let log = Log::kafka(&KafkaSettings::at(address.clone())).unwrap();
    let (plan, faults) = plan(seed, apis, slow, times());
    let kafka = Proxy::kafka(&address, plan).await.unwrap();
    let bad = Plan::new(seed).with(items(400, "document_parsing_exception", refused));
    let mut world = World::new(log, &engine_or(&url(&engine)), bad).await;
    world.read = Log::kafka(&KafkaSettings::at(kafka.address().to_string())).unwrap();
    let indexer = world.run();
    let until = Instant::now() + Duration::from_secs(120 + 20 * faults);
    let mut records: Vec<Enriched> = Vec::new();
    while kafka.counts().injected() < faults {
        assert!(Instant::now() < until, "{:?}", kafka.counts());
        let begin = u64::try_from(records.len()).unwrap();
        let more: Vec<_> = (begin..begin + round).map(|n| world.record(n)).collect();
        world.produce_records(&more).await;
        records.extend(more);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.committed_within(Duration::from_secs(120)).await;
    indexer.stop().await;
    let dead = check(&world, &records).await;
    assert_eq!(dead > 0, refused > 0, "{dead} dead letters");
    eprintln!(
        "fault way to the {}: {} records, {dead} of them dead letters, each other one document; {:?}",
        broker.name(),
        records.len(),
        kafka.counts()
    );
    world.delete_index().await;
    engine.shutdown().await;
}

/// Each record is one document, or at least one dead letter and no document; hands back how many are dead letters.
async fn check(world: &World, records: &[Enriched]) -> usize {
    let letters = world.dead_letters().await;
    let decoded =
        letters.iter().map(|letter| weir_schemas::decode::<Enriched>(letter.value.as_ref().unwrap()).unwrap());
    let dead: BTreeSet<String> = decoded.map(|record| document_id(&record.id)).collect();
    let (mut expected, all) = (expected(records), records.len());
    assert_eq!(expected.len(), all);
    expected.retain(|id, _| !dead.contains(id));
    assert_eq!(expected.len() + dead.len(), all, "dead letters are of these records");
    assert_eq!(world.count_documents().await, u64::try_from(expected.len()).unwrap());
    let sum: u64 = expected.values().sum();
    assert_eq!(world.sum("source.bytes").await, sum);
    dead.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_where_records_are_read_each_is_one_document() {
    survives(31, &[Api::Fetch], 100_000, 500, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_where_positions_are_committed_each_is_one_document() {
    survives(32, &[Api::OffsetCommit, Api::OffsetFetch], 100, 100, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_where_dead_letters_are_written_none_is_lost() {
    survives(33, &[Api::Produce], 100, 500, 4).await;
}

/// How many records are written while a disk is full.
const RECORDS: u64 = 3_000;

/// The broker has no room for a dead letter: its record is not committed, and neither is anything behind it, until there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_wait_for_a_full_disk_of_the_broker() {
    let Some(disk) = SmallDisk::mount(BrokerProcess::DISK) else {
        return eprintln!("skipped: a file system that can be full needs the right to mount");
    };
    let (engine, _data) = embedded().await;
    let mut broker = BrokerProcess::start(disk.path());
    let log = Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap();
    let plan = Plan::new(34).with(items(400, "document_parsing_exception", 5));
    let world = World::new(log, &engine_or(&url(&engine)), plan).await;
    let indexer = world.run();
    world.produce_records(&[world.record(0)]).await;
    world.committed().await;
    let (mut records, mut ended) = (vec![world.record(0)], 0);
    let rounds = number("WEIR_TEST_FULL_DISKS", 1);
    for round in 0..rounds {
        world.proxy.pause();
        // Some fifteen letters of them: one or two might find room in what their file already has of the disk.
        let more: Vec<_> = (0..RECORDS).map(|n| world.record(1 + RECORDS * round + n)).collect();
        world.produce_records(&more).await;
        records.extend(more);
        disk.fill();
        world.proxy.resume();
        tokio::time::sleep(Duration::from_secs(2)).await;
        // One that stops because of it answers nothing.
        let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(topics::ENRICHED, p)).collect();
        let asked = tokio::time::timeout(Duration::from_secs(2), world.log.committed(GROUP, &partitions)).await;
        if let Ok(Ok(committed)) = asked {
            let offsets =
                committed.iter().filter_map(|(_, position)| position.as_ref()).map(|position| position.offset);
            assert!(offsets.sum::<i64>() < i64::try_from(records.len()).unwrap(), "round {round}");
        }
        disk.free();
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            ended += u32::from(tokio::task::block_in_place(|| broker.start_if_ended()));
            if world.is_committed().await {
                break;
            }
            assert!(Instant::now() < until, "round {round}: {:?}", world.health.report());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    indexer.stop().await;
    let dead = check(&world, &records).await;
    assert!(dead > 0);
    eprintln!(
        "fault disk of the {} for dead letters: full {rounds} times for 2 s, which ended it {ended} times; {} records, {dead} of them dead letters",
        broker.name(),
        records.len()
    );
    world.delete_index().await;
    engine.shutdown().await;
}
