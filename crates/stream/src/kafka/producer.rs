//! The idempotent producer, and what it shares with the transactional one.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;
use tokio::sync::{Notify, oneshot};

use super::config::Connection;
use super::convert;
use super::edge::{self, Edge, Registry};
use super::served::ServedProducer;
use crate::{Delivery, DeliveryFuture, NewRecord, ProducerSettings, Result, StreamError};

/// A record that waits for its acknowledgement.
pub(super) struct Waiting {
    size: usize,
    answer: Option<oneshot::Sender<Result<Delivery>>>,
}

/// What the client library calls back, and what the queue holds.
pub(super) struct Context {
    edge: Edge,
    queued_bytes: AtomicUsize,
    in_flight: AtomicUsize,
    /// Somebody was acknowledged: there is room, or the queue is empty.
    progress: Notify,
    /// The first delivery that failed since it was last taken.
    failure: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.edge.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.edge.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.edge.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let outcome = match result {
            Ok(message) => Ok(Delivery { partition: message.partition(), offset: message.offset() }),
            Err((error, message)) => {
                let numbers = &self.edge.numbers;
                numbers.deliveries_failed.fetch_add(1, Ordering::Relaxed);
                let code = convert::code(error).unwrap_or(RDKafkaErrorCode::Unknown);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert_with(|| (code, format!("{}: {error}", message.topic())));
                Err(delivery_error(message.topic(), code))
            }
        };
        if let Some(answer) = waiting.answer {
            // Nobody may be waiting for it.
            let _ = answer.send(outcome);
        }
        self.release(waiting.size);
    }
}

impl Context {
    pub(super) fn numbers(&self) -> &edge::Numbers {
        &self.edge.numbers
    }

    fn release(&self, size: usize) {
        self.queued_bytes.fetch_sub(size, Ordering::AcqRel);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        edge::subtract(&self.edge.numbers.queued_bytes, size);
        self.progress.notify_waiters();
    }
}

fn delivery_error(topic: &str, code: RDKafkaErrorCode) -> StreamError {
    // Refused as a whole, or never sent. Of everything else the broker may have written it.
    let never_written = matches!(
        code,
        RDKafkaErrorCode::PurgeQueue
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation
    );
    StreamError::Delivery { topic: topic.to_owned(), message: code.to_string(), outcome_unknown: !never_written }
}

/// The library's producer with its queue limit. The thread that serves it ends when this is dropped, and
/// dropping never waits.
pub(super) struct Core {
    native: Option<Arc<ServedProducer<Context>>>,
    limit_bytes: usize,
    max_record_bytes: usize,
}

impl fmt::Debug for Core {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.native {
            Some(native) => write!(formatter, "Core({})", native.context().edge.client),
            None => formatter.write_str("Core(dropped)"),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Purging and joining the library's threads takes up to a second.
        if let Some(native) = self.native.take() {
            let dropping = std::thread::Builder::new().name("kafka-drop".into());
            if let Err(error) = dropping.spawn(move || drop(native)) {
                tracing::warn!(%error, "no thread to drop a producer in");
            }
        }
    }
}

impl Core {
    pub(super) fn new(
        config: &rdkafka::ClientConfig,
        registry: &Registry,
        client_id: &str,
        limit_bytes: usize,
        max_record_bytes: usize,
    ) -> Result<Self> {
        let context = Context {
            edge: Edge::new(registry, client_id),
            queued_bytes: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            progress: Notify::new(),
            failure: Mutex::new(None),
        };
        let native = ServedProducer::new(config, context)
            .map_err(|error| StreamError::Configuration(format!("kafka producer: {error}")))?;
        Ok(Self { native: Some(Arc::new(native)), limit_bytes, max_record_bytes })
    }

    pub(super) fn native(&self) -> &Arc<ServedProducer<Context>> {
        // Only `drop` takes it.
        self.native.as_ref().expect("present until dropped")
    }

    pub(super) fn numbers(&self) -> &edge::Numbers {
        self.native().context().numbers()
    }

