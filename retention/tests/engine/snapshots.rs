//! With a repository, an index goes only when a whole snapshot holds all of it.

use crate::{FOREIGN, NEWEST, OLD, on_engines, present, settings, sorted};
use serde_json::json;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use weir_elastic::bulk::{Body, Operation, Target};
use weir_elastic::{Elastic, Method, Snapshot};
use weir_retention::{Applied, RetentionSettings};
use weir_stream::Log;

/// A repository of the engine's for snapshots; absent where it has none.
async fn repository(elastic: &Elastic) -> Option<TempDir> {
    let folder = TempDir::new().unwrap();
    let body = json!({"type": "fs", "settings": {"location": folder.path()}}).to_string();
    let put = elastic.request(Method::Put, "/_snapshot/weir-test", &[], Some(body.into())).await;
    put.is_ok().then_some(folder)
}

/// The snapshots in it, sorted.
async fn snapshots(elastic: &Elastic) -> Vec<String> {
    let reply = elastic.request(Method::Get, "/_snapshot/weir-test/_all", &[], None).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let names = answer["snapshots"].as_array().unwrap().iter();
    let mut names: Vec<String> = names.map(|snapshot| snapshot["snapshot"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn forget(elastic: &Elastic) {
    for name in snapshots(elastic).await {
        elastic.request(Method::Delete, &format!("/_snapshot/weir-test/{name}"), &[], None).await.unwrap();
    }
    elastic.request(Method::Delete, "/_snapshot/weir-test", &[], None).await.unwrap();
}

async fn write_one(elastic: &Elastic, index: &str, id: &str) {
    let alias = format!("{index}-WRITE");
    let target = Target { index: &alias, id, version: 1 };
    let operation = Operation::index(target, br#"{"text":"later"}"#).unwrap();
    let answer = elastic.bulk(&Body::of([operation].iter())).await.unwrap();
    assert!(answer.items[0].error.is_none(), "{:?}", answer.items[0]);
}

/// An index goes only when a snapshot holds it. The embedded engine has no snapshots, so that nothing goes there.
#[tokio::test]
async fn with_a_repository_an_index_goes_only_when_a_snapshot_holds_it() {
    on_engines(|elastic| async move {
        let settings = RetentionSettings { snapshot_repository: Some("weir-test".to_owned()), ..settings(1) };
        let log = Log::memory();
        let Some(_folder) = repository(&elastic).await else {
            eprintln!("no snapshots: this engine has no path.repo");
            let applied = weir_retention::apply(&elastic, &log, &settings).await;
            assert!(
                applied.is_err() || applied.is_ok_and(|a| a.done.is_empty() && a.waiting.iter().all(|w| !w.passing))
            );
            assert_eq!(present(&elastic).await, sorted(&[&OLD, &NEWEST, &FOREIGN]));
            return;
        };
        let Applied { done, waiting, .. } = weir_retention::apply(&elastic, &log, &settings).await.unwrap();
        assert!(done.is_empty(), "the snapshot has only begun");
        assert_eq!(waiting.iter().map(|w| (w.index.as_str(), w.passing)).collect::<Vec<_>>(), OLD.map(|i| (i, true)));
        let until = Instant::now() + Duration::from_secs(60);
        let mut gone = Vec::new();
        while gone.len() < OLD.len() {
            assert!(Instant::now() < until, "{gone:?}");
            gone.extend(weir_retention::apply(&elastic, &log, &settings).await.unwrap().done);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut gone: Vec<String> = gone.iter().map(|a| a.index.to_string()).collect();
        gone.sort();
        assert_eq!(gone, sorted(&[&OLD]));
        let names = snapshots(&elastic).await;
        assert_eq!(names.len(), 4, "{names:?}");
        for (name, index) in names.iter().zip(sorted(&[&OLD])) {
            assert!(name.starts_with(&format!("{index}-")), "{name}");
            assert_eq!(elastic.snapshot("weir-test", name).await.unwrap(), Snapshot::Done);
        }
        forget(&elastic).await;
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_of_what_an_index_was_before_does_not_count() {
    on_engines(|elastic| async move {
        let settings = RetentionSettings { snapshot_repository: Some("weir-test".to_owned()), ..settings(1) };
        let log = Log::memory();
        let Some(_folder) = repository(&elastic).await else { return };
        let finished = async || {
            let until = Instant::now() + Duration::from_secs(60);
            for name in snapshots(&elastic).await {
                while elastic.snapshot("weir-test", &name).await.unwrap() != Snapshot::Done {
                    assert!(Instant::now() < until, "{name}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let round = async || {
            let done = weir_retention::apply(&elastic, &log, &settings).await.unwrap().done;
            finished().await;
            done.iter().map(|a| a.index.to_string()).collect::<Vec<_>>()
        };
        // A person's own, named like the index.
        elastic.begin_snapshot("weir-test", OLD[0], OLD[0]).await.unwrap();
        finished().await;
        assert!(round().await.is_empty(), "it may be of any time");
        write_one(&elastic, OLD[0], "later").await;
        assert!(round().await.is_empty(), "a document came after the snapshot");
        // Made anew under the same name, with as many documents.
        elastic.delete_index(OLD[0]).await.unwrap();
        // With a mapping of its own, since a template of the indexer's may be there.
        let body = json!({
            "mappings": {"properties": {"text": {"type": "keyword"}}},
            "aliases": { format!("{}-WRITE", OLD[0]): {} },
        });
        elastic.create_index(OLD[0], &body).await.unwrap();
        for id in ["a", "b", "c"] {
            write_one(&elastic, OLD[0], id).await;
            assert!(!round().await.contains(&OLD[0].to_owned()), "another index of that name was saved");
        }
        assert_eq!(round().await.first().map(String::as_str), Some(OLD[0]));
        let states = snapshots(&elastic).await.into_iter().filter(|name| name.starts_with(OLD[0])).count();
        assert_eq!(states, 1 + 2 + 3, "the person's, two of the first index, three of the second");
        forget(&elastic).await;
    })
    .await;
}

/// Indices of two shards, of which only one stands anywhere; the other comes back when it may.
const TORN: [&str; 2] = ["weir-flows-l1-2019.12.31", "weir-capture-l1-2019.12.31"];
/// Captures are not deleted while they are the newest.
const LATER: &str = "weir-capture-l1-2020.01.01";

async fn make_torn(elastic: &Elastic) {
    for index in TORN.into_iter().chain([LATER]) {
        elastic.delete_index(index).await.unwrap();
        let shards = if index == LATER { 1 } else { 2 };
        let body = json!({
            "settings": {"number_of_shards": shards, "number_of_replicas": 0, "routing.allocation.total_shards_per_node": 1},
            "aliases": { format!("{index}-WRITE"): {} },
        });
        let at_once = [("wait_for_active_shards", "0")];
        let body = Some(body.to_string().into());
        elastic.request(Method::Put, &format!("/{index}"), &at_once, body).await.unwrap();
    }
}

/// A snapshot of part of an index, under the very name that retention looks for.
async fn save_in_part(elastic: &Elastic, index: &str) -> String {
    let listed = elastic.indices(index).await.unwrap().remove(0);
    let operations = elastic.operations(index).await.unwrap().unwrap();
    let name = format!("{index}-{}-{operations}", listed.created);
    let body = json!({"indices": index, "partial": true, "include_global_state": false}).to_string();
    let path = format!("/_snapshot/weir-test/{name}");
    elastic.request(Method::Put, &path, &[("wait_for_completion", "true")], Some(body.into())).await.unwrap();
    let found = elastic.snapshot("weir-test", &name).await.unwrap();
    assert!(matches!(&found, Snapshot::Failed(why) if why.starts_with("PARTIAL")), "{found:?}");
    name
}

#[tokio::test]
async fn an_index_of_which_a_shard_is_lost_stays_a_partial_snapshot_does_not_count_and_others_go() {
    on_engines(|elastic| async move {
        let Some(_folder) = repository(&elastic).await else { return };
        make_torn(&elastic).await;
        let settings = RetentionSettings {
            snapshot_repository: Some("weir-test".to_owned()),
            keep: vec!["capture:budget=1B,min-age=0s".parse().unwrap()],
            ..settings(1)
        };
        let log = Log::memory();
        // Until all that may go has gone; hands back why the torn ones stay.
        let stay = async || {
            let until = Instant::now() + Duration::from_secs(60);
            loop {
                let Applied { done, waiting, .. } = weir_retention::apply(&elastic, &log, &settings).await.unwrap();
                assert!(done.iter().all(|a| !TORN.contains(&a.index.to_string().as_str())), "{done:?}");
                if !waiting.iter().any(|w| w.passing) {
                    let torn = waiting.into_iter().filter(|w| TORN.contains(&w.index.as_str()));
                    return torn.map(|w| w.why).collect::<Vec<_>>();
                }
                assert!(Instant::now() < until, "{waiting:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let why = stay().await;
        assert_eq!(why.len(), TORN.len(), "{why:?}");
        assert!(why.iter().all(|why| why.contains("primary shards")), "{why:?}");
        assert_eq!(present(&elastic).await, sorted(&[&TORN[..1], &NEWEST, &FOREIGN]), "the others have gone");

        let names = [save_in_part(&elastic, TORN[0]).await, save_in_part(&elastic, TORN[1]).await];
        let why = stay().await;
        assert!(why.len() == 2 && why.iter().all(|why| why.contains("is not whole (PARTIAL")), "{why:?}");

        // The shards come back, and nothing was written: only a whole snapshot helps.
        for index in TORN {
            let all = json!({"index.routing.allocation.total_shards_per_node": -1});
            elastic.put_settings(index, &all).await.unwrap();
            let health = [("wait_for_status", "green"), ("timeout", "30s")];
            elastic.request(Method::Get, &format!("/_cluster/health/{index}"), &health, None).await.unwrap();
        }
        assert_eq!(stay().await, why);
        for name in names {
            elastic.request(Method::Delete, &format!("/_snapshot/weir-test/{name}"), &[], None).await.unwrap();
        }
        let (mut gone, until) = (Vec::new(), Instant::now() + Duration::from_secs(60));
        while gone.len() < TORN.len() {
            assert!(Instant::now() < until, "{gone:?}");
            let done = weir_retention::apply(&elastic, &log, &settings).await.unwrap().done;
            gone.extend(done.iter().map(|a| a.index.to_string()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gone.sort();
        assert_eq!(gone, sorted(&[&TORN]));
        elastic.delete_index(LATER).await.unwrap();
        forget(&elastic).await;
    })
    .await;
}
