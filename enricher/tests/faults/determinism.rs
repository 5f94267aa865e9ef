//! The same topics, read by other numbers of processes, in other pieces and with kills, give the same records and the same
//! lines of the ledger, byte for byte.

use crate::processes::{Enricher, HowToStart, Kafka};
use crate::world::{World, now, number};
use crate::{ALONE, USUAL};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use weir_flow::{Level, Millis};
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Enriched;
use weir_schemas::ledger::Ledger;
use weir_schemas::{decode, topics};
use weir_stream::{KafkaSettings, Log, Partitions, Start};

/// How the topics are read.
struct Plan {
    name: &'static str,
    processes: usize,
    kills: u64,
    arguments: &'static [&'static str],
}

const PLANS: [Plan; 6] = [
    Plan { name: "one process", processes: 1, kills: 0, arguments: &[] },
    Plan { name: "two processes", processes: 2, kills: 0, arguments: &[] },
    Plan { name: "four processes", processes: 4, kills: 0, arguments: &[] },
    Plan {
        name: "one process in small pieces",
        processes: 1,
        kills: 0,
        arguments: &["--enricher-fetch-limit", "4KiB", "--enricher-transaction-generations", "1"],
    },
    Plan { name: "one process that is killed", processes: 1, kills: 4, arguments: &[] },
    Plan {
        name: "four processes that are killed, in small pieces",
        processes: 4,
        kills: 4,
        arguments: &["--enricher-fetch-limit", "4KiB", "--enricher-transaction-generations", "2"],
    },
];

/// What was written: a record by its id, a line of the ledger by its key.
type Written = BTreeMap<(&'static str, Vec<u8>), bytes::Bytes>;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_topics_give_the_same_records_whoever_reads_them() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let broker = folder.path().join("broker");
    let rules =
        ["drop: dst.port == 6379", "sample 3: dst.port == 5432", "redact src.pod, src.pod_uid: dst.port == 443"];
    let world = World::on(Kafka::embedded(&broker), folder, "same", (8, 120), |settings| {
        settings.levels_allowed = vec![Level::Zero, Level::One, Level::Two];
        settings.levels_denied = settings.levels_allowed.clone();
        settings.filters = rules.map(|rule| weir_filter::parse_rule(rule).unwrap()).to_vec();
    });
    let mut world = world.await;
    // Of node 6 much is late, so that its windows have records of later generations, too.
    let ticks = usize::try_from(number("WEIR_TEST_FAULT_SAME", 80)).unwrap();
    world.publish_past_late(ticks, |node| if node == 6 { 5 + 3 * (ticks / 40) } else { node % 3 }).await;
    let World { kafka, start, folder, .. } = world;
    drop(kafka);
    let until = now();

    let mut first: Option<Written> = None;
    for plan in &PLANS {
        let copy = folder.path().join("copy");
        copy_folder(&broker, &copy);
        let written = plan.run(&copy, &start, until, first.as_ref()).await;
        std::fs::remove_dir_all(&copy).unwrap();
        let records = written.keys().filter(|(topic, _)| *topic == topics::ENRICHED).count();
        let dns = written.keys().filter(|(topic, _)| *topic == topics::DNS).count();
        let named = (plan.name, written.len());
        eprintln!("fault determinism: {}: {records} records, {dns} of DNS, {} in all", named.0, named.1);
        let Some(first) = &first else {
            assert!(records > ticks, "{records} records of {ticks} ticks");
            assert!(dns > ticks, "{dns} DNS records of {ticks} ticks");
            let left_out = |reason| losses(&written).contains(reason);
            assert!(left_out("filtered") && left_out("sampled_out"), "the filters left nothing out");
            assert!(late_records(&written) > 0, "nothing was late");
            first = Some(written);
            continue;
        };
        let missing = first.keys().filter(|key| !written.contains_key(*key)).count();
        let other = written.iter().filter(|(key, value)| first.get(*key).is_some_and(|known| known != *value)).count();
        let more = written.keys().filter(|key| !first.contains_key(*key)).count();
        assert_eq!((missing, other, more), (0, 0, 0), "missing, other and more with {}", plan.name);
    }
}

