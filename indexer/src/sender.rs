//! Sends one bulk until every operation is finished: the IO around [`Delivery`].

use crate::ahead;
use crate::congestion::{Allowance, Congestion, Request};
use crate::delivery::{Delivery, Next, Outcome, Patience, Refusals, Why};
use crate::document::Prepared;
use crate::following::Followed as _;
use crate::guard::Guard;
use crate::horizons::Horizons;
use crate::index::Index;
use crate::indices::Indices;
use crate::metrics::IndexerMetrics;
use crate::periods::Periods;
use bytes::BytesMut;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use weir_elastic::bulk::{Answer, Batch, Body, Cause, Item, Place};
use weir_elastic::{Elastic, Error, ErrorKind};
use weir_flow::Millis;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::topics;
use weir_service::{Health, rate_limited};
use weir_stream::{Log, NewRecord, Producer, Record, TopicPartition};

#[cfg(test)]
mod tests;

/// The condition that says whether records reach the engine.
pub(crate) const CONDITION: &str = "elasticsearch";
/// The longest value that a dead letter keeps, bytes.
const DEAD_LETTER_LIMIT: usize = 512 * 1024;
/// Of how many bulks the memory is kept, and of bodies of which size at most, bytes.
const BODIES_KEPT: usize = 4;
const MEMORY_KEPT: usize = 8 << 20;
/// For how many records at most the list of a bulk is kept.
const ENTRIES_KEPT: usize = 4_096;
/// The cause of records that are no message of the topic, or can never be a document.
const UNREADABLE: &str = "unreadable_record";

/// A record on its way.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As it was read.
    pub record: Record,
    /// Ready to be sent, or why it can never be.
    pub prepared: Result<Prepared<Place>, String>,
}

/// Records that are sent together.
#[derive(Debug, Default)]
pub struct Bulk {
    /// The records, in order.
    pub entries: Vec<Entry>,
    /// The operations of all that can be sent, in the same order.
    pub body: Body,
}

/// Of a bulk that was delivered, for the next one: new memory would have to be cleared by the kernel each time.
#[derive(Debug, Default)]
pub struct Memory {
    /// Of its body.
    pub body: BytesMut,
    /// An empty list of records.
    pub entries: Vec<Entry>,
}

/// What became of a bulk.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Where its finished records were read, those that stood one behind the other together.
    pub positions: Vec<(TopicPartition, Vec<i64>)>,
    /// What is to go with later bulks.
    pub left: Bulk,
}

/// What keeps records out of the engine that it could take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// What retention has deleted.
    pub horizons: Horizons,
    /// Where it says so.
    pub log: Log,
    /// Whether a disk is nearly full.
    pub guard: Guard,
    /// The most that is sent at once.
    pub most: Allowance,
}

/// Everything that bulks share.
#[derive(Debug)]
pub struct Sender {
    elastic: Elastic,
    indices: Arc<Indices>,
    bounds: Bounds,
    dead_letters: Producer,
    patience: Patience,
    refusals: Mutex<Refusals>,
    congestion: Mutex<Congestion>,
    /// Of bulks that were delivered.
    memory: Mutex<Vec<Memory>>,
    metrics: IndexerMetrics,
    health: Health,
}

/// Counts a bulk that stands still, as long as it does, also when its task is aborted.
struct Alarm<'a> {
    sender: &'a Sender,
    raised: bool,
}

impl Alarm<'_> {
    fn set(&mut self, why: Option<&Why>) {
        match (self.raised, why) {
            (false, Some(_)) => {
                self.raised = true;
                self.sender.metrics.alarms.inc();
            }
            (true, None) => {
                self.raised = false;
                // Another bulk may still stand still; only the last one to go says that all is well.
                if self.sender.metrics.alarms.dec() == 1 {
                    self.sender.health.set_ready(CONDITION, true, "");
                }
            }
            _ => {}
        }
        if let Some(why) = why {
            self.sender.health.set_ready(CONDITION, false, describe(why));
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.set(None);
    }
}

fn describe(why: &Why) -> String {
    match why {
        Why::Busy | Why::NoIndex => why.as_str().to_owned(),
        Why::Unavailable(text) | Why::Forbidden(text) | Why::Unbelievable(text) => text.clone(),
        Why::Refusals(text) => {
            format!("more than 1 % of the records fail for one cause, so nothing is dead-lettered: {text}")
        }
    }
}

