//! A cluster under test: its topics, its agents, its enrichers.

use crate::USUAL;
use crate::oracle::Oracle;
use crate::processes::{HowToStart, Kafka};
use crate::traffic::{Traffic, settings};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_flow::{Millis, RecordSettings, time};
use weir_schemas::raw::RawBatch;
use weir_schemas::settings::Settings;
use weir_schemas::{Message, encode, topics};
use weir_stream::{
    Compression, KafkaSettings, Log, NewRecord, Partitions, Producer, ProducerSettings, Start, TopicPartition,
    TopicSpec,
};

/// How many raw partitions there are.
const PARTITIONS: i32 = 4;

/// Now, ms since the epoch.
pub(crate) fn now() -> Millis {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A number from the environment, for long runs.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

pub(crate) struct World {
    pub(crate) kafka: Kafka,
    pub(crate) start: HowToStart,
    pub(crate) traffic: Traffic,
    pub(crate) oracle: Oracle,
    log: Log,
    producer: Producer,
    /// The next tick to publish.
    tick: Millis,
    /// Where the broker keeps its topics.
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// Everything but enrichers.
    pub(crate) async fn new(name: &str, nodes: usize, connections: usize) -> Self {
        Self::with(name, (nodes, connections, PARTITIONS)).await
    }

    /// As [`new`](Self::new) with a number of raw partitions.
    pub(crate) async fn with(name: &str, sizes: (usize, usize, i32)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kafka = Kafka::start(folder.path());
        Self::sized(kafka, folder, name, sizes, None, |_| {}).await
    }

    /// As [`new`](Self::new), where the raw topic takes batches of so many bytes.
    pub(crate) async fn taking(name: &str, nodes: usize, connections: usize, batch: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kafka = Kafka::start(folder.path());
        Self::sized(kafka, folder, name, (nodes, connections, PARTITIONS), Some(batch), |_| {}).await
    }

    /// As [`new`](Self::new) on a broker that runs, with other settings.
    pub(crate) async fn on(
        kafka: Kafka,
        folder: tempfile::TempDir,
        name: &str,
        (nodes, connections): (usize, usize),
        change: impl FnOnce(&mut RecordSettings),
    ) -> Self {
        Self::sized(kafka, folder, name, (nodes, connections, PARTITIONS), None, change).await
    }

    async fn sized(
        kafka: Kafka,
        folder: tempfile::TempDir,
        name: &str,
        (nodes, connections, partitions): (usize, usize, i32),
        batch: Option<usize>,
        change: impl FnOnce(&mut RecordSettings),
    ) -> Self {
        let log = Log::kafka(&KafkaSettings::at(&kafka.address)).unwrap();
        log.check(Duration::from_secs(60)).await.unwrap();
        let cluster = format!("{name}-{}", now());
        let seed = number("WEIR_TEST_SEED", 1);
        let mut settings = settings(&cluster, partitions);
        change(&mut settings);
        let traffic = Traffic::new(&cluster, settings, nodes, connections, seed);
        let mut topics: Vec<TopicSpec> = topics::of(&cluster, partitions, 4, 2)
            .into_iter()
            .map(|topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs })
            .collect();
        let raw = topics.iter_mut().filter(|topic| topic.name == topics::raw(&cluster));
        let limits = raw.flat_map(|topic| &mut topic.configs).filter(|(name, _)| name == "max.message.bytes");
        limits.zip(batch).for_each(|((_, limit), batch)| *limit = batch.to_string());
        log.ensure_topics(&topics).await.unwrap();
        let producer = log.producer(&ProducerSettings::new("agents")).unwrap();
        put(&producer, topics::SETTINGS, &cluster, &Settings::from(&traffic.settings)).await;
        for (key, metadata) in traffic.metadata() {
            put(&producer, topics::METADATA, &key, &metadata).await;
        }
        let output = std::env::var("WEIR_TEST_OUTPUT").map_or_else(|_| folder.path().join("output"), Into::into);
        let start = HowToStart {
            kafka: kafka.address.clone(),
            cluster: cluster.clone(),
            output,
            memory: "512MiB",
            arguments: &[],
        };
        let oracle = Oracle::new(&log, &cluster).await;
        let tick = time::floor_to(now(), traffic.settings.tick);
        Self { kafka, start, traffic, oracle, log, producer, tick, folder }
    }

    /// A batch of the next tick, which is not published.
    pub(crate) fn some_batch(&self) -> RawBatch {
        let (cluster, settings) = (&self.traffic.cluster, self.traffic.settings.clone());
        let mut others = Traffic::new(cluster, settings, 1, 20, 7);
        others.tick(self.tick, |_| 0).remove(0).1
    }

    /// Publishes bytes on the raw topic; the partition and the offset that they have there.
    pub(crate) async fn publish_bytes(&self, partition: i32, value: Vec<u8>) -> (i32, i64) {
        let record = NewRecord::new(topics::raw(&self.traffic.cluster), "node-0".to_owned(), value);
        let delivery = self.producer.send(record.to_partition(partition)).unwrap().await.unwrap();
        (delivery.partition, delivery.offset)
    }

    /// Publishes bytes that are more than a producer sends by itself, as they are.
    pub(crate) async fn publish_large(&self, partition: i32, value: Vec<u8>) -> (i32, i64) {
        let size = value.len();
        let settings = ProducerSettings {
            compression: Compression::None,
            queue_bytes: 4 * size,
            max_record_bytes: 2 * size,
            ..ProducerSettings::new("large")
        };
        let producer = self.log.producer(&settings).unwrap();
        let record = NewRecord::new(topics::raw(&self.traffic.cluster), "node-0".to_owned(), value);
        let delivery = producer.send(record.to_partition(partition)).unwrap().await.unwrap();
        (delivery.partition, delivery.offset)
    }

    /// Publishes a message of this size in zstd, of which a compressor makes next to nothing: the broker takes it, since its
    /// limit is of what it is sent.
    pub(crate) async fn publish_bomb(&self, partition: i32, size: usize) -> (i32, i64) {
        let settings = ProducerSettings {
            compression: Compression::Zstd,
            queue_bytes: 4 * size,
            max_record_bytes: 2 * size,
            ..ProducerSettings::new("bomb")
        };
        let producer = self.log.producer(&settings).unwrap();
        let record = NewRecord::new(topics::raw(&self.traffic.cluster), "node-0".to_owned(), vec![0; size]);
        let delivery = producer.send(record.to_partition(partition)).unwrap().await.unwrap();
        (delivery.partition, delivery.offset)
    }

    /// Everything that stands on a topic.
    pub(crate) async fn read_all(&self, topic: &str) -> Vec<bytes::Bytes> {
        let mut reader = self.log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(30)).await.unwrap();
        records.into_iter().filter_map(|record| record.value).collect()
    }

    /// Publishes every tick that is over by now, of agents whose clocks are off by `skew`.
    pub(crate) async fn publish_skewed(&mut self, skew: impl Fn(usize) -> Millis + Copy) {
        while self.tick + self.traffic.settings.tick <= now() {
            self.publish_tick(skew).await;
        }
    }

    async fn publish_tick(&mut self, skew: impl Fn(usize) -> Millis + Copy) {
        let batches = self.traffic.tick(self.tick, skew);
        self.publish(batches).await;
        self.tick += self.traffic.settings.tick;
    }

    async fn publish(&self, batches: Vec<(usize, RawBatch)>) {
        let mut sent = Vec::new();
        let topic = topics::raw(&self.traffic.cluster);
        for (node, batch) in batches {
            let record = NewRecord::new(topic.as_str(), batch.node.clone(), encode(&batch).unwrap());
            sent.push(self.producer.send(record.to_partition(self.traffic.partition(node))).unwrap());
        }
        for sent in sent {
            sent.await.unwrap();
        }
    }

    /// Publishes this many ticks at once, the last of which is over now.
    pub(crate) async fn publish_past(&mut self, ticks: i64) {
        self.tick -= ticks * self.traffic.settings.tick;
        for _ in 0..ticks {
            self.publish_tick(|_| 0).await;
        }
    }

    /// As [`publish_past`](Self::publish_past), where a node's batches come `late(node)` ticks after the others'.
    pub(crate) async fn publish_past_late(&mut self, ticks: usize, late: impl Fn(usize) -> usize) {
        self.tick -= i64::try_from(ticks).unwrap() * self.traffic.settings.tick;
        let mut due: BTreeMap<usize, Vec<(usize, RawBatch)>> = BTreeMap::new();
        for number in 0..ticks {
            for (node, batch) in self.traffic.tick(self.tick, |_| 0) {
                due.entry(number + late(node)).or_default().push((node, batch));
            }
            self.tick += self.traffic.settings.tick;
        }
        for batches in due.into_values() {
            self.publish(batches).await;
        }
    }

    /// Publishes and reads for a while.
    pub(crate) async fn run(&mut self, length: Duration) {
        let end = std::time::Instant::now() + length;
        while std::time::Instant::now() < end {
            self.publish_skewed(|_| 0).await;
            self.oracle.read(Duration::from_millis(50)).await;
        }
    }

    /// Publishes and reads until a record of a window that began after `since` is there; how long that took.
    pub(crate) async fn until_newer(&mut self, since: Millis, patience: Duration) -> Duration {
        let took = self.newer(since, patience).await;
        took.unwrap_or_else(|| panic!("nothing new for {patience:?}; {}", self.output()))
    }

    /// As [`until_newer`](Self::until_newer), or nothing where that takes too long.
    async fn newer(&mut self, since: Millis, patience: Duration) -> Option<Duration> {
        let begun = std::time::Instant::now();
        while self.oracle.newest < since {
            if begun.elapsed() > patience {
                return None;
            }
            self.run(Duration::from_millis(100)).await;
        }
        Some(begun.elapsed())
    }

    /// As [`until_newer`](Self::until_newer) after a kill of the broker. A real Kafka may have forgotten to end a transaction that
    /// it had promised to commit: then the test does what the enricher's warning tells a person to do, and says so.
    pub(crate) async fn until_newer_after_kill(&mut self, since: Millis) -> Duration {
        let patience = Duration::from_secs(60);
        if let Some(took) = self.newer(since, patience).await {
            return took;
        }
        let ended = self.kafka.end_hanging();
        assert!(!ended.is_empty(), "nothing new for {patience:?}, and no transaction hangs; {}", self.output());
        eprintln!(
            "fault broker: it had left a transaction open in {} partitions, which was ended by hand",
            ended.len()
        );
        patience + self.until_newer(since, USUAL).await
    }

    /// Falls silent and expects that everything is there exactly once.
    pub(crate) async fn expect_exact(&mut self, patience: Duration) {
        self.oracle.expect(&self.traffic, patience).await;
        let lost = self.oracle.expect_ledger(&self.traffic).await;
        assert!(lost.is_empty(), "nothing may be lost: {lost:?}");
        assert_eq!(self.oracle.repeated, 0, "records were written twice");
    }

    /// The end of what the enrichers said.
    pub(crate) fn output(&self) -> String {
        let text = std::fs::read_to_string(&self.start.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Publishes and waits for the first message of a transaction: markers go to every internal partition, and stand there
    /// before the transaction ends.
    pub(crate) async fn until_writing(&mut self) -> bool {
        let internal = TopicPartition::new(topics::partial(&self.traffic.cluster), 0);
        let before = self.log.log_end(&internal).await.unwrap();
        for _ in 0..5_000 {
            if self.log.log_end(&internal).await.unwrap() > before {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.publish_skewed(|_| 0).await;
        }
        false
    }
}

async fn put<T: Message>(producer: &Producer, topic: &str, key: &str, value: &T) {
    let record = NewRecord::new(topic, key.to_owned(), encode(value).unwrap()).to_partition(0);
    producer.send(record).unwrap().await.unwrap();
}
