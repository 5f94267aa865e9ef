//! A running proxy.

use crate::counts::{Counts, Tally};
use crate::gate::Gate;
use crate::kafka::{Directory, ListenerOf};
use crate::plan::{Kind, Plan, Request};
use crate::relay::End;
use crate::{http, kafka, tcp};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Brokers that a proxy of Kafka listens for, at most.
const MAX_BROKERS: usize = 64;

/// Why there can be no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The server's address is not `host:port`.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// A rule that this kind of proxy cannot follow.
    #[error("a {kind} proxy cannot inject {fault:?}: only an http proxy answers in the server's place")]
    Unfit {
        /// The kind of proxy.
        kind: &'static str,
        /// The fault.
        fault: Kind,
    },
    /// There is no port to listen on.
    #[error("no port to listen on: {0}")]
    Listen(#[from] io::Error),
}

/// What a proxy understands of what it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Http,
    Kafka,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Kafka => "kafka",
        }
    }
}

struct Shared {
    protocol: Protocol,
    tally: Tally,
    connections: AtomicU64,
    paused: watch::Sender<bool>,
    refusing: watch::Sender<bool>,
    /// Raised to break all connections.
    breaks: watch::Sender<u64>,
    stop: CancellationToken,
    /// Where it listens for which server.
    listeners: Mutex<BTreeMap<String, SocketAddr>>,
}

/// A running proxy on a free port of 127.0.0.1. It ends, and resets its connections, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Proxy({} at {})", self.shared.protocol.name(), self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Proxy {
    /// A proxy before any server (`host:port`); rules strike connections as a whole.
    ///
    /// # Errors
    /// If the address is none, a rule is not for this, or there is no port to listen on.
    pub async fn tcp(server: &str, plan: Plan) -> Result<Self, ProxyError> {
        Self::start(Protocol::Tcp, server, plan).await
    }

    /// A proxy before an HTTP/1.1 server (`host:port`, or a URL `http://host:port`); rules strike requests.
    ///
    /// # Errors
    /// As [`tcp`](Self::tcp).
    pub async fn http(server: &str, plan: Plan) -> Result<Self, ProxyError> {
        let server = server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/');
        Self::start(Protocol::Http, server, plan).await
    }

    /// A proxy before a Kafka cluster (one bootstrap broker, `host:port`); rules strike requests.
    ///
    /// # Errors
    /// As [`tcp`](Self::tcp).
    pub async fn kafka(bootstrap: &str, plan: Plan) -> Result<Self, ProxyError> {
        Self::start(Protocol::Kafka, bootstrap, plan).await
    }

    async fn start(protocol: Protocol, server: &str, plan: Plan) -> Result<Self, ProxyError> {
        let port = server.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(ProxyError::Address(server.to_owned()));
        }
        let http_only = [Kind::Status, Kind::Items, Kind::ShortAnswer];
        let unfit = plan.rules.iter().find(|rule| http_only.contains(&rule.fault.kind()) && protocol != Protocol::Http);
        if let Some(rule) = unfit {
            return Err(ProxyError::Unfit { kind: protocol.name(), fault: rule.fault.kind() });
        }
        let shared = Arc::new(Shared {
            protocol,
            tally: Tally::new(plan),
            connections: AtomicU64::new(0),
            paused: watch::Sender::new(false),
            refusing: watch::Sender::new(false),
            breaks: watch::Sender::new(0),
            stop: CancellationToken::new(),
            listeners: Mutex::default(),
        });
        // A broker that advertises the address by which it was reached gets no second listener.
        let address = listen(&shared, server)?;
        Ok(Self { address, shared })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was seen and injected so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }

    /// From now on nothing is injected; what goes wrong already goes on.
    pub fn heal(&self) {
        self.shared.tally.set_healed(true);
    }

    /// After [`heal`](Self::heal), the plan goes on.
    pub fn relapse(&self) {
        self.shared.tally.set_healed(false);
    }

    /// Nothing moves on any connection until [`resume`](Self::resume), as if the server were stopped (SIGSTOP); new
    /// connections are taken and wait.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Ends [`pause`](Self::pause).
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Whether new connections are reset at once, as if nothing listened.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.send_replace(refuse);
    }

    /// Resets all connections that are open now.
    pub fn reset_connections(&self) {
        self.shared.breaks.send_modify(|number| *number += 1);
    }
}

/// Listens in the place of a server; the same address for the same server.
fn listen(shared: &Arc<Shared>, server: &str) -> io::Result<SocketAddr> {
    let mut listeners = shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(address) = listeners.get(server) {
        return Ok(*address);
    }
    if listeners.len() >= MAX_BROKERS {
        return Err(io::Error::other("too many brokers"));
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    listeners.insert(server.to_owned(), address);
    tokio::spawn(accept(listener, Arc::clone(shared), server.to_owned()));
    Ok(address)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, server: String) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else { continue };
        tokio::spawn(serve(Arc::clone(&shared), client, server.clone()));
    }
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream, server: String) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    shared.tally.note(|counts| counts.connections += 1);
    let mut breaks = shared.breaks.subscribe();
    let end = if *shared.refusing.borrow() {
        shared.tally.note(|counts| counts.broken += 1);
        End::Reset
    } else {
        tokio::select! {
            () = shared.stop.cancelled() => End::Reset,
            _ = breaks.changed() => {
                shared.tally.note(|counts| counts.broken += 1);
                End::Reset
            }
            end = relay(&shared, &mut client, &server, number) => end,
        }
    };
    match end {
        // Errors only say that the client is gone.
        End::Reset => drop(client.set_zero_linger()),
        End::Close | End::Client => drop(client.shutdown().await),
        End::Upstream => {
            shared.tally.note(|counts| counts.upstream_gone += 1);
            drop(client.shutdown().await);
        }
    }
}

async fn relay(shared: &Arc<Shared>, client: &mut TcpStream, server: &str, connection: u64) -> End {
    let gate = Gate::new(shared.paused.subscribe());
    gate.pass().await;
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(server)).await;
    let Ok(Ok(mut server)) = connected else { return End::Upstream };
    // Small messages are not to wait for more.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    match shared.protocol {
        Protocol::Tcp => {
            let action = shared.tally.decide(&Request::Connection, connection, 0);
            tcp::relay(client, &mut server, &gate, action).await
        }
        Protocol::Http => http::relay(client, &mut server, &gate, &shared.tally, connection).await,
        Protocol::Kafka => {
            let directory = Directory { of: listener_of(Arc::downgrade(shared)) };
            kafka::relay(client, &mut server, &gate, &shared.tally, connection, &directory).await
        }
    }
}

fn listener_of(shared: Weak<Shared>) -> ListenerOf {
    Box::new(move |host, port| {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        listen(&shared.upgrade()?, &format!("{host}:{port}")).ok()
    })
}