impl Sender {
    /// Ready to send.
    #[must_use]
    pub fn new(
        elastic: Elastic,
        indices: Arc<Indices>,
        bounds: Bounds,
        dead_letters: Producer,
        patience: Patience,
        metrics: IndexerMetrics,
        health: Health,
    ) -> Arc<Self> {
        let (refusals, memory) = (Mutex::default(), Mutex::default());
        let congestion = Mutex::new(Congestion::new(bounds.most));
        Arc::new(Self {
            elastic,
            indices,
            bounds,
            dead_letters,
            patience,
            refusals,
            congestion,
            memory,
            metrics,
            health,
        })
    }

    /// What may be sent at once, as the engine's answers have told.
    pub fn allowance(&self) -> Allowance {
        self.congestion().allowance()
    }

    /// Sends these records until each is stored or a dead letter, but for those that it hands back, by their places: an engine that
    /// took most of the bulk was too busy for them, and they are to go with later bulks. Dropping it is safe at any time, because
    /// every operation may be repeated.
    pub async fn deliver(&self, bulk: &Bulk) -> Vec<usize> {
        let entries = &bulk.entries;
        let unreadable: Vec<(&Entry, &String)> =
            entries.iter().filter_map(|e| e.prepared.as_ref().err().map(|cause| (e, cause))).collect();
        let sendable: Vec<(&Entry, &Prepared<Place>)> =
            entries.iter().filter_map(|e| e.prepared.as_ref().ok().map(|prepared| (e, prepared))).collect();
        // Side by side, so that unreadable records that stand still hold no good ones.
        let ((), left) = tokio::join!(self.bury_unreadable(&unreadable), self.send(&sendable, &bulk.body));
        if left.is_empty() || unreadable.is_empty() {
            return left;
        }
        let places = entries.iter().enumerate().filter(|(_, entry)| entry.prepared.is_ok()).map(|(place, _)| place);
        let places: Vec<usize> = places.collect();
        left.into_iter().map(|position| places[position]).collect()
    }

    /// Makes the indices that will soon be needed by what was delivered; `now` in ms since the epoch.
    pub async fn prepare_next(&self, bulk: &Bulk, periods: &Periods, now: Millis) {
        let written = bulk.entries.iter().filter_map(|entry| entry.prepared.as_ref().ok());
        for index in ahead::due(written.map(|p| (p.index, p.cluster.as_str(), p.window)), periods, now) {
            self.indices.prepare(index).await;
        }
    }

