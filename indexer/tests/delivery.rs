//! Records from a log to an engine through a proxy that breaks bulks. The promise: every record is one document, with
//! the bytes of its highest correction, and the position is committed only behind that.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` the scenarios also run against that engine.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/records.rs"]
mod records;

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
use weir_faults::{Fault, Plan, Proxy, Rule};
use weir_indexer::dataset::Dataset;
use weir_indexer::direct::Direct;
use weir_indexer::index::IndexKind;
use weir_indexer::periods::Periods;
use weir_indexer::{IndexerSettings, document};
use weir_schemas::audit::Audit;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::horizon::Horizon;
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
    proxy: Proxy,
    /// The day that this world's records are of, so that worlds on one engine do not meet.
    day: i64,
    metrics: Metrics,
    health: Health,
}

static DAY: AtomicU32 = AtomicU32::new(0);

impl World {
    async fn new(log: Log, engine: &str, plan: Plan) -> Self {
        let topics = [topics::ENRICHED, topics::DNS, topics::LEDGER, topics::AUDIT];
        let partitions = |topic| if topic == topics::ENRICHED { PARTITIONS } else { 1 };
        log.ensure_topics(&topics.map(|topic| TopicSpec::new(topic, partitions(topic)))).await.unwrap();
        let proxy = Proxy::http(engine, plan).await.unwrap();
        let settings = |url: &str| ElasticSettings {
            elasticsearch_timeout: Duration::from_secs(10),
            ..ElasticSettings::of(&[url])
        };
        // A day of its own, years ago.
        let day = 1_000 + i64::from(DAY.fetch_add(1, Ordering::Relaxed)) + i64::from(std::process::id() % 5_000);
        let world = Self {
            log,
            direct: Elastic::new(&settings(engine)).unwrap(),
            proxied: settings(&proxy.url()),
            proxy,
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
    on_broken_engines(&Plan::new(1), scenario).await;
}

/// The same with requests to the engine going wrong by this plan.
async fn on_broken_engines<F: Future<Output = ()>>(plan: &Plan, scenario: impl Fn(World) -> F) {
    let (engine, _data) = embedded().await;
    scenario(World::new(Log::memory(), &url(&engine), plan.clone()).await).await;
    let (broker, _logs) = broker().await;
    scenario(World::new(kafka(&broker), &url(&engine), plan.clone()).await).await;
    broker.shutdown().await;
    engine.shutdown().await;
    match std::env::var("WEIR_TEST_ELASTICSEARCH") {
        Ok(url) => {
            let world = World::new(Log::memory(), &url, plan.clone()).await;
            let (direct, index) = (world.direct.clone(), world.index());
            scenario(world).await;
            direct.delete_index(&index).await.unwrap();
        }
        Err(_) => eprintln!("skipped on a real engine: WEIR_TEST_ELASTICSEARCH is not set"),
    }
}

/// A fault of bulks alone.
fn bulks(fault: Fault) -> Rule {
    Rule::new(fault).paths(&["/_bulk"])
}

fn items(status: u16, code: &'static str, per_mille: u16) -> Rule {
    bulks(Fault::Items { status, code, per_mille })
}

/// Everything that can go wrong with a bulk, one after the other.
#[tokio::test]
async fn every_record_is_one_document_whatever_goes_wrong() {
    let faults = [
        items(429, "es_rejected_execution_exception", 500),
        bulks(Fault::Status(503)),
        bulks(Fault::Cut { within: 300 }),
        bulks(Fault::ShortAnswer),
        bulks(Fault::Status(429)),
        items(429, "cluster_block_exception", 1_000),
        items(403, "cluster_block_exception", 1_000),
        items(503, "unavailable_shards_exception", 700),
        bulks(Fault::Reset { within: 0 }),
        bulks(Fault::Reset { within: 500 }),
        bulks(Fault::DropAnswer),
        bulks(Fault::HalfClose),
        bulks(Fault::Throttle { bytes_per_second: 20_000 }),
        bulks(Fault::Delay { at_most: Duration::from_millis(200) }),
    ];
    let number = u64::try_from(faults.len()).unwrap();
    let plan = faults.into_iter().fold(Plan::new(5), |plan, rule| plan.with(rule.at_most(1)));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..3_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
        assert_eq!(world.proxy.counts().injected(), number, "{:?}", world.proxy.counts());
        assert!(world.count("weir_indexer_operations_total", &[("fate", "stored")]) >= 3_000.0);
    })
    .await;
}

/// A busy engine: a third of all items, a third of all requests. Only what failed is sent again, so nothing is stored twice.
#[tokio::test]
async fn only_what_a_busy_engine_refused_is_sent_again() {
    let busy = items(429, "es_rejected_execution_exception", 300).share(0.7);
    let plan = Plan::new(6).with(bulks(Fault::Status(429)).share(0.3)).with(busy);
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..4_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
        assert_eq!(world.count("weir_indexer_operations_total", &[("fate", "stored")]), 4_000.0);
        assert!(world.count("weir_indexer_waits_total", &[("reason", "busy")]) >= 1.0);
        assert_eq!(world.count("weir_indexer_alarms", &[]), 0.0);
    })
    .await;
}

