//! The edge against an in-process server: what is sent, what is made of answers, and fail-over.
#![allow(clippy::unwrap_used, reason = "tests")]

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use weir_elastic::bulk::{Body, Operation, Target};
use weir_elastic::{Created, Deleted, Elastic, ElasticSettings, ErrorKind};

/// Requests seen, `METHOD path?query`, with their bodies.
type Seen = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A server that answers everything alike.
async fn server(status: u16, answer: &'static str) -> (String, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let handler = move |method: Method, uri: Uri, body: Bytes| {
        log.lock().unwrap().push((format!("{method} {uri}"), body));
        async move {
            let status = StatusCode::from_u16(status).unwrap();
            Response::builder().status(status).body(HttpBody::from(answer)).unwrap()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
    (url, seen)
}

async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn elastic(hosts: &[&str]) -> Elastic {
    Elastic::new(&ElasticSettings { elasticsearch_timeout: Duration::from_secs(2), ..ElasticSettings::of(hosts) })
        .unwrap()
}

fn one_operation() -> Body {
    let operation = Operation::index(Target { index: "a-write", id: "1", version: 1 }, b"{}").unwrap();
    Body::of([operation].iter())
}

#[tokio::test]
async fn a_bulk_requires_an_alias_and_reads_every_item() {
    let (url, seen) = server(200, r#"{"errors":false,"took":3,"items":[{"index":{"status":201}}]}"#).await;
    let answer = elastic(&[&url]).bulk(&one_operation()).await.unwrap();
    assert_eq!(answer.items[0].status, 201);
    let (line, body) = seen.lock().unwrap()[0].clone();
    assert!(line.starts_with("POST /_bulk?require_alias=true"), "{line}");
    assert_eq!(body, one_operation().bytes());
}

#[tokio::test]
async fn a_bulk_answer_that_is_cut_or_short_is_invalid_as_a_whole() {
    for answer in [r#"{"errors":false,"items":[{"index":{"stat"#, r#"{"errors":false,"items":[]}"#, "<html>"] {
        let (url, _) = server(200, answer).await;
        let error = elastic(&[&url]).bulk(&one_operation()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(url.as_str()), "{error}");
    }
}

#[tokio::test]
async fn the_next_host_is_taken_when_one_is_gone_and_stays_taken() {
    let gone = nobody().await;
    let (failing, failing_seen) = server(503, "{}").await;
    let (well, seen) = server(200, r#"{"version":{"number":"9.1.0"},"cluster_name":"c"}"#).await;
    let elastic = elastic(&[&gone, &failing, &well]);
    let info = elastic.info().await.unwrap();
    assert_eq!((info.distribution.as_str(), info.version.as_str()), ("elasticsearch", "9.1.0"));
    elastic.info().await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), failing_seen.lock().unwrap().len()), (2, 1));
}

#[tokio::test]
async fn no_host_left_is_unavailable_and_names_the_last() {
    let gone = nobody().await;
    let error = elastic(&[&gone]).info().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains(&gone), "{error}");
}

#[tokio::test]
async fn an_existing_index_is_no_error() {
    let (url, _) = server(400, r#"{"error":{"type":"resource_already_exists_exception","reason":"exists"}}"#).await;
    assert_eq!(elastic(&[&url]).create_index("a", &json!({})).await.unwrap(), Created::Existing);
    let (url, _) = server(400, r#"{"error":{"type":"mapper_parsing_exception","reason":"no"}}"#).await;
    assert_eq!(elastic(&[&url]).create_index("a", &json!({})).await.unwrap_err().kind, ErrorKind::Rejected);
}

#[tokio::test]
async fn only_one_named_index_can_be_deleted() {
    let (url, seen) = server(404, r#"{"error":{"type":"index_not_found_exception","reason":"no"}}"#).await;
    let elastic = elastic(&[&url]);
    for name in ["*", "weir-*", "a,b", "_all", "", ".security", "-a", "<weir-{now/d}>", "a/_doc", "%2a"] {
        assert_eq!(elastic.delete_index(name).await.unwrap_err().kind, ErrorKind::Invalid, "{name}");
    }
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(elastic.delete_index("weir-flows-l1-2026.01.01").await.unwrap(), Deleted::Missing);
}

#[tokio::test]
async fn a_slow_host_times_out_as_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let error = elastic(&[&url]).bulk(&one_operation()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

/// Kibana knows data views, OpenSearch Dashboards (which answers 404) index patterns; both want a header against forged requests.
#[tokio::test]
async fn a_data_view_is_put_into_either_kind_of_dashboards() {
    for (kibana, paths) in [
        (true, vec!["POST /api/data_views/data_view"]),
        (
            false,
            vec!["POST /api/data_views/data_view", "POST /api/saved_objects/index-pattern/weir-dns?overwrite=true"],
        ),
    ] {
        let seen: Seen = Arc::default();
        let log = seen.clone();
        let handler = move |method: Method, uri: Uri, headers: axum::http::HeaderMap, body: Bytes| {
            let answered = !uri.path().contains("data_views") || kibana;
            let marked = headers.contains_key("kbn-xsrf") && headers.contains_key("osd-xsrf");
            log.lock().unwrap().push((format!("{method} {uri}"), body));
            async move {
                let status = if !marked {
                    400
                } else if answered {
                    200
                } else {
                    404
                };
                Response::builder().status(status).body(HttpBody::from("{}")).unwrap()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
        elastic(&[&url]).put_data_view("weir-dns", "Weir dns").await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(), paths);
        assert!(seen.iter().all(|(_, body)| body.windows(10).any(|w| w == b"@timestamp")));
    }
}

#[tokio::test]
async fn other_programs_policies_are_found_by_their_settings() {
    let answer = r#"{"a": {"settings": {"index": {"lifecycle": {"name": "hot"}}}}, "b": {"settings": {"index": {}}},
        "c": {"settings": {"index": {"plugins": {"index_state_management": {"policy_id": "cold"}}}}},
        "d": {"settings": {"index": {"lifecycle": {"name": ""}}}}}"#;
    let (url, _) = server(200, answer).await;
    let found = elastic(&[&url]).lifecycles("*").await.unwrap();
    assert_eq!(found, [("a".to_owned(), "hot".to_owned()), ("c".to_owned(), "cold".to_owned())]);
}