    /// Memory for the next bulk: that of an earlier one, if there is any.
    pub fn memory(&self) -> Memory {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes the memory of a bulk that was delivered but for these places, in order, for the next one.
    pub fn recycle(&self, bulk: Bulk, left: &[usize]) -> Delivered {
        let Bulk { mut entries, body } = bulk;
        let left = take_left(&mut entries, &body, left);
        let together = |one: &Entry, other: &Entry| {
            one.record.partition == other.record.partition && one.record.topic == other.record.topic
        };
        let positions = entries.chunk_by(together).filter_map(|run| {
            let offsets = run.iter().map(|entry| entry.record.offset).collect();
            run.first().map(|entry| (entry.record.topic_partition(), offsets))
        });
        let positions = positions.collect();
        entries.clear();
        if let Some(body) = body.into_memory().filter(|memory| memory.capacity() <= MEMORY_KEPT)
            && entries.capacity() <= ENTRIES_KEPT
        {
            let mut kept = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < BODIES_KEPT {
                kept.push(Memory { body, entries });
            }
        }
        Delivered { positions, left }
    }

    /// Hands back what is to go with later bulks.
    async fn send(&self, entries: &[(&Entry, &Prepared<Place>)], whole: &Body) -> Vec<usize> {
        let mut delivery = Delivery::new(entries.len(), self.patience);
        let mut alarm = Alarm { sender: self, raised: false };
        loop {
            delivery.restrict(self.allowance().operations);
            let batch = delivery.batch().to_vec();
            if batch.is_empty() {
                return Vec::new();
            }
            let horizons = self.ask_horizons(batch.iter().map(|position| entries[*position].1.index)).await;
            // Each time, so that what retention deletes meanwhile is not made anew; what moves up is asked for as well.
            if self.refuse_below_horizon(&mut delivery, entries) > 0 {
                continue;
            }
            let sent = self.congestion().sent();
            let request = Request { sent, operations: batch.len(), of: entries.len() };
            let answer = match horizons {
                Ok(()) => self.attempt(entries, &batch, whole).await,
                Err(error) => Err(error),
            };
            let next = match answer {
                Ok(answer) => {
                    let outcome = delivery.answered(&answer, &mut self.refusals(), rand::random());
                    for position in &outcome.missing {
                        self.indices.forget(entries[*position].1.index);
                    }
                    learn(&mut self.congestion(), request, &outcome);
                    self.settle(&outcome, |position| entries[position].0).await;
                    let first = delivery.batch().first().map(|position| entries[*position].1.index);
                    match (outcome.next, first) {
                        (Next::Wait(wait, Why::Refusals(text)), Some(index)) => {
                            Next::Wait(wait, Why::Refusals(format!("{text}; {}", self.indices.blame(index))))
                        }
                        (next, _) => next,
                    }
                }
                Err(error) => {
                    match (error.kind, error.status) {
                        (ErrorKind::Retriable, _) => self.congestion().busy(request),
                        (_, Some(413)) => self.congestion().too_large(request),
                        _ => {}
                    }
                    delivery.failed(&error, rand::random())
                }
            };
            if !self.go_on(next, &mut alarm).await {
                let mut left = delivery.batch().to_vec();
                left.sort_unstable();
                return left;
            }
        }
    }

    /// Reads what retention has deleted to its end where an index would have to be made: it announces before it deletes, so an
    /// index that is missing because of it is known as such from then on.
    async fn ask_horizons(&self, indices: impl Iterator<Item = Index>) -> Result<(), Error> {
        if self.indices.know_all(indices) {
            return Ok(());
        }
        let read = self.bounds.horizons.read(&self.bounds.log).await;
        read.map(drop).map_err(|error| Error {
            kind: ErrorKind::Unavailable,
            operation: "bulk",
            host: "".into(),
            status: None,
            code: String::new(),
            cause: format!("an index is missing, and what retention has deleted is not known: {error}"),
            hint: "is Kafka reachable?",
        })
    }

    /// Gives up what retention has deleted the place of; hands back how many.
    fn refuse_below_horizon(&self, delivery: &mut Delivery, entries: &[(&Entry, &Prepared<Place>)]) -> usize {
        let refused = delivery.give_up(|position| {
            let (entry, prepared) = entries[position];
            self.bounds.horizons.is_below(prepared, entry.record.timestamp)
        });
        if refused > 0 {
            rate_limited!(
                warn,
                per_minute = 1,
                refused,
                "records are older than what retention keeps, and are left out"
            );
        }
        self.metrics.finished("below_horizon", refused);
        refused
    }

    /// Makes the indices and sends one batch: at first the whole body, later what is left of it.
    async fn attempt(
        &self,
        entries: &[(&Entry, &Prepared<Place>)],
        batch: &[usize],
        whole: &Body,
    ) -> Result<Answer, Error> {
        self.bounds.guard.pass()?;
        let records = batch.iter().map(|position| entries[*position].1);
        let at_once = Some(whole).filter(|_| batch.len() == entries.len());
        let body = self.indices.bulk(records, |record| whole.operation(record.operation), at_once).await?;
        self.metrics.bulks.inc();
        self.metrics.bulk_bytes.inc_by(u64::try_from(body.size()).unwrap_or(u64::MAX));
        let begun = Instant::now();
        let answer = self.elastic.bulk(&body).await;
        self.metrics.bulk_seconds.observe(begun.elapsed().as_secs_f64());
        answer
    }

    /// Unreadable records go through the same guard as refused documents: many at once are a wrong version of this
    /// program, not bad records.
    async fn bury_unreadable(&self, entries: &[(&Entry, &String)]) {
        if entries.is_empty() {
            return;
        }
        let mut delivery = Delivery::new(entries.len(), self.patience);
        let mut alarm = Alarm { sender: self, raised: false };
        loop {
            let item = |position: &usize| Item {
                status: 400,
                error: Some(Cause { code: UNREADABLE.to_owned(), reason: entries[*position].1.clone() }),
            };
            let answer = Answer { items: delivery.batch().iter().map(item).collect(), took: 0 };
            let outcome = delivery.answered(&answer, &mut self.refusals(), rand::random());
            self.settle(&outcome, |position| entries[position].0).await;
            if !self.go_on(outcome.next, &mut alarm).await {
                return;
            }
        }
    }

    /// Writes dead letters and counts. A dead letter is acknowledged before its record counts as finished.
    async fn settle<'a>(&self, outcome: &Outcome, entry: impl Fn(usize) -> &'a Entry) {
        for (position, cause) in &outcome.dead {
            self.bury(&entry(*position).record, &format!("{}: {}", cause.code, cause.reason)).await;
        }
        self.metrics.finished("stored", outcome.stored.len());
        self.metrics.finished("superseded", outcome.superseded.len());
        self.metrics.finished("dead", outcome.dead.len());
    }

