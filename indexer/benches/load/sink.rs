//! An engine that accepts everything at once and keeps nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

static TAKEN: AtomicU64 = AtomicU64::new(0);

/// How many documents it was given.
pub(crate) fn taken() -> u64 {
    TAKEN.load(Ordering::SeqCst)
}

/// Starts it and returns its URL.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream));
        }
    });
    url
}

fn serve(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = answer(&first, &body);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let mut writer = stream;
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(answer.as_bytes())).is_err() {
            return;
        }
    }
}

fn answer(first: &str, body: &[u8]) -> String {
    if first.contains("/_bulk") {
        let lines: usize = body.split(|b| *b == b'\n').count() - 1;
        let items = lines / 2;
        TAKEN.fetch_add(u64::try_from(items).unwrap(), Ordering::SeqCst);
        let each = vec![r#"{"index":{"status":201}}"#; items].join(",");
        return format!(r#"{{"took":1,"errors":false,"items":[{each}]}}"#);
    }
    if first.starts_with("GET / ") {
        return r#"{"cluster_name":"sink","version":{"number":"9.5.3"}}"#.to_owned();
    }
    "{}".to_owned()
}
