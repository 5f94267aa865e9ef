use super::*;
use crate::fixtures::{CLUSTER, arriving, batch, sample, settings};
use crate::stage1::RawBatch;
use std::collections::BTreeMap;
use std::time::Instant;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::enriched::{Arrival, Attribution, Enriched};
use weir_schemas::ledger::Ledger;
use weir_schemas::metadata::{Agent, Bound, BoundSource, Heartbeat, Metadata, Object, Pod, Proof, Revision};
use weir_schemas::settings::Settings;
use weir_schemas::{Message, decode, encode};
use weir_stream::memory::Fault;
use weir_stream::{MemoryLog, NewRecord, ProducerSettings, TopicSpec};

mod changed;
mod clocks;
mod dns;
mod hostile;
mod places;
mod pressure;
mod replayed;
mod stalls;

/// A log in memory with the topics of a cluster, its settings and its metadata.
struct World {
    memory: MemoryLog,
    log: Log,
    metrics: Metrics,
    health: Health,
}

const ALWAYS: Bound = Bound { earliest: NEVER, latest: NEVER, source: BoundSource::Always };

fn revision(uid: &str, namespace: &str, name: &str, object: Object) -> Metadata {
    Metadata::Revision(Revision {
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        cluster: CLUSTER.to_owned(),
        uid: uid.to_owned(),
        revision: 1,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: vec!["app=x".to_owned()],
        valid_from: ALWAYS,
        valid_to: None,
        object,
    })
}

fn a_pod(name: &str, address: &str, workload: &str, node: &str) -> Metadata {
    let pod = Pod {
        addresses: vec![address.parse().unwrap()],
        node: node.to_owned(),
        workload_kind: "Deployment".to_owned(),
        workload: workload.to_owned(),
        ..Pod::default()
    };
    revision(name, "shop", name, Object::Pod(pod))
}

fn heartbeat(complete_to: Millis) -> Metadata {
    Metadata::Heartbeat(Heartbeat {
        cluster: CLUSTER.to_owned(),
        complete_to,
        proof: Proof::Manifests,
        cluster_known: true,
    })
}

impl World {
    async fn new(raw: i32, internal: i32) -> Self {
        let world = Self::bare(raw, internal).await;
        let record = Settings::from(&settings(raw, internal));
        world.put(topics::SETTINGS, 0, "local/0", &record).await;
        for agent in ["node-a", "node-b"] {
            let object = Object::Agent(Agent { node: agent.to_owned(), ..Agent::default() });
            world.metadata(&revision(agent, "", agent, object)).await;
        }
        world.metadata(&a_pod("web-1", "10.0.0.1", "web", "node-a")).await;
        world.metadata(&a_pod("db-1", "10.0.0.2", "db", "node-b")).await;
        world
    }