/// Some documents that the engine can never take: exactly those are dead letters, with their origin.
#[tokio::test]
async fn bad_items_are_dead_letters_and_their_neighbours_are_stored() {
    let plan = Plan::new(7).with(items(400, "document_parsing_exception", 4));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..4_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        let dead = world.dead_letters().await;
        assert!((4..60).contains(&dead.len()), "{}", dead.len());
        let mut all = world.documents().await;
        for letter in &dead {
            assert!(letter.cause.starts_with("document_parsing_exception: "), "{}", letter.cause);
            let record: Enriched = weir_schemas::decode(letter.value.as_ref().unwrap()).unwrap();
            let number = usize::try_from(letter.offset).unwrap() * 2 + usize::try_from(letter.partition).unwrap();
            assert_eq!(record, records[number], "its origin");
            assert_eq!(all.insert(record.id, record.totals.forward_bytes), None, "it was not stored");
        }
        assert_eq!(all, expected(&records));
    })
    .await;
}

#[tokio::test]
async fn killed_again_and_again_it_still_writes_each_record_once() {
    // The engine does its work, and the answer comes too late.
    let plan = Plan::new(8).with(bulks(Fault::Delay { at_most: Duration::from_millis(60) }));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..2_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        for round in 0..10 {
            let indexer = world.run();
            tokio::time::sleep(Duration::from_millis(10 + 15 * round)).await;
            indexer.kill().await;
        }
        world.proxy.heal();
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
    })
    .await;
}

/// How often the program is killed: `WEIR_TEST_KILLS`, 8 without it.
fn kills() -> u64 {
    std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8)
}

/// The real thing: the program, a broker, SIGKILL, on a real engine where there is one. Every other time the engine has done
/// everything and its answer is on its way.
#[tokio::test]
async fn the_program_killed_mid_bulk_writes_each_record_once() {
    let (engine, _data) = embedded().await;
    let engine_url = std::env::var("WEIR_TEST_ELASTICSEARCH").unwrap_or_else(|_| url(&engine));
    let (broker, _logs) = broker().await;
    let plan = Plan::new(9).with(bulks(Fault::Delay { at_most: Duration::from_millis(400) }));
    let world = World::new(kafka(&broker), &engine_url, plan).await;
    let mut records: Vec<_> = (0..2_000).map(|n| world.record(n)).collect();
    world.produce_records(&records).await;
    let program = || {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_weir-indexer"))
            .args(["--kafka", &broker.address().to_string(), "--elasticsearch", &world.proxied.elasticsearch[0]])
            .args(["--indexer-bulk-bytes", "64KiB", "--indexer-bulk-wait", "20ms", "--indexer-instance", "one"])
            .kill_on_drop(true)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let bulks_begun = || world.proxy.counts().injected();
    for round in 0..kills() {
        let more: Vec<_> = (0..200).map(|n| world.record(2_000 + 200 * round + n)).collect();
        world.produce_records(&more).await;
        records.extend(more);
        let begun = bulks_begun();
        let mut child = program();
        let until = Instant::now() + Duration::from_secs(20);
        while bulks_begun() < begun + 1 + round % 2 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(bulks_begun() > begun, "a bulk was under way");
        tokio::time::sleep(Duration::from_millis(7 * round % 100)).await;
        child.kill().await.unwrap();
    }
    world.proxy.heal();
    let mut child = program();
    world.committed().await;
    child.kill().await.unwrap();
    assert_eq!(world.documents().await, expected(&records));
    assert!(world.dead_letters().await.is_empty());
    world.delete_index().await;
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
        mappings["_meta"]["version"] = json!(1);
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
    let world = World::new(Log::memory(), &url(&engine), Plan::new(1)).await;
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
    let plan = Plan::new(2).with(bulks(Fault::Status(503)).at_most(4));
    on_broken_engines(&plan, |world| async move {
        let records: Vec<_> = (0..100).map(|n| world.record(n)).collect();
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

/// An index that a newer version made keeps its mapping; what this version writes fits into it.
#[tokio::test]
async fn an_open_index_of_a_newer_version_is_left_as_it_is() {
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        mappings["_meta"]["version"] = json!(999);
        mappings["properties"]["of_tomorrow"] = json!({"type": "keyword"});
        let alias = format!("{}-write", world.index());
        let newer =
            json!({"settings": template["template"]["settings"], "mappings": mappings, "aliases": { alias: {} }});
        world.direct.create_index(&world.index(), &newer).await.unwrap();
        world.produce_records(&[world.record(1)]).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[world.record(1)]));
        let states = world.direct.states(&world.index()).await.unwrap();
        assert_eq!(states[&world.index()].mappings["_meta"]["version"], 999);
    })
    .await;
}