    /// Puts a record into the queue if there is room.
    pub(super) fn enqueue(
        &self,
        record: &NewRecord,
        answer: Option<oneshot::Sender<Result<Delivery>>>,
    ) -> Result<(), Refused> {
        let size = record.size();
        if size > self.max_record_bytes {
            return Err(Refused::Error(StreamError::TooLarge {
                topic: record.topic.to_string(),
                size,
                limit: self.max_record_bytes,
            }));
        }
        let native = self.native();
        let context = native.context();
        let queued = context.queued_bytes.fetch_add(size, Ordering::AcqRel);
        context.in_flight.fetch_add(1, Ordering::AcqRel);
        edge::add(&context.edge.numbers.queued_bytes, size);
        // A record larger than the limit may wait alone.
        if queued > 0 && queued.saturating_add(size) > self.limit_bytes {
            context.release(size);
            context.edge.numbers.queue_full.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Full);
        }
        let message = BaseRecord::<[u8], [u8], Box<Waiting>> {
            topic: &record.topic,
            partition: record.partition,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: record.timestamp,
            headers: convert::headers(record),
            delivery_opaque: Box::new(Waiting { size, answer }),
        };
        match native.send(message) {
            Ok(()) => {
                edge::add(&context.edge.numbers.records_sent, 1);
                edge::add(&context.edge.numbers.bytes_sent, size);
                Ok(())
            }
            Err((error, _)) => {
                context.release(size);
                let code = convert::code(&error).unwrap_or(RDKafkaErrorCode::Unknown);
                if code == RDKafkaErrorCode::QueueFull {
                    return Err(Refused::Full);
                }
                Err(Refused::Code(code, format!("{}: {error}", record.topic)))
            }
        }
    }

    /// Waits until `done` of (queued bytes, records in flight), at most until the deadline. Returns
    /// whether it came.
    pub(super) async fn wait(&self, deadline: Instant, done: impl Fn(usize, usize) -> bool) -> bool {
        let context = self.native().context();
        loop {
            let notified = context.progress.notified();
            tokio::pin!(notified);
            // Registered before looking, so that no notification falls between.
            notified.as_mut().enable();
            let queued = context.queued_bytes.load(Ordering::Acquire);
            let in_flight = context.in_flight.load(Ordering::Acquire);
            if done(queued, in_flight) {
                return true;
            }
            let deadline = tokio::time::Instant::from_std(deadline);
            if tokio::time::timeout_at(deadline, notified).await.is_err() {
                return false;
            }
        }
    }

    /// The first delivery that failed since this was last asked.
    pub(super) fn take_failure(&self) -> Option<(RDKafkaErrorCode, String)> {
        let failure = &self.native().context().failure;
        failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn has_failure(&self) -> bool {
        let failure = &self.native().context().failure;
        failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }
}

/// Why a record is not in the queue.
pub(super) enum Refused {
    /// No room.
    Full,
    /// The client library's own reason.
    Code(RDKafkaErrorCode, String),
    Error(StreamError),
}

#[derive(Clone, Debug)]
pub(crate) struct KafkaProducer {
    core: Arc<Core>,
}

impl KafkaProducer {
    pub(super) fn new(connection: &Connection, registry: &Registry, settings: &ProducerSettings) -> Result<Self> {
        let core = Core::new(
            &connection.producer(settings),
            registry,
            &settings.client_id,
            settings.queue_bytes,
            settings.max_record_bytes,
        )?;
        Ok(Self { core: Arc::new(core) })
    }

    #[allow(clippy::needless_pass_by_value, reason = "the contract takes the record")]
    pub(crate) fn send(&self, record: NewRecord) -> Result<DeliveryFuture> {
        let (answer, delivery) = oneshot::channel();
        match self.core.enqueue(&record, Some(answer)) {
            Ok(()) => Ok(DeliveryFuture(delivery)),
            Err(Refused::Full) => Err(StreamError::QueueFull { limit_bytes: self.core.limit_bytes() }),
            Err(Refused::Error(error)) => Err(error),
            Err(Refused::Code(RDKafkaErrorCode::MessageSizeTooLarge, _)) => Err(StreamError::TooLarge {
                topic: record.topic.to_string(),
                size: record.size(),
                limit: self.core.max_record_bytes,
            }),
            Err(Refused::Code(_, message)) => Err(StreamError::Fatal(message)),
        }
    }

    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let empty = self.core.wait(deadline, |_, in_flight| in_flight == 0).await;
        if empty {
            return Ok(());
        }
        Err(StreamError::Timeout { what: "flushing the producer".into(), milliseconds: timeout.as_millis() })
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        let context = self.core.native().context();
        context.queued_bytes.load(Ordering::Acquire)
    }
}
