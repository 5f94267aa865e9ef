//! What the server promises beyond Elasticsearch's answers: durability, limits, clear refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "support/client.rs"]
mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{blocking, send, start, try_send};
use serde_json::{Value, json};
use weir_embedded_search::{SearchError, SearchServer, SearchSettings};

/// When set, the test binary is not a test but a server on this folder.
const SERVE: &str = "WEIR_TEST_SERVE_FOLDER";

/// Runs as a server when the binary was started as one; a test without content otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn serve_when_asked() {
    let Ok(folder) = std::env::var(SERVE) else { return };
    let server = start(Path::new(&folder)).await;
    println!("\nlistening {}", server.address());
    std::future::pending::<()>().await;
}

/// A server in a process of its own, that can be killed.
fn spawn(folder: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["serve_when_asked", "--exact", "--nocapture", "--test-threads=1"])
        .env(SERVE, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let line = output.lines().map(Result::unwrap).find(|line| line.starts_with("listening ")).unwrap();
    let address = line.trim_start_matches("listening ").parse().unwrap();
    (child, address)
}

fn bulk_of(range: std::ops::Range<u64>, index: &str) -> String {
    range.map(|n| format!("{{\"index\":{{\"_index\":\"{index}\",\"_id\":\"k{n}\"}}}}\n{{\"n\":{n}}}\n")).collect()
}

