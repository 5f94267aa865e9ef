//! Every kind of index, through the real indexer: what retention deletes of each, and that what comes late makes none anew.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` also on that engine, all of whose indices of Weir's it deletes.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/engines.rs"]
mod engines;

use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_elastic::{Elastic, ElasticSettings};
use weir_indexer::IndexerSettings;
use weir_indexer::dataset::Dataset;
use weir_indexer::direct::Direct;
use weir_indexer::document::{self, Prepared};
use weir_indexer::index::IndexKind;
use weir_indexer::periods::Periods;
use weir_retention::inventory::Name;
use weir_retention::{Amount, Applied, RetentionSettings};
use weir_schemas::audit::Audit;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::horizon::Horizon;
use weir_schemas::indices::PATTERN;
use weir_schemas::ledger::{Ledger, Reporter, Stored};
use weir_schemas::raw::{Origin, Totals};
use weir_schemas::{Message, encode, topics};
use weir_service::{Health, Metrics};
use weir_stream::{Log, NewRecord, Partitions, ProducerSettings, Start, TopicPartition, TopicSpec};

#[path = "../../indexer/tests/support/records.rs"]
#[allow(dead_code, reason = "corrections are of no concern here")]
mod records;

/// The days of the records, days since the epoch; in months of their own, because the audit's indices are by month.
const OLD: i64 = 2_000;
const NEWER: i64 = 2_040;

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What there is of a day: one record of each kind.
struct Day {
    flow: Enriched,
    capture: Enriched,
    dns: Dns,
    ledger: Ledger,
    audit: Audit,
}

impl Day {
    fn of(day: i64) -> Self {
        let flow = records::record(day, 1);
        let capture = Enriched { origin: Origin::Capture, ..records::record(day, 2) };
        let dns = Dns {
            id: flow.id.clone(),
            correction: 0,
            kind: Kind::Upsert,
            origin: flow.origin,
            cluster: "test".into(),
            window: flow.window,
            generation: flow.window,
            client: flow.initiator.clone(),
            server: flow.responder.clone(),
            question: "db.example.com".into(),
            question_type: "A".into(),
            response_code: "NOERROR".into(),
            count: 2,
            latency: None,
            answers: vec![],
            answers_more: 0,
        };
        let ledger = Ledger::Stored(Stored {
            cluster: "test".into(),
            partition: 0,
            generation: flow.window,
            level: 1,
            reporter: Reporter::Initiator,
            stored: Totals { packets: 3, bytes: 300, samples: 1 },
            filtered: Totals::default(),
            outside: Totals::default(),
        });
        let audit = Audit {
            at: flow.window,
            action: "delete_index".into(),
            target: "weir-flows-l1-1970.01.01".into(),
            reason: "budget".into(),
            bytes: 1,
            documents: 1,
            by: "a test".into(),
        };
        Self { flow, capture, dns, ledger, audit }
    }

    fn replayed(&self) -> Prepared {
        document::prepare_as(IndexKind::Replay, &self.flow, &Periods::default()).unwrap()
    }

    /// The index of each kind.
    fn indices(&self) -> BTreeSet<String> {
        let periods = Periods::default();
        let prepared = [
            document::prepare(&self.flow, &periods).unwrap(),
            document::prepare(&self.capture, &periods).unwrap(),
            document::prepare_dns(&self.dns, &periods).unwrap(),
            document::prepare_ledger(&self.ledger, &periods).unwrap(),
            document::prepare_audit(&self.audit, &periods).unwrap(),
            self.replayed(),
        ];
        prepared.into_iter().map(|prepared| prepared.index.to_string()).collect()
    }

    async fn produce(&self, log: &Log) {
        let producer = log.producer(&ProducerSettings::new("test")).unwrap();
        for (topic, value) in [
            (topics::ENRICHED, encode(&self.flow)),
            (topics::ENRICHED, encode(&self.capture)),
            (topics::DNS, encode(&self.dns)),
            (topics::LEDGER, encode(&self.ledger)),
            (topics::AUDIT, encode(&self.audit)),
        ] {
            let record = NewRecord::new(topic, "key", value.unwrap()).at(now());
            producer.send(record).unwrap().await.unwrap();
        }
    }
}

