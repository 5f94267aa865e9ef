//! Records from a log to an engine through a proxy that breaks bulks. The promise: every record is one document, with
//! the bytes of its highest correction, and the position is committed only behind that.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` the scenarios also run against that engine.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/records.rs"]
mod records;

use proxy::{Fault, Faults};
use records::{record, with};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_elastic::{Elastic, ElasticSettings};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_embedded_search::{SearchServer, SearchSettings};
use weir_indexer::dataset::Dataset;
use weir_indexer::periods::Periods;
use weir_indexer::{IndexerSettings, document};
use weir_schemas::audit::Audit;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::ledger::{Ledger, Reporter, Stored};
use weir_schemas::raw::Totals;
use weir_schemas::{dead_letter::DeadLetter, topics};
use weir_service::{Health, Metrics};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start, TopicPartition, TopicSpec};

const GROUP: &str = "weir-indexer";
const PARTITIONS: i32 = 2;

/// A log, an engine and the proxy between.
struct World {
    log: Log,
    /// The engine itself.
    direct: Elastic,
    proxied: ElasticSettings,
    faults: Faults,
    /// The day that this world's records are of, so that worlds on one engine do not meet.
    day: i64,
    metrics: Metrics,
    health: Health,
}

static DAY: AtomicU32 = AtomicU32::new(0);

impl World {
    async fn new(log: Log, engine: &str) -> Self {
        let topics = [topics::ENRICHED, topics::DNS, topics::LEDGER, topics::AUDIT];
        let partitions = |topic| if topic == topics::ENRICHED { PARTITIONS } else { 1 };
        log.ensure_topics(&topics.map(|topic| TopicSpec::new(topic, partitions(topic)))).await.unwrap();
        let faults = Faults::default();
        let proxy = proxy::start(engine, faults.clone()).await;
        let settings = |url: &str| ElasticSettings {
            elasticsearch_timeout: Duration::from_secs(10),
            ..ElasticSettings::of(&[url])
        };
        // A day of its own, years ago.
        let day = 1_000 + i64::from(DAY.fetch_add(1, Ordering::Relaxed)) + i64::from(std::process::id() % 5_000);
        let world = Self {
            log,
            direct: Elastic::new(&settings(engine)).unwrap(),
            proxied: settings(&proxy),
            faults,
            day,
            metrics: Metrics::new(),
            health: Health::new(),
        };
        world.delete_index().await;
        world
    }

    fn index(&self) -> String {
        weir_indexer::index::Index::of(
            weir_indexer::index::IndexKind::Flows,
            1,
            self.day * 86_400_000,
            weir_flow::settings::IndexPeriod::Day,
        )
        .unwrap()
        .to_string()
    }

    async fn delete_index(&self) {
        self.direct.delete_index(&self.index()).await.unwrap();
    }