/// The mapping of an index of ours is brought up to date before anything is written; a copy that somebody made is not.
#[tokio::test]
async fn open_indices_of_an_older_version_are_up_to_date_when_the_indexer_has_started() {
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        mappings["_meta"]["version"] = json!(1);
        let copy = format!("{}-copy", world.index());
        world.direct.delete_index(&copy).await.unwrap();
        for (index, aliases) in [
            (world.index(), json!({ format!("{}-write", world.index()): {} })),
            (copy.clone(), json!({ format!("{}-write", world.index()): {"is_write_index": false} })),
        ] {
            let body = json!({"settings": template["template"]["settings"], "mappings": mappings, "aliases": aliases});
            world.direct.create_index(&index, &body).await.unwrap();
        }
        let indexer = world.run();
        let until = Instant::now() + Duration::from_secs(30);
        while !world.health.is_ready() {
            assert!(Instant::now() < until, "{:?}", world.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        indexer.stop().await;
        let states = world.direct.states(&format!("{}*", world.index())).await.unwrap();
        let version = |index: &str| states[index].mappings["_meta"]["version"].as_u64().unwrap();
        let ours = weir_indexer::template::version(&template["template"]["mappings"]);
        assert_eq!((version(&world.index()), version(&copy)), (ours, 1));
        assert_eq!(world.count("weir_indexer_mappings_updated_total", &[]), 1.0);
        world.direct.delete_index(&copy).await.unwrap();
    })
    .await;
}

/// What retention has deleted is not made anew by a record that comes late; what it has not is made on demand.
#[tokio::test]
async fn a_record_below_the_horizon_is_refused_and_counted_and_others_get_their_index() {
    on_engines(|world| async move {
        let before = (world.day + 1) * 86_400_000;
        let horizon = Horizon { kind: "flows".into(), level: 1, cluster: String::new(), before };
        world.log.ensure_topics(&[TopicSpec::new(topics::HORIZON, 1).with("cleanup.policy", "compact")]).await.unwrap();
        let indexer = world.run();
        world.produce_records(&[world.record(1)]).await;
        world.committed().await;
        assert_eq!(world.documents().await, expected(&[world.record(1)]));
        // As retention does it, while the indexer runs and knows the index: announced, deleted.
        world.produce_to(topics::HORIZON, weir_schemas::encode(&horizon).unwrap()).await;
        world.delete_index().await;
        let refused = || world.count("weir_indexer_operations_total", &[("fate", "below_horizon")]);
        let until = Instant::now() + Duration::from_secs(30);
        let mut sent = 0.0;
        while refused() < 1.0 {
            assert!(Instant::now() < until);
            world.produce_records(&[world.record(2)]).await;
            world.committed().await;
            sent += 1.0;
        }
        assert!(refused() <= sent);
        let summary = Enriched { level: 2, ..world.record(3) };
        world.produce_records(std::slice::from_ref(&summary)).await;
        world.committed().await;
        indexer.stop().await;
        let prepared = document::prepare(&summary, &Periods::default()).unwrap();
        assert_eq!(prepared.window / 86_400_000, world.day, "as old as what was refused");
        let index = prepared.index.to_string();
        world.direct.refresh(&index).await.unwrap();
        assert_eq!(world.direct.count(&index, &json!({"match_all": {}})).await.unwrap(), 1);
        world.direct.delete_index(&index).await.unwrap();
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn compressed_requests_are_understood() {
    on_engines(|mut world| async move {
        world.proxied.elasticsearch_gzip = true;
        let records: Vec<_> = (0..500).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
    })
    .await;
}

/// As `weir replay --index` does it: flows of their own kind, written without a topic, and nobody's flows otherwise.
#[tokio::test]
async fn replayed_flows_are_written_at_once_into_indices_of_their_own() {
    on_engines(|world| async move {
        let records: Vec<_> = (0..50).map(|n| world.record(n)).collect();
        let prepared: Vec<_> =
            records.iter().map(|r| document::prepare_as(IndexKind::Replay, r, &Periods::default()).unwrap()).collect();
        let index = prepared[0].index.to_string();
        assert!(index.starts_with("weir-replay-l1-"));
        world.direct.delete_index(&index).await.unwrap();
        let direct = Direct::new(Elastic::new(&world.proxied).unwrap(), &Metrics::new()).unwrap();
        for _ in 0..2 {
            direct.write(&prepared).await.unwrap();
        }
        world.direct.refresh(&index).await.unwrap();
        assert_eq!(world.direct.count(&index, &json!({"match_all": {}})).await.unwrap(), 50);
        assert_eq!(world.direct.count("weir-replay", &json!({"match_all": {}})).await.unwrap(), 50);
        world.direct.delete_index(&index).await.unwrap();
    })
    .await;
}
