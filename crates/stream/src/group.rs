//! Reading as a member of a consumer group.

use std::sync::Arc;
use std::time::Duration;

use crate::record::{OffsetAndMetadata, Record, TopicPartition};
use crate::{Result, kafka, memory};

/// How a group's partitions are shared out. All members of a group use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Consecutive partitions of each topic to each member.
    #[default]
    Range,
    /// One after the other.
    RoundRobin,
}

/// Settings of a [`GroupConsumer`].
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// The group.
    pub group: String,
    /// The topics to read.
    pub topics: Vec<String>,
    /// The client's name in logs and metrics.
    pub client_id: String,
    /// A name that is stable over restarts (static membership): a restart within the session
    /// timeout keeps its partitions and nobody else notices.
    pub instance_id: Option<String>,
    /// How partitions are shared out.
    pub assignor: Assignor,
    /// A member that is silent for this long loses its partitions.
    pub session_timeout: Duration,
    /// An owner that neither takes a full batch nor finishes a revocation for this long loses its
    /// partitions.
    pub max_poll_interval: Duration,
    /// Bytes fetched ahead, over all partitions, and one answer of each broker, which is a sixteenth of that before it is
    /// unpacked.
    pub max_bytes: usize,
    /// Largest number of records in one [`Event::Records`].
    pub max_batch_records: usize,
    /// Largest number of payload bytes in one [`Event::Records`] (one larger record is still
    /// delivered, alone).
    pub max_batch_bytes: usize,
}

impl GroupSettings {
    /// The defaults: range, 45 s session, 5 min poll interval, 32 MiB ahead, batches of up to
    /// 1 000 records or 4 MiB.
    pub fn new(group: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let group = group.into();
        Self {
            client_id: group.clone(),
            group,
            topics: topics.into_iter().map(Into::into).collect(),
            instance_id: None,
            assignor: Assignor::default(),
            session_timeout: Duration::from_secs(45),
            max_poll_interval: Duration::from_secs(300),
            max_bytes: 32 << 20,
            max_batch_records: 1000,
            max_batch_bytes: 4 << 20,
        }
    }
}

/// A partition that came with an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// What the group committed for it, fetched after the assignment and stable; `None` when it
    /// never did.
    pub committed: Option<OffsetAndMetadata>,
    /// The lowest offset that is still there. A committed offset below it is a named loss.
    pub log_start: i64,
}

/// A snapshot of a membership, taken when an assignment came. A transaction that carries it is
/// refused by the broker once the group has moved on.
#[derive(Clone, Debug)]
pub struct GroupMetadata(pub(crate) GroupMetadataInner);

#[derive(Clone)]
pub(crate) enum GroupMetadataInner {
    Kafka(Arc<rdkafka::consumer::ConsumerGroupMetadata>),
    Memory(memory::Membership),
}

impl std::fmt::Debug for GroupMetadataInner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kafka(_) => formatter.write_str("Kafka"),
            Self::Memory(membership) => membership.fmt(formatter),
        }
    }
}

/// Ends a revocation: the group moves on when this is dropped or [`done`](Self::done) is called.
/// Before that, finish or abort the transaction in flight and drop what is held for the partitions.
#[must_use = "dropping it lets the group move on at once"]
pub struct RevokeAck(Option<Box<dyn FnOnce() + Send + Sync>>);

impl RevokeAck {
    pub(crate) fn new(acknowledge: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(acknowledge)))
    }

    /// Lets the group move on.
    pub fn done(self) {
        drop(self);
    }
}

impl Drop for RevokeAck {
    fn drop(&mut self) {
        if let Some(acknowledge) = self.0.take() {
            acknowledge();
        }
    }
}

impl std::fmt::Debug for RevokeAck {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RevokeAck")
    }
}

/// What happened to a member of a group.
#[derive(Debug)]
pub enum Event {
    /// The member now owns exactly these partitions (perhaps none). Nothing is delivered before
    /// [`GroupConsumer::start`] says from where each is read.
    Assigned {
        /// The partitions, in order.
        partitions: Vec<AssignedPartition>,
        /// The snapshot to use in transactions until the next assignment.
        group_metadata: GroupMetadata,
    },
    /// All partitions go, also those that will come back: the group has a new generation. Nothing of
    /// them is delivered any more.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// To be dropped when the owner is finished with them.
        done: RevokeAck,
    },
    /// The partitions are already gone, perhaps to another member: nothing can be committed for
    /// them, abort and drop.
    Lost {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// To be dropped when the owner has let go of them.
        done: RevokeAck,
    },
    /// Records, in offset order per partition; never empty.
    Records(Vec<Record>),
    /// The position of a partition lies outside of its log, because records were deleted before they were read (or
    /// the log was truncated). The partition stands still until [`GroupConsumer::seek`].
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The next offset it would have read.
        position: i64,
        /// The lowest offset that is still there.
        log_start: i64,
    },
    /// Nothing within the timeout.
    Idle,
}

