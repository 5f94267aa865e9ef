use axum::Router;
use axum::body::Bytes;
use axum::http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_faults::{Fault, Kind, Plan, Proxy, Rule};

/// A server that answers with what it was sent, and how many requests it has taken.
async fn server() -> (String, Arc<AtomicU32>) {
    let taken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&taken);
    let app = Router::new().fallback(move |method: Method, body: Bytes| async move {
        count.fetch_add(1, Ordering::SeqCst);
        [format!("{method} ").into_bytes(), body.to_vec()].concat()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, taken)
}

/// Everything that comes back of requests on one connection, of which the last one closes it.
async fn ask(proxy: &Proxy, requests: &[String]) -> (String, bool) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    for request in requests {
        let _ = stream.write_all(request.as_bytes()).await;
    }
    let mut answer = Vec::new();
    let whole = stream.read_to_end(&mut answer).await.is_ok();
    (String::from_utf8(answer).unwrap(), whole)
}

fn post(path: &str, body: &str, close: bool) -> String {
    let connection = if close { "connection: close\r\n" } else { "" };
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{connection}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn requests_share_a_connection_and_pass_whole() {
    let (url, taken) = server().await;
    let proxy = Proxy::http(&url, Plan::new(1)).await.unwrap();
    let chunked =
        "POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n".to_owned();
    let head = "HEAD /h HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
    let (answers, _) = ask(&proxy, &[post("/a", "first", false), chunked, head, post("/b", "last", true)]).await;
    for body in ["POST first", "POST onetwo", "POST last"] {
        assert_eq!(answers.matches(body).count(), 1, "{answers}");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 4);
    assert_eq!((proxy.counts().connections, proxy.counts().exchanges), (1, 4));
}

#[tokio::test]
async fn a_status_is_answered_in_the_servers_place() {
    let (url, taken) = server().await;
    let plan = Plan::new(1).with(Rule::new(Fault::Status(429)).paths(&["/_bulk"]).at_most(1));
    let proxy = Proxy::http(&url, plan).await.unwrap();
    let requests = [post("/x/_bulk?a=b", "one", false), post("/_search", "two", false), post("/_bulk", "three", true)];
    let (answers, _) = ask(&proxy, &requests).await;
    assert!(answers.starts_with("HTTP/1.1 429 "), "{answers}");
    assert!(answers.contains("es_rejected_execution_exception"));
    assert!(!answers.contains("POST one") && answers.contains("POST two") && answers.contains("POST three"));
    assert_eq!(taken.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_dropped_answer_was_applied_and_a_reset_request_was_not() {
    let (url, taken) = server().await;
    for (fault, applied) in [(Fault::DropAnswer, 1), (Fault::Reset { within: 0 }, 0)] {
        taken.store(0, Ordering::SeqCst);
        let proxy = Proxy::http(&url, Plan::new(1).with(Rule::new(fault))).await.unwrap();
        let (answer, whole) = ask(&proxy, &[post("/", "x", true)]).await;
        assert_eq!((answer.as_str(), whole), ("", false), "{fault:?}");
        assert_eq!(taken.load(Ordering::SeqCst), applied, "{fault:?}");
    }
}

#[tokio::test]
async fn a_cut_body_ends_early() {
    let (url, _) = server().await;
    let body = "b".repeat(10_000);
    let proxy = Proxy::http(&url, Plan::new(2).with(Rule::new(Fault::Cut { within: 8_000 }))).await.unwrap();
    let (answer, whole) = ask(&proxy, &[post("/", &body, true)]).await;
    assert!(whole && answer.len() <= 8_000, "{}", answer.len());
    assert_eq!(proxy.counts().of(Kind::Cut), 1);
    proxy.heal();
    let (answer, _) = ask(&proxy, &[post("/", &body, true)]).await;
    assert!(answer.ends_with(&body));
}

/// A server that takes bulks: one item done for each line that is a document.
async fn bulk_server() -> (String, Arc<AtomicU32>) {
    let taken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&taken);
    let app = Router::new().fallback(move |body: Bytes| async move {
        let documents = body.split(|b| *b == b'\n').filter(|line| line.starts_with(b"{\"n\"")).count();
        count.fetch_add(u32::try_from(documents).unwrap(), Ordering::SeqCst);
        let items = vec![r#"{"index":{"status":201}}"#; documents].join(",");
        format!(r#"{{"took":1,"errors":false,"items":[{items}]}}"#)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, taken)
}

fn bulk(documents: usize) -> String {
    (0..documents).map(|n| format!("{{\"index\":{{\"_id\":\"{n}\"}}}}\n{{\"n\":{n}}}\n")).collect()
}

#[tokio::test]
async fn items_are_refused_in_their_places_and_the_others_passed_on() {
    let (url, taken) = bulk_server().await;
    let fault = Fault::Items { status: 400, code: "document_parsing_exception", per_mille: 300 };
    let proxy = Proxy::http(&url, Plan::new(3).with(Rule::new(fault).paths(&["/_bulk"]))).await.unwrap();
    let mut refused = Vec::new();
    for _ in 0..2 {
        taken.store(0, Ordering::SeqCst);
        let (answer, _) = ask(&proxy, &[post("/_bulk", &bulk(100), true)]).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.matches("\"status\"").count(), 100, "{body}");
        let bad = body.matches("document_parsing_exception").count();
        assert!((10..60).contains(&bad) && body.contains("\"errors\":true"), "{bad}");
        assert_eq!(usize::try_from(taken.load(Ordering::SeqCst)).unwrap(), 100 - bad);
        refused.push(body.to_owned());
    }
    assert_eq!(refused[0], refused[1], "what is at fault itself is so each time");
    assert_eq!(proxy.counts().of(Kind::Items), 2);
}

#[tokio::test]
async fn a_short_answer_lacks_an_item_though_all_was_done() {
    let (url, taken) = bulk_server().await;
    let proxy = Proxy::http(&url, Plan::new(3).with(Rule::new(Fault::ShortAnswer))).await.unwrap();
    let (answer, _) = ask(&proxy, &[post("/_bulk", &bulk(10), true)]).await;
    assert_eq!((answer.matches("\"status\"").count(), taken.load(Ordering::SeqCst)), (9, 10));
}
