//! A proxy between indexer and engine that makes bulks go wrong, one fault for each bulk.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong with one bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The engine answers 503 and does nothing.
    Unavailable,
    /// The engine answers 429 for the request and does nothing.
    BusyRequest,
    /// Every second item is done, the others are answered 429.
    BusyItems,
    /// Every item is answered with a read-only block.
    Blocked,
    /// The engine does everything, but only half of the answer arrives, as if it were whole.
    Cut,
    /// The engine does everything, and the connection breaks in the middle of the answer.
    Reset,
    /// The engine does everything, but the answer lacks an item.
    WrongCount,
    /// The engine does everything, and the answer takes this long.
    Slow(u64),
}

/// The faults that are still to come; then nothing goes wrong any more.
pub(crate) type Faults = Arc<Mutex<VecDeque<Fault>>>;

/// Starts a proxy before `upstream` (`http://host:port`) and returns its address.
pub(crate) async fn start(upstream: &str, faults: Faults) -> String {
    let upstream = upstream.trim_start_matches("http://").to_owned();
    let handler = move |method: Method, uri: Uri, body: Bytes| {
        let upstream = upstream.clone();
        let fault = if uri.path() == "/_bulk" { faults.lock().unwrap().pop_front() } else { None };
        async move { answer(&upstream, &method, &uri, &body, fault.unwrap_or(Fault::None)).await }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(handler).layer(axum::extract::DefaultBodyLimit::disable());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn answer(upstream: &str, method: &Method, uri: &Uri, body: &[u8], fault: Fault) -> Response {
    match fault {
        Fault::Unavailable => return response(503, Body::from("{}")),
        Fault::BusyRequest => {
            return response(429, Body::from(r#"{"error":{"type":"rejected_execution_exception","reason":"full"}}"#));
        }
        Fault::Blocked => {
            let block = json!({"status": 429, "error": {"type": "cluster_block_exception", "reason": "flood stage"}});
            let items: Vec<Value> = operations(body).iter().map(|_| json!({ "index": block })).collect();
            return response(200, Body::from(json!({"errors": true, "items": items}).to_string()));
        }
        Fault::BusyItems => return busy_items(upstream, method, uri, body).await,
        _ => {}
    }
    let (status, whole) = forward(upstream, method, uri, body).await;
    match fault {
        Fault::Cut => response(status, Body::from(whole[..whole.len() / 2].to_vec())),
        Fault::Reset => {
            let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
            let broken = futures::stream::iter([Ok(half), Err(std::io::Error::other("reset"))]);
            response(status, Body::from_stream(broken))
        }
        Fault::WrongCount => {
            let mut answer: Value = serde_json::from_slice(&whole).unwrap();
            answer["items"].as_array_mut().unwrap().pop();
            response(status, Body::from(answer.to_string()))
        }
        Fault::Slow(millis) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            response(status, Body::from(whole))
        }
        _ => response(status, Body::from(whole)),
    }
}

/// The operations of a body, each with its lines.
fn operations(body: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = body.split_inclusive(|b| *b == b'\n');
    let mut operations = Vec::new();
    while let Some(action) = lines.next() {
        let mut operation = action.to_vec();
        if !action.starts_with(br#"{"delete""#) {
            operation.extend_from_slice(lines.next().unwrap());
        }
        operations.push(operation);
    }
    operations
}

async fn busy_items(upstream: &str, method: &Method, uri: &Uri, body: &[u8]) -> Response {
    let operations = operations(body);
    let done: Vec<u8> = operations.iter().step_by(2).flatten().copied().collect();
    let (status, answered) = forward(upstream, method, uri, &done).await;
    let answered: Value = serde_json::from_slice(&answered).unwrap();
    let mut answered = answered["items"].as_array().unwrap().iter().cloned();
    let busy =
        json!({"index": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "full"}}});
    let items: Vec<Value> =
        (0..operations.len()).map(|i| if i % 2 == 0 { answered.next().unwrap() } else { busy.clone() }).collect();
    response(status, Body::from(json!({"errors": true, "items": items}).to_string()))
}

fn response(status: u16, body: Body) -> Response {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap()
}

/// One request over a connection of its own.
async fn forward(upstream: &str, method: &Method, uri: &Uri, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(upstream).await.unwrap();
    let kind = if uri.path() == "/_bulk" { "application/x-ndjson" } else { "application/json" };
    let head = format!(
        "{method} {uri} HTTP/1.1\r\nHost: {upstream}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    let rest = &answer[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunk(rest) } else { rest.to_vec() };
    (status, body)
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}
