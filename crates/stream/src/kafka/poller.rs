//! The thread of a group member. It does nothing but poll, so that membership is kept alive whatever
//! the owner does; the rebalance callback only notes what happened, and the thread tells the owner and
//! waits for the owner's word while it polls on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc as channel;

use super::convert::{self, Copies, Names};
use super::edge::{self, Edge};
use super::lookup;
use crate::group::GroupMetadataInner;
use crate::{
    AssignedPartition, ErrorKind, Event, GroupMetadata, Record, Result, RevokeAck, StreamError, TopicPartition,
};

/// How long one poll waits when nothing is under way, which bounds how long a command waits.
const POLL: Duration = Duration::from_millis(20);
/// The same where nothing has come for a while and nothing is paused: who owns nothing but silent partitions has little to ask
/// for, and each wait that ends for nothing costs the processor.
const POLL_QUIET: Duration = Duration::from_millis(250);
/// Polls in vain, one after the other, after which it is quiet.
const QUIET: u32 = 10;
/// The same while the owner's word is awaited.
const POLL_WAITING: Duration = Duration::from_millis(2);
/// One attempt to fetch committed positions.
const FETCH: Duration = Duration::from_secs(2);
/// Between two attempts.
const FETCH_PAUSE: Duration = Duration::from_millis(100);
/// So long in vain is worth a warning, again and again: a transaction that was under way is ended by the broker after its
/// time-out and at most ten seconds more.
const VAIN: Duration = Duration::from_secs(30);

/// What the owner asks for.
pub(super) enum Command {
    /// Read assignment number .0 from these offsets.
    Start(u64, Vec<(TopicPartition, i64)>),
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
    Seek(u64, TopicPartition, i64),
}

/// What the owner is told.
pub(super) enum Told {
    Event(Event),
    /// The assignment of this number.
    Assigned(u64, Event),
    /// From here on records of the partition come from where the seek of this number went.
    Sought(u64),
}

/// A rebalance as the client library called it back.
pub(super) enum Rebalance {
    Assign(Vec<TopicPartition>, Option<ConsumerGroupMetadata>),
    Revoke(Vec<TopicPartition>, bool),
}

/// What the client library calls back.
pub(super) struct MemberContext {
    pub(super) edge: Edge,
    pub(super) rebalances: Mutex<VecDeque<Rebalance>>,
    pub(super) closing: AtomicBool,
}

impl ClientContext for MemberContext {
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

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            if let Err(error) = consumer.unassign() {
                tracing::warn!(%error, "unassign while closing");
            }
            return;
        }
        edge::add(&self.edge.numbers.rebalances, 1);
        let partitions = convert::partitions(list);
        let happened = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assign(partitions, consumer.group_metadata())
        } else {
            Rebalance::Revoke(partitions, consumer.assignment_lost())
        };
        let mut rebalances = self.rebalances.lock().unwrap_or_else(PoisonError::into_inner);
        rebalances.push_back(happened);
    }
}

/// Where the thread stands between the group and the owner.
enum Step {
    /// The owner has not been told yet: committed positions are being fetched.
    Fetching(Vec<TopicPartition>, Option<GroupMetadata>),
    /// The owner was told and has not said from where to read.
    AwaitStart,
    /// The owner was told and has not let go.
    AwaitAck(mpsc::Receiver<()>),
}

pub(super) struct Poller {
    pub(super) consumer: Arc<BaseConsumer<MemberContext>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) owner: channel::Sender<Result<Told>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) max_batch_records: usize,
    pub(super) max_batch_bytes: usize,
    /// How a client is made that reads without a group.
    probe: ClientConfig,
    state: PollState,
}

#[derive(Default)]
struct PollState {
    names: Names,
    copies: Copies,
    /// Polls in a row that brought nothing, while nobody asked for anything.
    in_vain: u32,
    /// What is under way; none while nothing is assigned or records are read.
    step: Option<Step>,
    assignment: u64,
    /// Since when committed positions have been asked for in vain, or since the last warning of it.
    in_vain_since: Option<Instant>,
    positions: BTreeMap<TopicPartition, i64>,
    stalled: BTreeSet<TopicPartition>,
    paused: BTreeSet<TopicPartition>,
    /// The library has met a batch that it cannot unpack; which one is still to be found out.
    unreadable: bool,
    /// The library has met a position outside of its log; which one is still to be found out.
    out_of_range: bool,
    /// A message that ended the last batch because it did not fit.
    left_over: Option<Record>,
}

