//! From the topic to the engine: reads, batches, sends several bulks at once and commits what is stored.
//!
//! A position is committed only when every record before it is stored or a dead letter. A crash at any moment therefore
//! repeats some records, and a repeat overwrites the same document with the same bytes.

use crate::dataset::Dataset;
use crate::dated::Dated;
use crate::document::Writer;
use crate::metrics::IndexerMetrics;
use crate::sender::{Bulk, Delivered, Entry, Memory, Sender};
use crate::settings::IndexerSettings;
use anyhow::Context as _;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use weir_elastic::bulk::Batch;
use weir_service::{Health, rate_limited};
use weir_stream::position::Tracker;
use weir_stream::{
    AssignedPartition, Event, GroupConsumer, GroupSettings, Log, OffsetAndMetadata, Record, TopicPartition,
};

mod pace;
#[cfg(test)]
mod tests;

use pace::{Load, Pace, Share};

/// The condition that says whether the topic of flows is read; those of other data sets end in their name.
pub(crate) const CONDITION: &str = "kafka";
/// How long one look at the topic may take.
const POLL: Duration = Duration::from_millis(500);
/// How often positions are committed at most.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long records in hand may take to be stored when the process stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait before joining the group anew after an error.
const REJOIN: Duration = Duration::from_secs(2);
/// The most operations in one bulk, whatever their size.
pub(crate) const BULK_OPERATIONS: usize = 20_000;

/// Room that the body of a bulk has for the document that fills it, and how much it begins with at most, bytes: a body that
/// grows while it is written is copied again and again.
const ROOM: usize = 64 << 10;
const MOST_ROOM: usize = (4 << 20) + ROOM;

/// Memory of a record beside its bytes and its document's: its place in a list that may have room for as many again.
const OVERHEAD: usize = 2 * size_of::<Entry>();

/// Of the memory of a data set: in hand, and fetched ahead. What is left is for one more answer of the broker, unpacked, and for the
/// [batches](BATCH) between both.
const IN_HAND: usize = 2;
const FETCHED: usize = 4;
/// Of the memory of a data set: one batch of records, of which three are on their way.
const BATCH: usize = 32;

/// What one bulk's task hands back: the assignment it belongs to, what became of it, and its bytes in memory.
type Done = (u64, Delivered, usize);

/// A bulk that is being written, or waits to be sent.
struct Waiting {
    batch: Batch,
    entries: Vec<Entry>,
    /// Memory that its records take, bytes.
    held: usize,
    since: Instant,
}

impl Waiting {
    fn is_full(&self, bytes: usize) -> bool {
        self.batch.size() >= bytes || self.entries.len() >= BULK_OPERATIONS
    }

    /// An empty one within the memory of one that was delivered, with room for so many bytes.
    fn within(memory: Memory, room: usize) -> Self {
        let Memory { mut body, entries } = memory;
        body.clear();
        body.reserve(room);
        Self { batch: Batch::within(body), entries, held: 0, since: Instant::now() }
    }

    fn finish(self) -> Bulk {
        Bulk { entries: self.entries, body: self.batch.finish() }
    }
}

/// The bulk that is being written: the last one, or one more where that is full.
fn open<'a>(waiting: &'a mut VecDeque<Waiting>, sender: &Sender, full: usize) -> Option<&'a mut Waiting> {
    if waiting.back().is_none_or(|last| last.is_full(full)) {
        waiting.push_back(Waiting::within(sender.memory(), full.saturating_add(ROOM).min(MOST_ROOM)));
    }
    waiting.back_mut()
}

/// What is in hand between topic and engine.
pub struct Pipeline {
    dataset: Dataset,
    condition: &'static str,
    /// Bytes that may be in hand.
    memory: usize,
    settings: IndexerSettings,
    sender: Arc<Sender>,
    dated: Dated,
    metrics: IndexerMetrics,
    health: Health,
    /// Counts assignments, so that what an older one started cannot finish positions of this one.
    epoch: u64,
    trackers: BTreeMap<TopicPartition, Tracker>,
    committed: BTreeMap<TopicPartition, i64>,
    last_commit: Instant,
    /// Bulks in order; the last one is being written.
    waiting: VecDeque<Waiting>,
    writer: Writer,
    held_bytes: usize,
    tasks: JoinSet<Done>,
    pace: Pace,
}

impl Pipeline {
    /// With nothing in hand.
    #[must_use]
    pub fn new(
        dataset: Dataset,
        settings: IndexerSettings,
        sender: Arc<Sender>,
        dated: Dated,
        metrics: IndexerMetrics,
        health: Health,
    ) -> Self {
        let memory = settings.indexer_memory / 16 * dataset.sixteenths();
        Self {
            dataset,
            condition: condition(dataset),
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            settings,
            sender,
            dated,
            metrics,
            health,
            epoch: 0,
            trackers: BTreeMap::new(),
            committed: BTreeMap::new(),
            last_commit: Instant::now(),
            waiting: VecDeque::new(),
            writer: Writer::default(),
            held_bytes: 0,
            tasks: JoinSet::new(),
            pace: Pace::Read,
        }
    }

