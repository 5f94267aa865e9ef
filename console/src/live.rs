//! Live flows: what arrives on the topic goes to every open stream whose filter it passes.
//!
//! Each stream has a bounded queue. A slow reader loses flows, never others' time, and is told how many.

mod follow;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use weir_schemas::enriched::{Enriched, Kind, document_id};
use weir_service::Metrics;
use weir_service::metrics::{Counter, Gauge};

use crate::filter::Filter;
use crate::row::{self, Row};

pub(crate) use follow::follow;

/// Most clusters and origins that are remembered for the status.
const SEEN_MOST: usize = 64;

/// What a stream is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A flow, as the JSON of its [`Row`].
    Flow(Arc<str>),
    /// A flow that no longer exists, by its id.
    Delete(Arc<str>),
    /// So many flows were not sent, because the stream was read too slowly.
    Dropped(u64),
}

/// What is known of the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    pub(crate) connected: bool,
    pub(crate) error: Option<String>,
    /// The next offset of each partition.
    pub(crate) positions: Vec<(i32, i64)>,
    /// Records that were read.
    pub(crate) records: u64,
    pub(crate) undecodable: u64,
    /// The latest end of a window met, ms since the epoch.
    pub(crate) newest: Option<i64>,
    pub(crate) origins: BTreeSet<String>,
    pub(crate) clusters: BTreeSet<String>,
    /// Whether the last record came with Kubernetes names.
    pub(crate) cluster_known: Option<bool>,
}

impl Following {
    /// For the admin port.
    pub(crate) fn state(&self) -> Value {
        json!({
            "connected": self.connected,
            "error": self.error,
            "positions": self.positions,
            "records": self.records,
            "undecodable": self.undecodable,
        })
    }
}

struct Client {
    id: u64,
    filter: Filter,
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

#[derive(Default)]
struct Clients {
    next: u64,
    open: Vec<Client>,
}

struct Numbers {
    streams: Gauge,
    records: Counter,
    undecodable: Counter,
    dropped: Counter,
    refused: Counter,
}

/// Gives live flows to the streams that are open.
pub struct Hub {
    clients: Mutex<Clients>,
    following: Mutex<Following>,
    streams_most: usize,
    queue_length: usize,
    numbers: Numbers,
}

/// Too many streams are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{most} live streams are open, which is the limit")]
pub struct TooManyStreams {
    /// The limit.
    pub most: usize,
}

impl Hub {
    /// A hub for at most `streams_most` streams, each with a queue of `queue_length` flows.
    #[must_use]
    pub fn new(streams_most: usize, queue_length: usize, metrics: &Metrics) -> Self {
        Self {
            clients: Mutex::default(),
            following: Mutex::default(),
            streams_most,
            queue_length: queue_length.max(1),
            numbers: Numbers {
                streams: metrics.gauge("weir_console_streams", "Live streams that are open"),
                records: metrics.counter("weir_console_live_records", "Enriched records read for live streams"),
                undecodable: metrics.counter(
                    "weir_console_live_undecodable",
                    "Messages of the enriched topic that could not be decoded",
                ),
                dropped: metrics.counter(
                    "weir_console_stream_dropped",
                    "Flows that were not sent to a live stream because its queue was full",
                ),
                refused: metrics.counter(
                    "weir_console_stream_refused",
                    "Live streams that were refused because too many were open",
                ),
            },
        }
    }

    /// Opens a stream of the flows that pass the filter, from now on.
    ///
    /// # Errors
    /// When too many are open.
    pub fn subscribe(self: &Arc<Self>, filter: Filter) -> Result<Subscription, TooManyStreams> {
        let mut clients = self.clients();
        if clients.open.len() >= self.streams_most {
            self.numbers.refused.inc();
            return Err(TooManyStreams { most: self.streams_most });
        }
        let (queue, receiver) = mpsc::channel(self.queue_length);
        let dropped = Arc::new(AtomicU64::new(0));
        let id = clients.next;
        clients.next += 1;
        clients.open.push(Client { id, filter, queue, dropped: Arc::clone(&dropped) });
        self.numbers.streams.inc();
        Ok(Subscription { hub: Arc::clone(self), id, receiver, dropped })
    }

    /// Gives a record to the streams.
    pub fn publish(&self, record: &Enriched) {
        self.numbers.records.inc();
        self.note(record);
        let clients = self.clients();
        if clients.open.is_empty() {
            return;
        }
        if record.kind == Kind::Delete {
            let event = Event::Delete(document_id(&record.id).into());
            clients.open.iter().for_each(|client| self.offer(client, event.clone()));
            return;
        }
        let row = row::from_record(record);
        let mut written: Option<Event> = None;
        for client in clients.open.iter().filter(|client| client.filter.matches(&row, record)) {
            let event = written.get_or_insert_with(|| Event::Flow(text(&row))).clone();
            self.offer(client, event);
        }
    }

    fn offer(&self, client: &Client, event: Event) {
        if client.queue.try_send(event).is_err() {
            client.dropped.fetch_add(1, Ordering::Relaxed);
            self.numbers.dropped.inc();
        }
    }

    fn note(&self, record: &Enriched) {
        let mut following = self.following();
        following.records += 1;
        let end = record.window.saturating_add(record.window_length);
        following.newest = following.newest.max(Some(end));
        following.cluster_known = Some(record.cluster_known);
        remember(&mut following.origins, row::word(&record.origin));
        remember(&mut following.clusters, record.cluster.clone());
    }

    pub(crate) fn undecodable(&self) {
        self.numbers.undecodable.inc();
        self.following().undecodable += 1;
    }

    pub(crate) fn streams(&self) -> usize {
        self.clients().open.len()
    }

    pub(crate) fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(seen: &mut BTreeSet<String>, word: String) {
    if seen.len() < SEEN_MOST {
        seen.insert(word);
    }
}

fn text(row: &Row) -> Arc<str> {
    // A row is plain data: writing it cannot end in an error.
    serde_json::to_string(row).unwrap_or_default().into()
}

/// An open stream; dropping it closes it.
pub struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    receiver: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.dropped.swap(0, Ordering::Relaxed) {
            0 => self.receiver.recv().await,
            lost => Some(Event::Dropped(lost)),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.clients().open.retain(|client| client.id != self.id);
        self.hub.numbers.streams.dec();
    }
}
