//! The pages of the admin port, over a real socket.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn get_page(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

async fn start(health: &Health, metrics: &Metrics) -> (SocketAddr, CancellationToken) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = AdminServer::bind(any, metrics.clone(), health.clone())
        .await
        .unwrap()
        .with_config("window = \"5s\"\n".to_owned())
        .merge(Router::new().route("/own", get(async || "own")));
    let address = server.local_addr().unwrap();
    let token = CancellationToken::new();
    server.spawn(token.clone());
    (address, token)
}

#[tokio::test]
async fn pages_answer() {
    let (health, metrics) = (Health::new(), Metrics::new());
    metrics.counter("weir_a", "A").inc();
    let (address, _token) = start(&health, &metrics).await;
    let (status, head, body) = get_page(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.contains("weir_a_total 1"), "{body}");
    assert_eq!(get_page(address, "/live").await.0, 200);
    assert_eq!(get_page(address, "/own").await.2, "own");
    assert_eq!(get_page(address, "/config").await.2, "window = \"5s\"\n");
    assert!(get_page(address, "/inventory").await.2.contains("weir_a_total"));
    assert_eq!(get_page(address, "/nothing").await.0, 404);
    let index = get_page(address, "/").await.2;
    for (path, _) in PAGES {
        assert!(index.contains(path), "{path}");
        assert_eq!(get_page(address, path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    let health = Health::new();
    let (address, _token) = start(&health, &Metrics::new()).await;
    health.set_ready("kafka", false, "no broker");
    health.set_ready("elasticsearch", true, "green");
    let (status, _, body) = get_page(address, "/ready").await;
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 503);
    assert_eq!(report["waiting_for"], json!(["kafka: no broker"]));
    assert_eq!(report["conditions"].as_array().unwrap().len(), 2);
    health.set_ready("kafka", true, "");
    assert_eq!(get_page(address, "/ready").await.0, 200);
}

#[tokio::test]
async fn waiting_ends_when_all_conditions_hold() {
    let health = Health::new();
    health.set_ready("a", false, "");
    health.set_ready("b", false, "");
    let waiting = tokio::spawn({
        let health = health.clone();
        async move { health.wait_ready().await }
    });
    health.set_ready("a", true, "");
    assert!(!health.is_ready());
    health.set_ready("b", true, "");
    waiting.await.unwrap();
    assert!(health.is_ready());
}

#[tokio::test]
async fn state_asks_every_component() {
    let health = Health::new();
    let (address, _token) = start(&health, &Metrics::new()).await;
    let inner = health.clone();
    health.set_state("consumer", move || json!({"lag": 3, "ready": inner.is_ready()}));
    let body = get_page(address, "/state").await.2;
    let state: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(state, json!({"consumer": {"lag": 3, "ready": true}}));
}

#[tokio::test]
async fn port_is_free_again_after_the_token() {
    let health = Health::new();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = AdminServer::bind(any, Metrics::new(), health.clone()).await.unwrap();
    let address = server.local_addr().unwrap();
    let token = CancellationToken::new();
    let task = server.spawn(token.clone());
    token.cancel();
    task.await.unwrap().unwrap();
    AdminServer::bind(address, Metrics::new(), health).await.unwrap();
}
