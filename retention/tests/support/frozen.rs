//! An engine whose statistics of disks stand still: everything else is passed on.

use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_elastic::{Elastic, Method};

/// What is answered the same each time.
const FROZEN: &str = "/_nodes/stats/fs";

pub(crate) struct Frozen {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Frozen {
    pub(crate) async fn before(engine: Elastic) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept: Arc<Mutex<Option<Bytes>>> = Arc::default();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, engine.clone(), Arc::clone(&kept)));
            }
        });
        Self { address, task }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, engine: Elastic, kept: Arc<Mutex<Option<Bytes>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if stream.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (status, answer) = answer(&engine, method, target, body, &kept).await;
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    }
}

async fn answer(
    engine: &Elastic,
    method: &str,
    target: &str,
    body: Vec<u8>,
    kept: &Mutex<Option<Bytes>>,
) -> (u16, Bytes) {
    let method = match method {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        other => panic!("{other}"),
    };
    let is_frozen = target.starts_with(FROZEN);
    if let Some(kept) = kept.lock().unwrap().clone().filter(|_| is_frozen) {
        return (200, kept);
    }
    let body = (!body.is_empty()).then(|| body.into());
    match engine.request(method, target, &[], body).await {
        Ok(reply) => {
            if is_frozen {
                *kept.lock().unwrap() = Some(reply.body.clone());
            }
            (reply.status, reply.body)
        }
        Err(error) => {
            let status = error.status.unwrap_or(503);
            let told = serde_json::json!({"error": {"type": error.code, "reason": error.cause}, "status": status});
            (status, told.to_string().into())
        }
    }
}