impl PollState {
    /// How long the next poll may wait.
    fn wait(&self) -> Duration {
        match self.step {
            Some(_) => POLL_WAITING,
            None if self.in_vain >= QUIET && self.paused.is_empty() => POLL_QUIET,
            None => POLL,
        }
    }
}

/// The owner is gone, or a fatal error was told.
struct Ended;

impl Poller {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<MemberContext>>,
        commands: mpsc::Receiver<Command>,
        owner: channel::Sender<Result<Told>>,
        stop: Arc<AtomicBool>,
        (max_batch_records, max_batch_bytes): (usize, usize),
        probe: ClientConfig,
    ) -> Self {
        let state = PollState::default();
        Self { consumer, commands, owner, stop, max_batch_records, max_batch_bytes, probe, state }
    }

    /// Polls until the owner goes or a fatal error comes; then leaves.
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) && !self.owner.is_closed() {
            if self.turn().is_err() {
                break;
            }
        }
        self.consumer.context().closing.store(true, Ordering::Release);
        // The library waits for an answer to every rebalance that it has called back, while it closes too: one may have come
        // that the owner has not answered.
        if let Err(error) = self.consumer.unassign() {
            tracing::warn!(%error, "unassign before closing");
        }
    }

    fn turn(&mut self) -> Result<(), Ended> {
        while let Ok(command) = self.commands.try_recv() {
            self.state.in_vain = 0;
            self.obey(command)?;
        }
        self.proceed()?;
        if self.state.out_of_range {
            self.find_out_of_range()?;
        }
        if self.state.unreadable {
            self.pass_unreadable()?;
        }
        self.poll(self.state.wait())?;
        loop {
            let rebalances = self.consumer.context().rebalances.lock();
            let next = rebalances.unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(rebalance) => self.rebalance(rebalance)?,
                None => return Ok(()),
            }
        }
    }

    fn tell(&self, told: Result<Told>) -> Result<(), Ended> {
        self.owner.blocking_send(told).map_err(|_| Ended)
    }

    fn tell_event(&self, event: Event) -> Result<(), Ended> {
        self.tell(Ok(Told::Event(event)))
    }

    fn fatal(&self, error: StreamError) -> Ended {
        match self.tell(Err(error)) {
            Ok(()) | Err(Ended) => Ended,
        }
    }

    // Rebalances.

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), Ended> {
        match rebalance {
            Rebalance::Assign(partitions, metadata) => {
                let metadata = metadata.map(|metadata| GroupMetadata(GroupMetadataInner::Kafka(Arc::new(metadata))));
                self.state.step = Some(Step::Fetching(partitions, metadata));
                Ok(())
            }
            Rebalance::Revoke(partitions, lost) => self.revoke(partitions, lost),
        }
    }

    fn revoke(&mut self, partitions: Vec<TopicPartition>, lost: bool) -> Result<(), Ended> {
        self.state.positions.clear();
        self.state.stalled.clear();
        self.state.paused.clear();
        self.state.left_over = None;
        if let Some(Step::Fetching(..)) = self.state.step {
            // The owner never heard of this assignment.
            return self.unassign();
        }
        if lost {
            edge::add(&self.consumer.context().edge.numbers.partitions_lost, partitions.len());
        }
        let (acknowledge, acknowledged) = mpsc::channel::<()>();
        self.state.step = Some(Step::AwaitAck(acknowledged));
        let done = RevokeAck::new(move || drop(acknowledge));
        self.tell_event(if lost { Event::Lost { partitions, done } } else { Event::Revoked { partitions, done } })
    }

    fn unassign(&mut self) -> Result<(), Ended> {
        self.state.step = None;
        self.consumer.unassign().map_err(|error| self.fatal(StreamError::Fatal(format!("unassign: {error}"))))
    }

    /// One step towards what is under way.
    fn proceed(&mut self) -> Result<(), Ended> {
        match self.state.step.take() {
            None => Ok(()),
            Some(Step::AwaitStart) => {
                self.state.step = Some(Step::AwaitStart);
                Ok(())
            }
            Some(Step::AwaitAck(acknowledged)) => match acknowledged.try_recv() {
                Err(mpsc::TryRecvError::Disconnected) => self.unassign(),
                _ => {
                    self.state.step = Some(Step::AwaitAck(acknowledged));
                    Ok(())
                }
            },
            Some(Step::Fetching(partitions, metadata)) => self.fetch(partitions, metadata),
        }
    }

    fn fetch(&mut self, partitions: Vec<TopicPartition>, metadata: Option<GroupMetadata>) -> Result<(), Ended> {
        // Every assignment brings a snapshot; without one nothing could be committed exactly once.
        let Some(group_metadata) = metadata else {
            let error = StreamError::Fatal("the group gave no member metadata".into());
            return Err(self.fatal(error));
        };
        match self.assigned(&partitions) {
            Ok(assigned) => {
                self.state.assignment += 1;
                self.state.in_vain_since = None;
                self.state.step = Some(Step::AwaitStart);
                let event = Event::Assigned { partitions: assigned, group_metadata };
                self.tell(Ok(Told::Assigned(self.state.assignment, event)))
            }
            Err(error) if error.kind() == ErrorKind::Retriable => {
                let since = *self.state.in_vain_since.get_or_insert_with(Instant::now);
                if since.elapsed() > VAIN {
                    self.state.in_vain_since = Some(Instant::now());
                    tracing::warn!(
                        %error,
                        ?partitions,
                        "the group's committed positions are still not stable; if that does not end, a transaction hangs: \
                         Kafka's kafka-transactions.sh find-hanging names it"
                    );
                }
                edge::add(&self.consumer.context().edge.numbers.retries, 1);
                self.state.step = Some(Step::Fetching(partitions, Some(group_metadata)));
                std::thread::sleep(FETCH_PAUSE);
                Ok(())
            }
            Err(error) => Err(self.fatal(error)),
        }
    }

    fn assigned(&self, partitions: &[TopicPartition]) -> Result<Vec<AssignedPartition>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let list = self
            .consumer
            .committed_offsets(convert::list(partitions), FETCH)
            .map_err(|error| convert::question("committed positions", &error))?;
        let mut assigned = Vec::with_capacity(partitions.len());
        for (partition, committed) in convert::committed(&list)? {
            let (log_start, _) = lookup::watermarks(&self.consumer, &partition)?;
            assigned.push(AssignedPartition { partition, committed, log_start });
        }
        Ok(assigned)
    }

    // The owner's commands.

    fn obey(&mut self, command: Command) -> Result<(), Ended> {
        let outcome = match command {
            Command::Start(number, offsets) => self.start(number, offsets),
            Command::Pause(partitions) => {
                let owned = self.owned(partitions);
                let list = convert::list(&owned);
                self.state.paused.extend(owned);
                self.consumer.pause(&list).map_err(fatal("pause"))
            }
            Command::Resume(partitions) => {
                let owned = self.owned(partitions);
                self.state.paused.retain(|paused| !owned.contains(paused));
                let list = convert::list(&owned);
                self.consumer.resume(&list).map_err(fatal("resume"))
            }
            Command::Seek(number, partition, offset) => {
                let outcome = self.seek(&partition, offset);
                self.tell(Ok(Told::Sought(number)))?;
                outcome
            }
        };
        outcome.map_err(|error| self.fatal(error))
    }

    fn owned(&self, mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
        partitions.retain(|partition| self.state.positions.contains_key(partition));
        partitions
    }

    fn start(&mut self, number: u64, offsets: Vec<(TopicPartition, i64)>) -> Result<()> {
        let current = number == self.state.assignment;
        if !current || !matches!(self.state.step, Some(Step::AwaitStart)) {
            // Revoked meanwhile.
            return Ok(());
        }
        self.state.step = None;
        let list = convert::offsets(offsets.iter().map(|(partition, offset)| (partition, *offset)))?;
        self.state.positions = offsets.into_iter().collect();
        self.consumer.assign(&list).map_err(fatal("assign"))
    }

    fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        let Some(position) = self.state.positions.get_mut(partition) else {
            return Ok(());
        };
        *position = offset;
        let stalled = self.state.stalled.remove(partition);
        if let Some(record) = &self.state.left_over
            && record.topic == partition.topic
            && record.partition == partition.partition
        {
            self.state.left_over = None;
        }
        if stalled {
            // The library has stopped fetching it for good and refuses to seek.
            return self.assign_anew();
        }
        let offset = Offset::Offset(offset);
        let sought = self.consumer.seek(&partition.topic, partition.partition, offset, FETCH);
        sought.or_else(|error| {
            tracing::debug!(%partition, %error, "seek refused, assigning anew");
            self.assign_anew()
        })
    }

    /// Starts everything over from where it stands.
    fn assign_anew(&self) -> Result<()> {
        let positions = self.state.positions.iter();
        let list = convert::offsets(positions.map(|(partition, offset)| (partition, *offset)))?;
        self.consumer.assign(&list).map_err(fatal("assign"))?;
        let paused = convert::list(&self.state.paused);
        self.consumer.pause(&paused).map_err(fatal("pause"))
    }

    // Records.

    fn poll(&mut self, wait: Duration) -> Result<(), Ended> {
        let mut batch: Vec<Record> = Vec::new();
        let mut bytes = 0;
        if let Some(record) = self.state.left_over.take() {
            bytes = record.size();
            batch.push(record);
        }
        let mut wait = if batch.is_empty() { wait } else { Duration::ZERO };
        let mut failure = None;
        while batch.len() < self.max_batch_records && bytes < self.max_batch_bytes {
            match self.consumer.poll(wait) {
                None => break,
                Some(Err(error)) => {
                    failure = Some(error);
                    break;
                }
                Some(Ok(message)) => {
                    wait = Duration::ZERO;
                    let PollState { names, copies, .. } = &mut self.state;
                    let record = convert::record(&message, names, |bytes| copies.of(bytes));
                    let known = TopicPartition::new(Arc::clone(&record.topic), message.partition());
                    let Some(position) = self.state.positions.get_mut(&known) else {
                        continue;
                    };
                    *position = message.offset() + 1;
                    bytes += record.size();
                    if bytes > self.max_batch_bytes && !batch.is_empty() {
                        self.state.left_over = Some(record);
                        break;
                    }
                    batch.push(record);
                }
            }
        }
        self.state.in_vain = if batch.is_empty() { self.state.in_vain.saturating_add(1) } else { 0 };
        if !batch.is_empty() {
            let numbers = &self.consumer.context().edge.numbers;
            edge::add(&numbers.records_read, batch.len());
            edge::add(&numbers.bytes_read, bytes);
            self.tell_event(Event::Records(batch))?;
        }
        match failure {
            Some(error) => self.judge(&error),
            None => Ok(()),
        }
    }

    /// Passing errors were counted and logged by the context.
    fn judge(&mut self, error: &KafkaError) -> Result<(), Ended> {
        let code = convert::code(error).unwrap_or(RDKafkaErrorCode::Unknown);
        if code == RDKafkaErrorCode::FencedInstanceId {
            let text = format!("another member has this instance id: {error}");
            return Err(self.fatal(StreamError::Fenced(text)));
        }
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) || convert::is_refusal(code) {
            return Err(self.fatal(StreamError::Fatal(format!("group member: {error}"))));
        }
        if code == RDKafkaErrorCode::AutoOffsetReset || code == RDKafkaErrorCode::OffsetOutOfRange {
            self.state.out_of_range = true;
        }
        self.state.unreadable |= unreadable::is_unreadable(code);
        Ok(())
    }

    /// The library says that a position lies outside of its log but not which.
    fn find_out_of_range(&mut self) -> Result<(), Ended> {
        let started: Vec<(TopicPartition, i64)> = self
            .state
            .positions
            .iter()
            .filter(|(partition, _)| !self.state.stalled.contains(*partition))
            .map(|(partition, position)| (partition.clone(), *position))
            .collect();
        for (partition, position) in started {
            let (log_start, log_end) = match lookup::watermarks(&self.consumer, &partition) {
                Ok(range) => range,
                // The library says it only once, so the question stays open.
                Err(error) if error.kind() == ErrorKind::Retriable => return Ok(()),
                Err(error) => return Err(self.fatal(error)),
            };
            if (log_start..=log_end).contains(&position) {
                continue;
            }
            edge::add(&self.consumer.context().edge.numbers.out_of_range, 1);
            self.state.stalled.insert(partition.clone());
            self.tell_event(Event::OutOfRange { partition, position, log_start })?;
        }
        Ok(())
    }
}

fn fatal(what: &'static str) -> impl Fn(KafkaError) -> StreamError {
    move |error| StreamError::Fatal(format!("{what}: {error}"))
}

mod unreadable;

#[cfg(test)]
mod tests;