    /// Reads the data set's topic until it is told to stop.
    ///
    /// # Errors
    /// When records would be missing without anybody having said so, or the settings cannot work.
    pub async fn run(mut self, log: &Log, token: &CancellationToken) -> anyhow::Result<()> {
        let group = self.group();
        while !token.is_cancelled() {
            let mut consumer = log.group_consumer(&group).context("join consumer group")?;
            let ended = self.member(&mut consumer, token).await;
            self.clear();
            consumer.close().await;
            match ended {
                Ok(()) => return Ok(()),
                Err(Ended::Fatal(error)) => return Err(error),
                Err(Ended::Rejoin(error)) => {
                    self.health.set_ready(self.condition, false, error.to_string());
                    warn!(%error, "left the consumer group, joining again");
                    tokio::select! { () = token.cancelled() => {}, () = tokio::time::sleep(REJOIN) => {} }
                }
            }
        }
        Ok(())
    }

    fn group(&self) -> GroupSettings {
        GroupSettings {
            instance_id: self.settings.indexer_instance.clone(),
            max_bytes: self.memory / FETCHED,
            max_batch_bytes: self.memory / BATCH,
            ..GroupSettings::new(self.dataset.group(&self.settings.indexer_group), [self.dataset.topic()])
        }
    }

    /// One membership, until it is told to stop or the membership ends.
    async fn member(&mut self, consumer: &mut GroupConsumer, token: &CancellationToken) -> Result<(), Ended> {
        loop {
            self.launch(false);
            let due = self.due();
            tokio::select! {
                () = token.cancelled() => break,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.finished(done)?,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                // Only wakes it, to keep pace.
                () = tokio::time::sleep_until(self.pace.until().unwrap_or_else(Instant::now)), if self.pace.until().is_some() => {}
                event = consumer.next(POLL), if self.pace.until().is_none() => {
                    let event = event.map_err(|e| Ended::Rejoin(e.into()))?;
                    self.take(event, consumer).await?;
                }
            }
            self.keep_pace(consumer).await?;
            if self.last_commit.elapsed() >= COMMIT_EVERY {
                self.commit(consumer).await;
            }
        }
        self.drain().await?;
        self.commit(consumer).await;
        Ok(())
    }

    async fn take(&mut self, event: Event, consumer: &mut GroupConsumer) -> Result<(), Ended> {
        match event {
            Event::Assigned { partitions, .. } => {
                self.clear();
                let starts = self.starts(&partitions).map_err(Ended::Fatal)?;
                info!(partitions = starts.len(), "partitions assigned");
                self.health.set_ready(self.condition, true, "");
                consumer.start(&starts).await.map_err(|e| Ended::Rejoin(e.into()))?;
            }
            Event::Revoked { partitions, done } => {
                self.commit(consumer).await;
                info!(partitions = partitions.len(), "partitions revoked");
                self.clear();
                done.done();
            }
            Event::Lost { partitions, done } => {
                warn!(partitions = partitions.len(), "partitions lost");
                self.clear();
                done.done();
            }
            Event::Records(records) => self.read(records),
            Event::OutOfRange { partition, position, log_start } => {
                self.expired(&partition, position, log_start);
                consumer.seek(&partition, log_start).await.map_err(|e| Ended::Rejoin(e.into()))?;
            }
            Event::Idle => {}
        }
        Ok(())
    }

    /// Where each partition begins, and a tracker for it.
    fn starts(&mut self, partitions: &[AssignedPartition]) -> anyhow::Result<Vec<(TopicPartition, i64)>> {
        let mut starts = Vec::with_capacity(partitions.len());
        for assigned in partitions {
            let committed = assigned.committed.as_ref().map(|c| c.offset);
            let start = start(committed, assigned.log_start, self.settings.indexer_accept_gap)
                .with_context(|| format!("partition {}", assigned.partition))?;
            if start.expired > 0 {
                self.expired(&assigned.partition, start.offset - start.expired, start.offset);
            }
            self.trackers.insert(assigned.partition.clone(), Tracker::new(start.offset));
            self.committed.insert(assigned.partition.clone(), committed.unwrap_or(i64::MIN));
            starts.push((assigned.partition.clone(), start.offset));
        }
        Ok(starts)
    }