/// A member of a consumer group: classic protocol, committed records only, no automatic commit, no
/// automatic choice of a position.
///
/// Membership is kept alive in the background, also while partitions are paused. Dropping it leaves
/// (a static member only goes silent); [`close`](Self::close) does the same and waits.
#[derive(Debug)]
pub struct GroupConsumer(pub(crate) GroupInner);

#[derive(Debug)]
pub(crate) enum GroupInner {
    Kafka(kafka::KafkaGroupConsumer),
    Memory(memory::MemoryGroupConsumer),
}

impl GroupConsumer {
    /// The next event, or [`Event::Idle`] after `timeout`. Cancel-safe: an event is given once, and
    /// none is lost when the future is dropped.
    ///
    /// # Errors
    /// Only errors after which this consumer must be dropped and a new one made (fenced by another
    /// member of the same instance id, or a broker that refuses the group). Passing errors are retried inside.
    pub async fn next(&mut self, timeout: Duration) -> Result<Event> {
        match &mut self.0 {
            GroupInner::Kafka(consumer) => consumer.next(timeout).await,
            GroupInner::Memory(consumer) => consumer.next(timeout).await,
        }
    }

    /// Says from which offset each assigned partition is read. Call it once after each
    /// [`Event::Assigned`], with all its partitions (also with none).
    ///
    /// # Errors
    /// [`crate::StreamError::Misuse`] for partitions that are not those of the last assignment. An assignment that
    /// was revoked meanwhile is no error: the revocation is the next event.
    pub async fn start(&mut self, offsets: &[(TopicPartition, i64)]) -> Result<()> {
        match &mut self.0 {
            GroupInner::Kafka(consumer) => consumer.start(offsets).await,
            GroupInner::Memory(consumer) => consumer.start(offsets),
        }
    }

    /// Stops delivery of these partitions. Up to a few batches that were read before may still come.
    ///
    /// # Errors
    /// Only errors after which this consumer must be dropped. Partitions that are no longer owned are ignored.
    pub async fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        match &mut self.0 {
            GroupInner::Kafka(consumer) => consumer.pause(partitions).await,
            GroupInner::Memory(consumer) => consumer.pause(partitions),
        }
    }

    /// Continues delivery where it stopped.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        match &mut self.0 {
            GroupInner::Kafka(consumer) => consumer.resume(partitions).await,
            GroupInner::Memory(consumer) => consumer.resume(partitions),
        }
    }

    /// Reads on from another offset; nothing that was read before comes any more.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        match &mut self.0 {
            GroupInner::Kafka(consumer) => consumer.seek(partition, offset).await,
            GroupInner::Memory(consumer) => consumer.seek(partition, offset),
        }
    }

    /// Commits positions outside of a transaction and waits for the answer. Every partition's answer
    /// is checked.
    ///
    /// # Errors
    /// The first partition's error: retriable, or (the group has moved on) a revocation is on its way
    /// and the positions will be read again by the next owner.
    pub async fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        match &mut self.0 {
            GroupInner::Kafka(consumer) => consumer.commit(offsets).await,
            GroupInner::Memory(consumer) => consumer.commit(offsets),
        }
    }

    /// The snapshot of the last assignment; `None` before the first.
    pub fn group_metadata(&self) -> Option<&GroupMetadata> {
        match &self.0 {
            GroupInner::Kafka(consumer) => consumer.group_metadata(),
            GroupInner::Memory(consumer) => consumer.group_metadata(),
        }
    }

    /// Leaves the group (a static member only goes silent) and waits until that is done. A
    /// revocation that would come now is given to nobody: finish the transaction in flight before.
    pub async fn close(self) {
        match self.0 {
            GroupInner::Kafka(consumer) => consumer.close().await,
            GroupInner::Memory(consumer) => drop(consumer),
        }
    }
}
