//! Retention against an engine that does not answer, and against one who writes faster than the budget allows.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` also on that engine, all of whose indices of flows it deletes.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/engines.rs"]
mod engines;

use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use weir_elastic::bulk::{Body, Operation, Target};
use weir_elastic::{Elastic, ElasticSettings};
use weir_faults::{Fault, Kind, Plan, Proxy, Rule};
use weir_retention::{Amount, RetentionSettings};
use weir_schemas::audit::Audit;
use weir_schemas::topics;
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start};

const DAYS: [&str; 3] = ["weir-flows-l1-2020.01.01", "weir-flows-l1-2020.01.02", "weir-flows-l1-2020.01.03"];

async fn on_engines<F: Future<Output = ()>>(scenario: impl Fn(String) -> F) {
    engines::on_addresses(async |url| {
        clean(&connect(&url)).await;
        scenario(url.clone()).await;
        clean(&connect(&url)).await;
    })
    .await;
}

fn connect(url: &str) -> Elastic {
    Elastic::new(&ElasticSettings::of(&[url])).unwrap()
}

async fn clean(elastic: &Elastic) {
    for index in elastic.indices("weir-flows-l*").await.unwrap() {
        elastic.delete_index(&index.name).await.unwrap();
    }
}

/// Makes an index as the indexer does, with documents that do not compress.
async fn fill(elastic: &Elastic, index: &str, bulks: u32) {
    let alias = format!("{index}-write");
    let body = json!({
        "settings": {"number_of_replicas": 0},
        "mappings": {"properties": {"text": {"type": "keyword"}}},
        "aliases": { alias.clone(): {} },
    });
    elastic.create_index(index, &body).await.unwrap();
    for bulk in 0..bulks {
        let operation = |n: u32| {
            let seed = (bulk * 200 + n).wrapping_mul(2_654_435_761);
            let text: String =
                (1..40_u32).map(|k| format!("{:08x}", seed.wrapping_mul(2 * k + 1).rotate_left(k))).collect();
            let (id, document) = (format!("{bulk}-{n}"), json!({"text": text}).to_string());
            Operation::index(Target { index: &alias, id: &id, version: 1 }, document.as_bytes()).unwrap()
        };
        let operations: Vec<_> = (0..200).map(operation).collect();
        let answer = elastic.bulk(&Body::of(operations.iter())).await.unwrap();
        assert!(answer.items.iter().all(|item| item.error.is_none()), "{:?}", answer.items[0]);
    }
    elastic.refresh(index).await.unwrap();
}

async fn present(elastic: &Elastic) -> BTreeSet<String> {
    elastic.indices("weir-flows-l*").await.unwrap().into_iter().map(|index| index.name).collect()
}

async fn audit(log: &Log) -> Vec<(String, String)> {
    let mut reader = log.reader(topics::AUDIT, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(5)).await.unwrap();
    let entries = records.iter().map(|r| weir_schemas::decode::<Audit>(r.value.as_ref().unwrap()).unwrap());
    entries.map(|entry| (entry.action, entry.target)).collect()
}

fn settings(budget: u64) -> RetentionSettings {
    RetentionSettings { budget: Amount::Bytes(budget), disk_reserve: Amount::Bytes(0), ..RetentionSettings::default() }
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_counts_as_what_it_was() {
    on_engines(|url| async move {
        let elastic = connect(&url);
        for day in DAYS {
            fill(&elastic, day, 1).await;
        }
        let lost = Rule::new(Fault::DropAnswer).paths(&[&format!("/{}", DAYS[0])]).at_most(1);
        let proxy = Proxy::http(url.strip_prefix("http://").unwrap(), Plan::new(1).with(lost)).await.unwrap();
        let log = Log::memory();
        let applied = weir_retention::apply(&connect(&proxy.url()), &log, &settings(1)).await.unwrap();
        assert_eq!(proxy.counts().of(Kind::DropAnswer), 1);
        assert_eq!(applied.done.iter().map(|a| a.index.to_string()).collect::<Vec<_>>(), DAYS[..2]);
        let expected = DAYS[..2].iter().map(|day| ("delete_index".to_owned(), (*day).to_owned()));
        assert_eq!(audit(&log).await, expected.collect::<Vec<_>>(), "nothing is said to have failed");
        assert_eq!(present(&elastic).await, BTreeSet::from([DAYS[2].to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn one_who_writes_faster_than_the_budget_costs_the_oldest_and_ends_inside_it() {
    let hours = std::env::var("WEIR_TEST_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(8);
    on_engines(|url| async move {
        let elastic = connect(&url);
        let name = |hour: u32| format!("weir-flows-l1-2020.02.{:02}.{:02}", 1 + hour / 24, hour % 24);
        fill(&elastic, &name(0), 3).await;
        let one = weir_retention::plan_now(&elastic, None, &settings(u64::MAX)).await.unwrap().bytes;
        let settings = RetentionSettings { retention_interval: Duration::from_secs(1), ..settings(one * 5 / 2) };
        let (log, metrics, health, token) = (Log::memory(), Metrics::new(), Health::new(), CancellationToken::new());
        let service = tokio::spawn({
            let (settings, log, elastic, token) = (settings.clone(), log.clone(), elastic.clone(), token.clone());
            async move { weir_retention::run(settings, log, elastic, &metrics, &health, token).await }
        });
        for hour in 1..hours {
            fill(&elastic, &name(hour), 3).await;
            assert!(present(&elastic).await.contains(&name(hour)), "what is being written stays");
        }
        // Engines say how large an index is some seconds later.
        let until = Instant::now() + Duration::from_secs(60);
        let plan = loop {
            let plan = weir_retention::plan_now(&elastic, None, &settings).await.unwrap();
            if plan.actions.is_empty() || Instant::now() > until {
                break plan;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        token.cancel();
        service.await.unwrap().unwrap();
        assert!(plan.actions.is_empty() && (plan.bytes <= plan.budget || plan.stuck.is_some()), "{plan}");
        let left = present(&elastic).await;
        let kept = u32::try_from(left.len()).unwrap();
        assert!(kept >= 1 && kept < hours, "{left:?}");
        assert_eq!(left, (hours - kept..hours).map(name).collect(), "the newest are left, without a gap");
        let gone: Vec<String> = audit(&log).await.into_iter().map(|(_, target)| target).collect();
        assert_eq!(gone, (0..hours - kept).map(name).collect::<Vec<_>>(), "each is announced once, the oldest first");
        clean(&elastic).await;
        eprintln!(
            "ingest that outruns the budget: {hours} indices written, {kept} left, {} B of {} B",
            plan.bytes, plan.budget
        );
    })
    .await;
}
