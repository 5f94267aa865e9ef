//! A broker process that is killed (`SIGKILL`) in the middle of its work, again and again.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/clients.rs"]
mod support;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::*;
use weir_embedded_broker::{Broker, BrokerSettings};

const DATA: &str = "WEIR_TEST_BROKER_DATA";
const LISTEN: &str = "WEIR_TEST_BROKER_LISTEN";

/// No test: what the broker process runs.
#[test]
fn broker_process() {
    let (Ok(data), Ok(listen)) = (std::env::var(DATA), std::env::var(LISTEN)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = Broker::start(BrokerSettings::new(&data, listen.parse().unwrap())).await.unwrap();
        let address = Path::new(&data).join("address.tmp");
        std::fs::write(&address, broker.address().to_string()).unwrap();
        std::fs::rename(&address, Path::new(&data).join("address")).unwrap();
        // Never outlives the test by much.
        tokio::time::sleep(Duration::from_secs(120)).await;
    });
}

struct BrokerProcess {
    data: PathBuf,
    address: SocketAddr,
    child: Mutex<Child>,
}

fn spawn(data: &Path, listen: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "broker_process", "--nocapture"])
        .env(DATA, data)
        .env(LISTEN, listen)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl BrokerProcess {
    fn start(data: &Path) -> Self {
        let child = spawn(data, "127.0.0.1:0");
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(data.join("address")) {
                break address.parse().unwrap();
            }
            assert!(Instant::now() < deadline, "no broker");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { data: data.to_path_buf(), address, child: Mutex::new(child) }
    }

    /// `kill -9`, and the next start on the same address.
    fn kill_and_restart(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        *child = spawn(&self.data, &self.address.to_string());
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        child.kill().ok();
        child.wait().ok();
    }
}

async fn broker_with_topics(data: &Path, partitions: i32) -> BrokerProcess {
    let path = data.to_path_buf();
    let broker = tokio::task::spawn_blocking(move || BrokerProcess::start(&path)).await.unwrap();
    let address = broker.address.to_string();
    create_topic(&address, "t", partitions, &[("segment.bytes", "100000")]).await;
    create_topic(&address, "in", 1, &[]).await;
    broker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_are_there_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker_with_topics(folder.path(), 1).await;
    tokio::task::spawn_blocking(move || {
        let address = broker.address.to_string();
        let producer = producer(
            &address,
            &[
                ("enable.idempotence", "true"),
                ("message.timeout.ms", "60000"),
                ("reconnect.backoff.max.ms", "200"),
                ("retry.backoff.ms", "50"),
                ("batch.num.messages", "20"),
            ],
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for wait in [150, 400, 250, 600] {
                    std::thread::sleep(Duration::from_millis(wait));
                    broker.kill_and_restart();
                }
            });
            for start in (0..20_000).step_by(100) {
                send(&producer, "t", 0, (start..start + 100).map(|n| format!("{n}")));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        producer.flush(Duration::from_secs(60)).unwrap();
        let expected: Vec<_> = (0..20_000).map(|n| format!("{n}")).collect();
        assert!(values(&read_committed(&address, "t", 1)) == expected, "records lost, repeated or out of order");
    })
    .await
    .unwrap();
}

fn offset_of(round: usize) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition("in", 0);
    element.set_offset(Offset::Offset(i64::try_from(round).unwrap())).unwrap();
    element.set_metadata(format!("round {round}"));
    list
}

/// One transaction over two partitions and an offset.
fn transaction(producer: &TestProducer, consumer: &BaseConsumer, round: usize) -> Result<(), KafkaError> {
    producer.begin_transaction()?;
    for partition in 0..2 {
        send(producer, "t", partition, (0..5).map(|n| format!("{round}/{n}")));
    }
    producer.send_offsets_to_transaction(&offset_of(round), &consumer.group_metadata().unwrap(), PATIENCE)?;
    producer.commit_transaction(PATIENCE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker_with_topics(folder.path(), 2).await;
    tokio::task::spawn_blocking(move || {
        let address = broker.address.to_string();
        let consumer: BaseConsumer = config(&address, &[("group.id", "g")]).create().unwrap();
        let mut acknowledged = BTreeSet::new();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for wait in [600, 900, 530, 1210, 720, 670] {
                    std::thread::sleep(Duration::from_millis(wait));
                    broker.kill_and_restart();
                }
                std::thread::sleep(Duration::from_millis(500));
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let mut producer = transactional(&address, "tx", 10_000).unwrap();
            let mut round = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                match transaction(&producer, &consumer, round) {
                    Ok(()) => {
                        acknowledged.insert(round);
                    }
                    Err(_) => producer = transactional(&address, "tx", 10_000).unwrap(),
                }
            }
        });
        // A successor ends whatever was left open.
        let _successor = transactional(&address, "tx", 10_000).unwrap();
        let mut seen: BTreeMap<usize, Vec<(i32, String)>> = BTreeMap::new();
        for (partition, _, value) in read_committed(&address, "t", 2) {
            let round = value.split('/').next().unwrap().parse().unwrap();
            seen.entry(round).or_default().push((partition, value));
        }
        assert!(acknowledged.len() > 6, "only {} transactions", acknowledged.len());
        for (round, mut found) in seen.clone() {
            found.sort();
            let whole: Vec<_> =
                (0..2).flat_map(|partition| (0..5).map(move |n| (partition, format!("{round}/{n}")))).collect();
            assert_eq!(found, whole, "transaction {round} is torn or repeated");
        }
        let rounds: BTreeSet<_> = seen.into_keys().collect();
        assert!(acknowledged.is_subset(&rounds), "lost: {:?}", acknowledged.difference(&rounds));
        // The offset is that of the last transaction that is there.
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition("in", 0);
        let found = consumer.committed_offsets(wanted, PATIENCE).unwrap();
        let last = *rounds.last().unwrap();
        assert_eq!(found.find_partition("in", 0).unwrap().metadata(), format!("round {last}"));
    })
    .await
    .unwrap();
}