impl Plan {
    /// Reads the topics in a folder and waits until nothing more is written: everything that is of a time until `until`.
    async fn run(&self, data: &Path, start: &HowToStart, until: Millis, expected: Option<&Written>) -> Written {
        let kafka = Kafka::embedded(data);
        let log = Log::kafka(&KafkaSettings::at(&kafka.address)).unwrap();
        log.check(Duration::from_secs(60)).await.unwrap();
        let start = HowToStart { kafka: kafka.address.clone(), arguments: self.arguments, ..start.clone() };
        let names: Vec<String> = (0..self.processes).map(|number| format!("same-{number}")).collect();
        let mut enrichers: Vec<Enricher> = names.iter().map(|name| start.enricher(name)).collect();
        let mut random = SmallRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
        for _ in 0..self.kills {
            tokio::time::sleep(Duration::from_millis(random.random_range(300..2_500))).await;
            let victim = random.random_range(0..names.len());
            // The old one is killed when the new one is there: it may be fenced in the middle of what it does.
            enrichers[victim] = start.enricher(&names[victim]);
        }
        let (begun, mut written, mut changed) = (Instant::now(), Written::new(), Instant::now());
        loop {
            let now = read(&log, &start.cluster, until).await;
            if now.len() != written.len() {
                changed = Instant::now();
            }
            written = now;
            let enough = expected.is_none_or(|expected| written.len() >= expected.len()) && !written.is_empty();
            if enough && changed.elapsed() > Duration::from_secs(4) {
                enrichers.iter_mut().for_each(Enricher::assert_running);
                return written;
            }
            let output = std::fs::read_to_string(&start.output).unwrap_or_default();
            assert!(begun.elapsed() < USUAL * 2, "{}: {} so far\n{output}", self.name, written.len());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// How many records were written in a later generation than their window's.
fn late_records(written: &Written) -> usize {
    let records = written.iter().filter(|((topic, _), _)| *topic == topics::ENRICHED);
    records
        .filter(|(_, value)| decode::<Enriched>(value).unwrap().generation > decode::<Enriched>(value).unwrap().window)
        .count()
}

/// The reasons of losses in the ledger.
fn losses(written: &Written) -> BTreeSet<String> {
    let lines = written.iter().filter(|((topic, _), _)| *topic == topics::LEDGER);
    let received = lines.filter_map(|(_, value)| match decode(value).unwrap() {
        Ledger::Received(line) => Some(line.lost),
        Ledger::Stored(_) | Ledger::Questions(_) => None,
    });
    received.flatten().map(|loss| loss.reason).collect()
}

/// What stands on the output topics. What is said twice is said alike.
async fn read(log: &Log, cluster: &str, until: Millis) -> Written {
    let mut written = Written::new();
    for topic in [topics::ENRICHED, topics::DNS, topics::LEDGER] {
        let mut reader = log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
        for record in reader.read_to_end(Duration::from_secs(30)).await.unwrap() {
            let value = record.value.unwrap();
            let is_asked = match topic {
                topics::ENRICHED => decode::<Enriched>(&value).unwrap().cluster == cluster,
                topics::DNS => decode::<Dns>(&value).unwrap().cluster == cluster,
                // Silent partitions go on after the last sample, for as long as somebody runs.
                _ => {
                    let line: Ledger = decode(&value).unwrap();
                    line.cluster() == cluster && line.generation() < until
                }
            };
            if !is_asked {
                continue;
            }
            if let Some(before) = written.insert((topic, record.key.unwrap().to_vec()), value.clone()) {
                assert_eq!(before, value, "two contents under one key of {topic}");
            }
        }
    }
    written
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