    async fn bury(&self, record: &Record, cause: &str) {
        rate_limited!(warn, topic = %record.topic, partition = record.partition, offset = record.offset, "record goes to the dead-letter topic: {cause}");
        let mut wait = self.patience.pause;
        loop {
            match self.write_dead_letter(record, cause).await {
                Ok(()) => return,
                Err(error) => rate_limited!(error, "dead letter is not written, trying again: {error:#}"),
            }
            self.metrics.waited("dead_letter");
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(self.patience.longest);
        }
    }

    async fn write_dead_letter(&self, record: &Record, cause: &str) -> anyhow::Result<()> {
        let value = weir_schemas::encode(&dead_letter(record, cause))?;
        let topic = topics::dead_letter(&record.topic);
        let letter = NewRecord { key: record.key.clone(), ..NewRecord::new(topic, Vec::new(), value) };
        self.dead_letters.send(letter)?.await?;
        Ok(())
    }

    /// Waits as the state machine says; false when nothing more is to be sent.
    async fn go_on(&self, next: Next, alarm: &mut Alarm<'_>) -> bool {
        match next {
            Next::Finished => false,
            Next::Later(_) => {
                self.metrics.waited(Why::Busy.as_str());
                false
            }
            Next::More => {
                alarm.set(None);
                true
            }
            Next::Wait(wait, why) => {
                self.metrics.waited(why.as_str());
                alarm.set(Some(&why).filter(|why| why.is_alarm()));
                if why.is_alarm() {
                    rate_limited!(warn, reason = why.as_str(), wait = %Milliseconds(wait), "bulk waits: {}", describe(&why));
                }
                tokio::time::sleep(wait).await;
                true
            }
        }
    }

    fn congestion(&self) -> std::sync::MutexGuard<'_, Congestion> {
        self.congestion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes what an answer says of how much the engine takes at once. One that takes most of a request is not too busy for it: what it
/// refuses is by chance, or all of one shard, and smaller requests would only be more.
fn learn(congestion: &mut Congestion, request: Request, outcome: &Outcome) {
    match &outcome.next {
        Next::Wait(_, Why::Busy) => congestion.busy(request),
        Next::Wait(..) => {}
        Next::More | Next::Finished | Next::Later(_) => congestion.took(request),
    }
}

/// Takes the records at these places, which are in order and can be sent, out of a bulk's, with a body of their own.
fn take_left(entries: &mut Vec<Entry>, body: &Body, left: &[usize]) -> Bulk {
    if left.is_empty() {
        return Bulk::default();
    }
    let (mut batch, mut taken, mut place) = (Batch::default(), Vec::with_capacity(left.len()), 0);
    let mut next = left.iter().copied().peekable();
    entries.retain(|entry| {
        let is_left = next.next_if_eq(&place).is_some();
        place += 1;
        if let (true, Ok(prepared)) = (is_left, &entry.prepared) {
            let prepared = prepared.clone().map(|operation| batch.append(&body.operation(operation)));
            taken.push(Entry { record: entry.record.clone(), prepared: Ok(prepared) });
        }
        !is_left
    });
    Bulk { entries: taken, body: batch.finish() }
}

/// The dead letter of a record: a function of the record and the cause.
fn dead_letter(record: &Record, cause: &str) -> DeadLetter {
    let cut = |bytes: &bytes::Bytes| bytes[..bytes.len().min(DEAD_LETTER_LIMIT)].to_vec();
    let length = record.value.as_ref().map_or(0, bytes::Bytes::len);
    DeadLetter {
        cause: cause.replace(['\n', '\r'], " "),
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_ref().map(cut),
        value: record.value.as_ref().map(cut),
        length: u64::try_from(length).unwrap_or(u64::MAX),
    }
}

/// A wait as milliseconds in a log line.
struct Milliseconds(Duration);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}
