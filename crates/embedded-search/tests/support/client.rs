//! A small HTTP client and a server in a temporary folder.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test binary uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use weir_embedded_search::{SearchServer, SearchSettings};

/// An answer: status, headers in lowercase, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }
}

/// Sends a request and waits for its answer.
pub(crate) fn send(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Answer {
    try_send(address, method, path, &[("content-type", "application/json")], body).unwrap()
}

/// Sends a request with headers; an error is a broken connection.
pub(crate) fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server that refuses a body may close before it has read it all.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let headers = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
    let status =
        headers.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    let rest = &bytes[split + 4..];
    let body = if headers.contains("transfer-encoding: chunked") { unchunk(rest) } else { rest.to_vec() };
    Ok(Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    body
}

/// A server on a free port over a folder.
pub(crate) async fn start(folder: &std::path::Path) -> SearchServer {
    SearchServer::start(SearchSettings::new(folder, "127.0.0.1:0".parse().unwrap())).await.unwrap()
}

/// Runs blocking requests beside the server.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