    fn expired(&self, partition: &TopicPartition, position: i64, log_start: i64) {
        let lost = u64::try_from(log_start.saturating_sub(position)).unwrap_or(0);
        self.metrics.expired.inc_by(lost);
        error!(%partition, position, log_start, "records were deleted from the topic before they were indexed; raise the topic's retention");
    }

    fn read(&mut self, records: Vec<Record>) {
        let periods = self.dated.now();
        let full = self.full();
        let mut taken = 0;
        let mut records = records.into_iter().peekable();
        // Those of a partition stand together.
        while let Some(partition) = records.peek().map(Record::topic_partition) {
            let mut tracker = self.trackers.get_mut(&partition);
            let same = |record: &Record| record.partition == partition.partition && record.topic == partition.topic;
            while let Some(record) = records.next_if(same) {
                if !tracker.as_mut().is_some_and(|tracker| tracker.take(record.offset)) {
                    continue;
                }
                taken += 1;
                let Some(waiting) = open(&mut self.waiting, &self.sender, full) else { continue };
                let before = waiting.batch.size();
                let value = record.value.as_deref();
                let prepared = self.dataset.read(value, &periods, &mut self.writer, &mut waiting.batch);
                let held = record.size() + waiting.batch.size() - before + OVERHEAD;
                waiting.held += held;
                self.held_bytes += held;
                waiting.entries.push(Entry { record, prepared });
            }
        }
        self.metrics.records.get_or_create(&[("dataset", self.dataset.as_str().to_owned())]).inc_by(taken);
        self.metrics.ends_met(self.writer.take_met());
        self.show();
    }

    /// From what size on a bulk is sent, bytes.
    fn full(&self) -> usize {
        usize::try_from(self.settings.indexer_bulk_bytes).unwrap_or(usize::MAX)
    }

    /// When the oldest waiting record must go, if a bulk may go at all.
    fn due(&self) -> Option<Instant> {
        let free = self.tasks.len() < usize::from(self.sender.allowance().bulks);
        self.waiting.front().filter(|_| free).map(|w| w.since + self.settings.indexer_bulk_wait)
    }

    /// Starts as many bulks as are full or due, or all that there are.
    fn launch(&mut self, all: bool) {
        let full = self.full();
        while let Some(due) = self.due() {
            let ready = |waiting: &Waiting| all || waiting.is_full(full) || Instant::now() >= due;
            if !self.waiting.front().is_some_and(ready) {
                return;
            }
            let Some(waiting) = self.waiting.pop_front() else { return };
            let (sender, epoch, held) = (self.sender.clone(), self.epoch, waiting.held);
            let dated = self.dated.clone();
            self.tasks.spawn(async move {
                let bulk = waiting.finish();
                let left = sender.deliver(&bulk).await;
                let now = jiff::Timestamp::now().as_millisecond();
                sender.prepare_next(&bulk, &dated.now(), now).await;
                (epoch, sender.recycle(bulk, &left), held)
            });
        }
    }

    fn finished(&mut self, done: Result<Done, JoinError>) -> Result<(), Ended> {
        let (epoch, Delivered { positions, left }, held) = match done {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return Ok(()),
            Err(error) => return Err(Ended::Fatal(anyhow::Error::new(error).context("bulk task"))),
        };
        if epoch == self.epoch {
            self.held_bytes = self.held_bytes.saturating_sub(held);
            for (partition, offsets) in positions {
                if let Some(tracker) = self.trackers.get_mut(&partition) {
                    tracker.finish_all(&offsets);
                }
            }
            self.send_later(left);
            self.show();
        }
        Ok(())
    }

    /// Puts what the engine was too busy for behind what waits.
    fn send_later(&mut self, left: Bulk) {
        let Bulk { entries, body } = left;
        let full = self.full();
        for Entry { record, prepared } in entries {
            let Some(waiting) = open(&mut self.waiting, &self.sender, full) else { continue };
            let prepared = prepared.map(|prepared| prepared.map(|place| waiting.batch.append(&body.operation(place))));
            let operation = prepared.as_ref().map_or(0, |prepared| prepared.operation.len());
            let held = record.size() + operation + OVERHEAD;
            waiting.held += held;
            self.held_bytes += held;
            waiting.entries.push(Entry { record, prepared });
        }
    }

    /// How much is in hand, and how far reading is ahead of what can be committed.
    fn load(&self) -> Load {
        let ahead = self.trackers.values().map(Tracker::ahead).fold(0, u64::saturating_add);
        let label = [("dataset", self.dataset.as_str().to_owned())];
        self.metrics.ahead.get_or_create(&label).set(i64::try_from(ahead).unwrap_or(i64::MAX));
        let allowed = self.sender.allowance();
        let operations = i64::try_from(allowed.operations).unwrap_or(i64::MAX);
        self.metrics.bulk_operations_limit.get_or_create(&label).set(operations);
        self.metrics.concurrency_limit.get_or_create(&label).set(i64::from(allowed.bulks));
        let held = Share {
            is: u64::try_from(self.held_bytes).unwrap_or(u64::MAX),
            limit: u64::try_from(self.memory / IN_HAND).unwrap_or(u64::MAX),
        };
        Load { held, ahead: Share { is: ahead, limit: self.settings.indexer_ahead } }
    }

