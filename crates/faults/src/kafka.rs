//! Kafka: requests with their answers, which come in the order of the requests.

mod rewrite;

pub(crate) use rewrite::{Directory, ListenerOf};

use crate::counts::Tally;
use crate::gate::Gate;
use crate::plan::{Action, Request};
use crate::relay::{Answer, End, swallow};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// The longest message that is passed on.
const MAX_MESSAGE: usize = 128 << 20;

/// A request whose answer has not come.
#[derive(Clone, Copy, Debug)]
struct Asked {
    correlation_id: i32,
    api: i16,
    version: i16,
    action: Option<Action>,
}

/// The requests whose answers have not come, in their order.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<Asked>>);

impl Waiting {
    fn add(&self, asked: Asked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(asked);
    }

    /// The request that this answer is for. Those before it wanted none.
    fn take(&self, correlation_id: i32) -> Option<Asked> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(asked) = waiting.pop_front() {
            if asked.correlation_id == correlation_id {
                return Some(asked);
            }
        }
        None
    }
}

/// Passes requests and answers on until one side ends.
pub(crate) async fn relay(
    client: &mut TcpStream,
    server: &mut TcpStream,
    gate: &Gate,
    tally: &Tally,
    connection: u64,
    directory: &Directory,
) -> End {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let waiting = Waiting::default();
    tokio::select! {
        end = requests(&mut from_client, &mut to_server, gate, &waiting, |number, api| {
            tally.decide(&Request::Kafka(api), connection, number)
        }) => end,
        end = answers(&mut from_server, &mut to_client, gate, &waiting, directory) => end,
    }
}

/// One message without its length; none at the end of the connection.
async fn read_message(reader: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
    let length = usize::try_from(reader.read_i32().await.ok()?).ok()?;
    if length > MAX_MESSAGE {
        return None;
    }
    let mut message = BytesMut::zeroed(length);
    reader.read_exact(&mut message).await.ok()?;
    Some(message.freeze())
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), message].concat()
}

/// API, version and correlation id of a request.
fn head(message: &[u8]) -> Option<(i16, i16, i32)> {
    let (api, rest) = message.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (correlation_id, _) = rest.split_first_chunk::<4>()?;
    Some((i16::from_be_bytes(*api), i16::from_be_bytes(*version), i32::from_be_bytes(*correlation_id)))
}

async fn requests(
    client: &mut ReadHalf<'_>,
    server: &mut WriteHalf<'_>,
    gate: &Gate,
    waiting: &Waiting,
    decide: impl Fn(u64, i16) -> Option<Action>,
) -> End {
    for number in 0.. {
        let Some(message) = read_message(client).await else { break };
        let Some((api, version, correlation_id)) = head(&message) else { break };
        let action = decide(number, api);
        match action {
            Some(Action::Reset) => return End::Reset,
            Some(Action::Blackhole) => return swallow(client).await,
            Some(Action::Stall(length)) => gate.stall(length),
            _ => {}
        }
        gate.pass().await;
        waiting.add(Asked { correlation_id, api, version, action });
        if server.write_all(&framed(&message)).await.is_err() {
            return End::Upstream;
        }
    }
    End::Client
}

async fn answers(
    server: &mut ReadHalf<'_>,
    client: &mut WriteHalf<'_>,
    gate: &Gate,
    waiting: &Waiting,
    directory: &Directory,
) -> End {
    while let Some(message) = read_message(server).await {
        let asked = message.first_chunk::<4>().and_then(|id| waiting.take(i32::from_be_bytes(*id)));
        let Some(asked) = asked else { return End::Upstream };
        let message = directory.rewrite(asked.api, asked.version, message);
        match asked.action {
            Some(Action::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Action::DropAnswer) => return End::Reset,
            Some(Action::HalfClose) => {
                // That the client is gone shows in the other direction.
                let _ = client.shutdown().await;
                swallow(server).await;
                return End::Upstream;
            }
            _ => {}
        }
        let mut answer = Answer::new(client, gate, asked.action);
        let written = answer.write(&framed(&message)).await.and_then(|()| answer.finish());
        if let Err(end) = written {
            return end;
        }
    }
    End::Upstream
}