    fn break_bulks(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Record number `n` of this world.
    fn record(&self, n: u64) -> Enriched {
        record(self.day, n)
    }

    async fn produce(&self, values: impl IntoIterator<Item = Vec<u8>>) {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        let mut deliveries = Vec::new();
        for (n, value) in values.into_iter().enumerate() {
            let partition = i32::try_from(n).unwrap() % PARTITIONS;
            let record = NewRecord::new(topics::ENRICHED, format!("{n}"), value).to_partition(partition);
            deliveries.push(producer.send(record).unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }

    async fn produce_records(&self, records: &[Enriched]) {
        self.produce(records.iter().map(|r| weir_schemas::encode(r).unwrap())).await;
    }

    async fn produce_to(&self, topic: &str, value: Vec<u8>) {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        producer.send(NewRecord::new(topic, "key", value)).unwrap().await.unwrap();
    }

    fn run(&self) -> Indexer {
        let token = CancellationToken::new();
        let settings = IndexerSettings {
            indexer_bulk_bytes: 64 << 10,
            indexer_bulk_wait: Duration::from_millis(20),
            indexer_instance: Some("one".to_owned()),
            ..IndexerSettings::default()
        };
        let (log, elastic) = (self.log.clone(), Elastic::new(&self.proxied).unwrap());
        let (metrics, health, stop) = (self.metrics.clone(), self.health.clone(), token.clone());
        let task =
            tokio::spawn(async move { weir_indexer::run(settings, log, elastic, &metrics, &health, stop).await });
        Indexer { token, task }
    }

    /// Waits until every record is committed.
    async fn committed(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.is_committed().await {
            assert!(Instant::now() < until, "not committed in time: {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every message of a data set with one partition is committed.
    async fn committed_of(&self, dataset: Dataset) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.is_committed_of(dataset, 1).await {
            assert!(Instant::now() < until, "not committed in time: {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_committed(&self) -> bool {
        self.is_committed_of(Dataset::Flows, PARTITIONS).await
    }

    async fn is_committed_of(&self, dataset: Dataset, partitions: i32) -> bool {
        let partitions: Vec<_> = (0..partitions).map(|p| TopicPartition::new(dataset.topic(), p)).collect();
        for (partition, committed) in self.log.committed(&dataset.group(GROUP), &partitions).await.unwrap() {
            let end = self.log.log_end(&partition).await.unwrap();
            if committed.map_or(0, |c| c.offset) < end {
                return false;
            }
        }
        true
    }

    /// Every document by id, with its `source.bytes`.
    async fn documents(&self) -> BTreeMap<String, u64> {
        self.direct.refresh(&self.index()).await.unwrap();
        let query = json!({"size": 10_000, "track_total_hits": true, "query": {"match_all": {}}});
        let answer = self.direct.search(&self.index(), &query).await.unwrap();
        let hits = answer["hits"]["hits"].as_array().unwrap();
        assert_eq!(answer["hits"]["total"]["value"].as_u64(), u64::try_from(hits.len()).ok());
        hits.iter()
            .filter(|hit| hit["_index"] == self.index())
            .map(|hit| (hit["_id"].as_str().unwrap().to_owned(), hit["_source"]["source"]["bytes"].as_u64().unwrap()))
            .collect()
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.dead_letters_of(topics::ENRICHED).await
    }

    async fn dead_letters_of(&self, topic: &str) -> Vec<DeadLetter> {
        let topic = topics::dead_letter(topic);
        let mut reader = self.log.reader(&topic, Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(1)).await.unwrap();
        records.iter().map(|r| weir_schemas::decode(r.value.as_ref().unwrap()).unwrap()).collect()
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics.value(name, labels).unwrap_or(0.0)
    }
}

struct Indexer {
    token: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Indexer {
    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As a kill -9 would: whatever is under way is gone.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn expected(records: &[Enriched]) -> BTreeMap<String, u64> {
    records.iter().map(|r| (r.id.clone(), r.totals.forward_bytes)).collect()
}

async fn embedded() -> (SearchServer, TempDir) {
    let data = TempDir::new().unwrap();
    let settings = SearchSettings::new(data.path(), "127.0.0.1:0".parse().unwrap());
    (SearchServer::start(settings).await.unwrap(), data)
}

async fn broker() -> (Broker, TempDir) {
    let data = TempDir::new().unwrap();
    let settings = BrokerSettings::new(data.path(), "127.0.0.1:0".parse().unwrap());
    (Broker::start(settings).await.unwrap(), data)
}

fn kafka(broker: &Broker) -> Log {
    Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap()
}

fn url(engine: &SearchServer) -> String {
    format!("http://{}", engine.address())
}

/// Runs a scenario on the log in memory and the embedded broker, both with the embedded engine, and on a real one where there is one.
async fn on_engines<F: Future<Output = ()>>(scenario: impl Fn(World) -> F) {
    let (engine, _data) = embedded().await;
    scenario(World::new(Log::memory(), &url(&engine)).await).await;
    let (broker, _logs) = broker().await;
    scenario(World::new(kafka(&broker), &url(&engine)).await).await;
    broker.shutdown().await;
    engine.shutdown().await;
    match std::env::var("WEIR_TEST_ELASTICSEARCH") {
        Ok(url) => {
            let world = World::new(Log::memory(), &url).await;
            let (direct, index) = (world.direct.clone(), world.index());
            scenario(world).await;
            direct.delete_index(&index).await.unwrap();
        }
        Err(_) => eprintln!("skipped on a real engine: WEIR_TEST_ELASTICSEARCH is not set"),
    }
}

#[tokio::test]
async fn every_record_is_one_document_whatever_goes_wrong() {
    on_engines(|world| async move {
        let records: Vec<_> = (0..1_500).map(|n| world.record(n)).collect();
        world.break_bulks([
            Fault::BusyItems,
            Fault::Unavailable,
            Fault::Cut,
            Fault::WrongCount,
            Fault::BusyRequest,
            Fault::Blocked,
            Fault::Reset,
            Fault::BusyItems,
            Fault::Slow(200),
        ]);
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
        assert!(world.faults.lock().unwrap().is_empty(), "every fault happened");
        assert!(world.count("weir_indexer_operations_total", &[("fate", "stored")]) >= 1_500.0);
    })
    .await;
}

#[tokio::test]
async fn killed_again_and_again_it_still_writes_each_record_once() {
    on_engines(|world| async move {
        let records: Vec<_> = (0..2_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        for round in 0..10 {
            // The engine does its work, and the answer comes too late.
            world.break_bulks([Fault::Slow(30), Fault::Slow(30)]);
            let indexer = world.run();
            tokio::time::sleep(Duration::from_millis(10 + 15 * round)).await;
            indexer.kill().await;
        }
        world.faults.lock().unwrap().clear();
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
    })
    .await;
}

/// The real thing: the program, a broker, SIGKILL.
#[tokio::test]
async fn the_program_killed_mid_bulk_writes_each_record_once() {
    let (engine, _data) = embedded().await;
    let (broker, _logs) = broker().await;
    let world = World::new(kafka(&broker), &url(&engine)).await;
    let records: Vec<_> = (0..3_000).map(|n| world.record(n)).collect();
    world.produce_records(&records).await;
    let program = || {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_weir-indexer"))
            .args(["--kafka", &broker.address().to_string(), "--elasticsearch", &world.proxied.elasticsearch[0]])
            .args(["--indexer-bulk-bytes", "64KiB", "--indexer-bulk-wait", "20ms", "--indexer-instance", "one"])
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    for round in 0..8u64 {
        // The engine does its work, and the answer comes too late.
        world.break_bulks([Fault::Slow(20), Fault::Slow(500), Fault::Slow(500)]);
        let sent = world.faults.lock().unwrap().len();
        let mut child = program();
        let until = Instant::now() + Duration::from_secs(20);
        while world.faults.lock().unwrap().len() + 2 > sent && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        child.kill().await.unwrap();
        world.faults.lock().unwrap().clear();
    }
    let mut child = program();
    world.committed().await;
    child.kill().await.unwrap();
    assert_eq!(world.documents().await, expected(&records));
    assert!(world.dead_letters().await.is_empty());
    broker.shutdown().await;
    engine.shutdown().await;
}

/// An index that an older version made, whose strict mapping does not know every field, takes records of this version.
#[tokio::test]
async fn an_open_index_of_an_older_version_gets_the_fields_that_it_lacks() {
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        let network = mappings["properties"]["network"]["properties"].as_object_mut().unwrap();
        assert!(network.remove("community_id").is_some());
        let older = json!({"settings": template["template"]["settings"], "mappings": mappings});
        world.direct.create_index(&world.index(), &older).await.unwrap();
        let named = Enriched { community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".to_owned()), ..world.record(1) };
        world.produce_records(std::slice::from_ref(&named)).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[named]));
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_highest_correction_wins_in_any_order() {
    on_engines(|world| async move {
        let first = world.record(1);
        let corrected = with(&first, 1, 777, Kind::Upsert);
        let deleted = with(&world.record(2), 1, 0, Kind::Delete);
        // Partitions alternate, so corrections and originals of a record meet in one.
        world.produce_records(&[corrected.clone(), deleted, first, world.record(2)]).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[corrected]));
        assert!(world.count("weir_indexer_operations_total", &[("fate", "superseded")]) >= 1.0);
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_record_is_a_dead_letter_and_its_neighbours_are_stored() {
    on_engines(|world| async move {
        let records = [world.record(1), world.record(2)];
        let values = records.iter().map(|r| weir_schemas::encode(r).unwrap()).chain([b"junk".to_vec()]);
        world.produce(values).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        let dead = world.dead_letters().await;
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].topic.as_str(), dead[0].partition, dead[0].offset), (topics::ENRICHED, 0, 1));
        assert_eq!(dead[0].value.as_deref(), Some(b"junk".as_slice()));
        assert!(dead[0].cause.contains("Avro"), "{}", dead[0].cause);
    })
    .await;
}

#[tokio::test]
async fn too_many_unreadable_records_pause_and_alarm_without_filling_the_dead_letters() {
    let (engine, _data) = embedded().await;
    let world = World::new(Log::memory(), &url(&engine)).await;
    world.produce((0..200).map(|_| b"junk".to_vec())).await;
    let indexer = world.run();
    let until = Instant::now() + Duration::from_secs(30);
    while world.count("weir_indexer_alarms", &[]) < 1.0 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!world.health.is_ready());
    assert!(!world.is_committed().await);
    assert!(world.dead_letters().await.len() <= 10);
    indexer.kill().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn while_the_engine_is_away_nothing_is_committed_and_health_says_so() {
    on_engines(|world| async move {
        let records: Vec<_> = (0..100).map(|n| world.record(n)).collect();
        world.break_bulks([Fault::Unavailable; 4]);
        world.produce_records(&records).await;
        let indexer = world.run();
        let until = Instant::now() + Duration::from_secs(30);
        while world.count("weir_indexer_alarms", &[]) < 1.0 {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!world.health.is_ready());
        assert!(!world.is_committed().await);
        world.committed().await;
        assert!(world.health.is_ready(), "{:?}", world.health.report());
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_index_that_is_deleted_is_made_anew() {
    on_engines(|world| async move {
        let indexer = world.run();
        world.produce_records(&[world.record(1)]).await;
        world.committed().await;
        world.delete_index().await;
        world.produce_records(&[world.record(2)]).await;
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[world.record(2)]));
    })
    .await;
}

/// Every data set that is not flows: a message of each becomes one document of its own index, read twice or not.
#[tokio::test]
async fn dns_ledger_and_audit_are_data_sets_of_their_own() {
    on_engines(|world| async move {
        let noon = world.day * 86_400_000 + 43_200_000;
        let record = world.record(1);
        let dns = Dns {
            id: record.id.clone(),
            correction: 0,
            kind: Kind::Upsert,
            origin: record.origin,
            cluster: "test".into(),
            window: noon,
            generation: noon,
            client: record.initiator.clone(),
            server: record.responder.clone(),
            question: "db.example.com".into(),
            question_type: "A".into(),
            response_code: "NOERROR".into(),
            count: 2,
            latency: None,
            answers: vec!["203.0.113.7".into()],
            answers_more: 0,
        };
        let line = Ledger::Stored(Stored {
            cluster: "test".into(),
            partition: 0,
            generation: noon,
            level: 1,
            reporter: Reporter::Initiator,
            stored: Totals { packets: 3, bytes: 300, samples: 1 },
            filtered: Totals::default(),
            outside: Totals::default(),
        });
        let entry = Audit {
            at: noon,
            action: "delete_index".into(),
            target: "weir-flows-l1-2020.01.01".into(),
            reason: "budget".into(),
            bytes: 1,
            documents: 1,
            by: "a test".into(),
        };
        let periods = Periods::default();
        let indices = [
            document::prepare_dns(&dns, &periods).unwrap().index.to_string(),
            document::prepare_ledger(&line, &periods).unwrap().index.to_string(),
            document::prepare_audit(&entry, &periods).unwrap().index.to_string(),
        ];
        for index in &indices {
            world.direct.delete_index(index).await.unwrap();
        }
        for _ in 0..2 {
            world.produce_to(topics::DNS, weir_schemas::encode(&dns).unwrap()).await;
            world.produce_to(topics::LEDGER, weir_schemas::encode(&line).unwrap()).await;
            world.produce_to(topics::AUDIT, weir_schemas::encode(&entry).unwrap()).await;
        }
        let indexer = world.run();
        for dataset in [Dataset::Dns, Dataset::Ledger, Dataset::Audit] {
            world.committed_of(dataset).await;
        }
        indexer.stop().await;
        assert!(world.health.is_ready(), "{:?}", world.health.report());
        for (index, (field, value)) in indices.iter().zip([
            ("dns.question.name", json!("db.example.com")),
            ("weir.ledger.stored.bytes", json!(300)),
            ("weir.audit.target", json!("weir-flows-l1-2020.01.01")),
        ]) {
            world.direct.refresh(index).await.unwrap();
            assert_eq!(world.direct.count(index, &json!({"term": { field: value }})).await.unwrap(), 1, "{index}");
            assert_eq!(world.direct.count(index, &json!({"match_all": {}})).await.unwrap(), 1, "{index}");
            let (alias, _) = index.rsplit_once('-').unwrap();
            assert_eq!(world.direct.count(alias, &json!({"term": { field: value }})).await.unwrap(), 1, "{alias}");
            world.direct.delete_index(index).await.unwrap();
        }
        for dataset in [Dataset::Dns, Dataset::Ledger, Dataset::Audit] {
            assert!(world.dead_letters_of(dataset.topic()).await.is_empty());
        }
    })
    .await;
}
