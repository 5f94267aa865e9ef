//! Validation, and OTLP against a collector of the test's own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry::trace::{Tracer as _, TracerProvider as _};

use super::*;

#[test]
fn wrong_settings_are_named() {
    let settings = TelemetrySettings { log: "weir=loud".to_owned(), ..TelemetrySettings::default() };
    assert_eq!(settings.validate().unwrap_err().to_string(), "log filter `weir=loud`");
    let settings =
        TelemetrySettings { otlp_endpoint: Some("collector:4318".to_owned()), ..TelemetrySettings::default() };
    let text = settings.validate().unwrap_err().to_string();
    assert!(text.contains("collector:4318"), "{text}");
    assert!(TelemetrySettings::default().validate().is_ok());
    assert!(parse_share("1.5").is_err());
    assert_eq!(parse_share("0.25"), Ok(0.25));
}

/// First line and body of each request.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Takes every request and keeps its first line and body.
fn collector() -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests: Requests = Arc::default();
    let kept = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || while answer(stream.as_ref().unwrap(), &kept).is_some() {});
        }
    });
    (endpoint, requests)
}

fn answer(mut stream: &TcpStream, kept: &Mutex<Vec<(String, Vec<u8>)>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    kept.lock().unwrap().push((head.lines().next()?.to_owned(), body));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

#[test]
fn spans_and_scraped_metrics_arrive_at_the_collector_on_flush() {
    let (endpoint, requests) = collector();
    let settings = TelemetrySettings { otlp_interval: Duration::from_secs(3600), ..TelemetrySettings::default() };
    let providers = providers(&settings, &format!("{endpoint}/"), "weir-x").unwrap();
    let metrics = Metrics::new();
    let tracer = providers.traces.tracer("test");
    let mut guard = TelemetryGuard { providers: Some(providers), timeout: Duration::from_secs(10) };
    guard.export_metrics(&metrics);
    metrics.counter("weir_things", "Things").inc_by(3);
    tracer.in_span("a-span-name", |_| {});
    assert!(guard.flush(), "flushed in time");
    let requests = requests.lock().unwrap();
    let body_of = |path: &str| {
        let (_, body) =
            requests.iter().find(|(line, _)| line.contains(path)).unwrap_or_else(|| panic!("no request to {path}"));
        String::from_utf8_lossy(body).into_owned()
    };
    assert!(body_of("POST /v1/traces").contains("a-span-name"));
    let points = body_of("POST /v1/metrics");
    assert!(points.contains("weir_things_total") && points.contains("weir-x"));
}

#[test]
fn flush_keeps_to_its_timeout() {
    // Accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let settings = TelemetrySettings { otlp_timeout: Duration::from_secs(30), ..TelemetrySettings::default() };
    let providers = providers(&settings, &endpoint, "weir-x").unwrap();
    providers.traces.tracer("test").in_span("span", |_| {});
    let started = std::time::Instant::now();
    let mut guard = TelemetryGuard { providers: Some(providers), timeout: Duration::from_millis(300) };
    assert!(!guard.flush());
    assert!(started.elapsed() < Duration::from_secs(5));
}
