//! What the client library calls back: its log goes into tracing, its statistics into numbers with
//! names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;

use super::limiter::Limiter;
use crate::log::{Metric, MetricKind};

/// Distinct client names that are told apart; the others are counted together.
const MAX_CLIENTS: usize = 128;

macro_rules! numbers {
    ($($field:ident, $kind:ident, $help:literal;)*) => {
        /// The numbers of all clients of one name.
        #[derive(Debug, Default)]
        pub(super) struct Numbers {
            $(pub(super) $field: AtomicU64,)*
        }

        impl Numbers {
            fn metrics(&self, client: &str, into: &mut Vec<Metric>) {
                $(into.push(Metric {
                    name: concat!("stream_", stringify!($field)),
                    help: $help,
                    kind: MetricKind::$kind,
                    labels: vec![("client", client.to_owned())],
                    value: float(self.$field.load(Ordering::Relaxed)),
                });)*
            }
        }
    };
}

numbers! {
    records_read, Counter, "records handed to the reader";
    bytes_read, Counter, "payload bytes handed to the reader";
    records_sent, Counter, "records put into the queue";
    bytes_sent, Counter, "payload bytes put into the queue";
    deliveries_failed, Counter, "records that were not acknowledged";
    queue_full, Counter, "sends that found the queue full";
    transactions_committed, Counter, "transactions committed";
    transactions_aborted, Counter, "transactions aborted by their owner";
    transactions_unknown, Counter, "transactions whose commit ended without an answer";
    retries, Counter, "calls that were repeated after a passing error";
    rebalances, Counter, "assignments and revocations";
    partitions_lost, Counter, "partitions that went to others without leave";
    out_of_range, Counter, "positions found outside of their log";
    unreadable, Counter, "records passed over because their batch cannot be unpacked";
    errors, Counter, "errors that the client library reported";
    queued_bytes, Gauge, "payload bytes that wait for acknowledgement";
    library_queue_messages, Gauge, "messages in the client library's queues, of the client that reported last";
    brokers_up, Gauge, "brokers connected, of the client that reported last";
    round_trip_p99_microseconds, Gauge, "largest 99th percentile of a broker's answer time";
    consumer_lag, Gauge, "records behind the end, over the client's partitions";
}

/// Precise up to 2^53, which is enough to look at.
fn float(value: u64) -> f64 {
    value as f64
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

pub(super) fn subtract(gauge: &AtomicU64, count: usize) {
    gauge.fetch_sub(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
}

/// The numbers of all clients of a log, by client name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    clients: Mutex<BTreeMap<String, Arc<Numbers>>>,
    /// Held by every client too: gone when the log's handles and all its clients are.
    alive: Arc<()>,
}

impl Registry {
    pub(super) fn alive(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }

    pub(super) fn numbers(&self, client: &str) -> Arc<Numbers> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if clients.len() < MAX_CLIENTS || clients.contains_key(client) { client } else { "other" };
        Arc::clone(clients.entry(name.to_owned()).or_default())
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metrics = Vec::new();
        for (client, numbers) in clients.iter() {
            numbers.metrics(client, &mut metrics);
        }
        metrics
    }
}

/// The part of a client's context that all kinds of clients share.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) client: String,
    pub(super) numbers: Arc<Numbers>,
    limiter: Arc<Mutex<Limiter>>,
    /// Why a broker did not let this client in, or is not trusted: the last time.
    refusal: Arc<Mutex<Option<String>>>,
    _alive: Arc<()>,
}

impl Edge {
    pub(super) fn new(registry: &Registry, client: &str) -> Self {
        Self {
            client: client.to_owned(),
            numbers: registry.numbers(client),
            limiter: Arc::default(),
            refusal: Arc::default(),
            _alive: Arc::clone(&registry.alive),
        }
    }

    /// Why no broker let this client in, if one was reached.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a complaint of the library may be logged now, and how many were not since the last.
    fn allowed(&self) -> Option<u64> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

impl ClientContext for Edge {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = &self.client;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                if let Some(suppressed) = self.allowed() {
                    tracing::warn!(target: "weir_stream::librdkafka", %client, facility, suppressed, "{message}");
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "weir_stream::librdkafka", %client, facility, "{message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "weir_stream::librdkafka", %client, facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is an event, not an error.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        self.numbers.errors.fetch_add(1, Ordering::Relaxed);
        if let KafkaError::Global(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) = error {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
        // The library writes the same to its log, which comes to `log` above.
        tracing::debug!(target: "weir_stream::librdkafka", client = %self.client, %error, "{reason}");
    }

    fn stats(&self, statistics: Statistics) {
        let numbers = &self.numbers;
        // Bootstrap connections have no node id.
        let up = statistics.brokers.values().filter(|b| b.nodeid >= 0 && b.state == "UP");
        let round_trip = statistics.brokers.values().filter_map(|b| b.rtt.as_ref());
        let round_trip = round_trip.map(|window| window.p99).max().unwrap_or(0);
        let lag: i64 = statistics
            .topics
            .values()
            .flat_map(|topic| topic.partitions.values())
            .map(|partition| partition.consumer_lag.max(0))
            .sum();
        let store = |gauge: &AtomicU64, value: i64| {
            gauge.store(u64::try_from(value).unwrap_or(0), Ordering::Relaxed);
        };
        store(&numbers.brokers_up, i64::try_from(up.count()).unwrap_or(0));
        store(&numbers.round_trip_p99_microseconds, round_trip);
        store(&numbers.consumer_lag, lag);
        numbers.library_queue_messages.store(statistics.msg_cnt, Ordering::Relaxed);
    }
}
