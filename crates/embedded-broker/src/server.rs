//! Connections: taking them, reading requests, sending answers.

use crate::api::{self, Answer, Client};
use crate::broker::State;
use crate::wire::{self, RequestError};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Unit in which requests in progress are counted against their limit, bytes.
const PERMIT_BYTES: usize = 1024;
/// Bytes given to a request's buffer before any of its bytes has come.
const FIRST_BUFFER: usize = 16 << 10;
/// Pause after a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a connection ended before its client closed it.
enum Closed {
    ByClient,
    Malformed,
    TooLarge,
    Unsupported,
    TimedOut,
}

impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Self {
        Self::ByClient
    }
}

/// Takes connections until the broker stops.
pub(crate) async fn listen(listener: TcpListener, state: Arc<State>, stop: CancellationToken, tasks: TaskTracker) {
    let connections = Arc::new(Semaphore::new(state.limits.connections));
    let permits = (state.limits.in_flight_bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
    let in_flight = Arc::new(Semaphore::new(permits));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "connection not taken");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&connections).try_acquire_owned() else {
            state.metrics.connections_refused.increment();
            continue;
        };
        state.metrics.connections_accepted.increment();
        let connection = Connection { state: Arc::clone(&state), in_flight: Arc::clone(&in_flight), permits };
        let stop = stop.clone();
        tasks.spawn(async move {
            let ended = tokio::select! {
                ended = connection.serve(stream, peer, &stop) => ended,
                () = connection.abandoned(&stop) => Ok(()),
            };
            connection.note_end(peer, &ended);
            drop(slot);
        });
    }
}

struct Connection {
    state: Arc<State>,
    in_flight: Arc<Semaphore>,
    permits: usize,
}

impl Connection {
    /// Ends some time after the broker stops: requests in progress may be answered until then.
    async fn abandoned(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        sleep(Duration::from_secs(1)).await;
    }

    fn note_end(&self, peer: SocketAddr, ended: &Result<(), Closed>) {
        let metrics = &self.state.metrics;
        let (counter, reason) = match ended {
            Ok(()) | Err(Closed::ByClient) => return,
            Err(Closed::Malformed) => (&metrics.connections_malformed, "bytes are no request"),
            Err(Closed::TooLarge) => (&metrics.requests_too_large, "request too large"),
            Err(Closed::Unsupported) => (&metrics.requests_unsupported, "request not supported"),
            Err(Closed::TimedOut) => (&metrics.connections_timed_out, "client too slow or silent"),
        };
        counter.increment();
        tracing::debug!(%peer, reason, "connection closed");
    }

    /// Answers requests one after the other, as the protocol wants it, until the client or the broker ends.
    async fn serve(&self, mut stream: TcpStream, peer: SocketAddr, stop: &CancellationToken) -> Result<(), Closed> {
        stream.set_nodelay(true)?;
        let limits = &self.state.limits;
        loop {
            let length = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                length = timeout(limits.idle_timeout, stream.read_i32()) => length.map_err(|_| Closed::TimedOut)??,
            };
            let length = usize::try_from(length).map_err(|_| Closed::Malformed)?;
            if length > limits.request_bytes {
                return Err(Closed::TooLarge);
            }
            let permits = (length / PERMIT_BYTES + 1).min(self.permits);
            let permits = u32::try_from(permits).unwrap_or(u32::MAX);
            let Ok(_held) = self.in_flight.acquire_many(permits).await else {
                return Ok(());
            };
            let body = timeout(limits.transfer_timeout, read_body(&mut stream, length));
            let body = body.await.map_err(|_| Closed::TimedOut)??;
            let answer = match self.answer(body, peer).await? {
                Some(answer) => answer,
                None => continue,
            };
            let sent = timeout(limits.transfer_timeout, stream.write_all(&answer));
            sent.await.map_err(|_| Closed::TimedOut)??;
        }
    }

    /// The bytes of the answer; none if the client wants none.
    async fn answer(&self, body: Bytes, peer: SocketAddr) -> Result<Option<Bytes>, Closed> {
        let request = match wire::decode(body, self.state.limits.request_elements) {
            Ok(request) => request,
            Err(RequestError::UnsupportedApiVersions { correlation_id }) => {
                let response = api::unsupported_versions();
                return Ok(wire::encode(ApiKey::ApiVersions, 0, correlation_id, &response));
            }
            Err(RequestError::Malformed) => return Err(Closed::Malformed),
            Err(RequestError::TooLarge) => return Err(Closed::TooLarge),
            Err(RequestError::Unsupported) => return Err(Closed::Unsupported),
        };
        let (key, version, correlation_id) = (request.key, request.version, request.correlation_id);
        let id = request.client_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let client = Client { id, host: peer.ip() };
        let answer = api::handle(&self.state, request, &client).await;
        self.state.metrics.requests.increment();
        match answer {
            Answer::Response(response) => {
                wire::encode(key, version, correlation_id, &response).map(Some).ok_or(Closed::Unsupported)
            }
            Answer::Silence => Ok(None),
            Answer::Close => Err(Closed::ByClient),
        }
    }
}

/// Reads the bytes of a request; memory is taken as they come, not as they are announced.
async fn read_body(stream: &mut TcpStream, length: usize) -> std::io::Result<Bytes> {
    let mut body = BytesMut::with_capacity(length.min(FIRST_BUFFER));
    while body.len() < length {
        let left = length - body.len();
        // Doubling, but never beyond the request.
        let grow = left.min(body.len().max(FIRST_BUFFER));
        body.reserve(grow);
        let missing = u64::try_from(left).unwrap_or(u64::MAX);
        if (&mut *stream).take(missing).read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}
