//! The owner's side of a group member.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{mpsc as channel, oneshot};

use super::config::Connection;
use super::edge::{Edge, Registry};
use super::poller::{Command, MemberContext, Poller, Told};
use super::{REQUEST_TIMEOUT, blocking, convert, lookup};
use crate::{Event, GroupMetadata, GroupSettings, OffsetAndMetadata, Record, Result, StreamError, TopicPartition};

/// How long a member may take to leave its group.
const CLOSE: Duration = Duration::from_secs(30);

/// Batches that wait for the owner, beside the one that the thread holds.
const WAITING_BATCHES: usize = 2;

pub(crate) struct KafkaGroupConsumer {
    group: String,
    /// The thread owns it: the last to drop it closes it, which takes a while.
    native: Weak<BaseConsumer<MemberContext>>,
    commands: mpsc::Sender<Command>,
    told: channel::Receiver<Result<Told>>,
    stop: Arc<AtomicBool>,
    closed: oneshot::Receiver<()>,
    assignment: u64,
    assigned: BTreeSet<TopicPartition>,
    metadata: Option<GroupMetadata>,
    seeks: u64,
    /// Records of these are from before the seek of that number.
    seeking: HashMap<TopicPartition, u64>,
}

impl fmt::Debug for KafkaGroupConsumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KafkaGroupConsumer({})", self.group)
    }
}

impl Drop for KafkaGroupConsumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl KafkaGroupConsumer {
    pub(super) fn join(connection: &Connection, registry: &Registry, settings: &GroupSettings) -> Result<Self> {
        if settings.topics.is_empty() {
            return Err(StreamError::Configuration(format!("group {} has no topics to read", settings.group)));
        }
        let context = MemberContext {
            edge: Edge::new(registry, &settings.client_id),
            rebalances: std::sync::Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let native = Arc::new(lookup::create(&connection.member(settings), context)?);
        let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
        native.subscribe(&topics).map_err(|error| StreamError::Configuration(format!("topics {topics:?}: {error}")))?;
        let (commands, received) = mpsc::channel();
        let (owner, told) = channel::channel(WAITING_BATCHES);
        let (closing, closed) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let weak = Arc::downgrade(&native);
        let poller = Poller::new(
            native,
            received,
            owner,
            Arc::clone(&stop),
            (settings.max_batch_records.max(1), settings.max_batch_bytes.max(1)),
            connection.probe(settings),
        );
        std::thread::Builder::new()
            .name("kafka-member".into())
            .spawn(move || {
                poller.run();
                // Run has dropped the client, which has left the group by now.
                let _ = closing.send(());
            })
            .map_err(|error| StreamError::Fatal(format!("thread kafka-member: {error}")))?;
        Ok(Self {
            group: settings.group.clone(),
            native: weak,
            commands,
            told,
            stop,
            closed,
            assignment: 0,
            assigned: BTreeSet::new(),
            metadata: None,
            seeks: 0,
            seeking: HashMap::new(),
        })
    }

    pub(crate) async fn next(&mut self, timeout: Duration) -> Result<Event> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let told = match tokio::time::timeout_at(deadline, self.told.recv()).await {
                Err(_) => return Ok(Event::Idle),
                Ok(None) => return Err(self.ended()),
                Ok(Some(told)) => told?,
            };
            if let Some(event) = self.take(told) {
                return Ok(event);
            }
        }
    }

    fn ended(&self) -> StreamError {
        StreamError::Fatal(format!("the member of group {} has ended; make a new one", self.group))
    }

    /// Keeps the owner's view up to date; `None` for what the owner need not hear.
    fn take(&mut self, told: Told) -> Option<Event> {
        match told {
            Told::Sought(number) => {
                self.seeking.retain(|_, waiting| *waiting != number);
                None
            }
            Told::Assigned(number, event) => {
                if let Event::Assigned { partitions, group_metadata } = &event {
                    self.assignment = number;
                    self.assigned = partitions.iter().map(|p| p.partition.clone()).collect();
                    self.metadata = Some(group_metadata.clone());
                }
                Some(event)
            }
            Told::Event(Event::Records(mut records)) => {
                if !self.seeking.is_empty() {
                    let seeking = &self.seeking;
                    records.retain(|record: &Record| !seeking.contains_key(&record.topic_partition()));
                }
                (!records.is_empty()).then_some(Event::Records(records))
            }
            Told::Event(event) => {
                if let Event::Revoked { .. } | Event::Lost { .. } = &event {
                    self.assigned.clear();
                }
                Some(event)
            }
        }
    }

    fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| self.ended())
    }

    pub(crate) async fn start(&mut self, offsets: &[(TopicPartition, i64)]) -> Result<()> {
        let given: BTreeSet<_> = offsets.iter().map(|(partition, _)| partition).collect();
        if given != self.assigned.iter().collect() {
            return Err(StreamError::Misuse("start must name exactly the assigned partitions".into()));
        }
        self.send(Command::Start(self.assignment, offsets.to_vec()))
    }

    pub(crate) async fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.send(Command::Pause(partitions.to_vec()))
    }

    pub(crate) async fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.send(Command::Resume(partitions.to_vec()))
    }

    pub(crate) async fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.seeks += 1;
        self.seeking.insert(partition.clone(), self.seeks);
        self.send(Command::Seek(self.seeks, partition.clone(), offset))
    }

    pub(crate) async fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        let native = self.native.upgrade().ok_or_else(|| self.ended())?;
        let mut offsets = offsets.to_vec();
        offsets.sort_by(|(a, _), (b, _)| a.cmp(b));
        blocking(move || commit(&native, &offsets)).await
    }

    pub(crate) fn group_metadata(&self) -> Option<&GroupMetadata> {
        self.metadata.as_ref()
    }

    pub(crate) async fn close(mut self) {
        self.stop.store(true, Ordering::Release);
        // A thread that waits to tell something must not wait for ever.
        self.told.close();
        let closed = std::mem::replace(&mut self.closed, oneshot::channel().1);
        // An error of the channel only says that the thread is gone, which is what is waited for.
        if tokio::time::timeout(CLOSE, closed).await.is_err() {
            tracing::error!(
                group = self.group,
                "the member does not leave its group; it is left behind, and the next one of its name takes its place"
            );
        }
    }
}

/// Commits and reads back: the library reports an error only when every partition has failed.
fn commit(native: &BaseConsumer<MemberContext>, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
    let Some((first, _)) = offsets.first() else {
        return Ok(());
    };
    let refused = |partition: &TopicPartition, message: String, retriable| StreamError::Offset {
        partition: partition.clone(),
        message,
        retriable,
    };
    native.commit(&convert::commits(offsets)?, CommitMode::Sync).map_err(|error| {
        let moved_on = matches!(
            convert::code(&error),
            Some(
                RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::RebalanceInProgress
                    | RDKafkaErrorCode::FencedInstanceId
                    | RDKafkaErrorCode::OffsetMetadataTooLarge
            )
        );
        refused(first, error.to_string(), !moved_on)
    })?;
    let partitions = offsets.iter().map(|(partition, _)| partition);
    let list = native
        .committed_offsets(convert::list(partitions), REQUEST_TIMEOUT)
        .map_err(|error| convert::question("committed positions", &error))?;
    for ((partition, found), (_, wanted)) in convert::committed(&list)?.iter().zip(offsets) {
        if found.as_ref() != Some(wanted) {
            let message = format!("committed {}, found {found:?}", wanted.offset);
            return Err(refused(partition, message, true));
        }
    }
    Ok(())
}
