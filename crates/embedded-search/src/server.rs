//! Starting and stopping the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::SearchError;
use crate::http;
use crate::node::{Folder, Node};

/// How often housekeeping runs.
const TICK: Duration = Duration::from_millis(500);
/// How long an orderly stop waits for requests under way.
const GRACE: Duration = Duration::from_secs(5);

/// How much of everything the server takes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request body, in bytes (413 beyond).
    pub max_body_bytes: usize,
    /// Bytes of all bodies being worked on (429 beyond).
    pub max_inflight_bytes: usize,
    /// Requests being worked on at a time; more wait.
    pub max_concurrent_requests: usize,
    /// Requests that may wait (429 beyond).
    pub max_waiting_requests: usize,
    /// Buckets of an answer, as `search.max_buckets`.
    pub max_buckets: usize,
    /// Buckets kept while a search runs (429 beyond).
    pub max_collected_buckets: usize,
    /// `from` + `size` of a search, as `index.max_result_window`.
    pub max_result_window: usize,
    /// Clauses of a query, as `indices.query.bool.max_clause_count`.
    pub max_clauses: usize,
    /// Values of one `terms` query, as `index.max_terms_count`.
    pub max_terms: usize,
    /// Depth of queries and aggregations.
    pub max_depth: usize,
    /// Indices that may exist.
    pub max_indices: usize,
    /// Index templates that may exist.
    pub max_templates: usize,
    /// Fields of an index, as `index.mapping.total_fields.limit`.
    pub max_fields: usize,
    /// Points in time open at a time.
    pub max_pits: usize,
    /// Indices that are open for writing at a time (about 20 MB each).
    pub max_open_writers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 100 << 20,
            max_inflight_bytes: 200 << 20,
            max_concurrent_requests: 16,
            max_waiting_requests: 512,
            max_buckets: 65_536,
            max_collected_buckets: 2_000_000,
            max_result_window: 10_000,
            max_clauses: 4_096,
            max_terms: 65_536,
            max_depth: 30,
            max_indices: 1_000,
            max_templates: 1_000,
            max_fields: 1_000,
            max_pits: 500,
            max_open_writers: 4,
        }
    }
}

/// What the server needs to know.
#[derive(Debug, Clone)]
pub struct SearchSettings {
    /// The folder that everything is kept in; created if it does not exist.
    pub data: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How much of everything the server takes.
    pub limits: Limits,
}

impl SearchSettings {
    /// Settings with the default limits.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self { data: data.into(), listen, limits: Limits::default() }
    }
}

/// A running search server.
pub struct SearchServer {
    node: Arc<Node>,
    /// Keeps the data folder locked until everything is committed.
    folder: Folder,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    ticking: tokio::task::JoinHandle<()>,
}

impl SearchServer {
    /// Opens the data folder, replays what was not committed, and listens.
    ///
    /// # Errors
    /// When the folder cannot be used (unwritable, in use, newer, damaged) or the address is taken.
    pub async fn start(settings: SearchSettings) -> Result<Self, SearchError> {
        let SearchSettings { data, listen, limits } = settings;
        let at_address = |source| SearchError::Listen { address: listen, source };
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(at_address)?;
        let address = listener.local_addr().map_err(at_address)?;
        let opening_path = data.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let folder = Folder::open(&data)?;
            let node = folder.load(limits, address)?;
            Ok((folder, Arc::new(node)))
        });
        let (folder, node) = opened
            .await
            .map_err(|error| SearchError::Damaged { path: opening_path, reason: error.to_string() })
            .and_then(|opened| opened)?;
        let stop = CancellationToken::new();
        let app = http::router(node.clone());
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "search server stopped listening");
            }
        });
        let ticking = tokio::spawn(tick(node.clone(), stop.clone()));
        tracing::info!(%address, data = %node.data.display(), "embedded search server listens");
        Ok(Self { node, folder, stop, serving, ticking })
    }

    /// The address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.node.address
    }

    /// Stops listening, commits everything and gives up the data folder.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let mut serving = self.serving;
        if tokio::time::timeout(GRACE, &mut serving).await.is_err() {
            // Clients that keep idle connections open must not hold the process.
            serving.abort();
        }
        let _ = self.ticking.await;
        let node = self.node;
        let folder = self.folder;
        let committed = tokio::task::spawn_blocking(move || {
            node.shutdown();
            drop(node);
            drop(folder);
        });
        if let Err(error) = committed.await {
            tracing::error!(%error, "the last commit did not succeed; the translog is replayed at the next start");
        }
    }

    /// Counters and gauges, by name.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.node.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let indices = self.node.all();
        let docs = indices.iter().map(|index| index.snapshot().num_docs()).sum();
        vec![
            ("search_requests_total", read(&counters.requests)),
            ("search_requests_refused_total", read(&counters.refused)),
            ("search_bodies_too_large_total", read(&counters.bodies_too_large)),
            ("search_overloaded_total", read(&counters.overloaded)),
            ("search_item_failures_total", read(&counters.item_failures)),
            ("search_indices_refused_total", read(&counters.indices_refused)),
            ("search_buckets_refused_total", read(&counters.buckets_refused)),
            ("search_indices", crate::numbers::to_u64(indices.len())),
            ("search_documents", docs),
        ]
    }
}

async fn tick(node: Arc<Node>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(TICK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let node = node.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || node.tick()).await {
            tracing::error!(%error, "housekeeping did not finish");
        }
    }
}
