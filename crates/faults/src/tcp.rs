//! Connections of which only the bytes are known.

use crate::gate::Gate;
use crate::plan::Action;
use crate::relay::{Answer, CHUNK, End, swallow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Passes bytes on in both directions until one side ends.
pub(crate) async fn relay(client: &mut TcpStream, server: &mut TcpStream, gate: &Gate, action: Option<Action>) -> End {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    match action {
        Some(Action::Reset) => return End::Reset,
        Some(Action::Blackhole) => return swallow(&mut from_client).await,
        _ => {}
    }
    let answers = async {
        let mut first = vec![0; CHUNK];
        let Ok(count @ 1..) = from_server.read(&mut first).await else { return End::Upstream };
        match action {
            Some(Action::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Action::Stall(length)) => gate.stall(length),
            Some(Action::DropAnswer) => return End::Reset,
            Some(Action::HalfClose) => {
                // The client may be gone, which the other direction will see.
                let _ = to_client.shutdown().await;
                swallow(&mut from_server).await;
                return End::Upstream;
            }
            _ => {}
        }
        let mut answer = Answer::new(&mut to_client, gate, action);
        pass_on(&mut from_server, &mut answer, &first[..count]).await
    };
    tokio::select! {
        end = answers => end,
        end = requests(&mut from_client, &mut to_server, gate) => end,
    }
}

async fn pass_on(server: &mut ReadHalf<'_>, answer: &mut Answer<'_, WriteHalf<'_>>, first: &[u8]) -> End {
    if let Err(end) = answer.write(first).await {
        return end;
    }
    let mut buffer = vec![0; CHUNK];
    loop {
        let written = match server.read(&mut buffer).await {
            Ok(0) => return answer.finish().err().unwrap_or(End::Close),
            Err(_) => return End::Upstream,
            Ok(count) => answer.write(&buffer[..count]).await,
        };
        if let Err(end) = written {
            return end;
        }
    }
}

/// Passes on what the client sends; its end is passed on too, and answers still come.
async fn requests(client: &mut ReadHalf<'_>, server: &mut WriteHalf<'_>, gate: &Gate) -> End {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match client.read(&mut buffer).await {
            Err(_) => return End::Client,
            Ok(count) => count,
        };
        gate.pass().await;
        let passed = if count == 0 { server.shutdown().await } else { server.write_all(&buffer[..count]).await };
        if passed.is_err() {
            return End::Upstream;
        }
        if count == 0 {
            return std::future::pending().await;
        }
    }
}