    /// Keeps reading back while too much is in hand, or one bulk stands still while those behind it go on.
    async fn keep_pace(&mut self, consumer: &mut GroupConsumer) -> Result<(), Ended> {
        let load = self.load();
        let next = self.pace.next(load, Instant::now());
        if let (Pace::Read, Pace::Wait(_), Some(reason)) = (self.pace, next, load.full()) {
            self.metrics.held_back.get_or_create(&[("reason", reason.to_owned())]).inc();
        }
        let (was, is) = (self.pace == Pace::Paused, next == Pace::Paused);
        self.pace = next;
        if was == is {
            return Ok(());
        }
        let partitions: Vec<TopicPartition> = self.trackers.keys().cloned().collect();
        let changed = if is { consumer.pause(&partitions).await } else { consumer.resume(&partitions).await };
        changed.map_err(|e| Ended::Rejoin(e.into()))
    }

    /// Commits what is stored. An error is no harm: the positions are committed later, or read again by the next owner.
    async fn commit(&mut self, consumer: &mut GroupConsumer) {
        self.last_commit = Instant::now();
        let changed: Vec<(TopicPartition, OffsetAndMetadata)> = self
            .trackers
            .iter()
            .filter(|(partition, tracker)| self.committed.get(partition).is_none_or(|c| *c < tracker.committable()))
            .map(|(partition, tracker)| (partition.clone(), OffsetAndMetadata::new(tracker.committable(), "")))
            .collect();
        if changed.is_empty() {
            return;
        }
        match consumer.commit(&changed).await {
            Ok(()) => {
                self.committed.extend(changed.into_iter().map(|(partition, position)| (partition, position.offset)));
            }
            Err(error) => {
                self.metrics.commit_errors.inc();
                rate_limited!(warn, "positions are not committed: {error}");
            }
        }
    }

    /// Stores what is in hand before the process stops, as far as the engine lets it.
    async fn drain(&mut self) -> Result<(), Ended> {
        let until = Instant::now() + DRAIN;
        loop {
            self.launch(true);
            if self.tasks.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at(until, self.tasks.join_next()).await {
                Ok(Some(done)) => self.finished(done)?,
                Ok(None) => return Ok(()),
                Err(_) => {
                    info!("stopping with records in hand, which will be read again");
                    return Ok(());
                }
            }
        }
    }

    /// Drops everything in hand: another member, or this one later, reads it again.
    fn clear(&mut self) {
        self.epoch += 1;
        self.tasks.abort_all();
        self.trackers.clear();
        self.committed.clear();
        self.waiting.clear();
        self.held_bytes = 0;
        self.pace = Pace::Read;
        self.show();
    }

    fn show(&self) {
        let held = i64::try_from(self.held_bytes).unwrap_or(i64::MAX);
        self.metrics.held_bytes.get_or_create(&[("dataset", self.dataset.as_str().to_owned())]).set(held);
    }
}

/// Why a membership ended.
enum Ended {
    /// The process must stop.
    Fatal(anyhow::Error),
    /// The group must be joined anew.
    Rejoin(anyhow::Error),
}

/// The name of the condition that says whether a data set's topic is read.
pub(crate) fn condition(dataset: Dataset) -> &'static str {
    match dataset {
        Dataset::Flows => CONDITION,
        Dataset::Dns => "kafka-dns",
        Dataset::Ledger => "kafka-ledger",
        Dataset::Audit => "kafka-audit",
    }
}

/// Where a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begin {
    offset: i64,
    /// Offsets that were deleted before they were read.
    expired: i64,
}

/// A partition without a position begins at 0, and elsewhere only when a person said so; one whose position was deleted
/// goes on at what is left, and says what it lost.
fn start(committed: Option<i64>, log_start: i64, accept_gap: bool) -> anyhow::Result<Begin> {
    match committed {
        Some(offset) if offset < log_start => Ok(Begin { offset: log_start, expired: log_start - offset }),
        Some(offset) => Ok(Begin { offset, expired: 0 }),
        None if log_start == 0 => Ok(Begin { offset: 0, expired: 0 }),
        None if accept_gap => Ok(Begin { offset: log_start, expired: log_start }),
        None => Err(anyhow::anyhow!(
            "the group has no position and records before offset {log_start} were deleted: start with --indexer-accept-gap to index what is left"
        )),
    }
}
