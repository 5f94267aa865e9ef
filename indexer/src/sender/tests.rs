use super::*;
use crate::document::prepare;
use crate::document::samples::maximal;
use crate::periods::Periods;
use tempfile::TempDir;
use weir_elastic::ElasticSettings;
use weir_elastic::bulk::Batch;
use weir_embedded_search::{SearchServer, SearchSettings};
use weir_schemas::enriched::Enriched;
use weir_schemas::horizon::Horizon;
use weir_service::Metrics;
use weir_stream::{ProducerSettings, TopicSpec};

/// 2026-11-22T00:00:00Z.
const DAY: i64 = 1_795_305_600_000;

const MOST: Allowance = Allowance { operations: 1_000, bulks: 2 };

struct World {
    log: Log,
    elastic: Elastic,
    metrics: Metrics,
    sender: Arc<Sender>,
    engine: SearchServer,
    _data: TempDir,
}

impl World {
    /// A sender whose horizons nobody follows: their topic lags behind without end.
    async fn new() -> Self {
        let data = TempDir::new().unwrap();
        let settings = SearchSettings::new(data.path(), "127.0.0.1:0".parse().unwrap());
        let engine = SearchServer::start(settings).await.unwrap();
        let elastic = Elastic::new(&ElasticSettings::of(&[&format!("http://{}", engine.address())])).unwrap();
        let (log, metrics) = (Log::memory(), Metrics::new());
        log.ensure_topics(&[TopicSpec::new(topics::HORIZON, 1)]).await.unwrap();
        let counted = IndexerMetrics::new(&metrics);
        let sender = Sender::new(
            elastic.clone(),
            Arc::new(Indices::new(elastic.clone(), counted.clone()).unwrap()),
            Bounds { horizons: Horizons::default(), log: log.clone(), guard: Guard::default(), most: MOST },
            log.producer(&ProducerSettings::new("test")).unwrap(),
            Patience::default(),
            counted,
            Health::new(),
        );
        Self { log, elastic, metrics, sender, engine, _data: data }
    }

    fn enriched(window: i64) -> Enriched {
        Enriched { level: 1, window, ..maximal() }
    }

    async fn deliver(&self, window: i64) {
        self.deliver_at(window, i64::MAX).await;
    }

    async fn deliver_at(&self, window: i64, now: i64) {
        let enriched = Self::enriched(window);
        let prepared = prepare(&enriched, &Periods::default()).unwrap();
        let mut batch = Batch::default();
        let place = batch.append(&prepared.operation);
        let body = batch.finish();
        let prepared = prepared.map(|operation| {
            assert_eq!(body.operation(place), operation);
            place
        });
        let record = Record {
            topic: topics::ENRICHED.into(),
            partition: 0,
            offset: 0,
            timestamp: 0,
            key: None,
            value: None,
            headers: vec![],
        };
        let bulk = Bulk { entries: vec![Entry { record, prepared: Ok(prepared) }], body };
        self.sender.deliver(&bulk).await;
        self.sender.prepare_next(&bulk, &Periods::default(), now).await;
    }

    fn fate(&self, fate: &str) -> f64 {
        self.metrics.value("weir_indexer_operations_total", &[("fate", fate)]).unwrap_or(0.0)
    }
}

#[tokio::test]
async fn an_index_that_retention_has_just_deleted_is_not_made_anew_however_late_its_horizon_is_followed() {
    let world = World::new().await;
    world.deliver(DAY).await;
    assert_eq!(world.fate("stored"), 1.0);
    let index = prepare(&World::enriched(DAY), &Periods::default()).unwrap().index.to_string();
    // As retention does it: announced, deleted.
    let before = DAY + 86_400_000;
    let horizon = Horizon { kind: "flows".into(), level: 1, cluster: String::new(), before, index: None };
    let producer = world.log.producer(&ProducerSettings::new("test")).unwrap();
    let value = weir_schemas::encode(&horizon).unwrap();
    producer.send(NewRecord::new(topics::HORIZON, horizon.key(), value)).unwrap().await.unwrap();
    world.elastic.delete_index(&index).await.unwrap();
    world.deliver(DAY + 60_000).await;
    assert_eq!((world.fate("stored"), world.fate("below_horizon")), (1.0, 1.0));
    assert!(world.elastic.indices(&format!("{index}*")).await.unwrap().is_empty());
    // The day after is none of that.
    world.deliver(before).await;
    assert_eq!(world.fate("stored"), 2.0);
    world.engine.shutdown().await;
}

#[tokio::test]
async fn what_is_written_at_the_end_of_a_period_makes_the_next_ones_index_once() {
    let world = World::new().await;
    let end = DAY + 86_400_000;
    world.deliver_at(DAY, DAY).await;
    let listed = async || {
        let indices = world.elastic.indices("weir-flows-l1-*").await.unwrap();
        indices.into_iter().map(|index| (index.name, index.docs, index.aliases)).collect::<Vec<_>>()
    };
    assert_eq!(listed().await.len(), 1);
    for _ in 0..2 {
        world.deliver_at(end - 60_000, end - 1).await;
    }
    let (next, docs, aliases) = listed().await.pop().unwrap();
    assert_eq!((next.as_str(), docs), ("weir-flows-l1-2026.11.23", Some(0)));
    assert!(aliases.contains(&format!("{next}-WRITE")), "{aliases:?}");
    assert_eq!(world.metrics.value("weir_indexer_indices_ahead_total", &[]), Some(1.0));
    world.deliver_at(end, end).await;
    assert_eq!(world.metrics.value("weir_indexer_indices_created_total", &[]), Some(2.0));
    world.engine.shutdown().await;
}

/// Three of ten operations are refused by chance, for ever: sizes stay as they are, and the engine is sent each operation as often as
/// chance makes it.
#[test]
fn an_engine_that_refuses_operations_by_chance_gets_whole_bulks_and_little_twice() {
    const BULK: usize = 20;
    const BULKS: usize = 3_000;
    let most = Allowance { operations: 1_000, bulks: 8 };
    let (mut congestion, mut refusals) = (Congestion::new(most), Refusals::default());
    let (mut state, mut left, mut requests, mut operations) = (1_u64, 0, 0, 0);
    for _ in 0..BULKS {
        // What is left goes with the next one.
        let of = BULK + std::mem::take(&mut left);
        let mut delivery = Delivery::new(of, Patience::default());
        loop {
            delivery.restrict(congestion.allowance().operations);
            let request = Request { sent: congestion.sent(), operations: delivery.batch().len(), of };
            let mut item = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let busy = (state >> 33) % 10 < 3;
                Item {
                    status: if busy { 429 } else { 201 },
                    error: busy.then(|| Cause { code: "r".into(), reason: "r".into() }),
                }
            };
            let items = (0..request.operations).map(|_| item()).collect();
            let outcome = delivery.answered(&Answer { items, took: 0 }, &mut refusals, 0.0);
            learn(&mut congestion, request, &outcome);
            (requests, operations) = (requests + 1, operations + request.operations);
            match outcome.next {
                Next::Finished => break,
                Next::Later(_) => {
                    left = delivery.batch().len();
                    break;
                }
                Next::More | Next::Wait(..) => {}
            }
        }
    }
    assert!(requests < BULKS + BULKS / 10, "{requests} requests for {BULKS} bulks");
    assert!(2 * operations < 3 * BULK * BULKS, "{operations} operations for {}", BULK * BULKS);
    assert_eq!(congestion.allowance(), most);
}
