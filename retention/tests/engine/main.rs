//! Retention on a real engine: what goes, what stays, and that a read-only index goes too.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` the scenarios also run against that engine, whose flow indices they
//! delete: name one that exists for tests only.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/engines.rs"]
mod engines;
mod snapshots;

use serde_json::json;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use weir_elastic::bulk::{Body, Operation, Target};
use weir_elastic::{Elastic, ElasticSettings};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_retention::{Amount, Applied, Reason, RetentionSettings};
use weir_schemas::audit::Audit;
use weir_schemas::horizon::Horizon;
use weir_schemas::{Message, encode, topics};
use weir_service::{Health, Metrics};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start, TopicSpec};

const OLD: [&str; 4] =
    ["weir-flows-l1-2020.01.01", "weir-flows-l2-2020.01.01", "weir-flows-l1-2020.01.02", "weir-flows-l2-2020.01.02"];
const NEWEST: [&str; 2] = ["weir-flows-l1-2020.01.03", "weir-flows-l2-2020.01.03"];
const FOREIGN: [&str; 2] = ["weir-flows-l1-2020.01.01-copy", "someone-else-2019.01.01"];

async fn on_engines<F: Future<Output = ()>>(scenario: impl Fn(Elastic) -> F) {
    on_addresses(async |url| scenario(prepared(&url).await).await).await;
}

async fn on_addresses(scenario: impl AsyncFn(String)) {
    engines::on_addresses(async |url| {
        scenario(url.clone()).await;
        clean(&Elastic::new(&ElasticSettings::of(&[url.as_str()])).unwrap()).await;
    })
    .await;
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
        let alias = format!("{index}-WRITE");
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

async fn messages<T: Message>(log: &Log, topic: &str) -> Vec<T> {
    let mut reader = log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(5)).await.unwrap();
    records.iter().map(|r| weir_schemas::decode(r.value.as_ref().unwrap()).unwrap()).collect()
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
        let plan = weir_retention::plan_now(&elastic, None, &settings).await.unwrap();
        let planned: Vec<String> = plan.actions.iter().map(|a| a.index.to_string()).collect();
        assert_eq!(planned, OLD);
        assert_eq!(present(&elastic).await, sorted(&[&OLD, &NEWEST, &FOREIGN]), "planning deletes nothing");

        let log = Log::memory();
        let Applied { done, plan: rest, .. } = weir_retention::apply(&elastic, &log, &settings).await.unwrap();
        assert_eq!(done.iter().map(|a| a.index.to_string()).collect::<Vec<_>>(), OLD);
        let audit: Vec<Audit> = messages(&log, topics::AUDIT).await;
        assert_eq!(audit.iter().map(|a| a.target.as_str()).collect::<Vec<_>>(), OLD);
        assert!(
            audit
                .iter()
                .all(|a| a.action == "delete_index" && a.reason == "budget" && a.bytes > 0 && a.documents == 100)
        );
        let horizons: Vec<Horizon> = messages(&log, topics::HORIZON).await;
        let newest = horizons.iter().filter(|h| h.level == 1).map(|h| h.before).max();
        assert_eq!((horizons.len(), newest), (4, Some(1_578_009_600_000)), "the end of 2020-01-02");
        assert!(done.iter().all(|a| a.reason == Reason::Budget));
        assert_eq!(present(&elastic).await, sorted(&[&NEWEST, &FOREIGN]));
        assert!(rest.stuck.unwrap().advice.contains("--budget"));
    })
    .await;
}

