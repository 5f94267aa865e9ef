use super::*;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;

/// What the server says to a watch; a list is empty, at version 5.
#[derive(Clone, Copy)]
enum Watches {
    EndAtOnce,
    Outdated,
}

/// An API server that counts lists and watches.
#[derive(Clone, Default)]
struct Counts {
    lists: Arc<AtomicUsize>,
    watches: Arc<AtomicUsize>,
}

async fn serve(watches: Watches, counts: Counts) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                request.push(byte);
            }
            let is_watch = String::from_utf8_lossy(&request).contains("watch=");
            let count = if is_watch { &counts.watches } else { &counts.lists };
            count.fetch_add(1, Ordering::Relaxed);
            let body = match (is_watch, watches) {
                (false, _) => r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":[]}"#,
                (true, Watches::EndAtOnce) => "",
                (true, Watches::Outdated) => concat!(
                    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old","#,
                    r#""reason":"Expired","code":410}}"#,
                    "\n"
                ),
            };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
            let _ = stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await;
        }
    });
    format!("http://{address}")
}

/// Follows pods of such a server for two seconds; what was told, besides.
async fn follow_for_two_seconds(watches: Watches) -> (usize, usize, Receiver<Told>) {
    let counts = Counts::default();
    let url = serve(watches, counts.clone()).await;
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(100_000);
    let run = Run { watched: Watched::Pod, sender, token: CancellationToken::new(), labels: None };
    let work = follow(Api::<Pod>::all(client), run, |pod| Item::Pod(Box::new(pod)));
    let _ = tokio::time::timeout(Duration::from_secs(2), work).await;
    (counts.lists.load(Ordering::Relaxed), counts.watches.load(Ordering::Relaxed), receiver)
}

// At 0, 250, 750 and 1750 ms; a slow machine has fewer.
const IN_TWO_SECONDS: std::ops::RangeInclusive<usize> = 2..=4;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_ends_at_once_is_not_repeated_at_once() {
    let (lists, watches, mut told) = follow_for_two_seconds(Watches::EndAtOnce).await;
    assert!(lists == 1 && IN_TWO_SECONDS.contains(&watches), "{lists} lists, {watches} watches");
    let mut failed = 0;
    while let Ok(told) = told.try_recv() {
        failed += usize::from(matches!(told, Told::Failed { what: "pods", .. }));
    }
    assert_eq!(failed, watches, "each is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_always_too_old_is_listed_again_less_and_less_often() {
    let (lists, watches, mut told) = follow_for_two_seconds(Watches::Outdated).await;
    assert!(lists == watches && IN_TWO_SECONDS.contains(&lists), "{lists} lists, {watches} watches");
    let mut outdated = 0;
    while let Ok(told) = told.try_recv() {
        outdated += usize::from(matches!(told, Told::Outdated { what: "pods" }));
    }
    assert_eq!(outdated, watches, "each is counted");
}

#[test]
fn pauses_grow_until_something_has_worked() {
    let mut pauses = Pauses::new();
    let taken: Vec<u128> = (0..8).map(|_| pauses.take().as_millis()).collect();
    assert_eq!(taken, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    pauses.worked();
    assert_eq!(pauses.take(), PAUSE.0);
}
