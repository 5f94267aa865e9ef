//! An indexer on an engine, its log, and what is asked of both.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_elastic::{Elastic, Method};
use weir_indexer::IndexerSettings;
use weir_indexer::document;
use weir_indexer::periods::Periods;
use weir_schemas::enriched::Enriched;
use weir_schemas::topics;
use weir_service::{Health, Metrics};
use weir_stream::{Log, NewRecord, Partitions, ProducerSettings, Start, TopicPartition, TopicSpec};

/// Sets the engine's watermarks, and has it look at its disk every ten seconds; absent values take both back.
pub(crate) async fn watermarks(elastic: &Elastic, low: Value, high: Value, flood: Value) {
    let settings = json!({"persistent": {
        "cluster.info.update.interval": if flood.is_null() { Value::Null } else { "10s".into() },
        "cluster.routing.allocation.disk.watermark.low": low,
        "cluster.routing.allocation.disk.watermark.high": high,
        "cluster.routing.allocation.disk.watermark.flood_stage": flood,
    }});
    elastic.request(Method::Put, "/_cluster/settings", &[], Some(settings.to_string().into())).await.unwrap();
}

/// Free space on the only disk, bytes, as the engine says.
pub(crate) async fn free(elastic: &Elastic) -> u64 {
    elastic.nodes_disk().await.unwrap()[0].available
}

/// The index that a record goes into.
pub(crate) fn index(record: &Enriched) -> String {
    document::prepare(record, &Periods::default()).unwrap().index.to_string()
}

pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) elastic: Elastic,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    token: CancellationToken,
    indexer: Option<JoinHandle<anyhow::Result<()>>>,
}

impl World {
    /// Topics without records, and no indexer yet.
    pub(crate) async fn new(elastic: &Elastic) -> Self {
        let log = Log::memory();
        let all = [topics::ENRICHED, topics::DNS, topics::LEDGER, topics::AUDIT].map(|topic| TopicSpec::new(topic, 1));
        log.ensure_topics(&all).await.unwrap();
        let (metrics, health, token) = (Metrics::new(), Health::new(), CancellationToken::new());
        Self { log, elastic: elastic.clone(), metrics, health, token, indexer: None }
    }

    pub(crate) fn start_indexer(&mut self) {
        let settings = IndexerSettings { indexer_bulk_wait: Duration::from_millis(50), ..IndexerSettings::default() };
        let (log, elastic, token) = (self.log.clone(), self.elastic.clone(), self.token.clone());
        let (metrics, health) = (self.metrics.clone(), self.health.clone());
        let run = async move { weir_indexer::run(settings, log, elastic, &metrics, &health, token).await };
        self.indexer = Some(tokio::spawn(run));
    }

    pub(crate) async fn produce(&self, records: &[Enriched]) {
        let producer = self.log.producer(&ProducerSettings::new("test")).unwrap();
        for record in records {
            let value = weir_schemas::encode(record).unwrap();
            producer.send(NewRecord::new(topics::ENRICHED, record.id.clone(), value)).unwrap().await.unwrap();
        }
    }

    pub(crate) async fn is_committed(&self) -> bool {
        let partition = TopicPartition::new(topics::ENRICHED, 0);
        let end = self.log.log_end(&partition).await.unwrap();
        let committed = self.log.committed("weir-indexer", &[partition]).await.unwrap();
        committed[0].1.as_ref().is_some_and(|c| c.offset >= end)
    }

    pub(crate) fn is_alarmed(&self) -> bool {
        self.metrics.value("weir_indexer_alarms", &[]).unwrap_or(0.0) >= 1.0
    }

    pub(crate) async fn wait(&self, what: &str, seconds: u64, mut holds: impl AsyncFnMut(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(self).await {
            assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}: {:?}", self.health.report());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        begun.elapsed()
    }

    /// Whether an index is blocked by the engine.
    pub(crate) async fn is_blocked(&self, index: &str) -> bool {
        let blocks = self.elastic.blocks(index).await.unwrap_or_default();
        blocks.iter().any(|block| block.name == "read_only_allow_delete")
    }

    /// Stops the indexer, and looks that an index holds so many documents and that none was given up.
    pub(crate) async fn expect_whole(mut self, index: &str, documents: u64) {
        self.token.cancel();
        if let Some(indexer) = self.indexer.take() {
            indexer.await.unwrap().unwrap();
        }
        self.elastic.refresh(index).await.unwrap();
        assert_eq!(self.elastic.count(index, &json!({"match_all": {}})).await.unwrap(), documents);
        let dead = topics::dead_letter(topics::ENRICHED);
        let mut reader = self.log.reader(&dead, Partitions::All, Start::Beginning).await.unwrap();
        assert!(reader.read_to_end(Duration::from_secs(2)).await.unwrap().is_empty(), "nothing was given up");
    }
}