fn search(address: SocketAddr, path: &str, body: &Value) -> Value {
    let answer = send(address, "POST", path, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_documents_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    blocking(move || {
        let mut acknowledged: u64 = 0;
        for round in 0..4_u64 {
            let (mut child, address) = spawn(&path);
            if acknowledged > 0 {
                send(address, "POST", "/k/_refresh", b"");
                let found = search(
                    address,
                    "/k/_search",
                    &json!({"size": 0, "track_total_hits": true, "aggs": {"s": {"sum": {"field": "n"}}}}),
                );
                assert_eq!(found["hits"]["total"]["value"], acknowledged, "round {round}");
                let sum = acknowledged * (acknowledged - 1) / 2;
                assert_eq!(found["aggregations"]["s"]["value"].as_f64().unwrap(), sum as f64);
                let version = send(address, "GET", "/k/_doc/k0", b"").json();
                assert_eq!(version["_version"], round, "overwritten once a round");
            }
            for _ in 0..5 {
                let answer = send(address, "POST", "/_bulk", bulk_of(acknowledged..acknowledged + 50, "k").as_bytes());
                assert_eq!(answer.json()["errors"], false);
                acknowledged += 50;
                if round % 2 == 1 {
                    send(address, "POST", "/k/_refresh", b"");
                }
            }
            if round > 0 {
                let answer = send(address, "POST", "/_bulk", bulk_of(0..1, "k").as_bytes());
                assert_eq!(answer.json()["items"][0]["index"]["result"], "updated");
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_translog_tail_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    blocking(move || {
        let (mut child, address) = spawn(&path);
        assert_eq!(send(address, "POST", "/_bulk", bulk_of(0..10, "torn").as_bytes()).status, 200);
        child.kill().unwrap();
        child.wait().unwrap();
        let index = std::fs::read_dir(path.join("indices")).unwrap().next().unwrap().unwrap().path();
        let logs = std::fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
        let log =
            logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("translog-")).max().unwrap();
        let length = std::fs::metadata(&log).unwrap().len();
        std::fs::File::options().write(true).open(&log).unwrap().set_len(length - 3).unwrap();
        let (mut child, address) = spawn(&path);
        let count = send(address, "GET", "/torn/_count", b"").json();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(count["count"], 9);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_an_orderly_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let address = server.address();
    blocking(move || {
        let template =
            json!({"index_patterns": ["r-*"], "template": {"mappings": {"properties": {"a": {"type": "keyword"}}}}});
        assert_eq!(send(address, "PUT", "/_index_template/r", template.to_string().as_bytes()).status, 200);
        send(address, "PUT", "/r-1/_doc/1?version=7&version_type=external", br#"{"a":"x"}"#);
        send(address, "PUT", "/r-1/_alias/r", b"{}");
        send(address, "PUT", "/r-1/_doc/2", br#"{"a":"gone"}"#);
        send(address, "DELETE", "/r-1/_doc/2", b"");
    })
    .await;
    server.shutdown().await;
    let server = start(folder.path()).await;
    let address = server.address();
    blocking(move || {
        let document = send(address, "GET", "/r-1/_doc/1", b"");
        assert_eq!(document.json()["_version"], 7);
        assert!(document.text.contains(r#""_source":{"a":"x"}"#));
        assert_eq!(send(address, "PUT", "/r-1/_doc/1?version=6&version_type=external", br#"{"a":"y"}"#).status, 409);
        assert_eq!(send(address, "GET", "/r-1/_doc/2", b"").status, 404);
        assert_eq!(send(address, "GET", "/r/_count", b"").json()["count"], 1);
        assert_eq!(send(address, "PUT", "/r-2", b"").status, 200);
        assert_eq!(
            send(address, "GET", "/r-2/_mapping", b"").json()["r-2"]["mappings"]["properties"]["a"]["type"],
            "keyword"
        );
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_served_once_and_only_in_a_known_format() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let settings = || SearchSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
    let error = SearchServer::start(settings()).await.err().unwrap();
    assert!(matches!(error, SearchError::Locked { .. }), "{error}");
    let taken = SearchSettings::new(folder.path().join("other"), server.address());
    let error = SearchServer::start(taken).await.err().unwrap();
    assert!(matches!(error, SearchError::Listen { .. }), "{error}");
    server.shutdown().await;
    std::fs::write(folder.path().join("format"), r#"{"format":2}"#).unwrap();
    let error = SearchServer::start(settings()).await.err().unwrap();
    assert!(matches!(error, SearchError::Format { found: 2, supported: 1, .. }), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SearchServer::start(SearchSettings::new(&file, "127.0.0.1:0".parse().unwrap())).await.err().unwrap();
    assert!(matches!(error, SearchError::Folder { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_longs_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let address = server.address();
    blocking(move || {
        let mapping = json!({"mappings": {"properties": {"n": {"type": "long"}, "u": {"type": "unsigned_long"}}}});
        send(address, "PUT", "/s", mapping.to_string().as_bytes());
        let big = 1_u64 << 53;
        // Added up as floats, each of the ones would be lost.
        let lines: String = [big, 1, 1, 1, 1].iter().map(|n| format!("{{\"index\":{{\"_index\":\"s\"}}}}\n{{\"n\":{n},\"u\":{}}}\n", u64::MAX)).collect();
        assert_eq!(send(address, "POST", "/_bulk?refresh=true", lines.as_bytes()).json()["errors"], false);
        let found = search(address, "/s/_search", &json!({"size": 1, "sort": [{"u": "desc"}], "query": {"term": {"u": u64::MAX}}, "aggs": {"n": {"sum": {"field": "n"}}, "t": {"terms": {"field": "u"}}}}));
        assert_eq!(found["aggregations"]["n"]["value"].as_f64().unwrap(), (big + 4) as f64);
        assert_eq!(found["aggregations"]["t"]["buckets"][0]["key"], u64::MAX);
        assert_eq!(found["hits"]["hits"][0]["sort"][0], u64::MAX);
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_become_searchable_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let address = server.address();
    blocking(move || {
        send(address, "PUT", "/near/_doc/1", br#"{"a":1}"#);
        let begun = Instant::now();
        while send(address, "GET", "/near/_count", b"").json()["count"] != 1 {
            assert!(begun.elapsed() < Duration::from_secs(5), "not searchable after five seconds");
            std::thread::sleep(Duration::from_millis(100));
        }
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = SearchSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
    settings.limits.max_body_bytes = 64 << 10;
    settings.limits.max_buckets = 100;
    settings.limits.max_indices = 2;
    let server = SearchServer::start(settings).await.unwrap();
    let address = server.address();
    blocking(move || {
        assert_eq!(send(address, "POST", "/_bulk", &vec![b' '; 65 << 10]).status, 413);
        assert_eq!(
            send(address, "POST", "/_bulk?refresh=true", bulk_of(0..200, "b").as_bytes()).json()["errors"],
            false
        );
        let terms = json!({"size": 0, "aggs": {"a": {"terms": {"field": "n", "size": 150}}}});
        let answer = send(address, "POST", "/b/_search", terms.to_string().as_bytes());
        assert_eq!(
            (answer.status, answer.json()["error"]["root_cause"][0]["type"].as_str()),
            (400, Some("too_many_buckets_exception"))
        );
        let gaps = json!({"size": 0, "aggs": {"a": {"histogram": {"field": "n", "interval": 0.001}}}});
        assert_eq!(send(address, "POST", "/b/_search", gaps.to_string().as_bytes()).status, 400);
        assert_eq!(send(address, "PUT", "/c", b"").status, 200);
        assert_eq!(send(address, "PUT", "/d", b"").status, 400);
        let mut deep = json!({"match_all": {}});
        for _ in 0..60 {
            deep = json!({"bool": {"must": [deep]}});
        }
        assert_eq!(send(address, "POST", "/b/_search", json!({"query": deep}).to_string().as_bytes()).status, 400);
        let many: Vec<Value> = (0..5_000).map(|_| json!({"exists": {"field": "n"}})).collect();
        let answer =
            send(address, "POST", "/b/_search", json!({"query": {"bool": {"should": many}}}).to_string().as_bytes());
        assert!(answer.status == 400 || answer.status == 413);
    })
    .await;
    let metrics: std::collections::HashMap<_, _> = server.metrics().into_iter().collect();
    assert!(metrics["search_bodies_too_large_total"] >= 1);
    assert!(metrics["search_buckets_refused_total"] >= 2);
    assert_eq!(metrics["search_indices_refused_total"], 1);
    assert_eq!(metrics["search_documents"], 200);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_refused_in_elasticsearchs_form() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let address = server.address();
    blocking(move || {
        send(address, "PUT", "/u/_doc/1?refresh=true", br#"{"a":"x","n":1}"#);
        for body in [
            json!({"query": {"query_string": {"query": "a:x"}}}),
            json!({"query": {"simple_query_string": {"query": "x"}}}),
            json!({"query": {"regexp": {"a": "x"}}}),
            json!({"highlight": {"fields": {"a": {}}}}),
            json!({"collapse": {"field": "a"}}),
            json!({"aggs": {"a": {"top_hits": {}}}}),
            json!({"runtime_mappings": {"x": {"type": "long"}}}),
            json!({"aggs": {"a": {"terms": {"field": "n", "script": "1"}}}}),
            json!({"script_fields": {"x": {}}}),
            json!({"min_score": 1}),
        ] {
            let answer = send(address, "POST", "/u/_search", body.to_string().as_bytes());
            let error = answer.json();
            assert_eq!(answer.status, 400, "{body}");
            assert_eq!(error["status"], 400);
            assert!(
                error["error"]["type"].is_string() && error["error"]["root_cause"][0]["reason"].is_string(),
                "{error}"
            );
            assert!(answer.headers.contains("x-elastic-product: elasticsearch"));
        }
        for (method, path) in [
            ("POST", "/u/_delete_by_query"),
            ("GET", "/_ilm/policy"),
            ("PUT", "/_ingest/pipeline/x"),
            ("POST", "/u/_close"),
        ] {
            assert_eq!(send(address, method, path, b"{}").status, 400, "{path}");
        }
        let zstd = [("content-type", "application/json"), ("content-encoding", "zstd")];
        assert_eq!(try_send(address, "POST", "/_bulk", &zstd, b"x").unwrap().status, 415);
        let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert_eq!(try_send(address, "POST", "/_bulk", &gzip, b"\x1f\x8b").unwrap().status, 400);
        let form = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(try_send(address, "POST", "/u/_search", &form, b"{}").unwrap().status, 406);
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_never_break_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let address = server.address();
    blocking(move || {
        let nested = "[".repeat(100_000);
        let objects = "{\"a\":".repeat(100_000);
        let bodies: Vec<Vec<u8>> = vec![
            nested.clone().into_bytes(), objects.clone().into_bytes(), b"\xff\xfe\x00".to_vec(), b"{}".to_vec(), b"null".to_vec(), b"[]".to_vec(), b"\"x\"".to_vec(), b"{\"query\":null}".to_vec(),
            b"{\"query\":{\"bool\":{\"must\":{\"bool\":1}}}}".to_vec(), b"{\"size\":1e400}".to_vec(), b"{\"size\":18446744073709551615}".to_vec(), b"{\"from\":9223372036854775807,\"size\":9223372036854775807}".to_vec(),
            b"{\"aggs\":{\"a\":{\"histogram\":{\"field\":\"n\",\"interval\":1e-300}}}}".to_vec(), b"{\"aggs\":{\"a\":{\"date_histogram\":{\"field\":\"n\",\"fixed_interval\":\"1ms\",\"extended_bounds\":{\"min\":-9223372036854775808,\"max\":9223372036854775807}}}}}".to_vec(),
            b"{\"query\":{\"range\":{\"n\":{\"gte\":\"now+99999999999999999999y\"}}}}".to_vec(), b"{\"query\":{\"wildcard\":{\"s.keyword\":\"**************************a*b*c\"}}}".to_vec(), b"{\"query\":{\"term\":{\"s.keyword\":{\"value\":\"\\u0000\"}}}}".to_vec(),
            b"{\"sort\":[{\"n\":{\"missing\":{}}}],\"search_after\":[null]}".to_vec(), b"{\"query\":{\"range\":{\"d\":{\"gte\":\"2026-01-01||-9223372036854775808M\"}}}}".to_vec(), b"{\"query\":{\"range\":{\"d\":{\"gte\":\"\xc3\xa9\xc3\xa9||/\xc3\xa9\"}}}}".to_vec(),
            b"{\"aggs\":{\"a\":{\"percentiles\":{\"field\":\"n\",\"percents\":[0,100]}}}}".to_vec(), b"{\"aggs\":{\"a\":{\"range\":{\"field\":\"n\",\"ranges\":[{\"from\":1e308,\"to\":-1e308}]}}}}".to_vec(),
        ];
        send(address, "PUT", "/h/_doc/1?refresh=true", "{\"n\":9223372036854775807,\"s\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"d\":\"2026-01-01\",\"\u{e9}\":-0.0}".as_bytes());
        for body in &bodies {
            for path in ["/h/_search", "/h/_count", "/_bulk", "/h/_doc/2", "/h/_update/1", "/_aliases", "/_msearch", "/h/_mget", "/_index_template/h", "/h/_mapping"] {
                let answer = send(address, if path.contains("template") { "PUT" } else { "POST" }, path, body);
                assert!(answer.status < 500 || answer.status == 503, "{path} {}: {}", String::from_utf8_lossy(&body[..body.len().min(80)]), answer.text);
            }
        }
        for path in ["/%00", "/a%ff", "/..", "/h/_doc/%00", "/h/_search?size=-1", "/h/_search?sort=:", "/*,-*/_search", "/,,,/_search", "/_cat/indices?s=nothing", "/_cat/indices?h=,,"] {
            assert!(send(address, "GET", path, b"").status < 500, "{path}");
        }
        assert_eq!(send(address, "GET", "/", b"").json()["tagline"], "You Know, for Search");
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_documents_are_gone_and_indices_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let address = server.address();
    let path = folder.path().to_owned();
    blocking(move || {
        send(address, "POST", "/_bulk?refresh=true", bulk_of(0..100, "x").as_bytes());
        let deletions: String = (0..60).map(|n| format!("{{\"delete\":{{\"_index\":\"x\",\"_id\":\"k{n}\"}}}}\n")).collect();
        send(address, "POST", "/_bulk?refresh=true", deletions.as_bytes());
        assert_eq!(search(address, "/x/_search", &json!({"size": 0, "aggs": {"m": {"min": {"field": "n"}}}}))["aggregations"]["m"]["value"], 60.0);
        assert_eq!(send(address, "POST", "/x/_forcemerge?max_num_segments=1", b"").status, 200);
        assert_eq!(send(address, "GET", "/x/_count", b"").json()["count"], 40);
        let stats = send(address, "GET", "/x/_stats", b"").json();
        assert_eq!(stats["indices"]["x"]["total"]["docs"], json!({"count": 40, "deleted": 0, "total_size_in_bytes": stats["indices"]["x"]["total"]["store"]["size_in_bytes"]}));
        assert_eq!(send(address, "DELETE", "/x", b"").status, 200);
        assert_eq!(std::fs::read_dir(path.join("indices")).unwrap().count(), 0);
    })
    .await;
    server.shutdown().await;
}