    async fn bare(raw: i32, internal: i32) -> Self {
        let memory = MemoryLog::new();
        memory.set_time(1_000_000);
        let log = Log::from(memory.clone());
        let specs: Vec<TopicSpec> = topics::of(CLUSTER, raw, internal, 2)
            .into_iter()
            .map(|topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs })
            .collect();
        log.ensure_topics(&specs).await.unwrap();
        Self { memory, log, metrics: Metrics::new(), health: Health::new() }
    }

    async fn put<T: Message>(&self, topic: &str, partition: i32, key: &str, value: &T) {
        self.send(topic, partition, key, encode(value).unwrap()).await;
    }

    async fn send(&self, topic: &str, partition: i32, key: &str, value: Vec<u8>) {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        producer.send(NewRecord::new(topic, key.to_owned(), value).to_partition(partition)).unwrap().await.unwrap();
    }

    async fn metadata(&self, message: &Metadata) {
        let key = match message {
            Metadata::Revision(r) => format!("{}/{}/{}", r.cluster, r.uid, r.revision),
            Metadata::Heartbeat(h) => format!("{}/heartbeat/0", h.cluster),
        };
        self.put(topics::METADATA, 0, &key, message).await;
    }

    /// A batch, appended when its tick ends.
    async fn raw(&self, partition: i32, batch: &RawBatch) {
        self.memory.set_time(batch.tick + batch.tick_length);
        self.put(&topics::raw(CLUSTER), partition, &batch.node, batch).await;
    }

    fn read<T: Message>(&self, topic: &str) -> Vec<T> {
        self.memory.all_records(topic).iter().map(|record| decode(record.value.as_ref().unwrap()).unwrap()).collect()
    }

    fn enriched(&self) -> Vec<Enriched> {
        self.read(topics::ENRICHED)
    }

    fn start(&self, instance: &str) -> Running {
        self.start_with(Self::settings(instance))
    }

    fn settings(instance: &str) -> EnricherSettings {
        EnricherSettings {
            instance: Some(instance.to_owned()),
            poll: Duration::from_millis(5),
            retry_limit: Duration::from_millis(50),
            ..EnricherSettings::default()
        }
    }

    fn start_with(&self, settings: EnricherSettings) -> Running {
        self.start_counting(settings, self.metrics.clone())
    }

    /// A process with metrics of its own.
    fn start_counting(&self, settings: EnricherSettings, metrics: Metrics) -> Running {
        let token = CancellationToken::new();
        let (log, health, stop) = (self.log.clone(), self.health.clone(), token.clone());
        let task = tokio::spawn(async move { run(settings, log, &metrics, &health, stop).await });
        Running { token, task }
    }

    /// Waits until the condition holds.
    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !condition(self) {
            assert!(begun.elapsed() < Duration::from_secs(20), "timed out: {what}; {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

struct Running {
    token: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn stop(self) -> anyhow::Result<()> {
        self.token.cancel();
        self.task.await.unwrap()
    }
}

/// Two windows of traffic from both ends, the two nodes on two raw partitions, and batches that close them.
async fn traffic(world: &World) {
    for tick in [100_000, 101_000, 102_000, 103_000, 104_000, 105_000, 112_000] {
        let sequence = u64::try_from(tick / 1_000 - 100).unwrap();
        world.raw(0, &batch("node-a", sequence, tick, vec![sample(100), sample(50)])).await;
        world.raw(1, &batch("node-b", sequence, tick, vec![arriving(sample(100)), arriving(sample(50))])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_become_records_with_both_reports() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    traffic(&world).await;
    let running = world.start("one");
    world.until("two windows at four levels", |world| world.enriched().len() >= 8).await;
    running.stop().await.unwrap();
    let records = world.enriched();
    assert_eq!(records.len(), 8);
    for record in &records {
        let ticks: u64 = if record.window == 100_000 { 5 } else { 1 };
        assert_eq!(record.totals.forward_bytes, 150 * ticks, "{record:?}");
        assert_eq!(record.totals.started, 2 * ticks);
        assert_eq!(record.by_initiator.as_ref().unwrap().counters.forward_bytes, 150 * ticks);
        assert_eq!(record.by_responder.as_ref().unwrap().counters.forward_bytes, 150 * ticks);
        assert_eq!(record.arrival, Arrival::Ok);
        assert_eq!(record.initiator.attribution, Attribution::Exact);
        assert_eq!(record.initiator.workload.as_deref(), Some("web"));
        assert_eq!(record.responder.workload.as_deref(), Some("db"));
        assert_eq!(record.samples, 4 * ticks);
    }
    let received: u64 = world
        .read::<Ledger>(topics::LEDGER)
        .iter()
        .map(|line| if let Ledger::Received(line) = line { line.received.samples } else { 0 })
        .sum();
    let stored: u64 = world
        .read::<Ledger>(topics::LEDGER)
        .iter()
        .map(|line| match line {
            Ledger::Stored(line) if line.level == 1 => line.stored.samples,
            _ => 0,
        })
        .sum();
    assert_eq!((received, stored), (24, 24), "what was received is stored");
    assert!(!world.read::<Checkpoint>(&topics::checkpoint(CLUSTER)).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_wait_for_metadata() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(106_000)).await;
    world.raw(0, &batch("node-a", 0, 100_000, vec![sample(100)])).await;
    world.raw(0, &batch("node-a", 1, 120_000, vec![])).await;
    let running = world.start("one");
    world.until("batches read", |world| world.metrics.value("weir_enricher_batches_total", &[]) == Some(2.0)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.enriched().is_empty(), "the window's end plus grace is 107 000");
    world.metadata(&heartbeat(107_000)).await;
    world.until("records", |world| !world.enriched().is_empty()).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_goes_to_the_dead_letter_topic_once() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let raw = topics::raw(CLUSTER);
    world.send(&raw, 0, "node-a", b"first of all".to_vec()).await;
    world.raw(0, &batch("node-a", 0, 100_000, vec![sample(100)])).await;
    world.send(&raw, 0, "node-a", b"no batch".to_vec()).await;
    world.raw(0, &batch("node-a", 1, 120_000, vec![])).await;
    for _ in 0..2 {
        let running = world.start("one");
        world.until("records", |world| !world.enriched().is_empty()).await;
        world.until("dead letters", |world| world.memory.all_records(&topics::dead_letter(&raw)).len() >= 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        running.stop().await.unwrap();
    }
    let letters: Vec<DeadLetter> = world.read(&topics::dead_letter(&raw));
    let origins: Vec<_> = letters.iter().map(|letter| (letter.offset, letter.value.clone().unwrap())).collect();
    assert_eq!(origins, [(0, b"first of all".to_vec()), (2, b"no batch".to_vec())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_and_a_second_enricher_change_nothing() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    traffic(&world).await;
    let running = world.start("one");
    world.until("the first windows", |world| world.enriched().len() >= 8).await;
    running.stop().await.unwrap();
    let (one, two) = (world.start("one"), world.start("two"));
    for tick in [113_000, 114_000, 130_000] {
        world.raw(0, &batch("node-a", 9, tick, vec![sample(1)])).await;
        world.raw(1, &batch("node-b", 9, tick, vec![arriving(sample(1))])).await;
    }
    world.until("the third window", |world| world.enriched().len() >= 12).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    let mut bytes: BTreeMap<Millis, u64> = BTreeMap::new();
    for record in world.enriched().iter().filter(|record| record.level == 2) {
        *bytes.entry(record.window).or_default() += record.totals.forward_bytes;
    }
    assert_eq!(bytes, BTreeMap::from([(100_000, 750), (105_000, 150), (110_000, 152)]));
}

#[tokio::test]
async fn missing_settings_and_other_partition_counts_are_refused() {
    let world = World::bare(1, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let error = world.start("one").task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("weir init"), "{error:#}");
    let record = Settings::from(&settings(3, 1));
    world.put(topics::SETTINGS, 0, "local/0", &record).await;
    let error = world.start("one").task.await.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("has 1 partitions"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_positions_starts_only_on_a_whole_log() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    world.raw(0, &batch("node-a", 0, 100_000, vec![sample(100)])).await;
    world.raw(0, &batch("node-a", 1, 120_000, vec![])).await;
    let partition = weir_stream::TopicPartition::new(topics::raw(CLUSTER), 0);
    world.log.delete_records(&partition, 1).await.unwrap();
    let error = world.start("one").task.await.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("has no position for"), "{error:#}");
}

/// The records by id, as a consumer keeps them; a repeat must be byte-identical.
fn by_id(world: &World) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut stored = BTreeMap::new();
    for record in world.memory.all_records(topics::ENRICHED) {
        let (key, value) = (record.key.unwrap().to_vec(), record.value.unwrap().to_vec());
        let before = stored.insert(key, value.clone());
        assert!(before.is_none_or(|before| before == value), "an id was used again with other content");
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_transactions_change_nothing() {
    let quiet = World::new(2, 2).await;
    quiet.metadata(&heartbeat(FOR_EVER)).await;
    traffic(&quiet).await;
    let running = quiet.start("one");
    quiet.until("records", |world| by_id(world).len() >= 8).await;
    running.stop().await.unwrap();
    let expected = by_id(&quiet);
    let faults = [
        vec![Fault::CommitUnknown { applied: true }],
        vec![Fault::CommitUnknown { applied: false }],
        vec![Fault::CommitAbortable],
        vec![Fault::SendOffsetsAbortable],
        vec![
            Fault::CommitUnknown { applied: true },
            Fault::CommitUnknown { applied: false },
            Fault::SendOffsetsAbortable,
        ],
    ];
    for faults in faults {
        let world = World::new(2, 2).await;
        world.metadata(&heartbeat(FOR_EVER)).await;
        for fault in &faults {
            world.memory.inject(*fault);
        }
        traffic(&world).await;
        let running = world.start("one");
        world.until("records", |world| by_id(world).len() >= 8 && world.memory.faults().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        running.stop().await.unwrap();
        assert_eq!(by_id(&world), expected, "{faults:?}");
        assert_eq!(world.enriched().len(), expected.len(), "each record once: {faults:?}");
        let rebuilds: f64 = ["1", "2"]
            .iter()
            .filter_map(|stage| world.metrics.value("weir_enricher_rebuilds_total", &[("stage", stage)]))
            .sum();
        assert!(rebuilds >= 1.0, "{faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_between_enrichers_while_they_work() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let one = world.start("one");
    let two = world.start("two");
    for round in 0..20 {
        let tick = 100_000 + round * 1_000;
        world.raw(0, &batch("node-a", 0, tick, vec![sample(100)])).await;
        world.raw(1, &batch("node-b", 0, tick, vec![arriving(sample(100))])).await;
        if round % 5 == 2 {
            world.memory.expire_member("weir-enricher-1-local", if round % 2 == 0 { "one" } else { "two" });
            world.memory.expire_member("weir-enricher-2-local", if round % 2 == 0 { "two" } else { "one" });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.raw(0, &batch("node-a", 0, 140_000, vec![])).await;
    world.raw(1, &batch("node-b", 0, 140_000, vec![])).await;
    world.until("all windows", |world| by_id(world).len() >= 16).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    let records = world.enriched();
    assert_eq!(records.len(), by_id(&world).len());
    for level in 0..4 {
        let bytes: u64 = records.iter().filter(|record| record.level == level).map(|r| r.totals.forward_bytes).sum();
        assert_eq!(bytes, 2_000, "level {level}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_while_metadata_stalls_and_work_goes_on_afterwards() {
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(100_000)).await;
    let running = world.start_with(EnricherSettings {
        instance: Some("one".to_owned()),
        poll: Duration::from_millis(5),
        memory_limit: 20_000,
        ..EnricherSettings::default()
    });
    for round in 0..100 {
        world.raw(0, &batch("node-a", 0, 100_000 + round * 1_000, vec![sample(100); 10])).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let paused = |world: &World| world.metrics.value("weir_enricher_partitions_paused", &[("stage", "1")]) == Some(1.0);
    world.until("paused", paused).await;
    assert!(!world.health.is_ready() || world.enriched().is_empty());
    world.raw(0, &batch("node-a", 0, 300_000, vec![])).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let bytes = |world: &World| {
        world
            .enriched()
            .iter()
            .filter(|record| record.level == 2)
            .map(|record| record.totals.forward_bytes)
            .sum::<u64>()
    };
    world.until("everything", |world| bytes(world) == 100_000).await;
    world.until("resumed", |world| !paused(world)).await;
    running.stop().await.unwrap();
}
