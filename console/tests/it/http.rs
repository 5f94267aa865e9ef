//! A few lines of HTTP, so that a test can send what no client library would.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// An answer that ended.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lower-case.
    pub(crate) head: String,
    pub(crate) body: String,
}

async fn send(address: SocketAddr, path: &str, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) async fn get(address: SocketAddr, path: &str, host: &str) -> Answer {
    let mut text = String::new();
    send(address, path, host).await.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: status(head), head: head.to_lowercase(), body: body.to_owned() }
}

/// Sends a body, with these headers.
pub(crate) async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // What is too large is refused before it is read.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: status(head), head: head.to_lowercase(), body: body.to_owned() }
}

/// An open stream of server-sent events.
pub(crate) struct Events {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
}

impl Events {
    /// Opens the stream and waits until it says that it is open.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Self {
        let mut events = Self { lines: BufReader::new(send(address, path, "localhost").await).lines() };
        let head = events.lines.next_line().await.unwrap().unwrap();
        assert_eq!(status(&head), 200);
        assert_eq!(events.next().await.unwrap().0, "open");
        events
    }

    /// Name and data of the next event; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        let mut name = String::new();
        // Chunk lengths and comments are skipped: neither looks like a field.
        while let Some(line) = self.lines.next_line().await.ok().flatten() {
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, data.to_owned()));
            }
        }
        None
    }
}