/// An indexer that runs.
struct Indexer {
    group: &'static str,
    metrics: Metrics,
    token: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Indexer {
    fn start(group: &'static str, log: &Log, elastic: &Elastic) -> Self {
        let (metrics, token) = (Metrics::new(), CancellationToken::new());
        let settings = IndexerSettings {
            indexer_group: group.to_owned(),
            indexer_bulk_wait: Duration::from_millis(20),
            indexer_ignore_watermarks: true,
            ..IndexerSettings::default()
        };
        let (log, elastic, counts, stop) = (log.clone(), elastic.clone(), metrics.clone(), token.clone());
        let run = async move { weir_indexer::run(settings, log, elastic, &counts, &Health::new(), stop).await };
        Self { group, metrics, token, task: tokio::spawn(run) }
    }

    /// Waits until everything that is on the topics has been dealt with.
    async fn is_done(&self, log: &Log) {
        let until = Instant::now() + Duration::from_secs(60);
        for dataset in Dataset::ALL {
            let partition = TopicPartition::new(dataset.topic(), 0);
            let mut reader = log.reader(dataset.topic(), Partitions::All, Start::Beginning).await.unwrap();
            // Not the topic's end, where a transaction's marker may stand.
            let last = reader.read_to_end(Duration::from_secs(5)).await.unwrap().last().map(|record| record.offset);
            let end = last.map_or(0, |last| last + 1);
            loop {
                let committed = log.committed(&dataset.group(self.group), std::slice::from_ref(&partition)).await;
                if committed.unwrap()[0].1.as_ref().map_or(0, |position| position.offset) >= end {
                    break;
                }
                assert!(Instant::now() < until, "{} was not indexed", dataset.topic());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn refused(&self) -> f64 {
        self.metrics.value("weir_indexer_operations_total", &[("fate", "below_horizon")]).unwrap_or(0.0)
    }

    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn present(elastic: &Elastic) -> BTreeSet<String> {
    let listed = elastic.indices(PATTERN).await.unwrap();
    listed.into_iter().map(|index| index.name).filter(|name| Name::parse(name).is_some()).collect()
}

async fn count(elastic: &Elastic, index: &str) -> u64 {
    elastic.refresh(index).await.unwrap();
    elastic.count(index, &json!({"match_all": {}})).await.unwrap()
}

async fn messages<T: Message>(log: &Log, topic: &str) -> Vec<T> {
    let mut reader = log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(5)).await.unwrap();
    records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap()).collect()
}

async fn scenario(elastic: Elastic) {
    for index in present(&elastic).await {
        elastic.delete_index(&index).await.unwrap();
    }
    let (log, old, newer) = (Log::memory(), Day::of(OLD), Day::of(NEWER));
    let all = [topics::ENRICHED, topics::DNS, topics::LEDGER, topics::AUDIT].map(|topic| TopicSpec::new(topic, 1));
    log.ensure_topics(&all).await.unwrap();
    let direct = Direct::start(&log, elastic.clone(), &Metrics::new(), now()).await.unwrap();
    let indexer = Indexer::start("first", &log, &elastic);
    // One after the other: the age of captures and replays is that of their indices.
    for day in [&old, &newer] {
        day.produce(&log).await;
        indexer.is_done(&log).await;
        direct.write(&[day.replayed()]).await.unwrap();
    }
    assert!(indexer.refused() < 1.0);
    indexer.stop().await;
    assert_eq!(present(&elastic).await, &old.indices() | &newer.indices());

    // Each kind has a budget of its own; the audit goes by age.
    let keep = ["flows", "capture", "replay", "dns", "ledger"];
    let keep = keep.map(|kind| format!("{kind}:budget=1B,min-age=0s").parse().unwrap());
    let settings = RetentionSettings {
        budget: Amount::Bytes(u64::MAX),
        disk_reserve: Amount::Bytes(0),
        keep: keep.into_iter().chain(["audit:max-age=1d".parse().unwrap()]).collect(),
        ..RetentionSettings::default()
    };
    let Applied { done, .. } = weir_retention::apply(&elastic, &log, &settings).await.unwrap();
    assert_eq!(done.iter().map(|action| action.index.to_string()).collect::<BTreeSet<_>>(), old.indices());
    assert_eq!(present(&elastic).await, newer.indices());
    let horizons: Vec<Horizon> = messages(&log, topics::HORIZON).await;
    assert_eq!(horizons.iter().map(|horizon| horizon.kind.as_str()).collect::<BTreeSet<_>>().len(), 6);

    // An indexer that has no positions reads all of it again.
    let late = Indexer::start("late", &log, &elastic);
    late.is_done(&log).await;
    assert_eq!(late.refused().to_string(), "5", "one of each kind but replays");
    assert!(present(&elastic).await.is_disjoint(&old.indices()), "nothing is made anew");
    // What is published again comes again: of flows it is too old, of captures no time is.
    old.produce(&log).await;
    late.is_done(&log).await;
    assert_eq!(late.refused().to_string(), "9");
    let capture = document::prepare(&old.capture, &Periods::default()).unwrap().index.to_string();
    let anew: BTreeSet<String> = present(&elastic).await.intersection(&old.indices()).cloned().collect();
    assert_eq!(anew, BTreeSet::from([capture.clone()]));
    assert_eq!(count(&elastic, &capture).await, 1);
    late.stop().await;

    // A replay that has gone on all the time is told; one that begins now is not.
    let told = direct.write(&[old.replayed()]).await.unwrap_err().to_string();
    assert!(told.contains("weir-replay-l1-1975.06.24 was deleted by retention"), "{told}");
    let again = Direct::start(&log, elastic.clone(), &Metrics::new(), now()).await.unwrap();
    again.write(&[old.replayed()]).await.unwrap();
    assert_eq!(count(&elastic, &old.replayed().index.to_string()).await, 1);
    for index in present(&elastic).await {
        elastic.delete_index(&index).await.unwrap();
    }
}

#[tokio::test]
async fn of_each_kind_the_oldest_goes_and_what_comes_late_makes_none_anew() {
    engines::on_addresses(async |url| scenario(Elastic::new(&ElasticSettings::of(&[&url])).unwrap()).await).await;
}
