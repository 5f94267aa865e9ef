//! The library's producer and the thread that takes its delivery reports.
//!
//! rdkafka's own `ThreadedProducer` asks for reports with a deadline every 100 ms and spins through the last millisecond
//! of each, which costs an idle process one per cent of a core per producer. A longer deadline costs a tenth of it, and a
//! report still ends the wait at once.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, NoCustomPartitioner, ProducerContext};

/// How long one wait for reports lasts, and so the longest that dropping one of these takes.
const WAIT: Duration = Duration::from_secs(1);

/// A producer whose reports are taken by a thread of its own.
pub(super) struct ServedProducer<C: ProducerContext<NoCustomPartitioner> + 'static> {
    producer: Arc<BaseProducer<C>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<C: ProducerContext<NoCustomPartitioner> + 'static> ServedProducer<C> {
    /// Makes the producer and starts its thread.
    pub(super) fn new(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        let producer = Arc::new(BaseProducer::from_config_and_context(config, context)?);
        let stop = Arc::<AtomicBool>::default();
        let (served, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    served.poll(WAIT);
                }
            })
            .map_err(|error| KafkaError::ClientCreation(format!("thread for delivery reports: {error}")))?;
        Ok(Self { producer, stop, thread: Some(thread) })
    }
}

impl<C: ProducerContext<NoCustomPartitioner> + 'static> Deref for ServedProducer<C> {
    type Target = BaseProducer<C>;

    fn deref(&self) -> &BaseProducer<C> {
        &self.producer
    }
}

impl<C: ProducerContext<NoCustomPartitioner> + 'static> Drop for ServedProducer<C> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for delivery reports panicked");
        }
    }
}
