//! Reading partitions without a group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use tokio::task::JoinHandle;

use super::config::Connection;
use super::convert::{self, Names};
use super::edge::{self, Edge, Registry};
use super::lookup;
use crate::{Record, Result, StreamError, TopicPartition};

const NAME: &str = "weir-reader";
const MAX_BATCH_RECORDS: usize = 2000;
const MAX_BATCH_BYTES: usize = 4 << 20;
/// The longest wait before it is noticed that nobody waits for the answer.
const SLICE: Duration = Duration::from_millis(500);
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// What works off the async threads: it goes there and comes back with each call.
struct Worker {
    client: BaseConsumer<Edge>,
    topic: Arc<str>,
    names: Names,
    assigned: bool,
    positions: BTreeMap<i32, i64>,
    /// Partitions whose end was met, and nothing was read since.
    at_end: BTreeSet<i32>,
    /// The ends that the walk under way goes to, of the partitions that have not come there. Empty
    /// when the walk is over and its caller was not told yet.
    walk: Option<BTreeMap<i32, i64>>,
    /// Nobody waits for an answer any more.
    abandoned: Arc<AtomicBool>,
}

type Answer = (Box<Worker>, Result<Vec<Record>>);

pub(crate) struct KafkaReader {
    worker: Option<Box<Worker>>,
    /// A call whose future was dropped: its answer comes first.
    running: Option<JoinHandle<Answer>>,
    positions: BTreeMap<i32, i64>,
    walking: bool,
    abandoned: Arc<AtomicBool>,
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KafkaReader")
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
        // Closing the client waits for its threads.
        if let Some(worker) = self.worker.take() {
            let dropping = std::thread::Builder::new().name("kafka-drop".into());
            if let Err(error) = dropping.spawn(move || drop(worker)) {
                tracing::warn!(%error, "no thread to drop a reader in");
            }
        }
    }
}

impl KafkaReader {
    pub(super) fn new(
        connection: &Connection,
        registry: &Registry,
        topic: Arc<str>,
        positions: BTreeMap<i32, i64>,
    ) -> Result<Self> {
        let config = connection.lone_consumer(NAME, NAME);
        let abandoned = Arc::<AtomicBool>::default();
        let worker = Worker {
            client: lookup::create(&config, Edge::new(registry, NAME))?,
            topic,
            names: Names::default(),
            assigned: false,
            positions: positions.clone(),
            at_end: BTreeSet::new(),
            walk: None,
            abandoned: Arc::clone(&abandoned),
        };
        Ok(Self { worker: Some(Box::new(worker)), running: None, positions, walking: false, abandoned })
    }

    async fn run(
        &mut self,
        work: impl FnOnce(&mut Worker) -> Result<Vec<Record>> + Send + 'static,
    ) -> Result<Vec<Record>> {
        let Some(mut worker) = self.worker.take() else {
            return Err(StreamError::Fatal("the reader has ended; make a new one".into()));
        };
        self.running = Some(tokio::task::spawn_blocking(move || {
            let answer = work(&mut worker);
            (worker, answer)
        }));
        self.finish().await
    }

    /// Waits for the call that is running, if one is.
    async fn finish(&mut self) -> Result<Vec<Record>> {
        let Some(running) = &mut self.running else {
            return Ok(Vec::new());
        };
        let answer = running.await;
        self.running = None;
        let (worker, answer) = answer.map_err(|error| StreamError::Fatal(format!("reader: {error}")))?;
        self.positions.clone_from(&worker.positions);
        self.walking = worker.walk.is_some();
        self.worker = Some(worker);
        answer
    }

    pub(crate) async fn next(&mut self, timeout: Duration) -> Result<Vec<Record>> {
        let unfinished = self.finish().await?;
        if !unfinished.is_empty() {
            return Ok(unfinished);
        }
        self.run(move |worker| worker.read(timeout)).await
    }

    pub(crate) async fn next_before_end(&mut self, idle: Duration) -> Result<Option<Vec<Record>>> {
        let unfinished = self.finish().await?;
        if !unfinished.is_empty() {
            return Ok(Some(unfinished));
        }
        let batch = self.run(move |worker| worker.walk(idle)).await?;
        Ok((!batch.is_empty() || self.walking).then_some(batch))
    }

