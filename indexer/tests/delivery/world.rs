//! A log, an engine, and what goes wrong between them and the indexer.

use crate::records::record;
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
use weir_indexer::IndexerSettings;
use weir_indexer::dataset::Dataset;
use weir_schemas::enriched::{Enriched, document_id};
use weir_schemas::{dead_letter::DeadLetter, topics};
use weir_service::{Health, Metrics};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start, TopicPartition, TopicSpec};

pub(crate) const GROUP: &str = "weir-indexer";
pub(crate) const PARTITIONS: i32 = 2;

/// A log, an engine and the proxy between.
pub(crate) struct World {
    pub(crate) log: Log,
    /// The indexer's way to the log.
    pub(crate) read: Log,
    /// The engine itself.
    pub(crate) direct: Elastic,
    pub(crate) proxied: ElasticSettings,
    pub(crate) proxy: Proxy,
    /// The day that this world's records are of, so that worlds on one engine do not meet.
    pub(crate) day: i64,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
}

pub(crate) static DAY: AtomicU32 = AtomicU32::new(0);

impl World {
    pub(crate) async fn new(log: Log, engine: &str, plan: Plan) -> Self {
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
            read: log.clone(),
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

    pub(crate) fn index(&self) -> String {
        weir_indexer::index::Index::of(
            weir_indexer::index::IndexKind::Flows,
            1,
            self.day * 86_400_000,
            weir_flow::settings::IndexPeriod::Day,
        )
        .unwrap()
        .to_string()
    }

    pub(crate) async fn delete_index(&self) {
        self.direct.delete_index(&self.index()).await.unwrap();
    }

    /// Record number `n` of this world.
    pub(crate) fn record(&self, n: u64) -> Enriched {
        record(self.day, n)
    }

    pub(crate) async fn produce(&self, values: impl IntoIterator<Item = Vec<u8>>) {
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

    pub(crate) async fn produce_records(&self, records: &[Enriched]) {
        self.produce(records.iter().map(|r| weir_schemas::encode(r).unwrap())).await;
    }

    /// Those that the broker did not acknowledge.
    pub(crate) async fn produce_some(&self, records: &[Enriched]) -> Vec<Enriched> {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        let mut deliveries = Vec::new();
        for record in records {
            let message = NewRecord::new(topics::ENRICHED, record.id.clone(), weir_schemas::encode(record).unwrap());
            deliveries.push(producer.send(message.to_partition(0)).unwrap());
        }
        let mut refused = Vec::new();
        for (delivery, record) in deliveries.into_iter().zip(records) {
            if delivery.await.is_err() {
                refused.push(record.clone());
            }
        }
        refused
    }

    pub(crate) async fn produce_to(&self, topic: &str, value: Vec<u8>) {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        producer.send(NewRecord::new(topic, "key", value)).unwrap().await.unwrap();
    }

    /// Settings under which bulks are small and quick.
    pub(crate) fn settings() -> IndexerSettings {
        IndexerSettings {
            indexer_bulk_bytes: 64 << 10,
            indexer_bulk_wait: Duration::from_millis(20),
            indexer_instance: Some("one".to_owned()),
            ..IndexerSettings::default()
        }
    }

    pub(crate) fn run(&self) -> Indexer {
        self.run_with(Self::settings())
    }

    pub(crate) fn run_with(&self, settings: IndexerSettings) -> Indexer {
        let token = CancellationToken::new();
        let (log, elastic) = (self.read.clone(), Elastic::new(&self.proxied).unwrap());
        let (metrics, health, stop) = (self.metrics.clone(), self.health.clone(), token.clone());
        let task =
            tokio::spawn(async move { weir_indexer::run(settings, log, elastic, &metrics, &health, stop).await });
        Indexer { token, task }
    }

    /// Waits until every record is committed.
    pub(crate) async fn committed(&self) {
        self.committed_within(Duration::from_secs(60)).await;
    }

    pub(crate) async fn committed_within(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.is_committed().await {
            assert!(Instant::now() < until, "not committed in time: {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every message of a data set with one partition is committed.
    pub(crate) async fn committed_of(&self, dataset: Dataset) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.is_committed_of(dataset, 1).await {
            assert!(Instant::now() < until, "not committed in time: {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn is_committed(&self) -> bool {
        self.is_committed_of(Dataset::Flows, PARTITIONS).await
    }

    pub(crate) async fn is_committed_of(&self, dataset: Dataset, partitions: i32) -> bool {
        let partitions: Vec<_> = (0..partitions).map(|p| TopicPartition::new(dataset.topic(), p)).collect();
        for (partition, committed) in self.log.committed(&dataset.group(GROUP), &partitions).await.unwrap() {
            let end = self.log.log_end(&partition).await.unwrap();
            if committed.map_or(0, |c| c.offset) < end {
                return false;
            }
        }
        true
    }

    /// How many documents there are.
    pub(crate) async fn count_documents(&self) -> u64 {
        self.direct.refresh(&self.index()).await.unwrap();
        self.direct.count(&self.index(), &json!({"match_all": {}})).await.unwrap()
    }

    /// Every document by id, with its `source.bytes`.
    pub(crate) async fn documents(&self) -> BTreeMap<String, u64> {
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

    /// The sum of a field over all documents.
    pub(crate) async fn sum(&self, field: &str) -> u64 {
        let query = json!({"size": 0, "aggs": {"sum": {"sum": {"field": field}}}});
        let answer = self.direct.search(&self.index(), &query).await.unwrap();
        // Whole numbers of this size are exact as the engine's floating ones.
        format!("{:.0}", answer["aggregations"]["sum"]["value"].as_f64().unwrap()).parse().unwrap()
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.dead_letters_of(topics::ENRICHED).await
    }

    pub(crate) async fn dead_letters_of(&self, topic: &str) -> Vec<DeadLetter> {
        let topic = topics::dead_letter(topic);
        let mut reader = self.log.reader(&topic, Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(1)).await.unwrap();
        records.iter().map(|r| weir_schemas::decode(r.value.as_ref().unwrap()).unwrap()).collect()
    }

    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics.value(name, labels).unwrap_or(0.0)
    }
}

pub(crate) struct Indexer {
    pub(crate) token: CancellationToken,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
}

impl Indexer {
    pub(crate) async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As a kill -9 would: whatever is under way is gone.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) fn expected(records: &[Enriched]) -> BTreeMap<String, u64> {
    records.iter().map(|r| (document_id(&r.id), r.totals.forward_bytes)).collect()
}

pub(crate) async fn embedded() -> (SearchServer, TempDir) {
    let data = TempDir::new().unwrap();
    let settings = SearchSettings::new(data.path(), "127.0.0.1:0".parse().unwrap());
    (SearchServer::start(settings).await.unwrap(), data)
}

pub(crate) async fn broker() -> (Broker, TempDir) {
    let data = TempDir::new().unwrap();
    let settings = BrokerSettings::new(data.path(), "127.0.0.1:0".parse().unwrap());
    (Broker::start(settings).await.unwrap(), data)
}

pub(crate) fn kafka(broker: &Broker) -> Log {
    Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap()
}

/// A real engine where there is one, else the embedded one.
pub(crate) fn engine_or(embedded: &str) -> String {
    std::env::var("WEIR_TEST_ELASTICSEARCH").unwrap_or_else(|_| embedded.to_owned())
}

pub(crate) fn url(engine: &SearchServer) -> String {
    format!("http://{}", engine.address())
}

/// Runs a scenario on the log in memory and the embedded broker, both with the embedded engine, and on a real one where there is one.
pub(crate) async fn on_engines<F: Future<Output = ()>>(scenario: impl Fn(World) -> F) {
    on_broken_engines(&Plan::new(1), scenario).await;
}

/// The same with requests to the engine going wrong by this plan.
pub(crate) async fn on_broken_engines<F: Future<Output = ()>>(plan: &Plan, scenario: impl Fn(World) -> F) {
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
pub(crate) fn bulks(fault: Fault) -> Rule {
    Rule::new(fault).paths(&["/_bulk"])
}

pub(crate) fn items(status: u16, code: &'static str, per_mille: u16) -> Rule {
    bulks(Fault::Items { status, code, per_mille })
}
