//! Retention on a real engine: what goes, what stays, and that a read-only index goes too.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` the scenarios also run against that engine, whose flow indices they
//! delete: name one that exists for tests only.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use weir_elastic::bulk::{Body, Operation, Target};
use weir_elastic::{Elastic, ElasticSettings};
use weir_embedded_search::{SearchServer, SearchSettings};
use weir_retention::{Amount, Reason, RetentionSettings};
use weir_service::{Health, Metrics};

const OLD: [&str; 4] =
    ["weir-flows-l1-2020.01.01", "weir-flows-l2-2020.01.01", "weir-flows-l1-2020.01.02", "weir-flows-l2-2020.01.02"];
const NEWEST: [&str; 2] = ["weir-flows-l1-2020.01.03", "weir-flows-l2-2020.01.03"];
const FOREIGN: [&str; 2] = ["weir-flows-l1-2020.01.01-copy", "someone-else-2019.01.01"];

async fn on_engines<F: Future<Output = ()>>(scenario: impl Fn(Elastic) -> F) {
    let data = TempDir::new().unwrap();
    let server = SearchServer::start(SearchSettings::new(data.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    scenario(prepared(&format!("http://{}", server.address())).await).await;
    server.shutdown().await;
    match std::env::var("WEIR_TEST_ELASTICSEARCH") {
        Ok(url) => {
            let elastic = prepared(&url).await;
            scenario(elastic.clone()).await;
            clean(&elastic).await;
        }
        Err(_) => eprintln!("skipped on a real engine: WEIR_TEST_ELASTICSEARCH is not set"),
    }
}

async fn clean(elastic: &Elastic) {
    for index in OLD.iter().chain(&NEWEST).chain(&FOREIGN) {
        elastic.delete_index(index).await.unwrap();
    }
}

/// An engine that holds the indices, each with documents.
async fn prepared(url: &str) -> Elastic {
    let elastic = Elastic::new(&ElasticSettings::of(&[url])).unwrap();
    clean(&elastic).await;
    for index in OLD.iter().chain(&NEWEST).chain(&FOREIGN) {
        let alias = format!("{index}-write");
        let body = json!({
            "mappings": {"dynamic": "strict", "properties": {"text": {"type": "keyword"}}},
            "aliases": { alias.clone(): {} },
        });
        elastic.create_index(index, &body).await.unwrap();
        let operations: Vec<_> = (0..100u32)
            .map(|n| {
                let (id, document) =
                    (n.to_string(), json!({"text": format!("{index} {}", n.wrapping_mul(2_654_435_761))}));
                Operation::index(Target { index: &alias, id: &id, version: 1 }, document.to_string().as_bytes())
                    .unwrap()
            })
            .collect();
        let answer = elastic.bulk(&Body::of(operations.iter())).await.unwrap();
        assert!(answer.items.iter().all(|item| item.error.is_none()), "{:?}", answer.items[0]);
    }
    elastic.refresh("weir-flows-l*").await.unwrap();
    elastic
}

async fn present(elastic: &Elastic) -> Vec<String> {
    let mut names: Vec<String> =
        elastic.indices("weir-flows-l*,someone-else-*").await.unwrap().into_iter().map(|i| i.name).collect();
    names.sort();
    names
}

fn sorted(names: &[&[&str]]) -> Vec<String> {
    let mut names: Vec<String> = names.concat().iter().map(|n| (*n).to_owned()).collect();
    names.sort();
    names
}

fn settings(budget: u64) -> RetentionSettings {
    RetentionSettings { budget: Amount::Bytes(budget), disk_reserve: Amount::Bytes(0), ..RetentionSettings::default() }
}

#[tokio::test]
async fn only_what_may_go_goes_and_the_rest_is_explained() {
    on_engines(|elastic| async move {
        let settings = settings(1);
        let plan = weir_retention::plan_now(&elastic, &settings).await.unwrap();
        let planned: Vec<String> = plan.actions.iter().map(|a| a.index.to_string()).collect();
        assert_eq!(planned, OLD);
        assert_eq!(present(&elastic).await, sorted(&[&OLD, &NEWEST, &FOREIGN]), "planning deletes nothing");

        let (done, rest) = weir_retention::apply(&elastic, &settings).await.unwrap();
        assert_eq!(done.iter().map(|a| a.index.to_string()).collect::<Vec<_>>(), OLD);
        assert!(done.iter().all(|a| a.reason == Reason::Budget));
        assert_eq!(present(&elastic).await, sorted(&[&NEWEST, &FOREIGN]));
        assert!(rest.stuck.unwrap().advice.contains("--budget"));
    })
    .await;
}

#[tokio::test]
async fn one_index_goes_when_one_is_enough() {
    on_engines(|elastic| async move {
        let now = weir_retention::plan_now(&elastic, &settings(u64::MAX)).await.unwrap();
        assert!(now.actions.is_empty() && now.bytes > 1);
        let (done, rest) = weir_retention::apply(&elastic, &settings(now.bytes - 1)).await.unwrap();
        assert_eq!(done.iter().map(|a| a.index.to_string()).collect::<Vec<_>>(), [OLD[0]]);
        assert_eq!(rest.stuck, None);
    })
    .await;
}

#[tokio::test]
async fn the_service_deletes_a_read_only_index_and_says_what_it_did() {
    on_engines(|elastic| async move {
        let block = json!({"index.blocks.read_only_allow_delete": true});
        if let Err(error) = elastic.put_settings(OLD[0], &block).await {
            // An engine that cannot block an index says so; deleting is the same there.
            assert_eq!(error.code, "illegal_argument_exception");
        }
        let (metrics, health, token) = (Metrics::new(), Health::new(), CancellationToken::new());
        let settings = RetentionSettings {
            max_age: Some(Duration::from_secs(86_400)),
            retention_interval: Duration::from_secs(1),
            ..settings(u64::MAX)
        };
        let task = tokio::spawn({
            let (metrics, health, token) = (metrics.clone(), health.clone(), token.clone());
            async move { weir_retention::run(settings, elastic.clone(), &metrics, &health, token).await }
        });
        let deleted = || metrics.value("weir_retention_deleted_indices_total", &[("reason", "max_age")]);
        for _ in 0..500 {
            if deleted() == Some(4.0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(deleted(), Some(4.0));
        assert!(health.is_ready());
        token.cancel();
        task.await.unwrap().unwrap();
    })
    .await;
}