    pub(crate) fn positions(&self) -> Vec<(i32, i64)> {
        self.positions.iter().map(|(p, o)| (*p, *o)).collect()
    }
}

impl Worker {
    fn name(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), partition)
    }

    fn assign(&mut self) -> Result<()> {
        if self.assigned {
            return Ok(());
        }
        let names: Vec<_> = self.positions.iter().map(|(p, o)| (self.name(*p), *o)).collect();
        let list = convert::offsets(names.iter().map(|(name, offset)| (name, *offset)))?;
        self.client.assign(&list).map_err(|error| StreamError::Fatal(format!("reading {}: {error}", self.topic)))?;
        self.assigned = true;
        Ok(())
    }

    /// One batch, empty after `timeout`, or earlier when a partition's end was met.
    fn read(&mut self, timeout: Duration) -> Result<Vec<Record>> {
        self.assign()?;
        let deadline = Instant::now() + timeout;
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_BATCH_RECORDS && bytes < MAX_BATCH_BYTES && !self.abandoned.load(Ordering::Acquire) {
            let wait =
                if batch.is_empty() { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match self.client.poll(wait.min(SLICE)) {
                Some(Ok(message)) => {
                    let record = convert::record(&message, &mut self.names, Bytes::copy_from_slice);
                    bytes += record.size();
                    self.at_end.remove(&message.partition());
                    self.positions.insert(message.partition(), message.offset() + 1);
                    batch.push(record);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.at_end.insert(partition);
                    if self.walk.is_some() {
                        break;
                    }
                }
                Some(Err(error)) => self.judge(&error)?,
                None if batch.is_empty() && Instant::now() < deadline => {}
                None => break,
            }
        }
        let numbers = &self.client.context().numbers;
        edge::add(&numbers.records_read, batch.len());
        edge::add(&numbers.bytes_read, bytes);
        Ok(batch)
    }

    /// The library repeats what passes. A reader has no group, so the group's refusal is none.
    fn judge(&self, error: &KafkaError) -> Result<()> {
        let code = convert::code(error).unwrap_or(RDKafkaErrorCode::Unknown);
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let refused = convert::is_refusal(code) && code != RDKafkaErrorCode::GroupAuthorizationFailed;
        if fatal || refused || code == RDKafkaErrorCode::UnknownTopicOrPartition {
            let text = format!("reading {}: {error}", self.topic);
            return Err(StreamError::Fatal(text));
        }
        Ok(())
    }

    /// One batch of the walk to what was the end when it began; empty when it is over.
    fn walk(&mut self, idle: Duration) -> Result<Vec<Record>> {
        if self.walk.is_none() {
            self.begin_walk()?;
        }
        let deadline = Instant::now() + idle;
        loop {
            if self.leave_out_finished() {
                self.walk = None;
                return Ok(Vec::new());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.abandoned.load(Ordering::Acquire) {
                return Err(StreamError::Timeout {
                    what: format!("reading {} to its end", self.topic),
                    milliseconds: idle.as_millis(),
                });
            }
            let batch = self.read(left)?;
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    fn begin_walk(&mut self) -> Result<()> {
        let mut ends = BTreeMap::new();
        for (partition, position) in &self.positions {
            let (_, end) = lookup::watermarks(&self.client, &self.name(*partition))?;
            if *position < end {
                ends.insert(*partition, end);
            }
        }
        self.at_end.clear();
        if self.assigned {
            // Control records are never delivered, so only meeting the end anew tells that nothing
            // is left; the library tells each end once, unless it starts over.
            for partition in ends.keys() {
                let position = self.positions.get(partition).copied().unwrap_or(0);
                self.client
                    .seek(&self.topic, *partition, Offset::Offset(position), SEEK_TIMEOUT)
                    .map_err(|error| StreamError::Fatal(format!("seek: {error}")))?;
            }
        }
        self.walk = Some(ends);
        Ok(())
    }

    /// Returns whether every partition has come to its end.
    fn leave_out_finished(&mut self) -> bool {
        let Some(ends) = &mut self.walk else {
            return true;
        };
        ends.retain(|partition, end| {
            let Some(position) = self.positions.get_mut(partition) else {
                return false;
            };
            if self.at_end.contains(partition) {
                *position = (*position).max(*end);
            }
            *position < *end
        });
        ends.is_empty()
    }
}
