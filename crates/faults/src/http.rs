//! HTTP/1.1, one exchange after the other on a connection.

mod bulk;
mod framing;

pub(crate) use bulk::Bulk;

use crate::counts::Tally;
use crate::gate::Gate;
use crate::plan::{Action, Request};
use crate::relay::{Answer, End, swallow};
use framing::{Body, Head, copy_body, read_head};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// The ends of both connections.
struct Ends<'a> {
    from_client: BufReader<ReadHalf<'a>>,
    to_client: WriteHalf<'a>,
    from_server: BufReader<ReadHalf<'a>>,
    to_server: WriteHalf<'a>,
}

/// Passes exchanges on until one side ends.
pub(crate) async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    gate: &Gate,
    tally: &Tally,
    connection: u64,
) -> End {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (from_client, from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    let mut ends = Ends { from_client, to_client, from_server, to_server };
    for number in 0.. {
        let request = tokio::select! {
            request = read_head(&mut ends.from_client) => request,
            // Between exchanges a server has nothing to say but that it ends.
            _ = ends.from_server.fill_buf() => return End::Upstream,
        };
        let Ok(Some(request)) = request else { return End::Client };
        let action = tally.decide(&Request::Http(request.path()), connection, number);
        gate.pass().await;
        if let Err(end) = exchange(&mut ends, gate, &request, action).await {
            return end;
        }
    }
    End::Close
}

async fn exchange(ends: &mut Ends<'_>, gate: &Gate, request: &Head, action: Option<Action>) -> Result<(), End> {
    match action {
        Some(Action::Reset) => return Err(End::Reset),
        Some(Action::Blackhole) => return Err(swallow(&mut ends.from_client).await),
        Some(Action::Stall(length)) => gate.stall(length),
        Some(Action::Status(status)) => return refuse(ends, request, status).await,
        Some(Action::Bulk(bulk)) => return bulk::exchange(ends, gate, request, bulk).await,
        _ => {}
    }
    gate.pass().await;
    ends.to_server.write_all(&request.bytes).await.map_err(|_| End::Upstream)?;
    copy_body(&mut ends.from_client, &mut Answer::new(&mut ends.to_server, gate, None), request.request_body()).await?;
    let (interim, head) = answer_head(ends).await?;
    match action {
        Some(Action::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Action::HalfClose) => {
            // That the client is gone shows in the next step.
            let _ = ends.to_client.shutdown().await;
            return Err(swallow(&mut ends.from_client).await);
        }
        Some(Action::DropAnswer) => {
            // The whole answer, so that the server has done everything.
            let mut nowhere = tokio::io::sink();
            copy_body(&mut ends.from_server, &mut Answer::new(&mut nowhere, gate, None), head.answer_body(request))
                .await?;
            return Err(End::Reset);
        }
        _ => {}
    }
    let mut answer = Answer::new(&mut ends.to_client, gate, action);
    answer.write(&interim).await?;
    answer.write(&head.bytes).await?;
    let body = head.answer_body(request);
    // An answer without a length ends with its connection.
    copy_body(&mut ends.from_server, &mut answer, body).await?;
    answer.finish()?;
    if body == Body::UntilEnd || head.closes() || request.closes() { Err(End::Close) } else { Ok(()) }
}

/// The head of the answer, and interim ones that come before it.
async fn answer_head(ends: &mut Ends<'_>) -> Result<(Vec<u8>, Head), End> {
    let mut interim = Vec::new();
    loop {
        let Ok(Some(head)) = read_head(&mut ends.from_server).await else { return Err(End::Upstream) };
        if !head.is_interim() {
            return Ok((interim, head));
        }
        interim.extend_from_slice(&head.bytes);
    }
}

/// Answers in the server's place, once the whole request has come.
async fn refuse(ends: &mut Ends<'_>, request: &Head, status: u16) -> Result<(), End> {
    let mut nowhere = tokio::io::sink();
    let gate = Gate::new(tokio::sync::watch::channel(false).1);
    copy_body(&mut ends.from_client, &mut Answer::new(&mut nowhere, &gate, None), request.request_body()).await?;
    let kind = if status == 429 { "es_rejected_execution_exception" } else { "injected_fault" };
    let body =
        format!(r#"{{"error":{{"root_cause":[],"type":"{kind}","reason":"injected by a test"}},"status":{status}}}"#);
    let head = format!(
        "HTTP/1.1 {status} Injected\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    ends.to_client.write_all(head.as_bytes()).await.map_err(|_| End::Client)?;
    if !request.is_method("HEAD") {
        ends.to_client.write_all(body.as_bytes()).await.map_err(|_| End::Client)?;
    }
    if request.closes() { Err(End::Close) } else { Ok(()) }
}