#[tokio::test]
async fn one_index_goes_when_one_is_enough() {
    on_engines(|elastic| async move {
        let now = weir_retention::plan_now(&elastic, None, &settings(u64::MAX)).await.unwrap();
        assert!(now.actions.is_empty() && now.bytes > 1);
        let Applied { done, plan: rest, .. } =
            weir_retention::apply(&elastic, &Log::memory(), &settings(now.bytes - 1)).await.unwrap();
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
            async move { weir_retention::run(settings, Log::memory(), elastic.clone(), &metrics, &health, token).await }
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

/// Any number of them, whenever each is stopped in the midst of it: what may stay stays, and in the end all is inside the budget.
#[tokio::test]
async fn several_at_once_and_killed_midway_delete_no_more_than_one_would() {
    let rounds = std::env::var("WEIR_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        several_at_once(round).await;
    }
    eprintln!("fault retention: {rounds} rounds of two at once, killed six times each; what may stay stayed");
}

async fn several_at_once(round: u64) {
    on_engines(|elastic| async move {
        let all = weir_retention::plan_now(&elastic, None, &settings(1)).await.unwrap();
        let two: u64 = all.actions[..2].iter().filter_map(|a| a.bytes).sum();
        let settings = settings(all.bytes - two);
        let alone = weir_retention::plan_now(&elastic, None, &settings).await.unwrap();
        let expected: Vec<String> = alone.actions.iter().map(|a| a.index.to_string()).collect();
        assert_eq!(expected, OLD[..2]);
        let log = Log::memory();
        for wait in [0, 3, 12, 50, 200, 800] {
            let (first, second) = (elastic.clone(), elastic.clone());
            let (settings, log) = (settings.clone(), log.clone());
            let task = tokio::spawn(async move {
                // One of them fences the other, which then fails; both together do no more than one.
                let _ = tokio::join!(
                    weir_retention::apply(&first, &log, &settings),
                    weir_retention::apply(&second, &log, &settings)
                );
            });
            tokio::time::sleep(Duration::from_millis(wait + 7 * round % 50)).await;
            task.abort();
            let _ = task.await;
        }
        // Whatever the others left to do is done by one that nobody kills.
        weir_retention::apply(&elastic, &log, &settings).await.unwrap();
        let mut left = present(&elastic).await;
        // What was announced and not done stands for a minute; nothing else may have gone by then.
        left.retain(|name| !expected.contains(name));
        let mut rest = sorted(&[&OLD[2..], &NEWEST, &FOREIGN]);
        rest.sort();
        assert_eq!(left, rest);
        let audit: Vec<Audit> = messages(&log, topics::AUDIT).await;
        let announced: std::collections::BTreeSet<&str> = audit.iter().map(|entry| entry.target.as_str()).collect();
        assert_eq!(announced.into_iter().collect::<Vec<_>>(), OLD[..2], "{audit:?}");
    })
    .await;
}

/// Two processes over a broker, whose producers fence each other, and each of which is killed at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_are_killed_midway_delete_no_more_than_one_would() {
    let kills = std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    on_addresses(async |url| {
        for kill in 0..kills {
            two_processes(&url, Duration::from_millis(120 + 173 * kill % 1_100)).await;
        }
    })
    .await;
    eprintln!("fault retention: {kills} times two processes at once, both killed; what may stay stayed");
}

async fn two_processes(url: &str, wait: Duration) {
    let elastic = prepared(url).await;
    let all = weir_retention::plan_now(&elastic, None, &settings(1)).await.unwrap();
    let two: u64 = all.actions[..2].iter().filter_map(|a| a.bytes).sum();
    let budget = all.bytes - two;
    let data = TempDir::new().unwrap();
    let broker = Broker::start(BrokerSettings::new(data.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    let kafka = broker.address().to_string();
    let start = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-retention"));
        command.args(["--kafka", &kafka, "--elasticsearch", url, "--budget", &format!("{budget}B")]);
        command.args(["--disk-reserve", "0%", "--retention-interval", "100ms", "--retention-instance", name]);
        command.args(["--admin-listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut processes = [start("first"), start("second")];
    for process in &mut processes {
        tokio::time::sleep(wait).await;
        assert!(process.try_wait().unwrap().is_none(), "it ended by itself");
        process.kill().unwrap();
        process.wait().unwrap();
    }
    // Whatever they left to do is done by one that nobody kills.
    let log = Log::kafka(&KafkaSettings::at(kafka)).unwrap();
    weir_retention::apply(&elastic, &log, &settings(budget)).await.unwrap();
    let mut left = present(&elastic).await;
    left.retain(|name| !OLD[..2].contains(&name.as_str()));
    assert_eq!(left, sorted(&[&OLD[2..], &NEWEST, &FOREIGN]));
    let audit: Vec<Audit> = messages(&log, topics::AUDIT).await;
    let announced: std::collections::BTreeSet<&str> = audit.iter().map(|entry| entry.target.as_str()).collect();
    assert_eq!(announced.into_iter().collect::<Vec<_>>(), OLD[..2], "{audit:?}");
    broker.shutdown().await;
}

#[tokio::test]
async fn finished_indices_are_merged_and_policies_of_others_are_told() {
    on_engines(|elastic| async move {
        for index in OLD {
            let alias = format!("{index}-WRITE");
            let operation =
                Operation::index(Target { index: &alias, id: "later", version: 1 }, br#"{"text":"later"}"#).unwrap();
            elastic.bulk(&Body::of([operation].iter())).await.unwrap();
            elastic.refresh(index).await.unwrap();
        }
        let before: u64 = elastic.segments("weir-flows-l*").await.unwrap().values().sum();
        assert!(before > 6, "there is something to merge");
        let told = elastic.put_settings(OLD[0], &json!({"index.lifecycle.name": "somebody's"})).await;
        let (metrics, health, token) = (Metrics::new(), Health::new(), CancellationToken::new());
        let settings = RetentionSettings {
            merge_after: Some(Duration::from_secs(3_600)),
            retention_interval: Duration::from_secs(1),
            ..settings(u64::MAX)
        };
        let task = tokio::spawn({
            let (metrics, elastic, token) = (metrics.clone(), elastic.clone(), token.clone());
            async move { weir_retention::run(settings, Log::memory(), elastic, &metrics, &health, token).await }
        });
        for _ in 0..600 {
            if elastic.segments("weir-flows-l*").await.unwrap().values().all(|count| *count <= 1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let after = elastic.segments("weir-flows-l*").await.unwrap();
        assert!(after.iter().filter(|(name, _)| !name.ends_with("copy")).all(|(_, count)| *count == 1), "{after:?}");
        // An engine without lifecycles refuses the setting.
        let told = if told.is_ok() { 1.0 } else { 0.0 };
        // The engine may have merged by itself before the service has looked at all.
        for _ in 0..600 {
            if metrics.value("weir_retention_foreign_policies", &[]) == Some(told) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(metrics.value("weir_retention_foreign_policies", &[]), Some(told));
        token.cancel();
        task.await.unwrap().unwrap();
    })
    .await;
}

/// Horizons of the level that are on the topic, in order.
async fn horizons(log: &Log, level: u8) -> Vec<i64> {
    let all: Vec<Horizon> = messages(log, topics::HORIZON).await;
    all.into_iter().filter(|horizon| horizon.level == level).map(|horizon| horizon.before).collect()
}

#[tokio::test]
async fn no_horizon_moves_back() {
    on_engines(|elastic| async move {
        let log = Log::memory();
        // Something younger went before: a policy that was another then, or an index that came back.
        let later = 1_600_000_000_000;
        let standing = Horizon { kind: "flows".into(), level: 1, cluster: String::new(), before: later, index: None };
        log.ensure_topics(&[TopicSpec::new(topics::HORIZON, 1)]).await.unwrap();
        let producer = log.producer(&ProducerSettings::new("test")).unwrap();
        let record = NewRecord::new(topics::HORIZON, standing.key(), encode(&standing).unwrap());
        producer.send(record).unwrap().await.unwrap();
        weir_retention::apply(&elastic, &log, &settings(1)).await.unwrap();
        assert_eq!(horizons(&log, 1).await, [later; 3]);
        let other = horizons(&log, 2).await;
        assert_eq!(other, [1_577_923_200_000, 1_578_009_600_000], "the ends of the days of the other level");
    })
    .await;
}
